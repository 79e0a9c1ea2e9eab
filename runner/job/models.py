"""What is known of each model family (models.yaml). An unknown model has no known limits."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

_DATE_SUFFIX = re.compile(r"-\d{6,8}$")
_VERSION = re.compile(r"^(seedance)-v?(\d+)(?:[-.](\d+))?(?=-|$)")


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """`honours_seed`: whether the same seed gives a similar video again."""

    name: str
    honours_seed: bool


def family_name(model: str) -> str:
    """The family in a model id: `byteplus/dreamina-seedance-2-0-fast-260128` is `seedance-2-0-fast`."""
    name = model.rsplit("/", 1)[-1].casefold().removeprefix("dreamina-")
    name = _DATE_SUFFIX.sub("", name)
    return _VERSION.sub(lambda found: f"{found[1]}-{found[2]}-{found[3] or '0'}", name)


@functools.lru_cache(maxsize=1024)
def find_family(model: str) -> ModelFamily | None:
    """What is known of `model`, or None."""
    return _families().get(family_name(model))


@functools.cache
def _families() -> Mapping[str, ModelFamily]:
    data = yaml.safe_load(Path(__file__).with_name("models.yaml").read_text(encoding="utf-8"))
    return {
        name: ModelFamily(name=name, honours_seed=facts["honours_seed"])
        for name, facts in data["families"].items()
    }
