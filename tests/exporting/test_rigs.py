"""Motions on the skeletons of other programs and of characters, read from the files."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.characters import CHARACTERS, body_joints, character, person, walking, write_character
from helpers.errors import raises
from helpers.glb_reader import Glb, validator_issues
from helpers.moving_people import moving_people
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.exporting import rigs
from humanpose_cli.exporting.bvh import bvh_text
from humanpose_cli.exporting.exporter import export_fit
from humanpose_cli.exporting.glb_files import GlbFile
from humanpose_cli.exporting.gltf import animated_glb, quaternions, vrma_bytes
from humanpose_cli.exporting.motion import PersonMotion
from humanpose_cli.exporting.retarget import fitted, retargeted
from humanpose_cli.exporting.rigs import RIGS, read_rig
from humanpose_cli.exporting.skins import person_meshes
from humanpose_cli.io.pose_files.bvh import read_bvh_motion

WALK = walking(person())
JOINTS, TURNS = body_joints(WALK)
SECONDS = np.arange(len(WALK.frames)) / 25
SIDES = ("left", "right")
LIMBS = [("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "middle1")]
LIMBS += [("index1", "index2"), ("index2", "index3"), ("thumb1", "thumb2"), ("thumb2", "thumb3")]


def worlds(path: Path) -> dict[str, np.ndarray]:
    """The matrices (T, 4, 4) of the nodes of a file with one key for each frame, by name."""
    glb = Glb(path)
    keys: dict[tuple[int, str], np.ndarray] = {}
    for channel in glb.gltf.animations[0].channels:
        sampler = glb.gltf.animations[0].samplers[channel.sampler]
        keys[channel.target.node, channel.target.path] = glb.values(sampler.output)

    def world(number: int) -> np.ndarray:
        node = glb.gltf.nodes[number]
        local = np.tile(np.array(node.matrix or np.eye(4), float).reshape(4, 4).T, (len(SECONDS), 1, 1))
        if node.matrix is None:
            turn = keys.get((number, "rotation"), np.array([node.rotation or (0, 0, 0, 1)] * len(SECONDS)))
            local[:, :3, :3] = Rotation.from_quat(turn).as_matrix() * (node.scale or (1, 1, 1))
            local[:, :3, 3] = keys.get((number, "translation"), np.array(node.translation or (0, 0, 0)))
        return world(glb.parents[number]) @ local if number in glb.parents else local

    return {node.name: world(number) for number, node in enumerate(glb.gltf.nodes)}


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees (T,) between vectors (T, 3)."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def moved(path: Path, motion: PersonMotion = WALK) -> dict[str, np.ndarray]:
    rig = read_rig(str(path))
    assert isinstance(rig.file, GlbFile)
    path.write_bytes(animated_glb(retargeted(motion, rig, SECONDS, grounded=True), rig, rig.file, seconds=SECONDS))
    return worlds(path)


@pytest.mark.parametrize(
    "name", ["vroid", *(pytest.param(n, marks=pytest.mark.slow) for n in CHARACTERS if n != "vroid")]
)
def test_characters_point_as_the_person_and_stand_on_their_feet(tmp_path, name):
    """Names, twisted bones, A and T poses, armatures and proportions of all layouts."""
    made = CHARACTERS[name]()
    nodes = moved(write_character(tmp_path / "a.glb", made, "VRM" if name == "vrm0" else ""))
    index = WALK.skeleton.index
    for side in SIDES:
        for joint, child in LIMBS:
            if {f"{side}_{joint}", f"{side}_{child}"} <= made.joints.keys():
                at, to = (nodes[made.joints[f"{side}_{part}"]][:, :3, 3] for part in (joint, child))
                expected = JOINTS[:, index(f"{side}_{child}")] - JOINTS[:, index(f"{side}_{joint}")]
                assert angles(to - at, expected).max() < 1, (side, joint)
    for side in SIDES:
        ball, mine = JOINTS[:, index(f"{side}_foot")], nodes[made.joints[f"{side}_foot"]][:, :3, 3]
        stands = np.linalg.norm(np.diff(ball, axis=0), axis=1) < 1e-3
        assert stands.sum() > 15
        steps = np.linalg.norm(np.diff(mine, axis=0)[:, [0, 2]], axis=1)
        assert steps[stands].max() < 2e-3
        rest = made.positions[made.names.index(made.joints[f"{side}_foot"]), 1]
        assert np.abs(mine[1:][stands, 1] - rest).max() < 4e-3


def bones_in_world(motion: PersonMotion) -> np.ndarray:
    """The positions (R, J, 3) of a motion's bones."""
    turns, offsets = motion.rotations.copy(), motion.rest_offsets
    positions = np.zeros((len(motion.frames), len(motion.joints), 3))
    for bone, parent in enumerate(motion.parents):
        if parent >= 0:
            positions[:, bone] = positions[:, parent] + turns[:, parent] @ offsets[bone]
            turns[:, bone] = turns[:, parent] @ turns[:, bone]
    return positions + (motion.pelvis - positions[:, motion.hips])[:, None]


