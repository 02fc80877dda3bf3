"""A person's own body: the fitted shape, widened to the clothes and hair of a photo, ready for any pose.

Bringing a fitted body's surface under the detected keypoints, so that textures land where they belong.

A fit leaves some pixels between its landmarks and the detector's: too many for a face. The surface is moved in the
image plane by those differences, smoothly between landmarks; the head moves as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.regions import parts_mask
from humanpose_cli.avatar.surface import SurfaceOperator, spread
from humanpose_cli.body.body import FACE13, Body, PosedBody
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.geometry.similarity import Similarity, fit_similarity
from humanpose_cli.rendering.surfaces import vertex_normals

__all__ = [
    "AlignmentOptions",
    "DetectedLandmarks",
    "DressedBody",
    "align_to_keypoints",
    "head_scale",
]


# Normals are averaged over about this distance (metres): fingers, ears and noses then move as a whole.
_NORMAL_REACH = 0.025


class DressedBody:
    """A shaped body whose surface is moved along fixed directions of its rest pose.

    betas (S,), segment_scales (24,) or None; `displacements` (V,) metres may be set once they are known.
    """

    def __init__(self, body: Body, betas: Tensor, segment_scales: Tensor | None = None) -> None:
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


Array = NDArray[Any]

# Pull of a landmark on its surroundings, against the surface's stiffness of 1.
_PULL = 10.0


@dataclass(frozen=True)
class AlignmentOptions:
    """How the surface follows the keypoints.

    least_confidence  of keypoints that count
    most_shift        metres on a 1.7 m person: keypoints farther off are taken for errors
    radius            metres around a landmark that move with it
    reach             metres along the surface over which a shift fades where no landmark supports it
    head_scales       least and greatest size of the head relative to the fitted body's
    """

    least_confidence: float = 0.5
    most_shift: float = 0.1
    radius: float = 0.06
    reach: float = 0.4
    head_scales: tuple[float, float] = (0.85, 1.25)


class DetectedLandmarks:
    """The body's points that were detected, and their offsets from the body's own: metres in the image plane.

    face   points (N, 3) and shifts (N, 2) of eyes, ears, nose and mouth, as anatomy has them
    limbs  points (M, 3) and shifts (M, 2) of all others

    keypoints  (33, 3) x, y pixels of the photo and confidence
    """

    def __init__(
        self,
        dressed: DressedBody,
        rotations: Tensor,
        trans: Tensor,
        keypoints: NDArray[np.floating],
        view: Camera,
        options: AlignmentOptions,
    ) -> None:
        found = torch.from_numpy(np.asarray(keypoints, np.float32)).to(trans)
        names = [name for name in FACE13.joint_names if name in BLAZEPOSE33]
        face = dressed.landmarks(FACE13.name, rotations, trans)[FACE13.indices(names)]
        rest = [name for name in BLAZEPOSE33.joint_names if name not in FACE13]
        limbs = dressed.landmarks(BLAZEPOSE33.name, rotations, trans)[BLAZEPOSE33.indices(rest)]
        most = options.most_shift * dressed.height / 1.7

        def detected(points: Tensor, chosen: list[str]) -> tuple[Tensor, Tensor]:
            target = found[BLAZEPOSE33.indices(chosen)]
            shift = (target[:, :2] - view.project(points)) * points[:, 2:] / view.focal
            good = torch.isfinite(target).all(1) & (target[:, 2] >= options.least_confidence) & (points[:, 2] > 0.1)
            good &= shift.norm(dim=1) < most
            return points[good], shift[good]

        self.face, self.limbs = detected(face, names), detected(limbs, rest)

    def head(self) -> Similarity | None:
        """The similarity in the image plane (z stays 0) that brings the face to its detected position."""
        points, shift = self.face
        if len(points) < 4:
            return None
        return fit_similarity(_flat(points), _flat(points) + torch.nn.functional.pad(shift, (0, 1)).double())


def head_scale(detected: DetectedLandmarks, options: AlignmentOptions) -> float:
    """Size of the person's head relative to the body's; 1 where the face was not detected."""
    similarity = detected.head()
    if similarity is None:
        return 1.0
    return float(similarity.scale.clamp(*options.head_scales))


def align_to_keypoints(
    vertices: Tensor, dressed: DressedBody, detected: DetectedLandmarks, options: AlignmentOptions
) -> Tensor:
    """The posed surface (V, 3) metres, camera axes, moved in the image plane towards the detections."""
    operator = dressed.operator
    data, values = np.zeros(operator.count), np.zeros((operator.count, 2))
    for point, shift in zip(*detected.limbs, strict=True):
        distance = (vertices - point).norm(dim=1).cpu().numpy()
        near = np.flatnonzero(distance < max(options.radius, float(np.partition(distance, 8)[8])))
        weight = _PULL * operator.areas[near] / operator.areas[near].sum()
        data[near] += weight
        values[near] += weight[:, None] * shift.cpu().numpy()
    similarity = detected.head()
    if similarity is not None:
        head = parts_mask(dressed.body.part_labels.cpu().numpy(), ("head",))
        points = _flat(vertices[torch.from_numpy(head)])
        moved = similarity._replace(scale=similarity.scale.clamp(*options.head_scales)).apply(points) - points
        data[head] += _PULL
        values[head] += _PULL * moved[:, :2].cpu().numpy()
    if not data.any():
        return vertices
    fade = operator.areas / options.reach**2
    field = spread(operator.stiffness(), data, values / np.maximum(data, 1e-9)[:, None], fade, np.zeros(2))
    shifts = torch.from_numpy(field.astype(np.float32)).to(vertices)
    return vertices + torch.nn.functional.pad(shifts, (0, 1))


def _flat(points: Tensor) -> Tensor:
    """Points (N, 3) with z = 0, in double precision."""
    return torch.nn.functional.pad(points[:, :2], (0, 1)).double()
