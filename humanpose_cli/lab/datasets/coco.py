"""COCO's keypoints, and the other data sets that come in COCO's form: people with joints in single images and videos.

Layout and licences: data/README.md. Annotations also lie in ROOT itself, in ROOT/json or ROOT/annotations, images also
below ROOT/images; both can be named by options. Layouts after the owners' pages, and MMPose's for what others
converted.

Labels: boxes, COCO's 17 joints as far as the file names them (others, such as the top of the head, are left out), masks
of the outlines and their areas. Boxes and outlines are continuous pixels from the corner of the image; keypoints name
pixels, whose centres half is added for. Crowds are no people; images without a labelled joint are left out.
Protocol "coco": train, validation and test by the files' names. A group is an image, or a video where there are some.
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
from humanpose_cli.io.checks import existing_file, existing_folder
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
from humanpose_cli.io.text_files import read_json_object
from humanpose_cli.lab.cache.samples import SPLITS, Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.common import FolderOptions, FolderSource, check_size, clipped_box
from humanpose_cli.lab.datasets.reading import encode_mask, stored_image

_FOLDERS = ("annotations", "json", "")
_FILES = (
    r"person_keypoints_(?P<split>train|val)(?P<year>\d{4})",
    r"ochuman_coco_format_(?P<split>val|test)_range_0\.00_1\.00",
    r"(?:mmpose_)?crowdpose_(?P<split>train|val|test)",
    r"(?P<split>training|validation)_humanart",
    r"mpii_(?P<split>train|val|test)",
    r"posetrack18_(?P<split>train|val)",
)
_FILE_NAME = re.compile("|".join(re.sub(r"\?P<\w+>", "?:", name) for name in _FILES))
_OF_VIDEOS = ("train", "val", "test")  # folders of PoseTrack's files
_SPLIT = re.compile(r"(train|val|test)")
_YEAR = re.compile(r"(?:train|val)(\d{4})$")
Array = NDArray[Any]


@dataclass(frozen=True)
class CocoOptions(FolderOptions):
    """allow_missing and split as for all sources.

    annotations  one annotation file, relative to the folder; "" for all known ones
    images       folder of the images, relative to the folder; "" where they usually are
    """

    annotations: str = ""
    images: str = ""


@dataclass(frozen=True, eq=False)
class _Annotated:
    """One person: (4,) x0 y0 x1 y1, (17, 3) keypoints, area, outlines as in the file, and who it is in a video."""

    where: str
    box: Array
    keypoints: Array
    area: float | None
    outlines: Any
    track: str


@dataclass(frozen=True, eq=False)
class _Shown:
    """One image: its path, size (width, height), people, name, video ("" without) and frame."""

    path: Path
    size: tuple[int, int]
    people: Sequence[_Annotated]
    name: str
    video: str = ""
    frame: int = 0


class CocoSource(FolderSource):
    """Annotation files in COCO's form as samples with all of an image's people."""

    name = "coco"
    title = "COCO"
    contents = "annotations of COCO's kind"
    example = "annotations/person_keypoints_val2017.json"
    splits = SPLITS
    options: CocoOptions
    options_type = CocoOptions

    def _list(self, notes: list[str]) -> Iterable[Group]:
        files = [path for path in self._files() if self._wants(_split_of(path))]
        if not files:
            raise self._nothing_found()
        return [group for path in files for group in self._groups(path, notes)]

    def _files(self) -> list[Path]:
        if self.options.annotations:
            return [existing_file(self.root / self.options.annotations, "an annotation file")]
        folders = [self.root / name for name in _FOLDERS]
        files = [path for folder in folders if folder.is_dir() for path in folder.glob("*.json")]
        files = [path for path in files if _FILE_NAME.fullmatch(path.stem)]
        for split in _OF_VIDEOS:
            files += (self.root / "annotations" / split).glob("[0-9]*_*.json")
        return sorted(files, key=natural_order)

    def _groups(self, path: Path, notes: list[str]) -> list[Group]:
        images, left_out = _read(path)
        if left_out:
            notes.append(f"{path}: {', '.join(left_out)} are no joints of {COCO17.name}; they are left out")
        folder = self._image_folder(path, images[0].path)
        placed = [(image, folder / image.path) for image in images]
        present = self._present(placed, path, "images", notes)
        videos: dict[str, list[_Shown]] = {}
        for image in present:
            videos.setdefault(f"{path.stem}/{image.video or image.name}", []).append(image)
        key = {"split": _split_of(path), "folder": folder}
        return [
            Group(name, len(shown), key={**key, "images": sorted(shown, key=lambda image: image.frame)})
            for name, shown in videos.items()
        ]

    def _image_folder(self, path: Path, first: Path) -> Path:
        """Where the images of an annotation file are: the first usual folder that has its first one."""
        if self.options.images:
            return existing_folder(self.root / self.options.images, "the folder of the images")
        year = _YEAR.search(path.stem)
        of_year = [year[0]] if year else []
        names = ["", "images", *of_year, *(f"images/{name}" for name in of_year), ".."]
        folders = [self.root / name for name in names]
        usual = self.root / (of_year[0] if of_year else "images")
        return next((folder for folder in folders if (folder / first).is_file()), usual)

    def read(self, group: Group) -> Iterator[Sample]:
        for shown in group.key["images"]:
            path = group.key["folder"] / shown.path
            image = stored_image(path)
            check_size(path, image.size, shown.size)
            video = group.name if shown.video else ""
            yield Sample(
                f"{video}/{shown.name}" if video else group.name,
                image.image,
                image.size,
                image.focal,
                people=[_person(person, image.size, video) for person in shown.people],
                sequence=video,
                frame=shown.frame,
                splits={"coco": group.key["split"]},
            )


def _split_of(path: Path) -> str:
    """By the name of the file, or of the folder of PoseTrack's: "training" is train, "validation" val."""
    folder = path.parent.name if path.parent.name in _OF_VIDEOS else ""
    found = _SPLIT.search(path.stem)
    return split_name(folder or (found[1] if found else "train"))


