"""Writes docs/reference/expressions.md: the names, operators, filters and codes that the code knows, each
example with the value that it has, each mistake with the message that it gets.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.errors import JobError
from runner.job.expressions.expressions import MOST_RESULT, MOST_SOURCE, STEP_OUTPUTS, compile_template
from runner.job.expressions.filters import FILTERS
from runner.job.expressions.rundate import DATE_CODES, RunDate, RunTime, formatted
from runner.job.load import LoadOptions, load_job
from runner.job.problems import Problems
from runner.job.yaml.nodes import Location
from runner.plan.plan import make_plan

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "expressions.md"

DATE = RunDate.parse("2026-11-21+01:00")
TIME = RunTime.of(1_795_249_800, DATE)
SCOPE = {
    "shot": {"id": "hero-1", "prompt": "A red boat", "seconds": "5", "tags": ["sea", "dawn"]},
    "ratio": "16:9",
    "seed": 7,
    "vars": {"mood": "quiet, early light"},
    "run": {"date": DATE, "time": TIME},
}

HEAD = f"""\
# Expressions

`${{{{ shot.prompt }}}}` in a job file is replaced by its value, once for each cell. A value that is one
expression and nothing else keeps its type (a number stays a number); beside other text it becomes text.

Written by `python scripts/write_reference.py`, which computes each value and provokes each message; a test
holds this page to it. An expression has at most {MOST_SOURCE:,} characters, and its value {MOST_RESULT:,}.

## Where they stand

In `vars`, `edition`, `matrix`, `include`, `exclude` and `pick`; in the fields of `request`; in texts, URLs,
paths, roles and `when` of `content`; in `output`, where each one adds one safe piece of a file name; and in a
text `{{from: hero.md}}`, in its path and in the file. The rows of a file are data, and hold none. Anywhere
else an expression is an error.

## Names

"""

NAMES = (
    (
        "`shot`, `ratio`, ...",
        "an axis of `matrix`, or what `include` adds; `shot.prompt` is a key of its value",
        "cells",
    ),
    ("`model`, `seed`, `sample`", "the axes of `models`, `seeds` and `samples`", "cells"),
    ("`index`", "the number of the cell, from 0. A row that is put above others changes it", "cells"),
    ("`step.name`", "the name of the step", "cells"),
    ("`needs.STEP.AXIS`", "the value of an axis of a step above", "cells"),
    *(
        (f"`needs.STEP.{name}`", f"what the step above made, alone, as {use}", "content")
        for name, use in STEP_OUTPUTS.items()
    ),
    ("`job.name`", "the name of the job", "everywhere"),
    ("`env.NAME`", "an environment variable that `env:` lists", "everywhere"),
    (
        "`run.date`",
        "the day when the run began; `.year`, `.month`, `.day`, `.weekday` (0 is Monday), `.yday`",
        "everywhere",
    ),
    ("`run.time`", "the moment when the run began; see below", "everywhere"),
    ("`vars.NAME`", "a value of `vars:`", "everywhere but in `vars`"),
)

OPERATORS = (
    "${{ shot.prompt }}",
    "${{ shot['prompt'] }}",
    "${{ shot.tags[0] }}",
    "${{ seed }}",
    "take ${{ seed }}",
    "${{ seed + 1 }}",
    "${{ seed - 1 }}",
    "${{ ratio == '9:16' }}",
    "${{ seed > 3 and seed <= 9 }}",
    "${{ 'sea' in shot.tags }}",
    "${{ not vars.mood }}",
    "${{ 'tall' if ratio == '9:16' else 'wide' }}",
    "${{ shot.prompt + ', ' + vars.mood }}",
    "${{ '${{' }} is how to write the sign itself",
)
_FILTERS = {
    "date": (
        "a date or time by a pattern of the codes below; also of a text such as 2026-11-21",
        "${{ run.date | date('%G-W%V') }}",
    ),
    "default": (
        "another value in place of one that is absent or null",
        "${{ shot.image | default('none') }}",
    ),
    "int": ("a whole number of a text", "${{ shot.seconds | int + 1 }}"),
    "length": ("how many characters, items or keys", "${{ shot.tags | length }}"),
    "lower": ("small letters", "${{ shot.prompt | lower }}"),
    "slug": ("a piece of a file name", "${{ ratio | slug }}"),
    "string": ("text", "${{ seed | string + 'a' }}"),
    "title": ("Each Word With A Capital", "${{ shot.prompt | title }}"),
    "trim": ("without spaces around it", "${{ '  a b ' | trim }}"),
    "upper": ("capitals", "${{ shot.id | upper }}"),
}

DATES = f"""\

## Dates and times

`run.date` and `run.time` are those of the run's start, by the offset from UTC that its clock had then. A
resumed run keeps both. As text they are `{DATE}` and `{TIME}`. `date(...)` writes
them by these codes, which are the same on every system, and in English:

