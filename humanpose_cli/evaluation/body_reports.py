"""Reports on bodies: of fits to pictures, and of a network alone on crops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.evaluation.crops import JudgedCrops, distance_to_mean
from humanpose_cli.evaluation.fits import JudgedFits
from humanpose_cli.evaluation.people import JudgedPeople
from humanpose_cli.evaluation.plots import plot_quality
from humanpose_cli.evaluation.published import NBF_H36M, NBF_HUMANEVA
from humanpose_cli.evaluation.report import Report
from humanpose_cli.evaluation.sheets import body_panel, quartile_sheet, worst_sheet
from humanpose_cli.evaluation.statistics import Summary, quartiles, summarise
from humanpose_cli.evaluation.tables import Cell, Table
from humanpose_cli.io.atomic import ensure_folder
from humanpose_cli.metrics.bodies import Bodies, BodyErrors

__all__ = ["METRICS", "body_metrics", "crops_report", "fits_report"]

METRICS: Mapping[str, tuple[str, str, float]] = {
    "mpjpe_mm": ("mpjpe", "joints, pelvis on pelvis", 1e3),
    "pa_mpjpe_mm": ("pa_mpjpe", "joints after Procrustes", 1e3),
    "pve_mm": ("pve", "vertices, pelvis on pelvis", 1e3),
    "pckh": ("pckh", "share of joints within half a head", 1.0),
    "err_quat_rad": ("rotation", "rotations of parts, radians", 1.0),
}
"""Name in the JSON result → column of BodyErrors, words, and factor."""

_PUBLISHED = {
    "humaneva": ("Table 5: Procrustes-aligned error on HumanEva-I, mm", NBF_HUMANEVA),
    "h36m": ("Table 6: Procrustes-aligned error on Human3.6M, mm", NBF_H36M),
}


def body_metrics(errors: BodyErrors) -> dict[str, Summary]:
    """By name of METRICS."""
    return {name: summarise(getattr(errors, column)).scaled(factor) for name, (column, _, factor) in METRICS.items()}


def fits_report(
    people: JudgedPeople, judged: JudgedFits, body: RiggedBody, facts: Mapping[str, Any], *, pictures: bool = True
) -> Report:
    """Of bodies fitted to pictures."""
    share = len(judged.found) / max(len(people), 1)
    told = {**facts, "people": len(people), "found": f"{len(judged.found)} ({100 * share:.1f} %)"}
    tables = [_metrics_table(judged.errors), _quartile_table(judged.errors)]
    return Report(
        "Fitted bodies",
        told,
        body_metrics(judged.errors),
        [*tables, *_published(people, judged.errors)],
        _sheets(people, judged.found, judged.errors, body, judged.bodies) if pictures else {},
    )


def crops_report(people: JudgedPeople, judged: JudgedCrops, facts: Mapping[str, Any], folder: Path) -> Report:
    """Of a network alone; with a segmenter's parts Figure 3 is drawn into the folder."""
    tables = [_metrics_table(judged.errors), _quartile_table(judged.errors)]
    metrics, plots = body_metrics(judged.errors), {}
    if judged.f1 is not None:
        metrics["f1"] = summarise(judged.f1)
        plot_quality(ensure_folder(folder) / "f1-error.png", judged.f1, judged.errors.mpjpe, distance_to_mean(people))
        plots["f1-error.png"] = "F1 of the parts against the error of the joints, darker for harder poses (Figure 3)"
    facts = {**facts, "people": len(people)}
    return Report("Body network on crops", facts, metrics, [*tables, *_published(people, judged.errors)], plots=plots)


def _metrics_table(errors: BodyErrors) -> Table:
    rows: list[list[Cell]] = []
    for name, summary in body_metrics(errors).items():
        told: list[Cell] = [summary.value, summary.median, summary.low, summary.high]
        places = 1 if name.endswith("_mm") else 3
        numbers = [f"{cell:.{places}f}" if isinstance(cell, float) and np.isfinite(cell) else None for cell in told]
        rows.append([METRICS[name][1], name, *numbers, summary.n])
    columns = ("what", "name", "mean", "median", "95 % from", "to", "n")
    return Table("metrics", "Errors", columns, rows)


def _quartile_table(errors: BodyErrors) -> Table:
    rows: list[list[Cell]] = []
    for number, part in enumerate(quartiles(errors.mpjpe), 1):
        if len(part):
            means = [1e3 * float(getattr(errors, name)[part].mean()) for name in ("mpjpe", "pa_mpjpe", "pve")]
            rows.append(
                [f"{number}", *means, 100 * float(errors.pckh[part].mean()), float(errors.rotation[part].mean())]
            )
    columns = ("quartile of mpjpe", "mpjpe mm", "PA mm", "vertices mm", "PCKh %", "err_quat rad")
    return Table("quartiles", "Quartiles", columns, rows, (0, 1, 1, 1, 1, 3))


def _published(people: JudgedPeople, errors: BodyErrors) -> list[Table]:
    """The paper's table for this data set, with our line under it."""
    if people.people.cache.header.source not in _PUBLISHED:
        return []
    title, table = _PUBLISHED[people.people.cache.header.source]
    rows: list[list[Cell]] = [[name, *values] for name, values in table.items()]
    rows.append(["ours", 1e3 * float(errors.pa_mpjpe.mean()), 1e3 * float(np.median(errors.pa_mpjpe))])
    return [Table("published", title, ("method", "mean", "median"), rows)]


def _sheets(
    people: JudgedPeople, found: np.ndarray, errors: BodyErrors, body: RiggedBody, bodies: Bodies
) -> dict[str, Any]:
    def panel(place: int) -> np.ndarray:
        return body_panel(people, int(found[place]), body, bodies, place)

    def words(place: int) -> str:
        mpjpe, pa, pckh = 1e3 * errors.mpjpe[place], 1e3 * errors.pa_mpjpe[place], 100 * errors.pckh[place]
        return f"{mpjpe:.0f} mm, PA {pa:.0f} mm, PCKh {pckh:.0f} %, {errors.rotation[place]:.2f} rad"

    if not len(found):
        return {}
    shown = "person, true body, found body"
    sheets: dict[str, Any] = {"quartiles.jpg": (quartile_sheet(errors.mpjpe, panel, words), f"Quartiles: {shown}")}
    worst: dict[str, tuple[np.ndarray, str]] = {
        "worst-mpjpe.jpg": (errors.mpjpe, "Largest errors of the joints"),
        "worst-pckh.jpg": (-errors.pckh, "Fewest joints right in the picture"),
        "worst-rotation.jpg": (errors.rotation, "Largest errors of the rotations"),
    }
    for name, (values, title) in worst.items():
        sheets[name] = worst_sheet(values, panel, words), f"{title}: {shown}"
    return sheets
