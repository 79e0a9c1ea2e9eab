"""Posters: from real MP4s, made once, and never the reason for a page to fail."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from runner.engine.posters import LONGEST_SIDE, make_poster, posters
from runner.project import Project, init_project
from runner.record.sheet.build import Video
from tests.support.clips import make_clip

SHA = "ab" * 32


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path)


def put(project: Project, name: str, content: bytes) -> Video:
    (project.base / name).write_bytes(content)
    return Video(name, SHA)


def test_a_poster_is_a_small_picture_of_the_videos_shape(project: Project) -> None:
    image = make_poster(io.BytesIO(make_clip(width=640, height=360)))
    assert image is not None
    with Image.open(io.BytesIO(image)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (LONGEST_SIDE, 180))


@pytest.mark.parametrize("content", [b"", b"<html>", b"\0\0\0\x18ftypmp42" + b"\0" * 400])
def test_what_is_no_video_has_no_poster(content: bytes) -> None:
    assert make_poster(io.BytesIO(content)) is None


def test_a_poster_is_made_once_and_outlives_the_move_of_its_video(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    made = posters(project, [video], patience=60)["a.mp4"]
    assert made.is_there
    assert made.image is not None
    (project.base / "a.mp4").unlink()
    again = posters(project, [video], patience=0)["a.mp4"]
    assert (again.is_there, again.image) == (False, made.image)


def test_a_torn_poster_is_made_again(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    made = posters(project, [video], patience=60)["a.mp4"]
    kept = project.state_dir / "posters" / f"{SHA}.webp"
    kept.write_bytes(kept.read_bytes()[:-7])
    assert posters(project, [video], patience=60)["a.mp4"].image == made.image


def test_without_patience_the_page_goes_without_new_posters(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    found = posters(project, [video], patience=-1)["a.mp4"]
    assert (found.is_there, found.image) == (True, None)


def test_a_link_or_a_path_out_of_the_directory_is_not_followed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path.with_name(tmp_path.name + "-outside.mp4")
    outside.write_bytes(make_clip())
    (project.base / "link.mp4").symlink_to(outside)
    asked = [Video("link.mp4", "cd" * 32), Video(f"../{outside.name}", "ef" * 32)]
    assert [(poster.is_there, poster.image) for poster in posters(project, asked, patience=60).values()] == [
        (False, None),
        (False, None),
    ]


def test_a_directory_that_cannot_be_written_costs_only_time(project: Project) -> None:
    video = put(project, "a.mp4", make_clip())
    (project.state_dir / "posters").write_text("a file stands in its place", encoding="utf-8")
    assert posters(project, [video], patience=60)["a.mp4"].image is not None


@pytest.mark.fault(66)
@pytest.mark.parametrize("strange", [make_clip().replace(b"avc1", b"zzz9"), b"\0" * 4000, b""])
def test_a_video_that_has_no_picture_costs_no_other_one_its_poster(project: Project, strange: bytes) -> None:
    """A codec that FFmpeg does not know has a stream without a decoder, and took the whole page with it."""
    (project.base / "strange.mp4").write_bytes(strange)
    videos = [Video("strange.mp4", "cd" * 32), put(project, "a.mp4", make_clip()), Video("a\0b", "ef" * 32)]
    made = posters(project, videos, patience=60)
    assert [poster.image is not None for poster in made.values()] == [False, True, False]
    assert [poster.is_there for poster in made.values()] == [True, True, False]


def test_whatever_a_library_raises_costs_one_poster(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(file: object) -> bytes:
        raise AttributeError("a defect of a library")

    monkeypatch.setattr("runner.engine.posters.make_poster", break_down)
    assert posters(project, [put(project, "a.mp4", make_clip())], patience=60)["a.mp4"].image is None
