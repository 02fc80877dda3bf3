"""The fit file `NAME.fit.npz`: one row per person and frame, sorted by track, then frame.

N rows, F frames. Lengths are in metres, angles in radians, image coordinates in pixels of the full image. The file is
an uncompressed `.npz` without pickles. Equal contents give equal bytes. N = 0 (no person) is a valid file.
`Fit.to_amass` gives AMASS' arrays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, FINGERS, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.npz_files import check_version, narrowed, read_npz
from humanpose_cli.files.sniffing import check_readable
from humanpose_cli.files.value_limits import (
    LIMITS,
    Columns,
    check_arrays,
    check_image_sizes,
    check_limits,
    check_observed,
    check_rigid,
    first_row,
)
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_options import StoredOptions, read_options
from humanpose_cli.io.frame_files import (
    FrameFiles,
    frame_files_text,
    frame_inputs,
    read_frame_files,
    untrusted_path,
)
from humanpose_cli.io.image_sequences import frame_numbers_of
from humanpose_cli.io.inputs import InputItem
from humanpose_cli.io.take_views import ARRAYS as VIEW_ARRAYS
from humanpose_cli.io.take_views import PREFIX, FitCamera, TakeViews, check_view_arrays, views_of_arrays
from humanpose_cli.io.unfitted_detections import UnfittedDetection, check_unfitted
from humanpose_cli.outputs.atomic import npz_bytes, write_bytes
from humanpose_cli.outputs.output_names import FIT_SUFFIX

Record = TypeVar("Record", bound="FitRecord")
_J, _K = len(SMPL24), len(BLAZEPOSE33)

# name → shape (N rows, F frames) and type
COLUMNS: Columns = {
    "track_id": (("N",), "<i4"),
    "frame_index": (("N",), "<i4"),
    "interpolated": (("N",), "|b1"),
    "frame_names": (("F",), "<U"),
    "shot_id": (("F",), "<i4"),
    "image_size": (("F", 2), "<i4"),
    "focal": (("F",), "<f4"),
    "principal_point": (("F", 2), "<f4"),
    "world_to_camera": (("F", 4, 4), "<f4"),
    "poses": (("N", 3 * _J), "<f4"),
    "betas": (("N", 10), "<f4"),
    "trans": (("N", 3), "<f4"),
    "segment_scales": (("N", _J), "<f4"),
    "joints3d": (("N", _J, 3), "<f4"),
    "joints2d": (("N", _J, 2), "<f4"),
    "keypoints2d": (("N", _K, 3), "<f4"),
    "boxes": (("N", 4), "<f4"),
    "confidence": (("N",), "<f4"),
    "joint_confidence": (("N", _J), "<f4"),
    "reprojection_error": (("N",), "<f4"),
}
# Only in files of images with a ground under several people.
GROUND_COLUMNS: Columns = {"ground": (("F", 4), "<f4"), "focal_people": (("F",), "<i4")}
# Only in fits with hands.
HAND_COLUMNS: Columns = {"hand_poses": (("N", 2, len(FINGERS), 3), "<f4"), "hand_confidence": (("N", 2), "<f4")}
_TIMES: Columns = {"frame_times": (("F",), "<f8")}
_OPTIONAL = {**_TIMES, **GROUND_COLUMNS, **HAND_COLUMNS}
CLOTHES = (6, 4)  # spots of a person's body; CIELAB and weight
ROW_COLUMNS = tuple(name for name, (shape, _) in COLUMNS.items() if shape[0] == "N")

_UNIT_TOLERANCE = 1e-3  # deviation of a unit vector's length


def check_fit(record: FitRecord) -> None:
    """Raise InputError about the first invalid array of a record."""
    check_arrays(record, COLUMNS, {})
    _check_order(record)
    _check_ranges(record)
    check_rigid("world_to_camera", record.world_to_camera)
    if record.skeleton != SMPL24.name:
        raise InputError("skeleton", "is unknown", expected=SMPL24.name, got=record.skeleton)
    for columns in (_TIMES, GROUND_COLUMNS, HAND_COLUMNS):
        if any(getattr(record, name) is not None for name in columns):
            check_arrays(record, columns, {"F": record.frame_count, "N": len(record)})
            for name in (name for name in columns if name in LIMITS):
                check_limits(name, getattr(record, name))
    if record.frame_times is not None and (np.diff(record.frame_times) <= 0).any():
        raise InputError("frame_times", "do not rise", expected="seconds, each above the one before")
    check_unfitted(record.options.not_fitted or [], record.frame_count)
    if record.ground is not None and record.focal_people is not None:
        _check_ground(record.ground, record.focal_people)
    _check_clothes(record)
    if record.views is not None:
        check_view_arrays(record.views, len(record), record.frame_count)


def _check_order(record: FitRecord) -> None:
    track, frame = record.track_id.astype(np.int64), record.frame_index.astype(np.int64)
    frame_count = len(record.frame_names)
    outside = (frame < 0) | (frame >= frame_count)
    if outside.any():
        raise InputError(
            "frame_index", "points outside the frames", expected=f"0–{frame_count - 1}", got=first_row(outside)
        )
    if (track < 0).any():
        raise InputError("track_id", "is negative", got=first_row(track < 0))
    growing = np.diff(track * frame_count + frame) > 0
    if not growing.all():
        row = int(np.argmin(growing)) + 1
        raise InputError("rows", "are out of order", expected="each track and frame once, sorted", got=f"row {row}")
    if (np.diff(record.shot_id) < 0).any() or (record.shot_id < 0).any():
        raise InputError("shot_id", "goes back", expected="numbers from 0 that grow")


def _check_ranges(record: FitRecord) -> None:
    for name in LIMITS.keys() & COLUMNS.keys():
        check_limits(name, getattr(record, name))
    if record.frame_rate:  # otherwise it is unknown
        check_limits("frame_rate", np.float64(record.frame_rate))
    check_image_sizes(record.image_size)
    check_observed(record)


def _check_ground(ground: np.ndarray, people: np.ndarray) -> None:
    length = np.linalg.norm(ground[:, :3].astype(np.float64), axis=1)
    unknown = (ground == 0).all(1)
    wrong = ~unknown & ((np.abs(length - 1) > _UNIT_TOLERANCE) | (ground[:, 3] <= 0))
    if wrong.any():
        expected = "a unit vector and a height above 0, or zeros"
        raise InputError("ground", "is no plane below the camera", expected=expected, got=first_row(wrong))
    if (people < 0).any():
        raise InputError("focal_people", "is negative", got=first_row(people < 0))


def _check_clothes(record: FitRecord) -> None:
    for track, colours in record.clothes.items():
        if np.shape(colours) != CLOTHES:
            got = f"{np.shape(colours)} of person {track}"
            raise InputError("clothes", "are damaged", expected=f"{CLOTHES} finite numbers", got=got)
        check_limits("clothes", np.asarray(colours))


SCHEMA_VERSION = 4
"""1: one camera. 2: takes of several cameras have views. 3: clothes' colours and the files of the frames. 4: hands.

