"""A user's own network beside the shipped ones, read from an ONNX file: of RTMPose's kind or of InstantHMR's."""

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
    """Open the network in `path`, whose inputs say of which kind it is. Raises InputError if it is of neither.

    Args:
        device: Cpu, cuda:N, or auto: the GPU where ONNX Runtime can use one.
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

    Landmarks that it lacks (hands, mouth) follow the joint that they hang on, and count the less the further it moved.

    Args:
        focal: Of the image's camera, pixels; None if unknown.
    """
    pyramid = Pyramid(image)
    return pool.map(lambda _, part: model.pose(pyramid, part, focal), people)
