"""Axes and texts from files: the tasks that they make, their names, and where mistakes are told."""

from __future__ import annotations

import pytest

from runner.errors import JobError
from runner.job.expressions.rundate import RunDate
from runner.job.files.sources import JobCopy
from runner.job.load import LoadOptions, load_job
from runner.plan.plan import make_plan
from runner.plan.task import Task
from tests.support.job_bench import HEAD, ORIGIN, PNG, JobBench

TABLE = """\
id,prompt,duration,image
harbour,"Fishing boats leave a small harbour, at dawn",4,
market,A market stall under striped cloth,5,stall.png
007,A spy in a fog,4,
"""
FROM_TABLE = (
    HEAD
    + """\
matrix: {shot: {from: shots.csv}}
request: {duration: "${{ shot.duration }}"}
content:
  - {type: text, text: "${{ shot.prompt }}, 35mm"}
  - {type: image_url, image_url: "${{ shot.image }}", when: "${{ shot.image }}"}
"""
)
WRITTEN_OUT = (
    HEAD
    + """\
matrix:
  shot:
    - {id: harbour, prompt: "Fishing boats leave a small harbour, at dawn", duration: 4}
    - {id: market, prompt: A market stall under striped cloth, duration: 5, image: stall.png}
    - {id: "007", prompt: A spy in a fog, duration: 4}
request: {duration: "${{ shot.duration }}"}
content:
  - {type: text, text: "${{ shot.prompt }}, 35mm"}
  - {type: image_url, image_url: "${{ shot.image }}", when: "${{ shot.image }}"}
"""
)


@pytest.fixture(autouse=True)
def table(jobs: JobBench) -> None:
    (jobs.folder / "shots.csv").write_text(TABLE, encoding="utf-8")
    (jobs.folder / "stall.png").write_bytes(PNG)


def known(tasks: list[Task]) -> list[tuple[str, str, str]]:
    return [(task.identity, task.name, task.output) for task in tasks]


def test_rows_of_a_file_ask_for_the_same_videos_as_rows_in_the_job_file(jobs: JobBench) -> None:
    tasks = jobs.tasks(FROM_TABLE)
    assert known(tasks) == known(jobs.tasks(WRITTEN_OUT))
    assert [task.name for task in tasks] == ["harbour", "market", "007"]
    assert [task.request.get("duration", 5) for task in tasks] == [4, 5, 4]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("tsv", TABLE.replace("harbour, at", "harbour\x00 at").replace(",", "\t").replace("\x00", ",")),
        (
            "jsonl",
            '{"id": "harbour", "prompt": "Fishing boats leave a small harbour, at dawn", "duration": 4}\n'
            '{"id": "market", "prompt": "A market stall under striped cloth", "duration": 5, "image":'
            ' "stall.png"}\n'
            '{"id": "007", "prompt": "A spy in a fog", "duration": 4}\n',
        ),
        (
            "yaml",
            '- {id: harbour, prompt: "Fishing boats leave a small harbour, at dawn", duration: 4}\n'
            "- {id: market, prompt: A market stall under striped cloth, duration: 5, image: stall.png}\n"
            '- {id: "007", prompt: A spy in a fog, duration: 4}\n',
        ),
    ],
)
def test_each_kind_of_file_asks_for_the_same_videos(jobs: JobBench, suffix: str, content: str) -> None:
    (jobs.folder / f"shots.{suffix}").write_text(content, encoding="utf-8")
    tasks = jobs.tasks(FROM_TABLE.replace("shots.csv", f"shots.{suffix}"))
    assert known(tasks) == known(jobs.tasks(WRITTEN_OUT))


def test_an_edited_row_changes_its_own_tasks_alone(jobs: JobBench) -> None:
    before = {name: (identity, output) for identity, name, output in known(jobs.tasks(FROM_TABLE))}
    moved = TABLE.splitlines(keepends=True)
    edited = [moved[0], "new,A new one,4,\n", moved[3], moved[2].replace("striped", "blue"), moved[1]]
    (jobs.folder / "shots.csv").write_text("".join(edited), encoding="utf-8")
    after = {name: (identity, output) for identity, name, output in known(jobs.tasks(FROM_TABLE))}
    assert list(after) == ["new", "007", "market", "harbour"]
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"market"}
    assert after["market"][1] == before["market"][1]


