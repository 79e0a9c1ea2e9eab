"""Reads a job file: text, nodes, schema, then typed values; finds every problem at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import JobError, Problem
from runner.job.choices import read_accounts
from runner.job.expressions.expressions import RUN, RUN_TIME, KnownNames, has_expression
from runner.job.files.extends import read_whole
from runner.job.files.inputs import InputReader, check_inputs
from runner.job.files.object_inputs import OBJECTS, ObjectInputs, addresses_of
from runner.job.files.sources import JobCopy, Sources
from runner.job.files.texts import TextFiles
from runner.job.merge import STEPS, correct_keys
from runner.job.model import Job
from runner.job.policy import read_budget, read_lint, read_run
from runner.job.problems import Checked, Problems
from runner.job.project.environment import key_names, read_env, why_refused
from runner.job.project.load_lock import load_models_lock
from runner.job.project.load_project import load_project_file
from runner.job.project_file import ProjectFile
from runner.job.provider_checks import check_run
from runner.job.schema import check_job
from runner.job.trust import check_addresses
from runner.job.values import Value, compile_value, scalars
from runner.job.workflow import read_steps, step_keys
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import Scalar, entries_of, items_of, text_of
from runner.job.yaml.scalars import check_scalars
from runner.job.yaml.source import MAX_BYTES
from runner.project import PROJECT_FILE, STATE_DIR
from runner.providers.provider import Provider
from runner.spelling import nearest

_SUFFIXES = (".yaml", ".yml")

_NO_EXPRESSIONS = (
    "version",
    "name",
    "provider",
    "models",
    "seeds",
    "samples",
    "needs",
    "chain",
    "env",
    "api_key_env",
    "base_url",
    "run",
    "budget",
    "price",
    "lint",
)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """`environ` is the process environment; `.env` in the root adds what it lacks."""

    environ: Mapping[str, str] = field(repr=False)
    allow_env: frozenset[str] = frozenset()
    trust_job: bool = False
    provider: Provider | None = None
    """Replaces the job's own, to see what the job would lose there."""
    is_trial: bool = False
    """Whether no input is read: the text is a copy that somebody may never write."""
    is_rehearsal: bool = False
    """Whether nothing is asked of object storage."""


def load_job(
    file: Path,
    *,
    root: Path,
    options: LoadOptions | None = None,
    copy: JobCopy | None = None,
    text: bytes | None = None,
) -> Job:
    """The job in `file`, or the `copy` of it that a run keeps; the disk is not read then, but for inputs.

    `text` stands in the place of the file's own.

    Without `options` the job reads this process's environment, as far as any job may. Raises JobError
    with every problem found.
    """
    options = options or LoadOptions(os.environ)
    shown = _below(file, root)
    project_file = load_project_file(root)
    if shown == PROJECT_FILE:
        told = Problem(1, 1, "", "this is the project file, not a job", "callsheet validate callsheet.yaml")
        raise JobError(shown, [told])
    if text is None:
        text = _read(file, shown) if copy is None else copy.text
    sources = Sources(root, file.parent, None if copy is None else copy.files)
    try:
        job = _load(file, shown, root, text, sources, project_file, options)
        return replace(job, models_lock=load_models_lock(root))
    except JobError as error:
        error.files = sources.files
        raise


def _load(
    file: Path,
    shown: str,
    root: Path,
    content: bytes,
    sources: Sources,
    project_file: ProjectFile,
    options: LoadOptions,
) -> Job:
    reading = read_whole(content, sources)
    document = reading.root
    if document is None:
        raise JobError(shown, reading.problems)
    found = Problems(shown)
    accounts = found.gather(read_accounts(document, project_file, options.provider))
    providers = tuple(dict.fromkeys(account.provider for account in accounts.values()))
    wrong = check_job(document, providers)
    problems = Problems(shown, earlier=reading.problems, schema=check_scalars(document, wrong))
    if wrong:
        document = correct_keys(document)
    if not reading.is_whole:
        problems.raise_errors()
    with problems:
        for problem in (*found.errors, *found.warnings):
            problems.add(problem)
        provider = providers[0]
        api_key_env = problems.gather(_api_key_env(document, provider, options))
        if not options.trust_job:
            problems.gather(check_addresses(document, providers))
        env = problems.gather(_env(document, root, options, api_key_env))
        problems.gather(_refuse_expressions(document))

        name = text_of(document.get("name")) or file.name.removesuffix(file.suffix)
        known: KnownNames = {
            "job": frozenset({"name"}),
            "env": _listed(document),
            RUN: frozenset({"date", "time"}),
            RUN_TIME: frozenset(),
        }
        variables = problems.gather(_variables(document, known))
        known = {**known, "vars": frozenset(variables)}
        edition_node = document.get("edition")
        edition = None
        if edition_node is not None:
            edition = problems.gather(compile_value(edition_node, known))
        run = problems.gather(read_run(document.get("run")))
        problems.gather(check_run(providers, document.get("run")))
        budget = problems.gather(read_budget(document.get("budget")))
        lint = problems.gather(read_lint(document.get("lint")))
        steps = problems.gather(
            read_steps(
                document, accounts=accounts, known=known, found=problems.errors, files=TextFiles(sources)
            )
        )
        # without other errors the plan checks the inputs, with those of each cell
        if problems.errors and not options.is_trial:
            for each in providers:
                reader = InputReader(
                    root,
                    file.parent,
                    each.limits.files,
                    has_uploads=bool(project_file.uploads),
                    objects=_object_inputs(root, project_file, options),
                )
                problems.gather(check_inputs(step_keys(document).values(), provider=each, reader=reader))
    return Job(
        name=name,
        file=shown,
        digest=hashlib.sha256(content).hexdigest(),
        copy=JobCopy(content, sources.files),
        root=root.resolve(),
        directory=file.parent.resolve(),
        provider=provider,
        run=run,
        budget=budget,
        api_key_env=api_key_env,
        base_url=text_of(document.get("base_url")),
        edition=edition,
        variables=variables,
        env=env,
        steps=steps,
        lint=lint,
        document=document,
        warnings=problems.warnings,
        accounts=accounts,
        project_file=project_file,
        object_inputs=_object_inputs(root, project_file, options),
    )


