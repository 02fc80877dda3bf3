"""What our detector says about the people of a source: landmarks, world landmarks and mask, beside their true labels.

Models that work on the detector's output learn from it: on rendered people the truth is known, and the detector errs on
them as it does on photographs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.encoding import decode_picture, encode_png
from humanpose_cli.data.samples import Person, Sample, Source
from humanpose_cli.data.wrapping import LabellingSource
from humanpose_cli.detection.given import people_in_boxes
from humanpose_cli.detection.models import ModelPool
from humanpose_cli.detection.person import DetectedPerson
from humanpose_cli.errors import InputError

__all__ = ["DetectedLabels"]

_PRESENT = 0.3  # below it the detector sees nobody there, and says nothing worth learning from


class DetectedLabels(LabellingSource):
    """A source whose people also have what the detector sees in their boxes.

    views  looks beside the first one, averaged; each costs about 8 ms a person
    """

    def __init__(self, source: Source, views: int = 2) -> None:
        super().__init__(source)
        self.views = views

    def __reduce__(self) -> tuple[type, tuple[Source, int]]:
        return type(self), (self.source, self.views)

    @property
    def added(self) -> Mapping[str, Any]:
        """How often the detector looks."""
        return {"detector_views": self.views}

    def labelled(self, sample: Sample) -> Sample:
        """One sample; people without a box in the picture, or whom the detector does not see, stay as they are."""
        places = [place for place, person in enumerate(sample.people) if _has_area(person.box, sample.size)]
        if not places:
            return sample
        boxes = np.stack([np.asarray(sample.people[place].box, np.float64) for place in places])
        picture = decode_picture(sample.image)
        if picture is None:
            raise InputError(sample.name, "its picture cannot be decoded", expected="JPEG or PNG")
        seen = people_in_boxes(self._pool, picture, boxes, self.views)
        people = list(sample.people)
        for place, found in zip(places, seen, strict=True):
            if found.score >= _PRESENT:
                people[place] = _with_detection(people[place], found, sample.size)
        return replace(sample, people=people)

    @cached_property
    def _pool(self) -> ModelPool:
        return ModelPool(1)


def _has_area(box: NDArray[Any] | None, size: tuple[int, int]) -> bool:
    """Whether a box has two pixels of a picture or more in either direction."""
    if box is None or not np.isfinite(box).all():
        return False
    return bool((np.minimum(box[2:], size) - np.maximum(box[:2], 0) >= 2).all())


def _with_detection(person: Person, found: DetectedPerson, size: tuple[int, int]) -> Person:
    world = None
    if found.world is not None:
        world = np.concatenate((found.world, found.keypoints[:, 2:]), 1).astype(np.float32)
    mask = None
    if found.mask is not None:
        placed = found.mask.in_picture(size[1], size[0])
        mask = encode_png(np.rint(255 * placed).astype(np.uint8))
    return replace(person, detected=found.keypoints.astype(np.float32), detected_world=world, detected_mask=mask)
