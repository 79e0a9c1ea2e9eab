"""Writes docs/reference/errors.md: each way a run goes wrong is provoked, and shown as the user sees it.

Every entry is a real command in a project of its own, against a sandbox on loopback that is told to
misbehave. What differs from one machine or day to the next (paths, ids, ports, times) is made the same.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.__main__ import main
from runner.project import init_project
from runner.run.lock import project_lock
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "errors.md"
HEAD = """\
# What can go wrong, and what it looks like

Written by `python scripts/write_reference.py`, which provokes each of these in a project of its own; a
test does it again and holds this page to it. Paths, ids, ports and times are made the same. An error
says where, what, and after `hint:` what to do; the exit codes are those of
[exit-codes.md](exit-codes.md). Progress lines are left out here.

A hint of one of these forms can be pasted as it stands:

| hint | what to do |
|---|---|
| did you mean `x`? | put `x` in the place of the name that is wrong |
| write `x` instead of `y` | put `x` in the place of `y`, at the caret |
| write plain spaces in this line | put a space in the place of each odd one |
| indent this line by 4 spaces | make it begin with that many spaces; a range of lines likewise |
| delete this line | delete that line alone |
| add `x` | put `x` on a line of its own above the caret, as far to the right |

For a slip of the hand such a change was first made on a copy of the file, and the copy passed. Where a
file has several slips, paste all hints.
"""

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..2
request:
  resolution: 480p
  ratio: 16:9
  duration: 4
content:
  - type: text
    text: A teapot spins, steam rising
output: out/teapot-s${{ seed }}.mp4
run: {settle: 0s, concurrency: 1, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""
FILE = "jobs/teapot.yaml"

_PROGRESS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+: ")
"""A line of a run under way."""
_SAME: tuple[tuple[str, str], ...] = (
    (r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8080"),
    (r"\d{8}T\d{6}Z-[0-9a-f]{6}", "20260531T220000Z-a1b2c3"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-05-31T22:00:00.000Z"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?=\S+: )", "2026-05-31 22:00:00 "),
    (r"waiting until \d\d:\d\d:\d\d", "waiting until 23:00:00"),
    (r"(?m)^(cost: .*), \d+(\.\d+)? s$", r"\1, 0.5 s"),
    (r"\bt-[0-9a-f]{20}\b", "t-0123456789abcdef0123"),
    (r"\breq_[0-9a-f]+\b", "req_0123456789abcdef"),
    (r"\b[0-9a-f]{12}\b", "0123456789ab"),
    (r"\.[0-9a-f]{8}\.part\b", ".01234567.part"),
    (r"\bs\d: (/films\S*teapot-)s\d", r"s1: \1s1"),
    (r"[\d,]+ bytes are still to come", "46,807 bytes are still to come"),
    (r"(?m), [\d.]+ s$", ", 2 s"),
    (r"\(last event \d+ \w+ ago\)", "(last event 2 s ago)"),
    (
        r"\([^()]*, process \d+, since [0-9: -]+ \([^)]*\)\)",
        "(callsheet run jobs/teapot.yaml, process 4242, since 2026-05-31 22:00 (3 min 12 s))",
    ),
)


class Stage:
    """A project in the working directory, and the service that it uses."""

    def __init__(self, root: Path, server: SandboxServer) -> None:
        self.root = root
        self.server = server

    def job(self, *changes: tuple[str, str], more: str = "") -> None:
        text = JOB
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (self.root / FILE).write_text(text + more, encoding="utf-8")

    def fault(self, kind: Kind, where: Where = Where.SUBMIT, **shape: Any) -> None:
        self.server.faults.add(Fault(where=where, kind=kind, **shape))

    def quietly(self, *arguments: str) -> None:
        """A command that comes before the one that is shown."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main(list(arguments))

    @property
    def ledger(self) -> Path:
        return self.root / "rehearsal" / ".callsheet" / "ledger.db"


Prepare = Callable[[Stage], "contextlib.AbstractContextManager[object] | None"]


@dataclass(frozen=True, slots=True)
class Case:
    """`command` without `callsheet`; several are typed one after the other."""

    title: str
    commands: tuple[str, ...]
    prepare: Prepare
    told: str = ""


def _plain(stage: Stage) -> None:
    stage.job()


def _edited(*changes: tuple[str, str], more: str = "") -> Prepare:
    return lambda stage: stage.job(*changes, more=more)


