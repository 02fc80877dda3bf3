"""The path of a camera that walks through a scene at rest, from corners of the background.

Structure from motion over key frames: the pair with the most parallax begins (essential matrix), further ones follow by
their known points (perspective-n-point), new points are triangulated, and bundle adjustment moves all of them and the
focal length together. The frames between key frames follow by known points alone. The unit of length is arbitrary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.odometry.bundle import Array, Observations, Scene, adjust, refined_pose
from humanpose_cli.odometry.corners import FrameCorners

_KEY_SPACING = 6  # frames
_KEY_SURVIVAL = 0.6  # share of a key frame's corners below which the next frame becomes one
_MIN_POINTS = 12  # known points that a frame's pose needs
_PARALLAX_CAP = 25.0  # pixels: a pair with more is not better for it
_PAIR_DISTANCES = 2, 4, 7, 11, 16, 24  # key frames between those of a pair that may begin
_PAIRS = 60
_MIN_PARALLAX = 3.0  # pixels, median after the rotation, of the pair that begins
_ESSENTIAL_ERROR = 1.5  # pixels, of an inlier of the pair that begins
_MIN_ANGLE = np.radians(1.2)  # between the rays of a new point
_NEW_POINT_ERROR = 4.0  # pixels
_BAD_POINT_ERROR = 5.0
_POSE_ERROR = 3.0  # pixels, of an inlier of a pose
_LOCAL_CAMERAS = 12  # key frames that are adjusted while the path grows
_ADJUST_EVERY = 3
_WINDOW, _HELD = 60, 15  # key frames adjusted together at the end, and those held that the window before adjusted


_MIN_SOLVED, _MAX_ERROR = 0.8, 1.5  # share of frames, and pixels, of a path that is reliable


@dataclass(frozen=True, eq=False)
class CameraPath:
    """Poses of the T frames of a shot in a world with an arbitrary unit of length.

    rotations, translations  (T, 3, 3) and (T, 3), world to camera
    solved                   (T,) whether a frame's background shows its pose
    focal_factor             of the lens's focal length on the one that the solve began with
    points                   (P, 3) of the background
    error                    median reprojection error, in the unit of the corners' positions
    """

    rotations: Array
    translations: Array
    solved: NDArray[np.bool_]
    focal_factor: float
    points: Array
    error: float

    @property
    def is_reliable(self) -> bool:
        """Whether most frames are solved, with small errors."""
        return bool(self.solved.mean() >= _MIN_SOLVED and self.error <= _MAX_ERROR)


def solve_camera_path(frames: Sequence[FrameCorners], focal: float, *, fixed_focal: bool = False) -> CameraPath | None:
    """Find the path of the camera over the frames of one shot; None if no two frames show enough parallax.

    focal  to begin with; kept with `fixed_focal`
    """
    keys = _key_frames(frames)
    growth = _Growth([frames[key] for key in keys], focal)
    if not growth.begin():
        return None
    growth.grow()
    growth.finish(fixed_focal)
    return growth.path(frames, keys)


def _key_frames(frames: Sequence[FrameCorners]) -> list[int]:
    """Choose the frames that are reconstructed: evenly spaced ones, and those that keep few of the last one's corners."""
    keys = [0]
    for index in range(1, len(frames)):
        last = frames[keys[-1]].ids
        surviving = np.isin(last, frames[index].ids, assume_unique=True).mean() if len(last) else 0.0
        if index - keys[-1] >= _KEY_SPACING or surviving < _KEY_SURVIVAL:
            keys.append(index)
    return keys


