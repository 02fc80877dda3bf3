"""People of photographs are exported in their clothes: surface and texture are those that reposing draws."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.repose_stage import STANDING, Stage, painted_stage, pose
from helpers.walking_person import drawn_walk

from humanpose_cli.avatar.look import Look
from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.surface import body_texels
from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.exporting.looks import Dressing, available_frames, looks_of_fit
from humanpose_cli.exporting.motion import TO_Y_UP, person_motion
from humanpose_cli.exporting.skins import SkinnedMesh, frame_meshes, person_meshes
from humanpose_cli.fitting.fit_reading import on_frames
from humanpose_cli.fitting.people import detections_of_fit
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.scene import ReposingScene

POSE = pose(0.2, **{**STANDING, "left_knee": (0.9, 0.0, 0.0)})


def fit_of(stage: Stage) -> Fit:
    """The true fit of the stage's person, as its file holds it."""
    person, (width, height) = stage.fitted(POSE), stage.view.size
    joints = stage.body.pose(POSE[None], torch.zeros(1, 10), stage.trans[None]).joints.numpy()
    return Fit.build(
        poses=person.poses[None],
        betas=np.zeros((1, 10)),
        trans=person.trans[None],
        boxes=[(0, 0, width, height)],
        track_id=[3],
        frame_index=[0],
        interpolated=[False],
        segment_scales=np.ones((1, len(SMPL24))),
        joints3d=joints,
        joints2d=np.zeros((1, 24, 2)),
        keypoints2d=np.zeros((1, 33, 3)),
        confidence=[1],
        joint_confidence=np.ones((1, 24)),
        reprojection_error=[0],
        frame_names=["a.png"],
        shot_id=[0],
        image_size=[stage.view.size],
        focal=[stage.view.focal],
        principal_point=[stage.view.principal_point],
        world_to_camera=np.eye(4)[None],
    )


@pytest.fixture(scope="module")
def painted() -> Stage:
    return painted_stage()


def world_meshes(fit: Fit, look: Look) -> list[SkinnedMesh]:
    body, person = fit.body_model(), person_motion(fit, 3)
    return frame_meshes(fit, 0, body, [person], {3: person_meshes(body, person, look)})


@pytest.mark.extensive
def test_the_posed_mesh_is_where_reposing_draws_the_person(painted):
    """With clothes that stand off, shoes, and a larger head."""
    fit, (photo, _) = fit_of(painted), painted.person(POSE)
    options = ReposeOptions(background="transparent", mesh=MeshOptions(texture_size=64))
    detected = replace(fit, detections=tuple(detections_of_fit(fit, photo)))
    photographed = ReposingScene(photo, detected, (), painted.body, options, None).photographed(0)
    person = MeshReposer.of(photographed, painted.body, background="transparent", options=options.mesh).person
    body = person.body.with_head_scaled(1.15)
    x, y, _ = painted.body.template.T
    displacements, wave = 0.02 + 0.02 * torch.cos(9 * y), 0.01 * torch.sin(12 * x)
    body = replace(body, displacements=displacements, offsets=torch.stack((wave, -wave, wave), 1))
    dressed = replace(person.avatar.dressed, body=body)
    person = replace(person, avatar=replace(person.avatar, dressed=dressed))
    (mesh,) = world_meshes(fit, Look.of(person.avatar, fit.segment_scales[0]))
    expected = person.surfaces(person.pose)[0].vertices
    away = np.linalg.norm(mesh.vertices @ TO_Y_UP - expected.numpy(), axis=1)
    assert np.median(away) < 1e-5
    assert away.max() < 5e-3  # within bends, where linear skinning shortens what stands off
    pixels = painted.view.project(torch.from_numpy(mesh.vertices @ TO_Y_UP).float())
    assert (pixels - painted.view.project(expected)).norm(dim=1).max() < 1
    assert np.abs(mesh.strongest_bones[1].sum(1) - 1).max() < 1e-9
    naked = world_meshes(fit, Look(np.zeros((4, 4, 3), np.uint8)))[0].vertices
    assert 0.01 < np.median(np.linalg.norm(mesh.vertices - naked, axis=1)) < 0.05


