"""Fits to judge: what `hpc fit` makes of a cache's pictures, and fit files that are there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from humanpose_cli.data.cache import Cache
from humanpose_cli.data.encoding import decode_png
from humanpose_cli.data.samples import Person
from humanpose_cli.detection.person import DetectedPerson, PersonMask
from humanpose_cli.errors import InputError
from humanpose_cli.evaluation.fits import FoundBody
from humanpose_cli.io.fit_files import FIT_SUFFIX, FitRecord, read_fit
from humanpose_cli.io.inputs import Frame
from humanpose_cli.pipelines.fit import BodyFitter
from humanpose_cli.pipelines.people import SinglePictures

__all__ = ["StoredPeople", "fits_from_files", "fits_of_pictures"]

Fits = Callable[[int], list[FoundBody]]


class StoredPeople(SinglePictures):
    """A source of people that a cache's detections tell: `PeopleSource`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def in_picture(self, frame: Frame) -> list[DetectedPerson]:
        """The people whom the detector saw when the cache was made; their boxes are the labels'."""
        sample = self._cache.sample(self._cache.find(frame.name))
        found = [_detected(person) for person in sample.people]
        return sorted((one for one in found if one is not None), key=lambda one: -one.area)


def _detected(person: Person) -> DetectedPerson | None:
    seen, world = person.detected, person.detected_world
    if seen is None or person.box is None or not np.isfinite(seen).all():
        return None
    mask = None
    if person.detected_mask is not None:
        decoded = decode_png(person.detected_mask)
        mask = None if decoded is None else _small_mask(np.asarray(decoded, np.uint8))
    known = world is not None and bool(np.isfinite(world).all())
    return DetectedPerson(
        box=np.asarray(person.box, np.float64),
        keypoints=np.asarray(seen, np.float64),
        world=np.asarray(world, np.float64)[:, :3] if known else None,
        spread=np.zeros(len(seen)),
        world_spread=np.zeros(len(seen)) if known else None,
        mask=mask,
        score=1.0,
    )


def _small_mask(whole: np.ndarray) -> PersonMask:
    """A picture's mask as a square crop."""
    height, width = whole.shape
    side = max(height, width)
    square = cv2.copyMakeBorder(whole, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT, value=0)
    return PersonMask(np.asarray(square, np.uint8), np.eye(2, 3))


def fits_of_pictures(cache: Cache, fitter: BodyFitter) -> Fits:
    """Picture's row → what the fitter finds in it; the camera is the cache's where it is known."""

    def fit(row: int) -> list[FoundBody]:
        sample = cache.sample(row)
        record = fitter.fit_picture(cache.image(row), name=sample.name, focal=sample.focal).record
        return _of_rows(record, np.arange(len(record)))

    return fit


def fits_from_files(folder: Path, cache: Cache) -> tuple[Fits, str]:
    """Picture's row → what fit files below a folder say about it, and the body that they are of.

    A file is about the picture whose name its path has, or the frames it lists; ends of files' names do not count.
    InputError where nothing in the folder is about any picture of the cache, or bodies differ.
    """
    paths = sorted(folder.rglob(f"*{FIT_SUFFIX}"))
    if not paths:
        raise InputError(folder, "holds no fit files", expected=f"*{FIT_SUFFIX} of hpc fit")
    known: dict[str, tuple[FitRecord, int]] = {}
    bodies = set()
    for path in paths:
        record = read_fit(path)
        bodies.add(record.body)
        name = str(path.relative_to(folder))[: -len(FIT_SUFFIX)]
        for frame, frame_name in enumerate(record.frame_names):
            for key in _keys(name, str(frame_name), alone=len(record.frame_names) == 1):
                known.setdefault(key, (record, frame))
    if len(bodies) > 1:
        raise InputError(folder, "holds fits of several bodies", got=", ".join(sorted(bodies)))
    names = {row: _plain(str(name)) for row, name in enumerate(cache.pictures["name"][:])}
    if not any(name in known for name in names.values()):
        raise InputError(
            folder,
            "holds no fit of any picture of the cache",
            expected=f"names such as {next(iter(names.values()))}",
            got=next(iter(known)),
        )

    def fit(row: int) -> list[FoundBody]:
        found = known.get(names[row])
        if found is None:
            return []
        record, frame = found
        return _of_rows(record, np.flatnonzero(record.frame_index == frame))

    return fit, bodies.pop()


def _plain(name: str) -> str:
    """A name without the end that tells the kind of file."""
    path = Path(name)
    return str(path.with_suffix("")) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp") else name


def _keys(name: str, frame: str, *, alone: bool) -> Mapping[str, None]:
    joined = f"{_plain(name)}/{_plain(frame)}"
    return dict.fromkeys((_plain(name), joined) if alone else (joined, _plain(frame)))


def _of_rows(record: FitRecord, rows: np.ndarray) -> list[FoundBody]:
    return [FoundBody(record.poses[i], record.betas[i], record.trans[i], record.boxes[i]) for i in rows]
