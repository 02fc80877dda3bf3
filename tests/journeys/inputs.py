"""What stands in a reader's folder under the names of the pages: real footage, and small stand-ins of licensed files.

An input is made when the first line that names it is typed and no earlier line has written it. A text is a command line
that makes it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import skimage.data
from helpers.characters import character, person, walking, write_character
from helpers.paper_datasets import threedpw_tree
from helpers.paper_trees import (
    small_faced_smpl_fields,
    write_charts,
    write_estimates,
    write_joint_regressor,
)
from helpers.pose_networks import blazepose_body_network
from helpers.prior_files import write_mixture
from helpers.python_sources import ROOT
from helpers.smpl_model_file import write_smpl_pickle

from humanpose_cli.cli.demo import CLIP
from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.exporting.bvh import bvh_text
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.cache.cache import open_cache

FOOTAGE = ROOT / "tools" / "site" / "view"
"""A man and a bystander before four cameras, and two people on and below a roof, with their fits."""
FLIP_FRAMES = 17


def frames(path: Path, count: int | None = None) -> list[np.ndarray]:
    """Read the first frames of a video, (H, W, 3) uint8."""
    (video,) = open_inputs([path])
    return [frame.pixels for frame in islice(video.frames(), count)]


@cache
def photographs() -> dict[str, np.ndarray]:
    """A man who balances and a bystander, the man with a raised leg, the man from behind, an astronaut."""
    front, back = frames(FOOTAGE / "cam02.mp4"), frames(CLIP, 1)
    return {"man": front[40], "kick": front[25], "back": back[0], "astronaut": skimage.data.astronaut()}


def photo(name: str) -> Callable[[Path], None]:
    return lambda path: write_image(path, photographs()[name])


def cut(source: Path, count: int) -> Callable[[Path], None]:
    """The first frames of a video."""

    def write(path: Path) -> None:
        (video,) = open_inputs([source])
        with VideoWriter(path, video.frame_rate or 30) as writer:
            for frame in frames(source, count):
                writer.write(frame)

    return write


CLIP_CUT, FLIP_CUT = cut(CLIP, 17), cut(FOOTAGE / "flip.mp4", FLIP_FRAMES)
CAMERAS = {number: cut(FOOTAGE / f"cam0{number}.mp4", 25) for number in (1, 2, 3)}


def photos(folder: Path) -> None:
    """Photographs of different sizes, also in a folder of their own."""
    for name, place in (("man", "man.jpg"), ("astronaut", "astronaut.png"), ("back", "more/back.jpg")):
        write_image(folder / place, photographs()[name])


def flip_fit() -> Fit:
    return load_fit(FOOTAGE / "flip.mp4.fit.npz")


def pose(path: Path) -> None:
    """The joints of a man on a roof, (24, 3) metres."""
    np.save(path, flip_fit().joints3d[0])


def dance(path: Path) -> None:
    path.write_text(bvh_text(walking(person(), frames=30), 25.0))


def footage(folder: Path) -> None:
    folder.mkdir()
    for number in (1, 2):
        CAMERAS[number](folder / f"{number}.mp4")


def take(folder: Path) -> None:
    folder.mkdir()
    for number in (1, 2):
        CAMERAS[number](folder / f"cam{number}.mp4")


def takes(folder: Path) -> None:
    for name in ("walk", "again"):
        take(make_parents(folder / name))


def make_parents(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def coco17(fit: Fit, row: int) -> np.ndarray:
    """COCO's keypoints of a row of a fit, (17, 3): pixels and confidence."""
    return fit.keypoints2d[row][BLAZEPOSE33.indices(COCO17.joint_names)].astype(float)


def rows_of_cut() -> Iterator[tuple[Fit, int]]:
    fit = flip_fit()
    for row in np.flatnonzero(fit.frame_index < FLIP_FRAMES):
        yield fit, int(row)


def yolo_labels(folder: Path) -> None:
    """What `yolo pose predict … save_txt=True save_conf=True` writes about the cut of the flip."""
    folder.mkdir(parents=True)
    for fit, row in rows_of_cut():
        width, height = fit.image_size[0]
        points = coco17(fit, row) / (width, height, 1)
        x0, y0, x1, y1 = fit.boxes[row] / (width, height, width, height)
        numbers = [0, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, *points.ravel(), 0.9]
        with (folder / f"clip_{fit.frame_index[row] + 1}.txt").open("a") as file:
            file.write(" ".join(f"{number:g}" for number in numbers) + "\n")


def edited_keypoints(path: Path) -> None:
    """COCO results of the cut, as the page of `hpc view --edit` saves keypoints."""
    results = [
        {
            "image_id": int(fit.frame_index[row]),
            "category_id": 1,
            "keypoints": coco17(fit, row).ravel().tolist(),
            "score": 0.9,
        }
        for fit, row in rows_of_cut()
    ]
    path.write_text(json.dumps(results))


def threedpw(folder: Path) -> None:
    """3DPW with the results of an estimator beside it."""
    threedpw_tree(folder, scale=2)
    smpl(folder.parents[1] / "SMPL_NEUTRAL.pkl")
    write_estimates(folder.parent, folder.parents[1] / "SMPL_NEUTRAL.pkl")


