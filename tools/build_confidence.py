"""Fit the constants of `humanpose_cli/fitting/confidence.py` to fits of rendered crowds, and measure them held out.

    python tools/build_confidence.py render crowds.npz --images 200     # 10 to 20 s an image on one core
    python tools/build_confidence.py fit crowds.npz

`render` draws images of two to six people who overlap and are cut off, with objects before them, half of them with
people, clothes, poses and surroundings of the training split and half of the test split, and runs `hpc fit` on them.
For each person that is found it stores the noise of the joints and their true errors, the pelvis on the true one.
`fit` prints the constants, a regression on the first half, and figures of the second half.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, minimize
from scipy.stats import rankdata

from humanpose_cli.core.conventions import LIMB_JOINTS, SMPL24
from humanpose_cli.fitting import confidence, keypoints
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.result import Fit
from humanpose_cli.lab.cache.samples import Person
from humanpose_cli.lab.synthetic.cameras import CameraOptions
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.synthetic.scene import SceneOptions

_SIZE = 384  # pixels
_SEEDS = {"train": 101, "test": 202}
_FOUND_WITHIN = 0.5  # of the person's size: median distance of the limbs' joints in the image
_RIDGE = 1.0
RIGHT_WITHIN = 0.1
"""Metres, with the pelvis on the true one. Joints farther off are wrong; confidence is the probability to be right."""
_BINS = 10
_LIMBS = [
    SMPL24.indices((f"{side}_{upper}", f"{side}_{lower}"))
    for upper, lower in (("elbow", "wrist"), ("knee", "ankle"))
    for side in ("left", "right")
]


class Crowds(SyntheticSource):
    """`SyntheticSource` with two to six people in every image."""

    def _companions(self, random: np.random.Generator, number: int) -> int:
        return int(random.integers(1, 6))

    def _scene_options(self, number: int, people: int) -> SceneOptions:
        return replace(super()._scene_options(number, people), camera=CameraOptions(fill=(0.4, 0.9), cut=0.2))


def crowd_images(split: str, count: int) -> Iterator[tuple[NDArray[np.uint8], list[Person]]]:
    """Images (H, W, 3) of one split, and the true people in them."""
    shares = {"validation": 0.0, "test": float(split == "test")}
    source = Crowds(SyntheticOptions(count=count, size=_SIZE, seed=_SEEDS[split], texture_size=256, **shares))
    for group in source.groups():
        for sample in source.read(group):
            pixels = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR)
            yield np.ascontiguousarray(pixels[..., ::-1]), list(sample.people)


def fit_with_noise(fitter: Fitter, image: NDArray[np.uint8]) -> tuple[Fit, NDArray[np.float64]]:
    """Fit an image; also return the noise (N, 3, 24) that determines its confidences."""
    recorded: list[Any] = []

    def recorder(noise: confidence.JointNoise) -> Any:
        recorded.append(np.stack([values.numpy() for values in noise], 1))
        return confidence.probability_right(noise)

    with patch.object(keypoints, "probability_right", recorder):
        fit = fitter.fit(image)
    return fit, recorded[0][: len(fit)] if recorded else np.zeros((0, 3, len(SMPL24)))


def matched(fit: Fit, people: list[Person]) -> list[tuple[int, int]]:
    """Return pairs (row, person) with joints near each other in the image."""
    limbs = list(SMPL24.indices(LIMB_JOINTS))
    distances = np.full((len(fit), len(people)), 9.0)
    for column, person in enumerate(people):
        points = person.keypoints[SMPL24.name][limbs, :2]
        size = max(float(np.ptp(points, axis=0).max()), 1.0)
        distances[:, column] = np.median(np.linalg.norm(fit.joints2d[:, limbs] - points, axis=-1), axis=-1) / size
    pairs = zip(*linear_sum_assignment(distances), strict=True)
    return [(int(row), int(column)) for row, column in pairs if distances[row, column] < _FOUND_WITHIN]


def render(path: Path, images: int) -> None:
    """Write noise (N, 3, 24), error (N, 24) in metres from the pelvis, and held_out (N,) of the detected people."""
    noises, errors, held_out = [], [], []
    with Fitter(device="cpu") as fitter:
        for split in _SEEDS:
            for number, (image, people) in enumerate(crowd_images(split, images // 2)):
                fit, noise = fit_with_noise(fitter, image)
                for row, person in matched(fit, people):
                    true, found = people[person].joints[SMPL24.name][:, :3], fit.joints3d[row]
                    errors.append(np.linalg.norm((found - found[0]) - (true - true[0]), axis=-1))
                    noises.append(noise[row])
                    held_out.append(split == "test")
                print(f"{split} {number + 1}: {len(errors)} people", file=sys.stderr)
    np.savez_compressed(path, noise=noises, error=errors, held_out=held_out)


def regression(
    noise: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[list[float], list[float], dict[str, float]]:
    """Slopes (3), which are not negative, usual noise (3) and log odds of each kind of joint."""
    kinds = [name.split("_")[-1] for name in SMPL24.joint_names]
    kinds[0] = "hip"  # the pelvis' own error is zero by definition
    names = list(dict.fromkeys(kinds[1:]))
    usual = np.exp(np.nanmedian(np.log(np.clip(noise, confidence.MIN_NOISE, confidence.MAX_NOISE)), (0, 2)))
    complete_noise = np.where(np.isnan(noise), usual[:, None], noise)
    logs = np.log(np.clip(complete_noise, confidence.MIN_NOISE, confidence.MAX_NOISE))
    logs = logs[..., 1:].transpose(0, 2, 1).reshape(-1, 3)
    right = (error[:, 1:] <= RIGHT_WITHIN).ravel()
    kind = np.tile([names.index(name) for name in kinds[1:]], len(error))

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slopes, base = values[:3], values[3:]
        odds = base[kind] - logs @ slopes
        probability = 1 / (1 + np.exp(-odds))
        away = base - base.mean()
        total = np.logaddexp(0, np.where(right, -odds, odds)).sum() + _RIDGE / 2 * (away**2).sum()
        wrong = probability - right
        gradient = np.bincount(kind, weights=wrong, minlength=len(names)) + _RIDGE * away
        return total, np.concatenate((-(logs.T @ wrong), gradient))

    bounds = [(0.0, None)] * 3 + [(None, None)] * len(names)
    found = minimize(loss, np.zeros(3 + len(names)), jac=True, bounds=bounds, method="L-BFGS-B").x
    return found[:3].tolist(), usual.tolist(), dict(zip(names, found[3:].tolist(), strict=True))


def calibration_error(value: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): |confidence − share that is right| over bins."""
    member = np.minimum((value * _BINS).astype(np.int64), _BINS - 1)
    return float(np.abs(np.bincount(member, value - right)).sum() / len(value))


