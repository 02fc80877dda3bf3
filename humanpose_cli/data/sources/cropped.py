"""What sources of calibrated laboratories share: every n-th frame of a video, one person, a pinhole view of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.data.estimators import FittedBodies
from humanpose_cli.data.samples import Person, Sample
from humanpose_cli.data.sources.folder_source import FolderOptions
from humanpose_cli.data.sources.labels import box_around
from humanpose_cli.data.sources.lenses import DEFAULT_CROP, Lens, PinholeView, person_view, whole_view
from humanpose_cli.data.sources.pictures import encode_pixels
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

__all__ = ["CropOptions", "Shot", "placed_by_joints", "with_body", "with_joints"]

Array = NDArray[Any]
_LEAST_CROP = 32
_NEAREST = 0.1  # metres


@dataclass(frozen=True)
class CropOptions(FolderOptions):
    """allow_missing as for all sources.

    every      take every n-th frame
    crop_size  pixels a side of the square that is kept around the person, larger ones made smaller to it; 0 keeps
               whole pictures. Either way lens distortion is taken out (see `lenses`)
    """

    every: int = 10
    crop_size: int = DEFAULT_CROP

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError("--every", "must be positive", got=str(self.every))
        if self.crop_size and self.crop_size < _LEAST_CROP:
            raise UsageError(
                "--crop-size", "is too small", expected=f"0 or at least {_LEAST_CROP}", got=str(self.crop_size)
            )


@dataclass(frozen=True, eq=False)
class Shot:
    """One frame of a calibrated camera, on its way to a sample.

    pixels  (H, W, 3) uint8, the laboratory's picture
    around  (N, 3) metres, camera axes: what a crop must show
    """

    pixels: NDArray[np.uint8]
    lens: Lens
    around: Array

    def view(self, crop_size: int) -> PinholeView:
        """What of it is kept; the whole picture where nothing says where people are."""
        ahead = self.around[self.around[:, 2] > _NEAREST]  # nothing behind the camera can be cut out
        if not crop_size or not len(ahead):
            return whole_view(self.lens, (self.pixels.shape[1], self.pixels.shape[0]))
        return person_view(self.lens, ahead, crop_size)

    def sample(self, name: str, view: PinholeView, people: Sequence[Person], **facts: Any) -> Sample:
        """The stored picture with its camera; facts are further fields of the sample."""
        picture = encode_pixels(view.take(self.pixels, self.lens))
        return Sample(
            name=name,
            image=picture.image,
            size=picture.size,
            focal=view.focal,
            principal_point=view.principal_point,
            people=people,
            **facts,
        )


def with_joints(person: Person, skeleton: str, joints: Array, view: PinholeView) -> Person:
    """The person with joints (J, 4), metres in camera axes and confidence, and the keypoints and the box that a view
    has of them.
    """
    keypoints = _projected(joints, view)
    seen = keypoints[keypoints[:, 2] > 0, :2]
    return replace(person, joints={skeleton: joints}, keypoints={skeleton: keypoints}, box=box_around(seen, view.size))


def _projected(points: Array, view: PinholeView) -> Array:
    """(J, 4) metres and confidence → (J, 3) pixels and confidence; what is unknown or behind the camera has 0."""
    known = (points[:, 3] > 0) & (points[:, 2] > 0)
    pixels = np.zeros((len(points), 3))
    pixels[known, :2] = view.project(points[known, :3])
    pixels[known, 2] = points[known, 3]
    return pixels


def with_body(person: Person, fitted: FittedBodies, row: int) -> Person:
    """The person with the body of that row; unchanged where nothing could be fitted there."""
    if not np.isfinite(fitted.error[row]):
        return person
    scales = None if fitted.segment_scales is None else fitted.segment_scales[row]
    return replace(
        person,
        body=fitted.body,
        gender=fitted.gender,
        poses=fitted.poses[row],
        betas=fitted.betas[row],
        trans=fitted.trans[row],
        segment_scales=scales,
    )


def placed_by_joints(body: RiggedBody, poses: Array, betas: Array, joints: Array, skeleton: str) -> Array:
    """The trans (N, 3) by which posed bodies (N, 72), all of one shape (10,), lie nearest to their joints (N, J, 4).

    For fits that know no place: the mean offset from the body's landmarks of that skeleton to the joints.
    """
    with torch.no_grad():
        shape = torch.as_tensor(betas, dtype=torch.float32)[None]
        rotations = axis_angle_to_matrix(torch.as_tensor(poses, dtype=torch.float32).unflatten(1, (24, 3)))
        posed = body.pose(rotations, shape, vertices=False)
        landmarks = body.pose_landmarks(skeleton, posed, shape).numpy()
    weights = joints[..., 3:]
    return (weights * (joints[..., :3] - landmarks)).sum(1) / np.maximum(weights.sum(1), 1e-9)
