"""Clocks of cameras by their sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from humanpose_cli.io.sound import read_sound
from humanpose_cli.views.sound import RATE, offsets_by_sound, sound_offset

RANDOM = np.random.default_rng(5)
ROOM = np.convolve(RANDOM.normal(0, 1, 12 * RATE), [1, 0.9, 0.5, 0.2], "same").astype(np.float32)  # what happens


def recording(begins: float, seconds: float, *, echo: float = 0.0, noise: float = 0.0) -> np.ndarray:
    """The room from a moment on, as one microphone has it."""
    start = round(begins * RATE)
    part = ROOM[start : start + round(seconds * RATE)]
    delayed = np.concatenate((np.zeros(200, np.float32), part[:-200]))
    return (part + echo * delayed + noise * RANDOM.normal(0, 1, len(part))).astype(np.float32)


@pytest.mark.parametrize("later", [0.0, 0.25, -1.7, 3.123])
def test_shifts_are_found_through_echo_and_noise(later: float) -> None:
    first = recording(4.0, 5.0, echo=0.4, noise=0.5)
    second = 0.2 * recording(4.0 - later, 4.0, echo=-0.3, noise=0.5)
    found = sound_offset(first, second)
    assert found is not None
    assert found == pytest.approx(later, abs=0.002)


def test_other_sounds_silence_and_short_ones_say_nothing() -> None:
    first = recording(1.0, 5.0)
    assert sound_offset(first, RANDOM.normal(0, 1, 5 * RATE)) is None
    assert sound_offset(first, np.zeros(5 * RATE)) is None
    assert sound_offset(first, first[: RATE // 2]) is None


def written(path: Path, samples: np.ndarray | None, delay: float = 0.0) -> Path:
    """A video of black frames with a sound track that begins `delay` seconds after the first frame."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 32
        audio = None if samples is None else container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if samples is not None and audio is not None:
            levels = np.clip(samples * 4000, -32000, 32000).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(levels, "s16", "mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, round(delay * RATE), Fraction(1, RATE)
            container.mux(audio.encode(heard))
            container.mux(audio.encode(None))
    return path


def test_sound_of_videos(tmp_path: Path) -> None:
    one = written(tmp_path / "a.mkv", recording(2.0, 4.0))
    two = written(tmp_path / "b.mkv", recording(1.5, 4.0), 0.2)
    silent = written(tmp_path / "c.mkv", None)
    read = read_sound(two, RATE, 60.0)
    assert read is not None
    np.testing.assert_allclose(read[0][:1000], np.clip(recording(1.5, 4.0)[:1000] * 4000 / 32768, -1, 1), atol=1e-3)
    assert read[1] == pytest.approx(0.2, abs=1e-3)
    part = read_sound(two, RATE, 1.0)
    assert part is not None
    np.testing.assert_array_equal(part[0], read[0][:RATE])
    offsets = offsets_by_sound([one, two, silent, None])
    # An event at 2.5 of the room is at 0.5 of the first and at 1.0 + 0.2 of the second.
    assert offsets[0] == 0.0
    assert offsets[1] == pytest.approx(0.7, abs=0.002)
    assert offsets[2:] == [None, None]
    damaged = tmp_path / "d.mkv"
    damaged.write_bytes(two.read_bytes()[:300])
    assert read_sound(damaged, RATE, 60.0) is None
