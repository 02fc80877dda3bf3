"""Hand-held cameras that follow a person through a scene, and what their shutters do to the image.

A path has one camera a frame: they walk beside or behind the person or around them, stand on the spot and shake, or
only turn. Positions and directions wander as a hand does, and steps move the lens up and down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from humanpose_cli.core.camera import Camera
from humanpose_cli.lab.synthetic.cameras import SceneCamera, look_at

Array = NDArray[Any]
PathKind = Literal["beside", "orbit", "behind", "shaken", "turning"]
WALKS: tuple[PathKind, ...] = ("beside", "orbit", "behind", "shaken")
"""Paths with a parallax, which clips of a camera that walks have by turns."""


# How cameras are held: min and max, or standard deviations; metres, radians and seconds.
_FOCAL = (0.75, 1.2)  # focal length over the image's longer side
_FILL = (0.5, 0.75)  # share of the image's height that a person of 1.8 m takes
_HEIGHT = (1.2, 1.7)  # of the lens above the floor
_SWEEP = (1.6, 2.6)  # that an orbit covers
_STEPS = 0.012  # up and down and aside with each step
_WANDER = 0.04  # of the lens from its way
_SHAKEN = 0.06  # of a lens on the spot
_AIM, _TREMBLE = 0.03, 0.003  # that the camera looks past the person, slowly and fast
_ROLL = 0.02
_LAG = 0.4  # over which the camera smooths the person's path


@dataclass(frozen=True)
class Shutter:
    """exposure: frames that it is open; readout: frames from the first row to the last."""

    exposure: float = 0.0
    readout: float = 0.0


def sample_path(
    random: np.random.Generator, kind: PathKind, pelvis: Array, size: tuple[int, int], frame_rate: float
) -> tuple[SceneCamera, ...]:
    """Draw the cameras (T,) that follow a pelvis (T, 3) in world axes; size (height, width) pixels."""
    height, width = size
    focal = max(size) * math.exp(random.uniform(*np.log(_FOCAL)))
    view = Camera(float(focal), (width / 2, height / 2), (width, height))
    frames = len(pelvis)

    def hand(seconds: float, deviation: float, columns: int) -> Array:
        """Draw noise (T, columns) of that deviation, smoothed by a Gaussian of so many seconds."""
        sigma = max(seconds * frame_rate, 0.3)
        margin = math.ceil(3 * sigma)
        noise = gaussian_filter1d(random.standard_normal((frames + 2 * margin, columns)), sigma, axis=0)
        # Of white noise, a Gaussian leaves a variance of 1 / (2 √π σ).
        return deviation * math.sqrt(2 * math.sqrt(math.pi) * sigma) * noise[margin : margin + frames]

    way = gaussian_filter1d(pelvis, _LAG * frame_rate, axis=0, mode="nearest")
    stays = kind in ("shaken", "turning")
    centre = np.tile((pelvis.min(0) + pelvis.max(0)) / 2, (frames, 1)) if stays else way
    along = way[-1] - way[0]
    heading = math.atan2(along[0], along[2])
    side = heading + random.choice([-1, 1]) * math.pi / 2
    middle = heading + math.pi + random.normal(0, 0.15) if kind == "behind" else side + random.normal(0, 0.2)
    sweep = random.choice([-1, 1]) * random.uniform(*_SWEEP) if kind == "orbit" else 0.0
    angle = middle + sweep * np.linspace(-0.5, 0.5, frames)
    distance = focal * 1.8 / (height * random.uniform(*_FILL))
    position = centre + distance * np.stack((np.sin(angle), np.zeros(frames), np.cos(angle)), 1)
    position[:, 1] = random.uniform(*_HEIGHT)
    if kind == "shaken":
        position += hand(0.25, _SHAKEN, 3)
    elif kind != "turning":
        phase = 2 * math.pi * (1.9 * np.arange(frames) / frame_rate + random.random())
        position += hand(0.8, _WANDER, 3)
        position[:, 1] += math.sqrt(2) * _STEPS * np.sin(phase)
        position += _STEPS * np.sin(phase / 2)[:, None] * np.array([math.cos(heading), 0, -math.sin(heading)])
    turns = hand(0.7, _AIM, 3) + hand(0.08, _TREMBLE, 3)
    roll = hand(0.6, _ROLL, 1)[:, 0]
    cameras = []
    for lens, target, turn, tilt in zip(position, way, turns, roll, strict=True):
        rotation = Rotation.from_rotvec(turn).as_matrix() @ look_at(lens, target, float(tilt))
        cameras.append(SceneCamera(view, rotation.astype(np.float32), (-rotation @ lens).astype(np.float32)))
    return tuple(cameras)


def sample_shutter(random: np.random.Generator, frame_rate: float, damage: float) -> Shutter:
    """Draw a shutter: open for up to half a frame, its rows read within up to 20 ms; `damage` 0 for neither."""
    exposure, readout = random.uniform(0, 0.5), random.uniform(0, 0.02) * frame_rate
    rolling = random.random() < 0.5
    return Shutter(min(damage, 1) * exposure, min(damage, 1) * readout * rolling)


def expose(image: Array, cameras: Sequence[SceneCamera], frame: int, shutter: Shutter) -> Array:
    """Blur and shear an image (H, W, 3) float32 as a shutter does while the camera turns.

    The image is that of the middle row at the middle of the exposure. What moves by itself or by parallax stays sharp.
    """
    if not (shutter.exposure or shutter.readout):
        return image
    before, after = cameras[max(frame - 1, 0)].rotation, cameras[min(frame + 1, len(cameras) - 1)].rotation
    gap = min(frame + 1, len(cameras) - 1) - max(frame - 1, 0)
    spin = Rotation.from_matrix((after @ before.T).astype(np.float64)).as_rotvec() / max(gap, 1)
    camera = cameras[frame].view
    width, height = camera.size
    (cx, cy), focal = camera.principal_point, camera.focal
    x, y = ((np.arange(n) + 0.5 - c) / focal for n, c in ((width, cx), (height, cy)))
    rays = np.stack(np.broadcast_arrays(x[None], y[:, None], 1.0), -1)
    # A camera that has turned by s · spin sees along its ray r what the image shows along r − s · spin × r.
    step = np.cross(spin, rays)
    delay = shutter.readout * ((np.arange(height) + 0.5) / height - 0.5)
    count = 1 + 2 * math.ceil(shutter.exposure * float(np.abs(spin).max()) * focal / 2)
    total = np.zeros_like(image)
    for share in (np.arange(count) + 0.5) / count - 0.5:
        directions = rays - (delay[:, None, None] + share * shutter.exposure) * step
        x, y = (
            (directions[..., k] / directions[..., 2] * focal + c - 0.5).astype(np.float32)
            for k, c in ((0, cx), (1, cy))
        )
        total += cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(total / np.float32(count), np.float32)
