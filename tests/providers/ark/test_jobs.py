"""What an Ark job may hold, and what is told of it."""

from __future__ import annotations

import pytest

from runner.providers.ark import ARK
from tests.support.job_bench import PNG, TEXT, JobBench

NEWEST = "dreamina-seedance-2-5-260628"
SECOND = "dreamina-seedance-2-0-260128"
FIRST = "seedance-1-0-pro-250528"


def head(model: str) -> str:
    return f"version: 1\nprovider: ark\nmodels: [{model}]\n"


def warnings(jobs: JobBench, text: str) -> list[str]:
    return [warning.message for warning in jobs.plan(text).warnings]


def test_an_asset_is_an_address_and_a_local_image_goes_as_data(jobs: JobBench) -> None:
    (jobs.folder / "a.png").write_bytes(PNG)
    items = "{type: text, text: A}, {type: image_url, image_url: 'asset://a-1', role: reference_image}"
    local = "{type: image_url, image_url: a.png, role: reference_image}"
    (task,) = jobs.tasks(f"{head(SECOND)}content: [{items}, {local}]\n")
    (file,) = task.inputs
    urls = [url for _, url in ARK.dialect.urls(task.request)]
    assert urls == ["asset://a-1", f"sha256:{file.sha256}"]


def test_another_service_takes_no_asset(jobs: JobBench) -> None:
    text = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\n"
    item = "content: [{type: image_url, image_url: 'asset://a-1'}]\n"
    assert "asset:// URLs are not supported" in jobs.problems(text + item)[0]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{type: video_url, video_url: 'data:video/mp4;base64,AAAA'}", "ark takes a video by its URL only"),
        ("{type: image_url, image_url: 'data:image/PNG;base64,AAAA'}", "in lower case"),
        ("{type: image_url, image_url: 'asset://'}", "an asset has an id"),
        ("{type: video_url, video_url: a.mp4}", "ark takes a video by its URL only"),
    ],
)
def test_what_ark_takes_no_such_input_of(jobs: JobBench, item: str, message: str) -> None:
    (jobs.folder / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64))
    text = f"{head(SECOND)}content: [{{type: text, text: A}}, {item}]\n"
    assert message in "\n".join(jobs.problems(text))


@pytest.mark.parametrize("flag", ["--rs 720p", "--rt 16:9", "--dur 5", "--seed 7", "--cf true", "--wm true"])
def test_a_setting_in_a_prompt_is_refused_for_it_would_be_obeyed(jobs: JobBench, flag: str) -> None:
    text = f"{head(FIRST)}content: [{{type: text, text: 'A teapot {flag}'}}]\n"
    (problem,) = jobs.problems(text)
    assert f"`{flag.split()[0]}` in a prompt is not a setting" in problem
    assert len(warnings(jobs, f"{text}lint: {{prompt-flags: warn}}\n")) == 1


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (SECOND, "service_tier: flex", "Seedance 2.0 has no flex tier"),
        (SECOND, "camera_fixed: true", "Seedance 2.0 has no `camera_fixed`"),
        (SECOND, "draft: true", "Seedance 2.0 makes no drafts"),
        (SECOND, "frames: 29", "Seedance 2.0 takes no `frames`"),
        (SECOND, "duration: 3", "Seedance 2.0 does not make 3 s"),
        (SECOND, "duration: 16", "Seedance 2.0 does not make 16 s"),
        (SECOND, "output_format: mov", "Seedance 2.0 has no `output_format`"),
        (NEWEST, "resolution: 4k", "Seedance 2.5 does not make 4k"),
        (NEWEST, "draft: true, resolution: 720p", "Seedance 2.5 does not make 720p for a draft"),
        ("dreamina-seedance-2-0-mini-260615", "resolution: 1080p", "2.0 mini does not make 1080p"),
        (FIRST, "generate_audio: true", "Seedance 1.0 pro makes no sound"),
        (FIRST, "priority: 3", "Seedance 1.0 pro has no `priority`"),
        (FIRST, "ratio: adaptive", "takes `adaptive` only with an image"),
        (FIRST, "frames: 30", "does not make 30 frames"),
        (FIRST, "duration: 13", "Seedance 1.0 pro does not make 13 s"),
    ],
)
def test_what_a_model_does_not_know_is_refused(jobs: JobBench, model: str, fields: str, message: str) -> None:
    problems = jobs.problems(f"{head(model)}request: {{{fields}}}\n{TEXT}")
    assert message in problems[0]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (NEWEST, "duration: 30, resolution: 1080p, output_format: mov, priority: 9"),
        (NEWEST, "duration: -1, draft: true, resolution: 480p"),
        (SECOND, "resolution: 4k, duration: 15, generate_audio: true"),
        (FIRST, "frames: 289, service_tier: flex, camera_fixed: true, seed: 2147483647"),
        ("doubao-seedance-1-0-pro-fast-251015", "duration: 2, ratio: 21:9"),
    ],
)
def test_what_a_model_knows_passes(jobs: JobBench, model: str, fields: str) -> None:
    assert warnings(jobs, f"{head(model)}request: {{{fields}}}\n{TEXT}") == []


