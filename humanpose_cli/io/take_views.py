"""The cameras of a take in a fit file: what each of several views shows of the fit's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.value_limits import check_image_sizes, check_limits

PREFIX = "view_"
"""Of the arrays' names in a fit file."""
# name → sizes (V views, N rows, F frames) and type
COLUMNS: Mapping[str, tuple[tuple[str | int, ...], str]] = {
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
_OF_ROWS = tuple(name for name, (shape, _) in COLUMNS.items() if "N" in shape)
_ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class TakeViews:
    """V cameras that stand still and film the same people. The first one is the camera of the fit itself.

    names               (V,) str, one for each, all different
    image_size          (V, 2) int32 width, height
    focal               (V,) float32 pixels
    principal_point     (V, 2) float32 pixels
    from_first          (V, 4, 4) float32 rigid: axes of the first camera to those of each
    offset              (V,) float64 seconds that each camera's clock is ahead of the first one's
    frame               (V, F) int32: which of the frames that were fitted of a video is nearest to each frame of the
                        fit; −1 for none
    frame_names         (V, F) str: its file's name, or its number in the video; "" for none
    keypoints2d         (V, N, 33, 3) float32: x, y in pixels and confidence 0–1; zeros where a view shows nothing
    boxes               (V, N, 4) float32 x0 y0 x1 y1 in pixels; zeros where it shows nothing
    reprojection_error  (V, N) float32 pixels: median over the landmarks that a view shows; 0 where it shows nothing
    weight              (V, N) float32 0–1: mean weight of a view's landmarks in the fit; 0 where it shows nothing
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

    @classmethod
    def build(cls, **values: Any) -> TakeViews:
        """Build views from arrays or lists of all fields, cast to the file's types."""
        cast = {}
        for name, (_, dtype) in COLUMNS.items():
            array = np.asarray(values[name])
            cast[name] = array.astype(str) if dtype == "<U" else np.ascontiguousarray(array, dtype)
        return cls(**cast)

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.names)

    def index(self, view: int | str) -> int:
        """Return the number of a view by its number or name. Raises InputError for another."""
        names = self.names.tolist()
        if isinstance(view, str) and view in names:
            return names.index(view)
        if str(view).isdecimal() and int(view) < len(names):
            return int(view)
        raise InputError("view", f"there is no {view}", expected=", ".join(names))

    def distinct_frames(self, view: int) -> np.ndarray:
        """Select (K,) those of the fit's frames of which a view has one of its own: a camera that is slower than the
        first one shows several of them in one.
        """
        frame = self.frame[view]
        return np.flatnonzero((frame >= 0) & np.insert(np.diff(frame) != 0, 0, True))

    @property
    def with_frames(self) -> list[int]:
        """The numbers of those that filmed at some of the fit's times."""
        return np.flatnonzero((self.frame >= 0).any(1)).tolist()

    def camera(self, view: int) -> Camera:
        """Return one camera."""
        x, y = self.principal_point[view].tolist()
        width, height = self.image_size[view].tolist()
        return Camera(float(self.focal[view]), (x, y), (width, height))

    def rows(self, index: np.ndarray) -> TakeViews:
        """Restrict the views to some rows of the fit."""
        return replace(self, **{name: np.ascontiguousarray(getattr(self, name)[:, index]) for name in _OF_ROWS})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by their names in a fit file."""
        return {
            PREFIX + f.name: np.asarray(getattr(self, f.name)).astype(COLUMNS[f.name][1], copy=False)
            if COLUMNS[f.name][1] != "<U"
            else getattr(self, f.name)
            for f in fields(self)
        }


ARRAYS = frozenset(PREFIX + name for name in COLUMNS)


def views_of_arrays(arrays: Mapping[str, np.ndarray]) -> TakeViews | None:
    """Build views from the arrays of a fit file; None if it has none of them. Raises InputError for a part of them, or
    other types.
    """
    columns = {name: arrays[PREFIX + name] for name in COLUMNS if PREFIX + name in arrays}
    if not columns:
        return None
    if missing := sorted(COLUMNS.keys() - columns.keys()):
        raise InputError("views", f"lack {', '.join(missing)}")
    for name, array in columns.items():
        if array.dtype.kind != np.dtype(COLUMNS[name][1]).kind:
            expected = np.dtype(COLUMNS[name][1]).name
            raise InputError(PREFIX + name, "has the wrong type", expected=expected, got=str(array.dtype))
    return TakeViews.build(**columns)


def check_view_arrays(views: TakeViews, rows: int, frames: int) -> None:
    """Raise InputError about the first array that is wrong, or does not fit N rows and F frames."""
    sizes = {"V": len(views.names) if views.names.ndim == 1 else -1, "N": rows, "F": frames}
    for name, (pattern, dtype) in COLUMNS.items():
        array, subject = getattr(views, name), PREFIX + name
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in pattern)
        if array.shape != shape:
            raise InputError(subject, "has the wrong shape", expected=f"{shape}", got=f"{array.shape}")
        if np.dtype(dtype).kind == "f" and not np.isfinite(array).all():
            raise InputError(subject, "holds values that are not finite")
    if len(views) < 2 or len(set(views.names.tolist())) != len(views):
        raise InputError(PREFIX + "names", "do not name two views or more", got=", ".join(views.names.tolist()))
    check_image_sizes(views.image_size)
    for name in ("focal", "principal_point"):
        check_limits(name, getattr(views, name))
    check_limits("world_to_camera", views.from_first)
    matrix = views.from_first.astype(np.float64)
    rotation = matrix[:, :3, :3]
    error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0)
    last_row = np.abs(matrix[:, 3] - (0, 0, 0, 1)).max(axis=1, initial=0)
    if (error > _ROTATION_TOLERANCE).any() or (last_row > 0).any() or (np.linalg.det(rotation) < 0).any():
        raise InputError(PREFIX + "from_first", "is not a rigid motion", expected="[R t; 0 0 0 1]")
    if (np.abs(matrix[0] - np.eye(4)) > _ROTATION_TOLERANCE).any():
        raise InputError(PREFIX + "from_first", "does not begin with the first camera", expected="the identity")
    confidence, boxes = views.keypoints2d[..., 2], views.boxes
    wrong = {
        "keypoints2d": (confidence < 0) | (confidence > 1),
        "boxes": boxes[..., 2:] < boxes[..., :2],
        "reprojection_error": views.reprojection_error < 0,
        "weight": (views.weight < 0) | (views.weight > 1),
        "frame": views.frame < -1,
    }
    for name, values in wrong.items():
        if values.any():
            raise InputError(PREFIX + name, "holds impossible values")
