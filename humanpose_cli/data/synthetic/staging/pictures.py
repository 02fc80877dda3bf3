"""A folder of background pictures: found once, decoded when they are needed, a few kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.errors import InputError
from humanpose_cli.io.images import PICTURE_SUFFIXES, read_image

__all__ = ["PictureFolder"]

_LONGEST = 1024  # pixels that a kept picture's longer side has at most
_MOST_BYTES = 96 * 2**20


class PictureFolder:
    """The pictures in a folder and below it, in the order of their paths.

    InputError where it is no folder or holds no pictures, or, on use, where a picture cannot be read. Kept pictures
    are at most 1024 pixels long and together 96 MiB.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(self.folder, "is not a folder", expected="a folder of background pictures")
        self.files = sorted(
            (path for path in self.folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()),
            key=lambda path: path.relative_to(self.folder).as_posix(),
        )
        if not self.files:
            raise InputError(self.folder, "holds no pictures", expected="JPEG, PNG or the like")
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def summary(self) -> str:
        """How many there are, and eight digits that change with their names and sizes in bytes."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{path.stat().st_size}\n".encode())
        return f"{len(self.files)} pictures ({digest.hexdigest()[:8]})"

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "files": self.files, "_kept": OrderedDict()}

    def crop(self, number: int, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
        """A random piece of a picture, as large as it goes or down to a third of that, mirrored or not, resized.

        size (height, width) → (height, width, 3) float32 0…255
        """
        picture = self._picture(number)
        scale = min(picture.shape[0] / size[0], picture.shape[1] / size[1]) * random.uniform(0.34, 1.0)
        height, width = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
        top = int(random.integers(picture.shape[0] - height + 1))
        left = int(random.integers(picture.shape[1] - width + 1))
        piece = picture[top : top + height, left : left + width]
        if random.random() < 0.5:
            piece = piece[:, ::-1]
        how = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(piece, size[::-1], interpolation=how), np.float32)

    def _picture(self, number: int) -> NDArray[np.uint8]:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        picture = np.ascontiguousarray(read_image(self.files[number]).pixels)
        longest = max(picture.shape[:2])
        if longest > _LONGEST:
            scale = _LONGEST / longest
            small = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
            picture = np.asarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), np.uint8)
        self._kept[number] = picture
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _MOST_BYTES:
            self._kept.popitem(last=False)
        return picture
