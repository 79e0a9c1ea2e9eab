"""`doctor`: checks what a run needs, one thing after the other."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from runner import __version__
from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.humanize import size
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import choose_place, choose_places, does_trust_env, world_of
from runner.cli.services.asking import access_to
from runner.cli.services.money_told import Told, ask_money
from runner.errors import CallsheetError, ExitCode, JobError, KeyRefusedError
from runner.http.access import Access, ApiKey, is_loopback
from runner.http.route import VARIABLES, find_route
from runner.http.transport import tls_context
from runner.http.verdicts import ProviderError, Trouble
from runner.job.expressions.rundate import RunDate
from runner.job.project.environment import read_env
from runner.job.project.load_project import load_project_file, readable_project_file
from runner.job.project_file import NotifyOn
from runner.json_value import JsonValue
from runner.ledger.leases import LeaseRow
from runner.ledger.open import has_ledger, open_reader, shared_address
from runner.ledger.states import TaskState
from runner.objects.address import ObjectAddress
from runner.objects.store import ObjectError, ObjectStore, is_in_plain_text, place_words
from runner.plural import count
from runner.project import PROJECT_FILE, Project, find_project
from runner.providers import DEFAULT, connect, every
from runner.providers.account import Account, refuse_twins
from runner.providers.place import Place
from runner.record.folder import check_runs
from runner.redact import json_text, printable
from runner.run.dating import ClockDate
from runner.run.lock import check_is_made
from runner.run.ownership import check_is_own
from runner.run.remembered import check_is_remembered
from runner.times import duration_words

if TYPE_CHECKING:
    from runner.ledger.postgres import Address

MOST_CLOCK_OFFSET = 60.0
"""Seconds. The Date header has whole ones; `run.date` and schedules go by our own clock."""

LEAST_FREE = 1 << 30
"""Bytes: about a hundred clips."""

_LIBRARIES = ("anyio", "click", "httpcore", "httpx", "jinja2", "jsonschema", "pyyaml", "filelock")
_EXTRAS = {
    "media": (("av", "pillow"), "no thumbnails, and videos are checked by their containers alone"),
    "server": (("starlette", "uvicorn"), "no --sandbox and no webhooks"),
    "postgres": (("psycopg",), ""),
    "objects": (("obstore",), ""),
    "cluster": (("distributed",), ""),
}
"""The libraries of each, and what is missing without them; empty where only who asks for it needs them."""
_COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing checked. `level` is ok, warning or wrong; `code` is what a run would exit with."""

    level: str
    what: str
    words: str
    hint: str = ""
    code: ExitCode = ExitCode.DONE


def _ok(what: str, words: str) -> Check:
    return Check("ok", what, words)


def _warning(what: str, words: str, hint: str) -> Check:
    return Check("warning", what, words, hint)


def _wrong(what: str, error: CallsheetError) -> Check:
    # `doctor` never submits, so this need not be said
    words = error.message.removesuffix("; nothing was sent")
    return Check("wrong", what, words, error.hint, error.exit_code)


@click.command()
@service_options
@output_format("json", "jsonl")
@common_options
def doctor(service: ServiceOptions, output_format: str) -> ExitCode:
    """Check what a run needs: versions, project, disk, ledger, store, key, service and clock.

    The service is asked one free question for each account of the project file, and for each other key that
    is set. One that tells balance and costs is asked for those too, and its costs are held against the
    ledger. Of a shared ledger it says where that is and who drives which account. `store` and `uploads` are
    listed, and nothing is put there. Nothing is changed.

    The output holds neither keys nor your home directory, so that it can be pasted into a report. The exit
    code is the worst that `run` would have; warnings do not count.

    \b
    Examples:
      callsheet doctor
      callsheet doctor --sandbox     without a key and without a network
    """
    checks: list[Check] = []
    for check in _checks(service):
        checks.append(check)
        if output_format == "text":
            _tell(check)
        elif output_format == "jsonl":
            console.result(json_text(_fields(check)))
    code = ExitCode.first(check.code for check in checks)
    if output_format == "json":
        rows = [_fields(check) for check in checks]
        console.document({"exit_code": int(code), "findings": rows})
    return code


def _clean(text: str) -> str:
    """Without keys and the home directory."""
    home = str(Path.home())
    return printable(text.replace(home, "~") if len(home) > 1 else text)


