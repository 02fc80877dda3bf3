"""Refinement of fits with known truth, and how far its acceptance can be trusted.

The drawn clip (45 frames of a walking person, drawn) and rendered people in held-out poses, one image each. Starts:
the truth with joint noise that adds up along the limbs, constant over a clip; the keypoints are the detector's. A row
each for the clip with flow, with keypoints, and for the images with keypoints: vertex error about the pelvis before and
after in mm, the same if everything were accepted, the share accepted, and of accepted and of refused bodies the share
that the refinement brings nearer to the truth.

    python benchmarks/bench_refinement.py [starts of the clip [people]]      default: 6 40
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _drawn_clip import DrawnClip
from _rendered_people import render_population
from torch import Tensor

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import CorrespondenceKind, RefineOptions
from humanpose_cli.refining.refiner import Refiner

ENDS = SMPL24.indices(("left_hand", "right_hand", "left_foot", "right_foot", "left_wrist", "right_wrist"))


def disturbed(fit: Fit, body: Body, rotations: Tensor, betas: Tensor, trans: Tensor, radians: float, seed: int) -> Fit:
    """The fit's rows with the true bodies (N, …) and joint noise that is the same in all of them."""
    noise = radians * torch.randn(1, len(SMPL24), 3, generator=torch.Generator().manual_seed(seed))
    noise[:, ENDS] = 0
    noise[:, 0] *= 0.3
    turned = rotations @ axis_angle_to_matrix(noise)
    betas = betas.expand(len(fit), -1)
    posed = body.pose(turned, betas, trans, vertices=False)
    return replace(
        fit,
        poses=matrix_to_axis_angle(turned).flatten(1).numpy(),
        betas=betas.numpy().copy(),
        trans=trans.numpy(),
        joints3d=posed.joints.numpy(),
        joints2d=np.stack(
            [fit.camera(int(f)).project(j) for f, j in zip(fit.frame_index, posed.joints.numpy(), strict=True)]
        ).astype(np.float32),
    )


def clip_starts(count: int, body: Body) -> Iterator[tuple[Fit, Fit, np.ndarray]]:
    """Disturbed fits of the clip, the true one, and its frames."""
    clip = DrawnClip.make(body)
    frames = np.stack(list(clip.frames()))
    with Fitter(people="largest", focal=clip.focal) as fitter:
        found = fitter.fit(frames)
    found = replace(found.select(found.rows_of(found.largest_track)), frame_rate=clip.frame_rate)
    rows = torch.from_numpy(found.frame_index).long()
    for seed in range(count):
        radians = (0.0, 0.05, 0.1, 0.15)[seed % 4]
        args = (clip.rotations[rows], clip.betas, clip.trans[rows])
        yield disturbed(found, body, *args, radians, seed), disturbed(found, body, *args, 0.0, 0), frames


def image_starts(count: int, body: Body) -> Iterator[tuple[Fit, Fit, np.ndarray]]:
    """Disturbed fits of rendered people."""
    with Fitter(people="largest", detector="fast") as fitter:
        for seed, person in enumerate(render_population(count, 2025, "held_out")):
            found = fitter.fit_image(person.image, focal=person.focal)
            if not len(found):
                continue
            args = (person.rotations[None], person.betas[None], person.trans[None])
            radians = (0.0, 0.05, 0.1, 0.15)[seed % 4]
            yield disturbed(found, body, *args, radians, seed), disturbed(found, body, *args, 0.0, 0), person.image


def vertex_error(fit: Fit, truth: Fit, body: Body) -> np.ndarray:
    """(N,) mm about the pelvis."""
    rows = np.arange(len(fit))
    moved = [body_vertices(body, f, rows) - torch.from_numpy(f.joints3d[:, :1]) for f in (fit, truth)]
    return 1e3 * (moved[0] - moved[1]).norm(dim=-1).mean(-1).numpy()


def measure(
    name: str, starts: Iterator[tuple[Fit, Fit, np.ndarray]], kind: CorrespondenceKind, body: Body
) -> dict[str, Any]:
    """A line of results."""
    initial, refined_errors, accepted_errors, accepted = [], [], [], []
    with Refiner(RefineOptions(kind)) as refiner:
        for start, truth, pixels in starts:
            frames = FitFrames.of(start, pixels)
            aligned = refiner.align(start, frames)
            moved, refined = aligned.moved, refiner.accept(aligned)
            initial.append(vertex_error(start, truth, body))
            refined_errors.append(vertex_error(moved, truth, body))
            accepted_errors.append(vertex_error(refined, truth, body))
            tracks = refined.options.refinement["tracks"].values()
            accepted += [share > 0.5 for track in tracks for share in track["accepted"]]
    first, last, final = (np.concatenate(values) for values in (initial, refined_errors, accepted_errors))
    chosen, better = np.array(accepted), last < first
    return {
        "name": name,
        "bodies": len(first),
        "before_mm": float(first.mean()),
        "all_accepted_mm": float(last.mean()),
        "after_mm": float(final.mean()),
        "accepted": float(chosen.mean()),
        "better_if_accepted": float(better[chosen].mean()) if chosen.any() else None,
        "better_if_refused": float(better[~chosen].mean()) if (~chosen).any() else None,
    }


def main(arguments: Sequence[str]) -> None:
    clips, people = (int(arguments[i]) if len(arguments) > i else default for i, default in enumerate((6, 40)))
    body = default_body()
    print(json.dumps(measure("clip, flow", clip_starts(clips, body), "flow", body)), flush=True)
    print(json.dumps(measure("clip, keypoints", clip_starts(clips, body), "keypoints", body)), flush=True)
    print(json.dumps(measure("images, keypoints", image_starts(people, body), "keypoints", body)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
