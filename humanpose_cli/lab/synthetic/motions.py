"""AMASS's motions beside the shipped pose library: more activities for synthetic people.

    ROOT/CMU/01/01_01_poses.npz                     SMPL+H, also …_stageii.npz (SMPL-X), as the owners' archives unpack
    ROOT/KIT/3/walking_medium01_poses.npz

(Mahmood et al. 2019, https://amass.is.tue.mpg.de, for research.) AMASS names no activities: a motion's subset, the
first folder, stands for its activity. Whole subsets are held out, those of its authors' validation and test splits. Of
CMU the subjects are left out whose motions the shipped library holds out under other names. Hands, faces and shapes are
not taken over; frames come at 30 a second or a little less.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from humanpose_cli.body.pose_library import Motion, PoseLibrary, pose_library
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.inputs import natural_order
from humanpose_cli.io.pose_files.rotation_files import read_rotations

MAX_FRAMES = 200_000
"""The limit of all motions together, so that every process can hold them; beyond, motions are taken evenly spread."""
HELD_OUT = ("HumanEva", "HDM05", "SFU", "MoSh", "Transitions", "SSM")
"""Subsets of AMASS's validation and test splits, by what their folders' names contain."""
_SAME_RECORDINGS = {"CMU": ("10", "11", "13", "14", "15")}  # subset → subjects: soccer and washing windows
_SUFFIXES = ("_poses.npz", "_stageii.npz")
_FRAME_RATE, _USUAL_RATE = 30.0, 120.0


@lru_cache(maxsize=2)
def library_with(folder: Path | None) -> PoseLibrary:
    """Load the shipped library, with AMASS's motions in a folder if one is given.

    Raises InputError if the folder has none, or for a damaged file.
    """
    library = pose_library()
    if folder is None:
        return library
    clips = (*library.clips, *_read_motions(folder))
    return PoseLibrary(torch.cat([clip.poses for clip in clips]), clips)


def motion_files(folder: Path) -> list[Path]:
    """List AMASS's motions in a folder, subset by subset. Raises InputError if there are none."""
    files = [path for suffix in _SUFFIXES for path in folder.rglob(f"*{suffix}") if not _is_left_out(folder, path)]
    if not files:
        raise InputError(folder, "holds no motions of AMASS", expected="files such as CMU/01/01_01_poses.npz")
    return sorted(files, key=natural_order)


def _is_left_out(folder: Path, path: Path) -> bool:
    parts = path.relative_to(folder).parts
    return any(subject in parts[1:-1] for subject in _SAME_RECORDINGS.get(_subset(folder, path), ()))


def _subset(folder: Path, path: Path) -> str:
    """Return the name of the folder below `folder` that a motion lies in, or of `folder` itself."""
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else folder.name


def _read_motions(folder: Path) -> list[Motion]:
    files = motion_files(folder)
    clips: list[Motion] = []
    frames = 0
    # In an order in which any beginning is spread over all of them.
    for number in np.random.default_rng(0).permutation(len(files)).tolist():
        clip = _read_motion(folder, files[number])
        clips.append(clip)
        frames += len(clip)
        if frames >= MAX_FRAMES:
            break
    return sorted(clips, key=lambda clip: clip.name)


def _read_motion(folder: Path, path: Path) -> Motion:
    target = read_rotations(path, "z-up")
    rate = target.frame_rate or _USUAL_RATE
    step = max(1, round(rate / _FRAME_RATE))
    to_world = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # camera axes to a world whose y axis is up
    poses = torch.from_numpy(np.array(target.params.poses[::step], np.float32))
    root = to_world @ axis_angle_to_matrix(poses[:, :3])
    poses = torch.cat((matrix_to_axis_angle(root), poses[:, 3:]), 1)
    pelvis = torch.from_numpy(np.array(target.params.trans[::step], np.float32)) @ to_world
    subset = _subset(folder, path)
    split = "held_out" if any(name in subset for name in HELD_OUT) else "train"
    assert poses.shape[1] == 3 * len(SMPL24)
    return Motion(path.relative_to(folder).as_posix(), subset, split, rate / step, poses, pelvis)
