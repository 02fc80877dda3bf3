"""Videos in and out through PyAV, one frame in memory at a time.

PyAV itself and not imageio's plugin for it: the plugin passes on neither the display matrix, nor the pixel aspect,
nor marks of damage, and takes no encoder options (quality, threads).
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.io.animations import animation_frames, animation_length, is_animation
from humanpose_cli.io.atomic import atomic_path
from humanpose_cli.io.containers import open_container, stated_seconds, video_streams
from humanpose_cli.io.frame_conversion import Deinterlacer, ImageConverter, display_matrix, note_once, square_size
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.packets import Damage, Decoded, Packets, mean_rate
from humanpose_cli.io.sniffing import describe_file, file_kind, reading
from humanpose_cli.io.sound import Sound

VIDEO_SUFFIXES = frozenset(
    [
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"),
        *(".3gp", ".3g2", ".mts", ".m2ts", ".m2t", ".ts", ".ogv", ".ogm", ".mxf", ".vob", ".mod", ".tod", ".dv"),
        *(".asf", ".f4v", ".qt", ".divx", ".m2v", ".m1v", ".mpv", ".ivf", ".y4m", ".mjpeg", ".mjpg"),
        *(".h264", ".264", ".avc", ".h265", ".265", ".hevc"),
    ]
)
"""Names by which a folder's videos are distinguished from its other files (lower case)."""

# Conversion from RGB: PyAV takes flags beside the algorithm from version 18 on, which Python 3.10 lacks.
_FROM_RGB = Interpolation.BICUBIC
if hasattr(Interpolation, "BITEXACT"):
    _FROM_RGB |= Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT | Interpolation.ACCURATE_RND

_WITHOUT_TIMES = frozenset({"h264", "hevc", "mjpeg", "m4v", "mpegvideo"})  # FFmpeg's names of bare streams
_PROBED_FRAMES, _PROBED_BYTES = 1000, 1 << 26  # of a video whose header states the rate of its beginning
_RATE_TOLERANCE = 0.002  # of the stated rate
_MAX_RATE = 1000.0
_ENCODER_THREADS = 4  # for any number of cores: bytes depend on it
_CODING_LOSS = 6.0  # of 255, the mean difference that coding the frames of the self-test may cause
_TICKS = 240_000  # a second, of videos whose frames have times: whole for 24, 25, 30, 60 Hz and 1000/1001 of them
_SLOW_TICKS = 1000  # a second, of videos of less than a frame a second: encoders count in 32 bits
_FASTEST = 100_000  # frames a second, as in fit files
_LONGEST = 3600  # seconds that a frame is shown at most

VideoCodec = Literal["h264", "vp9"]
"""What videos are written with. h264: by x264, which is under the GPL. vp9: by libvpx, which is under a BSD licence."""
_ENCODERS: dict[VideoCodec, str] = {"h264": "libx264", "vp9": "libvpx-vp9"}  # FFmpeg's names

