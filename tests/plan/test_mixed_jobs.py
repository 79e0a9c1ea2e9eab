"""One job over several services: which model is asked where, what is sent there, and what is told."""

from __future__ import annotations

import pytest

from runner.plan.plan import make_plan
from tests.support.job_bench import TEXT, JobBench

HEAD = "version: 1\n"
TWO = "models: [byteplus/seedance-1-0-pro, {id: seedance-1-0-pro, at: getimg, name: get}]\n"
ORIGINS = {"mesh": "https://api.meshapi.ai", "getimg": "https://api.getimg.ai"}


def test_each_task_has_the_account_and_the_origin_of_its_model(jobs: JobBench) -> None:
    plan = make_plan(jobs.load(HEAD + TWO + TEXT), origins=ORIGINS)

    told = [(task.account, task.provider, task.origin, task.model, task.model_name) for task in plan.tasks]
    assert told == [
        ("mesh", "mesh", ORIGINS["mesh"], "byteplus/seedance-1-0-pro", "byteplus/seedance-1-0-pro"),
        ("getimg", "getimg", ORIGINS["getimg"], "seedance-1-0-pro", "get"),
    ]
    assert plan.origin == "https://api.meshapi.ai, https://api.getimg.ai"
    assert list(plan.job.accounts) == ["mesh", "getimg"]


def test_a_task_is_the_one_that_a_job_of_its_service_alone_would_make(jobs: JobBench) -> None:
    """What else a job compares is no part of a task's identity, and nor is a model's name."""
    fields = "request: {ratio: '16:9', duration: 5}\n"
    mixed = make_plan(jobs.load(HEAD + TWO + TEXT + fields), origins=ORIGINS)
    of_mesh = make_plan(
        jobs.load(f"{HEAD}models: [byteplus/seedance-1-0-pro]\n{TEXT}{fields}"), origin=ORIGINS["mesh"]
    )
    of_getimg = make_plan(
        jobs.load(f"{HEAD}provider: getimg\nmodels: [seedance-1-0-pro]\n{TEXT}{fields}"),
        origin=ORIGINS["getimg"],
    )

    assert [task.identity for task in mixed.tasks] == [
        of_mesh.tasks[0].identity,
        of_getimg.tasks[0].identity,
    ]


def test_a_model_without_at_is_asked_at_the_jobs_own_account(jobs: JobBench) -> None:
    models = "models: [seedance-1-0-pro, {id: byteplus/seedance-1-0-pro, at: mesh}]\n"
    job = jobs.load(f"{HEAD}provider: getimg\n{models}{TEXT}")

    assert job.provider.name == "getimg"
    assert [choice.account for choice in job.steps[""].models] == ["getimg", "mesh"]


def test_where_every_model_names_an_account_the_first_is_the_jobs_own(jobs: JobBench) -> None:
    model = "models: [{id: seedance-1-0-pro, at: getimg}]\n"
    job = jobs.load(HEAD + model + TEXT)
    written = jobs.load(f"{HEAD}provider: mesh\n{model}{TEXT}")

    assert job.provider.name == "getimg"
    assert list(job.accounts) == list(written.accounts) == ["getimg"]
    assert [warning.path for warning in written.warnings] == ["provider"]
    assert job.warnings == ()


def test_a_name_stands_in_paths_in_exclude_and_in_expressions(jobs: JobBench) -> None:
    more = "matrix: {resolution: [480p, 720p]}\nexclude: [{model: get, resolution: 480p}]\n"
    tasks = jobs.tasks(HEAD + TWO + more + TEXT)
    written = jobs.tasks(HEAD + TWO + more + TEXT + "output: out/${{ model }}-${{ resolution }}.mp4\n")

    assert [task.name for task in tasks] == ["seedance-1-0-pro-480p", "seedance-1-0-pro-720p", "get-720p"]
    assert [task.output for task in written] == [
        "out/byteplus-seedance-1-0-pro-480p.mp4",
        "out/byteplus-seedance-1-0-pro-720p.mp4",
        "out/get-720p.mp4",
    ]


def test_include_names_a_model_by_its_name(jobs: JobBench) -> None:
    more = "include: [{model: get, resolution: 1080p}]\n"
    tasks = jobs.tasks(HEAD + TWO + more + TEXT)

    by_name = {task.model_name: task for task in tasks}
    assert by_name["get"].request["resolution"] == "1080p"
    assert by_name["get"].model == "seedance-1-0-pro"
    assert "resolution" not in by_name["byteplus/seedance-1-0-pro"].request


