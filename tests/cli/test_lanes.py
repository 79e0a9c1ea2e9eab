"""Several services and several jobs in one process, as a user meets them: real servers on loopback, named as
accounts, so that nothing here is a rehearsal.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.__main__ import main
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.deadline import deadline_once

HOUSE = """\
version: 1
accounts:
  acme: {{provider: mesh, base_url: "{acme}", api_key_env: ACME_KEY}}
  globe: {{provider: getimg, base_url: "{globe}", api_key_env: GLOBE_KEY}}
"""
MIXED = """\
version: 1
models:
  - {{id: byteplus/seedance-1-0-pro, at: acme, name: one}}
  - {{id: seedance-2-0, at: globe, name: two}}
samples: 2
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content: [{{type: text, text: {text}}}]
output: {folder}/${{{{ model }}}}-${{{{ sample }}}}.mp4
run: {{settle: 0s, poll: {{first: 20ms, min: 20ms, max: 50ms}}}}
"""


@dataclass(slots=True)
class House:
    """A project with two accounts, each at a server of its own."""

    root: Path
    servers: dict[str, SandboxServer]
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def write(self, name: str, *, text: str = "a teapot", folder: str = "out") -> str:
        (self.root / name).write_text(MIXED.format(text=text, folder=folder), encoding="utf-8")
        return name

    def call(self, *arguments: str) -> int:
        self.capsys.readouterr()
        code = main(list(arguments))
        self.out, self.err = self.capsys.readouterr()
        return code

    def states(self) -> Counter[str]:
        manifest: Any = json.loads((self.root / "runs/latest/manifest.json").read_text())
        return Counter(task["state"] for task in manifest["tasks"])

    @property
    def accepted(self) -> dict[str, int]:
        return {name: server.accepted for name, server in self.servers.items()}


@pytest.fixture
def house(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[House]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_KEY", "rsk_acme")
    monkeypatch.setenv("GLOBE_KEY", "rsk_globe")
    assert main(["-q", "init"]) == 0
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)))
            for name in ("acme", "globe")
        }
        urls = {name: server.url for name, server in servers.items()}
        (tmp_path / "callsheet.yaml").write_text(HOUSE.format(**urls), encoding="utf-8")
        yield House(tmp_path, servers, capsys)


def test_one_job_runs_over_two_services(house: House) -> None:
    assert house.call("run", house.write("mix.yaml")) == 0, house.err
    assert house.accepted == {"acme": 2, "globe": 2}
    assert house.states() == {"done": 4}
    assert sorted(path.name for path in (house.root / "out").iterdir()) == [
        "one-1.mp4",
        "one-2.mp4",
        "two-1.mp4",
        "two-2.mp4",
    ]
    lines = [json.loads(line) for line in (house.root / "runs/latest/events.jsonl").read_text().splitlines()]
    assert {line["account"] for line in lines if line["event"] == "task.done"} == {"acme", "globe"}
    assert house.call("run", "mix.yaml") == 0
    assert house.call("resume") == 0
    assert house.accepted == {"acme": 2, "globe": 2}


@pytest.mark.parametrize(("status", "code"), [(401, 77), (402, 4)])
@pytest.mark.fault(108)
def test_a_refused_account_is_named_and_the_other_is_done(house: House, status: int, code: int) -> None:
    house.servers["acme"].faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=status, code="no", times=None)
    )
    assert house.call("run", house.write("mix.yaml")) == code
    assert house.states() == {"done": 2, "planned": 2}
    assert "acme: " in house.err
    house.servers["acme"].faults.clear()
    assert house.call("run", "mix.yaml") == 0
    assert house.accepted == {"acme": 2, "globe": 2}


@pytest.mark.fault(111)
def test_a_missing_key_leaves_the_tasks_of_its_account(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOBE_KEY")
    assert house.call("run", house.write("mix.yaml")) == 77
    assert "account globe: no API key for getimg: GLOBE_KEY not set" in house.err
    assert "nothing more is submitted at globe: account globe" in house.err
    assert house.accepted == {"acme": 2, "globe": 0}
    assert house.states() == {"done": 2, "planned": 2}
    monkeypatch.setenv("GLOBE_KEY", "rsk_globe")
    assert house.call("run", "mix.yaml") == 0
    assert house.accepted == {"acme": 2, "globe": 2}


def test_where_every_key_is_missing_each_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_KEY")
    monkeypatch.delenv("GLOBE_KEY")
    assert house.call("run", house.write("mix.yaml")) == 77
    assert "ACME_KEY not set; account globe: no API key for getimg: GLOBE_KEY not set" in house.err


@pytest.mark.fault(113)
def test_collect_brings_home_every_lane_whose_key_is_here(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in house.servers.values():
        server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    assert house.call("run", house.write("mix.yaml"), "--deadline", "2s") == 75
    assert house.accepted == {"acme": 2, "globe": 2}
    for server in house.servers.values():
        server.faults.clear()
    monkeypatch.delenv("ACME_KEY")
    assert house.call("collect") == 77
    assert f"globe at {house.servers['globe'].url}: 2 done" in house.out
    assert f"acme at {house.servers['acme'].url}: 2 in flight" in house.out
    assert house.call("collect", "--output-format", "json") == 77
    told = {each["account"]: each for each in json.loads(house.out)["services"]}
    assert told["acme"]["counts"] == {"submitted": 2}
    assert "account acme" in told["acme"]["reasons"][0]
    assert house.states() == {"done": 2, "submitted": 2}
    monkeypatch.setenv("ACME_KEY", "rsk_acme")
    assert house.call("collect") == 0
    assert house.states() == {"done": 4}
    assert house.accepted == {"acme": 2, "globe": 2}


@pytest.mark.fault(113)
@pytest.mark.parametrize(
    ("line", "left"), [("  acme: {provider: mesh,", "  acme: {provder: mesh,"), ("  acme: {", "  x-acme: {")]
)
def test_collect_knows_the_keys_of_an_account_that_the_project_file_no_longer_tells(
    line: str, left: str, house: House
) -> None:
    """A slip in its line, or none of it left: the ledger alone tells its variable, which holds the key."""
    house.servers["acme"].faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    assert house.call("run", house.write("mix.yaml"), "--deadline", "2s") == 75
    house.servers["acme"].faults.clear()
    settings = house.root / "callsheet.yaml"
    settings.write_text(settings.read_text().replace(line, left))
    assert house.call("collect") == 0, house.err
    assert len([*(house.root / "out").glob("one-*.mp4")]) == 2
    assert house.accepted == {"acme": 2, "globe": 2}


def test_jobs_go_side_by_side_and_are_told_in_the_order_of_the_line(house: House) -> None:
    files = [house.write(f"{each}.yaml", text=each, folder=each) for each in ("b", "a", "c")]
    assert house.call("run", *files, "--output-format", "json") == 0
    assert [each["job"] for each in json.loads(house.out)] == files
    assert house.accepted == {"acme": 6, "globe": 6}


@pytest.mark.fault(110)
def test_a_task_of_two_jobs_is_paid_for_once(house: House) -> None:
    files = [house.write(f"{each}.yaml", folder=each) for each in ("a", "b")]
    assert house.call("run", *files) == 0, house.err
    assert house.accepted == {"acme": 2, "globe": 2}
    assert len(list((house.root / "a").iterdir())) == len(list((house.root / "b").iterdir())) == 4


def test_a_job_that_is_refused_stops_no_other(house: House) -> None:
    files = [house.write("a.yaml", text="a"), house.write("b.yaml", text="b")]
    assert house.call("run", *files) == 3
    assert "b.yaml: out/one-1.mp4 is also made by a.yaml, from another request" in house.err
    assert house.accepted == {"acme": 2, "globe": 2}


def test_nothing_is_sent_where_one_job_is_invalid(house: House) -> None:
    (house.root / "taken").mkdir()
    for name in ("one-1.mp4", "one-2.mp4", "two-1.mp4", "two-2.mp4"):
        (house.root / "taken" / name).write_bytes(b"somebody's own")
    files = [house.write("a.yaml", folder="a"), house.write("b.yaml", text="b", folder="taken")]
    assert house.call("run", *files) == 65
    assert house.accepted == {"acme": 0, "globe": 0}


def test_a_job_that_would_be_half_rehearsed_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        MIXED.format(text="a", folder="out")
        .replace("at: acme", "at: mesh")
        .replace("at: globe", "at: getimg")
    )
    (house.root / "mix.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MESHAPI_BASE_URL", house.servers["acme"].url)
    monkeypatch.setenv("GETIMG_AI_BASE_URL", "https://gateway.example")
    assert house.call("run", "mix.yaml") == 2
    assert "half of this job would be a rehearsal" in house.err
    monkeypatch.delenv("GETIMG_AI_BASE_URL")
    for name in ("MESHAPI_API_KEY", "GETIMG_API_KEY"):
        monkeypatch.setenv(name, "rsk_here")
    assert house.call("run", "mix.yaml") == 0, house.err
    assert house.accepted == {"acme": 4, "globe": 0}
    assert (house.root / "rehearsal" / "out").is_dir()


def test_a_rehearsal_ignores_the_accounts_servers_and_keys(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACME_KEY")
    monkeypatch.delenv("GLOBE_KEY")
    assert house.call("run", house.write("mix.yaml"), "--sandbox") == 0, house.err
    assert house.accepted == {"acme": 0, "globe": 0}


@pytest.mark.fault(119)
def test_the_key_of_an_account_of_another_job_is_refused_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two accounts would have a budget of its own for what one key pays."""
    acme = house.servers["acme"].url
    text = (house.root / "callsheet.yaml").read_text(encoding="utf-8")
    twin = f'  twin: {{provider: mesh, base_url: "{acme}", api_key_env: TWIN_KEY}}\n'
    (house.root / "callsheet.yaml").write_text(text + twin, encoding="utf-8")
    monkeypatch.setenv("TWIN_KEY", "rsk_acme")
    assert house.call("run", house.write("a.yaml")) == 77
    assert "the accounts `acme` and `twin` have the same key" in house.err
    assert set(house.accepted.values()) == {0}
    monkeypatch.setenv("TWIN_KEY", "rsk_twin")
    assert house.call("run", "a.yaml") == 0


