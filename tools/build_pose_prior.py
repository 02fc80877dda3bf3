"""Fit the shipped pose prior to sampled plausible poses.

    python tools/build_pose_prior.py humanpose_cli/body/data/pose_prior.npz

Draws poses from the library's training activities and the key poses (bodies/pose_prior.py), fits one Gaussian
mixture per group of limbs by expectation–maximisation, and prints how well it tells held-out activities (soccer,
washing a window) from random poses. Takes two minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from humanpose_cli.body.joint_angles import angles_to_rotations, joint_limits, rotations_to_angles
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.body.pose_prior import PRIOR_GROUPS, PosePrior, SamplingOptions, mixture_from, sample_poses
from humanpose_cli.core.conventions import SMPL24

COMPONENTS = {"leg": 16, "arm": 24, "ends": 2, "trunk": 8}
# No angle is known better than this, however much alike the samples are: radians.
FLOOR = {"leg": 0.12, "arm": 0.15, "ends": 0.15, "trunk": 0.07}
SAMPLES = 40_000


def group_angles(angles: np.ndarray, group: str) -> np.ndarray:
    """Angles (B, 24, 3) of a group's joints (B', D); left and right limbs one after the other."""
    joints = PRIOR_GROUPS[group]
    sides = ("left_", "right_") if f"left_{joints[0]}" in SMPL24 else ("",)
    return np.concatenate(
        [angles[:, SMPL24.indices(f"{s}{j}" for j in joints)].reshape(len(angles), -1) for s in sides]
    )


def fit_mixture(
    x: np.ndarray, components: int, floor: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances of a Gaussian mixture by EM, started from k-means."""
    _, labels = kmeans2(x, components, minit="++", seed=random)
    responsibility = np.eye(components)[labels] * 0.9 + 0.1 / components
    for _ in range(60):
        mass = responsibility.sum(0) + 1e-9
        weights, means = mass / mass.sum(), responsibility.T @ x / mass[:, None]
        centred = x[:, None] - means
        covariances = (
            np.einsum("nc,ncd,nce->cde", responsibility, centred, centred, optimize=True) / mass[:, None, None]
        )
        covariances += floor**2 * np.eye(x.shape[1])
        whitening = np.linalg.cholesky(np.linalg.inv(covariances)).swapaxes(-1, -2)
        white = np.einsum("cde,nce->ncd", whitening, centred, optimize=True)
        logarithm = np.log(weights) + np.log(np.diagonal(whitening, axis1=-2, axis2=-1)).sum(-1)
        logarithm = logarithm - 0.5 * (white**2).sum(-1)
        responsibility = np.exp(logarithm - logarithm.max(1, keepdims=True))
        responsibility /= responsibility.sum(1, keepdims=True)
    return weights, means, covariances


def area_under_curve(lower: np.ndarray, higher: np.ndarray) -> float:
    """Probability that a value of `lower` is below one of `higher`."""
    ranks = np.argsort(np.argsort(np.concatenate((lower, higher)), kind="stable"), kind="stable")
    return float((ranks[len(lower) :].sum() - len(higher) * (len(higher) - 1) / 2) / (len(lower) * len(higher)))


def random_within_limits(count: int, generator: torch.Generator) -> torch.Tensor:
    """Every angle uniform within its range: possible, but hardly ever done."""
    angles = torch.zeros(count, len(SMPL24), 3)
    lowest, highest = (limit.float().nan_to_num(posinf=0.0, neginf=0.0) for limit in joint_limits())
    for row, column in np.ndindex(lowest.shape):
        low, high = lowest[row, column], highest[row, column]
        angles[:, row, column] = low + (high - low) * torch.rand(count, generator=generator)
    return angles_to_rotations(angles)


def report(prior: PosePrior, generator: torch.Generator) -> None:
    library = pose_library()
    held_out = prior.energy(library.rotations(library.frames("held_out"))).numpy()
    training = prior.energy(library.rotations(library.frames("train"))).numpy()
    sampled = prior.energy(sample_poses(4000, generator)).numpy()
    random = prior.energy(random_within_limits(4000, generator)).numpy()
    for name, values in (
        ("training activities", training),
        ("held out", held_out),
        ("sampled", sampled),
        ("random", random),
    ):
        print(f"{name}: energy median {np.median(values):.1f}, 90 % below {np.quantile(values, 0.9):.1f}")
    separation = area_under_curve(held_out, random)
    print(f"held-out activities against poses random within the joint limits: AUC {separation:.4f}")
    print(f"sampled poses against the same: AUC {area_under_curve(sampled, random):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(arguments.seed)
    random = np.random.default_rng(arguments.seed)
    poses = sample_poses(SAMPLES, generator, SamplingOptions(jitter=0.6))
    angles = rotations_to_angles(poses).numpy().astype(np.float64)
    arrays: dict[str, np.ndarray] = {"schema_version": np.int64(1)}
    mixtures = {}
    for group, components in COMPONENTS.items():
        x = group_angles(angles, group)
        fitted = fit_mixture(random.permutation(x)[:SAMPLES], components, FLOOR[group], random)
        mixtures[group] = mixture_from(*fitted)
        for field, values in zip(("weights", "means", "covariances"), fitted, strict=True):
            arrays[f"{group}.{field}"] = values.astype(np.float32)
    report(PosePrior(mixtures), generator)
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
