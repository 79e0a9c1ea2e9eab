"""What a job file may not decide by itself: where the key is sent, and whom the service calls.

A job file may come from a pull request. `--trust-job` says that whoever runs it has read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from runner.job.problems import Checked
from runner.job.values import scalars
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import Node, Path, Scalar, Sequence, find
from runner.providers import BUILT_IN
from runner.providers.provider import Provider

_FREE_NAMES = frozenset({"vars", "env"})
"""Top-level keys whose entries are named by the author: no part of a request stands below them."""

_HERE = r"(?:127\.0\.0\.1|localhost|\[::1\])"
_LOOPBACK = re.compile(rf"https?://{_HERE}(?::[0-9]+)?(?:/[A-Za-z0-9/._-]*)?")
"""Plain on purpose: two readers of one odd address may find two hosts in it."""

_LOCAL_PORT = re.compile(rf"{_HERE}:[0-9]+")
_LISTEN = ("run", "webhook", "listen")


def check_addresses(document: MappingNode, providers: Iterable[Provider]) -> Checked[None]:
    """Each address that only a trusted job may name."""
    base_url = document.get("base_url")
    if base_url is not None:
        yield base_url.location.error(
            "a job file must not decide where the API key is sent",
            "give --base-url URL on the command line, or --trust-job",
        )
    webhook = find(document, _LISTEN[:-1])
    listen = webhook.get("listen") if isinstance(webhook, MappingNode) else None
    if isinstance(listen, Scalar) and not _LOCAL_PORT.fullmatch(listen.text):
        yield listen.location.error(
            "this would open a port to the network, which a job file must not decide",
            "listen on 127.0.0.1, or give --trust-job",
        )
    fields = {each.callback_field for each in (*BUILT_IN.values(), *providers)}
    for scalar in _callbacks(document, frozenset(fields)):
        yield scalar.location.error(
            "the service would tell this address of your results, which a job file must not decide",
            "if the address is yours: --trust-job",
        )


def _callbacks(document: MappingNode, fields: frozenset[str]) -> Iterator[Scalar]:
    for key, node in document:
        if key.value in _FREE_NAMES or str(key.value).startswith("x-"):
            continue
        for found in _called(node, (str(key.value),), fields):
            for scalar in scalars(found):
                # empty, or the sandbox's address in a rehearsal, is allowed; the schema reports other types
                if isinstance(scalar.value, str) and not _LOOPBACK.fullmatch(scalar.value):
                    yield scalar


def _called(node: Node, path: Path, fields: frozenset[str]) -> Iterator[Node]:
    """The values of one of the fields, wherever a request, an axis or a step sets it, and of `public_url`."""
    match node:
        case Sequence(items=items):
            for number, item in enumerate(items):
                yield from _called(item, (*path, number), fields)
        case MappingNode(entries=entries):
            for key, child in entries:
                below = (*path, str(key.value))
                if key.value in fields or below == ("run", "webhook", "public_url"):
                    yield child
                else:
                    yield from _called(child, below, fields)
