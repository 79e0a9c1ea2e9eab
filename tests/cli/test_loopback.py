"""`localhost` and `127.0.0.1` are one server: what was made under one name is not made again."""

from __future__ import annotations

import pytest

from runner.errors import ExitCode
from runner.http.access import is_same_loopback
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.desk import JOB, Desk
from tests.support.moment import deadline_once


def test_another_name_of_the_same_server_submits_nothing(desk: Desk, server: SandboxServer) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    identities = [task["identity"] for task in desk.manifest()["tasks"]]
    for url in (other, other.replace("localhost", "LOCALHOST.") + "/", server.url):
        assert desk.call("run", "boat.yaml", "--base-url", url) == ExitCode.DONE, desk.err
        assert [task["identity"] for task in desk.manifest()["tasks"]] == identities
        assert desk.call("status", "--base-url", url) == ExitCode.DONE, desk.err
    assert server.accepted == 2
    assert sorted(path.name for path in (desk.root / "rehearsal" / "out").iterdir()) == ["s1.mp4", "s2.mp4"]


def test_what_is_in_flight_is_collected_under_another_name(desk: Desk, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    other = server.url.replace("127.0.0.1", "localhost")
    with deadline_once(lambda: server.accepted == 2):
        assert desk.call("run", "boat.yaml", "--base-url", other, "--deadline", "60s") == ExitCode.TRY_AGAIN
    server.faults.clear()
    assert desk.call("collect") == ExitCode.DONE, desk.err
    assert "2 done" in desk.out
    desk.write(JOB.replace("1..2", "1..3"))
    assert desk.call("run", "boat.yaml") == ExitCode.DONE, desk.err
    assert server.accepted == 3


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("http://localhost:1", "http://127.0.0.1:1", True),
        ("http://[::1]:1", "http://localhost:1", True),
        ("http://localhost", "http://127.0.0.1", True),
        ("http://localhost:1", "http://localhost:2", False),
        ("http://localhost:443", "https://localhost", False),
        ("http://127.0.0.2:1", "http://127.0.0.1:1", False),
        ("https://api.meshapi.ai", "https://localhost", False),
        ("sandbox", "http://localhost", False),
        ("sandbox", "sandbox", False),
    ],
)
def test_which_origins_are_spellings_of_one(one: str, other: str, is_same: bool) -> None:
    assert is_same_loopback(one, other) is is_same_loopback(other, one) is is_same
