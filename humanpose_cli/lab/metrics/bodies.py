"""Errors of 3-D bodies and 2-D poses as the literature defines them, and the agreement of label maps.

Inputs are arrays or tensors, results float64 numpy. Positions are in metres and errors too (tables multiply by 1000);
`joints` picks the rows that are averaged, so that callers choose joints by name through a Skeleton. Per-sample results
keep the batch: callers average, or take medians and confidence intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, geodesic_angle
from humanpose_cli.geometry.similarity import Similarity, fit_similarity
from humanpose_cli.lab.metrics.joints import SMPL24_JOINTS, JointSet

Floats = NDArray[np.float64]


def _pair(predictions: ArrayLike, true: ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(predictions, np.float64), np.asarray(true, np.float64)


def _finite_mean(errors: Floats) -> Floats:
    """Average (N, J) → (N,) over what is known; NaN if nothing is."""
    finite = np.isfinite(errors)
    return _ratio(np.where(finite, errors, 0.0).sum(1), finite.sum(1).astype(np.float64))


def _columns(values: Floats, joints: Sequence[int] | None) -> Floats:
    return values if joints is None else values[:, list(joints)]


def mpjpe(
    predictions: ArrayLike, true: ArrayLike, joints: Sequence[int] | None = None, root: Sequence[int] | int | None = 0
) -> Floats:
    """Measure the mean per-joint position error per sample after the roots are put on each other: (N, J, 3) twice →
    (N,) metres.

    True joints that are NaN are not known and left out; NaN where the root is not known.

    Args:
        root: Row of the root joint; several rows: their mean (mid-hip); None or no rows compare absolute positions.
    """
    return _finite_mean(_columns(_distances(predictions, true, root), joints))


def _distances(predictions: ArrayLike, true: ArrayLike, root: Sequence[int] | int | None) -> Floats:
    """Measure distances (N, J) in metres, root on root."""
    a, b = _pair(predictions, true)
    rows = [] if root is None else [root] if isinstance(root, int) else list(root)
    if rows:
        a = a - a[:, rows].mean(1, keepdims=True)
        b = b - b[:, rows].mean(1, keepdims=True)
    return np.linalg.norm(a - b, axis=-1)


def pa_mpjpe(predictions: ArrayLike, true: ArrayLike, joints: Sequence[int] | None = None) -> Floats:
    """Measure the mean per-joint position error per sample after the best similarity transform (Procrustes), → (N,)
    metres.

    Args:
        joints: Rows that both the alignment and the result are restricted to; true joints that are NaN are left
            out.
    """
    a, b = _pair(predictions, true)
    return _finite_mean(_aligned_distances(_columns(a, joints), _columns(b, joints)))


def _aligned_distances(predictions: Floats, true: Floats) -> Floats:
    """Measure distances (N, J) in metres after the best similarity of each sample."""
    return np.linalg.norm(_transform(_procrustes(predictions, true), predictions) - true, axis=-1)


def _procrustes(source: Floats, target: Floats) -> Similarity:
    """Fit the best similarity of each sample's points (N, J, 3) that are finite in both."""
    finite = np.asarray(np.isfinite(source).all(-1) & np.isfinite(target).all(-1))
    a, b = (torch.from_numpy(np.where(finite[..., None], values, 0.0)) for values in (source, target))
    return fit_similarity(a, b, torch.from_numpy(finite.astype(np.float64)))


def _transform(similarity: Similarity, points: Floats) -> Floats:
    return np.asarray(similarity.apply(torch.from_numpy(points)).numpy())


def scaled_to_bones(joints: ArrayLike, bones: Sequence[tuple[int, int]], length: float) -> Floats:
    """Scale each sample about its own origin (N, J, 3), so that its bones add up to `length` (Zhou et al. 2017).

    How monocular methods that know no metres are measured on Human3.6M: `length` is the sum of the bone lengths of a
    canonical average skeleton. bones  pairs of rows. UsageError where a sample has no length.
    """
    a = np.asarray(joints, np.float64)
    first, second = np.array(bones).T
    lengths = np.linalg.norm(a[:, first] - a[:, second], axis=-1).sum(1)
    if not (lengths > 0).all():
        raise UsageError("joints", "lie in one point", expected="bones of some length")
    return a * (length / lengths)[:, None, None]


