"""Cameras from the people they show: bundle adjustment over focal lengths, poses and clocks, with points eliminated.

At every step the landmarks of all moments are triangulated linearly from the cameras that show them, so that the only
unknowns are the cameras'. Residuals are, in standard deviations: distances of landmarks from the triangulated points in
each image (Huber), changes of bones' lengths between moments, the length of legs, which sets the scale, and focal
lengths about the usual one. Without the elimination, as a sparse problem over all points, the same minimum is not
reached from starts as far away as single views give.
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
_ROBUST = 1.6  # noise levels of a residual beyond which it counts less (Huber)
_BONE_NOISE = 0.15  # by which a bone varies between moments, as a share of its length
_SIZE_NOISE = 0.05  # of the logarithm of a person's legs about those of the single fits
_FOCAL_NOISE = 0.2  # of the logarithm of a focal length about the usual one
_NEAR = 0.1  # metres: nothing is nearer to a camera
_TRANSLATION_UNIT = 3.0  # metres that a unit of the solver's parameters moves a camera
_CLOCK_NOISE = 0.03  # seconds between the clocks as the joints and as the landmarks have them
_BONE_OUTLIER = 3.0  # noise levels of a bone's length beyond which it costs no more
_FIXED_FOCAL = 1e-4  # standard deviation of the logarithm of a focal length that is given
# Standard deviation of a focal length's logarithm about the one before the bodies': their proportions are a guess.
_REFINED_FOCAL = 0.01
_EVALUATIONS = 60

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

    rotation (3, 3), translation (3,) metres: take's axes to camera axes, x ↦ rotation x + translation

    Attributes:
        focal, principal_point, size: Pixels; size is (width, height).
        fixed_focal: Whether the focal length is the user's, EXIF's or a calibration's.
        offset: Seconds that its clock is ahead of the take's.
    """

    rotation: Array
    translation: Array
    focal: float
    principal_point: tuple[float, float]
    size: tuple[int, int]
    fixed_focal: bool = False
    offset: float = 0.0

    def to_camera(self, points: Array) -> Array:
        """Move points (..., 3) from the take's axes to the camera's."""
        return points @ self.rotation.T + self.translation

    def project(self, points: Array) -> Array:
        """Project points, metres in the take's axes, to pixels (..., 2)."""
        before = self.to_camera(points)
        return self.focal * before[..., :2] / before[..., 2:].clip(_NEAR) + np.asarray(self.principal_point)

    @property
    def centre(self) -> Array:
        """(3,) metres: where it stands, take's axes."""
        return -self.rotation.T @ self.translation

    @property
    def matrix(self) -> Array:
        """(4, 4) take's axes to camera axes."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation, self.translation
        return matrix


class ViewSamples(NamedTuple):
    """One person at K moments before V cameras.

    Attributes:
        times: (K,) seconds on the take's clock.
        points: (V, K, L, 2) pixels of `LANDMARKS`.
        weights: (V, K, L) confidence, zero where a camera does not show it.
        speeds: (V, K, L, 2) pixels a second.
        heights: (V,) the person's height in each image, pixels.
        leg: Metres from hip to ankle along the bones, of the single fits.
        seconds: That two cameras or more show the person.
        joints: (V, K, 24, 3) metres, of the single fits, camera axes; None where nothing needs them.
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
    """Triangulate the points (N, 3) nearest to rays, by linear least squares.

    matrices (V, 3, 4) of the cameras, points (V, N, 2) image coordinates for a focal length of 1, weights (V, N)
    """
    rows = points[..., None] * matrices[:, None, None, 2] - matrices[:, None, :2]  # (V, N, 2, 4)
    rows = (rows * weights[..., None, None]).transpose(1, 0, 2, 3).reshape(points.shape[1], -1, 4)
    A, b = rows[..., :3], -rows[..., 3:]
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
    """The residuals of all people before cameras of which the first one stays."""

    def __init__(
        self,
        cameras: Sequence[ViewCamera],
        people: Sequence[ViewSamples],
        *,
        fixed_poses: bool,
        clocks: bool,
    ) -> None:
        self.start, self.people = list(cameras), people
        self.usual = np.array([default_focal(*camera.size) for camera in cameras])
        poses = 0 if fixed_poses else len(cameras) - 1
        self.clocks = len(cameras) - 1 if clocks else 0
        self.ends = np.cumsum((len(cameras), 6 * poses))
        self.size = int(self.ends[-1]) + self.clocks
        self.fixed_poses = fixed_poses

    def cameras(self, x: Array) -> list[ViewCamera]:
        """Make the cameras that parameters stand for."""
        count = len(self.start)
        logs, poses, clocks = np.split(x, self.ends)
        focals, poses = np.exp(logs), poses.reshape(-1, 6)
        offsets = np.concatenate(([0.0], clocks)) if self.clocks else np.zeros(count)
        cameras = []
        for number, camera in enumerate(self.start):
            rotation, translation = camera.rotation, camera.translation
            if number and not self.fixed_poses:
                turn, shift = poses[number - 1, :3], poses[number - 1, 3:]
                rotation = Rotation.from_rotvec(turn).as_matrix() @ rotation
                translation = translation + _TRANSLATION_UNIT * shift
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
        """Compute all residuals, in standard deviations."""
        cameras, parts = self.cameras(x), []
        shifts = np.array([c.offset - s.offset for c, s in zip(cameras, self.start, strict=True)])
        for person in self.people:
            # On another clock a camera would have shown the landmarks elsewhere.
            pixels = person.points + shifts[:, None, None, None] * person.speeds
            points = _triangulate_landmarks(cameras, pixels, person.weights)
            several = np.asarray((person.weights > 0).sum(0) >= 2)
            for number, camera in enumerate(cameras):
                sigma = KEYPOINT_NOISE * person.heights[number]
                error = (camera.project(points) - pixels[number]) / sigma
                share = np.sqrt(person.weights[number] * several)
                parts.append((error * (_huber(error, _ROBUST) * share)[..., None]).ravel())
                # Points behind a camera would have pixels, too: they are pushed before it.
                depth = camera.to_camera(points)[..., 2]
                parts.append(10 * np.minimum(depth - 0.5, 0).ravel() * several.ravel())
            parts.append(self._bones(points, several, person.leg))
        # Focal lengths and distances trade with each other: about the usual ones, as strongly as half of the moments.
        is_fixed = np.array([camera.fixed_focal for camera in self.start])
        deviation = np.where(is_fixed, _FIXED_FOCAL, _FOCAL_NOISE)
        usual = np.where(is_fixed, [camera.focal for camera in self.start], self.usual)
        logs = np.log([camera.focal for camera in cameras]) - np.log(usual)
        moments = sum(person.weights.shape[1] for person in self.people)
        parts.append(logs / deviation * np.sqrt(0.5 * moments))
        parts.append(x[self.ends[-1] :] / _CLOCK_NOISE)
        return np.concatenate(parts)

    def _bones(self, points: Array, several: NDArray[np.bool_], leg: float) -> Array:
        """Compute changes of bones' lengths, and the difference of the legs from the length `leg`."""
        ends = points[:, _BONES]  # (K, B, 2, 3)
        lengths = np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)
        complete = np.asarray(several[:, _BONES].all(-1))
        # Bones keep their lengths, whatever they are; a bone that is far off has a wrong end, and says no more.
        usual = np.array(
            [np.median(column[k]) if k.any() else 0.0 for column, k in zip(lengths.T, complete.T, strict=True)]
        )
        changes = (lengths / np.maximum(usual, 1e-3) - 1) / _BONE_NOISE
        changes = np.clip(changes, -_BONE_OUTLIER, _BONE_OUTLIER)
        parts = [(changes * complete).ravel() / np.sqrt(2)]
        if complete[:, _LEGS].any(0).all():
            parts.append(np.array([np.log(usual[_LEGS].sum() / 2 / leg) / _SIZE_NOISE]))
        return np.concatenate(parts)


