"""Numbers of a motion's rows between the stages of its fit, outside of memory: an hour of video has 10⁵ rows."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Sequence
from itertools import accumulate, pairwise
from types import TracebackType
from typing import IO

import torch
from torch import Tensor

from humanpose_cli.core.errors import UnavailableError

_IN_MEMORY = 32 << 20  # bytes of a file that stay in memory: those of some thousand rows
_BYTES = torch.finfo(torch.float64).bits // 8


class RowFile:
    """Columns of N rows, double, in a temporary file without a name; a context manager that removes it.

    The first `write` decides the shapes of the columns. Threads may read and write at once.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 — closed by `__exit__`
        self._lock = threading.Lock()
        self._shapes: list[torch.Size] = []

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, first: int, columns: Sequence[Tensor]) -> None:
        """Keep rows from number `first` on: columns (n, …) each. Raises UnavailableError for a full disk."""
        rows = torch.cat([column.reshape(len(column), math.prod(column.shape[1:])) for column in columns], 1)
        with self._lock:
            self._shapes = self._shapes or [column.shape[1:] for column in columns]
            try:
                self._file.seek(first * rows.shape[1] * _BYTES)
                self._file.write(rows.numpy().tobytes())
                self._file.flush()
            except OSError as error:
                remedy = "free some space there, or name another folder by the variable TMPDIR"
                problem, got = "a temporary file cannot be written", error.strerror or str(error)
                raise UnavailableError(tempfile.gettempdir(), problem, got=got, remedy=remedy) from error

    def read(self, first: int, last: int) -> list[Tensor]:
        """Read the columns of rows first ≤ i < last, which have been written."""
        sizes = [math.prod(shape) for shape in self._shapes]
        width = sum(sizes)
        with self._lock:
            self._file.seek(first * width * _BYTES)
            content = self._file.read((last - first) * width * _BYTES)
        rows = torch.frombuffer(bytearray(content), dtype=torch.float64).view(last - first, width)
        ends = pairwise(accumulate(sizes, initial=0))
        return [
            rows[:, start:end].reshape(last - first, *shape).contiguous()
            for (start, end), shape in zip(ends, self._shapes, strict=True)
        ]
