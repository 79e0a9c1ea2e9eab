"""`chain: shot`: which task comes after which, and what an edit in the middle makes new."""

from __future__ import annotations

import pytest

from runner.plan.chains import chain_words
from runner.plan.plan import Plan
from runner.plan.task import Task
from tests.support.job_bench import HEAD, JobBench

FLAT = (
    HEAD
    + """\
name: reel
request: {resolution: 480p, duration: 4, return_last_frame: true}
matrix:
  shot:
    - {id: a, prompt: A boat in the harbour}
    - {id: b, prompt: it leaves}
    - {id: c, prompt: the open sea}
    - {id: d, prompt: night falls}
chain: shot
content:
  - {type: text, text: "${{ shot.prompt }}"}
  - {type: image_url, image_url: "${{ previous.last_frame }}", role: first_frame}
"""
)


def order(plan: Plan) -> list[tuple[str, str]]:
    """(name, name of the one before) of each task."""
    return [(task.name, task.previous.name if task.previous else "") for task in plan.tasks]


def by_name(plan: Plan) -> dict[str, Task]:
    return {task.name: task for task in plan.tasks}


def test_each_task_begins_with_the_last_frame_of_the_one_before(jobs: JobBench) -> None:
    plan = jobs.plan(FLAT)
    assert order(plan) == [("a", ""), ("b", "a"), ("c", "b"), ("d", "c")]
    assert [task.index for task in plan.tasks] == [0, 1, 2, 3]
    first, second = plan.tasks[:2]
    assert first.request["content"] == [{"type": "text", "text": "A boat in the harbour"}]
    assert second.request["content"] == [
        {"type": "text", "text": "it leaves"},
        {
            "type": "image_url",
            "image_url": {"url": f"step:{first.identity}/last_frame"},
            "role": "first_frame",
        },
    ]
    assert plan.roots == (first,)
    assert plan.children(first) == (second,)
    assert chain_words(plan.job.steps[""], plan.combined[""]) == "4 tasks in 1 chain along shot"


def test_the_first_of_a_chain_is_the_task_that_it_would_be_alone(jobs: JobBench) -> None:
    alone = FLAT.replace("chain: shot\n", "").rpartition("  - {type: image_url")[0]
    assert jobs.plan(FLAT).tasks[0].identity == jobs.plan(alone).tasks[0].identity


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [("it leaves", "it sails away", "bcd"), ("night falls", "the moon", "d"), ("A boat", "A ship", "abcd")],
)
def test_an_edit_makes_its_task_new_and_those_after_it(
    jobs: JobBench, old: str, new: str, changed: str
) -> None:
    before, after = by_name(jobs.plan(FLAT)), by_name(jobs.plan(FLAT.replace(old, new)))
    assert "".join(name for name in "abcd" if before[name].identity != after[name].identity) == changed


def test_other_axes_make_chains_of_their_own(jobs: JobBench) -> None:
    plan = jobs.plan(FLAT.replace("matrix:\n", "seeds: 1..2\nmatrix:\n  ratio: [16:9, 1:1]\n"))
    assert len(plan.tasks) == 16
    for task in plan.tasks:
        if task.previous is None:
            assert task.cell["shot"]["id"] == "a"  # type: ignore[index,call-overload]
        else:
            before = task.previous.cells[""]
            assert (before["ratio"], before["seed"]) == (task.cell["ratio"], task.cell["seed"])
    assert chain_words(plan.job.steps[""], plan.combined[""]) == "16 tasks in 4 chains along shot"


def test_the_one_before_is_the_one_before_in_the_list_of_its_cell(jobs: JobBench) -> None:
    """`exclude` takes one out of the middle, or the first; `include` adds one at the end."""
    text = FLAT.replace("matrix:\n", "matrix:\n  ratio: [16:9, 1:1]\n") + (
        "exclude: [{shot: {id: b}, ratio: 1:1}, {shot: {id: a}, ratio: 16:9}]\n"
        "include: [{shot: {id: e, prompt: dawn}, ratio: 1:1}]\n"
    )
    assert order(jobs.plan(text)) == [
        ("1x1-a", ""),
        ("16x9-b", ""),
        ("16x9-c", "16x9-b"),
        ("1x1-c", "1x1-a"),
        ("16x9-d", "16x9-c"),
        ("1x1-d", "1x1-c"),
        ("e-1x1", "1x1-d"),
    ]