@pytest.mark.parametrize(
    ("name", "first", "more"),
    [
        ("shots.csv", "prompt\nA teapot\n", 'A teapot "two"\n'),
        ("shots.csv", "name,prompt\nhero,A teapot\n", "hero,A kettle\n"),
        (
            "shots.txt",
            "A teapot that is longer than the forty bytes of a name\n",
            "A teapot that is longer than the forty bytes of a name too\n",
        ),
        ("shots.txt", "A teapot\n", "A teapot!\n"),
    ],
)
def test_rows_without_an_id_keep_their_names_when_others_come(
    jobs: JobBench, name: str, first: str, more: str
) -> None:
    text = (
        HEAD
        + f"matrix: {{shot: {{from: {name}}}}}\ncontent: [{{type: text, text: '${{{{ shot.prompt }}}}'}}]\n"
    )
    if name.endswith(".txt"):
        text = text.replace("shot.prompt", "shot")
    (jobs.folder / name).write_text(first, encoding="utf-8")
    (alone,) = known(jobs.tasks(text))
    (jobs.folder / name).write_text(first + more, encoding="utf-8")
    assert known(jobs.tasks(text))[0] == alone
    assert alone[1].endswith(f"-{alone[0][:8]}")


def test_an_axis_named_like_a_field_takes_its_values_from_a_file(jobs: JobBench) -> None:
    (jobs.folder / "seconds.txt").write_text("4\n5\n", encoding="utf-8")
    text = HEAD + "matrix: {duration: {from: seconds.txt}}\ncontent: [{type: text, text: A teapot}]\n"
    written = text.replace("{from: seconds.txt}", "[4, 5]")
    assert [task.identity for task in jobs.tasks(text)] == [task.identity for task in jobs.tasks(written)]
    assert [task.name for task in jobs.tasks(text)] == ["4", "5"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            "a,A,5s,",
            "jobs/shots.csv:2:5: must be a whole number, not `5s`; hint: write digits alone, for example 5",
        ),
        (
            'a,A,"25,5",',
            "jobs/shots.csv:2:5: must be a whole number, not `25,5`; hint: write digits alone, for"
            " example 25",
        ),
        ("a,A,400,", "jobs/shots.csv:2:1: Seedance 1.0 pro does not make 400 s; hint: 2 to 12 s"),
        (
            "a,,4,",
            "jobs/shots.csv:2:1: content[0].text: `shot.prompt` has no value in this cell; hint: use `|"
            " default(...)`",
        ),
        (
            "a,A,4,gone.png",
            "jobs/shots.csv:2:7: gone.png: no such file (looked for ROOT/jobs/gone.png); hint: input"
            " paths are relative to the job file",
        ),
        (
            "a,A,4,stall.csv",
            "jobs/shots.csv:2:7: stall.csv: no such file (looked for ROOT/jobs/stall.csv); hint: did you"
            " mean `stall.png`?",
        ),
    ],
)
def test_a_mistake_in_a_row_is_told_in_that_row(jobs: JobBench, row: str, expected: str) -> None:
    (jobs.folder / "shots.csv").write_text(f"{TABLE.splitlines()[0]}\n{row}\n", encoding="utf-8")
    assert jobs.problems(FROM_TABLE) == [expected.replace("ROOT", str(jobs.root))]


def test_a_lint_about_a_row_is_told_in_that_row(jobs: JobBench) -> None:
    (jobs.folder / "shots.csv").write_text(TABLE.replace("in a fog", "--seed 5"), encoding="utf-8")
    (warning,) = jobs.plan(FROM_TABLE).warnings
    assert (warning.file, warning.line) == ("jobs/shots.csv", 4)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (
            "{shot: {from: shotz.csv}}",
            "jobs/hero.yaml:3:23: matrix.shot.from: shotz.csv: no such file (looked for jobs/shotz.csv"
            " below the project root); hint: did you mean `shots.csv`?",
        ),
        (
            "{shot: {form: shots.csv}}",
            "jobs/hero.yaml:3:17: matrix.shot.form: unknown key `form`; hint: did you mean `from`?",
        ),
        (
            "{shot: shots.csv}",
            "jobs/hero.yaml:3:16: matrix.shot: must be a list, not the text `shots.csv`; hint: write a"
            " list: [...]",
        ),
        (
            '{shot: {from: "${{ vars.x }}.csv"}}',
            "jobs/hero.yaml:3:23: matrix.shot.from: expressions are not evaluated here; hint: write the"
            " path of one file",
        ),
        (
            "{shot: {from: /etc/passwd}}",
            "jobs/hero.yaml:3:23: matrix.shot.from: /etc/passwd: an absolute path; hint: paths are"
            " relative to the job file",
        ),
    ],
)
def test_a_wrong_from_is_told_in_the_job_file(jobs: JobBench, matrix: str, expected: str) -> None:
    text = HEAD + f"matrix: {matrix}\ncontent: [{{type: text, text: '${{{{ shot.prompt }}}}'}}]\n"
    assert expected in jobs.problems(text)


