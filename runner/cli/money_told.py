"""What a service says of a key's money, held against the ledger: free reads, for `doctor` and `models`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from runner.errors import StateError
from runner.http.access import Access, ApiKey
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.money import micros, usd_text
from runner.project import Project
from runner.providers.base import Client
from runner.providers.place import Place
from runner.times import local_time

MOST_DAYS = 30
"""How far back costs are asked for."""
_ROUNDED = 10_000
"""A cent, in micros: services round."""


@dataclass(frozen=True, slots=True)
class Told:
    """`words` is what the service says; `drift` how far the ledger is from it, empty where they agree."""

    words: str
    drift: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has of a key since a midnight of UTC: settled, and with all that may be billed besides,
    in micros.
    """

    since: datetime
    settled: int
    possible: int

    @classmethod
    def read(cls, project: Project, origin: str, key: ApiKey, now: float) -> Known | None:
        """None where nothing was submitted with this key, or the ledger cannot be read."""
        with contextlib.suppress(StateError, OSError), _reader(project) as ledger:
            key_hash = key.fingerprint(bytes.fromhex(ledger.meta("salt") or ""))
            first = ledger.first_intent(origin, key_hash)
            if first is None:
                return None
            earliest = local_time(now, UTC) - timedelta(days=MOST_DAYS)
            day = max(local_time(first, UTC), earliest)
            since = day.replace(hour=0, minute=0, second=0, microsecond=0)
            settled, possible = ledger.spent_with(origin, key_hash, since.timestamp())
            return cls(since, settled, possible)
        return None


def known_of(place: Place, access: Access, now: float) -> Known | None:
    return Known.read(place.project, place.origin, access.key, now)


@contextlib.contextmanager
def _reader(project: Project) -> Iterator[LedgerReader]:
    if not project.ledger_path.exists():
        raise StateError("no ledger")
    with contextlib.closing(LedgerReader(open_for_reading(project.ledger_path))) as ledger:
        yield ledger


async def ask_money(client: Client, known: Known | None, now: float) -> Told | None:
    """None where the service tells nothing. Raises ProviderError."""
    said: list[str] = []
    if balance := await client.balance():
        said.append(f"USD {balance} left")
    drift = ""
    spent = "" if known is None else await client.spent(known.since.timestamp(), now)
    if known is not None and spent:
        charged = micros(Decimal(spent))
        said.append(f"USD {usd_text(charged)} charged since {known.since:%Y-%m-%d} (UTC)")
        drift = _drift(known, charged)
    return Told(", ".join(said), drift) if said else None


def _drift(known: Known, charged: int) -> str:
    since = (
        f"since {known.since:%Y-%m-%d} (UTC) the service charged USD {usd_text(charged)}, and the ledger has"
    )
    if charged > known.possible + _ROUNDED:
        more = usd_text(charged - known.possible)
        return f"{since} USD {usd_text(known.possible)}: USD {more} more, if nobody else uses this account"
    if charged < known.settled - _ROUNDED:
        less = usd_text(known.settled - charged)
        return f"{since} USD {usd_text(known.settled)}: USD {less} less, if nothing is charged late"
    return ""
