"""Calibrated cameras of the laboratories, and the pinhole images that a cache stores in their place.

Their lenses bend straight lines: at the border of a Human3.6M frame a joint is up to 20 pixels away from its position
in a pinhole camera, while a `Sample` has one focal length and one principal point. Their images are therefore resampled
to the images of a pinhole `Camera` (`Lens.undistort`). This removes the distortion and unequal focal lengths, cuts out
the person and scales the crop. Points projected with the stored camera then lie exactly on the stored image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import option
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.samples import Person, Sample
from humanpose_cli.lab.datasets.common import SequenceOptions, box_around
from humanpose_cli.lab.datasets.reading import encode_view

if TYPE_CHECKING:
    from humanpose_cli.lab.datasets.estimators import BodyJointFitter

Array = NDArray[Any]
DEFAULT_CROP = 384
"""Pixels of a stored person's side: the networks' largest input (256), and half as much again to turn and shift."""
_MARGIN = 1.3  # the crop's side over the joints' larger extent: joints lie inside of the body
_MIN_SIDE = 16.0


@dataclass(frozen=True)
class Lens:
    """Intrinsic parameters, pixels with (0, 0) at the top-left corner.

    Attributes:
        focal: (2,) pixels, in x and y.
        principal_point: (2,) pixels.
        radial: k1, k2, k3.
        tangential: p1, p2.
        tangential_gain: 2 for OpenCV and Bouguet's toolbox: x' = x(1 + k1 r² + …) + 2 p1 x y + p2 (r² + 2 x²); 1 for
            Human3.6M's code, in which the terms in x y and x² count half.
        skew: Skew of Bouguet's toolbox, multiplied by the focal length in x.
    """

    focal: tuple[float, float]
    principal_point: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)
    tangential_gain: float = 2.0
    skew: float = 0.0

    def distort(self, rays: Array) -> Array:
        """Project rays (..., 2) as x/z, y/z to pixels (..., 2)."""
        x = rays[..., 0]
        y = rays[..., 1]
        square = x * x + y * y
        k1, k2, k3 = self.radial
        p1, p2 = self.tangential
        factor = 1 + square * (k1 + square * (k2 + square * k3)) + self.tangential_gain * (p1 * y + p2 * x)
        bent_x = x * factor + p2 * square
        bent_y = y * factor + p1 * square
        column = self.focal[0] * (bent_x + self.skew * bent_y) + self.principal_point[0]
        return np.stack((column, self.focal[1] * bent_y + self.principal_point[1]), -1)

    def project(self, points: Array) -> Array:
        """Project points (..., 3), camera axes, to pixels (..., 2) of the laboratory's image."""
        return self.distort(points[..., :2] / points[..., 2:])

    def _positions(self, camera: Camera) -> Array:
        """Return the positions (H, W, 2) of a pinhole camera's pixel centres in this lens's image."""
        x = (np.arange(camera.size[0]) + 0.5 - camera.principal_point[0]) / camera.focal
        y = (np.arange(camera.size[1]) + 0.5 - camera.principal_point[1]) / camera.focal
        return self.distort(np.stack(np.meshgrid(x, y), -1))

    def undistort_labels(self, labels: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
        """Resample labels of this lens's image to a pinhole camera.

        Args:
            labels: (H, W) or (H, W, C) uint8.
            camera: The pinhole camera.

        Returns:
            The nearest labels, 0 beyond the image.
        """
        positions = np.floor(self._positions(camera)).astype(np.int64)
        height, width = labels.shape[:2]
        inside = ((positions >= 0) & (positions < (width, height))).all(-1)
        result = np.zeros((*positions.shape[:2], *labels.shape[2:]), np.uint8)
        result[inside] = labels[positions[inside][:, 1], positions[inside][:, 0]]
        return result

    def undistort(self, pixels: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
        """Resample this lens's image to a pinhole camera.

        If the result is smaller than the part that it shows, pixels are averaged first, to avoid aliasing.

        Args:
            pixels: (H, W) or (H, W, C) uint8.
            camera: The pinhole camera.

        Returns:
            uint8 pixels, black beyond the image.
        """
        positions = self._positions(camera)
        reduction = max(1, int(max(self.focal) / camera.focal + 1e-6))
        values: NDArray[Any] = pixels
        if reduction > 1:
            values, corner = _average_blocks(pixels, reduction, positions)
            positions = (positions - corner) / reduction
        x, y = np.ascontiguousarray(
            (positions - 0.5).transpose(2, 0, 1), np.float32
        )  # OpenCV counts from pixels' centres
        result = np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))
        return np.rint(result).astype(np.uint8) if reduction > 1 else result.astype(np.uint8, copy=False)


