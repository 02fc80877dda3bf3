"""Standing on the ground of a photograph."""

import math

import numpy as np
import pytest
import torch
from helpers.extensive import extensive
from helpers.repose_stage import STANDING, Stage, pose

from humanpose_cli.avatar.ground import (
    MAX_SINKING,
    contact_shadow,
    ground_under,
    sole_height,
    straight_legs,
    tilt_of,
    turn_between,
)
from humanpose_cli.avatar.mesh import shaded
from humanpose_cli.avatar.person import TargetPose
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.reposing.targets import motion_on


def vertices(stage: Stage, rotations: torch.Tensor, trans: torch.Tensor) -> torch.Tensor:
    return stage.body.pose(rotations[None], torch.zeros(1, 10), trans[None]).vertices[0]


def tilt(stage: Stage, rotations: torch.Tensor, reliable: torch.Tensor | None = None) -> torch.Tensor:
    posed = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None])
    return tilt_of(posed.vertices, posed.joints, stage.body, reliable)


def with_bent_legs(hips: float, left_knee: float, right_knee: float | None = None) -> torch.Tensor:
    """A pose with these bends of both hips and of each knee, in degrees; the right knee is as the left one if None."""
    hip, left, right = (
        math.radians(angle) for angle in (hips, left_knee, left_knee if right_knee is None else right_knee)
    )
    legs = {"left_hip": -hip, "right_hip": -hip, "left_knee": left, "right_knee": right}
    return pose(**{joint: (angle, 0.0, 0.0) for joint, angle in legs.items()}, **STANDING)


KNEELING = pose(left_knee=(1.6, 0.0, 0.0), right_knee=(1.6, 0.0, 0.0), **STANDING)
ONE_LEG = pose(left_hip=(-1.2, 0.0, 0.0), left_knee=(1.4, 0.0, 0.0), **STANDING)
STEP = pose(left_hip=(-1.0, 0.0, 0.0), right_hip=(0.7, 0.0, 0.0), **STANDING)


def test_only_who_stands_on_their_feet_has_a_ground(stage: Stage) -> None:
    upright = vertices(stage, pose(**STANDING), stage.trans)
    assert sole_height(upright, stage.body) == float(upright[:, 1].max())
    assert sole_height(vertices(stage, KNEELING, stage.trans), stage.body) is None
    assert sole_height(upright, stage.body, torch.zeros(len(upright))) is None


def leap(seconds: np.ndarray, start: float, height: float) -> np.ndarray:
    """Metres above the ground (T,) of who jumps."""
    since = seconds - start
    return np.maximum(np.sqrt(2 * 9.81 * height) * since - 9.81 / 2 * since**2, 0)


@pytest.mark.parametrize("rate", [25, 60, 120])
def test_the_ground_of_a_motion_follows_its_drift_and_not_its_jumps_and_glitches(rate: int) -> None:
    seconds = np.arange(4 * rate) / rate
    drift = 0.1 * np.sin(1.5 * seconds) + 1
    for height in (0.1, 0.6):
        jump = leap(seconds, 1.5, height)
        above = jump + drift - ground_under(jump + drift, rate)
        np.testing.assert_allclose(above, jump, atol=0.025)
        assert abs(above.max() - height) < 0.025
    tremor = np.random.default_rng(0).normal(0, 0.003, len(seconds))
    ground = ground_under(drift + tremor, rate)
    assert (drift + tremor - ground).min() > -MAX_SINKING - 1e-9
    np.testing.assert_allclose(ground, drift, atol=0.012)
    assert np.diff(ground, 2).std() < 0.1 * np.diff(tremor, 2).std()
    glitch = np.where(np.arange(len(seconds)) == rate, -0.2, 0.0)
    assert np.count_nonzero(np.abs(ground_under(glitch, rate)) > 1e-6) == 1
    box = ground_under(np.where(seconds > 2, 0.5, 0.0), rate)  # who climbs stands on the ground again soon
    np.testing.assert_allclose(box[seconds > 2.4], 0.5, atol=0.01)


