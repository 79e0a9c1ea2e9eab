"""Replicate's official client, unmodified, at the sandbox of examples/provider-plugin."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ReplicateError
from replicate.webhook import Webhooks

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.pictures import png
from tests.support.provider_plugin import installed
from tests.support.sandbox_requests import NO_TLS

MODEL = "bytedance/seedance-2.0"
ASKED = {"prompt": "A cup of tea", "duration": 4, "resolution": "480p"}
KEY = {"Authorization": "Bearer test"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    config = SandboxConfig(provider="replicate", latency=(0.0, 0.0), scale=0.05)
    with installed(tmp_path_factory.mktemp("plug-in")), SandboxServer(config) as server:
        yield server


@pytest.fixture
def sandbox(shared: SandboxServer) -> Iterator[SandboxServer]:
    yield shared
    shared.faults.clear()


@contextlib.contextmanager
def connected(server: SandboxServer, timeout: float = 5.0, **more: Any) -> Iterator[replicate.Client]:
    client = replicate.Client(api_token="test", base_url=server.url, timeout=timeout, **more)
    yield client
    client._client.close()  # the client has no way to close its connections


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[replicate.Client]:
    with connected(sandbox) as made:
        yield made


def test_it_creates_by_model_and_by_version_and_gets_what_it_asked_for(client: replicate.Client) -> None:
    made = client.predictions.create(model=MODEL, input=ASKED)
    assert (made.model, made.status, made.input) == (MODEL, "starting", ASKED)
    waited = client.predictions.create(version=MODEL, input=ASKED, wait=2)
    assert waited.status == "succeeded"
    assert client.predictions.get(made.id).input == ASKED
    assert httpx.get(str(waited.output), verify=NO_TLS).content[4:8] == b"ftyp"


def test_run_waits_for_the_files_address(client: replicate.Client, sandbox: SandboxServer) -> None:
    assert str(client.run(MODEL, input=ASKED)).startswith(sandbox.url)


def test_it_lists_page_by_page(client: replicate.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callsheet_replicate.sandbox.PAGE", 2)
    made = [client.predictions.create(model=MODEL, input=ASKED).id for _ in range(3)]
    page = client.predictions.list()
    assert [row.id for row in page.results] == made[:0:-1]
    assert page.next is not None
    assert client.predictions.list(page.next).results[0].id == made[0]


def test_it_cancels_what_runs(tmp_path: Path) -> None:
    slow = SandboxConfig(provider="replicate", latency=(60.0, 60.0), scale=0.05)
    headers = {"Cancel-After": "1h"}
    with installed(tmp_path), SandboxServer(slow) as server, connected(server, headers=headers) as client:
        made = client.predictions.create(model=MODEL, input=ASKED)
        assert made.status == "starting"
        row = httpx.get(f"{server.url}/v1/predictions/{made.id}", headers=KEY, verify=NO_TLS).json()
        assert row["deadline"] is not None
        # version 1 knows no `aborted`, which ends a prediction that had not begun
        with pytest.raises(ValueError, match="aborted"):
            client.predictions.cancel(made.id)


def test_it_uploads_files_and_sends_their_addresses(client: replicate.Client, sandbox: SandboxServer) -> None:
    content = png(400, 400)
    picture = io.BytesIO(content)
    picture.name = "cup.png"
    kept = client.files.create(picture)
    assert kept.checksums["sha256"] == hashlib.sha256(content).hexdigest()
    assert client.files.get(kept.id).size == len(content)
    made = client.predictions.create(model=MODEL, input={**ASKED, "image": kept.urls["get"]})
    assert made.input["image"] == kept.urls["get"]
    picture.seek(0)
    made = client.predictions.create(model=MODEL, input={**ASKED, "image": picture})
    assert made.input["image"].startswith(f"{sandbox.url}/v1/files/")
    client.files.delete(kept.id)
    with pytest.raises(ReplicateError):
        client.files.get(kept.id)


def test_a_call_of_the_service_is_valid_by_its_secret(
    client: replicate.Client, sandbox: SandboxServer
) -> None:
    came: list[tuple[dict[str, str], str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            came.append(
                (
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length).decode(),
                )
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.handle_request, daemon=True).start()
        made = client.predictions.create(
            model=MODEL,
            input=ASKED,
            webhook=f"http://127.0.0.1:{server.server_port}/",
            webhook_events_filter=["completed"],
        )
        deadline = time.monotonic() + 5
        while not came and time.monotonic() < deadline:
            time.sleep(0.01)
    (headers, body) = came[0]
    secret = client.webhooks.default.secret()
    Webhooks.validate(headers=headers, body=body, secret=secret)
    assert json.loads(body)["id"] == made.id
    digest = hmac.digest(base64.b64decode(secret.key.removeprefix("whsec_")), b"another", hashlib.sha256)
    forged = {**headers, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
    with pytest.raises(ValueError, match="signature"):
        Webhooks.validate(headers=forged, body=body, secret=secret)


@pytest.mark.parametrize("status", [401, 402, 422, 500])
def test_an_error_is_the_clients_own_with_title_and_detail(
    client: replicate.Client, sandbox: SandboxServer, status: int
) -> None:
    sandbox.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=status, code="Title", message="what is wrong")
    )
    with pytest.raises(ReplicateError) as raised:
        client.predictions.create(model=MODEL, input=ASKED)
    assert (raised.value.status, raised.value.title) == (status, "Title")
    assert raised.value.detail == "what is wrong"


def test_what_a_model_does_not_know_is_refused(client: replicate.Client, sandbox: SandboxServer) -> None:
    before = sandbox.accepted
    wrong: list[dict[str, Any]] = [{"camera": "fixed"}, {"resolution": "360p"}, {"duration": 99}]
    for more in wrong:
        with pytest.raises(ReplicateError):
            client.predictions.create(model=MODEL, input=ASKED | more)
    assert sandbox.accepted == before
    with pytest.raises(ReplicateError, match="not permitted"):
        client.predictions.create(version="0" * 64, input=ASKED)


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.STALL])
def test_a_post_whose_answer_is_lost_is_an_exception_and_one_paid_prediction(
    sandbox: SandboxServer, kind: Kind
) -> None:
    before = sandbox.accepted
    sandbox.faults.add(Fault(where=Where.SUBMIT, kind=kind, accept=True, seconds=0.5, times=None))
    with connected(sandbox, timeout=0.3) as client, pytest.raises(httpx.TransportError):
        client.predictions.create(model=MODEL, input=ASKED)
    assert sandbox.accepted == before + 1
