"""The common words of a job file, and a service's own names and values for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from runner.json_value import JsonValue
from runner.providers.dialect import DIGITS, Content, Dialect, Request
from runner.providers.getimg import GETIMG
from runner.providers.mesh import MESH


class _SizeDialect(Dialect):
    """Two common words are one field here, and one model has no seed."""

    def lacks(self, model: str) -> frozenset[str]:
        return frozenset({"seed"}) if model == "plain" else frozenset()

    def request(self, fields: Request, content: Content) -> Request:
        rest = {name: value for name, value in fields.items() if name not in self.composed}
        if "resolution" in fields:
            rest["size"] = f"{fields['resolution']} {fields['ratio']}"
        return rest

    def hear(self, request: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        resolution, _, ratio = str(request.get("size")).partition(" ")
        return {**super().hear(request), "resolution": resolution, "ratio": ratio}


_SIZES = dataclasses.replace(
    GETIMG,
    dialect=_SizeDialect(
        words={"duration": "aspect_ratio"},
        forms={"aspect_ratio": DIGITS},
        composed=frozenset({"resolution", "ratio"}),
    ),
)


def test_a_common_word_has_the_name_that_the_service_gives_it() -> None:
    assert GETIMG.own_name("ratio") == GETIMG.own_name("aspect_ratio") == "aspect_ratio"
    assert MESH.own_name("ratio") == "ratio"
    assert GETIMG.own_name("seed") == MESH.own_name("sound") == ""
    assert {"ratio", "aspect_ratio", "sound", "generate_audio"} <= GETIMG.settable
    assert "frames" not in GETIMG.settable


def test_a_model_may_lack_a_field_that_its_service_has() -> None:
    provider = dataclasses.replace(MESH, dialect=_SizeDialect())

    assert provider.own_name("seed") == provider.own_name("seed", "other") == "seed"
    assert provider.own_name("seed", "plain") == ""


def test_a_composed_word_is_taken_though_no_field_is_called_so() -> None:
    assert _SIZES.own_name("ratio") == "ratio"

    request = _SIZES.dialect.request({"model": "m", "resolution": "720p", "ratio": "16:9"}, [])
    asked = _SIZES.dialect.asked(request)

    assert request == {"model": "m", "size": "720p 16:9"}
    assert (asked.resolution, asked.ratio) == ("720p", "16:9")


def test_a_value_is_told_in_the_services_form_and_heard_in_the_common_one() -> None:
    dialect = _SIZES.dialect

    assert dialect.value("aspect_ratio", 5) == "5"
    assert dialect.value("aspect_ratio", "auto") == "auto"
    assert dialect.value("aspect_ratio", None) is None
    assert dialect.asked({"aspect_ratio": "5"}).duration == 5
    assert dialect.asked({"aspect_ratio": "auto"}).duration == "auto"


@given(st.integers(-999_999_999, 999_999_999))
def test_digits_are_read_as_the_number_that_was_said(number: int) -> None:
    said = DIGITS.say(number)

    assert said == str(number)
    assert DIGITS.say(said) == said
    assert DIGITS.hear(said) == DIGITS.hear(number) == number
    assert DIGITS.say(True) is True
