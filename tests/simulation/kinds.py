"""The kinds of services that a schedule may meet: what each lists, and what it shows of a request."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final
from urllib.parse import quote

from runner.http.answers import Answer, read_object, read_plain
from runner.http.verdicts import ProviderError, Trouble
from runner.json_value import JsonValue
from runner.providers.base import Body, Generation, ListPage, ListQuery, RemoteTask
from runner.providers.dialect import Content, Dialect, MediaUrl, Request, RequestPath
from runner.providers.mesh import MESH
from runner.providers.mesh.client import PATH, MeshClient, read_generation
from runner.providers.mesh.outcomes import READS
from runner.providers.provider import Echo, Listing, ListKind, Provider, TagField

INPUTS: Final = ("prompt", "seed", "resolution", "ratio", "duration")


class Kind(StrEnum):
    """By the provider's name."""

    PAGES = "mesh"
    """A list with a total, and a number that comes back."""
    TEXT = "texts"
    """A list by cursor, and a text that comes back."""
    INPUT = "inputs"
    """A list by cursor, and no tag: the input comes back."""
    HISTORY = "history"
    """The same, of what has ended alone."""


class _Prompted(Dialect):
    """The prompt stands beside the content, as a field that may come back."""

    def request(self, fields: Request, content: Content) -> Request:
        return {**super().request(fields, content), "prompt": content[0]["text"]}

    def texts(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        yield ("prompt",), str(request["prompt"])

    def encode(
        self, request: Mapping[str, JsonValue], added: Mapping[str, JsonValue], media: MediaUrl
    ) -> Body:
        """With a number that comes back nowhere: the oracle knows by it which attempt sent what."""
        return super().encode(request, {**added, "number": f"{next(_NUMBERS):012x}"}, media)


_NUMBERS: Final = itertools.count(1)

_CURSOR: Final = Listing(kind=ListKind.CURSOR, scope_field="service_tier", page=3)
_NO_TAG: Final = {name: echo for name, echo in MESH.echoes.items() if echo is not Echo.TAG}

TEXT_TAG: Final = TagField("safety_identifier", default=0, count=1 << 62, most_open=60_000, prefix="cs-")
TEXTS: Final = dataclasses.replace(
    MESH,
    name=Kind.TEXT.value,
    tag=TEXT_TAG,
    echoes={**_NO_TAG, TEXT_TAG.field: Echo.TAG},
    listing=_CURSOR,
)
INPUT_SHOWN: Final = dataclasses.replace(
    MESH,
    name=Kind.INPUT.value,
    dialect=_Prompted(path=PATH, flex_field="service_tier", last_frame_field="return_last_frame"),
    tag=None,
    echoes={**_NO_TAG, **dict.fromkeys(INPUTS, Echo.INPUT)},
    listing=_CURSOR,
)
ENDED: Final = dataclasses.replace(
    INPUT_SHOWN, name=Kind.HISTORY.value, listing=dataclasses.replace(_CURSOR, kind=ListKind.HISTORY)
)

for _provider in (INPUT_SHOWN, ENDED):
    # in place of a file of its own: the schema of Mesh, and the prompt
    _properties = {**MESH.schema["properties"], "prompt": {"type": "string"}}
    vars(_provider)["schema"] = {**MESH.schema, "properties": _properties}

PROVIDERS: Final[Mapping[Kind, Provider]] = {
    Kind.PAGES: MESH,
    Kind.TEXT: TEXTS,
    Kind.INPUT: INPUT_SHOWN,
    Kind.HISTORY: ENDED,
}
PLUGINS: Final = {
    Kind.TEXT.value: f"{__name__}:TEXTS",
    Kind.INPUT.value: f"{__name__}:INPUT_SHOWN",
    Kind.HISTORY.value: f"{__name__}:ENDED",
}


class _CursorClient(MeshClient):
    """Of a list whose pages lead to each other, with what this kind of service shows."""

    kind: ClassVar[Kind]

    async def get(self, task: RemoteTask) -> Generation:
        answer = await self.free.get(f"{PATH}/{quote(task.id, safe='')}", troubles=READS)
        return self._read(read_object(answer), answer).checked(task.id)

    async def ping(self) -> float | None:
        return (await self.list_page(ListQuery(None, limit=1))).server_time

    async def list_page(self, query: ListQuery) -> ListPage:
        asked = [("limit", str(query.limit)), ("offset", query.cursor or "0")]
        answer = await self.free.get(PATH, asked, troubles=READS)
        page = read_object(answer)
        rows, after = page.get("data"), page.get("next")
        if not isinstance(rows, list):
            raise ProviderError(Trouble.UNAVAILABLE, "the list lacks data")
        read: list[Generation] = []
        for row in rows:
            with contextlib.suppress(ProviderError):
                read.append(self._read(row, answer))
        cursor = "" if after is None else str(after)
        return ListPage(tuple(read), bool(cursor), None, answer.server_time, len(rows) - len(read), cursor)

    def _read(self, document: Any, answer: Answer) -> Generation:
        return read(self.kind, document, server_time=answer.server_time)


def read(kind: Kind, document: Any, *, server_time: float | None = None) -> Generation:
    """A task object as a client of this kind reads it. Raises ProviderError."""
    made = read_generation(document, server_time=server_time)
    provider = PROVIDERS[kind]
    tag = None if provider.tag is None else provider.tag.read(document.get(provider.tag.field))
    shown = {name: value for name, value in document.items() if name in provider.echoes}
    return dataclasses.replace(made, tag=tag, echo=read_plain(shown))


class TextClient(_CursorClient):
    kind = Kind.TEXT


class InputClient(_CursorClient):
    kind = Kind.INPUT


class HistoryClient(_CursorClient):
    kind = Kind.HISTORY


CLIENTS: Final[Mapping[Kind, type[MeshClient]]] = {
    Kind.PAGES: MeshClient,
    Kind.TEXT: TextClient,
    Kind.INPUT: InputClient,
    Kind.HISTORY: HistoryClient,
}
