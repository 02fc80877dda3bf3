import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.tracked_fits import fit_of_tracks

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.fit_files import write_fit
from humanpose_cli.io.pose_files import RotationTarget, read_pose
from humanpose_cli.io.pose_files.rotation_files import target_of_fit
from humanpose_cli.reposing.targets import finger_rotations, motion_on

PELVIS = SMPL24.index("pelvis")


@pytest.mark.slow
def test_rotations_pass_unchanged_and_the_pelvis_lands_where_the_file_has_it(clip):
    poses = matrix_to_axis_angle(clip.rotations[:3]).flatten(1).numpy()
    target = RotationTarget(BodyParams(poses, clip.betas.numpy(), clip.trans[:3].numpy()), 15.0)
    motion = motion_on(target, clip.body, clip.betas[0].numpy())
    torch.testing.assert_close(motion.rotations, clip.rotations[:3], atol=1e-5, rtol=0)
    pelvis = clip.body.rest_pelvis(clip.betas) + motion.trans
    torch.testing.assert_close(pelvis, clip.posed(slice(0, 3)).joints[:, PELVIS], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("tracks", "largest"),
    [
        ({0: [(0, 0, 90)], 1: [(0, 0, 20), (1, 0, 20)]}, 0),  # a bystander in every frame
        ({0: [(0, 0, 40), (1, 0, 40), (2, 0, 40)], 1: [(1, 0, 90)]}, 0),  # who fills one frame of many
        ({0: [(0, 0, 30)], 1: [(0, 0, 90)]}, 1),
    ],
)
def test_the_largest_person_covers_the_largest_area_over_all_frames(tracks, largest):
    assert fit_of_tracks(tracks).largest_track == largest


@pytest.mark.parametrize("bent", [0.0, 0.5])
def test_hands_of_a_file_that_are_all_straight_are_no_hands(bent):
    poses, betas, trans = (np.zeros((2, columns)) for columns in (72, 10, 3))
    hands = np.full((2, 2, 15, 3), bent)
    fingers = finger_rotations(RotationTarget(BodyParams(poses, betas, trans, hand_poses=hands), 30.0))
    assert (fingers is None) == (bent == 0)


def test_an_absent_person_is_named():
    with raises(UsageError, problem="no person 7", expected="0, 2"):
        target_of_fit(fit_of_tracks({0: [(0, 0, 9)], 2: [(0, 0, 9)]}), track=7)


def test_a_fit_file_holds_poses_as_the_video_it_came_from_does(tmp_path):
    record = fit_of_tracks({3: [(1, 0, 9), (4, 0, 9)], 5: [(0, 0, 9)]})
    write_fit(tmp_path / "a.fit.npz", record)
    pose = read_pose(tmp_path / "a.fit.npz")
    np.testing.assert_array_equal(pose.params.trans, target_of_fit(record).params.trans)
    assert pose.params.trans[:, 1].tolist() == [1, 1, 1, 4]
