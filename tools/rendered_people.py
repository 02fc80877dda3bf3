"""Random people of the default body in random images, for the tools that learn from the detector's own output.

Plain and fast rather than pretty: flat or patterned clothes painted on the skin and blown up a little, one light, a
random backdrop, things in front. What is varied is what moves a landmark: pose, shape, camera, cut frames, hidden
limbs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.engine.rasterising.op import Raster, interpolate, rasterise
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

WORLD_TO_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
SKIN_TONES = np.array([[255, 219, 190], [233, 190, 160], [205, 150, 115], [165, 110, 75], [115, 75, 50], [75, 48, 35]])
HAIR_TONES = np.array([[30, 25, 22], [70, 45, 30], [120, 80, 45], [190, 150, 90], [150, 150, 150], [140, 60, 30]])


@dataclass
class People:
    """B posed people and their cameras; the principal point is the image's centre.

    Attributes:
        rotations: (B, 24, 3, 3) float32. Parent-relative rotations, the pelvis to camera axes.
        betas: (B, 10) float32. Shape.
        trans: (B, 3) float32, metres in camera axes. Translation.
        focal: (B,) float32, pixels. Focal lengths.
        size: (B, 2) float32, pixels. Width and height.
    """

    rotations: Tensor
    betas: Tensor
    trans: Tensor
    focal: Tensor
    size: Tensor


def turn(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Rotation about z, then x, then y, angles (B,) radians: (B, 3, 3)."""
    zero = torch.zeros_like(x)
    about_x = axis_angle_to_matrix(torch.stack((x, zero, zero), -1))
    about_y = axis_angle_to_matrix(torch.stack((zero, y, zero), -1))
    about_z = axis_angle_to_matrix(torch.stack((zero, zero, z), -1))
    return about_y @ about_x @ about_z


def draw_people(body: Body, count: int, generator: torch.Generator, *, split: str = "train") -> People:
    """Random poses and shapes before random cameras: from all sides, mostly level, sometimes high or low."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    def normal(sigma: float) -> Tensor:
        return sigma * torch.randn(count, generator=generator)

    def chance(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability

    poses = sample_poses(count, generator, split=split)
    betas = torch.randn(count, body.shape_count, generator=generator)
    shapes = torch.tensor([[360, 480], [480, 360], [420, 420], [300, 533], [533, 300]])
    size = shapes[torch.randint(len(shapes), (count,), generator=generator)]
    focal = size.amax(1) * torch.exp(uniform(math.log(0.75), math.log(2.4)))
    pitch = torch.where(chance(0.15), uniform(-0.35, 0.9), normal(0.17))
    camera = WORLD_TO_CAMERA @ turn(pitch, torch.zeros(count), normal(0.06))
    heading = turn(torch.zeros(count), uniform(-math.pi, math.pi), torch.zeros(count))
    poses[:, 0] = camera @ heading @ poses[:, 0]
    placed = translations(body, poses, betas, focal, size, uniform(0.5, 0.95), chance(0.3), generator)
    return People(poses, betas, placed, focal, size)


def translations(
    body: Body,
    poses: Tensor,
    betas: Tensor,
    focal: Tensor,
    size: Tensor,
    fill: Tensor,
    cut: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Return translations with which people fill `fill` of the image; if `cut`, they are partly outside."""
    with torch.no_grad():
        posed = body.pose(poses, betas, vertices=False)
        points = body.pose_landmarks("blazepose33", posed, betas)
    centre = (points.amin(1) + points.amax(1)) / 2
    extent = (points.amax(1) - points.amin(1))[:, :2] + 0.1
    depth = (focal[:, None] * extent / (size * fill[:, None])).amax(1)
    enlarge = 1 + 0.9 * torch.rand(len(depth), generator=generator)
    depth = torch.where(cut, depth / enlarge, depth)
    depth = torch.maximum(depth, points[..., 2].neg().amax(1) + 0.6)  # nobody touches the lens
    room = size - focal[:, None] / depth[:, None] * extent  # free pixels, negative where cut
    shift = (torch.rand(len(depth), 2, generator=generator) - 0.5) * room.abs() * 0.9
    # A cut person mostly shows the upper half: move down by what does not fit.
    down = torch.where(
        room[:, 1] < 0, room[:, 1].abs() / 2 * (0.75 + 0.6 * torch.rand(len(depth), generator=generator)), shift[:, 1]
    )
    lower = cut & (torch.rand(len(depth), generator=generator) < 0.85)
    shift[:, 1] = torch.where(lower, down, shift[:, 1])
    sideways = cut & (torch.rand(len(depth), generator=generator) < 0.3)
    shift[:, 0] += torch.where(sideways, (torch.rand(len(depth), generator=generator) - 0.5) * 0.4 * size[:, 0], 0.0)
    return torch.cat((shift * depth[:, None] / focal[:, None], depth[:, None]), 1) - centre


