"""Calibrated cameras, and the camera of each video of a take."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.files.checks import checked_array
from humanpose_cli.files.value_limits import LIMITS, check_image_sizes
from humanpose_cli.io.image_sequences import natural_order

Array = NDArray[np.float64]

CENTRES_FROM_CORNER = 0.5
"""Difference to OpenCV's principal points, which count from the first pixel's centre, not from its corner."""
UNITS: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Lengths of units in metres."""
MAX_CAMERAS = 1000
"""Maximum number of cameras; the largest known studios have some 500."""
WRITE_TABLES = (
    "write TOML with a table a camera: [NAME], size, matrix (3 × 3), distortions (k1 k2 p1 p2 k3), rotation "
    "(axis-angle, world to camera) and translation"
)
"""The remedy for files that cannot be read."""
_LENGTHS = (0, 4, 5, 8, 12, 14)  # of OpenCV's distortion vectors
_TURNABLE = 8  # length of distortion vectors without thin prisms and tilts, which have directions
_MAX_DISTORTION = 1e6  # rational models have hundreds; beyond it, numbers are damaged
_ROTATION_TOLERANCE = 1e-3
_SKEW_TOLERANCE = 1e-6  # of the focal length
_MAX_LISTED = 8  # cameras that a message names
_SAME_SHAPE = 0.01  # maximum difference of two ratios of width to height
_SOLVER = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)  # evaluations, pixels


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """One camera that stands still.

    Attributes:
        name: Name in the file.
        size: (width, height) of its images in pixels; None if unknown.
        matrix: (3, 3) float, pixels. Focal lengths and principal point, (0, 0) at the corner of the first pixel.
        distortion: (D,) float. OpenCV's k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]]; zeros for a pinhole camera.
        rotation: (3, 3) float. Rotation from world axes to camera axes (x right, y down, z forward).
        translation: (3,) float, metres or the calibration's unknown unit. x ↦ rotation x + translation.
        turns: Quarter turns clockwise of the images as its program shows them; the other fields describe the unturned
            images.
    """

    name: str
    size: tuple[int, int] | None
    matrix: Array
    distortion: Array
    rotation: Array
    translation: Array
    turns: int = 0

    @property
    def centre(self) -> Array:
        """(3,) float. Position of the camera in world axes."""
        return -self.rotation.T @ self.translation

    def scaled(self, size: tuple[int, int], video: str) -> CalibratedCamera:
        """Scale the camera to images of another resolution, which may be turned as its program shows them.

        Args:
            size: (width, height) of the images in pixels.
            video: Name of their file, for the error.

        Returns:
            The camera.

        Raises:
            InputError: If the images have other proportions.
        """
        if self.size is None or self.size == size:
            return replace(self, size=size)
        is_turned = (self.size[0] < self.size[1]) != (size[0] < size[1])
        if is_turned and self.turns % 2 and len(self.distortion) <= _TURNABLE:
            return self.turned().scaled(size, video)
        if abs(self.size[0] / self.size[1] - size[0] / size[1]) > _SAME_SHAPE:
            expected, got = ("{} × {} pixels".format(*sides) for sides in (self.size, size))
            raise InputError(video, f"is not what camera {self.name} was calibrated for", expected=expected, got=got)
        matrix = self.matrix.copy()
        matrix[:2] *= size[0] / self.size[0]
        return replace(self, size=size, matrix=matrix)

    def turned(self) -> CalibratedCamera:
        """Return the camera of the turned images, with no turns left."""
        camera = self
        for _ in range(self.turns % 4):  # a quarter clockwise: a pixel (x, y) of (W, H) comes to (H − y, x)
            assert camera.size is not None
            (fx, _, cx), (_, fy, cy) = camera.matrix[:2]
            p1, p2 = camera.distortion[2:4]
            turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
            camera = replace(
                camera,
                size=camera.size[::-1],
                matrix=np.array([[fy, 0, camera.size[1] - cy], [0, fx, cx], [0, 0, 1]]),
                distortion=np.concatenate((camera.distortion[:2], (p2, -p1), camera.distortion[4:])),
                rotation=turn @ camera.rotation,
                translation=turn @ camera.translation,
            )
        return replace(camera, turns=0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The cameras of one calibration file.

    Attributes:
        cameras: The cameras by name, in the file's order; in metres unless the unit is unknown.
        unit: Unit of the file's lengths: m, cm or mm; None if unknown.
        up: The world's axis that points up; None if unknown.
        notes: Sentences about ambiguities of the file and how they were resolved.
    """

    cameras: Mapping[str, CalibratedCamera]
    unit: str | None
    up: str | None = None
    notes: tuple[str, ...] = field(default=())


class MatchedCameras(NamedTuple):
    """The cameras of several videos.

    Attributes:
        cameras: One camera for each video, in the videos' order.
        note: A sentence if they were matched by their order, not by names; otherwise empty.
    """

    cameras: list[CalibratedCamera]
    note: str = ""


def build_camera(
    path: Path,
    name: Any,
    *,
    size: Any,
    matrix: Any,
    distortion: Any,
    rotation: Any,
    translation: Any,
    centre_offset: float = CENTRES_FROM_CORNER,
    turns: int = 0,
) -> CalibratedCamera:
    """Build a camera from a file's values, in the file's unit of length.

    Args:
        path: The file, for errors.
        name: Name of the camera.
        size: Width and height, whole numbers of pixels; None if unknown.
        matrix: (3, 3), pixels. Focal lengths and principal point.
        distortion: OpenCV's distortion vector; None or empty for none.
        rotation: (3, 3), or (3,) axis-angle in radians. Rotation from world axes to camera axes.
        translation: (3,), the file's unit. Translation after the rotation.
        centre_offset: Pixels to add to the principal point: 0.5 if the first pixel's centre is (0, 0).
        turns: Quarter turns clockwise of the images as the program shows them.

    Returns:
        The camera.

    Raises:
        InputError: If a field is invalid; it names the field.
    """
    where = f"{path} (camera {name})"
    if not isinstance(name, str) or not name.strip():
        raise InputError(path, "holds a camera without a name", expected="text", got=repr(name)[:40])
    intrinsic = _numbers(matrix, f"{where}: matrix", (3, 3), largest=LIMITS["focal"].high)
    _check_intrinsic(f"{where}: matrix", intrinsic)
    intrinsic[:2, 2] += centre_offset
    coefficients = _numbers(
        [] if distortion is None else distortion, f"{where}: distortion", (None,), largest=_MAX_DISTORTION
    )
    if coefficients.size not in _LENGTHS:
        expected = "4, 5, 8, 12 or 14 numbers, as OpenCV orders them"
        raise InputError(f"{where}: distortion", "is of another model", expected=expected, got=str(coefficients.size))
    return CalibratedCamera(
        name,
        None if size is None else _size(f"{where}: size", size),
        intrinsic,
        coefficients if coefficients.size else np.zeros(5),
        _rotation(f"{where}: rotation", rotation),
        _numbers(translation, f"{where}: translation", (3,), largest=LIMITS["world_to_camera"].high),
        turns,
    )


def _numbers(value: Any, where: str, shape: Sequence[int | None] | None, *, largest: float | None = None) -> Array:
    """Convert nested lists or an array of numbers to a checked array; flat if `shape` has one side."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:  # lists of unequal lengths
        raise InputError(where, "is damaged", expected="numbers", got=reason_of(error)[:80]) from error
    if array.size and array.dtype.kind not in "iuf":
        raise InputError(where, "is damaged", expected="numbers", got=repr(value)[:40])
    array = array.astype(np.float64)
    return checked_array(array.ravel() if shape and len(shape) == 1 else array, where, shape, largest=largest)


def _check_intrinsic(where: str, matrix: Array) -> None:
    fx, fy = matrix[0, 0], matrix[1, 1]
    lowest = LIMITS["focal"].low
    if not (fx >= lowest and fy >= lowest and np.array_equal(matrix[2], (0, 0, 1)) and matrix[1, 0] == 0):
        got = " ".join(f"{number:g}" for number in matrix.ravel())
        raise InputError(where, "is no camera matrix", expected="fx 0 cx 0 fy cy 0 0 1 with positive fx, fy", got=got)
    if abs(matrix[0, 1]) > _SKEW_TOLERANCE * fx:
        remedy = "calibrate without skew, which OpenCV's model does not have"
        raise InputError(where, "has skewed pixels", expected="0", got=f"{matrix[0, 1]:g}", remedy=remedy)


def _size(where: str, size: Any) -> tuple[int, int]:
    sides = _numbers(size, where, (2,))
    if not np.array_equal(sides, np.round(sides)):
        raise InputError(where, "is no image size", expected="whole numbers of pixels", got=str(sides.tolist()))
    check_image_sizes(sides[None], where)
    return int(sides[0]), int(sides[1])


def _rotation(where: str, rotation: Any) -> Array:
    array = _numbers(rotation, where, None, largest=1e3)
    if array.size == 3:
        return np.asarray(cv2.Rodrigues(array.reshape(3))[0], np.float64)
    if array.size != 9:
        raise InputError(where, "has the wrong shape", expected="3 × 3 or 3 numbers", got=str(array.shape))
    matrix = array.reshape(3, 3)
    error = np.abs(matrix @ matrix.T - np.eye(3)).max()
    if error > _ROTATION_TOLERANCE or np.linalg.det(matrix) < 0:
        fault = "a reflection" if error <= _ROTATION_TOLERANCE else f"columns off by {error:.3g}"
        raise InputError(where, "is no rotation", expected="an orthogonal matrix, determinant 1", got=fault)
    return matrix


def build_calibration(
    path: Path, cameras: Iterable[CalibratedCamera], unit: str | None, up: str | None = None, notes: Sequence[str] = ()
) -> Calibration:
    """Convert cameras in a file's unit of length to a calibration in metres.

    Args:
        path: The file, for errors.
        cameras: The cameras.
        unit: A key of `UNITS`; None if unknown.
        up: The world's axis that points up; None if unknown.
        notes: Sentences for the user.

    Returns:
        The calibration.

    Raises:
        InputError: If there are no cameras, more than `MAX_CAMERAS`, or equal names.
    """
    by_name: dict[str, CalibratedCamera] = {}
    names: set[str] = set()
    for camera in cameras:
        if len(by_name) == MAX_CAMERAS:
            raise InputError(path, "holds too many cameras", expected=f"at most {MAX_CAMERAS:,}")
        if camera.name.casefold() in names:
            raise InputError(path, f"holds two cameras named {camera.name}", remedy="give each camera another name")
        by_name[camera.name] = camera
        names.add(camera.name.casefold())
    if not by_name:
        raise InputError(path, "holds no cameras")
    if (scale := UNITS[unit or "m"]) != 1:
        by_name = {name: replace(c, translation=c.translation * scale) for name, c in by_name.items()}
    return Calibration(by_name, unit, up, tuple(notes))


def undistorted(points: NDArray[Any], camera: CalibratedCamera, focal: float | None = None) -> Array:
    """Map pixels of a camera's images to pixels of a pinhole camera with its principal point.

    This inverts OpenCV's projection to a billionth of a pixel if the model can be inverted. It may be wrong far outside
    the image, because the distortion folds there.

    Args:
        points: (..., 2), pixels. The points.
        camera: The camera.
        focal: Focal length of the pinhole camera in pixels; None for the focal lengths of `camera.matrix`.

    Returns:
        (..., 2) float64, pixels. The points in the pinhole camera.
    """
    pixels = np.asarray(points, np.float64)
    pinhole = camera.matrix.copy()
    if focal is not None:
        pinhole[0, 0] = pinhole[1, 1] = focal
    if not pixels.size or (not camera.distortion.any() and np.array_equal(pinhole, camera.matrix)):
        return pixels.copy()
    flat = np.ascontiguousarray(pixels.reshape(-1, 1, 2))
    pinhole_points = cv2.undistortPoints(flat, camera.matrix, camera.distortion, P=pinhole, criteria=_SOLVER)
    return np.asarray(pinhole_points, np.float64).reshape(pixels.shape)


def matched_cameras(
    calibration: Calibration, names: Sequence[str], sizes: Sequence[tuple[int, int]] | None = None
) -> MatchedCameras:
    """Find the camera of each of several videos.

    A camera belongs to the video with its name, ignoring case and suffix, otherwise to the only video with a name that
    contains its name. Numbers and single letters must match completely: camera 1 belongs to `view_1.mp4`, not to
    `view_12.mp4`, A to `walk_A.mp4`. If a name matches at several positions, the position counts at which the rest is
    equal in most names, as `take3_cam` in `take3_cam1` to `take3_cam4`. A camera S1/cam2 belongs to a video with cam2
    in its name and S1 among its folders.

    If no name matches and there are as many videos as cameras, they are matched in order, or in the order of the
    numbers if names differ only by numbers; a note says so. Cameras without a video are left out.

    Args:
        calibration: The calibration.
        names: File names of the videos, with or without suffix and folders.
        sizes: (width, height) of their images, to which the cameras are scaled; None does not scale them.

    Returns:
        The cameras.

    Raises:
        InputError: If a video has no camera or several, a camera has several videos, or images have other proportions.
    """
    if sizes is not None:
        subset = matched_cameras(calibration, names)
        triples = zip(subset.cameras, sizes, names, strict=True)
        return subset._replace(cameras=[camera.scaled(size, name) for camera, size, name in triples])
    cameras = list(calibration.cameras.values())
    matches = _candidates(calibration, names)
    first_matches = [candidates[0] for candidates in matches if len(candidates) == 1]
    if len(first_matches) == len(names) == len({camera.name for camera in first_matches}):
        return MatchedCameras(first_matches)
    if not any(matches) and len(names) == len(cameras):
        rows = list(range(len(names)))
        if len({re.sub(r"\d+", "", PurePath(name).stem.casefold()) for name in names}) == 1:
            rows.sort(key=lambda row: natural_order(names[row]))
        camera_of_row = dict(zip(rows, cameras, strict=True))
        cameras = [camera_of_row[row] for row in range(len(names))]
        pairs = ", ".join(f"{PurePath(names[row]).name} is {camera.name}" for row, camera in camera_of_row.items())
        return MatchedCameras(cameras, f"the videos' names do not match the cameras', so their order decides: {pairs}")
    camera_list = ", ".join(list(calibration.cameras)[:_MAX_LISTED]) + (", …" if len(cameras) > _MAX_LISTED else "")
    expected, remedy = f"a video of each name of the cameras {camera_list}", "name the videos after the cameras"
    raise InputError("calibration", "does not match the videos", expected=expected, got=", ".join(names), remedy=remedy)


def takes_of(calibration: Calibration, names: Sequence[str]) -> dict[str, list[int]]:
    """Group a folder's videos by take: the names of a take differ by the cameras' names.

    `Walking 1.cam2.mp4` belongs to the take `Walking 1`.

    Args:
        calibration: The calibration.
        names: File names of the videos.

    Returns:
        Rows of the videos by take. If each camera has one video, or if a video has no camera, there is one take with
        the name "".
    """
    matches = _candidates(calibration, names)
    if any(len(candidates) != 1 for candidates in matches):
        return {"": list(range(len(names)))}
    cameras = [candidates[0].name for candidates in matches]
    if len(set(cameras)) == len(cameras):
        return {"": list(range(len(names)))}
    takes: dict[str, list[int]] = {}
    for row, (name, camera) in enumerate(zip(names, cameras, strict=True)):
        takes.setdefault(_without_camera(PurePath(name).stem, camera.rpartition("/")[2]), []).append(row)
    return takes


def _without_camera(stem: str, camera: str) -> str:
    """Remove the camera from a video's name."""
    # Case-folded names may be longer.
    matches = list(re.finditer(_pattern(camera), stem, re.IGNORECASE))
    return (stem[: matches[-1].start()] + stem[matches[-1].end() :]).strip(" ._-") if matches else ""


def _candidates(calibration: Calibration, names: Sequence[str]) -> list[list[CalibratedCamera]]:
    """List the possible cameras of each video."""
    cameras = list(calibration.cameras.values())
    paths = [PurePath(name.casefold()) for name in names]
    equal = [[c for c in cameras if c.name.casefold() in (path.name, path.stem)] for path in paths]
    exact_names = {camera.name for candidates in equal for camera in candidates}
    unmatched = [camera for camera in cameras if camera.name not in exact_names]
    matches = [[] if exact else _matches(path, unmatched) for exact, path in zip(equal, paths, strict=True)]
    counts = Counter(rest for partial in matches for rest in {rest for _, _, rest in partial})
    candidates = []
    for exact, partial in zip(equal, matches, strict=True):
        # The last match with the most frequent rest; all matches if no two videos share a rest.
        best = max((counts[rest], start) for start, _, rest in partial) if partial else (1, 0)
        selected = [c for start, c, rest in partial if best[0] == 1 or (counts[rest], start) == best]
        candidates.append(exact or list({camera.name: camera for camera in selected}.values()))
    return candidates


def _matches(path: PurePath, cameras: Sequence[CalibratedCamera]) -> list[tuple[int, CalibratedCamera, str]]:
    """List (position, camera, rest of the name) for each name of a camera in a video's name."""
    return [
        (match.start(), camera, f"{path.stem[: match.start()]}|{path.stem[match.end() :]}")
        for camera in cameras
        if _belongs(path, camera.name)
        for match in re.finditer(_pattern(camera.name.casefold().rpartition("/")[2]), path.stem)
    ]


def _belongs(path: PurePath, camera: str) -> bool:
    """Return whether a video's name contains a camera's name, and its folders the folders before that."""
    *folders, name = camera.casefold().split("/")
    return re.search(_pattern(name), path.stem) is not None and set(folders) <= set(path.parts[:-1])


def _pattern(name: str) -> str:
    """Build a regular expression for a camera's name; numbers and single letters match completely."""
    if len(name) == 1 and name.isalpha():  # Anipose's `cam_regex = '_([A-Z])$'`: anipose/common.py, lambdaloop/anipose
        return rf"(?<![^\W_]){name}(?![^\W_])"
    prefix = r"(?<!\d)" if name[:1].isdecimal() else ""
    suffix = r"(?!\d)" if name[-1:].isdecimal() else ""
    return f"{prefix}{re.escape(name)}{suffix}"
