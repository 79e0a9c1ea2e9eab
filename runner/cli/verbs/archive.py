"""`archive` and `fetch`: files on their way into the project's store, and back."""

from __future__ import annotations

import fnmatch
import itertools
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import console
from runner.cli.closing.evicting import evict_old
from runner.cli.common_options import common, common_options
from runner.cli.completion import complete_task
from runner.cli.humanize import shown_path, size
from runner.cli.options import deadline_option, output_format, wait_option, workers_option
from runner.cli.runs import reading
from runner.errors import ExitCode, StateError, UsageError
from runner.http.route import Route, find_route
from runner.job.project.load_project import load_project_file
from runner.json_value import JsonValue
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.rows import ArchivedRow, OutputRow
from runner.objects.address import ObjectAddress
from runner.objects.store import ObjectError, ObjectStore, ObjectTrouble, Stores
from runner.plural import count
from runner.project import Project, find_project
from runner.redact import printable
from runner.run.lock import locked_ledger, project_lock
from runner.run.wholeness import filed, here, is_whole
from runner.spelling import did_you_mean
from runner.store.archive import Putting, bring, put_elsewhere
from runner.store.files import LocalFiles

if TYPE_CHECKING:
    from runner.work.hire import Workers

_ROWS_A_COMMIT = 64
"""A kill leaves at most as many objects without a row, and the next run finds them there."""

_trust_env_option = click.option(
    "--trust-env",
    is_flag=True,
    help="Use the proxy and certificates of HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE.",
)


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="First list the store: forget what the ledger says is there and is not, which is archived again, and"
    " note what is there and nowhere else.",
)
@_trust_env_option
@workers_option
@wait_option
@deadline_option(None)
@output_format("json")
@common_options
def archive(
    check: bool,
    trust_env: bool,
    workers: Workers | None,
    wait: float,
    deadline: float | None,
    output_format: str,
) -> ExitCode:
    """Put finished files into the project's store: those that the runs have not put there yet.

    The store is that of `store` in callsheet.yaml. Every `run` and `collect` archives by itself; this goes
    on where one was killed, or where the store did not answer. What `store_keep` lets go is removed here.
    Workers of a cluster use the store's credentials of their own environment.

    \b
    Examples:
      callsheet archive
      callsheet archive --check
      callsheet archive --workers 16
    """
    project = find_project(Path(), root=common().root)
    said = load_project_file(project.root)
    if not said.store:
        raise UsageError("callsheet.yaml names no store", hint="add `store: s3://BUCKET/PREFIX` to it")
    route = find_route(os.environ, trust_env=trust_env or said.trust_env)
    store = ObjectStore.open(ObjectAddress.parse(said.store), route)
    with locked_ledger(project, wait=wait, tell=console.note) as ledger:
        forgotten, found = _check(project, ledger, store) if check else ([], 0)
        if workers is None:
            put, put_bytes, left, words = _archive(project, ledger, store, deadline)
        else:
            putting = Putting(str(project.base), said.store, trust_env or said.trust_env)
            put, put_bytes, left, words = _archive_with(workers, project, ledger, putting, deadline)
    gone = evict_old(project, trust_env=trust_env)
    code = ExitCode.TRY_AGAIN if left or (gone is not None and gone.trouble) else ExitCode.DONE
    document: dict[str, JsonValue] = {
        "store": said.store,
        "archived": put,
        "bytes": put_bytes,
        "left": [printable(row.path) for row in left],
        "forgotten": [row.key for row in forgotten],
        "found": found,
        "removed_here": 0 if gone is None else gone.files,
        "error": printable(words) if left else None,
    }
    if console.for_programs(output_format, [document], document):
        return code
    for row in forgotten:
        console.note(f"{row.address}: is not there any more")
    if found:
        console.note(f"found in the store alone, and noted: {count(found, 'file')}")
    console.summary(f"{said.store}: archived {count(put, 'file')}, {size(put_bytes)}")
    if left:
        console.error(printable(words))
    return code


