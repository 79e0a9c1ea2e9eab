"""The boxes of MP4 and MOV (ISO/IEC 14496-12), and where a track's samples lie in the file.

Read with bounds in number and memory: a hostile file is small and claims much.
"""

from __future__ import annotations

import array
import itertools
import operator
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

MOST_BOXES = 100_000
"""Boxes side by side, and chunks of a picture: an hour in fragments of a second has 7,200."""

_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
"""What a file may begin with: QuickTime's had no `ftyp` until 2005."""


class NotMediaError(ValueError):
    """The bytes are not a whole file of the kind that was promised; the text says what they are."""


class UnprovenError(NotMediaError):
    """A video, of which nothing shows whether it is whole."""


def top_boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, its size) of each top-level box."""
    position = 0
    for number in itertools.count():
        if position >= length:
            break
        if number == MOST_BOXES:
            raise NotMediaError(f"the video has more than {MOST_BOXES} boxes")
        if length - position < 8:
            raise NotMediaError(_cut_or_foreign(file, position, length))
        size, kind = struct.unpack(">I4s", read_at(file, position, 8))
        if position == 0 and kind not in _FIRST:
            raise NotMediaError(f"not an MP4: {describe(read_at(file, 0, min(64, length)))}")
        header = 8
        if size == 1 and length - position >= 16:
            (size,) = struct.unpack(">Q", read_at(file, position + 8, 8))
            header = 16
        elif size == 0:
            # the standard's "to the end of the file"; the answer's length or the index says where that is
            size = length - position
        if size < header or position + size > length:
            raise NotMediaError(_cut_or_foreign(file, position, length))
        yield kind, position + header, size - header
        position += size
    if length == 0:
        raise NotMediaError("the file is empty")


def _cut_or_foreign(file: BinaryIO, position: int, length: int) -> str:
    if position == 0:
        return f"not an MP4: {describe(read_at(file, 0, min(64, length)))}"
    return f"the video is cut off, or something else follows it, at byte {position} of {length}"


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of each box inside another."""
    position = 0
    for _ in range(MOST_BOXES):
        if position + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8 or position + size > len(data):
            raise NotMediaError("the video's index is broken")
        yield kind, data[position + 8 : position + size]
        position += size
    raise NotMediaError(f"the video's index has more than {MOST_BOXES} boxes")


def find(data: memoryview, *path: bytes) -> memoryview | None:
    for kind, content in boxes(data):
        if kind == path[0]:
            return content if len(path) == 1 else find(content, *path[1:])
    return None


def numbers(layout: str, data: memoryview, offset: int) -> tuple[int, ...]:
    """Big-endian numbers of a box. Raises NotMediaError where it is too short."""
    try:
        return struct.unpack_from(f">{layout}", data, offset)
    except struct.error as error:
        raise NotMediaError("the video's index is broken") from error


@dataclass(frozen=True, slots=True)
class Samples:
    """`claimed` is how many samples a track has by its own word, `end` the first byte behind all of them;
    None where its tables do not tell where each lies.
    """

    claimed: int
    end: int | None


Tables = Mapping[bytes, memoryview]
"""The boxes of a track's sample table (stbl), by kind."""


def read_tables(track: memoryview) -> Tables:
    """Raises NotMediaError where one claims more than it holds, or a run (stsc) begins behind all chunks."""
    table = find(track, b"mdia", b"minf", b"stbl")
    tables = {} if table is None else dict(boxes(table))
    for kind, width in ((b"stts", 8), (b"ctts", 8), (b"stss", 4), (b"stsc", 12)):
        if kind in tables and 8 + width * numbers("I", tables[kind], 4)[0] > len(tables[kind]):
            raise NotMediaError("the video's index is broken")
    runs, chunks = tables.get(b"stsc"), tables.get(b"stco", tables.get(b"co64"))
    if runs is not None and chunks is not None and (entries := numbers("I", runs, 4)[0]):
        (first,) = numbers("I", runs, 12 * entries - 4)
        if first > numbers("I", chunks, 4)[0]:
            raise NotMediaError("the video's index is broken")
    return tables


def read_samples(track: memoryview, tables: Tables) -> Samples:
    """Of one track (14496-12, 8.7)."""
    claimed = 0
    try:
        claimed = numbers("I", tables[b"stsz"], 8)[0] if b"stsz" in tables else 0
        return Samples(claimed, _end_of_samples(track, tables))
    except NotMediaError:
        return Samples(claimed, None)


