"""Downloads against real sockets: what arrives is the file, or there is no file."""

from __future__ import annotations

import gzip
import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.http.fetch import Patience
from runner.providers.base import RemoteFileKind
from runner.store.download import DownloadLimits, DownloadTrouble
from runner.store.files import LocalFiles
from tests.support.clips import make_other
from tests.support.download_requests import LIMITS, fetch, left_over, make_request, trouble_of
from tests.support.files_server import Answer, Connection, FilesServer, Seen, file, status

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)

pytestmark = pytest.mark.anyio


async def test_a_whole_file_arrives_under_its_final_name(clip: bytes, files: LocalFiles) -> None:
    """The record has its length, digest, facts and validator, and nothing else is left."""
    with FilesServer(file(clip)) as server:
        record = await fetch(make_request(server.url()), files)
    assert (files.root / "out/clip.mp4").read_bytes() == clip
    assert (record.bytes, record.etag) == (len(clip), '"v1"')
    assert (record.media.codec, record.media.width, record.media.has_sound) == ("h264", 64, True)
    assert left_over(files) == {"clip.mp4"}


async def test_a_last_frame_is_a_picture(files: LocalFiles) -> None:
    with FilesServer(file(PNG)) as server:
        record = await fetch(replace(make_request(server.url()), kind=RemoteFileKind.LAST_FRAME), files)
    assert (record.media.container, record.media.width) == ("png", 1)


async def test_a_video_is_no_last_frame(clip: bytes, files: LocalFiles) -> None:
    with FilesServer(file(clip)) as server:
        error = await trouble_of(replace(make_request(server.url()), kind=RemoteFileKind.LAST_FRAME), files)
    assert error.trouble is DownloadTrouble.REFUSED


@pytest.mark.fault(39)
@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_download_cut_at_any_byte_goes_on_there(clip: bytes, data: st.DataObject) -> None:
    """By a close or a reset; the second request asks for exactly the bytes that are missing."""
    cut = data.draw(st.integers(1, len(clip) - 1))
    reset = data.draw(st.booleans())
    with (
        tempfile.TemporaryDirectory() as folder,
        FilesServer(file(clip, cut_at=cut, reset=reset), file(clip)) as server,
    ):
        files = LocalFiles(Path(folder))
        error = await trouble_of(make_request(server.url()), files)
        record = await fetch(make_request(server.url()), files)
        assert error.trouble is DownloadTrouble.RETRY
        asked = int(server.seen[1].headers.get("range", "bytes=0-")[6:-1])
        # a reset may overtake what our kernel has not handed on yet
        assert asked == cut or (reset and asked < cut)
        assert asked == 0 or server.seen[1].headers["if-range"] == '"v1"'
        assert record.bytes == len(clip)
        assert (files.root / "out/clip.mp4").read_bytes() == clip


@pytest.mark.fault(39)
async def test_a_cut_chunked_body_is_not_taken_for_the_end(clip: bytes, files: LocalFiles) -> None:
    def cut(_: Seen, wire: Connection) -> None:
        wire.head(200, {"Transfer-Encoding": "chunked"})
        wire.send(b"%x\r\n" % len(clip) + clip + b"\r\n")

    with FilesServer(cut) as server:
        assert (await trouble_of(make_request(server.url()), files)).trouble is DownloadTrouble.RETRY


async def test_a_chunked_body_without_a_length_is_a_file_too(clip: bytes, files: LocalFiles) -> None:
    def chunked(_: Seen, wire: Connection) -> None:
        wire.head(200, {"Transfer-Encoding": "chunked"})
        wire.send(b"%x\r\n" % len(clip) + clip + b"\r\n0\r\n\r\n")

    with FilesServer(chunked) as server:
        assert (await fetch(make_request(server.url()), files)).bytes == len(clip)


