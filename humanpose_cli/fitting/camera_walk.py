"""A camera that walks: its path from the background, and the scale of the path from people's feet.

The background shows the path of a camera up to its scale. Two things show the scale. The foot that carries a person
does not move in the world. And feet stand on the ground, which the background shows.
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
_MIN_CONFIDENCE = 0.5  # of the ankles of standing feet
_STEP = 1 / 30  # seconds, minimum between two frames that are compared
_NOISE = 0.01  # metres by which a standing foot seems to move in that time
_SPEEDS = 0.02, 8.0  # metres per second, range of the median speed of a walking camera
_CANDIDATES = 600  # scales that are tried
_MIN_GAIN = 5.0  # in log-likelihood over a camera that does not move
_CLOUD_SIZE = 1000  # points of the background in a fit file
_CLOUD_SHARE = 0.97  # of the points, the nearest, from which these are chosen
_MAX_DEVIATION = 0.3  # relative, of a scale from steps alone
_GROUND_DEVIATION = 0.03  # relative, of a scale from the ground, whose errors are soles and depths of bodies
_MIN_BACKGROUND = 0.5  # minimum median distance of the background, as a share of the people's distance
_WALL_EXTENT = 0.05  # of the depths, as a share of their median, below which the background is a wall
_MIN_WALL = 1.3  # minimum distance of a wall, as a share of the people's distance
_MIN_SHIFT = 1e-9  # of a camera between two frames, in the path's unit
_MIN_STEPS = 10  # pairs of frames that show feet
_ROUNDS = 5  # of reweighting


_TRIPLES = 2000  # random planes through three points
_CHUNK = 100  # planes that are tested at once
_MAX_TILT = np.radians(20)  # of the ground against the people's up
_THICKNESS = 0.01  # of a plane, as a share of the points' median distance
_MIN_POINTS = 25  # on the plane
_MAX_SPREAD = 0.03  # median relative deviation of the frames' scales from their median
_SOLE = 0.02  # metres from the joint of the toes to the ground
_PLANE_ROUNDS = 3  # of the fit of a plane to its points


@dataclass(frozen=True, eq=False)
class WalkGround:
    """The ground of a walk: the plane up · x + height = 0 in the path's unit.

    Attributes:
        up: (3,). The unit normal of the plane.
        height: The distance of the origin from the plane, in the path's unit.
        metres: The metres per unit with which the lower feet touch the plane.
    """

    up: Array
    height: float
    metres: float


def find_walk_ground(points: Array, centres: Array, toes: Array, up: Array) -> WalkGround | None:
    """Find the plane with most points among those that the people's lower feet touch.

    Args:
        points: (P, 3). The background, in the path's unit.
        centres: (N, 3). The camera in each of N rows, in the path's unit.
        toes: (N, 2, 3) metres from the camera, in world axes.
        up: (3,). The direction against which the plane is tilted by 20° at most.

    Returns:
        The ground. None if no plane has enough points.
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
    """Draw level planes through three points: normals (K, 3) and heights (K,)."""
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
    """Compute the metres per unit (N,) with which the lower foot is on the plane. None if a camera is below it."""
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
    """The scale of a camera's path.

    Attributes:
        metres: The metres per unit of the path.
        deviation: The relative standard deviation of `metres`, apart from the people's sizes.
        ground: The ground, if the background shows it.
    """

    metres: float
    deviation: float
    ground: WalkGround | None = None


