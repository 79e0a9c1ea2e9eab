"""Reading what a service answers: bodies, errors, times. Pure, and tolerant of any bytes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import NoReturn

from runner.http.verdicts import ProviderError, Trouble
from runner.json_value import JsonValue
from runner.money import MOST_USD

MOST_BODY = 1_048_576
"""Bytes of an API answer that are read; more is refused."""
LONGEST_WAIT = 600.0
"""Seconds; a Retry-After beyond this (or a date in another year) is taken as this."""
A_QUOTA_LASTS = (3600.0, 32 * 86_400.0)
"""Seconds: a Retry-After between these says that a quota is used up until the next hour, day or month
begins. A longer one is absurd, and says nothing."""

_LONGEST_MESSAGE = 500
_DATA_URI = re.compile(r"\bdata:[\w.+/-]*[;,][^\s\"'<>)]*", re.IGNORECASE)
# also without its scheme, and with the slashes that JSON within a text may have
_URL_QUERY = re.compile(r"(?<![\\/])((?:\\?/){2}[^\s?#\"'<>]{1,2000})[?#][^\s\"'<>]*")
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. Header names are in lower case.

    `unreadable` says why the body was not taken (too large, encoded); it is empty otherwise.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    unreadable: str = ""

    @property
    def server_time(self) -> float | None:
        """The Date header in Unix seconds."""
        return parse_http_date(self.headers.get("date", ""))

    def document(self) -> JsonValue:
        """The body as JSON. Raises ValueError for whatever is not JSON text in UTF-8."""
        if self.unreadable:
            raise ValueError(self.unreadable)
        try:
            value: JsonValue = json.loads(self.body.decode(), parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        return value


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error answer, in whichever shape; golden ones are in tests/wire.

    `is_envelope`: the service's own envelope, so the service itself wrote it and no edge.
    `retry_after` is in seconds as told, not clamped.
    """

    is_envelope: bool = False
    is_signed: bool = False
    """The body names its request: proof that the service wrote it, where all of its errors do."""
    is_problem: bool = False
    """A problem document of RFC 9457, whose title is the `code`."""
    code: str = ""
    message: str = ""
    provider_code: str = ""
    type: str = ""
    request_id: str = ""
    retry_after: float | None = None


_MOST_DECIMALS = 18
"""Of a price: written out, `1e-999999` would fill a megabyte."""
MOST_NUMBER = 2**53
"""JSON, SQLite and arithmetic agree on numbers up to it: each is exact as a float."""
LAST_SECOND = 253_402_300_799.0
"""Of the year 9999, in Unix seconds: no later moment can be printed."""
LONGEST_ID = 200
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


def usable_id(value: object, *, with_slash: bool = False, longest: int = LONGEST_ID) -> str:
    """`value` where it can name a generation, else an empty string.

    1 to `longest` visible ASCII characters without a slash, and not a dot segment: whatever else is in
    it, it can be percent-encoded into one path segment and come back from any server unchanged.
    `with_slash` is for a service that is known to take `%2F` as a part of its segment.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= longest or value in (".", ".."):
        return ""
    if "/" in value and not (with_slash and all(part not in ("", ".", "..") for part in value.split("/"))):
        return ""
    return value if all("!" <= character <= "~" for character in value) else ""


def clean(text: object, limit: int = _LONGEST_MESSAGE) -> str:
    """Text from outside, fit for a terminal and a record; an empty string for anything but text.

    Control, bidirectional and other invisible characters are escaped, data URIs and the queries
    of URLs are cut, and the whole is at most `limit` characters long.
    """
    if not isinstance(text, str):
        return ""
    short = _DATA_URI.sub("data:...", text[: 20 * limit])
    short = _URL_QUERY.sub(r"\1?...", short).strip()
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in short[:limit]
    )
    return shown if len(shown) <= limit and len(short) <= limit else shown[: limit - 3] + "..."


def read_json(answer: Answer) -> JsonValue:
    """The document of an answer. Raises ProviderError for what is not JSON."""
    try:
        return answer.document()
    except ValueError:
        raise ProviderError(Trouble.UNAVAILABLE, "the answer is not JSON", status=answer.status) from None


def read_object(answer: Answer) -> dict[str, JsonValue]:
    """Reads an answer that has to be a JSON object."""
    document = read_json(answer)
    if not isinstance(document, dict):
        raise ProviderError(Trouble.UNAVAILABLE, "the answer is not a JSON object", status=answer.status)
    return document


def read_url(value: JsonValue) -> str:
    """`value` where it can be asked for as an URL, else an empty string."""
    return value if isinstance(value, str) and value.isprintable() and " " not in value else ""


def read_scalars(value: JsonValue) -> dict[str, JsonValue]:
    """The members that are single values, text cleaned; an empty dict for anything but an object."""
    if not isinstance(value, dict):
        return {}
    return {
        clean(name, 100): clean(part, 200) if isinstance(part, str) else part
        for name, part in value.items()
        if isinstance(part, str) or (isinstance(part, int | float) and -MOST_NUMBER <= part <= MOST_NUMBER)
    }


def read_plain(value: JsonValue) -> dict[str, JsonValue]:
    """The members that are single values, texts whole: an input that came back, to be compared with the one
    that was sent. An empty dict for anything but an object.
    """
    if not isinstance(value, dict):
        return {}
    return {
        # no file takes half of a surrogate pair, and no request that was sent holds one
        name: part.encode(errors="replace").decode() if isinstance(part, str) else part
        for name, part in value.items()
        if isinstance(part, str) or (isinstance(part, int | float) and -MOST_NUMBER <= part <= MOST_NUMBER)
    }


def read_moment(value: JsonValue) -> float | None:
    """Unix seconds of an ISO 8601 time, taken as UTC where it names no zone; None for anything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None:
        return None
    try:
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None
    return seconds if is_moment(seconds) else None


