"""A real Chromium that opens pages from files, and reports everything that a page must not do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.film import BOAT, TEAPOT, rehearse
from tests.browser.look import Look, Open

_WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));
"""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed behind the last test in here: while it is open, no other test can run an event loop."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "no Chromium: use `scripts/test tests/browser`, or set CHROMIUM=/path/to/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Open]:
    """Opens a page from its file; `script` runs before the page's own, `options` are a context's."""
    contexts: list[BrowserContext] = []

    def open_page(
        path: Path, *, width: int = 1280, height: int = 900, script: str = "", **options: Any
    ) -> Look:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        found = Look(context.new_page())
        found.page.set_default_timeout(10_000)
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.add_init_script(_WATCH + script)
        found.page.goto(path.as_uri())
        found.page.wait_for_selector(".tile, .nothing")
        return found

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def teapot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rehearsed sweep of three seeds, three shots and two ratios; one shot fails. Gives its folder."""
    return rehearse(tmp_path_factory.mktemp("film"), "teapot.yaml", TEAPOT)


@pytest.fixture(scope="session")
def boat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rehearsed job of two steps that waits for a pick. Gives its folder."""
    return rehearse(tmp_path_factory.mktemp("film"), "boat.yaml", BOAT)
