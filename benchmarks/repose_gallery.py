"""A gallery of reposed photographs and rendered people: every input in four poses, next to another version's images.

    python benchmarks/repose_gallery.py OUT [PHOTO ...] [--rendered 8] [--before OUT] [--blind SEED] [--sheets FOLDER]

Inputs are photographs of yours, scikit-image's astronaut and photographer, and rendered people with folded arms, hands
on the hips, in a pocket or before the face, and with neighbours (seed 41). Poses are of the shipped library, as the
camera sees the trunk: waving and a lunge from the front, hands on the hips from the side, standing from behind.
OUT/index.html shows them, and what OUT of another version holds beside them.

`--blind` draws which of the two versions stands on the left, image by image, and writes the list of what was drawn to
OUT/key.json and the page without names to OUT/blind.html: faults can then be counted without knowing the version.
`--sheets` writes an image of each input's row, cut to the person's surroundings, with the row of the other version
above it.
"""

from __future__ import annotations

import argparse
import html
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import HpcError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.lab.cache.encoding import decode_image
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.synthetic.poses import Performance, Pose, held_pose
from humanpose_cli.rendering.boxes import Box
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.scene import ReposingScene

TARGETS = {"wave": ("wave", 0), "lunge": ("lunge", 0), "side": ("hands_on_hips", 60), "behind": ("standing", 180)}
"""Name: key pose, and degrees that it is turned away from the camera."""
HELD = ("arms_crossed", "hands_on_hips", "hand_in_pocket", "hands_to_face", "arms_crossed", "carrying", "hand_to_chin")
SIDE = 640  # pixels of rendered images
CELL = 160  # pixels of an image on a sheet
Pixels = NDArray[np.uint8]


class Input(NamedTuple):
    """An image of the gallery."""

    name: str
    image: Pixels


class HeldPoses(SyntheticSource):
    """People who hold the poses of `HELD`, every second one among neighbours."""

    def _performance(self, random: np.random.Generator, number: int, split: str, role: int) -> Performance:
        if role:
            return super()._performance(random, number, split, role)
        name = HELD[number % len(HELD)]
        return held_pose(Pose(key_poses().rotations[key_poses().names.index(name)], name, "upright"))

    def _companions(self, random: np.random.Generator) -> int:
        return 0


class HeldAmongNeighbours(HeldPoses):
    """The same among two or three neighbours who stand close."""

    def _companions(self, random: np.random.Generator) -> int:
        return int(random.integers(2, 4))


def inputs(photos: Sequence[Path], rendered: int) -> Iterator[Input]:
    """The gallery's images."""
    for path in photos:
        yield Input(path.stem, read_image(path).pixels)
    yield Input("astronaut", skimage.data.astronaut())
    yield Input("photographer", cv2.cvtColor(skimage.data.camera(), cv2.COLOR_GRAY2RGB))
    for number in range(rendered):
        kind, crowd = ((HeldPoses, 0), (HeldAmongNeighbours, 4))[number % 2]
        options = SyntheticOptions(
            count=number + 1, size=SIDE, seed=41, crowd=crowd, companions=0, in_front=0, damage=0.3, texture_size=1024
        )
        source = kind(options)
        sample = next(iter(source.read(source.groups()[number])))
        image = decode_image(sample.image)
        assert image is not None
        yield Input(f"rendered-{number:02d}", image)


def target(name: str) -> RotationTarget:
    """A key pose before the camera: body to camera axes, x right, y down."""
    pose, turn = TARGETS[name]
    rotations = key_poses().rotations[key_poses().names.index(pose)].clone()
    about = axis_angle_to_matrix(torch.tensor([0.0, np.radians(turn), 0.0], dtype=rotations.dtype))
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=rotations.dtype))
    rotations[0] = facing @ about @ rotations[0]
    poses = matrix_to_axis_angle(rotations).reshape(1, 3 * len(SMPL24)).numpy()
    return RotationTarget(BodyParams(poses, np.zeros((1, 10), np.float32), np.array([[0, 0, 4]], np.float32)))


