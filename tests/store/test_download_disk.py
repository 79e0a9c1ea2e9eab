"""Downloads and the disk: full, dying, already taken, or booby-trapped."""

from __future__ import annotations

import errno
import time
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from runner.store.download import DownloadError, DownloadTrouble
from runner.store.files import LocalFiles
from tests.support.download_requests import LIMITS, fetch, left_over, make_request, trouble_of
from tests.support.faulty_files import FullDisk, Killed, KilledFiles
from tests.support.files_server import Connection, FilesServer, Seen, file

pytestmark = pytest.mark.anyio


@pytest.mark.fault(44)
@pytest.mark.parametrize("operation", ["open_part", "write", "sync_file", "link", "sync_dir"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
async def test_a_disk_that_refuses_is_told_apart_and_loses_nothing(
    clip: bytes, files: LocalFiles, operation: str, number: int
) -> None:
    """The next attempt, on a disk with room, ends well."""
    with FilesServer(file(clip)) as server:
        with pytest.raises(DownloadError) as caught:
            await fetch(make_request(server.url()), FullDisk(files, operation, number))
        await fetch(make_request(server.url()), files)
    full = number != errno.EIO
    assert caught.value.trouble is (DownloadTrouble.DISK_FULL if full else DownloadTrouble.CANNOT_WRITE)
    assert (files.root / "out/clip.mp4").read_bytes() == clip


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_too_many_open_files_are_a_matter_of_waiting(
    clip: bytes, files: LocalFiles, number: int
) -> None:
    with FilesServer(file(clip)) as server:
        with pytest.raises(DownloadError) as caught:
            await fetch(make_request(server.url()), FullDisk(files, "open_part", number))
        await fetch(make_request(server.url()), files)
    assert caught.value.trouble is DownloadTrouble.RETRY


@pytest.mark.security(12)
@pytest.mark.fault(44)
async def test_too_little_free_space_is_told_before_reading(clip: bytes, files: LocalFiles) -> None:
    limits = replace(LIMITS, free_reserve=1 << 62)
    with FilesServer(file(clip)) as server:
        error = await trouble_of(make_request(server.url(), limits=limits), files)
    assert error.trouble is DownloadTrouble.DISK_FULL
    assert left_over(files) == set()


async def test_another_file_at_the_target_is_never_overwritten(clip: bytes, files: LocalFiles) -> None:
    target = files.root / "out/clip.mp4"
    target.parent.mkdir()
    target.write_bytes(b"somebody's")
    with FilesServer(file(clip)) as server:
        error = await trouble_of(make_request(server.url()), files)
    assert error.trouble is DownloadTrouble.TARGET_EXISTS
    assert target.read_bytes() == b"somebody's"
    assert (files.root / "out/clip.mp4.part").read_bytes() == clip


async def test_our_own_file_at_the_target_is_recognised(clip: bytes, files: LocalFiles) -> None:
    """A kill between the publishing and the ledger's commit leaves exactly this."""
    with FilesServer(file(clip)) as server:
        first = await fetch(make_request(server.url()), files)
        assert await fetch(make_request(server.url()), files) == first
    assert left_over(files) == {"clip.mp4"}


@pytest.mark.security(6)
@pytest.mark.parametrize("planted", ["out", "out/clip.mp4", "out/clip.mp4.part", "out/clip.mp4.part.json"])
async def test_a_planted_link_out_of_the_root_is_refused_unfetched(
    clip: bytes, tmp_path: Path, planted: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    root = tmp_path / "root"
    (root / planted).parent.mkdir(parents=True)
    (root / planted).symlink_to(outside if planted == "out" else outside / "file")
    with FilesServer(file(clip)) as server, pytest.raises(DownloadError) as caught:
        await fetch(make_request(server.url()), LocalFiles(root))
    assert caught.value.trouble is DownloadTrouble.PATH_TAKEN
    assert server.seen == []
    assert {path.name for path in outside.iterdir()} == {"file"}
    assert (outside / "file").read_bytes() == b"precious"


async def test_a_cancelled_download_goes_on_later(clip: bytes, files: LocalFiles) -> None:
    def answer(_: Seen, wire: Connection) -> None:
        wire.head(200, {"Content-Length": len(clip), "ETag": '"v1"'})
        wire.send(clip[:9000])
        wire.wait_for_close()

    with FilesServer(answer, file(clip)) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(fetch, make_request(server.url()), files)
            part = files.root / "out/clip.mp4.part"
            with anyio.fail_after(60):
                while not part.exists() or part.stat().st_size < LIMITS.batch:
                    await anyio.sleep(0.005)
            group.cancel_scope.cancel()
        await fetch(make_request(server.url()), files)
    assert int(server.seen[1].headers["range"][6:-1]) >= LIMITS.batch


async def test_a_kill_between_any_two_steps_leaves_no_file_or_a_whole_one(
    clip: bytes, tmp_path: Path
) -> None:
    """And the next start ends with the file, and nothing beside it."""
    with FilesServer(file(clip)) as server:
        for steps in range(80):
            (tmp_path / str(steps)).mkdir()
            store = LocalFiles(tmp_path / str(steps))
            target = store.root / "out/clip.mp4"
            killed = KilledFiles(store, steps)
            try:
                await fetch(make_request(server.url()), killed)
            except Killed:
                assert not target.exists() or target.read_bytes() == clip
            else:
                break
            await fetch(make_request(server.url()), store)
            assert target.read_bytes() == clip
            assert left_over(store) == {"clip.mp4"}
    assert killed.left >= 0
    assert steps > 10


async def test_a_finished_part_needs_no_network(clip: bytes, files: LocalFiles) -> None:
    """Killed after the last byte and before the final name: the server may be gone by now."""
    with FilesServer(file(clip)) as server:
        with pytest.raises(DownloadError):
            await fetch(make_request(server.url()), FullDisk(files, "link", errno.EIO))
        url = server.url()
    record = await fetch(make_request(url), files)
    assert record.bytes == len(clip)
    assert len(server.seen) == 1


async def test_a_published_file_under_the_part_s_name_is_not_written_to(
    clip: bytes, files: LocalFiles
) -> None:
    """A kill between the two names, and then a note that belongs to another file."""
    with FilesServer(file(clip, cut_at=9000), file(clip)) as server:
        await trouble_of(make_request(server.url()), files)
        part = files.root / "out/clip.mp4.part"
        part.rename(files.root / "out/finished.mp4")
        part.hardlink_to(files.root / "out/finished.mp4")
        await fetch(make_request(server.url()), files)
    assert "range" not in server.seen[1].headers
    assert (files.root / "out/finished.mp4").read_bytes() == clip[:9000]


async def test_notes_are_taken_on_the_way_and_not_only_at_the_end(
    clip: bytes, files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL runs no clean-up; what a note covers is not fetched again."""
    monkeypatch.setattr("runner.store.part._NOTE_EVERY", 8192)
    killed = KilledFiles(files, 6, only="write")

    def in_pieces(_: Seen, wire: Connection) -> None:
        wire.head(200, {"Content-Length": len(clip), "ETag": '"v1"'})
        for start in range(0, len(clip), 4096):
            wire.send(clip[start : start + 4096])
            time.sleep(0.005)

    with FilesServer(in_pieces, file(clip)) as server:
        with pytest.raises(Killed):
            await fetch(make_request(server.url()), killed)
        await fetch(make_request(server.url()), files)
    assert int(server.seen[1].headers["range"][6:-1]) >= 8192
