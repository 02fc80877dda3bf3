"""Fit the positions and the accuracy of BlazePose's 33 landmarks on the default body.

    python tools/detector_samples.py s0.npz --seed 0; …          # renders and the detector's answers
    python tools/build_landmarks.py humanpose_cli/body/data/blazepose_landmarks.npz s0.npz s1.npz …

A landmark of a detector is where its annotators clicked, not where an anatomist would point. Starting from landmarks
guessed from anatomy, each one's place on the body at rest and the share of the two bones that carry it are fitted to
the detector's own 2-D answers on rendered people whose pose is known: robustly, symmetric between left and right,
using only landmarks that are in sight. A fifth of the samples is kept out and reported on, in percent of 1.7 m.

The file also keeps the noise that is left (per landmark, in metres at the person's distance: in sight and hidden) and
that of the world landmarks, for whoever weighs them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rendered_people import People
from torch import Tensor

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, rotation_between
from humanpose_cli.geometry.similarity import fit_similarity

HEIGHT = 1.7  # metres: what residuals are shown in percent of
MIN_CONFIDENCE = 0.5  # mean presence and confidence of landmarks that count
ROBUST = 0.03  # metres at which a residual counts half as outlier
SIDES = ("left", "right")
# Bones that may carry a landmark, the one that the geometric guess hangs on first.
CARRIERS = {
    "shoulder": ("shoulder", "collar"),
    "elbow": ("elbow", "shoulder"),
    "wrist": ("wrist", "elbow"),
    "pinky": ("wrist", "hand"),
    "index": ("wrist", "hand"),
    "thumb": ("wrist", "hand"),
    "hip": ("hip", "pelvis"),
    "knee": ("knee", "hip"),
    "ankle": ("ankle", "knee"),
    "heel": ("ankle", "knee"),
    "foot_index": ("foot", "ankle"),
}
LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


@dataclass(frozen=True)
class Samples:
    """People with the means over the detector's passes.

    Points (B, 33, 2) are in pixels, confidence and visible_people are (B, 33), presence is (B,), and world (B, 33, 3)
    is in metres.
    """

    people: People
    points: Tensor
    confidence: Tensor
    visible_people: Tensor
    presence: Tensor
    world: Tensor

    def rows(self, chosen: Tensor) -> Samples:
        people = People(*(values[chosen] for values in vars(self.people).values()))
        rest = (getattr(self, name)[chosen] for name in ("points", "confidence", "in_sight", "presence", "world"))
        return Samples(people, *rest)


def read_samples(paths: list[Path]) -> Samples:
    files = [np.load(path) for path in paths]

    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([file[name].astype(np.float32) for file in files]))

    people = People(
        axis_angle_to_matrix(joined("rotations")), joined("betas"), joined("trans"), joined("focal"), joined("size")
    )
    confidence = joined("confidence").mean(1)
    visible_people = joined("seen") > 0.5
    return Samples(
        people,
        joined("points").mean(1),
        confidence,
        visible_people,
        joined("presence").mean(1),
        joined("world").mean(1),
    )


def carriers(landmark: str) -> tuple[str, str]:
    """Return the two joints that may carry a landmark."""
    side, _, name = landmark.partition("_")
    if name not in CARRIERS:
        return "head", "head"
    first, second = (joint if joint in SMPL24 else f"{side}_{joint}" for joint in CARRIERS[name])
    return first, second


class LandmarkModel(torch.nn.Module):
    """Places and bone shares of the landmarks: a parameter per left/right pair.

    The face keeps its anatomical places: on the plain faces of rendered people the detector draws eyes, ears and mouth
    together, on photographs it does not (8.5 against 5.2 pixels' error on a face 90 pixels wide).
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        initial = body.landmarks("blazepose33")
        self.register_buffer("initial", initial.template.clone())
        self.register_buffer("directions", initial.directions.clone())
        self.unmirrored = [i for i, name in enumerate(BLAZEPOSE33.joint_names) if not name.startswith("right_")]
        self.other = [BLAZEPOSE33.mirror[i] for i in self.unmirrored]
        self.body_rows = torch.tensor(
            [float(carriers(BLAZEPOSE33.joint_names[i])[0] != "head") for i in self.unmirrored]
        )
        self.offset = torch.nn.Parameter(torch.zeros(len(self.unmirrored), 3))
        self.share = torch.nn.Parameter(torch.full((len(self.unmirrored),), 2.0))  # of the first carrier, logit
        names = [carriers(name) for name in BLAZEPOSE33.joint_names]
        self.bones = torch.tensor([SMPL24.indices(pair) for pair in names])

    def template(self) -> Tensor:
        left = self.offset * self.body_rows[:, None]
        moved = torch.zeros_like(self.initial)
        moved[self.other] = left * left.new_tensor([-1.0, 1.0, 1.0])
        moved[self.unmirrored] = left
        return self.initial + moved

    def weights(self) -> Tensor:
        share = torch.zeros(len(self.initial))
        shares = torch.where(self.body_rows > 0, torch.sigmoid(self.share), 1.0)
        share[self.other] = shares
        share[self.unmirrored] = shares
        return torch.stack((share, 1 - share), -1)

    def forward(self, posed: Posed, betas: Tensor) -> Tensor:
        """(B, 33, 3) metres, camera axes."""
        rest = self.template() + torch.einsum("lxs,bs->blx", self.directions, betas)
        total = torch.zeros_like(rest)
        for k in range(2):
            bones = self.bones[:, k]
            arm = rest - posed.rest_joints[:, bones]
            moved = posed.joints[:, bones] + (posed.linear[:, bones] @ arm[..., None]).squeeze(-1)
            total = total + self.weights()[:, k, None] * moved
        return total


class Posed(NamedTuple):
    """Joints (B, 24, 3), rest joints (B, 24, 3) and bones' linear maps (B, 24, 3, 3) of the samples' people."""

    joints: Tensor
    rest_joints: Tensor
    linear: Tensor


def pose(body: Body, people: People) -> Posed:
    with torch.no_grad():
        posed = body.pose(people.rotations, people.betas, people.trans, vertices=False)
    return Posed(posed.joints, posed.rest_joints, posed.linear)


def miss(points: Tensor, samples: Samples) -> Tensor:
    """(B, 33) metres at the person's distance between the detector's pixels and projected landmarks."""
    people = samples.people
    pixels = project(points, people.focal, people.size / 2)
    metre = people.focal / people.trans[:, 2]
    return (pixels - samples.points).norm(dim=-1) / metre[:, None]


def reliable_points(samples: Samples) -> Tensor:
    """(B, 33) landmarks to learn from."""
    return samples.visible_people & (samples.confidence > MIN_CONFIDENCE) & (samples.presence > MIN_CONFIDENCE)[:, None]


def fit(model: LandmarkModel, body: Body, samples: Samples) -> None:
    """Minimise a robust (Geman–McClure) sum of squared misses, with a weak pull to the anatomical guess."""
    posed, betas = pose(body, samples.people), samples.people.betas
    weight = reliable_points(samples).float()
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=150, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        squared = miss(model(posed, betas), samples).square()
        robust = squared / (squared + ROBUST**2)
        loss = (weight * robust).sum(0) / weight.sum(0).clamp_min(1)
        pull = 2.0 * model.offset.square().sum() + 1e-4 * (model.share - 2).square().sum()
        total = loss.sum() + pull
        total.backward()
        return total

    optimiser.step(closure)


def spread_of(misses: Tensor, where: Tensor) -> np.ndarray:
    """Return (33,) robust standard deviations per axis from the median distance; 0.05 for invisible landmarks."""
    result = []
    for column in range(misses.shape[1]):
        values = misses[where[:, column], column]
        result.append(float(values.median()) / 1.1774 if len(values) > 20 else 0.05)
    return np.array(result, np.float32)


def report(before: Tensor, after: Tensor, samples: Samples) -> None:
    where = reliable_points(samples)
    print("landmark            seen   median miss in % of 1.7 m: before → after")
    for row, name in enumerate(BLAZEPOSE33.joint_names):
        old, new = (100 / HEIGHT * m[where[:, row], row].median() for m in (before, after))
        print(f"{name:18s} {int(where[:, row].sum()):6d}   {old:5.2f} → {new:5.2f}")
    limbs = BLAZEPOSE33.indices(f"{side}_{limb}" for side in SIDES for limb in LIMBS)
    for label, rows in (("all", list(range(len(BLAZEPOSE33)))), ("limbs", limbs)):
        chosen = where[:, rows]
        old, new = (100 / HEIGHT * m[:, rows][chosen].mean() for m in (before, after))
        print(f"{label}: mean {old:.2f} → {new:.2f} %")


def world_statistics(points: Tensor, samples: Samples) -> dict[str, np.ndarray]:
    """Measure the errors of the world landmarks.

    These are the noise (33, 3) in metres along the axes of the viewing ray (x, y, z) after the best common scale, that
    scale, and the depth lean of upright people by heading.
    """
    hips = BLAZEPOSE33.indices(("left_hip", "right_hip"))
    shoulders = BLAZEPOSE33.indices(("left_shoulder", "right_shoulder"))
    centre = points[:, hips].mean(1)
    ahead = torch.tensor([0.0, 0.0, 1.0])
    to_ray = rotation_between(centre, ahead.expand_as(centre))
    truth = (points - centre[:, None]) @ to_ray.mT
    world = samples.world - samples.world[:, hips].mean(1, keepdim=True)
    chosen = samples.presence > MIN_CONFIDENCE
    truth, world = truth[chosen], world[chosen]
    scale = float((truth * world).sum() / world.square().sum())
    error = truth - scale * world
    noise = 1.4826 * error.abs().median(0).values
    print(f"world landmarks: best scale {scale:.3f}")
    limbs = BLAZEPOSE33.indices(f"{side}_{limb}" for side in SIDES for limb in LIMBS)
    for axis, name in enumerate("xyz"):
        slope = (truth[..., axis] * world[..., axis])[:, limbs].sum() / world[..., axis][:, limbs].square().sum()
        rms = error[:, limbs, axis].square().mean().sqrt()
        print(f"  {name}: rms of limbs {1000 * rms:.0f} mm, best scale of this axis alone {slope:.3f}")
    trunk, detected_trunk = (x[:, shoulders].mean(1) for x in (truth, world))
    facing = torch.linalg.cross(points[:, hips[0]] - points[:, hips[1]], points[:, shoulders].mean(1) - centre)[chosen]
    heading = torch.rad2deg(torch.atan2(facing[:, 0].abs(), -facing[:, 2]))
    upright = trunk[:, 1] < -0.9 * trunk.norm(dim=-1)
    lean = torch.rad2deg(
        torch.atan2(detected_trunk[:, 2], -detected_trunk[:, 1]) - torch.atan2(trunk[:, 2], -trunk[:, 1])
    )
    for low, high in ((0, 45), (45, 75), (75, 105), (105, 135), (135, 180)):
        rows = upright & (heading >= low) & (heading < high)
        if rows.any():
            spread = lean[rows].std() if rows.sum() > 1 else torch.tensor(0.0)
            print(
                f"  heading {low}–{high}°: {int(rows.sum())} upright lean away {lean[rows].mean():.1f}° ± {spread:.1f}°"
            )
    aligned = fit_similarity(world[:, limbs], truth[:, limbs]).apply(world[:, limbs])
    pa = (aligned - truth[:, limbs]).norm(dim=-1).mean(1)
    mpjpe = (world - truth)[:, limbs].norm(dim=-1).mean(1)
    print(f"  limbs: {1000 * pa.mean():.0f} mm after Procrustes, {1000 * mpjpe.mean():.0f} mm about the hips")
    return {"world_noise": noise.numpy().astype(np.float32), "world_scale": np.float32(scale)}


def save(path: Path, model: LandmarkModel, statistics: dict[str, np.ndarray]) -> None:
    """Template, directions, four bones and weights a landmark, and the noise figures."""
    share = model.weights().detach().numpy()
    bones, weights = np.zeros((len(BLAZEPOSE33), 4), np.int32), np.zeros((len(BLAZEPOSE33), 4), np.float32)
    bones[:, :2], weights[:, :2] = model.bones.numpy(), share
    np.savez_compressed(
        path,
        template=model.template().detach().numpy().astype(np.float32),
        directions=model.directions.numpy().astype(np.float32),
        bone_indices=bones,
        bone_weights=weights,
        **statistics,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("samples", type=Path, nargs="+")
    arguments = parser.parse_args()
    body = default_body(learned_landmarks=False)
    samples = read_samples(arguments.samples)
    kept_out = torch.arange(len(samples.presence)) % 5 == 4
    train, test = samples.rows(~kept_out), samples.rows(kept_out)
    model = LandmarkModel(body)
    with torch.no_grad():
        posed = body.pose(test.people.rotations, test.people.betas, test.people.trans, vertices=False)
        before = miss(body.pose_landmarks("blazepose33", posed, test.people.betas), test)
    fit(model, body, train)
    with torch.no_grad():
        points = model(pose(body, test.people), test.people.betas)
        after = miss(points, test)
    report(before, after, test)
    likely = (test.presence > MIN_CONFIDENCE)[:, None]
    statistics = {
        "noise_in_sight": spread_of(after, likely & test.visible_people),
        "noise_hidden": spread_of(after, likely & ~test.visible_people),
        **world_statistics(points, test),
    }
    save(arguments.out, model, statistics)
    size = arguments.out.stat().st_size / 1e3
    print(f"{arguments.out}: {size:.0f} kB, learned from {len(train.presence)} people, judged on {len(test.presence)}")


if __name__ == "__main__":
    main()
