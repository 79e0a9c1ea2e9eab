"""`callsheet doctor`: what a run needs, looked at one thing after the other."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.cli.verbs import doctor
from runner.errors import ExitCode
from runner.http.access import ApiKey
from runner.ledger.caps import Caps
from runner.project import find_project
from runner.run.lock import locked_ledger
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.ledger_rows import RUN, SENT, intent, task
from tests.support.sandbox_requests import connect
from tests.support.verb_bench import VerbBench


def _findings(verbs: VerbBench) -> dict[str, Any]:
    verbs.call("doctor", "--output-format", "json")
    return {row["what"]: row for row in json.loads(verbs.out)["findings"]}


def test_a_project_that_can_run_exits_0_and_costs_nothing(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("doctor") == ExitCode.DONE, verbs.out
    assert {line.split()[0] for line in verbs.out.splitlines()} == {"ok"}
    assert "takes the key of MESHAPI_API_KEY" in verbs.out
    assert server.accepted == 0


def test_nothing_that_is_printed_holds_the_key_or_the_home(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(verbs.root.parent))
    verbs.call("doctor")
    assert SANDBOX_KEY not in verbs.out
    assert str(verbs.root.parent) not in verbs.out
    assert "~/" in verbs.out


def test_no_key_is_a_finding_and_no_traceback(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHAPI_API_KEY")
    assert verbs.call("doctor") == ExitCode.KEY_REFUSED
    assert "MESHAPI_API_KEY and MESHAPI_TOKEN not set" in verbs.out


@pytest.mark.parametrize(("status", "code"), [(401, ExitCode.KEY_REFUSED), (500, ExitCode.UNREACHABLE)])
def test_what_the_service_says_becomes_the_exit_code(
    verbs: VerbBench, server: SandboxServer, status: int, code: ExitCode
) -> None:
    for where in (Where.LIST, Where.GET):
        server.faults.add(Fault(where=where, kind=Kind.ANSWER, status=status, times=None))
    assert verbs.call("doctor") == code


def test_a_service_that_is_not_there_exits_69(verbs: VerbBench) -> None:
    assert verbs.call("doctor", "--base-url", "http://127.0.0.1:9") == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("a lost ledger", ExitCode.CANNOT_WRITE),
        ("a link for the ledger", ExitCode.NO_PROJECT),
        ("a link for the lock", ExitCode.NO_PROJECT),
        ("a file for runs", ExitCode.CANNOT_WRITE),
        ("a directory for latest", ExitCode.CANNOT_WRITE),
        ("a log that is a directory", ExitCode.CANNOT_WRITE),
    ],
)
def test_what_run_refuses_doctor_does_not_call_ok(trouble: str, code: ExitCode, verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    base = verbs.root / "rehearsal"
    state, runs = base / ".callsheet", base / "runs"
    match trouble:
        case "a lost ledger":
            (state / "ledger.db").unlink()
        case "a link for the ledger":
            (state / "ledger.db").rename(verbs.root / "elsewhere.db")
            (state / "ledger.db").symlink_to(verbs.root / "elsewhere.db")
        case "a link for the lock":
            (state / "lock").unlink()
            (state / "lock").symlink_to(verbs.root / "elsewhere")
        case "a file for runs":
            runs.rename(base / "elsewhere")
            runs.write_text("mine")
        case "a directory for latest":
            (runs / "latest").unlink()
            (runs / "latest").mkdir()
        case "a log that is a directory":
            log = (runs / (runs / "latest").readlink()) / "events.jsonl"
            log.unlink()
            log.mkdir()
    assert verbs.call("doctor") == code, verbs.out
    assert "nothing was sent" not in verbs.out
    assert verbs.call("run", "boat.yaml") == code, verbs.err


def test_no_project_exits_73_and_the_versions_are_told_still(
    verbs: VerbBench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert verbs.call("doctor") == ExitCode.NO_PROJECT
    assert "callsheet init" in verbs.out
    assert "on Python" in verbs.out


def test_a_new_clone_is_refused_as_run_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verbs: VerbBench
) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "callsheet.yaml").write_text("version: 1\n")
    monkeypatch.chdir(clone)
    monkeypatch.delenv("MESHAPI_BASE_URL")
    assert verbs.call("doctor") == ExitCode.NO_PROJECT
    assert "in a new clone: callsheet init" in " ".join(verbs.out.split())


def test_a_corrupt_ledger_exits_74(verbs: VerbBench) -> None:
    verbs.call("run", "boat.yaml")
    ledger = verbs.root / "rehearsal/.callsheet/ledger.db"
    for companion in ledger.parent.glob("ledger.db-*"):
        companion.unlink()
    data = bytearray(ledger.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    ledger.write_bytes(data)
    assert verbs.call("doctor") == ExitCode.CANNOT_WRITE
    assert _findings(verbs)["ledger"]["level"] == "wrong"


def test_a_clock_that_is_off_is_a_warning(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() + 3600)
    assert verbs.call("doctor") == ExitCode.DONE
    clock = _findings(verbs)["clock"]
    # the answer's Date has whole seconds, and the machine takes some to read it
    assert -3610 < int(clock["words"].split(" s to ")[0]) < -3590
    assert clock["level"] == "warning"


def test_a_clock_that_is_off_by_a_day_says_which_jobs_run_refuses(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() + 3 * 86_400)
    clock = _findings(verbs)["clock"]
    assert clock["level"] == "warning"
    assert "`run` refuses jobs that use `run.date`" in clock["words"]


def test_a_missing_extra_is_a_warning_with_the_command(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_EXTRAS", {"media": (("no-such-library",), "no thumbnails")})
    assert verbs.call("doctor") == ExitCode.DONE
    assert "not installed: no thumbnails; hint: pip install 'callsheet[media]'" in verbs.out


def test_a_rehearsal_needs_neither_key_nor_network_and_leaves_nothing(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHAPI_API_KEY")
    monkeypatch.delenv("MESHAPI_BASE_URL")
    assert verbs.call("doctor", "--sandbox") == ExitCode.DONE, verbs.out
    assert not (verbs.root / "rehearsal").exists()
    assert isinstance(verbs.root, Path)


class TestAccounts:
    """Those of the project file: each is asked, and what a service tells of money is held to the ledger."""

    KEY = "studio-key-0123456789"

    @pytest.fixture
    def studio(self, verbs: VerbBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> VerbBench:
        """A real project: a server on loopback that an account names is no rehearsal."""
        for name in ("MESHAPI_BASE_URL", "MESHAPI_API_KEY", "MESHAPI_TOKEN", "GETIMG_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("STUDIO_KEY", self.KEY)
        self.name(verbs, f"studio: {{provider: getimg, base_url: '{server.url}', api_key_env: STUDIO_KEY}}")
        return verbs

    @staticmethod
    def name(verbs: VerbBench, *accounts: str) -> None:
        (verbs.root / "callsheet.yaml").write_text(
            "version: 1\naccounts:\n" + "".join(f"  {account}\n" for account in accounts)
        )

    def spend(self, verbs: VerbBench, server: SandboxServer, cost: int) -> None:
        """One done task of the account, in the service and, for `cost` micros, in the ledger."""
        sent = {"model": "seedance-v1-pro", "prompt": "A boat", "duration": 4}
        with connect(server, self.KEY) as client:
            made_now = client.post("/v2/videos/generations", json=sent).json()
            # it is charged once it is made
            while client.get(f"/v2/videos/generations/{made_now['id']}").json()["status"] == "pending":
                pass
        project = find_project(verbs.root)
        with locked_ledger(project, wait=0) as ledger, ledger.transaction():
            ledger.begin_run(RUN)
            print_ = ApiKey(self.KEY).fingerprint(ledger.salt)
            said = replace(intent(1, estimate=cost), key_hash=print_, account="studio")
            made = replace(task(1), origin=server.url)
            attempt = ledger.intend(made, RUN.job_file, RUN.id, said, Caps(), time.time() - 60)
            ledger.accept(attempt, "t-1", SENT, time.time() - 50)
            ledger.collect(attempt, time.time() - 40)
            ledger.finish(attempt, (), time.time() - 30)

    def test_each_is_asked_and_its_balance_told(self, studio: VerbBench) -> None:
        assert studio.call("doctor") == ExitCode.DONE, studio.out
        assert "takes the key of STUDIO_KEY" in studio.out
        assert "studio     USD 100.00 left" in studio.out
        assert self.KEY not in studio.out

    def test_fal_tells_its_balance_to_an_admins_key_alone(
        self, studio: VerbBench, server: SandboxServer
    ) -> None:
        self.name(studio, f"studio: {{provider: fal, base_url: '{server.url}', api_key_env: STUDIO_KEY}}")
        assert studio.call("doctor") == ExitCode.DONE, studio.out
        assert "studio     USD 24.5 left" in studio.out
        server.faults.add(Fault(where=Where.LIST, kind=Kind.ANSWER, status=403, times=None))
        assert studio.call("doctor") == ExitCode.DONE, studio.out
        assert "takes the key of STUDIO_KEY" in studio.out
        assert "USD" not in studio.out

    def test_costs_that_agree_are_told_as_such(self, studio: VerbBench, server: SandboxServer) -> None:
        self.spend(studio, server, 200_000)
        assert studio.call("doctor") == ExitCode.DONE
        assert "USD 99.80 left, USD 0.20 charged since" in studio.out
        assert "warning" not in studio.out

    @pytest.mark.parametrize(
        ("cost", "told"),
        [
            (50_000, "charged USD 0.20, and the ledger has USD 0.05: USD 0.15 more, if nobody else uses"),
            (700_000, "charged USD 0.20, and the ledger has USD 0.70: USD 0.50 less, if nothing is charged"),
        ],
    )
    def test_a_drift_is_told_with_its_size(
        self, studio: VerbBench, server: SandboxServer, cost: int, told: str
    ) -> None:
        self.spend(studio, server, cost)
        assert studio.call("doctor") == ExitCode.DONE
        assert told in " ".join(studio.out.split())

    def test_a_service_that_fails_to_tell_costs_is_a_warning(
        self, studio: VerbBench, server: SandboxServer
    ) -> None:
        server.faults.add(Fault(where=Where.LIST, kind=Kind.FIELDS, fields={"currency": "EUR"}, times=None))
        assert studio.call("doctor") == ExitCode.DONE
        assert "EUR" not in studio.out
        assert "USD" not in studio.out

    def test_a_key_that_is_not_here_is_a_warning_with_its_variable(
        self, studio: VerbBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A machine may hold the keys of some accounts alone."""
        monkeypatch.delenv("STUDIO_KEY")
        assert studio.call("doctor") == ExitCode.DONE
        assert "STUDIO_KEY not set" in studio.out

    def test_the_missing_key_of_a_services_own_account_is_a_warning_beside_others(
        self, studio: VerbBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ARK_API_KEY", raising=False)
        mine = f"studio: {{provider: getimg, base_url: '{server.url}', api_key_env: STUDIO_KEY}}"
        self.name(studio, mine, "ark: {tag: safety_identifier}")
        assert studio.call("doctor") == ExitCode.DONE, studio.out
        assert "warning  ark" in studio.out

    def test_a_key_may_stand_in_the_env_file(
        self, studio: VerbBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("STUDIO_KEY")
        (studio.root / ".env").write_text(f"STUDIO_KEY={self.KEY}\n")
        assert studio.call("doctor") == ExitCode.DONE
        assert "takes the key of STUDIO_KEY" in studio.out

    def test_two_accounts_with_one_key_are_wrong(
        self, studio: VerbBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTHER_KEY", self.KEY)
        one, two = (
            f"{name}: {{provider: getimg, base_url: '{server.url}', api_key_env: {name.upper()}_KEY}}"
            for name in ("studio", "other")
        )
        self.name(studio, one, two)
        assert studio.call("doctor") == ExitCode.KEY_REFUSED
        assert "the accounts `studio` and `other` have the same key" in studio.out

    def test_a_key_on_an_open_line_is_told(self, studio: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name(studio, "far: {provider: getimg, base_url: 'http://192.0.2.1:9', api_key_env: STUDIO_KEY}")
        monkeypatch.setattr(doctor, "_ask", lambda *_: iter(()))
        assert studio.call("doctor") == ExitCode.DONE
        assert "the key goes to http://192.0.2.1:9 unencrypted" in studio.out

    def test_a_server_of_one_s_own_is_asked_without_a_key(
        self, studio: VerbBench, server: SandboxServer
    ) -> None:
        self.name(studio, f"gpu: {{provider: openai, base_url: '{server.url}', dialect: vllm-omni}}")
        assert studio.call("doctor") == ExitCode.DONE, studio.out
        assert f"{server.url}/v1 answers without a key" in studio.out

    def test_a_refresh_of_the_models_tells_a_drift_too(
        self, verbs: VerbBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GETIMG_AI_BASE_URL", server.url)
        monkeypatch.setenv("GETIMG_API_KEY", self.KEY)
        assert verbs.call("models", "--refresh") == ExitCode.DONE
        assert "charged" not in verbs.err
        self.rehearse(verbs, server)
        assert verbs.call("models", "--refresh") == ExitCode.DONE
        assert "USD 0.15 more, if nobody else uses this account" in verbs.err

    def rehearse(self, verbs: VerbBench, server: SandboxServer) -> None:
        (verbs.root / "rehearsal").mkdir(exist_ok=True)
        sent = {"model": "seedance-v1-pro", "prompt": "A boat", "duration": 4}
        with connect(server, self.KEY) as client:
            made = client.post("/v2/videos/generations", json=sent).json()
            # it is charged once it is made
            while client.get(f"/v2/videos/generations/{made['id']}").json()["status"] == "pending":
                pass
        with (
            locked_ledger(find_project(verbs.root).rehearsal(), wait=0) as ledger,
            ledger.transaction(),
        ):
            ledger.begin_run(RUN)
            print_ = ApiKey(self.KEY).fingerprint(ledger.salt)
            said = replace(intent(1, estimate=50_000), key_hash=print_)
            made = replace(task(1), origin=server.url)
            ledger.intend(made, RUN.job_file, RUN.id, said, Caps(), time.time() - 60)
