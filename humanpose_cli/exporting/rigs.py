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
from humanpose_cli.exporting.fbx_files import read_fbx
from humanpose_cli.exporting.glb_files import FAULTS, MAX_BONES, MAX_FILE, CharacterFile, read_glb
from humanpose_cli.files.sniffing import reading
from humanpose_cli.files.text_files import parse_toml, read_text
from humanpose_cli.io.pose_files.bvh import (
    BvhJoint,
    BvhMotion,
    ancestors,
    find_smpl_joints,
    plain_names,
    read_bvh_motion,
    unit_in_metres,
)
from humanpose_cli.outputs.atomic import write_text

Array = NDArray[Any]
Names = Mapping[str, str]

RIGS = ("mixamo", "ue5", "vrm", "rigify", "smplx", "lafan1", "soma")
"""Names of the rigs in `data/rigs`."""
SIDES = ("left", "right")
_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_NEEDED = ("pelvis", *(f"{side}_{joint}" for side in SIDES for joint in _LIMBS))
_KNOWN = (*_NEEDED, "neck", "head", *(f"{side}_{joint}" for side in SIDES for joint in ("collar", "foot")))
_FINGER = re.compile(r"thumb|index|mid|ring|pink|little|finger[0-4](?=\d?$)|[親人中薬小](?=差?し?指)", re.IGNORECASE)
_FINGERS = {"mid": "middle", "pink": "pinky", "little": "pinky"}
for _names in (map("finger{}".format, range(5)), "親人中薬小"):  # Biped's and MikuMikuDance's
    _FINGERS |= dict(zip(_names, ("thumb", "index", "middle", "ring", "pinky"), strict=True))
_NAMED = 40  # bones of a message
_BONES = 3  # of a finger; with one more, the first may stand in the palm
_NO_FINGER = re.compile(r"carpal|palm|inhand|end\b|nub|tip|先", re.IGNORECASE)
_AXES = {sign + "xyz"[i]: (-1 if sign else 1) * np.eye(3)[i] for i in range(3) for sign in ("", "-")}
_TRUNK, _NECK = ("pelvis", "spine1", "spine2", "spine3", "spine3"), ("spine3", "neck", "head", "head")
_SOLE = 0.15  # maximum height of a standing character's lowest joint, as a share of its legs
_DEEPEST = 500  # bones one below the other; BVH files are written by recursion
_REACH = 100.0  # metres, of bones from the pelvis
_SKEW = 1e-2  # deviation of axes from a rotation
_UNITS = (1e-4, 1e3)  # metres, range of a file's unit
_REMEDY = "export it again, in its T pose or A pose; FBX as binary FBX 7.4"
_MAX_TABLE = 4 << 20  # bytes of a description
_READERS = {".glb": read_glb, ".gltf": read_glb, ".vrm": read_glb, ".fbx": read_fbx}
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
        unit: Metres of a unit of the character's file and of BVH files.
        is_baked: Whether the bones of BVH files have their axes, and not the body's, if all rotations are zero.
        to_body: (3, 3) float. Rotation from the axes of the character's file, in which it may face any way.
        file: The character's file, if it can be written with a motion.
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
    file: CharacterFile | None = None

    @property
    def rows(self) -> dict[str, int]:
        """Rows of the bones that stand and rotate as a joint does."""
        return {source.first: row for row, source in self.sources.items() if source.position == source.share == 0}


