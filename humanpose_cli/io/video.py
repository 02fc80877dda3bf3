"""Reading and writing of videos through PyAV, with one frame in memory at a time.

imageio's plugin for PyAV is not used: it drops the display matrix, the pixel aspect and marks of damage, and has no
encoder options (quality, threads).
"""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import av
import numpy as np
from av.video.reformatter import ColorRange

from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.files.notes import note_once
from humanpose_cli.files.sniffing import file_kind, reading
from humanpose_cli.io.containers import open_container, stated_seconds, video_streams
from humanpose_cli.io.frame_conversion import (
    IMAGE_CODECS,
    ImageConverter,
    deinterlaced,
    display_matrix,
    fitted_into,
    square_size,
)
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.packets import Damage, Decoded, Packets, mean_rate
from humanpose_cli.io.sound import Sound
from humanpose_cli.outputs.atomic import atomic_path

VIDEO_SUFFIXES = frozenset(
    [
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"),
        *(".3gp", ".3g2", ".mts", ".m2ts", ".m2t", ".ts", ".ogv", ".ogm", ".mxf", ".vob", ".mod", ".tod", ".dv"),
        *(".asf", ".f4v", ".qt", ".divx", ".m2v", ".m1v", ".mpv", ".ivf", ".y4m", ".mjpeg", ".mjpg"),
        *(".h264", ".264", ".avc", ".h265", ".265", ".hevc"),
    ]
)
"""Suffixes of videos, in lower case."""

_WITHOUT_TIMES = frozenset({"h264", "hevc", "mjpeg", "m4v", "mpegvideo"})  # FFmpeg's names of streams without times
_PROBED_FRAMES, _PROBED_BYTES = 1000, 1 << 26  # beginning of a video that is compared with the rate in the header
_RATE_TOLERANCE = 0.002  # relative
_MAX_RATE = 1000.0
_ENCODER_THREADS = 4  # for any number of cores: bytes depend on it
_TICKS = 240_000  # a second, if frames have times: whole for 24, 25, 30, 60 Hz and 1000/1001 of them
_SLOW_TICKS = 1000  # a second, below one frame a second: encoders count in 32 bits
_FASTEST = 100_000  # frames a second, as in fit files
_LONGEST = 3600  # seconds, maximum time of a frame

VideoCodec = Literal["h264", "vp9"]
"""Codecs of written videos: h264 by x264 (GPL), vp9 by libvpx (BSD licence)."""
_ENCODERS: dict[VideoCodec, str] = {"h264": "libx264", "vp9": "libvpx-vp9"}  # FFmpeg's names

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """Size and rate of a video.

    Attributes:
        size: Width and height in pixels as displayed: after the rotation in its metadata, with square pixels.
        frame_rate: Frames per second; the average if the rate varies.
        frame_count: Number of frames from the container's index or its duration; None if both are unknown.
        has_rate: Whether the file holds times; otherwise the rate is from the encoder's header, or 25.
    """

    size: tuple[int, int]
    frame_rate: float
    frame_count: int | None
    has_rate: bool = True


@contextmanager
def _opened(path: Path, threads: int = 0) -> Iterator[tuple[Any, Any]]:
    """Open the container and its largest video stream. Raises InputError if there is none."""
    file_kind(path)  # raises specific errors for missing and forbidden files
    try:
        container = open_container(path)
    except av.FFmpegError as error:
        raise _no_frame(path, error.strerror or "") from error
    with container:
        streams = video_streams(container)
        if not streams:
            is_film = any(not stream.codec_context for stream in container.streams.video)
            raise _no_frame(path, "a codec that is not known" if is_film else "no image in it, only sound or text")
        if len(streams) > 1 and streams[1].frames != 1:  # others are posters
            size = f"{streams[0].width} × {streams[0].height}"
            note_once(path, f"{len(streams)} video streams; the largest is used, {size}")
        streams[0].thread_type = "AUTO"
        streams[0].codec_context.thread_count = threads
        yield container, streams[0]


def _no_frame(path: Path, reason: str) -> InputError:
    kind = file_kind(path)
    if kind == "an image":
        problem = f"is an animated {path.suffix[1:].upper()} image that cannot be read"
        return InputError(path, problem, got=f"FFmpeg says: {reason}", remedy="convert it to GIF, PNG or MP4")
    got = (reason if reason.startswith("no image") else f"FFmpeg says: {reason}") if kind == "a video" else kind
    return InputError(path, "has no readable video frame", got=got, remedy="copy it again or convert it to MP4")


