"""Writes docs/contact-sheet.png: the page of a rehearsal, as `scripts/screenshot` photographs it."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.film import TEAPOT, rehearse
from tests.support.command_process import CHECKOUT

TARGET = CHECKOUT / "docs" / "contact-sheet.png"
WIDTH, HEIGHT = 1280, 780
MOST_BYTES = 300_000


def photograph(page: Path) -> bytes:
    """The top of the page in dark, with two takes marked and one chosen."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark")
        opened.goto(page.as_uri())
        opened.wait_for_selector(".tile img[src]")
        for key in ("ArrowRight", "m", "ArrowDown", "ArrowDown", "ArrowRight", "m", "ArrowLeft"):
            opened.keyboard.press(key)
        opened.wait_for_timeout(500)
        image = opened.screenshot()
        browser.close()
    return image


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        run = rehearse(Path(place), "teapot.yaml", TEAPOT.replace("seeds: 1..3", "seeds: 1..4"))
        image = photograph(run / "report.html")
    out = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").save(out, "PNG", optimize=True)
    assert len(out.getvalue()) < MOST_BYTES
    TARGET.write_bytes(out.getvalue())


if __name__ == "__main__":
    main()
