"""Errors of 3-D bodies and 2-D poses as the literature defines them, and the agreement of label maps.

Inputs are arrays or tensors, results float64 numpy arrays. Positions and errors are in metres (tables multiply by
1000). `joints` selects the rows to average, so callers can choose joints by name through a `Skeleton`. Results are per
sample: callers average, or take medians and confidence intervals.
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
    """Average the finite values of (N, J) → (N,); NaN if there is none."""
    finite = np.isfinite(errors)
    return _ratio(np.where(finite, errors, 0.0).sum(1), finite.sum(1).astype(np.float64))


def mpjpe(
    predictions: ArrayLike, true: ArrayLike, joints: Sequence[int] | None = None, root: Sequence[int] | int | None = 0
) -> Floats:
    """Return the mean per-joint position error per sample, after aligning the roots.

    True joints that are NaN are left out. If the root is NaN, so is the error.

    Args:
        predictions: (N, J, 3) float, metres. The predicted joints.
        true: (N, J, 3) float, metres. The true joints.
        joints: Rows to average. None means all.
        root: Row of the root joint, or several rows whose mean is the root (mid-hip). None or no rows compare
            absolute positions.

    Returns:
        (N,) float64, metres.
    """
    a, b = _pair(predictions, true)
    rows = [] if root is None else [root] if isinstance(root, int) else list(root)
    if rows:
        a = a - a[:, rows].mean(1, keepdims=True)
        b = b - b[:, rows].mean(1, keepdims=True)
    distances = np.linalg.norm(a - b, axis=-1)
    return _finite_mean(distances if joints is None else distances[:, list(joints)])


def pa_mpjpe(predictions: ArrayLike, true: ArrayLike) -> Floats:
    """Return the mean per-joint position error per sample, after the best similarity transform (Procrustes).

    Args:
        predictions: (N, J, 3) float, metres. The predicted joints.
        true: (N, J, 3) float, metres. The true joints; NaN is left out.

    Returns:
        (N,) float64, metres.
    """
    a, b = _pair(predictions, true)
    return _finite_mean(np.linalg.norm(_transform(_procrustes(a, b), a) - b, axis=-1))


def _procrustes(source: Floats, target: Floats) -> Similarity:
    """Fit the best similarity of each sample's points (N, J, 3) that are finite in both."""
    finite = np.asarray(np.isfinite(source).all(-1) & np.isfinite(target).all(-1))
    a, b = (torch.from_numpy(np.where(finite[..., None], values, 0.0)) for values in (source, target))
    return fit_similarity(a, b, torch.from_numpy(finite.astype(np.float64)))


def _transform(similarity: Similarity, points: Floats) -> Floats:
    return np.asarray(similarity.apply(torch.from_numpy(points)).numpy())


def scale_to_bones(joints: ArrayLike, bones: Sequence[tuple[int, int]], length: float) -> Floats:
    """Scale each sample about its origin, so that its bones add up to a length (Zhou et al. 2017).

    Monocular methods without metric scale are measured this way on Human3.6M; `length` is the sum of the bone lengths
    of a canonical average skeleton.

    Args:
        joints: (N, J, 3) float. The joints.
        bones: Pairs of rows.
        length: The sum of the bones' lengths.

    Returns:
        (N, J, 3) float64. The scaled joints.

    Raises:
        UsageError: If the bones of a sample have no length.
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
    """Return the mean per-vertex error per sample, after aligning the root joints.

    Args:
        predicted_vertices: (N, V, 3) float, metres. The predicted vertices.
        true_vertices: (N, V, 3) float, metres. The true vertices.
        predicted_root: (N, 3) float, metres. The predicted root joints.
        true_root: (N, 3) float, metres. The true root joints.

    Returns:
        (N,) float64, metres.
    """
    a, b = _pair(predicted_vertices, true_vertices)
    a = a - np.asarray(predicted_root, np.float64)[:, None]
    b = b - np.asarray(true_root, np.float64)[:, None]
    return np.linalg.norm(a - b, axis=-1).mean(1)


def pckh(predictions: ArrayLike, true: ArrayLike, head_length: ArrayLike) -> Floats:
    """Return the share of correct keypoints per sample (Andriluka et al. 2014).

    Args:
        predictions: (N, J, 2) float, pixels. The predicted keypoints.
        true: (N, J, 2) float, pixels. The true keypoints.
        head_length: (N,) float, pixels. A keypoint within half of it is correct.

    Returns:
        (N,) float64, 0 to 1.
    """
    a, b = _pair(predictions, true)
    limit = np.asarray(head_length, np.float64) / 2
    return (np.linalg.norm(a - b, axis=-1) <= limit[:, None]).mean(1)


MAJOR_JOINTS = (0, 1, 2, 4, 5, 16, 17, 18, 19)
"""SMPL's pelvis, hips, knees, shoulders and elbows, whose angles the evaluators of 3DPW and EMDB compare."""


