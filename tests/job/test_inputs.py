"""Local files: where they may be, what they may be, and how often they are read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ExitCode, JobError
from runner.job.files.inputs import InputError, InputReader, sniff
from runner.providers.mesh import MESH
from runner.providers.provider import ServiceLimits
from tests.support.job_bench import HEAD, PNG, JobBench


def image(source: str) -> str:
    return (
        HEAD + f"content:\n  - type: text\n    text: A teapot\n  - type: image_url\n    image_url: {source}\n"
    )


def test_a_local_file_is_a_digest_in_the_request(jobs: JobBench) -> None:
    (jobs.folder / "teapot.png").write_bytes(PNG)
    [task] = jobs.tasks(image("teapot.png"))
    digest = hashlib.sha256(PNG).hexdigest()
    assert task.request["content"][1] == {  # type: ignore[index, call-overload]
        "type": "image_url",
        "image_url": {"url": f"sha256:{digest}"},
    }
    [file] = task.inputs
    assert (file.sha256, file.media_type, file.size) == (digest, "image/png", len(PNG))
    assert file.path == (jobs.folder / "teapot.png").resolve()


def test_a_bare_string_and_an_object_are_the_same(jobs: JobBench) -> None:
    [bare] = jobs.tasks(image("https://host/a.png"))
    [whole] = jobs.tasks(image("{url: https://host/a.png}"))
    assert bare.identity == whole.identity
    assert bare.request == whole.request


@pytest.mark.parametrize(
    "url", ["https://host/a.png?x=1", "HTTPS://host/a.png", "data:image/png;base64,AAAA"]
)
def test_https_and_data_pass_as_they_are(jobs: JobBench, url: str) -> None:
    [task] = jobs.tasks(image(f"'{url}'"))
    assert task.request["content"][1]["image_url"] == {"url": url}  # type: ignore[index, call-overload]
    assert task.inputs == ()


@pytest.mark.security(5)
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("http://host/a.png", "URLs are not supported"),
        ("asset://a", "URLs are not supported"),
        ("file:///etc/passwd", "URLs are not supported"),
        ("'https://'", "not a URL"),
        ("'https://ho st/a'", "not a URL"),
        ("https://user:word@host/a.png", "user name or password"),
        ("'data:image/png'", "without data"),
        ("/etc/passwd", "an absolute path"),
        ("../../outside.png", "outside the project root"),
        ("link.png", "outside the project root"),
        ("loop.png", "cannot be resolved"),
        ("' '", "empty"),
        ("sub", "not a file"),
        ("pipe.png", "not a file"),
        ("text.png", "its content is not an image"),
        ("video.png", "its content is video/mp4"),
        ("empty.png", "its content is not an image"),
        ("'sha256:" + "a" * 64 + "'", "no such file"),
        ("secret.png", "cannot read it"),
    ],
)
def test_what_an_input_must_not_be(jobs: JobBench, source: str, words: str) -> None:
    """Security line 5: below the root, links resolved, and nothing that is no picture is read out."""
    (jobs.root.parent / "outside.png").write_bytes(PNG)
    (jobs.folder / "link.png").symlink_to(jobs.root.parent / "outside.png")
    (jobs.folder / "loop.png").symlink_to("loop.png")
    (jobs.folder / "sub").mkdir()
    os.mkfifo(jobs.folder / "pipe.png")
    (jobs.folder / "text.png").write_text("MESHAPI_API_KEY=rsk_canary")
    (jobs.folder / "video.png").write_bytes(b"\0\0\0\x18ftypisom" + bytes(20))
    (jobs.folder / "empty.png").write_bytes(b"")
    if source == "secret.png":
        if os.geteuid() == 0:
            source, words = "teapot.png/x", "cannot read it"
            (jobs.folder / "teapot.png").write_bytes(PNG)
        else:
            (jobs.folder / "secret.png").write_bytes(PNG)
            (jobs.folder / "secret.png").chmod(0)
    [problem] = jobs.problems(image(source))
    assert words in problem
    assert problem.startswith("jobs/hero.yaml:7:16: content[1].image_url: ")
    assert "canary" not in problem


def test_a_link_that_stays_inside_is_followed(jobs: JobBench) -> None:
    (jobs.root / "shared").mkdir()
    (jobs.root / "shared" / "a.png").write_bytes(PNG)
    (jobs.folder / "link.png").symlink_to("../shared/a.png")
    [through_link] = jobs.tasks(image("link.png"))
    [direct] = jobs.tasks(image("../shared/a.png"))
    assert through_link.identity == direct.identity


def test_a_missing_file_is_told_at_its_place_and_as_missing(jobs: JobBench) -> None:
    from runner.errors import ExitCode, JobError

    with pytest.raises(JobError) as caught:
        jobs.plan(image("nope.png"))
    [problem] = caught.value.problems
    assert (problem.line, problem.column, problem.is_missing_input) == (7, 16, True)
    assert caught.value.exit_code is ExitCode.INPUT_MISSING


def test_each_cell_may_name_a_file_of_its_own(jobs: JobBench) -> None:
    for name in "ab":
        (jobs.folder / f"{name}.png").write_bytes(PNG + name.encode())
    tasks = jobs.tasks(
        HEAD + "matrix: {shot: [a, b]}\ncontent:\n  - {type: image_url, image_url: '${{ shot }}.png'}\n"
    )
    assert [task.inputs[0].path.name for task in tasks] == ["a.png", "b.png"]


def test_a_file_is_read_once(jobs: JobBench) -> None:
    """Changing it after the plan changes no task: the plan's digest is what is paid for."""
    (jobs.folder / "teapot.png").write_bytes(PNG)
    plan = jobs.plan(image("teapot.png") + "matrix: {ratio: [16:9, 1:1]}\n")
    (jobs.folder / "teapot.png").unlink()
    assert len({task.inputs for task in plan.tasks}) == 1


