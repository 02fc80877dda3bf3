"""A user's network in an ONNX file: its interface, and its outputs for crops of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid, region_around_box
from humanpose_cli.detect.runtime import runtime_device, start_session
from humanpose_cli.files.sniffing import file_kind

_MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # RGB, 0..255
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_MAX_INPUT = 2048 * 2048  # pixels: RTMPose's largest networks have 384 x 288
_LONGEST = 200  # characters of a file's own texts in an error
_KINDS = (
    "an RTMPose network: images (N, 3, H, W), outputs simcc_x and simcc_y of 17 (COCO) or 26 (Halpe) joints; or one of "
    "InstantHMR's kind: image (N, 3, S, S) and cliff_cond (N, 3), outputs joints_2d (N, 70, 2), joints_3d (N, 70, 3)"
)

JOINT_SPREAD = 0.01
"""The standard deviation of good networks' joints, in longer sides of the box."""
CROP_MARGIN = 1.25
"""The size of a person in longer sides of the box."""
_FOLLOW_DISTANCE = 0.05  # longer sides of the box: a landmark that follows a joint this far counts half


class NetworkValue(NamedTuple):
    """An input or output as the file declares it.

    Attributes:
        name: The name.
        kind: The type, such as "tensor(float)".
        shape: The sizes; a variable size is a text or None.
    """

    name: str
    kind: str
    shape: Sequence[int | str | None]


class PersonCrop(NamedTuple):
    """An upright crop of a person.

    Attributes:
        image: (3, H, W) float, normalised.
        to_image: The map from the crop's pixels to the image's.
    """

    image: np.ndarray
    to_image: Affine2D


