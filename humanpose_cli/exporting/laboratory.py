"""Motion for gait laboratories: markers as TRC and C3D, joint angles as OpenSim's MOT and as CSV.

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

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import one_line
from humanpose_cli.exporting.motion import TO_Y_UP, PersonMotion, euler_angles
from humanpose_cli.files.text_files import parse_toml, read_text
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.times_between import TimesBetween
from humanpose_cli.geometry.rotations import rotation_between

Array = NDArray[Any]

_AXES = np.array(((0, 0, -1), (0, 1, 0), (1, 0, 0)), float)  # columns: forward, up and right in body axes
_TO_Z_UP = np.array(((1, 0, 0), (0, 0, -1), (0, 1, 0)))
_DOWN = np.array((0.0, -1, 0))
_LIMBS = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}  # joint to the end of its segment
_SHOULDER = ("shoulder_plane", "shoulder_elevation", "shoulder_rotation")
_CHUNK = 32  # surfaces in memory
_BAND = 0.015  # metres from the joint, along the axis that a marker has in its table


@cache
def _tables() -> dict[str, Any]:
    """Read the names of joint centres, markers and angles, and how they are found."""
    return parse_toml(read_text(Path(__file__).parent / "data" / "laboratory.toml"))


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
        for proximal, distal, names in _tables()["angles"]["sides" if side else "trunk"]:
            relative = np.swapaxes(segment(proximal, side), -1, -2) @ segment(distal, side)
            relative = relative * np.outer((1, 1, mirror), (1, 1, mirror))  # as on the right
            # Rows are given as joints, so that each has its principal angles; moving axes turn in the order z, x, y.
            angles_of_axes = euler_angles(relative[None], "yxz")[0].T[[2, 0, 1]]
            for name, values in zip(names.split(), angles_of_axes, strict=False):
                turned = -values if name[0] == "-" else values
                angles[name.removeprefix("-") + suffix] = np.unwrap(turned, period=360)
            if distal == "shoulder":
                for name, values in zip(_SHOULDER, _shoulder(relative), strict=True):
                    angles[name + suffix] = np.degrees(np.unwrap(values))
    return angles


def _shoulder(rotation: Array) -> tuple[Array, Array, Array]:
    """Return plane of elevation (0 abduction, 90° flexion), elevation and internal rotation, radians."""
    plane = np.arctan2(-rotation[..., 0, 1], -rotation[..., 2, 1])
    return plane, np.arccos(rotation[..., 1, 1].clip(-1, 1)), np.arctan2(-rotation[..., 1, 0], rotation[..., 1, 2])


def joint_centres(fit: Fit, person: PersonMotion, turn: Array) -> dict[str, Array]:
    """Return the centres (R, 3) of joints, RASI and LASI by OpenSim's names, metres in the turned world."""
    rows = fit.rows_of(person.track)
    sides = [(side, end, joint) for side in ("right", "left") for end, joint in _tables()["centres"].items()]
    centres = {f"{side[0].upper()}{end}": SMPL24.index(f"{side}_{joint}") for side, end, joint in sides}
    joints = _in_world(fit, rows, fit.joints3d[rows][:, list(centres.values())])
    points = dict(zip(centres, np.swapaxes(joints, 0, 1), strict=True))
    width = np.linalg.norm(points["RHJC"] - points["LHJC"], axis=1, keepdims=True) / (1 - 2 * 0.14)
    for side, right in (("R", 0.14), ("L", -0.14)):
        spine = person.relative[:, 0] @ _AXES @ np.array((0.22, 0.30, right))
        points[f"{side}ASI"] = points[f"{side}HJC"] + width * spine
    return {name: values @ turn.T for name, values in points.items()}