def wrong_auc(value: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Probability that a wrong one has a lower confidence than a right one; ties count half."""
    wrong = int((~right).sum())
    return float((rankdata(-value)[~right].sum() - wrong * (wrong + 1) / 2) / (wrong * (len(right) - wrong)))


def false_alarms(value: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of the right ones at or below the confidence that 90 % of the wrong ones do not exceed, and that one."""
    wrong = np.sort(value[~right])
    threshold = wrong[int(np.ceil(0.9 * len(wrong))) - 1]
    return float((value[right] <= threshold).mean()), float(threshold)


def print_quality(value: NDArray[np.float64], error: NDArray[np.float64]) -> None:
    """Print a table of confidences (N, 24) with errors (N, 24), for joints of limbs, and for limbs.

    A limb has the confidence of its less certain joint; both of its joints must be right.
    """
    rows = list(SMPL24.indices(LIMB_JOINTS))
    of_limbs = value[:, _LIMBS].min(-1), error[:, _LIMBS].max(-1)
    print("what | n | wrong | calibration error | AUC | false alarms | threshold")
    for what, (each, away) in {"joints": (value[:, rows], error[:, rows]), "limbs": of_limbs}.items():
        right = away.ravel() <= RIGHT_WITHIN
        figures = [(~right).mean(), *(of(each.ravel(), right) for of in (calibration_error, wrong_auc))]
        print(what, len(right), *(f"{x:.3f}" for x in (*figures, *false_alarms(each.ravel(), right))), sep=" | ")


def fit(path: Path) -> None:
    """Print the constants, and the quality of the package's constants on the held-out half."""
    import torch

    with np.load(path) as file:
        noise, error, held_out = file["noise"], file["error"], file["held_out"]
    slopes, usual, base = regression(noise[~held_out], error[~held_out])
    print("slopes", [round(value, 3) for value in slopes])
    print("usual ", [round(value, 4) for value in usual])
    print("base  ", {name: round(value, 2) for name, value in base.items()})
    columns = (torch.from_numpy(noise[held_out][:, column]) for column in range(3))
    found = confidence.probability_right(confidence.JointNoise(*columns)).numpy()
    print(f"held out, {int(held_out.sum())} people, constants of the package")
    print_quality(found, error[held_out])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    rendering = actions.add_parser("render")
    rendering.add_argument("samples", type=Path)
    rendering.add_argument("--images", type=int, default=200)
    fitting = actions.add_parser("fit")
    fitting.add_argument("samples", type=Path)
    arguments = parser.parse_args()
    if arguments.action == "render":
        render(arguments.samples, arguments.images)
    else:
        fit(arguments.samples)


if __name__ == "__main__":
    main()
