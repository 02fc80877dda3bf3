import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import COCO17, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import geodesic_angle, matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord, write_fit
from humanpose_cli.io.pose_files import JointTarget, RotationTarget, read_pose
from humanpose_cli.io.pose_files.rotation_files import target_of_fit
from humanpose_cli.reposing.targets import motion_on

PELVIS = SMPL24.index("pelvis")


@pytest.mark.slow
def test_rotations_pass_unchanged_and_the_pelvis_lands_where_the_file_has_it(clip):
    poses = matrix_to_axis_angle(clip.rotations[:3]).flatten(1).numpy()
    target = RotationTarget(BodyParams(poses, clip.betas.numpy(), clip.trans[:3].numpy()), 15.0)
    motion = motion_on(target, clip.body, clip.betas[0].numpy())
    torch.testing.assert_close(motion.rotations, clip.rotations[:3], atol=1e-5, rtol=0)
    pelvis = clip.body.rest_pelvis(clip.betas) + motion.trans
    torch.testing.assert_close(pelvis, clip.posed(slice(0, 3)).joints[:, PELVIS], atol=1e-5, rtol=0)


def test_joints_of_a_pose_give_that_pose_back(clip):
    joints = clip.posed(slice(0, 3)).joints.numpy()
    motion = motion_on(JointTarget(joints, SMPL24), clip.body, clip.betas[0].numpy())
    back = clip.body.pose(motion.rotations, clip.betas, motion.trans, vertices=False).joints
    back = back - back[:, :1] + torch.from_numpy(joints[:, :1])
    assert float((back - torch.from_numpy(joints)).norm(dim=-1).mean()) < 0.01
    assert float(torch.rad2deg(geodesic_angle(motion.rotations[:, PELVIS], clip.rotations[:3, PELVIS])).max()) < 5


def test_a_target_without_hips_is_refused():
    joints = np.random.default_rng(0).normal(size=(1, len(COCO17), 3))
    joints[0, COCO17.index("left_hip")] = np.nan
    with raises(InputError, problem="hip"):
        motion_on(JointTarget(joints, COCO17), default_body(), np.zeros(10))


def record_of(rows: list[tuple[int, int, float]]) -> FitRecord:
    """(track, frame, size of the box) per row, with the frame's number as every pose value."""
    count = len(rows)
    frames = max(frame for _, frame, _ in rows) + 1
    values = {
        name: np.zeros((count, *shape))
        for name, shape in {
            "betas": (10,),
            "trans": (3,),
            "joints3d": (24, 3),
            "joints2d": (24, 2),
            "keypoints2d": (33, 3),
            "joint_confidence": (24,),
            "confidence": (),
            "reprojection_error": (),
            "interpolated": (),
        }.items()
    }
    return FitRecord.build(
        track_id=[track for track, _, _ in rows],
        frame_index=[frame for _, frame, _ in rows],
        poses=[[0.01 * frame] * 72 for _, frame, _ in rows],
        boxes=[[0, 0, size, size] for _, _, size in rows],
        segment_scales=np.ones((count, 24)),
        frame_names=[str(f) for f in range(frames)],
        shot_id=np.zeros(frames),
        image_size=np.tile([640, 480], (frames, 1)),
        focal=np.full(frames, 700.0),
        principal_point=np.tile([320.0, 240.0], (frames, 1)),
        world_to_camera=np.tile(np.eye(4), (frames, 1, 1)),
        **values,
    )


def test_the_largest_person_covers_the_largest_area_over_all_frames():
    """A bystander seen in every frame is not whom a clip is about; nor is who fills one frame of many."""
    assert record_of([(0, 0, 300), (1, 0, 20), (1, 1, 20)]).largest_track == 0
    assert record_of([(0, 0, 100), (0, 1, 100), (0, 2, 100), (1, 1, 150)]).largest_track == 0
    assert record_of([(0, 0, 30), (1, 0, 200)]).largest_track == 1


def test_frames_without_the_person_hold_the_last_pose():
    target = target_of_fit(record_of([(3, 1, 9), (3, 4, 9), (5, 0, 9)]), track=3)
    np.testing.assert_allclose(target.params.poses[:, 0], [0.01, 0.01, 0.01, 0.04], atol=1e-6)


def test_an_absent_person_is_named():
    with raises(UsageError, problem="no person 7", expected="0, 2"):
        target_of_fit(record_of([(0, 0, 9), (2, 0, 9)]), track=7)


def test_a_fit_file_holds_poses_as_the_video_it_came_from_does(tmp_path):
    record = record_of([(3, 1, 9), (3, 4, 9), (5, 0, 9)])
    write_fit(tmp_path / "a.fit.npz", record)
    pose = read_pose(tmp_path / "a.fit.npz")
    np.testing.assert_array_equal(pose.params.poses, target_of_fit(record).params.poses)
    assert len(pose.params.poses) == 4
