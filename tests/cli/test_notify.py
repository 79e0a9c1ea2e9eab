"""`notify` of the project file: what is told, to whom, and that it changes nothing."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.cli.closing import notify as module
from runner.cli.closing.notify import OCCASIONS, JobEnd, notify
from runner.errors import INTERRUPTS, ExitCode
from runner.job.project_file import Notify, NotifyOn
from runner.project import Project
from runner.sandbox import SandboxServer
from tests.support.verb_bench import JOB, VerbBench

SECRET = "3fa85f64"
EVERY = frozenset(NotifyOn)
NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class Listener:
    """Answers each POST with `status`, after `seconds`."""

    url: str
    status: int = 200
    seconds: float = 0.0
    heard: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.paths.append(self.path)
            assert self.headers["content-type"] == "application/json"
            found.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            released.wait(found.seconds)
            self.send_response(found.status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    released = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Listener(f"http://127.0.0.1:{server.server_port}/{SECRET}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        released.set()
        server.shutdown()
        thread.join()


def end(*codes: ExitCode, is_done_now: bool = False, is_rehearsal: bool = False) -> JobEnd:
    document = {"job": "night.yaml", "exit_code": int(ExitCode.first(codes))}
    return JobEnd(frozenset(codes), is_done_now, is_rehearsal, "night.yaml: as it ended", document)


def tell(root: Path, wanted: Notify, *ends: JobEnd, code: ExitCode | None = None) -> None:
    first = ExitCode.first(each for one in ends for each in one.conditions)
    notify(wanted, ends, first if code is None else code, root=root, allow_env=NONE)


def by_url(listener: Listener, monkeypatch: pytest.MonkeyPatch, *on: NotifyOn) -> Notify:
    monkeypatch.setenv("NOTIFY_URL", listener.url)
    return Notify(frozenset(on) or EVERY, url_env="NOTIFY_URL")


def test_one_post_holds_the_end_of_every_job(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, full = end(ExitCode.TASK_FAILED), end(ExitCode.REFUSED, ExitCode.PERSON_NEEDED)
    tell(tmp_path, by_url(listener, monkeypatch), failed, full)
    (heard,) = listener.heard
    assert heard["on"] == ["failed", "held", "budget"]
    assert heard["exit_code"] == 5
    assert heard["project"] == tmp_path.name
    assert heard["text"] == "night.yaml: as it ended\nnight.yaml: as it ended"
    assert [job["exit_code"] for job in heard["jobs"]] == [1, 5]


@pytest.mark.parametrize("code", list(ExitCode))
def test_each_exit_code_is_told_as_one_end_or_as_none(code: ExitCode) -> None:
    told = end(code).occasions
    assert len(told) <= 1
    silent = INTERRUPTS | {ExitCode.DONE, ExitCode.USAGE, ExitCode.TRY_AGAIN, ExitCode.READER_GONE}
    assert (not told) is (code in silent)
    assert silent.isdisjoint(OCCASIONS)


def test_what_was_done_before_is_no_news(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = by_url(listener, monkeypatch)
    tell(tmp_path, wanted, end(ExitCode.DONE))
    assert listener.heard == []
    tell(tmp_path, wanted, end(ExitCode.DONE, is_done_now=True))
    assert [heard["on"] for heard in listener.heard] == [["done"]]


def test_only_the_ends_that_are_wanted_are_told(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = by_url(listener, monkeypatch, NotifyOn.HELD)
    tell(tmp_path, wanted, end(ExitCode.TASK_FAILED), end(ExitCode.DONE, is_done_now=True))
    assert listener.heard == []
    tell(tmp_path, wanted, end(ExitCode.TASK_FAILED, ExitCode.PERSON_NEEDED))
    assert [heard["on"] for heard in listener.heard] == [["held"]]


@pytest.mark.parametrize("code", sorted(INTERRUPTS))
def test_neither_a_rehearsal_nor_an_interrupted_run_tells_anybody(
    code: ExitCode, tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = by_url(listener, monkeypatch)
    tell(tmp_path, wanted, end(ExitCode.TASK_FAILED, is_rehearsal=True))
    tell(tmp_path, wanted, end(ExitCode.TASK_FAILED, code), code=code)
    assert listener.heard == []


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_no_success_is_told_and_not_followed(
    status: int,
    tmp_path: Path,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listener.status = status
    tell(tmp_path, by_url(listener, monkeypatch), end(ExitCode.TASK_FAILED))
    told = capsys.readouterr().err
    assert told == f"notify: nobody was told: NOTIFY_URL: status {status}; the run is not affected\n"
    assert listener.paths == [f"/{SECRET}"]


def test_a_listener_on_this_machine_is_reached_directly_whatever_proxy_is_named(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By http a proxy would read the secret path, and the message with it."""
    wanted = by_url(listener, monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    code = ExitCode.TASK_FAILED
    notify(wanted, [end(code)], code, root=tmp_path, allow_env=NONE, trust_env=True)
    assert listener.paths == [f"/{SECRET}"]


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://127.0.0.1/", "", "http://[", "https://"])
def test_an_address_that_is_not_fit_is_told_without_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFY_URL", url)
    tell(tmp_path, Notify(EVERY, url_env="NOTIFY_URL"), end(ExitCode.TASK_FAILED))
    told = capsys.readouterr().err
    assert told.startswith("notify: nobody was told: NOTIFY_URL")
    assert not url or url not in told


def test_a_listener_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "POST_SECONDS", 0.2)
    listener.seconds = 10.0
    began = time.monotonic()
    tell(tmp_path, by_url(listener, monkeypatch), end(ExitCode.TASK_FAILED))
    assert time.monotonic() - began < 5
    assert "nobody was told: NOTIFY_URL" in capsys.readouterr().err
    assert SECRET not in capsys.readouterr().err


