"""OpenEXR files as OpenEXR's own library reads them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest


def read_exr(data: bytes) -> dict[str, np.ndarray]:
    """The channels (H, W) of a file by name."""
    openexr = pytest.importorskip("OpenEXR")
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.exr")
        path.write_bytes(data)
        channels = openexr.File(str(path), separate_channels=True).channels()
        return {name: channel.pixels for name, channel in sorted(channels.items())}
