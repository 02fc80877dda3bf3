"""Motions in place, read back from the files of every format with motion."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.characters import CHARACTERS, person, walking, write_character
from helpers.errors import raises
from helpers.fbx_reader import read_fbx
from helpers.glb_reader import Glb
from helpers.moving_people import PRESENT, moving_people, world_joints

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.exporting.exporter import export_fit, rig_of
from humanpose_cli.exporting.retarget import retargeted
from humanpose_cli.exporting.rigs import read_rig
from humanpose_cli.io.pose_files.bvh import read_bvh_motion

FIT = moving_people()
JOINTS = world_joints(FIT)
NAMES = SMPL24.joint_names


def joints_of(base: Path, kind: str, track: int, frames: np.ndarray) -> np.ndarray:
    """Joints (T, 24, 3) in frames of a file, metres in the world; hips and knees of markers."""
    if kind == "bvh":
        motion = read_bvh_motion(base.with_name(f"clip.person{track}.bvh"))
        rows = [[joint.name for joint in motion.joints].index(name) for name in NAMES]
        return motion.positions()[np.ix_(frames - frames[0], rows)]
    if kind == "glb":
        glb = Glb(base.with_name("clip.glb"))
        numbers = glb.gltf.skins[int(track > 0)].joints
        return np.array([[glb.world(number, frame / 25)[:3, 3] for number in numbers] for frame in frames])
    if kind == "fbx":
        pytest.importorskip("ufbx")
        read = read_fbx(base.with_name("clip.fbx"), frames / 25)
        rows = [np.flatnonzero(read["names"] == name)[int(track > 0)] for name in NAMES]
        return read["nodes"][:, rows][..., 3] / 100
    if kind == "usd":
        usd, skel = pytest.importorskip("pxr.Usd"), pytest.importorskip("pxr.UsdSkel")
        stage = usd.Stage.Open(str(base.with_name("clip.usd")))
        query = skel.Cache().GetSkelQuery(skel.Skeleton(stage.GetPrimAtPath(f"/people/person{track}/skeleton")))
        return np.array([query.ComputeJointSkelTransforms(float(frame)) for frame in frames])[..., 3, :3]
    document = json.loads(base.with_name("clip.json").read_text())["frames"]
    people = [person for frame in frames for person in document[frame]["people"] if person["track_id"] == track]
    camera = np.array([document[frame]["camera"]["world_to_camera"] for frame in frames])[:, None]
    joints = np.array([list(person["joints3d"].values()) for person in people])
    return ((joints - camera[..., :3, 3])[..., None, :] @ camera[..., :3, :3])[..., 0, :] * (1, -1, -1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["glb", "bvh", "fbx", "usd", "json"])
def test_poses_and_heights_stay_in_all_formats(tmp_path, kind):
    near = 2e-3 if kind == "usd" else 2e-5  # half floats of UsdSkel's scales
    export_fit(FIT, tmp_path / "clip", kind, in_place=True, textures="none")
    for track in PRESENT:
        frames = np.array(PRESENT[track])
        shown = joints_of(tmp_path / "clip", kind, track, frames)
        before = JOINTS[FIT.rows_of(track)]
        path = (before[:, :1] - before[:1, :1]) * (1, 0, 1)
        assert np.ptp(shown[:, 0, [0, 2]], axis=0).max() < (1e-6 if kind != "json" else 2e-5)  # has 5 decimals
        np.testing.assert_allclose(shown + path, before, atol=near)


@pytest.mark.parametrize("name", ["unreal", "vrm0"])
def test_characters_are_in_place(tmp_path, name):
    """Whatever axes their files have; feet stood on the ground before, and the hips keep the heights of that."""
    path = write_character(tmp_path / "a.glb", CHARACTERS[name](), "VRM" if name == "vrm0" else "")
    assert len(export_fit(FIT, tmp_path / "clip", "glb", rig=str(path), in_place=True)) == len(PRESENT)
    rig, seconds = read_rig(str(path)), np.arange(60) / 25
    walk = retargeted(walking(person()), rig, seconds, grounded=True)
    up = np.array((0, 1, 0)) @ rig.to_body
    placed = walk.in_place(up)
    np.testing.assert_allclose(placed.pelvis @ up, walk.pelvis @ up, atol=1e-12)
    np.testing.assert_allclose(np.ptp(np.cross(placed.pelvis, up), axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(placed.rotations, walk.rotations)


def test_vrm_animations_are_in_place(tmp_path):
    (path,) = export_fit(FIT.select(FIT.rows_of(0)), tmp_path / "clip", "vrma", in_place=True, body=default_body())
    glb = Glb(path)
    hips = np.array([glb.world(glb.names["hips"], frame / 25) for frame in range(4)])
    assert np.ptp(hips[:, [0, 2], 3], axis=0).max() < 1e-6


def test_what_images_show_is_never_in_place():
    with raises(UsageError, problem="has no effect on masks"):
        rig_of(None, ("glb", "masks"), Path(), in_place=True)
