"""What is known about people without any 3-D label: 2-D keypoints, and which pixel shows which vertex of the body.

People of a cache without dense correspondences have keypoints alone.

People stand in square crops around their boxes. Positions are in halves of the crop's side, −1 to 1, x right, y down:
the image units of `ScaledPose`, in which a person upright is about as large as in metres.
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
"""Of dense correspondences: unchanged from the cache, with the errors of a network that finds them, or unused."""

SURFACE_POINTS = "people/surface_points"
"""Column of annotated points of charts."""

_TOGETHER, _ALONE = 0.03, 0.02  # metres that correspondences of one part err by, together and each for itself
_SWAPPED, _LOST = 0.06, 0.08  # probability that a limb is taken for the other one, or not found
_LIMBS = (("hip", "knee", "ankle", "foot"), ("shoulder", "elbow", "wrist", "hand"))


@dataclass(frozen=True)
class PeopleEvidence:
    """Of N people in their crops; J joints of a skeleton, P correspondences.

    Attributes:
        rows: (N,) rows of the people in their caches.
        keypoints: (N, J, 3) x, y and 1, or 0 where not known.
        points: (N, P, 2) x, y of pixels.
        vertices: (N, P) int32 the vertex of the body that each shows, −1 where there are fewer pixels.
    """

    rows: NDArray[np.int64]
    keypoints: NDArray[np.float32]
    points: NDArray[np.float32]
    vertices: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """(N,) whether all keypoints are known, as the lifter needs them to learn."""
        return np.asarray((self.keypoints[..., 2] > 0).all(1))

    def taken(self, numbers: Any) -> PeopleEvidence:
        """Select some people, by number, slice or booleans."""
        return PeopleEvidence(
            rows=self.rows[numbers],
            keypoints=self.keypoints[numbers],
            points=self.points[numbers],
            vertices=self.vertices[numbers],
        )

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its fields by name, as files keep them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class ViewChange:
    """A change of a person's crop: turned by `roll` radians and scaled about the middle, moved by `shift` in image
    units, then mirrored left to right.
    """

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    mirror: bool = False

    def points(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Transform (..., 2) image units of the crop → those of the changed crop."""
        cosine, sine = self.scale * np.cos(self.roll), self.scale * np.sin(self.roll)
        result = points @ np.array([[cosine, sine], [-sine, cosine]]) + np.array(self.shift)
        return np.asarray(result * (-1 if self.mirror else 1, 1), np.float32)


def person_crop(box: NDArray[Any], size: int, view: ViewChange | None = None) -> Crop:
    """Return the crop of `size` pixels square that a person with this box is learned from; view  None: unchanged."""
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
    """Gather the evidence of people: each time the same for a seed, whichever other people are among them.

    Raises InputError if a cache has no keypoints for this skeleton (`keypoints_of`), or has another body's
    correspondences.

    Args:
        count: Correspondences of each person, drawn from the pixels that show them.
        nearest: Finds the body's vertices in charts. Correspondences of caches with DensePose's output or
            annotations are those then, of others their maps of vertices.
    """
    errors = CorrespondenceErrors(body) if quality == "degraded" else None
    count = 0 if quality == "none" else count
    labels = people.values(lambda some: keypoints_of(some, skeleton))
    boxes = people.column("box")
    charted = [takes_charts(part.cache, nearest) for part in people.parts]
    keypoints, points, vertices = [], [], []
    for number, identity in enumerate(people.seeds.tolist()):
        random = np.random.default_rng((seed, *identity))
        crop = person_crop(boxes[number], 2)  # two pixels a side: a pixel is a unit
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
        flat = np.full((count, 2), 0, np.float32)
        index = np.full(count, -1, np.int32)
        flat[: len(pixels)], index[: len(indices)] = crop.points(pixels) - 1, indices
        points.append(flat)
        vertices.append(index)
    rows = people.seeds[:, 0]
    surface = np.reshape(points, (len(people), count, 2)), np.reshape(vertices, (len(people), count))
    return PeopleEvidence(rows, np.array(keypoints), surface[0].astype(np.float32), surface[1].astype(np.int32))


def takes_charts(cache: Cache, nearest: NearestVertices | None) -> bool:
    """Return whether a cache has surface points of charts, DensePose's or annotated, and `nearest` finds vertices."""
    columns = LABELS["densepose"].column, SURFACE_POINTS
    return nearest is not None and any(cache.labels.get(column, 0) for column in columns)


