"""People of the user's own detector: records, their assignment to images, and checks of numbers."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, COCO21, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import finite_numbers, is_number

if TYPE_CHECKING:
    from humanpose_cli.io.inputs import Frame

_MAX_STRETCH = 1.05  # of a canvas: images are often resized to multiples of a network's stride
_EXAMPLES = 3  # names in an error
PEOPLE = ("person", "people", "human", "pedestrian")
"""Names of the category of people, in lower case."""
UNIT = (1.0, 1.0)
"""The canvas of coordinates from 0 to 1."""
_SIZES = (("width", "height"), ("canvas_width", "canvas_height"), ("image_width", "image_height"))


@dataclass(frozen=True, eq=False)
class UserDetection:
    """One person of a detection file.

    Attributes:
        box: (4,) float32. x0, y0, x1, y1, or None.
        keypoints: (33, 3) float32. x, y and confidence 0 to 1 of blazepose33, 0 for missing joints,
            `LOCKED_CONFIDENCE` for locked ones; or None.
        score: Score on the file's own scale.
        track: Track number; None if the file has none.
        canvas: Width and height of the image that the coordinates refer to; None if they are pixels of the image.
    """

    box: np.ndarray | None
    keypoints: np.ndarray | None
    score: float = 1.0
    track: int | None = None
    canvas: tuple[float, float] | None = None

    def in_image(self, where: object, width: int, height: int) -> UserDetection:
        """Convert the coordinates to pixels of the image. Raises InputError if the canvas has another shape."""
        if self.canvas is None:
            return self
        scale = np.array([width / self.canvas[0], height / self.canvas[1]], np.float32)
        stretch = float(scale.max() / scale.min())
        if self.canvas != UNIT and stretch > _MAX_STRETCH:
            got = f"{self.canvas[0]:g} × {self.canvas[1]:g} for an image of {width} × {height}"
            raise InputError(where, "is of images of another shape than this one", expected="the same shape", got=got)
        box = None if self.box is None else (self.box * np.tile(scale, 2)).astype(np.float32)
        keypoints = None if self.keypoints is None else self.keypoints * np.append(scale, np.float32(1))
        return replace(self, box=box, keypoints=keypoints, canvas=None)


@dataclass(frozen=True)
class FrameKey:
    """The key by which an image is looked up.

    Attributes:
        name: File name; for a video's frame its number with six digits.
        index: Index of the frame in its sequence; None for a single image.
        path: The image's path; "" for a video's frames.
    """

    name: str
    index: int | None = None
    path: str = ""

    @classmethod
    def from_frame(cls, frame: Frame, index: int | None) -> FrameKey:
        """Make the key of a decoded frame."""
        return cls(frame.name, index, "" if frame.path is None else frame.path.as_posix())


@dataclass(frozen=True)
class UserDetections:
    """All people of a detection file, in the file's order.

    Attributes:
        path: The file.
        kind: Kind of the file, such as "AlphaPose's results".
        by_name: People by the image's name in the file (forward slashes, NFC).
        by_number: People by frame number or numeric image id.
        by_frame: People by index of a video's frame, if names differ only in their last number.
        names_image: Whether the file names the images of its people; otherwise the file is named after the image.
        first_frame: Number of a video's first frame in names, unless a name has the number 0.
    """

    path: Path
    kind: str = ""
    by_name: dict[str, list[UserDetection]] = field(default_factory=dict, compare=False)
    by_number: dict[int, list[UserDetection]] = field(default_factory=dict, compare=False)
    by_frame: dict[int, list[UserDetection]] = field(default_factory=dict, compare=False)
    names_image: bool = True
    first_frame: int = 0

    def mention(self, image: str | int) -> list[UserDetection]:
        """Return the list of an image's people; a new list is empty and belongs to the file."""
        if isinstance(image, int):
            return self.by_number.setdefault(image, [])
        return self.by_name.setdefault(_normal(image), [])

    def state_size(self, size: tuple[float, float] | None, image: str | int | None = None) -> None:
        """Set the canvas of an image's people, or of all people, if they have none."""
        everyone = itertools.chain(self.by_name.values(), self.by_number.values())
        for people in everyone if image is None else (self.mention(image),):
            people[:] = [replace(person, canvas=person.canvas or size) for person in people]

    def number_frames(self) -> None:
        """Collect names that differ only in their last number as the frames of one video."""
        numbers = {name: re.fullmatch(r"(.*?)_?([0-9]{1,18})", _stem(name)) for name in self.by_name}
        if len({match[1] if match else None for match in numbers.values()}) == 1:
            frames = {int(match[2]): self.by_name[name] for name, match in numbers.items() if match}
            first = 0 if 0 in frames else self.first_frame
            self.by_frame.update((number - first, people) for number, people in frames.items())

    @cached_property
    def skeleton(self) -> Skeleton:
        """The smallest of coco17, coco21 and blazepose33 that has all joints of the file's people."""
        everyone = [person for people in (*self.by_name.values(), *self.by_number.values()) for person in people]
        poses = [person.keypoints[:, 2] for person in everyone if person.keypoints is not None]
        visible = np.max(poses, axis=0) > 0 if poses else np.zeros(len(BLAZEPOSE33), bool)
        joints = {name for name, is_visible in zip(BLAZEPOSE33.joint_names, visible, strict=True) if is_visible}
        return next(skeleton for skeleton in (COCO17, COCO21, BLAZEPOSE33) if joints.issubset(skeleton.joint_names))

    @property
    def frame_numbers(self) -> set[int]:
        """The numbers of frames that the file may mention."""
        return {*self._numbered, *self.by_frame}

    @property
    def image_count(self) -> int:
        """Number of images that the file mentions."""
        return len(self.by_name) + len(self.by_number)

    def people_of(self, key: FrameKey) -> tuple[UserDetection, ...] | None:
        """Return the people of an image, or None if the file does not mention it."""
        if self.by_frame and not key.path and key.index is not None:
            of_frame = self.by_frame.get(key.index, self.by_number.get(key.index))
            return None if of_frame is None else tuple(of_frame)
        # By its path first: folders side by side often hold images of the same names.
        people = self.people_in(key.path, key.index) if key.path else None
        return self.people_in(key.name, key.index) if people is None else people

    def people_in(self, name: str, index: int | None = None) -> tuple[UserDetection, ...] | None:
        """Return the people of an image, or None if the file does not mention it.

        The order is: the same name; a path that ends in the other; the name without its extension; the number that is
        the name (for a video's frames and COCO's images); the frame's index if the file has only numbers.

        Args:
            name: Name or path of the image.
            index: Index of the frame in its sequence, or None.
        """
        people = self._find(_normal(name), index)
        return None if people is None else tuple(people)

    def _find(self, name: str, index: int | None) -> list[UserDetection] | None:
        if name in self.by_name:
            return self.by_name[name]
        names = self._names_of_stem.get(_stem(name), [])
        for shorten in (str, _without_suffix):
            hits = [candidate for candidate in names if _ends_equal(shorten(candidate), shorten(name))]
            if len(hits) == 1:
                return self.by_name[hits[0]]
        if _is_number(_stem(name)):
            number = int(_stem(name))
            people = self._numbered.get(number)
            return self.by_frame.get(number) if people is None and index is not None else people
        return self.by_number.get(index) if index is not None and not self.by_name else None

    @cached_property
    def _names_of_stem(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name in self.by_name:
            names.setdefault(_stem(name), []).append(name)
        return names

    @cached_property
    def _numbered(self) -> dict[int, list[UserDetection]]:
        """People by number; names that are numbers are frames of a video."""
        bare = {int(name): people for name, people in self.by_name.items() if _is_number(name)}
        return bare | self.by_number

    def check_frames(self, frames: Sequence[FrameKey]) -> list[str]:
        """Return a note about images that the file does not mention, in which there are no people.

        If the file has one unnamed image and there is only one image, its people belong to this image. Raises
        InputError if the file mentions none of the images.
        """
        missing = [key for key in frames if self.people_of(key) is None]
        if not missing:
            return []
        noun = "images" if frames[0].index is None else "frames"
        if len(missing) < len(frames):
            return [f"{len(missing)} of {len(frames)} {noun} are not in {self.path.name}: without people"]
        if len(frames) == self.image_count == 1 and not (self.names_image and self.by_name):
            (people,) = (*self.by_name.values(), *self.by_number.values())
            self.by_name[_normal(frames[0].path or frames[0].name)] = people
            return [f"{self.path.name} ({self.kind}) names no image: its people belong to {frames[0].name}"]
        names = [*self.by_name, *(f"{number} (a number)" for number in self.by_number)]
        got = ", ".join(names[:_EXAMPLES]) + (" …" if len(names) > _EXAMPLES else "") if names else "no image"
        problem = f"holds {self.kind} that mention none of the {len(frames)} {noun}"
        if len(frames) == 1:
            problem = f"holds {self.kind} that do not mention {frames[0].name}"
        raise InputError(self.path, problem, expected=frames[0].name, got=got)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


_UNTIDY = re.compile(r"\\|(^|/)\.?(/|$)")  # a path takes long


def _normal(name: str) -> str:
    if name.isascii() and not _UNTIDY.search(name):
        return name
    return unicodedata.normalize("NFC", str(PurePosixPath(name.replace("\\", "/"))))


def _stem(name: str) -> str:
    last = name.rpartition("/")[2]
    stem, _, suffix = last.rpartition(".")
    return stem if stem and suffix else last


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).parent / _stem(name))


