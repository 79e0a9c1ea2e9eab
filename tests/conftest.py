"""Fixtures for every test: both event loops, and a home directory that nothing may touch."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, settings

from runner.desk import posters
from runner.media import readers
from runner.media.pictures import Picture, Wanted
from runner.record import verify
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from runner.sandbox.results import render
from runner.sandbox.results.picture import Picture as Drawn
from runner.sandbox.results.render import render_video
from runner.store.files import LocalFiles
from tests.support import dask
from tests.support.clips import make_clip
from tests.support.job_bench import JobBench
from tests.support.postgres import Cluster, shared_cluster
from tests.support.run_bench import RunBench
from tests.support.s3 import S3, moto_server, proxied

# One commit has one verdict, on machines of any speed; `--hypothesis-profile explore` looks further.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("explore"), derandomize=True, max_examples=50)
settings.load_profile("same")


LOOPS = ("asyncio", "trio")


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The async suite runs on both backends that the engine promises."""
    return str(request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole run's tests are made on one loop each time, now this and now that one by the test's name; the
    other one is evidence. All others are made on both.
    """
    for item in items:
        loop = item.callspec.params.get("anyio_backend") if hasattr(item, "callspec") else None
        if loop is None or item.path.parent.name not in ("run", "lane"):
            continue
        alike = item.nodeid.replace(str(loop), "")
        if loop != LOOPS[zlib.crc32(alike.encode()) % len(LOOPS)]:
            item.add_marker(pytest.mark.evidence)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the developer's keys or home directory."""
    for name in (
        "MESHAPI_API_KEY",
        "MESHAPI_TOKEN",
        "MESHAPI_BASE_URL",
        "GETIMG_API_KEY",
        "GETIMG_AI_BASE_URL",
        "FAL_KEY",
        "FAL_BASE_URL",
        *(name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(Path(tmp_path_factory.getbasetemp()) / "home"))


@pytest.fixture(autouse=True)
def pictures_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests ask for the same few videos, and encoding was most of the work of those with a server."""

    def write(picture: Drawn, video: Path) -> None:
        video.write_bytes(_encode(picture))

    monkeypatch.setitem(render.RENDER, "video.mp4", write)


@functools.lru_cache(maxsize=256)
def _encode(picture: Drawn) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        video = Path(directory, "video.mp4")
        render_video(picture, video)
        return video.read_bytes()


@pytest.fixture(autouse=True)
def pictures_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which FFmpeg reads was nearly half the work of a test that runs a job."""

    def read_once(file: BinaryIO, wanted: Wanted) -> Picture:
        if readers._COMMAND is not _READER:  # the test is about that process
            return readers.read(file, wanted)
        file.seek(0)
        key = wanted, hashlib.file_digest(file, "sha256").digest()
        if key not in _READ:
            picture = readers.read(file, wanted)
            if picture.why:
                return picture
            _READ[key] = picture
        return _READ[key]

    monkeypatch.setattr(posters, "read", read_once)
    monkeypatch.setattr(verify, "read", read_once)


_READER = readers._COMMAND
_READ: dict[tuple[Wanted, bytes], Picture] = {}
"""What FFmpeg made of each file that is sound."""


@pytest.fixture(scope="session")
def clip() -> bytes:
    """An MP4 of about 30 kB, index first, with sound."""
    return make_clip(sound=True)


@pytest.fixture(scope="session")
def moto() -> Iterator[int]:
    """The port of an S3 server."""
    with moto_server() as port:
        yield port


@pytest.fixture
def s3(moto: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """That server behind a proxy of this test's own, which the environment leads to."""
    with proxied(moto) as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture(scope="session")
def daskers(tmp_path_factory: pytest.TempPathFactory, moto: int) -> Iterator[dask.Cluster]:
    """Two workers, whose environment leads to the S3 server."""
    storage = S3(moto, f"http://127.0.0.1:{moto}").environment()
    with dask.dask_cluster(tmp_path_factory.mktemp("dask"), workers=2, **storage) as running:
        yield running


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """PostgreSQL for all tests that only need one that runs."""
    return shared_cluster()


@pytest.fixture
def ledger_url(cluster: Cluster) -> str:
    """Where a shared ledger may be made; nothing is there yet."""
    return cluster.make_schema()


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> RunBench:
    return RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)


@pytest.fixture
def jobs(tmp_path: Path) -> JobBench:
    return JobBench(tmp_path / "project")
