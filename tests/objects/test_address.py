"""Addresses of objects: what is taken, what is refused, and that no prefix covers what is beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.objects.address import AddressError, ObjectAddress, digest_key, is_object

PARTS = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=8).filter(lambda part: part not in (".", ".."))
KEYS = st.lists(PARTS, max_size=4).map("/".join)
BUCKETS = st.from_regex(r"\A[a-z0-9][a-z0-9.-]{2,30}\Z")
SCHEMES = st.sampled_from(["s3", "gs", "az"])


@given(SCHEMES, BUCKETS, KEYS)
def test_an_address_is_read_as_it_is_written(scheme: str, bucket: str, key: str) -> None:
    address = ObjectAddress(scheme, bucket, key)
    assert ObjectAddress.parse(str(address)) == address
    assert ObjectAddress.parse(f"{address}/") == address
    assert is_object(str(address))


@given(BUCKETS, KEYS, KEYS)
def test_a_prefix_covers_what_lies_below_it_and_nothing_else(bucket: str, prefix: str, key: str) -> None:
    above, other = ObjectAddress("s3", bucket, prefix), ObjectAddress("s3", bucket, key)
    parts = key.split("/") if key else []
    wanted = prefix.split("/") if prefix else []
    assert above.covers(other) == (parts[: len(wanted)] == wanted)
    assert not above.covers(ObjectAddress("gs", bucket, key))
    if key:
        assert above.covers(above.child(key))


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = ObjectAddress.parse(text)
    except AddressError:
        return
    assert not {"", ".", ".."} & set(address.key.split("/")[:-1])
    assert text.startswith(str(address))


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///key",
        "http://bucket/key",
        "s3://bucket//key",
        "s3://bucket/../other",
        "s3://bucket/a/./b",
        "s3://bucket/a%2f..%2fb",
        "s3://bucket/a?b",
        "s3://bucket/a\n",
        "s3://key:secret@bucket/a",
        f"s3://bucket/{'a' * 801}",
    ],
)
def test_what_stores_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        ObjectAddress.parse(text)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("out/s1.mp4", "sha256/d.mp4"),
        ("out/s1.last.PNG", "sha256/d.png"),
        ("out/s1", "sha256/d"),
        ("out.d/s1", "sha256/d"),
    ],
)
def test_a_content_has_one_key(path: str, key: str) -> None:
    assert digest_key("d", path) == key
