"""People of the user's own detector: records, their assignment to images, and checks of numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, COCO21, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.paths import normal

if TYPE_CHECKING:
    from humanpose_cli.io.inputs import Frame

_MAX_STRETCH = 1.05  # of a canvas: images are often resized to multiples of a network's stride
_EXAMPLES = 3  # names in an error
PEOPLE = ("person", "people", "human", "pedestrian")
"""Names of the category of people, in lower case."""
UNIT = (1.0, 1.0)
"""The canvas of coordinates from 0 to 1."""


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
        time: Seconds of a video's frame; None if unknown.
        clip: Name of the frame's video, without its extension; "" if unknown.
    """

    name: str
    index: int | None = None
    path: str = ""
    time: float | None = None
    clip: str = ""

    @classmethod
    def from_frame(cls, frame: Frame, index: int | None) -> FrameKey:
        """Make the key of a decoded frame."""
        return cls(frame.name, index, "" if frame.path is None else frame.path.as_posix())


@dataclass
class UserDetections:
    """All people of a detection file, in the file's order.

    Attributes:
        path: The file.
        kind: Kind of the file, such as "AlphaPose's results".
        by_name: People by the image's name in the file (forward slashes, NFC).
        by_number: People by frame number or numeric image id.
        by_time: People by time, in a unit that the file may not name.
        by_frame: People by index of a video's frame, if names differ only in their last number, or by time.
        names_image: Whether the file names the images of its people; otherwise the file is named after the image.
        first_frame: Number of a video's first frame in names, unless a name has the number 0.
        notes: Sentences about people that are left out and conventions that were found.
    """

    path: Path
    kind: str = ""
    by_name: dict[str, list[UserDetection]] = field(default_factory=dict, compare=False)
    by_number: dict[int, list[UserDetection]] = field(default_factory=dict, compare=False)
    by_time: dict[float, list[UserDetection]] = field(default_factory=dict, compare=False)
    by_frame: dict[int, list[UserDetection]] = field(default_factory=dict, compare=False)
    names_image: bool = True
    first_frame: int = 0
    notes: list[str] = field(default_factory=list, compare=False)

    def mention(self, image: str | int) -> list[UserDetection]:
        """Return the list of an image's people; a new list is empty and belongs to the file."""
        if isinstance(image, int):
            return self.by_number.setdefault(image, [])
        return self.by_name.setdefault(_normal(image), [])

    def state_size(self, size: tuple[float, float] | None) -> None:
        """Set the canvas of all people who have none."""
        for people in itertools.chain(self.by_name.values(), self.by_number.values(), self.by_time.values()):
            people[:] = [replace(person, canvas=person.canvas or size) for person in people]

    def number_frames(self) -> None:
        """Collect names that differ only in their last number as the frames of one video.

        Of the numbers 1 to N, which programs write for images that FFmpeg made of a video, frame 0 is 1.
        """
        clips = {match[1] if match else None for match in self._frame_names.values()}
        if len(clips) == 1:
            self._number_frames_of(*clips)

    @cached_property
    def _frame_names(self) -> dict[str, re.Match[str] | None]:
        """What stands before a number at the end of each name, and this number."""
        return {name: re.fullmatch(r"(.*?)_?([0-9]{1,18})", _stem(name)) for name in self.by_name}

    def _number_frames_of(self, clip: str | None) -> None:
        numbers = {name: match for name, match in self._frame_names.items() if match and match[1] == clip}
        if numbers:
            frames = {int(match[2]): self.by_name[name] for name, match in numbers.items()}
            if len(frames) > 1 and frames.keys() == {*range(1, len(frames) + 1)}:
                self.first_frame = 1
            first = 0 if 0 in frames else self.first_frame
            self.by_frame.update((number - first, people) for number, people in frames.items())

    @cached_property
    def skeleton(self) -> Skeleton:
        """The smallest of coco17, coco21 and blazepose33 that has all joints of the file's people."""
        lists = (*self.by_name.values(), *self.by_number.values(), *self.by_time.values())
        everyone = [person for people in lists for person in people]
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
        """Return notes: those of the file, and one about images that it does not mention, in which there are no people.

        If the file has one unnamed image and there is only one image, its people belong to this image. Raises
        InputError if the file mentions none of the images.
        """
        if frames[0].clip and not self.by_frame and frames[0].index is not None:
            self._number_frames_of(frames[0].clip)  # of several clips' frames, those of this one
        notes = [*self.notes, *self._place_times(frames)]
        numbers = self.frame_numbers
        is_video = frames[0].index is not None and not frames[0].path
        indices = [key.index for key in frames]
        last = max(numbers, default=0)
        is_part = numbers == {*range(1, last + 1)} and all(index is not None and index < last for index in indices)
        if is_video and not self.by_frame and 0 not in numbers and (is_part or indices == [*range(last)]):
            self.first_frame, self.by_frame = 1, {number - 1: people for number, people in self._numbered.items()}
        if is_video and self.first_frame and self.by_frame:
            notes.append(f"{self.path.name} counts frames from 1")
        missing = [key for key in frames if self.people_of(key) is None]
        if not missing:
            return notes
        noun = "images" if frames[0].index is None else "frames"
        if len(missing) < len(frames):
            return [*notes, f"{len(missing)} of {len(frames)} {noun} are not in {self.path.name}: without people"]
        if len(frames) == self.image_count == 1 and not (self.names_image and self.by_name):
            (people,) = (*self.by_name.values(), *self.by_number.values())
            self.by_name[_normal(frames[0].path or frames[0].name)] = people
            return [*notes, f"{self.path.name} ({self.kind}) names no image: its people belong to {frames[0].name}"]
        names = [*self.by_name, *(f"{number} (a number)" for number in self.by_number)]
        got = ", ".join(names[:_EXAMPLES]) + (" …" if len(names) > _EXAMPLES else "") if names else "no image"
        problem = f"holds {self.kind} that mention none of the {len(frames)} {noun}"
        if len(frames) == 1:
            problem = f"holds {self.kind} that do not mention {frames[0].name}"
        raise InputError(self.path, problem, expected=frames[0].name, got=got)

    def _place_times(self, frames: Sequence[FrameKey]) -> list[str]:
        """Give the people of times to the nearest frames, in the unit with which the most times are those of frames."""
        clock = {key.index: key.time for key in frames if key.index is not None and key.time is not None}
        if not self.by_time or len(clock) < 2:
            return []
        indices, times = np.array([*clock]), np.array([*clock.values()])
        half = float(np.median(np.diff(times))) / 2
        own = np.array([*self.by_time])
        found = []
        for unit in (1.0, 1e3, 1e6, 1e9):
            distance = np.abs(own[:, None] / unit - times)
            found.append((distance.argmin(1), distance.min(1) <= half))
        nearest, is_frame = max(found, key=lambda result: len({*result[0][result[1]].tolist()}))
        for row, people, placed in zip(nearest.tolist(), self.by_time.values(), is_frame.tolist(), strict=True):
            if placed:
                self.by_frame[int(indices[row])] = people
        return [f"{len({*nearest[is_frame].tolist()})} of {len(frames)} frames by time"]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def _normal(name: str) -> str:
    return str(PurePosixPath(normal(name)))


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).parent / _stem(name))


def _ends_equal(a: str, b: str) -> bool:
    return a == b or a.endswith("/" + b) or b.endswith("/" + a)


UserPeople: TypeAlias = Path | str | UserDetections
"""A file of the user's detector, or its content."""