def pve(
    predicted_vertices: ArrayLike, true_vertices: ArrayLike, predicted_root: ArrayLike, true_root: ArrayLike
) -> Floats:
    """Measure the per-vertex error per sample after the root joints (N, 3) are put on each other: (N, V, 3) twice →
    (N,) metres.
    """
    a, b = _pair(predicted_vertices, true_vertices)
    a = a - np.asarray(predicted_root, np.float64)[:, None]
    b = b - np.asarray(true_root, np.float64)[:, None]
    return np.linalg.norm(a - b, axis=-1).mean(1)


def pckh(predictions: ArrayLike, true: ArrayLike, head_length: ArrayLike) -> Floats:
    """Share of correct keypoints per sample (Andriluka et al. 2014): (N, J, 2) pixels twice → (N,) 0..1.

    Args:
        head_length: (N,) pixels; a keypoint is correct within half of it.
    """
    a, b = _pair(predictions, true)
    limit = np.asarray(head_length, np.float64) / 2
    return (np.linalg.norm(a - b, axis=-1) <= limit[:, None]).mean(1)


MAJOR_JOINTS = (0, 1, 2, 4, 5, 16, 17, 18, 19)
"""Of SMPL: pelvis, hips, knees, shoulders and elbows, whose angles 3DPW's and EMDB's evaluators compare."""


def joint_angle_error(predictions: Tensor, true: Tensor) -> Floats:
    """Measure MPJAE, the mean angle between absolute rotations (N, J, 3, 3) twice, body or camera axes → (N,) radians.

    After the evaluators of 3DPW and EMDB, which take `MAJOR_JOINTS` and report degrees.
    """
    return np.asarray(geodesic_angle(predictions.double(), true.double()).cpu().numpy().mean(1))


_PELVIS, _HEAD = SMPL24.index("pelvis"), SMPL24.index("head")
_CHUNK = 64  # people whose meshes are in memory at once


class Bodies(NamedTuple):
    """N people before a camera.

    rotations (N, 24, 3, 3) relative to parents, the pelvis body to camera; betas (N, S), which may be more than a model
    has where people are of several; root (N, 3) metres, the pelvis; segment_scales (N, 24), None for 1
    """

    rotations: Tensor
    betas: Tensor
    root: Tensor
    segment_scales: Tensor | None = None

    @classmethod
    def of_parameters(
        cls, body: Body, poses: Tensor, betas: Tensor, trans: Tensor, segment_scales: Tensor | None = None
    ) -> Bodies:
        """Convert poses (N, 72), betas (N, S), trans (N, 3) metres and segment_scales (N, 24), as files have them."""
        root = body.rest_pelvis(betas) + trans
        return cls(axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3))), betas, root, segment_scales)

    def taken(self, rows: Any) -> Bodies:
        """Select some rows."""
        return Bodies._make(None if values is None else values[rows] for values in self)

    def of_model(self, body: Body) -> Bodies:
        """Keep as many betas as that model has."""
        return self._replace(betas=self.betas[:, : body.shape_count])

    def posed(self, body: Body, *, vertices: bool = True) -> PosedBody:
        """Pose a body in their shapes, poses and positions."""
        betas = self.betas[:, : body.shape_count]
        trans = body.translation_of_root(self.root, betas)
        return body.pose(self.rotations, betas, trans, self.segment_scales, vertices=vertices)


