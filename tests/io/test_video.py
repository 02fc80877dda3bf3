"""Videos: what is written can be read back; odd sizes, rotation, ranges, damage, a full disk; decoding ahead."""

import errno
import gc
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from helpers.encoded_videos import cut, encode
from helpers.errors import raises
from helpers.patience import PATIENCE

from humanpose_cli.core.blocks import made_ahead
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange, parse_frame_range
from humanpose_cli.io.packets import Packets
from humanpose_cli.io.video import (
    VideoReader,
    VideoWriter,
    check_complete,
    prefetch,
    probe_video,
    video_times,
)

COUNT = 8
CODECS = ("h264", "vp9")


def frame(i: int, height=48, width=64) -> np.ndarray:
    """Red tells the number; green the left half, blue the top half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 20 + 25 * i
    pixels[:, : width // 2, 1] = 200
    pixels[: height // 2, :, 2] = 200
    return pixels


def number_of(pixels: np.ndarray) -> int:
    return round((float(np.median(pixels[-8:, -8:, 0])) - 20) / 25)


def numbers(path, frames=ALL_FRAMES) -> list[int]:
    """Of the frames that are read, by their colours."""
    return [number_of(pixels) for _, pixels in VideoReader(path, frames)]


def write(path, frames=None, rate=25, times=None, **options) -> None:
    with VideoWriter(path, rate, **options) as writer:
        for i, pixels in enumerate(map(frame, range(COUNT)) if frames is None else frames):
            writer.write(pixels, None if times is None else times[i])


def encode_frames(path, codec="libx264", times=range(COUNT), **options) -> None:
    encode(path, map(frame, range(COUNT)), codec, times=times, b="4000000", **options)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "a 'b' ü:1%d.mp4"
    write(path, rate=30000 / 1001)
    return path


def test_round_trip_of_colours_order_and_exact_frame_rate(video):
    reader = VideoReader(video)
    assert (reader.info.size, reader.info.frame_rate, reader.info.frame_count) == ((64, 48), 30000 / 1001, COUNT)
    frames = list(reader)
    assert [index for index, _ in frames] == list(range(COUNT)) == numbers(video)
    for index, pixels in frames:
        assert pixels.shape == (48, 64, 3)
        error = np.abs(pixels.astype(int) - frame(index))
        assert error[2:20, 2:28].max() <= 8  # away from the colour edges, which 4:2:0 softens
        assert np.median(error) <= 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2:5", [2, 3, 4]), ("6:", [6, 7]), (":2", [0, 1]), ("5:99", [5, 6, 7]), ("1:6:2", [1, 3, 5]), ("::3", [0, 3, 6])],
)
def test_ranges_keep_the_numbers_of_the_file(video, text, expected):
    frames = [(index, number_of(pixels)) for index, pixels in VideoReader(video, parse_frame_range(text))]
    assert frames == [(index, index) for index in expected]


def test_a_range_behind_the_end_reports_how_many_frames_there_are(video):
    with raises(InputError, expected="20:", got="about 8 frames"):
        list(VideoReader(video, FrameRange(20)))


@pytest.mark.parametrize(
    "text", [f"{'9' * 5000}:", "5", "5:5", "6:2", "a:b", "-3:-4", "1:2:0", "1:2:-1", "1s:.5s", "-1s:", "s:", ""]
)
def test_what_is_no_range(text):
    with pytest.raises(UsageError):
        parse_frame_range(text)


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_keeps_frames_times_and_colours(tmp_path, codec):
    """In an MP4 whose index comes first, also where the frame rate varies."""
    times = [Fraction(n, 25) for n in (0, 1, 2, 3, 4, 6, 8, 10)]
    write(tmp_path / "x.mp4", times=times, codec=codec)
    with av.open(str(tmp_path / "x.mp4")) as container:
        (stream,) = container.streams
        context = stream.codec_context
        assert (container.format.name, context.codec.canonical_name) == ("mov,mp4,m4a,3gp,3g2,mj2", codec)
        assert (context.pix_fmt, context.colorspace, context.color_range) == ("yuv420p", 1, 1)
    data = (tmp_path / "x.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    frames = list(VideoReader(tmp_path / "x.mp4").frames())
    assert [each.time for each in frames] == times
    assert [number_of(each.pixels) for each in frames] == list(range(COUNT))
    for each in frames:
        assert np.median(np.abs(each.pixels.astype(int) - frame(each.index))) <= 3


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63), (1, 1)])
def test_odd_sizes_grow_by_a_repeated_edge(tmp_path, size, codec):
    write(tmp_path / "x.mp4", [frame(3, *size)], codec=codec)
    ((_, pixels),) = VideoReader(tmp_path / "x.mp4")
    height, width = size
    assert pixels.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(pixels[-1].astype(int) - pixels[height - 1]).max() <= 8


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((0, 1, -1, 0), lambda x: np.rot90(x, 3)),
        ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
        ((1, 0, 0, -1), lambda x: x[::-1]),
        ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
    ],
)
def test_the_display_matrix_is_honoured(video, tmp_path, matrix, upright):
    data = bytearray(video.read_bytes())
    a, b, c, d = matrix
    at = data.index(b"tkhd") + 4 + 40  # ISO 14496-12: 9 numbers, 16.16 and 2.30 fixed point, big-endian
    data[at : at + 36] = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    (tmp_path / "turned.mp4").write_bytes(data)
    reader = VideoReader(tmp_path / "turned.mp4")
    (_, pixels), (_, stored) = next(iter(reader)), next(iter(VideoReader(video)))
    assert pixels.shape == (*reader.info.size[::-1], 3)
    np.testing.assert_array_equal(pixels, upright(stored))


def test_frames_that_were_read_do_not_wait_for_the_garbage_collector(video):
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in VideoReader(video)) == COUNT
        kept = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert kept <= 2


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    encode_frames(tmp_path / "wide.mp4", "libx264", aspect=Fraction(3, 2))
    reader = VideoReader(tmp_path / "wide.mp4")
    assert reader.info.size == (96, 48)
    assert [pixels.shape for _, pixels in reader] == [(48, 96, 3)] * COUNT


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("x.avi", "mjpeg", "yuvj420p"),
        ("x.mkv", "libx264", "yuv420p10le"),
        ("x.webm", "libvpx", "yuv420p"),
        ("x.mov", "libx264", "yuv444p"),
        ("x.mpg", "mpeg2video", "yuv420p"),
    ],
)
def test_other_containers_and_codecs(tmp_path, name, codec, pixel_format):
    encode_frames(tmp_path / name, codec, pixel_format=pixel_format)
    assert numbers(tmp_path / name) == list(range(COUNT))
    assert len(video_times(tmp_path / name)) == COUNT


FILLED = """import sys, numpy as np
from humanpose_cli.io.video import probe_video, VideoWriter
y, x = np.mgrid[:96, :160]
with VideoWriter(sys.argv[1], 10, codec=sys.argv[2]) as writer:
    for n in range(12):
        writer.write(np.stack((3 * x + 5 * n, 2 * y + 3 * n, x + y), -1).astype(np.uint8))
