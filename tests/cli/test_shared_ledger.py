"""A project whose ledger is a PostgreSQL: each verb finds it, in each clone, and no password is told."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from click.shell_completion import ShellComplete

from runner.__main__ import main
from runner.cli.main import callsheet
from runner.errors import ExitCode, StateError
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.postgres import PASSWORD, USER, Cluster

PROJECT = """\
version: 1
project: 7f3a9c12
ledger: {url_env: TEAM_LEDGER}
accounts:
  studio: {provider: mesh, api_key_env: STUDIO_KEY, base_url: "%s", labels: {client: acme}}
budgets:
  - {month: {max_tasks: 3}}
"""
JOB = """\
version: 1
models: [{id: byteplus/seedance-1-0-pro, at: studio}]
seeds: 1..%d
request: {resolution: 480p, ratio: 1:1, duration: 4}
content: [{type: text, text: A paper boat}]
output: out/s${{ seed }}.mp4
run: {settle: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0, 0))) as running:
        yield running


@dataclass(slots=True)
class Team:
    """Clones of one project, with one sandbox as the real service."""

    root: Path
    server: SandboxServer
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    said: list[str] = field(default_factory=list)

    def clone(self, name: str, *, seeds: int = 2) -> Path:
        folder = self.root / name
        folder.mkdir()
        if name == "first":
            # as `callsheet init` does: a clone without it never begins on an empty ledger
            (folder / ".callsheet").mkdir()
        (folder / "callsheet.yaml").write_text(PROJECT % self.server.url)
        (folder / "boat.yaml").write_text(JOB % seeds)
        return folder

    def call(self, folder: Path, *arguments: str) -> int:
        self.monkeypatch.chdir(folder)
        self.capsys.readouterr()
        code = main(list(arguments))
        printed = self.capsys.readouterr()
        self.said += [printed.out, printed.err]
        return code

    @property
    def out(self) -> str:
        return self.said[-2]

    @property
    def err(self) -> str:
        return self.said[-1]


@pytest.fixture
def team(
    tmp_path: Path,
    server: SandboxServer,
    ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Team:
    monkeypatch.setenv("STUDIO_KEY", "rsk_studio_0123456789")
    monkeypatch.setenv("TEAM_LEDGER", ledger_url)
    return Team(tmp_path, server, monkeypatch, capsys)


def test_a_second_clone_pays_for_nothing_that_the_first_one_has_and_keeps_its_budget(team: Team) -> None:
    """With no state of its own: the ledger says what was paid for."""
    first = team.clone("first")
    assert team.call(first, "run", "boat.yaml") == ExitCode.DONE, team.err
    assert not (first / ".callsheet" / "ledger.db").exists()
    second = team.clone("second", seeds=4)
    assert team.call(second, "run", "boat.yaml") == ExitCode.REFUSED
    assert "budgets[0].month.max_tasks is 3" in team.err
    assert team.server.accepted == 3
    assert {path.name for path in (second / "out").iterdir()} == {"s1.mp4", "s2.mp4", "s3.mp4"}


@pytest.mark.fault(171)
def test_a_take_whose_path_an_edit_elsewhere_has_taken_is_known_where_it_stands(team: Team) -> None:
    """Each machine has its own file at that path, and the service has forgotten both."""
    first, second = team.clone("first", seeds=1), team.clone("second", seeds=1)
    assert team.call(first, "run", "boat.yaml") == ExitCode.DONE, team.err
    job = (second / "boat.yaml").read_text()
    (second / "boat.yaml").write_text(job.replace("A paper boat", "A tin boat"))
    assert team.call(second, "run", "boat.yaml", "--accept-edits", "--yes") == ExitCode.DONE, team.err
    team.server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=404, times=None))
    assert team.call(first, "show", "s1") == ExitCode.DONE
    assert "never came" not in team.out
    for _ in range(2):
        for clone in (first, second):
            assert team.call(clone, "plan", "boat.yaml") == ExitCode.DONE
            assert "1 task: 1 done" in team.out
            assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE, team.err
            assert team.call(clone, "verify") == ExitCode.DONE, team.out
            assert [path.name for path in (clone / "out").iterdir()] == ["s1.mp4"]
    assert team.server.accepted == 2
    (first / "out/s1.mp4").write_bytes((second / "out/s1.mp4").read_bytes())
    assert team.call(first, "plan", "boat.yaml") == ExitCode.DONE
    assert "1 task: 1 absent" in team.out
    assert team.call(first, "run", "boat.yaml") == ExitCode.DONE, team.err
    manifest = json.loads((first / "runs/latest/manifest.json").read_text())
    (told,) = manifest["tasks"]
    assert (told["state"], told["missing"]) == ("absent", [])
    assert [file["path"] for file in told["outputs"]] == ["out/s1.mp4"]


