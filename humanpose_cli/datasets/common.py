"""What sources that read a folder have in common: options, tools, the listing made once, notes for the user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import COCO17, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.data.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.datasets.reading import existing_folder
from humanpose_cli.io.fit_files import FitRecord

__all__ = [
    "LSP14",
    "MOST_RADIANS",
    "OPENPOSE18",
    "EstimatedImage",
    "FittedBodies",
    "FolderOptions",
    "FolderSource",
    "JointFitter",
    "Listing",
    "PoseEstimator",
    "SourceTools",
    "body_to_camera",
    "box_around",
    "check_count",
    "check_every",
    "estimates",
    "first_absent",
    "keep_present",
    "people_of_fit",
    "project_points",
    "rest_pelvis",
    "to_coco17",
]


# Who makes the body parameters that a data set lacks: passed in by the pipeline, since data/ fits nothing itself.
#
# iPER and DeepFashion have images only: a `PoseEstimator` finds the people in them, as the reposing paper did with
# its own estimator (section 4.1). Human3.6M and HumanEva have 3-D joints only: a `JointFitter` finds the bodies that
# have them. Both can be pickled, so that several processes read one source.


@dataclass(frozen=True, eq=False)
class EstimatedImage:
    """What was found in one image.

    people           everybody, the largest first; with boxes and whatever else the estimator knows
    focal            pixels: the camera that the people's positions in space belong to; None if there are none
    principal_point  (2,) pixels; None for the centre
    """

    people: Sequence[Person] = ()
    focal: float | None = None
    principal_point: tuple[float, float] | None = None


@runtime_checkable
class PoseEstimator(Protocol):
    """Images → people with body parameters."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values: what a cache says about who made its poses."""
        ...

    def estimate(
        self, images: Iterable[NDArray[np.uint8]], *, sequence: bool, single_person: bool, focal: float | None = None
    ) -> Sequence[EstimatedImage]:
        """One result for each image, in their order.

        images       (H, W, 3) uint8 RGB, taken one after the other: those of a long video are never all in memory
        sequence       True: frames of one shot, in which a person keeps one shape; False: images by themselves
        single_person  True: only the person that the images are about
        focal          pixels, where the data set tells it
        """
        ...


@dataclass(frozen=True, eq=False)
class FittedBodies:
    """Bodies found from 3-D joints, one for each of T frames.

    body            "default", "smpl" …: whose parameters they are; gender of that model
    poses           (T, 72) axis-angle; the first three map body to camera axes
    betas           (T, 10), the same in all frames of one person
    trans           (T, 3) metres, camera axes, such that root = shaped rest pelvis + trans
    error           (T,) metres: mean distance between the given joints and the body's; NaN where there were none
    segment_scales  (T, 24), or None for 1
    """

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
    error: NDArray[Any]
    segment_scales: NDArray[Any] | None = None
    body: str = "default"
    gender: str = "neutral"


@runtime_checkable
class JointFitter(Protocol):
    """3-D joints → body parameters."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Name and options as plain JSON values."""
        ...

    def fit(self, joints: NDArray[Any], skeleton: str, *, shared_shape: bool = True) -> FittedBodies:
        """joints (T, J, 4): metres in camera axes and confidence 0…1 (0: not known), of the skeleton of that name.

        shared_shape  True: the frames show one person, who has one shape
        """
        ...


@dataclass(frozen=True, eq=False)
class SourceTools:
    """What a source may use beyond its files; a source says which of them it needs.

    estimator     poses of images without any
    joint_fitter  bodies of 3-D joints
    bodies        gender ("neutral", "male", "female") → the model that the data set's parameters belong to
    """

    estimator: PoseEstimator | None = None
    joint_fitter: JointFitter | None = None
    bodies: Mapping[str, Body] = field(default_factory=dict)


# The people of a fit file as labelled people.


def people_of_fit(record: FitRecord, frame: int, name: str = "") -> list[Person]:
    """The people of one frame (0 … F−1), the largest box first, without the rows that were only interpolated.

    The fit stands twice: as the best that is known, and as what refinement starts from.
    name  of the image or sequence, which makes a track's number an identity
    """
    rows = [int(row) for row in record.rows_for(frame) if not record.interpolated[row]]
    areas = np.prod(record.boxes[rows, 2:] - record.boxes[rows, :2], axis=1)
    return [_person(record, rows[i], name) for i in np.argsort(-areas, kind="stable")]


