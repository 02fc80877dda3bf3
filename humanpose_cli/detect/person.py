"""A person in an image: passes of the landmark model over crops, and their average with its noise and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from humanpose_cli.body.estimate import BodyEstimate, ShapePrior
from humanpose_cli.core.conventions import BLAZEPOSE33, HAND21, Skeleton
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.detect.models import LANDMARK_SIZE, CropLandmarks, LandmarkNetwork, ModelPool, PoseModels
from humanpose_cli.detect.regions import Pyramid, Region, region_from_axis


@dataclass(frozen=True)
class PersonMask:
    """The pixels of a person, as a square crop of the image.

    Attributes:
        crop: (S, S) uint8. 255 is certainly the person.
        crop_to_image: The map from pixels of the crop to pixels of the image.
        exact: Whether the mask is the user's, which nothing changes.
    """

    crop: np.ndarray
    crop_to_image: Affine2D
    exact: bool = False

    def in_image(self, height: int, width: int) -> np.ndarray:
        """Return the mask (height, width) float32, 0…1, in the image; 0 outside the crop."""
        return self.in_view(Affine2D.identity(), (width, height))

    def values_at(self, points: np.ndarray) -> np.ndarray:
        """Return the mask (N,), 0…1, at points (N, 2) of the image; 0 outside the crop."""
        pixels = np.floor(self.crop_to_image.inverse().points(points)).astype(int)
        inside = ((pixels >= 0) & (pixels < len(self.crop))).all(1)
        columns, rows = np.clip(pixels, 0, len(self.crop) - 1).T
        return np.where(inside, self.crop[rows, columns] / 255, 0.0)

    def in_view(self, image_to_view: Affine2D, size: tuple[int, int]) -> np.ndarray:
        """Return the mask in a scaled, turned or shifted view of the image.

        Args:
            image_to_view: The map from pixels of the image to pixels of the view.
            size: The view's width and height.

        Returns:
            (height, width) float32, 0…1.
        """
        affine = image_to_view @ self.crop_to_image
        return affine.warp(self.crop.astype(np.float32), size, cv2.INTER_LINEAR) / np.float32(255)


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand, or the reason why it was not taken.

    Attributes:
        points: (21, 2) float, pixels of the image, in the order of `HAND21`.
        world: (21, 3) float, metres in the image's axes (x right, y down, z forward), with an unknown origin.
        presence: Confidence of the network that the crop shows a hand, 0…1.
        reason: "" for a hand that was taken, else "hidden", "too small" or "another person's".
    """

    points: np.ndarray
    world: np.ndarray
    presence: float
    reason: str = ""

    @classmethod
    def missing(cls, reason: str) -> Hand:
        """Return a hand that was not taken."""
        return cls(np.zeros((len(HAND21), 2)), np.zeros((len(HAND21), 3)), 0.0, reason)

    @property
    def size(self) -> float:
        """The diagonal of the box around the points, pixels."""
        return float(np.linalg.norm(np.ptp(self.points, axis=0)))


