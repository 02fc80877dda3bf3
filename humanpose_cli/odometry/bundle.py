"""Bundle adjustment: the camera poses, points and focal length that best explain the positions of corners.

Levenberg–Marquardt on the reprojection errors with Huber's function. The points are eliminated (Schur complement), so
that the system has the size of the cameras (Triggs et al., "Bundle Adjustment – A Modern Synthesis", 2000).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_HUBER = 1.5  # pixels
_FOCAL_NOISE = 0.25  # standard deviation of the logarithm of a focal length about the expected one
_ZOOM_NOISE = 0.02  # standard deviation of the logarithm of a focal length about the neighbouring key frames'
_ZOOM_STEP = 0.05  # maximum change of that logarithm in a step
_ZOOM_STEPS = 5
_MIN_STEP = 1e-7  # radians, and the path's unit, below which the refinement of a pose ends
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


def huber_weights(errors: Array) -> Array:
    """Compute the weights (N,) of errors (N, 2) in pixels in a least-squares step. 0 for infinite errors."""
    length = np.linalg.norm(errors, axis=1)
    return np.where(np.isfinite(length), 1 / np.maximum(length / _HUBER, 1.0), 0.0)


def _cost(scene: BundleScene, errors: Array, expected_focal: float | None) -> float:
    length = np.linalg.norm(errors, axis=1)
    length = length[np.isfinite(length)]
    cost = float(np.where(length < _HUBER, 0.5 * length**2, _HUBER * (length - 0.5 * _HUBER)).sum())
    if expected_focal is not None:
        cost += 0.5 * float(np.log(scene.focal / expected_focal) / _FOCAL_NOISE) ** 2
    return cost


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
        steps: The maximum number of steps.
    """
    damping = 1e-3
    errors = scene.errors(observations)
    cost = _cost(scene, errors, expected_focal)
    for _ in range(steps):
        step = _Step(scene, observations, errors, free, expected_focal)
        for _ in range(6):
            candidate = step.damped(damping)
            errors = candidate.errors(observations)
            candidate_cost = _cost(candidate, errors, expected_focal)
            improved = np.isfinite(errors).sum() >= np.isfinite(step.errors).sum() and candidate_cost < cost
            damping *= 0.2 if improved else 5.0
            if improved:
                break
        else:
            return scene
        is_last = cost - candidate_cost < 1e-4 * cost
        scene = candidate
        cost = candidate_cost
        if is_last:
            break
    return scene


class _Step:
    """The normal equations at a scene, and the scenes after steps of different damping."""

    def __init__(
        self,
        scene: BundleScene,
        observations: Observations,
        errors: Array,
        free: NDArray[np.bool_],
        expected_focal: float | None,
    ) -> None:
        self.errors = errors
        self._scene, self._free, self._free_focal = scene, free, expected_focal is not None
        free_count = int(free.sum())
        column = np.full(len(free), -1)
        column[free] = np.arange(free_count)
        self._camera_columns = 6 * free_count
        width = self._camera_columns + int(self._free_focal)
        self._used, member = np.unique(observations.points, return_inverse=True)
        weights = huber_weights(errors)
        residual = np.where(weights[:, None] > 0, errors, 0.0)
        camera_slopes, point_slopes, focal_slopes = _jacobians(scene, observations)
        weighted_points = weights[:, None, None] * point_slopes
        count = len(self._used)
        self._points_hessian = _summed(np.einsum("nai,naj->nij", weighted_points, point_slopes), member, count)
        self._points_gradient = _summed(np.einsum("nai,na->ni", weighted_points, residual), member, count)
        movable = column[observations.cameras] >= 0
        free_slopes = camera_slopes[movable]
        cameras = column[observations.cameras[movable]]
        weighted_free = weights[movable, None, None] * free_slopes
        blocks = _summed(np.einsum("nai,naj->nij", weighted_free, free_slopes), cameras, free_count)
        self._hessian = np.zeros((width, width))
        for index, block in enumerate(blocks):
            self._hessian[6 * index : 6 * index + 6, 6 * index : 6 * index + 6] = block
        self._gradient = np.zeros(width)
        slopes = np.einsum("nai,na->ni", weighted_free, residual[movable])
        self._gradient[: self._camera_columns] = _summed(slopes, cameras, free_count).ravel()
        # Cameras (and the focal length) by points: one row of 3 columns for each point visible in a camera.
        mixed = np.einsum("nai,naj->nij", weighted_free, point_slopes[movable])
        self._coupling = np.zeros((width, 3 * count))
        rows = 6 * cameras[:, None, None] + np.arange(6)[:, None]
        columns = 3 * member[movable][:, None, None] + np.arange(3)
        np.add.at(self._coupling, (rows, columns), mixed)
        if expected_focal is not None:
            weighted_focal = weights[:, None] * focal_slopes
            prior_slope = np.log(scene.focal / expected_focal) / _FOCAL_NOISE**2
            self._hessian[-1, -1] = (weighted_focal * focal_slopes).sum() + _FOCAL_NOISE**-2
            self._gradient[-1] = (weighted_focal * residual).sum() + prior_slope
            cross = _summed(np.einsum("nai,na->ni", free_slopes, weighted_focal[movable]), cameras, free_count)
            self._hessian[-1, :-1] = self._hessian[:-1, -1] = cross.ravel()
            self._coupling[-1] = _summed(np.einsum("nai,na->ni", point_slopes, weighted_focal), member, count).ravel()

    def damped(self, damping: float) -> BundleScene:
        """Return the scene after the Levenberg–Marquardt step with this damping."""
        diagonal = np.einsum("pii->pi", self._points_hessian)
        hessians = self._points_hessian + np.einsum("pi,ij->pij", damping * diagonal + 1e-9, np.eye(3))
        inverse = np.linalg.inv(hessians)
        width = len(self._hessian)
        count = len(inverse)
        by_points = np.einsum("wpi,pij->wpj", self._coupling.reshape(width, count, 3), inverse).reshape(width, -1)
        reduced = self._hessian - by_points @ self._coupling.T
        reduced[np.diag_indices(width)] += damping * self._hessian.diagonal() + 1e-9
        gradient = self._gradient - by_points @ self._points_gradient.ravel()
        step = -np.linalg.solve(reduced, gradient)
        pull = self._points_gradient + (step @ self._coupling).reshape(count, 3)
        points = self._scene.points.copy()
        points[self._used] -= np.einsum("pij,pj->pi", inverse, pull)
        moves = step[: self._camera_columns].reshape(-1, 6)
        factor = float(np.exp(np.clip(step[-1], -0.1, 0.1))) if self._free_focal else 1.0
        scene = replace(self._scene, points=points, focal=self._scene.focal * factor)
        return scene.moved(self._free, moves[:, :3], moves[:, 3:])