class UserNetwork:
    """A user's network.

    Attributes:
        inputs: The inputs as the file declares them.
        outputs: The outputs as the file declares them.
        metadata: The file's texts by name.

    Args:
        path: The ONNX file.
        device: "cpu", "cuda:N", or "auto" for the GPU if ONNX Runtime can use one.

    Raises:
        InputError: If ONNX Runtime cannot read the file.
    """

    def __init__(self, path: Path | str, device: str = "auto") -> None:
        self.path = Path(path)
        file_kind(self.path)  # can it be opened?
        device = runtime_device(device)
        self._session = start_session(self.path, device)
        values = self._session.get_inputs(), self._session.get_outputs()
        try:
            self.inputs, self.outputs = ([NetworkValue(v.name, v.type, v.shape) for v in side] for side in values)
            self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:  # of a damaged file
            raise self.other_kind("names that are no text") from error
        # On a GPU, each new size of a batch would be planned for seconds.
        self._on_cpu = device == "cpu"
        self._one_at_once = False

    def other_kind(self, got: str) -> InputError:
        """Return the error of a network with another interface."""
        return InputError(self.path, "is another kind of network", expected=_KINDS, got=got[:_LONGEST])

    def image_size(self, image: NetworkValue) -> tuple[int, int]:
        """Return the width and height of an input's images.

        Args:
            image: The input.

        Raises:
            InputError: If the input takes something else.
        """
        shape = image.shape
        has_size = len(shape) == 4 and shape[1] == 3 and all(isinstance(side, int) and side > 0 for side in shape[2:])
        if image.kind != "tensor(float)" or not has_size or (isinstance(shape[0], int) and shape[0] != 1):
            raise self.other_kind(f"input {image.name} {image.kind} of shape {shape}")
        height, width = (int(side or 0) for side in shape[2:])
        if height * width > _MAX_INPUT:
            limit = f"at most {_MAX_INPUT:,} pixels"
            got = f"{width} x {height}"
            raise InputError(self.path, "takes too large images", expected=limit, got=got)
        self._one_at_once = shape[0] == 1 or not self._on_cpu
        return width, height

    def run(self, outputs: Sequence[str], values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Compute outputs.

        Args:
            outputs: The names of the outputs.
            values: The inputs by name.

        Raises:
            InputError: If the network fails, or returns anything but finite numbers.
        """
        try:
            results = list(self._session.run(outputs, values))
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise InputError(self.path, f"does not run ({reason_of(error)})") from error
        if not all(isinstance(result, np.ndarray) and result.dtype.kind == "f" for result in results):
            raise self.other_kind("outputs that are not numbers")
        if not all(np.isfinite(result).all() for result in results):
            raise InputError(self.path, "gives outputs that are not finite", remedy="export or train it again")
        return results

    def rows(
        self, outputs: Sequence[str], shapes: Sequence[tuple[int, ...]], values: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        """Compute outputs with a row for each crop.

        Args:
            outputs: The names of the outputs.
            shapes: The shape of a row of each output.
            values: (N, ...) float32 each. The inputs by name.

        Returns:
            (N, ...) float32 for each output.

        Raises:
            InputError: If an output has another shape.
        """
        count = len(next(iter(values.values())))
        step = 1 if self._one_at_once else count
        parts = []
        for start in range(0, count, step):
            part = {name: rows[start : start + step] for name, rows in values.items()}
            results = self.run(outputs, part)
            expected = [str((min(step, count - start), *shape)) for shape in shapes]
            got = [str(result.shape) for result in results]
            if got != expected:
                problem = f"gives outputs of other shapes for {min(step, count - start)} images"
                raise InputError(self.path, problem, expected=" and ".join(expected), got=" and ".join(got))
            parts.append(results)
        return [np.concatenate(column).astype(np.float32) for column in zip(*parts, strict=True)]


def upright_person_crop(pyramid: Pyramid, box: np.ndarray, size: tuple[int, int], margin: float) -> PersonCrop:
    """Crop the surroundings of a person's box, black outside the image, with ImageNet's mean and standard deviation.

    Args:
        pyramid: The image.
        box: (4,) float, x0 y0 x1 y1 in pixels.
        size: The crop's width and height, pixels.
        margin: The crop's sides in sides of the box.
    """
    width, height = size
    longest = max(size)
    left = (longest - width) // 2
    top = (longest - height) // 2
    x0, y0, x1, y1 = (float(value) for value in box)
    scale = margin * max((x1 - x0) / width, (y1 - y0) / height)
    region = replace(region_around_box(box), side=scale * longest)
    pixels = pyramid.crop(region, longest, pad=cv2.BORDER_CONSTANT)[top : top + height, left : left + width]
    corner = Affine2D(np.array([[1.0, 0.0, left], [0.0, 1.0, top]]))
    return PersonCrop(((pixels - _MEAN) / _STD).transpose(2, 0, 1), region.to_image(longest) @ corner)


def move_landmarks(person: DetectedPerson, rows: Sequence[int], joints: np.ndarray) -> np.ndarray:
    """Move landmarks of a person to joints.

    Other landmarks follow the joint that they are attached to, with less confidence the further it moved.

    Args:
        person: The person.
        rows: The rows of the K landmarks.
        joints: (K, 3) float. x, y in pixels, and score; landmarks with score 0 do not move.

    Returns:
        (L, 3) float32. The keypoints of the person.
    """
    size = float(max(person.box[2:] - person.box[:2]))
    is_detected = joints[:, 2] > 0
    shift = np.zeros((len(person.skeleton), 2), np.float32)
    shift[rows] = np.where(is_detected[:, None], joints[:, :2] - person.keypoints[rows, :2], 0)
    trust = np.zeros(len(person.skeleton), np.float32)
    trust[rows] = is_detected / (1 + (np.linalg.norm(shift[rows], axis=1) / (_FOLLOW_DISTANCE * size)) ** 2)
    hung = hung_on(person.skeleton, frozenset(rows))
    keypoints = person.keypoints.copy()
    keypoints[:, :2] += shift[hung]
    keypoints[:, 2] *= trust[hung]
    keypoints[rows, 2] = joints[:, 2]
    return keypoints


def hung_on(skeleton: Skeleton, available: frozenset[int]) -> list[int]:
    """Return, for each row, the row of `available` that it is attached to: itself, an ancestor, or the nose."""
    rows = []
    for start in range(len(skeleton)):
        row = start
        while row >= 0 and row not in available:
            row = skeleton.parents[row]
        rows.append(row if row >= 0 else skeleton.index("nose"))
    return rows
