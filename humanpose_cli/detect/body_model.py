"""A user's own body network of InstantHMR's kind: joints of a crop, in the image and in space.

The interface is from github.com/mohamdev/InstantHMR (models/README.md; instanthmr/inference.py, `InstantHMR`;
tools/pth_to_onnx.py):

image       (N, 3, S, S): the square around the person's box, 1.2 times as large, black outside the image, RGB,
            ImageNet's mean and standard deviation
cliff_cond  (N, 3): the position of the box. If the file's metadata has cliff_focal "true", the angles of its middle off
            the axis, and its size in focal lengths; otherwise its middle and size in sides of the image
joints_2d   (N, 70, 2) from -1 to 1 over the crop
joints_3d   (N, 70, 3) metres, in the camera's axes (x right, y down, z forward), without the person's position;
            missing in networks whose joints come from MHR's skeleton alone
Other outputs (mhr_params, shape_params, cam_trans) are not used. The joints are SAM 3D Body's
(github.com/facebookresearch/sam-3d-body, sam_3d_body/metadata/mhr70.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from humanpose_cli.core.conventions import MHR70_ROWS
from humanpose_cli.detect.identity import SAME_POSE_MODEL, PosePoints, same_person
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.detect.user_network import (
    CROP_MARGIN,
    JOINT_SPREAD,
    UserNetwork,
    hung_on,
    move_landmarks,
    upright_person_crop,
)
from humanpose_cli.geometry.rotations import viewing_rotation

logger = logging.getLogger("humanpose_cli.detect")

_JOINT_COUNT = 70
_MARGIN = 1.2  # sides of the crop in sides of the box
_DEFAULT_FOCAL = 1.05  # diagonals of the image, for networks whose condition is in focal lengths
_MIN_DEPTH_NOISE = 0.04  # metres: InstantHMR errs by 40 to 51 mm on 3DPW after alignment (its authors)
_SHIPPED_DEPTH_NOISE = 0.07  # metres: of world landmarks, beside how far passes differ (`fitting.evidence`)
_UNKNOWN_DEPTH = 1.0  # metres: noise of world landmarks that no network gave
_CLEAR = 0.5  # confidence of joints on which the network's noise is measured
_MEDIAN = {2: 0.693, 3: 0.789}  # variances: median of the mean of squares of 2 or 3 normal variables


class BodyModel:
    """A network whose joints are combined with the shipped networks' joints.

    Args:
        network: The network.

    Raises:
        InputError: If the network is of another kind.
    """

    joint_names = tuple(MHR70_ROWS)

    def __init__(self, network: UserNetwork) -> None:
        self._network = network
        condition, image = sorted(network.inputs, key=lambda value: len(value.shape))
        if condition.kind != "tensor(float)" or len(condition.shape) != 2 or condition.shape[1] != 3:
            raise network.other_kind(f"input {condition.name} {condition.kind} of shape {condition.shape}")
        width, height = network.image_size(image)
        names = [output.name for output in network.outputs]
        self._outputs = [name for name in ("joints_2d", "joints_3d") if name in names]
        if width != height or "joints_2d" not in names:
            raise network.other_kind(f"images of {width} x {height} and outputs {', '.join(names)}")
        self._side = width
        self._image = image.name
        self._condition = condition.name
        self._is_angular = network.metadata.get("cliff_focal", "").lower() == "true"
        self._shapes = [(_JOINT_COUNT, 2), (_JOINT_COUNT, 3)][: len(self._outputs)]
        sample = {image.name: np.zeros((1, 3, height, width), np.float32), condition.name: np.zeros((1, 3), np.float32)}
        shapes = [output.shape for output in network.run(self._outputs, sample)]
        if shapes != [(1, *shape) for shape in self._shapes]:
            raise network.other_kind(f"outputs of shapes {' and '.join(map(str, shapes))}")
        if len(self._outputs) == 1:
            logger.warning("%s gives no joints in space (joints_3d): it adds joints in the image only", network.path)

    def pose(
        self, pyramid: Pyramid, people: Sequence[DetectedPerson], focal: float | None = None
    ) -> list[DetectedPerson]:
        """Combine people's joints with the network's, weighted by their noise.

        If the network's pose differs from the shipped networks', their joints, world landmarks and mask are dropped.

        Args:
            pyramid: The image.
            people: The people.
            focal: The focal length, pixels; None if unknown.
        """
        size = (self._side, self._side)
        crops = [upright_person_crop(pyramid, person.box, size, _MARGIN) for person in people]
        diagonal = math.hypot(*pyramid.size)
        # Joints in space are in the axes of the camera that the network was trained with.
        focal = (focal or _DEFAULT_FOCAL * diagonal) if self._is_angular else diagonal
        values = {
            self._image: np.stack([crop.image for crop in crops]),
            self._condition: np.stack([self._condition_of(person.box, pyramid.size, focal) for person in people]),
        }
        points, *space = self._network.rows(self._outputs, self._shapes, values)
        rows = list(MHR70_ROWS.values())
        result = []
        for row, (person, crop) in enumerate(zip(people, crops, strict=True)):
            in_image = crop.to_image.points((points[row, rows] + 1) / 2 * self._side)
            in_space = _in_viewing_axes(space[0][row, rows], in_image, pyramid.size, focal) if space else None
            result.append(self._with_joints(person, in_image, in_space))
        return result

    def _condition_of(self, box: np.ndarray, size: tuple[int, int], focal: float) -> np.ndarray:
        """Return cliff_cond (3,) of a box (4,) x0 y0 x1 y1."""
        middle = (box[:2] + box[2:]) / 2
        image = np.array(size, np.float32)
        side = float(max(box[2:] - box[:2]))
        if self._is_angular:
            return np.array([*np.arctan((middle - image / 2) / focal), side / focal], np.float32)
        return np.array([*(2 * middle / image - 1), side / max(size)], np.float32)

    def _with_joints(self, person: DetectedPerson, in_image: np.ndarray, in_space: np.ndarray | None) -> DetectedPerson:
        """Take joints (K, 2), pixels, and (K, 3), metres about the hips in axes of a camera that looks at them."""
        names = [name for name in self.joint_names if name in person.skeleton]
        rows = person.skeleton.indices(names)
        model_rows = [self.joint_names.index(name) for name in names]
        points = in_image[model_rows].astype(np.float32)
        space = None if in_space is None else in_space[model_rows].astype(np.float32)
        size = float(max(person.box[2:] - person.box[:2]))
        spread = person.spread.copy()
        confidence = person.keypoints[rows, 2]
        clear = confidence >= _CLEAR if (confidence >= _CLEAR).any() else np.ones(len(rows), bool)
        shipped_points = person.keypoints[rows, :2]
        if same_person(
            PosePoints(shipped_points, CROP_MARGIN * size), PosePoints(points, CROP_MARGIN * size), SAME_POSE_MODEL
        ):
            points, spread[rows] = _mean_of_two(shipped_points, spread[rows], points, JOINT_SPREAD * size, clear)
        else:
            person = replace(person, world=None, world_spread=None, mask=None)
            spread[rows] = JOINT_SPREAD * size
        keypoints = move_landmarks(person, rows, np.column_stack((points, confidence)))
        if space is not None:
            person = _with_depth(person, rows, space, clear)
        return replace(person, keypoints=keypoints, spread=spread)


def _in_viewing_axes(space: np.ndarray, points: np.ndarray, size: tuple[int, int], focal: float) -> np.ndarray:
    """Turn joints (K, 3) from the image's camera to one that looks straight at the hips."""
    hips = [list(MHR70_ROWS).index(f"{side}_hip") for side in ("left", "right")]
    pixel, centre = (torch.from_numpy(np.asarray(values, np.float64)[None]) for values in (points[hips].mean(0), size))
    to_camera = viewing_rotation(pixel, torch.tensor([focal], dtype=torch.float64), centre / 2)[0].numpy()
    return (space - space[hips].mean(0)) @ to_camera


