"""People in any table or list of points, whatever program wrote it: found by structure and by names.

A point is an object with x and y, or 2 to 4 numbers. A person is a list of points, an array of as many points as an
order of joints has, an object whose keys are joints, the columns of a row of a table (`nose_x`, `nose_y`), or rows that
name a joint each. What stands on the way to a person says which frame or image shows it: numbers, times and names; if
nothing does, the outermost list counts frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from humanpose_cli.files.checks import is_number
from humanpose_cli.files.documents import table_rows
from humanpose_cli.io.detections.joint_orders import COUNTS, body_joint, joints_by_name
from humanpose_cli.io.detections.people import Form, PersonEntry, stated_size

_SCORE = re.compile(
    r"(keypoint_?)?(scores?|conf(idences?)?|visibilit(y|ies)|visible|likelihood|prob(ability)?|presence|[cpv])", re.I
)
_NUMBER = re.compile(r"(frame|img|image)([_ ]?(index|idx|id|number|no|num))?", re.I)
_NAME = re.compile(r"(image|frame|file)([_ ]?(name|path|id))?|img|path", re.I)
_TIME = re.compile(r"(time|timestamp|t|pts)([_ ]?(in)?[_ ]?(us|ms|ns|s|secs?|seconds))?", re.I)
_TRACK = re.compile(r"((person|track|tracker|pose|body)[_ ]?)?(id|idx)|person|track", re.I)
_LABELS = (
    "name",
    "part",
    "bodypart",
    "body_part",
    "joint",
    "label",
    "keypoint",
    "class",
    "class_name",
    "type",
    "keypointlabels",
)
_INNER = ("position", "point", "value", "coordinates", "coords", "location", "loc")
_COLUMN = re.compile(r"(.+?)[_. :-]?(x|y|score|confidence|conf|likelihood|visibility)", re.I)
_OTHER_SPACE = re.compile(r"world|3d", re.I)
_MIN_POINTS = 6  # of a person whose joints are named


class FoundPerson(NamedTuple):
    """A person of a tree.

    Attributes:
        path: Keys and rows on the way.
        facts: Numbers, times and names on the way, by their keys.
        rows: (K, 3). x, y and score, 1 if there are no scores.
        names: The file's names of the joints. None if their number decides.
    """

    path: tuple[Any, ...]
    facts: Mapping[str, Any]
    rows: np.ndarray
    names: Sequence[str] | None


def people_of_tree(value: Any) -> list[FoundPerson]:
    """Find the people in lists, tables and arrays. Landmarks in metres beside others in the image are left out."""
    people = list(_walk(value, (), {}))
    flat = [person for person in people if not any(_OTHER_SPACE.search(str(key)) for key in person.path)]
    return flat or people


def _walk(value: Any, path: tuple[Any, ...], facts: Mapping[str, Any]) -> Iterator[FoundPerson]:
    if isinstance(value, Mapping):
        yield from _walk_table(value, path, facts)
    elif isinstance(value, list | tuple | np.ndarray) and len(value):
        array = _array_of(value)
        if array is not None:
            yield from _walk_array(array, path, facts)
        elif not (people := _people_of_points(value, path, facts)):
            for row, item in enumerate(value):
                yield from _walk(item, (*path, row), facts)
        else:
            yield from people


def _walk_table(table: Mapping[Any, Any], path: tuple[Any, ...], facts: Mapping[str, Any]) -> Iterator[FoundPerson]:
    own = {str(key): value for key, value in table.items() if isinstance(value, str) or is_number(value)}
    facts = {**facts, **own}
    joints = {str(key): point for key, value in table.items() if (point := _point(value)) and body_joint(str(key))}
    columns: dict[str, dict[str, float]] = {}
    for key, value in own.items():
        if (match := _COLUMN.fullmatch(key)) and body_joint(match[1]) and is_number(value):
            columns.setdefault(match[1], {})[match[2].lower()] = float(value)
    for name, cells in columns.items():
        if "x" in cells and "y" in cells:
            joints[name] = (cells.pop("x"), cells.pop("y"), next(iter(cells.values()), 1.0))
    if len(joints) >= _MIN_POINTS:
        yield FoundPerson(path, facts, np.array([*joints.values()], np.float64), [*joints])
        return
    scores = next((a for k, v in table.items() if _SCORE.fullmatch(str(k)) and (a := _array_of(v)) is not None), None)
    for key, value in table.items():
        if not (scores is not None and _SCORE.fullmatch(str(key))) and isinstance(
            value, Mapping | list | tuple | np.ndarray
        ):
            for person in _walk(value, (*path, key), facts):
                rows = person.rows
                at = tuple(step for step in person.path[len(path) + 1 :] if isinstance(step, int))
                if scores is not None and scores.shape[len(at) :] == rows.shape[:1] and len(at) < scores.ndim:
                    rows = np.column_stack((rows[:, :2], scores[at]))
                yield person._replace(rows=rows)


def _walk_array(array: np.ndarray, path: tuple[Any, ...], facts: Mapping[str, Any]) -> Iterator[FoundPerson]:
    """Find people in an array (…, K, 2 to 4) or flat (…, 2 K or 3 K)."""
    if not (array.ndim > 1 and array.shape[-1] in (2, 3, 4) and array.shape[-2] in COUNTS):
        size = array.shape[-1]
        width = next((w for w in (3, 2, 4) if size % w == 0 and size // w in COUNTS), 0)
        if not width:
            return
        array = array.reshape(*array.shape[:-1], -1, width)
    for at in np.ndindex(array.shape[:-2]):
        yield FoundPerson((*path, *at), facts, _rows(array[at]), None)


def _rows(points: np.ndarray) -> np.ndarray:
    """Make x, y and score (K, 3) of (K, 2 to 4) numbers, whose last one is a score if it is none of a position."""
    third = points[:, -1] if points.shape[1] > 2 else np.ones(len(points))
    is_depth = points.shape[1] == 3 and bool(((third < 0) & (third != -1)).any())
    return np.column_stack((points[:, :2], np.ones(len(points)) if is_depth else third))


def _people_of_points(
    values: Sequence[Any] | np.ndarray, path: tuple[Any, ...], facts: Mapping[str, Any]
) -> list[FoundPerson]:
    """Find the people of a list of points: one, or one for each frame or person that the points name."""
    points = [(_point(value), _label(value)) for value in values]
    if sum(point is not None for point, _ in points) < _MIN_POINTS:
        return []
    groups: dict[tuple[Any, ...], tuple[dict[str, Any], dict[str, tuple[float, float, float]]]] = {}
    for value, (point, name) in zip(values, points, strict=True):
        if point and name:
            own = {k: v for k, v in value.items() if _is_fact(k) and isinstance(v, str | int | float)}
            groups.setdefault(tuple(own.items()), (own, {}))[1][name] = point
    named = sum(len(joints) for _, joints in groups.values())
    if named >= _MIN_POINTS and any(len(joints) >= _MIN_POINTS for _, joints in groups.values()):
        return [
            FoundPerson(
                (*path, row) if len(groups) > 1 else path, {**facts, **own}, np.array([*joints.values()]), [*joints]
            )
            for row, (own, joints) in enumerate(groups.values())
        ]
    if all(point is not None for point, _ in points) and (isinstance(values[0], Mapping) or len(points) in COUNTS):
        return [FoundPerson(path, facts, np.array([point for point, _ in points], np.float64), None)]
    return []


def _is_fact(key: Any) -> bool:
    return any(pattern.fullmatch(str(key)) for pattern in (_NUMBER, _NAME, _TIME)) or bool(
        re.fullmatch("(person|track).*", str(key), re.I)
    )


def _label(value: Any) -> str:
    """Return the name of the joint that an object names; "" for none."""
    if not isinstance(value, Mapping):
        return ""
    inner = [value[key] for key in _INNER if isinstance(value.get(key), Mapping)]
    labels = [table[key] for table in (value, *inner) for key in _LABELS if key in table]
    single = [label[0] if isinstance(label, list) and len(label) == 1 else label for label in labels]
    return next((label for label in single if isinstance(label, str) and body_joint(label)), "")


def _point(value: Any) -> tuple[float, float, float] | None:
    """Read x, y and score of a point; None for anything else, such as a box."""
    if isinstance(value, list | tuple) and 2 <= len(value) <= 4 and all(map(is_number, value)):
        return float(value[0]), float(value[1]), float(value[-1]) if len(value) > 2 else 1.0
    if not isinstance(value, Mapping):
        return None
    low = {str(key).lower(): item for key, item in value.items()}
    score = next((float(item) for key, item in low.items() if _SCORE.fullmatch(key) and is_number(item)), 1.0)
    for key in _INNER:
        if isinstance(low.get(key), Mapping | list | tuple) and (inner := _point(low[key])):
            return (*inner[:2], score)
    if not (is_number(low.get("x")) and is_number(low.get("y"))) or "height" in low:
        return None
    return float(low["x"]), float(low["y"]), score


def _array_of(value: Any) -> np.ndarray | None:
    """Convert numbers to an array; None for anything else."""
    if isinstance(value, Mapping | str) or (
        isinstance(value, list | tuple) and value and isinstance(value[0], Mapping)
    ):
        return None
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        return None
    return array if array.ndim and array.size else None


def records_of_text(text: str) -> list[dict[str, Any]]:
    """Read a table with a header as objects, whose cells are numbers where they are some."""
    rows = [cells for _, cells in table_rows(Path(), text)]
    return (
        [{key: _value(cell) for key, cell in zip(rows[0], cells, strict=False)} for cells in rows[1:]] if rows else []
    )


def _value(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell


def _tree(document: Any) -> Any:
    return records_of_text(document) if isinstance(document, str) else document


def _entries(path: Path, document: Any) -> Iterator[PersonEntry]:
    tree = _tree(document)
    people = people_of_tree(tree)
    stated = [_frame_of(person) for person in people]
    counted = _counted_frames(tree, people[0].path) if stated[0] == (None, None) else 0
    yield from (PersonEntry(row, f"{path}, [{row}]") for row in range(counted))  # also those without people
    for person, (frame, time) in zip(people, stated, strict=True):
        where = f"{path}, " + "".join(f"[{step}]" if isinstance(step, int) else f" {step}" for step in person.path)
        rows = [step for step in person.path if isinstance(step, int)]
        is_track = (key for key in person.facts if _TRACK.fullmatch(key) and is_number(person.facts[key]))
        track = next((person.facts[key] for key in is_track), None)
        score = person.facts.get("score")
        record = {"keypoints": person.rows, "track_id": track, "score": score if is_number(score) else None}
        names = None if person.names is None else joints_by_name(where, POINTS.kind, person.names)
        image = rows[0] if counted and rows else frame
        yield PersonEntry(image, where, record, names, stated_size(person.facts), time=time)


def _counted_frames(tree: Any, path: tuple[Any, ...]) -> int:
    """Count the rows of the outermost list on the way to a person, which are frames; 0 for people of one image."""
    at = tree
    for step in path:
        if isinstance(step, int):
            # Lists of points below a key, as MediaPipe's pose_landmarks, are people.
            is_people = (
                at is not tree and isinstance(at, list) and isinstance(at[0], list) and _point(at[0][0]) is not None
            )
            is_records = (
                at is tree and isinstance(at[0], Mapping) and any(at[0].get(key) is not None for key in ("bbox", "box"))
            )
            return 0 if is_people or is_records or len(at) < 2 else len(at)
        at = at[step]
    return 0


def _frame_of(person: FoundPerson) -> tuple[str | int | None, float | None]:
    """Return the frame's number or the image's name, and else its time."""
    for key, value in reversed([*person.facts.items()]):
        if _NUMBER.fullmatch(key) and is_number(value) and float(value).is_integer():
            return int(value), None
        if _NAME.fullmatch(key) and isinstance(value, str) and value:
            return (int(value), None) if value.isdigit() else (value, None)
    times = [value for key, value in person.facts.items() if _TIME.fullmatch(key) and is_number(value)]
    return None, float(times[-1]) if times else None


POINTS = Form("points", lambda document: bool(people_of_tree(_tree(document))), _entries, openpose=True)
