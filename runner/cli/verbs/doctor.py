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

import anyio
import click

from runner import __version__
from runner.cli import console
from runner.cli.asking import access_to
from runner.cli.common_options import common, common_options
from runner.cli.humanize import size
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import choose_place, does_trust_env
from runner.errors import CallsheetError, ExitCode, JobError
from runner.http.access import Access
from runner.http.route import VARIABLES, find_route
from runner.http.transport import tls_context
from runner.http.verdicts import ProviderError, Trouble
from runner.job.environment import read_env
from runner.job.load_project import load_project_file, readable_project_file
from runner.job.project_file import NotifyOn
from runner.job.rundate import RunDate
from runner.json_value import JsonValue
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.ledger.states import TaskState
from runner.plural import count
from runner.project import PROJECT_FILE, Project, find_project
from runner.providers import DEFAULT, connect, every
from runner.providers.place import Place
from runner.record.folder import check_runs
from runner.redact import json_text, printable
from runner.run.dating import ClockDate
from runner.run.ownership import check_is_own
from runner.run.remembered import check_is_remembered

MOST_CLOCK_OFFSET = 60.0
"""Seconds. The Date header has whole ones; `run.date` and schedules go by our own clock."""

LEAST_FREE = 1 << 30
"""Bytes: about a hundred clips."""

_LIBRARIES = ("anyio", "click", "httpcore", "httpx", "jinja2", "jsonschema", "pyyaml", "filelock")
_EXTRAS = {
    "media": (("av", "pillow"), "no thumbnails, and videos are checked by their containers alone"),
    "server": (("starlette", "uvicorn"), "no --sandbox and no webhooks"),
}
"""The libraries of each, and what is missing without them."""
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
    """Check what a run needs: versions, project, disk, ledger, key, service and clock.

    The service is asked one free question for each key that is set. Nothing is changed. The output
    holds neither keys nor your home directory, so that it can be pasted into a report. The exit code
    is the worst that `run` would have; warnings do not count.

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
        else:
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
    if said.prices:
        words.append(count(len(said.prices), "price"))
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
    try:
        if not project.ledger_path.exists():
            check_is_remembered(project, None)
            yield _ok("ledger", "none yet: nothing has been run")
            return
        with contextlib.closing(open_for_reading(project.ledger_path)) as connection:
            check_is_own(project, LedgerReader(connection))
            verdict = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            counts = LedgerReader(connection).count_states()
            check_is_remembered(project, LedgerReader(connection))
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
    told = f"whole, {sum(counts.values())} attempts, {in_flight} in flight, {unclear} unclear"
    if counts.get(TaskState.HELD):
        hint = "`callsheet reconcile` lists what waits for you"
        yield Check("wrong", "ledger", told, hint, ExitCode.PERSON_NEEDED)
    else:
        yield _ok("ledger", told)


def _services(project: Project, service: ServiceOptions) -> Iterator[Check]:
    """Each service whose key is set; the default one where none is."""
    environment = read_env(project.root, os.environ)
    named = [each for each in every().values() if any(map(environment.get, each.key_variables))]
    for provider in [DEFAULT] if service.sandbox else named or [DEFAULT]:
        try:
            place = choose_place(provider, project, service)
            key = place.find_key(environment)
        except CallsheetError as error:
            yield _wrong(provider.name, error)
            continue
        variable = next((key for key in place.provider.key_variables if environment.get(key)), "the sandbox")
        try:
            with access_to(place, key) as access:
                yield from _ask(place, access, variable)
        except CallsheetError as error:
            yield _wrong(provider.name, error)


def _ask(place: Place, access: Access, variable: str) -> Iterator[Check]:
    zone = readable_project_file(place.project.root).timezone
    name = place.provider.name
    began = time.time()
    try:
        server_time = anyio.run(_ping, place, access)
    except ProviderError as error:
        if error.trouble is Trouble.KEY_REFUSED:
            words = f"{place.origin} refuses the key of {variable} ({error.message})"
            yield Check("wrong", name, words, "check the key at the service", ExitCode.KEY_REFUSED)
        else:
            words = f"{place.origin} cannot be used: {error.message}"
            hint = "check the network, the base URL and the service's status page"
            yield Check("wrong", name, words, hint, ExitCode.UNREACHABLE)
        return
    ended = time.time()
    yield _ok(name, f"{place.origin} takes the key of {variable}, in {1000 * (ended - began):.0f} ms")
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


async def _ping(place: Place, access: Access) -> float | None:
    route = find_route(os.environ, trust_env=place.trust_env)
    async with connect(place.provider, access, route=route) as client:
        return await client.ping()
