"""What must hold, by what the service knows: the oracle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import anyio

from runner.errors import ExitCode
from runner.job.project_file import Window
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow, OutputRow, TaskRow
from runner.ledger.states import TaskState
from runner.money import MICROS
from runner.plan.task import Task
from tests.simulation.absence import check_absence
from tests.simulation.bench import Bench
from tests.simulation.clips import read_label
from tests.simulation.hands import said_of
from tests.simulation.kinds import INPUTS, Kind
from tests.simulation.process import Ended
from tests.simulation.schedule import Verb
from tests.simulation.service import OURS, RECORD_LIFE, START, Echo, Row, Said, within

DAY = 86_400.0

FRAME_WITHIN = 20 * 3600.0
"""Seconds after the video in which a last frame that appears must be fetched, well within a URL's life."""


class Limit(NamedTuple):
    """A cap, of one day or month where it has those."""

    name: str
    tasks: int | None
    micros: int | None


def check_between(bench: Bench, ledger: Ledger, before: dict[str, TaskState]) -> dict[str, TaskState]:
    """After each process: nothing was forgotten, undone or claimed too early. Gives the states."""
    attempts = list(ledger.read.in_state(*TaskState))
    states = {attempt.id: attempt.state for attempt in attempts}
    for attempt_id, state in before.items():
        if attempt_id not in states:
            bench.violate("claim", f"attempt {attempt_id[:8]} ({state}) vanished")
        elif state.is_terminal and states[attempt_id] is not state:
            attempt = ledger.read.attempt(attempt_id)
            is_found = state in (TaskState.EXPIRED, TaskState.WRITTEN_OFF) and attempt.remote_id is not None
            if not is_found:
                bench.violate("claim", f"attempt {attempt_id[:8]} was {state} and is {states[attempt_id]}")
    for attempt_id, remote_id in bench.submitted.items():
        attempt = ledger.read.attempt(attempt_id)
        if attempt is None or attempt.remote_id != remote_id:
            bench.violate("forgotten", f"{remote_id} was told as submitted and is not in the ledger")
    for attempt in attempts:
        if attempt.state is TaskState.DONE:
            _check_files(bench, ledger, attempt)
        if attempt.resolution in ("absent", "confirmed") and attempt.id not in bench.absences:
            check_absence(bench, ledger, attempt)
        if attempt.state is TaskState.EXPIRED and attempt.remote_id is not None:
            row = bench.row(attempt.remote_id)
            if row is not None and anyio.current_time() < row.at + RECORD_LIFE:
                bench.violate("silenced", f"{row.id} is expired, and the service may have it again")
    return states


def check_exit(bench: Bench, ledger: Ledger, tasks: Sequence[Task], ended: Ended, verb: Verb) -> None:
    """Exit code 0 says that every task is done; that of `collect`, that nothing is in flight."""
    if ended.exit_code is not ExitCode.DONE:
        return
    if verb is Verb.COLLECT:
        if next(ledger.read.in_state(TaskState.SUBMITTED, TaskState.COLLECTING), None):
            bench.violate("claim", "collect: exit code 0 with tasks in flight")
        return
    for task in tasks:
        if not _is_here(bench, task):
            bench.violate("claim", f"exit code 0, and {task.output} is not there")


def _is_here(bench: Bench, task: Task) -> bool:
    """Whether the file of a task is whole, and is what was asked for."""
    content = bench.platter.read(task.output)
    label = None if content is None else read_label(content)
    return label is not None and (label.owner, *label.said) == (OURS, *said_of(task)[1:])


def check_end(
    bench: Bench, ledger: Ledger, tasks: Sequence[Task], edited: Sequence[Task], ended: Ended
) -> Counter[str]:
    """After the last calm process; gives why tasks are held or unclear. `edited` are those of all edits."""
    attempts = list(ledger.read.in_state(*TaskState))
    senders = {row.id: _sender(row, attempts) for row in bench.accepted()}
    for row in bench.accepted():
        _check_row(bench, row, senders[row.id])
    _check_billing(bench, edited, senders)
    _check_caps(bench, senders)
    owners: Counter[str] = Counter(attempt.remote_id for attempt in attempts if attempt.remote_id)
    for remote_id, count in owners.items():
        if count > 1:
            bench.violate("wrong", f"{remote_id} is held by {count} attempts")
    for attempt in attempts:
        row = bench.row(attempt.remote_id)
        if row is not None and row.origin != attempt.origin:
            bench.violate("wrong", f"{row.id} is of another service than its attempt")
    if (
        ended.exit_code is not ExitCode.DONE
        and not bench.consents
        and not bench.schedule.has_edits
        and not bench.schedule.job.last_frame
        and not any(service.habits.lies for service in bench.services)
        # what the service has forgotten cannot be proved to be its file, whatever stands there
        and not any(service.habits.forgets for service in bench.services)
        and all(_is_here(bench, task) for task in tasks)
    ):
        bench.violate("claim", f"exit code {ended.exit_code}, and every file is there")
    latest = ledger.read.latest([task.identity for task in tasks])
    reasons: Counter[str] = Counter()
    for task in tasks:
        attempt = latest.get(task.identity)
        state = attempt.state if attempt else TaskState.PLANNED
        if attempt is not None and state in (TaskState.HELD, TaskState.AMBIGUOUS):
            reasons[_why(attempt)] += 1
        if not _may_stay(bench, task, state, attempt):
            bench.violate("stuck", f"{task.name} stays {state} in calm weather: {'; '.join(ended.reasons)}")
    return reasons


