"""AGORA: rendered images of scanned people, grown ones and children, with SMPL bodies that were fitted to the scans.

Layout and licence: data/README.md; the fields after docs/gt_dataframe.md and projection.py of
pixelite1201/agora_evaluation@8c9dece5.

The owners' camera data frames "with SMPL joints and vertices" are pickles of pandas, one row an image; of each person:
    isValid, occlusion (percent), kid, gender
    gt_joints_2d (45, 2)  pixels of the image of 3840 × 2160
    gt_joints_3d (45, 3), gt_verts (6890, 3)  metres in camera axes; the first 24 joints are SMPL24's
and imgPath. Nothing in them is run, and pandas is not needed (`io.restricted_pickle`).

The truth is these joints and vertices, so that the model of a child, which blends SMPL's template with one of an
infant, is not needed either. Focal lengths follow from the kind of scene, which is a part of an image's name.
Protocol "agora": train and validation; of the test images the owners keep the labels. A group is an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import checked_array
from humanpose_cli.io.inputs import natural_order
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.common import FolderSource, check_image_size, with_visibility
from humanpose_cli.lab.datasets.reading import read_pickled_table, stored_image
from humanpose_cli.lab.metrics.agora import MAX_OCCLUSION

LARGE, SMALL = (3840, 2160), (1280, 720)
"""Sizes (width, height) in which the owners offer the images."""
VERTICES = 6890
_SENSOR = 36.0  # width in millimetres
_FOCAL = {"hdri": 50.0, **{f"cam0{number}": 18.0 for number in range(4)}}  # millimetres, by a part of the image's name
_USUAL_FOCAL = 28.0
_SMALL_ENDING = "_1280x720.png"
_FIELDS = ("isValid", "occlusion", "kid", "gender", "gt_joints_2d", "gt_joints_3d", "gt_verts")
Array = NDArray[Any]


class AgoraSource(FolderSource):
    """AGORA's images with all of their people, also those who do not count because too much of them is hidden."""

    name = "agora"
    title = "AGORA"
    contents = "camera data frames of AGORA with SMPL's joints and vertices"
    example = "SMPL/validation_0_withjv.pkl"
    splits = ("train", "validation")

    def _list(self, notes: list[str]) -> Iterator[Group]:
        frames = [
            path
            for path in sorted(self.root.rglob("*_withjv.pkl"), key=natural_order)
            if "smplx" not in str(path.relative_to(self.root)).lower() and self._split(path)
        ]
        paths = [path for path in frames if self._wants(self._split(path))]
        files = {path.name: path for path in self.root.rglob("*.png")}
        for path in paths:
            images = []
            for row, name in enumerate(_names(path)):
                small = name.removesuffix(".png").removesuffix("_1280x720") + _SMALL_ENDING
                images.append(((row, name), files.get(name, files.get(small, path.parent / name))))
            image_of = dict(images)
            for row, name in self._present(images, path, "images", notes):
                key = {"frame": path, "row": row, "image": image_of[row, name], "split": self._split(path)}
                yield Group(Path(name).stem, 1, key=key)

    def _split(self, path: Path) -> str:
        return next((split for split in self.splits or () if path.name.startswith(split)), "")

    def read(self, group: Group) -> Iterator[Sample]:
        path, row = group.key["frame"], group.key["row"]
        image = stored_image(group.key["image"])
        check_image_size(group.key["image"], image.size, LARGE, SMALL)
        people = _people(path, _frame(path), row, image.size[0] / LARGE[0])
        splits = {self.name: group.key["split"]}
        yield Sample(
            group.name, image.image, image.size, focal_of(group.name, image.size[0]), people=people, splits=splits
        )


def focal_of(name: str, width: int) -> float:
    """Return the focal length in pixels of an image of that name and width; its axis meets the middle."""
    millimetres = next((focal for part, focal in _FOCAL.items() if part in name), _USUAL_FOCAL)
    return millimetres / _SENSOR * width


@lru_cache(maxsize=1)
def _frame(path: Path) -> Mapping[str, Array]:
    """Read the columns of a data frame, which its images share: some hundred megabytes."""
    return read_pickled_table(path)


def _names(path: Path) -> list[str]:
    """List the images in their order. Raises InputError if columns are missing or of other lengths."""
    frame = _frame(path)
    missing = [name for name in ("imgPath", *_FIELDS) if not isinstance(frame.get(name), np.ndarray)]
    if missing:
        remedy = "take the data frames with SMPL's joints and vertices, whose names end in _withjv.pkl"
        raise InputError(path, f"lacks {', '.join(missing)}", expected="a data frame of AGORA", remedy=remedy)
    names = [str(name) for name in frame["imgPath"]]
    for name in names:
        if Path(name).name != name or not name.endswith(".png"):
            raise InputError(f"{path} (imgPath)", "names no image", expected="…_00000.png", got=name[:60])
    return names


def _people(path: Path, frame: Mapping[str, Array], row: int, scale: float) -> list[Person]:
    columns = {name: frame[name][row] for name in _FIELDS}
    counts = {
        name: len(value) if isinstance(value, list | tuple | np.ndarray) else -1 for name, value in columns.items()
    }
    if len(set(counts.values())) != 1 or -1 in counts.values():
        got = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"{path}, row {row}", "does not list the same people everywhere", got=got)
    return [
        _person(f"{path}, row {row}, person {i}", {name: value[i] for name, value in columns.items()}, scale)
        for i in range(counts["isValid"])
    ]


def _person(where: str, fields: Mapping[str, Any], scale: float) -> Person:
    """Label one person; scale: pixels of the image for one of the large image."""

    def points(name: str, width: int, count: int | None = None) -> Array:
        return checked_array(fields[name], f"{where} ({name})", (count, width)).astype(np.float64)

    pixels, joints = points("gt_joints_2d", 2) * scale, points("gt_joints_3d", 3)
    if min(len(pixels), len(joints)) < len(SMPL24):
        got = f"{len(pixels)} and {len(joints)}"
        raise InputError(f"{where} (gt_joints)", "are too few", expected=f"{len(SMPL24)} or more", got=got)
    occlusion = float(checked_array(fields["occlusion"], f"{where} (occlusion)", ()))
    # The owners' evaluator asks for both; the percentage alone is kept.
    counts = bool(fields["isValid"]) and 0 <= occlusion <= MAX_OCCLUSION
    gender = str(fields["gender"])
    return Person(
        gender=gender if gender in ("female", "male", "neutral") else "",
        kid=bool(fields["kid"]),
        occlusion=occlusion if counts else 100.0,
        box=np.concatenate((pixels.min(0), pixels.max(0))),
        keypoints={SMPL24.name: with_visibility(pixels[: len(SMPL24)], np.ones(len(SMPL24)))},
        joints={SMPL24.name: np.pad(joints[: len(SMPL24)], ((0, 0), (0, 1)), constant_values=1)},
        vertices=points("gt_verts", 3, VERTICES),
    )
