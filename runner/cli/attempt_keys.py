"""The key for each attempt in flight, found by the key's fingerprint or by the variable of its run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runner.errors import ExitCode, KeyRefusedError
from runner.http.access import ApiKey
from runner.job.project.environment import read_env
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow
from runner.ledger.states import AWAITED, TaskState
from runner.plural import count
from runner.providers.place import Place
from runner.record.facts import KEY_VARIABLE, key_variables


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """The attempts of one key, and the account that has it. Where it cannot be found, `key` is None and
    `missing` says why.
    """

    place: Place
    key: ApiKey | None
    attempts: frozenset[str]
    missing: str = ""
    code: ExitCode = ExitCode.KEY_REFUSED


def group_by_key(
    places: Sequence[Place], ledger: Ledger, attempts: Iterable[AttemptRow], *, is_named_here: bool = True
) -> list[KeyGroup]:
    """Groups attempts at one service by the key that each was submitted with; `places` are those of the
    accounts there.

    Where that key is gone, the key of the attempt's account counts, or the variable of the run: it may hold a
    newer one. Where only the ledger names this service (not `is_named_here`), no key is sent to it that was
    not sent there before.
    """
    attempts = list(attempts)
    names = {attempt.run_id: _variables(ledger, attempt.run_id) for attempt in attempts}
    wanted = frozenset(name for run_id in names for name in key_variables(ledger, run_id))
    own = frozenset(place.account.key_variable for place in places)
    environment = read_env(places[0].project.root, os.environ, allow=wanted | own - {""})
    accounts = {place.account.name: place for place in places}
    first = places[0].account.name
    keys: dict[tuple[str, str | None], ApiKey] = {}
    missing: dict[tuple[str, str | None], str] = {}
    for account, name in [*((each, None) for each in accounts), *((first, name) for name in sorted(wanted))]:
        try:
            keys[account, name] = accounts[account].find_key(environment, variable=name)
        except KeyRefusedError as error:
            missing[account, name] = str(error)
    prints = {source: key.fingerprint(ledger.salt) for source, key in keys.items()}
    by_print = {print_: source for source, print_ in reversed(prints.items())}
    found: dict[tuple[str, str | None], list[AttemptRow]] = {}
    strange: list[AttemptRow] = []
    for attempt in attempts:
        account = attempt.account if attempt.account in accounts else first
        if prints.get((account, None)) == attempt.key_hash:
            # servers without a key have one print
            found.setdefault((account, None), []).append(attempt)
        elif attempt.key_hash in by_print:
            found.setdefault(by_print[attempt.key_hash], []).append(attempt)
        elif is_named_here:
            name = names[attempt.run_id][0] if account == first else None
            found.setdefault((account, name), []).append(attempt)
        else:
            strange.append(attempt)
    groups = [
        _group(accounts[source[0]], keys.get(source), rows, missing.get(source, ""))
        for source, rows in found.items()
    ]
    if strange:
        why = f"the key that was used at {places[0].origin} is not set; hint: set its variable again"
        groups.append(_group(places[0], None, strange, why))
    return groups


def key_for(
    places: Sequence[Place], ledger: Ledger, attempt: AttemptRow, *, is_named_here: bool = True
) -> tuple[Place, ApiKey]:
    """The account's place and the key for one attempt. Raises KeyRefusedError."""
    (group,) = group_by_key(places, ledger, [attempt], is_named_here=is_named_here)
    if group.key is None:
        raise KeyRefusedError(group.missing)
    return group.place, group.key


def _group(place: Place, key: ApiKey | None, rows: list[AttemptRow], why: str) -> KeyGroup:
    ids = frozenset(row.id for row in rows)
    if key is not None:
        return KeyGroup(place, key, ids)
    if not any(row.state is TaskState.HELD or row.state in AWAITED for row in rows):
        return KeyGroup(place, None, ids, code=ExitCode.DONE)
    waiting = sum(row.state in AWAITED for row in rows)
    if not waiting:
        # held: a person settles it, no key does
        return KeyGroup(place, None, ids, code=ExitCode.PERSON_NEEDED)
    return KeyGroup(place, None, ids, f"{count(waiting, 'task')} cannot be looked up: {why}")


def _variables(ledger: Ledger, run_id: str) -> list[str | None]:
    """The key variables of a run's sessions, the newest first; None means the provider's own."""
    found = ledger.read.session_facts(run_id, KEY_VARIABLE)
    return [name if isinstance(name, str) else None for name in found] or [None]
