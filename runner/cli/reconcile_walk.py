"""One sitting over all that is unclear, held, or counted although it was probably never accepted.

Nothing is decided by Enter: each answer is a whole word, since a wrong one may pay twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from runner.cli import console
from runner.cli.task_list import painted
from runner.errors import CallsheetError, PersonNeededError
from runner.lane.by_hand import UnclearTask
from runner.ledger.states import Resolution, TaskState
from runner.money import usd_words
from runner.providers import prompt_texts
from runner.redact import printable
from runner.times import iso_time

_LABEL = 11


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer, as it is typed on the command line and here, and what comes of it."""

    option: str
    means: str

    @property
    def word(self) -> str:
        """As it is typed at the question: `adopt`, `write-off`."""
        return self.option.removeprefix("--").partition(" ")[0]


CHOICES: Mapping[Resolution, Choice] = {
    Resolution.ADOPTED: Choice("--adopt ID", "it is this generation at the service: fetch it"),
    Resolution.AGAIN: Choice(
        "--again", "it was never accepted: submit it again; paid twice if it was accepted after all"
    ),
    Resolution.WRITTEN_OFF: Choice("--write-off", "give it up: nothing looks for it, and it may be billed"),
    Resolution.NOT_BILLED: Choice("--not-billed", "the service did not bill it: it counts against no budget"),
}

_SKIP, _QUIT, _HELP = "skip", "q", "?"

_HELP_LINES = (
    "Look at the service's own list or bill for a generation of this prompt and seed, at that time.",
    "If it is there, type adopt and its id. If it is not, and enough time has passed, type again.",
    "If you cannot tell, type skip: nothing changes, and `callsheet reconcile` asks again.",
    "A run looks for unclear tasks by itself; for a held one it has nothing left to look at.",
)


def choices_for(one: UnclearTask) -> Sequence[Resolution]:
    """The answers that can settle it."""
    if one.attempt.state is TaskState.PLANNED:
        return (Resolution.NOT_BILLED,)
    return (Resolution.ADOPTED, Resolution.AGAIN, Resolution.WRITTEN_OFF)


def evidence_lines(one: UnclearTask) -> Iterator[tuple[str, str]]:
    """(label, words) of what is known of it."""
    attempt, task = one.attempt, one.task
    seed = "" if attempt.seed is None else f", seed {attempt.seed}"
    cost = "" if attempt.estimate_micros is None else f", about {usd_words(attempt.estimate_micros)}"
    yield "prompt", printable(" ".join(prompt_texts(task.provider, task.request)))
    yield "submitted", f"{iso_time(attempt.intended_at)} to {attempt.origin} ({task.model}{seed}{cost})"
    yield "evidence", printable(one.evidence)
    if attempt.state is TaskState.PLANNED:
        yield "counted", "against budgets, until a day later the service's list still shows nothing of it"


def walk(
    found: Sequence[UnclearTask],
    settle: Callable[[UnclearTask, Resolution, str | None, bool], None],
    ask: Callable[[str], str | None],
) -> list[tuple[UnclearTask, Resolution]]:
    """Asks about one after the other, and gives what was settled and how.

    `settle` takes the task, the answer, the service's id for `adopt`, and whether a contradiction is
    agreed to. It raises a CallsheetError where the answer cannot be taken: that is shown, and the question
    comes again. `ask` gives a line as it was typed, None where the person has left.
    """
    settled: list[tuple[UnclearTask, Resolution]] = []
    for number, one in enumerate(found, 1):
        _show(one, f"{number} of {len(found)}")
        answer = _answer(one, settle, ask)
        if isinstance(answer, Resolution):
            settled.append((one, answer))
        elif not answer:
            break
    return settled


def _show(one: UnclearTask, where: str) -> None:
    console.result("")
    console.result(f"{where}  {painted(one.state_word)}  {click.style(one.task.name, bold=True)}")
    for label, words in evidence_lines(one):
        if words:
            console.block(f"  {label:{_LABEL}}{console.wrapped(words, _LABEL + 2)}")
    for answer in choices_for(one):
        choice = CHOICES[answer]
        console.block(_choice(choice.option.removeprefix("--"), choice.means))
    console.block(_choice(_SKIP, "leave it as it is"))


def _choice(word: str, means: str) -> str:
    return f"  {word:{_LABEL}}{console.wrapped(means, _LABEL + 2)}"


def _answer(
    one: UnclearTask,
    settle: Callable[[UnclearTask, Resolution, str | None, bool], None],
    ask: Callable[[str], str | None],
) -> Resolution | bool:
    """How it was settled; True where it is left as it is, False where the person has left."""
    possible = {CHOICES[answer].word: answer for answer in choices_for(one)}
    words = ", ".join([*(CHOICES[answer].option.removeprefix("--") for answer in possible.values()), _SKIP])
    while True:
        typed = ask(f"what became of it? ({words}, {_HELP} or {_QUIT})")
        if typed is None or typed in (_QUIT, "quit"):
            return False
        word, _, remote_id = typed.partition(" ")
        if typed == _SKIP:
            return True
        answer = possible.get(word)
        if answer is None or bool(remote_id.strip()) is not (answer is Resolution.ADOPTED):
            _help(typed, words)
        elif _is_settled(one, answer, remote_id.strip() or None, settle, ask):
            return answer


def _help(typed: str, words: str) -> None:
    if typed not in ("", _HELP, "help"):
        console.error(f"`{typed}` is not an answer: type {words}, {_HELP} or {_QUIT}")
        return
    for line in _HELP_LINES:
        console.block(console.wrapped(line, 0))


def _is_settled(
    one: UnclearTask,
    answer: Resolution,
    remote_id: str | None,
    settle: Callable[[UnclearTask, Resolution, str | None, bool], None],
    ask: Callable[[str], str | None],
) -> bool:
    try:
        settle(one, answer, remote_id, False)
    except PersonNeededError as error:
        console.error(error.message)
        if ask("adopt it all the same? Type yes if you are sure:") != "yes":
            return False
        try:
            settle(one, answer, remote_id, True)
        except CallsheetError as again:
            console.error(str(again))
            return False
    except CallsheetError as error:
        console.error(str(error))
        return False
    return True
