"""DensePose-COCO and DensePose-PoseTrack: people with some hundred points of their surfaces each.

DensePose-COCO, about 49,000 people on COCO's images of 2014:
    ROOT/annotations/densepose_coco_2014_{train,minival,valminusminival}.json    as the first release names them, or
    ROOT/annotations/densepose_{train2014,minival2014,valminusminival2014}.json  as Detectron2's documentation does
    ROOT/train2014/COCO_train2014_000000000036.jpg, ROOT/val2014/…               COCO's images, also below images/
Protocols: "densepose": training on train and valminusminival, validation on minival; "files": which file lists an
image. Layout after DensePose's INSTALL.md and Detectron2's DENSEPOSE_DATASETS.md.

DensePose-PoseTrack, people in videos of PoseTrack 2017, some frames of which have surface points:
    ROOT/densepose_posetrack_{train,val}2017.json   or densepose_only_posetrack_…, the annotated frames only; also
                                                    below ROOT/annotations/ or ROOT/DensePose_PoseTrack/
    ROOT/images/…                                   PoseTrack's images, where the annotations' file_name points, also
                                                    below ROOT/posetrack_data/ and ROOT/posetrack_data_2017/
    ROOT/images/train/000001_bonn_train/000000.jpg  or those of PoseTrack 2018, which hold the same videos
Protocol "densepose": the files' train and val; densepose_posetrack_test2017.json has no public annotations and is not
read. A person is known by their track. Layout after DensePose's PoseTrack/README.md, Detectron2 and PosePile.

Annotation files are COCO's with `dp_` fields (DensePose's data_format.md). Of an annotated person
    dp_x, dp_y          position in the person's box scaled to 256 × 256
    dp_I, dp_U, dp_V    which of 24 charts of the surface is visible there, and where on it
    dp_masks            14 parts as run lengths of 256 × 256 pixels, some of them empty

Boxes are continuous pixels from the corner of the image; keypoints name pixels, whose centres half is added for.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.data.samples import CHARTS, Group, Person, Sample, split_name
from humanpose_cli.datasets.coco_annotations import (
    HIDDEN_CONFIDENCE,
    decode_run_lengths,
    flagged_keypoints,
    image_id,
    keypoint_names,
    numbers,
    records,
)
from humanpose_cli.datasets.common import FolderSource, to_coco17
from humanpose_cli.datasets.reading import encode_mask, existing_file, read_json, stored_image

_SIDE = 256
_PARTS = 14
_ROUNDING = 1e-4  # of charts' coordinates: the release has 1.0000001
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Instance:
    """One person of one image.

    where      the annotation, for messages
    box        (4,) x0 y0 x1 y1; keypoints (17, 3) of coco17, confidence 0 where not labelled
    points     (M, 5) x, y pixels, chart, U, V; None for people whose surface is not annotated
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
    """One image: its record in the annotation file (file_name, width, height …), its people, and where its file is.

    path    the image's file; number  within its video
    """

    record: Mapping[str, Any]
    people: Sequence[Instance]
    path: Path = Path()
    number: int = 0

    @property
    def file_name(self) -> str:
        return str(self.record["file_name"])

    @property
    def surfaces(self) -> int:
        """Number of people with surface points."""
        return sum(person.points is not None for person in self.people)

    def sample(self, name: str, track_prefix: str, **facts: Any) -> Sample:
        """The whole image with its people, who are known by `track_prefix` and their track where they have one."""
        image = stored_image(self.path)
        size = self.record["width"], self.record["height"]
        if image.size != size:
            raise InputError(self.path, "has another size than its annotation", expected=f"{size}", got=f"{image.size}")
        people = [
            person_of(person, size, "" if person.track is None else f"{track_prefix}/{person.track}")
            for person in self.people
        ]
        return Sample(name, image.image, size, people=people, **facts)


def read_annotated_images(path: Path, *, flag_one: float = HIDDEN_CONFIDENCE) -> list[AnnotatedImage]:
    """The images on which at least one person has surface points, in the file's order, with all of their people.

    flag_one  the confidence of keypoints whose flag is 1: COCO's hidden ones, PoseTrack's labelled ones

    People are those without crowds; without surface points they must have a labelled keypoint. Images that the file
    marks as `has_no_densepose` are left out. InputError names the record that is damaged.
    """
    document = read_json(path)
    images, annotations = records(path, document, "images"), records(path, document, "annotations")
    names = keypoint_names(path, document)
    known = {image_id(f"{path}, images[{number}]", record): record for number, record in enumerate(images)}
    people: dict[Any, list[Instance]] = {}
    for number, annotation in enumerate(annotations):
        where = f"{path}, annotations[{number}]"
        key = annotation.get("image_id")
        if not isinstance(key, int | str) or key not in known:
            raise InputError(where, "belongs to no image", expected="the id of one of its images", got=str(key)[:40])
        if annotation.get("iscrowd", 0) or known[key].get("has_no_densepose"):
            continue
        instance = _instance(where, annotation, names, flag_one)
        if instance is not None:
            people.setdefault(key, []).append(instance)
        annotations[number] = {}  # these files are large
    annotated = [AnnotatedImage(record, people.get(image, ())) for image, record in known.items()]
    return [image for image in annotated if image.surfaces]


