"""Cameras from the people in their images: bundle adjustment over focal lengths, poses and clocks.

At every step the landmarks of all moments are triangulated linearly from the cameras that show them, so that the only
unknowns are the cameras'. Residuals are, in standard deviations: distances of landmarks from the triangulated points in
each image (Huber), changes of bones' lengths between moments, the length of legs, which sets the scale, and focal
lengths about the default. Without the elimination, as a sparse problem over all points, the minimum is not reached from
the starts that single views give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import default_focal
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.geometry.least_squares import DenseEquations, SolverOptions, huber, minimise
from humanpose_cli.views.tracks import LANDMARKS, Array

KEYPOINT_NOISE = 0.008
"""Noise level of a keypoint of `hpc fit` in 1080p videos, as a share of the person's height in the image."""
CAUCHY_SCALE = 2.0
"""Noise levels at which a landmark's cost by `cauchy_loss` is log 2."""
_ROBUST = 1.6  # noise levels beyond which a residual counts less (Huber)
_BONE_NOISE = 0.15  # variation of a bone between moments, as a share of its length
_SIZE_NOISE = 0.05  # of the logarithm of a person's legs about the single fits' legs
_FOCAL_NOISE = 0.2  # of the logarithm of a focal length about the default
_MIN_DEPTH = 0.1  # metres
_NEAR = 0.5  # metres before a camera, nearer than which points are pushed away
_CLOCK_NOISE = 0.03  # seconds, difference between clocks from joints and clocks from landmarks
_DRIFT_NOISE = 1e-4  # of a clock's speed; two recorders differ by up to 1.5e-4
_BONE_OUTLIER = 3.0  # noise levels of a bone's length beyond which the cost does not grow
_FIXED_FOCAL = 1e-4  # standard deviation of the logarithm of a given focal length
# Standard deviation of the logarithm of a focal length in resections, because bodies' proportions are a guess.
_REFINED_FOCAL = 0.01
_SCHEDULE = SolverOptions(iterations=60, tolerance=1e-10, damping=1e-2)
_WIDTH, _FOCAL, _TURN, _SHIFT, _CLOCK, _DRIFT = 9, 0, slice(1, 4), slice(4, 7), 7, 8  # parameters of a camera

_NAMES = [BLAZEPOSE33.joint_names[row] for row in LANDMARKS]
_CHAINS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("shoulder", "hip"))
_BONES = np.array(
    [
        *([_NAMES.index(f"{side}_{end}") for end in ends] for side in ("left", "right") for ends in _CHAINS),
        *([_NAMES.index(f"{side}_{end}") for side in ("left", "right")] for end in ("shoulder", "hip")),
    ]
)
_LEGS = [row for row, (start, _) in enumerate(_BONES) if _NAMES[start].endswith(("hip", "knee"))][:4]


