"""Free requests beyond GETs of a path: uploads, and URLs that the service itself gave."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.http.access import Access
from runner.http.free import FreeRequests, UploadMethod
from runner.http.multipart import FormPart, encode_form
from runner.http.transport import Transport, open_client
from runner.http.verdicts import ProviderError, Trouble
from runner.json_value import JsonValue
from runner.providers import every
from tests.support.echoing_service import ECHOING, FILMS, UPLOADS, EchoingDialect
from tests.support.provider_clients import KEY, PATIENT_FREE, trusts_nothing
from tests.support.wire_server import answer, answering

FILES = "/files"


@contextlib.asynccontextmanager
async def free_at(*origins: str) -> AsyncIterator[list[FreeRequests]]:
    """Free requests to each origin, over one client."""
    async with open_client(Transport(tls=trusts_nothing())) as client:
        yield [FreeRequests(Access(origin, KEY), client, PATIENT_FREE, uploads={FILES}) for origin in origins]


@pytest.mark.anyio
async def test_an_upload_is_one_post_with_the_key() -> None:
    with answering(answer(201, {"id": "f-1"})) as server:
        async with free_at(server.origin + "/v1") as (free,):
            told = await free.upload(FILES, b"\x89PNG", content_type="image/png", query=[("a", "b c")])
    assert told.status == 201
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/files?a=b+c HTTP/1.1\r\n")
    assert b"Authorization: Bearer rsk_canary_0123456789" in head
    assert b"Content-Type: image/png" in head
    assert body == b"\x89PNG"


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/predictions", "/files/", "/v1/files", "/files/../predictions"])
async def test_a_free_post_goes_to_no_path_that_is_not_for_uploads(path: str) -> None:
    """Whatever a client does by mistake: what is not named as free may be a submit."""
    with answering(answer(200, {})) as server:
        async with free_at(server.origin) as (free,):
            with pytest.raises(ValueError, match="free POST"):
                await free.upload(path, b"{}", content_type="application/json")
            with pytest.raises(ValueError, match="free POST"):
                await free.upload(server.origin + path, b"{}", content_type="application/json")
    assert server.requests == []


def test_no_submit_goes_where_uploads_go() -> None:
    assert all(provider.dialect.path not in provider.upload_paths for provider in every().values())


def test_no_body_is_made_for_a_path_of_uploads() -> None:
    """Whatever a dialect does: what is sent with money behind it never goes where uploads are free."""
    astray = dataclasses.replace(ECHOING, dialect=EchoingDialect(path=UPLOADS))
    request: dict[str, JsonValue] = {"model": "film-2", "prompt": "a teapot"}
    with pytest.raises(ValueError, match="is for uploads"):
        astray.body(request, (), lambda _: b"", tag=None, callback_url=None)
    assert ECHOING.body(request, (), lambda _: b"", tag=None, callback_url=None).path == FILMS


@pytest.mark.anyio
async def test_a_put_carries_no_key() -> None:
    put = {"content_type": "image/png", "method": UploadMethod.PUT}
    with answering(answer(200, {})) as server:
        async with free_at(server.origin) as (free,):
            with pytest.raises(ValueError, match="no key"):
                await free.upload("/bucket/a.png?sig=1", b"a", **put)
            await free.upload(f"{server.origin}/bucket/a.png?sig=1", b"a", authorization="", **put)
            await free.upload("/bucket/b.png", b"b", authorization="Bearer token", **put)
    assert len(server.requests) == 2
    assert server.requests[0].startswith(b"PUT /bucket/a.png?sig=1 HTTP/1.1\r\n")
    assert not any(b"canary" in request for request in server.requests)
    assert b"Authorization: Bearer token" in server.requests[1]


@pytest.mark.anyio
async def test_a_url_that_the_service_gave_is_asked_for_at_its_own_host_alone() -> None:
    with answering(answer(200, {})) as server:
        async with free_at(server.origin + "/v1") as (free,):
            await free.get(f"{server.origin}/v2/next?cursor=a%2Fb", [("limit", "5")])
            for elsewhere in (
                "https://127.0.0.1/x",
                server.origin.replace("127.0.0.1", "localhost"),
                server.origin.replace("http://", "http://me@"),
                server.origin + ".example/x",
                "//example.com/x",
                "\ud800",
                "",
            ):
                # a path that begins with two slashes is a path
                if elsewhere.startswith("/"):
                    await free.get(elsewhere)
                    continue
                with pytest.raises(ProviderError) as caught:
                    await free.get(elsewhere)
                assert caught.value.trouble is Trouble.WRONG_REQUEST
    targets = [request.split(b" ")[1] for request in server.requests]
    assert targets == [b"/v2/next?cursor=a%2Fb&limit=5", b"/v1//example.com/x"]


@pytest.mark.anyio
async def test_an_idle_connection_is_used_again_for_its_own_host_alone() -> None:
    """One client speaks to several hosts: the key of one would go to another."""
    with answering(answer(200, {"at": 1})) as one, answering(answer(200, {"at": 2})) as two:
        async with free_at(one.origin, two.origin) as (first, second):
            told = [await free.get("/x") for free in (first, second, first, second)]
    assert [answered.document() for answered in told] == [{"at": 1}, {"at": 2}] * 2


PARTS = st.builds(
    FormPart,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.binary(max_size=100),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["", "image/png"]),
)


@given(st.lists(PARTS, max_size=4))
def test_a_form_holds_its_parts_byte_for_byte(parts: list[FormPart]) -> None:
    body, content_type = encode_form(parts)
    boundary = content_type.partition("boundary=")[2].encode()
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    assert pieces[-1] == b"--\r\n"
    assert [piece.partition(b"\r\n\r\n")[2] for piece in pieces[1:-1]] == [part.content for part in parts]
    assert all(piece.partition(b"\r\n\r\n")[0].count(b"\r\n") <= 2 for piece in pieces[1:-1])


def test_a_part_of_a_form_is_a_text_a_flag_or_the_file_of_a_data_uri() -> None:
    assert FormPart.of("seconds", 5) == FormPart("seconds", b"5")
    assert FormPart.of("sound", True) == FormPart("sound", b"true")
    assert FormPart.of("prompt", "a;base64,b") == FormPart("prompt", b"a;base64,b")
    image = FormPart.of("image", "data:image/png;base64,aGk=")
    assert image == FormPart("image", b"hi", "image.png", "image/png")
