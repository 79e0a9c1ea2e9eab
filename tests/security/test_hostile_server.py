"""A service that turns on us: it can neither draw on our network nor turn our terminal."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, Where
from tests.security.checkout import JOB, Checkout
from tests.support.wire_server import answer, answering

HOSTILE = "\x1b]0;pwned\x07\x1b[2J\u202egnp.\u2066\x9b31m\r\nrun.finished 0"
ONE = JOB.replace("seeds: 1..2", "seeds: [1]")


def _unseen(text: str) -> set[str]:
    """Characters that act on a terminal instead of standing in it; a line break is ours."""
    return {character for character in text if unicodedata.category(character) in ("Cc", "Cf")} - {"\n"}


SAYS: dict[str, Any] = {"code": HOSTILE, "message": HOSTILE}
SHOWS = {"status": HOSTILE, "model": HOSTILE, "seed": HOSTILE}


@pytest.mark.security(17)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=400, **SAYS),
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=402, **SAYS),
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500, body=f"<title>{HOSTILE}</title>"),
        Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", **SAYS),
        Fault(where=Where.GET, kind=Kind.FIELDS, fields=SHOWS),
        Fault(where=Where.LIST, kind=Kind.ANSWER, status=401, **SAYS),
    ],
    ids=["400", "402", "500", "verdict", "status", "key"],
)
def test_nothing_that_a_service_says_acts_on_a_terminal(checkout: Checkout, fault: Fault) -> None:
    checkout.server.faults.add(fault)
    told = [checkout.run(ONE), checkout.call("status"), checkout.call("reconcile")]
    for each in told:
        assert _unseen(each.stdout + each.stderr) == set()
        assert not any(line.startswith("run.finished") for line in (each.stdout + each.stderr).splitlines())
    records = [path for path in checkout.base.rglob("runs/*/*") if path.suffix in (".json", ".jsonl")]
    assert len(records) >= 2
    for path in records:
        assert _unseen(path.read_text(encoding="utf-8")) == set()


@pytest.mark.security(9)
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/a.mp4",
        "https://[::ffff:10.0.0.1]/a.mp4",
        "http://example.com/a.mp4",
        "https://user:word@example.com/a.mp4",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.mp4",
    ],
)
def test_a_result_s_url_leads_nowhere_but_to_the_public_internet(checkout: Checkout, url: str) -> None:
    """The task stays paid and wanted; nothing is connected to and nothing is saved."""
    content = {"content": {"video_url": url, "last_frame_url": None}}
    checkout.server.faults.add(Fault(where=Where.GET, kind=Kind.FIELDS, times=None, fields=content))
    job = ONE.replace("settle: 0s", "settle: 0s, deadline: 1s")
    told = checkout.run(job)
    assert told.returncode == ExitCode.TRY_AGAIN, told.stderr
    assert list(checkout.base.rglob("*.mp4")) == []
    checkout.server.faults.clear()
    assert checkout.run(job).returncode == 0
    assert checkout.server.accepted == 1


@pytest.mark.security(7)
@pytest.mark.parametrize("where", [Where.SUBMIT, Where.GET, Where.LIST])
def test_the_key_follows_no_redirect(checkout: Checkout, where: Where) -> None:
    with answering(answer(200, {"id": "t-1"})) as thief:
        location = {"location": f"{thief.origin}/v1/video/generations"}
        fault = Fault(where=where, kind=Kind.ANSWER, status=307, headers=location, body="")
        checkout.server.faults.add(fault)
        told = checkout.run(ONE)
        assert told.returncode in (0, ExitCode.PERSON_NEEDED), told.stderr
        assert checkout.server.faults.struck == 1
        assert thief.connections == 0


@pytest.mark.security(20)
@pytest.mark.security(14)
def test_a_base_url_with_a_password_and_a_broken_key_are_refused_unshown(checkout: Checkout) -> None:
    told = checkout.call("run", checkout.write(ONE), "--base-url", "https://me:canary@api.example")
    assert told.returncode == ExitCode.USAGE
    assert "canary" not in told.stdout + told.stderr
    checkout.key = "rsk_canary\nx-injected: 1"
    told = checkout.run(ONE)
    assert told.returncode == ExitCode.KEY_REFUSED
    assert "canary" not in told.stdout + told.stderr
    assert checkout.server.accepted == 0
