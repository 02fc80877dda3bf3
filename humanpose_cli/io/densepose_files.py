"""DensePose's output: images or arrays of charts, and dumps of detectron2's `apply_net.py dump`.

An image is called NAME_IUV.png for NAME.jpg. A dump is a list over images, written by torch.save:
{"file_name", "scores" (N,), "pred_boxes_XYXY" (N, 4), "pred_densepose": N times labels (h, w) and uv (2, h, w) of the
box}. It is read by torch.load(weights_only=True, mmap=True), which runs nothing in it and reads a tensor when its image
is read: a dump of a thousand images has gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.conventions import DENSEPOSE_CHARTS
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import array_field, checked_array, existing_file
from humanpose_cli.files.npz_files import check_archive, read_npz
from humanpose_cli.files.paths import normal
from humanpose_cli.files.restricted_pickle import check_torch_pickles
from humanpose_cli.files.sniffing import file_kind, reading_error
from humanpose_cli.io.images import encode_image, read_image


def read_densepose(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read the charts of an image of `size` (width, height): (H, W, 3) uint8, chart 0 to 24, then 255 U and 255 V.

    DensePose's tools write the channels I, U, V through OpenCV, which stores the first as blue: the file's red is V.
    Raises InputError if the file is missing, damaged, of another size or of another kind.
    """
    existing_file(path, "DensePose's output on an image (NAME_IUV.png)")
    image = read_image(path)
    if image.size != size:
        raise InputError(path, "has another size than its image", expected=str(size), got=str(image.size))
    charts = image.pixels[..., ::-1]
    if charts[..., 0].max() > DENSEPOSE_CHARTS:
        got = str(charts[..., 0].max())
        raise InputError(path, "is not DensePose's output", expected="charts 0 to 24 in blue", got=got)
    return np.ascontiguousarray(charts)


def encode_densepose(charts: NDArray[np.uint8]) -> bytes:
    """Encode the PNG of `LABEL_MAPS["densepose"]`; U and V are 0 where there is no chart."""
    return encode_image(np.where(charts[..., :1] > 0, charts, 0).astype(np.uint8), ".png")


_AGAIN = "make it again with apply_net.py dump of a chart model (densepose_rcnn_*)"
_RESULT = re.compile(r"densepose\..*\.DensePoseChartResult(WithConfidences)?")
_MAX_ELEMENTS = 2**28


@dataclass(frozen=True, eq=False)
class DensePosePerson:
    """One person that DensePose detected.

    Attributes:
        box: (4,) float, pixels. x0, y0, x1, y1.
        score: Confidence, 0 to 1.
        labels: (h, w) uint8. Charts 1 to 24 in the box, 0 for none; the first pixel is the pixel of the box's corner.
        uv: (2, h, w) float, 0 to 1. Coordinates on the charts.
    """

    box: NDArray[Any]
    score: float
    labels: NDArray[np.uint8]
    uv: NDArray[Any]

    def paint(self, charts: NDArray[np.uint8]) -> None:
        """Write chart, 255 U and 255 V of this person's pixels into (H, W, 3) uint8."""
        inside, where = self._cut(charts.shape[:2])
        values = np.concatenate((self.labels[None], np.rint(np.clip(self.uv, 0, 1) * 255)))
        on_body = self.labels[inside] > 0
        charts[where][on_body] = values.transpose(1, 2, 0)[inside][on_body].astype(np.uint8)

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask (H, W) of this person in an image of `size` (width, height)."""
        result = np.zeros((size[1], size[0]), bool)
        inside, where = self._cut(result.shape)
        result[where] = self.labels[inside] > 0
        return result

    def _cut(self, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the slices of `labels` inside an image (height, width), and of the image."""
        start = np.array([int(self.box[1]), int(self.box[0])])
        first = np.maximum(start, 0)
        last = np.maximum(np.minimum(start + self.labels.shape, shape), first)
        inside, where = zip(first - start, last - start, strict=True), zip(first, last, strict=True)
        return tuple(slice(*ends) for ends in inside), tuple(slice(*ends) for ends in where)


class _ChartResult:
    """Stands in for DensePose's classes of results: torch puts their fields (`labels`, `uv` …) here."""


