"""One cell to one Task: the request resolved and checked, its identity, name and output path."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from runner.errors import Problem
from runner.job.cells import CellText, how_to_write, is_text, typed
from runner.job.choices import providers_of
from runner.job.expressions.expressions import NEEDS, PREVIOUS, Scope
from runner.job.files.inputs import FILES, InputError, InputReader, name_of_digest, name_of_key, resolve_url
from runner.job.model import BUILT_IN, MODEL, SAMPLE, SEED, AxisSpec, ContentItem, Job, Reference, Step
from runner.job.problems import Checked, InvalidValueError, ProblemError, require
from runner.job.provider_checks import check_content, settable
from runner.job.schema import check_field, check_request, takes_several
from runner.job.seeds import SeedError, check_seed, derived_seed, sent_seed
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location, Path
from runner.json_value import JsonValue
from runner.objects.address import is_object
from runner.plan.cost import Estimate, estimate
from runner.plan.matrix import Cell
from runner.plan.names import cell_label, identifying_part, output_name, task_name
from runner.plan.picks import Lineage
from runner.plan.task import STEP_SCHEME, Task, Upstream, cells_of, task_identity
from runner.providers.account import Account
from runner.providers.base import INPUT_SCHEME, InputFile
from runner.providers.dialect import CannotSayError
from runner.providers.provider import Provider
from runner.slug import slug

_STAND_IN: Mapping[str, JsonValue] = {"text": "text", "draft_task": {"id": ""}}


class _Address(NamedTuple):
    """`name` stands for `url` in the request; `location` is the item's."""

    name: str
    url: str
    location: Location


@dataclass(frozen=True, slots=True)
class _Item:
    """A content item as the request has it, and the local file or the address that it refers to."""

    data: dict[str, JsonValue]
    file: InputFile | None = None
    address: _Address | None = None


class StepBuilder:
    """Builds the tasks of one step: those of each account by a builder of their own.

    `problems` are what is wrong whatever the cell; where there are any, no task is fit to be used.
    """

    def __init__(
        self, job: Job, step: Step, *, origins: Mapping[str, str], edition: str, scope: Scope
    ) -> None:
        self._own = next(iter(job.accounts))
        self._accounts = {choice.name: choice.account for choice in step.models}
        named = self._accounts.values()
        self._builders = {
            name: TaskBuilder(job, step, account, origin=origins[name], edition=edition, scope=scope)
            for name, account in job.accounts.items()
            if name in named or name == self._own
        }
        used = [builder for name, builder in self._builders.items() if name in named]
        self.problems = tuple(dict.fromkeys(problem for builder in used for problem in builder.problems))

    def of(self, cell: Mapping[str, JsonValue]) -> TaskBuilder:
        """The builder of the task of `cell`: a model that only `include` names is asked at the job's own
        account.
        """
        return self._builders[self._accounts.get(str(cell[MODEL]), self._own)]


