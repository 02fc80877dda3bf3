"""Input of the keypoint fit: landmarks, cameras and estimates as arrays, a row per person and frame.

`observations_of` and `SequenceObservations` make them from tracked people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.estimate import ShapePrior
from humanpose_cli.core.conventions import Skeleton, skeleton_by_name
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

_MAX_PIXEL = 1e6  # larger coordinates are broken numbers
NO_EVIDENCE = 1e3  # metres, noise of missing world landmarks and estimates


class OtherView(NamedTuple):
    """The landmarks of N rows before another camera at the same moments; double.

    Attributes:
        rotation: (N, 3, 3). Axes of the first camera to axes of this one.
        translation: (N, 3) metres.
        focal: (N,) pixels.
        principal_point: (N, 2) pixels.
        keypoints: (N, L, 2) pixels.
        weights: (N, L). The confidence 0 to 1 in observations, 1 / σ in the solver. Zero for hidden landmarks.
    """

    rotation: Tensor
    translation: Tensor
    focal: Tensor
    principal_point: Tensor
    keypoints: Tensor
    weights: Tensor

    def rows(self, index: slice | Tensor) -> OtherView:
        """Restrict the view to some rows."""
        return OtherView._make(values[index] for values in self)


@dataclass(frozen=True, eq=False)
class KeypointObservations:
    """Landmarks of N people, or of one person in N frames.

    Columns are arrays or anything that converts to them. They are kept as tensors on the CPU, double except for
    `shape_group` and `frame`. A landmark counts as hidden if its confidence, position or world position is not finite.

    Attributes:
        keypoints: (N, L, 2) pixels of the full image. May lie outside of it.
        confidence: (N, L) 0 to 1, clipped. Zero for hidden landmarks.
        focal: (N,) pixels.
        principal_point: (N, 2) pixels.
        image_size: (N, 2) pixels. Width and height.
        skeleton: The name of the skeleton of the L landmarks.
        world: (N, L, 3) metres, in axes of a camera that looks straight at the person, with any origin. None if the
            detector has no depth.
        spread: (N, L) pixels. The standard deviation of each landmark over the detector's crops. None if unknown.
        world_spread: (N, L) metres. The standard deviation of the world landmarks.
        locked: (N, L). 1 for landmarks that the body must be at, else 0. None for no such landmark.
        shape_group: (N,) int. Rows with the same number are the same person and share one shape.
        frame: (N,) int. Numbers of the frames of a sequence. The rows of one shape group are then solved together as
            one motion, or as several if frames are missing. None if nothing moves.
        time: (N,) seconds. The time of each row's frame. Rises with the frames of a person.
        world_to_camera: (N, 4, 4). The camera of each row's frame. None if the camera stands still.
        predicted_poses: (N, 72) radians. The axis-angle poses that a body network predicts. None without a network.
        predicted_betas: (N, S). The predicted shapes.
        predicted_joints: (N, 24, 3) metres in camera axes. The predicted joints.
        predicted_noise: (N, 24, 2) metres. The expected absolute error of each predicted joint about the pelvis, across
            and along the viewing ray.
        shape_mean: (N, S). The mean of the rows' own shape priors. None: the prior of all people.
        shape_noise: (N, S). The standard deviations of these priors.
        views: The landmarks before other cameras. A row may be visible in these alone, with a confidence of zero here.
    """

    keypoints: Tensor
    confidence: Tensor
    focal: Tensor
    principal_point: Tensor
    image_size: Tensor
    skeleton: str = "blazepose33"
    world: Tensor | None = None
    spread: Tensor | None = None
    world_spread: Tensor | None = None
    locked: Tensor | None = None
    shape_group: Tensor | None = None
    frame: Tensor | None = None
    time: Tensor | None = None
    world_to_camera: Tensor | None = None
    predicted_poses: Tensor | None = None
    predicted_betas: Tensor | None = None
    predicted_joints: Tensor | None = None
    predicted_noise: Tensor | None = None
    shape_mean: Tensor | None = None
    shape_noise: Tensor | None = None
    views: tuple[OtherView, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("skeleton", "views") or value is None:
                continue
            dtype = torch.int64 if field.name in ("shape_group", "frame") else torch.float64
            tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
            object.__setattr__(self, field.name, tensor.to(dtype))
        self._hide_broken_landmarks()

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def names(self) -> Skeleton:
        """The skeleton of the landmarks."""
        return skeleton_by_name(self.skeleton)

    @cached_property
    def predicted_rotations(self) -> Tensor | None:
        """(N, 24, 3, 3). The matrices of `predicted_poses`."""
        poses = self.predicted_poses
        return None if poses is None else axis_angle_to_matrix(poses.unflatten(1, (-1, 3)))

    def rows(self, index: slice | Tensor) -> KeypointObservations:
        """Restrict the observations to some rows."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        parts: dict[str, Any] = {name: v[index] if isinstance(v, Tensor) else v for name, v in values.items()}
        parts["views"] = tuple(view.rows(index) for view in self.views)
        return KeypointObservations(**parts)

    def _hide_broken_landmarks(self) -> None:
        """Set confidence and coordinates of landmarks that are not finite to zero."""
        sound = self.confidence.isfinite() & self.keypoints.isfinite().all(-1)
        sound &= (self.keypoints.nan_to_num().abs() < _MAX_PIXEL).all(-1)
        if self.world is not None:
            sound &= self.world.isfinite().all(-1)
            object.__setattr__(self, "world", self.world.where(sound[..., None], 0.0))
        object.__setattr__(self, "confidence", self.confidence.nan_to_num().clamp(0, 1).where(sound, 0.0))
        object.__setattr__(self, "keypoints", self.keypoints.where(sound[..., None], 0.0))
        for name in ("spread", "world_spread"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, value.where(value.isfinite() & (value > 0), 0.0))


