"""The calls of /v1/videos, with each server's differences by its row (wire/openai-videos.md)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from runner.http.answers import (
    MOST_NUMBER,
    Answer,
    clean,
    is_moment,
    read_error,
    read_failure,
    read_json,
    read_object,
    read_plain,
    read_scalars,
    read_url,
    usable_id,
)
from runner.http.outcomes import judge_refusal, judge_submit
from runner.http.verdicts import ProviderError, SubmitOutcome, Trouble
from runner.json_value import JsonValue
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
from runner.providers.openai.outcomes import SUBMITS
from runner.providers.openai.servers import REFERENCE, Server

PATH: Final = "/videos"
LONGEST_ID: Final = 1000
"""A gateway's id holds those of its provider and its model, in base64."""
MOST_FILES: Final = 10

_STATUSES: Final[Mapping[str, GenerationStatus]] = {
    "queued": GenerationStatus.QUEUED,
    "pending": GenerationStatus.PENDING,
    "in_progress": GenerationStatus.RUNNING,
    "processing": GenerationStatus.RUNNING,
    "running": GenerationStatus.RUNNING,
    "completed": GenerationStatus.SUCCEEDED,
    "succeeded": GenerationStatus.SUCCEEDED,
    "failed": GenerationStatus.FAILED,
    "cancelled": GenerationStatus.CANCELLED,
    "canceled": GenerationStatus.CANCELLED,
    "deleted": GenerationStatus.CANCELLED,
    "expired": GenerationStatus.EXPIRED,
}
_MILLISECONDS = 100_000_000_000
"""A time from here on is not in seconds: they would be of the year 5138."""
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_MAY_TELL: Final = frozenset(range(400, 600)) - {401, 403, 407, 429}
"""Statuses that may be a failed job's own; the others tell of the key or of the pace."""


