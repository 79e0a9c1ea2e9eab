"""Scripts as the services' documentation writes them, with nothing changed but the base URL.

They are kept apart from this project's code: what they read is what a client of the service reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.sandbox_requests import NO_TLS


@pytest.fixture
def base_url() -> Iterator[str]:
    with SandboxServer(SandboxConfig(latency=(0.1, 0.2), scale=0.05)) as server:
        server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=429, retry_after=0.0))
        yield server.url


def post(client: httpx.Client, path: str, request: dict[str, object]) -> httpx.Response:
    """As the official clients do: a 429 is waited for and sent again."""
    while (answer := client.post(path, json=request)).status_code == 429:
        time.sleep(float(answer.headers["Retry-After"]))
    return answer.raise_for_status()


def download(url: str, file: Path) -> None:
    """Results are fetched without the key."""
    with httpx.stream("GET", url, verify=NO_TLS) as answer, file.open("wb") as out:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            out.write(chunk)


def is_mp4(file: Path) -> bool:
    return file.read_bytes()[4:8] == b"ftyp"


def test_a_script_for_mesh_api_runs_against_the_sandbox(base_url: str, tmp_path: Path) -> None:
    headers = {
        "Authorization": "Bearer rsk_from_the_docs",
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    with httpx.Client(base_url=base_url, headers=headers, verify=NO_TLS) as client:
        created = post(
            client,
            "/v1/video/generations",
            {
                "model": "byteplus/seedance-1-0-pro",
                "content": [{"type": "text", "text": "A teapot spins, steam rising"}],
                "resolution": "480p",
                "ratio": "16:9",
                "duration": 4,
                "seed": 1276,
                "return_last_frame": True,
            },
        )
        task_id = created.json()["id"]

        listed = client.get("/v1/video/generations", params={"limit": 10}).raise_for_status().json()
        assert [task["id"] for task in listed["data"]] == [task_id]
        assert (listed["object"], listed["total"], listed["has_more"]) == ("list", 1, False)

        while True:
            task = client.get(f"/v1/video/generations/{task_id}").raise_for_status().json()
            if task["status"] in ("succeeded", "failed", "expired", "cancelled"):
                break
            assert task["status"] in ("pending", "queued", "running")
            time.sleep(0.02)
    assert task["status"] == "succeeded"
    assert (task["seed"], task["resolution"], task["duration"]) == (1276, "480p", 4)
    assert task["usage"]["total_tokens"] > 0
    download(task["content"]["video_url"], tmp_path / "video.mp4")
    download(task["content"]["last_frame_url"], tmp_path / "last.png")
    assert is_mp4(tmp_path / "video.mp4")
    assert (tmp_path / "last.png").read_bytes().startswith(b"\x89PNG")


def test_a_script_for_getimg_runs_against_the_sandbox(base_url: str, tmp_path: Path) -> None:
    with httpx.Client(
        base_url=base_url, headers={"Authorization": "Bearer key-from-the-docs"}, verify=NO_TLS
    ) as client:
        models = client.get("/v2/models", params={"type": "video"}).raise_for_status().json()
        assert "seedance-v2-0" in [model["id"] for model in models]

        created = post(
            client,
            "/v2/videos/generations",
            {
                "model": "seedance-v2-0",
                "prompt": "A teapot spins, steam rising",
                "aspect_ratio": "16:9",
                "resolution": "720p",
                "duration": 5,
                "sound": True,
            },
        )
        assert created.status_code == 202
        generation = created.json()
        assert generation["status"] == "pending"

        started = time.monotonic()
        while generation["status"] == "pending":
            assert time.monotonic() - started < 30
            time.sleep(0.02)
            generation = client.get(f"/v2/videos/generations/{generation['id']}").raise_for_status().json()
    assert generation["status"] == "completed"
    (video,) = generation["data"]
    assert (video["mime_type"], video["has_sound"], video["fps"]) == ("video/mp4", True, 24)
    assert generation["usage"]["total_cost"] == pytest.approx(5 * generation["usage"]["unit_price"])
    download(video["url"], tmp_path / "video.mp4")
    assert is_mp4(tmp_path / "video.mp4")


def test_a_client_hears_why_a_generation_failed(base_url: str) -> None:
    """getimg answers 200 with the error; the client must not take the status code for success."""
    with httpx.Client(base_url=base_url, headers={"Authorization": "Bearer k"}, verify=NO_TLS) as client:
        request = {"model": "seedance-v1-pro", "prompt": "[violate] the rules"}
        generation = post(client, "/v2/videos/generations", request).json()
        while generation["status"] == "pending":
            time.sleep(0.02)
            generation = client.get(f"/v2/videos/generations/{generation['id']}").json()
    assert generation["status"] == "failed"
    assert set(generation["error"]) == {"code", "message"}
