"""Count on photographs how often garment labels find that a garment is closed across the legs.

    python tools/judge_garments.py PEOPLE [--weights RUN] [--out sheet.png]

PEOPLE is a folder of photographs with labels.json: a list of {"file", "box": [x0, y0, x1, y1] in pixels, "closed"}. A
skirt, dress or buttoned coat is closed; trousers and shorts are open. For each person, the tool prints the share of
hanging cloth in the probabilities of hanging cloth, trousers and skin, over the upper thighs and between them, from 15
to 65 % of the way from hip to knee, within the person's mask. Above `CLOSED`, the garment is closed. Labels of the
image and of its mirror image are averaged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from humanpose_cli.avatar.garment_labels import CLOSED, GarmentLabels, thighs
from humanpose_cli.core.conventions import BLAZEPOSE33, GARMENTS
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours
from humanpose_cli.models.segmenter.network import Segmenter
from humanpose_cli.networks.weights import find_weights

_LEGS = BLAZEPOSE33.indices(("left_hip", "right_hip", "left_knee", "right_knee"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("people", type=Path, help="folder of photographs with labels.json")
    parser.add_argument("--weights", default="garments", help="a run, or weights; default: the shipped ones")
    parser.add_argument("--out", type=Path, help="PNG that shows each person and the labels")
    args = parser.parse_args()
    segmenter, detector = Segmenter.load(find_weights(args.weights)), PersonDetector()
    counts = {True: [0, 0], False: [0, 0]}  # closed → people, and those that are called closed
    panels = []
    for label in json.loads((args.people / "labels.json").read_text("utf-8")):
        image, box = read_image(args.people / label["file"]).pixels, np.array(label["box"], np.float32)
        labels = GarmentLabels.of(segmenter, image, box)
        region = np.zeros(labels.crop.size[::-1], bool)
        for person in sorted(detector.detect(image), key=lambda person: float(np.abs(person.box - box).sum()))[:1]:
            if person.mask is not None:
                mask = person.mask.in_view(labels.crop.affine, labels.crop.size) > 0.5
                region = thighs(labels.crop.points(person.keypoints[_LEGS, :2]), mask)
        share = labels.hanging_share(region)
        colours = as_bytes(code_colours(len(GARMENTS)))[labels.probabilities.argmax(0)]
        outline = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        colours[outline > 0] = 255
        panels.append(np.concatenate((labels.crop.image(image), colours), 1))
        if np.isnan(share):
            print(f"{label['file']}: no legs found")
            continue
        closed = bool(label["closed"])
        counts[closed][0] += 1
        counts[closed][1] += share > CLOSED
        verdict = "" if (share > CLOSED) == closed else "  WRONG"
        print(f"{label['file']}: {share:.2f} {'closed' if closed else 'open'}{verdict}", flush=True)
    print(f"found {counts[True][1]} of {counts[True][0]} closed; wrong {counts[False][1]} of {counts[False][0]} open")
    if args.out is not None:
        rows = [np.concatenate(panels[k : k + 3], 1) for k in range(0, len(panels) // 3 * 3, 3)]
        write_image(args.out, np.concatenate(rows))


if __name__ == "__main__":
    main()
