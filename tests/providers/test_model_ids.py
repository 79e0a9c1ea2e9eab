from __future__ import annotations

import pytest

from runner.providers import BUILT_IN
from runner.providers.getimg import GETIMG
from runner.providers.mesh import MESH
from runner.providers.model_ids import has_unknown_vendor, id_that_was_meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bytepls/seedance-1-0-pro", "byteplus/seedance-1-0-pro"),
        ("BytePlus/seedance-1-0-pro", "byteplus/seedance-1-0-pro"),
        ("bytepls/seedance-1-0-por", "byteplus/seedance-1-0-pro-250528"),
        ("bytepls/a-new-model", "byteplus/a-new-model"),
        ("seedance-2.0", "dreamina-seedance-2-0-260128"),
        ("byteplus/Seedance-1-0-Pro", "byteplus/seedance-1-0-pro-250528"),
        ("seedance-2-O", "dreamina-seedance-2-0-260128"),
        ("seedance-l-0-pro", "seedance-1-0-pro-250528"),
        ("seedance_1_0_pro", "seedance-1-0-pro-250528"),
        ("seedance-1-pro", "seedance-1-0-pro-250528"),
        ("seedance-pro-1-0", "seedance-1-0-pro-250528"),
        ("seedance-1-0", "seedance-1-0-pro-250528"),
        ("seedance-1-0-profast", "seedance-1-0-pro-fast-251015"),
        ("seedance-1-0-lite-tv2", "seedance-1-0-lite-t2v-250428"),
        ("sedance-1-0-pro-250528", "seedance-1-0-pro-250528"),
        ("dreamna-seedance-2-0-fats-260128", "dreamina-seedance-2-0-fast-260128"),
        ("dreamina-seedance-2-0-260128x", "dreamina-seedance-2-0-260128"),
    ],
)
def test_a_misspelt_id_gets_the_known_one(written: str, meant: str) -> None:
    assert id_that_was_meant(MESH.catalogue, written) == meant
    assert id_that_was_meant(MESH.catalogue, meant) == ""


@pytest.mark.parametrize(
    "model",
    [
        "byteplus/seedance-1-0-pro",
        "seedance-v1-pro",
        "dreamina-seedance-2-0",
        "byteplus/dreamina-seedance-2-5-271231",
        "doubao-seedance-2-0-260128",
        "seedance-3-0-pro",
        "seedance-2-6",
        "seedance-2-0-turbo",
        "kling/kling-2.6",
        "someone/a-model-of-next-year",
    ],
)
def test_a_known_id_and_an_unknown_one_stand_as_they_are(model: str) -> None:
    """Other digits, or a word of its own, may be a model of next year."""
    assert id_that_was_meant(MESH.catalogue, model) == ""


@pytest.mark.parametrize("provider", BUILT_IN.values(), ids=lambda each: each.name)
def test_no_id_of_the_catalogue_is_misspelt(provider: object) -> None:
    catalogue = BUILT_IN[getattr(provider, "name")].catalogue  # noqa: B009
    successors = [each for family in catalogue.families.values() for each in family.successors]
    ids = [each for family in catalogue.families.values() for each in family.ids]
    # a service that knows its ids alone does not know the names of families
    ids += [] if catalogue.exact_ids else catalogue.families
    assert [each for each in (*ids, *successors) if id_that_was_meant(catalogue, each)] == []


def test_a_prefix_is_held_against_those_of_the_service() -> None:
    assert has_unknown_vendor(MESH.catalogue, "acme/seedance-1-0-pro")
    assert has_unknown_vendor(GETIMG.catalogue, "byteplus/seedance-v1-pro")
    assert not has_unknown_vendor(MESH.catalogue, "byteplus/seedance-1-0-pro")
    assert not has_unknown_vendor(MESH.catalogue, "seedance-1-0-pro")
