"""`--keypoints FILE` and `--boxes FILE`: people from the user's own detector.

Keypoints  COCO's JSON (results, annotations), OpenPose's JSON (a file or a folder; BODY_25 or COCO-18), MMPose's JSON
           (of its demos' --save-predictions or its inferencer's pred_out_dir; a file or a folder)
Boxes      JSON: {"a.jpg": [[x0, y0, x1, y1], [x0, y0, x1, y1, score]], "b.jpg": []}, or COCO's results with bbox
           (x, y, width, height). For a video the names are frame numbers.
           CSV: a header and a row a person: name, x0, y0, x1, y1 and, if there, score; separated by commas,
           semicolons or tabs
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.sniffing import reading_error
from humanpose_cli.io.text_files import read_json, read_text

_LARGEST = 1e9


@dataclass(frozen=True, eq=False)
class UserDetection:
    """One person of a detection file.

    box        (4,) float32 x0 y0 x1 y1 pixels, or None
    keypoints  (17, 3) float32 in the order of coco17: x, y pixels and confidence 0–1, 0 = not found; or None
    score      0–1
    """

    box: np.ndarray | None
    keypoints: np.ndarray | None
    score: float = 1.0


@dataclass(frozen=True, eq=False)
class UserDetections:
    """All people of a detection file, in the file's order.

    by_name    image's name as the file has it (forward slashes, NFC) → its people
    by_number  frame number or numeric image id → its people
    """

    path: Path
    by_name: dict[str, list[UserDetection]] = field(default_factory=dict)
    by_number: dict[int, list[UserDetection]] = field(default_factory=dict)

    def mention(self, image: str | int) -> list[UserDetection]:
        """Return the list of an image's people, which is kept even if it stays empty."""
        if isinstance(image, int):
            return self.by_number.setdefault(image, [])
        return self.by_name.setdefault(_normal(image), [])

    def people_in(self, name: str, index: int | None = None) -> tuple[UserDetection, ...] | None:
        """Return the people of an image, or None if the file does not mention it.

        name   the image's key or file name; a video frame's number with six digits
        index  the frame's number in its sequence, None for an image that is none
        Looked for in this order: the same name; a path that ends in the other; the name without its extension; the
        number that is the name (of a video's frames and of COCO's images); and where the file knows numbers only,
        the frame's number.
        """
        people = self._find(_normal(name), index)
        return None if people is None else tuple(people)

    def _find(self, name: str, index: int | None) -> list[UserDetection] | None:
        if name in self.by_name:
            return self.by_name[name]
        for same in (
            lambda name_in_file: name_in_file,
            lambda name_in_file: str(PurePosixPath(name_in_file).with_suffix("")),
        ):
            hits = [
                people for name_in_file, people in self.by_name.items() if _ends_alike(same(name_in_file), same(name))
            ]
            if len(hits) == 1:
                return hits[0]
        stem = PurePosixPath(name).stem
        if _is_number(stem):
            return self._numbered.get(int(stem))
        return self.by_number.get(index) if index is not None and not self.by_name else None

    @cached_property
    def _numbered(self) -> dict[int, list[UserDetection]]:
        """By number; names that are bare numbers are frames of a video."""
        return {int(name): people for name, people in self.by_name.items() if _is_number(name)} | self.by_number


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", str(PurePosixPath(name.replace("\\", "/"))))


def _ends_alike(a: str, b: str) -> bool:
    return a == b or a.endswith("/" + b) or b.endswith("/" + a)


def finite_numbers(where: str, what: str, values: Any, counts: tuple[int, ...]) -> np.ndarray:
    """Check a list of finite numbers of one of the lengths, as float64. Raises InputError about record `where`
    otherwise.
    """
    expected = f"{' or '.join(map(str, counts))} numbers"
    if not isinstance(values, list) or len(values) not in counts:
        got = f"{len(values)}" if isinstance(values, list) else type(values).__name__
        raise InputError(where, f"has unusable {what}", expected=expected, got=got)
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not -_LARGEST < value < _LARGEST:  # NaN compares false
            range_text = f"finite numbers between -{_LARGEST:g} and {_LARGEST:g}"
            raise InputError(where, f"has unusable {what}", expected=range_text, got=repr(value)[:40])
    return np.array(values, np.float64)


