"""One labelled person, decoded: what crops and augmentations work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.encoding import decode_picture, decode_png
from humanpose_cli.data.label_maps import decode_map
from humanpose_cli.data.samples import Person, Sample
from humanpose_cli.errors import InputError
from humanpose_cli.geometry.cameras import default_focal

__all__ = ["Example", "example_of"]

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


def example_of(
    sample: Sample,
    person: int = 0,
    maps: tuple[str, ...] | None = None,
    *,
    picture: bool = True,
    mask: bool = True,
    detected_mask: bool = True,
) -> Example:
    """Decode a sample for one of its people; their mask comes from the `persons` map where it is not given itself.

    maps     the maps to decode; None: all there are
    picture  False, where only labels are wanted, leaves the image a single black pixel: decoding takes the most time
    mask, detected_mask  False leaves these out
    """
    labels = sample.people[person]
    wanted = sample.maps.keys() if maps is None else [name for name in maps if name in sample.maps]
    decoded = {name: decode_map(name, sample.maps[name]) for name in wanted}
    seen = None
    if mask and labels.mask is not None:
        seen = _decoded(decode_png(labels.mask), sample.name, "mask")
    elif mask and "persons" in sample.maps:
        persons = decoded["persons"] if "persons" in decoded else decode_map("persons", sample.maps["persons"])
        seen = np.where(persons == person + 1, np.uint8(255), np.uint8(0))
    width, height = sample.size
    detected = labels.detected_mask if detected_mask else None
    return Example(
        sample.name,
        _decoded(decode_picture(sample.image), sample.name, "picture") if picture else np.zeros((1, 1, 3), np.uint8),
        default_focal(width, height) if sample.focal is None else sample.focal,
        sample.principal_point or (width / 2, height / 2),
        labels,
        decoded,
        seen,
        None if detected is None else _decoded(decode_png(detected), sample.name, "mask"),
    )


def _decoded(values: Array | None, name: str, what: str) -> Array:
    if values is None:
        raise InputError(name, f"its {what} cannot be decoded", remedy="hpc cache verify tells what else is damaged")
    return values
