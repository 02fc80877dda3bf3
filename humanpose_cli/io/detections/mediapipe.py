"""MediaPipe's pose landmarks as JSON: the result of one image, or a list of results, one a frame.

Landmarks are objects of x, y (0–1 of the image's sides) and visibility, 33 a person. Forms: PoseLandmarkerResult of
MediaPipe Tasks, {"pose_landmarks": [[…], …]} (mediapipe/tasks/python/vision/pose_landmarker.py and
components/containers/landmark.py; "landmarks" of its JavaScript); NormalizedLandmarkList of the older solution,
{"landmark": […]}, as `MessageToDict` writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.joint_orders import joints_by_count, to_blazepose
from humanpose_cli.io.detections.records import UserDetection, UserDetections, check_record, joint_rows, posed_person

_KIND = "MediaPipe's landmarks"
_KEYS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")


def is_mediapipe(document: Any) -> bool:
    """Return whether a parsed document is a result, or a list of results, some of which may be null."""
    frames = document if isinstance(document, list) else [document]
    results = [frame for frame in frames if frame is not None]
    return bool(results) and all(isinstance(frame, dict) and _key(frame) is not None for frame in results)


def _key(frame: dict[str, Any]) -> str | None:
    return next((key for key in _KEYS if key in frame), None)


def people_from_mediapipe(path: Path, document: Any) -> UserDetections:
    """Read the people of a parsed document; a single result belongs to the image that the file is named after."""
    frames = document if isinstance(document, list) else [document]
    detections = UserDetections(path, _KIND, names_image=len(frames) > 1)
    for number, frame in enumerate(frames):
        people = detections.mention(number if len(frames) > 1 else path.stem)
        persons = (_person(f"{path}, [{number}][{row}]", rows) for row, rows in enumerate(_lists(frame)))
        people += [person for person in persons if person is not None]
    return detections


def _lists(frame: Any) -> list[list[Any]]:
    """List the landmarks of each person of a frame."""
    while isinstance(frame, dict) and (key := _key(frame)) is not None:
        frame = frame[key]
    if not isinstance(frame, list) or not frame:
        return []
    return frame if isinstance(frame[0], list) else [frame]


def _person(where: str, landmarks: list[Any]) -> UserDetection | None:
    rows = []
    for landmark in landmarks:
        record = check_record(where, landmark)
        visibility = record.get("visibility")  # missing or null if unknown
        rows.append([record.get("x"), record.get("y"), 1.0 if visibility is None else visibility])
    if not rows:
        raise InputError(where, f"has no landmarks ({_KIND})", expected="33")
    joints = joints_by_count(where, _KIND, len(rows))
    return posed_person(to_blazepose(joint_rows(where, rows), joints), canvas=(1.0, 1.0))
