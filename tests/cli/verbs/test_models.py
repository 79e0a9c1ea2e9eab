"""`callsheet models`."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.job.models_lock import LockedService, ModelsLock
from runner.money import Price, PriceUnit
from runner.providers.mesh import MESH
from runner.providers.published import Rate
from tests.support.terminal import on_terminal


def test_the_table_has_every_family_and_says_as_of_when(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(MESH.catalogue.families)
    assert lines[-1].startswith(
        f"as of {MESH.catalogue.as_of} (prices: {MESH.catalogue.prices_as_of}); source: "
    )


def test_one_model_is_told_whole_by_any_of_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "byteplus/dreamina-seedance-2-0-260128"]) == 0
    by_id = capsys.readouterr().out
    assert main(["models", "seedance-2-0"]) == 0
    assert capsys.readouterr().out == by_id
    assert "seed            no: ignored" in by_id
    assert "21:9 2206x946" in by_id
    assert "7.0 per million tokens, 4.3 with video among the inputs" in by_id


def test_a_model_that_another_service_alone_has_is_told_with_its_unit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = "bytedance/seedance-2.5/text-to-video"
    assert main(["models", model]) == 0
    told = capsys.readouterr().out
    assert "ratio           16:9 4:3 1:1 3:4 9:16 21:9 adaptive" in told
    assert "USD at 480p     0.2205 per second, unknown with video among the inputs" in told
    assert "size at" not in told
    assert "; source: the models' pages at fal.ai" in told.splitlines()[-1]
    assert main(["models", model, "--output-format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert row["usd_per_mtok"] is None
    assert row["usd_per_second"]["480p"] == {"plain": "0.2205", "with_video": None, "silent": "0.2205"}


def test_what_is_told_of_a_model_fits_a_narrow_terminal(tmp_path: Path) -> None:
    lines = on_terminal("models", "seedance-2-0", cwd=tmp_path, columns=60).text.splitlines()
    assert max(map(len, lines)) <= 60
    assert "size at 480p    16:9 864x496, 4:3 752x560, 1:1 640x640, 3:4" in lines


def test_json_keeps_prices_as_text_and_the_unknown_as_null(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--output-format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["as_of"], told["source"]) == (MESH.catalogue.as_of, MESH.catalogue.source)
    by_family = {row["family"]: row for row in told["models"]}
    assert by_family["seedance-2-0"]["usd_per_mtok"]["4k"] == {
        "plain": "4.0",
        "with_video": "2.4",
        "silent": "4.0",
    }
    assert by_family["seedance-1-0-pro"]["usd_per_mtok"] is None
    assert by_family["seedance-1-0-pro"]["frames"] == [29, 289]
    assert by_family["seedance-2-0"]["sizes"]["720p"]["16:9"] == {
        "width": 1280,
        "height": 720,
    }


def test_what_is_no_longer_sold_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    marked = {line.split()[0] for line in capsys.readouterr().out.splitlines() if "(retired)" in line}
    assert marked == {name for name, family in MESH.catalogue.families.items() if family.retired}
    assert 0 < len(marked) < len(MESH.catalogue.families)
    assert main(["models", "--output-format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)["models"]
    assert {row["family"] for row in told if row["retired"]} == marked


@pytest.mark.parametrize(
    ("model", "hint"),
    [("seedance-1-0-por", "did you mean `seedance-1-0-pro`?"), ("kling-3", "`callsheet models` lists")],
)
def test_an_unknown_model_is_a_wrong_argument(
    model: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", model]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"nothing is known of the model `{model}`; hint: {hint}" in captured.err


def test_what_the_project_s_files_say_of_prices_is_shown_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a model of which nothing else is known."""
    assert main(["-q", "init", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "callsheet.yaml").open("a") as file:
        file.write("prices: {kling/kling-2.6: {usd_per_second: 0.07}}\n")
    rate = Rate(Price(PriceUnit.TASK, Decimal("0.5")), sound=True)
    service = LockedService("2026-11-26T08:30:00.000Z", "https://api.example", {"kling/kling-2.6": (rate,)})
    (tmp_path / "models.lock.yaml").write_text(ModelsLock({"mesh": service}).text())
    assert main(["models", "kling/kling-2.6"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "price here     USD 0.07 per second (callsheet.yaml)",
        "price at mesh  USD 0.5 per task with sound (models.lock.yaml, 2026-11-26)",
    ]
