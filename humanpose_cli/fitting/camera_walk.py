"""A camera that walks: its path from the background, and the size of the path from people's feet.

The background shows the path of a camera up to its unit of length. Two things show the unit. In the world the foot that
carries a person does not move, though it does before a camera that walks. And feet are on the ground, which the
background shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.camera_motion import CameraPose
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.evidence import viewing_pixel
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, viewing_rotation
from humanpose_cli.odometry.reconstruction import Reconstruction

Array = NDArray[np.float64]

_FEET = SMPL24.indices(("left_foot", "right_foot"))
_ANKLES = "left_ankle", "right_ankle"
_MIN_CONFIDENCE = 0.5  # of the ankles of feet that may stand
_STEP = 1 / 30  # seconds, at least, between two frames that are compared
_NOISE = 0.01  # metres by which a standing foot seems to move in that time
_SPEEDS = 0.02, 8.0  # metres a second of a camera that walks, in its median step
_CANDIDATES = 600
_MIN_GAIN = 5.0  # of the log-likelihood over a camera that does not move
_CLOUD, _NEAR = 1000, 0.97  # points of the background that a fit file keeps, and the share of them that are near
_MAX_DEVIATION = 0.3  # of a unit that steps alone show
_GROUND_DEVIATION = 0.03  # of a unit that the ground shows: soles, and depths of bodies
_MIN_BACKGROUND = 0.5  # median distance of the background, in that of the people, before whom it does not lie
_WALL, _MIN_WALL = 0.05, 1.3  # extent of depths, in their median, of a wall across; its distance in the people's
_MIN_SHIFT = 1e-9  # of a camera between two frames, in the path's unit
_MIN_STEPS = 10  # pairs of frames that show feet
_ROUNDS = 5


_TRIPLES, _CHUNK = 2000, 100  # planes through three points that are tried, and those tried at once
_MAX_TILT = np.radians(20)  # of the ground about the people's up
_THICKNESS = 0.01  # of the points' median distance: a point nearer to a plane is on it
_MIN_POINTS = 25
_MAX_SPREAD = 0.03  # of the frames' scales under a plane that feet reach, median relative distance from their median
_SOLE = 0.02  # metres from the joint of the toes to the ground
_PLANE_ROUNDS = 3  # of the fit of a plane to its points


@dataclass(frozen=True, eq=False)
class WalkGround:
    """The plane up · x + height = 0 of the background, in the path's unit, and the metres for that unit under which the
    lower feet reach it.
    """

    up: Array
    height: float
    metres: float


def find_walk_ground(points: Array, centres: Array, toes: Array, up: Array) -> WalkGround | None:
    """Find the plane with most points among those that the people's lower feet reach; None without one.

    Args:
        points: (P, 3) of the background, in the path's unit.
        centres: (N, 3) of the camera in N rows, in that unit.
        toes: (N, 2, 3) metres from the camera, in the world's axes.
        up: (3,) about which the plane is level, ±20°.
    """
    if len(points) < _MIN_POINTS or not len(toes):
        return None
    distance = np.median(np.linalg.norm(points - centres.mean(0), axis=1))
    normals, heights = _planes(points, up)
    parts = [slice(start, start + _CHUNK) for start in range(0, len(normals), _CHUNK)]
    thickness = _THICKNESS * distance
    on_plane = [(np.abs(normals[part] @ points.T + heights[part, None]) < thickness).sum(1) for part in parts]
    counts = np.concatenate(on_plane) if on_plane else np.zeros(0, int)
    for candidate in np.argsort(-counts, kind="stable"):
        if counts[candidate] < _MIN_POINTS:
            return None
        normal, height = normals[candidate], float(heights[candidate])
        scales = _scales(normal, height, centres, toes)
        if scales is None or _spread(scales) > _MAX_SPREAD:
            continue
        normal, height = _refined(points, normal, height, thickness)
        scales = _scales(normal, height, centres, toes)
        if scales is not None and _spread(scales) <= _MAX_SPREAD:
            return WalkGround(normal, height, float(np.median(scales)))
    return None


def _planes(points: Array, up: Array) -> tuple[Array, Array]:
    """Draw planes through three points, normals (K, 3) and heights (K,), that are level enough."""
    triples = points[np.random.default_rng(0).integers(0, len(points), (_TRIPLES, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1)
    usable = length > 1e-12
    normals, triples = normals[usable] / length[usable, None], triples[usable]
    normals *= np.where(normals @ up < 0, -1.0, 1.0)[:, None]
    level = normals @ up > np.cos(_MAX_TILT)
    normals = normals[level]
    return normals, -(normals * triples[level, 0]).sum(1)


def _scales(normal: Array, height: float, centres: Array, toes: Array) -> Array | None:
    """Compute the metres for the unit (N,) under which the lower foot is on the plane; None if a camera is below it."""
    above = centres @ normal + height
    if above.min() <= 0:
        return None
    descent = _SOLE - (toes @ normal).min(1)
    return np.asarray(descent / above)


def _spread(scales: Array) -> float:
    middle = float(np.median(scales))
    return float(np.median(np.abs(scales - middle))) / middle if middle > 0 else np.inf


def _refined(points: Array, normal: Array, height: float, thickness: float) -> tuple[Array, float]:
    """Fit the plane to the points on it."""
    for _ in range(_PLANE_ROUNDS):
        near = points[np.abs(points @ normal + height) < thickness]
        middle = near.mean(0)
        axis = np.linalg.svd(near - middle)[2][2]
        normal = axis * np.sign(axis @ normal)
        height = -float(normal @ middle)
    return normal, height


@dataclass(frozen=True)
class PathScale:
    """Metres for the unit of a camera's path, the relative deviation but for people's sizes, and the ground, if the
    background shows it.
    """

    metres: float
    deviation: float
    ground: WalkGround | None = None


@dataclass(frozen=True)
class CameraWalk:
    """The path of a camera through a shot, in an arbitrary unit, from the sequence's frame `first` on.

    Before that frame the camera stands still.
    """

    first: int
    shot: int
    path: Reconstruction

    def turned(
        self, cameras: Sequence[FrameCamera], people: Sequence[DetectedPerson]
    ) -> tuple[list[FrameCamera], list[DetectedPerson]]:
        """Give the shot's cameras the path's rotations and focal lengths, and adapt the estimates of its people."""
        cameras, people = list(cameras), list(people)
        for index, camera in self._in_shot(cameras):
            turn = camera.turn
            if index >= self.first:
                turn = CameraPose(self.path.rotations[index - self.first], solved=False, walks=True)
            focal = camera.camera.focal / camera.turn.zoom * self._focal_factor(index)
            cameras[index] = replace(camera, camera=replace(camera.camera, focal=focal), turn=turn)
        for row, person in enumerate(people):
            if (camera := cameras[person.frame]).shot == self.shot:
                before = replace(camera.camera, focal=camera.camera.focal / self._focal_factor(person.frame))
                people[row] = before_camera(person, before, camera.camera)
        return cameras, people

    def _focal_factor(self, frame: int) -> float:
        return self.path.focal_factor * float(self.path.zooms[max(frame - self.first, 0)])

    def moved(self, cameras: Sequence[FrameCamera], scale: PathScale) -> list[FrameCamera]:
        """Move the shot's cameras along the path."""
        cameras = list(cameras)
        for index, camera in self._in_shot(cameras):
            if (row := index - self.first) < 0:
                continue
            translation, solved = scale.metres * self.path.translations[row], bool(self.path.solved[row])
            turn, plane = replace(camera.turn, translation=translation, solved=solved), None
            if scale.ground is not None:
                above = scale.ground.up @ self.path.centres[row] + scale.ground.height
                plane = (*(turn.rotation @ scale.ground.up).tolist(), float(scale.metres * above))
            cameras[index] = replace(camera, turn=turn, ground=plane)
        return cameras

    def document(self, scale: PathScale) -> dict[str, Any]:
        """Return what a fit file says of the path, as JSON values."""
        return {
            "shot": self.shot,
            "metres": round(scale.metres * self.path.length, 3),
            "deviation": round(scale.deviation, 4),
            "zoom": round(float(self.path.zooms.max() / self.path.zooms.min()), 3),
            "ground": scale.ground is not None,
            "background_error": round(self.path.error, 3),
            "background": np.round(scale.metres * self._cloud(), 2).tolist(),
        }

    def _cloud(self) -> Array:
        """Choose up to `_CLOUD` points of the background, without the farthest ones, which are the least exact."""
        points = self.path.points
        distance = np.linalg.norm(points - self.path.centres.mean(0), axis=1)
        near = points[distance <= np.quantile(distance, _NEAR)] if len(points) else points
        return near[np.unique(np.linspace(0, len(near) - 1, _CLOUD).round().astype(int))] if len(near) else near

    def _in_shot(self, cameras: Sequence[FrameCamera]) -> Iterator[tuple[int, FrameCamera]]:
        return ((index, camera) for index, camera in enumerate(cameras) if camera.shot == self.shot)

    def scale(self, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]) -> PathScale | None:
        """Find the path's unit from the rows of all people, sorted by track and frame; None if their feet do not show
        it, or the background would lie before them: a crop that moves over the image looks like a walk along a wall at
        their distance.

        Args:
            bodies: Of the rows; times  seconds of the sequence's frames.
        """
        scale = self._scale(people, bodies, times)
        if scale is None:
            return None
        frames = np.array([person.frame for person in people], int) - self.first
        away = np.median(bodies.joints3d[frames >= 0, 0, 2])
        distances = np.linalg.norm(self.path.points - self.path.centres.mean(0), axis=1)
        if not len(distances):
            return scale
        nearest, middle, farthest = np.quantile(self.path.points[:, 2], (0.1, 0.5, 0.9))
        is_wall = farthest - nearest < _WALL * middle
        smallest = (_MIN_WALL if is_wall else _MIN_BACKGROUND) * away
        return scale if scale.metres * np.median(distances) > smallest else None

    def _scale(self, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]) -> PathScale | None:
        """Find the unit from standing feet and the ground under them."""
        standing, ground = self._scale_of_steps(people, bodies, times), self._ground(people, bodies)
        if ground is None:
            return standing if standing is not None and standing.deviation < _MAX_DEVIATION else None
        if standing is None:
            return PathScale(ground.metres, _GROUND_DEVIATION, ground)
        logs = np.log([standing.metres, ground.metres])
        weights = np.array([standing.deviation, _GROUND_DEVIATION]) ** -2.0
        return PathScale(float(np.exp((weights @ logs) / weights.sum())), float(weights.sum() ** -0.5), ground)

    def _scale_of_steps(
        self, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]
    ) -> PathScale | None:
        """Find the unit in which the slower feet stand; None if too few frames show feet, or no step depends on it."""
        feet, shifts = self._foot_steps(people, bodies, times)
        if len(feet) < _MIN_STEPS:
            return None
        usual = float(np.median(np.linalg.norm(shifts, axis=-1)))
        if usual < _MIN_SHIFT:
            return None
        slowest, fastest = (speed * _STEP / usual for speed in _SPEEDS)
        candidates = np.geomspace(slowest, fastest, _CANDIDATES)
        cost = [float(np.log1p(_slower(feet + scale * shifts)[0]).sum()) for scale in candidates]
        best = int(np.argmin(cost))
        at_rest = float(np.log1p(_slower(feet)[0]).sum())
        if best in (0, _CANDIDATES - 1) or at_rest - cost[best] < _MIN_GAIN:
            return None
        scale, information = float(candidates[best]), 0.0
        for _ in range(_ROUNDS):
            squared, slower = _slower(feet + scale * shifts)
            weights = 1 / (1 + squared) ** 2
            steps, moves = (np.take_along_axis(values, slower, 1)[:, 0] for values in (feet, shifts))
            information = max(float((weights * (moves**2).sum(-1)).sum()), 1e-12)
            scale = -float((weights * (steps * moves).sum(-1)).sum()) / information
            if scale <= 0:
                return None
        return PathScale(scale, float(_NOISE / (scale * np.sqrt(information))))

    def _ground(self, people: Sequence[DetectedPerson], bodies: KeypointFit) -> WalkGround | None:
        """Find the ground under the people's feet."""
        rows = [row for row, person in enumerate(people) if self._is_solved(person.frame) and _shows_feet(person)]
        if not rows:
            return None
        at = np.array([people[row].frame - self.first for row in rows], int)
        in_world = np.einsum("nji,nkj->nki", self.path.rotations[at], bodies.joints3d[rows].astype(float))
        upwards = in_world[:, SMPL24.index("neck")] - in_world[:, list(SMPL24.indices(_ANKLES))].mean(1)
        upwards /= np.maximum(np.linalg.norm(upwards, axis=1, keepdims=True), 1e-9)
        up = np.median(upwards, axis=0)
        up /= max(float(np.linalg.norm(up)), 1e-9)
        return find_walk_ground(self.path.points, self.path.centres[at], in_world[:, list(_FEET)], up)

    def _is_solved(self, frame: int) -> bool:
        return 0 <= frame - self.first < len(self.path.solved) and bool(self.path.solved[frame - self.first])

    def _foot_steps(
        self, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]
    ) -> tuple[Array, Array]:
        """Compute the steps of two feet (N, 2, 3) in metres, as if the camera only turned, and of the camera (N, 2, 3)
        in the path's unit, both across the rays to the feet: depth is what the body shows worst.
        """
        path = self.path
        before, after = self._pairs(people, times)
        frames = np.array([person.frame for person in people], int)
        here, there = frames[before] - self.first, frames[after] - self.first
        to_world = path.rotations.transpose(0, 2, 1)
        joints = bodies.joints3d[:, list(_FEET)].astype(float)
        start, end = (np.einsum("nij,nkj->nki", to_world[at], joints[r]) for at, r in ((here, before), (there, after)))
        shifts = np.broadcast_to((path.centres[there] - path.centres[here])[:, None], end.shape)
        rays = end / np.linalg.norm(end, axis=-1, keepdims=True)
        return _across(end - start, rays), _across(shifts, rays)

    def _pairs(
        self, people: Sequence[DetectedPerson], times: Sequence[float]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Choose pairs of rows of one track, about `_STEP` apart, that show both feet before a solved camera."""
        rows_of_tracks: dict[int, list[int]] = {}
        for row, person in enumerate(people):
            if self._is_solved(person.frame) and _shows_feet(person):
                rows_of_tracks.setdefault(person.track, []).append(row)
        pairs = [np.zeros((0, 2), np.int64)]
        for rows in map(np.array, rows_of_tracks.values()):
            seconds = np.array([times[people[row].frame] for row in rows])
            later = np.searchsorted(seconds, seconds + 0.9 * _STEP)
            usable = later < len(rows)
            first, second = np.flatnonzero(usable), later[usable]
            near = seconds[second] - seconds[first] < 2.5 * _STEP
            pairs.append(np.stack((rows[first[near]], rows[second[near]]), 1))
        before, after = np.concatenate(pairs).T
        return before, after


def before_camera(person: DetectedPerson, before: Camera, after: Camera) -> DetectedPerson:
    """Adapt the network's estimate of a person, made for one camera, to another focal length: the body turns with its
    viewing ray.
    """
    estimate = person.estimate
    if estimate is None:
        return person
    keypoints = torch.from_numpy(person.keypoints.astype(np.float64))[None]
    views = [Camera.stack([camera]).tensors(torch.float64) for camera in (before, after)]
    pixel = viewing_pixel(person.skeleton, keypoints[..., :2], keypoints[..., 2], views[0].principal_point)
    first, second = (viewing_rotation(pixel, view.focal, view.principal_point)[0] for view in views)
    turn = second @ first.mT
    poses, joints = estimate.poses.copy(), torch.from_numpy(estimate.joints.astype(np.float64))
    pelvis = axis_angle_to_matrix(torch.from_numpy(poses[:3].astype(np.float64)))
    poses[:3] = matrix_to_axis_angle(turn @ pelvis).numpy()
    joints = joints[:1] + (joints - joints[:1]) @ turn.mT
    estimate = replace(estimate, poses=poses, joints=joints.numpy().astype(estimate.joints.dtype))
    return replace(person, estimate=estimate)


def _across(steps: Array, rays: Array) -> Array:
    return steps - (steps * rays).sum(-1, keepdims=True) * rays


def _slower(steps: Array) -> tuple[Array, NDArray[np.int64]]:
    """Compute the squared length (N,), in units of the noise, of the shorter step of two feet (N, 2, 3), and which foot
    it is (N, 1, 1).
    """
    squared = (steps**2).sum(-1) / _NOISE**2
    return squared.min(1), squared.argmin(1)[:, None, None]


def _shows_feet(person: DetectedPerson) -> bool:
    ankles = person.keypoints[list(person.skeleton.indices(_ANKLES)), 2]
    return not person.interpolated and bool(ankles.min() > _MIN_CONFIDENCE)