def _check_record(where: str, record: Any) -> None:
    if not isinstance(record, dict):
        raise InputError(where, "is no record", expected="an object", got=type(record).__name__)


_JOINTS = len(COCO17)
_WHOLEBODY_JOINTS = 133  # COCO-WholeBody: its first 17 keypoints are coco17
_NOT_LABELLED, _HIDDEN, _VISIBLE = 0, 1, 2
_HIDDEN_CONFIDENCE = 0.5  # annotators guess hidden joints, and well


def people_from_coco(path: Path, document: Any, *, want: str) -> UserDetections:
    """Read the people of a parsed document. want 'keypoints' or 'box': what every person must have.

    In annotations the third number of a keypoint is a flag: 0 not labelled, 1 hidden (confidence 0.5), 2 visible. In
    results it is a confidence, clipped to 0–1, unless all are such flags. Left out are crowds, people without a single
    keypoint, and boxes of other categories than person. Raises InputError naming the record.
    """
    detections = UserDetections(path)
    if isinstance(document, list):
        table, records, label = {}, document, "entry"
        person = _person_in_results(document)
    else:
        table, records, label = _image_names(path, document, detections), document.get("annotations"), "annotations"
        person = _person_category(document)
    if not isinstance(records, list):
        raise InputError(path, "has no list of annotations", got=type(records).__name__)
    for number, record in enumerate(records):
        where = f"{path}, {label}[{number}]"
        _check_record(where, record)
        people = detections.mention(_image(where, record, table))
        of_another_kind = want == "box" and record.get("category_id", person) != person
        if of_another_kind or record.get("iscrowd", 0):
            continue
        row = _coco_person(where, record, flags=bool(table), want=want)
        if row is not None:
            people.append(row)
    return detections


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


def _person_category(document: dict[str, Any]) -> Any:
    categories = document.get("categories")
    for category in categories if isinstance(categories, list) else []:
        if isinstance(category, dict) and category.get("name") == "person":
            return category.get("id", 1)
    return 1


def _person_in_results(records: list[Any]) -> int:
    """Return the category of people: COCO counts from 1, many detectors from 0; person is the first either way."""
    from_zero = any(isinstance(record, dict) and record.get("category_id") == 0 for record in records)
    return 0 if from_zero else 1


def _image(where: str, record: dict[str, Any], table: dict[Any, str]) -> str | int:
    """Return the file name if it is known, else the image id."""
    image = record.get("file_name", record.get("image_id"))
    if isinstance(image, bool) or not isinstance(image, int | str) or image == "":
        raise InputError(where, "has no usable image_id", expected="a number or a name", got=repr(image))
    if table and image not in table and "file_name" not in record:
        raise InputError(where, "names an image that is not in the list of images", got=repr(image))
    return table.get(image, image)


def _coco_person(where: str, record: dict[str, Any], *, flags: bool, want: str) -> UserDetection | None:
    box = _box(where, record["bbox"]) if "bbox" in record else None
    keypoints = _coco_keypoints(where, record["keypoints"], flags=flags) if "keypoints" in record else None
    if want == "box" and box is None:
        raise InputError(where, "has no bbox", expected="x, y, width, height in pixels")
    if want == "keypoints" and "keypoints" not in record:
        remedy = "boxes are given with `boxes`" if box is not None else ""
        raise InputError(where, "has no keypoints", expected=f"{3 * _JOINTS} numbers", remedy=remedy)
    if want == "keypoints" and keypoints is None:
        return None
    score = finite_numbers(where, "score", [record.get("score", 1.0)], (1,))[0]
    return UserDetection(box, keypoints, float(np.clip(score, 0, 1)))


def _box(where: str, values: Any) -> np.ndarray:
    x, y, width, height = finite_numbers(where, "bbox", values, (4,))
    if width <= 0 or height <= 0:
        raise InputError(
            where, "has a bbox without area", expected="x, y, width, height", got=f"{width:g} × {height:g}"
        )
    return np.array([x, y, x + width, y + height], np.float32)


