"""Errors of exported joint angles on the drawn clip: its person, turned about the vertical.

python benchmarks/bench_joint_angles.py [TURN …]     # degrees, by default 0 45 90 180
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch
from _drawn_clip import DrawnClip

import humanpose_cli as hp
from humanpose_cli.body.body import default_body
from humanpose_cli.exporting.laboratory import joint_angles, turn_to_x
from humanpose_cli.exporting.motion import PersonMotion, person_motion
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle


def angles(person: PersonMotion) -> dict[str, np.ndarray]:
    """Return the angles in the world that the exports have."""
    return joint_angles(person, turn_to_x([person]))


def main(turns: list[float]) -> None:
    """Print the median absolute error of each angle, and the 90 % quantile, over all frames."""
    body = default_body()
    errors: dict[str, list[np.ndarray]] = {}
    clip = DrawnClip.make(body)
    for turn in turns:
        rotations = clip.rotations.clone()
        rotations[:, 0] = axis_angle_to_matrix(torch.tensor([0.0, np.radians(turn), 0.0]).float()) @ rotations[:, 0]
        turned = replace(clip, rotations=rotations)
        fit = hp.fit(np.stack(list(turned.frames())))
        fit = fit.select(fit.rows_of(fit.largest_track))
        rows = fit.frame_index
        truth = replace(
            fit,
            poses=matrix_to_axis_angle(rotations[rows]).flatten(1).numpy(),
            betas=np.tile(turned.betas.numpy(), (len(rows), 1)),
            segment_scales=np.ones_like(fit.segment_scales),
            hand_poses=None,
            hand_confidence=None,
        )
        found, true = (angles(person_motion(each, fit.tracks[0], body)) for each in (fit, truth))
        for name in found:
            difference = np.abs((found[name] - true[name] + 180) % 360 - 180)
            errors.setdefault(name.removesuffix("_r").removesuffix("_l"), []).append(difference)
    for name, parts in errors.items():
        values = np.concatenate(parts)
        print(f"{name:20s} {np.median(values):5.1f} {np.quantile(values, 0.9):5.1f}")


if __name__ == "__main__":
    main([float(turn) for turn in sys.argv[1:]] or [0, 45, 90, 180])
