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
# Metres of people if the unit is guessed as cm, because adults in inches or squares of 2 or 3 cm look smaller.
_MIN_HEIGHT_IN_CM = 0.9
_HEIGHT_ERROR = 1.25  # factor by which the height in a calibration may differ from the user's
_SMALL_PERSON = 300.0  # pixels; landmarks of smaller people are less exact relative to their height
# Limits that a wrong calibration exceeds. Correct calibrations of a real man have 0.01 and 0.24.
_MAX_DISTANCE = 0.04  # of landmarks, as a share of a person's height
_MAX_DIFFERENCE = 0.5  # between a body's shape and the one of a single view, as a share of its size
_DOUBTFUL = 0.5  # share of these limits above which other orders of the cameras are tried
_BETTER = 0.5  # of the contradiction of the current order, below which another order is right
_NEARER = 0.33  # of the landmarks' distance of the current order, below which another order is right,
# if it is small as a share of height, too: right orders have 0.005 or less, those of a camera 0.4 m off 0.02 or more.
_NEAR = 0.012
_MAX_ORDERS = 200  # that are tried
_MIN_JOINTS = 6  # of a body that is compared
_COMMON = [name for name in SMPL24.joint_names if name in [BLAZEPOSE33.joint_names[row] for row in LANDMARKS]]
_JOINTS = list(SMPL24.indices(_COMMON))
_LIMBS = [LANDMARKS.index(row) for row in BLAZEPOSE33.indices(_COMMON)]