def _coco_keypoints(where: str, values: Any, *, flags: bool) -> np.ndarray | None:
    """Read (17, 3) with confidences, or None if nothing is labelled."""
    numbers = finite_numbers(where, "keypoints", values, (3 * _JOINTS, 3 * _WHOLEBODY_JOINTS))
    keypoints = numbers.reshape(-1, 3)[:_JOINTS].copy()
    third = keypoints[:, 2]
    if flags or (np.isin(third, (_NOT_LABELLED, _HIDDEN, _VISIBLE)).all() and (third == _VISIBLE).any()):
        keypoints[:, 2] = np.select([third >= _VISIBLE, third >= _HIDDEN], [1.0, _HIDDEN_CONFIDENCE], 0.0)
    keypoints[:, 2] = np.clip(keypoints[:, 2], 0, 1)
    return keypoints.astype(np.float32) if (keypoints[:, 2] > 0).any() else None


_UPPER = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
_ORDERS = {
    25: (*_UPPER, "pelvis", *_LEGS, *_FACE, *_FEET),  # BODY_25
    18: (*_UPPER, *_LEGS, *_FACE),  # COCO
}
_SUFFIX = "_keypoints.json"


def people_from_openpose(path: Path, document: Any) -> UserDetections:
    """Read the people of a parsed file; they belong to the image that it is named after (`a_keypoints.json` → a)."""
    detections = UserDetections(path)
    detections.mention(_image_name(path)).extend(_people(path, document))
    return detections


def people_from_openpose_folder(folder: Path, files: list[Path]) -> UserDetections:
    """Read the people of `*_keypoints.json`, by the name before it, and by frame number for one video's."""
    numbers = [re.fullmatch(r"(.*?)_?(\d{1,18})", _image_name(file)) for file in files]
    one_video = len({match[1] if match else None for match in numbers}) == 1
    detections = UserDetections(folder)
    for file, match in zip(files, numbers, strict=True):
        people = _people(file, read_json(file))
        detections.mention(_image_name(file)).extend(people)
        if one_video and match:
            detections.mention(int(match[2])).extend(people)
    return detections


def _image_name(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX) if path.name.endswith(_SUFFIX) else path.stem


def _people(path: Path, document: Any) -> list[UserDetection]:
    records = document.get("people") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise InputError(path, "holds no people", expected="OpenPose's JSON", got=type(document).__name__)
    people = []
    for number, record in enumerate(records):
        where = f"{path}, people[{number}]"
        _check_record(where, record)
        keypoints = _openpose_keypoints(where, record.get("pose_keypoints_2d", record.get("pose_keypoints")))
        visible = keypoints[:, 2] > 0
        if visible.any():
            people.append(UserDetection(None, keypoints, float(keypoints[visible, 2].mean())))
    return people


def _openpose_keypoints(where: str, values: Any) -> np.ndarray:
    """Reorder keypoints to coco17's: (17, 3) float32."""
    numbers = finite_numbers(where, "pose_keypoints_2d", values, tuple(3 * count for count in _ORDERS))
    theirs = numbers.reshape(-1, 3)
    visible = theirs[:, 2] > 0
    if visible.sum() > 2 and np.abs(theirs[visible, :2]).max() <= 1:
        remedy = "run OpenPose with --keypoint_scale 0"
        raise InputError(where, "has keypoints scaled to 0–1", expected="pixels", remedy=remedy)
    order = _ORDERS[len(theirs)]
    keypoints = theirs[[order.index(joint) for joint in COCO17.joint_names]]
    keypoints[:, 2] = np.clip(keypoints[:, 2], 0, 1)
    return keypoints.astype(np.float32)


_COCO_FIRST = (_JOINTS, 26, _WHOLEBODY_JOINTS)  # COCO, Halpe and COCO-WholeBody begin with coco17


