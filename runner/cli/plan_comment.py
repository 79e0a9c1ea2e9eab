"""A plan as a comment on a pull request: Markdown, short, and safe whatever the job file says.

What a job file says stands in code spans only, where neither Markdown nor HTML, a mention nor a link means
anything, and on one line each (https://spec.commonmark.org/0.31.2/#code-spans). Tables hold nothing but names
that the schemas allow: a `|` would end a cell even inside a code span.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from runner.cli.task_list import CONFLICT, EDIT, listed_word, shown_word, what_words
from runner.errors import CallsheetError, JobError
from runner.job.model import Job
from runner.money import usd_words
from runner.plan.cost import Total
from runner.plan.task import Task
from runner.plural import count
from runner.redact import printable
from runner.run.task.progress import Progress

MOST_CHARACTERS = 20_000
"""Of one job's comment: GitHub takes 65,536 in one, and several jobs share it."""
_MOST_ROWS = 30
_MOST_LISTED = 20
_MOST_OF_A_PROMPT = 120
_MOST_OF_A_TEXT = 300

_NEW = "new"


@dataclass(slots=True)
class PlanComment:
    """Tasks are added in plan order; `new` is the estimate of what `run` would submit."""

    job: Job
    file: str
    """The job file as a person types it."""
    new: Total = field(default_factory=Total)
    counts: Counter[str] = field(default_factory=Counter)
    """Tasks by listed word."""
    _shares: dict[tuple[str, str], _Share] = field(default_factory=dict)
    _listed: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: Progress) -> None:
        task, word = row.task, listed_word(row)
        self.counts[word] += 1
        share = self._shares.setdefault((task.step, task.account), _Share())
        share.counts[word] += 1
        if row.is_to_submit:
            self.new.add_task(task)
            share.new.add_task(task)
        if word in _LISTED and self.counts[word] <= _MOST_LISTED:
            self._listed.setdefault(word, []).append(_LISTED[word](self, row))

    def text(
        self, *, warnings: Sequence[str], sentences: Iterable[str], command: str, has_ledger: bool
    ) -> str:
        """The comment. `warnings` are of the job file, `sentences` say what limits and prices mean for the
        run, and `command` makes what is new. Without a ledger (`has_ledger`) all tasks count as new.
        """
        parts = [self._heading()]
        if not has_ledger:
            parts.append("Planned without a ledger: a task that is paid for already counts as new.")
        parts.append("\n".join(self._table()))
        parts.append(_list_of(sentences))
        parts.append(f"To make what is new: {code(command)}")
        parts.append(_folded(count(len(warnings), "warning"), _list_of(warnings), len(warnings)))
        for word in _LISTED:
            number = self.counts[word]
            title = f"{number} {shown_word(word)}"
            parts.append(_folded(title, "\n".join(self._listed.get(word, ())), number))
        return _bounded(filter(None, parts))

    def _heading(self) -> str:
        told = f"{count(self.new.tasks, 'task')} to make, {_price_words(self.new)}"
        if self.counts[CONFLICT]:
            told = f"{count(self.counts[CONFLICT], 'task')} in conflict, so nothing would run"
        elif not self.new.tasks:
            told = "nothing to make"
        return f"### {code(self.file)}: {told}"

    def _table(self) -> Iterator[str]:
        """A row for each step and account, and one for all of them."""
        has_steps = any(step for step, _ in self._shares)
        words = [*self.counts]
        head = [*(["step"] if has_steps else []), "account", *map(shown_word, words), "cost"]
        yield _table_row(head)
        yield _table_row(["---"] * (len(head) - len(words) - 1) + ["---:"] * (len(words) + 1))
        rows = [*self._shares.items()]
        for (step, account), share in rows[:_MOST_ROWS]:
            names = [*([code(step)] if has_steps else []), code(account)]
            yield _table_row([*names, *(str(share.counts[word]) for word in words), _price_words(share.new)])
        if len(rows) > 1:
            left = f"all {len(rows)}" if len(rows) > _MOST_ROWS else "all"
            names = [*([left] if has_steps else []), "" if has_steps else left]
            yield _table_row([*names, *(str(self.counts[word]) for word in words), _price_words(self.new)])

    def _task(self, row: Progress, why: str = "") -> str:
        """One line of a list: name, what it is made from, where it goes, what it costs, and why."""
        task = row.task
        what = what_words(self.job, task, _MOST_OF_A_PROMPT)
        told = [code(task.name), *([code(what)] if what else []), f"to {code(task.output)}"]
        told += [_task_price(task), *([code(why)] if why else [])]
        return f"- {', '.join(told)}"

    def _new(self, row: Progress) -> str:
        return self._task(row)

    def _edit(self, row: Progress) -> str:
        return self._task(row, row.why)

    def _conflict(self, row: Progress) -> str:
        return f"- {code(row.task.name)}, to {code(row.task.output)}: {code(row.conflict)}"