def landmark_truth(body: Body, people: People) -> tuple[Tensor, Tensor, Tensor]:
    """Landmarks (B, 33, 3) metres in camera axes, their pixels (B, 33, 2), and joints (B, 24, 3)."""
    with torch.no_grad():
        posed = body.pose(people.rotations, people.betas, people.trans, vertices=False)
        points = body.pose_landmarks("blazepose33", posed, people.betas)
    return points, project(points, people.focal, people.size / 2), posed.joints


class Painter:
    """Colours for the vertices of the default body: skin, hair, eyes, clothes."""

    def __init__(self, body: Body) -> None:
        self.rest = body.template.numpy()
        labels = body.part_labels.numpy()
        names = np.array(SMPL24.joint_names)[labels]
        points = body.landmarks("blazepose33").template.numpy()
        eyes = points[BLAZEPOSE33.indices(("left_eye", "right_eye"))]
        mouth = points[BLAZEPOSE33.indices(("left_mouth", "right_mouth"))].mean(0)
        ears = points[BLAZEPOSE33.indices(("left_ear", "right_ear"))].mean(0)
        head = names == "head"
        y, z = self.rest[:, 1], self.rest[:, 2]
        distance = np.linalg.norm(self.rest[:, None] - eyes, axis=-1).min(1)
        self.eyes = head & (distance < 0.014)
        self.brows = head & (np.linalg.norm(self.rest[:, None] - eyes - [0, 0.026, 0], axis=-1).min(1) < 0.013)
        self.lips = head & (np.linalg.norm((self.rest - mouth) * [0.5, 1.6, 1], axis=-1) < 0.014)
        above = y > eyes[:, 1].mean() + 0.055
        behind = (z < ears[2] - 0.005) & (y > mouth[1] - 0.02)
        self.hair = head & (above | behind)

        def part(*joints: str) -> np.ndarray:
            return np.isin(names, [f"{side}{joint}" for side in ("", "left_", "right_") for joint in joints])

        self.sleeves = {"none": part(), "short": part("shoulder"), "long": part("shoulder", "elbow")}
        self.trunk = part("spine1", "spine2", "spine3", "collar") | (
            part("neck") & (y < points[BLAZEPOSE33.index("left_shoulder"), 1] + 0.05)
        )
        self.trousers = {"short": part("pelvis", "hip"), "long": part("pelvis", "hip", "knee")}
        self.shoes = part("ankle", "foot")

    def paint(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colours (V, 3) 0..255, thickness of the clothes (V,) metres, pattern (V,): 0 none, 1 top, 2 below."""
        skin = SKIN_TONES[random.integers(len(SKIN_TONES))] + random.normal(0, 8, 3)
        hair = HAIR_TONES[random.integers(len(HAIR_TONES))] + random.normal(0, 8, 3)
        colours = np.tile(skin.astype(np.float32), (len(self.rest), 1))
        thickness, pattern = np.zeros(len(self.rest), np.float32), np.zeros(len(self.rest), np.int64)
        if random.random() < 0.9:
            colours[self.hair] = hair
        colours[self.brows] = 0.6 * hair + 0.4 * skin
        colours[self.eyes] = random.uniform(10, 90)
        colours[self.lips] = 0.7 * skin + 0.3 * np.array([170, 50, 60])
        puffed = random.random() < 0.6
        top = self.trunk | self.sleeves[str(random.choice(["none", "short", "long"], p=[0.15, 0.45, 0.4]))]
        below = self.trousers[str(random.choice(["short", "long"], p=[0.3, 0.7]))]
        for number, where in ((2, below), (1, top), (0, self.shoes)):
            colours[where] = random_colour(random)
            pattern[where] = number if random.random() < 0.5 else 0
            thickness[where] = random.uniform(0.0, 0.022) if puffed and number else thickness[where]
        return colours, thickness, pattern


def random_colour(random: np.random.Generator) -> np.ndarray:
    """Greys, muted and strong colours alike."""
    grey = random.uniform(15, 245)
    return np.clip(grey + random.normal(0, random.choice([5.0, 30.0, 80.0]), 3), 0, 255)


def normals_of(vertices: Tensor, faces: Tensor) -> Tensor:
    """Vertex normals (V, 3), pointing outwards."""
    a, b, c = (vertices[faces[:, k].long()] for k in range(3))
    across = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total.index_add_(0, faces[:, k].long(), across)
    return torch.nn.functional.normalize(total, dim=-1)


def pattern_at(rest: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Multiplier of the colour at rest positions (..., 3): stripes, checks or blotches."""
    kind, width = random.integers(4), random.uniform(0.02, 0.12)
    phase = rest / width
    if kind == 0:
        wave = np.sin(2 * np.pi * phase[..., 1])
    elif kind == 1:
        wave = np.sin(2 * np.pi * phase[..., 0])
    elif kind == 2:
        wave = np.sign(np.sin(2 * np.pi * phase[..., 0]) * np.sin(2 * np.pi * phase[..., 1]))
    else:
        turned = phase @ np.linalg.qr(random.normal(size=(3, 3)))[0]
        wave = np.sin(turned[..., 0] * 3 + 2 * np.sin(turned[..., 1] * 2.3)) * np.sin(turned[..., 2] * 2.7)
    return 1 + random.uniform(0.1, 0.45) * wave[..., None]


def backdrop(width: int, height: int, random: np.random.Generator) -> np.ndarray:
    """Blurred colour fields with a horizon, patches, bars and grain: (height, width, 3) float32 0..255."""
    image = np.zeros((height, width, 3), np.float32) + random_colour(random)
    if random.random() < 0.6:
        image[int(height * random.uniform(0.3, 0.9)) :] = random_colour(random)
    for cells in (3, 7, 20):
        field = random.normal(0, random.uniform(0, 28), (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(random.integers(0, 25))):
        draw_thing(image, random, random.uniform(0.03, 0.35) * max(width, height))
    return cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 3.0))


