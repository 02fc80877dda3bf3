"""A person in a detection file: joints, box, score and track, in any of the layouts that programs use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import is_number, numeric
from humanpose_cli.files.documents import outline_of
from humanpose_cli.io.coco_annotations import HIDDEN_CONFIDENCE, LOCKED_CONFIDENCE
from humanpose_cli.io.detections.joint_orders import COUNTS, check_count, order_of_points, to_blazepose
from humanpose_cli.io.detections.records import UNIT, UserDetection, UserDetections

_NOT_LABELLED, _HIDDEN, _VISIBLE = 0, 1, 2  # COCO's flags
_MAX_SHARE = 2  # of the image's sides: joints in shares lie below it, also outside the image
_MAX_OUTSIDE = 0.25  # share of joints with a coordinate below 0 if 0 to 1 is the range; −1 to 1 has more
_SIDES, _AT_ORIGIN = ("left", "right"), 0.002  # metres
_MIN_PERCENT, _PERCENT = 20, 100  # the largest score of a file's joints if scores are percent
_SIZES = (
    *(("width", "height"), ("canvas_width", "canvas_height"), ("image_width", "image_height")),
    ("imageWidth", "imageHeight"),  # LabelMe
)
BOX_KEYS = (("x1", "y1", "x2", "y2"), ("x", "y", "width", "height"), ("xmin", "ymin", "xmax", "ymax"))
"""Keys of a box that is an object: of its corners, of a corner and its size, and of Hugging Face's corners."""
_TRACKS = ("track_id", "tracker_id", "idx", "person_id", "group_id")


class PersonEntry(NamedTuple):
    """An image that a file mentions, or one of its people.

    Attributes:
        image: Name of the image or number of the frame; None for the image that the file is named after.
        where: The file and the record, for errors.
        record: The person's record, or the error that says why it cannot be used; None mentions the image only.
        names: The file's names of the joints; None if their number decides.
        canvas: Width and height of the image that the coordinates refer to; None if they are pixels of the image.
        flags: Whether the third number of a joint is COCO's flag of visibility.
        time: Time of the frame, in a unit that the file may not name; None if `image` says which one it is.
    """

    image: str | int | None
    where: str
    record: Any = None
    names: Sequence[str] | None = None
    canvas: tuple[float, float] | None = None
    flags: bool = False
    time: float | None = None


@dataclass(frozen=True)
class Form:
    """How a program writes people; the keys are alternatives, of which the first one in a record counts.

    Attributes:
        kind: What the file holds, such as "AlphaPose's results".
        matches: Whether a document has this form.
        entries: Lists images and people of a document. Raises InputError if the document is damaged as a whole.
        points: Keys of the joints; () if the form has boxes only.
        scores: Key of the joints' scores if they are apart.
        box: Keys of the box; () if the form has none.
        corners: Whether a box is x0 y0 x1 y1; otherwise x y width height.
        score: Key of the person's score; "" for the mean confidence of the joints.
        openpose: Whether unnamed joints may be in OpenPose's orders.
        first_frame: Number of a video's first frame in the names of images or files.
        affixes: Text before and behind the image's name in the file's name.
    """

    kind: str
    matches: Callable[[Any], bool]
    entries: Callable[[Path, Any], Iterator[PersonEntry]]
    points: tuple[str, ...] = ("keypoints",)
    scores: str = ""
    box: tuple[str, ...] = ()
    corners: bool = False
    score: str = "score"
    openpose: bool = False
    first_frame: int = 0
    affixes: tuple[str, str] = ("", "")

    def image_of(self, path: Path) -> str:
        """Return the name of the image that a file is named after."""
        return path.stem.removeprefix(self.affixes[0]).removesuffix(self.affixes[1])


class _Person(NamedTuple):
    """A person whose joints have the file's order."""

    form: Form
    entry: PersonEntry
    rows: np.ndarray | None  # (K, 3) x, y and confidence
    box: np.ndarray | None
    score: float | None
    track: int | None
    in_shares: bool  # whether coordinates are shares of the image's sides


