"""How large a plan may be: found before a task is built, in little memory."""

from __future__ import annotations

import tracemalloc

import pytest

from runner.errors import JobError
from runner.plan.build import TaskBuilder
from runner.plan.plan import make_plan
from runner.plan.steps import MOST_TASKS
from tests.support.evidence import evidence_but
from tests.support.job_bench import HEAD, ORIGIN, TEXT, JobBench

QUOTED = "'${{ x }}'"
FRAMES = "request: {return_last_frame: true}\nsteps:\n"


def values(number: int) -> str:
    return f"[{', '.join(map(str, range(number)))}]"


def above(lines: str) -> str:
    return f"  a: {{{lines}, content: [{{type: text, text: A}}]}}\n"


def below(lines: str, *, name: str = "b", needs: str = "a") -> str:
    frame = f"{{type: image_url, image_url: '${{{{ needs.{needs}.last_frame }}}}'}}"
    return f"  {name}: {{needs: {needs}, {lines}, content: [{frame}]}}\n"


TOO_LARGE = {
    "a range": ("seeds: 0..999999999\n" + TEXT, "1,000,000,000"),
    "one more than the most": (f"seeds: 0..{MOST_TASKS}\n" + TEXT, "100,001"),
    "a product": (
        f"samples: 1000\nmatrix: {{x: {values(1000)}}}\ncontent: [{{type: text, text: '${{{{ x }}}}'}}]\n",
        "1,000,000",
    ),
    "nested lists": (
        "".join(
            [
                "matrix:\n",
                *(f"  {axis}: [{', '.join(f'[[{n}, [{n}]]]' for n in range(20))}]\n" for axis in "abcde"),
                "request: {seed: '${{ 1 if a == b == c == d == e else 2 }}'}\n",
                TEXT,
            ]
        ),
        "3,200,000",
    ),
    "an include": (
        f"seeds: 1..60000\ninclude: [{{x: 1}}, {{x: 2}}]\n{TEXT.replace('A teapot', QUOTED)}",
        "120,000",
    ),
    "an exclude": (
        f"seeds: 1..50001\nmatrix: {{x: [1, 2, 3]}}\nexclude: [{{x: 3}}]\n{TEXT.replace('A teapot', QUOTED)}",
        "100,002",
    ),
    "an exclude of very many": (
        "seeds: 1..1000001\nexclude: [{seed: 7}]\n" + TEXT,
        "1,000,001",
    ),
    "steps": (FRAMES + above("seeds: 1..400") + below("samples: 400"), "160,400"),
    "a chain": (
        FRAMES + above("seeds: 1..50") + below("samples: 50") + below("samples: 50", name="c", needs="b"),
        "127,550",
    ),
    "below a pick": (
        FRAMES
        + above("seeds: 1..1000, matrix: {ratio: [16:9, 1:1]}, pick: [{ratio: '16:9'}]")
        + below("samples: 100"),
        "102,000",
    ),
    "below a pick of what is above": (
        FRAMES
        + above("seeds: 1..10")
        + below("samples: 100, pick: [{needs: {a: {seed: 3}}}]")
        + below("samples: 1000", name="c", needs="b"),
        "101,010",
    ),
    "below an empty pick": (FRAMES + above("seeds: 1..2, pick: []") + below("samples: 100000"), "100,002"),
}


@pytest.mark.parametrize("case", evidence_but(lambda case: "pick" in case, TOO_LARGE))
def test_a_plan_that_is_too_large_is_refused_before_a_task_is_built(
    case: str, jobs: JobBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, count = TOO_LARGE[case]
    job = jobs.load(HEAD + text)
    monkeypatch.setattr(TaskBuilder, "build", None)
    tracemalloc.start()
    with pytest.raises(JobError) as caught:
        make_plan(job, origin=ORIGIN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(caught.value).endswith(f"{count} cells; a plan has at most 100,000; hint: split the job file")
    assert peak < 4_000_000


def test_what_an_exclude_takes_away_does_not_count(jobs: JobBench) -> None:
    excluded = ", ".join(f"{{y: {number}}}" for number in range(1, 300))
    text = f"matrix:\n  x: {values(400)}\n  y: {values(300)}\nexclude: [{excluded}]\n"
    assert jobs.plan(HEAD + text + TEXT.replace("A teapot", "'${{ x }} ${{ y }}'")).count == 400


def test_what_a_pick_leaves_out_does_not_count(jobs: JobBench) -> None:
    text = FRAMES + above("seeds: 1..400, pick: [{seed: 7}]") + below("samples: 400")
    assert jobs.plan(HEAD + text).count == 800
