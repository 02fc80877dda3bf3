"""The width of bodies from the outlines of people's masks, because keypoints do not show it.

The outline of the drawn body is compared with the mask's along its normals. The joints stay where the keypoints have
them in the image: shape may change only the surface around them, and a part whose outline is displaced as a whole says
nothing about its width. Stature stays, because one view does not separate it from distance. Head, hands and feet are
left out because of hair and shoes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.estimate import ShapePrior
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.engine.rasterising.op import rasterise
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

Array = NDArray[np.float64]

_MIN_DEPTH = 0.05  # metres
_SPACING = 2  # pixels of the mask between samples of the outline
_REACH = 0.1  # metres to both sides of the body's outline in which the mask's outline is searched
_SMOOTHING = 3  # pixels of the outline to both sides over which its direction is averaged
_PROBE = 2.5  # pixels to both sides of the outline at which the body's side is determined
_BEYOND = 3.0  # pixels outside the mask's outline at which another person's mask is tested
_MAX_OVERLAP = 0.3  # value of that mask
_ROUNDS = 8  # of reweighting
_NOISE = 0.012  # metres, of an outline
_ROBUST = 2.0  # noise levels at which a distance counts half as outlier
_DISPLACEMENT = 0.015  # metres, standard deviation of the displacement of a part in the image
_INDEPENDENT = 12.0  # maximum number of samples of a part's outline that count as independent evidence
_MIN_SAMPLES = 40  # of a person's outlines
_SHAPE_NOISE = 0.1  # standard deviation of the resulting shape components

_LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
_TRUNK = ("pelvis", "spine1", "spine2", "spine3")
_TRUNK_JOINTS = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")


class _Part(NamedTuple):
    """Vertices of some labels, and the joints (≥ 2) that hold them in the image."""

    labels: list[int]
    joints: list[int]


_PARTS = (
    _Part(SMPL24.indices(_TRUNK), SMPL24.indices(_TRUNK_JOINTS)),
    *(
        _Part(SMPL24.indices((f"{side}_{start}",)), SMPL24.indices((f"{side}_{start}", f"{side}_{end}")))
        for start, end in _LIMBS
        for side in ("left", "right")
    ),
)


@dataclass(frozen=True, eq=False)
class OutlineSamples:
    """N points of a drawn body's outline that can be compared with the mask's.

    Attributes:
        distance: (N,) metres. From the body's outline to the mask's, positive outwards.
        normal: (N, 2). The outward normal in the mask.
        part: (N,) int. The index of the part.
        jacobian: (N, S) metres. How far a unit of each beta moves the outline outwards if the joints stay in the image.
    """

    distance: Array
    normal: Array
    part: NDArray[np.int64]
    jacobian: Array


def outline_priors(
    body: Body,
    people: Sequence[DetectedPerson],
    bodies: KeypointFit,
    cameras: Sequence[FrameCamera],
    groups: Sequence[int],
    stature: int,
) -> dict[int, ShapePrior]:
    """Find the shape of each group of rows, one person each, from the masks.

    Args:
        body: The body.
        people: N rows. Those with a mask are used.
        bodies: The bodies of these rows, fitted with the people's own shape priors.
        cameras: The cameras of the frames.
        groups: (N,) int. The group of each row.
        stature: The index of the beta that stays.

    Returns:
        Group to shape prior, for groups with enough outline.
    """
    priors = {}
    for group in dict.fromkeys(groups):
        rows = [row for row, number in enumerate(groups) if number == group]
        samples = []
        for row in rows:
            mask, frame = people[row].mask, people[row].frame
            if mask is not None:
                others = [p.mask for i, p in enumerate(people) if i != row and p.frame == frame and p.mask is not None]
                samples.append(outline_samples(body, bodies.rows([row]), cameras[frame].camera, mask, others))
        if sum(len(sample.distance) for sample in samples) < _MIN_SAMPLES:
            continue
        betas = bodies.betas[rows].mean(0).astype(np.float64)
        noise = np.full(len(betas), _SHAPE_NOISE)
        if (measured := people[rows[0]].shape) is not None:
            betas[stature], noise[stature] = measured.mean[stature], measured.noise[stature]
        priors[group] = ShapePrior(outline_shape(samples, betas, stature), noise)
    return priors


def outline_samples(
    body: Body, fit: KeypointFit, camera: Camera, mask: PersonMask, others: Sequence[PersonMask] = ()
) -> OutlineSamples:
    """Compare the body of a row with the mask of its person.

    Args:
        body: The body.
        fit: The row.
        camera: The camera of its frame.
        mask: The mask of the person.
        others: The masks of other people in the image. Outlines that touch them are left out.
    """
    vertices, joints, depth = _projected(body, fit, camera, mask)
    size = len(mask.crop)
    if depth.min() < _MIN_DEPTH:
        return _chosen(np.zeros(0, bool), *(np.zeros((0, *shape)) for shape in ((), (2,), (), (len(joints) - 1,))))
    # Drawn in the crop itself: before a camera of focal length 1, x and y are pixels times depth.
    flat = np.concatenate((vertices[0], np.ones((len(depth), 1))), 1) * depth[:, None]
    surface = torch.from_numpy(flat)[None].float()
    image_size = (size, size)
    rasters = rasterise(surface, body.faces.cpu(), torch.ones(1), torch.zeros(1, 2), image_size, near=_MIN_DEPTH)
    face = rasters.face[0].numpy()
    pixel, normal = _outline((face >= 0).astype(np.uint8))
    vertex = body.faces.cpu().numpy()[face[pixel[:, 1], pixel[:, 0]], 0]
    part = _part_of_label()[body.part_labels.cpu().numpy()[vertex]]
    scale = np.sqrt(abs(np.linalg.det(mask.crop_to_image.inverse().matrix[:, :2])))
    pixels_per_metre = camera.focal * scale / depth[vertex]
    edge = pixel + 0.5 + 0.5 * normal  # the outline lies between the last pixel of the body and the next one
    distance = _distances(mask.crop.astype(np.float32) / np.float32(255), edge, normal, _REACH * pixels_per_metre)
    usable = (part >= 0) & np.isfinite(distance)
    beyond = mask.crop_to_image.points(edge + np.where(usable, distance + _BEYOND, 0)[:, None] * normal)
    for other_mask in others:
        usable &= other_mask.values_at(beyond) < _MAX_OVERLAP
    jacobian = np.zeros((len(vertex), len(joints) - 1))
    for index, (_, held) in enumerate(_PARTS):
        points = np.flatnonzero(usable & (part == index))
        for beta in range(jacobian.shape[1] if len(points) else 0):
            back = _similarity(joints[beta + 1, held], joints[0, held])
            moved = vertices[beta + 1, vertex[points]] @ back[:, :2].T + back[:, 2] - vertices[0, vertex[points]]
            jacobian[points, beta] = (moved * normal[points]).sum(1) / pixels_per_metre[points]
    return _chosen(usable, distance / pixels_per_metre, normal, part, jacobian)


def outline_shape(samples: Sequence[OutlineSamples], betas: NDArray[np.floating], stature: int) -> Array:
    """Find the betas whose widths suit the outlines of one person in several images.

    Args:
        samples: The samples of each image.
        betas: (S,). The betas at which the outlines were compared.
        stature: The index of the beta that stays.

    Returns:
        (S,).
    """
    shapes = len(betas)
    parts = len(_PARTS)
    total = shapes + 2 * parts * len(samples)
    jacobian = np.zeros((sum(len(sample.distance) for sample in samples), total))
    piece = np.zeros(len(jacobian), int)
    first = 0
    for image, sample in enumerate(samples):
        rows = slice(first, first := first + len(sample.distance))
        jacobian[rows, :shapes] = sample.jacobian
        piece[rows] = parts * image + sample.part
    # Each part of each image may be displaced as one piece.
    for axis in range(2):
        normals = np.concatenate([sample.normal[:, axis] for sample in samples])
        jacobian[np.arange(len(piece)), shapes + 2 * piece + axis] = normals
    residual = np.concatenate([sample.distance for sample in samples])
    # The errors of neighbouring samples, and of frames of one video, correlate.
    counts = np.bincount(piece)[piece]
    weights = np.minimum(1, _INDEPENDENT / counts) / _NOISE**2 / np.sqrt(len(samples))
    precision = np.full(total, _DISPLACEMENT**-2.0)
    precision[:shapes] = 1.0  # betas are in standard deviations of people
    start = np.zeros(total)
    start[:shapes] = betas
    free = np.arange(total) != stature
    step = np.zeros(total)
    for _ in range(_ROUNDS):
        left = (residual - jacobian @ step) / (_ROBUST * _NOISE)
        weighted = jacobian.T * (weights / (1 + left**2) ** 2)
        hessian = weighted @ jacobian + np.diag(precision)
        gradient = weighted @ residual - precision * start
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
    return (start + step)[:shapes]


def _projected(body: Body, fit: KeypointFit, camera: Camera, mask: PersonMask) -> tuple[Array, Array, Array]:
    """Project the body of a row, and S more with a larger beta each, into the crop: vertices, joints and depths."""
    betas = torch.from_numpy(fit.betas).float()
    betas = (betas + torch.cat((torch.zeros(1, betas.shape[1]), torch.eye(betas.shape[1])))).to(body.template)
    rotations = axis_angle_to_matrix(torch.from_numpy(fit.poses).to(body.template).unflatten(1, (-1, 3)))
    root = body.rest_pelvis(betas[:1]) + torch.from_numpy(fit.trans).to(body.template)
    trans = body.translation_of_root(root.expand(len(betas), 3), betas)
    posed = body.pose(rotations.expand(len(betas), -1, -1, -1), betas, trans)
    vertices, joints = (points.double().cpu().numpy() for points in (posed.surface, posed.joints))
    to_crop = mask.crop_to_image.inverse()

    def pixels(points: Array) -> Array:
        plane = points[..., :2] / np.maximum(points[..., 2:], _MIN_DEPTH) * camera.focal + camera.principal_point
        return np.asarray(to_crop.points(plane))

    return pixels(vertices), pixels(joints), vertices[0, :, 2]


def _outline(drawn: NDArray[np.uint8]) -> tuple[NDArray[np.int64], Array]:
    """Find pixels (N, 2) on the outer outline of a drawn body, and outward normals (N, 2)."""
    contours, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 2), np.int64), np.zeros((0, 2))
    pixel = max(contours, key=len)[:, 0].astype(np.int64)
    smooth = sum(np.roll(pixel, shift, 0) for shift in range(-_SMOOTHING, _SMOOTHING + 1)) / (2 * _SMOOTHING + 1)
    tangent = np.roll(smooth, -2, 0) - np.roll(smooth, 2, 0)
    length = np.linalg.norm(tangent, axis=1)
    turns = (length > 0) & (np.arange(len(pixel)) % _SPACING == 0)
    pixel, tangent = pixel[turns], tangent[turns] / length[turns, None]
    normal = np.stack((tangent[:, 1], -tangent[:, 0]), 1)
    ahead, behind = (_sample(drawn.astype(np.float32), pixel + 0.5 + side * normal) for side in (_PROBE, -_PROBE))
    return pixel, np.where((ahead > behind)[:, None], -normal, normal)


def _distances(mask: NDArray[np.float32], points: Array, normals: Array, reach: Array) -> Array:
    """Find the mask's outline nearest to points (N, 2) along normals: signed pixels (N,), NaN beyond reach."""
    along = np.linspace(-1, 1, 41)[None] * reach[:, None]
    values = _sample(mask, points[:, None] + along[..., None] * normals[:, None])
    ends = (values[:, :-1] >= 0.5) & (values[:, 1:] < 0.5)
    cost = np.where(ends, abs(along[:, 1:] + along[:, :-1]), np.inf)
    best = np.arange(len(points)), cost.argmin(1) if len(points) else np.zeros(0, int)
    inner, outer = values[best], values[best[0], best[1] + 1]
    share = (inner - 0.5) / np.maximum(inner - outer, 1e-6)
    step = along[best[0], best[1] + 1] - along[best]
    return np.where(np.isfinite(cost[best]), along[best] + share * step, np.nan)


