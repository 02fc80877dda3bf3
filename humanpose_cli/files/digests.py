"""SHA-256 digests of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from humanpose_cli.files.sniffing import reading

_READ_SIZE = 1 << 20


def digest_of(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes in hexadecimal digits, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def digest_of_files(files: Iterable[Path]) -> str:
    """Compute the SHA-256 over the contents of files in order, each preceded by its length."""
    digest = hashlib.sha256()
    for path in files:
        with reading(path), path.open("rb") as file:
            digest.update(path.stat().st_size.to_bytes(8, "big"))
            while block := file.read(_READ_SIZE):
                digest.update(block)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Compute the SHA-256 over the contents of a file, or of all files in a folder."""
    files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    return digest_of_files(files)
