"""The shipped pose library: complete, split by whole activities, upright, playable."""

import math

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import DATA_FILE, decode_steps, encode_steps, pose_library
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, geodesic_angle


def test_steps_round_trip_to_half_a_quantum():
    values = np.random.default_rng(0).normal(size=(50, 7)).cumsum(0)
    decoded = decode_steps(encode_steps(values, 1e-3), 1e-3)
    np.testing.assert_allclose(decoded, values, atol=0.51e-3)
    assert decode_steps(encode_steps(np.zeros((0, 7)), 1e-3), 1e-3).shape == (0, 7)


def test_steps_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="16 bits"):
        encode_steps(np.array([[0.0], [100.0]]), 1e-3)


def test_size_and_counts():
    library = pose_library()
    assert DATA_FILE.stat().st_size <= 1.5e6
    assert len(library) > 6000
    assert sum(map(len, library.clips)) == len(library)
    assert len({clip.name for clip in library.clips}) == len(library.clips)
    assert torch.isfinite(library.poses).all()


def test_complete_activities_are_held_out():
    library = pose_library()
    held_out = {m.activity for m in library.motions(split="held_out")}
    train = {m.activity for m in library.motions(split="train")}
    assert held_out == {"soccer", "washwindow"}
    assert not held_out & train
    rows = torch.cat((library.frames("train"), library.frames("held_out"))).sort().values
    torch.testing.assert_close(rows, torch.arange(len(library)))


def test_clips_by_name():
    library = pose_library()
    motion = library.clip(library.clips[3].name)
    start = sum(map(len, library.clips[:3]))
    torch.testing.assert_close(motion.poses, library.poses[start : start + len(motion)])


def test_people_stand_on_the_floor_upright_and_knees_bend_backward():
    library = pose_library()
    rotations = library.rotations()
    up = rotations[:, SMPL24.index("pelvis"), 1, 1]
    assert (up > math.cos(math.radians(45))).float().mean() > 0.98
    knee = library.poses.unflatten(1, (24, 3))[:, SMPL24.index("left_knee"), 0]
    assert (knee > -math.radians(5)).float().mean() > 0.999
    rows, pelvis = slice(0, None, 20), torch.cat([clip.pelvis for clip in library.clips])
    body = default_body()
    joints = body.pose(rotations[rows], torch.zeros(1, 10), pelvis[rows], vertices=False).joints
    ankles = joints[:, SMPL24.indices(("left_ankle", "right_ankle")), 1].amin(1)
    assert -0.1 < ankles.median() < 0.15
    assert (joints[:, SMPL24.index("head"), 1] > ankles + 0.6).float().mean() > 0.99


def test_a_walker_moves_where_it_looks():
    """Pins axes and handedness: x left, y up, z forward on the body, and the trajectory's axes."""
    forward, sideways = [], []
    for motion in pose_library().motions(activity="walking"):
        facing = axis_angle_to_matrix(motion.poses[:, :3])[..., 2]
        step = motion.pelvis[10:] - motion.pelvis[:-10]
        facing = facing[:-10]
        forward.append((step * facing).sum(-1))
        sideways.append(torch.linalg.cross(step, facing)[:, 1].abs())
    assert torch.cat(forward).median() > 0.2  # metres in a third of a second
    assert torch.cat(sideways).median() < 0.1


@pytest.mark.slow
def test_neighbouring_frames_are_near():
    for motion in pose_library().motions():
        rotations = axis_angle_to_matrix(motion.poses.unflatten(1, (24, 3)))
        steps = geodesic_angle(rotations[:-1], rotations[1:])
        assert steps.mean() < math.radians(5)
        assert steps.max() < math.radians(75)