@pytest.mark.extensive
def test_a_motion_stays_on_the_ground_where_its_camera_or_its_distances_are_off(stage: Stage) -> None:
    rotations = pose(**STANDING)
    reposer = stage.reposer(rotations)
    seconds = np.arange(60) / 30
    jump = leap(seconds, 1.0, 0.3)
    path = torch.from_numpy(np.stack((0.3 * seconds, 0.1 * seconds - jump, 0.4 * seconds), 1).astype(np.float32))

    def heights(poses: torch.Tensor, path: torch.Tensor) -> np.ndarray:
        placed = reposer.person.set_down(poses, stage.trans + path, 30.0)
        torch.testing.assert_close(placed[:, [0, 2]], (stage.trans + path)[:, [0, 2]])
        bodies = zip(poses, placed, strict=True)
        return np.array([reposer.person.ground - float(reposer.person.body.pose(*body)[:, 1].max()) for body in bodies])

    standing = rotations.expand(60, -1, -1, -1)
    np.testing.assert_allclose(heights(standing, path), jump, atol=0.02)
    # The same frames are as high in a part of the motion; a part in which nobody stands is not sunk either.
    np.testing.assert_allclose(heights(standing[40:], path[40:]), jump[40:], atol=0.02)
    kneeling = KNEELING.expand(60, -1, -1, -1)
    np.testing.assert_allclose(heights(kneeling, path), jump, atol=0.02)
    assert heights(kneeling[:1], torch.tensor([[0.0, 1.0, 0.0]])) == pytest.approx(-MAX_SINKING, abs=1e-4)


def test_shadow_lies_below_the_feet_and_fades(stage: Stage) -> None:
    body = vertices(stage, pose(**STANDING), torch.tensor([0.0, 0.2, 3.5]))
    height = sole_height(body, stage.body)
    box, light = contact_shadow(body, height, stage.view)
    assert light.max() <= 1
    assert 0.3 < light.min() < 0.6
    y, x = np.unravel_index(light.argmin(), light.shape)
    sole = body[body[:, 1] > height - 0.02]
    near = (stage.view.project(sole) - torch.tensor([box.x0 + x + 0.5, box.y0 + y + 0.5])).norm(dim=1).min()
    assert near < 4
    assert light[0].min() > 0.8
    assert light[:, 0].min() > 0.9
    assert contact_shadow(body, 0.1, stage.view) is None
    assert contact_shadow(body - torch.tensor([0.0, 0.5, 0.0]), height, stage.view) is None


@pytest.mark.extensive
def test_the_shadow_of_who_is_below_the_ground_is_no_darker_and_no_light_wraps_round(stage: Stage) -> None:
    rotations = pose(**STANDING)
    body = vertices(stage, rotations, torch.tensor([0.0, 0.2, 3.5]))
    height = sole_height(body, stage.body)
    standing, sunk = (
        contact_shadow(body + torch.tensor([0.0, by, 0.0]), height, stage.view)[1].min() for by in (0.0, 0.1)
    )
    assert 0.3 < sunk <= standing
    reposer = stage.reposer(rotations)
    plate = np.full_like(reposer.person.photographed.photo, 200)
    shadowed = shaded(
        plate, reposer.person, TargetPose(rotations, stage.trans + torch.tensor([0.0, 0.1, 0.0])), stage.view
    )
    assert 60 < shadowed.min() < 150
    assert shadowed.max() == 200


LEVEL = torch.tensor([0.0, 1.0, 0.0])
TILTS = {"down": (0.45, 0.0, 0.0), "up": (-0.3, 0.0, 0.0), "rolled": (0.0, 0.0, 0.4), "both": (0.3, 0.0, -0.35)}


