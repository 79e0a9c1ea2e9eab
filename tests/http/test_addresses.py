"""Which addresses a result may come from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.http.access import read_address
from runner.http.addresses import ForbiddenAddressError, check_url, is_public, resolve_host


@pytest.mark.security(9)
@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a",
        "ftp://example.com/a",
        "file:///etc/passwd",
        "//example.com/a",
        "clip.mp4",
        "",
        "https:///a",
        "https://u@example.com/a",
        "https://u:p@example.com/a",
        "https://127.0.0.1/a",
        "https://[::1]/a",
        "http://localhost/a",
        "https://localhost/a",
        "https://10.1.2.3/a",
        "https://192.168.1.1/a",
        "https://169.254.169.254/a",
        "https://100.64.0.1/a",
        "https://0.0.0.0/a",
        "https://224.0.0.1/a",
        "https://[fe80::1]/a",
        "https://[fd00::1]/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://[64:ff9b::7f00:1]/a",
        "https://[2002:7f00:1::]/a",
        "https://exa mple.com/a",
        "https://[broken",
        "https://xn--/a",
        "https://xn--zzzzzz/a",
        "https://.example.com/a",
        "https://a..example.com/a",
        f"https://{'a' * 64}.com/a",
        "https://example.com:0/a",
        "https://example.com:99999/a",
        "https://example.com:12345678901/a",
        "https://\ud800.com/a",
        "https://example.com/\ud800",
    ],
)
def test_a_url_that_a_remote_api_must_not_send_us_to_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        check_url(url, allow_loopback=False)


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a?b", "https://1.1.1.1/a", "https://[2606:4700::1111]/a", "https://müller.de/a"],
)
def test_a_public_https_url_is_fetched(url: str) -> None:
    assert check_url(url, allow_loopback=False).scheme == "https"


@pytest.mark.security(9)
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "127.9.9.9"])
def test_plain_http_is_for_loopback_alone(host: str) -> None:
    assert check_url(f"http://{host}:8080/a", allow_loopback=True).port == 8080
    with pytest.raises(ForbiddenAddressError):
        check_url(f"http://{host}:8080/a", allow_loopback=False)


def test_a_loopback_api_opens_no_private_network() -> None:
    for url in ("http://10.0.0.1/a", "https://10.0.0.1/a", "http://example.com/a"):
        with pytest.raises(ForbiddenAddressError):
            check_url(url, allow_loopback=True)


@pytest.mark.security(9)
@given(st.ip_addresses(network="10.0.0.0/8"))
def test_no_notation_makes_a_private_address_public(address: object) -> None:
    for text in (f"{address}", f"::ffff:{address}", f"64:ff9b::{address}"):
        found = read_address(text)
        assert found is not None
        assert not is_public(found)


LABELS = st.text(max_size=12) | st.from_regex(r"xn--[a-z0-9-]{0,12}", fullmatch=True) | st.just("a" * 64)
PORTS = st.integers(-1, 10**12).map(":{}".format) | st.sampled_from(["", ":", ":0"])


@pytest.mark.fault(63)
@given(st.text(max_size=40) | st.tuples(LABELS, st.just("."), LABELS, PORTS).map("".join))
@settings(max_examples=200)
def test_any_text_is_a_checked_url_or_a_refusal(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/a"):
        try:
            checked = check_url(url, allow_loopback=False)
        except ForbiddenAddressError:
            continue
        assert checked.scheme == "https"
        assert not checked.userinfo
        assert checked.port is None or 0 < checked.port < 65_536


def test_the_system_resolves_this_machine() -> None:
    assert set(resolve_host("localhost", 80)) <= {"127.0.0.1", "::1"}
