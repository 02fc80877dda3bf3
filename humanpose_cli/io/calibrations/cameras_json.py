"""The calibration file of this package, `cameras.json`, which every take of several cameras has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.atomic import write_json
from humanpose_cli.io.calibrations.cameras import (
    CalibratedCamera,
    Calibration,
    build_calibration,
    build_camera,
)

SCHEMA_VERSION = 1
FORMAT = "humanpose-cli cameras"
_FIELDS = ("name", "size", "matrix", "distortion", "rotation", "translation")


def write_calibration(path: Path | str, cameras: Iterable[CalibratedCamera]) -> None:
    """Write `cameras.json`: the same bytes for the same cameras, whose numbers reading gives back exactly.

    cameras  with translations in metres and a world whose z is up

    Raises InputError for equal names and for what `read_calibration` would refuse.
    """
    path = Path(path)
    records = [
        {
            "name": camera.name,
            "size": None if camera.size is None else list(camera.size),
            "matrix": camera.matrix.tolist(),
            "distortion": camera.distortion.tolist(),
            "rotation": camera.rotation.tolist(),
            "translation": camera.translation.tolist(),
        }
        for camera in cameras
    ]
    document = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "unit": "m", "up": "z", "cameras": records}
    read_json_calibration(path, document)
    write_json(path, document)


def read_json_calibration(path: Path, document: Mapping[str, Any]) -> Calibration:
    """Read the calibration of the file's JSON document. Raises InputError if it is damaged, or of a newer version."""
    version, records = document.get("schema_version"), document.get("cameras")
    if document.get("format") != FORMAT:
        keys = ", ".join(map(str, document))[:80]
        raise InputError(path, "is no calibration file", expected=f'"format": "{FORMAT}"', got=keys)
    if version != SCHEMA_VERSION:
        remedy = "update humanpose-cli"
        raise InputError(
            path, "is of another version", expected=f"{SCHEMA_VERSION}", got=repr(version)[:40], remedy=remedy
        )
    if not isinstance(records, list) or (document.get("unit"), document.get("up")) != ("m", "z"):
        raise InputError(path, "is damaged", expected='a list of cameras, "unit": "m" and "up": "z"')
    return build_calibration(path, [_camera(path, record) for record in records], "m", "z")


def _camera(path: Path, record: Any) -> CalibratedCamera:
    if not isinstance(record, dict) or (missing := [field for field in _FIELDS if field not in record]):
        problem = f"holds a camera without {', '.join(missing)}" if isinstance(record, dict) else "is damaged"
        raise InputError(path, problem, expected=f"cameras with {', '.join(_FIELDS)}")
    return build_camera(path, **{field: record[field] for field in _FIELDS}, centre_offset=0.0)
