"""`callsheet validate`, `plan` and `schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.providers import every
from runner.providers.provider import Provider
from runner.resources import schema_path

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..2
matrix:
  ratio: [16:9, 9:16]
  shot:
    - {id: pour, prompt: Tea is poured}
content:
  - type: text
    text: ${{ shot.prompt }}
output: out/${{ shot.id }}-${{ ratio }}-s${{ seed }}.mp4
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    assert main(["-q", "init", str(tmp_path)]) == 0
    file = tmp_path / "jobs" / "tea.yaml"
    file.write_text(JOB)
    return file


def test_a_valid_job_is_told_with_its_number_of_tasks(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(job)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{job}: valid, 4 tasks\n"
    assert captured.err == f"next: callsheet plan {job}    shows what it would run\n"


def test_every_problem_of_every_file_is_told_with_its_place(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = job.with_name("other.yaml")
    other.write_text(JOB.replace("seeds: 1..2", "seedz: 1..2").replace("version: 1", "version: 2"))
    assert main(["validate", str(other), str(job)]) == ExitCode.JOB_INVALID
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.split(": ")[0] for line in lines[::3]] == [
        "jobs/other.yaml:1:10",
        "jobs/other.yaml:3:1",
    ]
    assert "did you mean `seeds`?" in lines[3]
    assert lines[4:6] == ["    3 | seedz: 1..2", "      | ^"]
    assert "4 tasks" in captured.out


def test_a_job_file_that_is_not_there_exits_66(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(job.with_name("none.yaml"))]) == ExitCode.INPUT_MISSING
    assert "none.yaml" in capsys.readouterr().err


def test_a_warning_is_told_and_does_not_fail(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.write_text(JOB.replace("seedance-1-0-pro", "somebody-s-model"))
    assert main(["validate", str(job)]) == 0
    assert "warning: " in capsys.readouterr().err


def test_a_plan_lists_each_task_with_its_cell_path_and_reason(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(job), "--sandbox"]) == 0
    prompt, *tasks, counts, estimate = capsys.readouterr().out.splitlines()
    assert prompt == '"Tea is poured"'
    assert len(tasks) == 4
    assert tasks[0].startswith("new ")
    for part in ("ratio=16:9", "shot=pour", "seed=1", "out/pour-16x9-s1.mp4", "never submitted"):
        assert part in tasks[0]
    assert counts == "4 tasks: 4 new"
    assert estimate == "estimate of what is new: tokens of 4 tasks not known; price of 4 tasks not known"


STEPS = """\
version: 1
models: [byteplus/dreamina-seedance-2-5]
request: {ratio: 16:9, duration: 5}
steps:
  drafts:
    matrix: {shot: [{id: kettle, prompt: A kettle boils}, {id: tent, prompt: A tent opens}]}
    request: {draft: true}
    content: [{type: text, text: "${{ shot.prompt }}"}]
    pick: []
  finals:
    needs: drafts
    content: [{type: draft_task, draft_task: "${{ needs.drafts.task_id }}"}]
"""


def test_a_plan_shows_each_step_with_its_prompts_and_what_lies_behind_a_pick(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write_text(STEPS)
    assert main(["plan", str(job), "--sandbox"]) == 0
    title, kettle, tent, counts, _, behind = capsys.readouterr().out.splitlines()
    assert title == "drafts, 2 tasks"
    assert kettle.endswith('"A kettle boils"')
    assert tent.endswith('"A tent opens"')
    assert counts == "2 tasks: 2 new"
    assert behind.startswith("behind a pick: 1 task of finals for about USD ")
    assert behind.endswith(", for each picked take of drafts")
    job.write_text(STEPS.replace("pick: []", "pick: [{shot: {id: tent}}]"))
    assert main(["plan", str(job), "--sandbox"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("drafts", "finals"))] == [
        "drafts, 2 tasks",
        "finals, 1 task",
    ]
    assert not any("behind" in line for line in lines)


def test_a_plan_works_in_a_fresh_clone_and_sends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project file marks the root; `.callsheet/` is not in git."""
    monkeypatch.delenv("MESHAPI_API_KEY", raising=False)
    (tmp_path / "callsheet.yaml").write_text("version: 1\n")
    (tmp_path / "tea.yaml").write_text(JOB)
    assert main(["plan", str(tmp_path / "tea.yaml")]) == 0
    assert "4 tasks: 4 new" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["callsheet.yaml", "tea.yaml"]