@pytest.mark.extensive
def test_a_photograph_gives_a_texture_without_unknown_texels(painted):
    fit, (photo, _) = fit_of(painted), painted.person(POSE)
    look = looks_of_fit(fit, None, FitFrames.of(fit, photo))[3]
    side = len(look.texture)
    assert look.texture.shape == (side, side, 3)
    assert look.offsets.shape == painted.body.template.shape
    covered = body_texels(painted.body, side).fine.covered
    step = len(painted.texture) / side
    truth = painted.texture[(np.arange(side) * step).astype(int)][:, (np.arange(side) * step).astype(int)]
    error = np.abs(look.texture / np.float32(255) - truth).max(2)[covered]
    assert np.median(error) < 0.15  # also where the photograph shows nothing
    assert look.texture[covered].max(1).min() > 20  # no part of the painting is dark
    assert looks_of_fit(fit, "none", FitFrames.of(fit, photo)) == {}
    beside = replace(fit, trans=fit.trans + np.float32([9, 0, 0]))
    assert looks_of_fit(beside, None, FitFrames.of(fit, photo)) == {}


@pytest.mark.extensive
def test_people_of_a_clip_are_dressed_by_its_frames(tmp_path):
    """By default, if its files are where they were; else they have the textures beside the fit."""
    walk = drawn_walk(default_body())
    for name, pixels in enumerate(walk.frames):
        write_image(tmp_path / "clip" / f"{name:06d}.png", pixels)
    fit = on_frames(replace(walk.fit(), frame_names=np.array([f"{i:06d}.png" for i in range(5)])), items(tmp_path))
    fit = replace(fit, textures={0: np.full((512, 512, 4), 99, np.uint8)})
    fit.save(tmp_path / "clip.fit.npz")
    fit = load_fit(tmp_path / "clip.fit.npz")
    look = looks_of_fit(fit, None, available_frames(fit))[0]
    assert look.texture.shape[2] == 3
    assert look.offsets.shape == walk.body.template.shape
    dressed = Dressing()([fit])
    np.testing.assert_array_equal(dressed.looks[0].texture, look.texture)
    shutil.rmtree(tmp_path / "clip")
    assert available_frames(fit) is None
    look = looks_of_fit(fit)[0]
    assert look.offsets is None
    assert (np.abs(look.texture[..., :3].astype(int) - 99) <= 1).all()
    with raises(UsageError, subject="texture"):
        looks_of_fit(fit, "frames")
    # The step's looks are stored beside the fit and found there, unless another fit has taken its place.
    dressed.save(tmp_path / "clip.fit.npz")
    stored = looks_of_fit(load_fit(tmp_path / "clip.fit.npz"))[0]
    np.testing.assert_array_equal(stored.texture, dressed.looks[0].texture)
    replace(fit, trans=fit.trans + np.float32(0.1)).save(tmp_path / "clip.fit.npz")
    assert looks_of_fit(load_fit(tmp_path / "clip.fit.npz"))[0].offsets is None


def items(folder: Path) -> list[InputItem]:
    return list(open_inputs([folder / "clip"], sequence=True))


def test_a_photograph_that_is_not_at_hand_leaves_the_body(painted, tmp_path):
    fit, (photo, _) = fit_of(painted), painted.person(POSE)
    write_image(tmp_path / "a.png", photo)
    replace(fit, frame_files=(FrameFiles("image", (tmp_path / "a.png",)),)).save(tmp_path / "a.png.fit.npz")
    fit = load_fit(tmp_path / "a.png.fit.npz")
    assert (next(available_frames(fit).read())[1] == photo).all()
    write_image(tmp_path / "a.png", photo[:100])  # another image of that name
    assert available_frames(fit) is None
    (tmp_path / "a.png").unlink()
    assert available_frames(fit) is None
    assert looks_of_fit(fit) == {}
    (mesh,) = person_meshes(painted.body, person_motion(fit, 3))
    assert mesh.image is None
    assert (mesh.vertices == painted.body.rest(torch.zeros(1, 10)).vertices[0].numpy()).all()