@dataclass(frozen=True, eq=False)
class DetectedPerson:
    """A person in an image, or in a frame of a sequence.

    `PersonDetector` makes it. `Fitter` adds frame, track and estimate. The keypoint fit reads it through
    `fitting.observations`, and `fitting.records` writes it to the fit file.

    Attributes:
        box: (4,) float32, x0 y0 x1 y1 in pixels, within the image.
        keypoints: (L, 3) float32. x, y in pixels of the image, possibly outside, and confidence 0…1.
        world: (L, 3) float32, metres in camera axes (x right, y down, z forward), origin between the hips; None if
            unknown.
        spread: (L,) float32, pixels. The standard deviation of the keypoints, from the agreement of passes and
            networks.
        world_spread: (L,) float32, metres. The standard deviation of `world`; None if unknown.
        mask: The pixels of the person; None if unknown.
        score: The probability that this is a person.
        skeleton: The names of the L rows.
        confirmed: False for a candidate in a video that may be no person.
        frame: The index of the frame in its sequence.
        track: The track id.
        interpolated: Whether nothing was detected in this frame: the row is interpolated between frames.
        estimate: The estimate of a body network; None without one, or if the network lacks its input.
        shape: The prior of the body's shape; None for the prior of all people.
        not_fitted: Why no body can be fitted, such as "hidden by another person"; "" if one can.
        number: The track's number in the user's own file; None without one.
        absent: Whether the landmark model finds no person, or another one, at keypoints from the user's file.
        exchanged: Whether the landmark model agrees better if left and right of such keypoints are exchanged.
        hands: The left and the right hand; None if they were not searched for.
        locked: (L,) bool. Keypoints that the body must be at; None if there are none.
        face: (9, 3) float, pixels in the image's axes (x right, y down, z forward, with an unknown origin). The
            landmarks `hands.FACE_LANDMARKS`, upper and lower lip; None if the face was not searched for, is hidden,
            too small, or turned away by more than 60°.
    """

    box: np.ndarray
    keypoints: np.ndarray
    world: np.ndarray | None
    spread: np.ndarray
    world_spread: np.ndarray | None
    mask: PersonMask | None
    score: float
    skeleton: Skeleton = BLAZEPOSE33
    confirmed: bool = True
    frame: int = 0
    track: int = 0
    interpolated: bool = False
    estimate: BodyEstimate | None = None
    shape: ShapePrior | None = None
    not_fitted: str = ""
    number: int | None = None
    absent: bool = False
    exchanged: bool = False
    hands: tuple[Hand, Hand] | None = None
    face: np.ndarray | None = None
    locked: np.ndarray | None = None

    @property
    def area(self) -> float:
        """The area of the box, square pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))


def without_body(box: np.ndarray, score: float, reason: str, number: int | None = None) -> DetectedPerson:
    """Make a detection that is not fitted."""
    count = len(BLAZEPOSE33)
    rows, spread = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    probability = float(np.clip(score, 0, 1))
    return DetectedPerson(box, rows, None, spread, None, None, probability, not_fitted=reason, number=number)


_BODY_ROWS = len(BLAZEPOSE33)
_MIRROR = list(BLAZEPOSE33.mirror)
_CENTRE_ROW = _BODY_ROWS
_EDGE_ROW = _BODY_ROWS + 1

_FADE = 0.02  # sides of the region: a joint this far outside the image keeps a third of its confidence

# Shift right and down (share of the side), scale, turn (radians), mirrored: small enough that a person stays well
# inside, different enough that the model's errors differ. Fixed, so that the same image gives the same people.
_JITTER: tuple[tuple[float, float, float, float, bool], ...] = (
    (0.0, 0.0, 1.0, 0.0, True),
    (0.035, 0.02, 1.06, 0.07, False),
    (-0.035, 0.02, 0.94, -0.07, True),
    (0.02, -0.035, 1.10, -0.10, False),
    (-0.02, -0.035, 0.90, 0.10, True),
    (-0.03, 0.0, 1.02, 0.14, False),
    (0.03, 0.0, 0.98, -0.14, True),
    (0.0, 0.04, 1.08, 0.03, True),
)


@dataclass(frozen=True)
class CropView:
    """A region to crop.

    Attributes:
        region: The region.
        mirror: Whether the crop is mirrored.
    """

    region: Region
    mirror: bool = False


@dataclass(frozen=True)
class Observation:
    """The result of a landmark pass; the crop's mirroring and rotation are undone.

    Attributes:
        region: The region of the crop.
        points: (33, 2) float, pixels of the image.
        confidence: (33,) float, 0…1. Visible, in the crop and in the image.
        presence: The confidence that the crop shows a person.
        world: (33, 3) float, metres in camera axes, origin between the hips.
        mask: (256, 256) float32, 0…1, in the crop of `region`; None if it was not requested.
        next_region: The region that the model proposes for the next pass.
    """

    region: Region
    points: np.ndarray
    confidence: np.ndarray
    presence: float
    world: np.ndarray
    mask: np.ndarray | None
    next_region: Region


def observe(
    models: PoseModels,
    pyramid: Pyramid,
    views: Sequence[CropView],
    network: LandmarkNetwork = "blazepose-full",
    *,
    masks: bool = True,
) -> list[Observation]:
    """Run a landmark network on views of an image.

    Args:
        models: The networks.
        pyramid: The image.
        views: The crops.
        network: The landmark network.
        masks: Whether to compute masks.
    """
    crops = [pyramid.crop(view.region, LANDMARK_SIZE, mirror=view.mirror) for view in views]
    landmarks = models.landmarks(crops, network, masks=masks)
    return [_observation(pyramid, view, crop) for view, crop in zip(views, landmarks, strict=True)]


def _observation(pyramid: Pyramid, view: CropView, landmarks: CropLandmarks) -> Observation:
    points = landmarks.points
    world = landmarks.world
    mask = landmarks.mask
    confidence = landmarks.visibility * landmarks.inside
    if view.mirror:
        points = points * [-1, 1] + [LANDMARK_SIZE, 0]
        points[:_BODY_ROWS] = points[_MIRROR]
        world = (world * [-1, 1, 1])[_MIRROR]
        confidence = confidence[_MIRROR]
        mask = None if mask is None else np.ascontiguousarray(mask[:, ::-1])
    points = view.region.to_image(LANDMARK_SIZE).points(points)
    body = points[:_BODY_ROWS]
    outside = np.linalg.norm(body - np.clip(body, 0, [pyramid.width, pyramid.height]), axis=1)
    return Observation(
        region=view.region,
        points=body,
        confidence=confidence * np.exp(-outside / (_FADE * view.region.side)),
        presence=landmarks.presence,
        world=view.region.axes_to_image(world),
        mask=mask,
        next_region=region_from_axis(points[_CENTRE_ROW], points[_EDGE_ROW]),
    )


def observe_all(
    pool: ModelPool,
    pyramid: Pyramid,
    views: Sequence[CropView],
    network: LandmarkNetwork = "blazepose-full",
    *,
    masks: bool = True,
) -> list[Observation]:
    """Run `observe` for each view, spread over the pool's threads."""
    return pool.map(lambda models, part: observe(models, pyramid, part, network, masks=masks), views)


