"""Reading the pickles that licensed models, data sets and other programs' results come as, without running them.

A pickle names functions and calls them. Here every name leads to a stand-in that only keeps what it is given; arrays
of numpy, scipy.sparse and chumpy and tensors of torch are then made of what was kept, and any other name is refused.
Neither chumpy, joblib nor the version of scipy or numpy that wrote the file is needed.

Damaged files crash Python's and numpy's unpickling, or make them ask for any amount of memory: so every length is
compared with what the file holds, the memo is a table, and numpy never sees the state of an array. Python's own
unpickler in Python does that; and it can pause where joblib writes an array's bytes between two opcodes.

All that is made counts against one `UnpackedBudget`, and what is shared counts at each use.
"""

from __future__ import annotations

import io
import math
import operator
import pickle
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.guarded_pickle import OBJECT_BYTES, Closed, GuardedUnpickler, Node, Opcode, checked_key
from humanpose_cli.io.sniffing import refuse_pipes
from humanpose_cli.io.torch_pickles import check_torch_pickles
from humanpose_cli.io.unpacking import UnpackedBudget

MAX_ELEMENTS = 2**30
_COMPRESSION_MAGIC = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b")
_MAX_AXES = 32


def read_pickle(path: Path, content: bytes | None = None, *, more: int = 0) -> Any:
    """Read the object in a pickle of Python 2 or 3: containers, numbers, text (Latin-1 in Python 2) and dense numpy
    arrays.

    Also what joblib.dump wrote (plain, or compressed by zlib or gzip). Sparse matrices come dense, tensors as arrays.
    An object of chumpy that is an expression rather than an array comes as None.

    content  a pickle within the file, as `.npy` and `.npz` hold them; None: all of the file
    more     bytes that the result may take beyond 256 MiB and fifty times the file's size

    Raises InputError when the file is damaged, names anything but containers and arrays, or needs more memory.
    """
    refuse_pipes(path)
    try:
        content = path.read_bytes() if content is None else content
        budget = UnpackedBudget(path, len(content), more=more)
        if content[:2] in _COMPRESSION_MAGIC:  # as joblib does, by zlib or gzip
            content = budget.inflate(content, zlib.MAX_WBITS | 32)
        return _Resolver(budget)(_Reader(io.BytesIO(content), path, budget).load())
    except (InputError, OSError):
        raise
    except Exception as error:  # a damaged pickle raises whatever its broken opcodes lead to
        reason = " ".join(str(error).split())[:200]
        raise InputError(path, "is not a readable pickle", got=f"{type(error).__name__}: {reason}") from error


