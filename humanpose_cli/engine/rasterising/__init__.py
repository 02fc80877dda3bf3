"""Rasterising triangle meshes: a z-buffer, several meshes in it, attributes, smooth edges, visibility of vertices."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanpose_cli.engine.rasterising.antialiasing import (
        average_samples,
        coverage,
        rasterise_samples,
        sample_offsets,
    )
    from humanpose_cli.engine.rasterising.merging import MergedMesh, merge_meshes
    from humanpose_cli.engine.rasterising.op import Raster, interpolate, rasterise, vertex_visibility

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

_MODULES = {
    "antialiasing": ("average_samples", "coverage", "rasterise_samples", "sample_offsets"),
    "merging": ("MergedMesh", "merge_meshes"),
    "op": ("Raster", "interpolate", "rasterise", "vertex_visibility"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
