"""A person's own body: the fitted shape, moved under the detected keypoints and widened to the photo's silhouette.

A fit leaves some pixels between its landmarks and the detector's, which is too much for a face. The surface is moved in
the image plane by those differences, smoothly between landmarks; the head moves rigidly. Clothes and hair then become
displacements along the surface's normals, which follow any pose.

A foot that is twisted beyond the prior is detected, but the body's foot lies beside it. Its pixels must not become the
texture of another part, nor cloth: such a stray limb counts as hidden and is completed from the other side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.surface import SurfaceOperator, scalp_and_face
from humanpose_cli.body.body import FACE13, Body, PosedBody
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.engine.rasterising.op import Raster
from humanpose_cli.geometry.similarity import Similarity, fit_similarity
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_NORMAL_REACH = 0.025  # metres over which normals are averaged: fingers, ears and noses then move as one
# The surface under the keypoints.
MIN_CONFIDENCE = 0.5  # of keypoints that are followed
_MAX_SHIFT = 0.1  # metres at 1.7 m: distance up to which keypoints are followed
_STRAY_CONFIDENCE = 0.75  # minimum of farther keypoints that show where a limb is
_MAX_STRAY_SHARE = 1 / 3  # of the limbs' keypoints that are strays; with more, the body is wrong
_LANDMARK_RADIUS = 0.06  # metres: reach of a landmark, within which the surface moves with it
_SHIFT_FADE = 0.4  # metres along the surface over which a shift fades
_LANDMARK_PULL = 10.0  # weight of a landmark, against the surface's stiffness of 1
_HEAD_SCALES = (0.85, 1.25)  # smallest and largest size of the head relative to the fitted body's
# The body as wide as the mask.
_ROUNDS = 2  # repetitions, each with a smaller correction
_DISPLACEMENT_FADE = 0.4  # metres along the surface over which a displacement fades
_SMOOTHING = 0.006  # metres along the silhouette that displacements average
_SOFTNESS = 0.008  # metres along the surface that the result averages
_SYMMETRY = 0.8  # share of a displacement that a hidden mirror image takes over
# How far clothes, hair and a loose fit move a part inwards and outwards at most, metres at 1.7 m.
_THICKNESS = {
    "pelvis": (0.03, 0.08),
    "hip": (0.03, 0.09),
    "knee": (0.025, 0.08),
    "ankle": (0.015, 0.03),
    "foot": (0.01, 0.025),
    "spine1": (0.03, 0.08),
    "spine2": (0.03, 0.08),
    "spine3": (0.03, 0.08),
    "neck": (0.02, 0.05),
    "collar": (0.025, 0.07),
    "shoulder": (0.02, 0.08),
    "elbow": (0.015, 0.08),
    "wrist": (0.006, 0.012),
    "hand": (0.004, 0.006),
    "head": (0.02, 0.12),
}
_FACE_THICKNESS = 0.012  # the same for the face, inwards and outwards
_USUAL_HEIGHT = 1.7  # metres
_ON_FACE = [name for name in FACE13.joint_names if name in BLAZEPOSE33]


# The end of each limb that a landmark tells of; landmarks of the trunk and the face tell of no limb.
_JOINT = {name: name for name in ("elbow", "wrist", "knee", "ankle")}
_JOINT |= {"pinky": "hand", "index": "hand", "thumb": "hand", "heel": "foot", "foot_index": "foot"}


def _joint_of(landmark: str) -> str:
    """Return the joint of SMPL24 at the end of a landmark's limb; "" for none."""
    side, _, name = landmark.partition("_")
    return f"{side}_{_JOINT[name]}" if name in _JOINT else ""


LIMB_LANDMARKS = np.array([bool(_joint_of(name)) for name in BLAZEPOSE33.joint_names])
"""(33,) bool: landmarks of limbs, without shoulders and hips."""

FOOT_LANDMARKS = np.array([_joint_of(name).endswith("foot") for name in BLAZEPOSE33.joint_names])
"""(33,) bool: landmarks of heels and toes."""


