"""What a task is expected to cost. Unknown is unknown, never zero.

Tokens = (frames of output + 24 x seconds of input video) x width x height / 1024, with 24 x duration + 1
frames of output; this reproduces published bills exactly: 121 frames at 1280x720 cost 108,900 tokens.
Formula, sizes and prices are those of models.yaml. How long the input videos are is not known: they count as
long as the model takes at most, and the least that a service bills with them lies below that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from runner.json_value import JsonValue
from runner.money import Price, PriceUnit, micros
from runner.plan.task import Task
from runner.providers.dialect import Asked
from runner.providers.models import DRAFT_RESOLUTION, ModelFamily
from runner.providers.provider import Provider
from runner.providers.published import Rate, dearest

_PIXELS_PER_TOKEN = 1024
_NOTHING = Price(PriceUnit.TASK, Decimal(0))
"""At a server of one's own."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected cost of one task; `note` says what is not known, and why.

    `price` is what it is reckoned with: the job's own, else the project's, else what the service publishes,
    else nothing at a server of one's own, else that of models.yaml.
    """

    tokens: int | None
    micros: int | None
    note: str = ""
    price: Price | None = None


@dataclass(slots=True)
class Total:
    """A sum of estimates. `tokens` and `micros` are those of the known ones; the others are counted.
    `accounts` are its parts by who pays.
    """

    tasks: int = 0
    tokens: int = 0
    micros: int = 0
    without_tokens: int = 0
    without_price: int = 0
    accounts: dict[str, Total] = field(default_factory=dict, compare=False)

    def add_task(self, task: Task) -> None:
        """Adds the estimate of a task, and to the part of its account."""
        self.add(task.estimate_tokens, task.estimate_micros)
        part = self.accounts.setdefault(task.account, Total())
        part.add(task.estimate_tokens, task.estimate_micros)

    def __iadd__(self, other: Total) -> Total:
        """Adds the sums of `other`, without its parts."""
        for name in ("tasks", "tokens", "micros", "without_tokens", "without_price"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def add(self, tokens: int | None, micros: int | None) -> None:
        self.tasks += 1
        if tokens is None:
            self.without_tokens += 1
        else:
            self.tokens += tokens
        if micros is None:
            self.without_price += 1
        else:
            self.micros += micros

    @property
    def is_unknown(self) -> bool:
        """Whether there are tasks, and the price of none is known."""
        return self.tasks > 0 and self.without_price == self.tasks


def total_of(tasks: Iterable[Task]) -> Total:
    """The sum of the estimates of these tasks."""
    total = Total()
    for task in tasks:
        total.add_task(task)
    return total


def estimate(
    provider: Provider,
    request: Mapping[str, JsonValue],
    own: Price | None,
    published: tuple[Rate, ...] = (),
    draft: Mapping[str, JsonValue] | None = None,
) -> Estimate:
    """The expected cost of a resolved request. `own` is what the job or its project says that it costs; it
    comes before the service's `published` rates, and those before models.yaml. `draft` is the request of
    the draft that this one makes the final of.

    Tokens are known where the service bills by them.
    """
    asked = provider.dialect.asked(request)
    if draft is not None:
        asked = _final_of(provider.dialect.asked(draft), asked, provider)
    return _estimate(provider, asked, own, published)


def _final_of(draft: Asked, final: Asked, provider: Provider) -> Asked:
    """The final as if it were asked for by itself: a draft again, at the largest size where none is given."""
    family = provider.catalogue.find(final.model)
    resolution = final.resolution
    if resolution is None and family is not None and family.final_resolutions:
        resolution = max(family.final_resolutions, key=lambda name: int(name.removesuffix("p")))
    return draft._replace(
        model=final.model,
        resolution=resolution,
        draft=None,
        generate_audio=draft.generate_audio if final.generate_audio is None else final.generate_audio,
    )


def seconds_of(provider: Provider, fields: Mapping[str, JsonValue]) -> Decimal | None:
    """The length that a request, or its echo, gives; None where it leaves it open."""
    asked = provider.dialect.asked(fields)
    return _seconds(provider.catalogue.fps, _number(asked.duration), _number(asked.frames))


def token_count(frames: int, width: int, height: int) -> int:
    """Tokens of `frames` of output without input video, rounded up."""
    return -(-frames * width * height // _PIXELS_PER_TOKEN)


@functools.lru_cache(maxsize=4096)
def _estimate(provider: Provider, asked: Asked, own: Price | None, published: tuple[Rate, ...]) -> Estimate:
    model, kinds = asked.model, {item.kind for item in asked.items}
    has_video, has_draft = "video_url" in kinds, "draft_task" in kinds
    resolution, ratio = _text(asked.resolution), _text(asked.ratio)
    duration, frames = _number(asked.duration), _number(asked.frames)
    if resolution is None and asked.draft:
        resolution = DRAFT_RESOLUTION
    catalogue = provider.catalogue
    family = catalogue.find(model) if catalogue.price_unit is not None else None
    if resolution is None and family is not None and len(family.resolutions) == 1:
        (resolution,) = family.resolutions
    tokens, notes = None, []
    if family is not None and frames is None and not has_draft:
        duration = family.default_duration if duration is None else duration
        if duration == -1:
            duration = family.durations[1]
            notes.append(f"the model chooses `duration`: {duration} s at most")
    if family is not None and catalogue.is_priced_in_tokens:
        made = catalogue.fps * duration + 1 if frames is None and duration is not None else frames
        if has_video and made is not None and family.reference_videos:
            seconds = family.reference_seconds[1]
            made += catalogue.fps * seconds
            notes.append(f"the videos among the inputs count, {seconds} s at most")
        tokens, note = _tokens(family, resolution, ratio, made, has_video, has_draft)
        notes.append(note)
    elif catalogue.is_priced_in_tokens:
        notes.append(f"nothing is known of {model}")
    sound = asked.generate_audio if isinstance(asked.generate_audio, bool) else None
    price = (
        own
        or dearest(published, resolution, sound, has_video)
        or (_NOTHING if provider.is_own_server else None)
        or _list_price(catalogue.price_unit, family, resolution, has_video, sound is False)
    )
    usd = price.cost(tokens=tokens, seconds=_seconds(catalogue.fps, duration, frames)) if price else None
    if price is None:
        notes.append(f"no price of {model} is known" + (f" at {resolution}" if resolution else ""))
    elif usd is None and price.unit is not PriceUnit.MTOK:
        notes.append("its duration is not known")
    elif usd is None and not catalogue.is_priced_in_tokens:
        notes.append(f"{provider.name} does not bill by tokens")
    amount = None if usd is None else micros(usd)
    return Estimate(tokens, amount, "; ".join(filter(None, notes)), price)


def _tokens(
    family: ModelFamily,
    resolution: str | None,
    ratio: str | None,
    frames: int | None,
    has_video: bool,
    has_draft: bool,
) -> tuple[int | None, str]:
    """The count, or None and why not."""
    if has_draft:
        return None, "its size and length are those of its draft"
    if has_video and not family.reference_videos:
        return None, "the length of the input video counts, and is not known"
    if resolution is None or ratio is None or ratio == "adaptive":
        name = "resolution" if resolution is None else "ratio"
        return None, f"`{name}` is left to the service, so the size is not known"
    size = family.sizes.get((resolution, ratio))
    if size is None:
        return None, f"the size of {resolution} at {ratio} is not known"
    assert frames is not None
    return token_count(frames, size.width, size.height), ""


def _list_price(
    unit: PriceUnit | None,
    family: ModelFamily | None,
    resolution: str | None,
    has_video: bool,
    is_silent: bool,
) -> Price | None:
    found = family.prices.get(resolution) if family is not None and resolution is not None else None
    if found is None or unit is None:
        return None
    usd = found.with_video if has_video else found.silent if is_silent else found.plain
    return None if usd is None else Price(unit, usd)


def _seconds(fps: int, duration: int | None, frames: int | None) -> Decimal | None:
    if frames is not None:
        return Decimal(frames) / fps if frames > 0 else None
    return Decimal(duration) if duration is not None and duration > 0 else None


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
