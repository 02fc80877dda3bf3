"""Masks of people in photographs from the user: painted by hand, or made by another program such as SAM."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.crop import Affine2D
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.files.digests import digest_of
from humanpose_cli.files.notes import note_once
from humanpose_cli.files.paths import normal
from humanpose_cli.io.images import LightView, read_image
from humanpose_cli.io.inputs import InputItem
from humanpose_cli.outputs.protection import protect

_MIN_INSIDE = 0.3  # share of a person's keypoints in a mask that is theirs
_MAX_GREY = 0.1  # share of a mask's pixels between black and white
_MAX_WHITE = 0.9  # share of a mask's pixels that show the person
_MAX_LABELS = 32
_MASK_SUFFIX = ".mask.png"  # of the masks that `hpc fit --masks` writes


@dataclass(frozen=True)
class PaintedMasks:
    """The user's masks: one image, or a folder with `NAME.person0.mask.png` as `hpc fit --masks` writes, or `NAME.png`.

    White pixels, or opaque ones of an image with transparency, are the person.

    Attributes:
        path: The image or the folder.

    Raises:
        InputError: If there is no such file.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise InputError(self.path, "does not exist", expected="an image, or a folder of images")
        protect(self.images)

    @cached_property
    def images(self) -> list[Path]:
        """All images that may be masks: of a folder with masks of hpc, only those."""
        if not self.path.is_dir():
            return [self.path]
        images = sorted(self.path.glob("*.png"))
        return [image for image in images if image.name.endswith(_MASK_SUFFIX)] or images

    @property
    def digest(self) -> str:
        """The SHA-256 over the names and contents of the images."""
        lines = "".join(f"{image.name} {digest_of(image)}\n" for image in self.images)
        return hashlib.sha256(lines.encode()).hexdigest()

    def check(self, sources: Sequence[InputItem]) -> None:
        """Check that the masks belong to photographs.

        Raises:
            UsageError: If there are several photographs for one image, or videos and sequences of images.
            InputError: If the folder has no mask of any photograph.
        """
        if any(source.is_sequence for source in sources):
            self.refuse_sequence()
        if len(sources) > 1 and not self.path.is_dir():
            raise UsageError("mask", "belongs to one photograph", got=f"{len(sources)} inputs", remedy="a folder")
        if sources and not any(self.files(source.path.name) for source in sources):
            expected = "NAME.png or NAME.person0.mask.png"
            raise InputError(self.path, "has no mask of these photographs", expected=expected)

    def refuse_sequence(self) -> NoReturn:
        """Raise UsageError: masks do not belong to the frames of a sequence."""
        problem = "has no effect on videos and sequences of images"
        raise UsageError("mask", problem, expected="a photograph", remedy="leave it out")

    def files(self, name: str) -> list[Path]:
        """Return the images of the masks of a photograph, by its name."""
        if not self.path.is_dir():
            return [self.path]
        name = normal(Path(name).name)
        stem = Path(name).stem
        prefixes = (f"{name}.person", f"{stem}.person")
        images = {normal(image.name): image for image in self.images}
        masks = [images[key] for key in images if key.startswith(prefixes) and key.endswith(_MASK_SUFFIX)]
        return masks or [images[key] for key in images if key in (f"{name}.png", f"{stem}.png")][:1]

    def applied(self, people: Sequence[DetectedPerson], name: str, size: tuple[int, int]) -> list[DetectedPerson]:
        """Give each mask of a photograph to the person whose keypoints lie in it, one mask to a person.

        Detections that get no body get no mask. Masks of hpc for which there is no such person are left out.

        Args:
            people: The people.
            name: The photograph's name.
            size: Its height and width, pixels.

        Raises:
            InputError: If a mask has another size, or shows none of the people.
        """
        file_masks = [(file, mask) for file in self.files(name) for mask in _read(file, people)]
        for file, mask in file_masks:
            if mask.shape != size:
                got = "{1} × {0}".format(*mask.shape)
                raise InputError(file, f"is no mask of {name}", expected="{1} × {0} pixels".format(*size), got=got)
        result = list(people)
        shares = np.array([[_share_inside(person, mask) for person in people] for _, mask in file_masks])
        unused_files = {number: file for number, (file, _) in enumerate(file_masks)}
        while shares.size and shares.max() >= _MIN_INSIDE:
            number, row = divmod(int(shares.argmax()), len(people))
            square = np.zeros((max(size),) * 2, np.uint8)
            square[: size[0], : size[1]] = 255 * file_masks[number][1]
            result[row] = replace(result[row], mask=PersonMask(square, Affine2D.identity(), exact=True))
            shares[number] = shares[:, row] = -1
            del unused_files[number]
        for file in unused_files.values():
            if not file.name.endswith(_MASK_SUFFIX):
                raise InputError(
                    file, f"shows none of the people who are fitted in {name}", remedy="paint one of them white"
                )
        return result


def painted_masks(path: Path | str | None) -> PaintedMasks | None:
    """Open the user's masks; None without a path."""
    return None if path is None else PaintedMasks(Path(path))


def _read(file: Path, people: Sequence[DetectedPerson]) -> list[NDArray[np.bool_]]:
    """Read the mask of a person, or one of each person from an image with a label for each."""
    image = read_image(file, LightView(exposure=1))  # white stays white: a mask is no light of a scene
    has_alpha = image.alpha is not None and image.alpha.min() < 128
    values = image.alpha if image.alpha is not None and has_alpha else image.pixels.max(2)
    top = max(int(values.max()), 1)  # SAM's masks are 0 and 1
    labels = np.unique(values)
    if labels[0] == 0 and 2 < len(labels) <= _MAX_LABELS and top < 255 and (values > 0).mean() <= _MAX_WHITE:
        masks = [values == label for label in labels[1:]]
        owners = {int(np.argmax([_share_inside(person, mask) for person in people])) for mask in masks if people}
        one_each = len(owners) == len(masks)
        reading = "one for each person" if one_each else "all but 0 are the person"
        note_once(file, f"a mask of labels, {', '.join(map(str, labels[1:]))}: {reading}")
        return masks if one_each else [values > 0]
    grey = (values > 0.1 * top) & (values < 0.9 * top)
    white = np.asarray(values > top // 2)
    if grey.mean() > _MAX_GREY or white.mean() > _MAX_WHITE:
        raise InputError(file, "is no mask", expected="the person white, everything else black")
    return [white]


def _share_inside(person: DetectedPerson, mask: NDArray[np.bool_]) -> float:
    """Return the share of a person's keypoints, by confidence, that lie in a mask (H, W)."""
    x, y, confidence = person.keypoints.T
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    columns = np.where(inside, np.nan_to_num(x), 0).astype(int)
    rows = np.where(inside, np.nan_to_num(y), 0).astype(int)
    weight = np.nan_to_num(confidence) * inside * (not person.not_fitted)
    return float((weight * mask[rows, columns]).sum() / max(weight.sum(), 1e-6))
