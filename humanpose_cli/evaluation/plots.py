"""Plots of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.io.atomic import atomic_path

__all__ = ["plot_quality", "plot_supervision"]


def plot_quality(
    path: Path, f1: NDArray[np.float64], errors: NDArray[np.float64], difficulty: NDArray[np.float64]
) -> None:
    """Figure 3 of Neural Body Fitting: each person's F1 of the parts against the error of the joints.

    f1 (N,) 0…1, errors (N,) metres, difficulty (N,) radians: the darker, the farther from the mean pose
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    panel = figure.subplots()
    points = panel.scatter(f1, 1000 * errors, c=difficulty, cmap="Blues", s=14, edgecolors="#30507080", linewidths=0.4)
    figure.colorbar(points, label="distance to the mean pose [rad]")
    known = np.isfinite(f1) & np.isfinite(errors)
    if known.sum() > 2 and np.ptp(f1[known]) > 0:
        slope, start = np.polyfit(f1[known], 1000 * errors[known], 1)
        ends = np.array([f1[known].min(), f1[known].max()])
        correlation = np.corrcoef(f1[known], errors[known])[0, 1]
        panel.plot(ends, start + slope * ends, color="#c04020", linewidth=1, label=f"correlation {correlation:.2f}")
        panel.legend()
    panel.set_xlabel("F1 of the parts")
    panel.set_ylabel("joint error [mm]")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    _save(figure, path)


def plot_supervision(path: Path, shares: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
    """Table 4 as curves: share of samples with 3-D labels (percent) against the joint error (mm) of each setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    places = np.arange(len(shares))
    for name, values in curves.items():
        panel.plot(places, values, marker="o", label=name)
    panel.set_xticks(places, [f"{share:g}" for share in shares])
    panel.set_xlabel("samples with 3-D labels [%]")
    panel.set_ylabel("joint error [mm]")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend()
    _save(figure, path)


def _save(figure: object, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)  # type: ignore[attr-defined]
