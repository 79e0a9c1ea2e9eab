"""Webhooks, received by a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runner.sandbox import Fault, SandboxConfig, SandboxServer
from runner.sandbox.webhooks import is_loopback
from tests.support.receiver import Receiver, receiving
from tests.support.sandbox_requests import connect, create, get


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.mark.parametrize(("prompt", "status"), [("tea", "succeeded"), ("[violate]", "failed")])
def test_the_end_of_a_task_is_announced_once(
    client: httpx.Client, receiver: Receiver, prompt: str, status: str
) -> None:
    task_id = create(client, prompt=prompt, callback_url=receiver.url)
    payload = receiver.next()
    assert payload["status"] == status
    told = get(client, task_id)
    assert {**payload, "content": None} == {**told, "content": None}
    assert receiver.is_empty_after()


def test_a_cancelled_task_is_not_announced(
    server: SandboxServer, client: httpx.Client, receiver: Receiver
) -> None:
    server.faults.add(Fault(where="submit", kind="outcome", text="cancelled"))
    create(client, callback_url=receiver.url)
    assert receiver.is_empty_after()


def test_a_receiver_that_is_gone_does_no_harm(server: SandboxServer, client: httpx.Client) -> None:
    assert get(client, create(client, callback_url="http://127.0.0.1:9/"))["status"] == "succeeded"


def test_webhooks_drop_repeat_and_swell(
    server: SandboxServer, client: httpx.Client, receiver: Receiver
) -> None:
    server.faults.add(Fault(where="webhook", kind="drop"))
    create(client, callback_url=receiver.url)
    assert receiver.is_empty_after()
    server.faults.add(
        Fault(where="webhook", kind="repeat"), Fault(where="webhook", kind="huge", count=100_000)
    )
    task_id = create(client, callback_url=receiver.url)
    payloads = [receiver.next(), receiver.next()]
    assert [payload["id"] for payload in payloads] == [task_id] * 2
    assert len(payloads[0]["padding"]) == 100_000


def test_webhooks_come_early_and_forged(receiver: Receiver) -> None:
    with SandboxServer(SandboxConfig(latency=(60, 60))) as server, connect(server) as client:
        server.faults.add(Fault(where="webhook", kind="early"), Fault(where="webhook", kind="forge"))
        task_id = create(client, callback_url=receiver.url)
        early, forged = receiver.next(), receiver.next()
        assert (early["status"], forged["status"]) == ("queued", "succeeded")
        assert server.url not in forged["content"]["video_url"]
        assert get(client, task_id)["status"] == "queued"


def test_a_restart_still_announces(receiver: Receiver, tmp_path: Path) -> None:
    config = SandboxConfig(latency=(1.0, 1.0), store=tmp_path / "s.db")
    with SandboxServer(config) as server, connect(server) as client:
        task_id = create(client, callback_url=receiver.url)
    with SandboxServer(config):
        assert receiver.next()["id"] == task_id


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:80/x", True),
        ("http://127.9.9.9/", True),
        ("http://[::1]:5/", True),
        ("http://localhost/", True),
        ("https://example.com/", False),
        ("http://10.0.0.1/", False),
        ("http:///", False),
    ],
)
def test_only_loopback_is_called(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
