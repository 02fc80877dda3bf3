"""MoveNet's decoding against the original graphs, run op by op with tools/graph_model.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.movenet import multi_pose, single_pose
from humanpose_cli.detect.regions import Pyramid, Region, propose_by_multipose, windows_over
from humanpose_cli.detect.search import SCHEMES, multipose_views

RECORDED = Path(__file__).parent / "data" / "movenet.npz"


@pytest.mark.slow
def test_thunders_joints_are_those_of_its_graph(astronaut: np.ndarray) -> None:
    small = astronaut[::2, ::2]
    crops = np.stack([small, astronaut[:256, 96:352], astronaut[::2, ::-2], small.transpose(1, 0, 2)])
    expected = np.load(RECORDED)["thunder"]  # y, x in shares of the side, score
    joints = single_pose(crops)
    np.testing.assert_allclose(joints[..., :2], expected[..., 1::-1] * 256, atol=1e-3)
    np.testing.assert_allclose(joints[..., 2], expected[..., 2], atol=1e-4)
    np.testing.assert_allclose(single_pose(crops[1:2])[0], joints[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two", "large"])
def test_multiposes_people_are_those_of_its_graph(astronaut: np.ndarray, name: str) -> None:
    small = astronaut[::2, ::2]
    image = np.concatenate([small, astronaut[::2, ::-2]], axis=1) if name == "two" else astronaut
    height, width = image.shape[:2]
    expected = np.load(RECORDED)[name]  # 17 joints (y, x, score), y0 x0 y1 x1, score
    (people,) = multi_pose(image[None])
    joints = expected[:, :51].reshape(-1, 17, 3)
    np.testing.assert_allclose(people.joints[..., :2], joints[..., 1::-1] * [width, height], atol=1e-3)
    np.testing.assert_allclose(people.joints[..., 2], joints[..., 2], atol=1e-4)
    boxes = expected[:, [52, 51, 54, 53]] * [width, height, width, height]
    np.testing.assert_allclose(people.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(people.scores, expected[:, 55], atol=1e-4)


@pytest.mark.slow
def test_multipose_proposes_each_of_two_people_where_they_are(rendered) -> None:
    """Two copies side by side; a proposal's region is centred at the hips and reaches around the body."""
    image = np.concatenate([rendered.image, rendered.image[:, ::-1]], axis=1)
    with ModelPool(1) as pool:
        pyramid = Pyramid(image)
        (window,) = windows_over(pyramid.width, pyramid.height, (1.0,))
        right = Region(image.shape[1] * 3 / 4, image.shape[0] / 2, image.shape[1] / 2)
        proposals = propose_by_multipose(pool, pyramid, [(window, 256), (window, 512), (right, 512)])
    assert {p.window for p in proposals} <= {0, 1, 2}
    assert all(p.multipose and p.region.x > image.shape[1] / 2 for p in proposals if p.window == 2)
    assert any(p.window == 2 for p in proposals)
    hips = rendered.points[BLAZEPOSE33.indices(["left_hip", "right_hip"])].mean(0)
    size = np.ptp(rendered.points[:, 1])
    for x in (hips[0], image.shape[1] - hips[0]):
        near = [p for p in proposals if np.hypot(p.region.x - x, p.region.y - hips[1]) < 0.1 * size]
        assert near
        assert all(abs(p.region.angle) < 0.3 and size < p.region.side < 2.2 * size for p in near)


@pytest.mark.slow
def test_multipose_proposes_no_person_in_a_wall() -> None:
    wall = np.repeat(skimage.data.brick()[..., None], 3, axis=2)
    pyramid = Pyramid(wall)
    with ModelPool(1) as pool:
        assert propose_by_multipose(pool, pyramid, multipose_views(pyramid, SCHEMES["thorough"])) == []
