"""Videos: what is written can be read back; odd sizes, rotation, ranges, damage, a full disk."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import threading

import imageio_ffmpeg
import numpy as np
import pytest

from humanpose_cli.errors import InputError, UnavailableError, UsageError
from humanpose_cli.io import ffmpeg
from humanpose_cli.io.frame_range import FrameRange, parse_frame_range
from humanpose_cli.io.video import VideoReader, probe_video
from humanpose_cli.io.video_writer import VideoWriter

COUNT = 8


def frame(i: int, height=48, width=64) -> np.ndarray:
    """Red tells the number; green the left half, blue the top half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 20 + 25 * i
    pixels[:, : width // 2, 1] = 200
    pixels[: height // 2, :, 2] = 200
    return pixels


def number_of(pixels: np.ndarray) -> int:
    return round((float(np.median(pixels[-8:, -8:, 0])) - 20) / 25)


def write_all(path, frames) -> None:
    with VideoWriter(path, 25) as writer:
        for pixels in frames:
            writer.write(pixels)


def run_ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "a 'b' ü:1%d.mp4"
    with VideoWriter(path, 30000 / 1001) as writer:
        for i in range(COUNT):
            writer.write(frame(i))
    return path


def test_round_trip_of_colours_order_and_exact_frame_rate(video):
    reader = VideoReader(video)
    assert reader.size == (64, 48)
    assert reader.frame_rate == 30000 / 1001
    assert reader.info.frame_count == COUNT
    frames = list(reader)
    assert [index for index, _ in frames] == list(range(COUNT))
    for index, pixels in frames:
        assert pixels.shape == (48, 64, 3)
        error = np.abs(pixels.astype(int) - frame(index))
        assert error[2:20, 2:28].max() <= 8  # away from the colour edges, which 4:2:0 softens
        assert np.median(error) <= 3
    assert [number_of(pixels) for _, pixels in VideoReader(video)] == list(range(COUNT))


@pytest.mark.parametrize(
    ("text", "expected"), [("2:5", [2, 3, 4]), ("6:", [6, 7]), (":2", [0, 1]), ("5:99", [5, 6, 7])]
)
def test_ranges_keep_the_files_own_numbers(video, text, expected):
    frames = list(VideoReader(video, parse_frame_range(text)))
    assert [index for index, _ in frames] == expected
    assert [number_of(pixels) for _, pixels in frames] == expected


def test_a_range_behind_the_end_says_how_many_frames_there_are(video):
    with pytest.raises(InputError, match=r"20:.*about 8 frames"):
        list(VideoReader(video, FrameRange(20)))


@pytest.mark.parametrize("text", ["5", "5:5", "6:2", "a:b", "-3:4", "1:2:3", ""])
def test_what_is_no_range(text):
    with pytest.raises(UsageError):
        parse_frame_range(text)


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63), (1, 1)])
def test_odd_sizes_grow_by_a_repeated_edge(tmp_path, size):
    with VideoWriter(tmp_path / "x.mp4", 25) as writer:
        writer.write(frame(3, *size))
    ((_, pixels),) = VideoReader(tmp_path / "x.mp4")
    height, width = size
    assert pixels.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(pixels[-1].astype(int) - pixels[height - 1]).max() <= 8


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotation_in_the_metadata_is_honoured(video, tmp_path, degrees, turns):
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", str(degrees), "-i", f"file:{video}", "-c", "copy", str(turned))
    reader = VideoReader(turned)
    _, pixels = next(iter(reader))
    expected = np.rot90(frame(0), turns)
    assert pixels.shape == expected.shape == (reader.size[1], reader.size[0], 3)
    assert np.median(np.abs(pixels.astype(int) - expected)) <= 3
    assert np.abs(pixels[4, 4].astype(int) - expected[4, 4]).max() <= 8
    assert np.abs(pixels[-4, 4].astype(int) - expected[-4, 4]).max() <= 8


def test_pixels_that_are_not_square_are_made_square(video, tmp_path):
    wide = tmp_path / "wide.mp4"
    run_ffmpeg("-i", f"file:{video}", "-vf", "setsar=3/2", str(wide))
    reader = VideoReader(wide)
    assert reader.size == (96, 48)
    assert [pixels.shape for _, pixels in reader] == [(48, 96, 3)] * COUNT


def test_a_varying_frame_rate_gives_every_frame_once_and_the_average_rate(video, tmp_path):
    varying = tmp_path / "v.mp4"
    # The second half at half the pace, without doubling frames.
    run_ffmpeg(
        "-i", f"file:{video}", "-vf", "setpts='if(gte(N,4),(2*N-4),N)/25/TB'", "-fps_mode", "vfr", str(varying)
    )  # fmt: skip
    reader = VideoReader(varying)
    assert [number_of(pixels) for _, pixels in reader] == list(range(COUNT))
    assert 14 < reader.frame_rate < 26  # and not the nominal 29.97


def test_other_containers_and_codecs(video, tmp_path):
    for name, options in [("x.avi", ["-c:v", "mjpeg"]), ("x.mkv", []), ("x.webm", ["-c:v", "libvpx"]), ("x.mov", [])]:
        run_ffmpeg("-i", f"file:{video}", *options, str(tmp_path / name))
        assert len(list(VideoReader(tmp_path / name))) == COUNT


