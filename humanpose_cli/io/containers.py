"""Opening of videos for reading, the same with every supported version of PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

# Metadata that are not UTF-8 are always read like this from PyAV 19 on, which lacks the argument; before, they are an
# error by default.
_ARGUMENTS: Any = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}


MJPEG_SUFFIXES = frozenset((".mjpeg", ".mjpg"))
"""Names of streams of JPEGs without a container."""


def open_container(path: Path) -> Any:
    """Open a file as a PyAV container. Raises av.FFmpegError if FFmpeg cannot read it."""
    # A stream of JPEGs begins as one JPEG, which FFmpeg would read alone.
    stream_format = "mjpeg" if path.suffix.lower() in MJPEG_SUFFIXES else None
    # `file:`: FFmpeg takes names with a colon for protocols.
    return av.open(f"file:{path}", format=stream_format, **_ARGUMENTS)