def _object_inputs(root: Path, project_file: ProjectFile, options: LoadOptions) -> ObjectInputs:
    return ObjectInputs(
        None if options.trust_job else addresses_of(project_file.inputs),
        root.resolve() / STATE_DIR / OBJECTS,
        options.is_rehearsal or options.is_trial,
        project_file.trust_env,
    )


def _below(file: Path, root: Path) -> str:
    absolute = Path(os.path.abspath(file))  # noqa: PTH100  a link keeps the name that the user gave
    try:
        return absolute.relative_to(Path(os.path.abspath(root))).as_posix()  # noqa: PTH100
    except ValueError:
        resolved = absolute.resolve()
        return Path(os.path.relpath(resolved, root.resolve())).as_posix()


def _read(file: Path, shown: str) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot read the job file: {error.strerror}"
        problem = Problem(1, 1, "", message, _nearest(file), is_missing_input=True)
        raise JobError(shown, [problem]) from None


def _nearest(file: Path) -> str:
    """A hint: the file that may have been meant, beside this one or in `jobs/`."""
    found: dict[str, Path] = {}
    for folder in (file.parent / "jobs", file.parent):
        with contextlib.suppress(OSError):
            found |= {path.stem: path for path in folder.iterdir() if path.suffix in _SUFFIXES}
    stem = file.stem if file.suffix in _SUFFIXES else file.name
    near = nearest(stem, found)
    return f"did you mean `{found[near]}`?" if near else ""


def _api_key_env(document: MappingNode, provider: Provider, options: LoadOptions) -> Checked[str | None]:
    """The variable that holds the key: no other secret of yours may reach the service as one."""
    node = document.get("api_key_env")
    name = text_of(node)
    keys = provider.key_variables
    if node is None or name is None or name in keys or options.trust_job or name in options.allow_env:
        return name
    names = " or ".join(keys)
    yield node.location.error(
        f"`{name}` is not {names}, and its value would be sent to the service",
        f"if it holds your API key: --allow-env {name}, or --trust-job",
    )
    return None


def _listed(document: MappingNode) -> frozenset[str]:
    return frozenset(str(item.value) for item in items_of(document.get("env")) if isinstance(item, Scalar))


def _env(
    document: MappingNode, root: Path, options: LoadOptions, api_key_env: str | None
) -> Checked[Mapping[str, str]]:
    """The listed variables that are set, none of them holding an API key."""
    listed = _listed(document)
    if not listed:
        return {}
    allow = options.allow_env | (listed if options.trust_job else frozenset())
    own_key = {api_key_env} if api_key_env else set()
    environ, named = read_env(root, options.environ, allow=allow | own_key), key_names(root) | own_key
    keys = {environ[name].strip() for name in named if environ.get(name, "").strip()}
    found: dict[str, str] = {}
    for item in items_of(document.get("env")):
        name, location = text_of(item), item.location
        if name is None:
            continue
        why, what_to_do = why_refused(name, allow=options.allow_env, trust_job=options.trust_job, keys=named)
        value = environ.get(name)
        if why:
            yield location.error(why, what_to_do)
        elif value is None:
            yield location.error(f"`{name}` is not set", "set it, or put it into .env in the root")
        elif any(key in value for key in keys):
            yield location.error(f"`{name}` holds the API key, which is never an expression's value")
        else:
            found[name] = value
    return found


def _variables(document: MappingNode, known: KnownNames) -> Checked[Mapping[str, Value]]:
    variables: dict[str, Value] = {}
    for key, child in entries_of(document.get("vars")):
        name = str(key.value)
        if not name.startswith("x-"):
            variables[name] = yield from compile_value(child, known)
    return variables


def _refuse_expressions(document: MappingNode) -> Checked[None]:
    """Expressions in keys that are never evaluated: they would reach the service as text."""
    bodies = (body for _, body in entries_of(document.get(STEPS)) if isinstance(body, MappingNode))
    for level in (document, *bodies):
        for key in _NO_EXPRESSIONS:
            node = level.get(key)
            for scalar in scalars(node) if node is not None else ():
                if has_expression(text_of(scalar) or ""):
                    message = "expressions are not evaluated here"
                    yield scalar.location.error(message, "write the value, or use a matrix axis")
