"""Random scenes: people and their poses and positions, props, camera and light.

The world is in metres, y up, with the floor at y = 0; labels are in camera axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.cloth import grid_faces
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.lab.synthetic.backgrounds import VIEWED_FROM_ANYWHERE, Background, ImageFolder, sample_background
from humanpose_cli.lab.synthetic.camera_paths import PathKind, Shutter, sample_path, sample_shutter
from humanpose_cli.lab.synthetic.cameras import (
    CameraOptions,
    Degradation,
    SceneCamera,
    SceneLighting,
    sample_camera,
    sample_degradation,
    sample_lighting,
)
from humanpose_cli.lab.synthetic.mesh import DressedMesh
from humanpose_cli.lab.synthetic.poses import Performance, on_floor, turn_motion
from humanpose_cli.lab.synthetic.tiles import VARIANTS

Array = NDArray[Any]

Vector = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Solid:
    """The surface of an object.

    Attributes:
        vertices: (V, 3) float32, metres. Vertices.
        faces: (F, 3) int32. Faces, counter-clockwise from outside.
        uv: (V, 2) float32, metres on the surface. Texture vertices.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]


def _merge(solids: Sequence[Solid]) -> Solid:
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids)])
    return Solid(
        np.concatenate([solid.vertices for solid in solids]),
        np.concatenate([solid.faces + start for solid, start in zip(solids, starts, strict=False)]).astype(np.int32),
        np.concatenate([solid.uv for solid in solids]),
    )


def move_solid(solid: Solid, point: Array, turn: float = 0.0, tilt: float = 0.0) -> Solid:
    """Rotate a solid about z, then about y, and move it.

    Args:
        solid: The solid.
        point: (3,) float, metres. The translation.
        turn: Radians. Rotation about y.
        tilt: Radians. Rotation about z.
    """
    c, s, tc, ts = math.cos(turn), math.sin(turn), math.cos(tilt), math.sin(tilt)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_z = np.array([[tc, -ts, 0], [ts, tc, 0], [0, 0, 1]])
    vertices = solid.vertices @ (about_y @ about_z).T + np.asarray(point)
    return Solid(vertices.astype(np.float32), solid.faces, solid.uv)


def _sheet(points: Array, uv: Array) -> Solid:
    """Return the surface of a grid of points (n, m, 3), whose rows run down and columns right on the front."""
    faces, _ = grid_faces(*points.shape[:2], is_closed=False)
    return Solid(points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32), uv.reshape(-1, 2).astype(np.float32))


def _panel(corner: Array, right: Array, down: Array, cells: int = 6) -> Solid:
    s, t = np.meshgrid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1))
    uv = np.stack((s * np.linalg.norm(right), t * np.linalg.norm(down)), -1)
    return _sheet(corner + s[..., None] * right + t[..., None] * down, uv)


def box(size: Vector) -> Solid:
    """Return a box of this width, height and depth that stands on the origin."""
    w, h, d = size
    x, y, z = np.array([w, 0, 0]), np.array([0, h, 0]), np.array([0, 0, d])
    low = np.array([-w / 2, 0, -d / 2])
    front, back = _panel(low + z + y, x, -y), _panel(low + x + y, -x, -y)
    sides = _panel(low + x + z + y, -z, -y), _panel(low + y, z, -y)
    top, bottom = _panel(low + y, x, z), _panel(low + z, x, -z, 1)
    return _merge([front, back, *sides, top, bottom])


def cylinder(radius: float, height: float, *, top_radius: float | None = None, sides: int = 20) -> Solid:
    """Return an upright cylinder or cone frustum on the origin, closed at the top.

    Args:
        radius: Metres. Radius at the bottom.
        height: Metres.
        top_radius: Metres. Radius at the top; None for a cylinder.
        sides: Number of sides.
    """
    upper = radius if top_radius is None else top_radius
    angle = np.linspace(0, 2 * math.pi, sides + 1)
    rise = np.linspace(1, 0, 7)
    circle = np.stack((np.sin(angle), np.zeros_like(angle), np.cos(angle)), -1)
    radii = upper + (radius - upper) * (1 - rise)
    points = radii[:, None, None] * circle + (rise * height)[:, None, None] * np.array([0, 1.0, 0])
    uv = np.stack(np.broadcast_arrays(angle[None] * max(radius, 0.02), (1 - rise[:, None]) * height), -1)
    mantle = _sheet(points, uv)
    rim = points[0]
    lid = np.stack((np.broadcast_to([0, height, 0], rim.shape), rim))
    return _merge([mantle, _sheet(lid, np.stack((lid[..., 0], lid[..., 2]), -1))])


