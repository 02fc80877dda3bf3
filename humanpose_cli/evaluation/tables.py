"""Tables of results: one form for the terminal, Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Cell", "Table"]

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    name     short, of its files; title what it shows
    digits   decimals of numbers, of each column or of all
    notes    lines below it
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int | Sequence[int] = 1
    notes: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """As a Markdown section."""
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.texts()]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"

    def texts(self) -> list[list[str]]:
        """The rows' cells as text; a dash for what is not known."""
        digits = [self.digits] * len(self.columns) if isinstance(self.digits, int) else list(self.digits)
        return [[_text(cell, count) for cell, count in zip(row, digits, strict=True)] for row in self.rows]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
        }


def _text(cell: Cell, digits: int) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
