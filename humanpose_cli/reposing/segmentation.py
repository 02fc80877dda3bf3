"""Division of a photograph among people: one label per pixel.

Each person's mask comes from a crop of its own, so the masks of people who touch claim the same pixels. Each such pixel
goes to one person, by the confidence of the masks, the depth of the fitted bodies, and the colours of the people. A
person's pixels are connected with their body, including limbs in front of others; other pieces belong to somebody else.
Limbs that the detector does not see, such as those behind another person, are no evidence for either. Pieces that a
thin neck joins are a neighbour's if they are nearer to their body.
The edges of the masks are then moved to those of the photograph (`reposing.clean_masks`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.colours import cloth_features
from humanpose_cli.rendering.boxes import Box
from humanpose_cli.reposing.clean_masks import MIN_PIECE, OFF_BODY, clean_mask, main_colours

BACKGROUND = -1

MIN_CONFIDENCE = 0.4  # of the fit of a neighbour whose hidden part is completed
_MIN_MASK = 0.3  # of a pixel that may show a person
_BODY_WEIGHT = 0.5  # mask that the nearest fitted body at a pixel counts as, beside the mask's own value
_MIN_HIDDEN = 0.02  # minimum hidden share of a neighbour's body that is completed
_BLUR = 0.02  # heights of the person: standard deviation of a fit's outline
_CERTAIN = 0.8  # mask of a pixel that certainly shows a person
_COLOURS = 6  # main colours of a person
_MIN_COLOUR = 0.03  # share of a person's pixels from which a colour counts
_AS_MUCH = 0.6  # of the largest share so far that nobody else claims, from which colours replace earlier ones
_COLOUR_SPREAD = 0.2  # distance of `cloth_features` over which likeness falls
_COLOUR_WEIGHT = 0.5  # mask that a person's own colour counts as, beside the mask's own value
_COLOUR_BLUR = 0.006  # heights of the person over which likeness averages
_MARGIN = 0.03  # of the longer side, around the evidence for a person
_USUAL_HEIGHT = 1.7  # metres: height of a person without a fitted body
_MAX_DISTANCE = 0.03  # heights of the person: maximum distance of a piece of a mask from the body
_NECK = 0.25  # share of a piece's outline that joins it to the person, below which it may be a neighbour's


@dataclass(frozen=True, eq=False)
class Claim:
    """The evidence that a part of a photograph shows a person.

    Attributes:
        box: The part of the photograph.
        mask: (h, w) float32, 0…1. The person's mask in the part.
        depth: (h, w) float32, metres. The fitted body's surface in the part; inf off the body.
        seen_depth: (h, w) float32, metres. The surface of the limbs that are seen.
        pixels_per_metre: The scale at the person.
        exact: Whether the mask is the user's: its pixels are this person's.
        left_out: The share of the mask that is the surroundings, 0…1.
    """

    box: Box
    mask: NDArray[np.float32]
    depth: NDArray[np.float32]
    seen_depth: NDArray[np.float32]
    pixels_per_metre: float
    exact: bool = False
    left_out: float = 0.0

    @classmethod
    def of(
        cls,
        mask: NDArray[np.float32],
        depth: NDArray[np.float32],
        focal: float,
        *,
        seen_depth: NDArray[np.float32] | None = None,
        exact: bool = False,
    ) -> Claim:
        """Crop images (H, W) to the part with evidence. `focal` is in pixels; without `seen_depth`, all is seen."""
        body = np.isfinite(depth)
        x, y, width, height = cv2.boundingRect(((mask > 0) | body).astype(np.uint8))
        margin = 2 + round(_MARGIN * max(width, height))
        box = Box(x - margin, y - margin, x + width + margin, y + height + margin)
        box = box.intersect(Box(0, 0, mask.shape[1], mask.shape[0])) if width else Box(0, 0, 0, 0)
        scale = focal / float(np.median(depth[body])) if body.any() else max(width, height) / _USUAL_HEIGHT
        seen_depth = depth if seen_depth is None else seen_depth
        layers = mask[box.slices].copy(), depth[box.slices].copy(), seen_depth[box.slices].copy()
        return cls(box, *layers, scale, exact)

    @property
    def body(self) -> NDArray[np.bool_]:
        """The pixels (h, w) of the fitted body."""
        return np.isfinite(self.depth)

    @property
    def height(self) -> int:
        """The longer side of the fitted body, pixels; of the mask without a body."""
        _, _, width, height = cv2.boundingRect(self.body.astype(np.uint8))
        return max(width, height) or max(self.box.shape)


@dataclass(frozen=True, eq=False)
class PeopleMap:
    """The people's pixels in a photograph.

    Attributes:
        claims: The evidence for each person, by row of the fit.
        labels: (H, W) int16. The row of the person that a pixel shows; `BACKGROUND` for none.
    """

    claims: tuple[Claim, ...]
    labels: NDArray[np.int16]

    @classmethod
    def of(
        cls, claims: Sequence[Claim], photo: NDArray[np.uint8], palettes: Sequence[Palette] | None = None
    ) -> PeopleMap:
        """Divide a photograph (H, W, 3) among claims, and clean their masks.

        Args:
            claims: The evidence for each person.
            photo: (H, W, 3) uint8 RGB. A photograph, or the next frame of a clip.
            palettes: What earlier frames of a clip showed of each person; this frame is added.
        """
        labels = label_people(by_colour(claims, photo, palettes), photo.shape[:2])
        return cls(tuple(_cleaned(claim, row, labels, photo) for row, claim in enumerate(claims)), labels)

    def mask(self, row: int) -> NDArray[np.float32]:
        """Return a person's mask (H, W), 0…1, without other people's pixels.

        It is made on demand: a crowd's masks would not fit into memory.
        """
        claim = self.claims[row]
        larger = np.zeros(self.labels.shape, np.float32)
        label = self.labels[claim.box.slices]
        larger[claim.box.slices] = np.where((label == row) | (label == BACKGROUND), claim.mask, np.float32(0))
        return larger

    def hidden(self, hole: NDArray[np.bool_], rows: Collection[int]) -> dict[int, NDArray[np.bool_]]:
        """Find the people behind a hole.

        Their pixels are pixels of the hole that their body covers, connected with pixels that show them. A body that is
        less than half visible is left out.

        Args:
            hole: (H, W) bool. The hole that the reposed people leave.
            rows: The rows of the reposed people.

        Returns:
            The pixels (H, W) by row, the nearest person last.
        """
        pixels_of: list[tuple[float, int, NDArray[np.bool_]]] = []
        for row, claim in enumerate(self.claims):
            if claim.box.empty:
                continue
            body = claim.body
            visible = self.labels[claim.box.slices] == row
            if row in rows or (visible & body).sum() < 0.5 * body.sum():
                continue
            behind = hole[claim.box.slices] & body & np.isin(self.labels[claim.box.slices], [*rows, BACKGROUND])
            _, pieces = cv2.connectedComponents((behind | visible).astype(np.uint8))
            behind &= np.isin(pieces, np.unique(pieces[visible]))
            if behind.sum() > _MIN_HIDDEN * body.sum():
                larger = np.zeros(self.labels.shape, bool)
                larger[claim.box.slices] = behind
                pixels_of.append((float(np.median(claim.depth[body])), row, larger))
        return {row: pixels for _, row, pixels in sorted(pixels_of, key=lambda person: -person[0])}


@dataclass
class Palette:
    """The main colours of a person, in the last frame of a clip that shows about as much of them alone as any before.

    Attributes:
        features: (K, 3). `cloth_features` of the colours.
        share: The largest share of their mask, 0…1, that nobody else claims in a frame.
    """

    features: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    share: float = 0.0

    def see(self, claims: Sequence[Claim], row: int, photo: NDArray[np.uint8]) -> None:
        """Take the colours of a frame (H, W, 3) if it shows about as much of the person as those before."""
        box = claims[row].box
        alone = claims[row].mask >= _CERTAIN
        for number, claim in enumerate(claims):
            common = box.intersect(claim.box)
            if number != row and not common.empty:
                alone[common.slices_in(box)] &= claim.mask[common.slices_in(claim.box)] < 1 - _CERTAIN
        share = float(alone.sum()) / max(float(claims[row].mask.sum()), 1.0)
        if share > _AS_MUCH * self.share:
            self.share = max(share, self.share)
            colours = cloth_features(photo[box.slices][alone] / np.float32(255))
            self.features = main_colours(colours, _COLOURS, _MIN_COLOUR)


def by_colour(
    claims: Sequence[Claim], photo: NDArray[np.uint8], palettes: Sequence[Palette] | None = None
) -> list[Claim]:
    """Change masks where two people claim pixels (H, W, 3), by the colours that each shows elsewhere.

    In a clip, `palettes` are those of the frames before; they see this frame, too.
    """
    result = [replace(claim, mask=claim.mask.copy()) for claim in claims]
    for row, palette in enumerate(palettes or ()):
        if len(claims) > 1 or not palette.share:
            palette.see(claims, row, photo)
    palettes = palettes or [Palette() for _ in claims]
    for pair in combinations(range(len(claims)), 2):
        box = claims[pair[0]].box.intersect(claims[pair[1]].box)
        if box.empty:
            continue
        inside = [box.slices_in(claims[row].box) for row in pair]
        shared = np.logical_and(*(claims[row].mask[part] >= _MIN_MASK for row, part in zip(pair, inside, strict=True)))
        if not shared.any():
            continue
        for row in pair:
            if not palettes[row].share:
                palettes[row].see(claims, row, photo)
        if not all(len(palettes[row].features) for row in pair):
            continue
        features = cloth_features(photo[box.slices][shared] / np.float32(255))
        distances = [np.linalg.norm(features[:, None] - palettes[row].features, axis=2).min(1) for row in pair]
        likeness = [np.exp(-np.square(distance / _COLOUR_SPREAD)) for distance in distances]
        change = np.zeros(shared.shape, np.float32)
        change[shared] = _COLOUR_WEIGHT * (likeness[0] - likeness[1])
        blur = _COLOUR_BLUR * min(claims[row].height for row in pair)
        around = cv2.GaussianBlur(shared.astype(np.float32), (0, 0), blur)
        change = cv2.GaussianBlur(change, (0, 0), blur) / np.maximum(around, np.float32(1e-3))
        for row, part, sign in zip(pair, inside, (1, -1), strict=True):
            mask = result[row].mask[part]
            mask[shared] = np.maximum(mask[shared] + sign * change[shared], _MIN_MASK)
    return result


def _cleaned(claim: Claim, row: int, labels: NDArray[np.int16], photo: NDArray[np.uint8]) -> Claim:
    if claim.box.empty or claim.exact:
        return claim
    label = labels[claim.box.slices]
    others = (label != row) & (label != BACKGROUND)
    mask = np.where(others, np.float32(0), claim.mask)
    # A mask may follow a limb that is behind somebody, or behind what they sit on.
    body = claim.body & ~_hidden_limbs(claim) if others.any() else claim.body
    mask, left_out = clean_mask(photo[claim.box.slices], mask, body, others, claim.pixels_per_metre)
    return replace(claim, mask=mask, left_out=left_out)


def _hidden_limbs(claim: Claim) -> NDArray[np.bool_]:
    """Select the pixels (h, w) of limbs that are not seen, without those that the image's edge cuts."""
    hidden = claim.body & ~np.isfinite(claim.seen_depth)
    _, pieces = cv2.connectedComponents(hidden.astype(np.uint8))
    cut = np.concatenate((pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]))
    return hidden & ~np.isin(pieces, cut)


