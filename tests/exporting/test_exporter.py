"""Exported files, read by other programs' libraries, have the bodies where the fit has them, in its frames' time."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers import HELPERS
from helpers.errors import raises
from helpers.glb_reader import Glb, validator_issues
from helpers.moving_people import FRAMES, PRESENT, moving_people, one_frame, world_joints
from helpers.surfaces import frame_surfaces
from helpers.walking_take import walking_take

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24, SMPL24_FINGERS
from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.exporting.exporter import export_fit, output_base, parse_formats
from humanpose_cli.exporting.formats import FORMATS
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.images import read_image
from humanpose_cli.io.pose_files import read_pose
from humanpose_cli.io.pose_files.bvh import read_bvh_motion

FIT = moving_people()
JOINTS = world_joints(FIT)
PLAIN_FORMATS = [name for name, kind in FORMATS.items() if not kind.extra and not kind.shows_frames]
SIDE = 64
TEXTURE = np.dstack(np.broadcast_arrays(*np.ogrid[:SIDE, :SIDE], 90, 255)).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("export") / "clip.mp4"
    written = export_fit(FIT, base, PLAIN_FORMATS, textures={0: TEXTURE}, body=default_body())
    assert all(path.stat().st_size for path in written)
    names = {path.relative_to(base.parent).parts[0].removesuffix(".npz") for path in written}
    for name in PLAIN_FORMATS:
        of_people = {f"clip.mp4.person{track}.{name}" for track in PRESENT}
        of_format = {written_name for written_name in names if written_name.endswith(f".{name}")}
        assert of_format in ({f"clip.mp4.{name}"}, of_people)
    return base


def beside(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def row_of(track: int, frame: int) -> int:
    return int(np.flatnonzero((FIT.track_id == track) & (FIT.frame_index == frame))[0])


@pytest.mark.slow
def test_skins_of_glb_are_where_the_bodies_are(files):
    """Segment scales, camera motion, rest rotations and gaps included; texture coordinates lead to the texture."""
    glb, body = Glb(beside(files, ".glb")), default_body()
    for track, frame in ((track, frame) for track, frames in PRESENT.items() for frame in frames):
        surface = frame_surfaces(FIT, frame, body)[track]
        skinned = glb.skinned(track, frame / 25)
        distance = np.sqrt(((skinned[::97, None] - surface[None]) ** 2).sum(-1)).min(1)
        assert distance.max() < 1e-5
        assert np.abs(skinned.min(0) - surface.min(0)).max() < 1e-5
        for joint, number in enumerate(glb.gltf.skins[int(track > 0)].joints):
            assert glb.gltf.nodes[number].name == SMPL24.joint_names[joint]
            expected = JOINTS[row_of(track, frame), joint]
            assert np.abs(glb.world(number, frame / 25)[:3, 3] - expected).max() < 1e-5
    hidden = [np.linalg.det(glb.world(glb.names["person2"], frame / 25)[:3, :3]) == 0 for frame in range(FRAMES)]
    assert hidden == [frame not in PRESENT[2] for frame in range(FRAMES)]


def with_hands(fit: Fit) -> Fit:
    """The people with fingers that move."""
    poses = np.random.default_rng(1).normal(0, 0.4, (len(fit), 2, 15, 3)).astype(np.float32)
    return replace(fit, hand_poses=poses, hand_confidence=np.ones((len(fit), 2), np.float32))


@pytest.mark.slow
def test_fingers_of_glb_and_bvh_are_where_the_bodies_are(tmp_path):
    fit, body = with_hands(FIT), default_body()
    export_fit(fit, tmp_path / "x", ["glb", "bvh"], textures={}, body=body)
    glb = Glb(tmp_path / "x.glb")
    hands = body.fingers.vertices.numpy()
    for track, frame in ((0, 0), (2, PRESENT[2][-1])):
        skinned, surface = glb.skinned(track, frame / 25), frame_surfaces(fit, frame, body)[track]
        without = frame_surfaces(FIT, frame, body)[track]
        nearest = np.sqrt(((surface[hands][::11, None] - skinned[None]) ** 2).sum(-1)).min(1)
        assert nearest.max() < 1.2e-3
        assert np.linalg.norm(surface - without, axis=1).max() > 0.02
    names = [glb.gltf.nodes[number].name for number in glb.gltf.skins[0].joints]
    assert names == list(SMPL24_FINGERS.joint_names)
    text = (tmp_path / "x.person0.bvh").read_text()
    assert text.count("JOINT") == len(SMPL24_FINGERS) - 1
    assert text.count("End Site") == 13, "ten fingers, two feet, the head"
    export_fit(FIT, tmp_path / "plain", ["bvh"], textures={}, body=body)
    motion, plain = (read_bvh_motion(tmp_path / f"{name}.person0.bvh") for name in ("x", "plain"))
    names = [joint.name for joint in motion.joints]
    shared = [names.index(joint.name) for joint in plain.joints if not joint.is_end]
    mask = [not joint.is_end for joint in plain.joints]
    np.testing.assert_allclose(motion.positions()[:, shared], plain.positions()[:, mask], atol=1e-5)
    np.testing.assert_allclose(
        read_pose(tmp_path / "x.person0.bvh").joints, read_pose(tmp_path / "plain.person0.bvh").joints, atol=1e-5
    )


def test_amass_has_the_fingers_of_smplh_and_they_are_read_again(tmp_path):
    fit = with_hands(FIT)
    (path,) = (p for p in export_fit(fit, tmp_path / "x", ["amass"], body=default_body()) if "person0" in p.name)
    with np.load(path) as arrays:
        assert arrays["poses"].shape == (len(fit.rows_of(0)), 156)
    target = read_pose(path)
    np.testing.assert_allclose(target.params.hand_poses, fit.hand_poses[fit.rows_of(0)], atol=1e-6)
    np.testing.assert_allclose(target.params.poses[:, 3:66], fit.poses[fit.rows_of(0), 3:66], atol=1e-5)


def leads_to_a_child(axes: np.ndarray, heads: np.ndarray) -> None:
    """Assert that axes (24, 3) of joints at `heads` (24, 3) lead to a joint below them, the last ones' straight on."""
    for joint, parent in enumerate(SMPL24.parents):
        ends = [heads[child] - heads[joint] for above, child in SMPL24.bones if above == joint]
        ends = ends or [heads[joint] - heads[parent]]
        assert max(axes[joint] @ end / np.linalg.norm(end) for end in ends) > 1 - 1e-6


