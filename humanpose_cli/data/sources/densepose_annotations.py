"""DensePose's annotation files, which are COCO's with `dp_` fields: people in pictures, and points of their surfaces.

After DensePose's data_format.md and Detectron2's DENSEPOSE_DATASETS.md. Of an annotated person
    dp_x, dp_y          places in the person's box scaled to 256 × 256
    dp_I, dp_U, dp_V    which of 24 charts of the surface is seen there, and where on it
    dp_masks            14 parts as run lengths of 256 × 256 pixels, some of them empty

Boxes are continuous pixels from the corner of the picture; keypoints name pixels, whose centres half is added for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.samples import Person
from humanpose_cli.data.sources.densepose_pictures import CHARTS
from humanpose_cli.data.sources.labels import to_coco17
from humanpose_cli.data.sources.pictures import encode_mask
from humanpose_cli.data.sources.reading import read_json
from humanpose_cli.data.sources.run_lengths import decode_run_lengths
from humanpose_cli.errors import InputError

__all__ = ["AnnotatedImage", "Instance", "person_of", "read_annotated_images"]

_SIDE = 256
_PARTS = 14
_HIDDEN_CONFIDENCE = 0.5  # as for keypoints that users give (io.coco_files)

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Instance:
    """One person of one picture.

    where      the annotation, for messages
    box        (4,) x0 y0 x1 y1; keypoints (17, 3) of coco17, confidence 0 where not labelled
    points     (M, 5) x, y pixels, chart, U, V; None for people that DensePose's annotators did not see
    masks      run lengths of the parts, to be decoded when they are needed
    track      number by which a video's person is known, or None
    """

    where: str
    box: Array
    keypoints: Array
    points: Array | None
    masks: Sequence[Mapping[str, Any]]
    track: int | None = None


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One picture: its record in the file (file_name, width, height …) and its people."""

    record: Mapping[str, Any]
    people: Sequence[Instance]

    @property
    def file_name(self) -> str:
        return str(self.record["file_name"])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) pixels."""
        return self.record["width"], self.record["height"]

    @property
    def surfaces(self) -> int:
        """How many people have surface points."""
        return sum(person.points is not None for person in self.people)


def read_annotated_images(path: Path, *, flag_one: float = _HIDDEN_CONFIDENCE) -> list[AnnotatedImage]:
    """The pictures on which at least one person has surface points, in the file's order, with all of their people.

    flag_one  the confidence of keypoints whose flag is 1: COCO's hidden ones, PoseTrack's labelled ones

    People are those without crowds; without surface points they must have a labelled keypoint. Pictures that the file
    marks as `has_no_densepose` are left out. InputError names the record that is damaged.
    """
    document = read_json(path)
    images, annotations = _records(path, document, "images"), _records(path, document, "annotations")
    names = _keypoint_names(path, document)
    known = {}
    for number, record in enumerate(images):
        known[_image_id(f"{path}, images[{number}]", record)] = record
    people: dict[Any, list[Instance]] = {}
    for number, annotation in enumerate(annotations):
        where = f"{path}, annotations[{number}]"
        key = annotation.get("image_id")
        if not isinstance(key, int | str) or key not in known:
            raise InputError(where, "belongs to no picture", expected="the id of one of its images", got=str(key)[:40])
        if annotation.get("iscrowd", 0) or known[key].get("has_no_densepose"):
            continue
        instance = _instance(where, annotation, names, flag_one)
        if instance is not None:
            people.setdefault(key, []).append(instance)
        annotations[number] = {}  # these files are large
    found = [AnnotatedImage(record, people.get(image, ())) for image, record in known.items()]
    return [image for image in found if image.surfaces]


def _records(path: Path, document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    records = document.get(name)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(path, f"has no list of {name}", got=type(records).__name__)
    return records


def _image_id(where: str, image: Mapping[str, Any]) -> Any:
    sizes = [image.get("width"), image.get("height")]
    if not isinstance(image.get("file_name"), str) or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise InputError(where, "is damaged", expected="id, file_name, width and height", got=str(image)[:80])
    key = image.get("id")
    if not isinstance(key, int | str):
        raise InputError(where, "has no id", got=str(key)[:40])
    return key


def _keypoint_names(path: Path, document: Mapping[str, Any]) -> Sequence[str]:
    """The joints of the file's keypoints: COCO's 17, or PoseTrack's with the neck and the top of the head."""
    for category in _records(path, document, "categories"):
        names = category.get("keypoints")
        if category.get("name") == "person" and isinstance(names, list) and all(isinstance(n, str) for n in names):
            return names
    raise InputError(path, "does not say what its keypoints are", expected="the category person with their names")


