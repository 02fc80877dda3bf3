"""Tables of Neural Body Fitting's ablations: which of our columns the paper's stand beside."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate import nbf_ablations
from humanpose_cli.lab.evaluate.ablations import VariantFigures
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.studies import STUDIES
from humanpose_cli.lab.metrics.bodies import BodyErrors


@pytest.mark.parametrize(("name", "paper"), [("losses", 0.278), ("supervision", 0.28)])
def test_the_papers_rotations_stand_beside_the_absolute_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, paper: float
) -> None:
    """The authors train and measure with `use_absrot`: an error of a part is one of all parts below it, too."""
    values = dict.fromkeys(BodyErrors._fields, np.ones(6)) | {
        "rotation": np.full(6, 0.26),
        "absolute_rotation": np.full(6, 0.41),
    }
    found = VariantFigures({name: column[None] for name, column in values.items()}, Clusters.single("people", 6))
    monkeypatch.setattr(nbf_ablations, "measure_networks", lambda *_: found)
    monkeypatch.setattr(nbf_ablations, "_constant", lambda people: found)
    header = Header("index", "up3d", "{}", *[""] * 2, *[0] * 5, "")
    people: Any = SimpleNamespace(people=SimpleNamespace(cache=SimpleNamespace(header=header)), split="nbf/validation")
    shared: Any = nbf_ablations.nbf_shared("ablation")
    weights: Any = {variant.name: [] for variant in STUDIES[f"fit {name}"].variants}
    trainings: Any = SimpleNamespace(device="cpu", seeds=1)
    (table, figures), _ = nbf_ablations.compare(f"fit {name}", trainings, weights, people, shared, tmp_path)
    assert table.rows[0][0] == "constant pose"
    first = dict(zip(table.columns, table.rows[1], strict=True))
    assert (first["err_quat rad"], first["absolute err_quat rad"]) == pytest.approx((0.26, 0.41))
    assert first["paper absolute err_quat"] == paper
    if name == "supervision":  # the control has the same 3-D labels
        assert [row[table.columns.index("no 2-D mm")] for row in table.rows[2:5]] == [None, 1000, None]
    by_name = {row[1]: row[2] for row in figures.rows}
    assert (by_name["err_quat_rad"], by_name["err_quat_absolute_rad"]) == pytest.approx((0.26, 0.41))