@pytest.mark.parametrize("kind", ["glb", "usd"])
def test_the_y_axis_of_every_joint_at_rest_runs_along_its_bone(files, kind):
    """Blender and others draw bones along it. The axes are right-handed, and left and right mirror each other."""
    if kind == "glb":
        glb = Glb(beside(files, ".glb"))
        inverse = glb.values(glb.gltf.skins[1].inverseBindMatrices).reshape(-1, 4, 4)
        bind = np.linalg.inv(inverse.transpose(0, 2, 1))
    else:
        usd = pytest.importorskip("pxr.Usd", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
        skel = pytest.importorskip("pxr.UsdSkel")
        path, _ = export_fit(FIT, files.with_name("axes"), ["usd"], textures={}, body=default_body())
        stage = usd.Stage.Open(str(path))
        skeleton = skel.Skeleton(stage.GetPrimAtPath("/people/person2/skeleton"))
        bind = np.array(skeleton.GetBindTransformsAttr().Get()).transpose(0, 2, 1)
        local = np.array(skeleton.GetRestTransformsAttr().Get()).transpose(0, 2, 1)
        for joint, parent in enumerate(SMPL24.parents):
            above = bind[parent] if parent >= 0 else np.eye(4)
            np.testing.assert_allclose(above @ local[joint], bind[joint], atol=1e-6)
    axes, heads = bind[:, :3, :3], bind[:, :3, 3]
    np.testing.assert_allclose(axes.transpose(0, 2, 1) @ axes, np.tile(np.eye(3), (24, 1, 1)), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1)
    leads_to_a_child(axes[..., 1], heads)
    # A rotation's mirror image has its x axis the other way round.
    mirrored = axes[list(SMPL24.mirror)] * np.array((-1, 1, 1))[:, None] * (-1, 1, 1)
    np.testing.assert_allclose(mirrored, axes, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["glb", "usd"])
def test_a_take_has_the_cameras_of_all_views(walk, tmp_path, kind):
    """Through each exported camera the joints are where the view's own fit has them."""
    fit, lens = (
        walking_take(walk),
        {"focal": np.float32([300, 1700]), "image_size": np.int32([(640, 480), (1920, 1080)])},
    )
    lens |= {"names": np.array(["1.mp4", "right side.mp4"]), "principal_point": np.float32([(320, 240), (960, 540)])}
    fit = replace(fit, views=replace(fit.views, **lens))
    export_fit(fit, tmp_path / "take", [kind], textures="none")
    if kind == "glb":
        glb = Glb(tmp_path / "take.glb")
        assert [glb.gltf.nodes[glb.names[name]].camera for name in fit.views.names] == [0, 1]
        view = np.linalg.inv(glb.world(glb.names["right side.mp4"], 0))
        lens = glb.gltf.cameras[1]
        focal = 1080 / 2 / np.tan(lens.perspective.yfov / 2)
    else:
        usd = pytest.importorskip("pxr.Usd")
        geom = pytest.importorskip("pxr.UsdGeom")
        stage = usd.Stage.Open(str(tmp_path / "take.usd"))
        cameras = [prim for prim in stage.Traverse() if prim.IsA(geom.Camera)]
        assert [prim.GetName() for prim in cameras] == ["_1_mp4", "right_side_mp4"]
        placed = geom.Xformable(cameras[1]).ComputeLocalToWorldTransform(0)
        view = np.linalg.inv(np.array(placed).T)
        camera = geom.Camera(cameras[1])
        focal = camera.GetFocalLengthAttr().Get(0) / camera.GetHorizontalApertureAttr().Get() * 1920
    points = world_joints(fit)[0] @ view[:3, :3].T + view[:3, 3]
    pixels = np.stack((points[:, 0], -points[:, 1]), 1) / -points[:, 2:] * focal + (960, 540)
    expected = Camera(1700.0, (960.0, 540.0)).project(
        fit.joints3d[0] @ fit.views.from_first[1][:3, :3].T + fit.views.from_first[1][:3, 3]
    )
    assert np.abs(pixels - expected).max() < 0.1


@pytest.mark.slow
def test_glb_is_as_the_official_validator_wants_it(files):
    assert not validator_issues(beside(files, ".glb"))


@pytest.mark.parametrize("track", PRESENT)
def test_bvh_and_amass_hold_the_joints(files, track):
    motion = read_bvh_motion(beside(files, f".person{track}.bvh"))
    frames = list(PRESENT[track])
    assert motion.frame_time == pytest.approx(1 / 25)
    assert len(motion.values) == frames[-1] - frames[0] + 1
    names = [joint.name for joint in motion.joints]
    rows = [names.index(joint) for joint in SMPL24.joint_names]
    for frame in frames:
        positions = motion.positions()[frame - frames[0], rows]
        assert np.abs(positions - JOINTS[row_of(track, frame)]).max() < 2e-5
    for gap in {*range(frames[0], frames[-1])} - {*frames}:  # the pose before it
        np.testing.assert_array_equal(motion.values[gap - frames[0]], motion.values[gap - frames[0] - 1])
    amass = read_pose(beside(files, f".person{track}.amass.npz"))
    assert amass.frame_rate == 25
    with np.load(beside(files, f".person{track}.amass.npz")) as arrays:
        pelvis = JOINTS[row_of(track, frames[-1]), 0]
        assert np.abs(arrays["trans"][-1] - pelvis[[0, 2, 1]] * (1, -1, 1)).max() < 1e-5  # z up


def test_the_pose_at_rest_of_bvh_is_the_t_pose(files):
    motion = read_bvh_motion(beside(files, ".person0.bvh"))
    at = dict(zip([joint.name for joint in motion.joints], motion.rest_positions(), strict=True))
    arm = at["left_wrist"] - at["left_shoulder"]
    assert arm[0] / np.linalg.norm(arm) > 0.99
    assert at["head"][1] > at["pelvis"][1] > at["left_ankle"][1]


@pytest.mark.slow
def test_meshes_of_frames_are_read_by_trimesh(files):
    body, folder = default_body(), beside(files, ".obj")
    surface = frame_surfaces(FIT, 1, body)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"{frame:06d}.obj" for frame in range(FRAMES)),
        "people.mtl",
        "people.person0.png",
    ]
    scene = trimesh.load(folder / "000001.obj", split_object=True, group_material=False)
    bounds = sorted((geometry.bounds for geometry in scene.geometry.values()), key=lambda pair: pair[0, 0])
    assert len(bounds) == 2
    for track, found in zip(PRESENT, bounds, strict=True):
        assert np.abs(found - (surface[track].min(0), surface[track].max(0))).max() < 1e-5
    assert (read_image(folder / "people.person0.png").pixels == TEXTURE[..., :3]).all()
    ply = trimesh.load(beside(files, ".ply") / "000001.ply", process=False)
    assert np.abs(ply.vertices - np.concatenate(list(surface.values()))).max() < 1e-6
    assert (ply.faces[: len(body.faces)] == body.faces.numpy()).all()
    corner = int(np.flatnonzero(body.faces.numpy().reshape(-1) == 100)[-1])
    u, v = body.uv.numpy()[body.uv_faces.numpy().reshape(-1)[corner]] * SIDE - 0.5
    assert np.abs(ply.visual.vertex_colors[100, :3] - np.array((v, u, 90))).max() <= 1


