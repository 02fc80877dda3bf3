"""Distances on surfaces: by the mesh's known geometry, and by DensePose's files as its evaluator looks them up."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.surface_people import write_eval_data
from scipy.io import savemat
from scipy.sparse.csgraph import dijkstra

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.evaluate.surface_distances import MeshDistances, mesh_graph, read_subdivided_distances
from humanpose_cli.models.deform_and_learn.correspondences import read_densepose_charts, texture_charts


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a flat square, all diagonals in one direction."""
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    index = np.arange(side * side).reshape(side, side)
    lower = np.stack((index[:-1, :-1], index[1:, :-1], index[:-1, 1:]), -1)
    upper = np.stack((index[1:, :-1], index[1:, 1:], index[:-1, 1:]), -1)
    return np.c_[at, np.zeros(len(at))], np.concatenate((lower.reshape(-1, 3), upper.reshape(-1, 3)))


def test_ways_cross_faces_along_both_diagonals() -> None:
    vertices, faces = grid(9)
    found = dijkstra(mesh_graph(vertices, faces), directed=False, indices=[0])[0]
    across, along = np.sort(vertices[:, :2], 1).T
    np.testing.assert_allclose(found, along - across + np.sqrt(2) * across)  # of steps to eight neighbours


def test_lines_beside_an_edge_are_no_ways() -> None:
    """Two faces that meet at a sharp corner: the line between their tips leaves them."""
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [3, 1, 0], [3, -1, 0]])
    found = dijkstra(mesh_graph(vertices, np.array([[0, 1, 2], [1, 0, 3]])), directed=False, indices=[2])[0]
    assert found[3] == pytest.approx(2 * np.sqrt(5))  # round vertex 1, not 2 across


def test_parts_that_nothing_connects_are_by_their_nearest_vertex() -> None:
    vertices, faces = grid(3)
    eye = np.array([[0.0, 0, 1], [0.5, 0, 1.5], [0, 0.5, 1.5]])
    joined = mesh_graph(np.concatenate((vertices, eye)), np.concatenate((faces, [[9, 10, 11]])))
    assert dijkstra(joined, directed=False, indices=[9])[0][0] == pytest.approx(1)


def test_points_of_the_default_body() -> None:
    body = default_body()
    charts = texture_charts(body)
    distances = MeshDistances(body, charts)
    rows = np.random.default_rng(0).choice(len(charts.charts), 12, replace=False)
    points = np.c_[charts.charts[rows], charts.uv[rows]]
    assert distances(points, points).max() < 0.03  # vertices may share a texel where the surface folds
    apart = distances(points, points[::-1].copy())
    np.testing.assert_allclose(apart, apart[::-1], rtol=1e-5)
    straight = np.linalg.norm(
        np.diff(body.template[charts.vertices[rows]].numpy()[[range(12), range(11, -1, -1)]], axis=0)[0], axis=1
    )
    assert (apart > straight - 0.03).all()
    unknown = points.copy()
    unknown[:6, 0], unknown[6:, 0] = 0, 30
    assert np.isinf(distances(unknown, points)).all()


def test_densepose_s_charts_name_the_corners_of_the_body_s_faces(tmp_path: Path) -> None:
    """A file whose faces are in another order, and turned, has the texture's charts."""
    body = default_body()
    charts = texture_charts(body)
    random = np.random.default_rng(0)
    faces = charts.faces.numpy()[random.permutation(len(charts.faces))]
    faces = np.take_along_axis(faces, random.permuted(np.tile(np.arange(3), (len(faces), 1)), axis=1), 1)
    of_face = charts.charts.numpy()[faces[:, 0]]
    stored = {"All_vertices": charts.vertices.numpy() + 1, "All_Faces": faces + 1, "All_FaceIndices": of_face}
    savemat(
        tmp_path / "uv.mat", {**stored, **{f"All_{axis}_norm": charts.uv.numpy()[:, n] for n, axis in enumerate("UV")}}
    )
    read = read_densepose_charts(tmp_path / "uv.mat", body)
    np.testing.assert_array_equal(read.vertices[read.faces], body.faces)
    np.testing.assert_allclose(read.uv[read.faces], charts.uv[charts.faces], atol=1e-6)


