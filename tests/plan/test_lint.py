from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from runner.job.model import Level
from runner.json_value import JsonValue
from runner.plan import lint
from runner.plan.lint import DEFAULT_LEVELS, Linter
from runner.plan.rules import LintFinding
from runner.plan.task import Task
from runner.providers import BUILT_IN
from runner.providers.account import Account
from runner.providers.base import InputFile
from runner.providers.mesh import MESH
from runner.resources import load_schema
from tests.support.pictures import png

_MESH = Account("mesh", MESH)
TWO = "byteplus/dreamina-seedance-2-0-260128"
FAST = "dreamina-seedance-2-0-fast-260128"
NEW = "dreamina-seedance-2-5-260628"
HALF = "seedance-1-5-pro-251215"
ONE = "seedance-1-0-pro-250428"
ONE_FAST = "seedance-1-0-pro-fast-250528"
T2V = "seedance-1-0-lite-t2v-250219"
I2V = "seedance-1-0-lite-i2v-250219"
TEXT: JsonValue = {"type": "text", "text": "A teapot"}


def media(kind: str, role: str | None = None) -> JsonValue:
    item: dict[str, JsonValue] = {
        "type": f"{kind}_url",
        f"{kind}_url": {"url": f"https://example.com/{kind}"},
    }
    return item | ({"role": role} if role else {})


FIRST = media("image", "first_frame")
LAST = media("image", "last_frame")
IMAGE = media("image", "reference_image")
VIDEO = media("video", "reference_video")
SOUND = media("audio", "reference_audio")
HEIC = InputFile(sha256="0" * 64, media_type="image/heic", size=9, path=Path("/a.heic"))
DRAFT: JsonValue = {"type": "draft_task", "draft_task": {"id": "t-1"}}


def local(file: InputFile) -> JsonValue:
    return {"type": "image_url", "image_url": {"url": file.reference}, "role": "first_frame"}


def data_uri(image: bytes) -> JsonValue:
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def signed(query: str) -> JsonValue:
    return {"type": "image_url", "image_url": {"url": f"https://example.com/lake.png?{query}"}}


def says(text: str) -> JsonValue:
    return {"type": "text", "text": text}


def make_task(
    model: str,
    *content: JsonValue,
    provider: str = "mesh",
    cell: dict[str, JsonValue] | None = None,
    inputs: tuple[InputFile, ...] = (),
    **fields: JsonValue,
) -> Task:
    request: dict[str, JsonValue] = {"model": model, **fields}
    if provider == "mesh":
        request["content"] = list(content) or [TEXT]
    return Task(
        identity="0" * 64,
        index=0,
        step="",
        name="t",
        cell=cell or {"model": model},
        provider=provider,
        account=provider,
        origin="https://api.example.com",
        edition="",
        model=model,
        seed=None,
        sample=None,
        request=request,
        inputs=inputs,
        output="out/t.mp4",
    )


def of_image(width: int, height: int, *, trouble: str = "", model: str = TWO) -> Task:
    """A task that begins with a local image."""
    pixels = (width, height) if width else None
    file = InputFile("1" * 64, "image/png", 99, Path("/a.png"), pixels, trouble)
    return make_task(model, TEXT, local(file), inputs=(file,))


def look(task: Task, **levels: Level) -> list[tuple[LintFinding, Level]]:
    """Retired models have limits, too: that they are retired is told where it is asked for."""
    given = {"retired": Level.OFF} | {name.replace("_", "-"): level for name, level in levels.items()}
    return list(Linter(Account(task.account, BUILT_IN[task.provider]), given, takes=2).look_at(task))


def told(task: Task) -> list[tuple[str, str]]:
    """(rule, message) of all that is said of one task."""
    return [(finding.rule, finding.message) for finding, _ in look(task)]


