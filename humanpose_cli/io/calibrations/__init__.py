"""Calibration files of several cameras.

`read_calibration` recognises files by their contents: `cameras.json`, Pose2Sim, Anipose, FreeMoCap, Caliscope, OpenCV,
EasyMocap, Qualisys, Panoptic and AIST++.

Lengths are in metres if the file or its format states a unit, otherwise in the file's unit, which `hpc combine` finds
from the people. Poses map world axes to camera axes (x right, y down, z forward). Pixels begin with (0, 0) at the
corner of the first pixel; in OpenCV (0, 0) is its centre, so that principal points are half a pixel less.
"""

from __future__ import annotations

import re
from pathlib import Path

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.text_files import parse_json, parse_toml, read_text
from humanpose_cli.files.xml_files import MAX_CALIBRATION, parse_xml
from humanpose_cli.io.calibrations.cameras import (
    WRITE_TABLES,
    CalibratedCamera,
    Calibration,
    MatchedCameras,
    matched_cameras,
    takes_of,
    undistorted,
)
from humanpose_cli.io.calibrations.opencv_files import read_easymocap_folder, read_opencv_calibration
from humanpose_cli.io.calibrations.qualisys import read_qualisys_calibration
from humanpose_cli.io.calibrations.tables import read_tables, refuse_many, write_calibration

__all__ = [
    "CalibratedCamera",
    "Calibration",
    "MatchedCameras",
    "matched_cameras",
    "read_calibration",
    "takes_of",
    "undistorted",
    "write_calibration",
]

_HEAD = 8192  # characters
_OTHERS = {  # what their files hold → programs whose files are not read
    "Kalibr": re.compile(r"^\s*(T_cn_cnm1|cam_overlaps|camera_model):", re.MULTILINE),
    "MC-Calib": re.compile(r"^nb_camera:", re.MULTILINE),
    "COLMAP": re.compile(r"^# (Camera|Image) list|^\d+ (SIMPLE_|OPENCV|PINHOLE|RADIAL)", re.MULTILINE),
    "Vicon (.xcp)": re.compile(r"<Cameras[\s>].*<Camera ", re.DOTALL),
}


def read_calibration(path: Path | str) -> Calibration:
    """Read the cameras of a calibration file, or of a folder with EasyMocap's intri.yml and extri.yml.

    Raises InputError for other or damaged files, impossible lenses and cameras, equal names, and files above 64 MiB or
    nested deeper than 100 levels.
    """
    path = Path(path)
    if path.is_dir():
        return read_easymocap_folder(path)
    text = read_text(path, kind="calibration", remedy=WRITE_TABLES, limit=MAX_CALIBRATION)
    start = text.lstrip()
    if not start:
        raise InputError(path, "is empty", expected="a calibration file", remedy=WRITE_TABLES)
    if program := next((name for name, pattern in _OTHERS.items() if pattern.search(start[:_HEAD])), None):
        raise InputError(path, f"is a calibration of {program}, which is not read", remedy=WRITE_TABLES)
    if start.startswith("%YAML"):
        return read_opencv_calibration(path, text)
    if start.startswith("<"):
        return _read_xml(path, text)
    if start.startswith("{") or (start.startswith("[") and start[1:].lstrip().startswith("{")):
        return read_tables(path, parse_json(path, text, remedy=WRITE_TABLES))
    refuse_many(path, text.count("\n["))
    try:
        return read_tables(path, parse_toml(text))
    except ValueError as error:
        problem, got = "is no calibration file that can be read", str(error)[:120]
        raise InputError(path, problem, expected="TOML, JSON, YAML or XML", got=got, remedy=WRITE_TABLES) from error


def _read_xml(path: Path, text: str) -> Calibration:
    root = parse_xml(path)
    if root.tag == "opencv_storage":
        return read_opencv_calibration(path, text)
    if root.find(".//cameras/camera") is None:
        expected, got = "OpenCV's or Qualisys' XML", f"<{root.tag[:40]}>"
        raise InputError(path, "is no calibration file", expected=expected, got=got, remedy=WRITE_TABLES)
    return read_qualisys_calibration(path, root)
