"""The shipped body: counts, symmetry, T pose, plausible people, landmarks where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body import body as module
from humanpose_cli.body.body import FACE13, Body, PosedBody, default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, H36M17, REPOSING19, SMPL24, Skeleton
from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.core.extras import reinstall_line

LANDMARK_SETS = (BLAZEPOSE33, COCO17, H36M17, REPOSING19, FACE13)
MIRROR_X = torch.tensor([-1.0, 1.0, 1.0])


def t_pose(body: Body, betas: torch.Tensor) -> PosedBody:
    return body.pose(torch.eye(3).expand(len(betas), 24, 3, 3), betas)


def random_betas(count: int) -> torch.Tensor:
    return torch.randn(count, 10, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def anatomical() -> Body:
    """The body with landmarks placed by anatomy, whatever has been learned since."""
    return default_body(learned_landmarks=False)


def points(body: Body, skeleton: Skeleton) -> dict[str, np.ndarray]:
    """Landmarks of the mean body's T pose by name."""
    betas = torch.zeros(1, 10)
    positions = body.pose_landmarks(skeleton.name, t_pose(body, betas), betas)[0].numpy()
    return dict(zip(skeleton.joint_names, positions, strict=True))


def test_each_call_gives_a_new_module() -> None:
    first, second = default_body(), default_body()
    first.double()
    assert second.template.dtype == torch.float32
    assert first.template.dtype == torch.float64


def test_weights_are_convex(body: Body) -> None:
    assert body.bone_weights.min() >= 0
    torch.testing.assert_close(body.bone_weights.sum(1), torch.ones(13718))


