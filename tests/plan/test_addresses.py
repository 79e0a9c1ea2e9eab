"""Addresses that a name of the job's own stands for, and signed ones that have none."""

from __future__ import annotations

import hashlib
import json

import pytest

from runner.plan.signed import key_for, signature_in
from runner.providers.mesh import MESH
from tests.support.job_bench import HEAD, PNG, JobBench

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SIGNED = "https://host/lake.png?X-Amz-Date=1&X-Amz-Signature=secret"
AGAIN = "https://host/lake.png?X-Amz-Date=2&X-Amz-Signature=another"


def image(target: str, more: str = "") -> str:
    return (
        HEAD
        + f"content:\n  - {{type: text, text: A lake}}\n  - type: image_url\n    image_url: {target}\n{more}"
    )


@pytest.mark.parametrize("name", ["key: lake", f"sha256: {DIGEST}"])
def test_a_name_stands_for_the_address_in_the_identity(jobs: JobBench, name: str) -> None:
    first, again = (jobs.tasks(image(f"{{url: '{url}', {name}}}"))[0] for url in (SIGNED, AGAIN))
    assert first.identity == again.identity
    assert first.request == again.request
    assert first.seed == again.seed
    assert "secret" not in repr(first)


def test_what_is_sent_is_the_address(jobs: JobBench) -> None:
    for name in ("key: lake", f"sha256: {DIGEST}"):
        [task] = jobs.tasks(image(f"{{url: '{SIGNED}', {name}}}"))
        body = MESH.body(
            task.request, task.inputs, lambda _: b"", tag=None, callback_url=None, addresses=task.addresses
        )
        assert json.loads(body.content)["content"][1]["image_url"] == {"url": SIGNED}


def test_another_name_is_another_task(jobs: JobBench) -> None:
    plain, lake, river = (
        jobs.tasks(image(f"{{url: '{SIGNED}'{name}}}"))[0].identity
        for name in ("", ", key: lake", ", key: river")
    )
    assert len({plain, lake, river}) == 3


def test_a_digest_counts_as_the_local_file_of_these_bytes(jobs: JobBench) -> None:
    (jobs.folder / "lake.png").write_bytes(PNG)
    [local] = jobs.tasks(image("lake.png"))
    digest = hashlib.sha256(PNG).hexdigest().upper()
    [remote] = jobs.tasks(image(f"{{url: '{SIGNED}', sha256: '{digest}'}}"))
    assert remote.identity == local.identity
    assert remote.inputs == ()


def test_each_cell_has_its_own_address_and_name(jobs: JobBench) -> None:
    matrix = f"matrix: {{shot: [{{id: lake, at: '{SIGNED}'}}, {{id: 7, at: 'https://host/7.png'}}]}}\n"
    tasks = jobs.tasks(image("{url: '${{ shot.at }}', key: '${{ shot.id }}'}", matrix))
    assert [dict(task.addresses) for task in tasks] == [
        {"key:lake": SIGNED},
        {"key:7": "https://host/7.png"},
    ]


def test_a_name_that_is_null_in_a_cell_is_not_given_there(jobs: JobBench) -> None:
    (jobs.folder / "a.png").write_bytes(PNG)
    matrix = f"matrix: {{shot: [{{id: a, at: a.png}}, {{id: b, at: '{SIGNED}', key: lake}}]}}\n"
    tasks = jobs.tasks(image("{url: '${{ shot.at }}', key: '${{ shot.key | default(none) }}'}", matrix))
    assert [dict(task.addresses) for task in tasks] == [{}, {"key:lake": SIGNED}]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (f"{{url: '{SIGNED}', key: lake, sha256: {DIGEST}}}", "`key` and `sha256` exclude each other"),
        (f"{{url: '{SIGNED}', key: ' lake'}}", "a key is a name of 1 to 200 characters"),
        (f"{{url: '{SIGNED}', key: '{SIGNED}'}}", "a key is a name of 1 to 200 characters"),
        (f"{{url: '{SIGNED}', key: true}}", "must be text"),
        (f"{{url: '{SIGNED}', key: }}", "not empty"),
        (f"{{url: '{SIGNED}', sha256: {DIGEST[1:]}}}", "must be 64 hex digits"),
        (f"{{url: '{SIGNED}', sha256: \"${{{{ 'abc' }}}}\"}}", "a sha256 has 64 hex digits"),
        ("{url: a.png, key: lake}", "only an https address needs a name"),
    ],
)
def test_a_name_that_cannot_stand_for_an_address_is_refused(jobs: JobBench, target: str, told: str) -> None:
    (jobs.folder / "a.png").write_bytes(PNG)
    [problem] = jobs.problems(image(target))
    assert told in problem
    assert "secret" not in problem


