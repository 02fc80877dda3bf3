"""Fits exported with `world="ground"` stand upright on y = 0, and are rigidly the bodies that the cameras show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from helpers.moving_people import FRAMES, moving_people, world_joints
from helpers.standing_people import StandingPeople
from helpers.surfaces import frame_surfaces
from scipy.spatial.transform import Rotation

from humanpose_cli.avatar.look import Look
from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.exporting.exporter import export_fit
from humanpose_cli.exporting.skins import frame_meshes, people_in_world
from humanpose_cli.fitting.grounding import on_the_ground
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import COLUMNS
from humanpose_cli.io.fit_options import StoredOptions

FIT = moving_people()


def standing(pitch: float, confidence: float) -> Fit:
    """One person who stands in the T pose before a camera that looks down by `pitch` radians."""
    one, poses = FIT.select([0]), torch.zeros(1, 24, 3)
    turned = Rotation.from_rotvec((pitch, 0, 0)) * Rotation.from_rotvec((np.pi, 0, 0))
    poses[0, 0] = torch.from_numpy(turned.as_rotvec())
    posed = default_body().pose(axis_angle_to_matrix(poses), torch.zeros(1, 10), torch.tensor(one.trans))
    arrays = {"poses": poses.reshape(1, 72).numpy(), "betas": np.zeros((1, 10)), "joints3d": posed.joints.numpy()}
    arrays["joint_confidence"] = np.full((1, 24), confidence)
    return Fit.build(**{name: getattr(one, name) for name in COLUMNS} | arrays)


@pytest.mark.parametrize(("pitch", "confidence", "turned"), [(0.0, 1, 0.0), (0.45, 1, 0.45), (0.45, 0.1, 0.0)])
def test_who_stands_before_a_tilted_camera_stands_upright_on_the_ground(tmp_path, pitch, confidence, turned):
    """The world is turned as the camera was, to some degrees: it is balance that tells, where feet are known."""
    fit = standing(pitch, confidence).select([0])
    written = export_fit(fit, tmp_path / "a", ["ply", "amass"], world="ground")
    vertices = trimesh.load(next(path for path in written if path.name == "000000.ply"), process=False).vertices
    assert abs(vertices[:, 1].min()) < 1e-5
    grounded = on_the_ground(fit, default_body())
    turn = Rotation.from_matrix(grounded.world_to_camera[0, :3, :3])
    assert turn.magnitude() == pytest.approx(turned, abs=0.1)
    joints = world_joints(grounded)[0]
    trunk = joints[SMPL24.index("head")] - joints[SMPL24.index("pelvis")]
    assert (trunk[1] > 0.98 * np.linalg.norm(trunk)) == (turned == pitch)
    with np.load(tmp_path / "a.person0.amass.npz") as arrays:
        assert np.abs(arrays["trans"][0] - joints[0][[0, 2, 1]] * (1, -1, 1)).max() < 1e-5  # z up


def test_an_upright_world_stays_upright_whoever_leans_in_it():
    """It only moves to its ground: the lowest point of the body is at height 0, and nothing turns."""
    camera = np.eye(4)[None]
    camera[0, :3] = np.c_[Rotation.from_rotvec((0.1, 0.2, 0.3)).as_matrix(), (0.4, 0.5, 0.6)]
    fit = replace(standing(0.45, confidence=1), world_to_camera=np.repeat(camera, FRAMES, 0).astype(np.float32))
    assert Rotation.from_matrix(turn_of(fit)).magnitude() > 0.3  # balance tells otherwise
    upright, body = replace(fit, options=StoredOptions(upright=True)), default_body()
    grounded = on_the_ground(upright, body)
    assert np.abs(turn_of(upright) - np.eye(3)).max() < 1e-6
    lowest = frame_surfaces(upright, 0, body)[0][:, 1].min()
    assert np.abs(world_joints(grounded) - (world_joints(upright) - (0, lowest, 0))).max() < 1e-5
    assert (grounded.joints3d == fit.joints3d).all()


def standing_group(raised: tuple[float, ...]) -> Fit:
    people = StandingPeople(raised=raised)
    rows, count = vars(people.bodies), len(people.spots)
    plane = [[*people.up, people.height]]
    fit = Fit.empty(["a.jpg"], [(1280, 960)], [people.focal], ground=plane, focal_people=[0])
    bodies = {"track_id": np.arange(count), "frame_index": np.zeros(count), "interpolated": np.zeros(count, bool)}
    unused = {"keypoints2d": np.zeros((count, 33, 3)), "boxes": np.zeros((count, 4))}
    columns = {name: getattr(fit, name) for name in (*COLUMNS, "ground", "focal_people")}
    return Fit.build(**{**columns, **rows, **bodies, **unused})


def test_the_ground_under_several_people_is_the_worlds_and_who_is_above_it_stays_there():
    grounded = on_the_ground(standing_group((0, 0.5)), default_body())
    heights = [mesh[:, 1].min() for mesh in frame_surfaces(grounded, 0, default_body()).values()]
    np.testing.assert_allclose(heights, [0, 0.5] * 3, atol=1e-4)


def test_soles_of_who_stands_in_a_photograph_are_on_the_ground_with_their_shoes():
    """Each by its own, and the joints with them; who is far above it stays there."""
    fit, body = standing_group((0.05, -0.04, 0.5)), default_body()
    feet = np.isin(body.part_labels.numpy(), SMPL24.indices(("left_foot", "right_foot", "left_ankle", "right_ankle")))
    shoes = Look(np.zeros((4, 4, 3), np.uint8), feet[:, None] * np.array((0, -0.02, 0)))
    world, people, meshes = people_in_world(fit, body, dict.fromkeys(fit.tracks[:3], shoes), grounded=True)
    lowest = [mesh.vertices[:, 1].min() for mesh in frame_meshes(world, 0, body, people, meshes)]
    np.testing.assert_allclose(lowest, [0, 0, 0.48, 0, 0, 0.5], atol=1e-3)
    shifts = world.joints3d - fit.joints3d
    assert np.abs(shifts - (world.trans - fit.trans)[:, None]).max() < 1e-5
    up = -world.world_to_camera[0, :3, 1]
    np.testing.assert_allclose(shifts[:, 0] @ up, [-0.03, 0.06, 0, -0.05, 0.04, 0], atol=1e-3)
    np.testing.assert_allclose(shifts[:, 0], (shifts[:, :1] @ up) * up, atol=1e-5)
    as_it_was, _, _ = people_in_world(fit, body, {}, grounded=False)
    assert (as_it_was.trans == fit.trans).all()


def turn_of(fit: Fit) -> np.ndarray:
    """(3, 3) of the world's axes as given to those that stand on the ground."""
    grounded = on_the_ground(fit, default_body())
    return grounded.world_to_camera[0, :3, :3].T @ fit.world_to_camera[0, :3, :3]


