"""`${{ }}`: what it can say, what it must not be able to do."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.expressions.expressions import MOST_RESULT, KnownNames, Template, compile_template
from runner.job.expressions.filters import FILTERS, ExpressionError
from runner.job.expressions.rundate import RunDate
from runner.job.problems import Problems
from runner.job.yaml.nodes import Location
from runner.json_value import JsonValue

SCOPE = {
    "ratio": "16:9",
    "seed": 7,
    "fast": True,
    "nothing": None,
    "result": "kept",
    "shot": {"id": "spin", "items": "own key", "list": [1, 2], "part": {"deep": 3}},
    "run": {"date": RunDate.parse("2026-11-21+01:00")},
}
KNOWN = dict.fromkeys(SCOPE)


def compiled(text: str, known: KnownNames = KNOWN) -> Template:
    """Raises ExpressionError for the first problem."""
    problems = Problems()
    template = problems.gather(compile_template(text, known, Location(1, 1)))
    for problem in problems.errors:
        raise ExpressionError(problem.message, problem.hint)
    assert template is not None
    return template


def value(text: str) -> JsonValue:
    return compiled(text).evaluate(SCOPE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ ratio }}", "16:9"),
        ("${{ seed }}", 7),
        ("${{ fast }}", True),
        ("${{ nothing }}", None),
        ("${{ shot.list }}", [1, 2]),
        ("${{ shot }}", SCOPE["shot"]),
        ("${{ shot.part.deep + 1 }}", 4),
        ("${{ shot['id'] }}", "spin"),
        ("${{ shot.list[1] }}", 2),
        ("${{ result }}", "kept"),
        ("${{ -seed - 1.5 }}", -8.5),
        ("${{ 'tall' if ratio == '9:16' else 'wide' }}", "wide"),
        ("${{ seed > 3 and not fast or 'x' }}", "x"),
        ("${{ ratio in 'a 16:9 b' }}", True),
    ],
)
def test_a_scalar_that_is_one_expression_keeps_its_type(text: str, expected: JsonValue) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ${{ ratio }} b ${{ seed }}", "a 16:9 b 7"),
        (" ${{ seed }}", " 7"),
        ("${{ fast }}/${{ nothing }}", "true/null"),
        ("on ${{ run.date }}, day ${{ run.date.yday }}", "on 2026-11-21, day 325"),
        ("${{ run.date.weekday }}.", "5."),
        ("${{ '}}' }}${{ \"${{\" }}", "}}${{"),
        ("{{ seed }} ${seed} {% x %}", "{{ seed }} ${seed} {% x %}"),
    ],
)
def test_an_expression_inside_text_becomes_text(text: str, expected: str) -> None:
    assert value(text) == expected


def test_a_key_of_an_object_wins_over_a_method_of_python() -> None:
    assert value("${{ shot.items }}") == "own key"
    with pytest.raises(ExpressionError):
        value("${{ shot.keys }}")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'  A b ' | trim | lower", "a b"),
        ("'a' | upper", "A"),
        ("'a b' | title", "A B"),
        ("'Tea / pot 16:9' | slug", "Tea-pot-16x9"),
        ("'12' | int", 12),
        ("seed | string", "7"),
        ("shot.list | length", 2),
        ("nothing | default('x')", "x"),
        ("shot.missing | default('x')", "x"),
        ("run.date | string", "2026-11-21"),
        ("run.date | date('%G-W%V')", "2026-W47"),
    ],
)
def test_the_filters_are_a_short_list(source: str, expected: JsonValue) -> None:
    assert value(f"${{{{ {source} }}}}") == expected
    assert len(FILTERS) == 10


@pytest.mark.security(3)
@pytest.mark.parametrize(
    "source",
    [
        "seed ** 20000000",
        "'a' * 10",
        "'%s' % ratio",
        "ratio ~ ratio",
        "range(10)",
        "ratio.format(1)",
        "ratio | center(300000000)",
        "ratio | replace('a', 'b')",
        "''.__class__",
        "shot.__init__",
        "shot['__class__']",
        "shot.id.upper",
        "ratio.join",
        "run.date.replace",
        "run.date.date",
        "[1, 2]",
        "{'a': 1}",
        "1, 2",
        "ratio[0:1]",
        "ratio is string",
        "7 / 0",
        "7 // 2",
        "self",
        "ratio | attr('x')",
        "a b",
        "seed +",
        "",
        "'16' | nothere",
        "seed + ratio",
        "ratio | int",
        "shot.missing",
        "1e308 + 1e308",
        "'a' if seed == 0",
    ],
)
def test_what_is_not_needed_is_refused(source: str) -> None:
    """Security line 3, and each mistake in words instead of a traceback."""
    with pytest.raises(ExpressionError):
        value(f"${{{{ {source} }}}}")


@pytest.mark.security(3)
def test_refusing_comes_before_computing() -> None:
    """Jinja computes constants while it compiles, and these would take hours or more memory than there is."""
    begin = time.perf_counter()
    for source in ("9 ** 9 ** 9", "'ab' * 2000000000000", "'%99999999999d' % 1"):
        with pytest.raises(ExpressionError):
            value(f"${{{{ {source} }}}}")
    assert time.perf_counter() - begin < 30


@pytest.mark.parametrize("opener", ["(", "not ", "-", "[", "(not -"])
def test_deep_nesting_is_an_error_and_no_crash(opener: str) -> None:
    with pytest.raises(ExpressionError):
        value("${{ " + opener * (990 // len(opener)) + " }}")


def test_a_long_expression_and_a_long_result_are_refused() -> None:
    with pytest.raises(ExpressionError, match="longer than"):
        value("${{ seed" + " " * 1_000 + "}}")
    template = compiled("${{ a }}", {"a": None})
    assert template.evaluate({"a": "x" * MOST_RESULT}) == "x" * MOST_RESULT
    with pytest.raises(ExpressionError, match="more than"):
        template.evaluate({"a": "x" * (MOST_RESULT + 1)})
    with pytest.raises(ExpressionError, match="more than"):
        compiled("${{ a }}${{ a }}", {"a": None}).evaluate({"a": "x" * MOST_RESULT})


def test_an_open_expression_is_told() -> None:
    with pytest.raises(ExpressionError, match=r"without `}}`"):
        value("${{ seed")


def test_an_unknown_name_is_found_before_anything_runs() -> None:
    with pytest.raises(ExpressionError, match="unknown name `ratoi`") as caught:
        compiled("${{ 'x' if seed else ratoi }}")
    assert caught.value.hint == "did you mean `ratio`?"


def test_an_unknown_part_is_found_before_anything_runs() -> None:
    with pytest.raises(ExpressionError, match="`shot` has no `promt`") as caught:
        compiled("${{ shot.promt }}", {"shot": frozenset({"id", "prompt"})})
    assert caught.value.hint == "did you mean `prompt`?"
    with pytest.raises(ExpressionError, match="`env` has no `HOME`") as caught:
        compiled("${{ env['HOME'] }}", {"env": frozenset()})
    assert caught.value.hint == "list `HOME` under `env:`"


def test_an_object_inside_text_names_a_way_out() -> None:
    with pytest.raises(ExpressionError, match="is an object") as caught:
        value("a ${{ shot }}")
    assert "shot.id" in caught.value.hint


def test_a_value_never_becomes_an_expression_again() -> None:
    """Security line 2."""
    template = compiled("${{ a }} and ${{ a }}", {"a": None})
    assert template.evaluate({"a": "${{ seed }}"}) == "${{ seed }} and ${{ seed }}"


@given(st.text(max_size=200))
def test_any_text_is_a_template_or_an_expression_error(text: str) -> None:
    try:
        found = compiled("${{" + text).evaluate(SCOPE)
    except ExpressionError:
        return
    assert found is None or isinstance(found, bool | int | float | str | list | dict)


@given(st.text().filter(lambda text: "${{" not in text))
def test_text_without_an_expression_stays_as_it_is(text: str) -> None:
    assert compiled(text, {}).evaluate({}) == text
