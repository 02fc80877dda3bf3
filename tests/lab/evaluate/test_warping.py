"""Table 1 of the reposing paper: when the paper's figures stand beside ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate import warping
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.trainings import Trainings


class _TableError(Exception):
    """The table would be made."""


@pytest.mark.parametrize(("size", "full", "shown"), [(256, True, True), (128, True, False), (256, False, False)])
def test_papers_figures_stand_beside_networks_of_their_size_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, full: bool, shown: bool
) -> None:
    header = Header("index", "iper", "{}", *[""] * 2, *[0] * 5, "")
    crops = SimpleNamespace(pairs=SimpleNamespace(cache=SimpleNamespace(header=header), missed=[]))
    found: dict[str, Any] = {}

    def table(*_: Any, published: bool, parts: Any) -> None:
        found["published"] = published
        raise _TableError

    def pairs(selection: PeopleSelection, size: int, **_: Any) -> tuple[Any, list[int], dict[str, Any]]:
        return crops, [0], {"split": "random-pairs/test", "pixels": size}

    monkeypatch.setattr(warping, "evaluated_pairs", pairs)
    monkeypatch.setattr(warping, "warping_table", table)
    monkeypatch.setattr(Trainings, "check", lambda *_: None)

    def tuned(shared: warping.WarpingShared) -> warping.WarpingShared:
        generator = replace(warping.WARP3D_PRESETS["paper"][0].generator, size=size)
        return replace(shared, network=replace(shared.network, generator=generator))

    ablation = warping.warping_ablation(full_images=full)
    with pytest.raises(_TableError):
        ablation.evaluate(EvaluationRun(PeopleSelection(tmp_path), tmp_path), tune=tuned)
    assert found == {"published": shown}
