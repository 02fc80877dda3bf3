"""Motion for gait laboratories: markers as TRC, joint angles as OpenSim's MOT and as CSV.

Axes are OpenSim's and the ISB's: segments have x forward, y up and z to the right, the world has y up. Joints turn by
Cardan angles of these segments, first about the proximal z, then the floating x, then the distal y: Grood & Suntay
1983, Wu et al. 2002 for hip, knee and ankle; for the shoulder CSV adds the Y-X-Y angles of Wu et al. 2005. Names and
signs are those of OpenSim's model of Rajagopal et al. 2016 (Models/Rajagopal/Rajagopal2016.osim of
opensim-org/opensim-models); the knee's flexion is positive. The long axis of a thigh, shank, upper arm or forearm runs
between joint centres. Pelvis, thorax and foot have the axes of the standing T pose, not those of palpated points, so
their angles have constant offsets from a laboratory's. RASI and LASI follow from the hip joints by the regression of
Bell et al. 1989 (30 % distal, 14 % medial and 22 % posterior of the distance between them); other markers are vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.export.motion import TO_Y_UP, PersonMotion
from humanpose_cli.export.skins import frame_surfaces
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import rotation_between

Array = NDArray[Any]

_AXES = np.array(((0, 0, -1), (0, 1, 0), (1, 0, 0)), float)  # columns: forward, up and right in body axes
_DOWN = np.array((0.0, -1, 0))
_LIMBS = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}  # joint to the end of its segment
# Proximal and distal part, and the angles about z, x and y; a minus turns the sign round.
_TRUNK = (
    ("", "pelvis", "pelvis_tilt pelvis_list pelvis_rotation"),
    ("pelvis", "spine3", "lumbar_extension lumbar_bending lumbar_rotation"),
)
_SIDES = (
    ("pelvis", "hip", "hip_flexion hip_adduction hip_rotation"),
    ("hip", "knee", "-knee_angle"),
    ("knee", "ankle", "ankle_angle"),
    ("spine3", "shoulder", "arm_flex arm_add arm_rot"),
    ("shoulder", "elbow", "elbow_flex"),
)
_SHOULDER = ("shoulder_plane", "shoulder_elevation", "shoulder_rotation")
_CENTRES = {"HJC": "hip", "KJC": "knee", "AJC": "ankle", "SJC": "shoulder", "EJC": "elbow", "WJC": "wrist"}
_BAND = 0.015  # metres from the joint, along the axis that a marker has in the table
# Markers of the right side: joint, direction in body axes, axis of the band (-1: none), and parts to search.
_SKIN: dict[str, tuple[str, tuple[int, int, int], int, tuple[str, ...]]] = {
    "LFC": ("knee", (-1, 0, 0), 1, ("hip", "knee")),
    "MFC": ("knee", (1, 0, 0), 1, ("hip", "knee")),
    "LMAL": ("ankle", (-1, 0, 0), 1, ("knee", "ankle")),
    "MMAL": ("ankle", (1, 0, 0), 1, ("knee", "ankle")),
    "CAL": ("ankle", (0, 0, -1), -1, ("ankle",)),
    "TOE": ("foot", (0, 0, 1), -1, ("foot",)),
    "MT5": ("foot", (-1, 0, 0), -1, ("ankle", "foot")),
    "LEL": ("elbow", (0, 1, 0), 0, ("shoulder", "elbow")),
    "MEL": ("elbow", (0, -1, 0), 0, ("shoulder", "elbow")),
    "FAradius": ("wrist", (0, 0, 1), 0, ("elbow", "wrist")),
    "FAulna": ("wrist", (0, 0, -1), 0, ("elbow", "wrist")),
    "ACR": ("shoulder", (0, 1, 0), 0, ("collar", "shoulder")),
}


def turn_to_x(people: Sequence[PersonMotion]) -> Array:
    """Return the rotation (3, 3) about the vertical after which the first person faces along x on average.

    OpenSim's pelvis_tilt and pelvis_list are anatomical only near this direction.
    """
    x, _, z = (people[0].relative[:, 0] @ _AXES[:, 0]).mean(0) if people else (1, 0, 0)
    x, z = np.array((x, z)) / max(np.hypot(x, z), 1e-9)
    return np.array(((x, 0, z), (0, 1, 0), (-z, 0, x)))


def joint_angles(person: PersonMotion, turn: Array) -> dict[str, Array]:
    """Return the joint angles (R,) of a person's rows by OpenSim's names, degrees, in a world turned by `turn` (3, 3).

    Left angles have the signs of right ones: flexion, adduction and internal rotation are positive on both sides.
    """
    turns: list[Array] = []
    for joint, parent in enumerate(SMPL24.parents):
        local = person.relative[:, joint]
        turns.append((turns[parent] if joint else turn) @ local)
    t_pose = np.einsum("jik,jk->ji", person.rest_rotations[list(SMPL24.parents)], person.offsets[: len(SMPL24)])

    def segment(part: str, side: str) -> Array:
        if not part:
            return np.eye(3)
        axes = _AXES
        if part in _LIMBS:
            limb = t_pose[SMPL24.index(f"{side}_{_LIMBS[part]}")]
            axes = rotation_between(*map(torch.from_numpy, (_DOWN, limb))).numpy() @ axes
        return turns[SMPL24.index(part if part in SMPL24 else f"{side}_{part}")] @ axes

    angles = {}
    for suffix, side, mirror in (("", "", 1), ("_r", "right", 1), ("_l", "left", -1)):
        for proximal, distal, names in _SIDES if side else _TRUNK:
            relative = np.swapaxes(segment(proximal, side), -1, -2) @ segment(distal, side)
            relative = relative * np.outer((1, 1, mirror), (1, 1, mirror))  # as on the right
            for name, values in zip(names.split(), Rotation.from_matrix(relative).as_euler("ZXY").T, strict=False):
                angles[name.removeprefix("-") + suffix] = np.degrees(np.unwrap(-values if name[0] == "-" else values))
            if distal == "shoulder":
                for name, values in zip(_SHOULDER, _shoulder(relative), strict=True):
                    angles[name + suffix] = np.degrees(np.unwrap(values))
    return angles


def _shoulder(rotation: Array) -> tuple[Array, Array, Array]:
    """Return plane of elevation (0 abduction, 90° flexion), elevation and internal rotation, radians."""
    plane = np.arctan2(-rotation[..., 0, 1], -rotation[..., 2, 1])
    return plane, np.arccos(rotation[..., 1, 1].clip(-1, 1)), np.arctan2(-rotation[..., 1, 0], rotation[..., 1, 2])


def markers(fit: Fit, body: Body, person: PersonMotion, turn: Array) -> dict[str, Array]:
    """Return markers (F, 3) by OpenSim's names, metres in the turned world, NaN in frames without the person."""
    labels = body.part_labels.numpy()
    vertices = {}
    for side, mirror in (("right", 1), ("left", -1)):
        for name, (joint, direction, band, parts) in _SKIN.items():
            index = SMPL24.index(f"{side}_{joint}")
            points = (person.vertices - person.joints[index]) @ person.rest_rotations[index].T
            searched = np.isin(labels, [SMPL24.index(f"{side}_{part}") for part in parts])
            if band >= 0:
                searched &= np.abs(points[:, band]) < _BAND
            along = points @ (np.array(direction) * (mirror, 1, 1))
            vertices[f"{side[0].upper()}{name}"] = int(np.argmax(np.where(searched, along, -np.inf)))
    sides = [(side, end, joint) for side in ("right", "left") for end, joint in _CENTRES.items()]
    centres = {f"{side[0].upper()}{end}": SMPL24.index(f"{side}_{joint}") for side, end, joint in sides}
    names = (*centres, "RASI", "LASI", *vertices)
    result = {name: np.full((fit.frame_count, 3), np.nan) for name in names}
    for row, frame, pelvis in zip(fit.rows_of(person.track), person.frames, person.relative[:, 0], strict=True):
        surface = frame_surfaces(fit, int(frame), body)[person.track][list(vertices.values())]
        camera = fit.world_to_camera[frame].astype(np.float64)
        joints = (fit.joints3d[row, list(centres.values())] - camera[:3, 3]) @ camera[:3, :3] @ TO_Y_UP.T
        hips = joints[[list(centres).index("RHJC"), list(centres).index("LHJC")]]
        width = np.linalg.norm(hips[0] - hips[1]) / (1 - 2 * 0.14)
        spines = hips + width * np.array(((0.22, 0.30, 0.14), (0.22, 0.30, -0.14))) @ (pelvis @ _AXES).T
        for name, point in zip(names, np.concatenate((joints, spines, surface)) @ turn.T, strict=True):
            result[name][frame] = point
    return result


