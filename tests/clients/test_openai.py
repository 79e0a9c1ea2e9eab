"""The client `openai`, unmodified, against the sandbox, and what it does with a POST whose answer is cut."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.sandbox_requests import NO_TLS

# each call of `videos` says that OpenAI itself switched its videos off
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KINDS = ("", "/reference", "/vllm-omni", "/sglang", "/litellm")
EACH = pytest.mark.parametrize("root", KINDS)


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        yield server


@pytest.fixture
def server(shared: SandboxServer) -> Iterator[SandboxServer]:
    yield shared
    shared.faults.clear()


def client_of(server: SandboxServer, root: str = "", **settings: Any) -> OpenAI:
    return OpenAI(base_url=f"{server.url}{root}/v1", api_key="test", **{"max_retries": 0, **settings})


def asked(root: str) -> dict[str, Any]:
    seed = {} if root == "/reference" else {"extra_body": {"seed": 7}}
    return {"prompt": "A teapot", "model": "wan", "seconds": "4", "size": "1280x720", **seed}


@EACH
def test_it_creates_retrieves_and_downloads(server: SandboxServer, root: str) -> None:
    with client_of(server, root) as client:
        created = client.videos.create(**asked(root))
        assert (created.status, created.object, created.size) == ("queued", "video", "1280x720")
        done = client.videos.retrieve(created.id)
        assert (done.id, done.status, done.progress) == (created.id, "completed", 100)
        assert client.videos.download_content(created.id).read()[4:8] == b"ftyp"


@EACH
def test_it_sends_a_picture_as_a_file(server: SandboxServer, root: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 18), "red").save(file, "PNG")
    with client_of(server, root) as client:
        picture = ("a.png", file.getvalue(), "image/png")
        created = client.videos.create(**asked(root), input_reference=picture)
        assert client.videos.retrieve(created.id).status == "completed"


@EACH
def test_it_creates_and_polls(server: SandboxServer, root: str) -> None:
    with client_of(server, root) as client:
        assert client.videos.create_and_poll(**asked(root), poll_interval_ms=10).status == "completed"


@EACH
def test_it_lists_page_by_page(server: SandboxServer, root: str) -> None:
    with client_of(server, root) as client:
        created = [client.videos.create(**asked(root)).id for _ in range(3)]
        query = {"extra_query": {"custom_llm_provider": "openai"}} if root == "/litellm" else {}
        page = client.videos.list(limit=2, **query)
        assert [video.id for video in page.data] == created[:0:-1]
        assert page.has_next_page()
        assert next(iter(page.get_next_page().data)).id == created[0]


@EACH
def test_it_deletes(server: SandboxServer, root: str) -> None:
    with client_of(server, root) as client:
        created = client.videos.create(**asked(root))
        client.videos.retrieve(created.id)
        if root == "/litellm":
            with pytest.raises(openai.APIStatusError):
                client.videos.delete(created.id)
            return
        assert client.videos.delete(created.id).deleted is True


def test_it_remixes(server: SandboxServer) -> None:
    with client_of(server, "/reference") as client:
        created = client.videos.create(**asked("/reference"))
        remix = client.videos.remix(created.id, prompt="A kettle")
        assert remix.remixed_from_video_id == created.id


@EACH
def test_it_tells_a_failed_video(server: SandboxServer, root: str) -> None:
    """One server answers for it under the failure's own status, which this client takes for its own error."""
    with client_of(server, root) as client:
        created = client.videos.create(**{**asked(root), "prompt": "[violate] it"})
        if root == "/vllm-omni":
            with pytest.raises(openai.BadRequestError):
                client.videos.retrieve(created.id)
            return
        failed = client.videos.retrieve(created.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "content_policy_violation"


def test_it_tells_what_is_refused(server: SandboxServer) -> None:
    with client_of(server) as client:
        with pytest.raises(openai.BadRequestError, match="size: must be width and height"):
            client.videos.create(prompt="A", model="m", size="large")  # type: ignore[call-overload]
        with pytest.raises(openai.NotFoundError):
            client.videos.retrieve("video_none")
        for status, error in (
            (401, openai.AuthenticationError),
            (403, openai.PermissionDeniedError),
            (409, openai.ConflictError),
            (422, openai.UnprocessableEntityError),
            (429, openai.RateLimitError),
            (503, openai.InternalServerError),
        ):
            server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=status, message="no"))
            with pytest.raises(error):
                client.videos.create(prompt="A", model="m")


def counts(server: SandboxServer) -> tuple[int, int]:
    stats = httpx.get(f"{server.url}/_sandbox/stats", verify=NO_TLS).json()
    return stats["posts"], stats["accepted"]


@pytest.mark.parametrize(
    ("retries", "times", "posts", "is_error"),
    [({}, 1, 2, False), ({}, None, 3, True), ({"max_retries": 0}, 1, 1, True)],
    ids=["once", "each time", "without retries"],
)
def test_a_post_whose_answer_is_cut_is_sent_again_and_paid_for_again(
    server: SandboxServer, retries: dict[str, int], times: int | None, posts: int, is_error: bool
) -> None:
    """By its own setting, `max_retries` of 2. Each POST was accepted before its answer was cut."""
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, times=times))
    before = counts(server)
    with OpenAI(base_url=f"{server.url}/v1", api_key="test", **retries) as client, patch("time.sleep"):
        try:
            client.videos.create(prompt="A teapot", model="wan")
        except openai.APIConnectionError:
            assert is_error
        else:
            assert not is_error
    after = counts(server)
    assert (after[0] - before[0], after[1] - before[1]) == (posts, posts)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_post_is_sent_three_times_for_these_statuses_unless_the_answer_forbids_it(
    server: SandboxServer, status: int
) -> None:
    for headers, posts in (({}, 3), ({"x-should-retry": "false"}, 1)):
        fault = Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=status, headers=headers, times=None)
        server.faults.add(fault)
        before, _ = counts(server)
        with (
            client_of(server, max_retries=2) as client,
            patch("time.sleep"),
            pytest.raises(openai.APIStatusError),
        ):
            client.videos.create(prompt="A teapot", model="wan")
        assert counts(server)[0] - before == posts
        server.faults.clear()