@dataclass(frozen=True)
class VideosClient(Client):
    """A Client of one kind of server."""

    server: Server = REFERENCE

    async def submit(self, body: Body) -> SubmitOutcome:
        """One POST, judged by rows 1 to 21 and 89 to 91 of docs/reference/faults.md."""
        return judge_submit(
            SUBMITS,
            await self.post(body),
            wall=self.wall(),
            with_slash=self.server.slash_in_ids,
            longest_id=LONGEST_ID,
        )

    async def get(self, task: RemoteTask) -> Generation:
        """The job as it is now, also where a failed one is told under its failure's own status.

        Raises ProviderError, also for an answer about another job.
        """
        answer = await self.free.get(f"{PATH}/{quote(task.id, safe='')}", also=_MAY_TELL)
        if answer.status in _MAY_TELL and not self._is_ended(answer, task.id):
            if _is_gone(answer):
                raise ProviderError(Trouble.NOT_FOUND, f"HTTP 404: {read_error(answer).message}", status=404)
            raise judge_refusal((), answer, wall=self.wall())
        return self._read(read_object(answer), answer.server_time).checked(task.id)

    async def ping(self) -> float | None:
        """The server time, by a list of one video or of the models. Raises ProviderError."""
        answer = await self.free.get(self.server.ping)
        read_json(answer)
        return answer.server_time

    async def list_page(self, query: ListQuery) -> ListPage:
        """One page, newest first: this list knows no times. Raises ProviderError."""
        asked = [("limit", str(min(query.limit, 100))), ("order", "desc")]
        if query.cursor:
            asked.append(("after", query.cursor))
        answer = await self.free.get(PATH, asked)
        page = read_object(answer)
        has_more = page.get("has_more")
        if not isinstance(has_more, bool):
            raise ProviderError(Trouble.UNAVAILABLE, "the list lacks has_more")
        read = functools.partial(self._read, server_time=answer.server_time)
        rows, unreadable = read_rows(page.get("data"), read)
        last = self._id(page.get("last_id")) or (rows[-1].id if rows else "")
        return ListPage(rows, has_more, None, answer.server_time, unreadable, last if has_more else "")

    def _id(self, value: JsonValue) -> str:
        return usable_id(value, with_slash=self.server.slash_in_ids, longest=LONGEST_ID)

    def _is_ended(self, answer: Answer, asked: str) -> bool:
        """Whether a refusal's body is the job that was asked for, ended without a video."""
        try:
            document = answer.document()
        except ValueError:
            return False
        if not isinstance(document, dict) or document.get("id") != asked:
            return False
        status = _read_status(document.get("status"))
        return status is not None and status.is_terminal and status is not GenerationStatus.SUCCEEDED

    def _read(self, document: JsonValue, server_time: float | None) -> Generation:
        """A job object. Raises ProviderError where it names no job."""
        if not isinstance(document, dict) or not (remote_id := self._id(document.get("id"))):
            raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no video with a usable id")
        status = _read_status(document.get("status"))
        code, message = _read_error(document.get("error"))
        is_done = status is GenerationStatus.SUCCEEDED
        return Generation(
            id=remote_id,
            status=status,
            raw_status=clean(document.get("status"), 100),
            model=clean(document.get("model"), 200),
            created_at=_moment(document.get("created_at")),
            updated_at=_moment(document.get("completed_at")),
            files=self._files(remote_id, document) if is_done else (),
            error_code=code,
            error_message=message,
            echo=self._echo(document),
            usage={
                **read_scalars(document.get("usage")),
                **read_scalars({"inference_time_s": document.get("inference_time_s")}),
            },
            server_time=server_time,
        )

    def _files(self, remote_id: str, document: Mapping[str, JsonValue]) -> tuple[RemoteFile, ...]:
        """The videos: at an address that the job names, else the server's own content of it."""
        expires_at = _moment(document.get("expires_at"))
        content = f"{self.origin}{PATH}/{quote(remote_id, safe='')}/content"
        urls = [content]
        if self.server.indexed_files:
            named = _texts(document.get("urls"), document.get("url"))
            number = max(1, len(_texts(document.get("file_paths"), document.get("file_path"))))
            found = [
                url for each in named if each.startswith(("https://", "http://")) if (url := read_url(each))
            ]
            urls = found or [f"{content}?variant={index}" for index in range(number)]
        return tuple(RemoteFile(RemoteFileKind.VIDEO, url, expires_at) for url in urls[:MOST_FILES])

    def _echo(self, document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Of what was asked for, what came back; the length as this server's requests have it."""
        echo = {name: document.get(name) for name in self.server.echoes}
        seconds = echo.get("seconds")
        if isinstance(seconds, float) and seconds.is_integer():
            seconds = int(seconds)
        if isinstance(seconds, int | str) and _SECONDS.fullmatch(str(seconds)):
            echo["seconds"] = self.server.seconds(str(seconds))
        return read_plain(echo)


def _is_gone(answer: Answer) -> bool:
    """Whether the server itself, in FastAPI's words, says that it has no such job: its word for a wrong path
    is another one.
    """
    if answer.status != 404:
        return False
    try:
        document = answer.document()
    except ValueError:
        return False
    detail = document.get("detail") if isinstance(document, dict) else None
    return isinstance(detail, str) and detail != "Not Found"


def _read_status(raw: JsonValue) -> GenerationStatus | None:
    """None for a word that is not known: nothing ends by it."""
    return _STATUSES.get(raw.lower()) if isinstance(raw, str) else None


def _read_error(error: JsonValue) -> tuple[str, str]:
    """(code, message); the code may be a number."""
    code, message = read_failure(error)
    number = error.get("code") if isinstance(error, dict) else None
    if isinstance(number, int) and not isinstance(number, bool) and abs(number) < MOST_NUMBER:
        code = str(number)
    return code, message


def _texts(several: JsonValue, one: JsonValue) -> Sequence[str]:
    found = several if isinstance(several, list) and several else [one]
    return [each for each in found if isinstance(each, str) and each]


def _moment(value: JsonValue) -> float | None:
    """Unix seconds of a time in seconds or milliseconds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    if not 0 < value < 1000 * _MILLISECONDS:
        return None
    seconds = float(value) / 1000 if value >= _MILLISECONDS else float(value)
    return seconds if is_moment(seconds) else None
