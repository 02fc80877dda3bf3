"""Target poses from files: `.npy` joint positions, AMASS `.npz`, fit files and `.bvh`; see `reading`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanpose_cli.io.pose_files.reading import POSE_SUFFIXES, read_target_pose
    from humanpose_cli.io.pose_files.target_pose import AXES, TargetPose

__all__ = ["AXES", "POSE_SUFFIXES", "TargetPose", "read_target_pose"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from humanpose_cli.io.pose_files import reading, target_pose

    return getattr(target_pose if name in {"AXES", "TargetPose"} else reading, name)
