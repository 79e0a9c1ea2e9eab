"""Lint: what would be refused, ignored or charged for nothing, found before it is paid for.

Each rule has a name and a level, which a job changes with `lint: {rule-name: warn}`. Findings are
remembered by the few fields that rules read, so that 100,000 tasks of one job cost a lookup each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from runner.job.model import SEED
from runner.job.rules import MODEL_RULES, Finding, Level, asked, check_model
from runner.job.task import Task
from runner.job.yaml.nodes import Path
from runner.job.yaml.source import MAX_BYTES
from runner.json_value import JsonValue, canonical_json
from runner.providers.models import ModelFamily
from runner.providers.provider import Limits, Provider

SEED_SWEEP = "seed-sweep"
SEED_UNKNOWN = "seed-unknown"
UNKNOWN_MODEL = "unknown-model"
IMAGE_FORMAT = "image-format"
SERVICE_LIMITS = "service-limits"
PROMPT_FLAGS = "prompt-flags"
BODY_SIZE = "body-size"
BODY_LARGE = "body-large"

DEFAULT_LEVELS: Mapping[str, Level] = {
    **{name: level for name, (level, _) in MODEL_RULES.items()},
    SEED_SWEEP: Level.ERROR,
    SEED_UNKNOWN: Level.WARN,
    UNKNOWN_MODEL: Level.WARN,
    IMAGE_FORMAT: Level.ERROR,
    SERVICE_LIMITS: Level.ERROR,
    PROMPT_FLAGS: Level.WARN,
    BODY_SIZE: Level.ERROR,
    BODY_LARGE: Level.WARN,
}
"""Every rule with its level where a job's `lint:` says nothing."""

OF_MODEL = frozenset({SEED_SWEEP, SEED_UNKNOWN, UNKNOWN_MODEL, "retired", "seed-ignored"})
"""Rules whose findings hold for every cell of a model."""

_DATA_URI_OVERHEAD = len("data:video/quicktime;base64,")
_MODEL_FIELDS = (
    "model",
    "resolution",
    "aspect_ratio",
    "ratio",
    "duration",
    "frames",
    "camera_fixed",
    "generate_audio",
    "sound",
    "draft",
    "service_tier",
    "priority",
    "return_last_frame",
)


class Linter:
    """Looks at the tasks of one plan, in order; gives each finding once.

    `levels` are the job's own. `takes` is how many seeds the step sweeps over, for the hint.
    """

    def __init__(self, provider: Provider, levels: Mapping[str, Level], *, takes: int) -> None:
        self._provider = provider
        self._levels = {**DEFAULT_LEVELS, **levels}
        self._takes = takes
        self._shapes: set[tuple[object, ...]] = set()
        self._seeds: dict[str, JsonValue] = {}
        self._seed_of_rest: dict[int, JsonValue] = {}
        self._told: set[tuple[str, Path, str]] = set()

    def look_at(self, task: Task) -> Iterator[tuple[Finding, Level]]:
        """What is to be said of `task` and was not said of one before it; nothing that is `off`."""
        for finding in self._findings(task):
            level = self._levels[finding.rule]
            key = (finding.rule, finding.path, finding.message)
            if level is not Level.OFF and key not in self._told:
                self._told.add(key)
                yield finding, level

    def _findings(self, task: Task) -> Iterator[Finding]:
        request = _written(task)
        family = self._provider.catalogue.find(task.model)
        shape = _shape(request, family)
        if shape not in self._shapes:
            self._shapes.add(shape)
            if family is None:
                told = f"{task.model}: nothing is known of this model, so nothing is checked against it"
                yield Finding(UNKNOWN_MODEL, ("model",), told)
            else:
                yield from check_model(asked(task.provider, request), family)
        yield from self._sweep(task, request, family)
        yield from check_prompts(request)
        yield from _check_limits(task, self._provider.limits)
        if task.inputs:
            yield from _check_formats(task, family)
            yield from _check_size(task, self._provider.limits)

    def _sweep(
        self, task: Task, request: Mapping[str, JsonValue], family: ModelFamily | None
    ) -> Iterator[Finding]:
        """Two seeds on a model that ignores them buy unrelated videos."""
        if SEED not in request:
            return
        if family is None:
            rule, ignores = SEED_UNKNOWN, "may ignore `seed`: it is not known whether"
        elif not family.honours_seed:
            rule, ignores = SEED_SWEEP, "ignores `seed`:"
        else:
            return
        told = f"{task.model} {ignores} each further seed pays for an unrelated video"
        if SEED in task.cell:
            seed = task.cell[SEED]
            if self._seeds.setdefault(task.model, seed) != seed:
                yield Finding(rule, (SEED,), told, f"samples: {self._takes}")
            return
        seed = request[SEED]
        rest = hash(canonical_json({name: value for name, value in request.items() if name != SEED}))
        if self._seed_of_rest.setdefault(rest, seed) != seed:
            yield Finding(rule, (SEED,), told, "remove `seed`; for several takes use `samples: N`")


