"""Reads models.lock.yaml, with the schema and the messages of a job file: git may have merged two of them."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from runner.errors import JobError, Problem
from runner.job.models_lock import LOCK_FILE, LockedService, ModelsLock
from runner.job.policy import read_price
from runner.job.problems import Checked, Problems
from runner.job.schema import check_models_lock
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import Node, Scalar, entries_of, items_of, text_of
from runner.job.yaml.source import MAX_BYTES, read
from runner.plain_file import read_plain
from runner.providers.published import Rate


def load_models_lock(directory: Path) -> ModelsLock:
    """The lock in `directory`; an empty one where there is none. Raises JobError, with its text."""
    try:
        text = read_plain(directory / LOCK_FILE, MAX_BYTES + 1)
    except FileNotFoundError:
        return ModelsLock()
    except OSError as error:
        raise JobError(LOCK_FILE, [Problem(1, 1, "", f"cannot be read: {error.strerror}")]) from None
    reading = read(text)
    document = reading.root
    found: dict[str, LockedService] = {}
    problems = Problems(
        LOCK_FILE, earlier=reading.problems, schema=check_models_lock(document) if document else ()
    )
    for name, node in entries_of(document.get("services") if document else None):
        models = {
            str(model.value): problems.gather(_rates(rates))
            for model, rates in entries_of(_part(node, "models"))
        }
        asked, source = text_of(_part(node, "asked")), text_of(_part(node, "source"))
        found[str(name.value)] = LockedService(asked or "", source or "", MappingProxyType(models))
    if problems.errors:
        first, *_ = problems.errors
        hint = "mend it, or remove it and run: callsheet models --refresh"
        wrong = JobError(LOCK_FILE, [Problem(first.line, first.column, first.path, first.message, hint)])
        wrong.text = text
        raise wrong
    return ModelsLock(MappingProxyType(found))


def _part(node: Node, key: str) -> Node | None:
    return node.get(key) if isinstance(node, MappingNode) else None


def _rates(node: Node) -> Checked[tuple[Rate, ...]]:
    rates: list[Rate] = []
    for item in items_of(node):
        price = yield from read_price(item)
        if price is not None:
            resolution, sound, with_video = (
                _part(item, key) for key in ("resolution", "sound", "with_video")
            )
            rates.append(Rate(price, text_of(resolution), _flag(sound), _flag(with_video)))
        else:
            yield item.location.error("has no price")
    return tuple(rates)


def _flag(node: Node | None) -> bool | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, bool) else None
