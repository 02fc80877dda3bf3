"""Flights: found on exact parabolas, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.extensive import extensive

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.problem import UPRIGHT_JOINTS
from humanpose_cli.fitting.sequences import GRAVITY, flights, free_fall, masses_of, runs, steady_frames
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

TIME = torch.arange(60, dtype=torch.float64) / 30


def jump(takeoff: int, landing: int) -> torch.Tensor:
    """(60,) metres below the start of somebody who jumps down at 1.5 m/s upwards."""
    flight = TIME.clamp(TIME[takeoff], TIME[landing]) - TIME[takeoff]
    return -1.5 * flight + 0.5 * GRAVITY * flight**2


@pytest.mark.parametrize(("takeoff", "landing"), [(0, 12), (10, 30), (40, 59)])
def test_a_jump_is_found_with_takeoff_and_landing(takeoff: int, landing: int) -> None:
    ((first, last),) = flights(jump(takeoff, landing), TIME)
    # A frame or two before and behind hardly leave the parabola.
    assert abs(first - takeoff) <= 3
    assert abs(last - landing) <= 3


@pytest.mark.parametrize(("takeoff", "landing"), [(5, 17), (10, 26), (20, 45)])
def test_a_body_falls_in_all_frames_between_takeoff_and_landing(takeoff: int, landing: int) -> None:
    rig = LandmarkRig(default_body(), default_body().landmarks("blazepose33"), UPRIGHT_JOINTS)
    world = jump(takeoff, landing)[:, None, None] * torch.tensor([0.0, 1.0, 0.0]) * torch.ones(len(rig.template), 1)
    to_world = torch.eye(3, dtype=torch.float64).expand(60, 3, 3)
    acceleration = free_fall(rig, world, to_world, TIME, torch.zeros(59, dtype=torch.bool))
    expected = torch.zeros(58, 3, dtype=torch.float64)
    expected[takeoff : landing - 1, 1] = GRAVITY  # the first acceleration is that of the second frame
    assert torch.allclose(acceleration, expected)


def test_two_jumps_are_two_flights_in_the_order_of_time() -> None:
    first, second = flights(jump(5, 15) + jump(30, 50), TIME)
    assert first[1] <= 18 <= 27 <= second[0]


@pytest.mark.parametrize(
    "fallen",
    [
        torch.zeros(60),
        TIME,
        0.03 * torch.sin(2 * np.pi * 2 * TIME),
        0.5 * 3.7 * TIME**2,
        0.5 * 19.0 * TIME**2,
        -0.5 * GRAVITY * TIME**2,
    ],
    ids=["still", "even", "walking", "on Mars", "pushed", "upwards"],
)
def test_other_movements_are_none(fallen: torch.Tensor) -> None:
    assert flights(fallen.double(), TIME) == []


@pytest.mark.extensive
@pytest.mark.parametrize("activity", [*extensive("walking", "washwindow", "basketball_signal"), "jumping"])
def test_real_people_fly_when_they_jump_and_not_when_they_walk(activity: str) -> None:
    """Motion capture: whoever jumps has the lowest sole well above the floor in flight, and nowhere else."""
    body = default_body()
    rig = LandmarkRig(body, body.landmarks("blazepose33"), UPRIGHT_JOINTS)
    names = rig.landmark_skeleton.joint_names
    soles = [row for row, name in enumerate(names) if name.endswith(("heel", "foot_index"))]
    falling, high = [], []
    for motion in pose_library().motions(activity=activity):
        rotations = axis_angle_to_matrix(motion.poses.double().unflatten(-1, (24, 3)))
        betas = torch.zeros(len(motion), body.shape_count, dtype=torch.float64)
        world = rig.pose(rotations, motion.pelvis.double(), betas).points
        lowest = world[1:-1, soles, 1].min(1).values
        high.append(lowest > lowest.quantile(0.1) + 0.04)
        camera = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))  # y down
        to_world = torch.eye(3, dtype=torch.float64).expand(len(motion), 3, 3)
        standing = torch.zeros(len(motion) - 1, dtype=torch.bool)
        time = torch.arange(len(motion)).double() / motion.frame_rate
        falling.append(free_fall(rig, world @ camera, to_world, time, standing).any(1))
    flight, above = torch.cat(falling), torch.cat(high)
    if activity == "jumping":
        assert flight[above].double().mean() > 0.95
        assert above[flight].double().mean() > 0.6  # the others are less than 4 cm above the floor
    else:
        assert not flight.any()


def test_a_flight_lasts_long_enough_to_be_detected() -> None:
    assert flights(jump(10, 13), TIME) == []


@pytest.mark.parametrize(
    ("speed", "turned", "dropped"),
    [
        (15.0, [], []),
        (15.0, [12], [12]),
        (15.0, [12, 13, 14], [12, 13, 14]),
        (0.0, [*range(15, 30)], []),
        (0.0, [*range(0, 30, 9)], [*range(0, 30, 9)]),
    ],
    ids=["pirouette", "one frame", "three frames", "half of the frames", "some frames"],
)
def test_frames_that_face_the_wrong_way_are_not_steady(speed: float, turned: list[int], dropped: list[int]) -> None:
    """At a speed in radians a second, some frames are turned by 180°."""
    angle = speed * TIME[:30]
    angle[turned] += np.pi
    rotations = torch.eye(3, dtype=torch.float64).repeat(30, 24, 1, 1)
    rotations[:, 0] = axis_angle_to_matrix(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]))
    expected = [frame for frame in range(30) if frame not in dropped]
    assert steady_frames(rotations, TIME[:30]).tolist() == expected


def test_runs_are_the_stretches_of_true_flags() -> None:
    assert list(runs(torch.tensor([True, True, False, False, True]))) == [(0, 2), (4, 5)]
    assert list(runs(torch.zeros(3, dtype=torch.bool))) == []


@pytest.mark.parametrize("skeleton", ["blazepose33", "coco17"])
def test_the_centre_of_mass_of_a_neutral_body_is_that_of_its_volume(skeleton: str) -> None:
    """A body of even density: trimesh integrates over the closed mesh."""
    import trimesh

    body = default_body()
    rig = LandmarkRig(body, body.landmarks(skeleton), ("neck", "left_ankle", "right_ankle"))
    masses = masses_of(rig)
    assert float(masses.sum()) == pytest.approx(1)
    mesh = trimesh.Trimesh(body.template.numpy(), body.faces.numpy(), process=False)
    centre = (masses @ rig.template).numpy()
    assert np.abs(centre - mesh.center_mass)[:2] == pytest.approx([0, 0], abs=0.04)
