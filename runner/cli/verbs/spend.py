"""`spend`: what this project may have been billed, by its ledger."""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Iterable, Iterator, Sequence

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import here
from runner.cli.runs import nothing_yet, reading
from runner.errors import UsageError
from runner.json_value import JsonValue
from runner.ledger.rows import Spend, SpendBy, SpendDays, SpendRow
from runner.plural import count
from runner.redact import escape
from runner.spelling import did_you_mean

_NOTHING = SpendRow("", Spend(0, 0, 0), Spend(0, 0, 0), Spend(0, 0, 0))
_HEAD = ("settled", "in flight", "possibly billed")
_LABEL = re.compile(r"label\.([A-Za-z_][A-Za-z0-9_-]{0,39})")
_NO_GROUP = "(none)"


def _read_day(_context: click.Context, _option: click.Parameter, text: str | None) -> str:
    if text is None:
        return ""
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise click.BadParameter("write it as 2026-05-31") from error


def _read_by(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is None or text in [*SpendBy] or _LABEL.fullmatch(text):
        return text
    groups = [*map(str, SpendBy), "label.NAME"]
    raise click.BadParameter(did_you_mean(text, groups) or f"one of {', '.join(groups)}")


@click.command()
@click.option("--since", metavar="DATE", callback=_read_day, help="Only from this day on.")
@click.option("--until", metavar="DATE", callback=_read_day, help="Only up to this day, which counts too.")
@click.option(
    "--by",
    metavar="WHAT",
    callback=_read_by,
    help=f"One line for each {', '.join(SpendBy)}; or for each value of one label: label.client.",
)
@service_options
@output_format("json", "jsonl", "csv")
@common_options
def spend(since: str, until: str, by: str | None, service: ServiceOptions, output_format: str) -> None:
    """Show what was spent, from the ledger: no service is asked.

    Settled is what is done, at the actual cost where it is known, else as estimated. Possibly billed are
    submits that may or may not have been accepted, and failed tasks whose cost the service has not told.
    Tasks without a known price are counted, never taken as free. A day is that of the submit, in the
    project's `timezone` as it was then.

    \b
    Examples:
      callsheet spend --by day
      callsheet spend --by label.client --since 2026-11-01 --until 2026-11-30
      callsheet spend --by account --output-format csv > november.csv
    """
    if since and until and until < since:
        raise UsageError(f"no day is from {since} up to {until}", hint=f"--since {until} --until {since}")
    project = here(service)
    days, label = SpendDays(since, until), (by or "").partition("label.")[2]
    group = None if by is None else SpendBy.LABEL if label else SpendBy(by)
    with reading(project) as ledger:
        rows = [] if ledger is None or group is None else ledger.spending(group, days=days, label=label)
        (total,) = ledger.spending(days=days) if ledger is not None else [_NOTHING]
        if ledger is None:
            console.note(str(nothing_yet(project)))
    if output_format == "csv":
        console.write("".join(_csv(by or "", rows if by else [total])))
        return
    grouped = [{str(by): row.group, **_fields(row)} for row in rows]
    summed = {"total": _fields(total)}
    if console.for_programs(output_format, [*grouped, summed], {"rows": grouped, **summed}):
        return
    table: list[Sequence[str]] = [(escape(row.group) or _NO_GROUP, *map(_words, _parts(row))) for row in rows]
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


_PARTS = ("settled", "in_flight", "possibly_billed")
_OF_A_PART = ("tasks", "usd", "unpriced_tasks")


def _fields(row: SpendRow) -> dict[str, JsonValue]:
    return {
        name: dict(zip(_OF_A_PART, _values(part), strict=True))
        for name, part in zip(_PARTS, _parts(row), strict=True)
    }


def _values(part: Spend) -> tuple[int, str | None, int]:
    return part.tasks, part.usd, part.unknown


def _csv(by: str, rows: Iterable[SpendRow]) -> Iterator[str]:
    """One line for each group under a line of names; an amount that is not known is empty."""
    names = [f"{part}_{each}" for part in _PARTS for each in _OF_A_PART]
    yield _csv_line([by, *names] if by else names)
    for row in rows:
        values = [value for part in _parts(row) for value in _values(part)]
        yield _csv_line([row.group, *values] if by else values)


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
