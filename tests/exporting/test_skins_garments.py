"""Garments are meshes of their own beside the body, under one skin, in all formats and images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from helpers.extensive import extensive
from helpers.fbx_reader import read_fbx
from helpers.garments import COLOURS, garment_in_world, worn
from helpers.glb_reader import Glb, validator_issues
from helpers.moving_people import FRAMES, moving_people

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.exporting.exporter import export_fit, export_of
from humanpose_cli.exporting.maps import PART_COLOURS, frame_maps
from humanpose_cli.exporting.retarget import fitted
from humanpose_cli.exporting.rigs import read_rig
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.scene import ReposingScene

FIT, BODY, TRACK = moving_people(), default_body(), 2  # whose shins are long
ROWS = FIT.rows_of(TRACK)
LOOK = worn(BODY, FIT.betas[ROWS[0]])
LAST = FIT.select([ROWS[-1]])


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("garments") / "clip"
    export_fit(FIT, base, ["glb", "fbx", "obj", "ply"], textures={TRACK: LOOK}, body=BODY)
    return base


@pytest.mark.slow
def test_glb_has_three_meshes_under_one_skin_which_move_as_the_garments(base):
    """With a camera that moves, a scaled bone and a seam in the texture."""
    glb = Glb(base.with_name("clip.glb"))
    names = [f"person{TRACK}.{part}" for part in ("body", "skirt", "band")]
    nodes = [glb.gltf.nodes[glb.names[name]] for name in names]
    assert len({node.skin for node in nodes}) == 1
    assert [glb.gltf.meshes[node.mesh].name for node in nodes] == ["person2", "person2_skirt", "person2_band"]
    materials = [glb.gltf.materials[glb.gltf.meshes[node.mesh].primitives[0].material] for node in nodes]
    assert [bool(material.doubleSided) for material in materials] == [False, True, True]
    for row, garment in ((row, garment) for row in ROWS for garment in LOOK.garments):
        node = glb.gltf.nodes[glb.names[f"person{TRACK}.{garment.name}"]]
        at_rest = glb.values(glb.gltf.meshes[node.mesh].primitives[0].attributes.POSITION)
        (vertices,) = np.nonzero((np.abs(at_rest[:, None] - garment.vertices) < 1e-6).all(2))[1:]
        assert len(vertices) > len(garment.vertices)
        skinned = glb.skinned(TRACK, FIT.frame_index[row] / 25, garment.name)
        np.testing.assert_allclose(skinned, garment_in_world(FIT, row, BODY, garment)[vertices], atol=1e-5)
    shown = glb.gltf.accessors[glb.gltf.meshes[nodes[0].mesh].primitives[0].indices].count
    assert shown == 3 * (len(BODY.faces) - LOOK.hidden.sum())


@pytest.mark.slow
def test_a_glb_with_garments_is_as_the_official_validator_wants_it(base):
    assert not validator_issues(base.with_name("clip.glb"))


@pytest.mark.slow
def test_fbx_has_the_garments_on_the_person_s_bones(base):
    pytest.importorskip("ufbx")
    read = read_fbx(base.with_name("clip.fbx"), np.arange(FRAMES) / 25)
    for garment in LOOK.garments:
        for row in ROWS:
            expected = 100 * garment_in_world(FIT, row, BODY, garment)
            found = read[f"skin person{TRACK}_{garment.name}"][FIT.frame_index[row]]
            np.testing.assert_allclose(found, expected, atol=1e-3)
        assert len(read[f"texture person{TRACK}_{garment.name}"])
    assert len(read["corners person2"]) == 3 * (~LOOK.hidden).sum()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["usd", *extensive("usdz")])
def test_usd_binds_the_garments_to_the_skeleton(tmp_path, kind):
    pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    from pxr import Usd, UsdGeom, UsdShade, UsdSkel, UsdValidation

    path = export_fit(FIT, tmp_path / "clip", [kind], textures={TRACK: LOOK}, body=BODY)[0]
    stage = Usd.Stage.Open(str(path))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [error.GetErrorAsString() for error in errors] == []
    UsdSkel.BakeSkinning(UsdSkel.Root(stage.GetPrimAtPath("/people")))
    for garment in LOOK.garments:
        mesh = UsdGeom.Mesh(stage.GetPrimAtPath(f"/people/person{TRACK}/{garment.name}"))
        points = np.array(mesh.GetPointsAttr().Get(int(FIT.frame_index[ROWS[-1]])))
        assert np.abs(points - garment_in_world(FIT, ROWS[-1], BODY, garment)).max() < 2e-3  # half floats
        material = UsdShade.MaterialBindingAPI(mesh).GetDirectBinding().GetMaterialPath()
        image = stage.GetPrimAtPath(f"{material}/texture").GetAttribute("inputs:file").Get().path
        assert image.endswith(f".person{TRACK}_{garment.name}.png")


def test_meshes_of_frames_hold_the_garments(base):
    frame = int(FIT.frame_index[ROWS[-1]])
    expected = np.concatenate([garment_in_world(FIT, ROWS[-1], BODY, garment) for garment in LOOK.garments])
    ply = trimesh.load(base.with_name("clip.ply") / f"{frame:06d}.ply", process=False)
    np.testing.assert_allclose(ply.vertices[-len(expected) :], expected, atol=1e-6)
    assert (ply.visual.vertex_colors[-1, :3] == COLOURS["band"]).all()
    text = (base.with_name("clip.obj") / f"{frame:06d}.obj").read_text()
    assert [line for line in text.splitlines() if line.startswith("o ")][-2:] == ["o person2_skirt", "o person2_band"]
    assert (base.with_name("clip.obj") / "people.person2_skirt.png").exists()


def test_another_program_s_skeleton_carries_the_garments():
    """Mixamo's rest is the T pose: the garments keep their distances from the pelvis."""
    export = export_of(
        FIT, "x", frame_rate=25, world="camera", textures={TRACK: LOOK}, progress=lambda *_: None, body=BODY
    )
    person = export.people[1]
    rig, meshes = fitted(read_rig("mixamo"), person, export.meshes[TRACK])
    assert [mesh.part for mesh in meshes] == ["body", "skirt", "band"]
    waist = meshes[1].vertices[:24] - rig.positions[rig.rows["pelvis"]]
    np.testing.assert_allclose(np.linalg.norm(waist, axis=1), 0.4, atol=0.02)
    assert meshes[1].bones.max() < len(rig.bones)


