"""A sample against the contract of `data.samples`, before it is stored: refusals name the sample and the field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SKELETONS
from humanpose_cli.core.errors import InputError
from humanpose_cli.data.encoding import EncodedHeader, read_header
from humanpose_cli.data.samples import LABEL_MAPS, Person, Sample
from humanpose_cli.data.schema import Column, Kind, Rule

__all__ = ["as_row", "as_text", "check_image", "value_of", "value_problem"]

_GENDERS = ("", "neutral", "male", "female")
_CHARTS = 24
_KNOWN = {"maps": frozenset(LABEL_MAPS), "keypoints": frozenset(SKELETONS), "joints": frozenset(SKELETONS)}


def value_of(labelled: Sample | Person, column: Column) -> Any:
    """What a sample or person has for a column; None where it has nothing."""
    family, _, member = column.name.partition("/")
    value = getattr(labelled, family)
    return value.get(member) if member else value


def check_image(sample: Sample) -> None:
    """Refuse a sample whose name, encoded images or names of labels are wrong: InputError.

    Numbers are checked one by one where they are turned into rows (`as_row`).
    """
    subject = f"sample {sample.name!r}"
    if not sample.name:
        raise InputError(subject, "has no name")
    image = _header(subject, "image", sample.image, "JPEG or PNG bytes")
    if image.size != tuple(sample.size):
        raise InputError(subject, "size: is not the image's", expected=_times(image.size), got=_times(sample.size))
    _refuse_unknown(subject, "maps", sample.maps)
    for name, data in sample.maps.items():
        spec = LABEL_MAPS[name]
        _check_map(subject, f"maps {name}", data, image.size, 8 * np.dtype(spec.dtype).itemsize, spec.channels)
    for number, person in enumerate(sample.people):
        owner = f"{subject}, person {number}"
        _refuse_unknown(owner, "keypoints", person.keypoints)
        _refuse_unknown(owner, "joints", person.joints)
        for name in ("mask", "detected_mask"):
            if (mask := getattr(person, name)) is not None:
                _check_map(owner, name, mask, image.size, 8, 1)


def _refuse_unknown(subject: str, family: str, found: Any) -> None:
    unknown = sorted(set(found) - _KNOWN[family])
    if unknown:
        expected = ", ".join(sorted(_KNOWN[family]))
        raise InputError(subject, f"{family}: has a name that is not known", expected=expected, got=unknown[0])


def _header(subject: str, field: str, data: Any, expected: str) -> EncodedHeader:
    if not isinstance(data, bytes):
        raise InputError(subject, f"{field}: is not encoded", expected=expected, got=type(data).__name__)
    header = read_header(data)
    if header is None:
        raise InputError(subject, f"{field}: is not encoded", expected=expected, got=f"{data[:8]!r}…")
    if not header.complete:
        raise InputError(subject, f"{field}: is cut off, its end is missing", got=f"{len(data)} bytes")
    return header


def _check_map(subject: str, field: str, data: Any, size: tuple[int, int], bits: int, channels: int) -> None:
    header = _header(subject, field, data, "PNG bytes")
    if header.format != "png":
        raise InputError(subject, f"{field}: is not encoded", expected="PNG bytes", got=header.format)
    if header.size != size:
        problem = f"{field}: is not as large as the image"
        raise InputError(subject, problem, expected=_times(size), got=_times(header.size))
    if (header.bits, header.channels) != (bits, channels):
        expected, got = f"{bits} bits × {channels}", f"{header.bits} bits × {header.channels}"
        raise InputError(subject, f"{field}: has other pixels", expected=expected, got=got)


def _times(size: Any) -> str:
    return " × ".join(str(side) for side in size)


def as_text(subject: str, column: Column, value: Any) -> bytes:
    """A text as the bytes that are stored. InputError for anything else, and for zero characters."""
    if not isinstance(value, str):
        raise InputError(subject, f"{column.name}: is no text", got=type(value).__name__)
    if any(character < " " or "\ud800" <= character <= "\udfff" for character in value):
        raise InputError(subject, f"{column.name}: holds a character that is no text", got=repr(value))
    if column.rule is Rule.GENDER and value not in _GENDERS:
        raise InputError(subject, f"{column.name}: is not known", expected=Rule.GENDER.value, got=repr(value))
    return value.encode("utf-8")


def as_row(subject: str, column: Column, value: Any) -> NDArray[Any] | None:
    """A value as the row that is stored: of the column's type and shape; None for None, and for no surface points.

    InputError for another shape, for what is no number, and for numbers that the column's rule forbids.
    """
    if value is None:
        return None
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused below
            row = np.ascontiguousarray(np.asarray(value), column.numpy_dtype).reshape(np.shape(value))
    except (TypeError, ValueError) as error:
        raise InputError(subject, f"{column.name}: holds no numbers", got=type(value).__name__) from error
    ragged = column.kind is Kind.RAGGED
    wanted = (len(row), *column.shape) if ragged and row.ndim else column.shape
    if row.shape != wanted:
        expected = ("M", *column.shape) if ragged else column.shape
        raise InputError(subject, f"{column.name}: has another shape", expected=str(expected), got=str(row.shape))
    if ragged and not len(row):
        return None
    if problem := value_problem(column, row):
        raise InputError(subject, f"{column.name}: {problem}", expected=column.rule.value)
    return row


def value_problem(column: Column, row: NDArray[Any]) -> str:
    """What a known row breaks of the column's rule, or ""."""
    rule = column.rule
    if rule in (Rule.ANY, Rule.GENDER):
        return ""
    if rule is Rule.CONFIDENCE:
        confidence = row[:, -1]
        if not ((confidence >= 0) & (confidence <= 1)).all():  # also where it is NaN
            return "holds a confidence outside 0…1"
        return "" if np.isfinite(row[confidence > 0]).all() else "holds a labelled number that is not finite"
    if not np.isfinite(row).all():
        return "holds a number that is not finite"
    if rule is Rule.POSITIVE and not (row > 0).all():
        return f"is {row.min():g}"
    if rule is Rule.BOX and not (row[:2] < row[2:]).all():
        return f"is empty ({', '.join(f'{edge:g}' for edge in row)})"
    if rule is Rule.SURFACE:
        chart, uv = row[:, 2], row[:, 3:]
        if not ((chart >= 1) & (chart <= _CHARTS) & (chart == np.round(chart))).all():
            return f"holds a chart outside 1…{_CHARTS}"
        if not ((uv >= 0) & (uv <= 1)).all():
            return "holds a U or V outside 0…1"
    return ""
