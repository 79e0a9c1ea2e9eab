"""Steps: what they inherit, which tasks they make, how those are named and what they refer to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.yaml.nodes import Mapping, to_data
from runner.job.yaml.source import parse
from runner.json_value import JsonValue
from runner.plan.picks import flow_yaml, how_to_pick
from runner.plan.task import Task, task_identity
from runner.providers.mesh import MESH
from tests.support.job_bench import HEAD, ORIGIN, TEXT, JobBench
from tests.support.key_free_texts import looks_like_no_key

FRAME = "{type: image_url, image_url: '${{ needs.shot1.last_frame }}', role: first_frame}"
STORY = (
    HEAD
    + """\
name: story
request: {resolution: 480p, return_last_frame: true}
steps:
  shot1:
    seeds: 1..3
    PICK
    content: [{type: text, text: A boat}]
  shot2:
    needs: shot1
    samples: 2
    content: [{type: text, text: It leaves}, """
    + FRAME
    + """]
  shot3:
    needs: shot2
    content:
      - {type: text, text: "The sea, after ${{ needs.shot1.seed }}.${{ needs.shot2.sample }}"}
      - {type: image_url, image_url: "${{ needs.shot2.last_frame }}"}
"""
)


def story(pick: str = "") -> str:
    return STORY.replace("    PICK\n", f"    {pick}\n" if pick else "")


def by_name(tasks: list[Task]) -> dict[str, Task]:
    return {task.name: task for task in tasks}


def two(first: str, second: str, shared: str = "") -> str:
    """A job of the steps `a` and `b`, each given as the keys of a flow mapping."""
    return f"{HEAD}{shared}steps:\n  a: {{{first}}}\n  b: {{{second}}}\n"


def test_each_upstream_task_and_own_cell_is_one_task(jobs: JobBench) -> None:
    tasks = jobs.tasks(story())
    assert [task.name for task in tasks[:5]] == [
        "shot1-s1",
        "shot2-s1-t1",
        "shot3-s1-t1",
        "shot2-s1-t2",
        "shot3-s1-t2",
    ]
    assert len(tasks) == jobs.plan(story()).count == 3 + 6 + 6


def test_a_reference_is_the_upstream_identity_and_the_name_of_the_output(jobs: JobBench) -> None:
    tasks = by_name(jobs.tasks(story()))
    first, second = tasks["shot1-s2"], tasks["shot2-s2-t1"]
    assert second.request["content"] == [
        {"type": "text", "text": "It leaves"},
        {
            "type": "image_url",
            "image_url": {"url": f"step:{first.identity}/last_frame"},
            "role": "first_frame",
        },
    ]
    assert second.upstream is not None
    assert (second.upstream.identity, second.upstream.name) == (first.identity, "shot1-s2")
    assert (second.upstream.step, second.upstream.uses) == ("shot1", frozenset({"last_frame"}))
    assert second.identity == task_identity(
        provider=MESH, origin=ORIGIN, request=second.request, sample=1, edition=""
    )
    assert first.upstream is None
    assert (first.step, second.step) == ("shot1", "shot2")


def test_a_change_above_changes_all_identities_below_and_one_below_none_above(jobs: JobBench) -> None:
    before = by_name(jobs.tasks(story()))
    above = by_name(jobs.tasks(story().replace("A boat", "A ship")))
    below = by_name(jobs.tasks(story().replace("The sea", "The land")))
    assert not {task.identity for task in before.values()} & {task.identity for task in above.values()}
    same = {name for name, task in before.items() if below[name].identity == task.identity}
    assert same == {name for name in before if not name.startswith("shot3")}


def test_outputs_lie_in_a_folder_for_each_step(jobs: JobBench) -> None:
    tasks = by_name(jobs.tasks(story()))
    assert tasks["shot1-s1"].output == "out/story/shot1/s1.mp4"
    assert tasks["shot3-s1-t2"].output == "out/story/shot3/s1-t2.mp4"
    [alone, _] = jobs.tasks(two("request: {seed: 1}", "request: {seed: 2}", "name: j\n" + TEXT))
    assert (alone.name, alone.output) == ("a", "out/j/a/a.mp4")


def test_axes_of_all_steps_above_are_known_and_references_of_the_nearest(jobs: JobBench) -> None:
    tasks = by_name(jobs.tasks(story()))
    content = tasks["shot3-s3-t2"].request["content"]
    assert isinstance(content, list)
    assert content[0] == {"type": "text", "text": "The sea, after 3.2"}
    upstream = tasks["shot3-s3-t2"].upstream
    assert upstream is not None
    model = "byteplus/seedance-1-0-pro"
    assert upstream.cells == {"shot2": {"model": model, "sample": 2}, "shot1": {"model": model, "seed": 3}}


@pytest.mark.parametrize(
    ("model", "request_of_a", "kind", "payload", "output"),
    [
        ("byteplus/dreamina-seedance-2-0", "{}", "video_url", "url", "output"),
        ("byteplus/dreamina-seedance-2-5", "{draft: true, resolution: 480p}", "draft_task", "id", "task_id"),
    ],
)
def test_the_video_and_the_id_of_an_upstream_task_stand_where_such_things_stand(
    jobs: JobBench, model: str, request_of_a: str, kind: str, payload: str, output: str
) -> None:
    role = ", role: reference_video" if kind == "video_url" else ""
    text = two(
        f"request: {request_of_a}, content: [{{type: text, text: A}}]",
        f"needs: a, content: [{{type: {kind}, {kind}: {{{payload}: '${{{{needs.a.{output}}}}}'}}{role}}}]",
    )
    first, second = jobs.tasks(text.replace("byteplus/seedance-1-0-pro", model))
    item = {"type": kind, kind: {payload: f"step:{first.identity}/{output}"}}
    assert second.request["content"] == [{**item, "role": "reference_video"} if role else item]
    assert second.upstream is not None
    assert second.upstream.uses == frozenset({output})


# What a step inherits.


def test_request_and_matrix_merge_key_by_key(jobs: JobBench) -> None:
    text = two(
        "request: {resolution: 720p}, matrix: {duration: [4, 5]}",
        "request: {ratio: null, seed: 3}",
        "request: {resolution: 480p, ratio: 1:1}\nmatrix: {duration: [6], camera_fixed: [true]}\n" + TEXT,
    )
    assert [
        {name: task.request.get(name) for name in ("resolution", "ratio", "duration", "camera_fixed")}
        for task in jobs.tasks(text)
    ] == [
        {"resolution": "720p", "ratio": "1:1", "duration": 4, "camera_fixed": True},
        {"resolution": "720p", "ratio": "1:1", "duration": 5, "camera_fixed": True},
        {"resolution": "480p", "ratio": None, "duration": 6, "camera_fixed": True},
    ]


def test_other_keys_replace(jobs: JobBench) -> None:
    text = two(
        "models: [byteplus/seedance-1-0-pro], seeds: 5, content: [{type: text, text: Own}]",
        "output: out/b.mp4",
        "seeds: 1\noutput: 'out/${{ step.name }}.mp4'\n" + TEXT,
    )
    first, second = jobs.tasks(text)
    assert (first.model, first.seed, first.output) == ("byteplus/seedance-1-0-pro", 5, "out/a.mp4")
    assert (second.model, second.seed, second.output) == ("byteplus/seedance-1-0-pro", 1, "out/b.mp4")
    assert first.request["content"] != second.request["content"]


def test_an_own_exclude_replaces_the_shared_one(jobs: JobBench) -> None:
    text = two(
        "exclude: []",
        "request: {seed: 1}",
        "matrix: {ratio: [16:9, 1:1]}\nexclude: [{ratio: 1:1}]\n" + TEXT,
    )
    assert [task.name for task in jobs.tasks(text)] == ["a-16x9", "a-1x1", "b-16x9"]


def test_samples_of_a_step_replace_shared_seeds(jobs: JobBench) -> None:
    tasks = jobs.tasks(two("samples: 2", "seeds: 9", "seeds: 1..3\n" + TEXT))
    assert [task.name for task in tasks] == ["a-t1", "a-t2", "b-s9"]


def test_a_step_that_needs_another_inherits_no_seeds_and_no_samples(jobs: JobBench) -> None:
    for takes in ("seeds: 1..2\n", "samples: 2\n"):
        text = two(
            "request: {return_last_frame: true}, content: [{type: text, text: A}]",
            "needs: a, content: [{type: image_url, image_url: '${{ needs.a.last_frame }}'}]",
            takes,
        )
        tasks = jobs.tasks(text)
        assert len(tasks) == 4
        assert [task.seed for task in tasks if task.step == "b"] == [None, None]


def test_x_keys_are_free_in_steps(jobs: JobBench) -> None:
    text = HEAD + "steps:\n  x-note: anything\n  a: {x-why: because}\n" + TEXT
    assert [task.name for task in jobs.tasks(text)] == ["a"]


def test_steps_may_stand_in_any_order(jobs: JobBench) -> None:
    lines = two(
        "needs: b, content: [{type: image_url, image_url: '${{ needs.b.last_frame }}'}]",
        "request: {return_last_frame: true}, content: [{type: text, text: A}]",
    )
    assert [task.name for task in jobs.tasks(lines)] == ["b", "a"]


# Flat jobs.


def test_a_flat_job_is_one_step_without_a_name(jobs: JobBench) -> None:
    plan = jobs.plan(HEAD + "seeds: 1..2\n" + TEXT)
    tasks = list(plan.tasks)
    assert [(task.step, task.upstream, task.index) for task in tasks] == [("", None, 0), ("", None, 1)]
    assert list(plan.roots) == tasks
    assert [list(plan.children(task)) for task in tasks] == [[], []]
    assert [how_to_pick(plan.job, task) for task in tasks] == ["", ""]


def test_a_step_of_the_same_request_has_the_same_identity_as_a_flat_job(jobs: JobBench) -> None:
    """So a flat job that grows steps pays for nothing again."""
    [flat] = jobs.tasks(HEAD + "seeds: 4\n" + TEXT)
    [step] = jobs.tasks(HEAD + "steps: {only: {seeds: 4}}\n" + TEXT)
    assert step.identity == flat.identity


@pytest.mark.parametrize(
    ("lines", "identity"),
    [
        (
            "seeds: 7\nmatrix: {ratio: [16:9]}\nrequest: {resolution: 480p, duration: 4}\n",
            "b81d28273fb3f3204fd4fb9e7f61673e86537e5f0e0d56b634e12b807653459c",
        ),
        ("samples: 1\n", "8f95ccc7826505e3086c177167d7a173a6b0adbe522085f078643b5d2af09167"),
        (
            "edition: ${{ run.date }}\nrequest: {return_last_frame: true, generate_audio: false}\n",
            "2523be8c201ce067aa9dc0ab020996409ff96454627b4fdac3d77182aa1bb323",
        ),
    ],
)
def test_identities_of_flat_jobs_are_those_of_the_version_before_steps(
    jobs: JobBench, lines: str, identity: str
) -> None:
    """Computed by that version: a change here would pay for everything again."""
    [task] = jobs.tasks("version: 1\nmodels: [byteplus/seedance-1-5-pro]\n" + lines + TEXT)
    assert task.identity == identity


# Picking.


def test_a_pick_lets_only_what_it_matches_go_on(jobs: JobBench) -> None:
    plan = jobs.plan(story("pick: [{seed: 2}]"))
    tasks = list(plan.tasks)
    assert [task.name for task in tasks] == [
        "shot1-s1",
        "shot1-s2",
        "shot2-s2-t1",
        "shot3-s2-t1",
        "shot2-s2-t2",
        "shot3-s2-t2",
        "shot1-s3",
    ]
    assert plan.count == 7
    assert [how_to_pick(plan.job, task) for task in tasks] == [""] * 7


def test_an_empty_pick_waits_and_says_what_to_write(jobs: JobBench) -> None:
    plan = jobs.plan(story("pick: []"))
    tasks = list(plan.tasks)
    assert [task.name for task in tasks] == ["shot1-s1", "shot1-s2", "shot1-s3"]
    assert [how_to_pick(plan.job, task) for task in tasks] == [
        f"steps.shot1.pick: write `pick: [{{seed: {seed}}}]` to go on with shot1-s{seed}"
        for seed in (1, 2, 3)
    ]


def test_what_a_waiting_task_says_picks_that_task_alone(jobs: JobBench) -> None:
    """Through objects, texts that need quotes, and the steps above."""
    matrix = '[{id: "no: 1", prompt: a}, {id: "true", prompt: b}, {prompt: "c, ${d"}]'
    text = (
        HEAD
        + "request: {return_last_frame: true}\nsteps:\n"
        + f"  a:\n    seeds: 1..2\n    matrix: {{shot: {matrix}, ratio: [16:9, 1:1], camera_fixed: [true]}}\n"
        + "    content: [{type: text, text: '${{ shot.prompt }}'}]\n"
        + "  b:\n    needs: a\n    samples: 2\n    PICK\n"
        + "    content: [{type: image_url, image_url: '${{ needs.a.last_frame }}'}]\n"
        + "  c:\n    needs: b\n"
        + "    content: [{type: image_url, image_url: '${{ needs.b.last_frame }}'}]\n"
    )
    waiting = jobs.plan(text.replace("PICK", "pick: []"))
    tasks = [task for task in waiting.tasks if task.step == "b"]
    assert len(tasks) == 24
    for task in tasks[::5]:
        said = how_to_pick(waiting.job, task)
        pick = said.removeprefix("steps.b.pick: write `").removesuffix(f"` to go on with {task.name}")
        plan = jobs.plan(text.replace("PICK", pick))
        assert [each.upstream and each.upstream.name for each in plan.tasks if each.step == "c"] == [
            task.name
        ]


@given(
    st.recursive(
        st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$")).filter(
            looks_like_no_key
        )
        | st.integers()
        | st.booleans()
        | st.none(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    )
)
def test_a_value_on_one_line_is_read_back_as_it_was(value: JsonValue) -> None:
    document = parse(f"pick: [{{axis: {flow_yaml(value)}}}]\n".encode(), file="job.yaml")
    assert isinstance(document, Mapping)
    assert to_data(document) == {"pick": [{"axis": value}]}


def test_a_pick_may_name_the_takes_above(jobs: JobBench) -> None:
    text = story().replace(
        "    samples: 2\n", "    samples: 2\n    pick: [{needs: {shot1: {seed: 3}}, sample: 2}]\n"
    )
    assert [task.name for task in jobs.tasks(text) if task.step == "shot3"] == ["shot3-s3-t2"]


def test_a_pick_changes_no_index_and_no_identity(jobs: JobBench) -> None:
    """An index may stand in a prompt: a person who picks must not pay for it."""
    before, after = by_name(jobs.tasks(story())), by_name(jobs.tasks(story("pick: [{seed: 3}]")))
    assert len(after) == 7
    for name, task in after.items():
        assert (task.index, task.identity) == (before[name].index, before[name].identity)
    assert sorted(task.index for task in before.values()) == list(range(15))


def test_a_pick_that_nobody_needs_is_a_warning(jobs: JobBench) -> None:
    plan = jobs.plan(HEAD + "steps: {only: {seeds: 1..2, pick: [{seed: 1}]}}\n" + TEXT)
    assert [(each.path, each.message) for each in plan.warnings] == [
        ("steps.only.pick", "no step needs `only`, so there is nothing to pick for")
    ]


def test_a_pick_may_hold_variables(jobs: JobBench) -> None:
    tasks = jobs.tasks("vars: {best: 2}\n" + story("pick: [{seed: '${{ vars.best }}'}]"))
    assert [task.name for task in tasks if task.step == "shot3"] == ["shot3-s2-t1", "shot3-s2-t2"]


# The plan as the engine walks it.


def walk(jobs: JobBench, text: str) -> list[Task]:
    """All tasks by way of roots and children, in depth."""
    plan = jobs.plan(text)

    def below(task: Task) -> list[Task]:
        return [task, *(each for child in plan.children(task) for each in below(child))]

    return [each for root in plan.roots for each in below(root)]


@pytest.mark.parametrize("pick", ["", "pick: []", "pick: [{seed: 2}]", "pick: [{seed: 2}, {seed: 3}]"])
def test_roots_and_children_are_the_tasks(jobs: JobBench, pick: str) -> None:
    assert walk(jobs, story(pick)) == jobs.tasks(story(pick))


def test_several_steps_may_need_one(jobs: JobBench) -> None:
    text = story() + (
        "  other:\n    needs: shot1\n    matrix: {ratio: [16:9, 1:1]}\n    content: [" + FRAME + "]\n"
    )
    tasks = jobs.tasks(text)
    assert [task.name for task in tasks][:8] == [
        "shot1-s1",
        "shot2-s1-t1",
        "shot3-s1-t1",
        "shot2-s1-t2",
        "shot3-s1-t2",
        "other-s1-16x9",
        "other-s1-1x1",
        "shot1-s2",
    ]
    assert walk(jobs, text) == tasks
    assert sorted(task.index for task in tasks) == list(range(21))


def test_equal_names_in_a_step_are_told_apart_and_so_are_those_below(jobs: JobBench) -> None:
    text = two(
        "matrix: {x: [a, a.]}, content: [{type: text, text: '${{ x }}'}]",
        "needs: a, content: [{type: text, text: 'After ${{ needs.a.x }}'}]",
    )
    tasks = jobs.tasks(text)
    assert len({task.name for task in tasks}) == len({task.output for task in tasks}) == 4
    assert all(task.name.endswith(f"-{task.identity[:8]}") for task in tasks)


BELOW_A_PICK = (
    HEAD
    + "request: {return_last_frame: true}\nsteps:\n"
    + "  a:\n    seeds: 1..2\n    pick: []\n    content: [{type: text, text: A boat}]\n"
    + "  b:\n    needs: a\n    samples: 2\n    PICK\n    content: ["
    + FRAME.replace("shot1", "a")
    + "]\n"
    + "  c:\n    needs: b\n    MORE\n    content: ["
    + FRAME.replace("shot1", "b")
    + "]\n"
)


@pytest.mark.parametrize("pick", ["", "pick: []", "pick: [{sample: 1}]"])
def test_what_waits_below_an_empty_pick_is_linted(jobs: JobBench, pick: str) -> None:
    text = BELOW_A_PICK.replace("PICK", pick).replace("MORE", "request: {resolution: 4k}")
    (problem,) = jobs.problems(text)
    assert "steps.c.request.resolution: Seedance 1.0 pro does not make 4k (in cell c-s1-t1)" in problem


@pytest.mark.parametrize("entry", ["{sample: 1}", "{needs: {a: {seed: 2}}}"])
def test_a_pick_below_an_empty_pick_waits_with_it(jobs: JobBench, entry: str) -> None:
    text = BELOW_A_PICK.replace("PICK", f"pick: [{entry}]").replace("    MORE\n", "")
    assert jobs.plan(text).count == 2