TIMES = np.array([0, 1, 3, 4, 8]) / 32
VARYING = replace(FIT, frame_times=TIMES)


@pytest.mark.slow
def test_a_varying_frame_rate_is_kept_where_the_format_can(tmp_path):
    export_fit(VARYING, tmp_path / "clip", ["glb", "json"])
    glb = Glb(tmp_path / "clip.glb")
    for track, frame in ((0, 3), (2, 4)):
        number = glb.gltf.skins[int(track > 0)].joints[0]
        assert np.abs(glb.world(number, TIMES[frame])[:3, 3] - JOINTS[row_of(track, frame), 0]).max() < 1e-5
    present = [np.linalg.det(glb.world(glb.names["person2"], second)[:3, :3]) > 0 for second in TIMES]
    assert present == [frame in PRESENT[2] for frame in range(FRAMES)]
    view = np.linalg.inv(glb.world(glb.names["camera"], TIMES[3]))
    assert (
        np.abs(JOINTS[row_of(0, 3)] @ view[:3, :3].T + view[:3, 3] - FIT.joints3d[row_of(0, 3)] * (1, -1, -1)).max()
        < 1e-5
    )
    document = json.loads((tmp_path / "clip.json").read_text("utf-8"))
    assert [frame["time"] for frame in document["frames"]] == TIMES.tolist()


