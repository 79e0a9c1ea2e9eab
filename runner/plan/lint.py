"""Lint: what would be refused, ignored or charged for nothing, found before it is paid for.

Each rule has a name and a level, which a job changes with `lint: {rule-name: warn}`. Findings are
remembered by the few fields that rules read, so that 100,000 tasks of one job cost a lookup each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from runner.job.expressions.expressions import NEEDS, RUN_TIME
from runner.job.files.inputs import FILES, decode_data_uri, look_at_image, sniff
from runner.job.model import SEED, Job, Level
from runner.job.problems import Checked
from runner.job.prompts import Place, find_unfilled
from runner.job.values import Value
from runner.job.yaml.source import MAX_BYTES
from runner.json_value import JsonValue, canonical_json
from runner.plan.picks import flow_yaml
from runner.plan.rules import MODEL_RULES, LintFinding, check_model
from runner.plan.signed import key_for, signature_in
from runner.plan.task import Task
from runner.providers.account import Account
from runner.providers.dialect import Asked, RequestPath
from runner.providers.model_ids import has_unknown_vendor, id_that_was_meant
from runner.providers.models import ModelFamily
from runner.providers.provider import data_uri_size

SEED_SWEEP = "seed-sweep"
SEED_UNKNOWN = "seed-unknown"
SEED_RANGE = "seed-range"
UNSUPPORTED = "unsupported"
UNKNOWN_MODEL = "unknown-model"
MODEL_NAME = "model-name"
IMAGE_FORMAT = "image-format"
IMAGE_SIZE = "image-size"
INPUT_BROKEN = "input-broken"
SIGNED_URL = "signed-url"
SERVICE_LIMITS = "service-limits"
PROMPT_FLAGS = "prompt-flags"
PROMPT_PLACEHOLDER = "prompt-placeholder"
BODY_SIZE = "body-size"
BODY_LARGE = "body-large"
TIME_IN_REQUEST = "time-in-request"

DEFAULT_LEVELS: Mapping[str, Level] = {
    **{name: level for name, (level, _) in MODEL_RULES.items()},
    SEED_SWEEP: Level.ERROR,
    SEED_UNKNOWN: Level.WARN,
    SEED_RANGE: Level.WARN,
    UNSUPPORTED: Level.WARN,
    UNKNOWN_MODEL: Level.WARN,
    MODEL_NAME: Level.ERROR,
    IMAGE_FORMAT: Level.ERROR,
    IMAGE_SIZE: Level.ERROR,
    INPUT_BROKEN: Level.ERROR,
    SIGNED_URL: Level.WARN,
    SERVICE_LIMITS: Level.ERROR,
    PROMPT_FLAGS: Level.WARN,
    PROMPT_PLACEHOLDER: Level.ERROR,
    BODY_SIZE: Level.ERROR,
    BODY_LARGE: Level.ERROR,
    TIME_IN_REQUEST: Level.ERROR,
}
"""Every rule with its level where a job's `lint:` says nothing."""

OF_MODEL = frozenset(
    {SEED_SWEEP, SEED_UNKNOWN, UNSUPPORTED, UNKNOWN_MODEL, MODEL_NAME, "retired", "seed-ignored"}
)
"""Rules whose findings hold for every cell of a model."""


