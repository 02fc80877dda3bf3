"""Surface points of images: DensePose's output and annotations give the same columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.refining.correspondences import SurfacePointFile


def test_arrays_of_charts(tmp_path: Path) -> None:
    iuv = np.zeros((4, 6, 3), np.uint8)
    iuv[2, 5] = 3, 51, 255
    np.savez(tmp_path / "a_IUV.npz", iuv=iuv)
    found = SurfacePointFile(tmp_path).points("a.jpg", (6, 4))
    np.testing.assert_allclose(found, [[5.5, 2.5, 3, 0.2, 1.0]])
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
    np.testing.assert_allclose(file.points("a.jpg", (300, 400)), [[74.0, 84.0, 7, 0.25, 0.5]])
    with raises(InputError, problem="b.jpg"):
        file.points("b.jpg", (300, 400))
