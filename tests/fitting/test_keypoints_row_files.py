"""Columns of rows in temporary files."""

from __future__ import annotations

import errno
import tempfile
from typing import Any

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.fitting import keypoints
from humanpose_cli.fitting.keypoints import RowFile


def columns(count: int, first: int = 0) -> list[torch.Tensor]:
    rows = torch.arange(first, first + count, dtype=torch.float64)
    return [rows, rows[:, None, None] + torch.arange(6.0).view(2, 3) / 10, rows.new_zeros(count, 0)]


@pytest.mark.parametrize("in_memory", [1 << 20, 100])
def test_rows_come_back_in_any_order(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(keypoints, "_IN_MEMORY", in_memory)
    with RowFile() as file:
        file.write(4, columns(3, 4))
        file.write(0, columns(4))
        for got, expected in zip(file.read(2, 6), columns(4, 2), strict=True):
            assert torch.equal(got, expected)
            assert got.shape == expected.shape


def test_a_full_disk_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullFile:
        def seek(self, *_: Any) -> None: ...
        def close(self) -> None: ...
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda size: FullFile())
    with RowFile() as file, raises(UnavailableError, remedy="TMPDIR"):
        file.write(0, columns(2))