def detections_of(path: Path, documents: Iterable[tuple[Path, Any, Form]], want: str) -> UserDetections:
    """Read the people of one or several documents.

    A person that cannot be used is left out with a note. The order of unnamed joints and the range of coordinates are
    found from all people together.

    Args:
        path: The file or the folder.
        documents: Each file, its parsed contents and their form.
        want: 'keypoints' or 'box', which every person must have.

    Returns:
        The people.

    Raises:
        InputError: If no person can be used; it says why the first one cannot.
    """
    detections, refused = UserDetections(path, names_image=False), list[InputError]()
    people: list[tuple[_Person, list[UserDetection]]] = []
    for file, document, form in documents:
        detections.kind = detections.kind or form.kind
        if want == "box" and not form.box:
            raise InputError(file, f"holds {form.kind}", expected="boxes", remedy="give it with `keypoints`")
        own, entries = form.image_of(file), list(form.entries(file, document))
        for entry in entries or [PersonEntry(None, str(file))]:
            image = own if entry.image is None else entry.image
            detections.names_image |= image != own or entry.time is not None
            if not own.isdigit() or image != own:
                detections.first_frame = form.first_frame
            place = detections.mention(image) if entry.time is None else detections.by_time.setdefault(entry.time, [])
            try:
                if entry.record is not None and (person := _person(entry, form, want)) is not None:
                    people.append((person, place))
            except InputError as error:
                refused.append(error)
    _leave_out(detections, refused, len(people))
    orders, low = _conventions(detections, [person for person, _ in people])
    for person, place in people:
        joints = person.entry.names
        if joints is None and person.rows is not None:
            joints = orders[len(person.rows), person.form.openpose]
        if (detection := _detection(person, joints or (), low)) is not None:
            place.append(detection)
    return detections


def _leave_out(detections: UserDetections, refused: Sequence[InputError], usable: int) -> None:
    """Note how many people cannot be used; raise the first of their errors if no person can."""
    if refused and not usable:
        raise refused[0]
    if refused:
        counts = f"{len(refused)} of {len(refused) + usable} people"
        detections.notes.append(f"{counts} of {detections.path.name} are left out: {refused[0]}")


def _person(entry: PersonEntry, form: Form, want: str) -> _Person | None:
    """Read a person's values; None if there is no body. Raises InputError if they cannot be used."""
    where, record = entry.where, entry.record
    if isinstance(record, InputError):
        raise record
    if not isinstance(record, Mapping):
        expected = " or ".join((*form.points, *form.box))
        raise InputError(where, f"is no person ({form.kind})", expected=expected, got=outline_of(record))
    # A box beside keypoints is that of COCO; AlphaPose's `box` is the detector's.
    keys = form.box if want == "box" else form.box[:1]
    value = next((record[key] for key in keys if record.get(key) is not None), None)
    box = None if value is None else box_of(where, value, corners=form.corners)
    score = 1.0 if form.score else None
    if form.score and (stated := record.get(form.score)) is not None:
        numbers = numeric(where, form.score, stated)
        if numbers.size != 1 or not np.isfinite(numbers).all():
            raise InputError(where, f"has unusable {form.score}", expected="a number", got=str(stated)[:40])
        score = float(numbers.item())
    if want != "box":
        rows = _rows_of(entry, form, has_box=box is not None)
        no_body = rows is None or (score is None and not rows[:, 2].any())
        return None if no_body else _Person(form, entry, rows, box, score, _track_of(record), _in_shares(rows))
    if box is None:
        expected = "x0, y0, x1, y1 in pixels" if form.corners else "x, y, width, height in pixels"
        raise InputError(where, f"has no bbox ({form.kind})", expected=expected)
    return _Person(form, entry, None, box, score, _track_of(record), bool(np.abs(box).max() <= 1))


def _rows_of(entry: PersonEntry, form: Form, *, has_box: bool) -> np.ndarray | None:
    """Read a person's joints (K, 3) in the file's order; None for a face or a hand without a body."""
    where, record = entry.where, entry.record
    key = next((key for key in form.points if key in record), None)
    if key is None:
        remedy = "boxes are given with `boxes`" if has_box else ""
        problem, got = f"has no {form.points[0]} ({form.kind})", ", ".join(map(str, record))[:80]
        raise InputError(where, problem, expected="x, y and score of each joint", got=got, remedy=remedy)
    if record[key] is None or (form.openpose and not len(record[key])):
        return None
    counts = COUNTS if entry.names is None else (len(entry.names),)
    rows = joint_rows(where, key, record[key], record.get(form.scores) if form.scores else None, counts)
    if entry.names is None:
        check_count(where, form.kind, len(rows), openpose=form.openpose)
    elif len(entry.names) != len(rows):
        problem, got = f"has other keypoints ({form.kind})", f"{len(rows)} for the {len(entry.names)} that are named"
        raise InputError(where, problem, expected=f"{len(entry.names)} joints", got=got)
    third = rows[:, 2]
    has_flags = entry.flags or third.max() == _VISIBLE
    if has_flags and {*third.tolist()} <= {_NOT_LABELLED, _HIDDEN, _VISIBLE}:
        rows[:, 2] = np.select([third >= _VISIBLE, third >= _HIDDEN], [1.0, HIDDEN_CONFIDENCE], 0.0)
    return rows