@pytest.mark.security(5)
def test_rows_and_texts_are_read_below_the_root_alone(
    jobs: JobBench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.csv"
    outside.write_text(TABLE, encoding="utf-8")
    (jobs.folder / "link.csv").symlink_to(outside)
    for path in ("link.csv", "../../secret.csv", f"../../{outside.parent.name}/secret.csv", "../.env"):
        for text in (
            FROM_TABLE.replace("shots.csv", path),
            HEAD + f"content: [{{type: text, text: {{from: {path}}}}}]\n",
        ):
            problems = jobs.problems(text)
            assert any("outside the project root" in line or "a hidden file" in line for line in problems)


def test_a_column_that_no_row_fills_is_still_a_column(jobs: JobBench) -> None:
    (jobs.folder / "shots.csv").write_text("id,prompt,duration,image\na,A,,\n", encoding="utf-8")
    text = FROM_TABLE.replace("shot.duration }}", "shot.duration | default(none) }}")
    (task,) = jobs.tasks(text)
    assert task.left_out == {1}


HERO = "A ${{ shot.id }} in a harbour,\r\n35mm\r\n"


def test_a_text_from_a_file_is_as_if_it_stood_in_the_job_file(jobs: JobBench) -> None:
    (jobs.folder / "hero.md").write_text("\ufeff" + HERO, encoding="utf-8", newline="")
    matrix = "matrix: {shot: [{id: boat}, {id: gull}]}\n"
    from_file = HEAD + matrix + "content: [{type: text, text: {from: hero.md}}]\n"
    written = (
        HEAD
        + matrix
        + "content:\n  - type: text\n    text: |-\n      A ${{ shot.id }} in a harbour,\n      35mm\n"
    )
    assert known(jobs.tasks(from_file)) == known(jobs.tasks(written))


def test_the_path_of_a_text_may_be_an_expression(jobs: JobBench) -> None:
    (jobs.folder / "prompts").mkdir()
    for name in ("boat", "gull"):
        (jobs.folder / "prompts" / f"{name}.md").write_text(f"A {name}, ${{{{ ratio }}}}\n", encoding="utf-8")
    text = HEAD + (
        "matrix: {shot: [{id: boat}, {id: gull}], ratio: [16:9]}\n"
        "content: [{type: text, text: {from: 'prompts/${{ shot.id }}.md'}}]\n"
    )
    plan = jobs.plan(text)
    assert [task.request["content"] for task in plan.tasks] == [
        [{"type": "text", "text": "A boat, 16:9"}],
        [{"type": "text", "text": "A gull, 16:9"}],
    ]
    assert sorted(plan.job.files) == ["jobs/prompts/boat.md", "jobs/prompts/gull.md"]
    assert not plan.job.uses_date
    (jobs.folder / "prompts" / "gull.md").write_text("On ${{ run.date }}\n", encoding="utf-8")
    assert jobs.plan(text).job.uses_date
    (jobs.folder / "prompts" / "gull.md").unlink()
    (problem,) = jobs.problems(text)
    assert problem.startswith("jobs/hero.yaml:4:37: content[0].text.from: prompts/gull.md: no such file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "A teapot\n${{ shot.prompts }}\n",
            "jobs/hero.md:2:1: `shot` has no `prompts`; hint: did you mean `prompt`?",
        ),
        (
            "A teapot ${{ shot.prompt\n",
            "jobs/hero.md:1:10: `${{` without `}}`; hint: close the expression, or write `${{ '${{' }}`"
            " for the text",
        ),
        ("\n", "jobs/hero.md:1:1: the file is empty; hint: write the text into it"),
        ("a\x07\n", "jobs/hero.md:1:2: invisible character U+0007; hint: delete it"),
        (
            "a" * 65_537,
            "jobs/hero.md:1:1: more than 65,536 characters; hint: a prompt is a text that a person can read",
        ),
    ],
)
@pytest.mark.parametrize("path", ["hero.md", "'${{ shot.file }}.md'"])
def test_a_mistake_in_a_text_is_told_in_its_file(
    jobs: JobBench, path: str, content: str, expected: str
) -> None:
    (jobs.folder / "hero.md").write_text(content, encoding="utf-8")
    text = HEAD + (
        "matrix: {shot: [{file: hero, prompt: A teapot}]}\n"
        f"content: [{{type: text, text: {{from: {path}}}}}, {{type: text, text: '${{{{ shot.prompt }}}}'}}]\n"
    )
    assert jobs.problems(text) == [expected]