def test_a_new_clone_never_begins_on_an_empty_ledger(team: Team) -> None:
    """The URL may lead somewhere else by mistake, and all would be bought again."""
    clone = team.clone("clone")
    # the last step in CI, which makes the tables
    assert team.call(clone, "lease", "sign-off") == ExitCode.DONE, team.err
    for verb in (("run", "boat.yaml"), ("collect",)):
        assert team.call(clone, *verb) == ExitCode.NO_PROJECT
        assert "is empty, and this is a new clone, so no ledger says what was paid for" in team.err
        assert f"callsheet init {clone}" in team.err
    assert team.server.accepted == 0
    assert team.call(clone, "plan", "boat.yaml") == ExitCode.DONE
    assert "2 tasks: 2 new" in team.out
    assert team.call(clone, "-q", "init") == ExitCode.DONE
    assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE, team.err


def test_a_clone_that_has_used_a_shared_ledger_begins_no_other_one(team: Team, cluster: Cluster) -> None:
    """It has submitted nothing, so no run here tells of what was paid for."""
    first, second = team.clone("first"), team.clone("second")
    assert team.call(first, "run", "boat.yaml") == ExitCode.DONE, team.err
    assert team.call(second, "run", "boat.yaml") == ExitCode.DONE, team.err
    shutil.rmtree(second / "out")
    shared = (second / "callsheet.yaml").read_text()
    local = shared.replace("ledger: {url_env: TEAM_LEDGER}\n", "")
    (second / "callsheet.yaml").write_text(local)
    for verb in (("run", "boat.yaml"), ("plan", "boat.yaml"), ("collect",)):
        assert team.call(second, *verb) == ExitCode.NO_PROJECT, (verb, team.err)
        assert "has used a shared ledger, and callsheet.yaml names none any more" in team.err
    (second / "callsheet.yaml").write_text(shared)
    url = os.environ["TEAM_LEDGER"]
    team.monkeypatch.setenv("TEAM_LEDGER", cluster.make_schema())
    for verb in (("run", "boat.yaml"), ("plan", "boat.yaml"), ("collect",)):
        assert team.call(second, *verb) == ExitCode.NO_PROJECT, (verb, team.err)
        assert "knows of no run, and this project has used a shared ledger with runs" in team.err
    team.monkeypatch.setenv("TEAM_LEDGER", url)
    assert team.call(second, "ledger", "copy", "--to", "local") == ExitCode.DONE, team.err
    assert team.call(first, "ledger", "copy", "--to", "local") == ExitCode.NO_PROJECT
    (second / "callsheet.yaml").write_text(local)
    assert team.call(second, "run", "boat.yaml") == ExitCode.DONE, team.err
    assert team.server.accepted == 2


@pytest.mark.fault(126)
def test_nothing_else_makes_up_for_a_lost_line_of_the_shared_ledger(team: Team) -> None:
    """Neither the empty file that a refused copy leaves, nor what the runs of this machine alone tell."""
    first, second = team.clone("first"), team.clone("second")
    assert team.call(first, "run", "boat.yaml") == ExitCode.DONE, team.err
    assert team.call(second, "run", "boat.yaml") == ExitCode.DONE, team.err
    url = os.environ["TEAM_LEDGER"]
    team.monkeypatch.setenv("TEAM_LEDGER", f"postgresql://callsheet:{PASSWORD}@127.0.0.1:1/team")
    assert team.call(second, "ledger", "copy", "--to", "local") == ExitCode.CANNOT_WRITE
    team.monkeypatch.setenv("TEAM_LEDGER", url)
    shared = (second / "callsheet.yaml").read_text()
    (second / "callsheet.yaml").write_text(shared.replace("ledger: {url_env: TEAM_LEDGER}\n", ""))
    shutil.rmtree(second / "out")
    for verb in (("run", "boat.yaml"), ("status",), ("collect",), ("recover", "--yes")):
        assert team.call(second, *verb) == ExitCode.NO_PROJECT, (verb, team.err)
        assert "has used a shared ledger, and callsheet.yaml names none any more" in team.err
    (second / ".callsheet" / "ledger.db").write_bytes(b"damaged" * 1000)
    assert team.call(second, "recover", "--yes") == ExitCode.NO_PROJECT
    assert team.server.accepted == 2