@dataclass(frozen=True)
class CameraWalk:
    """The path of a camera through a shot, in an arbitrary unit. Before its first frame the camera stands still.

    Attributes:
        first: The frame of the sequence at which the path begins.
        shot: The number of the shot.
        path: The reconstructed path.
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
            translation = scale.metres * self.path.translations[row]
            turn = replace(camera.turn, translation=translation, solved=bool(self.path.solved[row]))
            plane = None
            if scale.ground is not None:
                above = scale.ground.up @ self.path.centres[row] + scale.ground.height
                plane = (*(turn.rotation @ scale.ground.up).tolist(), float(scale.metres * above))
            cameras[index] = replace(camera, turn=turn, ground=plane)
        return cameras

    def document(self, scale: PathScale) -> dict[str, Any]:
        """Return the entry of a fit file about the path, as JSON values."""
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
        """Choose points of the background without the farthest ones, which are the least exact."""
        points = self.path.points
        distance = np.linalg.norm(points - self.path.centres.mean(0), axis=1)
        near = points[distance <= np.quantile(distance, _CLOUD_SHARE)] if len(points) else points
        return near[np.unique(np.linspace(0, len(near) - 1, _CLOUD_SIZE).round().astype(int))] if len(near) else near

    def _in_shot(self, cameras: Sequence[FrameCamera]) -> Iterator[tuple[int, FrameCamera]]:
        return ((index, camera) for index, camera in enumerate(cameras) if camera.shot == self.shot)

    def scale(self, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]) -> PathScale | None:
        """Find the scale of the path.

        Args:
            people: The rows of all people, sorted by track and frame.
            bodies: The bodies of these rows.
            times: Seconds. The times of the sequence's frames.

        Returns:
            The scale. None if the feet do not determine it, or if the background would be nearer than the people.
        """
        scale = self._scale(people, bodies, times)
        if scale is None:
            return None
        frames = np.array([person.frame for person in people], int) - self.first
        people_distance = np.median(bodies.joints3d[frames >= 0, 0, 2])
        distances = np.linalg.norm(self.path.points - self.path.centres.mean(0), axis=1)
        if not len(distances):
            return scale
        # A crop that moves over the image looks like a walk along a wall at the people's distance.
        nearest, middle, farthest = np.quantile(self.path.points[:, 2], (0.1, 0.5, 0.9))
        is_wall = farthest - nearest < _WALL_EXTENT * middle
        min_distance = (_MIN_WALL if is_wall else _MIN_BACKGROUND) * people_distance
        return scale if scale.metres * np.median(distances) > min_distance else None

    def _scale(self, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]) -> PathScale | None:
        """Find the scale from standing feet and from the ground under them."""
        standing = self._scale_of_steps(people, bodies, times)
        ground = self._ground(people, bodies)
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
        """Find the scale with which the slower feet stand. None if few frames show feet, or no step depends on it."""
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
        scale = float(candidates[best])
        information = 0.0
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
        frames = np.array([people[row].frame - self.first for row in rows], int)
        in_world = np.einsum("nji,nkj->nki", self.path.rotations[frames], bodies.joints3d[rows].astype(float))
        upwards = in_world[:, SMPL24.index("neck")] - in_world[:, list(SMPL24.indices(_ANKLES))].mean(1)
        upwards /= np.maximum(np.linalg.norm(upwards, axis=1, keepdims=True), 1e-9)
        up = np.median(upwards, axis=0)
        up /= max(float(np.linalg.norm(up)), 1e-9)
        return find_walk_ground(self.path.points, self.path.centres[frames], in_world[:, list(_FEET)], up)

    def _is_solved(self, frame: int) -> bool:
        return 0 <= frame - self.first < len(self.path.solved) and bool(self.path.solved[frame - self.first])

    def _foot_steps(
        self, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]
    ) -> tuple[Array, Array]:
        """Compute the steps (N, 2, 3) of two feet in metres, and of the camera in the path's unit, across the rays."""
        # Across the rays to the feet, because a body's depth is the least exact.
        rows = self._pairs(people, times)
        frames = np.array([person.frame for person in people], int) - self.first
        to_world = self.path.rotations.transpose(0, 2, 1)
        joints = bodies.joints3d[:, list(_FEET)].astype(float)
        start, end = (np.einsum("nij,nkj->nki", to_world[frames[row]], joints[row]) for row in rows)
        first_centres, second_centres = (self.path.centres[frames[row]] for row in rows)
        shifts = np.broadcast_to((second_centres - first_centres)[:, None], end.shape)
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
    """Adapt a network's estimate, made for one camera, to another focal length: the body turns with its viewing ray."""
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
    """Compute the squared length (N,) of the shorter step of two feet (N, 2, 3) in noise levels, and its foot."""
    squared = (steps**2).sum(-1) / _NOISE**2
    return squared.min(1), squared.argmin(1)[:, None, None]


def _shows_feet(person: DetectedPerson) -> bool:
    ankles = person.keypoints[list(person.skeleton.indices(_ANKLES)), 2]
    return not person.interpolated and bool(ankles.min() > _MIN_CONFIDENCE)