T = TypeVar("T")
Item = TypeVar("Item")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself.

    Attributes:
        size: Width and height in pixels as displayed: after the rotation in its metadata, with square pixels.
        frame_rate: Frames a second, the average where the rate varies.
        frame_count: From the container's index or its duration, or None where both are unknown.
        has_rate: Whether the file holds times; else the rate is that of the encoder's header, or 25.
    """

    size: tuple[int, int]
    frame_rate: float
    frame_count: int | None
    has_rate: bool = True


@contextmanager
def _opened(path: Path, threads: int = 0) -> Iterator[tuple[Any, Any]]:
    """Open the container and its largest video stream. Raises InputError if there is none."""
    file_kind(path)  # tells missing and forbidden files apart
    try:
        container = open_container(path)
    except av.FFmpegError as error:
        raise _no_frame(path, error.strerror or "") from error
    with container:
        streams = video_streams(container)
        if not streams:
            is_film = any(not each.codec_context for each in container.streams.video)
            raise _no_frame(path, "a codec that is not known" if is_film else "no image in it, only sound or text")
        if len(streams) > 1:
            size = f"{streams[0].width} × {streams[0].height}"
            note_once(path, f"{len(streams)} video streams, of which the largest is used, {size}")
        streams[0].thread_type = "AUTO"
        streams[0].codec_context.thread_count = threads
        yield container, streams[0]


def _no_frame(path: Path, reason: str) -> InputError:
    kind = describe_file(path)
    got = (reason if reason.startswith("no image") else f"FFmpeg says: {reason}") if kind == "a video" else kind
    return InputError(path, "has no readable video frame", got=got, remedy="copy it again or convert it to MP4")


def probe_video(path: Path | str) -> VideoInfo:
    """Decode a frame to learn the size, and read packets to learn the frame rate: of a long video all of them only if
    the first ones contradict the header. Raises InputError if there is no readable frame.
    """
    with reading(path):
        about = os.stat(path)
    return _probe(Path(path), about.st_ino, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=1000)
def _probe(path: Path, *_version: int) -> VideoInfo:
    if is_animation(path):
        size, count, seconds = animation_length(path)
        return VideoInfo(size, count / seconds, count)
    with _opened(path, threads=1) as (container, stream):
        packets = Packets(container, stream)
        first = next(packets.decoded(), None)
        if first is None:
            raise _no_frame(path, packets.end_missing() or "no frame could be decoded")
        width, height = square_size(first.frame, stream)
        size = (height, width) if display_matrix(first.frame)[0, 0] == 0 else (width, height)
        has_rate = container.format.name not in _WITHOUT_TIMES
        # FFmpeg takes 25 for streams without times, whatever the encoder's header says.
        header = _stated_rates(stream) if has_rate else [float(stream.codec_context.framerate or 25)]
        rate, is_complete = header[0], False
        if has_rate and not first.frame.interlaced_frame:  # whose fields may be packets of their own
            rate, is_complete = _measured_rate(packets, stream, header)
        if is_complete:  # those before the first frame that can be decoded do not count
            start: Any = first.pts
            return VideoInfo(size, rate, sum(None in (time, start) or time >= start for time in packets.times))
        seconds = stated_seconds(container)
        # The index counts frames that an edit list leaves out, the duration a longer sound track: the lower is nearer.
        counts = [stream.frames or None, max(1, round(seconds * rate)) if seconds > 0 else None]
        return VideoInfo(size, rate, min((count for count in counts if count), default=None), has_rate)


def _measured_rate(packets: Packets, stream: Any, header: Sequence[float]) -> tuple[float, bool]:
    """Return frames a second by the packets' times, and whether all packets have been read."""
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
    """List the rates that a header states, the likeliest first."""
    nominal, average = float(stream.guessed_rate or 0), float(stream.average_rate or 0)
    if abs(nominal - average) >= 0.006 + 0.001 * average:
        nominal, average = average, nominal
    # Clocks of a thousand and more ticks a second are taken for rates where nothing else is stated.
    return [rate for rate in (nominal, average) if 0 < rate < _MAX_RATE] or [25.0]


def count_frames(path: Path | str) -> int:
    """Count the frames of a video; see `video_times`."""
    return len(video_times(Path(path)))


def video_times(path: Path) -> list[float]:
    """List the times of a video's frames in seconds from the first on. Raises InputError if there is no frame.

    They are those of the packets, or of decoded frames where packets may not become frames: before the first key frame
    and at a damaged end.
    """
    rate = probe_video(path).frame_rate
    if is_animation(path):
        return [float(time) for _, time, _ in animation_frames(path)]
    with _opened(path) as (container, stream):
        packets = Packets(container, stream)
        deque(packets.packets(), maxlen=0)
        times, unit = packets.times, stream.time_base
    if packets.is_regular:
        clock: list[Any] = sorted(times, key=float)  # packets come in the order of decoding
    else:
        with _opened(path) as (container, stream):
            clock = [each.pts for each in Packets(container, stream).decoded()]
    if None in clock or clock != sorted(clock):
        return [index / rate for index in range(len(clock))]
    return [float((time - clock[0]) * unit) for time in clock]


def video_range(path: Path, frames: FrameRange) -> FrameRange:
    """Return a range with the numbers of a video's frames, whose packets are read if it needs their times or count."""
    if frames.is_resolved:
        return frames
    times = video_times(path)
    return frames.resolved(len(times), times=times)


def check_complete(path: Path | str, frames: FrameRange = ALL_FRAMES) -> None:
    """Raise InputError if a video breaks off before the last of these frames, by its packets, without decoding."""
    path = Path(path)
    if is_animation(path):
        return
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
    """A frame of a video: (H, W, 3) uint8 RGB, and when it is shown, in seconds on the file's clock (None: unknown)."""

    index: int
    pixels: np.ndarray
    time: Fraction | None
    damage: Damage


