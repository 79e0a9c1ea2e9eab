"""fal's queue, the history of its platform API, and its uploads."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlsplit

from runner.http.answers import (
    LAST_SECOND,
    Answer,
    clean,
    parse_number,
    read_count,
    read_json,
    read_moment,
    read_object,
    read_plain,
    read_url,
    read_usd,
    usable_id,
)
from runner.http.free import FreeRequests
from runner.http.outcomes import judge_refusal, judge_submit
from runner.http.verdicts import ProviderError, SubmitOutcome, Trouble, Verdict
from runner.json_value import JsonValue
from runner.money import PriceUnit
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
from runner.providers.fal import FAL, HISTORY_LIFE, TOKEN_PATH, UPLOAD_PATH
from runner.providers.fal.outcomes import ENDED, FREE_FROM, SUBMITS
from runner.providers.fal.signature import KeySet, is_current, verify
from runner.providers.published import Published, Rate
from runner.providers.read_published import LeftOutError, published_price, read_published

HISTORY_PATH: Final = "/v1/models/requests/by-endpoint"
PRICES_PATH: Final = "/v1/models/pricing"
BILLING_PATH: Final = "/v1/account/billing"
KEYS_PATH: Final = "/.well-known/jwks.json"
NOBODYS: Final = "00000000-0000-0000-0000-000000000000"
HANDLE: Final = ("response_url", "status_url", "cancel_url")
_NOT_FOR_THIS_KEY: Final = frozenset({401, 403})
MOST_ENDPOINTS: Final = 50
"""In one question for prices."""
UPLOAD_LIFE: Final = 7 * 86_400
"""Seconds for which an uploaded input lies at its address, which anybody may read: longer than any request
waits and runs."""

_STATUSES = {
    "IN_QUEUE": GenerationStatus.QUEUED,
    "IN_PROGRESS": GenerationStatus.RUNNING,
    "CANCELED": GenerationStatus.CANCELLED,
    "CANCELLED": GenerationStatus.CANCELLED,
}
_ENDED = ("COMPLETED", "FAILED")
_NAMESPACES = ("workflows", "comfy")
_KINDS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@dataclass(frozen=True)
class FalClient(Client):
    """A Client of fal.ai's queue; its `hosts` are `rest`, `platform` and `files`."""

    keys: KeySet = field(default_factory=KeySet)

    async def submit(self, body: Body) -> SubmitOutcome:
        """One POST, judged by rows 1 to 21 and 93 of docs/reference/faults.md."""
        end = await self.post(body)
        outcome = judge_submit(SUBMITS, end, wall=self.wall(), id_at=("request_id",))
        if not isinstance(end, Answer):
            return outcome
        evidence = replace(outcome.evidence, code=_code(end), request_id=_request_id(end))
        handle = self._handle(read_object(end)) if outcome.verdict is Verdict.ACCEPTED else {}
        return replace(outcome, evidence=evidence, handle=handle)

    def _handle(self, document: Mapping[str, JsonValue]) -> dict[str, str]:
        """The URLs of the answer, if all lie on the queue's own host: the key goes there."""
        found = {name: str(document.get(name) or "") for name in HANDLE}
        return found if all(_is_below(url, self.origin) for url in found.values()) else {}

    async def get(self, task: RemoteTask) -> Generation:
        """The request as it is now; of one that has ended, the result. Raises ProviderError.

        What the queue has dropped is read from the history.
        """
        try:
            return await self._live(task)
        except ProviderError as error:
            if error.trouble is Trouble.NOT_FOUND and (found := await self._remembered(task)) is not None:
                return found
            raise

    async def _live(self, task: RemoteTask) -> Generation:
        """As the queue has it. Raises ProviderError."""
        own = f"{_queue_path(task.model)}/requests/{quote(task.id, safe='')}"
        urls = {"response_url": own, "status_url": f"{own}/status"}
        if all(_is_below(task.handle.get(name, ""), self.origin) for name in urls):
            urls = dict(task.handle)
        answer = _known(await self.free.get(urls["status_url"], [("logs", "0")], also={404}))
        state = read_object(answer)
        status = str(state.get("status"))
        if state.get("request_id", task.id) != task.id:
            raise ProviderError(Trouble.UNAVAILABLE, f"asked for {task.id}, told about another request")
        if status not in _ENDED:
            return self._at_work(task, answer, status)
        return await self._result(task, urls["response_url"], state)

    async def _remembered(self, task: RemoteTask) -> Generation | None:
        """As the history has it; None where it has not, or does not answer."""
        with contextlib.suppress(ProviderError):
            page = await self._history(task.model, [("request_id", task.id), ("limit", "1")])
            return next((row for row in page.rows if row.id == task.id), None)
        return None

    def _at_work(self, task: RemoteTask, answer: Answer, status: str) -> Generation:
        return Generation(
            id=task.id,
            status=_STATUSES.get(status),
            raw_status=clean(status, 100),
            model=task.model,
            request_id=_request_id(answer),
            server_time=answer.server_time,
        )

    async def _result(self, task: RemoteTask, url: str, state: Mapping[str, JsonValue]) -> Generation:
        """COMPLETED is ended, not succeeded: the status of the result is the task's."""
        answer = _known(await self.free.get(url, also={404, *ENDED}))
        is_told = bool(state.get("error") or state.get("error_type")) or state.get("status") == "FAILED"
        if answer.status >= 300 and (_is_early(answer) or not (is_told or _is_of_fal(answer))):
            # a page of an edge, or of a queue that does not have it yet
            raise judge_refusal((), answer, wall=self.wall())
        if answer.status >= FREE_FROM and not is_told:
            # the queue's own trouble reads as the task's does, and a paid video may be behind it
            if (found := await self._remembered(task)) is not None:
                return found
            raise judge_refusal((), answer, wall=self.wall())
        generation = read_output(
            task.id,
            task.model,
            answer.status,
            read_json(answer),
            code=_code(answer) or _text(state, "error_type"),
        )
        units = parse_number(answer.headers.get("x-fal-billable-units", ""))
        usage: dict[str, JsonValue] = {"billable_units": units} if units is not None else {}
        return replace(
            generation, usage=usage, request_id=_request_id(answer), server_time=answer.server_time
        )

    async def ping(self) -> float | None:
        """The server time, by the status of a request that nobody made. Raises ProviderError.

        The queue is asked, and not the history: a key that may submit need not be one that may read that.
        """
        path = f"{_queue_path(next(iter(FAL.catalogue.by_whole_id)))}/requests/{NOBODYS}/status"
        answer = await self.free.get(path, also={404})
        if not _is_of_fal(answer):
            raise judge_refusal((), answer, wall=self.wall())
        return answer.server_time

    async def list_page(self, query: ListQuery) -> ListPage:
        """One page of what has ended, newest first, with its input. Raises ProviderError."""
        since = self.wall() - HISTORY_LIFE if query.created_after is None else query.created_after
        moment = datetime.fromtimestamp(max(0.0, min(since, LAST_SECOND)), UTC)
        asked = [
            ("limit", str(min(query.limit, 100))),
            ("start", moment.strftime("%Y-%m-%dT%H:%M:%SZ")),
            ("expand", "payloads"),
        ]
        return await self._history(
            query.model, [*asked, *([("cursor", query.cursor)] if query.cursor else [])]
        )

    async def _history(self, model: str, query: list[tuple[str, str]]) -> ListPage:
        """Raises ProviderError."""
        if ("expand", "payloads") not in query:
            query = [*query, ("expand", "payloads")]
        answer = await self.hosts["platform"].get(HISTORY_PATH, [("endpoint_id", model), *query])
        page = read_object(answer)
        has_more, cursor = page.get("has_more"), page.get("next_cursor")
        if not isinstance(has_more, bool):
            raise ProviderError(Trouble.UNAVAILABLE, "the history lacks has_more")
        rows, unreadable = read_rows(page.get("items"), read_item)
        return ListPage(
            tuple(replace(row, server_time=answer.server_time) for row in rows),
            has_more,
            server_time=answer.server_time,
            unreadable=unreadable,
            cursor=cursor if isinstance(cursor, str) and len(cursor) <= 4096 else "",
        )

    async def published_models(self) -> Published:
        """The price of each known endpoint that has one price. Raises ProviderError."""
        rows: list[JsonValue] = []
        models = [*FAL.catalogue.by_whole_id]
        for first in range(0, len(models), MOST_ENDPOINTS):
            asked = [("endpoint_id", ",".join(models[first : first + MOST_ENDPOINTS]))]
            answer = await self.hosts["platform"].get(PRICES_PATH, asked)
            prices = read_object(answer).get("prices")
            rows += prices if isinstance(prices, list) else []
        named: list[JsonValue] = [
            {**row, "id": row.get("endpoint_id")} if isinstance(row, dict) else row for row in rows
        ]
        return read_published(
            named, read_rates, source=f"{self.hosts['platform'].access.origin}{PRICES_PATH}"
        )

    async def balance(self) -> str:
        """What the account may still spend: fal tells it to an admin's key alone. Raises ProviderError."""
        try:
            answer = await self.hosts["platform"].get(BILLING_PATH, [("expand", "credits")])
        except ProviderError as error:
            if error.status in _NOT_FOR_THIS_KEY:
                return ""
            raise
        told = read_object(answer).get("credits")
        if not isinstance(told, dict) or told.get("currency") != "USD":
            return ""
        return read_usd(told.get("current_balance"))

    async def upload(self, file: InputFile, content: bytes) -> str:
        """Its URL, after a token for the files' host, which gets no key. Raises ProviderError."""
        answer = await self.hosts["rest"].upload(
            TOKEN_PATH,
            b"{}",
            content_type="application/json",
            query=[("storage_type", "fal-cdn-v3")],
        )
        said = read_object(answer)
        token, scheme = said.get("token"), said.get("token_type")
        if not _is_word(token) or not _is_word(scheme):
            raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no usable token for uploads")
        life = json.dumps({"expiration_duration_seconds": UPLOAD_LIFE})
        name = f"{file.sha256[:16]}.{_KINDS.get(file.media_type, 'bin')}"
        answer = await self.hosts["files"].upload(
            UPLOAD_PATH,
            content,
            content_type=file.media_type,
            authorization=f"{scheme} {token}",
            headers=[("X-Fal-File-Name", name), ("X-Fal-Object-Lifecycle", life)],
        )
        url = read_url(read_object(answer).get("access_url"))
        if not url.startswith(("https://", f"{self.hosts['files'].access.origin}/")):
            raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no usable address of the upload")
        return url

    async def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether fal signed this call lately, by a key that it publishes. Raises ProviderError."""
        if not is_current(headers, self.wall()):
            return False
        keys = await self.keys.get(functools.partial(_keys, self.hosts["rest"]), self.wall())
        if verify(keys, headers, body):
            return True
        newer = await self.keys.newer(functools.partial(_keys, self.hosts["rest"]), self.wall())
        return newer is not None and verify(newer, headers, body)


async def _keys(rest: FreeRequests) -> JsonValue:
    return read_json(await rest.get(KEYS_PATH))


def _queue_path(model: str) -> str:
    """The owner and the app: status, result and cancel drop what is below them."""
    parts = model.split("/")
    return "/" + quote("/".join(parts[: 3 if parts[0] in _NAMESPACES else 2]))


def _is_below(url: str, origin: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(read_url(url)) and f"{parts.scheme}://{parts.netloc}" == origin and not parts.fragment


def _is_word(value: JsonValue) -> bool:
    """Whether a text can stand in a header."""
    return isinstance(value, str) and 1 <= len(value) <= 8192 and all("!" <= each <= "~" for each in value)


def _request_id(answer: Answer) -> str:
    return clean(answer.headers.get("x-fal-request-id", ""), 200)


def _is_of_fal(answer: Answer) -> bool:
    """Whether fal's own error is in the answer, and not the page of an edge."""
    said = _said(answer)
    return bool(said.get("detail")) or said.get("status") == "NOT_FOUND"


