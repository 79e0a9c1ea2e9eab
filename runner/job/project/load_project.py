"""Reads `callsheet.yaml` at the root, as a job file is read: text, nodes, schema, then typed values."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from types import MappingProxyType

from runner.errors import JobError, Problem
from runner.job.policy import parse_duration, read_price
from runner.job.problems import Checked, InvalidValueError, Problems
from runner.job.project.load_accounts import read_accounts, read_budgets
from runner.job.project.load_lock import load_models_lock
from runner.job.project_file import Notify, NotifyOn, ProjectFile, model_key
from runner.job.schema import check_project
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import Node, Scalar, entries_of, items_of, text_of
from runner.job.yaml.scalars import check_scalars
from runner.job.yaml.source import MAX_BYTES, read
from runner.money import Price
from runner.objects.address import AddressError, ObjectAddress
from runner.plain_file import read_plain
from runner.project import PROJECT_FILE
from runner.providers import every
from runner.providers.models import family_name
from runner.spelling import did_you_mean

_PROJECT_ID = re.compile(r"[0-9a-f]{8}")
_LIKE_AN_ADDRESS = re.compile(r"(s3|gs|az)://[^/?#@\s]+(/[^?#\s]*)?\Z")
_JOB_KEYS = ("models", "content", "steps", "matrix")


def load_project_file(root: Path) -> ProjectFile:
    """The project file of `root`; the defaults where there is none.

    Raises JobError, with the text of the file, for every problem found.
    """
    text, found, problems = _read(root)
    if problems:
        error = JobError(PROJECT_FILE, problems)
        error.text = text
        raise error
    return found


def readable_project_file(root: Path) -> ProjectFile:
    """What can be read of it, and the defaults for the rest: for what is never to wait until it is mended,
    such as fetching what was paid for.
    """
    return _read(root)[1]


def ledger_variable(root: Path) -> str:
    """The variable that holds the URL of the project's shared ledger; empty where it has one of its own.

    Raises JobError where the project file cannot say: another ledger than its own would pay once more.
    """
    text, found, problems = _read(root)
    if problems and not found.ledger_variable:
        error = JobError(PROJECT_FILE, problems)
        error.text = text
        raise error
    return found.ledger_variable


def _read(root: Path) -> tuple[bytes, ProjectFile, tuple[Problem, ...]]:
    """The text, what it says as far as that can be read, and its problems."""
    try:
        text = read_plain(root / PROJECT_FILE, MAX_BYTES + 1)
    except FileNotFoundError:
        return b"", ProjectFile(), ()
    except OSError as error:
        problem = Problem(1, 1, "", f"cannot read the project file: {error.strerror}")
        return b"", ProjectFile(), (problem,)
    reading = read(text)
    document = reading.root
    if document is None:
        return text, ProjectFile(), reading.problems
    if any(document.get(key) for key in _JOB_KEYS):
        told = f"this is a job; `{PROJECT_FILE}` is the name of the project file"
        problem = document.location.error(told, "rename the job, or move it into jobs/")
        return text, ProjectFile(), (problem,)
    problems = Problems(
        PROJECT_FILE, earlier=reading.problems, schema=check_scalars(document, check_project(document))
    )
    project = text_of(document.get("project")) or ""
    trust_env = document.get("trust_env")
    written, ledger, keep = document.get("accounts"), document.get("ledger"), document.get("store_keep")
    accounts = problems.gather(read_accounts(written))
    found = ProjectFile(
        project=project if _PROJECT_ID.fullmatch(project) else "",
        timezone=problems.gather(_timezone(document.get("timezone"))),
        accounts=accounts,
        budgets=problems.gather(read_budgets(document.get("budgets"), accounts, written)),
        prices=problems.gather(_prices(document.get("prices"), _locked(root))),
        trust_env=isinstance(trust_env, Scalar) and trust_env.value is True,
        notify=problems.gather(_notify(document.get("notify"))),
        ledger_variable=text_of(ledger.get("url_env") if isinstance(ledger, MappingNode) else None) or "",
        store=problems.gather(_address(document.get("store"))),
        store_keep=problems.gather(_keep(keep, document.get("store"))),
        uploads=problems.gather(_address(document.get("uploads"))),
        inputs=tuple(
            filter(None, (problems.gather(_address(each)) for each in items_of(document.get("inputs"))))
        ),
    )
    return text, found, problems.errors


def _timezone(node: Node | None) -> Checked[datetime.tzinfo | None]:
    name = text_of(node)
    if node is None or not name:
        return None
    # imported here: it takes 5 ms, and few projects name a zone
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a directory
        hint = _zone_hint(name, zoneinfo.available_timezones())
        yield node.location.error(f"`{name[:40]}` is not a time zone", hint)
        return None


def _zone_hint(name: str, zones: Set[str]) -> str:
    """The zone that was meant: `berlin` is Europe/Berlin."""
    town = name.rpartition("/")[2].casefold().replace(" ", "_")
    same = sorted(zone for zone in zones if zone.rpartition("/")[2].casefold() == town)
    if same:
        return f"did you mean `{same[0]}`?"
    return did_you_mean(name, sorted(zones)) or "write a name such as Europe/Berlin, or UTC"


def _locked(root: Path) -> frozenset[tuple[str, str]]:
    """The models that services were seen to sell; none where the lock cannot be read, which plans tell."""
    try:
        services = load_models_lock(root).services.values()
    except JobError:
        return frozenset()
    return frozenset(model_key(model) for service in services for model in service.models)


def _prices(node: Node | None, locked: Set[tuple[str, str]]) -> Checked[Mapping[str, Price]]:
    prices: dict[str, Price] = {}
    seen: dict[tuple[str, str], str] = {}
    for key, value in entries_of(node):
        model = str(key.value)
        for refusal in _refuse_model(model, seen, locked):
            yield refusal.at(key.location)
        seen[model_key(model)] = model
        price = yield from read_price(value)
        if price is not None:
            prices[model] = price
    return MappingProxyType(prices)


def _refuse_model(
    model: str, seen: Mapping[tuple[str, str], str], locked: Set[tuple[str, str]]
) -> Iterator[InvalidValueError]:
    if (other := seen.get(model_key(model))) is not None:
        yield InvalidValueError(f"`{model}` is the same model as `{other}`", "keep one of them")
    catalogues = [provider.catalogue for provider in every().values()]
    if model_key(model) in locked or any(catalogue.find(model) for catalogue in catalogues):
        return
    known = {name for catalogue in catalogues for name in catalogue.families}
    # a model of which nothing is known may have a price; one with nearly a known name is misspelt
    if near := did_you_mean(family_name(model), sorted(known)):
        hint = f"{near} A job's own `price:` takes any model"
        yield InvalidValueError(f"nothing is known of the model `{model}`", hint)


def _address(node: Node | None) -> Checked[str]:
    """The address of object storage as it is known from now on; empty for none, and for a wrong one."""
    said = text_of(node)
    if node is None or said is None:
        return ""
    try:
        return str(ObjectAddress.parse(said))
    except AddressError as error:
        if _LIKE_AN_ADDRESS.match(said):  # the schema reports all else
            yield node.location.error(str(error), "s3://BUCKET/PREFIX")
        return ""


def _keep(node: Node | None, store: Node | None) -> Checked[float | None]:
    if not isinstance(node, Scalar):
        return None
    if store is None:
        yield node.location.error("`store_keep` is for files that lie in a store", "add `store: s3://...`")
        return None
    try:
        return parse_duration(node.value) if isinstance(node.value, int | float | str) else None
    except ValueError:  # the schema has said so
        return None


def _notify(node: Node | None) -> Checked[Notify | None]:
    if not isinstance(node, MappingNode):
        return None
    on = [item.value for item in items_of(node.get("on")) if isinstance(item, Scalar)]
    url_env = text_of(node.get("url_env")) or ""
    command = tuple(word for item in items_of(node.get("command")) if (word := text_of(item)) is not None)
    if bool(url_env) == bool(command):
        told = "has `url_env` and `command`" if command else "has neither `url_env` nor `command`"
        hint = "keep one of them" if command else "add `url_env: NOTIFY_URL`, or `command: [...]`"
        yield node.location.error(told, hint)
    return Notify(frozenset(end for end in NotifyOn if end in on or not on), url_env, command)