class VideoReader:
    """Iterates over the frames of a video as (index, (H, W, 3) uint8 RGB), without keeping them.

    Every frame of the file comes once, none doubled or dropped for timing; indices count from the file's first
    frame, also with a range, before which frames are decoded but not converted. See `ImageConverter` for what is made
    of them; interlaced ones are deinterlaced. Damaged frames keep their numbers (see `Damage`) and are named
    in the log; a file that breaks off, or has no undamaged frame, is an InputError after its last frame.
    """

    def __init__(self, path: Path | str, frames: FrameRange = ALL_FRAMES, *, threads: int = 0) -> None:
        """Open the file; `threads` 0: as the decoder chooses. Raises InputError if there is no readable frame."""
        self.path = Path(path)
        self.range = frames
        self._threads = threads
        self.info = probe_video(self.path)

    def __iter__(self) -> Generator[tuple[int, np.ndarray], None, None]:
        with closing(self.frames()) as frames:
            yield from ((frame.index, frame.pixels) for frame in frames)

    def frames(self) -> Generator[VideoFrame, None, None]:
        """Yield the frames with their times and damage; close it to stop early."""
        if is_animation(self.path):
            yield from self._animation_frames()
            return
        frame_count = 0
        frames_by_damage: dict[Damage, list[int]] = {"flawed": [], "lost": []}
        converter = ImageConverter(self.path, self.info.size)
        try:
            with closing(self._decode()) as source:
                for index, decoded in self._in_range(source):
                    if decoded.damage:
                        frames_by_damage[decoded.damage].append(index)
                    pixels = converter.pixels(decoded, index)
                    time = None if decoded.pts is None else decoded.pts * decoded.stream.time_base
                    yield VideoFrame(index, pixels, time, decoded.damage)
                    frame_count += 1
        except av.FFmpegError as error:  # a damaged header tells of colours that there are not
            raise _no_frame(self.path, error.strerror or "") from error
        finally:
            self._name(frames_by_damage)
        if not frame_count:
            raise self._outside_range()
        if frame_count == sum(map(len, frames_by_damage.values())):
            got = f"damage in {'the only one' if frame_count == 1 else f'all {frame_count}'}"
            raise InputError(self.path, "has no undamaged frame", got=got, remedy="copy or download it again")

    def _in_range(self, frames: Iterable[T]) -> Iterator[tuple[int, T]]:
        return islice(enumerate(frames), self.range.start, self.range.stop, self.range.step)

    def _animation_frames(self) -> Generator[VideoFrame, None, None]:
        if self.range.start >= (self.info.frame_count or 0):
            raise self._outside_range()
        with closing(animation_frames(self.path)) as frames:
            for index, (pixels, time, _) in self._in_range(frames):
                yield VideoFrame(index, pixels, time, "")

    def _outside_range(self) -> InputError:
        count = f"about {self.info.frame_count} frames" if self.info.frame_count else "fewer frames"
        return InputError(self.path, "has no frame in the range", expected=f"frames {self.range}", got=count)

    def _name(self, frames_by_damage: dict[Damage, list[int]]) -> None:
        phrases = [f"{damage}: {frame_list(frames)}" for damage, frames in frames_by_damage.items() if frames]
        if phrases:
            _log.warning("%s: damaged in part (frames %s), all other frames are used", self.path, "; ".join(phrases))

    def _decode(self) -> Generator[Decoded, None, None]:
        """Yield frames in the order of time. Raises InputError after the last if the end of the file is missing."""
        count = 0
        with _opened(self.path, self._threads) as (container, stream):
            packets = Packets(container, stream)
            # Within the open container: a stream that was closed has no time base, and its frames come a frame later.
            for frame in Deinterlacer(self.path).frames(packets.decoded()):
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
    """Yield the items of `source` in order, made in a thread of their own, with at most `ahead` of them waiting.

    An exception of the source is raised here, after the items before it. Closing the generator ends the thread and
    closes the source; nothing starts before the first item is requested.
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


def made_ahead(make: Callable[[Item], T], items: Iterable[Item], threads: int) -> Generator[T, None, None]:
    """Yield `make` of each item, in the order of the items, in as many threads.

    Each thread has one result that waits at most. An exception is raised here, after the results of the items before
    it. Closing the generator ends the threads; items are taken in the caller's thread, each when it is needed.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="make-ahead") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def available_codecs() -> list[VideoCodec]:
    """List the codecs whose encoders this build of FFmpeg has."""
    return [codec for codec, encoder in _ENCODERS.items() if encoder in av.codecs_available]


def _available_encoder(path: Path, codec: VideoCodec) -> str:
    """Return FFmpeg's name of a codec's encoder. Raises UsageError for an unknown codec, UnavailableError for a missing
    encoder.
    """
    if codec not in _ENCODERS:
        raise UsageError("video_codec", "is not known", expected=", ".join(_ENCODERS), got=str(codec))
    available = available_codecs()
    if codec not in available:
        problem = f"the video could not be written: FFmpeg lacks the encoder {_ENCODERS[codec]}"
        remedy = " or ".join(f"`video_codec={other}`" for other in available) or "see hpc doctor"
        raise UnavailableError(path, problem, remedy=remedy)
    return _ENCODERS[codec]