def test_bodies_and_cameras_of_each_shot_move_together():
    fit, body = replace(FIT, shot_id=np.array([0, 0, 1, 1, 1], FIT.shot_id.dtype)), default_body()
    grounded = on_the_ground(fit, body)
    for shot in (0, 1):
        frames = np.flatnonzero(fit.shot_id == shot)
        moved = np.linalg.inv(grounded.world_to_camera[frames]) @ fit.world_to_camera[frames]
        assert np.abs(moved - moved[0]).max() < 1e-6  # one world a shot
        assert np.abs(moved[0, :3, :3] @ moved[0, :3, :3].T - np.eye(3)).max() < 1e-6
        assert np.abs(moved[0, (0, 2), 3]).max() < 1e-6
        lowest = [frame_surfaces(grounded, frame, body)[0][:, 1].min() for frame in frames]
        assert min(lowest) <= 1e-5
        assert max(lowest) >= -1e-5
    empty = on_the_ground(fit.select([]), body)
    assert (empty.world_to_camera == fit.world_to_camera).all()
    assert empty.frame_count == FRAMES


def test_amass_has_no_sizes_so_that_scaled_bodies_go_where_they_look_the_same():
    fit = replace(FIT, segment_scales=np.full_like(FIT.segment_scales, 0.8))
    arrays = fit.to_amass(fit.tracks[0])
    row, turn = np.flatnonzero(fit.track_id == fit.tracks[0])[0], arrays["world_to_camera"][0]
    rest = default_body().rest_joints(torch.from_numpy(fit.betas[[row]]))[0, 0].numpy()
    pelvis = turn[:3, :3] @ (arrays["trans"][0] + rest) + turn[:3, 3]
    np.testing.assert_allclose(pelvis, fit.joints3d[row, 0] / 0.8, atol=1e-5)