def test_a_common_word_is_sent_under_each_services_own_name(jobs: JobBench) -> None:
    fields = "request: {ratio: '9:16', generate_audio: true}\nlint: {audio: off}\n"
    mesh, getimg = jobs.tasks(HEAD + TWO + TEXT + fields)

    assert (mesh.request["ratio"], mesh.request["generate_audio"]) == ("9:16", True)
    assert (getimg.request["aspect_ratio"], getimg.request["sound"]) == ("9:16", True)
    assert "ratio" not in getimg.request


@pytest.mark.parametrize(
    ("more", "name", "where"),
    [
        ("request: {camera_fixed: true}", "camera_fixed", "request.camera_fixed"),
        ("request: {camera_fixed: '${{ index < 9 }}'}", "camera_fixed", "request.camera_fixed"),
        ("matrix: {watermark: [true]}", "watermark", "matrix.watermark[0]"),
        ("seeds: 7", "seed", "seeds"),
        ("request: {seed: 7}", "seed", "request.seed"),
    ],
)
def test_what_one_service_lacks_is_told_and_not_sent_there(
    jobs: JobBench, more: str, name: str, where: str
) -> None:
    plan = jobs.plan(f"{HEAD}{TWO}{TEXT}{more}\n")

    mesh, getimg = plan.tasks
    (warning,) = plan.warnings
    assert warning.path == where
    assert warning.message == f"getimg has no `{name}`, so it is not sent there"
    assert name in mesh.request
    assert name not in getimg.request
    assert getimg.unsaid == (name,)
    assert jobs.plan(f"{HEAD}{TWO}{TEXT}{more}\nlint: {{unsupported: off}}\n").warnings == ()
    assert "so it is not sent" in jobs.problems(f"{HEAD}{TWO}{TEXT}{more}\nlint: {{unsupported: error}}\n")[0]


def test_the_hint_for_a_word_that_one_service_lacks_names_all_that_have_it(jobs: JobBench) -> None:
    """What it says can be pasted, and asks the same of each."""
    three = TWO.replace("]", ", {id: seedance-1-0-pro-250528, at: ark, name: ark}]")
    plan = jobs.plan(HEAD + three + TEXT + "request: {watermark: true}\n")

    at = "request_at: {ark: {watermark: true}, mesh: {watermark: true}}"
    assert [warning.hint for warning in plan.warnings] == [f"to ask ark and mesh alone: `{at}`"]
    moved = jobs.plan(HEAD + three + TEXT + at + "\n")
    assert moved.warnings == ()
    assert [task.identity for task in moved.tasks] == [task.identity for task in plan.tasks]


def test_a_field_of_one_service_alone_applies_where_it_is_known(jobs: JobBench) -> None:
    """`sound` is getimg's own name: Mesh, whose field has the common one, gets nothing, and that is told."""
    plan = jobs.plan(HEAD + TWO + TEXT + "request: {sound: true}\nlint: {audio: off}\n")

    mesh, getimg = plan.tasks
    assert "generate_audio" not in mesh.request
    assert getimg.request["sound"] is True
    assert [warning.message for warning in plan.warnings] == ["mesh has no `sound`, so it is not sent there"]
    assert plan.warnings[0].hint == "to ask getimg alone: `request_at: {getimg: {sound: true}}`"


def test_an_empty_value_is_missing_nowhere(jobs: JobBench) -> None:
    assert jobs.plan(HEAD + TWO + TEXT + "request: {camera_fixed: null}\n").warnings == ()


@pytest.mark.parametrize(
    "request_at", ["{getimg: {resolution: 1080p}}", "{getimg: {resolution: '${{ 1080 }}p'}}"]
)
def test_fields_for_one_place_take_the_place_of_the_others(jobs: JobBench, request_at: str) -> None:
    fields = f"request: {{resolution: 720p, duration: 5}}\nrequest_at: {request_at}\n"
    mesh, getimg = jobs.tasks(HEAD + TWO + TEXT + fields)

    assert (mesh.request["resolution"], getimg.request["resolution"]) == ("720p", "1080p")
    assert mesh.request["duration"] == getimg.request["duration"] == 5


