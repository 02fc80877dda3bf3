"""MMPose 1.x's JSON from its demos' --save-predictions and from its inferencer's pred_out_dir.

Writers: demo/topdown_demo_with_mmdet.py, `main`; mmpose/apis/inferencers/base_mmpose_inferencer.py, `postprocess` (an
image) and `_finalize_video_processing`; mmpose/structures/utils.py, `split_instances`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import finite_numbers
from humanpose_cli.io.detections.joint_orders import joints_by_count, joints_by_name, to_blazepose
from humanpose_cli.io.detections.records import (
    UserDetection,
    UserDetections,
    check_record,
    corner_box,
    joint_rows,
    score_of,
    track_of,
)

_KIND = "MMPose's predictions"


def is_mmpose(document: Any) -> bool:
    """Return whether a parsed document looks like MMPose's."""
    if isinstance(document, dict):
        return "instance_info" in document
    first = document[0] if isinstance(document, list) and document else None
    return isinstance(first, dict) and ("instances" in first or "keypoint_scores" in first)


def people_from_mmpose(path: Path, document: Any, *, want: str) -> UserDetections:
    """Read the people of one parsed file.

    The demos save {"meta_info", "instance_info"}, the inferencer only the value of "instance_info". It is a list of the
    people of the image that the file is named after (`a.json`, `results_a.json` → a), or, for a video, a list of
    {"frame_id", "instances"}; the demos count frames from 1, the inferencer from 0. A person is {"keypoints" (K, 2),
    "keypoint_scores" (K,), "bbox" [[x0, y0, x1, y1]], "bbox_score"}, the last two only if people were detected first.

    Args:
        path: The file, for errors and as the image's name.
        document: The parsed document.
        want: 'keypoints' or 'box', which every person must have.

    Returns:
        The people.

    Raises:
        InputError: If a record is invalid; it names the record.
    """
    records, joints, first = document, None, 0
    if isinstance(document, dict):
        records = document.get("instance_info")
        if want == "keypoints":
            joints = _named_joints(path, document.get("meta_info"))
        if not isinstance(records, list):
            raise InputError(path, "has no list of instance_info", got=type(records).__name__)
        ids = [record.get("frame_id") for record in records if isinstance(record, dict)]
        first = 0 if 0 in ids else 1
    video = any(isinstance(record, dict) and "instances" in record for record in records)
    detections = UserDetections(path, _KIND, names_image=video)
    if not video:
        people = detections.mention(path.stem.removeprefix("results_"))
        people += [_person(f"{path}, [{number}]", record, joints, want) for number, record in enumerate(records)]
        return detections
    for number, entry in enumerate(records):
        where = f"{path}, [{number}]"
        record = check_record(where, entry)
        frame, instances = record.get("frame_id"), record.get("instances")
        if isinstance(frame, bool) or not isinstance(frame, int) or not isinstance(instances, list):
            raise InputError(where, "has no frame_id or no list of instances", expected="both")
        detections.mention(frame - first).extend(
            _person(f"{where}, instances[{index}]", instance, joints, want) for index, instance in enumerate(instances)
        )
    return detections


def _named_joints(path: Path, meta: Any) -> tuple[str, ...] | None:
    """Find the joints by MMPose's names; None if the file does not name them."""
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(names, dict) or not names:
        return None
    rows = {str(row): name for row, name in names.items() if isinstance(name, str)}
    return joints_by_name(f"{path}, meta_info", _KIND, [rows.get(str(row), "") for row in range(len(names))])


def _person(where: str, entry: Any, joints: tuple[str, ...] | None, want: str) -> UserDetection:
    record = check_record(where, entry)
    box = record.get("bbox")
    if isinstance(box, list) and len(box) == 1:  # MMPose 1.x writes it as a list of one
        box = box[0]
    if box is not None:
        box = corner_box(where, finite_numbers(where, "bbox", box, (4,)))
    elif want == "box":
        raise InputError(where, "has no bbox", expected="x0, y0, x1, y1 in pixels")
    score = score_of(where, record, "bbox_score")
    if want == "box":
        return UserDetection(box, None, score, track_of(record))
    if not isinstance(record.get("keypoints"), list):
        raise InputError(where, "has no keypoints", expected="a list of x, y")
    points = joint_rows(where, record["keypoints"], width=2)
    scores = joint_rows(where, record.get("keypoint_scores"), what="keypoint_scores", width=1)
    if len(scores) != len(points):
        raise InputError(where, "has unusable keypoint_scores", expected=f"{len(points)} numbers", got=str(len(scores)))
    if joints is not None and len(joints) != len(points):
        raise InputError(where, "has other keypoints", expected=f"{len(joints)}, as named", got=str(len(points)))
    joints = joints or joints_by_count(where, _KIND, len(points))
    missing = ~points.any(1)  # NaN in a coordinate
    rows = np.column_stack((points, np.where(missing, 0, scores[:, 0])))
    return UserDetection(box, to_blazepose(rows, joints), score, track_of(record))
