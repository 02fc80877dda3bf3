"""A script for an exported .glb or .usd, which opens it in Blender as a scene with the clip's settings.

Source: the reference of Blender's Python API; the script runs in Blender 4.2 and 5.0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from humanpose_cli.exporting.motion import CameraPath
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.io.inputs import printable

SCRIPT_SUFFIX = ".blender.py"
_SENSOR = 36  # millimetres, width of the cameras' sensors: the scale of focal lengths
_KINDS = {"image": "FILE", "video": "MOVIE", "frames": "SEQUENCE"}


def blender_script(fit: Fit, folder: Path) -> bytes:
    """Return the script for a fit with a frame rate; it names the files of frames relative to its `folder`."""
    codes = np.round(fit.frame_numbers[0] + fit.seconds(fit.frame_rate) * fit.frame_rate, 3)
    paths, cameras = CameraPath.all_of(fit), []
    for camera, source in zip(fit.cameras, fit.camera_sources, strict=True):
        path = paths[camera.name]
        width = path.size[:, :1].astype(float)
        shift = (path.size / 2 - path.centre) * (1, -1) / width
        lenses = np.round(np.hstack((codes[:, None], _SENSOR * path.focal[:, None] / width, shift)), 6) + 0.0  # no -0
        lenses = lenses[:1] if (lenses[:, 1:] == lenses[0, 1:]).all() else lenses
        background = _background(source, camera.frame_names.tolist(), folder)
        cameras.append((camera.name, tuple(path.size[0].tolist()), [*map(tuple, lenses.tolist())], background))
    values = {"RATE": float(fit.frame_rate), "FIRST": round(codes[0]), "LAST": round(codes[-1]), "SENSOR": _SENSOR}
    text = (Path(__file__).parent / "data" / "blender.txt").read_text("utf-8")
    values |= {"CAMERAS": ",\n    ".join(map(repr, cameras))}
    return re.sub("@([A-Z]+)@", lambda field: str(values[field[1]]), text).encode()


def _background(source: FrameSource | None, names: Sequence[str], folder: Path) -> tuple[str, str, int] | None:
    """Find file, kind and offset of the frames; None unless the frames are one file or sequence."""
    # Blender shows frame `frame + offset` of a video, from 0, and `frame + offset + 1` of numbered files. `names` of
    # frames are "" if a view lacks them.
    first = next((index for index, name in enumerate(names) if name), None)
    if source is None or len(source.items) != 1 or first is None:
        return None
    item, numbers, offset = source.items[0], re.findall(r"\d+", Path(names[first]).stem), 0
    path = next((file for file in item.files if printable(file.name) == names[first]), item.files[0])
    if item.is_sequence and numbers:
        offset = int(numbers[-1]) - first - (item.kind == "frames")
    path = path.parent.resolve() / path.name
    with suppress(ValueError):  # on another drive of Windows
        path = Path(os.path.relpath(path, folder.resolve()))
    return path.as_posix(), _KINDS[item.kind], offset
