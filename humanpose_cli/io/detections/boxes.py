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
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import finite_numbers
from humanpose_cli.io.detections.records import (
    PEOPLE,
    UNIT,
    UserDetection,
    UserDetections,
    corner_box,
    sized_box,
    stated_size,
    track_of,
)
from humanpose_cli.io.text_files import read_text

# Names of columns in lower case, without signs and prefixes "bbox", "box" and "bb". The first match counts.
_CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
_SIZED = (("left", "top", "width", "height"), ("x", "y", "width", "height"), ("x", "y", "w", "h"))
_BOXES = (*_CORNERS, ("left", "top", "right", "bottom"), *_SIZED)
_COLUMNS = {
    "image": ("filename", "imagename", "imageid", "imagepath", "image", "path", "file", "name", "frame", "frameid"),
    "class": ("classname", "labelname", "label", "category", "class"),
    "score": ("score", "confidence", "conf"),
    "track_id": ("trackid", "track"),
    "width": ("imagewidth", "width"),
    "height": ("imageheight", "height"),
}
_MOT = ("frame", "trackid", "left", "top", "width", "height", "score")
_MOT_TRUTH = (*_MOT, "class", "visibility")
_KIND = "boxes"


def boxes_from_table(path: Path, document: dict[str, Any]) -> UserDetections:
    """Read the boxes of a parsed JSON document. Raises InputError with the invalid record."""
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
    """Read the boxes of a table. Raises InputError with the invalid line."""
    text = read_text(path, kind="CSV")
    first = text.split("\n", 1)[0]
    sign = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text), delimiter=sign if sign in first else " ", skipinitialspace=True)
    try:
        rows = [(f"{path}, line {lines.line_num}", cells) for cells in lines if any(cells)]
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}", f"is no CSV ({error})") from error
    header = rows[0][1] if rows else []
    mot = len(header) >= len(_MOT) and all(re.fullmatch(r"[-+.\deE]+", cell) for cell in header if cell)
    names = list(_MOT_TRUTH if len(header) == len(_MOT_TRUTH) else _MOT) if mot else _short_names(header)
    box = next((box for box in _BOXES if set(box).issubset(names)), None)
    columns = {key: name for key, few in _COLUMNS.items() for name in reversed(few) if name in names}
    if box is None or not {"image", "class"} & columns.keys():
        expected, got = f"the columns name, {', '.join(_CORNERS[0])}", ", ".join(header)[:80] or "nothing"
        raise InputError(path, "has no usable header", expected=expected, got=got)
    records = [(where, _record(names, cells)) for where, cells in rows[0 if mot else 1 :]]
    classes = _classes_of_people(path, {record[columns["class"]] for _, record in records if "class" in columns}, mot)
    detections = UserDetections(path, _KIND, names_image="image" in columns, first_frame=int(mot))
    for where, record in records:
        values = {key: record[name] for key, name in columns.items() if name not in box}
        if not (image := values.get("image", path.stem)):
            raise InputError(where, "has no name", expected="the image's")
        if mot:
            image = f"{int(*finite_numbers(where, 'frame', [_number(where, 'frame', image)], (1,))):06d}"
        people = detections.mention(image)
        if values.get("class", "") in classes and any(record[name] for name in box):
            people.append(_person(where, {name: record[name] for name in box}, values))
    return detections


def _short_names(header: Sequence[str]) -> list[str]:
    names = [re.sub("^(bbox|box|bb)(?=.)", "", re.sub("[^a-z0-9]", "", name.lower())) for name in header]
    if {"name", "class", "confidence"}.issubset(names) and "x0" not in names:  # YOLO's names of classes
        names[names.index("name")] = "classname"
    return [*names, *_CORNERS[2]] if "box" in names else names


def _record(names: Sequence[str], cells: Sequence[str]) -> defaultdict[str, str]:
    """Map the columns' names to a row's texts; a column `box` holds a table of corners."""
    record = defaultdict(str, zip(names, (cell.strip() for cell in cells), strict=False))
    return defaultdict(str, record | dict(re.findall(r"([xy][12])\W+([-+.\deE]+)", record["box"])))


def _classes_of_people(path: Path, classes: set[str], mot: bool) -> set[str]:
    """Select the classes of people: by name, MOTChallenge's by number, otherwise 0, or 1 if there is no 0."""
    numbers = {"1", "2", "7", "-1"} if mot else {"0"} if "0" in classes else {"1"}
    people = {name for name in classes if name.lower() in PEOPLE} or classes & numbers
    if classes and not people:
        got = ", ".join(sorted(classes))[:80]
        raise InputError(path, "has no class of people", expected=", ".join(PEOPLE), got=got)
    return people or {""}


def _person(where: str, box: Mapping[str, str], values: Mapping[str, str]) -> UserDetection:
    corners = finite_numbers(where, "box", [_number(where, column, text) for column, text in box.items()], (4,))
    checked = sized_box(where, corners.tolist()) if tuple(box) in _SIZED else corner_box(where, corners)
    (score,) = finite_numbers(where, "score", [_number(where, "score", values.get("score") or "1")], (1,))
    numbers = {name: _number(where, name, text) for name, text in values.items() if re.fullmatch(r"-?\d+(\.0*)?", text)}
    size = stated_size(numbers)
    is_of_box = size and checked[:2].any() and np.allclose(checked[2:] - checked[:2], size, atol=1)
    canvas = UNIT if np.abs(checked).max() <= 1 else None if is_of_box else size
    return UserDetection(checked, None, 1.0 if score == -1 else float(score), track_of(numbers), canvas)


def _number(where: str, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(where, f"has an unusable {column}", expected="a number", got=repr(text)) from error
