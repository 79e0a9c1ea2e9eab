"""What a valid job file says, as frozen dataclasses. Durations are seconds."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Problem
from runner.job.expressions.expressions import NEEDS, PREVIOUS, RUN, RUN_TIME, Condition
from runner.job.expressions.paths import OutputTemplate
from runner.job.files.object_inputs import ObjectInputs
from runner.job.files.sources import JobCopy
from runner.job.models_lock import ModelsLock
from runner.job.project_file import ProjectFile
from runner.job.seeds import Seeds
from runner.job.values import Value
from runner.job.yaml.nodes import Location
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.money import Price
from runner.providers.account import Account
from runner.providers.provider import Provider

MODEL = "model"
SEED = "seed"
SAMPLE = "sample"
BUILT_IN = frozenset({MODEL, SEED, SAMPLE})
"""The axes that have keys of their own: `models`, `seeds`, `samples`."""


class OnAmbiguous(enum.StrEnum):
    """The next step once an unclear submit is shown to be absent at the service."""

    AUTO = "auto"
    HOLD = "hold"


class OnEdit(enum.StrEnum):
    """What becomes of a new task whose output path holds a take of another request."""

    ASK = "ask"
    VERSION = "version"
    """It is submitted; the older take is kept as a version."""
    REFUSE = "refuse"


LOOPBACK_MINIMUM = 0.1
"""`run.poll.min` in a rehearsal, in seconds."""


class Level(enum.StrEnum):
    """The weight of a finding: it stops the plan, warns, or is off."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """`first`: from acceptance to the first poll (None: learned); `minimum`, `maximum`: between polls.

    `is_minimum_given`: whether the job file sets it.
    """

    first: float | None = None
    minimum: float = 2.0
    maximum: float = 30.0
    is_minimum_given: bool = False

    def on_loopback(self) -> PollPolicy:
        """This policy for a server on loopback, where a poll costs nothing: the first is sent at once."""
        if self.is_minimum_given:
            return self
        return replace(self, first=self.first or 0.0, minimum=LOOPBACK_MINIMUM)


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """`public_url` is what the service calls; `listen` (`HOST:PORT`) is where the call arrives."""

    public_url: str
    listen: str = "127.0.0.1:8787"


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """How a run behaves. `rate` is requests per second (None: learned from 429s)."""

    concurrency: int = 8
    submit_slots: int = 4
    downloads: int = 4
    rate: float | None = None
    timeout: float = 3600.0
    deadline: float | None = None
    max_failures: int | None = None
    settle: float = 300.0
    on_ambiguous: OnAmbiguous = OnAmbiguous.AUTO
    poll: PollPolicy = field(default_factory=PollPolicy)
    webhook: WebhookPolicy | None = None
    settle_alone: float = 3600.0
    on_edit: OnEdit = OnEdit.ASK


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps over all runs of a job and edition, and the cost that a person must confirm; None: no limit."""

    max_micros: int | None = None
    max_tasks: int | None = None
    confirm_micros: int | None = None


@dataclass(frozen=True, slots=True)
class AxisSpec:
    """A matrix axis as written: its values may hold expressions over `vars`, `env` and `run`.

    The values of one from a file are constants, each with its place there; `columns` are their keys (None:
    the file could not be read), and `is_named` says whether each names its task for good.
    """

    name: str
    location: Location
    values: tuple[Value, ...]
    is_from_file: bool = False
    columns: frozenset[str] | None = None
    is_named: bool = True


@dataclass(frozen=True, slots=True)
class Reference:
    """`${{ needs.<step>.<output> }}` or `${{ previous.<output> }}` as a whole payload: one of STEP_OUTPUTS.

    `step` is that of the upstream task; the step's own for the one before it in its chain.
    """

    location: Location
    step: str
    output: str


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One content item. `kind` is its type; `payload` its text, URL, file path or task id.

    `key` or `sha256` stands for the address in the task's identity. `when` decides whether a cell has the
    item.
    """

    kind: str
    location: Location
    payload: Value | Reference
    role: Value | None
    key: Value | None = None
    sha256: Value | None = None
    when: Condition | None = None
    uses_previous: bool = False
    """Whether the first task of a chain lacks it."""

    @property
    def names(self) -> frozenset[str]:
        """The names in scope that it depends on."""
        names = {NEEDS} if isinstance(self.payload, Reference) else self.payload.names
        given = (self.role, self.key, self.sha256, self.when)
        parts = (part.names for part in given if part is not None)
        return frozenset({PREVIOUS} if self.uses_previous else ()).union(names, *parts)

    def location_of(self, part: str) -> Location:
        """Where a part of the item stands: its role, its payload (by its type), else the item."""
        if part == "role" and self.role is not None:
            return self.role.location
        return self.payload.location if part == self.kind else self.location


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model of `models`, at an account. `name` is how the job calls it: its id where the job gives none."""

    id: str
    location: Location
    account: str
    name: str

    @property
    def is_plain(self) -> bool:
        """Whether it has no name but its id."""
        return self.name == self.id