def joint_angle_error(predictions: Tensor, true: Tensor) -> Floats:
    """Return MPJAE, the mean angle between absolute rotations.

    After the evaluators of 3DPW and EMDB, which use `MAJOR_JOINTS` and report degrees.

    Args:
        predictions: (N, J, 3, 3) float. The predicted rotations, body to camera axes.
        true: (N, J, 3, 3) float. The true rotations.

    Returns:
        (N,) float64, radians.
    """
    return np.asarray(geodesic_angle(predictions.double(), true.double()).cpu().numpy().mean(1))


_PELVIS, _HEAD = SMPL24.index("pelvis"), SMPL24.index("head")
_CHUNK = 64  # people whose meshes are in memory at once


class Bodies(NamedTuple):
    """N people in camera axes.

    Attributes:
        rotations: (N, 24, 3, 3) float. Rotations relative to the parent, the pelvis' from body to camera axes.
        betas: (N, S) float. Shapes; more than a model has if people have different models.
        root: (N, 3) float, metres. The pelvis.
        segment_scales: (N, 24) float. Scales of the segments. None means 1.
    """

    rotations: Tensor
    betas: Tensor
    root: Tensor
    segment_scales: Tensor | None = None

    @classmethod
    def from_parameters(
        cls, body: Body, poses: Tensor, betas: Tensor, trans: Tensor, segment_scales: Tensor | None = None
    ) -> Bodies:
        """Convert parameters as files have them.

        Args:
            body: The body.
            poses: (N, 72) float, radians. Axis-angles relative to the parent.
            betas: (N, S) float. Shapes.
            trans: (N, 3) float, metres. Translations.
            segment_scales: (N, 24) float. Scales of the segments. None means 1.
        """
        root = body.rest_pelvis(betas) + trans
        return cls(axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3))), betas, root, segment_scales)

    def taken(self, rows: Any) -> Bodies:
        """Select rows."""
        return Bodies._make(None if values is None else values[rows] for values in self)

    def of_model(self, body: Body) -> Bodies:
        """Keep as many betas as a body has."""
        return self._replace(betas=self.betas[:, : body.shape_count])

    def posed(self, body: Body, *, vertices: bool = True) -> PosedBody:
        """Pose a body with these shapes, poses and positions.

        Args:
            body: The body.
            vertices: Whether to compute the vertices.
        """
        betas = self.betas[:, : body.shape_count]
        trans = body.translation_of_root(self.root, betas)
        return body.pose(self.rotations, betas, trans, self.segment_scales, vertices=vertices)


