"""Named points that move with a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from humanpose_cli.bodies.body_data import LandmarkArrays

__all__ = ["LandmarkSet"]


class LandmarkSet(torch.nn.Module):
    """Points that are shaped and skinned exactly like vertices, so that the mesh is not needed to pose them.

    skeleton         their names and tree
    template         (L, 3) metres, rest frame of the body
    directions       (L, 3, S) metres per beta
    bone_indices     (L, K) int32, rows of SMPL24
    bone_weights     (L, K), rows sum to 1
    pose_directions  (L, 3, 207) metres or None: pose blend shapes of the points
    """

    template: Tensor
    directions: Tensor
    bone_indices: Tensor
    bone_weights: Tensor
    pose_directions: Tensor | None

    def __init__(self, arrays: LandmarkArrays) -> None:
        super().__init__()
        self.skeleton = arrays.skeleton
        for name in ("template", "directions", "bone_indices", "bone_weights", "pose_directions"):
            values = getattr(arrays, name)
            self.register_buffer(name, None if values is None else torch.from_numpy(values))

    def __len__(self) -> int:
        return len(self.skeleton)