def visible_vertices(
    example: Example, count: int, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Choose up to `count` pixels (P, 2) of the image that show the person, and the body's vertex (P,) that each
    shows.
    """
    vertex_map = example.maps.get("correspondence")
    if vertex_map is None:
        return np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
    y, x = _shown(vertex_map, example)
    order = random.permutation(len(y))[:count]
    y, x = y[order], x[order]
    return np.stack((x, y), 1).astype(np.float32) + np.float32(0.5), vertex_map[y, x, 0].astype(np.int32) - 1


def _shown(labels: NDArray[Any], example: Example) -> tuple[NDArray[np.int64], ...]:
    """Return rows and columns of the pixels that have a label and show the person."""
    visible = labels[..., 0] > 0
    return np.nonzero(visible if example.mask is None else visible & (example.mask > 0))


def charted_vertices(
    example: Example, count: int, nearest: NearestVertices, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Choose like `visible_vertices`, from the person's annotated surface points, else from the image's map of
    charts.
    """
    points, chart_map = example.person.surface_points, example.maps.get("densepose")
    if points is None and chart_map is not None:
        y, x = _shown(chart_map, example)
        values = chart_map[y, x].astype(np.float32)
        points = np.concatenate((np.stack((x, y), 1) + 0.5, values[:, :1], values[:, 1:] / 255), 1)
    if points is None or not len(points):
        return np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
    selection = torch.from_numpy(np.asarray(points[random.permutation(len(points))[:count]], np.float32))
    vertices, valid = nearest(selection[:, 2].round().long(), selection[:, 3:])
    return selection[valid, :2].numpy(), vertices[valid].numpy().astype(np.int32)


def _check_body(example: Example, body: Body) -> None:
    """Raise InputError if a map's vertices are those of another body."""
    kind = example.person.body
    if kind and "correspondence" in example.maps and kind.partition("-")[0] != body.name.partition("-")[0]:
        raise InputError(example.name, "has correspondences with another body", expected=body.name, got=kind)


class CorrespondenceErrors:
    """Degrades true correspondences to the quality of a network's, as DensePose's are.

    Ours, since no public table splits its errors: vertices wander on their part by 3 cm together and 2 cm each for
    itself, 6 % of the limbs are taken for those of the other side and 8 % are not found; pixels are those of a grid of
    112 cells a crop, in which DensePose-RCNN answers.
    """

    _CELLS = 112

    def __init__(self, body: Body) -> None:
        self.template = body.template.cpu().numpy()
        self.parts = body.part_labels.cpu().numpy()
        self.mirror = body.mirror_vertices.cpu().numpy()
        self._of_part = {int(part): np.flatnonzero(self.parts == part) for part in np.unique(self.parts)}
        self._limbs = [
            [SMPL24.index(f"{side}_{name}") for name in names] for side in ("left", "right") for names in _LIMBS
        ]

    @cached_property
    def _trees(self) -> Mapping[int, Any]:
        from scipy.spatial import cKDTree  # a fifth of a second to import

        return {part: cKDTree(self.template[rows]) for part, rows in self._of_part.items()}

    def __call__(
        self, points: NDArray[np.float32], vertices: NDArray[np.int32], random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Degrade pixels (P, 2) and vertices (P,) → fewer and others."""
        if not len(points):
            return points, vertices
        vertices, keep = vertices.copy(), np.ones(len(vertices), bool)
        parts = self.parts[vertices]
        for limb in self._limbs:
            on_limb = np.isin(parts, limb)
            chance = random.random()
            if chance < _SWAPPED:
                vertices[on_limb] = self.mirror[vertices[on_limb]]
            elif chance < _SWAPPED + _LOST:
                keep &= ~on_limb
        for part in np.unique(self.parts[vertices]).tolist():
            of_part = np.flatnonzero(self.parts[vertices] == part)
            offset = _TOGETHER * random.normal(size=3) + _ALONE * random.normal(size=(len(of_part), 3))
            nearest = self._trees[part].query(self.template[vertices[of_part]] + offset)[1]
            vertices[of_part] = self._of_part[part][nearest]
        cell = float((points.max(0) - points.min(0)).max()) / self._CELLS
        pixels = points if cell <= 0 else (np.floor(points / cell) + 0.5) * cell
        return pixels[keep].astype(np.float32), vertices[keep]
