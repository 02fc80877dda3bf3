"""Python's unpickler within a budget of memory, and without work that no signal interrupts.

A few hundred bytes of a pickle can stand for any amount of objects, and for the hash of tuples in tuples, which never
ends. So every opcode counts what it makes, and keys are text, bytes and numbers, or nodes.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from humanpose_cli.io.unpacking import UnpackedBudget

OBJECT_BYTES = 256
"""Of a container or a node, its copy in the result, and their entries in tables."""
_ENTRY = 96  # bytes in a table, of a memo or a set
_KEY_BITS = 64  # of whole numbers as keys


class Closed(type):
    """Classes that a pickle can call but not alter."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"{cls.__name__} is closed")


class Node(metaclass=Closed):
    """An object that was not made: the arguments of its constructor, and its state."""

    __slots__ = ("args", "state")
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: object) -> Node:
        node = object.__new__(cls)
        node.args, node.state = args, None
        return node

    def __setstate__(self, state: object) -> None:
        self.state = state


def checked_key(key: Any) -> Any:
    """Check a key of a table or an element of a set. Raises ValueError for containers: the hash of tuples in tuples
    never ends.
    """
    long = isinstance(key, int) and key.bit_length() > _KEY_BITS
    if long or not isinstance(key, str | int | float | bytes | np.generic | type | Node | None):
        raise ValueError(f"{type(key).__name__} as a key")
    return key


_REFUSED = (
    *(pickle.PERSID, pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ),
    *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.NEWOBJ_EX),
)
Opcode = Callable[[Any], None]
_COSTS = {
    **dict.fromkeys((pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET), OBJECT_BYTES),
    **dict.fromkeys((pickle.LIST, pickle.DICT, pickle.FROZENSET, pickle.REDUCE, pickle.NEWOBJ), OBJECT_BYTES),
    **dict.fromkeys((pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3), OBJECT_BYTES),
    **dict.fromkeys((pickle.MEMOIZE, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT), _ENTRY),
}
"""Bytes that opcodes ask for beside those that follow them."""
_KEYS = {
    pickle.SETITEM: slice(-2, -1),
    **{code: slice(None, None, 2) for code in (pickle.SETITEMS, pickle.DICT)},
    **{code: slice(None) for code in (pickle.ADDITEMS, pickle.FROZENSET)},
}
"""Where the keys of tables and the elements of sets lie on the stack."""


def _checked(load: Opcode, check: Callable[[GuardedUnpickler], None]) -> Opcode:
    """Guard an opcode by a check before it."""

    def check_and_load(reader: GuardedUnpickler) -> None:
        check(reader)
        load(reader)

    return check_and_load


class GuardedUnpickler(pickle._Unpickler):
    """One pickle in a file, whose bytes are all in memory, so that no read gives more than there is."""

    stack: list[Any]  # these are Python's own, which its type stubs leave out
    append: Callable[[object], None]
    read: Callable[[int], bytes]
    _unframer: Any
    dispatch: ClassVar[dict[int, Opcode]] = {
        opcode: load for opcode, load in pickle._Unpickler.dispatch.items() if opcode not in {o[0] for o in _REFUSED}
    }

    def __init__(self, file: io.BytesIO, path: Path, budget: UnpackedBudget) -> None:
        super().__init__(file, encoding="latin1")
        self.file, self.path, self.budget = file, path, budget

    def load_frame(self) -> None:
        """Check that a frame's length lies within the file."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self.file.getbuffer().nbytes - self.file.tell():
            raise ValueError("frame beyond the end")
        self._unframer.load_frame(length)

    def load_bytearray8(self) -> None:
        """Check the length first: Python's own asks for memory before it reads."""
        (length,) = struct.unpack("<Q", self.read(8))
        content = self.read(min(length, self.file.getbuffer().nbytes))
        if len(content) < length:
            raise ValueError("bytes beyond the end")
        self.append(bytearray(content))

    def count(self, size: int) -> None:
        """Count what an opcode asks for."""
        self.budget.take(size)

    def check_keys(self, where: slice) -> None:
        """Refuse other keys in that part of the stack."""
        for key in self.stack[where]:
            checked_key(key)

    def check_call(self) -> None:
        """Refuse a call that would copy too much, or make a set or a table with other keys."""
        call, arguments = self.stack[-2:]
        for argument in arguments if call in (set, frozenset, dict, list) else ():
            if isinstance(argument, dict | list | tuple | set | frozenset | str | bytes | bytearray):
                self.budget.take(_ENTRY * len(argument))
            if isinstance(argument, list | tuple) and call is not list:
                for item in argument:
                    checked_key(item[0] if call is dict else item)

    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    for _code, _cost in _COSTS.items():
        dispatch[_code[0]] = _checked(dispatch[_code[0]], partial(count, size=_cost))
    for _code, _keys in _KEYS.items():
        dispatch[_code[0]] = _checked(dispatch[_code[0]], partial(check_keys, where=_keys))
    for _code in (pickle.REDUCE, pickle.NEWOBJ):
        dispatch[_code[0]] = _checked(dispatch[_code[0]], check_call)
