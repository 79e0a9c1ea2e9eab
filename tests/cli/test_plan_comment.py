"""`plan --output-format markdown`: what a pull request shows, read by a Markdown parser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from runner.__main__ import main
from runner.cli.plan_comment import MOST_CHARACTERS, PlanComment, code
from runner.errors import ExitCode
from runner.job.load import LoadOptions, load_job
from runner.redact import printable
from tests.support.verb_bench import VerbBench

PRICED = """\
version: 1
models: [byteplus/seedance-1-0-pro]
price: {usd_per_task: 0.25}
request: {return_last_frame: true}
steps:
  pour:
    matrix: {shot: [{id: a, prompt: Tea is poured}, {id: b, prompt: Tea is drunk}]}
    content: [{type: text, text: "${{ shot.prompt }}"}]
  steam:
    needs: pour
    content:
      - {type: text, text: Steam rises}
      - {type: image_url, image_url: "${{ needs.pour.last_frame }}", role: first_frame}
"""

Plan = Callable[..., str]


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plans the text of a job file, and gives the comment."""
    monkeypatch.chdir(tmp_path)

    def comment(text: str, *options: str, code: int = 0) -> str:
        Path("tea.yaml").write_text(text, encoding="utf-8")
        capsys.readouterr()
        assert main(["plan", "tea.yaml", "--output-format", "markdown", *options]) == code
        return capsys.readouterr().out

    return comment


def parsed(text: str) -> Iterator[Token]:
    """The tokens of a document as GitHub reads it, with those inside of lines."""
    for token in MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text):
        yield token
        yield from token.children or ()


def test_a_comment_says_what_each_step_costs_and_what_to_type(plan: Plan) -> None:
    lines = plan(PRICED).splitlines()
    assert lines[0] == "### `tea.yaml`: 4 tasks to make, about USD 1.00"
    table = [line for line in lines if line.startswith("|")]
    assert table == [
        "| step | account | new | waiting | cost |",
        "| --- | --- | ---: | ---: | ---: |",
        "| `pour` | `mesh` | 2 | 0 | about USD 0.50 |",
        "| `steam` | `mesh` | 0 | 2 | about USD 0.50 |",
        "| all |  | 2 | 2 | about USD 1.00 |",
    ]
    assert "To make what is new: `callsheet run tea.yaml`" in lines
    assert '- `pour-a`, `"Tea is poured"`, to `out/tea/pour/a.mp4`, about USD 0.25' in lines


def test_a_comment_without_a_ledger_says_that_all_counts_as_new(plan: Plan) -> None:
    """A pull request from a fork gets no secrets, so the ledger is not asked."""
    assert "a task that is paid for already counts as new" in plan(PRICED)


def test_limits_and_warnings_are_told(plan: Plan) -> None:
    told = plan(PRICED.replace("seedance-1-0-pro", "seedance-9") + "budget: {max_usd: 0.6}\n")
    assert "- `` `run` stops before it exceeds USD 0.60 (budget.max_usd) ``" in told
    assert "<details><summary>1 warning</summary>" in told
    assert "- `tea.yaml:2:10: warning: " in told


def test_a_job_that_cannot_be_planned_takes_the_place_of_its_older_plan(plan: Plan) -> None:
    told = plan(PRICED + "sedes: 3\n", code=ExitCode.JOB_INVALID)
    assert told.startswith("### `tea.yaml`: cannot be planned\n\n- ``tea.yaml:")
    assert "did you mean `seeds`?" in told