@dataclass(frozen=True, eq=False)
class DressedBody:
    """A shaped body whose surface is displaced along fixed directions of its rest pose. `DressedBody.of` makes it.

    Attributes:
        body: The rigged mesh of V vertices.
        betas: (1, S) float. The shape.
        segment_scales: (24,) float; None for 1.
        height: The height at rest, metres.
        operator: The operator of the resting surface.
        rest_directions: (V, 3) float, unit vectors. The directions of `displacements`.
        displacements: (V,) float, metres. Added before posing.
        offsets: (V, 3) float, metres in axes of the resting body. Added before posing; None for none.
        hands: (2, 15, 3, 3) float. Rotations of the fingers in every pose; None for the template's hands.
    """

    body: Body
    betas: Tensor
    segment_scales: Tensor | None
    height: float
    operator: SurfaceOperator
    rest_directions: Tensor
    displacements: Tensor
    offsets: Tensor | None = None
    hands: Tensor | None = None

    @classmethod
    def of(cls, body: Body, betas: Tensor, segment_scales: Tensor | None = None) -> DressedBody:
        """Shape a body without clothes.

        Args:
            body: The rigged mesh.
            betas: (S,) float. The shape.
            segment_scales: (24,) float; None for 1.
        """
        rest = body.rest(betas[None]).vertices[0]
        height = float(rest[:, 1].max() - rest[:, 1].min())
        operator = SurfaceOperator(rest.cpu().numpy(), body.faces.cpu().numpy().astype(np.int64))
        normals = vertex_normals(rest, body.faces)
        smooth = _smooth(operator, normals.cpu().numpy().astype(np.float64), _NORMAL_REACH)
        directions = torch.nn.functional.normalize(torch.from_numpy(smooth).to(normals), dim=-1)
        displacements = torch.zeros(len(rest), device=rest.device)
        return cls(body, betas[None], segment_scales, height, operator, directions, displacements)

    def pose(self, rotations: Tensor, trans: Tensor) -> Tensor:
        """Return the vertices (V, 3), metres, for parent-relative rotations (24, 3, 3) and a translation (3,)."""
        posed_body = self.posed(rotations, trans)
        bones = self._bones(posed_body)
        vertices = posed_body.surface[0] + self.displacements[:, None] * self._turned(bones)
        return vertices if self.offsets is None else vertices + (bones @ self.offsets[..., None])[..., 0]

    def directions(self, rotations: Tensor, trans: Tensor) -> Tensor:
        """Return the directions (V, 3) of the displacements in a pose, unit vectors."""
        return self._turned(self._bones(self.posed(rotations, trans)))

    def landmark_points(self, rotations: Tensor, trans: Tensor) -> Tensor:
        """Return BlazePose's landmarks (33, 3), metres, on the body without clothes."""
        return landmark_points(self.body, self.posed(rotations, trans), self.betas)[0]

    def rest(self) -> Tensor:
        """Return the vertices (V, 3), metres, of the resting body without clothes."""
        return self.body.rest(self.betas).vertices[0]

    def with_head_scaled(self, scale: float) -> DressedBody:
        """Scale the head about its joint, in every pose."""
        scales = self.segment_scales
        scales = torch.ones(len(SMPL24), device=self.displacements.device) if scales is None else scales.clone()
        scales[SMPL24.index("head")] *= scale
        return replace(self, segment_scales=scales)

    def posed(self, rotations: Tensor, trans: Tensor) -> PosedBody:
        """Return the body without clothes in a pose."""
        scales = None if self.segment_scales is None else self.segment_scales[None]
        hands = None if self.hands is None else self.hands[None]
        return self.body.pose(rotations[None], self.betas, trans[None], scales, hands=hands)

    def _bones(self, posed_body: PosedBody) -> Tensor:
        """Blend the bone matrices (V, 3, 3), by which skinning turns an offset at rest."""
        bones = posed_body.linear[0][self.body.bone_indices.long()]
        return (self.body.bone_weights[..., None, None] * bones).sum(1)

    def _turned(self, bones: Tensor) -> Tensor:
        return torch.nn.functional.normalize((bones @ self.rest_directions[..., None])[..., 0], dim=-1)


def landmark_points(body: Body, posed_body: PosedBody, betas: Tensor) -> Tensor:
    """Return BlazePose's landmarks on posed bodies, on the face at their anatomical positions.

    Args:
        body: The body model.
        posed_body: B posed bodies.
        betas: (B, S) or (1, S) float. Their shapes.

    Returns:
        (B, 33, 3) float, metres.
    """
    # BlazePose's own offsets are for fitting.
    points = body.pose_landmarks(BLAZEPOSE33.name, posed_body, betas)
    on_face = body.pose_landmarks(FACE13.name, posed_body, betas)[:, FACE13.indices(_ON_FACE)]
    points[:, BLAZEPOSE33.indices(_ON_FACE)] = on_face
    return points