def label_people(claims: Sequence[Claim], size: tuple[int, int]) -> NDArray[np.int16]:
    """Label each pixel with the index of its claim.

    Args:
        claims: The evidence for each person.
        size: The height and width, pixels.

    Returns:
        (H, W) int16. `BACKGROUND` where no mask is high enough.
    """
    labels = _likeliest(claims, size)
    for index, claim in enumerate(claims):
        if claim.exact:
            continue
        rest = [None if number == index else claim for number, claim in enumerate(claims)]
        for piece, box in _loose_pieces(labels, index, claim):
            alternative = _likeliest(rest, size, box)
            np.copyto(labels[box.slices], alternative, where=piece & (alternative != BACKGROUND))
        _return_pieces(labels, index, claims)
    return labels


def _return_pieces(labels: NDArray[np.int16], index: int, claims: Sequence[Claim]) -> None:
    """Label the pieces of a person's pixels that are a neighbour's, such as a hand that reaches into their mask.

    They are off the person's body, nearer to the neighbour's, and joined to the person by a thin neck: what is joined
    broadly is a skirt, long hair, or a limb that the fit has elsewhere.
    """
    claim = claims[index]
    box = claim.box
    others = [n for n, other in enumerate(claims) if n != index and not other.box.intersect(box).empty]
    if not others:
        return
    least = own_distance = _distance(claim, box)
    nearest = np.full(box.shape, index)
    for number in others:
        distance = _distance(claims[number], box)
        nearest[distance < least] = number
        least = np.minimum(distance, least)
    own = (labels[box.slices] == index) & (claim.mask >= 0.5)
    off_body = own & (own_distance > OFF_BODY) & np.isfinite(own_distance)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(off_body.astype(np.uint8))
    for piece in np.flatnonzero(stats[1:, 4] >= (MIN_PIECE * claim.pixels_per_metre) ** 2) + 1:
        pixels = pieces == piece
        outline = (cv2.dilate(pixels.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~pixels
        neighbours = nearest[pixels & (nearest != index)]
        if 2 * len(neighbours) > stats[piece, 4] and (outline & own).sum() < _NECK * outline.sum():
            labels[box.slices][pixels] = np.bincount(neighbours).argmax()


def _distance(claim: Claim, part: Box) -> NDArray[np.float32]:
    """Return the distances (h, w), metres, of pixels from a person's body in a part of the image; inf without it."""
    body = np.zeros(part.shape, bool)
    common = claim.box.intersect(part)
    body[common.slices_in(part)] = claim.body[common.slices_in(claim.box)]
    if not body.any():
        return np.full(part.shape, np.inf, np.float32)
    distance = np.asarray(cv2.distanceTransform((~body).astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    return distance / np.float32(claim.pixels_per_metre)


def _likeliest(claims: Sequence[Claim | None], size: tuple[int, int], part: Box | None = None) -> NDArray[np.int16]:
    """Return the index of the claim with the highest score in a part of the image; the first of equals."""
    part = part or Box(0, 0, size[1], size[0])
    labels = np.full(part.shape, BACKGROUND, np.int16)
    best = np.zeros(part.shape, np.float32)
    nearest = np.full(part.shape, np.inf, np.float32)
    common = [(index, claim, claim.box.intersect(part)) for index, claim in enumerate(claims) if claim is not None]
    common = [(index, claim, box) for index, claim, box in common if not box.empty]
    for _, claim, box in common:
        region = nearest[box.slices_in(part)]
        np.minimum(region, claim.seen_depth[box.slices_in(claim.box)], out=region)
    for index, claim, box in common:
        inside = box.slices_in(claim.box)
        region_in_part = box.slices_in(part)
        depth = claim.seen_depth[inside]
        mask = claim.mask[inside]
        first = np.zeros(box.shape, np.float32)
        if sum(not box.intersect(other).empty for _, _, other in common) > 1:  # else nobody else claims the pixels
            first[np.isfinite(depth) & (depth <= nearest[region_in_part])] = 1
            cv2.GaussianBlur(first, (0, 0), _BLUR * claim.height, dst=first)
        certain = np.float32(1 + _BODY_WEIGHT if claim.exact else 0)
        score = np.where(mask >= _MIN_MASK, mask + _BODY_WEIGHT * first + certain, np.float32(0))
        better = score > best[region_in_part]
        best[region_in_part][better] = score[better]
        labels[region_in_part][better] = index
    return labels


def _loose_pieces(labels: NDArray[np.int16], index: int, claim: Claim) -> Iterator[tuple[NDArray[np.bool_], Box]]:
    """Find pieces (h, w) of a person's pixels that are not connected with what is seen of them, with their boxes."""
    connected_pixels = labels[claim.box.slices] == index
    body = np.isfinite(claim.seen_depth)
    if not (connected_pixels & body).any():
        return
    distance = cv2.distanceTransform((~body).astype(np.uint8), cv2.DIST_L2, 5)
    near = distance <= _MAX_DISTANCE * claim.height
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(connected_pixels.astype(np.uint8))
    touching = np.zeros(count, bool)
    touching[np.unique(pieces[near])] = True
    for piece in np.flatnonzero(~touching[1:]) + 1:
        x, y, width, height = (int(value) for value in stats[piece, :4])
        left = claim.box.x0 + x
        top = claim.box.y0 + y
        yield pieces[y : y + height, x : x + width] == piece, Box(left, top, left + width, top + height)
