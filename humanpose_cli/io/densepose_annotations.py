"""Annotations of body surfaces in DensePose-COCO and DensePose-PoseTrack: points of charts.

Annotation files are COCO's with `dp_` fields for each annotated person (DensePose's data_format.md):
    dp_x, dp_y          position in the person's box scaled to 256 × 256
    dp_I, dp_U, dp_V    index of the visible chart (1 to 24) and coordinates on it
    dp_masks            14 parts as run lengths of 256 × 256 pixels, some of them empty

Boxes are continuous pixels from the corner of the image. Keypoints name pixels: 0.5 is added to reach their centres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import DENSEPOSE_CHARTS
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.text_files import read_json_object
from humanpose_cli.io.coco_annotations import (
    HIDDEN_CONFIDENCE,
    flagged_keypoints,
    image_id,
    keypoint_names,
    numbers,
    records,
    to_coco17,
)

SIDE = 256
"""Side in pixels of the square that positions and masks in a person's box are scaled to."""
_PARTS = 14
_ROUNDING = 1e-4  # tolerance of charts' coordinates: the release has 1.0000001
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class AnnotatedPerson:
    """One person of one image.

    Attributes:
        where: The file and the annotation, for messages.
        box: (4,) float, pixels. x0, y0, x1, y1.
        keypoints: (17, 3) float, pixels. x, y and confidence of coco17; the confidence is 0 if not labelled.
        points: (M, 5) float. x, y in pixels, chart, U, V; None if the surface is not annotated.
        masks: Run lengths of the parts, to be decoded when they are needed.
        track: Track number in a video, or None.
        area: Square pixels of the outline, or None if unknown.
        crowd: Whether this is a region of several people.
    """

    where: str
    box: Array
    keypoints: Array
    points: Array | None
    masks: Sequence[Mapping[str, Any]]
    track: int | None = None
    area: float | None = None
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One annotated image.

    Attributes:
        record: The image's record in the annotation file (file_name, width, height …).
        people: The people of the image.
        path: The image's file.
        number: Index of the frame in its video.
    """

    record: Mapping[str, Any]
    people: Sequence[AnnotatedPerson]
    path: Path = Path()
    number: int = 0

    @property
    def file_name(self) -> str:
        """The file name in the annotation file."""
        return str(self.record["file_name"])

    @property
    def surfaces(self) -> int:
        """Number of people with surface points."""
        return sum(person.points is not None for person in self.people)


def read_annotated_images(
    path: Path, *, flag_one: float = HIDDEN_CONFIDENCE, everyone: bool = False
) -> list[AnnotatedImage]:
    """Read the images in which at least one person has surface points.

    Images that the file marks as `has_no_densepose` are left out.

    Args:
        path: The annotation file.
        flag_one: Confidence of keypoints with the flag 1: COCO's hidden joints, PoseTrack's labelled ones.
        everyone: Whether to include crowds and people without any label, which DensePose's evaluator does not count
            as errors. Otherwise people with surface points or a labelled keypoint are included.

    Returns:
        The images with their people, in the file's order.

    Raises:
        InputError: If a record is damaged; it names the record.
    """
    document = read_json_object(path, remedy="unpack or download it again")
    images, annotations = records(path, document, "images"), records(path, document, "annotations")
    names = keypoint_names(path, document)
    records_by_id = {image_id(f"{path}, images[{number}]", record): record for number, record in enumerate(images)}
    people: dict[Any, list[AnnotatedPerson]] = {}
    for number, annotation in enumerate(annotations):
        where = f"{path}, annotations[{number}]"
        key = annotation.get("image_id")
        if not isinstance(key, int | str) or key not in records_by_id:
            raise InputError(where, "belongs to no image", expected="the id of one of its images", got=str(key)[:40])
        crowd = bool(annotation.get("iscrowd", 0))
        if (crowd and not everyone) or records_by_id[key].get("has_no_densepose"):
            continue
        surface = "dp_x" in annotation and not crowd
        keypoints = flagged_keypoints(where, annotation, names, flag_one)
        if surface or everyone or keypoints[:, 2].any():
            person = _person(where, annotation, to_coco17(keypoints, names), surface=surface, crowd=crowd)
            people.setdefault(key, []).append(person)
        annotations[number] = {}  # these files are large
    annotated_images = [AnnotatedImage(record, people.get(image, ())) for image, record in records_by_id.items()]
    return [image for image in annotated_images if image.surfaces]


def _person(
    where: str, annotation: Mapping[str, Any], keypoints: Array, *, surface: bool, crowd: bool
) -> AnnotatedPerson:
    x, y, width, height = numbers(where, annotation, "bbox", 4)
    if width <= 0 or height <= 0:
        raise InputError(where, "has a box without area", got=str(annotation["bbox"]))
    masks = annotation.get("dp_masks", [])
    if not isinstance(masks, list) or len(masks) > _PARTS or not all(isinstance(m, dict | list) for m in masks):
        raise InputError(where, "has damaged dp_masks", expected=f"{_PARTS} parts", got=str(masks)[:40])
    track, area = annotation.get("track_id"), annotation.get("area")
    has_area = isinstance(area, int | float) and np.isfinite(area) and area > 0
    return AnnotatedPerson(
        where,
        np.array([x, y, x + width, y + height]),
        keypoints,
        _points(where, annotation, np.array([x, y]), np.array([width, height])) if surface else None,
        [mask for mask in masks if isinstance(mask, dict)],  # an empty list stands for a part that is hidden
        track if isinstance(track, int) else None,
        float(area) if has_area and area is not None else None,
        crowd,
    )


def _points(where: str, annotation: Mapping[str, Any], corner: Array, extent: Array) -> Array:
    count = len(annotation["dp_x"]) if isinstance(annotation["dp_x"], list) else 0
    x, y, chart, u, v = (numbers(where, annotation, f"dp_{name}", count) for name in "xyIUV")
    if ((chart < 1) | (chart > DENSEPOSE_CHARTS) | (chart != np.rint(chart))).any():
        raise InputError(
            where, "has unknown charts in dp_I", expected=f"1 to {DENSEPOSE_CHARTS}", got=str(np.unique(chart))[:60]
        )
    uv = np.stack((u, v), 1)
    limited_uv = np.clip(uv, 0, 1)
    if np.abs(uv - limited_uv).max(initial=0) > _ROUNDING:
        raise InputError(where, "has dp_U or dp_V beyond 0 to 1", got=f"{uv.min():g} to {uv.max():g}")
    in_image = corner + np.stack((x, y), 1) / SIDE * extent
    return np.concatenate((in_image, chart[:, None], limited_uv), 1)
