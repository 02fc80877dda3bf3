"""A user's own 2-D pose network of the RTMPose kind, read from an ONNX file.

The conventions are those in which MMPose trains and exports these networks (its `rtmpose-*` configurations and codec
SimCCLabel): an upright crop of the network's shape around the person's box, a quarter larger, black outside the image;
RGB, ImageNet's mean and standard deviation; for each joint one row of bins across and one down (SimCC), whose peaks
are the joint and the lower of whose values is its score. Bins count from the centre of the crop's first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from humanpose_cli.core.conventions import COCO17, Skeleton
from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.options import DetectOptions
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid, region_around_box
from humanpose_cli.detect.runtime import runtime_device, start_session
from humanpose_cli.detect.similarity import PosePoints, same_person
from humanpose_cli.io.sniffing import file_kind

_HALPE26 = (
    *COCO17.joint_names,
    *("head_top", "neck", "pelvis", "left_foot_index", "right_foot_index"),  # Halpe's big toes
    *("left_small_toe", "right_small_toe", "left_heel", "right_heel"),
)
_JOINTS = {17: COCO17.joint_names, 26: _HALPE26}
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # RGB, 0..255
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_MARGIN = 1.25  # sides of the crop in sides of the box
_MAX_INPUT = 2048 * 2048  # pixels: RTMPose's largest networks have 384 x 288
_LONGEST = 200  # characters of a file's own texts in an error
_KIND = "an RTMPose network: float images (N, 3, H, W), outputs simcc_x and simcc_y of 17 (COCO) or 26 (Halpe) joints"

_SPREAD = 0.01  # of the box's longer side: standard deviation of good detectors' joints
_FOLLOW_DISTANCE = 0.05  # of the box's longer side: a landmark that follows a joint this far counts half


class PoseModel:
    """The network in `path`. Raises InputError if the file is none of this kind.

    device       cpu, cuda:N, or auto: the GPU where ONNX Runtime can use one
    joint_names  of its K joints
    """

    def __init__(self, path: Path | str, device: str = "auto") -> None:
        self._path = Path(path)
        file_kind(self._path)  # can it be opened?
        device = runtime_device(device)
        self._session = start_session(self._path, device)
        values = self._session.get_inputs(), self._session.get_outputs()
        try:
            inputs, outputs = ([(value.name, value.type, value.shape) for value in side] for side in values)
        except UnicodeDecodeError as error:  # of a damaged file
            raise self._other("names that are no text") from error
        if len(inputs) != 1 or len(outputs) != 2:
            raise self._other(f"{len(inputs)} inputs and {len(outputs)} outputs")
        ((name, kind, shape),) = inputs
        has_size = len(shape) == 4 and shape[1] == 3 and all(isinstance(side, int) and side > 0 for side in shape[2:])
        if kind != "tensor(float)" or not has_size or (isinstance(shape[0], int) and shape[0] != 1):
            raise self._other(f"input {name} {kind} of shape {shape}"[:_LONGEST])
        self._height, self._width = shape[2:]
        if self._height * self._width > _MAX_INPUT:
            expected, got = f"at most {_MAX_INPUT:,} pixels", f"{self._width} x {self._height}"
            raise InputError(self._path, "takes too large images", expected=expected, got=got)
        # On a GPU, each new size of a batch would be planned for seconds.
        self._input, self._takes_batches = name, shape[0] != 1 and device == "cpu"
        names = [output[0] for output in outputs]
        self._outputs = ["simcc_x", "simcc_y"] if set(names) == {"simcc_x", "simcc_y"} else names
        x, y = self._outputs_of(np.zeros((1, 3, self._height, self._width), np.float32))
        shapes = f"outputs of shapes {x.shape} and {y.shape} for images of {self._width} x {self._height}"
        if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or x.shape[1] not in _JOINTS:
            raise self._other(shapes)
        self._bins = x.shape[2] / self._width  # a pixel
        if self._bins < 1 or y.shape[2] != self._bins * self._height:
            raise self._other(shapes)
        self._shapes = x.shape[1:], y.shape[1:]
        self.joint_names = _JOINTS[x.shape[1]]

    def _other(self, got: str) -> InputError:
        return InputError(self._path, "is another kind of network", expected=_KIND, got=got)

    def _outputs_of(self, images: np.ndarray) -> list[np.ndarray]:
        try:
            outputs = list(self._session.run(self._outputs, {self._input: images}))
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise InputError(self._path, f"does not run ({reason_of(error)})") from error
        if not all(isinstance(output, np.ndarray) and output.dtype.kind == "f" for output in outputs):
            raise self._other("outputs that are not numbers")
        if not all(np.isfinite(output).all() for output in outputs):
            raise InputError(self._path, "gives outputs that are not finite", remedy="export or train it again")
        return outputs

    def _rows(self, images: np.ndarray) -> list[np.ndarray]:
        """Compute the outputs. Raises InputError if they do not have a row for each image."""
        outputs = self._outputs_of(images)
        expected, got = ([str((len(images), *shape)) for shape in self._shapes], [str(part.shape) for part in outputs])
        if got != expected:
            problem = f"gives outputs of other shapes for {len(images)} images"
            raise InputError(self._path, problem, expected=" and ".join(expected), got=" and ".join(got))
        return outputs

    def joints(self, pyramid: Pyramid, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """Find joints (N, K, 3), x, y in pixels of the image and score 0..1, of the people in N boxes (4,) x0 y0 x1
        y1.
        """
        size = max(self._width, self._height)
        corner = np.array([(size - self._width) // 2, (size - self._height) // 2])
        (left, top), right, bottom = corner, corner[0] + self._width, corner[1] + self._height
        affines, crops = [], []
        for box in boxes:
            x0, y0, x1, y1 = (float(value) for value in box)
            scale = _MARGIN * max((x1 - x0) / self._width, (y1 - y0) / self._height)
            region = replace(region_around_box(box), side=scale * size)
            crops.append(pyramid.crop(region, size, pad=cv2.BORDER_CONSTANT)[top:bottom, left:right])
            affines.append(region.to_image(size))
        images = ((np.stack(crops) - _MEAN) / _STD).transpose(0, 3, 1, 2)
        step = len(images) if self._takes_batches else 1
        parts = [self._rows(images[start : start + step]) for start in range(0, len(images), step)]
        across, down = (np.concatenate(output).astype(np.float32) for output in zip(*parts, strict=True))
        bins = np.stack([across.argmax(-1), down.argmax(-1)], axis=-1)  # (N, K, 2)
        points = bins / self._bins + 0.5 + corner
        scores = np.clip(np.minimum(across.max(-1), down.max(-1)), 0, 1)
        placed_points = [affine.points(rows) for affine, rows in zip(affines, points, strict=True)]
        return np.concatenate([placed_points, scores[..., None]], axis=-1).astype(np.float32)


def use_pose_model(
    pool: ModelPool,
    model: PoseModel,
    image: np.ndarray,
    people: Sequence[DetectedPerson],
    options: DetectOptions = DetectOptions(),
) -> list[DetectedPerson]:
    """Replace people's joints by the network's.

    Landmarks that it lacks (hands, mouth) follow the joint that they hang on, and count the less the further it moved.
    If its pose is another than the shipped networks', their world landmarks and mask are left out.
    """
    pyramid = Pyramid(image)
    joints = pool.map(lambda _, part: list(model.joints(pyramid, [person.box for person in part])), people)
    threshold = options.same_person.pose_model
    return [
        _with_joints(person, rows, model.joint_names, threshold) for person, rows in zip(people, joints, strict=True)
    ]


def _with_joints(person: DetectedPerson, joints: np.ndarray, names: Sequence[str], same_pose: float) -> DetectedPerson:
    """Replace a person's joints by joints (K, 3) x, y, score; those that the person's skeleton lacks are not used."""
    skeleton = person.skeleton
    theirs = [row for row, name in enumerate(names) if name in skeleton]
    mine = skeleton.indices(names[row] for row in theirs)
    size = float(max(person.box[2:] - person.box[:2]))
    keypoints, spread = person.keypoints.copy(), person.spread.copy()
    is_detected = joints[theirs, 2] > 0
    shift = np.zeros((len(skeleton), 2), np.float32)
    shift[mine] = np.where(is_detected[:, None], joints[theirs, :2] - keypoints[mine, :2], 0)
    trust = np.zeros(len(skeleton), np.float32)
    trust[mine] = is_detected / (1 + (np.linalg.norm(shift[mine], axis=1) / (_FOLLOW_DISTANCE * size)) ** 2)
    hung = _hung_on(skeleton, frozenset(mine))
    keypoints[:, :2] += shift[hung]
    keypoints[:, 2] *= trust[hung]
    keypoints[mine, 2] = joints[theirs, 2]
    spread[mine] = _SPREAD * size
    before = PosePoints(person.keypoints[mine, :2], _MARGIN * size)
    after = PosePoints(joints[theirs, :2], _MARGIN * size, joints[theirs, 2])
    is_same = same_person(before, after, same_pose, min_confidence=0)
    result = person if is_same else replace(person, world=None, world_spread=None, mask=None)
    return replace(result, keypoints=keypoints, spread=spread)


def _hung_on(skeleton: Skeleton, available: frozenset[int]) -> list[int]:
    """Find for each row the row of `available` that it hangs on: itself, an ancestor, or the nose."""
    rows = []
    for start in range(len(skeleton)):
        row = start
        while row >= 0 and row not in available:
            row = skeleton.parents[row]
        rows.append(row if row >= 0 else skeleton.index("nose"))
    return rows
