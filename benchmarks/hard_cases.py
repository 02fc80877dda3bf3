"""A page of hard cases: crowds, real people half covered, and a clip with a flight; figures and overlays.

    python benchmarks/hard_cases.py OUT [--crowds 20] [--real FOLDER] [--clip FILE] [--before OUT]

Crowds are rendered (`crowd=8`, seed 11), with truth. FOLDER holds videos cam01.mp4 … of one person and truth.npz with
joints3d (T, J, 3), joint_names, and of each camera K, distortion, R and t; 40 % of his body are covered in five frames
of each by boxes, discs or people of the crowds. FILE is a clip with a jump. What OUT of another version holds stands
beside this version's.

Found is a person of whom five or more of 13 joints are visible, if the median of these lies within 10 % of their height
from those of a fit. Right joints are within 8 % of the height (1.7 m), of all people with five visible joints. Wrong
limbs are joints off by more than 10 cm about the hips; marked are those below the confidence of a doubtful limb.
OUT/index.html is the page, OUT/figures.json the figures.
"""

from __future__ import annotations

import argparse
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from bench_crowds import MIN_VISIBLE, RIGHT, Crowd, matched
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, LIMB_JOINTS, SMPL24
from humanpose_cli.detect.search import BODY
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.sequences import GRAVITY, flights
from humanpose_cli.geometry.similarity import procrustes_align
from humanpose_cli.io.images import write_image
from humanpose_cli.io.video import VideoReader
from humanpose_cli.lab.cache.encoding import decode_image
from humanpose_cli.lab.cache.label_maps import decode_map
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions

LIMBS = SMPL24.indices(LIMB_JOINTS)
HIPS = [LIMB_JOINTS.index("left_hip"), LIMB_JOINTS.index("right_hip")]
HEIGHT = 1.7  # metres
COVERED, MAX_COVER = 0.4, 0.5  # shares of the body's area
WRONG, MARKED = 0.1, 0.25  # metres; confidence
Pixels = NDArray[np.uint8]
Array = NDArray[Any]


class Case(NamedTuple):
    """An image with its people, and limb joints (P, 12, 3) of these in camera axes, metres."""

    crowd: Crowd
    limbs: Array


def crowds(count: int) -> Iterator[tuple[Case, Array]]:
    """Rendered crowds, and masks (P, H, W) of their people."""
    options = SyntheticOptions(count=count, size=640, crowd=8, validation=0.0, test=1.0, seed=11)
    source = SyntheticSource(options)
    for group in source.groups():
        for sample in source.read(group):
            size, people = options.size, sample.people
            keypoints = np.stack([person.keypoints[BLAZEPOSE33.name][BODY] for person in people])
            joints = np.stack([person.joints[SMPL24.name][:, :3] for person in people])
            points = keypoints[..., :2]
            visible = (keypoints[..., 2] > 0.5) & ((points >= 0) & (points < size)).all(-1)
            assert sample.focal is not None
            heights = sample.focal * HEIGHT / joints[:, 0, 2]
            persons = decode_map("persons", sample.maps["persons"])
            masks = np.stack([persons == 1 + index for index in range(len(people))])
            yield Case(Crowd(decode_image(sample.image), points, visible, heights), joints[:, LIMBS]), masks


def covered_frames(folder: Path, pasted: Sequence[tuple[Pixels, Array]]) -> Iterator[Case]:
    """Frames of the real videos with boxes, discs, or people (image, mask) of `pasted` over the body, in turn."""
    truth = np.load(folder / "truth.npz")
    limbs = [truth["joint_names"].tolist().index(name) for name in LIMB_JOINTS]
    for number, path in enumerate(sorted(folder.glob("cam*.mp4"))):
        K, distortion, R, t = (truth[name][number].astype(float) for name in ("K", "distortion", "R", "t"))
        wanted = np.linspace(5, len(truth["joints3d"]) - 15, 5).astype(int).tolist()
        for index, image in VideoReader(path):
            if index not in wanted:
                continue
            joints = truth["joints3d"][index, limbs] @ R.T + t
            points = cv2.projectPoints(joints, np.zeros(3), np.zeros(3), K, distortion)[0][:, 0]
            random = np.random.default_rng((number, index))
            painted, cover = _covered(random, image, points, (number + wanted.index(index)) % 3, pasted)
            columns, rows = np.clip(points, 0, np.array(cover.shape[::-1]) - 1).astype(int).T
            visible = np.concatenate([[False], ~cover[rows, columns]])  # the truth has no nose
            size = np.array([np.ptp(points, axis=0).max()])
            keypoints = np.concatenate([points[:1], points])
            yield Case(Crowd(painted, keypoints[None], visible[None], size), joints[None])