def _is_early(answer: Answer) -> bool:
    """Whether the queue says that it has no result yet."""
    detail = str(_said(answer).get("detail")).lower()
    return answer.status == 400 and ("in progress" in detail or "not completed" in detail)


def _known(answer: Answer) -> Answer:
    """The answer. Raises ProviderError for a 404: NOT_FOUND only where fal itself says it."""
    if answer.status != 404:
        return answer
    trouble = Trouble.NOT_FOUND if _is_of_fal(answer) else Trouble.UNAVAILABLE
    raise ProviderError(trouble, "HTTP 404: fal does not have the request", status=404)


def _said(answer: Answer) -> Mapping[str, JsonValue]:
    """The object in an answer; an empty one where there is none."""
    try:
        document = answer.document()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _code(answer: Answer) -> str:
    """The type of an error: of the platform's, else of the model's first, else of the header."""
    said = _said(answer)
    if told := _text(said, "error_type"):
        return told
    detail = said.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return _text(detail[0], "type")
    return clean(answer.headers.get("x-fal-error-type", ""), 100)


def _text(document: Mapping[str, JsonValue], name: str) -> str:
    return clean(document.get(name), 100)


def _message(document: JsonValue) -> str:
    detail = document.get("detail") if isinstance(document, dict) else None
    if isinstance(detail, list):
        said = [str(each.get("msg")) for each in detail[:5] if isinstance(each, dict)]
        return clean("; ".join(said))
    return clean(detail)


