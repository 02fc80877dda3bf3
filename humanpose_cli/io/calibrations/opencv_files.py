"""Calibrations in OpenCV's FileStorage, YAML or XML, and EasyMocap's pair of them.

The names distinguish these files:

EasyMocap      `names`, and of each name K_, dist_ or D_, H_, W_ (intri.yml), R_ axis-angle or Rot_ (3, 3), T_
               (extri.yml): easymocap/mytools/camera_utils.py, zju3dv/EasyMocap@0ebb1d25. T is in metres:
               quickstart/calibration.md, chingswy/easymocap-public-doc@04066cf4
multi-view     `Ks`, `distortions`, `rvecs`, `Ts`, `image_sizes`, `cam_ids`, `is_fisheye` of
               samples/python/multiview_calibration.py, opencv/opencv@053a9a18

The units of multi-view calibrations are those of the board. No axis is up: the world's axes are a camera's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.io.calibrations.cameras import (
    CalibratedCamera,
    Calibration,
    build_calibration,
    build_camera,
)
from humanpose_cli.io.nesting import check_file_size, refuse_deep_xml, refuse_deep_yaml
from humanpose_cli.io.text_files import read_text

_PAIR = ("intri", "extri")
_MAX_NUMBERS = 100_000  # of one matrix that is read: thousands of cameras
_EXPECTED = "EasyMocap's names, K_ and R_, or the results of OpenCV's multiview_calibration.py"


class _Storage:
    """The values of one FileStorage, or of several that complement each other."""

    def __init__(self, path: Path, *texts: str) -> None:
        self.path = path
        self._files = [_parsed(path, text) for text in texts]

    def __contains__(self, name: str) -> bool:
        return self._node(name) is not None

    def _node(self, *names: str) -> Any:
        """Return the node of the first of several names that is there; None if none is."""
        for name in names:
            for file in self._files:
                if not (node := file.getNode(name)).empty():
                    return node
        return None

    def numbers(self, *names: str, count: int | None = None) -> NDArray[np.float64]:
        """Return the numbers of a matrix, a sequence or a number, flat. Raises InputError if they are missing or not
        `count`.
        """
        node = self._node(*names)
        if node is None:
            keys = ", ".join(key for file in self._files for key in file.root().keys())  # noqa: SIM118
            raise InputError(self.path, f"lacks {names[0]}", expected=_EXPECTED, got=keys[:120])
        where = f"{self.path} ({names[0]})"
        data = node.getNode("data") if node.isMap() else node
        items = [data] if data.isReal() or data.isInt() else _items(data)
        if len(items) > _MAX_NUMBERS or not all(item.isReal() or item.isInt() for item in items):
            raise InputError(where, "is damaged", expected="a matrix of numbers")
        if count is not None and len(items) != count:
            raise InputError(where, "has the wrong size", expected=f"{count} numbers", got=str(len(items)))
        return np.array([item.real() for item in items], np.float64)

    def optional(self, *names: str, count: int | None = None) -> NDArray[np.float64] | None:
        """Return the same; None if they are missing."""
        return None if self._node(*names) is None else self.numbers(*names, count=count)

    def texts(self, name: str) -> list[str]:
        """Return the texts of a sequence; whole numbers become text, too."""
        items = _items(self._node(name))
        if not all(item.isString() or item.isInt() for item in items):
            raise InputError(f"{self.path} ({name})", "is damaged", expected="a list of names")
        return [item.string() if item.isString() else str(int(item.real())) for item in items]

    def text(self, name: str) -> str:
        """Return a text; empty if it is missing."""
        node = self._node(name)
        return node.string() if node is not None and node.isString() else ""


def _parsed(path: Path, text: str) -> Any:
    """Parse a text in YAML or XML, whose parser calls itself for each level of nesting."""
    if text.lstrip().startswith("%YAML"):
        refuse_deep_yaml(path, text)
    elif text.lstrip().startswith("<"):
        refuse_deep_xml(path, text)
    else:
        raise InputError(path, "is no OpenCV FileStorage that can be read", expected="YAML or XML")
    try:
        file = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        is_open = file.isOpened()
        file.root().keys()
    except (cv2.error, SystemError, ValueError) as error:  # its constructor fails as SystemError
        reason = reason_of(error.__cause__ or error).rpartition("in function '")[2]  # where OpenCV's reason ends
        raise InputError(path, "is no OpenCV FileStorage that can be read", got=reason[:120]) from error
    if not is_open:
        raise InputError(path, "is no OpenCV FileStorage that can be read")
    return file


def _items(node: Any) -> list[Any]:
    if node is None or not node.isSeq() or node.size() > _MAX_NUMBERS:
        return []
    return [node.at(index) for index in range(node.size())]


def read_opencv_calibration(path: Path, text: str) -> Calibration:
    """Read a calibration from the text of a FileStorage; of EasyMocap's files, the other one is read beside it.

    Raises InputError if it is damaged or of another layout.
    """
    storage = _Storage(path, text)
    if "names" in storage:
        return _easymocap(_with_partner(path, text))
    return build_calibration(path, _multiview(storage), unit=None)


def read_easymocap_folder(folder: Path) -> Calibration:
    """Read intri.yml and extri.yml of a folder. Raises InputError if one is missing or damaged."""
    return _easymocap(_Storage(folder, *(_small_text(folder / f"{name}.yml") for name in _PAIR)))


def _with_partner(path: Path, text: str) -> _Storage:
    """Join the storage of intri.yml and extri.yml, given one of them; of another file, return itself."""
    partners = [path.with_name(name + path.suffix) for name in _PAIR if name != path.stem]
    if len(partners) == len(_PAIR) or not partners[0].is_file():
        return _Storage(path, text)
    return _Storage(path, text, _small_text(partners[0]))


def _small_text(path: Path) -> str:
    check_file_size(path)
    return read_text(path, kind="calibration")


def _easymocap(storage: _Storage) -> Calibration:
    def camera(name: str) -> CalibratedCamera:
        size = [storage.optional(f"{side}_{name}", count=1) for side in "WH"]
        sides = [float(side[0]) for side in size if side is not None and side[0] > 0]  # EasyMocap has −1 for unknown
        return build_camera(
            storage.path,
            name,
            size=sides if len(sides) == 2 else None,
            matrix=storage.numbers(f"K_{name}", count=9).reshape(3, 3),
            distortion=storage.optional(f"dist_{name}", f"D_{name}"),
            rotation=storage.numbers(f"R_{name}", f"Rot_{name}"),
            translation=storage.numbers(f"T_{name}", count=3),
        )

    return build_calibration(storage.path, map(camera, storage.texts("names")), "m")


def _multiview(storage: _Storage) -> Iterator[CalibratedCamera]:
    matrices = storage.numbers("Ks")
    count = len(matrices) // 9
    cam_ids = storage.text("cam_ids")
    names = cam_ids.split(",") if cam_ids else [*map(str, range(count))]
    sizes = storage.optional("image_sizes", count=2 * count)
    distortions = storage.numbers("distortions")
    poses = storage.numbers("rvecs", count=3 * count), storage.numbers("Ts", count=3 * count)
    fisheye = storage.optional("is_fisheye")
    if len(matrices) % 9 or not count or len(distortions) % count or len(names) != count:
        got = f"{len(matrices)} numbers of Ks, {len(distortions)} distortions, {len(names)} names"
        raise InputError(storage.path, "holds unequal numbers of cameras", got=got)
    if fisheye is not None and fisheye.any():
        raise InputError(
            storage.path, "has fisheye lenses, which are not supported", remedy="undistort the videos first"
        )
    for row, name in enumerate(names):
        yield build_camera(
            storage.path,
            name.strip(),
            size=None if sizes is None else sizes.reshape(count, 2)[row],
            matrix=matrices.reshape(count, 3, 3)[row],
            distortion=distortions.reshape(count, -1)[row],
            rotation=poses[0].reshape(count, 3)[row],
            translation=poses[1].reshape(count, 3)[row],
        )
