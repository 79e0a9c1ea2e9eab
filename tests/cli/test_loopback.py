"""`localhost` and `127.0.0.1` are one server: what was made under one name is not made again."""

from __future__ import annotations

import pytest

from runner.errors import ExitCode
from runner.http.access import is_same_server
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.verb_bench import JOB, VerbBench


def test_another_name_of_the_same_server_submits_nothing(verbs: VerbBench, server: SandboxServer) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    identities = [task["identity"] for task in verbs.manifest()["tasks"]]
    for url in (other, other.replace("localhost", "LOCALHOST.") + "/", server.url):
        assert verbs.call("run", "boat.yaml", "--base-url", url) == ExitCode.DONE, verbs.err
        assert [task["identity"] for task in verbs.manifest()["tasks"]] == identities
        assert verbs.call("status", "--base-url", url) == ExitCode.DONE, verbs.err
    assert server.accepted == 2
    assert sorted(path.name for path in (verbs.root / "rehearsal" / "out").iterdir()) == ["s1.mp4", "s2.mp4"]


def test_what_is_in_flight_is_collected_under_another_name(verbs: VerbBench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    other = server.url.replace("127.0.0.1", "localhost")
    with deadline_once(lambda: server.accepted == 2):
        assert verbs.call("run", "boat.yaml", "--base-url", other, "--deadline", "60s") == ExitCode.TRY_AGAIN
    server.faults.clear()
    assert verbs.call("collect") == ExitCode.DONE, verbs.err
    assert "2 done" in verbs.out
    verbs.write(JOB.replace("1..2", "1..3"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
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
        ("http://localhost:1/a", "http://127.0.0.1:1", False),
        ("sandbox", "sandbox", True),
    ],
)
def test_which_origins_are_spellings_of_one(one: str, other: str, is_same: bool) -> None:
    assert is_same_server(one, other) is is_same_server(other, one) is is_same