def trc_text(fit: Fit, body: Body, person: PersonMotion, turn: Array, name: str) -> str:
    """Return a TRC file of the markers in millimetres; frames without the person are empty."""
    points = markers(fit, body, person, turn)
    rate, count = f"{fit.frame_rate:.6f}", fit.frame_count
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{count}\t{len(points)}\tmm\t{rate}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(points) + "\t\t",
        "\t\t" + "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, len(points) + 1)),
        "",
    ]
    values = 1000 * np.concatenate(list(points.values()), 1)
    for number, (time, row) in enumerate(zip(fit.seconds(fit.frame_rate or 1), values, strict=True), 1):
        lines.append("\t".join([str(number), f"{time:.6f}", *("" if np.isnan(v) else f"{v:.3f}" for v in row)]))
    return "\n".join(lines) + "\n"


def _coordinates(fit: Fit, body: Body, person: PersonMotion, turn: Array) -> tuple[list[str], Array]:
    """Return names and values (R, N): angles, degrees, and OpenSim's pelvis, the middle of RASI and LASI, metres."""
    points = markers(fit, body, person, turn)
    angles = joint_angles(person, turn)
    middle = (points["RASI"] + points["LASI"])[person.frames] / 2
    names = [*angles, "pelvis_tx", "pelvis_ty", "pelvis_tz"]
    return names, np.concatenate((np.stack(list(angles.values()), 1), middle), 1)


