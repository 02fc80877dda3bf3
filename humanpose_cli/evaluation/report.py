"""What an evaluation leaves behind: report.md for people, report.json for programs, and the pictures they name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.evaluation.statistics import Summary
from humanpose_cli.evaluation.tables import Table
from humanpose_cli.io.atomic import ensure_folder, write_json, write_text
from humanpose_cli.io.images import write_image

__all__ = ["REPORT", "Report", "write_report"]

REPORT = "report.md"


@dataclass(frozen=True)
class Report:
    """The results of one evaluation.

    title    what was judged
    facts    on what and how: data, split, people, weights
    metrics  by their names in the JSON result
    tables   in their order
    pictures file name → (H, W, 3), with a line on what they show
    plots    files that were written beside it, with a line each
    """

    title: str
    facts: Mapping[str, Any]
    metrics: Mapping[str, Summary] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    pictures: Mapping[str, tuple[NDArray[np.uint8], str]] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON values; what is not a finite number is null."""
        return {
            "title": self.title,
            "facts": dict(self.facts),
            "metrics": {name: _finite(summary.document()) for name, summary in self.metrics.items()},
            "tables": [_finite(table.document()) for table in self.tables],
        }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list) else value


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write all of it; returns the files, the readable report first. Each appears whole or not at all."""
    ensure_folder(folder)
    written = [folder / REPORT, folder / "report.json"]
    lines = [f"# {report.title}", ""]
    lines += [f"- {name}: {value}" for name, value in report.facts.items()]
    lines.append("")
    lines += [table.markdown() for table in report.tables]
    for name, (picture, words) in report.pictures.items():
        write_image(folder / name, picture)
        written.append(folder / name)
        lines += [f"![{words}]({name})", "", words, ""]
    for name, words in report.plots.items():
        written.append(folder / name)
        lines += [f"![{words}]({name})", "", words, ""]
    write_text(folder / REPORT, "\n".join(lines))
    write_json(folder / "report.json", report.document())
    return written
