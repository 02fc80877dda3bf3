"""People in text without JSON: tables of boxes (CSV), MOTChallenge's rows and YOLO's labels.

CSV     a header and a row a person, separated by commas, semicolons or tabs, whose columns are found by their names:
        TensorFlow's and Roboflow's filename, width, height, class, xmin, ymin, xmax, ymax; YOLOv5's `pandas().xyxy`
        with confidence, class and name; Ultralytics' `Results.to_csv`, whose column box holds a table
        (engine/results.py)
MOT     MOTChallenge's rows without a header (motchallenge.net/instructions): frame and id from 1, left, top, width,
        height, confidence (-1: unknown), x, y, z; gt.txt has 9 columns, with class (1, 2, 7: people) and visibility
Labels  Ultralytics' NAME.txt of an image, NAME_1.txt … of a video's frames: a line a person with class, x and y of the
        box's centre, width, height, then x, y and score of each joint, all in shares of the image's sides, and perhaps
        score and track (ultralytics/engine/results.py, `Results.save_txt`; engine/predictor.py, `write_results`)
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.documents import table_rows
from humanpose_cli.io.detections.people import BOX_KEYS, Form, PersonEntry, stated_size
from humanpose_cli.io.detections.records import PEOPLE, UNIT

# Names of columns in lower case, without signs and prefixes "bbox", "box" and "bb". The first match counts.
_CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
_SIZED = (("left", "top", "width", "height"), ("x", "y", "width", "height"), ("x", "y", "w", "h"))
_BOXES = (*_CORNERS, ("left", "top", "right", "bottom"), *_SIZED)
_FRAMES = ("frame", "frameid", "frameindex", "framenumber")
_COLUMNS = {
    "image": ("filename", "imagename", "imageid", "imagepath", "image", "path", "file", "name", *_FRAMES),
    "class": ("classname", "labelname", "label", "category", "class", "classid"),
    "score": ("score", "confidence", "conf"),
    "track_id": ("trackid", "trackerid", "track"),
    "width": ("imagewidth", "width"),
    "height": ("imageheight", "height"),
}
_MOT = ("frame", "trackid", "left", "top", "width", "height", "score")
_MOT_TRUTH = (*_MOT, "class", "visibility")
_LABEL_BOX = 5  # numbers: class and box
_COUNTS = (17, 26, 133, 136, 33, 16)  # of joints in labels, the likeliest first
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?"


def _is_table(text: Any) -> bool:
    """Return whether a document is text, or a list of objects with the sides of a box."""
    first = next((record for record in text if isinstance(record, Mapping)), {}) if isinstance(text, list) else {}
    sides = (*_CORNERS, _SIZED[0]) if "box" not in first else ()
    return isinstance(text, str) or any({*box} <= {*_short_names([*map(str, first)])} for box in sides)


def _is_mot(text: Any) -> bool:
    """Return whether text begins as a table of MOTChallenge: numbers and no header."""
    first = text.lstrip().split("\n", 1)[0] if isinstance(text, str) else ""
    cells = next(((cells for _, cells in table_rows(Path(), first))), [])
    return len(cells) >= len(_MOT) and all(re.fullmatch(_NUMBER, cell) for cell in cells if cell)


def _table_entries(path: Path, text: str) -> Iterator[PersonEntry]:
    """List the boxes of a table. Raises InputError if its columns are unknown."""
    rows = list(table_rows(path, text) if isinstance(text, str) else _rows_of_objects(path, text))
    header = rows[0][1] if rows else []
    mot = _is_mot(text)
    names = list(_MOT_TRUTH if len(header) == len(_MOT_TRUTH) else _MOT) if mot else _short_names(header)
    box = next((box for box in _BOXES if set(box).issubset(names)), None)
    columns = {key: name for key, few in _COLUMNS.items() for name in reversed(few) if name in names}
    if box is None or not {"image", "class"} & columns.keys():
        expected, got = f"the columns name, {', '.join(_CORNERS[0])}", ", ".join(header)[:80] or "nothing"
        raise InputError(path, "has no usable header", expected=expected, got=got)
    records = [(where, _record(names, cells)) for where, cells in rows[0 if mot else 1 :]]
    classes = _classes_of_people(path, {record[columns["class"]] for _, record in records if "class" in columns}, mot)
    for where, record in records:
        values = {key: record[name] for key, name in columns.items() if name not in box}
        image = values.get("image") if "image" in columns else None
        if image == "":
            yield PersonEntry(None, where, InputError(where, "has no name", expected="the image's"))
            continue
        if image is not None and (mot or columns["image"] in _FRAMES) and re.fullmatch(_NUMBER, image):
            image = f"{int(float(image)):06d}"
        if values.get("class", "") not in classes or not any(record[name] for name in box):
            yield PersonEntry(image, where)
            continue
        yield _boxed(image, where, {name: record[name] for name in box}, values)


def _rows_of_objects(path: Path, records: Sequence[Any]) -> Iterator[tuple[str, list[str]]]:
    """List the rows of a table that is a list of objects, as `to_json(orient="records")` of pandas writes."""
    keys = [*dict.fromkeys(str(key) for record in records if isinstance(record, Mapping) for key in record)]
    yield str(path), keys
    for row, record in enumerate(records):
        values = record if isinstance(record, Mapping) else {}
        yield f"{path}, [{row}]", ["" if values.get(key) is None else str(values[key]) for key in keys]


def _short_names(header: Sequence[str]) -> list[str]:
    names = [re.sub("^(bbox|box|bb)(?=.)", "", re.sub("[^a-z0-9]", "", name.lower())) for name in header]
    if {"name", "class", "confidence"}.issubset(names) and "x0" not in names:  # YOLO's names of classes
        names[names.index("name")] = "classname"
    return [*names, *_CORNERS[2]] if "box" in names else names


def _record(names: Sequence[str], cells: Sequence[str]) -> defaultdict[str, str]:
    """Map the columns' names to a row's texts; a column `box` holds a table of corners."""
    record = defaultdict(str, zip(names, cells, strict=False))
    return defaultdict(str, record | dict(re.findall(rf"([xy][12])\W+({_NUMBER})", record["box"])))


def _classes_of_people(path: Path, classes: set[str], mot: bool) -> set[str]:
    """Select the classes of people: by name, MOTChallenge's by number, otherwise 0, or 1 if there is no 0."""
    numbers = {"1", "2", "7", "-1"} if mot else {"0"} if "0" in classes else {"1"}
    people = {name for name in classes if name.lower() in PEOPLE} or classes & numbers
    if classes and not people:
        got = ", ".join(sorted(classes))[:80]
        raise InputError(path, "has no class of people", expected=", ".join(PEOPLE), got=got)
    return people or {""}


