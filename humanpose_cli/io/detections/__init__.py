"""`--keypoints FILE` and `--boxes FILE`: people from the user's own detector.

Files are recognised by their contents, not by their names. `programs` and `tables` describe the forms and name the
programs that write them, `people` reads a person, `joint_orders` has the joints.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.documents import outline_of, plain, read_document
from humanpose_cli.files.sniffing import file_kind, reading_error
from humanpose_cli.files.text_files import file_head
from humanpose_cli.io.detections.named_points import POINTS
from humanpose_cli.io.detections.people import Form, detections_of, stated_size
from humanpose_cli.io.detections.programs import BOXES, COCO, FORMS, OPENPOSE_SUFFIX
from humanpose_cli.io.detections.records import FrameKey, UserDetection, UserDetections, UserPeople
from humanpose_cli.io.detections.tables import LABELS, TABLES

__all__ = ["FrameKey", "UserDetection", "UserDetections", "UserPeople", "read_boxes", "read_keypoints"]

_EXPECTED = "files of COCO's form, OpenPose, MMPose, AlphaPose, YOLO, easy_ViTPose or MediaPipe"
_REMEDIES = {
    "keypoints": 'write a list of {"image_id": "a.jpg", "category_id": 1, "keypoints": [x, y, score, …], "score": 1}',
    "box": 'write {"a.jpg": [[x0, y0, x1, y1]]}',
}
_OTHERS = {  # what their files hold → programs whose files are not read
    "CVAT": re.compile(r"<annotations>.*<(image|track)\s", re.DOTALL),
    "Pascal VOC": re.compile(r"<annotation>.*<bndbox>", re.DOTALL),
    "DeepLabCut": re.compile(r"\s*scorer[,;\t]"),
}
_HEAD = 8192  # characters
_ENVELOPES = ("frames", "results", "predictions", "data", "annotations", "detections", "instances")


def read_keypoints(path: Path | str) -> UserDetections:
    """Read keypoints from a file of another program, or from a folder of its files.

    Every person has `keypoints` (blazepose33), and a box if the file has one. Raises InputError with the file and the
    record if there is nobody whose keypoints can be used.
    """
    return _read(Path(path), "keypoints")


def read_boxes(path: Path | str) -> UserDetections:
    """Read boxes from a file of another program, from JSON or a table, or from a folder of labels.

    Every person has a `box` and no keypoints. Raises InputError with the file and the record if there is nobody whose
    box can be used.
    """
    return _read(Path(path), "box")


def _read(path: Path, want: str) -> UserDetections:
    documents, damaged = [], list[InputError]()
    for file in _files(path, want) if path.is_dir() else [path]:
        try:
            documents.append(_recognised(file, want))
        except InputError as error:
            damaged.append(error)
    if not documents:
        raise damaged[0]
    detections = detections_of(path, [(file, content, form) for file, content, form, _ in documents], want)
    if damaged:
        detections.notes.append(
            f"{len(damaged)} files of {path.name} are left out: {damaged[0].subject} {damaged[0].problem}"
        )
    if len(documents) == 1:
        detections.state_size(documents[0][3])
    detections.number_frames()
    return detections


def _recognised(path: Path, want: str) -> tuple[Path, Any, Form, tuple[float, float] | None]:
    """Read a file; return its contents, perhaps from below a key of `_ENVELOPES`, their form, and the images' size."""
    document = read_document(path)
    if isinstance(document, str) and (name := next((n for n, p in _OTHERS.items() if p.search(document[:_HEAD])), "")):
        raise InputError(path, f"is a file of {name}, which is not read", remedy=_REMEDIES[want])
    document = document if file_kind(path) == "text" else plain(document)
    contents = [document]
    if isinstance(document, dict) and "images" not in document:
        contents += [document[key] for key in _ENVELOPES if isinstance(document.get(key), list | dict)]
    has_envelope = len(contents) > 1
    contents.append([document])  # one line of JSON lines
    if isinstance(document, list) and all(
        frame is None or (isinstance(frame, list) and not frame) for frame in document
    ):
        return path, [], COCO, None
    forms = [form for form in (*TABLES, *FORMS) if (form is not POINTS if want == "box" else form.points)]
    for form, content in product(forms, contents):
        is_envelope = form is BOXES and content is document and has_envelope
        if not is_envelope and form.matches(content):
            return path, content, form, stated_size(document) if isinstance(document, dict) else None
    problem, got = f"holds no {'boxes' if want == 'box' else 'keypoints'}", outline_of(document)
    raise InputError(
        path, problem, expected=_EXPECTED + " or a table" * (want == "box"), got=got, remedy=_REMEDIES[want]
    )


def _files(folder: Path, want: str) -> list[Path]:
    """List the files of a folder, each of which is named after its image. Raises InputError if there are none."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt"))
    except OSError as error:
        raise reading_error(folder, error) from error
    # OpenPose's and labels' folders may hold other files, such as YOLO's classes.txt.
    openpose = [file for file in files if file.name.endswith(OPENPOSE_SUFFIX)]
    json = [file for file in files if file.suffix == ".json"]
    files = openpose or json or [file for file in files if LABELS.matches(file_head(file))]
    if not files:
        expected = "JSON of OpenPose, Pose2Sim or MMPose, or labels (text) of YOLO"
        raise InputError(folder, f"holds no {'boxes' if want == 'box' else 'keypoints'}", expected=expected)
    return files
