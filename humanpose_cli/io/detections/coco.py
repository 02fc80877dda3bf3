"""COCO's JSON: annotations, and results as MMPose, Detectron2, YOLO and AlphaPose write them.

Results are [{image_id, category_id, bbox, keypoints, score}]. Their writers: Detectron2's
detectron2/evaluation/coco_evaluation.py, `instances_to_coco_json`; MMPose's mmpose/evaluation/metrics/coco_metric.py,
`results2json` (without bbox); Ultralytics' ultralytics/models/yolo/pose/val.py, `PoseValidator.pred_to_json`, whose
image_id is the name where it is no number; AlphaPose's alphapose/utils/pPose_nms.py, `write_json`: image_id is a file
name ("0.jpg" for a video's first frame: detector.py), the box is called "box" (x, y, width, height: writer.py), score
and scores of joints go above 1 (docs/output.md), and idx is the number of the track.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import finite_numbers
from humanpose_cli.io.coco_annotations import HIDDEN_CONFIDENCE, LOCKED_CONFIDENCE
from humanpose_cli.io.detections.joint_orders import has_limbs, joints_by_count, joints_by_name, to_blazepose
from humanpose_cli.io.detections.records import (
    PEOPLE,
    UserDetection,
    UserDetections,
    check_record,
    joint_rows,
    score_of,
    sized_box,
    stated_size,
    track_of,
)

_CONFIDENCES, _VISIBLE = np.array([0, HIDDEN_CONFIDENCE, 1]), 2  # of joints that are not labelled, hidden, visible


def people_from_coco(path: Path, document: Any, *, want: str) -> UserDetections:
    """Read the people of a parsed document; crowds and other categories are left out.

    In annotations, the third number of a keypoint is a flag: 0 not labelled, 1 hidden (confidence 0.5), 2 visible. In
    results it is a confidence, clipped to 0 to 1, unless all are such flags; also in annotations if one is another
    number. Coordinates refer to the image sizes in the file. Joints follow from the categories or from their number.
    `locked` of `hpc view --edit` has a number for each joint, 1 for joints that a body must be at.

    Args:
        path: The file, for errors.
        document: The parsed document.
        want: 'keypoints' or 'box', which every person must have.

    Returns:
        The people.

    Raises:
        InputError: If a record is invalid; it names the record.
    """
    results = isinstance(document, list)
    records = document if results else document.get("annotations")
    detections = UserDetections(path, _kind(records, results=results))
    table = {} if results else _image_names(path, document, detections)
    if not isinstance(records, list):
        raise InputError(path, "has no list of annotations", got=type(records).__name__)
    categories = _categories_of_people(path, {} if results else document, records, want)
    for number, entry in enumerate(records):
        where = f"{path}, {'entry' if results else 'annotations'}[{number}]"
        record = check_record(where, entry)
        people = detections.mention(_image(where, record, table))
        category = record.get("category_id", next(iter(categories)))
        if record.get("iscrowd", 0) or not isinstance(category, int | str) or category not in categories:
            continue
        if want == "box":
            people.append(_boxed_person(where, record))
        else:
            people.append(_posed_person(where, record, detections.kind, categories[category], bool(table)))
    sizes = {image["file_name"]: stated_size(image) for image in document["images"]} if table else {}
    for name, size in sizes.items():  # each once, though a file may repeat them
        detections.state_size(size, name)
    return detections


def is_coco(document: Any) -> bool:
    """Return whether a parsed document has the form of results or of annotations."""
    is_list = isinstance(document, list)
    first, key = (next(iter(document), None), "image_id") if is_list else (document, "annotations")
    return isinstance(first, dict) and key in first


def _kind(records: Any, *, results: bool) -> str:
    first = records[0] if isinstance(records, list) and records else None
    if results and isinstance(first, dict) and ("box" in first or "idx" in first):
        return "AlphaPose's results"
    return "COCO's results" if results else "COCO's annotations"


def _image_names(path: Path, document: dict[str, Any], detections: UserDetections) -> dict[Any, str]:
    """Map image ids to file names; every image counts as mentioned."""
    images = document.get("images", [])
    names: dict[Any, str] = {}
    if not isinstance(images, list):
        raise InputError(f"{path}, images", "is no list", got=type(images).__name__)
    for number, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not isinstance(image.get("id"), int | str):
            raise InputError(f"{path}, images[{number}]", "has no id or no file_name", expected="both")
        names[image["id"]] = name
        detections.mention(name)
    return names


def _categories_of_people(
    path: Path, document: dict[str, Any], records: Sequence[Any], want: str
) -> dict[Any, Sequence[str] | None]:
    """Map the categories of people to the names of their keypoints, None if the file does not name them."""
    # Without a list of categories, people are the first one: COCO counts from 1, many detectors from 0. If all
    # keypoints belong to one category, they are people's.
    categories = document.get("categories")
    named = [c for c in categories if isinstance(c, dict)] if isinstance(categories, list) else []
    joints = {c.get("id", 1): _joint_names(c) for c in named if isinstance(c.get("id", 1), int | str)}
    by_name = [c.get("id", 1) for c in named if str(c.get("name")).lower() in PEOPLE]
    ids = by_name or [key for key, names in joints.items() if names is not None and has_limbs(names)]
    if ids or named:
        if not ids:
            names = ", ".join(str(c.get("name")) for c in named)[:80]
            raise InputError(f"{path}, categories", "are none of people", expected="a category person", got=names)
        return {key: joints.get(key) for key in ids}
    keys = {r["category_id"] for r in records if isinstance(r, dict) and isinstance(r.get("category_id"), int | str)}
    if want == "keypoints" and len(keys) == 1:
        return dict.fromkeys(keys)
    return {0 if 0 in keys else 1: None}


def _joint_names(category: dict[str, Any]) -> Sequence[str] | None:
    names = category.get("keypoints")
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None


def _image(where: str, record: dict[str, Any], table: dict[Any, str]) -> str | int:
    """Return the file name if it is known, else the image id."""
    image = record.get("file_name", record.get("image_id"))
    if isinstance(image, bool) or not isinstance(image, int | str) or image == "":
        raise InputError(where, "has no usable image_id", expected="a number or a name", got=repr(image))
    if table and image not in table and "file_name" not in record:
        raise InputError(where, "names an image that is not in the list of images", got=repr(image))
    return table.get(image, image)


def _boxed_person(where: str, record: dict[str, Any]) -> UserDetection:
    if "bbox" not in record and "box" not in record:
        raise InputError(where, "has no bbox", expected="x, y, width, height in pixels")
    box = sized_box(where, record.get("bbox", record.get("box")))
    return UserDetection(box, None, score_of(where, record, "score"), track_of(record))


def _posed_person(
    where: str, record: dict[str, Any], kind: str, names: Sequence[str] | None, flags: bool
) -> UserDetection:
    if "keypoints" not in record:
        remedy = "boxes are given with `boxes`" if "bbox" in record or "box" in record else ""
        raise InputError(where, "has no keypoints", expected="x, y and score of each joint", remedy=remedy)
    rows = joint_rows(where, record["keypoints"])
    if names is not None and len(names) != len(rows):
        got = f"{len(rows)} for the {len(names)} that the categories name"
        raise InputError(where, f"has other keypoints ({kind})", expected=f"{3 * len(names)} numbers", got=got)
    joints = joints_by_name(where, kind, names) if names else joints_by_count(where, kind, len(rows))
    third = rows[:, 2]
    if {*third.tolist()} <= {*range(len(_CONFIDENCES))} and (flags or (third == _VISIBLE).any()):
        rows[:, 2] = _CONFIDENCES[third.astype(np.intp)]
    box = sized_box(where, record["bbox"]) if "bbox" in record else None
    keypoints = to_blazepose(rows, joints)
    if "locked" in record:
        rows[:, 2] *= finite_numbers(where, "locked", record["locked"], (len(rows),))
        keypoints[to_blazepose(rows, joints)[:, 2] > 0, 2] = LOCKED_CONFIDENCE
    return UserDetection(box, keypoints, score_of(where, record, "score"), track_of(record))