def _huber(error: Array, limit: float) -> Array:
    """Compute factors that make squares of errors (..., 2) beyond `limit` grow as the errors do."""
    length = np.linalg.norm(error, axis=-1)
    beyond = np.sqrt(np.maximum(2 * limit * length - limit**2, 0)) / np.maximum(length, 1e-9)
    return np.where(length > limit, beyond, 1.0)


def adjust_cameras(
    cameras: Sequence[ViewCamera],
    people: Sequence[ViewSamples],
    *,
    fixed_poses: bool = False,
    clocks: bool = True,
) -> list[ViewCamera]:
    """Find the cameras that best explain the landmarks of all people, from a start; the first one keeps its pose.

    Args:
        fixed_poses: Whether rotations and translations stay, as of a calibration.
        clocks: Whether offsets of the clocks are adjusted, too.
    """
    problem = _Adjustment(cameras, people, fixed_poses=fixed_poses, clocks=clocks)
    start = np.zeros(problem.size)
    return problem.cameras(least_squares(problem.residuals, start, x_scale="jac", max_nfev=_EVALUATIONS).x)


def resect_cameras(
    cameras: Sequence[ViewCamera], points: Sequence[Array], people: Sequence[ViewSamples]
) -> list[ViewCamera]:
    """Find poses and focal lengths that best show given points, each camera by itself; the first one's axes become the
    take's again.

    Args:
        points: Of each person (K, L, 3) metres in take's axes, of `LANDMARKS`.
    """
    return in_axes_of_first([_resect(camera, number, points, people) for number, camera in enumerate(cameras)])


