"""GitHub Actions' meaning of a matrix, by the examples of its documentation, and our order."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.job.seeds import Seeds
from runner.json_value import JsonValue
from runner.plan.matrix import matches
from tests.support.matrices import matrix


def cells(*arguments: Any, **options: Any) -> list[dict[str, JsonValue]]:
    """Without the model, of which these have one."""
    return [
        {name: value for name, value in cell.items() if name != "model"}
        for cell in matrix(*arguments, **options).cells()
    ]


def test_include_adds_where_it_contradicts_nothing_else_it_is_a_cell() -> None:
    """The example of GitHub's documentation: fruit, animal, colour, shape."""
    assert cells(
        {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]},
        include=[
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    ) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_include_expands_one_combination() -> None:
    """Documentation: `os: [windows, ubuntu], node: [14, 16]`, one pair gets `npm: 6`."""
    found = cells(
        {"os": ["windows-latest", "ubuntu-latest"], "node": [14, 16]},
        include=[{"os": "windows-latest", "node": 16, "npm": 6}],
    )
    assert found == [
        {"os": "windows-latest", "node": 14},
        {"os": "windows-latest", "node": 16, "npm": 6},
        {"os": "ubuntu-latest", "node": 14},
        {"os": "ubuntu-latest", "node": 16},
    ]


def test_include_adds_a_combination() -> None:
    """Documentation: a 10th job for `windows-latest` and node 17."""
    found = cells(
        {"os": ["macos", "windows", "ubuntu"], "version": [12, 14, 16]},
        include=[{"os": "windows", "version": 17}],
    )
    assert len(found) == 10
    assert found[-1] == {"os": "windows", "version": 17}


def test_include_alone_lists_the_cells() -> None:
    """Documentation: a matrix of `include` only runs each entry."""
    entries: list[dict[str, JsonValue]] = [
        {"site": "production", "datacenter": "site-a"},
        {"site": "staging", "datacenter": "site-b"},
    ]
    assert cells({}, include=entries) == entries


def test_exclude_drops_what_holds_all_of_an_entry() -> None:
    """Documentation: 12 combinations less one exact and one partial exclude leave 9."""
    found = cells(
        {"os": ["macos", "windows"], "version": [12, 14, 16], "environment": ["staging", "production"]},
        exclude=[
            {"os": "macos", "version": 12, "environment": "production"},
            {"os": "windows", "version": 16},
        ],
    )
    assert len(found) == 9


def test_include_comes_after_exclude() -> None:
    """Documentation: an excluded combination can be added back."""
    assert cells({"a": [1, 2]}, exclude=[{"a": 1}], include=[{"a": 1, "b": 3}]) == [
        {"a": 2},
        {"a": 1, "b": 3},
    ]


def test_objects_match_in_part() -> None:
    shots: list[JsonValue] = [{"id": "spin", "prompt": "x"}, {"id": "pour", "prompt": "y"}]
    found = cells(
        {"ratio": ["16:9", "9:16"], "shot": shots},
        exclude=[{"ratio": "9:16", "shot": {"id": "pour"}}],
        include=[{"shot": {"id": "spin"}, "camera": "low"}],
    )
    assert found == [
        {"ratio": "16:9", "shot": shots[0], "camera": "low"},
        {"ratio": "16:9", "shot": shots[1]},
        {"ratio": "9:16", "shot": shots[0], "camera": "low"},
    ]


def test_seeds_vary_slowest_and_the_last_axis_fastest() -> None:
    found = list(matrix({"a": [1, 2], "b": [3, 4]}, models=("m", "n"), seeds=Seeds((range(1, 3),))).cells())
    key = [(cell["seed"], cell["model"], cell["a"], cell["b"]) for cell in found]
    assert key == list(itertools.product([1, 2], ["m", "n"], [1, 2], [3, 4]))
    assert list(found[0]) == ["model", "a", "b", "seed"]


def test_samples_count_from_one_and_vary_slowest() -> None:
    assert cells({"a": [1, 2]}, samples=2) == [
        {"a": 1, "sample": 1},
        {"a": 2, "sample": 1},
        {"a": 1, "sample": 2},
        {"a": 2, "sample": 2},
    ]


def test_an_included_cell_takes_the_models_and_seeds_that_it_does_not_name() -> None:
    found = list(
        matrix({"a": [1]}, models=("m", "n"), seeds=Seeds((range(1, 3),)), include=[{"a": 9}]).cells()
    )
    assert [cell for cell in found if cell["a"] == 9] == [
        {"model": "m", "a": 9, "seed": 1},
        {"model": "n", "a": 9, "seed": 1},
        {"model": "m", "a": 9, "seed": 2},
        {"model": "n", "a": 9, "seed": 2},
    ]
    assert [cell["seed"] for cell in found] == [1] * 4 + [2] * 4


def test_model_and_seed_can_be_excluded_and_included() -> None:
    options: dict[str, Any] = {"models": ("m", "n"), "seeds": Seeds((range(1, 3),))}
    assert list(matrix({}, exclude=[{"model": "n", "seed": 2}], **options).cells()) == [
        {"model": "m", "seed": 1},
        {"model": "n", "seed": 1},
        {"model": "m", "seed": 2},
    ]
    found = list(matrix({"a": [1]}, include=[{"model": "n", "b": 2}, {"seed": 7}], **options).cells())
    assert found == [
        {"model": "m", "a": 1, "seed": 1},
        {"model": "n", "a": 1, "seed": 1, "b": 2},
        {"model": "m", "a": 1, "seed": 2},
        {"model": "n", "a": 1, "seed": 2, "b": 2},
        {"model": "m", "seed": 7},
        {"model": "n", "seed": 7},
    ]


def test_an_exclude_that_matches_nothing_is_noticed() -> None:
    built = matrix({"a": [1, 2]}, exclude=[{"a": 1}, {"a": 3}], samples=3)
    assert [entry.pairs for entry in built.idle_excludes()] == [{"a": 3}]


def test_true_is_not_one() -> None:
    assert not matches(True, 1)
    assert not matches(0, False)
    assert matches(5, 5.0)
    assert matches([1, {"a": 2}], [1, {"a": 2, "b": 3}])
    assert not matches([1], [1, 2])
    assert not matches({"a": 1}, "a")


_AXES = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), max_size=3
)


@given(_AXES, st.integers(1, 3))
def test_the_cross_product_is_in_the_order_of_the_file(
    axes: dict[str, list[JsonValue]], samples: int
) -> None:
    found = [tuple(cell[name] for name in ("sample", *axes)) for cell in cells(axes, samples=samples)]
    assert found == list(itertools.product(range(1, samples + 1), *axes.values()))


@given(_AXES, st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5), min_size=1), max_size=3))
def test_the_bound_holds_and_no_original_value_is_replaced(
    axes: dict[str, list[JsonValue]], include: list[dict[str, JsonValue]]
) -> None:
    built = matrix(axes, include=include)
    found = list(built.cells())
    assert len(found) <= built.upper_bound
    assert found == list(built.cells())
    count = 1
    for values in axes.values():
        count *= len(values)
    if axes:
        original = [tuple(cell[name] for name in axes) for cell in found[:count]]
        assert original == list(itertools.product(*axes.values()))
