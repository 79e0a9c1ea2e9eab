"""What a client does with a POST whose answer is lost, by the sandbox's own count."""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import httpx

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.clients import PostingClient, names
from tests.support.provider_plugin import plugin_installed
from tests.support.sandbox_requests import NO_TLS

PAGE = Path(__file__).parent.parent.parent / "docs" / "explanation" / "why-not-the-sdk.md"

_PATIENCE, _TIMEOUT = 30.0, 1.0
"""Seconds that a client waits for an answer while all is well, and afterwards, in place of its minutes."""

_LOST = {"where": Where.SUBMIT, "accept": True}
EVENTS = {
    "cut, once": Fault(**_LOST, kind=Kind.CUT),
    "cut, each time": Fault(**_LOST, kind=Kind.CUT, times=None),
    "too late, once": Fault(**_LOST, kind=Kind.STALL, seconds=4.0),
    "504 of an edge, once": Fault(
        **_LOST, kind=Kind.ANSWER, status=504, body="<html><title>504 Gateway Time-out</title>nginx</html>"
    ),
}
"""What becomes of the answer. The service has accepted the task each time, and will bill it."""


@dataclass(frozen=True, slots=True)
class Row:
    """`seen` is what the caller has in the end: a task, or an exception."""

    client: str
    version: str
    answer: str
    posts: str
    paid: str
    seen: str

    def line(self) -> str:
        return f"| {' | '.join(astuple(self))} |"


def load(name: str) -> PostingClient:
    found = importlib.import_module(f"tests.support.clients.{name}").CLIENT
    assert isinstance(found, PostingClient)
    return found


def measure(client: PostingClient, event: str) -> Row:
    """A video while all is well, then one whose answer is lost, which alone is counted.

    The client does not wait between its attempts.
    """
    config = SandboxConfig(provider=client.provider, latency=(0.0, 0.0), scale=0.05)
    with (
        tempfile.TemporaryDirectory() as directory,
        plugin_installed(Path(directory, "plug-in")),
        SandboxServer(config) as server,
        patch("time.sleep"),
    ):
        client.create(server.url, _PATIENCE, Path(directory))
        posts, paid = _posts(server), server.accepted
        server.faults.add(EVENTS[event])
        # a busy machine must not make an answer late
        patience = _TIMEOUT if EVENTS[event].kind is Kind.STALL else _PATIENCE
        try:
            seen = "one task" if client.create(server.url, patience, Path(directory)) else "no task"
        except Exception as error:
            seen = f"`{type(error).__name__}`"
        posts, paid = _posts(server) - posts, server.accepted - paid
    return Row(f"`{client.distribution}`", version(client.distribution), event, str(posts), str(paid), seen)


def _posts(server: SandboxServer) -> int:
    posts = httpx.get(f"{server.url}/_sandbox/stats", verify=NO_TLS).json()["posts"]
    assert isinstance(posts, int)
    return posts


def rows() -> Iterator[Row]:
    """Measures every client."""
    for name in names():
        yield from (measure(load(name), event) for event in EVENTS)


_ROW = re.compile(r"^\| (`.*) \|$", re.MULTILINE)


def rows_of(page: str) -> list[Row]:
    """Those that the page has."""
    return [Row(*found.split(" | ")) for found in _ROW.findall(page)]
