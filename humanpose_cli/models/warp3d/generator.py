"""The frame of the feature volume: joints in space → pixels of a crop, with a depth in pixels too.

For a crop of S pixels (256 in the paper, of voxels 4 × 4 × 8 pixels; other sizes alike),

    x_px = f x / z + c_x,  y_px = f y / z + c_y,  z_px = S / 2 + (z − z_root) f / z_root

with the person's own pelvis as the root: depth is measured in pixels as at the person's distance, and the person
stands in the middle of the volume, in the input and in the target alike. The volume's first corner is the origin; it
spans S pixels along each axis.

The background stream: a U-Net of partial convolutions that fills in what the person covers (section 3.1).

The generator: a person's image, their pose and another one → the person in that pose (section 3.1, figure 2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from humanpose_cli.body.parts import WARPING10
from humanpose_cli.body.warping_parts import WarpingParts, warping_parts
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.data.augmentation import Example
from humanpose_cli.engine.warping import projected_masks, warp_parts
from humanpose_cli.models.warp3d.config import GeneratorConfig
from humanpose_cli.models.warp3d.layers import (
    DRAWING_CHANNELS,
    LiftingEncoder,
    PoseEncoder,
    ProjectionDecoder,
    channels_last,
    group_norm,
)
from humanpose_cli.networks.partial_conv import PartialConv2d

__all__ = [
    "NEAREST",
    "BackgroundInpainter",
    "Generated",
    "Generator",
    "frame_joints",
    "frame_of_example",
]


NEAREST = 0.05
"""Metres before the camera; joints nearer than that have no place in an image."""

_HIPS = REPOSING19.indices(("left_hip", "right_hip"))
_PELVIS = REPOSING19.index("pelvis")


def frame_joints(joints: ArrayLike, camera: Camera) -> NDArray[np.float32]:
    """Joints (19, 3) or (T, 19, 3) of REPOSING19 in metres, camera axes → pixels x, y, z of the frame, the same shape.

    camera  the square crop's

    Joints that are not finite, or behind the camera, are NaN in the result; the middle of the hips stands in for an
    unknown pelvis, and where that is not known either, all of the pose is NaN. UsageError for other shapes.
    """
    points = np.asarray(joints, np.float64)
    if points.shape[-2:] != (len(REPOSING19), 3) or points.ndim not in (2, 3):
        raise UsageError("joints", "are no poses", expected="(19, 3) or (T, 19, 3)", got=str(points.shape))
    known = np.isfinite(points).all(-1) & (points[..., 2] > NEAREST)
    points = np.where(known[..., None], points, np.nan)
    root = points[..., _PELVIS, 2]
    root = np.where(np.isfinite(root), root, points[..., _HIPS, 2].mean(-1))[..., None]
    pixels = camera.project(points, near=NEAREST)
    depth = camera.size[0] / 2 + (points[..., 2] - root) * camera.focal / root
    framed = np.concatenate((pixels, depth[..., None]), -1)
    return np.where(np.isfinite(root)[..., None], framed, np.nan).astype(np.float32)


def frame_of_example(example: Example) -> NDArray[np.float32]:
    """(19, 3) pixels of a crop's person; joints that are not labelled are NaN. InputError without such joints."""
    labelled = example.person.joints.get(REPOSING19.name)
    if labelled is None:
        raise InputError(
            example.name,
            f"has nobody with joints of {REPOSING19.name} in space",
            remedy="make its cache again, with --fits where the source has no 3-D poses",
        )
    joints = np.where(labelled[:, 3:] > 0, labelled[:, :3], np.nan)
    width, height = example.size
    if width != height:
        raise UsageError(example.name, "is no square crop", got=f"{width} × {height}")
    return frame_joints(joints, Camera(example.focal, example.principal_point, example.size))


_KERNELS = (7, 5, 5)  # of the encoder's first steps; 3 behind them
_SLOPE = 0.2
_KEPT = 3.0  # the first bias of the share that stays: 95 %


