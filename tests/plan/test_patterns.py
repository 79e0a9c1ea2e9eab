"""Which of many patterns a cell holds, found together as each would be alone, and soon."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import JobError
from runner.job.load import LoadOptions, load_job
from runner.json_value import JsonValue
from runner.plan.matrix import matches
from runner.plan.patterns import Patterns
from runner.plan.plan import make_plan
from tests.support.matrices import matrix

_SINGLE = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0, "a", "b", ""])
_VALUE: st.SearchStrategy[JsonValue] = st.recursive(
    _SINGLE,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
_CELL = st.dictionaries(st.sampled_from("abc"), _VALUE, max_size=3)


@given(st.lists(_CELL, max_size=6), _CELL)
def test_the_patterns_that_match_are_those_that_match_alone(
    patterns: list[dict[str, JsonValue]], cell: dict[str, JsonValue]
) -> None:
    wanted = [number for number, pattern in enumerate(patterns) if matches(pattern, cell)]
    found = Patterns(patterns)
    assert found.matching(cell) == wanted
    assert found.any_matches(cell) is bool(wanted)


@given(
    st.dictionaries(
        st.sampled_from("ab"), st.lists(_VALUE, min_size=1, max_size=3, unique_by=repr), max_size=2
    ),
    st.lists(_CELL, max_size=4),
)
def test_an_exclude_is_idle_where_no_combination_holds_it(
    axes: dict[str, list[JsonValue]], exclude: list[dict[str, JsonValue]]
) -> None:
    combinations = list(matrix(axes, samples=2).cells())
    wanted = [entry for entry in exclude if not any(matches(entry, cell) for cell in combinations)]
    assert [dict(entry.pairs) for entry in matrix(axes, exclude=exclude, samples=2).idle_excludes()] == wanted


def test_entries_that_each_name_other_axes_are_refused_before_they_take_hours(tmp_path: Path) -> None:
    """Half a million cells, and 2,000 entries of nearly as many kinds."""
    source = random.Random(2)
    names = "abcdefghijklmnopqrs"
    axes = "".join(f"  {name}: [0, 1]\n" for name in names)
    entries = "".join(
        f"  - {{{', '.join(f'{name}: 0' for name in source.sample(names, 10))}}}\n" for _ in range(2000)
    )
    used = "".join(f"${{{{ {name} }}}}" for name in names)
    file = tmp_path / "wild.yaml"
    file.write_text(
        f"version: 1\nmodels: [byteplus/seedance-1-0-pro]\nmatrix:\n{axes}exclude:\n{entries}"
        "request: {resolution: 480p, ratio: '16:9', duration: 4}\n"
        f"content: [{{type: text, text: '{used}'}}]\noutput: 'out/{used}.mp4'\n"
    )
    with pytest.raises(JobError, match="too many kinds of entries"):
        make_plan(load_job(file, root=tmp_path, options=LoadOptions(environ={})), origin="sandbox")


@pytest.mark.parametrize("key", ["exclude", "include"])
def test_a_thousand_entries_cost_as_little_as_one(key: str, tmp_path: Path) -> None:
    """10,000 cells and 2,000 excludes took three minutes, for each asked each."""
    source = random.Random(1)
    values = list(range(60))
    entries = "".join(
        f"  - {{a: {source.choice(values)}, b: {source.choice(values)}}}\n" for _ in range(2000)
    )
    file = tmp_path / "big.yaml"
    file.write_text(
        f"version: 1\nmodels: [byteplus/seedance-1-0-pro]\nmatrix:\n  a: {values}\n  b: {values}\n{key}:\n"
        f"{entries}request: {{resolution: 480p, ratio: '16:9', duration: 4}}\n"
        "content: [{type: text, text: 'x ${{ a }} ${{ b }}'}]\noutput: out/${{ a }}-${{ b }}.mp4\n"
    )
    job = load_job(file, root=tmp_path, options=LoadOptions(environ={}))
    built = matrix(
        {"a": list(values), "b": list(values)},
        exclude=[{"a": source.choice(values), "b": source.choice(values)} for _ in range(20_000)],
    )
    started = time.process_time()
    count = make_plan(job, origin="sandbox").count
    assert sum(1 for _ in built.cells()) < 3600
    built.idle_excludes()
    assert time.process_time() - started < 10
    assert count == 3600 if key == "include" else count < 3600
