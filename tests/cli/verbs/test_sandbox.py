"""`callsheet sandbox`, as another client meets it."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from runner.errors import ExitCode
from tests.support.command_process import callsheet, command, environment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_url_is_the_first_line_and_answers_at_once(number: signal.Signals, tmp_path: Path) -> None:
    line = command("sandbox", "--host", "127.0.0.1", "--port", "0", "--latency", "1..3", "--scale", "0.25")
    with subprocess.Popen(
        [*line, "--rpm", "0"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        listed = httpx.get(f"{url}/v1/video/generations", headers={"Authorization": "Bearer rsk_any"})
        process.send_signal(number)
        rest, told = process.communicate(timeout=30)
    assert (listed.status_code, listed.json()["total"]) == (200, 0)
    assert (process.returncode, rest) == (0, "")
    assert f"--base-url {url}" in told


def test_a_port_that_is_taken_exits_69(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = callsheet("sandbox", "--port", str(port), cwd=tmp_path)
    assert told.returncode == ExitCode.UNREACHABLE
    assert f"127.0.0.1:{port}: cannot listen" in told.stderr


@pytest.mark.security(25)
@pytest.mark.parametrize(("host", "is_warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_who_opens_it_to_the_network_is_warned(host: str, is_warned: bool, tmp_path: Path) -> None:
    """Even with -q: what it advises is the default."""
    line = command("--quiet", "sandbox", "--host", host, "--port", "0")
    with subprocess.Popen(
        line, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"http://{host}:")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert ("whoever reaches this machine by its network" in told) is is_warned
    assert ("--host 127.0.0.1" in told) is is_warned
    assert told == "" or is_warned
