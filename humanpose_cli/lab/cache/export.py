"""The images of a cache as files for other programs, with a list of the people in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.io.atomic import ensure_folder, remove_abandoned, write_bytes, write_json
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.cache.verification import changed_datasets

LIST_NAME = "pictures.json"
_JPEG = b"\xff\xd8"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def export_images(
    cache: Cache,
    rows: NDArray[np.int64],
    out: Path,
    *,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, ...]:
    """Write the images of some rows under their names, with their stored bytes, and a list of them; returns the files.

    The list, `LIST_NAME`, has for each image its name, file, size, camera, and for each of its people index,
    identity and box: what evaluations give to a method. Truth is left out. Predictions that name image and person
    come back through `hpc evaluate fit --predictions` (`lab.evaluate.predictions`). What a killed export has left half
    written is removed. Raises InputError if labels or images do not match their checksums.
    """
    remove_abandoned(out)
    for shard in cache.shards(rows):
        for column in changed_datasets(shard, with_encoded=False):
            remedy = "copy or make it again; hpc cache verify lists all damage"
            raise InputError(shard.path, f"column {column} does not match its checksum", remedy=remedy)
    entries, paths = [], []
    for count, row in enumerate(rows.tolist(), 1):
        sample = cache.sample(row)
        suffix = ".jpg" if sample.image.startswith(_JPEG) else ".png"
        name = PurePosixPath(sample.name)
        if name.is_absolute() or ".." in name.parts:
            raise InputError(cache.path, "names an image outside of the folder", got=sample.name)
        file = f"{name.with_suffix('') if name.suffix.lower() in _SUFFIXES else name}{suffix}"
        path = out / file
        ensure_folder(path.parent)
        write_bytes(path, sample.image)
        paths.append(path)
        entries.append(
            {
                "name": sample.name,
                "file": file,
                "size": list(sample.size),
                "focal": sample.focal,
                "principal_point": None if sample.principal_point is None else list(sample.principal_point),
                "sequence": sample.sequence,
                "frame": sample.frame,
                "people": [
                    {"person": number, "identity": person.identity, "box": _rounded(person.box)}
                    for number, person in enumerate(sample.people)
                ],
            }
        )
        progress(count, len(rows), "images")
        if stop():
            raise InterruptedRun()
    write_json(out / LIST_NAME, {"pictures": entries})
    return (out / LIST_NAME, *paths)


def _rounded(box: NDArray[Any] | None) -> list[float] | None:
    return None if box is None else [round(float(value), 2) for value in box]
