from __future__ import annotations

import pytest

from runner.providers.mesh import MESH
from runner.providers.models import FixedCamera, family_name
from runner.sandbox.models import RATIOS, SIZES
from runner.sandbox.models import find_family as sandbox_family
from tests.support.job_bench import TEXT, JobBench


@pytest.mark.parametrize(
    ("model", "family", "honours"),
    [
        ("byteplus/seedance-1-5-pro", "seedance-1-5-pro", True),
        ("seedance-1-5-pro-251215", "seedance-1-5-pro", True),
        ("seedance-v1-5-pro", "seedance-1-5-pro", True),
        ("Seedance-1.5-pro", "seedance-1-5-pro", True),
        ("seedance-v1-pro", "seedance-1-0-pro", True),
        ("seedance-1-0-pro-fast-250528", "seedance-1-0-pro-fast", True),
        ("seedance-1-0-lite-t2v-250219", "seedance-1-0-lite-t2v", True),
        ("dreamina-seedance-2-5-260628", "seedance-2-5", False),
        ("byteplus/dreamina-seedance-2-0", "seedance-2-0", False),
        ("dreamina-seedance-2-0-260128", "seedance-2-0", False),
        ("dreamina-seedance-2-0-fast-260128", "seedance-2-0-fast", False),
        ("dreamina-seedance-2-0-mini-260615", "seedance-2-0-mini", False),
    ],
)
def test_a_model_is_known_by_its_family(model: str, family: str, honours: bool) -> None:
    found = MESH.catalogue.find(model)
    assert found is not None
    assert (found.name, found.honours_seed) == (family, honours)


@pytest.mark.parametrize(
    "model", ["kling-3", "seedance-9-9-ultra", "byteplus/seedance", "seedance-1-5-professional"]
)
def test_another_model_is_unknown(model: str) -> None:
    assert MESH.catalogue.find(model) is None
    assert family_name(model)


def test_an_unknown_model_passes_with_a_note(jobs: JobBench) -> None:
    plan = jobs.plan("version: 1\nmodels: [other/new]\nseeds: 1..2\n" + TEXT)
    assert plan.count == 2
    assert [(warning.line, warning.column, warning.severity) for warning in plan.warnings] == [
        (2, 10, "warning"),
        (3, 8, "warning"),
    ]


def test_the_facts_are_those_of_the_sandbox_which_has_a_table_of_its_own() -> None:
    """Two people have read the same documents: what they typed must agree."""
    assert set(RATIOS) | {"adaptive"} == set(MESH.catalogue.families["seedance-2-0"].ratios)
    for family in MESH.catalogue.families.values():
        other = sandbox_family(family.ids[0])
        if other is None:
            assert family.name == "seedance-1-0-lite"  # no service has an id without t2v or i2v
            continue
        assert {key: (size.width, size.height) for key, size in family.sizes.items()} == {
            **other.sizes,
            **{key: SIZES[key] for key in SIZES if key[0] == "4k"},
        }
        assert (family.resolutions, family.durations, family.auto_duration) == (
            other.resolutions,
            other.durations,
            other.auto_duration,
        )
        assert (family.frames is not None, family.honours_seed) == (other.frames, other.honours_seed)
        assert (family.audio, family.draft, family.flex) == (other.audio, other.draft, other.flex)
        assert (family.camera_fixed is not FixedCamera.NONE) == other.camera_fixed
        assert (family.first_frame, family.last_frame) == (other.first_frame, other.last_frame)
        assert (family.priority, family.needs_image) == (other.priority, other.needs_image)
        assert (family.audio_alone, family.heic) == (other.audio_alone, other.heic)
        assert family.frames_fix_ratio == other.frames_fix_ratio
        assert family.final_resolutions == (other.final_resolutions or family.resolutions)
        assert family.reference_images == other.reference_images
        assert {family.reference_videos, family.reference_audios} == {other.reference_media}
        assert family.most_references == other.most_references


def test_every_id_is_of_its_own_family() -> None:
    for family in MESH.catalogue.families.values():
        assert all(MESH.catalogue.find(model) is family for model in family.ids)


def test_a_size_is_the_family_s_own_where_it_has_one() -> None:
    families = MESH.catalogue.families
    sizes = [
        families[name].sizes[resolution, ratio]
        for name, resolution, ratio in (
            ("seedance-2-5", "480p", "16:9"),
            ("seedance-2-5", "480p", "21:9"),
            ("seedance-2-0", "1080p", "21:9"),
            ("seedance-1-0-pro", "720p", "16:9"),
        )
    ]
    assert [(size.width, size.height) for size in sizes] == [(854, 480), (992, 432), (2206, 946), (1248, 704)]


def test_a_successor_is_known_and_sold() -> None:
    for family in MESH.catalogue.families.values():
        for model in family.successors:
            found = MESH.catalogue.find(model)
            assert found is not None
            assert found.retired is None


def test_another_vendor_s_prefix_is_known_where_seeds_are_not_derived() -> None:
    """Seeds derived for `samples` are in the identity: a model that becomes known must buy nothing anew."""
    found = MESH.catalogue.find("doubao-seedance-2-5-260628")
    assert found is MESH.catalogue.families["seedance-2-5"]
    assert MESH.catalogue.find("doubao-seedance-1-0-pro-250528") is None
    assert family_name("doubao-seedance-2-5-260628") == "doubao-seedance-2-5"
