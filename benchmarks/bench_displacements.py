"""Where a rendered, imperfect fit lies in the photograph: the displacement network against dense optical flow.

Synthetic people of held-out identities, clothes and activities in clips of four frames, under fits of `hpc fit` (by
turns of its methods keypoints and nbf, half of them refined once) and under imitations of an estimator's errors;
textures come from other frames under fits with such errors and, in the rows "true", under the true bodies, as the
paper's texture is given. Endpoint errors in per cent of the person's size over the points that the photograph
shows, mean and median over people; the share of people who come nearer; slope, the share of the true displacements that
is reported: the sum of reported times true over the sum of true times true, of all people's mean products; r2, 1 minus
the sum of squared errors over the same; milliseconds a person in crops of 384 pixels.

    python benchmarks/bench_displacements.py [people [weights …]]      default: 120, the shipped network
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.recipes.people import people_in, visible_people
from humanpose_cli.lab.recipes.refiner.examples import HELD_OUT, DrawnFit, RefinerExamples
from humanpose_cli.lab.recipes.refiner.losses import endpoint_errors, weighted_means
from humanpose_cli.lab.synthetic.generator import PROTOCOL, SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.models.refiner.network import MODEL, DisplacementOptions
from humanpose_cli.models.refiner.predictor import DisplacementPredictor
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.refining.correspondences import Correspondence, FlowCorrespondence, NetworkCorrespondence

SIZE, SEED = 384, 2026  # pixels of `RefineOptions`' crops


def examples(count: int) -> dict[str, list[DrawnFit]]:
    """The same people, who are at least half visible and fitted, under both kinds of fits and textures."""
    options = SyntheticOptions(
        3 * count,
        size=320,
        structure="clips",
        clip_length=4,
        frame_rate=1.5,
        seed=SEED,
        validation=0,
        test=1,
        imperfect_fits=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        build_cache(SyntheticSource(options), cache)
        people = visible_people(people_in(cache, ("poses", "box"), PROTOCOL, "test"), 0.5)
        people = people.taken(np.isfinite(people.column("fit_poses")).all(1))
        drawn = {}
        for name, fitted, true in (
            ("hpc fit", 1, 0),
            ("imitated", 0, 0),
            ("hpc fit, true", 1, 1),
            ("imitated, true", 0, 1),
        ):
            augmentation = replace(HELD_OUT, fitted=fitted, true_bodies=true)
            make = RefinerExamples(people, [default_body()], DisplacementOptions(crop=SIZE), augmentation, texels=512)
            numbers = spread_evenly(len(people), count)
            drawn[name] = [make.drawn_fit(number, np.random.default_rng((SEED, number))) for number in numbers]
    return drawn


def measure(name: str, way: Correspondence | None, drawn: Sequence[DrawnFit]) -> dict[str, Any]:
    """A line of results; None moves nothing."""
    errors, unmoved, products, seconds = [], [], [], 0.0
    for example in drawn:
        photos = torch.from_numpy(example.photo.copy()).movedim(-1, 0)[None].float() / 255
        start, zero = time.perf_counter(), torch.zeros_like(example.truth)
        moved = way(example.rendering, photos).pixels if way else zero
        seconds += time.perf_counter() - start
        truth, scale, visible = example.truth, 100 / example.size, example.visible.float()
        errors.append(float(endpoint_errors(moved, truth, visible)) * scale)
        unmoved.append(float(endpoint_errors(zero, truth, visible)) * scale)
        pairs = ((moved, truth), (truth, truth), (moved - truth, moved - truth))
        products.append([float(weighted_means((a * b).sum(1, keepdim=True), visible)) * scale**2 for a, b in pairs])
    along, true_square, error_square = np.nanmean(products, axis=0)
    return {
        "name": name,
        "people": len(drawn),
        "endpoint_percent": float(np.nanmean(errors)),
        "median": float(np.nanmedian(errors)),
        "nearer": float(np.mean(np.less(errors, unmoved))),
        "slope": along / true_square,
        "r2": 1 - error_square / true_square,
        "ms": 1e3 * seconds / len(drawn),
    }


def main(arguments: Sequence[str]) -> None:
    count = int(arguments[0]) if arguments else 120
    weights = arguments[1:] or [MODEL]
    torch.set_num_threads(1)
    ways: dict[str, Correspondence | None] = {"unmoved": None, "flow": FlowCorrespondence()}
    for name in weights:
        ways[f"network {Path(name).name}"] = NetworkCorrespondence(DisplacementPredictor.load(find_weights(name)))
    for start, drawn in examples(count).items():
        for name, way in ways.items():
            print(json.dumps({"fits": start, **measure(name, way, drawn)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
