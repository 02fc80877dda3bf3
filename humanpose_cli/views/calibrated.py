"""Calibrated cameras for the views of a take, and a take's cameras as a calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import permutations
from math import perm

import cv2
import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.options import MAX_HEIGHT, MIN_HEIGHT
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.calibrations import CalibratedCamera, Calibration, matched_cameras, undistorted
from humanpose_cli.io.calibrations.cameras import UNITS
from humanpose_cli.views.cameras import (
    KEYPOINT_NOISE,
    ViewCamera,
    ViewSamples,
    freed_camera,
    landmark_cost,
    reprojection,
    triangulated_people,
)
from humanpose_cli.views.tracks import STATURE, Array

# Axes of a world whose z axis points up, in one whose y axis points down.
_Z_UP = np.array(((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
_BODY_IN_LEGS = 2.07  # height of the default body, in lengths of its legs along the bones
# Metres of people if the unit is guessed as cm, because adults in inches or squares of 2 or 3 cm look smaller.
_MIN_HEIGHT_IN_CM = 0.9
_HEIGHT_ERROR = 1.25  # factor by which the height in a calibration may differ from the user's
# Evidence per landmark that one camera stands elsewhere, above which a calibration is refused: right ones of a man who
# balances and of one at a desk give up to 0.13, with a camera turned by 5° or moved by 0.2 m 0.36 and more.
_MAX_GAIN = 0.25
_MAX_SIZE_ERROR = 0.15  # of a person's height
_MAX_ORDERS = 200  # that are tried


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
        sizes = _sizes(cameras, people)
        if not sizes:
            return self
        unit_in_metres = UNITS[self.unit or "m"]
        heights = [
            size * person.leg * _BODY_IN_LEGS / unit_in_metres for size, person in zip(sizes, people, strict=True)
        ]  # in the file's unit

        def is_height(unit: str) -> bool:
            min_height = _MIN_HEIGHT_IN_CM if unit == "cm" != self.unit else MIN_HEIGHT
            limits = (min_height, MAX_HEIGHT)
            if self.height is not None:
                limits = (self.height / _HEIGHT_ERROR, self.height * _HEIGHT_ERROR)
            return any(limits[0] <= height * UNITS[unit] <= limits[1] for height in heights)

        name = next(filter(is_height, dict.fromkeys((self.unit or "m", *UNITS))), None)
        if name is not None and name == self.unit:
            return self
        factor = 1 / sizes[0] if name is None else UNITS[name] / unit_in_metres
        note = f"calibration: a person is {heights[0]:.4g} of its units tall, which are {name or 'no m, cm or mm'}"
        resize = np.array(((1, 1, 1, factor),) * 3 + ((1, 1, 1, 1),))
        to_first = None if self.to_first is None else self.to_first * resize
        views = [replace(view, translation=view.translation * factor) for view in self.views]
        return replace(self, views=views, to_first=to_first, unit=name, notes=(*self.notes, note))

    def size_doubts(self, cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> list[str]:
        """Write a sentence if everybody is of another size than the single fits show, or than the user's height."""
        if self.unit is None or not people:
            return []
        heights = np.array([person.leg * _BODY_IN_LEGS for person in people])
        found = heights * _sizes(cameras, people)
        if self.height is not None:  # that of the largest person
            heights, found = np.array([self.height]), found.max(keepdims=True)
        errors = np.abs(found / heights - 1)
        best = int(errors.argmin())
        if errors[best] <= _MAX_SIZE_ERROR:
            return []
        sizes = f"a person is {found[best]:.2f} m tall in it, expected {heights[best]:.2f} m"
        return [f"the calibration may be wrong: {sizes}"]

    def refuse_contradiction(
        self, names: Sequence[str], used: Sequence[int], cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]
    ) -> None:
        """Check that landmarks do not meet clearly better with the cameras in another order, or with one elsewhere.

        Args:
            names: The names of all views.
            used: The numbers of the views that are used.
            cameras: The cameras of these views.
            people: The people of these views.

        Raises:
            InputError: If they do.
        """
        if not people:
            return
        camera, moved, gain = _camera_elsewhere(cameras, people)
        if gain <= _MAX_GAIN:
            return
        before = _pixels(cameras, people, camera)
        expected = "landmarks where the other cameras see them"
        order = min(self._orders(used), key=lambda order: landmark_cost(self._in_order(order, cameras), people))
        if _camera_elsewhere(self._in_order(order, cameras), people)[2] <= _MAX_GAIN:
            exchanged = [(names[row], self.cameras[n].name) for row, n in zip(used, order, strict=True) if row != n]
            found = ", ".join(f"{view} shows what camera {name} does" for view, name in exchanged)
            remedy = "rename the videos or the cameras"
            raise InputError(
                "calibration",
                f"names other cameras: {found}",
                expected=expected,
                got=f"{before:.0f} px away",
                remedy=remedy,
            )
        after = _pixels([*cameras[:camera], moved, *cameras[camera + 1 :]], people, camera)
        turn, shift = _motion(cameras[camera], moved)
        got = f"{before:.0f} px away, {after:.0f} px if the camera is turned by {turn:.0f}° and moved by {shift:.2f} m"
        remedy = "calibrate again or leave out `calibration`; if the clocks are wrong, give `offsets`"
        raise InputError("calibration", f"contradicts {names[used[camera]]}", expected=expected, got=got, remedy=remedy)

    def _in_order(self, order: Sequence[int], cameras: Sequence[ViewCamera]) -> list[ViewCamera]:
        """Return the calibrated cameras in another order, with the clocks of cameras."""
        return [replace(self.views[n], offset=camera.offset) for n, camera in zip(order, cameras, strict=True)]

    def _orders(self, used: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Yield other cameras for the used views: all orders if there are few, else those with one exchange."""
        count = len(self.views)
        if perm(count, len(used)) <= _MAX_ORDERS:
            yield from permutations(range(count), len(used))
            return
        for row, view in enumerate(used):
            for camera in set(range(count)).difference(used[: row + 1]):
                yield tuple({view: camera, camera: view}.get(number, number) for number in used)


def _sizes(cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> list[float]:
    """Measure the size of each person's triangulated landmarks relative to the single fits."""
    result = []
    for points, person in zip(*triangulated_people(cameras, people), strict=True):
        statures = []
        for camera, visible, stature in zip(cameras, person.weights > 0, person.heights, strict=True):
            if visible.any():
                statures.append(np.median(camera.to_camera(points)[visible][:, 2]) * stature / camera.focal)
        result.append(float(np.median(statures)) / STATURE)
    return result


def _camera_elsewhere(cameras: Sequence[ViewCamera], people: Sequence[ViewSamples]) -> tuple[int, ViewCamera, float]:
    """Find the camera that explains most at another place, that place, and the evidence per landmark for it."""
    cost = landmark_cost(cameras, people)
    moved = [freed_camera(cameras, people, row) for row in range(len(cameras))]
    changed = [[*cameras[:row], camera, *cameras[row + 1 :]] for row, camera in enumerate(moved)]
    gains = [cost - landmark_cost(alternative, people) for alternative in changed]
    worst = int(np.argmax(gains))
    return worst, moved[worst], gains[worst]


def _pixels(cameras: Sequence[ViewCamera], people: Sequence[ViewSamples], view: int) -> float:
    """Measure the median distance in pixels of a view's landmarks from the triangulated ones."""
    distances = []
    for person in people:
        _, errors, weights = reprojection(cameras, person)
        distances.append(errors[view][weights[view] > 0] * KEYPOINT_NOISE * person.heights[view])
    return float(np.median(np.concatenate(distances)))


def _motion(first: ViewCamera, second: ViewCamera) -> tuple[float, float]:
    """Measure the turn in degrees and the distance in metres between two cameras."""
    vector = cv2.Rodrigues(second.rotation @ first.rotation.T)[0]
    return float(np.degrees(np.linalg.norm(vector))), float(np.linalg.norm(second.centre - first.centre))


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
