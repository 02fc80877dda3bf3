"""DensePose-COCO and DensePose-PoseTrack: people with about a hundred surface points each.

Layouts and licences: data/README.md, after DensePose's INSTALL.md and PoseTrack/README.md, Detectron2's
DENSEPOSE_DATASETS.md and PosePile.

DensePose-COCO has about 49,000 people on COCO's images of 2014. Protocols: "densepose": training on train and
valminusminival, validation on minival; "files": one split per annotation file.

DensePose-PoseTrack has people in videos of PoseTrack 2017, some frames of which have surface points. Images of
PoseTrack 2018, which has the same videos, work as well. Protocol "densepose": the files' train and val;
densepose_posetrack_test2017.json has no public annotations and is not read. A person's identity is their track.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import existing_file
from humanpose_cli.io.coco_annotations import HIDDEN_CONFIDENCE, decode_run_lengths
from humanpose_cli.io.densepose_annotations import SIDE, AnnotatedImage, AnnotatedPerson, read_annotated_images
from humanpose_cli.lab.cache.samples import Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.common import FolderSource, check_image_size, clip_box, first_existing
from humanpose_cli.lab.datasets.reading import encode_mask, stored_image

Array = NDArray[Any]


def sample_of(
    annotation: AnnotatedImage, name: str, splits: Mapping[str, str], sequence: str = "", frame: int = 0
) -> Sample:
    """Make the sample of a complete image.

    Args:
        annotation: The image and its people.
        name: Name of the sample.
        splits: Protocol → split.
        sequence: Name of the video; with their track, it identifies its people.
        frame: Index within the video.
    """
    image = stored_image(annotation.path)
    size = annotation.record["width"], annotation.record["height"]
    check_image_size(annotation.path, image.size, size)
    people = [
        person_of(person, size, "" if person.track is None else f"{sequence}/{person.track}")
        for person in sorted(annotation.people, key=lambda person: person.crowd)
    ]
    return Sample(name, image.image, size, people=people, sequence=sequence, frame=frame, splits=splits)


def person_of(annotation: AnnotatedPerson, size: tuple[int, int], identity: str = "") -> Person:
    """Label a person: box, keypoints, surface points and a mask that joins all annotated parts.

    Args:
        annotation: The person.
        size: (width, height) of the image.
        identity: Name of the person; "" if unknown.

    Raises:
        InputError: If the run lengths of the parts are damaged.
    """
    return Person(
        identity=identity,
        box=clip_box(annotation.box, size),
        area=annotation.area,
        crowd=annotation.crowd,
        keypoints={"coco17": annotation.keypoints},
        surface_points=annotation.points,
        mask=_mask(annotation, size) if annotation.masks else None,
    )


def _mask(annotation: AnnotatedPerson, size: tuple[int, int]) -> bytes:
    union = np.zeros((SIDE, SIDE), bool)
    for mask in annotation.masks:
        part = decode_run_lengths(mask, annotation.where)
        if part.shape != union.shape:
            problem = "has dp_masks of another size"
            raise InputError(annotation.where, problem, expected=f"{union.shape}", got=f"{part.shape}")
        union |= part
    x0, y0, x1, y1 = annotation.box
    columns = np.floor((np.arange(size[0]) + 0.5 - x0) / (x1 - x0) * SIDE).astype(int)
    rows = np.floor((np.arange(size[1]) + 0.5 - y0) / (y1 - y0) * SIDE).astype(int)
    inside = ((rows >= 0) & (rows < SIDE))[:, None] & ((columns >= 0) & (columns < SIDE))
    return encode_mask(inside & union[rows.clip(0, SIDE - 1)[:, None], columns.clip(0, SIDE - 1)])


# The sources


class _DensePoseSource(FolderSource):
    """Annotation files whose images and people are counted; images are kept complete.

    Attributes:
        counts: Part → official numbers of images and of people with surface points.
        flag_one: See `read_annotated_images`.
    """

    counts: ClassVar[Mapping[str, tuple[int, int]]]
    flag_one: ClassVar[float]
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
            everyone = self._split_of(part) != "train"  # for evaluation, as `coco` has them
            images = read_annotated_images(path, flag_one=self.flag_one, everyone=everyone)
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
            groups += self._group_frames(present, part)
        return groups

    def _split_of(self, part: str) -> str:
        """Return the split that an annotation file belongs to."""
        return part

    @abstractmethod
    def _annotations(self, part: str) -> Path:
        """Return a part's annotation file."""

    @abstractmethod
    def _frame(self, path: Path, image: AnnotatedImage, part: str) -> AnnotatedImage:
        """Find an image of the annotation file at `path`; if it is missing, its path follows file_name."""

    @abstractmethod
    def _group_frames(self, frames: list[AnnotatedImage], part: str) -> list[Group]:
        """Group a part's frames; the key of a group is (part, frames)."""


