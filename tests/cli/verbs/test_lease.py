"""`lease`, and what `status` says of it: who drives which account of a shared ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.lane import lease
from tests.support.postgres import PASSWORD
from tests.support.shared_bench import LANE, Host, database, hosts

__all__ = ["database"]


@pytest.fixture
def project(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose ledger is shared, in the working directory."""
    assert main(["init", str(tmp_path)]) == ExitCode.DONE
    (tmp_path / "callsheet.yaml").write_text(
        "version: 1\nproject: 7f3a9c12\nledger: {url_env: CALLSHEET_LEDGER}\n"
    )
    monkeypatch.setenv("CALLSHEET_LEDGER", database)
    monkeypatch.setenv("CALLSHEET_HOST", "studio-2")
    monkeypatch.setattr(lease, "LOOK", 0.01)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.security(32)
def test_it_lists_who_drives_what_by_account_and_never_the_key(
    project: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lease"]) == ExitCode.DONE
    assert capsys.readouterr().out == "0 accounts driven\n"
    with hosts(database, "a") as (host,):
        host.take(key=replace(LANE, key_hash="5a17ed"))
        assert main(["lease"]) == ExitCode.DONE
        first, last = capsys.readouterr().out.splitlines()
        assert first.startswith("acme at https://api.test: driven by studio-2 (")
        assert last == "1 account driven"
        assert main(["lease", "--output-format", "json"]) == ExitCode.DONE
        written = capsys.readouterr().out
        assert not any(secret in written for secret in (database, PASSWORD, "5a17ed"))
        (row,) = json.loads(written)
        assert row.keys() == {"account", "origin", "host", "process", "command", "since"}
        assert (row["account"], row["host"]) == ("acme", "studio-2")


@pytest.mark.fault(137)
def test_a_person_signs_off_for_who_is_gone_and_not_for_who_lives(
    project: Path, database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosts(database, "a") as (host,):
        host.take()
        monkeypatch.setattr(lease, "PATIENCE", 0.05)
        sleep, look = lease.time.sleep, Host.beat

        def beside(seconds: float) -> None:
            sleep(seconds)
            look(host)

        monkeypatch.setattr("time.sleep", beside)
        assert main(["lease", "sign-off"]) == ExitCode.TRY_AGAIN
        assert "it is alive; nothing was changed" in capsys.readouterr().err
        monkeypatch.setattr("time.sleep", sleep)
        assert main(["lease", "sign-off", "studio-3"]) == ExitCode.DONE
        assert capsys.readouterr().out == "studio-3: 0 accounts signed off\n"
        assert main(["lease", "sign-off"]) == ExitCode.DONE
        assert capsys.readouterr().out.startswith("signed off: acme at https://api.test\n")
        host.beat()
        assert not host.lease().is_fresh()


def test_a_ledger_of_one_machine_has_no_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path)]) == ExitCode.DONE
    monkeypatch.chdir(tmp_path)
    assert main(["lease"]) == ExitCode.USAGE
    assert "ledger: {url_env: CALLSHEET_LEDGER}" in capsys.readouterr().err
