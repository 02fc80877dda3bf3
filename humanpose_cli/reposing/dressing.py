"""A person's own body: the fitted shape, widened to the clothes and hair of a photo, ready for any pose."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import PosedBody, RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.rendering.surfaces import vertex_normals
from humanpose_cli.reposing.mesh_fields import SurfaceOperator, spread

__all__ = ["DressedBody"]

# Normals are averaged over about this distance (metres): fingers, ears and noses then move as a whole.
_NORMAL_REACH = 0.025


class DressedBody:
    """A shaped body whose surface is moved along fixed directions of its rest pose.

    betas (S,), segment_scales (24,) or None; `displacements` (V,) metres may be set once they are known.
    """

    def __init__(self, body: RiggedBody, betas: Tensor, segment_scales: Tensor | None = None) -> None:
        self.body, self.betas, self.segment_scales = body, betas[None], segment_scales
        rest = body.rest(self.betas).vertices[0]
        self.height = float(rest[:, 1].max() - rest[:, 1].min())
        self.displacements = torch.zeros(len(rest), device=rest.device)
        self.operator = SurfaceOperator(rest.cpu().numpy(), body.faces.cpu().numpy().astype(np.int64))
        self._directions = _smooth_normals(rest, body.faces, self.operator)

    def pose(self, rotations: Tensor, trans: Tensor) -> Tensor:
        """Vertices (V, 3) metres for rotations (24, 3, 3) relative to parents and trans (3,)."""
        posed = self._posed(rotations, trans)
        assert posed.vertices is not None
        moved = self.displacements[:, None] * self._turned(posed)
        return posed.vertices[0] + moved

    def directions(self, rotations: Tensor, trans: Tensor) -> Tensor:
        """Where the displacements point in that pose: (V, 3) unit vectors."""
        return self._turned(self._posed(rotations, trans))

    def landmarks(self, name: str, rotations: Tensor, trans: Tensor) -> Tensor:
        """Positions (L, 3) metres of a landmark set in that pose, on the naked body."""
        return self.body.pose_landmarks(name, self._posed(rotations, trans), self.betas)[0]

    def scale_head(self, scale: float) -> None:
        """Enlarge the head about its joint, in every pose."""
        scales = self.segment_scales
        scales = torch.ones(len(SMPL24), device=self.displacements.device) if scales is None else scales.clone()
        scales[SMPL24.index("head")] *= scale
        self.segment_scales = scales

    def absolute_rotations(self, rotations: Tensor) -> Tensor:
        """Body-to-camera rotations (24, 3, 3) of the parts."""
        return self.body.pose(rotations[None], self.betas, vertices=False).rotations[0]

    def _posed(self, rotations: Tensor, trans: Tensor) -> PosedBody:
        scales = None if self.segment_scales is None else self.segment_scales[None]
        return self.body.pose(rotations[None], self.betas, trans[None], scales)

    def _turned(self, posed: PosedBody) -> Tensor:
        # Skinning is linear in the rest vertex, so a rest offset turns by the blended bone matrices.
        bones = posed.linear[0][self.body.bone_indices.long()]
        blended = (self.body.bone_weights[..., None, None] * bones).sum(1)
        return torch.nn.functional.normalize((blended @ self._directions[..., None]).squeeze(-1), dim=-1)


def _smooth_normals(vertices: Tensor, faces: Tensor, operator: SurfaceOperator) -> Tensor:
    normals = vertex_normals(vertices, faces)
    smooth: NDArray[np.float64] = spread(
        operator.stiffness(),
        operator.areas / _NORMAL_REACH**2,
        normals.cpu().numpy().astype(np.float64),
        np.full(len(vertices), 1e-9),
        np.zeros(3),
    )
    return torch.nn.functional.normalize(torch.from_numpy(smooth).to(normals), dim=-1)
