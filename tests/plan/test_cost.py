from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.json_value import JsonValue
from runner.money import MICROS, Price, PriceUnit, limit_micros, micros, usd_text
from runner.plan.cost import Estimate, Total, estimate, token_count
from runner.providers.ark import ARK
from runner.providers.getimg import GETIMG
from runner.providers.mesh import MESH
from runner.providers.provider import Provider

SECOND = "byteplus/dreamina-seedance-2-0-260128"
PRO = "byteplus/seedance-1-0-pro"
DRAFTS = "byteplus/dreamina-seedance-2-5"
ON_ARK = {SECOND: "dreamina-seedance-2-0-260128", DRAFTS: "dreamina-seedance-2-5-260628"}
TEXT: JsonValue = {"type": "text", "text": "A teapot"}
VIDEO: JsonValue = {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}


def reckon(
    *content: JsonValue, own: Price | None = None, provider: Provider = MESH, **fields: JsonValue
) -> Estimate:
    """The estimate of 5 s at 720p 16:9 on Seedance 2.0, but for `fields`."""
    request: dict[str, JsonValue] = {
        "model": SECOND,
        "resolution": "720p",
        "ratio": "16:9",
        "duration": 5,
        "content": [TEXT, *content],
    }
    request |= fields
    return estimate(provider, {name: value for name, value in request.items() if value is not None}, own)


def price(unit: str, usd: str) -> Price:
    return Price(PriceUnit(unit), Decimal(usd))


def test_five_seconds_at_720p_cost_what_was_billed() -> None:
    found = reckon()
    assert (found.tokens, found.micros, found.note) == (108_900, 762_300, "")


def test_the_other_published_bill_is_met_exactly() -> None:
    assert token_count(121, 1920, 1080) == 245_025


@pytest.mark.parametrize(
    ("resolution", "published"), [("480p", "0.35"), ("720p", "0.76"), ("1080p", "1.87"), ("4k", "3.89")]
)
def test_the_published_examples_are_met(resolution: str, published: str) -> None:
    """The price list reckons with 120 frames, the bills with 121: ours is above by that one frame."""
    amount = reckon(resolution=resolution).micros
    assert amount is not None
    usd = Decimal(amount) / MICROS
    assert (usd * 120 / 121).quantize(Decimal("0.01")) == Decimal(published)
    assert abs(usd - Decimal(published)) / Decimal(published) < Decimal("0.02")


def test_frames_count_as_they_are() -> None:
    found = reckon(model="seedance-1-0-pro-250428", frames=57, duration=None)
    assert found.tokens == token_count(57, 1248, 704)


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"ratio": "adaptive"}, "`ratio` is left to the service, so the size is not known"),
        ({"ratio": None}, "`ratio` is left to the service, so the size is not known"),
        ({"resolution": None}, "`resolution` is left to the service, so the size is not known; no price of"),
        ({"ratio": "2:1"}, "the size of 720p at 2:1 is not known"),
        ({"model": "other/new"}, "nothing is known of other/new; no price of other/new is known at 720p"),
    ],
)
def test_unknown_stays_unknown(fields: dict[str, JsonValue], note: str) -> None:
    found = reckon(**fields)
    assert (found.tokens, found.micros) == (None, None)
    assert found.note.startswith(note)


def test_a_model_without_a_public_price_has_tokens_only() -> None:
    found = reckon(model=PRO)
    assert (found.tokens, found.micros) == (token_count(121, 1248, 704), None)
    assert found.note == f"no price of {PRO} is known at 720p"


@pytest.mark.parametrize(
    ("model", "duration", "seconds"),
    [
        (SECOND, None, 5),
        (SECOND, -1, 15),
        (DRAFTS, None, 30),
        (DRAFTS, -1, 30),
        (DRAFTS, 4, 4),
        ("seedance-1-5-pro", -1, 12),
    ],
)
def test_a_length_that_the_model_chooses_is_taken_at_its_most(
    model: str, duration: int | None, seconds: int
) -> None:
    found = reckon(model=model, duration=duration)
    assert found.tokens == token_count(24 * seconds + 1, 1280, 720)
    chosen = f"the model chooses `duration`: {seconds} s at most" if seconds in (12, 15, 30) else ""
    assert found.note == chosen


@pytest.mark.parametrize(
    ("model", "fields", "usd"),
    [
        (DRAFTS, {}, "10.70"),
        (DRAFTS, {"resolution": "1080p"}, "11.70"),
        ("dreamina-seedance-2-0-fast-260128", {}, "5.6"),
        ("dreamina-seedance-2-0-mini-260615", {"resolution": "480p"}, "3.5"),
        ("seedance-1-5-pro", {}, "2.4"),
        ("seedance-1-5-pro", {"generate_audio": True}, "2.4"),
        ("seedance-1-5-pro", {"generate_audio": False}, "1.2"),
        (SECOND, {"generate_audio": False}, "7.0"),
    ],
)
def test_the_price_list_by_model_size_and_sound(model: str, fields: dict[str, JsonValue], usd: str) -> None:
    assert reckon(model=model, **fields).price == price("usd_per_mtok", usd)


