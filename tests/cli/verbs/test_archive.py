"""`archive`, `fetch` and what the other verbs say of files that lie in a store."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.objects.store import ObjectStore
from runner.sandbox import SANDBOX_KEY, SandboxServer
from runner.store.files import LocalFiles
from runner.work.dask import DaskWorkers
from tests.support.dask import DaskCluster
from tests.support.faulty_files import FullDisk
from tests.support.s3 import S3, SECRET, StoreFault

JOB = """\
version: 1
models: [{id: byteplus/seedance-1-0-pro, at: here}]
seeds: 1..2
request: {resolution: 480p, ratio: 1:1, duration: 4}
content: [{type: text, text: A paper boat}]
output: out/s${{ seed }}.mp4
run: {poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


@dataclass(slots=True)
class StoreBench:
    """A project with a store and a service on loopback, which is real: an account names it."""

    root: Path
    bucket: str
    s3: S3
    url: str
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str) -> ExitCode:
        code = ExitCode(main([*arguments]))
        self.out, self.err = self.capsys.readouterr()
        assert SECRET not in self.out + self.err
        return code

    def configure(self, more: str = "") -> None:
        (self.root / "callsheet.yaml").write_text(
            f"version: 1\nstore: s3://{self.bucket}/pre\n{more}\n"
            f'accounts:\n  here: {{provider: mesh, base_url: "{self.url}", api_key_env: BOAT_KEY}}\n',
            encoding="utf-8",
        )

    def document(self) -> dict[str, object]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def videos(self) -> list[str]:
        return sorted(path.name for path in (self.root / "out").glob("*"))


