"""Corners of a known scene before a camera on a known path, as a tracker would have followed them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from humanpose_cli.odometry.corners import CornerTracker, FrameCorners

FOCAL, SIZE = 800.0, (960, 540)


@dataclass(frozen=True)
class TruePath:
    """Rotations (T, 3, 3) of world to camera, and centres (T, 3)."""

    rotations: np.ndarray
    centres: np.ndarray


def beside(count: int = 60, speed: float = 0.05) -> TruePath:
    """A camera that goes to the right, sways and turns."""
    t = np.arange(count)
    centres = np.stack((speed * t, 0.02 * np.sin(t / 3), 0.3 * speed * t), 1)
    turns = Rotation.from_euler("yxz", np.stack((0.003 * t, 0.02 * np.sin(t / 7), 0.02 * np.sin(t / 5)), 1))
    return TruePath(turns.as_matrix(), centres)


def scene_points(count: int = 700, seed: int = 0) -> np.ndarray:
    """Points on walls and things 4 to 12 m away."""
    random = np.random.default_rng(seed)
    return random.uniform((-6, -2, 4), (9, 2, 12), (count, 3))


def corner_tracks(
    path: TruePath,
    points: np.ndarray,
    *,
    noise: float = 0.0,
    movers: int = 0,
    blind: range = range(0),
    zooms: np.ndarray | None = None,
    shifts: np.ndarray | None = None,
) -> CornerTracker:
    """The tracker after it has followed the points that lie in each image.

    noise   standard deviation in pixels
    movers  so many of the points go up and down by 30 cm, or by `shifts` (T, 3)
    blind   frames in which no corner is followed; those after it have other numbers
    zooms   factors on the focal length of all frames
    """
    random, tracker = np.random.default_rng(1), CornerTracker()
    tracker.focal = FOCAL
    lives = 0
    for frame, (rotation, centre) in enumerate(zip(path.rotations, path.centres, strict=True)):
        lives += frame in blind
        moved = points.copy()
        moved[:movers] += (0, 0.3 * np.sin(frame / 4), 0) if shifts is None else shifts[frame]
        there = (moved - centre) @ rotation.T
        pixels = FOCAL * (1.0 if zooms is None else zooms[frame]) * there[:, :2] / there[:, 2:]
        visible = (there[:, 2] > 0.1) & (np.abs(pixels) < np.array(SIZE) / 2).all(1) & (frame not in blind)
        ids = np.flatnonzero(visible)
        noisy = pixels[ids] + noise * random.standard_normal((len(ids), 2))
        tracker.append(FrameCorners(ids + (len(points) if lives else 0), noisy.astype(np.float32)))
    return tracker


def path_errors(rotations: np.ndarray, centres: np.ndarray, path: TruePath) -> tuple[float, float]:
    """The mean distance in metres from the true path after one similarity, and the mean angle in degrees."""
    a, b = centres - centres.mean(0), path.centres - path.centres.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.array((1, 1, np.sign(np.linalg.det(u @ vt))))
    scale = (s * flip).sum() / (a**2).sum()
    distance = np.linalg.norm(scale * a @ ((u * flip) @ vt).T - b, axis=1).mean()
    relative = rotations @ rotations[0].T @ np.transpose(path.rotations @ path.rotations[0].T, (0, 2, 1))
    return float(distance), float(np.degrees(Rotation.from_matrix(relative).magnitude()).mean())
