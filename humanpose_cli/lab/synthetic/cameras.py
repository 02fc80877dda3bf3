"""Cameras and light of scenes, and the effects of lenses, sensors and files on an image.

In this order: `SceneCamera`; `Degradation`; lights and irradiance; shadows of meshes and at contacts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.texture import look_up
from humanpose_cli.core.camera import Camera
from humanpose_cli.engine.rasterising.op import rasterise

Array = NDArray[Any]


@dataclass(frozen=True)
class CameraOptions:
    """Options of random cameras.

    Attributes:
        focal: Min and max of the focal length over the image's longer side, uniform in the logarithm.
        fill: Min and max of the subject's share of the image's height or width, with large values more often.
        cut: Probability that the subject is larger, so that parts lie outside.
        enlarged: Min and max of the share in that case.
        off_centre: Probability that the principal point is not the middle of the image, as in a crop.
        roll: Radians. Standard deviation of the roll.
    """

    focal: tuple[float, float] = (0.75, 3.2)
    fill: tuple[float, float] = (0.45, 0.93)
    cut: float = 0.22
    enlarged: tuple[float, float] = (1.05, 1.9)
    off_centre: float = 0.2
    roll: float = 0.05


@dataclass(frozen=True)
class SceneCamera:
    """A camera in a y-up world with the floor at y = 0.

    Attributes:
        view: The pinhole camera.
        rotation: (3, 3) float32. Rotation from world to camera axes.
        translation: (3,) float32, metres. Translation after the rotation.
    """

    view: Camera
    rotation: NDArray[np.float32]
    translation: NDArray[np.float32]

    @property
    def position(self) -> Array:
        """(3,) float32, metres in world axes. Position of the lens."""
        return np.asarray(-self.rotation.T @ self.translation)

    @property
    def from_y_down(self) -> Array:
        """(3, 4) float32. Rotation and translation from a y-down world."""
        return np.column_stack((self.rotation * np.array([1, -1, -1], np.float32), self.translation))

    def to_camera(self, points: Array) -> Array:
        """Transform points (..., 3) from world to camera axes."""
        return np.asarray(points @ self.rotation.T + self.translation)

    def rays(self) -> Array:
        """Return directions (3, H, W) float32 through the pixels' centres in world axes, with camera depth 1."""
        width, height = self.view.size
        cx, cy = (np.float32(0.5 - centre) for centre in self.view.principal_point)
        x = (np.arange(width, dtype=np.float32) + cx) / np.float32(self.view.focal)
        y = (np.arange(height, dtype=np.float32) + cy) / np.float32(self.view.focal)
        right, down, forward = self.rotation.astype(np.float32)[..., None, None]
        return np.asarray(right * x + (down * y[:, None] + forward), np.float32)


def sample_camera(
    random: np.random.Generator, joints: Array, size: tuple[int, int], options: CameraOptions | None = None
) -> SceneCamera:
    """Draw a camera that frames people from +z, so that their headings decide which side is visible.

    Args:
        random: Source of the random numbers.
        joints: (N, 3) float, metres in world axes. Joints of the people.
        size: Height and width of the image in pixels.
        options: Options of the camera.
    """
    options = options or CameraOptions()
    height, width = size
    focal = max(size) * math.exp(random.uniform(*np.log(options.focal)))
    fill = max(random.uniform(*options.fill), random.uniform(*options.fill))
    if random.random() < options.cut:
        fill = random.uniform(*options.enlarged)
    middle = (joints.min(0) + joints.max(0)) / 2
    lens = _lens_height(random)
    roll = random.normal(0, options.roll) + (random.uniform(-0.5, 0.5) if random.random() < 0.04 else 0.0)
    # The distance at which the joints fill the image depends on the pitch, which depends on the distance: three rounds.
    distance = 3.0
    rotation = np.eye(3)
    for _ in range(3):
        position = middle + np.array([0, lens - middle[1], distance])
        rotation = look_at(position, middle, roll)
        in_camera = (joints - middle) @ rotation.T
        extent = np.ptp(in_camera[:, :2], axis=0) + 0.12
        depth = focal * (extent / (np.array([width, height]) * fill)).max()
        depth = max(depth, float(-in_camera[:, 2].min()) + 0.55)
        # The height of the lens stays the same, so that only its horizontal distance changes.
        rise = min(abs(lens - middle[1]), 0.85 * depth)
        lens = middle[1] + math.copysign(rise, lens - middle[1])
        distance = math.sqrt(max(depth**2 - rise**2, 0.04))
    position = middle + np.array([0, lens - middle[1], distance])
    rotation = look_at(position, middle, roll)
    shift = _framing(random, (joints - position) @ rotation.T, focal, size)
    # People are moved in the image by the rotation of the camera and, as in a crop, by the principal point.
    half = np.array([width / 2, height / 2])
    centre = half
    if random.random() < options.off_centre:
        centre = half + random.uniform(-0.5, 0.5, 2) * np.array([width, height])
    # The pixel, relative to the principal point, where the middle of the people should be.
    target = np.append((half + shift - centre) / focal, 1.0)
    turn = _shortest_rotation(np.array([0, 0, 1.0]), target / np.linalg.norm(target)) @ rotation
    view = Camera(float(focal), (float(centre[0]), float(centre[1])), (width, height))
    return SceneCamera(view, turn.astype(np.float32), (-turn @ position).astype(np.float32))