@pytest.mark.parametrize("track", PRESENT)
def test_a_varying_frame_rate_is_resampled_where_the_format_has_one(tmp_path, track):
    """Frames of the clip that are at times of the rate are as they were; others lie between their neighbours."""
    frames = list(PRESENT[track])
    at = np.round((TIMES - TIMES[frames[0]]) * 32).astype(int)
    export_fit(replace(VARYING, frame_rate=32), tmp_path / "clip", ["bvh", "amass"])
    motion = read_bvh_motion(tmp_path / f"clip.person{track}.bvh")
    assert len(motion.values) == at[frames[-1]] + 1
    assert motion.frame_time == pytest.approx(1 / 32)
    rows = [[joint.name for joint in motion.joints].index(joint) for joint in SMPL24.joint_names]
    positions = motion.positions()[:, rows]
    with np.load(tmp_path / f"clip.person{track}.amass.npz") as arrays:
        pelvis, cameras = arrays["trans"], arrays["world_to_camera"]
    for frame in frames:
        joints = JOINTS[row_of(track, frame)]
        assert np.abs(positions[at[frame]] - joints).max() < 2e-5
        assert np.abs(pelvis[at[frame]] - joints[0, [0, 2, 1]] * (1, -1, 1)).max() < 1e-5
        assert np.abs(cameras[at[frame], :3, :3] @ cameras[at[frame], :3, :3].T - np.eye(3)).max() < 1e-6
    if 1 in frames and 2 in frames:  # two steps of the rate apart
        middle = (positions[at[1], 0] + positions[at[2], 0]) / 2
        assert np.abs(positions[at[1] + 1, 0] - middle).max() < 1e-5


