"""Moving features of body parts through a volume: the part warp of warp3d, its capsule masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanpose_cli.engine.warping.op import capsule_masks, projected_masks, warp_parts

__all__ = ["capsule_masks", "projected_masks", "warp_parts"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from humanpose_cli.engine.warping import op

        return getattr(op, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
