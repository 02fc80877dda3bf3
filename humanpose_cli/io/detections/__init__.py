"""`--keypoints FILE` and `--boxes FILE`: people from the user's own detector.

What a file is follows from its contents, not from its name. `coco`, `openpose`, `mmpose`, `yolo`, `vitpose`,
`mediapipe` and `boxes` describe the forms and name the programs that write them; `joint_orders` has the joints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.boxes import boxes_from_csv, boxes_from_table
from humanpose_cli.io.detections.coco import people_from_coco
from humanpose_cli.io.detections.mediapipe import is_mediapipe, people_from_mediapipe
from humanpose_cli.io.detections.mmpose import is_mmpose, people_from_mmpose
from humanpose_cli.io.detections.openpose import SUFFIX, is_openpose, people_from_openpose
from humanpose_cli.io.detections.records import FrameKey, UserDetection, UserDetections
from humanpose_cli.io.detections.vitpose import is_vitpose, people_from_vitpose
from humanpose_cli.io.detections.yolo import is_labels, is_yolo, people_from_labels, people_from_yolo
from humanpose_cli.io.sniffing import reading_error, refuse_pipes
from humanpose_cli.io.text_files import read_json

__all__ = ["FrameKey", "UserDetection", "UserDetections", "read_boxes", "read_keypoints"]

_HEAD = 4096  # bytes from which the form of a file follows
_FORMS = "COCO's, OpenPose's, MMPose's, AlphaPose's, YOLO's, easy_ViTPose's or MediaPipe's"


def read_keypoints(path: Path | str) -> UserDetections:
    """Read keypoints from a file of another program, or from a folder of its files.

    Every person has `keypoints` (blazepose33), and a box if the file has one. Raises InputError naming the file and the
    record for anything else.
    """
    return _read(Path(path), "keypoints")


def read_boxes(path: Path | str) -> UserDetections:
    """Read boxes from a file of another program, from JSON or CSV (see `boxes`), or from a folder of labels.

    Every person has a `box` and no keypoints. Raises InputError for the file and the record that is wrong.
    """
    return _read(Path(path), "box")


def _read(path: Path, want: str) -> UserDetections:
    detections = _people_of_folder(path, want) if path.is_dir() else _people_of_file(path, want)
    labels = detections.kind.endswith("labels")
    # YOLO counts frames from 1; a 0 in a name is of a program that counts from 0.
    first = 1 if labels and not any(name.endswith("_0") for name in detections.by_name) else 0
    detections.number_frames(first)
    return detections


def _people_of_file(path: Path, want: str) -> UserDetections:
    head = _head(path)
    if is_labels(head):
        return people_from_labels(path, want=want)
    is_json = head.lstrip("\ufeff \t\r\n")[:1] in ("[", "{") or path.suffix.lower() == ".json"
    if want == "box" and not is_json:
        return boxes_from_csv(path)
    document = read_json(path)
    if is_mmpose(document):
        return people_from_mmpose(path, document, want=want)
    if is_yolo(document):
        return people_from_yolo(path, document, want=want)
    for matches, reader in (
        (is_openpose, people_from_openpose),
        (is_vitpose, people_from_vitpose),
        (is_mediapipe, people_from_mediapipe),
    ):
        if matches(document):
            if want == "box":
                detections = reader(path, document)
                raise InputError(path, f"holds {detections.kind}", expected="boxes", remedy="give it with `keypoints`")
            return reader(path, document)
    if isinstance(document, list) or (isinstance(document, dict) and "annotations" in document):
        return people_from_coco(path, document, want=want)
    if want == "box" and isinstance(document, dict):
        return boxes_from_table(path, document)
    raise _other_document(path, document, want)


def _other_document(path: Path, document: Any, want: str) -> InputError:
    names = ", ".join(map(repr, document)) or "nothing" if isinstance(document, dict) else ""
    got = f"an object with {names}"[:80] if names else type(document).__name__
    problem, expected = "holds no keypoints", f"{_FORMS} files"
    if want == "box":
        problem, expected = "holds no boxes", "names and their boxes, or COCO's results"
    return InputError(path, problem, expected=expected, got=got)


def _head(path: Path) -> str:
    """Read the beginning of a file; "" if it cannot be read, which its reader reports. Refuses pipes."""
    refuse_pipes(path)
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return ""


def _people_of_folder(folder: Path, want: str) -> UserDetections:
    """Join the people of a folder's files, each of which belongs to the image that it is named after."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt"))
    except OSError as error:
        raise reading_error(folder, error) from error
    # OpenPose's and labels' folders may hold other files, such as YOLO's classes.txt.
    openpose = [file for file in files if file.name.endswith(SUFFIX)]
    json = [file for file in files if file.suffix == ".json"]
    files = openpose or json or [file for file in files if is_labels(_head(file))]
    if not files:
        expected = "JSON of OpenPose, Pose2Sim or MMPose, or labels (text) of YOLO"
        raise InputError(folder, f"holds no {'boxes' if want == 'box' else 'keypoints'}", expected=expected)
    parts = [_people_of_file(file, want) for file in files]
    if len(parts) == 1:
        return parts[0]
    detections = UserDetections(folder, parts[0].kind)
    for file, part in zip(files, parts, strict=True):
        if not part.image_count:  # an empty list
            part.mention(file.stem)
        detections.by_name.update(part.by_name)
        detections.by_number.update(part.by_number)
    return detections