def test_mirror_is_an_involution_that_maps_the_body_to_itself(body: Body) -> None:
    mirror, joints = body.mirror_vertices, list(SMPL24.mirror)
    assert torch.equal(mirror[mirror], torch.arange(13718))
    assert torch.equal(body.template[mirror] * MIRROR_X, body.template)
    assert torch.equal(body.shape_directions[mirror] * MIRROR_X[:, None], body.shape_directions)
    torch.testing.assert_close(body.joint_template[joints] * MIRROR_X, body.joint_template, atol=1e-7, rtol=0)
    torch.testing.assert_close(
        body.joint_directions[joints] * MIRROR_X[:, None], body.joint_directions, atol=1e-7, rtol=0
    )
    M = torch.diag(MIRROR_X)
    torch.testing.assert_close(M @ body.rest_rotations[joints] @ M, body.rest_rotations, atol=1e-7, rtol=0)
    dense = torch.zeros(13718, 24).scatter_add_(1, body.bone_indices.long(), body.bone_weights)
    torch.testing.assert_close(dense[mirror][:, joints], dense, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_mirrored_triangles_are_triangles(body: Body) -> None:
    """Where a quad straddles the plane of symmetry no split of it is symmetric; there are few of these."""
    triangles = {frozenset(face) for face in body.faces.tolist()}
    mirrored = [frozenset(face) for face in body.mirror_vertices[body.faces.long()].tolist()]
    assert sum(face not in triangles for face in mirrored) < 0.001 * len(mirrored)


def test_surface_is_closed_and_faces_outward(body: Body) -> None:
    corners = body.template[body.faces.long()].double()
    volume = torch.linalg.det(corners).sum() / 6
    assert 0.04 < volume < 0.11, "cubic metres: a person of about 70 kg"


@pytest.mark.parametrize(
    ("start", "end", "direction"),
    [
        ("shoulder", "elbow", (1, 0, 0)),
        ("elbow", "wrist", (1, 0, 0)),
        ("wrist", "hand", (1, 0, 0)),
        ("hip", "knee", (0, -1, 0)),
        ("knee", "ankle", (0, -1, 0)),
    ],
)
def test_zero_pose_is_the_t_pose_for_every_shape(
    start: str, end: str, direction: tuple[int, int, int], body: Body
) -> None:
    joints = t_pose(body, random_betas(50)).joints
    for side, sign in (("left", 1), ("right", -1)):
        bone = (joints[:, SMPL24.index(f"{side}_{end}")] - joints[:, SMPL24.index(f"{side}_{start}")]) * torch.tensor(
            [sign, 1.0, 1.0]
        )
        cosine = torch.nn.functional.normalize(bone, dim=1) @ torch.tensor(direction, dtype=torch.float32)
        assert cosine.min() > np.cos(np.radians(0.2))


def test_zero_pose_looks_forward_with_palms_down_and_level_soles(anatomical: Body) -> None:
    p = points(anatomical, BLAZEPOSE33) | points(anatomical, FACE13)
    assert p["nose"][2] > p["left_ear"][2] + 0.08
    assert p["left_index"][2] > p["left_pinky"][2] + 0.03
    assert p["left_thumb"][2] > p["left_pinky"][2] + 0.03
    assert p["left_foot_index"][2] > p["left_heel"][2] + 0.15
    assert abs(p["left_foot_index"][1] - p["left_heel"][1]) < 0.03
    assert p["head_top"][1] > p["nose"][1] > p["chin"][1]


def test_people_are_plausible(body: Body) -> None:
    def heights(betas: torch.Tensor) -> torch.Tensor:
        vertices = t_pose(body, betas).vertices
        return vertices[..., 1].amax(1) - vertices[..., 1].amin(1)

    assert 1.6 < heights(torch.zeros(1, 10)).item() < 1.75
    two = torch.cat((2 * torch.eye(10), -2 * torch.eye(10)))
    assert ((heights(two) > 1.4) & (heights(two) < 2.0)).all()
    crowd = heights(random_betas(300))
    assert 0.06 < crowd.std() < 0.11
    assert crowd.min() > 1.35
    assert crowd.max() < 2.05


def test_pelvis_is_the_origin_of_every_shape(body: Body) -> None:
    pelvis = body.rest(random_betas(20)).joints[:, SMPL24.index("pelvis")]
    torch.testing.assert_close(pelvis, torch.zeros(20, 3), atol=1e-6, rtol=0)


def test_joints_lie_inside_their_parts(body: Body) -> None:
    """Every joint is surrounded: whichever way one looks from it, there is skin."""
    betas = torch.zeros(1, 10)
    posed = t_pose(body, betas)
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    for name, joint in zip(SMPL24.joint_names, posed.joints[0], strict=True):
        offsets = posed.vertices[0] - joint
        near = offsets[offsets.norm(dim=1) < 0.25]
        assert (near @ directions.mT).amax(0).min() > 0.005, name


def test_texture_coordinates_have_v_down(body: Body) -> None:
    assert body.uv.min() >= 0
    assert body.uv.max() <= 1
    v = torch.zeros(13718)
    v[body.faces.long()] = body.uv[body.uv_faces.long()][..., 1]
    labels = body.part_labels
    assert v[labels == SMPL24.index("spine3")].mean() < v[labels == SMPL24.index("left_knee")].mean()


@pytest.mark.parametrize("skeleton", LANDMARK_SETS, ids=lambda s: s.name)
def test_landmark_sets_are_symmetric(skeleton: Skeleton, anatomical: Body) -> None:
    marks = anatomical.landmarks(skeleton.name)
    assert len(marks) == len(skeleton)
    mirror = list(skeleton.mirror)
    torch.testing.assert_close(marks.template[mirror] * MIRROR_X, marks.template, atol=1e-6, rtol=0)
    torch.testing.assert_close(marks.directions[mirror] * MIRROR_X[:, None], marks.directions, atol=1e-6, rtol=0)
    torch.testing.assert_close(marks.bone_weights.sum(1), torch.ones(len(marks)))


def test_landmarks_shared_by_sets_are_the_same_points(anatomical: Body) -> None:
    blaze = points(anatomical, BLAZEPOSE33)
    for skeleton in (COCO17, REPOSING19, H36M17, FACE13):
        for name, position in points(anatomical, skeleton).items():
            if name in BLAZEPOSE33:
                np.testing.assert_allclose(position, blaze[name], atol=1e-6, err_msg=name)


def test_surface_landmarks_lie_on_the_skin(anatomical: Body) -> None:
    vertices = t_pose(anatomical, torch.zeros(1, 10)).vertices
    p = points(anatomical, BLAZEPOSE33) | points(anatomical, FACE13)
    for name in (*FACE13.joint_names, "left_heel", "right_foot_index"):
        distance = np.linalg.norm(vertices[0].numpy() - p[name], axis=1).min()
        assert distance < 0.008, name


def test_learned_landmarks_replace_the_anatomical_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "default_body.npz").write_bytes((module.DATA / "default_body.npz").read_bytes())
    monkeypatch.setattr(module, "DATA", tmp_path)
    module._arrays.cache_clear()
    try:
        before = default_body().landmarks("blazepose33")
        np.savez(
            tmp_path / "blazepose_landmarks.npz",
            template=before.template.numpy() + 0.01,
            directions=before.directions.numpy(),
            bone_indices=before.bone_indices.numpy(),
            bone_weights=before.bone_weights.numpy(),
        )
        module._arrays.cache_clear()
        body = default_body()
        torch.testing.assert_close(body.landmarks("blazepose33").template, before.template + 0.01)
        unlearned = default_body(learned_landmarks=False)
        assert torch.equal(unlearned.landmarks("blazepose33").template, before.template)
        assert torch.equal(body.landmarks("coco17").template, unlearned.landmarks("coco17").template)
    finally:
        module._arrays.cache_clear()


def test_missing_data_gives_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DATA", tmp_path)
    module._arrays.cache_clear()
    try:
        with raises(UnavailableError, remedy=reinstall_line()):
            default_body()
    finally:
        module._arrays.cache_clear()
