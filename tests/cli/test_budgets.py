"""Budgets of the project through the command line: the sandbox's own count is the oracle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.sandbox import SandboxConfig, SandboxServer

JOB = """\
version: 1
models: [{models}]
seeds: {seeds}
request: {{resolution: 480p, ratio: 1:1, duration: 4}}
content: [{{type: text, text: A paper boat}}]
price: {{usd_per_task: 0.7}}
run: {{concurrency: 1, poll: {{first: 20ms, min: 20ms, max: 50ms}}}}
output: out/{name}/${{{{ model }}}}-s${{{{ seed }}}}.mp4
"""
AT_ACME = "{id: byteplus/seedance-1-0-pro, at: acme}"
AT_ORCHID = "{id: byteplus/seedance-1-0-pro-fast, at: orchid}"


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0, 0))) as running:
        yield running


class Studio:
    """A real project: its accounts name servers on loopback."""

    def __init__(self, root: Path, server: SandboxServer) -> None:
        self.root, self.server = root, server

    def write(self, name: str, models: str, seeds: str) -> None:
        (self.root / f"{name}.yaml").write_text(JOB.format(name=name, models=models, seeds=seeds))

    def settings(self, budgets: str, **accounts: str) -> None:
        named = "".join(
            f"  {name}: {{{said}, base_url: '{self.server.url}', api_key_env: {name.upper()}_KEY}}\n"
            for name, said in accounts.items()
        )
        (self.root / "callsheet.yaml").write_text(
            f"version: 1\ntimezone: Europe/Berlin\naccounts:\n{named}budgets: [{budgets}]\n"
        )


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: SandboxServer) -> Studio:
    monkeypatch.chdir(tmp_path)
    for name in ("MESHAPI_BASE_URL", "MESHAPI_API_KEY", "MESHAPI_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACME_KEY", "rsk_acme_0123456789")
    monkeypatch.setenv("ORCHID_KEY", "rsk_orchid_0123456789")
    assert main(["-q", "init"]) == ExitCode.DONE
    made = Studio(tmp_path, server)
    made.settings("{day: {max_usd: 5}}", acme="provider: mesh", orchid="provider: mesh")
    return made


@pytest.mark.fault(114)
def test_a_day_s_cap_holds_over_three_jobs_two_accounts_four_starts_and_a_rename(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.write("a", AT_ACME, "1..4")
    studio.write("b", AT_ORCHID, "11..14")
    studio.write("c", f"{AT_ACME}, {AT_ORCHID}", "21..22")
    assert main(["run", "a.yaml"]) == ExitCode.DONE
    assert main(["run", "b.yaml", "c.yaml"]) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert "budgets[0].day.max_usd is 5.00 for the project on 20" in said
    assert "4.90 spent or in flight, the next task is about 0.70; it renews at 20" in said
    assert main(["run", "a.yaml", "b.yaml", "c.yaml"]) == ExitCode.REFUSED
    (studio.root / "c.yaml").rename(studio.root / "d.yaml")
    assert main(["run", "d.yaml"]) == ExitCode.REFUSED
    assert studio.server.accepted == 7
    capsys.readouterr()
    main(["budget", "--output-format", "json"])
    (told,) = json.loads(capsys.readouterr().out)["budgets"]
    assert (told["spent_usd"], told["in_flight_usd"], told["left_usd"]) == ("4.90", "0.00", "0.10")


def test_the_cap_of_one_account_stops_no_other(studio: Studio) -> None:
    studio.settings(
        "{where: {account: acme}, day: {max_tasks: 1}}", acme="provider: mesh", orchid="provider: mesh"
    )
    studio.write("c", f"{AT_ACME}, {AT_ORCHID}", "1..3")
    assert main(["run", "c.yaml"]) == ExitCode.REFUSED
    assert studio.server.accepted == 4


def test_a_job_that_has_all_its_takes_is_not_refused_for_the_budget_that_another_one_met(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.settings("{day: {max_tasks: 3}}", acme="provider: mesh", orchid="provider: mesh")
    studio.write("a", AT_ACME, "1")
    studio.write("b", AT_ACME, "11..14")
    assert main(["run", "a.yaml", "b.yaml"]) == ExitCode.REFUSED
    said = capsys.readouterr()
    assert "a.yaml:\n1 task: 1 done; 1 submitted now" in said.out
    assert "next: callsheet run b.yaml" in said.err
    assert "next: callsheet run a.yaml" not in said.err


@pytest.mark.fault(114)
def test_a_task_without_a_price_is_above_a_budget_and_keeps_no_other_from_it(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of three has none, and comes first: at its own account and at the other one the rest goes on."""
    priced = "byteplus/dreamina-seedance-2-0"
    models = f"{AT_ORCHID}, {{id: {priced}, at: orchid, name: o}}, {{id: {priced}-fast, at: acme, name: a}}"
    studio.write("c", models, "1..2")
    job = studio.root / "c.yaml"
    sweep = "lint: {seed-sweep: off, seed-ignored: off}"
    job.write_text(job.read_text().replace("price: {usd_per_task: 0.7}", sweep))
    assert main(["run", "c.yaml"]) == ExitCode.REFUSED
    said = capsys.readouterr()
    assert "6 tasks: 2 new, 4 done; 4 submitted now" in said.out
    assert "byteplus/seedance-1-0-pro-fast: budgets[0].day.max_usd is 5.00 for the project on 20" in said.err
    assert "the price of the next task is not known; hint: add its price to callsheet.yaml, " in said.err
    assert "`prices: {byteplus/seedance-1-0-pro-fast: {usd_per_task: 0.5}}`" in said.err
    assert "nothing more is submitted" not in said.err
    assert studio.server.accepted == 4
    assert main(["run", "c.yaml"]) == ExitCode.REFUSED
    assert studio.server.accepted == 4


