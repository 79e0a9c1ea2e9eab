"""How requests leave this machine: directly, or through the proxy that the environment names.

Only a tunnel (CONNECT) is ever asked for, so a proxy sees neither keys nor requests, and an answer of its
own is never taken for the service's. Loopback is always reached directly.
"""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import h11

from runner.errors import UsageError
from runner.http.access import is_loopback_host

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class TunnelError(Exception):
    """The proxy opened no tunnel; the text names the proxy, never its password or its own words."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """`user_info` is the `user:password` that it asks for, or empty."""

    host: str
    port: int
    user_info: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may not be written anywhere: the password, and the header that holds it."""
        password = self.user_info.partition(":")[2]
        return (password, self._credentials) if password else ()

    @property
    def _credentials(self) -> str:
        return base64.b64encode(self.user_info.encode()).decode()


class Handshake:
    """Asks `proxy` for a tunnel to a host: send `request`, then `receive` what comes until it says True."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._http = h11.Connection(h11.CLIENT)
        name = f"[{host}]" if ":" in host else host
        headers = [("Host", f"{name}:{port}"), ("User-Agent", "callsheet")]
        if proxy.user_info:
            headers.append(("Proxy-Authorization", f"Basic {proxy._credentials}"))
        asked = h11.Request(method="CONNECT", target=f"{name}:{port}", headers=headers)
        self.request: bytes = (self._http.send(asked) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> bool:
        """Whether the tunnel is open. Raises TunnelError; `data` is empty where the proxy has closed."""
        if not data:
            raise self._failed("closed the connection")
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = self._http.next_event()
        except h11.RemoteProtocolError:
            raise self._failed("gave no usable answer") from None
        if event is h11.NEED_DATA:
            return False
        assert isinstance(event, h11.Response)  # nothing else answers a CONNECT
        if event.status_code == 407:
            raise self._failed("wants a user name and a password, or refuses them (407)")
        if not 200 <= event.status_code < 300:
            raise self._failed(f"opened no tunnel (its own answer: {event.status_code})")
        if self._http.trailing_data[0]:
            # whoever is behind the tunnel speaks second
            raise self._failed("sent more than its answer")
        return True

    def _failed(self, what: str) -> TunnelError:
        return TunnelError(f"the proxy {self._proxy.address} {what}")


@dataclass(frozen=True, slots=True)
class Route:
    """`proxy` for https to all hosts that `no_proxy` does not name; certifi's authorities, or those of
    `certificates`, a file or a directory.
    """

    proxy: Proxy | None = None
    no_proxy: str = ""
    certificates: str = ""

    def proxy_for(self, host: str) -> Proxy | None:
        """The proxy on the way to `host`; None where it is reached directly."""
        if self.proxy is None or is_loopback_host(host):
            return None
        is_direct = urllib.request.proxy_bypass_environment(host, {"no": self.no_proxy})  # type: ignore[attr-defined]
        return None if is_direct else self.proxy

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.proxy.secrets if self.proxy is not None else ()


DIRECT = Route()
"""Whatever the environment says."""


VARIABLES = ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", *_CERTIFICATES)
"""What of the environment counts where that is asked for."""


def find_route(environment: Mapping[str, str], *, trust_env: bool) -> Route:
    """The route by HTTPS_PROXY or ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR; DIRECT unless
    `trust_env`. Names may be in lower case, which comes first. Raises UsageError, which never quotes a URL.
    """
    if not trust_env:
        return DIRECT

    def value(name: str) -> str:
        return (environment.get(name.lower()) or environment.get(name) or "").strip()

    named = next((name for name in ("HTTPS_PROXY", "ALL_PROXY") if value(name)), "")
    certificates = next((environment[name] for name in _CERTIFICATES if environment.get(name)), "")
    proxy = _read_proxy(value(named), named) if named else None
    return Route(proxy, value("NO_PROXY"), certificates)


def _read_proxy(url: str, source: str) -> Proxy:
    hint = f"write it as {source}=http://proxy.example:3128, or with http://user:password@"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{source}: the proxy's address is not a URL", hint=hint) from None
    if parts.scheme != "http":
        # TLS within TLS, and SOCKS, are more than a tunnel
        raise UsageError(f"{source}: a proxy is reached by http:// only", hint=hint)
    user_info = unquote(parts.netloc.rpartition("@")[0])
    if not host or not url.isascii() or not url.isprintable() or not user_info.isprintable():
        raise UsageError(f"{source}: the proxy's address is not a URL", hint=hint)
    return Proxy(host, port or 80, user_info)
