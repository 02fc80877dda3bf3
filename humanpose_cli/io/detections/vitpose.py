"""easy_ViTPose's JSON: {"keypoints": [{track: [[y, x, score], …]} for each frame], "skeleton": {row: name}}.

Writer: easy_ViTPose's inference.py, with --save-json; its earlier versions have a list of people in place of a table by
track. y stands before x, as `VitInference.postprocess` of easy_ViTPose/inference.py turns them round. The names are
those of `joints_dict` in easy_ViTPose/vit_utils/visualization.py: coco, coco_25, wholebody, mpii and aic, and animals.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.joint_orders import joints_by_name, to_blazepose
from humanpose_cli.io.detections.records import UserDetections, joint_rows, posed_person

_KIND = "easy_ViTPose's keypoints"


def is_vitpose(document: Any) -> bool:
    """Return whether a parsed document looks like easy_ViTPose's."""
    return isinstance(document, dict) and isinstance(document.get("skeleton"), dict) and "keypoints" in document


def people_from_vitpose(path: Path, document: dict[str, Any]) -> UserDetections:
    """Read the people of a parsed document; a single frame is the image of the file's name (`a_result.json` → a)."""
    frames = document["keypoints"]
    frames = [frames] if isinstance(frames, dict) else frames
    if not isinstance(frames, list):
        raise InputError(path, f"has no list of frames ({_KIND})", got=type(frames).__name__)
    names = document["skeleton"]
    joints = joints_by_name(f"{path}, skeleton", _KIND, [str(names.get(str(row), "")) for row in range(len(names))])
    detections = UserDetections(path, _KIND, names_image=len(frames) > 1)
    for number, frame in enumerate(frames):
        people = detections.mention(number if len(frames) > 1 else path.stem.removesuffix("_result"))
        if not isinstance(frame, dict | list):
            raise InputError(f"{path}, [{number}]", "is no frame", expected="people", got=type(frame).__name__)
        entries = frame.items() if isinstance(frame, dict) else [("", values) for values in frame]
        for row, (track, values) in enumerate(entries):
            where = f"{path}, [{number}][{row}]"
            rows = joint_rows(where, values)[:, [1, 0, 2]]
            if len(rows) != len(joints):
                expected = f"{len(joints)} joints, as named"
                raise InputError(where, f"has other joints ({_KIND})", expected=expected, got=str(len(rows)))
            identity = int(track) if re.fullmatch("[0-9]{1,9}", track) else None
            person = posed_person(to_blazepose(rows, joints), None, identity)
            if person is not None:
                people.append(person)
    return detections
