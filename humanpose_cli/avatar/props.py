"""Long things in somebody's hands: bats, poles, rackets, sticks, which move with the hand.

No mask holds them: they are narrower than a segmentation network's pixels. They are pixels that differ from what is
around them (a median over more than their width), form a straight piece, and begin at a hand that is visible: an edge
of the scene runs past it, along the body, or goes on at its other side. A thing stays straight
before the camera in other poses: its points keep their distances along its axis, which turns with the hand, and across
it, where it faces the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from humanpose_cli.avatar.loose import pixel_mesh
from humanpose_cli.avatar.options import PropOptions
from humanpose_cli.avatar.stages import Aligned, PhotographedPerson
from humanpose_cli.avatar.surface import parts_mask
from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.texture import fill_smoothly
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class HeldThing:
    """A long thing in a hand.

    side    "left" or "right": the hand
    pixels  (H, W) bool of the photo
    axis    (3,) unit vector in the hand's frame
    along   (N, 2) metres from the hand's joint, along the axis and across it, before the camera
    faces   (M, 3) int32; uv (N, 2) in 0…1, v down
    image   (h, w, 3) float32 in 0…1
    """

    side: str
    pixels: Mask
    axis: Tensor
    along: Tensor
    faces: Tensor
    uv: Tensor
    image: NDArray[np.float32]

    @property
    def length(self) -> float:
        """Metres."""
        return float(self.along[:, 0].max() - self.along[:, 0].min())

    def pose(self, posed_body: PosedBody) -> Tensor:
        """Compute vertices (N, 3) metres with the bones of one posed body."""
        row = SMPL24.index(f"{self.side}_hand")
        hand, axis = posed_body.joints[0, row], posed_body.rotations[0, row] @ self.axis
        return hand + self.along[:, :1] * axis + self.along[:, 1:] * _across(axis, hand)

    def shift(self, offsets: Tensor, body: Body) -> Tensor:
        """Return how far (3,) metres the thing moves with the hand's vertices among the body's (V, 3)."""
        return offsets[body.part_labels == SMPL24.index(f"{self.side}_hand")].mean(0)


def _across(axis: Tensor, hand: Tensor) -> Tensor:
    """Compute the unit vector (3,) across an axis and the ray to the hand."""
    return normalize(torch.linalg.cross(axis, normalize(hand, dim=0)), dim=0)


def _held(along: Tensor) -> Tensor:
    """Move points (N, 2) so that the end nearest to the hand's joint is at it, where fit and photo leave a gap."""
    end = along[along.norm(dim=1).argmin()]
    return along if along[:, 0].min() < 0 < along[:, 0].max() else along - end