class TaskBuilder:
    """Builds the tasks of one step that one account pays for. What no cell changes is computed once, in the
    constructor.

    `problems` are what is wrong with that; where there are any, no task is fit to be used.
    """

    def __init__(
        self, job: Job, step: Step, account: Account, *, origin: str, edition: str, scope: Scope
    ) -> None:
        self._job = job
        self._step = step
        self._account = account
        self._provider = account.provider
        self._ids = {choice.name: choice.id for choice in step.models}
        self._origin = origin
        self._edition = edition
        self._scope = {**scope, "step": {"name": step.name}}
        self._slug = slug(step.name)
        self._locations = {axis.name: axis.location for axis in step.axes}
        self._defaults = self._provider.defaults
        self._reader = InputReader(
            job.root,
            job.directory,
            self._provider.limits.files,
            has_uploads=bool(job.project_file.uploads),
            objects=job.object_inputs,
        )
        self._written = fields_at(step, account)
        # by the name that is written, the service's own
        self._own_names = {name: self._provider.own_name(name) for name in self._provider.settable}
        elsewhere = settable(providers_of(step.models, job.accounts))
        self._unsaid_axes = elsewhere - self._own_names.keys()
        self._unsaid: tuple[str, ...] = ()
        self._lacks: dict[str, frozenset[str]] = {}
        self._shapes: set[tuple[frozenset[str], tuple[JsonValue, ...]]] = set()
        self._constant: dict[str, JsonValue] = {}
        self._computed: dict[str, Value] = {}
        self._content: list[ContentItem | _Item] = []
        self._conditions = {
            number: item.when for number, item in enumerate(step.content) if item.when is not None
        }
        self._left_out: set[frozenset[int]] = set()
        self.problems = (*self._fold_fields(), *self._fold_content())

    def build(self, index: int, cell: Cell, upstreams: tuple[Upstream, ...] = ()) -> Task:
        """The task of `cell` that builds on `upstreams`, the same each time. Raises ProblemError."""
        scope = {**self._scope, **cell, "index": index}
        above: Lineage = {}
        if upstreams:
            above = cells_of(tuple(each for each in upstreams if each.step != self._step.name))
            scope[NEEDS] = above
            for each in upstreams:
                if each.step == self._step.name:
                    scope[PREVIOUS] = each.cells[each.step]
        left_out = self._without(cell, scope)
        model = self._ids.get(str(cell[MODEL]), str(cell[MODEL]))
        fields, items = require(self._resolve(model, cell, scope, upstreams, left_out))
        unsaid = self._without_unsaid(model, cell, fields)
        try:
            request = self._provider.dialect.request(fields, [item.data for item in items])
        except CannotSayError as error:
            refusal = error.refusal
            location = self._location(refusal.path, left_out, cell)
            raise ProblemError(location.error(refusal.message, refusal.hint)) from None
        self._check_shape(request, tuple(item.data.get("role") for item in items), left_out)

        sample = cell.get(SAMPLE)
        assert sample is None or isinstance(sample, int)
        honours_seed = self._provider.honours_seed(model)
        if sample is not None and honours_seed and self._provider.own_name(SEED, model):
            request[SEED] = derived_seed(self._provider, request, sample)
        cost = self._estimate(model, request)
        identity = task_identity(
            provider=self._provider,
            origin=self._origin,
            request=request,
            sample=sample,
            edition=self._edition,
        )
        ignored_seed = request.get(SEED) if honours_seed is False else None
        request = _sent(request, is_derived=sample is not None, is_ignored=ignored_seed is not None)
        seed = request.get(SEED)
        cell_name = self.cell_name(cell, above)
        template = self._step.output
        output = self._own_output(cell_name) if template is None else template.render(scope)
        return Task(
            identity=identity,
            index=index,
            step=self._step.name,
            name=cell_name if template is None else output_name(output),
            cell=cell,
            provider=self._provider.name,
            origin=self._origin,
            edition=self._edition,
            model=model,
            seed=seed if isinstance(seed, int) else None,
            sample=sample,
            ignored_seed=ignored_seed if isinstance(ignored_seed, int) else None,
            cell_name=cell_name,
            request=request,
            inputs=tuple(dict.fromkeys(item.file for item in items if item.file is not None)),
            output=output,
            upstreams=upstreams,
            addresses=_addresses(items),
            estimate_tokens=cost.tokens,
            estimate_micros=cost.micros,
            price=cost.price,
            left_out=left_out,
            account=self._account.name,
            model_name=str(cell[MODEL]),
            unsaid=unsaid,
        )

    def as_final_of(self, task: Task, draft: Task) -> Task:
        """`task` with the estimate of a final: its size and length are those of its `draft`."""
        cost = self._estimate(task.model, task.request, draft.request)
        return replace(
            task, estimate_tokens=cost.tokens, estimate_micros=cost.micros, price=cost.price or task.price
        )

    def _estimate(
        self, model: str, request: Mapping[str, JsonValue], draft: Mapping[str, JsonValue] | None = None
    ) -> Estimate:
        own = self._step.price or self._job.project_file.price_of(model)
        published = self._job.models_lock.rates(self._provider.name, model)
        return estimate(self._provider, request, own, published, draft)

    def _without_unsaid(self, model: str, cell: Cell, fields: dict[str, JsonValue]) -> tuple[str, ...]:
        """Takes out of `fields` what this model of the service lacks; gives all that the job says of the cell
        and that is not sent, by the names that it has there.
        """
        lacks = self._lacks.get(model)
        if lacks is None:
            lacks = self._lacks[model] = self._provider.dialect.lacks(model)
        unsaid = self._unsaid
        if self._unsaid_axes:
            unsaid += tuple(name for name in cell if name in self._unsaid_axes and cell[name] is not None)
        for own in lacks & fields.keys():
            del fields[own]
            names = (*self._written, *cell)
            unsaid += (next((name for name in names if self._own_names.get(name) == own), own),)
        return unsaid

    def _resolve(
        self, model: str, cell: Cell, scope: Scope, upstreams: tuple[Upstream, ...], left_out: frozenset[int]
    ) -> Checked[tuple[dict[str, JsonValue], list[_Item]]]:
        """(the fields of the request, its content) for one cell."""
        fields: dict[str, JsonValue] = {MODEL: model, **self._constant}
        is_first = self._step.chain and PREVIOUS not in scope
        for name, computed in self._computed.items():
            if name not in cell and not (is_first and PREVIOUS in computed.names):
                try:
                    value = computed.evaluate(scope)
                except ProblemError as error:
                    yield from (self._in_row(problem, computed.names, cell) for problem in error.problems)
                else:
                    for problem in self._set(fields, name, value, computed.location):
                        yield self._in_row(problem, computed.names, cell)
        for name, value in cell.items():
            # the axis `seed`, too, sets the field of its name
            if name in self._own_names:
                location = self._locations.get(name, self._step.takes_location)
                for problem in self._set(fields, name, value, location):
                    yield self._in_row(problem, {name}, cell)
        items: list[_Item] = []
        for number, item in enumerate(self._content):
            if number in left_out:
                continue
            try:
                items.append(item if isinstance(item, _Item) else self._item(item, scope, upstreams))
            except ProblemError as error:
                names = item.names if isinstance(item, ContentItem) else frozenset[str]()
                yield from (self._in_row(problem, names, cell) for problem in error.problems)
        if self._conditions and left_out not in self._left_out:
            self._left_out.add(left_out)
            there = self._there(left_out)
            location = next(iter(self._conditions.values())).location
            if not there:
                yield location.error("no content is left", "give one item no `when`")
            yield from check_content(self._provider, there, location)
        return fields, items

    def _without(self, cell: Cell, scope: Scope) -> frozenset[int]:
        """The numbers of the content items that `when` leaves out, and of those that use the task before this
        one where there is none. Raises ProblemError.
        """
        is_first = bool(self._step.chain) and PREVIOUS not in scope
        left_out = {
            number for number, item in enumerate(self._step.content) if is_first and item.uses_previous
        }
        for number, when in self._conditions.items():
            try:
                if number not in left_out and not when.holds(scope):
                    left_out.add(number)
            except ProblemError as error:
                raise ProblemError(
                    *(self._in_row(problem, when.names, cell) for problem in error.problems)
                ) from None
        return frozenset(left_out)

    def _there(self, left_out: frozenset[int]) -> list[ContentItem]:
        """The content items that a cell has."""
        return [item for number, item in enumerate(self._step.content) if number not in left_out]

    def _location(self, path: Path, left_out: frozenset[int], cell: Cell | None = None) -> Location:
        return request_location(self._account, self._step, path, cell, left_out=left_out)

    def _in_row(self, problem: Problem, names: Set[str], cell: Cell) -> Problem:
        """`problem` at the row of a file that the cell has one of `names` from, unless it is told there."""
        rows = (row_location(axis, cell) for axis in self._step.axes if axis.name in names)
        row = next((row for row in rows if row is not None), None)
        if row is None or problem.file == row.file:
            return problem
        return replace(problem, file=row.file, line=row.line, column=row.column)

    def cell_name(self, cell: Cell, above: Lineage) -> str:
        """The readable name of `cell` below those of `above`; several may have it."""
        cells = {self._step.name: cell, **above}
        are_joined = any(self._job.steps[step].joins for step in cells)
        labels: list[str] = []
        told: dict[str, JsonValue] = {}
        for step, values in reversed(cells.items()):
            shown = values
            if are_joined:  # the axes that its steps share stand in the name once
                shown = {axis: value for axis, value in values.items() if not _is_told(axis, value, told)}
                told |= {axis: identifying_part(value) for axis, value in values.items()}
            spec = self._job.steps[step]
            given = frozenset(choice.name for choice in spec.models if not choice.is_plain)
            labels.append(cell_label(shown, with_model=len(spec.models) > 1, given=given))
        return task_name((self._slug, *labels), default=self._job.name)

    def with_digits(self, task: Task) -> Task:
        """`task` with digits of the identity after its cell's name, and so in its own path."""
        cell_name = f"{task.cell_name}-{task.identity[:8]}"
        if self._step.output is not None:
            return replace(task, cell_name=cell_name)
        return replace(task, cell_name=cell_name, name=cell_name, output=self._own_output(cell_name))

    def _own_output(self, name: str) -> str:
        """Where a task goes whose job file does not say."""
        folder, step = slug(self._job.name) or "job", self._slug
        if step:
            return f"out/{folder}/{step}/{name.removeprefix(f'{step}-')}.mp4"
        return f"out/{folder}/{name}.mp4"

    def _fold_fields(self) -> Checked[None]:
        """Computes the fields that no cell changes."""
        for name, value in self._written.items():
            try:
                folded = value.fold(self._scope)
            except ProblemError as error:
                yield from error.problems
                continue
            if name not in self._own_names:
                is_null = isinstance(folded.content, Constant) and folded.content.value is None
                self._unsaid += () if is_null else (name,)
            elif isinstance(folded.content, Constant):
                yield from self._set(self._constant, name, folded.content.value, folded.location)
            else:
                self._computed[name] = folded

    def _fold_content(self) -> Checked[None]:
        """Resolves the content items that no cell changes."""
        for item in self._step.content:
            if not item.names <= self._scope.keys():
                self._content.append(item)
                continue
            try:
                self._content.append(self._item(item, self._scope, ()))
            except ProblemError as error:
                yield from error.problems
                self._content.append(_stand_in(item))

    def _set(
        self, request: dict[str, JsonValue], name: str, value: JsonValue, location: Location
    ) -> Checked[None]:
        """Puts one field into `request` under the service's name, in its one form; null and the API's own
        default are left out.
        """
        name = self._own_names[name]
        if isinstance(value, CellText):
            schema = self._provider.schema["properties"].get(name, {})
            read = typed(value, schema)
            if isinstance(read, str) and not is_text(schema):
                yield value.location.error(*how_to_write(value, schema))
                return
            location, value = value.location, read
        plain = int(value) if isinstance(value, float) and value.is_integer() else value
        plain = self._provider.dialect.value(name, plain)
        if plain is None or (name in self._defaults and plain == self._defaults[name]):
            request.pop(name, None)
        else:
            request[name] = plain
            yield from self._check_field(name, plain, location)

    def _check_field(self, name: str, value: JsonValue, location: Location) -> Checked[None]:
        if name == SEED and type(value) is int:
            # without the schema: seeds differ from task to task, so remembering would not help
            try:
                check_seed(value)
            except SeedError as error:
                yield error.at(location)
        elif isinstance(value, list | tuple | dict) and not takes_several(self._provider, name):
            yield location.error(f"{name} needs one value, and this is {_kind(value)}")
        else:
            for problem in check_field(self._provider, name, value)[:1]:
                yield location.error(problem.message, problem.hint)

    def _item(self, item: ContentItem, scope: Scope, upstreams: tuple[Upstream, ...]) -> _Item:
        """Raises ProblemError."""
        file: InputFile | None = None
        address: _Address | None = None
        payload: JsonValue
        if isinstance(item.payload, Reference):
            upstream = next(each for each in upstreams if each.step == item.payload.step)
            key = "id" if item.kind == "draft_task" else "url"
            payload = {key: upstream.reference(item.payload.output)}
        else:
            payload, file = self._payload(item.kind, item.payload, scope)
            name = _name_of(item, scope, payload, file) if isinstance(payload, dict) else ""
            if isinstance(payload, dict) and not name and is_object(str(payload.get("url"))):
                name = self._name_of_object(str(payload["url"]), item.payload.location)
            if isinstance(payload, dict) and name:
                address = _Address(name, str(payload["url"]), item.location)
                payload = {"url": name}
        data: dict[str, JsonValue] = {"type": item.kind, item.kind: payload}
        role = item.role.evaluate(scope) if item.role is not None else None
        if item.role is not None and role is not None:
            if not isinstance(role, str):
                raise ProblemError(item.role.location.error(f"role needs a word, and this is {_kind(role)}"))
            data["role"] = str(role)
        return _Item(data, file, address)

    def _payload(self, kind: str, written: Value, scope: Scope) -> tuple[JsonValue, InputFile | None]:
        location = written.location
        value = written.evaluate(scope)
        if isinstance(value, CellText):
            location, value = value.location, str(value)
        if not isinstance(value, str):
            raise ProblemError(location.error(f"{kind} needs text, and this is {_kind(value)}"))
        if not value.strip():
            raise ProblemError(location.error(f"{kind} is empty"))
        if kind == "text":
            # NFC: the same letters typed on another system are the same prompt, and are not paid twice
            return unicodedata.normalize("NFC", value), None
        if kind not in FILES:
            if value.startswith(STEP_SCHEME):
                raise ProblemError(location.error("not the id of a task", "${{ needs.<step>.task_id }}"))
            return {"id": value}, None
        file = resolve_url(value, kind, location, provider=self._provider, reader=self._reader)
        return {"url": file.reference if file is not None else value}, file

    def _name_of_object(self, url: str, location: Location) -> str:
        """What stands for an object without a name of the job's. Raises ProblemError."""
        assert self._reader.objects is not None
        try:
            return self._reader.objects.name(url)
        except InvalidValueError as error:
            raise ProblemError(error.at(location)) from None

    def _check_shape(
        self, request: Mapping[str, JsonValue], roles: tuple[JsonValue, ...], left_out: frozenset[int]
    ) -> None:
        """The rules between fields, and between content items, once for each shape that occurs."""
        shape = (frozenset(request), roles)
        if shape in self._shapes or self.problems:
            return
        self._shapes.add(shape)
        found = [
            self._location(problem.path, left_out).error(problem.message, problem.hint)
            for problem in check_request(self._provider, dict(request))
        ]
        if found:
            self._shapes.discard(shape)
            raise ProblemError(*found)