def read_seconds(value: JsonValue) -> float | None:
    """Unix seconds as a number; None for anything else."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if is_moment(value) else None


def read_usd(value: JsonValue) -> str:
    """US dollars as plain decimal text, empty for anything but a price.

    A float's shortest form is the text that was sent, up to 15 digits.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or len(str(value)) > 40:
        return ""
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return ""
    if not price.is_finite() or not 0 <= price < MOST_USD or price.adjusted() < -_MOST_DECIMALS:
        return ""
    return format(price, "f")


def read_count(value: JsonValue) -> int | None:
    """A whole number from 0 that arithmetic and SQLite agree on, None for anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MOST_NUMBER else None


def read_failure(error: JsonValue) -> tuple[str, str]:
    """(code, message) of what a failed generation says; a bare text is the message."""
    if isinstance(error, dict):
        return clean(error.get("code"), 100), clean(error.get("message"))
    return "", clean(error)


def read_error(answer: Answer) -> ErrorBody:
    """The error in an answer: an envelope, a problem document, FastAPI's `detail`, or what a page says."""
    request_id = clean(answer.headers.get("x-request-id", ""), 200)
    try:
        document = answer.document()
    except ValueError:
        return ErrorBody(message=_page_message(answer), request_id=request_id)
    if not isinstance(document, dict):
        return ErrorBody(message=_page_message(answer), request_id=request_id)
    request_id = clean(document.get("request_id"), 200) or request_id
    error = document.get("error")
    if not isinstance(error, dict):
        message = _detail_message(document.get("detail")) or clean(error) or clean(document.get("message"))
        title = clean(document.get("title"), 100)
        is_problem = title != "" and document.get("status") == answer.status
        return ErrorBody(
            is_problem=is_problem,
            code=title if is_problem else "",
            message=message or _page_message(answer),
            request_id=request_id,
        )
    code = clean(error.get("code"), 100)
    return ErrorBody(
        # load balancers write {"error": {"code": 502}}, or "502"
        is_envelope=_WORD.fullmatch(code) is not None,
        is_signed=bool(clean(document.get("request_id"), 200)),
        code=code,
        message=clean(error.get("message")),
        provider_code=clean(error.get("provider_code"), 100),
        type=clean(error.get("type"), 100),
        request_id=request_id,
        retry_after=parse_number(error.get("retry_after_seconds")),
    )


def retry_after(answer: Answer, error: ErrorBody, *, wall: float) -> float | None:
    """Seconds to wait, 0 to LONGEST_WAIT: from the header, else from the body, else None."""
    seconds = _told_wait(answer, error, wall)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)


def is_used_up(answer: Answer, error: ErrorBody, *, wall: float) -> bool:
    """Whether a 429 says that a quota is gone, so that waiting for it here does not help.

    A limit on requests a minute is none, whatever it is called.
    """
    told = f"{error.code} {error.provider_code} {error.message}"
    if _PASSES_SOON.search(told):
        return False
    seconds = _told_wait(answer, error, wall)
    if seconds is not None and A_QUOTA_LASTS[0] <= seconds <= A_QUOTA_LASTS[1]:
        return True
    if any(_QUOTA_CODE.search(code) for code in (error.code, error.provider_code, error.type)):
        return True
    return (seconds is None or seconds > LONGEST_WAIT) and _QUOTA_WORDS.search(error.message) is not None


_QUOTA_CODE = re.compile(r"quota|daily|monthly", re.IGNORECASE)
_QUOTA_WORDS = re.compile(
    r"\bquota|\b(daily|weekly|monthly|today|tomorrow|RPD|TPD)\b"
    r"|\b(per|a|each|this|next|the) (day|week|month)\b",
    re.IGNORECASE,
)
_PASSES_SOON = re.compile(r"\b(per|a|each) ?(second|minute)\b|\bqueued?\b", re.IGNORECASE)


def _told_wait(answer: Answer, error: ErrorBody, wall: float) -> float | None:
    """Seconds as told: by the header, else by the body, else None.

    A date is measured from the answer's own Date, or from `wall` (Unix seconds) without one.
    """
    told = answer.headers.get("retry-after", "").strip()
    seconds = parse_number(told)
    if seconds is None and (exact := parse_number(answer.headers.get("retry-after-ms"))) is not None:
        seconds = exact / 1000
    if seconds is None and (date := parse_http_date(told)) is not None:
        sent = answer.server_time
        seconds = date - (wall if sent is None else sent)
    return error.retry_after if seconds is None else seconds


def parse_http_date(text: str) -> float | None:
    """Unix seconds of an HTTP date, None for anything else."""
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if is_moment(moment) else None


def is_moment(seconds: float) -> bool:
    """Whether Unix seconds are from 1970 to the year 9999 in UTC: what a date can be printed of."""
    return 0 <= seconds < LAST_SECOND + 1


def parse_number(value: object) -> float | None:
    """A JSON number or a decimal string as float, None for anything else; infinity is possible."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not value.isascii():
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    except OverflowError:
        return math.inf
    return None if math.isnan(number) else number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _detail_message(detail: JsonValue) -> str:
    if not isinstance(detail, list):
        return clean(detail)
    problems = (
        f"{'.'.join(str(part) for part in where)}: {item.get('msg')}"
        for item in detail[:5]
        if isinstance(item, dict)
        if isinstance(where := item.get("loc") or [], list)
    )
    return clean("; ".join(problems))


def _page_message(answer: Answer) -> str:
    if answer.unreadable:
        return answer.unreadable
    text = answer.body[:20_000].decode(errors="replace")
    title = _TITLE.search(text)
    return clean(title.group(1) if title else text, 200)
