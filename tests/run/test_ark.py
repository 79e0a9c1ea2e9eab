"""Whole runs at Ark's side of the sandbox: killed and resumed, unclear submits found again by their tags."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
from PIL import Image

from runner.errors import ExitCode
from runner.ledger.states import TaskState
from runner.providers import BUILT_IN, every
from runner.providers.ark import ARK, TAG, TEXT_TAG
from runner.providers.ark.client import ArkClient
from runner.providers.base import ListPage, ListQuery
from runner.providers.provider import Provider, TagField
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.run_bench import RunBench
from tests.support.sandbox_requests import NO_TLS
from tests.support.unclear_runs import cut, settled

pytestmark = pytest.mark.anyio

NEWEST, SECOND, FIRST = (
    "dreamina-seedance-2-5-260628",
    "dreamina-seedance-2-0-260128",
    "seedance-1-0-pro-250528",
)
RUN = "run: {poll: {first: 20ms, min: 20ms, max: 50ms}, settle: 0s}\n"
HEAD = "version: 1\nprovider: ark\n"
TEXT = "content: [{type: text, text: a teapot}]\n"
SAMPLES = (
    f"{HEAD}models: [{SECOND}]\nsamples: %d\n"
    f"request: {{resolution: 480p, ratio: 16:9, duration: 4}}\n{TEXT}{RUN}"
)
FROM_IMAGE = (
    f"{HEAD}models: [{SECOND}]\n"
    "request: {resolution: 480p, ratio: adaptive, duration: 4, return_last_frame: true}\n"
    "content: [{type: text, text: a teapot}, {type: image_url, image_url: a.png, role: first_frame}]\n"
    f"output: out/teapot.mp4\n{RUN}"
)


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> Iterator[RunBench]:
    yield RunBench(root=tmp_path, url=server.url + ARK.base_path, key="any-key", provider="ark")
    stats = httpx.get(f"{server.url}/_sandbox/stats", verify=NO_TLS).json()
    # the same call cancels a queued task and deletes the one link to a paid video
    assert stats["deletes"] == 0


@pytest.fixture(autouse=True)
def speaks_as(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Provider], None]]:
    """Puts another declaration in the service's place: first one whose list waits for nothing between two
    pages.
    """

    def put(provider: Provider) -> None:
        monkeypatch.setitem(cast("dict[str, Any]", BUILT_IN), "ark", provider)
        every.cache_clear()

    assert ARK.listing is not None
    put(replace(ARK, listing=replace(ARK.listing, interval=0.0)))
    yield put
    every.cache_clear()


@pytest.fixture(params=[TAG, TEXT_TAG], ids=lambda tag: tag.field)
def tagged(request: pytest.FixtureRequest, speaks_as: Callable[[Provider], None]) -> str:
    """The provider as an account that chose this tag has it; gives the field's name."""
    speaks_as(replace(BUILT_IN["ark"], tag=request.param))
    return str(request.param.field)


def sent(server: SandboxServer) -> list[dict[str, Any]]:
    """The fields of each accepted request, the content left out."""
    return [
        {name: value for name, value in task.request.items() if name != "content"} for task in server.tasks()
    ]


def picture(bench: RunBench) -> None:
    file = io.BytesIO()
    Image.new("RGB", (640, 360), "teal").save(file, format="PNG")
    path = bench.root / "jobs" / "a.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())


async def test_an_image_becomes_a_video_with_its_last_frame(bench: RunBench, server: SandboxServer) -> None:
    picture(bench)
    result = await bench.run(bench.write_job(FROM_IMAGE))
    assert (result.exit_code, result.reasons) == (ExitCode.DONE, ())
    files = sorted(file.name for file in (bench.project.base / "out").iterdir())
    assert files == ["teapot.last.png", "teapot.mp4"]
    (request,) = sent(server)
    assert TAG.default - TAG.count < request[TAG.field] < TAG.default
    with bench.ledger() as ledger:
        (attempt,) = ledger.read.in_state(TaskState.DONE)
    # 97 frames at 864 x 496, at USD 7.0 for a million tokens
    assert attempt.cost_micros == pytest.approx(97 * 864 * 496 / 1024 * 7, abs=8)


