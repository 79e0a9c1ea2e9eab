"""The page runs nothing and loads nothing that a stranger wrote into it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.browser.film import rewrite
from tests.browser.look import Open

pytestmark = pytest.mark.security(18)

HOSTILE = (
    "<script>window.canary = 1</script>",
    "</script><script>window.canary = 2</script>",
    "<img src=https://canary.test/x onerror='window.canary = 3'>",
    "\"><svg onload='window.canary = 4'>",
    "' autofocus onfocus='window.canary = 5",
    "javascript:window.canary=6",
    "{{ 7 * 7 }}<!--<script>",
    "\u202egnp.tpircs\u2066\u2028",
)


@pytest.fixture
def copied(teapot: Path) -> Path:
    """A second run folder beside the first, to be rewritten."""
    copy = teapot.with_name("hostile")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(teapot, copy)
    return copy


def poison(told: dict[str, Any]) -> None:
    """Every text of the manifest that comes from a person, a service or a file's name."""
    told["run"] |= {
        "name": HOSTILE[0],
        "job_file": HOSTILE[1],
        "edition": HOSTILE[3],
        "id": told["run"]["id"],
    }
    told["run"]["sessions"][-1]["git"] = {"commit": HOSTILE[2][:40], "job_file_dirty": True, "note": ""}
    for number, task in enumerate(told["tasks"]):
        bad = HOSTILE[number % len(HOSTILE)]
        task |= {"name": f"{number} {bad}", "model": bad, "step": HOSTILE[number % 2], "echo": {"seed": bad}}
        task["cell"] = {"model": bad, "seed": number, bad: bad, "shot": {"id": bad}}
        task["request"] = {"content": [{"type": "text", "text": bad}], "ratio": bad, bad: bad}
        task["inputs"] = [{"path": bad, "sha256": "0", "media_type": "x", "bytes": 1}]
        task["error"] = {"code": bad, "message": bad}
        task["usage"] = {"total_tokens": bad}
        for attempt in task["attempts"]:
            attempt |= {"remote_id": bad, "cost_usd": bad}
        for output in task["outputs"]:
            output |= {"path": bad if number % 2 else output["path"], "kind": output["kind"]}
            output["media"] = {"container": bad, "codec": bad, "width": 16, "height": 9, "duration": 4.0}


def test_hostile_texts_are_inert_and_are_shown_as_written(copied: Path, look: Open) -> None:
    found = look(rewrite(copied, poison))
    page = found.page
    for _ in range(len(HOSTILE)):
        page.keyboard.press("Enter")
        page.keyboard.press("m")
        page.keyboard.press(" ")
        page.keyboard.press("ArrowRight")
    page.keyboard.press("c")
    page.wait_for_timeout(300)
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    page.wait_for_timeout(300)
    assert page.evaluate("window.canary") is None
    assert page.locator("h1").inner_text() == HOSTILE[0]
    assert page.locator("img[onerror], svg[onload], main script, aside script").count() == 0
    assert HOSTILE[0] in page.content().replace("&lt;", "<").replace("&gt;", ">")
    foreign = [url for url in found.requests if not url.startswith(("file://", "data:"))]
    assert foreign == []
    assert page.evaluate("violations") == []


def test_links_lead_only_below_the_directory_of_the_runs(copied: Path, look: Open) -> None:
    def climb(told: dict[str, Any]) -> None:
        for task, path in zip(
            told["tasks"], ("../../../etc/passwd", "/etc/passwd", "//canary.test/x"), strict=False
        ):
            for output in task["outputs"]:
                output["path"] = path

    found = look(rewrite(copied, climb))
    hrefs = found.page.evaluate("[...document.querySelectorAll('a')].map((one) => one.getAttribute('href'))")
    read = "JSON.parse(document.getElementById('data').textContent).tasks"
    sources = json.dumps(found.page.evaluate(f"{read}.map((task) => task.videos.map((one) => one.href))"))
    assert not any(":" in href or href.startswith("/") for href in hrefs)
    assert "passwd" not in sources
    assert "canary.test" not in sources


class _Counted(BaseHTTPRequestHandler):
    """Answers nothing of use, and remembers that it was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Not printed."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The URL of a server on this machine that no page may reach."""
    _Counted.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Counted)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "injected",
    [
        "<script>window.canary = 1</script>",
        "<img src=x onerror='window.canary = 1'>",
        "<img src=HOST/x.png>",
        "<script src=HOST/x.js></script>",
        "<iframe src=HOST/></iframe>",
        "<link rel=stylesheet href=HOST/x.css>",
        "<video src=HOST/x.mp4 autoplay></video>",
        "<object data=HOST/x></object>",
    ],
)
def test_were_an_escape_missing_the_policy_would_hold(
    injected: str, teapot: Path, look: Open, elsewhere: str
) -> None:
    """The markup is put into the page's body as it stands; the browser must refuse it."""
    page = (teapot / "report.html").read_text(encoding="utf-8")
    head = '<header class="head">'
    target = teapot / "injected.html"
    target.write_text(page.replace(head, injected.replace("HOST", elsewhere) + head), encoding="utf-8")
    try:
        found = look(target)
        found.page.wait_for_timeout(200)
        assert found.page.evaluate("window.canary") is None
        assert found.page.evaluate("violations.length") == 1
    finally:
        target.unlink()
    assert _Counted.asked == []


def test_the_server_of_the_test_above_hears_a_page_without_a_policy(
    teapot: Path, look: Open, elsewhere: str
) -> None:
    """Else its silence would prove nothing."""
    bare = teapot / "bare.html"
    bare.write_text(f"<p class=nothing>x</p><img src={elsewhere}/x.png>", encoding="utf-8")
    found = look(bare)
    found.page.wait_for_load_state("load")
    bare.unlink()
    assert _Counted.asked == ["/x.png"]


def test_the_script_can_write_no_markup(teapot: Path, look: Open) -> None:
    """Trusted Types without a policy: every sink that takes markup throws."""
    found = look(teapot / "report.html")
    thrown = (
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return false; } catch { return true; } })()"
    )
    assert found.page.evaluate(f"new Promise((resolve) => resolve({thrown}))") is True
