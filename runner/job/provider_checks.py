"""What of a job file its provider has no place for, each at its place in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.job.model import SEED, ContentItem, OnAmbiguous, Reference
from runner.job.problems import Checked
from runner.job.seeds import Seeds
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location, Node, Scalar
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.providers import every
from runner.providers.dialect import ContentFacts
from runner.providers.provider import Provider


def check_fields(provider: Provider, request: Mapping[str, Value]) -> Checked[None]:
    """Each field of `request` that the provider does not have: an error, if the picture depends on it."""
    for name, value in request.items():
        if name in provider.fields:
            continue
        own = _own_name(provider, name)
        hint = f"at {provider.name} it is `{own}`" if own else _instead(provider, name)
        report = value.location.warning if _is_unseen(name) else value.location.error
        yield report(f"{provider.name} has no `{name}`", hint)


def check_axes(
    provider: Provider,
    axes: Mapping[str, Location],
    request: Mapping[str, Value],
    content: Sequence[ContentItem],
) -> Checked[None]:
    """Each axis named like a field that is called otherwise here, and sets nothing.

    `axes` are the places of the axes, by name. A common word is reported even where an expression uses the
    axis: in a job that was written for another provider it set the field.
    """
    values = [*request.values(), *(item.payload for item in content), *(item.role for item in content)]
    used = {name for value in values if isinstance(value, Value) for name in value.names}
    for name, location in axes.items():
        if name in used and name not in provider.dialect.words:
            continue
        if own := _own_name(provider, name):
            message = f"{provider.name} has no `{name}`, so this axis sets no field"
            yield location.error(message, f"name it `{own}`")


def check_run(provider: Provider, run: Node | None) -> Checked[None]:
    """A warning for each key under `run` that the provider has nothing for."""
    if not isinstance(run, MappingNode):
        return
    webhook, on_ambiguous = run.get("webhook"), run.get("on_ambiguous")
    if isinstance(webhook, MappingNode) and not provider.callback_field:
        message = f"{provider.name} has no webhooks, so results are polled for"
        yield webhook.location.warning(message, "remove it")
    is_auto = isinstance(on_ambiguous, Scalar) and on_ambiguous.value == OnAmbiguous.AUTO
    if on_ambiguous is not None and is_auto and provider.listing is None:
        yield on_ambiguous.location.warning(
            f"{provider.name} has no list to reconcile with, so a submit whose outcome is unclear is held",
            "on_ambiguous: hold",
        )


def check_seeds(provider: Provider, seeds: Seeds, location: Location) -> Checked[None]:
    """Seeds that the provider does not take."""
    if SEED not in provider.fields:
        yield location.error(f"{provider.name} has no `{SEED}`", f"samples: {len(seeds)}")


def check_content(
    provider: Provider, content: Sequence[ContentItem], content_location: Location
) -> Checked[None]:
    """The items of content that the provider does not take; `content` are those of one cell, or of all."""
    for refusal in provider.dialect.refuse_content([_facts(item) for item in content]):
        match refusal.path:
            case (_, int(number), *rest):
                location = content[number].location_of("".join(map(str, rest)))
            case _:
                location = content_location
        yield location.error(refusal.message, refusal.hint)


def _facts(item: ContentItem) -> ContentFacts:
    role: str | None = "first_frame" if item.kind == "image_url" else ""
    if item.role is not None:
        content = item.role.content
        role = str(content.value) if isinstance(content, Constant) and content.value is not None else None
    return ContentFacts(item.kind, role, isinstance(item.payload, Reference))


def _own_name(provider: Provider, name: str) -> str:
    """This provider's name for another provider's field `name`; empty if it has none."""
    common = next(
        (word for other in every().values() for word, own in other.dialect.words.items() if own == name),
        name,
    )
    own = provider.dialect.words.get(common, common)
    return own if own != name and own in provider.fields else ""


def _is_unseen(name: str) -> bool:
    """Whether the video is the same without the field: at one of the providers that have it."""
    return any(
        name in other.not_in_identity or name == other.dialect.last_frame_field for other in every().values()
    )


def _instead(provider: Provider, name: str) -> str:
    if name == SEED:
        return "ask for several takes with `samples: N`"
    others = (other.name for other in every().values() if other is not provider and name in other.fields)
    other = next(others, "")
    return f"remove it, or use provider: {other}" if other else "remove it"
