"""The proof that an earlier driver of lanes has ended: a lock that no process outlives.

A process that drives lanes of a shared ledger holds flock(2) on a file of its project until it can send
nothing more. Its leases name that file, the boot of the machine, and the token that it wrote there. Whoever
holds the lock on that very file later knows that the processes whose tokens it finds there have let go. A
process that is stopped has not, and neither has one with a thread at work.

A copy of the project is another file. A clone of a virtual machine may have the same boot, and number its
files alike, but the file there has no token of a process that began after the cloning.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"})
"""They belong to one kernel, and number each file once. On a network, in FUSE and in an overlay a lock may be
lost while its process lives, or a number may be another file's."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Linux alone has it."""

_MOST_TOKENS = 64


@dataclass(frozen=True, slots=True)
class DriverLock:
    """`own` names this process in its leases; `ended` are the names of those that held the lock before it."""

    own: str
    ended: frozenset[str]
    _descriptor: int

    @classmethod
    def take(cls, path: Path) -> DriverLock | None:
        """None where it could prove nothing. Enter it under the project's lock, and close it behind all
        that may send.
        """
        try:
            boot = _BOOT.read_text(encoding="ascii", errors="replace").strip()
            # no program that is started from here inherits it: the lock would outlive this process
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            taken = cls._locked(descriptor, boot)
        except OSError:
            taken = None
        if taken is None:
            os.close(descriptor)
        return taken

    @classmethod
    def _locked(cls, descriptor: int, boot: str) -> DriverLock | None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not boot or _file_system(descriptor) not in _LOCAL:
            return None
        found = os.fstat(descriptor)
        place = f"{boot} {found.st_dev}:{found.st_ino}"
        earlier = os.pread(descriptor, 1 << 16, 0).decode(errors="replace").split()[1 - _MOST_TOKENS :]
        own = secrets.token_hex(16)
        written = "\n".join([*earlier, own, ""]).encode()
        os.ftruncate(descriptor, 0)
        if os.pwrite(descriptor, written, 0) != len(written):
            return None
        return cls(_name(place, own), frozenset(_name(place, token) for token in earlier), descriptor)

    def close(self) -> None:
        """Nothing can be sent any more by leases that name this lock."""
        os.close(self._descriptor)


def _name(place: str, token: str) -> str:
    """A hash, so that the ledger tells nothing of the machine."""
    return hashlib.sha256(f"{place} {token}".encode()).hexdigest()


def _file_system(descriptor: int) -> str:
    """The kernel's name for its type; empty where it does not say. Raises OSError.

    By the mount of the open file: no mount has the device's number that btrfs gives.
    """
    about = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii", errors="replace")
    mount = re.search(r"^mnt_id:\s*(\d+)$", about, re.M)
    if mount is None:
        return ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="ascii", errors="replace").splitlines():
        told, _, behind = line.partition(" - ")
        if told.partition(" ")[0] == mount[1]:
            return behind.partition(" ")[0]
    return ""
