"""`spend`: what this project may have been billed, by its ledger."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import here
from runner.cli.runs import nothing_yet, reading
from runner.job.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.ledger.rows import Spend, SpendBy, SpendRow
from runner.plural import count
from runner.redact import escape

_NOTHING = SpendRow("", Spend(0, 0, 0), Spend(0, 0, 0), Spend(0, 0, 0))
_HEAD = ("settled", "in flight", "possibly billed")


def _read_since(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        return datetime.datetime.combine(datetime.date.fromisoformat(text), datetime.time())
    except ValueError as error:
        raise click.BadParameter("write it as 2026-05-31") from error


@click.command()
@click.option("--since", metavar="DATE", callback=_read_since, help="Only from this day on.")
@click.option("--by", type=click.Choice([by.value for by in SpendBy]), help="One line for each.")
@service_options
@output_format("json", "jsonl")
@common_options
def spend(
    since: datetime.datetime | None, by: str | None, service: ServiceOptions, output_format: str
) -> None:
    """Show what was spent, from the ledger: no service is asked.

    Settled is what is done, at the actual cost where it is known, else as estimated. Possibly billed are
    submits that may or may not have been accepted, and failed tasks whose cost the service has not told.
    Tasks without a known price are counted, never taken as free. Days are those of the project's
    `timezone`, or of this machine's where it names none.

    \b
    Examples:
      callsheet spend --by day
      callsheet spend --by model --since 2026-05-01 --output-format json
    """
    project = here(service)
    zone = readable_project_file(project.root).timezone
    from_then = None if since is None else since.replace(tzinfo=zone).timestamp()
    group = SpendBy(by) if by else None
    with reading(project) as ledger:
        rows = ledger.spending(group, from_then) if ledger is not None and group is not None else []
        (total,) = ledger.spending(None, from_then) if ledger is not None else [_NOTHING]
        if ledger is None:
            console.note(str(nothing_yet(project)))
    grouped = [{str(by): row.group, **_fields(row)} for row in rows]
    summed = {"total": _fields(total)}
    if console.for_programs(output_format, [*grouped, summed], {"rows": grouped, **summed}):
        return
    table: list[Sequence[str]] = [(escape(row.group), *map(_words, _parts(row))) for row in rows]
    table.append(("total", *map(_words, _parts(total))))
    for line in console.headed_table((by or "", *_HEAD), table):
        console.result(line)


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
        name: {"tasks": part.tasks, "usd": part.usd, "unpriced_tasks": part.unknown}
        for name, part in zip(("settled", "in_flight", "possibly_billed"), _parts(row), strict=True)
    }
