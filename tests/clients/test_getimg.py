"""getimg's official client, unmodified, against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import getimg
import pytest
from getimg import GetimgAI

from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.sandbox_requests import get_file

MODEL = "seedance-v1-pro"


@pytest.fixture
def client(server: SandboxServer) -> Iterator[GetimgAI]:
    with GetimgAI(api_key="test", base_url=server.url, max_retries=0, timeout=5.0) as client:
        yield client


def finished(client: GetimgAI, generation_id: str) -> object:
    while (generation := client.videos.generations.retrieve(generation_id)).status == "pending":
        pass
    return generation


def test_a_generation_is_created_and_fetched(client: GetimgAI) -> None:
    created = client.videos.generations.create(
        model=MODEL, prompt="A teapot spins", aspect_ratio="16:9", resolution="480p", duration=4
    )
    assert created.status == "pending"
    done = finished(client, created.id)
    assert (done.status, done.model) == ("completed", MODEL)  # type: ignore[attr-defined]
    (video,) = done.data  # type: ignore[attr-defined]
    assert (video.mime_type, video.duration, video.has_sound) == ("video/mp4", 4, False)
    assert done.usage.total_cost == pytest.approx(4 * done.usage.unit_price)  # type: ignore[attr-defined]
    assert get_file(video.url).content[4:8] == b"ftyp"


def test_the_models_are_listed_with_their_prices(client: GetimgAI) -> None:
    listed = client.models.list(type="video")
    (model,) = [each for each in listed if each.id == MODEL]
    assert model.pricing.rates[0].billable_unit == "video_second"
    assert client.models.retrieve(MODEL).supported_resolutions == model.supported_resolutions


def test_a_failed_generation_says_why(client: GetimgAI) -> None:
    failed = finished(client, client.videos.generations.create(model=MODEL, prompt="[violate] it").id)
    assert (failed.status, failed.error.code) == ("failed", "content_policy_violation")  # type: ignore[attr-defined]


def test_a_refused_role_is_a_bad_request(client: GetimgAI) -> None:
    image = {"url": "https://example.com/a.png", "role": "last_frame"}
    with pytest.raises(getimg.BadRequestError, match="needs a first_frame"):
        client.videos.generations.create(model=MODEL, prompt="A teapot", images=[image])  # type: ignore[list-item]


def test_an_unknown_generation_is_not_found(client: GetimgAI) -> None:
    with pytest.raises(getimg.NotFoundError):
        client.videos.generations.retrieve("req-none")


def test_a_429_is_an_error_where_repeats_are_switched_off(server: SandboxServer, client: GetimgAI) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=429))
    with pytest.raises(getimg.RateLimitError):
        client.videos.generations.create(model=MODEL, prompt="A teapot")
    assert server.accepted == 0
