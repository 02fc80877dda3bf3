"""Safe reading of `.npz` and `.npy`: it runs nothing and allocates no more than the file holds."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.sniffing import file_kind, reading
from humanpose_cli.files.unpacking import UnpackedBudget

_FORMAT_ERRORS = (
    *(ValueError, EOFError, SyntaxError, TypeError, KeyError, OverflowError, UnicodeError, zlib.error),
    tokenize.TokenError,  # a truncated header
)
_MAX_MEMBERS = 10_000  # arrays of an archive; a description of each is in memory
_ZIP_MALFORMED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, ValueError)
_Objects: TypeAlias = Callable[[bytes], Any] | None  # reader of pickled arrays of objects


def read_npy(path: Path | str, objects: _Objects = None) -> Any:
    """Read the array of a `.npy` file; `objects` reads a pickled array of objects. Raises InputError as `read_npz`."""
    path = Path(path)
    with reading(path), open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return _read_array(path, "", file, size, objects)


def _read_array(path: Path, name: str, file: IO[bytes], size: int, objects: _Objects = None) -> Any:
    """Read one array from a stream of `size` bytes; its header must describe exactly these bytes."""
    what = f"{path} ({name})" if name else str(path)
    if size == 0:
        raise InputError(what, "is empty", expected="a NumPy array")
    try:
        shape, dtype, start = _header(file)
    except _FORMAT_ERRORS as error:
        if name:
            raise InputError(what, "is damaged", expected="a NumPy array") from error
        if (kind := file_kind(path)) == "a NumPy array":
            raise InputError(what, "is damaged in its header", remedy="copy or save it again") from error
        raise InputError(what, "is no NumPy array", got=kind) from error
    if dtype.hasobject:
        if objects is not None:
            return objects(file.read())
        remedy = "save it again with numpy.save(file, numpy.asarray(values, float), allow_pickle=False)"
        raise InputError(what, "holds pickled Python objects", expected="numbers", remedy=remedy)
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=object))
    if expected != size:
        raise InputError(what, "is damaged", expected=f"{expected} bytes for {shape} {dtype}", got=f"{size}")
    file.seek(0)
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (*_FORMAT_ERRORS, *_ZIP_MALFORMED) as error:
        raise InputError(what, f"is damaged ({error})", remedy="copy or make it again") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Read shape, type and offset of the data."""
    is_first = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype, file.tell()


def npz_names(path: Path | str) -> frozenset[str]:
    """List the names of the arrays in an `.npz` file. Raises InputError for another kind of file."""
    with _archive(Path(path)) as archive:
        return frozenset(name.removesuffix(".npy") for name in archive.namelist())


def _archive(path: Path, data: bytes | None = None) -> zipfile.ZipFile:
    try:
        with reading(path):
            archive = zipfile.ZipFile(path if data is None else io.BytesIO(data))
    except _ZIP_MALFORMED as error:
        kind = file_kind(path)
        got = "a truncated or damaged archive" if "ZIP" in kind else kind
        raise InputError(path, "is no .npz file", got=got, remedy="copy or make it again") from error
    if (count := len(archive.filelist)) > _MAX_MEMBERS:
        archive.close()
        raise InputError(path, "holds too many arrays", expected=f"at most {_MAX_MEMBERS:,}", got=f"{count:,}")
    return archive


def read_npz(
    path: Path | str,
    names: Collection[str] | None = None,
    *,
    data: bytes | None = None,
    objects: _Objects = None,
) -> dict[str, Any]:
    """Read arrays of an `.npz` file.

    Args:
        path: The file.
        names: Names of the arrays; missing ones are ignored. None for all.
        data: The part of the file that is the archive; None for the file itself.
        objects: Reads a pickled array of objects; None refuses it.

    Returns:
        The arrays by name.

    Raises:
        InputError: If it is another kind of file, damaged (checksums are compared), pickled, has more than 10,000
            arrays, or needs more memory than an `UnpackedBudget` allows.
    """
    path = Path(path)
    arrays: dict[str, Any] = {}
    with _archive(path, data) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        members = {name: member for name, member in members.items() if names is None or name in names}
        packed_size = path.stat().st_size if data is None else len(data)
        UnpackedBudget(path, packed_size).take(sum(member.file_size for member in members.values()))
        for name, member in members.items():
            try:
                with reading(path), archive.open(member) as file:
                    arrays[name] = _read_array(path, name, file, member.file_size, objects)
                    file.read()  # the checksum is compared at the end
            except _ZIP_MALFORMED as error:
                raise InputError(f"{path} ({name})", f"is damaged ({error})", remedy="copy or make it again") from error
    return arrays


def check_archive(path: Path, *, checksums: bool = True) -> None:
    """Check a ZIP archive before torch, which compares no checksums, reads it; other files pass.

    Raises InputError if it would unpack to far more than its size, and with `checksums`, if one of them differs.
    """
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return
    with _archive(path) as archive:
        unpacked_size = sum(member.file_size for member in archive.infolist())
        UnpackedBudget(path, path.stat().st_size).take(unpacked_size)
        try:
            with reading(path):
                damaged_member = archive.testzip() if checksums else None
        except _ZIP_MALFORMED as error:
            raise InputError(path, f"is damaged ({error})", remedy="copy or make it again") from error
    if damaged_member is not None:
        what = f"{path} ({damaged_member})"
        raise InputError(what, "is damaged: its checksum differs", remedy="copy or make it again")


def check_version(path: Path | str, version: np.ndarray | None, versions: range, kind: str, remedy: str) -> None:
    """Raise InputError unless a file's schema version is one of `versions`; `kind` is such as "fit file"."""
    if version is None or version.shape != () or version.dtype.kind not in "iu":
        raise InputError(path, f"is no {kind}", expected=f"a {kind} with a schema version", remedy=remedy)
    if int(version) in versions:
        return
    problem = f"has the unknown schema version {int(version)}"
    if int(version) >= versions.stop:
        problem = "was written by a newer version of this program"
        remedy = "run pip install --upgrade humanpose-cli"
    expected = f"schema version {versions.start}" + (f" to {versions.stop - 1}" if len(versions) > 1 else "")
    raise InputError(path, problem, expected=expected, got=str(int(version)), remedy=remedy)


def narrowed(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Convert an array of another width or byte order to `dtype`; another kind of array stays.

    Raises InputError for integers beyond the type's range.
    """
    target_type = np.dtype(dtype)
    if target_type.kind == "U" or array.dtype.kind != target_type.kind:
        return array
    with np.errstate(over="ignore"):  # becomes infinite, which is refused by name
        converted_array = array.astype(target_type)
    if target_type.kind == "i" and (converted_array != array).any():
        raise InputError(name, "holds numbers beyond 32 bits")
    return np.ascontiguousarray(converted_array)
