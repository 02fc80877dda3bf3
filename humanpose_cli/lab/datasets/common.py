"""The base of sources that read a folder: options, tools, a listing that is made once, and notes for the user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.files.checks import existing_folder
from humanpose_cli.lab.cache.samples import Group, Sample, SourceInfo, split_name
from humanpose_cli.lab.datasets.estimators import EstimatedImage, SourceTools

Item = TypeVar("Item")
_REMEDY = "unpack the data set again, or take what is there with `allow_missing=true`"


@dataclass(frozen=True)
class FolderOptions(Options):
    """Options of every source that reads a dataset's folder."""

    allow_missing: bool = option(
        False,
        "Accept missing files of a list and counts that differ from the official ones; the notes name them.",
    )
    split: str = option(
        "", "Read only this split, such as test; the files of other splits may be missing.", unset="all"
    )


@dataclass(frozen=True)
class SequenceOptions(FolderOptions):
    """Options of sources of sequences."""

    every: int = option(1, "Take every n-th frame of each sequence.", minimum=1)

    def every_nth(self, count: int) -> range:
        """Select the frames to take out of `count`."""
        return range(0, count, self.every)


class FolderSource(ABC):
    """A dataset in its owner's folder layout; see `samples.Source`. Instances can be pickled if their tools can.

    Args:
        root: The dataset's folder.
        options: Its options.
        tools: Tools that the source may use.

    Attributes:
        name: The dataset's name on the command line.
        title: Its name in messages.
        contents: Contents of its folder, for messages: "videos of EMDB".
        example: A path in its folder, for messages.
        splits: Its splits by their owner's names; () if there is no choice, None if `options.split` means something
            else.
        bodies: Kinds of SMPL models that its parameters may belong to; () for any.
        genders: Genders of the models that its parameters belong to; () if it does not say.
        shape_count: Maximum number of shape components of its bodies.
        mean_hands: Whether the fingers of its bodies, whose poses are not read, have the mean pose of SMPL-X.
        options_type: The frozen dataclass of its options; its docstring describes them.

    Raises:
        InputError: If `root` is not a folder.
        UsageError: If the split or the models do not belong to the dataset.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    contents: ClassVar[str] = "images"
    example: ClassVar[str] = ""
    splits: ClassVar[tuple[str, ...] | None] = ()
    bodies: ClassVar[tuple[str, ...]] = ()
    genders: ClassVar[tuple[str, ...]] = ()
    shape_count: ClassVar[int] = 10
    mean_hands: ClassVar[bool] = False
    options_type: ClassVar[type[FolderOptions]] = FolderOptions

    def __init__(
        self, root: Path | str, options: FolderOptions | None = None, tools: SourceTools | None = None
    ) -> None:
        self.root = existing_folder(Path(root), f"the folder of {self.title}")
        self.options = options or self.options_type()
        self.tools = tools or SourceTools()
        if self.splits is not None and self.options.split and not any(map(self._wants, self.splits)):
            expected = ", ".join(map(split_name, self.splits)) or "none: it has one split"
            raise UsageError("split", f"is none of {self.title}", expected=expected, got=self.options.split)
        for model in self.tools.bodies.values() if self.bodies else ():
            kind = model.name.partition("-")[0]
            if kind.startswith("smpl") and kind not in self.bodies:
                expected = " or ".join(self.bodies)
                raise UsageError("model", f"is not of {self.title}'s kind", expected=expected, got=model.name)
        models = self.tools.bodies
        if models and self.genders and not set(models) & set(self.genders):
            expected = " and ".join(self.genders)
            raise UsageError("model", f"fits no person of {self.title}", expected=expected, got=", ".join(models))
        self._prepare()

    def _prepare(self) -> None:  # noqa: B027 - most need nothing
        """Prepare what the options need, before anything is listed."""

    @property
    def info(self) -> SourceInfo:
        """Name, options and maker of the poses; never the folder, which differs between machines."""
        return SourceInfo(self.name, {**asdict(self.options), **self._more_info()})

    def _more_info(self) -> Mapping[str, Any]:
        """Return further plain JSON values for `info`."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about missing or unusual files; none for a complete folder."""
        lacking = [gender for gender in self.genders if self.tools.bodies and gender not in self.tools.bodies]
        undrawn = [f"{self.title}: nothing is drawn of {gender} people without their `model`" for gender in lacking]
        return (*undrawn, *self._listing[1])

    def groups(self) -> Sequence[Group]:
        """List all groups in a fixed order.

        Raises:
            InputError: If a file is missing or wrong; the error names it.
        """
        return self._listing[0]

    @abstractmethod
    def read(self, group: Group) -> Iterator[Sample]:
        """Read the samples of a group.

        Args:
            group: One of `groups`.

        Raises:
            InputError: If a file is damaged; the error names it.
        """

    @cached_property
    def _listing(self) -> tuple[tuple[Group, ...], tuple[str, ...]]:
        notes: list[str] = []
        groups = tuple(self._list(notes))
        if not groups:
            split = f" of {self.options.split}" if self.options.split and self.splits else ""
            raise InputError(self.root, f"holds no {self.contents}{split}", expected=self.example)
        return groups, tuple(notes)

    def __getstate__(self) -> Mapping[str, Any]:
        # Without the listing, which can be large: processes that read are given their groups.
        return {name: value for name, value in vars(self).items() if name != "_listing"}

    @abstractmethod
    def _list(self, notes: list[str]) -> Iterable[Group]:
        """List the groups without decoding images; adds sentences for the user to `notes`."""

    def _wants(self, split: str) -> bool:
        """Return whether a split, by its owner's name, is requested."""
        split_option = self.options.split
        return not split_option or split_name(split_option) == split_name(split)

    # Missing files: a note if they are allowed, otherwise InputError.

    def _is_there(self, path: Path, what: str, notes: list[str], consequence: str = "") -> bool:
        """Return whether a folder exists, described by `what`; a note or InputError if it is missing."""
        if self.options.allow_missing and not path.is_dir():
            notes.append(f"{path}: does not exist{consequence}")
            return False
        existing_folder(path, what)
        return True

    def _first_absent(self, paths: Iterable[Path], what: str) -> Path | None:
        """Return the first path that does not exist; InputError unless missing files are allowed."""
        absent = next((path for path in paths if not path.exists()), None)
        if absent is not None and not self.options.allow_missing:
            raise InputError(absent, "does not exist", expected=what, remedy=_REMEDY)
        return absent

    def _check_count(self, list_file: Path, what: str, official: int, count: int, notes: list[str]) -> None:
        """Compare the number of `what` (plural) in a list with the official release."""
        if count == official:
            return
        if not self.options.allow_missing:
            problem = f"has not the official number of {what}"
            remedy = "download it again, or take what is there with `allow_missing=true`"
            raise InputError(list_file, problem, expected=str(official), got=str(count), remedy=remedy)
        notes.append(f"{list_file}: {count} {what}, where the official release has {official}")

    def _present(
        self, items: Iterable[tuple[Item, Path]], list_file: Path, what: str, notes: list[str], remedy: str = _REMEDY
    ) -> list[Item]:
        """Select the items whose file exists; InputError if all are missing, or any unless allowed."""
        pairs = list(items)
        missing = [path for _, path in pairs if not path.exists()]
        if not missing:
            return [item for item, _ in pairs]
        if not self.options.allow_missing or len(missing) == len(pairs):
            problem = f"names {len(missing)} {what} that are not there, the first being {missing[0]}"
            raise InputError(list_file, problem, expected=f"all of its {len(pairs)}", remedy=remedy)
        notes.append(f"{list_file}: {len(missing)} of {len(pairs)} {what} are missing, the first being {missing[0]}")
        return [item for item, path in pairs if path.exists()]

    # Results of the tools

    def _estimator_info(self) -> Mapping[str, Any]:
        """Name the maker of the poses, for sources without poses."""
        estimator = self.tools.estimator
        return {"poses_by": None if estimator is None else dict(estimator.info)}

    def _fitter_info(self) -> Mapping[str, Any]:
        """Name the maker of the bodies, for sources with 3-D joints only."""
        fitter = self.tools.joint_fitter
        return {"bodies_by": None if fitter is None else dict(fitter.info)}

    def _check_estimator(self, poses: str, others: str) -> None:
        """Raise UsageError if the option `poses` needs an estimator that was not passed in."""
        if poses == "estimator" and self.tools.estimator is None:
            raise UsageError("poses", "needs a pose estimator", got="estimator", remedy=f"take `poses={others}`")

    def _estimate(self, images: Iterable[NDArray[np.uint8]], count: int, *, sequence: bool) -> Sequence[EstimatedImage]:
        """Estimate the one person in each of `count` images; empty without an estimator."""
        if self.tools.estimator is None:
            return [EstimatedImage()] * count
        return self.tools.estimator.estimate(images, sequence=sequence, single_person=True)


