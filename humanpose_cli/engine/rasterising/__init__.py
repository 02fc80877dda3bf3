"""Rasterising triangle meshes: a z-buffer, several meshes in it, attributes, smooth edges."""
