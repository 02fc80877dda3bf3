"""People that the user found with a detector of their own, by picture."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from humanpose_cli.errors import InputError
from humanpose_cli.io.sniffing import describe_file, reading_error

__all__ = ["GivenPeople", "GivenPerson", "PeopleCollector", "finite_numbers", "load_json"]


_LARGEST = 1e9


@dataclass(frozen=True, eq=False)
class GivenPerson:
    """One person of a detection file.

    box        (4,) float32 x0 y0 x1 y1 pixels, or None
    keypoints  (17, 3) float32 in the order of coco17: x, y pixels and confidence 0–1, 0 = not found; or None
    score      0–1
    """

    box: np.ndarray | None
    keypoints: np.ndarray | None
    score: float = 1.0


@dataclass(frozen=True, eq=False)
class GivenPeople:
    """All people of a detection file.

    by_name    picture's name as the file has it (forward slashes, NFC) → its people
    by_number  frame number or numeric image id → its people
    """

    path: Path
    by_name: Mapping[str, tuple[GivenPerson, ...]] = field(default_factory=dict)
    by_number: Mapping[int, tuple[GivenPerson, ...]] = field(default_factory=dict)

    def people_in(self, name: str, index: int | None = None) -> tuple[GivenPerson, ...] | None:
        """The people of a picture, or None if the file does not mention it.

        name   the picture's key or file name; a video frame's number with six digits
        index  the frame's number in its sequence, None for a picture that is none
        Looked for in this order: the same name; a path that ends in the other; the name without its extension; the
        number that is the name (of a video's frames and of COCO's pictures); and where the file knows numbers only,
        the frame's number.
        """
        name = _normal(name)
        exact = self.by_name.get(name)
        if exact is not None:
            return exact
        for same in (lambda known: known, lambda known: str(PurePosixPath(known).with_suffix(""))):
            hits = [people for known, people in self.by_name.items() if _ends_alike(same(known), same(name))]
            if len(hits) == 1:
                return hits[0]
        stem = PurePosixPath(name).stem
        if _is_number(stem):
            return self.by_number.get(int(stem))
        return self.by_number.get(index) if index is not None and not self.by_name else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", str(PurePosixPath(name.replace("\\", "/"))))


def _ends_alike(a: str, b: str) -> bool:
    return a == b or a.endswith("/" + b) or b.endswith("/" + a)


class PeopleCollector:
    """Gathers the people of a file's records by name or number, in the file's order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._named: dict[str, list[GivenPerson]] = {}
        self._numbered: dict[int, list[GivenPerson]] = {}

    def mention(self, picture: str | int) -> list[GivenPerson]:
        """The list of a picture's people, which is kept even if it stays empty."""
        if isinstance(picture, int):
            return self._numbered.setdefault(picture, [])
        return self._named.setdefault(_normal(picture), [])

    def collected(self) -> GivenPeople:
        """The result. Names that are bare numbers also count as numbers: they are frames of a video."""
        for name, people in self._named.items():
            if _is_number(name):
                self._numbered.setdefault(int(name), people)
        return GivenPeople(
            self._path,
            {name: tuple(people) for name, people in self._named.items()},
            {number: tuple(people) for number, people in self._numbered.items()},
        )


def load_json(path: Path) -> Any:
    """A JSON document. InputError with the line where it is none."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise reading_error(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is no JSON file", got=describe_file(path)) from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"is no JSON from line {error.lineno} on ({error.msg})" if text.strip() else "is empty"
        raise InputError(path, problem, expected="keypoints or boxes as JSON") from error
    except (RecursionError, ValueError) as error:
        raise InputError(path, f"is no JSON that can be read ({error})") from error


def finite_numbers(where: str, what: str, values: Any, counts: tuple[int, ...]) -> np.ndarray:
    """A list of finite numbers of one of the lengths, as float64. InputError about record `where` otherwise."""
    expected = f"{' or '.join(map(str, counts))} numbers"
    if not isinstance(values, list) or len(values) not in counts:
        got = f"{len(values)}" if isinstance(values, list) else type(values).__name__
        raise InputError(where, f"has unusable {what}", expected=expected, got=got)
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not -_LARGEST < value < _LARGEST:  # NaN compares false
            raise InputError(where, f"has unusable {what}", expected=expected, got=repr(value)[:40])
    return np.array(values, np.float64)