@dataclass(frozen=True, eq=False)
class LabCamera:
    """A lens and its position.

    Attributes:
        lens: The lens.
        rotation: (3, 3) world to camera axes.
        translation: (3,) metres; x_camera = rotation · x_world + translation.
    """

    lens: Lens
    rotation: Array
    translation: Array

    def to_camera(self, points: Array) -> Array:
        """Transform points (..., 3) metres from world to camera axes."""
        return points @ self.rotation.T + self.translation


def _average_blocks(pixels: NDArray[np.uint8], factor: int, positions: Array) -> tuple[NDArray[np.float32], Array]:
    """Average factor × factor pixels of the part at `positions`; return it and its corner (2,)."""
    size = np.array([pixels.shape[1], pixels.shape[0]])
    # The part is aligned to blocks, with one more block around it for the interpolation. The last row and column of the
    # image are repeated if they do not fill a block.
    first = np.clip(positions.min((0, 1)) // factor - 1, 0, (size - 1) // factor).astype(int) * factor
    last = np.clip(np.ceil(positions.max((0, 1))) + 2 * factor, first + 1, size).astype(int)
    part = pixels[first[1] : last[1], first[0] : last[0]]
    padding = [(0, -length % factor) for length in part.shape[:2]] + [(0, 0)] * (pixels.ndim - 2)
    part = np.pad(part, padding, mode="edge")
    blocks = part.reshape(part.shape[0] // factor, factor, part.shape[1] // factor, factor, *pixels.shape[2:])
    return blocks.mean((1, 3), dtype=np.float32), first


def full_camera(lens: Lens, size: tuple[int, int]) -> Camera:
    """Make the camera of a complete image at its scale, with the mean of both focal lengths.

    Args:
        lens: The lens.
        size: (width, height) of the image.
    """
    return Camera(sum(lens.focal) / 2, lens.principal_point, size)


def person_camera(lens: Lens, points: Array, crop_size: int) -> Camera:
    """Make the camera of a square around points, with a margin about their larger extent.

    Args:
        lens: The lens.
        points: (N, 3) metres, camera axes.
        crop_size: Maximum pixels of a side; larger squares are reduced, smaller ones not enlarged.
    """
    full = full_camera(lens, (1, 1))
    pixels = full.project(points)
    low = pixels.min(0)
    high = pixels.max(0)
    side = max(_MARGIN * float((high - low).max()), _MIN_SIDE)
    length = min(crop_size, ceil(side))
    scale = length / side
    principal = (np.asarray(full.principal_point) - ((low + high) / 2 - side / 2)) * scale
    return Camera(full.focal * scale, (float(principal[0]), float(principal[1])), (length, length))


# Shared by the laboratories: every n-th frame of a video, one person, a pinhole view of them.

_MIN_CROP = 32
_NEAREST = 0.1  # metres


@dataclass(frozen=True)
class CropOptions(SequenceOptions):
    """Options of calibrated laboratories."""

    every: int = option(10, "Take every n-th frame.", minimum=1)
    crop_size: int = option(
        DEFAULT_CROP,
        "Side of the square crop around the person; larger crops are scaled down, and 0 keeps complete images.",
        unit="pixels",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_size and self.crop_size < _MIN_CROP:
            expected = f"0, or {_MIN_CROP} or more"
            raise UsageError("crop_size", "is too small", expected=expected, got=str(self.crop_size))


@dataclass(frozen=True, eq=False)
class Shot:
    """One frame of a calibrated camera, on its way to a sample.

    Attributes:
        pixels: (H, W, 3) uint8. The laboratory's image.
        lens: The camera's lens.
        around: (N, 3) metres, camera axes. Points that a crop must show.
    """

    pixels: NDArray[np.uint8]
    lens: Lens
    around: Array

    def camera(self, crop_size: int) -> Camera:
        """Return the camera of the stored image; of the complete image if no point is in front of the camera."""
        in_front = self.around[self.around[:, 2] > _NEAREST]  # nothing behind the camera can be cut out
        if not crop_size or not len(in_front):
            return full_camera(self.lens, (self.pixels.shape[1], self.pixels.shape[0]))
        return person_camera(self.lens, in_front, crop_size)

    def sample(self, name: str, camera: Camera, people: Sequence[Person], **labels: Any) -> Sample:
        """Make the sample of the stored image.

        Args:
            name: Name of the sample.
            camera: Camera of the stored image.
            people: The people.
            labels: Further fields of `Sample`.
        """
        image = encode_view(lambda: self.lens.undistort(self.pixels, camera), camera.size)
        return Sample(name, image.image, image.size, camera.focal, camera.principal_point, people, **labels)


def with_joints(person: Person, skeleton: str, joints: Array, camera: Camera) -> Person:
    """Add joints, and the keypoints and the box that a camera sees.

    Args:
        person: The person.
        skeleton: Name of the skeleton.
        joints: (J, 4) metres in camera axes, and confidence.
        camera: The camera.
    """
    visible = (joints[:, 3] > 0) & (joints[:, 2] > 0)
    keypoints = np.zeros((len(joints), 3))
    keypoints[visible, :2] = camera.project(joints[visible, :3], near=0)
    keypoints[visible, 2] = joints[visible, 3]
    box = box_around(keypoints[visible, :2], camera.size)
    return replace(person, joints={skeleton: joints}, keypoints={skeleton: keypoints}, box=box)


def with_fitted_bodies(person: Person, fitter: BodyJointFitter | None, joints: Array, skeleton: str) -> list[Person]:
    """Repeat a person for each frame of their joints, with fitted bodies.

    Args:
        person: The person without a body.
        fitter: Fits bodies to joints; None leaves the person unchanged, and so do frames that cannot be fitted.
        joints: (T, J, 4) metres in camera axes, and confidence.
        skeleton: Name of the skeleton.
    """
    people = [person] * len(joints)
    if fitter is None:
        return people
    fit = fitter.fit(joints, skeleton)
    model = replace(person, body=fit.body, gender=fit.gender)
    for row in np.flatnonzero(np.isfinite(fit.error)).tolist():
        people[row] = replace(model, poses=fit.poses[row], betas=fit.betas[row], trans=fit.trans[row])
    return people


def trans_by_joints(body: Body, poses: Array, betas: Array, joints: Array, skeleton: str) -> Array:
    """Find the translations that bring posed bodies of one shape nearest to their joints.

    For fits without translations: the mean offset from the body's landmarks to the joints.

    Args:
        body: The body.
        poses: (N, 72) radians.
        betas: (10,) shape.
        joints: (N, J, 4) metres in camera axes, and confidence.
        skeleton: Name of the joints' skeleton.

    Returns:
        (N, 3) metres.
    """
    with torch.no_grad():
        shape = torch.as_tensor(betas, dtype=torch.float32)[None]
        rotations = axis_angle_to_matrix(torch.as_tensor(poses, dtype=torch.float32).unflatten(1, (24, 3)))
        landmarks = body.pose_landmarks(skeleton, body.pose(rotations, shape, vertices=False), shape).numpy()
    weights = joints[..., 3:]
    return (weights * (joints[..., :3] - landmarks)).sum(1) / np.maximum(weights.sum(1), 1e-9)
