"""What `recover` does before a person agrees: a new ledger made beside the old one, and the lists asked."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from runner.assemble import Looking, look_at_lists
from runner.cli import console
from runner.cli.options import ServiceOptions
from runner.cli.place import accounts_here, choose_places
from runner.errors import CallsheetError, ExitCode, KeyRefusedError, NoProjectError, ServiceUnreachableError
from runner.http.access import ApiKey
from runner.http.verdicts import Evidence
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.job.project.environment import read_env
from runner.job.project.load_project import readable_project_file
from runner.lane.lease import TAKEOVER, held_by
from runner.lane.recognise import Recognised
from runner.ledger.leases import LeaseRow, LeaseTable
from runner.ledger.ledger import Ledger
from runner.ledger.rows import KEY_HASH_SHOWN, TAKEN_OVER, AttemptRow, Grounds
from runner.ledger.states import OPEN, Basis, Resolution, TaskState
from runner.plan.plan import Plan, make_plan
from runner.project import PROJECT_FILE, Project
from runner.providers.place import Place, origins_of
from runner.record.folder import RunFolder
from runner.record.recovery import KnownRun, Recorded
from runner.redact import printable
from runner.run.lost import Old, Remains
from runner.run.rebuild import LOST, Rebuild, time_of
from runner.times import iso_time

_UNPROVEN = "the ledger was lost, and nothing shows any more which key it was made with"

_SILENT = Evidence(
    row=TAKEN_OVER,
    headers_begun=None,
    reason="the shared ledger was lost or moved while a process was between the intent and the outcome",
)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A generation that no log knows."""

    account: str
    id: str
    model: str
    created_at: str


@dataclass(slots=True)
class Found:
    """What a new ledger would hold. `listed` counts the rows of each account's list."""

    old: Old
    recorded: Recorded
    is_moved: bool = False
    """The shared ledger lies on another server, or in another history of it, than it was written on."""
    changed: int = 0
    counts: Counter[TaskState] = field(default_factory=Counter)
    listed: dict[str, int] = field(default_factory=dict)
    strangers: list[Stranger] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waits_for: list[str] = field(default_factory=list)
    """The machines that have used a shared ledger, and have not recovered it since it was lost."""

    @property
    def is_nothing(self) -> bool:
        """The ledger knows all that the runs tell."""
        return not self.changed and not self.is_moved and self.old.remains is not Remains.DAMAGED

    @property
    def exit_code(self) -> ExitCode:
        if self.waits_for:
            return ExitCode.PERSON_NEEDED
        if self.is_nothing:
            return ExitCode.DONE
        is_held = self.counts[TaskState.HELD] or self.strangers or self.notes
        return ExitCode.PERSON_NEEDED if is_held else ExitCode.DONE


@dataclass(frozen=True, slots=True)
class _Key:
    """An account's place and key; `missing` says why there is none."""

    place: Place
    key: ApiKey | None
    missing: str = ""


@dataclass(slots=True)
class Silence:
    """Whether the drivers that a shared ledger knows of can still begin a POST: who has given no sign of life
    for as long as a takeover waits cannot.
    """

    leases: LeaseTable
    clock: Callable[[], float]
    _seen: dict[str, tuple[LeaseRow, float]] = field(default_factory=dict)

    def left(self) -> float:
        """Seconds that are still to be waited. Raises LaneHeldError where a driver is alive."""
        now, left = self.clock(), 0.0
        for row in self.rows():
            first, since = self._seen.setdefault(row.lane, (row, now))
            if first.beat != row.beat:
                raise held_by(row)
            left = max(left, TAKEOVER - (now - since))
        return left

    def rows(self) -> list[LeaseRow]:
        return [row for row in self.leases.rows() if not row.is_free]

    def end(self) -> None:
        """Nothing comes of these drivers any more, in the caller's transaction. Raises LaneHeldError."""
        for row in self.rows():
            if not self.leases.sign_off_for(row):
                raise held_by(row)