def draw_thing(image: np.ndarray, random: np.random.Generator, size: float, mask: np.ndarray | None = None) -> None:
    """Draw a random quadrangle, ellipse or bar, and set `mask` (H, W) uint8 to 1 on it."""
    height, width = image.shape[:2]
    centre = random.uniform([0, 0], [width, height])
    shape = np.zeros((height, width), np.uint8)
    kind = random.integers(3)
    if kind == 0:
        corners = centre + random.uniform(-size, size, (4, 2))
        cv2.fillConvexPoly(shape, cv2.convexHull(corners.astype(np.int32)), 1)
    elif kind == 1:
        axes = (max(1, int(size * random.uniform(0.2, 0.7))), max(1, int(size * random.uniform(0.2, 0.7))))
        cv2.ellipse(shape, (int(centre[0]), int(centre[1])), axes, random.uniform(0, 180), 0, 360, 1, -1)
    else:
        direction = random.normal(size=2)
        ends = centre + np.outer([-2, 2], direction / np.linalg.norm(direction)) * size
        cv2.line(shape, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1, max(2, int(size * 0.15)))
    colour = random_colour(random)
    stripes = 1 + random.uniform(0, 0.3) * np.sign(np.sin(np.arange(width) / random.uniform(2, 20)))
    rows, columns = np.nonzero(shape)
    image[rows, columns] = colour * stripes[columns, None]
    if mask is not None:
        mask[rows, columns] = 1


