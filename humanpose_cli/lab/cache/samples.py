"""Samples of a dataset: an image, its people, and the labels of both.

Every source yields samples, the cache stores them, and readers return their labels. Units and axes are as everywhere:
metres, radians, pixels of the stored image with centres at +0.5, camera axes x right, y down, z forward. Unknown labels
are None here and NaN (or a missing map) in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import GARMENTS

Array = NDArray[Any]
SPLITS = ("train", "validation", "test")
"""Names of the splits of every protocol: for learning, choosing and evaluating."""
_OWNERS_NAMES = {"val": "validation", "validate": "validation", "valid": "validation"}


def split_name(name: str) -> str:
    """Translate an owner's or user's name of a split into one of SPLITS; other names are unchanged."""
    return _OWNERS_NAMES.get(name, name)


@dataclass(frozen=True)
class LabelMap:
    """The encoding of one kind of label map as a PNG of its image's size.

    Attributes:
        dtype: Type of the decoded array.
        channels: 1 for (H, W), 3 for (H, W, 3).
        meaning: Meaning of a number; 0 always stands for "nothing here" or "unknown".
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
    "garments": LabelMap(np.uint8, 1, f"1 + the place among {', '.join(GARMENTS)}"),
}


@dataclass(frozen=True)
class Person:
    """One person in one image; None for unknown labels.

    Attributes:
        identity: Name that splits and pairs go by; "" if unknown.
        clothing: Name of the clothes; "" if unknown.
        activity: Name of the activity; "" if unknown.
        gender: "neutral", "male" or "female", of the model that the parameters belong to; "" if unknown.
        body: "default", "smpl", "smplx" …, the model of poses and betas; "" without parameters.
        box: (4,) pixels, x0, y0, x1, y1.
        crowd: Whether this is a region of several people who are not labelled singly; such regions are not trained on.
        area: Square pixels inside the outline, as the owner counts them (COCO's object scale, squared).
        poses: (72,) radians, axis-angle of smpl24. The first three map body to camera axes, the others are relative to
            the parent.
        betas: (10,) shape components.
        trans: (3,) metres, such that root = shaped rest pelvis + trans.
        segment_scales: (24,) lengths of the segments, 1 for the body's own.
        hand_poses: (2, 15, 3) radians, axis-angle of `FINGERS` of the left and the right hand, relative to the parent.
        keypoints: Skeleton name → (J, 3), x, y pixels and confidence or visibility 0…1 (0: not labelled).
        joints: Skeleton name → (J, 4), x, y, z metres in camera axes and confidence 0…1 (0: not labelled).
        fit_poses: (72,) radians. Poses of an imperfect fit, from which refinement starts.
        fit_betas: (10,) betas of that fit.
        fit_trans: (3,) metres. Translation of that fit.
        detected: (33, 3) x, y pixels and confidence of the detector on this image.
        detected_world: (33, 4) metres and confidence. The detector's world landmarks.
        detected_mask: PNG bytes, 8 bit, of the image's size. The detector's person mask · 255.
        surface_points: (M, 5) x, y pixels, DensePose chart 1…24, U and V 0…1.
        mask: PNG bytes, 8 bit, of the image's size: 255 where this person is visible, for sources without a map.
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
    hand_poses: Array | None = None
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
        """Return the first shape components, padded with zeros.

        Args:
            count: Number of components.

        Returns:
            (count,) floats; None if the shape is unknown.
        """
        if self.betas is None:
            return None
        return np.pad(self.betas, (0, max(0, count - len(self.betas))))[:count]


@dataclass(frozen=True)
class Sample:
    """One image.

    Attributes:
        name: Name that is unique within its source, with "/" between its parts.
        image: JPEG or PNG bytes as stored.
        size: (width, height) pixels.
        focal: Pixels; None if the camera is unknown.
        principal_point: (2,) pixels; None for the centre.
        people: The labelled people; crowds come last.
        maps: Name of `LABEL_MAPS` → PNG bytes.
        sequence: Name of the video or set of images that belong together; "" for a single image.
        frame: Index within the sequence, in frames of the original recording.
        splits: Protocol → split of this image, such as {"nbf": "train", "all": "test"}.
        frame_rate: Frames per second of the original recording; None if unknown.
        world_to_camera: (3, 4) rotation and translation in metres, from axes in which the scene rests; None if unknown.
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
        name: Name that is unique within the source.
        count: Number of samples that reading the group yields.
        pairs: (protocol, split) → (input, target) numbers of samples within the group, if the protocol lists pairs.
        key: What the source needs to read the group; plain data that can be pickled.
        files: Files of the user that the group is read from and that may change; an older shard is written again.
    """

    name: str
    count: int
    pairs: Mapping[tuple[str, str], Sequence[tuple[int, int]]] = field(default_factory=dict)
    key: Any = None
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class SourceInfo:
    """Name and options of a cache's source.

    Attributes:
        name: Name of the source.
        options: Options as plain JSON values.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Source(Protocol):
    """Something that yields samples. Instances can be pickled, since several processes read the groups."""

    @property
    def info(self) -> SourceInfo: ...

    def groups(self) -> Sequence[Group]:
        """List all groups in a fixed order, without decoding images.

        Raises:
            InputError: If a file is missing or wrong; the error names it.
        """
        ...

    def read(self, group: Group) -> Iterator[Sample]:
        """Read the samples of a group, the same ones in any process.

        Args:
            group: One of `groups`.

        Raises:
            InputError: If a file is damaged; the error names it.
        """
        ...


# Sources around sources: the same images with more labels.


class LabellingSource:
    """The groups of another source, whose samples subclasses label further in `label`."""

    label_options: Mapping[str, Any] = {}
    """Settings that decide the added labels, as plain JSON values."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def info(self) -> SourceInfo:
        """Name and options of the source, and `label_options`."""
        info = self.source.info
        return SourceInfo(info.name, {**info.options, **self.label_options})

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the source."""
        return tuple(getattr(self.source, "notes", ()))

    def groups(self) -> Sequence[Group]:
        """List the groups of the source."""
        return self.source.groups()

    def read(self, group: Group) -> Iterator[Sample]:
        """Read the samples of a group and label them."""
        for sample in self.source.read(group):
            yield self.label(sample)

    def label(self, sample: Sample) -> Sample:
        """Return a sample with further labels; here, the sample itself."""
        return sample