@pytest.mark.slow
def test_maps_overlays_and_masks_show_the_garments():
    fit = replace(LAST, looks={TRACK: LOOK})
    frame = int(fit.frame_index[0])
    (images, depth, _), (_, bare, _) = (frame_maps(each, frame, BODY, 2, 5) for each in (fit, LAST))
    beside = (depth > 0) & (bare == 0)
    assert beside.sum() > 2000
    parts = [SMPL24.index(joint) for joint in ("pelvis", "left_hip", "right_hip", "spine3")]
    colours = set(map(tuple, np.rint(255 * PART_COLOURS[parts]).astype(int).tolist()))
    assert set(map(tuple, images["parts"][beside].tolist())) <= colours
    assert images["bodies"][beside].any(1).all()
    black = np.zeros((480, 640, 3), np.uint8)
    red, _, blue = np.moveaxis(fit.overlay(frame, image=black, dressed=True, labels="none")[beside].astype(int), 1, 0)
    assert (np.abs(red - blue) > 30).mean() > 0.9
    known = replace(fit, detections=(SimpleNamespace(mask=None),))  # by keypoints alone
    people = ReposingScene(black, known, (), BODY, ReposeOptions(background="transparent"), None).people_map
    assert (people.mask(0)[beside] > 0.5).mean() > 0.9