class BodyErrors(NamedTuple):
    """Errors of N people: (N,) each, joints and vertices in metres, rotations in radians, shares 0…1; NaN: not known.

    Attributes:
        mpjpe: Joints with the root on the true one; pa_mpjpe after the best similarity (Procrustes).
        pve: Vertices with the root on the true one; pa_pve after the similarity of pa_mpjpe.
        rotation: Mean angle between relative rotations; absolute_rotation of absolute ones (Neural Body Fitting's
            err_quat).
        pckh: Share of joints in the image nearer than half the true head's height (see `head_height`).
        angle: Mean angle between absolute rotations of `MAJOR_JOINTS` (MPJAE); pa_angle after the rotation of
            pa_mpjpe.
    """

    mpjpe: NDArray[np.float64]
    pa_mpjpe: NDArray[np.float64]
    pve: NDArray[np.float64]
    rotation: NDArray[np.float64]
    pckh: NDArray[np.float64]
    pa_pve: NDArray[np.float64]
    angle: NDArray[np.float64]
    pa_angle: NDArray[np.float64]
    absolute_rotation: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: list[BodyErrors]) -> BodyErrors:
        """Join those of several sets of people, one after the other."""
        return cls._make(np.concatenate(column) for column in zip(*parts, strict=True))

    def taken(self, rows: NDArray[np.integer]) -> BodyErrors:
        """Select some people."""
        return BodyErrors._make(column[rows] for column in self)


@torch.no_grad()
def body_errors(
    body: Body,
    predicted_bodies: Bodies,
    true: Bodies,
    focal: Tensor,
    centre: Tensor,
    *,
    true_body: Body | None = None,
    joints: JointSet = SMPL24_JOINTS,
    measured: Floats | None = None,
    points: Floats | None = None,
) -> BodyErrors:
    """Measure N predicted people. focal (N,), centre (N, 2) pixels of the camera that sees them both.

    Args:
        true_body: Of the true ones, where it is another: vertices and PCKh's head are its own, and pve is known for
            two genders of one kind of body only, and where `joints.conversion` makes SMPL's mesh of SMPL-X's.
        joints: That mpjpe and pa_mpjpe are of, and whose root pve is about.
        measured: (N, P, 3) metres: these joints, where they are not those of the true bodies; true bodies that are
            not known are NaN then.
        points: (N, P, 3) metres: predicted joints, NaN for people with a predicted body.
    """
    rigs = body, true_body or body
    parts = []
    for first in range(0, len(focal), _CHUNK):
        rows = slice(first, first + _CHUNK)
        bodies = [each.taken(rows).of_model(rig) for each, rig in zip((predicted_bodies, true), rigs, strict=True)]
        labels, predictions = (None if array is None else array[rows] for array in (measured, points))
        parts.append(_errors(rigs, bodies, focal[rows], centre[rows], joints, labels, predictions))
    return BodyErrors.joined(parts or [BodyErrors._make([np.zeros(0)] * len(BodyErrors._fields))])


