"""The part of the plane that a reposed image shows: the photograph's frame, a larger one, or a given size.

A canvas moves the principal point of the photograph's camera and changes nothing else, so the fit stays valid. Around
the photograph, the background is continued with copies of the rest (`avatar.inpainting`) up to a distance, and with its
blurred mirror image beyond.

In the photograph's own frame, a person who crosses an edge in a pose is moved along the ground. A point p moved by s
along a unit vector d is to the right of the column L if f (p_x + s d_x) ≥ (L − c_x) (p_z + s d_z), linear in s: the
allowed s of all points are an interval, and the shift nearest to 0 in it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.person import DressedPerson
from humanpose_cli.core.camera import Camera
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.rendering.boxes import NEAR, Box

_MARGIN = 0.04  # longer sides of the person's box: room round the person
_MAX_GROWTH = 1.5  # longer sides of the photograph: maximum growth at each side
_SHARP_REACH = 0.5  # longer sides of the photograph: distance up to which the background is continued sharply
_BLUR = 0.03  # longer sides of the photograph: blur beyond that
_MAX_CUT = 0.003  # share of the points beyond a side that counts as inside
_MAX_AWAY = 0.4  # distances of the camera: maximum that a person is moved away


class Shift(NamedTuple):
    """A person's movement along the ground.

    Attributes:
        right: Metres to the right.
        away: Metres away from the camera.
    """

    right: float = 0.0
    away: float = 0.0

    def __str__(self) -> str:
        parts = [f"{abs(self.right):.2f} m to the {'right' if self.right > 0 else 'left'}"] if self.right else []
        return ", ".join([*parts, *([f"{self.away:.2f} m back"] if self.away else [])])


def points_of(person: DressedPerson, motion: BodyParams) -> Iterator[NDArray[np.float32]]:
    """Return the points (V, 3) of a person's surfaces, metres in camera axes, for each pose of a motion."""
    photo_trans = person.pose.trans
    with torch.no_grad():
        for rotations, trans in zip(motion.rotations.to(photo_trans), motion.trans.to(photo_trans), strict=True):
            points = [person.body.pose(rotations, trans)]
            points += person.avatar.dressed.garment_points(person.body.posed(rotations, trans))
            yield torch.cat(points).cpu().numpy()