def without_length(content: bytes, *, chunked: bool) -> Answer:
    """The body ends in order: by the last chunk, or by the close of the connection."""

    def answer(_: Seen, wire: Connection) -> None:
        if chunked:
            wire.head(200, {"Transfer-Encoding": "chunked"})
            wire.send(b"%x\r\n" % len(content) + content + b"\r\n0\r\n\r\n")
        else:
            wire.head(200, {})
            wire.send(content)

    return answer


@pytest.mark.fault(65)
@pytest.mark.parametrize("chunked", [True, False])
async def test_half_a_file_without_a_promised_length_is_never_published(
    clip: bytes, files: LocalFiles, chunked: bool
) -> None:
    """Its last box reaches to the end, wherever that is; the bytes stay in `.part`."""
    at = clip.rindex(b"mdat") - 4
    whole = clip[:at] + bytes(4) + clip[at + 4 :]
    half = whole[: len(whole) * 3 // 4]
    with FilesServer(without_length(half, chunked=chunked), without_length(whole, chunked=chunked)) as server:
        error = await trouble_of(make_request(server.url()), files)
        assert (files.root / "out/clip.mp4.part").read_bytes() == half
        record = await fetch(make_request(server.url()), files)
    assert error.trouble is DownloadTrouble.REFUSED
    assert record.bytes == len(whole)
    assert left_over(files) == {"clip.mp4"}


@pytest.mark.fault(65)
@pytest.mark.parametrize("kind", ["webm", "fragments", "frame"])
async def test_what_proves_nothing_of_its_end_needs_a_promise(
    clip: bytes, files: LocalFiles, kind: str
) -> None:
    fragments = clip + clip[clip.rindex(b"mdat") - 4 :]
    content = {
        "webm": b"\x1aE\xdf\xa3" + bytes(500),
        "fragments": fragments.replace(b"stco", b"free"),
        "frame": PNG[:-12],
    }[kind]
    with FilesServer(without_length(content, chunked=True)) as server:
        request = make_request(server.url())
        error = await trouble_of(
            replace(request, kind=RemoteFileKind.LAST_FRAME) if kind == "frame" else request, files
        )
    assert error.trouble is DownloadTrouble.REFUSED
    assert "clip.mp4.part" in str(error)


@pytest.mark.fault(39)
async def test_bytes_that_changed_since_are_not_built_upon(clip: bytes, files: LocalFiles) -> None:
    """A write that a power cut took back is found by the digest in the note."""
    with FilesServer(file(clip, cut_at=9000), file(clip)) as server:
        await trouble_of(make_request(server.url()), files)
        part = files.root / "out/clip.mp4.part"
        part.write_bytes(bytes(4096) + part.read_bytes()[4096:])
        await fetch(make_request(server.url()), files)
    assert "range" not in server.seen[1].headers
    assert (files.root / "out/clip.mp4").read_bytes() == clip


@pytest.mark.fault(39)
@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b"{}", b'{"etag":null,"length":[]}', b"[" * 4000, b" " * 9000]
)
async def test_a_torn_note_starts_over(clip: bytes, files: LocalFiles, note: bytes) -> None:
    with FilesServer(file(clip, cut_at=9000), file(clip)) as server:
        await trouble_of(make_request(server.url()), files)
        (files.root / "out/clip.mp4.part.json").write_bytes(note)
        await fetch(make_request(server.url()), files)
    assert "range" not in server.seen[1].headers
    assert left_over(files) == {"clip.mp4"}


def answer_206(clip: bytes, content_range: str, etag: str = '"v1"') -> Answer:
    return status(206, clip[9000:], Content_Range=content_range, ETag=etag)


