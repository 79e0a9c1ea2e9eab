"""A job file to a Job: what each section becomes, and what a stranger's file must not do."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ExitCode, JobError
from runner.job.load import LoadOptions, load_job
from runner.job.model import Budget, OnAmbiguous, PollPolicy, RunPolicy
from runner.job.policy import parse_duration, parse_rate
from runner.job.project.environment import read_env
from tests.support.job_bench import HEAD, TEXT, JobBench

KEY = "rsk_canary_0123456789"


def test_a_minimal_job_has_the_documented_defaults(jobs: JobBench) -> None:
    job = jobs.load(HEAD + TEXT)
    assert (job.name, job.file, job.provider.name) == ("hero", "jobs/hero.yaml", "mesh")
    assert job.run == RunPolicy(
        8, 4, 4, None, 3600.0, None, None, 300.0, OnAmbiguous.AUTO, PollPolicy(None, 2, 30)
    )
    assert job.budget == Budget(None, None, None)
    assert job.steps[""].model_names == ("byteplus/seedance-1-0-pro",)
    assert (job.api_key_env, job.base_url, job.edition) == (None, None, None)
    assert job.text == (HEAD + TEXT).encode()
    assert len(job.digest) == 64


def test_run_and_budget_are_typed(jobs: JobBench) -> None:
    job = jobs.load(
        HEAD
        + TEXT
        + "run: {concurrency: 2, submit_slots: 1, downloads: 3, rate: 60/min, timeout: 2m, deadline: 6h, "
        "max_failures: 5, settle: 100ms, on_ambiguous: hold, poll: {first: 30, min: 5s, max: 1m}}\n"
        "budget: {max_usd: 25.10, max_tasks: 0, confirm_usd: 5}\n"
    )
    assert job.run == RunPolicy(
        2, 1, 3, 1.0, 120.0, 21600.0, 5, 0.1, OnAmbiguous.HOLD, PollPolicy(30.0, 5.0, 60.0, True),
        settle_alone=12 * 0.1,
    )  # fmt: skip
    assert job.budget == Budget(25_100_000, 0, 5_000_000)


def test_a_settle_time_alone_below_the_other_is_refused(jobs: JobBench) -> None:
    text = HEAD + TEXT + "run: {settle: 5m, settle_alone: 1m}\n"
    assert "run.settle_alone: is shorter than run.settle" in jobs.problems(text)[0]


def test_a_shortest_interval_above_the_longest_is_refused(jobs: JobBench) -> None:
    assert jobs.problems(HEAD + TEXT + "run: {poll: {min: 1h}}\n") == [
        "jobs/hero.yaml:4:13: run.poll: min is above max"
    ]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5.0), (0.5, 0.5), ("100ms", 0.1), ("15s", 15.0), ("2m", 120.0), ("1h", 3600.0), ("7d", 604800.0)],
)
def test_durations_are_seconds_or_have_a_unit(value: float | str, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_any_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    one = parse_duration(f"1{unit}")
    assert parse_duration(f"{number}{unit}") == pytest.approx(number * one)


@given(st.text(max_size=10))
def test_any_text_is_a_duration_or_a_sentence(text: str) -> None:
    for parse in (parse_duration, parse_rate):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@pytest.mark.parametrize(("text", "rate"), [("60/min", 1.0), ("2/s", 2.0), ("1800/h", 0.5), ("0.5/s", 0.5)])
def test_rates_are_requests_per_second(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "60", "60/minute", "-1/s", "0/s", "1/0"])
def test_other_text_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)


def test_a_job_that_cannot_be_read_is_a_missing_input(jobs: JobBench) -> None:
    with pytest.raises(JobError) as caught:
        load_job(jobs.folder / "none.yaml", root=jobs.root, options=LoadOptions({}))
    assert caught.value.exit_code is ExitCode.INPUT_MISSING
    assert "jobs/none.yaml:1:1: cannot read the job file" in str(caught.value)


@pytest.mark.parametrize("name", ["hello", "hello.yml", "helo.yaml", "jobs/hallo.yaml"])
def test_a_job_file_that_was_probably_meant_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "hello.yaml").write_text("version: 1\n")
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / name, root=tmp_path, options=LoadOptions(environ={}))
    assert caught.value.problems[0].hint == f"did you mean `{tmp_path / 'jobs' / 'hello.yaml'}`?"


def test_the_saved_copy_of_a_run_is_read_instead_of_the_file(jobs: JobBench) -> None:
    first = jobs.load(HEAD + TEXT)
    (jobs.folder / "hero.yaml").unlink()
    again = load_job(jobs.folder / "hero.yaml", root=jobs.root, options=LoadOptions({}), copy=first.copy)
    assert (again.digest, again.file, again.name) == (first.digest, first.file, first.name)


def test_a_job_may_be_named_by_a_relative_path_and_a_link(
    jobs: JobBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.load(HEAD + TEXT)
    (jobs.root / "link.yaml").symlink_to("jobs/hero.yaml")
    monkeypatch.chdir(jobs.root)
    options = LoadOptions({})
    assert load_job(Path("jobs/hero.yaml"), root=jobs.root, options=options).file == "jobs/hero.yaml"
    assert load_job(Path("link.yaml"), root=jobs.root, options=options).name == "link"


def test_a_job_outside_the_root_keeps_a_name_that_leads_to_it(jobs: JobBench) -> None:
    """With --root; its inputs stay confined to the root, so it may hold text only."""
    file = jobs.root.parent / "far.yaml"
    file.write_text(HEAD + TEXT)
    assert load_job(file, root=jobs.root, options=LoadOptions({})).file == "../far.yaml"


# What a stranger's job file must not do: security lines 2 and 10.


def test_a_listed_variable_is_a_value_and_nothing_else(jobs: JobBench) -> None:
    text = HEAD + "env: [MOOD]\ncontent: [{type: text, text: '${{ env.MOOD }}'}]\n"
    text += "lint: {prompt-placeholder: 'off'}\n"
    for mood in ("${{ env.HOME }}", "a\nb: c", "x: [y"):
        [task] = jobs.tasks(text, environ={"MOOD": mood}, allow_env=frozenset({"MOOD"}))
        assert task.request["content"] == [{"type": "text", "text": mood}]


def test_a_variable_needs_leave(jobs: JobBench) -> None:
    text = HEAD + "env: [AWS_SECRET]\ncontent: [{type: text, text: '${{ env.AWS_SECRET }}'}]\n"
    environ = {"AWS_SECRET": "canary"}
    [problem] = jobs.problems(text, environ=environ)
    assert problem == (
        "jobs/hero.yaml:3:7: env[0]: `AWS_SECRET` is not one of the provider's own variables; "
        "hint: if this job may read it: --allow-env AWS_SECRET, or --trust-job for all that it lists"
    )
    assert jobs.plan(text, environ=environ, allow_env=frozenset({"AWS_SECRET"})).count == 1
    assert jobs.plan(text, environ=environ, trust_job=True).count == 1


def test_a_variable_that_is_not_listed_is_not_there(jobs: JobBench) -> None:
    [problem] = jobs.problems(
        HEAD + "content: [{type: text, text: '${{ env.HOME }}'}]\n", environ={"HOME": "x"}, trust_job=True
    )
    assert "list `HOME` under `env:`" in problem


def test_a_variable_that_is_not_set_is_told(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "env: [MESHAPI_BASE_URL]\n" + TEXT)
    assert "is not set" in problem


@pytest.mark.parametrize("name", ["MESHAPI_API_KEY", "MESHAPI_TOKEN", "MY_KEY"])
def test_the_key_is_never_a_value_whatever_is_allowed(jobs: JobBench, name: str) -> None:
    text = (
        HEAD
        + f"api_key_env: MY_KEY\nenv: [{name}]\ncontent: [{{type: text, text: '${{{{ env.{name} }}}}'}}]\n"
    )
    problems = jobs.problems(text, environ={name: KEY}, allow_env=frozenset({name}), trust_job=True)
    assert len(problems) == 1
    assert "holds an API key" in problems[0]
    assert KEY not in problems[0]


@pytest.mark.security(23)
def test_what_is_callsheet_s_own_is_never_an_expression_s_value(jobs: JobBench) -> None:
    """Its values are secrets: the address of a monitor, for one."""
    name = "CALLSHEET_PING_URL"
    text = f"{HEAD}env: [{name}]\n{TEXT}"
    environ = {name: "https://monitor.example/x"}
    [problem] = jobs.problems(text, environ=environ, allow_env=frozenset({name}), trust_job=True)
    assert "callsheet's own" in problem


def test_the_key_under_another_name_is_no_value_either(jobs: JobBench) -> None:
    text = HEAD + "env: [COPY]\ncontent: [{type: text, text: '${{ env.COPY }}'}]\n"
    for copy in (KEY, f"https://evil.example/?k={KEY}"):
        [problem] = jobs.problems(text, environ={"COPY": copy, "MESHAPI_TOKEN": f" {KEY}\n"}, trust_job=True)
        assert "holds the API key" in problem
        assert KEY not in problem
    (jobs.root / ".env").write_text(f"MESHAPI_API_KEY={KEY}\n")
    [problem] = jobs.problems(text, environ={"COPY": KEY}, trust_job=True)
    assert "holds the API key" in problem


def test_another_secret_cannot_be_sent_as_the_key(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "api_key_env: AWS_SECRET\n" + TEXT)
    assert "would be sent to the service" in problem
    assert jobs.load(HEAD + "api_key_env: MESHAPI_TOKEN\n" + TEXT).api_key_env == "MESHAPI_TOKEN"
    text = HEAD + "api_key_env: MY_KEY\n" + TEXT
    assert jobs.load(text, allow_env=frozenset({"MY_KEY"})).api_key_env == "MY_KEY"


def test_a_job_does_not_say_where_the_key_goes_unless_trusted(jobs: JobBench) -> None:
    text = HEAD + "base_url: https://evil.example\n" + TEXT
    [problem] = jobs.problems(text)
    assert problem.startswith("jobs/hero.yaml:3:11: base_url: a job file must not decide")
    assert jobs.load(text, trust_job=True).base_url == "https://evil.example"


def test_dotenv_gives_keys_and_allowed_names_only(jobs: JobBench) -> None:
    (jobs.root / ".env").write_text(
        "MESHAPI_API_KEY=from-file\nMESHAPI_BASE_URL=https://evil.example\nMOOD='quiet $HOME'\n"
        "OTHER=x\nEMPTY\n"
    )
    before = dict(os.environ)
    assert dict(read_env(jobs.root, {})) == {"MESHAPI_API_KEY": "from-file"}
    assert dict(read_env(jobs.root, {"MESHAPI_API_KEY": "set"})) == {"MESHAPI_API_KEY": "set"}
    allowed = read_env(jobs.root, {}, allow=frozenset({"MOOD", "MESHAPI_BASE_URL"}))
    assert dict(allowed) == {"MESHAPI_API_KEY": "from-file", "MOOD": "quiet $HOME"}
    assert dict(os.environ) == before


def test_dotenv_supplies_what_the_job_may_read(jobs: JobBench) -> None:
    (jobs.root / ".env").write_text("MOOD=quiet\n")
    text = HEAD + "env: [MOOD]\ncontent: [{type: text, text: '${{ env.MOOD }}'}]\n"
    [task] = jobs.tasks(text, allow_env=frozenset({"MOOD"}))
    assert task.request["content"] == [{"type": "text", "text": "quiet"}]


def test_a_secret_is_in_no_repr(jobs: JobBench) -> None:
    job = jobs.load(HEAD + "env: [MOOD]\n" + TEXT, environ={"MOOD": "canary"}, trust_job=True)
    assert "canary" not in repr(job)
    assert "canary" not in repr(LoadOptions({"MESHAPI_API_KEY": "canary"}))


def test_several_problems_are_told_at_once_and_in_order(jobs: JobBench) -> None:
    problems = jobs.problems(
        "version: 1\nmodels: [m]\nmodel: m\nseeds: 4..1\nmatrix: {if: [a]}\n"
        "request: {ratio: '${{ ratoi }}'}\ncontent: [{type: text, text: '${{ 2 ** 9 }}'}]\noutput: /x.mp4\n"
    )
    assert [problem.split(":")[1] for problem in problems] == ["3", "4", "5", "6", "7", "8"]


def test_a_misspelt_key_is_told_of_once_and_not_by_the_names_that_it_would_make(jobs: JobBench) -> None:
    text = TEXT.replace("A teapot", "'${{ seed }} ${{ mood }} ${{ vars.what }}'")
    with pytest.raises(JobError) as caught:
        jobs.load(HEAD + "seedz: 1..2\nmatrx: {mood: [calm, wild]}\nvar: {what: tea}\n" + text)
    assert [(problem.path, problem.hint) for problem in caught.value.problems] == [
        ("seedz", "did you mean `seeds`?"),
        ("matrx", "did you mean `matrix`?"),
        ("var", "did you mean `vars`?"),
    ]


def test_a_key_of_ones_own_is_never_taken_for_another(jobs: JobBench) -> None:
    with pytest.raises(JobError) as caught:
        jobs.load(HEAD + "x-seeds: foo\nwrong: 1\n" + TEXT)
    assert [problem.path for problem in caught.value.problems] == ["wrong"]
