"""Annotation files in COCO's form: checked records, names of joints, numbers and run-length encoded masks.

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
from humanpose_cli.files.checks import numeric

Array = NDArray[Any]
HIDDEN_CONFIDENCE = 0.5
"""Confidence of joints that are labelled as hidden, also in users' keypoint files (`io.detections`)."""
LOCKED_CONFIDENCE = 2.0
"""Confidence of joints in users' keypoint files that are locked: a body must be at them."""


def records(path: Path, document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of records of a file: "images", "annotations" or "categories". Raises InputError if damaged."""
    entries = document.get(name)
    if not isinstance(entries, list) or not all(isinstance(record, dict) for record in entries):
        raise InputError(path, f"has no list of {name}", got=type(entries).__name__)
    return entries


def image_id(where: str, image: Mapping[str, Any]) -> Any:
    """Return the id of an image's record. Raises InputError if it has no id, file name or size."""
    sizes = [image.get("width"), image.get("height")]
    if not isinstance(image.get("file_name"), str) or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise InputError(where, "is damaged", expected="id, file_name, width and height", got=str(image)[:80])
    key = image.get("id")
    if not isinstance(key, int | str):
        raise InputError(where, "has no id", got=str(key)[:40])
    return key


def keypoint_names(path: Path, document: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the file's keypoints, from its category person. Raises InputError if there are none."""
    for category in records(path, document, "categories"):
        names = category.get("keypoints")
        if category.get("name") == "person" and isinstance(names, list) and all(isinstance(n, str) for n in names):
            return names
    raise InputError(path, "does not say what its keypoints are", expected="the category person with their names")


def numbers(where: str, annotation: Mapping[str, Any], name: str, count: int) -> Array:
    """Return a field of a record, which must hold `count` finite numbers. Raises InputError otherwise."""
    values = numeric(where, name, annotation.get(name, []))
    if values.shape != (count,) or not np.isfinite(values).all():
        raise InputError(where, f"has unusable {name}", expected=f"{count} numbers", got=f"{values.shape}")
    return values


def flagged_keypoints(where: str, annotation: Mapping[str, Any], names: Sequence[str], flag_one: float) -> Array:
    """Read the keypoints of one person.

    Args:
        where: The file and the record, for errors.
        annotation: The record of the person.
        names: Names of the J joints.
        flag_one: Confidence of the flag 1: COCO's hidden joints, PoseTrack's labelled ones.

    Returns:
        (J, 3) x, y in pixels and confidence; zeros if the record has no keypoints.
    """
    if not annotation.get("keypoints"):
        return np.zeros((len(names), 3))
    keypoints = numbers(where, annotation, "keypoints", 3 * len(names)).reshape(-1, 3)
    confidence = np.select([keypoints[:, 2] >= 2, keypoints[:, 2] >= 1], [1.0, flag_one], 0.0)
    return np.column_stack((keypoints[:, :2] + 0.5, confidence))


def to_coco17(points: Array, names: Sequence[str]) -> Array:
    """Reorder points (J, 3) x, y, confidence of the joints `names` to COCO's 17; missing joints are 0."""
    result = np.zeros((len(COCO17), 3))
    for name, point in zip(names, points, strict=True):
        if name in COCO17 and point[2] > 0:
            result[COCO17.index(name)] = point
    return result


_MAX_PIXELS = 1 << 28  # of a mask


def decode_run_lengths(encoding: Mapping[str, Any], where: object) -> NDArray[np.bool_]:
    """Decode the mask (H, W) of {"size": [H, W], "counts": text or numbers}.

    Counts go down the columns, zeros first, as numbers or packed into text. Raises InputError about `where`.
    """
    size, counts = encoding.get("size"), encoding.get("counts")
    match size:
        case [int(height), int(width)] if height >= 0 and width >= 0 and height * width <= _MAX_PIXELS:
            pass
        case _:
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
    """Unpack counts from COCO's text."""
    # Groups of 5 bits from the lowest, 48 added to each; the sixth bit says that more follow, and the fifth bit of the
    # last group is the sign. From the fourth count on, counts are differences to the count before the last.
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
