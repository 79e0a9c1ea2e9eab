"""The disk for results: below one root, nothing overwritten, whole or absent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.store.files import LocalFiles, UnsafePathError, digest, place_copy, publish, replace_by


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"precious")
    return LocalFiles(tmp_path / "root")


def put(files: LocalFiles, path: str, content: bytes) -> Path:
    part = files.open_part(Path(path), keep=0)
    part.write(content)
    part.close()
    return Path(path)


def read(files: LocalFiles, path: str) -> bytes:
    with files.open(Path(path)) as file:
        return file.read()


def test_a_part_is_made_with_its_directories_and_grows_at_its_end(files: LocalFiles) -> None:
    put(files, "a/b/c.part", b"123456")
    part = files.open_part(Path("a/b/c.part"), keep=4)
    part.write(b"xy")
    part.close()
    assert read(files, "a/b/c.part") == b"1234xy"


def test_an_absolute_path_below_the_root_is_the_same_file(files: LocalFiles) -> None:
    put(files, "a/b", b"1")
    assert files.stat(files.root / "a/b") == files.stat(Path("a/b"))


def test_what_is_not_there_has_no_stat_and_cannot_be_opened(files: LocalFiles) -> None:
    assert files.stat(Path("none")) is None
    assert files.stat(Path("no/such/file")) is None
    files.remove(Path("no/such/file"))
    with pytest.raises(FileNotFoundError):
        files.open(Path("none"))
    with pytest.raises(FileNotFoundError):
        files.sync_dir(Path("no/such/file"))


@pytest.mark.parametrize(
    "path", ["../outside/secret", "a/../../outside/secret", "/etc/passwd", ".", "", "a/.."]
)
def test_a_path_out_of_the_root_is_refused(files: LocalFiles, path: str) -> None:
    for operation in (
        files.stat,
        files.open,
        files.remove,
        files.free_bytes,
        files.sync_dir,
        files.sync_file,
    ):
        with pytest.raises(UnsafePathError):
            operation(Path(path))
    with pytest.raises(UnsafePathError):
        files.open_part(Path(path), keep=0)


@pytest.mark.security(4)
@given(names=st.lists(st.sampled_from(["a", "..", ".", "link", "/", "inside", "secret"]), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_writes_outside(files: LocalFiles, tmp_path: Path, names: list[str]) -> None:
    """Whatever the components: links out of the root, links inside it, parents, absolute ones."""
    for name, target in (("link", tmp_path / "outside"), ("inside", files.root / "real")):
        if not (files.root / name).is_symlink():
            (files.root / name).symlink_to(target)
    with contextlib.suppress(UnsafePathError, OSError):
        put(files, str(Path(*names)) if names else "", b"ours")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside/secret").read_bytes() == b"precious"
    assert {path.name for path in tmp_path.iterdir()} == {"root", "outside"}


def test_a_link_that_stays_below_the_root_is_followed(files: LocalFiles) -> None:
    (files.root / "disk").mkdir()
    (files.root / "out").symlink_to("disk")
    publish(files, put(files, "out/x.part", b"1"), Path("out/x"))
    assert (files.root / "disk/x").read_bytes() == b"1"


def test_a_parent_that_leads_out_is_refused_with_what_to_do(files: LocalFiles, tmp_path: Path) -> None:
    (files.root / "out").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePathError, match="replace the link by a directory"):
        files.open(Path("out/secret"))
    with pytest.raises(UnsafePathError):
        publish(files, put(files, "x.part", b"1"), Path("out/x"))
    with pytest.raises(UnsafePathError):
        place_copy(files, Path("x.part"), Path("out/x"))


@pytest.mark.security(4)
def test_a_parent_swapped_for_a_link_between_check_and_use_leads_nowhere(
    files: LocalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk itself follows no link, so the check need not be repeated."""
    put(files, "disk/x", b"1")
    (files.root / "out").symlink_to("disk")
    honest = os.path.realpath

    def swapped(path: Path) -> str:
        answer = honest(path)
        (files.root / "disk").rename(files.root / "moved")
        (files.root / "disk").symlink_to(tmp_path / "outside")
        return answer

    monkeypatch.setattr(os.path, "realpath", swapped)
    with pytest.raises(UnsafePathError, match="stands in the way"):
        files.open_part(Path("out/secret"), keep=0)
    assert (tmp_path / "outside/secret").read_bytes() == b"precious"