@pytest.mark.parametrize("provider", [MESH, ARK])
@pytest.mark.parametrize(("model", "usd", "seconds"), [(SECOND, "4.3", 15), (DRAFTS, "6.40", 30)])
@pytest.mark.parametrize("duration", [5, 15])
def test_the_videos_among_the_inputs_count_as_long_as_they_may_be(
    provider: Provider, model: str, usd: str, seconds: int, duration: int
) -> None:
    """The least that is billed lies below that: 9 s where 5 s are made."""
    model = model if provider is MESH else ON_ARK[model]
    found = reckon(VIDEO, VIDEO, model=model, provider=provider, duration=duration)
    assert found.tokens == token_count(24 * (duration + seconds) + 1, 1280, 720)
    assert found.tokens > token_count(24 * 9 * duration // 5, 1280, 720)
    assert found.price == price("usd_per_mtok", usd)
    assert found.micros == -(-found.tokens * Decimal(usd) // 1)
    assert found.note == f"the videos among the inputs count, {seconds} s at most"


def test_a_video_for_a_model_that_takes_none_has_no_known_price() -> None:
    found = reckon(VIDEO, model=PRO)
    assert (found.tokens, found.micros, found.price) == (None, None, None)


def test_with_a_video_the_price_is_known_only_where_the_size_is() -> None:
    found = reckon(VIDEO, ratio="adaptive")
    assert (found.tokens, found.micros) == (None, None)
    assert "`ratio` is left to the service" in found.note


def test_1080p_at_21_9_has_its_published_size() -> None:
    assert reckon(resolution="1080p", ratio="21:9").tokens == token_count(121, 2206, 946)


def test_a_final_of_a_draft_is_as_large_as_its_draft() -> None:
    found = reckon({"type": "draft_task", "draft_task": {"id": "t-1"}}, model=DRAFTS)
    assert (found.tokens, found.note.split(";")[0]) == (None, "its size and length are those of its draft")


def test_a_draft_is_made_at_480p() -> None:
    assert reckon(model=DRAFTS, draft=True, resolution=None).tokens == token_count(121, 854, 480)


@pytest.mark.parametrize(
    ("own", "usd"),
    [
        (price("usd_per_mtok", "2.4"), "0.26136"),
        (price("usd_per_second", "0.05"), "0.25"),
        (price("usd_per_task", "0.3"), "0.3"),
        (price("usd_per_task", "0"), "0"),
    ],
)
def test_a_job_s_own_price_comes_first(own: Price, usd: str) -> None:
    assert reckon(own=own).micros == micros(Decimal(usd))


def test_a_price_per_second_holds_for_frames_and_for_the_longest_that_a_model_chooses() -> None:
    own = price("usd_per_second", "0.24")
    assert reckon(own=own, frames=29, duration=None).micros == 290_000
    assert reckon(own=own, duration=-1).micros == 3_600_000
    unknown = reckon(own=own, model="other/new", duration=-1)
    assert (unknown.micros, unknown.note.split("; ")[-1]) == (None, "its duration is not known")


def test_a_price_per_task_needs_to_know_nothing_else() -> None:
    assert reckon(own=price("usd_per_task", "0.3"), model="other/new", duration=None).micros == 300_000


def test_another_service_has_no_tokens_and_no_list_price() -> None:
    found = reckon(provider=GETIMG, model="seedance-v1-pro")
    assert (found.tokens, found.micros, found.price) == (None, None, None)
    per_second = price("usd_per_second", "0.05")
    assert reckon(provider=GETIMG, model="seedance-v1-pro", own=per_second).micros == 250_000
    per_token = reckon(provider=GETIMG, model="seedance-v1-pro", own=price("usd_per_mtok", "2"))
    assert (per_token.micros, per_token.note) == (None, "getimg does not bill by tokens")


def test_a_total_counts_what_is_not_known_apart() -> None:
    total = Total()
    for tokens, amount in ((108_900, 762_300), (108_900, None), (None, 100_000)):
        total.add(tokens, amount)
    assert total == Total(3, 217_800, 862_300, without_tokens=1, without_price=1)


@given(st.decimals(min_value=0, max_value=10_000, places=9, allow_nan=False))
def test_micros_are_never_below_the_amount(usd: Decimal) -> None:
    assert 0 <= Decimal(micros(usd)) / 1_000_000 - usd < Decimal("0.000001")


@given(st.decimals(min_value=0, max_value=10_000, places=9, allow_nan=False))
def test_a_limit_is_never_above_what_was_written(usd: Decimal) -> None:
    assert 0 <= usd - Decimal(limit_micros(usd)) / MICROS < Decimal("0.000001")


@given(st.integers(min_value=0, max_value=10**12))
def test_money_as_text_is_exact(amount: int) -> None:
    assert micros(Decimal(usd_text(amount))) == amount


def test_money_is_written_in_one_form_and_never_rounded() -> None:
    """With a cap of 0.01, 0.008 spent and 0.004 to come are not `0.01` and `0.00`."""
    amounts = (0, 1, 400, 8_000, 10_000, 762_300, 1_204_500_000)
    words = ["0.00", "0.000001", "0.0004", "0.008", "0.01", "0.7623", "1204.50"]
    assert [usd_text(amount) for amount in amounts] == words


def of_final(**fields: JsonValue) -> Estimate:
    """The estimate of the final of a draft of 5 s at 16:9."""
    draft: dict[str, JsonValue] = {"model": DRAFTS, "draft": True, "ratio": "16:9", "duration": 5}
    request: dict[str, JsonValue] = {
        "model": DRAFTS,
        "content": [{"type": "draft_task", "draft_task": {"id": "step:0/task_id"}}],
    }
    return estimate(MESH, {**request, **fields}, None, draft={**draft, "content": [TEXT]})


def test_a_final_is_reckoned_by_its_draft_at_the_largest_size_unless_it_says_one() -> None:
    whole = {"model": DRAFTS, "ratio": "16:9", "duration": 5}
    assert of_final().tokens == reckon(**whole, resolution="1080p").tokens
    assert of_final(resolution="720p").tokens == reckon(**whole, resolution="720p").tokens
    assert of_final().micros is not None


def test_a_final_of_a_draft_from_elsewhere_stays_unknown() -> None:
    content: JsonValue = {"type": "draft_task", "draft_task": {"id": "cgt-1"}}
    assert reckon(content, model=DRAFTS).tokens is None
