"""Reading the pickles that licensed models and data sets come as, without running anything that is in them.

A pickle names functions and calls them. This reader knows plain containers, numpy's array constructors, and stand-ins
for scipy.sparse matrices and chumpy arrays that only keep their values; any other name is refused. Neither chumpy nor
the version of scipy or numpy that wrote the file is needed.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.errors import InputError

__all__ = ["ChumpyNode", "SparseMatrix", "as_array", "read_pickle"]


def read_pickle(path: Path) -> Any:
    """The object in a pickle of Python 2 or 3; text of Python 2 is read as Latin-1.

    InputError when the file is damaged, or names anything but containers and arrays.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path).load()
    except (InputError, OSError):
        raise
    except Exception as error:  # a damaged pickle raises whatever its broken opcodes lead to
        raise InputError(path, "is not a readable pickle", got=f"{type(error).__name__}: {error}") from error


class _Frozen(type):
    """Classes that a pickle can call but not alter."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"{cls.__name__} is closed")


class _Node(metaclass=_Frozen):
    """An object of a class that is not loaded; keeps its state."""

    state: dict[str, Any]

    def __init__(self, *args: object) -> None:
        object.__setattr__(self, "state", {})

    def __setstate__(self, state: object) -> None:
        object.__setattr__(self, "state", state if isinstance(state, dict) else {})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class ChumpyNode(_Node):
    """A chumpy object: `x` holds the values of an array; `a`, `idxs`, `preferred_shape` select from another one."""


class SparseMatrix(_Node):
    """A scipy.sparse matrix or array; the subclass knows its layout."""


class _Csc(SparseMatrix):
    pass


class _Csr(SparseMatrix):
    pass


class _Coo(SparseMatrix):
    pass


class _Ndarray(metaclass=_Frozen):
    """The name `numpy.ndarray`: an argument of `_Reconstruct`, never called."""

    def __new__(cls, *args: object) -> Any:
        raise pickle.UnpicklingError("an array is made without numpy's own constructor")


class _Reconstruct(metaclass=_Frozen):
    """numpy.core.multiarray._reconstruct: an empty array, which its state then fills."""

    def __new__(cls, *args: object) -> Any:
        return np.empty(0, dtype=np.int8)


class _FromBuffer(metaclass=_Frozen):
    """numpy.core.numeric._frombuffer of pickle protocol 5."""

    def __new__(cls, buffer: bytes, dtype: np.dtype[Any], shape: Any, order: Any) -> Any:
        return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


class _Scalar(metaclass=_Frozen):
    """numpy.core.multiarray.scalar."""

    def __new__(cls, dtype: np.dtype[Any], data: bytes | str) -> Any:
        raw = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(raw, dtype=dtype, count=1)[0]


class _Encode(metaclass=_Frozen):
    """_codecs.encode, by which Python 3 writes bytes for Python 2."""

    def __new__(cls, text: str, encoding: str = "latin1") -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes in {encoding}")
        return text.encode("latin1")


class _NewObject(metaclass=_Frozen):
    """copy_reg._reconstructor, by which old protocols make objects."""

    def __new__(cls, kind: type, *args: object) -> Any:
        if not issubclass(kind, _Node):
            raise pickle.UnpicklingError(f"makes a {kind.__name__}")
        return kind()


_BUILTINS = {"set": set, "frozenset": frozenset, "list": list, "dict": dict, "object": object, "slice": slice}
_KNOWN: dict[tuple[str, str], Any] = {
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _BUILTINS.items()},
    **{(module, "_reconstructor"): _NewObject for module in ("copyreg", "copy_reg")},
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _Encode,
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.{module}", name): kind
        for core in ("core", "_core")
        for module, name, kind in (
            ("multiarray", "_reconstruct", _Reconstruct),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _FromBuffer),
        )
    },
}
_SPARSE = {"csc": _Csc, "csr": _Csr, "coo": _Coo}


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return ChumpyNode
        layout, _, kind = name.partition("_")
        if module.startswith("scipy.sparse") and layout in _SPARSE and kind in ("matrix", "array"):
            return _SPARSE[layout]
        raise InputError(
            self._path,
            "is refused, because it is a pickle that would run code",
            expected="arrays of numpy, scipy.sparse and chumpy",
            got=f"{module}.{name}",
        )


def as_array(value: object) -> NDArray[Any]:
    """A dense numpy array of a numpy array, list, sparse matrix or chumpy array; ValueError for anything else."""
    if isinstance(value, ChumpyNode):
        return _chumpy_array(value)
    if isinstance(value, SparseMatrix):
        return _dense(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"numbers expected, found {type(value).__name__} of {array.dtype}")
    return array


def _chumpy_array(node: ChumpyNode) -> NDArray[Any]:
    state = node.state
    if "x" in state:
        return as_array(state["x"])
    if {"a", "idxs"} <= state.keys():
        chosen = as_array(state["a"]).ravel()[as_array(state["idxs"])]
        shape = state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(shape)
    raise ValueError("a chumpy expression expected to hold its values")


def _dense(matrix: SparseMatrix) -> NDArray[Any]:
    state = matrix.state
    try:
        rows, columns = (int(n) for n in state.get("_shape", state.get("shape", ())))
        data = as_array(state["data"])
        if isinstance(matrix, _Coo):
            i, j = state["coords"] if "coords" in state else (state["row"], state["col"])
        else:
            counts = np.diff(as_array(state["indptr"]))
            i, j = as_array(state["indices"]), np.repeat(np.arange(len(counts)), counts)
            if isinstance(matrix, _Csr):
                i, j = j, i
        if rows * columns > 2**27:
            raise ValueError(f"a sparse matrix of {rows} × {columns}")
        dense = np.zeros((rows, columns), dtype=data.dtype)
        np.add.at(dense, (as_array(i), as_array(j)), data)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"damaged sparse matrix ({error})") from error
    return dense
