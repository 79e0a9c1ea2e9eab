"""The OpenAI-shaped servers of the sandbox, over their wire."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from runner.sandbox.openai import KINDS, Kindred
from tests.support.sandbox_requests import NO_TLS, connect, get_file

ROOTS = {kind.name: kind.root for kind in KINDS}
EACH = pytest.mark.parametrize("kind", KINDS, ids=ROOTS)


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 18), "red").save(file, "PNG")
    return file.getvalue()


def videos(kind: Kindred | str, *rest: str) -> str:
    root = ROOTS[kind] if isinstance(kind, str) else kind.root
    return "/".join([f"{root}/v1/videos", *rest])


def asked(kind: Kindred, **fields: Any) -> dict[str, Any]:
    """As a form, which every kind takes; a seed where there is one."""
    seed = {} if kind.is_reference else {"seed": "7"}
    return {"model": "wan", "prompt": "A teapot", "seconds": "4", "size": "1280x720", **seed, **fields}


def as_form(fields: dict[str, Any]) -> dict[str, tuple[None, str]]:
    return {name: (None, value) for name, value in fields.items()}


def create(client: httpx.Client, kind: Kindred, **fields: Any) -> dict[str, Any]:
    answer = client.post(videos(kind), files=as_form(asked(kind, **fields)))
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


def content(client: httpx.Client, kind: Kindred, video_id: str, **query: str) -> httpx.Response:
    return client.get(videos(kind, video_id, "content"), params=query)


@EACH
def test_a_video_is_made_shown_and_given_to_its_key_alone(client: httpx.Client, kind: Kindred) -> None:
    job = create(client, kind)
    assert (job["object"], job["status"], job["model"]) == ("video", "queued", "wan")
    assert ("prompt" in job) is kind.echoes_prompt
    done = client.get(videos(kind, job["id"])).json()
    assert (done["id"], done["status"], done["size"]) == (job["id"], "completed", "1280x720")
    assert done["seconds"] == (4 if kind.indexed else "4")
    video = content(client, kind, job["id"])
    assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
    assert video.content[4:8] == b"ftyp"
    url = str(client.base_url).rstrip("/") + videos(kind, job["id"], "content")
    assert get_file(url).status_code == (401 if kind.needs_key else 404)
    assert get_file(url, {"authorization": "Bearer another"}).status_code == 404


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if not kind.is_reference], ids=lambda kind: kind.name
)
def test_the_same_seed_and_prompt_give_the_same_bytes(client: httpx.Client, kind: Kindred) -> None:
    found = []
    for fields in ({}, {}, {"seed": "8"}, {"prompt": "A kettle"}):
        job = create(client, kind, **fields)
        client.get(videos(kind, job["id"]))
        found.append(content(client, kind, job["id"]).content)
    assert found[0] == found[1]
    assert len({*found}) == 3


@EACH
def test_json_is_taken_where_the_server_takes_it(client: httpx.Client, kind: Kindred) -> None:
    fields = asked(kind) | ({} if kind.is_reference else {"seed": 7})
    if kind.indexed:
        fields["seconds"] = 4
    answer = client.post(videos(kind), json=fields)
    assert answer.status_code == (415 if kind.is_form_only else 200), answer.text


def test_a_length_has_the_type_of_its_server(client: httpx.Client) -> None:
    for name, seconds, status in (
        ("reference", 4, 400),
        ("reference", "5", 400),
        ("sglang", "4", 422),
        ("litellm", 4, 200),
        ("litellm", "4", 200),
        ("any", 4, 200),
    ):
        fields = {"model": "m", "prompt": "A", "seconds": seconds}
        assert client.post(videos(name), json=fields).status_code == status, (name, seconds)


@EACH
def test_a_picture_opens_the_video_as_a_file(client: httpx.Client, kind: Kindred) -> None:
    files = {**as_form(asked(kind)), "input_reference": ("a.png", png(), "image/png")}
    job = client.post(videos(kind), files=files).json()
    client.get(videos(kind, job["id"]))
    opened = content(client, kind, job["id"]).content
    plain = create(client, kind)
    client.get(videos(kind, plain["id"]))
    assert opened != content(client, kind, plain["id"]).content


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("reference", "input_reference[image_url]"),
        ("vllm-omni", "image_reference"),
        ("sglang", "reference_url"),
    ],
)
def test_a_picture_is_named_by_its_address(client: httpx.Client, name: str, field: str) -> None:
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    value = f'{{"image_url": "{url}"}}' if field == "image_reference" else url
    fields = {"model": "m", "prompt": "A", "seconds": "4", field: value}
    assert client.post(videos(name), files=as_form(fields)).status_code == 200


@EACH
@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"seconds": "0"},
        {"seconds": "soon"},
        {"size": "large"},
        {"camera_fixed": "true"},
        {"seed": "x"},
        {"input_reference": "not a picture"},
    ],
)
def test_what_a_server_does_not_take_is_refused(
    client: httpx.Client, server: SandboxServer, kind: Kindred, fields: dict[str, Any]
) -> None:
    answer = client.post(videos(kind), files=as_form(asked(kind, **fields)))
    assert answer.status_code == (422 if kind.detail_errors else 400)
    document = answer.json()
    if kind.detail_errors:
        assert document.keys() == {"detail"}
    else:
        assert document["error"].keys() == {"message", "type", "param", "code"}
    assert server.accepted == 0


@pytest.mark.parametrize("body", [b"", b"--b\r\n\r\nx", b"--b\r\nname\r\n\r\nx\r\n--b\r\n", b"no form"])
def test_a_broken_form_is_refused(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post(videos("vllm-omni"), content=body, headers=headers).status_code == 422
    answer = client.post(videos("vllm-omni"), content=body, headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 422


def test_a_failed_job_has_its_failures_own_status_at_one_server(client: httpx.Client) -> None:
    for kind in KINDS:
        job = create(client, kind, prompt="[violate] it")
        answer = client.get(videos(kind, job["id"]))
        failed = answer.json()
        assert failed["status"] == "failed"
        if kind.own_status:
            assert answer.status_code == failed["error"]["code"] == 400
            assert content(client, kind, job["id"]).status_code == 422
        else:
            assert (answer.status_code, failed["error"]["code"]) == (200, "content_policy_violation")


@EACH
def test_content_is_not_ready_before_the_job_is_done(kind: Kindred) -> None:
    with SandboxServer(SandboxConfig(latency=(60, 60))) as server, connect(server, "k") as client:
        job = create(client, kind)
        assert content(client, kind, job["id"]).status_code == kind.not_ready
        assert client.get(videos(kind, job["id"])).json()["status"] == "queued"


def test_a_gateway_gives_content_whole(client: httpx.Client) -> None:
    for kind in KINDS:
        job = create(client, kind)
        client.get(videos(kind, job["id"]))
        part = client.get(videos(kind, job["id"], "content"), headers={"range": "bytes=0-9"})
        assert (part.status_code, len(part.content) == 10) == ((206, True) if kind.ranges else (200, False))


def test_a_list_is_read_after_the_last_id(client: httpx.Client) -> None:
    for kind in KINDS:
        ids = [create(client, kind)["id"] for _ in range(3)]
        query = {"custom_llm_provider": "openai"} if kind.lists_provider else {}
        page = client.get(videos(kind), params={**query, "limit": 2}).json()
        assert [row["id"] for row in page["data"]] == ids[:0:-1]
        assert (page["object"], page["last_id"], page["has_more"]) == ("list", ids[1], True)
        rest = client.get(videos(kind), params={**query, "limit": 2, "after": page["last_id"]}).json()
        assert ([row["id"] for row in rest["data"]], rest["has_more"]) == (ids[:1], False)
        rising = client.get(videos(kind), params={**query, "order": "asc"}).json()
        assert [row["id"] for row in rising["data"]] == ids
        for wrong in ({"limit": 101}, {"limit": "x"}, {"order": "up"}):
            assert client.get(videos(kind), params={**query, **wrong}).status_code == 400
        assert client.get(videos(kind), params={**query, "after": "none"}).status_code == 404
    assert client.get(videos("litellm")).status_code == 400


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ({"kind": "lag", "seconds": 60}, (0, False)),
        ({"kind": "hidden"}, (0, False)),
        ({"kind": "hidden", "fields": {"size": "1280x720"}}, (0, False)),
        ({"kind": "endless"}, (2, True)),
        ({"kind": "shuffle"}, (2, False)),
    ],
)
def test_a_list_may_lag_lie_and_never_end(
    client: httpx.Client, fault: dict[str, Any], shown: tuple[int, bool]
) -> None:
    kind = KINDS[0]
    for _ in range(2):
        create(client, kind)
    client.post("/_sandbox/faults", json={"where": "list", **fault}).raise_for_status()
    page = client.get(videos(kind)).json()
    assert (len(page["data"]), page["has_more"]) == shown


def test_pages_may_overlap(client: httpx.Client, server: SandboxServer) -> None:
    ids = [create(client, KINDS[0])["id"] for _ in range(3)]
    server.faults.add(Fault(where=Where.LIST, kind=Kind.OVERLAP, count=1))
    page = client.get(videos("any"), params={"after": ids[1]}).json()
    assert [row["id"] for row in page["data"]] == [ids[1], ids[0]]


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ({"kind": "regress"}, {"status": "in_progress"}),
        ({"kind": "suffix", "text": "-2"}, {"model": "wan-2"}),
        ({"kind": "fields", "fields": {"status": "thinking"}}, {"status": "thinking"}),
        ({"kind": "null_echoes"}, {"prompt": None, "size": None, "seconds": None}),
    ],
)
def test_a_fault_changes_one_answer_to_a_get(
    client: httpx.Client, fault: dict[str, Any], shown: dict[str, Any]
) -> None:
    job = create(client, KINDS[0])
    client.post("/_sandbox/faults", json={"where": "get", **fault}).raise_for_status()
    told = client.get(videos("any", job["id"])).json()
    assert {name: told[name] for name in shown} == shown
    assert client.get(videos("any", job["id"])).json()["status"] == "completed"


def test_a_job_is_deleted_as_its_server_does_it(client: httpx.Client) -> None:
    for kind in KINDS:
        job = create(client, kind)
        client.get(videos(kind, job["id"]))
        answer = client.delete(videos(kind, job["id"]))
        if not kind.deletes:
            assert answer.status_code == 405
            continue
        assert answer.json() == {"id": job["id"], "object": "video.deleted", "deleted": True}
        after = client.get(videos(kind, job["id"]))
        if kind.marks:
            assert after.json()["status"] == "deleted"
        else:
            assert after.status_code == content(client, kind, job["id"]).status_code == 404
        assert client.get(videos(kind)).json()["data"] == []


def test_the_reference_deletes_what_is_finished_alone() -> None:
    with SandboxServer(SandboxConfig(latency=(60, 60))) as server, connect(server, "k") as client:
        for name, status in (("reference", 400), ("vllm-omni", 200)):
            kind = next(kind for kind in KINDS if kind.name == name)
            job = create(client, kind)
            assert client.delete(videos(kind, job["id"])).status_code == status


def test_a_remix_is_a_new_video(client: httpx.Client, server: SandboxServer) -> None:
    for name in ("any", "reference"):
        kind = next(kind for kind in KINDS if kind.name == name)
        job = create(client, kind)
        answer = client.post(videos(kind, job["id"], "remix"), json={"prompt": "A kettle"})
        remix = answer.json()
        assert (remix["remixed_from_video_id"], remix["prompt"]) == (job["id"], "A kettle")
        assert (remix["seconds"], remix["size"]) == (job["seconds"], job["size"])
        assert remix["id"] != job["id"]
        wrong = client.post(videos(kind, job["id"], "remix"), json={"prompt": "A", "size": "720x1280"})
        assert wrong.status_code == 400
        assert client.post(videos(kind, "none", "remix"), json={"prompt": "A"}).status_code == 404
    assert server.accepted == 4
    assert client.post(videos("sglang", "x", "remix"), json={"prompt": "A"}).status_code == 404


def test_several_results_have_an_index(client: httpx.Client) -> None:
    kind = next(kind for kind in KINDS if kind.indexed)
    job = create(client, kind, n="3")
    assert len(client.get(videos(kind, job["id"])).json()["file_paths"]) == 3
    found = {content(client, kind, job["id"], variant=str(number)).content for number in range(3)}
    assert len(found) == 3
    for variant in ("3", "video"):
        assert content(client, kind, job["id"], variant=variant).status_code == 404


def test_pictures_of_a_video_are_not_made(client: httpx.Client) -> None:
    job = create(client, KINDS[0])
    client.get(videos("any", job["id"]))
    assert content(client, KINDS[0], job["id"], variant="thumbnail").status_code == 404
    assert content(client, KINDS[0], job["id"], variant="video").status_code == 200


def test_keys_are_wanted_by_some_servers(server: SandboxServer) -> None:
    with httpx.Client(base_url=server.url, verify=NO_TLS, timeout=10) as client:
        for kind in KINDS:
            answer = client.post(videos(kind), files=as_form(asked(kind)))
            assert answer.status_code == (401 if kind.needs_key else 200)
            if kind.root:
                status = client.get(f"{kind.root}/v1/models").status_code
                assert status == (401 if kind.needs_key else 200)


def test_a_fault_strikes_the_submit(client: httpx.Client, server: SandboxServer) -> None:
    kind = KINDS[0]
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=429, retry_after=7))
    answer = client.post(videos(kind), files=as_form(asked(kind)))
    assert (answer.status_code, answer.headers["retry-after"], server.accepted) == (429, "7", 0)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.NO_ID))
    assert "id" not in create(client, kind)
    before = create(client, kind)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.FOREIGN_ID))
    assert create(client, kind)["id"] == before["id"]
    assert server.accepted == 3


def test_mesh_does_not_list_what_a_server_accepted(client: httpx.Client) -> None:
    create(client, KINDS[0])
    assert client.get("/v1/video/generations").json()["total"] == 0
