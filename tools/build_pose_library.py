"""Build a pose library: motion capture of 21 joints → joint rotations of the default body.

    python tools/build_pose_library.py CLIPS.npz humanpose_cli/body/data/pose_library.npz
    python tools/build_pose_library.py CLIPS.npz MORE.npz library.npz && hpc train lifter --data library.npz

Each file holds `joints` (N, 21, 3) metres or `joints_mm`, y up, `joint_name`, `clip_start` and `clip_name`
"split/activity/take" at 30 frames a second. Files are solved one by one, because skeletons differ in what a trunk is.
Soccer, washing a window and clips whose split is "held_out" are held out. `clip_kind` "daz" (limbs turned by
constants) neither trains nor calibrates. The first line builds the shipped library (5 s), the second one that of the
shipped lifter (a minute, 6 MB). The source of both is the CMU Graphics Lab Motion Capture Database
(mocap.cs.cmu.edu), created with funding from NSF EIA-0196217.

Rotations follow in closed form from bone directions; only where a limb's roll cannot be told (a straight elbow or
knee) a choice is made, the one that turns least. Constant offsets between the two skeletons' definitions (how a
pelvis, a neck, a foot or a hand is oriented when the person just stands) are taken out with the means over calm
walking. Limbs then point exactly as recorded; only wrists are held inside the joint limits, because the recordings do
not tell how the forearm is turned.

In a few places the recording's root tumbles through a turn within a frame or two, which no person does (angles that
were averaged across their wrap). Those places are cut out with a margin, and the clip goes on as another clip.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, normalize

from humanpose_cli.body.body import default_body
from humanpose_cli.body.joint_angles import (
    angles_to_rotations,
    joint_limits,
    limit_excess,
    rotations_to_angles,
)
from humanpose_cli.body.pose_library import PELVIS_QUANTUM, POSE_QUANTUM, encode_steps
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.geometry.rotations import (
    axis_angle_to_matrix,
    geodesic_angle,
    matrix_to_axis_angle,
    rotation_between,
)

HELD_OUT = ("soccer", "washwindow")
FRAME_RATE = 30.0
JUMP_MARGIN = 12  # frames cut on both sides of a jump
SHORTEST = 25  # frames of a clip
TURNED = "daz"  # kind of the clips whose limbs are turned by constants
SIDES = ("left", "right")
SOLES = ("left_heel", "right_heel", "left_foot_index", "right_foot_index")


@dataclass(frozen=True)
class Clips:
    """Joints (N, 21, 3) in metres, and calm (N,), frames of plain walking, which define the upright posture."""

    joints: Tensor
    names: list[str]
    starts: np.ndarray
    clip_names: list[str]
    calm: Tensor

    def __getitem__(self, joint: str) -> Tensor:
        return self.joints[:, self.names.index(joint)]

    def direction(self, start: str, end: str) -> Tensor:
        return normalize(self[end] - self[start], dim=-1)


def read_clips(path: Path) -> Clips:
    with np.load(path) as file:
        joints = file["joints"] if "joints" in file else file["joints_mm"] / np.float32(1000)
        names, starts = file["joint_name"].tolist(), file["clip_start"]
        clip_names = file["clip_name"].tolist()
        kinds = file["clip_kind"].tolist() if "clip_kind" in file else [""] * len(clip_names)
    lengths = np.diff(starts)
    is_used = np.array(
        [kind != TURNED or split_of(name) != "train" for name, kind in zip(clip_names, kinds, strict=True)]
    )
    is_calm = np.array(
        [name.split("/")[1] == "walking" and kind != TURNED for name, kind in zip(clip_names, kinds, strict=True)]
    )
    frames = np.repeat(is_used, lengths)
    return Clips(
        torch.from_numpy(joints[frames].astype(np.float32)),
        names,
        np.cumsum([0, *lengths[is_used]]),
        [name for name, used in zip(clip_names, is_used, strict=True) if used],
        torch.from_numpy(np.repeat(is_calm, lengths)[frames]),
    )


def split_of(clip: str) -> str:
    """Split of a clip "split/activity/take"."""
    split, activity, _ = clip.split("/")
    return "held_out" if split == "held_out" or activity in HELD_OUT else "train"


def rest_directions() -> dict[str, Tensor]:
    """Direction of every bone of the default body in the T pose, by the name of its child joint, and 'head_top'."""
    body = default_body(learned_landmarks=False)
    identity = torch.eye(3).expand(1, len(SMPL24), 3, 3)
    with torch.no_grad():
        joints = body.pose(identity, torch.zeros(1, body.shape_directions.shape[-1]), vertices=False).joints[0]
    bones = {
        SMPL24.joint_names[child]: normalize(joints[child] - joints[parent], dim=-1) for parent, child in SMPL24.bones
    }
    for side in SIDES:  # seen from the neck, as the recordings know it
        shoulder = joints[SMPL24.index(f"{side}_shoulder")] - joints[SMPL24.index("neck")]
        bones[f"{side}_girdle"] = normalize(shoulder, dim=-1)
    return bones


def frame(x: Tensor, up: Tensor) -> Tensor:
    """Return the rotations (N, 3, 3) with first column x and the second column in the plane of x and `up`."""
    x = normalize(x, dim=-1)
    y = normalize(up - (x * up).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -1)


def mean_direction(directions: Tensor) -> Tensor:
    return normalize(directions.mean(0), dim=-1)


def sagittal_only(direction: Tensor) -> Tensor:
    """Remove the sideways part of a direction."""
    return normalize(direction * direction.new_tensor([0.0, 1.0, 1.0]), dim=-1)


def level(orientation: Tensor, calm: Tensor) -> Tensor:
    """Pitch a trunk frame by the constant that makes it upright on average over calm frames."""
    up = torch.tensor([0.0, 1.0, 0.0])
    mean_up = sagittal_only(mean_direction((orientation.mT @ up)[calm]))
    return orientation @ rotation_between(up, mean_up)


def scaled(rotation: Tensor, factor: float) -> Tensor:
    """Scale the angle of a rotation."""
    return axis_angle_to_matrix(factor * matrix_to_axis_angle(rotation))


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def hinged(parent: Tensor, rest: Tensor, upper: Tensor, lower: Tensor, hinge: Tensor, hint: Tensor | None) -> Tensor:
    """Return the absolute rotation of an upper arm or thigh, with the bend to `lower` about its hinge.

    parent (N,3,3); rest (3,) direction of the bone in the T pose; upper, lower (N,3) directions; hinge (3,) axis of
    positive flexion in the T pose; hint (N,3) a direction that the hinge should take where the limb is straight
    (None: as the parent carries it without twist).
    """
    swing = rotation_between(parent @ rest, upper) @ parent
    carried = swing @ hinge
    bend = torch.linalg.cross(upper, lower)
    straight = carried if hint is None else hint
    trust = smoothstep(bend.norm(dim=-1), 0.08, 0.35)[:, None]
    axis = trust * normalize(bend, dim=-1) + (1 - trust) * normalize(straight, dim=-1)
    axis = normalize(axis - (axis * upper).sum(-1, keepdim=True) * upper, dim=-1)
    carried = normalize(carried - (carried * upper).sum(-1, keepdim=True) * upper, dim=-1)
    return rotation_between(carried, axis) @ swing


def solve_trunk(clips: Clips, rest: dict[str, Tensor], absolute: dict[str, Tensor]) -> None:
    hips = clips.direction("right_hip", "left_hip")
    shoulders = clips.direction("right_shoulder", "left_shoulder")
    centre = (clips["left_hip"] + clips["right_hip"]) / 2
    pelvis = level(frame(hips, clips["pelvis"] - centre), clips.calm)
    chest = level(frame_up(clips.direction("spine", "neck"), shoulders), clips.calm)
    absolute["pelvis"] = pelvis
    curve = pelvis.mT @ chest
    for number in (1, 2, 3):
        absolute[f"spine{number}"] = pelvis @ scaled(curve, number / 3)
    neck = (chest.mT @ clips.direction("neck", "head")[..., None]).squeeze(-1)
    calm = rotation_between(sagittal_only(mean_direction(neck[clips.calm])), rest["head"])
    nod = rotation_between(rest["head"], (calm @ neck[..., None]).squeeze(-1))
    absolute["neck"] = chest @ scaled(nod, 0.5)
    absolute["head"] = chest @ nod


def frame_up(up: Tensor, x: Tensor) -> Tensor:
    """Return the rotation with second column `up` and the first column in the plane of `up` and x."""
    up = normalize(up, dim=-1)
    return frame(x - (x * up).sum(-1, keepdim=True) * up, up)


def solve_upper_limb(clips: Clips, rest: dict[str, Tensor], absolute: dict[str, Tensor], side: str) -> None:
    chest = absolute["spine3"]
    girdle = (chest.mT @ clips.direction("neck", f"{side}_shoulder")[..., None]).squeeze(-1)
    calm = rotation_between(mean_direction(girdle[clips.calm]), rest[f"{side}_girdle"])
    collar = chest @ rotation_between(rest[f"{side}_girdle"], (calm @ girdle[..., None]).squeeze(-1))
    upper = clips.direction(f"{side}_shoulder", f"{side}_elbow")
    lower = clips.direction(f"{side}_elbow", f"{side}_wrist")
    hinge = torch.tensor([0.0, -1.0 if side == "left" else 1.0, 0.0])
    shoulder = hinged(collar, rest[f"{side}_elbow"], upper, lower, hinge, None)
    elbow = rotation_between(shoulder @ rest[f"{side}_wrist"], lower) @ shoulder
    hand = (elbow.mT @ clips.direction(f"{side}_wrist", f"{side}_hand")[..., None]).squeeze(-1)
    calm = rotation_between(mean_direction(hand[clips.calm]), rest[f"{side}_hand"])
    wrist = elbow @ rotation_between(rest[f"{side}_hand"], (calm @ hand[..., None]).squeeze(-1))
    solved = {"collar": collar, "shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": wrist}
    absolute.update({f"{side}_{joint}": rotation for joint, rotation in solved.items()})


def solve_leg(clips: Clips, rest: dict[str, Tensor], absolute: dict[str, Tensor], side: str) -> None:
    upper = clips.direction(f"{side}_hip", f"{side}_knee")
    lower = clips.direction(f"{side}_knee", f"{side}_ankle")
    toes = flat_feet(clips, clips.direction(f"{side}_ankle", f"{side}_foot"), rest[f"{side}_foot"], side)
    hinge = torch.tensor([1.0, 0.0, 0.0])
    # A straight leg's roll is told by its foot, as far as it points away from the shank.
    across = torch.linalg.cross(toes, upper, dim=-1)
    hip = hinged(absolute["pelvis"], rest[f"{side}_knee"], upper, lower, hinge, across)
    knee = rotation_between(hip @ rest[f"{side}_ankle"], lower) @ hip
    ankle = rotation_between(knee @ rest[f"{side}_foot"], toes) @ knee
    solved = {"hip": hip, "knee": knee, "ankle": ankle, "foot": ankle}
    absolute.update({f"{side}_{joint}": rotation for joint, rotation in solved.items()})


def flat_feet(clips: Clips, toes: Tensor, rest: Tensor, side: str) -> Tensor:
    """Pitch the foot's direction by the constant that makes a standing foot as flat as in the T pose."""
    ankle = clips[f"{side}_ankle"]
    still = torch.zeros(len(ankle), dtype=torch.bool)
    still[1:] = (ankle[1:] - ankle[:-1]).norm(dim=-1) * FRAME_RATE < 0.05
    still &= ankle[:, 1] < ankle[still, 1].median() + 0.02
    pitch = torch.asin(rest[1]) - torch.asin(toes[still, 1].clamp(-1, 1)).median()
    left = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]).expand_as(toes), toes)
    return (axis_angle_to_matrix(-pitch * normalize(left, dim=-1)) @ toes[..., None]).squeeze(-1)


