"""Limits of the memory for the contents of a file, and unpacking of zlib and gzip within them."""

from __future__ import annotations

import zlib
from pathlib import Path

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.sniffing import read_bytes

_MAX_BYTES = 4 << 30  # unpacked, or twice the file's size
_MAX_RATIO, _ALWAYS_ALLOWED = 50, 256 << 20


def unpacked_limit(packed_size: int) -> int:
    """Return the number of bytes that a compressed file of `packed_size` bytes may unpack to.

    A deflate bomb of zeros is a thousand times smaller than its contents; real data are at most halved.
    """
    return max(_ALWAYS_ALLOWED, _MAX_RATIO * packed_size)


def read_gzip(path: Path) -> bytes:
    """Read a file that gzip compressed, within `unpacked_limit`. Raises as `UnpackedBudget.inflate`."""
    content = read_bytes(path)
    return UnpackedBudget(path, len(content)).inflate(content, zlib.MAX_WBITS | 16)


class UnpackedBudget:
    """The memory that the contents of one file may take: `unpacked_limit`, and at most 4 GiB or twice its size.

    Args:
        path: The file, for errors.
        packed_size: Size of the file in bytes.
        more: Additional bytes that the caller expects.
    """

    def __init__(self, path: Path, packed_size: int, *, more: int = 0) -> None:
        self.path = path
        self.limit = self.left = min(max(_MAX_BYTES, 2 * packed_size), unpacked_limit(packed_size)) + more

    def take(self, size: int) -> None:
        """Count `size` bytes before they are allocated. Raises InputError if less is left."""
        if size > self.left:
            self.refuse(self.limit - self.left + size)
        self.left -= size

    def refuse(self, size: int) -> None:
        """Raise InputError for contents of `size` bytes if that is more than the limit."""
        if size > self.limit:
            expected, got = f"at most {self.limit >> 20} MiB", f"{size >> 20} MiB or more"
            raise InputError(self.path, "is too large unpacked", expected=expected, got=got)

    def inflate(self, compressed_bytes: bytes | memoryview, window: int = zlib.MAX_WBITS) -> bytes:
        """Inflate zlib's data; `window` + 16 reads gzip, + 32 both. Raises ValueError if the data are truncated."""
        unpacker = zlib.decompressobj(window)
        content = unpacker.decompress(compressed_bytes, self.left + 1)
        self.take(len(content))
        if not unpacker.eof:
            raise ValueError("the compressed data is cut short")
        return content