def read_output(
    remote_id: str, model: str, status: int, document: JsonValue, *, code: str = ""
) -> Generation:
    """A result by its HTTP status. Each `video`, or one of `videos`, with a usable URL is a file."""
    is_success = 200 <= status < 300
    known = document if isinstance(document, dict) else {}
    videos = known.get("videos")
    found = [known.get("video"), *(videos if isinstance(videos, list) else ())] if is_success else []
    seed = read_count(known.get("seed"))
    return Generation(
        id=remote_id,
        status=GenerationStatus.SUCCEEDED if is_success else GenerationStatus.FAILED,
        raw_status=str(status),
        model=model,
        files=tuple(
            RemoteFile(RemoteFileKind.VIDEO, url)
            for each in found
            if (url := read_url(each.get("url") if isinstance(each, dict) else None))
        ),
        error_code="" if is_success else code or str(status),
        error_message="" if is_success else _message(document),
        echo={"seed": seed} if is_success and seed is not None else {},
        # 422 may be billed, where a runner had worked
        cost_usd="0" if status >= FREE_FROM else "",
    )


def read_item(item: JsonValue) -> Generation:
    """A row of the history. Raises ProviderError where it names no request with a usable id."""
    if not isinstance(item, dict) or not (remote_id := usable_id(item.get("request_id"))):
        raise ProviderError(Trouble.UNAVAILABLE, "the row holds no request with a usable id")
    model, status, output = (
        clean(item.get("endpoint_id"), 200),
        item.get("status_code"),
        item.get("json_output"),
    )
    if not isinstance(status, int) or not 200 <= status < 600:
        # one that is still at work has ended neither way
        raise ProviderError(Trouble.UNAVAILABLE, "the row has no status")
    detail = output.get("detail") if isinstance(output, dict) else None
    first = detail[0] if isinstance(detail, list) and detail else None
    read = read_output(
        remote_id, model, status, output, code=_text(first, "type") if isinstance(first, dict) else ""
    )
    given = item.get("json_input")
    return replace(
        read,
        created_at=read_moment(item.get("sent_at")),
        updated_at=read_moment(item.get("ended_at")),
        echo={**read.echo, **read_input(given)},
    )


