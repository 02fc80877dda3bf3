"""`--keypoints FILE` and `--boxes FILE`: people from the user's own detector.

Files are recognised by their contents, not by their names. `programs` and `tables` describe the forms and name the
programs that write them, `people` reads a person, `joint_orders` has the joints.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.people import Form, detections_of, stated_size
from humanpose_cli.io.detections.programs import BOXES, COCO, FORMS, OPENPOSE_SUFFIX
from humanpose_cli.io.detections.records import FrameKey, UserDetection, UserDetections
from humanpose_cli.io.detections.tables import LABELS, TABLES
from humanpose_cli.io.documents import outline_of, read_document
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.io.text_files import file_head

__all__ = ["FrameKey", "UserDetection", "UserDetections", "read_boxes", "read_keypoints"]

_EXPECTED = "files of COCO's form, OpenPose, MMPose, AlphaPose, YOLO, easy_ViTPose or MediaPipe"
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
    documents = [_recognised(file, want) for file in (_files(path, want) if path.is_dir() else [path])]
    detections = detections_of(path, [(file, content, form) for file, content, form, _ in documents], want)
    if len(documents) == 1:
        detections.state_size(documents[0][3])
    detections.number_frames()
    return detections


def _recognised(path: Path, want: str) -> tuple[Path, Any, Form, tuple[float, float] | None]:
    """Read a file; return its contents, perhaps from below a key of `_ENVELOPES`, their form, and the images' size."""
    document = read_document(path)
    contents = [document]
    if isinstance(document, dict) and "images" not in document:
        contents += [document[key] for key in _ENVELOPES if isinstance(document.get(key), list | dict)]
    if isinstance(document, list) and not document:
        return path, document, COCO, None
    forms = [form for form in (*TABLES, *FORMS) if want == "box" or form.points]
    for form, content in product(forms, contents):
        is_envelope = form is BOXES and content is document and len(contents) > 1
        if not is_envelope and form.matches(content):
            return path, content, form, stated_size(document) if isinstance(document, dict) else None
    problem, got = f"holds no {'boxes' if want == 'box' else 'keypoints'}", outline_of(document)
    raise InputError(path, problem, expected=_EXPECTED + " or a table" * (want == "box"), got=got)


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
