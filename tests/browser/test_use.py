"""What a person does with the page: look, play, compare, filter, mark, pick."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.plan.plan import make_plan
from tests.browser.film import rewrite
from tests.browser.look import Look, Open

NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
VIDEOS = "document.querySelectorAll('video').length"
MARKED = "[...document.querySelectorAll('.marked')].map((one) => one.frame.task.name)"


def press(found: Look, *keys: str) -> None:
    for key in keys:
        found.page.keyboard.press(key)


def test_there_is_no_video_element_until_one_plays(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    assert found.page.evaluate(VIDEOS) == 0
    assert [url for url in found.requests if url.endswith(".mp4")] == []
    press(found, " ")
    found.wait("document.querySelector('video')?.currentTime > 0.1")
    assert found.page.evaluate(VIDEOS) == 1
    assert [url.rsplit("/", 1)[1] for url in set(found.requests) if url.endswith(".mp4")] == [
        "spin-16x9-s1.mp4"
    ]
    press(found, " ")
    assert found.page.evaluate(VIDEOS) == 0
    found.behaves()


def test_hovering_plays_for_as_long_as_the_pointer_stays(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    tiles = found.page.locator(".tile:visible")
    tiles.nth(1).hover()
    found.wait("document.querySelector('video')?.currentTime > 0")
    assert found.page.evaluate("document.querySelector('video').muted")
    tiles.nth(2).hover()
    found.wait("document.querySelector('video')?.closest('.tile').frame.task.name === 'spin-16x9-s3'")
    found.page.mouse.move(2, 2)
    found.wait(f"{VIDEOS} === 0")


def test_reduced_motion_is_respected(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html", reduced_motion="reduce")
    found.page.locator(".tile:visible").nth(1).hover()
    found.page.wait_for_timeout(500)
    assert found.page.evaluate(VIDEOS) == 0
    found.page.locator(".tile:visible").nth(1).click()
    found.wait("document.querySelector('video')?.currentTime > 0")


def test_a_row_plays_in_step_and_begins_again_together(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    press(found, "r")
    found.wait(
        "(() => { const all = [...document.querySelectorAll('video')];"
        " return all.length === 3 && all.every((one) => one.currentTime > 0.5); })()"
    )
    apart = (
        "(() => { const at = [...document.querySelectorAll('video')].map((one) => one.currentTime);"
        " return Math.max(...at) - Math.min(...at); })()"
    )
    assert found.page.evaluate(apart) < 0.15
    found.page.wait_for_timeout(600)
    assert found.page.evaluate(apart) < 0.15
    for_all = "document.querySelectorAll('video').forEach((one) => { one.currentTime = one.duration - 0.2; })"
    found.page.evaluate(for_all)
    found.wait(
        "[...document.querySelectorAll('video')].every((one) => one.currentTime > 0.1 && one.currentTime < 2)"
    )
    assert found.page.evaluate(apart) < 0.15
    press(found, "Escape")
    assert found.page.evaluate(VIDEOS) == 0
    found.behaves()


def test_the_grid_is_walked_by_keys_alone(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    assert found.chosen() == "spin-16x9-s1"
    press(found, "ArrowRight")
    assert found.chosen() == "spin-16x9-s2"
    press(found, "ArrowDown")
    assert found.chosen() == "pour-16x9-s2"
    press(found, "ArrowDown", "ArrowDown")
    assert found.chosen() == "spin-9x16-s2"
    press(found, "End")
    assert found.chosen() == "steam-9x16-s3"
    press(found, "ArrowRight")
    assert found.chosen() == "steam-9x16-s3"
    press(found, "Home", "ArrowLeft")
    assert found.chosen() == "spin-16x9-s1"
    focused = "document.activeElement === document.querySelector('.tile.chosen')"
    assert found.page.evaluate(focused)
    ring = "getComputedStyle(document.activeElement.querySelector('.frame')).boxShadow"
    assert "0px 0px 0px 5px" in found.page.evaluate(ring)
    press(found, "?")
    assert found.page.locator("#help").is_visible()
    press(found, "Escape")
    assert not found.page.locator("#help").is_visible()


def test_one_tab_stop_leads_into_the_grid(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    assert found.page.locator("main [tabindex='0']").count() == 1


def test_a_status_is_chosen_and_nothing_else_is_shown(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    assert len(found.tiles()) == 15
    found.page.get_by_role("button", name="failed 3").click()
    assert found.tiles() == ["pour-16x9-s1", "pour-16x9-s2", "pour-16x9-s3"]
    assert found.page.locator(".set:visible").count() == 1
    assert found.said() == "3 frames"
    found.page.get_by_role("button", name="done 12").click()
    assert len(found.tiles()) == 12
    found.page.get_by_role("button", name="all 15").click()
    assert len(found.tiles()) == 15


def test_rows_and_columns_are_the_viewers(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    heads = ".set:first-child .head-cell"
    assert found.page.locator(heads).all_inner_texts() == ["seed 1", "seed 2", "seed 3"]
    found.page.select_option("#columns", label="shot")
    assert found.page.locator(heads).all_inner_texts() == ["spin", "pour", "steam"]
    found.page.select_option("#rows", label="seed")
    assert found.page.locator(".set").count() == 2
    assert found.page.locator(".set:first-child .rowhead").all_inner_texts() == [
        "▶\nseed 1", "▶\nseed 2", "▶\nseed 3",
    ]  # fmt: skip
    found.page.select_option("#rows", label="shot")
    assert found.page.locator("#columns").input_value() == "auto"
    assert len(found.tiles()) == 15
    found.behaves()


def test_a_failure_says_why_and_what_to_type(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    found.page.get_by_role("gridcell", name="pour-16x9-s1, failed").click()
    told = found.page.locator("#details").inner_text()
    assert "content_policy_violation" in told
    assert "the prompt violates the content policy" in told
    assert "callsheet run jobs/teapot.yaml --sandbox" in told


def test_the_details_tell_seed_cost_and_times(teapot: Path, look: Open) -> None:
    told = look(teapot / "report.html").page.locator("#details").inner_text()
    for part in (
        "The teapot spins on a lacquered table, 35mm",
        "echoed by the service",
        "USD 0.274995",
        "queued",
    ):
        assert part in told


@pytest.mark.parametrize("script", ["", NO_CLIPBOARD], ids=["clipboard", "no clipboard"])
def test_pick_lines_are_copied_as_the_job_takes_them(script: str, boat: Path, look: Open) -> None:
    found = look(boat / "report.html", script=script)
    notice = found.page.locator(".notice").inner_text()
    assert "waits for your pick in step harbour" in notice
    assert "callsheet run jobs/boat.yaml --sandbox" in notice
    press(found, "m", "ArrowDown", "ArrowRight", "m", "c")
    lines = found.page.get_by_label("Pick lines of step harbour").input_value()
    found.page.locator("#marks .primary").first.click()
    found.wait("document.querySelector('#marks .primary').textContent !== 'Copy'")
    if script:
        selected = "getSelection().toString()"
        assert found.page.evaluate(selected) == lines
        assert "Ctrl+C" in found.page.locator("#marks .primary").first.inner_text()

    job = boat.parents[2] / "jobs" / "boat.yaml"
    text = job.read_text(encoding="utf-8").replace("    pick: []\n", lines)
    loaded = load_job(
        job, root=boat.parents[2], options=LoadOptions({}, frozenset(), False), text=text.encode()
    )
    plan = make_plan(loaded, origin="sandbox", run_date=RunDate.parse("2026-11-21"))
    above = {task.upstream.name for task in plan.tasks if task.upstream is not None}
    marked = found.page.evaluate(MARKED)
    assert above == set(marked)
    assert len(marked) == 2


def test_marks_outlive_a_reload_and_can_be_shown_alone(boat: Path, look: Open) -> None:
    found = look(boat / "report.html")
    press(found, "ArrowRight", "m")
    name = found.chosen()
    found.page.reload()
    found.page.wait_for_selector(".marked")
    assert found.page.locator("#tray-count").inner_text() == "1 marked"
    found.page.get_by_role("button", name="Show marked only").click()
    assert found.tiles() == [name]
    found.page.get_by_role("button", name="Clear").click()
    assert len(found.tiles()) == 6
    assert not found.page.locator("#tray").is_visible()


def test_what_the_job_picks_is_marked_until_a_person_marks_other_takes(boat: Path, look: Open) -> None:
    copy = boat.with_name("picked")
    shutil.copytree(boat, copy)
    job = copy / "job.yaml"
    job.chmod(0o600)
    job.write_text(job.read_text(encoding="utf-8").replace("pick: []", "pick: [{seed: 2}]"), encoding="utf-8")
    found = look(rewrite(copy, lambda told: None))
    assert found.page.evaluate(MARKED) == ["harbour-dawn-early-s2", "harbour-yes-s2"]
    found.page.get_by_role("button", name="Clear").click()
    found.page.reload()
    found.page.wait_for_selector(".tile")
    assert found.page.evaluate(MARKED) == []


def test_the_arrangement_outlives_a_reload(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    before = found.tiles()
    found.page.select_option("#rows", label="seed")
    after = found.tiles()
    assert sorted(after) == sorted(before)
    assert after != before
    found.page.reload()
    found.page.wait_for_selector(".tile")
    assert found.tiles() == after
    assert found.page.locator("#rows option:checked").inner_text() == "seed"


def test_a_file_that_is_gone_is_told(teapot: Path, look: Open) -> None:
    """One was gone when the page was written, one goes while it is open."""
    videos = teapot.parents[1] / "out"
    kept = {name: (videos / name).read_bytes() for name in ("spin-16x9-s2.mp4", "spin-16x9-s3.mp4")}
    try:
        (videos / "spin-16x9-s2.mp4").unlink()
        rewrite(teapot, lambda told: None)
        found = look(teapot / "report.html")
        assert found.page.locator(".gone").count() == 1
        (videos / "spin-16x9-s3.mp4").unlink()
        found.page.get_by_role("gridcell", name="spin-16x9-s3").click()
        found.wait("document.querySelectorAll('.gone').length === 2")
        assert "its file is not here" in found.page.locator("#details").inner_text()
        assert "callsheet run jobs/teapot.yaml --sandbox" in found.page.locator("#details").inner_text()
        assert found.page.evaluate(VIDEOS) == 0
    finally:
        for name, content in kept.items():
            (videos / name).write_bytes(content)
        rewrite(teapot, lambda told: None)


def test_a_second_take_stands_beside_the_first(teapot: Path, look: Open) -> None:
    """What `--again` leaves: another file of the same task, in the same cell, marked with it."""
    copy = teapot.with_name("again")
    shutil.copytree(teapot, copy)
    videos = teapot.parents[1] / "out"
    second = videos / "spin-16x9-s1-2.mp4"
    shutil.copy(videos / "spin-16x9-s2.mp4", second)

    def take_again(told: dict[str, Any]) -> None:
        [first] = told["tasks"][0]["outputs"]
        told["tasks"][0]["outputs"] = [{**first, "path": f"out/{second.name}", "sha256": "0" * 64}, first]

    found = look(rewrite(copy, take_again))
    cell = found.page.locator(".cell").first
    assert cell.locator(".tile .what").all_inner_texts() == ["s1", "s1, take 2"]
    press(found, "ArrowRight", "m")
    assert cell.locator(".marked").count() == 2
    press(found, " ")
    found.wait("document.querySelector('video')?.currentTime > 0")
    assert found.page.evaluate("document.querySelector('video').src").endswith("/out/spin-16x9-s1-2.mp4")
    found.behaves()


def test_the_timeline_shows_every_task_and_leads_to_it(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html")
    found.page.get_by_role("button", name="Timeline").click()
    found.page.wait_for_selector("#plot svg")
    assert found.page.locator("#plot .lane").count() == 15
    assert found.page.locator("#plot .lane .queued, #plot .lane .running").count() >= 15
    found.page.locator("#plot .lane").nth(4).click()
    assert found.chosen() == found.page.evaluate("document.querySelector('#plot .lane.chosen').task.name")


def test_on_a_phone_a_tap_plays_and_the_caption_opens_the_details(teapot: Path, look: Open) -> None:
    found = look(teapot / "report.html", width=360, height=760, has_touch=True, is_mobile=True)
    assert not found.page.locator("#details").is_visible()
    found.page.locator(".tile:visible .frame").first.tap()
    found.wait("document.querySelector('video')?.currentTime > 0")
    found.page.locator(".tile:visible .cap").first.tap()
    assert found.page.locator("#details h2").inner_text() == "spin-16x9-s1"
    found.page.get_by_role("button", name="Close").click()
    assert not found.page.locator("#details").is_visible()
    found.behaves()


def test_without_scripts_the_page_says_where_to_look(teapot: Path, look: Open, browser: object) -> None:
    context = browser.new_context(java_script_enabled=False)  # type: ignore[attr-defined]
    page = context.new_page()
    page.goto((teapot / "report.html").as_uri())
    assert page.get_by_role("heading", name="teapot").is_visible()
    assert "manifest.json" in page.locator("noscript").inner_text()
    context.close()