@dataclass(frozen=True, eq=False)
class CalibratedViews:
    """The calibrated camera of each view, followed by the other cameras of the calibration.

    Attributes:
        cameras: The calibrated cameras, scaled to the views' images.
        views: The same cameras without distortion, in the axes of the first one.
        to_first: (4, 4). From a world whose y axis points down to the first camera's axes. None if the way up is
            unknown.
        unit: The unit of the calibration's lengths. None if unknown.
        notes: Sentences for the user.
        height: Metres. The height of the largest person, if the user gives it.
    """

    cameras: list[CalibratedCamera]
    views: list[ViewCamera]
    to_first: Array | None
    unit: str | None
    notes: tuple[str, ...]
    height: float | None = None

    def pinhole(self, fits: Sequence[Fit]) -> list[Fit]:
        """Remove the lens distortion from the keypoints of the single fits."""
        result = []
        for fit, camera, view in zip(fits, self.cameras, self.views, strict=False):
            keypoints = fit.keypoints2d.copy()
            keypoints[..., :2] = undistorted(fit.keypoints2d[..., :2], camera, view.focal).astype(np.float32)
            result.append(replace(fit, keypoints2d=keypoints))
        return result

    def in_unit_of_people(self, cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> CalibratedViews:
        """Change the unit of length to one in which somebody has a human height.

        If there is no such unit, as with the squares of a board, people get the size of their single fits.

        Args:
            cameras: The cameras of the views that are used.
            people: The people that these views show.
        """
        rows = [row[np.isfinite(row)] for row in _compare(cameras, people).sizes]
        sizes = [(float(np.median(row)), person.leg) for row, person in zip(rows, people, strict=True) if len(row)]
        if not sizes:
            return self
        unit_in_metres = UNITS[self.unit or "m"]
        heights = [size * leg * _BODY_IN_LEGS / unit_in_metres for size, leg in sizes]  # in the file's unit

        def is_height(unit: str) -> bool:
            min_height = _MIN_HEIGHT_IN_CM if unit == "cm" != self.unit else MIN_HEIGHT
            limits = (min_height, MAX_HEIGHT)
            if self.height is not None:
                limits = (self.height / _HEIGHT_ERROR, self.height * _HEIGHT_ERROR)
            return any(limits[0] <= height * UNITS[unit] <= limits[1] for height in heights)

        name = next(filter(is_height, dict.fromkeys((self.unit or "m", *UNITS))), None)
        if name is not None and name == self.unit:
            return self
        factor = 1 / sizes[0][0] if name is None else UNITS[name] / unit_in_metres
        note = f"calibration: a person is {heights[0]:.4g} of its units tall, which are {name or 'no m, cm or mm'}"
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
        """Check that the views agree with the calibration.

        Args:
            names: The names of all views.
            used: The numbers of the views that are used.
            cameras: The cameras of these views, with their clocks.
            before: The people, on clocks that do not depend on the calibration.
            after: The people, on the clocks of the cameras.

        Raises:
            InputError: If they contradict each other. The message says which cameras are exchanged.
        """
        # If clocks follow a wrong calibration, a view may have no moment in common with others.
        current = max((_compare(cameras, people) for people in (after, before)), key=_Comparison.count_views)
        if current.contradiction <= _DOUBTFUL:
            return
        best = current
        best_order = tuple(used)
        for order in islice(self._orders(used), _MAX_ORDERS):
            reordered = [replace(self.views[n], offset=camera.offset) for n, camera in zip(order, cameras, strict=True)]
            if (comparison := _compare(reordered, before)).contradiction < best.contradiction:
                best = comparison
                best_order = order
        problem = "contradicts the videos"
        distance = _MAX_DISTANCE
        remedy = "calibrate again or leave out `calibration`; if the clocks are wrong, give `offsets`"
        if best.contradiction < min(_BETTER * current.contradiction, 1.0) and (
            best.distance < min(_NEARER * current.distance, _NEAR)
        ):
            pairs = [(names[row], self.cameras[n].name) for row, n in zip(used, best_order, strict=True) if row != n]
            problem = "names other cameras: " + ", ".join(
                f"{view} shows what camera {name} does" for view, name in pairs
            )
            distance = best.distance
            remedy = "rename the videos or the cameras"
        elif current.contradiction <= 1:
            return
        expected = (
            f"landmarks that meet within {distance:.1%} of a person's height, and bodies as each camera shows them"
        )
        got = f"{current.distance:.1%}, and bodies that differ by {current.difference:.0%}"
        raise InputError("calibration", problem, expected=expected, got=got, remedy=remedy)

    def _orders(self, used: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Yield other cameras for the used views: all orders if there are few, else those with one exchange."""
        count = len(self.views)
        if perm(count, len(used)) <= _MAX_ORDERS:
            yield from permutations(range(count), len(used))
            return
        for row, view in enumerate(used):
            for camera in set(range(count)).difference(used[: row + 1]):
                yield tuple({view: camera, camera: view}.get(number, number) for number in used)


class _Comparison(NamedTuple):
    """How V calibrated cameras agree with the people in their images. Each view counts with the person who agrees best.

    Attributes:
        distance: Share of a person's height. The median distance of a view's landmarks from the triangulated ones, of
            the worst view.
        difference: Share of size. The median difference between bodies' shapes and the single fits' shapes.
        sizes: (P, V). The sizes of bodies relative to the single fits. NaN if a view shows no body.
    """

    distance: float
    difference: float
    sizes: Array

    def count_views(self) -> int:
        """Count the views with bodies that other views show, too."""
        return int(np.isfinite(self.sizes).any(0).sum())

    @property
    def contradiction(self) -> float:
        """How much speaks against the cameras. More than 1 is too much."""
        return float(np.hypot(self.distance / _MAX_DISTANCE, self.difference / _MAX_DIFFERENCE))


def _compare(cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> _Comparison:
    distances, differences, sizes = np.full((3, len(people), len(cameras)), np.nan)
    for row, (points, person) in enumerate(zip(*triangulated_people(cameras, people), strict=True)):
        for view, camera in enumerate(cameras):
            visible = person.weights[view] > 0
            complete = visible[:, _LIMBS].sum(1) >= _MIN_JOINTS
            if not complete.any() or person.joints is None:
                continue
            pixels = np.linalg.norm(camera.project(points) - person.points[view], axis=-1)[visible]
            distances[row, view] = np.median(pixels) / max(person.heights[view], _SMALL_PERSON)
            weights = visible[complete][:, _LIMBS, None]
            shape, size = _shape(camera.to_camera(points)[complete][:, _LIMBS], weights)
            single_shape, single_size = _shape(person.joints[view, complete][:, _JOINTS], weights)
            differences[row, view] = np.median(np.linalg.norm(shape - single_shape, axis=(1, 2)))
            sizes[row, view] = np.median(size / single_size)
    common = np.isfinite(sizes).any(0)
    if not common.any():
        return _Comparison(0.0, 0.0, sizes)
    difference = np.median(np.nanmin(differences[:, common], 0))
    return _Comparison(np.nanmin(distances[:, common], 0).max(), difference, sizes)


def _shape(points: Array, weights: Array) -> tuple[Array, Array]:
    """Normalise points (K, C, 3) with weights (K, C, 1) to shapes about their centre, of size 1, and sizes (K,)."""
    about_middle = (points - (points * weights).sum(1, keepdims=True) / weights.sum(1, keepdims=True)) * weights
    sizes = np.linalg.norm(about_middle, axis=(1, 2))
    return about_middle / sizes[:, None, None], sizes


def calibrated_views(
    calibration: Calibration, paths: Sequence[str], sizes: Sequence[tuple[int, int]], height: float | None = None
) -> CalibratedViews:
    """Find the cameras of views by their names.

    Args:
        calibration: The calibration.
        paths: The views' videos, by whose names and folders cameras are found.
        sizes: (width, height) of the views' images.
        height: Metres. The height of the largest person, if known.

    Raises:
        InputError: If a camera is missing, or has images of another shape.
    """
    match = matched_cameras(calibration, paths, sizes)
    cameras = list(match.cameras)
    first = cameras[0]
    names = {camera.name for camera in cameras}
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
        to_first[:3, :3] = first.rotation @ _Z_UP.T
        to_first[:3, 3] = first.translation
    notes = [*calibration.notes, *([match.note] if match.note else [])]
    if any(camera.distortion.any() for camera in match.cameras):
        notes.append("lens distortion is taken off the keypoints; overlays show cameras without distortion")
    return CalibratedViews(cameras, views, to_first, calibration.unit, tuple(notes), height)


def calibration_of(fit: Fit) -> list[CalibratedCamera]:
    """Convert the cameras of a take that do not move to a world whose z axis points up."""
    cameras = []
    for camera in fit.cameras:
        if camera.is_moving:
            continue
        matrix = camera.world_to_camera[0]
        focal = float(camera.focal[0])
        x, y = camera.principal_point[0].tolist()
        width, height = camera.image_size[0].tolist()
        intrinsic = np.array(((focal, 0.0, x), (0.0, focal, y), (0.0, 0.0, 1.0)))
        rotation = matrix[:3, :3] @ _Z_UP
        cameras.append(CalibratedCamera(camera.name, (width, height), intrinsic, np.zeros(5), rotation, matrix[:3, 3]))
    return cameras
