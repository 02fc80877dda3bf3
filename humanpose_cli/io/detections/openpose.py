"""JSON of OpenPose and of programs that write its form.

One file an image or frame: {"people": [{"pose_keypoints_2d": [x, y, score, …]}]}. Their writers: OpenPose's
src/openpose/filestream/peopleJsonSaver.cpp (NAME_keypoints.json, NAME_000000000000_keypoints.json); Pose2Sim's
Pose2Sim/poseEstimation.py, `save_to_openpose` (NAME_000000.json, 17, 26 or 133 points; a frame without people is one
person of NaN); it runs rtmlib's networks, as rtmlib and DWPose write no files themselves; comfyui_controlnet_aux's
src/custom_controlnet_aux/dwpose/__init__.py, `encode_poses_as_dict`, saved by node_wrappers/
pose_keypoint_postprocess.py (DWPose and OpenPose nodes: with canvas_width and canvas_height, null for missing parts,
and a list of such documents, one a frame); sd-webui-controlnet's annotator/openpose/__init__.py,
`encode_poses_as_json`, with coordinates that are shares of the image's sides, beyond 0–1 outside it; AlphaPose with
--format open or cmu (alphapose/utils/pPose_nms.py, `write_json`: a table by the images' names, with "bodies" of
"joints").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.joint_orders import joints_by_count, to_blazepose
from humanpose_cli.io.detections.records import (
    UNIT,
    UserDetection,
    UserDetections,
    check_record,
    joint_rows,
    posed_person,
    stated_size,
    track_of,
)

SUFFIX = "_keypoints.json"
_KIND = "OpenPose's people"
_MAX_SHARE = 2  # of the image's sides: joints in shares lie below it, also outside the image
_KEYS = ("pose_keypoints_2d", "pose_keypoints", "joints")


def is_openpose(document: Any) -> bool:
    """Return whether a parsed document has OpenPose's form: one image, a list of frames, or a table by name."""
    if isinstance(document, dict):
        if _has_people(document):
            return True
        return bool(document) and all(_has_people(value) for value in document.values())
    return isinstance(document, list) and bool(document) and all(_has_people(value) for value in document)


def _has_people(document: Any) -> bool:
    return isinstance(document, dict) and any(name in document for name in ("people", "bodies", "animals"))


def people_from_openpose(path: Path, document: Any) -> UserDetections:
    """Read the people of a parsed file.

    People without a name of their image belong to the image that the file is named after (`a_keypoints.json` → a). The
    documents in a list are the frames of a video.
    """
    if isinstance(document, list):
        detections = UserDetections(path, "OpenPose's people of a list of frames", names_image=len(document) > 1)
        for number, frame in enumerate(document):
            detections.mention(number).extend(_people(f"{path}, [{number}]", frame))
    elif _has_people(document):
        name = path.name if path.name.endswith(SUFFIX) else path.stem
        detections = UserDetections(path, _KIND, names_image=path.name.endswith(SUFFIX))
        detections.mention(name.removesuffix(SUFFIX)).extend(_people(str(path), document))
    else:
        detections = UserDetections(path, _KIND)
        for name, image in document.items():
            detections.mention(name).extend(_people(f"{path}, {name!r}", image))
    return detections


def _people(where: str, document: dict[str, Any]) -> list[UserDetection]:
    name = "people" if "people" in document else "bodies"
    if name not in document:  # comfyui_controlnet_aux's AnimalPose nodes
        raise InputError(where, "holds animals (AP-10K)", expected="people")
    records = document[name]
    if not isinstance(records, list):
        raise InputError(where, "holds no people", expected="OpenPose's JSON", got=type(records).__name__)
    canvas = stated_size(document)
    people = (_person(f"{where}, {name}[{number}]", record, canvas) for number, record in enumerate(records))
    return [person for person in people if person is not None]


def _person(where: str, entry: Any, canvas: tuple[float, float] | None) -> UserDetection | None:
    record = check_record(where, entry)
    key = next((name for name in _KEYS if name in record), None)
    if key is None:
        got: Sequence[str] = sorted(map(str, record))
        raise InputError(where, f"has no {_KEYS[0]}", expected="x, y and score of each joint", got=", ".join(got)[:80])
    if not record[key]:  # a face or a hand without a body
        return None
    rows = joint_rows(where, record[key], what=key)
    visible = rows[:, 2] > 0
    if visible.sum() > 2 and np.abs(rows[visible, :2]).max() < _MAX_SHARE:
        if canvas is None:
            remedy = "run OpenPose with --keypoint_scale 0"
            raise InputError(where, "has keypoints scaled to 0–1", expected="pixels", remedy=remedy)
        canvas = UNIT
    joints = joints_by_count(where, _KIND, len(rows), openpose=True)
    return posed_person(to_blazepose(rows, joints), None, track_of(record), canvas=canvas)
