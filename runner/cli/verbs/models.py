"""`models`: what is known of each model, with the date and the source of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.errors import ExitCode, NoProjectError, UsageError
from runner.job.models_lock import LOCK_FILE
from runner.job.project.load_lock import load_models_lock
from runner.job.project.load_project import load_project_file
from runner.json_value import JsonValue
from runner.money import PriceUnit
from runner.project import PROJECT_FILE, find_project
from runner.providers import DEFAULT, every
from runner.providers.models import Catalogue, FixedCamera, ListPrice, ModelFamily, family_name
from runner.providers.published import UNIT_WORDS, rate_words
from runner.spelling import did_you_mean

_HEAD = ("model", "resolution", "seconds", "frames", "seed", "sound", "frames given", "references")


@click.command()
@click.argument("model", required=False)
@click.option(
    "--refresh", is_flag=True, help="Ask the services for their models and prices: models.lock.yaml."
)
@service_options
@output_format("json", "jsonl")
@common_options
def models(model: str | None, refresh: bool, service: ServiceOptions, output_format: str) -> ExitCode:
    """Show what each model accepts and costs, or all that is known of MODEL (an id or a family).

    An id that only one service has is shown with that service's limits and prices. They change: each
    figure is as of the date shown. Requests for an unknown model pass unchecked.

    --refresh asks each service whose key is set what it sells now (free requests), writes the answer to
    models.lock.yaml in the root, and shows what has changed. Estimates and caps go by these prices, after
    `price` in a job and `prices` in callsheet.yaml.

    \b
    Examples:
      callsheet models
      callsheet models seedance-1-0-pro
      callsheet models bytedance/seedance-2.5/text-to-video
      callsheet models --refresh
    """
    if refresh:
        if model:
            raise UsageError("--refresh asks for all models", hint="leave out MODEL")
        # imported here: it takes the client's libraries along
        from runner.cli.services.published import refresh as refresh_lock

        return refresh_lock(service, output_format)
    own = list(_own_prices(model)) if model else []
    known = _knowing(model)
    family = known.find(model) if model else None
    if model and family is None:
        if not own or output_format != "text":
            raise _unknown(model)
        for line in console.table(own):
            console.result(line)
        console.note("what it accepts is not known here: its requests pass unchecked")
        return ExitCode.DONE
    families = [family] if family else list(known.families.values())
    unit = known.price_unit or PriceUnit.MTOK
    document = {"as_of": known.as_of, "source": known.source, "prices_as_of": known.prices_as_of}
    rows = [_fields(each, unit) for each in families]
    if console.for_programs(
        output_format, ({**row, **document} for row in rows), document | {"models": rows}
    ):
        return ExitCode.DONE
    for line in (
        _details(family, unit, own) if family else console.headed_table(_HEAD, map(_columns, families))
    ):
        console.result(line)
    told = f"as of {known.as_of} (prices: {known.prices_as_of}); source: {known.source}"
    console.block(console.wrapped(told, 2))
    return ExitCode.DONE


def _knowing(model: str | None) -> Catalogue:
    """The models of the first service that knows this one; else those of the default one."""
    if model and DEFAULT.catalogue.find(model) is None:
        for provider in every().values():
            if provider.catalogue.find(model) is not None:
                return provider.catalogue
    return DEFAULT.catalogue


def _unknown(model: str) -> UsageError:
    known = "`callsheet models` lists those that are known"
    hint = did_you_mean(family_name(model), DEFAULT.catalogue.families) or known
    return UsageError(f"nothing is known of the model `{model}`", hint=hint)


def _columns(family: ModelFamily) -> tuple[str, ...]:
    return (
        f"{family.name} (retired)" if family.retired else family.name,
        " ".join(family.resolutions),
        _durations(family),
        _frames(family),
        "unknown" if family.honours_seed is None else _yes(family.honours_seed),
        _sound(family),
        _frame_roles(family),
        _references(family),
    )


def _own_prices(model: str) -> Iterator[tuple[str, str]]:
    """What this project's files say that `model` costs; nothing where there is no project."""
    try:
        root = find_project(Path(), root=common().root).root
    except NoProjectError:
        return
    price = load_project_file(root).price_of(model)
    if price is not None:
        yield "price here", f"USD {format(price.usd, 'f')} {UNIT_WORDS[price.unit]} ({PROJECT_FILE})"
    lock = load_models_lock(root)
    for name, service in sorted(lock.services.items()):
        if rates := lock.rates(name, model):
            yield f"price at {name}", f"{rate_words(rates)} ({LOCK_FILE}, {service.asked[:10]})"