def markers(fit: Fit, body: Body, person: PersonMotion, turn: Array) -> dict[str, Array]:
    """Return markers (R, 3) by OpenSim's names, metres in the turned world: joint centres and points of the skin."""
    labels = body.part_labels.numpy()
    vertices = {}
    for side, mirror in (("right", 1), ("left", -1)):
        for name, (joint, direction, band, parts) in _tables()["markers"].items():
            index = SMPL24.index(f"{side}_{joint}")
            points = (person.vertices - person.joints[index]) @ person.rest_rotations[index].T
            searched = np.isin(labels, [SMPL24.index(f"{side}_{part}") for part in parts])
            if band >= 0:
                searched &= np.abs(points[:, band]) < _BAND
            along = points @ (np.array(direction) * (mirror, 1, 1))
            vertices[f"{side[0].upper()}{name}"] = int(np.argmax(np.where(searched, along, -np.inf)))
    skin = []
    for rows in np.array_split(fit.rows_of(person.track), -(-len(person.frames) // _CHUNK)):
        surfaces = body_vertices(body, fit, rows)[:, list(vertices.values())]
        skin.append(_in_world(fit, rows, surfaces.double().numpy()) @ turn.T)
    surface = dict(zip(vertices, np.swapaxes(np.concatenate(skin), 0, 1), strict=True))
    return {**joint_centres(fit, person, turn), **surface}


def _in_world(fit: Fit, rows: Array, points: Array) -> Array:
    """Convert points (R, N, 3) of rows from camera axes to the world, metres, y up."""
    camera = fit.world_to_camera[fit.frame_index[rows]].astype(np.float64)
    return (points - camera[:, None, :3, 3]) @ camera[:, :3, :3] @ TO_Y_UP.T


def _table(rows: Array, pattern: str, separator: str = "\t") -> list[str]:
    """Format rows (R, N); cells of NaN are empty."""
    return [separator.join("" if np.isnan(value) else format(value, pattern) for value in row) for row in rows]


def _from_one(fit: Fit) -> Array:
    """Return the numbers of the frames, from 1 if the first one's is 0, as these formats count."""
    return fit.frame_numbers + (fit.frame_numbers[0] == 0)


def trc_text(fit: Fit, body: Body, person: PersonMotion, turn: Array, name: str) -> str:
    """Return a TRC file of the markers in millimetres; frames without the person are empty."""
    points = markers(fit, body, person, turn)
    rate, count = f"{fit.frame_rate:.6f}", fit.frame_count
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{one_line(name)}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{count}\t{len(points)}\tmm\t{rate}\t{_from_one(fit)[0]}\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(points) + "\t\t",
        "\t\t" + "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, len(points) + 1)),
        "",
    ]
    values = np.full((count, 3 * len(points)), np.nan)
    values[person.frames] = 1000 * np.concatenate([*points.values()], 1)
    for number, time, cells in zip(_from_one(fit), fit.seconds(1), _table(values, ".3f"), strict=True):
        lines.append(f"{number}\t{time:.6f}\t{cells}")
    return "\n".join(lines) + "\n"


def _coordinates(fit: Fit, person: PersonMotion, turn: Array) -> dict[str, Array]:
    """Return angles (R,), degrees, and OpenSim's pelvis, the middle of RASI and LASI, metres, by name."""
    points = joint_centres(fit, person, turn)
    middle = (points["RASI"] + points["LASI"]) / 2
    return {**joint_angles(person, turn), **dict(zip(("pelvis_tx", "pelvis_ty", "pelvis_tz"), middle.T, strict=True))}


def mot_text(fit: Fit, body: Body, person: PersonMotion, turn: Array, name: str) -> str:
    """Return OpenSim's motion file: a row for each frame with the person, between which OpenSim interpolates."""
    values = {"time": fit.seconds(1)[person.frames], **_coordinates(fit, person, turn)}
    values = {key: column for key, column in values.items() if not key.startswith("shoulder_")}  # OpenSim lacks these
    sizes = [f"nRows={len(person.frames)}", f"nColumns={len(values)}"]
    head = [one_line(name), "version=1", *sizes, "inDegrees=yes", "endheader", "\t".join(values)]
    return "\n".join([*head, *_table(np.stack([*values.values()], 1), ".8f")]) + "\n"


def csv_text(fit: Fit, body: Body, person: PersonMotion, turn: Array, name: str) -> str:
    """Return all angles and the pelvis' position as a table; frames without the person are empty."""
    values = _coordinates(fit, person, turn)
    table = np.full((fit.frame_count, 1 + len(values)), np.nan)
    table[:, 0] = fit.seconds(1)
    table[person.frames, 1:] = np.stack([*values.values()], 1)
    lines = [f"{frame},{cells}" for frame, cells in zip(fit.frame_numbers, _table(table, ".6f", ","), strict=True)]
    return "\n".join([",".join(("frame", "time", *values)), *lines]) + "\n"


def c3d_bytes(fit: Fit, body: Body, person: PersonMotion, turn: Array, name: str) -> bytes:
    """Return a C3D file of the markers in millimetres at the frame rate, z up, as c3d.org describes the usual axes.

    Residuals are 0, and −1 in frames without the person. Needs ezc3d (extra `c3d`).
    """
    import ezc3d

    points = markers(fit, body, person, turn)
    values, shown = np.zeros((fit.frame_count, len(points), 3)), np.zeros(fit.frame_count)
    values[person.frames], shown[person.frames] = np.stack([*points.values()], 1) @ _TO_Z_UP.T, 1
    if fit.frame_times is not None:
        times = TimesBetween.evenly(fit.frame_times, fit.frame_rate)
        values, shown = times.values(values), times.values(shown)
    shown = np.broadcast_to(shown == 1, (len(points), len(shown)))
    file = ezc3d.c3d()
    parameters = {"RATE": [fit.frame_rate], "LABELS": [*points], "UNITS": ["mm"], "X_SCREEN": ["+X"]}
    for key, value in {**parameters, "Y_SCREEN": ["+Z"]}.items():
        file.add_parameter("POINT", key, value)
    file["data"]["points"] = np.concatenate((1000 * values.T * shown, np.ones((1, *shown.shape))))
    file["data"]["meta_points"]["residuals"] = np.where(shown, 0.0, -1.0)[None]
    file["data"]["meta_points"]["camera_masks"] = np.zeros((7, *shown.shape), bool)
    file["header"]["points"]["first_frame"] = int(_from_one(fit)[0]) - 1  # which its library counts from 0
    with TemporaryDirectory() as folder:  # its library writes to names in ASCII
        file.write(f"{folder}/markers.c3d")
        return Path(folder, "markers.c3d").read_bytes()


LABORATORY: dict[str, Callable[[Fit, Body, PersonMotion, Array, str], str | bytes]] = {
    "trc": trc_text,
    "mot": mot_text,
    "csv": csv_text,
    "c3d": c3d_bytes,
}
"""Contents of a person's file by format."""