def ball(radii: Vector, sides: int = 20) -> Solid:
    """Return an ellipsoid around the origin."""
    angle, polar = np.linspace(0, 2 * math.pi, sides + 1), np.linspace(0, math.pi, sides // 2 + 1)
    ring = np.sin(polar)[:, None]
    unit = np.stack(np.broadcast_arrays(ring * np.sin(angle), np.cos(polar)[:, None], ring * np.cos(angle)), -1)
    uv = np.stack(np.broadcast_arrays(angle[None] * radii[0], polar[:, None] * radii[1]), -1)
    return _sheet(unit * np.asarray(radii), uv)


def table(width: float, height: float, depth: float) -> Solid:
    """Return a board on four legs."""
    thick, leg = 0.04, 0.05
    board = move_solid(box((width, thick, depth)), np.array([0, height - thick, 0]))
    legs = [
        move_solid(box((leg, height - thick, leg)), np.array([sx * (width / 2 - leg), 0, sz * (depth / 2 - leg)]))
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]
    return _merge([board, *legs])


def card(outline: Array) -> Solid:
    """Return a flat shape in the x-y plane with an outline (n, 2) in metres around the origin."""
    rim = np.concatenate((outline, outline[:1]))
    flat = np.concatenate((rim, np.zeros((len(rim), 1))), 1)
    middle = np.zeros_like(flat)
    return _sheet(np.stack((middle, flat)), np.stack((middle[:, :2], rim)))


_LEAVES = 40


def _plant(random: np.random.Generator, height: float) -> Solid:
    """Return blade-shaped leaves that rise from the origin and bend outwards."""
    blades = []
    t = np.linspace(1, 0, 6)
    width = np.sqrt(np.maximum(t * (1 - t) * 4, 0.05))[:, None]
    for _ in range(_LEAVES):
        azimuth, lean = random.uniform(0, 2 * math.pi), random.uniform(0.1, 1.1)
        length, max_width = height * random.uniform(0.5, 1.0), height * random.uniform(0.015, 0.06)
        bend = lean * t**1.5
        outwards = np.array([math.sin(azimuth), 0, math.cos(azimuth)])
        side = np.array([outwards[2], 0, -outwards[0]])
        middle = (length * t * np.sin(bend))[:, None] * outwards
        middle = middle + (length * t * np.cos(bend))[:, None] * np.array([0, 1, 0])
        half = max_width * width * side
        points = np.stack((middle - half, middle + half), 1)
        uv = np.stack(np.broadcast_arrays(np.array([0.0, max_width]), (t * length)[:, None]), -1) + random.random(2)
        blades.append(_sheet(points, uv))
    return _merge(blades)


_MATERIALS = ("boards", "wallpaper", "plaster", "concrete", "carpet", "print", "brick", "shelf", "stone", "ground")
_TRIES = 12
_MAX_HIDDEN = 0.55  # share of the first person's joints that a prop may hide


@dataclass(frozen=True, eq=False)
class Prop:
    """An object in world axes with a tile as its texture.

    Attributes:
        solid: The surface.
        tile: Kind and variant of the tile.
        metres: Size of the tile.
        tint: Factors on the tile's colours.
        shadow: Whether it casts a shadow; False for objects near the lens.
    """

    solid: Solid
    tile: tuple[str, int]
    metres: float
    tint: tuple[float, float, float]
    shadow: bool = True


def _sample_prop(random: np.random.Generator, solid: Solid, kind: str = "", *, shadow: bool = True) -> Prop:
    tile_kind = kind or str(random.choice(_MATERIALS))
    tint = np.clip(random.uniform(0.45, 1.2) * np.exp(random.normal(0, 0.14, 3)), 0.1, 1.5)
    metres = float(np.exp(random.uniform(np.log(0.25), np.log(1.6))))
    r, g, b = tint.tolist()
    return Prop(solid, (tile_kind, int(random.integers(VARIANTS))), metres, (r, g, b), shadow)


def sample_props(
    random: np.random.Generator,
    camera: SceneCamera,
    joints: Sequence[Array],
    *,
    around: float = 0.5,
    in_front: float,
    cards: float,
) -> list[Prop]:
    """Draw props for a scene, without props that would hide too much of the first person.

    Args:
        random: Source of the random numbers.
        camera: The camera.
        joints: (N, 3) float, metres in world axes, for each person. Joints in all frames.
        around: Probability of props behind and beside the people.
        in_front: Probability of props in front of the people.
        cards: Probability of a flat object near the lens.
    """
    props: list[Prop] = []
    all_joints = np.concatenate(list(joints))
    if random.random() < around:
        for _ in range(int(random.integers(1, 5))):
            props += _standing_props(random, camera, all_joints, front=False)
    if random.random() < in_front:
        for _ in range(int(random.integers(1, 3))):
            if random.random() < 0.5:
                props += _standing_props(random, camera, all_joints, front=True)
            else:
                props.append(_floating_prop(random, camera, joints[0]))
    if random.random() < cards:
        props.append(_card_prop(random, camera))
    return [prop for prop in props if _hidden_share(prop, camera, joints[0]) < _MAX_HIDDEN]


def _standing_props(random: np.random.Generator, camera: SceneCamera, all_joints: Array, *, front: bool) -> list[Prop]:
    """Return a prop on the floor in front of or behind the people, if there is room for it."""
    prop, radius = _standing_prop(random)
    point = _free_position(random, camera, all_joints, radius, front=front)
    if point is None:
        return []
    return [replace(prop, solid=move_solid(prop.solid, point, turn=random.uniform(0, 2 * math.pi)))]


def _standing_prop(random: np.random.Generator) -> tuple[Prop, float]:
    """Draw a prop that stands on the origin, and its radius in metres."""
    kind = random.integers(8)
    uniform = random.uniform
    if kind == 0:
        size = (uniform(0.3, 1.6), uniform(0.3, 1.2), uniform(0.3, 0.8))
        return _sample_prop(random, box(size)), 0.5 * math.hypot(size[0], size[2])
    if kind == 1:
        size = (uniform(0.5, 1.4), uniform(1.4, 2.2), uniform(0.3, 0.6))
        return _sample_prop(random, box(size), "shelf" if random.random() < 0.6 else ""), 0.5 * size[0] + 0.2
    if kind == 2:
        radius = uniform(0.08, 0.35)
        solid = cylinder(radius, uniform(0.3, 1.3), top_radius=radius * uniform(0.6, 1.2))
        return _sample_prop(random, solid), radius * 1.2
    if kind == 3:
        radius = uniform(0.03, 0.16)
        return _sample_prop(random, cylinder(radius, uniform(1.8, 4.0), sides=14)), radius
    if kind == 4:
        size = (uniform(0.6, 1.8), uniform(0.45, 0.95), uniform(0.5, 0.9))
        return _sample_prop(random, table(*size), "boards" if random.random() < 0.5 else ""), 0.5 * size[0]
    if kind == 5:
        solid = _plant(random, uniform(0.5, 1.8))
        return _sample_prop(random, solid, "grass" if random.random() < 0.7 else "foliage"), 0.3
    if kind == 6:  # a fence
        count = int(random.integers(3, 9))
        gap, height, thick = (uniform(*limits) for limits in ((0.12, 0.3), (0.6, 1.3), (0.015, 0.06)))
        half = gap * (count - 1) / 2
        bars = [move_solid(box((thick, height, thick)), np.array([i * gap - half, 0, 0])) for i in range(count)]
        rail = move_solid(box((2 * half + 0.1, thick, thick)), np.array([0, height * 0.8, thick]))
        return _sample_prop(random, _merge([*bars, rail])), 0.6 * half + 0.05
    radius = uniform(0.1, 0.4)
    return _sample_prop(random, move_solid(ball((radius, radius, radius)), np.array([0, radius, 0]))), radius


def _free_position(
    random: np.random.Generator, camera: SceneCamera, all_joints: Array, radius: float, *, front: bool
) -> Array | None:
    """Find a position on the floor free of people and lens, in front of or behind the people."""
    middle = all_joints.mean(0)
    view = np.array([camera.position[0] - middle[0], 0, camera.position[2] - middle[2]])
    distance = float(np.linalg.norm(view))
    forward = view / max(distance, 1e-6)
    side = np.array([forward[2], 0, -forward[0]])
    for _ in range(6):
        depth = random.uniform(0.3, max(0.35, 0.6 * distance)) if front else random.uniform(-2.5, 0.2)
        offset = random.normal(0, 0.7) if front else random.choice([-1, 1]) * random.uniform(0.2, 1.8)
        point = np.array([middle[0], 0, middle[2]]) + depth * forward + offset * side
        is_free = np.linalg.norm((all_joints - point)[:, [0, 2]], axis=1).min() > radius + 0.22
        if is_free and np.linalg.norm((camera.position - point)[[0, 2]]) > radius + 0.5:
            return point
    return None


def _floating_prop(random: np.random.Generator, camera: SceneCamera, joints: Array) -> Prop:
    """Draw a prop between the lens and one of the person's joints."""
    target = joints[int(random.integers(len(joints)))] + random.normal(0, 0.12, 3)
    lens = camera.position
    distance = float(np.linalg.norm(target - lens))
    depth = random.uniform(0.3, 0.85) * max(distance - 0.35, 0.2)
    point = lens + (target - lens) / max(distance, 1e-6) * depth
    half = random.uniform(0.06, 0.3) * depth / max(distance, 1e-6) * random.uniform(0.7, 1.3)
    kind = random.integers(3)
    if kind == 0:
        solid = box((2 * half, 2 * half * random.uniform(0.3, 1.8), 2 * half * random.uniform(0.3, 1.5)))
    elif kind == 1:
        solid = ball((half, half * random.uniform(0.6, 1.6), half))
    else:
        solid = cylinder(half * random.uniform(0.3, 0.8), 2.5 * half)
    solid = move_solid(solid, point, turn=random.uniform(0, 6.28), tilt=random.uniform(-1.5, 1.5))
    return _sample_prop(random, solid, shadow=depth > 0.6 * distance)


def _card_prop(random: np.random.Generator, camera: SceneCamera) -> Prop:
    """Draw a flat object close to the lens at the image's edge."""
    width, height = camera.view.size
    corners = int(random.integers(3, 9))
    angles = np.sort(random.uniform(0, 2 * math.pi, corners))
    depth = 0.3
    size = random.uniform(0.12, 0.4) * max(height, width) / camera.view.focal * depth
    outline = size * random.uniform(0.5, 1.0, corners)[:, None] * np.stack((np.cos(angles), np.sin(angles)), 1)
    side = random.uniform(0, 1, 2)
    side[int(random.integers(2))] = float(random.integers(2))
    pixel = side * [width, height]
    flat = card(outline)
    position = (pixel - np.asarray(camera.view.principal_point)) / camera.view.focal * depth
    in_camera = flat.vertices * np.array([1, -1, 1]) + np.array([*position, depth])
    vertices = (in_camera - camera.translation) @ camera.rotation
    return _sample_prop(random, Solid(vertices.astype(np.float32), flat.faces, flat.uv), shadow=False)


def _hidden_share(prop: Prop, camera: SceneCamera, joints: Array) -> float:
    """Return the share of the joints behind the rectangle that a prop covers in the image."""
    in_view = camera.to_camera(prop.solid.vertices)
    points = camera.to_camera(joints)
    if in_view[:, 2].min() < 0.06:
        return 1.0
    low, high = (in_view[:, :2] / in_view[:, 2:]).min(0), (in_view[:, :2] / in_view[:, 2:]).max(0)
    pixels = points[:, :2] / np.maximum(points[:, 2:], 0.05)
    inside = (pixels > low).all(1) & (pixels < high).all(1) & (points[:, 2] > np.median(in_view[:, 2]))
    return float(inside.mean())


def seat_for(random: np.random.Generator, pelvis: Array, knees: Array) -> Prop:
    """Draw a stool, box, bench or sofa under a sitting person.

    Args:
        random: Source of the random numbers.
        pelvis: (3,) float, metres in world axes. Pelvis of the person.
        knees: (2, 3) float, metres in world axes. Knees of the person.
    """
    forward = (knees.mean(0) - pelvis) * [1, 0, 1]
    reach = float(np.linalg.norm(forward))
    turn = math.atan2(forward[0], forward[2])
    top = max(0.12, float(pelvis[1]) - 0.115)
    front, back = max(0.1, 0.7 * reach), random.uniform(0.2, 0.4)
    width = random.choice([random.uniform(0.38, 0.6), random.uniform(0.9, 2.0)])
    parts = [move_solid(box((float(width), top, front + back)), np.array([0, 0, (front - back) / 2]))]
    if random.random() < 0.4:
        backrest = box((float(width), random.uniform(0.25, 0.6), 0.06))
        parts.append(move_solid(backrest, np.array([0, top, -back - 0.03])))
    solid = move_solid(_merge(parts), np.array([pelvis[0], 0, pelvis[2]]), turn=turn)
    return _sample_prop(random, solid)


_CROWN = (0.0, 0.2, 0.02)  # metres from the head joint, head axes


@dataclass(frozen=True, eq=False)
class Actor:
    """A person before they are put into a scene.

    Attributes:
        mesh: The dressed person.
        betas: (10,) float32. Shape.
        performance: Poses and positions.
    """

    mesh: DressedMesh
    betas: Tensor
    performance: Performance


@dataclass(frozen=True, eq=False)
class StagedPerson:
    """A person in a scene.

    Attributes:
        mesh: The dressed person.
        betas: (10,) float32. Shape.
        rotations: (T, 24, 3, 3) float32. Parent-relative rotations, the pelvis to camera axes.
        trans: (T, 3) float32, metres in camera axes. The root is the rest pelvis of the shape + trans.
        activities: Activity of each frame, as in `Performance`.
        hands: (2, 15, 3) float32, radians. Fingers of the mesh; None for those of the template.
    """

    mesh: DressedMesh
    betas: Tensor
    rotations: Tensor
    trans: Tensor
    activities: tuple[str, ...]
    hands: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class SceneOptions:
    """Options of random scenes.

    Attributes:
        size: Height and width in pixels.
        camera: Options of the camera.
        in_front: Probability of props in front of people.
        picture_share: Share of scenes before an image, if there are images.
        cards: Probability of a flat object near the lens.
        damage: Strength of blur, noise and compression; 0 for none.
        framed: Number of people, from the first, that the camera frames.
        path: Path of a camera that follows the first person; None for a still camera.
        frame_rate: Frames per second.
    """

    size: tuple[int, int] = (256, 256)
    camera: CameraOptions = field(default_factory=CameraOptions)
    in_front: float = 0.3
    picture_share: float = 0.6
    cards: float = 0.06
    damage: float = 1.0
    framed: int = 1
    path: PathKind | None = None
    frame_rate: float = 30.0


@dataclass(frozen=True, eq=False)
class SceneDescription:
    """The contents of T images of the same people in the same surroundings; can be pickled.

    Attributes:
        camera: The camera of the first frame.
        lighting: The light.
        background: The background.
        props: The props.
        people: The people in the order of the label `persons`, in the axes of each frame's camera.
        degradation: Damage to the images.
        noise_seed: Seed of the sensor noise.
        images: Folder of the background's image.
        path: T cameras; empty for a still camera.
        shutter: Shutter of a moving camera.
    """

    camera: SceneCamera
    lighting: SceneLighting
    background: Background
    props: tuple[Prop, ...]
    people: tuple[StagedPerson, ...]
    degradation: Degradation
    noise_seed: int
    images: ImageFolder | None = None
    path: tuple[SceneCamera, ...] = ()
    shutter: Shutter = field(default_factory=Shutter)

    def __len__(self) -> int:
        return len(self.people[0].rotations) if self.people else 1

    def camera_at(self, frame: int) -> SceneCamera:
        """Return the camera of a frame."""
        return self.path[frame] if self.path else self.camera

    def positions(self) -> NDArray[np.float32]:
        """Return the positions (N, 3) of people and lenses in all frames in metres, world axes."""
        people = [person.trans.numpy() for person in self.people]
        if not self.path:
            trans = np.concatenate(people) if people else np.zeros((0, 3), np.float32)
            return np.asarray((trans - self.camera.translation) @ self.camera.rotation)
        turn, lenses = (np.stack([getattr(camera, name) for camera in self.path]) for name in ("rotation", "position"))
        return np.concatenate([lenses, *(np.einsum("tji,tj->ti", turn, trans) + lenses for trans in people)])


def sample_scene(
    random: np.random.Generator,
    body: Body,
    actors: Sequence[Actor],
    options: SceneOptions | None = None,
    *,
    images: ImageFolder | None = None,
) -> SceneDescription:
    """Draw a scene with these people.

    Args:
        random: Source of the random numbers.
        body: The body.
        actors: One person or more, all for the same number of frames; the camera frames the first ones.
        options: Options of the scene.
        images: Folder of background images.
    """
    options = options or SceneOptions()
    performances, joints = _stage_actors(random, body, actors)
    framing = options.camera
    if len(actors[0].performance) > 1:
        # A person who moves would be outside of a larger enlarged image in some frames.
        framing = replace(framing, enlarged=(1.02, 1.25))
    path = _sample_safe_path(random, performances, options) if options.path else ()
    camera = path[0] if path else sample_camera(random, np.concatenate(joints[: options.framed]), options.size, framing)
    background = sample_background(random, images, options.picture_share)
    if path:
        background = Background(str(random.choice(VIEWED_FROM_ANYWHERE)), background.seed)
    lens = camera.position - joints[0].mean(0)
    lighting = sample_lighting(random, math.atan2(lens[0], lens[2]), indoor=background.indoor)
    if path:
        props = _sample_surroundings(random, path, joints)
    else:
        props = sample_props(random, camera, joints, in_front=options.in_front, cards=options.cards)
    for actor, points in zip(actors, joints, strict=True):
        if actor.performance.family == "chair" and (actor.performance.is_joined or len(actor.performance) == 1):
            pelvis, *knees = points[list(SMPL24.indices(("pelvis", "left_knee", "right_knee")))]
            props.append(seat_for(random, pelvis, np.stack(knees)))
    people = _viewed_people(body, actors, performances, path or (camera,))
    degradation = sample_degradation(random, options.size, options.damage) if options.damage > 0 else Degradation()
    noise_seed, shutter = int(random.integers(2**31)), Shutter()
    if path:
        # The lens stays focused on the person, and only the path blurs.
        degradation = replace(degradation, motion=(0.0, 0.0), backdrop_blur=0.0)
        shutter = sample_shutter(random, options.frame_rate, options.damage)
    scene = SceneDescription(camera, lighting, background, tuple(props), people, degradation, noise_seed, images)
    return replace(scene, path=path, shutter=shutter)


def _viewed_people(
    body: Body, actors: Sequence[Actor], performances: Sequence[Performance], cameras: Sequence[SceneCamera]
) -> tuple[StagedPerson, ...]:
    """Transform people to the axes of each frame's camera, or of one camera for all frames."""
    turn = torch.from_numpy(np.stack([camera.rotation for camera in cameras]))
    shift = torch.from_numpy(np.stack([camera.translation for camera in cameras]))
    people = []
    for actor, motion in zip(actors, performances, strict=True):
        rotations = motion.rotations.clone()
        rotations[:, 0] = turn @ rotations[:, 0]
        root = (turn @ motion.pelvis[..., None])[..., 0] + shift
        trans = body.translation_of_root(root, actor.betas[None])
        people.append(StagedPerson(actor.mesh, actor.betas, rotations, trans, motion.activities))
    return tuple(people)


_MIN_DISTANCE = 0.8  # metres between the lens and people
_PATH_PROPS = (14, 26)  # min and max number of props around a camera's path


def _sample_safe_path(
    random: np.random.Generator, performances: Sequence[Performance], options: SceneOptions
) -> tuple[SceneCamera, ...]:
    """Draw a path with a distance from people, if there is one."""
    assert options.path is not None
    pelvis = [motion.pelvis.numpy() for motion in performances]
    for _ in range(_TRIES):
        path = sample_path(random, options.path, pelvis[0], options.size, options.frame_rate)
        lenses = np.stack([camera.position for camera in path])
        distances = [float(np.linalg.norm((lenses - points)[:, [0, 2]], axis=1).min()) for points in pelvis]
        if min(distances) > _MIN_DISTANCE:
            break
    return path


def _sample_surroundings(
    random: np.random.Generator, path: Sequence[SceneCamera], joints: Sequence[Array]
) -> list[Prop]:
    """Draw props on the floor around a camera's path, none on it or in front of the first person."""
    people = np.concatenate(list(joints))[:, [0, 2]]
    lenses = np.stack([camera.position for camera in path])[:, [0, 2]]
    subject = joints[0].reshape(len(path), -1, 3).mean(1)[:, [0, 2]]
    # Points between the lens and the person must stay free.
    sight = (lenses[:, None] + np.linspace(0, 1, 9)[:, None] * (subject - lenses)[:, None]).reshape(-1, 2)
    occupied = np.concatenate((sight, people))
    low, high = occupied.min(0) - 5, occupied.max(0) + 5
    props = []
    for _ in range(int(random.integers(*_PATH_PROPS))):
        prop, radius = _standing_prop(random)
        point, turn = random.uniform(low, high), random.uniform(0, 2 * math.pi)
        if np.linalg.norm(occupied - point, axis=1).min() > radius + 0.35:
            props.append(replace(prop, solid=move_solid(prop.solid, np.array([point[0], 0, point[1]]), turn=turn)))
    return props


def _stage_actors(
    random: np.random.Generator, body: Body, actors: Sequence[Actor]
) -> tuple[list[Performance], list[NDArray[np.float32]]]:
    """Put performances on the floor, the first in the middle; also returns the joints and crown (T · 25, 3) of each."""
    head = SMPL24.index("head")
    performances: list[Performance] = []
    joints: list[NDArray[np.float32]] = []
    for actor in actors:
        motion = on_floor(body, actor.performance, actor.betas)
        heading = random.uniform(-math.pi, math.pi)
        spread = 0.0 if motion.is_joined else math.pi  # each separate pose (of a pair) has a random heading
        headings = heading + random.uniform(-spread, spread, len(motion)) * (np.arange(len(motion)) > 0)
        motion = turn_motion(motion, heading if motion.is_joined else torch.from_numpy(headings.astype(np.float32)))
        with torch.no_grad():
            trans = body.translation_of_root(motion.pelvis, actor.betas[None])
            pose = body.pose(motion.rotations, actor.betas[None], trans, vertices=False)
        crown = pose.joints[:, head] + pose.rotations[:, head] @ torch.tensor(_CROWN)
        points = torch.cat((pose.joints, crown[:, None]), 1).reshape(-1, 3).numpy()
        if performances:
            shift = torch.from_numpy(_free_shift(random, joints, points))
            motion = replace(motion, pelvis=motion.pelvis + shift)
            points = points + shift.numpy()
        performances.append(motion)
        joints.append(points)
    return performances, joints


def _free_shift(
    random: np.random.Generator, placed: Sequence[NDArray[np.float32]], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Find a shift (3,) on the floor so that points are about a forearm away from the people placed so far."""
    footprint, occupied = points[:, [0, 2]], np.concatenate(placed)[:, [0, 2]]
    footprint = footprint[:: max(1, len(footprint) // 96), None]
    occupied = occupied[None, :: max(1, len(occupied) // 96)]
    shift = np.zeros(3, np.float32)
    for reach in np.linspace(0.45, 4.0, 24):
        angle = random.uniform(0, 2 * math.pi)
        # Mostly beside and behind the subject, whom people in front would hide.
        depth = reach * math.cos(angle) * (0.5 if math.cos(angle) > 0 else 1.6)
        shift = np.array([reach * math.sin(angle), 0, depth], np.float32)
        if np.linalg.norm(footprint + shift[[0, 2]] - occupied, axis=-1).min() > 0.28:
            break
    return shift
