"""Where a download may go: https to public addresses, and loopback only beside a loopback API."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable

import httpx

from runner.http.access import IPAddress, is_loopback_host, read_address

Resolve = Callable[[str, int], list[str]]
"""(host, port) to addresses, best first; blocking; raises OSError."""

_NAME = re.compile(rb"(?=.{1,254}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(Exception):
    """A URL that is not fetched; the text names scheme and host, never the signed rest."""


def check_url(url: str, *, allow_loopback: bool) -> httpx.URL:
    """The URL, parsed. Raises ForbiddenAddressError.

    It must be https without user info; http only to a loopback host, and that only with
    `allow_loopback`. A name is checked again, by its addresses, when it is connected to.
    """
    try:
        parsed = httpx.URL(url)
        where = f"{parsed.scheme}://{parsed.host}"
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: a surrogate, or no IDNA name
        raise ForbiddenAddressError("the result's URL is not a URL") from error
    if not parsed.host:
        raise ForbiddenAddressError(f"{where}: the result's URL has no host")
    if parsed.userinfo:
        raise ForbiddenAddressError(f"{where}: a URL with a user or a password is not fetched")
    if parsed.scheme not in ("https", "http"):
        raise ForbiddenAddressError(f"{where}: only https is fetched")
    address = read_address(parsed.host)
    if address is None and not _NAME.fullmatch(parsed.raw_host):
        raise ForbiddenAddressError("the result's URL has no usable host name")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise ForbiddenAddressError(f"{where}: the result's URL has no usable port")
    is_loopback = is_loopback_host(parsed.host)
    if parsed.scheme == "http" and not is_loopback:
        raise ForbiddenAddressError(f"{where}: only https is fetched")
    if is_loopback and not allow_loopback:
        raise ForbiddenAddressError(f"{where}: a remote API's result cannot be on this machine")
    if address is not None and not is_loopback and not is_public(address):
        raise ForbiddenAddressError(f"{where}: not a public address")
    return parsed


def is_at(url: str | httpx.URL, origin: str) -> bool:
    """Whether a URL leads to `origin`, without a user, and can be asked for."""
    try:
        parsed = httpx.URL(url)
        where = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
    except (httpx.InvalidURL, ValueError):  # ValueError: a surrogate, or no IDNA name
        return False
    return bool(parsed.host) and not parsed.userinfo and where == origin


def is_public(address: IPAddress) -> bool:
    """Whether it is on the internet; an IPv4 address inside an IPv6 one is judged as itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def resolve_host(host: str, port: int) -> list[str]:
    """The system's answer, in its order; blocking. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def usable_addresses(url: httpx.URL, *, allow_loopback: bool, resolve: Resolve = resolve_host) -> list[str]:
    """The addresses that a checked URL may be fetched from, at least one; blocking.

    Connect to these alone: the name may lead elsewhere a moment later. Raises ForbiddenAddressError where
    none is allowed, and OSError where the name has no address.
    """
    host = url.host
    try:
        found = [host] if read_address(host) is not None else resolve(host, port_of(url))
    except UnicodeError as error:
        raise OSError(f"{host}: cannot be resolved") from error
    usable = [address for address in found if _may_use(host, ipaddress.ip_address(address), allow_loopback)]
    if not usable:
        raise ForbiddenAddressError(f"{host}: has no public address")
    return usable


def port_of(url: httpx.URL) -> int:
    """The port to connect to, the scheme's own where none is written."""
    return url.port or (443 if url.scheme == "https" else 80)


def _may_use(host: str, address: IPAddress, allow_loopback: bool) -> bool:
    if address.is_loopback:
        return allow_loopback
    # http is allowed to `localhost`, so that name may mean nothing else
    return host != "localhost" and is_public(address)
