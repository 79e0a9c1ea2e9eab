"""Security lines 9 and 14: base URLs and keys are checked before anything is sent."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ExitCode, KeyRefusedError, UsageError
from runner.http.access import Access, ApiKey, is_loopback, parse_origin


@pytest.mark.security(14)
def test_a_key_is_stripped() -> None:
    assert ApiKey.load(" rsk_abc\n", source="MESHAPI_API_KEY").value == "rsk_abc"


@pytest.mark.security(14)
@pytest.mark.parametrize("text", ["", " \n", "rsk_a\nb", "rsk_a b", "rsk_\u00e9", "rsk_\x7f", "rsk_\x00"])
def test_a_key_that_could_break_a_header_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyRefusedError) as caught:
        ApiKey.load(text, source="MESHAPI_API_KEY")
    assert caught.value.exit_code is ExitCode.KEY_REFUSED
    assert "MESHAPI_API_KEY" in str(caught.value)
    assert "rsk_" not in str(caught.value)


def test_a_key_does_not_show_itself() -> None:
    access = Access("https://api.meshapi.ai", ApiKey("rsk_canary"))
    assert "canary" not in f"{access!r} {access} {access.key!r} {access.key}"


def test_fingerprints_depend_on_key_and_salt() -> None:
    one = ApiKey("rsk_one").fingerprint(b"salt")
    assert one == hashlib.sha256(b"saltrsk_one").hexdigest()
    assert len({one, ApiKey("rsk_two").fingerprint(b"salt"), ApiKey("rsk_one").fingerprint(b"pepper")}) == 3


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.meshapi.ai", "https://api.meshapi.ai"),
        (" HTTPS://API.MeshAPI.ai:443/ ", "https://api.meshapi.ai"),
        ("https://api.meshapi.ai./", "https://api.meshapi.ai"),
        ("https://gateway.example:8443", "https://gateway.example:8443"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_normalised(url: str, origin: str) -> None:
    assert parse_origin(url, source="--base-url") == origin


@pytest.mark.security(9)
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://api.meshapi.ai", "must be https"),
        ("http://127.0.0.1.example.net", "must be https"),
        ("http://127.1", "must be https"),
        ("http://10.0.0.1", "must be https"),
        ("http://localhost.example", "must be https"),
        ("https://user:CANARY@api.meshapi.ai", "user name or password"),
        ("https://CANARY@api.meshapi.ai", "user name or password"),
        ("https://api.meshapi.ai/?key=CANARY", "must end after the host"),
        ("https://api.meshapi.ai/#CANARY", "must end after the host"),
        ("https://api.meshapi.ai/v1", "must end after the host"),
        ("ftp://api.meshapi.ai", "must begin with https"),
        ("api.meshapi.ai", "must begin with https"),
        ("", "must begin with https"),
        ("https://", "no usable host"),
        ("https://a..b", "no usable host"),
        ("https://" + "a" * 64 + ".example", "no usable host"),
        ("https://exa\nmple.net", "not a URL"),
        ("https://ex\u00e4mple.net", "not a URL"),
        ("https://api.meshapi.ai:99999", "not a URL"),
        ("https://[::1", "not a URL"),
    ],
)
def test_any_other_base_url_is_refused_without_being_shown(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_origin(url, source="MESHAPI_BASE_URL")
    assert "CANARY" not in str(caught.value)
    assert str(caught.value).startswith("MESHAPI_BASE_URL: ")


@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z0-9.:@/?#\[\]-]{0,30}", fullmatch=True))
def test_whatever_is_accepted_is_its_own_normal_form(url: str) -> None:
    try:
        origin = parse_origin(url, source="test")
    except UsageError:
        return
    assert parse_origin(origin, source="test") == origin
    assert origin.startswith("https://") or is_loopback(origin)


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        ("http://localhost:8080", True),
        ("http://[::1]:1", True),
        ("https://127.0.0.1", True),
        ("https://api.meshapi.ai", False),
        ("https://8.8.8.8", False),
    ],
)
def test_an_api_on_loopback_is_told_apart(origin: str, is_ours: bool) -> None:
    assert is_loopback(origin) is is_ours
