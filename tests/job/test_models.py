from __future__ import annotations

import pytest

from runner.job.models import family_name, find_family
from tests.job.planning import TEXT, Desk


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
        ("byteplus/dreamina-seedance-2-0", "seedance-2-0", False),
        ("dreamina-seedance-2-0-260128", "seedance-2-0", False),
        ("dreamina-seedance-2-0-fast-260128", "seedance-2-0-fast", False),
        ("dreamina-seedance-2-0-mini-260615", "seedance-2-0-mini", False),
    ],
)
def test_a_model_is_known_by_its_family(model: str, family: str, honours: bool) -> None:
    found = find_family(model)
    assert found is not None
    assert (found.name, found.honours_seed) == (family, honours)


@pytest.mark.parametrize(
    "model", ["kling-3", "seedance-9-9-ultra", "byteplus/seedance", "seedance-1-5-professional"]
)
def test_another_model_is_unknown(model: str) -> None:
    assert find_family(model) is None
    assert family_name(model)


def test_an_unknown_model_passes_with_a_note(desk: Desk) -> None:
    plan = desk.plan("version: 1\nmodels: [other/new]\nseeds: 1..2\n" + TEXT)
    assert plan.count == 2
    assert [(warning.line, warning.column, warning.severity) for warning in plan.warnings] == [
        (2, 10, "warning")
    ]
