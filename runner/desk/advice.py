"""What a person can do about a task that is not simply done, with the command to type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.ledger.states import TaskState

WORDS: Mapping[TaskState, str] = {
    TaskState.DONE: "done",
    TaskState.FAILED: "failed",
    TaskState.EXPIRED: "expired",
    TaskState.WRITTEN_OFF: "written off",
    TaskState.SKIPPED: "skipped",
    TaskState.ABSENT: "absent",
    TaskState.HELD: "held",
    TaskState.AMBIGUOUS: "unclear",
    TaskState.INTENDED: "unclear",
    TaskState.COLLECTING: "in flight",
    TaskState.SUBMITTED: "in flight",
    TaskState.WAITING: "waiting",
    TaskState.PLANNED: "not sent",
}
"""States as a person filters them, in the order in which they are offered."""


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
class Advice:
    text: str
    command: str = ""


def advice(task: Mapping[str, Any], commands: Commands) -> Advice | None:
    """What to do about one task of a manifest; None where nothing is left to do."""
    name = str(task["name"])
    if not task.get("in_plan", True):
        return _departed(TaskState(task["state"]), name, commands)
    again = commands.line("retry", commands.run_id, "--only", name)
    match TaskState(task["state"]):
        case TaskState.DONE:
            return None
        case TaskState.FAILED if "policy" in str((task["error"] or {}).get("code", "")):
            return Advice(
                "The service refused the content. Change the prompt or the picture in"
                f" {commands.job_file}; a changed task is a new one, so run the job.",
                commands.run(),
            )
        case TaskState.FAILED:
            return Advice("Submit it once more. A new submit is paid for.", again)
        case TaskState.EXPIRED:
            return Advice("It was made, but its file can no longer be fetched. A new one is paid for.", again)
        case TaskState.WRITTEN_OFF:
            return Advice("Its submit was given up by hand. A new one is paid for.", again)
        case TaskState.SKIPPED:
            return Advice(
                "The task that it needs failed: submit that one once more.",
                commands.line("retry", commands.run_id),
            )
        case TaskState.ABSENT:
            return Advice(
                "Paid for, but the file is gone from here and from the service. Bring it back from an"
                " archive, or pay for a new take.",
                commands.line("run", commands.job_file, "--again", name),
            )
        case TaskState.HELD:
            return Advice(
                "Nobody knows whether the service took it, so nothing is sent. See what you can say of it.",
                commands.line("reconcile", name),
            )
        case TaskState.AMBIGUOUS | TaskState.INTENDED:
            return Advice(
                "Its submit got no clear answer. It is looked for, and never sent again on a guess.",
                commands.resume(),
            )
        case TaskState.SUBMITTED | TaskState.COLLECTING:
            return Advice("The service has it. Fetching it costs nothing more.", commands.resume())
        case TaskState.PLANNED:
            return Advice("It has not been sent.", commands.resume())
        case TaskState.WAITING:
            return Advice("It waits for the step above it.", commands.resume())


def _departed(state: TaskState, name: str, commands: Commands) -> Advice | None:
    """Of a task that is no longer in the plan: no run of the job goes on with it."""
    match state:
        case TaskState.HELD:
            return Advice(
                "Nobody knows whether the service took it. See what you can say of it.",
                commands.line("reconcile", name),
            )
        case TaskState.AMBIGUOUS | TaskState.INTENDED | TaskState.SUBMITTED | TaskState.COLLECTING:
            return Advice(
                "It is no longer in the plan, and what may be paid for is still looked for.",
                commands.line("collect"),
            )
        case _:
            return None