def _sample(image: NDArray[np.float32], points: Array) -> NDArray[np.float32]:
    """Sample at points (N, …, 2), counted from the corner of the first pixel. 0 outside."""
    if not len(points):
        return np.zeros(points.shape[:-1], np.float32)
    x, y = ((points[..., axis] - 0.5).reshape(len(points), -1).astype(np.float32) for axis in (0, 1))
    samples = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(samples, np.float32).reshape(points.shape[:-1])


def _similarity(source: Array, target: Array) -> Array:
    """Compute the (2, 3) similarity that maps points (K, 2) of the image best onto others."""
    a, b = ((points - points.mean(0)) @ (1, 1j) for points in (source, target))
    turn = (np.conj(a) * b).sum() / max((abs(a) ** 2).sum(), 1e-9)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.concatenate((linear, (target.mean(0) - linear @ source.mean(0))[:, None]), 1)


def _part_of_label() -> NDArray[np.int64]:
    """Return the index of the part of each of the body's 24 labels, or −1."""
    parts = np.full(len(SMPL24), -1)
    for index, part in enumerate(_PARTS):
        parts[part.labels] = index
    return parts


def _chosen(usable: NDArray[np.bool_], distance: Array, normal: Array, part: Array, jacobian: Array) -> OutlineSamples:
    return OutlineSamples(distance[usable], normal[usable], part[usable].astype(np.int64), jacobian[usable])