def test_what_include_adds_to_a_shot_breaks_no_chain(jobs: JobBench) -> None:
    text = FLAT.replace("${{ shot.prompt }}", "${{ shot.prompt }} ${{ note | default('') }}")
    text += "include: [{shot: {id: b, prompt: it leaves}, note: slowly}]\n"
    assert order(jobs.plan(text)) == [("a", ""), ("b-slowly", "a"), ("c", "b-slowly"), ("d", "c")]


def test_shots_that_stand_under_include_alone_make_a_chain(jobs: JobBench) -> None:
    head, _, tail = FLAT.partition("matrix:\n  shot:\n")
    text = (
        head
        + "include:\n"
        + tail.replace("    - {id", "  - {shot").replace("${{ shot.prompt }}", "${{ prompt }}")
    )
    assert [bool(before) for _, before in order(jobs.plan(text))] == [False, True, True, True]
    (problem,) = jobs.problems(text.replace("{shot: b", "{shot: a"))
    assert "chain: a of `shot` comes twice in one chain" in problem


def test_axes_of_the_one_before_may_be_used(jobs: JobBench) -> None:
    text = FLAT + '  - {type: text, text: "after ${{ previous.shot.prompt }}"}\n'
    plan = jobs.plan(text)
    texts = [
        [item["text"] for item in task.request["content"] if item["type"] == "text"]  # type: ignore[union-attr,index,call-overload]
        for task in plan.tasks[:2]
    ]
    assert texts == [["A boat in the harbour"], ["it leaves", "after A boat in the harbour"]]


def test_a_field_that_uses_the_one_before_is_left_out_of_the_first(jobs: JobBench) -> None:
    text = (
        FLAT.replace("duration: 4,", "")
        .replace("id: a,", "id: a, next: 5,")
        .replace("id: b,", "id: b, next: 6,")
    )
    text = text.replace("request: {", 'request: {duration: "${{ previous.shot.next | default(4) }}", ')
    assert [task.request.get("duration") for task in jobs.plan(text).tasks] == [None, 5, 6, 4]


KEYS = """\
steps:
  keys:
    seeds: 1..2
    PICK
    matrix: {shot: [a, b, c]}
    content: [{type: text, text: "Key ${{ shot }}"}]
  film:
    needs: NEEDS
    chain: shot
    content:
      - {type: text, text: "${{ needs.keys.shot }} ${{ needs.keys.seed }}"}
      - {type: image_url, image_url: "${{ previous.last_frame }}", role: first_frame}
"""


def keys(pick: str = "", needs: str = "keys") -> str:
    head = HEAD + "name: reel\nrequest: {resolution: 480p, return_last_frame: true}\n"
    return head + KEYS.replace("    PICK\n", f"    {pick}\n" if pick else "").replace("NEEDS", needs)


def films(plan: Plan) -> list[tuple[str, str]]:
    return [(name, before) for name, before in order(plan) if name.startswith("film")]


@pytest.mark.parametrize("needs", ["keys", "[keys]"])
def test_a_chain_may_go_along_an_axis_of_the_step_above(jobs: JobBench, needs: str) -> None:
    assert films(jobs.plan(keys(needs=needs))) == [
        ("film-a-s1", ""),
        ("film-a-s2", ""),
        ("film-b-s1", "film-a-s1"),
        ("film-b-s2", "film-a-s2"),
        ("film-c-s1", "film-b-s1"),
        ("film-c-s2", "film-b-s2"),
    ]


def test_one_picked_take_of_each_shot_makes_one_chain(jobs: JobBench) -> None:
    plan = jobs.plan(keys("pick: [{shot: c, seed: 1}, {shot: a, seed: 2}, {shot: b, seed: 1}]"))
    assert films(plan) == [
        ("film-a-s2", ""),
        ("film-b-s1", "film-a-s2"),
        ("film-c-s1", "film-b-s1"),
    ]
    whole = {task.name: task.index for task in jobs.plan(keys()).tasks}
    assert all(task.index == whole[task.name] for task in plan.tasks)


