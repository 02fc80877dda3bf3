"""Calibrations of Qualisys Track Manager: `.qca.txt` files, which are XML, and the same within its settings' XML.

A `camera` has a `serial`, which is its name here, and the children `fov_video` (pixels of the sensor that the video
shows), `transform` (millimetres) and `intrinsic`. After `read_qca` of Pose2Sim/calibration.py,
perfanalytics/pose2sim@003a7ada, and evaluation/lbmc.py of flodelaplace/HumanCalib@8eef11a9:

- Lengths of `intrinsic` are in 1/64 pixel, up to `sensorMaxU`, of the unturned and uncropped sensor.
- r11 r12 r13, r21 …: rows of the rotation from world axes to x right, y up, z backward; x, y, z: the camera's position.
- Distortions are OpenCV's k1 k2 p1 p2 k3, without a unit. Pose2Sim divides them by 64, too; HumanCalib does not. That
  they are not to be divided follows from Pose2Sim's example, whose cameras have k1 −0.046, k2 0.14 in its `.qca.txt`
  and −0.053, 0.15 where Pose2Sim calibrates them with a board.
- The world has z up.

Files whose `sensorMaxU` is a number of pixels, such as in IMOVE-23, have pixels, and the rotation and translation from
world to OpenCV's camera axes: evaluation/imove.py of flodelaplace/HumanCalib@01d037b7.

`viewrotation` is how Qualisys Track Manager shows a camera, in degrees; which way is decided by the world's up. Marker
cameras are left out where there are video or hybrid ones. Whether (0, 0) is the first pixel's corner or its centre is
not documented: its corner, because coordinates end at 64 W − 1.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.calibrations.cameras import CalibratedCamera, Calibration, build_calibration, build_camera

_FILMING = ("video", "hybrid")
"""Words in the model names of video cameras; also in `read_qca` of Pose2Sim."""
_ROLLED = 0.5  # sine of a camera's roll above which the world's up decides the direction of the turn
_SUBPIXELS = 64
_WIDEST = 16384  # pixels; larger numbers are in 1/64 pixels
_TO_OPENCV = np.diag([1.0, -1.0, -1.0])  # y up, z backward → y down, z forward


def read_qualisys_calibration(path: Path, root: ElementTree.Element) -> Calibration:
    """Read a calibration from the parsed XML of such a file. Raises InputError if it holds no calibrated cameras."""
    elements = [
        camera
        for camera in root.iter("camera")
        if camera.get("active") != "0" and camera.get("calibrated", "true").lower() != "false"
    ]
    videos = [c for c in elements if any(word in c.get("model", "").lower() for word in _FILMING)]
    cameras = [_camera(path, camera) for camera in videos or elements]
    turned_views = ", ".join(f"{c.name} by {c.turns * 90}°" for c in cameras if c.turns)
    notes = []
    if turned_views:
        notes.append(
            f"{path}: cameras are calibrated as unturned, but shown turned ({turned_views}): upright videos are turned "
            "back where their proportions show it; videos turned by 180° or square ones must be unturned"
        )
    return build_calibration(path, cameras, "mm", "z", notes)


def _camera(path: Path, camera: ElementTree.Element) -> CalibratedCamera:
    name = camera.get("serial", "")
    where = f"{path} (camera {name})"
    intrinsic, transform = camera.find("intrinsic"), camera.find("transform")
    if intrinsic is None or transform is None:
        missing = "intrinsic" if intrinsic is None else "transform"
        raise InputError(where, f"lacks {missing}", expected="a camera that Qualisys Track Manager calibrated")

    def lens(key: str) -> float:
        return _number(where, intrinsic, key)

    unit = _SUBPIXELS if lens("sensorMaxU") > _WIDEST else 1
    column, row, size = _field_of_view(where, camera)
    if size is None:
        size = _sensor(lens("sensorMaxU"), unit), _sensor(lens("sensorMaxV"), unit)
    matrix = [
        [lens("focalLengthU") / unit, lens("skew") / unit, lens("centerPointU") / unit - column],
        [0, lens("focalLengthV") / unit, lens("centerPointV") / unit - row],
        [0, 0, 1],
    ]
    distortion = [
        *(lens(f"radialDistortion{number}") for number in (1, 2)),
        *(lens(f"tangentalDistortion{number}") for number in (1, 2)),
        lens("radialDistortion3"),
    ]
    numbers = [_number(where, transform, f"r{row}{column}") for row in (1, 2, 3) for column in (1, 2, 3)]
    rotation, translation = np.reshape(numbers, (3, 3)), np.array([_number(where, transform, axis) for axis in "xyz"])
    if unit != 1:
        rotation = _TO_OPENCV @ rotation
        translation = -rotation @ translation
    turns = round(_number(where, camera, "viewrotation") / 90) % 4 if camera.get("viewrotation") else 0
    if turns % 2 and abs(rotation[0, 2]) > _ROLLED:  # the world's z points to the left or to the right
        turns = 1 if rotation[0, 2] < 0 else 3
    return build_camera(
        path,
        name,
        turns=turns,
        size=size,
        matrix=matrix,
        distortion=distortion,
        rotation=rotation,
        translation=translation,
        centre_offset=0.0,
    )


def _sensor(largest: float, unit: int) -> float:
    """Return the pixels of a side of the sensor from the largest coordinate: 64 W − 1, 64 W or W."""
    return float(np.ceil(largest / unit))


def _field_of_view(where: str, camera: ElementTree.Element) -> tuple[float, float, tuple[float, float] | None]:
    """Return the first column and row of the sensor in the video, and the video's size, None if unknown."""
    view = camera.find("fov_video")
    if view is None:
        return 0.0, 0.0, None
    left, top, right, bottom = (_number(where, view, side) for side in ("left", "top", "right", "bottom"))
    return left, top, (right - left + 1, bottom - top + 1)


def _number(where: str, element: ElementTree.Element, key: str) -> float:
    text = element.get(key, "")
    try:
        number = float(text)
    except ValueError as error:
        problem = "is damaged" if text else f"lacks {key}"
        raise InputError(f"{where}: {element.tag} {key}", problem, expected="a number", got=text[:40]) from error
    if not np.isfinite(number):
        raise InputError(f"{where}: {element.tag} {key}", "is damaged", expected="a finite number", got=text[:40])
    return number