def _lens_height(random: np.random.Generator) -> float:
    """Draw metres above the floor: mostly chest to eye height, sometimes higher or near the ground."""
    kind = random.random()
    if kind < 0.72:
        return max(0.5, random.normal(1.4, 0.22))
    if kind < 0.87:
        return random.uniform(1.8, 4.5)
    return random.uniform(0.2, 0.9)


def look_at(position: Array, target: Array, roll: float) -> Array:
    """Return the world-to-camera rotation of a camera that looks at a point.

    Args:
        position: (3,) float, metres in world axes. Position of the camera.
        target: (3,) float, metres in world axes. The point.
        roll: Radians. Roll of the camera.

    Returns:
        (3, 3) float.
    """
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.array([-forward[2], 0.0, forward[0]])  # forward × up
    right /= max(float(np.linalg.norm(right)), 1e-9)
    down = np.array([forward[1] * right[2], forward[2] * right[0] - forward[0] * right[2], -forward[1] * right[0]])
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1.0]])
    return np.asarray(turn @ np.stack((right, down, forward)))


def _framing(random: np.random.Generator, points: Array, focal: float, size: tuple[int, int]) -> Array:
    """Draw the shift (2,) in pixels of the people from the image's middle."""
    # If the people do not fit, mostly the upper half is shown, as in photographs.
    pixels = focal * points[:, :2] / np.maximum(points[:, 2:], 0.3)
    low, high = pixels.min(0), pixels.max(0)
    room = np.array([size[1], size[0]]) - (high - low)
    shift = random.uniform(-0.45, 0.45, 2) * np.abs(room) - (low + high) / 2
    if room[1] < 0 and random.random() < 0.85:
        shift[1] = -size[0] / 2 + size[0] * random.uniform(-0.02, 0.15) - low[1]
    if random.random() < 0.07:
        shift[0] += random.choice([-1, 1]) * random.uniform(0.1, 0.35) * size[1]
    return np.asarray(shift)


def _shortest_rotation(source: Array, target: Array) -> Array:
    """Return the shortest rotation (3, 3) between unit vectors that are not opposite."""
    axis = np.cross(source, target)
    cosine = float(source @ target)
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine))


@dataclass(frozen=True)
class Degradation:
    """Damage to an image; the defaults only round.

    Attributes:
        blur: Pixels. σ of a Gaussian blur of the image.
        backdrop_blur: Pixels. σ of a further blur of the background.
        motion: Pixels. x and y of the camera's movement during the exposure.
        rescale: Factor by which the image is reduced and enlarged again.
        noise: Grey levels. Deviation of brightness noise at mid grey; it grows with the light.
        chroma: Grey levels. Deviation of colour noise.
        sharpen: Factor on the detail that is added.
        vignette: Darkness of the corners, 0 … 1.
        balance: Factors of red, green and blue.
        contrast: Factor on the contrast about mid grey.
        saturation: Factor on the saturation.
        jpeg_quality: Quality of a JPEG compression; 0 for none.
    """

    blur: float = 0.0
    backdrop_blur: float = 0.0
    motion: tuple[float, float] = (0.0, 0.0)
    rescale: float = 1.0
    noise: float = 0.0
    chroma: float = 0.0
    sharpen: float = 0.0
    vignette: float = 0.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    jpeg_quality: int = 0