def probe_video(path: Path | str) -> VideoInfo:
    """Determine size and frame rate of a video. Raises InputError if there is no readable frame.

    It decodes one frame and reads packets; in a long video it reads all of them only if the first ones contradict the
    header.
    """
    with reading(path):
        about = os.stat(path)
    return _probe(Path(path), about.st_ino, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=1000)
def _probe(path: Path, *_version: int) -> VideoInfo:
    with _opened(path, threads=1) as (container, stream):
        packets = Packets(container, stream)
        first = next(packets.decoded(), None)
        if first is None:
            raise _no_frame(path, packets.end_missing() or "no frame could be decoded")
        width, height = square_size(first.frame, stream)
        size = (height, width) if display_matrix(first.frame)[0, 0] == 0 else (width, height)
        has_rate = container.format.name not in _WITHOUT_TIMES
        # FFmpeg assumes 25 for streams without times and ignores the encoder's header.
        header = _stated_rates(stream) if has_rate else [float(stream.codec_context.framerate or 25)]
        _note_timecode(path, {**container.metadata, **stream.metadata}.get("timecode", ""), header[0])
        rate, is_complete = header[0], False
        if has_rate and not first.frame.interlaced_frame:  # fields of interlaced frames may be separate packets
            rate, is_complete = _measured_rate(packets, stream, header)
        if is_complete:  # packets before the first frame that can be decoded do not count
            start: Any = first.pts
            return VideoInfo(size, rate, sum(None in (time, start) or time >= start for time in packets.times))
        seconds = stated_seconds(container)
        # The index counts frames that an edit list hides, the duration a longer sound track: the lower is nearer.
        counts = [stream.frames or None, max(1, round(seconds * rate)) if seconds > 0 else None]
        return VideoInfo(size, rate, min((count for count in counts if count), default=None), has_rate)


