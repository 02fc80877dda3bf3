"""Capsules and transforms of the ten warping parts: known motions, left and right, roll, degenerate limbs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.body.parts import WARPING10
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.body.warping_parts import CAPSULE_PARTS, warping_parts
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.engine.warping.op import capsule_masks, warp_parts
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

NAMES = REPOSING19.joint_names


@pytest.fixture(scope="module")
def poses() -> Tensor:
    """(6, 19, 3) float64: people of the pose library in a cube of 256, x right, y down."""
    library, body = pose_library(), default_body()
    rows = torch.randint(len(library), (6,), generator=torch.Generator().manual_seed(0))
    rotations = library.rotations(rows).clone()
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    betas = torch.zeros(1, 10)
    joints = body.pose_landmarks("reposing19", body.pose(rotations, betas, vertices=False), betas)
    middle = (joints.amin(1) + joints.amax(1)) / 2
    return ((joints - middle[:, None]) * 120 + 128).double()


def apply(transforms: Tensor, points: Tensor) -> Tensor:
    """(..., 3, 4) on (..., N, 3)."""
    return points @ transforms[..., :3].mT + transforms[..., None, :, 3]


def row(name: str) -> int:
    return REPOSING19.index(name)


def part(name: str) -> int:
    return WARPING10.names.index(name)


def similarity(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    vector = 2 * torch.randn(3, generator=random, dtype=torch.float64)
    shift = 20 * torch.randn(3, generator=random, dtype=torch.float64)
    return torch.tensor(1.3, dtype=torch.float64), axis_angle_to_matrix(vector), shift


@pytest.mark.parametrize("seed", range(5))
def test_a_rigidly_moved_skeleton_moves_every_part_by_exactly_that(poses, seed):
    scale, rotation, shift = similarity(seed)
    found = warping_parts(poses, scale * poses @ rotation.mT + shift).target_to_source
    inverse = rotation.mT / scale
    torch.testing.assert_close(found[..., :3], inverse.expand(6, 10, 3, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[..., 3], (-inverse @ shift).expand(6, 10, 3), rtol=0, atol=1e-4)


def inverse_fit(source: Tensor, target: Tensor, affine: bool) -> Tensor:
    """(B, n, n + 1): the similarity or affine map of points (B, N, n) of the target nearest to the source's."""
    found = []
    for a, b in zip(source.numpy(), target.numpy(), strict=True):
        a_mean, b_mean = a.mean(0), b.mean(0)
        if affine:
            linear = np.linalg.lstsq(b - b_mean, a - a_mean, rcond=None)[0].T
        else:
            u, spread, v = np.linalg.svd((a - a_mean).T @ (b - b_mean))
            signs = np.array([1, 1, np.linalg.det(u @ v)])
            linear = u * signs @ v * (spread * signs).sum() / np.square(b - b_mean).sum()
        found.append(np.c_[linear, a_mean - linear @ b_mean])
    return torch.from_numpy(np.stack(found))


@pytest.mark.parametrize("planar", [False, True])
def test_the_authors_fit_the_targets_points_to_the_sources_and_the_shoulders_with_the_head(poses, planar):
    target, axes = poses.roll(1, 0), 2 if planar else 3
    torso = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    face = ("neck", "nose", "left_eye", "right_eye", "left_ear", "right_ear")
    found = warping_parts(poses, target, planar=planar).target_to_source
    for name, joints in (("torso", torso), ("head", (*face, *torso[:2]))):
        rows = [row(joint) for joint in joints]
        expected = inverse_fit(poses[:, rows, :axes], target[:, rows, :axes], affine=planar)
        maps = found[:, part(name), :axes]
        torch.testing.assert_close(maps[..., [*range(axes), 3]], expected, rtol=0, atol=1e-4)