REFUSED = [
    ("resolution", "Seedance 2.0 fast does not make 1080p", make_task(FAST, resolution="1080p")),
    (
        "resolution",
        "Seedance 1.5 pro does not make 720p for a draft",
        make_task(HALF, draft=True, resolution="720p"),
    ),
    (
        "resolution",
        "Seedance 1.0 lite i2v does not make 1080p with references",
        make_task(I2V, TEXT, IMAGE, resolution="1080p"),
    ),
    ("resolution", "Seedance 2.5 does not make 720p of a draft", make_task(NEW, DRAFT, resolution="720p")),
    ("ratio", "Seedance 1.0 pro does not make 2:1", make_task(ONE, ratio="2:1")),
    (
        "ratio",
        "Seedance 2.5 gives a video the ratio of its first frame",
        make_task(NEW, TEXT, FIRST, ratio="16:9"),
    ),
    ("duration", "Seedance 2.0 does not make 3 s", make_task(TWO, duration=3)),
    ("duration", "Seedance 1.0 pro does not make -1 s", make_task(ONE, duration=-1)),
    ("frames", "Seedance 2.0 takes no `frames`", make_task(TWO, frames=57)),
    ("frames", "Seedance 1.0 lite t2v takes no `frames`", make_task(T2V, frames=57)),
    ("frames", "Seedance 1.0 pro does not make 58 frames", make_task(ONE, frames=58)),
    ("frames", "Seedance 1.0 pro does not make 25 frames", make_task(ONE, frames=25)),
    ("seed-range", "the service takes seeds up to 2147483647", make_task(ONE, seed=2**31)),
    ("seed-ignored", f"{TWO} ignores `seed`, so it is not sent", make_task(TWO, seed=7)),
    ("camera-fixed", "Seedance 2.0 has no `camera_fixed`", make_task(TWO, camera_fixed=True)),
    (
        "camera-fixed",
        "Seedance 1.0 lite i2v has no `camera_fixed` with references",
        make_task(I2V, TEXT, IMAGE, camera_fixed=True),
    ),
    ("audio", "Seedance 1.0 pro makes no sound", make_task(ONE, generate_audio=True)),
    ("draft", "Seedance 2.0 makes no drafts", make_task(TWO, draft=True, resolution="480p")),
    ("draft", "a draft has no last frame", make_task(HALF, draft=True, return_last_frame=True)),
    ("draft", "Seedance 2.0 makes no finals of drafts", make_task(TWO, DRAFT)),
    ("flex", "Seedance 2.0 has no flex tier", make_task(TWO, service_tier="flex")),
    ("flex", "a draft is not made on the flex tier", make_task(HALF, draft=True, service_tier="flex")),
    ("priority", "Seedance 1.5 pro has no `priority`", make_task(HALF, priority=3)),
    ("frame-roles", "Seedance 1.0 lite t2v takes no first_frame", make_task(T2V, TEXT, FIRST)),
    ("frame-roles", "Seedance 1.0 pro fast takes no last_frame", make_task(ONE_FAST, TEXT, FIRST, LAST)),
    ("frame-roles", "2 images are the first_frame", make_task(ONE, TEXT, media("image"), media("image"))),
    ("frame-roles", "a last_frame needs a first_frame", make_task(ONE, TEXT, LAST)),
    ("modes", "references exclude first and last frames", make_task(TWO, TEXT, FIRST, IMAGE)),
    ("references", "Seedance 1.5 pro takes no reference images", make_task(HALF, TEXT, IMAGE)),
    ("references", "Seedance 1.0 lite i2v takes no reference videos", make_task(I2V, IMAGE, VIDEO)),
    ("references", "10 reference images; Seedance 2.0 takes 9", make_task(TWO, TEXT, *[IMAGE] * 10)),
    ("references", "4 reference audios; Seedance 2.0 takes 3", make_task(TWO, TEXT, IMAGE, *[SOUND] * 4)),
    (
        "references",
        "31 reference images; Seedance 2.5 takes 30",
        make_task(NEW, *[IMAGE] * 31, *[VIDEO] * 10, *[SOUND] * 9),
    ),
    ("references", "16 references; Seedance 2.0 takes 15", make_task(TWO, *[IMAGE] * 13, *[VIDEO] * 3)),
    ("needs-image", "Seedance 1.0 lite i2v needs an image", make_task(I2V)),
    ("image-format", "Seedance 1.0 pro takes no heic images", make_task(ONE, local(HEIC), inputs=(HEIC,))),
    (
        "service-limits",
        "the prompt has 4,097 characters; getimg takes 4,096",
        make_task("seedance-v1-pro", provider="getimg", prompt="a" * 4097),
    ),
    (
        "service-limits",
        "9 images; getimg takes 8",
        make_task(
            "other/new",
            provider="getimg",
            prompt="a",
            images=[{"url": "https://example.com/a", "role": "reference_image"}] * 9,
        ),
    ),
    ("audio-alone", "Seedance 2.0 takes sound only with an image or a video", make_task(TWO, SOUND)),
    ("audio-alone", "Seedance 2.0 takes sound only with an image or a video", make_task(TWO, TEXT, SOUND)),
    ("ratio", "Seedance 1.0 pro takes `adaptive` only with an image", make_task(ONE, ratio="adaptive")),
    ("ratio", "Seedance 1.0 lite t2v takes `adaptive` only with an image", make_task(T2V, ratio="adaptive")),
    ("image-size", "the image has 10 x 10 pixels; Seedance 2.0 takes", of_image(10, 10)),
    ("image-size", "the image has 7000 x 5000 pixels; Seedance 2.0 takes", of_image(7000, 5000)),
    ("image-size", "the image has 4000 x 400 pixels, a ratio of 10; Seedance", of_image(4000, 400)),
    ("image-size", "the image has 4000 x 100 pixels; Seedance 2.0 takes", of_image(4000, 100)),
    ("image-size", "the image has 10 x 10 pixels; Seedance 2.0 takes", make_task(TWO, data_uri(png(10, 10)))),
    ("input-broken", "the image is cut off", make_task(TWO, data_uri(png()[:200]))),
    ("input-broken", "the image is cut off", of_image(0, 0, trouble="the image is cut off")),
    ("signed-url", "the address is signed (`X-Amz-Signature`)", make_task(TWO, signed("X-Amz-Signature=a"))),
    ("model-name", f"{TWO}x is not a model that mesh is known to have", make_task(f"{TWO}x")),
    ("prompt-placeholder", "`{{ prompt }}` is not filled in", make_task(TWO, says("{{ prompt }}"))),
    ("prompt-placeholder", "`hero.txt` is a file's name", make_task(TWO, says("hero.txt"))),
    ("unknown-model", "kling-3: nothing is known of this model, so nothing is", make_task("kling-3", seed=7)),
    (
        "prompt-flags",
        "`--rs` in a prompt is not a setting that is seen here",
        make_task(HALF, {"type": "text", "text": "A teapot --rs 720p"}),
    ),
]