def _may_stay(bench: Bench, task: Task, state: TaskState, attempt: AttemptRow | None) -> bool:
    """Whether a task may stand so after the last calm process."""
    habits, now = bench.at(task.origin).habits, anyio.current_time()
    match state:
        case TaskState.PLANNED:
            # nothing comes of a POST for as long as all of them are unclear
            return bench.schedule.has_caps or habits.unclear[1] == math.inf
        case TaskState.AMBIGUOUS | TaskState.SUBMITTED | TaskState.COLLECTING if attempt is not None:
            # what was adopted late is looked for from then on
            began = max(attempt.intended_at, attempt.accepted_at or 0.0)
            return now < began - START + RECORD_LIFE
    return True


def _check_billing(bench: Bench, tasks: Sequence[Task], senders: Mapping[str, AttemptRow | None]) -> None:
    """One accepted POST for each decision, and one more where a limit that is told was passed.

    An edit that is undone, and made again, is no further decision.
    """
    asked = Counter({task.identity: said_of(task) for task in tasks}.values())
    wanted = asked + bench.consents + bench.earlier
    billed = Counter(row.said for row in bench.accepted())
    excused: Counter[Said] = Counter()
    for row in bench.accepted():
        sender = senders[row.id]
        absence = bench.absences.get(sender.id) if sender is not None else None
        if absence is not None and not absence.was_listed:
            excused[row.said] += 1
    for request, count in billed.items():
        most = wanted[request] + min(wanted[request], excused[request])
        if count > most:
            bench.violate("double-billed", f"{request}: {count} accepted for {wanted[request]} tasks")


def _sender(row: Row, attempts: Sequence[AttemptRow]) -> AttemptRow | None:
    """The attempt that sent what became `row`; tags, and so bodies, of settled attempts are used again."""
    found = [
        attempt for attempt in attempts if (attempt.origin, attempt.body_sha256) == (row.origin, row.mark)
    ]
    return next((attempt for attempt in found if attempt.remote_id == row.id), found[0] if found else None)


def _check_caps(bench: Bench, senders: Mapping[str, AttemptRow | None]) -> None:
    """What was accepted never exceeds a cap of a job, or of the day or month of its last intent, lost or not.

    A failed one costs no money.
    """
    schedule = bench.schedule
    tasks: Counter[Limit] = Counter()
    micros: Counter[Limit] = Counter()
    for row in bench.accepted():
        sender = senders[row.id]
        if row.at < 0 or _is_hidden_a_day(bench, row, sender):
            continue
        intended_at = sender.intended_at if sender is not None else START + row.at
        day = datetime.fromtimestamp(intended_at, schedule.zone).date().isoformat()
        job = schedule.job_said(row.prompt)
        limits = [Limit(job.folder, job.max_tasks, job.max_micros)]
        for cap in schedule.caps:
            if cap.where.covers(bench.at(row.origin).kind, {}):
                span = day if cap.window is Window.DAY else day[:7]
                limits.append(Limit(f"{cap.path}, {span}", cap.max_tasks, cap.max_micros))
        tasks.update(limits)
        micros.update(dict.fromkeys(limits, 0 if row.fails else job.price * MICROS))
    for limit, count in tasks.items():
        if limit.tasks is not None and count > limit.tasks:
            bench.violate("cap", f"{limit.name}: {count} accepted, and the cap is {limit.tasks}")
        if limit.micros is not None and micros[limit] > limit.micros:
            bench.violate("cap", f"{limit.name}: {micros[limit]} spent, and the cap is {limit.micros}")


def _is_hidden_a_day(bench: Bench, row: Row, sender: AttemptRow | None) -> bool:
    """Whether the list still left it out a day after it was taken for absent: then it is counted no more."""
    absence = bench.absences.get(sender.id) if sender is not None else None
    return absence is not None and not bench.at(row.origin).is_listed(row, absence.at + DAY)


