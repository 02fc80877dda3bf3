"""The path of a walking camera through a scene at rest, from corners of the background.

Structure from motion over key frames. The pair with the most parallax is the start (essential matrix). Further key
frames follow by their points (perspective-n-point), new points are triangulated, and bundle adjustment moves all of
them and the focal length together. The frames between key frames follow by points alone. The unit of length is
arbitrary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import camera_centres
from humanpose_cli.odometry.bundle import Array, BundleScene, Observations, PoseTarget, adjust
from humanpose_cli.odometry.corners import CornerTracker, FrameCorners

_MIN_POINTS = 12  # for the pose of a frame
_MAX_PARALLAX = 25.0  # pixels; more does not make a pair better
_PAIR_DISTANCES = 2, 4, 7, 11, 16, 24  # key frames between the two of a first pair
_PAIRS = 60  # that are tried
_MIN_PARALLAX = 3.0  # pixels, median after the rotation, of the first pair
_ESSENTIAL_ERROR = 1.5  # pixels, of an inlier of the first pair
_MIN_ANGLE = np.radians(1.2)  # between the rays of a new point
_FARTHEST = 1e6  # distance of a point from the first pair, in lengths between the two
_NEW_POINT_ERROR = 4.0  # pixels
_BAD_POINT_ERROR = 5.0  # pixels
_POSE_ERROR = 3.0  # pixels, of an inlier of a pose
_MIN_INLIERS = 0.4  # share of a frame's points
_REACH = 40  # maximum number of key frames before and after in which the same points are visible
_LOCAL_CAMERAS = 12  # key frames that are adjusted while the path grows
_ADJUST_EVERY = 3  # key frames
_WINDOW = 60  # key frames adjusted together at the end
_HELD = 15  # key frames of a window that the window before adjusted


_ZOOM_ERROR = 0.4  # pixels, error of a path above which a zooming lens is tried
_ZOOM_GAIN = 0.8  # error with a zoom, relative to the error without, below which the lens zooms
_START_ZOOMS = tuple(np.exp(np.linspace(-0.2, 0.2, 9)).tolist())  # of the second key frame to the first
_ZOOM_ROUNDS = 6  # alternating adjustments of focal lengths and path
_PIECES = 3  # of a shot in which all corners are lost, of which the longest is taken
_LENGTH_STEP = 15  # frames between the positions whose distances make a path's length
_MIN_SOLVED = 0.5  # share of the frames of a reliable path
_MAX_ERROR = 1.0  # pixels, of a reliable path


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The camera in the T frames of a shot, and points of the background, in a world with an arbitrary unit of length.

    Attributes:
        rotations: (T, 3, 3). World to camera.
        translations: (T, 3). World to camera.
        solved: (T,) bool. Whether a frame's background shows its pose.
        focal_factor: The factor on the focal length of the start.
        zooms: (T,). Factors on that focal length, the first of which is 1.
        points: (P, 3). The background.
        error: The median reprojection error, in the unit of the corners' positions.
    """

    rotations: Array
    translations: Array
    solved: NDArray[np.bool_]
    focal_factor: float
    zooms: Array
    points: Array
    error: float

    @property
    def centres(self) -> Array:
        """(T, 3). The positions of the camera in the world."""
        return np.asarray(camera_centres(self.rotations, self.translations))

    @property
    def length(self) -> float:
        """The length of the path, without the shaking of a hand."""
        ends = np.unique(np.append(np.arange(0, len(self.centres), _LENGTH_STEP), len(self.centres) - 1))
        return float(np.linalg.norm(np.diff(self.centres[ends], axis=0), axis=1).sum())

    @property
    def is_reliable(self) -> bool:
        """Whether half of the frames are solved with small errors."""
        return bool(self.solved.mean() >= _MIN_SOLVED and self.error <= _MAX_ERROR)


def reconstruct(corners: CornerTracker, *, fixed_focal: bool = False) -> Reconstruction | None:
    """Find the path of the camera over the frames of one shot.

    Args:
        corners: The corners of the frames.
        fixed_focal: Keep the focal length of the corners' camera.

    Returns:
        The path. None if no two frames show enough parallax.
    """
    path = _longest_piece(corners, fixed_focal, zooms=False)
    if path is None or fixed_focal or path.error < _ZOOM_ERROR:
        return path
    zooming = _longest_piece(corners, fixed_focal, zooms=True)
    return zooming if zooming is not None and zooming.error < _ZOOM_GAIN * path.error else path


