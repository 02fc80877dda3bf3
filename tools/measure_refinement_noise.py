"""Measures the noise levels that refinement assumes, on clips of known people that no evaluation uses.

    hpc preprocess synthetic --clips 4 --count 160 --set validation=0.99 --set test=0 --set backgrounds=photos \
        --seed 7 --out clips
    python tools/measure_refinement_noise.py clips [clips at most [weights]]      default: 12, flow alone

One JSON line each; every σ is along one axis, from the median of the errors' lengths:
keypoints      distance of true bodies' landmarks from the keypoints times confidence, in pixels of a crop of 256
               (`_LANDMARK_NOISE` of `refining.refiner`), and its correlation on a part (`_LANDMARK_CORRELATION`)
flow, network  error of surface points' displacements over the noise that is assumed, for starts of every kind, and its
               correlation on a part (`weights.surface_correlation`)
errors         rotations of keypoint fits and of Neural Body Fitting's network about an axis, radians, for every class
               of joints (`refining.anchor.USUAL_ERRORS`)
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.person_view import photo_tensor
from humanpose_cli.body.joint_angles import joint_class
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.refine_clips import InitialFits, true_fit
from humanpose_cli.refining.correspondences import SurfacePoints
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.problem import alignment_rig
from humanpose_cli.refining.pulls import rig_points
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.rendering.body_maps import BODY_FILL, render_bodies

_MEDIAN = float(np.sqrt(2 * np.log(2)))  # of Rayleigh's distribution with σ = 1: length of an error in the plane
_LOST = 25.0  # pixels of the crop: fits whose points are farther off in the median are not compared

Array = NDArray[Any]


def correlation(errors: Array, parts: Array) -> float:
    """Return 1 − variance within the parts / mean square, for errors (M, 2) and their parts (M,)."""
    _, group, count = np.unique(parts, return_inverse=True, return_counts=True)
    shared = count[group] > 2
    mean = np.stack([np.bincount(group, axis) / count for axis in errors.T], 1)[group]
    within = np.square(errors - mean)[shared].sum() / (2 * max(shared.sum() - (count > 2).sum(), 1))
    return float(1 - within / np.square(errors[shared]).mean())


def sigma(errors: Array) -> float:
    """σ along an axis of errors (M, 2), by the median of their lengths."""
    return float(np.median(np.linalg.norm(errors, axis=1)) / _MEDIAN)


def turns(fit: Any, truth: Any, rows: Array) -> Array:
    """(M, 24) radians about each axis between the rotations of two fits."""
    first, second = (
        axis_angle_to_matrix(torch.from_numpy(f.poses[rows]).double().view(-1, 24, 3)) for f in (fit, truth)
    )
    return np.asarray(matrix_to_axis_angle(first.mT @ second).norm(dim=-1) / 3**0.5)


class Measured:
    """Errors by kind, collected over clips."""

    def __init__(self, refiners: dict[str, Refiner], people: Any) -> None:
        self.refiners, self.people = refiners, people
        self.surface = SurfacePoints(people.body, RefineOptions().points)
        self.rig = alignment_rig(people.body, self.surface.landmarks)
        self.parts = self.rig.weights[: self.rig.landmark_count].argmax(1).numpy()
        self.errors: dict[str, list[Array]] = defaultdict(list)
        self.of_part: dict[str, list[Array]] = defaultdict(list)
        self.turns: list[Array] = []

    def add(self, clip: Any, base: str, fit: Any, found: Any) -> None:
        """One initial fit of a clip."""
        truth = true_fit(self.people, clip, fit, found)
        if base == "keypoints":
            self._keypoints(fit, truth, found.fit)
        if base in ("keypoints", "nbf"):
            self.turns.append(turns(fit, truth, found.fit))
        frames = FitFrames.of(fit, clip.images)
        textures = self.refiners["flow"].textures(fit, frames, body=self.people.body)
        for people in self.refiners["flow"]._people(fit, frames, self.people.body, lambda *_: None, ""):
            fitted = np.isin(people.rows, found.fit)
            cameras = [view.camera for view in people.views]
            of_rows = [textures[int(fit.track_id[row])] for row in people.rows]
            rendering = render_bodies(self.people.body, people.vertices, cameras, RefineOptions().size, of_rows)
            photos, points = photo_tensor(people.views), slice(0, len(self.surface))
            drawn, true = (rig_points(each, people.rows, self.rig)[:, points] for each in (fit, truth))
            for name, refiner in self.refiners.items():
                moved = refiner._correspondence(rendering, photos)  # type: ignore[misc]
                hidden = torch.from_numpy(np.stack([view.hidden for view in people.views]))
                moved = moved._replace(noise=moved.noise.masked_fill(hidden[:, None], torch.inf))
                pixels, noise, area = self.surface.displacements(rendering, moved)
                for i in np.flatnonzero(fitted):
                    camera = cameras[i]
                    expected = camera.project(true[i]) - camera.project(drawn[i])
                    visible = (area[i] > 4).numpy()
                    if not visible.any() or expected[visible].norm(dim=-1).median() > _LOST:
                        continue
                    whitened = ((pixels[i] - expected) / noise[i, :, None]).numpy()[visible]
                    self._store(name, whitened, self.parts[points][visible])

    def _keypoints(self, fit: Any, truth: Any, rows: Array) -> None:
        first = len(self.surface)
        landmarks = rig_points(truth, rows, self.rig)[:, first : self.rig.landmark_count].numpy()
        frames, height = fit.frame_index[rows], (fit.boxes[rows, 2:] - fit.boxes[rows, :2]).max(1)
        for i, row in enumerate(rows):
            found = fit.keypoints2d[row]
            visible = found[:, 2] > 0.3
            errors = fit.camera(int(frames[i])).project(landmarks[i]) - found[:, :2]
            scaled = errors * found[:, 2:] * BODY_FILL * 256 / height[i]
            self._store("keypoints", scaled[visible], self.parts[first:][visible])

    def _store(self, name: str, errors: Array, parts: Array) -> None:
        self.of_part[name].append(1000 * len(self.errors[name]) + parts)
        self.errors[name].append(errors)

    def report(self) -> None:
        """Print the lines."""
        for name, errors in self.errors.items():
            joined, parts = np.concatenate(errors), np.concatenate(self.of_part[name])
            spread = sigma(joined)
            clipped = joined.clip(-3 * spread, 3 * spread)
            line = {"name": name, "points": len(joined), "sigma": round(spread, 2)}
            print(json.dumps({**line, "correlation": round(correlation(clipped, parts), 2)}), flush=True)
        values = np.concatenate(self.turns)
        classes = [joint_class(name) for name in SMPL24.joint_names]
        medians = {
            c: round(float(np.median(values[:, [c == each for each in classes]])), 2) for c in dict.fromkeys(classes)
        }
        print(json.dumps({"name": "errors", "rows": len(values), **medians}), flush=True)


@torch.no_grad()
def main(data: Path, limit: int, weights: str = "") -> None:
    people = PeopleSelection(data, split="validation", limit=0, visible=0.0).people("joints")
    kinds: dict[Literal["flow", "network"], str] = {"flow": ""} | ({"network": weights} if weights else {})
    with ExitStack() as stack:
        refiners: dict[str, Refiner] = {
            kind: stack.enter_context(Refiner(RefineOptions(correspondence=kind), weights=file, threads=1))
            for kind, file in kinds.items()
        }
        measured = Measured(refiners, people)
        starts = InitialFits.of(people, None, None, limit).each("cpu", 1, lambda *_: None, lambda: False)
        for clip, base, fit, found in starts:
            measured.add(clip, base, fit, found)
    measured.report()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12, *sys.argv[3:4])