def _conventions(
    detections: UserDetections, people: Sequence[_Person]
) -> tuple[dict[tuple[int, bool], tuple[str, ...]], int | None]:
    """Find the orders of unnamed joints, by number and OpenPose's form, and the range of coordinates.

    Scores in percent are divided by 100. Notes of `detections` say what was found.

    Returns:
        The orders, and the lower end of the image's sides if coordinates are shares of them, 0 or −1; None for pixels.
    """
    unnamed: dict[tuple[int, bool], list[np.ndarray]] = defaultdict(list)
    shares: list[np.ndarray] = []
    everyone = [person.rows for person in people if person.rows is not None]
    if _MIN_PERCENT < max((rows[:, 2].max() for rows in everyone), default=0) <= _PERCENT:
        detections.notes.append(f"{detections.path.name}: scores of joints are read as percent")
        for rows in everyone:
            rows[:, 2] /= _PERCENT
    for person in people:
        if person.rows is not None and person.entry.names is None:
            unnamed[len(person.rows), person.form.openpose].append(person.rows)
        if person.entry.canvas is None and person.in_shares:
            rows = np.zeros((0, 3)) if person.rows is None else person.rows
            shares.append(rows[rows[:, 2] > 0, :2])
    name, orders = detections.path.name, {}
    for key, group in unnamed.items():
        orders[key], note = order_of_points(str(detections.path), group, openpose=key[1])
        detections.notes += [f"{name}: {note}"] if note else []
    outside = (np.concatenate(shares or [np.zeros((0, 2))]) < 0).any(1)
    is_signed = bool(outside.size) and outside.mean() > _MAX_OUTSIDE
    if 2 * len(shares) <= sum(
        person.entry.canvas is None for person in people
    ):  # small ones among others are no people
        return orders, None
    if is_signed and _are_about_hips(people, orders):
        problem, expected = "holds landmarks in metres about the hips", "landmarks in the image"
        raise InputError(detections.path, problem, expected=expected, remedy="give MediaPipe's pose_landmarks")
    detections.notes.append(f"{name}: coordinates are read as {'−1' if is_signed else '0'} to 1 of the image's sides")
    return orders, -1 if is_signed else 0


def _are_about_hips(people: Sequence[_Person], orders: Mapping[tuple[int, bool], tuple[str, ...]]) -> bool:
    """Return whether the hips' middle is the origin for everybody."""
    for person in people:
        assert person.rows is not None
        names = person.entry.names or orders[len(person.rows), person.form.openpose]
        hips = person.rows[[row for row, name in enumerate(names) if name.endswith("_hip")], :2]
        if len(hips) != len(_SIDES) or np.abs(hips.mean(0)).max() > _AT_ORIGIN:
            return False
    return bool(people)


def _detection(person: _Person, joints: Sequence[str], low: int | None) -> UserDetection | None:
    """Convert a person to blazepose33; None if only joints are known that no body has."""
    _, entry, rows, box, score, track, in_shares = person
    canvas = UNIT if in_shares and (entry.canvas is not None or low is not None) else entry.canvas
    if rows is None:
        return UserDetection(box, None, score or 0.0, track, canvas)
    if canvas == UNIT and entry.canvas is None:
        rows[:, :2] = (rows[:, :2] + 1) / 2 if low else rows[:, :2]
        box = None if low or (box is not None and np.abs(box).max() > _MAX_SHARE) else box  # the box is in pixels
    keypoints = to_blazepose(rows, joints)
    if "locked" in entry.record:  # of `hpc view --edit`: joints that the body must be at
        locked = rows.copy()
        locked[:, 2] *= np.resize(numeric(entry.where, "locked", entry.record["locked"]), len(rows))
        keypoints[to_blazepose(locked, joints)[:, 2] > 0, 2] = LOCKED_CONFIDENCE
    confidence = keypoints[:, 2][keypoints[:, 2] > 0]
    if score is None and not len(confidence):
        return None
    return UserDetection(box, keypoints, float(confidence.mean()) if score is None else score, track, canvas)


def _in_shares(rows: np.ndarray | None) -> bool:
    """Return whether coordinates are shares of the image's sides: no person in pixels is as small."""
    points = np.zeros((0, 2)) if rows is None else rows[rows[:, 2] > 0, :2]
    return len(points) > 2 and bool(np.abs(points).max() < _MAX_SHARE)