def sample_degradation(random: np.random.Generator, size: tuple[int, int], strength: float = 1.0) -> Degradation:
    """Draw damage; blur and motion grow with the image's longer side.

    Args:
        random: Source of the random numbers.
        size: Height and width of the image in pixels.
        strength: Factor on the damage.
    """
    scale = max(size) / 256 * strength

    def sometimes(probability: float, value: float) -> float:
        return value if random.random() < probability else 0.0

    motion = sometimes(0.12, random.uniform(1.0, 5.0)) * scale
    angle = random.uniform(0, math.pi)
    warmth, tint = random.normal(0, 0.05 * strength, 2)
    return Degradation(
        blur=sometimes(0.4, random.gamma(1.5, 0.3)) * scale,
        backdrop_blur=sometimes(0.55, random.gamma(1.3, 1.6)) * scale,
        motion=(motion * math.cos(angle), motion * math.sin(angle)),
        rescale=1 + sometimes(0.2, random.uniform(0.2, 1.3)) * strength,
        noise=sometimes(0.7, random.gamma(1.4, 1.9)) * strength,
        chroma=sometimes(0.35, random.gamma(1.4, 2.0)) * strength,
        sharpen=sometimes(0.25, random.uniform(0.2, 1.0)) * strength,
        vignette=sometimes(0.3, random.uniform(0.05, 0.45)) * strength,
        balance=(1 + float(warmth), 1 + 0.4 * float(tint), 1 - float(warmth)),
        contrast=float(np.clip(random.normal(1.0, 0.1 * strength), 0.7, 1.3)),
        saturation=float(np.clip(random.normal(1.0, 0.15 * strength), 0.4, 1.6)) * (random.random() > 0.03 * strength),
        jpeg_quality=int(sometimes(0.45, random.uniform(18, 90))) if strength > 0 else 0,
    )