def test_two_addresses_of_one_request_have_two_names(jobs: JobBench) -> None:
    second = f"  - {{type: image_url, image_url: {{url: '{AGAIN}', key: lake}}, role: last_frame}}\n"
    [problem] = jobs.problems(image(f"{{url: '{SIGNED}', key: lake}}\n    role: first_frame", second))
    assert "another address has the same name; hint: give each its own" in problem


def test_an_item_that_a_chain_leaves_out_takes_no_address_along(jobs: JobBench) -> None:
    first, second = jobs.tasks(
        HEAD + "steps:\n  film:\n    chain: shot\n    matrix: {shot: [a, b]}\n"
        "    request: {return_last_frame: true}\n    content:\n"
        "      - {type: text, text: '${{ shot }}'}\n"
        "      - {type: image_url, image_url: '${{ previous.last_frame }}', role: first_frame}\n"
        f"      - {{type: image_url, image_url: {{url: '{SIGNED}', key: lake}}, role: last_frame}}\n"
        "lint: {frame-roles: 'off'}\n"
    )
    assert first.addresses == second.addresses == {"key:lake": SIGNED}


def test_what_a_step_makes_needs_no_name(jobs: JobBench) -> None:
    [problem] = jobs.problems(
        HEAD + "steps:\n  a:\n    request: {return_last_frame: true}\n    content: [{type: text, text: A}]\n"
        "  b:\n    needs: a\n    content:\n"
        "      - {type: image_url, image_url: {url: '${{ needs.a.last_frame }}', key: lake}}\n"
    )
    assert "what a step makes is known by its task" in problem


def test_a_signed_address_without_a_name_is_a_warning_whose_hint_works(jobs: JobBench) -> None:
    [warning] = jobs.plan(image(f"'{SIGNED}'")).warnings
    assert warning.message == "the address is signed (`X-Amz-Signature`): signed anew, it makes a new task"
    assert warning.hint == "image_url: {url: ..., key: lake}, with a key that stays the same"
    assert jobs.plan(image(f"{{url: '{SIGNED}', key: lake}}")).warnings == ()


def test_getimg_takes_a_name_too(jobs: JobBench) -> None:
    text = image(f"{{url: '{SIGNED}', key: lake}}").replace("byteplus/seedance-1-0-pro", "seedance-v1-pro")
    [task] = jobs.tasks(text.replace("version: 1", "version: 1\nprovider: getimg"))
    assert task.request["images"] == [{"url": "key:lake", "role": "first_frame"}]
    assert task.addresses == {"key:lake": SIGNED}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=a", "X-Amz-Signature"),
        ("X-Goog-Algorithm=a&X-Goog-Signature=a", "X-Goog-Signature"),
        ("AWSAccessKeyId=a&Expires=1&Signature=b", "AWSAccessKeyId"),
        ("Expires=1&Signature=b&Key-Pair-Id=c", "Key-Pair-Id"),
        ("GoogleAccessId=a&Expires=1&Signature=b", "GoogleAccessId"),
        ("sv=2024-01-01&se=2026&sr=b&sp=r&sig=a%3D", "se"),
        ("x-oss-signature=a", "x-oss-signature"),
        ("OSSAccessKeyId=a&Expires=1&Signature=b", "OSSAccessKeyId"),
        ("X-Tos-Signature=a", "X-Tos-Signature"),
        ("q-sign-algorithm=sha1&q-signature=a", "q-signature"),
        ("e=1&token=a:b", "e"),
        ("alt=media&token=a", "token"),
        ("ex=1&is=2&hm=3", "ex"),
        ("oh=1&oe=2", "oe"),
        ("hdnts=exp=1~hmac=a", "hdnts"),
        ("verify=1-a", "verify"),
        ("Signature=a&Expires=1", "Signature"),
        ("expires=1&md5=a", "expires"),
        ("access_token=a", "access_token"),
    ],
)
def test_a_signature_is_known_by_the_names_of_its_query(query: str, name: str) -> None:
    assert signature_in(f"https://host/a/lake.png?{query}") == name


@pytest.mark.parametrize(
    "url",
    [
        "https://host/lake.png",
        "https://host/lake.png?v=3&width=640&format=webp",
        "https://host/lake.png?x-oss-process=image/resize,w_100",
        "https://host/signature/token.png#token=1",
        "data:image/png;base64,AAAA?token=1",
        "https://[broken?token=1",
    ],
)
def test_a_plain_address_is_not_signed(url: str) -> None:
    assert signature_in(url) == ""


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://host/a/Lake%20Day.png?token=1", "lake-day"),
        ("https://host/?token=1", "a-name"),
        ("https://host/1234?token=1", "a-name"),
    ],
)
def test_a_name_is_offered_by_the_path(url: str, key: str) -> None:
    assert key_for(url) == key