def people_from_mmpose(path: Path, document: Any) -> UserDetections:
    """Read the people of one parsed file of MMPose 1.x.

    Its demos save {"meta_info", "instance_info"}, its inferencer what "instance_info" would be. That is a list of the
    people of the image that the file is named after (`a.json`, `results_a.json` → a), or, of a video, a list of
    {"frame_id", "instances"}; the demos count frames from 1, the inferencer from 0. A person is {"keypoints" (K, 2),
    "keypoint_scores" (K,), "bbox" [[x0, y0, x1, y1]], "bbox_score"}, the last two where people were detected first.
    Raises InputError naming the record.
    """
    detections = UserDetections(path)
    records, order, first = document, None, 0
    if isinstance(document, dict):
        records, order = document.get("instance_info"), _mmpose_order(path, document.get("meta_info"))
        if not isinstance(records, list):
            raise InputError(path, "has no list of instance_info", got=type(records).__name__)
        ids = [record.get("frame_id") for record in records if isinstance(record, dict)]
        first = 0 if 0 in ids else 1
    people = detections.by_name.setdefault(_normal(_image_name(path).removeprefix("results_")), [])
    for number, record in enumerate(records):
        where = f"{path}, [{number}]"
        _check_record(where, record)
        if "instances" not in record:
            people.append(_mmpose_person(where, record, order))
            continue
        frame, instances = record.get("frame_id"), record["instances"]
        if isinstance(frame, bool) or not isinstance(frame, int) or not isinstance(instances, list):
            raise InputError(where, "has no frame_id or no list of instances", expected="both")
        detections.by_name.clear()
        detections.mention(frame - first).extend(
            _mmpose_person(f"{where}, instances[{each}]", instance, order) for each, instance in enumerate(instances)
        )
    return detections


def is_mmpose(document: Any) -> bool:
    """Return whether a parsed document looks like MMPose's."""
    if isinstance(document, dict):
        return "instance_info" in document
    first = document[0] if isinstance(document, list) and document else None
    return isinstance(first, dict) and ("instances" in first or "keypoint_scores" in first)


def _mmpose_order(path: Path, meta: Any) -> list[int] | None:
    """Find the rows of coco17's joints in MMPose's keypoints by their names; None if it does not name them."""
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(names, dict):
        return None
    rows = {name: int(row) for row, name in names.items() if isinstance(name, str) and _is_number(str(row))}
    missing = [joint for joint in COCO17.joint_names if joint not in rows]
    if missing:
        expected, got = "those of COCO among its keypoints", f"none called {', '.join(missing)}"[:80]
        raise InputError(f"{path}, meta_info", "has other keypoints", expected=expected, got=got)
    return [rows[joint] for joint in COCO17.joint_names]


def _mmpose_person(where: str, record: Any, order: list[int] | None) -> UserDetection:
    points = record.get("keypoints") if isinstance(record, dict) else None
    if not isinstance(points, list):
        raise InputError(where, "has no keypoints", expected="a list of x, y")
    if len(points) not in _COCO_FIRST if order is None else len(points) <= max(order):
        expected = f"{', '.join(map(str, _COCO_FIRST))}" if order is None else f"more than {max(order)}"
        raise InputError(where, "has unusable keypoints", expected=expected, got=str(len(points)))
    scores = finite_numbers(where, "keypoint_scores", record.get("keypoint_scores"), (len(points),))
    rows = range(_JOINTS) if order is None else order
    joints = [[*finite_numbers(where, "keypoints", points[row], (2,)), np.clip(scores[row], 0, 1)] for row in rows]
    box = record.get("bbox")
    if isinstance(box, list) and len(box) == 1:  # MMPose 1.x writes it as a list of one
        box = box[0]
    keypoints, score = np.array(joints, np.float32), [record.get("bbox_score", 1.0)]
    if box is None:
        return UserDetection(None, keypoints)
    return replace(
        _boxed_person(where, finite_numbers(where, "bbox", box, (4,))),
        keypoints=keypoints,
        score=float(np.clip(finite_numbers(where, "bbox_score", score, (1,))[0], 0, 1)),
    )


_CORNERS = ("x0", "y0", "x1", "y1")


