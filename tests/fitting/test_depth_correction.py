"""The depth correction: blind to camera and place, symmetric, better than the detector."""

import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.fitting.depth_correction import MODEL, depth_correction, normalise, viewing_ray
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.networks.weights import read_header, shipped_weights

HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
MIRROR = list(BLAZEPOSE33.mirror)
FLIP = torch.tensor([-1.0, 1.0, 1.0])


def people(count: int = 6, seed: int = 0):
    """Perfect observations of sampled people 4 m away: arguments of the correction, and the true landmarks."""
    body, generator = default_body(), torch.Generator().manual_seed(seed)
    poses, betas = sample_poses(count, generator), torch.zeros(1, 10)
    poses[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ poses[:, 0]
    trans = torch.tensor([[0.6, -0.1, 4.0]]).expand(count, 3)
    posed = body.pose(poses, betas, trans, vertices=False)
    points = body.pose_landmarks("blazepose33", posed, betas)
    focal, centre = torch.full((count,), 900.0), torch.tensor([[320.0, 240.0]]).expand(count, 2)
    keypoints = project(points, focal, centre)
    confidence = torch.full((count, 33), 0.9)
    to_ray = viewing_ray(keypoints, confidence, focal, centre)
    world = (points - points[:, HIPS].mean(1, keepdim=True)) @ to_ray.mT
    return (keypoints, confidence, world, focal, centre), points


def test_normalised_points_match_perfect_world_landmarks():
    (keypoints, confidence, world, focal, centre), _ = people()
    seen = normalise(keypoints, confidence, world, focal, centre)
    # Perspective is what is left: a limb half a metre nearer than 4 m looks an eighth larger.
    assert (seen.points - world[..., :2]).abs().max() < 0.3
    assert (seen.points - world[..., :2]).abs().median() < 0.02
    torch.testing.assert_close(seen.nearness, torch.full((6, 1), 0.25), atol=0.03, rtol=0)


def test_blind_to_image_size_and_place():
    (keypoints, confidence, world, focal, centre), _ = people()
    seen = normalise(keypoints, confidence, world, focal, centre)
    bigger = normalise(keypoints * 3 + 50, confidence, world + 7, focal * 3, centre * 3 + 50)
    for one, other in zip(seen, bigger, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_ray_looks_at_the_hips_and_without_them_at_what_is_seen():
    (keypoints, confidence, _, focal, centre), points = people()
    to_ray = viewing_ray(keypoints, confidence, focal, centre)
    hips = (to_ray @ points[:, HIPS].mean(1)[..., None]).squeeze(-1)
    assert (hips[:, :2].abs() < 0.02).all()
    blind = confidence.clone()
    blind[:, HIPS] = 0
    blind[:, BLAZEPOSE33.index("nose")] = 1e6
    nose = (viewing_ray(keypoints, blind, focal, centre) @ points[:, BLAZEPOSE33.index("nose"), :, None]).squeeze(-1)
    assert (nose[:, :2].abs() < 0.02).all()
    nothing = viewing_ray(keypoints, torch.zeros_like(confidence), focal, centre)
    torch.testing.assert_close(nothing, torch.eye(3).expand_as(nothing))


def test_mirrored_people_get_mirrored_answers():
    (keypoints, confidence, world, focal, centre), _ = people()
    flipped = keypoints[:, MIRROR].clone()
    flipped[..., 0] = 2 * centre[:, :1] - flipped[..., 0]
    correct = depth_correction()
    own = correct(keypoints, confidence, world, focal, centre)
    other = correct(flipped, confidence[:, MIRROR], world[:, MIRROR] * FLIP, focal, centre)
    torch.testing.assert_close(other.world[:, MIRROR] * FLIP, own.world, atol=1e-4, rtol=0)
    torch.testing.assert_close(other.noise[:, MIRROR], own.noise, atol=1e-4, rtol=1e-3)


def test_takes_back_a_lean_that_the_image_does_not_show():
    """People whose world landmarks were tipped over by 15° come out nearer to the truth."""
    (keypoints, confidence, world, focal, centre), _ = people(64)
    usual = world[:, HIPS].mean(1, keepdim=True)
    tipped = (world - usual) @ axis_angle_to_matrix(torch.tensor([0.26, 0.0, 0.0])).mT
    correct = depth_correction()
    fixed = correct(keypoints, confidence, tipped, focal, centre)
    limbs = BLAZEPOSE33.indices(f"{s}_{j}" for s in ("left", "right") for j in ("shoulder", "knee", "ankle", "wrist"))
    before = (tipped - world)[:, limbs].norm(dim=-1).mean()
    after = (fixed.world - world)[:, limbs].norm(dim=-1).mean()
    assert after < 0.85 * before
    assert (fixed.noise > 0.002).all()
    assert (fixed.noise < 1).all()


def test_batches_do_not_matter():
    arguments, _ = people()
    correct = depth_correction()
    together = correct(*arguments)
    alone = correct(*(x[2:3] for x in arguments))
    torch.testing.assert_close(together.world[2:3], alone.world, atol=1e-5, rtol=0)
    assert correct(*(x[:0] for x in arguments)).world.shape == (0, 33, 3)


def test_shipped_weights_are_small_and_tell_their_story():
    path = shipped_weights(MODEL)
    assert path.stat().st_size <= 1_000_000
    header = read_header(path)
    assert header.metrics["corrected pa_mpjpe_mm"] < header.metrics["detector pa_mpjpe_mm"]
    assert header.training["people"] > 1000