def _covered(
    random: np.random.Generator, image: Pixels, points: Array, kind: int, pasted: Sequence[tuple[Pixels, Array]]
) -> tuple[Pixels, Array]:
    """Cover 40 to 50 % of a body with limbs at points (12, 2); return the image and the mask (H, W) of the cover."""
    body, size = _silhouette(points, image.shape[:2]), float(np.ptp(points, axis=0).max())
    painted, cover = image.copy(), np.zeros(image.shape[:2], bool)
    for _ in range(500):
        if (cover & body).sum() >= COVERED * body.sum():
            break
        middle = points[random.integers(len(points))] + random.normal(0, 0.05 * size, 2)
        layer, shape = np.zeros_like(image), np.zeros(cover.shape, np.uint8)
        corner, reach = middle.astype(int).tolist(), int(random.uniform(0.08, 0.2) * size)
        if kind == 2:
            person, mask = pasted[random.integers(len(pasted))]
            scale = random.uniform(0.7, 1.0) * size / np.ptp(np.nonzero(mask), axis=1).max()
            centre = np.argwhere(mask).mean(0)[::-1]
            affine = np.array([[scale, 0, middle[0] - scale * centre[0]], [0, scale, middle[1] - scale * centre[1]]])
            layer = cv2.warpAffine(person, affine, cover.shape[::-1])
            shape = cv2.warpAffine(mask.astype(np.uint8), affine, cover.shape[::-1], flags=cv2.INTER_NEAREST)
        elif kind == 1:
            cv2.circle(shape, corner, reach, 1, -1)
            layer[:] = random.integers(0, 256, 3)
        else:
            cv2.rectangle(shape, [c - reach for c in corner], [c + reach for c in corner], 1, -1)
            layer[:] = random.integers(0, 256, 3)
        if ((cover | (shape > 0)) & body).sum() <= MAX_COVER * body.sum():
            painted[shape > 0], cover = layer[shape > 0], cover | (shape > 0)
    return painted, cover


