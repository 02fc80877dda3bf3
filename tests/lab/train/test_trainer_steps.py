"""Steps of every training: as a CUDA graph they have the same results."""

import pytest
import torch
from helpers.painted_people import PaintedPeople, painted_cache
from helpers.recorded_graphs import recorded_graphs

from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.recipes.lifter.recipe import LifterRecipe, LifterTraining
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.refiner.recipe import RefinerRecipe, RefinerTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.train import trainer
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.models.lifter.metric import LifterOptions
from humanpose_cli.models.nbf.inputs import InputOptions
from humanpose_cli.models.nbf.network import RegressorOptions
from humanpose_cli.models.refiner.network import DisplacementOptions
from humanpose_cli.models.segmenter.network import SegmenterOptions

CPU = torch.device("cpu")
LOOP = TrainOptions(steps=6, batch_size=4, workers=0, clip=1.0, average=0.5, log_every=2, validate_every=9)
SEGMENTER = SegmenterTraining(SegmenterOptions("tiny", crop=32, width=4))
NBF = NbfTraining(InputOptions("parts", size=32), RegressorOptions(18, 4), LossOptions(1.0, 30.0, 30.0), crop=32)
REFINER = RefinerTraining(DisplacementOptions(crop=32, width=4), encoder="", visible=0.0)
# Makes a recipe of a cache.
STEPS = {
    "segmenter": lambda cache: SegmenterRecipe(cache, SEGMENTER),
    "nbf": lambda cache: NbfRecipe(cache, NBF),
    "refiner": lambda cache: RefinerRecipe(cache, REFINER),
    "lifter": lambda cache: LifterRecipe(None, LifterTraining(LifterOptions(64, 2), poses=64, held_out=64)),
}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    painted, clips = (tmp_path_factory.mktemp(name) / "cache" for name in ("painted", "clips"))
    build_cache(PaintedPeople(count=20, clip=2, last_test=True), clips)
    return {"refiner": clips, "nbf": painted_cache(painted, last_test=True), "segmenter": painted}


@pytest.mark.extensive
@pytest.mark.parametrize("name", STEPS)
def test_captured_steps_learn_what_eager_ones_do(caches, tmp_path, monkeypatch, name):
    make = STEPS[name]
    weights = []
    for captures in (False, True):
        monkeypatch.setattr(trainer, "can_capture", lambda device, captures=captures: captures)
        recipe = make(caches.get(name))
        monkeypatch.setattr(recipe, "validate", lambda batch_size, recipe=recipe: {recipe.criterion: 0.0})
        monkeypatch.setattr(recipe, "image", lambda: None)
        with recorded_graphs(monkeypatch) as graphs:
            trainer.train(recipe, LOOP, tmp_path / str(captures), CPU)
        weights.append(recipe.model.state_dict())
    assert [graph.replays for graph in graphs] == [3]
    for (parameter, eager), captured in zip(weights[0].items(), weights[1].values(), strict=True):
        assert torch.equal(eager, captured), parameter
