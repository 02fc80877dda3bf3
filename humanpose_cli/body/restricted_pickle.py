"""Reading the pickles that licensed models and data sets come as, without running anything that is in them.

A pickle names functions and calls them. Here every name leads to a stand-in that only keeps what it is given; arrays
of numpy, scipy.sparse and chumpy are then made of what was kept, and any other name is refused. Neither chumpy nor
the version of scipy or numpy that wrote the file is needed.

Damaged files crash Python's and numpy's unpickling, or make them ask for any amount of memory: so every length and
memo slot is checked before the file is unpickled, and numpy never sees the state of an array.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError

MAX_ELEMENTS = 2**30

Resolve = Callable[[Any], Any]


def read_pickle(path: Path) -> Any:
    """The object in a pickle of Python 2 or 3: containers, numbers, text (Latin-1 in Python 2) and dense numpy arrays.

    Sparse matrices come dense. An object of chumpy that is an expression rather than an array comes as None.
    InputError when the file is damaged, or names anything but containers and arrays.
    """
    content = path.read_bytes()
    try:
        _check_opcodes(content)
        return _Resolver().resolve(_Reader(content, path).load())
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its broken opcodes lead to
        reason = " ".join(str(error).split())[:200]
        raise InputError(path, "is not a readable pickle", got=f"{type(error).__name__}: {reason}") from error


def as_array(value: object) -> NDArray[Any]:
    """A numeric array of what a pickle held: an array, a number or a flat list; ValueError for anything else."""
    if not isinstance(value, np.ndarray):
        items = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(item, int | float | np.number) for item in items):
            raise ValueError(f"numbers expected, found {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"numbers expected, found an array of {array.dtype}")
    return array


def _check_opcodes(content: bytes) -> None:
    """ValueError for opcodes that no such file needs, lengths beyond the file's end and memo slots out of order."""
    memo = {"PUT", "BINPUT", "LONG_BINPUT"}
    refused = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ"}
    for count, (opcode, argument, position) in enumerate(pickletools.genops(content)):
        if opcode.name in refused:
            raise ValueError(f"opcode {opcode.name}")
        number = argument if isinstance(argument, int) else 0
        if opcode.name in memo and not 0 <= number <= count:
            raise ValueError(f"memo slot {number}")
        if opcode.name == "FRAME" and number > len(content) - (position or 0):
            raise ValueError("frame beyond the end")


class _Closed(type):
    """Classes that a pickle can call but not alter."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"{cls.__name__} is closed")


class _Node(metaclass=_Closed):
    """An object that was not made: the arguments of its constructor, and its state."""

    __slots__ = ("args", "state")
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: object) -> _Node:
        node = object.__new__(cls)
        node.args, node.state = args, None
        return node

    def __setstate__(self, state: object) -> None:
        self.state = state

    def make(self, resolve: Resolve) -> Any:
        """The value that this node stands for."""
        raise ValueError(f"{type(self).__name__} is no value by itself")

    def kept(self) -> dict[str, Any]:
        """The state as a table."""
        if not isinstance(self.state, dict):
            raise ValueError(f"the state of {type(self).__name__} is no table")
        return {str(name): value for name, value in self.state.items()}


class _Ndarray(_Node):
    """The name `numpy.ndarray`, which is only ever an argument."""


class _Dtype(_Node):
    """numpy.dtype: a simple type and its byte order; structured types are refused."""

    def make(self, resolve: Resolve) -> np.dtype[Any]:
        name = self.args[0]
        if not isinstance(name, str) or name[:1] not in "?bBhHiIlLqQefdgufcSUVO" or len(name) > 12:
            raise ValueError(f"unknown type of array {name!r}")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        dtype = np.dtype(name)
        if dtype.fields is not None or order not in ("<", ">", "=", "|"):
            raise ValueError(f"unknown type of array {name!r} {order!r}")
        if order in ("<", ">"):
            return dtype.newbyteorder("<" if order == "<" else ">")
        return dtype


class _Array(_Node):
    """numpy.core.multiarray._reconstruct, whose state is (version, shape, dtype, is Fortran, bytes or list)."""

    def make(self, resolve: Resolve) -> NDArray[Any]:
        shape, dtype, fortran, content = self.state[-4:]
        return _array(resolve(content), resolve(dtype), shape, "F" if fortran else "C")


class _FromBuffer(_Node):
    """numpy.core.numeric._frombuffer of pickle protocol 5: (bytes, dtype, shape, order)."""

    def make(self, resolve: Resolve) -> NDArray[Any]:
        content, dtype, shape, order = self.args
        return _array(resolve(content), resolve(dtype), shape, order)


class _Scalar(_Node):
    """numpy.core.multiarray.scalar: (dtype, bytes)."""

    def make(self, resolve: Resolve) -> Any:
        dtype, content = self.args
        return _array(resolve(content), resolve(dtype), (1,), "C")[0]


class _Encode(_Node):
    """_codecs.encode, by which Python 3 writes bytes for Python 2."""

    def make(self, resolve: Resolve) -> bytes:
        text, encoding = self.args
        if encoding != "latin1":
            raise ValueError(f"bytes in {encoding}")
        return str(text).encode("latin1")


class _NoBytes(_Node):
    """`bytes` without arguments, by which Python 3 writes none at all for Python 2."""

    def make(self, resolve: Resolve) -> bytes:
        if self.args:
            raise ValueError("bytes of something else")
        return b""


class _Old(_Node):
    """copyreg._reconstructor, by which protocols 0 and 1 make an object of the class that they name first."""

    def make(self, resolve: Resolve) -> Any:
        kind = self.args[0]
        if not issubclass(kind, _Node):
            raise ValueError("an object of an unknown class")
        node = kind()
        node.__setstate__(self.state)
        return resolve(node)


class _Chumpy(_Node):
    """A chumpy object: an array `x`, or a choice `idxs` of another one; None for expressions."""

    def make(self, resolve: Resolve) -> Any:
        state = self.kept()
        if "x" in state:
            return resolve(state["x"])
        if {"a", "idxs"} <= state.keys():
            chosen = as_array(resolve(state["a"])).ravel()[as_array(resolve(state["idxs"]))]
            shape = state.get("preferred_shape")
            return chosen if shape is None else chosen.reshape(shape)
        return None


class _Sparse(_Node):
    """A scipy.sparse matrix or array, by its columns."""

    def make(self, resolve: Resolve) -> NDArray[Any]:
        state = {name: resolve(value) for name, value in self.kept().items()}
        rows, columns = state["_shape"] if "_shape" in state else state["shape"]
        if not 0 <= rows * columns <= MAX_ELEMENTS:
            raise ValueError(f"a sparse matrix of {rows} × {columns}")
        data = as_array(state["data"])
        dense = np.zeros((rows, columns), dtype=data.dtype)
        np.add.at(dense, self.entries(state), data)
        return dense

    def entries(self, state: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows and columns of the entries."""
        minor, counts = as_array(state["indices"]), np.diff(as_array(state["indptr"]))
        if counts.min(initial=0) < 0 or counts.sum() != len(minor):
            raise ValueError("damaged sparse matrix")
        return minor, np.repeat(np.arange(len(counts)), counts)


