"""Ways in which a hand breaks a job file: one slip on one line, and the line that it hurt.

`python -m tests.support.broken_files` writes the corpus again, from the files of `jobs/`; with a number
as a seed it tries slips of every kind, and prints how many messages name their line and can be pasted.
"""

from __future__ import annotations

import collections
import itertools
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from runner.errors import Problem
from tests.support.fixer import paste
from tests.support.validated import JOBS, problems_of, project_with_inputs

BROKEN = Path(__file__).resolve().parents[1] / "job" / "broken"
_EACH, _SEED = 6, 7

Slip = Callable[[str], Iterator[str]]
"""What may become of one line. A result with a line break is two lines."""

_KEY = re.compile(r"^(?P<indent> *(?:- )?)(?P<key>[\w-]+): *(?P<value>[^#\n]*?)(?:\s*(?: #.*)?)$")
_LOOK_ALIKES = {"a": "а", "c": "с", "e": "е", "i": "і", "o": "о", "p": "р", "s": "ѕ", "x": "х", "y": "у"}
_NEIGHBOURS = {
    "a": "s",
    "e": "r",
    "i": "o",
    "m": "n",
    "n": "m",
    "o": "p",
    "r": "t",
    "s": "d",
    "t": "r",
    "d": "f",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A job file after one slip; `line` counts from 1 and names the line that was hurt."""

    job: str
    slip: str
    line: int
    text: str

    @property
    def name(self) -> str:
        """Such as `quickstart.key-doubled.12.yaml`."""
        return f"{self.job.removesuffix('.yaml')}.{self.slip}.{self.line}.yaml"

    @classmethod
    def read(cls, file: Path) -> Broken:
        job, slip, line, _ = file.name.split(".")
        return cls(f"{job}.yaml", slip, int(line), file.read_bytes().decode())


def _parts(line: str) -> re.Match[str] | None:
    return None if line.lstrip().startswith("#") else _KEY.match(line)


def _of_key(change: Callable[[str], Iterable[str]]) -> Slip:
    def slip(line: str) -> Iterator[str]:
        if found := _parts(line):
            start, end = found.span("key")
            yield from (line[:start] + key + line[end:] for key in change(found["key"]))

    return slip


def _of_value(change: Callable[[str], Iterable[str]]) -> Slip:
    def slip(line: str) -> Iterator[str]:
        found = _parts(line)
        if found and found["value"]:
            start, end = found.span("value")
            yield from (line[:start] + value + line[end:] for value in change(found["value"]))

    return slip


def _of_line(pattern: str, put: str) -> Slip:
    """Each place of the line where `pattern` stands, one at a time, with `put` in its place."""

    def slip(line: str) -> Iterator[str]:
        if not line.lstrip().startswith("#"):
            for found in re.finditer(pattern, line):
                yield line[: found.start()] + found.expand(put) + line[found.end() :]

    return slip


def _without_a_letter(word: str) -> Iterator[str]:
    yield from (word[:i] + word[i + 1 :] for i in range(len(word)) if len(word) > 2 and word[i].isalpha())


def _swapped(word: str) -> Iterator[str]:
    for i in range(len(word) - 1):
        if word[i].isalpha() and word[i + 1].isalpha() and word[i] != word[i + 1]:
            yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _neighbour_key(word: str) -> Iterator[str]:
    yield from (word[:i] + _NEIGHBOURS[c] + word[i + 1 :] for i, c in enumerate(word) if c in _NEIGHBOURS)


def _look_alike(word: str) -> Iterator[str]:
    yield from (word[:i] + _LOOK_ALIKES[c] + word[i + 1 :] for i, c in enumerate(word) if c in _LOOK_ALIKES)


def _camel(word: str) -> Iterator[str]:
    if "_" in word:
        first, *others = word.split("_")
        yield first + "".join(other.capitalize() for other in others)
        yield word.replace("_", "-")
        yield word.replace("_", " ")
        yield word.replace("_", "")


def _one_space_less(line: str) -> Iterator[str]:
    if line.startswith(" ") and not line.lstrip().startswith("#"):
        yield line[1:]


def _one_space_more(line: str) -> Iterator[str]:
    if line.strip() and not line.lstrip().startswith("#"):
        yield " " + line


def _two_spaces_less(line: str) -> Iterator[str]:
    if line.startswith("  ") and not line.lstrip().startswith("#"):
        yield line[2:]


def _two_spaces_more(line: str) -> Iterator[str]:
    if line.strip() and not line.lstrip().startswith("#"):
        yield "  " + line


def _doubled(line: str) -> Iterator[str]:
    found = _parts(line)
    if found and found["value"]:
        yield line + "\n" + line.replace("- ", "  ", 1) if "- " in found["indent"] else line + "\n" + line


def _unit(value: str) -> Iterator[str]:
    if re.fullmatch(r"\d+", value):
        yield from (
            f"{value}s",
            f"{value} s",
            f"{value}sec",
            f"{value} seconds",
            f'"{value}"',
            f"{value},",
            f"{value}.5",
            f"{value},5",
            f"{value};",
        )


def _no_unit(value: str) -> Iterator[str]:
    if found := re.fullmatch(r"(\d+)p", value):
        yield found[1]
        yield f"{found[1]} p"
        yield f"{found[1]}P"


def _other_ratio(value: str) -> Iterator[str]:
    if found := re.fullmatch(r"(\d+):(\d+)", value):
        yield from (f"{found[1]}{sign}{found[2]}" for sign in ("/", "x", ": ", " :", ";", "-"))


def _half_quoted(value: str) -> Iterator[str]:
    if re.match(r"[A-Za-z0-9$]", value):
        yield f'"{value}'
        yield f"'{value}"
        yield f'{value}"'


def _smart_quoted(value: str) -> Iterator[str]:
    yield f"\u201c{value}\u201d"


def _yes(value: str) -> Iterator[str]:
    if value == "true":
        yield from ("yes", "on", '"true"', "1", "ture", "True.")


CORPUS: Mapping[str, Slip] = {
    "space-after-colon-dropped": _of_line(r"(?<=[\w]): (?=\S)", ":"),
    "colon-dropped": _of_line(r"(?<=\w):(?= |$)", ""),
    "dash-dropped": _of_line(r"^( *)- ", r"\1  "),
    "space-after-dash-dropped": _of_line(r"^( *)- ", r"\1-"),
    "letter-of-key-dropped": _of_key(_without_a_letter),
    "letter-of-value-dropped": _of_value(_without_a_letter),
    "letters-of-key-swapped": _of_key(_swapped),
    "key-capitalized": _of_key(lambda key: (key.capitalize(),)),
    "key-in-capitals": _of_key(lambda key: (key.upper(),)),
    "value-capitalized": _of_value(lambda value: (value[:1].upper() + value[1:],)),
    "value-in-capitals": _of_value(lambda value: (value.upper(),)),
    "key-doubled": _doubled,
    "one-space-less": _one_space_less,
    "one-space-more": _one_space_more,
    "tab-in-indent": _of_line(r"^( *)  (?=\S)", r"\1" + "\t"),
    "no-break-space": _of_line(r"(?<=:) |^ (?= *\S)|(?<=-) ", "\u00a0"),
    "look-alike-in-key": _of_key(_look_alike),
    "quote-not-closed": _of_value(_half_quoted),
    "unit-added": _of_value(_unit),
    "unit-dropped": _of_value(_no_unit),
    "bracket-dropped": _of_line(r"[][{}](?![{}])", ""),
}
"""The slips of the corpus."""

WIDER: Mapping[str, Slip] = {
    **CORPUS,
    "neighbour-key-typed": _of_key(_neighbour_key),
    "look-alike-in-value": _of_value(_look_alike),
    "letters-of-value-swapped": _of_value(_swapped),
    "other-word-form": _of_key(_camel),
    "two-spaces-less": _two_spaces_less,
    "two-spaces-more": _two_spaces_more,
    "ratio-with-another-sign": _of_value(_other_ratio),
    "smart-quotes": _of_value(_smart_quoted),
    "equals-sign": _of_line(r"(?<=\w): (?=\S)", " = "),
    "full-width-colon": _of_line(r"(?<=\w): (?=\S)", "\uff1a"),
    "space-before-colon-dropped-word": _of_line(r"(?<=\w): ", " "),
    "comma-at-end": _of_line(r"(?<=[\w])$", ","),
    "semicolon": _of_line(r"(?<=\w): (?=\S)", "; "),
    "word-for-true": _of_value(_yes),
    "dollar-dropped": _of_line(r"\$(?=\{)", ""),
    "brace-of-expression-dropped": _of_line(r"(?<=\$\{)\{|\}(?=\})", ""),
    "dot-of-expression-dropped": _of_line(r"(?<=\w)\.(?=\w+ \}\})", ""),
    "zero-width-space": _of_line(r"(?<=\w)(?=\w*:)", "\u200b"),
    "en-dash": _of_line(r"^( *)- ", "\\1\u2013 "),
    "star-for-dash": _of_line(r"^( *)- ", r"\1* "),
    "slashes-for-comment": _of_line(r" # ", " // "),
    "hash-before-value": _of_line(r"(?<=: )(?=\S)", "#"),
    "extra-bracket": _of_line(r"(?<=[]}])(?![]}])", "]"),
    "comma-of-list-dropped": _of_line(r", ", " "),
    "quoted-key": _of_key(lambda key: (f'"{key}', f"{key}'")),
    "line-broken": _of_line(r"(?<=\w) (?=\w)", "\n"),
    "line-deleted": _of_line(r"^.+$", ""),
    "anchor": _of_value(
        lambda value: (f"&{value}", f"*{value}", f"!{value}", f"%{value}", f"@{value}", f"`{value}`")
    ),
}


def broken_by(slips: Mapping[str, Slip], job: str, text: str) -> Iterator[Broken]:
    """Every file that one slip makes of a job's `text`."""
    lines = text.split("\n")
    for name, slip in slips.items():
        for number, line in enumerate(lines, start=1):
            for changed in dict.fromkeys(slip(line)):
                if changed != line:
                    whole = "\n".join([*lines[: number - 1], changed, *lines[number:]])
                    hurt = number + 1 if name in ("key-doubled",) else number
                    yield Broken(job, name, hurt, whole)


def drawn(slips: Mapping[str, Slip], *, seed: int) -> Iterator[Iterator[Broken]]:
    """For every slip the files that it makes of all `jobs`, in random order, each line once."""
    source = random.Random(seed)
    texts = {job.name: job.read_bytes().decode() for job in sorted(JOBS.glob("*.yaml"))}
    for name, slip in slips.items():
        made = [broken for job, text in texts.items() for broken in broken_by({name: slip}, job, text)]
        source.shuffle(made)
        yield iter({broken.name: broken for broken in made}.values())


def names_its_line(broken: Broken, problem: Problem) -> bool:
    """Whether the problem stands at the line that was hurt or beside it, or its words say its number."""
    told = re.findall(r"lines? (\d+)", f"{problem.message} {problem.hint}")
    return any(abs(int(line) - broken.line) <= 1 for line in (problem.line, *told))


def _write_corpus(jobs: Path) -> None:
    for file in BROKEN.glob("*.yaml"):
        file.unlink()
    for made in drawn(CORPUS, seed=_SEED):
        refused = (broken for broken in made if problems_of(broken.text, jobs / broken.job))
        for broken in islice(refused, _EACH):
            (BROKEN / broken.name).write_bytes(broken.text.encode())


def _measure(jobs: Path, seed: int) -> None:
    counted: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for broken in itertools.chain.from_iterable(islice(made, 2 * _EACH) for made in drawn(WIDER, seed=seed)):
        problems = problems_of(broken.text, jobs / broken.job)
        if not problems:
            continue
        pasted = paste(broken.text, problems)
        is_told = all(names_its_line(broken, problem) for problem in problems)
        is_mended = pasted is not None and not problems_of(pasted, jobs / broken.job)
        found = {"refused": True, "told": is_told, "to paste": pasted is not None, "mended": is_mended}
        for counter in (counted[broken.slip], counted["all"]):
            counter.update(name for name, holds in found.items() if holds)
        if not is_told or (pasted is not None and not is_mended):
            print(f"{broken.job}:{broken.line}: {broken.slip}: {broken.text.splitlines()[broken.line - 1]!r}")
            print(*(f"    {problem.render('')}" for problem in problems), sep="\n")
    for slip, counter in counted.items():
        print(f"{slip:32}", *(f"{name} {number}" for name, number in counter.items()), sep="  ")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        folder = project_with_inputs(Path(directory))
        if len(sys.argv) > 1:
            _measure(folder, int(sys.argv[1]))
        else:
            _write_corpus(folder)
