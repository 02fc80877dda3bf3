"""A contact sheet of reposed people: each photograph, and its largest person in four poses.

    python tools/reposing_sheet.py sheet.png photos/*.jpg clip.mp4:50 --fits fits

Beside the photographs that are named (frames of videos as FILE:INDEX) it shows scikit-image's astronaut and
photographer and three rendered people, so that it can be made anywhere. Fits are made once and read from --fits then.
The poses: arms up, facing the camera; hands on the hips, turned by 40°; half a squat, by 75°; a wave, seen from behind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import write_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.lab.cache.encoding import decode_image
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.rendering.boxes import Box
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.scene import ReposingScene

POSES = (("arms_up", 0.0), ("hands_on_hips", 40.0), ("half_squat", 75.0), ("wave", 180.0))
"""Key pose and its turn to the person's left, degrees."""
LONGEST = 900  # pixels of a photograph's longer side: the sheet shows no more
RENDERED = 3
_FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def targets() -> list[RotationTarget]:
    """The poses as targets of one pose each, camera axes."""
    made = []
    for name, degrees in POSES:
        rotations = key_poses()[name].clone()
        turn = axis_angle_to_matrix(torch.tensor([0.0, np.deg2rad(degrees), 0.0], dtype=torch.float32))
        rotations[SMPL24.index("pelvis")] = _FACING @ turn @ rotations[SMPL24.index("pelvis")]
        shape = np.zeros((1, default_body().shape_count))
        made.append(RotationTarget(BodyParams.from_rotations(rotations[None].numpy(), shape, np.zeros((1, 3)))))
    return made


def photographs(named: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and image (H, W, 3) uint8 of each."""
    yield "astronaut", skimage.data.astronaut()
    yield "photographer", cv2.cvtColor(skimage.data.camera(), cv2.COLOR_GRAY2RGB)
    options = SyntheticOptions(count=2 * RENDERED, size=512, seed=5, companions=0.0, in_front=0.0, damage=0.2)
    source = SyntheticSource(options)
    for group in list(source.groups())[:RENDERED]:
        image = decode_image(next(iter(source.read(group))).image)
        assert image is not None
        yield f"rendered-{group.name}".replace("/", "-"), image
    for given in named:
        path, _, index = given.rpartition(":")
        if not index.isdigit():
            path, index = given, "0"
        (item,) = open_inputs([path])
        frame = next(islice(item.frames(ahead=0), int(index), None), None)
        if frame is None:
            raise SystemExit(f"{path}: has no frame {index}")
        yield Path(given).name.replace(":", "-"), frame.pixels


def reduced(image: np.ndarray) -> np.ndarray:
    """At most LONGEST pixels along its longer side."""
    scale = LONGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def scene_of(reposer: Reposer, name: str, photo: np.ndarray, fits: Path) -> ReposingScene:
    """The photograph read with its fit of the folder, which is made where it is missing."""
    file = fits / f"{name}.fit.npz"
    if not file.exists():
        fits.mkdir(parents=True, exist_ok=True)
        write_fit(file, reposer.fitter.fit_image(photo, name=name))
    return reposer.read(photo, name=name, fit=load_fit(file))


def cells(scene: ReposingScene, side: int) -> list[np.ndarray]:
    """The photograph and each pose, cut to the person's surroundings: (side, side, 3) uint8."""
    x0, y0, x1, y1 = scene.record.boxes[scene.rows[0]]
    reach, x, y = 0.75 * max(x1 - x0, y1 - y0), (x0 + x1) / 2, (y0 + y1) / 2
    whole = Box(0, 0, scene.photo.shape[1], scene.photo.shape[0])
    part = Box(int(x - reach), int(y - reach), int(x + reach), int(y + reach)).intersect(whole)
    images = [scene.photo, *(next(iter(scene.images(target))).image for target in targets())]
    return [_fitted(image[part.slices], side) for image in images]


def _fitted(image: np.ndarray, side: int) -> np.ndarray:
    """The image in the middle of a grey square."""
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    square = np.full((side, side, 3), 96, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def main() -> None:
    """Make the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("photos", nargs="*")
    parser.add_argument("--fits", type=Path, default=Path("fits"), help="folder of fit files, made where missing")
    parser.add_argument("--side", type=int, default=320, help="pixels of a cell")
    given = parser.parse_args()
    rows = []
    with Reposer() as reposer:
        for name, photo in photographs(given.photos):
            scene = scene_of(reposer, name, reduced(photo), given.fits)
            rows.append(np.concatenate(cells(scene, given.side), 1))
            print(name, flush=True)
    write_image(given.sheet, np.concatenate(rows))


if __name__ == "__main__":
    main()
