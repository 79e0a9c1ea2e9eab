"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runner.cli import options
from runner.cli.common_options import Common, common, common_options
from runner.cli.main import VERBS, callsheet
from runner.cli.verbs.sandbox import read_latency
from runner.errors import UsageError


@click.group()
@common_options
def group() -> None:
    pass


@group.command()
@options.service_options
@options.job_options
@common_options
def show(service: options.ServiceOptions, job_options: options.JobOptions) -> None:
    job = job_options
    click.echo(f"{common()}\n{service}\n{job.date} {sorted(job.allow_env)} {job.trust_job}")


@pytest.mark.parametrize(
    "arguments",
    [["--root", "here", "-q", "show"], ["show", "--root", "here", "-q"], ["--root", "here", "show", "-q"]],
)
def test_common_options_stand_before_or_after_the_verb(arguments: list[str]) -> None:
    told = CliRunner().invoke(group, arguments).output.splitlines()[0]
    assert told == str(Common(Path("here"), quiet=True))


def test_the_nearer_common_option_wins() -> None:
    told = CliRunner().invoke(group, ["--root", "far", "show", "--root", "near"]).output.splitlines()[0]
    assert told == str(Common(Path("near")))


def test_options_arrive_as_one_object_each() -> None:
    arguments = [
        "show",
        "--sandbox",
        "--date",
        "2026-05-31",
        "--allow-env",
        "A",
        "--allow-env",
        "B",
        "--trust-job",
    ]
    _, service, job = CliRunner().invoke(group, arguments).output.splitlines()
    assert service == str(options.ServiceOptions(sandbox=True, base_url=None))
    assert job == "2026-05-31 ['A', 'B'] True"


def test_a_date_that_is_none_is_refused_with_an_example() -> None:
    refused = CliRunner().invoke(group, ["show", "--date", "31.5.2026"])
    assert isinstance(refused.exception, UsageError)
    assert "write it as 2026-05-31" in refused.exception.hint


def test_a_rehearsal_has_no_base_url() -> None:
    refused = CliRunner().invoke(group, ["show", "--sandbox", "--base-url", "http://127.0.0.1:1"])
    assert refused.exit_code == 2
    assert "exclude each other" in refused.output


def test_outside_of_a_command_the_common_options_have_their_defaults() -> None:
    assert common() == Common()


@pytest.mark.parametrize(
    ("text", "bounds"), [("2", (2.0, 2.0)), ("1..3", (1.0, 3.0)), ("0", (0.0, 0.0)), ("0.1..0.2", (0.1, 0.2))]
)
def test_a_latency_is_a_number_or_a_range(text: str, bounds: tuple[float, float]) -> None:
    assert read_latency(None, None, text) == bounds


@pytest.mark.parametrize("text", ["", "x", "3..1", "-1", "1..", "nan", "inf", "1..2..3"])
def test_any_other_latency_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"1\.\.3"):
        read_latency(None, None, text)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    """The name in the list of verbs is the command's own, and `--help` needs no project."""
    told = CliRunner().invoke(callsheet, [verb, "--help"])
    assert told.exit_code == 0
    assert f"callsheet {verb}" in told.output
    assert "--root" in told.output
