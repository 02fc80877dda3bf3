"""Limits of the memory for the contents of a file, and unpacking of zlib and gzip within them."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError

_MAX_BYTES = 4 << 30  # unpacked, or twice the file's size
_UNPACKERS: Mapping[bytes, Callable[[], Any]] = {
    **dict.fromkeys((b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), partial(zlib.decompressobj, 47)),
    b"BZh": bz2.BZ2Decompressor,
    **dict.fromkeys((b"\xfd7zXZ\0", b"\x5d\0\0"), partial(lzma.LZMADecompressor, memlimit=1 << 28)),
}
"""Makers of unpackers by the first bytes; 47 makes zlib read its own header or gzip's."""
_SEVERAL = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")  # of which parts may follow each other
_MAX_PARTS = 1000
_MAX_RATIO, _ALWAYS_ALLOWED = 50, 256 << 20


def uncompressed(path: Path, content: bytes, *, more: int = 0) -> bytes:
    """Unpack bytes that gzip, zlib, bzip2, LZMA or xz compressed, in one part or several; others stay.

    Raises InputError if they are damaged, or if there are more than an `UnpackedBudget` with `more` allows.
    """
    budget, parts = UnpackedBudget(path, len(content), more=more), list[bytes]()
    while content.startswith(_SEVERAL if parts else tuple(_UNPACKERS)) and len(parts) < _MAX_PARTS:
        unpacker: Any = next(make() for magic, make in _UNPACKERS.items() if content.startswith(magic))
        try:
            parts.append(unpacker.decompress(content, budget.left + 1))
        except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InputError(path, "is damaged", got=str(error)) from error
        budget.take(len(parts[-1]))
        if not unpacker.eof:
            raise InputError(path, "is damaged", got="compressed data that is cut short")
        content = unpacker.unused_data
    return b"".join(parts) if parts else content


class UnpackedBudget:
    """The memory that the contents of one file may take: 256 MiB or fifty times its size, at most 4 GiB or twice it.

    A deflate bomb of zeros is a thousand times smaller than its contents; real data are at most halved.

    Args:
        path: The file, for errors.
        packed_size: Size of the file in bytes.
        more: Additional bytes that the caller expects.
        always: Bytes that are allowed to any file; None for 256 MiB.
    """

    def __init__(self, path: Path, packed_size: int, *, more: int = 0, always: int | None = None) -> None:
        self.path = path
        limit = min(max(_MAX_BYTES, 2 * packed_size), max(always or _ALWAYS_ALLOWED, _MAX_RATIO * packed_size))
        self.limit = self.left = limit + more

    def take(self, size: int) -> None:
        """Count `size` bytes before they are allocated. Raises InputError if less is left."""
        self.left -= size
        if self.left < 0:
            expected, got = f"at most {self.limit >> 20} MiB", f"{self.limit - self.left >> 20} MiB or more"
            raise InputError(self.path, "is too large unpacked", expected=expected, got=got)
