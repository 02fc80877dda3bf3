"""Examples of one person: read from samples, cut out with all labels alike, recoloured, and changed at random.

A crop is what a camera at the same position would take that is rolled and has another focal length and principal point
(see `core.crop.Crop`), so every label has an exact counterpart, including the body's parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import default_focal
from humanpose_cli.core.conventions import SKELETONS, SMPL24
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.encoding import decode_image, decode_png, require_decoded
from humanpose_cli.lab.cache.label_maps import decode_map, labels_of
from humanpose_cli.lab.cache.samples import LABEL_MAPS, Person, Sample

# One labelled person, decoded: what crops and augmentations work on.

Array = NDArray[Any]


@dataclass(frozen=True)
class Example:
    """An image and one of its people.

    Attributes:
        name: Name of the sample.
        image: (H, W, 3) uint8 RGB.
        focal: Pixels; `default_focal` for samples without one.
        principal_point: (2,) pixels.
        person: Labels in this image's pixels and this camera's axes.
        maps: Name of `LABEL_MAPS` → decoded array of the image's size.
        mask: (H, W) uint8, 255 where this person is visible; None if unknown.
        detected_mask: (H, W) uint8. The detector's mask; None if unknown.
        inside: (H, W) uint8, 255 in the image and 0 in the padding that a crop adds; None if unknown.
    """

    name: str
    image: NDArray[np.uint8]
    focal: float
    principal_point: tuple[float, float]
    person: Person
    maps: Mapping[str, Array] = field(default_factory=dict)
    mask: NDArray[np.uint8] | None = None
    detected_mask: NDArray[np.uint8] | None = None
    inside: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) pixels."""
        return self.image.shape[1], self.image.shape[0]


def example_of(
    sample: Sample,
    person: int = 0,
    maps: Collection[str] | None = None,
    *,
    image: bool = True,
    mask: bool = True,
    detected_mask: bool = True,
) -> Example:
    """Decode a sample for one of its people.

    The mask comes from the map `persons` if the person has none.

    Args:
        sample: The sample.
        person: Index of the person.
        maps: Names of the maps to decode; None for all.
        image: False makes the image a single black pixel, for labels alone: decoding takes most of the time.
        mask: False leaves out the mask.
        detected_mask: False leaves out the detector's mask.
    """
    labels = sample.people[person]
    names = sample.maps.keys() if maps is None else [name for name in maps if name in sample.maps]
    arrays = {name: decode_map(name, sample.maps[name]) for name in names}
    visible_pixels = None
    if mask and labels.mask is not None:
        visible_pixels = require_decoded(decode_png(labels.mask), sample.name, "mask")
    elif mask and "persons" in sample.maps:
        persons = arrays["persons"] if "persons" in arrays else decode_map("persons", sample.maps["persons"])
        visible_pixels = (persons == person + 1) * np.uint8(255)
    width, height = sample.size
    detector_bytes = labels.detected_mask if detected_mask else None
    return Example(
        sample.name,
        require_decoded(decode_image(sample.image), sample.name, "picture") if image else np.zeros((1, 1, 3), np.uint8),
        default_focal(width, height) if sample.focal is None else sample.focal,
        sample.principal_point or (width / 2, height / 2),
        labels,
        arrays,
        visible_pixels,
        None if detector_bytes is None else require_decoded(decode_png(detector_bytes), sample.name, "mask"),
        np.full((height, width), 255, np.uint8),
    )


# Random colour: brightness, contrast, saturation and hue of an image.

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ColourChange:
    """A change of colours, applied in this order.

    Attributes:
        hue: Degrees around the colour circle.
        saturation: Factor on the distance from grey.
        contrast: Factor on the distance from the image's mean brightness.
        brightness: Added, as a share of the full range.
    """

    hue: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0


def change_colour(image: NDArray[np.uint8], change: ColourChange) -> NDArray[np.uint8]:
    """Change the colours of an image.

    All four changes are one affine map of RGB, so an image is processed once: hue turns colours about the grey axis.

    Args:
        image: (H, W, 3) uint8 RGB.
        change: The change.
    """
    if change == ColourChange():
        return image
    grey = np.outer(np.ones(3, np.float32), _LUMA)
    turn, _ = cv2.Rodrigues(np.ones(3) / np.sqrt(3) * np.deg2rad(change.hue))
    colour = (1 - change.saturation) * grey + change.saturation * np.eye(3, dtype=np.float32)
    matrix = change.contrast * colour @ turn.astype(np.float32)
    mean = float(np.array(cv2.sumElems(image)[:3]) / image[..., 0].size @ _LUMA) if change.contrast != 1 else 0.0
    offset = (1 - change.contrast) * mean + 255 * change.brightness
    pixels = cv2.transform(image, np.concatenate((matrix, np.full((3, 1), offset, np.float32)), 1))
    return np.asarray(pixels, np.uint8)


