"""Charts: a vertex is found from its own position, in its own chart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from scipy.io import savemat

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.models.deform_and_learn.correspondences import (
    NearestVertices,
    SurfaceCharts,
    read_densepose_charts,
    texture_charts,
)


def test_vertices_of_the_default_body_are_found_from_their_charts() -> None:
    body = default_body()
    charts = texture_charts(body)
    found, valid = NearestVertices(charts)(charts.charts, charts.uv)
    assert valid.all()
    at = body.template[found] - body.template[charts.vertices]
    assert at.norm(dim=1).max() < 0.02  # vertices may share a texel where the surface folds
    assert (found == charts.vertices).float().mean() > 0.99
    hands = charts.vertices[charts.charts == 1 + SMPL24.index("left_hand")]
    assert body.template[hands, 0].min() > 0.3


def test_nearest_is_within_the_chart() -> None:
    uv = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    charts = SurfaceCharts(torch.tensor([1, 1, 2]), uv, torch.arange(3), torch.zeros(0, 3, dtype=torch.long))
    found, valid = NearestVertices(charts)(
        torch.tensor([[1, 1, 2, 3]]), torch.tensor([[[0.4, 0.5], [0.6, 0.6], [0, 0], [0, 0]]])
    )
    assert found[0, :3].tolist() == [0, 1, 2]
    assert valid.tolist() == [[True, True, True, False]]


def densepose_file(path: Path, **changes: object) -> Path:
    stored = {
        "All_vertices": np.array([[5, 6, 7, 6]]),
        "All_Faces": np.array([[1, 2, 3], [4, 3, 1]]),
        "All_FaceIndices": np.array([[2], [2]]),
        "All_U_norm": np.array([[0.1], [0.2], [0.3], [0.4]]),
        "All_V_norm": np.array([[0.5], [0.6], [0.7], [0.8]]),
    }
    savemat(path, {name: value for name, value in {**stored, **changes}.items() if value is not None})
    return path


def test_densepose_file_counts_from_one(tmp_path: Path) -> None:
    charts = read_densepose_charts(densepose_file(tmp_path / "uv.mat"), default_body())
    assert charts.vertices.tolist() == [4, 5, 6, 5]
    assert charts.charts.tolist() == [2, 2, 2, 2]
    assert torch.allclose(charts.uv[3], torch.tensor([0.4, 0.8]))


@pytest.mark.parametrize("changes", [{"All_U_norm": None}, {"All_Faces": np.array([[1, 2, 9], [1, 2, 3]])}])
def test_other_files_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        read_densepose_charts(densepose_file(tmp_path / "uv.mat", **changes), default_body())


def test_a_text_is_no_charts(tmp_path: Path) -> None:
    path = tmp_path / "uv.mat"
    path.write_text("no charts")
    with raises(InputError, problem="no readable MATLAB file"):
        read_densepose_charts(path, default_body())