class _Growth:
    """Key frames with poses, and points, added one after the other."""

    def __init__(self, keys: Sequence[FrameCorners], focal: float) -> None:
        self._keys, self._count = keys, len(keys)
        self._focal = self._first_focal = focal
        self._rotations = np.tile(np.eye(3), (self._count, 1, 1))
        self._translations = np.zeros((self._count, 3))
        self._posed = np.zeros(self._count, bool)
        largest = max((int(key.ids.max(initial=-1)) for key in keys), default=-1)
        self._points = np.full((largest + 1, 3), np.nan)
        cameras = np.concatenate([np.full(len(key.ids), index) for index, key in enumerate(keys)])
        positions = np.concatenate([key.positions for key in keys]).astype(float)
        self._seen = Observations(cameras, np.concatenate([key.ids for key in keys]), positions)
        self._first = 0  # the key frame whose camera is the world's axes

    def begin(self) -> bool:
        """Start from the pair of key frames with most parallax and inliers."""
        best, pair = 0.0, None
        candidates = [(a, a + d) for d in _PAIR_DISTANCES for a in range(0, self._count - d, max(1, d // 2))]
        for a, b in candidates[:: max(1, len(candidates) // _PAIRS)]:
            _, in_a, in_b = np.intersect1d(
                self._keys[a].ids, self._keys[b].ids, assume_unique=True, return_indices=True
            )
            if len(in_a) < 4 * _MIN_POINTS:
                continue
            before, after = self._keys[a].positions[in_a].astype(float), self._keys[b].positions[in_b].astype(float)
            relative = _relative_pose(before, after, self._focal)
            if relative is None:
                continue
            rotation, direction, inliers = relative
            parallax = _parallax(before[inliers], after[inliers], rotation, self._focal)
            score = min(parallax, _PARALLAX_CAP) * inliers.sum()
            if parallax >= _MIN_PARALLAX and score > best:
                best, pair = score, (a, b, rotation, direction)
        if pair is None:
            return False
        a, b, self._rotations[b], self._translations[b] = pair
        self._first = a
        self._posed[[a, b]] = True
        self._triangulate()
        self._adjust(np.array([a, b]), held=1)
        return bool(np.isfinite(self._points[:, 0]).sum() >= _MIN_POINTS)

    def grow(self) -> None:
        """Add the other key frames, first those next to the posed ones."""
        added = 0
        while (key := self._next_key()) is not None:
            if not self._pose(key):
                self._posed[key] = False
                break_here = self._blocked(key)
                if break_here:
                    break
                continue
            self._triangulate(key)
            added += 1
            if added % _ADJUST_EVERY == 0:
                self._adjust(self._nearest(key), held=2)

    def _blocked(self, key: int) -> bool:
        self._failed = getattr(self, "_failed", set()) | {key}
        return False

    def _next_key(self) -> int | None:
        """Return the unposed key frame that sees most known points among those next to the posed ones."""
        failed = getattr(self, "_failed", set())
        posed = np.flatnonzero(self._posed)
        candidates = []
        low, high = posed[0] - 1, posed[-1] + 1
        while low >= 0 and low in failed:
            low -= 1
        while high < self._count and high in failed:
            high += 1
        for key in (low, high):
            if 0 <= key < self._count:
                known = np.isfinite(self._points[self._keys[key].ids, 0]).sum()
                if known >= _MIN_POINTS:
                    candidates.append((known, key))
        return max(candidates)[1] if candidates else None

    def _nearest(self, key: int) -> NDArray[np.int64]:
        posed = np.flatnonzero(self._posed)
        return np.sort(posed[np.argsort(np.abs(posed - key), kind="stable")[:_LOCAL_CAMERAS]])

    def _pose(self, key: int) -> bool:
        """Find the pose of a key frame from the known points that it sees."""
        ids = self._keys[key].ids
        known = np.isfinite(self._points[ids, 0])
        neighbour = self._nearest(key)[np.argmin(np.abs(self._nearest(key) - key))]
        pose = _pose_of(
            self._points[ids[known]],
            self._keys[key].positions[known].astype(float),
            self._focal,
            (self._rotations[neighbour], self._translations[neighbour]),
        )
        if pose is None:
            return False
        self._rotations[key], self._translations[key] = pose
        self._posed[key] = True
        return True

    def _triangulate(self, key: int | None = None) -> None:
        """Add the points that posed key frames see at a sufficient angle; with `key`, those that it sees."""
        unknown = np.isnan(self._points[:, 0])
        if key is not None:
            here = np.zeros(len(unknown), bool)
            here[self._keys[key].ids] = True
            unknown &= here
        seen = self._seen.rows(self._posed[self._seen.cameras] & unknown[self._seen.points])
        if not len(seen.points):
            return
        points, angles = _triangulated(seen, self._rotations, self._translations, self._focal, len(self._points))
        scene = Scene(self._rotations, self._translations, points, self._focal)
        errors = np.linalg.norm(scene.errors(seen), axis=1)
        worst = np.zeros(len(points))
        np.maximum.at(worst, seen.points, errors)
        good = unknown & (angles > _MIN_ANGLE) & (worst < _NEW_POINT_ERROR)
        self._points[good] = points[good]

    def _adjust(self, cameras: NDArray[np.int64], *, held: int, free_focal: bool = False, steps: int = 6) -> None:
        """Adjust some key frames, of which the first `held` ones stay, and the points that they see."""
        free = np.zeros(self._count, bool)
        free[cameras[held:]] = True
        in_window = np.zeros(self._count, bool)
        in_window[cameras] = True
        rows = in_window[self._seen.cameras] & np.isfinite(self._points[self._seen.points, 0])
        seen = self._seen.rows(rows)
        views = np.bincount(seen.points, minlength=len(self._points))
        seen = seen.rows(views[seen.points] >= 2)
        if not free.any() or len(seen.points) < 4 * _MIN_POINTS:
            return
        scene = Scene(self._rotations, self._translations, self._points, self._focal)
        scene = adjust(scene, seen, free, free_focal=free_focal, steps=steps)
        self._rotations, self._translations = scene.rotations, scene.translations
        self._points, self._focal = scene.points, scene.focal
        errors = np.linalg.norm(scene.errors(seen), axis=1)
        self._drop(seen, errors > _BAD_POINT_ERROR)

    def _drop(self, seen: Observations, bad: NDArray[np.bool_]) -> None:
        """Forget points that many of their views contradict."""
        views = np.bincount(seen.points, minlength=len(self._points))
        misses = np.bincount(seen.points[bad], minlength=len(self._points))
        self._points[(misses > 0) & (3 * misses >= views)] = np.nan

    def finish(self, fixed_focal: bool) -> None:
        """Adjust the complete path, in windows if it is long; the focal length with the first one."""
        posed = np.flatnonzero(self._posed)
        middle = int(np.searchsorted(posed, self._first))
        start = min(max(middle - _WINDOW // 2, 0), max(len(posed) - _WINDOW, 0))
        window = posed[start : start + _WINDOW]
        for _ in range(2):
            self._adjust(window, held=1, free_focal=not fixed_focal, steps=20)
            self._triangulate()
        if len(posed) <= _WINDOW:
            return
        # Onwards from that window, and back, each held where the last one ended.
        for stop in range(start + _WINDOW, len(posed), _WINDOW - _HELD):
            self._adjust(posed[stop - _HELD : stop - _HELD + _WINDOW], held=_HELD, steps=12)
        for first in range(start, 0, -(_WINDOW - _HELD)):
            self._adjust(posed[max(first + _HELD - _WINDOW, 0) : first + _HELD][::-1], held=_HELD, steps=12)

    def path(self, frames: Sequence[FrameCorners], keys: Sequence[int]) -> CameraPath:
        """Return the poses of all frames: those between key frames follow by the points that they see."""
        rotations, translations = np.tile(np.eye(3), (len(frames), 1, 1)), np.zeros((len(frames), 3))
        solved = np.zeros(len(frames), bool)
        errors = []
        number = {frame: key for key, frame in enumerate(keys)}
        posed = np.flatnonzero(self._posed)
        posed_frames = np.array([keys[key] for key in posed])
        for index, frame in enumerate(frames):
            key = number.get(index)
            if key is None or not self._posed[key]:
                key = posed[np.abs(posed_frames - index).argmin()]
            known = np.isfinite(self._points[frame.ids, 0]) if len(frame.ids) else np.zeros(0, bool)
            start = self._rotations[key], self._translations[key]
            rotations[index], translations[index] = start
            if known.sum() < _MIN_POINTS:
                continue
            points, positions = self._points[frame.ids[known]], frame.positions[known].astype(float)
            if index not in number or not self._posed[number[index]]:
                start = refined_pose(*start, points, positions, self._focal, steps=12)
            scene = Scene(start[0][None], start[1][None], points, self._focal)
            seen = Observations(np.zeros(len(points), np.int64), np.arange(len(points)), positions)
            miss = np.linalg.norm(scene.errors(seen), axis=1)
            if np.median(miss) < _POSE_ERROR:
                rotations[index], translations[index] = start
                solved[index] = True
                errors.append(np.median(miss))
        # The world's axes are those of the first frame's camera.
        turn, shift = rotations[0].copy(), translations[0].copy()
        rotations = rotations @ turn.T
        translations = translations - rotations @ shift
        points = self._points[np.isfinite(self._points[:, 0])] @ turn.T + shift
        error = float(np.median(errors)) if errors else float("inf")
        return CameraPath(rotations, translations, solved, self._focal / self._first_focal, points, error)


def _relative_pose(before: Array, after: Array, focal: float) -> tuple[Array, Array, NDArray[np.bool_]] | None:
    """Find rotation, direction (3,) and inliers (N,) of a second camera from positions (N, 2) in both."""
    before, after, lens = before / focal, after / focal, np.eye(3)
    essential, mask = cv2.findEssentialMat(before, after, lens, cv2.RANSAC, 0.999, _ESSENTIAL_ERROR / focal)
    if essential is None or essential.shape != (3, 3):
        return None
    inliers = mask[:, 0] > 0
    first, second, direction = cv2.decomposeEssentialMat(essential)
    poses = [(turn, sign * direction[:, 0]) for turn in (first, second) for sign in (1, -1)]
    # Of the four poses with this essential matrix, the one before whose cameras the points lie.
    visible = [_in_front(before, after, *pose) & inliers for pose in poses]
    best = int(np.argmax([points.sum() for points in visible]))
    if visible[best].sum() < 2 * _MIN_POINTS:
        return None
    return *poses[best], visible[best]


def _in_front(before: Array, after: Array, rotation: Array, translation: Array) -> NDArray[np.bool_]:
    """Return which points (N,) lie in front of both cameras, from their positions (N, 2) at depth 1."""
    a = np.column_stack((before, np.ones(len(before)))) @ rotation.T
    b = np.column_stack((after, np.ones(len(after))))
    # depth_a · a + t = depth_b · b, in the least-squares sense
    aa, ab, bb, at, bt = (a * a).sum(1), (a * b).sum(1), (b * b).sum(1), a @ translation, b @ translation
    determinant = np.maximum(aa * bb - ab**2, 1e-12)
    depth_a, depth_b = (ab * bt - bb * at) / determinant, (aa * bt - ab * at) / determinant
    return np.asarray((depth_a > 0) & (depth_b > 0))


def _parallax(before: Array, after: Array, rotation: Array, focal: float) -> float:
    """Measure the median distance in pixels between positions (N, 2) and those that the rotation alone predicts."""
    rays = np.column_stack((before / focal, np.ones(len(before)))) @ rotation.T
    return float(np.median(np.linalg.norm(focal * rays[:, :2] / rays[:, 2:] - after, axis=1)))


def _pose_of(points: Array, positions: Array, focal: float, start: tuple[Array, Array]) -> tuple[Array, Array] | None:
    """Find the pose of a camera that sees points (N, 3) at positions (N, 2); None if too few agree on one."""
    if len(points) < _MIN_POINTS:
        return None
    matrix = np.diag((focal, focal, 1.0))
    turn, shift = cv2.Rodrigues(start[0])[0], start[1].reshape(3, 1).copy()
    found, turn, shift, inliers = cv2.solvePnPRansac(
        points, positions, matrix, None, turn, shift, True, 200, _POSE_ERROR, 0.999, None, cv2.SOLVEPNP_ITERATIVE
    )
    if not found or inliers is None or len(inliers) < max(_MIN_POINTS, 0.4 * len(points)):
        return None
    return refined_pose(cv2.Rodrigues(turn)[0], shift[:, 0], points, positions, focal)


def _triangulated(
    seen: Observations, rotations: Array, translations: Array, focal: float, count: int
) -> tuple[Array, Array]:
    """Triangulate points from all their views: positions (count, 3), NaN without two views, and the largest angle
    (count,) between the first ray and another.
    """
    rays = np.column_stack((seen.positions / focal, np.ones(len(seen.positions))))
    directions = np.einsum("nji,nj->ni", rotations[seen.cameras], rays)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centres = -np.einsum("nji,nj->ni", rotations[seen.cameras], translations[seen.cameras])
    # The point nearest to all rays: Σ (I − d dᵀ) (x − c) = 0.
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    matrix, target = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(matrix, seen.points, across)
    np.add.at(target, seen.points, np.einsum("nij,nj->ni", across, centres))
    views = np.bincount(seen.points, minlength=count)
    points, solvable = np.full((count, 3), np.nan), views >= 2
    ridge = 1e-12 * np.eye(3)
    points[solvable] = np.linalg.solve(matrix[solvable] + ridge, target[solvable][..., None])[..., 0]
    first = np.zeros((count, 3))
    first[seen.points[::-1]] = directions[::-1]
    cosine = np.full(count, 1.0)
    np.minimum.at(cosine, seen.points, (first[seen.points] * directions).sum(1))
    return points, np.arccos(np.clip(cosine, -1, 1))