class _SparseRows(_Sparse):
    def entries(self, state: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return super().entries(state)[::-1]


class _SparseTriples(_Sparse):
    def entries(self, state: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
        return as_array(rows), as_array(columns)


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise ValueError("damaged array")
    if not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"an array of {shape}")
    if dtype.hasobject:
        flat = np.empty(len(content), dtype=object)
        for i, item in enumerate(content):  # a slice would spread arrays over the elements
            flat[i] = item
        return flat.reshape(shape, order=order)
    raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order=order).copy(order="K")  # writable


class _Resolver:
    """Puts arrays in the place of nodes, in containers too; each object once, so that shared ones stay shared."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any]] = {}  # by identity; the object is kept, or its number could come back

    def resolve(self, value: Any) -> Any:
        """The value that `value` stands for; containers that hold themselves do so again."""
        if not isinstance(value, _Node | dict | list | tuple):
            return value
        if id(value) in self._done:
            return self._done[id(value)][1]
        if isinstance(value, _Node):
            self._done[id(value)] = value, None  # an object that holds itself is not an array
            made = value.make(self.resolve)
        elif isinstance(value, tuple):
            made = tuple(self.resolve(item) for item in value)
        elif isinstance(value, list):
            self._done[id(value)] = value, (made := [])
            made.extend(self.resolve(item) for item in value)
        else:
            self._done[id(value)] = value, (made := {})
            made.update((self.resolve(key), self.resolve(item)) for key, item in value.items())
        self._done[id(value)] = value, made
        return made


_BUILTINS = {"set": set, "frozenset": frozenset, "list": list, "dict": dict, "object": object, "slice": slice}
_KNOWN: dict[tuple[str, str], Any] = {
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _BUILTINS.items()},
    **{(module, "_reconstructor"): _Old for module in ("copyreg", "copy_reg")},
    ("builtins", "bytes"): _NoBytes,
    ("__builtin__", "bytes"): _NoBytes,
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _Encode,
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{core}.{module}", name): kind
        for core in ("core", "_core")
        for module, name, kind in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _FromBuffer),
        )
    },
}
_SPARSE = {"csc": _Sparse, "csr": _SparseRows, "coo": _SparseTriples}


class _Reader(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return _Chumpy
        layout, _, kind = name.partition("_")
        if module.startswith("scipy.sparse") and layout in _SPARSE and kind in ("matrix", "array"):
            return _SPARSE[layout]
        raise InputError(
            self._path,
            "is refused, because it is a pickle that would run code",
            expected="arrays of numpy, scipy.sparse and chumpy",
            got=f"{module}.{name}"[:100],
        )
