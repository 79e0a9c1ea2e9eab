"""The commands to type next, which a verb prints at its end where something is left to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from runner.cli import console
from runner.cli.common_options import common
from runner.cli.options import ServiceOptions
from runner.errors import ExitCode
from runner.ledger.states import TaskState
from runner.plan.edits import Edits


def command(verb: str, *arguments: str, service: ServiceOptions | None = None) -> str:
    """`callsheet VERB ARGUMENTS`, with the options that lead to the same project and service."""
    words = ["callsheet", verb, *arguments]
    if service is not None and service.sandbox:
        words.append("--sandbox")
    if service is not None and service.base_url:
        words += ["--base-url", service.base_url]
    if service is not None and service.trust_env:
        words.append("--trust-env")
    root = common().root
    if root is not None:
        words += ["--root", str(root)]
    return shlex.join(words)


def tell_next(
    counts: Mapping[TaskState, int],
    exit_code: ExitCode,
    job_file: str,
    service: ServiceOptions,
    *,
    is_pick_awaited: bool = False,
    left_edits: Edits | None = None,
) -> None:
    """Prints the commands that fit the state of a job. `job_file` is as a person types it here.

    What helps failed tasks is told by `tell_advice`. `is_pick_awaited`: a person has to choose the takes that
    later steps go on with. `left_edits` are those that --accept-edits would submit.
    """
    run = command("run", job_file, service=service)
    if counts.get(TaskState.HELD):
        listing = command("reconcile", service=service)
        console.next_step(listing, "lists what is held, and what to type for each")
    if exit_code in _CHECK_FIRST:
        console.next_step(command("doctor", service=service), "checks key, service, clock, disk and ledger")
    if left_edits is not None:
        accept = command("run", job_file, "--accept-edits", service=service)
        console.next_step(accept, f"keeps the older takes as versions, and submits {left_edits.words}")
    elif exit_code in _GOES_ON:
        console.next_step(run, _GOES_ON[exit_code])
    if is_pick_awaited:
        tell_pick(job_file, service)
    elif exit_code is ExitCode.DONE and service.sandbox and counts.get(TaskState.DONE):
        console.next_step(command("plan", job_file), "shows what the real run would buy")


def tell_pick(job_file: str, service: ServiceOptions) -> None:
    """Prints how to choose takes."""
    console.next_step(
        command("report", service=service), "writes the page to choose on: mark takes, copy their pick lines"
    )
    console.next_step(
        command("run", job_file, service=service),
        "when the lines are in the job file: goes on with those takes",
    )


_CHECK_FIRST = frozenset({ExitCode.UNREACHABLE, ExitCode.KEY_REFUSED})
_GOES_ON: Mapping[ExitCode, str] = {
    ExitCode.OUT_OF_MONEY: "after topping up; goes on, and pays for nothing twice",
    ExitCode.REFUSED: "after what refused it is mended; goes on, and pays for nothing twice",
    ExitCode.CANNOT_WRITE: "after making room; goes on, and fetches what is paid for",
    ExitCode.KEY_REFUSED: "with a key that the service takes; goes on",
    ExitCode.UNREACHABLE: "when it answers again; goes on",
    ExitCode.TRY_AGAIN: "goes on; nothing is paid twice",
    ExitCode.INTERRUPTED: "goes on; nothing is paid twice",
    ExitCode.TERMINATED: "goes on; nothing is paid twice",
}
