"""What a person can do about a task that is not simply done, with the command to type."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from runner.ledger.states import TaskState
from runner.record.manifest import ManifestTask


@dataclass(frozen=True, slots=True)
class Commands:
    """The command lines of one run, quoted for a shell: a job file's name may be anything.

    `option` is what sends them to the service that the run used: `--sandbox`, `--base-url URL` or
    nothing.
    """

    run_id: str
    job_file: str
    option: tuple[str, ...]

    def line(self, verb: str, *arguments: str) -> str:
        return shlex.join(["callsheet", verb, *arguments, *self.option])

    def run(self) -> str:
        return self.line("run", self.job_file)

    def resume(self) -> str:
        return self.line("resume", self.run_id)


@dataclass(frozen=True, slots=True)
class NextStep:
    text: str
    command: str = ""


def next_step(task: ManifestTask, commands: Commands) -> NextStep | None:
    """The next step for one task; None if nothing is left to do."""
    name = task.name
    if not task.in_plan:
        return _departed(task.state, name, commands)
    again = commands.line("retry", commands.run_id, "--only", name)
    match task.state:
        case TaskState.DONE:
            return None
        case TaskState.FAILED if task.error is not None and "policy" in task.error.code:
            return NextStep(
                "The service refused the content. Change the prompt or the picture in"
                f" {commands.job_file}; a changed task is a new one, so run the job.",
                commands.run(),
            )
        case TaskState.FAILED:
            return NextStep("Submit it once more. A new submit is paid for.", again)
        case TaskState.EXPIRED:
            return NextStep(
                "It was made, but its file can no longer be fetched. A new one is paid for.", again
            )
        case TaskState.WRITTEN_OFF:
            return NextStep("Its submit was given up by hand. A new one is paid for.", again)
        case TaskState.SKIPPED:
            return NextStep(
                "The task that it needs failed: submit that one once more.",
                commands.line("retry", commands.run_id),
            )
        case TaskState.ABSENT:
            return NextStep(
                "Paid for, but the file is gone from here and from the service. Bring it back from an"
                " archive, or pay for a new take.",
                commands.line("run", commands.job_file, "--again", name),
            )
        case TaskState.HELD:
            return NextStep(
                "Nobody knows whether the service took it, so nothing is sent. See what you can say of it.",
                commands.line("reconcile", name),
            )
        case TaskState.AMBIGUOUS | TaskState.INTENDED:
            return NextStep(
                "Its submit got no clear answer. It is looked for, and never sent again on a guess.",
                commands.resume(),
            )
        case TaskState.SUBMITTED | TaskState.COLLECTING:
            return NextStep("The service has it. Fetching it costs nothing more.", commands.resume())
        case TaskState.PLANNED:
            return NextStep("It has not been sent.", commands.resume())
        case TaskState.WAITING:
            return NextStep("It waits for the step above it.", commands.resume())


def _departed(state: TaskState, name: str, commands: Commands) -> NextStep | None:
    """The next step for a task that has left the plan: no run of the job goes on with it."""
    match state:
        case TaskState.HELD:
            return NextStep(
                "Nobody knows whether the service took it. See what you can say of it.",
                commands.line("reconcile", name),
            )
        case TaskState.AMBIGUOUS | TaskState.INTENDED | TaskState.SUBMITTED | TaskState.COLLECTING:
            return NextStep(
                "It is no longer in the plan, and what may be paid for is still looked for.",
                commands.line("collect"),
            )
        case _:
            return None