def test_straight_limbs_turn_with_the_body(poses):
    """Arms and legs without a bend, whose roll nothing tells, still follow a rigid motion exactly."""
    straight = poses.clone()
    for side in ("left", "right"):
        for a, b, c in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
            bone = straight[:, row(f"{side}_{b}")] - straight[:, row(f"{side}_{a}")]
            straight[:, row(f"{side}_{c}")] = straight[:, row(f"{side}_{b}")] + 0.9 * bone
    scale, rotation, shift = similarity(3)
    found = warping_parts(straight, scale * straight @ rotation.mT + shift).target_to_source
    torch.testing.assert_close(found[..., :3], (rotation.mT / scale).expand(6, 10, 3, 3), rtol=0, atol=1e-5)


def test_transforms_are_rotations_for_any_two_poses(poses):
    """Never a reflection, also of a mirrored skeleton."""
    for target in (poses.roll(1, 0), poses * torch.tensor([-1.0, 1, 1]), poses[:, list(REPOSING19.mirror)]):
        linear = warping_parts(poses, target).target_to_source[..., :3]
        size = torch.linalg.det(linear).clamp_min(0) ** (1 / 3)
        assert (size > 0.1).all()
        rotation = linear / size[..., None, None]
        identity = torch.eye(3, dtype=torch.float64).expand_as(linear)
        torch.testing.assert_close(rotation @ rotation.mT, identity, rtol=0, atol=1e-6)


def test_bones_land_on_bones(poses):
    """Of a limb whose bones keep their lengths: the target's ends go back to the source's, roll included."""
    target = poses.clone()
    elbow = row("left_elbow")
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64))
    target[:, row("left_wrist")] = (
        target[:, elbow] + (target[:, row("left_wrist")] - target[:, elbow]) @ turn.mT
    )  # the forearm turns in the elbow
    found = warping_parts(poses, target).target_to_source
    back = apply(found[:, part("left_lower_arm")], target[:, [elbow, row("left_wrist")]])
    torch.testing.assert_close(back, poses[:, [elbow, row("left_wrist")]], rtol=0, atol=1e-6)
    still = [i for i in range(10) if "left" not in WARPING10.names[i] or "arm" not in WARPING10.names[i]]
    identity = torch.eye(3, 4, dtype=torch.float64).expand(6, len(still), 3, 4)
    torch.testing.assert_close(found[:, still], identity, rtol=0, atol=1e-5)
    # The upper arm keeps its bone, and rolls about it by the angle between the planes through the wrist.
    upper = found[:, part("left_upper_arm")]
    ends = [row("left_shoulder"), elbow]
    torch.testing.assert_close(apply(upper, target[:, ends]), poses[:, ends], rtol=0, atol=1e-6)
    normals = []
    for pose in (poses, target):
        bone, forearm = pose[:, elbow] - pose[:, ends[0]], pose[:, row("left_wrist")] - pose[:, elbow]
        normals.append(torch.nn.functional.normalize(torch.linalg.cross(bone, forearm), dim=-1))
    torch.testing.assert_close((upper[:, :, :3] @ normals[1][..., None]).squeeze(-1), normals[0], rtol=0, atol=1e-6)


def test_left_and_right_are_the_persons(poses):
    """A lifted left hand moves the left lower arm's features, and the mirrored image gives mirrored transforms."""
    target = poses.clone()
    target[:, row("left_wrist")] += torch.tensor([5.0, -30.0, 8.0])
    moved = (warping_parts(poses, target).target_to_source - torch.eye(3, 4)).abs().amax((0, 2, 3)) > 0.01
    assert [name for name, m in zip(WARPING10.names, moved, strict=True) if m] == ["left_upper_arm", "left_lower_arm"]
    flip = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    mirror = list(REPOSING19.mirror)
    mirrored = warping_parts((poses * flip)[:, mirror], (target * flip)[:, mirror]).target_to_source
    there = warping_parts(poses, target).target_to_source[:, list(WARPING10.mirror)]
    back = flip[:, None] * there * torch.cat((flip, torch.ones(1)))
    torch.testing.assert_close(mirrored, back, rtol=0, atol=1e-4)


