"""Convert positions in charts of the surface to points of a body: the nearest vertex in UV in the chart (section 6.1).

The meaning of a chart depends on the body. DensePose's 24 charts are defined for SMPL's vertices by its UV file
(`read_densepose_charts`). Other bodies have no such file. The default body's charts come from its texture: chart
1 + k is SMPL24's part k, and U and V are the texture's. Charts of one kind do not apply to another kind of surface.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.mat_files import read_mat

Array = NDArray[Any]
_FAR = 4.0  # between charts, as a third coordinate of UV: more than any distance within one


class SurfaceCharts(NamedTuple):
    """The positions of a body's vertices in charts. A vertex on a seam has several.

    Attributes:
        charts: (C,) int64, from 1. The chart of each position.
        uv: (C, 2) float, 0 to 1. The position in the chart.
        vertices: (C,) int64. The vertex of the body.
        faces: (F, 3) int64. The rows of these arrays at the corners of each face of the body, −1 for a face without a
            chart.
    """

    charts: Tensor
    uv: Tensor
    vertices: Tensor
    faces: Tensor


def texture_charts(body: Body) -> SurfaceCharts:
    """Return the charts of a body's own texture: 1 + the part of the surrounding faces, with the texture's U and V."""
    faces, uv_faces = body.faces.long().cpu(), body.uv_faces.long().cpu()
    # The part that most corners of a face have, as the texture's charts were cut.
    part = body.part_labels.long().cpu()[faces].median(1).values
    vertices = torch.zeros(len(body.uv), dtype=torch.long)
    charts = torch.zeros(len(body.uv), dtype=torch.long)
    for corner in range(3):
        vertices[uv_faces[:, corner]] = faces[:, corner]
        charts[uv_faces[:, corner]] = 1 + part
    has_chart = charts > 0
    faces = (has_chart.cumsum(0) - 1)[uv_faces]
    return SurfaceCharts(charts[has_chart], body.uv.cpu()[has_chart], vertices[has_chart], faces)


def read_densepose_charts(path: Path, body: Body) -> SurfaceCharts:
    """Read the charts of SMPL's surface from DensePose's file UV_Processed.mat.

    Args:
        path: The file.
        body: A body with SMPL's vertices.

    Raises:
        InputError: If it is another file, or damaged.
        UsageError: If the body does not have SMPL's vertices.
    """
    names = ("All_vertices", "All_Faces", "All_FaceIndices", "All_U_norm", "All_V_norm")
    arrays = read_mat(path, names)
    vertices, faces, face_charts, u, v = (arrays[name] for name in names)
    if any(array.dtype.kind not in "fiu" or not array.size for array in arrays.values()):
        raise InputError(path, "is damaged", expected="numbers, as in DensePose's UV_Processed.mat")
    vertices = vertices.ravel().astype(np.int64) - 1
    faces = faces.astype(np.int64) - 1
    face_charts = face_charts.ravel()
    uv = np.stack((u.ravel(), v.ravel()), 1).astype(np.float32)
    is_consistent = faces.ndim == 2 and len(faces) == len(face_charts) and len(uv) == len(vertices)
    if not is_consistent or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(path, "is damaged", got=f"{len(vertices)} vertices, {len(faces)} faces")
    if vertices.min() < 0 or vertices.max() >= len(body.template):
        raise UsageError("body", "has not the vertices of the charts", expected="smpl:FILE", got=body.name)
    charts = np.zeros(len(vertices), np.int64)
    charts[faces] = face_charts[:, None].astype(np.int64)
    has_chart = charts > 0
    rows = _faces_of(body, vertices, faces)
    rows = np.where(rows < 0, -1, (np.cumsum(has_chart) - 1)[rows])
    columns = (charts[has_chart], uv[has_chart], vertices[has_chart], rows)
    return SurfaceCharts._make(torch.from_numpy(np.ascontiguousarray(values)) for values in columns)


def _faces_of(body: Body, vertices: Array, faces: Array) -> Array:
    """Return the rows (F, 3) of `vertices` (C,) at the corners of the body's faces, −1 if there is no such face."""
    # `faces` (K, 3) hold rows of `vertices`; a face may list its corners in another order than the body.
    body_corners, chart_corners = body.faces.long().cpu().numpy(), vertices[faces]
    count = len(body.template)

    def keys(corners: Array) -> Array:
        low, middle, high = np.sort(corners, 1).T
        return np.asarray((low * count + middle) * count + high)

    order = np.argsort(keys(chart_corners))
    sorted_keys = keys(chart_corners)[order]
    position = np.searchsorted(sorted_keys, keys(body_corners)).clip(max=len(order) - 1)
    nearest = order[position]
    by_vertex = np.take_along_axis(faces[nearest], np.argsort(chart_corners[nearest], 1), 1)
    rank = np.argsort(np.argsort(body_corners, 1), 1)
    matches = sorted_keys[position] == keys(body_corners)
    return np.where(matches[:, None], np.take_along_axis(by_vertex, rank, 1), -1)


class NearestVertices:
    """A search for the vertex that is nearest in UV to a position, in the same chart."""

    def __init__(self, charts: SurfaceCharts) -> None:
        self._vertices = charts.vertices
        self._charts = torch.unique(charts.charts)
        self._tree = cKDTree(torch.cat((charts.uv, _FAR * charts.charts[:, None]), 1).double().numpy())

    def __call__(self, charts: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nearest vertices.

        Args:
            charts: (...) integer. The chart of each position.
            uv: (..., 2) float, 0 to 1. The positions.

        Returns:
            (...) int64, the vertices, and (...) bool, whether the body has that chart.
        """
        is_in_body = torch.isin(charts.long(), self._charts)
        query = torch.cat((uv.double(), _FAR * charts[..., None].double()), -1)
        _, rows = self._tree.query(query.reshape(-1, 3).numpy())
        return self._vertices[torch.from_numpy(np.asarray(rows)).reshape(charts.shape)], is_in_body