def main() -> None:
    """Draw all, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path, nargs="*")
    parser.add_argument("--rendered", type=int, default=8)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--blind", type=int)
    parser.add_argument("--sheets", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shown: list[dict[str, Any]] = []
    with Reposer() as reposer:
        for item in inputs(options.photos, options.rendered):
            write_image(options.out / f"{item.name}.jpg", item.image)
            started = time.perf_counter()
            try:
                scene = reposer.read(item.image, name=item.name)
            except HpcError as error:
                print(f"{item.name}: {error}", flush=True)
                height, width = item.image.shape[:2]
                everything = [0, 0, width, height]
                shown.append({"input": item.name, "pictures": [], "warnings": [str(error)], "part": everything})
                continue
            names, warnings = [], list(scene.doubts)
            for name in TARGETS:
                drawn = next(iter(scene.images(target(name))))
                names.append(f"{item.name}.{name}.jpg")
                write_image(options.out / names[-1], drawn.image)
                warnings += [f"{name}: {warning}" for warning in drawn.warnings]
            part = [int(edge) for edge in _surroundings(scene)]
            shown.append({"input": item.name, "pictures": names, "warnings": warnings, "part": part})
            print(f"{item.name}: {time.perf_counter() - started:.1f} s", flush=True)
    (options.out / "gallery.json").write_text(json.dumps(shown, indent=1) + "\n", "utf-8")
    (options.out / "index.html").write_text(page(shown, options.before), "utf-8")
    if options.sheets is not None:
        sheets(options.out, options.before, shown, options.sheets)
    if options.before is not None and options.blind is not None:
        blind(options.out, options.before, [p for one in shown for p in one["pictures"]], options.blind)


def _surroundings(scene: ReposingScene) -> Box:
    """The square about the reposed person, with room for raised arms, as far as the image reaches."""
    x0, y0, x1, y1 = scene.record.boxes[scene.rows[0]]
    reach, x, y = 0.75 * max(x1 - x0, y1 - y0), (x0 + x1) / 2, (y0 + y1) / 2
    square = Box(int(x - reach), int(y - reach), int(x + reach), int(y + reach))
    return square.intersect(Box(0, 0, scene.photo.shape[1], scene.photo.shape[0]))


def sheets(out: Path, before: Path | None, shown: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write an image of each input and its poses below the images of the other version: FOLDER/INPUT.webp."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in shown:
        if not one["pictures"]:
            continue
        names, part = [f"{one['input']}.jpg", *one["pictures"]], Box(*one["part"])
        folders = [each for each in (before, out) if each is not None and (each / names[1]).exists()]
        rows = [[read_image(each / name).pixels[part.slices] for name in names] for each in folders]
        image = np.concatenate([np.concatenate([_cell(cell) for cell in row], 1) for row in rows])
        Image.fromarray(image).save(folder / f"{one['input']}.webp", quality=70, method=6)


def _cell(image: Pixels) -> Pixels:
    """The image in the middle of a grey square."""
    scale = CELL / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    square = np.full((CELL, CELL, 3), 96, np.uint8)
    top, left = (CELL - size[1]) // 2, (CELL - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def page(shown: Sequence[dict[str, Any]], before: Path | None) -> str:
    """The gallery: of each input a row, and below it the row of the other version."""
    rows = []
    for one in shown:
        rows.append(f"<h2>{html.escape(one['input'])}</h2><p>{html.escape('; '.join(one['warnings']))}</p>")
        for title, folder in (("before", before), ("now", Path())):
            if folder is not None:
                sources = [f"{one['input']}.jpg", *one["pictures"]]
                urls = [str((folder / name).resolve()) if title == "before" else name for name in sources]
                images = "".join(f'<img src="{html.escape(url)}" alt="">' for url in urls)
                rows.append(f"<p>{title}<br>{images}</p>")
    style = "img{height:300px;margin:2px}body{font:15px sans-serif}"
    return f'<!doctype html><meta charset="utf-8"><title>Reposed</title><style>{style}</style>{"".join(rows)}'


def blind(out: Path, before: Path, names: Sequence[str], seed: int) -> None:
    """Pictures of both versions side by side in an order that is drawn; OUT/key.json says which is which."""
    random, key, rows = np.random.default_rng(seed), {}, []
    folder = out / "blind"
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        sides = ["before", "now"] if random.random() < 0.5 else ["now", "before"]
        if not (before / name).exists():
            continue
        images = [read_image((before if side == "before" else out) / name).pixels for side in sides]
        height = 480
        scaled = [cv2.resize(i, (round(i.shape[1] * height / i.shape[0]), height)) for i in images]
        write_image(folder / f"{number:03d}.jpg", np.hstack(scaled))
        key[f"{number:03d}"] = {"left": sides[0], "right": sides[1], "picture": name}
        rows.append(f'<p>{number:03d}<br><img src="blind/{number:03d}.jpg" alt=""></p>')
    (out / "key.json").write_text(json.dumps(key, indent=1) + "\n", "utf-8")
    (out / "blind.html").write_text(f'<!doctype html><meta charset="utf-8">{"".join(rows)}', "utf-8")


if __name__ == "__main__":
    main()