def solve(clips: Clips, rest: dict[str, Tensor]) -> Tensor:
    """Parent-relative rotations (N, 24, 3, 3) in closed form; the pelvis maps body to y-up world axes."""
    absolute: dict[str, Tensor] = {}
    solve_trunk(clips, rest, absolute)
    for side in SIDES:
        solve_upper_limb(clips, rest, absolute, side)
        solve_leg(clips, rest, absolute, side)
    stacked = torch.stack([absolute[joint] for joint in SMPL24.joint_names], 1)
    relative = stacked.clone()
    children = [child for _, child in SMPL24.bones]
    parents = [parent for parent, _ in SMPL24.bones]
    relative[:, children] = stacked[:, parents].mT @ stacked[:, children]
    return hold_wrists(relative)


def hold_wrists(rotations: Tensor) -> Tensor:
    """Clamp the wrists' angles into their ranges."""
    rows = SMPL24.indices(("left_wrist", "right_wrist"))
    low, high = (limit[rows].float() for limit in joint_limits())
    angles = rotations_to_angles(rotations)
    angles[:, rows] = angles[:, rows].clamp(low, high)
    held = rotations.clone()
    held[:, rows] = angles_to_rotations(angles)[:, rows]
    return held


def continuous(axis_angle: Tensor, starts: np.ndarray) -> Tensor:
    """Choose for each rotation the axis-angle nearest to the previous frame's, for each clip."""
    result = axis_angle.clone()
    firsts = set(starts.tolist())
    turns = 2 * math.pi * torch.arange(-2, 3)[:, None, None]
    for t in range(1, len(result)):
        if t in firsts:
            continue
        length = result[t].norm(dim=-1, keepdim=True)
        candidates = result[t] * (1 + turns / length.clamp_min(1e-6))
        distance = (candidates - result[t - 1]).norm(dim=-1)
        best = distance.argmin(0)
        chosen = candidates[best, torch.arange(len(best))]
        result[t] = torch.where(length > 0.1, chosen, result[t])  # the axis of a tiny turn is noise
    return result


