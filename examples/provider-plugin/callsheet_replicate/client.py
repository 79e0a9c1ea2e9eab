"""The calls of Replicate, and its answers read into values."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from callsheet_replicate import REPLICATE, RESULT_LIFE
from callsheet_replicate.dialect import PLAIN
from callsheet_replicate.outcomes import READS, SUBMITS, told_wait
from runner.http.answers import (
    LAST_SECOND,
    Answer,
    clean,
    parse_number,
    read_moment,
    read_object,
    read_plain,
    read_scalars,
    read_url,
    usable_id,
)
from runner.http.multipart import FormPart, encode_form
from runner.http.outcomes import judge_submit
from runner.http.verdicts import ProviderError, Reaction, SubmitOutcome, Trouble
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
    read_rows,
)
from runner.providers.published import Published, Rate
from runner.providers.read_published import LeftOutError, read_published

PREDICTIONS: Final = "/predictions"
FILES: Final = "/files"
SECRET: Final = "/webhooks/default/secret"  # noqa: S105 - a path

STATUSES: Final = {
    "starting": GenerationStatus.QUEUED,
    "processing": GenerationStatus.RUNNING,
    "succeeded": GenerationStatus.SUCCEEDED,
    "failed": GenerationStatus.FAILED,
    "canceled": GenerationStatus.CANCELLED,
    # ended before it began, by Cancel-After or by hand: free
    "aborted": GenerationStatus.EXPIRED,
}
_CODE: Final = re.compile(r"\b(E\d{3,4})\b")
_HTTP: Final = re.compile(r"https?://", re.IGNORECASE)
_VERSION: Final = re.compile(r"[0-9a-f]{64}")
_SIGNED_FOR: Final = 300.0
"""Seconds that a call's signature is taken for, by its own time: what Standard Webhooks advises."""


