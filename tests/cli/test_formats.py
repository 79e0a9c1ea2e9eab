"""Every verb that lists something lists it for a program too: an object a line."""

from __future__ import annotations

import json

import pytest

from runner.errors import ExitCode
from tests.support.verb_bench import VerbBench


@pytest.mark.parametrize(
    ("words", "least"),
    [
        (["plan", "boat.yaml"], 2),
        (["status"], 2),
        (["verify"], 2),
        (["diff", "latest", "latest"], 0),
        (["show", "s1"], 1),
        (["spend", "--by", "model"], 2),
        (["models"], 3),
        (["reconcile"], 0),
        (["doctor"], 5),
        (["validate", "boat.yaml"], 0),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_jsonl_is_an_object_a_line(verbs: VerbBench, words: list[str], least: int) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert verbs.call(*words, "--output-format", "jsonl") == ExitCode.DONE, verbs.err
    lines = [json.loads(line) for line in verbs.out.splitlines()]
    assert len(lines) >= least
    assert all(isinstance(line, dict) for line in lines)
