"""Animated images as clips: frames, times, ranges, and which files are animations."""

from fractions import Fraction

import numpy as np
import pytest
from helpers.errors import raises
from PIL import Image

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.images import is_animation
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoReader, check_complete, probe_video, video_times

MILLISECONDS = (40, 40, 80, 40)


def save(path, count: int = 4) -> None:
    images = [Image.new("RGB", (64, 48), (40 * i, 80, 200)) for i in range(count)]
    options = {"save_all": True, "append_images": images[1:], "duration": list(MILLISECONDS)} if count > 1 else {}
    images[0].save(path, format="PNG" if path.suffix == ".apng" else None, **options)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".apng", ".avif"])
def test_an_animation_is_a_clip(tmp_path, suffix):
    save(tmp_path / f"a{suffix}")
    (item,) = open_inputs([tmp_path / f"a{suffix}"])
    assert (item.kind, item.frame_count, round(item.frame_rate)) == ("video", 4, 19)
    frames = list(item.frames())
    assert [frame.time for frame in frames] == [0, Fraction(1, 25), Fraction(2, 25), Fraction(4, 25)]
    assert [round(float(frame.pixels[..., 0].mean()) / 40) for frame in frames] == [0, 1, 2, 3]
    assert [frame.index for frame in VideoReader(item.path, FrameRange(1, 3)).frames()] == [1, 2]
    assert (len(video_times(item.path)), probe_video(item.path).size) == (4, (64, 48))
    check_complete(item.path)
    assert [each.kind for each in open_inputs([tmp_path])] == ["video"]


def test_an_animation_that_ffmpeg_cannot_read_is_refused_by_name(tmp_path):
    save(tmp_path / "a.webp")
    (item,) = open_inputs([tmp_path])
    with raises(InputError, subject="a.webp", problem="an animated WEBP image", remedy="convert it to GIF, PNG or MP4"):
        next(item.frames())


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".apng", ".avif"])
def test_one_frame_is_an_image(tmp_path, suffix):
    save(tmp_path / f"a{suffix}", 1)
    assert not is_animation(tmp_path / f"a{suffix}")
    assert [item.kind for item in open_inputs([tmp_path])] == ["image"]


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_transparency_is_white(tmp_path, suffix):
    images = [Image.fromarray(np.full((48, 64, 4), (255, 0, 0, alpha), np.uint8)) for alpha in (0, 255)]
    images[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=images[1:], duration=40, disposal=2)
    colours = [pixels[20, 20].tolist() for _, pixels in VideoReader(tmp_path / f"a{suffix}")]
    assert colours == [[255, 255, 255], [255, 0, 0]]
