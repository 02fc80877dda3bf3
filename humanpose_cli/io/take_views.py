"""The cameras of a take in a fit file, and their observations of the fit's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.npz_files import narrowed
from humanpose_cli.files.value_limits import (
    Columns,
    check_arrays,
    check_image_sizes,
    check_limits,
    check_observed,
    check_rigid,
)

PREFIX = "view_"
"""Prefix of the arrays' names in a fit file."""
# name → sizes (V views, N rows, F frames) and type
COLUMNS: Columns = {
    "names": (("V",), "<U"),
    "image_size": (("V", 2), "<i4"),
    "focal": (("V",), "<f4"),
    "principal_point": (("V", 2), "<f4"),
    "from_first": (("V", 4, 4), "<f4"),
    "offset": (("V",), "<f8"),
    "frame": (("V", "F"), "<i4"),
    "frame_names": (("V", "F"), "<U"),
    "keypoints2d": (("V", "N", len(BLAZEPOSE33), 3), "<f4"),
    "boxes": (("V", "N", 4), "<f4"),
    "reprojection_error": (("V", "N"), "<f4"),
    "weight": (("V", "N"), "<f4"),
}
_PATHS: Columns = {"poses": (("V", "F", 4, 4), "<f4")}  # only if a camera moves
_OF_ROWS = tuple(name for name, (shape, _) in COLUMNS.items() if "N" in shape)
_IDENTITY_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class FitCamera:
    """One of the cameras of a fit, in its F frames and with its observations of the N rows.

    Attributes:
        name: Name of its video or files; "camera" for the only one.
        image_size: (F, 2) int32, pixels. Width and height.
        focal: (F,) float32, pixels. Focal lengths.
        principal_point: (F, 2) float32, pixels. Principal points.
        world_to_camera: (F, 4, 4) float64. Rigid motions.
        from_first: (4, 4) float64. Rigid motion from the axes of the rows, the first camera's, to this camera's;
            (F, 4, 4) if the camera moves relative to the first.
        frame: (F,) int32. Index of the nearest fitted frame of its video; −1 for none.
        frame_names: (F,) str. Names of these frames; "" for none.
        keypoints2d: (N, 33, 3) float32, pixels. x, y and confidence; zeros if not visible.
        boxes: (N, 4) float32, pixels. x0, y0, x1, y1; zeros if not visible.
        reprojection_error: (N,) float32, pixels. Median over the visible landmarks.
        weight: (N,) float32, 0 to 1. Mean weight of the landmarks in the fit.
        offset: Seconds that its clock is ahead of the first camera's.
    """

    name: str
    image_size: np.ndarray
    focal: np.ndarray
    principal_point: np.ndarray
    world_to_camera: np.ndarray
    from_first: np.ndarray
    frame: np.ndarray
    frame_names: np.ndarray
    keypoints2d: np.ndarray
    boxes: np.ndarray
    reprojection_error: np.ndarray
    weight: np.ndarray
    offset: float

    @property
    def is_moving(self) -> bool:
        """Whether it turns or moves."""
        return bool(np.ptp(self.world_to_camera, axis=0).any())

    @property
    def frames(self) -> np.ndarray:
        """(K,) int. The fit's frames for which it has a frame of its own, as it may be slower or begin later."""
        return np.flatnonzero((self.frame >= 0) & np.insert(np.diff(self.frame) != 0, 0, True))

    @property
    def shows(self) -> np.ndarray:
        """(N,) bool. Whether it shows something of each row."""
        return np.asarray((self.keypoints2d[..., 2] > 0).any(1))

    @property
    def lens(self) -> Camera:
        """The camera of the first frame; in a take it does not change."""
        x, y = self.principal_point[0].tolist()
        width, height = self.image_size[0].tolist()
        return Camera(float(self.focal[0]), (x, y), (width, height))

    def to_camera(self, frames: np.ndarray) -> np.ndarray:
        """Return `from_first`, (4, 4), or (K, 4, 4) in the given frames (K,) if the camera moves."""
        return self.from_first if self.from_first.ndim == 2 else self.from_first[frames]

    def see(self, points: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Transform points (R, M, 3) in frames (R,) from the first camera's axes to this camera's, float64."""
        matrix = self.to_camera(frames)
        points = points.astype(np.float64)
        return np.asarray(points @ matrix[..., :3, :3].swapaxes(-1, -2) + matrix[..., None, :3, 3])


@dataclass(frozen=True, eq=False)
class TakeViews:
    """V cameras that film the same people. The first one is the camera of the fit itself, and stands still.

    Attributes:
        names: (V,) str. Names of the cameras, all different.
        image_size: (V, 2) int32, pixels. Width and height.
        focal: (V,) float32, pixels. Focal lengths.
        principal_point: (V, 2) float32, pixels. Principal points.
        from_first: (V, 4, 4) float32. Rigid motions from the first camera's axes to each camera's, for a moving camera
            in the fit's first frame.
        offset: (V,) float64, seconds. Time that each camera's clock is ahead of the first camera's.
        frame: (V, F) int32. Index of the video's fitted frame that is nearest to each frame of the fit; −1 for none.
        frame_names: (V, F) str. Its file name, or its number in the video; "" for none.
        keypoints2d: (V, N, 33, 3) float32, pixels. x, y and confidence 0 to 1; zeros if not visible.
        boxes: (V, N, 4) float32, pixels. x0, y0, x1, y1; zeros if not visible.
        reprojection_error: (V, N) float32, pixels. Median over the visible landmarks; 0 if none is visible.
        weight: (V, N) float32, 0 to 1. Mean weight of a view's landmarks in the fit; 0 if none is visible.
        poses: (V, F, 4, 4) float32. `from_first` in each of the fit's frames; None if all cameras stand still.
    """

    names: np.ndarray
    image_size: np.ndarray
    focal: np.ndarray
    principal_point: np.ndarray
    from_first: np.ndarray
    offset: np.ndarray
    frame: np.ndarray
    frame_names: np.ndarray
    keypoints2d: np.ndarray
    boxes: np.ndarray
    reprojection_error: np.ndarray
    weight: np.ndarray
    poses: np.ndarray | None = None

    @classmethod
    def build(cls, **values: Any) -> TakeViews:
        """Build views from arrays or lists of all fields, cast to the file's types; poses only if a camera moves."""
        cast = {}
        for name, (_, dtype) in COLUMNS.items():
            array = np.asarray(values[name])
            cast[name] = array.astype(str) if dtype == "<U" else np.ascontiguousarray(array, dtype)
        poses = values.get("poses")
        if poses is not None and (poses[:, 1:] != poses[:, :1]).any():
            cast["poses"] = np.ascontiguousarray(poses, "<f4")
        return cls(**cast)

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.names)

    def camera(self, view: int, world_to_first: np.ndarray) -> FitCamera:
        """Return one camera of a fit, with the poses `world_to_first` (F, 4, 4) of its first camera."""
        count = len(world_to_first)
        from_first = self.from_first[view]
        if self.poses is not None and (self.poses[view] != self.poses[view, :1]).any():
            from_first = self.poses[view]
        return FitCamera(
            name=str(self.names[view]),
            image_size=np.tile(self.image_size[view], (count, 1)),
            focal=np.full(count, self.focal[view]),
            principal_point=np.tile(self.principal_point[view], (count, 1)),
            world_to_camera=from_first.astype(np.float64) @ world_to_first.astype(np.float64),
            from_first=from_first.astype(np.float64),
            offset=float(self.offset[view]),
            **{name: getattr(self, name)[view] for name in ("frame", "frame_names", *_OF_ROWS)},
        )

    def rows(self, index: np.ndarray) -> TakeViews:
        """Restrict the views to these rows of the fit."""
        return replace(self, **{name: np.ascontiguousarray(getattr(self, name)[:, index]) for name in _OF_ROWS})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by their names in a fit file."""
        return {PREFIX + name: array for name, array in vars(self).items() if array is not None}


ARRAYS = frozenset(PREFIX + name for name in (*COLUMNS, *_PATHS))


def views_of_arrays(arrays: Mapping[str, np.ndarray]) -> TakeViews | None:
    """Build views from the arrays of a fit file; None if it has none of them. Raises InputError if one is missing."""
    types = {name: dtype for name, (_, dtype) in {**COLUMNS, **_PATHS}.items() if PREFIX + name in arrays}
    if not types:
        return None
    if missing := sorted(COLUMNS.keys() - types.keys()):
        raise InputError("views", f"lack {', '.join(missing)}")
    return TakeViews(**{name: narrowed(PREFIX + name, arrays[PREFIX + name], dtype) for name, dtype in types.items()})


def check_view_arrays(views: TakeViews, rows: int, frames: int) -> None:
    """Raise InputError about the first invalid array, or if arrays do not match N rows and F frames."""
    paths = {} if views.poses is None else _PATHS
    check_arrays(views, {**COLUMNS, **paths}, {"N": rows, "F": frames}, PREFIX)
    if len(views) < 2 or len(set(views.names.tolist())) != len(views):
        raise InputError(PREFIX + "names", "do not name two views or more", got=", ".join(views.names.tolist()))
    check_image_sizes(views.image_size)
    for name in ("focal", "principal_point"):
        check_limits(name, getattr(views, name))
    for name in ("from_first", *paths):
        matrices = getattr(views, name)
        check_limits("world_to_camera", matrices)
        check_rigid(PREFIX + name, matrices)
        if (np.abs(matrices[0] - np.eye(4)) > _IDENTITY_TOLERANCE).any():
            raise InputError(PREFIX + name, "does not begin with the first camera", expected="the identity")
    check_observed(views, PREFIX)
    wrong = {"weight": (views.weight < 0) | (views.weight > 1), "frame": views.frame < -1}
    for name, values in wrong.items():
        if values.any():
            raise InputError(PREFIX + name, "holds impossible values")
