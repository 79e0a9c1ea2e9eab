"""A proxy swallows the answer of every third POST: all is paid once, and every file arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_process import callsheet
from tests.support.cutting_proxy import cutting_proxy
from tests.support.oracle import judge
from tests.support.process_bench import ProcessBench

HEAD = """\
version: 1
request: {resolution: 480p, ratio: 1:1, duration: 4}
run: {settle: 1s, concurrency: 16, poll: {first: 100ms, min: 100ms, max: 300ms}}
"""

DISTINCT_SEEDS = """\
models: [byteplus/seedance-1-0-pro]
seeds: 1..60
content: [{type: text, text: A paper boat}]
"""

SHOTS = ", ".join(f"n{number}" for number in range(30))

EQUAL_SEEDS = f"""\
models: [byteplus/seedance-1-0-pro]
seeds: [7]
matrix: {{shot: [{SHOTS}]}}
content:
  - type: text
    text: A paper boat, shot ${{{{ shot }}}}
"""

SAMPLES = """\
models: [byteplus/dreamina-seedance-2-0-260128]
samples: 20
content: [{type: text, text: A paper boat}]
"""


@pytest.mark.evidence
@pytest.mark.fault(8)
@pytest.mark.fault(24)
@pytest.mark.parametrize(
    ("job", "count"),
    [(DISTINCT_SEEDS, 60), (EQUAL_SEEDS, 30), (SAMPLES, 20)],
    ids=["distinct seeds", "equal seeds, different prompts", "samples on a model that ignores seeds"],
)
def test_swallowed_answers_cost_nothing_twice(job: str, count: int, film: ProcessBench) -> None:
    """After at most one more `run`: as many accepted POSTs and verified files as tasks, exit 0."""
    file = film.write(HEAD + job)
    with cutting_proxy(film.server.url, every=3) as proxy:
        line = ["run", file, "--root", film.root, "--base-url", proxy.url]
        for _ in range(2):
            told = callsheet(*line, cwd=Path("/"), MESHAPI_API_KEY="rsk_sandbox")
            if told.returncode == 0:
                break
        assert told.returncode == 0, told.stderr
        assert proxy.cuts == proxy.posts // 3 >= count // 3
    found = judge(film)
    assert (found.accepted, found.double, found.wrong, found.verified) == (count, 0, (), count)