class LandmarkShifts:
    """Shifts of the landmarks of a posed body in the image plane.

    Attributes:
        face: The points (N, 3) and shifts (N, 2), metres, of eyes, ears, nose and mouth.
        limbs: The points (M, 3) and shifts (M, 2), metres, of all other landmarks.
        followed: (33,) bool. The landmarks whose shift counts.

    Args:
        points: (33, 3) float, metres in camera axes. The body's landmarks, as `landmark_points` returns them.
        shifts: (33, 2) float, metres.
        weights: (33,) bool. The landmarks whose shift counts.
    """

    def __init__(self, points: Tensor, shifts: Tensor, weights: Tensor) -> None:
        on_face = torch.zeros_like(weights)
        on_face[BLAZEPOSE33.indices(_ON_FACE)] = True
        self.points = points
        self.shifts = shifts
        self.followed = weights
        self.face, self.limbs = ((points[rows], shifts[rows]) for rows in (weights & on_face, weights & ~on_face))

    def head(self, scales: tuple[float, float]) -> Similarity | None:
        """Fit a similarity in the image plane (z stays 0) that moves the face to its shifted landmarks.

        Args:
            scales: The minimum and maximum scale.

        Returns:
            The similarity; None for fewer than four landmarks.
        """
        points, shift = self.face
        if len(points) < 4:
            return None
        source = _flat(points)
        target = source + torch.nn.functional.pad(shift, (0, 1)).double()
        similarity = fit_similarity(source, target)
        result = similarity._replace(scale=similarity.scale.clamp(*scales))
        # About the middle of the face, which a limited scale must not move.
        return result._replace(translation=result.translation + (target - result.apply(source)).mean(0))


class DetectedLandmarks(LandmarkShifts):
    """Shifts from a body's landmarks to the detected ones.

    Attributes:
        confident: (33,) bool. Landmarks that were detected with confidence.
        stray: (33,) bool. Landmarks of limbs that the body has elsewhere. None may be the other side's landmark; all
            are False if so many are off that the whole body is wrong.

    Args:
        dressed: The body.
        rotations: (24, 3, 3) float. Relative to parents.
        trans: (3,) float, metres.
        keypoints: (33, 3) float. x, y in pixels of the photo, and confidence.
        view: The photo's camera.
    """

    def __init__(
        self,
        dressed: DressedBody,
        rotations: Tensor,
        trans: Tensor,
        keypoints: NDArray[np.floating],
        view: Camera,
    ) -> None:
        detections = torch.from_numpy(np.asarray(keypoints, np.float32)).to(trans)
        points = dressed.landmark_points(rotations, trans)
        pixels = view.project(points)
        metres = points[:, 2:] / view.focal
        shift = (detections[:, :2] - pixels) * metres
        confident = torch.isfinite(detections).all(1) & (detections[:, 2] >= MIN_CONFIDENCE)
        confident &= points[:, 2] > 0.1
        limit = max_shift(dressed.height)
        near = confident & (shift.norm(dim=1) < limit)
        self.confident = confident.cpu().numpy()
        # A detection far from its landmark, and from the other side's, is on a limb that is elsewhere.
        mirrored = (detections[:, :2] - pixels[list(BLAZEPOSE33.mirror)]) * metres
        stray = confident & ~near & (detections[:, 2] >= _STRAY_CONFIDENCE) & (mirrored.norm(dim=1) >= limit)
        self.stray = stray.cpu().numpy() & LIMB_LANDMARKS
        if self.stray.sum() > _MAX_STRAY_SHARE * (self.confident & LIMB_LANDMARKS).sum():
            self.stray[:] = False
        super().__init__(points, shift, near)


def stray_joints(stray: Mask) -> list[str]:
    """Return the SMPL24 joints of the limbs with stray landmarks (33,) bool, each once."""
    return list(dict.fromkeys(filter(None, map(_joint_of, np.array(BLAZEPOSE33.joint_names)[stray].tolist()))))


def without_strays(joint_visibility: NDArray[np.floating] | None, stray: Mask) -> NDArray[np.float32]:
    """Set the visibility of stray limbs, and of all that hangs from them, to 0.

    Args:
        joint_visibility: (24,) float, 0…1; None for 1.
        stray: (33,) bool. The stray landmarks.

    Returns:
        (24,) float32, 0…1.
    """
    visibility = np.ones(len(SMPL24), np.float32)
    if joint_visibility is not None:
        visibility[:] = joint_visibility
    hidden_joints = set(stray_joints(stray))
    for row, (name, parent) in enumerate(zip(SMPL24.joint_names, SMPL24.parent_names, strict=True)):
        if name in hidden_joints or parent in hidden_joints:  # parents come first
            hidden_joints.add(name)
            visibility[row] = 0
    return visibility