def _tell(check: Check) -> None:
    word = click.style(f"{check.level:8}", fg=_COLOURS[check.level])
    hint = f"; hint: {check.hint}" if check.hint else ""
    console.block(f"{word} {check.what:10} {console.wrapped(_clean(check.words + hint), 20)}")


def _fields(check: Check) -> dict[str, JsonValue]:
    return {
        "level": check.level,
        "what": check.what,
        "words": _clean(check.words),
        "hint": _clean(check.hint),
        "exit_code": int(check.code),
    }


def _checks(service: ServiceOptions) -> Iterator[Check]:
    yield _ok("callsheet", f"{__version__} on Python {platform.python_version()}, {platform.platform()}")
    yield _ok("sqlite", sqlite3.sqlite_version)
    yield _ok("libraries", ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES))
    yield from _extras()
    try:
        project = find_project(Path(), root=common().root)
        place = choose_place(DEFAULT, project, service)
    except CallsheetError as error:
        yield _wrong("project", error)
        return
    kind = "a rehearsal, in " if place.project.is_rehearsal else ""
    yield _ok("project", f"{kind}{place.project.base}")
    yield from _settings(project)
    yield from _route(project, service)
    yield from _disk(place.project)
    yield from _ledger(place.project)
    yield from _stores(place.project, service)
    yield from _services(project, service)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _extras() -> Iterator[Check]:
    for extra, (names, lacking) in _EXTRAS.items():
        found = [f"{name} {_version(name)}" for name in names if _version(name)]
        if len(found) == len(names):
            yield _ok(f"[{extra}]", ", ".join(found))
        elif lacking:
            yield _warning(f"[{extra}]", f"not installed: {lacking}", f"pip install 'callsheet[{extra}]'")


def _settings(project: Project) -> Iterator[Check]:
    """What the project file says, or what is wrong with it."""
    if not (project.root / PROJECT_FILE).exists():
        yield _ok("settings", f"no {PROJECT_FILE}: all of them have their defaults")
        return
    try:
        said = load_project_file(project.root)
    except JobError as error:
        for problem in error.problems:
            yield Check("wrong", "settings", problem.render(PROJECT_FILE), code=error.exit_code)
        return
    words = [f"project {said.project or 'without an id'}", f"time zone {said.timezone or 'of this machine'}"]
    if said.accounts:
        words.append(count(len(said.accounts), "account"))
    if said.budgets:
        words.append(count(len(said.budgets), "budget"))
    if said.prices:
        words.append(count(len(said.prices), "price"))
    if said.inputs:
        words.append(f"inputs from {' and '.join(said.inputs)}")
    if said.notify is not None:
        whom = said.notify.command[0] if said.notify.command else said.notify.url_env
        ends = ", ".join(end for end in NotifyOn if end in said.notify.on)
        words.append(f"notify {whom} ({ends})")
    yield _ok("settings", f"{PROJECT_FILE}: {', '.join(words)}")
    if said.notify is not None and said.notify.url_env and not os.environ.get(said.notify.url_env):
        hint = f"export {said.notify.url_env}=<the URL>"
        yield _warning("notify", f"{said.notify.url_env} is not set, so nobody is told", hint)


def _route(project: Project, service: ServiceOptions) -> Iterator[Check]:
    """Whether proxy and certificates of the environment are used, and for what."""
    is_trusted = does_trust_env(project, service)
    if not is_trusted:
        found = [name for name in VARIABLES if os.environ.get(name) or os.environ.get(name.lower())]
        told = "no proxy is used, and the certificates are certifi's"
        if found:
            verb = "is" if len(found) == 1 else "are"
            told = f"{' and '.join(found)} {verb} set and not used; --trust-env asks for that"
        yield _ok("network", told)
        return
    try:
        route = find_route(os.environ, trust_env=True)
        tls_context(route.certificates)
    except CallsheetError as error:
        yield _wrong("network", error)
        return
    words = "no proxy is set"
    if route.proxy is not None:
        login = ", with a user name" if route.proxy.user_info else ""
        direct = ", ".join(filter(None, ("loopback", route.no_proxy)))
        words = f"https goes through the proxy {route.proxy.address}{login}, except to {direct}"
    yield _ok("network", f"{words}; the certificates are {route.certificates or 'certifi'}'s")


