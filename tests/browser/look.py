"""A page that is open in a browser, as a test looks at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.sync_api import Page


@dataclass
class Look:
    """A page that is open, with what it asked for and complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def behaves(self) -> None:
        """Nothing was fetched but files, nothing was blocked, nothing was logged."""
        assert [url for url in self.requests if not url.startswith(("file://", "data:"))] == []
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []

    def tiles(self) -> list[str]:
        """The names of the frames that are shown."""
        return self.page.locator(".tile:visible").evaluate_all("all => all.map((one) => one.frame.task.name)")

    def wait(self, condition: str) -> None:
        """Until the expression is true. Playwright's own waiting needs `eval`, which the page forbids."""
        until = time.monotonic() + 10
        while not self.page.evaluate(condition):
            assert time.monotonic() < until, f"never: {condition}"
            self.page.wait_for_timeout(20)

    def said(self) -> str:
        return self.page.locator("#said").inner_text()

    def chosen(self) -> str:
        return str(self.page.evaluate("document.querySelector('.tile.chosen').frame.task.name"))


Open = Callable[..., Look]
