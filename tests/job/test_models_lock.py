"""models.lock.yaml: what is written is read again, and its prices come after a person's and before ours."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import JobError
from runner.job.models_lock import LOCK_FILE, LockedService, ModelsLock
from runner.job.project.load_lock import load_models_lock
from runner.money import Price, PriceUnit
from runner.plan.prices import price_words
from runner.providers.published import Rate
from tests.support.job_bench import TEXT, JobBench

MODEL = "byteplus/dreamina-seedance-2-0"
JOB = f"version: 1\nmodels: [{MODEL}-260128]\n{TEXT}request: {{resolution: 720p, ratio: 16:9, duration: 5}}\n"

_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,60}", fullmatch=True)
_RATES = st.builds(
    Rate,
    st.builds(
        Price,
        st.sampled_from(PriceUnit),
        st.decimals(min_value="0.000001", max_value="999999", places=6, allow_nan=False),
    ),
    st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
)
_SERVICES = st.builds(
    LockedService,
    st.just("2026-11-26T08:30:00.000Z"),
    st.just("https://api.example.com/v1/models?type=video"),
    st.dictionaries(_IDS, st.lists(_RATES, max_size=3).map(tuple), max_size=4),
)


@given(services=st.dictionaries(st.sampled_from(["mesh", "getimg"]), _SERVICES))
def test_what_is_written_is_read_again_and_written_the_same(
    services: dict[str, LockedService], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lock")
    text = ModelsLock(services).text()
    (folder / LOCK_FILE).write_text(text, encoding="utf-8")
    found = load_models_lock(folder)
    assert {name: dict(one.models) for name, one in found.services.items()} == {
        name: one.models for name, one in services.items()
    }
    assert found.text() == text


def lock(root: Path, *rates: Rate, model: str = MODEL, provider: str = "mesh") -> None:
    service = LockedService("2026-11-26T08:30:00.000Z", "https://api.meshapi.ai", {model: rates})
    (root / LOCK_FILE).write_text(ModelsLock({provider: service}).text(), encoding="utf-8")


def per_mtok(usd: str, **only: object) -> Rate:
    return Rate(Price(PriceUnit.MTOK, Decimal(usd)), **only)  # type: ignore[arg-type]


def test_the_prices_in_order_are_the_jobs_the_projects_the_locks_and_the_public_one(tmp_path: Path) -> None:
    bench = JobBench(tmp_path)
    prices = [bench.tasks(JOB)[0].price]
    lock(tmp_path, per_mtok("6.5"))
    prices += [bench.tasks(JOB)[0].price]
    (tmp_path / "callsheet.yaml").write_text(f"version: 1\nprices: {{{MODEL}: {{usd_per_mtok: 6}}}}\n")
    prices += [bench.tasks(JOB)[0].price]
    prices += [bench.tasks(JOB + "price: {usd_per_mtok: 5}\n")[0].price]
    assert [price and price.usd for price in prices] == [
        Decimal("7.0"),
        Decimal("6.5"),
        Decimal(6),
        Decimal(5),
    ]


@pytest.mark.parametrize(
    ("rates", "usd"),
    [
        ((per_mtok("6", resolution="480p"), per_mtok("8", resolution="720p")), "8"),
        ((per_mtok("6"), per_mtok("9", sound=True)), "9"),  # the job leaves sound to the service
        ((per_mtok("6"), per_mtok("9", with_video=True)), "6"),
        ((per_mtok("6", resolution="480p"),), "7.0"),  # none is for it: the public one
        ((per_mtok("6"), Rate(Price(PriceUnit.TASK, Decimal(1)))), "7.0"),  # which of the two, nobody knows
        ((), "7.0"),
    ],
)
def test_of_several_rates_the_dearest_that_may_be_for_the_request_counts(
    tmp_path: Path, rates: tuple[Rate, ...], usd: str
) -> None:
    bench = JobBench(tmp_path)
    lock(tmp_path, *rates)
    [task] = bench.tasks(JOB)
    assert task.price is not None
    assert task.price.usd == Decimal(usd)


def test_a_lock_is_of_one_service_and_changes_no_identity(tmp_path: Path) -> None:
    bench = JobBench(tmp_path)
    [before] = bench.tasks(JOB)
    lock(tmp_path, per_mtok("1"), provider="getimg")
    [other] = bench.tasks(JOB)
    lock(tmp_path, per_mtok("1"))
    [after] = bench.tasks(JOB)
    assert before.price == other.price != after.price
    assert before.identity == after.identity


def test_a_plan_says_which_file_its_prices_are_from(tmp_path: Path) -> None:
    bench = JobBench(tmp_path)
    assert list(price_words(bench.load(JOB))) == []
    lock(tmp_path, per_mtok("6"))
    assert list(price_words(bench.load(JOB))) == [
        f"prices from models.lock.yaml, asked on 2026-11-26: {MODEL}-260128"
    ]
    (tmp_path / "callsheet.yaml").write_text(f"version: 1\nprices: {{{MODEL}: {{usd_per_mtok: 6}}}}\n")
    assert list(price_words(bench.load(JOB))) == [f"prices from callsheet.yaml: {MODEL}-260128"]


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        ("{usd_per_mtok: -1}", "must be above 0"),
        ("{usd_per_mtok: 0}", "must be above 0"),
        ("{usd_per_mtok: '7'}", "must be a number"),
        ("{resolution: 720p}", "has no price"),
        ("{usd_per_mtok: 7, usd_per_task: 1}", "two ways to say what a task costs"),
        ("{usd_per_mtok: 7, sound: yes}", "must be true or false"),
    ],
)
def test_a_lock_that_was_edited_badly_stops_plans_at_its_line(tmp_path: Path, rate: str, told: str) -> None:
    bench = JobBench(tmp_path)
    lock(tmp_path)
    file = tmp_path / LOCK_FILE
    file.write_text(file.read_text().replace("[]", f"[{rate}]"))
    with pytest.raises(JobError, match=f"models.lock.yaml:9:.*{told}"):
        bench.load(JOB)


def test_a_merge_conflict_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("<<<<<<< ours\nversion: 1\n=======\n")
    with pytest.raises(JobError, match=r"models\.lock\.yaml:.*callsheet models --refresh"):
        load_models_lock(tmp_path)
