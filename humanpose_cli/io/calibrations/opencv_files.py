"""Calibrations in OpenCV's FileStorage, YAML or XML, and EasyMocap's pair of such files.

The files are recognised by their names of values:

EasyMocap      `names`, and of each name K_, dist_ or D_, H_, W_ (intri.yml), R_ axis-angle or Rot_ (3, 3), T_
               (extri.yml): easymocap/mytools/camera_utils.py, zju3dv/EasyMocap@0ebb1d25. T is in metres:
               quickstart/calibration.md, chingswy/easymocap-public-doc@04066cf4
multi-view     `Ks`, `distortions`, `rvecs`, `Ts`, `image_sizes`, `cam_ids`, `is_fisheye` of
               samples/python/multiview_calibration.py, opencv/opencv@053a9a18

Multi-view calibrations are in the unit of the board. No axis is up: the world's axes are a camera's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.reader_process import read_isolated
from humanpose_cli.files.text_files import read_text
from humanpose_cli.files.xml_files import MAX_CALIBRATION
from humanpose_cli.io.calibrations.cameras import CalibratedCamera, Calibration, build_calibration, build_camera

_PAIR = ("intri", "extri")
_EXPECTED = "EasyMocap's names, K_ and R_, or the results of OpenCV's multiview_calibration.py"


class _Storage:
    """The values of one FileStorage, or of several together."""

    def __init__(self, path: Path, *texts: str) -> None:
        self.path = path
        problem = "is no OpenCV FileStorage that can be read"
        if not all(text.lstrip().startswith(("%YAML", "<")) for text in texts):
            raise InputError(path, problem, expected="YAML or XML")
        self._values: dict[str, Any] = {}
        for text in texts:
            values = read_isolated(path, load_storage, text.encode(), problem=problem)
            self._values = {**values, **self._values}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def numbers(self, *names: str, count: int | None = None) -> NDArray[np.float64]:
        """Return the flat numbers of a matrix, a sequence or a number; `names` are alternatives."""
        value = next((self._values[name] for name in names if name in self), None)
        if value is None:
            raise InputError(self.path, f"lacks {names[0]}", expected=_EXPECTED, got=", ".join(self._values)[:120])
        where = f"{self.path} ({names[0]})"
        data = value.get("data") if isinstance(value, dict) else value
        items = data if isinstance(data, list) else [data]
        if not all(isinstance(item, int | float) for item in items):
            raise InputError(where, "is damaged", expected="a matrix of numbers")
        if count is not None and len(items) != count:
            raise InputError(where, "has the wrong size", expected=f"{count} numbers", got=str(len(items)))
        return np.array(items, np.float64)

    def optional(self, *names: str, count: int | None = None) -> NDArray[np.float64] | None:
        """Return the numbers as `numbers`; None if they are missing."""
        return self.numbers(*names, count=count) if any(name in self for name in names) else None

    def texts(self, name: str) -> list[str]:
        """Return the texts of a sequence; whole numbers become the ends of the matrices' names, such as 01 of K_01."""
        items = self._values.get(name)
        if not isinstance(items, list) or not all(isinstance(item, str | int) for item in items):
            raise InputError(f"{self.path} ({name})", "is damaged", expected="a list of names")
        ends = (key.partition("_")[2] for key in self._values if key.startswith("K_"))
        written = {int(end): end for end in ends if re.fullmatch("[0-9]{1,18}", end)}
        return [written.get(item, str(item)) if isinstance(item, int) else item for item in items]

    def text(self, name: str) -> str:
        """Return a text; empty if it is missing."""
        value = self._values.get(name)
        return value if isinstance(value, str) else ""


def load_storage(content: bytes) -> dict[str, Any]:
    """Parse YAML or XML in the reader process: OpenCV's parser recurses without limit and may never end."""
    file = cv2.FileStorage(content.decode(), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    if not file.isOpened():
        raise ValueError("OpenCV cannot read it")
    return {name: _value(file.getNode(name)) for name in file.root().keys()}  # noqa: SIM118


def _value(node: Any) -> Any:
    if node.isMap():
        return {name: _value(node.getNode(name)) for name in node.keys()}  # noqa: SIM118
    if node.isSeq():
        return [_value(node.at(index)) for index in range(node.size())]
    if node.isString():
        return node.string()
    if node.isInt():
        return int(node.real())
    return node.real() if node.isReal() else None


def read_opencv_calibration(path: Path, text: str) -> Calibration:
    """Read a calibration from the text of a FileStorage; for EasyMocap also the other file in its folder.

    Raises InputError if it is damaged or has another layout.
    """
    storage = _Storage(path, text)
    if "names" in storage:
        return _easymocap(_with_partner(path, text))
    return build_calibration(path, _multiview(storage), unit=None)


def read_easymocap_folder(folder: Path) -> Calibration:
    """Read intri.yml and extri.yml of a folder. Raises InputError if one is missing or damaged."""
    return _easymocap(_Storage(folder, *(_small_text(folder / f"{name}.yml") for name in _PAIR)))


def _with_partner(path: Path, text: str) -> _Storage:
    """Join the storages of intri.yml and extri.yml, given one of them; other files stay alone."""
    partners = [path.with_name(name + path.suffix) for name in _PAIR if name != path.stem]
    if len(partners) == len(_PAIR) or not partners[0].is_file():
        return _Storage(path, text)
    return _Storage(path, text, _small_text(partners[0]))


def _small_text(path: Path) -> str:
    return read_text(path, kind="calibration", limit=MAX_CALIBRATION)


def _easymocap(storage: _Storage) -> Calibration:
    def camera(name: str) -> CalibratedCamera:
        size = [storage.optional(f"{side}_{name}", count=1) for side in "WH"]
        sides = [float(side[0]) for side in size if side is not None and side[0] > 0]  # −1 is unknown
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
        remedy = "undistort the videos first"
        raise InputError(storage.path, "has fisheye lenses, which are not supported", remedy=remedy)
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
