"""Volumetric heatmaps: joints as Gaussians in a volume, and joints read back from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanpose_cli.engine.heatmaps.op import gaussian_heatmaps, soft_argmax

__all__ = ["gaussian_heatmaps", "soft_argmax"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from humanpose_cli.engine.heatmaps import op

        return getattr(op, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
