"""SSP-3D (Sports Shape and Pose 3D): 311 images of 62 athletes in tight clothes with SMPL bodies, for evaluation.

Layout and licence: data/README.md; what the fields mean: akashsengupta1997/SSP-3D@b99a7de2, data/ssp3d_dataset.py
and visualisation.py.

    ROOT/ssp_3d/labels.npz               ssp_3d may be left out; N rows:
        fnames (N,), genders (N,) "m" or "f", shapes (N, 10), poses (N, 72) axis-angle, body to camera axes
        cam_trans (N, 3) metres, added to the model's vertices before a camera of 5,000 pixels focal length whose axis
                         meets the image's middle
        joints2D (N, 17, 3) COCO's joints in the image and confidence
        bbox_centres (N, 2) row and column, bbox_whs (N,): a square in pixels
    ROOT/ssp_3d/images/NAME              images of 512 pixels
    ROOT/ssp_3d/silhouettes/NAME         the person's pixels are not 0

Bodies were fitted to several frames of a person with one shape: rows of one shape are one subject. Protocol
"ssp-3d" has one split, test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import array_field, existing_file
from humanpose_cli.io.images import read_image
from humanpose_cli.io.npz_files import read_npz
from humanpose_cli.lab.cache.samples import Group, Person, Sample
from humanpose_cli.lab.datasets.common import MAX_RADIANS, FolderSource, check_image_size
from humanpose_cli.lab.datasets.published import PublishedCount
from humanpose_cli.lab.datasets.reading import encode_mask, stored_image

OFFICIAL_IMAGES = 311
FOCAL = 5000.0
"""Pixels; config.py of the owners' code."""
_FIELDS = ("fnames", "genders", "shapes", "poses", "cam_trans", "joints2D", "bbox_centres", "bbox_whs")
_GENDERS = {"m": "male", "f": "female"}
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Ssp3dLabels:
    """N rows of labels.npz, as the module describes them; subjects (N,) numbers of the different shapes."""

    names: list[str]
    genders: list[str]
    betas: Array
    poses: Array
    trans: Array
    keypoints: Array
    boxes: Array
    subjects: list[int]


def read_labels(path: Path) -> Ssp3dLabels:
    """Read labels.npz. Raises InputError if it is damaged."""
    fields = read_npz(existing_file(path, "the labels of SSP-3D"), _FIELDS)
    names, genders = (np.asarray(fields.get(name, ())) for name in ("fnames", "genders"))
    if names.ndim != 1 or not len(names) or names.dtype.kind not in "US":
        raise InputError(f"{path} (fnames)", "does not name the images", expected="a text a row")
    count = len(names)
    if genders.shape != (count,) or not set(genders.astype("U").tolist()) <= set(_GENDERS):
        raise InputError(f"{path} (genders)", "does not name the model of each body", expected=f"{count} of m and f")
    for name in names.astype("U").tolist():
        if Path(name).name != name:
            raise InputError(f"{path} (fnames)", "names no image", expected="a file name", got=name[:60])
    betas = array_field(fields, "shapes", path, (count, 10))
    centres = array_field(fields, "bbox_centres", path, (count, 2))[:, ::-1]
    half = array_field(fields, "bbox_whs", path, (count,))[:, None] / 2
    return Ssp3dLabels(
        names.astype("U").tolist(),
        [_GENDERS[letter] for letter in genders.astype("U").tolist()],
        betas,
        array_field(fields, "poses", path, (count, 72), largest=MAX_RADIANS),
        array_field(fields, "cam_trans", path, (count, 3)),
        array_field(fields, "joints2D", path, (count, len(COCO17), 3)),
        np.concatenate((centres - half, centres + half), 1),
        np.unique(betas, axis=0, return_inverse=True)[1].ravel().tolist(),
    )


class Ssp3dSource(FolderSource):
    """SSP-3D as single images with one person each."""

    name = "ssp-3d"
    title = "SSP-3D"
    published = (PublishedCount("images", 311, "akashsengupta1997/SSP-3D@b99a7de2, README.md"),)
    bodies = ("smpl",)
    genders = ("female", "male")

    def _prepare(self) -> None:
        inner = self.root / "ssp_3d"
        self._folder = inner if inner.is_dir() else self.root

    def _list(self, notes: list[str]) -> Iterator[Group]:
        path = self._folder / "labels.npz"
        names = read_labels(path).names
        self._check_count(path, "images", OFFICIAL_IMAGES, len(names), notes)
        rows = [(row, name) for row, name in enumerate(names)]
        for part in ("images", "silhouettes"):
            files = [((row, name), self._folder / part / name) for row, name in rows]
            rows = self._present(files, path, part, notes)
        for row, name in rows:
            yield Group(Path(name).stem, 1, key=row)

    def read(self, group: Group) -> Iterator[Sample]:
        labels, row = read_labels(self._folder / "labels.npz"), group.key
        image = stored_image(self._folder / "images" / labels.names[row])
        silhouette = self._folder / "silhouettes" / labels.names[row]
        pixels = read_image(silhouette).pixels
        check_image_size(silhouette, (pixels.shape[1], pixels.shape[0]), image.size)
        person = Person(
            identity=f"subject {labels.subjects[row]:02d}",
            gender=labels.genders[row],
            body="smpl",
            box=labels.boxes[row],
            poses=labels.poses[row],
            betas=labels.betas[row],
            trans=labels.trans[row],
            keypoints={COCO17.name: _clip(labels.keypoints[row])},
            mask=encode_mask(np.asarray(pixels.any(2))),
        )
        yield Sample(group.name, image.image, image.size, FOCAL, people=[person], splits={self.name: "test"})


def _clip(keypoints: Array) -> Array:
    """Clip confidences to 0…1."""
    return np.concatenate((keypoints[:, :2], np.clip(keypoints[:, 2:], 0, 1)), 1)