def crop_example(example: Example, crop: Crop, body: Body | None = None) -> Example:
    """Crop the image, maps, masks and every label of an example, as the changed camera sees them.

    Args:
        example: The example.
        crop: The crop.
        body: The body that the person's parameters belong to. Turning or mirroring `trans` needs its shaped rest
            pelvis, and mirroring correspondences its mirrored vertices: without a body, a turned or mirrored example
            has no `trans`, and a mirrored one no correspondences. A mirrored example never has DensePose labels, whose
            table of mirrored coordinates may not be redistributed.
    """
    maps = {name: _changed_map(name, crop.warp(m, cv2.INTER_NEAREST), crop) for name, m in example.maps.items()}
    if crop.mirror:
        maps.pop("densepose", None)
        if "correspondence" in maps:
            maps |= _mirrored_correspondence(maps.pop("correspondence"), body)
    centre = crop.points(np.asarray(example.principal_point))
    return Example(
        example.name,
        crop.image(example.image),
        example.focal * crop.scale,
        (float(centre[0]), float(centre[1])),
        _changed_person(example.person, crop, body),
        maps,
        None if example.mask is None else crop.warp(example.mask, cv2.INTER_NEAREST),
        None if example.detected_mask is None else crop.warp(example.detected_mask, cv2.INTER_LINEAR),
        None if example.inside is None else crop.warp(example.inside, cv2.INTER_NEAREST),
    )


def _changed_map(name: str, values: Array, crop: Crop) -> Array:
    if name == "normals":
        mask = np.asarray(values.any(-1))
        normals = crop.directions(values.astype(np.float32) / 127.5 - 1)
        values_out = np.clip(np.rint(127.5 * (normals + 1)), 0, 255).astype(np.uint8)
        return np.where(mask[..., None], values_out, np.uint8(0))
    if name == "parts" and crop.mirror:
        mirrored_parts = np.array([0, *(m + 1 for m in SMPL24.mirror)], np.uint8)
        return mirrored_parts[values]
    return values


def _mirrored_correspondence(values: Array, body: Body | None) -> dict[str, Array]:
    """Replace each pixel's vertex by its mirrored one, with the texture coordinates of that vertex."""
    if body is None:
        return {}
    mirrored = np.concatenate(([0], body.mirror_vertices.cpu().numpy() + 1))[values[..., 0].astype(np.int64)]
    steps = np.rint(4095 * labels_of(body).vertex_uv).astype(np.uint16)
    uv = np.concatenate((np.zeros((1, 2), np.uint16), steps))[mirrored]
    codes = np.concatenate((mirrored[..., None].astype(np.uint16), uv), -1)
    return {"correspondence": codes.astype(LABEL_MAPS["correspondence"].dtype)}


_MIRRORED = np.array([1, -1, -1], np.float32)  # a mirrored rotation turns about the mirrored axis the other way


def _changed_person(person: Person, crop: Crop, body: Body | None) -> Person:
    def pixels(points: Array | None) -> Array | None:
        """Move points (N, ≥2) that begin with pixels."""
        if points is None:
            return None
        return np.concatenate((crop.points(points[:, :2]), np.asarray(points[:, 2:], np.float32)), 1)

    def space(points: Array | None) -> Array | None:
        """Turn points (N, ≥3) that begin with camera axes."""
        if points is None:
            return None
        return np.concatenate((crop.directions(points[:, :3]), np.asarray(points[:, 3:], np.float32)), 1)

    def swapped(points: Array | None, skeleton: str) -> Array | None:
        return points[list(SKELETONS[skeleton].mirror)] if crop.mirror and points is not None else points

    def every(points: Mapping[str, Array], move: Callable[[Array | None], Array | None]) -> dict[str, Any]:
        return {name: swapped(move(values), name) for name, values in points.items()}

    hands = person.hand_poses
    truth = _changed_parameters(crop, body, person.poses, person.betas, person.trans)
    fit = _changed_parameters(crop, body, person.fit_poses, person.fit_betas, person.fit_trans)

    def upright(box: Array | None) -> Array | None:
        """Return the upright box around the turned one."""
        if box is None:
            return None
        corners = crop.points(box[[[0, 1], [2, 1], [2, 3], [0, 3]]])
        return np.concatenate((corners.min(0), corners.max(0))).astype(np.float32)

    return replace(
        person,
        box=upright(person.box),
        poses=truth[0],
        trans=truth[1],
        segment_scales=swapped(person.segment_scales, SMPL24.name),
        hand_poses=hands[::-1] * _MIRRORED if crop.mirror and hands is not None else hands,
        keypoints=every(person.keypoints, pixels),
        joints=every(person.joints, space),
        fit_poses=fit[0],
        fit_trans=fit[1],
        detected=swapped(pixels(person.detected), "blazepose33"),
        detected_world=swapped(space(person.detected_world), "blazepose33"),
        surface_points=None if crop.mirror else pixels(person.surface_points),
        detected_mask=None,
        mask=None,
    )