def test_legs_of_wider_hips_swing_to_where_feet_stand():
    """Both feet stand at once, further apart than the person's: one path of the hips cannot hold both."""
    rig, _ = fitted(read_rig("mixamo"), WALK, [])
    positions = rig.positions.copy()
    for side, metres in (("left", 0.05), ("right", -0.05)):
        positions[[rig.rows[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")], 0] += metres
    rig = replace(rig, positions=positions)
    bones = bones_in_world(retargeted(WALK, rig, SECONDS, grounded=True))
    for side in SIDES:
        ball, mine = JOINTS[:, WALK.skeleton.index(f"{side}_foot")], bones[:, rig.rows[f"{side}_foot"]]
        stands = np.linalg.norm(np.diff(ball, axis=0), axis=1) < 1e-3
        steps = np.linalg.norm(np.diff(mine, axis=0)[:, [0, 2]], axis=1)
        assert steps[stands].max() < 5e-4


def test_keys_turn_the_shorter_way():
    turns = quaternions(Rotation.from_rotvec(np.outer(np.arange(0, 720, 30), (0, 1, 0)), degrees=True).as_matrix())
    assert ((turns[1:] * turns[:-1]).sum(-1) > 0).all()


def upright() -> PersonMotion:
    """A person in the T pose who looks along z."""
    local = np.tile(np.eye(3), (len(WALK.frames), len(WALK.skeleton), 1, 1))
    return replace(WALK, relative=local, pelvis=np.tile((0, 0.9, 0.0), (len(local), 1)))


def test_limbs_are_not_twisted_and_palms_are_the_persons(tmp_path):
    """Arms that hang at rest, palms forward, are not twisted in the T pose beyond what palms need."""
    made = character("mixamo", arms_down=70, twist=1)
    rows = {joint: made.names.index(bone) for joint, bone in made.joints.items()}
    hands = [rows[joint] for joint in made.joints if joint.startswith("left_") and joint[-1] in "123"]
    wrist, arm = (
        made.positions[rows["left_wrist"]],
        made.positions[rows["left_wrist"]] - made.positions[rows["left_elbow"]],
    )
    turn = Rotation.from_rotvec(np.pi / 3 * arm / np.linalg.norm(arm)).as_matrix()
    made.positions[hands] = wrist + (made.positions[hands] - wrist) @ turn.T
    nodes = moved(write_character(tmp_path / "a.glb", made), upright())
    turns = {j: nodes[made.names[row]][0, :3, :3] @ made.axes[row].T * 100 for j, row in rows.items()}
    for side, expected in (("left", (0, 30, 30)), ("right", (0, 0, 0))):
        for (joint, child), degrees in zip(
            (("collar", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist")), expected, strict=True
        ):
            relative = Rotation.from_matrix(turns[f"{side}_{joint}"].T @ turns[f"{side}_{child}"]).as_rotvec(
                degrees=True
            )
            along = made.positions[rows[f"{side}_wrist"]] - made.positions[rows[f"{side}_elbow"]]
            assert abs(abs(relative @ along) / np.linalg.norm(along) - degrees) < 5, (side, child)
        palms = [nodes[made.joints[f"{side}_{finger}1"]][:, :3, 3] for finger in ("index", "pinky")]
        mine = body_joints(upright())[0][:, WALK.skeleton.indices((f"{side}_index1", f"{side}_pinky1"))]
        assert angles(palms[0] - palms[1], mine[:, 0] - mine[:, 1]).max() < 8


def on_rig(name: str, motion: PersonMotion) -> tuple[PersonMotion, dict[str, int]]:
    rig, _ = fitted(read_rig(name), motion, person_meshes(default_body(), motion))
    return retargeted(motion, rig, SECONDS, grounded=True), rig.rows


def bvh_frames(path: Path) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Positions in metres and rotations in each frame by joint, as GMR's loaders compute them."""
    motion = read_bvh_motion(path)
    positions = motion.positions() / 100
    for values, points in zip(motion.values, positions, strict=True):
        turns, column = {}, 0
        for joint in motion.joints:
            angle = [v for v, (_, kind) in zip(values[column:], joint.channels, strict=False) if kind == "rotation"]
            order = "".join("XYZ"[axis] for axis, kind in joint.channels if kind == "rotation")
            column += len(joint.channels)
            if order:
                local = Rotation.from_euler(order, angle, degrees=True).as_matrix()
                turns[joint.name] = turns[motion.joints[joint.parent].name] @ local if joint.parent >= 0 else local
        yield dict(zip((joint.name for joint in motion.joints), points, strict=True)), turns


# Rotations (w, x, y, z) from a robot's upright links to bones, from YanjieZe/GMR's ik_configs: bvh_lafan1_to_t1.json,
# and bvh_soma_to_g1.json, where thighs and feet lean; and the maps of the loaders from BVH to z up.
_LEGS = {"LeftUpLeg": (-0.5, 0.5, 0.5, -0.5), "LeftLeg": (-0.5, 0.5, 0.5, -0.5), "LeftToe": (-1, 1, 0, 0)}
_LEGS |= {name.replace("Left", "Right"): turn for name, turn in _LEGS.items()}
GMR = {
    "lafan1": ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], {"Hips": (0.5,) * 4, "Spine2": (0.5,) * 4, **_LEGS}),
    "soma": (
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
        {"Hips": (-0.5,) * 4, "Chest": (-0.5,) * 4, "LeftShin": (0.5, 0.5, -0.5, -0.5), "RightShin": (-0.5,) * 4},
    ),
}
NAMES = {
    "lafan1": "Hips Spine2 {}UpLeg {}Leg {}Foot {}Toe {}Arm {}ForeArm {}Hand",
    "soma": "Root Hips Chest {}Leg {}Shin {}Foot {}Arm {}ForeArm {}Hand",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GMR)
def test_bvh_is_as_the_loaders_of_gmr_read_it(tmp_path, name):
    """Names, centimetres, and the axes in which an upright person makes an upright robot."""
    motion, rows = on_rig(name, upright())
    (tmp_path / "a.bvh").write_text(bvh_text(motion, 25))
    to_z_up, table = GMR[name]
    points, turns = next(bvh_frames(tmp_path / "a.bvh"))
    assert {word.format(side) for word in NAMES[name].split() for side in ("Left", "Right")} <= points.keys()
    facing = np.stack([to_z_up @ np.array((0, 0, 1)), to_z_up @ np.array((1, 0, 0)), (0, 0, 1)], 1)  # ahead, left, up
    for bone, (w, *xyz) in table.items():
        robot = to_z_up @ turns[bone] @ Rotation.from_quat((*xyz, w)).as_matrix()
        np.testing.assert_allclose(robot, facing, atol=1e-2, err_msg=bone)
    walk, _ = on_rig(name, WALK)
    (tmp_path / "walk.bvh").write_text(bvh_text(walk, 25))
    for frame, (points, _) in enumerate(bvh_frames(tmp_path / "walk.bvh")):
        for joint in ("left_knee", "right_wrist"):
            bone = walk.skeleton.joint_names[rows[joint]]
            assert np.linalg.norm(points[bone] - JOINTS[frame, WALK.skeleton.index(joint)]) < 0.02


@pytest.mark.parametrize("name", RIGS)
def test_rigs_stand_on_the_ground_with_rotations_zero_or_along_their_axes(name):
    motion, rows = on_rig(name, WALK)
    assert -0.02 < motion.joints[:, 1].min() < 0.05
    assert np.linalg.norm(motion.joints[rows["pelvis"], [0, 2]]) > 1e-3  # Blender connects bones at the tails of others
    arm = motion.joints[rows["left_elbow"]] - motion.joints[rows["left_shoulder"]]
    assert angles(arm, np.array((0.7, -0.7, 0.1) if name == "ue5" else (1.0, 0, 0))) < 6
    np.testing.assert_allclose(np.linalg.det(motion.bone_axes), 1)


@pytest.mark.slow
def test_vrm_animation_rests_in_the_t_pose_and_moves_the_hips_alone(tmp_path):
    motion, _ = on_rig("vrm", WALK)
    path = tmp_path / "a.vrma"
    path.write_bytes(vrma_bytes(motion, seconds=SECONDS))
    glb = Glb(path)
    extension = glb.gltf.extensions["VRMC_vrm_animation"]
    assert extension["specVersion"] == "1.0"
    bones = {name: bone["node"] for name, bone in extension["humanoid"]["humanBones"].items()}
    assert {"hips", "spine", "head", "leftUpperArm", "rightThumbMetacarpal", "leftLittleDistal"} <= bones.keys()
    channels = {(channel.target.node, channel.target.path) for channel in glb.gltf.animations[0].channels}
    assert channels == {(node, "rotation") for node in bones.values()} | {(bones["hips"], "translation")}
    assert all(glb.gltf.nodes[node].rotation == [0, 0, 0, 1] for node in bones.values())
    at, to = (worlds(path)[name][:, :3, 3] for name in ("leftUpperArm", "leftLowerArm"))
    expected = JOINTS[:, WALK.skeleton.index("left_elbow")] - JOINTS[:, WALK.skeleton.index("left_shoulder")]
    assert angles(to - at, expected).max() < 0.1
    path.rename(tmp_path / "a.glb")
    assert not validator_issues(tmp_path / "a.glb")


@pytest.mark.slow
def test_files_of_characters_are_kept_and_valid(tmp_path):
    """A copy for each person, in the character's format, with everything that the file held."""
    path = write_character(tmp_path / "hero.vrm", CHARACTERS["vrm0"](), "VRMC_vrm")
    before = path.read_bytes()
    files = export_fit(
        moving_people(), tmp_path / "clip", "glb,bvh", rig=str(path), textures="none", body=default_body()
    )
    assert [file.name for file in files] == [f"clip.person{i}.{kind}" for kind in ("vrm", "bvh") for i in (0, 2)]
    assert path.read_bytes() == before
    sizes = [int.from_bytes(file.read_bytes()[12:16], "little") for file in (path, files[1])]
    old, new = (
        json.loads(file.read_bytes()[20 : 20 + size]) for file, size in zip((path, files[1]), sizes, strict=True)
    )
    assert files[1].read_bytes()[28 + sizes[1] :].startswith(before[28 + sizes[0] :])
    assert {name: new[name] for name in ("meshes", "skins", "extensions", "scenes", "asset")}.items() <= old.items()
    assert new["accessors"][: len(old["accessors"])] == old["accessors"]
    for file in files[:2]:
        file.rename(file.with_suffix(".glb"))
        assert not validator_issues(file.with_suffix(".glb"))
    for name in RIGS:
        (path, _) = export_fit(moving_people(), tmp_path / name, "glb", rig=name, textures="none", body=default_body())
        assert not validator_issues(path)
    with raises(UsageError, subject="rig"):
        export_fit(moving_people(), tmp_path / "clip", "usd", rig="mixamo", body=default_body())


def test_characters_with_other_names_are_known_by_a_table(tmp_path):
    made = character("mixamo", lambda name: name[::-1])
    path = write_character(tmp_path / "odd.glb", made)
    with raises(InputError, subject="odd.glb") as caught:
        read_rig(str(path), tmp_path)
    assert made.names[3] in caught.value.got
    assert "left_hip" in caught.value.problem
    table = tmp_path / "odd.rig.toml"
    text = table.read_text()
    for joint, bone in made.joints.items():
        text = text.replace(f'\n{joint} = ""', f"\n{joint} = '{bone}'")
    table.write_text(text)
    with raises(InputError, subject="odd.glb", remedy="odd.rig.toml exists: give --rig that file"):
        read_rig(str(path), tmp_path)
    assert table.read_text() == text
    rig = read_rig(str(table))
    assert {rig.bones[row] for joint, row in rig.rows.items()} <= {*made.joints.values()}
    assert rig.rows.keys() >= {"pelvis", "left_foot", "right_collar", "head"}
    table.write_text(text.replace(made.joints["left_hip"], "nothing"))
    with raises(InputError, subject="odd.glb"):
        read_rig(str(table), tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scale": [1, 2, 1]}, "unevenly scaled"),
        ({"scale": [-1, 1, 1]}, "mirrored"),
        ({"children": [0]}, "circle"),
        ({"children": [-1]}, "missing"),
        ({"translation": [float("inf"), 0, 0]}, "compliant"),
        ({"name": "\ud800"}, "of another kind"),
        ({"rotation": [0.3826834, 0, 0, 0.9238795]}, "does not stand"),
    ],
)
def test_skeletons_that_cannot_be_used_are_refused(tmp_path, change, problem):
    path = write_character(tmp_path / "bad.glb", character("mixamo"), **change)
    with pytest.raises(InputError, match=problem):
        read_rig(str(path), tmp_path)


def test_nodes_in_a_pose_and_buffers_beside_the_file_change_nothing(tmp_path):
    path = write_character(tmp_path / "a.glb", character("mixamo", twist=1, armature=(0.01, (90, 0, 0))))
    expected, turned = read_rig(str(path)), Rotation.from_euler("xyz", (10, 40, 60), degrees=True).as_quat().tolist()
    assert isinstance(expected.file, GlbFile)
    document = {**expected.file.document, "buffers": [{"uri": "a.bin", "byteLength": len(expected.file.data)}]}
    for node in document["nodes"]:
        node |= {"rotation": turned} if "Arm" in node["name"] or "Hips" in node["name"] else {}
    (tmp_path / "a.bin").write_bytes(expected.file.data)
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    rig = read_rig(str(tmp_path / "a.gltf"))
    assert rig.bones == expected.bones
    np.testing.assert_allclose(rig.positions[1:], expected.positions[1:], atol=1e-5)
    np.testing.assert_allclose(rig.axes[1:], expected.axes[1:], atol=1e-5)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.gltf").write_text(json.dumps(document).replace("a.bin", "../a.bin"))
    with pytest.raises(InputError, match="outside of its folder"):
        read_rig(str(tmp_path / "below" / "a.gltf"))


_BONE = '["mixamorig:Spine1", "spine3"]'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("unit = 0.01", "unit = nan"),
        (_BONE, '["mixamorig:Spine1", "spine3", "neck", "half", 0.5]'),
        (_BONE, '["mixamorig:Neck", "spine3"]'),
        (_BONE, _BONE + "".join(f'\nb{number} = ["mixamorig:Hips"]' for number in range(5000))),
        ("[bones]", '[axes]\n"mixamorig:LeftArm" = "x x x"\n[bones]'),
    ],
)
def test_descriptions_that_cannot_be_used_are_refused(tmp_path, old, new):
    text = (Path(rigs.__file__).parent / "data" / "rigs" / "mixamo.toml").read_text()
    (tmp_path / "bad.toml").write_text(text.replace(old, new, 1))
    with raises(InputError, subject="bad.toml"):
        read_rig(str(tmp_path / "bad.toml"))


