"""Characters in the layouts of other programs, as glTF files with a skin, and a person who walks."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from helpers.moving_people import moving_people
from humanpose_cli.body.body import default_body
from humanpose_cli.exporting.motion import PersonMotion, person_motion
from humanpose_cli.exporting.retarget import fitted
from humanpose_cli.exporting.rigs import read_rig
from humanpose_cli.exporting.skins import person_meshes


@dataclass(frozen=True, eq=False)
class Character:
    """A skeleton in its file's axes, parents first; `joints` are the names of bones by joint, `armature` (4, 4)."""

    names: list[str]
    parents: list[int]
    positions: np.ndarray
    axes: np.ndarray
    joints: dict[str, str]
    armature: np.ndarray


def person() -> PersonMotion:
    """The first of the moving people, with fingers."""
    fit = moving_people()
    hands = np.random.default_rng(1).normal(0, 0.3, (len(fit), 2, 15, 3)).astype(np.float32)
    fit = replace(fit, hand_poses=hands, hand_confidence=np.ones((len(fit), 2), np.float32))
    return person_motion(fit, 0, default_body())


def character(
    names: str,
    rename: Callable[[str], str] = str,
    *,
    arms_down: float = 0,
    twist: float = 0,
    lengths: tuple[float, float, float] = (1, 1, 1),
    armature: tuple[float, tuple[float, float, float]] = (1, (0, 0, 0)),
    turn: float = 0,
) -> Character:
    """Build a character.

    Args:
        names: A rig, for the names of bones.
        rename: Returns other names.
        arms_down: Degrees from the rig's pose at rest.
        twist: Scale of random rotations of bones' axes.
        lengths: Factors of thighs, shins and arms.
        armature: Scale and rotation of the node above the bones, which does not move them.
        turn: Degrees about the vertical.
    """
    motion = person()
    rig, _ = fitted(read_rig(names), motion, person_meshes(default_body(), motion))
    joints = {row: joint for joint, row in rig.rows.items()}
    factors = dict(zip(("knee", "ankle", "elbow", "wrist"), (*lengths, lengths[2]), strict=True))
    turns, positions = np.tile(np.eye(3), (len(rig.bones), 1, 1)), rig.positions.copy()
    for row, parent in enumerate(rig.parents):
        side, _, part = joints.get(row, "").partition("_")
        if parent >= 0:
            turns[row] = turns[parent]
            offset = turns[parent] @ (rig.positions[row] - rig.positions[parent])
            positions[row] = positions[parent] + factors.get(part, 1) * offset
        if part == "shoulder":
            turns[row] = Rotation.from_euler("z", arms_down * (1 if side == "right" else -1), degrees=True).as_matrix()
    ankle = rig.rows["left_ankle"]
    positions[0 if 0 in joints else 1 :, 1] += rig.positions[ankle, 1] - positions[ankle, 1]
    random = Rotation.from_rotvec(twist * np.random.default_rng(3).normal(0, 1, (len(rig.bones), 3))).as_matrix()
    facing = Rotation.from_euler("y", turn, degrees=True).as_matrix()
    above = np.eye(4)
    above[:3, :3] = armature[0] * Rotation.from_euler("xyz", armature[1], degrees=True).as_matrix()
    renamed = [rename(bone) for bone in rig.bones]
    bones = {joint: renamed[row] for joint, row in rig.rows.items()}
    return Character(renamed, rig.parents.tolist(), positions @ facing.T, facing @ random, bones, above)


def _biped(name: str) -> str:
    """3ds Max's names from Unreal's."""
    parts = {"upperarm": "UpperArm", "lowerarm": "Forearm", "ball": "Toe0", "root": "Bip01"}
    match = re.fullmatch(r"(.*)_([lr])", name)
    return f"Bip01 {match[2].upper()} {parts.get(match[1], match[1].capitalize())}" if match else f"Bip01 {name}"


_PARTS = r"hip|knee|ankle|foot|collar|shoulder|elbow|wrist|neck|head|thumb|index|middle|ring|pinky"


def _words(words: str, sides: str, form: str) -> Callable[[str], str]:
    """Rename SMPL-X's bones: words for `_PARTS`, and for left, right and middle."""
    known = dict(zip(_PARTS.split("|"), words.split(), strict=True))
    side_of = dict(zip(("left_", "right_", None), sides, strict=True))

    def rename(name: str) -> str:
        found = re.fullmatch(rf"(left_|right_)?({_PARTS})(\d?)", name)
        return form.format(side_of[found[1]].strip(), known[found[2]] + found[3]) if found else name

    return rename


