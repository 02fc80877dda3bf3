"""Limbs that the photograph shows elsewhere than the fit has them, against images whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, mesh_reposer, pose, sentences

from humanpose_cli.avatar.dressing import DetectedLandmarks, DressedBody, image_of_strays, without_strays
from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import FittedPerson
from humanpose_cli.avatar.surface import body_texels
from humanpose_cli.body.body import FACE13
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24

TOES = BLAZEPOSE33.index("right_foot_index")


def landmarks(*names: str) -> np.ndarray:
    return np.isin(BLAZEPOSE33.joint_names, names)


def test_only_the_stray_limb_loses_its_confidence() -> None:
    confidence = np.linspace(0.5, 0.9, 24).astype(np.float32)
    expected = confidence.copy()
    expected[SMPL24.index("right_foot")] = 0
    np.testing.assert_array_equal(
        without_strays(confidence, landmarks("right_foot_index", "nose", "left_hip")), expected
    )
    hand = without_strays(None, landmarks("left_thumb", "left_index"))
    assert hand[SMPL24.index("left_hand")] == 0
    assert hand.sum() == 23
    shin = without_strays(None, landmarks("left_ankle"))
    assert shin[SMPL24.indices(("left_ankle", "left_foot"))].sum() == 0, "toes hang from the ankle"
    assert shin.sum() == 22


def test_the_image_of_a_stray_limb_is_the_segment_about_its_landmarks() -> None:
    keypoints = np.zeros((33, 3), np.float32)
    for name, pixel in {"right_ankle": (20, 20), "right_heel": (20, 60), "right_foot_index": (70, 60)}.items():
        keypoints[BLAZEPOSE33.index(name)] = (*pixel, 1)
    reliable = keypoints[:, 2] > 0
    image = image_of_strays(keypoints, landmarks("right_foot_index"), reliable, (100, 90), 4)
    assert image[60, 20:71].all()
    assert image[57:64, 45].all()
    assert not image[:52].any(), "the segment above the heel is where the body has it"
    assert not image[68:].any()
    everything = image_of_strays(keypoints, landmarks("right_heel"), reliable, (100, 90), 4)
    assert everything[40, 20]
    assert everything[60, 45]
    assert not image_of_strays(keypoints, landmarks("nose"), reliable, (100, 90), 4).any()
    alone = image_of_strays(keypoints, landmarks("right_foot_index"), landmarks("right_foot_index"), (100, 90), 4)
    ys, xs = np.nonzero(alone)
    assert abs(xs.mean() - 70) < 1
    assert np.ptp(xs) <= 10
    assert np.ptp(ys) <= 10


def test_landmarks_far_outside_the_image_are_drawn_to_its_edge() -> None:
    keypoints = np.full((33, 3), (20, 60, 1), np.float32)
    for wild in (3e9, -1e20, 2.0**31):
        keypoints[TOES, 0] = wild
        assert image_of_strays(keypoints, landmarks("right_foot_index"), np.ones(33, bool), (100, 90), 1e6)[60, 20]
        image = image_of_strays(keypoints, landmarks("right_foot_index"), np.ones(33, bool), (100, 90), 2)
        assert image[60, 80 if wild > 0 else 5]
        assert not image[60, 5 if wild > 0 else 80]


def strays_of(stage: Stage, keypoints: np.ndarray) -> set[str]:
    dressed = DressedBody.of(stage.body, torch.zeros(10))
    found = DetectedLandmarks(dressed, pose(**STANDING), stage.trans, keypoints, stage.view)
    return set(np.array(BLAZEPOSE33.joint_names)[found.stray])


@pytest.mark.slow
def test_what_may_be_the_other_side_or_a_wrong_body_is_no_stray_limb(stage: Stage) -> None:
    dressed = DressedBody.of(stage.body, torch.zeros(10))
    points = stage.view.project(dressed.landmark_points(pose(**STANDING), stage.trans))
    keypoints = torch.cat((points, torch.ones(33, 1)), 1).numpy()
    assert not strays_of(stage, keypoints)
    moved = keypoints.copy()
    moved[TOES, 0] -= 40  # outwards
    moved[BLAZEPOSE33.index("left_hip"), 0] += 60
    assert strays_of(stage, moved) == {"right_foot_index"}, "hips are of the trunk"
    confused, feet = keypoints.copy(), landmarks("left_heel", "right_heel", "left_foot_index", "right_foot_index")
    confused[feet] = keypoints[list(BLAZEPOSE33.mirror)][feet]
    assert not strays_of(stage, confused), "left and right are confused"
    wrong = keypoints.copy()
    wrong[[name.startswith("left_") for name in BLAZEPOSE33.joint_names], 1] -= 90
    assert not strays_of(stage, wrong), "half of the limbs are off: the body is"


def twisted(stage: Stage, confidence: float, **joints: tuple[float, float, float]) -> MeshReposer:
    """Somebody whose right foot points to the side, with a fit that has it straight, and true keypoints."""
    straight = pose(**STANDING, **joints)
    true = pose(**STANDING, **joints, right_ankle=(0.0, -1.5, 0.0))
    photo, mask = stage.person(true)
    posed = stage.body.pose(true[None], torch.zeros(1, 10), stage.trans[None])
    shown, face = (stage.body.pose_landmarks(s.name, posed, torch.zeros(1, 10))[0] for s in (BLAZEPOSE33, FACE13))
    for row, name in enumerate(BLAZEPOSE33.joint_names):
        if name in FACE13:
            shown[row] = face[FACE13.index(name)]
    keypoints = torch.cat((stage.view.project(shown), torch.ones(33, 1)), 1).numpy()
    keypoints[TOES, 2] = confidence
    fit: FittedPerson = replace(stage.fitted(straight), keypoints2d=keypoints)
    return mesh_reposer(photo, mask, fit, stage.body, options=MeshOptions())


@pytest.mark.extensive
def test_a_twisted_foot_is_completed_from_the_other(stage: Stage) -> None:
    found, taken = twisted(stage, 1.0), twisted(stage, 0.6)  # the latter's toes might be the detector's error
    size = found.person.texture.image.shape[0]
    texels = body_texels(stage.body, size)
    labels = stage.body.part_labels.numpy()
    foot = torch.from_numpy(np.isin(labels, SMPL24.indices(("right_ankle", "right_foot"))).astype(np.float32))
    where = texels.fine.interpolate(foot[:, None].numpy(), stage.body.faces)[..., 0] > 0.99
    where &= texels.fine.covered
    assert found.person.texture.image[where][:, 3].max() < 0.55, "made-up texels of the foot count as photographed"
    assert taken.person.texture.image[where][:, 3].max() > 0.9
    said = "the photo shows the right foot elsewhere than the fit: it is made up"
    assert said in sentences(found.render(found.person.pose.rotations))
    assert said not in sentences(taken.render(taken.person.pose.rotations))
    step = stage.texture.shape[0] // size
    truth = stage.texture[step // 2 :: step, step // 2 :: step]
    visible = where & (taken.person.texture.image[..., 3] > 0.9)
    errors = [np.abs(one.person.texture.image[..., :3] - truth)[visible].mean() for one in (found, taken)]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.extensive
def test_a_stray_shin_has_no_effect_on_the_ground(stage: Stage) -> None:
    """Somebody who kneels, with a fit that has the shin upright: its foot is not where the fit has it."""
    raised = {"left_hip": (-1.2, 0.0, 0.0)}
    straight, true = pose(**STANDING, **raised), pose(**STANDING, **raised, right_knee=(1.4, 0.0, 0.0))
    photo, mask = stage.person(true)
    shown = stage.body.pose_landmarks(
        BLAZEPOSE33.name, stage.body.pose(true[None], torch.zeros(1, 10), stage.trans[None]), torch.zeros(1, 10)
    )[0]
    keypoints = torch.cat((stage.view.project(shown), torch.ones(33, 1)), 1).numpy()
    keypoints[[name in FACE13 for name in BLAZEPOSE33.joint_names], 2] = 0
    fit = replace(stage.fitted(straight), keypoints2d=keypoints)
    found = mesh_reposer(photo, mask, fit, stage.body, options=MeshOptions())
    assert found.person.ground is None
