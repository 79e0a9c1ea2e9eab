"""Which key goes where, by what the ledger knows: names of variables and fingerprints, never a key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runner.cli.attempt_keys import group_by_key
from runner.cli.fetching import services
from runner.cli.options import ServiceOptions
from runner.errors import ExitCode
from runner.http.access import NO_KEY, ApiKey
from runner.json_value import JsonValue
from runner.ledger.caps import Caps
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow, Intent, RunRow
from runner.ledger.states import Reason, TaskState
from runner.project import Project, init_project
from runner.providers.account import Account
from runner.providers.mesh import MESH
from runner.providers.openai import OPENAI
from runner.providers.place import Place
from tests.support.ledger_rows import SENT, task

ELSEWHERE = "https://mesh.studio.example"
PLAIN = ServiceOptions(sandbox=False, base_url=None)


@dataclass(frozen=True, slots=True)
class Shop:
    """A project whose ledger has accepted tasks in it."""

    project: Project
    ledger: Ledger

    def accepted(
        self,
        number: int,
        key: str,
        *facts: dict[str, JsonValue],
        origin: str = ELSEWHERE,
        account: str = "",
    ) -> str:
        """A task that was accepted under `key` in a run whose sessions know these facts; its attempt."""
        run = RunRow(
            f"run{number}", "a.yaml", "a", "d" * 64, "", "2026-11-21+00:00", "mesh", origin, 1000.0 + number
        )
        plain = replace(task(number), origin=origin)
        print_ = ApiKey(key).fingerprint(self.ledger.salt)
        intent = Intent(f"{number:032x}", Reason.RUN, account or "mesh", print_, None, "b" * 64, 999.0)
        with self.ledger.transaction():
            self.ledger.begin_run(run)
            for at, fact in enumerate(facts):
                self.ledger.begin_session(run.id, float(at), fact)
            attempt = self.ledger.intend(plain, "a.yaml", run.id, intent, Caps(), 1.0)
            self.ledger.accept(attempt, f"t-{number}", SENT, 2.0)
        return attempt

    def open(self) -> list[AttemptRow]:
        return list(self.ledger.read.in_state(TaskState.SUBMITTED, TaskState.HELD))

    def place(self, origin: str = ELSEWHERE) -> Place:
        return Place.at(Account("mesh", MESH), self.project, origin)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    project = init_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(open_for_writing(project.ledger_path))
    yield Shop(project, ledger)
    ledger.close()


@pytest.mark.fault(76)
def test_the_key_that_an_attempt_was_sent_with_comes_before_the_variable_of_its_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was edited to another variable while its task was in flight."""
    monkeypatch.setenv("OLD_KEY", "old-key-1")
    monkeypatch.setenv("NEW_KEY", "new-key-1")
    first = shop.accepted(1, "old-key-1", {"api_key_env": "OLD_KEY"}, {"api_key_env": "NEW_KEY"})
    rotated = shop.accepted(
        2, "gone-key-1", {"api_key_env": "NEW_KEY"}, {"command": ["callsheet", "collect"]}
    )
    groups = group_by_key([shop.place()], shop.ledger, shop.open())
    assert {(group.key.value if group.key else "", *group.attempts) for group in groups} == {
        ("old-key-1", first),
        ("new-key-1", rotated),
    }


@pytest.mark.fault(76)
def test_a_variable_that_is_not_set_is_named_with_what_waits_for_it(shop: Shop) -> None:
    shop.accepted(1, "k", {"api_key_env": "ACME_KEY"})
    shop.accepted(2, "k", {"api_key_env": None})
    groups = group_by_key([shop.place()], shop.ledger, shop.open())
    assert [group.key for group in groups] == [None, None]
    assert sorted(group.missing.partition("; hint")[0] for group in groups) == [
        "1 task cannot be looked up: no API key for mesh: ACME_KEY not set",
        "1 task cannot be looked up: no API key for mesh: MESHAPI_API_KEY and MESHAPI_TOKEN not set",
    ]


def test_a_server_without_a_key_is_asked_as_the_account_speaks_to_it(shop: Shop) -> None:
    """All such accounts have one fingerprint, and each a dialect of its own."""
    server = "http://gpu-box:8000/v1"
    gpu = Account("gpu", OPENAI.dialects["vllm-omni"], base_url=server)
    shop.accepted(1, "", origin=server, account="gpu")
    places = [Place.at(each, shop.project, server) for each in (Account("openai", OPENAI, "", server), gpu)]
    (group,) = group_by_key(places, shop.ledger, shop.open(), is_named_here=False)
    assert (group.place.account, group.key) == (gpu, NO_KEY)


def test_what_is_held_needs_no_key(shop: Shop) -> None:
    attempt = shop.accepted(1, "k")
    with shop.ledger.transaction():
        shop.ledger._db.execute("UPDATE attempts SET state = 'held' WHERE id = ?", (attempt,))
    (group,) = group_by_key([shop.place()], shop.ledger, shop.open())
    assert (group.missing, group.code) == ("", ExitCode.PERSON_NEEDED)


@pytest.mark.security(10)
def test_an_origin_that_only_the_ledger_names_gets_no_key_but_the_one_that_it_has_had(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHAPI_API_KEY", "our-key-1")
    known, strange = shop.accepted(1, "our-key-1"), shop.accepted(2, "another-1")
    found = services(shop.project, PLAIN)
    assert (ELSEWHERE, False) in [(each.places[0].origin, each.is_named_here) for each in found]
    groups = group_by_key([shop.place()], shop.ledger, shop.open(), is_named_here=False)
    assert [(group.key and group.key.value, group.attempts) for group in groups] == [
        ("our-key-1", {known}),
        (None, {strange}),
    ]
    assert f"the key that was used at {ELSEWHERE} is not set" in groups[1].missing


@pytest.mark.security(10)
def test_a_base_url_that_is_given_is_the_only_place(shop: Shop) -> None:
    shop.accepted(1, "our-key-1")
    for service in (ServiceOptions(True, None), ServiceOptions(False, "https://given.example")):
        assert ELSEWHERE not in [each.places[0].origin for each in services(shop.project, service)]
