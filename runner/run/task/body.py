"""What is sent for a task: its request, the bytes of its inputs, and what the task before it made."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import NothingSentError, UsageError
from runner.http.verdicts import ProviderError
from runner.job.expressions.expressions import LAST_FRAME, OUTPUT, TASK_ID
from runner.job.files.object_inputs import OBJECTS, read_object, remembered
from runner.json_value import JsonValue
from runner.lane.submit import MadeBody
from runner.lane.uploads import Uploads, rehearsed, signed
from runner.ledger.read import LedgerReader
from runner.ledger.rows import OutputRow
from runner.ledger.states import TaskState
from runner.objects.address import ObjectAddress, is_object
from runner.objects.store import ObjectError, ObjectTrouble
from runner.plan.task import STEP_SCHEME, Task, Upstream
from runner.providers.base import INPUT_SCHEME, InputFile, RemoteFileKind
from runner.run.task.session import Session, Tools
from runner.run.task.webhook import signed_by
from runner.run.wholeness import is_whole
from runner.store.inputs import InputStore

_KINDS = {LAST_FRAME: RemoteFileKind.LAST_FRAME, OUTPUT: RemoteFileKind.VIDEO}
_MEDIA_TYPES = {LAST_FRAME: "image/png", OUTPUT: "video/mp4"}


@dataclass(frozen=True, slots=True)
class Resolved:
    """`task` as it is sent; `taken` says what of its upstreams went into that, None where nothing did."""

    task: Task
    taken: Mapping[str, JsonValue] | None = None


def resolve(task: Task, reader: LedgerReader, base: Path) -> Resolved:
    """Replaces the references to upstream tasks by files and ids.

    The identity stays: it was made with the references. Raises NothingSentError.
    """
    used = [upstream for upstream in task.upstreams if upstream.uses]
    if not used:
        return Resolved(task)
    values: dict[str, str] = {}
    files: list[InputFile] = []
    taken = [_take(task, upstream, reader, base, values, files) for upstream in used]
    request = {name: _replaced(value, values) for name, value in task.request.items()}
    sent = replace(task, request=request, inputs=(*task.inputs, *files))
    return Resolved(sent, _as_one(taken))


def _take(
    task: Task,
    upstream: Upstream,
    reader: LedgerReader,
    base: Path,
    values: dict[str, str],
    files: list[InputFile],
) -> dict[str, JsonValue]:
    """Adds what `task` takes of `upstream` to `values`, by reference, and to `files`; gives its record."""
    attempt = reader.standing_attempts([upstream.identity]).get(upstream.identity)
    if attempt is None or attempt.state is not TaskState.DONE or attempt.remote_id is None:
        raise NothingSentError(f"{task.name}: {upstream.name}, on which it builds, is not done")
    taken: dict[str, JsonValue] = {"attempt": attempt.id, "remote_id": attempt.remote_id}
    for name in sorted(upstream.uses):
        if name == TASK_ID:
            values[upstream.reference(name)] = attempt.remote_id
            continue
        rows = reader.outputs([upstream.identity]).get(upstream.identity, [])
        own = [row for row in rows if row.attempt_id == attempt.id]
        file = _file(task, upstream, name, own, reader, base)
        files.append(file)
        taken[name] = {"path": file.path.relative_to(base).as_posix(), "sha256": file.sha256}
        values[upstream.reference(name)] = file.reference
    return taken


def _as_one(taken: list[dict[str, JsonValue]]) -> dict[str, JsonValue]:
    return taken[0] if len(taken) == 1 else {"tasks": [*taken]}


def _file(
    task: Task, upstream: Upstream, name: str, rows: list[OutputRow], reader: LedgerReader, base: Path
) -> InputFile:
    fitting = [row for row in rows if row.kind is _KINDS[name]]
    stored = reader.stored(fitting)
    for row in fitting:
        if row.sha256 in stored or is_whole(row, base):
            address = stored[row.sha256].address if row.sha256 in stored else ""
            media_type, path = _MEDIA_TYPES[name], base / row.path
            return InputFile(row.sha256, media_type, row.bytes, path, stored=address)
    wanted = fitting[0].path if fitting else f"the {name} of step {upstream.step}"
    raise NothingSentError(
        f"{task.name}: {wanted} is not there, or not as it was, and this task begins with it",
        hint="put the file back as it was, or `callsheet run` again: it fetches the file once more while the"
        " service has it",
    )


def _replaced(value: JsonValue, values: Mapping[str, str]) -> JsonValue:
    if isinstance(value, str):
        return values.get(value, value) if value.startswith(STEP_SCHEME) else value
    if isinstance(value, Mapping):
        return {name: _replaced(part, values) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(part, values) for part in value]
    return value


async def put_inputs(session: Session, task: Task) -> None:
    """Puts the inputs of a task at the service where that wants them there first, which costs nothing.

    Raises NothingSentError.
    """
    names_objects = any(map(is_object, task.addresses.values()))
    if session.lane.provider.takes_uploads or session.tools.has_uploads or names_objects:
        await _addresses(session, await _resolved(session, task))


async def make_body(session: Session, task: Task, tag: int | None, attempt_id: str) -> MadeBody:
    """Raises NothingSentError where an input, or what the task before it made, is not as it was."""
    tools, provider = session.tools, session.lane.provider
    resolved = await _resolved(session, task)
    callback_url = tools.hints.callback_url(attempt_id, signed_by(session.lane)) if tools.hints else None
    inputs = InputStore(tools.project.inputs_dir, tools.stores)
    make = functools.partial(
        provider.body,
        resolved.task.request,
        resolved.task.inputs,
        inputs.read,
        tag=tag,
        callback_url=callback_url,
        addresses=await _addresses(session, resolved),
    )
    body = await tools.machine.threads.run(make) if resolved.task.inputs else make()
    return MadeBody(body, resolved.taken)


async def _resolved(session: Session, task: Task) -> Resolved:
    tools = session.tools
    if not task.upstreams:
        return Resolved(task)
    return await tools.commits.read(lambda reader: resolve(task, reader, tools.project.base))


async def _addresses(session: Session, resolved: Resolved) -> dict[str, str]:
    """The address of each reference in the request that is not sent as its bytes. Raises NothingSentError."""
    tools, task = session.tools, resolved.task
    found = dict(task.addresses)
    uploads, files = _uploads(session, task)
    store = InputStore(tools.project.inputs_dir, tools.stores)

    async def read(file: InputFile) -> bytes:
        return await tools.machine.threads.run(store.read, file)

    for reference, address in task.addresses.items():
        if is_object(address):
            found[reference] = await _address_of_object(session, task, reference, address)
    for file in files:
        try:
            found[file.reference] = await uploads.url(file, read)
        except ProviderError as error:
            raise NothingSentError(
                f"{task.name}: {file.path} cannot be uploaded: {error.message}; nothing was sent",
                hint="`callsheet run` again: uploads cost nothing",
            ) from error
    return found


def _uploads(session: Session, task: Task) -> tuple[Uploads, tuple[InputFile, ...]]:
    """Where a task's files go before it is submitted, and which of them do."""
    lane = session.lane
    if lane.provider.takes_uploads:
        return lane.uploads, task.inputs
    life = lane.provider.input_life(task.request)
    put = rehearsed if lane.object_uploads is None else functools.partial(lane.object_uploads.put, life)
    files = lane.provider.by_address(task.request, task.inputs) if session.tools.has_uploads else ()
    return Uploads(put, session.tools.machine.random, kept=0.0), files