@pytest.mark.parametrize(("rule", "message", "task"), REFUSED, ids=lambda each: str(each)[:60])
def test_a_rule_finds_what_its_model_would_refuse_or_ignore(rule: str, message: str, task: Task) -> None:
    found = [text for name, text in told(task) if name == rule]
    assert {name for name, _ in told(task)} <= {rule, "unknown-model"}
    assert any(text.startswith(message) for text in found)


@pytest.mark.parametrize(
    "task",
    [
        make_task(
            TWO, TEXT, *[IMAGE] * 9, *[VIDEO] * 3, *[SOUND] * 3, resolution="4k", duration=-1, priority=9
        ),
        make_task(TWO, TEXT, media("image"), generate_audio=True, ratio="adaptive", duration=15),
        make_task(FAST, TEXT, FIRST, LAST, resolution="720p", duration=4),
        make_task(NEW, SOUND, duration=30, ratio="21:9", resolution="1080p", priority=9),
        make_task(NEW, TEXT, FIRST, LAST, ratio="adaptive", duration=-1, generate_audio=True),
        make_task(NEW, *[IMAGE] * 30, *[VIDEO] * 10, *[SOUND] * 10),
        make_task(NEW, draft=True, resolution="480p"),
        make_task(NEW, DRAFT, resolution="1080p"),
        make_task(TWO, TEXT, local(HEIC), inputs=(HEIC,)),
        make_task(HALF, duration=-1),
        make_task(ONE, seed=2**31 - 1),
        make_task(HALF, draft=True, resolution="480p", seed=7, camera_fixed=True, generate_audio=True),
        make_task(HALF, DRAFT, service_tier="flex", resolution="1080p"),
        make_task(ONE, frames=289, seed=7, service_tier="flex"),
        make_task(ONE, generate_audio=False, camera_fixed=False, draft=False, priority=0),
        make_task(T2V, camera_fixed=True),
        make_task(I2V, TEXT, *[IMAGE] * 4, resolution="720p"),
        make_task(I2V, FIRST, LAST, camera_fixed=True, resolution="1080p"),
        make_task("seedance-v1-pro", provider="getimg", aspect_ratio="16:9", prompt="A teapot -- slowly"),
    ],
    ids=str,
)
def test_what_a_model_takes_passes(task: Task) -> None:
    assert told(task) == []