def _check_row(bench: Bench, row: Row, attempt: AttemptRow | None) -> None:
    """One accepted generation: its attempt has it, or says loudly that it does not know."""
    if attempt is None:
        bench.violate("lost", f"{row.id} was accepted, and no attempt in the ledger sent it")
        return
    if attempt.remote_id == row.id:
        fine = {TaskState.FAILED if row.fails else TaskState.DONE}
        if row.forgotten_at < math.inf:
            fine.add(TaskState.EXPIRED)
        if attempt.state not in fine and attempt.state not in (TaskState.SUBMITTED, TaskState.COLLECTING):
            bench.violate("lost", f"{row.id} ended as {attempt.state}: {attempt.error_message}")
        return
    if attempt.remote_id is not None:
        other = bench.row(attempt.remote_id)
        if other is None or (other.owner, *other.said) != (OURS, *row.said):
            bench.violate("wrong", f"{attempt.remote_id} was adopted for {row.id}")
        return
    absence = bench.absences.get(attempt.id)
    if absence is not None and not absence.was_listed and not _is_findable(bench, row):
        bench.beyond.add(attempt.id)
    elif absence is not None and _is_findable(bench, row):
        bench.violate("lost", f"{row.id} was taken for absent, is in the list, and was not found")
    elif attempt.state not in (TaskState.HELD, TaskState.AMBIGUOUS) and attempt.id not in bench.given_up:
        bench.violate(
            "lost", f"{row.id} was accepted, and its attempt is {attempt.state} ({attempt.resolution})"
        )


def _is_findable(bench: Bench, row: Row) -> bool:
    """Whether the service showed it to a process that nothing went wrong in, with its tag and its time."""
    service = bench.at(row.origin)
    habits = service.habits
    # a seed that came back wrong speaks against the row, whatever its tag says
    is_clear = habits.seed in (Echo.SENT, Echo.UNDECIDED, Echo.NEVER, Echo.MINUS_ONE) and row.odd is None
    tells = habits.echo in (Echo.SENT, Echo.UNDECIDED) and habits.turns == math.inf and is_clear
    # two equal inputs tell nobody's row
    tells = tells and (service.kind not in (Kind.INPUT, Kind.HISTORY) or _is_alone(bench, row))
    return tells and any(
        service.is_listed(row, began)
        and not service.is_list_broken(began)
        and not within(habits.limited, began)
        and began + DAY < row.at + RECORD_LIFE
        for began in bench.calm_began
    )


def _is_alone(bench: Bench, row: Row) -> bool:
    """Whether no other request of any owner shows the same input."""
    return sum(_input(other) == _input(row) for other in bench.at(row.origin).rows) == 1


def _input(row: Row) -> tuple[object, ...]:
    return (row.model, row.prompt, *(row.request.get(name) for name in INPUTS))


def _check_files(bench: Bench, ledger: Ledger, attempt: AttemptRow) -> None:
    rows = [
        row
        for row in ledger.read.outputs([attempt.identity]).get(attempt.identity, [])
        if row.attempt_id == attempt.id
    ]
    if not rows:
        bench.violate("claim", f"{attempt.identity[:8]} is done without a file")
    task = ledger.read.task(attempt.identity)
    assert task is not None
    made = bench.row(attempt.remote_id)
    habits = bench.at(attempt.origin).habits
    if (
        made is not None
        and task.request.get("return_last_frame")
        and habits.lies
        and habits.frame_late < FRAME_WITHIN
        and not any(row.kind == "last_frame" for row in rows)
        and made.forgotten_at == math.inf
    ):
        bench.violate("lost", f"{attempt.identity[:8]} is done without its last frame")
    found: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for row in rows:
        trouble = _trouble(bench, attempt, task, row)
        found.setdefault((row.kind, row.ordinal), []).append(trouble)
        if trouble[0] and not bench.schedule.has_edits:
            bench.violate(*trouble)
    # a kill leaves the path that a take has given up to it in the ledger: its version has the bytes
    for troubles in found.values():
        if all(kind for kind, _ in troubles):
            bench.violate(*troubles[0])


def _trouble(bench: Bench, attempt: AttemptRow, task: TaskRow, row: OutputRow) -> tuple[str, str]:
    """What is wrong with a file of a done attempt, by kind and in words; both empty for nothing."""
    content = bench.platter.read(row.path)
    label = None if content is None else read_label(content)
    if content is None or len(content) != row.bytes:
        return "claim", f"{row.path} is done, and the file is missing or partial"
    if label is None:
        return "claim", f"{row.path} is done, and the file is broken"
    if (label.remote_id, label.owner, *label.said) != (attempt.remote_id, OURS, *said_of(task)[1:]):
        return "wrong", f"{row.path} holds {label}"
    return "", ""


def _why(attempt: AttemptRow) -> str:
    said = attempt.resolution_evidence or attempt.evidence
    words = said.reason.split() if said is not None else []
    return " ".join("#" if any(letter.isdigit() for letter in word) else word for word in words)
