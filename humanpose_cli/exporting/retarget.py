"""The motion of a person on another skeleton, whose feet stand where the person's do.

A bone rotates by A C B: A is the person's rotation from the T pose, C is the rotation from the direction of the resting
bone to that of the person's in the T pose, and B are the axes of the resting bone. C is 1 for trunk, neck and collars,
because backs of characters differ; feet turn about the vertical only, because heels do.

Positions are scaled by the ratio of the legs' lengths about the ground below the person's first position. While a foot
stands, the hips move so that the ball of the foot stays at its mean position, and legs swing by up to 1°.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.exporting.motion import PersonMotion
from humanpose_cli.exporting.rigs import SIDES, Rig
from humanpose_cli.exporting.skins import SkinnedMesh
from humanpose_cli.geometry.rotations import rotation_between

Array = NDArray[Any]

_SPEED = 0.25  # metres a second, maximum of a foot that stands
_HIGHER = 0.12  # metres, maximum height of a foot that stands above the other one
_FADE = 0.15  # seconds in which a foot comes to stand, or leaves
_SMOOTH = 0.05  # seconds, standard deviation by which the correction of the hips' path is smoothed
_STEP = 0.04  # metres, maximum distance of a standing foot from the ground
_SOFT = 0.01  # metres, difference of heights at which the lower foot bears the person
_MOST = 0.017  # radians, maximum rotation of a leg whose foot stands
_AFTER = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist", "wrist": "middle1", "ankle": "foot"}
_AFTER |= {
    f"{finger}{i}": f"{finger}{i + 1}" for finger in ("thumb", "index", "middle", "ring", "pinky") for i in (1, 2)
}


def _t_pose(person: PersonMotion) -> Array:
    """Return the joints (J, 3) in the T pose, metres in body axes, with mean lengths; the origin is below ankles."""
    joints, scales = np.zeros_like(person.joints), person.scales.mean(0)
    for parent, joint in person.skeleton.bones:
        joints[joint] = joints[parent] + scales[parent] * person.rest_rotations[parent] @ person.offsets[joint]
    ankles = person.skeleton.indices(("left_ankle", "right_ankle"))
    height = person.joints[ankles, 1].mean() - person.vertices[:, 1].min()
    return joints - joints[ankles].mean(0) + np.array((0, height, 0))


def _rotation(source: Array, target: Array) -> Array:
    """Return the smallest rotation (…, 3, 3) from one direction (…, 3) to another."""
    return rotation_between(torch.from_numpy(source), torch.from_numpy(target)).numpy()


def fitted(rig: Rig, person: PersonMotion, meshes: Sequence[SkinnedMesh]) -> tuple[Rig, list[SkinnedMesh]]:
    """Give a rig of another program the person's proportions, and the person's surfaces its bones.

    Returns:
        The rig without the bones of joints that the person lacks, and the meshes at rest in the rig's pose.
    """
    skeleton, joints, own_axes = person.skeleton, _t_pose(person), person.rest_rotations @ person.bone_axes
    turns, posed, children = np.tile(np.eye(3), (len(skeleton), 1, 1)), joints.copy(), dict(skeleton.bones[::-1])
    for joint, (name, parent) in enumerate(zip(skeleton.joint_names, skeleton.parents, strict=True)):
        if parent >= 0:
            turns[joint] = turns[parent]
            posed[joint] = posed[parent] + turns[parent] @ (joints[joint] - joints[parent])
        if name in rig.rest:
            turns[joint] = _rotation(joints[children[joint]] - joints[joint], rig.rest[name]) @ turns[joint]
    rows = [row for row in range(len(rig.bones)) if row not in rig.sources or rig.sources[row].second in skeleton]
    positions, axes = np.zeros((len(rows), 3)), np.tile(np.eye(3), (len(rows), 1, 1))
    bone_of = np.full(len(skeleton), -1)
    for new, row in enumerate(rows):
        if row in rig.sources:
            a, b = skeleton.indices(rig.sources[row][:2])
            positions[new] = posed[a] + rig.sources[row].position * (posed[b] - posed[a])
            axes[new] = turns[a] @ (rig.axes[row] if len(rig.axes) else own_axes[a])
            bone_of[a] = new if rig.sources[row].position == 0 else bone_of[a]
    for parent, joint in skeleton.bones:
        bone_of[joint] = bone_of[parent] if bone_of[joint] < 0 else bone_of[joint]
    linear = turns @ person.rest_rotations * person.scales.mean(0)[:, None, None]
    bones, sources = [rig.bones[row] for row in rows], [rig.sources.get(row) for row in rows]
    parents = np.array([rows.index(rig.parents[row]) if rig.parents[row] >= 0 else -1 for row in rows])
    rig = replace(rig, bones=tuple(bones), parents=parents, positions=positions, axes=axes)
    rig = replace(rig, sources={row: source for row, source in enumerate(sources) if source is not None})
    moved = []
    for mesh in meshes:
        vertices = mesh.posed(linear, person.joints, posed)
        weights = np.zeros((len(vertices), len(rows)))
        np.add.at(weights, (np.arange(len(vertices))[:, None], bone_of[mesh.bones]), mesh.weights)
        strongest = np.argsort(-weights, axis=1, kind="stable")[:, : mesh.bones.shape[1]]
        weights = np.take_along_axis(weights, strongest, 1)
        moved.append(replace(mesh, vertices=vertices, bones=strongest, weights=weights))
    return rig, moved


def retargeted(person: PersonMotion, rig: Rig, seconds: Array, *, grounded: bool = False) -> PersonMotion:
    """Move a rig as a person.

    Args:
        person: The person.
        rig: The rig, with positions and axes.
        seconds: (F,) float, seconds. Times of the fit's frames.
        grounded: Whether the world's ground is level and at height 0.

    Returns:
        The motion of the rig's bones, in the world, or turned to the upward direction of its file.
    """
    turns, path = _Move(person, rig, seconds[person.frames], grounded).standing()
    up, hips, parents = np.array((0.0, 1, 0)), rig.rows["pelvis"], rig.parents
    to_file = _rotation(up, up @ rig.to_body)
    turns, axes = to_file @ turns, to_file @ rig.axes
    while (hips := parents[hips]) >= 0:  # these bones do not move
        turns[:, hips] = rig.to_body.T @ rig.axes[hips]
    at_zero = axes if rig.is_baked else np.tile(np.eye(3), (len(axes), 1, 1))

    def local(rotations: Array) -> Array:
        relative = np.swapaxes(rotations[:, parents], -1, -2) @ rotations
        return np.where((parents >= 0)[:, None, None], relative, rotations)

    skeleton = Skeleton("rig", rig.bones, tuple(rig.bones[parent] if parent >= 0 else "" for parent in parents))
    free = local(turns @ np.swapaxes(axes, -1, -2) @ at_zero)
    still, rest = np.ones(turns.shape[:2]), np.swapaxes(at_zero, -1, -2)
    person = replace(person, joints=rig.positions @ to_file.T, skeleton=skeleton, rotations=local(turns), relative=free)
    person = replace(person, pelvis=path @ to_file.T, scales=still, rest_rotations=rest, axes=axes, unit=rig.unit)
    return replace(person, hips=rig.rows["pelvis"])


class _Move:
    """The rotations of a rig's bones and the path of its hips."""

    def __init__(self, person: PersonMotion, rig: Rig, times: Array, grounded: bool) -> None:
        self.names, self.rig, self.times, self.grounded = person.skeleton, rig, times, grounded
        self.rest, self.rows = _t_pose(person), rig.rows
        absolute = person.relative.copy()
        self.joints = np.repeat(person.pelvis[:, None], len(self.names), 1)
        for parent, joint in self.names.bones:
            bone = absolute[:, parent] @ person.rest_rotations[parent] @ person.offsets[joint]
            self.joints[:, joint] = self.joints[:, parent] + person.scales[:, parent, None] * bone
            absolute[:, joint] = absolute[:, parent] @ absolute[:, joint]
        self.turns, aligned = np.tile(rig.axes, (len(times), 1, 1, 1)), self._aligned()
        self.sources = {row: source for row, source in rig.sources.items() if source.first in self.names}
        for row, (first, second, _, share) in self.sources.items():
            turn = absolute[:, self.names.index(first)]
            if share:
                other = absolute[:, self.names.index(second)]
                between = Rotation.from_matrix(np.swapaxes(turn, 1, 2) @ other).as_rotvec()
                turn = turn @ Rotation.from_rotvec(share * between).as_matrix()
            self.turns[:, row] = turn @ aligned[row] @ rig.axes[row]

    def _aligned(self) -> Array:
        """Find the rotations (B, 3, 3) of the resting bones to the directions of the person's T pose."""
        joints = {row: joint for joint, row in self.rows.items()}
        result = np.tile(np.eye(3), (len(self.rig.bones), 1, 1))
        for row, parent in enumerate(self.rig.parents):
            joint = joints.get(row, "")
            side, _, part = joint.partition("_")
            if part not in ("hip", "collar", "ankle") and parent >= 0:
                result[row] = result[parent]
            ways = self._ways(joint, f"{side}_{_AFTER.get(part)}")
            if ways is None:
                continue
            if part == "ankle":
                ways = ways * (1, 0, 1)
            result[row] = _rotation(result[row] @ ways[0], ways[1]) @ result[row]
            palm = self._ways(f"{side}_pinky1", f"{side}_index1") if part == "wrist" else None
            if palm is not None:  # the hand turns about its direction; the forearm takes half of the angle
                hand = ways[1] / np.linalg.norm(ways[1])
                first, second = (way - hand * (hand @ way) for way in (result[row] @ palm[0], palm[1]))
                angle = np.arctan2(hand @ np.cross(first, second), first @ second)
                result[row] = Rotation.from_rotvec(angle * hand).as_matrix() @ result[row]
                elbow = self.rows[f"{side}_elbow"]
                arm = self.rest[self.names.index(joint)] - self.rest[self.names.index(f"{side}_elbow")]
                result[elbow] = Rotation.from_rotvec(angle / 2 * arm / np.linalg.norm(arm)).as_matrix() @ result[elbow]
        return result

    def _ways(self, joint: str, child: str) -> Array | None:
        """Return the directions (2, 3) between two joints of the rig and of the person, if both have them."""
        own = child if child in self.names else child.replace("middle1", "hand")
        if not {joint, child} <= self.rows.keys() or joint not in self.names or own not in self.names:
            return None
        rig = self.rig.positions[self.rows[child]] - self.rig.positions[self.rows[joint]]
        return np.stack((rig, self.rest[self.names.index(own)] - self.rest[self.names.index(joint)]))

    def _posed(self, turns: Array) -> tuple[Array, Array]:
        """Return the rotations of all bones and their positions (R, B, 3) with the hips at the origin."""
        rig, turns = self.rig, turns.copy()
        positions = np.zeros((len(turns), len(rig.bones), 3))
        for row, parent in enumerate(rig.parents):
            if parent >= 0 and row != self.rows["pelvis"]:
                free = turns[:, parent] @ rig.axes[parent].T
                positions[:, row] = positions[:, parent] + free @ (rig.positions[row] - rig.positions[parent])
                turns[:, row] = turns[:, row] if row in self.sources else free @ rig.axes[row]
        return turns, positions

    def standing(self) -> tuple[Array, Array]:
        """Compute the rotations (R, B, 3, 3) and the path (R, 3) of the hips with feet that stand."""
        rig, rows, times = self.rig, self.rows, self.times
        turns, positions = self._posed(self.turns)
        legs = [f"{side}_{joint}" for joint in ("hip", "knee", "ankle") for side in SIDES]
        ours, theirs = rig.positions[[rows[joint] for joint in legs]], self.rest[self.names.indices(legs)]
        scale = np.divide(*(np.linalg.norm(legs[2:] - legs[:-2], axis=1).sum() for legs in (ours, theirs)))
        balls = [f"{side}_{'foot' if f'{side}_foot' in rows else 'ankle'}" for side in SIDES]
        feet, thighs, hips = *([rows[j] for j in joints] for joints in (balls, legs[:2])), self.names.indices(legs[:2])
        low, moving = self.rest[self.names.indices(balls), 1], self.joints[:, self.names.indices(balls)]
        heights = moving[..., 1] - low
        spans = [self._spans(moving, side) for side in (0, 1)]
        standing = np.concatenate([heights[span, side] for side in (0, 1) for span in spans[side]] or [heights.min(0)])
        ground = 0.0 if self.grounded else float(np.median(standing))
        origin = self.joints[0, 0] * (1, 0, 1) + (0, ground, 0)
        lift = ours[:2, 1].mean() - scale * theirs[:2, 1].mean()
        path = origin + scale * (self.joints[:, hips].mean(1) - origin) + (0, lift, 0) - positions[:, thighs].mean(1)
        shifts, weights = np.zeros((2, len(path), 3)), np.zeros((2, len(path)))
        for side, row in enumerate(feet):
            for span in spans[side]:
                points = path[span] + positions[span, row]
                above = scale * (heights[span, side].mean() - ground)
                above = 0 if self.grounded and abs(above) < _STEP * scale else above
                pin = points.mean(0) * (1, 0, 1) + (0, rig.positions[row, 1] + ground + above, 0)
                shifts[side, span] = pin - points
                edge = np.minimum(times[span] - times[span][0], times[span][-1] - times[span])
                weights[side, span] = np.minimum(edge / _FADE, 1) + 1e-3
        fixed = np.flatnonzero(weights.sum(0))
        if len(fixed):
            weights = weights * np.exp(np.minimum(heights[:, ::-1] - heights, 0) / _SOFT).T  # the lower foot counts
            shift = np.einsum("sr,sri->ri", weights / weights.sum(0).clip(1e-9), shifts)[fixed]
            shift = np.stack([np.interp(times, times[fixed], column) for column in shift.T], 1)
            rate = (len(times) - 1) / max(times[-1] - times[0], 1e-6)
            shift = gaussian_filter1d(shift, _SMOOTH * rate + 1e-3, axis=0, mode="nearest")
            path = path + shift
            for side, name in enumerate(SIDES):
                standing_rows = np.flatnonzero(weights[side])
                if len(standing_rows):
                    nearest = standing_rows[[np.abs(times[standing_rows] - time).argmin() for time in times]]
                    fade = np.maximum(1 - np.abs(times[nearest] - times) / _FADE, 0)
                    self._swing(name, turns, positions, (shifts[side] - shift)[nearest] * (1, 0, 1) * fade[:, None])
        return self._posed(turns)[0], path

    def _spans(self, balls: Array, side: int) -> list[slice]:
        """List the rows in which a foot stands: it does not move, and it is not far above the other one."""
        near = balls[:, side, 1] < balls[..., 1].min(1) + _HIGHER
        slow = np.linalg.norm(np.diff(balls[:, side], axis=0), axis=1) < _SPEED * np.diff(self.times)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], slow & near[1:] & near[:-1], [0]))))
        return [slice(first, last + 1) for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]

    def _swing(self, side: str, turns: Array, positions: Array, offsets: Array) -> None:
        """Rotate a leg about the hip so that the ankle moves by offsets (R, 3); the foot keeps its rotation."""
        thigh, shin, ankle = (self.rows[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        leg = positions[:, ankle] - positions[:, thigh]
        length, far = (np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (leg, offsets))
        swing = _rotation(leg, leg + offsets * np.minimum(1, _MOST * length / far.clip(1e-9)))
        turns[:, thigh], turns[:, shin] = swing @ turns[:, thigh], swing @ turns[:, shin]