def _note_timecode(path: Path, text: str, rate: float) -> None:
    """Say what a video's time code is, and the number of its first frame by it."""
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", text)
    if match is None:
        return
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    minutes += 60 * hours
    number = (60 * minutes + seconds) * round(rate) + frames
    if match[4] != ":":  # drop-frame: each minute but each tenth leaves out numbers (SMPTE ST 12-1)
        number -= round(rate / 15) * (minutes - minutes // 10)
    note_once(path, f"time code {text}: --start-frame {number} numbers the frames by it")


def _measured_rate(packets: Packets, stream: Any, header: Sequence[float]) -> tuple[float, bool]:
    """Return frames per second by the packets' times, and whether all packets have been read."""
    is_long = stream.frames > _PROBED_FRAMES or stream.container.size > _PROBED_BYTES
    if is_long and len(stream.index_entries) >= stream.frames > 1:  # nothing needs to be read
        index = [entry.timestamp for entry in stream.index_entries if not entry.is_discard]
        return mean_rate([index], float(stream.time_base), header) or header[0], False
    byte_count = 0
    source = packets.packets()
    for packet in source:
        byte_count += packet.size
        if len(packets.times) >= _PROBED_FRAMES or byte_count >= _PROBED_BYTES:
            if abs((packets.frame_rate(header) or header[0]) / header[0] - 1) < _RATE_TOLERANCE:
                return header[0], False
            break
    deque(source, maxlen=0)
    return packets.frame_rate(header) or header[0], True


def _stated_rates(stream: Any) -> list[float]:
    """List the rates in a header, the likeliest first."""
    if stream.codec_context.name in IMAGE_CODECS:  # FFmpeg derives rates from the first frames
        return [25.0]
    nominal, average = float(stream.guessed_rate or 0), float(stream.average_rate or 0)
    if abs(nominal - average) >= 0.006 + 0.001 * average:
        nominal, average = average, nominal
    # FFmpeg reports clocks of a thousand and more ticks a second as rates if the header has no rate.
    return [rate for rate in (nominal, average) if 0 < rate < _MAX_RATE] or [25.0]


def video_times(path: Path) -> list[float]:
    """List the times of a video's frames in seconds from the first on. Raises InputError if there is no frame.

    They come from the packets, or from decoded frames if some packets do not become frames: before the first key frame
    and at a damaged end.
    """
    rate = probe_video(path).frame_rate
    with _opened(path) as (container, stream):
        packets = Packets(container, stream)
        deque(packets.packets(), maxlen=0)
        times, unit = packets.times, stream.time_base
    if packets.is_regular:
        clock: list[Any] = sorted(times, key=float)  # packets come in the order of decoding
    else:
        with _opened(path) as (container, stream):
            clock = [decoded.pts for decoded in Packets(container, stream).decoded()]
    if None in clock or clock != sorted(clock):
        return [index / rate for index in range(len(clock))]
    return [float((time - clock[0]) * unit) for time in clock]


def video_range(path: Path, frames: FrameRange) -> FrameRange:
    """Resolve a range of a video's frames; packets are read if their times or their count are needed."""
    if frames.is_resolved:
        return frames
    times = video_times(path)
    return frames.resolved(len(times), times=times)


def check_complete(path: Path | str, frames: FrameRange = ALL_FRAMES) -> None:
    """Raise InputError if a video breaks off before the last of these frames; packets are not decoded."""
    path = Path(path)
    with _opened(path, threads=1) as (container, stream):
        packets = Packets(container, stream)
        deque(packets.packets(), maxlen=0)
        reason = packets.end_missing()
    if reason and (frames.stop is None or len(packets.times) < frames.stop):
        raise _breaks_off(path, frames, len(packets.times), reason)


def _breaks_off(path: Path, frames: FrameRange, count: int, reason: str) -> InputError:
    remedy = f"copy it again, or take the readable part with `frames={frames.start}:{count}`"
    return InputError(path, f"breaks off after frame {count - 1}", got=reason, remedy=remedy)


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame of a video.

    Attributes:
        index: Index from the file's first frame.
        pixels: (H, W, 3) uint8, RGB. The converted frame.
        time: Time in seconds on the file's clock; None if unknown.
        damage: Damage of the frame.
    """

    index: int
    pixels: np.ndarray
    time: Fraction | None
    damage: Damage


class VideoReader:
    """Iterates over the frames of a video as (index, (H, W, 3) uint8 RGB).

    Every frame of the file comes once; none is doubled or dropped for timing. Indices count from the file's first
    frame, also with a range. Frames are deinterlaced and converted (`ImageConverter`). Damaged frames keep their
    numbers (see `Damage`) and are listed in the log. If a file breaks off or has no undamaged frame, InputError is
    raised after its last frame.

    Args:
        path: The video.
        frames: The frames to read, a resolved range.
        threads: Threads of the decoder; 0 lets the decoder choose.

    Raises:
        InputError: If there is no readable frame.
    """

    def __init__(self, path: Path | str, frames: FrameRange = ALL_FRAMES, *, threads: int = 0) -> None:
        self.path = Path(path)
        self.range = frames
        self._threads = threads
        self.info = probe_video(self.path)

    def __iter__(self) -> Generator[tuple[int, np.ndarray], None, None]:
        with closing(self.frames()) as frames:
            yield from ((frame.index, frame.pixels) for frame in frames)

    def frames(self) -> Generator[VideoFrame, None, None]:
        """Yield the frames with their times and damage; close it to stop early."""
        frame_count = 0
        frames_by_damage: dict[Damage, list[int]] = {"flawed": [], "lost": []}
        converter = ImageConverter(self.path, self.info.size)
        try:
            with closing(self._decode()) as source:
                for index, decoded in islice(enumerate(source), self.range.start, self.range.stop, self.range.step):
                    if decoded.damage:
                        frames_by_damage[decoded.damage].append(index)
                    pixels = converter.pixels(decoded, index)
                    time = None if decoded.pts is None else decoded.pts * decoded.stream.time_base
                    yield VideoFrame(index, pixels, time, decoded.damage)
                    frame_count += 1
        except av.FFmpegError as error:  # a damaged header names colours that do not exist
            raise _no_frame(self.path, error.strerror or "") from error
        finally:
            phrases = [f"{damage}: {frame_list(frames)}" for damage, frames in frames_by_damage.items() if frames]
            if phrases:
                text = "%s: damaged in part (frames %s), all other frames are used"
                _log.warning(text, self.path, "; ".join(phrases))
        if not frame_count:
            count = f"about {self.info.frame_count} frames" if self.info.frame_count else "fewer frames"
            raise InputError(self.path, "has no frame in the range", expected=f"frames {self.range}", got=count)
        if frame_count == sum(map(len, frames_by_damage.values())):
            got = f"damage in {'the only one' if frame_count == 1 else f'all {frame_count}'}"
            raise InputError(self.path, "has no undamaged frame", got=got, remedy="copy or download it again")

    def _decode(self) -> Generator[Decoded, None, None]:
        """Yield frames in the order of time. Raises InputError after the last if the end of the file is missing."""
        count = 0
        with _opened(self.path, self._threads) as (container, stream):
            packets = Packets(container, stream)
            # Within the open container: a closed stream has no time base, and frames come one frame later.
            for frame in deinterlaced(self.path, packets.decoded()):
                count += 1
                yield frame
            reason = packets.end_missing()
        if not count:
            raise _no_frame(self.path, reason or "no frame could be decoded")
        if reason:
            raise _breaks_off(self.path, self.range, count, reason)


def frame_list(frames: Sequence[int]) -> str:
    """Write ascending numbers as text: "3-5, 9"."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and runs[-1][1] == frame - 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def prefetch(source: Generator[T, None, None], ahead: int = 2) -> Generator[T, None, None]:
    """Yield the items of `source` in order, made in a thread, with at most `ahead` items waiting.

    An exception of the source is raised here, after the items before it. Closing the generator ends the thread and
    closes the source. The thread starts with the first request.
    """
    end = object()
    with closing(source), ThreadPoolExecutor(1, thread_name_prefix="decode-ahead") as pool:
        waiting = deque(pool.submit(next, source, end) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, source, end))
                yield cast(T, item)
        finally:
            pool.shutdown(cancel_futures=True)