@pytest.mark.fault(125)
def test_nobody_begins_on_a_ledger_to_which_a_copy_was_cut_off(team: Team) -> None:
    """Its rows are still on their way: they say what was paid for."""
    first = team.clone("first")
    shared = (first / "callsheet.yaml").read_text()
    (first / "callsheet.yaml").write_text(shared.replace("ledger: {url_env: TEAM_LEDGER}\n", ""))
    assert team.call(first, "run", "boat.yaml") == ExitCode.DONE, team.err
    (first / "callsheet.yaml").write_text(shared)
    with team.monkeypatch.context() as patch:
        patch.setattr("runner.ledger.copy._check_is_awaited", _cut_off)
        assert team.call(first, "ledger", "copy", "--to", "shared") == ExitCode.CANNOT_WRITE
    second = team.clone("second")
    (second / ".callsheet").mkdir()
    for verb in (("run", "boat.yaml"), ("status",), ("recover", "--yes"), ("collect",)):
        assert team.call(second, *verb) == ExitCode.NO_PROJECT, (verb, team.err)
        assert "a copy of a ledger to here was cut off; nothing was sent" in team.err
    assert team.call(first, "ledger", "copy", "--to", "shared") == ExitCode.DONE, team.err
    assert team.call(second, "run", "boat.yaml") == ExitCode.DONE, team.err
    assert team.server.accepted == 2


def _cut_off(*_: object) -> None:
    raise StateError("cut off")


def test_each_verb_that_reads_finds_the_shared_ledger(team: Team) -> None:
    clone = team.clone("first")
    assert team.call(clone, "status") == ExitCode.USAGE
    assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE, team.err
    for verb in (
        ("runs",),
        ("status",),
        ("show", "s1"),
        ("spend", "--by", "label"),
        ("budget",),
        ("plan", "boat.yaml"),
        ("collect",),
        ("reconcile",),
        ("verify", "latest"),
        ("prune", "--older", "1d"),
        ("lease",),
        ("report",),
    ):
        assert team.call(clone, *verb) == ExitCode.DONE, (verb, team.err)
    other = team.clone("other")
    assert team.call(other, "spend", "--output-format", "json") == ExitCode.DONE
    assert json.loads(team.out)["total"]["settled"]["tasks"] == 2
    assert team.call(other, "doctor") == ExitCode.DONE, team.out
    told = " ".join(team.out.split())
    assert re.search(
        r"shared ledger \(host 127.0.0.1, database postgres\), PostgreSQL [\d.]+, 2 attempts", told
    )
    assert "lease" not in told
    completer = ShellComplete(callsheet, {}, "callsheet", "_CALLSHEET_COMPLETE")
    found = [item.value for item in completer.get_completions(["plan", "--only"], "")]
    assert len(found) == 2


def test_doctor_says_who_drives_an_account(team: Team) -> None:
    clone = team.clone("first")
    assert team.call(clone, "doctor") == ExitCode.DONE, team.out
    assert "none yet: nothing has been run" in " ".join(team.out.split())
    assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE, team.err
    with closing(psycopg.connect(os.environ["TEAM_LEDGER"], autocommit=True)) as connection:
        connection.execute("UPDATE leases SET is_free = 0, host = 'ci-7'")
    assert team.call(clone, "doctor") == ExitCode.DONE, team.out
    assert f"ok lease studio at {team.server.url}: driven by ci-7 (" in " ".join(team.out.split())


def test_doctor_does_not_call_ok_what_run_refuses(team: Team, cluster: Cluster) -> None:
    """A server that forgets, a user who only looks, an extra that is missing, a clone of an empty ledger."""
    clone, url = team.clone("first"), os.environ["TEAM_LEDGER"]
    new = team.clone("new")
    for verb in (("run", "boat.yaml"), ("doctor",)):
        assert team.call(new, *verb) == ExitCode.NO_PROJECT, (verb, team.out)
    assert "is empty, and this is a new clone" in team.out
    assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE, team.err
    schema = url.rpartition("%3D")[2]
    forgets, looks = f"forgets_{schema}", f"looks_{schema}"
    for role, rights in ((forgets, "SUPERUSER"), (looks, "")):
        cluster.execute(f"CREATE ROLE {role} {rights} LOGIN PASSWORD '{PASSWORD}'")
    cluster.execute(f"ALTER ROLE {forgets} SET synchronous_commit = off")
    cluster.execute(f"GRANT USAGE ON SCHEMA {schema} TO {looks}")
    cluster.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {looks}")
    for role, told in ((forgets, "`synchronous_commit` off"), (looks, "lets this user read, and not write")):
        team.monkeypatch.setenv("TEAM_LEDGER", url.replace(f"{USER}:", f"{role}:"))
        for verb in (("run", "boat.yaml"), ("doctor",)):
            assert team.call(clone, *verb) == ExitCode.CANNOT_WRITE, (verb, team.out, team.err)
        assert told in " ".join(team.out.split())
        assert role not in team.out
    team.monkeypatch.setenv("TEAM_LEDGER", f"{url}&application_name=another")
    team.monkeypatch.setattr("runner.ledger.open.importlib.util.find_spec", lambda _: None)
    for verb in (("run", "boat.yaml"), ("doctor",)):
        assert team.call(clone, *verb) == ExitCode.NO_PROJECT, (verb, team.out)
    assert "pip install 'callsheet[postgres]'" in team.out


