"""The lock that proves that an earlier driver of lanes has ended, on real files and processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from runner.ledger import driver_lock
from runner.ledger.driver_lock import DriverLock
from runner.project import Project, init_project
from runner.run.lock import project_lock
from tests.support.command_process import environment

pytestmark = [
    pytest.mark.fault(160),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no boot has an id, so nothing is proved"),
]

DRIVE = """
import os, sys, time
from pathlib import Path
from runner.ledger import driver_lock
driver_lock._LOCAL = sys.argv[3:]
lock = driver_lock.DriverLock.take(Path(sys.argv[1]))
child = os.fork() if sys.argv[2] == "fork" else 0
if child or sys.argv[2] != "fork":
    print(lock.own, child, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _any_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the temporary files counts as local, whatever it is."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(driver_lock, "_LOCAL", {driver_lock._file_system(descriptor)})
    os.close(descriptor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "driver"


def taken(path: Path) -> DriverLock:
    lock = DriverLock.take(path)
    assert lock is not None
    return lock


@contextmanager
def driver(path: Path, how: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A process that holds the lock, the name by which leases know it, and its child."""
    line = [sys.executable, "-c", DRIVE, str(path), how, *driver_lock._LOCAL]
    with subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        own, child = process.stdout.readline().split()
        try:
            yield process, own, int(child)
        finally:
            process.kill()


def test_whoever_holds_it_knows_who_has_let_go(path: Path) -> None:
    names = []
    for _ in range(3):
        lock = taken(path)
        assert lock.ended == {*names}
        assert lock.own not in names
        names.append(lock.own)
        lock.close()


def test_the_file_stays_small_and_forgets_the_oldest(path: Path) -> None:
    names = []
    for _ in range(driver_lock._MOST_TOKENS + 8):
        lock = taken(path)
        names.append(lock.own)
        lock.close()
    last = taken(path)
    assert last.ended == {*names[1 - driver_lock._MOST_TOKENS :]}
    last.close()


def test_a_stopped_process_holds_it_and_a_killed_one_has_ended(path: Path) -> None:
    with driver(path, "alone") as (process, own, _):
        process.send_signal(signal.SIGSTOP)
        assert DriverLock.take(path) is None
        process.kill()
        process.wait()
        lock = taken(path)
        assert lock.ended == {own}
        lock.close()


def test_a_forked_child_holds_it_for_longer_than_its_parent(path: Path) -> None:
    """It may have what its parent would send with."""
    with driver(path, "fork") as (process, own, child):
        process.kill()
        process.wait()
        assert DriverLock.take(path) is None
        os.kill(child, signal.SIGKILL)
        # it is not a child of this process, which can see its end by the lock alone
        ends = time.monotonic() + 60.0
        while (lock := DriverLock.take(path)) is None:
            assert time.monotonic() < ends
            time.sleep(0.005)
        assert lock.ended == {own}
        lock.close()


def test_a_copy_of_the_project_proves_nothing(path: Path) -> None:
    """Its file has the same tokens, and can be locked while the process at the original lives."""
    first = taken(path)
    copy = shutil.copy2(path, path.with_name("copy"))
    second = taken(copy)
    assert len(second.ended) == 1
    assert first.own not in second.ended
    first.close()
    second.close()


def test_a_clone_of_the_machine_proves_nothing(path: Path) -> None:
    """The same boot, and a file of the same number; what began there later wrote its token elsewhere."""
    before = taken(path)
    before.close()
    as_cloned = path.read_bytes()
    there = taken(path)
    there.close()
    path.write_bytes(as_cloned)
    here = taken(path)
    assert here.ended == {before.own}
    here.close()


def test_another_boot_proves_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taken(path)
    first.close()
    boot = tmp_path / "boot"
    boot.write_text("another\n")
    monkeypatch.setattr(driver_lock, "_BOOT", boot)
    second = taken(path)
    assert first.own not in second.ended
    second.close()
    boot.write_text("")
    assert DriverLock.take(path) is None
    boot.unlink()
    assert DriverLock.take(path) is None


def test_another_file_in_its_place_proves_nothing(path: Path) -> None:
    first = taken(path)
    tokens = path.read_bytes()
    path.unlink()
    path.write_bytes(tokens)
    second = taken(path)
    assert first.own not in second.ended
    first.close()
    second.close()


def test_a_file_system_of_several_machines_proves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("nfs4", "fuse.sshfs", "overlay", "9p", ""):
        monkeypatch.setattr(driver_lock, "_file_system", lambda _descriptor, kind=kind: kind)
        monkeypatch.setattr(driver_lock, "_LOCAL", frozenset({"ext4", "tmpfs"}))
        assert DriverLock.take(path) is None


def test_the_kernel_says_what_a_file_lies_on() -> None:
    with Path("/proc/self/status").open() as file:
        assert driver_lock._file_system(file.fileno()) == "proc"


def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    assert DriverLock.take(path) is None
    assert not path.with_name("elsewhere").exists()


def test_no_child_process_has_the_locks_or_the_way_to_the_ledger(tmp_path: Path, ledger_url: str) -> None:
    project: Project = init_project(tmp_path)
    with project_lock(project), closing(psycopg.connect(ledger_url)) as connection:
        lock = taken(project.driver_lock_path)
        ours = {str(project.lock_path.resolve())}
        for descriptor in (lock._descriptor, connection.fileno()):
            ours.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        listed = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True, check=True
        )
        assert not [each for each in ours if each in listed.stdout]
        lock.close()