@pytest.fixture
def store(
    tmp_path: Path,
    s3: S3,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> StoreBench:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOAT_KEY", SANDBOX_KEY)
    found = StoreBench(tmp_path, s3.bucket(), s3, server.url, capsys)
    assert found("init", ".") == 0
    found.configure()
    (tmp_path / "jobs" / "boat.yaml").write_text(JOB, encoding="utf-8")
    return found


def run(store: StoreBench) -> None:
    assert store("run", "jobs/boat.yaml", "--yes") == 0, store.err


def test_a_machine_with_an_empty_disk_knows_that_all_is_done(store: StoreBench) -> None:
    run(store)
    assert store("archive") == 0
    assert "archived 0 files" in store.out
    shutil.rmtree(store.root / "out")
    assert store("plan", "jobs/boat.yaml", "--output-format", "json") == 0
    assert {task["state"] for task in store.document()["tasks"]} == {"done"}  # type: ignore[attr-defined]
    run(store)
    assert not (store.root / "out").exists()
    assert store("show", "s1") == 0
    assert "(in the store, not here)" in store.out
    assert f"in the store: s3://{store.bucket}/pre/sha256/" in store.out
    assert "callsheet fetch s1" in store.err


def test_a_file_is_brought_back_whole_and_nothing_is_overwritten(store: StoreBench) -> None:
    run(store)
    before = (store.root / "out/s1.mp4").read_bytes()
    shutil.rmtree(store.root / "out")
    assert store("fetch", "s1", "out/s1*") == 0
    assert store.out.splitlines()[0] == "out/s1.mp4"
    assert "fetched 1 file" in store.out
    assert store.videos == ["s1.mp4"]
    assert (store.root / "out/s1.mp4").read_bytes() == before
    (store.root / "out/s1.mp4").write_bytes(b"mine")
    assert store("fetch", "*") == 0
    assert store.out.splitlines()[0] == "out/s2.mp4"
    assert (store.root / "out/s1.mp4").read_bytes() == b"mine"
    assert store("fetch", "s3") == ExitCode.USAGE
    assert "not a task or a file that is known here" in store.err


def test_a_full_disk_lets_no_half_file_be_fetched(store: StoreBench, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store)
    shutil.rmtree(store.root / "out")
    with monkeypatch.context() as full:
        full.setattr(
            "runner.cli.verbs.archive.LocalFiles",
            lambda base: FullDisk(LocalFiles(base), "write", errno.ENOSPC),
        )
        assert store("fetch", "s1") == ExitCode.TRY_AGAIN
    assert (
        store.err
        == "out/s1.mp4: cannot write: refused by the test; hint: free some space, then fetch it again\n"
    )
    assert store.videos == []
    assert store("fetch", "s1") == 0


@pytest.mark.fault(149)
def test_an_object_with_other_bytes_is_not_brought_back(store: StoreBench) -> None:
    run(store)
    shutil.rmtree(store.root / "out")
    store.s3.fail("GET", "sha256", StoreFault(body=b"other bytes"))
    assert store("fetch", "s1") == ExitCode.TRY_AGAIN
    assert "its content is not what was archived" in store.err
    assert store.videos == []


def test_verify_says_what_it_has_read_and_what_not(store: StoreBench) -> None:
    run(store)
    shutil.rmtree(store.root / "out")
    before = len(store.s3.requests)
    assert store("verify", "--output-format", "json") == 0
    assert len(store.s3.requests) == before
    assert store.document()["counts"]["stored"] == 2  # type: ignore[index]
    assert store("verify") == 0
    assert "are there by the ledger's word" in store.err
    assert store("verify", "--store-list", "--output-format", "json") == 0
    assert store.document()["counts"]["listed"] == 2  # type: ignore[index]
    assert store.s3.count("GET", "list-type") == 1
    assert store.s3.count("GET", "sha256/.*mp4") == 0
    assert store("verify", "--store") == 0
    first, second = store.s3.keys(store.bucket)
    size = len(store.s3.get(store.bucket, first))
    store.s3.put(store.bucket, first, b"?" * size)
    store.s3.delete(store.bucket, second)
    assert store("verify", "--store-list") == ExitCode.TASK_FAILED  # one is missing; the other one fits
    assert "next: callsheet archive --check    forgets the copies that are gone" in store.err
    assert "next: callsheet run" not in store.err
    assert store("verify", "--store", "--output-format", "json") == ExitCode.TASK_FAILED
    counts = store.document()["counts"]
    assert (counts["changed"], counts["missing"]) == (1, 1)  # type: ignore[index]


def test_verify_without_a_ledger_knows_of_copies_by_the_manifest(store: StoreBench) -> None:
    run(store)
    shutil.rmtree(store.root / "out")
    for file in (store.root / ".callsheet").glob("ledger.db*"):
        file.unlink()
    assert store("verify", "--store", "--output-format", "json") == 0
    assert store.document()["counts"]["stored"] == 2  # type: ignore[index]


def test_a_check_forgets_what_is_not_there_and_archives_it_again(store: StoreBench) -> None:
    run(store)
    gone, _ = store.s3.keys(store.bucket)
    store.s3.delete(store.bucket, gone)
    assert store("archive") == 0
    assert gone not in store.s3.keys(store.bucket)
    assert store("archive", "--check") == 0
    assert "is not there any more" in store.err
    assert gone in store.s3.keys(store.bucket)


@pytest.mark.security(29)
@pytest.mark.fault(157)
@pytest.mark.parametrize("theirs", ["s3://private/pre/sha256/", "s3://{bucket}/private/sha256/"])
def test_a_manifest_leads_to_nothing_else_in_the_store(theirs: str, store: StoreBench) -> None:
    """A folder in runs/ may be a stranger's, and what it names would be read with the owner's credentials."""
    store.configure("store_keep: 0")
    run(store)
    own = f"s3://{store.bucket}/pre/sha256/"
    (manifest,) = store.root.glob("runs/2*/manifest.json")
    text = manifest.read_text(encoding="utf-8")
    assert own in text
    manifest.write_text(text.replace(own, theirs.format(bucket=store.bucket)), encoding="utf-8")
    lose_the_ledger(store)
    assert store("recover", "--yes") == 0, store.err
    requests = len(store.s3.requests)
    assert store("fetch", "*") == ExitCode.TRY_AGAIN
    assert "is neither here nor in a store" in store.err
    assert len(store.s3.requests) == requests
    assert store("archive", "--check") == 0
    assert store("fetch", "*") == 0
    assert store.videos == ["s1.mp4", "s2.mp4"]


def test_a_check_takes_no_object_of_another_size(store: StoreBench) -> None:
    store.configure("store_keep: 0")
    run(store)
    for key in store.s3.keys(store.bucket):
        store.s3.put(store.bucket, key, b"another")
    assert store("archive", "--check") == 0
    assert store("archive", "--check") == 0
    assert store("fetch", "*") == ExitCode.TRY_AGAIN
    assert "is neither here nor in a store" in store.err


@pytest.mark.fault(144)
def test_a_listing_alone_lets_no_last_copy_go(store: StoreBench) -> None:
    """A check sees key and size, and the videos were elsewhere just then."""
    run(store)
    for key in store.s3.keys(store.bucket):
        store.s3.put(store.bucket, key, b"?" * len(store.s3.get(store.bucket, key)))
    store.configure("")
    shutil.move(store.root / "out", store.root / "elsewhere")
    with contextlib.closing(sqlite3.connect(store.root / ".callsheet/ledger.db")) as ledger, ledger:
        ledger.execute("DELETE FROM archived")
    assert store("archive", "--check") == 0
    assert "noted: 2 files" in store.err
    shutil.move(store.root / "elsewhere", store.root / "out")
    store.configure("store_keep: 0")
    for verb in ("archive", "collect"):
        store(verb)
        assert store.videos == ["s1.mp4", "s2.mp4"]
        assert "local copies stay" in store.err
        assert "callsheet archive --check" in store.err


def test_local_copies_go_after_store_keep_and_the_sheet_shows_how_to_get_them(store: StoreBench) -> None:
    store.configure("store_keep: 0")
    run(store)
    assert store.videos == []
    assert "2 files" in store.err
    assert "removed here after store_keep" in store.err
    (report,) = store.root.glob("runs/2*/report.html")
    page = report.read_text(encoding="utf-8")
    assert '"callsheet fetch s1"' in page
    assert "data:image/webp;base64," in page
    run(store)
    assert store("prune", "--older", "0s") == 0
    assert "0 files" in store.out


def test_local_copies_go_after_a_collect_too(store: StoreBench) -> None:
    run(store)
    store.configure("store_keep: 0")
    assert store("collect") == 0, store.err
    assert store.videos == []
    assert "removed here after store_keep" in store.err


@pytest.mark.fault(154)
def test_a_recovered_ledger_knows_what_only_the_store_has(store: StoreBench, server: SandboxServer) -> None:
    """By the manifests; what none tells of, by a listing of the store."""
    store.configure("store_keep: 0")
    run(store)
    lose_the_ledger(store)
    assert store("recover", "--yes") == 0, store.err
    assert "callsheet archive --check" in store.err
    store.s3.requests.clear()
    run(store)
    assert store("show", "s1") == 0
    assert "(in the store, not here)" in store.out
    assert (store.s3.requests, server.accepted) == ([], 2)
    forget_the_copies(store)
    assert store("show", "s1") == 0
    assert "(in the store, not here)" not in store.out
    assert store("archive") == 0
    assert store("archive", "--check", "--output-format", "json") == 0
    assert (store.document()["found"], store.document()["archived"]) == (2, 0)
    assert store("fetch", "s1") == 0
    assert store.videos == ["s1.mp4"]


def test_what_lies_in_the_store_already_is_known_again_and_put_once(store: StoreBench) -> None:
    run(store)
    keys = store.s3.keys(store.bucket)
    forget_the_copies(store)
    for check in ([], ["--check"]):
        assert store("archive", *check, "--output-format", "json") == 0
        assert store.document()["archived"] == (0 if check else 2)
    assert store.s3.keys(store.bucket) == keys
    assert store("verify", "--store") == 0
    assert "6 same" in store.out


def test_a_check_puts_anew_what_is_here_under_another_path(store: StoreBench) -> None:
    """The size of an object does not prove its content: what may be removed here was put by this ledger."""
    run(store)
    (store.root / "out" / "s1.mp4").replace(store.root / "out" / "s2.mp4")
    ask_the_ledger(
        store,
        "DELETE FROM archived",
        "UPDATE outputs SET (sha256, bytes) = (SELECT sha256, bytes FROM outputs AS first"
        " WHERE first.path = 'out/s1.mp4') WHERE path = 'out/s2.mp4'",
    )
    assert store("archive", "--check", "--output-format", "json") == 0
    assert (store.document()["found"], store.document()["archived"]) == (0, 1)


def lose_the_ledger(store: StoreBench) -> None:
    for file in (store.root / ".callsheet").glob("ledger.db*"):
        file.unlink()


def forget_the_copies(store: StoreBench) -> None:
    ask_the_ledger(store, "DELETE FROM archived")


def ask_the_ledger(store: StoreBench, *statements: str) -> None:
    path = store.root / ".callsheet" / "ledger.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def test_local_copies_stay_without_store_keep_and_before_it(store: StoreBench) -> None:
    run(store)
    store.configure("store_keep: 7d")
    assert store("archive") == 0
    assert store.videos == ["s1.mp4", "s2.mp4"]


def test_a_store_that_cannot_be_used_is_told_before_anything_is_paid(
    store: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert store("run", "jobs/boat.yaml", "--yes") == ExitCode.USAGE
    assert "pip install 'callsheet[objects]'" in store.err
    assert not (store.root / "out").exists()


def test_a_project_without_a_store_is_told_how_to_name_one(store: StoreBench) -> None:
    (store.root / "callsheet.yaml").write_text("version: 1\n", encoding="utf-8")
    assert store("archive") == ExitCode.USAGE
    assert "store: s3://BUCKET/PREFIX" in store.err


@pytest.mark.fault(142)
def test_an_archive_that_fails_says_why_and_can_be_repeated(store: StoreBench) -> None:
    store.s3.fail("PUT", "sha256", StoreFault(status=403, code="AccessDenied"))
    assert store("run", "jobs/boat.yaml", "--yes") == ExitCode.TRY_AGAIN
    assert store.err.count("refuses these credentials") >= 1
    assert store.videos == ["s1.mp4", "s2.mp4"]
    assert store("archive", "--output-format", "json") == ExitCode.TRY_AGAIN
    left = store.document()["left"]
    assert isinstance(left, list)
    assert sorted(left) == ["out/s1.mp4", "out/s2.mp4"]
    store.s3.faults.clear()
    assert store("archive") == 0
    assert len(store.s3.keys(store.bucket)) == 2


@pytest.mark.parametrize("store_url", ["s3://", "http://bucket/x", "s3://bucket/../x", "s3://bucket/a//b"])
def test_a_wrong_address_is_told_with_its_place(store_url: str, store: StoreBench) -> None:
    (store.root / "callsheet.yaml").write_text(f"version: 1\nstore: {store_url}\n", encoding="utf-8")
    assert store("validate", "callsheet.yaml") == ExitCode.JOB_INVALID
    assert "callsheet.yaml:2:8: store:" in store.err + store.out


@pytest.mark.parametrize("who", ["threads", "dask"])
def test_workers_archive_what_no_run_has(who: str, store: StoreBench, daskers: DaskCluster) -> None:
    """A worker of a cluster has its credentials from its own environment: none is sent to it."""
    store.configure()
    settings = store.root / "callsheet.yaml"
    whole = settings.read_text(encoding="utf-8")
    settings.write_text(whole.replace(f"store: s3://{store.bucket}/pre\n", ""), encoding="utf-8")
    run(store)
    settings.write_text(whole, encoding="utf-8")
    workers = "3" if who == "threads" else daskers.address
    assert store("archive", "--workers", workers, "--output-format", "json") == 0
    assert (store.document()["archived"], store.document()["left"]) == (2, [])
    assert len(store.s3.keys(store.bucket)) == 2
    assert store("verify", "--store") == 0
    assert store("archive", "--workers", workers) == 0
    assert "archived 0 files" in store.out


@pytest.mark.fault(152)
def test_a_file_that_a_worker_does_not_see_is_not_said_to_be_archived(
    store: StoreBench, daskers: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of a worker may be an older copy of this one, with the file that shows it to be the same."""
    settings = store.root / "callsheet.yaml"
    whole = settings.read_text(encoding="utf-8")
    settings.write_text(whole.replace(f"store: s3://{store.bucket}/pre\n", ""), encoding="utf-8")
    run(store)
    settings.write_text(whole, encoding="utf-8")
    submit, unseen = DaskWorkers.submit, set[str]()

    def submit_unseen(crew: DaskWorkers, *given: Any) -> Any:
        (here,) = {*(store.root / "out").iterdir()} - {Path(crew._terms.witness)}
        away = here.rename(store.root / "away")
        unseen.add(here.name)
        future = submit(crew, *given)
        future.exception()
        away.rename(here)
        return future

    monkeypatch.setattr(DaskWorkers, "submit", submit_unseen)
    assert store("archive", "--workers", daskers.address) == ExitCode.TRY_AGAIN
    assert "archived 1 file" in store.out
    told = f"out/{unseen.pop()}: a worker sees another file there, or none"
    assert store.err.startswith(f"1 file is not archived yet, and stay here: {told}")


@pytest.mark.fault(142)
def test_workers_without_a_bucket_leave_every_file_here(store: StoreBench) -> None:
    settings = store.root / "callsheet.yaml"
    whole = settings.read_text(encoding="utf-8")
    settings.write_text(whole.replace(f"store: s3://{store.bucket}/pre\n", ""), encoding="utf-8")
    run(store)
    settings.write_text(whole.replace(store.bucket, "no-such-bucket-here"), encoding="utf-8")
    assert store("archive", "--workers", "2") == ExitCode.TRY_AGAIN
    assert store.err.startswith("2 files are not archived yet, and stay here: ")
    assert store.videos == ["s1.mp4", "s2.mp4"]


def test_doctor_lists_the_store_and_uploads_once(store: StoreBench) -> None:
    store.configure(f"store_keep: 7d\nuploads: s3://{store.bucket}/up")
    run(store)
    store.s3.requests.clear()
    assert store("doctor") == 0, store.out
    told = " ".join(store.out.split())
    assert f"ok store s3://{store.bucket}/pre, S3 at {store.s3.url}: can be listed, in " in told
    assert "; what lies there stays here for 7 d" in told
    assert f"ok uploads s3://{store.bucket}/up, S3 at {store.s3.url}: can be listed, in " in told
    assert [request.method for request in store.s3.requests] == ["GET", "GET"]


def test_doctor_says_what_is_wrong_with_the_store(store: StoreBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exit code that `run` has for it."""
    store.configure("uploads: s3://nowhere-of-anybody/up")
    assert store("doctor") == ExitCode.INPUT_MISSING
    told = " ".join(store.out.split())
    assert "wrong uploads s3://nowhere-of-anybody: there is no such bucket (NoSuchBucket)" in told
    assert "hint: make it, or mend its name in callsheet.yaml" in told
    store.configure()
    store.s3.fail("GET", "list-type", StoreFault(status=403, code="AccessDenied"))
    assert store("doctor") == ExitCode.TRY_AGAIN
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in " ".join(store.out.split())
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    for verb in (("run", "jobs/boat.yaml", "--yes"), ("doctor",)):
        assert store(*verb) == ExitCode.USAGE
    assert "pip install 'callsheet[objects]'" in store.out


def test_doctor_warns_of_a_store_in_plain_text(store: StoreBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And repeats no password of its address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://studio:{SECRET}@192.0.2.1:9000")
    monkeypatch.setattr(ObjectStore, "list", lambda _: iter(()))
    assert store("doctor") == 0, store.out
    told = " ".join(store.out.split())
    assert "warning store S3 at http://192.0.2.1:9000: everybody on the way can read the files" in told