def _boxed(image: str | None, where: str, box: Mapping[str, str], values: Mapping[str, str]) -> PersonEntry:
    """Make the entry of a row from the texts of its box and of its other columns."""
    numbers = {name: float(text) for name, text in values.items() if re.fullmatch(_NUMBER, text)}
    sides: list[Any] = [float(text) if re.fullmatch(_NUMBER, text) else text for text in box.values()]
    if values.get("score") and "score" not in numbers:
        problem = InputError(where, "has an unusable score", expected="a number", got=repr(values["score"]))
        return PersonEntry(image, where, problem)
    sized, size = tuple(box) in _SIZED, stated_size(numbers)
    if size and all(isinstance(value, float) for value in sides):
        extent = sides[2:] if sized else np.subtract(sides[2:], sides[:2])
        size = None if any(sides[:2]) and np.allclose(extent, size, atol=1) else size  # of the box, not of the image
    score = numbers.get("score", 1.0)
    record = {"box": dict(zip(BOX_KEYS[sized], sides, strict=True)), "score": 1.0 if score == -1 else score}
    return PersonEntry(image, where, {**record, "track_id": numbers.get("track_id")}, canvas=size)


def _is_labels(text: Any) -> bool:
    """Return whether a file begins with a line of labels: a class and at least four numbers below 2."""
    tokens = text.lstrip().split("\n", 1)[0].split() if isinstance(text, str) else []
    if len(tokens) < _LABEL_BOX or not tokens[0].isdigit() or not all(re.fullmatch(_NUMBER, word) for word in tokens):
        return False
    return all(0 <= float(word) < 2 for word in tokens[1:_LABEL_BOX])


def _label_entries(path: Path, text: str) -> Iterator[PersonEntry]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                record: Any = _labelled(where, line)
            except (InputError, ValueError) as error:
                expected, got = "class, x, y, width, height", repr(line)[:40]
                lined = InputError(where, "is no line of YOLO's labels", expected=expected, got=got)
                record = error if isinstance(error, InputError) else lined
            yield PersonEntry(None, where, record, canvas=UNIT)


def _labelled(where: str, line: str) -> dict[str, Any] | None:
    """Read the values of a line; None for other classes than the first. Raises ValueError for other lines."""
    values = [float(word) for word in line.split()]
    if values[0] != 0:
        return None
    x, y, width, height = values[1:_LABEL_BOX]
    box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    rest, joints = values[_LABEL_BOX:], {}
    if len(rest) > 2:
        layouts = ((w, c) for w, tail, c in product((3, 2), (0, 1, 2), _COUNTS) if len(rest) == w * c + tail)
        per_joint, count = next(layouts, (0, 0))
        if not count:
            problem = f"holds {len(rest)} numbers behind the box (YOLO's labels)"
            raise InputError(where, problem, expected="x, y and score of 17 joints")
        joints = {"keypoints": np.reshape(rest[: per_joint * count], (count, per_joint))}
        rest = rest[per_joint * count :]
    # Scores are below 1, tracks count from 1.
    score = next((value for value in rest[:1] if len(rest) == 2 or value < 1), 1.0)
    track = rest[-1] if len(rest) == 2 or (rest and rest[0] >= 1) else None
    return {**joints, "box": box, "score": score, "track_id": track}


LABELS = Form("YOLO's labels", _is_labels, _label_entries, box=("box",), corners=True, first_frame=1)
MOT = Form("MOTChallenge's boxes", _is_mot, _table_entries, points=(), box=("box",), first_frame=1)
TABLES = (LABELS, MOT, Form("boxes", _is_table, _table_entries, points=(), box=("box",)))
"""The first form that matches a text counts."""
