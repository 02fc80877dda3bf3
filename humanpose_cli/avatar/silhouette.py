"""Widening a body to the person's silhouette: clothes and hair as displacements along the surface's normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.surface import SurfaceOperator, spread
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.rasterising import Raster
from humanpose_cli.rendering.shading import rasterise_view

__all__ = ["SilhouetteOptions", "displacement_caps", "silhouette_displacements"]

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# How far (inwards, outwards; metres on a 1.7 m person) clothes, hair and a loose fit may move each part's surface.
_CAPS = {
    "pelvis": (0.03, 0.08),
    "hip": (0.03, 0.09),
    "knee": (0.025, 0.08),
    "ankle": (0.015, 0.03),
    "foot": (0.01, 0.025),
    "spine1": (0.03, 0.08),
    "spine2": (0.03, 0.08),
    "spine3": (0.03, 0.08),
    "neck": (0.02, 0.05),
    "collar": (0.025, 0.07),
    "shoulder": (0.02, 0.08),
    "elbow": (0.015, 0.08),
    "wrist": (0.006, 0.012),
    "hand": (0.004, 0.006),
    "head": (0.02, 0.12),
}
_FACE = 0.012


@dataclass(frozen=True)
class SilhouetteOptions:
    """How the body is widened.

    rounds     repetitions: each sees what the ones before missed
    reach      metres along the surface over which a displacement fades where nothing supports it
    smoothing  metres along the silhouette over which displacements are averaged
    softness   metres over which the result is smoothed, so that it bends and never breaks off
    symmetry   how much of a displacement its mirror image takes over where it is hidden itself
    """

    rounds: int = 3
    reach: float = 0.4
    smoothing: float = 0.006
    softness: float = 0.008
    symmetry: float = 0.8


class _Samples(NamedTuple):
    """Points on the body's outline: pixel rows and columns, outward directions (N, 2), shifts to the mask's edge."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    direction: Array
    shift: Array


def displacement_caps(part_labels: NDArray[np.integer], face: Mask, height: float) -> tuple[Array, Array]:
    """Greatest displacement inwards and outwards per vertex (V,), metres, for a person of that height.

    face  (V,) the front of the face, which keeps its features however wide the hair around it is
    """
    inwards, outwards = np.zeros(len(SMPL24)), np.zeros(len(SMPL24))
    for row, name in enumerate(SMPL24.joint_names):
        part = name.removeprefix("left_").removeprefix("right_")
        inwards[row], outwards[row] = _CAPS[part]
    scale = height / 1.7
    return np.where(face, _FACE, inwards[part_labels]) * scale, np.where(face, _FACE, outwards[part_labels]) * scale


def silhouette_displacements(
    vertices: Tensor,
    directions: Tensor,
    faces: Tensor,
    caps: tuple[Array, Array],
    part_labels: NDArray[np.integer],
    mirror_vertices: NDArray[np.integer],
    mask: Array,
    blocked: Mask,
    view: Camera,
    *,
    reliable: Mask,
    options: SilhouetteOptions | None = None,
) -> Array:
    """Displacements (V,) metres along `directions` that bring the surface's outline to the mask's.

    vertices    (V, 3) metres, camera axes, posed as in the image
    directions  (V, 3) unit vectors, about the surface's normals
    caps        (V,) greatest displacements inwards and outwards, metres (`displacement_caps`)
    mask        (H, W) 0…1 the person; the image of `view`
    blocked     (H, W) where the mask says nothing (other people)
    reliable    (V,) vertices that lie where they seem to; the outline of others is not followed
    """
    options = options or SilhouetteOptions()
    operator = SurfaceOperator(vertices.cpu().numpy(), faces.cpu().numpy().astype(np.int64))
    inwards, outwards = caps
    total = np.zeros(len(vertices))
    for _ in range(options.rounds):
        moved = vertices + torch.from_numpy(total.astype(np.float32)).to(vertices)[:, None] * directions
        raster = rasterise_view(moved[None], faces, view)
        samples = _outline(raster, faces, part_labels, mask, blocked)
        weights, values = _on_vertices(samples, raster, directions, faces, view, total)
        if not weights.any():
            return total
        # A displacement far beyond what clothes do is no clothing: a thing held, a part of somebody else.
        weights = np.where(~reliable | (values > 2 * outwards) | (values < -2 * inwards), 0, weights)
        total = _spread(operator, weights, np.clip(values, -inwards, outwards), mirror_vertices, options)
        total = np.clip(total, -inwards, outwards)
    return np.clip(_smooth(operator, total, options.softness), -inwards, outwards)


def _outline(
    raster: Raster, faces: Tensor, part_labels: NDArray[np.integer], mask: NDArray[np.float32], blocked: Mask
) -> _Samples:
    """Pixels on the body's outer outline with the way to the mask's edge, where that is known."""
    face = raster.face[0].cpu().numpy()
    covered = face >= 0
    inner = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE) > 0
    rows, columns = np.nonzero(covered & ~inner)
    signed = _signed_distance(covered)
    smooth = cv2.GaussianBlur(signed, (0, 0), 1.5)
    gradient_x, gradient_y = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, ksize=3) for dx in (1, 0))
    direction = -np.stack((gradient_x[rows, columns], gradient_y[rows, columns]), 1).astype(np.float64)
    length = np.linalg.norm(direction, axis=1)
    direction /= np.maximum(length, 1e-9)[:, None]
    corner = faces[:, 0].cpu().numpy()
    part = np.where(covered, part_labels[corner[np.maximum(face, 0)]], -1)
    shift = _march(rows, columns, direction, covered, part, mask, blocked)
    good = np.isfinite(shift) & (length > 1e-6)
    # The body's own edge lies half a pixel beyond the centres of its outermost pixels.
    return _Samples(rows[good], columns[good], direction[good], shift[good] - 0.5)


