"""Ark's official client, unmodified, against the sandbox: create, get, list, delete, download, errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from runner.providers.ark import ARK
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.sandbox_requests import get_file, image_item

if TYPE_CHECKING:
    from byteplussdkarkruntime import Ark

MODEL = "dreamina-seedance-2-0-260128"
SEEDED = "seedance-1-0-pro-250528"
TEXT = {"type": "text", "text": "A teapot spins"}


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        yield server


def connect(server: SandboxServer, key: str = "any-key", **options: Any) -> Ark:
    # it takes 0.7 s to import, and no other test needs it
    from byteplussdkarkruntime import Ark

    return Ark(base_url=server.url + ARK.base_path, api_key=key, **{"max_retries": 0, **options})


@pytest.fixture
def client(server: SandboxServer) -> Iterator[Ark]:
    client = connect(server)
    yield client
    client.close()


def test_a_task_is_created_read_and_its_files_downloaded(client: Ark) -> None:
    tasks = client.content_generation.tasks
    made = tasks.create(
        model=MODEL,
        content=[TEXT, image_item(role="first_frame")],
        resolution="480p",
        ratio="adaptive",
        duration=5,
        return_last_frame=True,
        safety_identifier="cs-1",
        execution_expires_after=7200,
    )
    assert made.id.startswith("cgt-")
    task = tasks.get(task_id=made.id)
    assert (task.id, task.model, task.status, task.error) == (made.id, MODEL, "succeeded", None)
    assert (task.resolution, task.ratio, task.duration, task.frames) == ("480p", "16:9", 5, None)
    assert (task.safety_identifier, task.execution_expires_after) == ("cs-1", 7200)
    assert (task.framespersecond, task.service_tier, task.draft) == (24, "default", False)
    assert task.usage.completion_tokens == task.usage.total_tokens == 50_638
    video = get_file(task.content.video_url)
    assert (video.headers["content-type"], video.content[4:8]) == ("video/mp4", b"ftyp")
    assert get_file(task.content.last_frame_url).content[1:4] == b"PNG"
    part = get_file(task.content.video_url, {"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_an_mov_comes_as_it_was_asked_for(client: Ark) -> None:
    tasks = client.content_generation.tasks
    made = tasks.create(model="dreamina-seedance-2-5-260628", content=[TEXT], output_format="mov", duration=4)
    task = tasks.get(task_id=made.id)
    assert (task.output_format, task.status) == ("mov", "succeeded")
    video = get_file(task.content.video_url)
    assert (video.headers["content-type"], video.content[8:12]) == ("video/quicktime", b"qt  ")


def test_tasks_are_listed_by_pages_and_filters(client: Ark) -> None:
    tasks = client.content_generation.tasks
    plain = [tasks.create(model=MODEL, content=[TEXT]).id for _ in range(3)]
    other = tasks.create(model=SEEDED, content=[TEXT], service_tier="flex").id
    seen = [tasks.list(page_num=number, page_size=2) for number in (1, 2, 3)]
    assert [page.total for page in seen] == [3, 3, 3]
    assert {row.id for page in seen for row in page.items} == {*plain}
    assert [row.id for row in tasks.list(service_tier="flex").items] == [other]
    assert [row.id for row in tasks.list(task_ids=[plain[0], other]).items] == [plain[0]]
    assert tasks.list(model=SEEDED, service_tier="flex", status="succeeded").total == 1
    assert tasks.list(model="ep-another").total == tasks.list(status="running").total == 0


def test_a_delete_takes_the_only_link_to_a_paid_video(client: Ark, server: SandboxServer) -> None:
    from byteplussdkarkruntime._exceptions import ArkNotFoundError

    tasks = client.content_generation.tasks
    made = tasks.create(model=MODEL, content=[TEXT]).id
    assert tasks.get(task_id=made).status == "succeeded"
    tasks.delete(task_id=made)
    with pytest.raises(ArkNotFoundError) as caught:
        tasks.get(task_id=made)
    assert (caught.value.status_code, caught.value.code) == (404, "NotFound.Task")
    assert tasks.list().total == 0
    assert server.accepted == 1


def test_a_queued_task_is_cancelled_and_a_running_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from byteplussdkarkruntime._exceptions import ArkPermissionDeniedError

    with SandboxServer(SandboxConfig(latency=(600, 600))) as server:
        client = connect(server)
        tasks = client.content_generation.tasks
        queued = tasks.create(model=MODEL, content=[TEXT]).id
        monkeypatch.setattr("runner.sandbox.service._QUEUED_SHARE", 0.0)
        running = tasks.create(model=MODEL, content=[TEXT]).id
        tasks.delete(task_id=queued)
        with pytest.raises(ArkPermissionDeniedError):
            tasks.delete(task_id=running)
        assert [row.id for row in tasks.list(status="cancelled").items] == [queued]
        assert tasks.get(task_id=running).status == "running"
        client.close()


@pytest.mark.parametrize(
    ("request_", "name", "code"),
    [
        ({"model": MODEL, "frames": 29}, "ArkBadRequestError", "InvalidParameter.UnsupportedParameter"),
        ({"model": MODEL, "seed": 3}, "ArkBadRequestError", "InvalidParameter.UnsupportedParameter"),
        ({"model": MODEL, "duration": 3}, "ArkBadRequestError", "InvalidParameter"),
        ({"model": "seedance-1-5-pro-251215"}, "ArkNotFoundError", "InvalidEndpointOrModel.NotFound"),
        ({"model": "dreamina-seedance-2-0"}, "ArkNotFoundError", "InvalidEndpointOrModel.NotFound"),
    ],
)
def test_a_refusal_is_an_error_with_its_code(
    client: Ark, server: SandboxServer, request_: dict[str, Any], name: str, code: str
) -> None:
    from byteplussdkarkruntime._exceptions import ArkAPIStatusError

    with pytest.raises(ArkAPIStatusError) as caught:
        client.content_generation.tasks.create(content=[TEXT], **request_)
    assert (type(caught.value).__name__, caught.value.code) == (name, code)
    assert server.accepted == 0


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (401, "AuthenticationError", "ArkAuthenticationError"),
        (403, "AccountOverdueError", "ArkPermissionDeniedError"),
        (429, "QuotaExceeded", "ArkRateLimitError"),
        (500, "InternalServiceError", "ArkInternalServerError"),
    ],
)
def test_a_fault_is_an_error_with_its_code(
    client: Ark, server: SandboxServer, status: int, code: str, name: str
) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=status, code=code))
    with pytest.raises(Exception, match="injected") as caught:
        client.content_generation.tasks.create(model=MODEL, content=[TEXT])
    assert (type(caught.value).__name__, getattr(caught.value, "code")) == (name, code)  # noqa: B009


@pytest.mark.parametrize(("options", "accepted"), [({"max_retries": 0}, 1), ({"max_retries": 2}, 3)])
def test_a_cut_answer_is_paid_once_more_for_each_retry(
    server: SandboxServer, options: dict[str, Any], accepted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/explanation/why-not-the-sdk.md has the default, which is two."""
    from byteplussdkarkruntime._exceptions import ArkAPIConnectionError

    monkeypatch.setattr("time.sleep", lambda _: None)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, times=None))
    client = connect(server, **options)
    with pytest.raises(ArkAPIConnectionError):
        client.content_generation.tasks.create(model=MODEL, content=[TEXT])
    assert server.accepted == accepted
    client.close()


def test_the_default_is_two_retries(server: SandboxServer) -> None:
    from byteplussdkarkruntime import Ark

    client = Ark(base_url=server.url + ARK.base_path, api_key="any-key")
    assert client.max_retries == 2
    client.close()


def test_the_asynchronous_client_is_alike(server: SandboxServer) -> None:
    from byteplussdkarkruntime import AsyncArk

    async def create_and_get() -> str:
        client = AsyncArk(base_url=server.url + ARK.base_path, api_key="any-key", max_retries=0)
        try:
            made = await client.content_generation.tasks.create(model=MODEL, content=[TEXT])
            return str((await client.content_generation.tasks.get(task_id=made.id)).status)
        finally:
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed

    assert asyncio.run(create_and_get()) == "succeeded"