_LISTED = {CONFLICT: PlanComment._conflict, EDIT: PlanComment._edit, _NEW: PlanComment._new}
"""What is told of each task by itself: what somebody has to agree to, the most important first."""


@dataclass(slots=True)
class _Share:
    """The tasks of one step at one account."""

    counts: Counter[str] = field(default_factory=Counter)
    new: Total = field(default_factory=Total)


def trouble_comment(file: str, error: CallsheetError) -> str:
    """The comment for a job that cannot be planned; it takes the place of one whose costs are out of date."""
    if isinstance(error, JobError):
        told = [problem.render(error.file) for problem in error.problems]
    else:
        told = [str(error)]
    return _bounded([f"### {code(file)}: cannot be planned", _list_of(told)])


def code(text: str) -> str:
    """`text`, which may be anybody's, as a code span: one line of at most 300 characters, without secrets."""
    shown = printable(text)
    if len(shown) > _MOST_OF_A_TEXT:
        shown = shown[: _MOST_OF_A_TEXT - 3] + "..."
    if not shown.strip():
        return "` `"
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    # a backtick at the edge would belong to the fence, and one space at both edges is taken off
    edge = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{edge}{shown}{edge}{fence}"


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _price_words(new: Total) -> str:
    """`about USD 1.40`, `about USD 1.40 and 2 of unknown price`, `unknown price`; `-` for nothing."""
    if not new.tasks:
        return "-"
    if new.is_unknown:
        return "unknown price"
    unknown = f" and {new.without_price} of unknown price" if new.without_price else ""
    return f"about {usd_words(new.micros)}{unknown}"


def _task_price(task: Task) -> str:
    return "unknown price" if task.estimate_micros is None else f"about {usd_words(task.estimate_micros)}"


def _list_of(texts: Iterable[str]) -> str:
    told = [*texts]
    lines = [f"- {code(text)}" for text in told[:_MOST_LISTED]]
    return "\n".join(lines + ([f"- and {len(told) - _MOST_LISTED} more"] if len(told) > _MOST_LISTED else []))


def _folded(title: str, lines: str, number: int) -> str:
    """A list that opens at a click; empty where there is nothing."""
    if not lines:
        return ""
    more = f"\n- and {number - _MOST_LISTED} more" if number > lines.count("\n") + 1 else ""
    return f"<details><summary>{title}</summary>\n\n{lines}{more}\n\n</details>"


def _bounded(parts: Iterable[str]) -> str:
    """The parts with empty lines between; those that no longer fit are left out, and that is said."""
    kept: list[str] = []
    left, room = 0, MOST_CHARACTERS - 100
    for part in parts:
        if len(part) + 2 <= room:
            kept.append(part)
            room -= len(part) + 2
        else:
            left += 1
    if left:
        kept.append(f"{count(left, 'more part')} would be too long here; `callsheet plan` shows all.")
    return "\n\n".join(kept) + "\n"
