"""How the page looks: three widths, light and dark, readable, and nothing where it should not be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.look import Open

WIDTHS = (360, 900, 1600)
SCHEMES = ("light", "dark")

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")

OVERLAPS = (Path(__file__).parent / "overlaps.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_reads_at_every_width(
    width: int, scheme: str, teapot: Path, look: Open, tmp_path: Path
) -> None:
    """The screenshots are for eyes (`SCREENSHOTS=DIR` keeps them); what can be measured is asserted."""
    found = look(teapot / "report.html", width=width, color_scheme=scheme)
    page = found.page
    page.keyboard.press("m")
    page.wait_for_timeout(300)
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    shots.mkdir(exist_ok=True)
    page.screenshot(path=shots / f"sheet-{width}-{scheme}.png")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERLAPS) == []
    read = page.evaluate(CONTRAST)
    assert read["poor"] == []
    assert read["kinds"] > 8

    page.keyboard.press("Enter")
    assert page.locator("#details h2").is_visible()
    assert page.evaluate(CONTRAST)["poor"] == []
    page.screenshot(path=shots / f"details-{width}-{scheme}.png")
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    page.wait_for_selector("#plot svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.wait_for_timeout(700)
    page.screenshot(path=shots / f"timeline-{width}-{scheme}.png")
    assert all(shot.stat().st_size > 10_000 for shot in shots.glob(f"*-{width}-{scheme}.png"))
    found.behaves()


def test_light_and_dark_differ(teapot: Path, look: Open) -> None:
    grounds = [
        look(teapot / "report.html", color_scheme=scheme).page.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in SCHEMES
    ]
    assert grounds == ["rgb(243, 241, 236)", "rgb(22, 21, 20)"]


def test_a_rehearsal_says_so_at_the_top(teapot: Path, look: Open) -> None:
    page = look(teapot / "report.html").page
    box = page.locator(".slate").bounding_box()
    assert box is not None
    assert (box["y"], box["width"]) == (0, 1280)
    assert "REHEARSAL" in page.locator(".slate").inner_text().upper()


def test_the_page_has_names_for_those_who_hear_it(teapot: Path, look: Open) -> None:
    page = look(teapot / "report.html").page
    assert page.get_by_role("gridcell", name="spin-16x9-s1, done").count() == 1
    assert page.get_by_role("gridcell", name="pour-16x9-s1, failed").count() == 1
    assert page.get_by_role("rowheader", name="spin").count() == 2
    assert page.get_by_role("columnheader", name="seed 2").count() == 2
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, select, input, textarea, a')]"
        ".filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length)).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize("width", [320, 390])
def test_a_row_that_goes_on_beyond_a_phone_shows_a_part_of_its_next_picture(
    width: int, teapot: Path, look: Open
) -> None:
    found = look(teapot / "report.html", width=width, height=844)
    boxes = [tile.bounding_box() for tile in found.page.locator(".row").first.locator(".tile").all()]
    ends = [(box["x"], box["x"] + box["width"]) for box in boxes if box is not None]
    assert max(end for _, end in ends) > width
    assert any(left < width - 20 < width + 20 < end for left, end in ends)
