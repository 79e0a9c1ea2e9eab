"""What to type next: each verb ends with it where there is something to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from runner.cli import console
from runner.cli.options import ServiceOptions, common
from runner.errors import ExitCode
from runner.ledger.states import TaskState


def command(verb: str, *arguments: str, service: ServiceOptions | None = None) -> str:
    """`callsheet VERB ARGUMENTS`, with the options that lead to the same project and service again."""
    words = ["callsheet", verb, *arguments]
    if service is not None and service.sandbox:
        words.append("--sandbox")
    if service is not None and service.base_url:
        words += ["--base-url", service.base_url]
    root = common().root
    if root is not None:
        words += ["--root", str(root)]
    return shlex.join(words)


def tell_next(
    counts: Mapping[TaskState, int], exit_code: ExitCode, job_file: str, service: ServiceOptions
) -> None:
    """The commands that fit how a job stands, with what each does. `job_file` as a person types it here."""
    for line, why in _fitting(counts, exit_code, job_file, service):
        console.next_step(line, why)


def _fitting(
    counts: Mapping[TaskState, int], exit_code: ExitCode, job_file: str, service: ServiceOptions
) -> Iterator[tuple[str, str]]:
    run = command("run", job_file, service=service)
    if counts.get(TaskState.HELD):
        yield command("reconcile", service=service), "lists what is held, and what to type for each"
    if exit_code is ExitCode.OUT_OF_MONEY:
        yield run, "after topping up; goes on, and pays for nothing twice"
    elif exit_code in _GOES_ON:
        yield run, "goes on; nothing is paid twice"
    unmade = sum(counts.get(state, 0) for state in (TaskState.FAILED, TaskState.EXPIRED))
    if unmade:
        yield command("status", service=service), "says why each failed"
        yield command("retry", service=service), "submits the failed once more, and pays for them again"
    if exit_code is ExitCode.DONE and service.sandbox and counts.get(TaskState.DONE):
        yield command("plan", job_file), "this was a rehearsal: what the real run would buy"


_GOES_ON = frozenset(
    {
        ExitCode.TRY_AGAIN,
        ExitCode.UNREACHABLE,
        ExitCode.INTERRUPTED,
        ExitCode.TERMINATED,
        ExitCode.KEY_REFUSED,
    }
)
