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

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from humanpose_cli.core.camera import default_focal
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.views.tracks import LANDMARKS, Array

KEYPOINT_NOISE = 0.008
"""Noise level of a keypoint of `hpc fit` in 1080p videos, as a share of the person's height in the image."""
_ROBUST = 1.6  # noise levels beyond which a residual counts less (Huber)
_BONE_NOISE = 0.15  # variation of a bone between moments, as a share of its length
_SIZE_NOISE = 0.05  # of the logarithm of a person's legs about the single fits' legs
_FOCAL_NOISE = 0.2  # of the logarithm of a focal length about the default
_MIN_DEPTH = 0.1  # metres
_TRANSLATION_UNIT = 3.0  # metres that a unit of the solver's parameters moves a camera
_CLOCK_NOISE = 0.03  # seconds, difference between clocks from joints and clocks from landmarks
_BONE_OUTLIER = 3.0  # noise levels of a bone's length beyond which the cost does not grow
_FIXED_FOCAL = 1e-4  # standard deviation of the logarithm of a given focal length
# Standard deviation of the logarithm of a focal length in resections, because bodies' proportions are a guess.
_REFINED_FOCAL = 0.01
_EVALUATIONS = 60  # maximum of the solver

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
        offset: Seconds that the camera's clock is ahead of the take's.
    """

    rotation: Array
    translation: Array
    focal: float
    principal_point: tuple[float, float]
    size: tuple[int, int]
    fixed_focal: bool = False
    offset: float = 0.0

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
        heights: (V,) pixels. The person's height in each image.
        leg: Metres. From hip to ankle along the bones of the single fits.
        seconds: The time in which two or more cameras show the person.
        joints: (V, K, 24, 3) metres in camera axes. The joints of the single fits, if they are needed.
    """

    times: Array
    points: Array
    weights: Array
    speeds: Array
    heights: Array
    leg: float
    seconds: float = 0.0
    joints: Array | None = None


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


class _Adjustment:
    """The residuals of all people before cameras. The first camera stays."""

    def __init__(
        self, cameras: Sequence[ViewCamera], people: Sequence[ViewSamples], *, fixed_poses: bool, clocks: bool
    ) -> None:
        self.start, self.people = list(cameras), people
        self.default_focals = np.array([default_focal(*camera.size) for camera in cameras])
        poses = 0 if fixed_poses else len(cameras) - 1
        self.clocks = len(cameras) - 1 if clocks else 0
        self.ends = np.cumsum((len(cameras), 6 * poses))
        self.size = int(self.ends[-1]) + self.clocks
        self.fixed_poses = fixed_poses

    def cameras(self, x: Array) -> list[ViewCamera]:
        """Make the cameras for a vector of parameters."""
        count = len(self.start)
        logs, poses, clocks = np.split(x, self.ends)
        focals = np.exp(logs)
        poses = poses.reshape(-1, 6)
        offsets = np.concatenate(([0.0], clocks)) if self.clocks else np.zeros(count)
        cameras = []
        for number, camera in enumerate(self.start):
            rotation = camera.rotation
            translation = camera.translation
            if number and not self.fixed_poses:
                rotation = Rotation.from_rotvec(poses[number - 1, :3]).as_matrix() @ rotation
                translation = translation + _TRANSLATION_UNIT * poses[number - 1, 3:]
            cameras.append(
                replace(
                    camera,
                    rotation=rotation,
                    translation=translation,
                    focal=float(camera.focal * focals[number]),
                    offset=float(camera.offset + offsets[number]),
                )
            )
        return cameras

    def residuals(self, x: Array) -> Array:
        """Compute all residuals in standard deviations."""
        cameras = self.cameras(x)
        parts = []
        shifts = np.array([c.offset - s.offset for c, s in zip(cameras, self.start, strict=True)])
        for person in self.people:
            # Landmarks move with the clock of the camera.
            pixels = person.points + shifts[:, None, None, None] * person.speeds
            points = _triangulate_landmarks(cameras, pixels, person.weights)
            triangulated = np.asarray((person.weights > 0).sum(0) >= 2)
            for number, camera in enumerate(cameras):
                sigma = KEYPOINT_NOISE * person.heights[number]
                error = (camera.project(points) - pixels[number]) / sigma
                share = np.sqrt(person.weights[number] * triangulated)
                parts.append((error * (_huber(error, _ROBUST) * share)[..., None]).ravel())
                # Points behind a camera, which would have pixels, too, are pushed before it.
                depth = camera.to_camera(points)[..., 2]
                parts.append(10 * np.minimum(depth - 0.5, 0).ravel() * triangulated.ravel())
            parts.append(self._bones(points, triangulated, person.leg))
        # Focal lengths and distances are hard to separate. The default counts as much as half of the moments.
        is_fixed = np.array([camera.fixed_focal for camera in self.start])
        deviation = np.where(is_fixed, _FIXED_FOCAL, _FOCAL_NOISE)
        expected = np.where(is_fixed, [camera.focal for camera in self.start], self.default_focals)
        logs = np.log([camera.focal for camera in cameras]) - np.log(expected)
        moments = sum(person.weights.shape[1] for person in self.people)
        parts.append(logs / deviation * np.sqrt(0.5 * moments))
        parts.append(x[self.ends[-1] :] / _CLOCK_NOISE)
        return np.concatenate(parts)

    def _bones(self, points: Array, triangulated: NDArray[np.bool_], leg: float) -> Array:
        """Compute changes of bones' lengths, and the difference of the legs from the length `leg`."""
        ends = points[:, _BONES]  # (K, B, 2, 3)
        lengths = np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)
        complete = np.asarray(triangulated[:, _BONES].all(-1))
        # Bones keep their unknown lengths. A bone with a very different length has a wrong end.
        medians = np.array(
            [np.median(column[k]) if k.any() else 0.0 for column, k in zip(lengths.T, complete.T, strict=True)]
        )
        changes = (lengths / np.maximum(medians, 1e-3) - 1) / _BONE_NOISE
        changes = np.clip(changes, -_BONE_OUTLIER, _BONE_OUTLIER)
        parts = [(changes * complete).ravel() / np.sqrt(2)]
        if complete[:, _LEGS].any(0).all():
            parts.append(np.array([np.log(medians[_LEGS].sum() / 2 / leg) / _SIZE_NOISE]))
        return np.concatenate(parts)


