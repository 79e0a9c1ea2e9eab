"""Runs whose inputs are signed addresses with a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.record.show import InputByKey, describe
from runner.sandbox import SandboxServer
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio


def signed_job(bench: RunBench, signature: str) -> Path:
    url = f"https://host/lake.png?X-Amz-Signature={signature}"
    item = f"  - {{type: image_url, image_url: {{url: '{url}', key: lake}}}}\n"
    return bench.write_job(job_text(seeds=2).replace("output:", f"{item}output:"))


async def test_an_address_that_is_signed_anew_buys_nothing(bench: RunBench, server: SandboxServer) -> None:
    for signature in ("first", "second"):
        result = await bench.run(signed_job(bench, signature))
        assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    urls = {task.request["content"][1]["image_url"]["url"] for task in server.tasks()}
    assert urls == {"https://host/lake.png?X-Amz-Signature=first"}


async def test_show_tells_the_name_of_an_address(bench: RunBench) -> None:
    await bench.run(signed_job(bench, "first"))
    (task, *_) = bench.manifest()["tasks"]
    with bench.ledger() as ledger:
        row = ledger.read.task(task["identity"])
        assert row is not None
        shown = describe(ledger.read, row, bench.project)
    assert shown.inputs == (InputByKey(None, "lake"),)


@pytest.mark.security(16)
async def test_a_named_address_stands_in_no_record(bench: RunBench) -> None:
    """Its name does; the copy of the job file is the person's own text."""
    await bench.run(signed_job(bench, "canary"))
    (task, *_) = bench.manifest()["tasks"]
    assert task["request"]["content"][1]["image_url"] == {"url": "key:lake"}
    written = [
        file
        for file in bench.root.rglob("*")
        if file.is_file() and b"canary" in file.read_bytes() and file.suffix != ".yaml"
    ]
    assert written == []


async def test_what_is_in_flight_is_fetched_though_its_address_was_signed_anew(
    bench: RunBench, server: SandboxServer
) -> None:
    """The run ends while its tasks are in flight, and the next one has another signature."""
    await bench.run(signed_job(bench, "first"), until=lambda: server.accepted == 2)
    result = await bench.run(signed_job(bench, "second"))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
