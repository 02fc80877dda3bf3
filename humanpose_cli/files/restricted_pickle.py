"""Reading of pickles of licensed models, data sets and other programs' results, without running them.

A pickle names functions and calls them. Here only containers and arrays of numpy, scipy.sparse, chumpy, joblib and
torch are allowed; other names are refused. Neither chumpy nor joblib is needed. Pickles are read in a process that can
do no harm (`files.reader_process`), because damaged ones crash Python's and numpy's unpickling.
"""

from __future__ import annotations

import codecs
import copyreg
import io
import math
import pickle
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.reader_process import read_isolated
from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.files.unpacking import uncompressed

codecs.lookup("cp437")  # of names in ZIP archives; the reader process opens no file to import it
_PROBLEM = "is not a readable pickle"
_MAX_EXPANDED = 1 << 24  # numbers of a tensor that `expand` repeats
_LEGACY_PICKLES = 5  # in files of torch before 1.6: magic number, version, machine, object, keys of the storages
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_pickle(path: Path, content: bytes | None = None, *, more: int = 0) -> Any:
    """Read the object in a pickle of Python 2 or 3, or in a file of `torch.save` in both of its forms.

    It may hold containers, numbers, text (Latin-1 in Python 2) and arrays, also as joblib.dump writes them (plain, or
    compressed as `uncompressed` reads it). Sparse matrices become dense, tensors become arrays, and chumpy's
    expressions None. Shared objects are copied for each use.

    Args:
        path: The file.
        content: A pickle within the file, as in `.npy` and `.npz`; None for the complete file.
        more: Bytes that the result may take beyond 1 GiB and the file's size.

    Returns:
        The object.

    Raises:
        InputError: If the file is damaged, names anything but containers and arrays, or needs more memory.
    """
    content = read_bytes(path) if content is None else content
    content = uncompressed(path, content, more=more)
    return read_isolated(path, load_pickle, content, problem=_PROBLEM, more=more)


def load_pickle(content: bytes) -> Any:
    """Unpickle bytes in the reader process; tensors become arrays."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
            reader = _Reader(io.BytesIO(archive.read(name)))
            value = reader.load()
            for key, storage in reader.storages.items():
                storage.fill(archive.read(f"{name.removesuffix('data.pkl')}data/{key}"))
        return value
    file = io.BytesIO(content)
    reader = _Reader(file)
    value = reader.load()
    if not isinstance(value, int) or value != _LEGACY_MAGIC:
        return value
    _Reader(file).load()  # the version
    _Reader(file).load()  # the machine
    value = reader.load()
    for key in _Reader(file).load():
        file.read(8)  # the number of elements once more
        storage = reader.storages[key]
        storage.fill(file.read(storage.count * storage.dtype.itemsize))
    return value


def as_array(value: object) -> NDArray[Any]:
    """Convert an array, a number or a flat list to a numeric array. Raises ValueError for anything else."""
    if not isinstance(value, np.ndarray):
        items = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(item, int | float | np.number) for item in items):
            raise ValueError(f"numbers expected, found {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"numbers expected, found an array of {array.dtype}")
    return array


class _Stub:
    """Stands in for an object; `make` builds a plain value from its state."""

    state: Any = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state

    def make(self) -> Any:
        """Build the value."""
        return self.state


def _made(value: Any) -> Any:
    return _made(value.make()) if isinstance(value, _Stub) else value


class _Chumpy(_Stub):
    """A chumpy object: an array `x`, or elements `idxs` of another one; None for expressions."""

    def make(self) -> Any:
        state = self.state
        if "x" in state:
            return state["x"]
        if "a" not in state or "idxs" not in state:
            return None
        elements = np.ravel(_made(state["a"]))[_made(state["idxs"])]
        shape = state.get("preferred_shape")
        return elements if shape is None else elements.reshape(shape)


class _Sparse(_Stub):
    """A scipy.sparse matrix or array, which becomes dense."""

    layout = ""

    def make(self) -> NDArray[Any]:
        state = self.state
        if self.layout == "coo":
            entries = state["coords"] if "coords" in state else (state["row"], state["col"])
        else:
            major = np.repeat(np.arange(len(state["indptr"]) - 1), np.diff(state["indptr"]))
            entries = (state["indices"], major) if self.layout == "csc" else (major, state["indices"])
        dense = np.zeros(state["_shape"] if "_shape" in state else state["shape"], state["data"].dtype)
        if any(len(part) != len(state["data"]) for part in entries):
            raise ValueError("damaged sparse matrix")
        np.add.at(dense, tuple(entries), state["data"])
        return dense


_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "BFloat16Storage": "<u2",
}
"""numpy's types by torch's names; bfloat16 is read as its bits."""


_TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


class _Storage:
    """The numbers of tensors, which follow the objects of a file of torch."""

    def __init__(self, kind: str, count: int) -> None:
        self.dtype, self.count, self.values = np.dtype(kind), count, np.zeros(0)

    def fill(self, content: bytes) -> None:
        """Set the numbers."""
        self.values = np.frombuffer(content, self.dtype, self.count)


class _Tensor(_Stub):
    """A tensor in a storage that is filled later; stands in for torch._utils._rebuild_tensor_v2."""

    def __init__(self, storage: _Storage, offset: int, shape: Any, strides: Any, *_: object) -> None:
        self.state = storage, offset, shape, strides

    def make(self) -> NDArray[Any]:
        """Build the array."""
        storage, offset, shape, strides = self.state
        values = storage.values
        reach = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if min((offset, *shape, *strides)) < 0 or (math.prod(shape) and reach >= len(values)):
            raise ValueError(f"a tensor of {shape} beyond its storage")
        if math.prod(shape) > len(values) + _MAX_EXPANDED:
            raise MemoryError
        steps = [stride * values.itemsize for stride in strides]
        array = np.lib.stride_tricks.as_strided(values[offset:], shape, steps)
        return (array.astype("<u4") << 16).view("<f4") if array.dtype == "<u2" else array


def _encoded(text: str, _encoding: str) -> bytes:
    """Replace _codecs.encode, by which Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


