"""fal's official client, unmodified, against the sandbox."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import fal_client
import httpx
import pytest

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.clients.fal import MODEL, connected
from tests.support.sandbox_requests import NO_TLS, get_file

# it leaves the connections of its uploads open
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

GIVEN = {"prompt": "A teapot spins", "duration": "4"}


@pytest.fixture
def client(server: SandboxServer) -> Iterator[fal_client.SyncClient]:
    with connected(server.url) as client:
        yield client
    gc.collect()


def test_a_request_is_queued_made_and_fetched(server: SandboxServer, client: fal_client.SyncClient) -> None:
    handle = client.submit(
        MODEL, arguments=GIVEN, priority="low", start_timeout=60, headers={"X-Fal-No-Retry": "1"}
    )
    result = handle.get()
    assert set(result) == {"video", "seed"}
    assert get_file(result["video"]["url"]).content[4:8] == b"ftyp"
    assert isinstance(handle.status(with_logs=True), fal_client.Completed)
    assert client.result(MODEL, handle.request_id)["seed"] == result["seed"]
    assert server.tasks()[0].request["fal"] == {"model": MODEL, "input": GIVEN, "problems": []}


def test_a_queued_request_is_removed_from_the_queue() -> None:
    with SandboxServer(SandboxConfig(latency=(60.0, 60.0))) as server, connected(server.url) as client:
        handle = client.submit(MODEL, arguments=GIVEN)
        assert handle.status() == fal_client.Queued(position=0)
        handle.cancel()
        with pytest.raises(fal_client.FalClientHTTPError, match="NOT_FOUND"):
            handle.status()


def test_a_request_that_has_ended_is_not_cancelled(client: fal_client.SyncClient) -> None:
    handle = client.submit(MODEL, arguments=GIVEN)
    handle.get()
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.cancel(MODEL, handle.request_id)
    assert caught.value.status_code == 400


@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
def test_an_upload_lies_at_its_address(client: fal_client.SyncClient, repository: str) -> None:
    url = client.upload(b"a picture", "image/png", repository=repository)  # type: ignore[arg-type]
    answer = httpx.get(url, verify=NO_TLS)
    assert (answer.content, answer.headers["content-type"]) == (b"a picture", "image/png")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"duration": "4"}, "missing"),
        ({**GIVEN, "duration": 4}, "literal_error"),
        ({**GIVEN, "prompt": "[violate] it"}, "content_policy_violation"),
        ({**GIVEN, "resolution": "9p"}, "literal_error"),
    ],
)
def test_a_wrong_input_shows_in_the_result(
    client: fal_client.SyncClient, arguments: dict[str, object], kind: str
) -> None:
    handle = client.submit(MODEL, arguments=arguments)
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()
    assert caught.value.status_code == 422
    assert caught.value.response.json()["detail"][0]["type"] == kind


def test_a_failure_of_a_runner_is_told_by_the_status_and_by_the_result(
    server: SandboxServer, client: fal_client.SyncClient
) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, code="generation_timeout", message="no"))
    handle = client.submit(MODEL, arguments=GIVEN)
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()
    assert (caught.value.status_code, caught.value.error_type) == (504, "generation_timeout")
    status = handle.status()
    assert isinstance(status, fal_client.Completed)
    assert (status.error, status.error_type) == ("no", "generation_timeout")


def test_a_client_that_waits_looks_many_times_a_second(
    server: SandboxServer, client: fal_client.SyncClient
) -> None:
    """Which is why callsheet does not look through it."""
    began = time.monotonic()
    client.subscribe(MODEL, arguments=GIVEN)
    looks = httpx.get(f"{server.url}/_sandbox/stats", verify=NO_TLS).json()["gets"]
    assert 2 <= looks <= 3 + (time.monotonic() - began) / 0.1
