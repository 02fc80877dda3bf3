"""A scene: who stands where in which poses, before which camera, in which light; drawn at random as a whole.

The world has metres, y up and the floor at y = 0; labels are in camera axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.synthetic.backgrounds import Background, ImageFolder, sample_background
from humanpose_cli.synthetic.cameras import CameraOptions, Degradation, SceneCamera, sample_camera, sample_degradation
from humanpose_cli.synthetic.lighting import SceneLighting, sample_lighting
from humanpose_cli.synthetic.mesh import DressedMesh
from humanpose_cli.synthetic.poses import Performance, on_floor, turned
from humanpose_cli.synthetic.props import Prop, sample_props, seat_for

__all__ = ["Actor", "SceneDescription", "SceneOptions", "StagedPerson", "sample_scene"]


_CROWN = (0.0, 0.2, 0.02)  # metres from the head joint, head axes


@dataclass(frozen=True, eq=False)
class Actor:
    """Somebody to be put on the stage: dressed for betas (10,), with what they do."""

    mesh: DressedMesh
    betas: Tensor
    performance: Performance


@dataclass(frozen=True, eq=False)
class StagedPerson:
    """Somebody on the stage.

    rotations  (T, 24, 3, 3) parent-relative, the pelvis body to camera; trans (T, 3) metres, camera axes: the root is
               the shaped rest pelvis + trans
    betas      (10,); activities and family of the poses as in `Performance`
    """

    mesh: DressedMesh
    betas: Tensor
    rotations: Tensor
    trans: Tensor
    activities: tuple[str, ...]
    family: str


@dataclass(frozen=True)
class SceneOptions:
    """How scenes are drawn.

    size        (height, width) pixels
    camera      see `CameraOptions`
    furniture, in_front, cards  probabilities of things around, before people and near the lens
    picture_share  of scenes before a given image, where there are any
    damage      strength of blur, noise and the like: 0 for none
    turn_poses  radians: poses that stand for themselves (pairs) are turned on their spot by up to this, each anew
    """

    size: tuple[int, int] = (256, 256)
    camera: CameraOptions = field(default_factory=CameraOptions)
    furniture: float = 0.5
    in_front: float = 0.3
    picture_share: float = 0.6
    cards: float = 0.06
    damage: float = 1.0
    turn_poses: float = math.pi


@dataclass(frozen=True, eq=False)
class SceneDescription:
    """Everything that decides T images of the same people in the same surroundings; plain arrays, can be pickled.

    people       in the order of the label `persons`; the first is the one that the camera frames
    images     the folder that a background's image comes from
    noise_seed   decides the sensor's noise of every frame
    """

    camera: SceneCamera
    lighting: SceneLighting
    background: Background
    props: tuple[Prop, ...]
    people: tuple[StagedPerson, ...]
    degradation: Degradation
    noise_seed: int
    images: ImageFolder | None = None

    def __len__(self) -> int:
        return len(self.people[0].rotations) if self.people else 1


def sample_scene(
    random: np.random.Generator,
    body: Body,
    actors: Sequence[Actor],
    options: SceneOptions | None = None,
    *,
    images: ImageFolder | None = None,
) -> SceneDescription:
    """Put people on a stage at random; `random` decides everything.

    actors  the first is framed by the camera, with all of their frames; the others stand around. All performances
            have the same number of frames. UsageError where they do not, or without actors.
    """
    options = options or SceneOptions()
    if not actors or len({len(actor.performance) for actor in actors}) != 1:
        raise UsageError("actors", "do not perform together", expected="one or more with the same number of frames")
    placed, joints = _placed(random, body, actors, options)
    framing = options.camera
    if len(actors[0].performance) > 1:
        # Whoever moves through an enlarged image would be outside of it in some frames.
        framing = replace(framing, enlarged=(1.02, 1.25))
    camera = sample_camera(random, joints[0], options.size, framing)
    background = sample_background(random, images, options.picture_share)
    lens = camera.position - joints[0].mean(0)
    lighting = sample_lighting(random, math.atan2(lens[0], lens[2]), indoor=background.indoor)
    props = sample_props(
        random, camera, joints, around=options.furniture, in_front=options.in_front, cards=options.cards
    )
    for actor, each in zip(actors, joints, strict=True):
        if actor.performance.family == "chair" and (actor.performance.joined or len(actor.performance) == 1):
            pelvis, *knees = each[list(SMPL24.indices(("pelvis", "left_knee", "right_knee")))]
            props.append(seat_for(random, pelvis, np.stack(knees)))
    people = tuple(
        _before_camera(body, actor, performance, camera) for actor, performance in zip(actors, placed, strict=True)
    )
    degradation = sample_degradation(random, options.size, options.damage) if options.damage > 0 else Degradation()
    return SceneDescription(
        camera, lighting, background, tuple(props), people, degradation, int(random.integers(2**31)), images
    )


def _placed(
    random: np.random.Generator, body: Body, actors: Sequence[Actor], options: SceneOptions
) -> tuple[list[Performance], list[NDArray[np.float32]]]:
    """Performances on the floor and the joints and crown (T · 25, 3) of each, world axes; the first in the middle."""
    head = SMPL24.index("head")
    placed: list[Performance] = []
    joints: list[NDArray[np.float32]] = []
    for actor in actors:
        motion = on_floor(body, actor.performance, actor.betas)
        heading = random.uniform(-math.pi, math.pi)
        spread = 0.0 if motion.joined else options.turn_poses
        each = heading + random.uniform(-spread, spread, len(motion)) * (np.arange(len(motion)) > 0)
        motion = turned(motion, heading if motion.joined else torch.from_numpy(each.astype(np.float32)))
        with torch.no_grad():
            trans = _trans(body, actor.betas, motion.pelvis)
            posed = body.pose(motion.rotations, actor.betas[None], trans, vertices=False)
        crown = posed.joints[:, head] + posed.rotations[:, head] @ torch.tensor(_CROWN)
        points = torch.cat((posed.joints, crown[:, None]), 1).reshape(-1, 3).numpy()
        if placed:
            shift = torch.from_numpy(_free_spot(random, joints, points))
            motion = replace(motion, pelvis=motion.pelvis + shift)
            points = points + shift.numpy()
        placed.append(motion)
        joints.append(points)
    return placed, joints


def _trans(body: Body, betas: Tensor, pelvis: Tensor) -> Tensor:
    """Translations (T, 3) that bring the pelvis of a body to positions (T, 3), whatever axes these are in."""
    return pelvis - body.rest_joints(betas[None])[:, SMPL24.index("pelvis")]


def _free_spot(
    random: np.random.Generator, others: Sequence[NDArray[np.float32]], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(3,) shift on the floor that keeps people about a forearm apart from each other."""
    taken = np.concatenate(others)[:, [0, 2]]
    own = points[:, [0, 2]]
    shift = np.zeros(3, np.float32)
    for reach in np.linspace(0.45, 4.0, 24):
        angle = random.uniform(0, 2 * math.pi)
        # Beside and behind more often than in front, where they would hide the subject.
        depth = reach * math.cos(angle) * (0.5 if math.cos(angle) > 0 else 1.6)
        shift = np.array([reach * math.sin(angle), 0, depth], np.float32)
        moved = own + shift[[0, 2]]
        distance = np.linalg.norm(
            moved[:: max(1, len(moved) // 96), None] - taken[None, :: max(1, len(taken) // 96)], axis=-1
        )
        if distance.min() > 0.28:
            break
    return shift


def _before_camera(body: Body, actor: Actor, motion: Performance, camera: SceneCamera) -> StagedPerson:
    turn = torch.from_numpy(camera.rotation)
    rotations = motion.rotations.clone()
    rotations[:, 0] = turn @ rotations[:, 0]
    pelvis = (turn @ motion.pelvis[..., None])[..., 0] + torch.from_numpy(camera.translation)
    trans = _trans(body, actor.betas, pelvis)
    return StagedPerson(actor.mesh, actor.betas, rotations, trans, motion.activities, motion.family)
