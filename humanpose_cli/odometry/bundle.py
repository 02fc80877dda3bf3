"""Bundle adjustment: camera poses, points and a focal length that explain the positions of corners best.

Levenberg–Marquardt on the reprojection errors under Huber's function; the points are eliminated (Schur complement),
so that the system has the size of the cameras (Triggs et al., "Bundle Adjustment – A Modern Synthesis", 2000).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_HUBER = 1.5  # pixels
_FOCAL_NOISE = 0.25  # of the logarithm of a lens's focal length about the usual one's
_ZOOM_NOISE = 0.02  # of the logarithm of a focal length about that of the neighbouring key frames
_ZOOM_STEP, _ZOOM_STEPS = 0.05, 5  # of that logarithm, at most, in one of so many steps
_SMALL_STEP = 1e-7  # radians, and the path's unit, of a pose that no step refines
_MIN_DEPTH = 1e-3  # in the unit of the path; a point nearer than that does not count


class Observations(NamedTuple):
    """Positions (N, 2) about the principal point at which cameras (N,) see points (N,): indices of both."""

    cameras: NDArray[np.int64]
    points: NDArray[np.int64]
    positions: Array

    def rows(self, index: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Observations:
        """Restrict the observations to some rows."""
        return Observations._make(value[index] for value in self)


@dataclass(frozen=True, eq=False)
class BundleScene:
    """Cameras and points in one world: rotations (C, 3, 3) and translations (C, 3) of world to camera, points (P, 3)
    and one focal length in pixels.
    """

    rotations: Array
    translations: Array
    points: Array
    focal: float

    def errors(self, observations: Observations) -> Array:
        """Compute the reprojection errors (N, 2) in pixels; infinite behind a camera."""
        there = self._in_cameras(observations)
        errors = self.focal * there[:, :2] / np.maximum(there[:, 2:], _MIN_DEPTH) - observations.positions
        return np.where(there[:, 2:] > _MIN_DEPTH, errors, np.inf)

    def _in_cameras(self, observations: Observations) -> Array:
        there = np.einsum("nij,nj->ni", self.rotations[observations.cameras], self.points[observations.points])
        return np.asarray(there + self.translations[observations.cameras])


def huber_weights(errors: Array) -> Array:
    """Compute the weights (N,) of errors (N, 2) in pixels in a least-squares step; 0 of infinite ones."""
    length = np.linalg.norm(errors, axis=1)
    return np.where(np.isfinite(length), 1 / np.maximum(length / _HUBER, 1.0), 0.0)


def _cost(errors: Array) -> float:
    length = np.linalg.norm(errors, axis=1)
    length = length[np.isfinite(length)]
    return float(np.where(length < _HUBER, 0.5 * length**2, _HUBER * (length - 0.5 * _HUBER)).sum())


def _focal_cost(scene: BundleScene, usual: float | None) -> float:
    return 0.0 if usual is None else 0.5 * float(np.log(scene.focal / usual) / _FOCAL_NOISE) ** 2


def adjust(
    scene: BundleScene,
    observations: Observations,
    free: NDArray[np.bool_],
    *,
    usual_focal: float | None = None,
    steps: int = 12,
) -> BundleScene:
    """Move the free cameras (C,), all points that are observed and, unless `usual_focal` is None, the focal length,
    which is near that: paths along a line leave it open.

    At least one camera is to be held; the size of the world keeps its value through the damping.
    """
    damping, errors = 1e-3, scene.errors(observations)
    cost = _cost(errors) + _focal_cost(scene, usual_focal)
    for _ in range(steps):
        step = _Step(scene, observations, errors, free, usual_focal)
        for _ in range(6):
            candidate = step.damped(damping)
            errors = candidate.errors(observations)
            candidate_cost = _cost(errors) + _focal_cost(candidate, usual_focal)
            improved = np.isfinite(errors).sum() >= np.isfinite(step.errors).sum() and candidate_cost < cost
            damping *= 0.2 if improved else 5.0
            if improved:
                break
        else:
            return scene
        before, cost, scene = cost, candidate_cost, candidate
        if before - cost < 1e-4 * before:
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
        usual_focal: float | None,
    ) -> None:
        self.errors = errors
        self._scene, self._free, self._free_focal = scene, free, usual_focal is not None
        column = np.full(len(free), -1)
        column[free] = np.arange(int(free.sum()))
        free_count = int(free.sum())
        self._camera_columns = 6 * free_count
        width = self._camera_columns + int(self._free_focal)
        self._used, member = np.unique(observations.points, return_inverse=True)
        weights = huber_weights(errors)
        residual = np.where(weights[:, None] > 0, errors, 0.0)
        of_camera, of_point, of_focal = _jacobians(scene, observations)
        weighted_jacobian = weights[:, None, None] * of_point
        count = len(self._used)
        self._points_hessian = _summed(np.einsum("nai,naj->nij", weighted_jacobian, of_point), member, count)
        self._points_gradient = _summed(np.einsum("nai,na->ni", weighted_jacobian, residual), member, count)
        movable = column[observations.cameras] >= 0
        of_free, cameras = of_camera[movable], column[observations.cameras[movable]]
        weighted_free = weights[movable, None, None] * of_free
        blocks = _summed(np.einsum("nai,naj->nij", weighted_free, of_free), cameras, free_count)
        self._hessian = np.zeros((width, width))
        for index, block in enumerate(blocks):
            self._hessian[6 * index : 6 * index + 6, 6 * index : 6 * index + 6] = block
        self._gradient = np.zeros(width)
        slopes = np.einsum("nai,na->ni", weighted_free, residual[movable])
        self._gradient[: self._camera_columns] = _summed(slopes, cameras, free_count).ravel()
        # Cameras (and the focal length) by points: one row of 3 columns for each point that a camera sees.
        mixed = np.einsum("nai,naj->nij", weighted_free, of_point[movable])
        self._coupling = np.zeros((width, 3 * count))
        rows = 6 * cameras[:, None, None] + np.arange(6)[:, None]
        columns = 3 * member[movable][:, None, None] + np.arange(3)
        np.add.at(self._coupling, (rows, columns), mixed)
        if usual_focal is not None:
            focal_weighted = weights[:, None] * of_focal
            self._hessian[-1, -1] = (focal_weighted * of_focal).sum() + _FOCAL_NOISE**-2
            self._gradient[-1] = (focal_weighted * residual).sum() + np.log(scene.focal / usual_focal) / _FOCAL_NOISE**2
            cross = _summed(np.einsum("nai,na->ni", of_free, focal_weighted[movable]), cameras, free_count)
            self._hessian[-1, :-1] = self._hessian[:-1, -1] = cross.ravel()
            self._coupling[-1] = _summed(np.einsum("nai,na->ni", of_point, focal_weighted), member, count).ravel()

    def damped(self, damping: float) -> BundleScene:
        """Return the scene after the step that Levenberg–Marquardt makes with this damping."""
        diagonal = np.einsum("pii->pi", self._points_hessian)
        hessians = self._points_hessian + np.einsum("pi,ij->pij", damping * diagonal + 1e-9, np.eye(3))
        inverse = np.linalg.inv(hessians)
        width, count = len(self._hessian), len(inverse)
        by_points = np.einsum("wpi,pij->wpj", self._coupling.reshape(width, count, 3), inverse).reshape(width, -1)
        reduced = self._hessian - by_points @ self._coupling.T
        reduced[np.diag_indices(width)] += damping * self._hessian.diagonal() + 1e-9
        gradient = self._gradient - by_points @ self._points_gradient.ravel()
        step = -np.linalg.solve(reduced, gradient)
        pull = self._points_gradient + (step @ self._coupling).reshape(count, 3)
        points = self._scene.points.copy()
        points[self._used] -= np.einsum("pij,pj->pi", inverse, pull)
        moves = step[: self._camera_columns].reshape(-1, 6)
        rotations, translations = self._scene.rotations.copy(), self._scene.translations.copy()
        rotations[self._free] = rotated_cameras(rotations[self._free], moves[:, :3])
        translations[self._free] += moves[:, 3:]
        focal = self._scene.focal * float(np.exp(np.clip(step[-1], -0.1, 0.1))) if self._free_focal else 0.0
        return replace(
            self._scene,
            rotations=rotations,
            translations=translations,
            points=points,
            focal=focal or self._scene.focal,
        )


def rotated_cameras(rotations: Array, vectors: Array) -> Array:
    """Turn cameras (C, 3, 3) by rotation vectors (C, 3) in their own axes."""
    turns = np.array([cv2.Rodrigues(vector)[0] for vector in vectors]).reshape(-1, 3, 3)
    return np.asarray(turns @ rotations)


def _jacobians(scene: BundleScene, observations: Observations) -> tuple[Array, Array, Array]:
    """Compute the slopes of the errors by the camera's turn and shift (N, 2, 6), the point (N, 2, 3) and the focal
    length's logarithm (N, 2).
    """
    rotations = scene.rotations[observations.cameras]
    directions = np.einsum("nij,nj->ni", rotations, scene.points[observations.points])
    there = directions + scene.translations[observations.cameras]
    depth = np.maximum(there[:, 2], _MIN_DEPTH)
    plane = there[:, :2] / depth[:, None]
    projection = np.zeros((len(there), 2, 3))
    projection[:, 0, 0] = projection[:, 1, 1] = 1.0
    projection[:, :, 2] = -plane
    projection *= (scene.focal / depth)[:, None, None]
    x, y, z = directions.T
    zero = np.zeros_like(x)
    # d (exp([v]×) p) / dv = −[p]×
    turn = np.stack((zero, z, -y, -z, zero, x, y, -x, zero), -1).reshape(-1, 3, 3)
    of_camera = np.concatenate((projection @ turn, projection), 2)
    return of_camera, projection @ rotations, scene.focal * plane


def _summed(values: Array, groups: NDArray[np.int64], count: int) -> Array:
    """Sum rows (N, …) by their groups (N,): (count, …)."""
    flat = values.reshape(len(values), -1)
    sums = [np.bincount(groups, flat[:, column], count) for column in range(flat.shape[1])]
    return np.asarray(np.stack(sums, -1).reshape(count, *values.shape[1:]), float)


def _normal_equations(errors: Array, jacobian: Array) -> tuple[Array, Array]:
    """Return the matrix (K, K) and slope (K,) of a least-squares step of one camera's errors (N, 2), whose slopes are
    (N, 2, K).
    """
    weights = huber_weights(errors)
    weighted_jacobian = weights[:, None, None] * jacobian
    residual = np.where(weights[:, None] > 0, errors, 0.0)
    hessian = np.einsum("nai,naj->ij", weighted_jacobian, jacobian)
    return np.asarray(hessian), np.asarray(np.einsum("nai,na->i", weighted_jacobian, residual))


class PoseTarget(NamedTuple):
    """Points (N, 3) in the world that one camera sees at positions (N, 2) about its principal point."""

    points: Array
    positions: Array
    focal: float

    def errors(self, rotation: Array, translation: Array) -> Array:
        """Compute the lengths (N,) of the reprojection errors in pixels."""
        return np.asarray(np.linalg.norm(self._scene(rotation, translation).errors(self._observations), axis=1))

    def refined(self, rotation: Array, translation: Array, *, steps: int = 8) -> tuple[Array, Array]:
        """Refine a pose by Gauss–Newton steps under Huber's function."""
        scene, observations = self._scene(rotation, translation), self._observations
        for _ in range(steps):
            hessian, slope = _normal_equations(scene.errors(observations), _jacobians(scene, observations)[0])
            step = -np.asarray(np.linalg.lstsq(hessian, slope, rcond=None)[0], np.float64)
            rotations = rotated_cameras(scene.rotations, step[None, :3])
            scene = replace(scene, rotations=rotations, translations=scene.translations + step[3:])
            if np.abs(step).max() < _SMALL_STEP:
                break
        return scene.rotations[0], scene.translations[0]

    def zoom(self, rotation: Array, translation: Array, usual: float) -> tuple[float, Array, Array]:
        """Find the factor on the focal length that a camera near a pose has, and its pose with that.

        Args:
            usual: Logarithm of the factor that is expected.
        """
        scene, observations, log = self._scene(rotation, translation), self._observations, 0.0
        for _ in range(_ZOOM_STEPS):
            of_camera, _, of_focal = _jacobians(scene, observations)
            jacobian = np.concatenate((of_camera, of_focal[..., None]), 2)
            hessian, slope = _normal_equations(scene.errors(observations), jacobian)
            hessian[6, 6] += _ZOOM_NOISE**-2
            slope[6] += (log - usual) / _ZOOM_NOISE**2
            step = -np.asarray(np.linalg.lstsq(hessian, slope, rcond=None)[0], np.float64)
            growth = float(np.clip(step[6], -_ZOOM_STEP, _ZOOM_STEP))
            log += growth
            scene = replace(
                scene,
                rotations=rotated_cameras(scene.rotations, step[None, :3]),
                translations=scene.translations + step[3:6],
                focal=float(scene.focal * np.exp(growth)),
            )
        return float(np.exp(log)), scene.rotations[0], scene.translations[0]

    def _scene(self, rotation: Array, translation: Array) -> BundleScene:
        return BundleScene(rotation[None], translation[None], self.points, self.focal)

    @property
    def _observations(self) -> Observations:
        return Observations(np.zeros(len(self.points), np.int64), np.arange(len(self.points)), self.positions)
