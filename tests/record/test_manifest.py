"""The manifest: true, whole, the same every time, without secrets, in flat memory."""

from __future__ import annotations

import json
import stat
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from runner.errors import StateError
from runner.http.verdicts import Evidence
from runner.ledger.caps import Caps
from runner.ledger.rows import Grounds, Intent
from runner.ledger.states import Basis, Reason, Resolution, TaskState
from runner.plan.task import Task
from runner.providers.base import InputFile
from runner.record.manifest import as_json, read_manifest, read_tasks
from runner.redact import Redactor
from tests.support.ledger_story import START, Story, checked, make_run, make_task, output_row, sha

CANARY = "rsk_canary0123456789"


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.ledger.close()


def test_a_done_task_is_told_from_intent_to_file(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    attempt = story.finish(task)

    [entry] = story.manifest(tmp_path / "manifest.json", [task])["tasks"]

    assert entry["identity"] == task.identity
    assert (entry["state"], entry["cached"], entry["error"]) == ("done", False, None)
    assert entry["request"] == task.request
    assert entry["echo"] == {"ratio": "16:9", "seed": 1}
    assert entry["usage"] == {"completion_tokens": 100, "total_tokens": 100}
    [told] = entry["attempts"]
    assert (told["id"], told["verdict"], told["remote_id"]) == (attempt, "accepted", f"t-{attempt}")
    assert (told["request_id"], told["evidence"]["status"]) == ("req-1", 200)
    assert told["key"] == sha("key")[:12]
    assert told["intended_at"] == "2026-11-18T11:06:40.225Z"
    words = [row.get("state") or row["status"] for row in entry["history"]]
    assert words == ["intended", "submitted", "succeeded", "collecting", "done"]
    [output] = entry["outputs"]
    assert (output["kind"], output["path"], output["bytes"]) == ("video", "out/s1.mp4", 1000)
    assert output["media"]["codec"] == "h264"


def test_the_seed_is_the_one_that_was_sent(story: Story, tmp_path: Path) -> None:
    """What was paid for before the service took fewer bits keeps its seed, whatever would be sent now."""
    task = make_task(1)
    story.finish(task)
    [entry] = story.manifest(tmp_path / "manifest.json", [replace(task, seed=9)])["tasks"]
    assert entry["seed"] == entry["request"]["seed"] == 1


def test_counts_and_usage_cover_every_kind_of_end(story: Story, tmp_path: Path) -> None:
    tasks = [make_task(index) for index in range(6)]
    story.finish(tasks[0])
    story.fail(tasks[1], "content_policy_violation", "no")
    story.lose(tasks[2])
    story.submit(tasks[3])
    story.withdraw(tasks[4])

    counts = story.write(tmp_path / "manifest.json", tasks)

    manifest = checked(tmp_path / "manifest.json")
    assert counts.total == manifest["counts"]["total"] == 6
    assert {state: count for state, count in manifest["counts"]["by_state"].items() if count} == {
        "planned": 2,
        "submitted": 1,
        "ambiguous": 1,
        "done": 1,
        "failed": 1,
    }
    assert counts.by_state[TaskState.PLANNED] == 2
    assert manifest["usage"] == {
        "reported": {"completion_tokens": 100, "total_tokens": 100},
        "cost": {"tasks": 4, "usd": "1.00", "unpriced_tasks": 0},
        "compared": {"tasks": 0, "estimate_usd": None, "cost_usd": None},
    }
    assert manifest["tasks"][1]["error"] == {"code": "content_policy_violation", "message": "no"}
    assert [task["index"] for task in manifest["tasks"]] == list(range(6))


def test_estimate_and_actual_cost_stand_side_by_side(story: Story, tmp_path: Path) -> None:
    task = replace(make_task(1), estimate_tokens=108_900, estimate_micros=762_300)
    attempt = story.submit(task)
    with story.ledger.transaction():
        story.ledger.settle_cost(attempt, 300_000)

    manifest = story.manifest(tmp_path / "manifest.json", [task])

    [entry] = manifest["tasks"]
    assert entry["estimate"] == {"tokens": 108_900, "usd": "0.7623"}
    told = entry["attempts"][0]
    assert (told["price"], told["estimate_usd"], told["cost_usd"]) == (None, "0.25", "0.30")
    assert manifest["usage"]["compared"] == {"tasks": 1, "estimate_usd": "0.25", "cost_usd": "0.30"}


def test_an_unknown_price_is_null_and_not_zero(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    story.finish(task)
    spend = story.ledger.read.spend(story.run.id)
    unknown = type(spend)(tasks=1, micros=0, unknown=1)

    manifest = story.manifest(tmp_path / "manifest.json", [task], spend=unknown)

    assert manifest["usage"]["cost"] == {"tasks": 1, "usd": None, "unpriced_tasks": 1}


def test_what_an_earlier_run_submitted_is_cached_and_its_usage_not_counted(
    story: Story, tmp_path: Path
) -> None:
    done, new = make_task(1), make_task(2)
    story.finish(done)
    later = make_run("r2")
    with story.ledger.transaction():
        story.ledger.begin_run(later)

    manifest = story.manifest(
        tmp_path / "manifest.json", [done, new], run=later, spend=story.ledger.read.spend("r2")
    )

    assert [task["cached"] for task in manifest["tasks"]] == [True, False]
    assert manifest["tasks"][0]["attempts"][0]["run_id"] == "r1"
    assert manifest["counts"]["cached"] == 1
    assert manifest["usage"]["reported"] == {}


def test_a_withdrawn_attempt_of_an_earlier_run_is_not_cached(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    story.withdraw(task)
    later = make_run("r2")

    [entry] = story.manifest(tmp_path / "manifest.json", [task], run=later)["tasks"]

    assert (entry["state"], entry["cached"]) == ("planned", False)


def test_the_view_of_the_caller_decides_the_state(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    story.finish(task)

    [entry] = story.manifest(tmp_path / "manifest.json", [task], view=lambda task, latest: TaskState.ABSENT)[
        "tasks"
    ]

    assert entry["state"] == "absent"


def test_both_attempts_of_a_retry_are_told_oldest_first(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    story.fail(task, "internal", "broke")
    again = story.submit(task, reason=Reason.RETRY)
    story.finish(task, attempt=again)

    [entry] = story.manifest(tmp_path / "manifest.json", [task])["tasks"]

    assert [attempt["state"] for attempt in entry["attempts"]] == ["failed", "done"]
    assert entry["error"] is None
    assert {row["attempt"] for row in entry["history"]} == {attempt["id"] for attempt in entry["attempts"]}


def test_a_settled_attempt_carries_its_resolution(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    attempt = story.lose(task)
    with story.ledger.transaction():
        story.ledger.resolve(
            attempt, Resolution.ADOPTED, Grounds.of(Basis.TAG), story.tick(), remote_id="t-9"
        )

    [entry] = story.manifest(tmp_path / "manifest.json", [task])["tasks"]

    [told] = entry["attempts"]
    assert (told["verdict"], told["resolution"]) == ("ambiguous", "adopted")
    assert (told["resolution_evidence"], told["remote_id"]) == ({"basis": "tag"}, "t-9")


def test_outputs_are_those_of_the_plans_path_the_video_first(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    attempt = story.finish(task)
    with story.ledger.transaction():
        story.ledger.add_outputs(
            [
                output_row(task, attempt, story.now, "out/s1.last.png", "last_frame"),
                output_row(task, attempt, story.now, "elsewhere/old-name.mp4"),
            ]
        )

    [entry] = story.manifest(tmp_path / "manifest.json", [task])["tasks"]

    assert [output["path"] for output in entry["outputs"]] == ["out/s1.mp4", "out/s1.last.png"]


def test_a_task_known_under_another_path_shows_that_path(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    attempt = story.submit(task)
    with story.ledger.transaction():
        story.ledger.collect(attempt, story.tick())
        story.ledger.finish(attempt, [output_row(task, attempt, story.now, "old/name.mp4")], story.tick())

    [entry] = story.manifest(tmp_path / "manifest.json", [task])["tasks"]

    assert [output["path"] for output in entry["outputs"]] == ["old/name.mp4"]


def test_inputs_are_named_below_the_root(story: Story, tmp_path: Path) -> None:
    file = InputFile(
        sha256=sha("png"), media_type="image/png", size=7, path=tmp_path / "jobs/assets/teapot.png"
    )
    task = make_task(1, inputs=(file,), content=[{"type": "image_url", "image_url": file.reference}])

    [entry] = story.manifest(tmp_path / "manifest.json", [task])["tasks"]

    assert entry["inputs"] == [
        {"path": "jobs/assets/teapot.png", "sha256": sha("png"), "media_type": "image/png", "bytes": 7}
    ]
    assert entry["request"]["content"][0]["image_url"] == f"sha256:{sha('png')}"


def test_sessions_carry_what_each_process_knew(story: Story, tmp_path: Path) -> None:
    facts: dict[str, Any] = {
        "command": ["callsheet", "run", "jobs/teapot.yaml"],
        "versions": {"callsheet": "0.1.0"},
        "git": {"commit": "a" * 40, "job_file_dirty": False, "note": ""},
    }
    with story.ledger.transaction():
        first = story.ledger.begin_session("r1", START, facts)
        story.ledger.end_session(first, START + 1, 130)
        story.ledger.begin_session("r1", START + 2, {})

    sessions = story.manifest(tmp_path / "manifest.json", [])["run"]["sessions"]

    assert sessions[0] | facts == sessions[0]
    assert (sessions[0]["exit_code"], sessions[1]["ended_at"]) == (130, None)


def test_an_interrupted_and_resumed_run_leaves_the_same_manifest_but_for_times_and_ids(
    story: Story, tmp_path: Path
) -> None:
    """One session in plan order; and two, in another order, with other clocks, ids and tags."""
    tasks = [make_task(index) for index in range(4)]
    for task in tasks[:3]:
        story.finish(task)
    story.fail(tasks[3], "internal", "broke")
    other = Story(run=make_run("r9", started_at=START + 5_000), now=START + 5_000)
    begun = {task.index: other.submit(task) for task in reversed(tasks)}
    with other.ledger.transaction():
        other.ledger.fail(begun[3], "internal", "broke", other.tick())
    for index in (2, 0, 1):
        other.finish(tasks[index], attempt=begun[index])

    one = story.manifest(tmp_path / "one.json", tasks)
    two = other.manifest(tmp_path / "two.json", tasks)
    other.ledger.close()

    assert one != two
    assert list(_leaves(one)) == list(_leaves(two))


DRAWN_ANEW = {"id", "run_id", "remote_id", "attempt", "at"}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf in the order of the file, without times and ids."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in DRAWN_ANEW and not key.endswith(("_at", "_time")):
                yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def test_an_empty_plan_has_a_manifest_too(story: Story, tmp_path: Path) -> None:
    manifest = story.manifest(tmp_path / "manifest.json", [])

    assert manifest["tasks"] == []
    assert manifest["counts"]["total"] == 0


def test_no_secret_reaches_the_manifest_by_any_way(story: Story, tmp_path: Path) -> None:
    """The canary is put into every field that a service, a job file or a command line can fill."""
    hidden = "hidden-in-a-query"
    url = f"https://user:{hidden}@cdn.example.test/v.mp4?sig={hidden}#{hidden}"
    image = f"data:image/png;base64,{'QUJD' * 8}"
    tasks = [
        make_task(0, content=[{"type": "image_url", "image_url": image}, {"type": "text", "text": url}]),
        make_task(1),
        make_task(2),
        make_task(3),
    ]
    story.finish(tasks[0], echo={"callback_url": url, CANARY: CANARY}, usage={CANARY: 1, "note": url})
    story.fail(tasks[1], CANARY, f"see {url} with Bearer {CANARY}")
    lost = story.lose(tasks[2], f"{CANARY} {url} {image}")
    with story.ledger.transaction():
        story.ledger.resolve(lost, Resolution.HELD, Grounds({"list": [url, CANARY]}), story.tick())
        story.ledger.begin_session(
            "r1", START, {"command": ["callsheet", CANARY, url], "versions": {"x": url}}
        )
    attempt = story.intend(tasks[3])
    evidence = Evidence(row=0, headers_begun=True, reason=url, error=CANARY, request_id=CANARY)
    with story.ledger.transaction():
        story.ledger.accept(attempt, f"t-{CANARY}", evidence, story.tick())

    target = tmp_path / "manifest.json"
    story.manifest(target, tasks, redactor=Redactor([CANARY]))

    text = target.read_text()
    assert CANARY not in text
    assert hidden not in text
    assert "QUJD" not in text
    assert "https://cdn.example.test/v.mp4" in text


def test_a_service_cannot_put_control_characters_into_the_manifest(story: Story, tmp_path: Path) -> None:
    task = make_task(1)
    story.fail(task, "x", "\x1b[31mred\x1b[0m \u202etxt\x7f")

    [entry] = story.manifest(tmp_path / "manifest.json", [task])["tasks"]

    assert entry["error"]["message"] == r"\x1b[31mred\x1b[0m \u202etxt\x7f"


def test_a_prompt_is_kept_to_the_character_and_cannot_turn_the_terminal(story: Story, tmp_path: Path) -> None:
    prompt = "line one\nline two \u202e mirrored \U000e0041 茶"
    task = make_task(1, prompt=prompt)
    target = tmp_path / "manifest.json"

    [entry] = story.manifest(target, [task])["tasks"]

    assert entry["request"]["prompt"] == prompt
    text = target.read_text(encoding="utf-8")
    assert "\u202e" not in text
    assert "\U000e0041" not in text
    assert "茶" in text


def test_one_line_holds_one_task(story: Story, tmp_path: Path) -> None:
    tasks = [make_task(index) for index in range(3)]
    target = tmp_path / "manifest.json"
    story.write(target, tasks)

    lines = [line for line in target.read_text().splitlines() if line.startswith('{"identity"')]

    assert [json.loads(line.rstrip(","))["index"] for line in lines] == [0, 1, 2]


def test_the_file_is_private(story: Story, tmp_path: Path) -> None:
    target = tmp_path / "manifest.json"
    story.write(target, [])

    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_failure_on_the_way_leaves_the_old_manifest(story: Story, tmp_path: Path) -> None:
    target = tmp_path / "manifest.json"
    story.write(target, [make_task(1)])
    before = target.read_bytes()

    def breaking() -> Iterator[Task]:
        yield make_task(1)
        raise RuntimeError("the plan broke")

    with pytest.raises(RuntimeError):
        story.write(target, breaking())

    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_tasks_by_the_thousand_take_flat_memory(story: Story, tmp_path: Path) -> None:
    """Tracing costs four times the work, so it begins late. What is kept of the tasks shows in both of two
    spans; a table of the interpreter's own that grows meanwhile, in one of them."""
    total, traced_from, span = 8_000, 4_000, 1_900
    first = make_task(0)
    held: list[int] = []

    def tasks() -> Iterator[Task]:
        for index in range(total):
            if index == traced_from:
                tracemalloc.start()
            if index >= traced_from and (index - traced_from - 100) % span == 0:
                held.append(tracemalloc.get_traced_memory()[0])
            identity, output = f"{index:064x}", f"out/s{index}.mp4"
            yield replace(first, index=index, identity=identity, output=output)

    with story.ledger.transaction():
        for task in islice(tasks(), 0, traced_from, 100):
            intent = Intent(f"a{task.index}", Reason.RUN, "mesh", sha("key"), task.index, sha("body"), START)
            story.ledger.intend(task, "jobs/teapot.yaml", "r1", intent, Caps(), story.tick())
    target = tmp_path / "manifest.json"
    try:
        counts = story.write(target, tasks())
    finally:
        tracemalloc.stop()

    assert counts.total == total
    assert counts.by_state[TaskState.INTENDED] == traced_from // 100
    assert target.stat().st_size > 3_200_000
    before, between, after = held
    assert min(between - before, after - between) < 200_000, "the text of 1,900 tasks is three times that"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a manifest"),
        ("<html>", "not a manifest"),
        ('{\n"manifest_version": 99,\n<html>', "version 99"),
        ('{\n"manifest_version": 1,\n"tasks": [\n', "no `run`"),
        ('{\n"manifest_version": 1,\n"tasks": [\n{"name": "a"', "not a manifest"),
    ],
)
def test_what_is_not_a_whole_manifest_of_ours_is_refused(tmp_path: Path, content: str, said: str) -> None:
    target = tmp_path / "manifest.json"
    target.write_text(content)
    with pytest.raises(StateError, match=said):
        read_manifest(target)


def test_what_was_written_is_read_back_whole(story: Story, tmp_path: Path) -> None:
    """The model that writes a manifest reads it: nothing is lost and nothing is added on the way."""
    tasks = [make_task(number) for number in range(5)]
    story.finish(tasks[0])
    story.fail(tasks[1], "x", "no")
    story.lose(tasks[2])
    story.withdraw(tasks[3])
    with story.ledger.transaction():
        story.ledger.begin_session("r1", START, {"command": ["callsheet"], "versions": {"callsheet": "1"}})
    target = tmp_path / "manifest.json"
    story.write(target, tasks)

    written = checked(target)
    encoder = json.JSONEncoder(default=as_json)
    read = [json.loads(encoder.encode(task)) for task in read_tasks(target)]
    assert read == written.pop("tasks")
    assert json.loads(encoder.encode(read_manifest(target))) == written


def test_what_a_later_callsheet_adds_is_passed_over_and_what_an_older_one_lacked_has_its_default(
    story: Story, tmp_path: Path
) -> None:
    task = make_task(1)
    story.finish(task)
    target = tmp_path / "manifest.json"
    story.write(target, [task])
    lines = target.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith('{"identity"'):
            entry = json.loads(line)
            del entry["needs"], entry["in_plan"], entry["missing"]
            lines[number] = json.dumps({**entry, "later": [1]})
        elif line.startswith('"counts"'):
            lines[number] = line.replace('"not_in_plan": 0, ', "")
    target.write_text("\n".join(lines).replace('"job": {', '"more": 1,\n"job": {"more": 2, '))

    [read] = read_tasks(target)
    assert (read.needs, read.in_plan, read.missing) == (None, True, ())
    assert read_manifest(target).counts.not_in_plan == 0


def test_a_word_that_is_in_no_closed_set_is_told(story: Story, tmp_path: Path) -> None:
    target = tmp_path / "manifest.json"
    story.write(target, [make_task(1)])
    target.write_text(target.read_text().replace('"state": "planned"', '"state": "elsewhere"'))
    with pytest.raises(StateError, match="`state`: 'elsewhere'"):
        list(read_tasks(target))


def test_a_missing_manifest_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no manifest"):
        read_manifest(tmp_path / "manifest.json")
