"""The parameters of posed bodies. Importing this module does not load torch.

Axes are the camera's: x right, y down, z forward. Lengths are in metres, angles in radians.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from humanpose_cli.core.conventions import SMPL24


@dataclass(frozen=True, eq=False)
class BodyParams:
    """One body, or several with leading dimensions `...`; numpy arrays or torch tensors, one kind throughout.

    Attributes:
        poses: (..., 72) axis-angle of smpl24's joints, relative to their parents; the pelvis maps body to camera.
        betas: (..., S) shape, in the body's units.
        trans: (..., 3) metres, camera axes: the pelvis is at trans + the pelvis of the shaped rest body.
        segment_scales: (..., 24), 1 for the body's own lengths; None for 1 everywhere.
    """

    poses: Any
    betas: Any
    trans: Any
    segment_scales: Any = None

    @classmethod
    def from_rotations(cls, rotations: Any, betas: Any, trans: Any, segment_scales: Any = None) -> BodyParams:
        """Make the same with rotations (..., 24, 3, 3) instead of poses; they are kept unchanged."""
        import torch

        from humanpose_cli.geometry.rotations import matrix_to_axis_angle

        poses = matrix_to_axis_angle(torch.as_tensor(rotations)).flatten(-2)
        params = cls(poses if isinstance(rotations, torch.Tensor) else poses.numpy(), betas, trans, segment_scales)
        params.__dict__["rotations"] = rotations
        return params

    @cached_property
    def rotations(self) -> Any:
        """The poses as matrices (..., 24, 3, 3)."""
        import torch

        from humanpose_cli.geometry.rotations import axis_angle_to_matrix

        poses = self.poses if isinstance(self.poses, torch.Tensor) else torch.from_numpy(np.array(self.poses))
        rotations = axis_angle_to_matrix(poses.unflatten(-1, (len(SMPL24), 3)))
        return rotations if poses is self.poses else rotations.numpy()

    def __len__(self) -> int:
        """Return the size of the first leading dimension."""
        return len(self.poses)

    def rows(self, index: Any) -> BodyParams:
        """Select the bodies at an index of the leading dimensions: a number, a slice, numbers or a mask."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        part = BodyParams(**{name: None if value is None else value[index] for name, value in values})
        if "rotations" in self.__dict__:
            part.__dict__["rotations"] = self.rotations[index]
        return part

    @classmethod
    def stack(cls, bodies: Iterable[BodyParams]) -> BodyParams:
        """Stack N bodies along a new first dimension, as numpy arrays; segment_scales only if the first has them."""
        every = list(bodies)
        names = [field.name for field in fields(cls) if getattr(every[0], field.name) is not None]
        return cls(**{name: np.stack([getattr(body, name) for body in every]) for name in names})

    def tensors(self, dtype: Any = None, device: Any = None) -> BodyParams:
        """Copy the bodies to torch tensors, float32 or another `dtype`."""
        import torch

        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        kind = dtype or torch.float32
        return BodyParams(
            **{name: None if v is None else torch.tensor(v, dtype=kind, device=device) for name, v in values}
        )

    def in_axes(self, rotation: Any, translation: Any, rest_pelvis: Any) -> BodyParams:
        """Transform the bodies, in double precision, to axes x ↦ rotation x + translation.

        A body turns about its pelvis, which lies at rest_pelvis + trans.

        Args:
            rotation: (3, 3) or (..., 3, 3); translation (3,) or (..., 3) metres.
            rest_pelvis: (3,) or (..., 3) metres, of the shaped rest bodies.
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
            return BodyParams(poses.numpy(), self.betas, trans.numpy(), self.segment_scales)
        return BodyParams(poses, self.betas, trans, self.segment_scales)