def test_done_and_edited_tasks_are_told_apart(verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == 0
    job = (verbs.root / "boat.yaml").read_text(encoding="utf-8")
    verbs.write(job.replace("A paper boat", "A paper *ship*").replace("seeds: 1..2", "seeds: 2..3"))
    assert verbs.call("plan", "boat.yaml", "--output-format", "markdown") == 0
    assert "| account | edit | new | cost |" in verbs.out
    assert "<summary>1 edit</summary>" in verbs.out
    assert 'A paper *ship*"`, to `out/s2.mp4`' in verbs.out
    assert "the older takes as versions" in verbs.out
    assert "without a ledger" not in verbs.out
    verbs.write(job)
    assert verbs.call("plan", "boat.yaml", "--output-format", "markdown") == 0
    assert verbs.out.startswith("### `boat.yaml`: nothing to make\n")
    assert "| `mesh` | 2 | - |" in verbs.out


def test_a_path_that_is_taken_is_told_first(verbs: VerbBench) -> None:
    taken = verbs.root / "rehearsal" / "out" / "s1.mp4"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody's")
    assert verbs.call("plan", "boat.yaml", "--output-format", "markdown") == ExitCode.JOB_INVALID
    assert verbs.out.startswith("### `boat.yaml`: 1 task in conflict, so nothing would run\n")
    assert "<summary>1 conflict</summary>" in verbs.out


HOSTILE = [
    "</details><script>alert(1)</script><img src=x onerror=alert(1)>",
    "@everyone #1 GH-1 https://evil.example [x](https://evil.example) ![x](https://evil.example/p.png)",
    "``` ` `` ~~~ | a | b |",
    "line\n\n# heading\r\n/approve\u2028- item\u202e",
    "`" * 200,
    "\\` \\| & &lt;b&gt; <!-- -->",
]


@pytest.mark.security(31)
@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_job_file_is_more_than_text_in_a_comment(text: str, plan: Plan) -> None:
    """Neither HTML nor a link, a mention or a cell: all of it stands in code spans."""
    quoted = json.dumps(text)
    told = plan(PRICED.replace("prompt: Tea is poured", f"prompt: {quoted}"))
    tokens = [*parsed(told)]
    for token in tokens:
        if token.type == "text":
            assert re.fullmatch(r"[\w ,.:-]*", token.content)
        elif token.type == "html_block":
            assert re.fullmatch(r"<details><summary>[\w ]+</summary>\n|</details>\n", token.content)
        else:
            assert token.type in _HARMLESS
    assert sum(token.type == "heading_open" for token in tokens) == 1
    assert sum(token.type == "tr_open" for token in tokens) == 4


_HARMLESS = {"inline", "code_inline", "softbreak"} | {
    f"{name}_{edge}"
    for name in (
        "heading",
        "paragraph",
        "bullet_list",
        "list_item",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    )
    for edge in ("open", "close")
}


@given(st.text(alphabet=st.sampled_from("`|\\ *_<>@#a\n") | st.characters()))
@example("`")
@example(" a ")
@example("`" * 400)
def test_a_text_in_code_is_read_back_as_it_is(text: str) -> None:
    shown = printable(text)
    shown = shown if len(shown) <= 300 else shown[:297] + "..."
    line = f"- {code(text)}, and *more*"
    spans = [token for token in parsed(line) if token.type == "code_inline"]
    assert [span.content for span in spans] == [shown if shown.strip() else " "]
    assert any(token.type == "em_open" for token in parsed(line))


def _many(number: int, prompt: str) -> str:
    shots = ", ".join(f"{{id: s{each}, prompt: {json.dumps(f'{each} {prompt}')}}}" for each in range(number))
    return PRICED.replace("{id: a, prompt: Tea is poured}, {id: b, prompt: Tea is drunk}", shots)


@pytest.mark.security(31)
def test_a_comment_is_short_however_much_a_job_makes(plan: Plan) -> None:
    """GitHub refuses one of more than 65,536 characters."""
    told = plan(_many(500, "A long prompt " * 30))
    assert len(told) <= MOST_CHARACTERS
    assert told.startswith("### `tea.yaml`: 1,000 tasks to make, about USD 250.00\n")
    assert "- and 480 more" in told


def test_parts_that_would_be_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "tea.yaml").write_text(PRICED, encoding="utf-8")
    job = load_job(tmp_path / "tea.yaml", root=tmp_path, options=LoadOptions({}))
    long = ["`" * 400] * 40
    told = PlanComment(job, "tea.yaml").text(
        warnings=long, sentences=long, command="callsheet run tea.yaml", has_ledger=True
    )
    assert len(told) <= MOST_CHARACTERS
    assert told.endswith("1 more part would be too long here; `callsheet plan` shows all.\n")
    assert "callsheet run tea.yaml" in told
    assert "- and 20 more" in told


@pytest.mark.security(16)
def test_a_secret_in_a_prompt_is_not_in_the_comment(plan: Plan) -> None:
    told = plan(PRICED.replace("Tea is poured", "see https://a.example/x?token=canary"))
    assert "https://a.example/x" in told
    assert "canary" not in told