@pytest.mark.parametrize("request_at", ["{getimg: {aspect_ratio: '1:1'}}", "{getimg: {ratio: '1:1'}}"])
@pytest.mark.parametrize("field", ["ratio", "aspect_ratio"])
def test_a_field_for_one_place_replaces_it_by_either_name(
    jobs: JobBench, field: str, request_at: str
) -> None:
    fields = f"request: {{{field}: '16:9'}}\nrequest_at: {request_at}\n"
    getimg = jobs.tasks(HEAD + TWO + TEXT + fields)[1]

    assert getimg.request["aspect_ratio"] == "1:1"


def test_a_step_merges_its_own_fields_for_a_place(jobs: JobBench) -> None:
    text = (
        f"{HEAD}provider: getimg\nmodels: [seedance-1-0-pro]\n{TEXT}"
        "request_at: {getimg: {resolution: 480p, duration: 5}}\n"
        "steps: {one: {}, two: {request_at: {getimg: {resolution: 720p}}}}\n"
    )
    told = [(task.request["resolution"], task.request["duration"]) for task in jobs.tasks(text)]

    assert told == [("480p", 5), ("720p", 5)]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        (
            "models: [{id: m, at: getmig}]\n",
            2,
            "no account `getmig`, in callsheet.yaml or of a provider's name",
            "did you mean `getimg`?",
        ),
        ("models: [{id: m, at: nowhere}]\n", 2, "no account `nowhere`", "accounts here: "),
        (
            "models: [{id: m, name: a/b}]\n",
            2,
            "must be one word without slashes",
            "write `a-b` instead of `a/b`",
        ),
        (
            "models: [{id: m, name: 'a,b'}]\n",
            2,
            "the name `a,b` cannot stand in paths",
            "write `a-b`",
        ),
        ("models: [{name: fast}]\n", 2, "`id` is missing", "add `id:`"),
        ("models: [{id: m, nam: a}]\n", 2, "unknown key `nam`", "did you mean `name`?"),
        (
            "models:\n- {id: seedance-1-0-pro, name: a}\n- {id: seedance-1-0-pro, at: getimg, name: a}\n",
            4,
            "two models are both called `a`",
            "write `a-getimg` instead of `a`",
        ),
        (
            "models:\n- {id: m, name: mesh}\n- {id: seedance-1-0-pro, at: getimg, name: mesh}\n",
            4,
            "two models are both called `mesh`",
            "write `mesh-getimg` instead of `mesh`",
        ),
        (
            "models:\n- {id: seedance-1-0-pro, name: seedance/pro}\n",
            3,
            "must be one word without slashes",
            "write `seedance-pro` instead of `seedance/pro`",
        ),
        (
            "models:\n- seedance-1-0-pro\n- {id: seedance-1-0-pro, at: getimg}\n",
            4,
            "two models are both called `seedance-1-0-pro`",
            "add `name: seedance-1-0-pro-getimg`",
        ),
        (
            "models:\n- {id: m, name: Fast}\n- {id: n, name: fast}\n",
            4,
            "two models are told apart by letter case alone: `fast`",
            "write `fast-mesh` instead of `fast`",
        ),
        (
            TWO + "request_at: {getmig: {sound: true}}\n",
            3,
            "no model of this job is asked at `getmig`",
            "`getimg`?",
        ),
        (TWO + "request_at: {getimg: {seed: 7}}\n", 3, "getimg has no `seed`", "samples: N"),
        (
            TWO + "request_at: {getimg: {camera_fixed: true}}\n",
            3,
            "getimg has no `camera_fixed`",
            "remove it",
        ),
        (TWO + "request_at: {getimg: {duration: long}}\n", 3, "must be a whole number", ""),
        (TWO + "request_at: {getimg: 5}\n", 3, "must be keys and values", ""),
        (
            TWO + "matrix: {resolution: [480p]}\nrequest_at: {getimg: {resolution: 720p}}\n",
            4,
            "the axis `resolution` sets this field too",
            "keep one of the two",
        ),
        (
            TWO + "request: {ratio: '1:1', aspect_ratio: '1:1'}\n",
            3,
            "at getimg `ratio` and `aspect_ratio` are one field",
            "`request_at: {getimg: ...}`",
        ),
    ],
)
def test_a_mixed_job_that_is_wrong_is_told_where_and_how_to_mend_it(
    jobs: JobBench, text: str, line: int, message: str, hint: str
) -> None:
    problems = jobs.problems(HEAD + text + TEXT)

    assert problems[0].startswith(f"jobs/hero.yaml:{line}:")
    assert message in problems[0]
    assert hint in problems[0]


