"""What a getimg job may hold, and what it becomes."""

from __future__ import annotations

import pytest

from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.plan.plan import make_plan
from runner.providers.getimg import GETIMG
from tests.support.job_bench import PNG, TEXT, JobBench

HEAD = "version: 1\nprovider: getimg\nmodels: [seedance-v1-pro]\n"
IMAGE = "{type: image_url, image_url: 'https://e.com/a.png'%s}"


def with_images(*roles: str) -> str:
    items = [IMAGE % (f", role: {role}" if role else "") for role in roles]
    return f"{HEAD}content: [{{type: text, text: A teapot}}, {', '.join(items)}]\n"


def test_text_and_images_become_prompt_and_images(jobs: JobBench) -> None:
    """The task holds what is sent, with getimg's own names, and a ratio without quotes stays text."""
    fields = "request: {aspect_ratio: 16:9, duration: 5, resolution: 720p, sound: true}\n"
    head = with_images("first_frame", "last_frame").replace("seedance-v1-pro", "seedance-v2-0")
    (task,) = jobs.tasks(head + fields)
    url = "https://e.com/a.png"
    assert task.provider == "getimg"
    assert dict(task.request) == {
        "model": "seedance-v2-0",
        "prompt": "A teapot",
        "images": [{"url": url, "role": "first_frame"}, {"url": url, "role": "last_frame"}],
        "aspect_ratio": "16:9",
        "duration": 5,
        "resolution": "720p",
        "sound": True,
    }


def test_an_image_without_a_role_is_the_first_frame(jobs: JobBench) -> None:
    (named,), (unnamed,) = jobs.tasks(with_images("first_frame")), jobs.tasks(with_images(""))
    assert named.identity == unnamed.identity


def test_the_default_of_sound_is_no_part_of_the_identity(jobs: JobBench) -> None:
    (plain,), (silent,) = jobs.tasks(HEAD + TEXT), jobs.tasks(HEAD + TEXT + "request: {sound: false}\n")
    assert plain.identity == silent.identity


def test_samples_differ_without_a_seed(jobs: JobBench) -> None:
    tasks = jobs.tasks(HEAD + TEXT + "samples: 3\n")
    assert len({task.identity for task in tasks}) == 3
    assert all("seed" not in task.request for task in tasks)


@pytest.mark.parametrize(
    ("more", "message", "hint"),
    [
        ("request: {seed: 7}", "getimg has no `seed`", "samples: N"),
        ("request: {camera_fixed: true}", "getimg has no `camera_fixed`", "provider: mesh"),
        ("request: {frames: 29}", "getimg has no `frames`", "provider: mesh"),
        ("seeds: [1, 2, 3]", "getimg has no `seed`", "samples: 3"),
    ],
)
def test_what_getimg_lacks_is_named(jobs: JobBench, more: str, message: str, hint: str) -> None:
    problems = jobs.problems(f"{HEAD}{TEXT}{more}\n")
    assert message in problems[0]
    assert hint in "\n".join(problems)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("{type: video_url, video_url: 'https://e.com/a.mp4'}", "getimg takes no video_url"),
        ("{type: audio_url, audio_url: 'https://e.com/a.mp3'}", "getimg takes no audio_url"),
        ("{type: draft_task, draft_task: t-1}", "getimg takes no draft_task"),
        ("{type: text, text: Another}", "getimg takes one text"),
        ("{type: image_url, image_url: a.gif}", "getimg takes png, jpeg and webp images; this is image/gif"),
        ("{type: image_url, image_url: large.png}", "larger than the 10.5 MB that the service takes"),
        (
            "{type: image_url, image_url: 'data:image/gif;base64,AA'}",
            "getimg takes png, jpeg and webp images",
        ),
        ("{type: image_url, image_url: 'data:image/png,AA'}", "getimg takes png, jpeg and webp images"),
        ("{type: image_url, image_url: 'http://e.com/a.png'}", "URLs are not supported"),
    ],
)
def test_what_getimg_takes_no_such_input_of(jobs: JobBench, items: str, message: str) -> None:
    (jobs.folder / "a.gif").write_bytes(b"GIF89a" + bytes(64))
    (jobs.folder / "large.png").write_bytes(PNG + bytes(10 * 2**20))
    problems = jobs.problems(f"{HEAD}content: [{{type: text, text: A}}, {items}]\n")
    assert message in "\n".join(problems)


def test_a_prompt_is_needed(jobs: JobBench) -> None:
    assert "getimg needs a prompt" in jobs.problems(f"{HEAD}content: [{IMAGE % ''}]\n")[0]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (("last_frame",), "last_frame only with a first_frame"),
        (("reference_image", "first_frame"), "reference_image with neither"),
        (("reference_image", ""), "reference_image with neither"),
    ],
)
def test_roles_that_getimg_refuses_are_told(jobs: JobBench, roles: tuple[str, ...], message: str) -> None:
    assert message in "\n".join(jobs.problems(with_images(*roles)))


def test_a_mesh_job_hears_of_getimg_names(jobs: JobBench) -> None:
    job = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\nrequest: {sound: true}\n"
    problems = "\n".join(jobs.problems(job + TEXT))
    assert "mesh has no `sound`" in problems
    assert "generate_audio" in problems