def _longest_piece(corners: CornerTracker, fixed_focal: bool, *, zooms: bool) -> Reconstruction | None:
    """Find the path over the frames that corners connect: the longest of up to `_PIECES` pieces."""
    best: Reconstruction | None = None
    in_pieces = np.zeros(len(corners.keys), bool)
    for _ in range(_PIECES):
        growth = _Growth(corners, zooms=zooms)
        if not growth.begin(~in_pieces):
            break
        growth.grow()
        growth.finish(fixed_focal)
        piece = growth.reconstruction()
        best = piece if best is None or piece.solved.sum() > best.solved.sum() else best
        in_pieces |= growth.has_pose
        if in_pieces.mean() > 1 - best.solved.mean():
            break
    return best


class _Growth:
    """Key frames with poses, and points, which are added one after the other."""

    def __init__(self, corners: CornerTracker, *, zooms: bool) -> None:
        self._may_zoom = zooms
        self._frames = corners.frames
        self._key_frames = np.array(corners.keys)
        keys = [corners.frames[key] for key in corners.keys]
        self._keys = keys
        self._count = len(keys)
        self._first_focal = corners.focal
        self.has_pose = np.zeros(self._count, bool)
        largest = max((int(frame.ids.max(initial=-1)) for frame in corners.frames), default=-1)
        rotations = np.tile(np.eye(3), (self._count, 1, 1))
        points = np.full((largest + 1, 3), np.nan)
        self._scene = BundleScene(rotations, np.zeros((self._count, 3)), points, corners.focal)
        cameras = np.concatenate([np.full(len(key.ids), index) for index, key in enumerate(keys)])
        positions = np.concatenate([key.positions for key in keys]).astype(float)
        self._observations = Observations(cameras, np.concatenate([key.ids for key in keys]), positions)
        self._rows = np.searchsorted(cameras, np.arange(self._count + 1))  # of each key frame's observations
        self._zooms = np.ones(self._count)  # factors on the focal length, by which observed positions are divided
        self._has_no_pose = np.zeros(self._count, bool)  # key frames whose pose was not found
        self._first = 0  # the key frame whose camera is the world's axes

    def begin(self, usable: NDArray[np.bool_]) -> bool:
        """Start from the pair of usable key frames with most parallax and inliers."""
        candidates = [(a, a + d) for d in _PAIR_DISTANCES for a in range(0, self._count - d, max(1, d // 2))]
        candidates = [pair for pair in candidates if usable[list(pair)].all()]
        pairs = candidates[:: max(1, len(candidates) // _PAIRS)]
        starts = [(pair, start) for pair in pairs if (start := self._start(*pair)) is not None]
        if not starts:
            return False
        (a, b), (_, zoom, rotation, direction) = max(starts, key=lambda item: item[1][0])
        self._first = a
        self._scene.rotations[b] = rotation
        self._scene.translations[b] = direction
        self._set_zoom(b, zoom)
        self.has_pose[[a, b]] = True
        self._triangulate()
        self._adjust(np.array([a, b]), held=1)
        return bool(np.isfinite(self._scene.points[:, 0]).sum() >= _MIN_POINTS)

    def _start(self, a: int, b: int) -> tuple[float, float, Array, Array] | None:
        """Find score, zoom, rotation and direction of key frame b to a for most corners. None without parallax."""
        _, in_a, in_b = np.intersect1d(self._keys[a].ids, self._keys[b].ids, assume_unique=True, return_indices=True)
        if len(in_a) < 4 * _MIN_POINTS:
            return None
        first = self._keys[a].positions[in_a].astype(float)
        second = self._keys[b].positions[in_b].astype(float)
        zooms = _START_ZOOMS if self._may_zoom else (1.0,)
        poses = [(zoom, _relative_pose(first, second / zoom, self._scene.focal)) for zoom in zooms]
        solved_poses = [(zoom, *pose) for zoom, pose in poses if pose is not None]
        if not solved_poses:
            return None
        zoom, rotation, direction, inliers = max(solved_poses, key=lambda pose: int(pose[3].sum()))
        parallax = _parallax(first[inliers], second[inliers] / zoom, rotation, self._scene.focal)
        score = min(parallax, _MAX_PARALLAX) * float(inliers.sum())
        return (score, zoom, rotation, direction) if parallax >= _MIN_PARALLAX else None

    def grow(self) -> None:
        """Add the remaining key frames, starting with the neighbours of those with a pose."""
        count = 0
        while (key := self._next_key()) is not None:
            self.has_pose[key] = self._pose(key)
            self._has_no_pose[key] = not self.has_pose[key]
            if self.has_pose[key]:
                self._triangulate(key)
                count += 1
                if count % _ADJUST_EVERY == 0:
                    self._adjust(np.sort(np.append(self._nearest(key, _LOCAL_CAMERAS - 1), key)), held=2)

    def _next_key(self) -> int | None:
        """Return the neighbouring key frame with most points. None if none has enough."""
        solved_keys = np.flatnonzero(self.has_pose)
        is_open = ~(self.has_pose | self._has_no_pose)
        ends = (
            np.flatnonzero(is_open[: solved_keys[0]])[-1:],
            solved_keys[-1] + np.flatnonzero(is_open[solved_keys[-1] :])[:1],
        )
        views = {int(key): int(self._has_point(self._keys[key]).sum()) for key in np.concatenate(ends)}
        best = max(views, key=lambda key: views[key], default=None)
        return best if best is not None and views[best] >= _MIN_POINTS else None

    def _has_point(self, frame: FrameCorners) -> NDArray[np.bool_]:
        """Return which corners (N,) of a frame have points."""
        return np.isfinite(self._scene.points[frame.ids, 0])

    def _nearest(self, key: int, count: int) -> NDArray[np.int64]:
        """Return up to `count` other key frames with a pose, the nearest first."""
        solved_keys = np.flatnonzero(self.has_pose & (np.arange(self._count) != key))
        return solved_keys[np.argsort(np.abs(solved_keys - key), kind="stable")[:count]]

    def _pose(self, key: int) -> bool:
        """Find the pose of a key frame from its points."""
        frame = self._keys[key]
        has_point = self._has_point(frame)
        neighbour = self._nearest(key, 1)[0]
        zoom = self._zooms[neighbour]
        target = self._target(frame, has_point, zoom)
        pose = _pose_of(target, self._scene.rotations[neighbour], self._scene.translations[neighbour])
        if pose is None:
            return False
        self._scene.rotations[key], self._scene.translations[key] = pose
        self._set_zoom(key, zoom)
        if self._may_zoom:
            self._zoom(key)
        return True

    def _zoom(self, key: int) -> None:
        """Adapt the focal length and pose of a key frame to its points, and to its neighbours' lenses."""
        nearest = self._nearest(key, 2)
        is_between = len(nearest) == 2 and nearest.min() < key < nearest.max()
        neighbours = nearest if is_between else nearest[:1]
        expected = float(np.exp(np.log(self._zooms[neighbours]).mean()) / self._zooms[key])
        has_point = self._has_point(self._keys[key])
        target = self._target(self._keys[key], has_point, self._zooms[key])
        self._scene.rotations[key], self._scene.translations[key], factor = target.refined(
            self._scene.rotations[key], self._scene.translations[key], expected
        )
        self._set_zoom(key, self._zooms[key] * factor)

    def _set_zoom(self, key: int, zoom: float) -> None:
        rows = slice(self._rows[key], self._rows[key + 1])
        self._observations.positions[rows] = self._keys[key].positions / zoom
        self._zooms[key] = zoom

    def _target(self, frame: FrameCorners, has_point: NDArray[np.bool_], zoom: float) -> PoseTarget:
        positions = frame.positions[has_point].astype(float) / zoom
        return PoseTarget(self._scene.points[frame.ids[has_point]], positions, self._scene.focal)

    def _observations_of(self, first: int, last: int) -> Observations:
        """Return the observations of the key frames with a pose from `first` to `last`."""
        observations = self._observations.rows(slice(self._rows[max(first, 0)], self._rows[min(last + 1, self._count)]))
        return observations.rows(self.has_pose[observations.cameras])

    def _triangulate(self, key: int | None = None) -> None:
        """Add the points that key frames with a pose see at a sufficient angle. With `key`, only the points in it."""
        observations = (
            self._observations_of(0, self._count) if key is None else self._observations_of(key - _REACH, key + _REACH)
        )
        new = np.isnan(self._scene.points[observations.points, 0])
        if key is not None:
            new &= np.isin(observations.points, self._keys[key].ids)
        observations = observations.rows(new)
        if not len(observations.points):
            return
        ids, member = np.unique(observations.points, return_inverse=True)
        observations = observations._replace(points=member)
        points, angles = _triangulated(observations, self._scene, len(ids))
        scene = replace(self._scene, points=points)
        worst = np.zeros(len(ids))
        np.maximum.at(worst, member, np.linalg.norm(scene.errors(observations), axis=1))
        good = (angles > _MIN_ANGLE) & (worst < _NEW_POINT_ERROR)
        self._scene.points[ids[good]] = points[good]

    def _adjust(
        self, cameras: NDArray[np.int64], *, held: int, expected_focal: float | None = None, steps: int = 6
    ) -> None:
        """Adjust some key frames, except for the first `held` ones, and the points that are visible in them."""
        free, in_window = np.zeros((2, self._count), bool)
        free[cameras[held:]] = in_window[cameras] = True
        observations = self._observations_of(int(cameras.min()), int(cameras.max()))
        observations = observations.rows(
            in_window[observations.cameras] & np.isfinite(self._scene.points[observations.points, 0])
        )
        views = np.bincount(observations.points, minlength=len(self._scene.points))
        observations = observations.rows(views[observations.points] >= 2)
        if not free.any() or len(observations.points) < 4 * _MIN_POINTS:
            return
        self._scene = adjust(self._scene, observations, free, expected_focal=expected_focal, steps=steps)
        errors = np.linalg.norm(self._scene.errors(observations), axis=1)
        # Points that many of their views contradict are removed.
        views = np.bincount(observations.points, minlength=len(self._scene.points))
        misses = np.bincount(observations.points[errors > _BAD_POINT_ERROR], minlength=len(self._scene.points))
        self._scene.points[(misses > 0) & (3 * misses >= views)] = np.nan

    def finish(self, fixed_focal: bool) -> None:
        """Adjust the complete path, in windows if it is long."""
        solved_keys = np.flatnonzero(self.has_pose)
        middle = int(np.searchsorted(solved_keys, self._first))
        start = min(max(middle - _WINDOW // 2, 0), max(len(solved_keys) - _WINDOW, 0))
        window = solved_keys[start : start + _WINDOW]
        for _ in range(_ZOOM_ROUNDS if self._may_zoom else 2):
            if self._may_zoom:
                for key in window[1:]:
                    self._zoom(key)
            self._adjust(window, held=1, expected_focal=None if fixed_focal else self._first_focal, steps=20)
            self._triangulate()
        if len(solved_keys) <= _WINDOW:
            return
        # Forwards from that window, then backwards. Each window is held at the end of the last one.
        for stop in range(start + _WINDOW, len(solved_keys), _WINDOW - _HELD):
            self._adjust(solved_keys[stop - _HELD : stop - _HELD + _WINDOW], held=_HELD, steps=12)
        for first in range(start, 0, -(_WINDOW - _HELD)):
            self._adjust(solved_keys[max(first + _HELD - _WINDOW, 0) : first + _HELD][::-1], held=_HELD, steps=12)

    def reconstruction(self) -> Reconstruction:
        """Return the poses of all frames. Frames between key frames are solved from their points."""
        count = len(self._frames)
        rotations = np.tile(np.eye(3), (count, 1, 1))
        translations = np.zeros((count, 3))
        errors = np.full(count, np.inf)
        solved_keys = np.flatnonzero(self.has_pose)
        solved_frames = self._key_frames[solved_keys]
        zooms = np.exp(np.interp(np.arange(count), solved_frames, np.log(self._zooms[solved_keys])))
        for index, frame in enumerate(self._frames):
            nearest = np.abs(solved_frames - index).argmin()
            start = self._scene.rotations[solved_keys[nearest]], self._scene.translations[solved_keys[nearest]]
            has_point = self._has_point(frame)
            if has_point.sum() >= _MIN_POINTS:
                target = self._target(frame, has_point, zooms[index])
                start = start if index == solved_frames[nearest] else target.refined(*start)[:2]
                errors[index] = np.median(target.errors(*start))
            rotations[index], translations[index] = start
        solved = errors < _POSE_ERROR
        _fill(rotations, translations, solved)
        # The world has the axes of the first frame's camera.
        turn = rotations[0].copy()
        shift = translations[0].copy()
        rotations = rotations @ turn.T
        translations = translations - rotations @ shift
        points = self._scene.points[np.isfinite(self._scene.points[:, 0])] @ turn.T + shift
        error = float(np.median(errors[solved])) if solved.any() else np.inf
        factor = float(self._scene.focal / self._first_focal * zooms[0])
        return Reconstruction(rotations, translations, solved, factor, zooms / zooms[0], points, error)


def _fill(rotations: Array, translations: Array, solved: NDArray[np.bool_]) -> None:
    """Interpolate the poses of unsolved frames between solved ones, in place. Ends copy their neighbour."""
    rows = np.flatnonzero(solved)
    if not len(rows):
        return
    centres = camera_centres(rotations, translations)
    for index in np.flatnonzero(~solved):
        position = int(np.searchsorted(rows, index))
        a = rows[max(position - 1, 0)]
        b = rows[min(position, len(rows) - 1)]
        share = 0.0 if a == b else float(np.clip((index - a) / (b - a), 0, 1))
        turn = cv2.Rodrigues(share * cv2.Rodrigues(rotations[b] @ rotations[a].T)[0])[0]
        rotations[index] = turn @ rotations[a]
        translations[index] = -rotations[index] @ ((1 - share) * centres[a] + share * centres[b])


def _relative_pose(before: Array, after: Array, focal: float) -> tuple[Array, Array, NDArray[np.bool_]] | None:
    """Find rotation, direction (3,) and inliers (N,) of a second camera from positions (N, 2) in both."""
    before = before / focal
    after = after / focal
    essential, mask = cv2.findEssentialMat(before, after, np.eye(3), cv2.RANSAC, 0.999, _ESSENTIAL_ERROR / focal)
    if essential is None or essential.shape != (3, 3):
        return None
    # An essential matrix has four poses. In the right one the points lie in front of both cameras.
    count, rotation, direction, visible, _ = cv2.recoverPose(
        essential, before, after, np.eye(3), distanceThresh=_FARTHEST, mask=mask
    )
    if count < 2 * _MIN_POINTS:
        return None
    return np.asarray(rotation, float), np.asarray(direction, float)[:, 0], visible[:, 0] > 0


def _parallax(before: Array, after: Array, rotation: Array, focal: float) -> float:
    """Measure the median distance in pixels between positions (N, 2) and the prediction by the rotation alone."""
    rays = np.column_stack((before / focal, np.ones(len(before)))) @ rotation.T
    return float(np.median(np.linalg.norm(focal * rays[:, :2] / rays[:, 2:] - after, axis=1)))


def _pose_of(target: PoseTarget, rotation: Array, translation: Array) -> tuple[Array, Array] | None:
    """Find the pose of a camera near another pose. None if too few points agree."""
    points, positions, focal = target
    if len(points) < _MIN_POINTS:
        return None
    matrix = np.diag((focal, focal, 1.0))
    vector = cv2.Rodrigues(rotation)[0]
    shift = translation[:, None].copy()
    success, vector, shift, inliers = cv2.solvePnPRansac(
        points, positions, matrix, None, vector, shift, True, 200, _POSE_ERROR, 0.999, None, cv2.SOLVEPNP_ITERATIVE
    )
    if not success or inliers is None or len(inliers) < max(_MIN_POINTS, _MIN_INLIERS * len(points)):
        return None
    return target.refined(np.asarray(cv2.Rodrigues(vector)[0], float), np.asarray(shift, float)[:, 0])[:2]


def _triangulated(observations: Observations, scene: BundleScene, count: int) -> tuple[Array, Array]:
    """Triangulate points from all their views, with the largest angle (count,) between the first ray and another."""
    rays = np.column_stack((observations.positions / scene.focal, np.ones(len(observations.positions))))
    directions = np.einsum("nji,nj->ni", scene.rotations[observations.cameras], rays)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centres = camera_centres(scene.rotations, scene.translations)[observations.cameras]
    # The point nearest to all rays: Σ (I − d dᵀ) (x − c) = 0.
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    matrix = np.zeros((count, 3, 3))
    target = np.zeros((count, 3))
    np.add.at(matrix, observations.points, across)
    np.add.at(target, observations.points, np.einsum("nij,nj->ni", across, centres))
    views = np.bincount(observations.points, minlength=count)
    points = np.full((count, 3), np.nan)
    solvable = views >= 2
    ridge = 1e-12 * np.eye(3)
    points[solvable] = np.linalg.solve(matrix[solvable] + ridge, target[solvable][..., None])[..., 0]
    first = np.zeros((count, 3))
    first[observations.points[::-1]] = directions[::-1]
    cosine = np.full(count, 1.0)
    np.minimum.at(cosine, observations.points, (first[observations.points] * directions).sum(1))
    return points, np.arccos(np.clip(cosine, -1, 1))
