"""Convert two poses to arguments of the part warp: the ten parts' capsules in the source, and each part's motion.

Knoche, Sárándi, Leibe 2020: Reposing Humans by Warping 3D Features, section 3.1, with the numbers in the authors'
code if the paper gives none. Lengths are in the unit of the joints; st is the size of the trunk,

    st = max(|left shoulder − right hip|, |right shoulder − left hip|)

First, in both poses, wrists are moved 20 % farther from the elbow, e + 1.2 (w − e), to include the hand, and ankles
likewise from the knee.

Capsules of the source pose (diameters):
    torso      0.3 st, between all pairs of the shoulders and hips
    head       0.5 st, through the middle m of the ears, from m + 0.3 (neck − m) to m − 0.3 (neck − m); the nose
               replaces the middle of unknown ears
    limbs      0.2 st, along the bone, and a ball of 0.4 st at every wrist and ankle; a thigh's starts at its hip moved
               down, h + 0.1 (h − s) with the shoulder s of its side; only this capsule uses that point

Transforms: the Helmert transform (scale s, rotation R, translation t) of source to target joints, never a reflection.
The result is its inverse, x ↦ Rᵀ (x − t) / s. As in the authors' code, the inverse has the least squares: R and
the means, which map onto each other, are those of the forward least squares, whose scale s₀ becomes
s = Σ |q|² / (s₀ Σ |p|²) for the centred points p of the source and q of the target. Its points are
    torso      shoulders and hips
    head       neck, nose, eyes, ears and shoulders
    limbs      the bone's ends a, b and a third point that fixes the roll about the bone: b or a, whichever is elbow or
               knee, + |d| n, where d leads from there to the anchor, n = unit((b − a) × d). The anchor is the wrist for
               an upper arm, the shoulder for a lower arm, the ankle for a thigh, the hip for a shank.
The authors' third point is on one side; here there is one on either side, ± |d| n with half the weight each. If
the proportions of the limb change, a one-sided point would pull the bone off the target's bone, to opposite sides
for a pose and its mirror image. With two points, the bone maps onto the bone, and mirrored poses give mirrored
transforms.

If the rotation is not determined, it is defined as follows, instead of left to rounding. Points are collinear if their
spread across the line is below 1/1000 of the spread along it, in either pose; the third point counts only if it is off
the line by more.
    torso      keeps its orientation, R = 1
    head       turns with the torso
    limbs      turn with the torso, then by the smallest angle from the bone so turned to the target's bone
The scale then is the ratio of the points' spreads, or the torso's if the source's joints coincide. Joints that
are not finite in either pose (or 10¹² units away, which no fit survives) are left out of the fits. A part that is
unknown (no joint left, or an end of its bone missing) or whose joints coincide in the target (s = 0) gets a transform
of NaN: it reaches nothing. A capsule with an unknown joint in the source is NaN, too: it covers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import combinations

import torch
from torch import Tensor

from humanpose_cli.body.parts import WARPING10
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.engine.dispatch import without_autocast
from humanpose_cli.geometry.similarity import fit_similarity

HIPS_DOWN, ENDS_FURTHER, HEAD_REACH = 0.1, 0.2, 0.3
TORSO_DIAMETER, HEAD_DIAMETER, LIMB_DIAMETER, BALL_DIAMETER = 0.3, 0.5, 0.2, 0.4  # of st
# Points whose spread across their line is below this share of that along it are taken to be in a line.
IN_LINE = 1e-3
# Coordinates whose products overflow float32 are unknown.
TOO_FAR = 1e12

_SIDES = ("left", "right")
_TORSO = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
_HEAD = ("neck", "nose", "left_eye", "right_eye", "left_ear", "right_ear")
_SHOULDERS = ("left_shoulder", "right_shoulder")
# Part → bone's ends and its anchor; the joint that bone and anchor share is the middle one of the limb.
_LIMBS = {
    "upper_arm": ("shoulder", "elbow", "wrist"),
    "lower_arm": ("elbow", "wrist", "shoulder"),
    "thigh": ("hip", "knee", "ankle"),
    "shank": ("knee", "ankle", "hip"),
}
_MIDDLE = {"upper_arm": "elbow", "lower_arm": "elbow", "thigh": "knee", "shank": "knee"}
# Start, end, anchor and middle joint of each limb.
_LIMB_JOINTS = [
    tuple(f"{side}_{joint}" for joint in (*joints, _MIDDLE[limb])) for side in _SIDES for limb, joints in _LIMBS.items()
]
_FITTED_PARTS = ("torso", "head", *(f"{side}_{limb}" for side in _SIDES for limb in _LIMBS))


def _capsule_table() -> list[tuple[str, str, str, float]]:
    """List (part, start, end, diameter in st) of every capsule; ends are joints or points of `_mask_points`."""
    table = [("torso", a, b, TORSO_DIAMETER) for a, b in combinations(_TORSO, 2)]
    table.append(("head", "head_low", "head_high", HEAD_DIAMETER))
    for side in _SIDES:
        for limb, (a, b, _) in _LIMBS.items():
            start = "thigh" if limb == "thigh" else a
            table.append((f"{side}_{limb}", f"{side}_{start}", f"{side}_{b}", LIMB_DIAMETER))
        for limb, end in (("lower_arm", "wrist"), ("shank", "ankle")):
            table.append((f"{side}_{limb}", f"{side}_{end}", f"{side}_{end}", BALL_DIAMETER))
    return table


_CAPSULES = _capsule_table()
_POINTS = (*REPOSING19.joint_names, "head_low", "head_high", "left_thigh", "right_thigh")
CAPSULE_PARTS: tuple[int, ...] = tuple(WARPING10.names.index(part) for part, *_ in _CAPSULES)
"""Row in WARPING10 of each capsule's part."""