def _sent(request: dict[str, JsonValue], *, is_derived: bool, is_ignored: bool) -> dict[str, JsonValue]:
    """The request as it is sent, while the identity has the whole seed.

    A derived seed goes out in its lower 31 bits, and none where the model ignores it.
    """
    seed = request.get(SEED)
    if is_ignored:
        return {name: value for name, value in request.items() if name != SEED}
    return {**request, SEED: sent_seed(seed)} if is_derived and isinstance(seed, int) else request


def _name_of(
    item: ContentItem, scope: Scope, payload: Mapping[str, JsonValue], file: InputFile | None
) -> str:
    """What stands for the item's address in its request; empty where the address itself does.

    Raises ProblemError.
    """
    for written, name_of in ((item.key, name_of_key), (item.sha256, name_of_digest)):
        value = written.evaluate(scope) if written is not None else None
        if written is None or value is None:
            continue
        url = str(payload.get("url"))
        if file is not None or not (url[:8].casefold() == "https://" or is_object(url)):
            told = "only an https address needs a name: a file is known by its bytes"
            raise ProblemError(written.location.error(told, "delete this line"))
        try:
            return name_of(value)
        except InputError as error:
            raise ProblemError(error.at(written.location)) from None
    return ""


def _stand_in(item: ContentItem) -> _Item:
    """For an item that cannot be read: without its type and role others would seem wrong as well."""
    data: dict[str, JsonValue] = {"type": item.kind, item.kind: _STAND_IN.get(item.kind, {"url": ""})}
    if item.role is not None and isinstance(item.role.content, Constant):
        data["role"] = item.role.content.value
    return _Item(data)


