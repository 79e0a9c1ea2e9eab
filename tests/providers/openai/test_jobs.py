"""What a job at a server of one's own may hold, and what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.plan.plan import Plan, make_plan
from tests.support.job_bench import PNG, JobBench

TEXT = "content: [{type: text, text: A teapot}]\n"
MODEL = "Wan-AI/Wan2.2-T2V-A14B"
GPU = "http://gpu-box:8000/v1"


def job(*lines: str) -> str:
    return f"version: 1\nmodels: [{{id: {MODEL}, at: gpu}}]\n{TEXT}" + "".join(f"{line}\n" for line in lines)


@pytest.fixture
def gpu(jobs: JobBench) -> JobBench:
    at_dialect(jobs, "vllm-omni")
    return jobs


def at_dialect(jobs: JobBench, dialect: str) -> None:
    account = f"{{provider: openai, base_url: '{GPU}', dialect: {dialect}}}"
    (jobs.root / "callsheet.yaml").write_text(f"version: 1\naccounts:\n  gpu: {account}\n", encoding="utf-8")


def planned(jobs: JobBench, *lines: str) -> Plan:
    loaded = jobs.load(job(*lines))
    return make_plan(loaded, origins={name: each.origin for name, each in loaded.accounts.items()})


def test_a_seed_sweep_has_a_task_for_each_seed_at_the_accounts_address(gpu: JobBench) -> None:
    plan = planned(gpu, "seeds: 1..3", "request: {duration: 4, resolution: 480p, ratio: '16:9'}")
    assert [dict(task.request) for task in plan.tasks] == [
        {"model": MODEL, "prompt": "A teapot", "seconds": "4", "size": "832x480", "seed": seed}
        for seed in (1, 2, 3)
    ]
    assert {(task.provider, task.account, task.origin) for task in plan.tasks} == {("openai", "gpu", GPU)}


def test_what_runs_on_a_machine_of_ones_own_costs_nothing(gpu: JobBench) -> None:
    (task,) = planned(gpu).tasks
    assert task.estimate_micros == 0
    (priced,) = planned(gpu, "price: {usd_per_task: 0.02}").tasks
    assert priced.estimate_micros == 20_000


@pytest.mark.parametrize("dialect", ["litellm", "reference"])
def test_what_a_gateway_costs_is_not_known_unless_it_is_said(jobs: JobBench, dialect: str) -> None:
    at_dialect(jobs, dialect)
    assert [task.estimate_micros for task in planned(jobs).tasks] == [None]
    (task,) = planned(jobs, "request: {duration: 4}", "price: {usd_per_second: 0.1}").tasks
    assert task.estimate_micros == 400_000


def test_a_seed_sweep_raises_no_doubt_about_seeds(gpu: JobBench) -> None:
    assert not any("seed" in warning.message for warning in planned(gpu, "seeds: 1..3").warnings)


def test_samples_have_seeds_that_are_derived(gpu: JobBench) -> None:
    tasks = planned(gpu, "samples: 2").tasks
    assert len({task.request["seed"] for task in tasks}) == 2


def test_a_field_of_its_own_stands_under_the_account(gpu: JobBench) -> None:
    (task,) = planned(gpu, "request_at: {gpu: {negative_prompt: text, fps: 24, num_frames: 97}}").tasks
    assert (task.request["negative_prompt"], task.request["fps"]) == ("text", 24)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("request: {resolution: 720p, ratio: adaptive}", "has no size for 720p at adaptive"),
        ("request: {resolution: 720p}", "a size needs both `resolution` and `ratio`"),
        ("request_at: {gpu: {n: 3}}", "has no `n`"),
        ("request_at: {gpu: {quality: best}}", "quality"),
    ],
)
def test_what_the_server_cannot_be_told_is_told_with_its_line(gpu: JobBench, line: str, told: str) -> None:
    problems = "\n".join(gpu.problems(job(line)))
    assert told in problems
    assert "hero.yaml:4:" in problems


def test_a_local_picture_is_the_first_frame(gpu: JobBench) -> None:
    (gpu.folder / "a.png").write_bytes(PNG)
    text = job().replace(TEXT, f"{TEXT[:-2]}, {{type: image_url, image_url: a.png}}]\n")
    loaded = gpu.load(text)
    (task,) = make_plan(loaded, origins={"gpu": GPU}).tasks
    assert task.request["input_reference"] == [{"url": task.inputs[0].reference}]
    assert task.inputs[0].path == Path(gpu.folder / "a.png")


def test_the_same_job_at_another_dialect_of_the_same_server_asks_for_the_same_picture(
    gpu: JobBench,
) -> None:
    """How a length is written is the server's own: identities differ only where the request does."""
    (one,) = planned(gpu, "request: {seed: 7}").tasks
    at_dialect(gpu, "sglang")
    (other,) = planned(gpu, "request: {seed: 7}").tasks
    assert one.identity == other.identity
