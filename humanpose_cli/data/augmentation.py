"""Another view of the same image: turned in its plane, scaled, shifted, mirrored, cut out, with all labels alike.

The new image is what a camera at the same place would take that is rolled about its optical axis and has another
focal length and principal point; so every label has an exact counterpart, the body's parameters included. With
pixel' = s R(a) pixel + t, then x' = width − x' for a mirrored one:

    focal' = s focal,  principal point' = s R(a) principal point + t,  X' = R_z(a) X  in camera axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import default_focal
from humanpose_cli.core.conventions import SMPL24, skeleton_by_name
from humanpose_cli.core.errors import InputError
from humanpose_cli.data.encoding import decode_image, decode_png
from humanpose_cli.data.label_maps import decode_map, labels_of
from humanpose_cli.data.samples import LABEL_MAPS, Person, Sample

__all__ = [
    "NO_AUGMENTATION",
    "SEGMENTER_AUGMENTATION",
    "WARP3D_AUGMENTATION",
    "Augmentation",
    "CameraChange",
    "ColourChange",
    "Example",
    "change_camera",
    "change_colour",
    "crop_change",
    "crop_example",
    "example_of",
]


# One labelled person, decoded: what crops and augmentations work on.

Array = NDArray[Any]


@dataclass(frozen=True)
class Example:
    """An image and one of its people.

    name             the sample's
    image            (H, W, 3) uint8 RGB
    focal            pixels; where the sample has none, the usual 1.2 times the longer side
    principal_point  (2,) pixels
    person           labels in this image's pixels and this camera's axes
    maps             `LABEL_MAPS` name → decoded array of the image's size
    mask             (H, W) uint8, 255 where this person is seen; None where not known
    detected_mask    (H, W) uint8, the detector's; None where not known
    """

    name: str
    image: NDArray[np.uint8]
    focal: float
    principal_point: tuple[float, float]
    person: Person
    maps: Mapping[str, Array] = field(default_factory=dict)
    mask: NDArray[np.uint8] | None = None
    detected_mask: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) pixels."""
        return self.image.shape[1], self.image.shape[0]


def example_of(
    sample: Sample,
    person: int = 0,
    maps: tuple[str, ...] | None = None,
    *,
    image: bool = True,
    mask: bool = True,
    detected_mask: bool = True,
) -> Example:
    """Decode a sample for one of its people; their mask comes from the `persons` map where it is not given itself.

    maps     the maps to decode; None: all there are
    image  False, where only labels are wanted, leaves the image a single black pixel: decoding takes the most time
    mask, detected_mask  False leaves these out
    """
    labels = sample.people[person]
    wanted = sample.maps.keys() if maps is None else [name for name in maps if name in sample.maps]
    decoded = {name: decode_map(name, sample.maps[name]) for name in wanted}
    seen = None
    if mask and labels.mask is not None:
        seen = _decoded(decode_png(labels.mask), sample.name, "mask")
    elif mask and "persons" in sample.maps:
        persons = decoded["persons"] if "persons" in decoded else decode_map("persons", sample.maps["persons"])
        seen = np.where(persons == person + 1, np.uint8(255), np.uint8(0))
    width, height = sample.size
    detected = labels.detected_mask if detected_mask else None
    return Example(
        sample.name,
        _decoded(decode_image(sample.image), sample.name, "picture") if image else np.zeros((1, 1, 3), np.uint8),
        default_focal(width, height) if sample.focal is None else sample.focal,
        sample.principal_point or (width / 2, height / 2),
        labels,
        decoded,
        seen,
        None if detected is None else _decoded(decode_png(detected), sample.name, "mask"),
    )


def _decoded(values: Array | None, name: str, what: str) -> Array:
    if values is None:
        raise InputError(name, f"its {what} cannot be decoded", remedy="hpc cache verify tells what else is damaged")
    return values


# Random colour: brightness, contrast, saturation and hue of an image.

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ColourChange:
    """What happens to colours, in this order.

    hue         degrees round the colour circle
    saturation  factor on the distance from grey
    contrast    factor on the distance from the image's mean brightness
    brightness  added, in parts of the whole range
    """

    hue: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0


