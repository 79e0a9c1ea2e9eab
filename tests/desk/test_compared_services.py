"""The contact sheet of a run over several services."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.desk.contact_sheet import ContactSheet, data_of, read_contact_sheet
from runner.job.files.sources import JobCopy
from runner.plan.task import Task
from tests.support.ledger_story import Story, make_run, make_task


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story(run=make_run(origin="sandbox", provider="mesh, getimg"))
    yield made
    made.ledger.close()


def at(account: str, index: int, **changes: Any) -> Task:
    task = make_task(index)
    provider = changes.pop("provider", account)
    return replace(
        task,
        provider=provider,
        account=account,
        model_name=account,
        cell={**task.cell, "model": account},
        **changes,
    )


def sheet_of(story: Story, tasks: list[Task], target: Path) -> ContactSheet:
    story.write(target / "manifest.json", tasks)
    return read_contact_sheet(target / "manifest.json", JobCopy(b""), root=target)


def test_each_task_tells_its_account_and_its_prompt_in_its_services_words(
    story: Story, tmp_path: Path
) -> None:
    request = {"model": "m", "prompt": "A teapot", "aspect_ratio": "9:16"}
    sheet = sheet_of(story, [at("mesh", 1), at("getimg", 2, request=request)], tmp_path)

    of_mesh, of_getimg = sheet.tasks
    assert (of_mesh["account"], of_getimg["account"]) == ("mesh", "getimg")
    assert (of_getimg["prompt"], of_getimg["aspect"]) == ("A teapot", 0.5625)
    assert data_of(sheet)["compares"] is True


def test_two_accounts_of_one_service_are_compared_too(story: Story, tmp_path: Path) -> None:
    sheet = sheet_of(story, [at("mesh", 1), at("acme", 2, provider="mesh")], tmp_path)

    assert [task["account"] for task in sheet.tasks] == ["mesh", "acme"]


def test_one_service_is_compared_with_nothing(story: Story, tmp_path: Path) -> None:
    assert data_of(sheet_of(story, [at("mesh", 1), at("mesh", 2)], tmp_path))["compares"] is False


@pytest.mark.parametrize(
    ("origin", "option"),
    [
        ("sandbox", ("--sandbox",)),
        ("sandbox, sandbox:gpu", ("--sandbox",)),
        ("http://127.0.0.1:9", ("--base-url", "http://127.0.0.1:9")),
        ("https://api.meshapi.ai, https://api.getimg.ai", ()),
    ],
)
def test_its_commands_lead_to_the_services_of_the_run(
    story: Story, origin: str, option: tuple[str, ...], tmp_path: Path
) -> None:
    story.write(tmp_path / "manifest.json", [at("mesh", 1)], run=replace(story.run, origin=origin))
    sheet = read_contact_sheet(tmp_path / "manifest.json", JobCopy(b""), root=tmp_path)

    assert sheet.commands.option == option


def test_a_server_on_loopback_that_an_account_names_is_real(story: Story, tmp_path: Path) -> None:
    (tmp_path / "callsheet.yaml").write_text(
        "version: 1\naccounts: {here: {provider: mesh, base_url: 'http://127.0.0.1:9'}}\n", encoding="utf-8"
    )
    run = replace(story.run, provider="mesh", origin="http://127.0.0.1:9")
    story.write(tmp_path / "manifest.json", [at("here", 1, provider="mesh")], run=run)
    sheet = read_contact_sheet(tmp_path / "manifest.json", JobCopy(b""), root=tmp_path)

    assert sheet.is_rehearsal is False
    assert sheet.commands.option == ()
