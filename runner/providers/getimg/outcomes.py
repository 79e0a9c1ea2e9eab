"""getimg documents no error beyond those of every service: each 5xx leaves a submit unclear."""

from __future__ import annotations

from runner.http.outcomes import AnswerRule

SUBMITS: tuple[AnswerRule, ...] = ()
