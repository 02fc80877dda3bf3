"""Boxes of people in the package's own forms: JSON and CSV.

JSON  {"a.jpg": [[x0, y0, x1, y1], [x0, y0, x1, y1, score]], "b.jpg": []}. For a video the names are frame numbers.
CSV   a header and a row a person: name, x0, y0, x1, y1 and, if there, score; separated by commas, semicolons or tabs
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.detections.records import UserDetection, UserDetections, corner_box, finite_numbers
from humanpose_cli.io.text_files import read_text

_CORNERS = ("x0", "y0", "x1", "y1")
_KIND = "boxes"


def boxes_from_table(path: Path, document: dict[str, Any]) -> UserDetections:
    """Read the boxes of a parsed JSON document. Raises InputError for the record that is wrong."""
    detections = UserDetections(path, _KIND)
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
    detections = UserDetections(path, _KIND)
    try:
        header = [name.strip() for name in rows.fieldnames or []]
        if not {"name", *_CORNERS} <= set(header):
            expected = f"the columns name, {', '.join(_CORNERS)}"
            raise InputError(path, "has no usable header", expected=expected, got=", ".join(header)[:80] or "nothing")
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
    return UserDetection(corner_box(where, values), None, float(values[4]) if len(values) == 5 else 1.0)
