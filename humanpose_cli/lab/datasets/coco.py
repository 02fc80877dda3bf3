"""COCO's keypoints, and other datasets in COCO's form with its 17 joints: OCHuman and Human-Art.

Layout and licences: data/README.md. Annotations may also lie in ROOT itself, in ROOT/json or ROOT/annotations, and
images below ROOT/images; both can be named by options. Layouts follow the owners' pages.

Labels: boxes, COCO's 17 joints as far as the file names them, masks of the outlines and their areas. Boxes and outlines
are continuous pixels from the corner of the image; keypoints name pixels, to whose centres half a pixel is added.
Crowds are flagged and come after the people. Evaluation splits have all images of a file, as the evaluator also counts
detections in images without people; in "train", images without a labelled joint are left out.

Protocol "coco": train, validation and test by the files' names. A group is an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import existing_file, existing_folder
from humanpose_cli.files.text_files import json_object, read_json
from humanpose_cli.io.coco_annotations import (
    HIDDEN_CONFIDENCE,
    decode_run_lengths,
    flagged_keypoints,
    image_id,
    keypoint_names,
    numbers,
    records,
    to_coco17,
)
from humanpose_cli.io.inputs import natural_order
from humanpose_cli.lab.cache.samples import SPLITS, Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.common import FolderOptions, FolderSource, check_image_size, clip_box
from humanpose_cli.lab.datasets.reading import encode_mask, stored_image

_FOLDERS = ("annotations", "json", "")
_FILES = (
    r"person_keypoints_(?P<split>train|val)(?P<year>\d{4})",
    r"ochuman_coco_format_(?P<split>val|test)_range_0\.00_1\.00",
    r"(?P<split>training|validation)_humanart",
)
_FILE_NAME = re.compile("|".join(re.sub(r"\?P<\w+>", "?:", name) for name in _FILES))
_SPLIT = re.compile(r"(train|val|test)")
_YEAR = re.compile(r"(?:train|val)(\d{4})$")
Array = NDArray[Any]


@dataclass(frozen=True)
class CocoOptions(FolderOptions):
    """Options of COCO; allow_missing and split as for all sources.

    Attributes:
        annotations: One annotation file, relative to the folder; "" for all known files.
        images: Folder of the images, relative to the folder; "" for the usual places.
    """

    annotations: str = ""
    images: str = ""


@dataclass(frozen=True, eq=False)
class _Annotation:
    """One person or crowd: box (4,), keypoints (17, 3), area, and outlines as in the file."""

    where: str
    box: Array
    keypoints: Array
    area: float | None = None
    outlines: Any = None
    crowd: bool = False

    @property
    def labelled(self) -> bool:
        """Whether it has a labelled joint."""
        return bool(self.keypoints[:, 2].any())


@dataclass(frozen=True, eq=False)
class _Image:
    """One image: its path, size (width, height), people and name."""

    path: Path
    size: tuple[int, int]
    people: Sequence[_Annotation]
    name: str


class CocoSource(FolderSource):
    """Annotation files in COCO's form as samples with all people of an image."""

    name = "coco"
    title = "COCO"
    contents = "annotations of COCO's kind"
    example = "annotations/person_keypoints_val2017.json"
    splits = SPLITS
    options: CocoOptions
    options_type = CocoOptions

    def _list(self, notes: list[str]) -> Iterable[Group]:
        files = [path for path in self._files() if self._wants(_split_of(path))]
        return [group for path in files for group in self._groups(path, notes)]

    def _files(self) -> list[Path]:
        if self.options.annotations:
            return [existing_file(self.root / self.options.annotations, "an annotation file")]
        folders = [self.root / name for name in _FOLDERS]
        files = [path for folder in folders if folder.is_dir() for path in folder.glob("*.json")]
        return sorted((path for path in files if _FILE_NAME.fullmatch(path.stem)), key=natural_order)

    def _groups(self, path: Path, notes: list[str]) -> list[Group]:
        images, left_out = _read(path, everything=_split_of(path) != "train")
        if left_out:
            notes.append(f"{path}: {', '.join(left_out)} are joints of no skeleton; they are left out")
        folder = self._image_folder(path, images[0].path)
        files = [(image, folder / image.path) for image in images]
        present = self._present(files, path, "images", notes)
        key = {"split": _split_of(path), "folder": folder}
        return [Group(f"{path.stem}/{image.name}", 1, key={**key, "image": image}) for image in present]

    def _image_folder(self, path: Path, first: Path) -> Path:
        """Find the images of an annotation file: the first usual folder that holds its first image."""
        if self.options.images:
            return existing_folder(self.root / self.options.images, "the folder of the images")
        year = _YEAR.search(path.stem)
        of_year = [year[0]] if year else []
        names = ["", "images", *of_year, *(f"images/{name}" for name in of_year), ".."]
        folders = [self.root / name for name in names]
        usual = self.root / (of_year[0] if of_year else "images")
        return next((folder for folder in folders if (folder / first).is_file()), usual)

    def read(self, group: Group) -> Iterator[Sample]:
        entry = group.key["image"]
        path = group.key["folder"] / entry.path
        image = stored_image(path)
        check_image_size(path, image.size, entry.size)
        yield Sample(
            group.name,
            image.image,
            image.size,
            image.focal,
            people=[_person(person, image.size) for person in entry.people],
            splits={"coco": group.key["split"]},
        )