def _errors(
    rigs: tuple[Body, Body],
    bodies: Sequence[Bodies],
    focal: Tensor,
    centre: Tensor,
    joints: JointSet,
    labels: Floats | None,
    predictions: Floats | None,
) -> BodyErrors:
    """Measure predicted bodies against true ones. labels, predictions  (N, P, 3) of joints, if they are not theirs"""
    sets = [each.posed(rig) for each, rig in zip(bodies, rigs, strict=True)]
    points = [
        joints.of_body(rig, body, each.betas).double().cpu().numpy()
        for rig, body, each in zip(rigs, sets, bodies, strict=True)
    ]
    (kind, vertices), (true_kind, true_vertices) = (joints.surface(*pair) for pair in zip(rigs, sets, strict=True))
    mesh, true_mesh = vertices.cpu().numpy(), true_vertices.cpu().numpy()
    surface, aligned_surface = np.full((2, len(mesh)), np.nan)
    ours, truth = points[0], points[1] if labels is None else labels
    ours = ours if predictions is None else np.where(np.isfinite(predictions), predictions, ours)
    rows, root = range(len(joints.joints)), joints.rows
    alignment = _procrustes(ours[:, rows], truth[:, rows])
    distances = np.linalg.norm(_transform(alignment, ours) - truth, axis=-1)
    if mesh.shape == true_mesh.shape and kind == true_kind:
        nowhere = np.zeros((len(mesh), 3))
        shifts = [joint[:, root].mean(1) if root else nowhere for joint in points]
        surface = pve(mesh, true_mesh, shifts[0], shifts[1])
        aligned_surface = pve(_transform(alignment, mesh.astype(np.float64)), true_mesh, nowhere, nowhere)
    absolute = [body.rotations.double().cpu() for body in sets]
    turns = [rotations[:, MAJOR_JOINTS] for rotations in absolute]
    aligned_turns = alignment.rotation[:, None] @ turns[0]
    head = head_height(rigs[1], bodies[1].betas) * focal / sets[1].joints[:, _HEAD, 2].clamp_min(1e-3)
    if (scales := bodies[1].segment_scales) is not None:
        head = head * scales[:, _HEAD]
    image, true_image = (project(body.joints, focal, centre).cpu().numpy() for body in sets)
    return BodyErrors(
        mpjpe(ours, truth, rows, root),
        _finite_mean(distances[:, rows]),
        surface,
        geodesic_angle(bodies[0].rotations.double(), bodies[1].rotations.double()).cpu().numpy().mean(1),
        np.where(np.isfinite(image + true_image).all((1, 2)), pckh(image, true_image, head.cpu().numpy()), np.nan),
        aligned_surface,
        joint_angle_error(turns[0], turns[1]),
        joint_angle_error(aligned_turns, turns[1]),
        joint_angle_error(absolute[0], absolute[1]),
    )


def head_height(body: Body, betas: Tensor) -> Tensor:
    """Measure from the lowest to the highest vertex of the resting head (N,) in metres: what PCKh calls the head's
    size.

    Data sets annotate the head's ends or its box; a body has neither, and this is about the same length.
    """
    rows = (body.part_labels == _HEAD).nonzero().squeeze(-1)
    up = body.template[rows, 1] + betas @ body.shape_directions[rows, 1].mT
    return up.amax(1) - up.amin(1)


def confusion(predictions: ArrayLike, true: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count pixels by true and predicted class: labels (..., H, W) twice, integers from 0 → (..., classes, classes).

    Matrices of several images add up to that of all. UsageError for labels outside the classes.
    """
    a, b = np.asarray(predictions), np.asarray(true)
    if a.size and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < classes):
        raise UsageError("label maps", "hold other classes", expected=f"0 to {classes - 1}")
    images = a.shape[:-2]
    flat = (b.astype(np.int64) * classes + a).reshape(-1, a.shape[-2] * a.shape[-1])
    counts = [np.bincount(row, minlength=classes**2) for row in flat]
    return np.asarray(counts, np.int64).reshape(*images, classes, classes)


def class_iou(matrix: ArrayLike) -> Floats:
    """Return the intersection over union of each class: confusion (..., C, C) → (..., C); NaN for a class in neither
    map.
    """
    hit, predictions, true = _sums(matrix)
    return _ratio(hit, predictions + true - hit)


def class_f1(matrix: ArrayLike) -> Floats:
    """Return the harmonic mean of precision and recall of each class (..., C); NaN for a class in neither map."""
    hit, predictions, true = _sums(matrix)
    return _ratio(2 * hit, predictions + true)


def mean_of_visible(values: ArrayLike, *, background: bool = False) -> Floats:
    """Average over the classes (..., C) that are there → (...); without class 0 unless `background`; NaN if none is."""
    classes_of_interest = np.asarray(values, np.float64)[..., 0 if background else 1 :]
    finite = np.isfinite(classes_of_interest)
    return _ratio(np.where(finite, classes_of_interest, 0.0).sum(-1), finite.sum(-1).astype(np.float64))


def _sums(matrix: ArrayLike) -> tuple[Floats, Floats, Floats]:
    counts = np.asarray(matrix, np.float64)
    return np.diagonal(counts, axis1=-2, axis2=-1).copy(), counts.sum(-2), counts.sum(-1)


def _ratio(part: Floats, total: Floats) -> Floats:
    return np.where(total > 0, part / np.where(total > 0, total, 1), np.nan)
