"""Passes of the landmark model made up of known poses, and candidates of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from humanpose_cli.detect.person import Observation
from humanpose_cli.detect.regions import Region
from humanpose_cli.detect.search import Candidate

SIZE = 256  # pixels of a crop


def disc_mask(region: Region, centre: tuple[float, float], radius: float) -> np.ndarray:
    """(256, 256) float32: a disc of the image as seen in the region's crop."""
    pixels = np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), axis=-1)
    positions = region.to_image(SIZE).points(pixels)
    return (np.linalg.norm(positions - centre, axis=-1) < radius).astype(np.float32)


def standing(x: float = 300.0, y: float = 300.0) -> np.ndarray:
    """(33, 2) an upright pose 320 pixels high with its hips at x, y."""
    points = np.random.default_rng(3).uniform(-0.5, 0.5, (33, 2)) * [90, 320]
    return moved(points, x, y)


def moved(points: np.ndarray, right: float, down: float) -> np.ndarray:
    return points + np.array([right, down])


def observed(points: np.ndarray, region: Region | None = None, presence: float = 1.0, **changes: object) -> Observation:
    region = region or Region(float(points[:, 0].mean()), float(points[:, 1].mean()), 400.0)
    observation = Observation(
        region=region,
        points=points,
        confidence=np.ones(33),
        presence=presence,
        world=np.concatenate([points, points[:, :1]], axis=1) / 200,
        mask=np.zeros((SIZE, SIZE), np.float32),
        next_region=region,
    )
    return replace(observation, **changes)  # type: ignore[arg-type]


def candidate(*passes: Observation, support: int = 5, score: float = 0.8) -> Candidate:
    first = passes[0]
    shown = (first, *(passes[1:] or (first,)))
    return Candidate(shown, coarse=(first, first), windows=frozenset(range(support)), score=score)
