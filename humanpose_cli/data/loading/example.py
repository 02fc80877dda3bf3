"""One labelled person, decoded: what crops and augmentations work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.label_maps import decode_map
from humanpose_cli.data.samples import Person, Sample
from humanpose_cli.errors import InputError
from humanpose_cli.geometry.cameras import default_focal

__all__ = ["Example", "decode_picture", "example_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Example:
    """A picture and one of its people.

    name             the sample's
    image            (H, W, 3) uint8 RGB
    focal            pixels; where the sample has none, the usual 1.2 times the longer side
    principal_point  (2,) pixels
    person           labels in this picture's pixels and this camera's axes
    maps             `LABEL_MAPS` name → decoded array of the picture's size
    mask             (H, W) uint8, 255 where this person is seen; None where not known
    detected_mask    (H, W) uint8, the detector's; None where not known
    """

    name: str
    image: NDArray[np.uint8]
    focal: float
    principal_point: tuple[float, float]
    person: Person
    maps: Mapping[str, Array] = field(default_factory=dict)
    mask: NDArray[np.uint8] | None = None
    detected_mask: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) pixels."""
        return self.image.shape[1], self.image.shape[0]


def decode_picture(data: bytes, name: str) -> NDArray[np.uint8]:
    """JPEG or PNG bytes → (H, W, 3) uint8 RGB; InputError names the sample whose picture is damaged."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise InputError(name, "its picture cannot be decoded", expected="JPEG or PNG", got=f"{len(data)} bytes")
    return np.asarray(pixels, np.uint8)


def example_of(sample: Sample, person: int = 0, maps: tuple[str, ...] | None = None) -> Example:
    """Decode a sample for one of its people; their mask comes from the `persons` map where it is not given itself.

    maps  the maps to decode; None: all there are
    """
    labels = sample.people[person]
    wanted = sample.maps.keys() if maps is None else [name for name in maps if name in sample.maps]
    decoded = {name: decode_map(name, sample.maps[name]) for name in wanted}
    mask = None
    if labels.mask is not None:
        mask = _grey(labels.mask, sample.name)
    elif "persons" in sample.maps:
        persons = decoded["persons"] if "persons" in decoded else decode_map("persons", sample.maps["persons"])
        mask = np.where(persons == person + 1, np.uint8(255), np.uint8(0))
    width, height = sample.size
    return Example(
        sample.name,
        decode_picture(sample.image, sample.name),
        default_focal(width, height) if sample.focal is None else sample.focal,
        sample.principal_point or (width / 2, height / 2),
        labels,
        decoded,
        mask,
        None if labels.detected_mask is None else _grey(labels.detected_mask, sample.name),
    )


def _grey(data: bytes, name: str) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise InputError(name, "its mask cannot be decoded", expected="PNG", got=f"{len(data)} bytes")
    return np.asarray(pixels, np.uint8)