def _changed_parameters(
    crop: Crop, body: Body | None, poses: Array | None, betas: Array | None, trans: Array | None
) -> tuple[Array | None, Array | None]:
    """Return poses and trans as the changed camera sees the same body."""
    if poses is None:
        return None, None
    axis_angles = np.array(poses, np.float64).reshape(len(SMPL24), 3)
    root = SMPL24.index("pelvis")
    if crop.angle:
        from scipy.spatial.transform import Rotation  # a fifth of a second to import

        rotation = Rotation.from_matrix(crop.roll) * Rotation.from_rotvec(axis_angles[root])
        axis_angles[root] = rotation.as_rotvec()
    if crop.mirror:
        axis_angles = axis_angles[list(SMPL24.mirror)] * _MIRRORED
    new_trans = trans
    if trans is not None and (crop.angle or crop.mirror):
        new_trans = None
        if body is not None and betas is not None:  # trans is relative to the rest pelvis of the shaped body
            pelvis = body.rest_pelvis(torch.as_tensor(np.asarray(betas, np.float32))[None])[0].numpy()
            new_trans = crop.directions(np.asarray(trans) + pelvis) - pelvis
    return axis_angles.reshape(-1).astype(np.float32), new_trans


# The random changes of images that the papers train with, as options and as draws from them.


@dataclass(frozen=True)
class Augmentation:
    """Half-widths of uniform draws around no change.

    Attributes:
        rotation: Radians.
        scale: Share of the size (0.1: factors 0.9 to 1.1).
        shift: Share of the crop's side.
        mirror: Probability that left and right are swapped.
        brightness: Share of the full range.
        contrast: Share of the contrast.
        saturation: Share of the saturation.
        hue: Degrees.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    mirror: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def colour(self, brightness: float, contrast: float, saturation: float, hue: float) -> ColourChange:
        """Return the change of colours for draws of −1 … 1."""
        return ColourChange(
            self.hue * hue, 1 + self.saturation * saturation, 1 + self.contrast * contrast, self.brightness * brightness
        )


NO_AUGMENTATION = Augmentation()


# Reposing by warping 3-D features: section 3.2; its widths from the authors' public code.
WARP3D_AUGMENTATION = Augmentation(0.1, 0.1, 20 / 256, 0.5, 0.125, 0.5, 0.5, 72.0)


# Neural Body Fitting, appendix B: reflection, 0.9 to 1.1 of the size, up to 45 degrees, and jitter of the crop.
SEGMENTER_AUGMENTATION = Augmentation(math.radians(45), 0.1, 0.05, 0.5)


def random_crop(
    example: Example,
    size: int,
    random: np.random.Generator,
    augmentation: Augmentation = NO_AUGMENTATION,
    *,
    fill: float = 0.86,
    body: Body | None = None,
) -> Example:
    """Crop an example to a square around its person, randomly changed; see `crop_example`.

    Args:
        example: The example.
        size: Pixels of a side.
        random: Random generator. Draws depend on its state alone, not on the image.
        augmentation: Widths of the random changes.
        fill: Share of the crop that the longer side of the person's box takes before augmentation.
        body: See `crop_example`.

    Raises:
        InputError: If the person has no box.
    """
    if example.person.box is None:
        raise InputError(example.name, "has a person without a box", remedy="make the cache again with boxes")
    turn, zoom, right, down, flip, brightness, contrast, saturation, hue = random.uniform(-1, 1, 9)
    crop = crop_around_box(
        example.person.box,
        size,
        fill=fill,
        angle=augmentation.rotation * turn,
        scale=1 + augmentation.scale * zoom,
        shift=(augmentation.shift * size * right, augmentation.shift * size * down),
        mirror=bool((flip + 1) / 2 < augmentation.mirror),
    )
    result = crop_example(example, crop, body)
    colour = augmentation.colour(brightness, contrast, saturation, hue)
    return replace(result, image=change_colour(result.image, colour))