def _with_depth(person: DetectedPerson, rows: Sequence[int], space: np.ndarray, clear: np.ndarray) -> DetectedPerson:
    """Combine the world landmarks of `rows` with joints (K, 3); other landmarks follow their joint."""
    count = len(person.skeleton)
    if person.world is None or person.world_spread is None:
        world = np.zeros((count, 3), np.float32)
        spread = np.full(count, _UNKNOWN_DEPTH, np.float32)
        mean = space
        noise = np.full(len(space), _MIN_DEPTH_NOISE)
    else:
        world = person.world
        spread = person.world_spread.copy()
        shipped_noise = np.hypot(spread[rows], _SHIPPED_DEPTH_NOISE)
        mean, noise = _mean_of_two(world[rows], shipped_noise, space, _MIN_DEPTH_NOISE, clear)
    shift = np.zeros_like(world)
    shift[rows] = mean - world[rows]
    spread[rows] = noise
    return replace(person, world=world + shift[hung_on(person.skeleton, frozenset(rows))], world_spread=spread)


def _mean_of_two(
    shipped: np.ndarray, noise: np.ndarray, model: np.ndarray, floor: float, clear: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average two measurements (K, D) of the same joints; return the mean and its noise (K,)."""
    # `noise` (K,) is the standard deviation of `shipped`, `floor` the minimum one of `model`, which is estimated on the
    # joints `clear` (K,).
    squares = ((model - shipped) ** 2).mean(-1)
    # Their distance has the variance of both; the median ignores joints that one of them takes for another.
    sum_of_variances = float(np.median(squares[clear])) / _MEDIAN[shipped.shape[1]]
    variance = noise**2
    model_variance = max(sum_of_variances - float(np.median(noise[clear] ** 2)), floor**2)
    mean = shipped + (variance / (variance + model_variance))[:, None] * (model - shipped)
    # If they are further apart than their noise explains, one is wrong, and nothing says which (Birge's ratio).
    ratio = np.maximum(squares / (variance + model_variance), 1.0)
    return mean, np.sqrt(ratio * variance * model_variance / (variance + model_variance))