def test_a_run_goes_by_its_own_copies_of_the_files(jobs: JobBench) -> None:
    (jobs.folder / "hero.md").write_text("A ${{ shot.prompt }}\n", encoding="utf-8")
    text = FROM_TABLE + "  - {type: text, text: {from: hero.md}}\n"
    before = jobs.plan(text)
    copy = JobCopy(before.job.copy.text, dict(before.job.copy.files))
    (jobs.folder / "shots.csv").unlink()
    (jobs.folder / "hero.md").write_text("Another text\n", encoding="utf-8")
    file = jobs.folder / "hero.yaml"
    job = load_job(file, root=jobs.root, options=LoadOptions({}), copy=copy)
    again = make_plan(job, origin=ORIGIN, run_date=RunDate.parse("2026-11-21+01:00"))
    assert known(list(again.tasks)) == known(list(before.tasks))
    with pytest.raises(JobError, match=r"hero\.md: the run keeps no copy of it"):
        load_job(
            file,
            root=jobs.root,
            options=LoadOptions({}),
            copy=JobCopy(copy.text, {"jobs/shots.csv": b"id\na\n"}),
        )


WHEN = (
    HEAD + "matrix: {shot: [%s]}\ncontent:\n  - {type: text, text: A, when: '${{ %s }}'}\n  - {type: text,"
    " text: B}\n"
    "  - {type: text, text: '${{ shot | length }} parts'}\n"
)


@pytest.mark.parametrize(
    ("shot", "source", "there"),
    [
        ("{image: a.png}", "shot.image", True),
        ("{other: 1}, {image: a.png}", "shot.image", False),
        ("{image: null}", "shot.image", False),
        ("{image: ''}", "shot.image", False),
        ("{image: ' '}", "shot.image", False),
        ("{image: false}", "shot.image", False),
        ("{image: []}", "shot.image", False),
        ("{other: 1}, {image: a.png}", "not shot.image", True),
        ("{other: b}, {image: a.png, more: 1}", "shot.image or shot.other", True),
        ("{other: 1}, {image: a.png, more: 1}", "shot.image == shot.other", False),
        ("{image: {url: a.png}}", "shot.image.url", True),
        ("{other: 1}, {image: {url: a.png}}", "shot.image.url", False),
        ("{n: 2}", "shot.n > 1", True),
    ],
)
def test_when_leaves_an_item_out_where_its_value_is_absent(
    jobs: JobBench, shot: str, source: str, there: bool
) -> None:
    task = jobs.tasks(WHEN % (shot, source))[0]
    content = task.request["content"]
    assert isinstance(content, list)
    assert [item["text"] for item in content if isinstance(item, dict)][:-1] == ([*"AB"] if there else ["B"])
    assert task.left_out == (frozenset() if there else {0})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "when: '${{ shot.n }}'",
            "4:39: content[0].when: `shot.n` is the number 1; hint: compare it: when: ${{ shot.n > 0 }}",
        ),
        ("when: true", "4:39: content[0].when: must be an expression such as ${{ shot.image }}, not `true`"),
        (
            "when: shot.n",
            "4:39: content[0].when: must be an expression such as ${{ shot.image }}, not the text `shot.n`",
        ),
        (
            "when: 'a ${{ shot.n }}'",
            "4:39: content[0].when: `when` is one expression; hint: when: ${{ shot.image }}",
        ),
        ("when: '${{ shot.m }}'", "4:39: content[0].when: `shot` has no `m`; hint: it has: n"),
        (
            "when: '${{ shot.n > 1 }}'",
            "4:39: content[0].when: no content is left; hint: give one item no `when`",
        ),
    ],
)
def test_a_wrong_when_is_told(jobs: JobBench, line: str, expected: str) -> None:
    text = HEAD + f"matrix: {{shot: [{{n: 1}}]}}\ncontent: [{{type: text, text: A, {line}}}]\n"
    assert any(expected in problem for problem in jobs.problems(text)), jobs.problems(text)


def test_a_condition_adds_nothing_to_the_identity(jobs: JobBench) -> None:
    plain = HEAD + "content: [{type: text, text: A}]\n"
    always = (
        HEAD + "content: [{type: text, text: A, when: '${{ true }}'}, {type: text, text: B, when: '${{ false"
        " }}'}]\n"
    )
    assert jobs.tasks(plain)[0].identity == jobs.tasks(always)[0].identity


def test_a_service_that_takes_one_text_may_have_one_of_two(jobs: JobBench) -> None:
    text = """\
version: 1
provider: getimg
models: [seedance-v1-pro]
matrix: {shot: [{image: stall.png}, {id: b}]}
content:
  - {type: text, text: with a picture, when: "${{ shot.image }}"}
  - {type: text, text: alone, when: "${{ not shot.image }}"}
  - {type: image_url, image_url: "${{ shot.image }}", when: "${{ shot.image }}"}
"""
    assert [task.request["prompt"] for task in jobs.tasks(text)] == ["with a picture", "alone"]
    (problem,) = jobs.problems(text.replace("not shot.image", "true"))
    assert "getimg takes one text, as its prompt" in problem
