"""Mesh API's official client, unmodified, against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from meshapi import MeshAPI, MeshAPIError, VideoContentItem, VideoGenerationParams
from meshapi._types import ListVideoGenerationsParams

from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.sandbox_requests import get_file

MODEL = "byteplus/seedance-1-0-pro"


@pytest.fixture
def client(server: SandboxServer) -> Iterator[MeshAPI]:
    with MeshAPI(base_url=server.url, token=SANDBOX_KEY, timeout=5.0) as client:
        yield client


def asked(prompt: str = "A teapot spins", **fields: object) -> VideoGenerationParams:
    content = [VideoContentItem(type="text", text=prompt)]
    return VideoGenerationParams.model_validate({"model": MODEL, "content": content, **fields})


def finished(client: MeshAPI, task_id: str) -> object:
    while (task := client.videos.retrieve(task_id)).status not in ("succeeded", "failed"):
        pass
    return task


def test_a_task_is_created_listed_and_fetched(client: MeshAPI) -> None:
    task_id = client.videos.generate(asked(resolution="480p", duration=4, seed=7, return_last_frame=True)).id
    task = finished(client, task_id)
    assert (task.status, task.seed, task.resolution, task.duration) == ("succeeded", 7, "480p", 4)  # type: ignore[attr-defined]
    assert task.usage.completion_tokens > 0  # type: ignore[attr-defined]
    assert get_file(task.content.video_url).content[4:8] == b"ftyp"  # type: ignore[attr-defined]
    assert get_file(task.content.last_frame_url).content.startswith(b"\x89PNG")  # type: ignore[attr-defined]
    listed = client.videos.list(ListVideoGenerationsParams(status="succeeded", limit=10))
    assert ([each.id for each in listed.data], listed.total, listed.has_more) == ([task_id], 1, False)


def test_a_failed_task_says_why(client: MeshAPI) -> None:
    task = finished(client, client.videos.generate(asked("[violate] it")).id)
    assert (task.status, task.error.code) == ("failed", "content_policy_violation")  # type: ignore[attr-defined]


def test_a_refused_request_says_what_is_wrong(client: MeshAPI) -> None:
    with pytest.raises(MeshAPIError) as caught:
        client.videos.generate(asked(duration=99))
    assert (caught.value.status, caught.value.error_code) == (422, "validation_error")


def test_an_unknown_task_is_not_found(client: MeshAPI) -> None:
    with pytest.raises(MeshAPIError) as caught:
        client.videos.retrieve("t-none")
    assert (caught.value.status, caught.value.error_code) == (404, "not_found")


def test_a_wrong_key_is_refused(server: SandboxServer) -> None:
    with MeshAPI(base_url=server.url, token="wrong") as client, pytest.raises(MeshAPIError) as caught:
        client.videos.list()
    assert caught.value.status == 401


def test_a_429_is_waited_for(server: SandboxServer, client: MeshAPI) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=429, retry_after=0.0))
    assert client.videos.generate(asked()).id == server.tasks()[0].id
    assert server.accepted == 1