def jittered_views(region: Region, count: int) -> list[CropView]:
    """Return the first `count` (at most 8) of a fixed series of jittered and mirrored views of a region."""
    return [
        CropView(region.moved(right, down, scale, turn), mirror) for right, down, scale, turn, mirror in _JITTER[:count]
    ]


def observe_jittered(
    pool: ModelPool,
    pyramid: Pyramid,
    regions: Sequence[Region],
    count: int,
    network: LandmarkNetwork = "blazepose-full",
    *,
    masks: bool = True,
) -> list[list[Observation]]:
    """Run passes for each region over itself and over `count` jittered views of it."""
    views = [view for region in regions for view in (CropView(region), *jittered_views(region, count))]
    passes = observe_all(pool, pyramid, views, network, masks=masks)
    return [passes[start : start + count + 1] for start in range(0, len(passes), count + 1)]


_UNKNOWN_DEPTH = 1.0  # metres: noise of world landmarks without a pass that shows the pose
_MIN_CONFIDENCE = 0.3  # of a keypoint that counts for the box
_BEYOND = 0.02  # sizes of the keypoints' box: margin of a box without a mask
_CROWN = 0.6  # distances from shoulders to ears: distance from the ears to the top of the head
_MASK_REACH = 0.6  # sizes of the keypoints' box: reach of hair, hats and clothes beyond the keypoints
_HIPS, _EARS, _SHOULDERS = (BLAZEPOSE33.indices([f"left_{n}", f"right_{n}"]) for n in ("hip", "ear", "shoulder"))


def mean_points(observations: Sequence[Observation]) -> np.ndarray:
    """Return the mean of the points, (33, 2) pixels."""
    return np.mean([o.points for o in observations], axis=0)


def mean_confidence(observations: Sequence[Observation]) -> np.ndarray:
    """Return the mean confidence (33,), 0…1: visible, in the image, and a person is present."""
    return np.mean([o.confidence * o.presence for o in observations], axis=0)


def axis_spread(points: Sequence[np.ndarray]) -> np.ndarray:
    """Return the standard deviation (L,) per axis of landmarks (L, D) in several passes, in their unit."""
    offsets = np.stack(points) - np.mean(points, axis=0)
    return np.sqrt((offsets**2).sum(-1).mean(0) / offsets.shape[-1])


class FusedJoints(NamedTuple):
    """Joints of a person, combined from several passes.

    Attributes:
        keypoints: (33, 3) float. x, y in pixels of the image, and confidence 0…1.
        noise: (33,) float, pixels. The expected standard deviation of each coordinate.
        showing: The passes that show this pose, with the same names of left and right.
    """

    keypoints: np.ndarray
    noise: np.ndarray
    showing: Sequence[Observation]