def _instance(where: str, annotation: Mapping[str, Any], names: Sequence[str], flag_one: float) -> Instance | None:
    surface = "dp_x" in annotation
    keypoints = flagged_keypoints(where, annotation, names, flag_one)
    if not surface and not keypoints[:, 2].any():
        return None
    x, y, width, height = numbers(where, annotation, "bbox", 4)
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
        [mask for mask in masks if isinstance(mask, dict)],  # an empty list stands for a part that is hidden
        track if isinstance(track, int) else None,
    )


def _points(where: str, annotation: Mapping[str, Any], corner: Array, extent: Array) -> Array:
    count = len(annotation["dp_x"]) if isinstance(annotation["dp_x"], list) else 0
    x, y, chart, u, v = (numbers(where, annotation, f"dp_{name}", count) for name in "xyIUV")
    if ((chart < 1) | (chart > CHARTS) | (chart != np.rint(chart))).any():
        raise InputError(where, "has unknown charts in dp_I", expected=f"1 to {CHARTS}", got=str(np.unique(chart))[:60])
    uv = np.stack((u, v), 1)
    rounded = np.clip(uv, 0, 1)
    if np.abs(uv - rounded).max(initial=0) > _ROUNDING:
        raise InputError(where, "has dp_U or dp_V beyond 0 to 1", got=f"{uv.min():g} to {uv.max():g}")
    in_image = corner + np.stack((x, y), 1) / _SIDE * extent
    return np.concatenate((in_image, chart[:, None], rounded), 1)


def person_of(instance: Instance, size: tuple[int, int], identity: str = "") -> Person:
    """The person in an image of `size` (width, height): box, keypoints, surface points and mask.

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
            problem = "has dp_masks of another size"
            raise InputError(instance.where, problem, expected=f"{joined.shape}", got=f"{part.shape}")
        joined |= part
    x0, y0, x1, y1 = instance.box
    columns = np.floor((np.arange(size[0]) + 0.5 - x0) / (x1 - x0) * _SIDE).astype(int)
    rows = np.floor((np.arange(size[1]) + 0.5 - y0) / (y1 - y0) * _SIDE).astype(int)
    inside = ((rows >= 0) & (rows < _SIDE))[:, None] & ((columns >= 0) & (columns < _SIDE))
    return encode_mask(inside & joined[rows.clip(0, _SIDE - 1)[:, None], columns.clip(0, _SIDE - 1)])


# The sources


class _DensePoseSource(FolderSource):
    """Annotation files whose images and people are counted; images are kept whole, with all of their people.

    counts    part → the official numbers of images and people with surface points
    flag_one  see `read_annotated_images`; example: of an annotation file's name
    """

    counts: ClassVar[Mapping[str, tuple[int, int]]]
    flag_one: ClassVar[float]
    example: ClassVar[str]
    splits = ("train", "val")

    def _list(self, notes: list[str]) -> Iterable[Group]:
        groups: list[Group] = []
        for part, official in self.counts.items():
            if not self._wants(self._split_of(part)):
                continue
            path = self._annotations(part)
            if self.options.allow_missing and not path.exists():
                notes.append(f"{path}: does not exist")
                continue
            existing_file(path, f"{self.title}'s annotations of {part}")
            images = read_annotated_images(path, flag_one=self.flag_one)
            if not images:
                remedy = "COCO's own keypoints are read by hpc preprocess coco"
                raise InputError(
                    path, "holds no surface points", expected="annotations with dp_x, dp_I …", remedy=remedy
                )
            self._check_count(path, "images with surface points", official[0], len(images), notes)
            people = sum(image.surfaces for image in images)
            self._check_count(path, "people with surface points", official[1], people, notes)
            frames = [self._frame(path, image, part) for image in images]
            present = self._present([(frame, frame.path) for frame in frames], path, "images", notes)
            groups += self._grouped(present, part)
        if not groups:
            raise InputError(self.root, f"holds no annotations of {self.title}", expected=self.example)
        return groups

    def _split_of(self, part: str) -> str:
        """The split that an annotation file belongs to."""
        return part

    @abstractmethod
    def _annotations(self, part: str) -> Path:
        """A part's annotation file."""

    @abstractmethod
    def _frame(self, path: Path, image: AnnotatedImage, part: str) -> AnnotatedImage:
        """An image of the annotation file at `path`; its file where file_name says, if it is nowhere."""

    @abstractmethod
    def _grouped(self, frames: list[AnnotatedImage], part: str) -> list[Group]:
        """The groups of a part; their key is (part, frames)."""