def rows_by_evidence(people: Sequence[DetectedPerson]) -> list[list[int]]:
    """Group the rows of people with the same kind of evidence, which one `KeypointObservations` can hold."""
    batches: dict[tuple[str, bool, bool], list[int]] = {}
    for row, person in enumerate(people):
        kind = (person.skeleton.name, person.world is not None, _has_noise(person))
        batches.setdefault(kind, []).append(row)
    return list(batches.values())


def _has_noise(person: DetectedPerson) -> bool:
    """Return whether there is an estimate with a predicted noise, without which it cannot be weighted."""
    return person.estimate is not None and person.estimate.noise is not None


def observations_of(people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera]) -> KeypointObservations:
    """Make observations of rows with one skeleton before the cameras of their frames."""
    return PeopleObservations(people, cameras).rows(slice(None))


class PeopleObservations:
    """Observations of people with one skeleton, made for some rows at a time.

    If only some rows have world landmarks or an estimate, the others get the values of the nearest such row with so
    much noise that they do not count.

    Args:
        people: The rows.
        cameras: The camera of each frame.
    """

    def __init__(self, people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera]) -> None:
        self._people, self._cameras = people, cameras
        self._has_world = np.array([person.world is not None for person in people])
        self._has_estimate = np.array([_has_noise(person) for person in people])
        self._world, self._estimate = (
            _nearest(available) if available.any() else None for available in (self._has_world, self._has_estimate)
        )

    def __len__(self) -> int:
        return len(self._people)

    def rows(self, index: slice | Tensor) -> KeypointObservations:
        """Make the observations of some rows."""
        # numpy takes a tensor of one number for that number, not for a row.
        return KeypointObservations(
            **self._values(np.arange(len(self))[index if isinstance(index, slice) else index.numpy()])
        )

    def _values(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        people = [self._people[row] for row in rows]
        views = [self._cameras[person.frame].camera for person in people]
        keypoints = np.stack([person.keypoints for person in people]).astype(np.float64)
        values: dict[str, Any] = {
            "keypoints": keypoints[..., :2],
            "confidence": keypoints[..., 2],
            "focal": [view.focal for view in views],
            "principal_point": [view.principal_point for view in views],
            "image_size": [view.size for view in views],
            "skeleton": people[0].skeleton.name,
            "spread": [person.spread for person in people],
            "locked": [np.zeros(len(p.keypoints)) if p.locked is None else p.locked for p in people],
        }
        if self._world is not None:
            nearest = [self._people[row] for row in self._world[rows]]
            values["world"] = [person.world for person in nearest]
            values["world_spread"] = np.array([person.world_spread for person in nearest], np.float64)
            values["world_spread"][~self._has_world[rows]] = NO_EVIDENCE
        if any(person.shape is not None for person in self._people):
            values |= self._shapes(people)
        if self._estimate is not None:
            estimates = [self._people[row].estimate for row in self._estimate[rows]]
            for name in ("poses", "betas", "joints", "noise"):
                values[f"predicted_{name}"] = np.stack([getattr(estimate, name) for estimate in estimates])
            values["predicted_noise"][~self._has_estimate[rows]] = NO_EVIDENCE
        return values

    def _shapes(self, people: Sequence[DetectedPerson]) -> dict[str, NDArray[np.float64]]:
        """Make the shape priors of people, with NaN for people without a prior."""
        count = next(len(person.shape.mean) for person in self._people if person.shape is not None)
        unknown = ShapePrior(np.full(count, np.nan), np.full(count, np.nan))
        priors = [person.shape or unknown for person in people]
        return {"shape_mean": np.stack([p.mean for p in priors]), "shape_noise": np.stack([p.noise for p in priors])}


class SequenceObservations(PeopleObservations):
    """Rows of the searched frames of a sequence, sorted by track and frame. Each track has a shape and a motion.

    Attributes:
        shape_group: (N,) int. The tracks.
        frame: (N,) int. Numbers of the frames, in which frames that were not searched are no gaps.
        time: (N,) seconds.
    """

    def __init__(self, people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera]) -> None:
        super().__init__(people, cameras)
        self.shape_group = torch.tensor([row.track for row in people])
        # Frames that were not searched are no gaps.
        numbers = np.cumsum([camera.searched for camera in cameras]) - 1
        self.frame = torch.from_numpy(numbers[[row.frame for row in people]])
        self.time = torch.tensor([cameras[row.frame].time for row in people], dtype=torch.float64)

    def _values(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        index = torch.from_numpy(rows)
        motion = {name: getattr(self, name)[index] for name in ("shape_group", "frame", "time")}
        poses = [self._cameras[self._people[row].frame].world_to_camera for row in rows]
        return {**super()._values(rows), **motion, "world_to_camera": poses}


def _nearest(available: np.ndarray) -> np.ndarray:
    """Find for each row (N,) the nearest row that is `available`, the first of two."""
    rows, every = np.flatnonzero(available), np.arange(len(available))
    after = np.searchsorted(rows, every).clip(max=len(rows) - 1)
    before = (after - 1).clip(min=0)
    return np.where(np.abs(every - rows[before]) <= np.abs(rows[after] - every), rows[before], rows[after])
