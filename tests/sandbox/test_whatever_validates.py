"""Whatever validates can be rehearsed: known models within their rules, any other as it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runner.errors import JobError
from runner.providers.ark import ARK
from runner.providers.mesh import MESH
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from runner.sandbox.ark import kept_body
from runner.sandbox.getimg import mesh_body
from runner.sandbox.models import find_family as sandbox_family
from runner.sandbox.validation import read_request
from tests.support.command_process import callsheet
from tests.support.job_bench import JobBench

FAMILIES = tuple(MESH.catalogue.families)
IDS = tuple(each for family in MESH.catalogue.families.values() for each in family.ids)
MODELS = st.one_of(
    st.sampled_from(IDS),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "byteplus/", "a/b/", "dreamina-", "byteplus/dreamina-", "doubao-", "/", "x"]),
        st.sampled_from([*FAMILIES, *(name.replace("seedance-", "seedance-v") for name in FAMILIES)]),
        st.sampled_from(["", "-250528", "-20250528", "-ultra", "-2", "/", ":free"]),
    ),
    st.sampled_from(
        ["Seedance-2.5", "SEEDANCE-1.0-pro", "seedance-2", "kling/kling-2.6", "google/veo3.1-lite"]
    ),
    st.from_regex(r"[a-zA-Z0-9@:/._\u00e9\u65b0-]{1,40}", fullmatch=True),
)
IMAGES = {
    "none": [],
    "first": ["first_frame"],
    "both": ["first_frame", "last_frame"],
    "references": ["reference_image"] * 3,
    "last": ["last_frame"],
    "unnamed": [None, None],
    "mixed": ["first_frame", "reference_image"],
}
SHAPES = st.sampled_from(sorted(IMAGES))
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "resolution": st.sampled_from(["480p", "540p", "720p", "1080p", "4k", "8k", "huge"]),
        "ratio": st.sampled_from(["16:9", "9:16", "2:1", "adaptive", "0:0", "wide"]),
        "duration": st.sampled_from([-1, 0, 1, 2, 5, 12, 30, 60]),
        "seed": st.sampled_from([0, 7, 2**31 - 1, 2**31, 2**32 - 1]),
        "camera_fixed": st.booleans(),
        "generate_audio": st.booleans(),
        "draft": st.booleans(),
        "service_tier": st.sampled_from(["default", "flex"]),
        "priority": st.integers(0, 9),
        "return_last_frame": st.booleans(),
        "watermark": st.booleans(),
    },
)


def job_text(provider: str, model: str, fields: dict[str, object], shape: str) -> str:
    content = [{"type": "text", "text": "A teapot"}]
    for role in IMAGES[shape]:
        item = {"type": "image_url", "image_url": "https://e.com/a.png"}
        content.append(item if role is None else {**item, "role": role})
    job = {"version": 1, "provider": provider, "models": [model], "request": fields, "content": content}
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in job.items()) + "\n"


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> JobBench:
    return JobBench(tmp_path_factory.mktemp("project"))


@settings(max_examples=50, suppress_health_check=[HealthCheck.filter_too_much], deadline=None)
@given(model=MODELS, fields=FIELDS, shape=SHAPES)
def test_what_validates_for_mesh_is_taken(
    shared_desk: JobBench, model: str, fields: dict[str, object], shape: str
) -> None:
    try:
        tasks = shared_desk.tasks(job_text("mesh", model, fields, shape))
    except JobError:
        assume(False)
    for task in tasks:
        read = read_request(json.dumps(dict(task.request)).encode())
        assert read.model == model
        width, height = read.size
        assert (width > 0, height > 0, read.frame_count > 0) == (True, True, True)


@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much], deadline=None)
@given(
    model=MODELS,
    fields=st.fixed_dictionaries(
        {},
        optional={
            "aspect_ratio": st.sampled_from(["16:9", "2:1", "0:0"]),
            "resolution": st.sampled_from(["480p", "540p", "8k"]),
            "duration": st.sampled_from([1, 2, 5, 60]),
            "sound": st.booleans(),
        },
    ),
    shape=SHAPES,
)
def test_what_validates_for_getimg_is_taken(
    shared_desk: JobBench, model: str, fields: dict[str, object], shape: str
) -> None:
    try:
        tasks = shared_desk.tasks(job_text("getimg", model, fields, shape))
    except JobError:
        assume(False)
    for task in tasks:
        assert read_request(mesh_body(dict(task.request))).model == model


ARK_IDS = tuple(each for family in ARK.catalogue.families.values() for each in family.ids)


@settings(max_examples=50, suppress_health_check=[HealthCheck.filter_too_much], deadline=None)
@given(
    model=st.sampled_from([*ARK_IDS, "ep-20261101-abcde", "dreamina-seedance-2-0", "kling-2.6"]),
    fields=FIELDS,
    own=st.fixed_dictionaries(
        {},
        optional={
            "output_format": st.sampled_from(["mp4", "mov"]),
            "omni_reference_task_type": st.sampled_from(["auto", "reference", "edit"]),
            "tools": st.just([{"type": "web_search"}]),
            "frames": st.sampled_from([29, 30, 289]),
        },
    ),
    shape=SHAPES,
)
def test_what_validates_for_ark_is_taken(
    shared_desk: JobBench, model: str, fields: dict[str, object], own: dict[str, object], shape: str
) -> None:
    """As it is sent: a field that the model does not know is refused there, whatever it says."""
    family = ARK.catalogue.find(model)
    assume(family is None or family.retired is None)
    try:
        tasks = shared_desk.tasks(job_text("ark", model, {**fields, **own}, shape))
    except JobError:
        assume(False)
    for task in tasks:
        body = ARK.body(task.request, (), lambda _: b"", tag=7, callback_url=None)
        read = read_request(kept_body(json.loads(body.content)))
        assert read.frame_count > 0


@given(MODELS)
def test_a_model_with_limits_here_has_them_in_the_plan_too(model: str) -> None:
    if sandbox_family(model) is not None:
        assert MESH.catalogue.find(model) is not None


@pytest.mark.parametrize("model", ["kling/kling-2.6", "a", "seedance-1-5-pro"])
def test_it_is_made_and_fetched(tmp_path: Path, model: str) -> None:
    """Also a retired model: what was made with it can be rehearsed as it was."""
    job = tmp_path / "job.yaml"
    fields: dict[str, object] = {"resolution": "480p", "duration": 4}
    if model != "seedance-1-5-pro":
        fields |= {"resolution": "540p", "ratio": "2:1", "duration": 1}
    run = "run: {poll: {first: 50ms, min: 50ms, max: 100ms}}\noutput: out/a.mp4\n"
    job.write_text(job_text("mesh", model, fields, "none") + run, encoding="utf-8")
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.1)) as server:
        environ = {"MESHAPI_API_KEY": SANDBOX_KEY}
        assert callsheet("init", cwd=tmp_path).returncode == 0
        told = callsheet("run", job, "--base-url", server.url, cwd=tmp_path, **environ)
        assert told.returncode == 0, told.stderr
        assert server.accepted == 1
    assert (tmp_path / "rehearsal/out/a.mp4").stat().st_size > 0
