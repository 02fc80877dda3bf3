"""Count on photographs how often garment labels find that a garment is closed across the legs.

    python tools/judge_garments.py PEOPLE --weights RUN [--out sheet.png]

PEOPLE is a folder of photographs with labels.json: a list of {"file", "box": [x0, y0, x1, y1] in pixels, "closed"}. A
skirt, dress or buttoned coat is closed; trousers and shorts are open. For each person, the tool prints the share of
hanging cloth in the probabilities of hanging cloth, trousers and skin, over the upper thighs and between them, from 15
to 65 % of the way from hip to knee, within the person's mask. Above a half, the garment is closed. Labels of the image
and of its mirror image are averaged. None of these numbers was chosen on photographs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, GARMENTS
from humanpose_cli.core.crop import Crop
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours
from humanpose_cli.models.segmenter.network import Segmenter
from humanpose_cli.networks.weights import find_weights

_FROM, _TO = 0.15, 0.65  # of the way from hip to knee
_THIGH, _HALF_THIGH = 0.40, 0.075  # metres: length, and half of the width that is counted
_MIN_PIXELS = 40  # of the crop


def labels_of_person(segmenter: Segmenter, image: NDArray[np.uint8], box: NDArray[Any]) -> tuple[NDArray[Any], Crop]:
    """Return the mean probabilities (7, S, S) of a person in an image and in its mirror image, and the crop."""
    result = segmenter.segment(image, box)
    mirrored_box = np.array([image.shape[1] - box[2], box[1], image.shape[1] - box[0], box[3]])
    mirrored = segmenter.segment(np.ascontiguousarray(image[:, ::-1]), mirrored_box)
    return (result.probabilities + mirrored.probabilities[..., ::-1]) / 2, result.crop


def thighs(person: DetectedPerson, crop: Crop) -> NDArray[np.bool_]:
    """Return the pixels (S, S) of the upper thighs and between them, within the person's mask."""
    names = ("left_hip", "right_hip", "left_knee", "right_knee")
    points = crop.points(person.keypoints[BLAZEPOSE33.indices(names), :2])
    hips, knees = points[:2], points[2:]
    start, end = hips + _FROM * (knees - hips), hips + _TO * (knees - hips)
    width = 2 * _HALF_THIGH / _THIGH * np.linalg.norm(knees - hips, axis=1).max()
    region = np.zeros(crop.size[::-1], np.uint8)
    cv2.fillConvexPoly(region, cv2.convexHull(np.rint(np.concatenate((start, end))).astype(np.int32)), 1)
    for one, other in zip(np.rint(start).astype(int).tolist(), np.rint(end).astype(int).tolist(), strict=True):
        cv2.line(region, one, other, 1, max(1, round(float(width))))
    assert person.mask is not None
    return (region > 0) & (person.mask.in_view(crop.affine, crop.size) > 0.5)


def hanging_share(probabilities: NDArray[Any], region: NDArray[np.bool_]) -> float:
    """Return the share of hanging cloth in hanging cloth, trousers and skin of a region; NaN if it is too small."""
    if region.sum() < _MIN_PIXELS:
        return float("nan")
    sums = probabilities[:, region].sum(1)
    hanging, trousers, skin = (float(sums[1 + GARMENTS.index(name)]) for name in ("hanging", "trousers", "skin"))
    return hanging / max(hanging + trousers + skin, 1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("people", type=Path, help="folder of photographs with labels.json")
    parser.add_argument("--weights", required=True, help="folder of a run, or weights file")
    parser.add_argument("--out", type=Path, help="PNG that shows each person and the labels")
    args = parser.parse_args()
    segmenter, detector = Segmenter.load(find_weights(args.weights)), PersonDetector()
    counts = {True: [0, 0], False: [0, 0]}  # closed → people, and those that are called closed
    panels = []
    for label in json.loads((args.people / "labels.json").read_text("utf-8")):
        image, box = read_image(args.people / label["file"]).pixels, np.array(label["box"], np.float32)
        probabilities, crop = labels_of_person(segmenter, image, box)
        people = [person for person in detector.detect(image) if person.mask is not None]
        region = np.zeros(crop.size[::-1], bool)
        if people:
            nearest = min(people, key=lambda person: float(np.abs(person.box - box).sum()))
            region = thighs(nearest, crop)
        share = hanging_share(probabilities, region)
        colours = as_bytes(code_colours(len(GARMENTS)))[probabilities.argmax(0)]
        outline = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        colours[outline > 0] = 255
        panels.append(np.concatenate((crop.image(image), colours), 1))
        if np.isnan(share):
            print(f"{label['file']}: no legs found")
            continue
        closed = bool(label["closed"])
        counts[closed][0] += 1
        counts[closed][1] += share > 0.5
        verdict = "" if (share > 0.5) == closed else "  WRONG"
        print(f"{label['file']}: {share:.2f} {'closed' if closed else 'open'}{verdict}", flush=True)
    print(f"found {counts[True][1]} of {counts[True][0]} closed; wrong {counts[False][1]} of {counts[False][0]} open")
    if args.out is not None:
        rows = [np.concatenate(panels[k : k + 3], 1) for k in range(0, len(panels) // 3 * 3, 3)]
        write_image(args.out, np.concatenate(rows))


if __name__ == "__main__":
    main()
