"""What is sent to Mesh API, and how its answers are read."""

from __future__ import annotations

import email.utils
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner.http.verdicts import ProviderError, Trouble
from runner.providers.base import GenerationStatus, ListQuery, RemoteFileKind, RemoteTask
from runner.providers.mesh import MESH, TAG
from runner.providers.mesh.client import read_generation
from tests.support.provider_clients import GOLDEN, NOW, mesh_at
from tests.support.wire_server import answer, answering

OPENAPI = GOLDEN.parent / "mesh-video-openapi.yaml"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_bytes())


@given(tag=st.integers(0, TAG.count - 1))
def test_a_tag_that_was_sent_is_read_back(tag: int) -> None:
    assert read_generation({"id": "t-1", TAG.field: 172_800 - tag}).tag == tag


def test_an_expiry_that_we_never_send_is_still_told_apart() -> None:
    """A row with another client's own value is not ours, so it must not be read as a null."""
    assert read_generation({"id": "t-1", TAG.field: 172_800 - TAG.count}).tag == TAG.count


@pytest.mark.parametrize("seconds", [None, "172800", True, 1.5])
def test_what_is_no_number_of_seconds_is_no_tag(seconds: object) -> None:
    assert read_generation({"id": "t-1", TAG.field: seconds}).tag is None  # type: ignore[dict-item]


def test_the_echoed_fields_are_those_that_request_and_task_share() -> None:
    schemas = yaml.safe_load(OPENAPI.read_text())["components"]["schemas"]
    request = schemas["VideoGenerationRequest"]["properties"]
    task = schemas["VideoTask"]["properties"]
    assert set(MESH.echoes) == set(request) & set(task) - {"model", "content"}


def test_the_statuses_are_read_word_for_word() -> None:
    words = ["pending", "queued", "running", "succeeded", "failed", "expired", "cancelled"]
    read = [read_generation({"id": "t-1", "status": word}).status for word in words]
    assert read == list(GenerationStatus)


def test_a_finished_task_is_read_whole() -> None:
    task = golden("task_succeeded")
    generation = read_generation(task, server_time=NOW)
    video, frame = generation.files
    assert generation.status is GenerationStatus.SUCCEEDED
    assert (generation.id, generation.model) == ("t-7f3a91", "byteplus/seedance-1-0-pro")
    assert (generation.created_at, generation.updated_at) == (1_790_000_000.0, 1_790_000_120.0)
    assert (video.kind, video.url) == (RemoteFileKind.VIDEO, task["content"]["video_url"])
    assert (frame.kind, frame.url) == (RemoteFileKind.LAST_FRAME, task["content"]["last_frame_url"])
    assert video.expires_at == frame.expires_at == 1_790_000_120.0 + 24 * 3600
    assert generation.usage == {"completion_tokens": 108_900, "total_tokens": 108_900}
    assert generation.billed_tokens == 108_900
    assert generation.echo == {
        "seed": 42,
        "resolution": "720p",
        "ratio": "16:9",
        "duration": 5,
        "generate_audio": True,
        "priority": 0,
        "draft": False,
        "service_tier": "default",
        "execution_expires_after": 151_234,
    }
    assert "CANARYSIGNATURE" not in repr(generation)


@pytest.mark.parametrize("said", ["many", True, -1, 1.5, None, 2**60])
def test_tokens_that_are_not_a_number_of_tokens_bill_nothing(said: object) -> None:
    assert read_generation({"id": "t-1", "usage": {"completion_tokens": said}}).billed_tokens is None


def test_the_other_documented_shape_of_content_gives_the_same_files() -> None:
    files = read_generation(golden("task_succeeded_list_content")).files
    assert [file.kind for file in files] == [RemoteFileKind.VIDEO, RemoteFileKind.LAST_FRAME]
    assert all(file.url.endswith("?sig=CANARYSIGNATURE") for file in files)


def test_a_failed_task_keeps_the_services_words() -> None:
    generation = read_generation(golden("task_failed"))
    assert generation.status is GenerationStatus.FAILED
    assert generation.error_code == "content_policy_violation"
    assert generation.error_message == "the prompt was refused"
    assert (generation.files, generation.usage) == ((), {})