@pytest.mark.fault(40)
@pytest.mark.parametrize("case", ["changed", "ignored", "416", "etag", "start", "total", "unit", "none"])
async def test_an_answer_that_is_not_the_rest_starts_over(clip: bytes, files: LocalFiles, case: str) -> None:
    total = len(clip)
    second = {
        "changed": file(clip, etag='"v2"'),
        "ignored": file(clip, ranges=False),
        "416": status(416),
        "etag": answer_206(clip, f"bytes 9000-{total - 1}/{total}", '"v2"'),
        "start": answer_206(clip, f"bytes 8999-{total - 1}/{total}"),
        "total": answer_206(clip, f"bytes 9000-{total - 1}/{total + 1}"),
        "unit": answer_206(clip, "pages 1-2/3"),
        "none": status(206, clip[9000:]),
    }[case]
    old = bytes(len(clip))
    with FilesServer(file(old, cut_at=9000), second, file(clip)) as server:
        await trouble_of(make_request(server.url()), files)
        record = await fetch(make_request(server.url()), files)
    assert record.bytes == len(clip)
    assert (files.root / "out/clip.mp4").read_bytes() == clip


@pytest.mark.fault(40)
@pytest.mark.parametrize("etag", ["", 'W/"v1"', "unquoted", '"a" "b"'])
async def test_without_a_strong_validator_nothing_is_resumed(
    clip: bytes, files: LocalFiles, etag: str
) -> None:
    with FilesServer(file(clip, etag=etag, cut_at=9000), file(clip, etag=etag)) as server:
        await trouble_of(make_request(server.url()), files)
        await fetch(make_request(server.url()), files)
    assert "range" not in server.seen[1].headers


@pytest.mark.fault(82)
@pytest.mark.parametrize("etag", ["", '"v1"'])
async def test_what_waits_for_its_name_is_not_fetched_twice(
    clip: bytes, files: LocalFiles, etag: str
) -> None:
    """An older take stands there until it is kept as a version."""
    older, kept = files.root / "out/clip.mp4", files.root / "out/clip.v1.mp4"
    older.parent.mkdir()
    older.write_bytes(b"older")
    with FilesServer(file(clip, etag=etag)) as server:
        request = make_request(server.url())
        assert (await trouble_of(request, files)).trouble is DownloadTrouble.TARGET_EXISTS
        files.link_new(older, kept)
        record = await fetch(replace(request, kept=kept), files)
    assert (older.read_bytes(), kept.read_bytes()) == (clip, b"older")
    assert (record.bytes, len(server.seen)) == (len(clip), 1)
    assert left_over(files) == {"clip.mp4", "clip.v1.mp4"}


async def test_a_part_that_nobody_asked_for_is_refused(clip: bytes, files: LocalFiles) -> None:
    with FilesServer(answer_206(clip, "bytes 0-1/2")) as server:
        assert (await trouble_of(make_request(server.url()), files)).trouble is DownloadTrouble.REFUSED


@pytest.mark.fault(41)
@pytest.mark.parametrize("case", ["short", "long", "empty", "html", "html as video", "json", "noise"])
async def test_what_is_not_the_video_never_gets_the_final_name(
    clip: bytes, files: LocalFiles, case: str
) -> None:
    """The bytes stay in `.part`, and the next attempt asks for the whole file again."""
    page = b"<!DOCTYPE html><title>Sorry</title>"
    wrong = {
        "short": file(clip[:-100]),
        "long": file(clip + b"tail of another file"),
        "empty": file(b""),
        "html": file(page, media_type="text/html; charset=utf-8"),
        "html as video": file(page),
        "json": file(b'{"error": "gone"}'),
        "noise": file(b"\x07" * 5000),
    }[case]
    with FilesServer(wrong, file(clip)) as server:
        error = await trouble_of(make_request(server.url()), files)
        assert error.trouble is DownloadTrouble.REFUSED
        if case != "html":
            assert "clip.mp4.part" in left_over(files)
            assert "clip.mp4.part" in str(error)
        await fetch(make_request(server.url()), files)
    assert "range" not in server.seen[1].headers
    assert left_over(files) == {"clip.mp4"}