A file has the lowest version that can hold its contents. Older versions can be read.
"""
_ONE_CAMERA, _WITH_VIEWS, _WITH_FILES = 1, 2, 3

_OF_CAMERAS = ("clothes", "frame_files")
_VIEW_NAMES = f"{PREFIX}names"
_SCALARS = ("frame_rate", "gender", "body", "skeleton", "options")
_MAKE_AGAIN = "copy it again or make it again with hpc fit"


@dataclass(frozen=True, eq=False)
class FitRecord:
    """The fit of an image or a sequence: N rows, one for each person in each frame, and F frames.

    Rows are sorted by (track_id, frame_index); each pair occurs once.

    Attributes:
        track_id: (N,) int32, ≥ 0. Number of the person.
        frame_index: (N,) int32, 0 to F−1. Row of the frames' arrays.
        interpolated: (N,) bool. Whether the person was not detected and the row is interpolated between neighbours.
        poses: (N, 72) float32, axis-angle, parent-relative. The first three map body axes to camera axes.
        betas: (N, 10) float32. Shape components in the body's units.
        trans: (N, 3) float32, metres in camera axes. Pelvis = pelvis of the shaped rest body + trans.
        segment_scales: (N, 24) float32. Lengths of bones relative to the body model's.
        joints3d: (N, 24, 3) float32, metres in camera axes. The joints.
        joints2d: (N, 24, 2) float32, pixels. The projected joints.
        keypoints2d: (N, 33, 3) float32, pixels. x, y and confidence 0 to 1 of the detector (blazepose33).
        boxes: (N, 4) float32, pixels. x0, y0, x1, y1.
        confidence: (N,) float32, 0 to 1. Confidence of the person.
        joint_confidence: (N, 24) float32, 0 to 1. Confidence of each joint.
        reprojection_error: (N,) float32, pixels, ≥ 0. Error of the projected keypoints.
        frame_names: (F,) str. File names, or frame numbers of a video.
        shot_id: (F,) int32, ≥ 0. Number of the shot, which grows at each cut.
        image_size: (F, 2) int32, pixels. Width and height.
        focal: (F,) float32, pixels. Focal lengths.
        principal_point: (F, 2) float32, pixels. Principal points.
        world_to_camera: (F, 4, 4) float32. Rigid motions; the identity if the camera's motion is unknown.
        ground: (F, 4) float32 for images, metres. The upward direction in camera axes and the camera's height above the
            ground that several people stand on, up · x = −height; zeros if unknown in a frame; None if unknown in all.
        focal_people: (F,) int32. Number of people on the ground that determined the focal length; 0 if it is the
            user's, EXIF's or the default; None if `ground` is None.
        hand_poses: (N, 2, 15, 3) float32, axis-angle. Rotations of the joints `FINGERS` of the left and the right hand,
            relative to the parent, in axes of the T pose; None without hands.
        hand_confidence: (N, 2) float32, 0 to 1. Presence of the hand in the image or in frames before and after; 0 for
            a relaxed hand that was not detected; None without hands.
        views: The cameras of a take; None for one camera.
        clothes: (6, 4) float64 by track. Colours of clothes from `detect.identity.median_colours`, if known.
        frame_files: The files of the frames, one for each camera of a take; () if unknown.
        frame_rate: Average frames per second; 0 if unknown.
        frame_times: (F,) float64, seconds from the first frame, rising. Times of a video's frames; None if unknown.
        gender: Gender of the body model, such as "neutral".
        body: Name of the body model, such as "default".
        skeleton: Name of the joints' skeleton, "smpl24".
        options: The options that the fit was made with, and results that are no arrays.
    """

    track_id: np.ndarray
    frame_index: np.ndarray
    interpolated: np.ndarray
    frame_names: np.ndarray
    shot_id: np.ndarray
    image_size: np.ndarray
    focal: np.ndarray
    principal_point: np.ndarray
    world_to_camera: np.ndarray
    poses: np.ndarray
    betas: np.ndarray
    trans: np.ndarray
    segment_scales: np.ndarray
    joints3d: np.ndarray
    joints2d: np.ndarray
    keypoints2d: np.ndarray
    boxes: np.ndarray
    confidence: np.ndarray
    joint_confidence: np.ndarray
    reprojection_error: np.ndarray
    frame_rate: float = 0.0
    frame_times: np.ndarray | None = None
    ground: np.ndarray | None = None
    focal_people: np.ndarray | None = None
    hand_poses: np.ndarray | None = None
    hand_confidence: np.ndarray | None = None
    views: TakeViews | None = None
    clothes: Mapping[int, np.ndarray] = field(default_factory=dict)
    frame_files: tuple[FrameFiles, ...] = ()
    gender: str = "neutral"
    body: str = "default"
    skeleton: str = SMPL24.name
    options: StoredOptions = field(default_factory=StoredOptions)

    def __post_init__(self) -> None:
        """Raise InputError about the first array that is invalid or does not match the others."""
        check_fit(self)

    @classmethod
    def build(cls: type[Record], **values: Any) -> Record:
        """Build a record from arrays or lists with rows in any order: cast them to the file's types and sort the rows.

        Args:
            values: The fields by name.

        Returns:
            The record.

        Raises:
            InputError: If an array is invalid.
        """
        for name in COLUMNS.keys() & values.keys():
            values[name] = _cast(name, values[name])
        for name, (_, dtype) in _OPTIONAL.items():
            if values.get(name) is not None:
                values[name] = np.ascontiguousarray(values[name], dtype)
        order = np.lexsort((values["frame_index"], values["track_id"]))
        if values.get("views") is not None:
            values["views"] = values["views"].rows(order)
        for name in (*ROW_COLUMNS, *HAND_COLUMNS):
            column = values.get(name)
            if column is not None and len(column) == len(order):  # a wrong length is refused below, with its name
                values[name] = column[order]
        return cls(**values)

    @classmethod
    def empty(
        cls: type[Record],
        frame_names: Sequence[str],
        image_size: np.ndarray | Sequence[Sequence[int]],
        focal: np.ndarray | Sequence[float],
        **fields: Any,
    ) -> Record:
        """Build the record of images without a person: N = 0.

        Args:
            frame_names: (F,) str. Names of the frames.
            image_size: (F, 2), pixels. Width and height.
            focal: (F,), pixels. Focal lengths.
            fields: Other fields; by default principal points are centred and cameras stand still.

        Returns:
            The record.
        """
        count = len(frame_names)
        frames: dict[str, Any] = {
            "shot_id": np.zeros(count),
            "principal_point": np.asarray(image_size, float).reshape(count, 2) / 2,
            "world_to_camera": np.tile(np.eye(4), (count, 1, 1)),
        }
        rows = {name: np.zeros((0, *(int(size) for size in COLUMNS[name][0][1:]))) for name in ROW_COLUMNS}
        arguments = {"frame_names": frame_names, "image_size": image_size, "focal": focal}
        return cls.build(**{**rows, **frames, **arguments, **fields})

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.track_id)

    @property
    def row_columns(self) -> dict[str, np.ndarray]:
        """The arrays with one entry for each row, by name."""
        columns = {name: getattr(self, name) for name in (*ROW_COLUMNS, *HAND_COLUMNS)}
        return {name: values for name, values in columns.items() if values is not None}

    @property
    def params(self) -> BodyParams:
        """The N bodies."""
        return BodyParams(self.poses, self.betas, self.trans, self.segment_scales, self.hand_poses)

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.frame_names)

    @cached_property
    def unfitted(self) -> tuple[UnfittedDetection, ...]:
        """Detections without a body, by frame."""
        entries = sorted(self.options.not_fitted or [], key=lambda entry: entry["frame"])
        return tuple(UnfittedDetection(e["frame"], tuple(e["box"]), e["score"], e["reason"]) for e in entries)

    @cached_property
    def cameras(self) -> tuple[FitCamera, ...]:
        """The cameras, one or more; the first one has the axes of the rows."""
        if self.views is not None:
            return tuple(self.views.camera(number, self.world_to_camera) for number in range(len(self.views)))
        columns = ("image_size", "focal", "principal_point", "frame_names", "keypoints2d", "boxes")
        camera = FitCamera(
            name="camera",
            world_to_camera=self.world_to_camera.astype(np.float64),
            from_first=np.eye(4),
            frame=np.arange(self.frame_count),
            weight=np.ones(len(self)),
            offset=0.0,
            **{name: getattr(self, name) for name in (*columns, "reprojection_error")},
        )
        return (camera,)

    @property
    def cameras_with_frames(self) -> dict[int, FitCamera]:
        """The cameras that have frames of the fit, by number."""
        return {number: camera for number, camera in enumerate(self.cameras) if len(camera.frames)}

    @property
    def has_other_views(self) -> bool:
        """Whether several cameras show the people: this is the fit of a take, or of one of its views."""
        return len(self.cameras) > 1 or bool(self.options.of_take)

    def seconds(self, frame_rate: float) -> np.ndarray:
        """Return the times of the frames, (F,) float64 seconds from the first one.

        Args:
            frame_rate: Frames per second, above 0, used if the fit has neither times nor a rate.
        """
        if self.frame_times is not None:
            return self.frame_times
        steps = self.frame_numbers - self.frame_numbers[:1]
        return steps / np.diff(steps).min(initial=max(steps.max(initial=0), 1)) / (self.frame_rate or frame_rate)

    @cached_property
    def frame_numbers(self) -> np.ndarray:
        """(F,) int64. The rising numbers in the names of the frames, in which gaps may be; from 0 if they have none."""
        numbers = frame_numbers_of([Path(name) for name in self.frame_names.tolist()])
        return np.array(numbers or range(self.frame_count), np.int64)

    @property
    def tracks(self) -> list[int]:
        """The track numbers of all people, ascending."""
        return [int(track) for track in np.unique(self.track_id)]

    @property
    def largest_track(self) -> int:
        """The main person: the track with the largest sum of box areas. Raises InputError if there is no person."""
        if not len(self):
            raise InputError("fit", "holds no person", expected="at least one person")
        areas = np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1, dtype=np.float64)
        return max(self.tracks, key=lambda track: float(areas[self.rows_of(track)].sum()))

    @cached_property
    def _frame_starts(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.frame_index, kind="stable")
        return order, np.searchsorted(self.frame_index[order], np.arange(self.frame_count + 1))

    def camera(self, frame: int) -> Camera:
        """Return the camera of one frame (0 … F−1)."""
        x, y = self.principal_point[frame].tolist()
        width, height = self.image_size[frame].tolist()
        return Camera(float(self.focal[frame]), (x, y), (width, height))

    def rows_for(self, frame: int) -> np.ndarray:
        """Return the rows of one frame (0 … F−1), by track."""
        order, starts = self._frame_starts
        return order[starts[frame] : starts[frame + 1]]

    def rows_of(self, track: int) -> np.ndarray:
        """Return the rows of one person, by frame."""
        return np.flatnonzero(self.track_id == track)

    def held_rows(self, track: int) -> np.ndarray:
        """Return a row for each frame from a person's first to the last; frames without the person repeat a row."""
        rows = self.rows_of(track)
        return rows[held_rows(self.frame_index[rows])]

    def select(self: Record, rows: np.ndarray | Sequence[int]) -> Record:
        """Restrict the record to these rows (indices or a mask); all frames stay."""
        indices = np.sort(np.arange(len(self))[np.asarray(rows)]) if len(rows) else np.zeros(0, int)
        views = None if self.views is None else self.views.rows(indices)
        return replace(self, **{name: values[indices] for name, values in self.row_columns.items()}, views=views)

    def row_document(self, row: int) -> dict[str, Any]:
        """Return a row as JSON values; joints and keypoints by name, numbers rounded to 1e-5."""
        frame = int(self.frame_index[row])
        joints, keypoints = SMPL24.joint_names, BLAZEPOSE33.joint_names
        document = {
            "track_id": int(self.track_id[row]),
            "frame_index": frame,
            "frame_name": str(self.frame_names[frame]),
            "interpolated": bool(self.interpolated[row]),
            "confidence": _plain(self.confidence[row]),
            "reprojection_error": _plain(self.reprojection_error[row]),
            "box": _plain(self.boxes[row]),
            "focal": _plain(self.focal[frame]),
            "image_size": self.image_size[frame].tolist(),
            "pose": _plain(self.poses[row]),
            "betas": _plain(self.betas[row]),
            "trans": _plain(self.trans[row]),
            "joints3d": dict(zip(joints, _plain(self.joints3d[row]), strict=True)),
            "joints2d": dict(zip(joints, _plain(self.joints2d[row]), strict=True)),
            "joint_confidence": dict(zip(joints, _plain(self.joint_confidence[row]), strict=True)),
            "keypoints2d": dict(zip(keypoints, _plain(self.keypoints2d[row]), strict=True)),
        }
        if self.ground is not None and self.focal_people is not None and self.ground[frame].any():
            *up, height = _plain(self.ground[frame])
            document["ground"] = {"up": up, "height": height, "focal_people": int(self.focal_people[frame])}
        if self.hand_poses is not None and self.hand_confidence is not None:
            hands = zip(("left", "right"), self.hand_poses[row], self.hand_confidence[row], strict=True)
            document["hands"] = {side: {"pose": _plain(p), "confidence": _plain(c)} for side, p, c in hands}
        return document

    def documents(self) -> Iterator[dict[str, Any]]:
        """Return all rows as JSON values, by frame, then track."""
        return (self.row_document(int(row)) for frame in range(self.frame_count) for row in self.rows_for(frame))