def test_all_is_rehearsed_at_a_base_url_that_an_account_names_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the job would be real otherwise, and be paid for."""
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_mesh")
    monkeypatch.setenv("GETIMG_API_KEY", "rsk_getimg")
    acme = house.servers["acme"].url
    assert house.call("run", house.write("a.yaml"), "--base-url", acme) == 0, house.err
    assert len(list((house.root / "rehearsal/out").glob("*.mp4"))) == 4
    assert not (house.root / "out").exists()
    assert house.accepted == {"acme": 4, "globe": 0}


def test_an_account_whose_loopback_address_is_spelled_anew_is_the_same_server(house: House) -> None:
    """What is in flight, or in doubt, is not bought once more under the other name."""
    house.servers["acme"].faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, times=None),
        Fault(where=Where.LIST, kind=Kind.HIDDEN, times=None),
    )
    job = house.write("a.yaml")
    house.call("run", job, "--deadline", "2s")
    file = house.root / "callsheet.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("127.0.0.1", "localhost"), encoding="utf-8")
    for server in house.servers.values():
        server.faults.clear()
    house.call("run", job, "--deadline", "30s")
    assert house.accepted == {"acme": 2, "globe": 2}
    assert house.states() == {"done": 4}


def test_what_an_account_has_in_flight_is_fetched_where_it_led_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the account leads elsewhere now, its key still goes to the server that had it. Where nobody has
    that key, `collect` says so: no paid task ends by silence.
    """
    down = Fault(where=Where.DOWNLOAD, kind=Kind.ANSWER, status=503, times=None)
    house.servers["acme"].faults.add(down)
    house.call("run", house.write("a.yaml"), "--deadline", "3s")
    house.servers["acme"].faults.clear()
    file = house.root / "callsheet.yaml"
    text, acme = file.read_text(encoding="utf-8"), house.servers["acme"].url
    file.write_text("".join(line for line in text.splitlines(True) if "acme" not in line), encoding="utf-8")
    monkeypatch.delenv("ACME_KEY")
    assert house.call("collect") == 77
    assert f"the key that was used at {acme} is not set" in house.err
    monkeypatch.setenv("ACME_KEY", "rsk_acme")
    file.write_text(text.replace(acme, "http://127.0.0.1:9"), encoding="utf-8")
    assert house.call("collect") == 0, house.err
    assert house.accepted == {"acme": 2, "globe": 2}
    assert len(list((house.root / "out").glob("*.mp4"))) == 4