def change_colour(image: NDArray[np.uint8], change: ColourChange) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB → the same, recoloured.

    All four are one affine map of RGB, so an image is touched once: hue turns colours about the grey axis.
    """
    if change == ColourChange():
        return image
    grey = np.outer(np.ones(3, np.float32), _LUMA)
    angle = np.deg2rad(change.hue)
    axis = np.ones(3) / np.sqrt(3)
    turn, _ = cv2.Rodrigues(axis * angle)
    colour = (1 - change.saturation) * grey + change.saturation * np.eye(3, dtype=np.float32)
    matrix = change.contrast * colour @ turn.astype(np.float32)
    mean = float(image.reshape(-1, 3).mean(0) @ _LUMA) if change.contrast != 1 else 0.0
    offset = (1 - change.contrast) * mean + 255 * change.brightness
    recoloured = cv2.transform(image, np.concatenate((matrix, np.full((3, 1), offset, np.float32)), 1))
    return np.asarray(recoloured, np.uint8)


_AXES = np.array([-1.0, 1.0, 1.0])  # mirrored camera axes


@dataclass(frozen=True)
class CameraChange:
    """pixel' = scale · R(angle) · pixel + shift, then mirrored left to right; the result has `size`.

    angle   radians, clockwise as seen (x right, y down)
    shift   (2,) pixels of the result; size (width, height) of the result
    """

    scale: float
    angle: float
    shift: tuple[float, float]
    size: tuple[int, int]
    mirror: bool = False

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) from pixels of the old image to pixels of the new one."""
        c, s = self.scale * math.cos(self.angle), self.scale * math.sin(self.angle)
        matrix = np.array([[c, -s, self.shift[0]], [s, c, self.shift[1]]])
        if self.mirror:
            matrix[0] = -matrix[0]
            matrix[0, 2] += self.size[0]
        return matrix

    @cached_property
    def turn(self) -> NDArray[np.float64]:
        """(3, 3) from old to new camera axes, before mirroring: the roll about the optical axis."""
        return np.asarray(Rotation.from_euler("z", self.angle).as_matrix(), np.float64)

    def pixels(self, points: Array) -> Array:
        """(…, 2) old pixels → new ones."""
        return np.asarray(points @ self.matrix[:, :2].T + self.matrix[:, 2], np.float32)

    def directions(self, vectors: Array) -> Array:
        """(…, 3) vectors or points in old camera axes → new ones."""
        turned = vectors @ self.turn.T
        return np.asarray(turned * _AXES if self.mirror else turned, np.float32)

    def warp(self, image: Array, interpolation: int, border: Any = 0) -> Array:
        """The image or map (H, W[, C]) resampled; `border` where it shows nothing of the old one."""
        # OpenCV counts from pixel centres, we from corners.
        matrix = self.matrix.copy()
        matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
        return np.asarray(cv2.warpAffine(image, matrix, self.size, flags=interpolation, borderValue=border))