class Linter:
    """Looks at the tasks of one step of a plan that one account pays for, in order; gives each finding once.

    `levels` are the job's own. `takes` is how many seeds the step sweeps over, for the hint.
    `variables` are the job's, by name, and `place` is where it stands. `sold` are the ids that the service
    was seen to sell, and `others` the accounts of the whole job, by name. `written` is the
    step's `request`. `has_uploads`: the project has a place for inputs.
    """

    def __init__(
        self,
        account: Account,
        levels: Mapping[str, Level],
        *,
        takes: int,
        variables: Mapping[str, JsonValue] | None = None,
        place: Place | None = None,
        sold: Collection[str] = (),
        others: Mapping[str, Account] | None = None,
        written: Mapping[str, Value] | None = None,
        has_uploads: bool = False,
    ) -> None:
        self._account = account
        self._has_uploads = has_uploads
        self._provider = account.provider
        self._others = dict(others or {})
        self._written = dict(written or {})
        # a flag that is obeyed changes what is paid for; elsewhere it is only a word of the prompt
        flags = Level.ERROR if account.provider.dialect.reads_flags else DEFAULT_LEVELS[PROMPT_FLAGS]
        self._levels = {**DEFAULT_LEVELS, PROMPT_FLAGS: flags, **levels}
        self._takes = takes
        self._variables = dict(variables or {})
        self._place = place
        self._sold = sold
        self._texts: set[str] = set()
        self._urls: set[tuple[str, str, RequestPath]] = set()
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
            yield from self._check_name(task.model, is_known=family is not None)
            if family is not None:
                yield from check_model(asked, family)
                for refusal in self._provider.dialect.refuse_request(asked, family):
                    yield LintFinding(SERVICE_LIMITS, refusal.path, refusal.message, refusal.hint)
        yield from self._check_unsaid(task)
        yield from self._sweep(task, request, family)
        yield from self._check_texts(task, request)
        yield from self._check_images(asked)
        if any(item.kind in FILES for item in asked.items):
            yield from self._check_media(task, family)
        if task.inputs:
            yield from self._check_size(task)

    def _check_unsaid(self, task: Task) -> Iterator[LintFinding]:
        """Each field of the job that is not sent, because the service or the model has not got it."""
        for name in task.unsaid:
            is_of_model = bool(self._provider.own_name(name))
            who = f"{task.model_name} at {self._account.name}" if is_of_model else self._account.name
            others = (each for each in self._others.values() if each.name != self._account.name)
            takers = sorted(each.name for each in others if each.provider.own_name(name))
            hint = "if that is meant: `lint: {unsupported: off}`"
            if takers and name in self._written:
                value = self._written[name].known
                moved = "..." if value is None else flow_yaml(value)
                only = takers[0] if len(takers) == 1 else f"{', '.join(takers[:-1])} and {takers[-1]}"
                at = ", ".join(f"{taker}: {{{name}: {moved}}}" for taker in takers)
                hint = f"to ask {only} alone: `request_at: {{{at}}}`"
            yield LintFinding(UNSUPPORTED, (name,), f"{who} has no `{name}`, so it is not sent there", hint)

    def _check_name(self, model: str, *, is_known: bool) -> Iterator[LintFinding]:
        """A misspelt id, and one of which nothing, or not its vendor, is known."""
        if self._provider.is_own_server:
            return
        catalogue, path = self._provider.catalogue, ("model",)
        vendor, _, name = model.rpartition("/")
        is_sold = model in self._sold
        if not is_sold and (meant := id_that_was_meant(catalogue, model)):
            told = f"{model} is not a model that {self._provider.name} is known to have"
            yield LintFinding(MODEL_NAME, path, told, f"did you mean `{meant}`?")
        elif not is_known:
            told = f"{model}: nothing is known of this model, so nothing is checked against it"
            if not is_sold and has_unknown_vendor(catalogue, model):
                told += f"; nor is `{vendor}/` a prefix that {self._provider.name} is known to have"
            yield LintFinding(UNKNOWN_MODEL, path, told)
        elif not is_sold and has_unknown_vendor(catalogue, model):
            told = f"`{vendor}/` is not a prefix that {self._provider.name} is known to have"
            yield LintFinding(UNKNOWN_MODEL, path, told, f"without a prefix it is `{name}`")

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
        honours_seed = self._provider.honours_seed(task.model)
        if honours_seed is None:
            rule, ignores = SEED_UNKNOWN, "may ignore `seed`: it is not known whether"
        elif not honours_seed:
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

    def _check_texts(self, task: Task, request: Mapping[str, JsonValue]) -> Iterator[LintFinding]:
        """A text that is too long, is not filled in, or has `--seed 7`, which goes around the request."""
        most = self._provider.limits.prompt
        for path, text in self._provider.dialect.texts(request):
            if text in self._texts:
                continue
            self._texts.add(text)
            if "--" in text:
                yield from check_flags(text, path)
            for found in find_unfilled(text, self._names(task), self._place):
                yield LintFinding(PROMPT_PLACEHOLDER, path, found.message, found.hint)
            if most is not None and len(text) > most:
                told = f"the prompt has {len(text):,} characters; {self._provider.name} takes {most:,}"
                yield LintFinding(SERVICE_LIMITS, path, told, "make it shorter")

    def _names(self, task: Task) -> dict[str, JsonValue]:
        """The names that an expression of the task may use, with their values."""
        above: dict[str, JsonValue] = {step: dict(cell) for step, cell in task.cells_above.items()}
        return {**task.cell, "vars": self._variables, NEEDS: above}

    def _check_media(self, task: Task, family: ModelFamily | None) -> Iterator[LintFinding]:
        """Each image, video and sound: a file by its content, an address by how it is written."""
        files = {file.reference: file for file in task.inputs}
        for path, url in self._provider.dialect.urls(task.request):
            key = (url, task.model, path)
            if key in self._urls:
                continue
            self._urls.add(key)
            if (file := files.get(url)) is not None:
                yield from _check_file(file.media_type, file.pixels, file.trouble, family, path)
            elif (found := decode_data_uri(url)) is not None:
                media_type = sniff(found)
                yield from _check_file(media_type, *look_at_image(found, media_type), family, path)
            elif name := signature_in(url):
                yield LintFinding(
                    SIGNED_URL,
                    path,
                    f"the address is signed (`{name}`): signed anew, it makes a new task",
                    f"{path[-1]}: {{url: ..., key: {key_for(url)}}}, with a key that stays the same",
                )

    def _check_size(self, task: Task) -> Iterator[LintFinding]:
        """The body with its files as data URIs; base64 makes four bytes of three."""
        limits, path = self._provider.limits, (self._provider.dialect.items_field,)
        going = self._provider.by_address(task.request, task.inputs) if self._has_uploads else ()
        files = {file.reference: data_uri_size(file) for file in task.inputs if file not in going}
        size = sum(files[url] for _, url in self._provider.dialect.urls(task.request) if url in files)
        if size <= limits.large_body - 2 * MAX_BYTES:
            return  # what is not in a file stands in the job file, and that is smaller than this
        size += len(canonical_json(task.request))
        shown = f"the request is {size / 1e6:.1f} MB with its files"
        hint = "give https URLs or smaller files, or name a place for `uploads:` in callsheet.yaml"
        if size > limits.body:
            yield LintFinding(BODY_SIZE, path, f"{shown}; the service takes {limits.body / 1e6:.3g} MB", hint)
        elif size > limits.large_body:
            told = f"{shown}; the service's edge refuses more than {limits.large_body / 2**20:.3g} MiB"
            yield LintFinding(BODY_LARGE, path, told, hint)

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


