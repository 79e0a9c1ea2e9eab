"""Posters: from real MP4s, made once, and never the reason for a page to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from runner.desk.contact_sheet import Video
from runner.desk.posters import Poster, posters
from runner.project import Project, init_project
from tests.support.clips import make_clip, with_noise_for_pictures

SHA = "ab" * 32


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path)


def put(project: Project, name: str, content: bytes) -> Video:
    (project.base / name).write_bytes(content)
    return Video(name, SHA)


def made_of(project: Project, videos: Sequence[Video], patience: float = 60) -> Mapping[str, Poster]:
    """The posters; their progress was told one by one."""
    told: list[tuple[int, int]] = []
    witness = project.base / "callsheet.yaml"
    made = posters(project, videos, witness, patience=patience, tell=lambda done, of: told.append((done, of)))
    expected = [(number, len(videos)) for number in range(1, len(videos) + 1)]
    assert told == (expected if patience > 0 else expected[: len(told)])
    return made


def test_a_poster_is_made_once_and_outlives_the_move_of_its_video(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    made = made_of(project, [video])["a.mp4"]
    assert made.is_there
    assert made.image is not None
    (project.base / "a.mp4").unlink()
    again = made_of(project, [video], patience=0)["a.mp4"]
    assert (again.is_there, again.image) == (False, made.image)


def test_a_torn_poster_is_made_again(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    made = made_of(project, [video])["a.mp4"]
    kept = project.state_dir / "posters" / f"{SHA}.webp"
    kept.write_bytes(kept.read_bytes()[:-7])
    assert made_of(project, [video])["a.mp4"].image == made.image


def test_without_patience_the_page_goes_without_new_posters(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    found = made_of(project, [video], patience=-1)["a.mp4"]
    assert (found.is_there, found.image) == (True, None)


def test_a_link_or_a_path_out_of_the_directory_is_not_followed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path.with_name(tmp_path.name + "-outside.mp4")
    outside.write_bytes(make_clip())
    (project.base / "link.mp4").symlink_to(outside)
    asked = [Video("link.mp4", "cd" * 32), Video(f"../{outside.name}", "ef" * 32)]
    assert [(poster.is_there, poster.image) for poster in made_of(project, asked).values()] == [
        (False, None),
        (False, None),
    ]


def test_a_directory_that_cannot_be_written_costs_only_time(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    (project.state_dir / "posters").write_text("a file stands in its place", encoding="utf-8")
    assert made_of(project, [video])["a.mp4"].image is not None


@pytest.mark.fault(66)
@pytest.mark.parametrize("strange", [make_clip().replace(b"avc1", b"zzz9"), b"\0" * 4000, b""])
def test_a_video_that_has_no_picture_costs_no_other_one_its_poster(project: Project, strange: bytes) -> None:
    """A codec that FFmpeg does not know has a stream without a decoder, and took the whole page with it."""
    (project.base / "strange.mp4").write_bytes(strange)
    videos = [Video("strange.mp4", "cd" * 32), put(project, "a.mp4", make_clip()), Video("a\0b", "ef" * 32)]
    made = made_of(project, videos)
    assert [poster.image is not None for poster in made.values()] == [False, True, False]
    assert [poster.is_there for poster in made.values()] == [True, True, False]


@pytest.mark.fault(79)
def test_a_video_that_ffmpeg_cannot_read_is_told_each_time(project: Project) -> None:
    video = put(project, "a.mp4", with_noise_for_pictures(make_clip()))
    for _ in range(2):
        made = made_of(project, [video])["a.mp4"]
        assert (made.is_there, made.image) == (True, None)
        assert made.why.startswith("FFmpeg")


def test_without_pyav_no_process_is_started(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.desk.posters.has_pyav", lambda: False)
    monkeypatch.setattr("runner.media.readers._COMMAND", ("/nowhere",))
    assert made_of(project, [put(project, "a.mp4", make_clip())])["a.mp4"] == Poster(is_there=True)


def test_an_ffmpeg_that_does_not_start_costs_pictures_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.media.readers._COMMAND", ("/nowhere",))
    assert made_of(project, [put(project, "a.mp4", make_clip())])["a.mp4"] == Poster(is_there=True)
