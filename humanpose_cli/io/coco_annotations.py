"""Annotation files in COCO's form: records, joints' names, numbers and run-length encoded masks, checked.

Every error names the file and the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError

Array = NDArray[Any]
HIDDEN_CONFIDENCE = 0.5
"""Of joints that are labelled and hidden, as for keypoints that users give (`io.detections`)."""


def records(path: Path, document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return one of a file's lists of records: "images", "annotations" or "categories"."""
    entries = document.get(name)
    if not isinstance(entries, list) or not all(isinstance(record, dict) for record in entries):
        raise InputError(path, f"has no list of {name}", got=type(entries).__name__)
    return entries


def image_id(where: str, image: Mapping[str, Any]) -> Any:
    """Return the id of an image's record, which must have a file name and a size."""
    sizes = [image.get("width"), image.get("height")]
    if not isinstance(image.get("file_name"), str) or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise InputError(where, "is damaged", expected="id, file_name, width and height", got=str(image)[:80])
    key = image.get("id")
    if not isinstance(key, int | str):
        raise InputError(where, "has no id", got=str(key)[:40])
    return key


def keypoint_names(path: Path, document: Mapping[str, Any]) -> Sequence[str]:
    """Return the joints of the file's keypoints: those of its category person."""
    for category in records(path, document, "categories"):
        names = category.get("keypoints")
        if category.get("name") == "person" and isinstance(names, list) and all(isinstance(n, str) for n in names):
            return names
    raise InputError(path, "does not say what its keypoints are", expected="the category person with their names")


def numbers(where: str, annotation: Mapping[str, Any], name: str, count: int) -> Array:
    """Check a field of a record as that many finite numbers."""
    values = annotation.get(name)
    problem = f"has an unusable {name}"
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)}" if isinstance(values, list) else type(values).__name__
        raise InputError(where, problem, expected=f"{count} numbers", got=got)
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(where, problem, expected="numbers", got=str(values)[:40]) from error
    if not np.isfinite(array).all():
        raise InputError(where, problem, expected="finite numbers", got=str(values)[:40])
    return array


def flagged_keypoints(where: str, annotation: Mapping[str, Any], names: Sequence[str], flag_one: float) -> Array:
    """Read the keypoints of one person: (len(names), 3) x, y in pixels, confidence; zeros if the record has none.

    Args:
        flag_one: The confidence that the flag 1 stands for: COCO's hidden joints, PoseTrack's labelled ones.
    """
    if not annotation.get("keypoints"):
        return np.zeros((len(names), 3))
    keypoints = numbers(where, annotation, "keypoints", 3 * len(names)).reshape(-1, 3)
    confidence = np.select([keypoints[:, 2] >= 2, keypoints[:, 2] >= 1], [1.0, flag_one], 0.0)
    return np.column_stack((keypoints[:, :2] + 0.5, confidence))


def to_coco17(points: Array, names: Sequence[str]) -> Array:
    """Reorder points (J, 3) x, y, confidence of the joints `names` to COCO's 17; joints without a point have 0."""
    result = np.zeros((len(COCO17), 3))
    for name, point in zip(names, points, strict=True):
        if name in COCO17 and point[2] > 0:
            result[COCO17.index(name)] = point
    return result


# COCO's run-length encoded masks: counts down the columns, zeros first, as numbers or packed into text.

_MAX_PIXELS = 1 << 28


def decode_run_lengths(encoding: Mapping[str, Any], where: object) -> NDArray[np.bool_]:
    """Decode the mask (H, W) of {"size": [H, W], "counts": text or numbers}. Raises InputError, which begins with
    `where`.
    """
    size, counts = encoding.get("size"), encoding.get("counts")
    valid = isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n >= 0 for n in size)
    height, width = size if valid and isinstance(size, list) else (-1, -1)
    if not valid or height * width > _MAX_PIXELS:
        raise InputError(where, "has a mask of unusable size", expected="[height, width]", got=str(size)[:40])
    try:
        runs = np.asarray(_unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(where, "has a damaged mask", got=str(error)[:80]) from error
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        expected, got = f"{height} × {width}", f"{runs.sum()} pixels"
        raise InputError(where, "has a mask of another size", expected=expected, got=got)
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return bits.reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """Unpack counts from COCO's text: groups of 5 bits from the lowest, 48 added to each, the sixth bit says that more
    follow; the fifth bit of the last one is the sign; from the fourth count on they are differences to the one before
    last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the character {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("its text is cut short")
    return counts
