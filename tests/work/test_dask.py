"""Work at a real Dask cluster: its scheduler and workers are processes of their own, on loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import runner
from runner.errors import ExitCode, UsageError, WorkersError
from runner.sandbox import SANDBOX_KEY
from runner.work import dask
from runner.work.crew import Lost, work
from runner.work.dask import DaskWorkers, Terms, Unfit, perform
from tests.support.clips import with_noise_for_pictures
from tests.support.dask import DaskCluster, dask_cluster
from tests.support.verb_bench import VerbBench
from tests.support.work_functions import obey, processes


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    return Terms.of(tmp_path, tmp_path / "manifest.json", ())


@pytest.fixture
def done(verbs: VerbBench) -> VerbBench:
    """A run that has made two videos."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    return verbs


@pytest.mark.security(33)
def test_verify_finds_the_same_whoever_reads_and_no_worker_is_sent_a_key_or_an_address(
    done: VerbBench, daskers: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = done.root / "rehearsal/out/s1.mp4"
    clip.write_bytes(with_noise_for_pictures(clip.read_bytes()))
    (clip.parent / "s2.mp4").unlink()
    sent: list[bytes] = []

    submit = DaskWorkers.submit

    def submit_and_keep(crew: DaskWorkers, *given: Any) -> Any:
        sent.append(pickle.dumps(given))
        return submit(crew, *given)

    monkeypatch.setattr(DaskWorkers, "submit", submit_and_keep)
    told = []
    for workers in ([], ["--workers", "2"], ["--workers", daskers.address]):
        assert done.call("verify", *workers, "--output-format", "json") == ExitCode.TASK_FAILED
        told.append(json.loads(done.out))
    assert told[0] == told[1] == told[2]
    assert told[0]["counts"] == {"same": 2, "missing": 1, "changed": 1, "broken": 0, "unknown": 0}
    assert sent
    for packed in sent:
        assert SANDBOX_KEY.encode() not in packed
        assert b"://" not in packed


@pytest.mark.fault(152)
def test_a_file_that_a_worker_does_not_see_is_not_missing(
    done: VerbBench, daskers: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk may be an older copy of this one, with the manifest that shows it to be the same."""
    submit, clip = DaskWorkers.submit, done.root / "rehearsal/out/s2.mp4"

    def submit_unseen(crew: DaskWorkers, *given: Any) -> Any:
        away = clip.rename(done.root / "away")
        future = submit(crew, *given)
        future.exception()
        away.rename(clip)
        return future

    monkeypatch.setattr(DaskWorkers, "submit", submit_unseen)
    assert done.call("verify", "--workers", daskers.address, "--output-format", "json") == ExitCode.DONE
    assert json.loads(done.out)["counts"]["missing"] == 0


@pytest.mark.evidence
def test_the_contact_sheet_is_the_same_whoever_makes_its_pictures(
    done: VerbBench, daskers: DaskCluster
) -> None:
    page = done.root / "rehearsal/runs/latest/report.html"
    made = []
    for workers in ([], ["--workers", "1"], ["--workers", daskers.address]):
        for poster in (done.root / "rehearsal/.callsheet/posters").iterdir():
            poster.unlink()
        assert done.call("report", *workers) == ExitCode.DONE
        assert done.err == ""
        made.append(page.read_bytes())
    assert b"data:image/webp" in made[0]
    assert made[0] == made[1] == made[2]


@pytest.mark.fault(151)
@pytest.mark.evidence
def test_a_worker_that_is_killed_takes_no_item_along(
    daskers: DaskCluster, terms: Terms, tmp_path: Path
) -> None:
    folder = tmp_path / "done"
    folder.mkdir()
    killed: list[int] = []
    items = [f"sleep 0.00{number % 10}" for number in range(300)]
    found = []
    with DaskWorkers(daskers.address, terms) as crew:
        for _, each in work(crew, obey, str(folder), items, expected=300):
            found.append(each)
            if len(found) == 50:
                killed.append(processes(folder)[0])
                os.kill(killed[0], signal.SIGKILL)
    assert found == items
    assert {*processes(folder)} - {*killed}


@pytest.mark.fault(150)
def test_an_item_that_kills_its_worker_is_found_and_told(
    daskers: DaskCluster, terms: Terms, tmp_path: Path
) -> None:
    items = ["die" if number == 7 else str(number) for number in range(20)]
    with DaskWorkers(daskers.address, terms) as crew:
        found = [each for _, each in work(crew, obey, str(tmp_path), items, expected=2)]
    assert found == [Lost("a worker died over it, or several") if item == "die" else item for item in items]


@pytest.mark.fault(152)
def test_each_worker_that_cannot_do_the_work_is_told_once(daskers: DaskCluster, terms: Terms) -> None:
    for changes, why in (
        ({"version": "9.9"}, rf"has callsheet {runner.__version__}, and here it is 9\.9"),
        ({"witness": "/nowhere/manifest.json", "base": "/nowhere"}, "does not see /nowhere"),
        ({"head": "0" * 64}, f"sees something else at {terms.base}"),
        ({"modules": ("nothing_of_that_name",)}, "has no module `nothing_of_that_name`, which is installed"),
    ):
        broken = dataclasses.replace(terms, **changes)
        with pytest.raises(WorkersError) as raised:
            DaskWorkers(daskers.address, broken)
        assert raised.value.exit_code == ExitCode.UNREACHABLE
        said = re.findall(rf"worker (tcp://127\.0\.0\.1:\d+) at (\S+) {why}", str(raised.value))
        assert len(said) == len(dict(said)) >= 1
        assert "each worker needs callsheet" in raised.value.hint


@pytest.mark.fault(152)
def test_a_worker_that_came_later_is_asked_with_its_first_call(terms: Terms, tmp_path: Path) -> None:
    packed = pickle.dumps((obey, str(tmp_path), "a"))
    assert perform(terms, packed) == "a"
    Path(terms.witness).unlink()
    unfit = perform(terms, packed)
    assert isinstance(unfit, Unfit)
    assert unfit.why == f"does not see {terms.base}"


@pytest.mark.fault(153)
def test_a_scheduler_that_goes_ends_the_command_and_says_so(
    done: VerbBench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask, "_SECONDS_TO_CONNECT", 1)
    submit = DaskWorkers.submit
    with dask_cluster(tmp_path_factory.mktemp("going"), workers=0) as going:
        assert done.call("verify", "--workers", going.address) == ExitCode.UNREACHABLE
        assert done.err.startswith(f"the Dask scheduler at {going.address} has no workers; hint: dask worker")
        monkeypatch.setattr(DaskWorkers, "_wait_for_workers", lambda _: None)

        def submit_and_stop(crew: DaskWorkers, *given: Any) -> Any:
            future = submit(crew, *given)
            going.stop_scheduler()
            return future

        monkeypatch.setattr(DaskWorkers, "submit", submit_and_stop)
        assert done.call("verify", "--workers", going.address) == ExitCode.UNREACHABLE
        assert done.err == (
            f"the Dask scheduler at {going.address} has gone; hint: start it, then run again\n"
        )
    assert done.call("verify", "--workers", going.address) == ExitCode.UNREACHABLE
    assert done.err == (
        f"no Dask scheduler answers at {going.address};"
        " hint: `dask scheduler` says its address when it starts\n"
    )


def test_without_dask_the_extra_is_named(terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"hint: pip install 'callsheet\[cluster\]'"):
        DaskWorkers("tcp://127.0.0.1:8786", terms)