def _huber(error: Array, limit: float) -> Array:
    """Compute factors with which the squares of errors (..., 2) grow linearly beyond `limit`."""
    length = np.linalg.norm(error, axis=-1)
    factor = np.sqrt(np.maximum(2 * limit * length - limit**2, 0)) / np.maximum(length, 1e-9)
    return np.where(length > limit, factor, 1.0)


def adjust_cameras(
    cameras: Sequence[ViewCamera], people: Sequence[ViewSamples], *, fixed_poses: bool = False, clocks: bool = True
) -> list[ViewCamera]:
    """Find the cameras that best explain the landmarks of all people. The first camera keeps its pose.

    Args:
        cameras: The start.
        people: The people.
        fixed_poses: Whether rotations and translations stay, as in a calibration.
        clocks: Whether offsets of the clocks are adjusted, too.
    """
    problem = _Adjustment(cameras, people, fixed_poses=fixed_poses, clocks=clocks)
    start = np.zeros(problem.size)
    return problem.cameras(least_squares(problem.residuals, start, x_scale="jac", max_nfev=_EVALUATIONS).x)


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
    return in_axes_of_first([_resect(camera, number, points, people) for number, camera in enumerate(cameras)])


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


def _resect(camera: ViewCamera, number: int, points: Sequence[Array], people: Sequence[ViewSamples]) -> ViewCamera:
    deviation = _FIXED_FOCAL if camera.fixed_focal else _REFINED_FOCAL
    moments = sum(map(len, points))

    def camera_of(x: Array) -> ViewCamera:
        rotation = Rotation.from_rotvec(x[:3]).as_matrix() @ camera.rotation
        translation = camera.translation + _TRANSLATION_UNIT * x[3:6]
        focal = float(camera.focal * np.exp(x[6]))
        return replace(camera, rotation=rotation, translation=translation, focal=focal)

    def residuals(x: Array) -> Array:
        candidate = camera_of(x)
        parts = []
        for person_points, person in zip(points, people, strict=True):
            sigma = KEYPOINT_NOISE * person.heights[number]
            error = (candidate.project(person_points) - person.points[number]) / sigma
            factor = _huber(error, _ROBUST) * np.sqrt(person.weights[number])
            parts.append((error * factor[..., None]).ravel())
        return np.concatenate((*parts, x[6:] / deviation * np.sqrt(0.5 * moments)))

    if not any((person.weights[number] > 0).any() for person in people):
        return camera
    return camera_of(least_squares(residuals, np.zeros(7), x_scale="jac", max_nfev=_EVALUATIONS).x)