def reprojection(cameras: Sequence[ViewCamera], person: ViewSamples) -> tuple[Array, Array, Array]:
    """Triangulate a person's landmarks (K, L, 3), and measure how far they lie from those of each view (V, K, L), in
    noise levels. Also return their weights (V, K, L), zero for landmarks that fewer than two views show.
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
    """Triangulate the landmarks (K, L, 3) of all people; also return the people without the landmarks that fewer than
    two cameras show.
    """
    points = [_triangulate_landmarks(cameras, person.points, person.weights) for person in people]
    visible = [person._replace(weights=person.weights * ((person.weights > 0).sum(0) >= 2)) for person in people]
    return points, visible


def in_axes_of_first(cameras: Sequence[ViewCamera]) -> list[ViewCamera]:
    """Move the cameras to the axes of the first one."""
    turn, shift = cameras[0].rotation.T, cameras[0].translation
    return [
        replace(c, rotation=c.rotation @ turn, translation=c.translation - c.rotation @ turn @ shift) for c in cameras
    ]


def _resect(
    camera: ViewCamera,
    number: int,
    points: Sequence[Array],
    people: Sequence[ViewSamples],
) -> ViewCamera:
    deviation = _FIXED_FOCAL if camera.fixed_focal else _REFINED_FOCAL
    moments = sum(len(of_person) for of_person in points)

    def camera_of(x: Array) -> ViewCamera:
        rotation = Rotation.from_rotvec(x[:3]).as_matrix() @ camera.rotation
        translation = camera.translation + _TRANSLATION_UNIT * x[3:6]
        focal = float(camera.focal * np.exp(x[6]))
        return replace(camera, rotation=rotation, translation=translation, focal=focal)

    def residuals(x: Array) -> Array:
        candidate, parts = camera_of(x), []
        for of_person, person in zip(points, people, strict=True):
            sigma = KEYPOINT_NOISE * person.heights[number]
            error = (candidate.project(of_person) - person.points[number]) / sigma
            factor = _huber(error, _ROBUST) * np.sqrt(person.weights[number])
            parts.append((error * factor[..., None]).ravel())
        return np.concatenate((*parts, x[6:] / deviation * np.sqrt(0.5 * moments)))

    if not any((person.weights[number] > 0).any() for person in people):
        return camera
    return camera_of(least_squares(residuals, np.zeros(7), x_scale="jac", max_nfev=_EVALUATIONS).x)
