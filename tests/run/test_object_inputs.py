"""Inputs that go to a service by an address which ends by itself, and that is written nowhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import ExitCode, JobError
from runner.http.verdicts import ProviderError
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.lane.uploads import signed
from runner.objects.address import ObjectAddress
from runner.objects.store import ObjectStore
from runner.plan.plan import Plan, make_plan
from runner.project import Project, init_project
from runner.providers import BUILT_IN
from runner.providers.base import InputFile
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.pictures import png
from tests.support.run_bench import RunBench
from tests.support.s3 import S3, Request, StoreFault

JOB = """\
version: 1
provider: ark
models: [dreamina-seedance-2-0-260128]
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content:
  - {{type: text, text: the boat turns}}
  - {{type: {kind}, {kind}: {url}, role: {role}}}
output: out/boat.mp4
run: {{poll: {{first: 20ms, min: 20ms, max: 50ms}}}}
"""


class RealBench(RunBench):
    @property
    def project(self) -> Project:
        return init_project(self.root)

    def plan(self, file: Path, *, trust_job: bool = False) -> Plan:
        options = LoadOptions(environ={}, trust_job=trust_job)
        job = load_job(file, root=self.root.resolve(), options=options)
        date = RunDate.parse("2026-11-27+01:00")
        return make_plan(job, origins={"ark": self.url}, run_date=date)


@pytest.fixture
def ark(tmp_path: Path) -> Iterator[RealBench]:
    with SandboxServer(SandboxConfig(provider="ark", latency=(0.0, 0.05), scale=0.05)) as server:
        url = server.url + BUILT_IN["ark"].base_path
        yield RealBench(tmp_path, url, SANDBOX_KEY, provider="ark")


def job_of(bench: RunBench, url: str, kind: str = "video_url", role: str = "reference_video") -> Path:
    return bench.write_job(JOB.format(url=url, kind=kind, role=role))


def project_file(bench: RunBench, text: str) -> None:
    (bench.root / "callsheet.yaml").write_text(f"version: 1\n{text}\n", encoding="utf-8")


def written(root: Path) -> bytes:
    """All that a run has left on the disk."""
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


@pytest.mark.anyio
@pytest.mark.fault(146)
@pytest.mark.security(28)
async def test_a_local_video_reaches_a_service_that_takes_urls_only(
    ark: RealBench, s3: S3, clip: bytes
) -> None:
    bucket = s3.bucket()
    (ark.root / "jobs").mkdir()
    (ark.root / "jobs" / "boat.mp4").write_bytes(clip)
    job = job_of(ark, "boat.mp4")
    with pytest.raises(JobError, match="uploads"):
        ark.plan(job)
    project_file(ark, f"uploads: s3://{bucket}/in")
    assert (await ark.run(job)).exit_code is ExitCode.DONE
    digest = hashlib.sha256(clip).hexdigest()
    assert s3.keys(bucket) == [f"in/sha256/{digest}.mp4"]
    (task,) = tasks_of(ark)
    assert digest in json.dumps(task["request"])
    assert b"X-Amz-" not in written(ark.root)
    assert bucket.encode() not in written(ark.root).replace(project_text(ark), b"")


def project_text(bench: RunBench) -> bytes:
    return (bench.root / "callsheet.yaml").read_bytes()


def tasks_of(bench: RunBench) -> list[dict[str, object]]:
    tasks = bench.manifest()["tasks"]
    assert isinstance(tasks, list)
    return tasks


@pytest.mark.anyio
@pytest.mark.fault(147)
async def test_an_object_has_the_identity_of_its_content(ark: RealBench, s3: S3) -> None:
    bucket, picture = s3.bucket(), png(320, 320)
    (ark.root / "jobs").mkdir()
    (ark.root / "jobs" / "boat.png").write_bytes(picture)
    s3.put(bucket, "refs/boat.png", picture)
    project_file(ark, f"inputs: [s3://{bucket}/refs]")
    first = job_of(ark, "boat.png", "image_url", "first_frame")
    assert (await ark.run(first)).exit_code is ExitCode.DONE
    second = job_of(ark, f"s3://{bucket}/refs/boat.png", "image_url", "first_frame")
    assert (await ark.run(second)).exit_code is ExitCode.DONE
    # the same picture: nothing is paid for again
    assert not ark.has_seen("task.submitted", 2)
    reads = s3.count("GET", "boat.png")
    assert (await ark.run(second)).exit_code is ExitCode.DONE
    assert s3.count("GET", "boat.png") == reads
    assert b"X-Amz-" not in written(ark.root)


@pytest.mark.anyio
async def test_an_object_goes_to_the_service_by_a_signed_address(ark: RealBench, s3: S3) -> None:
    bucket = s3.bucket()
    s3.put(bucket, "refs/boat.png", png(320, 320))
    project_file(ark, f"inputs: [s3://{bucket}/refs]")
    job = job_of(ark, f"s3://{bucket}/refs/boat.png", "image_url", "first_frame")
    assert (await ark.run(job)).exit_code is ExitCode.DONE
    assert b"X-Amz-" not in written(ark.root)


@pytest.mark.anyio
@pytest.mark.fault(147)
async def test_an_object_that_changed_since_it_was_planned_is_not_sent(ark: RealBench, s3: S3) -> None:
    bucket = s3.bucket()
    s3.put(bucket, "refs/boat.png", png(320, 320))
    project_file(ark, f"inputs: [s3://{bucket}/refs]")
    job = job_of(ark, f"s3://{bucket}/refs/boat.png", "image_url", "first_frame")

    def change(name: str, _fields: object) -> None:
        if name == "run.started":
            s3.put(bucket, "refs/boat.png", png(320, 640))

    ark.tell = change
    result = await ark.run(job)
    assert result.exit_code is ExitCode.TRY_AGAIN or result.exit_code is ExitCode.INPUT_MISSING
    assert "changed since the job was planned" in " ".join(result.reasons)
    assert not ark.has_seen("task.intended")


@pytest.mark.anyio
@pytest.mark.fault(147)
async def test_a_new_clone_knows_what_it_has_planned_with(ark: RealBench, s3: S3) -> None:
    """It has no state directory in which to remember it when the job is planned."""
    bucket = s3.bucket()
    s3.put(bucket, "refs/boat.png", png(320, 320))
    project_file(ark, f"inputs: [s3://{bucket}/refs]")
    job = job_of(ark, f"s3://{bucket}/refs/boat.png", "image_url", "first_frame")

    def change(name: str, _fields: object) -> None:
        if name == "run.started":
            (ark.project.state_dir / "objects.json").unlink(missing_ok=True)
            s3.put(bucket, "refs/boat.png", png(320, 640))

    ark.tell = change
    result = await ark.run(job)
    assert "changed since the job was planned" in " ".join(result.reasons)
    assert not ark.has_seen("task.intended")


@pytest.mark.anyio
@pytest.mark.fault(147)
async def test_a_plan_beside_the_run_does_not_hide_that_an_object_has_changed(ark: RealBench, s3: S3) -> None:
    """It has read the new content, and the run was planned with the old one."""
    bucket = s3.bucket()
    s3.put(bucket, "refs/boat.png", png(320, 320))
    project_file(ark, f"inputs: [s3://{bucket}/refs]")
    job = job_of(ark, f"s3://{bucket}/refs/boat.png", "image_url", "first_frame")

    def change(name: str, _fields: object) -> None:
        if name == "run.started":
            s3.put(bucket, "refs/boat.png", png(320, 640))
            ark.plan(job)

    ark.tell = change
    result = await ark.run(job)
    assert "changed since the job was planned" in " ".join(result.reasons)
    assert not ark.has_seen("task.intended")


@pytest.mark.fault(147)
@pytest.mark.parametrize("is_replaced", [False, True], ids=["cut short", "replaced"])
def test_an_object_that_is_not_read_as_it_stands_has_no_identity(
    ark: RealBench, s3: S3, is_replaced: bool
) -> None:
    """Its digest would be that of something which the service never gets."""
    bucket, picture = s3.bucket(), png(320, 320)
    s3.put(bucket, "refs/boat.png", picture)
    project_file(ark, f"inputs: [s3://{bucket}/refs]")
    job = job_of(ark, f"s3://{bucket}/refs/boat.png", "image_url", "first_frame")
    if is_replaced:
        s3.faults.append(lambda asked: replace_at_get(s3, bucket, asked))
    else:
        s3.fail("GET", "boat.png", StoreFault(body=picture[:100]))
    with pytest.raises(JobError, match="is changing just now"):
        ark.plan(job)
    s3.faults.clear()
    ark.plan(job)


def replace_at_get(s3: S3, bucket: str, asked: Request) -> None:
    """Between the look at an object and its bytes another one takes its place."""
    if asked.method == "GET":
        s3.put(bucket, "refs/boat.png", png(320, 640))


@pytest.mark.security(29)
def test_a_job_names_no_object_that_the_owner_has_not_allowed(ark: RealBench, s3: S3) -> None:
    bucket = s3.bucket()
    s3.put(bucket, "refs/boat.png", png(320, 320))
    s3.put(bucket, "private/boat.png", png(320, 320))
    project_file(ark, f"inputs: [s3://{bucket}/refs]")
    refused = (
        "private/boat.png",
        "refs/../private/boat.png",
        "refs%2f..%2fprivate/boat.png",
        "refsx/boat.png",
    )
    for key in refused:
        job = job_of(ark, f"s3://{bucket}/{key}", "image_url", "first_frame")
        with pytest.raises(JobError):
            ark.plan(job)
    assert s3.count("GET|HEAD") == 0
    job = job_of(ark, f"s3://{bucket}/private/boat.png", "image_url", "first_frame")
    ark.plan(job, trust_job=True)
    assert s3.count("GET") == 1


@pytest.mark.fault(148)
def test_an_address_that_would_end_too_early_is_not_given(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    address = ObjectAddress.parse(f"s3://{s3.bucket()}")
    day = 86_400.0
    store = ObjectStore.open(address)
    assert "X-Amz-Expires=604800" in signed(store, "k", 7 * day)
    with pytest.raises(ProviderError, match="can be signed for 7 d at most"):
        signed(store, "k", 7 * day + 1)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "temporary")
    temporary = ObjectStore.open(address)
    with pytest.raises(ProviderError, match="end at a time that is not known"):
        signed(temporary, "k", 2 * day, {})
    ends = {"AWS_CREDENTIAL_EXPIRATION": "2026-11-28T00:00:00Z"}
    began = 1_795_737_600.0  # 2026-11-27
    with pytest.raises(ProviderError, match="end in 24 h 0 min"):
        signed(temporary, "k", 2 * day, ends, lambda: began)
    assert "X-Amz-Security-Token" in signed(temporary, "k", day / 2, ends, lambda: began)


def test_the_largest_files_go_by_address_until_the_rest_fits() -> None:
    mesh = BUILT_IN["mesh"]
    files = [
        InputFile(f"{number:064x}", "image/png", size << 20, Path("x"))
        for number, size in enumerate((3, 9, 15))
    ]
    content = [{"type": "image_url", "image_url": {"url": file.reference}} for file in files]
    assert mesh.by_address({"content": content}, files) == (files[2],)
    assert mesh.by_address({"content": content[:2]}, files) == ()


def test_how_long_an_address_has_to_work_follows_from_the_request() -> None:
    mesh = BUILT_IN["mesh"]
    assert mesh.input_life({}) == 172_800
    assert mesh.input_life({"execution_expires_after": 259_200}) == 259_200
    assert mesh.input_life({"execution_expires_after": 3_600}) == 172_800
    assert BUILT_IN["getimg"].input_life({}) == BUILT_IN["getimg"].record_life


@pytest.mark.anyio
async def test_a_rehearsal_uploads_nothing(tmp_path: Path, s3: S3, clip: bytes) -> None:
    with SandboxServer(SandboxConfig(provider="ark", latency=(0.0, 0.05), scale=0.05)) as server:
        bench = RunBench(tmp_path, server.url + BUILT_IN["ark"].base_path, SANDBOX_KEY, provider="ark")
        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "boat.mp4").write_bytes(clip)
        project_file(bench, "uploads: s3://no-such-bucket")
        assert (await bench.run(job_of(bench, "boat.mp4"))).exit_code is ExitCode.DONE
    assert s3.requests == []