def pelvis_positions(clips: Clips, rotations: Tensor) -> Tensor:
    """Return pelvis positions (N, 3) from the recorded hips, scaled to our legs, with the soles on the floor."""
    body = default_body(learned_landmarks=False)
    zeros = torch.zeros(1, body.shape_count)
    with torch.no_grad():
        posed = body.pose(rotations, zeros.expand(len(rotations), -1), vertices=False)
        soles = body.pose_landmarks("blazepose33", posed, zeros)[:, BLAZEPOSE33.indices(SOLES)]
    rows = SMPL24.indices(("left_hip", "left_knee", "left_ankle"))
    hip, knee, ankle = posed.joints[0, rows]
    ours = (hip - knee).norm() + (knee - ankle).norm()
    recorded = (clips["left_hip"] - clips["left_knee"]).norm(dim=-1) + (clips["left_knee"] - clips["left_ankle"]).norm(
        dim=-1
    )
    lengths = torch.from_numpy(np.diff(clips.starts))
    recorded = recorded[clips.starts[:-1]].repeat_interleave(lengths)[:, None]  # each person has different legs
    hips = posed.joints[:, SMPL24.indices(("left_hip", "right_hip"))].mean(1)
    pelvis = (clips["left_hip"] + clips["right_hip"]) / 2 * (ours / recorded) - hips
    lowest = (soles[..., 1] + pelvis[:, None, 1]).amin(1)
    for start, end in zip(clips.starts[:-1], clips.starts[1:], strict=True):
        pelvis[start:end, 1] -= lowest[start:end].quantile(0.1)
    return pelvis