@dataclass(frozen=True)
class ViewCamera:
    """One camera of a take.

    Attributes:
        rotation: (3, 3). The take's axes to camera axes: x ↦ rotation x + translation.
        translation: (3,) metres.
        focal: Pixels.
        principal_point: Pixels.
        size: (width, height) in pixels.
        fixed_focal: Whether the focal length is the user's, EXIF's or a calibration's.
        offset: Seconds that the camera's clock is ahead of the take's at its time 0.
        drift: Seconds that it gains in a second.
    """

    rotation: Array
    translation: Array
    focal: float
    principal_point: tuple[float, float]
    size: tuple[int, int]
    fixed_focal: bool = False
    offset: float = 0.0
    drift: float = 0.0

    def on_clock(self, times: Array) -> Array:
        """Convert seconds on the camera's clock to the take's."""
        return (times - self.offset) / (1 + self.drift)

    def to_camera(self, points: Array) -> Array:
        """Transform points (..., 3) from the take's axes to the camera's."""
        return points @ self.rotation.T + self.translation

    def project(self, points: Array) -> Array:
        """Project points, metres in the take's axes, to pixels (..., 2)."""
        in_camera = self.to_camera(points)
        return self.focal * in_camera[..., :2] / in_camera[..., 2:].clip(_MIN_DEPTH) + np.asarray(self.principal_point)

    @property
    def centre(self) -> Array:
        """(3,) metres in the take's axes. The position of the camera."""
        return -self.rotation.T @ self.translation

    @property
    def matrix(self) -> Array:
        """(4, 4). The take's axes to camera axes."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation
        return matrix


class ViewSamples(NamedTuple):
    """One person at K moments before V cameras.

    Attributes:
        times: (K,) seconds on the take's clock.
        points: (V, K, L, 2) pixels. The `LANDMARKS`.
        weights: (V, K, L). The confidence, zero for hidden landmarks.
        speeds: (V, K, L, 2) pixels / second.
        heights: (V,) pixels. The `stature` of the person in each view.
        leg: Metres. From hip to ankle along the bones of the single fits.
        seconds: The time in which two or more cameras show the person.
    """

    times: Array
    points: Array
    weights: Array
    speeds: Array
    heights: Array
    leg: float
    seconds: float = 0.0


def triangulate(matrices: Array, points: Array, weights: Array) -> Array:
    """Triangulate the points nearest to rays by linear least squares.

    Args:
        matrices: (V, 3, 4). The cameras.
        points: (V, N, 2). Image coordinates for a focal length of 1.
        weights: (V, N).

    Returns:
        (N, 3).
    """
    rows = points[..., None] * matrices[:, None, None, 2] - matrices[:, None, :2]  # (V, N, 2, 4)
    rows = (rows * weights[..., None, None]).transpose(1, 0, 2, 3).reshape(points.shape[1], -1, 4)
    A = rows[..., :3]
    b = -rows[..., 3:]
    normal = A.transpose(0, 2, 1) @ A + 1e-9 * np.eye(3)
    return np.asarray(np.linalg.solve(normal, A.transpose(0, 2, 1) @ b)[..., 0])


def _triangulate_landmarks(cameras: Sequence[ViewCamera], pixels: Array, weights: Array) -> Array:
    """Triangulate landmarks (K, L, 3) in the take's axes from pixels (V, K, L, 2) with weights (V, K, L)."""
    centres = np.array([camera.principal_point for camera in cameras])
    focals = np.array([camera.focal for camera in cameras])
    flat = ((pixels - centres[:, None, None]) / focals[:, None, None, None]).reshape(len(cameras), -1, 2)
    matrices = np.stack([camera.matrix[:3] for camera in cameras])
    return triangulate(matrices, flat, weights.reshape(len(cameras), -1)).reshape(*weights.shape[1:], 3)


def moved_cameras(cameras: Sequence[ViewCamera], step: Array, middle: float) -> list[ViewCamera]:
    """Change the parameters of V cameras by a step (V, _WIDTH). Drifts turn clocks about a time in the middle."""
    return [
        replace(
            camera,
            rotation=cv2.Rodrigues(change[_TURN])[0] @ camera.rotation,
            translation=camera.translation + change[_SHIFT],
            focal=float(camera.focal * np.exp(change[_FOCAL])),
            offset=float(camera.offset + change[_CLOCK] - middle * change[_DRIFT]),
            drift=float(camera.drift + change[_DRIFT]),
        )
        for camera, change in zip(cameras, step, strict=True)
    ]


