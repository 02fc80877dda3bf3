"""Dumps whose structure is drawn at random: order of joints, names, nesting, containers, scores, frames and times."""

from __future__ import annotations

import csv
import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections import FrameKey, read_boxes, read_keypoints
from humanpose_cli.io.detections.joint_orders import ORDERS

RATE, FRAMES = 30.0, 9
MISSING = {3, 4}  # frames without people
ROWS = BLAZEPOSE33.indices(COCO17.joint_names)


_NAMES = "nose eye eye_inner eye_outer ear mouth shoulder elbow wrist pinky index thumb hip knee ankle heel foot_index"
_PLACES = [(0, 60), (6, 54), (3, 54), (8, 55), (14, 58), (4, 68), (34, 110), (46, 165), (52, 212), (54, 226), (53, 228)]
_PLACES += [(48, 222), (20, 205), (23, 285), (24, 362), (24, 370), (30, 378)]
FIGURE = dict(zip(_NAMES.split(), _PLACES, strict=True))  # of a standing person: x of the left joint from the middle, y


def truth() -> np.ndarray:
    """Pixels (F, 33) of a person who walks in 640 × 480 pixels, and scores."""
    random_numbers, rows = np.random.default_rng(7), []
    for name in BLAZEPOSE33.joint_names:
        joint = name.removeprefix("left_").removeprefix("right_").removesuffix("_left").removesuffix("_right")
        x, y = FIGURE[joint]
        rows.append((250 + (-x if "right" in name else x), y))
    walk = np.arange(FRAMES)[:, None, None] * np.array((7.0, 1.0))
    scores = np.tile(random_numbers.uniform(0.5, 1, (1, 33, 1)), (FRAMES, 1, 1))
    return np.concatenate((np.array(rows, float) + walk, scores), 2).round(3)


def spelt(name: str, style: int) -> str:
    """One of the ways in which programs write a joint's name."""
    side, _, joint = name.rpartition("_")
    styles = (name, f"{joint}_{side}".strip("_"), f"{side[:1].upper()}{joint.title()}", name.replace("_", " ").title())
    return styles[style]


def person(points: np.ndarray, seed: int, form: str, style: int) -> Any:
    """Write the points (33, 3) of a person in a form."""
    draw = random.Random(seed)
    score = draw.choice(["score", "confidence", "visibility", "conf", "likelihood"])
    named = {spelt(name, style): points[BLAZEPOSE33.index(name)].tolist() for name in COCO17.joint_names}
    if form == "objects":
        label = draw.choice(["name", "part", "joint", "label"])
        return [{label: name, "x": x, "y": y, score: s} for name, (x, y, s) in named.items()]
    if form == "inner":
        return [{"part": name, "position": {"x": x, "y": y}, score: s} for name, (x, y, s) in named.items()]
    if form == "keys":
        return {name: {"x": x, "y": y, score: s} for name, (x, y, s) in named.items()}
    if form == "triples":
        return named
    if form == "columns":
        return {
            f"{name}_{axis}": v for name, row in named.items() for axis, v in zip(("x", "y", score), row, strict=True)
        }
    order = draw.choice(["COCO", "MediaPipe", "Halpe 26", "OpenPose's COCO"])
    rows = np.array([points[BLAZEPOSE33.index(n)] if n in BLAZEPOSE33 else (0, 0, 0) for n in ORDERS[order]])
    if form == "unnamed":
        return [{"x": x, "y": y, score: s} for x, y, s in rows.tolist()]
    if form == "apart":
        return {"keypoints": rows[:, :2].tolist(), draw.choice(["scores", "keypoint_scores"]): rows[:, 2].tolist()}
    return rows.tolist() if form == "rows" else rows.ravel().tolist()


FORMS = ["objects", "inner", "keys", "triples", "columns", "unnamed", "apart", "rows", "flat"]