def _available_encoder(path: Path, codec: VideoCodec) -> str:
    """Return FFmpeg's name of an encoder. Raises UsageError if the codec is unknown, UnavailableError if missing."""
    if codec not in _ENCODERS:
        raise UsageError("video_codec", "is not known", expected=", ".join(_ENCODERS), got=str(codec))
    available = [name for name, encoder in _ENCODERS.items() if encoder in av.codecs_available]
    if codec not in available:
        problem = f"the video could not be written: FFmpeg lacks the encoder {_ENCODERS[codec]}"
        remedy = " or ".join(f"`video_codec={name}`" for name in available) or "see hpc doctor"
        raise UnavailableError(path, problem, remedy=remedy)
    return _ENCODERS[codec]


def _encoder_options(codec: VideoCodec, quality: int) -> dict[str, str]:
    if codec == "vp9":
        # Constant quality needs b = 0. The deadline "good" takes four times as long and makes files half as large.
        # VP9's factors end at 63, H.264's at 51.
        return {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": str(round(quality * 63 / 51))}
    # Slower presets use x264's macroblock tree, which reads uninitialised memory if a row has not a multiple of 8
    # blocks: equal frames became other bytes on a busy machine. "veryfast" without it, of the same error, writes files
    # smaller by 5 to 15 % and takes 1.6 times as long. Fixed B-frames cost 1 % of size and save more time.
    return {"preset": "superfast", "crf": str(quality), "x264-params": "b-adapt=0"}


class VideoWriter:
    """A context manager that encodes frames and leaves an MP4 (4:2:0, BT.709) on a clean exit; otherwise nothing.

    4:2:0 needs even sizes: an odd width or height is extended by its last column or row, so that no pixel moves.
    Frames with times keep their distances, up to an hour: if a video's rate varies, its sound stays in time. Equal
    frames give equal bytes for any number of cores.

    Args:
        path: The file.
        frame_rate: Frames per second; the average if frames have times.
        sound: A video with the sound to copy, from the time of the first frame to the end of the last; None for none.
        quality: Constant rate factor of H.264, 0 (best) to 51; VP9 uses the same share of its range.
        codec: The codec. Browsers, phones and editing programs all read h264; many editing programs do not read vp9.

    Raises:
        UsageError: If the rate or the codec cannot be used.
        UnavailableError: If FFmpeg lacks the encoder.
    """

    def __init__(
        self,
        path: Path | str,
        frame_rate: float,
        *,
        sound: Path | None = None,
        quality: int = 23,
        codec: VideoCodec = "h264",
    ) -> None:
        self.path = Path(path)
        if not 0 < frame_rate <= _FASTEST:
            expected = f"more than 0 and at most {_FASTEST} a second"
            raise UsageError("frame rate", "is unusable", expected=expected, got=str(frame_rate))
        self.frame_count = 0
        self._rate = max(Fraction(frame_rate).limit_denominator(_LONGEST), Fraction(1, _LONGEST))
        self._ticks = _TICKS if frame_rate >= 1 else _SLOW_TICKS
        self._sound_path = sound
        self._sound: Sound | None = None
        self._start: Fraction | None = None
        self._pts = -1
        self._encoder = _available_encoder(self.path, codec)
        self._options = {**_encoder_options(codec, quality), "flags": "+bitexact"}
        self._size: tuple[int, int] | None = None
        self._container: Any = None
        self._stream: Any = None
        self._output = ExitStack()
        self._temporary = Path()

    def __enter__(self) -> VideoWriter:
        self._temporary = self._output.enter_context(atomic_path(self.path))
        return self

    def write(self, pixels: np.ndarray, time: Fraction | None = None) -> None:
        """Append a frame.

        Args:
            pixels: (H, W, 3) uint8, RGB. The frame; one of another size than the first is scaled into it, with borders.
            time: Seconds on the clock of the source, for all frames or none.

        Raises:
            UsageError: If the shape or type is another one.
            UnavailableError: If the disk is full.
        """
        import torch  # readers of videos need neither

        from humanpose_cli.engine.drawing.op import yuv420

        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            got = f"{pixels.shape} {pixels.dtype}"
            raise UsageError(self.path, "cannot take this frame", expected="(H, W, 3) uint8", got=got)
        self._size = width, height = self._size or pixels.shape[1::-1]
        pixels = pixels if pixels.shape[1::-1] == self._size else fitted_into(pixels, self._size)
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._encoding():
            if self._container is None:
                self._open(pixels.shape[1], pixels.shape[0], time)
            planes = yuv420(torch.from_numpy(np.require(pixels, requirements=("C", "W")))).numpy()
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            self._pts = self._next_pts(time)
            frame.pts = self._pts
            frame.time_base = self._time_base
            if self._sound is not None:
                self._sound.mux_until(self._pts * self._time_base)
            self._container.mux(self._stream.encode(frame))
        self.frame_count += 1

    @property
    def _time_base(self) -> Fraction:
        return 1 / self._rate if self._start is None else Fraction(1, self._ticks)

    def _next_pts(self, time: Fraction | None) -> int:
        if self._start is None or time is None:
            return self._pts + (1 if self._start is None else round(self._ticks / self._rate))
        pts = round((time - self._start) * self._ticks)
        excess = max(0, pts - self._pts - _LONGEST * self._ticks)
        self._start += Fraction(excess, self._ticks)
        return max(self._pts + 1, pts - excess)  # broken clocks go backwards

    def _open(self, width: int, height: int, start: Fraction | None) -> None:
        # movflags: the index comes first, so that browsers can start before the end has arrived.
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        self._container = av.open(f"file:{self._temporary}", "w", format="mp4", options=options)
        self._stream = self._container.add_stream(self._encoder, rate=self._rate, options=self._options)
        self._stream.width = width
        self._stream.height = height
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.thread_count = _ENCODER_THREADS
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = ColorRange.MPEG
        self._start = start
        if start is not None:
            context.time_base = self._time_base
        if self._sound_path is not None:
            self._sound = Sound(self._sound_path, self._container, start or Fraction(0))
            self._output.callback(self._sound.close)

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        """Turn FFmpeg's errors into system errors, which `atomic_path` explains, or UnavailableError."""
        try:
            yield
        except av.FFmpegError as error:
            if error.errno and 0 < error.errno < 1000 and isinstance(error, OSError):
                raise OSError(error.errno, error.strerror or "") from error
            problem = f"the video could not be written ({error.strerror})"
            raise UnavailableError(self.path, problem, remedy="see hpc doctor") from error

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # A second context inside the file's: a failure to finish removes the temporary file, too.
        with self._output, self._encoding():
            try:
                if error is not None:
                    raise error
                if self._container is None:
                    raise UsageError(self.path, "got no frame", expected="at least one")
                if self._sound is not None:
                    self._sound.mux_until(self._pts * self._time_base + 1 / self._rate)
                    self._sound.finish()
                self._container.mux(self._stream.encode(None))
            finally:
                if self._container is not None:
                    self._container.close()
