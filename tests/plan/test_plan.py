"""A Job to a Plan: requests, identities, names, laziness."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.expressions.rundate import RunDate
from runner.json_value import JsonValue, canonical_json
from runner.plan.plan import make_plan
from runner.plan.task import task_identity
from runner.providers.mesh import MESH
from tests.support.job_bench import HEAD, ORIGIN, PNG, TEXT, JobBench

TEAPOT = """
    version: 1
    name: teapot-launch
    models: [byteplus/seedance-1-0-pro]
    seeds: 1..4
    matrix:
      ratio: [16:9, 9:16]
      shot:
        - id: spin
          prompt: The teapot spins, steam rising
        - id: pour
          prompt: Tea is poured
    exclude:
      - {ratio: 9:16, shot: {id: pour}}
    request:
      resolution: 720p
      duration: 5
      return_last_frame: true
    content:
      - type: text
        text: ${{ shot.prompt }}, 35mm, soft light
      - type: image_url
        image_url: assets/teapot.png
        role: first_frame
    output: out/${{ shot.id }}-${{ ratio }}-s${{ seed }}.mp4
"""


def test_the_example_of_the_documentation(jobs: JobBench) -> None:
    (jobs.folder / "assets").mkdir()
    (jobs.folder / "assets" / "teapot.png").write_bytes(PNG)
    tasks = jobs.tasks(TEAPOT)
    assert len(tasks) == 12
    first = tasks[0]
    assert first.output == "out/spin-16x9-s1.mp4"
    assert (first.name, first.cell_name) == ("spin-16x9-s1", "16x9-spin-s1")
    assert first.request == {
        "model": "byteplus/seedance-1-0-pro",
        "resolution": "720p",
        "duration": 5,
        "return_last_frame": True,
        "ratio": "16:9",
        "seed": 1,
        "content": [
            {"type": "text", "text": "The teapot spins, steam rising, 35mm, soft light"},
            {"type": "image_url", "image_url": {"url": first.inputs[0].reference}, "role": "first_frame"},
        ],
    }
    assert [task.seed for task in tasks] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert [task.index for task in tasks] == list(range(12))
    assert first.cell == {
        "model": "byteplus/seedance-1-0-pro",
        "ratio": "16:9",
        "shot": {"id": "spin", "prompt": "The teapot spins, steam rising"},
        "seed": 1,
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [("16:9", "16:9"), ("NO", "NO"), ("2024-06-01", "2024-06-01"), ("1:1", "1:1"), ("'5'", "5")],
)
def test_an_unquoted_ratio_stays_text(jobs: JobBench, written: str, value: str) -> None:
    """Stock PyYAML makes 969, false and a date of the first three."""
    head = HEAD + "lint: {ratio: off}\n"
    [by_axis] = jobs.tasks(head + f"matrix: {{ratio: [{written}]}}\n" + TEXT)
    [by_request] = jobs.tasks(head + f"request: {{ratio: {written}}}\n" + TEXT)
    [by_name] = jobs.tasks(head + f"matrix: {{r: [{written}]}}\nrequest: {{ratio: '${{{{ r }}}}'}}\n" + TEXT)
    assert [task.request["ratio"] for task in (by_axis, by_request, by_name)] == [value] * 3
    assert by_axis.identity == by_request.identity == by_name.identity


def test_two_plans_of_a_job_have_the_same_tasks_in_the_same_order(jobs: JobBench) -> None:
    text = HEAD + "seeds: 1..3\nmatrix: {ratio: [16:9, 1:1]}\n" + TEXT
    plan = jobs.plan(text)
    assert plan.tasks == jobs.plan(text).tasks == plan.roots
    assert plan.count == len(plan.tasks) == 6


def test_an_identity_is_the_documented_hash(jobs: JobBench) -> None:
    [task] = jobs.tasks(HEAD + "edition: spring\n" + TEXT)
    assert task.identity == task_identity(
        provider=MESH, origin=ORIGIN, request=task.request, sample=None, edition="spring"
    )


def one_identity(jobs: JobBench, lines: str, content: str = TEXT) -> str:
    [task] = jobs.tasks(HEAD + lines + content)
    return task.identity


@pytest.mark.parametrize(
    "lines",
    [
        "request: {return_last_frame: false}\n",
        "request: {ratio: null}\n",
        "request: {callback_url: http://127.0.0.1/a}\n",
        "request: {service_tier: flex, execution_expires_after: 7200, safety_identifier: a}\n",
        "request: {priority: 3}\nlint: {priority: off}\n",
        "price: {usd_per_task: 0.1}\n",
        "output: out/elsewhere.mp4\n",
        "name: other\n",
        "run: {rate: 1/s}\n",
        "vars: {a: 1}\n",
    ],
)
def test_what_does_not_change_the_picture_does_not_change_the_identity(jobs: JobBench, lines: str) -> None:
    assert one_identity(jobs, lines) == one_identity(jobs, "")


@pytest.mark.parametrize(
    "lines",
    [
        "request: {return_last_frame: true}\n",
        "request: {ratio: 1:1}\n",
        "seeds: 1\n",
        "samples: 1\n",
        "edition: x\n",
        "request: {generate_audio: false}\n",
    ],
)
def test_what_changes_the_picture_changes_the_identity(jobs: JobBench, lines: str) -> None:
    assert one_identity(jobs, lines) != one_identity(jobs, "")


def test_one_number_has_one_form(jobs: JobBench) -> None:
    whole = one_identity(jobs, "request: {duration: 5}\n")
    assert one_identity(jobs, "vars: {d: 5.0}\nrequest: {duration: '${{ vars.d }}'}\n") == whole
    assert one_identity(jobs, "matrix: {duration: [5.0]}\n") == whole


def test_a_prompt_is_sent_in_nfc(jobs: JobBench) -> None:
    """The same letters saved by another editor are the same prompt, and are not paid for twice."""
    composed = one_identity(jobs, "", "content: [{type: text, text: caf\u00e9}]\n")
    assert one_identity(jobs, "", "content: [{type: text, text: cafe\u0301}]\n") == composed


def test_the_api_origin_is_part_of_the_identity(jobs: JobBench) -> None:
    job = jobs.load(HEAD + TEXT)
    date = RunDate.parse("2026-11-21Z")
    one, other = (make_plan(job, origin=origin, run_date=date) for origin in (ORIGIN, "https://b.example"))
    assert one.tasks[0].identity != other.tasks[0].identity


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=5))
def test_the_order_of_keys_is_no_part_of_the_identity(request_fields: dict[str, JsonValue]) -> None:
    turned = dict(reversed(request_fields.items()))
    assert canonical_json(request_fields) == canonical_json(turned)
    assert json.loads(canonical_json(request_fields)) == request_fields


# Editions and dates.


def test_an_edition_makes_new_videos_each_night_and_none_in_the_same(jobs: JobBench) -> None:
    text = HEAD + "edition: ${{ run.date }}\n" + TEXT
    [night] = jobs.tasks(text, date="2026-10-25+02:00")
    [later] = jobs.tasks(text, date="2026-10-25+01:00")
    [tomorrow] = jobs.tasks(text, date="2026-10-26+01:00")
    assert night.edition == "2026-10-25"
    assert night.identity == later.identity  # the clocks went back at three
    assert night.identity != tomorrow.identity


def test_an_edition_may_be_plain_text_or_have_parts(jobs: JobBench) -> None:
    assert jobs.plan(HEAD + "edition: week 3\n" + TEXT).edition == "week 3"
    text = HEAD + "vars: {n: 4}\nedition: ${{ run.date.year }}-${{ vars.n }}\n" + TEXT
    assert jobs.plan(text).edition == "2026-4"
    assert jobs.plan(HEAD + TEXT).edition == ""


def test_an_edition_knows_no_axis(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "seeds: 1..2\nedition: e${{ seed }}\n" + TEXT)
    assert "unknown name `seed`" in problem


def test_a_run_date_is_a_local_day_with_its_offset() -> None:
    date = RunDate.parse("2026-11-21+01:00")
    assert date.format() == "2026-11-21+01:00"
    assert (date.year, date.month, date.day, date.weekday, date.yday) == (2026, 11, 21, 5, 325)
    assert str(date) == "2026-11-21"
    assert RunDate.parse("2026-11-21-03:30").format() == "2026-11-21-03:30"
    assert RunDate.parse("2026-11-21Z").format() == "2026-11-21+00:00"
    assert RunDate.parse("2026-11-21").date == date.date


@pytest.mark.parametrize(
    "text", ["", "today", "2026-13-01", "2026-02-30", "21.11.2026", "2026-11-21+25:00", "2026-11-21T10:00"]
)
def test_other_text_is_no_date(text: str) -> None:
    with pytest.raises(ValueError):
        RunDate.parse(text)


def test_today_is_the_local_day(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = datetime.datetime(2026, 11, 21, 23, 30, tzinfo=datetime.UTC).timestamp()
    for zone, text in (
        ("UTC", "2026-11-21+00:00"),
        ("UTC-1", "2026-11-22+01:00"),
        ("UTC+2", "2026-11-21-02:00"),
    ):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert RunDate.today(wall).format() == text
            assert RunDate.parse(text[:10]).format() == text
        finally:
            monkeypatch.delenv("TZ")
            time.tzset()


@given(st.dates(), st.integers(-23 * 60, 23 * 60))
def test_a_date_survives_its_text(day: datetime.date, minutes: int) -> None:
    date = RunDate(day, datetime.timedelta(minutes=minutes))
    assert RunDate.parse(date.format()) == date


# Names, expressions and axes.


def test_all_names_in_scope_have_values(jobs: JobBench) -> None:
    text = (
        HEAD + "name: tea\nseeds: [7]\nvars: {style: '35mm ${{ run.date.year }}'}\nenv: [MOOD]\n"
        "matrix: {shot: [{id: a}]}\ncontent:\n  - type: text\n    text: >-\n"
        "      ${{ model }}|${{ seed }}|${{ shot.id }}|${{ job.name }}|${{ step.name }}|${{ index }}|"
        "${{ vars.style }}|${{ env.MOOD }}|${{ run.date }}\n"
    )
    [task] = jobs.tasks(text, environ={"MOOD": "calm"}, trust_job=True)
    assert task.request["content"] == [
        {"type": "text", "text": "byteplus/seedance-1-0-pro|7|a|tea||0|35mm 2026|calm|2026-11-21"}
    ]


def test_matrix_values_may_use_variables(jobs: JobBench) -> None:
    tasks = jobs.tasks(
        HEAD + "vars: {wide: 16:9, styles: [ink, oil]}\n"
        "matrix: {ratio: ['${{ vars.wide }}'], style: ['${{ vars.styles[0] }}', '${{ vars.styles[1] }}']}\n"
        "exclude: [{style: '${{ vars.styles[1] }}'}]\ncontent: [{type: text, text: '${{ style }}'}]\n"
    )
    assert [task.cell["style"] for task in tasks] == ["ink"]
    assert tasks[0].request["ratio"] == "16:9"


def test_a_value_of_an_axis_is_no_expression(jobs: JobBench) -> None:
    text = (
        HEAD + "vars: {x: \"${{ '${{ run.date }}' }}\"}\n"
        "matrix: {a: ['${{ vars.x }}']}\ncontent: [{type: text, text: '${{ a }}'}]\n"
        "lint: {prompt-placeholder: 'off'}\n"
    )
    [task] = jobs.tasks(text)
    assert task.request["content"] == [{"type": "text", "text": "${{ run.date }}"}]


def test_a_field_that_is_one_expression_keeps_its_type(jobs: JobBench) -> None:
    tasks = jobs.tasks(
        HEAD + "matrix: {long: [true, false]}\n"
        "request: {duration: '${{ 10 if long else 5 }}', camera_fixed: '${{ long }}'}\n" + TEXT
    )
    assert [(task.request["duration"], task.request["camera_fixed"]) for task in tasks] == [
        (10, True),
        (5, False),
    ]


def test_include_sets_a_field_for_the_cells_that_it_fits(jobs: JobBench) -> None:
    tasks = jobs.tasks(
        HEAD
        + "matrix: {ratio: [16:9, 1:1]}\ninclude: [{ratio: 1:1, duration: 10}]\nrequest: {duration: 5}\n"
        + TEXT
    )
    assert [(task.request["ratio"], task.request["duration"]) for task in tasks] == [("16:9", 5), ("1:1", 10)]


def test_a_resolved_field_is_checked_at_its_place(jobs: JobBench) -> None:
    assert jobs.problems(HEAD + "vars: {d: five}\nrequest: {duration: '${{ vars.d }}'}\n" + TEXT) == [
        "jobs/hero.yaml:4:21: request.duration: must be a whole number, not the text `five`"
    ]
    [problem] = jobs.problems(HEAD + "matrix: {duration: [5, 1.5]}\n" + TEXT)
    assert problem.startswith("jobs/hero.yaml:3:10: matrix.duration: must be a whole number")


def test_fields_that_exclude_each_other_are_found_once_resolved(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "matrix: {frames: [null, 57]}\nrequest: {duration: 5}\n" + TEXT)
    assert "exclude each other" in problem


def test_an_axis_that_nothing_uses_is_found(jobs: JobBench) -> None:
    assert jobs.problems(HEAD + "matrix: {take: [a, b]}\n" + TEXT + "output: out/${{ index }}.mp4\n") == [
        "jobs/hero.yaml:3:10: matrix.take: axis `take` changes nothing: no field and no expression uses it; "
        "hint: use it in an expression, or ask for takes with `samples: N`"
    ]
    [problem] = jobs.problems(HEAD + "matrix: {resolutoin: [720p]}\n" + TEXT)
    assert "did you mean `resolution`?" in problem
    [problem] = jobs.problems(HEAD + "include: [{colour: red}]\n" + TEXT)
    assert problem.startswith("jobs/hero.yaml:3:11: include[0]: axis `colour` changes nothing")


def test_an_axis_that_changes_only_the_path_is_found(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "matrix: {take: [a, b]}\n" + TEXT + "output: out/${{ take }}.mp4\n")
    assert problem == (
        "jobs/hero.yaml:3:10: matrix.take: axis `take` changes nothing; "
        "hint: for several takes use `samples: N`"
    )


def test_an_axis_that_repeats_a_value_is_found(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "matrix: {ratio: [16:9, 16:9]}\n" + TEXT)
    assert "matrix.ratio[1]: 16:9 appears twice" in problem


def test_a_value_that_an_expression_repeats_is_found(jobs: JobBench) -> None:
    text = HEAD + "vars: {wide: 16:9}\nmatrix: {ratio: [16:9, '${{ vars.wide }}']}\n" + TEXT
    [problem] = jobs.problems(text)
    assert "matrix.ratio[1]: 16:9 appears twice" in problem


def test_cells_that_differ_in_two_axes_and_ask_for_one_video_are_told(jobs: JobBench) -> None:
    text = HEAD + "matrix: {a: [x, y], b: [x, y]}\n"
    text += "content: [{type: text, text: \"${{ 'one' if a == b else 'two' }}\"}]\n"
    assert all("ask for the same video" in problem for problem in jobs.problems(text))


def test_no_cell_left_is_an_error(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "matrix: {ratio: [16:9]}\nexclude: [{ratio: 16:9}]\n" + TEXT)
    assert "no cell is left" in problem


def test_an_exclude_that_saves_nothing_is_a_warning(jobs: JobBench) -> None:
    plan = jobs.plan(HEAD + "matrix: {ratio: [16:9]}\nexclude: [{ratio: 9:15}]\n" + TEXT)
    assert [(warning.line, warning.path) for warning in plan.warnings] == [(4, "exclude[0]")]


def test_names_are_unique_even_where_values_are_cut(jobs: JobBench) -> None:
    long = "a" * 50
    tasks = jobs.tasks(
        HEAD + f"matrix: {{p: [{long}b, {long}c, d]}}\ncontent: [{{type: text, text: '${{{{ p }}}}'}}]\n"
    )
    assert len({task.name for task in tasks}) == 3
    assert len({task.output for task in tasks}) == 3
    assert tasks[0].name == f"{'a' * 40}-{tasks[0].identity[:8]}"
    assert tasks[2].name == "d"


def test_names_hold_the_family_of_a_model_where_there_are_several(jobs: JobBench) -> None:
    tasks = jobs.tasks(
        "version: 1\nmodels: [byteplus/seedance-1-0-pro-fast-251015, byteplus/seedance-1-0-pro]\nseeds: 3\n"
        + TEXT
    )
    assert [task.name for task in tasks] == ["seedance-1-0-pro-fast-s3", "seedance-1-0-pro-s3"]


def test_a_cell_without_a_value_for_a_name_is_told(jobs: JobBench) -> None:
    text = (
        HEAD + "matrix: {ratio: [16:9]}\ninclude: [{ratio: 1:1, look: ink}]\n"
        "content: [{type: text, text: '${{ look }}'}]\n"
    )
    [problem] = jobs.problems(text)
    assert problem.startswith("jobs/hero.yaml:5:30: content[0].text:")
    assert "(in cell 16x9)" in problem
    assert jobs.plan(text.replace("{ look }", "{ look | default(''oil'') }")).count == 2


def test_an_empty_prompt_is_refused(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "vars: {p: ' '}\ncontent: [{type: text, text: '${{ vars.p }}'}]\n")
    assert "text is empty" in problem


@pytest.mark.parametrize(
    ("lines", "place", "words"),
    [
        (
            "content: [{type: text, text: '${{ index }}'}]\n",
            "3:30: content[0].text",
            "text needs text, and this is `0`",
        ),
        (
            "vars: {n: null}\ncontent: [{type: text, text: '${{ vars.n }}'}]\n",
            "4:30: content[0].text",
            "is null",
        ),
        (
            "vars: {n: [1]}\ncontent: [{type: text, text: '${{ vars.n }}'}]\n",
            "4:30: content[0].text",
            "this is a list",
        ),
        (
            "matrix: {r: [first_frame, nowhere]}\n"
            "content: [{type: image_url, image_url: https://a/b.png, role: '${{ r }}'}]\n",
            "4:63: content[0].role",
            "must be one of",
        ),
        (
            "content: [{type: image_url, image_url: https://a/b.png, role: '${{ index }}'}]\n",
            "3:63: content[0].role",
            "role needs a word",
        ),
        (
            "matrix: {ratio: [{id: a}]}\n" + TEXT,
            "3:10: matrix.ratio",
            "needs one value, and this is an object",
        ),
        ("vars: {a: '${{ 1 + env.X }}'}\nenv: []\n" + TEXT, "3:11: vars.a", "list `X` under `env:`"),
        ("vars: {a: \"${{ 1 + 'b' }}\"}\n" + TEXT, "3:11: vars.a", "unsupported operand"),
        ("vars: {a: [1]}\nedition: ${{ vars.a }}\n" + TEXT, "4:10: edition", "is a list"),
        ("include: [{sample: 2, ratio: 1:1}]\n" + TEXT, "3:11: include[0]", "add `samples: N`"),
        ("samples: 2\ninclude: [{seed: 2}]\n" + TEXT, "4:11: include[0]", "samples derive their own seeds"),
        ("include: [{env: 2}]\n" + TEXT, "3:11: include[0]", "cannot name an axis"),
        (TEXT + "output: out/${{ ratoi }}.mp4\n", "4:9: output", "unknown name `ratoi`"),
        (
            "matrix: {ratio: [16:9]}\n" + TEXT + "output: out/${{ ratio | int }}.mp4\n",
            "5:9: output",
            "invalid literal for int()",
        ),
    ],
)
def test_each_mistake_is_told_at_its_place(jobs: JobBench, lines: str, place: str, words: str) -> None:
    [problem] = jobs.problems(HEAD + lines)
    assert problem.startswith(f"jobs/hero.yaml:{place}: ")
    assert words in problem


DRAFTS = "version: 1\nmodels: [byteplus/dreamina-seedance-2-5]\n"


def test_a_draft_is_finished_by_its_id(jobs: JobBench) -> None:
    both = [
        jobs.tasks(DRAFTS + f"content: [{{type: draft_task, draft_task: {written}}}]\n")[0].request["content"]
        for written in ("t-1", "{id: t-1}")
    ]
    assert both == [[{"type": "draft_task", "draft_task": {"id": "t-1"}}]] * 2


def test_a_role_that_is_null_is_left_out(jobs: JobBench) -> None:
    text = "content: [{type: image_url, image_url: https://a/b.png, role: '${{ r }}'}]\n"
    tasks = jobs.tasks(HEAD + "matrix: {r: [null, first_frame]}\n" + text)
    contents = [task.request["content"] for task in tasks]
    item = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
    assert contents == [[item], [{**item, "role": "first_frame"}]]


def test_keys_of_ones_own_are_free(jobs: JobBench) -> None:
    text = (
        "x-note: {a: 1}\nvars: {x-a: 1}\nmatrix: {x-b: 2, ratio: [1:1]}\nrequest: {x-c: 3}\nrun: {x-d: 4}\n"
        "content: [{type: text, text: A teapot, x-e: 5}]\n"
    )
    [task] = jobs.tasks(HEAD + text)
    assert task.identity == jobs.tasks(HEAD + "matrix: {ratio: [1:1]}\n" + TEXT)[0].identity
    assert list(task.cell) == ["model", "ratio"]


# Size.


def test_a_plan_that_would_never_end_is_refused(jobs: JobBench) -> None:
    begin = time.perf_counter()
    [problem] = jobs.problems(HEAD + "seeds: 0..4294967295\n" + TEXT)
    assert "4,294,967,296 cells; a plan has at most 100,000" in problem
    assert time.perf_counter() - begin < 30


def test_many_problems_stop_early(jobs: JobBench) -> None:
    items = ", ".join(f"'/{number}'" for number in range(200))
    problems = jobs.problems(
        HEAD + f"matrix: {{p: [{items}]}}\ncontent:\n  - {{type: image_url, image_url: '${{{{ p }}}}'}}\n"
    )
    assert len(problems) == 50


_MEASURE = """
import sys, time
from pathlib import Path
from runner.job.load import LoadOptions, load_job
from runner.job.files.sources import JobCopy
from runner.plan.plan import RunDate, make_plan

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

