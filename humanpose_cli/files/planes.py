"""Files of 16-bit numbers, compressed: the low bytes of all values before the high bytes, then gzip.

Without this order, half-precision weights would be a tenth larger.
"""

from __future__ import annotations

import gzip
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.files.unpacking import uncompressed

PLANES = ".planes.gz"
"""The end of the names of such files."""


def pack_planes(content: bytes) -> bytes:
    """Compress an even number of bytes; the result depends on the version of zlib."""
    return gzip.compress(np.frombuffer(content, np.uint8).reshape(-1, 2).T.tobytes(), mtime=0)


@lru_cache(maxsize=1)
def read_planes(path: Path) -> bytes:
    """Read a file of `pack_planes`.

    The contents of the last file are cached, for callers that read a header and then tensors, or start a network twice.

    Raises:
        InputError: If the file is damaged, or unpacks to more than an `UnpackedBudget` allows.
        OSError: If it cannot be read.
    """
    try:
        low, high = np.frombuffer(uncompressed(path, read_bytes(path)), np.uint8).reshape(2, -1)
        return (low | np.left_shift(high, 8, dtype="<u2")).tobytes()  # faster than interleaving bytes
    except (zlib.error, ValueError) as error:
        raise InputError(path, f"is damaged ({error})", remedy="copy it again") from error
