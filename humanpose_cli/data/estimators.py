"""Who makes the body parameters that a data set lacks: passed in by the pipeline, since data/ fits nothing itself.

iPER and DeepFashion have pictures only: a `PoseEstimator` finds the people in them, as the reposing paper did with its
own estimator (section 4.1). Human3.6M and HumanEva have 3-D joints only: a `JointFitter` finds the bodies that have
them. Both can be pickled, so that several processes read one source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.data.samples import Person

__all__ = ["EstimatedPicture", "FittedBodies", "JointFitter", "PoseEstimator", "SourceTools"]


@dataclass(frozen=True, eq=False)
class EstimatedPicture:
    """What was found in one picture.

    people           everybody, the largest first; with boxes and whatever else the estimator knows
    focal            pixels: the camera that the people's places in space belong to; None if there are none
    principal_point  (2,) pixels; None for the centre
    """

    people: Sequence[Person] = ()
    focal: float | None = None
    principal_point: tuple[float, float] | None = None


@runtime_checkable
class PoseEstimator(Protocol):
    """Pictures → people with body parameters."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values: what a cache says about who made its poses."""
        ...

    def estimate(
        self, pictures: Iterable[NDArray[np.uint8]], *, sequence: bool, single_person: bool, focal: float | None = None
    ) -> Sequence[EstimatedPicture]:
        """One result for each picture, in their order.

        pictures       (H, W, 3) uint8 RGB, taken one after the other: those of a long video are never all in memory
        sequence       True: frames of one shot, in which a person keeps one shape; False: pictures by themselves
        single_person  True: only the person that the pictures are about
        focal          pixels, where the data set tells it
        """
        ...


@dataclass(frozen=True, eq=False)
class FittedBodies:
    """Bodies found from 3-D joints, one for each of T frames.

    body            "default", "smpl" …: whose parameters they are; gender of that model
    poses           (T, 72) axis-angle; the first three map body to camera axes
    betas           (T, 10), the same in all frames of one person
    trans           (T, 3) metres, camera axes, such that root = shaped rest pelvis + trans
    error           (T,) metres: mean distance between the given joints and the body's; NaN where there were none
    segment_scales  (T, 24), or None for 1
    """

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
    error: NDArray[Any]
    segment_scales: NDArray[Any] | None = None
    body: str = "default"
    gender: str = "neutral"


@runtime_checkable
class JointFitter(Protocol):
    """3-D joints → body parameters."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values."""
        ...

    def fit(self, joints: NDArray[Any], skeleton: str, *, shared_shape: bool = True) -> FittedBodies:
        """joints (T, J, 4): metres in camera axes and confidence 0…1 (0: not known), of the skeleton of that name.

        shared_shape  True: the frames show one person, who has one shape
        """
        ...


@dataclass(frozen=True, eq=False)
class SourceTools:
    """What a source may use beyond its files; a source says which of them it needs.

    estimator     poses of pictures without any
    joint_fitter  bodies of 3-D joints
    bodies        gender ("neutral", "male", "female") → the model that the data set's parameters belong to
    """

    estimator: PoseEstimator | None = None
    joint_fitter: JointFitter | None = None
    bodies: Mapping[str, RiggedBody] = field(default_factory=dict)