def test_the_same_file_twice_travels_once(jobs: JobBench) -> None:
    (jobs.folder / "a.png").write_bytes(PNG)
    items = "".join(
        f"  - {{type: image_url, image_url: a.png, role: {role}_frame}}\n" for role in ("first", "last")
    )
    [task] = jobs.tasks(HEAD + "content:\n" + items)
    assert len(task.inputs) == 1


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    most = {"image_url": len(PNG) - 1}
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(InputError, match="larger than"):
        InputReader(tmp_path, tmp_path, most).read("a.png", "image_url")


def test_a_body_is_refused_for_the_edge_and_for_the_service(
    jobs: JobBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base64 makes four bytes of three."""
    (jobs.folder / "a.png").write_bytes(PNG + bytes(3_000))
    size = 4 * ((len(PNG) + 3_002) // 3)

    def limit(body: int, large_body: int) -> None:
        monkeypatch.setitem(vars(MESH), "limits", ServiceLimits(body, large_body))

    limit(2 * size, size)
    [problem] = jobs.problems(image("a.png"))
    assert "the request is 0.0 MB with its files; the service's edge refuses more than" in problem
    limit(size, size)
    [problem] = jobs.problems(image("a.png"))
    assert "the service takes" in problem
    limit(2 * size, 2 * size)
    assert jobs.plan(image("a.png")).warnings == ()


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"BM\0\0", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\0\0\0\0AVI LIST", ""),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\0\0\0\x18ftypmif1", "image/heif"),
        (b"\0\0\0\x18ftypavif", ""),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x08wide", "video/quicktime"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"<svg>", ""),
        (b"", ""),
    ],
)
def test_the_content_tells_the_media_type(head: bytes, media_type: str) -> None:
    assert sniff(head) == media_type


@pytest.mark.security(5)
@given(st.text(min_size=1, max_size=60))
def test_no_path_reads_outside_the_root(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    base = Path(tmp_path_factory.getbasetemp())
    root = base / "confined"
    root.mkdir(exist_ok=True)
    (base / "a.png").write_bytes(PNG)
    for path in (text, f"../{text}", "../a.png", f"{text}/../../a.png"):
        with pytest.raises(InputError):
            InputReader(root, root, {}).read(path, "image_url")


def test_a_missing_first_frame_does_not_make_the_last_one_wrong(jobs: JobBench) -> None:
    text = HEAD + "content:\n  - {type: image_url, image_url: gone.png, role: first_frame}\n"
    text += "  - {type: image_url, image_url: https://a.example/b.png, role: last_frame}\n"
    with pytest.raises(JobError) as caught:
        jobs.plan(text)
    [problem] = caught.value.problems
    assert (problem.is_missing_input, caught.value.exit_code) == (True, ExitCode.INPUT_MISSING)


def test_a_missing_file_and_two_videos_under_one_name_are_told_together(jobs: JobBench) -> None:
    text = HEAD + "matrix: {ratio: [16:9, 1:1]}\noutput: out/a.mp4\n"
    text += "content: [{type: image_url, image_url: gone.png}]\n"
    with pytest.raises(JobError) as caught:
        jobs.plan(text)
    output, missing = caught.value.problems
    assert (output.path, missing.is_missing_input) == ("output", True)
    assert caught.value.exit_code is ExitCode.JOB_INVALID


def test_missing_files_alone_are_told_with_an_exit_code_of_their_own(jobs: JobBench) -> None:
    text = HEAD + "matrix: {shot: [a, b]}\n"
    text += "content:\n  - {type: image_url, image_url: gone.png}\n"
    text += "  - {type: image_url, image_url: '${{ shot }}.png', role: reference_image}\n"
    with pytest.raises(JobError) as caught:
        jobs.plan(text)
    assert len(caught.value.problems) == 3
    assert caught.value.exit_code is ExitCode.INPUT_MISSING