@pytest.mark.fault(42)
@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
async def test_an_expired_url_keeps_the_bytes_for_a_fresh_one(
    clip: bytes, files: LocalFiles, code: int
) -> None:
    with FilesServer(file(clip, cut_at=9000), status(code), file(clip)) as server:
        await trouble_of(make_request(server.url()), files)
        error = await trouble_of(make_request(server.url()), files)
        await fetch(make_request(server.url("/clip.mp4?signature=fresh")), files)
    assert (error.trouble, error.status) == (DownloadTrouble.EXPIRED, code)
    assert "refuses this URL, or it has expired" in str(error)  # which of the two cannot be told
    assert server.seen[2].headers["range"] == "bytes=9000-"


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
async def test_a_server_in_trouble_is_asked_again_later(files: LocalFiles, code: int) -> None:
    with FilesServer(status(code)) as server:
        error = await trouble_of(make_request(server.url()), files)
    assert (error.trouble, error.status) == (DownloadTrouble.RETRY, code)


@pytest.mark.security(13)
@pytest.mark.fault(43)
@pytest.mark.parametrize("case", ["body drips", "body stalls", "headers drip", "never answers", "endless"])
async def test_a_server_that_never_comes_to_an_end_is_left(clip: bytes, files: LocalFiles, case: str) -> None:
    def answer(_: Seen, wire: Connection) -> None:
        if case == "headers drip":
            wire.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 5000, 0.01)
        elif case != "never answers":
            wire.head(200, {"Content-Length": len(clip), "ETag": '"v1"'})
            wire.send(clip[:9000])
            if case == "endless":
                # fast enough for the rate, and yet for ever
                for start in range(9000, len(clip)):
                    wire.send(clip[start : start + 1])
                    time.sleep(0.005)
            elif case == "body drips":
                wire.drip(clip[9000:], 0.01)
        wire.wait_for_close()

    patience = Patience(
        total=0.3 if case == "endless" else 10,
        head=5 if case in ("body drips", "body stalls", "endless") else 0.1,
        minimum_rate=1 if case == "endless" else 1000,
        rate_window=0.1,
    )
    slow = DownloadLimits(patience=patience, free_reserve=0)
    with FilesServer(answer, file(clip)) as server:
        started = time.monotonic()
        error = await trouble_of(make_request(server.url(), limits=slow), files)
        assert time.monotonic() - started < 8
        record = await fetch(make_request(server.url()), files)
    words = {
        "body": "slower than",
        "headers": "no answer",
        "never": "no answer",
        "endless": "not done within",
    }
    assert error.trouble is DownloadTrouble.RETRY
    assert words[case.split()[0]] in str(error)
    assert record.bytes == len(clip)
    if "body" in case:
        assert int(server.seen[1].headers["range"][6:-1]) >= 9000


@pytest.mark.security(12)
@pytest.mark.fault(45)
@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "GZIP"])
async def test_an_encoded_answer_is_refused_before_its_body(
    clip: bytes, files: LocalFiles, encoding: str
) -> None:
    """The server holds the body back, so a reader would wait for it and be too slow."""

    def answer(_: Seen, wire: Connection) -> None:
        wire.head(200, {"Content-Encoding": encoding, "Content-Length": len(gzip.compress(clip))})
        wire.wait_for_close()

    with FilesServer(answer) as server:
        error = await trouble_of(make_request(server.url()), files)
    assert error.trouble is DownloadTrouble.REFUSED
    assert "encoded" in str(error)


@pytest.mark.security(12)
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_file_past_the_cap_is_refused(clip: bytes, files: LocalFiles, chunked: bool) -> None:
    def answer(_: Seen, wire: Connection) -> None:
        if chunked:
            wire.head(200, {"Transfer-Encoding": "chunked"})
            while True:
                wire.send(b"1000\r\n" + bytes(4096) + b"\r\n")
        wire.head(200, {"Content-Length": 1 << 40})
        wire.wait_for_close()

    with FilesServer(answer) as server:
        error = await trouble_of(make_request(server.url(), limits=replace(LIMITS, max_bytes=20_000)), files)
    assert error.trouble is DownloadTrouble.REFUSED


