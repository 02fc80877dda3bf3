"""`--keypoints FILE` and `--boxes FILE`: people from the user's own detector."""

from __future__ import annotations

from pathlib import Path

from humanpose_cli.errors import InputError
from humanpose_cli.io.box_files import boxes_from_csv, boxes_from_json
from humanpose_cli.io.coco_files import people_from_coco
from humanpose_cli.io.given_people import GivenPeople, GivenPerson, load_json
from humanpose_cli.io.openpose_files import people_from_openpose, people_from_openpose_folder

__all__ = ["GivenPeople", "GivenPerson", "read_boxes", "read_keypoints"]


def read_keypoints(path: Path | str) -> GivenPeople:
    """Keypoints from COCO's JSON (results or annotations), OpenPose's JSON, or a folder of OpenPose's files.

    Everybody has `keypoints` (coco17); boxes too where the file has them. InputError naming the file and the record
    for anything else.
    """
    path = Path(path)
    if path.is_dir():
        return people_from_openpose_folder(path)
    document = load_json(path)
    if isinstance(document, dict) and "people" in document:
        return people_from_openpose(path, document)
    if isinstance(document, list) or (isinstance(document, dict) and "annotations" in document):
        return people_from_coco(path, document, want="keypoints")
    raise InputError(
        path,
        "holds no keypoints",
        expected="COCO's results or annotations, or OpenPose's JSON",
        got=f"an object with {', '.join(map(repr, document)) or 'nothing'}"[:80]
        if isinstance(document, dict)
        else type(document).__name__,
    )


def read_boxes(path: Path | str) -> GivenPeople:
    """Boxes from JSON or CSV (see `box_files`), or from COCO's results. Everybody has a `box`, nobody keypoints but
    those of COCO. InputError naming the file and the record.
    """
    path = Path(path)
    if path.suffix.lower() in {".csv", ".tsv", ".txt"}:
        return boxes_from_csv(path)
    return boxes_from_json(path, load_json(path))