def _signed_distance(covered: Mask) -> NDArray[np.float32]:
    inside = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5)
    return (inside - outside).astype(np.float32)


def _march(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    direction: Array,
    covered: Mask,
    part: NDArray[np.integer],
    mask: Array,
    blocked: Mask,
) -> Array:
    """Pixels from each outline point to the mask's edge, outwards positive; NaN where it is not known.

    The way is given up where it leaves the image, meets someone else, or comes nearer to a part of the body that
    is no neighbour of the starting point's: there the mask's edge belongs to that part.
    """
    height, width = mask.shape
    reach = max(4, round(0.12 * np.ptp(rows)))
    nearest_part = _nearest(part)
    related = _related_parts()
    start_part = part[rows, columns]
    person = mask >= 0.5
    inside = person[rows, columns]
    sign = np.where(inside, 1.0, -1.0)
    shift = np.full(len(rows), np.nan)
    open_ = np.ones(len(rows), bool)
    previous = mask[rows, columns].astype(np.float64)
    for step in range(1, reach + 1):
        x = np.rint(columns + sign * step * direction[:, 0]).astype(np.int64)
        y = np.rint(rows + sign * step * direction[:, 1]).astype(np.int64)
        open_ &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        open_ &= ~blocked[y, x] & related[start_part, nearest_part[y, x]]
        # Outwards, a way that enters the body again has no outline of its own.
        open_ &= ~inside | ~covered[y, x] | (step <= 2)
        value = mask[y, x].astype(np.float64)
        crossed = open_ & (person[y, x] != inside)
        share = np.abs(previous - 0.5) / np.maximum(np.abs(previous - value), 1e-6)
        shift[crossed] = (sign * (step - 1 + np.clip(share, 0, 1)))[crossed]
        open_ &= ~crossed
        previous = value
    return shift


def _nearest(part: NDArray[np.integer]) -> NDArray[np.integer]:
    """Each pixel's nearest body part, from a map with −1 where there is none."""
    empty = (part < 0).astype(np.uint8)
    if empty.all():
        return np.zeros_like(part)
    _, label = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.zeros(int(label.max()) + 1, part.dtype)
    owner[label[empty == 0]] = part[empty == 0]
    return owner[label]


def _related_parts() -> Mask:
    """Parts that are the same or at most two joints apart on the skeleton (24, 24)."""
    near = np.eye(len(SMPL24), dtype=bool)
    for a, b in SMPL24.bones:
        near[a, b] = near[b, a] = True
    related = (near.astype(int) @ near.astype(int)) > 0
    # The two sides meet in the middle of the body but are not each other's continuation.
    left = np.array([name.startswith("left_") for name in SMPL24.joint_names])
    right = np.array([name.startswith("right_") for name in SMPL24.joint_names])
    return related & ~(left[:, None] & right) & ~(right[:, None] & left)


def _on_vertices(
    samples: _Samples, raster: Raster, directions: Tensor, faces: Tensor, view: Camera, present: Array
) -> tuple[Array, Array]:
    """Weights and wanted total displacements (V,) from the outline's samples."""
    face = raster.face[0].cpu().numpy()[samples.rows, samples.columns]
    barycentrics = raster.barycentrics[0].cpu().numpy()[samples.rows, samples.columns].astype(np.float64)
    depth = raster.depth[0].cpu().numpy()[samples.rows, samples.columns]
    metres = depth / view.focal
    corner = faces.cpu().numpy().astype(np.int64)[face]
    outward = directions.cpu().numpy()
    across = (outward[corner][..., :2] * samples.direction[:, None, :]).sum(-1)
    # Vertices whose direction hardly points outwards in the image cannot move the outline.
    share = barycentrics * np.clip(across, 0, 1)
    step = samples.shift[:, None] * metres[:, None] / np.maximum(across, 0.5)
    count = len(outward)
    weight = np.bincount(corner.ravel(), (share * metres[:, None]).ravel(), count)
    value = np.bincount(corner.ravel(), (share * metres[:, None] * step).ravel(), count)
    return weight, present + value / np.maximum(weight, 1e-12)


def _smooth(operator: SurfaceOperator, displacements: Array, softness: float) -> Array:
    """No spikes where a wrong stretch of outline or a cap ends."""
    nothing = np.full(operator.count, 1e-9)
    return spread(operator.stiffness(), operator.areas / softness**2, displacements[:, None], nothing, np.zeros(1))[
        :, 0
    ]


def _spread(
    operator: SurfaceOperator,
    weights: Array,
    values: Array,
    mirror_vertices: NDArray[np.integer],
    options: SilhouetteOptions,
) -> Array:
    """Displacements everywhere, from those on the outline; hidden sides take over their mirror image's."""
    fade = operator.areas / options.reach**2
    # The second column spreads a constant: how much of the displacement at a vertex is supported by the outline.
    columns = np.stack((values, np.ones_like(values)), 1)
    field = spread(operator.stiffness(), weights / options.smoothing, columns, fade, np.zeros(2))
    displacement, support = field.T
    mirrored = displacement[mirror_vertices]
    missing = np.clip(support[mirror_vertices] - support, 0, 1)
    return displacement + options.symmetry * missing * (mirrored - displacement)
