"""What a monitor hears of a run: that it began, and its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from runner.cli.closing.monitor import VARIABLE, pinged
from runner.errors import ExitCode, RefusedError, UsageError
from tests.support.monitor_server import SECRET, MonitorServer

NONE: frozenset[str] = frozenset()


class Rooted(Protocol):
    def __call__(self, url: str) -> Path: ...


@pytest.fixture
def rooted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rooted:
    """A project root, in an environment that names the monitor."""

    def make(url: str) -> Path:
        monkeypatch.setenv(VARIABLE, url)
        return tmp_path

    return make


def test_a_start_and_a_success_are_told(rooted: Rooted, monitor: MonitorServer) -> None:
    with pinged(rooted(monitor.url), NONE) as ending:
        ending.code = ExitCode.DONE
        ending.lines.append('{"exit_code": 0}')
    assert monitor.heard == [(f"/{SECRET}/start", ""), (f"/{SECRET}", '{"exit_code": 0}')]


@pytest.mark.parametrize("code", [ExitCode.OUT_OF_MONEY, ExitCode.TRY_AGAIN])
def test_any_other_end_is_told_by_its_exit_code(
    rooted: Rooted, monitor: MonitorServer, code: ExitCode
) -> None:
    with pinged(rooted(f"{monitor.url}/"), NONE) as ending:
        ending.code = code
    assert monitor.heard[1][0] == f"/{SECRET}/{int(code)}"


@pytest.mark.parametrize(
    ("raised", "code"), [(RefusedError("no"), 3), (KeyboardInterrupt(), 130), (ZeroDivisionError(), 70)]
)
def test_an_error_is_told_and_goes_on(
    rooted: Rooted, monitor: MonitorServer, raised: BaseException, code: int
) -> None:
    with pytest.raises(type(raised)), pinged(rooted(monitor.url), NONE):
        raise raised
    assert monitor.heard[1][0] == f"/{SECRET}/{code}"


def test_a_monitor_that_refuses_changes_nothing_and_its_url_stays_secret(
    rooted: Rooted,
    monitor: MonitorServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runner.cli.closing.monitor.TRIES", 1)
    monitor.status = 503
    with pinged(rooted(monitor.url), NONE) as ending:
        ending.code = ExitCode.DONE
    told = capsys.readouterr()
    assert told.out == ""
    assert "was not told: status 503" in told.err
    assert SECRET not in told.err


def test_a_monitor_that_is_not_there_changes_nothing(
    rooted: Rooted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.cli.closing.monitor.TRIES", 1)
    with pinged(rooted("http://127.0.0.1:9/x"), NONE) as ending:
        ending.code = ExitCode.DONE
    assert "was not told: ConnectError" in capsys.readouterr().err


def test_a_proxy_of_the_environment_does_not_hear_the_secret(
    rooted: Rooted, monitor: MonitorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pinged(rooted(monitor.url), NONE) as ending:
        ending.code = ExitCode.DONE
    assert len(monitor.heard) == 2


@pytest.mark.parametrize("url", ["", "monitor.example", "http://monitor.example/x", "http://[", "ftp://h/x"])
def test_only_an_https_address_is_told(rooted: Rooted, url: str) -> None:
    with pytest.raises(UsageError) as caught, pinged(rooted(url), NONE):
        raise AssertionError("not reached")
    assert url == "" or url not in str(caught.value)


@pytest.mark.security(23)
def test_the_address_is_read_from_the_file_of_a_checkout_only_where_a_person_allows_it(
    tmp_path: Path, monitor: MonitorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / ".env").write_text(f"{VARIABLE}={monitor.url}\n")
    with pytest.raises(UsageError, match="is not set"), pinged(tmp_path, frozenset({"OTHER"})):
        raise AssertionError("not reached")
    assert monitor.heard == []
    with pinged(tmp_path, frozenset({VARIABLE})) as ending:
        ending.code = ExitCode.DONE
    assert len(monitor.heard) == 2
