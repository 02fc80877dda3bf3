"""A person's motion as BVH: metres, y up, the T pose at rest, one person a file.

Joints have smpl24's names; fits with hands also have finger joints. The pelvis has position channels in the world;
every joint rotates by Zrotation Xrotation Yrotation, degrees, the first outermost. The file begins at the person's
first frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import one_line
from humanpose_cli.exporting.motion import PersonMotion, euler_angles
from humanpose_cli.fitting.times_between import TimesBetween
from humanpose_cli.io.fit_files import held_rows

_ORDER = "ZXY"
_END = 0.1  # metres, length of a last joint's bone


def bvh_text(person: PersonMotion, frame_rate: float, seconds: NDArray[np.float64] | None = None) -> str:
    """Return the file of one person. Bones have constant lengths, by the mean of segment scales over time.

    Args:
        person: The person.
        frame_rate: Frames per second, above 0.
        seconds: Times of the fit's frames if they are not evenly spaced; the motion is then resampled.
    """
    skeleton, parents = person.skeleton, person.parents
    lengths = person.offsets * person.scales.mean(0)[parents][:, None]
    offsets = np.einsum("jik,jk->ji", person.rest_rotations[parents], lengths)
    children: dict[int, list[int]] = {joint: [] for joint in range(len(skeleton))}
    for parent, child in skeleton.bones:
        children[parent].append(child)
    lines, order, moving = ["HIERARCHY"], [], {0, person.hips}
    offsets = offsets / person.unit

    def joint_block(joint: int, depth: int) -> None:
        order.append(joint)
        tab, position = "\t" * depth, "Xposition Yposition Zposition " if joint in moving else ""
        name = skeleton.joint_names[joint]  # of a rig's file, perhaps with blanks or line ends
        lines.append(f"{tab}{'JOINT' if depth else 'ROOT'} {'_'.join(one_line(name).split())}")
        lines.append(f"{tab}{{")
        lines.append(f"{tab}\tOFFSET {_numbers(offsets[joint])}")
        names = " ".join(f"{axis}rotation" for axis in _ORDER)
        lines.append(f"{tab}\tCHANNELS {6 if position else 3} {position}{names}")
        for child in children[joint]:
            joint_block(child, depth + 1)
        if not children[joint]:
            along = offsets[joint] / max(np.linalg.norm(offsets[joint]), 1e-9) * _END / person.unit
            lines.extend((f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET {_numbers(along)}", f"{tab}\t}}"))
        lines.append(f"{tab}}}")

    joint_block(0, 0)
    rows = held_rows(person.frames)
    turns, pelvis = person.relative[rows], person.pelvis[rows]
    if seconds is not None:
        times = TimesBetween.evenly(seconds[person.frames[0] : person.frames[-1] + 1], frame_rate)
        turns, pelvis = times.rotations(turns), times.values(pelvis)
    # Axes move in `_ORDER`: fixed axes have the reverse order.
    angles = euler_angles(turns[:, order], _ORDER[::-1].lower())[..., ["XYZ".index(axis) for axis in _ORDER]]
    positions = {0: np.zeros_like(pelvis), person.hips: pelvis / person.unit}
    columns = [column for row, joint in enumerate(order) for column in (positions.get(joint), angles[:, row])]
    lines += ["MOTION", f"Frames: {len(pelvis)}", f"Frame Time: {1 / frame_rate:.9f}"]
    lines += [_numbers(values) for values in np.hstack([c for c in columns if c is not None])]
    return "\n".join(lines) + "\n"


def _numbers(values: NDArray[Any]) -> str:
    return " ".join(f"{value:.6f}" for value in values.tolist())