def sound_pieces(clips: Clips, rotations: Tensor) -> list[tuple[str, int, int]]:
    """(clip name, first frame, end) of the stretches without impossible jumps."""
    step = geodesic_angle(rotations[:-1], rotations[1:])
    fastest = torch.full((len(SMPL24),), math.radians(60))
    fastest[SMPL24.index("pelvis")] = math.radians(18)
    jump = torch.zeros(len(rotations))
    jump[1:] = (step > fastest).any(-1).float()
    pieces = []
    for clip, start, end in zip(clips.clip_names, clips.starts[:-1], clips.starts[1:], strict=True):
        within = jump[start:end].clone()
        within[0] = 0
        spoilt = max_pool1d(within[None], 2 * JUMP_MARGIN + 1, 1, JUMP_MARGIN)[0].bool()
        edges = np.flatnonzero(np.diff(np.r_[True, spoilt.numpy(), True])).reshape(-1, 2)
        pieces += [(clip, int(start + a), int(start + b)) for a, b in edges if b - a >= SHORTEST]
    return pieces


def clip_labels(clip_names: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Names, activities and splits of the clips: 'walking_07', 'walking', 'train'."""
    names, activities, splits = [], [], []
    counts: dict[str, int] = {}
    for clip in clip_names:
        activity = clip.split("/")[1].removesuffix("_extra")
        counts[activity] = counts.get(activity, 0) + 1
        names.append(f"{activity}_{counts[activity]:02d}")
        activities.append(activity)
        splits.append(split_of(clip))
    return names, activities, splits


def report(clips: Clips, rotations: Tensor) -> None:
    """Print the errors of the bones' directions, and the share of frames within the joint limits."""
    body = default_body(learned_landmarks=False)
    zeros = torch.zeros(1, body.shape_directions.shape[-1])
    with torch.no_grad():
        joints = body.pose(rotations, zeros.expand(len(rotations), -1), vertices=False).joints
    ends = [f"{s}_{b}" for s in SIDES for b in ("hip knee", "knee ankle", "shoulder elbow", "elbow wrist")]
    pairs = [(e.split()[0], f"{e.split('_')[0]}_{e.split()[1]}") for e in ends]
    pairs += [("right_hip", "left_hip"), ("right_shoulder", "left_shoulder"), ("pelvis", "neck")]
    for start, end in pairs:
        ours = normalize(joints[:, SMPL24.index(end)] - joints[:, SMPL24.index(start)], dim=-1)
        cosine = (ours * clips.direction(start, end)).sum(-1).clamp(-1, 1)
        degrees = torch.rad2deg(torch.acos(cosine))
        print(f"{start} → {end}: mean {degrees.mean():.2f}°, 99 % below {degrees.quantile(0.99):.2f}°")
    outside = torch.rad2deg(limit_excess(rotations_to_angles(rotations)).abs().flatten(1).amax(-1))
    print(f"frames inside the joint limits to 2.3°: {(outside < 2.3).float().mean():.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    pieces: list[tuple[str, int, int]] = []
    poses, pelvis = [], []
    for path in arguments.clips:
        clips = read_clips(path)
        rotations = solve(clips, rest_directions())
        report(clips, rotations)
        offset, positions = sum(map(len, poses)), pelvis_positions(clips, rotations)
        poses.append(rotations)
        pelvis.append(positions)
        pieces += [(clip, offset + start, offset + end) for clip, start, end in sound_pieces(clips, rotations)]
    rows = torch.cat([torch.arange(start, end) for _, start, end in pieces])
    starts = np.cumsum([0] + [end - start for _, start, end in pieces])
    names, activities, splits = clip_labels([clip for clip, _, _ in pieces])
    vectors = continuous(matrix_to_axis_angle(torch.cat(poses)[rows]), starts).flatten(1)
    np.savez_compressed(
        arguments.out,
        schema_version=np.int64(1),
        frame_rate=np.float64(FRAME_RATE),
        clip_start=starts.astype(np.int64),
        clip_name=np.array(names),
        clip_activity=np.array(activities),
        clip_split=np.array(splits),
        pose_steps=encode_steps(vectors.numpy(), POSE_QUANTUM),
        pelvis_steps=encode_steps(torch.cat(pelvis)[rows].numpy(), PELVIS_QUANTUM),
    )
    size = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out}: {size:.2f} MB, {len(rows)} of {sum(map(len, poses))} frames in {len(names)} clips")


if __name__ == "__main__":
    main()