def _read(path: Path) -> tuple[list[_Shown], list[str]]:
    """The images with a labelled joint, with all of their people; and joints that are left out."""
    document = read_json_object(path)
    images, annotations = records(path, document, "images"), records(path, document, "annotations")
    records_by_id = {image_id(f"{path}, images[{number}]", record): record for number, record in enumerate(images)}
    names = keypoint_names(path, document)
    # Where the flag 2 does not occur, as in PoseTrack, 1 means visible, else hidden.
    hidden = any(2 in (annotation.get("keypoints") or [])[2::3] for annotation in annotations)
    one = HIDDEN_CONFIDENCE if hidden else 1.0
    people: dict[Any, list[_Annotated]] = {}
    for number, annotation in enumerate(annotations):
        where, key = f"{path}, annotations[{number}]", annotation.get("image_id")
        if not isinstance(key, int | str) or key not in records_by_id:
            raise InputError(where, "belongs to no image", expected="the id of one of its images", got=str(key)[:40])
        person = None if annotation.get("iscrowd", 0) else _annotated(where, annotation, names, one)
        if person is not None:
            people.setdefault(key, []).append(person)
        annotations[number] = {}  # these files are large
    shown = [
        _shown(path, record, people[key])
        for key, record in records_by_id.items()
        if any(person.keypoints[:, 2].any() for person in people.get(key, ()))
    ]
    if not shown:
        raise InputError(
            path, "has no person with a labelled joint", expected=f"keypoints of {', '.join(COCO17.joint_names[:3])} …"
        )
    return shown, [name for name in names if name not in COCO17]


def _shown(path: Path, record: Mapping[str, Any], people: Sequence[_Annotated]) -> _Shown:
    size = record["width"], record["height"]
    file = Path(record["file_name"].removeprefix("HumanArt/"))
    if file.is_absolute() or ".." in file.parts:
        raise InputError(path, "names an image outside of its folder", got=str(file)[:80])
    video, frame = record.get("vid_id"), record.get("frame_id", 0)
    if video is None:
        return _Shown(file, size, people, str(file.with_suffix("")))
    digits = re.findall(r"\d+", file.stem)
    return _Shown(file, size, people, file.stem, str(video), int(digits[-1]) if digits else int(frame))


def _annotated(where: str, annotation: Mapping[str, Any], names: Sequence[str], one: float) -> _Annotated | None:
    """One person; None for one with neither a box nor joints. one: the confidence that the flag 1 stands for."""
    keypoints = flagged_keypoints(where, annotation, names, one)
    labelled = keypoints[keypoints[:, 2] > 0, :2]
    if annotation.get("bbox"):
        x, y, width, height = numbers(where, annotation, "bbox", 4)
        box = np.array([x, y, x + width, y + height])
    elif len(labelled) > 1:  # some of PoseTrack's have none
        box = np.concatenate((labelled.min(0) - 0.5, labelled.max(0) + 0.5))
    else:
        return None
    if not (box[2:] > box[:2]).all():
        return None
    area = annotation.get("area")
    has_area = isinstance(area, int | float) and np.isfinite(area) and area > 0
    return _Annotated(
        where,
        box,
        to_coco17(keypoints, names),
        float(area) if has_area and area is not None else None,
        annotation.get("segmentation") or None,
        str(annotation.get("track_id", "")),
    )


def _person(person: _Annotated, size: tuple[int, int], video: str) -> Person:
    box = clipped_box(person.box, size)
    labelled = person.keypoints[:, 2].any()
    return Person(
        identity=f"{video}/{person.track}" if video and person.track else "",
        box=box if (box[2:] > box[:2]).all() else None,
        area=person.area,
        keypoints={COCO17.name: person.keypoints} if labelled else {},
        mask=None if person.outlines is None else encode_mask(_mask(person, size)),
    )


def _mask(person: _Annotated, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The outlines of a person, polygons or run lengths, as a mask of the image's size (width, height)."""
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
    """The pixels whose centres lie inside of a polygon (N, 2): an odd number of its edges lies to their left."""
    width, height = size
    (x0, y0), (x1, y1) = polygon.T[:, None], np.roll(polygon, -1, 0).T[:, None]  # [1, N]
    centres = np.arange(height)[:, None] + 0.5
    crossed = (y0 <= centres) != (y1 <= centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (centres - y0) * (x1 - x0) / (y1 - y0)
    rows, edges = np.nonzero(crossed)
    columns = np.clip(np.ceil(at[rows, edges] - 0.5), 0, width).astype(np.int64)
    crossings = np.zeros((height, width + 1), np.int64)
    np.add.at(crossings, (rows, columns), 1)
    return crossings.cumsum(1)[:, :width] % 2 == 1
