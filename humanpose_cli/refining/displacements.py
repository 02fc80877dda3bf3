"""The displacement file `NAME.displacements.npz`: where the pixels of rendered bodies lie in the photographs.

The fields are those of a refinement's first round, from the given fit to the photograph.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.person_view import PersonView
from humanpose_cli.fitting.result import Fit
from humanpose_cli.outputs.atomic import atomic_path
from humanpose_cli.outputs.output_names import beside_fit
from humanpose_cli.refining.correspondences import Displacements
from humanpose_cli.refining.refiner import OnDisplacements, Refiner

_VERSION = 2  # 1 had three arrays for each body
_PIXELS = 300 * 384**2  # of all crops, each 7 bytes of memory
_HALF = 0.03  # of the crop's side, noise at which half of a displacement is trusted


def displacements_path(fit: Path) -> Path:
    """Return the path of the displacements of a refined fit: `clip.mp4.displacements.npz`."""
    return beside_fit(fit, ".displacements.npz")


@contextmanager
def displacement_file(
    path: Path | None, refiner: Refiner, fit: Fit, max_frames: int
) -> Generator[OnDisplacements | None, None, None]:
    """Collect the displacements of a refinement, and write them at the end.

    Args:
        path: The file. None collects and writes nothing.
        refiner: The refiner, which must compare images.
        fit: The fit that it refines.
        max_frames: The maximum number of frames whose displacements are written, spread evenly. There are fewer if
            the crops of the usual size are more than about 300.

    Yields:
        `on_displacements` of `Refiner.refine`.

    Raises:
        UsageError: If the refiner does not compare images.
    """
    if path is None:
        yield None
        return
    refiner.check_compares("save_displacements")
    numbers, size = np.unique(fit.frame_index), refiner.options.size
    fitting = _PIXELS * len(numbers) // (size**2 * max(1, len(fit)))
    count = min(max_frames, len(numbers), max(1, fitting))
    selected = numbers[np.linspace(0, len(numbers) - 1, count).round().astype(int)]
    saved = np.isin(fit.frame_index, selected)
    n = int(saved.sum())
    track_id, frame_index = np.zeros(n, np.int32), np.zeros(n, np.int32)
    crop_to_image, pixels = np.zeros((n, 2, 3)), np.zeros((n, 2, size, size), np.float16)
    confidence, mask = np.zeros((n, size, size), np.float16), np.zeros((n, size, size), bool)
    places = iter(range(n))

    def save(rows: NDArray[np.integer], views: Sequence[PersonView], estimate: Displacements, drawn: Tensor) -> None:
        for i, row in enumerate(rows):
            if saved[row]:
                place = next(places)
                track_id[place], frame_index[place] = fit.track_id[row], fit.frame_index[row]
                crop_to_image[place] = views[i].crop.affine.inverse().matrix
                mask[place] = drawn[i, 0].numpy() > 0
                pixels[place] = estimate.pixels[i].numpy() * mask[place]
                noise = estimate.noise[i, 0]
                confidence[place] = (1 / (1 + (noise / (_HALF * size)).square())).numpy() * mask[place]

    yield save
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            track_id=track_id,
            frame_index=frame_index,
            crop_to_image=crop_to_image,
            pixels=pixels,
            confidence=confidence,
            mask=mask,
            frame_names=np.array(fit.frame_names.tolist(), dtype=str),
            image_size=np.asarray(fit.image_size, np.int32),
            settings=np.array(json.dumps(refiner.identity, ensure_ascii=False, sort_keys=True, allow_nan=False)),
            displacements_version=np.array(_VERSION, np.int32),
        )
