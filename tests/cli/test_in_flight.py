"""What is in flight is fetched whatever is wrong with the rest: keys, inputs, other jobs, a stuck task."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.verb_bench import JOB, STORY, VerbBench


def _png(side: int = 400) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress((b"\0" + b"\x80" * side) * side)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PNG = _png()
STUCK = Fault(where=Where.GET, kind=Kind.REGRESS, times=None)


def leave_in_flight(verbs: VerbBench, job: str = "boat.yaml", *options: str, count: int = 2) -> None:
    """Ends a run of `job` while its tasks are in flight."""
    before = verbs.server.accepted
    verbs.server.faults.add(STUCK)
    with deadline_once(lambda: verbs.server.accepted == before + count):
        assert verbs.call("run", job, *options, "--deadline", "60s") == ExitCode.TRY_AGAIN, verbs.err
    verbs.server.faults.clear()


@pytest.fixture
def other() -> Iterator[SandboxServer]:
    """A second service."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


# inputs that are gone

PICTURED = JOB.replace(
    "output:", "  - {type: image_url, image_url: art/first.png, role: first_frame}\noutput:"
)


@pytest.fixture
def pictured(verbs: VerbBench) -> Path:
    """The only input of boat.yaml."""
    picture = verbs.root / "art" / "first.png"
    picture.parent.mkdir()
    picture.write_bytes(PNG)
    verbs.write(PICTURED)
    return picture


@pytest.mark.fault(75)
@pytest.mark.parametrize("verb", [("run", "boat.yaml"), ("resume",)])
def test_a_missing_input_keeps_nothing_from_being_fetched(
    verb: tuple[str, ...], verbs: VerbBench, pictured: Path
) -> None:
    leave_in_flight(verbs)
    pictured.unlink()
    assert verbs.call(*verb) == ExitCode.INPUT_MISSING
    assert "no such file" in verbs.err
    assert "what is in flight is fetched first" in verbs.err
    assert sorted(path.name for path in (verbs.root / "rehearsal/out").glob("*.mp4")) == ["s1.mp4", "s2.mp4"]
    assert verbs.server.accepted == 2
    pictured.write_bytes(PNG)
    assert verbs.call(*verb) == ExitCode.DONE
    assert (verbs.states(), verbs.server.accepted) == (["done", "done"], 2)


