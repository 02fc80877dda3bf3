"""The motion of a camera that turns and zooms at one position, from the background of its frames.

Corners outside of people's boxes are followed from frame to frame (Lucas–Kanade) and compared with a key frame, so that
errors do not add up. The turn is the rotation from the key frame's rays to this frame's (Kabsch, robust), the zoom the
ratio of distances between corners. A camera that walks is recognised, but its path is not recovered: near corners move
more than far ones, which neither turn and zoom nor a homography explain. It may seem to zoom, so its focal length is
kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera

_SIDE = 480  # pixels of the longer side of the shrunken frames
_CORNERS = 160  # maximum number of corners
_MIN_CORNERS = 12  # below, no pose is solved for
_STILL = 0.25  # pixels of median movement, at that size, below which a camera stands still
_SMOOTHING = 2.0  # pixels
_CELL = 9  # pixels: one of so many, across and down, is compared, that with the steepest slope
_MAX_RESIDUAL = 2.5  # pixels, median: beyond, the camera does not only turn
_PARALLAX = 2.0  # pixels by which a corner misses its position by turn and zoom, or by a homography
_DRIFT = 3.0  # medians of these misses below which a corner has only drifted
_MISSED_SHARE = 0.1  # share of corners off turn and zoom from which parallax is tested
_PARALLAX_SHARE = 0.07  # share of corners off the homography that shows parallax
_SPREAD = 40.0  # pixels: minimum horizontal standard deviation of these corners; a moving person's is smaller
_PARALLAX_FRAMES = 2  # frames compared with one key frame that must show it
_FOLLOWING = 0.1, 0.25  # logarithm of a zoom that is compared with a person's growth; their ratio, at most
_RENEW = 0.65  # share of a key frame's corners still in view, below which this frame becomes the key frame
_RENEW_ZOOM = 0.4  # logarithm of a zoom from the key frame beyond which this frame becomes it: corners drift by then
_RENEW_WALK = 30  # frames after a key frame, if it has shown a walk, after which another one must show it again
_BACKTRACK = 0.5  # pixels by which a corner may miss its first position when it is followed back
_TOLERANCES = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.25)  # pixels: corners on things that move miss by more, round by round
_NO_ZOOM = 0.003  # change of the focal length that is none


@dataclass(frozen=True, eq=False)
class CameraPose:
    """A camera's motion from the first frame of its shot.

    Attributes:
        rotation: (3, 3) float64. From that frame's axes to this one's.
        zoom: The factor on the focal length.
        solved: Whether the background determines the motion.
        walks: Whether the camera moves, as parallax or a person of constant size shows.
        translation: (3,) float64, metres. From that frame's world to this camera; 0 unless the path of a walk is
            solved.
    """

    rotation: NDArray[np.float64]
    zoom: float = 1.0
    solved: bool = True
    walks: bool = False
    translation: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    @property
    def is_still(self) -> bool:
        """Whether the camera is where it was in the first frame of its shot."""
        return self.solved and self.zoom == 1 and np.array_equal(self.rotation, np.eye(3))


STILL = CameraPose(np.eye(3))


class CameraMotion:
    """The motion of the camera of a sequence, followed frame after frame.

    Args:
        may_walk: Whether the camera may walk, not only turn and zoom.
    """

    def __init__(self, *, may_walk: bool = True) -> None:
        self._may_walk = may_walk
        self._shot = -1
        self._poses: list[CameraPose] = []
        self._shots: list[int] = []
        self._restart()

    def poses(self) -> list[CameraPose]:
        """Return the cameras of all frames so far, corrected by later frames.

        A camera walks from the key frame on that shows it. It does not zoom meanwhile, nor at all in a shot that it
        mostly walks through.
        """
        walks = np.array([pose.walks for pose in self._poses])
        shots = np.array(self._shots)
        walking = {shot for shot in set(self._shots) if walks[shots == shot].mean() > 0.5}
        return [replace(p, zoom=1.0) if s in walking else p for p, s in zip(self._poses, self._shots, strict=True)]

    def _restart(self) -> None:
        self._pose = self._key_pose = STILL
        self._key_index = len(self._poses)
        self._largest = self._key_largest = np.zeros(4)
        self._parallax_frames = 0  # since the key frame
        self._last_grey: NDArray[np.uint8] | None = None
        self._key_points = self._points = np.zeros((0, 2), np.float32)
        self._key_camera = 1.0, np.zeros(2)
        self._texture_pixels = np.zeros(0, np.int64)
        self._key_values = self._key_slopes = np.zeros(0, np.float32)
        self._corner_count = 0

    def next_frame(
        self, image: NDArray[np.uint8], boxes: Sequence[NDArray[np.float32]], camera: Camera, shot: int
    ) -> CameraPose:
        """Find the camera of the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (4,) float32 each, x0 y0 x1 y1 in pixels. The people.
            camera: The image's camera without zoom.
            shot: The number of the shot. A new shot begins anew.
        """
        scale = _SIDE / max(image.shape[:2])
        grey = _grey(image, scale)
        if shot != self._shot:
            self._shot = shot
            self._restart()
        focal = float(camera.focal) * scale
        centre = np.asarray(camera.principal_point, float) * scale
        people = [np.asarray(box, float) * scale for box in boxes]
        self._largest = max(people, key=lambda box: box[3] - box[1], default=np.zeros(4))
        if self._last_grey is not None:
            self._follow(grey)
            self._pose = self._solve(focal, centre)
        outside = _outside(grey.shape, people)
        if self._last_grey is not None and not self._same_as_key() and self._unchanged(grey, outside, focal, centre):
            self._pose = CameraPose(self._key_pose.rotation, self._key_pose.zoom)
        self._poses.append(self._pose)
        self._shots.append(shot)
        renew = abs(np.log(self._pose.zoom / self._key_pose.zoom)) > _RENEW_ZOOM
        if self._pose.walks:
            renew = len(self._poses) - self._key_index >= _RENEW_WALK
            zoom = self._key_pose.zoom
            for index in range(self._key_index, len(self._poses)):
                self._poses[index] = replace(self._poses[index], zoom=zoom, solved=False, walks=True)
            self._pose = self._poses[-1]
        if self._last_grey is None or renew or len(self._points) < max(_RENEW * self._corner_count, _MIN_CORNERS):
            self._renew(grey, outside)
            self._key_camera = focal, centre
        self._last_grey = grey
        return self._pose

    def _same_as_key(self) -> bool:
        same = self._pose.rotation is self._key_pose.rotation and self._pose.zoom == self._key_pose.zoom
        return same and self._pose.solved

    def _unchanged(
        self, grey: NDArray[np.uint8], outside: NDArray[np.bool_], focal: float, centre: NDArray[np.float64]
    ) -> bool:
        """Return whether the background's pixels are the key frame's, although its corners contradict that."""
        # Corners of a plain background get lost, and the remaining ones may be on things that move.
        key_focal, key_centre = self._key_camera
        background = outside.ravel()[self._texture_pixels]
        if focal != key_focal or not np.array_equal(centre, key_centre) or 2 * background.sum() <= len(background):
            return False
        changes = np.square(_smooth(grey).ravel()[self._texture_pixels] - self._key_values)
        # A shift of s pixels changes a pixel by s times its slope; what moves before the background is not the median.
        slopes = float(np.median(self._key_slopes[background])) / 2
        return float(np.median(changes[background])) < _STILL**2 * slopes

    def _renew(self, grey: NDArray[np.uint8], outside: NDArray[np.bool_]) -> None:
        """Make this frame the key frame."""
        corners = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.01, 7, mask=np.where(outside, 255, 0).astype(np.uint8))
        self._points = np.zeros((0, 2), np.float32) if corners is None else np.asarray(corners[:, 0], np.float32)
        self._key_points = self._points
        self._key_pose = self._pose
        self._key_index = len(self._poses)
        self._key_largest = self._largest
        self._parallax_frames = 0
        smooth = _smooth(grey)
        slopes = np.asarray(sum(np.square(cv2.Sobel(smooth, cv2.CV_32F, x, 1 - x) / 8) for x in (0, 1)))
        steepest = slopes == cv2.dilate(slopes, np.ones((_CELL, _CELL), np.uint8))
        self._texture_pixels = np.flatnonzero(outside & steepest & (slopes > 0))
        self._key_values = smooth.ravel()[self._texture_pixels]
        self._key_slopes = slopes.ravel()[self._texture_pixels]
        self._corner_count = len(self._points)

    def _follow(self, grey: NDArray[np.uint8]) -> None:
        """Follow the corners to this frame; corners that do not return when followed back are lost."""
        if not len(self._points):
            return
        assert self._last_grey is not None
        points, is_found = _flow(self._last_grey, grey, self._points)
        returned, has_returned = _flow(grey, self._last_grey, points)
        valid = is_found & has_returned & (np.linalg.norm(returned - self._points, axis=1) < _BACKTRACK)
        self._points = points[valid]
        self._key_points = self._key_points[valid]

    def _solve(self, focal: float, centre: NDArray[np.float64]) -> CameraPose:
        """Fit the pose that explains the positions of the corners; the last one, not solved, if none does."""
        last_pose = CameraPose(self._pose.rotation, self._pose.zoom, solved=False)
        if len(self._points) < _MIN_CORNERS:
            return last_pose
        # In the view of the key frame's camera: crops that follow a person have a camera each.
        key_camera_focal, key_centre = self._key_camera
        points = (self._points.astype(float) - centre) * (key_camera_focal / focal)
        key = self._key_points.astype(float) - key_centre
        if np.median(np.linalg.norm(points - key, axis=1)) < _STILL:
            return CameraPose(self._key_pose.rotation, self._key_pose.zoom)
        key_focal = key_camera_focal * self._key_pose.zoom
        from_rays = _rays(key, key_focal)
        turned_focal = key_focal * _ratio_of_distances(key, points)
        weights = None
        for tolerance in _TOLERANCES:
            turn = _rotation(from_rays, _rays(points, turned_focal), weights)
            turned_rays = from_rays @ turn.T
            plane = turned_rays[:, :2] / turned_rays[:, 2:]
            errors = np.linalg.norm(turned_focal * plane - points, axis=1)
            weights = 1 / (1 + (errors / tolerance) ** 2) ** 2
            turned_focal = float((weights[:, None] * plane * points).sum() / (weights[:, None] * plane**2).sum())
        if self._parallax_frames < _PARALLAX_FRAMES and np.mean(errors > _PARALLAX) > _MISSED_SHARE:
            self._parallax_frames += _parallax(key, points) > _PARALLAX_SHARE
        zoom = turned_focal / key_focal if abs(turned_focal / key_focal - 1) > _NO_ZOOM else 1.0
        walks = self._parallax_frames >= _PARALLAX_FRAMES or self._follows_person(float(np.log(zoom)))
        if walks and self._may_walk:
            return replace(last_pose, walks=True)
        if np.median(errors) > _MAX_RESIDUAL:
            return last_pose
        return CameraPose(turn @ self._key_pose.rotation, self._key_pose.zoom * zoom)

    def _follows_person(self, zoom: float) -> bool:
        """Return whether the camera walks with a person rather than zooms."""
        # The person keeps the size, and no corner is below the feet, where parallax would show a walk.
        boxes = np.stack([self._key_largest, self._largest])
        assert self._last_grey is not None
        size = np.array(self._last_grey.shape[::-1])
        cut_off = (boxes[:, :2] < 2).any() or (boxes[:, 2:] > size - 2).any()
        if cut_off or abs(zoom) < _FOLLOWING[0] or (self._points[:, 1] > boxes[1, 3]).any():
            return False
        return bool(abs(np.log(np.divide(*(boxes[:, 3] - boxes[:, 1])))) < _FOLLOWING[1] * abs(zoom))


def _outside(shape: tuple[int, ...], boxes: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Return the area (H, W) outside of people's boxes, with a margin."""
    outside = np.ones(shape, bool)
    for x0, y0, x1, y1 in boxes:
        margin = 0.1 * (y1 - y0)
        low = max(int(y0 - margin), 0), max(int(x0 - margin), 0)
        outside[low[0] : int(y1 + margin), low[1] : int(x1 + margin)] = False
    return outside