_AUTO_RIG = "thigh_stretch leg_stretch foot toes_01 shoulder arm_stretch forearm_stretch hand neck head"
_AUTO_RIG += " c_thumb c_index c_middle c_ring c_pinky"
_MMD = "足 ひざ 足首 つま先 肩 腕 ひじ 手首 首 頭 親指 人指 中指 薬指 小指"

CHARACTERS: dict[str, Callable[[], Character]] = {
    "mixamo": lambda: character("mixamo", twist=1, armature=(0.01, (90, 0, 0))),
    "unreal": lambda: character("ue5", twist=1, armature=(1, (-90, 0, 0)), lengths=(0.9, 0.8, 1.1)),
    "vroid": lambda: character("vrm", lambda name: f"J_Bip_{name}", lengths=(0.7, 0.7, 0.8)),
    "vrm0": lambda: character("vrm", lambda name: name[::-1], turn=180, lengths=(0.6, 0.7, 0.7)),
    "rigify": lambda: character("rigify", arms_down=45, twist=1),
    "biped": lambda: character("ue5", _biped, arms_down=20, twist=2, armature=(0.0254, (-90, 90, 0))),
    "motionbuilder": lambda: character("lafan1", arms_down=20, lengths=(1.1, 0.9, 1)),
    "smplx": lambda: character("smplx", lengths=(1.1, 1.1, 1.2)),
    "soma": lambda: character("soma", twist=2, lengths=(1.3, 1.2, 1.2)),
    "blender": lambda: character("rigify", lambda n: n[4:], arms_down=60, twist=1, turn=90, lengths=(1, 1.2, 0.9)),
    "valve": lambda: character("ue5", lambda n: f"ValveBiped.{_biped(n).replace(' ', '_')}", twist=1),
    "auto-rig pro": lambda: character("smplx", _words(_AUTO_RIG, "lrx", "{1}.{0}"), arms_down=40, twist=1),
    "mmd": lambda: character("smplx", _words(_MMD, "左右 ", "{0}{1}"), arms_down=35),
    "sketchfab": lambda: character("mixamo", lambda n: f"{n}_{len(n):02d}", twist=1),
}  # fmt: skip
"""Characters by the layout of their names."""


def write_character(path: Path, made: Character, vrm: str = "", **node: Any) -> Path:
    """Write a character with a triangle for each bone and the extension `vrm`; `node` changes the first bone."""
    count = len(made.names)
    world = np.tile(np.eye(4), (count, 1, 1))
    world[:, :3, :3] = made.axes * np.cbrt(np.linalg.det(made.armature[:3, :3]))
    world[:, :3, 3] = made.positions
    nodes: list[dict[str, Any]] = []
    for row, parent in enumerate(made.parents):
        local = np.linalg.inv(world[parent] if parent >= 0 else made.armature) @ world[row]
        turn = Rotation.from_matrix(local[:3, :3]).as_quat().tolist()
        children = [child for child, above in enumerate(made.parents) if above == row]
        nodes.append({"name": made.names[row], "translation": local[:3, 3].tolist(), "rotation": turn})
        nodes[-1] |= {"children": children} if children else {}
    nodes[0] |= node
    nodes.append({"name": "Armature", "children": [0], "matrix": made.armature.T.reshape(-1).tolist()})
    nodes.append({"name": "body", "mesh": 0, "skin": 0})
    points = (
        (made.positions[:, None] + np.array(((0, 0, 0), (0.03, 0, 0), (0, 0.03, 0.03)))).astype("<f4").reshape(-1, 3)
    )
    bones = np.zeros((3 * count, 4), "u1")
    bones[:, 0] = np.arange(3 * count) // 3
    inverse = np.linalg.inv(world).transpose(0, 2, 1)
    inverse[:, :3, 3], inverse[:, 3, 3] = 0, 1
    weights = np.tile(np.eye(4, dtype="<f4")[0], (3 * count, 1))
    data, views, accessors = b"", [], []
    for values, kind, shape in (
        (points, 5126, "VEC3"),
        (bones, 5121, "VEC4"),
        (weights, 5126, "VEC4"),
        (inverse, 5126, "MAT4"),
    ):
        part = values.astype("u1" if kind == 5121 else "<f4").tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(part)})
        accessors.append({"bufferView": len(views) - 1, "componentType": kind, "count": len(values), "type": shape})
        data += part
    accessors[0] |= {"min": points.min(0).tolist(), "max": points.max(0).tolist()}
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [count, count + 1]}],
        "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "JOINTS_0": 1, "WEIGHTS_0": 2}}]}],
        "skins": [{"joints": list(range(count)), "inverseBindMatrices": 3}],
        "accessors": accessors,
        "bufferViews": [view | ({"target": 34962} if number < 3 else {}) for number, view in enumerate(views)],
        "buffers": [{"byteLength": len(data)}],
    }
    if vrm:  # the names of bones are those of VRM, backwards
        table: Any = {name[::-1]: {"node": row} for row, name in enumerate(made.names)}
        if vrm == "VRM":
            old = {"ThumbProximal": "ThumbIntermediate", "ThumbMetacarpal": "ThumbProximal"}
            table = [{"bone": re.sub("Thumb[MP].*", lambda m: old[m[0]], name), **row} for name, row in table.items()]
        document |= {"extensions": {vrm: {"humanoid": {"humanBones": table}}}, "extensionsUsed": [vrm]}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(data), len(text), 0x4E4F534A)
    path.write_bytes(head + text + struct.pack("<II", len(data), 0x004E4942) + data)
    return path