@dataclass(frozen=True)
class ReplicateClient(Client):
    _secrets: list[bytes] = field(default_factory=list, repr=False)
    """The secret that signs calls, once it was asked for: in memory alone."""

    async def submit(self, body: Body) -> SubmitOutcome:
        outcome = judge_submit(SUBMITS, await self.post(body), wall=self.wall())
        if outcome.reaction is Reaction.BACK_OFF and outcome.retry_after is None:
            return replace(outcome, retry_after=told_wait(outcome.evidence.message))
        return outcome

    async def get(self, task: RemoteTask) -> Generation:
        answer = await self._get(f"{PREDICTIONS}/{quote(task.id, safe='')}")
        document = read_object(answer)
        generation = read_prediction(document, server_time=answer.server_time).checked(task.id)
        is_removed = document.get("data_removed") is True and not generation.files
        is_done = generation.status is GenerationStatus.SUCCEEDED
        if is_done and is_removed:
            told = "its output was removed an hour after it was made (data_removed)"
            raise ProviderError(Trouble.NOT_FOUND, told, status=answer.status)
        if (
            generation.status is GenerationStatus.SUCCEEDED
            and document.get("output")
            and not generation.files
        ):
            raise ProviderError(Trouble.WRONG_REQUEST, _not_read(document), status=answer.status)
        return generation

    async def ping(self) -> float | None:
        return (await self.list_page(ListQuery(self.wall(), limit=1))).server_time

    async def list_page(self, query: ListQuery) -> ListPage:
        """100 rows, newest first. `next` is followed as it was given, which is at this host or an error."""
        asked: list[tuple[str, str]] = []
        if not query.cursor and query.created_after is not None:
            since = math.floor(max(0.0, min(query.created_after, LAST_SECOND)))
            moment = datetime.fromtimestamp(since, UTC)
            asked.append(("created_after", moment.strftime("%Y-%m-%dT%H:%M:%SZ")))
        answer = await self._get(query.cursor or PREDICTIONS, asked)
        page = read_object(answer)
        following = page.get("next")
        if not isinstance(following, str | None):
            raise ProviderError(Trouble.UNAVAILABLE, "the list has no usable next")
        rows, unreadable = read_rows(page.get("results"), read_prediction)
        return ListPage(
            rows,
            has_more=bool(following),
            server_time=answer.server_time,
            unreadable=unreadable,
            cursor=following or "",
        )

    async def published_models(self) -> Published:
        """Whether each model of models.yaml is still there, and what it takes that is not known here.

        Prices stand on the service's pages alone.
        """
        rows: list[JsonValue] = []
        for family in REPLICATE.catalogue.families.values():
            model = family.ids[0]
            try:
                answer = await self._get(f"/models/{model}")
            except ProviderError as error:
                if error.trouble is not Trouble.NOT_FOUND:
                    raise
            else:
                rows.append({**read_object(answer), "id": model})
        return read_published(rows, _rates, source=f"{self.origin}/models")

    async def upload(self, file: InputFile, content: bytes) -> str:
        name = f"{file.sha256[:16]}{file.path.suffix.lower()}"
        part = FormPart("content", content, filename=name, content_type=file.media_type)
        body, content_type = encode_form([part])
        answer = await self.free.upload(FILES, body, content_type=content_type, troubles=READS)
        kept = read_object(answer)
        sums, urls = kept.get("checksums"), kept.get("urls")
        told = sums.get("sha256") if isinstance(sums, dict) else None
        if told not in (None, file.sha256):
            raise ProviderError(Trouble.UNAVAILABLE, "the service has kept another file than was sent")
        url = read_url(urls.get("get")) if isinstance(urls, dict) else ""
        if not url:
            raise ProviderError(Trouble.UNAVAILABLE, "the upload's answer names no address")
        return url

    async def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Standard Webhooks: HMAC-SHA256 over id, time and body."""
        call_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        at = parse_number(sent_at)
        if at is None or abs(self.wall() - at) > _SIGNED_FOR:
            return False
        if not self._secrets:
            self._secrets.append(read_secret(await self._get(SECRET)))
        signed = f"{call_id}.{sent_at}.".encode() + body
        wanted = base64.b64encode(hmac.digest(self._secrets[0], signed, hashlib.sha256)).decode()
        given = (each.partition(",") for each in headers.get("webhook-signature", "").split())
        return any(
            version == "v1" and hmac.compare_digest(wanted.encode(), value.encode())
            for version, _, value in given
        )

    async def _get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Answer:
        """A GET; a 429 waits as its text says. Raises ProviderError."""
        try:
            return await self.free.get(path, query, troubles=READS)
        except ProviderError as error:
            if error.trouble is Trouble.RATE_LIMITED and error.retry_after is None:
                error.retry_after = told_wait(error.message)
            raise


def read_secret(answer: Answer) -> bytes:
    """The key in `whsec_<base64>`. Raises ProviderError."""
    key = read_object(answer).get("key")
    try:
        secret = base64.b64decode(str(key).removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not isinstance(key, str) or not secret:
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no secret for webhooks")
    return secret


def read_prediction(document: JsonValue, *, server_time: float | None = None) -> Generation:
    """A prediction of a GET or a list. Raises ProviderError where it names none.

    The input is empty once it was wiped, and then nothing in it counts.
    """
    if not isinstance(document, dict) or not (remote_id := usable_id(document.get("id"))):
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no prediction with a usable id")
    status = clean(document.get("status"), 100)
    ended_at = read_moment(document.get("completed_at"))
    error = document.get("error")
    message = clean(error) or (clean(json.dumps(error)) if error is not None else "")
    code = _CODE.search(message)
    echoed = {} if document.get("data_removed") is True else read_plain(document.get("input"))
    return Generation(
        id=remote_id,
        status=STATUSES.get(status),
        raw_status=status,
        model=_model(document),
        created_at=read_moment(document.get("created_at")),
        updated_at=ended_at or read_moment(document.get("started_at")),
        files=_files(document.get("output"), ended_at),
        error_code=code[1] if code else "",
        error_message=message,
        echo={name: value for name, value in echoed.items() if name in PLAIN},
        usage=read_scalars(document.get("metrics")),
        server_time=server_time,
    )


def _model(document: Mapping[str, JsonValue]) -> str:
    """As jobs name it. An official model hides its version."""
    model, version = clean(document.get("model"), 200), document.get("version")
    is_version = isinstance(version, str) and _VERSION.fullmatch(version)
    return f"{model}:{version}" if model and is_version else model


def _files(output: JsonValue, ended_at: float | None) -> tuple[RemoteFile, ...]:
    """One URL, a list of them, or what a model of its own makes of that; pictures beside a video are left."""
    urls = [url for url in dict.fromkeys(map(read_url, _texts(output))) if _HTTP.match(url)]
    videos = [url for url in urls if not _is_other(url)]
    expires_at = None if ended_at is None else ended_at + RESULT_LIFE
    return tuple(RemoteFile(RemoteFileKind.VIDEO, url, expires_at) for url in videos or urls)


def _texts(output: JsonValue) -> Iterator[JsonValue]:
    """Every value within lists and objects, in order. No recursion: a service may nest without end."""
    left = [output]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += reversed(value.values())
        elif isinstance(value, list):
            left += reversed(value)
        else:
            yield value


def _is_other(url: str) -> bool:
    """Whether its name is that of a picture, a sound or a text."""
    kind = mimetypes.guess_type(url.partition("?")[0])[0]
    return kind is not None and not kind.startswith("video/")


def _not_read(document: Mapping[str, JsonValue]) -> str:
    urls = document.get("urls")
    web = read_url(urls.get("web")) if isinstance(urls, dict) else ""
    at = clean(web, 300) or f"prediction {clean(document.get('id'), 100)} at replicate.com"
    return f"it succeeded, and its output names no file; hint: look at {at} within an hour of its end"


def _rates(row: dict[str, JsonValue]) -> Iterator[Rate]:
    """None. Raises LeftOutError where the model takes inputs that request.schema.json does not know."""
    found: JsonValue = row
    for name in ("latest_version", "openapi_schema", "components", "schemas", "Input", "properties"):
        found = found.get(name) if isinstance(found, dict) else None
    known = REPLICATE.schema["properties"].keys()
    unknown = (
        sorted(clean(name, 40) for name in found if name not in known) if isinstance(found, dict) else []
    )
    if unknown:
        raise LeftOutError(
            f"prices stand on its page; it takes inputs that are not known here: {unknown[:9]}"
        )
    yield from ()
