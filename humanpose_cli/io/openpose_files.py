"""OpenPose's JSON: one file a picture or frame, with BODY_25 or COCO-18 keypoints, turned to coco17 by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.conventions import COCO17
from humanpose_cli.errors import InputError
from humanpose_cli.io.given_people import GivenPeople, GivenPerson, PeopleCollector, finite_numbers, load_json
from humanpose_cli.io.sniffing import reading_error

__all__ = ["people_from_openpose", "people_from_openpose_folder"]

_UPPER = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
_ORDERS = {
    25: (*_UPPER, "pelvis", *_LEGS, *_FACE, *_FEET),  # BODY_25
    18: (*_UPPER, *_LEGS, *_FACE),  # COCO
}
_SUFFIX = "_keypoints.json"


def people_from_openpose(path: Path, document: Any) -> GivenPeople:
    """People of one parsed file; they belong to the picture that the file is named after (`a_keypoints.json` → a)."""
    collector = PeopleCollector(path)
    collector.mention(_picture_name(path)).extend(_people(path, document))
    return collector.collected()


def people_from_openpose_folder(folder: Path) -> GivenPeople:
    """People of all `*_keypoints.json` of a folder, by the name before it, and by frame number for one video's."""
    try:
        files = sorted(file for file in folder.iterdir() if file.name.endswith(_SUFFIX))
    except OSError as error:
        raise reading_error(folder, error) from error
    if not files:
        raise InputError(folder, f"holds no *{_SUFFIX}", expected="what OpenPose's --write_json made")
    numbers = [re.fullmatch(r"(.*?)_?(\d{1,18})", _picture_name(file)) for file in files]
    one_video = len({match[1] if match else None for match in numbers}) == 1
    collector = PeopleCollector(folder)
    for file, match in zip(files, numbers, strict=True):
        people = _people(file, load_json(file))
        collector.mention(_picture_name(file)).extend(people)
        if one_video and match:
            collector.mention(int(match[2])).extend(people)
    return collector.collected()


def _picture_name(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX) if path.name.endswith(_SUFFIX) else path.stem


def _people(path: Path, document: Any) -> list[GivenPerson]:
    records = document.get("people") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise InputError(path, "holds no people", expected="OpenPose's JSON", got=type(document).__name__)
    people = []
    for number, record in enumerate(records):
        where = f"{path}, people[{number}]"
        if not isinstance(record, dict):
            raise InputError(where, "is no record", expected="an object", got=type(record).__name__)
        keypoints = _keypoints(where, record.get("pose_keypoints_2d", record.get("pose_keypoints")))
        found = keypoints[:, 2] > 0
        if found.any():
            people.append(GivenPerson(None, keypoints, float(keypoints[found, 2].mean())))
    return people


def _keypoints(where: str, values: Any) -> np.ndarray:
    """(17, 3) float32 in the order of coco17."""
    numbers = finite_numbers(where, "pose_keypoints_2d", values, tuple(3 * count for count in _ORDERS))
    theirs = numbers.reshape(-1, 3)
    found = theirs[:, 2] > 0
    if found.sum() > 2 and np.abs(theirs[found, :2]).max() <= 1:
        remedy = "run OpenPose with --keypoint_scale 0"
        raise InputError(where, "has keypoints scaled to 0–1", expected="pixels", remedy=remedy)
    order = _ORDERS[len(theirs)]
    keypoints = theirs[[order.index(joint) for joint in COCO17.joint_names]]
    keypoints[:, 2] = np.clip(keypoints[:, 2], 0, 1)
    return keypoints.astype(np.float32)
