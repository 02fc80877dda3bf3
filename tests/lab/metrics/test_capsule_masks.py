"""The foreground of the warp3d paper's SSIM_fg against its authors' way of drawing it, voxel by voxel."""

from itertools import combinations, product

import numpy as np
import pytest
from helpers.warp3d_poses import hand_raised, standing

from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.lab.metrics.capsule_masks import capsule_mask


def drawn_in_space(joints, size):
    """Stamps of whole voxels along the authors' bones in 64 × 64 × 32, seen from the front, stretched to the image."""
    point = {name: np.asarray(p, float) for name, p in zip(REPOSING19.joint_names, joints, strict=True)}
    scale = np.array([64, 64, 32]) / size
    diagonals = [("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")]
    trunk = max(np.linalg.norm(point[a] - point[b]) for a, b in diagonals)
    volume = np.zeros((64, 64, 32), bool)

    def line(start, end, diameter):
        start, end, widths = start * scale, end * scale, diameter * trunk / 2 * scale
        reach = widths.astype(int) + 1
        sides = [range(2 * r + 1) for r in reach]
        stamp = [v for v in product(*sides) if (((np.array(v) - widths) / (widths + 1)) ** 2).sum() <= 1]
        length = max(np.linalg.norm(end - start), 1)
        for step in range(int(length)):
            middle = np.clip(np.round(start + step * (end - start) / length).astype(int), 0, [63, 63, 31])
            voxels = middle + np.array(stamp) - reach
            inside = ((voxels >= 0) & (voxels < [64, 64, 32])).all(1)
            volume[tuple(voxels[inside].T)] = True

    for a, b in combinations(("right_hip", "left_hip", "left_shoulder", "right_shoulder"), 2):
        line(point[a], point[b], 0.3)
    ears = (point["left_ear"] + point["right_ear"]) / 2
    low = 0.7 * ears + 0.3 * point["neck"]
    line(2 * ears - low, low, 0.5)
    for side in ("left", "right"):
        names = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        shoulder, elbow, wrist, hip, knee, ankle = (point[f"{side}_{name}"] for name in names)
        wrist, ankle = wrist + 0.2 * (wrist - elbow), ankle + 0.2 * (ankle - knee)
        hip = hip + 0.1 * (hip - shoulder)
        for a, b in ((shoulder, elbow), (elbow, wrist), (hip, knee), (knee, ankle)):
            line(a, b, 0.2)
        line(wrist, wrist, 0.4)
        line(ankle, ankle, 0.4)
    front = volume.any(2).T[:-1, :-1]
    nearest = np.arange(size) * 63 // size
    return front[np.ix_(nearest, nearest)]


@pytest.mark.parametrize("pose", [standing, hand_raised])
def test_it_is_drawn_as_the_authors_draw_it(pose):
    joints = pose(256)[0].numpy()
    np.testing.assert_array_equal(capsule_mask(joints, 256), drawn_in_space(joints, 256))


def test_parts_of_unknown_joints_are_left_out():
    joints = standing(256)[0].numpy()
    joints[REPOSING19.index("left_wrist")] = np.nan
    found, complete = capsule_mask(joints, 256), capsule_mask(standing(256)[0].numpy(), 256)
    assert not (found & ~complete).any()
    assert (complete & ~found)[100:140, 180:].any()
    assert not capsule_mask(np.full((19, 3), np.nan), 256).any()
