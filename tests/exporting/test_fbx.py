"""Binary FBX as ufbx reads it: bodies, cameras and textures are those of the fit."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.extensive import extensive
from helpers.fbx_reader import read_fbx
from helpers.moving_people import FRAMES, PRESENT, moving_people, one_frame, world_joints
from PIL import Image
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.progress import no_progress
from humanpose_cli.exporting.export import Export
from humanpose_cli.exporting.exporter import export_fit, export_of, write_formats
from humanpose_cli.exporting.fbx import file_bytes
from humanpose_cli.exporting.fbx_files import _motion
from humanpose_cli.exporting.motion import PersonMotion, euler_angles
from humanpose_cli.exporting.rigs import read_rig
from humanpose_cli.fitting.result import Fit

FIT = moving_people()
TEXTURE = np.dstack(np.broadcast_arrays(*np.ogrid[:64, :64], 90)).astype(np.uint8)
MICRON = 1e-6  # metres


def exported(fit: Fit, base: Path) -> Export:
    """A fit as FBX, with fingers and a texture of the first person."""
    random = np.random.default_rng(1)
    hands = random.normal(0, 0.4, (len(fit), 2, 15, 3)).astype(np.float32)
    fit = replace(fit, hand_poses=hands, hand_confidence=np.ones((len(fit), 2), np.float32))
    export = export_of(
        fit,
        base,
        frame_rate=25,
        world="camera",
        textures={0: TEXTURE},
        progress=no_progress,
        body=default_body(),
    )
    assert write_formats(export, ["fbx"]) == (base.with_name(f"{base.name}.fbx"),)
    return export


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> tuple[Export, dict[str, np.ndarray]]:
    pytest.importorskip("ufbx")
    base = tmp_path_factory.mktemp("fbx") / "clip"
    return exported(FIT, base), read_fbx(base.with_name("clip.fbx"), np.arange(FRAMES) / 25)


def world_matrices(person: PersonMotion) -> np.ndarray:
    """(R, J, 4, 4) of the joints, by the rules of a hierarchy with accumulating scales."""
    matrices = np.tile(np.eye(4), (len(person.frames), len(person.joints), 1, 1))
    for joint, parent in enumerate(person.skeleton.parents):
        local = np.tile(np.eye(4), (len(person.frames), 1, 1))
        local[:, :3, :3] = person.rotations[:, joint] * person.local_scales[:, joint, None, None]
        local[:, :3, 3] = person.rest_offsets[joint] if joint else person.pelvis
        matrices[:, joint] = matrices[:, parent] @ local if joint else local
    return matrices


def rows_of(read: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The rows of nodes with this name, by person."""
    return np.flatnonzero(read["names"] == name)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PRESENT)))
def test_joints_and_skins_are_those_of_the_motion(clip, number):
    """Fingers, segment scales, camera motion and gaps included."""
    export, read = clip
    person = export.people[number]
    expected = world_matrices(person)
    rows = [rows_of(read, name)[number] for name in person.skeleton.joint_names]
    matrices = read["nodes"][person.frames][:, rows]
    np.testing.assert_allclose(matrices[..., 3] / 100, expected[..., :3, 3], atol=MICRON)
    np.testing.assert_allclose(matrices[..., :3], expected[..., :3, :3], atol=5e-6)
    (mesh,) = export.meshes[person.track]
    bones = expected @ np.linalg.inv(person.bind_matrices)
    points = np.pad(mesh.vertices, ((0, 0), (0, 1)), constant_values=1)
    skins = np.einsum("vk,rvkij,vj->rvi", mesh.weights, bones[:, mesh.bones], points)[..., :3]
    np.testing.assert_allclose(read[f"skin {person.name}"][person.frames] / 100, skins, atol=2 * MICRON)
    joints = world_joints(FIT)[FIT.rows_of(person.track)]
    np.testing.assert_allclose(matrices[:, : len(SMPL24), :, 3] / 100, joints, atol=1e-5)


def test_people_hide_and_the_camera_looks_as_in_the_fit(clip):
    _, read = clip
    assert (read["unit"], read["rate"]) == (0.01, 25)
    (row,) = rows_of(read, "person2")
    visible = [np.linalg.det(matrix[:, :3]) != 0 for matrix in read["nodes"][:, row]]
    assert visible == [frame in PRESENT[2] for frame in range(FRAMES)]
    focal, width, height, *_ = read["camera camera"]
    assert width / height == pytest.approx(640 / 480)
    assert focal / width == pytest.approx(600 / 640)
    (row,) = rows_of(read, "camera")
    for frame in range(FRAMES):
        matrix = read["nodes"][frame, row]
        forward, up, right = matrix[:, :3].T
        view = world_joints(FIT)[FIT.rows_of(0)[frame]] - matrix[:, 3] / 100
        seen = view @ np.stack((right, -up, forward), 1)  # x right, y down, z forward
        np.testing.assert_allclose(seen, FIT.joints3d[FIT.rows_of(0)[frame]], atol=1e-5)