def box_of_people(people: Iterable[tuple[DressedPerson, BodyParams]]) -> Box:
    """Bound all poses of people, in pixels of the photograph, with a margin; empty without points."""
    low = np.full(2, np.inf)
    high = np.full(2, -np.inf)
    for person, motion in people:
        for points in points_of(person, motion):
            near = points[points[:, 2] > NEAR]
            if len(near):
                pixels = person.view.project(near)
                low = np.minimum(low, pixels.min(0))
                high = np.maximum(high, pixels.max(0))
    if not (high > low).all():
        return Box(0, 0, 0, 0)
    margin = _MARGIN * float((high - low).max())
    limit = 1e6  # pixels: bounds points close to the camera
    low = np.clip(np.floor(low - margin), -limit, limit)
    high = np.clip(np.ceil(high + margin), -limit, limit)
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def canvas_of(choice: str | tuple[int, int], size: tuple[int, int], person: Box) -> Box:
    """Choose the rectangle that is drawn.

    Args:
        choice: "fit", or a width and height. A given size contains the person, or their head if they are too
            tall, and as much as possible of the photograph.
        size: The photograph's width and height, pixels.
        person: The rectangle of the reposed people.

    Returns:
        The rectangle in pixels of the photograph.
    """
    photo = Box(0, 0, size[0], size[1])
    if person.empty:
        return photo
    if choice == "fit":
        growth = round(_MAX_GROWTH * max(size))
        return photo.union(person).intersect(Box(-growth, -growth, size[0] + growth, size[1] + growth))
    assert isinstance(choice, tuple)
    starts = []
    for axis in (0, 1):
        length = choice[axis]
        low = person[axis]
        high = person[axis + 2]
        if high - low >= length:
            starts.append(low if axis else (low + high - length) // 2)  # the head, not the feet
        else:
            starts.append(min(max((size[axis] - length) // 2, high - length), low))
    return Box(starts[0], starts[1], starts[0] + choice[0], starts[1] + choice[1])


def put_on_canvas(values: NDArray[np.generic], canvas: Box) -> NDArray[np.generic]:
    """Place an array (H, W, ...) of the photograph on the canvas, 0 around it."""
    photo = Box(0, 0, values.shape[1], values.shape[0])
    common = photo.intersect(canvas)
    result = np.zeros((*canvas.shape, *values.shape[2:]), values.dtype)
    if not common.empty:
        result[common.slices_in(canvas)] = values[common.slices]
    return result


def continue_background(
    plate: NDArray[np.uint8],
    canvas: Box,
    avoid: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Continue the background of a photograph on a canvas.

    Args:
        plate: (H, W, 3) uint8 RGB. The background.
        canvas: The rectangle in pixels of the photograph.
        avoid: (H, W) bool. Pixels that must not be repeated, such as people.

    Returns:
        The background (h, w, 3) uint8 of the canvas.
    """
    height, width = size = plate.shape[:2]
    photo = Box(0, 0, width, height)
    reach = round(_SHARP_REACH * max(size))
    # 1. Near the photograph, copies of its regions.
    near = canvas.union(photo).intersect(Box(-reach, -reach, width + reach, height + reach))
    image = np.asarray(put_on_canvas(plate, near), np.uint8)
    hole = np.ones(near.shape, bool)
    hole[photo.slices_in(near)] = False
    image = inpaint(image, hole, np.asarray(put_on_canvas(avoid, near), bool), continue_avoided=True)
    common = near.intersect(canvas)
    if common == canvas:
        return np.ascontiguousarray(image[common.slices_in(near)])
    # 2. Beyond, the mirror image, which blurs with the distance.
    sides = (near.y0 - canvas.y0, canvas.y1 - near.y1), (near.x0 - canvas.x0, canvas.x1 - near.x1)
    growth = [(max(start, 0), max(end, 0)) for start, end in sides]
    mirror_image = np.pad(image, (*growth, (0, 0)), mode="reflect")
    inside = np.pad(np.ones(near.shape, np.uint8), growth)
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    sigma = max(_BLUR * max(size), 0.1)
    share = np.clip(distance / (4 * sigma), 0, 1)[..., None]
    blur = cv2.GaussianBlur(mirror_image, (0, 0), sigma)
    image = (mirror_image * (1 - share) + blur * share + 0.5).astype(np.uint8)
    everything = near.union(canvas)
    return np.ascontiguousarray(image[canvas.slices_in(everything)])


def shift_inwards(person: DressedPerson, motion: BodyParams) -> Shift:
    """Find the movement along the ground after which no pose crosses an edge that cuts nobody in the photo.

    If the photograph shows the feet above its lower edge, the person is moved back until they stay above it. The person
    is moved sideways if the complete motion then fits between the edges, but not further across an edge that cuts them
    in the photograph. The movement is 0 if that is not possible.

    Args:
        person: The person.
        motion: Their motion.
    """
    right, forward = _axes(person.down)
    width, height = person.view.size
    cut = _edges_in_photo(person)
    edges = _edges_crossed(points_of(person, motion), person.view)
    retreat = 0.0
    if edges.bottom and not cut.bottom:
        room = height * (1 - _MARGIN / 4)
        bound = max(_bound(points, forward, person.view, 1, room, -1) for points in points_of(person, motion))
        distance = float(motion.trans[:, 2].min())
        retreat = bound if 0 < bound <= _MAX_AWAY * distance else 0.0
    retreated_motion = _moved(motion, forward, retreat)
    if retreat:
        edges = _edges_crossed(points_of(person, retreated_motion), person.view)
    if not ((edges.left and not cut.left) or (edges.right and not cut.right)):
        return Shift(0.0, retreat)
    margin = _MARGIN / 4 * width
    low = -math.inf
    high = math.inf
    for points in points_of(person, retreated_motion):
        low = 0.0 if cut.left else max(low, _bound(points, right, person.view, 0, margin, 1))
        high = 0.0 if cut.right else min(high, -_bound(points, -right, person.view, 0, width - margin, -1))
    return Shift(min(max(0.0, low), high) if low <= high else 0.0, retreat)


def moved_along_ground(person: DressedPerson, motion: BodyParams, shift: Shift) -> BodyParams:
    """Move a motion along the ground."""
    right, forward = _axes(person.down)
    return _moved(_moved(motion, right, shift.right), forward, shift.away)


def _moved(motion: BodyParams, direction: NDArray[np.float64], metres: float) -> BodyParams:
    if not metres:
        return motion
    trans = motion.trans + motion.trans.new_tensor((metres * direction).tolist())
    return BodyParams.from_rotations(motion.rotations, motion.betas, trans, motion.segment_scales)


def _axes(down: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors (3,) along the ground: to the right of the image, and away from the camera."""
    below = down.double().cpu().numpy()
    right = np.cross(below, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return right, np.cross(right, below)


class _Edges(NamedTuple):
    left: bool
    top: bool
    right: bool
    bottom: bool


def _edges_in_photo(person: DressedPerson) -> _Edges:
    """Return the edges that cut a person in the photograph."""
    vertices = person.body.pose(person.pose.rotations, person.pose.trans).cpu().numpy()
    return _edges_crossed([vertices], person.view)


def _edges_crossed(poses: Iterable[NDArray[np.float32]], view: Camera) -> _Edges:
    """Return the edges of the image that any of the surfaces (V, 3) crosses with more than a few points."""
    edges = np.zeros(4, bool)
    for points in poses:
        pixels = view.project(points[points[:, 2] > NEAR])
        if len(pixels):
            beyond = np.concatenate((pixels < 0, pixels > view.size), 1)
            edges |= beyond.mean(0) > _MAX_CUT
    return _Edges(*edges.tolist())


def _bound(
    points: NDArray[np.float32], direction: NDArray[np.float64], view: Camera, axis: int, limit: float, sign: int
) -> float:
    """Return the smallest s with which all points (V, 3) + s · direction are on the right side of a line, or inf."""
    # The line is a column (axis 0) or a row (axis 1); points belong beyond it (sign 1) or before it (sign -1).
    # `excess` is how far each point is on the wrong side, and `inward_step` how much of that a unit of s removes.
    slope = (limit - view.principal_point[axis]) / view.focal
    inward_step = sign * (direction[axis] - slope * direction[2])
    excess = sign * (slope * points[:, 2].astype(np.float64) - points[:, axis])
    if inward_step <= 1e-9:
        return -math.inf if (excess <= 0).all() else math.inf
    return float((excess / inward_step).max())
