"""Results that lie at the API's own origin, which wants its key for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.store.download import DownloadRequest, DownloadTrouble, OwnOrigin
from runner.store.files import LocalFiles
from tests.support.download_requests import fetch, make_request, trouble_of
from tests.support.files_server import FilesServer, file, status

pytestmark = pytest.mark.anyio

KEY = {"Authorization": "Bearer rsk_canary_0123456789"}


def request_to(
    server: FilesServer, own: FilesServer | None, target: str = "/v1/x/content"
) -> DownloadRequest:
    """Of a file at `server`, for an API at `own` that is reached without TLS and is no public address."""
    asked = make_request(server.url(target), allow_loopback=False)
    return replace(asked, own=own and OwnOrigin(own.url("").rstrip("/"), KEY))


def keys(server: FilesServer) -> list[bool]:
    return ["authorization" in seen.headers for seen in server.seen]


@pytest.mark.security(8)
async def test_the_key_goes_to_the_api_s_own_origin(clip: bytes, files: LocalFiles) -> None:
    """Which may lie in a private network: the owner's file says where it is."""
    with FilesServer(file(clip)) as server:
        record = await fetch(request_to(server, server), files)
    assert record.bytes == len(clip)
    assert server.seen[0].headers["authorization"] == KEY["Authorization"]
    assert "canary" not in repr(request_to(server, server))


@pytest.mark.security(8)
async def test_no_key_goes_behind_a_redirect_to_another_origin(clip: bytes, files: LocalFiles) -> None:
    """Not even back home: from there on, where it leads is another's word."""
    with FilesServer(file(clip)) as elsewhere, FilesServer() as api:
        api.answers = (status(302, Location=elsewhere.url()), file(clip))
        asked = replace(request_to(api, api), allow_loopback=True)
        await fetch(asked, files)
        assert (keys(api), keys(elsewhere)) == ([True], [False])
        (files.root / "out/clip.mp4").unlink()
        api.answers = (status(302), status(302, Location=elsewhere.url()), file(clip))
        elsewhere.answers = (status(302), status(302, Location=api.url("/v1/x/content")))
        await fetch(asked, files)
    assert (keys(api), keys(elsewhere)) == ([True, True, False], [False, False])


@pytest.mark.security(8)
async def test_a_redirect_into_a_private_network_is_not_followed(clip: bytes, files: LocalFiles) -> None:
    with FilesServer(file(clip)) as elsewhere, FilesServer(status(302, Location=elsewhere.url())) as api:
        error = await trouble_of(request_to(api, api), files)
    assert (error.trouble, elsewhere.seen) == (DownloadTrouble.REFUSED, [])


async def test_a_file_at_another_origin_gets_no_key_and_no_leave(clip: bytes, files: LocalFiles) -> None:
    with FilesServer(file(clip)) as elsewhere, FilesServer() as api:
        error = await trouble_of(request_to(elsewhere, api), files)
        assert (error.trouble, elsewhere.seen) == (DownloadTrouble.REFUSED, [])
        await fetch(replace(request_to(elsewhere, api), allow_loopback=True), files)
    assert keys(elsewhere) == [False]


@pytest.mark.fault(105)
@pytest.mark.parametrize(
    ("code", "own", "elsewhere"),
    [
        (400, DownloadTrouble.RETRY, DownloadTrouble.EXPIRED),
        (404, DownloadTrouble.RETRY, DownloadTrouble.EXPIRED),
        (403, DownloadTrouble.EXPIRED, DownloadTrouble.EXPIRED),
        (500, DownloadTrouble.RETRY, DownloadTrouble.RETRY),
    ],
)
async def test_a_file_that_is_not_ready_yet_is_asked_for_again(
    files: LocalFiles, code: int, own: DownloadTrouble, elsewhere: DownloadTrouble
) -> None:
    """A 404 of a signed URL says that it has expired; that of an API, that the file is a moment behind."""
    with FilesServer(status(code)) as server:
        assert (await trouble_of(request_to(server, server), files)).trouble is own
        signed = replace(request_to(server, None), allow_loopback=True)
        assert (await trouble_of(signed, files)).trouble is elsewhere


@pytest.mark.fault(105)
@pytest.mark.parametrize("etag", ['"v1"', ""])
async def test_a_server_without_ranges_is_read_from_the_start(
    clip: bytes, files: LocalFiles, etag: str
) -> None:
    with FilesServer(
        file(clip, etag=etag, ranges=False, cut_at=100), file(clip, etag=etag, ranges=False)
    ) as api:
        asked = request_to(api, api)
        assert (await trouble_of(asked, files)).trouble is DownloadTrouble.RETRY
        await fetch(asked, files)
    assert (files.root / "out/clip.mp4").read_bytes() == clip
    assert keys(api) == [True, True]
