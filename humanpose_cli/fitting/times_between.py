"""Interpolation of frames in time: motions at one frame rate, paths of cameras, unsearched frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import camera_centres


def evenly_spaced(seconds: NDArray[np.float64], frame_rate: float) -> bool:
    """Return whether frames at seconds (T,) have the frame rate, up to a quarter of a frame, as files round times."""
    return bool(np.abs(frame_rate * (seconds - seconds[0]) - np.arange(len(seconds))).max() <= 0.25)


@dataclass(frozen=True, eq=False)
class TimesBetween:
    """N times, each between two of T frames or at one of them.

    Attributes:
        before: (N,) int. The number of the frame before each time.
        share: (N,) 0 to 1. The position between this frame and the next.
    """

    before: NDArray[np.int64]
    share: NDArray[np.float64]

    @classmethod
    def evenly(cls, seconds: NDArray[np.float64], frame_rate: float) -> TimesBetween:
        """Make evenly spaced times from the first of rising seconds (T,) to the last."""
        count = 1 + int((seconds[-1] - seconds[0]) * frame_rate + 1e-3)
        return cls.at(seconds[0] + np.arange(count) / frame_rate, seconds)

    @classmethod
    def at(cls, times: NDArray[np.float64], seconds: NDArray[np.float64]) -> TimesBetween:
        """Make times (N,) between frames at rising seconds (T,). Times outside are moved to the nearest end."""
        before = np.clip(np.searchsorted(seconds, times, side="right") - 1, 0, max(len(seconds) - 2, 0))
        after = np.minimum(before + 1, len(seconds) - 1)
        step = np.where(after > before, seconds[after] - seconds[before], 1.0)
        return cls(before, np.clip((times - seconds[before]) / step, 0, 1))

    def values(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Interpolate (T, …) to (N, …)."""
        after = np.minimum(self.before + 1, len(values) - 1)
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(values[self.before] * (1 - share) + values[after] * share)

    def rotations(self, matrices: NDArray[Any]) -> NDArray[np.float64]:
        """Interpolate (T, …, 3, 3) to (N, …, 3, 3) along the shortest rotation."""
        from scipy.spatial.transform import Rotation  # not needed for photographs

        after = np.minimum(self.before + 1, len(matrices) - 1)
        first = Rotation.from_matrix(matrices[self.before].reshape(-1, 3, 3))
        last = Rotation.from_matrix(matrices[after].reshape(-1, 3, 3))
        share = np.repeat(self.share, len(first) // max(len(self.share), 1))[:, None]
        between = first * Rotation.from_rotvec(share * (first.inv() * last).as_rotvec())
        return np.asarray(between.as_matrix().reshape(len(self.share), *matrices.shape[1:]))

    def motion(
        self, poses: NDArray[Any], trans: NDArray[Any], world_to_camera: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Interpolate rotation vectors (T, 3 J), positions (T, 3) and cameras (T, 4, 4)."""
        from scipy.spatial.transform import Rotation

        matrices = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(len(poses), -1, 3, 3)
        turns = Rotation.from_matrix(self.rotations(matrices).reshape(-1, 3, 3)).as_rotvec()
        # A camera moves along the line between its positions.
        camera_turns = self.rotations(world_to_camera[:, :3, :3])
        centres = self.values(camera_centres(world_to_camera[:, :3, :3], world_to_camera[:, :3, 3]))
        cameras = np.tile(np.eye(4), (len(centres), 1, 1))
        cameras[:, :3, :3] = camera_turns
        cameras[:, :3, 3] = -np.einsum("tij,tj->ti", camera_turns, centres)
        return turns.reshape(len(centres), -1), self.values(trans), cameras
