"""`callsheet models --refresh`: what services publish is written, told, and never believed blindly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.job.models_lock import LOCK_FILE
from runner.job.project.load_lock import load_models_lock
from tests.support.wire_server import WireServer, answer, serve

ID = "byteplus/dreamina-seedance-2-0"


class Service:
    """The models that a Mesh on loopback publishes; `body` is sent as it is."""

    def __init__(self) -> None:
        self.body: object = {"data": []}
        self.status = 200

    def publish(self, **prices: object) -> None:
        """One model for each keyword, its pricing the value."""
        self.body = {"data": [{"id": name, "pricing": pricing} for name, pricing in prices.items()]}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert main(["-q", "init", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_test")
    monkeypatch.delenv("GETIMG_API_KEY", raising=False)
    return tmp_path


@pytest.fixture
def service(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    played = Service()

    def script(peer: Any) -> None:
        while request := peer.read_request():
            server.requests.append(request)
            peer.send(answer(played.status, played.body))

    server: WireServer
    with serve(script) as server:
        monkeypatch.setenv("MESHAPI_BASE_URL", server.origin)
        yield played
        assert all(request.startswith(b"GET /v1/models?type=video ") for request in server.requests)


def mesh_models(root: Path) -> dict[str, Any]:
    found = load_models_lock(root / "rehearsal").services
    return dict(found["mesh"].models) if "mesh" in found else {}


def refresh(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    """The exit code, the lines on stdout, and stderr."""
    capsys.readouterr()
    code = main(["-q", "models", "--refresh"])
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err


def test_the_sandboxes_are_asked_and_written_and_a_second_time_nothing_is_new(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "--refresh", "--sandbox"]) == 0
    assert f"new    mesh: {ID}: USD 7.7 per million tokens" in capsys.readouterr().out
    first = (root / "rehearsal" / LOCK_FILE).read_text()
    assert main(["models", "--refresh", "--sandbox", "--output-format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(each["provider"], each["changes"]) for each in document["services"]] == [
        ("mesh", []),
        ("getimg", []),
        ("fal", []),
    ]
    again = (root / "rehearsal" / LOCK_FILE).read_text()
    assert [line for line in first.splitlines() if "asked" not in line] == [
        line for line in again.splitlines() if "asked" not in line
    ]
    assert not (root / LOCK_FILE).exists()


@pytest.mark.parametrize("named", ["studio: {provider: mesh, api_key_env: STUDIO_KEY, ", "mesh: {"])
def test_an_account_of_the_project_file_is_asked_where_it_says(
    named: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MESHAPI_BASE_URL", raising=False)
    monkeypatch.delenv("FAL_KEY", raising=False)
    if named.startswith("studio"):
        monkeypatch.delenv("MESHAPI_API_KEY")
        monkeypatch.setenv("STUDIO_KEY", "rsk_studio")

    def script(peer: Any) -> None:
        while request := peer.read_request():
            server.requests.append(request)
            peer.send(answer(200, {"data": [{"id": ID, "pricing": {}}]}))

    server: WireServer
    with serve(script) as server:
        (root / "callsheet.yaml").write_text(
            f"version: 1\naccounts:\n  {named}base_url: '{server.origin}'}}\n"
        )
        assert refresh(capsys)[0] == 0
    assert len(server.requests) == 1
    assert ID in load_models_lock(root).services["mesh"].models


def test_new_gone_and_changed_are_told(
    root: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.publish(a={"output_usd_per_1m": "9.50"}, b={"request_usd": "0.5"}, c=None)
    code, lines, _ = refresh(capsys)
    assert code == 0
    assert lines == [
        "new    mesh: a: USD 9.50 per million tokens",
        "new    mesh: b: USD 0.5 per task",
        "new    mesh: c: no price",
    ]
    service.publish(a={"output_usd_per_1m": "8"}, c=None, d=None)
    assert refresh(capsys)[1] == [
        "price  mesh: a: USD 9.50 per million tokens -> USD 8 per million tokens",
        "gone   mesh: b",
        "new    mesh: d: no price",
    ]


@pytest.mark.parametrize("pricing", [{"output_usd_per_1m": "0.01"}, {"request_usd": "0.000001"}])
def test_a_price_below_the_public_one_is_told_as_what_it_does_to_caps(
    root: Path, service: Service, capsys: pytest.CaptureFixture[str], pricing: dict[str, str]
) -> None:
    service.publish(**{ID: pricing})
    told = [line for line in refresh(capsys)[1] if line.startswith("lower")]
    assert len(told) == 1
    assert "where USD 7.0 per million tokens is public; estimates and caps go by it" in told[0]


@pytest.mark.parametrize(
    "price", ["-3", -3, "NaN", "Infinity", "1e400", "free", "", [7], True, 0, "0.00", "1000000", "7\u202e"]
)
def test_what_is_no_price_is_left_out_and_told_and_the_model_has_none(
    root: Path, service: Service, capsys: pytest.CaptureFixture[str], price: object
) -> None:
    service.publish(good={"output_usd_per_1m": "7"}, bad={"output_usd_per_1m": price})
    code, _, told = refresh(capsys)
    assert code == 0
    assert "mesh: left out: bad: no price: " in told
    assert "\u202e" not in told
    assert (len(mesh_models(root)["good"]), mesh_models(root)["bad"]) == (1, ())


@pytest.mark.parametrize("name", ["", "a b", "a\x1b[31m", "ä", "x" * 300, 7, None, "\u202eabc", '"', "a\nb"])
def test_an_id_that_could_do_harm_is_left_out_and_told(
    root: Path, service: Service, capsys: pytest.CaptureFixture[str], name: object
) -> None:
    service.body = {"data": [{"id": name}, {"id": "good"}]}
    code, _, told = refresh(capsys)
    assert code == 0
    assert "mesh: left out: row 1: has no usable id" in told
    assert "\x1b" not in told
    assert list(mesh_models(root)) == ["good"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"data": [{"id": f"m{number}"} for number in range(10_000)]},
            "lists 10000 models, more than the 1000",
        ),
        ({"data": []}, "lists no models"),
        ({"data": [{"id": ""}]}, "lists no model with a usable id"),
        ({"data": {"id": "a"}}, "lists no models"),
        (b"<html>", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[" + b" " * (2 << 20) + b"]", "larger than 1 MiB"),
    ],
)
def test_an_answer_that_is_no_list_of_models_changes_nothing(
    root: Path, service: Service, capsys: pytest.CaptureFixture[str], body: object, said: str
) -> None:
    service.publish(a={"output_usd_per_1m": "9.5"})
    assert refresh(capsys)[0] == 0
    before = (root / "rehearsal" / LOCK_FILE).read_bytes()
    service.body = body
    code, lines, told = refresh(capsys)
    assert code == ExitCode.UNREACHABLE
    assert lines == []
    assert said in told
    assert "its part of models.lock.yaml stays as it was" in told
    assert (root / "rehearsal" / LOCK_FILE).read_bytes() == before


def test_a_model_that_is_listed_twice_has_no_price(
    root: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": "a", "pricing": {"output_usd_per_1m": usd}} for usd in ("7", "1")]
    service.body = {"data": rows}
    assert "left out: a: no price: it is listed twice" in refresh(capsys)[2]
    assert mesh_models(root) == {"a": ()}


def test_without_a_key_nobody_is_asked(
    root: Path, service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHAPI_API_KEY")
    assert refresh(capsys)[0] == ExitCode.KEY_REFUSED


def test_it_is_about_all_models(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--refresh", ID]) == ExitCode.USAGE
