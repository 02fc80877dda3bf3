"""Which landmarks tell of which joints."""

import pytest
import torch

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, H36M17, REPOSING19, SMPL24, Skeleton
from humanpose_cli.fitting.evidence import joint_evidence, witnesses


@pytest.mark.parametrize("skeleton", [BLAZEPOSE33, COCO17, H36M17, REPOSING19])
def test_every_joint_has_witnesses_on_its_side(skeleton: Skeleton):
    for joint, groups in zip(SMPL24.joint_names, witnesses(skeleton), strict=True):
        assert groups, joint
        names = [skeleton.joint_names[row] for group in groups for row in group]
        for side, other in (("left_", "right_"), ("right_", "left_")):
            if joint.startswith(side):
                assert not any(name.startswith(other) for name in names), joint


def test_a_hidden_landmark_takes_its_joints_along_and_no_others():
    evidence = torch.ones(1, 33)
    evidence[0, BLAZEPOSE33.index("left_ankle")] = 0.2
    joints = joint_evidence(BLAZEPOSE33, evidence)[0]
    low = {name for name, value in zip(SMPL24.joint_names, joints.tolist(), strict=True) if value < 1}
    assert low == {"left_ankle", "left_foot"}


def test_one_good_landmark_of_the_head_is_enough():
    evidence = torch.zeros(1, 33)
    evidence[0, BLAZEPOSE33.index("right_ear")] = 0.8
    joints = joint_evidence(BLAZEPOSE33, evidence)[0]
    assert joints[SMPL24.index("head")] == pytest.approx(0.8)
    assert joints.sum() == pytest.approx(0.8)
