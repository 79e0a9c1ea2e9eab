"""`schedule`: what it prints is what cron, systemd and GitHub Actions take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.command import callsheet

JOB = """\
version: 1
models: [byteplus/seedance-1-5-pro]
edition: ${{ run.date }}
content: [{type: text, text: a boat}]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A path with what the formats have to escape."""
    root = tmp_path / 'my "50%" $film'
    assert callsheet("init", root, cwd=tmp_path).returncode == 0
    (root / "jobs" / "nightly.yaml").write_text(JOB, encoding="utf-8")
    (root / ".env").write_text("MESHAPI_API_KEY=rsk_x\n", encoding="utf-8")
    return root


def commands(crontab: str) -> list[str]:
    """What cron hands to the shell: the line behind its five fields or @word, `\\%` as `%`."""
    lines = [line for line in crontab.splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"(?:@\w+|(?:\S+ ){4}\S+) (.*)", line) for line in lines]
    assert all(found)
    texts = [match[1] for match in found if match]
    assert not any(re.search(r"(?<!\\)%", text) for text in texts)
    return [text.replace(r"\%", "%") for text in texts]


def test_the_lines_of_the_crontab_run_from_anywhere(root: Path, tmp_path: Path) -> None:
    """Each command is started by `sh` in a bare environment, as cron does."""
    printed = callsheet("schedule", "jobs/nightly.yaml", "--at", "03:05", "--deadline", "50m", cwd=root)
    assert printed.returncode == 0
    assert "next: put these lines into `crontab -e`" in printed.stderr
    run, collect, at_boot = commands(printed.stdout)
    assert "5 3 * * *" in printed.stdout
    assert "@reboot" in printed.stdout
    assert collect == at_boot
    for line in (collect, run.replace(" run ", " plan ").replace("--wait 6h --deadline 50m", "--sandbox")):
        ended = subprocess.run(["sh", "-c", line], cwd="/", env={"PATH": "/usr/bin:/bin"}, check=False)
        assert ended.returncode == 0, (root / ".callsheet" / "cron.log").read_text()
    assert "1 task: 1 new" in (root / ".callsheet" / "cron.log").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd to ask")
def test_systemd_takes_its_units(root: Path, tmp_path: Path) -> None:
    units = tmp_path / "units"
    written = callsheet("schedule", "jobs/nightly.yaml", "--as", "systemd", "--write", units, cwd=root)
    assert written.returncode == 0
    names = sorted(file.name for file in units.iterdir())
    assert names == [
        "callsheet-nightly-collect.service",
        "callsheet-nightly-collect.timer",
        "callsheet-nightly.service",
        "callsheet-nightly.timer",
    ]
    checked = subprocess.run(
        ["systemd-analyze", "--user", "verify", *(units / name for name in names)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_workflow_runs_where_the_ledger_is(root: Path) -> None:
    printed = callsheet("schedule", "jobs/nightly.yaml", "--as", "github", "--at", "04:00", cwd=root)
    workflow = yaml.safe_load(printed.stdout)
    job = workflow["jobs"]["callsheet"]
    assert job["runs-on"] == "self-hosted"
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert "github.event.schedule" in workflow["concurrency"]["group"], "a collect must not drop a nightly"
    # `on` is true to a parser of YAML 1.1
    assert [entry["cron"] for entry in workflow[True]["schedule"]] == ["0 4 * * *", "17 * * * *"]
    collect, run = (step["run"] for step in job["steps"])
    assert " collect " in collect
    assert str(root) in run.replace("'\"'\"'", "'")
    for code, passes in ((0, True), (75, True), (1, False)):
        passing = run.replace(run.partition(" || ")[0], f"(exit {code})")
        assert (subprocess.run(["bash", "-ec", passing], check=False).returncode == 0) is passes


def test_a_monitor_that_the_root_knows_is_told(root: Path) -> None:
    assert " --ping " not in callsheet("schedule", "jobs/nightly.yaml", cwd=root).stdout
    with (root / ".env").open("a", encoding="utf-8") as env:
        env.write("CALLSHEET_PING_URL=https://monitor.example/secret\n")
    printed = callsheet("schedule", "jobs/nightly.yaml", cwd=root)
    run, collect, _ = commands(printed.stdout)
    assert " --ping " in run
    assert " --ping " not in collect
    assert "secret" not in printed.stdout + printed.stderr


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (("edition: ${{ run.date }}\n", ""), "without `edition:`"),
        (("content:", "budget: {confirm_usd: 5}\ncontent:"), "give --yes"),
        (("content:", "api_key_env: OTHER_KEY\ncontent:"), "OTHER_KEY=... in .env"),
    ],
)
def test_what_a_night_shift_stumbles_over_is_told_by_day(
    change: tuple[str, str], advice: str, root: Path
) -> None:
    job = root / "jobs" / "nightly.yaml"
    assert callsheet("schedule", job, cwd=root).stderr.count("\n") == 1
    job.write_text(JOB.replace(*change), encoding="utf-8")
    options = ["--allow-env", "OTHER_KEY"]
    told = callsheet("schedule", job, *options, cwd=root)
    assert told.returncode == 0
    assert advice in told.stderr
    assert all(" --allow-env OTHER_KEY " in line for line in commands(told.stdout)[:1])


def test_what_a_job_needs_trust_for_is_said_by_day_and_goes_into_the_unit(root: Path) -> None:
    job = root / "jobs" / "nightly.yaml"
    job.write_text(f"{JOB}base_url: https://mine.example\n", encoding="utf-8")
    refused = callsheet("schedule", job, cwd=root)
    assert (refused.returncode, refused.stdout) == (65, "")
    assert "--trust-job" in refused.stderr
    run, collect, _ = commands(callsheet("schedule", job, "--trust-job", cwd=root).stdout)
    assert " --trust-job " in run
    assert " --trust-job " not in collect


def test_a_wrong_job_is_not_scheduled(root: Path) -> None:
    (root / "jobs" / "nightly.yaml").write_text(JOB.replace("version: 1", "version: 2"), encoding="utf-8")
    refused = callsheet("schedule", "jobs/nightly.yaml", cwd=root)
    assert (refused.returncode, refused.stdout) == (65, "")


def test_jobs_of_two_projects_are_two_schedules(root: Path, tmp_path: Path) -> None:
    assert callsheet("init", tmp_path / "other", cwd=tmp_path).returncode == 0
    refused = callsheet("schedule", "jobs/nightly.yaml", tmp_path / "other/jobs/hello.yaml", cwd=root)
    assert refused.returncode == 2
    assert "another project" in refused.stderr


@pytest.mark.parametrize("wrong", [("--at", "25:00"), ("--deadline", "soon"), ("--wait", "-1s")])
def test_a_wrong_time_is_a_wrong_option(wrong: tuple[str, str], root: Path) -> None:
    assert callsheet("schedule", "jobs/nightly.yaml", *wrong, cwd=root).returncode == 2