def _silhouette(points: Array, shape: tuple[int, int]) -> Array:
    """(H, W) bool: the trunk and limbs as thick lines."""
    drawn, width = np.zeros(shape, np.uint8), int(0.09 * np.ptp(points, axis=0).max())
    pixels = {name: points[row].astype(int).tolist() for row, name in enumerate(LIMB_JOINTS)}
    for side in ("left", "right"):
        for ends in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            cv2.line(drawn, *(pixels[f"{side}_{end}"] for end in ends), 1, width)
    trunk = [pixels[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    cv2.fillPoly(drawn, [np.array(trunk, np.int32)], 1)
    return drawn > 0


def _points(fit: Fit) -> Array:
    """Return the pixels (N, 13, 2) of the fitted bodies' joints, with the detector's nose."""
    nose = fit.keypoints2d[:, BLAZEPOSE33.index("nose"), None, :2]
    return np.concatenate([nose, fit.joints2d[:, LIMBS]], axis=1)


def figures(cases: Sequence[Case], fits: Sequence[Fit]) -> dict[str, float]:
    """Return shares of detected people and right joints, PA-MPJPE of visible joints in mm, and marked wrong limbs."""
    found, right, errors, wrong, marked = [], [], [], [], []
    for case, fit in zip(cases, fits, strict=True):
        points = _points(fit)
        of = matched(case.crowd, points)
        for person, visible in enumerate(case.crowd.visible):
            if visible.sum() < MIN_VISIBLE:
                continue
            found.append(person in of)
            if person not in of:
                right += [False] * int(visible.sum())
                continue
            row = of[person]
            apart = np.linalg.norm(points[row] - case.crowd.joints[person], axis=1) / case.crowd.height[person]
            right += (apart < RIGHT)[visible].tolist()
            limbs, truth = fit.joints3d[row, LIMBS].astype(float), case.limbs[person]
            visible_limbs = visible[1:]
            if visible_limbs.sum() >= MIN_VISIBLE:
                aligned = procrustes_align(
                    *(torch.from_numpy(joints[visible_limbs])[None] for joints in (limbs, truth))
                )[0]
                errors.append(float(np.linalg.norm(aligned.numpy() - truth[visible_limbs], axis=-1).mean()))
            about = [joints - joints[HIPS].mean(0) for joints in (limbs, truth)]
            wrong += (np.linalg.norm(about[0] - about[1], axis=1) > WRONG).tolist()
            marked += (fit.joint_confidence[row, LIMBS] < MARKED).tolist()
    off, low = np.array(wrong, bool), np.array(marked, bool)
    return {
        "people": len(found),
        "found": float(np.mean(found)),
        "right joints": float(np.mean(right)),
        "PA of visible joints, mm": 1e3 * float(np.mean(errors)),
        "wrong limbs marked": float(low[off].mean()) if off.any() else 1.0,
        "right limbs marked": float(low[~off].mean()),
    }


def clip_figures(fit: Fit) -> dict[str, float]:
    """People, frames that are filled in, and the acceleration of the body in the longest flight, metres / second²."""
    longest, fall = 0.0, 0.0
    for person in fit.people:
        rows = person.rows
        height = fit.joints3d[rows].mean(1)[:, 1].astype(float)
        time = np.asarray(fit.frame_times)[fit.frame_index[rows]]
        for first, last in flights(torch.from_numpy(height), torch.from_numpy(time)):
            if time[last] - time[first] > longest:
                longest, part = time[last] - time[first], slice(first, last + 1)
                fall = float(2 * np.polyfit(time[part] - time[first], height[part], 2)[0])
    lost = int(fit.interpolated.sum())
    return {"people": len(fit.people), "frames filled": lost, f"fall, of {GRAVITY} m/s²": fall}


def main() -> None:
    """Fit all cases, write figures, overlays and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--crowds", type=int, default=20)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rendered = list(crowds(options.crowds))
    groups = {"crowds": [case for case, _ in rendered]}
    if options.real is not None:
        pasted = [
            (case.crowd.image, mask) for case, masks in rendered for mask in masks if mask.sum() > 0.02 * mask.size
        ]
        groups["covered"] = list(covered_frames(options.real, pasted))
    results: dict[str, dict[str, float]] = {}
    names: list[str] = []
    with Fitter() as fitter:
        for name, cases in groups.items():
            fits = []
            for case in cases:
                fit = fitter.fit_image(case.crowd.image)
                fits.append(fit)
                names.append(f"{name}-{len(fits):02d}.jpg")
                write_image(options.out / names[-1], fit.overlay(image=case.crowd.image))
                print(f"{name}: {len(fits)} of {len(cases)}", flush=True)
            results[name] = figures(cases, fits)
    if options.clip is not None:
        import humanpose_cli as hp

        fit = hp.fit(options.clip)
        results["clip"] = clip_figures(fit)
        for frame in np.linspace(0, fit.frame_count - 1, 12).astype(int).tolist():
            names.append(f"clip-{frame:04d}.jpg")
            write_image(options.out / names[-1], fit.overlay(frame))
    (options.out / "figures.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    before = json.loads((options.before / "figures.json").read_text("utf-8")) if options.before else {}
    (options.out / "index.html").write_text(page(results, before, names, options.before), "utf-8")
    print(json.dumps(results, indent=1))


def page(
    results: dict[str, dict[str, float]], before: dict[str, dict[str, float]], files: list[str], folder: Path | None
) -> str:
    """Return the page: a table, and each overlay next to the overlay of `folder`."""
    rows = "".join(
        f"<tr><td>{name}</td><td>{html.escape(figure)}</td>"
        f"<td>{_number(before.get(name, {}).get(figure))}</td><td>{_number(value)}</td></tr>"
        for name, values in results.items()
        for figure, value in values.items()
    )
    shown = "".join(
        "<p>" + "".join(f'<img src="{html.escape(source)}" alt="{file}">' for source in sources) + "</p>"
        for file in files
        for sources in [[str((folder / file).resolve()), file] if folder else [file]]
    )
    style = (
        "img { max-height: 420px; max-width: 48%; margin: 2px } td { padding: 2px 12px } body { font: 15px sans-serif }"
    )
    head = "<tr><th>cases</th><th>figure</th><th>before</th><th>now</th></tr>"
    return (
        f'<!doctype html><meta charset="utf-8"><title>Hard cases</title><style>{style}</style>'
        f"<h1>Hard cases</h1><table>{head}{rows}</table>{shown}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
