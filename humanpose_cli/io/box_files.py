"""Boxes from other detectors, as JSON or CSV.

JSON  {"a.jpg": [[x0, y0, x1, y1], [x0, y0, x1, y1, score]], "b.jpg": []}, or COCO's results with bbox (x, y, width,
      height). For a video the names are frame numbers.
CSV   a header and a row a person: name, x0, y0, x1, y1 and, if there, score; separated by commas, semicolons or tabs
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.errors import InputError
from humanpose_cli.io.coco_files import people_from_coco
from humanpose_cli.io.given_people import GivenPeople, GivenPerson, PeopleCollector, finite_numbers
from humanpose_cli.io.sniffing import describe_file, reading_error

__all__ = ["boxes_from_csv", "boxes_from_json"]

_CORNERS = ("x0", "y0", "x1", "y1")


def boxes_from_json(path: Path, document: Any) -> GivenPeople:
    """Boxes of a parsed document. InputError naming the record."""
    if isinstance(document, list) or (isinstance(document, dict) and isinstance(document.get("annotations"), list)):
        return people_from_coco(path, document, want="box")
    if not isinstance(document, dict):
        raise InputError(path, "holds no boxes", expected="names and their boxes", got=type(document).__name__)
    if "people" in document:
        raise InputError(path, "holds OpenPose keypoints", expected="boxes", remedy="give it with --keypoints")
    collector = PeopleCollector(path)
    for name, boxes in document.items():
        people = collector.mention(name)
        if not isinstance(boxes, list):
            raise InputError(f"{path}, {name!r}", "has no list of boxes", got=type(boxes).__name__)
        for number, values in enumerate(boxes):
            where = f"{path}, {name!r}[{number}]"
            people.append(_person(where, finite_numbers(where, "box", values, (4, 5))))
    return collector.collected()


def boxes_from_csv(path: Path) -> GivenPeople:
    """Boxes of a CSV file. InputError naming the line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise reading_error(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is no CSV file", got=describe_file(path)) from error
    first = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    header = [name.strip() for name in rows.fieldnames or []]
    if not {"name", *_CORNERS} <= set(header):
        expected = f"the columns name, {', '.join(_CORNERS)}"
        raise InputError(path, "has no usable header", expected=expected, got=", ".join(header) or "nothing")
    rows.fieldnames = header
    collector = PeopleCollector(path)
    try:
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if not row["name"]:
                raise InputError(where, "has no name", expected="the picture's")
            columns = [*_CORNERS, "score"] if row.get("score") else list(_CORNERS)
            values = [_number(where, column, row[column]) for column in columns]
            collector.mention(row["name"]).append(_person(where, finite_numbers(where, "box", values, (4, 5))))
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}", f"is no CSV ({error})") from error
    return collector.collected()


def _number(where: str, column: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise InputError(where, f"has an unusable {column}", expected="a number", got=repr(text or "")) from error


def _person(where: str, values: np.ndarray) -> GivenPerson:
    x0, y0, x1, y1 = values[:4]
    if x1 <= x0 or y1 <= y0:
        got = " ".join(f"{value:g}" for value in values[:4])
        raise InputError(where, "has a box without area", expected="x0 < x1 and y0 < y1", got=got)
    score = float(np.clip(values[4], 0, 1)) if len(values) == 5 else 1.0
    return GivenPerson(values[:4].astype(np.float32), None, score)
