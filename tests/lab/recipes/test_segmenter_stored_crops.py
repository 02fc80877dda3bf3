"""Garment labels: crops whose inputs are computed once, and a training that continues in another folder."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.conventions import GARMENTS
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.recipes.segmenter.recipe import SEGMENTER_PRESETS, SegmenterCrops, SegmenterRecipe
from humanpose_cli.lab.recipes.segmenter.stored_crops import StoredCrops
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.train.trainer import BEST, CHECKPOINT, train
from humanpose_cli.models.segmenter.network import Segmenter, SegmenterOptions, map_inputs

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
PRESET, LOOP = SEGMENTER_PRESETS["garments"]
OPTIONS = replace(PRESET, segmenter=replace(PRESET.segmenter, crop=64), visible=0.0, validation=2)
LOOP = replace(LOOP, epochs=1, steps=4, batch_size=2, validate_every=4, workers=0, log_every=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "cache"
    options = SyntheticOptions(count=10, size=64, texture_size=64, companions=0, garments=True)
    build_cache(SyntheticSource(options), folder)
    return folder


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return train(SegmenterRecipe(cache, OPTIONS), LOOP, folder, CPU), folder


def test_a_crop_is_computed_once(cache, tmp_path):
    people = SegmenterRecipe(cache, OPTIONS).people
    calls = []

    def make(number, random):
        calls.append(number)
        return SegmenterCrops(people, OPTIONS.segmenter, OPTIONS)(number, random)

    stored = StoredCrops(make, tmp_path / "crops.bin", len(people), 64, variants=2)
    examples = [stored(1, np.random.default_rng(seed)) for seed in range(12)]
    assert calls == [1, 1]  # both crops of this person
    assert len({example["labels"].tobytes() for example in examples}) == 2
    again = StoredCrops(make, tmp_path / "crops.bin", len(people), 64, variants=2)(1, np.random.default_rng(0))
    assert len(calls) == 2
    crop = SegmenterCrops(people, OPTIONS.segmenter, OPTIONS)(1, np.random.default_rng((1, 0)))
    other = SegmenterCrops(people, OPTIONS.segmenter, OPTIONS)(1, np.random.default_rng((1, 1)))
    crop = crop if np.array_equal(crop["labels"][1::2, 1::2], again["labels"]) else other
    np.testing.assert_array_equal(again["labels"], crop["labels"][1::2, 1::2])
    for k, values in enumerate(map_inputs(torch.from_numpy(crop["segmenter_input"])[None])):
        torch.testing.assert_close(torch.from_numpy(again[f"input{k}"]).float(), values[0], rtol=2e-3, atol=2e-3)


def test_stored_inputs_give_the_scores_of_the_image(cache, run):
    segmenter = Segmenter.load(run[1] / BEST)
    image = torch.randn(2, 3, 256, 256)
    scores = segmenter.network.scores(*map_inputs(image))
    whole = torch.nn.functional.interpolate(scores, (256, 256), mode="bilinear", align_corners=False)
    torch.testing.assert_close(segmenter.network(image), whole)


def test_an_interrupted_run_continues_in_another_folder(cache, run, tmp_path):
    steps = iter([False, True])
    first, second = tmp_path / "first", tmp_path / "second"
    assert not train(SegmenterRecipe(cache, OPTIONS), LOOP, first, CPU, stop=lambda: next(steps)).finished
    second.mkdir()
    for name in (CHECKPOINT, "metrics.jsonl", "run.json", "training.json"):
        shutil.copy(first / name, second)
    for path in cache.glob("crops-*.bin"):  # another machine has none
        path.unlink()
    result = train(SegmenterRecipe(cache, OPTIONS), LOOP, second, CPU)
    assert result.finished
    assert result.metrics["iou"] == pytest.approx(run[0].metrics["iou"], abs=1e-4)
    lines, expected = (
        [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"speed"' not in line]
        for folder in (second, run[1])
    )
    assert lines == expected
    assert (second / CHECKPOINT).stat().st_size < 6e6


def test_weights_are_small_and_name_the_garments(run):
    result, folder = run
    assert (folder / BEST).stat().st_size < 1e6
    assert Segmenter.load(folder / BEST).options.class_names == ("background", *GARMENTS)
    assert {"iou", "f1", "iou_with_background"} <= set(result.metrics)
    with raises(InputError, got="garments"):
        Segmenter.load(folder / BEST, parts=6)
    with raises(UsageError, expected="6"):
        SegmenterOptions("garments", parts=12)