COUNT = 40


def files(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    stored = {
        "parts": np.arange(60) % 24 + 1,
        "uv": random.uniform(0, 1, (60, 2)),
        "index": np.concatenate((np.arange(COUNT), random.integers(0, COUNT, 20))) + 1,
        "lower": random.uniform(0, 2, COUNT * (COUNT - 1) // 2),
    }
    return write_eval_data(folder, *stored.values()), stored


def looked_up(first: int, second: int, lower: np.ndarray) -> float:
    """getDistances of densepose_cocoeval.py at 51fb9f1: numbers of vertices from 1 → their distance."""
    n, (j, i) = COUNT, sorted((first - 1, second - 1))
    if i == j:
        return 0.0
    i, j = n - i - 1, n - j - 1
    k = (n * (n - 1) / 2) - (n - i) * ((n - i) - 1) / 2 + j - i - 1
    return float(np.float32(lower[int((n * n - n) / 2 - k - 1)]))


@pytest.mark.parametrize("suffix", [".mat", ".pkl"])
def test_distances_of_densepose_s_files_are_looked_up_as_its_evaluator_does(tmp_path: Path, suffix: str) -> None:
    folder, stored = files(tmp_path)
    if suffix == ".pkl":
        (folder / "Pdist_matrix.mat").unlink()
        matrix = stored["lower"].astype(np.float32)[:, None]
        (folder / "Pdist_matrix.pkl").write_bytes(pickle.dumps({"Pdist_matrix": matrix}))
    distances = read_subdivided_distances(folder)
    assert distances.text == f"DensePose's Pdist_matrix{suffix} of 40 vertices"
    points = np.c_[stored["parts"], stored["uv"]]
    ends = np.random.default_rng(1).permutation(60)
    index = stored["index"]
    expected = [looked_up(index[a], index[b], stored["lower"]) for a, b in zip(range(60), ends, strict=True)]
    np.testing.assert_allclose(distances(points, points[ends]), expected, atol=1e-6)
    points[:, 0] = 0
    assert np.isinf(distances(points, points)).all()


def test_files_that_do_not_match_are_named(tmp_path: Path) -> None:
    folder, stored = files(tmp_path / "a")
    (folder / "Pdist_matrix.mat").unlink()
    with raises(InputError, subject="Pdist_matrix.pkl", problem="does not exist", expected="Pdist_matrix.mat or"):
        read_subdivided_distances(folder)
    for content, error in (
        ({"other": np.zeros(3)}, {"problem": "lacks Pdist_matrix"}),
        ({"Pdist_matrix": np.array([0.0, np.nan, 1])}, {"problem": "is damaged"}),
        ({"Pdist_matrix": np.zeros(4)}, {"expected": "distances of all pairs of vertices", "got": "4 numbers"}),
    ):
        (folder / "Pdist_matrix.pkl").write_bytes(pickle.dumps(content))
        with raises(InputError, subject="Pdist_matrix.pkl", **error):
            read_subdivided_distances(folder)
    transform, subdivision = "TRANSFORM.mat", "SMPL_subdiv.mat"
    changes: dict[str, tuple[np.ndarray, dict[str, str]]] = {
        "lower": (
            stored["lower"][:3],
            {"subject": transform, "problem": "does not match the distances", "expected": "vertices 1 to 3"},
        ),
        "index": (
            stored["index"][:5],
            {"subject": transform, "problem": f"does not match {subdivision}", "got": "5 for 60 vertices"},
        ),
        "parts": (
            stored["parts"] + 1,
            {"subject": subdivision, "problem": "has unknown parts", "expected": "0 to 24", "got": "2 to 25"},
        ),
    }
    for name, (value, error) in changes.items():
        write_eval_data(folder, *{**stored, name: value}.values())
        with raises(InputError, **error):
            read_subdivided_distances(folder)
