"""Bodies from the side, which shows the distance of each limb and whether people are upright."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.camera import Camera
from humanpose_cli.rendering.overlay import draw_label, draw_overlay

_FAR = 100.0  # extents of the bodies: distance of the camera, nearly without perspective
_FILL = 0.92  # share of the image that bodies take
_GREY = 128  # grey level of the background
_FLOOR = 112  # grey level below the ground
_MAX_GAP = 0.4  # metres without a body between people one behind the other; longer gaps are cut out


@dataclass(frozen=True)
class Gap:
    """A gap in depth without a body, which is cut out of a view.

    Attributes:
        depth: The gap's position in the view, metres.
        metres: The gap's length, metres.
    """

    depth: float
    metres: float


@dataclass(frozen=True)
class SideView:
    """A view from the right of the photograph's image, with its camera to the left: depth runs to the right.

    The axes are x to the right of the photograph, y down and z forward.

    Attributes:
        centre: (3,) float, metres. The point in the middle of the image.
        reach: The distance from there to the image's edges, in depth and in height, metres. An image of another shape
            shows more in one direction.
        grounds: The y of the ground before each gap and behind the last one, which is drawn below it; () for none.
        shifts: By how many metres each track is drawn nearer, so that all people are large.
        gaps: The gaps that are cut out.
    """

    centre: tuple[float, float, float]
    reach: tuple[float, float]
    grounds: tuple[float, ...] = ()
    shifts: Mapping[int, float] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def around(
        cls,
        points: Tensor,
        margin: float = 0.0,
        *,
        track_ids: Sequence[int] | None = None,
        soles: Mapping[int, float] | None = None,
    ) -> SideView:
        """Fit a view to points.

        Args:
            points: (N, K, 3) float, metres. Points that are not finite do not count.
            margin: How far bodies extend beyond the points, metres.
            track_ids: (N,) int. The tracks of the points, between which long gaps are cut out; None: no gap is cut out.
            soles: The y of each track's soles. The lowest ones between two gaps are the ground there, which is in the
                image. None for no ground.
        """
        finite = torch.isfinite(points).all(-1)
        if not finite.any():
            return cls((0.0, 0.0, 1.0), (1.0, 1.0))
        groups, shifts, gaps = list[list[int]](), dict[int, float](), tuple[Gap, ...]()
        if track_ids is not None:
            groups, shifts, gaps = _cut_gaps(points, finite, margin, np.asarray(track_ids))
            nearer = points.new_tensor([shifts[int(track)] for track in track_ids])
            points = points - points.new_tensor((0, 0, 1)) * nearer[:, None, None]
        flat = points[finite]
        low = flat.amin(0)
        high = flat.amax(0)
        grounds = tuple(max(soles[track] for track in group) for group in groups) if soles else ()
        high[1] = max([float(high[1]), *(ground - margin for ground in grounds)])
        x, y, z = ((low + high) / 2).tolist()
        _, height, depth = ((high - low) / 2 + margin).clamp_min(0.1).tolist()
        return cls((x, y, z), (depth / _FILL, height / _FILL), grounds, shifts, gaps)

    def draw(
        self,
        size: tuple[int, int],
        vertices: Tensor,
        faces: Tensor,
        *,
        track_ids: Sequence[int] | None = None,
        hatched: Tensor | None = None,
    ) -> NDArray[np.uint8]:
        """Draw bodies.

        Args:
            size: The width and height, pixels.
            vertices: (P, V, 3) float, metres.
            faces: (F, 3) int32.
            track_ids: As for `draw_overlay`.
            hatched: As for `draw_overlay`.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        nearer = vertices.new_tensor([self.shifts.get(track, 0.0) for track in track_ids or [-1] * len(vertices)])
        x, y, z = (vertices - vertices.new_tensor(self.centre)).unbind(-1)
        distance = _FAR * max(self.reach)
        pixels = min(side / 2 / reach for side, reach in zip(size, self.reach, strict=True))  # of a metre
        camera = Camera.of_image(size, pixels * distance)
        points = torch.stack((z - nearer[:, None], y, distance - x), -1)
        return draw_overlay(self._backdrop(size, pixels), points, faces, camera, track_ids=track_ids, hatched=hatched)

    def _backdrop(self, size: tuple[int, int], pixels: float) -> NDArray[np.uint8]:
        """Draw the ground, and the gaps that are cut out; `pixels` per metre."""
        image = np.full((size[1], size[0], 3), _GREY, np.uint8)
        if not self.grounds:
            return image
        thickness = max(1, round(size[1] / 300))
        cuts = [round(size[0] / 2 + (gap.depth - self.centre[2]) * pixels) for gap in self.gaps]
        for ground, first, end in zip(self.grounds, [0, *cuts], [*cuts, size[0]], strict=True):
            level = round(size[1] / 2 + (ground - self.centre[1]) * pixels)
            image[max(0, level) :, first:end] = _FLOOR
            cv2.line(image, (first, level), (end, level), (_FLOOR - 40,) * 3, thickness)
        for gap, column in zip(self.gaps, cuts, strict=True):
            for start in range(0, size[1], 12 * thickness):
                cv2.line(image, (column, start), (column, start + 6 * thickness), (_FLOOR - 40,) * 3, thickness)
            draw_label(image, f"{gap.metres:.1f} m", (column + 3 * thickness, 3 * thickness))
        return image


