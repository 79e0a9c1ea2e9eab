"""What the engine asks of a service, and the words for its answers."""

from __future__ import annotations

import abc
import contextlib
import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.http.verdicts import ProviderError, SubmitOutcome, Trouble
from runner.json_value import JsonValue

if TYPE_CHECKING:
    from runner.http.answers import Answer
    from runner.http.free import FreeRequests
    from runner.http.paid import Failure, PaidRequests
    from runner.providers.published import Published

INPUT_SCHEME = "sha256:"
"""A local file stands in a task's request as the URL `sha256:<64 hex>`; bytes travel separately."""

KEY_SCHEME = "key:"
"""An address that the job gives a name stands in a task's request as `key:<name>`."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A local file that a request carries: `size` in bytes, `path` absolute at planning time.

    `pixels` are the width and height of an image; None where they are not known. `trouble` is what is wrong
    with it; empty where nothing is, or where nobody can tell. `stored` is the address of its copy in object
    storage; empty where none is known.
    """

    sha256: str
    media_type: str
    size: int
    path: Path
    pixels: tuple[int, int] | None = None
    trouble: str = ""
    stored: str = ""

    @property
    def reference(self) -> str:
        return INPUT_SCHEME + self.sha256


CLOCKS_DIFFER = 10.0
"""Seconds by which a generation may have taken longer by the service's times than we have known of it:
whole seconds, and a clock that is set meanwhile."""

SHORTEST = 0.001
"""Seconds: no generation is quicker, and sums over shorter ones lose their meaning."""


def generation_seconds(began: object, ended: object, *, known: float) -> float | None:
    """How long a generation took by the service's own times; None where that cannot be.

    `known` is for how long, in seconds, we had known of it when it had ended: a service's times count
    only within that.
    """
    if not isinstance(began, (int, float)) or not isinstance(ended, (int, float)):
        return None
    seconds = float(ended) - float(began)
    return seconds if SHORTEST <= seconds <= known + CLOCKS_DIFFER else None