def test_a_final_name_that_is_a_link_is_refused(files: LocalFiles, tmp_path: Path) -> None:
    (files.root / "x").symlink_to(tmp_path / "outside/secret")
    (files.root / "inside").symlink_to("y")
    put(files, "y", b"1")
    for name in (Path("x"), Path("inside")):
        for operation in (files.stat, files.open, files.sync_file):
            with pytest.raises(UnsafePathError):
                operation(name)
        with pytest.raises(UnsafePathError):
            files.open_part(name, keep=0)
        with pytest.raises(UnsafePathError):
            files.link_new(name, Path("z"))
        with pytest.raises(UnsafePathError):
            files.rename_new(name, Path("z"))
        with pytest.raises(UnsafePathError):
            publish(files, put(files, "p", b"1"), name)
    assert (tmp_path / "outside/secret").read_bytes() == b"precious"


def test_a_pipe_or_a_directory_is_no_file_and_blocks_nobody(files: LocalFiles) -> None:
    os.mkfifo(files.root / "pipe")
    (files.root / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UnsafePathError):
            files.open(Path(name))
        with pytest.raises((UnsafePathError, IsADirectoryError)):
            files.open_part(Path(name), keep=0)


def test_a_file_in_the_place_of_a_directory_is_named(files: LocalFiles) -> None:
    put(files, "out", b"")
    with pytest.raises(UnsafePathError, match="out/x"):
        files.open_part(Path("out/x"), keep=0)


def test_publishing_moves_the_whole_file(files: LocalFiles) -> None:
    publish(files, put(files, "x.part", b"123"), Path("deep/x"))
    assert read(files, "deep/x") == b"123"
    assert files.stat(Path("x.part")) is None
    found = files.stat(Path("deep/x"))
    assert found is not None
    assert (found.size, found.links) == (3, 1)


def test_publishing_never_overwrites(files: LocalFiles) -> None:
    put(files, "x", b"old")
    with pytest.raises(FileExistsError):
        publish(files, put(files, "x.part", b"new"), Path("x"))
    assert (read(files, "x"), read(files, "x.part")) == (b"old", b"new")


def test_of_many_who_publish_one_name_at_once_one_wins(files: LocalFiles) -> None:
    for number in range(8):
        put(files, f"{number}.part", b"%d" % number)
    outcomes: list[str] = []

    def attempt(number: int) -> None:
        try:
            publish(files, Path(f"{number}.part"), Path("x"))
            outcomes.append(str(number))
        except FileExistsError:
            outcomes.append("")

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert [name for name in outcomes if name] == [read(files, "x").decode()]


def test_a_publish_killed_between_its_two_names_is_brought_to_its_end(files: LocalFiles) -> None:
    put(files, "x.part", b"123")
    files.link_new(Path("x.part"), Path("x"))
    publish(files, Path("x.part"), Path("x"))
    assert read(files, "x") == b"123"
    assert files.stat(Path("x.part")) is None


