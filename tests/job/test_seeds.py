from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.seeds import MOST_SEED, SeedError, Seeds, derived_seed, parse_seeds
from runner.plan.task import task_identity
from runner.providers.mesh import MESH
from tests.support.job_bench import HEAD, ORIGIN, TEXT, JobBench

DEAF = "byteplus/dreamina-seedance-2-0"

SEED = st.integers(0, MOST_SEED)


def test_a_range_is_inclusive() -> None:
    assert list(parse_seeds("1..4")) == [1, 2, 3, 4]
    assert list(parse_seeds("7..7")) == [7]
    assert list(parse_seeds(5)) == [5]
    assert list(parse_seeds(" 3 .. 4 ")) == [3, 4]


@given(SEED, st.integers(0, 50))
def test_any_range_holds_its_ends_and_costs_no_memory(first: int, more: int) -> None:
    last = min(first + more, MOST_SEED)
    found = parse_seeds(f"{first}..{last}")
    assert (found[0], found[-1], len(found)) == (first, last, last - first + 1)


@pytest.mark.parametrize(
    "value", [-1, MOST_SEED + 1, "4..1", "0..4294967296", "1..", "a", "1...4", "-1", "1.5"]
)
def test_what_is_no_seed_is_refused(value: int | str) -> None:
    with pytest.raises(SeedError):
        parse_seeds(value)


def test_seeds_keep_the_order_of_the_file() -> None:
    seeds = Seeds((range(7, 8), range(1, 4)))
    assert list(seeds) == [7, 1, 2, 3]
    assert len(seeds) == 4
    assert 2 in seeds
    assert 5 not in seeds


@given(st.dictionaries(st.sampled_from(["ratio", "duration"]), st.integers()), st.integers(1, 1000))
def test_a_derived_seed_is_a_seed_and_the_same_for_any_order(request: dict[str, int], sample: int) -> None:
    seed = derived_seed(MESH, request, sample)
    assert 0 <= seed <= MOST_SEED
    assert seed == derived_seed(MESH, dict(reversed(request.items())), sample)


def test_a_derived_seed_is_the_same_everywhere() -> None:
    """sha256 of `{"request":{"content":[{"text":"A teapot","type":"text"}],"model":"m"},"sample":1}`."""
    request = {"model": "m", "content": [{"type": "text", "text": "A teapot"}]}
    assert derived_seed(MESH, request, 1) == 1783195277
    assert derived_seed(MESH, request, 2) != derived_seed(MESH, request, 1)


def test_what_does_not_change_the_picture_does_not_change_the_seed() -> None:
    assert derived_seed(MESH, {"ratio": "1:1", "callback_url": "https://a"}, 1) == derived_seed(
        MESH, {"ratio": "1:1"}, 1
    )


def test_samples_send_derived_seeds_where_the_model_honours_them(jobs: JobBench) -> None:
    tasks = jobs.tasks(HEAD + "samples: 2\n" + TEXT)
    assert [task.sample for task in tasks] == [1, 2]
    assert [task.seed for task in tasks] == [task.request["seed"] for task in tasks]
    assert tasks[0].seed != tasks[1].seed
    assert [task.name for task in tasks] == ["t1", "t2"]


def test_samples_send_no_seed_elsewhere(jobs: JobBench) -> None:
    tasks = jobs.tasks("version: 1\nmodels: [byteplus/dreamina-seedance-2-0, other/new]\nsamples: 2\n" + TEXT)
    assert [task.seed for task in tasks] == [None] * 4
    assert all("seed" not in task.request for task in tasks)
    assert len({task.identity for task in tasks}) == 4


def test_more_samples_keep_the_first_ones(jobs: JobBench) -> None:
    two = jobs.tasks(HEAD + "samples: 2\n" + TEXT)
    four = jobs.tasks(HEAD + "samples: 4\n" + TEXT)
    assert [task.identity for task in two] == [task.identity for task in four[:2]]


