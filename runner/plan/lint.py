"""Lint: what would be refused, ignored or charged for nothing, found before it is paid for.

Each rule has a name and a level, which a job changes with `lint: {rule-name: warn}`. Findings are
remembered by the few fields that rules read, so that 100,000 tasks of one job cost a lookup each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from runner.job.expressions import RUN_TIME
from runner.job.model import SEED, Job, Level
from runner.job.problems import Checked
from runner.job.yaml.source import MAX_BYTES
from runner.json_value import JsonValue, canonical_json
from runner.plan.rules import MODEL_RULES, LintFinding, check_model
from runner.plan.task import Task
from runner.providers.dialect import Asked, RequestPath
from runner.providers.models import ModelFamily
from runner.providers.provider import Provider, ServiceLimits

SEED_SWEEP = "seed-sweep"
SEED_UNKNOWN = "seed-unknown"
SEED_RANGE = "seed-range"
UNKNOWN_MODEL = "unknown-model"
IMAGE_FORMAT = "image-format"
SERVICE_LIMITS = "service-limits"
PROMPT_FLAGS = "prompt-flags"
BODY_SIZE = "body-size"
BODY_LARGE = "body-large"
TIME_IN_REQUEST = "time-in-request"

DEFAULT_LEVELS: Mapping[str, Level] = {
    **{name: level for name, (level, _) in MODEL_RULES.items()},
    SEED_SWEEP: Level.ERROR,
    SEED_UNKNOWN: Level.WARN,
    SEED_RANGE: Level.WARN,
    UNKNOWN_MODEL: Level.WARN,
    IMAGE_FORMAT: Level.ERROR,
    SERVICE_LIMITS: Level.ERROR,
    PROMPT_FLAGS: Level.WARN,
    BODY_SIZE: Level.ERROR,
    BODY_LARGE: Level.WARN,
    TIME_IN_REQUEST: Level.ERROR,
}
"""Every rule with its level where a job's `lint:` says nothing."""

OF_MODEL = frozenset({SEED_SWEEP, SEED_UNKNOWN, UNKNOWN_MODEL, "retired", "seed-ignored"})
"""Rules whose findings hold for every cell of a model."""

_DATA_URI_OVERHEAD = len("data:video/quicktime;base64,")


class Linter:
    """Looks at the tasks of one plan, in order; gives each finding once.

    `levels` are the job's own. `takes` is how many seeds the step sweeps over, for the hint.
    """

    def __init__(self, provider: Provider, levels: Mapping[str, Level], *, takes: int) -> None:
        self._provider = provider
        self._levels = {**DEFAULT_LEVELS, **levels}
        self._takes = takes
        self._asked: set[Asked] = set()
        self._seeds: dict[str, JsonValue] = {}
        self._seed_of_rest: dict[int, JsonValue] = {}
        self._told: set[tuple[str, RequestPath, str]] = set()

    def look_at(self, task: Task) -> Iterator[tuple[LintFinding, Level]]:
        """The findings about `task` that no earlier task had, except those that are `off`."""
        for finding in self._findings(task):
            level = self._levels[finding.rule]
            key = (finding.rule, finding.path, finding.message)
            if level is not Level.OFF and key not in self._told:
                self._told.add(key)
                yield finding, level

    def _findings(self, task: Task) -> Iterator[LintFinding]:
        # with the seed that the job gives, though it may not be sent
        request = task.request if task.ignored_seed is None else {**task.request, SEED: task.ignored_seed}
        family = self._provider.catalogue.find(task.model)
        asked = self._provider.dialect.asked(request)
        if asked not in self._asked:
            self._asked.add(asked)
            if family is None:
                told = f"{task.model}: nothing is known of this model, so nothing is checked against it"
                yield LintFinding(UNKNOWN_MODEL, ("model",), told)
            else:
                yield from check_model(asked, family)
        yield from self._sweep(task, request, family)
        yield from self._check_texts(request)
        yield from self._check_images(asked)
        if task.inputs:
            path = (self._provider.dialect.items_field,)
            yield from _check_formats(task, family, path)
            yield from _check_size(task, self._provider.limits, path)

    def _sweep(
        self, task: Task, request: Mapping[str, JsonValue], family: ModelFamily | None
    ) -> Iterator[LintFinding]:
        """A seed that is too large; and two of them on a model that ignores seeds buy unrelated videos."""
        if SEED not in request:
            return
        seed = request[SEED]
        if family is not None and isinstance(seed, int) and seed > family.most_seed:
            told = f"the service takes seeds up to {family.most_seed}"
            yield LintFinding(SEED_RANGE, (SEED,), told, "use a smaller one")
        if family is None:
            rule, ignores = SEED_UNKNOWN, "may ignore `seed`: it is not known whether"
        elif not family.honours_seed:
            rule, ignores = SEED_SWEEP, "ignores `seed`:"
        else:
            return
        told = f"{task.model} {ignores} each further seed pays for an unrelated video"
        if SEED in task.cell:
            given = task.cell[SEED]
            if self._seeds.setdefault(task.model, given) != given:
                yield LintFinding(rule, (SEED,), told, f"samples: {self._takes}")
            return
        rest = hash(canonical_json({name: value for name, value in request.items() if name != SEED}))
        if self._seed_of_rest.setdefault(rest, seed) != seed:
            yield LintFinding(rule, (SEED,), told, "remove `seed`; for several takes use `samples: N`")

    def _check_texts(self, request: Mapping[str, JsonValue]) -> Iterator[LintFinding]:
        """A text that is too long, or has `--seed 7`: a way around the request that nothing here sees."""
        most = self._provider.limits.prompt
        for path, text in self._provider.dialect.texts(request):
            if "--" in text:
                yield from check_flags(text, path)
            if most is not None and len(text) > most:
                told = f"the prompt has {len(text):,} characters; {self._provider.name} takes {most:,}"
                yield LintFinding(SERVICE_LIMITS, path, told, "make it shorter")

    def _check_images(self, asked: Asked) -> Iterator[LintFinding]:
        most = self._provider.limits.images
        if most is None:
            return
        images = [item.path for item in asked.items if item.kind == "image_url"]
        if len(images) > most:
            told = f"{len(images)} images; {self._provider.name} takes {most}"
            yield LintFinding(SERVICE_LIMITS, (*images[most][:-1], "url"), told, "remove some")