@dataclass(frozen=True, eq=False)
class SideViews:
    """The side views of a sequence, one for each shot.

    Attributes:
        faces: (F, 3) int32. The bodies' faces.
        to_upright: (T, 4, 4) float64. From each frame's camera axes to the axes of its shot's view.
        shot_id: (T,) int. The shot of each frame.
        views: The views by shot.
    """

    faces: Tensor
    to_upright: NDArray[np.float64]
    shot_id: NDArray[np.integer]
    views: Mapping[int, SideView]

    def upright(self, vertices: Tensor, frame: int) -> Tensor:
        """Transform points (..., 3), metres in a frame's camera axes, to the axes of its view."""
        matrix = torch.from_numpy(self.to_upright[frame]).to(vertices)
        return vertices @ matrix[:3, :3].mT + matrix[:3, 3]

    def draw(
        self, frame: int, size: tuple[int, int], vertices: Tensor, *, track_ids: Sequence[int], hatched: Tensor
    ) -> NDArray[np.uint8]:
        """Draw the bodies of a frame.

        Args:
            frame: The frame.
            size: The width and height, pixels.
            vertices: (P, V, 3) float, metres in camera axes.
            track_ids: As for `draw_overlay`.
            hatched: As for `draw_overlay`.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        view = self.views[int(self.shot_id[frame])]
        points = self.upright(vertices, frame)
        return view.draw(size, points, self.faces, track_ids=track_ids, hatched=hatched)


def _cut_gaps(
    points: Tensor, finite: Tensor, margin: float, track_ids: NDArray[np.integer]
) -> tuple[list[list[int]], dict[int, float], tuple[Gap, ...]]:
    """Return the tracks between gaps, the shift of each track that shortens gaps to `_MAX_GAP`, and the gaps."""
    spans = []
    for track in np.unique(track_ids).tolist():
        rows = torch.from_numpy(track_ids == track)
        depths = points[rows][finite[rows]][:, 2]
        if len(depths):
            spans.append((float(depths.min()) - margin, float(depths.max()) + margin, track))
    groups: list[list[int]] = [[]]
    shifts = dict.fromkeys(track_ids.tolist(), 0.0)
    gaps = list[Gap]()
    shift = 0.0
    end = min(spans)[0]
    for first, last, track in sorted(spans):
        cut = first - end - _MAX_GAP
        if cut > 0:
            shift += cut
            gaps.append(Gap(end - (shift - cut) + _MAX_GAP / 2, cut + _MAX_GAP))
            groups.append([])
        groups[-1].append(track)
        shifts[track] = shift
        end = max(end, last)
    return groups, shifts, tuple(gaps)