async def test_a_run_that_is_killed_is_resumed_and_pays_once(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    job = bench.write_job(SAMPLES % 3)
    await bench.run(job, until=lambda: server.accepted == 3)
    server.faults.clear()
    again = await bench.run(job)
    assert (again.exit_code, again.counts) == (ExitCode.DONE, {TaskState.DONE: 3})
    assert (await bench.run(job)).exit_code is ExitCode.DONE
    assert server.accepted == 3


async def test_flex_is_asked_for_where_a_model_has_it(bench: RunBench, server: SandboxServer) -> None:
    """And an unclear submit of it is looked for in the list of that tier."""
    text = (SAMPLES % 4).replace(SECOND, FIRST).replace("duration: 4", "duration: 4, service_tier: flex")
    job = bench.write_job(text)
    server.faults.add(cut(accept=True, after=3))
    result = await bench.run(job)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 4)
    assert {request["service_tier"] for request in sent(server)} == {"flex"}
    assert settled(bench)[-1][0] == "adopted"


async def test_an_unclear_submit_is_found_again_by_its_tag(
    bench: RunBench, server: SandboxServer, tagged: str
) -> None:
    """Rows 7 to 9: four takes of one request look all the same but for the tag, and one answer is lost."""
    server.faults.add(cut(accept=True, after=3))
    result = await bench.run(bench.write_job(SAMPLES % 4))
    assert (result.exit_code, result.reasons, server.accepted) == (ExitCode.DONE, (), 4)
    assert settled(bench) == [("adopted", "tag")]
    values = [request[tagged] for request in sent(server)]
    assert len({*values}) == 4
    if tagged == TEXT_TAG.field:
        assert all(value.startswith("cs-") for value in values)
        assert not any(TAG.field in request for request in sent(server))


async def test_a_submit_that_never_arrived_is_made_again(
    bench: RunBench, server: SandboxServer, tagged: str
) -> None:
    server.faults.add(cut(accept=False, after=3))
    result = await bench.run(bench.write_job(SAMPLES % 4))
    assert (result.exit_code, result.reasons, server.accepted) == (ExitCode.DONE, (), 4)
    assert settled(bench)[0][0] == "absent"


@pytest.mark.fault(162)
@pytest.mark.parametrize(("before", "after"), [(TEXT_TAG, TAG), (TAG, TEXT_TAG)])
async def test_a_tag_that_moves_to_another_field_makes_no_unclear_submit_absent(
    bench: RunBench,
    server: SandboxServer,
    speaks_as: Callable[[Provider], None],
    before: TagField,
    after: TagField,
) -> None:
    """Its row shows nothing of ours where the account's tags stand now, and that field has earned belief."""
    plain = BUILT_IN["ark"]
    speaks_as(replace(plain, tag=before))
    server.faults.add(cut(accept=True))
    own = (SAMPLES % 1).replace("duration: 4", "duration: 4, safety_identifier: somebody")
    lost = bench.write_job(own if before is TAG else SAMPLES % 1, "jobs/lost.yaml")
    assert (await bench.run(lost)).exit_code is ExitCode.TRY_AGAIN
    speaks_as(replace(plain, tag=after))
    others = bench.write_job((SAMPLES % 3).replace("teapot", "kettle"), "jobs/others.yaml")
    await bench.run(others)
    await bench.run(lost)
    assert server.accepted == 4
    with bench.ledger() as ledger:
        (attempt,) = ledger.read.in_state(TaskState.HELD, TaskState.AMBIGUOUS)
        echoes = ledger.read.echoes(attempt.origin, attempt.key_hash, 0.0, after.tags)
    assert attempt.tag in before.tags
    assert [tags.same > 0 and not tags.other for tags, _, _ in echoes.values()] == [True]


async def test_a_put_off_intent_gets_a_tag_of_the_field_that_tags_stand_in_now(
    bench: RunBench, server: SandboxServer, speaks_as: Callable[[Provider], None]
) -> None:
    plain = BUILT_IN["ark"]
    speaks_as(replace(plain, tag=TEXT_TAG))
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=401, times=None))
    job = bench.write_job(SAMPLES % 2)
    assert (await bench.run(job)).exit_code is ExitCode.KEY_REFUSED
    server.faults.clear()
    speaks_as(replace(plain, tag=TAG))
    assert (await bench.run(job)).exit_code is ExitCode.DONE
    assert all(TAG.field in request for request in sent(server))


