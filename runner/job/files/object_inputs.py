"""Inputs that lie in object storage: which of them a job may name, and what is known of their contents.

Reading one takes the owner's credentials, and whoever gets the address that is signed for it can read it. So
a job file, which may come from a stranger, names only what lies below the `inputs` of the project file,
unless `--trust-job` says that somebody has read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.durable import replace_file
from runner.errors import StateError, UsageError
from runner.job.problems import InvalidValueError
from runner.objects.address import AddressError, ObjectAddress
from runner.providers.base import INPUT_SCHEME, KEY_SCHEME
from runner.typed_json import read

if TYPE_CHECKING:
    from runner.objects.store import ObjectFacts, ObjectStore

OBJECTS = "objects.json"
"""In the state directory: what is remembered of objects that were read."""

_MOST_BYTES = 64 << 20
"""Of the file that remembers digests."""


_READ: dict[Path, dict[str, KnownObject]] = {}
"""What this process has read, by the file that remembers it: a new clone has no state directory yet."""


@dataclass(frozen=True, slots=True)
class KnownObject:
    """An object as it was when it was read; `etag` changes with its content."""

    etag: str
    size: int
    sha256: str


@dataclass(slots=True)
class ObjectInputs:
    """`allowed` are the prefixes below which a job may read, None for all. `memory` remembers digests, so
    that each content is read once. `is_offline`: nothing is asked, and an object is known by its address.
    """

    allowed: tuple[ObjectAddress, ...] | None
    memory: Path
    is_offline: bool
    trust_env: bool = False
    _known: dict[str, KnownObject] | None = None
    _names: dict[str, str] = field(default_factory=dict)

    def check(self, text: str) -> ObjectAddress:
        """The object that a job names. Raises InvalidValueError where it may not."""
        try:
            address = ObjectAddress.parse(text)
        except AddressError as error:
            raise InvalidValueError(f"the address {error}", "s3://BUCKET/KEY") from None
        if not address.key:
            raise InvalidValueError("an object has a key behind its bucket", "s3://BUCKET/KEY")
        if self.allowed is not None and not any(each.covers(address) for each in self.allowed):
            raise InvalidValueError(
                "a job file must not decide what of your storage is read",
                f"write `inputs: [{address.whole_bucket}]` into callsheet.yaml, or give --trust-job",
            )
        return address

    def name(self, text: str) -> str:
        """What stands for the object in a request: its content's digest, as for a local file.

        Raises InvalidValueError where it cannot be read.
        """
        address = self.check(text)
        if self.is_offline:
            return f"{KEY_SCHEME}{address}"
        if text not in self._names:
            self._names[text] = INPUT_SCHEME + self._digest(address)
        return self._names[text]

    def _digest(self, address: ObjectAddress) -> str:
        # imported here: it takes 40 ms, and few jobs name an object
        from runner.http.route import find_route
        from runner.objects.store import ObjectError, Stores

        try:
            stores = Stores(find_route(os.environ, trust_env=self.trust_env))
            return self._digest_in(stores.of(address), address)
        except (ObjectError, UsageError) as error:
            raise InvalidValueError(error.message, error.hint, is_missing_input=True) from None

    def _digest_in(self, store: ObjectStore, address: ObjectAddress) -> str:
        facts = store.facts(address.key)
        known = self._remembered().get(str(address))
        if facts is not None and known is not None and (facts.etag, facts.size) == (known.etag, known.size):
            return known.sha256
        found = read_object(store, address.key, facts)
        if found.etag:
            self._remember(str(address), found)
        return found.sha256

    def _remembered(self) -> dict[str, KnownObject]:
        if self._known is None:
            self._known = dict(remembered(self.memory))
        return self._known

    def _remember(self, address: str, found: KnownObject) -> None:
        _READ.setdefault(self.memory, {})[address] = found
        # what another process has remembered meanwhile stays
        known = self._known = {**remembered(self.memory), address: found}
        # a checkout may have no state directory, and a full disk costs the next plan some time
        with contextlib.suppress(OSError, StateError):
            if self.memory.parent.is_dir():
                with replace_file(self.memory) as file:
                    file.write(json.dumps({name: asdict(each) for name, each in known.items()}).encode())


def read_object(store: ObjectStore, key: str, facts: ObjectFacts | None) -> KnownObject:
    """What an object is by its bytes. Raises ObjectError, also where they are not those of `facts`."""
    # imported here: it takes 40 ms, and few jobs name an object
    from runner.objects.store import ObjectError, ObjectTrouble

    etag, content, size = "" if facts is None else facts.etag, hashlib.sha256(), 0
    for chunk in store.read(key, etag=etag):
        content.update(chunk)
        size += len(chunk)
    if facts is not None and size != facts.size:
        at = store.address.child(key)
        raise ObjectError(
            ObjectTrouble.CHANGED,
            f"{at}: {size:,} of its {facts.size:,} bytes came",
            hint="it is changing just now, or the store cut it short: try again",
        )
    return KnownObject(etag, size, content.hexdigest())


def remembered(memory: Path) -> Mapping[str, KnownObject]:
    """What is remembered of objects, by address; what this process has read where the file cannot be."""
    own = _READ.get(memory, {})
    try:
        if memory.stat().st_size > _MOST_BYTES:
            return own
        said = json.loads(memory.read_bytes())
        return own | {str(name): read(KnownObject, each) for name, each in said.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return own


def addresses_of(written: Sequence[str]) -> tuple[ObjectAddress, ...]:
    """Those of the project file, which were checked there."""
    return tuple(map(ObjectAddress.parse, written))
