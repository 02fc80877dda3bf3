"""What the packets of a video tell: its frame rate, how many frames it has, and whether its end is missing."""

from contextlib import suppress
from fractions import Fraction
from itertools import accumulate

import av
import numpy as np
import pytest
from helpers import encoded_videos
from helpers.encoded_videos import cut
from helpers.errors import raises
from helpers.extensive import extensive

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.frame_range import parse_frame_range
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoReader, check_complete, probe_video, video_range, video_times

MILLISECOND = Fraction(1, 1000)
CODECS = {".webm": "libvpx", ".wmv": "wmv2", ".flv": "flv", ".avi": "mpeg4", ".mxf": "mpeg2video"}
THIRTIETHS = [round(1000 * i / 30) for i in range(48)]  # ms, as most recorders count
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def encode(path, times, *, codec=None, **options) -> None:
    """Frame i moved by 2 i pixels."""
    images = (np.roll(NOISE, 2 * i, 1) for i in range(len(times)))
    codec = codec or CODECS.get(path.suffix, "libx264")
    encoded_videos.encode(path, images, codec, times=times, **{"unit": MILLISECOND, **options})


def remux(source, path, times, *, duration=0, last=0) -> None:
    """The packets of a video at other times, each said to last `duration` milliseconds, the last one `last`."""
    with av.open(str(source)) as before, av.open(str(path), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(before.demux(video=0)):
            if packet.size:
                packet.time_base, packet.pts, packet.dts = MILLISECOND, times[number], times[number]
                packet.duration, packet.stream = (last if number == len(times) - 1 else duration), stream
                after.mux(packet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packets")
    encode(folder / "x.webm", THIRTIETHS)
    encode(folder / "x.mkv", THIRTIETHS, bf="0")
    return folder


class TestRate:
    @pytest.mark.parametrize(("suffix", "duration"), [(".webm", 1), (".mkv", 1), (".mkv", 16), (".webm", 0)])
    def test_times_beat_the_duration_in_the_header(self, folder, tmp_path, suffix, duration):
        remux(folder / f"x{suffix}", tmp_path / f"y{suffix}", THIRTIETHS, duration=duration)
        (item,) = open_inputs([tmp_path])
        assert (item.frame_rate, item.frame_count) == (30, 48)
        assert [frame.time for frame in item.frames()][-1] == Fraction(1567, 1000)

    @pytest.mark.extensive
    @pytest.mark.parametrize("suffix", [".flv", ".wmv", ".ts", ".mp4", ".mkv"])
    def test_times_beat_the_rate_in_the_header(self, tmp_path, suffix):
        encode(tmp_path / f"x{suffix}", THIRTIETHS, rate=60)
        assert probe_video(tmp_path / f"x{suffix}").frame_rate == 30

    @pytest.mark.extensive
    @pytest.mark.parametrize("rate", [24, Fraction(30000, 1001), 50, Fraction(60000, 1001)])
    def test_rounded_times_give_the_exact_rate(self, tmp_path, rate):
        encode(tmp_path / "x.mkv", [round(1000 * i / rate) for i in range(240)], rate=rate + 1)
        assert probe_video(tmp_path / "x.mkv").frame_rate == float(rate)

    @pytest.mark.parametrize("suffix", [".webm", ".mkv", ".mp4", ".wmv"])
    def test_a_varying_rate_is_the_mean(self, tmp_path, suffix):
        times = list(accumulate([0, *[33] * 20, *[100] * 10, 500, *[20] * 16]))
        encode(tmp_path / f"x{suffix}", times)
        assert probe_video(tmp_path / f"x{suffix}").frame_rate == pytest.approx(47 / (times[-1] / 1000))
        assert sum(1 for _ in VideoReader(tmp_path / f"x{suffix}")) == 48

    def test_two_frames_at_one_time_and_times_below_zero(self, folder, tmp_path):
        times = [*THIRTIETHS[:9], THIRTIETHS[8], *THIRTIETHS[10:]]
        remux(folder / "x.mkv", tmp_path / "equal.mkv", times)
        encode(tmp_path / "below.mkv", [time - 1000 for time in THIRTIETHS], bf="0")
        for name in ("equal.mkv", "below.mkv"):
            assert probe_video(tmp_path / name).frame_rate == 30
            assert len(list(VideoReader(tmp_path / name))) == len(video_times(tmp_path / name)) == 48

    def test_without_a_clock_the_header_decides(self, folder, tmp_path):
        """One frame, all frames at one time, and a clock that begins again where two recordings were joined."""
        encode(tmp_path / "one.webm", [0])
        remux(folder / "x.mkv", tmp_path / "stopped.mkv", [5] * 48)
        encode(tmp_path / "x.ts", [3000 * i for i in range(24)], unit=Fraction(1, 90000), rate=30)
        (tmp_path / "joined.ts").write_bytes(2 * (tmp_path / "x.ts").read_bytes())
        rates = [probe_video(tmp_path / name).frame_rate for name in ("one.webm", "stopped.mkv", "joined.ts")]
        assert rates == [25, 25, 30]
        assert video_times(tmp_path / "joined.ts") == pytest.approx([i / 30 for i in range(48)])

    @pytest.fixture
    def counted(self, monkeypatch):
        """The times of packets that were read."""
        times = []
        monkeypatch.setattr("humanpose_cli.io.packets.heapq.heappush", lambda _, time: times.append(time))
        return times

    @pytest.mark.extensive
    @pytest.mark.parametrize(("shown", "read"), [(25, 1000), (20, 1200)])
    def test_a_long_video_is_read_to_its_end_only_if_its_beginning_contradicts_the_header(
        self, tmp_path, counted, shown, read
    ):
        # The gaps that B-frames leave at the end of what was read are no contradiction.
        encode(tmp_path / "x.mkv", [round(1000 * i / shown) for i in range(1200)], preset="veryfast", bf="3")
        assert (probe_video(tmp_path / "x.mkv").frame_rate, len(counted)) == (shown, read)

    @pytest.mark.extensive
    @pytest.mark.parametrize("last", [0, 60_000])
    def test_a_long_mp4_is_not_read(self, tmp_path, counted, last):
        """Its index has all times. The last frame may last a minute, which changes the rate in the header."""
        times = [40 * i for i in range(1001)]
        encode(tmp_path / "x.mkv", times, preset="ultrafast")
        remux(tmp_path / "x.mkv", tmp_path / "x.mp4", times, last=last)
        assert (probe_video(tmp_path / "x.mp4").frame_rate, len(counted) < 100) == (25, True)


@pytest.fixture(scope="module")
def begun_late(folder):
    """A transport stream without its first 5 frames, so that 15 come before the first key frame."""
    options = {"g": "20", "sc_threshold": "0", "x264-params": "open-gop=0"}
    encode(folder / "x.ts", [3000 * i for i in range(60)], unit=Fraction(1, 90000), rate=30, **options)
    with av.open(str(folder / "x.ts")) as file:
        start = [packet.pos for packet in file.demux(video=0) if packet.size][5]
    (folder / "late.ts").write_bytes((folder / "x.ts").read_bytes()[start:])
    return folder / "late.ts"


class TestCount:
    def test_frames_before_the_first_key_frame_do_not_count(self, begun_late):
        assert len(list(VideoReader(begun_late))) == len(video_times(begun_late)) == 40
        assert probe_video(begun_late).frame_count == 40

    @pytest.mark.parametrize(("text", "expected"), [("-10:", (30, 10)), ("0.5s:", (15, 25)), ("-5:-3", (35, 2))])
    def test_ranges_count_the_frames_that_there_are(self, begun_late, text, expected):
        (item,) = open_inputs([begun_late], frames=parse_frame_range(text))
        numbers = [frame.index for frame in item.frames()]
        assert (numbers[0], len(numbers)) == expected

    @pytest.mark.extensive
    @pytest.mark.parametrize("share", [0.3, 0.47, 0.62, 0.81, 0.97])
    @pytest.mark.parametrize("suffix", [".ts", ".flv"])
    def test_an_end_that_is_cut(self, tmp_path, suffix, share):
        encode(tmp_path / f"x{suffix}", [40 * i for i in range(60)])
        path, numbers = cut(tmp_path / f"x{suffix}", share), []
        with suppress(InputError):  # of the formats that state their length
            numbers.extend(number for number, _ in VideoReader(path))
        assert video_range(path, parse_frame_range("-3:")).start == max(0, len(numbers) - 3)
        assert probe_video(path).frame_rate == 25  # B-frames before the last one are missing

    def test_the_last_frame_takes_no_others_with_it(self, tmp_path):
        """Where several threads decode, those before a truncated one are not given out."""
        encode(tmp_path / "x.flv", [40 * i for i in range(60)], codec="libx264")
        path = cut(tmp_path / "x.flv", 0.97)
        with av.open(str(path)) as file:
            packets = [packet for packet in file.demux(video=0) if packet.size]
        assert packets[-1].is_corrupt
        frames = list(VideoReader(path).frames())
        assert (len(frames), frames[-1].damage) == (len(packets), "lost")

    def test_frames_of_vp8_that_are_never_shown_do_not_count(self, folder, tmp_path):
        """The encoder's alternative references; here one frame is made such a one."""
        with av.open(str(folder / "x.webm")) as before, av.open(str(tmp_path / "y.webm"), "w") as after:
            stream = after.add_stream_from_template(before.streams.video[0])
            for number, packet in enumerate(before.demux(video=0)):
                if packet.size:
                    data = bytearray(bytes(packet))
                    data[0] &= ~0x10 if number == 7 else 0xFF
                    hidden = av.Packet(bytes(data))
                    hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
                    hidden.is_keyframe, hidden.stream = packet.is_keyframe, stream
                    after.mux(hidden)
        assert len(list(VideoReader(tmp_path / "y.webm"))) == len(video_times(tmp_path / "y.webm")) == 47


class TestMissingEnd:
    @pytest.mark.parametrize(
        ("suffix", "share", "options"),
        [
            (".avi", 0.95, {}),
            (".mp4", 0.9, {"container": (None, {"movflags": "frag_keyframe+empty_moov"}), "g": "12"}),
            *extensive(*((suffix, 0.5, {}) for suffix in (".avi", ".wmv", ".mxf", ".mkv", ".flv"))),
        ],
    )
    def test_what_the_header_promises_is_missed(self, tmp_path, suffix, share, options):
        path = tmp_path / f"x{suffix}"
        encode(path, range(60), unit=Fraction(1, 25), **options)
        check_complete(path)
        assert len(list(VideoReader(path))) == len(video_times(path)) == 60
        part = cut(path, share)
        for read in (check_complete, lambda path: list(VideoReader(path))):
            with raises(InputError, subject=part.name, problem="breaks off after frame", got=" of "):
                read(part)

    def test_an_avi_without_the_frames_that_its_index_names(self, tmp_path):
        """Cut in the middle, with its index at the new end, as tools that mend headers leave it."""
        path = tmp_path / "x.avi"
        encode(path, range(60), unit=Fraction(1, 25))
        content = path.read_bytes()
        short = bytearray(content[: len(content) // 2] + content[content.rindex(b"idx1") :])
        short[4:8] = (len(short) - 8).to_bytes(4, "little")
        path.write_bytes(short)
        with raises(InputError, subject="x.avi", problem="breaks off"):
            list(VideoReader(path))
