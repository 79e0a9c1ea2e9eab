"""The contact sheet as text: what it says, and that nothing in it is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.desk import contact_sheet, report
from runner.desk.contact_sheet import ContactSheet, href, read_contact_sheet
from runner.desk.posters import Poster
from runner.desk.report import render
from runner.errors import StateError
from runner.job.files.sources import JobCopy
from runner.ledger.states import TaskState
from runner.plan.task import Upstream
from tests.support.ledger_story import Story, make_run, make_task, output_row

STEPS = b"""\
version: 1
models: [m]
steps:
  harbour: {seeds: 1..2, pick: []}
  departure: {needs: harbour}
"""


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story(run=make_run(origin="sandbox"))
    yield made
    made.ledger.close()


def sheet_of(story: Story, tasks: list[Any], target: Path, job: bytes = b"", **changes: Any) -> ContactSheet:
    story.write(target / "manifest.json", tasks, **changes)
    return read_contact_sheet(target / "manifest.json", JobCopy(job), root=target)


def data_in(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


class Parsed(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.security(18)
def test_the_policy_names_exactly_the_script_and_the_style_of_the_page(story: Story, tmp_path: Path) -> None:
    page = render(sheet_of(story, [make_task(1)], tmp_path), {})
    [policy] = [
        str(attributes["content"])
        for tag, attributes in Parsed(page).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        [inline] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy.split("; ")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http:" not in policy
    # it must stand before everything that it is to govern
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<body>")


@pytest.mark.security(18)
def test_no_link_of_the_page_is_absolute(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    story.finish(task)
    page = render(sheet_of(story, [task], tmp_path), {})
    links = [
        value
        for _, attributes in Parsed(page).tags
        for name, value in attributes.items()
        if name in {"href", "src", "srcset", "action", "poster", "data"}
    ]
    assert links
    assert [link for link in links if link is None or ":" in link or link.startswith("/")] == []
    assert data_in(page)["tasks"][0]["videos"][0]["href"] == "../../out/s1.mp4"


TEXTS = st.text(max_size=60).filter(lambda text: "rsk_" not in text.lower())
"""What looks like a key is hidden."""


@pytest.mark.security(18)
@given(text=TEXTS | st.sampled_from(["</script>", "<!--<script>", "{{ 7*7 }}", "'\"&<>"]))
def test_whatever_a_text_is_it_stays_one_text(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tags of the page are the same for any prompt, and the prompt comes back as it was."""
    story = Story(run=make_run(origin="sandbox", job_name=text, job_file=text))
    try:
        task = make_task(1, content=[{"type": "text", "text": text}])
        page = render(sheet_of(story, [task], tmp_path_factory.mktemp("run")), {})
    finally:
        story.ledger.close()
    assert data_in(page)["tasks"][0]["prompt"] == text
    plain = Parsed(_plain_page(tmp_path_factory.mktemp("plain"))).tags
    assert [tag for tag, _ in Parsed(page).tags] == [tag for tag, _ in plain]


def _plain_page(target: Path) -> str:
    story = Story(run=make_run(origin="sandbox"))
    try:
        return render(sheet_of(story, [make_task(1)], target), {})
    finally:
        story.ledger.close()


def test_a_path_that_leaves_the_directory_is_no_link() -> None:
    assert href("out/a b#1?.mp4") == "../../out/a%20b%231%3F.mp4"
    assert href("javascript:x") == "../../javascript%3Ax"
    assert [href(path) for path in ("../secret", "out/../../x", "/etc/passwd", "//host/x")] == [
        "",
        "",
        "",
        "",
    ]


def test_a_rehearsal_says_so_and_a_real_run_does_not(story: Story, tmp_path: Path) -> None:
    assert '<p class="slate"' in render(sheet_of(story, [make_task(1)], tmp_path), {})
    real = replace(story.run, origin="https://api.example.test")
    assert '<p class="slate"' not in render(sheet_of(story, [make_task(1)], tmp_path, run=real), {})
    local = replace(story.run, origin="http://127.0.0.1:8900")
    page = render(sheet_of(story, [make_task(1)], tmp_path, run=local), {})
    assert '<p class="slate"' in page
    assert "--base-url http://127.0.0.1:8900" in page


def test_an_unfinished_run_says_what_to_type(story: Story, tmp_path: Path) -> None:
    story.submit(make_task(1))
    page = render(sheet_of(story, [make_task(1), make_task(2)], tmp_path), {})
    assert "not finished: 1 in flight, 1 new" in page
    assert "callsheet resume r1 --sandbox" in page
    ended = replace(story.run, finished_at=story.now)
    assert "not finished" not in render(sheet_of(story, [make_task(1)], tmp_path, run=ended), {})


def test_each_open_state_has_an_advice_with_a_command(story: Story, tmp_path: Path) -> None:
    for state in TaskState:
        sheet = sheet_of(story, [make_task(1)], tmp_path, view=lambda _task, _latest, state=state: state)
        told: Any = sheet.tasks[0]["advice"]
        if state is TaskState.DONE:
            assert told is None
        else:
            assert told.text.endswith(".")
            assert told.command.startswith("callsheet ")


def test_commands_are_quoted_for_a_shell(story: Story, tmp_path: Path) -> None:
    bad = replace(story.run, job_file="jobs/a; rm -rf $HOME.yaml")
    sheet = sheet_of(story, [make_task(1)], tmp_path, run=bad)
    assert sheet.commands.run() == "callsheet run 'jobs/a; rm -rf $HOME.yaml' --sandbox"