class DensePoseDump:
    """A dump file; can be pickled. Raises InputError if it is missing, damaged or another kind of file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = self._read()

    def __reduce__(self) -> tuple[type[DensePoseDump], tuple[Path]]:
        return DensePoseDump, (self.path,)  # a worker reads the file itself

    @cached_property
    def _by_name(self) -> Mapping[str, list[tuple[str, int]]]:
        """Complete file names and their indices in the dump, by the last part of the file name."""
        table: dict[str, list[tuple[str, int]]] = {}
        for number, entry in enumerate(self._entries):
            path = normal(entry["file_name"])
            table.setdefault(path.rpartition("/")[2], []).append((path, number))
        return table

    def find(self, name: str) -> int | None:
        """Find the index of the only image with a file name that is or ends in `name` ("a.jpg", "sub/a.jpg")."""
        name = normal(name)
        candidates = self._by_name.get(name.rpartition("/")[2], [])
        matches = [number for path, number in candidates if f"/{path}".endswith(f"/{name}")]
        return matches[0] if len(matches) == 1 else None

    def people(self, index: int) -> list[DensePosePerson]:
        """Return the people in the image at this index, the most confident last. Raises InputError if damaged."""
        entry = self._entries[index]
        name, results = entry["file_name"], entry.get("pred_densepose")
        where = f"{self.path} ({name})"
        if results is None or "pred_boxes_XYXY" not in entry or "scores" not in entry:
            return []
        boxes = checked_array(self._array(entry["pred_boxes_XYXY"]), f"{where}, boxes", (None, 4))
        scores = checked_array(self._array(entry["scores"]), f"{where}, scores", (len(boxes),))
        if not isinstance(results, list) or len(results) != len(boxes):
            raise InputError(where, "has not one result for each box", expected=str(len(boxes)), remedy=_AGAIN)
        people = [self._person(box, float(s), r, where) for box, s, r in zip(boxes, scores, results, strict=True)]
        return sorted(people, key=lambda person: person.score)

    def _person(self, box: NDArray[Any], score: float, result: Any, where: str) -> DensePosePerson:
        fields = vars(result) if isinstance(result, _ChartResult) else {}
        if not {"labels", "uv"} <= fields.keys():
            raise InputError(where, "holds no charts", expected="labels and uv of a chart model", remedy=_AGAIN)
        labels = checked_array(self._array(fields["labels"]), f"{where}, labels", (None, None), dtype=np.int64)
        uv = checked_array(self._array(fields["uv"]), f"{where}, uv", (2, *labels.shape))
        if labels.min(initial=0) < 0 or labels.max(initial=0) > DENSEPOSE_CHARTS:
            raise InputError(f"{where}, labels", "are no charts", expected=f"0 to {DENSEPOSE_CHARTS}")
        return DensePosePerson(box, score, labels.astype(np.uint8), uv)

    def _read(self) -> list[dict[str, Any]]:
        check_archive(self.path, checksums=False)
        try:
            check_torch_pickles(self.path)
            names = torch.serialization.get_unsafe_globals_in_checkpoint(self.path)
            unknown = [name for name in names if not _RESULT.fullmatch(name)]
            if unknown:
                problem = "is refused, because it names what no chart model's dump needs"
                raise InputError(self.path, problem, got=unknown[0][:100], remedy=_AGAIN)
            with torch.serialization.safe_globals([(_ChartResult, name) for name in names]):
                entries = torch.load(self.path, "cpu", weights_only=True, mmap=True)
        except InputError:
            raise
        except OSError as error:
            raise reading_error(self.path, error) from error
        except Exception as error:  # a damaged file raises whatever its broken parts lead to
            description = file_kind(self.path)
            reason = description if "ZIP" not in description else f"{type(error).__name__}: {error}"[:150]
            problem = "is no DensePose dump that can be read"
            raise InputError(self.path, problem, got=" ".join(reason.split()), remedy=_AGAIN) from error
        all_have_names = isinstance(entries, list) and all(
            isinstance(entry, dict) and isinstance(entry.get("file_name"), str) for entry in entries
        )
        if not all_have_names:
            raise InputError(self.path, "is no DensePose dump", expected="a list with file_name", remedy=_AGAIN)
        return list(entries)

    def _array(self, tensor: Any) -> NDArray[Any]:
        if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
            raise InputError(self.path, "is damaged", expected="a tensor", got=type(tensor).__name__, remedy=_AGAIN)
        if tensor.numel() > _MAX_ELEMENTS:
            raise InputError(self.path, f"is damaged (a tensor of {tuple(tensor.shape)})", remedy=_AGAIN)
        return tensor.numpy()


class DensePoseOutput:
    """DensePose's output in a folder or a dump: images, arrays or dumps. Raises InputError if it does not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir() and not path.is_file():
            raise InputError(path, "does not exist", expected="a folder or dump of DensePose output")

    @cached_property
    def _dumps(self) -> list[DensePoseDump]:
        files = sorted(self.path.glob("*.pkl")) if self.path.is_dir() else [self.path]
        return [DensePoseDump(path) for path in files]

    def read(
        self, name: str, group: str, size: tuple[int, int], allow_missing: bool
    ) -> tuple[NDArray[np.uint8] | None, list[DensePosePerson]]:
        """Read the charts of an image, and its people if they come from a dump.

        Args:
            name: File name of the image.
            group: Folder or path of the image in the data set.
            size: (width, height) of the image in pixels.
            allow_missing: Whether an image without output is allowed.

        Returns:
            Charts (H, W, 3) uint8, None if missing, and the people, the most confident first.

        Raises:
            InputError: If the output is damaged, or missing and not allowed to be.
        """
        stems = [Path(group).with_suffix(""), Path(group) / Path(name).stem, Path(Path(name).stem)]
        for stem in stems if self.path.is_dir() else ():
            if (image := self.path / f"{stem}_IUV.png").is_file():
                return read_densepose(image, size), []
            if (array := self.path / f"{stem}_IUV.npz").is_file():
                return _charts_of_array(array, size), []
        for dump, alias in product(self._dumps, (f"{group}/{name}", group, name)):
            if (number := dump.find(alias)) is not None:
                charts = np.zeros((size[1], size[0], 3), np.uint8)
                people = dump.people(number)
                for person in people:  # the most confident last, so on top
                    person.paint(charts)
                return charts, people[::-1]
        if allow_missing:
            return None, []
        expected = f"{Path(name).stem}_IUV.png, {Path(name).stem}_IUV.npz or a dump with {name}"
        remedy = "or go without it: `allow_missing`"
        raise InputError(self.path, f"has nothing about {group}", expected=expected, remedy=remedy)


def _charts_of_array(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    charts = array_field(read_npz(path), "iuv", path, (size[1], size[0], 3))
    if charts[..., 0].max(initial=0) > DENSEPOSE_CHARTS or charts.min(initial=0) < 0 or charts.max(initial=0) > 255:
        raise InputError(
            f"{path} (iuv)", "is not DensePose's output", expected=f"charts 0 to {DENSEPOSE_CHARTS}, U and V to 255"
        )
    return charts.astype(np.uint8)
