"""Every fault as a client sees it, and the plan that decides when it strikes."""

from __future__ import annotations

import gzip
import socket
import time
from typing import Any

import httpx
import pytest

from runner.sandbox import Fault, FaultPlan, SandboxConfig, SandboxServer, Where
from tests.support.sandbox_requests import PATH, body, connect, create, get, get_file, listed


def add(server: SandboxServer, where: str, kind: str, **fields: Any) -> None:
    server.faults.add(Fault.from_json({"where": where, "kind": kind, **fields}))


def exchange(server: SandboxServer, head: str, content: bytes = b"") -> bytes:
    """Everything that comes back on a raw connection until it is closed; a reset raises."""
    address = httpx.URL(server.url)
    assert address.port is not None
    with socket.create_connection((address.host, address.port), timeout=5) as raw:
        raw.sendall(head.encode() + b"\r\nHost: x\r\nAuthorization: Bearer rsk_sandbox\r\n")
        raw.sendall(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        answer = b""
        while data := raw.recv(65_536):
            answer += data
        return answer


def post_raw(server: SandboxServer) -> bytes:
    return exchange(server, f"POST {PATH} HTTP/1.1", httpx.Request("POST", "http://x", json=body()).read())


@pytest.mark.parametrize("accept", [False, True])
def test_a_submit_is_answered_with_any_status(
    server: SandboxServer, client: httpx.Client, accept: bool
) -> None:
    add(server, "submit", "answer", status=500, code="provider_job_failed", provider_code="p", accept=accept)
    answer = client.post(PATH, json=body())
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "provider_job_failed"
    assert answer.json()["error"]["provider_code"] == "p"
    assert server.accepted == accept
    create(client)
    assert server.accepted == accept + 1


def test_a_body_of_ones_own_replaces_the_envelope(server: SandboxServer, client: httpx.Client) -> None:
    add(server, "submit", "answer", status=502, body="<html>", headers={"Content-Type": "text/html"})
    answer = client.post(PATH, json=body())
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (502, "<html>", "text/html")


def test_a_redirect_and_a_rate_limit(server: SandboxServer, client: httpx.Client) -> None:
    add(server, "submit", "answer", status=307, headers={"Location": "http://127.0.0.1:9/"})
    add(server, "submit", "answer", after=1, status=429, code="rate_limit_exceeded", retry_after=7)
    redirect, limited = client.post(PATH, json=body()), client.post(PATH, json=body())
    assert (redirect.status_code, redirect.headers["location"]) == (307, "http://127.0.0.1:9/")
    assert (limited.headers["retry-after"], limited.json()["error"]["retry_after_seconds"]) == ("7", 7)
    assert server.accepted == 0


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize("stage", ["before", "head", "body"])
def test_a_cut_ends_the_connection_there(server: SandboxServer, stage: str, accept: bool) -> None:
    add(server, "submit", "cut", stage=stage, accept=accept)
    answer = post_raw(server)
    head, blank, content = answer.partition(b"\r\n\r\n")
    if stage == "before":
        assert answer == b""
    elif stage == "head":
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not blank
    else:
        assert b"content-length: " in head.lower()
        assert content.startswith(b'{"id":"t-')
        assert not content.endswith(b"}")
    assert server.accepted == accept


@pytest.mark.parametrize("stage", ["request", "before"])
def test_a_reset_is_a_reset(server: SandboxServer, stage: str) -> None:
    add(server, "submit", "cut", stage=stage, reset=True)
    with pytest.raises(ConnectionResetError):
        post_raw(server)
    assert server.accepted == 0


def test_httpx_sees_a_cut_as_a_protocol_error(server: SandboxServer, client: httpx.Client) -> None:
    add(server, "submit", "cut", accept=True)
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(PATH, json=body())
    assert server.accepted == 1


@pytest.mark.parametrize("accept", [False, True])
def test_a_stall_holds_the_answer(server: SandboxServer, client: httpx.Client, accept: bool) -> None:
    add(server, "submit", "stall", seconds=5, accept=accept)
    with pytest.raises(httpx.ReadTimeout):
        client.post(PATH, json=body(), timeout=0.5)
    assert server.accepted == accept


def test_a_stalled_request_is_not_read(server: SandboxServer, client: httpx.Client) -> None:
    """Past the buffers of both sides the client can write no more."""
    add(server, "submit", "stall", stage="request", seconds=5)
    with pytest.raises(httpx.WriteTimeout):
        client.post(PATH, content=bytes(20_000_000), timeout=0.05)
    assert server.accepted == 0


def test_a_stall_does_not_keep_the_server_from_stopping() -> None:
    with SandboxServer() as server, connect(server) as client:
        add(server, "submit", "stall", seconds=60)
        with pytest.raises(httpx.ReadTimeout):
            client.post(PATH, json=body(), timeout=0.02)
        began = time.monotonic()
    assert time.monotonic() - began < 30


def test_a_delayed_submit_is_served_as_usual(server: SandboxServer, client: httpx.Client) -> None:
    add(server, "submit", "delay", seconds=0.03)
    began = time.monotonic()
    create(client)
    assert time.monotonic() - began >= 0.03
    assert server.accepted == 1


def test_bytes_that_are_not_http(server: SandboxServer) -> None:
    add(server, "submit", "not_http", accept=True)
    assert not post_raw(server).startswith(b"HTTP")
    assert server.accepted == 1


def test_an_answer_without_an_id_and_with_anothers(server: SandboxServer, client: httpx.Client) -> None:
    first = create(client)
    add(server, "submit", "no_id")
    assert client.post(PATH, json=body()).json() == {}
    add(server, "submit", "foreign_id", text=first)
    assert client.post(PATH, json=body()).json() == {"id": first}
    add(server, "submit", "foreign_id")
    before = server.tasks()[-1].id
    assert client.post(PATH, json=body()).json() == {"id": before}
    assert server.accepted == 4


def test_a_wrong_request_is_refused_whatever_the_faults(server: SandboxServer, client: httpx.Client) -> None:
    add(server, "submit", "answer", accept=True)
    assert client.post(PATH, json=body(model="gpt 5")).status_code == 422
    assert server.accepted == 0


@pytest.mark.parametrize("where", ["get", "list"])
def test_reads_fail_and_heal(server: SandboxServer, client: httpx.Client, where: str) -> None:
    path = f"{PATH}/{create(client)}" if where == "get" else PATH
    add(server, where, "answer", status=503, code="upstream_error")
    add(server, where, "answer", after=1, status=200, body="}garbage")
    add(server, where, "cut", after=2)
    assert client.get(path).status_code == 503
    assert client.get(path).text == "}garbage"
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(path)
    assert client.get(path).json()


def test_a_read_is_cut_inside_its_body(server: SandboxServer, client: httpx.Client) -> None:
    create(client)
    add(server, "list", "cut", stage="body")
    with pytest.raises(httpx.RemoteProtocolError, match="body"):
        client.get(PATH)


def test_not_found_right_after_acceptance(server: SandboxServer, client: httpx.Client) -> None:
    add(server, "get", "answer", status=404, code="not_found", per_task=True, times=1)
    for task_id in (create(client), create(client)):
        assert client.get(f"{PATH}/{task_id}").status_code == 404
        assert get(client, task_id)["status"] == "succeeded"


def test_an_unknown_status_and_a_terminal_one_that_runs_again(
    server: SandboxServer, client: httpx.Client
) -> None:
    task_id = create(client)
    add(server, "get", "fields", fields={"status": "dreaming"})
    add(server, "get", "regress", after=2)
    assert get(client, task_id)["status"] == "dreaming"
    assert get(client, task_id)["status"] == "succeeded"
    again = get(client, task_id)
    assert (again["status"], again["content"], again["usage"]) == ("running", None, None)


def test_null_echoes_for_some_answers_or_some_time(server: SandboxServer, client: httpx.Client) -> None:
    task_id = create(client, seed=3)
    add(server, "list", "null_echoes")
    assert listed(client)["data"][0]["seed"] is None
    assert listed(client)["data"][0]["seed"] == 3
    add(server, "get", "null_echoes", times=None, seconds=60)
    assert get(client, task_id)["execution_expires_after"] is None
    server.faults.clear()
    add(server, "get", "null_echoes", times=None, seconds=0.0001)
    assert get(client, task_id)["execution_expires_after"] == 172_800


def test_a_suffixed_model_and_content_as_an_array(server: SandboxServer, client: httpx.Client) -> None:
    task_id = create(client, model="seedance-1-0-pro")
    add(server, "get", "suffix", text="-250528")
    add(server, "get", "content_array")
    task = get(client, task_id)
    assert task["model"] == "seedance-1-0-pro-250528"
    assert [item["type"] for item in task["content"]] == ["video_url"]
    assert task["content"][0]["url"].startswith(server.url)


def test_a_list_lags(server: SandboxServer, client: httpx.Client) -> None:
    create(client)
    add(server, "list", "lag", seconds=60)
    assert listed(client) == {
        "object": "list", "data": [], "has_more": False, "total": 0, "limit": 50, "offset": 0,
    }  # fmt: skip
    assert listed(client)["total"] == 1


def test_pages_overlap_and_shuffle(server: SandboxServer, client: httpx.Client) -> None:
    ids = [create(client) for _ in range(8)][::-1]
    add(server, "list", "overlap", count=2)
    assert [row["id"] for row in listed(client, limit=4, offset=4)["data"]] == ids[2:6]
    add(server, "list", "shuffle", times=None)
    assert sorted(row["id"] for row in listed(client)["data"]) == sorted(ids)
    assert any([row["id"] for row in listed(client)["data"]] != ids for _ in range(5))


@pytest.fixture
def video(client: httpx.Client) -> str:
    return str(get(client, create(client))["content"]["video_url"])


def partial(url: str, headers: dict[str, str] | None = None) -> bytes:
    """What arrives of a download before it breaks; it has to break."""
    received = b""
    try:
        with httpx.stream("GET", url, headers=headers) as answer:
            for chunk in answer.iter_raw():
                received += chunk
    except httpx.RemoteProtocolError:
        return received
    raise AssertionError("the download came to its end")


def test_a_download_is_cut_at_a_byte_and_resumed(server: SandboxServer, video: str) -> None:
    whole = get_file(video).content
    add(server, "download", "cut", at=1_000)
    assert partial(video) == whole[:1_000]
    add(server, "download", "cut", at=1_500)
    assert partial(video, {"Range": "bytes=1000-"}) == whole[1_000:1_500]
    assert get_file(video, headers={"Range": "bytes=1500-"}).content == whole[1_500:]


def test_short_long_and_html_downloads(server: SandboxServer, video: str) -> None:
    whole = get_file(video).content
    add(server, "download", "short", count=10)
    assert get_file(video).content == whole[:-10]
    add(server, "download", "long", count=10)
    assert get_file(video).content == whole + bytes(10)
    add(server, "download", "html")
    assert get_file(video).headers["content-type"].startswith("text/html")
    add(server, "download", "answer", status=403, body="expired")
    assert get_file(video).status_code == 403
    assert get_file(video).content == whole


def test_a_changed_etag_and_an_ignored_range(server: SandboxServer, video: str) -> None:
    whole = get_file(video)
    add(server, "download", "etag")
    changed = get_file(video, headers={"Range": "bytes=5-", "If-Range": whole.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != whole.headers["etag"]
    add(server, "download", "ignore_range")
    ignored = get_file(video, headers={"Range": "bytes=5-"})
    assert (ignored.status_code, ignored.content) == (200, whole.content)


def test_a_compressed_download(server: SandboxServer, video: str) -> None:
    whole = get_file(video).content
    add(server, "download", "gzip")
    with httpx.stream("GET", video) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == whole


def test_a_download_drips(server: SandboxServer, video: str) -> None:
    """Longer than the client has patience, though each byte comes soon enough."""
    size = len(get_file(video).content)
    add(server, "download", "drip", count=100, seconds=0.02)
    received, began = 0, time.monotonic()
    with httpx.stream("GET", video, timeout=5) as answer:
        assert int(answer.headers["content-length"]) == size
        for chunk in answer.iter_raw():
            received += len(chunk)
            if (passed := time.monotonic() - began) > 0.1:
                break
    assert 0 < received <= 100 * (passed / 0.02 + 1)


def test_another_process_injects_over_http(server: SandboxServer, client: httpx.Client) -> None:
    url = server.url + "/_sandbox/faults"
    rule = {"where": "submit", "kind": "answer", "status": 503, "code": "upstream_error", "times": None}
    assert httpx.post(url, json=[rule]).json() == {"added": 1}
    assert client.post(PATH, json=body()).status_code == 503
    assert server.faults.struck == 1
    httpx.delete(url)
    create(client)


@pytest.mark.parametrize(
    "rule",
    [
        "text",
        {"where": "submit"},
        {"where": "nowhere", "kind": "cut"},
        {"where": "submit", "kind": "drip"},
        {"where": "submit", "kind": "cut", "loudness": 11},
        {"where": "submit", "kind": "cut", "every": 0},
    ],
)
def test_a_wrong_rule_is_refused(server: SandboxServer, rule: object) -> None:
    assert httpx.post(server.url + "/_sandbox/faults", json=rule).status_code == 422
    assert httpx.post(server.url + "/_sandbox/faults", content=b"{").status_code == 422


@pytest.mark.parametrize(
    ("counts", "struck"),
    [
        ({}, [0]),
        ({"times": 2}, [0, 1]),
        ({"times": None}, list(range(8))),
        ({"after": 3}, [3]),
        ({"every": 3, "times": None}, [0, 3, 6]),
        ({"after": 1, "every": 2, "times": 2}, [1, 3]),
    ],
)
def test_a_rule_counts_the_requests_it_matches(counts: dict[str, Any], struck: list[int]) -> None:
    plan = FaultPlan()
    plan.add(Fault(where=Where.GET, kind="cut", **counts))
    seen = []
    for number in range(8):
        assert plan.take(Where.LIST).general is None
        if plan.take(Where.GET).general is not None:
            seen.append(number)
    assert seen == struck


def test_a_rule_for_one_task_leaves_the_others_alone() -> None:
    plan = FaultPlan()
    plan.add(Fault(where=Where.GET, kind="cut", task="t-1"))
    assert plan.take(Where.GET, "t-2").general is None
    assert plan.take(Where.GET, "t-1").general is not None


def test_faults_hold_for_a_server_that_was_configured_otherwise() -> None:
    """A rate-limited request is no request for a rule."""
    with SandboxServer(SandboxConfig(rpm=1)) as server, connect(server) as client:
        add(server, "submit", "answer", after=1)
        create(client)
        assert client.post(PATH, json=body()).status_code == 429
        assert server.faults.struck == 0
