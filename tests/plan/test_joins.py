"""`needs: [a, b]`: which tasks of several steps meet, what they are called, and what is told of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.plan.combinations import sum_words
from runner.plan.picks import how_to_pick
from runner.plan.plan import Plan
from runner.plan.task import Task
from tests.support.job_bench import HEAD, JobBench

FILM = """\
  film:
    needs: [first, last]
    content:
      - {type: text, text: The boat leaves}
      - {type: image_url, image_url: "${{ needs.first.last_frame }}", role: first_frame}
      - {type: image_url, image_url: "${{ needs.last.last_frame }}", role: last_frame}
"""


def two(first: str, last: str, film: str = "", shared: str = "") -> str:
    """Two steps, each given as lines, and one that needs both."""
    steps = f"  first:\n    {first}\n    content: [{{type: text, text: 'A harbour SAID'}}]\n"
    steps += f"  last:\n    {last}\n    content: [{{type: text, text: 'The sea SAID'}}]\n"
    film = FILM if not film else FILM.replace("    content:", f"    {film}\n    content:", 1)
    said = "${{ shot.id }}" if "id:" in first else "${{ shot }}" if "shot" in first + shared else ""
    head = HEAD + "name: boat\nrequest: {resolution: 480p, return_last_frame: true}\n" + shared + "steps:\n"
    return head + steps.replace("SAID", said) + film


def films(plan: Plan) -> list[Task]:
    return [task for task in plan.tasks if task.step == "film"]


def names(plan: Plan) -> list[str]:
    return [task.name for task in films(plan)]


def told(plan: Plan) -> str:
    return sum_words(plan.job.steps["film"], plan.combined["film"])


def test_takes_are_multiplied_and_the_sum_is_told(jobs: JobBench) -> None:
    plan = jobs.plan(two("seeds: 1..4", "samples: 4"))
    assert told(plan) == "film: 4 x 4 = 16 (first x last)"
    assert (len(films(plan)), plan.count) == (16, 24)
    assert names(plan)[:3] == ["film-s1-t1", "film-s1-t2", "film-s1-t3"]
    assert [task.index for task in films(plan)] == list(range(8, 24))


def test_a_task_refers_to_each_of_the_tasks_that_it_needs(jobs: JobBench) -> None:
    plan = jobs.plan(two("seeds: 1", "seeds: 2"))
    first, last, film = plan.tasks
    assert [item.get("image_url") for item in film.request["content"]][1:] == [  # type: ignore[union-attr]
        {"url": f"step:{first.identity}/last_frame"},
        {"url": f"step:{last.identity}/last_frame"},
    ]
    assert [(each.step, each.identity, each.uses) for each in film.upstreams] == [
        ("first", first.identity, {"last_frame"}),
        ("last", last.identity, {"last_frame"}),
    ]
    assert plan.children(first) == plan.children(last) == (film,)
    assert plan.roots == (first, last)


SHOTS = "matrix: {shot: [a, b, c]}"


def test_tasks_meet_on_the_axes_that_they_share(jobs: JobBench) -> None:
    plan = jobs.plan(two(f"{SHOTS}\n    seeds: 1..2", f"{SHOTS}\n    seeds: 1..2"))
    assert told(plan) == "film: 6 x 6, joined on shot = 12 (first x last)"
    assert names(plan)[:3] == ["film-a-s1-s1", "film-a-s1-s2", "film-b-s1-s1"]
    for task in films(plan):
        assert {cell.get("shot") for cell in task.cells_above.values()} == {task.cells_above["first"]["shot"]}


def test_the_cells_of_the_step_itself_meet_them_too(jobs: JobBench) -> None:
    """A matrix that all steps inherit makes one film for each of its values, not one for each pair."""
    plan = jobs.plan(two("seeds: 1", "seeds: 1", shared=f"{SHOTS}\n"))
    assert names(plan) == ["film-a-s1-s1", "film-b-s1-s1", "film-c-s1-s1"]
    more = jobs.plan(two("seeds: 1", "seeds: 1", "matrix: {ratio: [16:9, 1:1]}", shared=f"{SHOTS}\n"))
    assert told(more) == "film: 3 x 3 x 6, joined on shot = 6 (first x last x its own cells)"


def test_objects_meet_by_their_id(jobs: JobBench) -> None:
    plan = jobs.plan(
        two(
            "matrix: {shot: [{id: a, light: dawn}, {id: b, light: noon}]}",
            "matrix: {shot: [{id: b, light: dusk}, {id: a, light: night}]}",
        )
    )
    lights = [[cell["shot"]["light"] for cell in task.cells_above.values()] for task in films(plan)]  # type: ignore[index,call-overload]
    assert lights == [["night", "dawn"], ["dusk", "noon"]]


def test_what_meets_nothing_is_told(jobs: JobBench) -> None:
    plan = jobs.plan(two("matrix: {shot: [a, b, c]}", "matrix: {shot: [b, c, d, e]}"))
    assert names(plan) == ["film-b", "film-c"]
    assert [problem.message for problem in plan.warnings] == [
        "1 task of `first` meets nothing of `last`: a",
        "2 tasks of `last` meet nothing of `first`: d, e",
    ]


def test_steps_that_never_meet_are_an_error(jobs: JobBench) -> None:
    (problem,) = jobs.problems(two("matrix: {shot: [a]}", "matrix: {shot: [b]}"))
    assert "steps.film: no task of `first` and `last` meets another" in problem


def test_one_step_above_both_is_the_same_task(jobs: JobBench) -> None:
    text = two("needs: base", "needs: base\n    samples: 2").replace(
        "steps:\n", "steps:\n  base:\n    seeds: 1..3\n    content: [{type: text, text: A boat}]\n"
    )
    text = text.replace("'A harbour '", "'A harbour ${{ needs.base.seed }}'").replace(
        "'The sea '", "'The sea ${{ needs.base.seed }}'"
    )
    plan = jobs.plan(text)
    assert names(plan)[:3] == ["film-s1-t1", "film-s1-t2", "film-s2-t1"]
    assert len(films(plan)) == 6
    for task in films(plan):
        above = {upstream.cells["base"]["seed"] for upstream in task.upstreams}
        assert above == {task.cells_above["base"]["seed"]}


def test_picks_hold_for_each_step_and_change_no_index(jobs: JobBench) -> None:
    text = two("seeds: 1..3\n    PICK1", "seeds: 1..3\n    PICK2")
    whole = {task.name: task for task in jobs.plan(text.replace("PICK1", "").replace("PICK2", "")).tasks}
    picked = jobs.plan(
        text.replace("PICK1", "pick: [{seed: 2}]").replace("PICK2", "pick: [{seed: 1}, {seed: 3}]")
    )
    assert names(picked) == ["film-s2-s1", "film-s2-s3"]
    assert told(picked) == "film: 1 x 2 = 2 (first x last)"
    for task in picked.tasks:
        assert (task.index, task.identity) == (whole[task.name].index, whole[task.name].identity)
    waiting = jobs.plan(text.replace("PICK1", "pick: []").replace("PICK2", ""))
    assert films(waiting) == []
    assert how_to_pick(waiting.job, waiting.tasks[1]).endswith("`pick: [{seed: 2}]` to go on with first-s2")


def test_what_waits_below_an_empty_pick_is_checked(jobs: JobBench) -> None:
    text = two("seeds: 1..3\n    pick: []", "seeds: 1", "request: {resolution: 4k}")
    (problem,) = jobs.problems(text)
    assert "steps.film.request.resolution: Seedance 1.0 pro does not make 4k" in problem


def test_a_step_may_need_what_was_joined(jobs: JobBench) -> None:
    frame = "{type: image_url, image_url: '${{ needs.film.last_frame }}'}"
    more = f"  after:\n    needs: film\n    samples: 2\n    content: [{frame}]\n"
    plan = jobs.plan(two("seeds: 1..2", "seeds: 1") + more)
    assert [task.name for task in plan.tasks] == [
        "first-s1",
        "first-s2",
        "last-s1",
        "film-s1-s1",
        "after-s1-s1-t1",
        "after-s1-s1-t2",
        "film-s2-s1",
        "after-s2-s1-t1",
        "after-s2-s1-t2",
    ]
    assert sorted(task.index for task in plan.tasks) == list(range(9))


def test_a_list_of_one_joins_too(jobs: JobBench) -> None:
    text = HEAD + (
        "request: {return_last_frame: true}\nmatrix: {shot: [a, b]}\nsteps:\n"
        "  one: {content: [{type: text, text: '${{ shot }}'}]}\n"
        "  two: {needs: NEEDS, content: [{type: text, text: '${{ shot }}'},"
        " {type: image_url, image_url: '${{ needs.one.last_frame }}'}]}\n"
    )
    assert [task.name for task in jobs.tasks(text.replace("NEEDS", "[one]"))][2:] == ["two-a", "two-b"]
    assert len(jobs.tasks(text.replace("NEEDS", "one"))) == 2 + 4


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ("[first, lost]", "steps.film.needs[1]: no step `lost`; hint: did you mean `last`?"),
        ("[first, first]", "steps.film.needs[1]: must be the name of a step, or a list of names, each once"),
        ("[]", "steps.film.needs: must be the name of a step, or a list of names, each once"),
        ("[first, film]", "steps.film.needs[1]: steps in a circle: film > film"),
        ("first", "steps.film.content[2].image_url: `needs` has no `last`; hint: it has: first"),
    ],
)
def test_what_is_wrong_with_a_list_is_told_at_its_place(jobs: JobBench, needs: str, said: str) -> None:
    found = jobs.problems(two("seeds: 1", "seeds: 2").replace("[first, last]", needs))
    assert said in "\n".join(found)


def test_an_output_by_another_word_is_named(jobs: JobBench) -> None:
    text = two("seeds: 1", "seeds: 2").replace(
        '{type: image_url, image_url: "${{ needs.last.last_frame }}", role: last_frame}',
        '{type: video_url, video_url: "${{ needs.last.video }}"}',
    )
    (problem,) = jobs.problems(text)
    assert problem.endswith("`needs.last` has no `video`; hint: ${{ needs.last.output }}")


def test_a_join_that_uses_only_one_step_asks_for_one_video_several_times(jobs: JobBench) -> None:
    text = two("seeds: 1", "seeds: 1..2").replace(
        '      - {type: image_url, image_url: "${{ needs.last.last_frame }}", role: last_frame}\n', ""
    )
    (problem,) = jobs.problems(text)
    assert "its requests are the same for each task of `last`" in problem
    assert problem.endswith("use an output or an axis of `needs.last`, or pick")


@given(
    first=st.lists(st.sampled_from("abcd"), min_size=1, unique=True),
    last=st.lists(st.sampled_from("abcd"), min_size=1, unique=True),
    takes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_as_many_tasks_as_pairs_with_equal_values(
    first: list[str], last: list[str], takes: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    jobs = JobBench(tmp_path_factory.mktemp("join") / "project")
    text = two(
        f"matrix: {{shot: [{', '.join(first)}]}}\n    seeds: 1..{takes[0]}",
        f"matrix: {{shot: [{', '.join(last)}]}}\n    seeds: 1..{takes[1]}",
    )
    both = set(first) & set(last)
    if not both:
        assert "meets another" in jobs.problems(text)[0]
        return
    plan = jobs.plan(text)
    assert len(films(plan)) == len(both) * takes[0] * takes[1]
    order = {task.identity: place for place, task in enumerate(plan.tasks)}
    for task in films(plan):
        assert all(order[upstream.identity] < order[task.identity] for upstream in task.upstreams)


def test_an_inherited_axis_that_only_multiplies_is_told_with_the_join(jobs: JobBench) -> None:
    text = HEAD + (
        "request: {return_last_frame: true}\nmatrix: {shot: [a, b]}\nsteps:\n"
        "  one: {content: [{type: text, text: '${{ shot }}'}]}\n"
        "  two: {needs: one, content: [{type: image_url, image_url: '${{ needs.one.last_frame }}'}]}\n"
    )
    (problem,) = jobs.problems(text)
    assert problem.endswith("hint: to meet only the tasks with its value: `needs: [one]`")
    assert [task.name for task in jobs.tasks(text.replace("needs: one", "needs: [one]"))][2:] == [
        "two-a",
        "two-b",
    ]
