"""`spend`: what this project may have been billed, by its ledger."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import choose_place
from runner.cli.runs import nothing_yet, reading
from runner.json_value import JsonValue
from runner.ledger.rows import Spend, SpendBy, SpendRow
from runner.plural import count
from runner.project import find_project
from runner.providers import DEFAULT
from runner.redact import escape

_NOTHING = SpendRow("", Spend(0, 0, 0), Spend(0, 0, 0), Spend(0, 0, 0))
_HEAD = ("settled", "in flight", "possibly billed")


def _read_since(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter("write it as 2026-05-31") from error
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()


@click.command()
@click.option("--since", metavar="DATE", callback=_read_since, help="Only from this day on (UTC).")
@click.option(
    "--by", type=click.Choice([by.value for by in SpendBy]), help="One line for each (days in UTC)."
)
@service_options
@output_format("json", "jsonl")
@common_options
def spend(since: float | None, by: str | None, service: ServiceOptions, output_format: str) -> None:
    """Show what was spent, from the ledger: no service is asked.

    Settled is what is done, at the actual cost where it is known, else as estimated. Possibly billed are
    submits that may or may not have been accepted, and failed tasks whose cost the service has not told.
    Tasks without a known price are counted, never taken as free.

    \b
    Examples:
      callsheet spend --by day
      callsheet spend --by model --since 2026-05-01 --output-format json
    """
    project = find_project(Path(), root=common().root)
    group = SpendBy(by) if by else None
    place = choose_place(DEFAULT, project, service)
    with reading(place.project) as ledger:
        rows = ledger.spending(group, since) if ledger is not None and group is not None else []
        (total,) = ledger.spending(None, since) if ledger is not None else [_NOTHING]
        if ledger is None:
            console.note(str(nothing_yet(place.project)))
    grouped = [{str(by): row.group, **_fields(row)} for row in rows]
    if output_format == "jsonl":
        console.json_lines([*grouped, {"total": _fields(total)}])
        return
    if output_format == "json":
        console.document({"rows": grouped, "total": _fields(total)})
        return
    for line in console.table(_table(by or "", rows, total)):
        console.result(line)


def _table(by: str, rows: list[SpendRow], total: SpendRow) -> Iterator[tuple[str, ...]]:
    yield (by, *_HEAD)
    for row in rows:
        yield (escape(row.group), *map(_words, _parts(row)))
    yield ("total", *map(_words, _parts(total)))


def _parts(row: SpendRow) -> tuple[Spend, Spend, Spend]:
    return row.settled, row.in_flight, row.possibly


def _words(part: Spend) -> str:
    if not part.tasks:
        return "-"
    known = part.tasks - part.unknown
    amount = f"USD {part.usd} ({count(known, 'task')})" if known else ""
    unknown = f"{count(part.unknown, 'task')} of unknown price" if part.unknown else ""
    return " and ".join(filter(None, (amount, unknown)))


def _fields(row: SpendRow) -> dict[str, JsonValue]:
    return {
        name: {
            "tasks": part.tasks,
            "usd": part.usd,
            "unpriced_tasks": part.unknown,
        }
        for name, part in zip(("settled", "in_flight", "possibly_billed"), _parts(row), strict=True)
    }