def _details(family: ModelFamily, unit: PriceUnit, own: list[tuple[str, str]]) -> Iterator[str]:
    """One line for each fact, broken where a terminal is narrow; `own` are the project's prices."""
    camera = {
        FixedCamera.NONE: "no",
        FixedCamera.ALWAYS: "yes",
        FixedCamera.WITHOUT_REFERENCES: "yes, not with references",
    }
    narrower = family.reference_resolutions != family.resolutions and family.takes_references
    rows = [
        ("model", f"{family.title} ({family.name})"),
        ("ids", " ".join(family.ids)),
        ("sold", f"no: retired on {family.retired}" if family.retired else "yes"),
        ("resolution", " ".join(family.resolutions)),
        ("ratio", " ".join(family.ratios)),
        ("duration", f"{_durations(family)} s, {family.default_duration} where none is given"),
        ("frames", _frames(family)),
        (
            "seed",
            f"yes, 0 to {family.most_seed}"
            if family.honours_seed is not False
            else "no: ignored; for several takes use `samples: N`",
        ),
        ("camera_fixed", camera[family.camera_fixed]),
        ("generate_audio", _sound(family)),
        ("draft", _draft(family)),
        ("flex tier", _yes(family.flex)),
        ("priority", "0 to 9" if family.priority else "no"),
        ("frames given", _frame_roles(family)),
        (
            "references",
            _all_references(family)
            + (f" (at {' '.join(family.reference_resolutions)} only)" if narrower else ""),
        ),
    ]
    for resolution in family.resolutions:
        sizes = ((ratio, family.sizes.get((resolution, ratio))) for ratio in family.ratios)
        words = [f"{ratio} {size.width}x{size.height}" for ratio, size in sizes if size]
        if words:
            rows.append((f"size at {resolution}", ", ".join(words)))
        price = family.prices.get(resolution)
        told = _price(price, unit, family) if price else "unknown; `price:` in a job file sets it"
        rows.append((f"USD at {resolution}", told))
    rows += own
    widest = max(len(label) for label, _ in rows)
    for label, told in rows:
        yield from f"{label:{widest}}  {console.wrapped(told, widest + 2)}".split("\n")


def _fields(family: ModelFamily, unit: PriceUnit) -> dict[str, JsonValue]:
    """A family as JSON. Prices are decimal text; null is not known."""
    prices: JsonValue = {
        resolution: {
            "plain": str(price.plain),
            "with_video": None if price.with_video is None else str(price.with_video),
            "silent": str(price.silent),
        }
        for resolution, price in family.prices.items()
    }
    return {
        "family": family.name,
        "title": family.title,
        "ids": list(family.ids),
        "retired": {"since": family.retired} if family.retired else None,
        "resolutions": list(family.resolutions),
        "ratios": list(family.ratios),
        "durations": list(family.durations),
        "auto_duration": family.auto_duration,
        "default_duration": family.default_duration,
        "frames": list(family.frames) if family.frames else None,
        "seed": family.honours_seed,
        "camera_fixed": str(family.camera_fixed),
        "generate_audio": family.audio,
        "generate_audio_default": family.audio_default,
        "audio_alone": family.audio_alone,
        "draft": family.draft,
        "final_resolutions": list(family.final_resolutions) if family.draft else [],
        "flex": family.flex,
        "priority": family.priority,
        "first_frame": family.first_frame,
        "last_frame": family.last_frame,
        "frames_fix_ratio": family.frames_fix_ratio,
        "needs_image": family.needs_image,
        "heic": family.heic,
        "reference_images": family.reference_images,
        "reference_videos": family.reference_videos,
        "reference_audios": family.reference_audios,
        "most_references": family.most_references,
        "reference_seconds": list(family.reference_seconds) if family.reference_videos else None,
        "reference_resolutions": list(family.reference_resolutions) if family.takes_references else [],
        "sizes": {
            resolution: {
                ratio: {"width": size.width, "height": size.height}
                for ratio in family.ratios
                if (size := family.sizes.get((resolution, ratio)))
            }
            for resolution in family.resolutions
        },
        **{each: prices or None if each is unit else None for each in PriceUnit},
    }


def _durations(family: ModelFamily) -> str:
    first, last = family.durations
    return f"{first}..{last}{' or -1' if family.auto_duration else ''}"


def _frames(family: ModelFamily) -> str:
    return f"{family.frames[0]}..{family.frames[1]}, 25 + 4n" if family.frames else "no"


def _sound(family: ModelFamily) -> str:
    return f"{_yes(family.audio)}{' (default)' if family.audio_default else ''}"


def _draft(family: ModelFamily) -> str:
    if not family.draft:
        return "no"
    told = "yes, 480p only, without last frame and flex"
    if family.final_resolutions == family.resolutions:
        return told
    return f"{told}; its final at {' '.join(family.final_resolutions)}"


def _price(price: ListPrice, unit: PriceUnit, family: ModelFamily) -> str:
    told = f"{price.plain} {UNIT_WORDS[unit]}"
    if price.silent != price.plain:
        told += f", {price.silent} without sound"
    if family.reference_videos:
        with_video = "unknown" if price.with_video is None else price.with_video
        told += f", {with_video} with video among the inputs"
    return told


def _all_references(family: ModelFamily) -> str:
    if not family.reference_videos:
        return _references(family)
    least, most = family.reference_seconds
    return (
        f"{_references(family)}, {family.most_references} in all;"
        f" a video or sound has {least} s at least, all of a kind {most} s at most"
    )


def _frame_roles(family: ModelFamily) -> str:
    if not family.first_frame:
        return "no"
    roles = "first, last" if family.last_frame else "first"
    return f"{roles} (one image at least)" if family.needs_image else roles


def _references(family: ModelFamily) -> str:
    numbers = (
        (family.reference_images, "images"),
        (family.reference_videos, "videos"),
        (family.reference_audios, "sounds"),
    )
    return ", ".join(f"{most} {words}" for most, words in numbers if most) or "no"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
