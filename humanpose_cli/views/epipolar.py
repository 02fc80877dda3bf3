"""Whether two tracks of different cameras show one person, judged by the landmarks that both cameras see.

Corresponding points of two views satisfy the epipolar constraint. The relative pose of the cameras, five numbers, is
fitted to the Sampson distances (Hartley and Zisserman, Multiple View Geometry, 2004, section 11.4.3) of all landmarks
that both views see, with a Cauchy cost. Two strangers leave a low cost, too, because people are alike and five numbers
change. So the cost is compared with that of the same two tracks where they cannot be one person: one of them mirrored,
or reversed in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.spatial.transform import Rotation

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.views.cameras import CAUCHY_SCALE, KEYPOINT_NOISE, ViewCamera, cauchy_loss
from humanpose_cli.views.samples import MIN_CONFIDENCE
from humanpose_cli.views.tracks import STATURE, Array, ViewTrack

_MOMENTS = 30  # maximum number of moments that are compared
_MIN_POINTS = 60  # landmarks that both views see
# Share of landmarks that one similarity maps to within this share of a stature if tracks are of one camera: a man in
# two encodings has 0.0075, one who walks before two cameras 20° apart 0.0148, 70° apart for half a second 0.0131.
_QUANTILE, _ONE_CAMERA = 0.75, 0.01
_PARAMETERS = 10.0  # nats of a hypothesis; it has five numbers, and moments are not independent
_ITERATIONS = 30
_STEP = 1e-6  # radians, of numerical slopes
_TURNS = np.radians([(0, y, 0) for y in (30, -30, 70, -70, 120, -120, 179)] + [(0, 0, 90), (0, 0, -90)])
_ROWS = [row for row, name in enumerate(BLAZEPOSE33.joint_names) if not name.endswith(("pinky", "index", "thumb"))]


def pair_evidence(first: ViewTrack, second: ViewTrack, lenses: Sequence[ViewCamera]) -> float | None:
    """Measure how much better two tracks meet than the same tracks with one mirrored or reversed in time.

    Args:
        first: A track of one camera.
        second: A track of another camera, on the same clock.
        lenses: The cameras of both. Poses do not matter.

    Returns:
        The logarithm of the ratio of the costs: the lower, the surer is it one person. None if too little is seen.
    """
    given = _cost(first, second, lenses)
    others = [_cost(first, other, lenses) for other in (_mirrored(second, lenses[1]), _reversed(second))]
    if given is None or others[0] is None or others[1] is None:
        return None
    return float(np.log(given / min(others[0], others[1])))


def evidence_of_views(people: Sequence[Sequence[ViewTrack]], lenses: Sequence[ViewCamera]) -> Array:
    """Measure for each view how surely somebody in it is a person of other views.

    Args:
        people: The tracks of each person, on the take's clock.
        lenses: (V,) cameras.

    Returns:
        (V,). The sum of `pair_evidence` over the n other views of a person, divided by √n, of the surest person. Pairs
        of strangers have a standard deviation of 0.14. NaN if too little is seen.
    """
    result = np.full(len(lenses), np.nan)
    for tracks in people:
        pairs = {}
        for a, b in combinations(tracks, 2):
            if a.view != b.view:
                value = pair_evidence(a, b, (lenses[a.view], lenses[b.view]))
                if value is not None:
                    pairs[a.view, b.view] = value
        for view in range(len(lenses)):
            values = [value for pair, value in pairs.items() if view in pair]
            if values:
                result[view] = np.fmin(result[view], np.sum(values) / np.sqrt(len(values)))
    return result


def _mirrored(track: ViewTrack, lens: ViewCamera) -> ViewTrack:
    keypoints = track.keypoints[:, list(BLAZEPOSE33.mirror)].copy()
    keypoints[..., 0] = 2 * lens.principal_point[0] - keypoints[..., 0]
    return replace(track, keypoints=keypoints)


def _reversed(track: ViewTrack) -> ViewTrack:
    times = track.times[0] + track.times[-1] - track.times[::-1]
    return replace(track, times=times, keypoints=track.keypoints[::-1])


def is_one_camera(first: ViewTrack, second: ViewTrack, lens: ViewCamera) -> bool:
    """Return whether two tracks are of one camera, given twice: cropped, resized, mirrored, reversed or encoded again.

    One similarity of the image then maps all landmarks, which it does not if cameras show depth.
    """
    for other in (second, _mirrored(second, lens), _reversed(second)):
        points = _common_points(first, other)
        if points is None:
            continue
        a, b = (values[..., 0] + 1j * values[..., 1] for values in points)
        matrix = np.stack((a, np.ones_like(a)), 1)
        solution = np.linalg.lstsq(matrix, b, rcond=None)[0]
        if np.quantile(np.abs(matrix @ solution - b), _QUANTILE) < _ONE_CAMERA * second.stature:
            return True
    return False


def _common_points(first: ViewTrack, second: ViewTrack) -> tuple[Array, Array] | None:
    """Select the landmarks (N, 2), (N, 2) in pixels that both see at common moments. None if they are too few."""
    tracks = (first, second)
    times = [track.times for track in tracks]  # photographs of a take show the same moment
    if len(first) > 1 and len(second) > 1:
        begin, end = max(first.times[0], second.times[0]), min(first.times[-1], second.times[-1])
        frames = min(int(((begin <= own) & (own <= end)).sum()) for own in times)
        # Frames of one camera alone would favour clocks at which the other's are between frames, thus smoother.
        even = np.linspace(begin, end, min(frames, _MOMENTS) + 2)[1:-1]
        times = [even[first.shows(even) & second.shows(even)]] * 2
    a, b = (track.at(own).keypoints[:, _ROWS] for track, own in zip(tracks, times, strict=True))
    seen = (a[..., 2] >= MIN_CONFIDENCE) & (b[..., 2] >= MIN_CONFIDENCE)
    return (a[seen][:, :2], b[seen][:, :2]) if seen.sum() >= _MIN_POINTS else None


def _cost(first: ViewTrack, second: ViewTrack, lenses: Sequence[ViewCamera]) -> float | None:
    """Fit the relative pose of two cameras, and return the mean cost of a landmark. None if too few are seen."""
    common = _common_points(first, second)
    if common is None:
        return None
    rays, noise = [], []
    for points, track, lens in zip(common, (first, second), lenses, strict=True):
        flat = (points - lens.principal_point) / lens.focal
        rays.append(np.pad(flat, ((0, 0), (0, 1)), constant_values=1.0))
        noise.append(KEYPOINT_NOISE * track.stature / lens.focal)
    return _best_cost(rays[0], rays[1], noise) + _PARAMETERS / len(common[0])


def _best_cost(x: Array, y: Array, noise: Sequence[float]) -> float:
    """Minimise the mean cost of rays (N, 3) over relative poses, from several starts at once (Levenberg-Marquardt)."""
    turns = np.concatenate((np.zeros((1, 3)), _TURNS))
    depths = [KEYPOINT_NOISE * STATURE / each for each in noise]
    ahead = np.array((0.0, 0.0, 1.0))
    shifts = depths[1] * ahead - depths[0] * Rotation.from_rotvec(turns).as_matrix()[:, :, 2]
    shifts = np.where(np.linalg.norm(shifts, axis=1, keepdims=True) > 1e-6, shifts, (1.0, 0.0, 0.0))
    shifts /= np.linalg.norm(shifts, axis=1, keepdims=True)
    poses = np.concatenate((turns, np.arctan2(shifts[:, :1], shifts[:, 2:]), np.arcsin(shifts[:, 1:2].clip(-1, 1))), 1)
    damping = np.full(len(poses), 1e-3)
    residuals = _residuals(poses, x, y, noise)
    cost = cauchy_loss(residuals).mean(1)
    for _ in range(_ITERATIONS):
        slopes = np.stack(
            [(_residuals(poses + _STEP * step, x, y, noise) - residuals) / _STEP for step in np.eye(5)], -1
        )
        weights = 1 / (1 + (residuals / CAUCHY_SCALE) ** 2)
        normal = np.einsum("sni,sn,snj->sij", slopes, weights, slopes)
        gradient = np.einsum("sni,sn,sn->si", slopes, weights, residuals)
        normal += damping[:, None, None] * (normal * np.eye(5) + 1e-9 * np.eye(5))
        tried = poses - np.linalg.solve(normal, gradient[..., None])[..., 0]
        tried_residuals = _residuals(tried, x, y, noise)
        tried_cost = cauchy_loss(tried_residuals).mean(1)
        better = tried_cost < cost
        poses = np.where(better[:, None], tried, poses)
        residuals = np.where(better[:, None], tried_residuals, residuals)
        cost = np.where(better, tried_cost, cost)
        damping = np.where(better, damping / 5, damping * 5).clip(1e-9, 1e9)
    return float(cost.min())


def _residuals(poses: Array, x: Array, y: Array, noise: Sequence[float]) -> Array:
    """Compute the Sampson distances (S, N), in noise levels, of rays (N, 3) for poses (S, 5)."""
    heading, tilt = poses[:, 3], poses[:, 4]
    shifts = np.stack((np.sin(heading) * np.cos(tilt), np.sin(tilt), np.cos(heading) * np.cos(tilt)), 1)
    rotations = Rotation.from_rotvec(poses[:, :3]).as_matrix()
    essential = np.ascontiguousarray(np.cross(shifts[:, :, None], rotations, axis=1))  # with each column
    lines, back = x @ essential.swapaxes(1, 2), y @ essential
    distance = (lines * y).sum(-1)
    spread = noise[1] ** 2 * np.square(lines[..., :2]).sum(-1) + noise[0] ** 2 * np.square(back[..., :2]).sum(-1)
    return np.asarray(distance / np.sqrt(spread + 1e-18))