@pytest.mark.posix
@pytest.mark.parametrize("kind", ["glb", "gltf", "fbx", "bvh", "toml"])
def test_endless_files_are_not_read(tmp_path, kind):
    (tmp_path / f"hole.{kind}").touch()
    os.truncate(tmp_path / f"hole.{kind}", 5 << 30)
    with raises(InputError, subject=f"hole.{kind}", got="5120 MiB"):
        read_rig(str(tmp_path / f"hole.{kind}"))


def test_files_of_bvh_and_descriptions_are_rigs(tmp_path):
    motion, _ = on_rig("mixamo", WALK)
    (tmp_path / "own.bvh").write_text(bvh_text(motion, 25))
    rig = read_rig(str(tmp_path / "own.bvh"))
    assert rig.bones == tuple(
        dict.fromkeys(joint.name for joint in read_bvh_motion(tmp_path / "own.bvh").joints if not joint.is_end)
    )
    again = retargeted(WALK, rig, SECONDS, grounded=True)
    (tmp_path / "again.bvh").write_text(bvh_text(again, 25))
    for first, second in zip(bvh_frames(tmp_path / "own.bvh"), bvh_frames(tmp_path / "again.bvh"), strict=True):
        for bone, point in first[0].items():
            assert np.linalg.norm(point - second[0][bone]) < 0.02, bone
    with raises(UsageError, subject="rig", got="maya"):
        read_rig("maya")
