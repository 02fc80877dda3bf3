"""Surface points of images: DensePose's output and annotations give the same columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from helpers.dataset_files import write_dump
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.registering import SurfacePointFile, _points_of_bodies


def test_arrays_of_charts(tmp_path: Path) -> None:
    iuv = np.zeros((4, 6, 3), np.uint8)
    iuv[2, 5] = 3, 51, 255
    np.savez(tmp_path / "a_IUV.npz", iuv=iuv)
    found = SurfacePointFile(tmp_path).points("a.jpg", (6, 4))
    np.testing.assert_allclose(found, [[5.5, 2.5, 3, 0.2, 1.0, -1]])
    with raises(InputError, problem="nothing about b.jpg", expected="b_IUV.png", remedy="run DensePose"):
        SurfacePointFile(tmp_path).points("b.jpg", (6, 4))


def test_annotations(tmp_path: Path) -> None:
    person = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 128, 256], "keypoints": [0] * 51, "num_keypoints": 0}
    person |= {"dp_x": [128.0], "dp_y": [64.0], "dp_I": [7.0], "dp_U": [0.25], "dp_V": [0.5], "dp_masks": []}
    names = ["nose", *(f"{s}_{n}" for n in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
                       for s in ("left", "right"))]  # fmt: skip
    document = {
        "images": [{"id": 1, "file_name": "val/a.jpg", "width": 300, "height": 400}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    path = tmp_path / "densepose.json"
    path.write_text(json.dumps(document))
    file = SurfacePointFile(path)
    np.testing.assert_allclose(file.points("a.jpg", (300, 400)), [[74.0, 84.0, 7, 0.25, 0.5, 0]])
    with raises(InputError, problem="b.jpg"):
        file.points("b.jpg", (300, 400))


def test_dumps_number_the_people_of_pixels(tmp_path: Path) -> None:
    """Of pixels of both, the more confident person's."""
    results = [(torch.full((2, 3), chart, dtype=torch.int64), torch.full((2, 2, 3), 0.2)) for chart in (4, 7)]
    boxes = torch.tensor([[0.0, 0.0, 3.0, 2.0], [2.0, 1.0, 5.0, 3.0]])
    entry = {"file_name": "x/a.jpg", "scores": torch.tensor([0.6, 0.9]), "pred_boxes_XYXY": boxes, "results": results}
    points = SurfacePointFile(write_dump(tmp_path / "d.pkl", [entry])).points("a.jpg", (8, 4))
    assert len(points) == 11
    assert {(chart, owner) for chart, owner in points[:, [2, 5]].tolist()} == {(4, 1), (7, 0)}
    assert points[(points[:, :2] == 2.5).all(1) | (points[:, :2] == [2.5, 1.5]).all(1), 5].tolist() == [0, 0]


def test_a_body_takes_the_pixels_of_one_person() -> None:
    """Also where boxes overlap; a body that no person was found for takes none; unnumbered pixels are by the box."""
    boxes = np.array([[0.0, 0.0, 10.0, 20.0], [5.0, 0.0, 15.0, 20.0], [40.0, 0.0, 60.0, 20.0]])
    x = np.array([1.0, 9.0, 5.0, 14.0, 7.0, 50.0])
    points = np.zeros((6, 6))
    points[:, 0], points[:, 1], points[:, 5] = x, [1, 19, 1, 19, 9, 9], [3, 3, 1, 1, -1, 8]
    belongs = _points_of_bodies(boxes[:2], points)
    assert belongs.tolist() == [[True, True, False, False, True, False], [False, False, True, True, True, False]]
    assert not _points_of_bodies(boxes[2:], points[:4]).any()
    assert _points_of_bodies(boxes, np.zeros((0, 6))).shape == (3, 0)
    alone = points[:2]
    assert _points_of_bodies(boxes[:2], alone).tolist() == [[True, True], [False, False]]
