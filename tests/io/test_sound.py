"""Sound that a video takes over from another: copied or encoded, from the first frame on, in time."""

from fractions import Fraction

import av
import numpy as np
import pytest

from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.video import VideoReader, VideoWriter

RATE = 16000
CLICKS = (0.25, 1.0, 1.75)  # seconds
STEADY = tuple(Fraction(n, 10) for n in range(20))
VARYING = tuple(Fraction(n, 20) for n in (*range(10), *range(10, 40, 3)))  # 20 frames a second, then 7


def video_with_sound(path, codec="aac", times=STEADY) -> None:
    """Dark frames at the given times, and two seconds of silence with clicks."""
    wave = np.zeros(2 * RATE, np.float32)
    for at in CLICKS:
        wave[int(at * RATE) :][:160] = np.sin(np.arange(160))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(codec, rate=RATE, layout="mono")
        sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
        container.mux([*audio.encode(sound), *audio.encode(None)])
        for at in times:
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            image.pts, image.time_base = round(at * 1000), Fraction(1, 1000)
            container.mux(video.encode(image))
        container.mux(video.encode(None))


def taken_over(source, path, frames=ALL_FRAMES, codec="h264"):
    """The video again, frame by frame and with its sound."""
    reader = VideoReader(source, frames)
    with VideoWriter(path, reader.info.frame_rate, sound=source, codec=codec) as writer:
        for frame in reader.frames():
            writer.write(frame.pixels, frame.time)
    return path


def times_of(path) -> list[Fraction]:
    return [frame.time for frame in VideoReader(path).frames()]


def packets_of(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def clicks_of(path) -> tuple[str, list[float]]:
    """The codec of a video's sound, and when its clicks come, in seconds from the first frame on."""
    first = times_of(path)[0]
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        wave = np.abs(np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(float))
        loud = np.flatnonzero(wave > 0.3 * wave.max())
        starts = loud[np.insert(np.diff(loud) > RATE // 10, 0, True)]
        return stream.codec_context.codec.canonical_name, [frames[0].time - first + start / RATE for start in starts]


@pytest.mark.parametrize(
    ("name", "codec", "becomes"),
    [("x.mp4", "aac", "aac"), ("x.ts", "aac", "aac"), ("x.mkv", "pcm_s16le", "aac"), ("x.mkv", "libmp3lame", "mp3")],
)
def test_sound_stays_in_time_whatever_the_container(tmp_path, name, codec, becomes):
    video_with_sound(tmp_path / name, codec)
    codec_name, clicks = clicks_of(taken_over(tmp_path / name, tmp_path / "out.mp4"))
    assert codec_name == becomes
    assert clicks == pytest.approx(clicks_of(tmp_path / name)[1], abs=0.01)
    assert clicks == pytest.approx(CLICKS, abs=0.15)  # encoders differ in their delay


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "aac"), ("x.mkv", "pcm_s16le")])
def test_a_range_has_the_sound_of_its_frames(tmp_path, name, codec):
    video_with_sound(tmp_path / name, codec)
    _, clicks = clicks_of(taken_over(tmp_path / name, tmp_path / "out.mp4", FrameRange(8, 15)))
    assert clicks == pytest.approx([CLICKS[1] - 0.8], abs=0.02)


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_frames_of_a_varying_rate_keep_their_times_and_the_sound_with_them(tmp_path, codec):
    video_with_sound(tmp_path / "x.mp4", times=VARYING)
    taken_over(tmp_path / "x.mp4", tmp_path / "out.mp4", FrameRange(5), codec)
    assert times_of(tmp_path / "out.mp4") == [time - VARYING[5] for time in VARYING[5:]]
    assert clicks_of(tmp_path / "out.mp4")[1] == pytest.approx([at - 0.25 for at in CLICKS], abs=0.02)


def test_frames_with_a_clock_that_goes_back_follow_each_other(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 10) as writer:
        for time in (5, 6, 4, 7):
            writer.write(np.zeros((32, 32, 3), np.uint8), Fraction(time))
    times = times_of(tmp_path / "x.mp4")
    assert len(times) == 4
    assert times == sorted(set(times))


def test_a_video_without_sound_gives_none(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 10) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    with av.open(str(taken_over(tmp_path / "x.mp4", tmp_path / "out.mp4"))) as container:
        assert len(container.streams) == 1


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "aac"), ("x.mkv", "pcm_s16le")])
def test_vp9_has_the_same_sound_and_bytes_are_reproducible(tmp_path, name, codec):
    """Copied where it is AAC, else encoded; both into an MP4."""
    video_with_sound(tmp_path / name, codec)
    outputs = {"1.mp4": "h264", "2.mp4": "h264", "vp9.mp4": "vp9"}
    one, same, other = (taken_over(tmp_path / name, tmp_path / out, codec=made) for out, made in outputs.items())
    assert one.read_bytes() == same.read_bytes()
    assert packets_of(one) == packets_of(other) != []
    assert codec != "aac" or packets_of(one) == packets_of(tmp_path / name)
    assert times_of(one) == times_of(other) == list(STEADY)
