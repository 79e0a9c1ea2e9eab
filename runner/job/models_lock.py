"""`models.lock.yaml`: what services published of their models when `callsheet models --refresh` asked them.

It is sorted and written the same way each time, so that git shows what has changed.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runner.job.project_file import model_key
from runner.providers.published import Rate

LOCK_FILE = "models.lock.yaml"
_HEAD = """\
# What the services publish of their models and prices, by `callsheet models --refresh`.
# Keep this file in git. `price:` of a job and `prices:` of callsheet.yaml come first.
"""


@dataclass(frozen=True, slots=True)
class LockedService:
    """`asked` is when, in ISO 8601; `models` are rates by id, empty where no price is known."""

    asked: str
    source: str
    models: Mapping[str, tuple[Rate, ...]]


@dataclass(frozen=True)
class ModelsLock:
    """What is known of each service, by the provider's name."""

    services: Mapping[str, LockedService] = field(default_factory=lambda: MappingProxyType({}))

    def ids(self, provider: str) -> Collection[str]:
        """The ids that a service was seen to sell."""
        service = self.services.get(provider)
        return service.models.keys() if service is not None else ()

    def rates(self, provider: str, model: str) -> tuple[Rate, ...]:
        """The rates of a model: by its id, else all of its family behind the same prefix."""
        service = self.services.get(provider)
        if service is None:
            return ()
        if model in service.models:
            return service.models[model]
        return self._by_family.get((provider, *model_key(model)), ())

    @functools.cached_property
    def _by_family(self) -> Mapping[tuple[str, str, str], tuple[Rate, ...]]:
        found: dict[tuple[str, str, str], tuple[Rate, ...]] = {}
        for provider, service in self.services.items():
            for model, rates in service.models.items():
                key = (provider, *model_key(model))
                found[key] = (*found.get(key, ()), *rates)
        return found

    def text(self) -> str:
        """The file, the same for the same content."""
        head = "services:" if self.services else "services: {}"
        return "\n".join([f"{_HEAD}version: 1", head, *self._lines()]) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, service in sorted(self.services.items()):
            yield f"  {name}:"
            yield f'    asked: "{service.asked}"'
            yield f'    source: "{service.source}"'
            yield "    models:" if service.models else "    models: {}"
            for model, rates in sorted(service.models.items()):
                rows = ", ".join(_row(rate) for rate in rates)
                yield f'      "{model}": [{rows}]'


def _row(rate: Rate) -> str:
    said = {
        str(rate.price.unit): format(rate.price.usd, "f"),
        "resolution": None if rate.resolution is None else f'"{rate.resolution}"',
        "sound": None if rate.sound is None else str(rate.sound).lower(),
        "with_video": None if rate.with_video is None else str(rate.with_video).lower(),
    }
    return "{" + ", ".join(f"{name}: {value}" for name, value in said.items() if value is not None) + "}"
