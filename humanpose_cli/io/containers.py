"""Opening of videos for reading, the same with every supported version of PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

# Metadata that are not UTF-8 are always read like this from PyAV 19 on, which lacks the argument; before, they are an
# error by default.
_ARGUMENTS: Any = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}


def open_container(path: Path) -> Any:
    """Open a file as a PyAV container. Raises av.FFmpegError if FFmpeg cannot read it."""
    # `file:`: FFmpeg takes names with a colon for protocols.
    return av.open(f"file:{path}", **_ARGUMENTS)
