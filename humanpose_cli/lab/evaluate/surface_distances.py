"""Geodesic distances between points of a body's surface that are known by chart, U and V.

DensePose's evaluator (facebookresearch/DensePose at 51fb9f1, densepose_cocoeval.py; detectron2's reads the same files)
takes for each point the vertex of SMPL's mesh, subdivided once, that is nearest in UV within its chart, and looks the
distance of two of these 27,554 vertices up: `SubdividedDistances`. Without its files, distances are those of the
nearest vertices along a body's own mesh (`MeshDistances`), which are coarser and not DensePose's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import DENSEPOSE_CHARTS
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import existing_file
from humanpose_cli.io.mat_files import read_mat, read_mat73
from humanpose_cli.io.restricted_pickle import as_array, read_pickle
from humanpose_cli.models.deform_and_learn.correspondences import NearestVertices, SurfaceCharts

Array = NDArray[Any]
Floats = NDArray[np.float64]


class SurfaceDistances(Protocol):
    """Distances on a surface. text  how they are known, for reports."""

    text: str

    def __call__(self, points: Array, others: Array) -> Floats:
        """Measure metres (M,) between points (M, 3) and others (M, 3), each chart, U and V; inf if one is in no
        chart.
        """


class MeshDistances:
    """Distances of the nearest vertices along the resting body's mesh: `SurfaceDistances`."""

    def __init__(self, body: Body, charts: SurfaceCharts) -> None:
        self.text = f"along the mesh of {body.name}, which are not DensePose's"
        self._nearest = NearestVertices(charts)
        self._graph = mesh_graph(body.template.cpu().numpy(), body.faces.cpu().numpy())
        self._rows: dict[int, NDArray[np.float32]] = {}

    def __call__(self, points: Array, others: Array) -> Floats:
        (vertices, in_chart), (ends, ends_charted) = (_nearest(self._nearest, some) for some in (points, others))
        new = [vertex for vertex in np.unique(ends[ends_charted]).tolist() if vertex not in self._rows]
        if new:
            rows = dijkstra(self._graph, directed=False, indices=new).astype(np.float32)
            self._rows |= dict(zip(new, rows, strict=True))
        distances = np.full(len(points), np.inf)
        for row in np.flatnonzero(in_chart & ends_charted):
            distances[row] = self._rows[int(ends[row])][vertices[row]]
        return distances