def plan(seeds):
    text = f'''version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..{seeds}
matrix: {{ratio: [16:9, 9:16]}}
content: [{{type: text, text: "A teapot ${{{{ index }}}}"}}]
'''.encode()
    file = Path(sys.argv[1]) / "jobs" / "hero.yaml"
    job = load_job(file, root=Path(sys.argv[1]), options=LoadOptions({}), copy=JobCopy(text))
    return make_plan(job, origin="http://127.0.0.1/a", run_date=RunDate.parse("2026-11-21Z"))

plan(500)
before = resident()
large = plan(10_000)
print(large.count, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own count of pages")
def test_a_task_of_a_plan_takes_little_memory(jobs: JobBench) -> None:
    """1.6 KB of each: what tasks have in common they share."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(jobs.root)], capture_output=True, text=True, check=True
    )
    count, grown = done.stdout.split()
    assert count == "20000"
    assert float(grown) < 20_000 * 2e-3


def test_a_seed_sweep_through_an_axis_is_told_where_the_seed_stands(jobs: JobBench) -> None:
    problems = jobs.problems(
        "version: 1\nmodels: [byteplus/dreamina-seedance-2-0-260128]\n"
        + TEXT
        + "matrix: {take: [{s: 1}, {s: 2}]}\nrequest: {seed: '${{ take.s }}'}\n"
    )
    assert problems == [
        "jobs/hero.yaml:5:17: request.seed: byteplus/dreamina-seedance-2-0-260128 ignores `seed`: each"
        " further seed pays for an unrelated video; hint: remove `seed`; for several takes use `samples: N`"
    ]
