"""Durations, rates, and the `run:`, `budget:`, `price:` and `lint:` sections."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

from runner.errors import Problem
from runner.job.model import Budget, Level, OnAmbiguous, OnEdit, PollPolicy, RunPolicy, WebhookPolicy
from runner.job.problems import Checked
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import Node, Scalar
from runner.money import Price, PriceUnit, limit_micros

T = TypeVar("T")
D = TypeVar("D")

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)/(s|min|h)")
ALONE = 12
"""`run.settle_alone` in units of `run.settle`: a list that shows nothing accepted later proves less."""

_PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def parse_duration(value: float | str) -> float:
    """Seconds: a number, or a string such as `100ms`, `15s`, `2m`, `1h`, `7d`. Raises ValueError."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise ValueError(f"`{value[:40]}` is not a duration such as 100ms, 15s, 2m, 1h, 7d")
        return float(match[1]) * _UNITS[match[2]]
    if value < 0:
        raise ValueError("a duration cannot be negative")
    return float(value)


def parse_rate(text: str) -> float:
    """Requests per second from `60/min`, `2/s` or `1000/h`. Raises ValueError."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"`{text[:40]}` is not a rate such as 60/min, 2/s, 1000/h")
    rate = float(match[1]) / _PERIODS[match[2]]
    if rate <= 0:
        raise ValueError("a rate must be above zero")
    return rate


class _Section:
    """Reads typed values out of one mapping; skips what the schema has refused already.

    `problems` are those of its values and of the sections in it.
    """

    def __init__(self, node: Node | None, problems: list[Problem] | None = None) -> None:
        self._node = node if isinstance(node, MappingNode) else None
        self.problems: list[Problem] = [] if problems is None else problems

    def section(self, name: str) -> _Section:
        return _Section(self._node.get(name) if self._node else None, self.problems)

    def read(self, name: str, convert: Callable[[Scalar], T], default: D) -> T | D:
        """The value of `name`; `default` if it is absent, null or wrong."""
        node = self._node.get(name) if self._node else None
        if not isinstance(node, Scalar) or node.value is None:
            return default
        try:
            return convert(node)
        except ValueError as error:
            self.problems.append(node.location.error(str(error)))
        except (TypeError, ArithmeticError):
            pass  # the schema reports a wrong type
        return default


def read_run(node: Node | None) -> Checked[RunPolicy]:
    section = _Section(node)
    standard = RunPolicy()
    poll = section.section("poll")
    minimum = poll.read("min", _duration, None)
    policy = PollPolicy(
        first=poll.read("first", _duration, None),
        minimum=standard.poll.minimum if minimum is None else minimum,
        maximum=poll.read("max", _duration, standard.poll.maximum),
        is_minimum_given=minimum is not None,
    )
    settle = section.read("settle", _duration, standard.settle)
    run = RunPolicy(
        concurrency=section.read("concurrency", _count, standard.concurrency),
        submit_slots=section.read("submit_slots", _count, standard.submit_slots),
        downloads=section.read("downloads", _count, standard.downloads),
        rate=section.read("rate", lambda node: parse_rate(_text(node)), None),
        timeout=section.read("timeout", _duration, standard.timeout),
        deadline=section.read("deadline", _duration, None),
        max_failures=section.read("max_failures", _count, None),
        settle=settle,
        settle_alone=section.read("settle_alone", _duration, ALONE * settle),
        on_ambiguous=section.read("on_ambiguous", _on_ambiguous, standard.on_ambiguous),
        on_edit=section.read("on_edit", _on_edit, standard.on_edit),
        poll=policy,
        webhook=_read_webhook(section.section("webhook")),
    )
    yield from section.problems
    if policy.minimum > policy.maximum and isinstance(node, MappingNode):
        yield (node.get("poll") or node).location.error("min is above max")
    if run.settle_alone < settle and isinstance(node, MappingNode):
        hint = "leave it out, or make it longer"
        yield (node.get("settle_alone") or node).location.error("is shorter than run.settle", hint)
    return run


def _read_webhook(section: _Section) -> WebhookPolicy | None:
    public_url = section.read("public_url", _text, None)
    if public_url is None:
        return None
    listen = section.read("listen", _text, None)
    return WebhookPolicy(public_url, listen) if listen is not None else WebhookPolicy(public_url)


def read_budget(node: Node | None) -> Checked[Budget]:
    section = _Section(node)
    budget = Budget(
        max_micros=section.read("max_usd", _limit, None),
        max_tasks=section.read("max_tasks", _count, None),
        confirm_micros=section.read("confirm_usd", _limit, None),
    )
    yield from section.problems
    return budget


def read_price(node: Node | None) -> Checked[Price | None]:
    """The price at `node`; None if there is none, or it is wrong."""
    section = _Section(node)
    amounts = {unit: section.read(unit, _usd, None) for unit in PriceUnit}
    yield from section.problems
    prices = [Price(unit, usd) for unit, usd in amounts.items() if usd is not None]
    if node is not None and len(prices) > 1:
        names = " and ".join(f"`{price.unit}`" for price in prices)
        yield node.location.error(f"{names} are two ways to say what a task costs", "keep one of them")
    return prices[0] if prices else None


def read_lint(node: Node | None) -> Checked[Mapping[str, Level]]:
    """The levels that a job changes, by rule."""
    section = _Section(node)
    rules = [str(rule.value) for rule, _ in node] if isinstance(node, MappingNode) else []
    levels = {rule: section.read(rule, _level, None) for rule in rules}
    yield from section.problems
    return {rule: level for rule, level in levels.items() if level is not None}


def _duration(node: Scalar) -> float:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float | str):
        raise TypeError
    return parse_duration(node.value)


def _count(node: Scalar) -> int:
    if isinstance(node.value, bool) or not isinstance(node.value, int):
        raise TypeError
    return node.value


def _text(node: Scalar) -> str:
    if not isinstance(node.value, str):
        raise TypeError
    return node.value


def _on_ambiguous(node: Scalar) -> OnAmbiguous:
    if node.value not in set(OnAmbiguous):
        raise TypeError
    return OnAmbiguous(str(node.value))


def _on_edit(node: Scalar) -> OnEdit:
    if node.value not in set(OnEdit):
        raise TypeError
    return OnEdit(str(node.value))


def _level(node: Scalar) -> Level:
    if node.value not in set(Level):
        raise TypeError
    return Level(str(node.value))


def _limit(node: Scalar) -> int:
    return limit_micros(_usd(node))


def _usd(node: Scalar) -> Decimal:
    """From the text as written, so that 0.1 is exactly a tenth."""
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise TypeError
    return Decimal(node.text) if isinstance(node.value, float) else Decimal(node.value)