def test_an_address_in_env_counts_only_where_it_is_allowed(
    tmp_path: Path,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = Notify(EVERY, url_env="NOTIFY_URL")
    monkeypatch.delenv("NOTIFY_URL", raising=False)
    (tmp_path / ".env").write_text(f"NOTIFY_URL={listener.url}\n", encoding="utf-8")
    ends = [end(ExitCode.TASK_FAILED)]
    notify(wanted, ends, ExitCode.TASK_FAILED, root=tmp_path, allow_env=NONE)
    assert "NOTIFY_URL is not set" in capsys.readouterr().err
    notify(wanted, ends, ExitCode.TASK_FAILED, root=tmp_path, allow_env=frozenset({"NOTIFY_URL"}))
    assert len(listener.heard) == 1


def test_a_command_has_the_message_on_its_stdin_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_secret")
    script = (
        "import json, os, sys; m = json.load(sys.stdin);"
        " open('told', 'w').write(f\"{m['on']} {sys.argv[1]} {os.environ.get('MESHAPI_API_KEY')}\")"
    )
    tell(tmp_path, Notify(EVERY, command=(sys.executable, "-c", script, "$HOME;")), end(ExitCode.REFUSED))
    assert (tmp_path / "told").read_text() == "['budget'] $HOME; None"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("/nowhere/tell",), "/nowhere/tell: No such file or directory"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "exit code 3"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "was still running after 0 s"),
    ],
)
def test_a_command_that_fails_is_told(
    command: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "COMMAND_SECONDS", 0.3 if "time" in command[-1] else 30.0)
    tell(tmp_path, Notify(EVERY, command=command), end(ExitCode.TASK_FAILED))
    assert told in capsys.readouterr().err


NOTIFY = "version: 1\nnotify: {url_env: NOTIFY_URL}\n"


def test_a_run_without_a_key_is_told_as_failed(
    verbs: VerbBench, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to the service, so it need not be a rehearsal."""
    by_url(listener, monkeypatch)
    (verbs.root / "callsheet.yaml").write_text(NOTIFY, encoding="utf-8")
    for variable in ("MESHAPI_BASE_URL", "MESHAPI_API_KEY", "MESHAPI_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    assert verbs.call("run", "boat.yaml") == ExitCode.KEY_REFUSED
    (heard,) = listener.heard
    assert (heard["on"], heard["exit_code"]) == (["failed"], 77)
    assert "no API key for mesh" in heard["jobs"][0]["error"]
    verbs.write(JOB.replace("seeds:", "sedes:"))
    assert verbs.call("run", "boat.yaml") == ExitCode.JOB_INVALID
    assert "unknown key `sedes`" in listener.heard[1]["text"]


def test_a_run_tells_what_it_did_once(
    verbs: VerbBench, listener: Listener, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the sandbox were the real service: only what counts as a rehearsal is changed."""
    by_url(listener, monkeypatch)
    (verbs.root / "callsheet.yaml").write_text(NOTIFY, encoding="utf-8")
    assert verbs.call("run", "boat.yaml") == 0
    assert listener.heard == [], "a rehearsal"
    monkeypatch.setattr(Project, "is_rehearsal", False)
    verbs.write(JOB.replace("A paper boat", "A gull"))
    assert verbs.call("run", "boat.yaml", "--accept-edits") == 0
    (heard,) = listener.heard
    assert heard["on"] == ["done"]
    assert heard["text"].startswith("boat.yaml: 2 done; 2 tasks of unknown price now")
    assert heard["jobs"][0]["counts"] == {"done": 2}
    assert verbs.call("run", "boat.yaml") == 0
    assert len(listener.heard) == 1, "nothing has become done now"
    verbs.write(JOB.replace("A paper boat", "'A gull [violate]'"))
    assert verbs.call("run", "boat.yaml", "--accept-edits") == 1
    assert listener.heard[1]["on"] == ["failed"]
    assert "2 failed: content_policy_violation" in listener.heard[1]["text"]
    assert server.accepted == 6