@pytest.mark.parametrize(
    ("account", "provider", "model"),
    [
        ("mesh", "mesh", "byteplus/dreamina-seedance-2-0-260128"),
        ("ours", "getimg", "seedance-2-0"),
        ("ours", "ark", "dreamina-seedance-2-0-260128"),
        ("fal", "fal", "bytedance/seedance-2.0/text-to-video"),
    ],
)
def test_a_person_adopts_a_generation_of_an_account(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    account: str,
    provider: str,
    model: str,
) -> None:
    """It is looked up where the account leads, with its key and by its model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUR_KEY", "rsk_ours")
    assert main(["-q", "init"]) == 0
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0))) as server:
        house = House(tmp_path, {account: server}, capsys)
        said = f'{{provider: {provider}, base_url: "{server.url}", api_key_env: OUR_KEY}}'
        (tmp_path / "callsheet.yaml").write_text(
            f"version: 1\naccounts:\n  {account}: {said}\n", encoding="utf-8"
        )
        (tmp_path / "a.yaml").write_text(
            "version: 1\n"
            f"models: [{{id: {model}, at: {account}}}]\n"
            "request: {resolution: 480p, ratio: 16:9, duration: 4}\n"
            "content: [{type: text, text: a teapot}]\n"
            "output: out/teapot.mp4\n"
            "run: {timeout: 1s, settle: 0s, settle_alone: 0s,"
            " poll: {first: 20ms, min: 20ms, max: 50ms}}\n",
            encoding="utf-8",
        )
        lost = {"where": Where.SUBMIT, "kind": Kind.CUT, "accept": True}
        server.faults.add(Fault(**lost), Fault(where=Where.LIST, kind=Kind.HIDDEN, times=None))
        house.call("run", "a.yaml")
        (paid,) = server.tasks()
        server.faults.clear()
        assert house.call("reconcile", "teapot", "--adopt", paid.id) == 0, house.err
        assert house.call("collect") == 0, house.err
        assert house.call("run", "a.yaml") == 0
        assert (server.accepted, house.states()) == (1, {"done": 1})


def test_a_task_in_doubt_is_adopted_at_the_account_that_submitted_it(house: House) -> None:
    house.servers["globe"].faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True))
    assert house.call("run", house.write("mix.yaml")) == 5
    manifest: Any = json.loads((house.root / "runs/latest/manifest.json").read_text())
    held = next(task for task in manifest["tasks"] if task["state"] == "held")
    claimed = {attempt["remote_id"] for task in manifest["tasks"] for attempt in task["attempts"]}
    (mine,) = {task.id for task in house.servers["globe"].tasks()} - claimed
    assert house.call("reconcile", held["name"], "--adopt", mine, "--yes") == 0, house.err
    assert house.call("run", "mix.yaml") == 0
    assert house.states() == {"done": 4}
    assert house.accepted == {"acme": 2, "globe": 2}


@pytest.mark.security(16)
@pytest.mark.parametrize("verb", [("collect", "--give-up", "one-1", "--yes"), ("collect",)])
def test_a_manifest_that_is_written_again_holds_the_key_of_no_account(
    house: House, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """That of `globe`, which has no known form, and nothing in flight any more. Its variable has changed."""
    key, settings = "globe-0123456789", house.root / "callsheet.yaml"
    monkeypatch.setenv("GLOBE_KEY", key)
    assert house.call("run", house.write("mix.yaml", text=f"a teapot {key}"), "--only", "two-*") == 0
    stuck = house.servers["acme"].faults
    stuck.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    with deadline_once(lambda: house.accepted["acme"] == 2):
        assert house.call("run", "mix.yaml", "--deadline", "60s") == 75
    stuck.clear()
    settings.write_text(settings.read_text().replace("GLOBE_KEY", "NEW_GLOBE_KEY"))
    assert house.call(*verb) == 0, house.err
    text = (house.root / "runs/latest/manifest.json").read_text()
    assert "a teapot [secret]" in text
    assert key not in text + house.out + house.err


def test_show_names_the_account_and_its_command_reaches_it(house: House) -> None:
    assert house.call("run", house.write("mix.yaml")) == 0, house.err
    assert house.call("show", "one-1") == 0
    assert "1. by run, account acme, " in house.out
    assert house.call(*_first_command(house.err)) == 0, house.err
    assert house.accepted == {"acme": 3, "globe": 2}
    assert house.call("show", "one-1", "--output-format", "json") == 0
    assert [attempt["account"] for attempt in json.loads(house.out)[0]["attempts"]] == ["acme", "acme"]


def test_show_leads_to_the_rehearsal_of_a_server_of_ones_own(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_rehearsal")
    monkeypatch.setenv("GETIMG_API_KEY", "rsk_rehearsal")
    url = house.servers["acme"].url
    assert house.call("run", house.write("mix.yaml"), "--base-url", url) == 0, house.err
    assert house.call("show", "two-1") == 0
    assert house.call(*_first_command(house.err)) == 0, house.err
    assert house.accepted == {"acme": 5, "globe": 0}


def test_show_says_what_to_put_back_where_an_account_moved_or_went(house: House) -> None:
    assert house.call("run", house.write("mix.yaml"), "--only", "one-1") == 0, house.err
    file, url = house.root / "callsheet.yaml", house.servers["acme"].url
    said = file.read_text()
    file.write_text(said.replace(url, "https://mesh.studio.example"))
    assert house.call("show", "one-1") == 0
    assert f'leads to https://mesh.studio.example now; first put back its `base_url: "{url}"`' in house.err
    file.write_text(said.replace("acme: ", "other: "))
    assert house.call("show", "one-1") == 0
    assert "names no account `acme` now; first put it back" in house.err
    file.write_text(said.replace("127.0.0.1", "localhost"))
    assert house.call("show", "one-1") == 0
    assert "put" not in house.err
    assert house.call(*_first_command(house.err)) == 0, house.err
    assert house.accepted == {"acme": 2, "globe": 0}


def _first_command(told: str) -> list[str]:
    """What the first line of advice says to type."""
    line = next(line for line in told.splitlines() if line.startswith("next: callsheet "))
    return shlex.split(line.removeprefix("next: callsheet ").partition("    ")[0])