def read_times(tables: Tables) -> tuple[int, int]:
    """How many samples a track times (stts), and how many ticks they last."""
    if b"stts" not in tables:
        return 0, 0
    flat = _array("I", tables[b"stts"], 8, 2 * numbers("I", tables[b"stts"], 4)[0])
    return sum(flat[0::2]), sum(map(operator.mul, flat[0::2], flat[1::2]))


def read_fragments(moofs: Iterable[bytes], moov: memoryview, track: memoryview) -> tuple[int, int]:
    """How many samples the fragments (moof; 14496-12, 8.8) hold of `track`, and how many ticks they last."""
    own, usual = _track_id(track), 0
    extends = find(moov, b"mvex")
    for kind, content in boxes(extends) if extends is not None else ():
        if kind == b"trex" and numbers("I", content, 4) == (own,):
            (usual,) = numbers("I", content, 12)
    samples = ticks = 0
    for moof in moofs:
        for kind, part in boxes(memoryview(moof)):
            header = find(part, b"tfhd") if kind == b"traf" else None
            if header is None or numbers("I", header, 4) != (own,):
                continue
            (flags,) = numbers("I", header, 0)
            each = numbers("I", header, 8 + 8 * (flags & 1) + 2 * (flags & 2))[0] if flags & 8 else usual
            for name, run in boxes(part):
                if name == b"trun":
                    count, lasted = _read_run(run, each)
                    samples, ticks = samples + count, ticks + lasted
    return samples, ticks


def _read_run(run: memoryview, each: int) -> tuple[int, int]:
    """Samples and ticks of one track run (trun), whose samples last `each` where it does not say."""
    flags, count = numbers("II", run, 0)
    if not flags & 0x100:
        return count, count * each
    columns = (flags >> 8 & 0xF).bit_count()
    start = 8 + 4 * (flags & 1) + (flags & 4)
    return count, sum(_array("I", run, start, count * columns)[::columns])


def _track_id(track: memoryview) -> int:
    header = find(track, b"tkhd")
    if header is None:
        return 0
    return numbers("I", header, 20 if numbers("B", header, 0) == (1,) else 12)[0]


def _end_of_samples(track: memoryview, tables: Tables) -> int | None:
    references = find(track, b"mdia", b"minf", b"dinf", b"dref")
    # a flag of each data reference says whether the samples are in this file
    if references is None or not all(numbers("I", entry, 0)[0] & 1 for _, entry in boxes(references[8:])):
        return None
    sizes, runs = tables.get(b"stsz"), tables.get(b"stsc")
    kind, chunks = ("Q", tables[b"co64"]) if b"co64" in tables else ("I", tables.get(b"stco"))
    if sizes is None or runs is None or chunks is None:
        return None
    each, count = numbers("II", sizes, 4)
    own = None if each else _array("I", sizes, 12, count)
    offsets = _array(kind, chunks, 8, numbers("I", chunks, 4)[0])
    placed = end = 0
    for chunk, held in zip(offsets, _samples_of_chunks(runs, len(offsets)), strict=False):
        taken = min(held, count - placed)
        size = each * taken if own is None else sum(own[placed : placed + taken])
        placed += taken
        if size:
            end = max(end, chunk + size)
    return end if placed == count else None


def _samples_of_chunks(runs: memoryview, chunks: int) -> Iterator[int]:
    """The number of samples in each chunk, from the runs of the sample-to-chunk box (stsc)."""
    (entries,) = numbers("I", runs, 4)
    flat = _array("I", runs, 8, 3 * entries)
    firsts = [*flat[0::3], chunks + 1]
    for held, (first, following) in zip(flat[1::3], itertools.pairwise(firsts), strict=True):
        yield from itertools.repeat(held, max(0, min(following, chunks + 1) - first))


def _array(kind: str, data: memoryview, offset: int, count: int) -> array.array[int]:
    """`count` big-endian numbers of 4 (`I`) or 8 (`Q`) bytes."""
    numbers = array.array(kind)
    content = data[offset : offset + count * numbers.itemsize]
    if len(content) < count * numbers.itemsize:
        raise NotMediaError("the video's index is broken")
    numbers.frombytes(content)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def read_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    data = file.read(size)
    if len(data) < size:
        raise NotMediaError("the file is cut off")
    return data


def describe(head: bytes) -> str:
    """What the first bytes look like, without repeating them: they are a stranger's."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "it is an HTML page"
    if start.startswith(b"<"):
        return "it is an XML document"
    if start.startswith((b"{", b"[")):
        return "it is a JSON document"
    return "unknown bytes" if head else "the file is empty"