"""

TIME_NOTE = """
**`run.time` is another one in each run.** In `output` that costs nothing: what is done is put there, and not
bought again. In a prompt or a field of the request it would make all tasks of each run new, so the rule
`time-in-request` refuses it; `edition: ${{ run.time }}` says openly that each run pays anew. An unfinished
run goes on under its own time.

## Present or absent

An empty cell of a table and a key that a row does not have are absent: an expression that uses one is an
error, unless `| default(...)` gives another value. `when:` of a content item asks whether a value is there:
the item is left out where it is absent, null, `false`, an empty or blank text, an empty list or mapping. A
cell of a table also says no with `FALSE`, `no`, `off`, `none`, `n` or `0`. In `when` what is absent may be
asked for with `not`, `and` and `or`; a number has to be compared: `when: ${{ shot.takes > 0 }}`.

## Quotes in YAML

A value that begins with an expression needs no quotes on a line of its own. Inside `[ ]` and `{ }`, and where
the text holds `: ` or ` #`, it does. Inside double quotes write the texts of the expression in single ones:

```yaml
output: out/${{ shot.id }}.mp4
request: {duration: "${{ shot.seconds }}"}
edition: "week: ${{ run.date | date('%V') }}"
```

## What goes wrong

"""

WRONG = (
    ("text: ${{ shot.promt }}", "a misspelt key"),
    ("text: ${{ shoot.prompt }}", "a misspelt name"),
    ("text: ${{ shot.prompt }", "a brace is missing"),
    ("text: ${{ shot.prompt | first }}", "no such filter"),
    ("text: ${{ 2 * 3 }}", "not in the language"),
    ("text: ${{ shot }}", "a whole row"),
    ("text: ${{ shot.image }}", "absent in some row"),
    ("text: ${{ run.date | date('%-d') }}", "no such code"),
    ("text: At ${{ run.time }}", "the time, in a request"),
)


def render() -> str:
    """The whole page."""
    assert _FILTERS.keys() == FILTERS.keys()
    return "".join(
        (
            HEAD,
            _table(("name", "what it is", "where"), NAMES),
            "\n## What an expression can say\n\nThe examples have these values in scope:\n\n```yaml\n",
            *(f"{name}: {json.dumps(value)}\n" for name, value in SCOPE.items() if name != "run"),
            "```\n\n",
            _table(("expression", "value"), [(_code(text), _value(text)) for text in OPERATORS]),
            "\nThere are no calls, no loops and no `*`, `/`, `%`: a list in `matrix` says what a loop"
            " would.\n",
            "\n## Filters\n\n",
            _table(
                ("filter", "gives", "for example", "value"),
                [(f"`{name}`", what, _code(text), _value(text)) for name, (what, text) in _FILTERS.items()],
            ),
            DATES,
            _table(
                ("code", "gives", f"of `{TIME}`"),
                [(f"`{code}`", what, f"`{formatted(TIME, code)}`") for code, (_, what) in DATE_CODES.items()],
            ),
            TIME_NOTE,
            _table(
                ("", "in the job file", "said of it"),
                [(what, _code(line), _said(line)) for line, what in WRONG],
            ),
        )
    )


def _table(head: tuple[str, ...], rows: object) -> str:
    assert isinstance(rows, list | tuple)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ("---",) * len(head), *rows))


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`".replace("|", "\\|")


def _value(text: str) -> str:
    problems = Problems()
    known: Mapping[str, None] = dict.fromkeys([*SCOPE, "run.time"])
    template = problems.gather(compile_template(text, known, Location(1, 1)))
    assert template is not None, problems.errors
    return f"`{json.dumps(template.evaluate(SCOPE), ensure_ascii=False)}`".replace("|", "\\|")


def _said(line: str) -> str:
    """What is said of a job whose one content item has this line."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "job.yaml"
        file.write_text(
            "version: 1\nmodels: [byteplus/seedance-1-0-pro]\n"
            "matrix: {shot: [{id: a, prompt: A boat, image: a.png}, {id: b, prompt: A gull}]}\n"
            f"content:\n  - type: text\n    {line}\n  - {{type: text, text: '${{{{ shot.prompt }}}}'}}\n",
            encoding="utf-8",
        )
        try:
            job = load_job(file, root=file.parent, options=LoadOptions({}))
            make_plan(job, origin="sandbox", run_date=DATE, began=1_795_249_800)
        except JobError as error:
            return "; ".join(_messages(error)).replace("|", "\\|")
    raise AssertionError(f"{line}: nothing is wrong with it")


def _messages(error: JobError) -> Iterator[str]:
    for problem in error.problems:
        yield f"{problem.message}; hint: {problem.hint}" if problem.hint else problem.message


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
