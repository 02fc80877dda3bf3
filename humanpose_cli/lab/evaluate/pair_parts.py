"""An evaluation of pairs that is divided among processes: parts write figures, the complete run reads them."""

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
    """Figures of pairs in `pairs.json` of the parts' folders, such as `part-0-of-8` in the folder of the complete run.

    Attributes:
        run: The evaluation of a part, or of all pairs.
        settings: Settings that decide the figures; figures of other settings are not read.
    """

    run: EvaluationRun
    settings: Any

    def measured(self) -> dict[int, Figures]:
        """Read the figures that the parts of this run measured, by the number of a pair."""
        measured: dict[int, Figures] = {}
        for path in sorted(self.run.folder.glob("part-*/pairs.json")):
            document = read_json_object(path)
            if document.get("settings") == self._text:
                measured |= {int(number): figures for number, figures in document["pairs"].items()}
        return measured

    def write(self, pairs: Mapping[int, Figures]) -> None:
        """Write the figures of a part's pairs."""
        if self.run.part[1] > 1:  # JSON has no NaN
            plain = {
                number: {
                    name: {k: v if math.isfinite(v) else None for k, v in row.items()} for name, row in figures.items()
                }
                for number, figures in pairs.items()
            }
            write_json(self.run.folder / "pairs.json", {"settings": self._text, "pairs": plain}, indent=None)

    @property
    def _text(self) -> str:
        return json.dumps(self.settings, sort_keys=True, default=str)