def test_a_second_name_of_a_finished_file_is_never_written_to(files: LocalFiles) -> None:
    """The same kill, and the note is lost: starting over must not empty the finished file."""
    put(files, "x.part", b"123")
    files.link_new(Path("x.part"), Path("x"))
    with pytest.raises(UnsafePathError):
        files.open_part(Path("x.part"), keep=2)
    put(files, "x.part", b"fresh")
    assert (read(files, "x"), read(files, "x.part")) == (b"123", b"fresh")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_disk_without_hard_links_publishes_and_copies_too(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """exFAT and some network disks refuse link(2)."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    publish(files, put(files, "x.part", b"1"), Path("x"))
    with pytest.raises(FileExistsError):
        publish(files, put(files, "x.part", b"2"), Path("x"))
    place_copy(files, Path("x"), Path("copy"))
    with pytest.raises(FileExistsError):
        place_copy(files, Path("x.part"), Path("copy"))
    assert (read(files, "x"), read(files, "copy")) == (b"1", b"1")
    first, second = files.stat(Path("x")), files.stat(Path("copy"))
    assert first is not None
    assert second is not None
    assert first.file != second.file


def test_a_copy_is_a_second_name_where_that_works(files: LocalFiles) -> None:
    put(files, "x", b"1")
    place_copy(files, Path("x"), Path("a/copy"))
    place_copy(files, Path("x"), Path("a/copy"))
    found = files.stat(Path("a/copy"))
    assert found is not None
    assert found.links == 2
    put(files, "other", b"2")
    with pytest.raises(FileExistsError):
        place_copy(files, Path("x"), Path("other"))


def test_a_copy_that_fails_for_another_reason_says_so(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files, "x", b"1")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="broken disk"):
        place_copy(files, Path("x"), Path("y"))
    with pytest.raises(OSError, match="broken disk"):
        publish(files, Path("x"), Path("y"))


def test_publishing_syncs_the_file_before_the_name_and_the_directory_after(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New directories are synced in their parents too, or a power cut takes them with the file."""
    put(files, "x.part", b"1")
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def watched_fsync(handle: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def watched_link(source: str, target: str, **options: object) -> None:
        steps.append("link")
        link(source, target, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("runner.durable.fcntl", None)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    publish(files, Path("x.part"), Path("new/x"))
    assert steps == ["file", "directory", "link", "directory"]


def test_a_digest_is_of_the_whole_file(files: LocalFiles) -> None:
    put(files, "x", b"a" * 3_000_000)
    found = digest(files, Path("x"))
    assert found.size == 3_000_000
    assert found.sha256 == hashlib.sha256(b"a" * 3_000_000).hexdigest()


def test_free_space_is_that_of_the_disk(files: LocalFiles) -> None:
    disk = os.statvfs(files.root)
    assert 0 <= files.free_bytes(Path("a/b")) <= disk.f_blocks * disk.f_frsize


def test_no_handle_stays_open(files: LocalFiles) -> None:
    handles = Path("/dev/fd")
    put(files, "warm/up", b"1")
    before = len(list(handles.iterdir()))
    publish(files, put(files, "a/x.part", b"1"), Path("b/x"))
    place_copy(files, Path("b/x"), Path("c/x"))
    for path in ("../x", "a/none", "b/x/y"):
        with pytest.raises((UnsafePathError, FileNotFoundError)):
            files.open(Path(path))
    assert len(list(handles.iterdir())) == before


@pytest.mark.fault(83)
def test_a_new_take_replaces_what_is_kept_elsewhere(files: LocalFiles) -> None:
    put(files, "s1.mp4", b"old")
    files.link_new(Path("s1.mp4"), Path("s1.v1.mp4"))
    publish(files, put(files, "x.part", b"new"), Path("s1.mp4"), kept=Path("s1.v1.mp4"))
    assert (read(files, "s1.mp4"), read(files, "s1.v1.mp4")) == (b"new", b"old")
    assert files.stat(Path("x.part")) is None


@pytest.mark.fault(83)
@pytest.mark.parametrize("there", [b"changed since", b"eld"])
def test_what_is_kept_nowhere_is_not_replaced(files: LocalFiles, there: bytes) -> None:
    """Somebody has put another file there between the link and the rename."""
    put(files, "s1.v1.mp4", b"old")
    put(files, "s1.mp4", there)
    part = put(files, "x.part", b"new")
    with pytest.raises(FileExistsError):
        publish(files, part, Path("s1.mp4"), kept=Path("s1.v1.mp4"))
    with pytest.raises(FileExistsError):
        replace_by(files, part, Path("s1.mp4"), kept=Path("s1.v1.mp4"))
    assert (read(files, "s1.mp4"), read(files, "x.part")) == (there, b"new")
    assert sorted(path.name for path in files.root.iterdir()) == ["s1.mp4", "s1.v1.mp4", "x.part"]


@pytest.mark.fault(83)
@pytest.mark.parametrize("has_links", [True, False])
def test_a_version_goes_back_to_its_path_and_stays_where_it_is(
    files: LocalFiles, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files, "s1.v1.mp4", b"first")
    put(files, "s1.mp4", b"second")
    put(files, "s1.v2.mp4", b"second")
    if not has_links:
        monkeypatch.setattr(os, "link", _no_links)
    for kept in ("s1.v2.mp4", "s1.v1.mp4"):  # a second time, as after a kill
        replace_by(files, Path("s1.v1.mp4"), Path("s1.mp4"), kept=Path(kept))
        assert (read(files, "s1.mp4"), read(files, "s1.v1.mp4")) == (b"first", b"first")
    assert sorted(path.name for path in files.root.iterdir()) == ["s1.mp4", "s1.v1.mp4", "s1.v2.mp4"]


@pytest.mark.security(4)
def test_no_link_is_followed_or_replaced_by_a_rename(files: LocalFiles) -> None:
    put(files, "x", b"1")
    (files.root / "link").symlink_to("../outside/secret")
    (files.root / "directory").mkdir()
    for target in ("link", "directory"):
        with pytest.raises(UnsafePathError):
            files.rename_over(Path("x"), Path(target))
    assert (files.root / "../outside/secret").read_bytes() == b"precious"


def _no_links(*_names: object, **_options: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))
