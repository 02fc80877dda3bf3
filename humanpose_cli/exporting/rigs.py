"""Skeletons of other programs and of the user's characters: names, rest poses, and the body's joints that move them.

A resting rig stands in body axes: x to its left, y up, z forward, the ground at height 0. `data/rigs` describes rigs of
programs, which take the person's proportions; characters have their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24_FINGERS
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.exporting.glb_files import GlbFile, read_glb
from humanpose_cli.io.atomic import write_text
from humanpose_cli.io.pose_files.bvh import BvhJoint, BvhMotion, find_smpl_joints, read_bvh_motion, unit_in_metres
from humanpose_cli.io.text_files import parse_toml, read_text

Array = NDArray[Any]
Names = Mapping[str, str]

RIGS = ("mixamo", "ue5", "vrm", "rigify", "smplx", "lafan1", "soma")
"""Names of the rigs in `data/rigs`."""
SIDES = ("left", "right")
_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_NEEDED = ("pelvis", *(f"{side}_{joint}" for side in SIDES for joint in _LIMBS))
_KNOWN = (*_NEEDED, "neck", "head", *(f"{side}_{joint}" for side in SIDES for joint in ("collar", "foot")))
_FINGER = re.compile(r"thumb|index|mid|ring|pink|little", re.IGNORECASE)
_FINGERS = {"mid": "middle", "pink": "pinky", "little": "pinky"}
_BONES = 3  # of a finger; with one more, the first may stand in the palm
_NO_FINGER = re.compile(r"carpal|palm|inhand|end\b|nub|tip", re.IGNORECASE)
_AXES = {sign + "xyz"[i]: (-1 if sign else 1) * np.eye(3)[i] for i in range(3) for sign in ("", "-")}
_TRUNK, _NECK = ("pelvis", "spine1", "spine2", "spine3", "spine3"), ("spine3", "neck", "head", "head")
_SOLE = 0.15  # maximum height of a standing character's lowest joint, as a share of its legs
_UPRIGHT = 0.8  # minimum cosine between an axis and the legs, the trunk or the shoulders of a resting character


class Driver(NamedTuple):
    """The joints that move a bone: it stands and rotates between them.

    Attributes:
        first: Name of a joint.
        second: Name of another joint, or of the same.
        position: Position between the joints at rest, 0 to 1, if the rig has the person's proportions.
        share: Rotation between those of the joints, 0 to 1.
    """

    first: str
    second: str
    position: float = 0.0
    share: float = 0.0


@dataclass(frozen=True, eq=False)
class Rig:
    """A skeleton of B bones, parents before children.

    Attributes:
        bones: Names.
        parents: (B,) int. Row of each bone's parent, −1 for roots.
        sources: The joints that move bones, by row; the other bones follow their parents.
        positions: (B, 3) float, metres in body axes. Bones at rest; (0, 3) for the person's proportions.
        axes: (B, 3, 3) float. Axes of bones at rest, as columns in body axes; (0, 3, 3) for axes along the bones.
        rest: Directions of bones at rest in body axes, by joint, if they are not those of the T pose.
        unit: Metres of a unit of BVH files.
        is_baked: Whether the bones of BVH files have their axes, and not the body's, if all rotations are zero.
        to_body: (3, 3) float. Rotation from the axes of the character's file, in which it may face any way.
        glb: The character's glTF file.
    """

    bones: tuple[str, ...]
    parents: Array
    sources: Mapping[int, Driver]
    positions: Array
    axes: Array
    rest: Mapping[str, Array] = field(default_factory=dict)
    unit: float = 1.0
    is_baked: bool = True
    to_body: Array = field(default_factory=lambda: np.eye(3))
    glb: GlbFile | None = None

    @property
    def rows(self) -> dict[str, int]:
        """Rows of the bones that stand and rotate as a joint does."""
        return {source.first: row for row, source in self.sources.items() if source.position == source.share == 0}


def read_rig(name: str, folder: Path = Path()) -> Rig:
    """Read a rig.

    Args:
        name: One of `RIGS`, or a file: a character as `.glb`, `.vrm` or `.bvh`; or `.toml`, as those in `data/rigs`, or
            with `file` and a table `joints` for a character with other names.
        folder: Folder for `NAME.rig.toml` to fill in, if names of a character are unknown.

    Returns:
        The rig.

    Raises:
        UsageError: If there is no rig of that name.
        InputError: If the file is damaged, or if its skeleton is unknown or unusable.
    """
    path, kind = Path(name), Path(name).suffix.lower()
    if kind in (".glb", ".vrm", ".bvh"):
        return _character(path, {}, folder)
    if kind != ".toml" and name not in RIGS:
        raise UsageError("rig", "is unknown", expected=", ".join((*RIGS, "FILE.glb, .vrm, .bvh or .toml")), got=name)
    data = Path(str(files(__package__) / "data" / "rigs" / f"{name}.toml"))
    try:
        table = parse_toml(read_text(data if name in RIGS else path, kind="TOML"))
        if "file" in table:
            return _character(path.parent / table["file"], {j: b for j, b in table["joints"].items() if b}, folder)
        rows = {bone: row for row, bone in enumerate(table["bones"])}
        parents = np.array([rows[parent] if parent else -1 for parent, *_ in table["bones"].values()])
        sources = {row: Driver(*(j * 2)[: max(2, len(j))]) for row, (_, *j) in enumerate(table["bones"].values()) if j}
        axes = np.tile(np.eye(3), (len(rows) if "axes" in table else 0, 1, 1))
        for bone, words in table.get("axes", {}).items():
            axes[rows[bone]] = np.transpose([_AXES[word] for word in words.split()])
        rest = {sources[rows[bone]].first: np.array(way, float) for bone, way in table.get("rest", {}).items()}
        unit, is_baked = float(table.get("unit", 1)), bool(table.get("baked", False))
        rig = Rig(tuple(rows), parents, sources, np.zeros((0, 3)), axes, rest, unit, is_baked)
        known = {joint for source in sources.values() for joint in source[:2]} <= {*SMPL24_FINGERS.joint_names}
        if not known or {*_NEEDED} - {*rig.rows} or (parents >= range(len(rows))).any():
            raise ValueError("a joint is missing or unknown, or a parent stands below its child")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"describes no rig ({error})", remedy="compare export/data/rigs/mixamo.toml") from error
    return rig


def _character(path: Path, names: Names, folder: Path) -> Rig:
    """Read the rig of a character, with the names of bones of joints if they are given."""
    glb = None if path.suffix.lower() == ".bvh" else read_glb(path)
    if glb is None:
        tree = read_bvh_motion(path).joints
        axes = np.tile(np.eye(3), (len(tree), 1, 1))
        positions = BvhMotion(tree, np.zeros((0, 0)), 1.0).rest_positions()
    else:
        axes, positions = glb.axes, glb.matrices[:, :3, 3]
        tree = [BvhJoint(bone, parent) for bone, parent in zip(glb.names, glb.parents, strict=True)]
    for row, joint in enumerate(tree):  # names are unique
        joint.name += f".{row}" if joint.name in {other.name for other in tree[:row]} else ""
    parents = np.array([joint.parent for joint in tree])
    rows = _rows(path, tree, positions, names, {} if glb is None else glb.humanoid, folder)
    unit = 1.0 if glb else unit_in_metres(positions, {joint: (row, 1.0) for joint, row in rows.items()})[1]
    sources = _sources(parents, rows)
    turn = _to_body(path, positions, rows)
    positions = positions @ turn.T * unit
    lowest = min(positions[row, 1] for row in range(len(tree)) if rows["pelvis"] in _above(parents, row))
    leg = np.linalg.norm(positions[rows["left_hip"]] - positions[rows["left_ankle"]])
    positions = positions - (0, 0 if 0 <= lowest < _SOLE * leg else lowest, 0)
    kept = [row for row, joint in enumerate(tree) if not joint.is_end]
    bones = tuple(tree[row].name for row in kept)
    above = np.array([kept.index(parents[row]) if parents[row] >= 0 else -1 for row in kept])
    sources = {kept.index(row): source for row, source in sources.items()}
    return Rig(bones, above, sources, positions[kept], turn @ axes[kept], unit=unit, to_body=turn, glb=glb)


def _above(parents: Array, row: int) -> list[int]:
    """List a bone, its parent and so on, up to the root."""
    chain = [row]
    while parents[chain[-1]] >= 0:
        chain.append(int(parents[chain[-1]]))
    return chain


def _rows(
    path: Path, tree: list[BvhJoint], positions: Array, names: Names, humanoid: Mapping[str, int], folder: Path
) -> dict[str, int]:
    """Find the rows of joints by given names, by VRM's table, or by the names of bones."""
    rows = {joint.name: row for row, joint in enumerate(tree)}
    parents = np.array([joint.parent for joint in tree])
    try:
        joints = find_smpl_joints(BvhMotion(tree, np.zeros((0, 0)), 1.0))
        found = {joint: row for joint, (row, _) in joints.items() if joint in _KNOWN and not tree[row].is_end}
    except (KeyError, StopIteration):
        found = {}
    heads = [row for row, bone in enumerate(tree) if bone.name.endswith("spine.006")]  # Rigify's
    found |= {"head": heads[0]} if heads else {}
    if humanoid:
        vrm = read_rig("vrm")
        found |= {joint: humanoid[vrm.bones[row]] for joint, row in vrm.rows.items() if vrm.bones[row] in humanoid}
    found |= {joint: rows[bone] for joint, bone in names.items() if bone in rows}
    missing = [joint for joint in (*_NEEDED, *names) if joint not in found]
    if missing:
        table = folder / f"{path.stem}.rig.toml"
        entries = [f'{joint} = "{tree[found[joint]].name if joint in found else ""}"' for joint in _KNOWN]
        lines = [f"file = '{path.resolve()}'", f"# Bones: {', '.join(map(repr, rows))}", "[joints]", *entries]
        problem = f"has no bones that are known as {', '.join(dict.fromkeys(missing))}"
        remedy = f"write their names into {table}, and give --rig that file"
        if not table.exists():
            write_text(table, "\n".join(lines) + "\n")
        elif not names:  # it may be filled in
            remedy = f"{table} exists: give --rig that file"
        raise InputError(path, problem, got=", ".join(rows), remedy=remedy)
    fingers: dict[str, list[int]] = {}
    for row, bone in enumerate(tree):
        finger = _FINGER.search(bone.name)
        side = next((s for s in SIDES if found[f"{s}_wrist"] in _above(parents, row)[1:]), "")
        if finger and side and not bone.is_end and (finger[0].lower() == "thumb" or not _NO_FINGER.search(bone.name)):
            name = _FINGERS.get(finger[0].lower(), finger[0].lower())
            fingers.setdefault(f"{side}_{name}", []).append(row)
    for joint, bones in fingers.items():
        wrist = found[f"{joint.partition('_')[0]}_wrist"]
        lengths = np.linalg.norm(np.diff(positions[[wrist, *bones]], axis=0), axis=1)
        in_palm = "thumb" not in joint and len(bones) > _BONES and lengths[0] < lengths[1]
        free = [row for row in bones[int(in_palm) :] if row not in found.values()]
        unknown = [name for number in range(1, _BONES + 1) if (name := f"{joint}{number}") not in found]
        found.update(zip(unknown, free, strict=False))
    return found