def test_json_holds_everybody_in_every_frame(files):
    document = json.loads(beside(files, ".json").read_text("utf-8"))
    assert document["frame_rate"] == 25
    assert [[person["track_id"] for person in frame["people"]] for frame in document["frames"]] == [
        [track for track in PRESENT if frame in PRESENT[track]] for frame in range(FRAMES)
    ]
    assert np.allclose(document["frames"][2]["camera"]["world_to_camera"], FIT.world_to_camera[2])


@pytest.mark.slow
def test_usd_is_valid_and_skins_as_the_body_does(tmp_path):
    pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    from pxr import Usd, UsdGeom, UsdSkel, UsdValidation

    path, image, _ = export_fit(FIT, tmp_path / "clip", ["usd"], textures={0: TEXTURE})
    assert image.name == "clip.person0.png"
    stage = Usd.Stage.Open(str(path))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [error.GetErrorAsString() for error in errors] == []
    assert (UsdGeom.GetStageMetersPerUnit(stage), UsdGeom.GetStageUpAxis(stage)) == (1.0, "Y")
    assert (stage.GetTimeCodesPerSecond(), stage.GetEndTimeCode()) == (25, FRAMES - 1)
    UsdSkel.BakeSkinning(UsdSkel.Root(stage.GetPrimAtPath("/people")))
    body = default_body()
    for track, frame in ((0, 3), (2, 4)):
        mesh = UsdGeom.Mesh(stage.GetPrimAtPath(f"/people/person{track}/body"))
        points = np.array(mesh.GetPointsAttr().Get(frame))
        assert np.abs(points - frame_surfaces(FIT, frame, body)[track]).max() < 2e-3  # half floats of UsdSkel's scales
    person = UsdGeom.Imageable(stage.GetPrimAtPath("/people/person2"))
    assert [person.ComputeVisibility(frame) == "inherited" for frame in range(FRAMES)] == [
        frame in PRESENT[2] for frame in range(FRAMES)
    ]
    varying, _ = export_fit(VARYING, tmp_path / "varying", ["usd"])
    timed = Usd.Stage.Open(str(varying))
    motion = UsdSkel.Animation(timed.GetPrimAtPath("/people/person0/skeleton/motion"))
    assert motion.GetTranslationsAttr().GetTimeSamples() == pytest.approx((25 * TIMES).tolist())
    lens = UsdGeom.Camera(stage.GetPrimAtPath("/people/camera")).GetCamera(3).frustum
    joint = FIT.joints3d[row_of(0, 3), 5]
    world = JOINTS[row_of(0, 3), 5]
    x, y, _ = (lens.ComputeViewMatrix() * lens.ComputeProjectionMatrix()).Transform(world.tolist())
    assert (x + 1) * 320 == pytest.approx(600 * joint[0] / joint[2] + 327, abs=0.01)
    assert (1 - y) * 240 == pytest.approx(600 * joint[1] / joint[2] + 237, abs=0.01)