def _no_project(stage: Stage) -> None:
    stage.job()
    shutil.rmtree(stage.root / ".callsheet")
    (stage.root / "callsheet.yaml").unlink()


def _project_file(more: str = "") -> Prepare:
    def prepare(stage: Stage) -> None:
        stage.job()
        (stage.root / "callsheet.yaml").write_text(f'version: 1\nproject: "7f3a9c12"\n{more}', "utf-8")

    return prepare


def _other_project(stage: Stage) -> None:
    _project_file()(stage)
    stage.quietly("run", FILE)
    (stage.root / "callsheet.yaml").write_text('version: 1\nproject: "0123abcd"\n', "utf-8")


def _no_key(stage: Stage) -> None:
    stage.job()
    del os.environ["MESHAPI_API_KEY"]


def _unreachable(stage: Stage) -> None:
    stage.job()
    os.environ["MESHAPI_BASE_URL"] = "http://127.0.0.1:9"


def _answer(**shape: Any) -> Prepare:
    def prepare(stage: Stage) -> None:
        stage.job()
        stage.fault(Kind.ANSWER, **shape)

    return prepare


def _failing(stage: Stage) -> None:
    stage.job()
    message = "The prompt may violate the content policy"
    stage.fault(Kind.OUTCOME, text="failed", code="content_policy_violation", message=message)


def _late(stage: Stage) -> None:
    stage.job(("settle: 0s", "deadline: 300ms"))
    stage.fault(Kind.FIELDS, Where.GET, fields={"status": "running"}, times=None)


def _locked(stage: Stage) -> contextlib.AbstractContextManager[object]:
    stage.job()
    return project_lock(init_project(stage.root).rehearsal())


def _newer_ledger(stage: Stage) -> None:
    stage.job()
    stage.quietly("run", FILE)
    connection = sqlite3.connect(stage.ledger)
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    connection.commit()
    connection.close()


def _lost_ledger(stage: Stage) -> None:
    stage.job()
    stage.quietly("run", FILE)
    for file in stage.ledger.parent.glob("ledger.db*"):
        file.unlink()


def _corrupt_ledger(stage: Stage) -> None:
    _lost_ledger(stage)
    stage.ledger.write_bytes(b"not a database, but long enough to be read as one" * 100)


def _taken_path(stage: Stage) -> None:
    stage.job()
    folder = stage.root / "rehearsal" / "out"
    folder.mkdir(parents=True)
    (folder / "teapot-s1.mp4").write_bytes(b"somebody's")


def _lost_files(stage: Stage) -> None:
    stage.job()
    stage.quietly("run", FILE)
    folder = stage.root / "rehearsal" / "out"
    (folder / "teapot-s1.mp4").unlink()
    (folder / "teapot-s2.mp4").write_bytes(b"edited")


def _failed_before(stage: Stage) -> None:
    _failing(stage)
    stage.quietly("run", FILE)


@contextlib.contextmanager
def _full_disk(stage: Stage) -> Iterator[None]:
    """A disk as it reports itself when nothing is left on it."""
    stage.job()
    found = os.fstatvfs

    def nothing_left(descriptor: int) -> os.statvfs_result:
        fields = list(found(descriptor))
        fields[3:5] = 0, 0
        return os.statvfs_result(fields)

    os.fstatvfs = nothing_left
    try:
        yield
    finally:
        os.fstatvfs = found


