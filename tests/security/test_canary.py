"""A canary of every kind of secret is searched for in all that runs leave behind, whatever went wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.command_process import callsheet
from tests.support.evidence import evidence_but

pytestmark = pytest.mark.security(16)

KEY = "rsk_canary0123456789abcdefghijkl"
SIGNED = "sigcanary0123456789"
TOKEN = "envcanary0123456789"
"""The value of a variable that the job may read, and puts into the query of an input's URL."""

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..6
request: {resolution: 480p, ratio: 1:1, duration: 4}
env: [TOKEN]
vars: {link: 'https://cdn.example/ref.png?token=${{ env.TOKEN }}'}
content:
  - type: text
    text: A paper boat
  - type: image_url
    image_url: a.png
    role: first_frame
  - type: image_url
    image_url: ${{ vars.link }}
    role: last_frame
output: out/s${{ seed }}.mp4
run: {settle: 0s, deadline: 20s, timeout: 2s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""
QUOTED = f"no good: Authorization: Bearer {KEY}, see https://cdn.example/v.mp4?X-Amz-Signature={SIGNED}"
"""What a careless service may say."""

UNFETCHABLE = {"content": {"video_url": f"https://10.0.0.1/v?s={SIGNED}"}}
REDIRECT = {"location": f"http://10.0.0.1/?s={SIGNED}"}


def submit(kind: Kind, after: int, **shape: Any) -> Fault:
    return Fault(where=Where.SUBMIT, kind=kind, after=after, **shape)


def get(kind: Kind, after: int, **shape: Any) -> Fault:
    return Fault(where=Where.GET, kind=kind, after=after, **shape)


def fetch(kind: Kind, after: int, **shape: Any) -> Fault:
    return Fault(where=Where.DOWNLOAD, kind=kind, after=after, **shape)


FAULTS: dict[str, list[Fault]] = {
    "nothing": [],
    "refused key": [submit(Kind.ANSWER, 1, status=401, message=QUOTED)],
    "submits": [
        submit(Kind.ANSWER, 0, status=400, code=KEY, message=QUOTED),
        submit(Kind.OUTCOME, 1, text="failed", code=KEY, message=QUOTED),
        submit(Kind.ANSWER, 2, status=500, message=QUOTED, accept=True),
        submit(Kind.CUT, 3, accept=True),
        submit(Kind.NOT_HTTP, 4),
        submit(Kind.ANSWER, 5, status=500, body="no JSON", headers={"x-request-id": KEY}),
    ],
    "polls": [
        get(Kind.FIELDS, 0, fields={"seed": QUOTED, "usage": {QUOTED: QUOTED}}, times=None),
        get(Kind.CUT, 1),
        get(Kind.NOT_HTTP, 2),
        get(Kind.ANSWER, 3, status=503, body=f"<title>{QUOTED}</title>"),
    ],
    "downloads": [
        get(Kind.FIELDS, 0, fields=UNFETCHABLE, times=2),
        fetch(Kind.ANSWER, 0, status=403, message=QUOTED, times=3),
        fetch(Kind.ANSWER, 3, status=302, headers=REDIRECT),
        fetch(Kind.CUT, 4, at=100),
        fetch(Kind.HTML, 5),
        fetch(Kind.SHORT, 6),
    ],
}


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


class Trace:
    """Everything that anybody could read afterwards: streams, argument lists, files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.streams: list[tuple[str, bytes]] = []

    def call(self, server: SandboxServer, *arguments: str) -> int:
        told = callsheet(
            *arguments,
            cwd=self.root,
            MESHAPI_API_KEY=KEY,
            MESHAPI_BASE_URL=server.url,
            TOKEN=TOKEN,
            PATH=f"{self.root.parent / 'bin'}:{os.environ['PATH']}",
        )
        name = " ".join(arguments)
        self.streams += [(f"{name} stdout", told.stdout.encode()), (f"{name} stderr", told.stderr.encode())]
        return told.returncode

    def all(self) -> Iterator[tuple[str, bytes]]:
        yield from self.streams
        yield "arguments and environment of child processes", (self.root.parent / "arguments").read_bytes()
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and path.suffix != ".mp4" and path.name != "a.png":
                yield path.relative_to(self.root).as_posix(), path.read_bytes()


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """A project with an image; `git` on its PATH notes its arguments and environment."""
    root, programs = tmp_path / "project", tmp_path / "bin"
    root.mkdir()
    programs.mkdir()
    Image.new("RGB", (320, 320), "teal").save(root / "a.png")
    (root / "job.yaml").write_text(JOB)
    git = shutil.which("git")
    assert git is not None
    log = tmp_path / "arguments"
    (programs / "git").write_text(f'#!/bin/sh\n(echo "$@"; env) >> {log}\nexec {git} "$@"\n')
    (programs / "git").chmod(0o755)
    subprocess.run([git, "init", "-q", root], check=True)
    assert callsheet("-q", "init", cwd=root).returncode == 0
    return Trace(root)


@pytest.mark.parametrize("name", evidence_but(lambda name: name in ("submits", "downloads"), FAULTS))
def test_no_secret_is_left_anywhere(name: str, trace: Trace, server: SandboxServer) -> None:
    server.faults.add(*FAULTS[name])
    quiet = ["-q"] if name in ("nothing", "polls") else []
    trace.call(server, *quiet, "run", "job.yaml", "--allow-env", "TOKEN")
    for verb in (["status"], ["reconcile", "--output-format", "json"], ["collect"]):
        trace.call(server, *verb)
    assert server.faults.struck >= len(FAULTS[name])
    assert server.accepted >= 1

    found = dict(trace.all())
    for path in found:
        if "/ledger.db" in path:
            # the request as it was sent is kept there (0600): what the job itself puts into a URL too
            found[path] = found[path].replace(TOKEN.encode(), b"")
    assert "rehearsal/.callsheet/ledger.db" in found
    assert any(path.endswith("events.jsonl") for path in found)
    secrets = canaries(trace, server)
    assert [path for path, content in found.items() for secret in secrets if secret in content] == []


def canaries(trace: Trace, server: SandboxServer) -> list[bytes]:
    """The key, the variable's value, and what a signed URL or a data URI of this run would show."""
    image = base64.b64encode((trace.root / "a.png").read_bytes())
    signatures = [
        urlsplit(url).query.encode() for task in server.tasks() if (url := _result_url(server, task.id))
    ]
    assert signatures or not server.accepted
    return [KEY.encode(), TOKEN.encode(), SIGNED.encode(), image[40:120], *signatures]


def _result_url(server: SandboxServer, remote_id: str) -> str:
    answer = httpx.get(
        f"{server.url}/v1/video/generations/{remote_id}", headers={"Authorization": f"Bearer {KEY}"}
    )
    content = answer.json()["content"] if answer.status_code == 200 else None
    return content["video_url"] if content else ""


def test_the_search_would_find_them(trace: Trace, server: SandboxServer) -> None:
    """Otherwise the test above could not fail: a file that holds each canary is found."""
    assert trace.call(server, "run", "job.yaml", "--allow-env", "TOKEN") == 0
    planted = [canary for canary in canaries(trace, server) if canary != TOKEN.encode()]
    assert len(planted) >= 5
    for number, canary in enumerate(planted):
        assert len(canary) >= 16
        (trace.root / f"leak-{number}.txt").write_bytes(b"..." + canary + b"...")
    found = [path for path, content in trace.all() for canary in planted if canary in content]
    assert found == [f"leak-{number}.txt" for number in range(len(planted))]


def test_the_ledger_tells_keys_apart_by_a_salted_hash_alone(trace: Trace, server: SandboxServer) -> None:
    """The same key in another project has another hash."""
    assert trace.call(server, "run", "job.yaml", "--allow-env", "TOKEN") == 0
    manifest = json.loads((trace.root / "rehearsal/runs/latest/manifest.json").read_text())
    shown = manifest["tasks"][0]["attempts"][0]["key"]
    assert not hashlib.sha256(KEY.encode()).hexdigest().startswith(shown)
    other = trace.root / "other"
    other.mkdir()
    assert callsheet("-q", "init", cwd=other).returncode == 0
    shutil.copy(trace.root / "a.png", other)
    (other / "job.yaml").write_text(JOB)
    told = callsheet(
        "run", "other/job.yaml", "--allow-env", "TOKEN", cwd=trace.root,
        MESHAPI_API_KEY=KEY, MESHAPI_BASE_URL=server.url, TOKEN=TOKEN,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    elsewhere = json.loads((other / "rehearsal/runs/latest/manifest.json").read_text())
    assert elsewhere["tasks"][0]["attempts"][0]["key"] != shown