def test_a_server_that_is_gone_is_told_by_every_verb(team: Team) -> None:
    clone = team.clone("first")
    team.monkeypatch.setenv("TEAM_LEDGER", f"postgresql://callsheet:{PASSWORD}@127.0.0.1:1/team")
    for verb in (("run", "boat.yaml"), ("status",), ("spend",), ("collect",), ("doctor",), ("show", "x")):
        assert team.call(clone, *verb) == ExitCode.CANNOT_WRITE, (verb, team.err)
        told = " ".join(f"{team.out} {team.err}".split())
        assert "the shared ledger (host 127.0.0.1, database team): nothing listens there" in told
    assert team.server.accepted == 0
    assert not (clone / ".callsheet" / "ledger.db").exists()


def test_the_ledger_moves_there_and_back(team: Team) -> None:
    """A project file that loses its line, or has it too early, leads to no ledger at all."""
    clone = team.clone("first")
    shared = (clone / "callsheet.yaml").read_text()
    local = shared.replace("ledger: {url_env: TEAM_LEDGER}\n", "")
    (clone / "callsheet.yaml").write_text(local)
    assert team.call(clone, "-q", "init") == ExitCode.DONE
    assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE, team.err
    assert team.call(clone, "ledger", "copy", "--to", "shared") == ExitCode.USAGE
    (clone / "callsheet.yaml").write_text(shared)
    assert team.call(clone, "run", "boat.yaml") == ExitCode.NO_PROJECT
    assert "callsheet ledger copy --to shared" in team.err
    assert team.call(clone, "ledger", "copy", "--to", "shared") == ExitCode.DONE, team.err
    assert "the ledger is shared: 2 tasks, 2 attempts, 1 run" in team.err + team.out
    assert team.call(clone, "ledger", "copy", "--to", "shared") == ExitCode.DONE
    assert "already shared" in team.err + team.out
    assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE
    (clone / "callsheet.yaml").write_text(local)
    for verb in (("run", "boat.yaml"), ("status",), ("collect",), ("doctor",)):
        assert team.call(clone, *verb) == ExitCode.NO_PROJECT, (verb, team.err)
        assert "was moved to the shared ledger" in team.out + team.err
    (clone / "callsheet.yaml").write_text(shared)
    assert team.call(clone, "ledger", "copy", "--to", "local") == ExitCode.DONE, team.err
    assert team.call(clone, "status") == ExitCode.NO_PROJECT
    assert "remove `ledger:` from callsheet.yaml" in team.err
    (clone / "callsheet.yaml").write_text(local)
    assert team.call(clone, "run", "boat.yaml") == ExitCode.DONE
    assert team.server.accepted == 2


@pytest.mark.security(30)
def test_the_password_of_the_ledger_is_in_no_file_and_no_message(team: Team) -> None:
    """Nor the user's name where the server refuses it, and no job reads the variable."""
    clone = team.clone("first")
    assert team.call(clone, "run", "boat.yaml", "-vv") == ExitCode.DONE, team.err
    assert team.call(clone, "doctor", "-v") == ExitCode.DONE
    for url in (
        f"postgresql://intruder:{PASSWORD}x@127.0.0.1:1/team",
        f"postgresql://intruder:{PASSWORD}x@nowhere.invalid/team",
        f"postgresql://intruder:{PASSWORD}x@127.0.0.1/team?sslmode=nonsense",
        f"postgresql://intruder:{PASSWORD}x@[",
        f"postgresql://intruder:p@{PASSWORD}@127.0.0.1:1/team",
        f"postgresql://intruder:p/{PASSWORD}@127.0.0.1:1/team",
        f"postgresql://intruder:p?@{PASSWORD}@127.0.0.1:1/team",
        f"mysql://intruder:{PASSWORD}x@127.0.0.1/team",
    ):
        team.monkeypatch.setenv("TEAM_LEDGER", url)
        assert team.call(clone, "run", "boat.yaml", "-vv") in (ExitCode.CANNOT_WRITE, ExitCode.NO_PROJECT)
    (clone / "thief.yaml").write_text(
        JOB.replace("text: A paper boat", "text: '${{ env.TEAM_LEDGER }}'") % 1 + "env: [TEAM_LEDGER]\n"
    )
    assert team.call(clone, "plan", "thief.yaml", "--trust-job") == ExitCode.JOB_INVALID
    written = [path.read_bytes() for path in team.root.rglob("*") if path.is_file()]
    for text in [*written, *(said.encode() for said in team.said)]:
        assert PASSWORD.encode() not in text
        assert b"intruder" not in text