@pytest.mark.security(7)
async def test_five_redirects_are_followed_and_six_are_not(clip: bytes, files: LocalFiles) -> None:
    hops = [status(code, Location="/next?signature=canary") for code in (301, 302, 303, 307, 308)]
    with FilesServer(*hops, file(clip)) as server:
        assert (await fetch(make_request(server.url()), files)).bytes == len(clip)
    with FilesServer(status(302, Location="/clip.mp4")) as server:
        request = replace(make_request(server.url()), target=Path("out/2.mp4"), part=Path("out/2.part"))
        error = await trouble_of(request, files)
        assert len(server.seen) == 6
    assert error.trouble is DownloadTrouble.REFUSED


@pytest.mark.security(7)
@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/clip.mp4?canary",
        "https://10.0.0.1/clip.mp4?canary",
        "https://169.254.169.254/latest/meta-data?canary",
        "https://[::ffff:10.0.0.1]/",
        "https://user:canary@example.com/clip.mp4",
        "file:///etc/passwd",
        "https://[broken",
        "https://xn--/canary",
        "https://example.com:99999/canary",
        "//xn--zzzzzz:1/canary",
        "",
    ],
)
async def test_each_redirect_is_checked_like_the_first_url(files: LocalFiles, location: str) -> None:
    with FilesServer(status(302, Location=location)) as server:
        error = await trouble_of(make_request(server.url()), files)
    assert error.trouble is DownloadTrouble.REFUSED


async def test_a_redirect_without_a_location_is_refused(files: LocalFiles) -> None:
    with FilesServer(status(302)) as server:
        assert (await trouble_of(make_request(server.url()), files)).trouble is DownloadTrouble.REFUSED


@pytest.mark.security(9)
async def test_loopback_is_closed_to_a_remote_api(clip: bytes, files: LocalFiles) -> None:
    with FilesServer(file(clip)) as server:
        error = await trouble_of(make_request(server.url(), allow_loopback=False), files)
    assert error.trouble is DownloadTrouble.REFUSED
    assert server.seen == []


@pytest.mark.security(8)
async def test_a_request_carries_no_header_cookie_or_changed_byte(clip: bytes, files: LocalFiles) -> None:
    """Not even after a cookie was set; escapes in a signed path stay as they were signed."""
    target = "/a%2F%7Eb/c%20d;x=1?sig=a%2Bb%3D&e=1/2"
    with FilesServer(status(302, Location=target, Set_Cookie="canary=1"), file(clip)) as server:
        await fetch(make_request(server.url()), files)
    assert server.seen[1].target == target
    assert [set(seen.headers) for seen in server.seen] == [{"host", "accept-encoding", "connection"}] * 2
    assert server.seen[0].headers["accept-encoding"] == "identity"


async def test_a_server_that_is_not_there_is_tried_again(files: LocalFiles) -> None:
    with FilesServer() as server:
        url = server.url()
    assert (await trouble_of(make_request(url), files)).trouble is DownloadTrouble.RETRY


@pytest.mark.security(15)
async def test_no_log_shows_a_signed_url(
    clip: bytes, files: LocalFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """httpx and httpcore would print it, and a redirect's Location with it."""
    caplog.set_level(logging.DEBUG)
    with FilesServer(status(302, Location="/b?canary"), file(clip)) as server:
        await fetch(make_request(server.url()), files)
    assert "canary" not in caplog.text


async def test_a_request_shows_no_signed_url() -> None:
    assert "canary" not in repr(make_request("https://example.com/a?canary"))


@pytest.mark.fault(81)
@pytest.mark.parametrize("suffix", ["webm", "mov"])
async def test_a_video_that_is_no_mp4_gets_its_own_suffix(files: LocalFiles, suffix: str) -> None:
    """Published as it came; a second fetch takes it for our own."""
    other = make_other(files.root, suffix, "libvpx" if suffix == "webm" else "libx264")
    with FilesServer(file(other), file(other)) as server:
        record = await fetch(make_request(server.url()), files)
        again = await fetch(make_request(server.url()), files)
    assert record == again
    assert record.path == Path(f"out/clip.{suffix}")
    assert (files.root / record.path).read_bytes() == other
    assert left_over(files) == {f"clip.{suffix}"}