def _sources(parents: Array, rows: dict[str, int]) -> dict[int, Driver]:
    """Choose the joints that move bones; bones of the trunk and of the neck share the rotations of its joints."""
    left, right = (_above(parents, rows[f"{side}_shoulder"]) for side in SIDES)
    chest = next((row for row in left if row in right), rows["pelvis"])
    trunk = _above(parents, chest)
    rows["pelvis"] = next((row for row in _above(parents, rows["pelvis"]) if row in trunk), rows["pelvis"])
    sources = {row: Driver(joint, joint) for joint, row in rows.items()}
    neck = _above(parents, rows.get("head", rows.get("neck", chest)))
    for chain, top, joints in ((trunk, rows["pelvis"], _TRUNK), (neck, chest, _NECK)):
        bones = chain[: chain.index(top)][::-1] if top in chain else []
        for number, row in enumerate(bones, 1):
            below, share = divmod(round(number / len(bones) * (len(joints) - 2), 6), 1)
            sources[row] = Driver(joints[int(below)], joints[int(below) + 1], 0.0, share)
    return sources


def _to_body(path: Path, positions: Array, rows: Mapping[str, int]) -> Array:
    """Find the rotation from the axes of a character's file to body axes by the way in which it stands at rest."""
    left, right = ({joint: positions[rows[f"{side}_{joint}"]] for joint in _LIMBS} for side in SIDES)
    ankles, hips, shoulders = (left[joint] + right[joint] for joint in ("ankle", "hip", "shoulder"))
    across = left["hip"] - right["hip"] + left["shoulder"] - right["shoulder"]
    axes = np.concatenate((np.eye(3), -np.eye(3)))
    up, x = (axes[(axes @ way).argmax()] for way in (shoulders - ankles, across))
    if any(
        a @ way <= _UPRIGHT * np.linalg.norm(way)
        for a, way in ((up, hips - ankles), (up, shoulders - hips), (x, across))
    ):
        raise InputError(path, "does not stand in its pose at rest", remedy="export it in its T pose or A pose")
    return np.stack((x, up, np.cross(x, up)))