def _disk(project: Project) -> Iterator[Check]:
    try:
        project.check_links()
        check_runs(project)
    except CallsheetError as error:
        yield _wrong("disk", error)
        return
    below = next(path for path in (project.base, *project.base.parents) if path.exists())
    hint = "make it writable for this user"
    for path, code in (
        (below, ExitCode.NO_PROJECT),
        (project.state_dir, ExitCode.NO_PROJECT),
        (project.lock_path, ExitCode.NO_PROJECT),
        (project.ledger_path, ExitCode.CANNOT_WRITE),
        (project.runs_dir, ExitCode.CANNOT_WRITE),
    ):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK if path.is_dir() else os.W_OK):
            yield Check("wrong", "disk", f"{path}: cannot be written", hint, code)
            return
    free = shutil.disk_usage(below).free
    words = f"writable, {size(free)} free"
    yield _ok("disk", words) if free >= LEAST_FREE else _warning("disk", words, "make room for the videos")


def _ledger(project: Project) -> Iterator[Check]:
    driven: list[LeaseRow] = []
    try:
        check_is_made(project)
        address = shared_address(project)
        if address is not None and address.is_in_plain_text:
            hint = "add ?sslmode=verify-full to the URL: prompts and the password may pass in plain text"
            yield _warning("ledger", f"{address.words}: TLS is not asked for", hint)
        where = "whole" if address is None else f"{address.words}, {_server(address)}"
        if not has_ledger(project):
            check_is_remembered(project, None)
            yield _ok("ledger", f"{'' if address is None else f'{where}, '}none yet: nothing has been run")
            return
        with contextlib.closing(open_reader(project)) as ledger:
            check_is_own(project, ledger)
            verdict = "ok" if address is not None else ledger.integrity()
            counts = ledger.count_states()
            driven = [row for row in ledger.leases() if not row.is_free]
            check_is_remembered(project, ledger)
    except CallsheetError as error:
        yield _wrong("ledger", error)
        return
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        hint = "move it aside with its -wal and -shm files, and restore a backup; do not delete it"
        yield Check("wrong", "ledger", f"it is corrupt: {verdict}", hint, ExitCode.CANNOT_WRITE)
        return
    in_flight = sum(number for state, number in counts.items() if state.is_in_flight)
    unclear = sum(number for state, number in counts.items() if state.is_unclear)
    told = f"{where}, {sum(counts.values())} attempts, {in_flight} in flight, {unclear} unclear"
    if counts.get(TaskState.HELD):
        hint = "`callsheet reconcile` lists what waits for you"
        yield Check("wrong", "ledger", told, hint, ExitCode.PERSON_NEEDED)
    else:
        yield _ok("ledger", told)
    for row in driven:
        yield _ok("lease", row.words)


def _server(address: Address) -> str:
    """Raises StateError where `run` would be refused."""
    # imported here: an optional extra
    from runner.ledger.shared import look_at_server

    return look_at_server(address)


def _stores(project: Project, service: ServiceOptions) -> Iterator[Check]:
    """`store` and `uploads`: whether this machine can list them. A rehearsal has neither."""
    said = readable_project_file(project.root)
    if project.is_rehearsal:
        return
    keep = "for ever" if said.store_keep is None else f"for {duration_words(said.store_keep)}"
    for what, named, more, code in (
        ("store", said.store, f"; what lies there stays here {keep}", ExitCode.TRY_AGAIN),
        ("uploads", said.uploads, "", ExitCode.INPUT_MISSING),
    ):
        if not named:
            continue
        address, began = ObjectAddress.parse(named), time.monotonic()
        where = place_words(address)
        try:
            route = find_route(os.environ, trust_env=does_trust_env(project, service))
            next(ObjectStore.open(address, route).list(), None)
        except ObjectError as error:
            yield Check("wrong", what, f"{error.message}; asked {where}", error.hint, code)
            continue
        except CallsheetError as error:
            yield _wrong(what, error)
            continue
        took = 1000 * (time.monotonic() - began)
        yield _ok(what, f"{named}, {where}: can be listed, in {took:.0f} ms{more}")
        if is_in_plain_text(address):
            hint = "use an endpoint with https"
            yield _warning(what, f"{where}: everybody on the way can read the files", hint)