def tilted(rotations: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """A pose as a camera sees it whose axes are the level ones turned (3, 3)."""
    return torch.cat((turn @ rotations[:1], rotations[1:]))


@pytest.mark.extensive
@pytest.mark.parametrize("tilt", [*extensive("down", "up", "rolled"), "both"])
def test_a_standing_target_stands_upright_before_a_tilted_camera(stage: Stage, tilt: str) -> None:
    turn = axis_angle_to_matrix(torch.tensor(TILTS[tilt]))
    rotations = tilted(pose(**STANDING), turn)
    reposer = stage.reposer(rotations)
    assert torch.rad2deg(torch.arccos(reposer.person.down @ turn @ LEVEL)) < 5
    (doubt,) = (doubt for doubt in reposer.person.doubts(reposer.person.pose) if doubt.kind == "tilt")
    assert doubt.amount == pytest.approx(float(torch.rad2deg(torch.arccos(reposer.person.down @ LEVEL))), abs=0.1)
    step = BodyParams.from_rotations(STEP[None].numpy(), np.zeros((1, 10)), np.zeros((1, 3)))
    start = (stage.trans + stage.body.rest_joints(torch.zeros(1, 10))[0, 0]).numpy()
    placed = motion_on(RotationTarget(step), stage.body, np.zeros(10), start, reposer.person.down)
    down = reposer.person.set_down(placed.rotations, placed.trans, 30.0)[0]
    legs_and_trunk = vertices(stage, placed.rotations[0], down)
    upright = torch.nn.functional.normalize(placed.rotations[0, 0] @ torch.tensor([0.0, -1.0, 0.0]), dim=0)
    assert torch.rad2deg(torch.arccos(upright @ turn @ LEVEL)) < 5
    assert abs(float((legs_and_trunk @ reposer.person.down).max()) - reposer.person.ground) < 0.02
    # A target that the same camera took is turned no further.
    target = RotationTarget(BodyParams.from_rotations(rotations[None].numpy(), np.zeros((1, 10)), np.zeros((1, 3))))
    kept = motion_on(target, stage.body, np.zeros(10), start, reposer.person.down)
    torch.testing.assert_close(kept.rotations[0], rotations, atol=0.05, rtol=0)


def test_nearly_level_cameras_are_level_and_people_who_kneel_or_step_give_no_tilt(stage: Stage) -> None:
    little, much = (axis_angle_to_matrix(torch.tensor([angle, 0.0, 0.0])) for angle in (0.1, 0.5))
    for rotations in (tilted(pose(**STANDING), little), tilted(KNEELING, much), tilted(ONE_LEG, much)):
        torch.testing.assert_close(tilt(stage, rotations), LEVEL)
    upright = tilted(pose(**STANDING), much)
    assert tilt(stage, upright)[2] > 0.3
    torch.testing.assert_close(tilt(stage, upright, torch.zeros(len(stage.body.template))), LEVEL)


BENT = {
    **{f"sitting with knees bent by {angle}": with_bent_legs(angle, angle) for angle in (79, 90, 105)},
    "sitting with legs stretched out": with_bent_legs(90, 5),
    "sitting with one leg stretched out": with_bent_legs(90, 10, 90),
    "crouching": with_bent_legs(110, 140),
    "kneeling": with_bent_legs(0, 90),
    "lying": tilted(pose(**STANDING), axis_angle_to_matrix(torch.tensor((math.pi / 2, 0.0, 0.0)))),
}


@pytest.mark.parametrize("rotations", BENT.values(), ids=BENT)
@pytest.mark.parametrize("turn", [0.0, 0.3, -0.3])
def test_people_with_bent_legs_and_hips_have_no_way_down(stage: Stage, rotations: torch.Tensor, turn: float) -> None:
    before = tilted(rotations, axis_angle_to_matrix(torch.tensor([turn, 0.0, 0.0])))
    torch.testing.assert_close(tilt(stage, before), LEVEL)


def test_legs_are_straight_up_to_the_maximum_bend_of_their_knees(stage: Stage) -> None:
    limit = 40
    poses = [with_bent_legs(limit / 2, knee) for knee in (0, limit - 3, limit + 3, 90)]
    poses += [with_bent_legs(0, 0, limit + 3), with_bent_legs(90, 0)]
    joints = stage.body.pose(torch.stack(poses), torch.zeros(len(poses), 10)).joints
    assert straight_legs(joints).tolist() == [True, True, False, False, False, True]
    # The bend is that of the joints, wherever the camera is: standing with slightly bent knees is standing.
    turn = axis_angle_to_matrix(torch.tensor([0.5, 0.0, 0.0]))
    assert torch.rad2deg(torch.arccos(tilt(stage, tilted(with_bent_legs(10, 20), turn)) @ turn @ LEVEL)) < 10


def test_the_smallest_turn_brings_one_direction_onto_the_other() -> None:
    a, b = (torch.nn.functional.normalize(torch.tensor(v), dim=0) for v in ([0.2, 1.0, 0.1], [-0.4, 0.8, 0.5]))
    turn = turn_between(a, b)
    torch.testing.assert_close(turn @ a, b)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(turn @ torch.linalg.cross(a, b), torch.linalg.cross(a, b))


def test_the_shadow_of_a_tilted_camera_is_the_level_one_viewed_by_it(stage: Stage) -> None:
    turn = axis_angle_to_matrix(torch.tensor([0.35, 0.0, 0.1]))
    body = vertices(stage, pose(**STANDING), torch.tensor([0.0, 0.2, 3.5]))
    height = sole_height(body, stage.body)
    box, light = contact_shadow(body @ turn.mT, height, stage.view, turn @ LEVEL)
    y, x = np.unravel_index(light.argmin(), light.shape)
    soles = stage.view.project((body @ turn.mT)[body[:, 1] > height - 0.02])
    assert (soles - torch.tensor([box.x0 + x + 0.5, box.y0 + y + 0.5])).norm(dim=1).min() < 4
    level = contact_shadow(body, height, stage.view)[1]
    assert abs(light.min() - level.min()) < 0.02