def test_an_endpoint_is_taken_and_nothing_is_known_of_it(jobs: JobBench) -> None:
    text = head("ep-20261101-abcde") + "request: {resolution: 4k, frames: 29, draft: true}\n" + TEXT
    (warning,) = warnings(jobs, text)
    assert warning.startswith("ep-20261101-abcde: nothing is known of this model")


@pytest.mark.parametrize("model", ["dreamina-seedance-2-0", "seedance-2-0-260128", "Seedance-2.0"])
def test_an_id_that_ark_does_not_have_is_refused(jobs: JobBench, model: str) -> None:
    (problem,) = jobs.problems(head(model) + TEXT)
    assert f"{model} is not a model that ark is known to have" in problem
    assert f"did you mean `{SECOND}`?" in problem


def test_a_vendor_before_an_id_is_told(jobs: JobBench) -> None:
    (warning,) = warnings(jobs, head(f"byteplus/{SECOND}") + TEXT)
    assert warning == "`byteplus/` is not a prefix that ark is known to have"


def test_a_retired_model_is_told_of_with_what_is_sold_in_its_place(jobs: JobBench) -> None:
    (warning,) = jobs.plan(head("seedance-1-5-pro-251215") + TEXT).warnings
    assert warning.message.endswith("was retired on 2026-11-11")
    assert warning.hint == "use dreamina-seedance-2-0-mini-260615"


def test_a_seed_is_not_sent_to_a_model_that_may_refuse_it(jobs: JobBench) -> None:
    text = f"{head(SECOND)}request: {{seed: 7}}\n{TEXT}"
    (task,) = jobs.tasks(text)
    assert "seed" not in task.request
    assert warnings(jobs, text) == [f"{SECOND} ignores `seed`, so it is not sent"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{type: audio_url, audio_url: 'https://e.com/a.mp3'}", "takes sound only with an image or a video"),
        (
            "{type: image_url, image_url: 'https://e.com/a.png'}, "
            "{type: image_url, image_url: 'https://e.com/b.png', role: reference_image}",
            "references exclude first and last frames",
        ),
        (
            ", ".join(["{type: image_url, image_url: 'https://e.com/a.png', role: reference_image}"] * 10),
            "10 reference images; Seedance 2.0 takes 9",
        ),
    ],
)
def test_the_rules_of_the_content(jobs: JobBench, content: str, message: str) -> None:
    text = f"content: [{{type: text, text: A}}, {content}]\n"
    assert message in "\n".join(jobs.problems(head(SECOND) + text))


def test_sound_alone_is_taken_by_the_newest_model(jobs: JobBench) -> None:
    item = "{type: audio_url, audio_url: 'https://e.com/a.mp3'}"
    assert warnings(jobs, f"{head(NEWEST)}content: [{{type: text, text: A}}, {item}]\n") == []


def test_a_first_frame_fixes_the_ratio_of_the_newest_model(jobs: JobBench) -> None:
    item = "{type: image_url, image_url: 'https://e.com/a.png', role: first_frame}"
    text = f"content: [{{type: text, text: A}}, {item}]\n"
    (problem,) = jobs.problems(f"{head(NEWEST)}request: {{ratio: 16:9}}\n{text}")
    assert "the ratio of its first frame" in problem
    assert warnings(jobs, f"{head(NEWEST)}request: {{ratio: adaptive}}\n{text}") == []


@pytest.mark.parametrize(
    ("model", "fields", "tokens", "usd"),
    [
        (NEWEST, "resolution: 720p, ratio: 16:9, duration: 5", 108_900, "1.16523"),
        (SECOND, "resolution: 720p, ratio: 16:9, duration: 5", 108_900, "0.7623"),
        ("doubao-seedance-2-0-260128", "resolution: 720p, ratio: 16:9, duration: 5", 108_900, None),
        ("ep-20261101-abcde", "resolution: 720p, ratio: 16:9, duration: 5", None, None),
    ],
)
def test_the_estimate_has_one_frame_more_and_the_price_of_the_size(
    jobs: JobBench, model: str, fields: str, tokens: int | None, usd: str | None
) -> None:
    (task,) = jobs.tasks(f"{head(model)}request: {{{fields}}}\n{TEXT}")
    assert task.estimate_tokens == tokens
    assert task.estimate_micros == (None if usd is None else round(float(usd) * 1_000_000))


def test_a_mesh_job_hears_of_what_ark_alone_has(jobs: JobBench) -> None:
    text = "version: 1\nmodels: [byteplus/dreamina-seedance-2-5]\nrequest: {output_format: mov}\n" + TEXT
    problems = "\n".join(jobs.problems(text))
    assert "mesh has no `output_format`" in problems
    assert "provider: ark" in problems