def mot_text(fit: Fit, body: Body, person: PersonMotion, turn: Array, name: str) -> str:
    """Return OpenSim's motion file: a row for each frame with the person, between which OpenSim interpolates."""
    names, values = _coordinates(fit, body, person, turn)
    chosen = [column for column, key in enumerate(names) if not key.startswith("shoulder_")]  # OpenSim lacks these
    table = np.c_[fit.seconds(fit.frame_rate or 1)[person.frames], values[:, chosen]]
    head = [name, "version=1", f"nRows={len(table)}", f"nColumns={len(chosen) + 1}", "inDegrees=yes", "endheader"]
    head.append("\t".join(["time", *(names[column] for column in chosen)]))
    return "\n".join([*head, *("\t".join(f"{v:.8f}" for v in row) for row in table)]) + "\n"


def csv_text(fit: Fit, body: Body, person: PersonMotion, turn: Array, name: str) -> str:
    """Return all angles and the pelvis' position as a table; frames without the person are empty."""
    names, values = _coordinates(fit, body, person, turn)
    cells = {frame: [f"{v:.6f}" for v in row] for frame, row in zip(person.frames.tolist(), values, strict=True)}
    lines = [",".join(["frame", "time", *names])]
    for frame, time in enumerate(fit.seconds(fit.frame_rate or 1)):
        lines.append(",".join([str(frame), f"{time:.6f}", *cells.get(frame, [""] * len(names))]))
    return "\n".join(lines) + "\n"


LABORATORY = {"trc": trc_text, "mot": mot_text, "csv": csv_text}
"""Texts of a person's file by format."""
