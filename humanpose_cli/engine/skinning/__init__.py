"""Forward kinematics and linear blend skinning, differentiable on CPU and CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanpose_cli.engine.skinning.op import (
        Kinematics,
        axis_angle_to_rotations,
        blend_shapes,
        forward_kinematics,
        pose_vertices,
        skin_vertices,
    )

__all__ = [
    "Kinematics",
    "axis_angle_to_rotations",
    "blend_shapes",
    "forward_kinematics",
    "pose_vertices",
    "skin_vertices",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from humanpose_cli.engine.skinning import op

        return getattr(op, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
