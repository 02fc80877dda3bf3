"""Motion capture files: C3D (HumanEva-I) by ezc3d, and NASA's Common Data Format (Human3.6M) by cdflib."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.core.extras import require_extra
from humanpose_cli.files.sniffing import check_readable, file_kind, read_bytes
from humanpose_cli.lab.datasets.reading import COPY_AGAIN

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class C3dPoints:
    """Labelled points over time.

    Attributes:
        path: The file.
        labels: Names of the P points.
        positions: (frames, P, 3) in the file's unit, (0, 0, 0) for missing points.
        unit: Unit of the positions.
    """

    path: Path
    labels: Sequence[str]
    positions: NDArray[np.float64]
    unit: str

    def find(self, name: str) -> int:
        """Find the first point whose label contains a name.

        Args:
            name: The name, which follows the subject's name in a label.

        Raises:
            InputError: If there is no such point.
        """
        for number, label in enumerate(self.labels):
            if name in label:
                return number
        raise InputError(self.path, f"has no point {name}", got=", ".join(self.labels)[:120] or "none")


def read_c3d(path: Path) -> C3dPoints:
    """Read the points of a C3D file.

    Args:
        path: The file.

    Raises:
        InputError: If the file is missing, damaged or truncated.
        UnavailableError: If the extra `c3d` is not installed.
    """
    require_extra("c3d")
    import ezc3d

    header = read_bytes(path)[:10]
    try:
        file = ezc3d.c3d(str(path))
        point = file["parameters"]["POINT"]
        positions = np.ascontiguousarray(file["data"]["points"][:3].transpose(2, 1, 0))
        labels = list(point["LABELS"]["value"])
        unit = next(iter(point["UNITS"]["value"]), "mm")
        first_frame, last_frame = struct.unpack("<2H", header[6:])
    except Exception as error:  # a damaged file raises whatever it leads to
        raise _unreadable(path, "C3D") from error
    # ezc3d returns the frames that a truncated file still has.
    if len(positions) != last_frame - first_frame + 1:
        expected = f"{last_frame - first_frame + 1} frames"
        raise InputError(path, "is cut short", expected=expected, got=str(len(positions)), remedy=COPY_AGAIN)
    positions[np.isnan(positions)] = 0
    return C3dPoints(path, labels[: positions.shape[1]], positions, unit)


def read_cdf(path: Path, name: str) -> NDArray[np.generic]:
    """Read all values of a variable.

    Args:
        path: The file.
        name: Name of the variable.

    Returns:
        (records, dimensions…) values.

    Raises:
        InputError: If the file or the variable is missing, damaged or truncated.
        UnavailableError: If the extra `cdf` is not installed.
    """
    return _from_cdf(path, name, lambda file: np.asarray(file.varget(name)))


def cdf_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of `read_cdf` from the headers alone."""

    def shape(file: Any) -> tuple[int, ...]:
        variable = file.varinq(name)
        return (variable.Last_Rec + 1, *variable.Dim_Sizes)

    return _from_cdf(path, name, shape)


def _from_cdf(path: Path, name: str, read: Callable[[Any], Result]) -> Result:
    """Return what `read` returns for an open file that has the variable."""
    require_extra("cdf")
    import cdflib

    check_readable(path)
    try:
        file = cdflib.CDF(path)
        contents = file.cdf_info()
        names = contents.rVariables + contents.zVariables
        result = read(file) if name in names else None
    except Exception as error:  # a damaged file raises whatever it leads to
        raise _unreadable(path, "CDF") from error
    if result is None:
        raise InputError(path, f"has no variable {name!r}", got=", ".join(names) or "none")
    return result


def _unreadable(path: Path, kind: str) -> InputError:
    return InputError(path, f"is no {kind} file, or a damaged one", got=file_kind(path), remedy=COPY_AGAIN)
