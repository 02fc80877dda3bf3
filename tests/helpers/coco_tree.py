"""A small data set in COCO's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.paper_datasets import image, write
from humanpose_cli.core.conventions import COCO17

SIZE = (64, 48)
FIRST = "person_keypoints_val2017.json"


def person(number: int, visible: int, **changes: Any) -> dict[str, Any]:
    """An annotation: joint i at (i + 10, 2 i + 5), the left ear hidden, ankles not labelled; a square outline."""
    keypoints = [value for i in range(17) for value in (i + 10, 2 * i + 5, 2)]
    keypoints[3 * COCO17.index("left_ear") + 2] = 1
    for name in ("left_ankle", "right_ankle"):
        keypoints[3 * COCO17.index(name) : 3 * COCO17.index(name) + 3] = [0, 0, 0]
    fields = {
        "id": number,
        "image_id": visible,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [8.0, 4.0, 20.0, 40.0],
        "area": 321.5,
        "segmentation": [[10, 10, 30, 10, 30, 40, 10, 40]],
        "keypoints": keypoints,
        "num_keypoints": 15,
    }
    return {**fields, **changes}


def records(count: int, name: str = "{:012d}.jpg", **more: Any) -> list[dict[str, Any]]:
    return [{"id": n, "file_name": name.format(n), "width": SIZE[0], "height": SIZE[1], **more} for n in range(count)]


def document(images: list[dict[str, Any]], people: list[dict[str, Any]], names: Any = COCO17.joint_names) -> str:
    category = {"id": 1, "name": "person", "keypoints": list(names)}
    return json.dumps({"images": images, "annotations": people, "categories": [category]})


def build(root: Path) -> Path:
    """Three images of 2017's validation: two people and a crowd; one without joints; nobody."""
    runs = {"size": [48, 64], "counts": [48 * 20, 48 * 4, 48 * 40]}
    people = [
        person(3, 0, iscrowd=1, keypoints=[0] * 51),
        person(1, 0),
        person(2, 0, segmentation=runs, area=0),
        person(4, 1, keypoints=[0] * 51),
    ]
    write(root / "annotations" / FIRST, document(records(3), people))
    for number in range(3):
        write(root / "val2017" / f"{number:012d}.jpg", image(SIZE, 20 * number))
    return root
