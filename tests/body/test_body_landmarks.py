"""The learned landmark set: a sound file, symmetric, and where the detector really puts its landmarks."""

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import DATA, default_body
from humanpose_cli.body.joint_angles import angles_from_named, angles_to_rotations
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.engine.rasterising.op import interpolate, rasterise

pytestmark = pytest.mark.slow

MIRROR = torch.tensor([-1.0, 1.0, 1.0])
HEIGHT, WIDTH, FOCAL = 480, 360, 560.0


@pytest.fixture(scope="module")
def people():
    """Two people before a camera: rotations (2, 24, 3, 3), trans (2, 3)."""
    relaxed = {"shoulder.elevation": -60, "elbow.flexion": 30, "hip.abduction": 8}
    walking = {
        "shoulder.elevation": -65,
        "left_hip.flexion": 35,
        "left_knee.flexion": 20,
        "right_knee.flexion": 25,
        "elbow.flexion": 60,
        "pelvis.turn": 35,
    }
    rotations = torch.stack([angles_to_rotations(angles_from_named(pose)) for pose in (relaxed, walking)])
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    return rotations, torch.tensor([[0.0, -0.05, 2.6]]).expand(2, 3)


@pytest.fixture(scope="module")
def detected(people):
    """The detector's keypoints (2, 33, 2) and confidences on plain grey renders."""
    body, (rotations, trans) = default_body(), people
    vertices = body.pose(rotations, torch.zeros(1, 10), trans).vertices
    a, b, c = (vertices[:, body.faces[:, k].long()] for k in range(3))
    across = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(vertices)
    for k in range(3):
        normals.index_add_(1, body.faces[:, k].long(), across)
    normals = torch.nn.functional.normalize(normals, dim=-1)
    centre = torch.tensor([[WIDTH / 2, HEIGHT / 2]]).expand(2, 2)
    raster = rasterise(vertices, body.faces, torch.full((2,), FOCAL), centre, (HEIGHT, WIDTH))
    light = torch.nn.functional.normalize(torch.tensor([-0.4, -0.6, -0.7]), dim=0)
    shade = 90 + 130 * interpolate(raster, body.faces, (normals @ light)[..., None]).clamp_min(-0.3)
    images = torch.where(raster.face[..., None] >= 0, shade, 40.0).expand(-1, -1, -1, 3)
    with PersonDetector("fast", threads=1) as detector:
        found = [detector.detect(image) for image in images.to(torch.uint8).contiguous().numpy()]
    assert [len(people) for people in found] == [1, 1]
    return np.stack([one[0].keypoints for one in found])


def miss(points: torch.Tensor, trans: torch.Tensor, keypoints: np.ndarray) -> torch.Tensor:
    """(2, 33) distances in metres at the person's distance."""
    pixels = project(points, torch.full((2,), FOCAL), torch.tensor([[WIDTH / 2, HEIGHT / 2]]).expand(2, 2))
    return (pixels - torch.from_numpy(keypoints[..., :2])).norm(dim=-1) * trans[0, 2] / FOCAL


def test_landmarks_lie_where_the_detector_sees_them(people, detected):
    (rotations, trans), betas = people, torch.zeros(1, 10)
    misses = []
    for learned in (False, True):
        body = default_body(learned_landmarks=learned)
        posed = body.pose(rotations, betas, trans, vertices=False)
        misses.append(miss(body.pose_landmarks("blazepose33", posed, betas), trans, detected))
    reliable = torch.from_numpy(detected[..., 2] > 0.7)
    before, after = (float(m[reliable].mean()) for m in misses)
    assert after < 0.035  # metres, 2 % of the body's height
    assert after < 0.9 * before


def test_the_set_is_symmetric_and_complete():
    points, unlearned = (default_body(learned_landmarks=x).landmarks("blazepose33") for x in (True, False))
    mirror, bones = list(BLAZEPOSE33.mirror), list(SMPL24.mirror)
    torch.testing.assert_close(points.template[mirror] * MIRROR, points.template, atol=1e-5, rtol=0)
    torch.testing.assert_close(points.bone_weights[mirror], points.bone_weights, atol=1e-6, rtol=0)
    used = points.bone_weights > 0
    assert torch.equal(torch.tensor(bones)[points.bone_indices[mirror].long()][used], points.bone_indices[used].long())
    torch.testing.assert_close(points.bone_weights.sum(1), torch.ones(33))
    assert (points.template - unlearned.template).norm(dim=-1).max() < 0.08


def test_noise_figures_are_kept_with_it():
    with np.load(DATA / "blazepose_landmarks.npz", allow_pickle=False) as file:
        assert file["noise_in_sight"].shape == file["noise_hidden"].shape == (33,)
        assert file["world_noise"].shape == (33, 3)
        assert (file["noise_in_sight"] > 0.002).all()
        assert (file["noise_in_sight"] < 0.06).all()
        assert file["noise_hidden"].mean() > file["noise_in_sight"].mean()
        limbs = BLAZEPOSE33.indices(("left_wrist", "right_wrist", "left_ankle", "right_ankle"))
        assert (file["world_noise"][limbs, 2] > file["world_noise"][limbs, 0]).all()  # depth is the weak point
