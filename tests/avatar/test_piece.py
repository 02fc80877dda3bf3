"""Tops over trousers as pieces of the body's surface: where they end, and what is below them and behind."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, pose
from helpers.skirts import APART, GREEN, Photo, green, reposer_of

from humanpose_cli.avatar.garment_labels import GarmentLabels
from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.piece import top_edges
from humanpose_cli.avatar.stages import PhotographedPerson, align, dress
from humanpose_cli.core.conventions import GARMENTS, SMPL24

pytestmark = pytest.mark.slow
WHITE = (230, 230, 225)
HEM = 0.04  # metres below the hip joints
ROTATIONS = pose(**STANDING, **APART)


@dataclass
class PaintedLabels:
    """Garments of a painted photograph, by its colours; a share of those of the shirt is wrong."""

    image: np.ndarray
    below: str = "trousers"
    wrong: float = 0.0

    def in_image(self, size: tuple[int, int]) -> np.ndarray:
        result = np.full(size[::-1], 1 + GARMENTS.index("skin"), np.uint8)
        for name, colour in (("upper", GREEN), (self.below, WHITE)):
            result[(np.abs(self.image.astype(int) - colour) < 12).all(2)] = 1 + GARMENTS.index(name)
        wrong = np.random.default_rng(0).random(result.shape) < self.wrong
        result[wrong & (result == 1 + GARMENTS.index("upper"))] = 1 + GARMENTS.index("trousers")
        return result

    def closed(self, legs: np.ndarray, mask: np.ndarray) -> float:
        return 0.0


def in_a_shirt(stage: Stage, slope: float = 0.0) -> tuple[float, Photo]:
    """The row of a hem in the middle, and somebody in a green shirt over white trousers."""
    photo, mask = stage.person(ROTATIONS)
    joints = stage.body.pose(ROTATIONS[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    neck, hip = stage.view.project(joints[SMPL24.indices(("neck", "left_hip"))])[:, 1].tolist()
    middle = hip + HEM * stage.view.focal / float(stage.trans[2])
    row = np.arange(len(photo))[:, None]
    hem = middle + slope * (np.arange(photo.shape[1]) - stage.view.principal_point[0])
    photo[(mask > 0.5) & (row > neck) & (row < hem)] = GREEN
    photo[(mask > 0.5) & (row >= hem)] = WHITE
    return middle, (photo, mask)


@pytest.fixture(scope="module")
def shirted(stage: Stage) -> tuple[float, MeshReposer]:
    row, photo = in_a_shirt(stage)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GarmentLabels, "of_mask", lambda image, mask: PaintedLabels(image))
        return row, reposer_of(stage, photo, ROTATIONS)


def test_a_shirt_ends_where_the_photo_has_its_hem(stage: Stage, shirted: tuple[float, MeshReposer]) -> None:
    row, reposer = shirted
    (shirt,) = reposer.person.avatar.dressed.garments
    points = shirt.pose(reposer.person.body.posed(*reposer.person.pose[:2]))
    lowest = float(stage.view.project(points)[:, 1].topk(20).values.mean())
    assert abs(lowest - row) * float(stage.trans[2]) / stage.view.focal < 0.03
    drawn, mask = reposer.render(ROTATIONS).image[..., 3] > 128, stage.person(ROTATIONS)[1] > 0.5
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.93


def test_behind_too_the_shirt_has_its_colours_down_to_the_hem(stage: Stage, shirted: tuple[float, MeshReposer]) -> None:
    row, reposer = shirted
    shown = green(reposer.render(pose(np.pi, **STANDING, **APART)).image)
    assert shown[int(row) - 50 : int(row) - 5, 120:150].mean() > 0.95
    assert shown[int(row) + 8 :].mean() < 0.001


def test_trousers_go_on_below_the_shirt(shirted: tuple[float, MeshReposer]) -> None:
    """The body's texture is that of trousers where the shirt covers their upper edge."""
    dressed = shirted[1].person.avatar.dressed
    faces, uv_faces = (part.numpy() for part in dressed.visible_faces)
    assert 0.1 < dressed.hidden.mean() < 0.6
    body, image = dressed.body.body, shirted[1].person.texture.image
    x, y, _ = dressed.body.rest().numpy().T
    y = y - dressed.garments[0].vertices[:, 1].min()

    def colours(faces: np.ndarray, uv_faces: np.ndarray, low: float, high: float) -> np.ndarray:
        columns, rows = (
            body.uv.numpy()[uv_faces[((np.abs(x) < 0.2) & (y > low) & (y < high))[faces].all(1)]].mean(1) * len(image)
        ).T
        return np.asarray(image[rows.astype(int), columns.astype(int), :3])

    below = colours(faces, uv_faces, 0, 0.03)
    assert len(below) > 20
    assert np.median(np.ptp(below, axis=1)) < 0.1  # no green
    hidden = colours(body.faces.numpy(), body.uv_faces.numpy(), 0.1, 0.3)
    assert np.median(hidden[:, 1] - hidden[:, 0]) > 0.3  # the texture alone has the shirt


@pytest.mark.parametrize(
    ("slope", "labels"),
    [(0.0, {}), (0.0, {"below": "skin"}), (0.0, {"below": "hanging"}), (0.0, {"wrong": 0.5}), (0.5, {})],
    ids=["shirt", "bare legs", "skirt", "unclear labels", "open coat"],
)
def test_only_a_clear_hem_over_trousers_is_cut(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, slope: float, labels: dict[str, Any]
) -> None:
    photo, mask = in_a_shirt(stage, slope)[1]
    aligned = align(PhotographedPerson.of(photo, mask, stage.fitted(ROTATIONS)), stage.body)
    monkeypatch.setattr(GarmentLabels, "of_mask", lambda image, mask: PaintedLabels(image, **labels))
    found = top_edges(aligned.skirt_photo, aligned.reliable_faces)
    assert (found is not None) == (not slope and not labels)
    if found is not None:
        assert dress(aligned, MeshOptions(wears="none")).top is None
