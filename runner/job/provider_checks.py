"""What of a job file its provider has no place for, each at its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runner.job.model import SEED, ContentItem, OnAmbiguous, Reference
from runner.job.problems import Checked
from runner.job.schema import instead_of
from runner.job.seeds import Seeds
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location, Node, Scalar
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.providers import every
from runner.providers.dialect import ContentFacts
from runner.providers.provider import Provider


def settable(providers: Iterable[Provider]) -> frozenset[str]:
    """What a request or an axis may set at one of the providers at least."""
    return frozenset[str]().union(*(provider.settable for provider in providers))


def check_fields(
    providers: Sequence[Provider], request: Mapping[str, Value], *, is_mixed: bool = False
) -> Checked[None]:
    """Each field of `request` that none of the providers has: an error, if the picture depends on it. One
    that some have is a matter of the lint `unsupported`. `is_mixed`: the job has further providers.
    """
    known, first = settable(providers), providers[0]
    for name, value in request.items():
        if name in known:
            continue
        own = _own_name(first, name)
        hint = f"at {first.name} it is `{own}`" if own else _instead(providers, name, is_mixed=is_mixed)
        report = value.location.warning if _is_unseen(name) else value.location.error
        yield report(_told(providers, f"`{name}`"), hint)


def _told(providers: Sequence[Provider], what: str) -> str:
    names = list(dict.fromkeys(provider.name for provider in providers))
    return f"{names[0]} has no {what}" if len(names) == 1 else f"none of {', '.join(names)} has {what}"


def check_twice(providers: Sequence[Provider], request: Mapping[str, Value]) -> Checked[None]:
    """Each field that is set twice at one of the providers: by a common word, and by its own name."""
    for provider in providers:
        for word, own in provider.dialect.words.items():
            if word in request and own in request and provider.own_name(own) and word != own:
                hint = f"keep one of them, or write `{own}` under `request_at: {{{provider.name}: ...}}`"
                yield request[own].location.error(
                    f"at {provider.name} `{word}` and `{own}` are one field", hint
                )


def check_axes(
    providers: Sequence[Provider],
    axes: Mapping[str, Location],
    request: Iterable[Value],
    content: Sequence[ContentItem],
) -> Checked[None]:
    """Each axis named like a field that is called otherwise here, and sets nothing.

    `axes` are the places of the axes, by name.
    """
    values = [*request, *(item.payload for item in content), *(item.role for item in content)]
    used = {name for value in values if isinstance(value, Value) for name in value.names}
    for name in axes.keys() - used - settable(providers):
        if own := _own_name(providers[0], name):
            message = f"{_told(providers, f'`{name}`')}, so this axis sets no field"
            yield axes[name].error(message, f"name it `{own}`")


def check_run(providers: Sequence[Provider], run: Node | None) -> Checked[None]:
    """A warning for each key under `run` that none of the providers has something for."""
    if not isinstance(run, MappingNode):
        return
    webhook, on_ambiguous = run.get("webhook"), run.get("on_ambiguous")
    if isinstance(webhook, MappingNode) and not any(each.callback_field for each in providers):
        yield webhook.location.warning(
            f"{_told(providers, 'webhooks')}, so results are polled for", "remove it"
        )
    is_auto = isinstance(on_ambiguous, Scalar) and on_ambiguous.value == OnAmbiguous.AUTO
    if on_ambiguous is not None and is_auto and all(each.listing is None for each in providers):
        article = "" if len(providers) == 1 else "a "
        told = _told(providers, f"{article}list to reconcile with")
        yield on_ambiguous.location.warning(
            f"{told}, so a submit whose outcome is unclear is held", "on_ambiguous: hold"
        )


def check_seeds(providers: Sequence[Provider], seeds: Seeds, location: Location) -> Checked[None]:
    """Seeds that none of the providers takes."""
    if SEED not in settable(providers):
        yield location.error(_told(providers, f"`{SEED}`"), f"samples: {len(seeds)}")


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


def _instead(providers: Sequence[Provider], name: str, *, is_mixed: bool) -> str:
    if name == SEED:
        return "ask for several takes with `samples: N`"
    if instead := instead_of(name):
        return instead
    others = (other.name for other in every().values() if other not in providers and name in other.fields)
    other = "" if is_mixed else next(others, "")
    return f"remove it, or use provider: {other}" if other else "remove it"