@dataclass(frozen=True, slots=True)
class Step:
    """What one step generates; a flat job file has one, without a name.

    Each of its cells is made once for each task of the step that it `needs`, or once if there is none. Where
    it `joins`, its cells and the tasks of each step that it needs meet by the axes that they share. `chain`
    is the axis along which its tasks are made one after the other, or empty. `pick` holds patterns of the
    tasks that further steps may use; None means all.
    """

    name: str
    location: Location
    needs: tuple[str, ...]
    joins: bool
    chain: str
    chain_location: Location
    pick: tuple[Value, ...] | None
    pick_location: Location
    models: tuple[ModelChoice, ...]
    seeds: Seeds | None
    samples: int | None
    takes_location: Location
    """The location of `seeds` or `samples`, or of the models if neither is given."""
    axes: tuple[AxisSpec, ...]
    exclude: tuple[Value, ...]
    include: tuple[Value, ...]
    request: Mapping[str, Value]
    content: tuple[ContentItem, ...]
    output: OutputTemplate | None
    price: Price | None
    request_at: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """Fields for one account, or for one provider, by its name."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The values of the axis `model`."""
        return tuple(dict.fromkeys(choice.name for choice in self.models))

    def choice(self, name: str) -> ModelChoice | None:
        """The model that the job calls so; None for one that only `include` adds."""
        return next((choice for choice in self.models if choice.name == name), None)

    def uses(self, step: str) -> frozenset[str]:
        """The STEP_OUTPUTS that its requests take from a task of `step`; of its own: from the one before."""
        payloads = (item.payload for item in self.content)
        references = (payload for payload in payloads if isinstance(payload, Reference))
        return frozenset(reference.output for reference in references if reference.step == step)

    def values(self) -> Iterator[Value | OutputTemplate | Condition]:
        """Everything that may hold expressions."""
        for axis in self.axes:
            yield from axis.values
        yield from (*(self.pick or ()), *self.exclude, *self.include, *self.fields)
        for item in self.content:
            if isinstance(item.payload, Value):
                yield item.payload
            if item.role is not None:
                yield item.role
            if item.when is not None:
                yield item.when
        if self.output is not None:
            yield self.output

    @property
    def fields(self) -> tuple[Value, ...]:
        """The values of `request` and `request_at`."""
        further = (value for fields in self.request_at.values() for value in fields.values())
        return (*self.request.values(), *further)

    @property
    def output_location(self) -> Location:
        """The location of `output`, or of the takes if it is not given."""
        return self.output.location if self.output is not None else self.takes_location


@dataclass(frozen=True, slots=True)
class Job:
    """A valid job file. `file` is its path below the root, with forward slashes; `text` its bytes.

    Input paths are relative to `directory`. `accounts` are those of its models, by name, and the first is its
    own, whose provider is `provider`. `env` holds the listed variables that are set. `base_url`
    is None unless the job is trusted. `steps` are by name, each after the one that it needs; a flat
    job has one, named "". `lint` holds the levels that the job changes. `project_file` and `models_lock` are
    those of the root.
    """

    name: str
    file: str
    digest: str
    copy: JobCopy = field(repr=False)
    root: Path
    directory: Path
    provider: Provider
    run: RunPolicy
    budget: Budget
    api_key_env: str | None
    base_url: str | None
    edition: Value | None
    variables: Mapping[str, Value]
    env: Mapping[str, str] = field(repr=False)
    steps: Mapping[str, Step]
    lint: Mapping[str, Level]
    warnings: tuple[Problem, ...]
    document: MappingNode = field(repr=False)
    """The job file as read, merged with the one that it `extends`."""
    accounts: Mapping[str, Account] = field(default_factory=dict)
    project_file: ProjectFile = field(default_factory=ProjectFile)
    models_lock: ModelsLock = field(default_factory=ModelsLock)
    object_inputs: ObjectInputs | None = None
    """None where it was not loaded from a file."""

    @property
    def text(self) -> bytes:
        """The job file, byte for byte."""
        return self.copy.text

    @property
    def files(self) -> Mapping[str, bytes]:
        """The further files that it was made of, by path below the root: once it is planned, all of them."""
        return self.copy.files

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Those of its accounts, each once."""
        return tuple(dict.fromkeys(account.provider for account in self.accounts.values()))

    @property
    def uses_date(self) -> bool:
        """Whether an expression reads `run.date` or `run.time`. Known for sure once the job is planned."""
        return self._reads(RUN)

    @property
    def uses_time(self) -> bool:
        """Whether an expression reads `run.time`. Known for sure once the job is planned."""
        return self._reads(RUN_TIME)

    def _reads(self, name: str) -> bool:
        own = () if self.edition is None else (self.edition,)
        steps = (value for step in self.steps.values() for value in step.values())
        return any(name in value.read_names for value in (*own, *self.variables.values(), *steps))
