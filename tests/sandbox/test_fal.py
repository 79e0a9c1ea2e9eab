"""fal's side of the sandbox, over its wire."""

from __future__ import annotations

import hashlib
import http.server
import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.sandbox_requests import NO_TLS, connect

MODEL = "bytedance/seedance-2.0/text-to-video"
HISTORY = "/v1/models/requests/by-endpoint"


@pytest.fixture
def fal(server: SandboxServer) -> Iterator[httpx.Client]:
    with keyed(server) as client:
        yield client


@contextmanager
def keyed(server: SandboxServer, key: str = "Key id:secret") -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Authorization": key}, verify=NO_TLS) as client:
        yield client


def submit(client: httpx.Client, model: str = MODEL, query: str = "", **fields: Any) -> dict[str, Any]:
    answer = client.post(f"/{model}{query}", json={"prompt": "A teapot", "duration": "4", **fields})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-fal-request-id"]
    document: dict[str, Any] = answer.json()
    return document


def history(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.get(HISTORY, params={"endpoint_id": MODEL, "expand": "payloads", **query})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_the_urls_drop_what_is_below_the_app(server: SandboxServer, fal: httpx.Client) -> None:
    accepted = submit(fal)
    own = f"{server.url}/bytedance/seedance-2.0/requests/{accepted['request_id']}"
    assert (accepted["response_url"], accepted["status_url"]) == (own, f"{own}/status")
    assert fal.get(accepted["status_url"]).json()["status"] == "COMPLETED"
    assert fal.get(accepted["response_url"]).json()["video"]["content_type"] == "video/mp4"
    assert fal.get(own.replace("seedance-2.0", "seedance-2.5") + "/status").status_code == 404


def test_a_status_is_202_until_the_end_and_the_result_400() -> None:
    with SandboxServer(SandboxConfig(latency=(60, 60))) as server, keyed(server) as fal:
        accepted = submit(fal)
        status = fal.get(accepted["status_url"])
        assert (status.status_code, status.json()["status"]) == (202, "IN_QUEUE")
        assert fal.get(accepted["response_url"]).status_code == 400
        assert history(fal)["items"] == []
        assert fal.put(accepted["cancel_url"]).status_code == 202
        assert fal.get(accepted["status_url"]).json() == {"status": "NOT_FOUND"}


@pytest.mark.parametrize("key", ["", "Bearer id:secret", "Key "])
def test_another_scheme_is_refused(server: SandboxServer, key: str) -> None:
    with httpx.Client(base_url=server.url, headers={"Authorization": key.strip()}, verify=NO_TLS) as fal:
        answer = fal.post(f"/{MODEL}", json={"prompt": "A teapot"})
    assert (answer.status_code, answer.json()["error_type"]) == (401, "authorization_error")


def test_paths_of_other_services_are_theirs(server: SandboxServer, fal: httpx.Client) -> None:
    with connect(server) as mesh:
        assert mesh.post("/v1/video/generations/more", json={}).status_code in (404, 405)
        assert mesh.get("/v2/nothing/here").status_code == 404
    assert fal.post("/alone", json={}).status_code == 404
    assert server.accepted == 0


def test_the_history_shows_inputs_newest_first_and_by_pages(fal: httpx.Client) -> None:
    ids = [submit(fal, prompt=f"Teapot {number}")["request_id"] for number in range(3)]
    submit(fal, model="bytedance/seedance-2.5/text-to-video")
    first = history(fal, limit=2)
    assert [row["request_id"] for row in first["items"]] == ids[:0:-1]
    assert first["items"][0]["json_input"] == {"prompt": "Teapot 2", "duration": "4"}
    rest = history(fal, limit=2, cursor=first["next_cursor"])
    assert ([row["request_id"] for row in rest["items"]], rest["has_more"]) == (ids[:1], False)
    assert [row["request_id"] for row in history(fal, request_id=ids[1])["items"]] == ids[1:2]
    assert history(fal, start="2100-01-01T00:00:00Z")["items"] == []
    assert "json_input" not in history(fal, expand="")["items"][0]
    assert fal.get(HISTORY).status_code == 422


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [("content_policy_violation", 422, "user_error"), ("runner_disconnected", 503, "error")],
)
def test_the_history_tells_how_a_request_ended(
    server: SandboxServer, fal: httpx.Client, code: str, status: int, kind: str
) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, code=code, message="no"))
    submit(fal)
    assert [row["status_code"] for row in history(fal, status=kind)["items"]] == [status]
    assert history(fal, status="success")["items"] == []


