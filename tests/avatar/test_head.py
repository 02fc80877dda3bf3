"""A head keeps the view that the photograph shows of it."""

import math
from itertools import pairwise

import pytest
import torch
from helpers.repose_stage import Stage, pose

from humanpose_cli.avatar.head import head_yaw, kept_head, shows_face


def yaw_of(stage: Stage, rotations: torch.Tensor) -> float:
    return head_yaw(stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]))


@pytest.mark.parametrize("turn", [0.0, 0.5, -1.3])
def test_yaw_is_the_turn_of_the_head(stage: Stage, turn: float) -> None:
    assert abs(yaw_of(stage, pose(turn)) + turn) < 0.02


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_profile_turned_to_the_camera_stays_half_a_profile(stage: Stage, side: float) -> None:
    photo, target = side * math.pi / 2, pose()
    kept = kept_head(target, yaw_of(stage, target), photo)
    assert side * yaw_of(stage, kept) == pytest.approx(math.radians(55), abs=0.03)
    changed = (kept != target).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == [12, 15]  # neck and head


@pytest.mark.parametrize(("photo", "turn"), [(0.5, 0.0), (-0.5, 0.0), (math.pi, math.pi), (-2.7, 2.9), (0.3, math.pi)])
def test_small_turns_and_turned_backs_stay(stage: Stage, photo: float, turn: float) -> None:
    target = pose(turn)
    assert kept_head(target, yaw_of(stage, target), photo) is target


@pytest.mark.parametrize("photo", [math.pi, -2.7, 2.2])
def test_a_face_that_no_photo_shows_is_turned_away(stage: Stage, photo: float) -> None:
    target = pose()
    kept = yaw_of(stage, kept_head(target, yaw_of(stage, target), photo))
    assert kept == pytest.approx(math.radians(55), abs=0.03)
    assert not shows_face(photo)
    assert shows_face(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("photo", [0.2, 1.4, math.pi])
def test_it_never_jumps_as_the_target_turns(stage: Stage, photo: float) -> None:
    kept = []
    for degrees in range(-180, 181, 5):
        target = pose(math.radians(degrees))
        kept.append(yaw_of(stage, kept_head(target, yaw_of(stage, target), photo)))
    assert max(abs(math.remainder(b - a, 2 * math.pi)) for a, b in pairwise(kept)) < math.radians(12)