def _written(task: Task) -> Mapping[str, JsonValue]:
    """The request with the seed that the job gives, though it may not be sent."""
    return task.request if task.ignored_seed is None else {**task.request, SEED: task.ignored_seed}


def _shape(request: Mapping[str, JsonValue], family: ModelFamily | None) -> tuple[object, ...]:
    """All that the rules of models read, as a key."""
    items = request.get("content") or request.get("images") or ()
    kinds = tuple(
        (item.get("type"), item.get("role"))
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict)
    )
    seed = request.get(SEED)
    is_large = family is not None and isinstance(seed, int) and seed > family.most_seed
    return (SEED in request, is_large, kinds, *map(request.get, _MODEL_FIELDS))


_FLAG = re.compile(
    r"(?<!\S)--(?P<name>seed|resolution|rs|ratio|rt|duration|dur|frames|camerafixed|camera_fixed|cf|"
    r"watermark|wm|framespersecond|fps)\b",
    re.IGNORECASE,
)
_FLAG_FIELDS = {
    **dict.fromkeys(("rs", "resolution"), "resolution"),
    **dict.fromkeys(("rt", "ratio"), "ratio"),
    **dict.fromkeys(("dur", "duration"), "duration"),
    **dict.fromkeys(("cf", "camerafixed", "camera_fixed"), "camera_fixed"),
    **dict.fromkeys(("wm", "watermark"), "watermark"),
}


def check_prompts(request: Mapping[str, JsonValue]) -> Iterator[Finding]:
    """`--seed 7` in a prompt: a way around the request that neither the identity nor a sweep sees."""
    prompt = request.get("prompt")
    if isinstance(prompt, str) and "--" in prompt:
        yield from _flags(prompt, ("prompt",))
    content = request.get("content")
    for number, item in enumerate(content if isinstance(content, list) else ()):
        text = item.get("text") if isinstance(item, dict) else None
        if isinstance(text, str) and "--" in text:
            yield from _flags(text, ("content", number, "text"))


def _flags(text: str, path: Path) -> Iterator[Finding]:
    for name in dict.fromkeys(match["name"].lower() for match in _FLAG.finditer(text)):
        field = _FLAG_FIELDS.get(name, name)
        where = "no field sets it" if field in ("framespersecond", "fps") else f"set `request.{field}`"
        yield Finding(PROMPT_FLAGS, path, f"`--{name}` in a prompt is not a setting that is seen here", where)


def _check_limits(task: Task, limits: Limits) -> Iterator[Finding]:
    prompt, images = task.request.get("prompt"), task.request.get("images")
    if limits.prompt is not None and isinstance(prompt, str) and len(prompt) > limits.prompt:
        told = f"the prompt has {len(prompt):,} characters; {task.provider} takes {limits.prompt:,}"
        yield Finding(SERVICE_LIMITS, ("prompt",), told, "make it shorter")
    if limits.images is not None and isinstance(images, list) and len(images) > limits.images:
        told = f"{len(images)} images; {task.provider} takes {limits.images}"
        yield Finding(SERVICE_LIMITS, ("images", limits.images, "url"), told, "remove some")


def _check_formats(task: Task, family: ModelFamily | None) -> Iterator[Finding]:
    for media_type in dict.fromkeys(file.media_type for file in task.inputs):
        if media_type in ("image/heic", "image/heif") and family is not None and not family.heic:
            told = f"{family.title} takes no {media_type.removeprefix('image/')} images"
            yield Finding(IMAGE_FORMAT, _media_field(task), told, "save the image as PNG or JPEG")


def _check_size(task: Task, limits: Limits) -> Iterator[Finding]:
    """The body with its files as data URIs; base64 makes four bytes of three."""
    size = sum(4 * -(-file.size // 3) + _DATA_URI_OVERHEAD for file in task.inputs)
    if size <= limits.large_body - 2 * MAX_BYTES:
        return  # what is not in a file stands in the job file, and that is smaller than this
    size += len(canonical_json(task.request))
    shown = f"the request is {size / 1e6:.1f} MB with its files"
    hint = "give https URLs instead of local files, or smaller files"
    path = _media_field(task)
    if size > limits.body:
        yield Finding(BODY_SIZE, path, f"{shown}; the service takes {limits.body / 1e6:.3g} MB", hint)
    elif size > limits.large_body:
        yield Finding(BODY_LARGE, path, f"{shown}; the service may refuse more than 32 MiB", hint)


def _media_field(task: Task) -> Path:
    return ("images" if "images" in task.request else "content",)
