"""Calibrated cameras of the laboratories, and the pinhole images that a cache keeps instead of theirs.

Their lenses bend straight lines: at the border of a Human3.6M frame a joint is up to 20 pixels away from where a
pinhole camera sees it, while a `Sample` knows one focal length and one principal point. So their images are taken
anew by a `PinholeView`: one resampling removes the distortion and unequal focal lengths, cuts out the person and scales
the cut. Whatever is projected with the stored camera then lies exactly on the stored image.
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
"""Pixels a side of a stored person: what the largest networks here see (256), and a half more to turn and shift."""
_MARGIN = 1.3  # the crop's side over the joints' larger extent: joints lie inside of the body
_MIN_SIDE = 16.0


@dataclass(frozen=True)
class Lens:
    """Intrinsic parameters, pixels with (0, 0) at the top-left corner.

    focal            (2,) in x and y; principal_point (2,)
    radial           k1, k2, k3
    tangential       p1, p2
    tangential_gain  2 for OpenCV and Bouguet's toolbox: x' = x(1 + k1 r² + …) + 2 p1 x y + p2 (r² + 2 x²);
                     1 for Human3.6M's code, where the terms in x y and x² count half
    skew             of Bouguet's toolbox, times the focal length in x
    """

    focal: tuple[float, float]
    principal_point: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)
    tangential_gain: float = 2.0
    skew: float = 0.0

    def distort(self, rays: Array) -> Array:
        """Rays (..., 2) as x/z, y/z → pixels (..., 2)."""
        x, y = rays[..., 0], rays[..., 1]
        square = x * x + y * y
        k1, k2, k3 = self.radial
        p1, p2 = self.tangential
        factor = 1 + square * (k1 + square * (k2 + square * k3)) + self.tangential_gain * (p1 * y + p2 * x)
        bent_x, bent_y = x * factor + p2 * square, y * factor + p1 * square
        column = self.focal[0] * (bent_x + self.skew * bent_y) + self.principal_point[0]
        return np.stack((column, self.focal[1] * bent_y + self.principal_point[1]), -1)

    def project(self, points: Array) -> Array:
        """Points (..., 3), camera axes → pixels (..., 2) of the laboratory's own image."""
        return self.distort(points[..., :2] / points[..., 2:])


@dataclass(frozen=True, eq=False)
class LabCamera:
    """A lens and where it stands: x_camera = rotation · x_world + translation (metres)."""

    lens: Lens
    rotation: Array
    translation: Array

    def to_camera(self, points: Array) -> Array:
        """Points (..., 3) metres, world → camera axes."""
        return points @ self.rotation.T + self.translation


@dataclass(frozen=True)
class PinholeView:
    """An image without distortion: focal length, principal point and size (width, height) in its own pixels."""

    focal: float
    principal_point: tuple[float, float]
    size: tuple[int, int]

    def project(self, points: Array) -> Array:
        """Points (..., 3), camera axes → pixels (..., 2)."""
        return self.focal * points[..., :2] / points[..., 2:] + np.asarray(self.principal_point)

    def _positions_in(self, lens: Lens) -> Array:
        """(height, width, 2): position of each pixel's centre in the lens's image."""
        x = (np.arange(self.size[0]) + 0.5 - self.principal_point[0]) / self.focal
        y = (np.arange(self.size[1]) + 0.5 - self.principal_point[1]) / self.focal
        return lens.distort(np.stack(np.meshgrid(x, y), -1))

    def take_labels(self, labels: NDArray[np.uint8], lens: Lens) -> NDArray[np.uint8]:
        """This view of labels (H, W) or (H, W, C) of a lens's image: the nearest ones, 0 where the image ends."""
        at = np.floor(self._positions_in(lens)).astype(np.int64)
        height, width = labels.shape[:2]
        inside = ((at >= 0) & (at < (width, height))).all(-1)
        taken = np.zeros((*at.shape[:2], *labels.shape[2:]), np.uint8)
        taken[inside] = labels[at[inside][:, 1], at[inside][:, 0]]
        return taken

    def take(self, pixels: NDArray[np.uint8], lens: Lens) -> NDArray[np.uint8]:
        """This view of a lens's image (H, W) or (H, W, C) uint8: bilinear, black where the image ends.

        Where the view is smaller than what it shows, pixels are averaged before, so that nothing flickers.
        """
        at = self._positions_in(lens)
        reduction = max(1, int(max(lens.focal) / self.focal + 1e-6))
        values: NDArray[Any] = pixels
        if reduction > 1:
            values, corner = _averaged(pixels, reduction, at)
            at = (at - corner) / reduction
        x, y = np.ascontiguousarray((at - 0.5).transpose(2, 0, 1), np.float32)  # OpenCV counts from pixels' centres
        taken = np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))
        return np.rint(taken).astype(np.uint8) if reduction > 1 else taken.astype(np.uint8, copy=False)