def predictions(path: Path) -> None:
    """The true bodies of a cache's test images as a plain file."""
    cached = open_cache(path.parent / "3dpw-cache")
    samples = [cached.sample(int(row)) for row in cached.rows("3dpw", "test")]
    rows = [(sample.name, number, person) for sample in samples for number, person in enumerate(sample.people)]
    np.savez(
        path,
        image=[name for name, _, _ in rows],
        person=[number for _, number, _ in rows],
        gender=[person.gender for _, _, person in rows],
        **{field: [getattr(person, field) for _, _, person in rows] for field in ("poses", "betas", "trans")},
    )


def smpl(path: Path) -> None:
    write_smpl_pickle(path, small_faced_smpl_fields())


def iuv(folder: Path) -> None:
    """DensePose's output for photo.jpg: chart 7 on the man's trunk."""
    height, width = photographs()["back"].shape[:2]
    charts = np.zeros((height, width, 3), np.uint8)
    charts[height // 3 : height // 2, width // 4 : width // 3] = (33, 22, 7)  # V, U, chart, as OpenCV
    write_image(folder / "photo_IUV.png", charts)


def held_out_images(folder: Path) -> None:
    """The images of `people`, a dataset cache beside the folder, that no training reads."""
    people = open_cache(folder.with_name("people"))
    for row in people.rows("synthetic", "validation").tolist():
        write_image(folder / f"{people.sample(row).name}.png", people.image(row))


Maker = Callable[[Path], object] | str
INPUTS: dict[str, Maker] = {
    "photo.jpg": photo("back"),
    "other.jpg": photo("kick"),
    "clip.mp4": CLIP_CUT,
    "webcam.mp4": CLIP_CUT,
    **{f"cam{number}.mp4": maker for number, maker in CAMERAS.items()},
    "photos": photos,
    "footage": footage,
    "pose.npy": pose,
    "dance.bvh": dance,
    "hpc-out/fit/photo.jpg.fit.npz": "hpc fit photo.jpg",
    "hpc-out/fit/clip.mp4.fit.npz": "hpc fit clip.mp4",
    "hpc-out/fit": "hpc fit clip.mp4",
    "hero.vrm": lambda path: write_character(path, character("vrm", lambda name: name[::-1]), "VRMC_vrm"),
    "walk/": take,
    "jump/": take,
    "shoot": takes,
    "cameras.json": "hpc combine cam1.mp4 cam2.mp4 --out calibrated && cp calibrated/take.cameras.json ./cameras.json",
    **{f"SMPL_{gender}.pkl": smpl for gender in ("NEUTRAL", "MALE", "FEMALE")},
    "gmm_08.pkl": write_mixture,
    "UV_Processed.mat": write_charts,
    "J_regressor_h36m.npy": write_joint_regressor,
    "iuv/": iuv,
    "instanthmr.onnx": blazepose_body_network,
    "mine.onnx": blazepose_body_network,
    "runs/pose/predict/labels": yolo_labels,
    "clip.mp4.keypoints.json": edited_keypoints,
    "takes": takes,
}
"""Name on the page → what makes it."""

OF_PAGES: dict[str, dict[str, Maker]] = {
    "evaluation": {
        "data/3DPW": threedpw,
        "pairs": "hpc preprocess synthetic --pairs --count 24 --set test=0.3 --out pairs",
        "clips": "hpc preprocess synthetic --clips 2 --count 4 --set test=1 --set validation=0 --out clips",
        "runs/nbf": "hpc train nbf --data people --preset ablation --set steps=2 --out runs/nbf",
        "runs/warp3d": "hpc train warp3d --data pairs --preset tiny --set steps=2 --out runs/warp3d",
        "3dpw-cache": "hpc preprocess 3dpw data/3DPW --set allow_missing=true --model SMPL_MALE.pkl"
        " --model SMPL_FEMALE.pkl --out 3dpw-cache",
        "fits": lambda path: shutil.copytree(path.parent / "estimates", path),
        "mine.npz": predictions,
        "people-images": held_out_images,
        "fits-default": "hpc fit people-images --out fits-fast --detector fast"
        " && hpc fit people-images --out fits-default",
    },
    "own-detector": {"clip.mp4": FLIP_CUT},
    "README": {"photo.jpg": photo("man")},
    "repose": {"photo.jpg": photo("man"), "clip.mp4": cut(FOOTAGE / "cam02.mp4", 15)},
}
"""Page → what is other footage there, because the page needs several people or known keypoints."""


def missing_inputs(page: str, line: str, folder: Path) -> Iterator[tuple[str, Maker]]:
    """Yield the inputs that a line names and that are not in the folder."""
    makers = INPUTS | OF_PAGES.get(page, {})
    line = re.sub(r"(?:--out|-o|--runs|preprocess) \S+|\s# .*", "", line)
    for name, maker in makers.items():
        if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", line) and not (folder / name).exists():
            yield name, maker
