"""`schedule`: what it prints is what cron, systemd and GitHub Actions take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.support.command_process import callsheet
from tests.support.evidence import evidence_but

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
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


HOSTILE = [
    "a\\%b\\\\%c%d%%",
    "$HOME ${USER} $(touch owned) `touch owned`",
    "'; touch owned; '\"; touch owned; \"",
    "${{ github.token }} $${{ secrets.KEY }} '${{'\"${{",
    "-n --help @x %h %n : # ! { [ & * ? | > ~",
    "back\\",
    " spaces ",
    "Grüße 雨 😀",
]


def commands(crontab: str) -> list[str]:
    """What cron hands to the shell: the line behind its five fields or @word, read as cron(8) does."""
    lines = [line for line in crontab.split("\n")[:-1] if not line.startswith("#")]
    found = [re.fullmatch(r"(?:@\w+|(?:\S+ ){4}\S+) (.*)", line) for line in lines]
    assert all(found)
    return [_cron_command(match[1]) for match in found if match]


def _cron_command(text: str) -> str:
    """do_command.c of Vixie cron: a backslash hides the next character, and goes only before a `%`."""
    read: list[str] = []
    is_hidden = False
    for character in text:
        if is_hidden and character == "%":
            read.pop()
        elif not is_hidden:
            assert character != "%", f"the command ends within: {text}"
        is_hidden = character == "\\" and not is_hidden
        read.append(character)
    return "".join(read)


def systemd_words(line: str) -> list[str]:
    """ExecStart as systemd.service(5) and systemd.syntax(7) read it."""
    read: list[str] = []
    for number, match in enumerate(re.finditer(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)):
        word = re.sub(r"\\(.)", r"\1", match[1]) if match[2] is None else match[2]
        assert match[2] is None or not set(match[2]) & set("'\"\\;"), line
        assert re.fullmatch(r"(?:[^%]|%%)*", word), f"a specifier: {line}"
        if number:
            assert re.fullmatch(r"(?:[^$]|\$\$)*", word), f"a variable: {line}"
            word = word.replace("$$", "$")
        read.append(word.replace("%%", "%"))
    return read


def shell_words(command: str, cwd: Path) -> list[str]:
    """The words of the command, as `sh` reads them: its own name, which may hold a space, is the first."""
    printing = """p() { printf '%s\\0' "$@"; }; p """ + command
    told = subprocess.run(["sh", "-c", printing], cwd=cwd, check=True, capture_output=True)
    return told.stdout.decode().split("\0")[:-1]


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
        ended = subprocess.run(
            ["sh", "-c", line],
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), "cron mails what is printed"
    assert "1 task: 1 new" in ended.stdout
    assert [path.name for path in (root / ".callsheet").iterdir() if path.suffix == ".log"] == []


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
    # the machine's own sockets are read too, and none may have a long path
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        checked = subprocess.run(
            ["systemd-analyze", "--user", "verify", *(units / name for name in names)],
            env={**os.environ, "XDG_RUNTIME_DIR": runtime},
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


@pytest.mark.security(22)
@pytest.mark.parametrize("kind", evidence_but("systemd".__eq__, ["crontab", "systemd", "github"]))
def test_whatever_a_path_holds_stays_one_word(kind: str, tmp_path: Path) -> None:
    """Root and job file have hostile names; each unit is read by its own rules, and then by `sh`."""
    for name in HOSTILE:
        root = tmp_path / "roots" / name
        assert callsheet("init", root, cwd=tmp_path).returncode == 0
        job = root / "jobs" / f"{name}.yaml"
        job.write_text(JOB, encoding="utf-8")
        units = tmp_path / "units" / name
        written = callsheet("schedule", job, "--as", kind, "--allow-env", name, "--write", units, cwd=root)
        assert written.returncode == 0, written.stderr
        texts = {file.name: file.read_text(encoding="utf-8") for file in units.iterdir()}
        for words in _started(kind, texts, tmp_path):
            assert words[words.index("--root") + 1] == str(root)
            if "run" in words:
                assert words[-1] == str(job)
                assert f"--allow-env={name}" in words
        assert list(tmp_path.rglob("owned")) == []
        assert all(re.fullmatch(r"callsheet-[A-Za-z0-9_.-]+", file) for file in texts)


def _started(kind: str, texts: dict[str, str], cwd: Path) -> list[list[str]]:
    """The words of each command that the unit's files start."""
    if kind == "systemd":
        lines = [line for text in texts.values() for line in text.split("\n")]
        assert not any(line.endswith("\\") for line in lines)
        return [systemd_words(line.removeprefix("ExecStart=")) for line in lines if "ExecStart" in line]
    [text] = texts.values()
    if kind == "crontab":
        return [shell_words(line, cwd) for line in commands(text)]
    steps = yaml.safe_load(text)["jobs"]["callsheet"]["steps"]
    assert text.count("${{") == 1, "the one of `concurrency`"
    return [shell_words(step["run"].removesuffix(" || test $? -eq 75"), cwd) for step in steps]


@pytest.mark.security(22)
@pytest.mark.parametrize("kind", ["crontab", "systemd", "github"])
@pytest.mark.parametrize(
    "broken",
    evidence_but(
        lambda broken: "\n" in broken,
        ["a\n* * * * * touch owned\n", "a\rb", "a\x1b[2Jb", "a\x85b", "a\u202eb"],
    ),
)
def test_what_no_line_can_hold_is_refused(kind: str, broken: str, root: Path, tmp_path: Path) -> None:
    (root / "jobs" / f"{broken}.yaml").write_text(JOB, encoding="utf-8")
    (tmp_path / broken).mkdir()
    assert callsheet("init", tmp_path / broken, cwd=tmp_path).returncode == 0
    for words in (
        [root / "jobs" / f"{broken}.yaml"],
        [root / "jobs" / "nightly.yaml", "--allow-env", broken],
        [tmp_path / broken / "jobs" / "hello.yaml"],
    ):
        refused = callsheet("schedule", *words, "--as", kind, cwd=root)
        assert (refused.returncode, refused.stdout) == (2, ""), words
        assert "a unit cannot hold line breaks" in refused.stderr
        assert broken not in refused.stderr


def test_two_job_files_do_not_share_a_unit(root: Path) -> None:
    names = set()
    for stem in ("雨", "茶", "jobs"):
        (root / "jobs" / f"{stem}.yaml").write_text(JOB, encoding="utf-8")
        printed = callsheet("schedule", f"jobs/{stem}.yaml", "--as", "systemd", cwd=root)
        names.add(printed.stdout.partition("\n")[0])
    assert len(names) == 3


@pytest.mark.security(23)
def test_a_monitor_in_the_file_of_a_checkout_is_told_only_where_a_person_allows_it(root: Path) -> None:
    assert " --ping " not in callsheet("schedule", "jobs/nightly.yaml", cwd=root).stdout
    with (root / ".env").open("a", encoding="utf-8") as env:
        env.write("CALLSHEET_PING_URL=https://monitor.example/secret\n")
    told = callsheet("schedule", "jobs/nightly.yaml", cwd=root)
    assert " --ping " not in told.stdout
    assert "--allow-env CALLSHEET_PING_URL" in told.stderr
    printed = callsheet("schedule", "jobs/nightly.yaml", "--allow-env", "CALLSHEET_PING_URL", cwd=root)
    run, collect, _ = commands(printed.stdout)
    assert " --allow-env=CALLSHEET_PING_URL --ping " in run
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
    assert all(" --allow-env=OTHER_KEY " in line for line in commands(told.stdout)[:1])


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