@dataclass
class Rendered:
    """pixels (H, W, 3) uint8; depth (H, W) metres of the person; hidden (H, W) bool: something stands in front."""

    pixels: np.ndarray
    depth: np.ndarray
    hidden: np.ndarray


class Studio:
    """Renders people one at a time; every image is decided by the random generator it is given."""

    def __init__(self, body: Body) -> None:
        self.body, self.painter = body, Painter(body)
        self._passer_by: tuple[np.ndarray, np.ndarray] | None = None

    def render(self, people: People, index: int, random: np.random.Generator) -> Rendered:
        """One image of one of the people, with backdrop, light, clothes, things in front, blur and grain."""
        row = slice(index, index + 1)
        width, height = people.size[index].tolist()
        colours, thickness, pattern = self.painter.paint(random)
        with torch.no_grad():
            vertices = self.body.pose(people.rotations[row], people.betas[row], people.trans[row]).vertices
        assert vertices is not None
        normals = normals_of(vertices[0], self.body.faces)
        vertices = vertices + torch.from_numpy(thickness)[:, None] * normals
        raster = rasterise(vertices, self.body.faces, people.focal[row], people.size[row] / 2, (height, width))
        person = self._shaded(raster, colours, pattern, normals, random)
        covered = (raster.face[0] >= 0).numpy()
        image = backdrop(width, height, random)
        if self._passer_by is not None and random.random() < 0.12:
            self._paste_passer_by(image, random)
        soft = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), 0.6)[..., None]
        image = np.where(covered[..., None], soft * person + (1 - soft) * image, image)
        self._passer_by = (person, covered)
        hidden = np.zeros((height, width), np.uint8)
        if random.random() < 0.3:
            for _ in range(int(random.integers(1, 4))):
                draw_thing(image, random, random.uniform(0.05, 0.25) * max(width, height), hidden)
        image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), random.uniform(0.3, 1.2))
        image = image * random.uniform(0.7, 1.2) + random.normal(0, random.uniform(0, 8), image.shape)
        return Rendered(np.clip(image, 0, 255).astype(np.uint8), raster.depth[0].numpy(), hidden > 0)

    def _shaded(
        self, raster: Raster, colours: np.ndarray, pattern: np.ndarray, normals: Tensor, random: np.random.Generator
    ) -> np.ndarray:
        rest = torch.from_numpy(self.painter.rest)
        worn = torch.nn.functional.one_hot(torch.from_numpy(pattern), 3).float()
        attributes = torch.cat((torch.from_numpy(colours), normals, rest, worn), 1)[None]
        pixels = interpolate(raster, self.body.faces, attributes)[0].numpy()
        colour, normal, position, number = np.split(pixels, [3, 6, 9], -1)
        for kind in (1, 2):
            inside = number[..., kind : kind + 1] > 0.5
            colour = np.where(inside, colour * pattern_at(position, random), colour)
        light = random.normal(size=3) * [1, 0.6, 0.5] - [0, 0.6, 0.9]
        facing = np.clip(normal @ (light / np.linalg.norm(light)), -0.25, 1)[..., None]
        ambient = random.uniform(0.35, 0.8)
        return np.clip(colour * (ambient + (1.15 - ambient) * facing), 0, 255).astype(np.float32)

    def _paste_passer_by(self, image: np.ndarray, random: np.random.Generator) -> None:
        """Paste the person of the last image, mirrored and moved, behind this person."""
        assert self._passer_by is not None
        person, covered = (cv2.resize(np.float32(a)[:, ::-1], image.shape[1::-1]) for a in self._passer_by)
        shift = int(random.choice([-1, 1]) * random.uniform(0.3, 0.7) * image.shape[1])
        person, covered = np.roll(person, shift, 1), np.roll(covered, shift, 1)
        edge = slice(None, max(shift, 0)) if shift > 0 else slice(image.shape[1] + shift, None)
        covered[:, edge] = 0
        where = covered > 0.5
        image[where] = person[where]
