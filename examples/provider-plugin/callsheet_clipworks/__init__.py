"""Clipworks, a made-up service: one prompt, three shapes, a price for each second.

It has no list and repeats nothing of a request, so a submit whose outcome is unclear is held for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from callsheet_clipworks.dialect import ClipworksDialect
from runner.providers.base import Client
from runner.providers.provider import Provider, ServiceLimits

if TYPE_CHECKING:
    from runner.http.free import FreeRequests
    from runner.http.paid import PaidRequests


def _client(
    paid: PaidRequests, free: FreeRequests, wall: Callable[[], float], hosts: Mapping[str, FreeRequests]
) -> Client:
    # imported when a connection is opened: most verbs send nothing
    from callsheet_clipworks.client import ClipworksClient

    return ClipworksClient(paid, free, wall, hosts)


CLIPWORKS = Provider(
    name="clipworks",
    origin="https://api.clipworks.example",
    key_variables=("CLIPWORKS_API_KEY",),
    url_variable="CLIPWORKS_BASE_URL",
    folder=Path(__file__).parent,
    dialect=ClipworksDialect(path="/v1/clips", words={"ratio": "shape", "duration": "seconds"}),
    make_client=_client,
    limits=ServiceLimits(body=1_000_000, large_body=1_000_000),
    # the service promises a month, and a day for a film's URL
    record_life=30 * 86_400.0,
    url_life=86_400.0,
    content_fields={"prompt": "text"},
)
