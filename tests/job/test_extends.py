"""`extends`: a job on top of a house file, and the merged job as one file again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import JobError, Problem
from runner.job.files.extends import as_yaml, whole_document
from runner.job.files.sources import JobCopy
from runner.job.load import LoadOptions, load_job
from runner.job.merge import on_top_of
from runner.job.model import Job
from runner.job.yaml.nodes import Mapping, to_data
from runner.job.yaml.source import parse
from runner.plan.plan import make_plan
from tests.support.job_bench import JobBench

HOUSE = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..2
vars: {look: 35mm film}
matrix:
  ratio: [16:9, 9:16]
request: {resolution: 480p, duration: 4}
content:
  - {type: text, text: "A red boat, ${{ vars.look }}"}
run: {concurrency: 4, poll: {first: 1s}}
"""


def problems(jobs: JobBench, text: str) -> list[Problem]:
    with pytest.raises(JobError) as caught:
        make_plan(jobs.load(text), origin="https://api.meshapi.ai")
    return list(caught.value.problems)


def plan(job: Job) -> list[tuple[str, str, str]]:
    made = make_plan(job, origin="https://api.meshapi.ai")
    return [(task.identity, task.name, task.output) for task in made.tasks]


def test_mappings_are_merged_key_by_key_and_all_else_replaces(jobs: JobBench) -> None:
    (jobs.root / "house.yaml").write_text(HOUSE)
    job = jobs.load(
        """\
version: 1
extends: ../house.yaml
samples: 2
matrix: {ratio: [1:1], angle: [low, high]}
request: {duration: 6, resolution: ~}
content:
  - {type: text, text: "A blue boat from ${{ angle }}, ${{ vars.look }}"}
run: {poll: {max: 10s}}
"""
    )
    assert to_data(job.document) == {
        "version": 1,
        "models": ["byteplus/seedance-1-0-pro"],
        "samples": 2,
        "vars": {"look": "35mm film"},
        "matrix": {"ratio": ["1:1"], "angle": ["low", "high"]},
        "request": {"duration": 6},
        "content": [{"type": "text", "text": "A blue boat from ${{ angle }}, ${{ vars.look }}"}],
        "run": {"concurrency": 4, "poll": {"first": "1s", "max": "10s"}},
    }
    assert (job.run.concurrency, job.run.poll.first, job.run.poll.maximum) == (4, 1.0, 10.0)
    assert job.files == {"house.yaml": HOUSE.encode()}


def test_a_job_with_its_house_file_asks_for_what_one_file_would(jobs: JobBench) -> None:
    alone = plan(jobs.load(HOUSE))
    (jobs.root / "house.yaml").write_text(HOUSE)
    assert plan(jobs.load("version: 1\nextends: ../house.yaml\n")) == alone


def test_a_run_reads_its_copies_whatever_became_of_the_house_file(jobs: JobBench) -> None:
    (jobs.root / "house.yaml").write_text(HOUSE)
    first = jobs.load("version: 1\nextends: ../house.yaml\n")
    (jobs.root / "house.yaml").write_text(HOUSE.replace("red", "green"))
    file = jobs.folder / "hero.yaml"
    again = load_job(file, root=jobs.root, options=LoadOptions({}), copy=first.copy)
    assert (plan(again), again.copy) == (plan(first), first.copy)
    assert whole_document(first.copy, file=file, root=jobs.root) == first.document


@pytest.mark.parametrize(
    ("house", "own", "said"),
    [
        (HOUSE.replace("480p", "481p"), "", "house.yaml:7:23: request.resolution: "),
        (HOUSE, "request: {resolution: 481p}\n", "jobs/hero.yaml:3:23: request.resolution: "),
        (HOUSE.replace("vars.look", "vars.lock"), "", "house.yaml:9:24: content[0].text: "),
        (HOUSE.replace("seeds: 1..2", "seed: 1..2"), "", "house.yaml:3:1: seed: unknown key"),
        ("a: [", "", "house.yaml:1:5: "),
        ("", "", "house.yaml:1:1: the file is empty"),
        ("extends: other.yaml\n", "", "house.yaml:1:10: extends: this file is extended"),
        (HOUSE, "env: [NO]\n", "jobs/hero.yaml:3:7: env[0]: "),
    ],
)
def test_a_problem_names_the_file_in_which_the_value_stands(
    jobs: JobBench, house: str, own: str, said: str
) -> None:
    (jobs.root / "house.yaml").write_text(house)
    found = problems(jobs, f"version: 1\nextends: ../house.yaml\n{own}")
    assert found[0].render("jobs/hero.yaml").startswith(said)


def test_a_problem_of_one_cell_names_the_house_file(jobs: JobBench) -> None:
    (jobs.root / "house.yaml").write_text(HOUSE.replace("4}", "99}"))
    (found,) = problems(jobs, "version: 1\nextends: ../house.yaml\n")
    assert (found.file, found.line) == ("house.yaml", 7)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("[../house.yaml]", "must be the path of one file"),
        ("house.yaml", "no such file"),
        ("../../outside.yaml", "outside the project root"),
        ("../link.yaml", "outside the project root"),
        ("../.env", "a hidden file"),
    ],
)
def test_what_is_no_house_file_is_told_alone_at_its_key(jobs: JobBench, named: str, said: str) -> None:
    (jobs.root.parent / "outside.yaml").write_text(HOUSE)
    (jobs.root / "link.yaml").symlink_to("../outside.yaml")
    (found,) = problems(jobs, f"version: 1\nextends: {named}\n")
    assert (found.line, found.path) == (2, "extends")
    assert said in found.message


REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "project"
JOBS = [(REPOSITORY, file) for file in sorted((REPOSITORY / "jobs").glob("*.yaml"))]
JOBS += [(GOLDEN, file) for file in sorted([*GOLDEN.rglob("*.yaml"), *GOLDEN.rglob("*.yml")])]


@pytest.mark.parametrize(("root", "file"), JOBS)
def test_the_merged_job_as_one_file_asks_for_the_same(root: Path, file: Path) -> None:
    options = LoadOptions({"TAKE": "blue"}, allow_env=frozenset({"TAKE"}))
    job = load_job(file, root=root, options=options)
    planned = plan(job)
    text = as_yaml(job.document, name=job.name).encode()
    copy = JobCopy(text, job.files)
    other = load_job(file.with_name("other.yaml"), root=root, options=options, copy=copy)
    assert plan(other) == planned
    assert (other.run, other.budget, other.lint) == (job.run, job.budget, job.lint)


letters = st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"])
texts = st.text(letters | st.sampled_from("\n\t #:-?'\"|>"), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts
names = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(names, values, max_size=4)


def mapping(data: object) -> Mapping:
    return parse(json.dumps(data, ensure_ascii=False).encode(), file="job.json")


@given(documents)
def test_a_document_as_yaml_reads_as_itself(data: dict[str, object]) -> None:
    data["name"] = "a name"
    assert to_data(parse(as_yaml(mapping(data), name="x").encode(), file="x")) == data


@given(documents, documents)
def test_what_the_job_says_wins_and_what_it_leaves_out_stays(
    below: dict[str, object], own: dict[str, object]
) -> None:
    merged = to_data(on_top_of(mapping(below), mapping(own)))
    assert isinstance(merged, dict)
    for name in below.keys() | own.keys():
        if name not in own:
            assert merged[name] == below[name]
        elif own[name] is None and name in below:
            assert name not in merged
        elif not (isinstance(own[name], dict) and isinstance(below.get(name), dict)):
            assert merged[name] == own[name]
    assert to_data(on_top_of(mapping({}), mapping(own))) == own
