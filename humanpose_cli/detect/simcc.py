"""A user's own 2-D pose network of the RTMPose kind.

The conventions follow MMPose's training and export (its `rtmpose-*` configurations and codec SimCCLabel): an upright
crop of the network's shape around the person's box, a quarter larger, black outside the image; RGB, ImageNet's mean and
standard deviation; for each joint a row of bins across and one down (SimCC), whose peaks are the joint, and the lower
peak is its score. Bins count from the centre of the crop's first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.detect.identity import SAME_POSE_MODEL, PosePoints, same_person
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.detect.user_network import (
    CROP_MARGIN,
    JOINT_SPREAD,
    UserNetwork,
    move_landmarks,
    upright_person_crop,
)
from humanpose_cli.io.detections.joint_orders import HALPE26

_JOINTS = {17: COCO17.joint_names, 26: HALPE26}


class SimccModel:
    """A network whose joints replace the shipped networks' joints.

    Attributes:
        joint_names: The names of its K joints.

    Args:
        network: The network.

    Raises:
        InputError: If the network is of another kind.
    """

    def __init__(self, network: UserNetwork) -> None:
        self._network = network
        if len(network.inputs) != 1 or len(network.outputs) != 2:
            raise network.other_kind(f"{len(network.inputs)} inputs and {len(network.outputs)} outputs")
        self._input = network.inputs[0].name
        self._size = width, height = network.image_size(network.inputs[0])
        names = [output.name for output in network.outputs]
        self._outputs = ["simcc_x", "simcc_y"] if set(names) == {"simcc_x", "simcc_y"} else names
        x, y = network.run(self._outputs, {self._input: np.zeros((1, 3, height, width), np.float32)})
        shapes = f"outputs of shapes {x.shape} and {y.shape} for images of {width} x {height}"
        if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or x.shape[1] not in _JOINTS:
            raise network.other_kind(shapes)
        self._bins = x.shape[2] / width  # a pixel
        if self._bins < 1 or y.shape[2] != self._bins * height:
            raise network.other_kind(shapes)
        self._shapes = x.shape[1:], y.shape[1:]
        self.joint_names = _JOINTS[x.shape[1]]

    def joints(self, pyramid: Pyramid, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """Find the joints of people in boxes.

        Args:
            pyramid: The image.
            boxes: (4,) float each, x0 y0 x1 y1 in pixels.

        Returns:
            (N, K, 3) float32. x, y in pixels of the image, and score 0…1.
        """
        crops = [upright_person_crop(pyramid, box, self._size, CROP_MARGIN) for box in boxes]
        images = np.stack([crop.image for crop in crops])
        across, down = self._network.rows(self._outputs, self._shapes, {self._input: images})
        bins = np.stack([across.argmax(-1), down.argmax(-1)], axis=-1)  # (N, K, 2)
        points = bins / self._bins + 0.5
        scores = np.clip(np.minimum(across.max(-1), down.max(-1)), 0, 1)
        placed_points = [crop.to_image.points(rows) for crop, rows in zip(crops, points, strict=True)]
        return np.concatenate([placed_points, scores[..., None]], axis=-1).astype(np.float32)

    def pose(
        self, pyramid: Pyramid, people: Sequence[DetectedPerson], focal: float | None = None
    ) -> list[DetectedPerson]:
        """Replace people's joints by the network's.

        If the network's pose differs from the shipped networks', their world landmarks and mask are dropped.

        Args:
            pyramid: The image.
            people: The people.
            focal: Has no effect: the network has no camera.
        """
        joints = self.joints(pyramid, [person.box for person in people])
        return [self._with_joints(person, rows) for person, rows in zip(people, joints, strict=True)]

    def _with_joints(self, person: DetectedPerson, joints: np.ndarray) -> DetectedPerson:
        """Replace a person's joints by joints (K, 3), as far as the person's skeleton has them."""
        model_rows = [row for row, name in enumerate(self.joint_names) if name in person.skeleton]
        rows = person.skeleton.indices(self.joint_names[row] for row in model_rows)
        size = float(max(person.box[2:] - person.box[:2]))
        spread = person.spread.copy()
        spread[rows] = JOINT_SPREAD * size
        shipped_pose = PosePoints(person.keypoints[rows, :2], CROP_MARGIN * size)
        model_pose = PosePoints(joints[model_rows, :2], CROP_MARGIN * size, joints[model_rows, 2])
        is_same = same_person(shipped_pose, model_pose, SAME_POSE_MODEL, min_confidence=0)
        result = person if is_same else replace(person, world=None, world_spread=None, mask=None)
        return replace(result, keypoints=move_landmarks(person, rows, joints[model_rows]), spread=spread)
