"""An evaluation of pairs that is divided among processes: each writes what it measured, the run of all reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from humanpose_cli.io.atomic import write_json
from humanpose_cli.io.text_files import read_json_object
from humanpose_cli.lab.evaluate.people import EvaluationRun

Figures = Mapping[str, Mapping[str, float]]
"""Method → metric → value of one pair."""


@dataclass(frozen=True)
class PairParts:
    """Figures of pairs in `pairs.json` of the folders of parts, `part-0-of-8` in the folder of the run of all.

    Attributes:
        settings: What decides the figures; those of other settings are not read.
    """

    run: EvaluationRun
    settings: Any

    def measured(self) -> dict[int, Figures]:
        """Read what the parts of this run measured: number of a pair → its figures."""
        measured: dict[int, Figures] = {}
        for path in sorted(self.run.folder.glob("part-*/pairs.json")):
            document = read_json_object(path)
            if document.get("settings") == self._text:
                measured |= {int(number): figures for number, figures in document["pairs"].items()}
        return measured

    def write(self, pairs: Mapping[int, Figures]) -> None:
        """Write the figures of the pairs of a part; JSON has no NaN."""
        if self.run.part[1] > 1:
            plain = {
                number: {
                    name: {k: v if math.isfinite(v) else None for k, v in row.items()} for name, row in one.items()
                }
                for number, one in pairs.items()
            }
            write_json(self.run.folder / "pairs.json", {"settings": self._text, "pairs": plain}, indent=None)

    @property
    def _text(self) -> str:
        return json.dumps(self.settings, sort_keys=True, default=str)
