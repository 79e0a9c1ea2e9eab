"""What helps after failures: which tasks failed and why, by group, and the command to type for each cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from runner.cli import console
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions
from runner.ledger.states import STATE_WORDS, TaskState
from runner.providers.failures import Cause
from runner.redact import printable
from runner.run.troubles import Trouble

_MOST_NAMES = 5
_MOST_GROUPS = 8
_MOST_ONLY = 12
"""Names after --only; with more, `retry` submits all that failed."""


class Advice(NamedTuple):
    """`why` says what the command does, or what to do before; `{of}` names the tasks where others need
    something else.
    """

    is_retried: bool
    why: str


ADVICE: Mapping[Cause, Advice] = {
    Cause.PROMPT: Advice(False, "after you change the prompt or input{of}: the same one is refused again"),
    Cause.RESULT: Advice(False, "after you change the prompt or seed{of}: the service withheld what it made"),
    Cause.REQUEST: Advice(False, "after you mend the request{of} as the service says"),
    Cause.ACCESS: Advice(False, "after you name another model{of}, or get access to this one"),
    Cause.PASSING: Advice(True, "submits the failed tasks once more{of}: such a fault passes"),
    Cause.LOST: Advice(True, "looks at the service again{of}, and buys anew what is gone"),
    Cause.UNKNOWN: Advice(True, "submits the failed tasks once more{of}; what is accepted is paid for again"),
}
"""The one table of what helps: either the job file is changed and run, or the same request goes again."""


@dataclass(frozen=True, slots=True)
class _Group:
    state: TaskState
    code: str
    message: str


def trouble_lines(troubles: Sequence[Trouble]) -> Iterator[str]:
    """A line for each group of tasks that met the same: `2 failed: content_policy: refused (a and b)`."""
    groups: dict[_Group, list[str]] = {}
    messages: Counter[tuple[TaskState, str]] = Counter()
    for trouble in troubles:
        group = _Group(trouble.state, trouble.code, trouble.message)
        if group not in groups:
            messages[trouble.state, trouble.code] += 1
        groups.setdefault(group, []).append(trouble.name)
    told = sorted(_merged(groups, messages).items(), key=lambda each: -len(each[1]))
    for group, names in told[:_MOST_GROUPS]:
        said = ": ".join(part for part in (group.code, group.message) if part) or "without a reason"
        yield f"{len(names):,} {STATE_WORDS[group.state].shown}: {printable(said)} ({names_words(names)})"
    if len(told) > _MOST_GROUPS:
        yield f"and {len(told) - _MOST_GROUPS} more reasons; hint: `callsheet status` shows each task"


def tell_advice(
    troubles: Iterable[Trouble], job_file: str, service: ServiceOptions, *, run_id: str = ""
) -> None:
    """The command to type next for each cause among what failed. `run_id` is empty for the latest run."""
    causes: dict[Cause, list[str]] = {}
    for trouble in troubles:
        if trouble.state is not TaskState.HELD:
            causes.setdefault(trouble.cause, []).append(trouble.name)
    for cause, names in causes.items():
        advice = ADVICE[cause]
        why = advice.why.format(of=f" ({names_words(names)})" if len(causes) > 1 else "")
        if not advice.is_retried:
            console.next_step(command("run", job_file, service=service), why)
            continue
        only = [] if len(causes) == 1 or len(names) > _MOST_ONLY else [f"--only={name}" for name in names]
        own = [run_id] if run_id else []
        console.next_step(command("retry", *own, *only, service=service), why)


def names_words(names: Sequence[str]) -> str:
    """`a, b and c`; of many the first few, and how many more."""
    shown = [printable(name) for name in islice(names, _MOST_NAMES)]
    if len(names) > _MOST_NAMES:
        return f"{', '.join(shown)} and {len(names) - _MOST_NAMES:,} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


_MOST_MESSAGES = 3


def _merged(
    groups: Mapping[_Group, list[str]], messages: Mapping[tuple[TaskState, str], int]
) -> dict[_Group, list[str]]:
    """Groups of one code with many messages, which hold ids or times, become one under the first of them."""
    found: dict[_Group, list[str]] = {}
    first: dict[tuple[TaskState, str], _Group] = {}
    for group, names in groups.items():
        key = (group.state, group.code)
        into = first.setdefault(key, group) if messages[key] > _MOST_MESSAGES else group
        found.setdefault(into, []).extend(names)
    return found