def test_capsules_have_the_authors_positions_and_sizes():
    """Of joints with whole coordinates: ends and radii by hand. st is 50, from either shoulder to the other hip."""
    joints = {
        "neck": (100, 50, 128), "nose": (100, 30, 118), "left_eye": (103, 26, 119), "right_eye": (97, 26, 119),
        "left_ear": (110, 30, 128), "right_ear": (90, 30, 132), "pelvis": (100, 100, 128),
        "left_shoulder": (115, 60, 128), "right_shoulder": (85, 60, 128), "left_hip": (115, 100, 128),
        "right_hip": (85, 100, 128), "left_elbow": (125, 80, 128), "right_elbow": (75, 80, 138),
        "left_wrist": (125, 100, 118), "right_wrist": (65, 90, 138), "left_knee": (115, 140, 118),
        "right_knee": (85, 140, 128), "left_ankle": (115, 180, 128), "right_ankle": (75, 180, 128),
    }  # fmt: skip
    pose = torch.tensor([joints[name] for name in NAMES], dtype=torch.float64)[None]
    found = warping_parts(pose, pose)
    assert found.part_of_capsule.tolist() == list(CAPSULE_PARTS)
    capsules = found.capsules[0].round(decimals=6).tolist()
    rows = {(WARPING10.names[p], *c) for p, c in zip(CAPSULE_PARTS, capsules, strict=True)}
    corners = [joints[name] for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]
    expected = {("torso", *a, *b, 7.5) for i, a in enumerate(corners) for b in corners[i + 1 :]}
    # The ears' middle is (100, 30, 130); 0.3 of the way to the neck is (0, 6, -0.6).
    expected.add(("head", 100, 36, 129.4, 100, 24, 130.6, 12.5))
    # Thighs begin 0.1 of the 40 from shoulder to hip lower; wrists and ankles are 20 % further.
    expected |= {("left_thigh", 115, 104, 128, 115, 140, 118, 5), ("right_thigh", 85, 104, 128, 85, 140, 128, 5)}
    expected |= {("left_upper_arm", 115, 60, 128, 125, 80, 128, 5), ("right_upper_arm", 85, 60, 128, 75, 80, 138, 5)}
    ends = {
        "left_lower_arm": ((125, 80, 128), (125, 104, 116)), "right_lower_arm": ((75, 80, 138), (63, 92, 138)),
        "left_shank": ((115, 140, 118), (115, 188, 130)), "right_shank": ((85, 140, 128), (73, 188, 128)),
    }  # fmt: skip
    for name, (start, end) in ends.items():
        expected |= {(name, *start, *end, 5), (name, *end, *end, 10)}
    assert rows == {(name, *map(float, numbers)) for name, *numbers in expected}
    assert len(CAPSULE_PARTS) == len(expected) == 19


def test_the_nose_stands_in_for_ears_that_are_missing(poses):
    source = poses.clone()
    source[:, row("left_ear")] = torch.nan
    head = warping_parts(source, poses).capsules[:, CAPSULE_PARTS.index(part("head"))]
    reach = 0.3 * (poses[:, row("neck")] - poses[:, row("nose")])
    torch.testing.assert_close(head[:, :3], poses[:, row("nose")] + reach)
    torch.testing.assert_close(head[:, 3:6], poses[:, row("nose")] - reach)


def test_transforms_use_the_hips_as_they_are(poses):
    """A shoulder that moves alone moves its side's thigh mask, and no leg."""
    source = poses.clone()
    source[:, row("left_shoulder")] += torch.tensor([0.0, -20.0, 5.0])
    before, after = warping_parts(poses, poses), warping_parts(source, poses)
    legs = [part(f"{side}_{limb}") for side in ("left", "right") for limb in ("thigh", "shank")]
    torch.testing.assert_close(before.target_to_source[:, legs], after.target_to_source[:, legs], rtol=0, atol=1e-4)
    thigh = CAPSULE_PARTS.index(part("left_thigh"))
    moved = after.capsules[:, thigh, :3] - before.capsules[:, thigh, :3]
    torch.testing.assert_close(moved, torch.tensor([0, 2, -0.5], dtype=torch.float64).expand(6, 3))


