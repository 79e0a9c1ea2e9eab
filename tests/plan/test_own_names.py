"""The name of a task agrees with its output, whatever tells its cell from others."""

from __future__ import annotations

from tests.support.job_bench import HEAD, TEXT, JobBench


def _named(jobs: JobBench, text: str) -> dict[str, str]:
    return {task.name: task.output for task in jobs.tasks(HEAD + text)}


def test_a_written_output_gives_the_name(jobs: JobBench) -> None:
    assert _named(jobs, TEXT + "seeds: 1..2\noutput: out/take-${{ seed }}.mp4\n") == {
        "take-1": "out/take-1.mp4",
        "take-2": "out/take-2.mp4",
    }


def test_folders_join_where_stems_are_alike(jobs: JobBench) -> None:
    text = "matrix: {ratio: ['1:1', '16:9']}\nseeds: 1..2\noutput: out/${{ ratio }}/${{ seed }}.mp4\n"
    assert list(_named(jobs, TEXT + text)) == ["1x1-1", "16x9-1", "1x1-2", "16x9-2"]


def test_without_an_output_the_cell_gives_both(jobs: JobBench) -> None:
    assert _named(jobs, TEXT + "seeds: 1..2\n") == {"s1": "out/hero/s1.mp4", "s2": "out/hero/s2.mp4"}


def test_names_that_no_part_of_the_paths_tells_apart_get_digits(jobs: JobBench) -> None:
    """`a-b/c` and `a/b-c` are joined alike."""
    text = (
        "matrix: {take: [{id: x, folder: a-b, file: c}, {id: y, folder: a, file: b-c}]}\n"
        "content: [{type: text, text: '${{ take.id }}'}]\n"
        "output: ${{ take.folder }}/${{ take.file }}.mp4\n"
    )
    assert list(_named(jobs, text)) == ["c", "b-c"]
    text = text.replace(
        "file: c}, ", "file: c}, {id: z, folder: q, file: c}, {id: w, folder: q, file: b-c}, "
    )
    names = list(_named(jobs, text))
    assert len(set(names)) == 4
    tasks = jobs.tasks(HEAD + text)
    assert names[0] == f"a-b-c-{tasks[0].identity[:8]}"
    assert tasks[0].output == "a-b/c.mp4", "a path never has the digits where it is written"


def test_a_task_that_needs_another_names_it_as_the_plan_does(jobs: JobBench) -> None:
    text = (
        "steps:\n"
        "  first:\n"
        "    seeds: 1..2\n"
        "    request: {return_last_frame: true}\n"
        "    content: [{type: text, text: Dawn}]\n"
        "    output: out/${{ seed }}/boat.mp4\n"
        "  second:\n"
        "    needs: first\n"
        "    content: [{type: image_url, image_url: '${{ needs.first.last_frame }}', role: first_frame}]\n"
    )
    tasks = jobs.tasks(HEAD + text)
    assert [task.name for task in tasks] == ["1-boat", "second-s1", "2-boat", "second-s2"]
    assert [task.upstream.name for task in tasks if task.upstream] == ["1-boat", "2-boat"]
