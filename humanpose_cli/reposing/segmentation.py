"""Which pixel of a photograph shows which person: one map for all people.

A person's mask is made from a crop of its own, so that masks of people who touch claim the same pixels. Each such pixel
goes to one of them: the masks say how sure they are, and the fitted bodies who stands nearer. Whatever a person's mask
holds is connected with their body, limbs that reach in front of others too: a piece that is not is somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.rendering.boxes import Box

BACKGROUND = -1


MIN_CONFIDENCE = 0.4  # of the fit of a neighbour whose hidden part is completed
_MIN_MASK = 0.3  # of a pixel that may show a person
_BODY_WEIGHT = 0.5  # mask that the nearest fitted body at a pixel counts as, beside the mask's own value
_MIN_HIDDEN = 0.02  # share of a neighbour's body that is completed where the person stood before it
# In heights of the person:
_BLUR = 0.02  # standard deviation of a body's outline, a fit's error
_MAX_DISTANCE = 0.03  # that a piece of a mask may have from the person's body


@dataclass(frozen=True, eq=False)
class Claim:
    """What says that a part of a photograph shows a person.

    Attributes:
        box: The part; everything outside it shows somebody else.
        mask: (h, w) float32 in it, 0…1.
        depth: (h, w) float32 in it, metres: of the fitted body's surface, infinite where it is not.
    """

    box: Box
    mask: NDArray[np.float32]
    depth: NDArray[np.float32]

    @classmethod
    def of(cls, mask: NDArray[np.float32], depth: NDArray[np.float32]) -> Claim:
        """Crop whole images (H, W) to the part that says something."""
        x, y, width, height = cv2.boundingRect(((mask > 0) | np.isfinite(depth)).astype(np.uint8))
        box = Box(x, y, x + width, y + height)
        return cls(box, mask[box.slices].copy(), depth[box.slices].copy())

    @property
    def body(self) -> NDArray[np.bool_]:
        """(h, w) where the fitted body is."""
        return np.isfinite(self.depth)

    @property
    def height(self) -> int:
        """Longer side of the fitted body, in pixels; of the mask for none."""
        _, _, width, height = cv2.boundingRect(self.body.astype(np.uint8))
        return max(width, height) or max(self.box.shape)


@dataclass(frozen=True, eq=False)
class PeopleMap:
    """Who is where in a photograph.

    Attributes:
        claims: Of the people, by row of the fit.
        labels: (H, W) the row of the person that a pixel shows; `BACKGROUND` for none.
    """

    claims: tuple[Claim, ...]
    labels: NDArray[np.int16]

    @classmethod
    def of(cls, claims: Sequence[Claim], size: tuple[int, int]) -> PeopleMap:
        """Divide a photograph among claims; size: its height and width."""
        return cls(tuple(claims), label_people(claims, size))

    def mask(self, row: int) -> NDArray[np.float32]:
        """Return (H, W) 0…1 where one person is: their mask without the pixels that are another person's."""
        claim, larger = self.claims[row], np.zeros(self.labels.shape, np.float32)
        label = self.labels[claim.box.slices]
        larger[claim.box.slices] = np.where((label == row) | (label == BACKGROUND), claim.mask, np.float32(0))
        return larger

    def hidden(self, hole: NDArray[np.bool_], rows: Collection[int]) -> dict[int, NDArray[np.bool_]]:
        """Find who is behind a hole (H, W) that people `rows` leave: rows, nearest last, and pixels (H, W) of the
        others.

        The pixels are those of the hole that the other's body covers, where they are connected with pixels that show
        them. A body of which less than half is visible is not completed.
        """
        pixels_of: list[tuple[float, int, NDArray[np.bool_]]] = []
        for row, claim in enumerate(self.claims):
            body, visible = claim.body, self.labels[claim.box.slices] == row
            if row in rows or (visible & body).sum() < 0.5 * body.sum():
                continue
            behind = hole[claim.box.slices] & body & np.isin(self.labels[claim.box.slices], [*rows, BACKGROUND])
            _, pieces = cv2.connectedComponents((behind | visible).astype(np.uint8))
            behind &= np.isin(pieces, np.unique(pieces[visible]))
            if behind.sum() > _MIN_HIDDEN * body.sum():
                larger = np.zeros(self.labels.shape, bool)
                larger[claim.box.slices] = behind
                pixels_of.append((float(np.median(claim.depth[body])), row, larger))
        return {row: pixels for _, row, pixels in sorted(pixels_of, key=lambda one: -one[0])}


def label_people(claims: Sequence[Claim], size: tuple[int, int]) -> NDArray[np.int16]:
    """Find the index (H, W) of the claim that each pixel belongs to, `BACKGROUND` where no mask is high enough.

    Args:
        size: Height and width.
    """
    labels = _likeliest(claims, size)
    for index, claim in enumerate(claims):
        rest = [None if other == index else claim for other, claim in enumerate(claims)]
        for piece, box in _loose_pieces(labels, index, claim):
            instead = _likeliest(rest, size, box)
            region = labels[box.slices]
            others = piece & (instead != BACKGROUND)
            region[others] = instead[others]
    return labels


def _likeliest(claims: Sequence[Claim | None], size: tuple[int, int], part: Box | None = None) -> NDArray[np.int16]:
    """Find the claim with the highest score in a part of the image, all of it by default; the first of equals."""
    part = part or Box(0, 0, size[1], size[0])
    labels = np.full(part.shape, BACKGROUND, np.int16)
    best, nearest = np.zeros(part.shape, np.float32), np.full(part.shape, np.inf, np.float32)
    common = [(index, claim, claim.box.intersect(part)) for index, claim in enumerate(claims) if claim is not None]
    common = [(index, claim, box) for index, claim, box in common if not box.empty]
    for _, claim, box in common:
        region = nearest[box.slices_in(part)]
        np.minimum(region, claim.depth[box.slices_in(claim.box)], out=region)
    for index, claim, box in common:
        inside, here = box.slices_in(claim.box), box.slices_in(part)
        depth, mask = claim.depth[inside], claim.mask[inside]
        first = (np.isfinite(depth) & (depth <= nearest[here])).astype(np.float32)
        first = np.asarray(cv2.GaussianBlur(first, (0, 0), _BLUR * claim.height), np.float32)
        score = np.where(mask >= _MIN_MASK, mask + _BODY_WEIGHT * first, np.float32(0))
        better = score > best[here]
        best[here][better] = score[better]
        labels[here][better] = index
    return labels


def _loose_pieces(labels: NDArray[np.int16], index: int, claim: Claim) -> Iterator[tuple[NDArray[np.bool_], Box]]:
    """Find parts (h, w) of a person's pixels in their boxes that are not connected with the person's body."""
    connected_pixels = labels[claim.box.slices] == index
    body = claim.body
    if not (connected_pixels & body).any():
        return
    away = cv2.distanceTransform((~body).astype(np.uint8), cv2.DIST_L2, 5)
    near = away <= _MAX_DISTANCE * claim.height
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(connected_pixels.astype(np.uint8))
    touching = np.zeros(count, bool)
    touching[np.unique(pieces[near])] = True
    for piece in np.flatnonzero(~touching[1:]) + 1:
        x, y, width, height = (int(value) for value in stats[piece, :4])
        left, top = claim.box.x0 + x, claim.box.y0 + y
        yield pieces[y : y + height, x : x + width] == piece, Box(left, top, left + width, top + height)
