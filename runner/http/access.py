"""Where a service is, and the key to it: both checked once, before anything is sent."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runner.errors import KeyRefusedError, UsageError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){0,10}")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_SHORTEST_MASKED = 8
"""A shorter key (a test's `rsk_x`) would blank out ordinary words of an answer."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that cannot break a header and does not show itself when printed."""

    value: str = field(repr=False)

    @classmethod
    def load(cls, text: str, *, source: str) -> ApiKey:
        """The key in `text`, outer white space dropped; `source` names the variable it came from.

        Raises KeyRefusedError for anything but printable ASCII without spaces: h11 prints a whole
        header that holds a newline, key included.
        """
        value = text.strip()
        if not value:
            raise KeyRefusedError(f"{source}: the API key is empty", hint=f"export {source}=<your key>")
        if not all("!" <= character <= "~" for character in value):
            raise KeyRefusedError(
                f"{source}: the API key holds a space, a control character or a character beyond ASCII",
                hint="copy the key again, without quotes, line breaks or the word Bearer",
            )
        return cls(value)

    def fingerprint(self, salt: bytes) -> str:
        """64 hex digits that tell two keys apart and give neither away; `salt` is the project's."""
        return hashlib.sha256(salt + self.value.encode()).hexdigest()

    @property
    def is_maskable(self) -> bool:
        """Whether it is long enough to be taken out of a text without harm to its words."""
        return len(self.value) >= _SHORTEST_MASKED

    def hide_in(self, body: bytes) -> bytes:
        """`body` without the key: a service may quote it in an error message."""
        return body.replace(self.value.encode(), b"***") if self.is_maskable else body

    def hide_in_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Header values without the key: a request id is kept with the attempt."""
        return {
            name: self.hide_in(value.encode("latin-1", "replace")).decode("latin-1")
            for name, value in headers.items()
        }


NO_KEY = ApiKey("")
"""Of a server that wants none."""


@dataclass(frozen=True, slots=True)
class Access:
    """A service's origin as `parse_origin` gives it, below which its paths begin, and the key that goes there
    and nowhere else. `scheme` is the word before the key.
    """

    origin: str
    key: ApiKey
    scheme: str = "Bearer"

    def authorization(self) -> dict[str, str]:
        """The header that the key stands in; none where the server wants no key."""
        return {"Authorization": f"{self.scheme} {self.key.value}"} if self.key.value else {}

    def headers(self) -> dict[str, str]:
        """The headers of every API request. Bodies come uncompressed, so their size is known beforehand."""
        return {
            **self.authorization(),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "callsheet",
        }


def parse_origin(url: str, *, source: str) -> str:
    """`scheme://host[:port]` in lower case without a default port, from a base URL.

    `source` names where the URL came from. Only https, or http on loopback. Raises UsageError,
    which never quotes the URL: it may hold a password.
    """
    origin, path = _split(url, source)
    if path:
        raise _refused(source, "must end after the host: paths such as /v1 are added by callsheet")
    if origin.startswith("http:") and not is_loopback(origin):
        raise _refused(source, "must be https; http is for loopback only")
    return origin


def parse_base_url(url: str, *, source: str) -> tuple[str, str]:
    """(origin, path without a slash at its end) of the URL of a server that its owner names.

    It may have a path, and be plain http to any host. Raises UsageError, which never quotes the URL.
    """
    origin, path = _split(url, source)
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise _refused(source, "must end with a plain path")
    return origin, path


def _split(url: str, source: str) -> tuple[str, str]:
    """The origin, and what follows it."""
    try:
        parts = urlsplit(_printable(url.strip()))
        port = parts.port
        host = (parts.hostname or "").removesuffix(".")
    except ValueError:
        raise _refused(source, "is not a URL") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise _refused(source, "must begin with https://")
    if parts.username is not None or parts.password is not None:
        raise _refused(source, "must not hold a user name or password")
    address = read_address(host)
    if address is None and not _HOST_NAME.fullmatch(host):
        raise _refused(source, "has no usable host name")
    shown = f"[{address}]" if address is not None and address.version == 6 else host
    suffix = "" if port is None or port == _DEFAULT_PORTS[parts.scheme] else f":{port}"
    rest = parts._replace(scheme="", netloc="").geturl()
    return f"{parts.scheme}://{shown}{suffix}", rest.rstrip("/")


def origin_of(url: str) -> str:
    """`scheme://host[:port]` of an URL that has been checked."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(origin: str) -> bool:
    """Whether an origin is on this machine, which makes a run against it a rehearsal."""
    return is_loopback_host(urlsplit(origin).hostname or "")


_SAME_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def is_same_server(url: str, other: str) -> bool:
    """Whether two base URLs, as `parse_base_url` gives them, lead to one server: they are equal, or differ
    only by a usual name of this machine.
    """
    if url == other:
        return True
    one, two = urlsplit(url), urlsplit(other)
    hosts = {one.hostname, two.hostname}
    return hosts <= _SAME_MACHINE and (one.scheme, one.port, one.path) == (two.scheme, two.port, two.path)


def _printable(text: str) -> str:
    # urlsplit drops tabs and newlines without a word
    if not all("!" <= character <= "~" for character in text):
        raise ValueError
    return text


def read_address(host: str) -> IPAddress | None:
    """The address that a URL's host is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback_host(host: str) -> bool:
    """Whether a URL's host is this machine."""
    address = read_address(host)
    return host == "localhost" if address is None else address.is_loopback


def _refused(source: str, reason: str) -> UsageError:
    return UsageError(f"{source}: the base URL {reason}", hint="for example https://api.example.com")
