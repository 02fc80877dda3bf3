"""Parameters with the mark `extensive`, beside those that `make test` tries."""

from __future__ import annotations

from typing import Any

import pytest


def extensive(*rows: Any) -> list[Any]:
    """Mark rows of a parametrised test: a tuple has the values of several arguments."""
    return [pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.extensive) for row in rows]