def test_every_rule_is_shown_to_find_something() -> None:
    elsewhere = {"retired", lint.SEED_SWEEP, lint.SEED_UNKNOWN, lint.BODY_SIZE, lint.BODY_LARGE}
    elsewhere |= {lint.TIME_IN_REQUEST, lint.UNSUPPORTED}
    assert {rule for rule, _, _ in REFUSED} | elsewhere == set(DEFAULT_LEVELS)


def test_the_job_s_schema_names_every_rule_with_its_level() -> None:
    keys = load_schema("job")["properties"]["lint"]["properties"]
    assert {name: key["default"] for name, key in keys.items()} == DEFAULT_LEVELS
    assert all(set(key["enum"]) == set(Level) for key in keys.values())


@pytest.mark.parametrize(
    ("task", "successor"),
    [
        (make_task("byteplus/seedance-1-5-pro"), "byteplus/dreamina-seedance-2-0-mini-260615"),
        (make_task(HALF, generate_audio=True), "dreamina-seedance-2-0-mini-260615"),
        (make_task(HALF, resolution="1080p"), "dreamina-seedance-2-0-260128"),
        (make_task(HALF, seed=7), "seedance-1-0-pro-250528"),
        (make_task(HALF, service_tier="flex"), "seedance-1-0-pro-250528"),
        (make_task(HALF, draft=True, resolution="480p"), "dreamina-seedance-2-5-260628"),
        (make_task(HALF, DRAFT), "dreamina-seedance-2-5-260628"),
        (make_task("seedance-1-5-pro"), "dreamina-seedance-2-0-mini-260615"),
        (make_task("seedance-1-0-lite"), "seedance-1-0-pro-250528"),
        (make_task(T2V, seed=7), "seedance-1-0-pro-250528"),
        (make_task(I2V, TEXT, IMAGE), "dreamina-seedance-2-0-mini-260615"),
        (make_task("seedance-v1-5-pro", provider="getimg", prompt="a"), "seedance-v1-pro"),
    ],
    ids=str,
)
def test_a_retired_model_is_told_with_one_that_does_what_is_asked(task: Task, successor: str) -> None:
    ((found, level),) = look(task, retired=Level.WARN)
    assert (found.rule, level, DEFAULT_LEVELS["retired"]) == ("retired", Level.WARN, Level.WARN)
    assert found.message.startswith(f"{task.model} was retired on 2026-")
    assert found.hint == f"use {successor}"


def test_getimg_s_own_names_are_told() -> None:
    image: JsonValue = {"url": "https://example.com/a", "role": "reference_image"}
    task = make_task(
        "seedance-v1-pro",
        provider="getimg",
        aspect_ratio="2:1",
        sound=True,
        prompt="A --ratio 1:1",
        images=[image],
    )
    paths = {finding.rule: finding.path for finding, _ in look(task)}
    assert paths == {
        "ratio": ("aspect_ratio",),
        "audio": ("sound",),
        "references": ("images", 0, "role"),
        "prompt-flags": ("prompt",),
    }


def test_a_hint_says_what_to_write() -> None:
    hints = [
        finding.hint
        for task in (make_task(ONE, frames=58), make_task(TWO, duration=3))
        for finding, _ in look(task)
    ]
    assert hints == ["25 + 4n, from 29 to 289: 57", "4 to 15 s, or -1 to let it choose"]


def test_a_finding_is_told_once() -> None:
    linter = Linter(_MESH, {}, takes=2)
    found = [
        list(linter.look_at(make_task(TWO, duration=3, ratio=ratio))) for ratio in ("16:9", "9:16", "1:1")
    ]
    assert [len(each) for each in found] == [1, 0, 0]


@pytest.mark.parametrize("level", [Level.ERROR, Level.WARN])
def test_a_job_changes_a_level(level: Level) -> None:
    assert [found for _, found in look(make_task(TWO, duration=3), duration=level)] == [level]


def test_a_rule_that_is_off_says_nothing() -> None:
    assert look(make_task(TWO, duration=3), duration=Level.OFF) == []


def test_a_second_seed_on_a_model_that_ignores_them_is_a_sweep() -> None:
    linter = Linter(_MESH, {"seed-ignored": Level.OFF}, takes=8)
    found = [
        finding
        for seed in (1, 2, 3)
        for finding, _ in linter.look_at(make_task(TWO, cell={"model": TWO, "seed": seed}, seed=seed))
    ]
    assert [(finding.rule, finding.path, finding.hint) for finding in found] == [
        ("seed-sweep", ("seed",), "samples: 8")
    ]