@dataclass(slots=True)
class Recovery:
    """Brings a ledger up to what is `found`. What the lists have shown once is used again for another one."""

    project: Project
    service: ServiceOptions
    found: Found
    no_lists: bool
    is_shared: bool = False
    _seen: list[tuple[ApiKey, Recognised]] = field(default_factory=list)
    _keys: dict[str, _Key] = field(default_factory=dict)

    def check_projects(self) -> None:
        """Raises NoProjectError for the folder of another project's run."""
        own = readable_project_file(self.project.root).project or self.found.old.meta.get("project", "")
        for run in self.found.recorded.runs.values():
            if own and run.project and run.project != own:
                raise NoProjectError(
                    f"{RunFolder(self.project, run.id).path}: is a run of project {printable(run.project)},"
                    f" and {PROJECT_FILE} names {own}; nothing was changed",
                    hint="move that folder out of runs/",
                )

    def study(self, ledger: Ledger) -> None:
        """Brings a new ledger beside the old one up to what is found, and asks the lists.

        Raises KeyRefusedError and ServiceUnreachableError where a list is needed and cannot be read.
        """
        if self.found.old.remains is Remains.WHOLE and not ledger.read.key_hashes():
            # a refused verb has left an empty one
            self.found.old = replace(self.found.old, remains=Remains.NOTHING)
        if not self.no_lists:
            self._keys = _keys(self.project, self.service, ())
        with ledger.transaction():
            ledger.replace_lost(self.found.old.meta)
        with ledger.transaction():
            rebuild = self._rebuild(ledger)
        self.found.changed = len(rebuild.changed)
        self.found.notes += rebuild.notes
        if not self.no_lists and not self.found.is_nothing:
            self._ask_lists(ledger)
        with ledger.transaction():
            self._take_lists(ledger)
            _hold_unproven(ledger)
        self.found.counts = Counter(ledger.read.count_states())

    def apply(self, ledger: Ledger) -> None:
        """The same for the ledger itself, in a transaction of the caller's."""
        self._rebuild(ledger)
        self._take_lists(ledger)
        _hold_unproven(ledger)

    def _rebuild(self, ledger: Ledger) -> Rebuild:
        whole = [each for each in ledger.read.key_hashes() if len(each) > KEY_HASH_SHOWN]
        prints = [each.key.fingerprint(ledger.salt) for each in self._keys.values() if each.key is not None]
        known = {each[:KEY_HASH_SHOWN]: each for each in (*whole, *prints)}
        now = time.time()
        rebuild = Rebuild(
            ledger,
            self.found.recorded,
            self.project.base,
            now=now,
            zone=readable_project_file(self.project.root).timezone,
            accounts=accounts_here(self.project, self.service),
            hash_of=lambda start: known.get(start, start),
            plan_of=self._plan_of,
            is_shared=self.is_shared,
            store=readable_project_file(self.project.root).store,
        )
        rebuild.run()
        for row in [*ledger.read.in_state(TaskState.INTENDED)]:
            ledger.leave_unclear(row.id, _SILENT if self.is_shared else LOST, now)
        return rebuild

    def _plan_of(self, run: KnownRun) -> Plan | None:
        """By the run's own copy of its job, which is trusted with nothing: its folder may be anybody's."""
        root = self.project.root
        try:
            copy = RunFolder(self.project, run.id).job_copy()
            options = LoadOptions(environ=os.environ)
            job = load_job(root / (run.job_file or "job.yaml"), root=root, options=options, copy=copy)
            places = {} if run.origin else choose_places(job.accounts, self.project, self.service, known=())
            origins = {name: place.origin for name, place in places.items()}
            began = run.started_at or time_of(run.id) or time.time()
            zone = job.project_file.timezone
            date = RunDate.parse(run.run_date) if run.run_date else RunDate.today(began, zone)
            plan = make_plan(
                job, origins=origins or origins_of(job.accounts, run.origin), run_date=date, began=began
            )
        except (CallsheetError, ValueError):
            return None
        told = self.found.recorded.attempts.values()
        own = {known.identity for known in told if known.run_id == run.id}
        return plan if not own or any(task.identity in own for task in plan.tasks) else None

    def _ask_lists(self, ledger: Ledger) -> None:
        looks = [*self._looks(ledger)]
        shown = look_at_lists([look for _, look in looks], ledger) if looks else []
        for (name, look), seen in zip(looks, shown, strict=True):
            if isinstance(seen, Recognised):
                self._seen.append((look.key, seen))
                self.found.listed[name] = seen.rows
                self.found.strangers += [
                    Stranger(name, row.id, row.model, iso_time(row.created_at or 0.0))
                    for row in seen.strangers
                ]
                continue
            said = f"{look.place.origin}: the list of {name} cannot be read: {printable(str(seen))}"
            if any(map(_is_unproven, look.attempts)):
                raise ServiceUnreachableError(
                    said, hint="try again later; without the list: callsheet recover --no-lists"
                )
            console.note(said)

    def _looks(self, ledger: Ledger) -> Iterator[tuple[str, Looking]]:
        """Each account whose list may tell of attempts, with these. Raises KeyRefusedError."""
        now = time.time()
        for name, one in _keys(self.project, self.service, ledger.read.origins()).items():
            provider = one.place.provider
            attempts = [
                row
                for row in _attempts(ledger, self.found.recorded)
                if row.origin == one.place.origin
                and now - row.intended_at < provider.record_life
                and (task := ledger.read.task(row.identity)) is not None
                and task.provider == provider.name
            ]
            if provider.listing is None or not attempts:
                continue
            if one.key is not None:
                yield name, Looking(one.place, one.key, attempts)
            elif any(map(_is_unproven, attempts)):
                raise KeyRefusedError(
                    f"{name}: {one.missing}",
                    hint="set it, so that the service's list can tell what became of submits; without it:"
                    " callsheet recover --no-lists",
                )

    def _take_lists(self, ledger: Ledger) -> None:
        """Whose the attempts are, and what came back of them, as the lists have shown."""
        for key, seen in self._seen:
            own = key.fingerprint(ledger.salt)
            for start in {key_hash[:KEY_HASH_SHOWN] for key_hash in seen.hashes}:
                ledger.know_key(start, own)
            for attempt_id, echoed in seen.echoes.items():
                ledger.notice_echo(attempt_id, echoed)