def test_several_files_of_one_task_are_its_takes_in_order(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    attempt = story.finish(task)
    with story.ledger.transaction():
        rows = [
            replace(output_row(task, attempt, story.now, path), ordinal=number)
            for number, path in ((2, "out/s1-2.mp4"), (10, "out/s1-10.mp4"))
        ]
        story.ledger.add_outputs(rows)
    [told] = sheet_of(story, [task], tmp_path).tasks
    assert [video["path"] for video in told["videos"]] == ["out/s1.mp4", "out/s1-2.mp4", "out/s1-10.mp4"]


def test_a_seed_that_was_echoed_otherwise_is_told_beside_the_one_that_was_sent(
    story: Story, tmp_path: Path
) -> None:
    task = make_task(7)
    story.finish(task, echo={"seed": 8})
    [told] = sheet_of(story, [task], tmp_path).tasks
    assert (told["seed"], told["echo"], told["tokens"]) == (7, 8, 100)


def test_the_phases_of_a_task_follow_each_other(story: Story, tmp_path: Path) -> None:
    """Each step of the story takes a tenth of a second; the file is there at the end."""
    task = make_task(1)
    story.finish(task)
    ended = replace(story.run, finished_at=story.now)
    sheet = sheet_of(story, [task], tmp_path, run=ended)
    phases = data_in(render(sheet, {}))["phases"]
    [told] = sheet.tasks
    named = [(phases[phase], round(begin, -1), round(end, -1)) for phase, begin, end in told["spans"]]
    assert named == [("submitting", 100, 200), ("queued", 200, 300), ("downloading", 400, 500)]


def test_what_is_in_flight_lasts_to_the_end_and_an_earlier_run_is_not_shown(
    story: Story, tmp_path: Path
) -> None:
    task = make_task(1)
    story.submit(task)
    late = replace(story.run, finished_at=story.now + 5)
    [told] = sheet_of(story, [task], tmp_path, run=late).tasks
    assert told["spans"][-1][2] == pytest.approx(5200, abs=5)
    after = replace(story.run, started_at=story.now + 60, finished_at=story.now + 90)
    [told] = sheet_of(story, [task], tmp_path, run=after).tasks
    assert told["spans"] == [(1, 0, 30_000)]


def test_pick_entries_name_the_cell_and_those_above(story: Story, tmp_path: Path) -> None:
    def step(index: int, name: str, cell: dict[str, Any], above: Any = None) -> Any:
        upstreams = [] if above is None else [above]
        return replace(
            make_task(index),
            step=name,
            cell={"model": "m", **cell},
            upstreams=tuple(
                Upstream(each.identity, each.name, each.step, frozenset(), {each.step: each.cell})
                for each in upstreams
            ),
        )

    first = step(1, "a", {"seed": 1, "look": {"id": "dawn, early", "sky": "pink"}})
    second = step(2, "b", {"sample": 1, "on": "yes"}, first)
    third = step(3, "c", {}, second)
    job = b"version: 1\nsteps: {a: {pick: []}, b: {needs: a}, c: {needs: b}}\n"
    sheet = sheet_of(story, [first, second, third], tmp_path, job)
    assert [task.get("pick") for task in sheet.tasks] == [
        '- {seed: 1, look: {id: "dawn, early"}}',
        '- {sample: 1, on: yes, needs: {a: {seed: 1, look: {id: "dawn, early"}}}}',
        None,
    ]
    assert sheet.waits == ()
    story.finish(first)
    assert sheet_of(story, [first, second, third], tmp_path, job).waits == ("a",)


def test_the_axes_are_those_that_tasks_have(story: Story, tmp_path: Path) -> None:
    tasks = [
        replace(make_task(1), cell={"model": "m", "seed": 4, "shot": {"id": "x", "prompt": "p"}}),
        replace(make_task(2), cell={"model": "m", "seed": 5, "flag": True, "size": [1, 2]}),
    ]
    sheet = sheet_of(story, tasks, tmp_path)
    assert sheet.axes == (
        {"name": "model", "values": ["m"]},
        {"name": "take", "values": ["seed 4", "seed 5"]},
        {"name": "shot", "values": ["x"]},
        {"name": "flag", "values": ["true"]},
        {"name": "size", "values": ["[1, 2]"]},
    )
    assert [task["at"] for task in sheet.tasks] == [[0, 0, 0], [0, 1, -1, 0, 0]]


def test_posters_end_where_the_page_would_grow_too_large(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [make_task(number) for number in (1, 2, 3)]
    for task in tasks:
        story.finish(task)
    monkeypatch.setattr(report, "MOST_POSTER_BYTES", 250)
    posters = {task.output: Poster(is_there=task.seed != 3, image=b"x" * 100) for task in tasks}
    data = data_in(render(sheet_of(story, tasks, tmp_path), posters))
    assert list(data["posters"]) == ["out/s1.mp4", "out/s2.mp4"]
    assert data["missing"] == ["out/s3.mp4"]


def test_more_tasks_than_a_page_shows_are_said(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MOST_TASKS", 2)
    monkeypatch.setattr(report, "MOST_TASKS", 2)
    page = render(sheet_of(story, [make_task(number) for number in range(5)], tmp_path), {})
    assert len(data_in(page)["tasks"]) == 2
    assert "5 tasks are more than a page can show: the last 3 are in" in page


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n"manifest_version": 9,\n', "version 9"),
        ("<html>", "not a manifest as callsheet writes it"),
        ('{\n"manifest_version": 1,\n"tasks": [\n', "not a manifest as callsheet writes it: no `run`"),
        (None, "there is no manifest"),
    ],
)
def test_what_is_no_manifest_is_told(text: str | None, told: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    if text is not None:
        manifest.write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match=re.escape(told)):
        read_contact_sheet(manifest, JobCopy(STEPS), root=manifest.parent)
