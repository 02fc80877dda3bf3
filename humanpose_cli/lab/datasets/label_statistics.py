"""Labels in numbers, one sample at a time: ranges, reprojection errors, and a digest. No sample is kept."""

from __future__ import annotations

import hashlib
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
_DIGITS = 6  # of what is reported: sums depend on the order of the groups behind them


@dataclass
class ValueRange:
    """How many numbers of one kind there are, how many are not finite, and minimum, mean and maximum of the others."""

    count: int = 0
    not_finite: int = 0
    sum: float = 0.0
    min: float = np.inf
    max: float = -np.inf

    def add(self, values: Array | float) -> None:
        """Include numbers of any shape."""
        numbers = np.asarray(values, np.float64).ravel()
        finite = numbers[np.isfinite(numbers)]
        self.count += len(numbers)
        self.not_finite += len(numbers) - len(finite)
        self.sum += float(finite.sum())
        self.min, self.max = float(finite.min(initial=self.min)), float(finite.max(initial=self.max))

    def document(self) -> dict[str, float | int | None]:
        """Return count, not_finite, min, mean and max as JSON values; the last three are None without a number."""
        finite = self.count - self.not_finite
        figures = {"min": self.min, "mean": self.sum / max(finite, 1), "max": self.max}
        rounded_figures = {name: float(f"{value:.{_DIGITS}g}") if finite else None for name, value in figures.items()}
        return {"count": self.count, "not_finite": self.not_finite, **rounded_figures}


# Ranges

_NUMBERS = {
    "betas": "betas",
    "more_betas": "more_betas",
    "area": "area (px²)",
    "occlusion": "occlusion (percent)",
}  # labels of a person whose numbers are of one kind → their names with units


def label_values(sample: Sample) -> Iterator[tuple[str, Array | float]]:
    """Yield name with unit and numbers of a sample's labels, of joints and keypoints only those that are labelled."""
    yield "image/width (px)", float(sample.size[0])
    yield "image/height (px)", float(sample.size[1])
    yield "image/people", float(sum(not person.crowd for person in sample.people))
    if sample.focal is not None:
        yield "camera/focal (px)", float(sample.focal)
    if sample.principal_point is not None:
        yield from _by_axis("camera/principal point", np.array([sample.principal_point]), "px")
    for person in sample.people:
        yield from _values_of_person(person)


def _values_of_person(person: Person) -> Iterator[tuple[str, Array | float]]:
    if person.poses is not None:
        angles = np.linalg.norm(np.reshape(person.poses, (-1, 3)), axis=1)
        yield "poses/root angle (rad)", angles[:1]
        yield "poses/joint angles (rad)", angles[1:]
    for label, name in _NUMBERS.items():
        if (values := getattr(person, label)) is not None:
            yield name, values
    for label in ("trans", "vertices"):
        if (points := getattr(person, label)) is not None:
            yield from _by_axis(label, np.atleast_2d(points), "m")
    if person.box is not None:
        yield "box/width (px)", person.box[2] - person.box[0]
        yield "box/height (px)", person.box[3] - person.box[1]
    if person.surface_points is not None:
        yield "surface points of a person", float(len(person.surface_points))
    for kind, labels, unit in (("keypoints", person.keypoints, "px"), ("joints", person.joints, "m")):
        for name, points in labels.items():
            labels = points[points[:, -1] != 0]
            yield from _by_axis(f"{kind}/{name}", labels[:, :-1], unit)
            yield f"{kind}/{name} labelled of a person", float(len(labels))


def _by_axis(name: str, points: Array, unit: str) -> Iterator[tuple[str, Array]]:
    for axis in range(points.shape[1]):
        yield f"{name} {'xyz'[axis]} ({unit})", points[:, axis]


# Reprojection


def reprojection_errors(
    sample: Sample, bodies: Mapping[str, Body], projections: Sequence[str] = ()
) -> Iterator[tuple[tuple[str, str], Array]]:
    """Yield what is projected, the 2-D labels, and the distances (N,) in pixels of their joints of the same name.

    Projected are a person's labelled 3-D joints, `joints/NAME`, and those of the posed model, `body`.

    bodies     gender → model, for people whose parameters are of it
    projections  skeletons whose keypoints the adapter projects from the joints: they are no evidence
    """
    if sample.focal is None:
        return
    centre = sample.principal_point or (sample.size[0] / 2, sample.size[1] / 2)
    models = {body.name: body for body in bodies.values()}
    for person in sample.people:
        points = {f"joints/{name}": (name, joints) for name, joints in person.joints.items()}
        model = model_for(models, person.body, person.gender)
        if model is not None and (joints := posed_joints(model, person)) is not None:
            points["body"] = SMPL24.name, joints
        for label, (skeleton, joints) in points.items():
            pixels = project_points(joints[:, :3], sample.focal, centre)
            for name, keypoints in person.keypoints.items():
                if name in projections:
                    continue
                rows, others = _common_joints(skeleton, name)
                mask = (joints[rows, 3] > 0) & (keypoints[others, 2] > 0)
                distances = np.linalg.norm(pixels[rows] - keypoints[others, :2], axis=1)
                yield (label, f"keypoints/{name}"), distances[mask]


def posed_joints(model: Body, person: Person) -> Array | None:
    """Return smpl24's joints (24, 4) of a person's parameters, metres in camera axes and 1; None without parameters."""
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
    """Return the rows, in either skeleton, of the joints that both have by name."""
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
        """Begin the digest of a group, to which its samples are added; `close` takes it in."""
        return GroupDigest(self._groups, group)

    def hexdigest(self) -> str:
        """Return the digest of the groups that were closed."""
        total = hashlib.sha256()
        for name in sorted(self._groups, key=str.encode):
            total.update(_encoded(name) + self._groups[name])
        return total.hexdigest()


class GroupDigest:
    """The digest of one group, made by `LabelDigest.group`."""

    def __init__(self, groups: dict[str, bytes], group: Group) -> None:
        self._groups, self._name = groups, group.name
        self._hash = hashlib.sha256(_encoded({"/".join(key): np.array(pairs) for key, pairs in group.pairs.items()}))

    def add(self, sample: Sample) -> None:
        """Add the group's next sample."""
        people = [{name: getattr(person, name) for name in _OF_PERSON} for person in sample.people]
        self._hash.update(_encoded({**{name: getattr(sample, name) for name in _OF_SAMPLE}, "people": people}))

    def close(self) -> None:
        """Take the group in: all of its samples were added."""
        self._groups[self._name] = self._hash.digest()


def _encoded(value: Any) -> bytes:
    """Encode a value of labels as bytes that differ for different values."""
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
    grid_values = np.clip(np.rint(numbers * _GRID), -_LIMIT, _LIMIT)
    integers = np.where(np.isnan(grid_values), -(2.0**63), grid_values).astype("<i8")
    return b"A" + ",".join(map(str, numbers.shape)).encode() + b":" + integers.tobytes()