def as_array(value: object) -> NDArray[Any]:
    """Convert what a pickle held to a numeric array: an array, a number or a flat list. Raises ValueError for anything
    else.
    """
    if not isinstance(value, np.ndarray):
        items = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(item, int | float | np.number) for item in items):
            raise ValueError(f"numbers expected, found {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"numbers expected, found an array of {array.dtype}")
    return array


class _Node(Node):
    """An object that becomes a value once the pickle is read."""

    __slots__ = ()

    def make(self, resolve: _Resolver) -> Any:
        """Build the value that this node stands for."""
        raise ValueError(f"{type(self).__name__} is no value by itself")

    def kept(self) -> dict[str, Any]:
        """Return the state as a table."""
        if not isinstance(self.state, dict):
            raise ValueError(f"the state of {type(self).__name__} is no table")
        return {str(name): value for name, value in self.state.items()}


class _Ndarray(_Node):
    """The name `numpy.ndarray`, which is only ever an argument."""


class _Dtype(_Node):
    """numpy.dtype: a simple type and its byte order; structured types are refused."""

    def make(self, resolve: _Resolver) -> np.dtype[Any]:
        name = self.args[0]
        if not isinstance(name, str) or name[:1] not in "?bBhHiIlLqQefdgufcSUVO" or len(name) > 12:
            raise ValueError("unknown type of array")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        dtype = np.dtype(name)
        if dtype.fields is not None or order not in ("<", ">", "=", "|"):
            raise ValueError(f"unknown type of array {name!r}")
        if order in ("<", ">"):
            return dtype.newbyteorder("<" if order == "<" else ">")
        return dtype


class _Array(_Node):
    """numpy.core.multiarray._reconstruct, whose state is (version, shape, dtype, is Fortran, bytes or list)."""

    def make(self, resolve: _Resolver) -> NDArray[Any]:
        shape, dtype, fortran, content = self.state[-4:]
        return _array(resolve, content, dtype, shape, "F" if fortran else "C")


class _FromBuffer(_Node):
    """numpy.core.numeric._frombuffer of pickle protocol 5: (bytes, dtype, shape, order)."""

    def make(self, resolve: _Resolver) -> NDArray[Any]:
        content, dtype, shape, order = self.args
        return _array(resolve, content, dtype, shape, order)


class _Scalar(_Node):
    """numpy.core.multiarray.scalar: (dtype, bytes)."""

    def make(self, resolve: _Resolver) -> Any:
        dtype, content = self.args
        return _array(resolve, content, dtype, (1,), "C")[0]


class _Encode(_Node):
    """_codecs.encode, by which Python 3 writes bytes for Python 2."""

    def make(self, resolve: _Resolver) -> bytes:
        text, encoding = self.args
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("bytes that are not in latin1")
        resolve.budget.take(len(text))
        return text.encode("latin1")


class _NoBytes(_Node):
    """`bytes` without arguments, by which Python 3 writes none at all for Python 2."""

    def make(self, resolve: _Resolver) -> bytes:
        if self.args:
            raise ValueError("bytes of something else")
        return b""


class _Joblib(_Node):
    """joblib's NumpyArrayWrapper, after whose state the array's bytes, or a pickle of its objects, follow."""

    def read(self, file: io.BytesIO, resolve: _Resolver, objects: Callable[[], Any]) -> _Node:
        """Read what stands for the array, of bytes taken from `file`; `objects` reads a pickle there."""
        state = self.kept()
        dtype = resolve(state["dtype"])
        if dtype.hasobject:
            return objects()
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = file.read(1)
            file.read(padding[0])
        size = _elements(state["shape"]) * dtype.itemsize
        return _FromBuffer(file.read(size), state["dtype"], state["shape"], state["order"])


class _Storage(_Node):
    """torch.storage._load_from_bytes: a storage as torch.save writes it."""

    def make(self, resolve: _Resolver) -> Any:
        import torch

        content = resolve(self.args[0])
        check_torch_pickles(resolve.budget.path, content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


class _Tensor(_Node):
    """torch._utils._rebuild_tensor_v2: (storage, offset, shape, strides, requires_grad, hooks)."""

    def make(self, resolve: _Resolver) -> NDArray[Any]:
        import torch

        storage, offset, shape, strides = (resolve(value) for value in self.args[:4])
        count = _elements(shape)
        if not all(isinstance(number, int) and number >= 0 for number in (offset, *strides)):
            raise ValueError("damaged tensor")
        values = torch.empty(0, dtype=storage.dtype)
        resolve.budget.take(count * max(values.element_size(), 4))
        buffer = storage._untyped_storage  # the public names warn that their class is old
        reach = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if count and reach >= buffer.nbytes() // values.element_size():  # torch would enlarge the storage
            raise ValueError(f"a tensor of {shape}")
        values.set_(buffer, offset, shape, strides)
        return (values.float() if values.dtype is torch.bfloat16 else values).numpy().copy()


class _Table(dict[Any, Any], metaclass=Closed):
    """collections.defaultdict, as the plain table that it is filled like."""

    __slots__ = ()

    def __init__(self, *_: object) -> None:
        super().__init__()


class _Old(_Node):
    """copyreg._reconstructor, by which protocols 0 and 1 make an object of the class that they name first."""

    def make(self, resolve: _Resolver) -> Any:
        kind = self.args[0]
        if not issubclass(kind, _Node):
            raise ValueError("an object of an unknown class")
        node = kind()
        node.__setstate__(self.state)
        return resolve(node)


class _Chumpy(_Node):
    """A chumpy object: an array `x`, or a choice `idxs` of another one; None for expressions."""

    def make(self, resolve: _Resolver) -> Any:
        state = self.kept()
        if "x" in state:
            return resolve(state["x"])
        if {"a", "idxs"} <= state.keys():
            values, indices = (as_array(resolve(state[name])) for name in ("a", "idxs"))
            resolve.budget.take(values.nbytes + indices.size * values.itemsize)
            shape, elements = state.get("preferred_shape"), values.ravel()[indices]
            return elements if shape is None else elements.reshape(shape)
        return None


class _Sparse(_Node):
    """A scipy.sparse matrix or array, by its columns."""

    def make(self, resolve: _Resolver) -> NDArray[Any]:
        state = {name: resolve(value) for name, value in self.kept().items()}
        rows, columns = state["_shape"] if "_shape" in state else state["shape"]
        count, data = _elements((rows, columns)), as_array(state["data"])
        resolve.budget.take(count * data.itemsize)
        entries = self.entries(state)
        if any(part.ndim != 1 for part in (data, *entries)):
            raise ValueError("damaged sparse matrix")
        dense = np.zeros((rows, columns), dtype=data.dtype)
        np.add.at(dense, entries, data)
        return dense

    def entries(self, state: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return rows and columns of the entries."""
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


def _elements(shape: Any) -> int:
    """Count the elements of an array of a shape. Raises ValueError for an invalid shape, and for more than a file may
    have.
    """
    if not isinstance(shape, tuple | list) or len(shape) > _MAX_AXES:
        raise ValueError("an array without a shape")
    sides = [operator.index(side) for side in shape]
    if min(sides, default=0) < 0 or math.prod(sides) > MAX_ELEMENTS:
        raise ValueError(f"an array of {sides}")
    return math.prod(sides)


def _array(resolve: _Resolver, packed_content: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    content, dtype = resolve(packed_content), resolve(kind)
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise ValueError("damaged array")
    _elements(shape)
    if not isinstance(content, list | tuple if dtype.hasobject else bytes | bytearray | str):
        raise ValueError("an array without contents")
    resolve.budget.take(len(content) * (8 if dtype.hasobject else 2 if isinstance(content, str) else 1))
    if dtype.hasobject:
        flat = np.empty(len(content), dtype=object)
        for i, item in enumerate(content):  # a slice would spread arrays over the elements
            flat[i] = item
        return flat.reshape(shape, order=order)
    raw: Any = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order=order).copy(order="K")  # writable


class _Resolver:
    """Puts arrays in the place of nodes, in containers too; each object once, so that shared ones stay shared.

    budget  what the values may take, and how large they may become where all that is shared is copied: numpy does
            that when it makes an array of lists, and so does the text of an error
    """

    def __init__(self, budget: UnpackedBudget) -> None:
        self.budget = budget
        self._results: dict[int, tuple[Any, Any]] = {}  # by identity; the object is kept, or its number could come back
        self._sizes: dict[int, int] = {}  # of containers, by identity, with all that they hold

    def __call__(self, value: Any) -> Any:
        """Return the value that `value` stands for. Raises ValueError for containers that hold themselves."""
        if not isinstance(value, _Node | dict | list | tuple):
            return value
        if id(value) in self._results:
            return self._results[id(value)][1]
        if isinstance(value, _Node):
            self._results[id(value)] = value, None  # an object that holds itself is not an array
            result = value.make(self)
        elif isinstance(value, dict):
            self._results[id(value)] = value, (result := {})
            for key, item in value.items():
                result[checked_key(self(key))] = self(item)
        else:
            self._results[id(value)] = value, (result := [])
            result.extend(self(item) for item in value)
            result = tuple(result) if isinstance(value, tuple) else result
        self._results[id(value)] = value, result
        if isinstance(result, dict | list | tuple) and id(result) not in self._sizes:
            self._sizes[id(result)] = self._sum([*result, *result.values()] if isinstance(result, dict) else result)
        return result

    def _size(self, value: Any) -> int:
        """Count the bytes that a value takes if nothing is shared."""
        if isinstance(value, np.ndarray):
            return self._sum(value.flat) if value.dtype.hasobject else value.nbytes
        if isinstance(value, dict | list | tuple):
            if id(value) not in self._sizes:
                raise ValueError("a container that holds itself")
            return self._sizes[id(value)]
        return 8 * len(value) if isinstance(value, set | frozenset) else _length(value) or 8

    def _sum(self, items: Iterable[Any]) -> int:
        """Count the same of a container of these values, also if numpy gives all texts the length of the longest."""
        values = list(items)
        lengths = [_length(value) for value in values]
        size = OBJECT_BYTES + max(sum(map(self._size, values)), max(lengths, default=0) * len(values))
        self.budget.refuse(size)
        return size


def _length(value: Any) -> int:
    """Return the bytes of a text in numpy, which has four for each character, and of bytes; 0 of other values."""
    return 4 * len(value) if isinstance(value, str) else len(value) if isinstance(value, bytes | bytearray) else 0


_BUILTINS = {"set": set, "frozenset": frozenset, "list": list, "dict": dict, "object": object, "slice": slice}
_STAND_INS: dict[tuple[str, str], Any] = {
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _BUILTINS.items()},
    **{(module, "_reconstructor"): _Old for module in ("copyreg", "copy_reg")},
    ("builtins", "bytes"): _NoBytes,
    ("__builtin__", "bytes"): _NoBytes,
    ("collections", "OrderedDict"): dict,
    ("collections", "defaultdict"): _Table,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Joblib,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
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


class _Reader(GuardedUnpickler):
    """A pickle in which every name leads to a stand-in."""

    dispatch: ClassVar[dict[int, Opcode]] = {**GuardedUnpickler.dispatch}

    def load_build(self) -> None:
        """Load a state; after that of joblib's wrapper, the array's bytes."""
        pickle._Unpickler.dispatch[pickle.BUILD[0]](self)  # type: ignore[arg-type]
        if isinstance(wrapper := self.stack[-1], _Joblib):
            objects = _Reader(self.file, self.path, self.budget).load
            self.stack[-1] = wrapper.read(self.file, _Resolver(self.budget), objects)

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return _Chumpy
        layout, _, kind = name.partition("_")
        if module.startswith("scipy.sparse") and layout in _SPARSE and kind in ("matrix", "array"):
            return _SPARSE[layout]
        raise InputError(
            self.path,
            "is refused, because it is a pickle that would run code",
            expected="arrays of numpy, scipy.sparse, chumpy and torch",
            got=f"{module}.{name}"[:100],
        )
