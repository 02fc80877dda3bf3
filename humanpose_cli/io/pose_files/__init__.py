"""Target poses from files: `.npy` joint positions, AMASS `.npz`, fit files and `.bvh`.

`read_pose` distinguishes them by their names and contents.
"""

from __future__ import annotations

from pathlib import Path

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.npz_files import npz_names
from humanpose_cli.io.pose_files.target_pose import AXES, JointTarget, RotationTarget, Target, check_axes
from humanpose_cli.io.sniffing import describe_file

__all__ = ["AXES", "POSE_SUFFIXES", "JointTarget", "RotationTarget", "Target", "read_pose"]

POSE_SUFFIXES = frozenset((".npy", ".npz", ".bvh"))
"""Names by which a target pose is distinguished from a target image or video (lower case)."""


def is_fit_file(path: Path | str) -> bool:
    """Return whether a pose file is a fit file. Raises InputError for a damaged archive."""
    return Path(path).suffix.lower() == ".npz" and {"schema_version", "track_id"} <= npz_names(Path(path))


def read_pose(
    path: Path | str, skeleton: Skeleton | str | None = None, axes: str | None = None, *, track: int | None = None
) -> Target:
    """Read a pose or motion to put a person into.

    path      `.npy` joint positions (J, 3) or (T, J, 3) metres; AMASS `.npz`; fit file; `.bvh`
    skeleton  of a `.npy`; None selects it by the number of joints, where 17 is ambiguous
    axes      'camera', 'y-up' or 'z-up'; None takes the format's own: camera for `.npy`, z-up for AMASS, y-up for BVH,
              for the last two unless the person stands along another axis in most frames; a warning says so. A fit
              file is always in camera axes
    track     the person of a fit file; None takes the largest

    Raises InputError for what is no pose; UsageError for an ambiguous skeleton, unknown axes or an absent track.
    """
    path = Path(path)
    if axes is not None:
        check_axes(axes)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        from humanpose_cli.io.pose_files.joint_arrays import read_joint_array

        return read_joint_array(path, skeleton, axes or "camera")
    if suffix == ".bvh":
        from humanpose_cli.io.pose_files.bvh import read_bvh

        return read_bvh(path, axes)
    if suffix == ".npz":
        holds_fit = is_fit_file(path)
        # Only for these files, where they can be read: torch, which rotations need, takes seconds to import.
        from humanpose_cli.io.pose_files.rotation_files import read_amass, target_of_fit

        if holds_fit:
            return target_of_fit(read_fit(path), track, path)
        return read_amass(path, axes)
    raise InputError(
        path, "is no pose file", expected=".npy, .bvh, an AMASS .npz or a .fit.npz", got=describe_file(path)
    )