def read_input(given: JsonValue) -> dict[str, JsonValue]:
    """The plain fields of an input, as they came back."""
    return {name: value for name, value in read_plain(given).items() if name in FAL.echoes}


_UNITS = {
    "second": PriceUnit.SECOND,
    "seconds": PriceUnit.SECOND,
    "video": PriceUnit.TASK,
    "videos": PriceUnit.TASK,
}


def read_rates(row: dict[str, JsonValue]) -> Iterator[Rate]:
    """The price of an endpoint. Raises LeftOutError.

    There is none where the resolution decides over it, which the list does not tell: the price of the
    smallest would weaken a cap. One that models.yaml does not have there is told. With a video among the
    inputs its seconds are billed too, so a price by the second is for requests without one.
    """
    if row.get("currency", "USD") != "USD":
        raise LeftOutError(f"its currency is `{clean(row.get('currency'), 20)}`, not USD")
    unit_word = clean(str(row.get("unit")), 40).lower()
    unit = _UNITS.get(unit_word)
    if unit is None:
        raise LeftOutError(f"it is for a `{unit_word}`, which is not known here")
    price = published_price(row.get("unit_price"), unit)
    family = FAL.catalogue.find(str(row.get("id")))
    known = {each.plain for each in family.prices.values()} if family is not None else set()
    if family is None or len(family.resolutions) < 2:
        yield Rate(price, with_video=False if unit is PriceUnit.SECOND else None)
    elif not known:
        raise LeftOutError(f"it is {price.usd} a {unit_word}, and does not say at which resolution")
    elif unit is not PriceUnit.SECOND or price.usd not in known:
        told = ", ".join(map(str, sorted(known)))
        raise LeftOutError(f"it is {price.usd} a {unit_word}, where {told} a second are known, by resolution")
