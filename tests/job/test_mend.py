"""Slips of a hand, each told where it was made; what the hint says mends the file."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest

from runner.errors import Problem
from runner.job.yaml.mend import MOST_CHARACTERS, mended
from tests.support.fixer import paste
from tests.support.validated import problems_of, project_with_inputs

HEAD = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\n"
TEXT = "content:\n  - type: text\n    text: A red boat\n"
ROWS = (
    "matrix:\n  shot:\n    - id: boat\n      prompt: A boat\n    - id: train\n      prompt: A train\n"
    "content:\n  - type: text\n    text: ${{ shot.prompt }}\n"
)
RATIOS = "matrix:\n  ratio: [16:9, 9:16]\n"


def request(line: str) -> str:
    return f"{HEAD}request:\n  resolution: 480p\n  {line}\n{TEXT}"


PASTED = {
    "an axis that is a field misspelt": (
        f"{HEAD}{RATIOS.replace('ratio', 'ration')}{TEXT}output: out/${{{{ ratio }}}}.mp4\n",
        "4:3 `ration` is used nowhere; hint: did you mean `ratio`?",
    ),
    "a field beside the same one misspelt": (
        request("resolutoin: 480p"),
        "5:1 unknown key `resolutoin`; line 4 has `resolution`; hint: delete this line",
    ),
    "an axis beside the same one misspelt": (
        HEAD + RATIOS + "  ration: [16:9, 9:16]\n" + TEXT,
        "5:1 axis `ration` changes nothing: no field and no expression uses it; line 4 has `ratio`; "
        "hint: delete this line",
    ),
    "a capital letter": (request("Ratio: 16:9"), "5:3 unknown key `Ratio`; hint: did you mean `ratio`?"),
    "one row with another key": (
        HEAD + ROWS.replace("prompt: A train", "promt: A train"),
        "8:7 `promt` is used nowhere; hint: did you mean `prompt`?",
    ),
    "one space too few": (
        HEAD + ROWS.replace("      prompt: A train", "     prompt: A train"),
        "8:6 an indent of 5 spaces does not fit here; hint: indent this line by 6 spaces",
    ),
    "a prompt whose quote is never closed": (
        HEAD + ROWS.replace("A boat", '"A boat'),
        '6:18 this quote is never closed; hint: write `boat"` instead of `boat`',
    ),
    "a prompt of which a part is quoted": (
        HEAD + ROWS.replace("A boat", '"A boat", at sea'),
        "6:15 only a part of this value is quoted; "
        'hint: write `\'"A boat", at sea\'` instead of `"A boat", at sea`',
    ),
    "a prompt with a quote inside its quotes": (
        HEAD + ROWS.replace("A boat", '"A "red" boat"'),
        '6:15 a `"` inside ends this quote; hint: write `\'A "red" boat\'` instead of `"A "red" boat"`',
    ),
    "a prompt with an apostrophe inside its quotes": (
        HEAD + ROWS.replace("A boat", "'The boat's sail'"),
        "6:15 a `'` inside ends this quote; hint: write `\"The boat's sail\"` instead of `'The boat's sail'`",
    ),
    "a prompt as an item without its type": (
        HEAD + "content:\n  - text: A red boat\n",
        "4:5 a prompt is an item of type `text`; "
        'hint: write `{type: text, text: "A red boat"}` instead of `text: A red boat`',
    ),
    "a prompt in brackets": (
        HEAD + "content: [A red boat]\n",
        "3:10 a prompt is an item of type `text`; "
        'hint: write `[{type: text, text: "A red boat"}]` instead of `[A red boat]`',
    ),
    "a range with one dash": (
        HEAD + TEXT + "seeds: 1-4\n",
        "6:8 a range is written with `..`; hint: write `1..4` instead of `1-4`",
    ),
    "a no-break space before a key of the job": (
        HEAD + TEXT + "\u00a0samples: 2\n",
        "6:1 U+00A0 NO-BREAK SPACE where a plain space belongs; hint: indent this line by 0 spaces",
    ),
    "no space after the colon": (
        request("ratio:16:9"),
        "5:3 no space after the `:`; hint: write `ratio: 16:9` instead of `ratio:16:9`",
    ),
    "a resolution without its p": (
        request("").replace("480p", "480"),
        "4:15 must be text, not `480`; hint: did you mean `480p`?",
    ),
    "a prompt as the content": (
        HEAD + "content: A red boat\n",
        "3:10 `content` is a list of items, and a prompt is one of them; "
        'hint: write `[{type: text, text: "A red boat"}]` instead of `A red boat`',
    ),
    "a prompt as an item": (
        HEAD + "content:\n  - A red boat\n",
        "4:5 a prompt is an item of type `text`; "
        'hint: write `{type: text, text: "A red boat"}` instead of `A red boat`',
    ),
    "one model": (
        HEAD.replace("models: [", "model: ").replace("]", "") + TEXT,
        "2:1 `models` is a list; hint: write `models: [byteplus/seedance-1-0-pro]` instead of "
        "`model: byteplus/seedance-1-0-pro`",
    ),
    "a number with its unit": (
        request("duration: 5s"),
        "5:13 a number goes without its unit; hint: write `5` instead of `5s`",
    ),
    "a decimal comma": (
        HEAD + TEXT + "budget:\n  max_usd: 25,5\n",
        "7:12 a decimal sign is a `.`, not a `,`; hint: write `25.5` instead of `25,5`",
    ),
    "a field of another service": (
        request("aspect_ratio: 16:9"),
        "5:3 mesh has no `aspect_ratio`; hint: did you mean `ratio`?",
    ),
    "a no-break space in a key": (
        request("ratio\u00a0: 16:9"),
        "5:3 U+00A0 NO-BREAK SPACE where a plain space belongs; hint: write plain spaces in this line",
    ),
    "a no-break space before a value": (
        request("ratio:\u00a016:9"),
        "5:3 U+00A0 NO-BREAK SPACE where a plain space belongs; hint: write plain spaces in this line",
    ),
    "a letter of another alphabet": (
        request("r\u0430tio: 16:9"),
        "5:3 unknown key `r\u0430tio`: its `\u0430` is U+0430 CYRILLIC SMALL LETTER A; "
        "hint: did you mean `ratio`?",
    ),
    "a bucket as an output": (
        HEAD + ROWS + "output: s3://studio/${{ shot.id }}.mp4\n",
        "12:9 an output is a path below the project root, not a URL or an absolute path; "
        "hint: write `out/${{` instead of `s3://studio/${{`",
    ),
    "an expression without its second brace": (
        HEAD + ROWS.replace("${{ shot.prompt", "${ shot.prompt"),
        "11:11 an expression begins with `${{`; hint: write `${{` instead of `${`",
    ),
    "surrogate escapes of JSON": (
        '{"version": 1, "models": ["byteplus/seedance-1-0-pro"],\n'
        ' "content": [{"type": "text", "text": "A \\ud83d\\ude00"}]}\n',
        "2:42 `\\ud83d\\ude00` is JSON's way to write `\U0001f600`, and not YAML's; "
        'hint: write `\U0001f600"}]}` instead of `\\ud83d\\ude00"}]}`',
    ),
    "a comma that JSON misses": (
        '{"version": 1, "models": ["byteplus/seedance-1-0-pro"]\n'
        ' "content": [{"type": "text", "text": "A"}]}\n',
        "1:26 no `,` between two items; "
        'hint: write `["byteplus/seedance-1-0-pro"],` instead of `["byteplus/seedance-1-0-pro"]`',
    ),
    "a file with a capital letter": (
        HEAD + TEXT + "  - type: image_url\n    image_url: assets/Lake-day.png\n",
        "7:16 assets/Lake-day.png: no such file ...; hint: did you mean `assets/lake-day.png`?",
    ),
    "a file whose name is in another Unicode form": (
        HEAD + TEXT + "  - type: image_url\n    image_url: assets/caf\u00e9.png\n",
        "7:16 assets/caf\u00e9.png: no such file ...; hint: did you mean `assets/cafe\u0301.png`? "
        "Its name has the same letters in another Unicode form",
    ),
}
"""(a broken file, what is said of it), where the hint can be pasted."""

CHOICES = {
    "an axis beside a field, misspelt": (
        HEAD + RATIOS + "request:\n  ration: 16:9\n" + TEXT,
        "6:3 unknown key `ration`; hint: keep one of this and `ratio` in line 4",
        ("request:\n  ration: 16:9\n", ""),
    ),
    "a field of the request beside it": (
        HEAD + TEXT + "duration: 5s\n",
        "6:1 unknown key `duration`; hint: `duration` belongs under `request:`",
        ("duration: 5s\n", "request:\n  duration: 5\n"),
    ),
    "a misspelt field of the request beside it": (
        HEAD + TEXT + "Ration: 16:9\n",
        "6:1 unknown key `Ration`; hint: `ratio` belongs under `request:`",
        ("Ration: 16:9\n", "request:\n  ratio: 16:9\n"),
    ),
    "a field of the request beside it, in letters of another alphabet": (
        HEAD + TEXT + "r\u0430tio: 16:9\n",
        "6:1 unknown key `r\u0430tio`: its `\u0430` is U+0430 CYRILLIC SMALL LETTER A; "
        "hint: `ratio` belongs under `request:`",
        ("r\u0430tio: 16:9\n", "request:\n  ratio: 16:9\n"),
    ),
    "a number with a leading zero": (
        request("seed: 010"),
        "5:9 `010` is read as the number 10, and by other programs as 8; hint: write 10",
        ("010", "10"),
    ),
    "a comma in a number of four digits": (
        HEAD + TEXT + "budget:\n  max_usd: 1,000\n",
        "7:12 a number has no `,`: this is 1000 or 1.000; hint: write `1000` instead of `1,000`",
        ("1,000", "1000"),
    ),
    "a prompt that is a file's name": (
        HEAD + "content:\n  - type: text\n    text: prompts/lake.txt\n",
        "5:11 `prompts/lake.txt` is a file's name, and would be sent, and paid for, as it stands; "
        "hint: text: {from: prompts/lake.txt}",
        ("prompts/lake.txt", "A lake"),
    ),
    "a prompt that another program would fill in": (
        HEAD + 'content:\n  - type: text\n    text: "{prompt}"\n',
        "5:11 `{prompt}` is not filled in: it would be sent, and paid for, as it stands; hint: write the "
        'text itself, or "${{ vars.prompt }}" with `vars: {prompt: ...}`',
        ('"{prompt}"', "A lake"),
    ),
    "one value twice": (
        HEAD + "matrix:\n  prompt: [A boat, A boat]\n" + TEXT.replace("A red boat", "${{ prompt }}"),
        "4:20 A boat appears twice; hint: keep one; for several takes use `samples: N`",
        ("A boat, A boat", "A boat, A train"),
    ),
    "two cells that differ in case alone, and no output": (
        HEAD + ROWS.replace("id: train", "id: Boat"),
        "2:9 cells 0 (boat) and 1 (Boat) write out/job/boat.mp4 and out/job/Boat.mp4, one file on a disk "
        "that ignores case and Unicode forms; "
        "hint: tell them apart: `output: out/${{ job.name }}-${{ index }}.mp4`",
        ("version: 1\n", "version: 1\noutput: out/${{ job.name }}-${{ index }}.mp4\n"),
    ),
    "two shots with one prompt": (
        HEAD + ROWS.replace("A train", "A boat"),
        "7:7 this value of `shot` makes the same request as the one in line 5 (cells boat and train); "
        "hint: change its prompt, or what else the request uses; or delete one, and for takes use "
        "`samples: 2`",
        ("      prompt: A boat\ncontent", "      prompt: A train\ncontent"),
    ),
    "a field that no service has": (
        request("style: noir"),
        "5:3 unknown key `style`; hint: delete it, and say it in the text of `content`: no field does that",
        ("  style: noir\n", ""),
    ),
    "two cells that differ in case alone": (
        HEAD + ROWS.replace("id: train", "id: Boat") + "output: out/${{ shot.id }}.mp4\n",
        "12:9 cells 0 (boat) and 1 (Boat) write out/boat.mp4 and out/Boat.mp4, one file on a disk that "
        "ignores case and Unicode forms; "
        "hint: write `out/${{ shot.id }}-${{ index }}.mp4` instead of `out/${{ shot.id }}.mp4`",
        ("shot.id }}.mp4", "shot.id }}-${{ index }}.mp4"),
    ),
    "a pointer of Git LFS": (
        HEAD + TEXT + "  - type: image_url\n    image_url: assets/pointer.png\n",
        "7:16 assets/pointer.png: a Git LFS pointer stands here, not the file itself; "
        "hint: run `git lfs pull`",
        ("pointer", "lake-day"),
    ),
}
"""(a broken file, what is said of it, what a reader does), where the hint leaves a choice."""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = project_with_inputs(tmp_path)
    picture = folder / "assets" / "lake-day.png"
    shutil.copy(picture, picture.with_name(unicodedata.normalize("NFD", "café.png")))
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    picture.with_name("pointer.png").write_text(pointer)
    return folder / "job.yaml"


def said(problem: Problem) -> str:
    message = problem.message.partition(" (looked for ")
    shown = f"{message[0]} ..." if message[1] else problem.message
    return f"{problem.line}:{problem.column} {shown}; hint: {problem.hint}"


@pytest.mark.parametrize("name", PASTED)
def test_what_the_hint_says_mends_it(name: str, job: Path) -> None:
    text, expected = PASTED[name]
    problems = problems_of(text, job)
    assert [said(problem) for problem in problems] == [expected]
    pasted = paste(text, problems)
    assert pasted is not None
    assert problems_of(pasted, job) == ()


@pytest.mark.parametrize("name", CHOICES)
def test_what_a_reader_does_mends_it(name: str, job: Path) -> None:
    text, expected, (old, new) = CHOICES[name]
    assert [said(problem) for problem in problems_of(text, job)] == [expected]
    assert text.count(old) == 1
    assert problems_of(text.replace(old, new), job) == ()


def test_several_slips_are_told_together(job: Path) -> None:
    text = (
        request("duration: 5s").replace("models:", "modles:").replace("resolution: 480p", "resolution:480p")
    )
    problems = problems_of(text, job)
    assert sorted(problem.line for problem in problems) == [2, 4, 5]
    pasted = paste(text, problems)
    assert pasted is not None
    assert problems_of(pasted, job) == ()


def test_two_mistakes_that_no_one_change_mends_are_told_as_found(job: Path) -> None:
    text = request("style: noir").replace("480p", "huge")
    assert [said(problem) for problem in problems_of(text, job)] == [
        "5:3 unknown key `style`; hint: delete it, and say it in the text of `content`: no field does that"
    ]


def test_a_file_that_cannot_be_read_is_not_mended_by_the_name_of_one_that_is_missing(job: Path) -> None:
    """`shot.csv` was offered in place of `shots.csv`, and the reason and its own hint were lost."""
    table = job.parent / "shots.csv"
    table.mkdir()
    text = HEAD + "matrix: {shot: {from: shots.csv}}\n" + ROWS[ROWS.index("content") :]
    assert [said(problem) for problem in problems_of(text, job)] == ["3:23 shots.csv: not a file; hint: "]


def test_a_house_file_that_cannot_be_read_is_not_mended_by_a_bracket(job: Path) -> None:
    """The hint was to write `house.yaml]`, a file that is not there either."""
    (job.parent / "house.yaml").mkdir()
    [problem] = problems_of(f"extends: house.yaml\n{HEAD}{TEXT}", job)
    assert said(problem) == "1:10 house.yaml: not a file; hint: "


def test_nothing_of_a_text_with_a_key_is_quoted(job: Path) -> None:
    [problem] = problems_of(request("ratio:16:9") + "x-key: rsk_0123456789abcdef0123456789abcdef\n", job)
    assert "looks like an API key" in problem.message


def test_a_signed_address_is_not_quoted(job: Path) -> None:
    url = "https://media.example.com/a.png?signature=abcdef"
    [problem] = problems_of(HEAD + TEXT + f'  - {{type: image_url, image_url: "{url}}}\n', job)
    assert "signature" not in problem.hint


def test_a_very_long_file_keeps_the_messages_of_the_parser() -> None:
    text = HEAD.encode() + b"# " + b"x" * MOST_CHARACTERS + b"\nrequest:\n  ratio:16:9\n"
    problem = Problem(4, 3, "", "as found")
    assert mended(text, [problem], lambda _: pytest.fail("checked")) == (problem,)