def boxes_from_json(path: Path, document: Any) -> UserDetections:
    """Read the boxes of a parsed document. Raises InputError for the record that is wrong."""
    if isinstance(document, list) or (isinstance(document, dict) and isinstance(document.get("annotations"), list)):
        return people_from_coco(path, document, want="box")
    if not isinstance(document, dict):
        raise InputError(path, "holds no boxes", expected="names and their boxes", got=type(document).__name__)
    if "people" in document:
        raise InputError(path, "holds OpenPose keypoints", expected="boxes", remedy="give it with `keypoints`")
    detections = UserDetections(path)
    for name, boxes in document.items():
        people = detections.mention(name)
        if not isinstance(boxes, list):
            raise InputError(f"{path}, {name!r}", "has no list of boxes", got=type(boxes).__name__)
        for number, values in enumerate(boxes):
            where = f"{path}, {name!r}[{number}]"
            people.append(_boxed_person(where, finite_numbers(where, "box", values, (4, 5))))
    return detections


def boxes_from_csv(path: Path) -> UserDetections:
    """Read the boxes of a CSV file. Raises InputError for the line that is wrong."""
    text = read_text(path, kind="CSV")
    first = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    detections = UserDetections(path)
    try:
        header = [name.strip() for name in rows.fieldnames or []]
        if not {"name", *_CORNERS} <= set(header):
            expected = f"the columns name, {', '.join(_CORNERS)}"
            raise InputError(path, "has no usable header", expected=expected, got=", ".join(header) or "nothing")
        rows.fieldnames = header
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if not row["name"]:
                raise InputError(where, "has no name", expected="the image's")
            columns = [*_CORNERS, "score"] if row.get("score") else list(_CORNERS)
            values = [_number(where, column, row[column]) for column in columns]
            detections.mention(row["name"]).append(_boxed_person(where, finite_numbers(where, "box", values, (4, 5))))
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}", f"is no CSV ({error})") from error
    return detections


def _number(where: str, column: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise InputError(where, f"has an unusable {column}", expected="a number", got=repr(text or "")) from error


def _boxed_person(where: str, values: np.ndarray) -> UserDetection:
    x0, y0, x1, y1 = values[:4]
    if x1 <= x0 or y1 <= y0:
        got = " ".join(f"{value:g}" for value in values[:4])
        raise InputError(where, "has a box without area", expected="x0 < x1 and y0 < y1", got=got)
    score = float(np.clip(values[4], 0, 1)) if len(values) == 5 else 1.0
    return UserDetection(values[:4].astype(np.float32), None, score)


def read_keypoints(path: Path | str) -> UserDetections:
    """Read keypoints from COCO's JSON (results or annotations), OpenPose's or MMPose's JSON, or a folder of their
    files.

    Every person has `keypoints` (coco17), and a box if the file has one. Raises InputError naming the file and the
    record for anything else.
    """
    path = Path(path)
    if path.is_dir():
        return _people_from_folder(path)
    document = read_json(path)
    if isinstance(document, dict) and "people" in document:
        return people_from_openpose(path, document)
    if is_mmpose(document):
        return people_from_mmpose(path, document)
    if isinstance(document, list) or (isinstance(document, dict) and "annotations" in document):
        return people_from_coco(path, document, want="keypoints")
    names = ", ".join(map(repr, document)) or "nothing" if isinstance(document, dict) else ""
    got = f"an object with {names}"[:80] if names else type(document).__name__
    expected = "COCO's results or annotations, or OpenPose's or MMPose's JSON"
    raise InputError(path, "holds no keypoints", expected=expected, got=got)


def _people_from_folder(folder: Path) -> UserDetections:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix == ".json")
    except OSError as error:
        raise reading_error(folder, error) from error
    openpose = [file for file in files if file.name.endswith(_SUFFIX)]
    if openpose:
        return people_from_openpose_folder(folder, openpose)
    if not files:
        raise InputError(folder, "holds no JSON files", expected="what OpenPose's --write_json or MMPose made")
    detections = UserDetections(folder)
    for file in files:
        detections.by_name.update(people_from_mmpose(file, read_json(file)).by_name)
    return detections


def read_boxes(path: Path | str) -> UserDetections:
    """Read boxes from JSON or CSV (see the top of this file), or from COCO's results. Every person has a `box`; only
    COCO's results have keypoints too. Raises InputError for the file and the record that is wrong.
    """
    path = Path(path)
    if path.suffix.lower() in {".csv", ".tsv", ".txt"}:
        return boxes_from_csv(path)
    return boxes_from_json(path, read_json(path))
