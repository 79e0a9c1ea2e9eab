"""What FFmpeg makes of a file: a picture, or what is wrong with it."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from runner.media.pictures import LONGEST_SIDE, Picture, Wanted, read_picture
from tests.support.clips import make_clip, with_noise_for_pictures

BOTH = pytest.mark.parametrize("wanted", list(Wanted))


def test_a_poster_is_a_small_picture_of_the_videos_shape() -> None:
    picture = read_picture(io.BytesIO(make_clip(width=640, height=360)), Wanted.POSTER)
    assert picture.image is not None
    with Image.open(io.BytesIO(picture.image)) as image:
        assert (image.format, image.size) == ("WEBP", (LONGEST_SIDE, 180))
    assert picture.why == ""


def test_a_file_that_ffmpeg_reads_is_right() -> None:
    assert read_picture(io.BytesIO(make_clip(sound=True)), Wanted.CHECK) == Picture()


@BOTH
@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"<html>", "HTML"), (b"\0\0\0\x18ftypmp42" + b"\0" * 400, "no index")],
)
def test_what_is_no_video_is_told(content: bytes, words: str, wanted: Wanted) -> None:
    assert words in read_picture(io.BytesIO(content), wanted).why


@BOTH
@pytest.mark.fault(79)
def test_samples_that_are_no_pictures_are_told(wanted: Wanted) -> None:
    """Every box is whole."""
    picture = read_picture(io.BytesIO(with_noise_for_pictures(make_clip())), wanted)
    assert picture.image is None
    assert picture.why.startswith("FFmpeg")


@BOTH
@pytest.mark.fault(66)
def test_a_codec_that_ffmpeg_does_not_know_says_nothing_against_a_file(wanted: Wanted) -> None:
    """Its stream has no decoder."""
    assert read_picture(io.BytesIO(make_clip().replace(b"avc1", b"zzz9")), wanted) == Picture()


@BOTH
@pytest.mark.fault(66)
def test_ffmpeg_makes_no_table_of_samples_that_a_small_file_only_claims(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold 24 bytes for each of four thousand million."""
    clip = make_clip()
    at = clip.index(b"stsz") + 8
    claims = clip[:at] + struct.pack(">II", 1, 0xFFFFFFFF) + clip[at + 8 :]

    def must_not(*_: object, **__: object) -> None:
        raise AssertionError("FFmpeg was asked")

    monkeypatch.setattr("av.open", must_not)
    assert read_picture(io.BytesIO(claims), wanted) == Picture()


@BOTH
def test_whatever_a_library_raises_over_foreign_bytes_is_the_files_fault(
    wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise AttributeError("a defect of a library")

    clip = make_clip()
    monkeypatch.setattr("av.open", break_down)
    assert "AttributeError" in read_picture(io.BytesIO(clip), wanted).why