def image_of_strays(keypoints: Array, stray: Mask, confident: Mask, size: tuple[int, int], radius: float) -> Mask:
    """Draw the detected segments of stray limbs.

    Args:
        keypoints: (33, 3) float. x, y in pixels, and confidence.
        stray: (33,) bool. Landmarks far from the body.
        confident: (33,) bool. Landmarks that were detected with confidence.
        size: The image's height and width, pixels.
        radius: Half the width of a limb, pixels.

    Returns:
        (H, W) bool.
    """
    image = np.zeros(size, np.uint8)
    longer = max(size)
    thickness = int(np.clip(round(2 * radius), 1, longer))
    # OpenCV takes neither lines nor widths far beyond an image.
    pixels = np.rint(np.clip(np.where(confident[:, None], keypoints[:, :2], 0), -longer, 2 * longer)).astype(int)
    for start, end in BLAZEPOSE33.bones:
        if (stray & LIMB_LANDMARKS)[[start, end]].any():
            ends = [tuple(pixels[row].tolist()) for row in (start, end) if confident[row]]
            cv2.line(image, ends[0], ends[-1], 1, thickness)
    return image > 0


def max_shift(height: float) -> float:
    """Return the maximum distance, metres, at which keypoints of a person of a height, metres, are followed."""
    return _MAX_SHIFT * height / _USUAL_HEIGHT


def head_scale(landmarks: DetectedLandmarks) -> float:
    """Return the size of the person's head relative to the body's; 1 if the face was not detected."""
    similarity = landmarks.head(_HEAD_SCALES)
    return 1.0 if similarity is None else float(similarity.scale)


def align_to_keypoints(
    vertices: Tensor,
    dressed_body: DressedBody,
    landmarks: LandmarkShifts,
    head_scales: tuple[float, float] = _HEAD_SCALES,
) -> Tensor:
    """Move the posed surface in the image plane with its landmarks.

    Args:
        vertices: (V, 3) float, metres in camera axes.
        dressed_body: The body.
        landmarks: The shifts of its landmarks.
        head_scales: The minimum and maximum factor on the size of the head.

    Returns:
        (V, 3) float, metres in camera axes.
    """
    operator = dressed_body.operator
    data = np.zeros(operator.count)
    values = np.zeros((operator.count, 2))
    for point, shift in zip(*landmarks.limbs, strict=True):
        distance = (vertices - point).norm(dim=1).cpu().numpy()
        near = np.flatnonzero(distance < max(_LANDMARK_RADIUS, float(np.partition(distance, 8)[8])))
        weight = _LANDMARK_PULL * operator.areas[near] / operator.areas[near].sum()
        data[near] += weight
        values[near] += weight[:, None] * shift.cpu().numpy()
    similarity = landmarks.head(head_scales)
    if similarity is not None:
        head = parts_mask(dressed_body.body.part_labels.cpu().numpy(), ("head",))
        points = _flat(vertices[torch.from_numpy(head)])
        shift = similarity.apply(points) - points
        data[head] += _LANDMARK_PULL
        values[head] += _LANDMARK_PULL * shift[:, :2].cpu().numpy()
    if not data.any():
        return vertices
    fade = operator.areas / _SHIFT_FADE**2
    field = operator.spread(data, values / np.maximum(data, 1e-9)[:, None], fade, np.zeros(2))
    shifts = torch.from_numpy(field.astype(np.float32)).to(vertices)
    return vertices + torch.nn.functional.pad(shifts, (0, 1))


def _flat(points: Tensor) -> Tensor:
    """Set z of points (N, 3) to 0, in double precision."""
    return torch.nn.functional.pad(points[:, :2], (0, 1)).double()


