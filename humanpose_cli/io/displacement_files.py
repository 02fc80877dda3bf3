"""The displacement file `NAME.displacements.npz`: where the pixels of rendered bodies lie in the photographs.

N rows, one for each person and frame in the order of the F frames, with square crops of S pixels. The file is an `.npz`
archive without pickles: the table's arrays, and three arrays for each row, `pixels_000000`, `confidence_000000` and
`mask_000000`. It is written row by row, so memory does not grow with the video; `numpy.load` reads an array on access.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.io.atomic import atomic_path, npy_member

DISPLACEMENTS_SUFFIX = ".displacements.npz"
SCHEMA_VERSION = 1

_FIELDS = {"pixels": "<f2", "confidence": "<f2", "mask": "|b1"}
_LEVEL = 5  # compression: higher levels take twice the time for 2 % of the size


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """The displacements of one person in one frame.

    Attributes:
        track: Number of the person.
        frame: Row of the frames.
        crop_to_image: (2, 3) float. Affine map from pixels of the crop to pixels of the image.
        pixels: (2, S, S) float16, pixels of the crop. x and y from the drawn body to the body in the image.
        confidence: (S, S) float16, 0 to 1. ½ if the noise is 3 % of S; zero for pixels outside the body, behind another
            person or without a match.
        mask: (S, S) bool. Pixels of the drawn body.
    """

    track: int
    frame: int
    crop_to_image: NDArray[np.float64]
    pixels: NDArray[np.float16]
    confidence: NDArray[np.float16]
    mask: NDArray[np.bool_]

    def in_image(
        self, min_confidence: float = 0.0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the M pixels on the body with a confidence above `min_confidence`.

        Returns:
            Positions (M, 2) and displacements (M, 2) in pixels of the image, (0, 0) at its top-left corner, and
            confidence (M,).
        """
        rows, columns = np.nonzero(self.mask & (self.confidence > min_confidence))
        matrix = self.crop_to_image
        positions = np.stack((columns + 0.5, rows + 0.5), 1) @ matrix[:, :2].T + matrix[:, 2]
        shifts = self.pixels[:, rows, columns].T.astype(np.float64) @ matrix[:, :2].T
        return positions, shifts, self.confidence[rows, columns].astype(np.float64)


class DisplacementWriter:
    """Adds rows to a file that `displacement_writer` opened."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._rows: list[tuple[int, int, NDArray[np.float64]]] = []
        self._size = 0

    def add(self, field: DisplacementField) -> None:
        """Write the next row; all rows have crops of one size."""
        assert self._size in (0, len(field.mask)), "rows of one file have crops of one size"
        self._size = len(field.mask)
        for name, dtype in _FIELDS.items():
            self._write(f"{name}_{len(self._rows):06d}", getattr(field, name).astype(dtype))
        self._rows.append((field.track, field.frame, field.crop_to_image))

    def _finish(self, frame_names: Sequence[str], image_size: NDArray[np.integer], settings: Mapping[str, Any]) -> None:
        """Write the table."""
        arrays = {
            "track_id": np.array([track for track, _, _ in self._rows], "<i4"),
            "frame_index": np.array([frame for _, frame, _ in self._rows], "<i4"),
            "crop_to_image": np.array([crop for _, _, crop in self._rows], "<f8").reshape(-1, 2, 3),
            "frame_names": np.array([str(name) for name in frame_names], dtype=str),
            "image_size": np.asarray(image_size, "<i4"),
            "size": np.array(self._size, "<i4"),
            "settings": np.array(json.dumps(dict(settings), ensure_ascii=False, sort_keys=True, allow_nan=False)),
            "displacements_version": np.array(SCHEMA_VERSION, "<i4"),
        }
        for name, array in arrays.items():
            self._write(name, array)

    def _write(self, name: str, array: NDArray[Any]) -> None:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=False)
        self._archive.writestr(npy_member(name), buffer.getvalue(), zipfile.ZIP_DEFLATED, _LEVEL)


@contextmanager
def displacement_writer(
    path: Path | str, frame_names: Sequence[str], image_size: NDArray[np.integer], settings: Mapping[str, Any]
) -> Generator[DisplacementWriter, None, None]:
    """Open a writer; on a clean exit the file appears, complete, under its name, otherwise it vanishes.

    Args:
        path: The file. Errors are raised as by `atomic_path`.
        frame_names: (F,) str. Names of the frames that rows refer to.
        image_size: (F, 2) int, pixels. Width and height of the frames.
        settings: JSON values that describe how displacements were computed.

    Yields:
        The writer.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        writer = DisplacementWriter(archive)
        yield writer
        writer._finish(frame_names, image_size, settings)