def held_rows(frames: np.ndarray) -> np.ndarray:
    """Return a row for each frame from the first to the last of rising frames; missing frames repeat a row."""
    return np.searchsorted(frames, np.arange(frames[0], frames[-1] + 1), side="right") - 1


def _cast(name: str, values: Any) -> np.ndarray:
    dtype = np.dtype(COLUMNS[name][1])
    array = np.asarray(values)
    if dtype.kind == "U":
        return np.asarray([str(text) for text in array.tolist()], dtype=str).reshape(array.shape)
    return np.ascontiguousarray(array, dtype)


def _plain(values: np.ndarray) -> Any:
    return np.round(np.asarray(values, np.float64), 5).tolist()


def write_fit(path: Path | str, fit: FitRecord) -> None:
    """Write a fit file. Raises as `write_bytes`."""
    write_bytes(path, fit_bytes(fit, Path(path).parent))


def fit_bytes(fit: FitRecord, folder: Path) -> bytes:
    """Encode a fit file that will be stored in `folder`; equal records give equal bytes."""
    arrays: dict[str, np.ndarray] = {name: getattr(fit, name) for name in COLUMNS}
    arrays["frame_rate"] = np.array(fit.frame_rate, "<f8")
    for name, (_, dtype) in _OPTIONAL.items():
        if (values := getattr(fit, name)) is not None:
            arrays[name] = values.astype(dtype)
    for name in ("gender", "body", "skeleton"):
        arrays[name] = np.array(getattr(fit, name))
    version = _ONE_CAMERA
    if fit.views is not None:
        arrays |= fit.views.arrays()
        version = _WITH_VIEWS
    if fit.clothes or fit.frame_files:
        version = _WITH_FILES
        unknown = np.zeros(CLOTHES)
        arrays["clothes"] = np.array([fit.clothes.get(track, unknown) for track in fit.tracks], "<f8").reshape(
            -1, *CLOTHES
        )
        arrays["frame_files"] = np.array(frame_files_text(fit.frame_files, folder))
    if fit.hand_poses is not None:
        version = SCHEMA_VERSION
    arrays["schema_version"] = np.array(version, "<i4")
    options = json.dumps(fit.options.document(), ensure_ascii=False, sort_keys=True, allow_nan=False)
    arrays["options"] = np.array(options)
    return npz_bytes(arrays)


