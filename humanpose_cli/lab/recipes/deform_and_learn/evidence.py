"""Evidence of people without 3-D labels: 2-D keypoints, and dense correspondences of pixels and vertices.

People of a cache without dense correspondences have only keypoints. Crops are squares around the boxes. Positions are
in halves of the crop's side, −1 … 1, x right, y down: the image units of `ScaledPose`, in which an upright person is
about as large as in metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24, Skeleton
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.augmentation import Example
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.recipes.people import LABELS, JoinedPeople, keypoints_of
from humanpose_cli.models.deform_and_learn.correspondences import NearestVertices
from humanpose_cli.models.deform_and_learn.inputs import FILL, landmarks_in_crop

Quality = Literal["labels", "degraded", "none"]
"""Dense correspondences: unchanged from the cache, with the errors of a network that predicts them, or unused."""

SURFACE_POINTS = "people/surface_points"
"""Column of annotated points of charts."""

_COMMON_ERROR = 0.03  # metres, error of all correspondences of a part
_SINGLE_ERROR = 0.02  # metres, error of each correspondence
_SWAPPED = 0.06  # probability that a limb is confused with the limb of the other side
_MISSED = 0.08  # probability that a limb is not detected
_GRID_CELLS = 112  # along a crop, resolution of DensePose-RCNN
_LIMBS = (("hip", "knee", "ankle", "foot"), ("shoulder", "elbow", "wrist", "hand"))


@dataclass(frozen=True)
class PeopleEvidence:
    """Evidence of N people in their crops, with J joints of a skeleton and P correspondences.

    Attributes:
        rows: (N,) int64. Rows of the people in their caches.
        keypoints: (N, J, 3) float32, image units. x, y, and 1 for known joints, else 0.
        points: (N, P, 2) float32, image units. Pixels.
        vertices: (N, P) int32. The vertex that each pixel shows, −1 for none.
    """

    rows: NDArray[np.int64]
    keypoints: NDArray[np.float32]
    points: NDArray[np.float32]
    vertices: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """(N,) bool. Whether all keypoints are known, as the lifter's training needs them."""
        return np.asarray((self.keypoints[..., 2] > 0).all(1))

    def taken(self, numbers: Any) -> PeopleEvidence:
        """Select people by index, slice or mask."""
        return PeopleEvidence(**{name: values[numbers] for name, values in self.arrays.items()})

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class ViewChange:
    """A change of a person's crop: rotation and scale about the middle, then shift, then mirroring left to right.

    Attributes:
        scale: Factor on the size of the person.
        shift: Image units. Shift in x and y.
        roll: Radians. Rotation.
        mirror: Whether the crop is mirrored.
    """

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    mirror: bool = False

    def points(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Transform points (..., 2) in image units from the crop to the changed crop."""
        cosine, sine = self.scale * np.cos(self.roll), self.scale * np.sin(self.roll)
        result = points @ np.array([[cosine, sine], [-sine, cosine]]) + np.array(self.shift)
        return np.asarray(result * (-1 if self.mirror else 1, 1), np.float32)


def person_crop(box: NDArray[Any], size: int, view: ViewChange | None = None) -> Crop:
    """Return the square crop of a person.

    Args:
        box: (4,) float, pixels. The person's box.
        size: Pixels. Side of the crop.
        view: Change of the crop; None for no change.
    """
    view = view or ViewChange()
    shift = (view.shift[0] * size / 2, view.shift[1] * size / 2)
    return crop_around_box(box, size, fill=FILL, angle=view.roll, scale=view.scale, shift=shift, mirror=view.mirror)


def people_evidence(
    people: JoinedPeople,
    body: Body,
    skeleton: Skeleton,
    count: int,
    quality: Quality,
    seed: int,
    nearest: NearestVertices | None = None,
) -> PeopleEvidence:
    """Return the evidence of people; a person's evidence does not depend on the other people.

    Args:
        people: N people.
        body: The body whose vertices the correspondences name.
        skeleton: Skeleton of the keypoints.
        count: Correspondences of each person, drawn from the pixels that show them.
        quality: Quality of the correspondences.
        seed: Seed of the draws.
        nearest: Converts chart coordinates to vertices. If given, caches with DensePose's output or annotations use
            these; other caches use their maps of vertices.

    Raises:
        InputError: If a cache has no keypoints for this skeleton, or correspondences of another body.
    """
    errors = CorrespondenceErrors(body) if quality == "degraded" else None
    count = 0 if quality == "none" else count
    labels = people.values(lambda some: keypoints_of(some, skeleton))
    boxes = people.column("box")
    charted = [takes_charts(part.cache, nearest) for part in people.parts]
    keypoints, points, vertices = [], [], []
    for number, identity in enumerate(people.seeds.tolist()):
        random = np.random.default_rng((seed, *identity))
        crop = person_crop(boxes[number], 2)  # with two pixels per side, a pixel is an image unit
        flat_joints = landmarks_in_crop(labels[number], crop)
        flat_joints[flat_joints[:, 2] <= 0, :2] = 0
        keypoints.append(flat_joints)
        if not count:
            continue
        by_charts = charted[people.sources[number]]
        example = people.example(number, ("densepose" if by_charts else "correspondence", "persons"), image=False)
        if nearest is not None and by_charts:
            pixels, indices = charted_vertices(example, count, nearest, random)
        else:
            _check_body(example, body)
            pixels, indices = visible_vertices(example, count, random)
        if errors is not None:
            pixels, indices = errors(pixels, indices, random)
        padding = (0, count - len(pixels))
        points.append(np.pad(crop.points(pixels) - 1, (padding, (0, 0))))
        vertices.append(np.pad(indices, padding, constant_values=-1))
    return PeopleEvidence(
        people.seeds[:, 0],
        np.array(keypoints),
        np.reshape(points, (len(people), count, 2)).astype(np.float32),
        np.reshape(vertices, (len(people), count)).astype(np.int32),
    )


def takes_charts(cache: Cache, nearest: NearestVertices | None) -> bool:
    """Return whether correspondences of a cache come from chart coordinates.

    Args:
        cache: The cache, with or without DensePose's output or annotations.
        nearest: Converts chart coordinates to vertices; None if they are not used.
    """
    columns = (LABELS["densepose"].column, SURFACE_POINTS)
    return nearest is not None and any(cache.labels.get(column, 0) for column in columns)


def visible_vertices(
    example: Example, count: int, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw correspondences from a map of vertices.

    Args:
        example: The person.
        count: Max number of correspondences.
        random: Source of the random numbers.

    Returns:
        (P, 2) float32 pixels of the image that show the person, and (P,) int32 the vertex that each shows.
    """
    vertex_map = example.maps.get("correspondence")
    if vertex_map is None:
        return np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
    pixels = np.stack(_person_pixels(vertex_map, example))
    y, x = pixels[:, random.permutation(pixels.shape[1])[:count]]
    return np.stack((x, y), 1).astype(np.float32) + np.float32(0.5), vertex_map[y, x, 0].astype(np.int32) - 1


def _person_pixels(labels: NDArray[Any], example: Example) -> tuple[NDArray[np.int64], ...]:
    """Return rows and columns of the labelled pixels that show the person."""
    visible = labels[..., 0] > 0
    return np.nonzero(visible if example.mask is None else visible & (example.mask > 0))


def charted_vertices(
    example: Example, count: int, nearest: NearestVertices, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw correspondences from the person's annotated surface points, or else from the image's map of charts.

    Args:
        example: The person.
        count: Max number of correspondences.
        nearest: Converts chart coordinates to vertices.
        random: Source of the random numbers.

    Returns:
        Pixels and vertices, as of `visible_vertices`.
    """
    points, chart_map = example.person.surface_points, example.maps.get("densepose")
    if points is None and chart_map is not None:
        y, x = _person_pixels(chart_map, example)
        values = chart_map[y, x].astype(np.float32)
        points = np.concatenate((np.stack((x, y), 1) + 0.5, values[:, :1], values[:, 1:] / 255), 1)
    if points is None or not len(points):
        return np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
    selection = torch.from_numpy(np.asarray(points[random.permutation(len(points))[:count]], np.float32))
    vertices, valid = nearest(selection[:, 2].round().long(), selection[:, 3:])
    return selection[valid, :2].numpy(), vertices[valid].numpy().astype(np.int32)


def _check_body(example: Example, body: Body) -> None:
    """Raise InputError if a map has the vertices of another body."""
    kind = example.person.body
    if kind and "correspondence" in example.maps and kind.partition("-")[0] != body.name.partition("-")[0]:
        raise InputError(example.name, "has correspondences with another body", expected=body.name, got=kind)


class CorrespondenceErrors:
    """Degrades true correspondences to about the quality of DensePose.

    Vertices move on their part by a common 3 cm and 2 cm each, 6 % of the limbs are confused with the other side, 8 %
    are missed, and pixels lie on DensePose-RCNN's grid of 112 cells per crop. No public table splits DensePose's
    errors; these are our estimate.

    Args:
        body: The body.
    """

    def __init__(self, body: Body) -> None:
        self.template = body.template.cpu().numpy()
        self.parts = body.part_labels.cpu().numpy()
        self.mirror = body.mirror_vertices.cpu().numpy()
        self._part_vertices = {int(part): np.flatnonzero(self.parts == part) for part in np.unique(self.parts)}
        self._limbs = [
            [SMPL24.index(f"{side}_{name}") for name in names] for side in ("left", "right") for names in _LIMBS
        ]

    @cached_property
    def _trees(self) -> Mapping[int, Any]:
        from scipy.spatial import cKDTree  # takes 0.2 s

        return {part: cKDTree(self.template[rows]) for part, rows in self._part_vertices.items()}

    def __call__(
        self, points: NDArray[np.float32], vertices: NDArray[np.int32], random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Degrade pixels (P, 2) and vertices (P,); returns fewer of both."""
        if not len(points):
            return points, vertices
        vertices = vertices.copy()
        detected = np.ones(len(vertices), bool)
        parts = self.parts[vertices]
        for limb in self._limbs:
            on_limb = np.isin(parts, limb)
            chance = random.random()
            if chance < _SWAPPED:
                vertices[on_limb] = self.mirror[vertices[on_limb]]
            elif chance < _SWAPPED + _MISSED:
                detected &= ~on_limb
        for part in np.unique(self.parts[vertices]).tolist():
            rows = np.flatnonzero(self.parts[vertices] == part)
            offset = _COMMON_ERROR * random.normal(size=3) + _SINGLE_ERROR * random.normal(size=(len(rows), 3))
            nearest = self._trees[part].query(self.template[vertices[rows]] + offset)[1]
            vertices[rows] = self._part_vertices[part][nearest]
        cell = float((points.max(0) - points.min(0)).max()) / _GRID_CELLS
        pixels = points if cell <= 0 else (np.floor(points / cell) + 0.5) * cell
        return pixels[detected].astype(np.float32), vertices[detected]
