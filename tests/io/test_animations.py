"""Animated images as clips: frames, times, ranges, damage, and which files are animations."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from helpers.errors import raises
from PIL import Image

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.animations import is_animation
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoReader, check_complete, count_frames, probe_video

SUFFIXES = (".gif", ".webp", ".png", ".apng", ".avif")
MILLISECONDS = (40, 40, 80, 40)


def save(path, count: int = 4) -> None:
    images = [Image.new("RGB", (64, 48), (40 * i, 80, 200)) for i in range(count)]
    options = {"save_all": True, "append_images": images[1:], "duration": list(MILLISECONDS)} if count > 1 else {}
    images[0].save(path, format="PNG" if path.suffix == ".apng" else None, **options)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_animation_is_a_clip(tmp_path, suffix):
    save(tmp_path / f"a{suffix}")
    (item,) = open_inputs([tmp_path / f"a{suffix}"])
    assert (item.kind, item.frame_count, item.frame_rate) == ("video", 4, 20)
    frames = list(item.frames())
    assert [frame.time for frame in frames] == [0, Fraction(1, 25), Fraction(2, 25), Fraction(4, 25)]
    assert [round(float(frame.pixels[..., 0].mean()) / 40) for frame in frames] == [0, 1, 2, 3]
    assert [frame.index for frame in VideoReader(item.path, FrameRange(1, 3)).frames()] == [1, 2]
    assert (count_frames(item.path), probe_video(item.path).size) == (4, (64, 48))
    check_complete(item.path)
    with raises(InputError, problem="has no frame in the range", got="4"):
        list(VideoReader(item.path, FrameRange(4)))
    assert [each.kind for each in open_inputs([tmp_path])] == ["video"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_frame_is_an_image(tmp_path, suffix):
    save(tmp_path / f"a{suffix}", 1)
    assert not is_animation(tmp_path / f"a{suffix}")
    assert [item.kind for item in open_inputs([tmp_path])] == ["image"]


def test_transparency_is_white(tmp_path):
    images = [Image.fromarray(np.full((48, 64, 4), (255, 0, 0, alpha), np.uint8)) for alpha in (255, 0)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=40, lossless=True)
    colours = [pixels[20, 20].tolist() for _, pixels in VideoReader(tmp_path / "a.webp")]
    assert colours == [[255, 0, 0], [255, 255, 255]]


def one_pixel_frames(count: int, size: tuple[int, int]) -> bytes:
    """A GIF that changes one pixel of its screen a frame."""
    control = b"\x21\xf9\x04\x04\x04\0\0\0"
    pixel = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HH", *size) + b"\x80\0\0\0\0\0\xff\xff\xff" + (control + pixel) * count + b";"


@pytest.mark.parametrize(("count", "size"), [(10_001, (1, 1)), (1500, (4000, 4000))])
def test_too_many_frames_are_refused_before_they_are_decoded(tmp_path, count, size):
    (tmp_path / "a.gif").write_bytes(one_pixel_frames(count, size))
    (item,) = open_inputs([tmp_path])
    with raises(InputError, subject="a.gif", problem="is too long", got=str(count), remedy="convert it to MP4"):
        next(item.frames())
