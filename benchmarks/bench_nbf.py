"""One forward pass of Neural Body Fitting for people in a 1080p image: crop, segmenter, regressor, body, placing.

The shipped weights, people as the detector gives them, detection not counted. Also the keypoint fit that begins with
it, for comparison. Times are the least and the median of the repeats; on a GPU, people a second of a batch of 64.

    python benchmarks/bench_nbf.py [--device cuda]
"""

from __future__ import annotations

import json
import statistics
from typing import Any

import numpy as np
import torch
from repeats import measured_devices, times

from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera, project
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.networks.weights import shipped_weights

SIZE, FOCAL = (1080, 1920), 1600.0
REACH_MS, REACH_GPU = 60.0, 500.0


def people(count: int) -> list[DetectedPerson]:
    """Upright people side by side, landmarks as a perfect detector would give them."""
    body = default_body()
    turns = torch.eye(3).repeat(1, 24, 1, 1)
    turns[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    people_of_images = []
    for x in np.linspace(-1.5, 1.5, count) if count > 1 else [0.0]:
        trans = torch.tensor([[float(x), 0.2, 4.5]])
        betas = torch.zeros(1, body.shape_count)
        posed = body.pose(turns, betas, trans, vertices=False)
        points = body.pose_landmarks(BLAZEPOSE33.name, posed, betas)
        centre = torch.tensor([[SIZE[1] / 2, SIZE[0] / 2]])
        pixels = project(points, torch.tensor([FOCAL]), centre)[0].numpy()
        hips = points[0, BLAZEPOSE33.indices(("left_hip", "right_hip"))].mean(0)
        mask = PersonMask(
            np.full((256, 256), 255, np.uint8), Affine2D(np.array([[3.0, 0, pixels[:, 0].mean() - 384], [0, 3, 150]]))
        )
        people_of_images.append(
            DetectedPerson(
                box=np.concatenate((pixels.min(0) - 20, pixels.max(0) + 20)),
                keypoints=np.concatenate((pixels, np.full((33, 1), 0.9)), 1),
                world=(points[0] - hips).numpy(),
                spread=np.ones(33),
                world_spread=np.full(33, 0.01),
                mask=mask,
                score=0.9,
            )
        )
    return people_of_images


def main() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    for device in measured_devices(__doc__):
        for name in ("nbf-proxy", "nbf-parts"):
            network = load_nbf(shipped_weights(name), segmenter=shipped_weights("segmenter"), device=device)
            camera = Camera.of_image(SIZE[::-1], FOCAL)
            for count in (1, 16) if device == "cpu" else (1, 64):
                crowd = people(count)
                spent = times(lambda: network.finish(network.prepare(image, crowd, camera)), 20, device)  # noqa: B023
                row: dict[str, Any] = {"network": name, "people": count, "device": device}
                row |= {"min_ms": round(min(spent), 1), "median_ms": round(statistics.median(spent), 1)}
                row["people_per_second"] = round(1000 * count / min(spent))
                if count == 1 and device == "cpu":
                    row["reach"] = f"{REACH_MS:.0f} ms"
                elif device != "cpu" and count > 1:
                    row["reach"] = f"{REACH_GPU:.0f} people/s"
                print(json.dumps({**row, "threads": torch.get_num_threads()}), flush=True)


if __name__ == "__main__":
    main()
