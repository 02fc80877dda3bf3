"""Opening of videos for reading, the same with every supported version of PyAV."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

# PyAV 19 and later always read metadata that are not UTF-8 like this and lack the argument; earlier versions refuse
# them by default.
_ARGUMENTS: Any = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}
_MJPEG_SUFFIXES = frozenset((".mjpeg", ".mjpg"))  # streams of JPEGs without a container
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # begins the object with the file's length
_ASF_HEAD = 1 << 16  # bytes


def open_container(path: Path) -> Any:
    """Open a file as a PyAV container. Raises av.FFmpegError if FFmpeg cannot read it."""
    # A stream of JPEGs begins as one JPEG, which FFmpeg would read alone.
    stream_format = "mjpeg" if path.suffix.lower() in _MJPEG_SUFFIXES else None
    # `file:`: FFmpeg takes names with a colon for protocols.
    return av.open(f"file:{path}", format=stream_format, **_ARGUMENTS)


def video_streams(container: Any) -> list[Any]:
    """List the video streams that can be decoded, without cover images; the largest frames come first."""
    films = [stream for stream in container.streams.video if stream.codec_context and not stream.disposition & _STILLS]
    # A poster may be a stream of one frame.
    return sorted(films, key=lambda stream: (stream.frames == 1, -stream.width * stream.height))


def stated_seconds(container: Any) -> float:
    """Return the duration in a container's header; 0.0 if there is none."""
    if container.duration or container.format.name != "asf":
        return (container.duration or 0) / av.time_base
    # FFmpeg ignores the duration of a file that is shorter than its header says.
    with open(container.name.removeprefix("file:"), "rb") as file:
        properties = file.read(_ASF_HEAD).partition(_ASF_PROPERTIES)[2]
    if len(properties) < 76:
        return 0.0
    duration, _, preroll, flags = struct.unpack_from("<QQQI", properties, 48)  # 100 ns; ms; 1: unknown
    return 0.0 if flags & 1 else max(0.0, duration / 1e7 - preroll / 1e3)
