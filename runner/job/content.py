"""Content items: their payload, and the files that they name."""

from __future__ import annotations

from collections.abc import Iterable

from runner.job.expressions import has_expression
from runner.job.inputs import MOST_BYTES, InputError, InputReader, check_remote, is_remote
from runner.job.merge import StepKeys
from runner.job.problems import Checked, ProblemError
from runner.job.yaml.nodes import Location, Mapping, Node, Scalar, items_of, text_of
from runner.providers.base import InputFile
from runner.providers.provider import Provider

FILES = frozenset(MOST_BYTES)
"""The types of items whose payload is a file or a URL."""

_PAYLOAD_KEY = {"draft_task": "id"}


def find_payload(item: Node) -> tuple[str, Node] | None:
    """(type, payload) of a content item; None if the schema has refused it."""
    kind_node = item.get("type") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(kind_node, Scalar):
        return None
    kind = str(kind_node.value)
    payload = item.get(kind)
    if isinstance(payload, Mapping):
        payload = payload.get(_PAYLOAD_KEY.get(kind, "url"))
    return (kind, payload) if payload is not None else None


def resolve_url(
    text: str, kind: str, location: Location, *, provider: Provider, reader: InputReader
) -> InputFile | None:
    """The local file that an item of type `kind` names; None for a URL. Raises ProblemError."""
    if refused := provider.dialect.refuse_url(text):
        raise ProblemError(location.error(*refused))
    try:
        if is_remote(text):
            check_remote(text)
            return None
        file = reader.read(text, kind)
    except InputError as error:
        raise ProblemError(error.at(location)) from None
    if refused := provider.dialect.refuse_file(file):
        raise ProblemError(location.error(*refused))
    return file


def check_inputs(steps: Iterable[StepKeys], *, provider: Provider, reader: InputReader) -> Checked[None]:
    """What is wrong with each file and URL that is written without an expression."""
    for keys in steps:
        for item in items_of(keys.get("content")):
            found = find_payload(item)
            if found is None:
                continue
            kind, payload = found
            text = text_of(payload)
            if kind not in FILES or text is None or has_expression(text):
                continue
            try:
                resolve_url(text, kind, payload.location, provider=provider, reader=reader)
            except ProblemError as error:
                yield from error.problems