def degrade(image: Array, damage: Degradation, random: np.random.Generator) -> NDArray[np.uint8]:
    """Damage an image like a camera and its files.

    Args:
        image: (H, W, 3) float32, 0 … 255. The image.
        damage: The damage.
        random: Source of the random numbers.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    result = image
    if damage.blur > 0.2:
        result = cv2.GaussianBlur(result, (0, 0), damage.blur)
    if math.hypot(*damage.motion) > 0.7:
        result = cv2.filter2D(result, -1, _streak(damage.motion), borderType=cv2.BORDER_REPLICATE)
    result = _toned(result, damage)
    if damage.rescale > 1.05:
        small = (max(8, round(width / damage.rescale)), max(8, round(height / damage.rescale)))
        result = cv2.resize(result, small, interpolation=cv2.INTER_AREA)
    result = _noisy(result, damage, random)
    if damage.sharpen > 0:
        result = result + damage.sharpen * (result - cv2.GaussianBlur(result, (0, 0), 1.0))
    levels = np.clip(np.rint(result), 0, 255).astype(np.uint8)
    if damage.jpeg_quality:
        success, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, damage.jpeg_quality])
        assert success, "images of any size can be compressed"
        levels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    if levels.shape[:2] != (height, width):
        interpolation = cv2.INTER_CUBIC if damage.sharpen else cv2.INTER_LINEAR
        levels = np.asarray(cv2.resize(levels, (width, height), interpolation=interpolation), np.uint8)
    return levels


def _streak(motion: tuple[float, float]) -> Array:
    """Return the blur kernel of a straight movement by (x, y) pixels."""
    reach = math.ceil(max(abs(motion[0]), abs(motion[1])) / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = 4 * reach + 1
    for t in np.linspace(-0.5, 0.5, steps):
        kernel[round(reach + t * motion[1]), round(reach + t * motion[0])] += 1
    return kernel / kernel.sum()


def _toned(image: Array, damage: Degradation) -> Array:
    # Balance, contrast about mid grey and saturation are one affine map of the colours.
    colours = damage.saturation * np.eye(3) + (1 - damage.saturation) * np.array([0.3, 0.59, 0.11])
    linear = colours * damage.contrast * np.asarray(damage.balance)
    affine = np.concatenate((linear, np.full((3, 1), 118 * (1 - damage.contrast))), 1)
    result = np.asarray(cv2.transform(image, affine.astype(np.float32)), np.float32)
    if damage.vignette > 0:
        height, width = image.shape[:2]
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        fall = 1 - np.float32(damage.vignette / 2) * (x[None] ** 2 + y[:, None] ** 2)
        result = result * fall[..., None]
    return np.asarray(result, np.float32)


def _noisy(image: Array, damage: Degradation, random: np.random.Generator) -> Array:
    if damage.noise > 0:
        grain = random.standard_normal((*image.shape[:2], 1), dtype=np.float32)
        strength = np.sqrt(np.maximum(image[..., 1:2], 0) / np.float32(127) + np.float32(0.15))
        image = image + np.float32(damage.noise) * strength * grain
    if damage.chroma > 0:
        small = (image.shape[0] // 2 + 1, image.shape[1] // 2 + 1, 3)
        grain = random.standard_normal(small, dtype=np.float32)
        spread = cv2.resize(grain, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
        image = image + np.float32(damage.chroma) * spread
    return np.asarray(image, np.float32)


GAMMA = 2.2


@dataclass(frozen=True)
class Light:
    """A distant light.

    Attributes:
        direction: Unit vector towards the light, world axes.
        colour: Linear red, green and blue.
        wrap: 0 (hard) … 1 (soft).
    """

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    wrap: float = 0.0


@dataclass(frozen=True)
class SceneLighting:
    """The light of a scene in y-up world axes.

    Attributes:
        ambient: Linear red, green and blue of the ambient light.
        gradient: (3, 3) float32. Change of the ambient light with x, y and z of the normal (rows), by colour.
        sun: The light with shadows.
        penumbra: Radians. Angular size of the sun.
        fills: Lights without shadows.
        exposure: Factor on all light; at 1, a white surface that faces the camera looks white.
    """

    ambient: tuple[float, float, float]
    gradient: NDArray[np.float32]
    sun: Light
    penumbra: float
    fills: tuple[Light, ...] = ()
    exposure: float = 1.0


def _towards(azimuth: float, elevation: float) -> tuple[float, float, float]:
    flat = math.cos(elevation)
    return flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)


def _light_tint(random: np.random.Generator, warmth: float, spread: float) -> Array:
    """Draw a colour of brightness 1: warm for positive `warmth`, bluish for negative."""
    colour = np.array([1 + 0.35 * warmth, 1 + 0.05 * warmth, 1 - 0.45 * warmth]) * np.exp(random.normal(0, spread, 3))
    return colour / colour.mean()


def sample_lighting(random: np.random.Generator, towards_camera: float, *, indoor: bool) -> SceneLighting:
    """Draw the light of a scene: sunny and overcast days outside, lamps and windows inside.

    Args:
        random: Source of the random numbers.
        towards_camera: Radians about y, from +z to +x. Azimuth of the camera; most light comes from its side, and
            one image in six is backlit.
        indoor: Whether the scene is inside.
    """
    is_backlit = random.random() < 0.16
    spread = 2.3 if not is_backlit else 0.7
    azimuth = towards_camera + (math.pi if is_backlit else 0.0) + random.uniform(-spread / 1.4, spread / 1.4)
    elevation = math.radians(random.uniform(20, 75) if indoor else random.uniform(12, 75))
    # An overcast day or a bright room has little directed light.
    sun_share = random.beta(1.6, 1.4) * (0.75 if indoor else 0.9)
    warmth = random.normal(0.25, 0.35) if indoor else random.normal(0.1, 0.15)
    sun = 1.9 * sun_share * _light_tint(random, warmth, 0.04)
    sky = (1 - 0.8 * sun_share) * _light_tint(random, random.normal(0.1, 0.25) if indoor else -0.35 * sun_share, 0.05)
    ambient = sky * random.uniform(0.65, 0.85)
    gradient = np.zeros((3, 3), np.float32)
    gradient[1] = ambient * random.uniform(0.1, 0.55)
    side = random.uniform(0, 2 * math.pi)
    sideways = ambient * random.uniform(0, 0.35) * _light_tint(random, 0.0, 0.15)
    gradient[0], gradient[2] = sideways * math.sin(side), sideways * math.cos(side)
    fills = []
    for _ in range(int(random.integers(0, 3))):
        is_coloured = random.random() < 0.12  # stage light
        colour = random.uniform(0.05, 0.35) * _light_tint(random, random.normal(0, 0.3), 0.7 if is_coloured else 0.08)
        direction = _towards(random.uniform(0, 2 * math.pi), math.radians(random.uniform(-20, 60)))
        fills.append(Light(direction, _triple(colour), wrap=0.5))
    penumbra = random.uniform(0.01, 0.12) if not indoor else random.uniform(0.04, 0.25)
    main = Light(_towards(azimuth, elevation), _triple(sun))
    lighting = SceneLighting(_triple(ambient), gradient, main, penumbra, tuple(fills))
    # Exposed for surfaces that face the camera, with an error of up to about a stop.
    azimuths = towards_camera + np.repeat(np.linspace(-1.2, 1.2, 7), 3)
    elevations = np.tile([-0.5, 0.1, 0.7], 7)
    flat = np.cos(elevations)
    normals = np.stack((flat * np.sin(azimuths), np.sin(elevations), flat * np.cos(azimuths)), -1).astype(np.float32)
    mean = float(irradiance(normals, lighting).mean())
    return replace(lighting, exposure=float(np.exp2(np.clip(random.normal(0.0, 0.5), -1.6, 0.75))) / max(mean, 0.05))


def _triple(values: Array) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return r, g, b


def irradiance(normals: Array, lighting: SceneLighting, sunlit: Array | float = 1.0) -> NDArray[np.float32]:
    """Return the light on surfaces.

    Args:
        normals: (N, 3) float. Unit normals in world axes.
        lighting: The light.
        sunlit: (N,) float or a number, 0 … 1. Share of the sun.

    Returns:
        (N, 3) float32, linear.
    """
    normals = np.asarray(normals, np.float32)
    light = np.asarray(lighting.ambient, np.float32) + normals @ np.asarray(lighting.gradient, np.float32)
    np.maximum(light, 0.02, out=light)
    for lamp, share in ((lighting.sun, sunlit), *((fill, 1.0) for fill in lighting.fills)):
        facing = normals @ np.asarray(lamp.direction, np.float32)
        amount = np.maximum((facing + np.float32(lamp.wrap)) / np.float32(1 + lamp.wrap), 0) * share
        for channel, value in enumerate(lamp.colour):  # numpy multiplies rows of three numbers slowly
            light[:, channel] += amount.astype(np.float32) * np.float32(value)
    return np.asarray(light * np.float32(lighting.exposure), np.float32)


def encode_light(light: Array) -> NDArray[np.float32]:
    """Convert linear light to a factor on gamma encoded colours."""
    flat = np.maximum(light, 0).astype(np.float32).reshape(-1, 1)
    return np.asarray(cv2.pow(flat, 1 / GAMMA), np.float32).reshape(np.shape(light))


DISTANCE = 400.0  # metres from the scene to the sun's camera, whose rays are parallel to a third of a degree
_BIAS = 0.022  # metres behind the z-buffer from which a surface is in the shadow
_TAPS = 6


def view_from_sun(vertices: Tensor, faces: Tensor, direction: Array, side: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    """Draw meshes as seen from the sun, without waiting for the device.

    Args:
        vertices: (B, V, 3) float32, metres in any axes. Vertices of the meshes that cast shadows.
        faces: (F, 3) int32. Their faces.
        direction: (3,) float, same axes. Unit vector towards the sun.
        side: Side of the z-buffer in texels.

    Returns:
        In metres: the z-buffers (B, side, side) float32, inf where the sun sees no mesh; the middles of the meshes in
        the axes of the sun's camera (B, 3) float32; and half of the z-buffers' sides (B,) float64.
    """
    x, y, z = (vertices[..., k] for k in range(3))
    turned = torch.stack([x * a + y * b + z * c for a, b, c in _sun_axes(direction).tolist()], -1)
    low, high = turned.amin(1).double(), turned.amax(1).double()
    centre = ((low + high) / 2).float()
    half = (high - low)[:, :2].amax(1) / 2 * 1.02 + 0.05
    in_light = turned - centre[:, None]
    in_light[..., 2] = turned[..., 2] - (centre[:, None, 2] - DISTANCE)
    focal = (DISTANCE * side / (2 * half)).float()
    depth = rasterise(in_light, faces, focal, torch.full_like(centre[:, :2], side / 2), (side, side)).depth
    return depth, centre, half


def _sun_axes(direction: Array) -> NDArray[np.float32]:
    """Return the axes (rows) of the sun's camera, which looks away from the direction (3,) towards the sun."""
    towards = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    reference = np.array([1.0, 0, 0]) if abs(towards[0]) < 0.7 else np.array([0, 0, 1.0])
    right = np.cross(reference, towards)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(-towards, right), -towards)).astype(np.float32)