def test_a_missing_input_with_nothing_in_flight_is_told_at_once(verbs: VerbBench, pictured: Path) -> None:
    pictured.unlink()
    assert verbs.call("run", "boat.yaml") == ExitCode.INPUT_MISSING
    assert "in flight" not in verbs.err


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that refuses `run` before it begins, and the exit code and the words of that."""

    harm: Callable[[VerbBench, Path], object]
    code: ExitCode
    said: str


def _more(text: str) -> Callable[[VerbBench, Path], object]:
    """A third, new task, and `text` in the job file."""
    return lambda verbs, _: verbs.write(PICTURED.replace("1..2", "1..3") + text)


def _turn_into_a_directory(_desk: VerbBench, picture: Path) -> None:
    picture.unlink()
    picture.mkdir()


def _take_the_path(verbs: VerbBench, picture: Path) -> None:
    _more("")(verbs, picture)
    taken = verbs.root / "rehearsal/out/s3.mp4"
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(b"mine")


REFUSALS = {
    "the input is a directory": Refusal(_turn_into_a_directory, ExitCode.JOB_INVALID, "art/first.png"),
    "the input is empty": Refusal(
        lambda _, picture: picture.write_bytes(b""), ExitCode.JOB_INVALID, "art/first.png"
    ),
    "the input is no image": Refusal(
        lambda _, picture: picture.write_bytes(b"a note"), ExitCode.JOB_INVALID, "art/first.png"
    ),
    "a key that there is not": Refusal(_more("sedes: 1\n"), ExitCode.JOB_INVALID, "sedes"),
    "no YAML": Refusal(lambda verbs, _: verbs.write("version: [1"), ExitCode.JOB_INVALID, "boat.yaml:"),
    "the path of a new task is taken": Refusal(_take_the_path, ExitCode.JOB_INVALID, "s3.mp4"),
    "a cap in dollars and no price": Refusal(
        _more("budget: {max_usd: 5}\n"), ExitCode.REFUSED, "budget.max_usd"
    ),
    "a question that nobody answers": Refusal(
        _more("budget: {confirm_usd: 1}\n"), ExitCode.REFUSED, "budget.confirm_usd"
    ),
    "the job file is gone": Refusal(
        lambda verbs, _: (verbs.root / "boat.yaml").unlink(), ExitCode.INPUT_MISSING, "boat.yaml"
    ),
}


@pytest.mark.fault(75)
@pytest.mark.parametrize("name", REFUSALS)
def test_whatever_refuses_a_run_what_is_in_flight_is_fetched(
    name: str, verbs: VerbBench, pictured: Path
) -> None:
    refusal = REFUSALS[name]
    leave_in_flight(verbs)
    refusal.harm(verbs, pictured)
    assert verbs.call("run", "boat.yaml") == refusal.code, verbs.err
    assert refusal.said in verbs.err
    assert verbs.err.count("nothing is submitted; what is in flight is fetched first") == 1
    videos = {path.name for path in (verbs.root / "rehearsal/out").glob("*.mp4")}
    assert videos >= {"s1.mp4", "s2.mp4"}
    assert verbs.server.accepted == 2
    assert verbs.call("run", "boat.yaml") == refusal.code, verbs.err
    assert "in flight" not in verbs.err


def test_a_wrong_option_fetches_nothing(verbs: VerbBench) -> None:
    leave_in_flight(verbs)
    assert verbs.call("run", "boat.yaml", "--date", "soon") == ExitCode.USAGE
    assert "in flight" not in verbs.err


@pytest.mark.fault(75)
def test_a_job_that_is_wrong_beside_another_keeps_nothing_from_being_fetched(verbs: VerbBench) -> None:
    leave_in_flight(verbs)
    (verbs.root / "other.yaml").write_text("version: [1")
    assert verbs.call("run", "boat.yaml", "other.yaml") == ExitCode.JOB_INVALID
    assert len(list((verbs.root / "rehearsal/out").glob("*.mp4"))) == 2


@pytest.mark.fault(75)
def test_a_step_whose_upstream_file_was_changed_begins_with_a_fresh_copy(verbs: VerbBench) -> None:
    """The person who touched it up keeps their file, and the advice of the refusal works."""
    verbs.write(STORY)
    verbs.fault(Kind.ANSWER, after=1, status=402)
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    verbs.server.faults.clear()
    (frame,) = (verbs.root / "rehearsal").rglob("*.last.png")
    frame.write_bytes(PNG + b"touched up")
    touched = frame.read_bytes()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert (frame.read_bytes(), verbs.server.accepted) == (touched, 2)


@pytest.mark.fault(75)
def test_an_upstream_file_that_is_gone_for_good_stops_its_own_task_alone(verbs: VerbBench) -> None:
    verbs.write(STORY.replace("seeds: 7", "seeds: [7, 8]"))
    verbs.fault(Kind.ANSWER, after=2, status=402, times=None)
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    verbs.server.faults.clear()
    frame, _ = sorted((verbs.root / "rehearsal").rglob("*.last.png"))
    frame.write_bytes(b"another picture")
    verbs.server.faults.add(
        Fault(
            where=Where.GET,
            kind=Kind.ANSWER,
            status=404,
            code="not_found",
            task=verbs.server.tasks()[0].id,
            times=None,
        )
    )
    assert verbs.call("run", "boat.yaml") == ExitCode.INPUT_MISSING
    assert "is not there, or not as it was, and this task begins with it" in verbs.err
    assert verbs.server.accepted == 3


# keys

OWN_KEY = "\napi_key_env: ACME_KEY\n"


@pytest.mark.fault(76)
def test_collect_finds_the_key_of_each_job(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    (verbs.root / "acme.yaml").write_text(JOB.replace("out/", "acme/").replace("boat", "ship") + OWN_KEY)
    monkeypatch.setenv("ACME_KEY", f"{SANDBOX_KEY}_acme")
    leave_in_flight(verbs)
    leave_in_flight(verbs, "acme.yaml", "--allow-env", "ACME_KEY")
    assert verbs.call("collect", "--output-format", "json") == ExitCode.DONE, verbs.err
    assert [one["counts"] for one in json.loads(verbs.out)["services"]][-1] == {"done": 4}
    assert verbs.server.accepted == 4
    ledger = (verbs.root / ".callsheet").rglob("*.db")
    assert not any(b"rsk_sandbox_acme" in path.read_bytes() for path in ledger)


@pytest.mark.fault(76)
def test_a_missing_key_is_told_after_all_the_others_were_fetched(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (verbs.root / "acme.yaml").write_text(JOB.replace("out/", "acme/").replace("boat", "ship") + OWN_KEY)
    monkeypatch.setenv("ACME_KEY", f"{SANDBOX_KEY}_acme")
    leave_in_flight(verbs)
    leave_in_flight(verbs, "acme.yaml", "--allow-env", "ACME_KEY")
    monkeypatch.delenv("ACME_KEY")
    assert verbs.call("collect") == ExitCode.KEY_REFUSED
    assert "2 tasks cannot be looked up: no API key for mesh: ACME_KEY not set" in verbs.err
    assert len(list((verbs.root / "rehearsal/out").glob("*.mp4"))) == 2
    # the unit of cron finds it in the root's .env
    (verbs.root / ".env").write_text(f"ACME_KEY={SANDBOX_KEY}_acme\n")
    assert verbs.call("collect") == ExitCode.DONE, verbs.err
    assert len(list((verbs.root / "rehearsal/acme").glob("*.mp4"))) == 2


@pytest.mark.fault(76)
def test_a_missing_key_of_one_service_keeps_no_other_from_being_fetched(
    verbs: VerbBench, other: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GETIMG_API_KEY", SANDBOX_KEY)
    monkeypatch.setenv("GETIMG_AI_BASE_URL", other.url)
    (verbs.root / "other.yaml").write_text(GETIMG)
    other.faults.add(STUCK)
    with deadline_once(lambda: other.accepted == 1):
        assert verbs.call("run", "other.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN, verbs.err
    other.faults.clear()
    leave_in_flight(verbs)
    monkeypatch.delenv("MESHAPI_API_KEY")
    assert verbs.call("collect") == ExitCode.KEY_REFUSED
    assert "MESHAPI_API_KEY" in verbs.err
    assert (verbs.root / "rehearsal/getimg/a.mp4").exists()


GETIMG = """\
version: 1
provider: getimg
models: [seedance-v1-pro]
request: {resolution: 480p, aspect_ratio: 1:1, duration: 2}
content: [{type: text, text: A kite}]
output: getimg/a.mp4
run: {poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


@pytest.mark.fault(76)
def test_a_key_that_was_replaced_is_tried(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another key the sandbox does not know the task: kept, and said."""
    leave_in_flight(verbs)
    monkeypatch.setenv("MESHAPI_API_KEY", f"{SANDBOX_KEY}_new")
    assert verbs.call("collect") == ExitCode.PERSON_NEEDED
    assert "another API key" in verbs.err


# other jobs


@pytest.mark.fault(77)
def test_a_stuck_task_of_another_job_is_a_note(verbs: VerbBench) -> None:
    leave_in_flight(verbs)
    stuck = [task.id for task in verbs.server.tasks()]
    for task in stuck:
        verbs.server.faults.add(
            Fault(where=Where.GET, kind=Kind.ANSWER, status=503, task=task, times=None, retry_after=0.01)
        )
    (verbs.root / "other.yaml").write_text(JOB.replace("out/", "elsewhere/").replace("boat", "ship"))
    assert verbs.call("run", "other.yaml") == ExitCode.DONE, verbs.err
    assert "of another job: " in verbs.err
    assert "looks failed in a row" in verbs.err
    assert "next: callsheet collect" in verbs.err
    assert verbs.call("run", "boat.yaml") == ExitCode.TRY_AGAIN, "it is that job's own"
    assert verbs.call("collect") == ExitCode.TRY_AGAIN


@pytest.mark.fault(77)
def test_failures_of_another_job_do_not_use_up_max_failures(verbs: VerbBench) -> None:
    verbs.fault(Kind.OUTCOME, text="failed", times=2)
    leave_in_flight(verbs)
    text = JOB.replace("out/", "elsewhere/").replace("boat", "ship")
    (verbs.root / "other.yaml").write_text(text.replace("run: {", "run: {max_failures: 1, "))
    assert verbs.call("run", "other.yaml") == ExitCode.DONE, verbs.err


@pytest.mark.fault(77)
def test_a_stuck_task_is_given_up_by_a_person(verbs: VerbBench) -> None:
    leave_in_flight(verbs)
    first = verbs.server.tasks()[0].id
    assert verbs.call("collect", "--give-up", first) == ExitCode.REFUSED
    assert (
        "may bill it, and its video will not be fetched; nothing was changed; hint: give --yes" in verbs.err
    )
    assert verbs.call("collect", "--give-up", first, "--yes") == ExitCode.DONE
    assert "given up" in verbs.out
    assert "callsheet retry" in verbs.err
    assert verbs.call("collect") == ExitCode.DONE, verbs.err
    assert sorted(verbs.states()) == ["done", "expired"]
    errors = [task["error"] for task in verbs.manifest()["tasks"] if task["error"]]
    assert [error["code"] for error in errors] == ["given_up"]
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert verbs.server.accepted == 2, "nothing buys it again by itself"


def test_only_what_is_in_flight_can_be_given_up(verbs: VerbBench) -> None:
    assert verbs.call("collect", "--give-up", "boat", "--yes") == ExitCode.USAGE
    assert "no task in flight" in verbs.err
    verbs.fault(Kind.ANSWER, status=500)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    (held,) = verbs.unclear()
    assert verbs.call("collect", "--give-up", held["task"], "--yes") == ExitCode.USAGE
    assert f"callsheet reconcile {held['task']} --write-off" in verbs.err
