"""getimg.ai, /v2/videos/generations; golden answers are in tests/wire/getimg.

It has no list and no idempotency key, so an ambiguous submit cannot be reconciled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from runner.http.answers import (
    clean,
    read_failure,
    read_json,
    read_moment,
    read_object,
    read_scalars,
    read_url,
    read_usd,
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
    RemoteFile,
    RemoteFileKind,
    RemoteTask,
)
from runner.providers.getimg import GETIMG
from runner.providers.getimg.outcomes import SUBMITS
from runner.providers.published import Published, Rate
from runner.providers.read_published import LeftOutError, published_price, published_word, read_published
from runner.times import iso_time

PATH: Final = GETIMG.dialect.path
MODELS_PATH: Final = "/v2/models"
BALANCE_PATH: Final = "/v2/billing/balance"
COSTS_PATH: Final = "/v2/billing/costs"

_STATUSES = {
    "pending": GenerationStatus.PENDING,
    "completed": GenerationStatus.SUCCEEDED,
    "failed": GenerationStatus.FAILED,
}
_FACTS = ("width", "height", "duration", "fps", "has_sound")


class GetimgClient(Client):
    """A Client of getimg.ai."""

    async def submit(self, body: Body) -> SubmitOutcome:
        """One POST, judged by rows 1 to 21 of docs/reference/faults.md; every 5xx is ambiguous."""
        return judge_submit(SUBMITS, await self.post(body), wall=self.wall())

    async def get(self, task: RemoteTask) -> Generation:
        """The generation as it is now. Raises ProviderError, also for an answer about another one."""
        answer = await self.free.get(f"{PATH}/{quote(task.id, safe='')}")
        return read_generation(read_json(answer), server_time=answer.server_time).checked(task.id)

    async def ping(self) -> float | None:
        """The server time, by the list of video models. Raises ProviderError."""
        answer = await self.free.get(MODELS_PATH, [("type", "video")])
        read_json(answer)
        return answer.server_time

    async def published_models(self) -> Published:
        """The video models and their prices. Raises ProviderError."""
        answer = await self.free.get(MODELS_PATH, [("type", "video")])
        source = f"{self.origin}{MODELS_PATH}?type=video"
        return read_published(read_json(answer), read_rates, source=source)

    async def balance(self) -> str:
        """What the workspace may still spend, over all of its keys. Raises ProviderError."""
        return _dollars(read_object(await self.free.get(BALANCE_PATH)), "balance")

    async def spent(self, since: float, until: float) -> str:
        """What the project was charged, over all of its keys; both moments count. Raises ProviderError."""
        moments = [(name, iso_time(at)) for name, at in (("start", since), ("end", until))]
        return _dollars(read_object(await self.free.get(COSTS_PATH, moments)), "total_cost")


def _dollars(document: dict[str, JsonValue], name: str) -> str:
    return read_usd(document.get(name)) if document.get("currency") == "USD" else ""


_UNITS = {"video_second": PriceUnit.SECOND}
_SOUND = {"sound_on": True, "sound_off": False, "not_applicable": None}


def read_rates(row: dict[str, JsonValue]) -> Iterator[Rate]:
    """The rates of a model; an empty list of them does not mean free. Raises LeftOutError."""
    pricing = row.get("pricing")
    if pricing is None:
        return
    rates = pricing.get("rates") if isinstance(pricing, dict) else None
    if not isinstance(pricing, dict) or not isinstance(rates, list):
        raise LeftOutError("`pricing` has no list of rates")
    if pricing.get("currency") != "USD":
        raise LeftOutError(f"its currency is `{clean(pricing.get('currency'), 20)}`, not USD")
    for rate in rates:
        unit = _UNITS.get(str(rate.get("billable_unit"))) if isinstance(rate, dict) else None
        if not isinstance(rate, dict) or unit is None or str(rate.get("sound")) not in _SOUND:
            raise LeftOutError("a rate is for something that is not known here")
        yield Rate(
            published_price(rate.get("unit_price"), unit),
            resolution=published_word(rate.get("resolution")),
            sound=_SOUND[str(rate.get("sound"))],
        )


def read_generation(document: JsonValue, *, server_time: float | None = None) -> Generation:
    """The answer to a GET. Raises ProviderError where it names no generation.

    Each item of `data` with a usable URL is a video, in the service's order; `echo` holds the
    first one's facts.
    """
    if not isinstance(document, dict) or not (remote_id := usable_id(document.get("id"))):
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no generation with a usable id")
    raw_status = document.get("status")
    data = document.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    code, message = read_failure(document.get("error"))
    usage = document.get("usage")
    return Generation(
        id=remote_id,
        status=_STATUSES.get(raw_status) if isinstance(raw_status, str) else None,
        raw_status=clean(raw_status, 100),
        model=clean(document.get("model"), 200),
        files=tuple(
            RemoteFile(RemoteFileKind.VIDEO, url, read_moment(item.get("deletes_at")))
            for item in items
            if (url := read_url(item.get("url")))
        ),
        error_code=code,
        error_message=message,
        echo=read_scalars({name: items[0].get(name) for name in _FACTS}) if items else {},
        usage=read_scalars(usage),
        cost_usd=read_usd(usage.get("total_cost")) if isinstance(usage, dict) else "",
        server_time=server_time,
    )