_BUILTINS = (bytes, bytearray, set, frozenset, list, dict, object, slice)
_NAMES: dict[str, Any] = {
    **{f"{module}.{kind.__name__}": kind for module in ("builtins", "__builtin__") for kind in _BUILTINS},
    **{f"{module}._reconstructor": copyreg._reconstructor for module in ("copyreg", "copy_reg")},  # type: ignore[attr-defined]
    **{
        f"numpy.{core}.{name}": made.__reduce_ex__(5)[0]
        for core in ("core", "_core")
        for name, made in (("multiarray.scalar", np.float64(0)), ("numeric._frombuffer", np.zeros(1)))
    },
    **{f"numpy.{core}.multiarray._reconstruct": np.zeros(1).__reduce__()[0] for core in ("core", "_core")},
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": defaultdict,
    "_codecs.encode": _encoded,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.storage._load_from_bytes": load_pickle,
    "torch.Size": list,
    "torch.device": lambda *names: ":".join(map(str, names)),
    **dict.fromkeys(("pathlib.PosixPath", "pathlib.WindowsPath"), lambda *parts: "/".join(map(str, parts))),
}


class _Reader(pickle.Unpickler):
    """An unpickler that allows only the names of containers and arrays."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self.file = file
        self.storages: dict[Any, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (stand_in := _NAMES.get(f"{module}.{name}")) is not None:
            return stand_in
        if f"{module}.{name}" == "joblib.numpy_pickle.NumpyArrayWrapper":
            return self._joblib_wrapper()
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and name in _TYPES:
            return name
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return _Chumpy
        layout, _, kind = name.partition("_")
        if module.startswith("scipy.sparse") and layout in ("csc", "csr", "coo") and kind in ("matrix", "array"):
            return type(name, (_Sparse,), {"layout": layout})
        raise InputError(
            "pickle",
            "is refused, because it is a pickle that would run code",
            expected="arrays of numpy, scipy.sparse, chumpy and torch",
            got=f"{module}.{name}"[:100],
        )

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple):  # torch's description of a storage
            raise pickle.UnpicklingError("persistent names are not read")
        _, kind, key, _, count, *_ = pid
        return self.storages.setdefault(key, _Storage(kind, count))

    def _joblib_wrapper(self) -> type[_Stub]:
        """Make the class of joblib's arrays: the bytes of the array, or a pickle of its objects, follow its state."""
        reader = self

        class Wrapper(_Stub):
            def __setstate__(self, state: Any) -> None:
                self.state = reader.read_array(state)

        return Wrapper

    def read_array(self, state: dict[str, Any]) -> Any:
        """Read the array that joblib wrote after the state of its wrapper."""
        dtype = state["dtype"]
        if dtype.hasobject:
            return type(self)(self.file).load()
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.read(self.file.read(1)[0])
        data = self.file.read(math.prod(state["shape"]) * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(state["shape"], order=state["order"])


def check_torch_pickles(path: Path) -> None:
    """Raise InputError, before torch.load, for pickles that need more time or memory than a reader process has.

    torch.load runs nothing with `weights_only`, but the hash of deeply nested tuples never ends.
    """
    if not path.is_file():
        return  # torch raises the error
    if not zipfile.is_zipfile(path):
        read_isolated(path, scan_pickles, read_bytes(path), _LEGACY_PICKLES, problem=_PROBLEM)
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                read_isolated(path, scan_pickles, archive.read(name), 1, problem=_PROBLEM)


def scan_pickles(content: bytes, count: int) -> None:
    """Unpickle the first pickles in torch's bytes in the reader process; torch itself reports damage."""
    file = io.BytesIO(content)
    try:
        for _ in range(count):
            _Scan(file).load()
    except MemoryError:
        raise
    except Exception:
        return


class _Anything(dict[Any, Any]):
    """Stands in for any object in a pickle."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    def extend(self, items: object) -> None:
        """Take the items of a list."""

    append = add = extend


class _Scan(pickle.Unpickler):
    """An unpickler that builds only tables, sets and bytes, which take time and memory."""

    def find_class(self, module: str, name: str) -> Any:
        kinds = {"OrderedDict": OrderedDict, "Counter": Counter, **{kind.__name__: kind for kind in _BUILTINS[:4]}}
        return kinds.get(name, _Anything)

    def persistent_load(self, pid: object) -> Any:
        return _Anything()
