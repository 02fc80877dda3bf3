"""Hand-held cameras that follow a person through a scene, and the effects of their shutters.

A path has one camera per frame, which moves beside, behind or around the person, shakes on the spot, or only turns.
Positions and directions vary like a hand's, and steps move the lens up and down.
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
"""Paths with parallax, between which clips of a walking camera alternate."""


# Min and max, or standard deviations.
_FOCAL = (0.75, 1.2)  # focal length over the image's longer side
_FILL = (0.5, 0.75)  # share of the image's height that a person of 1.8 m takes
_HEIGHT = (1.2, 1.7)  # metres, of the lens above the floor
_SWEEP = (1.6, 2.6)  # radians, of an orbit
_STEPS = 0.012  # metres, up and down and sideways with each step
_WANDER = 0.04  # metres, of the lens from its path
_SHAKE = 0.06  # metres, of a lens on the spot
_AIM = 0.03  # radians, slow error of the viewing direction
_TREMBLE = 0.003  # radians, fast error of the viewing direction
_ROLL = 0.02  # radians
_LAG = 0.4  # seconds over which the camera smooths the person's path


@dataclass(frozen=True)
class Shutter:
    """The shutter of a video camera.

    Attributes:
        exposure: Frames. Duration of the exposure.
        readout: Frames. Duration from the first row to the last.
    """

    exposure: float = 0.0
    readout: float = 0.0


def sample_path(
    random: np.random.Generator, kind: PathKind, pelvis: Array, size: tuple[int, int], frame_rate: float
) -> tuple[SceneCamera, ...]:
    """Draw a path of cameras that follow a person.

    Args:
        random: Source of the random numbers.
        kind: Kind of the path.
        pelvis: (T, 3) float, metres in world axes. The person's pelvis.
        size: Height and width of the images in pixels.
        frame_rate: Frames per second.

    Returns:
        T cameras.
    """
    height, width = size
    focal = max(size) * math.exp(random.uniform(*np.log(_FOCAL)))
    view = Camera(float(focal), (width / 2, height / 2), (width, height))
    frames = len(pelvis)

    def hand(seconds: float, deviation: float, columns: int) -> Array:
        """Draw noise (T, columns) of this standard deviation, smoothed by a Gaussian of σ `seconds`."""
        sigma = max(seconds * frame_rate, 0.3)
        margin = math.ceil(3 * sigma)
        noise = gaussian_filter1d(random.standard_normal((frames + 2 * margin, columns)), sigma, axis=0)
        # A Gaussian reduces the variance of white noise to 1 / (2 √π σ).
        return deviation * math.sqrt(2 * math.sqrt(math.pi) * sigma) * noise[margin : margin + frames]

    track = gaussian_filter1d(pelvis, _LAG * frame_rate, axis=0, mode="nearest")
    is_fixed = kind in ("shaken", "turning")
    centre = np.tile((pelvis.min(0) + pelvis.max(0)) / 2, (frames, 1)) if is_fixed else track
    direction = track[-1] - track[0]
    heading = math.atan2(direction[0], direction[2])
    side = heading + random.choice([-1, 1]) * math.pi / 2
    middle = heading + math.pi + random.normal(0, 0.15) if kind == "behind" else side + random.normal(0, 0.2)
    sweep = random.choice([-1, 1]) * random.uniform(*_SWEEP) if kind == "orbit" else 0.0
    angle = middle + sweep * np.linspace(-0.5, 0.5, frames)
    distance = focal * 1.8 / (height * random.uniform(*_FILL))
    position = centre + distance * np.stack((np.sin(angle), np.zeros(frames), np.cos(angle)), 1)
    position[:, 1] = random.uniform(*_HEIGHT)
    if kind == "shaken":
        position += hand(0.25, _SHAKE, 3)
    elif kind != "turning":
        phase = 2 * math.pi * (1.9 * np.arange(frames) / frame_rate + random.random())
        position += hand(0.8, _WANDER, 3)
        position[:, 1] += math.sqrt(2) * _STEPS * np.sin(phase)
        position += _STEPS * np.sin(phase / 2)[:, None] * np.array([math.cos(heading), 0, -math.sin(heading)])
    turns = hand(0.7, _AIM, 3) + hand(0.08, _TREMBLE, 3)
    roll = hand(0.6, _ROLL, 1)[:, 0]
    cameras = []
    for lens, target, turn, tilt in zip(position, track, turns, roll, strict=True):
        rotation = Rotation.from_rotvec(turn).as_matrix() @ look_at(lens, target, float(tilt))
        cameras.append(SceneCamera(view, rotation.astype(np.float32), (-rotation @ lens).astype(np.float32)))
    return tuple(cameras)


def sample_shutter(random: np.random.Generator, frame_rate: float, damage: float) -> Shutter:
    """Draw a shutter with an exposure of up to half a frame and a readout of up to 20 ms.

    Args:
        random: Source of the random numbers.
        frame_rate: Frames per second.
        damage: Factor on both, at most 1.
    """
    exposure, readout = random.uniform(0, 0.5), random.uniform(0, 0.02) * frame_rate
    rolling = random.random() < 0.5
    return Shutter(min(damage, 1) * exposure, min(damage, 1) * readout * rolling)


def expose(image: Array, cameras: Sequence[SceneCamera], frame: int, shutter: Shutter) -> Array:
    """Blur and shear an image by the rotation of the camera during the exposure.

    The image shows the middle row at the middle of the exposure. Moving objects and parallax are not blurred.

    Args:
        image: (H, W, 3) float32. The image.
        cameras: The cameras of all frames.
        frame: Frame of the image.
        shutter: The shutter.
    """
    if not (shutter.exposure or shutter.readout):
        return image
    first, last = max(frame - 1, 0), min(frame + 1, len(cameras) - 1)
    turn = cameras[last].rotation @ cameras[first].rotation.T
    spin = Rotation.from_matrix(turn.astype(np.float64)).as_rotvec() / max(last - first, 1)
    camera = cameras[frame].view
    width, height = camera.size
    (cx, cy), focal = camera.principal_point, camera.focal
    x, y = ((np.arange(n) + 0.5 - c) / focal for n, c in ((width, cx), (height, cy)))
    rays = np.stack(np.broadcast_arrays(x[None], y[:, None], 1.0), -1)
    # A camera rotated by s · spin sees along its ray r the same as the image along r − s · spin × r.
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