class SubdividedDistances:
    """Distances by the owners' files: `SurfaceDistances`.

    nearest  of the subdivided vertices, by their number among those that distances are of
    lower    (N (N − 1) / 2,) metres: of vertices i > j at i (i − 1) / 2 + j
    """

    def __init__(self, nearest: NearestVertices, lower: Array, text: str) -> None:
        self.text, self._nearest, self._lower = text, nearest, lower

    def __call__(self, points: Array, others: Array) -> Floats:
        (first, in_chart), (second, others_charted) = (_nearest(self._nearest, some) for some in (points, others))
        high, low = np.maximum(first, second), np.minimum(first, second)
        apart = np.zeros(len(first))
        different = high > low
        apart[different] = self._lower[(high * (high - 1) // 2 + low)[different]]
        return np.where(in_chart & others_charted, apart, np.inf)


_FILES = ("SMPL_subdiv.mat", "SMPL_SUBDIV_TRANSFORM.mat")
_MATRIX = "Pdist_matrix"


def read_subdivided_distances(folder: Path) -> SubdividedDistances:
    """Read DensePose's `eval_data`: SMPL_subdiv.mat, SMPL_SUBDIV_TRANSFORM.mat, and Pdist_matrix.mat or .pkl.

    The matrix takes 1.5 GB of memory. InputError for files that are missing, damaged or do not match.
    """
    chart_file, transform = (existing_file(folder / name, "a file of DensePose's eval_data") for name in _FILES)
    names = ("Part_ID_subdiv", "U_subdiv", "V_subdiv")
    parts, u, v = (_numbers(chart_file, values) for values in read_mat(chart_file, names).values())
    numbers = _numbers(transform, read_mat(transform, ("index",))["index"])
    if parts.min() < 0 or parts.max() > DENSEPOSE_CHARTS:
        got = f"{parts.min():g} to {parts.max():g}"
        raise InputError(chart_file, "has unknown parts", expected=f"0 to {DENSEPOSE_CHARTS}", got=got)
    if not len(parts) == len(u) == len(v) == len(numbers):
        problem, got = "does not match SMPL_subdiv.mat", f"{len(numbers)} for {len(parts)} vertices"
        raise InputError(transform, problem, expected="one number a vertex", got=got)
    path = folder / f"{_MATRIX}.mat"
    if path.exists():
        lower = _numbers(path, read_mat73(path, _MATRIX))
    else:
        path = existing_file(folder / f"{_MATRIX}.pkl", "Pdist_matrix.mat or Pdist_matrix.pkl of DensePose's eval_data")
        content = read_pickle(path)
        try:
            lower = _numbers(path, as_array(content[_MATRIX] if isinstance(content, dict) else content))
        except (KeyError, ValueError) as error:
            raise InputError(path, f"lacks {_MATRIX}", expected="numbers of that name") from error
    count = round((1 + (1 + 8 * len(lower)) ** 0.5) / 2)
    if count * (count - 1) // 2 != len(lower):
        raise InputError(path, "is damaged", expected="distances of all pairs of vertices", got=f"{len(lower)} numbers")
    if numbers.min() < 1 or numbers.max() > count or (numbers != np.rint(numbers)).any():
        got = f"{numbers.min():g} to {numbers.max():g}"
        raise InputError(transform, "does not match the distances", expected=f"vertices 1 to {count}", got=got)
    charts = SurfaceCharts(
        charts=torch.from_numpy(parts.astype(np.int64)),
        uv=torch.from_numpy(np.stack((u, v), 1).astype(np.float64)),
        vertices=torch.from_numpy(numbers.astype(np.int64) - 1),
        faces=torch.zeros((0, 3), dtype=torch.int64),  # not needed
    )
    nearest = NearestVertices(charts)
    return SubdividedDistances(nearest, lower, f"DensePose's {path.name} of {count} vertices")


def mesh_graph(vertices: Array, faces: Array) -> csr_matrix:
    """Return lengths (V, V) of a mesh's edges, and of the straight lines between the vertices on both sides of an edge,
    in its two faces laid flat, if these cross the edge: the shortest ways along it err less than those of edges alone.
    Vertices that no edge connects with most others, such as those of eyes, are connected with the nearest of these.
    """
    corners = np.concatenate([np.roll(faces, -turn, 1) for turn in range(3)]).astype(np.int64)
    edges, opposite = np.sort(corners[:, :2], 1), corners[:, 2]
    order = np.lexsort(edges.T)
    edges, opposite = edges[order], opposite[order]
    points = vertices.astype(np.float64)
    start, along = points[edges[:, 0]], points[edges[:, 1]] - points[edges[:, 0]]
    length = np.linalg.norm(along, axis=1)
    beside = points[opposite] - start
    x = (beside * along).sum(1) / np.maximum(length, 1e-12)
    y = np.sqrt(np.maximum((beside**2).sum(1) - x**2, 0))
    first = np.flatnonzero((edges[1:] == edges[:-1]).all(1))  # and the next one is the same edge in another face
    second = first + 1
    crossing = (x[first] * y[second] + x[second] * y[first]) / np.maximum(y[first] + y[second], 1e-12)
    flat = (crossing >= 0) & (crossing <= length[first])
    lines = np.stack((opposite[first], opposite[second]), 1)[flat]
    lengths = np.hypot(x[first] - x[second], y[first] + y[second])[flat]
    pairs = np.concatenate((edges, np.sort(lines, 1)))
    values = np.concatenate((length, lengths))
    order = np.lexsort((values, pairs[:, 1], pairs[:, 0]))
    _, unique = np.unique(pairs[order], axis=0, return_index=True)  # the shortest of each pair
    pairs, values = pairs[order[unique]], values[order[unique]]
    _, parts = connected_components(_graph(pairs, values, len(points)), directed=False)
    main = parts == np.bincount(parts).argmax()
    apart, nearest = cKDTree(points[main]).query(points[~main])
    bridges = np.sort(np.stack((np.flatnonzero(~main), np.flatnonzero(main)[nearest]), 1), 1)
    return _graph(np.concatenate((pairs, bridges)), np.concatenate((values, apart)), len(points))


def _graph(pairs: Array, values: Array, count: int) -> csr_matrix:
    return csr_matrix((values, tuple(pairs.T)), shape=(count, count))


def _nearest(nearest: NearestVertices, points: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the vertices (M,) of points (M, 3), and which points are in a chart (M,)."""
    values = torch.from_numpy(np.array(points, np.float64))
    vertices, in_chart = nearest(values[:, 0].long(), values[:, 1:])
    return vertices.numpy(), in_chart.numpy()


def _numbers(path: Path, values: Array) -> Array:
    """Flatten numbers. Raises InputError for anything but finite numbers."""
    flat = values.ravel()
    if values.dtype.kind not in "fiu" or not values.size or not np.isfinite((flat.min(), flat.max())).all():
        raise InputError(path, "is damaged", expected="numbers, as in DensePose's eval_data")
    return flat
