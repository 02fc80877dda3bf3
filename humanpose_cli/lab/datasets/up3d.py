"""UP-3D (Unite the People): 8,515 images of sports and fashion with fitted SMPL bodies.

    ROOT/up-3d/train.txt, val.txt, test.txt   one image per line: "/00000_image.png"
    ROOT/up-3d/00000_image.png                the image
    ROOT/up-3d/00000_body.pkl                 pose (72,), betas (10,), trans, rt, t (3,), f: SMPLify's fit
    ROOT/up-3d/00000_fit_crop_info.txt        height and width of the fitted crop, then its rows and columns in the
                                              image: "h w y0 y1 x0 x1"
    ROOT/up-3d/00000_joints.npy               (3, 14) or (2, 14) pixels and visibility, order of Leeds Sports Pose
    ROOT/up-3d/00000_quality_info.txt         optional: "high" or "medium" in its first line

`up-3d` may be left out. Layout after the owners' code (classner/up: pose/tools/create_dataset.py, 3dfit/render.py) and
public loaders (GraphCMR, SPIN). Bodies use the neutral SMPL.

The fit lives in a scaled crop: its camera has the focal length f and its centre in the crop's middle. In the complete
image, the focal length is f divided by the scale, and the principal point is the middle of the crop. OpenDR, which drew
the fits, counts pixels from the image's corner, as we do. The human annotations count whole pixels: half a pixel is
added. The splits are the owners': 5,703 + 1,423 + 1,389, as nbf uses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import array_field, checked_array, existing_file
from humanpose_cli.files.npz_files import read_npy
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.coco_annotations import to_coco17
from humanpose_cli.lab.cache.samples import Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.common import (
    LSP14,
    MAX_RADIANS,
    FolderOptions,
    FolderSource,
    box_around,
    rest_pelvis,
)
from humanpose_cli.lab.datasets.reading import read_lines, read_pickled_table, stored_image

OFFICIAL_IMAGES = {"train": 5703, "val": 1423, "test": 1389}
_ENDING = "_image.png"
_PARTS = ("_image.png", "_body.pkl", "_joints.npy", "_fit_crop_info.txt")


@dataclass(frozen=True)
class Up3dOptions(FolderOptions):
    """Options of UP-3D; allow_missing and split as for all sources.

    Attributes:
        quality: "high" for fits that the owners call high; "all", as in the papers.
    """

    quality: Literal["all", "high"] = "all"


class Up3dSource(FolderSource):
    """UP-3D as single images with one person each."""

    name = "up3d"
    title = "UP-3D"
    bodies = ("smpl",)
    genders = ("neutral",)
    splits = tuple(OFFICIAL_IMAGES)
    options: Up3dOptions
    options_type = Up3dOptions

    def _prepare(self) -> None:
        inner = self.root / "up-3d"
        self._folder = inner if inner.is_dir() else self.root

    def _list(self, notes: list[str]) -> Iterator[Group]:
        split_of: dict[str, str] = {}
        for split, official in OFFICIAL_IMAGES.items():
            if not self._wants(split):
                continue
            path = existing_file(self._folder / f"{split}.txt", f"the list of {split} images")
            names = [_number(path, line) for line in read_lines(path)]
            self._check_count(path, "images", official, len(names), notes)
            for ending in _PARTS:
                files = [(name, self._folder / f"{name}{ending}") for name in names]
                names = self._present(files, path, "files", notes)
            for name in names:
                if split_of.setdefault(name, split) != split:
                    raise InputError(path, f"names {name}, which is in {split_of[name]}.txt as well")
            for name in names:
                quality = self._folder / f"{name}_quality_info.txt"
                if self.options.quality == "all" or (
                    read_lines(existing_file(quality, "the quality of a fit"))[0] == "high"
                ):
                    yield Group(name, 1, key=split)

    def read(self, group: Group) -> Iterator[Sample]:
        name = group.name
        image = stored_image(self._folder / f"{name}{_ENDING}")
        window, scale = _crop(self._folder / f"{name}_fit_crop_info.txt")
        poses, betas, trans, focal = self._body(self._folder / f"{name}_body.pkl")
        keypoints = _joints(self._folder / f"{name}_joints.npy")
        person = Person(
            gender="neutral",
            body="smpl",
            box=box_around(keypoints[keypoints[:, 2] > 0, :2], image.size),
            poses=poses,
            betas=betas,
            trans=trans,
            keypoints={"coco17": keypoints},
        )
        centre = (window[0] + window[2]) / 2, (window[1] + window[3]) / 2
        splits = dict.fromkeys(("up3d", "nbf"), split_name(group.key))
        yield Sample(name, image.image, image.size, focal / scale, centre, [person], splits=splits)

    def _body(self, path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], float]:
        """Read poses (72,), betas (10,), trans (3,) in the camera, and the focal length of the fit's crop."""
        fields = read_pickled_table(path)
        poses = array_field(fields, "pose", path, (72,), largest=MAX_RADIANS)
        betas = array_field(fields, "betas", path, (10,))
        shift, trans = (array_field(fields, key, path, (3,)) for key in ("t", "trans"))
        turn = array_field(fields, "rt", path, (3,), largest=MAX_RADIANS)
        focal = checked_array(np.ravel(fields["f"]), f"{path} (f)", (None,)).mean() if "f" in fields else 0
        if not 0 < focal < np.inf:
            raise InputError(path, "lacks a focal length f", expected="a positive number")
        if not turn.any():  # as in all of the official fits: then the pelvis cancels out
            return poses, betas, trans + shift, float(focal)
        body = self.tools.bodies.get("neutral")
        if body is None:
            raise InputError(
                path,
                "has a camera that is turned (rt), which needs the body's pelvis to be undone",
                remedy="give the neutral SMPL model with `model=SMPL_NEUTRAL.pkl`",
            )
        rotation = Rotation.from_rotvec(turn).as_matrix()
        params = BodyParams(poses, betas, trans).in_axes(rotation, shift, rest_pelvis(body, betas))
        return params.poses, betas, params.trans, float(focal)


def _number(path: Path, line: str) -> str:
    name = line.lstrip("/")
    if not name.endswith(_ENDING) or "/" in name:
        raise InputError(path, f"has the strange line {line!r}", expected="such as /00000_image.png")
    return name.removesuffix(_ENDING)


def _crop(path: Path) -> tuple[tuple[int, int, int, int], float]:
    """Read the window x0, y0, x1, y1 of the crop in pixels, and the scale from the image to the crop."""
    # Height and width were rounded separately: the scale is the mean of both, as in the owners' code.
    fields = read_lines(path)[0].split()
    try:
        height, width, y0, y1, x0, x1 = (int(field) for field in fields)
    except ValueError:
        raise InputError(path, "is damaged", expected="six whole numbers", got=" ".join(fields)[:60]) from None
    if min(height, width) <= 0 or y1 <= y0 or x1 <= x0:
        raise InputError(path, "is damaged", expected="h w y0 y1 x0 x1 of a window", got=" ".join(fields)[:60])
    return (x0, y0, x1, y1), (height / (y1 - y0) + width / (x1 - x0)) / 2


def _joints(path: Path) -> NDArray[Any]:
    """Read the human annotations as coco17 (17, 3)."""
    array = read_npy(path)
    rows = array.shape[0] if array.ndim == 2 else 0
    joints = checked_array(array, path, (3 if rows == 3 else 2, len(LSP14)))
    visible = joints[2] > 0 if rows == 3 else (joints > 0).all(0)
    return to_coco17(np.stack((joints[0] + 0.5, joints[1] + 0.5, visible), 1), LSP14)
