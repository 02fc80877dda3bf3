"""Reading MATLAB's files, of version 5 and of version 7.3 (HDF5): never more than the file can hold."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from humanpose_cli.core.errors import HpcError, InputError, reason_of
from humanpose_cli.io.sniffing import reading_error, refuse_pipes

_COPY_AGAIN = "copy or download it again"
_MOST_PACKED, _ALWAYS_ALLOWED = 50, 256 << 20  # as of NumPy's archives
_HEADER, _COMPRESSED = 128, 15  # bytes before the first element; type of an element that is packed by zlib
_CHUNK = 1 << 20


def read_mat(path: Path, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """Variables of a MATLAB 5 file, cells as arrays of objects.

    InputError for a missing or damaged file, for one that lacks a variable, and for one that unpacks to more than
    256 MiB and fifty times its size.
    """
    refuse_pipes(path)
    try:
        _refuse_bomb(path)
        stored = loadmat(path, variable_names=list(names))
    except (HpcError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise reading_error(path, error) from error
    except Exception as error:  # scipy raises what it meets in a damaged file
        raise InputError(path, f"is no readable MATLAB file ({reason_of(error)})", remedy=_COPY_AGAIN) from error
    if missing := [name for name in names if name not in stored]:
        raise InputError(path, f"lacks {missing[0]}", expected=", ".join(names))
    return {name: np.asarray(stored[name]) for name in names}


def _refuse_bomb(path: Path) -> None:
    """Unpack what is packed, and forget it."""
    left = most = _most(path)
    with open(path, "rb") as file:
        order = ">" if file.read(_HEADER)[-2:] == b"MI" else "<"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}2I", tag)
            end = file.tell() + size
            unpacker = zlib.decompressobj()
            while kind == _COMPRESSED and not unpacker.eof and (packed := file.read(min(_CHUNK, end - file.tell()))):
                while packed:
                    left -= len(unpacker.decompress(packed, _CHUNK))
                    packed = unpacker.unconsumed_tail
                    if left < 0:
                        raise InputError(path, "is too large unpacked", expected=f"at most {most >> 20} MiB")
            file.seek(end)


def _most(path: Path) -> int:
    return max(_ALWAYS_ALLOWED, _MOST_PACKED * path.stat().st_size)


def read_mat73(path: Path, name: str) -> NDArray[Any]:
    """A numeric variable of a MATLAB 7.3 file, its axes in the file's order. InputError as from `read_mat`."""
    refuse_pipes(path)
    try:
        with h5py.File(path, "r") as file:
            entry = file.get(name)
            if not isinstance(entry, h5py.Dataset):
                raise InputError(path, f"lacks {name}")
            if entry.nbytes > _most(path):
                expected, got = f"at most {_most(path) >> 20} MiB", f"{entry.nbytes >> 20}"
                raise InputError(f"{path} ({name})", "is too large unpacked", expected=expected, got=got)
            return np.asarray(entry)
    except FileNotFoundError as error:
        raise reading_error(path, error) from error
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        problem = f"is no readable MATLAB 7.3 file ({reason_of(error)})"
        raise InputError(path, problem, remedy=_COPY_AGAIN) from error