def _services(project: Project, service: ServiceOptions) -> Iterator[Check]:
    """Each account that the project file names, and each provider whose key is set; the default one where
    there is none. In a rehearsal accounts are not looked at.
    """
    environment = read_env(project.root, os.environ)
    is_rehearsal = world_of(project, service).is_rehearsal
    named = {} if is_rehearsal else dict(readable_project_file(project.root).accounts)
    for provider in every().values():
        if any(map(environment.get, provider.key_variables)):
            named.setdefault(provider.name, Account(provider.name, provider))
    if service.sandbox or not named:
        named = {DEFAULT.name: Account(DEFAULT.name, DEFAULT)}
    keys: list[tuple[Account, ApiKey]] = []
    for account in named.values():
        try:
            place = choose_places({account.name: account}, project, service)[account.name]
            key = place.find_key(environment)
        except CallsheetError as error:
            # of the accounts that are named, a machine may hold the keys of some
            if (account.key_variable or len(named) > 1) and isinstance(error, KeyRefusedError):
                yield _warning(account.name, error.message, error.hint)
            else:
                yield _wrong(account.name, error)
            continue
        keys.append((account, key))
        if key.value and place.origin.startswith("http:") and not is_loopback(place.origin):
            told = f"the key goes to {place.origin} unencrypted: everybody on the way can read it"
            yield _warning(account.name, told, "use https, or a server that wants no key")
        variable = next(filter(environment.get, account.key_variables), "")
        try:
            with access_to(place, key) as access:
                yield from _ask(account.name, place, access, variable or "the sandbox" if key.value else "")
        except CallsheetError as error:
            yield _wrong(account.name, error)
    if not is_rehearsal:
        try:
            refuse_twins(keys)
        except KeyRefusedError as error:
            yield _wrong("accounts", error)


def _ask(name: str, place: Place, access: Access, variable: str) -> Iterator[Check]:
    """`variable` holds the key; empty where there is none."""
    zone = readable_project_file(place.project.root).timezone
    began = time.time()
    try:
        server_time, told = anyio.run(_ping, place, access)
    except ProviderError as error:
        if error.trouble is Trouble.KEY_REFUSED:
            whose = f"the key of {variable}" if variable else "requests without a key"
            words = f"{place.origin} refuses {whose} ({error.message})"
            yield Check("wrong", name, words, "check the key at the service", ExitCode.KEY_REFUSED)
        else:
            words = f"{place.origin} cannot be used: {error.message}"
            hint = "check the network, the base URL and the service's status page"
            yield Check("wrong", name, words, hint, ExitCode.UNREACHABLE)
        return
    ended = time.time()
    takes = f"takes the key of {variable}" if variable else "answers without a key"
    yield _ok(name, f"{place.origin} {takes}, in {1000 * (ended - began):.0f} ms")
    yield from _money(name, told)
    if server_time is None:
        yield _warning("clock", f"{place.origin} sends no Date", "the offset is not known")
        return
    # the header's seconds are cut, not rounded
    offset = server_time + 0.5 - (began + ended) / 2
    words = f"{offset:+.0f} s to {place.origin}"
    if ClockDate(RunDate.today(began, zone), began, zone=zone).doubt(server_time):
        hint = "set the clock of this machine (NTP), or give --date"
        yield _warning("clock", f"{words}, another day: `run` refuses jobs that use `run.date`", hint)
    elif abs(offset) > MOST_CLOCK_OFFSET:
        yield _warning("clock", words, "set the clock of this machine (NTP)")
    else:
        yield _ok("clock", words)


def _money(name: str, told: Told | ProviderError | None) -> Iterator[Check]:
    if isinstance(told, ProviderError):
        yield _warning(name, f"does not tell its costs: {told.message}", "see the service's own page")
    elif told is not None:
        yield _ok(name, told.words)
        if told.drift:
            yield _warning(name, told.drift, "compare `callsheet spend --by day` with the service's own page")


async def _ping(place: Place, access: Access) -> tuple[float | None, Told | ProviderError | None]:
    """The service's time, and what it says of the key's money."""
    route = find_route(os.environ, trust_env=place.trust_env)
    async with connect(place.provider, access, route=route) as client:
        server_time = await client.ping()
        try:
            return server_time, await ask_money(client, place, access.key)
        except ProviderError as error:
            return server_time, error
