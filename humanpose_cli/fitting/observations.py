"""What was seen of people: landmarks with confidences, world landmarks and cameras, a row per person and frame."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import Skeleton, skeleton_by_name
from humanpose_cli.core.errors import InputError

_PREDICTION = ("predicted_poses", "predicted_betas", "predicted_joints", "predicted_noise")
_MOST_PLAUSIBLE_PIXEL = 1e6  # beyond this a coordinate is a broken number, not a place near an image


@dataclass(frozen=True, eq=False)
class KeypointObservations:
    """Landmarks of N people (or one person in N frames), as numpy arrays or whatever converts to them.

    keypoints        (N, L, 2) pixels of the full image; may lie outside it
    confidence       (N, L) 0..1, clipped; zero means not seen
    focal            (N,) pixels
    principal_point  (N, 2) pixels
    image_size       (N, 2) pixels, width and height
    skeleton         name of the skeleton with those L landmarks
    world            (N, L, 3) metres, axes of a camera that looks straight at the person (x right, y down,
                     z forward), any origin; None where the detector has no depth
    spread           (N, L) pixels, the standard deviation of each landmark over the detector's crops; None if unknown
    world_spread     (N, L) metres, likewise
    predicted_poses  (N, 72) axis-angle, as in a fit file: what a body network says of the same rows; None without one.
                     With it come predicted_betas (N, S), predicted_joints (N, 24, 3) metres in camera axes, and
                     predicted_noise (N, 24, 2) metres: expected absolute error of each joint about the pelvis, across
                     and along the viewing ray
    shape_group      (N,) rows with the same number are the same person and share one shape; None: all different
    frame            (N,) numbers of the frames of a sequence: the rows of one shape group are then solved together, as
                     one motion, or several where frames are missing. Needs shape_group and time. None: nothing moves
    time             (N,) seconds, when each row's frame was taken; rises with the frames of a person
    world_to_camera  (N, 4, 4) of each row's frame; None: the camera stands still

    A landmark whose confidence, position or world position is NaN or infinite counts as not seen. Arrays of other
    shapes, and cameras that are not positive and finite, raise InputError.
    """

    keypoints: NDArray[Any]
    confidence: NDArray[Any]
    focal: NDArray[Any]
    principal_point: NDArray[Any]
    image_size: NDArray[Any]
    skeleton: str = "blazepose33"
    world: NDArray[Any] | None = None
    spread: NDArray[Any] | None = None
    world_spread: NDArray[Any] | None = None
    shape_group: NDArray[Any] | None = None
    frame: NDArray[Any] | None = None
    time: NDArray[Any] | None = None
    world_to_camera: NDArray[Any] | None = None
    predicted_poses: NDArray[Any] | None = None
    predicted_betas: NDArray[Any] | None = None
    predicted_joints: NDArray[Any] | None = None
    predicted_noise: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "skeleton" or value is None:
                continue
            dtype = np.int64 if field.name in ("shape_group", "frame") else np.float64
            object.__setattr__(self, field.name, np.asarray(value, dtype))
        self._check_shapes()
        self._check_prediction()
        self._check_cameras()
        self._check_sequence()
        self._hide_broken_landmarks()

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def names(self) -> Skeleton:
        """The skeleton of the landmarks."""
        return skeleton_by_name(self.skeleton)

    def rows(self, index: slice | NDArray[Any]) -> KeypointObservations:
        """The observations of some rows."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen = {name: v[index] for name, v in values.items() if isinstance(v, np.ndarray)}
        return replace(self, **chosen)  # type: ignore[arg-type]

    def _check_shapes(self) -> None:
        if self.keypoints.ndim != 3 or self.keypoints.shape[2] != 2:
            raise InputError("keypoints", "wrong shape", expected="(N, L, 2)", got=f"{self.keypoints.shape}")
        n, count = self.keypoints.shape[:2]
        try:
            skeleton = skeleton_by_name(self.skeleton)
        except KeyError as error:
            raise InputError("skeleton", str(error.args[0])) from None
        if len(skeleton) != count:
            raise InputError(
                "keypoints", "wrong number of landmarks", expected=f"{len(skeleton)} of {skeleton.name}", got=f"{count}"
            )
        expected = {
            "confidence": (n, count),
            "focal": (n,),
            "principal_point": (n, 2),
            "image_size": (n, 2),
            "world": (n, count, 3),
            "spread": (n, count),
            "world_spread": (n, count),
            "shape_group": (n,),
            "frame": (n,),
            "time": (n,),
            "world_to_camera": (n, 4, 4),
            "predicted_poses": (n, 72),
            "predicted_betas": (n, 0 if self.predicted_betas is None else self.predicted_betas.shape[-1]),
            "predicted_joints": (n, 24, 3),
            "predicted_noise": (n, 24, 2),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise InputError(name, "wrong shape", expected=f"{shape}", got=f"{value.shape}")

    def _check_prediction(self) -> None:
        told = {name: getattr(self, name) for name in _PREDICTION}
        missing = [name for name, value in told.items() if value is None]
        if missing and len(missing) < len(told):
            raise InputError(missing[0], "is missing", expected="all of a prediction or nothing of it")
        for name, value in told.items():
            if value is not None and not np.isfinite(value).all():
                raise InputError(name, "is not finite")
        if self.predicted_noise is not None and not (self.predicted_noise > 0).all():
            raise InputError("predicted_noise", "is not positive", expected="metres")

    def _check_cameras(self) -> None:
        problems = {"focal": "not a focal length", "principal_point": "not finite", "image_size": "not a size"}
        for name, problem in problems.items():
            value, positive = getattr(self, name), name != "principal_point"
            if not np.isfinite(value).all() or (positive and not (value > 0).all()):
                raise InputError(name, problem, expected="positive pixels" if positive else "", got=f"{value}")

    def _check_sequence(self) -> None:
        if self.frame is None:
            return
        if self.shape_group is None or self.time is None:
            raise InputError("frame", "needs shape_group and time")
        order = np.lexsort((self.frame, self.shape_group))
        same = np.diff(self.shape_group[order]) == 0
        if (np.diff(self.frame[order])[same] == 0).any():
            raise InputError("frame", "names a frame of one person twice")
        if not (np.diff(self.time[order])[same] > 0).all():
            raise InputError("time", "does not rise with the frames of a person", expected="seconds")

    def _hide_broken_landmarks(self) -> None:
        """Zeroes the confidence of landmarks that are not finite, and their coordinates with it."""
        sound = np.isfinite(self.confidence) & np.isfinite(self.keypoints).all(-1)
        sound &= np.abs(np.nan_to_num(self.keypoints)).max(-1, initial=0) < _MOST_PLAUSIBLE_PIXEL
        if self.world is not None:
            sound &= np.isfinite(self.world).all(-1)
            object.__setattr__(self, "world", np.where(sound[..., None], self.world, 0))
        confidence = np.where(sound, np.clip(np.nan_to_num(self.confidence), 0, 1), 0)
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "keypoints", np.where(sound[..., None], self.keypoints, 0))
        for name in ("spread", "world_spread"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.where(np.isfinite(value) & (value > 0), value, 0))