class ShadowMap:
    """The shadows of the meshes of one image.

    Args:
        view: The result of `view_from_sun` for the image, on the host.
        direction: (3,) float, axes of the meshes. Unit vector towards the sun.
        penumbra: Radians. Angular size of the sun, which softens edges in proportion to the shadow's distance.
    """

    def __init__(self, view: Sequence[Tensor], direction: Array, penumbra: float) -> None:
        depth, self.centre = (values[0].numpy() for values in view[:2])
        half = float(view[2])
        self.axes = _sun_axes(direction)
        self.side, self.penumbra = len(depth), penumbra
        self.metres = 2 * half / self.side  # size of a texel
        self.focal = DISTANCE * self.side / (2 * half)
        self.depth = np.where(np.isfinite(depth), depth, np.float32(2 * DISTANCE))
        self.nearest = float(depth.min())

    def _texels(self, points: Array) -> tuple[Array, Array, Array]:
        """Project points (N, 3) to x and y in texels and depth from the sun's camera."""
        x, y, z = (points @ self.axes.T - self.centre).T
        z = z + np.float32(DISTANCE)
        scale = np.float32(self.focal) / z
        half = np.float32(self.side / 2)
        return x * scale + half, y * scale + half, z

    def sunlit(self, points: Array, normals: Array) -> Array:
        """Return the share of the sun on points of the meshes that cast shadows.

        Args:
            points: (N, 3) float32, metres. The points.
            normals: (N, 3) float32. Unit normals, along which points are moved so that surfaces do not shade
                themselves.

        Returns:
            (N,) float32, 0 … 1.
        """
        spread = np.float32(max(0.012, 0.25 * self.penumbra) / self.metres)
        samples = points + np.float32(0.012) * normals
        x, y, z = self._texels(samples)
        flat, limit = self.depth.ravel(), np.float32(self.side - 1)
        light = np.zeros(len(points), np.float32)
        for tap in range(_TAPS):
            angle, radius = tap * 2.39996, spread * ((tap + 0.5) / _TAPS) ** 0.5
            column = np.clip(x + np.float32(radius * np.cos(angle)), 0, limit).astype(np.int32)
            row = np.clip(y + np.float32(radius * np.sin(angle)), 0, limit).astype(np.int32)
            light += flat[row * self.side + column] >= z - np.float32(_BIAS)
        return light / np.float32(_TAPS)

    def cover(self, points: Array, fall: float) -> Array:
        """Return the share of the sun that is hidden from points without shadows of their own, such as the floor.

        Args:
            points: (N, 3) float32, metres. The points.
            fall: Metres. Distance from the meshes, which softens the shadow.

        Returns:
            (N,) float32, 0 … 1.
        """
        sigma = max(0.6, 0.5 * self.penumbra * fall / self.metres)
        mask = (self.depth < DISTANCE * 1.5).astype(np.float32)
        soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
        x, y, z = self._texels(points)
        half = np.float32(0.5)
        cover = look_up(soft, x - half, y - half, cv2.BORDER_CONSTANT)
        return cover * (z > self.nearest)


