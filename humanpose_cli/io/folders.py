"""The files below a folder, without hidden ones and results of hpc."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from humanpose_cli.core.errors import HpcError
from humanpose_cli.files.sniffing import reading_error
from humanpose_cli.io.image_sequences import natural_order

SKIPPED_FOLDERS = {
    *("__MACOSX", "hpc-out", "lost+found", "$RECYCLE.BIN", "System Volume Information"),
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"),
}
"""Folders that are never entered: of archives and systems, thumbnails, deleted files and snapshots of network drives,
and the default output folder."""


def files_below(folder: Path, exclude: Collection[Path], errors: list[HpcError]) -> Iterator[tuple[Path, list[str]]]:
    """Yield folders with the names of their files in natural order, parents first, without hidden files and folders.

    Links to folders are followed, but no folder is entered twice.

    Args:
        folder: The folder.
        exclude: Folders that are not entered, and files that are left out.
        errors: A list that receives the errors of folders that cannot be read.
    """
    real_paths = {os.path.realpath(path) for path in exclude} - {os.path.realpath(folder)}

    def visit(directory: Path) -> Iterator[tuple[Path, list[str]]]:
        real = os.path.realpath(directory)
        if real in real_paths:
            return
        real_paths.add(real)
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: natural_order(entry.name))
        except OSError as error:
            errors.append(reading_error(directory, error))
            return
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        # Not `is_dir`, which raises an error for a link to itself.
        folders = [entry for entry in visible if (os.path.isdir(entry) if entry.is_symlink() else entry.is_dir())]
        below = {entry.name for entry in folders}
        names = (entry.name for entry in visible if entry.name not in below)
        yield directory, [name for name in names if os.path.join(real, name) not in real_paths]
        for entry in folders:
            if entry.name not in SKIPPED_FOLDERS:
                yield from visit(directory / entry.name)

    return visit(folder)