def walking(motion: PersonMotion, frames: int = 60) -> PersonMotion:
    """Return a person who walks, turns and waves; the lower foot stands on the ground exactly."""
    names, phase = motion.skeleton, np.linspace(0, 3 * np.pi, frames)
    angles = np.zeros((frames, len(names), 3))
    for side, sign in (("left", 1), ("right", -1)):
        swing = np.sin(phase) * sign
        angles[:, names.index(f"{side}_hip")] = np.stack((-0.4 * swing - 0.15, 0 * swing, 0.05 * swing), 1)
        angles[:, names.index(f"{side}_knee"), 0] = 0.5 - 0.2 * swing
        angles[:, names.index(f"{side}_ankle"), 0] = -0.1 + 0.15 * swing
        angles[:, names.index(f"{side}_shoulder")] = np.stack((0.3 * swing, 0.6 * swing, sign * (swing - 1) * 0.6), 1)
        angles[:, names.index(f"{side}_elbow"), 1] = -sign * (0.8 + 0.5 * swing)
        angles[:, names.index(f"{side}_wrist")] = np.stack((0.5 * swing, 0.2 * swing, 0.3 * swing), 1)
    angles[:, 0, 1] = 0.3 * np.sin(phase / 2) + 0.4
    for joint, size in (("spine1", 0.1), ("spine2", 0.15), ("spine3", 0.1), ("neck", 0.2), ("head", -0.2)):
        angles[:, names.index(joint)] = size * np.stack((np.sin(phase), np.cos(phase), 0.5 * np.sin(phase)), 1)
    local = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(frames, len(names), 3, 3)
    local[:, 24:] = motion.relative[0, 24:]
    ones = np.ones((frames, len(names)))
    motion = replace(motion, frames=np.arange(frames), relative=local, pelvis=np.zeros((frames, 3)), scales=ones)
    joints, balls = body_joints(motion)[0], names.indices(("left_foot", "right_foot"))
    lower = joints[:, balls, 1].argmin(1)
    for frame in range(1, frames):
        foot = balls[lower[frame]]
        motion.pelvis[frame] = motion.pelvis[frame - 1] + joints[frame - 1, foot] - joints[frame, foot]
    sole = motion.joints[balls, 1].mean() - motion.vertices[:, 1].min()
    return replace(motion, pelvis=motion.pelvis + np.array((0.3, sole - joints[0, balls[lower[0]], 1], -2)))


def body_joints(motion: PersonMotion) -> tuple[np.ndarray, np.ndarray]:
    """Positions (R, J, 3) of a person's joints and rotations (R, J, 3, 3) from the T pose, in the world."""
    turns, positions = motion.relative.copy(), np.repeat(motion.pelvis[:, None], len(motion.skeleton), 1)
    for parent, joint in motion.skeleton.bones:
        turns[:, joint] = turns[:, parent] @ turns[:, joint]
        offset = turns[:, parent] @ motion.rest_rotations[parent] @ motion.offsets[joint]
        positions[:, joint] = positions[:, parent] + motion.scales[:, parent, None] * offset
    return positions, turns
