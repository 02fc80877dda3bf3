"""Calibrations in JSON: this package's `cameras.json`, which each take has, and other programs' files.

Panoptic    `cameras` with `K`, `distCoef` (k1 k2 p1 p2 k3), `R`, `t` in centimetres, world to camera, y down:
            matlab/PoseProject2D.m, CMU-Perceptual-Computing-Lab/panoptic-toolbox@246ebcfe
aniposelib  a list of tables, or an object of them, as in TOML (`toml_files`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.atomic import write_json
from humanpose_cli.io.calibrations.cameras import CalibratedCamera, Calibration, build_calibration, build_camera
from humanpose_cli.io.calibrations.toml_files import calibration_of_tables
from humanpose_cli.io.text_files import json_object

SCHEMA_VERSION = 1
FORMAT = "humanpose-cli cameras"
_FIELDS = ("name", "size", "matrix", "distortion", "rotation", "translation")


def write_calibration(path: Path | str, cameras: Iterable[CalibratedCamera]) -> None:
    """Write `cameras.json`; equal cameras give equal bytes, and reading returns the exact numbers.

    Args:
        path: The file.
        cameras: The cameras, with translations in metres and z up in the world.

    Raises:
        InputError: If names are equal, or if `read_calibration` would refuse the file.
    """
    path = Path(path)
    records = [{field: _plain(getattr(camera, field)) for field in _FIELDS} for camera in cameras]
    document = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "unit": "m", "up": "z", "cameras": records}
    read_json_calibration(path, document)
    write_json(path, document)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def read_json_calibration(path: Path, document: Any) -> Calibration:
    """Read the calibration of the file's JSON document. Raises InputError if it is damaged, or of a newer version."""
    if isinstance(document, list):
        return calibration_of_tables(path, {str(number): table for number, table in enumerate(document)})
    document = json_object(path, document)
    version, records = document.get("schema_version"), document.get("cameras")
    if isinstance(records, list) and records and all(isinstance(r, dict) and "K" in r for r in records):
        return build_calibration(path, (_panoptic_camera(path, record) for record in records), "cm")
    if any(isinstance(table, dict) and "matrix" in table for table in document.values()):
        return calibration_of_tables(path, document)
    if document.get("format") != FORMAT:
        keys = ", ".join(map(str, document))[:80]
        expected = f'"format": "{FORMAT}", or a calibration of aniposelib or Panoptic'
        raise InputError(path, "is no calibration file", expected=expected, got=keys)
    if version != SCHEMA_VERSION:
        expected, got = str(SCHEMA_VERSION), repr(version)[:40]
        raise InputError(path, "is of another version", expected=expected, got=got, remedy="update humanpose-cli")
    if not isinstance(records, list) or (document.get("unit"), document.get("up")) != ("m", "z"):
        raise InputError(path, "is damaged", expected='a list of cameras, "unit": "m" and "up": "z"')
    return build_calibration(path, (_camera(path, record) for record in records), "m", "z")


def _camera(path: Path, record: Any) -> CalibratedCamera:
    if not isinstance(record, dict) or (missing := [field for field in _FIELDS if field not in record]):
        problem = f"holds a camera without {', '.join(missing)}" if isinstance(record, dict) else "is damaged"
        raise InputError(path, problem, expected=f"cameras with {', '.join(_FIELDS)}")
    return build_camera(path, **{field: record[field] for field in _FIELDS}, centre_offset=0.0)


def _panoptic_camera(path: Path, record: Mapping[str, Any]) -> CalibratedCamera:
    if missing := [field for field in ("name", "R", "t") if field not in record]:
        raise InputError(path, f"holds a camera without {', '.join(missing)}", expected="cameras of Panoptic")
    return build_camera(
        path,
        record["name"],
        size=record.get("resolution"),
        matrix=record["K"],
        distortion=record.get("distCoef"),
        rotation=record["R"],
        translation=record["t"],
    )
