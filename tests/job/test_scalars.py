"""What YAML would quietly make into something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import JobError, Problem, Severity
from runner.job.yaml.nodes import Scalar, find
from runner.job.yaml.scalars import check_scalars
from runner.job.yaml.source import parse


def told(text: str) -> list[Problem]:
    return check_scalars(parse(text.encode(), file="job.yaml"))


@given(st.from_regex(r"[-+]?[0-9._xobeEA-Fa-f]{1,9}", fullmatch=True))
def test_what_passes_in_a_matrix_is_what_stands_there(written: str) -> None:
    """A number of the file is printed in a prompt as it is written, or the file is refused."""
    try:
        document = parse(f"matrix: {{a: [{written}]}}".encode(), file="job.yaml")
    except JobError:
        return
    node = find(document, ("matrix", "a", 0))
    assert isinstance(node, Scalar)
    assert str(node.value) == written or check_scalars(document)


@pytest.mark.parametrize("written", ["", "~"])
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("edition: {}", "edition"),
        ("request: {{duration: {} }}", "request.duration"),
        ("run:\n  poll:\n    min: {}", "run.poll.min"),
        ("budget: {{max_usd: {} }}", "budget.max_usd"),
        ("steps: {{a: {{request: {{ratio: {} }}}}}}", "steps.a.request.ratio"),
        ("matrix: {{shot: [{{id: a, prompt: {} }}]}}", "matrix.shot[0].prompt"),
        ("matrix:\n  ratio:\n    - {}\n    - 1:1", "matrix.ratio[0]"),
        ("include: [{{ratio: {} }}]", "include[0].ratio"),
        (
            "content:\n  - type: image_url\n    image_url: {{url: a.png, key: {} }}",
            "content[0].image_url.key",
        ),
        ("lint: {{ratio: {} }}", "lint.ratio"),
    ],
)
def test_an_empty_value_is_told_wherever_it_stands(text: str, path: str, written: str) -> None:
    [problem] = told(text.format(written))
    assert (problem.path, problem.message, problem.severity) == (path, "is empty", Severity.ERROR)


def test_the_word_null_and_a_key_of_one_s_own_may_be_empty() -> None:
    assert told("request: {duration: null}\nx-note:\nvars: {x-a: ~}\n") == []


def test_where_only_a_number_may_stand_one_that_is_sure_is_a_warning() -> None:
    problems = told("request: {duration: 0x4, seed: 1e1}\nbudget: {max_usd: 2.50}\nseeds: 007\n")
    assert [(problem.path, problem.severity.value, problem.hint) for problem in problems] == [
        ("request.duration", "warning", "write 4"),
        ("request.seed", "warning", "write 10"),
        ("seeds", "error", "write 7"),
    ]
