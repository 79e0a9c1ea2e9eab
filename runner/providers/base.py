"""What the engine asks of a service, and the words for its answers."""

from __future__ import annotations

import abc
import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.http.verdicts import ProviderError, SubmitOutcome, Trouble
from runner.json_value import JsonValue

if TYPE_CHECKING:
    from runner.http.free import FreeRequests
    from runner.http.paid import PaidRequests
    from runner.providers.published import Published

INPUT_SCHEME = "sha256:"
"""A local file stands in a task's request as the URL `sha256:<64 hex>`; bytes travel separately."""

KEY_SCHEME = "key:"
"""An address that the job gives a name stands in a task's request as `key:<name>`."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A local file that a request carries: `size` in bytes, `path` absolute at planning time.

    `pixels` are the width and height of an image; None where they are not known. `trouble` is what is wrong
    with it; empty where nothing is, or where nobody can tell.
    """

    sha256: str
    media_type: str
    size: int
    path: Path
    pixels: tuple[int, int] | None = None
    trouble: str = ""

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
    """One page of the service's list, newest first. `total` counts all rows that match, `unreadable` those of
    this page that name no task with a usable id.
    """

    rows: tuple[Generation, ...]
    has_more: bool
    total: int
    server_time: float | None = None
    unreadable: int = 0


ReadInput = Callable[[InputFile], bytes]


@dataclass(frozen=True)
class Client(abc.ABC):
    """A connection to a service, with a key: POSTs by `paid`, GETs by `free`. `wall` gives Unix seconds."""

    paid: PaidRequests
    free: FreeRequests
    wall: Callable[[], float] = time.time

    @property
    def origin(self) -> str:
        return self.paid.access.origin

    @abc.abstractmethod
    async def submit(self, body: bytes) -> SubmitOutcome:
        """One POST, never repeated in here; never raises for what the network or service does."""

    @abc.abstractmethod
    async def get(self, remote_id: str) -> Generation:
        """The current state. Raises ProviderError."""

    @abc.abstractmethod
    async def ping(self) -> float | None:
        """One free GET that shows that the service answers and takes the key; gives the server time.

        Raises ProviderError.
        """

    async def list_page(self, *, created_after: float | None, limit: int, offset: int) -> ListPage:
        """One page of all this key's generations, newest first. Raises ProviderError.

        Only a service whose provider declares a `listing` is asked.
        """
        raise ProviderError(Trouble.WRONG_REQUEST, "the service has no list of generations")

    async def published_models(self) -> Published:
        """The models that the service sells now, with its prices, by free GETs. Raises ProviderError.

        Only a service whose provider says `publishes_models` is asked.
        """
        raise ProviderError(Trouble.WRONG_REQUEST, "the service publishes no list of models")