def read_rig(name: str, folder: Path = Path()) -> Rig:
    """Read a rig.

    Args:
        name: One of `RIGS`, or a file: a character as `.glb`, `.gltf`, `.vrm`, binary `.fbx` or `.bvh`; or `.toml`, as
            those in `data/rigs`, or with `file` and a table `joints` for a character with other names.
        folder: Folder for `NAME.rig.toml` to fill in, if names of a character are unknown.

    Returns:
        The rig.

    Raises:
        UsageError: If there is no rig of that name.
        InputError: If the file is damaged, or if its skeleton is unknown or unusable.
    """
    path, kind = Path(name), Path(name).suffix.lower()
    if kind not in (".toml", ".bvh", *_READERS) and name not in RIGS:
        choices = ", ".join((*RIGS, "FILE.glb, .gltf, .vrm, .fbx, .bvh or .toml"))
        raise UsageError("rig", "is unknown", expected=choices, got=name)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused
            rig = _table(name, folder) if name in RIGS or kind == ".toml" else _character(path, {}, folder)
            _check(rig)
    except FAULTS as error:
        is_said = isinstance(error, ValueError) and not isinstance(error, UnicodeError | np.linalg.LinAlgError)
        said = str(error) if is_said else "a name or a value is unknown, or of another kind than expected"
        remedy = "compare exporting/data/rigs/mixamo.toml" if kind == ".toml" else _REMEDY
        raise InputError(path, f"describes no rig ({said})", remedy=remedy) from error
    return rig


def _table(name: str, folder: Path) -> Rig:
    """Read a rig of `RIGS` or a description of one."""
    path = Path(str(files(__package__) / "data" / "rigs" / f"{name}.toml")) if name in RIGS else Path(name)
    table = parse_toml(read_text(path, kind="TOML", limit=_MAX_TABLE))
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
    return Rig(tuple(rows), parents, sources, np.zeros((0, 3)), axes, rest, unit, is_baked)


def _check(rig: Rig) -> None:
    """Raise ValueError with the first reason for which a finished rig cannot be used."""
    count, rows, depths = len(rig.bones), rig.rows, [0]
    for row, parent in enumerate(rig.parents.tolist()):
        depths.append(depths[parent + 1] + 1 if -1 <= parent < row else _DEEPEST + 1)
    joints = {joint for driver in rig.sources.values() for joint in driver[:2]}
    shares = [part for driver in rig.sources.values() for part in driver[2:]]
    ways, hips = [*rig.rest.values()], np.zeros(3)
    if len(rig.positions):
        limbs = [[rows[f"{side}_{joint}"] for joint in limb] for side in SIDES for limb in (_LIMBS[:3], _LIMBS[3:])]
        ways += [way for limb in limbs for way in np.diff(rig.positions[limb], axis=0)]
        hips = rig.positions[rows["pelvis"]]
    lengths = [np.linalg.norm(way) if way.shape == (3,) else 0.0 for way in ways]
    square = np.swapaxes(rig.axes, -1, -2) @ rig.axes - np.eye(3)
    rules = {
        f"it has {count} bones, or one without a name": 0 < count <= MAX_BONES and all(rig.bones),
        f"parents below their children, or more than {_DEEPEST} bones in a row": max(depths) <= _DEEPEST,
        "a joint is missing or unknown": {*_NEEDED} <= rows.keys() and joints <= {*SMPL24_FINGERS.joint_names},
        "a position between joints or a share is not 0 to 1": all(0 <= share <= 1 for share in shares),
        f"bones are more than {_REACH:g} m apart": (np.abs(rig.positions - hips) <= _REACH).all(),
        "a direction or a limb has no length": all(0 < length < np.inf for length in lengths),
        "axes are no rotations": (np.abs(square) < _SKEW).all() and (np.linalg.det(rig.axes) > 0).all(),
        f"its unit is {rig.unit:g} m, expected {_UNITS[0]:g} to {_UNITS[1]:g}": _UNITS[0] <= rig.unit <= _UNITS[1],
    }
    if not all(rules.values()):
        raise ValueError(next(problem for problem, holds in rules.items() if not holds))