async def _address_of_object(session: Session, task: Task, reference: str, address: str) -> str:
    """The address by which the service reads an object of the job's. Raises NothingSentError."""
    tools = session.tools
    if tools.project.is_rehearsal:
        return f"https://uploads.invalid/{ObjectAddress.parse(address).key}"
    life = session.lane.provider.input_life(task.request)
    try:
        return await tools.machine.threads.run(_signed_object, tools, reference, address, life)
    except (ObjectError, ProviderError, UsageError) as error:
        raise NothingSentError(
            f"{task.name}: {address} cannot be given to the service: {error.message}; nothing was sent",
            hint="`callsheet run` again, once that is mended",
        ) from error


def _signed_object(tools: Tools, reference: str, address: str, life: float) -> str:
    at = ObjectAddress.parse(address)
    store = tools.stores.of(at)
    facts = store.facts(at.key)
    if facts is None:
        raise ObjectError(ObjectTrouble.MISSING, "there is no such object")
    known = remembered(tools.project.state_dir / OBJECTS).get(address)
    # what the job says itself of an object that was never read is believed
    if known is not None and reference.startswith(INPUT_SCHEME):
        if (known.etag, known.size) != (facts.etag, facts.size):
            known = read_object(store, at.key, facts)
        if reference != INPUT_SCHEME + known.sha256:
            raise ObjectError(ObjectTrouble.CHANGED, "it has changed since the job was planned")
    return signed(store, at.key, life)
