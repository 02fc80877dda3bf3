"""The surfaces of a fit's bodies."""

from __future__ import annotations

import numpy as np

from humanpose_cli.exporting.skins import _posed


def frame_surfaces(fit, frame: int, body) -> dict[int, np.ndarray]:
    """The vertices (V, 3) of the bodies in a frame by track, without clothes, metres in the world, y up."""
    tracks, vertices, _ = _posed(fit, frame, body)
    return dict(zip(tracks, vertices, strict=True))