def _archive(
    project: Project, ledger: Ledger, store: ObjectStore, deadline: float | None
) -> tuple[int, int, list[OutputRow], str]:
    # imported here: the event loop takes 0.1 s
    import anyio

    from runner.lane.commits import Commits
    from runner.lane.machine import Machine
    from runner.run.files.archive import Archive

    machine, told = Machine(), [0]

    def observe(name: str, _fields: Mapping[str, object]) -> None:
        if name == "archive.stored":
            told[0] += 1
            console.status(f"archive: {count(told[0], 'file')}")

    async def go() -> Archive:
        commits, files = Commits(ledger, machine.threads), LocalFiles(project.base)
        work = Archive(store, commits, files, machine.wall, observe, machine.random)
        async with work.beside(deadline):
            pass
        return work

    work = anyio.run(go)
    return work.put, work.put_bytes, work.left(), work.words()


def _archive_with(
    workers: Workers, project: Project, ledger: Ledger, putting: Putting, deadline: float | None
) -> tuple[int, int, list[OutputRow], str]:
    # imported here: few starts archive with others
    from runner.run.files.archive import FOR_GOOD, words_of_left
    from runner.work.crew import Lost, work
    from runner.work.hire import hire

    rows = here(ledger.read.unarchived(putting.store), LocalFiles(project.base))
    left = {row.sha256: row for row in rows}
    reasons: dict[str, None] = {}
    put: list[ArchivedRow] = []
    if not left:
        return 0, 0, [], ""
    ends = math.inf if deadline is None else time.monotonic() + deadline
    files = (filed(row) for row in [*left.values()])
    in_time = itertools.takewhile(lambda _: time.monotonic() < ends, files)
    noted = 0
    with hire(workers, project.base, project.base / rows[0].path, modules=("obstore",), waits=True) as crew:
        try:
            for one, error in work(crew, put_elsewhere, putting, in_time, expected=len(left)):
                if isinstance(error, Lost):
                    reasons.setdefault(error.why)
                    continue
                if error is None:
                    del left[one.sha256]
                    put.append(ArchivedRow(one.sha256, putting.store, one.key, one.bytes, time.time()))
                    console.status(f"archive: {count(len(put), 'file')}")
                elif error.trouble is ObjectTrouble.CHANGED and not is_whole(left[one.sha256], project.base):
                    del left[one.sha256]
                elif error.trouble is ObjectTrouble.CHANGED:
                    reasons.setdefault(f"{one.path}: a worker sees another file there, or none")
                else:
                    reasons.setdefault(str(error))
                    if error.trouble in FOR_GOOD:
                        break
                if len(put) - noted >= _ROWS_A_COMMIT:
                    noted = _note(ledger, put, noted)
        finally:
            _note(ledger, put, noted)
    return len(put), sum(row.bytes for row in put), [*left.values()], words_of_left(len(left), reasons)


def _note(ledger: Ledger, put: Sequence[ArchivedRow], noted: int) -> int:
    """Writes the rows behind the first `noted` ones; how many are written then."""
    with ledger.transaction():
        for row in put[noted:]:
            ledger.add_archived(row)
    return len(put)


def _check(project: Project, ledger: Ledger, store: ObjectStore) -> tuple[list[ArchivedRow], int]:
    """Forgets the rows of objects that are not there, or have another size, and makes those of files that are
    not here and whose object is there with its size: how many. What is here, under whatever path, is put
    anew: only that proves an object's content.
    """
    try:
        sizes = dict(store.list("sha256"))
    except ObjectError as error:
        raise StateError(error.message, hint=error.hint) from error
    name, now = str(store.address), time.time()
    wrong = [row for row in ledger.read.archived(name) if sizes.get(row.key) != row.bytes]
    with ledger.transaction():
        for row in wrong:
            ledger.forget_archived(row)
        unknown = ledger.read.unarchived(name)
        is_here = {row.sha256 for row in here(unknown, LocalFiles(project.base))}
        lost = {
            each.sha256: ArchivedRow(each.sha256, name, each.key, each.bytes, now)
            for each in map(filed, unknown)
            if each.sha256 not in is_here and sizes.get(each.key) == each.bytes
        }
        for found in lost.values():
            ledger.add_archived(found)
    return wrong, len(lost)