def read_fit(path: Path | str) -> FitRecord:
    """Read and check a fit file.

    Raises InputError if the file is another kind, damaged, pickled, inconsistent (it names the array), or written by a
    newer version of this program.
    """
    version = read_npz(path, {"schema_version"}).get("schema_version")
    check_version(path, version, range(_ONE_CAMERA, SCHEMA_VERSION + 1), "fit file", _MAKE_AGAIN)
    arrays = read_npz(path, {*COLUMNS, *_SCALARS, *_OPTIONAL, *VIEW_ARRAYS, *_OF_CAMERAS})
    if missing := sorted({*COLUMNS, *_SCALARS} - arrays.keys()):
        raise InputError(path, f"lacks {', '.join(missing)}", expected="a fit file", remedy=_MAKE_AGAIN)
    try:
        values: dict[str, Any] = {name: narrowed(name, arrays[name], dtype) for name, (_, dtype) in COLUMNS.items()}
        values |= {name: _scalar(name, arrays[name]) for name in _SCALARS}
        values["options"] = read_options(values["options"])
        for name in _OPTIONAL.keys() & arrays.keys():
            values[name] = narrowed(name, arrays[name], _OPTIONAL[name][1])
        if arrays.keys() >= {*_OF_CAMERAS}:
            files = _frame_files(arrays, Path(path))
            values["frame_files"] = () if untrusted_path(Path(path), files) else files
            values["clothes"] = _clothes(arrays["clothes"], values["track_id"])
        record = FitRecord(**values, views=views_of_arrays(arrays))
        behind = (record.joints3d[:, 0, 2] < 0) | (record.trans[:, 2] < 0)
        # Several cameras may stand around people, and other programs' people move through a world of their own.
        if behind.any() and not record.has_other_views and record.options.program is None:
            raise InputError("trans", "has people behind the camera", expected="z > 0", got=first_row(behind))
        distance = np.linalg.norm(record.joints3d[:, 0] - record.trans, axis=1)
        check_limits("joints3d from trans", distance / np.maximum(1, record.segment_scales.max(1, initial=1)))
        return record
    except InputError as error:
        problem = f"{error.subject} {error.problem}"
        raise InputError(path, problem, expected=error.expected, got=error.got, remedy=_MAKE_AGAIN) from error


