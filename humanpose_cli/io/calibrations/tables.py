"""Calibrations with a table of each camera, as JSON or TOML: this package's `cameras.json` and other programs' files.

A table has a name, the size (width, height), a matrix (3, 3), distortions (k1 k2 p1 p2 [k3]), and the rotation, (3, 3)
or axis-angle, and translation from world axes to OpenCV's camera axes; `_KEYS` has the names of the fields.

Ours       `cameras.json` of each take: metres, z up, pixels from the first pixel's corner
Pose2Sim   `toml_write` of Pose2Sim/calibration.py: metres, `fisheye = false` in every table. Its world has z up:
           results are turned from z up to y up (`zup2yup`). perfanalytics/pose2sim@003a7ada. Files that were converted
           from Qualisys' have distortions divided by 64 (see `qualisys`); they cannot be recognised
Anipose    `Camera.get_dict` of aniposelib/cameras.py: the unit of the board's squares, which its documentation has in
           millimetres; no axis is up. lambdaloop/aniposelib@00a2ac87. In JSON also AIST++'s `camera` folder, a list:
           aist_plusplus/loader.py, google/aistplusplus_api@2dd7b3e9
FreeMoCap  the same, and `[metadata]` with `charuco_square_size` ("in millimeters (or your preferred unity of length)";
           1 if the user did not say) and `groundplane_calibration`: true where the board lay on the ground, z up.
           freemocap/freemocap@ddf6f4f2, later versions have the latter
Caliscope  `CameraArray.to_toml` of src/caliscope/cameras/camera_array.py: the tables are in `[cameras]`, named by
           `cam_id`; metres; `rotation_count` quarter turns clockwise in which it shows a camera; cameras without a pose
           are left out: it may be the text "null". mprib/caliscope@ddda95b4
Panoptic   `cameras` with `K`, `distCoef`, `R`, `t` in centimetres, y down: matlab/PoseProject2D.m,
           CMU-Perceptual-Computing-Lab/panoptic-toolbox@246ebcfe
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.calibrations.cameras import (
    CENTRES_FROM_CORNER,
    MAX_CAMERAS,
    UNITS,
    WRITE_TABLES,
    CalibratedCamera,
    Calibration,
    build_calibration,
    build_camera,
)
from humanpose_cli.outputs.atomic import write_json

SCHEMA_VERSION = 1
FORMAT = "humanpose-cli cameras"
_KEYS = {
    "size": ("size", "resolution"),
    "matrix": ("matrix", "K", "camera_matrix"),
    "distortion": ("distortion", "distortions", "distCoef", "dist", "dist_coeffs", "distortion_coefficients"),
    "rotation": ("rotation", "R", "rvec"),
    "translation": ("translation", "t", "T", "tvec"),
}
_NEEDED = ("matrix", "rotation", "translation")
_OURS = ("name", *_KEYS)


def write_calibration(path: Path | str, cameras: Iterable[CalibratedCamera]) -> None:
    """Write `cameras.json`; equal cameras give equal bytes, and reading returns the exact numbers.

    Args:
        path: The file.
        cameras: The cameras, with translations in metres and z up in the world.

    Raises:
        InputError: If names are equal, or if `read_calibration` would refuse the file.
    """
    path = Path(path)
    records = [{field: _plain(getattr(camera, field)) for field in _OURS} for camera in cameras]
    document = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "unit": "m", "up": "z", "cameras": records}
    read_tables(path, document)
    write_json(path, document)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def read_tables(path: Path, document: Any) -> Calibration:
    """Read the calibration of a JSON or TOML document. Raises InputError if it is damaged, or of a newer version.

    Users may add `unit = "m"`, "cm" or "mm" to `[metadata]`.
    """
    if isinstance(document, list):
        document = {str(number): table for number, table in enumerate(document)}
    if not isinstance(document, dict):
        raise InputError(path, "holds no cameras", got=type(document).__name__, remedy=WRITE_TABLES)
    if document.get("format") == FORMAT:
        return _ours(path, document)
    listed, notes = document.get("cameras"), []
    tables = {key: table for key, table in document.items() if isinstance(table, dict)}
    if isinstance(listed, dict):
        tables |= {key: table for key, table in listed.items() if isinstance(table, dict)}
    elif isinstance(listed, list):
        tables = {str(number): table for number, table in enumerate(listed) if isinstance(table, dict)}
    tables = {key: table for key, table in tables.items() if any(name in table for name in _KEYS["matrix"])}
    if isinstance(listed, dict | list):
        complete = {key: table for key, table in tables.items() if not _missing(table)}
        if missing := len(listed) - len(complete):
            notes.append(f"{path}: {missing} of {len(listed)} cameras are not calibrated and left out")
        tables = complete
    if not tables:
        got = ", ".join(map(str, document))[:80]
        raise InputError(path, "is no calibration file", expected="tables of cameras", got=got, remedy=WRITE_TABLES)
    stated = document.get("metadata")
    metadata = stated if isinstance(stated, dict) else {}
    # Only Pose2Sim writes `fisheye = false`.
    of_pose2sim = all(table.get("fisheye") is False for table in tables.values()) and "error" in metadata
    of_panoptic = isinstance(listed, list) and all("K" in table for table in tables.values())
    of_caliscope = isinstance(listed, dict) and any("rotation_count" in table for table in tables.values())
    usual = "cm" if of_panoptic else "m" if of_pose2sim or of_caliscope else None
    unit = metadata.get("unit", usual)
    if unit is not None and (not isinstance(unit, str) or unit not in UNITS):
        raise InputError(f"{path} (unit)", "is unknown", expected=", ".join(UNITS), got=repr(unit)[:40])
    up = "z" if of_pose2sim or metadata.get("groundplane_calibration") is True else None
    refuse_many(path, len(tables))
    return build_calibration(path, (_camera(path, key, table) for key, table in tables.items()), unit, up, notes)


def _missing(table: Mapping[str, Any]) -> list[str]:
    return [field for field in _NEEDED if all(table.get(key) in (None, "null") for key in _KEYS[field])]


def refuse_many(path: Path, count: int) -> None:
    """Raise InputError for more than `MAX_CAMERAS` cameras, before they are built."""
    if count > MAX_CAMERAS:
        raise InputError(path, "holds too many cameras", expected=f"at most {MAX_CAMERAS:,}", got=f"{count:,}")


def _ours(path: Path, document: Mapping[str, Any]) -> Calibration:
    version, records = document.get("schema_version"), document.get("cameras")
    if version != SCHEMA_VERSION:
        expected, got = str(SCHEMA_VERSION), repr(version)[:40]
        raise InputError(path, "is of another version", expected=expected, got=got, remedy="update humanpose-cli")
    if not isinstance(records, list) or (document.get("unit"), document.get("up")) != ("m", "z"):
        raise InputError(path, "is damaged", expected='a list of cameras, "unit": "m" and "up": "z"')
    for record in records:
        if not isinstance(record, dict) or (missing := [field for field in _OURS if field not in record]):
            problem = f"holds a camera without {', '.join(missing)}" if isinstance(record, dict) else "is damaged"
            raise InputError(path, problem, expected=f"cameras with {', '.join(_OURS)}")
    refuse_many(path, len(records))
    cameras = (_camera(path, "", record, centre_offset=0.0) for record in records)
    return build_calibration(path, cameras, "m", "z")


def _camera(
    path: Path, key: str, table: Mapping[str, Any], *, centre_offset: float = CENTRES_FROM_CORNER
) -> CalibratedCamera:
    name = table.get("name", key)
    name = name if isinstance(name, str) or not key else str(name)
    if missing := _missing(table):
        remedy = "calibrate the cameras' poses too" if "rotation" in missing else ""
        raise InputError(f"{path} (camera {name})", f"lacks {', '.join(missing)}", remedy=remedy)
    if table.get("fisheye", False) is not False:
        problem, expected = "has a fisheye lens, which is not supported", "OpenCV's model with k1 k2 p1 p2 k3"
        raise InputError(f"{path} (camera {name})", problem, expected=expected, remedy="undistort its video first")
    turns, sides = table.get("rotation_count"), [table[side] for side in ("width", "height") if side in table]
    if len(sides) == 2 and "size" not in table:  # of the user's own
        table = {"size": sides, **table}
    return build_camera(
        path,
        name,
        **{field: next((table[key] for key in keys if key in table), None) for field, keys in _KEYS.items()},
        centre_offset=centre_offset,
        turns=int(turns) % 4 if isinstance(turns, int) else 0,
    )