def _encoder_options(codec: VideoCodec, quality: int) -> dict[str, str]:
    if codec == "vp9":
        # Constant quality needs b = 0. The deadline "good" takes four times as long and makes files half as large.
        # Factors of VP9 end at 63, those of H.264 at 51.
        return {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": str(round(quality * 63 / 51))}
    # x264's macroblock tree reads uninitialised memory where a row has not a multiple of 8 blocks: equal frames
    # became other bytes on a busy machine. Without it files of equal quality are a fifth larger.
    return {"preset": "veryfast", "crf": str(quality), "mbtree": "0"}


class VideoWriter:
    """Context that takes frames and leaves an MP4 (4:2:0, BT.709) at its clean end; otherwise nothing.

    4:2:0 needs even sizes: an odd width or height is extended by its last column or row, so that no pixel moves.
    Frames that come with times keep their distances, up to an hour, as all common players show them: where a video's
    rate varies, its sound stays in time. The same frames give the same bytes, whatever the number of cores.
    """

    # H.264 by default: browsers, phones and editing programs all read it; many editing programs do not read VP9.
    def __init__(
        self,
        path: Path | str,
        frame_rate: float,
        *,
        sound: Path | None = None,
        quality: int = 22,
        codec: VideoCodec = "h264",
    ) -> None:
        """Begin a video. Raises UsageError for an unusable rate or codec, UnavailableError if FFmpeg lacks the encoder.

        Args:
            frame_rate: Of frames without times; of others the average.
            sound: A video whose sound is taken over, from the time of the first frame to the end of the last.
            quality: Constant rate factor of H.264, 0 best … 51 worst; VP9 takes the same share of its range.
        """
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
        self._shape: tuple[int, ...] = ()
        self._container: Any = None
        self._stream: Any = None
        self._scaler = VideoReformatter()
        self._output = ExitStack()
        self._temporary = Path()

    def __enter__(self) -> VideoWriter:
        self._temporary = self._output.enter_context(atomic_path(self.path))
        return self

    def write(self, pixels: np.ndarray, time: Fraction | None = None) -> None:
        """Append a frame: (H, W, 3) uint8 RGB, all of one size (UsageError otherwise).

        Raises UnavailableError if the disk is full.

        Args:
            time: Seconds on the clock of the source, of all frames or none.
        """
        right_shape = pixels.shape == self._shape if self._shape else pixels.ndim == 3 and pixels.shape[2] == 3
        if pixels.dtype != np.uint8 or not right_shape:
            raise UsageError(
                self.path,
                "cannot take this frame",
                expected=f"{self._shape or '(H, W, 3)'} uint8",
                got=f"{pixels.shape} {pixels.dtype}",
            )
        self._shape = pixels.shape
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._encoding():
            if self._container is None:
                self._open(pixels.shape[1], pixels.shape[0], time)
            frame = self._scaler.reformat(
                av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format="rgb24"),
                format="yuv420p",
                interpolation=_FROM_RGB,
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
            self._pts = self._next_pts(time)
            frame.pts, frame.time_base = self._pts, self._time_base
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
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.thread_count = _ENCODER_THREADS
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = ColorRange.MPEG
        self._start = start
        if start is not None:
            context.time_base = self._time_base
        if self._sound_path is not None:
            self._sound = self._output.enter_context(Sound(self._sound_path, self._container, start or Fraction(0)))

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        """Turn FFmpeg's errors into the system's, of which `atomic_path` makes sentences, or else into ours."""
        try:
            yield
        except av.FFmpegError as error:
            if error.errno and 0 < error.errno < 1000 and isinstance(error, OSError):
                raise OSError(error.errno, error.strerror or "") from error
            raise UnavailableError(
                self.path, f"the video could not be written ({error.strerror})", remedy="see hpc doctor"
            ) from error

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # One more context inside the file's, so that a failure to finish removes the temporary file as well.
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


def self_test_codec(codec: VideoCodec) -> None:
    """Write a video and read it again. UnavailableError unless it has the frames that were written, at their times."""
    test_pixels = np.full((4, 48, 64, 3), (200, 120, 40), np.uint8)
    test_pixels[..., :32, 1] = np.arange(50, 250, 50)[:, None, None]  # the left half's green tells the frames apart
    times = [Fraction(n, 25) for n in (0, 1, 2, 5)]
    with TemporaryDirectory() as folder:
        path = Path(folder, "test.mp4")
        with VideoWriter(path, 25, codec=codec) as writer:
            for pixels, time in zip(test_pixels, times, strict=True):
                writer.write(pixels, time)
        frames = list(VideoReader(path).frames())
    if [(frame.time, frame.pixels.shape) for frame in frames] != [(time, test_pixels.shape[1:]) for time in times]:
        raise UnavailableError("PyAV", f"reads frames of other times or sizes than it wrote in {codec}")
    error = np.abs(np.stack([frame.pixels for frame in frames]) - test_pixels.astype(float)).mean()
    if error > _CODING_LOSS:
        raise UnavailableError("PyAV", f"reads other colours than it wrote in {codec}, off by {error:.0f} of 255")
