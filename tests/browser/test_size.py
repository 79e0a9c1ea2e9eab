"""A thousand tasks: how soon the page is there, and how soon it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.desk.report import make_report
from tests.browser.film import multiply, project_of
from tests.browser.look import Open

# what a person waits for: from the click to the next picture on the screen
CLICK = """async (index) => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  await frame();
  const begin = performance.now();
  document.querySelectorAll('#statuses button')[index].click();
  await frame();
  return performance.now() - begin;
}"""


@pytest.fixture(scope="module")
def thousand(teapot: Path) -> Path:
    run = multiply(teapot, 1000)
    return make_report(project_of(run), run.name, patience=60).path


def test_a_thousand_tasks_open_and_filter_without_lag(thousand: Path, look: Open) -> None:
    """Measured on 2 cores: painted after 0.26 s, a filter answers in 12 to 40 ms.

    The limits leave room for a busy machine.
    """
    assert thousand.stat().st_size < 20_000_000
    found = look(thousand, width=1600, height=1000)
    page = found.page
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < 3000
    assert len(page.query_selector_all(".tile")) == 1000
    assert page.evaluate("document.querySelectorAll('video').length") == 0
    times = sorted(page.evaluate(CLICK, index) for index in (1, 0, 2, 0, 1, 0, 2))
    assert times[len(times) // 2] < 250, times
    assert page.evaluate("document.querySelectorAll('.tile:not([hidden])').length") == 100
    found.behaves()


def test_pictures_far_away_are_not_decoded(thousand: Path, look: Open) -> None:
    found = look(thousand, width=1600, height=1000)
    found.page.wait_for_timeout(300)
    loaded = "document.querySelectorAll('.tile img[src]').length"
    assert 0 < found.page.evaluate(loaded) < 300
    found.page.keyboard.press("End")
    found.wait("[...document.querySelectorAll('.tile')].slice(-2)[0].querySelector('img').src")
    assert found.page.evaluate(loaded) < 600


def test_the_timeline_of_a_thousand_tasks_stays_on_the_screen(thousand: Path, look: Open) -> None:
    found = look(thousand, width=1600, height=1000)
    found.page.keyboard.press("t")
    found.page.wait_for_selector("#plot svg")
    box = found.page.locator("#plot svg").bounding_box()
    assert box is not None
    assert box["height"] < 700
    assert found.page.locator("#plot .lane").count() == 1000