class _Samples(NamedTuple):
    """Points on the body's outline: rows, columns, outward directions (N, 2), shifts to the mask's edge."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    direction: Array
    shift: Array


def max_displacements(dressed_body: DressedBody) -> tuple[Array, Array]:
    """Return the maximum displacement inwards and outwards per vertex (V,), metres."""
    names = [name.removeprefix("left_").removeprefix("right_") for name in SMPL24.joint_names]
    limits = np.array([_THICKNESS[name] for name in names])[dressed_body.body.part_labels.cpu().numpy()]
    limits[scalp_and_face(dressed_body.body)[1]] = _FACE_THICKNESS
    inwards, outwards = (limits * (dressed_body.height / _USUAL_HEIGHT)).T
    return inwards, outwards


def silhouette_displacements(
    dressed: DressedBody,
    vertices: Tensor,
    directions: Tensor,
    mask: Array,
    obstacles: Mask,
    view: Camera,
    *,
    reliable: Mask,
) -> Array:
    """Find the displacements that move the surface's outline to the mask's outline.

    Args:
        dressed: The body.
        vertices: (V, 3) float, metres in camera axes. Posed as in the image.
        directions: (V, 3) float, unit vectors. About the surface's normals.
        mask: (H, W) float, 0…1. The person.
        obstacles: (H, W) bool. Pixels where the mask is unknown, such as other people.
        view: The camera of the mask.
        reliable: (V,) bool. The vertices of known position, whose outline is followed.

    Returns:
        (V,) float, metres along `directions`.
    """
    faces = dressed.body.faces
    part_labels = dressed.body.part_labels.cpu().numpy()
    mirror_vertices = dressed.body.mirror_vertices.cpu().numpy()
    operator = SurfaceOperator(vertices.cpu().numpy(), faces.cpu().numpy().astype(np.int64))
    inwards, outwards = max_displacements(dressed)
    total = np.zeros(len(vertices))
    for _ in range(_ROUNDS):
        surface = vertices + torch.from_numpy(total.astype(np.float32)).to(vertices)[:, None] * directions
        raster = rasterise_view(surface[None], faces, view)
        samples = _outline(raster, faces, part_labels, mask, obstacles)
        weights, values = _on_vertices(samples, raster, directions, faces, view, total)
        if not weights.any():
            return total
        # A displacement far beyond what clothes do is no clothing: a thing held, a part of somebody else.
        weights = np.where(~reliable | (values > 2 * outwards) | (values < -2 * inwards), 0, weights)
        total = _spread(operator, weights, np.clip(values, -inwards, outwards), mirror_vertices)
        total = np.clip(total, -inwards, outwards)
    # No spikes where a wrong stretch of outline or a cap ends.
    return np.clip(_smooth(operator, total[:, None], _SOFTNESS)[:, 0], -inwards, outwards)


def _outline(
    raster: Raster, faces: Tensor, part_labels: NDArray[np.integer], mask: NDArray[np.float32], obstacles: Mask
) -> _Samples:
    """Find the pixels on the body's outer outline and their shift to the mask's edge, where that is known."""
    face = raster.face[0].cpu().numpy()
    coverage = face >= 0
    inner = cv2.erode(coverage.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE) > 0
    rows, columns = np.nonzero(coverage & ~inner)
    inside, outside = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in (coverage, ~coverage))
    smooth = cv2.GaussianBlur((inside - outside).astype(np.float32), (0, 0), 1.5)
    gradient_x, gradient_y = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, ksize=3) for dx in (1, 0))
    direction = -np.stack((gradient_x[rows, columns], gradient_y[rows, columns]), 1).astype(np.float64)
    length = np.linalg.norm(direction, axis=1)
    direction /= np.maximum(length, 1e-9)[:, None]
    corner = faces[:, 0].cpu().numpy()
    part = np.where(coverage, part_labels[corner[np.maximum(face, 0)]], -1)
    shift = _march(rows, columns, direction, coverage, part, mask, obstacles)
    good = np.isfinite(shift) & (length > 1e-6)
    # The body's own edge lies half a pixel beyond the centres of its outermost pixels.
    return _Samples(rows[good], columns[good], direction[good], shift[good] - 0.5)


def _march(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    direction: Array,
    coverage: Mask,
    part: NDArray[np.integer],
    mask: Array,
    obstacles: Mask,
) -> Array:
    """Count the pixels from each outline point to the mask's edge, outwards positive; NaN if unknown."""
    # A march ends where it leaves the image, meets someone else, or comes closer to a part of the body that is no
    # neighbour of its start: there the mask's edge belongs to that part.
    if not len(rows):  # the body fills the image
        return np.zeros(0)
    height, width = mask.shape
    reach = max(4, round(0.12 * np.ptp(rows)))
    nearest_part = _nearest(part)
    relation = _related_parts()
    person = mask >= 0.5
    shift = np.full(len(rows), np.nan)
    # Only unfinished points are kept, as most end after a few steps.
    unfinished = np.arange(len(rows))
    start_part = part[rows, columns]
    inside = person[rows, columns]
    sign = np.where(inside, 1.0, -1.0)
    previous = mask[rows, columns].astype(np.float64)
    for step in range(1, reach + 1):
        x = np.rint(columns + sign * step * direction[:, 0]).astype(np.int64)
        y = np.rint(rows + sign * step * direction[:, 1]).astype(np.int64)
        free = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x = np.clip(x, 0, width - 1)
        y = np.clip(y, 0, height - 1)
        free &= ~obstacles[y, x] & relation[start_part, nearest_part[y, x]]
        # Outwards, a way that enters the body again has no outline of its own.
        free &= ~inside | ~coverage[y, x] | (step <= 2)
        value = mask[y, x].astype(np.float64)
        at_edge = free & (person[y, x] != inside)
        share = np.abs(previous - 0.5) / np.maximum(np.abs(previous - value), 1e-6)
        shift[unfinished[at_edge]] = (sign * (step - 1 + np.clip(share, 0, 1)))[at_edge]
        remaining = free & ~at_edge
        unfinished = unfinished[remaining]
        rows = rows[remaining]
        columns = columns[remaining]
        direction = direction[remaining]
        start_part = start_part[remaining]
        inside = inside[remaining]
        sign = sign[remaining]
        previous = value[remaining]
        if not len(unfinished):
            break
    return shift