@cache
def _part_rows(device: torch.device) -> Tensor:
    """Copy CAPSULE_PARTS to a device, as one tensor whose numbers are checked once."""
    with torch.inference_mode(False):
        return torch.tensor(CAPSULE_PARTS, dtype=torch.int32, device=device)


@lru_cache(maxsize=16)
def _voxel_size_tensor(sizes: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Copy voxel sizes to a device, once, because the host waits for each copy."""
    with torch.inference_mode(False):
        return torch.tensor(sizes, dtype=dtype, device=device)


@dataclass(frozen=True)
class WarpingParts:
    """Arguments of `engine.warping.warp_parts`, with parts in the order of WARPING10.

    Attributes:
        capsules: (B, K, 7) float, in the unit of the joints. Start, end, radius in the source.
        target_to_source: (B, 10, 3, 4) float. Affine maps in the unit of the joints, or of voxels (see `in_voxels`).
    """

    capsules: Tensor
    target_to_source: Tensor

    @property
    def part_of_capsule(self) -> Tensor:
        """(K,) int32. Rows of WARPING10."""
        return _part_rows(self.capsules.device)

    def to(self, device: torch.device) -> WarpingParts:
        """Move the parts to another device."""
        return WarpingParts(self.capsules.to(device), self.target_to_source.to(device))

    def in_voxels(self, voxel_size: Sequence[float]) -> WarpingParts:
        """Convert the maps from the unit of the joints to voxels.

        Args:
            voxel_size: The voxels' size along x, y, z in the unit of the joints: (4, 4, 8) for warp3d's 64 × 64 × 32
                voxels and joints in pixels of a 256 image.
        """
        maps = self.target_to_source
        size = _voxel_size_tensor(tuple(voxel_size), maps.dtype, maps.device)
        linear, offset = maps[..., :3] / size[:, None] * size, maps[..., 3:] / size[:, None]
        return replace(self, target_to_source=torch.cat((linear, offset), -1))


@without_autocast
@torch.no_grad()
def warping_parts(source: Tensor, target: Tensor, *, planar: bool = False) -> WarpingParts:
    """Compute the capsules and transforms that move a person's features from one pose to another.

    Not differentiable: poses are data.

    Args:
        source: (B, 19, 3) float. Joints of REPOSING19 in the frame of the volume: the origin is its first voxel's
            corner, x along the columns, y along the rows, z along the slices, all in one unit.
        target: (B, 19, 3) float. The joints of the other pose.
        planar: Whether to use the maps of the 2-D ablation (section 4.3), affine in x and y; z is unchanged. The
            torso's and the head's map have the least squares over their joints. A limb's maps the rectangle about its
            bone, as wide as the trunk is large in the image of each pose, to the target's, so length and width change
            independently. If points are collinear, or the map would flatten the part, it is the Helmert
            transform of the joints, with rotation 0 and scale 1 if they coincide in the source.
    """
    source, target = _extend_limbs(source), _extend_limbs(target)
    fit = _planar_transforms if planar else _transforms
    linear, offset = fit(source, target)
    return WarpingParts(_capsules(source), torch.cat((linear, offset[..., None]), -1))


def _joint(pose: Tensor, name: str) -> Tensor:
    return pose[:, REPOSING19.index(name)]


def _joints(pose: Tensor, names: Sequence[str]) -> Tensor:
    return pose[:, REPOSING19.indices(names)]


def _both_sides(*joints: str) -> list[str]:
    return [f"{side}_{joint}" for joint in joints for side in _SIDES]


def _extend_limbs(pose: Tensor) -> Tensor:
    """Move wrists and ankles away from elbows and knees; mark coordinates that are too far to fit as unknown."""
    pose = torch.where(pose.abs() < TOO_FAR, pose, torch.nan)
    result = pose.clone()
    a, b = _joints(pose, _both_sides("elbow", "knee")), _joints(pose, _both_sides("wrist", "ankle"))
    result[:, REPOSING19.indices(_both_sides("wrist", "ankle"))] = b + ENDS_FURTHER * (b - a)
    # A joint stays where it is if the other one is not known.
    return torch.where(result.isfinite(), result, pose)


def _capsules(source: Tensor) -> Tensor:
    """Compute capsules (B, K, 7)."""
    trunk = _trunk(source)
    points = torch.cat((source, _mask_points(source)), 1)
    starts, ends = ([_POINTS.index(capsule[i]) for capsule in _CAPSULES] for i in (1, 2))
    radii = trunk[:, None] * torch.tensor([0.5 * d for *_, d in _CAPSULES], dtype=source.dtype, device=source.device)
    return torch.cat((points[:, starts], points[:, ends], radii[..., None]), -1)


def _trunk(pose: Tensor) -> Tensor:
    """Return st (B,) of joints (B, 19, n), without unknown diagonals."""
    diagonals = (_joints(pose, _SHOULDERS) - _joints(pose, ("right_hip", "left_hip"))).norm(dim=-1)
    return torch.fmax(*torch.where(diagonals.isfinite(), diagonals, torch.nan).unbind(-1))


def _mask_points(source: Tensor) -> Tensor:
    """Return ends of capsules that are not joints (B, 4, 3): the head's, and the hips of the thighs' masks."""
    middle = _joints(source, ("left_ear", "right_ear")).mean(1)
    middle = torch.where(middle.isfinite().all(-1, keepdim=True), middle, _joint(source, "nose"))
    down = HEAD_REACH * (_joint(source, "neck") - middle)
    hips, shoulders = _joints(source, _both_sides("hip")), _joints(source, _SHOULDERS)
    lower = hips + HIPS_DOWN * (hips - shoulders)
    head = torch.stack((middle + down, middle - down), 1)
    return torch.cat((head, torch.where(lower.isfinite(), lower, hips)), 1)


@dataclass(frozen=True)
class _Motion:
    """x ↦ scale · rotation · x + translation, from source to target: (B,), (B, 3, 3), (B, 3)."""

    scale: Tensor
    rotation: Tensor
    translation: Tensor


def _transforms(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute target-to-source maps of all parts: (B, 10, 3, 3), (B, 10, 3)."""
    identity = torch.eye(3, dtype=source.dtype, device=source.device).expand(len(source), 3, 3)
    ones = torch.ones_like(source[:, 0, 0])
    torso = _fit(_joints(source, _TORSO), _joints(target, _TORSO), None, identity, ones)
    # Limbs turn with the torso first, then by the smallest angle; without a torso by the smallest angle alone.
    finite = torso.rotation.isfinite().flatten(1).all(1)
    base = torch.where(finite[:, None, None], torso.rotation, identity)
    base_scale = torch.where(finite, torso.scale, ones)
    of_source, of_target = _joints(source, (*_HEAD, *_SHOULDERS)), _joints(target, (*_HEAD, *_SHOULDERS))
    weights = _finite_weights(of_source, of_target)
    # Shoulders alone say nothing of the head.
    weights = weights * (weights[:, : len(_HEAD)].sum(-1, keepdim=True) > 0)
    head = _fit(of_source, of_target, weights, base, base_scale)
    limbs = _limb_motions(source, target, base, base_scale)
    order = [_FITTED_PARTS.index(part) for part in WARPING10.names]
    scale, rotation, translation = (
        torch.cat((getattr(torso, name)[:, None], getattr(head, name)[:, None], getattr(limbs, name)), 1)[:, order]
        for name in ("scale", "rotation", "translation")
    )
    # x = s R y + t  →  y = Rᵀ (x − t) / s; a part of scale 0 has no inverse and becomes NaN.
    inverse = rotation.mT / torch.where(scale > 0, scale, torch.nan)[..., None, None]
    return inverse, -(inverse @ translation[..., None]).squeeze(-1)


def _finite_weights(source: Tensor, target: Tensor) -> Tensor:
    """Weight points (..., N, n) that are finite in both poses by 1, others by 0."""
    return (source.isfinite().all(-1) & target.isfinite().all(-1)).to(source.dtype)


def _fit(source: Tensor, target: Tensor, weights: Tensor | None, rotation: Tensor, scale: Tensor) -> _Motion:
    """Fit the motion of points (B, N, 3) whose inverse has the least squares."""
    # `rotation` is used if the points are collinear, `scale` if the source's coincide.
    weights = _finite_weights(source, target) if weights is None else weights
    source, target = (torch.where(weights[..., None] > 0, p, torch.zeros_like(p)) for p in (source, target))
    fit = fit_similarity(source, target, weights)
    (source_mean, source_spread, source_flat) = _spread(source, weights)
    (target_mean, target_spread, target_flat) = _spread(target, weights)
    # Points in a line leave the turn about it free, and points in one position the scale: both are then given.
    in_line = source_flat | target_flat
    coincide = source_spread <= 1e-6 * (1 + source_mean.norm(dim=-1))
    vanishes = target_spread <= 1e-6 * (1 + target_mean.norm(dim=-1))
    ratio = target_spread / torch.where(coincide, torch.ones_like(source_spread), source_spread)
    ratio = torch.where(coincide, scale, torch.where(vanishes, torch.zeros_like(ratio), ratio))
    turn = torch.where(in_line[:, None, None], rotation, fit.rotation)
    size = torch.where(in_line, ratio, ratio.square() / fit.scale)
    size = torch.where(weights.sum(-1) > 0, size, torch.full_like(size, float("nan")))
    turn = torch.where(size.isfinite()[:, None, None], turn, torch.full_like(turn, float("nan")))
    # The means map onto each other.
    shift = target_mean - size[:, None] * (turn @ source_mean[..., None]).squeeze(-1)
    return _Motion(size, turn, shift)


def _spread(points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (B, n), root of summed squared distances from it, and collinearity of weighted points (B, N, n)."""
    total = weights.sum(-1, keepdim=True).clamp_min(0.5)
    mean = (weights[..., None] * points).sum(1) / total
    offsets = weights.sqrt()[..., None] * (points - mean[:, None])
    along, across = torch.linalg.svdvals(offsets)[:, :2].unbind(-1)
    return mean, offsets.flatten(1).norm(dim=-1), across <= IN_LINE * along


def _limb_motions(source: Tensor, target: Tensor, base: Tensor, scale: Tensor) -> _Motion:
    """Fit the limbs in the order of `_FITTED_PARTS`, (B, 8, …), all as rows of one fit."""
    limbs = len(_LIMB_JOINTS)
    points, off_line = [], []
    for pose in (source, target):
        joints = _joints(pose, [name for names in _LIMB_JOINTS for name in names]).unflatten(1, (limbs, -1))
        starts, ends, anchors, middles = joints.flatten(0, 1).unbind(1)
        # Beside start and end, two points aside of the middle, normal to the plane of bone and anchor, fix the twist.
        bone, to_anchor = ends - starts, anchors - middles
        normal = torch.linalg.cross(bone, to_anchor)
        size = normal.norm(dim=-1, keepdim=True)
        reach = to_anchor.norm(dim=-1, keepdim=True)
        aside = normal / size.clamp_min(1e-30) * reach
        length = bone.norm(dim=-1, keepdim=True)
        # The plane is undefined if the anchor lies along the bone or near its middle.
        off_line.append(((size > IN_LINE * length * reach) & (reach > IN_LINE * length)).squeeze(-1))
        points.append(torch.stack((starts, ends, middles + aside, middles - aside), 1))
    weights = _finite_weights(*points)
    ends_finite = weights[:, :2].prod(-1)
    weights = weights * ends_finite[:, None]  # a bone without both ends is unknown
    weights[:, 2:] *= 0.5 * (off_line[0] & off_line[1]).to(weights.dtype)[:, None]
    bones = [(p[:, 1] - p[:, 0]).nan_to_num(0.0, 0.0, 0.0) for p in points]
    base, scale = base.repeat_interleave(limbs, 0), scale.repeat_interleave(limbs, 0)
    rotation = _smallest_rotation((base @ bones[0][..., None]).squeeze(-1), bones[1]) @ base
    motion = _fit(points[0], points[1], weights, rotation, scale)
    return _Motion(*(value.unflatten(0, (-1, limbs)) for value in (motion.scale, motion.rotation, motion.translation)))


def _smallest_rotation(a: Tensor, b: Tensor) -> Tensor:
    """Return the rotation (B, 3, 3) by the smallest angle from vectors a to the direction of b; 1 if one is zero."""
    # For opposite vectors, it is half a turn about a perpendicular axis.
    identity = torch.eye(3, dtype=a.dtype, device=a.device).expand(len(a), 3, 3)
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    nonzero = (lengths[0] > 0) & (lengths[1] > 0)
    a, b = (v / length.clamp_min(1e-30) for v, length in zip((a, b), lengths, strict=True))
    # Two reflections make the rotation: across the plane normal to a + b, then across that normal to b.
    half = a + b
    weakest = a.abs().argmin(-1, keepdim=True)
    helper = torch.zeros_like(a).scatter_(-1, weakest, 1.0)
    across = torch.linalg.cross(a, helper)
    opposite = half.norm(dim=-1, keepdim=True) < 1e-6
    turn_half = 2 * _outer(across) / across.square().sum(-1)[:, None, None].clamp_min(1e-30) - identity
    sum_squared = half.square().sum(-1)[:, None, None].clamp_min(1e-30)
    to_half = identity - 2 * _outer(half) / sum_squared
    turn = (identity - 2 * _outer(b)) @ to_half
    turn = torch.where(opposite[..., None], turn_half, turn)
    return torch.where(nonzero[..., None], turn, identity)


def _outer(v: Tensor) -> Tensor:
    return v[..., :, None] * v[..., None, :]


def _planar_transforms(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute target-to-source maps of all parts, affine in x and y, identical in z: (B, 10, 3, 3), (B, 10, 3)."""
    widths = [LIMB_DIAMETER / 2 * _trunk(pose[..., :2]) for pose in (source, target)]
    linear, offset = [], []
    for part in WARPING10.names:
        names = _planar_joints(part)
        a, b = _joints(source, names)[..., :2], _joints(target, names)[..., :2]
        weights = _finite_weights(a, b)
        corners = a, b, weights
        if part not in ("torso", "head"):  # limbs are rectangles about their bones, as wide as the trunk decides
            weights = weights * weights.prod(-1, keepdim=True)
            rectangles = _rectangle(a, widths[0]), _rectangle(b, widths[1])
            corners = *rectangles, weights.repeat(1, 2) * _finite_weights(*rectangles)
        affine, usable = _affine_back(*corners)
        similar = _similarity_back(a, b, weights)
        map_back = torch.where(usable[:, None, None], affine, similar)
        matrix = torch.zeros((len(source), 3, 4), dtype=source.dtype, device=source.device)
        matrix[:, 2, 2] = 1
        matrix[:, :2, :2], matrix[:, :2, 3] = map_back[..., :2], map_back[..., 2]
        linear.append(matrix[..., :3])
        offset.append(matrix[..., 3])
    return torch.stack(linear, 1), torch.stack(offset, 1)


def _planar_joints(part: str) -> tuple[str, ...]:
    if part in ("torso", "head"):
        return _TORSO if part == "torso" else (*_HEAD, *_SHOULDERS)
    side, limb = part.split("_", 1)
    return tuple(f"{side}_{joint}" for joint in _LIMBS[limb][:2])


def _rectangle(bones: Tensor, width: Tensor) -> Tensor:
    """Return corners (B, 4, 2) of rectangles about bones (B, 2, 2) with half-widths (B,)."""
    along = bones[:, 1] - bones[:, 0]
    length = along.norm(dim=-1, keepdim=True)
    aside = torch.stack((-along[:, 1], along[:, 0]), -1) / length.clamp_min(1e-30) * width[:, None]
    return torch.cat((bones + aside[:, None], bones - aside[:, None]), 1)


def _affine_back(source: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the affine map (B, 2, 3) from target to source points (B, N, 2), and return whether it is usable (B,)."""
    # It is not usable if points are collinear or the map would flatten its part.
    source, target = (torch.where(weights[..., None] > 0, p, torch.zeros_like(p)) for p in (source, target))
    (source_mean, _, source_flat), (target_mean, _, target_flat) = _spread(source, weights), _spread(target, weights)
    a, b = ((p - mean[:, None]) * weights[..., None] for p, mean in ((source, source_mean), (target, target_mean)))
    identity = torch.eye(2, dtype=source.dtype, device=source.device).expand(len(source), 2, 2)
    in_line = (source_flat | target_flat)[:, None, None]
    linear = torch.linalg.solve(torch.where(in_line, identity, b.mT @ b), b.mT @ a).mT
    strong, weak = torch.linalg.svdvals(linear).unbind(-1)
    usable = ~in_line[:, 0, 0] & (weak > IN_LINE * strong)
    linear = torch.where(usable[:, None, None], linear, identity)
    shift = source_mean - (linear @ target_mean[..., None]).squeeze(-1)
    return torch.cat((linear, shift[..., None]), -1), usable


def _similarity_back(source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the inverse (B, 2, 3) of the Helmert transform of points (B, N, 2)."""
    # As complex numbers, the factor from source to target is Σ ā b / Σ |a|² of the centred points a, b; 1 if the
    # source's coincide, NaN if the target's do.
    points, means = [], []
    for pose in (source, target):
        pose_or_zero = torch.where(weights[..., None] > 0, pose, torch.zeros_like(pose))
        point = torch.complex(pose_or_zero[..., 0], pose_or_zero[..., 1])
        mean = (weights * point).sum(-1) / weights.sum(-1)  # not a number where no joint is known
        points.append(weights * (point - mean[:, None]))
        means.append(mean)
    power = points[0].abs().square().sum(-1)
    product = (points[0].conj() * points[1]).sum(-1)
    vanishes = (power > 0) & (product.abs() <= 1e-9 * power)
    factor = torch.where(power > 0, power / product, torch.ones_like(product))
    factor = torch.where(vanishes, torch.full_like(factor, float("nan")), factor)
    shift = means[0] - factor * means[1]
    rows = (factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag)
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
