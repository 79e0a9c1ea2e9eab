"""The page of a run over several services: one column a service, and a price under each take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner.desk.contact_sheet import read_contact_sheet
from runner.desk.report import render
from runner.job.files.sources import JobCopy
from tests.browser.look import Open
from tests.support.ledger_story import Story, make_run, make_task

CELLS = [
    (account, shot, sample)
    for account in ("mesh", "getimg")
    for shot in ("kettle", "rain")
    for sample in (1, 2)
]


def page_of(target: Path) -> Path:
    """A run of two services, two shots and two takes of each, of which nothing was submitted."""
    story = Story(run=make_run(origin="sandbox", provider="mesh, getimg"))
    tasks = [
        replace(
            make_task(number),
            provider=account,
            account=account,
            model_name=account,
            sample=sample,
            cell={"model": account, "shot": shot, "sample": sample},
            estimate_micros=250_000 if account == "mesh" else None,
        )
        for number, (account, shot, sample) in enumerate(CELLS)
    ]
    story.write(target / "manifest.json", tasks)
    story.ledger.close()
    sheet = read_contact_sheet(target / "manifest.json", JobCopy(b""), root=target)
    page = target / "report.html"
    page.write_text(render(sheet, {}), encoding="utf-8")
    return page


def test_a_shot_is_a_row_a_service_a_column_and_its_takes_share_a_cell(tmp_path: Path, look: Open) -> None:
    found = look(page_of(tmp_path))

    texts = found.page.locator
    assert texts(".head-cell").all_inner_texts() == ["mesh", "getimg"]
    assert [text.strip() for text in texts(".rowhead span").all_inner_texts()] == ["kettle", "rain"]
    cells = found.page.locator(".cell").evaluate_all("all => all.map((one) => one.children.length)")
    assert cells == [2, 2, 2, 2]
    assert texts(".what").all_inner_texts() == ["t1", "t2"] * 4
    found.behaves()


def test_what_was_not_made_has_its_estimate_under_it(tmp_path: Path, look: Open) -> None:
    found = look(page_of(tmp_path))

    assert found.page.locator(".meta").all_text_contents()[:1] == ["about USD 0.25"]
    assert "price not known" in found.page.locator(".meta").all_text_contents()