# Joints, cameras and boxes of the datasets, converted to this project's conventions.

Array = NDArray[Any]
MAX_RADIANS = 100.0
"""Larger axis-angle values are damaged data."""
OPENPOSE18: tuple[str, ...] = (
    *("nose", "neck"),
    *("right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
"""OpenPose's COCO model, as in 3DPW's poses2d."""
LSP14: tuple[str, ...] = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck", "head_top"),
)
"""Leeds Sports Pose, as in UP-3D's joints."""


def box_around(points: Array, size: tuple[int, int], *, margin: float = 0.1) -> Array | None:
    """Bound pixels by a box with a margin, clipped to the image.

    Joints lie inside the body: the margin is about what head, hands and feet need.

    Args:
        points: (N, 2) pixels.
        size: (width, height) of the image.
        margin: Share of the box's longer side by which each side is moved outward.

    Returns:
        (4,) x0, y0, x1, y1; None if nothing of the box is inside the image.
    """
    finite = points[np.isfinite(points).all(1)]
    if not len(finite):
        return None
    low = finite.min(0)
    high = finite.max(0)
    padding = margin * max(high - low)
    box = np.concatenate((low - padding, high + padding))
    box = np.clip(box, 0, np.tile(np.asarray(size, float), 2))
    return box if box[2] > box[0] and box[3] > box[1] else None


def project_points(points: Array, focal: float | Array, principal_point: Array | Sequence[float]) -> Array:
    """Project points to pixels.

    Args:
        points: (N, 3) metres, camera axes.
        focal: Pixels, one for both directions or (2,).
        principal_point: (2,) pixels.

    Returns:
        (N, 2) pixels; NaN for points behind the camera.
    """
    depth = np.where(points[:, 2:] > 1e-6, points[:, 2:], np.nan)
    return points[:, :2] / depth * focal + np.asarray(principal_point, float)


def rest_pelvis(body: Body, betas: Array) -> Array:
    """Return the rest position of the pelvis, which `trans` is relative to.

    Args:
        body: The body.
        betas: (10,) shape.

    Returns:
        (3,) metres.
    """
    with torch.no_grad():
        return body.rest_pelvis(torch.as_tensor(betas[None], dtype=torch.float32))[0].double().numpy()


def first_existing(*paths: Path) -> Path:
    """Return the first path that exists; the first of all if none does."""
    return next((path for path in paths if path.exists()), paths[0])


def check_image_size(path: Path, size: tuple[int, int], *sizes: tuple[int, int]) -> None:
    """Refuse an image of another size than its annotation or its camera.

    Args:
        path: The image, for the message.
        size: (width, height) of the image.
        *sizes: The allowed sizes.

    Raises:
        InputError: If the size is none of these.
    """
    if size not in sizes:
        expected = " or ".join(f"{width} × {height}" for width, height in sizes)
        raise InputError(path, "has another size than its annotation", expected=expected, got=f"{size[0]} × {size[1]}")


def check_rotations(rotations: Array, where: str) -> None:
    """Refuse matrices that are not orthogonal.

    Args:
        rotations: (..., 3, 3) matrices.
        where: Their place, for the message.

    Raises:
        InputError: If a matrix is not orthogonal.
    """
    if not np.allclose(rotations @ np.swapaxes(rotations, -1, -2), np.eye(3), atol=1e-3):
        raise InputError(where, "holds no rotation", expected="orthogonal 3 × 3 matrices")


def first_betas(values: Array, where: str) -> Array:
    """Return the first ten shape parameters, which all models share.

    Args:
        values: (..., S) shape parameters.
        where: Their place, for the message.

    Raises:
        InputError: If there are fewer than ten.
    """
    if values.shape[-1] < 10:
        raise InputError(where, "has too few shape parameters", expected="10", got=str(values.shape[-1]))
    return values[..., :10]


def pinhole(intrinsics: Array, where: str) -> tuple[float, tuple[float, float]]:
    """Return the focal length and principal point of a camera matrix.

    Args:
        intrinsics: (3, 3) pixels.
        where: Their place, for the message.

    Returns:
        The mean focal length of both directions, and the principal point, in pixels.
    """
    if not min(intrinsics[0, 0], intrinsics[1, 1]) > 0:
        raise InputError(where, "is no camera", expected="positive focal lengths")
    return float(intrinsics[0, 0] + intrinsics[1, 1]) / 2, (float(intrinsics[0, 2]), float(intrinsics[1, 2]))


def clip_box(box: Array, size: tuple[int, int]) -> Array:
    """Clip a box to an image.

    Args:
        box: (4,) x0, y0, x1, y1 pixels.
        size: (width, height) pixels.
    """
    low = np.clip(box[:2], 0, size)
    return np.concatenate((low, np.clip(box[2:], low, size)))


def with_visibility(pixels: Array, visible: Array) -> Array:
    """Combine pixels (J, 2) and their visibility (J,) 0…1 to keypoints (J, 3); zeros for invisible ones."""
    return np.concatenate((np.where(visible[:, None] > 0, pixels, 0), visible[:, None]), 1)
