"""Labels in numbers, one sample at a time: ranges, distances between 3-D and 2-D labels, and a digest.

Nothing here keeps a sample: a distribution is a histogram, and a digest the hash of what was added.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import model_for
from humanpose_cli.core.conventions import IMAGE_SKELETONS, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.common import project_points

Array = NDArray[Any]
_BUFFERED = 1 << 16  # values that are kept before they go into the histogram
_SMALLEST, _STEP = 1e-9, math.log(1.005)  # of the histogram's bins: quantiles are exact to half a percent
_DIGITS = 6  # of what is reported: sums depend on the order of the groups behind them


class Distribution:
    """Numbers of one kind: how many, how many of them not finite, and their range.

    Minimum, maximum and mean are those of the finite numbers; median and 95th percentile are read from a histogram of
    logarithmic bins, exact to 0.5 %.
    """

    def __init__(self) -> None:
        self.count, self.not_finite, self._sum = 0, 0, 0.0
        self._min, self._max = math.inf, -math.inf
        self._bins: Counter[int] = Counter()
        self._buffer: list[Array] = []
        self._buffered = 0

    def add(self, values: Array | float) -> None:
        """Numbers of any shape."""
        flat = np.array(values, np.float64).ravel()
        self._buffer.append(flat)
        self._buffered += len(flat)
        if self._buffered >= _BUFFERED:
            self._flush()

    def _flush(self) -> None:
        values = np.concatenate((*self._buffer, np.zeros(0)))
        self._buffer, self._buffered = [], 0
        finite = values[np.isfinite(values)]
        self.count += len(values)
        self.not_finite += len(values) - len(finite)
        if len(finite):
            self._sum += float(finite.sum())
            self._min, self._max = min(self._min, float(finite.min())), max(self._max, float(finite.max()))
            size = np.abs(finite)
            bins = np.rint(np.log(np.maximum(size, _SMALLEST) / _SMALLEST) / _STEP).astype(np.int64)
            numbers, counts = np.unique(np.where(finite < 0, -bins, bins), return_counts=True)
            self._bins.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))

    def _quantile(self, share: float) -> float:
        """The number below which that share of the finite ones lies."""
        rank = math.ceil(share * sum(self._bins.values()))
        for number in sorted(self._bins):
            rank -= self._bins[number]
            if rank <= 0:
                size = _SMALLEST * math.exp(abs(number) * _STEP) if number else 0.0
                return min(max(math.copysign(size, number), self._min), self._max)
        return self._max

    def summary(self) -> dict[str, float | int | None]:
        """As JSON values: count, not_finite, min, median, mean, p95 and max; None for the latter without a number."""
        self._flush()
        finite = self.count - self.not_finite
        figures = {"min": self._min, "median": 0.0, "mean": self._sum / max(finite, 1), "p95": 0.0, "max": self._max}
        if finite:
            figures |= {"median": self._quantile(0.5), "p95": self._quantile(0.95)}
        rounded = {name: float(f"{value:.{_DIGITS}g}") if finite else None for name, value in figures.items()}
        return {"count": self.count, "not_finite": self.not_finite, **rounded}


# Ranges


def label_values(sample: Sample) -> Iterator[tuple[str, Array | float]]:
    """Name with unit → numbers of one sample, of joints and keypoints only those that are labelled."""
    yield "image/width (px)", float(sample.size[0])
    yield "image/height (px)", float(sample.size[1])
    yield "image/people", float(sum(not person.crowd for person in sample.people))
    if sample.focal is not None:
        yield "camera/focal (px)", float(sample.focal)
    if sample.principal_point is not None:
        yield from _by_axis("camera/principal point", np.array([sample.principal_point]), "px")
    for person in sample.people:
        yield from _of_person(person)


_NUMBERS = {
    "betas": "betas",
    "more_betas": "more_betas",
    "area": "area (px²)",
    "occlusion": "occlusion (percent)",
}  # labels of a person whose numbers are of one kind → their names with units
_METRES = ("trans", "vertices")  # labels of a person in metres


def _of_person(person: Person) -> Iterator[tuple[str, Array | float]]:
    if person.poses is not None:
        angles = np.linalg.norm(np.reshape(person.poses, (-1, 3)), axis=1)
        yield "poses/root angle (rad)", angles[:1]
        yield "poses/joint angles (rad)", angles[1:]
    for label, name in _NUMBERS.items():
        if (values := getattr(person, label)) is not None:
            yield name, values
    for label in _METRES:
        if (points := getattr(person, label)) is not None:
            yield from _by_axis(label, np.atleast_2d(points), "m")
    if person.box is not None:
        yield "box/width (px)", person.box[2] - person.box[0]
        yield "box/height (px)", person.box[3] - person.box[1]
    if person.surface_points is not None:
        yield "surface points of a person", float(len(person.surface_points))
    for kind, labels, unit in (("keypoints", person.keypoints, "px"), ("joints", person.joints, "m")):
        for name, points in labels.items():
            labelled = points[points[:, -1] != 0]
            yield from _by_axis(f"{kind}/{name}", labelled[:, :-1], unit)
            yield f"{kind}/{name} labelled of a person", float(len(labelled))


def _by_axis(name: str, points: Array, unit: str) -> Iterator[tuple[str, Array]]:
    for axis in range(points.shape[1]):
        yield f"{name} {'xyz'[axis]} ({unit})", points[:, axis]


# Distances between labels


@dataclass(frozen=True)
class Pairing:
    """Labels that are compared: what is projected or posed, and with which labels, in pixels or metres.

    first   "joints/smpl24", "body" for the joints of a posed model, or a name in the owner's files
    second  "keypoints/coco17", "joints/smpl24", or a name in the owner's files of pixels
    """

    first: str
    second: str

    @property
    def unit(self) -> str:
        """Of the distances."""
        return "m" if self.second.startswith("joints/") else "px"

    @property
    def same_joints(self) -> bool:
        """Whether both are of one skeleton; else joints of one name are compared, which owners define differently."""
        skeleton = SMPL24.name if self.first == "body" else self.first.partition("/")[2]
        return skeleton == self.second.partition("/")[2]


def label_distances(
    sample: Sample, bodies: Mapping[str, Body], projected: Sequence[str] = ()
) -> Iterator[tuple[Pairing, Array]]:
    """Distances (N,) of a sample's labelled 3-D joints from its 2-D keypoints, and of posed models from both.

    bodies     gender → model, for people whose parameters are of it
    projected  skeletons whose keypoints the adapter projects from the joints: they are no evidence
    """
    models = {body.name: body for body in bodies.values()}
    for person in sample.people:
        points: dict[str, tuple[str, Array]] = {f"joints/{name}": (name, row) for name, row in person.joints.items()}
        model = model_for(models, person.body, person.gender)
        if model is not None and (posed := posed_joints(model, person)) is not None:
            points["body"] = SMPL24.name, posed
            for name, joints in person.joints.items():
                rows, others = _common_joints(SMPL24.name, name)
                labelled = (joints[others, 3] > 0) & np.isfinite(joints[others]).all(1)
                apart = np.linalg.norm(posed[rows, :3] - joints[others, :3], axis=1)
                yield Pairing("body", f"joints/{name}"), apart[labelled]
        if sample.focal is None:
            continue
        centre = sample.principal_point or (sample.size[0] / 2, sample.size[1] / 2)
        for first, (skeleton, values) in points.items():
            pixels = project_points(values[:, :3], sample.focal, centre)
            for name, keypoints in person.keypoints.items():
                if name in projected:
                    continue
                rows, others = _common_joints(skeleton, name)
                labelled = (values[rows, 3] > 0) & (keypoints[others, 2] > 0)
                apart = np.linalg.norm(pixels[rows] - keypoints[others, :2], axis=1)
                yield Pairing(first, f"keypoints/{name}"), apart[labelled]


def posed_joints(model: Body, person: Person) -> Array | None:
    """smpl24's joints (24, 4) of a person's parameters, metres in camera axes and 1; None where one is missing."""
    shape = person.shape(model.shape_count)
    if person.poses is None or shape is None or person.trans is None:
        return None
    poses, betas, trans = (_tensor(values) for values in (person.poses, shape, person.trans))
    scales = None if person.segment_scales is None else _tensor(person.segment_scales)[None]
    with torch.no_grad():
        rotations = axis_angle_to_matrix(poses.unflatten(0, (-1, 3)))[None]
        body = model.pose(rotations, betas[None], trans[None], scales, vertices=False)
    return np.pad(body.joints[0].double().numpy(), ((0, 0), (0, 1)), constant_values=1)


def _tensor(values: Array) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


@lru_cache(maxsize=256)
def _common_joints(first: str, second: str) -> tuple[list[int], list[int]]:
    """Rows of the joints that two skeletons call the same, in either."""
    names = IMAGE_SKELETONS[first].joint_names
    others = IMAGE_SKELETONS[second].joint_names
    common = [name for name in names if name in others]
    return [names.index(name) for name in common], [others.index(name) for name in common]


# Digest

_OF_SAMPLE = (
    *("name", "size", "sequence", "frame", "splits", "focal", "principal_point", "frame_rate"),
    *("world_to_camera", "crowd_index"),
)
_OF_PERSON = (
    *("identity", "clothing", "activity", "gender", "body", "crowd", "kid", "occlusion", "box", "head_box", "area"),
    *("poses", "betas", "more_betas", "trans", "segment_scales", "keypoints", "joints", "vertices", "surface_points"),
)
DIGEST_COVERS = (
    "of each group its name, its pairs by protocol and split, and of its samples in the adapter's order: "
    f"{', '.join(_OF_SAMPLE)}, and of the people in their order: {', '.join(_OF_PERSON)}; numbers rounded to "
    "1/1024, groups in the order of their names; no image, mask or label map"
)
_GRID = 1024.0  # a power of two: decimals of the owners' files are no ties between its points
_LIMIT = 2.0**62


class LabelDigest:
    """SHA-256 over labels, whichever the order of the groups, the folder's path and the machine.

    Numbers count to 1/1024 of a pixel, metre or radian, so that other versions of numerical libraries agree.
    """

    def __init__(self) -> None:
        self._groups: dict[str, bytes] = {}

    def group(self, group: Group) -> GroupDigest:
        """The digest of a group, to which its samples are added; `close` takes it in."""
        return GroupDigest(self._groups, group)

    def hexdigest(self) -> str:
        """Of the groups that were closed."""
        total = hashlib.sha256()
        for name in sorted(self._groups, key=str.encode):
            total.update(_encoded(name) + self._groups[name])
        return total.hexdigest()


class GroupDigest:
    """See `LabelDigest.group`."""

    def __init__(self, groups: dict[str, bytes], group: Group) -> None:
        self._groups, self._name = groups, group.name
        self._hash = hashlib.sha256(_encoded({"/".join(key): np.array(pairs) for key, pairs in group.pairs.items()}))

    def add(self, sample: Sample) -> None:
        """The group's next sample."""
        people = [{name: getattr(person, name) for name in _OF_PERSON} for person in sample.people]
        self._hash.update(_encoded({**{name: getattr(sample, name) for name in _OF_SAMPLE}, "people": people}))

    def close(self) -> None:
        """All of the group's samples were added."""
        self._groups[self._name] = self._hash.digest()


def _encoded(value: Any) -> bytes:
    """A value of labels as bytes that differ for different values."""
    if value is None:
        return b"N"
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"T%d:" % len(text) + text
    if isinstance(value, Mapping):
        items = b"".join(_encoded(str(key)) + _encoded(value[key]) for key in sorted(value))
        return b"M%d:" % len(value) + items
    if isinstance(value, list):
        return b"L%d:" % len(value) + b"".join(map(_encoded, value))
    numbers = np.asarray(value, np.float64)
    scaled = np.clip(np.rint(numbers * _GRID), -_LIMIT, _LIMIT)
    integers = np.where(np.isnan(scaled), -(2.0**63), scaled).astype("<i8")
    return b"A" + ",".join(map(str, numbers.shape)).encode() + b":" + integers.tobytes()