"""


@pytest.mark.extensive
@pytest.mark.parametrize("codec", CODECS)
def test_bytes_do_not_depend_on_what_was_in_memory(tmp_path, codec):
    """glibc fills what it hands out: as memory of a long and busy process is."""
    paths = [tmp_path / f"{value}.mp4" for value in (85, 170)]
    for path in paths:
        environment = os.environ | {"MALLOC_PERTURB_": path.stem}
        subprocess.run([sys.executable, "-c", FILLED, str(path), codec], env=environment, check=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_are_reproducible(tmp_path, codec):
    for name in "ab":
        write(tmp_path / f"{name}.mp4", codec=codec)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


class TestDamage:
    @pytest.mark.parametrize(
        ("content", "found"),
        [(b"", "an empty file"), (b"hello " * 99, "text"), (b"\0\0\0\x20ftypisom" + bytes(400), "FFmpeg says")],
    )
    def test_no_readable_frame(self, tmp_path, content, found):
        (tmp_path / "x.mp4").write_bytes(content)
        with raises(InputError, problem="no readable video frame", got=found) as caught:
            VideoReader(tmp_path / "x.mp4")
        assert "\n" not in str(caught.value)

    def test_a_sound_file_has_no_frame(self, tmp_path):
        with av.open(str(tmp_path / "x.m4a"), "w") as container:
            stream = container.add_stream("aac", rate=8000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 8000
            container.mux([*stream.encode(sound), *stream.encode(None)])
        with raises(InputError, problem="no readable video frame", got="only sound"):
            VideoReader(tmp_path / "x.m4a")

    @pytest.fixture
    def noise(self, tmp_path):
        rng = np.random.default_rng(0)
        write(tmp_path / "x.mp4", rng.integers(0, 256, (20, 64, 64, 3), np.uint8))
        return tmp_path / "x.mp4"

    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_a_truncated_file_is_named_after_its_complete_frames(self, noise, share, capfd):
        with raises(InputError, subject="cut.mp4", problem="" if share == 0.02 else "breaks off after frame"):
            list(VideoReader(cut(noise, share)))
        assert capfd.readouterr() == ("", "")

    def test_the_readable_part_of_a_truncated_file_is_read(self, noise):
        assert [index for index, _ in VideoReader(cut(noise, 0.5), FrameRange(0, 5))] == [0, 1, 2, 3, 4]

    def test_a_truncated_matroska_file_is_named(self, tmp_path):
        """It has no count of frames; its header tells its length."""
        encode_frames(tmp_path / "x.mkv", "libx264", times=range(0, 25 * COUNT, 25))
        assert len(numbers(tmp_path / "x.mkv")) == COUNT
        with pytest.raises(InputError, match=r"breaks off after frame \d, found \d\.0 of \d\.0 seconds"):
            list(VideoReader(cut(tmp_path / "x.mkv", 0.9)))

    def test_lost_frames_keep_their_numbers_and_times(self, tmp_path, caplog):
        """The packet of one frame in the middle is gone: the frame before takes its place."""
        path = tmp_path / "lost.mp4"
        write(path, quality=0)
        with av.open(str(path)) as container:
            packet = next(packet for packet in container.demux(video=0) if packet.pts == 3 * 512)
            at, size = packet.pos, packet.size
        data = path.read_bytes()
        path.write_bytes(data[:at] + bytes(size) + data[at + size :])
        with caplog.at_level(logging.WARNING, "humanpose_cli"):
            frames = list(VideoReader(path).frames())
        assert [(each.index, each.time) for each in frames] == [(i, Fraction(i, 25)) for i in range(COUNT)]
        assert [each.damage for each in frames] == ["", "", "", "lost", *["flawed"] * (COUNT - 4)]
        assert number_of(frames[3].pixels) == 2
        assert "(frames flawed: 4-7; lost: 3)" in caplog.text
        with raises(InputError, subject="lost.mp4", problem="has no undamaged frame", got="damage in all 2"):
            list(VideoReader(path, parse_frame_range("3:5")))
        assert len(numbers(path, parse_frame_range("2:5"))) == 3


@pytest.fixture(scope="module")
def trimmed(video, tmp_path_factory):
    """The video with an edit list that shows frames 2 to 5 alone, as telephones trim clips; the others stay in it."""
    data = bytearray(video.read_bytes())
    at = data.index(b"elst")  # version and flags, number of edits, then length (1000 a second), first time, rate
    first, length = 2 * 1001, round(1000 * 4 * 1001 / 30000)
    assert data[at + 8 : at + 12] == (1).to_bytes(4, "big")
    start = int.from_bytes(data[at + 16 : at + 20], "big")
    tick = _stream_of(video).time_base * 30000
    data[at + 12 : at + 20] = length.to_bytes(4, "big") + round(start + first / tick).to_bytes(4, "big")
    path = tmp_path_factory.mktemp("trimmed") / "trimmed.mp4"
    path.write_bytes(data)
    return path


def _stream_of(path):
    with av.open(f"file:{path}") as container:
        return SimpleNamespace(frames=container.streams.video[0].frames, time_base=container.streams.video[0].time_base)


class TestEditLists:
    def test_what_the_list_shows_is_the_clip(self, trimmed):
        assert _stream_of(trimmed).frames == COUNT
        frames = [(number_of(each.pixels), each.damage) for each in VideoReader(trimmed).frames()]
        assert frames == [(n, "") for n in (2, 3, 4, 5)]
        assert len(video_times(trimmed)) == 4
        check_complete(trimmed)
        with av.open(str(trimmed)) as container:  # whose key frame is not shown
            packets = Packets(container, container.streams.video[0])
            assert [*packets.packets(), packets.is_regular][-1]

    def test_a_trimmed_clip_that_breaks_off_is_named(self, trimmed, tmp_path):
        with av.open(str(trimmed)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size and not packet.is_discard]
        end = packets[-1].pos
        (tmp_path / "cut.mp4").write_bytes(trimmed.read_bytes()[:end])
        for read in (lambda path: list(VideoReader(path)), check_complete):
            with raises(InputError, subject="cut.mp4", problem="breaks off after frame 2", got="3 of 4 frames"):
                read(tmp_path / "cut.mp4")


class TestWriting:
    def test_a_failure_inside_leaves_the_old_file_and_no_process(self, tmp_path):
        (tmp_path / "x.mp4").write_text("old")
        with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "x.mp4", 25) as writer:  # noqa: PT012
            writer.write(frame(0))
            raise KeyboardInterrupt
        assert (tmp_path / "x.mp4").read_text() == "old"
        assert os.listdir(tmp_path) == ["x.mp4"]

    @pytest.mark.parametrize("codec", CODECS)
    @pytest.mark.parametrize(("seconds", "shown"), [(3600, 3600), (86_400, 3600), (0.0005, 0.0005)])
    @pytest.mark.parametrize("has_times", [True, False])
    def test_a_frame_an_hour_and_two_thousand_a_second(self, tmp_path, codec, seconds, shown, has_times):
        shifts = [Fraction(seconds) * i for i in range(COUNT)]
        write(tmp_path / "x.mp4", rate=1 / seconds, times=shifts if has_times else None, codec=codec)
        times = [float(each.time) for each in VideoReader(tmp_path / "x.mp4").frames()]
        assert times == pytest.approx([shown * i for i in range(COUNT)])

    def test_a_long_gap_is_shortened_and_the_rest_keeps_its_times(self, tmp_path):
        jump = [Fraction(time) for time in (0, 1, 100_000, 100_001, 100_003)]
        write(tmp_path / "x.mp4", map(frame, range(5)), rate=1, times=jump)
        times = [each.time for each in VideoReader(tmp_path / "x.mp4").frames()]
        assert times == [0, 1, 3601, 3602, 3604]

    @pytest.mark.parametrize(
        ("frames", "rate"),
        [
            ([], 25),
            *(([np.zeros(shape, kind)], 25) for shape, kind in (((4, 4, 4), "u1"), ((4, 4, 3), "f8"), ((4, 4), "u1"))),
            *(([frame(0)], rate) for rate in (0, -1, 1e6, float("nan"), float("inf"))),
        ],
    )
    def test_no_frame_wrong_frames_and_rates(self, tmp_path, frames, rate):
        with pytest.raises(UsageError):
            write(tmp_path / "x.mp4", frames, rate=rate)
        assert os.listdir(tmp_path) == []

    def test_a_frame_of_another_size_is_scaled_into_the_first_ones(self, tmp_path):
        write(tmp_path / "x.mp4", [frame(0), np.full((96, 64, 3), 255, np.uint8)])
        _, (_, upright) = VideoReader(tmp_path / "x.mp4")
        assert upright.shape == (48, 64, 3)
        assert upright[:, 20:44].min() > 230
        assert max(upright[:, :12].max(), upright[:, -12:].max()) < 25

    def test_unknown_codecs_and_missing_encoders(self, tmp_path, monkeypatch):
        with raises(UsageError, subject="video_codec", expected="h264, vp9", got="av1"):
            VideoWriter(tmp_path / "x.mp4", 25, codec="av1")
        monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libvpx-vp9"})
        with raises(UnavailableError, problem="lacks the encoder libvpx-vp9", remedy="`video_codec=h264`"):
            VideoWriter(tmp_path / "x.mp4", 25, codec="vp9")

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
    def test_the_systems_errors_become_sentences(self, tmp_path, code):
        def full(packets):
            av.error.err_check(-code)

        with (
            raises(UnavailableError, problem="cannot be written"),
            VideoWriter(tmp_path / "out" / "x.mp4", 25) as writer,
        ):
            writer.write(frame(0))
            writer._container = SimpleNamespace(mux=full, close=writer._container.close)
            writer.write(frame(1))
        assert os.listdir(tmp_path / "out") == []


def test_nothing_is_said_on_the_terminal_and_nothing_stays_behind(video, tmp_path, capfd):
    threads = threading.active_count()
    frames = iter(VideoReader(video))
    next(frames)
    frames.close()
    write(tmp_path / "x.mp4")
    assert capfd.readouterr() == ("", "")
    assert threading.active_count() == threads


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    deadline = time.monotonic() + PATIENCE
    while any(thread.name.startswith(("decode-ahead", "make-ahead")) for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("ahead", [1, 7])
@pytest.mark.parametrize("count", [0, 50])
def test_same_items_same_order(ahead, count):
    assert list(prefetch((i for i in range(count)), ahead)) == list(range(count))


@pytest.mark.parametrize(
    ("run", "max_ahead"),
    [(lambda items: prefetch(items, 3), 4), (lambda items: made_ahead(lambda item: item, items, 2), 2)],
)
def test_it_never_runs_further_ahead_than_the_limit(run, max_ahead):
    made = []

    def source():
        for i in range(30):
            made.append(i)
            yield i

    ahead = run(source())
    assert made == []
    for taken in range(1, 11):
        next(ahead)
        time.sleep(0.01)
        assert len(made) <= taken + max_ahead
    ahead.close()


@pytest.mark.parametrize(
    "invert", [lambda items: prefetch(1 / item for item in items), lambda items: made_ahead(lambda i: 1 / i, items, 2)]
)
def test_errors_come_after_the_items_before_them(invert):
    ahead = invert([2, 1, 0, 1])
    assert [next(ahead), next(ahead)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_leaving_early_closes_the_source_and_ends_the_thread():
    closed = threading.Event()

    def endless():
        try:
            yield from itertools.count()
        finally:
            closed.set()

    for _ in prefetch(endless()):
        break
    assert closed.wait(PATIENCE)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_what_threads_make_comes_in_the_order_of_the_items(threads):
    together = threading.Barrier(threads)

    def make(item):
        if item < threads:
            together.wait(PATIENCE)  # as many are made at once as there are threads
        return item

    assert list(made_ahead(make, range(30), threads)) == list(range(30))
    assert list(made_ahead(make, [], threads)) == []


@pytest.mark.parametrize(
    ("text", "rate", "number"),
    [("01:00:00:05", 24000 / 1001, 86405), ("00:01:00;02", 30000 / 1001, 1800), ("00:10:00;00", 30000 / 1001, 17982)],
)
def test_a_time_code_is_named_with_the_number_of_its_frame(caplog, tmp_path, text, rate, number):
    """By SMPTE ST 12-1: 00:01:00;02 follows 00:00:59;29, frame 1799."""
    path = tmp_path / "x.mov"
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.metadata["timecode"] = 64, 48, text
        for packet in (*stream.encode(av.VideoFrame(64, 48, "yuv420p")), *stream.encode()):
            file.mux(packet)
    with caplog.at_level("INFO"):
        probe_video(path)
    assert f"time code {text}: --start-frame {number}" in caplog.text
