"""Samples of a data set: an image, its people, and the labels of both.

Every source makes samples, the cache stores them, and readers give their labels back. Conventions as everywhere:
metres, radians, pixels of the stored image with centres at +0.5, camera axes x right, y down, z forward. What is
not known is None here and NaN (or an absent map) in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SPLITS = ("train", "validation", "test")
"""Names of splits in every protocol: to learn from, to choose by, to evaluate on."""
_OWNERS_NAMES = {"val": "validation", "validate": "validation", "valid": "validation"}


def split_name(name: str) -> str:
    """Translate an owner's or user's name of a split into one of SPLITS; another name is unchanged."""
    return _OWNERS_NAMES.get(name, name)


@dataclass(frozen=True)
class LabelMap:
    """The encoding of one kind of label map as a PNG of its image's size.

    Attributes:
        dtype: Of the decoded array; channels 1: (H, W), 3: (H, W, 3).
        meaning: What a number says; 0 always stands for "nothing here" or "not known".
    """

    dtype: type[np.uint8] | type[np.uint16]
    channels: int
    meaning: str


LABEL_MAPS: Mapping[str, LabelMap] = {
    "persons": LabelMap(np.uint8, 1, "1 + the person's place among the picture's people"),
    "parts": LabelMap(np.uint8, 1, "1 + the row of smpl24's joint whose part is seen"),
    "depth": LabelMap(np.uint16, 1, "millimetres along the camera's axis"),
    "normals": LabelMap(np.uint8, 3, "round(127.5 (n + 1)) of the unit normal in camera axes"),
    "correspondence": LabelMap(np.uint16, 3, "1 + nearest vertex of the body, then 4095 u and 4095 v of its texture"),
    "densepose": LabelMap(np.uint8, 3, "DensePose's chart 1 to 24, then 255 U and 255 V"),
}


@dataclass(frozen=True)
class Person:
    """One person in one image; None where a label is not known.

    Attributes:
        identity, clothing, activity: Names by which splits and pairs are made, "" where unknown.
        gender: "neutral", "male", "female" or "" (the model that the body parameters belong to).
        body: "default", "smpl", "smplx" …: whose parameters poses and betas are; "" without any.
        box: (4,) x0, y0, x1, y1 pixels.
        crowd: Whether this is a region of several people who are not labelled singly; nobody learns from those.
        area: Square pixels of the person's outline, as its owner counts it (COCO's object scale, squared).
        poses: (72,) axis-angle of smpl24; the first three map body to camera axes, the others are parent-relative.
        betas: (10,) shape; trans (3,) metres, such that root = shaped rest pelvis + trans.
        segment_scales: (24,).
        keypoints: Skeleton name → (J, 3): x, y pixels and confidence or visibility 0…1 (0: not labelled).
        joints: Skeleton name → (J, 4): x, y, z metres in camera axes and confidence 0…1 (0: not labelled).
        fit_poses, fit_betas, fit_trans: An imperfect fit of this person, from which refinement starts.
        detected: (33, 3) x, y, confidence of the detector on this image; detected_world (33, 4) its world
            landmarks.
        detected_mask: PNG bytes, 8 bit, the image's size: the detector's person mask · 255.
        surface_points: (M, 5) x, y pixels, DensePose chart 1…24, U, V in 0…1.
        mask: PNG bytes, 8 bit, the image's size: 255 where this person is visible, for sources without a map.
    """

    identity: str = ""
    clothing: str = ""
    activity: str = ""
    gender: str = ""
    body: str = ""
    box: Array | None = None
    crowd: bool = False
    area: float | None = None
    poses: Array | None = None
    betas: Array | None = None
    trans: Array | None = None
    segment_scales: Array | None = None
    keypoints: Mapping[str, Array] = field(default_factory=dict)
    joints: Mapping[str, Array] = field(default_factory=dict)
    fit_poses: Array | None = None
    fit_betas: Array | None = None
    fit_trans: Array | None = None
    detected: Array | None = None
    detected_world: Array | None = None
    detected_mask: bytes | None = None
    surface_points: Array | None = None
    mask: bytes | None = None

    def shape(self, count: int) -> Array | None:
        """Return the first `count` shape components, padded with 0; None if unknown."""
        if self.betas is None:
            return None
        return np.pad(self.betas, (0, max(0, count - len(self.betas))))[:count]


@dataclass(frozen=True)
class Sample:
    """One image.

    Attributes:
        name: Unique within its source, "/" between its parts.
        image: JPEG or PNG bytes as stored; size (width, height) pixels.
        focal: Pixels; None if the camera is unknown.
        principal_point: (2,) pixels; None for the centre.
        people: Those that are labelled; crowds come last.
        maps: Name of `LABEL_MAPS` → PNG bytes.
        sequence: Name of the video or set of images that belong together, "" for a single image.
        frame: Its index there, counted in frames of the original recording.
        frame_rate: Of the original recording, frames per second; None if unknown.
        world_to_camera: (3, 4) rotation and translation in metres, from axes in which the scene stands still; None
            unknown.
        splits: Protocol → the one of SPLITS that this image belongs to, such as {"nbf": "train", "all": "test"}.
    """

    name: str
    image: bytes
    size: tuple[int, int]
    focal: float | None = None
    principal_point: tuple[float, float] | None = None
    people: Sequence[Person] = ()
    maps: Mapping[str, bytes] = field(default_factory=dict)
    sequence: str = ""
    frame: int = 0
    splits: Mapping[str, str] = field(default_factory=dict)
    frame_rate: float | None = None
    world_to_camera: Array | None = None


@dataclass(frozen=True)
class Group:
    """Samples that must stay together in one shard: a clip, the images of one garment, or a single image.

    Attributes:
        name: Unique within the source.
        count: How many samples reading it will give.
        pairs: (protocol, split) → (input, target) numbers of samples within the group, where a protocol lists
            pairs.
        key: What the source needs to read it; plain data that can be pickled.
        files: It is read from, where these are the user's and may change; a shard that is older is written again.
    """

    name: str
    count: int
    pairs: Mapping[tuple[str, str], Sequence[tuple[int, int]]] = field(default_factory=dict)
    key: Any = None
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class SourceInfo:
    """The source of a cache: its name, and options as plain JSON values."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Source(Protocol):
    """Something that makes samples. Instances can be pickled: shards are read by several processes."""

    @property
    def info(self) -> SourceInfo: ...

    def groups(self) -> Sequence[Group]:
        """List all groups in a fixed order, without decoding images. Raises InputError that names a missing or wrong
        file.
        """
        ...

    def read(self, group: Group) -> Iterator[Sample]:
        """Read the group's samples, the same in any process. Raises InputError that names a damaged file."""
        ...


# Sources around sources: the same images with more labels.


class LabellingSource:
    """The groups of another source, each sample with what `label` adds to it: nothing, here."""

    label_options: Mapping[str, Any] = {}
    """The settings that decide the added labels, as plain JSON values."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def info(self) -> SourceInfo:
        """The source's, and what was added."""
        info = self.source.info
        return SourceInfo(info.name, {**info.options, **self.label_options})

    @property
    def notes(self) -> tuple[str, ...]:
        """The source's notes."""
        return tuple(getattr(self.source, "notes", ()))

    def groups(self) -> Sequence[Group]:
        return self.source.groups()

    def read(self, group: Group) -> Iterator[Sample]:
        for sample in self.source.read(group):
            yield self.label(sample)

    def label(self, sample: Sample) -> Sample:
        """Return a sample with its labels."""
        return sample