def _nearest(part: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return each pixel's nearest body part, from a map with −1 off the body."""
    empty = (part < 0).astype(np.uint8)
    if empty.all():
        return np.zeros_like(part)
    _, label = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.zeros(int(label.max()) + 1, part.dtype)
    owner[label[empty == 0]] = part[empty == 0]
    return owner[label]


def _related_parts() -> Mask:
    """Return which parts (24, 24) are at most two joints apart on the skeleton."""
    near = np.eye(len(SMPL24), dtype=bool)
    for a, b in SMPL24.bones:
        near[a, b] = near[b, a] = True
    within_two = (near.astype(int) @ near.astype(int)) > 0
    # The two sides meet in the middle of the body but are not each other's continuation.
    left = np.array([name.startswith("left_") for name in SMPL24.joint_names])
    right = np.array([name.startswith("right_") for name in SMPL24.joint_names])
    return within_two & ~(left[:, None] & right) & ~(right[:, None] & left)


def _on_vertices(
    samples: _Samples, raster: Raster, directions: Tensor, faces: Tensor, view: Camera, present: Array
) -> tuple[Array, Array]:
    """Distribute the outline's samples over the vertices: weights (V,) and total displacements (V,)."""
    face = raster.face[0].cpu().numpy()[samples.rows, samples.columns]
    barycentrics = raster.barycentrics[0].cpu().numpy()[samples.rows, samples.columns].astype(np.float64)
    depth = raster.depth[0].cpu().numpy()[samples.rows, samples.columns]
    metres = depth / view.focal
    corner = faces.cpu().numpy().astype(np.int64)[face]
    outward = directions.cpu().numpy()
    across = (outward[corner][..., :2] * samples.direction[:, None, :]).sum(-1)
    # Vertices whose direction hardly points outwards in the image cannot move the outline.
    share = barycentrics * np.clip(across, 0, 1)
    step = samples.shift[:, None] * metres[:, None] / np.maximum(across, 0.5)
    count = len(outward)
    weight = np.bincount(corner.ravel(), (share * metres[:, None]).ravel(), count)
    value = np.bincount(corner.ravel(), (share * metres[:, None] * step).ravel(), count)
    return weight, present + value / np.maximum(weight, 1e-12)


def _smooth(operator: SurfaceOperator, values: Array, reach: float) -> Array:
    """Average values (V, C) over about `reach` metres of the surface."""
    nothing = np.full(operator.count, 1e-9)
    return operator.spread(operator.areas / reach**2, values, nothing, np.zeros(values.shape[1]))


def _spread(operator: SurfaceOperator, weights: Array, values: Array, mirror: NDArray[np.integer]) -> Array:
    """Spread displacements from the outline; hidden sides take over their mirror image's."""
    fade = operator.areas / _DISPLACEMENT_FADE**2
    # The second column spreads a constant: how much of the displacement at a vertex is supported by the outline.
    columns = np.stack((values, np.ones_like(values)), 1)
    field = operator.spread(weights / _SMOOTHING, columns, fade, np.zeros(2))
    displacement, support = field.T
    missing = np.clip(support[mirror] - support, 0, 1)
    return displacement + _SYMMETRY * missing * (displacement[mirror] - displacement)