def dump(folder: Path, seed: int) -> Path:
    """Write a dump with everything drawn."""
    draw = random.Random(seed)
    points = truth()
    form, style = FORMS[seed % len(FORMS)], draw.randrange(4)
    index = draw.choice(["row", "frame", "frame_index", "frame_id", "timestamp_ms", "time", "image"])
    if form == "columns":
        style = 0
    frames = []
    for frame in range(FRAMES):
        if frame in MISSING and index != "row":
            continue
        people = [] if frame in MISSING else [person(points[frame], seed, form, style)]
        states = draw.random()  # keeps other draws in step
        named = {
            "timestamp_ms": round(1000 * frame / RATE),
            "time": round(frame / RATE, 4),
            "image": f"clip_{frame:05d}.jpg",
        }.get(index, frame)
        if index == "row":
            frames.append(people)
        elif isinstance((people or [None])[0], dict) and form != "apart":
            frames.append({index: named, **people[0]})
        else:
            frames.append({index: named, ("people", "poses", "skeleton")[seed % 3]: people, "note": states})
    document: Any = {"info": {"version": "1.0"}, "frames": frames} if draw.random() < 0.4 else frames
    container = draw.choice(["json", "jsonl", "pickle"])
    if form == "columns" and index != "row":
        path = folder / "dump.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(frames[0]), delimiter=draw.choice(",;\t"))
            table.writeheader()
            table.writerows(frames)
        return path
    path = folder / f"dump.{container}"
    if container == "pickle":
        path.write_bytes(pickle.dumps(document))
    elif container == "jsonl" and isinstance(document, list):
        path.write_text("\n".join(map(json.dumps, document)))
    else:
        path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("seed", range(90))
def test_a_dump_of_any_structure_is_read(tmp_path: Path, seed: int) -> None:
    points = truth()
    keys = [FrameKey(f"{frame:06d}", frame, time=frame / RATE, clip="clip") for frame in range(FRAMES)]
    people = read_keypoints(dump(tmp_path, seed))
    people.check_frames(keys)
    for frame, key in enumerate(keys):
        found = people.people_of(key) or ()
        assert len(found) == (frame not in MISSING)
        for each in found:
            np.testing.assert_allclose(each.in_image("", 640, 480).keypoints[ROWS], points[frame][ROWS], atol=1e-3)


def test_landmarks_in_metres_are_refused_and_left_out_beside_those_in_the_image(tmp_path: Path) -> None:
    world = [{"x": 0.03 * k, "y": -0.5 + 0.03 * k, "z": 0.0, "visibility": 0.9} for k in range(33)]
    for row, sign in ((23, 1), (24, -1)):
        world[row] = {"x": 0.1 * sign, "y": 0.0, "z": 0.0, "visibility": 0.9}
    image = [{"x": 0.5, "y": 0.02 * k + 0.1, "z": 0.0, "visibility": 0.9} for k in range(33)]
    path = tmp_path / "world.json"
    path.write_text(json.dumps([[world]] * 3))
    with pytest.raises(InputError, match="in metres about the hips"):
        read_keypoints(path)
    path.write_text(json.dumps([{"pose_world_landmarks": world, "pose_landmarks": image}] * 3))
    (each,) = read_keypoints(path).by_number[1]
    assert each.keypoints[0, :2].tolist() == pytest.approx([0.5, 0.1])


def test_boxes_of_an_image_without_its_name(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"boxes": [[1, 2, 30, 40], [5, 5, 9, 9]], "labels": [1, 18], "scores": [0.9, 0.8]}))
    (each,) = read_boxes(path).people_in("boxes.png")
    assert (each.box.tolist(), each.score) == ([1, 2, 30, 40], 0.9)
    box = {"x": 50, "y": 60, "width": 20, "height": 40, "confidence": 0.7, "class": "person"}
    document = {"image": {"width": 100, "height": 200}, "predictions": [box, {**box, "class": "dog"}]}
    path.write_text(json.dumps(document))
    (each,) = read_boxes(path).people_in("boxes.png")
    assert each.in_image("", 200, 400).box.tolist() == [80, 80, 120, 160]


def test_of_two_clips_in_one_folder_the_clips_own_files_count(tmp_path: Path) -> None:
    points = truth()
    for clip, shift in (("base", 0), ("other", 50)):
        for frame in range(3):
            rows = points[frame][[BLAZEPOSE33.index(n) if n in BLAZEPOSE33 else 0 for n in ORDERS["COCO"]]]
            document = {"people": [{"pose_keypoints_2d": (rows + np.array((shift, 0, 0))).ravel().tolist()}]}
            (tmp_path / f"{clip}_{frame:012d}_keypoints.json").write_text(json.dumps(document))
    people = read_keypoints(tmp_path)
    keys = [FrameKey(f"{frame:06d}", frame, clip="other") for frame in range(3)]
    people.check_frames(keys)
    (each,) = people.people_of(keys[1])
    np.testing.assert_allclose(each.keypoints[ROWS, 0], points[1][ROWS, 0] + 50, rtol=1e-5)