def _ends_equal(a: str, b: str) -> bool:
    return a == b or a.endswith("/" + b) or b.endswith("/" + a)


def joint_rows(where: str, values: Any, *, what: str = "keypoints", width: int = 3) -> np.ndarray:
    """Return joints, in one list or a list for each joint, as an array (K, width): x, y and score if width is 3.

    A joint with a number that is NaN or null is missing: its row is zero. Raises InputError about record `where`.
    """
    if not isinstance(values, list):
        raise InputError(where, f"has unusable {what}", expected="a list", got=type(values).__name__)
    if values and isinstance(values[0], list):
        if not all(isinstance(row, list) and len(row) == width for row in values):
            raise InputError(where, f"has unusable {what}", expected=f"{width} numbers for each joint")
        values = [value for row in values for value in row]
    if not values or len(values) % width:
        expected = f"{width} numbers for each joint"
        raise InputError(where, f"has unusable {what}", expected=expected, got=f"{len(values)} numbers")
    missing = [place for place, value in enumerate(values) if value is None or value != value]  # NaN
    clean = [*values]
    for place in missing:
        clean[place] = 0.0
    rows = finite_numbers(where, what, clean, (len(values),)).reshape(-1, width)
    rows[[place // width for place in missing]] = 0
    return rows


def stated_size(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return width and height of the image that a record's coordinates refer to; None if unknown."""
    for names in _SIZES:
        width, height = (record.get(name) for name in names)
        if is_number(width) and is_number(height) and width > 0 and height > 0:
            return float(width), float(height)
    return None


def check_record(where: str, record: Any) -> dict[str, Any]:
    """Return a record, which must be an object. Raises InputError otherwise."""
    if not isinstance(record, dict):
        raise InputError(where, "is no record", expected="an object", got=type(record).__name__)
    return record


def score_of(where: str, record: dict[str, Any], name: str) -> float:
    """Read a person's score on the file's own scale; 1 if missing."""
    return float(finite_numbers(where, name, [record.get(name, 1.0)], (1,))[0])


def track_of(record: dict[str, Any]) -> int | None:
    """Read a track number, which may be in nested lists; None if missing."""
    for name in ("track_id", "idx", "person_id"):
        value = record.get(name)
        while isinstance(value, list) and value:
            value = value[0]
        if is_number(value) and value >= 0 and value == int(value):
            return int(value)
    return None


def corner_box(where: str, values: np.ndarray) -> np.ndarray:
    """Return a box x0 y0 x1 y1 as (4,) float32. Raises InputError if it has no area."""
    x0, y0, x1, y1 = values[:4]
    if x1 <= x0 or y1 <= y0:
        got = " ".join(f"{value:g}" for value in values[:4])
        raise InputError(where, "has a box without area", expected="x0 < x1 and y0 < y1", got=got)
    return values[:4].astype(np.float32)


def sized_box(where: str, values: Any) -> np.ndarray:
    """Convert a box x y width height to (4,) float32 x0 y0 x1 y1. Raises InputError for negative sizes."""
    x, y, width, height = finite_numbers(where, "bbox", values, (4,))
    if width < 0 or height < 0:
        got = f"{width:g} × {height:g}"
        raise InputError(where, "has a bbox of negative size", expected="x, y, width, height", got=got)
    return np.array([x, y, x + width, y + height], np.float32)


def posed_person(
    keypoints: np.ndarray, score: float | None = None, track: int | None = None, **more: Any
) -> UserDetection | None:
    """Make a person from keypoints; None if there is neither a joint nor a score.

    Args:
        keypoints: (33, 3) float. x, y and confidence.
        score: Score of the person; None for the mean confidence of the joints.
        track: Track number, or None.
        more: Other fields of `UserDetection`.

    Returns:
        The person, or None.
    """
    confidence = keypoints[:, 2][keypoints[:, 2] > 0]
    if not len(confidence) and score is None:
        return None
    box = more.pop("box", None)
    return UserDetection(box, keypoints, float(confidence.mean()) if score is None else score, track, **more)
