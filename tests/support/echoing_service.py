"""A made-up service that lists by cursor and shows the whole input again: built on the contract alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from runner.http.answers import Answer, clean, read_object, read_plain, read_url, usable_id
from runner.http.free import FreeRequests
from runner.http.outcomes import judge_submit
from runner.http.paid import PaidRequests
from runner.http.verdicts import ProviderError, SubmitOutcome, Trouble, Verdict
from runner.json_value import JsonValue
from runner.providers.base import (
    Body,
    Client,
    Generation,
    GenerationStatus,
    InputFile,
    ListPage,
    ListQuery,
    RemoteFile,
    RemoteFileKind,
    RemoteTask,
)
from runner.providers.dialect import Content, Dialect, MediaUrl, Request, RequestPath
from runner.providers.provider import Echo, Listing, ListKind, Provider, ServiceLimits

FILMS: Final = "/v1/films"
UPLOADS: Final = "/v1/uploads"
INPUT: Final = ("prompt", "duration", "seed", "image")


class EchoingDialect(Dialect):
    """One prompt and one image; the body is the input."""

    def request(self, fields: Request, content: Content) -> Request:
        made: Request = {**fields}
        for item in content:
            image = item.get("image_url")
            if isinstance(image, dict):
                made["image"] = image["url"]
            else:
                made["prompt"] = item["text"]
        return made

    def texts(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        if isinstance(text := request.get("prompt"), str):
            yield ("prompt",), text

    def with_media(self, request: Request, media: MediaUrl) -> Request:
        return {**request, "image": media(request["image"])} if "image" in request else request


class EchoingClient(Client):
    async def submit(self, body: Body) -> SubmitOutcome:
        end = await self.post(body)
        outcome = judge_submit((), end, wall=self.wall(), with_slash=True)
        if outcome.verdict is not Verdict.ACCEPTED or not isinstance(end, Answer):
            return outcome
        status = read_url(read_object(end).get("status_url"))
        return replace(outcome, handle={"status": status} if status else {})

    async def get(self, task: RemoteTask) -> Generation:
        """By the URL that came with the id, as some services want it, where there is one."""
        answer = await self.free.get(task.handle.get("status") or f"{FILMS}/{quote(task.id, safe='')}")
        return read_film(read_object(answer), answer.server_time).checked(task.id)

    async def ping(self) -> float | None:
        return (await self.list_page(ListQuery(None, 1))).server_time

    async def list_page(self, query: ListQuery) -> ListPage:
        cursor = [("cursor", query.cursor)] if query.cursor else []
        answer = await self.free.get(FILMS, [("limit", str(query.limit)), *cursor])
        page = read_object(answer)
        rows, after = page["films"], page.get("next")
        assert isinstance(rows, list)
        read: list[Generation] = []
        for row in rows:
            with contextlib.suppress(ProviderError):
                read.append(read_film(row, answer.server_time))
        unreadable = len(rows) - len(read)
        return ListPage(
            tuple(read), bool(after), None, answer.server_time, unreadable, str(after) if after else ""
        )

    async def upload(self, file: InputFile, content: bytes) -> str:
        answer = await self.free.upload(UPLOADS, content, content_type=file.media_type)
        return read_url(read_object(answer).get("url"))


def read_film(film: JsonValue, server_time: float | None = None) -> Generation:
    if not isinstance(film, dict) or not (remote_id := usable_id(film.get("id"), with_slash=True)):
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no film with a usable id")
    state = clean(film.get("status"), 100)
    url = read_url(film.get("film"))
    shown = read_plain(film.get("input"))
    at = film.get("created_at")
    return Generation(
        id=remote_id,
        status=GenerationStatus(state),
        raw_status=state,
        model=clean(film.get("model"), 200),
        created_at=float(at) if isinstance(at, int | float) else None,
        files=(RemoteFile(RemoteFileKind.VIDEO, url),) if url else (),
        echo={name: shown[name] for name in INPUT if name in shown},
        server_time=server_time,
    )


def _client(
    paid: PaidRequests, free: FreeRequests, wall: Callable[[], float], hosts: Mapping[str, FreeRequests]
) -> Client:
    return EchoingClient(paid, free, wall, hosts)


ECHOING: Final = Provider(
    name="echoing",
    origin="https://films.example",
    key_variables=("FILMS_KEY",),
    url_variable="FILMS_URL",
    folder=Path(__file__).parent / "echoing",
    dialect=EchoingDialect(path=FILMS),
    make_client=_client,
    limits=ServiceLimits(body=1_000_000, large_body=1_000_000),
    record_life=7 * 86_400.0,
    url_life=3600.0,
    content_fields={"prompt": "text", "image": "image_url"},
    echoes=dict.fromkeys(INPUT, Echo.INPUT),
    chosen_by_service=frozenset({-1}),
    listing=Listing(kind=ListKind.CURSOR, page=3),
    takes_uploads=True,
    upload_paths=frozenset({UPLOADS}),
)
