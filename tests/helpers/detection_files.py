"""People in the documents that pose detectors write, each of which has the joints at `TRUTH`."""

from __future__ import annotations

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17

WIDTH, HEIGHT = 360, 640
_FACE = {
    "nose": (180, 100),
    "left_eye": (186, 93),
    "right_eye": (174, 94),
    "left_ear": (195, 97),
    "right_ear": (164, 98),
}
_LEFT = {  # of a person who faces the camera; the right side is the mirror image, a little lower
    "shoulder": (222, 160),
    "elbow": (241, 231),
    "wrist": (246, 299),
    "hip": (206, 300),
    "knee": (211, 407),
    "ankle": (214, 512),
    "foot_index": (219, 540),
    "heel": (213, 527),
}
TRUTH = {name: [float(x), float(y)] for name, (x, y) in _FACE.items()}
TRUTH |= {f"left_{joint}": [x + 0.25, y + 0.5] for joint, (x, y) in _LEFT.items()}
TRUTH |= {f"right_{joint}": [360.5 - x, y + 3.25] for joint, (x, y) in _LEFT.items()}
HALPE = [
    *COCO17.joint_names,
    *("head", "neck", "hip", "left_foot_index", "right_foot_index"),
    *("left_small_toe", "right_small_toe", "left_heel", "right_heel"),
]
PEOPLE18 = [
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
]
BODY_25 = [
    *(*PEOPLE18[:8], "hip", *PEOPLE18[8:]),
    *("left_foot_index", "left_small_toe", "left_heel", "right_foot_index", "right_small_toe", "right_heel"),
]
VITPOSE25 = [
    *COCO17.joint_names[:5],
    *("neck", *COCO17.joint_names[5:13], "hip", *COCO17.joint_names[13:]),
    *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),
]


def point(name: str) -> list[float]:
    return TRUTH.get(name.replace("big_toe", "foot_index"), [1.0, 1.0])


def flat(names, score=0.9) -> list[float]:
    return [value for name in names for value in (*point(name), score)]


def dicts(scale=(1.0, 1.0)) -> list[dict]:
    rows = [np.divide(point(name), scale) for name in BLAZEPOSE33.joint_names]
    return [{"x": x, "y": y, "z": 0.1, "visibility": 0.9} for x, y in rows]


def labels(names, tail="") -> str:
    rows = [(x / WIDTH, y / HEIGHT, 0.9) for x, y in map(point, names)]
    return f"0 0.5 0.5 0.4 0.6 {' '.join(f'{value:.8f}' for row in rows for value in row)} {tail}".strip() + "\n"


def openpose(names, **more) -> dict:
    person = {"person_id": [-1], "pose_keypoints_2d": flat(names), "face_keypoints_2d": None}
    return {"version": 1.3, "people": [person], **more}


def scaled() -> dict:
    rows = [[x / WIDTH, y / HEIGHT, 1.0] for x, y in map(point, PEOPLE18)]
    person = {"pose_keypoints_2d": np.ravel(rows).tolist(), "hand_left_keypoints_2d": None}
    return {"people": [person], "canvas_width": WIDTH, "canvas_height": HEIGHT}


def alphapose(names, **more) -> list[dict]:
    person = {"category_id": 1, "keypoints": flat(names), "score": 2.9, "box": [1, 2, 30, 40], **more}
    return [{"image_id": f"{frame}.jpg", **person} for frame in (0, 1, 11)]


def ultralytics() -> list[dict]:
    x, y = zip(*map(point, COCO17.joint_names), strict=True)
    box = {"x1": 1.0, "y1": 2.0, "x2": 31.0, "y2": 42.0}
    joints = {"x": list(x), "y": list(y), "visible": [0.9] * 17}
    return [{"name": "person", "class": 0, "confidence": 0.8, "box": box, "track_id": 4, "keypoints": joints}]


def vitpose(names) -> dict:
    rows = [[y, x, 0.9] for x, y in map(point, names)]
    return {"keypoints": [{"2": rows}, {}, {"2": rows}], "skeleton": {str(row): name for row, name in enumerate(names)}}
