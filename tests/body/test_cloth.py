"""The cloth surface, and pieces cut from it: closed, with edges where they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cached_body import body

from humanpose_cli.body.cloth import cut_piece
from humanpose_cli.body.cloth_surface import cloth_base


def area(faces, points):
    a, b, c = (points[faces[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()


def test_the_cloth_surface_is_the_bodys_with_more_points():
    base, template = cloth_base(body()), body().template.numpy()
    count = len(template)
    np.testing.assert_array_equal(base.ends[:count], np.repeat(np.arange(count), 2).reshape(-1, 2))
    fine, coarse = area(base.faces, template[base.ends].mean(1)), area(body().faces.numpy(), template)
    assert fine == pytest.approx(coarse, rel=1e-4)  # halved edges change no area and leave no gap
    edges = np.sort(np.concatenate((base.faces, np.roll(base.faces, -1, 1))).reshape(2, -1).T, 1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()  # closed: every edge has two triangles
    np.testing.assert_allclose(base.weights.sum(1), 1, atol=1e-5)


def test_a_piece_ends_on_the_zero_line():
    base = cloth_base(body())
    shape = base.shaped(np.zeros(10))
    field = base.template[:, 1] - np.float32(0.1234)
    piece = cut_piece(base, base.template, field, "top")
    assert piece.vertices[:, 1].min() == pytest.approx(0.1234, abs=1e-5)
    below = cut_piece(base, base.template, -field, "top")
    total = area(base.panels["body"][0], base.template)
    assert area(piece.faces, piece.vertices) + area(below.faces, below.vertices) == pytest.approx(total, rel=1e-4)
    edges = np.concatenate([piece.faces[:, [k, (k + 1) % 3]] for k in range(3)])
    assert len(np.unique(edges, axis=0)) == len(edges)  # neighbours run their common edge in opposite senses
    a, b, c = (piece.vertices[piece.faces[:, k]] for k in range(3))
    outwards = np.cross(b - a, c - a)
    middle = (a + b + c) / 3
    chest = (np.abs(middle[:, 0]) < 0.1) & (middle[:, 1] > 0.2) & (middle[:, 1] < 0.4) & (middle[:, 2] > 0.07)
    assert (outwards[chest, 2] > 0).mean() > 0.98  # cut triangles keep their winding
    assert shape.normals.shape == base.template.shape


def test_nothing_inside_gives_no_piece():
    base = cloth_base(body())
    assert cut_piece(base, base.template, np.full(len(base.template), -1.0), "top") is None
