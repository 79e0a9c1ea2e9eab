"""Where a download may go: https to public addresses, and loopback only beside a loopback API."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable

import anyio
import httpcore
import httpx

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) to addresses, best first; raises OSError."""

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
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: a host that is no IDNA name, a surrogate
        raise ForbiddenAddressError("the result's URL is not a URL") from error
    if not parsed.host:
        raise ForbiddenAddressError(f"{where}: the result's URL has no host")
    if parsed.userinfo:
        raise ForbiddenAddressError(f"{where}: a URL with a user or a password is not fetched")
    if parsed.scheme not in ("https", "http"):
        raise ForbiddenAddressError(f"{where}: only https is fetched")
    address = _literal(parsed.host)
    if address is None and not _NAME.fullmatch(parsed.raw_host):
        raise ForbiddenAddressError("the result's URL has a host that is no name")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise ForbiddenAddressError(f"{where}: the result's URL has no port that exists")
    is_loopback = parsed.host == "localhost" or (address is not None and address.is_loopback)
    if parsed.scheme == "http" and not is_loopback:
        raise ForbiddenAddressError(f"{where}: only https is fetched")
    if is_loopback and not allow_loopback:
        raise ForbiddenAddressError(f"{where}: this machine is no place for a result of a remote API")
    if address is not None and not is_loopback and not is_public(address):
        raise ForbiddenAddressError(f"{where}: is no public address")
    return parsed


def is_public(address: IPAddress) -> bool:
    """Whether packets to it leave for the internet, whatever notation hides an IPv4 address in it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


async def resolve_host(host: str, port: int) -> list[str]:
    """The system's answer, in its order. Raises OSError."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the very addresses that it has checked, so a name cannot change in between.

    TLS still verifies the name. Raises ForbiddenAddressError where no address may be used.
    """

    def __init__(self, *, allow_loopback: bool, resolve: Resolve = resolve_host) -> None:
        self._allow_loopback = allow_loopback
        self._resolve = resolve
        # the only public backend of httpcore that runs on both asyncio and trio
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in await self.checked(host, port, timeout):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def checked(self, host: str, port: int, timeout: float | None) -> list[str]:
        """The addresses of `host` that may be connected to; at least one.

        Raises ForbiddenAddressError, and httpcore's ConnectError and ConnectTimeout.
        """
        return self._usable(host, await self._addresses(host, port, timeout))

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def _addresses(self, host: str, port: int, timeout: float | None) -> list[str]:
        if _literal(host) is not None:
            return [host]
        try:
            with anyio.fail_after(timeout):
                return await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}: no answer from DNS") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: cannot be resolved") from error

    def _usable(self, host: str, addresses: list[str]) -> list[str]:
        usable = [address for address in addresses if self._may_use(host, ipaddress.ip_address(address))]
        if not usable:
            raise ForbiddenAddressError(f"{host}: leads to no public address")
        return usable

    def _may_use(self, host: str, address: IPAddress) -> bool:
        if address.is_loopback:
            return self._allow_loopback
        # http is allowed to `localhost`, so that name may mean nothing else
        return host != "localhost" and is_public(address)


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