@pytest.mark.slow
def test_the_film_is_shifted_against_the_principal_point(tmp_path):
    """An image whose centre is right of and below the principal point is of a film moved right and down."""
    pytest.importorskip("ufbx")
    fit = one_frame(FIT, 0)
    exported(replace(fit, principal_point=(fit.image_size / 2 - (64, 24)).astype(np.float32)), tmp_path / "photo")
    _, width, _, right, down = read_fbx(tmp_path / "photo.fbx", np.zeros(1))["camera camera"]
    assert (25.4 * right / width, -25.4 * down / width) == pytest.approx((64 / 640, 24 / 640))


def test_textures_are_embedded_and_coordinates_lead_to_them(clip):
    export, read = clip
    with Image.open(io.BytesIO(read["texture person0"].tobytes())) as image:
        np.testing.assert_array_equal(image, TEXTURE)
    assert "texture person2" not in read
    (mesh,) = export.meshes[0]
    np.testing.assert_array_equal(read["corners person0"], mesh.faces.reshape(-1))
    uv = mesh.uv[mesh.uv_faces.reshape(-1)] * (1, -1) + (0, 1)
    np.testing.assert_allclose(read["uv person0"], uv, atol=1e-7)


@pytest.mark.slow
def test_a_photograph_has_a_pose_and_no_animation(tmp_path):
    pytest.importorskip("ufbx")
    export = exported(one_frame(FIT, 0), tmp_path / "photo")
    read = read_fbx(tmp_path / "photo.fbx", np.zeros(1))
    expected = world_matrices(export.people[0])[0]
    rows = [rows_of(read, name)[0] for name in export.people[0].skeleton.joint_names]
    np.testing.assert_allclose(read["nodes"][0, rows][..., 3] / 100, expected[:, :3, 3], atol=MICRON)


def test_angles_follow_a_rotation_through_the_pole_without_jumps():
    turns = Rotation.from_euler("xyz", [(10 * t, 8 * t, 14 * t) for t in range(40)], degrees=True)
    angles = euler_angles(turns.as_matrix()[:, None])[:, 0]
    np.testing.assert_allclose(
        Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), turns.as_matrix(), atol=1e-9
    )
    assert np.abs(np.diff(angles, axis=0)).max() < 15


@pytest.mark.parametrize("order", ["xyz", "xzy", *extensive("yzx", "yxz", "zxy", "zyx")])
def test_characters_come_back_with_the_same_motion(tmp_path, order):
    """A file of ours is a rig, also with another order of axes, with pivots, and with nodes in a pose."""
    fit = FIT.select(FIT.rows_of(FIT.tracks[0]))
    seconds, options = fit.seconds(25)[fit.frame_index], {"textures": "none", "body": default_body()}
    (path,) = export_fit(fit, tmp_path / "a", "fbx", rig="mixamo", **options)
    expected, random, file = read_fbx(path, seconds), np.random.default_rng(5), read_rig(str(path)).file
    for row, node in enumerate(file.nodes[1:], 1):
        number = ("xyz", "xzy", "yzx", "yxz", "zxy", "zyx").index(order)
        node.properties(RotationOrder=("enum", number), PostRotation=("Vector3D", random.uniform(-60, 60, 3)))
        node.properties(RotationOffset=("Vector3D", random.normal(0, 3, 3)))
        node.properties(RotationPivot=("Vector3D", random.normal(0, 5, 3)))
        local = np.linalg.solve(*file.matrices[[file.parents[row], row]])[None]
        angles, place = _motion(node.settings)[1](local[:, :3, :3], local[:, :3, 3])
        node.properties(Lcl_Rotation=angles[0] + 30 * ("Arm" in file.names[row]), Lcl_Translation=place[0])
    path.write_bytes(file_bytes(file.records))
    (again,) = export_fit(fit, tmp_path / "b", "fbx", rig=str(path), **options)
    skin = read_fbx(again, seconds)["skin person0"]
    assert np.abs(skin - expected["skin person0"]).max() < 1e-3  # centimetres