def joint_rows(where: str, what: str, value: Any, scores: Any = None, counts: Collection[int] = COUNTS) -> np.ndarray:
    """Convert joints in any layout to an array (K, 3): x, y and score.

    Layouts are x y score of all joints in one list, a list for each joint of x, y and perhaps a score, objects of x, y
    and visibility, and an object of the lists x, y and visible; MediaPipe's lists also have z. A joint with a number
    that is NaN or null is missing, as is a joint at (0, 0) or (−1, −1): its row is zero.

    Args:
        where: The file and the record, for errors.
        what: Name of the field, for errors.
        value: The joints.
        scores: Scores of the joints, if they are apart.
        counts: Numbers of joints that a person may have, by which one list is divided.

    Returns:
        The joints.

    Raises:
        InputError: If it is no such layout.
    """
    if isinstance(value, Mapping) and {"x", "y"} <= value.keys():
        columns = [value[name] for name in ("x", "y", "visible") if value.get(name) is not None]
        lengths = {len(column) if isinstance(column, list | np.ndarray) else -1 for column in columns}
        value = [list(row) for row in zip(*columns, strict=True)] if len(lengths) == 1 and lengths != {-1} else None
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        keys = [(p.get("x"), p.get("y"), p.get("visibility")) if isinstance(p, Mapping) else () for p in value]
        value = [[*key[:2], 1.0 if key[2] is None else key[2]] for key in keys if key]
    if not isinstance(value, list | np.ndarray) or not len(value):
        got = "an empty list" if isinstance(value, list) else outline_of(value)
        raise InputError(where, f"has unusable {what}", expected="x, y and score of each joint", got=got)
    array = numeric(where, what, value)
    if array.ndim == 1:
        widths = (2,) if scores is not None else (3, 2, 4)
        width = next((w for w in widths if len(array) % w == 0 and len(array) // w in counts), widths[0])
        if len(array) % width:
            expected = f"{width} numbers for each joint"
            raise InputError(where, f"has unusable {what}", expected=expected, got=f"{len(array)} numbers")
        array = array.reshape(-1, width)
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2 or array.shape[1] not in (2, 3, 4):
        expected = "2 or 3 numbers for each joint"
        raise InputError(where, f"has unusable {what}", expected=expected, got=f"{array.shape}")
    if array.shape[1] == 4:  # MediaPipe's x, y, z and visibility
        array = array[:, [0, 1, 3]]
    elif array.shape == (len(BLAZEPOSE33), 3) and ((array[:, 2] < 0) & (array[:, 2] != -1)).any():  # x, y and z
        array = array[:, :2]
    if scores is not None:
        confidence = numeric(where, f"scores of {what}", scores).ravel()
        if len(confidence) != len(array):
            expected, got = f"{len(array)} numbers", str(len(confidence))
            raise InputError(where, f"has unusable scores of {what}", expected=expected, got=got)
        array = np.column_stack((array[:, :2], confidence))
    rows = array if array.shape[1] == 3 else np.column_stack((array, np.ones(len(array))))
    rows[~np.isfinite(rows).all(1) | ~rows[:, :2].any(1) | (rows[:, :2] == -1).all(1)] = 0
    return rows


def box_of(where: str, value: Any, *, corners: bool) -> np.ndarray:
    """Convert a box, x0 y0 x1 y1 with `corners` and otherwise x y width height, to (4,) float32 x0 y0 x1 y1.

    Raises InputError if the box has no area, or a negative size.
    """
    if isinstance(value, Mapping):
        keys = next((keys for keys in BOX_KEYS if value.keys() >= {*keys}), BOX_KEYS[0])
        corners, value = keys != BOX_KEYS[True], [value.get(name) for name in keys]
    array = numeric(where, "bbox", value).ravel()
    if len(array) != 4 or not np.isfinite(array).all():
        raise InputError(where, "has unusable bbox", expected="4 numbers", got=f"{len(array)}, {array[:5].tolist()}")
    x, y, width, height = array - [0, 0, *array[:2]] if corners else array
    if corners and (width <= 0 or height <= 0):
        got = " ".join(f"{number:g}" for number in array)
        raise InputError(where, "has a box without area", expected="x0 < x1 and y0 < y1", got=got)
    if width < 0 or height < 0:
        got = f"{width:g} × {height:g}"
        raise InputError(where, "has a bbox of negative size", expected="x, y, width, height", got=got)
    return np.array([x, y, x + width, y + height], np.float32)


def stated_size(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return width and height of the image that a record's coordinates refer to; None if unknown."""
    for names in _SIZES:
        width, height = (record.get(name) for name in names)
        if is_number(width) and is_number(height) and width > 0 and height > 0:
            return float(width), float(height)
    return None


def _track_of(record: Mapping[str, Any]) -> int | None:
    """Read a track number, which may be in nested lists; None if missing."""
    for name in _TRACKS:
        value = record.get(name)
        while isinstance(value, list) and value:
            value = value[0]
        if is_number(value) and value >= 0 and value == int(value):
            return int(value)
    return None