class BodyErrors(NamedTuple):
    """Errors of N people, (N,) each; NaN if unknown.

    Attributes:
        mpjpe: Metres. Mean joint distance after aligning the roots.
        pa_mpjpe: Metres. Mean joint distance after the best similarity (Procrustes).
        pve: Metres. Mean vertex distance after aligning the roots.
        rotation: Radians. Mean angle between relative rotations.
        pckh: Share of joints in the image within half the true head's height (see `head_height`).
        pa_pve: Metres. Mean vertex distance after the similarity of `pa_mpjpe`.
        angle: Radians. Mean angle between absolute rotations of `MAJOR_JOINTS` (MPJAE).
        pa_angle: Radians. The same after the rotation of `pa_mpjpe`.
        absolute_rotation: Radians. Mean angle between absolute rotations (Neural Body Fitting's err_quat).
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
        """Concatenate the errors of several sets of people."""
        return cls._make(np.concatenate(column) for column in zip(*parts, strict=True))

    def taken(self, rows: NDArray[np.integer]) -> BodyErrors:
        """Select people by their rows."""
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
    """Measure N predicted people.

    Args:
        body: The body of the predictions.
        predicted_bodies: The predictions.
        true: The true bodies.
        focal: (N,) float, pixels. The focal lengths of the camera.
        centre: (N, 2) float, pixels. Its principal points.
        true_body: The body of the true people, None if it is `body`. Vertices and PCKh's head are its own. `pve` is NaN
            unless both have the same kind of mesh, or `joints.conversion` converts SMPL-X's to SMPL's.
        joints: The joints of `mpjpe` and `pa_mpjpe`, with the root of `pve`.
        measured: (N, P, 3) float64, metres. True joints that are not those of the true bodies; unknown true bodies are
            NaN then.
        points: (N, P, 3) float64, metres. Predicted joints, NaN for people with a predicted body.

    Returns:
        The errors of the people.
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
    """Measure predicted bodies against true ones; labels and predictions (N, P, 3) replace the bodies' joints."""
    sets = [each.posed(rig) for each, rig in zip(bodies, rigs, strict=True)]
    points = [
        joints.of_body(rig, body, each.betas).double().cpu().numpy()
        for rig, body, each in zip(rigs, sets, bodies, strict=True)
    ]
    (kind, vertices), (true_kind, true_vertices) = (joints.surface(*pair) for pair in zip(rigs, sets, strict=True))
    mesh, true_mesh = vertices.cpu().numpy(), true_vertices.cpu().numpy()
    surface, aligned_surface = np.full((2, len(mesh)), np.nan)
    predicted, truth = points[0], points[1] if labels is None else labels
    predicted = predicted if predictions is None else np.where(np.isfinite(predictions), predictions, predicted)
    rows, root = range(len(joints.joints)), joints.rows
    alignment = _procrustes(predicted[:, rows], truth[:, rows])
    distances = np.linalg.norm(_transform(alignment, predicted) - truth, axis=-1)
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
        mpjpe(predicted, truth, rows, root),
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
    """Return the distance from the lowest to the highest vertex of the resting head, used as PCKh's head size.

    Data sets annotate the head's ends or its box, which a body does not have; this is about the same length.

    Args:
        body: The body.
        betas: (N, S) float. Shapes.

    Returns:
        (N,) float, metres.
    """
    rows = (body.part_labels == _HEAD).nonzero().squeeze(-1)
    up = body.template[rows, 1] + betas @ body.shape_directions[rows, 1].mT
    return up.amax(1) - up.amin(1)


def confusion(predictions: ArrayLike, true: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count pixels by true and predicted class; matrices of several images can be added.

    Args:
        predictions: (..., H, W) integer, from 0. The predicted labels.
        true: (..., H, W) integer, from 0. The true labels.
        classes: The number of classes.

    Returns:
        (..., classes, classes) int64. Counts by true and predicted class.

    Raises:
        UsageError: If a label is out of range.
    """
    a, b = np.asarray(predictions), np.asarray(true)
    if a.size and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < classes):
        raise UsageError("label maps", "hold other classes", expected=f"0 to {classes - 1}")
    images = a.shape[:-2]
    flat = (b.astype(np.int64) * classes + a).reshape(-1, a.shape[-2] * a.shape[-1])
    counts = [np.bincount(row, minlength=classes**2) for row in flat]
    return np.asarray(counts, np.int64).reshape(*images, classes, classes)


def class_iou(matrix: ArrayLike) -> Floats:
    """Return the intersection over union of each class.

    Args:
        matrix: (..., C, C). The confusion matrix.

    Returns:
        (..., C) float64. NaN for a class in neither map.
    """
    hit, predictions, true = _sums(matrix)
    return _ratio(hit, predictions + true - hit)


def class_f1(matrix: ArrayLike) -> Floats:
    """Return the harmonic mean of precision and recall of each class.

    Args:
        matrix: (..., C, C). The confusion matrix.

    Returns:
        (..., C) float64. NaN for a class in neither map.
    """
    hit, predictions, true = _sums(matrix)
    return _ratio(2 * hit, predictions + true)


def mean_of_visible(values: ArrayLike, *, background: bool = False) -> Floats:
    """Average over the classes that occur.

    Args:
        values: (..., C) float. Values of the classes, NaN if they do not occur.
        background: Whether to include class 0.

    Returns:
        (...) float64. NaN if no class occurs.
    """
    classes_of_interest = np.asarray(values, np.float64)[..., 0 if background else 1 :]
    finite = np.isfinite(classes_of_interest)
    return _ratio(np.where(finite, classes_of_interest, 0.0).sum(-1), finite.sum(-1).astype(np.float64))


def _sums(matrix: ArrayLike) -> tuple[Floats, Floats, Floats]:
    counts = np.asarray(matrix, np.float64)
    return np.diagonal(counts, axis1=-2, axis2=-1).copy(), counts.sum(-2), counts.sum(-1)


def _ratio(part: Floats, total: Floats) -> Floats:
    return np.where(total > 0, part / np.where(total > 0, total, 1), np.nan)