class GenerationStatus(enum.StrEnum):
    """The service's own status of a generation."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self not in _ONGOING


_ONGOING = frozenset({GenerationStatus.PENDING, GenerationStatus.QUEUED, GenerationStatus.RUNNING})


class RemoteFileKind(enum.StrEnum):
    VIDEO = "video"
    LAST_FRAME = "last_frame"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A result at the service. `url` is signed, thus secret; `expires_at` is Unix seconds by server time."""

    kind: RemoteFileKind
    url: str = field(repr=False)
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as the service tells it.

    `status` is None for a word that this version does not know (`raw_status` keeps it). `echo`
    holds the request's fields that came back, null ones left out; `tag` is what the tag's
    field says, None where that is null. `usage` is the service's own object, `billed_tokens` the
    number in it that is billed. `cost_usd` only where the service names a price. Times are Unix seconds.
    """

    id: str
    status: GenerationStatus | None
    raw_status: str
    model: str = ""
    created_at: float | None = None
    updated_at: float | None = None
    files: tuple[RemoteFile, ...] = ()
    error_code: str = ""
    error_message: str = ""
    echo: Mapping[str, JsonValue] = field(default_factory=dict)
    tag: int | None = None
    usage: Mapping[str, JsonValue] = field(default_factory=dict)
    billed_tokens: int | None = None
    cost_usd: str = ""
    request_id: str = ""
    server_time: float | None = None

    def checked(self, remote_id: str) -> Generation:
        """Itself. Raises ProviderError where another generation was asked for."""
        if self.id != remote_id:
            raise ProviderError(Trouble.UNAVAILABLE, f"asked for {remote_id}, told about another generation")
        return self

    @property
    def final_tag(self) -> int | None:
        """The tag as evidence: None before `running`, where a service has not decided what it echoes."""
        return None if self.is_undecided else self.tag

    @property
    def final_seed(self) -> int | None:
        """The seed as evidence: None before `running`, and for -1, which is not a seed yet."""
        seed = self.echo.get("seed")
        if self.is_undecided or not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            return None
        return seed

    @property
    def is_undecided(self) -> bool:
        """Whether what it echoes may still change."""
        return self.status in (None, GenerationStatus.PENDING, GenerationStatus.QUEUED)


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of the service's list, newest first. `total` counts all rows that match, None where the
    service does not count them; `unreadable` those of this page that name no task with a usable id. `cursor`
    leads to the next page.
    """

    rows: tuple[Generation, ...]
    has_more: bool
    total: int | None = None
    server_time: float | None = None
    unreadable: int = 0
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What one page of a list is asked for.

    `created_after` is Unix seconds, None for all that there is. `offset` counts the rows that were read
    before this page, and `cursor` is what the page before named; a service goes by one of them. `model` and
    `scope` are those of the generation that is looked for: where the service keeps such lists apart, only
    they show it.
    """

    created_after: float | None
    limit: int
    offset: int = 0
    cursor: str = ""
    model: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """A generation as a GET names it. `handle` is what else the service gave when it accepted it, by name:
    for a service that wants its own URLs back. It is empty for one that a list has shown. `model` is the one
    that was asked for.
    """

    id: str
    model: str = ""
    handle: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Body:
    """A POST as it is sent: `path` follows the origin, `headers` stand beside those of every request."""

    path: str
    content: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def read_rows(rows: JsonValue, read: Callable[[JsonValue], Generation]) -> tuple[tuple[Generation, ...], int]:
    """The rows of a list, and how many `read` refused with a ProviderError: each may be a task that was paid
    for. Raises ProviderError if `rows` is not a list.
    """
    if not isinstance(rows, list):
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no list")
    made: list[Generation] = []
    for row in rows:
        with contextlib.suppress(ProviderError):
            made.append(read(row))
    return tuple(made), len(rows) - len(made)


ReadInput = Callable[[InputFile], bytes]


@dataclass(frozen=True)
class Client(abc.ABC):
    """A connection to a service, with a key: paid POSTs by `paid`, all else by `free`. `wall` gives Unix
    seconds.

    `hosts` are the further origins of the service, by their role in `Provider.hosts`. `tag_field` is what
    `Generation.tag` is read from, where an account may choose among `Provider.tags`.
    """

    paid: PaidRequests
    free: FreeRequests
    wall: Callable[[], float] = time.time
    hosts: Mapping[str, FreeRequests] = field(default_factory=dict)
    tag_field: str = ""

    @property
    def origin(self) -> str:
        return self.paid.access.origin

    async def post(self, body: Body) -> Answer | Failure:
        """The one POST of a submit. Never raises for what the network or service does."""
        return await self.paid.post(
            body.path, body.content, content_type=body.content_type, headers=body.headers
        )

    @abc.abstractmethod
    async def submit(self, body: Body) -> SubmitOutcome:
        """One POST, never repeated in here; never raises for what the network or service does."""

    @abc.abstractmethod
    async def get(self, task: RemoteTask) -> Generation:
        """The current state. Raises ProviderError."""

    @abc.abstractmethod
    async def ping(self) -> float | None:
        """One free GET that shows that the service answers and takes the key; gives the server time.

        Raises ProviderError.
        """

    async def list_page(self, query: ListQuery) -> ListPage:
        """One page of this key's generations, newest first. Raises ProviderError.

        Only a service whose provider declares a `listing` is asked.
        """
        raise ProviderError(Trouble.WRONG_REQUEST, "the service has no list of generations")

    async def published_models(self) -> Published:
        """The models that the service sells now, with its prices, by free GETs. Raises ProviderError.

        Only a service whose provider says `publishes_models` is asked.
        """
        raise ProviderError(Trouble.WRONG_REQUEST, "the service publishes no list of models")

    async def upload(self, file: InputFile, content: bytes) -> str:
        """Puts a local file at the service, which is free and may be repeated; gives its URL, a secret.

        Only a service whose provider says `takes_uploads` is asked. Raises ProviderError.
        """
        raise ProviderError(Trouble.WRONG_REQUEST, "the service takes no uploads")

    async def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a call to our webhook was signed by the service; header names are in lower case.

        Only a service whose provider says `signs_callbacks` is asked. A signed call is a hint, too. Raises
        ProviderError.
        """
        return False

    async def balance(self) -> str:
        """US dollars that the key may still spend, as decimal text; empty where the service does not tell.

        Only a service whose provider says `tells_costs` is asked. Raises ProviderError.
        """
        return ""

    async def spent(self, since: float, until: float) -> str:
        """US dollars that the service says were spent between two moments, in Unix seconds; empty where it
        does not tell. Only a service whose provider says `tells_costs` is asked. Raises ProviderError.
        """
        return ""