def test_a_usd_file_that_cannot_be_written_is_reported_and_leaves_no_images(tmp_path):
    pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, usual[1]))
    try:
        with raises(UnavailableError, subject="clip.usd", problem="cannot be written", got="File too large"):
            export_fit(FIT, tmp_path / "clip", ["usd"], textures={0: TEXTURE})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "failing"), [("amass", 2), ("bvh", 2), ("glb", 2), ("obj", 4), ("ply", 2), ("usd", 3)]
)
def test_what_fails_after_some_of_its_files_leaves_none(tmp_path, monkeypatch, kind, failing):
    """Each on the disk by itself, and another person's, frame's or texture's beside it."""
    if kind == "usd":
        pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    usual, appeared = os.replace, []

    def full(source, target):
        appeared.append(Path(target))
        if len(appeared) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        usual(source, target)
        assert Path(target).exists()

    monkeypatch.setattr(os, "replace", full)
    with raises(UnavailableError, problem="cannot be written", got="No space left on device"):
        export_fit(FIT, tmp_path / "clip", [kind], textures={0: TEXTURE})
    assert len(appeared) == failing
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_image_has_one_file_a_format_and_a_fit_without_people_is_valid(tmp_path):
    image = one_frame(FIT, 1)
    written = export_fit(image, tmp_path / "a.jpg", PLAIN_FORMATS)
    assert {path.suffix for path in written} >= {".glb", ".fbx", ".json", ".obj", ".mtl", ".ply"}
    glb = Glb(tmp_path / "a.jpg.glb")
    assert not glb.gltf.animations
    surface = frame_surfaces(image, 0, default_body())[2]
    assert np.abs(glb.skinned(2, 0.0).min(0) - surface.min(0)).max() < 1e-5
    paths = export_fit(image.select([]), tmp_path / "b.jpg", PLAIN_FORMATS)
    names = {"b.jpg.blender.py", *(f"b.jpg.{name}" for name in PLAIN_FORMATS if FORMATS[name].is_one_file)}
    assert {path.name for path in paths} == names == {path.name for path in tmp_path.glob("b.*")}
    assert [node.name for node in Glb(tmp_path / "b.jpg.glb").gltf.nodes] == ["camera"]


@pytest.mark.parametrize("text", ["abc", "", "glb,,x"])
def test_unknown_formats_are_refused(text):
    with raises(UsageError, expected="glb,fbx"):
        parse_formats(text)
    assert parse_formats(" GLB,bvh,glb") == ("glb", "bvh")


def test_a_file_has_the_ending_of_its_format():
    with raises(UsageError, subject="out", problem="has the ending of glb, but `format` is fbx"):
        output_base(Path("people.glb"), "fbx")


@pytest.mark.parametrize("ending", [".glb", ".fbx", ".person0.bvh", ".usd"])
def test_blender_has_the_joints_within_a_millimetre(files, ending):
    """The import with default settings; Blender counts the frames of BVH and FBX from 1, and its axes are z up. The
    import of USD makes a frame of each time code and keeps the scene's frame rate, here 24 in place of the clip's 25.
    """
    blender = shutil.which("blender")
    if blender is None:
        pytest.skip("Blender is not installed")
    path, first = beside(files, ending), int(ending in (".fbx", ".person0.bvh"))
    rate = 24 if ending == ".usd" else 25
    if ending == ".usd":
        pytest.importorskip("pxr")
        export_fit(FIT, files, ["usd"], body=default_body())
    script = HELPERS / "blender_joints.py"
    frames = [str(frame + first) for frame in (0, 1, 4)]
    line = [blender, "--background", "--factory-startup", "--python", str(script), "--", str(path), str(rate), *frames]
    ran = subprocess.run(line, capture_output=True, text=True, check=True)
    lines = [line.removeprefix("JOINTS ") for line in ran.stdout.splitlines() if line.startswith("JOINTS ")]
    if not lines:
        pytest.skip(f"this Blender cannot import it: {(ran.stderr or ran.stdout).strip().splitlines()[-1]}")
    found = json.loads(lines[0])
    assert found["rate"] == rate
    names = {".glb": "person0", ".fbx": "person0", ".person0.bvh": f"{files.name}.person0", ".usd": "skeleton"}
    for frame, imported in zip((0, 1, 4), frames, strict=True):
        joints = found["frames"][imported][names[ending]]
        expected = JOINTS[row_of(0, frame)][:, [0, 2, 1]] * (1, -1, 1)
        positions = np.array([joints[name] for name in SMPL24.joint_names])
        assert np.linalg.norm(positions - expected, axis=1).max() < 1e-3
    if ending in (".glb", ".usd"):
        rest = found["rest"][names[ending]]
        heads, tails = np.array([rest[name] for name in SMPL24.joint_names]).transpose(1, 0, 2)
        leads_to_a_child((tails - heads) / np.linalg.norm(tails - heads, axis=1, keepdims=True), heads)
