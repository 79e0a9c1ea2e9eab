"""`extends:`: a job file on top of a house file, merged into one document; the document as YAML again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from runner.errors import JobError
from runner.job.files.sources import JobCopy, SourceError, Sources
from runner.job.merge import on_top_of
from runner.job.problems import Checked
from runner.job.yaml.nodes import Location, Mapping, Node, Scalar, Sequence, in_file, text_of
from runner.job.yaml.source import Reading, read

EXTENDS = "extends"


def read_whole(content: bytes, sources: Sources) -> Reading:
    """The document of a job file, merged with the house file that it `extends`; read as far as possible.

    What comes from the house file has a location in it.
    """
    own = read(content)
    if own.root is None or own.root.get(EXTENDS) is None:
        return own
    problems = list(own.problems)
    merging = _extended(own.root, sources)
    while True:
        try:
            problems.append(next(merging))
        except StopIteration as end:
            merged: _Merged | None = end.value
            break
    if merged is None:
        return Reading(None, tuple(problems), is_whole=False)
    return Reading(merged.root, tuple(problems), is_whole=own.is_whole and merged.is_whole)


@dataclass(frozen=True, slots=True)
class _Merged:
    root: Mapping
    is_whole: bool


def _extended(own: Mapping, sources: Sources) -> Checked[_Merged | None]:
    node = own.get(EXTENDS)
    assert node is not None
    named = text_of(node)
    if named is None:
        yield node.location.error("must be the path of one file", f"{EXTENDS}: house.yaml")
        return None
    try:
        path, content = sources.read(named)
    except SourceError as error:
        yield error.at(node.location)
        return None
    house = read(content)
    yield from (replace(problem, file=path) for problem in house.problems)
    if house.root is None:
        return None
    root = in_file(house.root, path)
    assert isinstance(root, Mapping)
    above = root.get(EXTENDS)
    if above is not None:
        yield above.location.error(
            f"this file is extended by another one, and `{EXTENDS}` goes one level deep",
            "write here what it has to say",
        )
        return None
    entries = tuple((key, value) for key, value in own if key.value != EXTENDS)
    return _Merged(on_top_of(root, Mapping(entries, own.location)), house.is_whole)


def whole_document(copy: JobCopy, *, file: Path, root: Path) -> Mapping:
    """The merged document of a job that a run keeps. Raises JobError."""
    reading = read_whole(copy.text, Sources(root, file.parent, copy.files))
    if reading.problems or reading.root is None:
        raise JobError(file.name, reading.problems)
    return reading.root


def as_yaml(document: Mapping, *, name: str) -> str:
    """The document as a job file that means the same, whatever its file is called: `name` is the job's.

    Comments are not in it.
    """
    own = document.get("name")
    nowhere = Location(1, 1)
    named = Scalar(name, name, False, nowhere) if own is None else own
    first = ("version", "name")
    entries = [
        *((key, value) for key, value in document if key.value == "version"),
        (Scalar("name", "name", True, nowhere), named),
        *((key, value) for key, value in document if key.value not in first),
    ]
    events = [
        yaml.StreamStartEvent(),
        yaml.DocumentStartEvent(explicit=False),
        *_events(Mapping(tuple(entries), document.location)),
        yaml.DocumentEndEvent(explicit=False),
        yaml.StreamEndEvent(),
    ]
    text: str = yaml.emit(events, width=_NEVER_FOLDED, allow_unicode=True)
    return text


_NEVER_FOLDED = 1 << 30
_ODD = re.compile(r"[^\n\x20-\x7e\xa0-\u2027\u202a-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that a block of text cannot hold as they are."""


def _events(node: Node) -> Iterator[yaml.Event]:
    match node:
        case Mapping(entries=entries):
            yield yaml.MappingStartEvent(None, None, True, flow_style=not entries)
            for key, value in entries:
                yield from _events(key)
                yield from _events(value)
            yield yaml.MappingEndEvent()
        case Sequence(items=items):
            yield yaml.SequenceStartEvent(None, None, True, flow_style=not items)
            for item in items:
                yield from _events(item)
            yield yaml.SequenceEndEvent()
        case Scalar(value=str() as text) if not node.is_plain:
            is_block = "\n" in text and not _ODD.search(text)
            yield yaml.ScalarEvent(None, None, (True, True), text, style="|" if is_block else '"')
        case Scalar(text=text):
            yield yaml.ScalarEvent(None, None, (True, True), text)
