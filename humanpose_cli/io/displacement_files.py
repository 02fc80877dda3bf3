"""The displacement file `NAME.displacements.npz`: where the pixels of rendered bodies lie in the photographs.

N rows, one for each person and frame in the order of the F frames, with square crops of S pixels. The file is an `.npz`
archive without pickles: the table's arrays (`COLUMNS`), and three arrays for each row, `pixels_000000`,
`confidence_000000` and `mask_000000`. It is written and read row by row, so memory does not grow with the video.

with DisplacementFile("clip.mp4.displacements.npz") as file:
    for field in file:
        positions, shifts, confidence = field.in_image()
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.atomic import atomic_path, npy_member
from humanpose_cli.io.npz_files import NpzArchive, check_version
from humanpose_cli.io.value_limits import check_image_sizes

DISPLACEMENTS_SUFFIX = ".displacements.npz"
SCHEMA_VERSION = 1

# name → shape (N rows, F frames) and type
COLUMNS: dict[str, tuple[tuple[str | int, ...], str]] = {
    "track_id": (("N",), "<i4"),
    "frame_index": (("N",), "<i4"),
    "crop_to_image": (("N", 2, 3), "<f8"),
    "frame_names": (("F",), "<U"),
    "image_size": (("F", 2), "<i4"),
}
_SCALARS = ("size", "settings")
_VERSION = "displacements_version"
_FIELDS = {"pixels": "<f2", "confidence": "<f2", "mask": "|b1"}
_MAX_ROWS = 1_000_000
_MAX_SIZE = 8192  # pixels, side of a crop
_MAX_CROP = 1e8  # magnitude of the numbers in a crop's map, far beyond any image
_MAKE_AGAIN = "make it again with hpc refine --save-displacements"
_LEVEL = 5  # compression: higher levels take twice the time for 2 % of the size


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """The displacements of one person in one frame.

    Attributes:
        track: Number of the person.
        frame: Row of the frames.
        crop_to_image: (2, 3) float. Affine map from pixels of the crop to pixels of the image.
        pixels: (2, S, S) float32, pixels of the crop. x and y from the drawn body to the body in the image.
        confidence: (S, S) float32, 0 to 1. ½ if the noise is 3 % of S; zero for pixels outside the body, behind another
            person or without a match.
        mask: (S, S) bool. Pixels of the drawn body.
    """

    track: int
    frame: int
    crop_to_image: NDArray[np.float64]
    pixels: NDArray[np.float32]
    confidence: NDArray[np.float32]
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
            _VERSION: np.array(SCHEMA_VERSION, "<i4"),
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


class DisplacementFile:
    """A displacement file that is open for reading; a context manager. Rows are read one by one, on access.

    Attributes:
        track_id: (N,) int32. Number of each row's person.
        frame_index: (N,) int32. Index of each row's frame.
        crop_to_image: (N, 2, 3) float64. Maps from pixels of each row's crop to pixels of the image.
        frame_names: (F,) str. Names of the frames as in the fit file.
        image_size: (F, 2) int32, pixels. Width and height.
        size: Side S of the crops in pixels; 0 without rows.
        settings: The refinement's options.

    Raises:
        InputError: If the file is another kind of file, damaged, pickled, inconsistent (it names the array), or written
            by a newer version of this program; also when a damaged row is read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._archive = NpzArchive(self.path, max_members=len(_FIELDS) * _MAX_ROWS)
        try:
            arrays = self._read_table()
        except BaseException:
            self._archive.close()
            raise
        self.track_id = arrays["track_id"]
        self.frame_index = arrays["frame_index"]
        self.crop_to_image = arrays["crop_to_image"]
        self.frame_names = arrays["frame_names"]
        self.image_size = arrays["image_size"]
        self.size = int(arrays["size"])

    def _read_table(self) -> dict[str, NDArray[Any]]:
        version = self._archive.read({_VERSION}).get(_VERSION)
        check_version(self.path, version, range(1, SCHEMA_VERSION + 1), "displacement file", _MAKE_AGAIN)
        arrays = self._archive.read({*COLUMNS, *_SCALARS})
        missing = sorted({*COLUMNS, *_SCALARS} - arrays.keys())
        if missing:
            self._refuse("the file", f"lacks {', '.join(missing)}")
        lengths: dict[str, int] = {}
        for name, (pattern, dtype) in COLUMNS.items():
            array, column_type = arrays[name], np.dtype(dtype)
            lengths.setdefault(str(pattern[0]), len(array) if array.ndim else -1)
            self._check(name, array, (lengths[str(pattern[0])], *pattern[1:]), column_type)
        self._check("size", arrays["size"], (), np.dtype("<i4"))
        self._check("settings", arrays["settings"], (), np.dtype("<U"))
        self.settings = self._parsed(str(arrays["settings"]))
        self._check_values(arrays)
        return arrays

    def _check_values(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        count, frames = len(arrays["track_id"]), len(arrays["frame_names"])
        if count and not 1 <= int(arrays["size"]) <= _MAX_SIZE:
            self._refuse("size", "is impossible", expected=f"1 to {_MAX_SIZE} pixels", got=str(arrays["size"]))
        for name, limit in (("track_id", np.inf), ("frame_index", frames)):
            if (arrays[name] < 0).any() or (arrays[name] >= limit).any():
                self._refuse(name, "points outside", expected=f"0 to {limit - 1:.0f}" if frames else "none")
        if (np.diff(arrays["frame_index"]) < 0).any():
            self._refuse("frame_index", "goes back", expected="rows in the order of the frames")
        if len(set(zip(arrays["track_id"].tolist(), arrays["frame_index"].tolist(), strict=True))) < count:
            self._refuse("track_id", "repeats", expected="each person once a frame")
        crops = arrays["crop_to_image"]
        determinant = np.linalg.det(crops[:, :, :2]) if np.isfinite(crops).all() else np.zeros(1)
        if not (np.abs(crops) <= _MAX_CROP).all() or not (np.abs(determinant) > 0).all():
            self._refuse("crop_to_image", "holds impossible values", expected="maps that can be inverted")
        check_image_sizes(arrays["image_size"], self.path)

    def _check(self, name: str, array: NDArray[Any], shape: tuple[Any, ...], column_type: np.dtype[Any]) -> None:
        if array.shape != shape or array.dtype.kind != column_type.kind:
            expected = f"{shape} {column_type.name}"
            self._refuse(name, "has the wrong shape or type", expected=expected, got=f"{array.shape} {array.dtype}")

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            settings = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(self.path, f"settings are no JSON ({error})", remedy=_MAKE_AGAIN) from error
        if not isinstance(settings, dict):
            self._refuse("settings", "are no JSON object")
        return settings

    def _refuse(self, name: str, problem: str, *, expected: str = "", got: str = "") -> NoReturn:
        details = {key: value for key, value in (("expected", expected), ("got", got)) if value}
        raise InputError(self.path, f"{name} {problem}", **details, remedy=_MAKE_AGAIN)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.track_id)

    def __getitem__(self, row: int) -> DisplacementField:
        """Read one row. Raises IndexError for an index outside the rows, InputError for damage."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        names = {name: f"{name}_{row:06d}" for name in _FIELDS}
        arrays = self._archive.read(names.values())
        for name, stored_name in names.items():
            if stored_name not in arrays:
                self._refuse("the file", f"lacks {stored_name}")
            shape = (2, self.size, self.size) if name == "pixels" else (self.size, self.size)
            self._check(stored_name, arrays[stored_name], shape, np.dtype(_FIELDS[name]))
        pixels, confidence = (arrays[names[name]].astype(np.float32) for name in ("pixels", "confidence"))
        if not np.isfinite(pixels).all():
            self._refuse(names["pixels"], "holds values that are not finite")
        if not ((confidence >= 0) & (confidence <= 1)).all():
            self._refuse(names["confidence"], "holds impossible values", expected="0 to 1")
        crop = np.asarray(self.crop_to_image[row], np.float64)
        track, frame = int(self.track_id[row]), int(self.frame_index[row])
        return DisplacementField(track, frame, crop, pixels, confidence, arrays[names["mask"]])

    def __iter__(self) -> Iterator[DisplacementField]:
        """Yield the rows, in the order of the frames."""
        return (self[row] for row in range(len(self)))

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def __enter__(self) -> DisplacementFile:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()
