"""What a service publishes of its models and prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.money import Price, PriceUnit

UNIT_WORDS = {
    PriceUnit.MTOK: "per million tokens",
    PriceUnit.SECOND: "per second",
    PriceUnit.TASK: "per task",
}
"""What a price is for, in words."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A published price. `resolution`, `sound` and `with_video` (a video among the inputs) say which
    requests it is for; None: whatever they have.
    """

    price: Price
    resolution: str | None = None
    sound: bool | None = None
    with_video: bool | None = None

    def may_be_for(self, resolution: str | None, sound: bool | None, *, with_video: bool) -> bool:
        """Whether a request may be billed at this rate; None is what the request leaves to the service."""
        return (
            (self.resolution is None or resolution is None or self.resolution == resolution)
            and (self.sound is None or sound is None or self.sound == sound)
            and (self.with_video is None or self.with_video == with_video)
        )


def dearest(
    rates: Iterable[Rate], resolution: str | None, sound: bool | None, with_video: bool
) -> Price | None:
    """The price that a request costs at most; None where no rate is for it, or they are not of one unit."""
    found = [rate.price for rate in rates if rate.may_be_for(resolution, sound, with_video=with_video)]
    if len({price.unit for price in found}) != 1:
        return None
    return max(found, key=lambda price: price.usd)


def rate_words(rates: tuple[Rate, ...]) -> str:
    """`USD 7.0 per million tokens with sound, 5.0 ...`, or that no price is published."""
    return ", ".join(map(_rate_words, rates)) or "no price"


def _rate_words(rate: Rate) -> str:
    words = [f"USD {format(rate.price.usd, 'f')} {UNIT_WORDS[rate.price.unit]}"]
    if rate.resolution is not None:
        words.append(f"at {rate.resolution}")
    if rate.sound is not None:
        words.append("with sound" if rate.sound else "without sound")
    if rate.with_video is not None:
        words.append("with video among the inputs" if rate.with_video else "without video among the inputs")
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model by the service's id; no `rates` where no price can be used, which is not free."""

    id: str
    rates: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """A service's models, sorted by id. `left_out` says, in words, what could not be used and why."""

    source: str
    models: tuple[PublishedModel, ...]
    left_out: tuple[str, ...] = ()
