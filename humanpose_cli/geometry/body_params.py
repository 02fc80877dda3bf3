"""The parameters of posed bodies. Importing this module does not load torch.

Axes are the camera's: x right, y down, z forward. Lengths are in metres, angles in radians.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from humanpose_cli.core.conventions import SMPL24


@dataclass(frozen=True, eq=False)
class BodyParams:
    """The parameters of one body, or of several with leading dimensions `...`, as numpy arrays or as torch tensors.

    Attributes:
        poses: (..., 72) float, radians. Axis-angles of SMPL24's joints relative to the parent, the pelvis' from body to
            camera axes.
        betas: (..., S) float. The shape, in the body's units.
        trans: (..., 3) float, metres in camera axes. The pelvis is at `trans` plus the pelvis of the shaped rest body.
        segment_scales: (..., 24) float. Scales of the segments. None means 1.
        hand_poses: (..., 2, 15, 3) float, radians. Axis-angles of finger joints, see `Body.pose`. None without hands.
    """

    poses: Any
    betas: Any
    trans: Any
    segment_scales: Any = None
    hand_poses: Any = None

    @classmethod
    def from_rotations(cls, rotations: Any, betas: Any, trans: Any, segment_scales: Any = None) -> BodyParams:
        """Build parameters from rotation matrices, which are kept unchanged.

        Args:
            rotations: (..., 24, 3, 3) float. Rotations relative to the parent, the pelvis' from body to camera axes.
            betas: (..., S) float. The shape.
            trans: (..., 3) float, metres. The translation.
            segment_scales: (..., 24) float. Scales of the segments. None means 1.
        """
        import torch

        from humanpose_cli.geometry.rotations import matrix_to_axis_angle

        poses = matrix_to_axis_angle(torch.as_tensor(rotations)).flatten(-2)
        params = cls(poses if isinstance(rotations, torch.Tensor) else poses.numpy(), betas, trans, segment_scales)
        params.__dict__["rotations"] = rotations
        return params

    @cached_property
    def rotations(self) -> Any:
        """(..., 24, 3, 3) float. The poses as matrices."""
        import torch

        from humanpose_cli.geometry.rotations import axis_angle_to_matrix

        poses = self.poses if isinstance(self.poses, torch.Tensor) else torch.from_numpy(np.array(self.poses))
        rotations = axis_angle_to_matrix(poses.unflatten(-1, (len(SMPL24), 3)))
        return rotations if poses is self.poses else rotations.numpy()

    def __len__(self) -> int:
        """Return the size of the first leading dimension."""
        return len(self.poses)

    def rows(self, index: Any) -> BodyParams:
        """Select bodies by an index of the leading dimensions: a number, a slice, numbers or a mask."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        part = BodyParams(**{name: None if value is None else value[index] for name, value in values})
        if "rotations" in self.__dict__:
            part.__dict__["rotations"] = self.rotations[index]
        return part

    @classmethod
    def stack(cls, bodies: Iterable[BodyParams]) -> BodyParams:
        """Stack bodies along a new first dimension, as numpy arrays; segment_scales only if the first body has them."""
        rows = list(bodies)
        names = [field.name for field in fields(cls) if getattr(rows[0], field.name) is not None]
        return cls(**{name: np.stack([getattr(body, name) for body in rows]) for name in names})

    def tensors(self, dtype: Any = None, device: Any = None) -> BodyParams:
        """Copy the bodies to torch tensors.

        Args:
            dtype: The dtype. None means float32.
            device: The device. None means the CPU.
        """
        import torch

        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        kind = dtype or torch.float32
        return BodyParams(
            **{name: None if v is None else torch.tensor(v, dtype=kind, device=device) for name, v in values}
        )

    def in_axes(self, rotation: Any, translation: Any, rest_pelvis: Any) -> BodyParams:
        """Transform the bodies to axes x ↦ rotation x + translation, in double precision.

        A body rotates about its pelvis, which is at rest_pelvis + trans.

        Args:
            rotation: (3, 3) or (..., 3, 3) float. The rotation.
            translation: (3,) or (..., 3) float, metres. The translation.
            rest_pelvis: (3,) or (..., 3) float, metres. The pelvis of the shaped rest bodies.
        """
        import torch

        from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

        def double(values: Any) -> torch.Tensor:
            return values.double() if isinstance(values, torch.Tensor) else torch.tensor(values, dtype=torch.float64)

        turn, rest, poses = double(rotation), double(rest_pelvis), double(self.poses)
        root = matrix_to_axis_angle(turn @ axis_angle_to_matrix(poses[..., :3]))
        pelvis = (turn @ (rest + double(self.trans))[..., None]).squeeze(-1) + double(translation)
        poses, trans = torch.cat((root, poses[..., 3:]), -1), pelvis - rest
        if not isinstance(self.poses, torch.Tensor):
            return replace(self, poses=poses.numpy(), trans=trans.numpy())
        return replace(self, poses=poses, trans=trans)
