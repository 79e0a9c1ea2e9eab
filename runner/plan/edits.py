"""Edits: new tasks whose output path holds a take of another request, which is kept as a version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from runner.job.model import OnEdit
from runner.money import usd_words
from runner.plan.cost import Total
from runner.plan.task import Task
from runner.plural import count

MOST_SHOWN = 10
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Edit:
    """`change` is what the request says now and what it said before, in words."""

    task: Task
    change: str


@dataclass(frozen=True, slots=True)
class Edits:
    """The edits of a run, in plan order, and what they cost by the estimates."""

    edits: tuple[Edit, ...]
    cost: Total

    @property
    def identities(self) -> frozenset[str]:
        return frozenset(edit.task.identity for edit in self.edits)

    @property
    def words(self) -> str:
        """`2 edits (s1, s2) for about USD 0.17`."""
        names = _listed([edit.task.name for edit in self.edits])
        return f"{count(len(self.edits), 'edit')} ({names}) for {self._cost}"

    @property
    def question(self) -> str:
        edits = count(len(self.edits), "edit")
        return f"Submit {edits} for {self._cost}? Older takes stay as NAME.v1.mp4."

    def refusal(self, on_edit: OnEdit) -> str:
        """Why none of them was submitted, and what a person can do."""
        are = f"{self.words} not submitted: the output path holds a take of another request"
        if on_edit is OnEdit.REFUSE:
            hint = "give `output` another path, or write `on_edit: ask`"
            return f"{are}, and run.on_edit is `refuse`; hint: {hint}"
        return f"{are}; hint: --accept-edits submits edits and keeps the older takes as versions"

    def lines(self) -> Iterator[str]:
        """What was changed, a line for each of the first few changes."""
        same: dict[str, list[str]] = {}
        for edit in self.edits:
            same.setdefault(edit.change, []).append(edit.task.name)
        for change, names in islice(same.items(), MOST_SHOWN):
            yield f"edit: {_listed(names)}: {change}"
        if len(same) > MOST_SHOWN:
            yield f"and {count(len(same) - MOST_SHOWN, 'more change')}; `callsheet plan` lists them all"

    @property
    def _cost(self) -> str:
        cost = self.cost
        if cost.is_unknown:
            return "an unknown price"
        unknown = f" and {cost.without_price} of unknown price" if cost.without_price else ""
        return f"about {usd_words(cost.micros)}{unknown}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
