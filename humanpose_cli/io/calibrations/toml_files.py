"""Calibrations of Pose2Sim, Anipose and FreeMoCap: TOML with a table for each camera.

A table has `name`, `size` (width, height), `matrix` (3, 3), `distortions` (k1 k2 p1 p2 [k3]), `rotation` (axis-angle,
world to camera, as cv2.Rodrigues reads it) and `translation`, camera axes of OpenCV; `[metadata]` is no camera.

Pose2Sim   `toml_write` of Pose2Sim/calibration.py: metres, `fisheye = false` in every table. Its world has z up:
           results are turned from z up to y up (`zup2yup`). perfanalytics/pose2sim@003a7ada
Anipose    `Camera.get_dict` of aniposelib/cameras.py: the unit of the board's squares, which its documentation has in
           millimetres; no axis is up. lambdaloop/aniposelib@00a2ac87
FreeMoCap  the same, and `[metadata]` with `charuco_square_size` ("in millimeters (or your preferred unity of length)";
           1 if the user did not say) and `groundplane_calibration`: true where the board lay on the ground, z up.
           freemocap/freemocap@ddf6f4f2, later versions have the latter

Caliscope  `CameraArray.to_toml` of src/caliscope/cameras/camera_array.py: the tables are in `[cameras]`, named by
           `cam_id`; metres; `rotation_count` quarter turns clockwise in which it shows a camera; cameras without a pose
           are left out: it may be the text "null". mprib/caliscope@ddda95b4

The same tables in JSON, as a list (AIST++'s `camera` folder: aist_plusplus/loader.py, google/aistplusplus_api@2dd7b3e9)
or an object, are read too.

Files of Pose2Sim that were converted from Qualisys' have distortions divided by 64, that is almost none (see
`qualisys`); such files cannot be recognised and are read unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.calibrations.cameras import UNITS, CalibratedCamera, Calibration, build_calibration, build_camera
from humanpose_cli.io.text_files import parse_toml

_FIELDS = ("matrix", "rotation", "translation")


def read_toml_calibration(path: Path, text: str) -> Calibration:
    """Read a calibration from TOML text. Raises InputError if it is none.

    Users may add `unit = "m"`, "cm" or "mm" to `[metadata]`.
    """
    try:
        document = parse_toml(text)
    except ValueError as error:
        got = str(error)[:120]
        raise InputError(path, "is no calibration file that can be read", expected="TOML", got=got) from error
    return calibration_of_tables(path, document)


def calibration_of_tables(path: Path, document: Mapping[str, Any]) -> Calibration:
    """Read a calibration from tables of cameras. Raises InputError if there is none."""
    notes = []
    camera_tables = document.get("cameras")
    of_caliscope = isinstance(camera_tables, dict)
    if isinstance(camera_tables, dict):
        entries = [(key, table) for key, table in camera_tables.items() if isinstance(table, dict)]
        complete = {
            key: {"name": str(key), **table}
            for key, table in entries
            if all(table.get(field) not in (None, "null") for field in _FIELDS)
        }
        document = {**document, **complete}
        if missing := len(camera_tables) - len(complete):
            notes.append(f"{path}: {missing} of {len(camera_tables)} cameras are not calibrated and left out")
    tables = {key: table for key, table in document.items() if isinstance(table, dict) and "matrix" in table}
    if not tables:
        raise InputError(path, "holds no cameras", expected="tables with name, matrix, rotation and translation")
    metadata = document.get("metadata", {})
    metadata = metadata if isinstance(metadata, dict) else {}
    cameras = [_camera(path, key, table) for key, table in tables.items()]
    # Only Pose2Sim writes `fisheye = false`.
    of_pose2sim = all(table.get("fisheye") is False for table in tables.values()) and "error" in metadata
    up = "z" if of_pose2sim or metadata.get("groundplane_calibration") is True else None
    return build_calibration(path, cameras, _unit(path, metadata, in_metres=of_pose2sim or of_caliscope), up, notes)


def _unit(path: Path, metadata: Mapping[str, Any], *, in_metres: bool) -> str | None:
    unit = metadata.get("unit", "m" if in_metres else None)
    if unit is not None and (not isinstance(unit, str) or unit not in UNITS):
        raise InputError(f"{path} (unit)", "is unknown", expected=", ".join(UNITS), got=repr(unit)[:40])
    return unit


def _camera(path: Path, key: str, table: Mapping[str, Any]) -> CalibratedCamera:
    name = table.get("name", key)
    if missing := [field for field in _FIELDS if field not in table]:
        remedy = "calibrate the cameras' poses too" if "rotation" in missing else ""
        raise InputError(f"{path} (camera {name})", f"lacks {', '.join(missing)}", remedy=remedy)
    if table.get("fisheye", False) is not False:
        problem, expected = "has a fisheye lens, which is not supported", "OpenCV's model with k1 k2 p1 p2 k3"
        raise InputError(f"{path} (camera {name})", problem, expected=expected, remedy="undistort its video first")
    return build_camera(
        path,
        name if isinstance(name, str) else str(name),
        size=table.get("size"),
        matrix=table["matrix"],
        distortion=table.get("distortions"),
        rotation=table["rotation"],
        translation=table["translation"],
        turns=int(table["rotation_count"]) % 4 if isinstance(table.get("rotation_count"), int) else 0,
    )
