"""One cell to one Task: the request resolved and checked, its identity, name and output path."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

from runner.errors import Problem
from runner.job.content import FILES, resolve_url
from runner.job.cost import estimate
from runner.job.expressions import NEEDS, Scope
from runner.job.inputs import InputReader
from runner.job.matrix import MODEL, SAMPLE, SEED, Cell
from runner.job.model import ContentItem, Job, Reference, Step
from runner.job.problems import ProblemError
from runner.job.schema import check_field, check_request
from runner.job.seeds import SeedError, check_seed, derived_seed, sent_seed
from runner.job.task import STEP_SCHEME, Task, Upstream, task_identity
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location
from runner.json_value import JsonValue
from runner.plan.locations import request_location
from runner.plan.names import cell_label, task_name
from runner.plan.stages import Chain
from runner.providers.base import InputFile
from runner.providers.dialect import CannotSayError, RequestPath
from runner.slug import slug

_STAND_IN: Mapping[str, JsonValue] = {"text": "text", "draft_task": {"id": ""}}


@dataclass(frozen=True, slots=True)
class _Item:
    """A content item with what does not depend on the cell computed; `data` where nothing does."""

    spec: ContentItem
    data: dict[str, JsonValue] | None
    input: InputFile | None


class TaskBuilder:
    """Builds the tasks of one step. What no cell changes is computed once, in the constructor.

    `problems` are what is wrong with that; where there are any, no task is fit to be used.
    """

    def __init__(
        self,
        job: Job,
        step: Step,
        *,
        origin: str,
        edition: str,
        scope: Scope,
    ) -> None:
        self._job = job
        self._step = step
        self._origin = origin
        self._edition = edition
        self._scope = {**scope, "step": {"name": step.name}}
        self._slug = slug(step.name)
        self._locations = {axis.name: axis.location for axis in step.axes}
        self._fields = job.provider.fields
        self._defaults = job.provider.defaults
        self._reader = InputReader(job.root, job.directory)
        self._shapes: set[tuple[frozenset[str], tuple[JsonValue, ...]]] = set()
        self._constant: dict[str, JsonValue] = {}
        self._computed: dict[str, Value] = {}
        self._content: list[_Item] = []
        self.problems = tuple(self._fold())

    def _fold(self) -> Iterator[Problem]:
        for name, value in self._step.request.items():
            try:
                folded = value.fold(self._scope)
            except ProblemError as error:
                yield from error.problems
                continue
            if isinstance(folded.content, Constant):
                yield from self._set(self._constant, name, folded.content.value, folded.location)
            else:
                self._computed[name] = folded
        for spec in self._step.content:
            try:
                item = self._fold_item(spec)
            except ProblemError as error:
                yield from error.problems
                item = self._stand_in(spec)
            self._content.append(item)

    def build(self, index: int, cell: Cell, upstream: Upstream | None = None) -> Task:
        """The task of `cell` that needs that of `upstream`, the same each time. Raises ProblemError."""
        scope = {**self._scope, **cell, "index": index}
        if upstream is not None:
            scope[NEEDS] = upstream.cells
        model = str(cell[MODEL])
        request: dict[str, JsonValue] = {MODEL: model, **self._constant}
        content: list[dict[str, JsonValue]] = []
        inputs: list[InputFile] = []
        found = [
            *self._set_fields(request, cell, scope),
            *self._add_content(content, inputs, scope, upstream),
        ]
        if found:
            raise ProblemError(*found)
        try:
            request = self._job.provider.dialect.request(request, content)
        except CannotSayError as error:
            refusal = error.refusal
            raise ProblemError(self._location(refusal.path).error(refusal.message, refusal.hint)) from None
        self._check_shape(request, tuple(item.get("role") for item in content))
        return self._task(index, cell, model, request, tuple(dict.fromkeys(inputs)), scope, upstream)

    def _location(self, path: RequestPath) -> Location:
        return request_location(self._job.provider, self._step, path)

    def _set_fields(self, request: dict[str, JsonValue], cell: Cell, scope: Scope) -> Iterator[Problem]:
        """Sets the fields that expressions and axes give."""
        for name, spec in self._computed.items():
            if name not in cell:
                try:
                    value = spec.evaluate(scope)
                except ProblemError as error:
                    yield from error.problems
                else:
                    yield from self._set(request, name, value, spec.location)
        for name, value in cell.items():
            if name in self._fields:
                yield from self._set(
                    request, name, value, self._locations.get(name, self._step.takes_location)
                )

    def _add_content(
        self,
        content: list[dict[str, JsonValue]],
        inputs: list[InputFile],
        scope: Scope,
        upstream: Upstream | None,
    ) -> Iterator[Problem]:
        for item in self._content:
            try:
                content.append(self._item(item, scope, inputs, upstream))
            except ProblemError as error:
                yield from error.problems

    def name(self, cell: Cell, above: Chain) -> str:
        """The readable name of the task of `cell` below those of `above`; several may have it."""
        cells = {self._step.name: cell, **above}
        labels = (
            cell_label(values, with_model=len(self._job.steps[step].models) > 1)
            for step, values in reversed(cells.items())
        )
        return task_name((self._slug, *labels), default=self._job.name)

    def _task(
        self,
        index: int,
        cell: Cell,
        model: str,
        request: dict[str, JsonValue],
        inputs: tuple[InputFile, ...],
        scope: Scope,
        upstream: Upstream | None,
    ) -> Task:
        sample = cell.get(SAMPLE)
        assert sample is None or isinstance(sample, int)
        family = self._job.provider.catalogue.find(model)
        honours_seed = family is not None and family.honours_seed
        if sample is not None and honours_seed and SEED in self._fields:
            request[SEED] = derived_seed(self._job.provider, request, sample)
        cost = estimate(self._job.provider, request, self._step.price)
        identity = task_identity(
            provider=self._job.provider,
            origin=self._origin,
            request=request,
            sample=sample,
            edition=self._edition,
        )
        # from here on the request as it is sent; the identity keeps the seed as it always was
        ignored_seed = request.pop(SEED, None) if family is not None and not honours_seed else None
        seed = request.get(SEED)
        if sample is not None and isinstance(seed, int):
            seed = request[SEED] = sent_seed(seed)
        name = self.name(cell, upstream.cells if upstream is not None else {})
        return Task(
            identity=identity,
            index=index,
            step=self._step.name,
            name=name,
            cell=cell,
            provider=self._job.provider.name,
            origin=self._origin,
            edition=self._edition,
            model=model,
            seed=seed if isinstance(seed, int) else None,
            sample=sample,
            ignored_seed=ignored_seed if isinstance(ignored_seed, int) else None,
            request=request,
            inputs=inputs,
            output=self._own_output(name) if self._step.output is None else self._output(scope),
            upstream=upstream,
            estimate_tokens=cost.tokens,
            estimate_micros=cost.micros,
            price=cost.price,
        )

    def told_apart(self, task: Task, names: Set[str]) -> Task:
        """`task`, its name and its upstream's followed by part of the identity where they are in `names`."""
        name, upstream = _marked(task.name, task.identity, names), task.upstream
        if upstream is not None:
            upstream = replace(upstream, name=_marked(upstream.name, upstream.identity, names))
        output = self._own_output(name) if self._step.output is None else task.output
        return replace(task, name=name, output=output, upstream=upstream)

    def _own_output(self, name: str) -> str:
        """Where a task goes whose job file does not say."""
        folder, step = slug(self._job.name) or "job", self._slug
        if step:
            return f"out/{folder}/{step}/{name.removeprefix(f'{step}-')}.mp4"
        return f"out/{folder}/{name}.mp4"

    def _output(self, scope: Scope) -> str:
        assert self._step.output is not None
        return self._step.output.render(scope)

    def _set(
        self, request: dict[str, JsonValue], name: str, value: JsonValue, location: Location
    ) -> Iterator[Problem]:
        """Puts one field into `request` in its one form; null and the API's own default are left out."""
        plain = int(value) if isinstance(value, float) and value.is_integer() else value
        if plain is None or (name in self._defaults and plain == self._defaults[name]):
            request.pop(name, None)
            return
        problem = self._field_problem(name, plain, location)
        if problem is not None:
            yield problem
        request[name] = plain

    def _field_problem(self, name: str, value: JsonValue, location: Location) -> Problem | None:
        if name == SEED and type(value) is int:
            # without the schema: seeds differ from task to task, so remembering would not help
            try:
                check_seed(value)
            except SeedError as error:
                return location.error(str(error), error.hint)
            return None
        if isinstance(value, list | tuple | dict):
            return location.error(f"{name} needs one value, and this is {_kind(value)}")
        told = check_field(self._job.provider, name, value)
        return location.error(told[0].message, told[0].hint) if told else None

    def _fold_item(self, spec: ContentItem) -> _Item:
        """Raises ProblemError."""
        if isinstance(spec.payload, Reference) or not spec.payload.names <= self._scope.keys():
            return _Item(spec, None, None)
        if spec.role is not None and not spec.role.names <= self._scope.keys():
            return _Item(spec, None, None)
        data, file = self._resolve_item(spec, self._scope, None)
        return _Item(spec, data, file)

    def _stand_in(self, spec: ContentItem) -> _Item:
        """For an item that cannot be read: without its type and role others would seem wrong as well."""
        data: dict[str, JsonValue] = {"type": spec.kind, spec.kind: _STAND_IN.get(spec.kind, {"url": ""})}
        if spec.role is not None and isinstance(spec.role.content, Constant):
            data["role"] = spec.role.content.value
        return _Item(spec, data, None)

    def _item(
        self, item: _Item, scope: Scope, inputs: list[InputFile], upstream: Upstream | None
    ) -> dict[str, JsonValue]:
        data, file = (
            (item.data, item.input)
            if item.data is not None
            else self._resolve_item(item.spec, scope, upstream)
        )
        if file is not None:
            inputs.append(file)
        return data

    def _resolve_item(
        self, spec: ContentItem, scope: Scope, upstream: Upstream | None
    ) -> tuple[dict[str, JsonValue], InputFile | None]:
        file: InputFile | None = None
        payload: JsonValue
        if isinstance(spec.payload, Reference):
            assert upstream is not None
            key = "id" if spec.kind == "draft_task" else "url"
            payload = {key: upstream.reference(spec.payload.output)}
        else:
            payload, file = self._resolve_payload(spec.kind, spec.payload, scope)
        data: dict[str, JsonValue] = {"type": spec.kind, spec.kind: payload}
        role = spec.role.evaluate(scope) if spec.role else None
        if spec.role is not None and role is not None:
            if not isinstance(role, str):
                raise ProblemError(spec.role.location.error(f"role needs a word, and this is {_kind(role)}"))
            data["role"] = role
        return data, file

    def _resolve_payload(self, kind: str, spec: Value, scope: Scope) -> tuple[JsonValue, InputFile | None]:
        location = spec.location
        value = spec.evaluate(scope)
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
        file = resolve_url(value, kind, location, provider=self._job.provider, reader=self._reader)
        return {"url": file.reference if file is not None else value}, file

    def _check_shape(self, request: Mapping[str, JsonValue], roles: tuple[JsonValue, ...]) -> None:
        """The rules between fields, and between content items, once for each shape that occurs."""
        shape = (frozenset(request), roles)
        if shape in self._shapes or self.problems:
            return
        self._shapes.add(shape)
        found = [
            self._location(problem.path).error(problem.message, problem.hint)
            for problem in check_request(self._job.provider, dict(request))
        ]
        if found:
            self._shapes.discard(shape)
            raise ProblemError(*found)


def _marked(name: str, identity: str, names: Set[str]) -> str:
    return f"{name}-{identity[:8]}" if name in names else name


def _kind(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return f"`{value}`"
    return "an object" if isinstance(value, dict) else "a list"
