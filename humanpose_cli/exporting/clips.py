"""Clips for games: motion in place, and ranges of frames that repeat without a jump.

A clip in place keeps the heights and the turns of the pelvis and has it above one point of the ground, where it is in
the first frame. Feet that stand in the world therefore slide.

A loop has the frames A to B, where B shows the phase of A again, such as the same foot touching the ground. Its last
frame equals its first in the pose of all joints, the direction in which the person faces and the height of the pelvis.
The path on the ground is not closed, or a person who walks would return in every round; in place it is. These are the
rules of Unity ("Looping animation clips" of its manual), and Blender's modifier "Cycles" and the players of glTF and
Unreal go from the last key to the first one in no time, too. Programs that show each frame for the same time need the
last one left out. The difference between the frames A and B is spread linearly over the clip: A takes one half of it, B
the other half, so that speeds at the ends differ no more than before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.exporting.motion import TO_Y_UP, PersonMotion
from humanpose_cli.fitting.records import body_columns
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.fit_files import COLUMNS, GROUND_COLUMNS

Array = NDArray[Any]

_OF_ROWS = ("rotations", "relative", "pelvis", "scales")
_OF_FRAMES = [name for name, (shape, _) in {**COLUMNS, **GROUND_COLUMNS}.items() if shape[0] == "F"]
_OF_VIEWS = ("frame", "frame_names", "poses")


@dataclass(frozen=True)
class Clip:
    """What is exported of a fit: all frames as they are, or a clip.

    Attributes:
        in_place: Whether the pelvis stays above one point.
        loop: "A:B". The first and the last frame of a loop, from 0; None for all frames.
    """

    in_place: bool = False
    loop: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError if the range is none."""
        if self.loop is not None and not re.fullmatch(r"\s*[0-9]{1,9}\s*:\s*[0-9]{1,9}\s*", self.loop):
            expected = "A:B, two frames of the fit from 0, as in 12:44, and no seconds"
            raise UsageError("loop", "is no range of frames", expected=expected, got=self.loop[:60])

    def frames(self, count: int) -> tuple[int, int]:
        """Return the first and the last frame of a fit with `count` frames. Raises UsageError if it lacks them."""
        if self.loop is None:
            return 0, count - 1
        first, last = map(int, self.loop.split(":"))
        if not first < last < count:
            raise UsageError("loop", "is no part of the fit", expected=f"A:B with A < B < {count}", got=self.loop)
        return first, last

    def cut(self, fit: Fit) -> Fit:
        """Return the fit of the clip's frames. Raises UsageError if people appear or disappear in a loop."""
        first, last = self.frames(fit.frame_count)
        if self.loop is None:
            return fit
        people = [set(fit.track_id[fit.rows_for(frame)].tolist()) for frame in (first, last)]
        if changed := people[0] ^ people[1]:
            problem = f"has person {min(changed)} in one of its ends only"
            remedy = "choose other frames, or people with `person`"
            raise UsageError("loop", problem, expected="people in both frames", got=self.loop, remedy=remedy)
        part = fit.select((fit.frame_index >= first) & (fit.frame_index <= last))
        frames = slice(first, last + 1)
        columns: dict[str, Any] = {n: v[frames] for n in _OF_FRAMES if (v := getattr(fit, n)) is not None}
        if fit.frame_times is not None:
            columns["frame_times"] = fit.frame_times[frames] - fit.frame_times[first]
        if (views := part.views) is not None:
            paths = {n: v[:, frames] for n in _OF_VIEWS if (v := getattr(views, n)) is not None}
            columns["views"] = replace(views, **paths)
        return replace(part, frame_index=(part.frame_index - first).astype(np.int32), options={}, **columns)

    def moved(self, person: PersonMotion, seconds: Array, up: Array) -> PersonMotion:
        """Return the motion in the clip.

        Args:
            person: The motion in the fit.
            seconds: (F,) float, seconds. Times of the fit's frames.
            up: (3,) float. The upward direction of the motion's world.
        """
        first, last = self.frames(len(seconds))
        rows = np.flatnonzero((person.frames >= first) & (person.frames <= last))
        parts = {name: getattr(person, name)[rows] for name in _OF_ROWS}
        frames, pelvis = person.frames[rows], parts["pelvis"]
        if self.loop is not None and frames[0] == first and frames[-1] == last:
            share = 0.5 - (seconds[frames] - seconds[first]) / (seconds[last] - seconds[first])
            for name in ("rotations", "relative"):
                parts[name] = _closed(parts[name], share)
            parts["scales"] = parts["scales"] + share[:, None] * (parts["scales"][-1] - parts["scales"][0])
            pelvis = pelvis + np.outer(share, (pelvis[-1] - pelvis[0]) @ up * up)
        if self.in_place:
            pelvis = pelvis[0] + np.outer((pelvis - pelvis[0]) @ up, up)
        return replace(person, **{**parts, "frames": frames - first, "pelvis": pelvis})


def _closed(rotations: Array, share: Array) -> Array:
    """Rotate (R, J, 3, 3) by shares (R,), 0.5 to −0.5, of the rotation from the first to the last."""
    difference = Rotation.from_matrix(rotations[-1] @ rotations[0].transpose(0, 2, 1)).as_rotvec()
    turns = Rotation.from_rotvec((share[:, None, None] * difference).reshape(-1, 3)).as_matrix()
    return turns.reshape(rotations.shape) @ rotations


def with_motions(fit: Fit, people: Sequence[PersonMotion], body: Body) -> Fit:
    """Return the fit with bodies that move as all its people, each with one shape."""
    if not people:
        return fit
    local, pelvis, scales = (np.concatenate([getattr(p, n) for p in people]) for n in ("relative", "pelvis", "scales"))
    camera = fit.world_to_camera[fit.frame_index].astype(np.float64)
    turn = camera[:, :3, :3] @ TO_Y_UP
    local[:, 0] = turn @ local[:, 0]
    root = np.einsum("rij,rj->ri", turn, pelvis) + camera[:, :3, 3]
    shapes = [np.broadcast_to(fit.betas[fit.rows_of(p.track)].mean(0), (len(p.frames), 10)) for p in people]
    betas = torch.from_numpy(np.concatenate(shapes))
    trans = body.translation_of_root(torch.from_numpy(root).float(), betas)
    rotations = torch.from_numpy(local)
    sizes = torch.from_numpy(scales[:, : len(SMPL24)]).float()
    columns, _ = body_columns(fit, body, rotations[:, : len(SMPL24)], betas, trans, sizes)
    if local.shape[1] > len(SMPL24):
        fingers = matrix_to_axis_angle(rotations[:, len(SMPL24) :])
        columns["hand_poses"] = fingers.reshape(len(local), 2, -1, 3).float().numpy()
    return replace(fit, **columns)