COCO_COUNTS: Mapping[str, tuple[int, int]] = {
    "train": (26437, 39210),
    "valminusminival": (5984, 7297),
    "minival": (1508, 2243),
}
"""File → images and people with surface points."""
_PROTOCOLS = {
    "train": {"densepose": "train", "files": "train"},
    "valminusminival": {"densepose": "train", "files": "validation"},
    "minival": {"densepose": "validation", "files": "test"},
}
"""File → protocol → split: "densepose" as the owners train and judge, "files" with a split for each file."""
_IMAGES = {"train": "train2014", "valminusminival": "val2014", "minival": "val2014"}


class DensePoseCocoSource(_DensePoseSource):
    """DensePose-COCO as samples with all of an image's people; a group is an image."""

    name = "densepose"
    title = "DensePose-COCO"
    counts = COCO_COUNTS
    flag_one = HIDDEN_CONFIDENCE
    example = "annotations/densepose_….json"

    def _split_of(self, part: str) -> str:
        return _PROTOCOLS[part]["densepose"]

    def _annotations(self, part: str) -> Path:
        first = self.root / "annotations" / f"densepose_coco_2014_{part}.json"
        second = first.with_name(f"densepose_{part}2014.json")
        return second if second.exists() and not first.exists() else first

    def _frame(self, path: Path, image: AnnotatedImage, part: str) -> AnnotatedImage:
        name = _IMAGES[part]
        folders = [self.root / name, self.root / "images" / name, self.root / f"coco_{name}"]
        folder = next((folder for folder in folders if folder.is_dir()), folders[0])
        return replace(image, path=folder / image.file_name)

    def _grouped(self, frames: list[AnnotatedImage], part: str) -> list[Group]:
        return [Group(f"{part}/{Path(frame.file_name).stem}", 1, key=(part, [frame])) for frame in frames]

    def read(self, group: Group) -> Iterator[Sample]:
        part, (frame,) = group.key
        yield frame.sample(group.name, "", splits=_PROTOCOLS[part])


POSETRACK_COUNTS: Mapping[str, tuple[int, int]] = {"train": (1680, 8274), "val": (782, 4753)}
"""Split → images and people with surface points."""
_FOLDERS = ("", "annotations", "DensePose_PoseTrack")
_FILES = ("densepose_only_posetrack_{}2017.json", "densepose_posetrack_{}2017.json")
_POSETRACK_FOLDERS = ("", "posetrack_data", "posetrack_data_2017")


class DensePosePoseTrackSource(_DensePoseSource):
    """DensePose-PoseTrack as samples with all of an image's people; a group is a video's annotated frames."""

    name = "densepose-posetrack"
    title = "DensePose-PoseTrack"
    flag_one = 1.0
    counts = POSETRACK_COUNTS
    example = _FILES[1].format("train")

    def _annotations(self, part: str) -> Path:
        files = [self.root / folder / name.format(part) for folder in _FOLDERS for name in _FILES]
        return next((file for file in files if file.exists()), self.root / _FILES[1].format(part))

    def _frame(self, path: Path, image: AnnotatedImage, part: str) -> AnnotatedImage:
        files = [self.root / folder / image.file_name for folder in _POSETRACK_FOLDERS]
        video = re.fullmatch(r"0*(\d+)_([a-z]+)(?:_\w+)?", Path(image.file_name).parent.name)
        frame = image.record.get("frame_id")
        if video is not None and isinstance(frame, int):  # as PoseTrack 2018 names it
            name = f"images/{part}/{int(video[1]):06d}_{video[2]}_{part}/{frame:06d}.jpg"
            files += [self.root / folder / name for folder in _POSETRACK_FOLDERS]
        path_of_image = next((file for file in files if file.is_file()), files[0])
        return replace(image, path=path_of_image, number=_frame_number(path, image))

    def _grouped(self, frames: list[AnnotatedImage], part: str) -> list[Group]:
        videos: dict[str, list[AnnotatedImage]] = {}
        for frame in frames:
            videos.setdefault(Path(frame.file_name).parent.name, []).append(frame)
        return [
            Group(f"{part}/{video}", len(shown), key=(part, sorted(shown, key=lambda frame: frame.number)))
            for video, shown in videos.items()
        ]

    def read(self, group: Group) -> Iterator[Sample]:
        part, frames = group.key
        for frame in frames:
            name = f"{group.name}/{Path(frame.file_name).stem}"
            facts = {"sequence": group.name, "frame": frame.number, "splits": {"densepose": split_name(part)}}
            yield frame.sample(name, group.name, **facts)


def _frame_number(path: Path, image: AnnotatedImage) -> int:
    number = image.record.get("frame_id")
    if number is None:
        number = int(digits[-1]) if (digits := re.findall(r"\d+", Path(image.file_name).stem)) else None
    if not isinstance(number, int) or number < 0:
        raise InputError(f"{path}, {image.file_name}", "has no frame_id", got=str(number)[:40])
    return number