def test_a_mesh_job_read_for_getimg_tells_each_loss(jobs: JobBench) -> None:
    job = "version: 1\nmodels: [m]\nseeds: [1, 2]\nrequest: {ratio: 16:9, camera_fixed: true}\n"
    file = jobs.folder / "mesh.yaml"
    file.write_text(job + TEXT, encoding="utf-8")
    with pytest.raises(Exception, match="camera_fixed") as caught:
        load_job(file, root=jobs.root, options=LoadOptions({}, provider=GETIMG))
    assert "`seed`" in str(caught.value)
    assert "`ratio`" not in str(caught.value)


def test_a_key_of_another_provider_is_refused(jobs: JobBench) -> None:
    """A Mesh job must not send the getimg key to Mesh."""
    job = "version: 1\nmodels: [m]\napi_key_env: GETIMG_API_KEY\n" + TEXT
    assert "would be sent to the service" in jobs.problems(job)[0]
    assert jobs.plan(job.replace("models", "provider: getimg\nmodels")).count == 1


def test_what_does_not_change_the_picture_is_lost_with_a_warning(jobs: JobBench) -> None:
    """A Mesh job read for getimg: its service tier is told of, and its tasks are planned without it."""
    job = "version: 1\nmodels: [seedance-v1-pro]\nrequest: {service_tier: flex, return_last_frame: true}\n"
    file = jobs.folder / "mesh.yaml"
    file.write_text(job + TEXT, encoding="utf-8")
    loaded = load_job(file, root=jobs.root, options=LoadOptions({}, provider=GETIMG))
    assert [problem.path for problem in loaded.warnings] == [
        "request.service_tier",
        "request.return_last_frame",
    ]
    plan = make_plan(loaded, origin="https://api.getimg.ai", run_date=RunDate.parse("2026-05-31+00:00"))
    (task,) = plan.tasks
    assert not {"service_tier", "return_last_frame"} & set(task.request)


@pytest.mark.parametrize("more", ["request: {%s: '1:1'}", "matrix: {%s: ['1:1']}", "include: [{%s: '1:1'}]"])
def test_a_common_word_makes_the_request_that_getimgs_own_name_makes(jobs: JobBench, more: str) -> None:
    (common,), (own,) = (jobs.tasks(f"{HEAD}{TEXT}{more % name}\n") for name in ("ratio", "aspect_ratio"))
    assert common.request == own.request
    assert common.identity == own.identity
    assert own.request["aspect_ratio"] == "1:1"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "request: {ratio: '1:1', aspect_ratio: '1:1'}",
            "`ratio` and `aspect_ratio` are one field",
        ),
        (
            "matrix: {ratio: ['1:1']}\nrequest: {aspect_ratio: '${{ ratio }}'}",
            "the axis `ratio` sets this field too",
        ),
    ],
)
def test_a_field_is_set_by_one_of_its_names(jobs: JobBench, more: str, message: str) -> None:
    assert message in "\n".join(jobs.problems(f"{HEAD}{TEXT}{more}\n"))


def test_a_mesh_job_may_use_an_axis_with_a_getimg_name(jobs: JobBench) -> None:
    job = "version: 1\nmodels: [seedance-1-0-pro]\nmatrix: {sound: [rain, wind]}\n"
    assert jobs.plan(job + "content: [{type: text, text: 'The ${{ sound }}'}]\n").count == 2


def test_what_run_says_of_webhooks_and_of_a_list_is_lost_with_a_warning(jobs: JobBench) -> None:
    run = "run: {webhook: {public_url: 'http://127.0.0.1:8787'}, on_ambiguous: auto}\n"
    webhook, unclear = jobs.plan(HEAD + TEXT + run).warnings
    assert (webhook.path, unclear.path) == ("run.webhook", "run.on_ambiguous")
    assert webhook.message.startswith("getimg has no webhooks")
    assert unclear.message.startswith("getimg has no list to reconcile with")
    assert jobs.plan(HEAD + TEXT + "run: {on_ambiguous: hold}\n").warnings == ()
    assert jobs.plan("version: 1\nmodels: [seedance-1-0-pro]\n" + TEXT + run).warnings == ()


def test_a_local_image_is_known_by_its_bytes(jobs: JobBench) -> None:
    """And a file that is gone is told of with the other losses."""
    content = "content: [{type: text, text: A}, {type: image_url, image_url: a.png}]\n"
    told = "\n".join(jobs.problems(f"{HEAD}seeds: 1..2\nrequest: {{frames: 29}}\n{content}"))
    assert all(words in told for words in ("no such file", "getimg has no `seed`", "getimg has no `frames`"))
    (jobs.folder / "a.png").write_bytes(PNG)
    (task,) = jobs.tasks(HEAD + content)
    (file,) = task.inputs
    assert task.request["images"] == [{"url": f"sha256:{file.sha256}", "role": "first_frame"}]
    (jobs.folder / "b.png").write_bytes(PNG)
    (renamed,) = jobs.tasks(HEAD + content.replace("a.png", "b.png"))
    assert renamed.identity == task.identity


def test_a_data_uri_goes_as_it_is(jobs: JobBench) -> None:
    url = "data:image/webp;base64,AAAA"
    content = f"content: [{{type: text, text: A}}, {{type: image_url, image_url: '{url}'}}]\n"
    (task,) = jobs.tasks(HEAD + content)
    assert task.request["images"] == [{"url": url, "role": "first_frame"}]
    assert task.inputs == ()