async def test_pages_are_asked_for_no_faster_than_the_service_allows(
    bench: RunBench,
    server: SandboxServer,
    speaks_as: Callable[[Provider], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also between one scan and the next."""
    interval, asked = 0.1, list[float]()
    assert ARK.listing is not None
    speaks_as(replace(ARK, listing=replace(ARK.listing, interval=interval, page=2)))
    plain = ArkClient.list_page

    async def timed(self: ArkClient, query: ListQuery) -> ListPage:
        if query.limit > 1:  # a ping is no scan
            asked.append(anyio.current_time())
        return await plain(self, query)

    monkeypatch.setattr(ArkClient, "list_page", timed)
    server.faults.add(cut(accept=False, after=3))
    assert (await bench.run(bench.write_job(SAMPLES % 4))).exit_code is ExitCode.DONE
    assert len(asked) >= 6
    # a moment less is a machine that stood still between the wait's end and the request
    assert all(later - earlier >= interval / 2 for earlier, later in pairwise(asked))


@pytest.mark.fault(13)
async def test_a_500_is_unclear_and_is_looked_up(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500, accept=True, after=2))
    result = await bench.run(bench.write_job(SAMPLES % 3))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 3)


@pytest.mark.fault(86)
async def test_a_quota_that_is_gone_stops_submitting(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=429, code="SetLimitExceeded", after=1, times=None)
    )
    result = await bench.run(bench.write_job((SAMPLES % 3).replace("settle", "concurrency: 1, settle")))
    assert (result.exit_code, server.accepted) == (ExitCode.OUT_OF_MONEY, 1)
    assert result.counts[TaskState.DONE] == 1


@pytest.mark.fault(85)
async def test_a_full_queue_is_waited_for(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(
        Fault(
            where=Where.SUBMIT,
            kind=Kind.ANSWER,
            status=429,
            code="QuotaExceeded",
            message="too many queued tasks",
            headers={"Retry-After": "0"},
        )
    )
    result = await bench.run(bench.write_job(SAMPLES % 1))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(88)
@pytest.mark.parametrize("end", ["failed", "expired", "cancelled"])
async def test_an_end_without_a_video_costs_nothing(bench: RunBench, server: SandboxServer, end: str) -> None:
    """Not even where its usage would say so, and a cap has room again."""
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text=end, code="InvalidParameter.TaskTypeMismatch")
    )
    job = bench.write_job((SAMPLES % 1) + "budget: {max_usd: 0.5}\n")
    result = await bench.run(job)
    assert result.exit_code is ExitCode.TASK_FAILED
    with bench.ledger() as ledger:
        spent = ledger.read.spend()
    assert (spent.micros, spent.unknown) == (0, 0)


async def test_a_callback_of_the_end_wakes_a_run_that_sleeps(bench: RunBench, server: SandboxServer) -> None:
    """It comes unsigned, so it says only that it is time to look."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    hook = f'webhook: {{public_url: "http://127.0.0.1:{port}/hooks", listen: "127.0.0.1:{port}"}}'
    run = f"run: {{poll: {{first: 60s, min: 60s, max: 60s}}, {hook}}}\n"
    with anyio.fail_after(20):
        result = await bench.run(bench.write_job((SAMPLES % 1).replace(RUN, run)))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 1)
    (request,) = sent(server)
    assert request["callback_url"].startswith(f"http://127.0.0.1:{port}/hooks/")


async def test_a_draft_is_made_and_then_its_final(bench: RunBench, server: SandboxServer) -> None:
    job = bench.write_job(
        f"""{HEAD}models: [{NEWEST}]
steps:
  draft:
    request: {{resolution: 480p, ratio: 16:9, duration: 4, draft: true}}
    content: [{{type: text, text: a teapot}}]
  final:
    needs: draft
    request: {{resolution: 1080p}}
    content: [{{type: draft_task, draft_task: "${{{{ needs.draft.task_id }}}}"}}]
{RUN}"""
    )
    result = await bench.run(job)
    assert (result.exit_code, result.reasons, server.accepted) == (ExitCode.DONE, (), 2)
    draft, final = server.tasks()
    assert (draft.echo["draft"], draft.echo["resolution"]) == (True, "480p")
    assert (final.echo["draft_task_id"], final.echo["resolution"]) == (draft.id, "1080p")
    assert final.request["content"] == [{"type": "draft_task", "draft_task": {"id": draft.id}}]


async def test_nothing_that_a_model_does_not_know_is_sent(bench: RunBench, server: SandboxServer) -> None:
    """Fields that ask for nothing are left out, and a seed on 2.x is not sent."""
    fields = "camera_fixed: false, generate_audio: false, draft: false, service_tier: default, seed: 7"
    text = (SAMPLES % 1).replace("duration: 4", f"duration: 4, {fields}").replace("samples: 1\n", "")
    job = bench.write_job(text.replace(SECOND, f"{SECOND}, {FIRST}"))
    result = await bench.run(job)
    assert (result.exit_code, result.reasons, server.accepted) == (ExitCode.DONE, (), 2)
    by_model = {request["ark_model"]: request.keys() for request in sent(server)}
    common = {"model", "ark_model", "resolution", "ratio", "duration", TAG.field}
    assert by_model[SECOND] == {*common, "generate_audio"}
    assert by_model[FIRST] == {*common, "service_tier", "seed"}
