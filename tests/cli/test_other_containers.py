"""A service that gives WebM or MOV where an MP4 was awaited."""

from __future__ import annotations

import httpx
import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.verb_bench import VerbBench


def downloads(server: SandboxServer) -> int:
    return int(httpx.get(f"{server.url}/_sandbox/stats").json()["downloads"])


@pytest.mark.fault(81)
@pytest.mark.parametrize("suffix", ["webm", "mov"])
def test_the_video_stands_under_its_own_suffix_and_counts_as_done(
    verbs: VerbBench, server: SandboxServer, suffix: str
) -> None:
    server.faults.add(Fault(where=Where.DOWNLOAD, kind=Kind.CONTAINER, text=suffix, times=None))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    files = sorted(path.name for path in (verbs.root / "rehearsal" / "out").iterdir())
    assert files == [f"s1.{suffix}", f"s2.{suffix}"]
    before = server.accepted, downloads(server)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert (server.accepted, downloads(server)) == before
    for verb in (("verify",), ("status",), ("report",), ("show", f"rehearsal/out/{files[0]}")):
        assert verbs.call(*verb) == ExitCode.DONE, (verb, verbs.out, verbs.err)
        assert "missing" not in verbs.out + verbs.err
    paths = [file["path"] for task in verbs.manifest()["tasks"] for file in task["outputs"]]
    assert paths == [f"out/{name}" for name in files]


@pytest.mark.fault(81)
def test_a_file_that_cannot_be_proved_is_fetched_once(verbs: VerbBench, server: SandboxServer) -> None:
    """Its bytes stay, and the run says where. FLV does not tell where it ends."""
    server.faults.add(
        Fault(where=Where.DOWNLOAD, kind=Kind.CONTAINER, text="flv", times=None),
        Fault(where=Where.DOWNLOAD, kind=Kind.NO_LENGTH, times=None),
    )
    assert verbs.call("run", "boat.yaml") == ExitCode.TRY_AGAIN
    assert downloads(server) == 2
    assert "nothing proves that the flv file is whole" in verbs.err
    parts = [path for path in (verbs.root / "rehearsal" / "out").iterdir() if path.suffix == ".part"]
    assert len(parts) == 2
    assert all(str(path) in verbs.err and path.stat().st_size for path in parts)


@pytest.mark.fault(41)
def test_the_same_wrong_bytes_are_fetched_twice_at_most(verbs: VerbBench, server: SandboxServer) -> None:
    """An error page may pass; what comes again under a fresh URL is what the service has."""
    server.faults.add(Fault(where=Where.DOWNLOAD, kind=Kind.SHORT, count=100, times=None))
    assert verbs.call("run", "boat.yaml") == ExitCode.TRY_AGAIN
    assert downloads(server) == 4