def _averaged(pixels: NDArray[np.uint8], factor: int, at: Array) -> tuple[NDArray[np.float32], Array]:
    """Means of factor × factor pixels of the part that shows the points `at`, and the corner (2,) of that part.

    The last row and column of the image are repeated where they do not fill a mean.
    """
    size = np.array([pixels.shape[1], pixels.shape[0]])
    # The part is aligned to whole blocks, with one more block around it for the interpolation.
    first = np.clip(at.min((0, 1)) // factor - 1, 0, (size - 1) // factor).astype(int) * factor
    last = np.clip(np.ceil(at.max((0, 1))) + 2 * factor, first + 1, size).astype(int)
    part = pixels[first[1] : last[1], first[0] : last[0]]
    padding = [(0, -length % factor) for length in part.shape[:2]] + [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(part, padding, mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, *pixels.shape[2:])
    return blocks.mean((1, 3), dtype=np.float32), first


def full_view(lens: Lens, size: tuple[int, int]) -> PinholeView:
    """All of an image of that size, at its own scale (the mean of both focal lengths)."""
    return PinholeView(sum(lens.focal) / 2, lens.principal_point, size)


def person_view(lens: Lens, points: Array, crop_size: int) -> PinholeView:
    """A square around points (N, 3) metres in camera axes: some margin about their larger extent, made smaller to
    `crop_size` pixels a side where it is larger, never made larger.
    """
    full = full_view(lens, (1, 1))
    pixels = full.project(points)
    low, high = pixels.min(0), pixels.max(0)
    side = max(_MARGIN * float((high - low).max()), _MIN_SIDE)
    length = min(crop_size, ceil(side))
    scale = length / side
    principal = (np.asarray(full.principal_point) - ((low + high) / 2 - side / 2)) * scale
    return PinholeView(full.focal * scale, (float(principal[0]), float(principal[1])), (length, length))


# What sources of calibrated laboratories share: every n-th frame of a video, one person, a pinhole view of them.

_MIN_CROP = 32
_NEAREST = 0.1  # metres


@dataclass(frozen=True)
class CropOptions(SequenceOptions):
    """Options of calibrated laboratories."""

    every: int = option(10, "Take every n-th frame.", minimum=1)
    crop_size: int = option(
        DEFAULT_CROP,
        "Side of the square that is kept around the person, larger ones made smaller to it; 0 keeps complete images. "
        "Either way lens distortion is removed (see `calibrated`).",
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

    pixels  (H, W, 3) uint8, the laboratory's image
    around  (N, 3) metres, camera axes: what a crop must show
    """

    pixels: NDArray[np.uint8]
    lens: Lens
    around: Array

    def view(self, crop_size: int) -> PinholeView:
        """What of it is kept; the whole image where nothing says where people are."""
        ahead = self.around[self.around[:, 2] > _NEAREST]  # nothing behind the camera can be cut out
        if not crop_size or not len(ahead):
            return full_view(self.lens, (self.pixels.shape[1], self.pixels.shape[0]))
        return person_view(self.lens, ahead, crop_size)

    def sample(self, name: str, view: PinholeView, people: Sequence[Person], **facts: Any) -> Sample:
        """The stored image with its camera; facts are further fields of the sample."""
        image = encode_view(lambda: view.take(self.pixels, self.lens), view.size)
        return Sample(name, image.image, image.size, view.focal, view.principal_point, people, **facts)


def with_joints(person: Person, skeleton: str, joints: Array, view: PinholeView) -> Person:
    """The person with joints (J, 4), metres in camera axes and confidence, and the keypoints and the box that a view
    has of them.
    """
    visible = (joints[:, 3] > 0) & (joints[:, 2] > 0)  # what is unknown or behind the camera has the confidence 0
    keypoints = np.zeros((len(joints), 3))
    keypoints[visible, :2] = view.project(joints[visible, :3])
    keypoints[visible, 2] = joints[visible, 3]
    box = box_around(keypoints[visible, :2], view.size)
    return replace(person, joints={skeleton: joints}, keypoints={skeleton: keypoints}, box=box)


def with_fitted_bodies(person: Person, fitter: BodyJointFitter | None, joints: Array, skeleton: str) -> list[Person]:
    """The person once for each frame of joints (T, J, 4), with the bodies of the joint fitter where there is one.

    Frames that could not be fitted keep the person unchanged.
    """
    people = [person] * len(joints)
    if fitter is None:
        return people
    fitted = fitter.fit(joints, skeleton)
    model = replace(person, body=fitted.body, gender=fitted.gender)
    for row in np.flatnonzero(np.isfinite(fitted.error)).tolist():
        people[row] = replace(model, poses=fitted.poses[row], betas=fitted.betas[row], trans=fitted.trans[row])
    return people


def placed_by_joints(body: Body, poses: Array, betas: Array, joints: Array, skeleton: str) -> Array:
    """The trans (N, 3) by which posed bodies (N, 72), all of one shape (10,), lie nearest to their joints (N, J, 4).

    For fits without translations: the mean offset from the body's landmarks of that skeleton to the joints.
    """
    with torch.no_grad():
        shape = torch.as_tensor(betas, dtype=torch.float32)[None]
        rotations = axis_angle_to_matrix(torch.as_tensor(poses, dtype=torch.float32).unflatten(1, (24, 3)))
        posed = body.pose(rotations, shape, vertices=False)
        landmarks = body.pose_landmarks(skeleton, posed, shape).numpy()
    weights = joints[..., 3:]
    return (weights * (joints[..., :3] - landmarks)).sum(1) / np.maximum(weights.sum(1), 1e-9)
