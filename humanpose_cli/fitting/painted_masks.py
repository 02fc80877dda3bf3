"""Masks of people in photographs from the user: painted by hand, or made by another program such as SAM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.crop import Affine2D
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.fitting.detection_journal import DetectionJournal
from humanpose_cli.fitting.people import FramesWithPeople, PeopleSource
from humanpose_cli.io.images import read_image
from humanpose_cli.io.inputs import Frame, InputItem

_MIN_INSIDE = 0.3  # share of a person's keypoints in a mask that is theirs


@dataclass(frozen=True)
class PaintedMasks:
    """The user's masks: one image, or a folder with `NAME.person0.mask.png` as `hpc fit --masks` writes, or `NAME.png`.

    White pixels, or opaque ones of an image with transparency, are the person.

    Attributes:
        path: The image or the folder.

    Raises:
        InputError: If there is no such file.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise InputError(self.path, "does not exist", expected="an image, or a folder of images")

    def files(self, name: str) -> list[Path]:
        """Return the images of the masks of a photograph, by its name."""
        if not self.path.is_dir():
            return [self.path]
        name = Path(name).name
        names = (f"{name}.png", f"{Path(name).stem}.png")
        found = {file.name: file for file in self.path.iterdir()}
        people = sorted(n for n in found if n.startswith(f"{name}.person") and n.endswith(".mask.png"))
        return [found[each] for each in (people or [n for n in names if n in found][:1])]

    def applied(self, people: Sequence[DetectedPerson], name: str, size: tuple[int, int]) -> list[DetectedPerson]:
        """Give each mask of a photograph to the person whose keypoints lie in it.

        Args:
            people: The people.
            name: The photograph's name.
            size: Its height and width, pixels.

        Raises:
            InputError: If a mask has another size, or shows none of the people.
        """
        result = list(people)
        for file in self.files(name):
            mask = _read(file)
            if mask.shape != size:
                got = "{1} × {0}".format(*mask.shape)
                raise InputError(file, f"is no mask of {name}", expected="{1} × {0} pixels".format(*size), got=got)
            shares = [_share_inside(person, mask) for person in result]
            if max(shares, default=0.0) < _MIN_INSIDE:
                raise InputError(file, f"shows none of the people found in {name}", remedy="paint a person white")
            row = int(np.argmax(shares))
            result[row] = replace(result[row], mask=_person_mask(mask))
        return result


def _read(file: Path) -> NDArray[np.bool_]:
    image = read_image(file)
    if image.alpha is not None and image.alpha.min() < 128:
        return np.asarray(image.alpha >= 128)
    return np.asarray(image.pixels.max(2) >= 128)


def _share_inside(person: DetectedPerson, mask: NDArray[np.bool_]) -> float:
    """Return the share of a person's keypoints, by confidence, that lie in a mask (H, W)."""
    x, y, confidence = person.keypoints.T
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    columns, rows = (np.where(inside, np.nan_to_num(values), 0).astype(int) for values in (x, y))
    weight = np.nan_to_num(confidence) * inside
    return float((weight * mask[rows, columns]).sum() / max(weight.sum(), 1e-6))


def _person_mask(mask: NDArray[np.bool_]) -> PersonMask:
    square = np.zeros((max(mask.shape),) * 2, np.uint8)
    square[: mask.shape[0], : mask.shape[1]] = 255 * mask
    return PersonMask(square, Affine2D.identity(), exact=True)


class MaskedPeople(PeopleSource):
    """People of another source in photographs, with the user's masks.

    Args:
        source: The source.
        masks: The masks.
    """

    def __init__(self, source: PeopleSource, masks: PaintedMasks) -> None:
        self._source = source
        self._masks = masks

    @property
    def at_once(self) -> int:
        return self._source.at_once

    def notes(self, items: Iterable[InputItem]) -> list[str]:
        return self._source.notes(items)

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        return self._masks.applied(self._source.in_image(frame), frame.name, frame.pixels.shape[:2])

    def in_sequence(
        self,
        frames: Iterable[Frame],
        journal: DetectionJournal | None = None,
        *,
        masks: bool = False,
        frame_rate: float | None = None,
    ) -> FramesWithPeople:
        raise UsageError("mask", "has no effect on videos and sequences of images", expected="a photograph")

    def close(self) -> None:
        self._source.close()
