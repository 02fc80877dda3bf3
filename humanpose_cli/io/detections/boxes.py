"""Boxes of people: JSON of the package's own form, and tables (CSV).

JSON  {"a.jpg": [[x0, y0, x1, y1], [x0, y0, x1, y1, score]], "b.jpg": []}. For a video the names are frame numbers.
CSV   a header and a row a person, separated by commas, semicolons or tabs, whose columns are found by their names:
      TensorFlow's and Roboflow's filename, width, height, class, xmin, ymin, xmax, ymax; YOLOv5's `pandas().xyxy` with
      confidence, class and name; Ultralytics' `Results.to_csv`, whose column box holds a table (engine/results.py)
MOT   MOTChallenge's rows without a header (motchallenge.net/instructions): frame and id from 1, left, top, width,
      height, confidence (-1: unknown), x, y, z; gt.txt has 9 columns, with class (1, 2, 7: people) and visibility
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.records import (
    PEOPLE,
    UNIT,
    UserDetection,
    UserDetections,
    corner_box,
    finite_numbers,
    sized_box,
    stated_size,
    track_of,
)
from humanpose_cli.io.text_files import read_text

# Names of columns in lower case, without signs and without "bbox", "box" or "bb" before them. The first found counts.
_CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
_SIZED = (("left", "top", "width", "height"), ("x", "y", "width", "height"), ("x", "y", "w", "h"))
_BOXES = (*_CORNERS, ("left", "top", "right", "bottom"), *_SIZED)
_IMAGES = ("filename", "imagename", "imageid", "imagepath", "image", "path", "file", "name", "frame", "frameid")
_CLASSES = ("classname", "labelname", "label", "category", "class")
_SCORES = ("score", "confidence", "conf")
_SIZES = {"imagewidth": "image_width", "imageheight": "image_height"}
_MOT = ("frame", "id", "left", "top", "width", "height", "score")
_MOT_TRUTH = (*_MOT, "class", "visibility")
_KIND = "boxes"


def boxes_from_table(path: Path, document: dict[str, Any]) -> UserDetections:
    """Read the boxes of a parsed JSON document. Raises InputError for the record that is wrong."""
    detections = UserDetections(path, _KIND)
    for name, boxes in document.items():
        people = detections.mention(name)
        if not isinstance(boxes, list):
            raise InputError(f"{path}, {name!r}", "has no list of boxes", got=type(boxes).__name__)
        for number, record in enumerate(boxes):
            where = f"{path}, {name!r}[{number}]"
            values = finite_numbers(where, "box", record, (4, 5))
            people.append(UserDetection(corner_box(where, values), None, float([*values, 1.0][4])))
    return detections


def boxes_from_csv(path: Path) -> UserDetections:
    """Read the boxes of a table. Raises InputError for the line that is wrong."""
    text = read_text(path, kind="CSV")
    first = text.split("\n", 1)[0]
    lines = csv.reader(io.StringIO(text), delimiter=max(",;\t ", key=first.count), skipinitialspace=True)
    try:
        rows = [(f"{path}, line {lines.line_num}", cells) for cells in lines if any(cells)]
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}", f"is no CSV ({error})") from error
    header = rows[0][1] if rows else []
    mot = len(header) >= len(_MOT) - 1 and all(re.fullmatch(r"[-+.\deE]+", cell) for cell in header if cell)
    if mot:
        names: Sequence[str] = _MOT_TRUTH if len(header) == len(_MOT_TRUTH) else _MOT
    else:
        names, rows = _short_names(header), rows[1:]
    records = [(where, _record(names, cells)) for where, cells in rows]
    columns = {*names, *(records[0][1] if records else ())}
    box = next((box for box in _BOXES if columns.issuperset(box)), ())
    image = _first(_IMAGES, columns)
    if not box or not (image or "classname" in columns):
        expected, got = f"the columns name, {', '.join(_CORNERS[0])}", ", ".join(header)[:80] or "nothing"
        raise InputError(path, "has no usable header", expected=expected, got=got)
    kept = _classes_of_people(path, {_value(_CLASSES, record) for _, record in records}, mot=mot)
    detections = UserDetections(path, _KIND, names_image=bool(image), first_frame=int(mot))
    for where, record in records:
        name = record[image] if image else path.stem
        if not name:
            raise InputError(where, "has no name", expected="the image's")
        people = detections.mention(f"{int(float(name)):06d}" if mot else name)
        if _value(_CLASSES, record) in kept and any(record.get(column) for column in box):
            people.append(_person(where, record, box))
    return detections


def _short_names(header: Sequence[str]) -> list[str]:
    names = [re.sub("^(bbox|box|bb)(?=.)", "", re.sub("[^a-z0-9]", "", name.lower())) for name in header]
    if {"name", "class", "confidence"}.issubset(names):  # YOLO's names of classes
        names[names.index("name")] = "classname"
    return names


def _record(names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    record = dict(zip(names, (cell.strip() for cell in cells), strict=False))
    return record | dict(re.findall(r"([xy][12])\W+([-+.\deE]+)", record.get("box", "")))


def _first(names: Sequence[str], columns: Mapping[str, str] | set[str]) -> str:
    return next((name for name in names if name in columns), "")


def _value(names: Sequence[str], record: Mapping[str, str]) -> str:
    return record.get(_first(names, record), "")


def _classes_of_people(path: Path, classes: set[str], *, mot: bool) -> set[str]:
    """Select the classes of people: by name, MOTChallenge's by number, and 0, or else 1, of other numbers."""
    numbers = {"1", "2", "7"} if mot else {"0"} if "0" in classes else {"1"}
    people = {name for name in classes if not name or name.lower() in PEOPLE} or classes & numbers
    if classes and not people:
        got = ", ".join(sorted(classes))[:80]
        raise InputError(path, "has no class of people", expected=", ".join(PEOPLE), got=got)
    return people


def _person(where: str, record: Mapping[str, str], columns: Sequence[str]) -> UserDetection:
    values = [_number(where, column, record.get(column, "")) for column in columns]
    box = sized_box(where, values) if columns in _SIZED else None
    if box is None:
        box = corner_box(where, finite_numbers(where, "box", values, (4,)))
    rest = {_SIZES.get(name, name): _plain(text) for name, text in record.items() if name not in columns}
    (score,) = finite_numbers(where, "score", [_number(where, "score", _value(_SCORES, record) or "1")], (1,))
    canvas = UNIT if np.abs(box).max() <= 1 else stated_size(rest)
    track = track_of({"track_id": rest.get("trackid", rest.get("id", rest.get("track")))})
    return UserDetection(box, None, 1.0 if score == -1 else float(score), track, canvas)


def _plain(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(where: str, column: str, text: str) -> float:
    number = _plain(text)
    if number is None:
        raise InputError(where, f"has an unusable {column}", expected="a number", got=repr(text))
    return number