def _person(record: FitRecord, row: int, name: str) -> Person:
    confidence = record.joint_confidence[row][:, None]
    return Person(
        identity=f"{name}/{record.track_id[row]}" if name else "",
        gender=record.gender,
        body=record.body.partition("-")[0],
        box=record.boxes[row],
        poses=record.poses[row],
        betas=record.betas[row],
        trans=record.trans[row],
        segment_scales=record.segment_scales[row],
        keypoints={SMPL24.name: np.concatenate((record.joints2d[row], confidence), 1)},
        joints={SMPL24.name: np.concatenate((record.joints3d[row], confidence), 1)},
        fit_poses=record.poses[row],
        fit_betas=record.betas[row],
        fit_trans=record.trans[row],
        detected=record.keypoints2d[row],
    )


Item = TypeVar("Item")
_TAKE_WHAT_IS_THERE = "unpack the data set again, or take what is there with --allow-missing"


@dataclass(frozen=True)
class FolderOptions:
    """Options of every source that reads a data set's folder.

    allow_missing  take what is there where files that a list names are missing, or counts differ from the official
                   ones; `notes` names what is missing
    """

    allow_missing: bool = False


@dataclass(frozen=True)
class Listing:
    """What a folder holds: groups in a fixed order, and sentences that the user should read."""

    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


class FolderSource(ABC):
    """A data set in its owner's folder layout; see `samples.Source`. Instances can be pickled if their tools can.

    name          the data set's name on the command line
    title         its name in messages
    options_type  the frozen dataclass of its options; its docstring says what they mean
    """

    name: ClassVar[str]
    title: ClassVar[str]
    options_type: ClassVar[type[FolderOptions]] = FolderOptions

    def __init__(
        self, root: Path | str, options: FolderOptions | None = None, tools: SourceTools | None = None
    ) -> None:
        """InputError where `root` is no folder."""
        self.root = existing_folder(Path(root), f"the folder of {self.title}")
        self.options = options or self.options_type()
        self.tools = tools or SourceTools()
        self._prepare()

    def _prepare(self) -> None:  # noqa: B027 - most need nothing
        """Look at what the options need, before anything is listed."""

    @property
    def info(self) -> SourceInfo:
        """Name, options and who made the poses; never the folder, which differs from machine to machine."""
        return SourceInfo(self.name, {**asdict(self.options), **self._more_info()})

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is missing or unusual in the folder, for the user to read; none for a whole one."""
        return self._listing.notes

    def groups(self) -> Sequence[Group]:
        """All groups in a fixed order. InputError names a missing or wrong file."""
        return self._listing.groups

    @abstractmethod
    def read(self, group: Group) -> Iterator[Sample]:
        """The group's samples. InputError names a damaged file."""

    @cached_property
    def _listing(self) -> Listing:
        return self._list()

    def __getstate__(self) -> Mapping[str, Any]:
        """Without the listing, which can be large: processes that read are given their groups."""
        return {name: value for name, value in vars(self).items() if name != "_listing"}

    @abstractmethod
    def _list(self) -> Listing:
        """Look through the folder, without decoding images."""

    def _more_info(self) -> Mapping[str, Any]:
        """Plain JSON values beside the options."""
        return {}

    def _estimator_info(self) -> Mapping[str, Any]:
        """For sources without poses of their own: who made them."""
        estimator = self.tools.estimator
        return {"poses_by": None if estimator is None else dict(estimator.info)}


def keep_present(
    items: Sequence[Item],
    paths: Sequence[Path],
    list_file: Path,
    what: str,
    *,
    allow_missing: bool,
    remedy: str = _TAKE_WHAT_IS_THERE,
) -> tuple[list[Item], list[str]]:
    """Those of `items` whose file or folder is there, and a note about the others.

    paths      where each of them is
    list_file  the file that names them
    what       they are, such as "images"
    InputError if any is missing and that is not allowed, or if all are.
    """
    present: list[Item] = []
    first_missing: Path | None = None
    for item, path in zip(items, paths, strict=True):
        if path.exists():
            present.append(item)
        elif first_missing is None:
            first_missing = path
    if first_missing is None:
        return present, []
    count = len(items) - len(present)
    if not allow_missing or not present:
        raise InputError(
            list_file,
            f"names {count} {what} that are not there, the first being {first_missing}",
            expected=f"all of its {len(items)}",
            remedy=remedy,
        )
    return present, [f"{list_file}: {count} of {len(items)} {what} are missing, the first being {first_missing}"]


