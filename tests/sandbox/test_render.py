"""The MP4s, decoded by PyAV."""

from __future__ import annotations

import io
from pathlib import Path

import av
import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from runner.sandbox import SandboxConfig, SandboxServer
from runner.sandbox.results.picture import scaled
from tests.support.sandbox_requests import (
    PATH,
    SEEDED,
    SHORT,
    SOUNDING,
    connect,
    create,
    get,
    get_file,
    image_item,
)


def video_of(client: httpx.Client, task_id: str) -> bytes:
    answer = get_file(get(client, task_id)["content"]["video_url"])
    assert answer.status_code == 200, answer.text
    return answer.content


def decode(data: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(data)) as box:
        return [frame.to_image() for frame in box.decode(video=0)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, 0 to 255."""
    mean = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(mean) / 3


def test_a_video_is_h264_with_a_sound_track_and_an_index_in_front(client: httpx.Client) -> None:
    data = video_of(client, create(client, model=SOUNDING, duration=4, ratio="9:16"))
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data)) as box:
        video, sound = box.streams.video[0], box.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height) == scaled((720, 1280), 0.05)
        assert video.average_rate == 24
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(97 / 24, abs=0.05)
    assert len(decode(data)) == 97


def test_a_video_has_no_sound_where_none_is_asked_for_or_possible(client: httpx.Client) -> None:
    for task_id in (create(client, model=SOUNDING, generate_audio=False), create(client, model=SHORT)):
        with av.open(io.BytesIO(video_of(client, task_id))) as box:
            assert not box.streams.audio


def test_frames_are_exactly_those_asked_for(client: httpx.Client) -> None:
    assert len(decode(video_of(client, create(client, frames=29)))) == 29


def test_the_same_request_and_seed_give_the_same_bytes() -> None:
    videos = []
    for _ in range(2):
        with SandboxServer(SandboxConfig(latency=(0, 0), scale=0.05)) as server, connect(server) as client:
            videos.append(video_of(client, create(client, model=SEEDED, seed=4, duration=4)))
    assert videos[0] == videos[1]


def test_another_seed_or_prompt_gives_another_picture(client: httpx.Client) -> None:
    pictures = [
        decode(video_of(client, create(client, prompt=prompt, seed=seed)))[0]
        for prompt, seed in (("tea", 1), ("tea", 2), ("coffee", 1))
    ]
    assert difference(pictures[0], pictures[1]) > 5
    assert difference(pictures[0], pictures[2]) > 5


def test_the_ground_moves(client: httpx.Client) -> None:
    frames = decode(video_of(client, create(client)))
    assert difference(frames[0], frames[24]) > 1


def test_one_rendering_serves_all_downloads(server: SandboxServer, client: httpx.Client) -> None:
    for _ in range(2):
        video_of(client, create(client, seed=4))
    video_of(client, create(client, seed=4, priority=0, execution_expires_after=100_000))
    assert get_file(server.url + "/_sandbox/stats").json()["rendered"] == 1


def test_the_last_frame_is_the_videos_own(client: httpx.Client) -> None:
    content = get(client, create(client, return_last_frame=True))["content"]
    answer = get_file(content["last_frame_url"])
    assert answer.headers["content-type"] == "image/png"
    last = decode(get_file(content["video_url"]).content)[-1]
    with Image.open(io.BytesIO(answer.content)) as image:
        assert difference(image.resize(last.size, Image.Resampling.NEAREST), last) < 8


def test_given_frames_open_and_close_the_video(client: httpx.Client) -> None:
    content = [image_item(colour="red", role="first_frame"), image_item(colour="blue", role="last_frame")]
    answer = client.post(PATH, json={"model": SEEDED, "content": content, "duration": 4})
    frames = decode(video_of(client, answer.json()["id"]))
    width, height = frames[0].size
    spot = (width // 2, height * 3 // 5)
    red, _, blue = frames[0].getpixel(spot)
    assert red > 200 > 60 > blue
    red, _, blue = frames[-1].getpixel(spot)
    assert blue > 200 > 60 > red


@pytest.mark.parametrize(
    ("scale", "size"), [(1, (1112, 834)), (0.25, (278, 208)), (0.001, (16, 16)), (0.5, (556, 416))]
)
def test_scaled_sizes_are_even_and_not_too_small(scale: float, size: tuple[int, int]) -> None:
    assert scaled((1112, 834), scale) == size


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    config = SandboxConfig(latency=(0, 0), scale=0.05, store=tmp_path / "s.db", cache_bytes=1)
    with SandboxServer(config) as server, connect(server) as client:
        for seed in range(3):
            video_of(client, create(client, seed=seed))
        assert len(list((tmp_path / "rendered").glob("*.mp4"))) == 1
