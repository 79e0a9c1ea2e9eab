"""What a service says of a key's money, held against the ledger: free reads, for `doctor` and `models`."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from runner.cli.runs import reading
from runner.errors import CallsheetError
from runner.http.access import ApiKey
from runner.money import micros, usd_text
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
class _Ledgers:
    """What the ledger has of a key since a midnight of UTC: settled, and with all that may be billed besides,
    in micros.
    """

    since: datetime
    settled: int
    possible: int

    @classmethod
    def read(cls, place: Place, key: ApiKey, now: float) -> _Ledgers | None:
        """None where nothing was submitted with this key, or the ledger cannot be read."""
        with contextlib.suppress(CallsheetError, OSError), reading(place.project) as ledger:
            if ledger is None:
                return None
            key_hash = key.fingerprint(bytes.fromhex(ledger.meta("salt") or ""))
            first = ledger.first_intent(place.origin, key_hash)
            if first is None:
                return None
            earliest = local_time(now, UTC) - timedelta(days=MOST_DAYS)
            day = max(local_time(first, UTC), earliest)
            since = day.replace(hour=0, minute=0, second=0, microsecond=0)
            settled, possible = ledger.spent_with(place.origin, key_hash, since.timestamp())
            return cls(since, settled, possible)
        return None


async def ask_money(client: Client, place: Place, key: ApiKey) -> Told | None:
    """None where the service tells nothing, and for the embedded sandbox. Raises ProviderError."""
    if not place.provider.tells_costs or place.url is None:
        return None
    now = time.time()
    known = _Ledgers.read(place, key, now)
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


def _drift(known: _Ledgers, charged: int) -> str:
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
