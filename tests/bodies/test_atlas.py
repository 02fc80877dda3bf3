"""The atlas for bodies without texture coordinates, on the default body's T pose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.bodies.texture import part_atlas
from humanpose_cli.conventions import SMPL24

Atlas = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def atlas(body: RiggedBody) -> Atlas:
    """uv (T, 2), uv_faces (F, 3), posed corners (F, 3, 3), face labels (F,)."""
    posed = body.pose(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    assert posed.vertices is not None
    vertices, joints = posed.vertices[0].double().numpy(), posed.joints[0].double().numpy()
    faces, labels = body.faces.numpy(), body.part_labels.numpy()
    uv, uv_faces = part_atlas(vertices, faces, labels, joints)
    return uv, uv_faces, vertices[faces], labels[faces]


def doubled_areas(triangles: np.ndarray) -> np.ndarray:
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def test_every_triangle_has_a_place(atlas: Atlas) -> None:
    uv, uv_faces, corners, _ = atlas
    assert uv_faces.shape == (len(corners), 3)
    assert np.unique(uv_faces).size == len(uv)
    assert uv.min() > 0
    assert uv.max() < 1


def test_texture_vertices_are_copied_only_at_seams(atlas: Atlas) -> None:
    uv, _, _, _ = atlas
    assert len(uv) < 1.4 * 13718


def test_resolution_is_even(atlas: Atlas) -> None:
    uv, uv_faces, corners, labels = atlas
    in_texture = doubled_areas(uv[uv_faces])
    on_body = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    limbs = np.isin(labels[:, 0], SMPL24.indices(("left_hip", "right_knee", "left_elbow", "spine2")))
    ratio = in_texture[limbs] / on_body[limbs]
    low, middle, high = np.quantile(ratio, (0.05, 0.5, 0.95))
    assert low > 0.4 * middle
    assert high < 2.0 * middle


def test_charts_of_different_parts_do_not_overlap(atlas: Atlas) -> None:
    """Centres of triangles fall into a fine grid in which no cell belongs to two far parts of the body."""
    uv, uv_faces, corners, _ = atlas
    cells = np.floor(uv[uv_faces].mean(1) * 400).astype(int)
    centres = corners.mean(1)
    order = np.lexsort(cells.T)
    same = (np.diff(cells[order], axis=0) == 0).all(1)
    apart = np.linalg.norm(np.diff(centres[order], axis=0), axis=1)[same]
    assert (apart < 0.3).all()
    assert np.quantile(apart, 0.9) < 0.05
