"""Calibrated cameras for the views of a take, and a take's cameras as a calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, permutations
from math import perm
from typing import NamedTuple

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.options import MAX_HEIGHT, MIN_HEIGHT
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.calibrations import CalibratedCamera, Calibration, matched_cameras, undistorted
from humanpose_cli.io.calibrations.cameras import UNITS
from humanpose_cli.views.cameras import ViewCamera, ViewSamples, triangulated_people
from humanpose_cli.views.tracks import LANDMARKS, Array

# Axes of a world whose z axis points up, in one whose y axis points down.
_Z_UP = np.array(((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
_BODY_IN_LEGS = 2.07  # height of the default body, in lengths of its legs along the bones
# Metres of people in centimetres, unless the file says so: adults in inches or squares of 2 or 3 cm look smaller.
_MIN_HEIGHT_IN_CM = 0.9
_HEIGHT_ERROR = 1.25  # factor by which the height in a calibration may differ from what the user says
_SMALL_PERSON = 300.0  # pixels; of smaller ones, landmarks are less exact for their height
# What a wrong calibration exceeds: distance of landmarks, as a share of a person's height; difference between a body's
# shape and the one that a camera alone shows, as a share of its size. Right ones of a real man have .01 and .24.
_MAX_APART, _MAX_DIFFERENCE = 0.04, 0.5
_DOUBTFUL = 0.5  # of these limits: other orders of the cameras are tried
_BETTER, _NEARER = 0.5, 0.33  # of what the current order has, and of its landmarks' distance: another one is right
_MAX_ORDERS = 200
_MIN_JOINTS = 6  # of a body that is compared
_COMMON = [name for name in SMPL24.joint_names if name in [BLAZEPOSE33.joint_names[row] for row in LANDMARKS]]
_JOINTS = list(SMPL24.indices(_COMMON))
_LIMBS = [LANDMARKS.index(row) for row in BLAZEPOSE33.indices(_COMMON)]


@dataclass(frozen=True, eq=False)
class CalibratedViews:
    """The calibrated camera of each view, and behind these the calibration's others.

    to_first (4, 4) a world whose y axis points down to the first camera's axes; None if up is unknown

    Attributes:
        cameras: Of the calibration, scaled to the views' images.
        views: The same without distortion, the first one's axes being the take's.
        unit: Of the calibration's lengths; None if it is unknown.
        notes: Sentences for the user.
        height: Metres of the largest person, if the user knows it.
    """

    cameras: list[CalibratedCamera]
    views: list[ViewCamera]
    to_first: Array | None
    unit: str | None
    notes: tuple[str, ...]
    height: float | None = None

    def pinhole(self, fits: Sequence[Fit]) -> list[Fit]:
        """Replace the keypoints of the single fits by those of cameras without distortion."""
        result = []
        for fit, camera, view in zip(fits, self.cameras, self.views, strict=False):
            keypoints = fit.keypoints2d.copy()
            keypoints[..., :2] = undistorted(fit.keypoints2d[..., :2], camera, view.focal).astype(np.float32)
            result.append(replace(fit, keypoints2d=keypoints))
        return result

    def in_unit_of_people(self, cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> CalibratedViews:
        """Change the unit of length to one in which somebody has a person's height. If there is none, as with a board's
        squares, people have the size of their single fits.

        Args:
            cameras: Of the views that are used, and who they show.
        """
        rows = [row[np.isfinite(row)] for row in _compare(cameras, people).sizes]
        sizes = [(float(np.median(row)), person.leg) for row, person in zip(rows, people, strict=True) if len(row)]
        if not sizes:
            return self
        unit_in_metres = UNITS[self.unit or "m"]
        tall = [size * leg * _BODY_IN_LEGS / unit_in_metres for size, leg in sizes]  # in the file's unit

        def is_height(unit: str) -> bool:
            low, high = _MIN_HEIGHT_IN_CM if unit == "cm" != self.unit else MIN_HEIGHT, MAX_HEIGHT
            if self.height is not None:
                low, high = self.height / _HEIGHT_ERROR, self.height * _HEIGHT_ERROR
            return any(low <= each * UNITS[unit] <= high for each in tall)

        name = next(filter(is_height, dict.fromkeys((self.unit or "m", *UNITS))), None)
        if name is not None and name == self.unit:
            return self
        factor = 1 / sizes[0][0] if name is None else UNITS[name] / unit_in_metres
        note = f"calibration: a person is {tall[0]:.4g} of its units tall, which are {name or 'no m, cm or mm'}"
        resize = np.array(((1, 1, 1, factor),) * 3 + ((1, 1, 1, 1),))
        to_first = None if self.to_first is None else self.to_first * resize
        views = [replace(view, translation=view.translation * factor) for view in self.views]
        return replace(self, views=views, to_first=to_first, unit=name, notes=(*self.notes, note))

    def refuse_contradiction(
        self,
        names: Sequence[str],
        used: Sequence[int],
        cameras: Sequence[ViewCamera],
        before: Sequence[ViewSamples],
        after: Sequence[ViewSamples],
    ) -> None:
        """Raise InputError if what the views show contradicts the calibration; it says which cameras are exchanged.

        Args:
            names: Of all views, of which `used` are used.
            cameras: Of these, with their clocks.
            before: The people, on clocks that do not depend on the calibration; after: on those of the cameras.
        """
        # Clocks that follow a wrong calibration may leave a view no moment in common with others.
        current = max((_compare(cameras, people) for people in (after, before)), key=_Comparison.count_views)
        if current.contradiction <= _DOUBTFUL:
            return
        best, best_order = current, tuple(used)
        for order in islice(self._orders(used), _MAX_ORDERS):
            others = [replace(self.views[n], offset=each.offset) for n, each in zip(order, cameras, strict=True)]
            if (other := _compare(others, before)).contradiction < best.contradiction:
                best, best_order = other, order
        problem, apart = "contradicts the videos", _MAX_APART
        remedy = "calibrate again or leave out `calibration`; if the clocks are wrong, give `offsets`"
        if best.contradiction < min(_BETTER * current.contradiction, 1.0) and best.apart < _NEARER * current.apart:
            pairs = [(names[row], self.cameras[n].name) for row, n in zip(used, best_order, strict=True) if row != n]
            exchange = ", ".join(f"{view} shows what camera {camera} does" for view, camera in pairs)
            problem, apart, remedy = f"names other cameras: {exchange}", best.apart, "rename the videos or the cameras"
        elif current.contradiction <= 1:
            return
        expected = f"landmarks that meet within {apart:.1%} of a person's height, and bodies as each camera shows them"
        got = f"{current.apart:.1%}, and bodies that differ by {current.difference:.0%}"
        raise InputError("calibration", problem, expected=expected, got=got, remedy=remedy)

    def _orders(self, used: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """List other cameras for the views that are used: all of them if these are few, else two exchanged."""
        count = len(self.views)
        if perm(count, len(used)) <= _MAX_ORDERS:
            yield from permutations(range(count), len(used))
            return
        for row, view in enumerate(used):
            for other in set(range(count)).difference(used[: row + 1]):
                yield tuple({view: other, other: view}.get(one, one) for one in used)


class _Comparison(NamedTuple):
    """How V calibrated cameras agree with what they show of people: in each view, with the person who agrees best.

    Attributes:
        apart: The largest distance of landmarks, median of a view, from where all cameras together have them, as a
            share of a person's height.
        difference: That between bodies' shapes and those of the single fits, median of the views, as a share of
            size.
        sizes: (P, V) of bodies, in those of the single fits; NaN where a view shows no body.
    """

    apart: float
    difference: float
    sizes: Array

    def count_views(self) -> int:
        """Count the views of bodies that others show, too."""
        return int(np.isfinite(self.sizes).any(0).sum())

    @property
    def contradiction(self) -> float:
        """How much speaks against the cameras: more than 1 is too much."""
        return float(np.hypot(self.apart / _MAX_APART, self.difference / _MAX_DIFFERENCE))


def _compare(cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> _Comparison:
    apart, differences, sizes = np.full((3, len(people), len(cameras)), np.nan)
    for row, (points, person) in enumerate(zip(*triangulated_people(cameras, people), strict=True)):
        for view, camera in enumerate(cameras):
            visible = person.weights[view] > 0
            complete = visible[:, _LIMBS].sum(1) >= _MIN_JOINTS
            if not complete.any() or person.joints is None:
                continue
            distances = np.linalg.norm(camera.project(points) - person.points[view], axis=-1)[visible]
            apart[row, view] = np.median(distances) / max(person.heights[view], _SMALL_PERSON)
            weights = visible[complete][:, _LIMBS, None]
            shape, size = _shape(camera.to_camera(points)[complete][:, _LIMBS], weights)
            usual, usual_size = _shape(person.joints[view, complete][:, _JOINTS], weights)
            differences[row, view] = np.median(np.linalg.norm(shape - usual, axis=(1, 2)))
            sizes[row, view] = np.median(size / usual_size)
    common = np.isfinite(sizes).any(0)
    if not common.any():
        return _Comparison(0.0, 0.0, sizes)
    return _Comparison(np.nanmin(apart[:, common], 0).max(), np.median(np.nanmin(differences[:, common], 0)), sizes)


def _shape(points: Array, weights: Array) -> tuple[Array, Array]:
    """Reduce points (K, C, 3) that have weights (K, C, 1) to shapes about their middle, of size 1, and sizes (K,)."""
    about_middle = (points - (points * weights).sum(1, keepdims=True) / weights.sum(1, keepdims=True)) * weights
    sizes = np.linalg.norm(about_middle, axis=(1, 2))
    return about_middle / sizes[:, None, None], sizes


def calibrated_views(
    calibration: Calibration, paths: Sequence[str], sizes: Sequence[tuple[int, int]], height: float | None = None
) -> CalibratedViews:
    """Find the cameras of views by their names. Raises InputError if one is missing, or has images of another shape.

    Args:
        paths: Of the views' videos, by whose names and folders cameras are found; sizes: (width, height) of their
            images.
    """
    match = matched_cameras(calibration, paths, sizes)
    cameras = list(match.cameras)
    first, names = cameras[0], {camera.name for camera in cameras}
    for camera in calibration.cameras.values():
        if camera.name not in names:
            with suppress(InputError):  # images of another shape
                cameras.append(camera.scaled(sizes[0], paths[0]))
    views = []
    for camera in cameras:
        turn = camera.rotation @ first.rotation.T
        centre = (float(camera.matrix[0, 2]), float(camera.matrix[1, 2]))
        shift = camera.translation - turn @ first.translation
        assert camera.size is not None
        views.append(ViewCamera(turn, shift, float(camera.matrix[0, 0]), centre, camera.size, fixed_focal=True))
    to_first = None
    if calibration.up == "z":
        to_first = np.eye(4)
        to_first[:3, :3], to_first[:3, 3] = first.rotation @ _Z_UP.T, first.translation
    notes = [*calibration.notes, *([match.note] if match.note else [])]
    if any(camera.distortion.any() for camera in match.cameras):
        notes.append("lens distortion is taken off the keypoints; overlays show cameras without distortion")
    return CalibratedViews(cameras, views, to_first, calibration.unit, tuple(notes), height)


def calibration_of(fit: Fit) -> list[CalibratedCamera]:
    """Convert the cameras of a take that stand still to a world whose z axis points up, as `write_calibration` takes
    them.
    """
    cameras = []
    for camera in fit.cameras:
        if camera.is_moving:
            continue
        matrix = camera.world_to_camera[0]
        focal, (x, y) = float(camera.focal[0]), camera.principal_point[0].tolist()
        width, height = camera.image_size[0].tolist()
        intrinsic = np.array(((focal, 0.0, x), (0.0, focal, y), (0.0, 0.0, 1.0)))
        rotation = matrix[:3, :3] @ _Z_UP
        cameras.append(CalibratedCamera(camera.name, (width, height), intrinsic, np.zeros(5), rotation, matrix[:3, 3]))
    return cameras