def _character(path: Path, names: Names, folder: Path) -> Rig:
    """Read the rig of a character, with the names of bones of joints if they are given."""
    with reading(path):
        if (size := path.stat().st_size) > MAX_FILE:
            expected = f"at most {MAX_FILE >> 20} MiB"
            raise InputError(path, "is too large", expected=expected, got=f"{size >> 20} MiB")
    file = None if path.suffix.lower() == ".bvh" else _READERS.get(path.suffix.lower(), read_glb)(path)
    if file is None:
        tree = read_bvh_motion(path).joints
        axes = np.tile(np.eye(3), (len(tree), 1, 1))
        positions = BvhMotion(tree, np.zeros((0, 0)), 1.0).rest_positions()
    else:
        axes, positions = file.axes, file.matrices[:, :3, 3]
        tree = [BvhJoint(bone, parent) for bone, parent in zip(file.names, file.parents, strict=True)]
    used: set[str] = set()
    for row, joint in enumerate(tree):  # names are unique
        joint.name += f".{row}" if joint.name in used else ""
        used.add(joint.name)
    parents = np.array([joint.parent for joint in tree])
    rows = _rows(path, tree, positions, names, {} if file is None else file.humanoid, folder)
    unit = np.inf if file is None else file.unit  # of BVH is not known
    if np.ptp(positions, axis=0).max() * unit > _REACH:
        unit = unit_in_metres(positions, {joint: (row, 1.0) for joint, row in rows.items()})
    sources = _sources(tree, rows)
    turn = _to_body(path, positions, rows)
    positions = positions @ turn.T * unit
    body = {rows["pelvis"]}
    for row, parent in enumerate(parents.tolist()):
        body.update({row} if parent in body else ())
    lowest = positions[[*body], 1].min()
    leg = np.linalg.norm(positions[rows["left_hip"]] - positions[rows["left_ankle"]])
    positions = positions - (0, 0 if 0 <= lowest < _SOLE * leg else lowest, 0)
    kept = {row: number for number, row in enumerate(row for row, joint in enumerate(tree) if not joint.is_end)}
    bones = tuple(tree[row].name for row in kept)
    above = np.array([kept.get(parents[row], -1) for row in kept])
    sources = {kept[row]: source for row, source in sources.items()}
    rows_kept = [*kept]
    return Rig(bones, above, sources, positions[rows_kept], turn @ axes[rows_kept], unit=unit, to_body=turn, file=file)


def _rows(
    path: Path, tree: list[BvhJoint], positions: Array, names: Names, humanoid: Mapping[str, int], folder: Path
) -> dict[str, int]:
    """Find the rows of joints by given names, by VRM's table, or by the names of bones."""
    rows = {joint.name: row for row, joint in enumerate(tree)}
    try:
        joints = find_smpl_joints(tree)
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
        raise InputError(path, problem, got=", ".join([*rows][:_NAMED]), remedy=remedy)
    fingers: dict[str, list[int]] = {}
    for row, bone in enumerate(plain_names([bone.name for bone in tree])):
        if (finger := _FINGER.search(bone)) is None or tree[row].is_end:
            continue
        name = _FINGERS.get(finger[0].lower(), finger[0].lower())
        above = ancestors(tree, row)[1:]
        side = next((s for s in SIDES if found[f"{s}_wrist"] in above), "")
        if side and (finger[0].lower() == "thumb" or not _NO_FINGER.search(bone)):
            fingers.setdefault(f"{side}_{name}", []).append(row)
    for joint, bones in fingers.items():
        wrist = found[f"{joint.partition('_')[0]}_wrist"]
        lengths = np.linalg.norm(np.diff(positions[[wrist, *bones]], axis=0), axis=1)
        in_palm = "thumb" not in joint and len(bones) > _BONES and lengths[0] < lengths[1]
        free = [row for row in bones[int(in_palm) :] if row not in found.values()]
        unknown = [name for number in range(1, _BONES + 1) if (name := f"{joint}{number}") not in found]
        found.update(zip(unknown, free, strict=False))
    return found


def _sources(tree: list[BvhJoint], rows: dict[str, int]) -> dict[int, Driver]:
    """Choose the joints that move bones; bones of the trunk and of the neck share the rotations of its joints."""
    left, right = (ancestors(tree, rows[f"{side}_shoulder"]) for side in SIDES)
    chest = next((row for row in left if row in right), rows["pelvis"])
    trunk = ancestors(tree, chest)
    rows["pelvis"] = next((row for row in ancestors(tree, rows["pelvis"]) if row in trunk), rows["pelvis"])
    sources = {row: Driver(joint, joint) for joint, row in rows.items()}
    neck = ancestors(tree, rows.get("head", rows.get("neck", chest)))
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
