"""Annotated points of rendered people's surfaces, fit files of them, and DensePose's files in miniature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from scipy.io import savemat

from helpers import fit_values
from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import DENSEPOSE_CHARTS
from humanpose_cli.engine.rasterising.op import rasterise
from humanpose_cli.io.fit_files import FitRecord, write_fit
from humanpose_cli.io.images import encode_image
from humanpose_cli.io.output_names import FIT_SUFFIX
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.lab.evaluate.image_fits import posed_rows
from humanpose_cli.models.deform_and_learn.correspondences import texture_charts

SIZE, FOCAL = (200, 240), 380.0
POINTS = 30
NAMES = ("a", "b")


def fit_of(shift: float = 0.0, turned: float = 0.0, people: int = 2) -> FitRecord:
    """People side by side 4 m away, upright; `shift` metres to the right, `turned` radians about the vertical."""
    poses = np.random.default_rng(0).normal(0, 0.1, (people, 72))
    half = turned / 2
    poses[:, :3] = np.pi * np.array([np.cos(half), 0, np.sin(half)])  # half a turn about x, then about y
    joints = np.zeros((people, 24, 3))
    return FitRecord.build(
        **fit_values.values(tracks=range(people), frames=[0] * people, frame_count=1)
        | {
            "image_size": [SIZE],
            "focal": [FOCAL],
            "principal_point": [[SIZE[0] / 2, SIZE[1] / 2]],
            "poses": poses,
            "betas": np.zeros((people, 10)),
            "trans": [[0.8 * (row - (people - 1) / 2) + shift, 0, 4] for row in range(people)],
            "segment_scales": np.ones((people, 24)),
            "joints3d": joints,
            "interpolated": [False] * people,
            "confidence": np.linspace(0.9, 0.8, people),
        }
    )


def visible_points(fit: FitRecord) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each person points (M, 5) at vertices that are visible where they are drawn, and the box."""
    body = default_body()
    charts = texture_charts(body)
    posed, _, cameras = posed_rows(fit, np.arange(len(fit.poses)), body, vertices=True)
    view, found = Camera.stack(cameras).tensors(), []
    for row, vertices in enumerate(posed.vertices):
        one = slice(row, row + 1)
        raster = rasterise(vertices[None], body.faces, view.focal[one], view.principal_point[one], SIZE[::-1])
        pixels = cameras[row].project(vertices)[charts.vertices]
        x, y = pixels.floor().long().T
        inside = (charts.charts <= DENSEPOSE_CHARTS) & (x >= 0) & (y >= 0) & (x < SIZE[0]) & (y < SIZE[1])
        depth = raster.depth[0][y.clamp(0, SIZE[1] - 1), x.clamp(0, SIZE[0] - 1)]
        shown = torch.nonzero(inside & ((depth - vertices[charts.vertices, 2]).abs() < 0.01))[:, 0].numpy()
        chosen = np.random.default_rng(row).choice(shown, POINTS, replace=False)
        rows = [pixels[chosen], charts.charts[chosen][:, None], charts.uv[chosen]]
        columns, lines = torch.nonzero(raster.face[0] >= 0).T.flip(0)
        box = np.array([columns.min(), lines.min(), columns.max() + 1, lines.max() + 1], np.float64)
        found.append((np.concatenate([values.double().numpy() for values in rows], 1), box))
    return found


@dataclass(frozen=True)
class AnnotatedPeople:
    """Two images with the people of `fit_of`; in the second only the first has points."""

    source: str = "annotated"
    points: bool = True

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(self.source)

    def groups(self) -> list[Group]:
        return [Group(name, 1, key=name) for name in NAMES]

    def read(self, group: Group) -> Iterator[Sample]:
        people = [
            Person(
                box=box,
                area=5000.0 * (1 + row),
                surface_points=points if self.points and (group.key == "a" or not row) else None,
            )
            for row, (points, box) in enumerate(visible_points(fit_of()))
        ]
        pixels = encode_image(np.full((*SIZE[::-1], 3), 90, np.uint8), ".png")
        yield Sample(group.name, pixels, SIZE, people=people, splits={"densepose": "validation"})


def surface_cache(path: Path, **options: Any) -> Path:
    assert not build_cache(AnnotatedPeople(**options), path).failures
    return path


def write_fits(folder: Path, fit: FitRecord) -> Path:
    """A fit file for each image."""
    folder.mkdir()
    for name in NAMES:
        write_fit(folder / f"{name}{FIT_SUFFIX}", fit)
    return folder


def write_eval_data(folder: Path, parts: np.ndarray, uv: np.ndarray, index: np.ndarray, lower: np.ndarray) -> Path:
    """Files of DensePose's eval_data.

    parts, uv  of subdivided vertices, seams twice; index their numbers from 1; lower distances, see
               `SubdividedDistances`
    """
    folder.mkdir(exist_ok=True)
    named = {"Part_ID_subdiv": parts[None], "U_subdiv": uv[None, :, 0], "V_subdiv": uv[None, :, 1]}
    savemat(folder / "SMPL_subdiv.mat", named)
    savemat(folder / "SMPL_SUBDIV_TRANSFORM.mat", {"index": index[:, None].astype(np.float64)})
    with h5py.File(folder / "Pdist_matrix.mat", "w", userblock_size=512) as file:
        file["Pdist_matrix"] = lower[:, None].astype(np.float32)
    return folder
