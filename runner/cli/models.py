"""`models`: what is known of each model, with the date and the source of it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from runner.cli import console
from runner.cli.listing import write_lines
from runner.cli.options import common_options, output_format
from runner.errors import UsageError
from runner.job.models import FixedCamera, ModelFamily, facts, family_name, find_family
from runner.job.near import did_you_mean
from runner.job.node import JsonValue

_HEAD = ("model", "resolution", "seconds", "frames", "seed", "sound", "frames given", "references")


@click.command()
@click.argument("model", required=False)
@output_format("json", "jsonl")
@common_options
def models(model: str | None, output_format: str) -> None:
    """Show what each model accepts and costs, or all that is known of MODEL (an id or a family).

    Prices and limits change: each figure is as of the date shown. A model that is not listed has no
    known limits, and its requests pass unchecked.

    \b
    Examples:
      callsheet models
      callsheet models seedance-1-5-pro
    """
    families = [_find(model)] if model else list(facts().families.values())
    document = {"as_of": facts().as_of, "source": facts().source}
    rows = [_fields(family) for family in families]
    if output_format == "jsonl":
        write_lines({**row, **document} for row in rows)
        return
    if output_format == "json":
        console.document(document | {"models": rows})
        return
    lines = _details(families[0]) if model else console.table([_HEAD, *map(_columns, families)])
    for line in lines:
        console.result(line)
    console.result(f"as of {facts().as_of}, from the {facts().source}")


def _find(model: str) -> ModelFamily:
    family = find_family(model)
    if family is None:
        known = "`callsheet models` lists those that are known"
        hint = did_you_mean(family_name(model), facts().families) or known
        raise UsageError(f"nothing is known of the model `{model}`", hint=hint)
    return family


def _columns(family: ModelFamily) -> tuple[str, ...]:
    return (
        family.name,
        " ".join(family.resolutions),
        _durations(family),
        _frames(family),
        _yes(family.honours_seed),
        _sound(family),
        _frame_roles(family),
        _references(family),
    )


def _details(family: ModelFamily) -> Iterator[str]:
    """One line for each fact."""
    camera = {
        FixedCamera.NONE: "no",
        FixedCamera.ALWAYS: "yes",
        FixedCamera.WITHOUT_REFERENCES: "yes, not with references",
    }
    narrower = family.reference_resolutions != family.resolutions and family.takes_references
    rows = [
        ("model", f"{family.title} ({family.name})"),
        ("ids", " ".join(family.ids)),
        ("resolution", " ".join(family.resolutions)),
        ("ratio", " ".join(family.ratios)),
        ("duration", f"{_durations(family)} s"),
        ("frames", _frames(family)),
        ("seed", "yes" if family.honours_seed else "no: ignored; for several takes use `samples: N`"),
        ("camera_fixed", camera[family.camera_fixed]),
        ("generate_audio", _sound(family)),
        ("draft", "yes, 480p only, without last frame and flex" if family.draft else "no"),
        ("service_tier flex", _yes(family.flex)),
        ("priority", "0 to 9" if family.priority else "no"),
        ("frames given", _frame_roles(family)),
        (
            "references",
            _references(family)
            + (f" (at {' '.join(family.reference_resolutions)} only)" if narrower else ""),
        ),
    ]
    for resolution in family.resolutions:
        sizes = ((ratio, facts().sizes.get((resolution, ratio))) for ratio in family.ratios)
        words = [
            f"{ratio} {size.width}x{size.height}{' (assumed)' if size.is_assumed else ''}"
            for ratio, size in sizes
            if size
        ]
        rows.append((f"size at {resolution}", ", ".join(words)))
        price = family.prices.get(resolution)
        told = (
            f"{price.plain} per million tokens, {price.with_video} with video among the inputs"
            if price
            else "unknown; `price:` in a job file sets it"
        )
        rows.append((f"USD at {resolution}", told))
    return console.table(rows)


def _fields(family: ModelFamily) -> dict[str, JsonValue]:
    """A family as JSON. Prices are decimal text; null is not known."""
    return {
        "family": family.name,
        "title": family.title,
        "ids": list(family.ids),
        "resolutions": list(family.resolutions),
        "ratios": list(family.ratios),
        "durations": list(family.durations),
        "auto_duration": family.auto_duration,
        "frames": list(family.frames) if family.frames else None,
        "seed": family.honours_seed,
        "camera_fixed": str(family.camera_fixed),
        "generate_audio": family.audio,
        "generate_audio_default": family.audio_default,
        "draft": family.draft,
        "flex": family.flex,
        "priority": family.priority,
        "first_frame": family.first_frame,
        "last_frame": family.last_frame,
        "needs_image": family.needs_image,
        "reference_images": family.reference_images,
        "reference_videos": family.reference_videos,
        "reference_audios": family.reference_audios,
        "reference_resolutions": list(family.reference_resolutions) if family.takes_references else [],
        "sizes": {
            resolution: {
                ratio: {"width": size.width, "height": size.height, "assumed": size.is_assumed}
                for ratio in family.ratios
                if (size := facts().sizes.get((resolution, ratio)))
            }
            for resolution in family.resolutions
        },
        "usd_per_mtok": {
            resolution: {"plain": str(price.plain), "with_video": str(price.with_video)}
            for resolution, price in family.prices.items()
        }
        or None,
    }


def _durations(family: ModelFamily) -> str:
    first, last = family.durations
    return f"{first}..{last}{' or -1' if family.auto_duration else ''}"


def _frames(family: ModelFamily) -> str:
    return f"{family.frames[0]}..{family.frames[1]}, 25 + 4n" if family.frames else "no"


def _sound(family: ModelFamily) -> str:
    return f"{_yes(family.audio)}{' (default)' if family.audio_default else ''}"


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