def _instance(where: str, annotation: Mapping[str, Any], names: Sequence[str], flag_one: float) -> Instance | None:
    surface = "dp_x" in annotation
    keypoints = np.zeros((len(names), 3))
    if annotation.get("keypoints"):
        keypoints = _numbers(where, annotation, "keypoints", 3 * len(names)).reshape(-1, 3)
        confidence = np.select([keypoints[:, 2] >= 2, keypoints[:, 2] == 1], [1.0, flag_one], 0.0)
        keypoints = np.column_stack((keypoints[:, :2] + 0.5, confidence))
    if not surface and not keypoints[:, 2].any():
        return None
    x, y, width, height = _numbers(where, annotation, "bbox", 4)
    if width <= 0 or height <= 0:
        raise InputError(where, "has a box without area", got=str(annotation["bbox"]))
    masks = annotation.get("dp_masks", [])
    if not isinstance(masks, list) or len(masks) > _PARTS or not all(isinstance(m, dict | list) for m in masks):
        raise InputError(where, "has damaged dp_masks", expected=f"{_PARTS} parts", got=str(masks)[:40])
    track = annotation.get("track_id")
    return Instance(
        where,
        np.array([x, y, x + width, y + height]),
        to_coco17(keypoints, names),
        _points(where, annotation, np.array([x, y]), np.array([width, height])) if surface else None,
        [mask for mask in masks if isinstance(mask, dict)],  # an empty list stands for a part that is not seen
        track if isinstance(track, int) else None,
    )


def _points(where: str, annotation: Mapping[str, Any], corner: Array, extent: Array) -> Array:
    count = len(annotation["dp_x"]) if isinstance(annotation["dp_x"], list) else 0
    x, y, chart, u, v = (_numbers(where, annotation, f"dp_{name}", count) for name in "xyIUV")
    if ((chart < 1) | (chart > CHARTS) | (chart != np.rint(chart))).any():
        raise InputError(where, "has unknown charts in dp_I", expected=f"1 to {CHARTS}", got=str(np.unique(chart))[:60])
    if min(u.min(initial=0), v.min(initial=0)) < 0 or max(u.max(initial=0), v.max(initial=0)) > 1:
        raise InputError(where, "has dp_U or dp_V beyond 0 to 1")
    places = corner + np.stack((x, y), 1) / _SIDE * extent
    return np.concatenate((places, np.stack((chart, u, v), 1)), 1)


def _numbers(where: str, annotation: Mapping[str, Any], name: str, count: int) -> Array:
    values = annotation.get(name)
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)}" if isinstance(values, list) else type(values).__name__
        raise InputError(where, f"has an unusable {name}", expected=f"{count} numbers", got=got)
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(where, f"has an unusable {name}", expected="numbers", got=str(values)[:40]) from error
    if not np.isfinite(array).all():
        raise InputError(where, f"has an unusable {name}", expected="finite numbers", got=str(values)[:40])
    return array


def person_of(instance: Instance, size: tuple[int, int], identity: str = "") -> Person:
    """The person in a picture of `size` (width, height): box, keypoints, surface points and mask.

    The mask joins all annotated parts. InputError where their run lengths are damaged.
    """
    low = np.clip(instance.box[:2], 0, size)
    return Person(
        identity=identity,
        box=np.concatenate((low, np.clip(instance.box[2:], low, size))),
        keypoints={"coco17": instance.keypoints},
        surface_points=instance.points,
        mask=_mask(instance, size) if instance.masks else None,
    )


def _mask(instance: Instance, size: tuple[int, int]) -> bytes:
    joined = np.zeros((_SIDE, _SIDE), bool)
    for mask in instance.masks:
        part = decode_run_lengths(mask, instance.where)
        if part.shape != joined.shape:
            raise InputError(
                instance.where, "has dp_masks of another size", expected=f"{joined.shape}", got=str(part.shape)
            )
        joined |= part
    x0, y0, x1, y1 = instance.box
    columns = np.floor((np.arange(size[0]) + 0.5 - x0) / (x1 - x0) * _SIDE).astype(int)
    rows = np.floor((np.arange(size[1]) + 0.5 - y0) / (y1 - y0) * _SIDE).astype(int)
    inside = ((rows >= 0) & (rows < _SIDE))[:, None] & ((columns >= 0) & (columns < _SIDE))
    return encode_mask(inside & joined[rows.clip(0, _SIDE - 1)[:, None], columns.clip(0, _SIDE - 1)])
