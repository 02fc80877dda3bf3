"""A look at the pickles in torch's files: torch.load runs nothing with `weights_only`, but it may never end."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

from humanpose_cli.io.guarded_pickle import GuardedUnpickler, Opcode, checked_key
from humanpose_cli.io.unpacking import UnpackedBudget

_LEGACY_PICKLES = 5  # of torch before 1.6: a magic number, version, machine, object, and the keys of its storages


def check_torch_pickles(path: Path, content: bytes | None = None) -> None:
    """Refuse, before torch.load, keys and amounts of memory as `read_pickle` does, and damaged pickles.

    content  of the file, where it is in memory

    Raises InputError for what needs too much memory; what else a broken pickle leads to.
    """
    if content is None and not path.is_file():
        return  # torch says so
    if content is not None or not zipfile.is_zipfile(path):
        content = path.read_bytes() if content is None else content
        _check(path, content, _LEGACY_PICKLES, len(content))
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                _check(path, archive.read(name), 1, path.stat().st_size)


def _check(path: Path, content: bytes, count: int, packed_size: int) -> None:
    file, budget = io.BytesIO(content), UnpackedBudget(path, packed_size)
    for _ in range(count):
        _Scan(file, path, budget).load()


class _Object(dict[Any, Any]):
    """What a name in the pickle makes, with what the pickle adds to it."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    def extend(self, items: object) -> None:
        """Take the items of a list."""

    append = add = extend


class _Container(_Object):
    """A set, or a table of pairs, made of a list."""

    def __init__(self, *items: object) -> None:
        super().__init__()
        for element in items:
            for item in element if isinstance(element, list | tuple) else ():
                checked_key(item[0] if isinstance(item, list) else item)


class _Bytes(_Object):
    """Bytes, which a number would give that length."""

    def __init__(self, *parts: object) -> None:
        super().__init__()
        if any(isinstance(part, int) for part in parts):
            raise ValueError("bytes of a length alone")


_KINDS = {
    **dict.fromkeys(("set", "frozenset", "OrderedDict", "Counter", "defaultdict"), _Container),
    **dict.fromkeys(("bytes", "bytearray"), _Bytes),
}


class _Scan(GuardedUnpickler):
    """A pickle of which nothing is made: storages of tensors follow it."""

    dispatch: ClassVar[dict[int, Opcode]] = {
        **GuardedUnpickler.dispatch,
        pickle.BINPERSID[0]: pickle._Unpickler.dispatch[pickle.BINPERSID[0]],  # type: ignore[dict-item]
    }

    def find_class(self, module: str, name: str) -> Any:
        return _KINDS.get(name, _Object)

    def persistent_load(self, pid: object) -> Any:
        return _Object()