def test_a_sweep_over_a_model_that_ignores_seeds_is_refused(jobs: JobBench) -> None:
    problems = jobs.problems("version: 1\nmodels: [byteplus/dreamina-seedance-2-0]\nseeds: 1..4\n" + TEXT)
    assert problems == [
        "jobs/hero.yaml:3:8: seeds: byteplus/dreamina-seedance-2-0 ignores `seed`: "
        "each further seed pays for an unrelated video; hint: samples: 4"
    ]


def test_one_seed_on_such_a_model_is_a_warning(jobs: JobBench) -> None:
    plan = jobs.plan("version: 1\nmodels: [seedance-2-0-fast]\nseeds: 5\n" + TEXT)
    assert [warning.message for warning in plan.warnings] == [
        "seedance-2-0-fast ignores `seed`, so it is not sent"
    ]


def test_an_ignored_seed_is_in_the_identity_and_is_not_sent(jobs: JobBench) -> None:
    (task,) = jobs.tasks(f"version: 1\nmodels: [{DEAF}]\nseeds: 5\n{TEXT}")
    assert (task.seed, task.ignored_seed, "seed" in task.request) == (None, 5, False)
    assert task.identity == task_identity(
        provider=MESH, origin=ORIGIN, request={**task.request, "seed": 5}, sample=None, edition=""
    )


def test_a_derived_seed_is_sent_in_31_bits_and_stays_whole_in_the_identity(jobs: JobBench) -> None:
    """What was paid for while the service took 32 bits is not made again."""
    is_folded = False
    for task in jobs.tasks(HEAD + "samples: 8\n" + TEXT):
        assert task.sample is not None
        plain = {name: value for name, value in task.request.items() if name != "seed"}
        derived = derived_seed(MESH, plain, task.sample)
        is_folded |= derived != task.seed
        assert task.seed == derived & 0x7FFF_FFFF <= 2**31 - 1
        assert task.identity == task_identity(
            provider=MESH,
            origin=ORIGIN,
            request={**plain, "seed": derived},
            sample=task.sample,
            edition="",
        )
    assert is_folded


def test_a_sweep_over_an_unknown_model_is_a_warning(jobs: JobBench) -> None:
    plan = jobs.plan("version: 1\nmodels: [other/new]\nseeds: 1..4\n" + TEXT)
    told = (
        "other/new may ignore `seed`: it is not known whether each further seed pays for an unrelated video"
    )
    assert [(warning.line, warning.message, warning.hint) for warning in plan.warnings][1:] == [
        (3, told, "samples: 4")
    ]


def test_a_sweep_that_exclude_leaves_one_seed_of_is_no_sweep(jobs: JobBench) -> None:
    plan = jobs.plan(
        "version: 1\nmodels: [seedance-2-0, seedance-1-0-pro]\nseeds: 1..2\n"
        "exclude: [{model: seedance-2-0, seed: 2}]\n" + TEXT
    )
    assert [(task.model, task.seed) for task in plan.tasks] == [
        ("seedance-2-0", None),
        ("seedance-1-0-pro", 1),
        ("seedance-1-0-pro", 2),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("seeds: [1, 1]\n", "seed 1 is given twice"),
        ("seeds: ['1..4', 3]\n", "seed 3 is given twice"),
        ("seeds: 4..1\n", "runs upwards"),
        ("seeds: -1\n", "-1"),
        ("seeds: 1..2\nsamples: 2\n", "two ways"),
        ("seeds: 1..2\nrequest: {seed: 3}\n", "`seeds` sets this field too"),
        ("samples: 2\nrequest: {seed: 3}\n", "`samples` sets this field too"),
        ("request: {seed: '${{ index - 1 }}'}\n", "-1"),
    ],
)
def test_seeds_that_contradict_are_refused(jobs: JobBench, lines: str, words: str) -> None:
    problems = jobs.problems(HEAD + lines + TEXT)
    assert len(problems) == 1
    assert words in problems[0]
