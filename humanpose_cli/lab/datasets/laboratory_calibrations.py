"""Calibration files of takes: those of `io.calibrations`, and Human3.6M's and MPI-INF-3DHP's own."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.text_files import read_text
from humanpose_cli.files.xml_files import MAX_CALIBRATION, parse_xml
from humanpose_cli.io.calibrations import CalibratedCamera, Calibration, read_calibration
from humanpose_cli.io.calibrations.cameras import WRITE_TABLES, Array, build_calibration, build_camera

H36M_CAMERAS = ("54138969", "55011271", "58860488", "60457274")
"""In the order of Human3.6M's metadata.xml."""
H36M_FIRST_PIXEL = -0.5
"""Offset of Human3.6M's principal points: in MATLAB, the centre of the first pixel is (1, 1)."""
_SKELETOOL = "Skeletool Camera Calibration File"  # the beginning of MPI-INF-3DHP's camera.calibration
_SUBJECTS = 11  # in metadata.xml, also subjects without public poses


def read_take_calibration(path: Path) -> Calibration:
    """Read a file as `read_calibration` does, or Human3.6M's metadata.xml or MPI-INF-3DHP's camera.calibration."""
    if path.is_dir():
        return read_calibration(path)
    start = read_text(path, kind="calibration", remedy=WRITE_TABLES, limit=MAX_CALIBRATION).lstrip()
    if start.startswith(_SKELETOOL):
        return _read_skeletool(path, start)
    if start.startswith("<") and (root := parse_xml(path)).find("w0") is not None:
        return _read_h36m(path, root)
    return read_calibration(path)


def h36m_numbers(path: Path, root: ElementTree.Element) -> tuple[Array, Array]:
    """Read Human3.6M's cameras from the 300 numbers in the field w0 of metadata.xml.

    Returns:
        Extrinsics (4, 11, 6) for each camera and subject: three angles of R = R_x R_y R_z and the position in
        millimetres, x_camera = R (x − position). Lenses (4, 9): two focal lengths, principal point, k1 k2 k3, p1 p2.

    Raises:
        InputError: If the field is missing or damaged.
    """
    try:
        numbers = np.array([float(number) for number in root.findtext("w0", "").strip().strip("[]").split()])
    except ValueError as error:
        raise InputError(path, f"is no readable metadata.xml ({error})") from error
    cameras = len(H36M_CAMERAS)
    count = cameras * (_SUBJECTS * 6 + 9)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(path, "has an unusable field w0", expected=f"{count} numbers", got=str(len(numbers)))
    poses, lenses = np.split(numbers, [cameras * _SUBJECTS * 6])
    return poses.reshape(cameras, _SUBJECTS, 6), lenses.reshape(cameras, 9)


def h36m_rotation(angles: Array) -> Array:
    """Compose the rotation (3, 3) from world axes to camera axes from three angles in radians."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("XYZ", angles).as_matrix())


def _read_h36m(path: Path, root: ElementTree.Element) -> Calibration:
    """Read Human3.6M's cameras of all subjects, named S1/54138969 to match a video's folder and name.

    One term of their tangential distortion is half of OpenCV's: the difference is below 0.3 pixels.
    """
    extrinsics, lenses = h36m_numbers(path, root)
    cameras = []
    for name, poses, (fx, fy, cx, cy, k1, k2, k3, p1, p2) in zip(H36M_CAMERAS, extrinsics, lenses, strict=True):
        for subject, pose in enumerate(poses, 1):
            rotation = h36m_rotation(pose[:3])
            camera = build_camera(
                path,
                f"S{subject}/{name}",
                size=None,
                matrix=[[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
                distortion=[k1, k2, p1, p2, k3],
                rotation=rotation,
                translation=-rotation @ pose[3:],
                centre_offset=H36M_FIRST_PIXEL,
            )
            cameras.append(camera)
    return build_calibration(path, cameras, "mm", "z")


def _read_skeletool(path: Path, text: str) -> Calibration:
    """Read MPI-INF-3DHP's camera.calibration of a sequence: cameras 0 to 13, millimetres.

    After the first line, each camera has lines of a word and its values: name, sensor, size, animated, intrinsic and
    extrinsic (4 × 4 by rows), radial.
    """
    cameras: list[dict[str, list[str]]] = []
    for line in text.splitlines()[1:]:
        word, *values = line.split() or [""]
        if word == "name":
            cameras.append({})
        if word and not cameras:
            raise InputError(path, "is damaged", expected="name, after the first line", got=word[:40])
        if word:
            cameras[-1][word] = values
    return build_calibration(path, (_skeletool_camera(path, values) for values in cameras), "mm")


def _skeletool_camera(path: Path, values: dict[str, list[str]]) -> CalibratedCamera:
    name = " ".join(values["name"])
    if missing := [word for word in ("size", "intrinsic", "extrinsic") if word not in values]:
        raise InputError(path, f"lacks {', '.join(missing)} of camera {name}")
    if any(_number(value) for value in values.get("radial", ())):
        raise InputError(f"{path} (camera {name}): radial", "is of another model", expected="0")
    intrinsic, extrinsic = (_matrix(path, name, word, values[word]) for word in ("intrinsic", "extrinsic"))
    return build_camera(
        path,
        name,
        size=[_number(value) for value in values["size"]],
        matrix=intrinsic[:3, :3],
        distortion=None,
        rotation=extrinsic[:3, :3],
        translation=extrinsic[:3, 3],
    )


def _matrix(path: Path, name: str, word: str, values: list[str]) -> Array:
    numbers = np.array([_number(value) for value in values])
    if numbers.shape != (16,) or not np.isfinite(numbers).all():
        raise InputError(f"{path} (camera {name}): {word}", "is damaged", expected="16 numbers", got=f"{len(values)}")
    return numbers.reshape(4, 4)


def _number(text: str) -> float:
    """Parse a number; NaN, which no field takes, for anything else."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