def find_props(photo_person: PhotographedPerson, alignment: Aligned, options: PropOptions) -> tuple[HeldThing, ...]:
    """Find the long things in a person's hands; none if the photo has so many straight pieces that one says nothing."""
    body, view = alignment.body.body, photo_person.view
    small = view.scaled(min(1.0, options.resolution / alignment.pixels_per_metre))
    metre = alignment.pixels_per_metre * small.focal / view.focal
    image = cv2.resize(photo_person.photo, small.size, interpolation=cv2.INTER_AREA)
    face = rasterise_view(alignment.vertices[None], body.faces, small).face[0].cpu().numpy()
    first = body.part_labels.cpu().numpy()[body.faces[:, 0].long().cpu().numpy()]
    part = np.where(face >= 0, first[np.maximum(face, 0)], -1)
    people_mask = cv2.resize(
        np.maximum(photo_person.mask, photo_person.others), small.size, interpolation=cv2.INTER_AREA
    )
    people = cv2.dilate(((people_mask >= 0.5) | (part >= 0)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    unlike = _unlike_surroundings(image, metre, options) & ~people
    pieces = _straight_pieces(unlike, metre, options)
    if len(pieces) > options.max_pieces:
        return ()
    things, reliable = [], (alignment.reliable > 0.5).cpu().numpy()[body.faces[:, 0].long().cpu().numpy()]
    for side in ("left", "right"):
        hand = (part >= 0) & parts_mask(part, (f"{side}_hand", f"{side}_wrist"))
        if not (hand & reliable[np.maximum(face, 0)]).any():
            continue
        away, from_body = (_distance(one) / metre for one in (hand, people & (_distance(hand) > options.reach * metre)))
        candidates = [
            piece
            for piece in pieces
            if away[piece].min() <= options.reach
            and (from_body[piece] < options.beside).mean() < options.max_beside
            and _begins_at(hand, piece, unlike, ~people, metre, options)
        ]
        if candidates:
            nearest = min(candidates, key=lambda piece: float(away[piece].min()))
            pieces = [piece for piece in pieces if piece is not nearest]
            things.append(_prop(side, nearest, image, small, alignment, view.size))
    return tuple(things)


def _distance(pixels: Mask) -> Array:
    """Measure pixels (h, w) to the nearest of a selection (h, w)."""
    return cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, 5)


def _begins_at(hand: Mask, piece: Mask, unlike: Mask, visible: Mask, metre: float, options: PropOptions) -> bool:
    """Return whether the line of a piece (h, w) has a hand at one end, and goes on neither beyond it nor at the other.

    unlike, visible  (h, w): pixels that differ from their surroundings, and those that show no person
    """
    rows, columns = np.nonzero(piece)
    middle = np.array([columns.mean(), rows.mean()])
    axis = np.linalg.svd(np.stack((columns, rows), 1) - middle, full_matrices=False)[2][0]
    y, x = np.mgrid[: piece.shape[0], : piece.shape[1]]
    along = ((x - middle[0]) * axis[0] + (y - middle[1]) * axis[1]) / metre
    across = np.abs((y - middle[1]) * axis[0] - (x - middle[0]) * axis[1]) / metre
    if along[hand].mean() < 0:
        along = -along
    low, high = np.percentile(along[piece], (2, 98))
    if across[hand].min() > options.aside or along[hand].max() < high:
        return False
    line = (across < options.max_width / 4) & visible
    beyond = line & (along > along[hand].max())
    behind = line & (along < low - 2 / metre)
    for rest, start in ((beyond, along[beyond].min(initial=np.inf)), (behind, low - options.min_length)):
        part = rest & (along > start) & (along < start + options.min_length)
        if part.any() and unlike[part].mean() > options.goes_on:
            return False
    return True


def _unlike_surroundings(image: Array, metre: float, options: PropOptions) -> Mask:
    """Select pixels (h, w) whose colour (CIELAB) is far from the median of their surroundings."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    width = max(5, round(options.surroundings * metre) | 1)
    usual = cv2.merge([cv2.medianBlur(np.ascontiguousarray(channel), width) for channel in cv2.split(lab)])
    difference = (lab.astype(np.float32) - usual) * np.array([options.lightness, 1, 1], np.float32)
    return np.asarray(np.linalg.norm(difference, axis=2) > options.contrast)


def _straight_pieces(pixels: Mask, metre: float, options: PropOptions) -> list[Mask]:
    """Find the connected pixels (h, w) that are long, narrow and straight, and do not reach the image's edge."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    height, width = pixels.shape
    pieces = []
    for label in range(1, count):
        x, y, across, down, area = (int(value) for value in stats[label])
        if max(across, down) < 0.7 * options.min_length * metre:
            continue
        if x <= 1 or y <= 1 or x + across >= width - 1 or y + down >= height - 1:
            continue
        rows, columns = np.nonzero(labels[y : y + down, x : x + across] == label)
        points = np.stack((columns, rows), 1).astype(np.float64) / metre
        points -= points.mean(0)
        axes = np.linalg.svd(points, full_matrices=False)[2]
        low, high = np.percentile(points @ axes[0], (2, 98))
        length, bend = high - low, float(np.sqrt(np.square(points @ axes[1]).mean()))
        narrow = area / metre**2 <= options.max_width * length
        if options.min_length <= length <= options.max_length and narrow and bend <= max(0.03, options.bend * length):
            pieces.append(labels == label)
    return pieces


def _prop(side: str, piece: Mask, image: Array, view: Camera, alignment: Aligned, size: tuple[int, int]) -> HeldThing:
    """Make a thing of its pixels (h, w) in a reduced image; size: width and height of the photo."""
    posed_body = alignment.body.posed(alignment.rotations, alignment.trans)
    row = SMPL24.index(f"{side}_hand")
    hand_vertices = alignment.body.body.part_labels == row
    offset = (alignment.vertices - alignment.posed)[hand_vertices].mean(0)
    hand = posed_body.joints[0, row] + offset
    solid = cv2.dilate(piece.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    x, y, faces = pixel_mesh(piece, piece.astype(np.float32))
    depth, (left, top) = float(hand[2]), view.principal_point
    points = np.stack(((x - left) * depth / view.focal, (y - top) * depth / view.focal, np.full(len(x), depth)), 1)
    main = np.linalg.svd(points - points.mean(0), full_matrices=False)[2][0]
    axis = torch.from_numpy(main.astype(np.float32)).to(hand)
    relative = torch.from_numpy(points.astype(np.float32)).to(hand) - hand
    along = _held(torch.stack((relative @ axis, relative @ _across(axis, hand)), 1))
    colours = fill_smoothly(image.astype(np.float32) / np.float32(255), piece.astype(np.float32))
    pixels = cv2.resize(solid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    uv = torch.from_numpy(np.stack((x / view.size[0], y / view.size[1]), 1).astype(np.float32))
    faces_ = torch.from_numpy(faces).to(alignment.body.body.faces)
    return HeldThing(side, pixels, posed_body.rotations[0, row].mT @ axis, along, faces_, uv.to(hand), colours)