def check_time(job: Job) -> Checked[None]:
    """`run.time` where it makes a request. In `edition` it says openly that each run pays anew, and in
    `output` it costs nothing.
    """
    level = job.lint.get(TIME_IN_REQUEST, DEFAULT_LEVELS[TIME_IN_REQUEST])
    if level is Level.OFF:
        return
    steps = (value for step in job.steps.values() for value in step.values() if value is not step.output)
    for value in (*job.variables.values(), *steps):
        if RUN_TIME in value.read_names:
            report = value.location.error if level is Level.ERROR else value.location.warning
            yield report(
                "`run.time` in a request makes each run's tasks new, and pays for all of them again",
                "use it in `output`, or say so with `edition: ${{ run.time }}`",
            )


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


def check_flags(text: str, path: RequestPath) -> Iterator[LintFinding]:
    for name in dict.fromkeys(match["name"].lower() for match in _FLAG.finditer(text)):
        field = _FLAG_FIELDS.get(name, name)
        where = "no field sets it" if field in ("framespersecond", "fps") else f"set `request.{field}`"
        yield LintFinding(
            PROMPT_FLAGS, path, f"`--{name}` in a prompt is not a setting that is seen here", where
        )


def _check_formats(task: Task, family: ModelFamily | None, path: RequestPath) -> Iterator[LintFinding]:
    for media_type in dict.fromkeys(file.media_type for file in task.inputs):
        if media_type in ("image/heic", "image/heif") and family is not None and not family.heic:
            told = f"{family.title} takes no {media_type.removeprefix('image/')} images"
            yield LintFinding(IMAGE_FORMAT, path, told, "save the image as PNG or JPEG")


def _check_size(task: Task, limits: ServiceLimits, path: RequestPath) -> Iterator[LintFinding]:
    """The body with its files as data URIs; base64 makes four bytes of three."""
    size = sum(4 * -(-file.size // 3) + _DATA_URI_OVERHEAD for file in task.inputs)
    if size <= limits.large_body - 2 * MAX_BYTES:
        return  # what is not in a file stands in the job file, and that is smaller than this
    size += len(canonical_json(task.request))
    shown = f"the request is {size / 1e6:.1f} MB with its files"
    hint = "give https URLs instead of local files, or smaller files"
    if size > limits.body:
        yield LintFinding(BODY_SIZE, path, f"{shown}; the service takes {limits.body / 1e6:.3g} MB", hint)
    elif size > limits.large_body:
        yield LintFinding(
            BODY_LARGE,
            path,
            f"{shown}; the service may refuse more than {limits.large_body / 2**20:.3g} MiB",
            hint,
        )