def test_voxels_need_not_be_cubes(poses):
    """The same motion, in voxels of 4 × 4 × 8."""
    plain = warping_parts(poses, poses.roll(1, 0))
    voxels = warping_parts(poses, poses.roll(1, 0)).in_voxels((4, 4, 8))
    assert torch.equal(plain.capsules, voxels.capsules)
    size = torch.tensor([4.0, 4, 8], dtype=torch.float64)
    points = torch.rand(6, 10, 5, 3, dtype=torch.float64) * 32
    torch.testing.assert_close(
        apply(voxels.target_to_source, points) * size, apply(plain.target_to_source, points * size)
    )


def test_warping_a_mask_of_the_source_gives_one_of_the_target(poses):
    """Through the engine: features 1 inside the source's parts land inside the target's."""
    source, target = poses[:2].float(), poses[2:4].float()
    there, back = (warping_parts(*pair).in_voxels((8, 8, 8)) for pair in ((source, target), (target, source)))
    volume = torch.ones(2, 1, 32, 32, 32)
    options = {"voxel_size": (8.0, 8.0, 8.0)}
    warped = warp_parts(volume, there.capsules, there.part_of_capsule, there.target_to_source, **options)
    masks = capsule_masks(back.capsules, back.part_of_capsule, 10, (32, 32, 32), **options).amax(1, keepdim=True)
    overlap = ((warped > 0.5) & (masks > 0)).sum() / ((warped > 0.5) | (masks > 0)).sum()
    assert overlap > 0.7


def test_coincident_joints_and_zero_lengths(poses):
    source, target = poses[:4].clone(), poses[1:5].clone()
    source[0, row("left_wrist")] = source[0, row("left_elbow")]  # zero in the source: takes the torso's size
    target[1, row("left_wrist")] = target[1, row("left_elbow")]  # zero in the target: vanishes
    source[2] = source[2, :1]  # everything in one point
    target[3] = target[3, :1]
    found = warping_parts(source, target)
    linear = found.target_to_source[..., :3]
    arm, torso = part("left_lower_arm"), part("torso")
    sizes = torch.linalg.det(linear[0])
    torch.testing.assert_close(sizes[arm], sizes[torso])
    finite = linear.isfinite().flatten(2).all(2)
    assert finite[0].all()
    assert finite[1].tolist() == [i != arm for i in range(10)]
    assert finite[2].all()
    assert not finite[3].any()
    torch.testing.assert_close(torch.linalg.det(linear[2]), torch.ones(10, dtype=torch.float64))
    # The engine takes it all.
    warped = warp_parts(torch.ones(4, 1, 8, 8, 8, dtype=torch.float64), found.capsules, found.part_of_capsule,
                        found.target_to_source, voxel_size=(32.0, 32.0, 32.0))  # fmt: skip
    assert warped.isfinite().all()
    assert not warped[3].any()


@pytest.mark.parametrize("planar", [False, True])
def test_missing_joints(poses, planar):
    source, target = poses[:4].clone(), poses[1:5].clone()
    nan = float("nan")
    source[0, [row(n) for n in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]] = nan  # seen from behind
    target[1, row("left_wrist")] = nan
    source[2, row("left_hip")] = float("inf")
    source[3] = nan
    found = warping_parts(source, target, planar=planar)
    finite = found.target_to_source.isfinite().flatten(2).all(2)
    unknown = [[name for name, k in zip(WARPING10.names, rows, strict=True) if not k] for rows in finite]
    assert unknown[:3] == [[], ["left_lower_arm"], ["left_thigh"]]
    assert len(unknown[3]) == 10
    inside = finite[:3, :, None, None] if planar else torch.linalg.det(found.target_to_source[:3, :, :, :3]) > 0
    assert bool((inside | ~finite[:3].view(inside.shape)).all())
    assert found.capsules[:3].isfinite().flatten(2).all(2).sum() > 50


