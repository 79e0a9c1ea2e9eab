"""Runs with the provider of examples/provider-plugin: what each answer leads to, by the service's count."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from runner.__main__ import main
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.files_server import Connection, FilesServer, Seen
from tests.support.provider_plugin import plugin_installed

JOB = """\
version: 1
provider: replicate
models: [bytedance/seedance-2.0]
matrix: {shot: [tea, milk]}
request: {resolution: 480p, duration: 4}
content: [{type: text, text: "A cup of ${{ shot }}"}]
output: out/${{ shot }}.mp4
run: {settle: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


@dataclass(frozen=True)
class Plugin:
    root: Path
    server: SandboxServer

    def run(self, job: str = JOB, *options: str) -> int:
        file = self.root / "jobs" / "cups.yaml"
        file.write_text(job, encoding="utf-8")
        return main(["-q", "run", str(file), "--yes", "--base-url", self.server.url, *options])

    def fault(self, where: Where, kind: Kind, **shape: Any) -> None:
        self.server.faults.add(Fault(where=where, kind=kind, **shape))

    def upload(self) -> str:
        """The id of a file of the service that has a video's bytes."""
        content = next(self.root.rglob("tea.mp4")).read_bytes()
        url, key = f"{self.server.url}/v1/files", os.environ["REPLICATE_API_TOKEN"]
        made = httpx.post(url, files={"content": content}, headers={"Authorization": f"Bearer {key}"})
        return str(made.json()["id"])

    def lead_to(self, url: str) -> None:
        """Each prediction from now on has its result there."""
        self.fault(Where.GET, Kind.FIELDS, fields={"output": url}, times=None)

    @property
    def states(self) -> list[str]:
        newest = max(self.root.rglob("manifest.json"), key=lambda file: file.stat().st_mtime)
        return [task["state"] for task in json.loads(newest.read_text(encoding="utf-8"))["tasks"]]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_0123456789")
    config = SandboxConfig(provider="replicate", latency=(0.0, 0.0), scale=0.05)
    with plugin_installed(tmp_path / "plug-in"), SandboxServer(config) as server:
        root = tmp_path / "project"
        assert main(["-q", "init", str(root)]) == 0
        yield Plugin(root, server)


@pytest.mark.fault(98)
@pytest.mark.parametrize(
    "shape",
    [{"kind": Kind.CUT}, {"kind": Kind.ANSWER, "status": 503}, {"kind": Kind.NO_ID}],
    ids=["cut", "503", "no id"],
)
def test_an_accepted_submit_whose_answer_is_lost_is_found_by_its_input(
    plugin: Plugin, shape: dict[str, Any]
) -> None:
    accept = {} if shape["kind"] is Kind.NO_ID else {"accept": True}
    plugin.fault(Where.SUBMIT, **shape, **accept)
    assert plugin.run() == 0
    assert (plugin.server.accepted, plugin.states) == (2, ["done", "done"])


@pytest.mark.fault(99)
def test_an_unclear_submit_whose_input_was_wiped_is_neither_adopted_nor_bought_again(plugin: Plugin) -> None:
    plugin.fault(Where.SUBMIT, Kind.CUT, accept=True)
    for where in (Where.LIST, Where.GET):
        plugin.fault(where, Kind.NULL_ECHOES, times=None)
    assert plugin.run() == 5
    assert plugin.server.accepted == 2
    assert sorted(plugin.states) == ["done", "held"]


@pytest.mark.fault(100)
def test_a_prediction_whose_output_is_gone_stays_wanted_within_its_records_life(plugin: Plugin) -> None:
    wiped = {"data_removed": True, "input": {}, "output": None}
    plugin.fault(Where.GET, Kind.FIELDS, fields=wiped, times=None)
    assert plugin.run(JOB, "--deadline", "1s") == 75
    plugin.server.faults.clear()
    assert plugin.run() == 0
    assert plugin.server.accepted == 2


@pytest.mark.fault(101)
@pytest.mark.parametrize(
    ("status", "title", "code"),
    [
        (400, "Invalid version or not permitted", 1),
        (422, "Input validation failed", 1),
        (404, "Not found", 1),
        (413, "Payload Too Large", 1),
        (401, "Unauthenticated", 77),
        (403, "Forbidden", 77),
        (402, "Payment Required", 4),
    ],
)
def test_a_refusal_fails_its_task_or_stops_the_key(
    plugin: Plugin, status: int, title: str, code: int
) -> None:
    plugin.fault(Where.SUBMIT, Kind.ANSWER, status=status, code=title, times=None)
    assert plugin.run() == code
    assert plugin.server.accepted == 0
    plugin.server.faults.clear()


@pytest.mark.fault(101)
def test_a_throttled_submit_is_sent_again_as_the_text_says(plugin: Plugin) -> None:
    told = json.dumps({"detail": "Request was throttled. Your rate limit resets in ~0.1s."})
    plugin.fault(Where.SUBMIT, Kind.ANSWER, status=429, body=told)
    assert plugin.run() == 0
    assert plugin.server.accepted == 2


@pytest.mark.fault(102)
@pytest.mark.parametrize(("ends", "spent"), [("expired", "0.00"), ("cancelled", None)])
def test_only_a_prediction_that_had_not_begun_is_known_to_be_free(
    plugin: Plugin, ends: str, spent: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.fault(Where.SUBMIT, Kind.OUTCOME, text=ends, times=None)
    assert plugin.run() == 1
    newest = next(plugin.root.rglob("manifest.json"))
    tasks = json.loads(newest.read_text(encoding="utf-8"))["tasks"]
    assert {task["attempts"][0]["cost_usd"] for task in tasks} == {spent}


def test_a_result_at_the_apis_own_origin_is_fetched_with_the_key(plugin: Plugin) -> None:
    assert plugin.run() == 0
    plugin.lead_to(f"{plugin.server.url}/v1/files/{plugin.upload()}/download")
    assert plugin.run(JOB.replace("tea, milk", "rum")) == 0
    assert (plugin.server.accepted, plugin.states) == (3, ["done"])


@pytest.mark.security(8)
def test_a_result_at_another_origin_never_gets_the_key(plugin: Plugin) -> None:
    """Refused without the key, it is left for later."""

    def refuse(_seen: Seen, connection: Connection) -> None:
        connection.head(401, {"Content-Length": 0})

    with FilesServer(refuse) as elsewhere:
        plugin.lead_to(elsewhere.url())
        assert plugin.run(JOB, "--deadline", "1s") == 75
        assert elsewhere.seen
        assert not any("authorization" in seen.headers for seen in elsewhere.seen)