def test_a_refusal_of_one_service_is_an_error_there(jobs: JobBench) -> None:
    video = "{type: video_url, video_url: 'https://e.com/a.mp4'}"
    problems = jobs.problems(f"{HEAD}{TWO}content: [{{type: text, text: A}}, {video}]\n")

    assert "getimg takes no video_url" in problems[0]


def test_samples_reach_each_service_and_derive_seeds_where_they_are_honoured(jobs: JobBench) -> None:
    tasks = jobs.tasks(HEAD + TWO + TEXT + "samples: 2\n")

    assert len({task.identity for task in tasks}) == 4
    assert ["seed" in task.request for task in tasks] == [True, False, True, False]
    assert all(task.unsaid == () for task in tasks)


def test_each_task_is_estimated_by_its_own_services_prices(jobs: JobBench) -> None:
    models = "models: [byteplus/seedance-2-0-260128, {id: seedance-2-0, at: getimg, name: get}]\n"
    fields = "request: {resolution: 480p, ratio: '16:9', duration: 5}\n"
    mesh, getimg = jobs.tasks(HEAD + models + TEXT + fields)

    assert mesh.estimate_micros is not None
    assert getimg.estimate_micros is None, "only its published prices are its own"


TWICE = "models: [seedance-1-0-pro, {id: seedance-1-0-pro, at: acme, name: acme}]\n"


def test_models_that_differ_by_their_key_alone_ask_for_one_video(jobs: JobBench) -> None:
    """Identity holds where a request goes, and not who pays for it."""
    (jobs.root / "callsheet.yaml").write_text(
        "version: 1\naccounts: {acme: {provider: mesh, api_key_env: ACME_KEY}}\n", encoding="utf-8"
    )
    problems = jobs.problems(HEAD + TWICE + TEXT)

    assert problems[0].startswith(
        "jobs/hero.yaml:2:33: models[1].id: `seedance-1-0-pro` at mesh and `acme` at"
    )
    assert "both accounts are at https://api.example.com" in problems[0]
    assert "delete one of the two" in problems[0]


def test_two_servers_of_ones_own_stay_two_in_a_rehearsal(jobs: JobBench) -> None:
    (jobs.root / "callsheet.yaml").write_text(
        "version: 1\naccounts: {acme: {provider: mesh, base_url: 'http://127.0.0.1:9'}}\n", encoding="utf-8"
    )
    tasks = jobs.tasks(HEAD + TWICE + TEXT)

    assert [task.origin for task in tasks] == ["https://api.example.com", "https://api.example.com:acme"]


@pytest.mark.parametrize(
    ("more", "message", "hint"),
    [
        (
            "seeds: [1, 2]",
            "getimg has no `seed`, so cells 1 (get-s1) and 3 (get-s2) ask there for the same video",
            "in place of `seeds`: `samples: 2`",
        ),
        (
            "matrix: {watermark: [true, false]}",
            "getimg has no `watermark`, so cells 2 (get-watermark-yes) and 3 (get-watermark-no) ask there",
            "exclude: [{model: get, watermark: false}]",
        ),
    ],
)
def test_takes_that_a_service_cannot_tell_apart_are_an_error_that_says_so(
    jobs: JobBench, more: str, message: str, hint: str
) -> None:
    problems = jobs.problems(f"{HEAD}{TWO}{TEXT}{more}\n")

    assert message in problems[0]
    assert hint in problems[0]
    if hint.startswith("exclude"):
        assert jobs.plan(f"{HEAD}{TWO}{TEXT}{more}\n{hint}\n").count == 3


def test_one_price_for_several_services_is_told(jobs: JobBench) -> None:
    """It would hold a cap in dollars by the price of another service."""
    (warning,) = jobs.plan(HEAD + TWO + TEXT + "price: {usd_per_task: 0}\n").warnings

    assert (warning.path, warning.message) == ("price", "one price for the models of several services")
    assert jobs.plan(f"{HEAD}models: [seedance-1-0-pro]\n{TEXT}price: {{usd_per_task: 0}}\n").warnings == ()