class ContactShadow:
    """Darkness on the floor under and around points near it.

    Args:
        points: (N, 3) float32, metres in world axes, y above the floor. The points.
        side: Side of the grid in cells of `CELL` metres, around the middle of the points.
    """

    CELL, REACH = 0.03, 0.30  # metres

    def __init__(self, points: Array, side: int = 128) -> None:
        low = points[points[:, 1] < self.REACH]
        self.empty = len(low) == 0
        if self.empty:
            return
        centre = (low[:, [0, 2]].min(0) + low[:, [0, 2]].max(0)) / 2
        self.corner = centre - self.CELL * side / 2
        cells = np.clip(((low[:, [0, 2]] - self.corner) / self.CELL).astype(np.int64), 0, side - 1)
        weight = np.clip(1 - low[:, 1] / self.REACH, 0, 1)
        grid: Array = np.zeros(side * side, np.float32)
        np.maximum.at(grid, cells[:, 1] * side + cells[:, 0], weight.astype(np.float32))
        grid = grid.reshape(side, side)
        wide = cv2.dilate(grid, np.ones((3, 3), np.uint8))
        self.grid = np.asarray(cv2.GaussianBlur(wide, (0, 0), 2.2), np.float32)

    def darkness(self, points: Array) -> Array:
        """Return the share (N,) of the ambient light, 0 … 1, that is hidden from points (N, 3) of the floor."""
        if self.empty:
            return np.zeros(len(points), np.float32)
        x, y = ((points[:, k] - c) / self.CELL - 0.5 for k, c in ((0, self.corner[0]), (2, self.corner[1])))
        return look_up(self.grid, x, y, cv2.BORDER_CONSTANT)