SIGNED = "https://bucket.example.com/pot.png?X-Amz-Signature=0a1b2c"
VALIDATE, RUN = (f"validate {FILE}",), (f"run {FILE}",)
CASES: dict[str, tuple[Case, ...]] = {
    "The command line": (
        Case("An unknown verb", ("pln",), _plain),
        Case("An unknown option", (f"run {FILE} --sandbx",), _plain),
        Case(
            "No project",
            RUN,
            _no_project,
            (
                "Nothing but `init` makes one: a run in the wrong directory must not start on an empty ledger"
                " and pay for everything again."
            ),
        ),
        Case("A mistake in the project file", VALIDATE, _project_file("timezone: Berlin\n")),
        Case(
            "The ledger of another project", RUN, _other_project, "Each ledger knows one project's payments."
        ),
        Case("No such job file", ("validate jobs/teepot.yaml",), _plain),
        Case("A pattern that names no task", (f"plan {FILE} --only teapot-s3 --only 's[12]'",), _plain),
        Case("No such run", ("status yesterday",), _failed_before),
        Case(
            "A base URL that is not https",
            (f"run {FILE} --base-url http://api.example.com",),
            _plain,
            "The key would cross the network in the clear.",
        ),
    ),
    "The job file": (
        Case("Not YAML", VALIDATE, _edited(("seeds: 1..2", "seeds: [1, 2"))),
        Case("A tab where YAML wants spaces", VALIDATE, _edited(("  ratio: 16:9", "\tratio: 16:9"))),
        Case("A space that is missing", VALIDATE, _edited(("resolution: 480p", "resolution:480p"))),
        Case("An indent that does not fit", VALIDATE, _edited(("  ratio: 16:9", "   ratio: 16:9"))),
        Case("A quote that is never closed", VALIDATE, _edited(("text: A teapot", 'text: "A teapot'))),
        Case(
            "A letter of another alphabet",
            VALIDATE,
            _edited(("  ratio", "  r\u0430tio")),
            "It looks the same, so its name is told.",
        ),
        Case("An unknown key", VALIDATE, _edited(("seeds:", "seedz:"))),
        Case("A key twice", VALIDATE, _edited(("seeds: 1..2", "seeds: 1..2\nseeds: 5"))),
        Case("A value of the wrong type", VALIDATE, _edited(("duration: 4", "duration: four"))),
        Case("A ratio that the model does not know", VALIDATE, _edited(("16:9", "16:10"))),
        Case(
            "A value that is empty",
            VALIDATE,
            _edited(("duration: 4", "duration:")),
            "The word `null` leaves a field to the service.",
        ),
        Case(
            "A number with a zero before it",
            VALIDATE,
            _edited(("duration: 4", "duration: 010")),
            "Other odd spellings, as `0x4` or `+5`, are a warning where only a number may stand.",
        ),
        Case(
            "A model id with a slip",
            VALIDATE,
            _edited(("byteplus/", "bytepls/")),
            "`lint: {model-name: warn}` sends it as it stands.",
        ),
        Case(
            "A prompt that is not filled in",
            VALIDATE,
            _edited(("A teapot spins", "$PROMPT")),
            "It would be paid for as it stands. `lint: {prompt-placeholder: off}` lets it pass.",
        ),
        Case(
            "A signed address without a name",
            VALIDATE,
            _edited(
                ("output:", f"  - {{type: image_url, image_url: '{SIGNED}', role: first_frame}}\noutput:")
            ),
            "[Addresses that change](identity.md#addresses-that-change) says what a key is.",
        ),
        Case(
            "A comment that cuts a prompt off",
            VALIDATE,
            _edited(("steam rising", "steam rising #c0ffee")),
            "YAML ends an unquoted text at ` #`.",
        ),
        Case(
            "An alias",
            VALIDATE,
            _edited(more="x-a: &a 1\nx-b: *a\n"),
            "Aliases can blow a small file up to gigabytes.",
        ),
        Case("An unknown name in an expression", VALIDATE, _edited(("${{ seed }}", "${{ sead }}"))),
        Case(
            "A variable that the job may not read",
            VALIDATE,
            _edited(more="env: [HOME]\n"),
            "A job file may come from a stranger.",
        ),
        Case("A key in the file", VALIDATE, _edited(more="x-key: rsk_0123456789abcdef0123456789abcdef\n")),
        Case(
            "An input that is not there",
            VALIDATE,
            _edited(("output:", "  - {type: image_url, image_url: pot.png, role: first_frame}\noutput:")),
            "Exit code 66 says that nothing else is wrong.",
        ),
        Case(
            "An input outside of the project",
            VALIDATE,
            _edited(
                ("output:", "  - {type: image_url, image_url: ../../pot.png, role: first_frame}\noutput:")
            ),
        ),
        Case(
            "An axis that changes nothing",
            VALIDATE,
            _edited(("seeds: 1..2", "seeds: 1..2\nmatrix: {mood: [calm, wild]}")),
        ),
        Case(
            "Two shots with one prompt",
            VALIDATE,
            _edited(
                (
                    "seeds: 1..2",
                    "matrix:\n  shot:\n    - {id: a, prompt: Steam}\n    - {id: b, prompt: Steam}",
                ),
                ("A teapot spins, steam rising", "${{ shot.prompt }}"),
                ("teapot-s${{ seed }}", "${{ shot.id }}"),
            ),
            "The same request twice would pay twice for one video.",
        ),
        Case(
            "Two tasks with one path",
            VALIDATE,
            _edited(("teapot-s${{ seed }}", "teapot")),
            "Nothing that is paid for is overwritten.",
        ),
    ),
    "Before anything is sent": (
        Case("A file stands where a video will", RUN, _taken_path),
        Case("No key", RUN, _no_key),
        Case("No price for a cap in dollars", RUN, _edited(more="budget: {max_usd: 5}\n")),
        Case(
            "Nobody there to agree",
            RUN,
            _edited(more="price: {usd_per_task: 0.5}\nbudget: {confirm_usd: 0.1}\n"),
            "A run without a terminal asks nobody.",
        ),
        Case("Another callsheet at work", RUN, _locked, "Nothing is sent; `--wait 6h` waits."),
        Case("The API cannot be reached", RUN, _unreachable),
        Case("The ledger is newer than the program", RUN, _newer_ledger),
        Case("The ledger is corrupt", RUN, _corrupt_ledger, "Without it nobody knows what is paid for."),
        Case(
            "The ledger was lost, or put back from an older copy",
            RUN,
            _lost_ledger,
            "The logs of the runs tell of submits that it does not know.",
        ),
    ),
    "While it runs": (
        Case(
            "The key is refused",
            RUN,
            _answer(status=401, code="invalid_api_key", message="no such key", times=None),
        ),
        Case(
            "Out of money",
            RUN,
            _answer(status=402, code="insufficient_credits", message="top up", times=None),
        ),
        Case("The cap is reached", RUN, _edited(more="budget: {max_tasks: 1}\n")),
        Case(
            "The service refuses a request",
            RUN,
            _answer(status=400, code="invalid_request", message="duration is not supported", times=None),
        ),
        Case("A task fails", (*RUN, "status"), _failing, "It is paid for again only by `retry`."),
        Case(
            "Nobody knows whether it was accepted",
            (*RUN, "reconcile"),
            _answer(status=500, times=None),
            "The service answered 500: it may have been billed, so it is not sent again without you.",
        ),
        Case(
            "The deadline passes", RUN, _late, "What is in flight is paid for, and collected by the next run."
        ),
        Case("The disk is full", RUN, _full_disk),
    ),
    "Afterwards": (
        Case("Files are missing or changed", ("verify",), _lost_files),
        Case("A file that is not known", ("show 0000000000000000",), _failed_before),
    ),
}


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, cases in CASES.items():
        parts.append(f"## {section}\n")
        for case in cases:
            told = f"{case.told}\n\n" if case.told else ""
            parts.append(f"### {case.title}\n\n{told}```text\n{play(case)}```\n")
    return "\n".join(parts)