def _addresses(items: list[_Item]) -> dict[str, str]:
    """The addresses that are given by name. Raises ProblemError where two have one name."""
    found: dict[str, str] = {}
    for address in (item.address for item in items):
        if address is None or (is_object(address.url) and address.name.startswith(INPUT_SCHEME)):
            # two objects may have one content
            found |= {} if address is None else {address.name: address.url}
        elif found.setdefault(address.name, address.url) != address.url:
            told = "another address has the same name"
            raise ProblemError(address.location.error(told, "give each its own"))
    return found


def _is_told(axis: str, value: JsonValue, told: Mapping[str, JsonValue]) -> bool:
    """Whether an axis that is not a take has this value in a label before."""
    return axis not in BUILT_IN and axis in told and told[axis] == identifying_part(value)


def _kind(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return f"`{value}`"
    return "an object" if isinstance(value, dict) else "a list"


def fields_at(step: Step, account: Account) -> dict[str, Value]:
    """What `request` says to an account, and what `request_at` says in its place: to its provider, to it."""
    own_name, fields = account.provider.own_name, dict(step.request)
    for place in dict.fromkeys((account.provider.name, account.name)):
        for name, value in step.request_at.get(place, {}).items():
            own = own_name(name)
            fields = {other: each for other, each in fields.items() if not own or own_name(other) != own}
            fields[name] = value
    return fields


def request_location(
    account: Account,
    step: Step,
    path: Path,
    cell: Mapping[str, JsonValue] | None = None,
    *,
    left_out: Set[int] = frozenset(),
) -> Location:
    """The place that a person has to change for what stands at `path` in the request of `cell`: the row of a
    file where an axis has its values from there.

    `left_out` are the numbers of content items that the request does not have.
    """
    provider = account.provider
    match path:
        case (str(name), *rest) if name in provider.content_fields or name == "content":
            items = [item for number, item in enumerate(step.content) if number not in left_out]
            item, part = _content_item(provider, items or [*step.content], name, rest)
            rows = _rows(step, item.names, cell)
            return next(rows, item.location_of(part) if part else item.location)
        case ("model",):
            choice = step.choice(str(cell[MODEL])) if cell else None
            return step.takes_location if choice is None else choice.location
        case (str(name), *_):
            fields = fields_at(step, account)
            value = fields.get(_as_written(provider, name, fields))
            if value is not None:
                return next(_rows(step, value.names, cell), value.location)
            return _axis_location(step, _as_written(provider, name, [axis.name for axis in step.axes]), cell)
    return step.content[0].location


def _as_written(provider: Provider, name: str, names: Iterable[str]) -> str:
    """The one of `names` that sets the field `name`; `name` itself where none does."""
    own, known = provider.own_name(name), list(names)
    if name in known or not own:
        return name
    return next((each for each in known if provider.own_name(each) == own), name)


def _content_item(
    provider: Provider, content: Sequence[ContentItem], name: str, rest: list[str | int]
) -> tuple[ContentItem, str]:
    """(an item of the field `name`, which holds items of one kind, all items, or a text; the part of it)."""
    kind = provider.content_fields.get(name, "")
    items = [item for item in content if kind in ("", item.kind)]
    number = rest[0] if rest else 0
    if not isinstance(number, int) or number >= len(items):
        return content[0], ""
    is_alone = provider.schema["properties"].get(name, {}).get("type") == "string"
    return items[number], kind if is_alone else "".join(map(str, rest[1:2]))


def _rows(step: Step, names: Set[str], cell: Mapping[str, JsonValue] | None) -> Iterator[Location]:
    """The rows of files that `cell` has the axes of these names from."""
    for axis in step.axes if cell else ():
        if axis.name in names and cell and (row := row_location(axis, cell)) is not None:
            yield row


def row_location(axis: AxisSpec, cell: Mapping[str, JsonValue]) -> Location | None:
    """The row of a file that the cell has this axis from; None where the axis is written in the job file."""
    if not axis.is_from_file:
        return None
    value = cell.get(axis.name)
    return next((row.location for row in axis.values if row.content == Constant(value)), None)


def _axis_location(step: Step, name: str, cell: Mapping[str, JsonValue] | None) -> Location:
    """The location of the value that an axis gives the cell, else of the axis, else of the takes."""
    axis = next((axis for axis in step.axes if axis.name == name), None)
    if axis is None:
        return step.takes_location
    value = cell.get(name) if cell else None
    own = (item.location for item in axis.values if item.content == Constant(value))
    return axis.location if value is None else next(own, axis.location)
