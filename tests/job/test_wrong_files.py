"""Each wrong job file in wrong/ is refused at the exact place, in the exact words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.errors import JobError, Problem
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.job.schema import check_job
from runner.job.yaml import source
from runner.plan.plan import make_plan

WRONG = Path(__file__).with_name("wrong")
EXPECTED = re.compile(r"(\d+):(\d+) (\S+) \| (.+)")


@dataclass(frozen=True)
class Case:
    title: str
    stage: str
    expected: tuple[tuple[int, int, str, str], ...]
    text: str


def read_cases(file: Path) -> Iterator[Case]:
    for part in re.split(r"^=== ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition("\n")
        head, _, text = rest.partition("---\n")
        stage = re.findall(r"^stage: (.+)$", head, re.MULTILINE)
        expected = []
        for line in re.findall(r"^expect: (.+)$", head, re.MULTILINE):
            match = EXPECTED.fullmatch(line)
            assert match, f"{file.name}: {title}: {line}"
            path = "" if match[3] == "-" else match[3]
            expected.append((int(match[1]), int(match[2]), path, match[4]))
        assert len(stage) == 1, f"{file.name}: {title}: one stage"
        yield Case(title, stage[0], tuple(expected), text)


CASES = {
    f"{file.stem}: {case.title}": case for file in sorted(WRONG.glob("*.txt")) for case in read_cases(file)
}


def refuse(case: Case, root: Path) -> Sequence[Problem]:
    """What is said of the case, by the stage that refuses it."""
    text = case.text.encode()
    if case.stage == "schema":
        return check_job(source.parse(text, file="job.yaml"))
    try:
        if case.stage == "source":
            source.parse(text, file="job.yaml")
        else:
            make_plan_of(text, root)
    except JobError as error:
        return error.problems
    return ()


def make_plan_of(text: bytes, root: Path) -> None:
    file = root / "job.yaml"
    file.write_bytes(text)
    job = load_job(file, root=root, options=LoadOptions(environ={}))
    plan = make_plan(job, origin="https://api.meshapi.ai", run_date=RunDate.parse("2026-11-21+01:00"))
    list(plan.tasks)


def compare(problems: Sequence[Problem], expected: tuple[tuple[int, int, str, str], ...]) -> None:
    told = [
        (
            each.line,
            each.column,
            each.path,
            f"{each.message}; hint: {each.hint}" if each.hint else each.message,
        )
        for each in problems
    ]
    assert len(told) == len(expected), told
    for said, wanted in zip(told, expected, strict=True):
        assert said[:3] == wanted[:3]
        words = wanted[3]
        if words.endswith("..."):
            assert said[3].startswith(words.removesuffix("..."))
        else:
            assert said[3] == words


@pytest.mark.security(1)
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_file_is_refused_at_its_place(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    compare(refuse(case, tmp_path), case.expected)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.stage == "source"])
def test_both_event_parsers_refuse_alike(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser without libyaml finds the same problems; its column within a quoted escape is one on."""
    monkeypatch.setattr(source, "event_parser", source.PythonParser)
    case = CASES[name]
    if case.title == "an unknown escape":
        case = Case(case.title, case.stage, ((4, 11, *case.expected[0][2:]),), case.text)
    compare(refuse(case, tmp_path), case.expected)


def test_there_are_at_least_sixty_wrong_files_and_each_expects_something() -> None:
    assert len(CASES) >= 60
    assert all(case.expected for case in CASES.values())