def play(case: Case) -> str:
    """What a terminal shows of the case, with the exit code of each command."""
    before, directory = dict(os.environ), Path.cwd()
    shown = ""
    with tempfile.TemporaryDirectory() as folder, SandboxServer(_CONFIG) as server:
        root = Path(folder).resolve() / "films"
        root.mkdir()
        try:
            os.chdir(root)
            os.environ.update(_environment(server))
            stage = Stage(root, server)
            stage.quietly("init")
            (root / "jobs" / "hello.yaml").unlink()
            prepared = case.prepare(stage)
            with prepared if prepared is not None else contextlib.nullcontext():
                for command in case.commands:
                    shown += _play(command, root)
        finally:
            os.chdir(directory)
            os.environ.clear()
            os.environ.update(before)
    return shown


_CONFIG = SandboxConfig(latency=(0.0, 0.02), scale=0.05)


def _environment(server: SandboxServer) -> dict[str, str]:
    return {
        "MESHAPI_BASE_URL": server.url,
        "MESHAPI_API_KEY": SANDBOX_KEY,
        "NO_COLOR": "1",
        "HOME": "/home/you",
    }


def _play(command: str, root: Path) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(shlex.split(command))
    told = [line for line in err.getvalue().splitlines() if not _PROGRESS.match(line)]
    said = "\n".join([*out.getvalue().splitlines(), *told]).replace(str(root), "/films")
    for pattern, replacement in _SAME:
        said = re.sub(pattern, replacement, said)
    lines = said.splitlines()
    return "\n".join([f"$ callsheet {command}", *lines, f"[exit code {code}]"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
