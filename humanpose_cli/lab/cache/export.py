"""The images of a cache as files for other programs, with a list of their people; and its clips as videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import camera_centres
from humanpose_cli.core.conventions import ASSUMED_FRAME_RATE, SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.io.atomic import ensure_folder, remove_abandoned, write_bytes, write_json, write_npz
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.cache.samples import Sample
from humanpose_cli.lab.cache.verification import changed_datasets

LIST_NAME = "pictures.json"
_JPEG = b"\xff\xd8"
_VIDEO_QUALITY = 19
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def export_images(
    cache: Cache,
    rows: NDArray[np.int64],
    out: Path,
    *,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, ...]:
    """Write images under their names, with their stored bytes, and a list of them.

    The list, `LIST_NAME`, has the name, file, size and camera of each image, and index, identity and box of each of its
    people: the inputs of a method that is evaluated, without the truth. Predictions that name image and person are read
    by `hpc evaluate fit --predictions` (`lab.evaluate.predictions`). Unfinished files of a killed export are removed.

    Args:
        cache: The cache.
        rows: (N,) rows of the images.
        out: Folder of the files.
        progress: Called after each image.
        stop: Called after each image; True ends with InterruptedRun.

    Returns:
        The files, the list first.

    Raises:
        InputError: If labels or images do not match their checksums.
    """
    _prepare(cache, rows, out)
    entries = []
    paths = []
    for count, row in enumerate(rows.tolist(), 1):
        sample = cache.sample(row)
        suffix = ".jpg" if sample.image.startswith(_JPEG) else ".png"
        name = _inside(cache, sample.name)
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


def export_videos(
    cache: Cache,
    rows: NDArray[np.int64],
    out: Path,
    *,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, ...]:
    """Write sequences as videos named after them, and the truth of each as NAME.truth.npz.

    The truth has R (T, 3, 3) and C (T, 3) metres, camera = R (world − C); focal in pixels, (T,) if it varies; and
    joints (T, 24, 3) of SMPL of the sequence's first person in world axes, NaN in frames without them. Without a camera
    path in the cache, the world's axes are the camera's.

    Args:
        cache: The cache.
        rows: (N,) rows of images; sequences with all their images among them are written.
        out: Folder of the files.
        progress: Called after each video.
        stop: Called after each video; True ends with InterruptedRun.

    Returns:
        The files.

    Raises:
        InputError: If there are no sequences, or if labels or images do not match their checksums.
    """
    names = [name for name in cache.sequences if np.isin(cache.sequence(name), rows).all()]
    if not names:
        raise InputError(cache.path, "holds no sequences", expected="clips", remedy="leave out videos")
    _prepare(cache, rows, out)
    paths = []
    for count, name in enumerate(names, 1):
        path = out / f"{_inside(cache, name)}.mp4"
        ensure_folder(path.parent)
        samples = [cache.sample(int(row)) for row in cache.sequence(name)]
        with VideoWriter(path, samples[0].frame_rate or ASSUMED_FRAME_RATE, quality=_VIDEO_QUALITY) as video:
            for row in cache.sequence(name).tolist():
                video.write(cache.image(row))
        truth = path.with_suffix(".truth.npz")
        write_npz(truth, _truth(samples))
        paths += [path, truth]
        progress(count, len(names), "videos")
        if stop():
            raise InterruptedRun()
    return tuple(paths)


def _prepare(cache: Cache, rows: NDArray[np.int64], out: Path) -> None:
    """Remove unfinished files of a killed export, and check the shards."""
    remove_abandoned(out)
    for shard in cache.shards(rows):
        for column in changed_datasets(shard, with_encoded=False):
            remedy = "copy or make it again; hpc cache verify lists all damage"
            raise InputError(shard.path, f"column {column} does not match its checksum", remedy=remedy)


def _inside(cache: Cache, name: str) -> PurePosixPath:
    """Return a name as a path. Raises InputError if it leads out of a folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(cache.path, "names an image outside of the folder", got=name)
    return path


def _truth(samples: Sequence[Sample]) -> dict[str, NDArray[Any]]:
    paths = [np.eye(3, 4) if s.world_to_camera is None else np.asarray(s.world_to_camera, float) for s in samples]
    rotation = np.stack(paths)[:, :, :3]
    shift = np.stack(paths)[:, :, 3]
    identity = next((person.identity for sample in samples for person in sample.people), "")
    joints = np.full((len(samples), len(SMPL24), 3), np.nan)
    for frame, sample in enumerate(samples):
        for person in sample.people:
            if person.identity == identity and SMPL24.name in person.joints:
                joints[frame] = (person.joints[SMPL24.name][:, :3] - shift[frame]) @ rotation[frame]
    focal = np.array([np.nan if sample.focal is None else sample.focal for sample in samples])
    return {
        "R": rotation,
        "C": camera_centres(rotation, shift),
        "focal": focal[0] if np.ptp(focal) == 0 else focal,
        "joints": joints,
    }


def _rounded(box: NDArray[Any] | None) -> list[float] | None:
    return None if box is None else [round(float(value), 2) for value in box]
