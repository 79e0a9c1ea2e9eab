"""Mesh API, /v1/video/generations; its shapes are in tests/wire/mesh-video-openapi.yaml."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from runner.http.answers import (
    LAST_SECOND,
    clean,
    read_count,
    read_failure,
    read_json,
    read_object,
    read_scalars,
    read_seconds,
    read_url,
    usable_id,
)
from runner.http.outcomes import judge_submit
from runner.http.verdicts import ProviderError, SubmitOutcome, Trouble
from runner.json_value import JsonValue
from runner.money import PriceUnit
from runner.providers.base import (
    Body,
    Client,
    Generation,
    GenerationStatus,
    ListPage,
    ListQuery,
    RemoteFile,
    RemoteFileKind,
    RemoteTask,
    read_rows,
)
from runner.providers.mesh import MESH, TAG
from runner.providers.mesh.outcomes import READS, SUBMITS
from runner.providers.published import Published, Rate
from runner.providers.read_published import LeftOutError, published_price, read_published

PATH: Final = MESH.dialect.path
MODELS_PATH: Final = "/v1/models"

_FILE_KINDS = {"video_url": RemoteFileKind.VIDEO, "last_frame_url": RemoteFileKind.LAST_FRAME}


class MeshClient(Client):
    """A Client of Mesh API."""

    async def submit(self, body: Body) -> SubmitOutcome:
        """One POST, judged by rows 1 to 21 of docs/reference/faults.md."""
        return judge_submit(SUBMITS, await self.post(body), wall=self.wall())

    async def get(self, task: RemoteTask) -> Generation:
        """The task as it is now. Raises ProviderError, also for an answer about another task."""
        answer = await self.free.get(f"{PATH}/{quote(task.id, safe='')}", troubles=READS)
        return read_generation(read_object(answer), server_time=answer.server_time).checked(task.id)

    async def ping(self) -> float | None:
        """The server time, by a list of one: free, and refused without a good key. Raises ProviderError."""
        return (await self.list_page(ListQuery(None, limit=1))).server_time

    async def list_page(self, query: ListQuery) -> ListPage:
        """One page, newest first. Raises ProviderError.

        A row that cannot be read is counted, for it may be a paid task that would look absent without it.
        """
        asked = [("limit", str(query.limit)), ("offset", str(query.offset))]
        if query.created_after is not None:
            since = math.floor(max(0.0, min(query.created_after, LAST_SECOND)))
            moment = datetime.fromtimestamp(since, UTC)
            asked.append(("created_after", moment.strftime("%Y-%m-%dT%H:%M:%SZ")))
        answer = await self.free.get(PATH, asked, troubles=READS)
        page = read_object(answer)
        has_more, total = page.get("has_more"), page.get("total")
        if not isinstance(has_more, bool) or not isinstance(total, int):
            raise ProviderError(Trouble.UNAVAILABLE, "the list lacks has_more or total")
        read = functools.partial(read_generation, server_time=answer.server_time)
        rows, unreadable = read_rows(page.get("data"), read)
        return ListPage(rows, has_more, total, answer.server_time, unreadable)

    async def published_models(self) -> Published:
        """The video models and their prices. Raises ProviderError."""
        answer = await self.free.get(MODELS_PATH, [("type", "video")], troubles=READS)
        document = read_json(answer)
        rows = document.get("data", document.get("models")) if isinstance(document, dict) else document
        source = f"{self.origin}{MODELS_PATH}?type=video"
        return read_published(rows, read_rates, source=source)


_RATES: Mapping[str, tuple[PriceUnit, bool | None, bool | None]] = {
    "output_usd_per_1m": (PriceUnit.MTOK, None, None),
    "output_with_audio_usd_per_1m": (PriceUnit.MTOK, True, None),
    "output_with_video_usd_per_1m": (PriceUnit.MTOK, None, True),
}
"""Of `pricing`, what a million tokens cost: unit, sound, video among the inputs. Where several are for a
request the dearest counts, and a discount that is told beside them does not."""


def read_rates(row: dict[str, JsonValue]) -> Iterator[Rate]:
    """The rates of a row of /v1/models. Raises LeftOutError."""
    pricing = row.get("pricing")
    if pricing is None:
        return
    if not isinstance(pricing, dict):
        raise LeftOutError("`pricing` is not an object")
    found = {name: rate for name, rate in _RATES.items() if pricing.get(name) is not None}
    for name, (unit, sound, with_video) in found.items():
        yield Rate(published_price(pricing[name], unit), sound=sound, with_video=with_video)
    if not found and pricing.get("request_usd") is not None:
        yield Rate(published_price(pricing["request_usd"], PriceUnit.TASK))


def read_generation(document: JsonValue, *, server_time: float | None = None) -> Generation:
    """A task object of a GET, a list row or a webhook. Raises ProviderError where it names no task."""
    if not isinstance(document, dict) or not (remote_id := usable_id(document.get("id"))):
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no task with a usable id")
    raw_status = document.get("status")
    updated_at = read_seconds(document.get("updated_at"))
    code, message = read_failure(document.get("error"))
    usage = read_scalars(document.get("usage"))
    return Generation(
        id=remote_id,
        status=_read_status(raw_status),
        raw_status=clean(raw_status, 100),
        model=clean(document.get("model"), 200),
        created_at=read_seconds(document.get("created_at")),
        updated_at=updated_at,
        files=_read_files(document.get("content"), updated_at),
        error_code=code,
        error_message=message,
        echo=read_scalars({name: document.get(name) for name in MESH.echoes}),
        # -1 says that nothing is decided yet
        tag=TAG.read(document.get(TAG.field)),
        usage=usage,
        # input tokens are 0 (wire/seedance.md)
        billed_tokens=read_count(usage.get("completion_tokens")),
        request_id=clean(document.get("request_id"), 200),
        server_time=server_time,
    )


def _read_status(raw: JsonValue) -> GenerationStatus | None:
    try:
        return GenerationStatus(raw) if isinstance(raw, str) else None
    except ValueError:
        return None


def _read_files(content: JsonValue, updated_at: float | None) -> tuple[RemoteFile, ...]:
    """Both documented shapes: one object of URLs, or a list of `{"type", "url"}` items."""
    named: list[tuple[str, JsonValue]] = []
    if isinstance(content, dict):
        named = list(content.items())
    elif isinstance(content, list):
        for item in content:
            if isinstance(item, dict) and isinstance(kind := item.get("type"), str):
                named.append((kind, item.get("url", item.get(kind))))
    expires_at = None if updated_at is None else updated_at + MESH.url_life
    return tuple(
        RemoteFile(_FILE_KINDS[name], url, expires_at)
        for name, value in named
        if name in _FILE_KINDS
        if (url := read_url(value.get("url") if isinstance(value, dict) else value))
    )
