"""A digest of labels, one sample at a time. No sample is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from humanpose_cli.lab.cache.samples import Group, Sample

_OF_SAMPLE = (
    *("name", "size", "sequence", "frame", "splits", "focal", "principal_point", "frame_rate"),
    "world_to_camera",
)
_OF_PERSON = (
    *("identity", "clothing", "activity", "gender", "body", "crowd", "box", "area"),
    *("poses", "betas", "trans", "segment_scales", "keypoints", "joints", "surface_points"),
)
DIGEST_COVERS = (
    "of each group its name, its pairs by protocol and split, and of its samples in the adapter's order: "
    f"{', '.join(_OF_SAMPLE)}, and of the people in their order: {', '.join(_OF_PERSON)}; numbers rounded to "
    "1/1024, groups in the order of their names; no image, mask or label map"
)
_GRID = 1024.0  # a power of two: decimals of the owners' files are no ties between its points
_LIMIT = 2.0**62


class LabelDigest:
    """SHA-256 over labels, whichever the order of the groups, the folder's path and the machine.

    Numbers count to 1/1024 of a pixel, metre or radian, so that other versions of numerical libraries agree.
    """

    def __init__(self) -> None:
        self._groups: dict[str, bytes] = {}

    def group(self, group: Group) -> GroupDigest:
        """Begin the digest of a group, to which its samples are added; `close` takes it in."""
        return GroupDigest(self._groups, group)

    def hexdigest(self) -> str:
        """Return the digest of the groups that were closed."""
        total = hashlib.sha256()
        for name in sorted(self._groups, key=str.encode):
            total.update(_encoded(name) + self._groups[name])
        return total.hexdigest()


class GroupDigest:
    """The digest of one group, made by `LabelDigest.group`."""

    def __init__(self, groups: dict[str, bytes], group: Group) -> None:
        self._groups, self._name = groups, group.name
        self._hash = hashlib.sha256(_encoded({"/".join(key): np.array(pairs) for key, pairs in group.pairs.items()}))

    def add(self, sample: Sample) -> None:
        """Add the group's next sample."""
        people = [{name: getattr(person, name) for name in _OF_PERSON} for person in sample.people]
        self._hash.update(_encoded({**{name: getattr(sample, name) for name in _OF_SAMPLE}, "people": people}))

    def close(self) -> None:
        """Take the group in: all of its samples were added."""
        self._groups[self._name] = self._hash.digest()


def _encoded(value: Any) -> bytes:
    """Encode a value of labels as bytes that differ for different values."""
    if value is None:
        return b"N"
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"T%d:" % len(text) + text
    if isinstance(value, Mapping):
        items = b"".join(_encoded(str(key)) + _encoded(value[key]) for key in sorted(value))
        return b"M%d:" % len(value) + items
    if isinstance(value, list):
        return b"L%d:" % len(value) + b"".join(map(_encoded, value))
    numbers = np.asarray(value, np.float64)
    grid_values = np.clip(np.rint(numbers * _GRID), -_LIMIT, _LIMIT)
    integers = np.where(np.isnan(grid_values), -(2.0**63), grid_values).astype("<i8")
    return b"A" + ",".join(map(str, numbers.shape)).encode() + b":" + integers.tobytes()
