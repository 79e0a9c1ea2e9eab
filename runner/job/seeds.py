"""Seeds: the list in the job file, and the seed that a take derives from its request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.job.problems import InvalidValueError
from runner.json_value import JsonValue, canonical_json
from runner.providers.provider import Provider

MOST_SEED = 4_294_967_295
"""The largest that a job file takes: what the service once took. -1 there means that it picks one."""


class SeedError(InvalidValueError):
    """The text is not a seed."""


_RANGE = re.compile(r"\s*(\d{1,10})\s*\.\.\s*(\d{1,10})\s*")
_NUMBER = re.compile(r"\s*-?\d{1,40}\s*")


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds in the order of the file, kept as ranges: `0..99999` costs no memory."""

    ranges: tuple[range, ...]

    def __iter__(self) -> Iterator[int]:
        for part in self.ranges:
            yield from part

    def __len__(self) -> int:
        return sum(len(part) for part in self.ranges)

    def __contains__(self, seed: object) -> bool:
        return isinstance(seed, int) and any(seed in part for part in self.ranges)


def parse_seeds(value: int | str) -> range:
    """One seed, or an inclusive range such as `1..4`. Raises SeedError with a sentence."""
    if isinstance(value, str):
        bounds = _RANGE.fullmatch(value)
        if bounds is not None:
            first, last = int(bounds[1]), int(bounds[2])
            if first > last:
                raise SeedError(f"`{value}` is empty: a range runs upwards", f"seeds: {last}..{first}")
            check_seed(first)
            check_seed(last)
            return range(first, last + 1)
        if not _NUMBER.fullmatch(value):
            raise SeedError(f"`{value[:40]}` is neither a seed nor a range such as `1..4`")
        value = int(value)
    check_seed(value)
    return range(value, value + 1)


def check_seed(seed: int) -> None:
    """Raises SeedError where a request must not carry `seed`."""
    if seed == -1:
        raise SeedError(
            "-1 lets the service pick a seed, so the take could never be made again", "use `samples`"
        )
    if not 0 <= seed <= MOST_SEED:
        raise SeedError(f"a seed is between 0 and {MOST_SEED}")


def sent_seed(seed: int) -> int:
    """The seed that is sent for a derived one: its lower 31 bits, the most that the service takes."""
    return seed & 0x7FFF_FFFF


def derived_seed(provider: Provider, request: Mapping[str, JsonValue], sample: int) -> int:
    """The seed of take `sample` of `request`, 0..4294967295: the same on every machine.

    It is part of the identity as it stands; `sent_seed` is what goes out.

    sha256 over the fields that make the picture and the sample's index, its first 4 bytes.
    """
    digest = hashlib.sha256(canonical_json({"request": provider.picture(request), "sample": sample})).digest()
    return int.from_bytes(digest[:4], "big")
