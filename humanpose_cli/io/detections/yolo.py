"""Ultralytics' files: labels (text) and results as JSON.

Labels  NAME.txt of an image, NAME_1.txt … of a video's frames: a line a person with class, x and y of the box's
        centre, width, height, then x, y and score of each joint, all in 0–1 of the image's sides, and perhaps score and
        track (ultralytics/engine/results.py, `Results.save_txt`; engine/predictor.py, `write_results`)
JSON    a list a frame of {"name", "class", "confidence", "box": {x1, y1, x2, y2}, "track_id", "keypoints": {x, y,
        visible}} in pixels or, normalised, in 0–1 (engine/results.py, `Results.to_json` and `summary`)
In both, joints of a score below 0.5 are 0 0 with that score in many versions (`Keypoints.__init__`): they are missing.
COCO's results, which `yolo val` writes, are read by `coco`.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import finite_numbers
from humanpose_cli.io.detections.joint_orders import joints_by_count, to_blazepose
from humanpose_cli.io.detections.records import (
    PEOPLE,
    UNIT,
    UserDetection,
    UserDetections,
    corner_box,
    joint_rows,
    posed_person,
    score_of,
    track_of,
)
from humanpose_cli.io.text_files import read_text

_KIND = "YOLO's labels"
_JSON_KIND = "YOLO's results"
_BOX = 5  # numbers: class and box
_COUNTS = (17, 26, 133, 136, 33, 16)  # of joints, the likeliest first


def is_labels(text: str) -> bool:
    """Return whether a file begins with a line of labels: a class and at least four numbers below 2."""
    tokens = text.lstrip().split("\n", 1)[0].split()
    try:
        numbers = [float(word) for word in tokens]
    except ValueError:
        return False
    return len(numbers) >= _BOX and tokens[0].isdigit() and all(0 <= number < 2 for number in numbers[1:_BOX])


def people_from_labels(path: Path, *, want: str) -> UserDetections:
    """Read the people of one file of labels; want is 'keypoints' or 'box', which is read for every person."""
    # Names of frames are the video's name and their number from 1; numbers alone are names of images.
    detections = UserDetections(path, _KIND, names_image=False, first_frame=int(not path.stem.isdigit()))
    people = detections.mention(path.stem)
    for number, line in enumerate(read_text(path, kind="text").splitlines(), 1):
        person = _person_of_line(f"{path}, line {number}", line, want) if line.strip() else None
        if person is not None:
            people.append(person)
    return detections


def _person_of_line(where: str, line: str, want: str) -> UserDetection | None:
    """Read a person; None for other classes than the first, and if all joints are missing."""
    try:
        values = [float(word) for word in line.split()]
    except ValueError as error:
        raise InputError(where, f"is no line of {_KIND}", expected="numbers", got=repr(line)[:40]) from error
    if len(values) < _BOX:
        raise InputError(where, f"is no line of {_KIND}", expected="class, x, y, width, height", got=repr(line)[:40])
    if values[0] != 0:
        return None
    x, y, width, height = finite_numbers(where, "box", values[1:_BOX], (4,))
    box = corner_box(where, np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]))
    rest = values[_BOX:]
    if want == "box" and len(rest) <= 2:
        score, track = _score_and_track(where, rest)
        return UserDetection(box, None, score, track, UNIT)
    width_of_joint, count = _joints_in(where, len(rest))
    points = joint_rows(where, rest[: count * width_of_joint], width=width_of_joint)
    score, track = _score_and_track(where, rest[count * width_of_joint :])
    if want == "box":
        return UserDetection(box, None, score, track, UNIT)
    keypoints = to_blazepose(_scored(points), joints_by_count(where, _KIND, count))
    return posed_person(keypoints, score, track, box=box, canvas=UNIT)


def _joints_in(where: str, length: int) -> tuple[int, int]:
    """Find numbers per joint and number of joints in `length` numbers, perhaps with score and track at the end."""
    for width, tail, count in product((3, 2), (0, 1, 2), _COUNTS):
        if length == width * count + tail:
            return width, count
    if length <= 2:
        raise InputError(where, f"is a box without joints ({_KIND})", expected="joints", remedy="give it with `boxes`")
    raise InputError(where, f"holds {length} numbers behind the box ({_KIND})", expected="x, y and score of 17 joints")


def _scored(points: np.ndarray) -> np.ndarray:
    """Add scores to joints (K, 2 or 3) x, y and perhaps score; joints at 0 0 have the score 0."""
    scores = points[:, 2] if points.shape[1] == 3 else 1.0
    return np.column_stack((points[:, :2], points[:, :2].any(1) * scores))


def _score_and_track(where: str, rest: list[float]) -> tuple[float, int | None]:
    """Read score and track, one of them, or none, from the end of a line; scores are below 1, tracks count from 1."""
    values = finite_numbers(where, "score", rest, (0, 1, 2))
    score = next((float(value) for value in values[:1] if len(values) == 2 or value < 1), 1.0)
    track = int(values[-1]) if len(values) == 2 or (len(values) and values[0] >= 1) else None
    return score, track


def is_yolo(document: Any) -> bool:
    """Return whether a parsed document is a list of results, or a list of such lists."""
    frames = document if _is_frames(document) else [document]
    people = [person for frame in frames if isinstance(frame, list) for person in frame]
    return bool(people) and all(isinstance(p, dict) and isinstance(p.get("box"), dict) for p in people)


def _is_frames(document: Any) -> bool:
    return isinstance(document, list) and bool(document) and all(isinstance(frame, list) for frame in document)


def people_from_yolo(path: Path, document: Any, *, want: str) -> UserDetections:
    """Read the people of a parsed document: a list of frames, or one list for the image of the file's name."""
    frames = document if _is_frames(document) else [document]
    detections = UserDetections(path, _JSON_KIND, names_image=len(frames) > 1)
    names = {str(person.get("name")).lower() for frame in frames for person in frame}
    by_name = bool(names.intersection(PEOPLE))  # else people are the first class
    for number, frame in enumerate(frames):
        people = detections.mention(number if len(frames) > 1 else path.stem)
        for row, record in enumerate(frame):
            if str(record.get("name")).lower() not in PEOPLE if by_name else record.get("class", 0) != 0:
                continue
            person = _person_of_result(f"{path}, [{number}][{row}]", record, want)
            if person is not None:
                people.append(person)
    return detections


def _person_of_result(where: str, record: dict[str, Any], want: str) -> UserDetection | None:
    box = corner_box(
        where, finite_numbers(where, "box", [record["box"].get(n) for n in ("x1", "y1", "x2", "y2")], (4,))
    )
    canvas = UNIT if np.abs(box).max() <= 1 else None
    score, track = score_of(where, record, "confidence"), track_of(record)
    if want == "box":
        return UserDetection(box, None, score, track, canvas)
    joints = record.get("keypoints")
    if not isinstance(joints, dict):
        raise InputError(where, f"has no keypoints ({_JSON_KIND})", expected="x, y", remedy="give it with `boxes`")
    columns = [joint_rows(where, joints[name], width=1)[:, 0] for name in ("x", "y", "visible") if joints.get(name)]
    if len(columns) < 2 or len({len(column) for column in columns}) != 1:
        raise InputError(where, "has unusable keypoints", expected="lists x, y and visible of one length")
    keypoints = to_blazepose(_scored(np.column_stack(columns)), joints_by_count(where, _JSON_KIND, len(columns[0])))
    return posed_person(keypoints, score, track, box=box, canvas=canvas)