def test_a_rehearsal_has_no_budgets_and_counts_in_none(studio: Studio) -> None:
    studio.settings("{day: {max_tasks: 0}}", acme="provider: mesh", orchid="provider: mesh")
    studio.write("a", AT_ACME, "1..2")
    assert main(["run", "a.yaml"]) == ExitCode.REFUSED
    assert main(["run", "a.yaml", "--sandbox"]) == ExitCode.DONE
    assert main(["run", "a.yaml"]) == ExitCode.REFUSED
    assert studio.server.accepted == 0


@pytest.mark.fault(116)
def test_a_bill_above_the_estimate_passes_the_cap_and_is_told(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.settings("{day: {max_usd: 0.15}}", acme="provider: getimg", orchid="provider: mesh")
    (studio.root / "a.yaml").write_text(
        "version: 1\nmodels: [{id: seedance-v1-pro, at: acme}]\nsamples: 3\n"
        "request: {duration: 4}\ncontent: [{type: text, text: A boat}]\nprice: {usd_per_task: 0.05}\n"
        "run: {concurrency: 1, poll: {first: 20ms, min: 20ms, max: 50ms}}\n"
    )
    assert main(["run", "a.yaml"]) == ExitCode.REFUSED
    assert studio.server.accepted == 1
    said = capsys.readouterr().err
    assert "is 0.15 for the project on 20" in said
    assert "0.20 spent or in flight, 0.05 above it" in said
    events = next(studio.root.glob("runs/2*/events.jsonl"))
    exceeded = [json.loads(line) for line in events.read_text().splitlines() if "budget.exceeded" in line]
    assert [event["cap"] for event in exceeded] == ["budgets[0].day"]


def test_where_nobody_can_read_the_budgets_nothing_is_submitted(studio: Studio) -> None:
    studio.write("a", AT_ACME, "1..2")
    with (studio.root / "callsheet.yaml").open("a") as file:
        file.write("budget: 5\n")
    assert main(["run", "a.yaml"]) == ExitCode.JOB_INVALID
    assert studio.server.accepted == 0