def _split_of(path: Path) -> str:
    """Name the split by the file: "training" is train, "validation" val."""
    match = _SPLIT.search(path.stem)
    return split_name(match[1] if match else "train")


def _read(path: Path, *, everything: bool) -> tuple[list[_Image], list[str]]:
    """Read the images with all people and crowds, and the names of joints that are left out."""
    entries, left_out = _coco_images(path, json_object(path, read_json(path)))
    with_joints = [image for image in entries if any(person.labelled for person in image.people)]
    if not with_joints:
        raise InputError(
            path, "has no person with a labelled joint", expected=f"keypoints of {', '.join(COCO17.joint_names[:3])} …"
        )
    return entries if everything else with_joints, left_out


def _coco_images(path: Path, document: Mapping[str, Any]) -> tuple[list[_Image], list[str]]:
    images = records(path, document, "images")
    annotations = records(path, document, "annotations")
    records_by_id = {image_id(f"{path}, images[{number}]", record): record for number, record in enumerate(images)}
    names = keypoint_names(path, document)
    people: dict[Any, list[_Annotation]] = {}
    for number, annotation in enumerate(annotations):
        where = f"{path}, annotations[{number}]"
        key = annotation.get("image_id")
        if not isinstance(key, int | str) or key not in records_by_id:
            raise InputError(where, "belongs to no image", expected="the id of one of its images", got=str(key)[:40])
        person = _annotation(where, annotation, names)
        if person is not None:
            people.setdefault(key, []).append(person)
        annotations[number] = {}  # these files are large
    entries = [
        _image(path, record, sorted(people.get(key, ()), key=lambda person: person.crowd))
        for key, record in records_by_id.items()
    ]
    return entries, [name for name in names if name not in COCO17]


def _relative(path: Path, name: str) -> Path:
    """Return the path of an image below its folder. Raises InputError if it is outside."""
    file = Path(name)
    if file.is_absolute() or ".." in file.parts:
        raise InputError(path, "names an image outside of its folder", got=str(file)[:80])
    return file


def _image(path: Path, record: Mapping[str, Any], people: Sequence[_Annotation]) -> _Image:
    file = _relative(path, record["file_name"].removeprefix("HumanArt/"))
    return _Image(file, (record["width"], record["height"]), people, str(file.with_suffix("")))


def _annotation(where: str, annotation: Mapping[str, Any], names: Sequence[str]) -> _Annotation | None:
    """Read one person or crowd; None for one with neither a box nor joints."""
    keypoints = flagged_keypoints(where, annotation, names, HIDDEN_CONFIDENCE)
    points = keypoints[keypoints[:, 2] > 0, :2]
    if annotation.get("bbox"):
        x, y, width, height = numbers(where, annotation, "bbox", 4)
        box = np.array([x, y, x + width, y + height])
    elif len(points) > 1:
        box = np.concatenate((points.min(0) - 0.5, points.max(0) + 0.5))
    else:
        return None
    if not (box[2:] > box[:2]).all():
        return None
    area = annotation.get("area")
    has_area = isinstance(area, int | float) and np.isfinite(area) and area > 0
    return _Annotation(
        where,
        box,
        to_coco17(keypoints, names),
        float(area) if has_area and area is not None else None,
        annotation.get("segmentation") or None,
        bool(annotation.get("iscrowd", 0)),
    )


def _person(person: _Annotation, size: tuple[int, int]) -> Person:
    box = clip_box(person.box, size)
    return Person(
        box=box if (box[2:] > box[:2]).all() else None,
        area=person.area,
        crowd=person.crowd,
        keypoints={COCO17.name: person.keypoints} if person.labelled else {},
        mask=None if person.outlines is None else encode_mask(_mask(person, size)),
    )


def _mask(person: _Annotation, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the outlines, polygons or run lengths, as a mask of the image's size (width, height)."""
    if isinstance(person.outlines, dict):
        mask = decode_run_lengths(person.outlines, person.where)
        if mask.shape != (size[1], size[0]):
            got = f"{mask.shape[1]} × {mask.shape[0]}"
            raise InputError(person.where, "has a mask of another size", expected=f"{size[0]} × {size[1]}", got=got)
        return mask
    try:
        polygons = [np.asarray(outline, np.float64).reshape(-1, 2) for outline in person.outlines]
    except (TypeError, ValueError) as error:
        raise InputError(person.where, "has a damaged outline", got=str(error)[:80]) from error
    mask = np.zeros((size[1], size[0]), bool)
    for polygon in polygons:
        mask |= _inside(polygon, size)
    return mask


def _inside(polygon: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Find the pixels with centres inside a polygon (N, 2), by the parity of the edges to their left."""
    width, height = size
    # [1, N]
    x0, y0 = polygon.T[:, None]
    x1, y1 = np.roll(polygon, -1, 0).T[:, None]
    centres = np.arange(height)[:, None] + 0.5
    crosses = (y0 <= centres) != (y1 <= centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing_x = x0 + (centres - y0) * (x1 - x0) / (y1 - y0)
    rows, edges = np.nonzero(crosses)
    columns = np.clip(np.ceil(crossing_x[rows, edges] - 0.5), 0, width).astype(np.int64)
    crossings = np.zeros((height, width + 1), np.int64)
    np.add.at(crossings, (rows, columns), 1)
    return crossings.cumsum(1)[:, :width] % 2 == 1
