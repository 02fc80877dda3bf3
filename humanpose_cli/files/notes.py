"""Notes about files that are read."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

_log = logging.getLogger(__name__)


@lru_cache(maxsize=1000)
def note_once(path: Path, note: str) -> None:
    """Log a note about a file, once, however often its frames are read."""
    _log.info("%s: %s", path, note)