def stored_inputs(path: Path | str) -> tuple[InputItem, ...]:
    """Open the inputs that a fit was made from, as `frame_inputs`; () if the fit file does not name them.

    Raises InputError for a damaged file, and if an input is missing or lies outside the allowed folders.
    """
    arrays = read_npz(path, {"frame_files", _VIEW_NAMES})
    files = _frame_files(arrays, Path(path))
    if outside := untrusted_path(Path(path), files):
        problem = f"has the frames of {outside}, outside of its folder, where a fit file names none"
        raise InputError(path, problem, remedy="name them with `frames`")
    return frame_inputs(files, arrays[_VIEW_NAMES].tolist() if _VIEW_NAMES in arrays else ())


def is_refined(path: Path) -> bool:
    """Return whether a file is a fit that was refined; damaged files and those of other programs are none."""
    try:
        arrays = read_npz(path, {"options"}) if path.name.endswith(FIT_SUFFIX) else {}
        return "options" in arrays and read_options(_scalar("options", arrays["options"])).refinement is not None
    except InputError:
        return False


def _frame_files(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[FrameFiles, ...]:
    """Return the references in a fit file; () if it has none."""
    if "frame_files" not in arrays:
        return ()
    return read_frame_files(_scalar("frame_files", arrays["frame_files"]), path.parent)


def named_inputs(path: Path | str) -> tuple[InputItem, ...]:
    """Open the inputs that a fit was made from. Raises InputError if the file does not name them or one is missing."""
    check_readable(path)
    inputs = stored_inputs(path) if str(path).endswith(".npz") and Path(path).is_file() else ()
    if not inputs:
        expected = "the photograph, video or folder that the fits were made of"
        raise InputError(path, "does not name the files of its frames", expected=expected, remedy="`frames`")
    return inputs


def _scalar(name: str, array: np.ndarray) -> Any:
    kinds = "fiu" if name == "frame_rate" else "U"
    if array.shape != () or array.dtype.kind not in kinds:
        expected = "one number" if name == "frame_rate" else "one text"
        raise InputError(name, "is damaged", expected=expected, got=f"{array.shape} {array.dtype}")
    return array.item()


def _clothes(array: np.ndarray, track_id: np.ndarray) -> dict[int, np.ndarray]:
    """Read colours by track, without people that have no weight."""
    tracks = np.unique(track_id).tolist()
    if array.shape != (len(tracks), *CLOTHES) or array.dtype.kind != "f":
        got = f"{array.shape} {array.dtype}"
        raise InputError("clothes", "are damaged", expected=f"{(len(tracks), *CLOTHES)} float64", got=got)
    return {int(t): np.asarray(c, np.float64) for t, c in zip(tracks, array, strict=True) if c[:, 3].any()}