def test_planar_transforms_recover_similarities_of_the_image(poses):
    angle, scale, shift = 0.7, 1.2, torch.tensor([4.0, -9.0], dtype=torch.float64)
    turn = torch.tensor([[torch.tensor(angle).cos(), -torch.tensor(angle).sin()],
                         [torch.tensor(angle).sin(), torch.tensor(angle).cos()]], dtype=torch.float64)  # fmt: skip
    target = torch.rand(poses.shape, dtype=torch.float64)  # z says nothing
    target[..., :2] = scale * poses[..., :2] @ turn.mT + shift
    found = warping_parts(poses, target, planar=True).target_to_source
    back = apply(found[:, :, :, :], target[:, None])
    torch.testing.assert_close(back[..., :2], poses[:, None, :, :2].expand(-1, 10, -1, -1), rtol=0, atol=1e-4)
    torch.testing.assert_close(back[..., 2], target[:, None, :, 2].expand(-1, 10, -1))


def test_planar_limbs_change_their_length_and_their_width_apart():
    """The upper arm points right and is 20 long, then down and 30; the trunk is half as large then."""
    poses = torch.rand(2, 1, 19, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    names = ("left_shoulder", "left_elbow", "right_shoulder", "left_hip", "right_hip")
    positions = (
        ((120, 60), (140, 60), (100, 60), (100, 92), (96, 92)),
        ((90, 40), (90, 70), (80, 40), (80, 50), (78, 56)),
    )
    for pose, points in zip(poses, positions, strict=True):
        pose[0, [row(name) for name in names], :2] = torch.tensor(points, dtype=torch.float64)
    found = warping_parts(*poses, planar=True).target_to_source[0, part("left_upper_arm")]
    expected = [[0, 2 / 3, 0, 120 - 40 * 2 / 3], [-2, 0, 0, 60 + 2 * 90], [0, 0, 1, 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def test_opposite_bones_turn_by_half():
    from humanpose_cli.body.warping_parts import _smallest_rotation

    a = torch.tensor([[1.0, 0, 0], [0, 2, 0], [1, 1, 1], [0, 0, 0], [3, 1, 2]], dtype=torch.float64)
    b = torch.tensor([[-2.0, 0, 0], [0, -1, 0], [-1, -1, -1], [1, 0, 0], [1, -2, 5]], dtype=torch.float64)
    turn = _smallest_rotation(a, b)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(5, dtype=torch.float64))
    unit = [torch.nn.functional.normalize(v, dim=-1) for v in (a, b)]
    torch.testing.assert_close((turn @ unit[0][..., None]).squeeze(-1)[[0, 1, 2, 4]], unit[1][[0, 1, 2, 4]])
    assert torch.equal(turn[3], torch.eye(3, dtype=torch.float64))
    angle = torch.acos((torch.diagonal(turn[4]).sum() - 1) / 2)
    torch.testing.assert_close(angle, torch.acos((unit[0][4] * unit[1][4]).sum()))


def test_no_poses_have_no_maps(poses):
    empty = warping_parts(poses[:0], poses[:0])
    assert empty.target_to_source.shape == (0, 10, 3, 4)


@pytest.mark.parametrize("planar", [False, True])
def test_joints_too_far_to_be_fitted_are_missing(poses, planar):
    far, missing = poses.float(), poses.float()
    far[0, NAMES.index("left_wrist")], missing[0, NAMES.index("left_wrist")] = 1e30, torch.nan
    found, expected = (warping_parts(source, poses.float(), planar=planar) for source in (far, missing))
    torch.testing.assert_close(found.target_to_source, expected.target_to_source, rtol=0, atol=0, equal_nan=True)
    assert warping_parts(far * 1e30, poses.float(), planar=planar).target_to_source[0].isnan().any()


def test_mixed_precision_does_not_round_transforms(poses):
    expected = warping_parts(poses.float(), poses.float().flip(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = warping_parts(poses.float(), poses.float().flip(0))
    assert torch.equal(found.target_to_source, expected.target_to_source)
