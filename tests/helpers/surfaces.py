"""The surfaces of a fit's bodies."""

from __future__ import annotations

import numpy as np

from humanpose_cli.exporting.skins import frame_meshes, people_in_world


def frame_surfaces(fit, frame: int, body) -> dict[int, np.ndarray]:
    """The vertices (V, 3) of the bodies in a frame by track, without clothes, metres in the world, y up."""
    _, people, meshes = people_in_world(fit, body, {}, grounded=False)
    return {mesh.track: mesh.vertices for mesh in frame_meshes(fit, frame, body, people, meshes)}