def _keys(project: Project, service: ServiceOptions, known: Sequence[str]) -> dict[str, _Key]:
    """By account; `known` are the origins of the runs."""
    accounts = accounts_here(project, service)
    own = frozenset(account.key_variable for account in accounts.values())
    environment = read_env(project.root, os.environ, allow=own - {""})
    found: dict[str, _Key] = {}
    for name, account in accounts.items():
        place = choose_places({name: account}, project, service, known=known)[name]
        try:
            found[name] = _Key(place, place.find_key(environment))
        except KeyRefusedError as error:
            found[name] = _Key(place, None, str(error))
    return found


def _attempts(ledger: Ledger, recorded: Recorded) -> Iterator[AttemptRow]:
    """All that the runs tell of, and what else is open."""
    for attempt_id in recorded.attempts:
        row = ledger.read.attempt(attempt_id)
        assert row is not None
        yield row
    for row in ledger.read.in_state(*OPEN):
        if row.id not in recorded.attempts:
            yield row


def _is_unproven(row: AttemptRow) -> bool:
    """Whether it is unclear, and nothing shows which key it was made with: no list tells of it then."""
    return row.state is TaskState.AMBIGUOUS and len(row.key_hash) <= KEY_HASH_SHOWN


def _hold_unproven(ledger: Ledger) -> None:
    for row in [*ledger.read.in_state(TaskState.AMBIGUOUS)]:
        if _is_unproven(row):
            grounds = Grounds.of(Basis.NONE, reason=_UNPROVEN)
            ledger.resolve(row.id, Resolution.HELD, grounds, time.time())
