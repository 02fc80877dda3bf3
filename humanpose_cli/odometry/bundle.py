"""Bundle adjustment: the camera poses, points and focal length that best explain the positions of corners.

Levenberg–Marquardt on the reprojection errors with Huber's function. The points are eliminated (Schur complement), so
that the system has the size of the cameras (Triggs et al., "Bundle Adjustment – A Modern Synthesis", 2000).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.geometry.least_squares import Array, SolverOptions, huber, minimise

_HUBER = 1.5  # pixels
_FOCAL_NOISE = 0.25  # standard deviation of the logarithm of a focal length about the expected one
_ZOOM_NOISE = 0.02  # standard deviation of the logarithm of a focal length about the neighbouring key frames'
_MAX_ZOOM = 0.1  # maximum change of the logarithm of a focal length in a step
_POSE = SolverOptions(iterations=8, tolerance=1e-8, damping=1e-6)
_LOST = 1e3  # squared pixels, the maximum cost of an error
_MIN_DEPTH = 1e-3  # in the path's unit; nearer points do not count


class Observations(NamedTuple):
    """N positions of points in cameras.

    Attributes:
        cameras: (N,) int. The index of the camera.
        points: (N,) int. The index of the point.
        positions: (N, 2) pixels about the principal point.
    """

    cameras: NDArray[np.int64]
    points: NDArray[np.int64]
    positions: Array

    def rows(self, index: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Observations:
        """Restrict the observations to some rows."""
        return Observations._make(value[index] for value in self)


@dataclass(frozen=True, eq=False)
class BundleScene:
    """Cameras and points in one world.

    Attributes:
        rotations: (C, 3, 3). World to camera.
        translations: (C, 3). World to camera.
        points: (P, 3).
        focal: Pixels. The focal length of all cameras.
    """

    rotations: Array
    translations: Array
    points: Array
    focal: float

    def errors(self, observations: Observations) -> Array:
        """Compute the reprojection errors (N, 2) in pixels. Infinite behind a camera."""
        points = np.einsum("nij,nj->ni", self.rotations[observations.cameras], self.points[observations.points])
        points = points + self.translations[observations.cameras]
        errors = self.focal * points[:, :2] / np.maximum(points[:, 2:], _MIN_DEPTH) - observations.positions
        return np.where(points[:, 2:] > _MIN_DEPTH, errors, np.inf)

    def moved(self, cameras: NDArray[np.bool_] | slice, turns: Array, shifts: Array) -> BundleScene:
        """Turn some cameras by rotation vectors (K, 3) in their own axes, and shift them by (K, 3)."""
        rotations = self.rotations.copy()
        rotations[cameras] = rotated_cameras(rotations[cameras], turns)
        translations = self.translations.copy()
        translations[cameras] += shifts
        return replace(self, rotations=rotations, translations=translations)


def rotated_cameras(rotations: Array, vectors: Array) -> Array:
    """Turn cameras (C, 3, 3) by rotation vectors (C, 3) in their own axes."""
    turns = np.array([cv2.Rodrigues(vector)[0] for vector in vectors]).reshape(-1, 3, 3)
    return np.asarray(turns @ rotations)


def adjust(
    scene: BundleScene,
    observations: Observations,
    free: NDArray[np.bool_],
    *,
    expected_focal: float | None = None,
    steps: int = 12,
) -> BundleScene:
    """Move free cameras, all observed points and, if `expected_focal` is given, the focal length.

    At least one camera must be held. The size of the world keeps its value through the damping.

    Args:
        scene: The start.
        observations: The positions of points in cameras.
        free: (C,) bool. The cameras that move.
        expected_focal: Pixels. The focal length is held near this, because paths along a line do not determine it. None
            keeps it.
        steps: The maximum number of trial steps.
    """
    prior = None if expected_focal is None else (expected_focal, _FOCAL_NOISE)
    return minimise(_Adjustment(observations, free, prior), scene, SolverOptions(steps, tolerance=1e-4, damping=1e-3))


class _Equations(NamedTuple):
    """Normal equations over W parameters of the cameras and P points.

    Attributes:
        cost: Half the robust sum of squares.
        gradient: (W,). By turn and shift of each free camera, and by the logarithm of a free focal length.
        hessian: (W, W).
        coupling: (W, 3 P).
        points_gradient: (P, 3).
        points_hessian: (P, 3, 3).
    """

    cost: float
    gradient: Array
    hessian: Array
    coupling: Array
    points_gradient: Array
    points_hessian: Array


class _Adjustment:
    """Observations as a problem for `minimise`.

    Args:
        observations: The positions of points in cameras.
        free: (C,) bool. The cameras that move.
        prior: The expected focal length in pixels, and the standard deviation of its logarithm. None keeps it.
        hold_points: Whether the points stay.
    """

    def __init__(
        self,
        observations: Observations,
        free: NDArray[np.bool_],
        prior: tuple[float, float] | None,
        *,
        hold_points: bool = False,
    ) -> None:
        self.observations, self.free, self.prior, self.hold_points = observations, free, prior, hold_points
        self.width = 6 * int(free.sum()) + (prior is not None)
        self.used, member = np.unique(observations.points, return_inverse=True)
        # Columns of each observation's camera, focal length and point. Fixed ones have the last, which is dropped.
        first = np.where(free, 6 * (free.cumsum() - 1), self.width)[observations.cameras]
        camera = np.minimum(first[:, None] + np.arange(6), self.width)
        focal = np.full((len(camera), 1), self.width - (prior is not None))
        self._columns = np.concatenate((camera, focal), 1)
        self._point_columns = 3 * member[:, None] + np.arange(3)

    def linearise(self, scene: BundleScene) -> _Equations:
        """Compute cost and normal equations."""
        errors = scene.errors(self.observations)
        costs, weights = huber(errors, _HUBER)
        weights = np.where(costs < _LOST, weights, 0.0)
        residual = np.where(np.isfinite(errors), errors, 0.0)[..., None]
        slopes, point_slopes = _jacobians(scene, self.observations)
        point_slopes *= not self.hold_points
        weighted, weighted_points = (weights[:, None, None] * s.swapaxes(1, 2) for s in (slopes, point_slopes))
        cost, width, count = np.minimum(costs, _LOST).sum(), self.width + 1, len(self.used)
        rows, columns, point_columns = self._columns[..., None], self._columns[:, None], self._point_columns
        gradient = _summed(weighted @ residual, rows, width)
        hessian = _summed(weighted @ slopes, width * rows + columns, width, width)
        coupling = _summed(weighted @ point_slopes, 3 * count * rows + point_columns[:, None], width, 3 * count)
        points_gradient = _summed(weighted_points @ residual, point_columns, count, 3)
        squares = weighted_points @ point_slopes
        points_hessian = _summed(squares, 3 * point_columns[..., None] + np.arange(3), count, 3, 3)
        if self.prior is not None:
            difference, precision = np.log(scene.focal / self.prior[0]), self.prior[1] ** -2
            cost += 0.5 * precision * difference**2
            gradient[-2] += precision * difference
            hessian[-2, -2] += precision
        return _Equations(float(cost), gradient[:-1], hessian[:-1, :-1], coupling[:-1], points_gradient, points_hessian)

    def stepped(self, scene: BundleScene, equations: _Equations, damping: float) -> BundleScene:
        """Return the scene after a damped step, by the equations of the cameras without the points."""
        _, gradient, hessian, coupling, points_gradient, points_hessian = equations
        diagonal = np.einsum("pii->pi", points_hessian)
        inverse = np.linalg.inv(points_hessian + (damping * diagonal + 1e-9)[..., None] * np.eye(3))
        blocks = coupling.reshape(self.width, *points_gradient.shape)
        by_points = np.einsum("wpi,pij->wpj", blocks, inverse).reshape(coupling.shape)
        reduced = hessian - by_points @ coupling.T + np.diag(damping * hessian.diagonal() + 1e-9)
        step = -np.linalg.solve(reduced, gradient - by_points @ points_gradient.ravel())
        pull = points_gradient + (step @ coupling).reshape(-1, 3)
        points = scene.points.copy()
        points[self.used] -= (inverse @ pull[..., None])[..., 0]
        moves = step[: 6 * int(self.free.sum())].reshape(-1, 6)
        zoom = 1.0 if self.prior is None else math.exp(min(max(step[-1], -_MAX_ZOOM), _MAX_ZOOM))
        moved = replace(scene, points=points, focal=scene.focal * zoom)
        return moved.moved(self.free, moves[:, :3], moves[:, 3:])


def _jacobians(scene: BundleScene, observations: Observations) -> tuple[Array, Array]:
    """Compute the slopes of errors by turn, shift and log focal length (N, 2, 7), and by point (N, 2, 3)."""
    rotations = scene.rotations[observations.cameras]
    directions = np.einsum("nij,nj->ni", rotations, scene.points[observations.points])
    points = directions + scene.translations[observations.cameras]
    depth = np.maximum(points[:, 2], _MIN_DEPTH)
    plane = points[:, :2] / depth[:, None]
    projection = np.zeros((len(points), 2, 3))
    projection[:, 0, 0] = projection[:, 1, 1] = 1.0
    projection[:, :, 2] = -plane
    projection *= (scene.focal / depth)[:, None, None]
    x, y, z = directions.T
    zero = np.zeros_like(x)
    # d (exp([v]×) p) / dv = −[p]×
    turn = np.stack((zero, z, -y, -z, zero, x, y, -x, zero), -1).reshape(-1, 3, 3)
    by_focal = scene.focal * plane[..., None]
    return np.concatenate((projection @ turn, projection, by_focal), 2), projection @ rotations


def _summed(values: Array, index: NDArray[np.int64], *shape: int) -> Array:
    """Sum values into an array of the given shape, each at its flat index."""
    return np.asarray(np.bincount(index.ravel(), values.ravel(), math.prod(shape)), float).reshape(shape)


class PoseTarget(NamedTuple):
    """Points in the world, and their positions in one camera.

    Attributes:
        points: (N, 3).
        positions: (N, 2) pixels about the principal point.
        focal: Pixels.
    """

    points: Array
    positions: Array
    focal: float

    def errors(self, rotation: Array, translation: Array) -> Array:
        """Compute the lengths (N,) of the reprojection errors in pixels."""
        scene = BundleScene(rotation[None], translation[None], self.points, self.focal)
        return np.asarray(np.linalg.norm(scene.errors(self._observations), axis=1))

    def refined(
        self, rotation: Array, translation: Array, expected_zoom: float | None = None
    ) -> tuple[Array, Array, float]:
        """Refine a pose, with `expected_zoom` together with the focal length.

        Args:
            rotation: (3, 3). The start.
            translation: (3,). The start.
            expected_zoom: The expected factor on the focal length. None keeps it.

        Returns:
            The rotation, the translation and the factor on the focal length.
        """
        prior = None if expected_zoom is None else (expected_zoom * self.focal, _ZOOM_NOISE)
        problem = _Adjustment(self._observations, np.ones(1, bool), prior, hold_points=True)
        start = BundleScene(rotation[None], translation[None], self.points, self.focal)
        scene = minimise(problem, start, _POSE)
        return scene.rotations[0], scene.translations[0], scene.focal / self.focal

    @property
    def _observations(self) -> Observations:
        return Observations(np.zeros(len(self.points), np.int64), np.arange(len(self.points)), self.positions)
