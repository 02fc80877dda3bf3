"""The people of a fit as rigged bodies that move in one world: the source of every animation format.

World axes are x right, y up, z towards the first camera. The world has its origin at the first camera, or stands on the
ground (`fitting.grounding`).

With the body's rest rotations Q and absolute part rotations R, a bone rotates by R Q (`PosedBody.linear` without its
scale), and its vertices move from x at rest to q + s R Q (x − j). A joint has the axes B at rest (`bone_axes`), with y
along its bone, because programs such as Blender draw bones along the joints' y axes. A posed joint has the axes R Q B,
and its bind matrix consists of B and j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.fingers import ROOTS
from humanpose_cli.core.conventions import SMPL24, SMPL24_FINGERS, Skeleton
from humanpose_cli.fitting.hands import hand_rotations
from humanpose_cli.fitting.records import body_columns
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.pose_files.target_pose import AXES

Array = NDArray[Any]

TO_Y_UP = AXES["y-up"].T
"""(3, 3) float. Rotation from camera axes to y up, which is its own inverse."""
_POLE = 1e-9  # cosine of the second angle at which the third is chosen as 0


@dataclass(frozen=True, eq=False)
class PersonMotion:
    """One person as a rigged body with R rows in order of time and the mean shape of the rows.

    Attributes:
        track: Track number.
        frames: (R,) int. Index of each row's frame.
        vertices: (V, 3) float, metres in body axes (x to the person's left, y up, z forward). The resting vertices.
        joints: (J, 3) float, metres in body axes. The resting joints.
        skeleton: The J joints: SMPL24, or SMPL24_FINGERS for a fit with hands.
        rotations: (R, J, 3, 3) float. Rotations of bones' axes relative to their parents', of the pelvis to the world.
        relative: (R, J, 3, 3) float. Rotations of parts relative to their parents, identity in the T pose; of the
            pelvis to the world.
        pelvis: (R, 3) float, metres in the world. Position of the pelvis.
        scales: (R, J) float. Scales of bones, 1 for the body's lengths; they do not accumulate.
        rest_rotations: (J, 3, 3) float. Absolute rotations Q of the body at rest.
        axes: (J, 3, 3) float. Axes of the bones of a rig at rest, as columns; None for those along the bones.
        hips: The joint that moves through the world: it has the position `pelvis`.
        unit: Metres of a BVH file's unit.
    """

    track: int
    frames: Array
    vertices: Array
    joints: Array
    skeleton: Skeleton
    rotations: Array
    relative: Array
    pelvis: Array
    scales: Array
    rest_rotations: Array
    axes: Array | None = None
    hips: int = 0
    unit: float = 1.0

    @property
    def name(self) -> str:
        """The name, such as `person0`."""
        return f"person{self.track}"

    @cached_property
    def parents(self) -> Array:
        """(J,) int. The joints' parents, −1 for roots."""
        return np.array(self.skeleton.parents)

    @property
    def offsets(self) -> Array:
        """(J, 3) float, metres. Offset of each joint from its parent at rest; zero for the pelvis."""
        return np.where((self.parents >= 0)[:, None], self.joints - self.joints[self.parents], 0)

    @property
    def rest_offsets(self) -> Array:
        """(J, 3) float, metres. The offsets in the parents' bone axes; of roots, their positions."""
        in_bones = np.einsum("jik,ji->jk", self.bone_axes[self.parents], self.offsets)
        return np.where((self.parents < 0)[:, None], self.joints, in_bones)

    @property
    def rest_axes(self) -> Array:
        """(J, 3, 3) float. Rotations of bones' axes at rest relative to their parents'."""
        axes = self.bone_axes
        return np.where((self.parents < 0)[:, None, None], axes, np.swapaxes(axes[self.parents], 1, 2) @ axes)

    @cached_property
    def bone_axes(self) -> Array:
        """(J, 3, 3) float. Axes of bones at rest, as columns in body axes, see the function `bone_axes`."""
        return bone_axes(self.joints, self.skeleton) if self.axes is None else self.axes

    @property
    def bind_matrices(self) -> Array:
        """(J, 4, 4) float. Maps from bones' axes at rest to body axes."""
        matrices = np.tile(np.eye(4), (len(self.joints), 1, 1))
        matrices[:, :3, :3], matrices[:, :3, 3] = self.bone_axes, self.joints
        return matrices

    @property
    def local_scales(self) -> Array:
        """(R, J) float. Scales relative to the parents', for formats with accumulating scales."""
        return self.scales / np.where(self.parents >= 0, self.scales[:, self.parents], 1)

    @property
    def is_scaled(self) -> bool:
        """Whether any bone is longer or shorter than the body model's."""
        return bool((self.scales != 1).any())

    def in_place(self, up: Array) -> PersonMotion:
        """Return the motion with the pelvis above the point where it is in the first frame; feet then slide.

        Args:
            up: (3,) float. The upward direction of the motion's world.
        """
        first = self.pelvis[0]
        return replace(self, pelvis=first + np.outer((self.pelvis - first) @ up, up))

    def visibility(self, count: int) -> tuple[list[int], Array]:
        """Return frame 0 and each at which the person appears or disappears, and scales (K, 3) from there, 1 or 0.

        There is none if the person is visible in all `count` frames.
        """
        present = np.isin(np.arange(count), self.frames)
        changes = [] if present.all() else [0, *(np.flatnonzero(np.diff(present)) + 1).tolist()]
        return changes, np.repeat(present[changes].astype(float)[:, None], 3, 1)


_OF_HANDS = (("wrist", "hand"), ("hand", "middle1"))
# The joint that a bone with several children leads to.
_NEXT = {
    "pelvis": "spine1",
    "spine3": "neck",
    **{f"{side}_{joint}": f"{side}_{child}" for side in ("left", "right") for joint, child in _OF_HANDS},
}


def euler_angles(rotations: Array, order: str = "xyz") -> Array:
    """Convert rotations (R, J, 3, 3) to angles (R, J, 3) about x, y and z, degrees.

    A rotation turns about the fixed axes in the given order, which is about moving axes in the reverse order. Of the
    two triples of a rotation, and their complete turns, each row takes the one nearest to the row before.
    SciPy's conversion is not used, because it warns where the second angle is a right one.
    """
    axes = np.array(["xyz".index(axis) for axis in order])
    sign = np.linalg.det(np.eye(3)[axes])  # of angles, after the axes are renamed to x, y and z
    rotations = rotations[..., axes[:, None], axes]
    (a, _, _), (b, e, f), (c, h, i) = np.moveaxis(rotations, (-2, -1), (0, 1))
    cosine = np.hypot(a, b)
    regular = cosine > _POLE
    x = np.where(regular, np.arctan2(h, i), np.arctan2(-f, e))
    z = np.where(regular, np.arctan2(b, a), 0.0)
    angles = np.degrees(np.stack((x, np.arctan2(-c, cosine), z), -1))
    for row in range(1, len(angles)):
        before = angles[row - 1]
        choices = np.stack((angles[row], angles[row] * (1, -1, 1) + 180))
        choices += 360 * np.rint((before - choices) / 360)
        best = np.abs(choices - before).sum(-1).argmin(0)
        angles[row] = np.where(best[:, None] == 0, choices[0], choices[1])
    return sign * angles[..., np.argsort(axes)]


def bone_axes(joints: Array, skeleton: Skeleton) -> Array:
    """Choose the axes (J, 3, 3), as columns, of bones between resting joints (J, 3).

    y is along the bone, z as far forward as possible, or up for bones that point forward. The last bone of a limb has
    the direction of the bone before.
    """
    children = dict(skeleton.bones)
    children |= {skeleton.index(joint): skeleton.index(child) for joint, child in _NEXT.items() if child in skeleton}
    along = np.zeros_like(joints)
    for joint, parent in enumerate(skeleton.parents):  # parents stand before their children
        along[joint] = joints[children[joint]] - joints[joint] if joint in children else along[parent]
    y = along / np.linalg.norm(along, axis=1, keepdims=True)
    is_forward = (y[:, 2] > np.sqrt(0.5))[:, None]
    x = np.cross(y, np.where(is_forward, (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack((x, y, np.cross(x, y)), -1)


def person_motion(fit: Fit, track: int, body: Body | None = None) -> PersonMotion:
    """Compute the motion of one track of a fit; `body` is needed for a SMPL fit that was read from a file."""
    body, rows = fit.body_model(body), fit.rows_of(track)
    skeleton, parents = SMPL24, np.array(SMPL24.parents)
    betas = torch.from_numpy(fit.betas[rows].astype(np.float64).mean(0).astype(np.float32))[None]
    scales = torch.from_numpy(fit.segment_scales[rows])
    relative = axis_angle_to_matrix(torch.from_numpy(fit.poses[rows].astype(np.float64)).view(len(rows), -1, 3))
    with torch.no_grad():
        rest = body.rest(betas)
        posed_body = body.pose(relative.float(), betas, segment_scales=scales, vertices=False)
    to_world = TO_Y_UP @ fit.world_to_camera[fit.frame_index[rows], :3, :3].astype(np.float64).transpose(0, 2, 1)
    scales = scales.double()
    joints, linear = rest.joints[0], posed_body.linear.double() / scales[..., None, None]
    rest_rotations, hands = body.rest_rotations.double(), hand_rotations(fit, rows)
    if hands is not None and body.fingers is not None:
        skeleton, parents = SMPL24_FINGERS, np.array(SMPL24_FINGERS.parents)
        joints = torch.cat((joints, body.fingers.joints(betas)[0]))
        relative = torch.cat((relative, hands.flatten(1, 2).double()), 1)
        rest_rotations, scales = (
            torch.cat((rest_rotations, rest_rotations[ROOTS])),
            torch.cat((scales, scales[:, ROOTS]), 1),
        )
        turns = rest_rotations.mT @ relative @ rest_rotations
        linear = torch.cat((linear, torch.empty_like(turns[:, len(SMPL24) :])), 1)
        for joint in range(len(SMPL24), len(skeleton)):
            linear[:, joint] = linear[:, parents[joint]] @ turns[:, joint]
    rest_joints = joints.double().numpy()
    bones = linear.numpy() @ bone_axes(rest_joints, skeleton)
    rotations = bones[:, parents].transpose(0, 1, 3, 2) @ bones
    local = relative.numpy().copy()
    rotations[:, parents < 0] = to_world[:, None] @ bones[:, parents < 0]
    local[:, parents < 0] = to_world[:, None] @ local[:, parents < 0]
    pelvis = fit.joints3d[rows, SMPL24.index("pelvis")] - fit.world_to_camera[fit.frame_index[rows], :3, 3]
    return PersonMotion(
        track=track,
        frames=fit.frame_index[rows].astype(np.int64),
        vertices=rest.vertices[0].numpy(),
        joints=rest_joints,
        skeleton=skeleton,
        rotations=rotations,
        relative=local,
        pelvis=np.einsum("rij,rj->ri", to_world, pelvis.astype(np.float64)),
        scales=scales.numpy(),
        rest_rotations=rest_rotations.numpy(),
    )


def with_motions(fit: Fit, people: Sequence[PersonMotion], body: Body) -> Fit:
    """Return the fit with bodies that move as all its people, each with one shape."""
    if not people:
        return fit
    local, pelvis, scales = (np.concatenate([getattr(p, n) for p in people]) for n in ("relative", "pelvis", "scales"))
    camera = fit.world_to_camera[fit.frame_index].astype(np.float64)
    turn = camera[:, :3, :3] @ TO_Y_UP
    local[:, 0] = turn @ local[:, 0]
    root = np.einsum("rij,rj->ri", turn, pelvis) + camera[:, :3, 3]
    shapes = [np.broadcast_to(fit.betas[fit.rows_of(p.track)].mean(0), (len(p.frames), 10)) for p in people]
    betas = torch.from_numpy(np.concatenate(shapes))
    trans = body.translation_of_root(torch.from_numpy(root).float(), betas)
    rotations = torch.from_numpy(local)
    sizes = torch.from_numpy(scales[:, : len(SMPL24)]).float()
    columns, _ = body_columns(fit, body, rotations[:, : len(SMPL24)], betas, trans, sizes)
    if local.shape[1] > len(SMPL24):
        fingers = matrix_to_axis_angle(rotations[:, len(SMPL24) :])
        columns["hand_poses"] = fingers.reshape(len(local), 2, -1, 3).float().numpy()
    return replace(fit, **columns)


@dataclass(frozen=True, eq=False)
class CameraPath:
    """A camera in F frames in the world; its axes are −z forward and y up.

    Attributes:
        rotations: (F, 3, 3) float. Rotations from camera to world.
        positions: (F, 3) float, metres. Positions in the world.
        focal: (F,) float, pixels. Focal lengths.
        size: (F, 2) int, pixels. Width and height of the images.
        centre: (F, 2) float, pixels. Principal points.
    """

    rotations: Array
    positions: Array
    focal: Array
    size: Array
    centre: Array

    @classmethod
    def all_of(cls, fit: Fit) -> dict[str, CameraPath]:
        """Return the cameras of a fit by name."""
        paths = {}
        for camera in fit.cameras:
            turn = camera.world_to_camera[:, :3, :3].transpose(0, 2, 1)
            positions = -np.einsum("fij,fj->fi", turn, camera.world_to_camera[:, :3, 3]) @ TO_Y_UP.T
            focal, centre = (each.astype(np.float64) for each in (camera.focal, camera.principal_point))
            size = camera.image_size.astype(np.int64)
            paths[camera.name] = cls(TO_Y_UP @ turn @ TO_Y_UP, positions, focal, size, centre)
        return paths

    @property
    def is_moving(self) -> bool:
        """Whether it turns or moves."""
        return bool((self.rotations != self.rotations[0]).any() or (self.positions != self.positions[0]).any())
