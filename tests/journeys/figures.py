"""Figures of accuracy by the commands as a user types them, and those that were stored with a commit.

    python -m journeys.figures [NAME …]      measures all, or some, and stores them in figures.json

The footage with truth lies beside the checkout, in `shared`; without it, the drawn clip and
the photographs of the package are measured alone.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.drawn_clip import DrawnClip
from helpers.python_sources import ROOT
from journeys.inputs import photographs
from journeys.shell import type_line

from benchmarks.bench_real_video import errors, nearest_joints, views
from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.conventions import LIMB_JOINTS, SMPL24
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.images import write_image
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe, pve
from humanpose_cli.lab.metrics.images import ssim_foreground
from humanpose_cli.reposing.reposer import Reposer

STORED = Path(__file__).with_name("figures.json")
SHARED = next(
    (parent / "shared" for parent in ROOT.parents if (parent / "shared" / "real" / "truth.npz").is_file()), None
)
REAL = SHARED / "real" if SHARED else Path()
LESS_IS_BETTER = {
    "pa_mpjpe_mm": 1.5,
    "mpjpe_mm": 3.0,
    "pve_mm": 3.0,
    "acceleration_mm": 0.5,
    "wrong_people": 0.0,
    "fall_error": 0.3,
    "camera_cm": 1.5,
    "camera_deg": 0.2,
    "wa_mm": 5.0,
    "w_mm": 8.0,
    "rte_percent": 0.3,
    "feet_cm_s": 1.0,
}
MORE_IS_BETTER = {"found": 0.01, "frames": 1.0, "flights": 0.0, "overlap": 0.01, "ssim": 0.01}
"""Metric → by how much it may be worse than stored, in its own unit."""

Figures = dict[str, float]


def typed(line: str, folder: Path) -> dict[str, Any]:
    """Type a line with `--json` and return its document. Raises RuntimeError if it fails."""
    outcome = type_line(f"{line} --json --quiet > typed.json", folder, 3600)
    if outcome.code:
        raise RuntimeError(f"{line}: exit code {outcome.code}\n{outcome.screen[-2000:]}")
    document: dict[str, Any] = json.loads((folder / "typed.json").read_text("utf-8"))
    return document


def of_views(folder: Path) -> Figures:
    """Errors of fits of single views, means over views."""
    each = []
    for view in views(REAL):
        path = folder / f"{view.path.name}.fit.npz"
        if path.is_file():
            fit = load_fit(path)
            each.append(
                errors(view, range(len(view.joints)), lambda t, f=fit, v=view: nearest_joints(f, t, v.points[t]))
            )
    return {name: float(np.mean([np.mean(errors_of_view[name]) for errors_of_view in each])) for name in each[0]}


def of_take(path: Path) -> Figures:
    """PA-MPJPE of the person of a take nearest to the truth, over the limbs that are known."""
    fit, truth = load_fit(path), np.load(REAL / "truth.npz")
    limbs, ours = [truth["joint_names"].tolist().index(name) for name in LIMB_JOINTS], SMPL24.indices(LIMB_JOINTS)
    known, joints = truth["valid"][:, limbs].all(1), truth["joints3d"][:, limbs]
    people = []
    for track in np.unique(fit.track_id):
        rows = np.flatnonzero((fit.track_id == track) & known[np.minimum(fit.frame_index, len(known) - 1)])
        found = pa_mpjpe(fit.joints3d[rows][:, ours], joints[fit.frame_index[rows]])
        people.append({"pa_mpjpe_mm": 1000 * float(found.mean()), "frames": float(len(rows))})
    return min(people, key=lambda person: (person["frames"] < 30, person["pa_mpjpe_mm"]))


def four_views(folder: Path) -> Figures:
    typed(f"hpc fit {REAL}/cam0*.mp4 --no-overlay --out fits", folder)
    return of_views(folder / "fits")


def covered(folder: Path) -> Figures:
    typed(f"hpc fit {REAL}/covered/cam0*.mp4 --no-overlay --out fits", folder)
    return of_views(folder / "fits")


def take_of_60(folder: Path) -> Figures:
    typed(f"hpc combine {REAL}/cam0*.mp4 --frames 0:60 --no-overlay --out take", folder)
    return of_take(folder / "take" / "take.fit.npz")


def take_of_all(folder: Path) -> Figures:
    typed(f"hpc combine {REAL}/cam0*.mp4 --no-overlay --out take", folder)
    return of_take(folder / "take" / "take.fit.npz")


def refined(folder: Path) -> Figures:
    typed(f"hpc fit {REAL}/cam01.mp4 --no-overlay --out fits", folder)
    (item,) = typed("hpc refine fits/cam01.mp4.fit.npz --out refined", folder)["items"]
    return of_views(folder / "refined") | {"overlap": item["overlap_after"]}


def flip(folder: Path) -> Figures:
    """Physics is the truth: two people, and a free fall."""
    assert SHARED is not None
    typed(f"hpc fit {SHARED}/clips/flip.mp4 --no-overlay --out fits", folder)
    (item,) = typed("hpc evaluate motion fits/flip.mp4.fit.npz", folder)["items"]
    people = len(np.unique(load_fit(folder / "fits" / "flip.mp4.fit.npz").track_id))
    return {
        "wrong_people": float(abs(people - 2)),
        "flights": float(item["flights"]),
        "fall_error": abs(item["flight_m_s2"] - 9.81),
    }


def walking(folder: Path) -> Figures:
    assert SHARED is not None
    typed(f"hpc fit {SHARED}/walking/follow.mp4 --no-overlay --out fits", folder)
    scorer = runpy.run_path(str(SHARED / "walking" / "score.py"))["score"]
    values = scorer(folder / "fits" / "follow.mp4.fit.npz", SHARED / "walking" / "follow.truth.npz")
    return {name: float(values[name]) for name in values if name in LESS_IS_BETTER}


def drawn_clip(folder: Path) -> Figures:
    """A drawn clip whose bodies are known, and its first frame in another pose."""
    clip = DrawnClip.make(default_body())
    images = list(clip.frames())
    with VideoWriter(folder / "drawn.mp4", clip.frame_rate) as writer:
        for image in images:
            writer.write(image)
    typed("hpc fit drawn.mp4 --no-overlay --out fits", folder)
    fit = load_fit(folder / "fits" / "drawn.mp4.fit.npz")
    rows = fit.rows_of(fit.largest_track)
    frames = fit.frame_index[rows].tolist()
    truth = clip.body.pose(clip.rotations[frames], clip.betas, clip.trans[frames])
    joints, true_joints = fit.joints3d[rows], truth.joints.numpy()
    pelvis = SMPL24.index("pelvis")
    vertices = body_vertices(clip.body, fit, rows)
    return {
        "found": len(rows) / len(clip),
        "ssim": similarity_of_wave(clip, images[0]),
        "mpjpe_mm": 1000 * float(mpjpe(joints, true_joints).mean()),
        "pa_mpjpe_mm": 1000 * float(pa_mpjpe(joints, true_joints).mean()),
        "pve_mm": 1000 * float(pve(vertices, truth.vertices, joints[:, pelvis], true_joints[:, pelvis]).mean()),
    }


def similarity_of_wave(clip: DrawnClip, frame: np.ndarray) -> float:
    """Return the SSIM of the first frame, reposed so that the person waves, to the true image of that pose."""
    pelvis = SMPL24.index("pelvis")
    rotations = key_poses().rotations[key_poses().names.index("wave")].clone()
    rotations[pelvis] = clip.rotations[0, pelvis]  # the side that the frame shows, so that nothing has to be made up
    with Reposer() as reposer:
        scene = reposer.read(frame, name="drawn")
        axis_angles = matrix_to_axis_angle(rotations).reshape(1, -1).numpy()
        target = RotationTarget(BodyParams(axis_angles, np.zeros((1, 10)), scene.record.trans[:1]))
        reposed = next(iter(scene.images(target))).image
    true_image = clip.image(rotations, clip.trans[0])
    first, second = (torch.from_numpy(image).double().permute(2, 0, 1)[None] / 255 for image in (reposed, true_image))
    silhouette = torch.from_numpy(clip.silhouette(rotations, clip.trans[0]))
    return float(ssim_foreground(first, second, silhouette[None, None], "uniform"))


def counts(folder: Path) -> Figures:
    """People that are missing or too many on photographs of two, one and one."""
    expected = {"man": 2, "back": 1, "astronaut": 1}
    for name in expected:
        write_image(folder / f"{name}.png", photographs()[name])
    items = typed(f"hpc fit {' '.join(f'{name}.png' for name in expected)} --independent --no-overlay", folder)["items"]
    found = {Path(item["input"]).stem: item["people"] for item in items}
    return {"wrong_people": float(sum(abs(found[name] - count) for name, count in expected.items()))}


EVERYWHERE: dict[str, Callable[[Path], Figures]] = {"drawn clip": drawn_clip, "counts": counts}
OF_SHARED: dict[str, Callable[[Path], Figures]] = {
    "four views": four_views,
    "covered": covered,
    "take of 0:60": take_of_60,
    "take of all frames": take_of_all,
    "refined": refined,
    "flip": flip,
    "walking": walking,
}


def stored() -> dict[str, Figures]:
    figures: dict[str, Figures] = json.loads(STORED.read_text("utf-8"))["figures"] if STORED.is_file() else {}
    return figures


def worse(measured: Figures, before: Figures) -> list[str]:
    """List the metrics that are worse than stored by more than their tolerances."""
    found = []
    for name, value in before.items():
        if name in LESS_IS_BETTER:
            good = measured[name] <= value + LESS_IS_BETTER[name]
        else:
            good = measured[name] >= value - MORE_IS_BETTER[name]
        if not good:
            found.append(f"{name}: {measured[name]:.3g}, stored {value:.3g}")
    return found


def main(names: list[str]) -> None:
    figures = EVERYWHERE | (OF_SHARED if SHARED else {})
    for name in names or figures:
        with tempfile.TemporaryDirectory() as folder:
            measured = {key: round(value, 4) for key, value in figures[name](Path(folder)).items()}
        sys.stdout.write(f"{name} {measured} worse: {worse(measured, stored().get(name, {}))}\n")
        sys.stdout.flush()
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        document = {"commit": commit, "figures": stored() | {name: measured}}
        STORED.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