@pytest.mark.parametrize(
    ("content", "urls"),
    [
        (None, []),
        ("https://h.example/a.mp4", []),
        ({"video_url": None, "last_frame_url": ""}, []),
        ({"video_url": "https://h.example/a b"}, []),
        ({"video_url": {"url": "https://h.example/a"}}, ["https://h.example/a"]),
        ([None, {"type": 7}, {"type": "video_url"}, {"url": "https://h.example/a"}], []),
    ],
)
def test_content_without_a_usable_url_gives_no_file(content: object, urls: list[str]) -> None:
    files = read_generation({"id": "t-1", "status": "succeeded", "content": content}).files  # type: ignore[dict-item]
    assert [file.url for file in files] == urls
    assert all(file.expires_at is None for file in files)


@pytest.mark.parametrize("error", ["boom", 7, [], {"message": "boom"}, {"code": 7, "message": "boom"}])
def test_an_error_of_any_shape_is_read(error: object) -> None:
    generation = read_generation({"id": "t-1", "status": "failed", "error": error})  # type: ignore[dict-item]
    assert generation.error_code == ""
    assert generation.error_message in ("boom", "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.sampled_from([*golden("task_succeeded"), "request_id"]), json_values))
def test_a_task_of_any_content_is_read(fields: dict[str, Any]) -> None:
    generation = read_generation({**fields, "id": "t-1"})
    assert generation.id == "t-1"
    json.dumps([dict(generation.echo), dict(generation.usage), generation.error_message]).encode()


@pytest.mark.anyio
async def test_an_id_is_percent_encoded_in_the_path() -> None:
    odd = "t?x=1#%2e&~"
    with answering(answer(200, {"id": odd, "status": "running"})) as server:
        async with mesh_at(server.origin) as mesh:
            assert (await mesh.get(RemoteTask(odd))).id == odd
    assert server.requests[0].startswith(b"GET /v1/video/generations/t%3Fx%3D1%23%252e%26~ HTTP/1.1\r\n")


@pytest.mark.anyio
async def test_a_page_of_the_list_is_read() -> None:
    date = email.utils.formatdate(NOW, usegmt=True)
    with answering(answer(200, golden("list_page"), {"Date": date})) as server:
        async with mesh_at(server.origin) as mesh:
            page = await mesh.list_page(ListQuery(1_790_000_000.9, 2, 4))
    assert server.requests[0].startswith(
        b"GET /v1/video/generations?limit=2&offset=4&created_after=2026-09-21T14%3A13%3A20Z HTTP/1.1\r\n"
    )
    assert [row.id for row in page.rows] == ["t-2", "t-1"]
    assert [dict(row.echo) for row in page.rows] == [{}, {"seed": 7}]
    assert (page.has_more, page.total, page.server_time) == (True, 212, NOW)


@pytest.mark.anyio
async def test_a_row_that_cannot_be_read_is_counted() -> None:
    """Passed over in silence, it could make a paid task look absent, and be paid again."""
    rows = [*json.loads(json.dumps(golden("list_page")))["data"], {"status": "running"}, None]
    with answering(answer(200, {**golden("list_page"), "data": rows})) as server:
        async with mesh_at(server.origin) as mesh:
            page = await mesh.list_page(ListQuery(None, 50))
    assert ([row.id for row in page.rows], page.unreadable) == (["t-2", "t-1"], 2)


@pytest.mark.anyio
@pytest.mark.parametrize("change", [{"data": None}, {"has_more": 1}, {"total": None}])
async def test_a_page_without_its_frame_is_refused(change: dict[str, object]) -> None:
    with answering(answer(200, {**golden("list_page"), **change})) as server:
        async with mesh_at(server.origin) as mesh:
            with pytest.raises(ProviderError) as caught:
                await mesh.list_page(ListQuery(None, 50))
    assert caught.value.trouble is Trouble.UNAVAILABLE


@pytest.mark.anyio
async def test_a_ping_is_one_free_list_of_one() -> None:
    date = email.utils.formatdate(NOW, usegmt=True)
    with answering(answer(200, golden("list_page"), {"Date": date})) as server:
        async with mesh_at(server.origin) as mesh:
            assert await mesh.ping() == NOW
    assert server.requests[0].startswith(b"GET /v1/video/generations?limit=1&offset=0 HTTP/1.1\r\n")