class _Adjustment:
    """The images of all people before V cameras, as a problem for `minimise`.

    Each camera has `_WIDTH` parameters: the logarithm of its focal length, turn, shift, clock and its drift.

    Args:
        start: The cameras at whose clocks the landmarks are.
        people: The people.
        free: (V, _WIDTH) bool. The parameters that change.
        focals: (V,) pixels. The expected focal lengths.
        focal_noise: (V,). The standard deviations of their logarithms.
        points: The landmarks of each person. None: they are triangulated at every step.
        expected: Cameras with the expected clocks. None: those of `start`.
    """

    def __init__(
        self,
        start: Sequence[ViewCamera],
        people: Sequence[ViewSamples],
        free: NDArray[np.bool_],
        focals: Array,
        focal_noise: Array,
        points: Sequence[Array] | None = None,
        expected: Sequence[ViewCamera] | None = None,
    ) -> None:
        self.start, self.people, self.free, self.focals = start, people, free, focals
        self.expected = expected or start
        # Offsets are those in the middle of the take, because drifts hardly change them.
        self.middle = float(np.mean([person.times.mean() for person in people])) if people else 0.0
        self.points: Sequence[Array | None] = points or [None] * len(people)
        # Focal lengths and distances are hard to separate. The expected one counts as much as half of the moments.
        moments = sum(person.weights.shape[1] for person in people)
        self.precision = np.zeros(free.shape)
        self.precision[:, _FOCAL] = 0.5 * moments / focal_noise**2
        self.precision[:, _CLOCK], self.precision[:, _DRIFT] = _CLOCK_NOISE**-2, _DRIFT_NOISE**-2

    def _clocks(self, cameras: Sequence[ViewCamera]) -> Array:
        """Return the offsets in the middle of the take, and the drifts (2, V)."""
        return np.array([(camera.offset + self.middle * camera.drift, camera.drift) for camera in cameras]).T

    def stepped(self, cameras: list[ViewCamera], equations: DenseEquations, damping: float) -> list[ViewCamera]:
        """Return the cameras after a damped step."""
        step = np.zeros(self.free.shape)
        step[self.free] = equations.step(damping)
        return moved_cameras(cameras, step, self.middle)

    def linearise(self, cameras: list[ViewCamera]) -> DenseEquations:
        """Compute the normal equations over the free parameters, with errors in standard deviations."""
        focals = np.array([camera.focal for camera in cameras])
        shifts, gains = self._clocks(cameras) - self._clocks(self.start)
        difference = np.zeros_like(self.precision)
        difference[:, _FOCAL], difference[:, _DRIFT] = np.log(focals / self.focals), [c.drift for c in cameras]
        difference[:, _CLOCK] = (self._clocks(cameras) - self._clocks(self.expected))[0]
        pull = self.precision * difference
        equations = DenseEquations(0.5 * (pull * difference).sum(), pull.ravel(), np.diag(self.precision.ravel()))
        for person, points in zip(self.people, self.points, strict=True):
            # Landmarks move with the clock of the camera.
            times = person.times - self.middle
            pixels = person.points + (shifts[:, None] + gains[:, None] * times)[..., None, None] * person.speeds
            if points is None:
                points = _triangulate_landmarks(cameras, pixels, person.weights)
                by_points = _by_rays(cameras, pixels, person, points, times)
                triangulated = np.asarray((person.weights > 0).sum(0) >= 2)
                _add_bones(equations, points, by_points, triangulated, person.leg)
                shares = person.weights * triangulated
            else:
                by_points = np.zeros((self.free.size, *points.shape))
                triangulated, shares = np.zeros(points.shape[:2], bool), person.weights
            homogeneous = np.pad(points, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
            for number, camera in enumerate(cameras):
                in_camera, first = camera.to_camera(points), number * _WIDTH
                by_camera = by_points @ camera.rotation.T  # (9 V, K, L, 3)
                by_camera[first : first + _WIDTH] += np.einsum("pij,klj->pkli", _by_parameters(camera), homogeneous)
                depth = in_camera[..., 2:].clip(_MIN_DEPTH)
                flat = in_camera[..., :2] / depth
                by_flat = (by_camera[..., :2] - flat * by_camera[..., 2:] * (in_camera[..., 2:] > _MIN_DEPTH)) / depth
                by_flat[first + _FOCAL] += flat
                by_clock = person.speeds[number] / camera.focal
                by_flat[first + _CLOCK] -= by_clock
                by_flat[first + _DRIFT] -= by_clock * times[:, None, None]
                sigma = KEYPOINT_NOISE * person.heights[number]
                error = (camera.project(points) - pixels[number]) / sigma
                cost, weights = huber(error, _ROBUST)
                equations.cost += float((shares[number] * cost).sum())
                equations.add(error, by_flat * (camera.focal / sigma), (shares[number] * weights)[..., None])
                # Triangulated points behind a camera, which would have pixels, too, are pushed before it.
                near = triangulated & (in_camera[..., 2] < _NEAR)
                missing = 10 * (in_camera[near, 2] - _NEAR)
                equations.cost += 0.5 * float(np.square(missing).sum())
                equations.add(missing, 10 * by_camera[:, near, 2])
        free = np.flatnonzero(self.free)
        return DenseEquations(equations.cost, equations.gradient[free], equations.hessian[np.ix_(free, free)])


def _by_parameters(camera: ViewCamera) -> Array:
    """Compute the slopes (_WIDTH, 3, 4) of a camera's matrix by its parameters."""
    slopes = np.zeros((_WIDTH, 3, 4))
    slopes[_TURN, :, :3] = np.cross(np.eye(3)[:, None], camera.rotation.T).swapaxes(1, 2)
    slopes[_SHIFT, :, 3] = np.eye(3)
    return slopes


def _by_rays(cameras: Sequence[ViewCamera], pixels: Array, person: ViewSamples, points: Array, times: Array) -> Array:
    """Compute the slopes (9 V, K, L, 3) of triangulated points (K, L, 3) by the parameters of all cameras.

    The points X solve Σ Aᵀ (A X − b) = 0, so that dX = −(Σ Aᵀ A)⁻¹ (dAᵀ (A X − b) + Aᵀ (dA X − db)).
    """
    homogeneous = np.pad(points, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)[..., None]
    normal, pulls = 1e-9 * np.eye(3), []
    for camera, landmarks, speeds, weights in zip(cameras, pixels, person.speeds, person.weights, strict=True):
        matrix, by_matrix = camera.matrix[:3], _by_parameters(camera)[:, None, None]
        flat = ((landmarks - camera.principal_point) / camera.focal)[..., None]
        by_flat = np.zeros((_WIDTH, *flat.shape))
        by_flat[_FOCAL], by_flat[_CLOCK] = -flat, speeds[..., None] / camera.focal
        by_flat[_DRIFT] = by_flat[_CLOCK] * times[:, None, None, None]
        rows = flat * matrix[2] - matrix[:2]  # (A, −b), as in `triangulate`
        by_rows = by_flat * matrix[2] + flat * by_matrix[..., 2:, :] - by_matrix[..., :2, :]
        squares = np.square(weights)[..., None, None]
        A, by_A = (squares * values[..., :3].swapaxes(-1, -2) for values in (rows, by_rows))
        normal = normal + A @ rows[..., :3]
        pulls.append(by_A @ (rows @ homogeneous) + A @ (by_rows @ homogeneous))
    return np.asarray(-(np.linalg.inv(normal) @ np.concatenate(pulls))[..., 0])


def _add_bones(
    equations: DenseEquations, points: Array, by_points: Array, triangulated: NDArray[np.bool_], leg: float
) -> None:
    """Add changes of bones' lengths, and the difference of the legs from the length `leg`."""
    starts, ends = _BONES.T
    bones = points[:, starts] - points[:, ends]
    lengths = np.maximum(np.linalg.norm(bones, axis=-1), 1e-9)  # (K, B)
    by_lengths = ((by_points[:, :, starts] - by_points[:, :, ends]) * (bones / lengths[..., None])).sum(-1)
    complete = np.asarray(triangulated[:, _BONES].all(-1))
    # Bones keep their unknown lengths. A bone with a very different length has a wrong end.
    counts = np.maximum(complete.sum(0), 1)
    order = np.where(complete, lengths, np.inf).argsort(0)
    middle = np.take_along_axis(order, np.stack(((counts - 1) // 2, counts // 2)), 0)
    medians = np.take_along_axis(lengths, middle, 0).mean(0)
    by_medians = np.take_along_axis(by_lengths, middle[None], 1).mean(1)
    ratios = lengths / medians
    changes = (ratios - 1) / _BONE_NOISE
    by_changes = (by_lengths - ratios * by_medians[:, None]) / (medians * _BONE_NOISE)
    inside = complete & (np.abs(changes) < _BONE_OUTLIER)
    equations.cost += 0.25 * float((complete * np.square(np.clip(changes, -_BONE_OUTLIER, _BONE_OUTLIER))).sum())
    equations.add(changes, by_changes, 0.5 * inside)
    if complete[:, _LEGS].any(0).all():
        legs = medians[_LEGS].sum()
        difference = np.log(legs / 2 / leg) / _SIZE_NOISE
        equations.cost += 0.5 * float(difference**2)
        equations.add(difference, by_medians[:, _LEGS].sum(1) / (legs * _SIZE_NOISE))


def adjust_cameras(
    cameras: Sequence[ViewCamera],
    people: Sequence[ViewSamples],
    *,
    fixed_poses: bool = False,
    clocks: bool = True,
    expected: Sequence[ViewCamera] | None = None,
) -> list[ViewCamera]:
    """Find the cameras that best explain the landmarks of all people. The first camera keeps its pose.

    Args:
        cameras: The start.
        people: The people.
        fixed_poses: Whether rotations and translations stay, as in a calibration.
        clocks: Whether offsets of the clocks are adjusted, too.
        expected: Cameras with the expected clocks. None: those of `cameras`.
    """
    free = np.ones((len(cameras), _WIDTH), bool)
    free[0, 1:] = False
    free[:, 1:_CLOCK] &= not fixed_poses
    free[:, _CLOCK:] &= clocks
    is_fixed = np.array([camera.fixed_focal for camera in cameras])
    focals = [camera.focal if camera.fixed_focal else default_focal(*camera.size) for camera in cameras]
    noise = np.where(is_fixed, _FIXED_FOCAL, _FOCAL_NOISE)
    problem = _Adjustment(cameras, people, free, np.array(focals), noise, expected=expected)
    return minimise(problem, list(cameras), _SCHEDULE)


def freed_camera(cameras: Sequence[ViewCamera], people: Sequence[ViewSamples], view: int) -> ViewCamera:
    """Find the pose of one camera with which the landmarks of all people meet best, while the others stay."""
    free = np.zeros((len(cameras), _WIDTH), bool)
    free[view, 1:_CLOCK] = True
    focals = np.array([camera.focal for camera in cameras])
    problem = _Adjustment(cameras, people, free, focals, np.full(len(cameras), _FIXED_FOCAL))
    return minimise(problem, list(cameras), _SCHEDULE)[view]


def cauchy_loss(errors: Array) -> Array:
    """Compute the negative logarithm of a Cauchy distribution, log(1 + (e / 2)²), of errors in noise levels."""
    return np.asarray(np.log1p(np.square(errors / CAUCHY_SCALE)))


def landmark_cost(cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> float:
    """Measure how badly landmarks meet, by the mean of `cauchy_loss`. Differences are evidence per landmark."""
    total, count = 0.0, 0
    for person in people:
        _, errors, weights = reprojection(cameras, person)
        used = weights > 0
        total += float(cauchy_loss(errors[used]).sum())
        count += int(used.sum())
    return total / max(count, 1)


def resect_cameras(
    cameras: Sequence[ViewCamera], points: Sequence[Array], people: Sequence[ViewSamples]
) -> list[ViewCamera]:
    """Find the poses and focal lengths with which given points best match the images, each camera by itself.

    Args:
        cameras: The start.
        points: (K, L, 3) metres in the take's axes for each person. The `LANDMARKS`.
        people: The people.

    Returns:
        The cameras in the axes of the first one.
    """
    free = np.ones((len(cameras), _WIDTH), bool)
    free[:, _CLOCK:] = False
    noise = np.array([_FIXED_FOCAL if camera.fixed_focal else _REFINED_FOCAL for camera in cameras])
    problem = _Adjustment(cameras, people, free, np.array([camera.focal for camera in cameras]), noise, points)
    resected = minimise(problem, list(cameras), _SCHEDULE)
    return in_axes_of_first(resected)


def reprojection(cameras: Sequence[ViewCamera], person: ViewSamples) -> tuple[Array, Array, Array]:
    """Triangulate a person's landmarks and measure their distance from each view's landmarks.

    Returns:
        (K, L, 3) metres. (V, K, L) noise levels. And weights (V, K, L), zero for landmarks that fewer than two views
        show.
    """
    (points,), (visible,) = triangulated_people(cameras, [person])
    errors = [
        np.linalg.norm(camera.project(points) - pixels, axis=-1) / (KEYPOINT_NOISE * height)
        for camera, pixels, height in zip(cameras, person.points, person.heights, strict=True)
    ]
    return points, np.stack(errors), visible.weights


def triangulated_people(
    cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]
) -> tuple[list[Array], list[ViewSamples]]:
    """Triangulate the landmarks (K, L, 3) of all people, and hide landmarks that fewer than two cameras show."""
    points = [_triangulate_landmarks(cameras, person.points, person.weights) for person in people]
    visible = [person._replace(weights=person.weights * ((person.weights > 0).sum(0) >= 2)) for person in people]
    return points, visible


def in_axes_of_first(cameras: Sequence[ViewCamera]) -> list[ViewCamera]:
    """Move the cameras to the axes of the first one."""
    turn = cameras[0].rotation.T
    shift = cameras[0].translation
    return [
        replace(c, rotation=c.rotation @ turn, translation=c.translation - c.rotation @ turn @ shift) for c in cameras
    ]
