"""Videos in, through ffmpeg, one frame in memory at a time; `VideoWriter` stands in `video_writer`."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from humanpose_cli.errors import InputError
from humanpose_cli.io.ffmpeg import FfmpegProcess, start_ffmpeg
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.sniffing import describe_file, file_kind
from humanpose_cli.io.video_writer import VideoWriter

__all__ = ["VIDEO_SUFFIXES", "VideoInfo", "VideoReader", "VideoWriter", "probe_video"]

VIDEO_SUFFIXES = frozenset(
    [
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"),
        *(".3gp", ".mts", ".m2ts", ".ogv", ".mxf", ".vob"),
    ]
)
"""Names by which a folder's videos are told from its other files (lower case)."""

# Without accurate_rnd, which costs five times the decoding for two grey levels.
_SCALER = "bicubic+full_chroma_int+bitexact"


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself.

    size  width and height in pixels as seen: after the rotation in its metadata, with square pixels
    frame_rate  frames a second, the average where the rate varies
    frame_count  estimated from the duration, or None where that is unknown
    """

    size: tuple[int, int]
    frame_rate: float
    frame_count: int | None
    stretched: bool = False


def probe_video(path: Path | str) -> VideoInfo:
    """Decode one frame to learn size and frame rate. InputError if there is no readable frame."""
    path = Path(path)
    file_kind(path)  # tells missing and forbidden files apart
    process = start_ffmpeg(
        ["-i", _as_input(path), "-map", "0:V:0", "-frames:v", "1", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"]
    )
    try:
        header = process.stdout.readline(4096).decode("ascii", "replace")
        process.stdout.read()
        process.wait()
    finally:
        process.stop()
    fields = {word[0]: word[1:] for word in header.split()[1:]}
    if not header.startswith("YUV4MPEG2") or not {"W", "H", "F"} <= fields.keys():
        raise _no_frame(path, process.messages)
    told = "\n".join(process.messages)
    rate = _frame_rate(fields["F"], told)
    aspect = _ratio(fields.get("A", "1:1")) or 1.0
    width = int(fields["W"]) if aspect == 1.0 else 2 * round(int(fields["W"]) * aspect / 2)
    duration = re.search(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", told)
    seconds = sum(float(part) * 60 ** (2 - i) for i, part in enumerate(duration.groups())) if duration else 0.0
    count = max(1, round(seconds * rate)) if seconds else None
    return VideoInfo((width, int(fields["H"])), rate, count, stretched=aspect != 1.0)


def _as_input(path: Path) -> str:
    """ffmpeg takes names with a colon for protocols and a leading dash for options: `file:` prevents both."""
    return f"file:{path}"


def _ratio(text: str) -> float:
    over, _, under = text.partition(":")
    return int(over) / int(under) if int(under or 0) else 0.0


def _frame_rate(exact: str, told: str) -> float:
    """The stream's exact nominal rate if it agrees with the average that ffmpeg tells, else that average."""
    nominal = _ratio(exact)
    match = re.search(r"Video:.*?\b(\d+(?:\.\d+)?)(k?) fps\b", told)
    if match is None:
        return nominal or 25.0
    average = float(match[1]) * (1000 if match[2] else 1)
    return nominal if nominal and abs(nominal - average) < 0.006 + 0.001 * average else average or 25.0


def _no_frame(path: Path, messages: list[str]) -> InputError:
    reason = next((line for line in reversed(messages) if "rror" in line or "nvalid" in line), "")
    reason = re.sub(r"^\[[^]]*\]\s*", "", reason).strip().rstrip(".")
    found = describe_file(path)
    if found == "a video":
        without = any("matches no streams" in line for line in messages)
        found = "no picture in it, only sound or text" if without else f"ffmpeg said: {reason}" if reason else ""
    return InputError(path, "has no readable video frame", got=found, remedy="copy it again or convert it to MP4")


class VideoReader:
    """Iterates over the frames of a video as (index, (H, W, 3) uint8 RGB), without keeping them.

    Every frame of the file comes once, none doubled or dropped for timing; indices count from the file's first
    frame, also with a range. The rotation in the metadata is applied, and pixels that are not square are made so.
    Each iteration starts its own ffmpeg and ends it when it is exhausted, closed or collected.
    """

    def __init__(self, path: Path | str, frames: FrameRange = ALL_FRAMES, *, threads: int = 0) -> None:
        """threads: ffmpeg's decoding threads, 0 for its own choice. InputError where there is no readable frame."""
        self.path = Path(path)
        self.range = frames
        self._threads = threads
        self.info = probe_video(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        return self.info.size

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.info.frame_rate

    @cached_property
    def _arguments(self) -> list[str]:
        width, height = self.size
        chosen = [f"select=gte(n\\,{self.range.start})"] if self.range.start else []
        square = [f"scale={width}:{height}:flags={_SCALER}", "setsar=1"] if self.info.stretched else []
        filters = ["-vf", ",".join(chosen + square)] if chosen or square else []
        limit = ["-frames:v", str(self.range.count)] if self.range.count else []
        source = ["-v", "error", "-threads", str(self._threads), "-i", _as_input(self.path), "-map", "0:V:0"]
        output = ["-fps_mode", "passthrough", "-sws_flags", _SCALER, "-pix_fmt", "rgb24"]
        # PPM and not raw video: each frame tells its own size, so nothing is parsed out of messages.
        return [*source, *filters, *limit, *output, "-c:v", "ppm", "-f", "image2pipe", "-"]

    def __iter__(self) -> Generator[tuple[int, np.ndarray], None, None]:
        process = start_ffmpeg(self._arguments)
        try:
            index = self.range.start
            while (pixels := _read_ppm(process)) is not None:
                yield index, pixels
                index += 1
            status = process.wait()
            if index == self.range.start:
                raise self._nothing_read(process.messages)
            if status != 0:
                raise InputError(
                    self.path,
                    f"breaks off after frame {index - 1}",
                    got=process.messages[-1] if process.messages else f"ffmpeg's status {status}",
                    remedy=f"copy it again, or take the readable part with --frames {self.range.start}:{index}",
                )
        finally:
            process.stop()

    def _nothing_read(self, messages: list[str]) -> InputError:
        if self.range.start == 0:
            return _no_frame(self.path, messages)
        count = f"about {self.info.frame_count} frames" if self.info.frame_count else "fewer frames"
        return InputError(self.path, "has no frame in the range", expected=f"frames {self.range}", got=count)


def _read_ppm(process: FfmpegProcess) -> np.ndarray | None:
    """One binary PPM from the pipe, None at its end or where a frame breaks off."""
    magic = process.stdout.readline(16)
    if magic != b"P6\n":
        return None
    width, height = map(int, process.stdout.readline(32).split())
    process.stdout.readline(16)
    pixels = np.empty((height, width, 3), np.uint8)
    view = pixels.data.cast("B")
    filled = 0
    while filled < len(view):
        count = process.stdout.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            return None
        filled += count
    return pixels
