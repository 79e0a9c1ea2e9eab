"""Ark, /contents/generations/tasks below /api/v3; golden answers are in tests/wire/ark."""

from __future__ import annotations

import functools
from typing import Final
from urllib.parse import quote

from runner.http.answers import (
    Answer,
    clean,
    read_count,
    read_failure,
    read_object,
    read_scalars,
    read_seconds,
    read_url,
    usable_id,
)
from runner.http.outcomes import judge_submit
from runner.http.verdicts import ProviderError, SubmitOutcome, Trouble
from runner.json_value import JsonValue
from runner.providers.ark import ARK, TAG
from runner.providers.ark.outcomes import READS, SUBMITS
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
from runner.providers.provider import TagField

PATH: Final = ARK.dialect.path

_FILE_KINDS = {"video_url": RemoteFileKind.VIDEO, "last_frame_url": RemoteFileKind.LAST_FRAME}
_STATUSES = {
    each.value: each
    for each in (
        GenerationStatus.QUEUED,
        GenerationStatus.RUNNING,
        GenerationStatus.SUCCEEDED,
        GenerationStatus.FAILED,
        GenerationStatus.CANCELLED,
        GenerationStatus.EXPIRED,
    )
}


class ArkClient(Client):
    """A Client of Ark."""

    @property
    def _tag(self) -> TagField:
        return ARK.tags.get(self.tag_field, TAG)

    async def submit(self, body: Body) -> SubmitOutcome:
        """One POST, judged by rows 1 to 21 and 85 to 87 of docs/reference/faults.md."""
        return judge_submit(SUBMITS, await self.post(body), wall=self.wall())

    async def get(self, task: RemoteTask) -> Generation:
        """The task as it is now. Raises ProviderError, also for an answer about another task."""
        answer = await self.free.get(f"{PATH}/{quote(task.id, safe='')}", troubles=READS)
        return read_generation(read_object(answer), answer, self._tag).checked(task.id)

    async def ping(self) -> float | None:
        """The server time, by a list of one: free, and refused without a good key. Raises ProviderError.

        None for a key of chosen models, which has to name one: it was taken all the same.
        """
        try:
            return (await self.list_page(ListQuery(None, limit=1))).server_time
        except ProviderError as error:
            if error.trouble is Trouble.WRONG_REQUEST:
                return None
            raise

    async def list_page(self, query: ListQuery) -> ListPage:
        """One page of the last seven days, in an order that is not documented. Raises ProviderError.

        A row that cannot be read is counted, for it may be a paid task that would look absent without it.
        """
        number = query.offset // query.limit + 1
        asked = [("page_num", str(number)), ("page_size", str(query.limit))]
        if query.model:
            asked.append(("filter.model", query.model))
        if query.scope:
            asked.append(("filter.service_tier", query.scope))
        answer = await self.free.get(PATH, asked, troubles=READS)
        page = read_object(answer)
        rows, total = page.get("items"), read_count(page.get("total"))
        if rows is None and total == 0:
            rows = []
        if total is None:
            raise ProviderError(Trouble.UNAVAILABLE, "the list lacks its total")
        read, unreadable = read_rows(rows, functools.partial(read_generation, answer=answer, tag=self._tag))
        has_more = bool(rows) and number * query.limit < total
        return ListPage(read, has_more, total, answer.server_time, unreadable)


def read_generation(document: JsonValue, answer: Answer | None = None, tag: TagField = TAG) -> Generation:
    """A task object of a GET or a list row; `answer` is what it came in, and `tag` the field that has our
    number. Raises ProviderError where it names no task.
    """
    if not isinstance(document, dict) or not (remote_id := usable_id(document.get("id"))):
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no task with a usable id")
    raw_status = document.get("status")
    updated_at = read_seconds(document.get("updated_at"))
    code, message = read_failure(document.get("error"))
    usage = read_scalars(document.get("usage"))
    headers = answer.headers if answer is not None else {}
    return Generation(
        id=remote_id,
        status=_STATUSES.get(raw_status) if isinstance(raw_status, str) else None,
        raw_status=clean(raw_status, 100),
        model=clean(document.get("model"), 200),
        created_at=read_seconds(document.get("created_at")),
        updated_at=updated_at,
        files=_read_files(document.get("content"), updated_at),
        error_code=code,
        error_message=message,
        echo=read_scalars({name: document.get(name) for name in ARK.echoes}),
        tag=tag.read(document.get(tag.field)),
        usage=usage,
        billed_tokens=read_count(usage.get("completion_tokens")),
        request_id=clean(headers.get("x-request-id"), 200),
        server_time=answer.server_time if answer is not None else None,
    )


def _read_files(content: JsonValue, updated_at: float | None) -> tuple[RemoteFile, ...]:
    expires_at = None if updated_at is None else updated_at + ARK.url_life
    found = content if isinstance(content, dict) else {}
    return tuple(
        RemoteFile(kind, url, expires_at)
        for name, kind in _FILE_KINDS.items()
        if (url := read_url(found.get(name)))
    )