def crop_change(
    box: Array,
    size: int,
    *,
    fill: float = 0.86,
    angle: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> CameraChange:
    """The change that puts a box (4,) x0 y0 x1 y1 into the middle of a square crop of `size` pixels.

    fill   share of the crop that the box's longer side takes: 440 of 512 in Neural Body Fitting (section 4.1)
    angle, scale, shift  augmentation: the crop's content turned (radians) and scaled about the box's centre, and
           then moved by that many pixels
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    factor = scale * fill * size / max(x1 - x0, y1 - y0, 1e-6)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    c, s = math.cos(angle), math.sin(angle)
    moved = factor * np.array([c * centre[0] - s * centre[1], s * centre[0] + c * centre[1]])
    offset = size / 2 - moved + np.asarray(shift)
    return CameraChange(factor, angle, (float(offset[0]), float(offset[1])), (size, size), mirror)


def change_camera(example: Example, change: CameraChange, body: Body | None = None) -> Example:
    """The example as the changed camera sees it: image, maps, masks and every label of the person.

    body  the body that the person's parameters belong to. It tells where a shaped body's pelvis rests, without which
          `trans` cannot be turned or mirrored, and which vertices mirror each other: without it, a turned or mirrored
          example has no `trans` and a mirrored one no correspondences. A mirrored example never has labels of
          DensePose, whose table of mirrored coordinates is not ours to ship.
    """
    smooth = cv2.INTER_AREA if change.scale < 0.5 else cv2.INTER_LINEAR
    image = _shrunk_warp(example.image, change) if smooth == cv2.INTER_AREA else change.warp(example.image, smooth)
    maps = {name: _changed_map(name, change.warp(m, cv2.INTER_NEAREST), change) for name, m in example.maps.items()}
    if change.mirror:
        maps.pop("densepose", None)
        if "correspondence" in maps:
            maps |= _mirrored_correspondence(maps.pop("correspondence"), body)
    centre = change.pixels(np.asarray(example.principal_point))
    return Example(
        example.name,
        image,
        example.focal * change.scale,
        (float(centre[0]), float(centre[1])),
        _changed_person(example.person, change, body),
        maps,
        None if example.mask is None else change.warp(example.mask, cv2.INTER_NEAREST),
        None if example.detected_mask is None else change.warp(example.detected_mask, cv2.INTER_LINEAR),
    )


def _shrunk_warp(image: Array, change: CameraChange) -> Array:
    """A strongly shrunk image: halved first by averaging, since a linear look-up would skip most pixels."""
    halvings = max(1, math.floor(-math.log2(change.scale)))
    height, width = image.shape[:2]
    small_size = max(1, width >> halvings), max(1, height >> halvings)
    small = np.asarray(cv2.resize(image, small_size, interpolation=cv2.INTER_AREA))
    matrix = change.matrix.copy()
    matrix[:, 0] *= width / small_size[0]
    matrix[:, 1] *= height / small_size[1]
    matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
    return np.asarray(cv2.warpAffine(small, matrix, change.size, flags=cv2.INTER_LINEAR))


def _changed_map(name: str, values: Array, change: CameraChange) -> Array:
    if name == "normals":
        known = np.asarray(values.any(-1))
        turned = change.directions(values.astype(np.float32) / 127.5 - 1)
        encoded = np.clip(np.rint(127.5 * (turned + 1)), 0, 255).astype(np.uint8)
        return np.where(known[..., None], encoded, np.uint8(0))
    if name == "parts" and change.mirror:
        other_side = np.array([0, *(m + 1 for m in SMPL24.mirror)], np.uint8)
        return other_side[values]
    return values


def _mirrored_correspondence(values: Array, body: Body | None) -> dict[str, Array]:
    """Each pixel's vertex becomes its mirror image, and its texture coordinates that vertex's own."""
    if body is None:
        return {}
    vertex = values[..., 0].astype(np.int64)
    other = np.concatenate(([0], body.mirror_vertices.cpu().numpy() + 1))[vertex]
    steps = np.rint(4095 * labels_of(body).vertex_uv).astype(np.uint16)
    uv = np.concatenate((np.zeros((1, 2), np.uint16), steps))[other]
    mirrored = np.concatenate((other[..., None].astype(np.uint16), uv), -1)
    return {"correspondence": mirrored.astype(LABEL_MAPS["correspondence"].dtype)}


def _changed_person(person: Person, change: CameraChange, body: Body | None) -> Person:
    def pixels(points: Array | None) -> Array | None:
        """(N, ≥2) with pixels first."""
        if points is None:
            return None
        return np.concatenate((change.pixels(points[:, :2]), np.asarray(points[:, 2:], np.float32)), 1)

    def space(points: Array | None) -> Array | None:
        """(N, ≥3) with camera axes first."""
        if points is None:
            return None
        return np.concatenate((change.directions(points[:, :3]), np.asarray(points[:, 3:], np.float32)), 1)

    def swapped(points: Array | None, skeleton: str) -> Array | None:
        return points[list(skeleton_by_name(skeleton).mirror)] if change.mirror and points is not None else points

    def every(points: Mapping[str, Array], move: Callable[[Array | None], Array | None]) -> dict[str, Any]:
        return {name: swapped(move(its), name) for name, its in points.items()}

    posed = _changed_parameters(change, body, person.poses, person.betas, person.trans)
    fitted = _changed_parameters(change, body, person.fit_poses, person.fit_betas, person.fit_trans)
    scales = person.segment_scales
    if scales is not None and change.mirror:
        scales = scales[list(SMPL24.mirror)]
    return replace(
        person,
        box=_changed_box(person.box, change),
        poses=posed[0],
        trans=posed[1],
        segment_scales=scales,
        keypoints=every(person.keypoints, pixels),
        joints=every(person.joints, space),
        fit_poses=fitted[0],
        fit_trans=fitted[1],
        detected=swapped(pixels(person.detected), "blazepose33"),
        detected_world=swapped(space(person.detected_world), "blazepose33"),
        surface_points=None if change.mirror else pixels(person.surface_points),
        detected_mask=None,
        mask=None,
    )


def _changed_box(box: Array | None, change: CameraChange) -> Array | None:
    """The upright box round the turned one."""
    if box is None:
        return None
    x0, y0, x1, y1 = box
    corners = change.pixels(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    return np.concatenate((corners.min(0), corners.max(0))).astype(np.float32)


def _changed_parameters(
    change: CameraChange, body: Body | None, poses: Array | None, betas: Array | None, trans: Array | None
) -> tuple[Array | None, Array | None]:
    """Poses and trans as the changed camera sees the same body, mirrored where it is."""
    if poses is None:
        return None, None
    axis_angles = np.array(poses, np.float64).reshape(len(SMPL24), 3)
    root = SMPL24.index("pelvis")
    if change.angle:
        turned = Rotation.from_matrix(change.turn) * Rotation.from_rotvec(axis_angles[root])
        axis_angles[root] = turned.as_rotvec()
    if change.mirror:
        # A mirrored rotation turns about the mirrored axis the other way: (x, y, z) becomes (x, −y, −z).
        axis_angles = axis_angles[list(SMPL24.mirror)] * -_AXES
    moved = trans
    if trans is not None and (change.angle or change.mirror):
        pelvis = _rest_pelvis(body, betas)
        moved = None if pelvis is None else change.directions(np.asarray(trans) + pelvis) - pelvis
    return axis_angles.reshape(-1).astype(np.float32), moved


def _rest_pelvis(body: Body | None, betas: Array | None) -> Array | None:
    """Where the shaped body's pelvis rests, which `trans` is counted from: (3,) metres."""
    if body is None or betas is None:
        return None
    shape = torch.as_tensor(np.asarray(betas, np.float32))[None]
    return body.rest_joints(shape)[0, SMPL24.index("pelvis")].numpy()


# The random changes of images that the papers train with, as options and as draws from them.


@dataclass(frozen=True)
class Augmentation:
    """Half-widths of uniform draws about no change.

    rotation    radians; scale a share (0.1: factors 0.9 to 1.1); shift a share of the crop's side
    mirror      probability of an image with left and right swapped
    brightness  of the whole range; contrast and saturation shares; hue degrees
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    mirror: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


NO_AUGMENTATION = Augmentation()


# Reposing by warping 3-D features: section 3.2; its widths from the authors' public code.
WARP3D_AUGMENTATION = Augmentation(0.1, 0.1, 20 / 256, 0.5, 0.125, 0.5, 0.5, 72.0)


# Neural Body Fitting, appendix B: reflection, 0.9 to 1.1 of the size, up to 45 degrees, and jitter of the crop.
SEGMENTER_AUGMENTATION = Augmentation(math.radians(45), 0.1, 0.05, 0.5)


def crop_example(
    example: Example,
    size: int,
    random: np.random.Generator,
    augmentation: Augmentation = NO_AUGMENTATION,
    *,
    fill: float = 0.86,
    body: Body | None = None,
) -> Example:
    """The person in a square crop of `size` pixels, randomly changed; all labels follow. See `change_camera`.

    random  the same generator state gives the same example. Draws do not depend on the image.
    fill    share of the crop that the longer side of the person's box takes before augmentation
    InputError where the person has no box.
    """
    if example.person.box is None:
        raise InputError(example.name, "has a person without a box", remedy="make the cache again with boxes")
    turn, zoom, right, down, flip, bright, contrast, saturation, hue = random.uniform(-1, 1, 9)
    a = augmentation
    change = crop_change(
        example.person.box,
        size,
        fill=fill,
        angle=a.rotation * turn,
        scale=1 + a.scale * zoom,
        shift=(a.shift * size * right, a.shift * size * down),
        mirror=bool((flip + 1) / 2 < a.mirror),
    )
    cropped = change_camera(example, change, body)
    colour = ColourChange(a.hue * hue, 1 + a.saturation * saturation, 1 + a.contrast * contrast, a.brightness * bright)
    return replace(cropped, image=change_colour(cropped.image, colour))