def test_faults_of_a_list_strike_the_history(server: SandboxServer, fal: httpx.Client) -> None:
    submit(fal)
    for kind, shape, seen in (
        (Kind.HIDDEN, {}, 0),
        (Kind.LAG, {"seconds": 60.0}, 0),
        (Kind.ENDLESS, {}, 1),
        (Kind.NULL_ECHOES, {}, 1),
    ):
        server.faults.add(Fault(where=Where.LIST, kind=kind, **shape))
        page = history(fal)
        assert len(page["items"]) == seen, kind
        assert page["has_more"] is (kind is Kind.ENDLESS)
    assert page["items"][0]["json_input"] is None


def test_the_first_frame_of_a_video_is_an_upload(server: SandboxServer, fal: httpx.Client) -> None:
    token = fal.post("/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
    assert fal.post("/files/upload", content=b"x").status_code == 401
    headers = {"Authorization": f"{token['token_type']} {token['token']}", "Content-Type": "image/png"}
    url = fal.post("/files/upload", content=b"not a picture", headers=headers).json()["access_url"]
    model = "bytedance/seedance-2.0/image-to-video"
    broken = fal.get(submit(fal, model=model, image_url=url)["response_url"])
    assert broken.json()["detail"][0]["type"] == "value_error"
    missing = fal.get(submit(fal, model=model)["response_url"])
    assert missing.json()["detail"][0]["loc"] == ["body", "image_url"]


def test_prices_are_those_of_the_endpoints_that_are_asked_for(fal: httpx.Client) -> None:
    answer = fal.get("/v1/models/pricing", params={"endpoint_id": f"{MODEL},fal-ai/unknown"})
    assert [(row["endpoint_id"], row["unit"]) for row in answer.json()["prices"]] == [(MODEL, "second")]


def test_a_locked_account_is_told_by_its_balance(fal: httpx.Client) -> None:
    with SandboxServer(SandboxConfig(spend_cap=0)) as server, keyed(server) as locked:
        answer = locked.post(f"/{MODEL}", json={"prompt": "A teapot"})
    assert answer.status_code == 403
    assert "balance" in answer.json()["detail"]


@contextmanager
def listener() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A webhook, and what is told to it."""
    calls: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}/hook", calls
        finally:
            served.shutdown()
            thread.join()


def is_signed(key: Ed25519PublicKey, headers: dict[str, str], body: bytes) -> bool:
    said = [headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")]
    message = "\n".join([*said, hashlib.sha256(body).hexdigest()]).encode()
    try:
        key.verify(bytes.fromhex(headers["x-fal-webhook-signature"]), message)
    except InvalidSignature:
        return False
    return True


def test_a_call_is_signed_by_the_published_key_and_a_forged_one_is_not() -> None:
    with (
        listener() as (url, calls),
        SandboxServer(SandboxConfig(latency=(0.1, 0.1), scale=0.05)) as server,
        keyed(server) as fal,
    ):
        server.faults.add(Fault(where=Where.WEBHOOK, kind=Kind.FORGE))
        accepted = submit(fal, query=f"?fal_webhook={url}")
        while len(calls) < 2:
            pass
        (key,) = fal.get("/.well-known/jwks.json").json()["keys"]
    public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "="))
    assert [is_signed(public, *call) for call in calls] == [False, True]
    assert f'"request_id":"{accepted["request_id"]}"'.encode() in calls[1][1]
