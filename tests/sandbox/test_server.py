"""Starting, stopping, coming back, and what happens without the extras."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer, SandboxUnavailable, serve
from runner.sandbox.store import NEWEST_FIRST, Selection, Store
from tests.support.sandbox_requests import NO_TLS, connect, create, get, get_file, listed


def test_tasks_outlive_the_process(tmp_path: Path) -> None:
    config = SandboxConfig(latency=(0, 0), scale=0.05, store=tmp_path / "deep" / "sandbox.db")
    with SandboxServer(config) as server, connect(server) as client:
        task_id = create(client, seed=4)
        old = get(client, task_id)
    with SandboxServer(config) as server, connect(server) as client:
        assert server.accepted == 1
        again = get(client, task_id)
        assert again["content"]["video_url"].startswith(server.url)
        assert {**again, "content": None} == {**old, "content": None}
        assert get_file(again["content"]["video_url"]).status_code == 200
        path = httpx.URL(old["content"]["video_url"]).raw_path.decode()
        assert get_file(server.url + path).status_code == 200
        create(client)
        assert listed(client)["total"] == server.accepted == 2


def test_the_store_holds_no_key(tmp_path: Path) -> None:
    with (
        SandboxServer(SandboxConfig(store=tmp_path / "s.db")) as server,
        connect(server, "rsk_canary") as client,
    ):
        create(client)
    assert b"rsk_canary" not in b"".join(path.read_bytes() for path in tmp_path.glob("s.db*"))


def test_the_count_is_known_after_the_end() -> None:
    with SandboxServer() as server, connect(server) as client:
        create(client)
    assert server.accepted == 1


def test_a_server_that_has_not_started_says_so() -> None:
    server = SandboxServer()
    for ask in (lambda: server.url, lambda: server.accepted, server.tasks):
        with pytest.raises(RuntimeError, match="not been started"):
            ask()


def test_an_address_in_use_is_an_os_error() -> None:
    with SandboxServer() as server:
        port = httpx.URL(server.url).port
        assert port is not None
        with pytest.raises(OSError, match="in use"), SandboxServer(SandboxConfig(port=port)):
            pass


def test_it_serves_on_ipv6() -> None:
    with SandboxServer(SandboxConfig(host="::1")) as server, connect(server) as client:
        assert server.url.startswith("http://[::1]:")
        assert listed(client)["total"] == 0


@pytest.mark.parametrize(
    "wrong", [{"latency": (2, 1)}, {"latency": (-1, 1)}, {"scale": 0}, {"scale": 2}, {"rpm": -1}]
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give"):
        SandboxConfig(**wrong)


@pytest.mark.parametrize("package", ["av", "PIL", "starlette", "uvicorn"])
def test_a_missing_extra_names_the_install_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("runner.sandbox.", f"{package}."))]:
        if name not in ("runner.sandbox.serving.server", "runner.sandbox.config"):
            monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with (
        pytest.raises(SandboxUnavailable, match=r"pip install 'callsheet\[server,media\]'"),
        SandboxServer(),
    ):
        pass


def test_a_service_that_nobody_rehearses_is_told_by_name() -> None:
    with (
        pytest.raises(SandboxUnavailable, match="no-such-service cannot be rehearsed"),
        SandboxServer(SandboxConfig(provider="no-such-service")),
    ):
        raise AssertionError


def test_importing_the_package_loads_no_extra_and_nothing_of_runner() -> None:
    code = (
        "import sys, runner.sandbox\n"
        "print(*sorted(n for n in sys.modules if n.partition('.')[0] in ('av', 'PIL', 'starlette', 'uvicorn')"
        " or n.startswith('runner.') and not n.startswith('runner.sandbox')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_killed_process_leaves_what_it_accepted(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from runner.sandbox import SandboxConfig, serve\n"
        "serve(SandboxConfig(store=pathlib.Path(sys.argv[1])), lambda url: print(url, flush=True))"
    )
    store = tmp_path / "s.db"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        headers = {"Authorization": f"Bearer {SANDBOX_KEY}"}
        with httpx.Client(base_url=url, headers=headers, verify=NO_TLS) as client:
            ids = [create(client, seed=seed) for seed in range(5)]
            process.kill()
    with SandboxServer(SandboxConfig(store=store)) as server, connect(server) as client:
        assert [task.id for task in server.tasks()] == ids
        assert [row["id"] for row in listed(client)["data"]] == ids[::-1]


def test_serve_gives_the_signal_handlers_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    urls: list[str] = []

    def announce(url: str) -> None:
        urls.append(url)
        signal.raise_signal(signal.SIGTERM)

    serve(SandboxConfig(), announce)
    assert urls[0].startswith("http://127.0.0.1:")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_announces_its_url_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    code = (
        "from runner.sandbox import SandboxConfig, serve\n"
        "serve(SandboxConfig(), lambda url: print(url, flush=True))\n"
        "print('ended')"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answer = get_file(f"{url}/v1/video/generations", headers={"Authorization": f"Bearer {SANDBOX_KEY}"})
        assert answer.status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (out, err, process.returncode) == ("ended\n", "", 0)


@pytest.mark.parametrize(
    "selection",
    [Selection(owner="me"), Selection(owner="me", after=1.0, statuses=("queued",), models=("m",))],
)
def test_a_list_of_many_tasks_reads_only_its_page(selection: Selection) -> None:
    """SQLite's own plan: one index gives the rows in their order, and counts them."""
    store = Store(None)
    where, values = selection.where()
    try:
        page, count = (
            store._database.execute(
                f"EXPLAIN QUERY PLAN SELECT {what} FROM tasks{where} {order}", values
            ).fetchall()
            for what, order in (("*", f"{NEWEST_FIRST} LIMIT 5"), ("count(*)", ""))
        )
    finally:
        store.close()
    assert [step[3].partition(" (")[0] for step in page] == ["SEARCH tasks USING INDEX tasks_by_time"]
    assert [step[3].partition(" (")[0] for step in count] == [
        "SEARCH tasks USING COVERING INDEX tasks_by_time"
    ]


INTERRUPTED = """
import os, signal, sys, threading
from runner.sandbox import SandboxConfig
from runner.sandbox.serving.server import serve

def strike(frame, event, _):
    if frame.f_code is threading.Condition.__enter__.__code__ and event == "return":
        sys.settrace(None)
        signal.raise_signal(signal.SIGTERM)
    return strike

def announce(url):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    sys.settrace(strike)

serve(SandboxConfig(), announce)
"""


def test_a_signal_that_interrupts_the_wait_for_it_ends_the_server() -> None:
    """One that comes while a lock is taken: a handler that needs the same lock would wait for ever."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