def _smooth(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SMOOTHING))


def _grey(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return the brightness of a scaled image (H, W, 3)."""
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    # By halves, which OpenCV shrinks four times as fast.
    while min(image.shape[0] // height, image.shape[1] // width) > 1:
        half = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _flow(
    image: NDArray[np.uint8], next_image: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Follow points (N, 2) of an image to the next one; also return which of them were found (N,)."""
    positions, status, _ = cv2.calcOpticalFlowPyrLK(image, next_image, points, np.zeros_like(points))
    return np.asarray(positions, np.float32), np.asarray(status)[:, 0] == 1


def _rays(points: NDArray[np.float64], focal: float) -> NDArray[np.float64]:
    """Return unit directions (N, 3) of points (N, 2) about the principal point."""
    rays = np.column_stack([points / focal, np.ones(len(points))])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def _rotation(
    a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the rotation R from directions a (N, 3) to b: b ≈ a Rᵀ."""
    u, _, vt = np.linalg.svd((a if weights is None else weights[:, None] * a).T @ b)
    return np.asarray(vt.T @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ u.T)


def _parallax(key: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Return the share of corners (N, 2) that no homography explains; 0 if they are one moving thing."""
    homography, _ = cv2.findHomography(key, points, cv2.LMEDS)
    if homography is None:
        return 0.0
    errors = np.linalg.norm(points - cv2.perspectiveTransform(key[None], homography)[0], axis=1)
    off = errors > max(_PARALLAX, _DRIFT * float(np.median(errors)))
    return float(off.mean()) if off.any() and points[off, 0].std() > _SPREAD else 0.0


def _ratio_of_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the median ratio of the distances of pairs of corners in b and in a."""
    order = np.random.default_rng(0).permutation(len(a))
    distances_a, distances_b = (np.linalg.norm(points - points[order], axis=1) for points in (a, b))
    far = distances_a > 0.1 * _SIDE
    return float(np.median(distances_b[far] / distances_a[far])) if far.sum() >= _MIN_CORNERS else 1.0
