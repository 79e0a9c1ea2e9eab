"""Forms with files, read back byte for byte."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.sandbox.forms import read_form
from runner.sandbox.validation import Refusal


@given(st.binary(max_size=200), st.text("abc ü", min_size=1, max_size=9))
def test_a_form_of_another_library_is_read_byte_for_byte(content: bytes, text: str) -> None:
    sent = httpx.Request(
        "POST", "http://a/", data={"prompt": text}, files={"image": ("a b.png", content, "image/png")}
    )
    parts = read_form(sent.read())
    assert parts["prompt"].text == text
    assert (parts["image"].content, parts["image"].filename) == (content, "a b.png")
    assert parts["image"].content_type == "image/png"


@pytest.mark.parametrize("body", [b"", b"{}", b"prompt=tea"])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal):
        read_form(body)