def first_absent(paths: Iterable[Path], what: str, *, allow_missing: bool) -> Path | None:
    """The first path where nothing is; InputError if that is not allowed. `what` it would be: "a file of this view"."""
    absent = next((path for path in paths if not path.exists()), None)
    if absent is not None and not allow_missing:
        raise InputError(absent, "does not exist", expected=what, remedy=_TAKE_WHAT_IS_THERE)
    return absent


def check_count(list_file: Path, what: str, official: int, found: int, *, allow_missing: bool) -> list[str]:
    """A note if `found` is not the official number of `what` (plural); InputError if that is not allowed."""
    if found == official:
        return []
    if not allow_missing:
        raise InputError(
            list_file,
            f"has not the official number of {what}",
            expected=str(official),
            got=str(found),
            remedy="download it again, or take what is there with --allow-missing",
        )
    return [f"{list_file}: {found} {what}, where the official release has {official}"]


def estimates(
    estimator: PoseEstimator, images: Iterable[NDArray[np.uint8]], count: int, *, sequence: bool
) -> Sequence[EstimatedImage]:
    """What an estimator says about the one person in each of `count` images."""
    found = estimator.estimate(images, sequence=sequence, single_person=True)
    if len(found) != count:
        raise UsageError("pose estimator", "left images out", expected=f"{count} results", got=str(len(found)))
    return found


# From data sets' own joints, cameras and boxes to this project's conventions.

Array = NDArray[Any]
MOST_RADIANS = 100.0
"""Axis-angle beyond this is no rotation that anybody stored on purpose."""
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


def to_coco17(points: Array, names: Sequence[str]) -> Array:
    """Points (J, 3) x, y, confidence of the joints `names` → (17, 3); joints that are not among them have 0."""
    result = np.zeros((len(COCO17), 3))
    for name, point in zip(names, points, strict=True):
        if name in COCO17 and point[2] > 0:
            result[COCO17.index(name)] = point
    return result


def box_around(points: Array, size: tuple[int, int], *, margin: float = 0.1) -> Array | None:
    """The box (4,) x0 y0 x1 y1 of pixels (N, 2), each side moved outward by `margin` of the longer one.

    Joints lie inside the body: the margin is about what head, hands and feet need. Cut at the borders of an image of
    `size` (width, height); None if nothing of it is inside.
    """
    finite = points[np.isfinite(points).all(1)]
    if not len(finite):
        return None
    low, high = finite.min(0), finite.max(0)
    around = margin * max(high - low)
    box = np.concatenate((low - around, high + around))
    box = np.clip(box, 0, np.tile(np.asarray(size, float), 2))
    return box if box[2] > box[0] and box[3] > box[1] else None


def project_points(points: Array, focal: float | Array, principal_point: Array | Sequence[float]) -> Array:
    """Points (N, 3) metres, camera axes → pixels (N, 2); NaN for those behind the camera.

    focal  pixels, one for both directions or (2,)
    """
    depth = np.where(points[:, 2:] > 1e-6, points[:, 2:], np.nan)
    return points[:, :2] / depth * focal + np.asarray(principal_point, float)


def body_to_camera(
    poses: Array, trans: Array, pelvis: Array, rotation: Array, translation: Array
) -> tuple[Array, Array]:
    """Bodies that stand in the world, turned into the camera.

    poses (N, 72) and trans (N, 3) in world axes; pelvis (3,) or (N, 3) of the shaped body at rest;
    rotation (N, 3, 3) and translation (N, 3) map world to camera: x_camera = R x_world + t.

    A body turns about its pelvis, which stands at pelvis + trans: so the camera sees it at R (pelvis + trans) + t, and
    the new trans is that less the pelvis. Without the pelvis the person would be off by (R − 1) pelvis, up to half a
    metre.
    """
    turned = Rotation.from_matrix(rotation) * Rotation.from_rotvec(poses[:, :3])
    at = np.einsum("nij,nj->ni", rotation, pelvis + trans) + translation
    return np.concatenate((turned.as_rotvec(), poses[:, 3:]), 1), at - pelvis


def rest_pelvis(body: Body, betas: Array) -> Array:
    """Where the pelvis of a shaped body (10,) rests: (3,) metres, which `trans` is counted from."""
    with torch.no_grad():
        return body.rest(torch.as_tensor(betas[None], dtype=torch.float32)).joints[0, 0].double().numpy()


def check_every(every: int) -> None:
    """UsageError unless every n-th frame can be taken."""
    if every < 1:
        raise UsageError("--every", "must be positive", got=str(every))
