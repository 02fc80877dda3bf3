"""Render people and store the landmark model's results.

    python tools/detector_samples.py SAMPLES.npz --count 500 --seed 0 [--split held_out]

SAMPLES.npz holds the truth (rotations as axis-angle, betas, trans, focal, size) and, for several passes over crops such
as detection makes them, the observed points, confidences, presences and world landmarks in the image's axes. It is
what build_landmarks.py reads; about three samples a second on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import torch
from rendered_people import People, Rendered, Studio, draw_people, landmark_truth

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import CropView, Observation, jittered_views, observe_all
from humanpose_cli.detect.regions import Pyramid, Region
from humanpose_cli.geometry.rotations import matrix_to_axis_angle

VIEWS = 2  # jittered passes besides the model's own region
MASK_SIDE = 32
HIDDEN_BY = 0.12  # metres of body in front of a landmark from which it counts as hidden

SHOULDERS = BLAZEPOSE33.indices(("left_shoulder", "right_shoulder"))
HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))


def first_region(points: np.ndarray, random: np.random.Generator) -> Region:
    """About the region that the person detector would propose: around the hips, upright along the trunk."""
    hips, shoulders = points[HIPS].mean(0), points[SHOULDERS].mean(0)
    right, down = shoulders - hips
    radius = np.linalg.norm(points - hips, axis=1).max()
    side = 2 * 1.25 * radius * random.uniform(0.85, 1.1)
    x, y = hips + random.normal(0, 0.02, 2) * side
    return Region(float(x), float(y), float(side), math.atan2(right, -down) + random.normal(0, 0.08))


def passes(pool: ModelPool, rendered: Rendered, points: np.ndarray, random: np.random.Generator) -> list[Observation]:
    """Run the model on the region of its own first pass, and on jittered copies of that region."""
    pyramid = Pyramid(rendered.pixels)
    first = observe_all(pool, pyramid, [CropView(first_region(points, random))])[0]
    third = CropView(first.next_region)
    chosen = jittered_views(first.next_region, 8)
    picked = [chosen[i] for i in random.choice(8, VIEWS, replace=False)]
    return observe_all(pool, pyramid, [third, *picked])


def visible_landmarks(rendered: Rendered, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(33,) whether each landmark lies in the image and neither a thing nor the person's own body hides it."""
    height, width = rendered.hidden.shape
    column, row = np.floor(points).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    surface = rendered.depth[row, column]
    return inside & ~rendered.hidden[row, column] & ((depth - surface < HIDDEN_BY) | ~np.isfinite(surface))


def sample(studio: Studio, pool: ModelPool, people: People, index: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng((seed, index))
    rendered = studio.render(people, index, random)
    row = [index]
    one = People(*(getattr(people, field.name)[row] for field in dataclasses.fields(People)))
    truth, pixels, _ = (array[0].numpy() for array in landmark_truth(studio.body, one))
    observed = passes(pool, rendered, pixels, random)
    mask = cv2.resize(observed[0].mask, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA)
    return {
        "points": np.stack([o.points for o in observed]).astype(np.float32),
        "confidence": np.stack([o.confidence for o in observed]).astype(np.float16),
        "presence": np.array([o.presence for o in observed], np.float32),
        "world": np.stack([o.world for o in observed]).astype(np.float32),
        "region": np.array([[o.region.x, o.region.y, o.region.side, o.region.angle] for o in observed], np.float32),
        "mask": np.rint(mask * 255).astype(np.uint8),
        "seen": visible_landmarks(rendered, pixels, truth[:, 2]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="train", choices=("train", "held_out"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    body = default_body(learned_landmarks=False)
    generator = torch.Generator().manual_seed(arguments.seed)
    people = draw_people(body, arguments.count, generator, split=arguments.split)
    studio, pool = Studio(body), ModelPool(1)
    samples = [sample(studio, pool, people, index, arguments.seed) for index in range(arguments.count)]
    pool.close()
    arrays = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    partial = arguments.out.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        rotations=matrix_to_axis_angle(people.rotations).numpy(),
        betas=people.betas.numpy(),
        trans=people.trans.numpy(),
        focal=people.focal.numpy(),
        size=people.size.numpy(),
        **arrays,
    )
    partial.rename(arguments.out)


if __name__ == "__main__":
    main()