def test_takes_that_leave_gaps_in_the_chains_are_an_error(jobs: JobBench) -> None:
    (problem,) = jobs.problems(keys("pick: [{shot: a}, {shot: b, seed: 1}, {shot: c}]"))
    assert "steps.film.chain: the chains along `shot` would have gaps" in problem
    assert problem.endswith("pick one task of `keys` for each `shot`")


def test_a_chain_below_an_empty_pick_waits_and_is_checked(jobs: JobBench) -> None:
    assert films(jobs.plan(keys("pick: []"))) == []
    (problem,) = jobs.problems(
        keys("pick: []").replace(
            "    chain: shot\n", "    chain: shot\n    request: {return_last_frame: false}\n"
        )
    )
    assert "step `film` returns no last frame" in problem


def test_below_each_task_of_another_step_stands_a_chain(jobs: JobBench) -> None:
    text = keys().replace(
        'matrix: {shot: [a, b, c]}\n    content: [{type: text, text: "Key ${{ shot }}"}]',
        "content: [{type: text, text: A key}]",
    )
    text = text.replace("    chain: shot\n", "    matrix: {shot: [x, y]}\n    chain: shot\n").replace(
        "${{ needs.keys.shot }}", "${{ shot }}"
    )
    assert films(jobs.plan(text)) == [
        ("film-s1-x", ""),
        ("film-s2-x", ""),
        ("film-s1-y", "film-s1-x"),
        ("film-s2-y", "film-s2-x"),
    ]


def test_a_step_may_need_a_chain(jobs: JobBench) -> None:
    text = (
        keys()
        + "  end:\n    needs: film\n    content: [{type: video_url, video_url: '${{ needs.film.output }}'}]\n"
    )
    text = text.replace("seedance-1-0-pro", "dreamina-seedance-2-0").replace("seeds: 1..2", "samples: 2")
    text = text.replace("keys.seed", "keys.sample")
    tasks = by_name(jobs.plan(text))
    assert tasks["end-c-t2"].upstreams[0].name == "film-c-t2"
    assert list(tasks).index("film-c-t2") < list(tasks).index("end-c-t2")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("chain: shot", "chain: shto", "chain: `shto` is not an axis; hint: did you mean `shot`?"),
        ("chain: shot", "seeds: 1..2\nchain: seed", "chain: a chain cannot go along `seed`"),
        ("chain: shot", "chain: [shot]", "chain: must be text"),
        (
            '  - {type: image_url, image_url: "${{ previous.last_frame }}", role: first_frame}\n',
            "",
            "chain: nothing uses the task before, so there is no chain; hint: add to `content`:",
        ),
        ('  - {type: text, text: "${{ shot.prompt }}"}\n', "", "the first task of the chain has no content"),
        (
            ", return_last_frame: true",
            "",
            "the task before returns no last frame; hint: request: {return_last_frame: true}",
        ),
        (
            "chain: shot\n",
            "",
            "unknown name `previous`; hint: only the content and the request of a step with",
        ),
        (
            "shot.prompt }}",
            "shot.prompt }} ${{ previous.last_frame }}",
            "`previous.last_frame` cannot be used here",
        ),
        (
            "${{ previous.last_frame }}",
            "${{ previous.video }}",
            "`previous` has no `video`; hint: ${{ previous.output }}",
        ),
        (
            "chain: shot",
            "chain: shot\noutput: 'out/${{ previous.shot.id }}.mp4'",
            "output: unknown name `previous`",
        ),
        ("matrix:\n", "matrix:\n  previous: [1, 2]\n", "`previous` cannot name an axis"),
    ],
)
def test_what_has_no_meaning_is_refused_with_a_hint(jobs: JobBench, old: str, new: str, said: str) -> None:
    assert old in FLAT
    assert said in "\n".join(jobs.problems(FLAT.replace(old, new)))


def test_an_axis_of_an_older_job_may_be_called_previous(jobs: JobBench) -> None:
    text = HEAD + "matrix: {previous: [{last_frame: a}, {last_frame: b}]}\n"
    text += "content: [{type: text, text: '${{ previous.last_frame }}'}]\n"
    assert [task.request["content"] for task in jobs.tasks(text)] == [
        [{"type": "text", "text": "a"}],
        [{"type": "text", "text": "b"}],
    ]