def test_a_plan_needs_no_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout of job files alone; a given --root has to be one all the same."""
    (tmp_path / "tea.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "tea.yaml"]) == 0
    captured = capsys.readouterr()
    assert "4 tasks: 4 new" in captured.out
    assert "next: callsheet init" in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["tea.yaml"]
    assert main(["plan", "tea.yaml", "--root", "."]) == ExitCode.NO_PROJECT


def test_a_plan_for_programs_is_one_json_object(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(job), "--sandbox", "--date", "2026-05-31+02:00", "--output-format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["file"], plan["origin"], plan["date"]) == ("jobs/tea.yaml", "sandbox", "2026-05-31+02:00")
    assert plan["counts"] == {"new": 4}
    assert [task["request"]["ratio"] for task in plan["tasks"]] == ["16:9", "9:16"] * 2
    assert len({task["identity"] for task in plan["tasks"]}) == 4


def test_a_plan_makes_nothing(job: Path) -> None:
    before = sorted(job.parent.parent.rglob("*"))
    assert main(["plan", str(job), "--sandbox"]) == 0
    assert sorted(job.parent.parent.rglob("*")) == before


def test_a_path_that_is_taken_is_a_conflict_and_exits_65(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = job.parent.parent / "rehearsal" / "out" / "pour-16x9-s1.mp4"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody's")
    assert main(["plan", str(job), "--sandbox"]) == ExitCode.JOB_INVALID
    told = capsys.readouterr()
    assert told.out.splitlines()[-2] == "4 tasks: 1 conflict, 3 new"
    assert "1 task in conflict: nothing would run; hint: give `output` another path" in told.err


def test_the_real_thing_and_a_rehearsal_have_identities_of_their_own(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was rehearsed is still to be bought."""
    identities = []
    for options in (["--sandbox"], ["--base-url", "http://127.0.0.1:9"], []):
        assert main(["plan", str(job), *options, "--output-format", "json"]) == 0
        identities.append(json.loads(capsys.readouterr().out)["tasks"][0]["identity"])
    assert len(set(identities)) == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--date", "tomorrow"], "write it as 2026-05-31"),
        (["--base-url", "http://api.example"], "https"),
        (["--base-url", "https://user:canary@api.example"], "user name or password"),
    ],
)
def test_a_wrong_option_says_what_to_do(
    options: list[str], told: str, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(job), *options]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert told in captured.err
    assert "canary" not in captured.err


@pytest.mark.parametrize("name", ["job", "manifest"])
def test_schemas_are_printed_as_they_ship(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(schema_path(name).read_text())


@pytest.mark.parametrize("provider", every().values(), ids=every())
def test_the_schema_of_each_provider_is_printed_as_it_ships(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", f"{provider.name}-request"]) == 0
    assert json.loads(capsys.readouterr().out) == provider.schema


def test_an_unknown_schema_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "nope"]) == ExitCode.USAGE
    assert "mesh-request" in capsys.readouterr().err


def test_a_plan_for_another_provider_tells_every_loss_at_once(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fields, seeds, axes, files and roles together, each at its place; what no eye sees is a warning."""
    job.with_name("a.gif").write_bytes(b"GIF89a")
    item = "  - {type: image_url, image_url: a.gif, role: last_frame}\n"
    job.write_text(
        JOB.replace("output:", f"{item}request: {{camera_fixed: true, priority: 3}}\noutput:"),
        encoding="utf-8",
    )
    assert main(["plan", str(job), "--provider", "getimg"]) == ExitCode.JOB_INVALID
    told = capsys.readouterr().err
    for loss in (
        "seeds: getimg has no `seed`; hint: samples: 2",
        "request.camera_fixed: getimg has no `camera_fixed`",
        "getimg takes png, jpeg and webp images",
        "content[1].role: getimg takes a last_frame only with a first_frame",
    ):
        assert loss in told


def test_a_plan_for_another_provider_warns_of_what_no_eye_sees(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write_text(
        "version: 1\nmodels: [seedance-1-0-pro]\nrequest: {priority: 3}\n"
        "content: [{type: text, text: A teapot}]\n",
        encoding="utf-8",
    )
    assert main(["plan", str(job), "--provider", "getimg", "--sandbox"]) == 0
    captured = capsys.readouterr()
    assert "warning: request.priority: getimg has no `priority`" in captured.err
    assert "1 task: 1 new" in captured.out


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("max_tasks: 3", "`run` stops after 3 of 4 new tasks (budget.max_tasks)"),
        ("max_usd: 2", "`run` stops before it exceeds USD 2.00 (budget.max_usd)"),
        ("confirm_usd: 3", "`run` asks first: more than USD 3.00 (budget.confirm_usd); --yes agrees"),
        ("max_usd: 4, max_tasks: 4, confirm_usd: 4", ""),
    ],
)
def test_a_plan_says_what_the_budget_will_do(
    budget: str, told: str, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write_text(f"{JOB}budget: {{{budget}}}\nprice: {{usd_per_task: 1}}\n")
    assert main(["plan", str(job)]) == 0
    sentences = [line for line in capsys.readouterr().out.splitlines() if line.startswith("`run`")]
    assert sentences == [told] * bool(told)


def test_a_plan_says_that_a_cap_in_dollars_cannot_be_held(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write_text(f"{JOB.replace('seedance-1-0-pro', 'seedance-9')}budget: {{max_usd: 2}}\n")
    assert main(["plan", str(job)]) == 0
    assert "`run` refuses: the price of 4 of 4 new tasks is not known" in capsys.readouterr().out
    assert main(["plan", str(job), "--output-format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["estimate"]["usd"] is None
