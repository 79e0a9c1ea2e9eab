"""Prompts that were never filled in, and prompts that only look like it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.prompts import Place, find_unfilled
from tests.support.job_bench import HEAD, JobBench

NAMES = {
    "shot": {"id": "a", "prompt": "A teapot", "tags": {"mood": "calm"}},
    "ratio": "16:9",
    "model": "byteplus/seedance-1-0-pro",
    "vars": {"style": "35mm"},
}


def hints(text: str, place: Place | None = None) -> list[str]:
    return [found.hint for found in find_unfilled(text, NAMES, place)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("${ shot.prompt }", "shot.prompt"),
        ("${shot.prompt}, slowly", "shot.prompt"),
        ("$PROMPT", "shot.prompt"),
        ("$shot.prompt", "shot.prompt"),
        ("{{ prompt }}", "shot.prompt"),
        ("{{- shot.promt -}}", "shot.prompt"),
        ("{prompt}", "shot.prompt"),
        ("{prompt!r:>10}", "shot.prompt"),
        ("%(prompt)s", "shot.prompt"),
        ("%PROMPT%", "shot.prompt"),
        ("#{prompt}", "shot.prompt"),
        ("<PROMPT>", "shot.prompt"),
        ("<prompt>", "shot.prompt"),
        ("@prompt", "shot.prompt"),
        ("<YOUR PROMPT HERE>", "shot.prompt"),
        ("__PROMPT__", "shot.prompt"),
        ("[[prompt]]", "shot.prompt"),
        ("<< prompt >>", "shot.prompt"),
        ("A teapot in {mood} light", "shot.tags.mood"),
        ("A teapot, $style", "vars.style"),
        ("in {{ ratio }}", "ratio"),
    ],
)
def test_a_placeholder_of_another_tool_is_told_with_the_name_that_is_meant(text: str, name: str) -> None:
    assert hints(text) == [f'"${{{{ {name} }}}}"']


@pytest.mark.parametrize(
    "text",
    [
        "%s",
        "{}",
        "{0} runs",
        "{% if x %}A{% endif %}",
        "<%= x %>",
        "[YOUR TEXT]",
        "{red|blue}",
        "TODO: write it",
    ],
)
def test_a_placeholder_without_a_name_is_told(text: str) -> None:
    assert len(hints(text)) == 1


@pytest.mark.parametrize(
    ("text", "side"),
    [('A boat"', "end"), ('"A boat', "beginning"), ('A boat at dawn, 35mm film" ', "end")],
)
def test_a_quote_without_another_is_told(text: str, side: str) -> None:
    (found,) = find_unfilled(text, NAMES, None)
    assert found.message.startswith(f"the quote at its {side} has no other")


@pytest.mark.parametrize(
    "text", ['A sign says "Open"', 'A screen of 27"', 'A 6" pipe and a 8" pipe', '"A boat"']
)
def test_quotes_that_belong_to_the_text_pass(text: str) -> None:
    assert hints(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "A coffee for $5, then for $5.99",
        "A { brace, and a brace } alone",
        'A screen that shows {"a": 1}',
        "A$AP Rocky and Ke$ha",
        "50% off, 100%, 20%d",
        "a < b > c, <dialogue>Hello</dialogue>",
        "<A B>",
        "@Image1 walks",
        "[SFX] wind, [Image 1] dances",
        "A teapot, f/1.8",
        "A woman reads p.txt",
        "file: the clerk opens it",
        "from the top.",
        "include the sky",
        "snake_case__name",
        "node.js",
        "$",
        "",
    ],
)
def test_an_ordinary_prompt_passes(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("A teapot")
    assert hints(text, Place(tmp_path.resolve(), tmp_path.resolve())) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file://p.txt", "p.txt"),
        ("file:p.txt", "p.txt"),
        ("@p.txt", "p.txt"),
        ("p.txt", "p.txt"),
        (" prompts/hero ", "prompts/hero"),
        ("./prompts/hero", "./prompts/hero"),
        ("my prompt.md", "my prompt.md"),
        ("shots.v1", "shots.v1"),
        ("prompts/gone.txt", "prompts/gone.txt"),
        ("< p.txt", "p.txt"),
        ("file.txt", "file.txt"),
        ("from.md", "from.md"),
        ("!include p.txt", "p.txt"),
        ('file("p.txt")', "p.txt"),
    ],
)
def test_a_file_s_name_is_told_with_the_form_that_reads_it(text: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    for name in ("p.txt", "prompts/hero", "my prompt.md", "shots.v1"):
        (tmp_path / name).write_text("A teapot")
    assert hints(text, Place(tmp_path.resolve(), tmp_path.resolve())) == [f"text: {{from: {path}}}"]


@pytest.mark.security(5)
def test_no_file_outside_the_root_is_looked_for(tmp_path: Path) -> None:
    """Whether one exists there is nothing that a job may find out."""
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "secret.key").write_text("x")
    assert hints("../secret.key", Place(root.resolve(), root.resolve())) == []


@given(st.text(max_size=400))
def test_any_text_is_read_without_trouble(text: str) -> None:
    assert len(hints(text)) <= 1


def test_each_prompt_of_a_matrix_is_looked_at(jobs: JobBench) -> None:
    (jobs.folder / "two.prompt").write_text("A teapot")
    told = jobs.problems(
        HEAD + "matrix: {shot: [A teapot, two.prompt, '{{ x }}']}\n"
        "content: [{type: text, text: '${{ shot }}'}]\n"
    )
    assert [line.partition(": content[0].text: ")[2] for line in told] == [
        "`two.prompt` is a file's name, and would be sent, and paid for, as it stands (in cell two.prompt);"
        " hint: text: {from: two.prompt}",
        "`{{ x }}` is not filled in: it would be sent, and paid for, as it stands (in cell x); hint:"
        " write the text itself",
    ]


def test_the_lint_can_be_switched_off(jobs: JobBench) -> None:
    text = HEAD + "content: [{type: text, text: 'A page that shows {{ x }}'}]\n"
    assert len(jobs.problems(text)) == 1
    assert jobs.plan(text + "lint: {prompt-placeholder: 'off'}\n").warnings == ()
