"""What each provider declares fits its own schema and its models."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from itertools import combinations

import pytest
from jsonschema import Draft7Validator

from runner import providers
from runner.errors import UsageError
from runner.job.expressions.expressions import STEP_OUTPUTS
from runner.providers import BUILT_IN, every, find
from runner.providers.provider import Echo, Provider

_SPOKEN = {
    name if dialect is provider else f"{name}-{kind}": dialect
    for name, provider in every().items()
    for kind, dialect in {"": provider, **provider.dialects}.items()
}
"""Every provider, also as it speaks to each kind of server."""
EACH = pytest.mark.parametrize("provider", _SPOKEN.values(), ids=_SPOKEN)


@EACH
def test_fields_are_fields_of_the_request(provider: Provider) -> None:
    Draft7Validator.check_schema(provider.schema)
    fields = set(provider.schema["properties"])
    assert provider.content_fields.keys() <= fields
    assert set(provider.dialect.words.values()) <= provider.fields
    assert provider.dialect.items_field in provider.content_fields
    assert provider.echoes.keys() <= fields
    declared = {*provider.not_in_identity, *provider.makes.values()}
    declared |= {provider.callback_field, provider.dialect.flex_field, provider.dialect.last_frame_field}
    declared |= {provider.listing.scope_field} if provider.listing is not None else set()
    # a prompt may come back, too
    assert declared - {""} <= provider.fields | provider.content_fields.keys()
    assert provider.makes.keys() <= set(STEP_OUTPUTS)


@EACH
def test_a_default_is_one_that_the_schema_takes_and_of_the_picture(provider: Provider) -> None:
    for name, value in provider.defaults.items():
        assert Draft7Validator(provider.schema["properties"][name]).is_valid(value), name
    assert provider.defaults.keys().isdisjoint(provider.not_in_identity)


@EACH
def test_every_tag_is_a_value_that_the_field_takes_and_that_comes_back(provider: Provider) -> None:
    if provider.tag is not None:
        assert provider.echoes[provider.tag.field] is Echo.TAG
    for tag in filter(None, (provider.tag, *provider.tags.values())):
        field = Draft7Validator(provider.schema["properties"][tag.field])
        assert all(field.is_valid(tag.value(each)) for each in (0, 1, tag.count - 1))
        assert [tag.read(tag.value(each)) for each in (1, tag.count - 1)] == [1, tag.count - 1]
        assert 0 < tag.most_open < tag.count
        assert tag.field in provider.echoes
        assert tag.field in provider.not_in_identity
        assert provider.listing is not None


@EACH
def test_a_tag_that_an_account_may_choose_goes_by_the_name_of_its_field(provider: Provider) -> None:
    assert all(name == tag.field for name, tag in provider.tags.items())


@EACH
def test_a_tag_tells_in_which_of_the_fields_it_stood(provider: Provider) -> None:
    """An account may choose another one while a submit is unclear."""
    for one, other in combinations(filter(None, (provider.tag, *provider.tags.values())), 2):
        assert one.tags.stop <= other.tags.start or other.tags.stop <= one.tags.start


@EACH
def test_its_models_are_known_with_what_replaces_them(provider: Provider) -> None:
    for family in provider.catalogue.families.values():
        for model, successor in family.successors.items():
            assert provider.catalogue.find(model) is successor
            assert successor.retired is None


def test_no_variable_is_of_two_providers() -> None:
    for one, other in combinations(every().values(), 2):
        assert {*one.key_variables, one.url_variable}.isdisjoint({*other.key_variables, other.url_variable})


def plugged(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    points = EntryPoints([EntryPoint(name, value, providers.ENTRY_POINTS)])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    every.cache_clear()
    monkeypatch.setattr(providers, "every", every.__wrapped__)


def test_no_plug_in_takes_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could take the key with the name."""
    plugged(monkeypatch, "mesh", "runner.providers.getimg:GETIMG")
    assert providers.every() == BUILT_IN
    assert find("mesh") is BUILT_IN["mesh"]


@pytest.mark.parametrize("value", ["runner.providers.getimg:GETIMG", "runner.providers:BUILT_IN"])
def test_a_plug_in_declares_the_name_of_its_entry_point(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    plugged(monkeypatch, "clips", value)
    with pytest.raises(UsageError, match="declares no provider `clips`"):
        find("clips")


def test_a_provider_that_is_not_installed_leaves_a_record_readable() -> None:
    request = {"prompt": "A teapot", "return_last_frame": True}
    assert providers.wanted_kinds("gone", request) == {"video"}
    assert providers.prompt_texts("gone", request) == []
