"""Caches of data sets whose owners' splits differ are learned from and judged by the papers' own."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.paper_datasets import Estimator, iper_protocol, iper_tree, write

from humanpose_cli.body.body import default_body
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.datasets import iper
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.iper import IperOptions, IperSource
from humanpose_cli.lab.datasets.labelling import RenderedLabels
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.repose import select_pairs
from humanpose_cli.lab.recipes.warp3d.recipe import WARP3D_PRESETS, Warp3dRecipe

TINY = WARP3D_PRESETS["tiny"][0]


@pytest.mark.slow
def test_reposing_learns_from_iper_and_is_evaluated_on_the_owners_val(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iper, "OFFICIAL_VIDEOS", {"train": 3, "val": 3})
    monkeypatch.setattr(iper, "IPER_VALIDATION", frozenset({"004/1"}))
    root = iper_tree(tmp_path / "iper")
    (root / "images/004/1/1").mkdir(parents=True)
    for frame in (root / "images/001/1/1").iterdir():
        (root / "images/004/1/1" / frame.name).write_bytes(frame.read_bytes())
    write(root / "train.txt", "001/1/1\n001/1/2\n004/1/1\n")
    write(root / "val.txt", "002/3/1\n003/1/1\n003/1/2\n")
    write(root / "iPER_protocol.json", iper_protocol().replace('"003/1/1"', '"002/3/1"'))
    source = IperSource(root, IperOptions(every=3, random_pairs=5), SourceTools(Estimator()))
    folder = tmp_path / "cache"
    assert not build_cache(RenderedLabels(source, {"default": default_body()}), folder, workers=1).failures
    recipe, cache = Warp3dRecipe(folder, TINY), open_cache(folder)
    for pairs, split in ((recipe.pairs, "train"), (recipe.held_out, "validation")):
        assert {row for row, _ in pairs.inputs} == set(cache.rows("iper", split).tolist())
    assert recipe.validation_data["split"] == "validation"
    crops, numbers, facts = select_pairs(PeopleSelection(folder), 32)
    training_rows = {
        row for pairs in (recipe.pairs, recipe.held_out) for row in pairs.images(range(len(pairs))).tolist()
    }
    assert not training_rows & set(crops.pairs.images(numbers).tolist())
    assert facts["split"] == "three-frames/test"
    assert len(numbers) == len(cache.pairs("three-frames", "test"))
    random = select_pairs(PeopleSelection(folder, "random-pairs", "test"), 32)[2]
    assert random["split"] == "random-pairs/test"