COCO_COUNTS: Mapping[str, tuple[int, int]] = {
    "train": (26437, 39210),
    "valminusminival": (5984, 7297),
    "minival": (1508, 2243),
}
"""Annotation file → number of images and of people with surface points."""
_PROTOCOLS = {
    "train": {"densepose": "train", "files": "train"},
    "valminusminival": {"densepose": "train", "files": "validation"},
    "minival": {"densepose": "validation", "files": "test"},
}
"""Annotation file → protocol → split."""
_IMAGES = {"train": "train2014", "valminusminival": "val2014", "minival": "val2014"}


class DensePoseCocoSource(_DensePoseSource):
    """DensePose-COCO as samples with all people of an image; a group is an image."""

    name = "densepose"
    title = "DensePose-COCO"
    contents = "annotations of DensePose-COCO"
    counts = COCO_COUNTS
    flag_one = HIDDEN_CONFIDENCE
    example = "annotations/densepose_….json"

    def _split_of(self, part: str) -> str:
        return _PROTOCOLS[part]["densepose"]

    def _annotations(self, part: str) -> Path:
        first = self.root / "annotations" / f"densepose_coco_2014_{part}.json"
        return first_existing(first, first.with_name(f"densepose_{part}2014.json"))

    def _frame(self, path: Path, image: AnnotatedImage, part: str) -> AnnotatedImage:
        name = _IMAGES[part]
        folder = first_existing(self.root / name, self.root / "images" / name, self.root / f"coco_{name}")
        return replace(image, path=folder / image.file_name)

    def _group_frames(self, frames: list[AnnotatedImage], part: str) -> list[Group]:
        return [Group(f"{part}/{Path(frame.file_name).stem}", 1, key=(part, [frame])) for frame in frames]

    def read(self, group: Group) -> Iterator[Sample]:
        part, (frame,) = group.key
        yield sample_of(frame, group.name, _PROTOCOLS[part])


POSETRACK_COUNTS: Mapping[str, tuple[int, int]] = {"train": (1680, 8274), "val": (782, 4753)}
"""Split → number of images and of people with surface points."""
_FOLDERS = ("", "annotations", "DensePose_PoseTrack")
_FILES = ("densepose_only_posetrack_{}2017.json", "densepose_posetrack_{}2017.json")
_POSETRACK_FOLDERS = ("", "posetrack_data", "posetrack_data_2017")


class DensePosePoseTrackSource(_DensePoseSource):
    """DensePose-PoseTrack as samples with all people of an image; a group is a video's annotated frames."""

    name = "densepose-posetrack"
    title = "DensePose-PoseTrack"
    contents = "annotations of DensePose-PoseTrack"
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
        return replace(image, path=first_existing(*files), number=_frame_number(path, image))

    def _group_frames(self, frames: list[AnnotatedImage], part: str) -> list[Group]:
        videos: dict[str, list[AnnotatedImage]] = {}
        for frame in frames:
            videos.setdefault(Path(frame.file_name).parent.name, []).append(frame)
        return [
            Group(
                f"{part}/{video}",
                len(frames_of_video),
                key=(part, sorted(frames_of_video, key=lambda frame: frame.number)),
            )
            for video, frames_of_video in videos.items()
        ]

    def read(self, group: Group) -> Iterator[Sample]:
        part, frames = group.key
        for frame in frames:
            name = f"{group.name}/{Path(frame.file_name).stem}"
            yield sample_of(frame, name, {"densepose": split_name(part)}, group.name, frame.number)


def _frame_number(path: Path, image: AnnotatedImage) -> int:
    number = image.record.get("frame_id")
    if number is None:
        digits = re.findall(r"\d+", Path(image.file_name).stem)
        number = int(digits[-1]) if digits else None
    if not isinstance(number, int) or number < 0:
        raise InputError(f"{path}, {image.file_name}", "has no frame_id", got=str(number)[:40])
    return number
