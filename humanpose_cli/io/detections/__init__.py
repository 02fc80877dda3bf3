"""`--keypoints FILE` and `--boxes FILE`: people from the user's own detector.

Files are recognised by their contents, not by their names. `coco`, `openpose`, `mmpose`, `yolo`, `vitpose`,
`mediapipe` and `boxes` describe the forms and name the programs that write them; `joint_orders` has the joints.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.boxes import boxes_from_csv, boxes_from_table
from humanpose_cli.io.detections.coco import is_coco, people_from_coco
from humanpose_cli.io.detections.mediapipe import is_mediapipe, people_from_mediapipe
from humanpose_cli.io.detections.mmpose import is_mmpose, people_from_mmpose
from humanpose_cli.io.detections.openpose import SUFFIX, is_openpose, people_from_openpose
from humanpose_cli.io.detections.records import FrameKey, UserDetection, UserDetections, stated_size
from humanpose_cli.io.detections.vitpose import is_vitpose, people_from_vitpose
from humanpose_cli.io.detections.yolo import is_labels, is_yolo, people_from_labels, people_from_yolo
from humanpose_cli.io.foreign_fits import outline_of
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.io.text_files import file_head, read_json

__all__ = ["FrameKey", "UserDetection", "UserDetections", "read_boxes", "read_keypoints"]

_FORMS = "COCO's, OpenPose's, MMPose's, AlphaPose's, YOLO's, easy_ViTPose's or MediaPipe's"


def read_keypoints(path: Path | str) -> UserDetections:
    """Read keypoints from a file of another program, or from a folder of its files.

    Every person has `keypoints` (blazepose33), and a box if the file has one. Raises InputError with the file and the
    record for anything else.
    """
    return _read(Path(path), "keypoints")


def read_boxes(path: Path | str) -> UserDetections:
    """Read boxes from a file of another program, from JSON or CSV (see `boxes`), or from a folder of labels.

    Every person has a `box` and no keypoints. Raises InputError with the file and the record for anything else.
    """
    return _read(Path(path), "box")


def _read(path: Path, want: str) -> UserDetections:
    detections = _people_of_folder(path, want) if path.is_dir() else _people_of_file(path, want)
    detections.number_frames()
    return detections


# Test of a parsed document, its reader, and whether the form may hold boxes; the first match counts.
_FORMS_OF_JSON: tuple[tuple[Callable[[Any], bool], Callable[..., UserDetections], bool], ...] = (
    (is_mmpose, people_from_mmpose, True),
    (is_yolo, people_from_yolo, True),
    (is_openpose, people_from_openpose, False),
    (is_vitpose, people_from_vitpose, False),
    (is_mediapipe, people_from_mediapipe, False),
    (is_coco, people_from_coco, True),
    (lambda document: isinstance(document, list), people_from_coco, True),  # its error names the missing fields
)
_ENVELOPES = ("frames", "results", "predictions", "data", "annotations", "detections", "instances")


def _people_of_file(path: Path, want: str) -> UserDetections:
    head = file_head(path)
    if is_labels(head):
        return people_from_labels(path, want=want)
    is_json = head.lstrip("\ufeff \t\r\n")[:1] in ("[", "{") or path.suffix.lower() == ".json"
    if want == "box" and not is_json:
        return boxes_from_csv(path)
    forms = f"{_FORMS}, boxes also CSV" if want == "box" else f"{_FORMS}, or YOLO's labels"
    return _people_of_document(path, read_json(path, remedy=f"JSON of {forms} is read"), want)


def _people_of_document(path: Path, document: Any, want: str) -> UserDetections:
    """Read a parsed document, or the value of a key of `_ENVELOPES`; the document may state the images' size."""
    contents = [document]
    if isinstance(document, dict) and "images" not in document:
        contents += [document[key] for key in _ENVELOPES if isinstance(document.get(key), list | dict)]
    for (matches, reader, has_boxes), content in product(_FORMS_OF_JSON, contents):
        if not matches(content):
            continue
        detections = reader(path, content, want=want) if has_boxes else reader(path, content)
        if want == "box" and not has_boxes:
            raise InputError(path, f"holds {detections.kind}", expected="boxes", remedy="give it with `keypoints`")
        if isinstance(document, dict):
            detections.state_size(stated_size(document))
        return detections
    tables = [content for content in (*contents[1:], document) if isinstance(content, dict)]
    if want == "box" and tables:
        return boxes_from_table(path, tables[0])
    problem, expected = "holds no keypoints", f"{_FORMS} files"
    if want == "box":
        problem, expected = "holds no boxes", "names and their boxes, or COCO's results"
    raise InputError(path, problem, expected=expected, got=outline_of(document))


def _people_of_folder(folder: Path, want: str) -> UserDetections:
    """Join the people of a folder's files; each file is named after its image."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt"))
    except OSError as error:
        raise reading_error(folder, error) from error
    # OpenPose's and labels' folders may hold other files, such as YOLO's classes.txt.
    openpose = [file for file in files if file.name.endswith(SUFFIX)]
    json = [file for file in files if file.suffix == ".json"]
    files = openpose or json or [file for file in files if is_labels(file_head(file))]
    if not files:
        expected = "JSON of OpenPose, Pose2Sim or MMPose, or labels (text) of YOLO"
        raise InputError(folder, f"holds no {'boxes' if want == 'box' else 'keypoints'}", expected=expected)
    parts = [_people_of_file(file, want) for file in files]
    if len(parts) == 1:
        return parts[0]
    detections = UserDetections(folder, parts[0].kind, first_frame=parts[0].first_frame)
    for file, part in zip(files, parts, strict=True):
        if not part.image_count:  # an empty list
            part.mention(file.stem)
        detections.by_name.update(part.by_name)
        detections.by_number.update(part.by_number)
    return detections