def test_bytes_are_reproducible(tmp_path):
    for name in "ab":
        write_all(tmp_path / f"{name}.mp4", [frame(i) for i in range(5)])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


class TestDamage:
    @pytest.mark.parametrize(
        ("content", "found"),
        [(b"", "an empty file"), (b"hello " * 99, "text"), (b"\0\0\0\x20ftypisom" + bytes(400), "ffmpeg said")],
    )
    def test_no_readable_frame(self, tmp_path, content, found):
        (tmp_path / "x.mp4").write_bytes(content)
        with pytest.raises(InputError, match=found) as caught:
            VideoReader(tmp_path / "x.mp4")
        assert "no readable video frame" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            probe_video(tmp_path / "x.mp4")

    def test_a_sound_file_has_no_frame(self, tmp_path):
        run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(tmp_path / "x.m4a"))
        with pytest.raises(InputError, match=r"no readable video frame.*only sound"):
            VideoReader(tmp_path / "x.m4a")

    def test_a_truncated_file_gives_its_whole_frames_or_a_sentence(self, tmp_path):
        rng = np.random.default_rng(0)
        with VideoWriter(tmp_path / "x.mp4", 25) as writer:
            for _ in range(20):
                writer.write(rng.integers(0, 256, (64, 64, 3), np.uint8))
        data = (tmp_path / "x.mp4").read_bytes()
        for share in (0.02, 0.5, 0.9):
            (tmp_path / "cut.mp4").write_bytes(data[: int(share * len(data))])
            try:
                count = len(list(VideoReader(tmp_path / "cut.mp4")))
            except InputError as error:
                count = -1
                told = str(error)
            assert 1 <= count <= 20 or "cut.mp4" in told


class TestWriting:
    def test_a_failure_inside_leaves_the_old_file_and_no_process(self, tmp_path):
        (tmp_path / "x.mp4").write_text("old")

        def fail():
            with VideoWriter(tmp_path / "x.mp4", 25) as writer:
                writer.write(frame(0))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert (tmp_path / "x.mp4").read_text() == "old"
        assert os.listdir(tmp_path) == ["x.mp4"]

    def test_no_frame_and_wrong_frames(self, tmp_path):
        with pytest.raises(UsageError, match="no frame"), VideoWriter(tmp_path / "x.mp4", 25):
            pass
        for wrong in (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8)):
            with pytest.raises(UsageError, match="cannot take"), VideoWriter(tmp_path / "x.mp4", 25) as writer:
                writer.write(wrong)
        with pytest.raises(UsageError, match="48, 64"):
            write_all(tmp_path / "x.mp4", [frame(0), frame(0, 50, 64)])
        for rate in (0, -1, float("nan"), float("inf")):
            with pytest.raises(UsageError, match="frame rate"):
                VideoWriter(tmp_path / "x.mp4", rate)
        assert os.listdir(tmp_path) == []

    def test_a_real_refused_write(self, tmp_path):
        """The kernel stops ffmpeg, as on a full disk: no process may write more than 4 kB a file."""
        rng = np.random.default_rng(0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(UnavailableError, match="size limit"):
                write_all(tmp_path / "x.mp4", rng.integers(0, 256, (40, 64, 64, 3), np.uint8))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("words", "told"),
        [("av_interleaved_write_frame(): No space left on device", "disk is full"), ("odd trouble", "odd trouble")],
    )
    def test_ffmpegs_own_failures(self, tmp_path, monkeypatch, words, told):
        fake = tmp_path / "ffmpeg"
        fake.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(ffmpeg.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(fake))
        with pytest.raises(UnavailableError, match=told):
            write_all(tmp_path / "out" / "x.mp4", [frame(0)] * 200)
        assert os.listdir(tmp_path / "out") == []

    def test_without_ffmpeg(self, tmp_path, monkeypatch, video):
        def missing():
            raise RuntimeError("No ffmpeg exe could be found.")

        monkeypatch.setattr(ffmpeg.imageio_ffmpeg, "get_ffmpeg_exe", missing)
        with pytest.raises(UnavailableError, match="imageio-ffmpeg"), VideoWriter(tmp_path / "x.mp4", 25) as writer:
            writer.write(frame(0))
        with pytest.raises(UnavailableError, match="imageio-ffmpeg"):
            VideoReader(video)
        monkeypatch.setattr(ffmpeg.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "gone"))
        with pytest.raises(UnavailableError, match="imageio-ffmpeg"):
            VideoReader(video)


def test_nothing_is_said_on_the_terminal_and_nothing_stays_behind(video, tmp_path, capfd):
    threads = threading.active_count()
    frames = iter(VideoReader(video))
    next(frames)
    frames.close()
    with VideoWriter(tmp_path / "x.mp4", 25) as writer:
        writer.write(frame(0))
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")
    assert threading.active_count() == threads


def test_the_terminals_interrupt_does_not_reach_ffmpeg():
    process = ffmpeg.start_ffmpeg(["-f", "lavfi", "-i", "testsrc=rate=1000", "-f", "null", "-"])
    try:
        inner = process._process
        assert os.getpgid(inner.pid) != os.getpgid(0)
        assert inner.poll() is None
    finally:
        process.stop()
        process.stop()
    assert inner.returncode == -signal.SIGKILL
