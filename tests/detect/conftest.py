"""Images with known people, and detectors that are started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import skimage.data
import torch
from helpers.remembered_networks import RememberedNetworks

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.shading import draw_people, render_people
from humanpose_cli.rendering.surfaces import Surface


class Rendered(NamedTuple):
    """A rendered person: image (H, W, 3) uint8, mask (H, W) bool, landmarks (33, 2) pixels and (33, 3) metres."""

    image: np.ndarray
    mask: np.ndarray
    points: np.ndarray
    world: np.ndarray


@pytest.fixture(scope="module", autouse=True)
def real_networks(remembered_networks: RememberedNetworks) -> Iterator[None]:
    with remembered_networks.removed():
        yield


@pytest.fixture(scope="session")
def thorough() -> Iterator[PersonDetector]:
    with PersonDetector("thorough", threads=2) as detector:
        yield detector


@pytest.fixture(scope="session")
def fast() -> Iterator[PersonDetector]:
    with PersonDetector("fast", threads=2) as detector:
        yield detector


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def astronaut_found(fast: PersonDetector, astronaut: np.ndarray) -> DetectedPerson:
    people = fast.detect(astronaut)
    assert len(people) == 1
    return people[0]


@pytest.fixture(scope="session")
def rendered() -> Rendered:
    """The default body before the camera, facing it: left arm stretched out, right arm hanging, right knee forward."""
    body = default_body()
    turns = torch.zeros(1, len(SMPL24), 3)
    turns[0, SMPL24.index("right_shoulder")] = torch.tensor([0.0, 0.0, 1.2])
    turns[0, SMPL24.index("right_hip")] = torch.tensor([-0.9, 0.0, 0.0])
    turns[0, SMPL24.index("right_knee")] = torch.tensor([1.2, 0.0, 0.0])
    rotations = axis_angle_to_matrix(turns)
    rotations[0, SMPL24.index("pelvis")] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    betas, trans = torch.zeros(1, body.shape_count), torch.tensor([[0.1, -0.05, 4.0]])
    posed = body.pose(rotations, betas, trans)
    assert posed.vertices is not None
    view = Camera(1000.0, (360.0, 320.0), (720, 640))
    surfaces = [Surface(posed.vertices[0], body.faces, (0.75, 0.6, 0.5))]
    landmarks = body.pose_landmarks("blazepose33", posed, betas)[0].numpy()
    y, x = np.mgrid[:640, :720]
    image = np.stack([90 + 40 * np.sin(x / 90), 110 + 30 * np.cos(y / 70), 120 + 0 * x], -1).round().astype(np.uint8)
    draw_people(image, surfaces, view)
    points = landmarks[:, :2] / landmarks[:, 2:] * view.focal + view.principal_point
    return Rendered(image, render_people(surfaces, view)[..., 3] > 128, points, landmarks)


@pytest.fixture(scope="session")
def rendered_found(fast: PersonDetector, rendered: Rendered) -> DetectedPerson:
    (person,) = fast.detect(rendered.image)
    return person