def _check_file(
    media_type: str,
    pixels: tuple[int, int] | None,
    trouble: str,
    family: ModelFamily | None,
    path: RequestPath,
) -> Iterator[LintFinding]:
    """What the service could not read in a file, or would refuse."""
    if trouble:
        yield LintFinding(INPUT_BROKEN, path, trouble, "export or copy the file once more")
    if family is None:
        return
    if media_type in ("image/heic", "image/heif") and not family.heic:
        told = f"{family.title} takes no {media_type.removeprefix('image/')} images"
        yield LintFinding(IMAGE_FORMAT, path, told, "save the image as PNG or JPEG")
    if pixels is None:
        return
    shown, ratio = f"the image has {pixels[0]} x {pixels[1]} pixels", pixels[0] / pixels[1]
    sides, ratios = family.image_sides, family.image_ratios
    if sides is not None and not sides[0] <= min(pixels) <= max(pixels) <= sides[1]:
        told = f"{shown}; {family.title} takes sides of {sides[0]} to {sides[1]}"
        yield LintFinding(IMAGE_SIZE, path, told, "scale it")
    elif ratios is not None and not ratios[0] <= ratio <= ratios[1]:
        told = f"{shown}, a ratio of {ratio:.3g}; {family.title} takes {ratios[0]} to {ratios[1]}"
        yield LintFinding(IMAGE_SIZE, path, told, "crop it")