def _jacobians(scene: BundleScene, observations: Observations) -> tuple[Array, Array, Array]:
    """Compute the slopes of errors by camera (N, 2, 6), point (N, 2, 3) and logarithm of the focal length (N, 2)."""
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
    return np.concatenate((projection @ turn, projection), 2), projection @ rotations, scene.focal * plane


def _summed(values: Array, groups: NDArray[np.int64], count: int) -> Array:
    """Sum rows (N, …) by their groups (N,): (count, …)."""
    flat = values.reshape(len(values), -1)
    sums = [np.bincount(groups, flat[:, column], count) for column in range(flat.shape[1])]
    return np.asarray(np.stack(sums, -1).reshape(count, *values.shape[1:]), float)


def _normal_equations(errors: Array, jacobian: Array) -> tuple[Array, Array]:
    """Return matrix (K, K) and slope (K,) of a least-squares step from errors (N, 2) and slopes (N, 2, K)."""
    weights = huber_weights(errors)
    weighted_jacobian = weights[:, None, None] * jacobian
    residual = np.where(weights[:, None] > 0, errors, 0.0)
    hessian = np.einsum("nai,naj->ij", weighted_jacobian, jacobian)
    return np.asarray(hessian), np.asarray(np.einsum("nai,na->i", weighted_jacobian, residual))


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
        return np.asarray(np.linalg.norm(self._scene(rotation, translation).errors(self._observations), axis=1))

    def refined(self, rotation: Array, translation: Array, *, steps: int = 8) -> tuple[Array, Array]:
        """Refine a pose by Gauss–Newton steps with Huber's function."""
        scene = self._scene(rotation, translation)
        observations = self._observations
        for _ in range(steps):
            hessian, slope = _normal_equations(scene.errors(observations), _jacobians(scene, observations)[0])
            step = -np.asarray(np.linalg.lstsq(hessian, slope, rcond=None)[0], np.float64)
            scene = scene.moved(slice(None), step[None, :3], step[3:])
            if np.abs(step).max() < _MIN_STEP:
                break
        return scene.rotations[0], scene.translations[0]

    def zoom(self, rotation: Array, translation: Array, expected: float) -> tuple[float, Array, Array]:
        """Refine a pose together with the focal length.

        Args:
            rotation: (3, 3). The start.
            translation: (3,). The start.
            expected: The expected logarithm of the factor on the focal length.

        Returns:
            The factor on the focal length, the rotation and the translation.
        """
        scene = self._scene(rotation, translation)
        observations = self._observations
        log = 0.0
        for _ in range(_ZOOM_STEPS):
            camera_slopes, _, focal_slopes = _jacobians(scene, observations)
            jacobian = np.concatenate((camera_slopes, focal_slopes[..., None]), 2)
            hessian, slope = _normal_equations(scene.errors(observations), jacobian)
            hessian[6, 6] += _ZOOM_NOISE**-2
            slope[6] += (log - expected) / _ZOOM_NOISE**2
            step = -np.asarray(np.linalg.lstsq(hessian, slope, rcond=None)[0], np.float64)
            growth = float(np.clip(step[6], -_ZOOM_STEP, _ZOOM_STEP))
            log += growth
            scene = replace(scene, focal=float(scene.focal * np.exp(growth)))
            scene = scene.moved(slice(None), step[None, :3], step[3:6])
        return float(np.exp(log)), scene.rotations[0], scene.translations[0]

    def _scene(self, rotation: Array, translation: Array) -> BundleScene:
        return BundleScene(rotation[None], translation[None], self.points, self.focal)

    @property
    def _observations(self) -> Observations:
        return Observations(np.zeros(len(self.points), np.int64), np.arange(len(self.points)), self.positions)