class BackgroundInpainter(nn.Module):
    """Image with a hole → whole image, as Liu et al. (2018) with the authors' sizes.

    widths  channels of the encoder's steps, each of stride 2; the decoder mirrors them, by nearest neighbours
    keep    a fourth output says how much of the input's own pixel stays where it is known. It begins near all, and may
            learn to remove what the part masks leave of a person: hair, hems, shadows.

    The first step of the encoder and the last of the decoder have no normalisation.
    """

    def __init__(self, widths: tuple[int, ...], *, keep: bool = False) -> None:
        super().__init__()
        self.keep = keep
        kernels = (*_KERNELS, *(3,) * len(widths))[: len(widths)]
        inputs = (3, *widths[:-1])
        self.encoder = nn.ModuleList(
            PartialConv2d((a,), b, k, stride=2, padding=k // 2) for a, b, k in zip(inputs, widths, kernels, strict=True)
        )
        self.encoder_norms = nn.ModuleList(
            nn.Identity() if step == 0 else group_norm(width) for step, width in enumerate(widths)
        )
        coarse_first = list(reversed(inputs))
        below = [widths[-1], *coarse_first[:-1]]
        outputs = [*coarse_first[:-1], 4 if keep else 3]
        self.decoder = nn.ModuleList(
            PartialConv2d((a, b), c, 3, padding=1) for a, b, c in zip(below, coarse_first, outputs, strict=True)
        )
        if keep:
            nn.init.constant_(self.decoder[-1].get_parameter("bias")[3:], _KEPT)
        self.decoder_norms = nn.ModuleList(
            nn.Identity() if step == len(widths) - 1 else group_norm(width) for step, width in enumerate(coarse_first)
        )

    def forward(self, image: Tensor, known: Tensor) -> Tensor:
        """image (B, 3, S, S) −1 to 1, known (B, 1, S, S) of 0 and 1 → (B, 3, S, S) −1 to 1, without holes.

        An image of which nothing is known comes out grey.
        """
        x, mask = image, known
        skips = []
        for conv, norm in zip(self.encoder, self.encoder_norms, strict=True):
            skips.append((x, mask))
            x, mask = conv(x, mask)
            x = torch.relu(norm(x))
        for step, (conv, norm) in enumerate(zip(self.decoder, self.decoder_norms, strict=True)):
            beside, beside_mask = skips.pop()
            x, mask = (interpolate(t, size=beside.shape[-2:], mode="nearest") for t in (x, mask))
            x, mask = conv(torch.cat((x, beside), 1), torch.cat((mask, beside_mask), 1))
            if step < len(self.decoder) - 1:
                x = leaky_relu(norm(x), _SLOPE)
        made = torch.tanh(x[:, :3])
        if not self.keep:
            return made
        kept = torch.sigmoid(x[:, 3:]) * (known > 0)
        return made + kept * (image - made)


_FLAT = (0, 1, 3, 4, 6)  # of a capsule: its ends' x and y, its radius


class Generated(NamedTuple):
    """What a generator gives for B images of S × S pixels; colours are −1 to 1.

    image       (B, 3, S, S) foreground · mask + background · (1 − mask)
    foreground  (B, 3, S, S); mask (B, 1, S, S) 0 to 1
    background  (B, 3, S, S) filled in
    known       (B, 1, S, S) 1 where the inpainter was given the input's pixels (M_BG), else 0
    heatmaps    (B, 19, D, H, W) of the target joints, which the discriminator is given too
    taken       (B, 1, S, S) how much of the drawing is taken over; None where the generator takes no drawings
    """

    image: Tensor
    foreground: Tensor
    mask: Tensor
    background: Tensor
    known: Tensor
    heatmaps: Tensor
    taken: Tensor | None


class Generator(nn.Module):
    """Lifting encoder, part warp, pose encoder, projection decoder and background inpainter.

    The part warp and all geometry run in float32, whatever the rest is computed in.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.lifting = LiftingEncoder(config)
        self.pose = PoseEncoder(config)
        self.decoder = ProjectionDecoder(config)
        self.inpainter = BackgroundInpainter(config.background_widths, keep=config.keep_background)
        channels_last(self)

    def forward(self, image: Tensor, source: Tensor, target: Tensor, drawing: Tensor | None = None) -> Generated:
        """image           (B, 3, S, S) −1 to 1
        source, target  (B, 19, 3) joints of REPOSING19 in pixels of the volume's frame (see `volume_frame`); NaN
                        where not known
        drawing         (B, 5, S, S) of the person in the target pose (see `DRAWING_CHANNELS`), for `config.drawing`;
                        NaN in the rows that have none. None: no row has one

        UsageError for other shapes.
        """
        self._check(image, source, target, drawing)
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, enabled=False):
            source, target = source.float(), target.float()
            parts = warping_parts(source, target, planar=self.config.warping == "2d")
            known = self._background_mask(parts)
            heatmaps = self.pose.heatmaps(target)
        warped = self.warp(self.lifting(image), parts.in_voxels(self.config.voxel_size))
        posed = self.pose(heatmaps)
        colours, alpha, taken = self.decoder(torch.cat((warped.to(posed.dtype), posed), 1), drawing)
        foreground, mask = colours.float(), alpha.float()
        background = self.inpainter(image, known).float()
        whole = background + mask * (foreground - background)
        return Generated(whole, foreground, mask, background, known, heatmaps, taken)

    def warp(self, volume: Tensor, parts: WarpingParts) -> Tensor:
        """V' = maxᵢ Tᵢ(Mᵢ ⊙ V) of features (B, C, D, H, W), in float32; the parts' maps are of voxels."""
        config = self.config
        with torch.autocast(volume.device.type, enabled=False):
            return warp_parts(
                volume.float(),
                parts.capsules,
                parts.part_of_capsule,
                parts.target_to_source,
                softness=config.softness,
                widened=config.mask_margin,
                planar=config.warping == "2d",
                voxel_size=config.voxel_size,
            )

    def _background_mask(self, parts: WarpingParts) -> Tensor:
        """M_BG: 1 where no part's projected mask is, as much wider as the part masks are."""
        flat = parts.capsules[..., _FLAT].clone()
        flat[..., -1] += self.config.mask_margin * self.config.stride
        size = self.config.size
        masks = projected_masks(flat, parts.part_of_capsule, len(WARPING10.names), (size, size))
        return (masks.amax(1, keepdim=True) <= 0).float()

    def _check(self, image: Tensor, source: Tensor, target: Tensor, drawing: Tensor | None) -> None:
        size, batch = self.config.size, len(image)
        if image.shape != (batch, 3, size, size):
            raise UsageError("image", "does not fit", expected=f"(B, 3, {size}, {size})", got=str(tuple(image.shape)))
        for name, pose in (("source", source), ("target", target)):
            if pose.shape != (batch, len(REPOSING19), 3):
                raise UsageError(name, "does not fit", expected=f"({batch}, 19, 3)", got=str(tuple(pose.shape)))
        if drawing is None:
            return
        if not self.config.drawing:
            raise UsageError("network", "takes no drawing", remedy="train with --set generator.drawing=true")
        if drawing.shape != (batch, DRAWING_CHANNELS, size, size):
            expected = f"({batch}, {DRAWING_CHANNELS}, {size}, {size})"
            raise UsageError("drawing", "does not fit", expected=expected, got=str(tuple(drawing.shape)))
