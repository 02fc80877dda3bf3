"""Reports on reposed pictures."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.evaluation.published import WARP3D_PRIOR
from humanpose_cli.evaluation.report import Report
from humanpose_cli.evaluation.reposing import JudgedReposing
from humanpose_cli.evaluation.statistics import paired_difference, summarise
from humanpose_cli.evaluation.tables import Cell, Table

__all__ = ["reposing_report", "side_by_side"]

_BASELINES = ("copy", "mesh")
_LOW_IS_GOOD = ("lpips", "perceptual", "l1_fg")


def reposing_report(judged: JudgedReposing, source: str, facts: Mapping[str, Any]) -> Report:
    """All methods, their paired differences, what others published on the same data set (`source`), pictures."""
    names = list(judged.values)
    metrics = list(judged.values[names[0]])
    rows: list[list[Cell]] = []
    for name in names:
        rows.append([name, *(float(summarise(judged.values[name][metric]).value) for metric in metrics)])
    notes = ["ssim_fg, l1_fg and mask_iou look where the true picture shows the person."]
    tables = [Table("methods", "Methods", ("method", *metrics), rows, 3, notes), _differences(judged)]
    if source in WARP3D_PRIOR:
        prior: list[list[Cell]] = [[name, *values] for name, values in WARP3D_PRIOR[source].items()]
        for name in names:
            its = judged.values[name]
            lpips: Cell = float(np.nanmean(its["lpips"])) if "lpips" in its else None
            prior.append([f"{name}, here", float(np.nanmean(its["ssim"])), lpips])
        tables.append(Table("prior", "Table 2: prior work on this data set", ("method", "SSIM", "LPIPS"), prior, 3))
    best = {metric: summarise(judged.values[names[-1]][metric]) for metric in metrics}
    sheet = side_by_side(judged)
    words = f"Input, target, {', '.join(names)}"
    return Report(
        "Reposed pictures", {**facts, "pairs": len(judged.numbers)}, best, tables, {"pairs.jpg": (sheet, words)}
    )


def _differences(judged: JudgedReposing) -> Table:
    """Every network against the copy and the mesh on the same pairs."""
    baselines = [name for name in _BASELINES if name in judged.values]
    compared = list(product((name for name in judged.values if name not in baselines), baselines))
    rows: list[list[Cell]] = []
    for name, other in compared:
        for metric, values in judged.values[name].items():
            apart = paired_difference(values, judged.values[other][metric])
            rows.append([f"{name} − {other}", metric, apart.value, apart.low, apart.high])
    notes = [f"Paired, with the 95 % interval. Low is good: {', '.join(_LOW_IS_GOOD)}."]
    columns = ("methods", "metric", "difference", "from", "to")
    return Table("differences", "Differences", columns, rows, 3, notes)


def side_by_side(judged: JudgedReposing) -> NDArray[np.uint8]:
    """A row for each of the pairs that were kept, by the quality of the last method: input, target, every method."""
    quality = np.nan_to_num(judged.values[list(judged.values)[-1]]["ssim"])
    ordered = sorted(judged.shown, key=lambda place: (float(quality[place]), place))
    return np.concatenate([np.concatenate(list(judged.shown[place]), 1) for place in ordered])
