"""What one report of `hpc evaluate` is made of, for its ledger: a cache, and the weights and predictions beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from humanpose_cli.core.errors import HpcError

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item


def weights_files(*names: str | None) -> list[Path]:
    """The files of weights that are given and found; the evaluation reports the others."""
    from humanpose_cli.networks.weights import find_weights

    files: list[Path] = []
    for name in filter(None, names):
        with suppress(HpcError):
            files.append(find_weights(name))
    return files


def cache_items(
    caches: Sequence[Path], index: str, inputs: Sequence[Path], out: Path, reports: Sequence[str], *, several: bool
) -> list[Item]:
    """An item for each cache, by its index, which holds the digests of its files, and by other input files.

    index    name of that file in a cache's folder; reports  names of what is written
    several  whether each has a folder for its report
    """
    from humanpose_cli.batch.items import Item

    paths = [Path(os.path.abspath(cache)) for cache in caches]
    root = Path(os.path.commonpath([cache.parent for cache in paths]))
    items = []
    for cache, path in zip(caches, paths, strict=True):
        key = path.relative_to(root).as_posix()
        folder = out / key if several else out
        files = [path / index if os.path.isdir(path) else path, *inputs]
        outputs = tuple(folder / name for name in reports)
        existing = tuple(filter(os.path.isfile, files))
        items.append(Item(key, existing, str(cache), root, outputs, payload=(cache, folder)))
    return items
