"""The shift map: an offset for each missing pixel of an image, the same for whole regions.

Offsets are candidates at which the image resembles itself, so that lines and patterns continue (He and Sun, "Statistics
of patch offsets for image completion", 2012). The choice for each pixel is a Markov random field, whose seams run where
both copies agree (Pritch, Kav-Venaki and Peleg, "Shift-map image editing", 2009). It is solved by expansions of one
label at a time, each a minimum cut (Boykov, Veksler and Zabih 2001).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from scipy.spatial import cKDTree

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

_MAX_OFFSETS = 60  # at which the image resembles itself
_PATCH_RADIUS = 3  # pixels: radius of the patches that are compared
_COMPONENTS = 8  # principal components of a patch that are compared
_NEIGHBOURS = 6  # similar patches; the first one that is far enough counts
_MIN_OFFSET = 1 / 15  # minimum offset as a share of the image's longer side (He and Sun 2012, section 3)
_HISTOGRAM_BLUR = 2**0.5  # pixels: blur of the histogram of offsets (the same)
_LEVEL_OFFSETS = 24  # offsets without change of height to a width, for grounds, horizons and shelves
_COVERING_OFFSETS = 20  # maximum number of further offsets, for pixels that no other leads to a known one
_HEIGHT_COST = np.float32(600)  # cost of a copy from another height, at the image's full height
_RIM = 2  # pixels: distance from the hole up to which copies are compared with usable pixels
_UNUSABLE = np.float32(1e7)  # cost of a copy that leads to no usable pixel
_CAPACITY = 2**27  # scipy's flows are 32-bit integers


def likely_offsets(image: Array, usable: Mask, hole: Mask) -> Index:
    """Return candidate offsets for a hole, the most frequent first.

    Horizontal offsets, and offsets for pixels that no other offset leads to a usable pixel, come last.

    Args:
        image: (h, w, 3) float32, grey levels.
        usable: (h, w) bool. The pixels that may be copied, at least one.
        hole: (h, w) bool. The pixels to fill.

    Returns:
        (K, 2) int64, pixels. Rows and columns.
    """
    height, width = hole.shape
    padded = [next_fast_len(2 * side - 1, real=True) for side in hole.shape]
    candidates = _resembling(image, usable)[:_MAX_OFFSETS]
    step = max(3, width // _LEVEL_OFFSETS)
    level = [(0, dx) for dx in range(-(width // 2), width // 2, step) if abs(dx) > step]
    offsets = list(dict.fromkeys([*candidates, *level]))
    coverage = np.zeros(hole.shape, bool)
    for dy, dx in offsets:
        coverage |= _shifted(usable, dy, dx)
    for _ in range(_COVERING_OFFSETS):
        remaining = hole & ~coverage
        if not remaining.any():
            break
        # How many of them each offset leads to a usable pixel, by correlation.
        # Not by scipy.signal, whose import takes a third of a second.
        spectrum = rfft2(usable.astype(np.float32), padded) * rfft2(remaining[::-1, ::-1].astype(np.float32), padded)
        within_reach = irfft2(spectrum, padded)[: 2 * height - 1, : 2 * width - 1]
        row, column = np.unravel_index(int(within_reach.argmax()), within_reach.shape)
        offset = int(row) - height + 1, int(column) - width + 1
        coverage |= _shifted(usable, *offset)
        offsets.append(offset)
    return np.array(offsets, np.int64)


def _shifted(values: Array, dy: int, dx: int) -> Array:
    """Return values[y + dy, x + dx] at (y, x); 0 outside."""
    height, width = values.shape[:2]
    result = np.zeros_like(values)
    if abs(dy) < height and abs(dx) < width:
        rows = slice(max(0, -dy), height - max(0, dy))
        columns = slice(max(0, -dx), width - max(0, dx))
        result[rows, columns] = values[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    return result


def _resembling(image: Array, usable: Mask) -> list[tuple[int, int]]:
    """Return offsets from patches to similar patches, the most frequent first."""
    height, width = usable.shape
    radius = _PATCH_RADIUS
    size = 2 * _PATCH_RADIUS + 1
    complete = cv2.erode(usable.astype(np.uint8), np.ones((size, size), np.uint8), borderValue=0) > 0
    ys, xs = np.nonzero(complete)
    if len(ys) <= _NEIGHBOURS:
        return []
    framed_image = np.pad(
        cv2.GaussianBlur(image, (0, 0), 0.8), ((radius, radius), (radius, radius), (0, 0)), mode="edge"
    )
    # Every second pixel of the blurred patch says as much, in a quarter of the time.
    windows = np.lib.stride_tricks.sliding_window_view(framed_image, (size, size), axis=(0, 1))[..., ::2, ::2]
    patches = windows[ys, xs].reshape(len(ys), -1)
    # Nearest neighbours among the patches' principal components.
    deviations = patches - patches.mean(0)
    _, axes = np.linalg.eigh(deviations.T @ deviations)
    descriptors = deviations @ axes[:, -_COMPONENTS:]
    tree = cKDTree(descriptors, balanced_tree=False, compact_nodes=False)
    _, similar = tree.query(descriptors, k=_NEIGHBOURS, eps=0.5)
    # The offset from each patch to the nearest one that is not beside it.
    dy = ys[similar] - ys[:, None]
    dx = xs[similar] - xs[:, None]
    far = np.hypot(dy, dx) > _MIN_OFFSET * max(height, width)
    rows = np.arange(len(ys))
    first = far.argmax(1)
    dy = dy[rows, first][far.any(1)]
    dx = dx[rows, first][far.any(1)]
    # Plain walls resemble themselves at any offset: edges and patterns say more.
    contrast = patches.reshape(len(ys), 3, -1).std(2).mean(1)
    frequent = np.zeros((2 * height + 1, 2 * width + 1), np.float32)
    np.add.at(frequent, (height + dy, width + dx), contrast[far.any(1)])
    frequent += frequent[::-1, ::-1]  # resemblance is symmetric
    frequent = cv2.GaussianBlur(frequent, (0, 0), _HISTOGRAM_BLUR)
    peaks = np.nonzero((frequent == cv2.dilate(frequent, np.ones((5, 5), np.uint8))) & (frequent > 0))
    order = np.argsort(-frequent[peaks], kind="stable")
    return [(int(peaks[0][i]) - height, int(peaks[1][i]) - width) for i in order]


def squared_distance(colours: Array, references: Array) -> Array:
    """Return squared distances (...) of colours (..., 3)."""
    difference = colours - references
    return np.asarray(np.einsum("...i,...i->...", difference, difference))  # np.sum over a short axis is much slower


def choose_offsets(image: Array, usable: Mask, hole: Mask, offsets: Index) -> Index:
    """Choose an offset for each missing pixel.

    Args:
        image: (h, w, 3) float32, grey levels.
        usable: (h, w) bool. The pixels that may be copied.
        hole: (h, w) bool. The pixels to fill.
        offsets: (K, 2) int64, pixels. The candidates.

    Returns:
        (h, w) int64. Rows of `offsets`; -1 outside the hole.
    """
    field = _Field(image, usable, hole, offsets)
    for label in range(len(offsets)):
        field.expand(label)
    numbers = np.full(hole.shape, -1, np.int64)
    numbers[hole] = field.labels
    return numbers


class _Field:
    """The random field: missing pixels, numbered row by row, their labels and costs."""

    def __init__(self, image: Array, usable: Mask, hole: Mask, offsets: Index) -> None:
        number = np.full(hole.shape, -1, np.int64)
        number[hole] = np.arange(hole.sum())
        # Pairs of missing pixels side by side, and one above the other.
        first = []
        second = []
        for start, end in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
            both = (start >= 0) & (end >= 0)
            first.append(start[both])
            second.append(end[both])
        self.first = np.concatenate(first)
        self.second = np.concatenate(second)
        # What each offset shows at each missing pixel, and what it costs there: its difference from what surrounds
        # the hole, and a change of height, as things at one height resemble each other.
        colours = []
        admissible = []
        costs = []
        box = (2 * _RIM + 1,) * 2
        for dy, dx in offsets.tolist():
            copy = _shifted(image, dy, dx)
            known = _shifted(usable, dy, dx)
            error = squared_distance(copy, image) * (usable & known)
            rim = cv2.boxFilter(error, -1, box, normalize=False, borderType=cv2.BORDER_CONSTANT) / box[0]
            cost = rim + _HEIGHT_COST * np.float32(dy / hole.shape[0]) ** 2
            colours.append(copy[hole])
            admissible.append(known[hole])
            costs.append(np.where(known, cost, _UNUSABLE)[hole])
        self.colours = np.array(colours)
        self.allowed = np.array(admissible)
        self.costs = np.array(costs)  # (K, N, ...)
        self.pixels = np.arange(len(self.costs[0]))
        self.labels: Index = self.costs.argmin(0)
        self.seams = self._seams(self.labels[self.first], self.labels[self.second])

    def _seams(self, first_labels: Index | int, second_labels: Index | int) -> Array:
        """Return the cost (E,) of each pair's labels: how much their copies differ at both pixels."""
        at_first, at_second = (
            squared_distance(self.colours[first_labels, pixels], self.colours[second_labels, pixels])
            for pixels in (self.first, self.second)
        )
        return np.where(first_labels == second_labels, np.float32(0), at_first + at_second)

    def expand(self, label: int) -> None:
        """Give the label to the pixels that lower the total cost most."""
        active = self.allowed[label] & (self.labels != label)
        if not active.any():
            return
        first = self.first
        second = self.second
        stay = self.seams
        second_moves = self._seams(self.labels[first], label)
        first_moves = self._seams(label, self.labels[second])
        # The energy as a sum over the moving pixels and, for pairs that may both move, a cost of only the second
        # moving (Kolmogorov and Zabih 2004); negative ones of these, rare, count as none.
        both_active = active[first] & active[second]
        only_first = active[first] & ~active[second]
        only_second = active[second] & ~active[first]
        gain = (self.costs[label] - self.costs[self.labels, self.pixels]).astype(np.float64)
        for pixels, pairs, change in (
            (first, both_active, first_moves - stay),
            (second, both_active, -first_moves),
            (first, only_first, first_moves - stay),
            (second, only_second, second_moves - stay),
        ):
            gain += np.bincount(pixels[pairs], change[pairs], len(gain))
        if (gain[active] >= 0).all():
            return
        split = np.maximum(first_moves + second_moves - stay, 0)[both_active]
        moving = np.flatnonzero(active)[_cut(active, gain, first[both_active], second[both_active], split)]
        labels = self.labels.copy()
        labels[moving] = label
        seams = self._seams(labels[first], labels[second])
        costs = self.costs[labels, self.pixels] - self.costs[self.labels, self.pixels]
        if costs.sum(dtype=np.float64) + (seams - stay).sum(dtype=np.float64) < 0:
            self.labels = labels
            self.seams = seams


def _cut(active: Mask, gain: Array, first: Index, second: Index, split: Array) -> Mask:
    """Choose the active pixels to move by a minimum cut: `gain` (N,) each, `split` (E,) if only the second moves."""
    count = int(active.sum())
    node = np.cumsum(active) - 1
    source = count
    sink = count + 1
    gain = gain[active]
    dear = gain > 0
    rows = np.concatenate([node[first], np.full(dear.sum(), source), np.flatnonzero(~dear)])
    columns = np.concatenate([node[second], np.flatnonzero(dear), np.full((~dear).sum(), sink)])
    capacities = np.minimum(np.rint(np.concatenate([split, np.abs(gain[dear]), np.abs(gain[~dear])])), _CAPACITY)
    graph = csr_matrix((capacities.astype(np.int32), (rows, columns)), shape=(count + 2, count + 2))
    residual = graph - maximum_flow(graph, source, sink).flow
    residual.data = (residual.data > 0).astype(np.int32)
    residual.eliminate_zeros()
    moves = np.ones(count + 2, bool)
    moves[breadth_first_order(residual, source, return_predecessors=False)] = False
    return moves[:count]