def sweeps(*tasks: Task) -> list[str]:
    """The hints of all sweeps that are found in the tasks."""
    linter = Linter(_MESH, {}, takes=2)
    found = [finding for task in tasks for finding, _ in linter.look_at(task)]
    return [finding.hint for finding in found if finding.rule == lint.SEED_SWEEP]


def test_requests_that_differ_in_their_seed_alone_are_a_sweep() -> None:
    """However the seeds came there; it is told once, and does not need its tasks side by side."""
    tasks = [
        make_task(TWO, cell={"model": TWO, "take": take, "ratio": ratio}, seed=seed, ratio=ratio)
        for take, seed in (("a", 1), ("b", 2), ("c", 3))
        for ratio in ("16:9", "1:1")
    ]
    assert sweeps(*tasks) == ["remove `seed`; for several takes use `samples: N`"]


def test_requests_that_differ_in_more_than_their_seed_are_no_sweep() -> None:
    assert sweeps(make_task(TWO, seed=1, ratio="1:1"), make_task(TWO, seed=2, ratio="16:9")) == []
    assert sweeps(make_task(HALF, seed=1), make_task(HALF, seed=2)) == []
    assert sweeps(make_task(TWO, seed=1), make_task(TWO, seed=1)) == []


def test_seeds_on_a_model_that_honours_them_are_no_sweep() -> None:
    linter = Linter(_MESH, {}, takes=2)
    assert [
        found for seed in (1, 2) for found in linter.look_at(make_task(ONE, cell={"seed": seed}, seed=seed))
    ] == []


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("A teapot --seed 7 --Ratio 16:9 --seed 8", ["`--seed`", "`--ratio`"]),
        ("A teapot --fps=24", ["`--fps`"]),
        ("A sign that says pre--seed, and -- a dash", []),
        ("--seedling in the sun", []),
    ],
)
def test_flags_in_a_prompt(text: str, flags: list[str]) -> None:
    found = told(make_task(HALF, {"type": "text", "text": text}))
    assert [message.split(" ", 1)[0] for _, message in found] == flags


@pytest.mark.parametrize(
    ("size", "rule"), [(23_000_000, []), (26_000_000, ["body-large"]), (49_000_000, ["body-size"])]
)
def test_files_count_with_a_third_on_top(size: int, rule: list[str]) -> None:
    file = InputFile(sha256="0" * 64, media_type="image/png", size=size, path=Path("/a.png"))
    assert [name for name, _ in told(make_task(HALF, local(file), inputs=(file,)))] == rule


def test_many_tasks_cost_a_lookup_each() -> None:
    """100,000 tasks must not take long: ten thousand in a fifth of a second leaves room on a slow machine."""
    linter = Linter(_MESH, {}, takes=2)
    tasks = [make_task(ONE, TEXT, FIRST, seed=seed, resolution="720p") for seed in range(10_000)]
    started = time.process_time()
    assert sum(len(list(linter.look_at(task))) for task in tasks) == 0
    assert time.process_time() - started < 0.5


def test_an_id_that_the_service_was_seen_to_sell_is_right_as_it_is() -> None:
    """Whatever known id it resembles; what is not known of the model is still told."""
    sold = {"bytedance/seedance-2.0", "acme/new"}
    linter = Linter(_MESH, {}, takes=2, sold=sold)
    found = [finding for model in sorted(sold) for finding, _ in linter.look_at(make_task(model))]
    assert [(finding.rule, finding.message) for finding in found] == [
        ("unknown-model", "acme/new: nothing is known of this model, so nothing is checked against it")
    ]


def test_an_unknown_prefix_is_told_once_with_what_is_not_known() -> None:
    messages = [
        message for _, message in told(make_task("acme/new")) + told(make_task("acme/seedance-1-0-pro"))
    ]
    assert messages == [
        "acme/new: nothing is known of this model, so nothing is checked against it; nor is `acme/` a prefix"
        " that mesh is known to have",
        "`acme/` is not a prefix that mesh is known to have",
    ]


def test_a_file_that_stands_in_a_request_twice_counts_twice() -> None:
    file = InputFile(sha256="0" * 64, media_type="image/png", size=13_000_000, path=Path("/a.png"))
    item: JsonValue = {"type": "image_url", "image_url": {"url": file.reference}, "role": "reference_image"}
    assert told(make_task(TWO, TEXT, item, inputs=(file,))) == []
    assert [rule for rule, _ in told(make_task(TWO, TEXT, item, item, inputs=(file,)))] == ["body-large"]