def combine(
    observations: Sequence[Observation], size: tuple[int, int], score: float, *, with_mask: bool = True
) -> DetectedPerson:
    """Average passes to a person.

    Args:
        observations: The passes.
        size: The image's width and height.
        score: The probability that this is a person.
        with_mask: Whether the person gets a mask, which all passes must have then.
    """
    keypoints = np.concatenate([mean_points(observations), mean_confidence(observations)[:, None]], axis=1)
    joints = FusedJoints(keypoints, axis_spread([o.points for o in observations]), observations)
    return assemble(observations, joints, size, score, with_mask=with_mask)


def assemble(
    observations: Sequence[Observation],
    joints: FusedJoints,
    size: tuple[int, int],
    score: float,
    *,
    with_mask: bool = True,
) -> DetectedPerson:
    """Make a person of passes and joints.

    The passes that show the pose of the joints give the world landmarks. If there are none, all passes do, with an
    unknown depth.

    Args:
        observations: The passes.
        joints: The combined joints.
        size: The image's width and height.
        score: The probability that this is a person.
        with_mask: Whether the person gets a mask, which all passes must have then.
    """
    passes = joints.showing or observations
    world = np.mean([o.world for o in passes], axis=0)
    mask = mean_mask(observations, observations[0].region) if with_mask else None
    unknown_depth = 0.0 if joints.showing else _UNKNOWN_DEPTH
    return DetectedPerson(
        box=_box(joints.keypoints, mask, size),
        keypoints=joints.keypoints.astype(np.float32),
        world=(world - world[_HIPS].mean(0)).astype(np.float32),
        spread=joints.noise.astype(np.float32),
        world_spread=(axis_spread([o.world for o in passes]) + unknown_depth).astype(np.float32),
        mask=mask,
        score=float(score),
    )


def mean_mask(observations: Sequence[Observation], region: Region) -> PersonMask:
    """Average the passes' masks in the crop of `region`."""
    size = LANDMARK_SIZE
    target = region.to_image(size)
    total = np.zeros((size, size), np.float32)
    weight = np.full((size, size), 1e-6, np.float32)
    for observation in observations:
        assert observation.mask is not None
        affine = observation.region.to_image(size).inverse() @ target
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        total += affine.warp(observation.mask, (size, size), flags)
        weight += affine.warp(np.ones_like(observation.mask), (size, size), flags)
    crop = np.rint(np.clip(total / weight, 0, 1) * 255).astype(np.uint8)
    return PersonMask(crop, target)


def _box(keypoints: np.ndarray, mask: PersonMask | None, size: tuple[int, int]) -> np.ndarray:
    """Return the box around the confident keypoints and their parts of the mask, or a margin without a mask."""
    confident = keypoints[keypoints[:, 2] > _MIN_CONFIDENCE, :2]
    points = confident if len(confident) else keypoints[:, :2]
    low = points.min(0)
    high = points.max(0)
    extent = max(high - low)
    if mask is None:
        ears = keypoints[_EARS]
        shoulders = keypoints[_SHOULDERS]
        if min(ears[:, 2].max(), shoulders[:, 2].max()) > _MIN_CONFIDENCE:
            crown = ears.mean(0) + _CROWN * (ears.mean(0) - shoulders.mean(0))
            low = np.minimum(low, crown[:2])
            high = np.maximum(high, crown[:2])
        low = low - _BEYOND * extent
        high = high + _BEYOND * extent
    else:
        pixels = _mask_pixels(mask, points)
        near = ((pixels > low - _MASK_REACH * extent) & (pixels < high + _MASK_REACH * extent)).all(1)
        if near.any():
            low = np.minimum(low, pixels[near].min(0))
            high = np.maximum(high, pixels[near].max(0))
    limits = np.array(size, dtype=float)
    return np.concatenate([np.clip(low, 0, limits), np.clip(high, 0, limits)]).astype(np.float32)


def _mask_pixels(mask: PersonMask, points: np.ndarray) -> np.ndarray:
    """Return positions (N, 2) in the image of the mask's pixels in parts that contain one of `points` (M, 2)."""
    _, parts = cv2.connectedComponents((mask.crop > 127).astype(np.uint8))
    columns, rows = np.clip(mask.crop_to_image.inverse().points(points), 0, len(mask.crop) - 1).astype(int).T
    part_labels = np.unique(parts[rows, columns])
    rows, columns = np.nonzero(np.isin(parts, part_labels[part_labels > 0]))
    return mask.crop_to_image.points(np.stack([columns + 0.5, rows + 0.5], axis=1))
