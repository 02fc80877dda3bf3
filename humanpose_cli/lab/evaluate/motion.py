"""Footwork, steadiness and flight of fits, without truth.

Fits are placed into a world that stands on its ground (`fitting.grounding`). Frames with an unknown camera movement
interrupt a person's motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.conventions import ASSUMED_FRAME_RATE, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.grounding import on_the_ground
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.sequences import mass_shares
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.evaluate.movement import BodyMotion
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.lab.metrics.footwork import footwork, joint_accelerations
from humanpose_cli.lab.metrics.joints import joint_set

Floats = NDArray[np.float64]
_MIN_STEPS = 3  # pairs of frames


def motion_values(fit: Fit) -> dict[int, dict[str, Floats]]:
    """Measure each person of a fit who is visible in consecutive frames.

    Args:
        fit: The fit.

    Returns:
        Track → name of a figure → values.

    Raises:
        UnavailableError: If only the name of the body is known.
    """
    body = fit.body_model()
    values = {}
    worlds = on_the_ground(fit, body).world_to_camera.astype(np.float64)
    seconds = fit.seconds(ASSUMED_FRAME_RATE)
    lost = [frame for frames in (fit.options.camera_unknown, fit.options.camera_walks) for frame in frames or ()]
    for track in fit.tracks:
        rows = fit.rows_of(track)
        frames = fit.frame_index[rows]
        follows = (np.diff(frames) == 1) & (np.diff(fit.shot_id[frames]) == 0)
        follows &= ~np.isin(frames[1:], lost) & ~np.isin(frames[:-1], lost)
        if follows.sum() < _MIN_STEPS:
            continue
        betas, trans, scales = (torch.from_numpy(column[rows]) for column in (fit.betas, fit.trans, fit.segment_scales))
        rotations = axis_angle_to_matrix(torch.from_numpy(fit.poses[rows]).unflatten(1, (len(SMPL24), 3)))
        bodies = Bodies(rotations, betas, body.rest_pelvis(betas) + trans, scales)
        motion = BodyMotion.of_bodies(joint_set("smpl24"), bodies, [body] * len(rows)).in_world(worlds[frames])
        values[track] = _values(motion, seconds[frames], follows)
    return values


def _values(motion: BodyMotion, time: Floats, follows: NDArray[np.bool_]) -> dict[str, Floats]:
    head = SMPL24.index("head")  # stands for both ears
    masses = mass_shares([*SMPL24.joint_names, "left_ear", "right_ear"], len(SMPL24) + 2).numpy()
    feet = footwork(motion.feet, masses @ motion.points[:, [*range(len(SMPL24)), head, head]], time, follows)
    children, parents = np.array(SMPL24.bones).T
    size = np.linalg.norm(motion.points[:, children] - motion.points[:, parents], axis=-1).sum(1)
    return {
        "foot_slide_cm_s": 100 * feet.slides,
        "below_ground_mm": 1000 * feet.depths,
        "acceleration_m_s2": joint_accelerations(motion.points, time, follows),
        "size_drift_percent": 100 * np.atleast_1d(np.ptp(size) / np.median(size)),
        "flight_m_s2": feet.falls,
    }


def motion_document(fit: Fit, name: str) -> dict[str, Any]:
    """Return the figures of a fit as JSON values: for all people, and `tracks` for each.

    Args:
        fit: The fit.
        name: Its name, for messages.

    Raises:
        InputError: If no person moves.
        UnavailableError: If only the name of the body is known.
    """
    values = motion_values(fit)
    if not values:
        raise InputError(
            name,
            "shows no person in consecutive frames whose camera is known",
            expected="a fit of a video",
            got=f"{fit.frame_count} frames",
        )
    tracks = [{"track": track, **_means([figures])} for track, figures in values.items()]
    return {"people": len(values), **_means(list(values.values())), "tracks": tracks}


def _means(values: Sequence[Mapping[str, Floats]]) -> dict[str, float | int | None]:
    """Average the values of people by name, None without any, and count their flights."""
    columns = {name: np.concatenate([each[name] for each in values]) for name in values[0]}
    means = {name: round(float(column.mean()), 2) if len(column) else None for name, column in columns.items()}
    return {**means, "flights": len(columns["flight_m_s2"])}