@click.command()
@click.argument("what", metavar="TASK...", nargs=-1, required=True, shell_complete=complete_task)
@_trust_env_option
@wait_option
@output_format("json", "jsonl")
@common_options
def fetch(what: tuple[str, ...], trust_env: bool, wait: float, output_format: str) -> ExitCode:
    """Bring files back from the project's store, to the paths where they were.

    Give a task's name or a file's path, with * and ?. Each file is checked against its digest, and nothing is
    overwritten. `store_keep` counts from now on.

    \b
    Examples:
      callsheet fetch spin-16x9-s3
      callsheet fetch 'out/hero-*.mp4'
    """
    project = find_project(Path(), root=common().root)
    said = load_project_file(project.root)
    stores = Stores(_route(trust_env or said.trust_env))
    rows: list[JsonValue] = []
    code = ExitCode.DONE
    fetched = fetched_bytes = 0
    with project_lock(project, wait=wait, tell=console.note), reading(project) as ledger:
        if ledger is None:
            raise UsageError("nothing has been run for real here yet", hint="callsheet run JOB")
        files = LocalFiles(project.base)
        for row, address in _meant(ledger, project, what):
            path, why = shown_path(project.base / row.path), ""
            console.status(f"fetch: {path}")
            try:
                _bring(stores, address, row, files)
                # as old as it was: a file that seems to be written since is read again by each run
                os.utime(project.base / row.path, (time.time(), row.created_at))
            except (ObjectError, StateError) as error:
                code, why = ExitCode.TRY_AGAIN, str(error).removeprefix(f"{row.path}: ")
                console.error(printable(f"{path}: {why}"))
            else:
                fetched, fetched_bytes = fetched + 1, fetched_bytes + row.bytes
                if output_format == "text":
                    console.result(path)
            rows.append({"path": printable(row.path), "bytes": row.bytes, "error": printable(why) or None})
    if not console.for_programs(output_format, rows, {"files": rows}):
        console.summary(f"fetched {count(fetched, 'file')}, {size(fetched_bytes)}")
    return code


def _route(trust_env: bool) -> Route:
    return find_route(os.environ, trust_env=trust_env)


def _bring(stores: Stores, address: str | None, row: OutputRow, files: LocalFiles) -> None:
    if address is None:
        raise ObjectError(
            ObjectTrouble.MISSING,
            "is neither here nor in a store",
            hint="`callsheet archive --check` looks for it there; `callsheet run` fetches it again while the"
            " service has it",
        )
    bring(stores, address, filed(row), files)


def _meant(
    ledger: LedgerReader, project: Project, what: Sequence[str]
) -> Iterator[tuple[OutputRow, str | None]]:
    """The files that are meant and not here, with the addresses of their copies. Raises UsageError for a word
    that means none.
    """
    standing = ledger.standing_outputs()
    stored = ledger.stored(standing)
    names = {row.identity: "" for row in standing}
    for identity in names:
        task = ledger.task(identity)
        names[identity] = task.name if task is not None else ""
    chosen: dict[str, OutputRow] = {}
    for word in what:
        below = os.path.relpath(Path(word).expanduser().absolute(), project.base)
        found = [
            row
            for row in standing
            if any(fnmatch.fnmatchcase(row.path, each) for each in (word, below))
            or fnmatch.fnmatchcase(names[row.identity], word)
        ]
        if not found:
            near = did_you_mean(word, [*names.values()]) or "`callsheet status` lists the tasks of a run"
            raise UsageError(f"{word}: not a task or a file that is known here", hint=near)
        chosen |= {row.path: row for row in found}
    files = LocalFiles(project.base)
    for row in chosen.values():
        if files.stat(project.base / row.path) is not None:
            continue  # here already, or somebody's own by now
        yield row, stored[row.sha256].address if row.sha256 in stored else None
