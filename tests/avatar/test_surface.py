"""Fields on surfaces: areas, smoothness, independence of the triangulation."""

import numpy as np
import pytest

from humanpose_cli.avatar.surface import SurfaceOperator

trimesh = pytest.importorskip("trimesh")


def sphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions, 1.0)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64)


def test_areas_add_up_and_constants_cost_nothing() -> None:
    vertices, faces = sphere(3)
    operator = SurfaceOperator(vertices, faces)
    np.testing.assert_allclose(operator.areas.sum(), trimesh.Trimesh(vertices, faces).area, rtol=1e-9)
    np.testing.assert_allclose(operator.stiffness() @ np.ones(len(vertices)), 0, atol=1e-12)


def test_energy_of_a_height_field_on_a_sphere() -> None:
    vertices, faces = sphere(4)
    operator = SurfaceOperator(vertices, faces)
    z = vertices[:, 2]
    # ∫ |∇z|² over the unit sphere is 2 · ∫ z² = 8π/3: z is an eigenfunction with eigenvalue 2.
    np.testing.assert_allclose(z @ (operator.stiffness() @ z), 8 * np.pi / 3, rtol=0.02)


def test_spread_keeps_data_and_stays_between_its_extremes() -> None:
    vertices, faces = sphere(3)
    operator = SurfaceOperator(vertices, faces)
    weights = np.zeros(len(vertices))
    weights[vertices[:, 2] > 0.8] = 1e4
    weights[vertices[:, 2] < -0.8] = 1e4
    values = np.sign(vertices[:, 2:])
    field = operator.spread(weights, values, operator.areas * 1e-9, np.zeros(1))[:, 0]
    np.testing.assert_allclose(field[weights > 0], values[weights > 0, 0], atol=1e-3)
    assert np.abs(field).max() < 1 + 1e-6
    # Between two opposite caps the harmonic function is odd: zero on the equator.
    assert np.abs(field[np.abs(vertices[:, 2]) < 0.02]).max() < 0.05


def test_groups_do_not_mix() -> None:
    vertices, faces = sphere(3)
    operator = SurfaceOperator(vertices, faces)
    upper = (vertices[:, 2] > 0).astype(np.int64)
    weights = np.zeros(len(vertices))
    weights[vertices[:, 2].argmax()] = weights[vertices[:, 2].argmin()] = 1e3
    field = operator.spread(weights, vertices[:, 2:], operator.areas * 1e-9, np.zeros(1), upper)[:, 0]
    np.testing.assert_allclose(field, np.where(upper == 1, 1, -1), atol=1e-3)
