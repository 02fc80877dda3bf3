"""What a report says about the weights it evaluates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.painted_people import painted_cache

from humanpose_cli.files.digests import digest_of
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions, NetworkOptions
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.evaluate.weights import checkpoints_facts, network_facts, overlaps, weights_facts
from humanpose_cli.networks.weights import WeightsHeader, find_weights, read_header, write_weights

KEPT = {"rule": "best", "criterion": "error", "value": 1.5}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Images 4 and 9 are of the split for validation, 10 is of the one for testing."""
    return open_cache(painted_cache(tmp_path_factory.mktemp("people") / "cache", count=10, last_test=True))


def header(cache: Cache, **training: Any) -> WeightsHeader:
    digest = cache.header.content_digest
    validation = {"protocol": "painted", "split": "validation", "digest": digest, "count": 2, "unit": "people"}
    values = {"steps": 30, "of": 40, "kept": KEPT, "data": "painted", "digest": digest, "validation": validation}
    return WeightsHeader("nbf", training={**values, **training})


def test_the_steps_of_all_trainings_are_named(tmp_path: Path, cache: Cache) -> None:
    named = {}
    for name, training in {
        "once": {"steps": 5},
        "twice": {"steps": 5, "began_with": [{"steps": 7}]},
        "unknown": {"steps": 5, "began_with": [{}]},
    }.items():
        write_weights(tmp_path / name, {"a": torch.zeros(1)}, WeightsHeader("warp3d", training=training))
        named[name] = weights_facts(tmp_path / name, cache, np.array([10]))["weights"].split(", ")[1]
    assert named == {"once": "5 steps", "twice": "12 steps in 2 trainings", "unknown": "? steps in 2 trainings"}
    shipped = find_weights("warp3d")
    steps = int(weights_facts(shipped, cache, np.array([10]))["weights"].split()[1])
    assert steps > 5 * read_header(shipped).training["steps"]


def test_the_checkpoint_is_named(tmp_path: Path, cache: Cache) -> None:
    write_weights(tmp_path / "w", {"a": torch.zeros(1)}, header(cache))
    facts = weights_facts(tmp_path / "w", cache, np.array([10]))
    assert facts["checkpoint"].startswith("step 30 of 40, chosen by error of 1.5 on 2 people of painted/validation")
    assert "caution" not in facts
    all_facts = weights_facts(tmp_path / "w", cache, np.array([4, 10]))
    assert all_facts["caution"] == (
        "the weights were chosen on 1 of the 2 images evaluated (painted/validation): the figures are too good"
    )


def test_the_segmenter_before_a_network_is_named_too(tmp_path: Path, cache: Cache) -> None:
    write_weights(tmp_path / "w", {"a": torch.zeros(1)}, header(cache, kept={"rule": "last"}, steps=40))
    write_weights(tmp_path / "s", {"a": torch.zeros(1)}, header(cache))
    facts = weights_facts(tmp_path / "w", cache, np.array([4]), tmp_path / "s")
    assert facts["checkpoint"].startswith("step 40 of 40, the last; segmenter: step 30 of 40, chosen by error")
    assert facts["segmenter"].startswith("nbf, 30 steps, SHA-256 ")
    assert facts["caution"].startswith("the weights were chosen on 1 of the 1 images")


@pytest.mark.parametrize(("segmenter", "warned"), [("segmenter", True), ("s", False)])
def test_a_network_of_other_parts_than_the_shipped_segmenters_is_noted(
    tmp_path: Path, cache: Cache, segmenter: str, warned: bool
) -> None:
    for name, recipe in (("w", {"segmenter": "runs/segmenter"}), ("s", {})):
        write_weights(tmp_path / name, {"a": torch.zeros(1)}, header(cache, recipe=recipe))
    path = tmp_path / "s" if segmenter == "s" else find_weights(segmenter)
    facts = weights_facts(tmp_path / "w", cache, np.array([10]), path)
    expected = (
        "body parts are the shipped segmenter's, the network learned from those of runs/segmenter: --set segmenter"
    )
    assert facts.get("caution", "") == (expected if warned else "")
    shipped = weights_facts(find_weights("nbf-proxy"), cache, np.array([10]), path)
    assert read_header(find_weights("nbf-proxy")).training["recipe"]["segmenter"]
    assert "caution" not in shipped


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "network"), [("", "nbf-proxy"), ("nbf-parts", "nbf-parts")])
def test_the_network_of_fits_is_named_with_its_segmenter(cache: Cache, weights: str, network: str) -> None:
    with Fitter(FitOptions(method="nbf", network=NetworkOptions(weights))) as fitter:
        facts = network_facts(fitter, cache, np.array([10]))
    expected = [digest_of(find_weights(name))[:16] for name in (network, "segmenter")]
    assert facts["network"] == "+".join(expected)
    assert [facts[name].split()[-1] for name in ("weights", "segmenter") if name in facts] == expected
    with Fitter(FitOptions(method="keypoints")) as fitter:
        assert network_facts(fitter, cache, np.array([10])) == {}


@pytest.mark.parametrize(
    ("training", "images", "begins"),
    [
        ({}, [4, 9, 9], ["the weights were chosen on 2 of the 2 images evaluated"]),
        ({"kept": {"rule": "last"}}, [4, 9], []),
        ({}, [0, 1, 10], ["the weights learned from 2 of the 3 images evaluated"]),
        ({"kept": {"rule": "last"}}, [0, 4], ["the weights learned from 1 of the 2 images evaluated"]),
        ({"digest": "another cache"}, [4], ["the weights were chosen on 1 of the 1 images evaluated"]),
        ({"digest": "another cache", "data": "another source"}, [0, 4], []),
        ({"kept": None, "validation": None}, [0, 4], ["the weights learned from 1 of the 2 images evaluated"]),
        ({"digest": "", "data": "", "caches": [{"digest": "a"}, {"data": "painted"}]}, [0], ["the weights learned"]),
    ],
)
def test_images_that_weights_know_are_counted(
    cache: Cache, training: dict[str, Any], images: list[int], begins: list[str]
) -> None:
    found = overlaps(header(cache, **training), cache, np.array(images))
    assert len(found) == len(begins)
    assert all(text.startswith(begin) for text, begin in zip(found, begins, strict=True))


def test_an_ablation_names_the_checkpoints_of_its_trainings(cache: Cache) -> None:
    last = {"of": 30, "kept": {"rule": "last"}}
    headers = [header(cache, **last), header(cache, **last), header(cache, **last, steps=12)]
    assert checkpoints_facts(headers, cache, np.array([4])) == {
        "checkpoints": "step 30 of 30, the last (2 trainings); step 12 of 30, the last that was validated; no held-out "
        "data chose them"
    }
    assert "learned from 1 of the 1 images" in checkpoints_facts(headers, cache, np.array([0]))["caution"]
    assert checkpoints_facts([], cache, np.array([0])) == {}
