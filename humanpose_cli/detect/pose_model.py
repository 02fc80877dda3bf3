"""A user's own pose network in an ONNX file, of RTMPose's or of InstantHMR's kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from humanpose_cli.detect.body_model import BodyModel
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.detect.simcc import SimccModel
from humanpose_cli.detect.user_network import UserNetwork

PoseModel: TypeAlias = SimccModel | BodyModel


def open_pose_model(path: Path | str, device: str = "auto") -> PoseModel:
    """Open a pose network, whose inputs show its kind.

    Args:
        path: The ONNX file.
        device: "cpu", "cuda:N", or "auto" for the GPU if ONNX Runtime can use one.

    Raises:
        InputError: If the network is of neither kind.
    """
    network = UserNetwork(path, device)
    return BodyModel(network) if len(network.inputs) == 2 else SimccModel(network)


def use_pose_model(
    pool: ModelPool,
    model: PoseModel,
    image: np.ndarray,
    people: Sequence[DetectedPerson],
    focal: float | None = None,
) -> list[DetectedPerson]:
    """Give people the joints of the user's network, see `SimccModel.pose` and `BodyModel.pose`.

    Landmarks that the network lacks (hands, mouth) follow the joint that they are attached to, with less confidence the
    further it moved.

    Args:
        pool: The threads.
        model: The network.
        image: (H, W, 3) uint8 RGB.
        people: The people.
        focal: The focal length of the image, pixels; None if unknown.
    """
    pyramid = Pyramid(image)
    return pool.map(lambda _, part: model.pose(pyramid, part, focal), people)
