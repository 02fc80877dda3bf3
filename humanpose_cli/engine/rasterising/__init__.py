"""Rasterising triangle meshes: a z-buffer, several meshes in it, attributes, smooth edges, visibility of vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanpose_cli.engine.rasterising.op import (
        MergedMesh,
        Raster,
        average_samples,
        coverage,
        interpolate,
        merge_meshes,
        rasterise,
        rasterise_samples,
        sample_offsets,
        vertex_visibility,
    )

__all__ = [
    "MergedMesh",
    "Raster",
    "average_samples",
    "coverage",
    "interpolate",
    "merge_meshes",
    "rasterise",
    "rasterise_samples",
    "sample_offsets",
    "vertex_visibility",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from humanpose_cli.engine.rasterising import op

        return getattr(op, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
