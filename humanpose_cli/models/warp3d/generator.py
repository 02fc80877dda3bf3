"""The reposing network: a person's image, their pose and another pose → the person in that pose.

Knoche, Sárándi, Leibe 2020: Reposing Humans by Warping 3D Features, section 3.1 and figure 2. In this order: the frame
of the feature volume, the background inpainter (a U-Net of partial convolutions), the generator, and `Warp3d`, a
trained generator that reposes crops.

The frame maps joints (metres in camera axes) to pixels of a crop of S pixels, with a depth in pixels. The paper has
S = 256 and voxels of 4 × 4 × 8 pixels.

    x_px = f x / z + c_x,  y_px = f y / z + c_y,  z_px = S / 2 + (z − z_root) f / z_root

The root is the person's pelvis. Depth is measured in pixels at the person's distance, and the person is in the
middle of the volume, in the input and in the target. The volume's first corner is the origin; it spans S pixels
along each axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu, max_pool2d

from humanpose_cli.body.parts import WARPING10
from humanpose_cli.body.warping_parts import WarpingParts, warping_parts
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.device import Precision
from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.warping.op import projected_masks, warp_parts
from humanpose_cli.models.warp3d.config import GeneratorConfig
from humanpose_cli.models.warp3d.layers import (
    LiftingEncoder,
    PoseEncoder,
    ProjectionDecoder,
    channels_last,
    group_norm,
)
from humanpose_cli.networks.decoders import PartialConv2d
from humanpose_cli.networks.precision import precision_context, resolve_precision
from humanpose_cli.networks.weights import WeightsHeader, fill, options_of, read_weights

NEAREST = 0.05
"""Metres. Joints nearer to the camera are not projected."""

_HIPS = REPOSING19.indices(("left_hip", "right_hip"))
_PELVIS = REPOSING19.index("pelvis")


def frame_joints(joints: ArrayLike, camera: Camera) -> NDArray[np.float32]:
    """Project joints to pixels x, y, z of the volume's frame.

    Joints that are not finite or behind the camera become NaN. The middle of the hips replaces an unknown pelvis; if
    it is unknown, too, the complete pose is NaN.

    Args:
        joints: (19, 3) or (T, 19, 3) float, metres in camera axes. Joints of REPOSING19.
        camera: The camera of the square crop.

    Returns:
        (19, 3) or (T, 19, 3) float32, pixels.
    """
    points = np.asarray(joints, np.float64)
    finite = np.isfinite(points).all(-1) & (points[..., 2] > NEAREST)
    points = np.where(finite[..., None], points, np.nan)
    root = points[..., _PELVIS, 2]
    root = np.where(np.isfinite(root), root, points[..., _HIPS, 2].mean(-1))[..., None]
    pixels = camera.project(points, near=NEAREST)
    depth = camera.size[0] / 2 + (points[..., 2] - root) * camera.focal / root
    frame = np.concatenate((pixels, depth[..., None]), -1)
    return np.where(np.isfinite(root)[..., None], frame, np.nan).astype(np.float32)


_MIN_SILHOUETTE = 0.3  # cover by the silhouette that makes a pixel part of the hole, as of the mesh method
_MASK_MARGIN = 1  # voxels by which every part mask is wider on every side; the background's by as many strides
_SOFT_EDGE = 1  # pixels beside those in which a silhouette's colours still mix with the background's
_KERNELS = (7, 5, 5)  # of the encoder's first steps; 3 behind them
_SLOPE = 0.2
_KEEP_BIAS = 3.0  # initial bias of the share of known pixels that stays: sigmoid(3) = 95 %


class BackgroundInpainter(nn.Module):
    """Image with a hole → complete image, after Liu et al. (2018) with the authors' sizes.

    The encoder's steps have stride 2 and `config.background_widths` channels; the decoder mirrors them. With
    `config.short_cuts` a fourth output is the share of the input's known pixels that stays. It
    begins near 1 and may learn to remove remains of a person beside the part masks: hair, hems, shadows.

    The first step of the encoder and the last step of the decoder have no normalisation.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths, keep = config.background_widths, config.short_cuts
        norm = partial(group_norm, fixed_groups=config.authors_details)
        kernels = (*_KERNELS, *(3,) * len(widths))[: len(widths)]
        inputs = (3 + config.authors_details, *widths[:-1])
        self.encoder = nn.ModuleList(
            PartialConv2d((a,), b, k, stride=2, padding=k // 2) for a, b, k in zip(inputs, widths, kernels, strict=True)
        )
        self.encoder_norms = nn.ModuleList(
            nn.Identity() if step == 0 else norm(width) for step, width in enumerate(widths)
        )
        coarse_first = list(reversed(inputs))
        below = [widths[-1], *coarse_first[:-1]]
        outputs = [*coarse_first[:-1], 4 if keep else 3]
        self.decoder = nn.ModuleList(
            PartialConv2d((a, b), c, 3, padding=1) for a, b, c in zip(below, coarse_first, outputs, strict=True)
        )
        if keep:
            nn.init.constant_(self.decoder[-1].get_parameter("bias")[3:], _KEEP_BIAS)
        self.decoder_norms = nn.ModuleList(
            nn.Identity() if step == len(widths) - 1 else norm(width) for step, width in enumerate(coarse_first)
        )

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Fill the holes of images; an image without known pixels becomes grey.

        Args:
            image: (B, 3, S, S) float, −1 to 1. The images. With `config.authors_details` a fourth channel holds noise.
            valid: (B, 1, S, S) float, 0 or 1. The known pixels.

        Returns:
            (B, 3, S, S) float, −1 to 1. The complete images.
        """
        authors = self.config.authors_details
        x, mask = image / 2 + 0.5 if authors else image, valid
        skips = []
        for conv, norm in zip(self.encoder, self.encoder_norms, strict=True):
            skips.append((x, mask))
            x, mask = conv(x, mask)
            x = torch.relu(norm(x))
        for step, (conv, norm) in enumerate(zip(self.decoder, self.decoder_norms, strict=True)):
            skip, skip_mask = skips.pop()
            if authors:  # premultiplied by their masks, so that unknown pixels have no share in interpolated ones
                resize = partial(interpolate, size=skip.shape[-2:], mode="bilinear", align_corners=False)
                x = x * mask
            else:
                resize = partial(interpolate, size=skip.shape[-2:], mode="nearest")
            x, mask = conv(torch.cat((resize(x), skip), 1), torch.cat((resize(mask), skip_mask), 1))
            if step < len(self.decoder) - 1 or authors:
                x = leaky_relu(norm(x), _SLOPE)
        colours = torch.tanh(x[:, :3])
        if not self.config.short_cuts:
            return colours
        share = torch.sigmoid(x[:, 3:]) * (valid > 0)
        return colours + share * (image[:, :3] - colours)


class Generated(NamedTuple):
    """A generator's results for B images of S × S pixels. Colours are −1 to 1.

    Attributes:
        image: (B, 3, S, S) float. foreground · mask + background · (1 − mask).
        foreground: (B, 3, S, S) float. The person.
        mask: (B, 1, S, S) float, 0 to 1. The person's mask.
        background: (B, 3, S, S) float. The inpainted background.
        background_mask: (B, 1, S, S) float. M_BG: 1 for the pixels that the inpainter was given, otherwise 0.
        heatmaps: (B, 19, D, H, W) float. The target joints, which the discriminator takes, too.
    """

    image: Tensor
    foreground: Tensor
    mask: Tensor
    background: Tensor
    background_mask: Tensor
    heatmaps: Tensor


def generator_parts(config: GeneratorConfig, source: Tensor, target: Tensor) -> WarpingParts:
    """Compute the parts between two poses for `Generator`: capsules in pixels, motions in voxels."""
    return warping_parts(source, target, planar=config.planar).in_voxels(config.voxel_size)


class Generator(nn.Module):
    """Lifting encoder, part warp, pose encoder, projection decoder and background inpainter.

    The part warp and all geometry run in float32 at any precision of the rest.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.lifting = LiftingEncoder(config)
        self.pose = PoseEncoder(config)
        self.decoder = ProjectionDecoder(config)
        self.inpainter = BackgroundInpainter(config)
        channels_last(self)

    def forward(
        self,
        image: Tensor,
        source: Tensor,
        target: Tensor,
        parts: WarpingParts | None = None,
        silhouette: Tensor | None = None,
    ) -> Generated:
        """Generate images of people in other poses.

        Args:
            image: (B, 3, S, S) float, −1 to 1. The images.
            source: (B, 19, 3) float, pixels of the volume's frame (see `frame_joints`). Joints of REPOSING19 in the
                images, NaN if unknown.
            target: (B, 19, 3) float, pixels of the volume's frame. Joints of the other poses, NaN if unknown.
            parts: `generator_parts` of the two poses, if they were computed before, as in a loader's workers: they take
                hundreds of small operations, which a GPU would run one by one.
            silhouette: (B, 1, S, S) float, 0 to 1. The people's pixels, for `config.short_cuts`. The parts'
                masks replace rows that are unknown (NaN) or empty. None means that all rows are unknown.
        """
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, enabled=False):
            target = target.float()
            parts = generator_parts(self.config, source.float(), target) if parts is None else parts
            background_mask = self._background_mask(parts, silhouette)
            heatmaps = self.pose.heatmaps(target)
        features = self.warp(self.lifting(image), parts)
        pose_features = self.pose(heatmaps)
        colour_volume = self.warp_colours(image, parts, silhouette) if self.config.colour_stride else None
        colours, alpha = self.decoder(torch.cat((features.to(pose_features.dtype), pose_features), 1), colour_volume)
        foreground, mask = colours.float(), alpha.float()
        noisy = torch.cat((image, self._noise(image)), 1) if self.config.authors_details else image
        background = self.inpainter(noisy, background_mask).float()
        result = background + mask * (foreground - background)
        return Generated(result, foreground, mask, background, background_mask, heatmaps)

    def _noise(self, image: Tensor) -> Tensor:
        """Draw N(0, 1) (B, 1, S, S), random in training and otherwise the same for every image."""
        if self.training:
            return torch.randn_like(image[:, :1])
        constant = torch.randn(1, 1, *image.shape[2:], generator=torch.Generator().manual_seed(0))
        return constant.to(image).expand(len(image), -1, -1, -1)

    def warp(self, volume: Tensor, parts: WarpingParts) -> Tensor:
        """Warp features by V' = maxᵢ Tᵢ(Mᵢ ⊙ V), in float32.

        Args:
            volume: (B, C, D, H, W) float. The features.
            parts: The parts, with maps of voxels.

        Returns:
            (B, C, D, H, W) float32. The warped features.
        """
        config = self.config
        # As in the authors' code: where a capsule of w voxels' radius reaches along an axis, its mask reaches w + 1.
        # A voxel is not a cube, so that a mask has three half-widths.
        capsules = parts.capsules
        capsules = torch.cat((capsules[..., :6], capsules[..., 6:] + _MASK_MARGIN * self.pose.voxel), -1)
        with torch.autocast(volume.device.type, enabled=False):
            return warp_parts(
                volume.float(),
                capsules,
                parts.part_of_capsule,
                parts.target_to_source,
                softness=config.softness,
                planar=config.planar,
                voxel_size=config.voxel_size,
            )

    def warp_colours(self, image: Tensor, parts: WarpingParts, silhouette: Tensor | None = None) -> Tensor:
        """Warp the colours of images at `config.colour_stride`.

        It is the equation of `warp` with colours from 0 to 1, and with 1, instead of features, and masks that are not
        widened. With a silhouette, both are multiplied by it, and the masks are as wide as the features' masks.

        Args:
            image: (B, 3, S, S) float, −1 to 1. The images.
            parts: The parts.
            silhouette: (B, 1, S, S) float, 0 to 1. The people's pixels.

        Returns:
            (B, 4, D, H, W) float32. Premultiplied colours and their coverage.
        """
        config, stride = self.config, self.config.colour_stride
        with torch.autocast(image.device.type, enabled=False):
            colours = torch.cat((image.float() / 2 + 0.5, torch.ones_like(image[:, :1], dtype=torch.float32)), 1)
            capsules = parts.capsules
            if silhouette is not None:
                has_silhouette = _has_person(silhouette)
                colours = torch.where(has_silhouette, colours * silhouette.float(), colours)
                margin = _MASK_MARGIN * config.stride * has_silhouette[:, 0, 0]
                capsules = torch.cat((capsules[..., :6], capsules[..., 6:] + margin[..., None]), -1)
            colours = avg_pool2d(colours, stride)[:, :, None]
            scale = stride / config.stride
            return warp_parts(
                colours.expand(-1, -1, config.depth, -1, -1),
                capsules,
                parts.part_of_capsule,
                parts.in_voxels((scale, scale, 1.0)).target_to_source,
                softness=config.softness,
                planar=config.planar,
                voxel_size=(stride, stride, config.size / config.depth),
            )

    def _background_mask(self, parts: WarpingParts, silhouette: Tensor | None = None) -> Tensor:
        """Compute M_BG: 1 outside the parts' widened projected masks, or outside the silhouette if a row has one."""
        capsules, margin = parts.capsules, _MASK_MARGIN * self.config.stride
        flat = torch.cat((capsules[..., :2], capsules[..., 3:5], capsules[..., 6:] + margin), -1)
        size = self.config.size
        masks = projected_masks(flat, parts.part_of_capsule, len(WARPING10.names), (size, size))
        background = (masks.amax(1, keepdim=True) <= 0).float()
        if silhouette is None:
            return background
        person = max_pool2d((silhouette > _MIN_SILHOUETTE).float(), 2 * _SOFT_EDGE + 1, 1, _SOFT_EDGE)
        return torch.where(_has_person(silhouette), 1 - person, background)


def _has_person(silhouette: Tensor) -> Tensor:
    """Find the rows of a silhouette that are known and show a person: (B, 1, 1, 1) bool."""
    pixels = silhouette.flatten(1)
    return (pixels.isfinite().all(1) & (pixels > _MIN_SILHOUETTE).any(1))[:, None, None, None]


MODEL = "warp3d"
# Known joints that a pose needs: with fewer, most of the parts have no capsule.
_MIN_JOINTS = 8


@dataclass(frozen=True)
class CropToRepose:
    """A crop of a person, and their target pose.

    Attributes:
        image: (S, S, 3) uint8. The crop.
        source: (19, 3) float, pixels of the volume's frame (see `frame_joints`). The pose in the crop.
        target: (19, 3) float, pixels of the volume's frame. The target pose.
        silhouette: (S, S) float, 0 to 1. The person's pixels; ignored by networks without `config.short_cuts`.
    """

    image: NDArray[np.uint8]
    source: ArrayLike
    target: ArrayLike
    silhouette: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ReposedCrop:
    """A reposed crop.

    Attributes:
        image: (S, S, 3) uint8 RGB. The result.
        foreground: (S, S, 3) uint8 RGB. The person, for pasting into another image.
        mask: (S, S) float, 0 to 1. The person's mask.
        background: (S, S, 3) uint8 RGB. The inpainted background.
    """

    image: NDArray[np.uint8]
    foreground: NDArray[np.uint8]
    mask: NDArray[np.float32]
    background: NDArray[np.uint8]


class Warp3d:
    """A trained generator on one device, in evaluation mode."""

    def __init__(
        self,
        generator: Generator,
        header: WeightsHeader,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.generator = generator.eval().requires_grad_(False).to(device)
        self.header, self.device = header, torch.device(device)
        self.precision = resolve_precision(precision, device)

    @property
    def config(self) -> GeneratorConfig:
        """The architecture of the generator; `config.size` is the side of the crops."""
        return self.generator.config

    def repose(
        self,
        image: NDArray[np.uint8],
        source: ArrayLike,
        target: ArrayLike,
        silhouette: NDArray[np.float32] | None = None,
    ) -> ReposedCrop:
        """Repose one crop; see `repose_all` and `CropToRepose`.

        Args:
            image: (S, S, 3) uint8. The crop.
            source: (19, 3) float, pixels of the volume's frame. The pose in the crop.
            target: (19, 3) float, pixels of the volume's frame. The target pose.
            silhouette: (S, S) float, 0 to 1. The person's pixels.
        """
        return self.repose_all([CropToRepose(image, source, target, silhouette)])[0]

    @torch.inference_mode()
    def repose_all(self, crops: Sequence[CropToRepose]) -> list[ReposedCrop]:
        """Repose crops of people in one batch.

        Args:
            crops: The crops.

        Raises:
            UsageError: If a pose cannot be drawn (too few known joints, all in one point, or fully outside the image).
        """
        if not crops:
            return []
        size, device = self.config.size, self.device
        sources, targets = (
            torch.from_numpy(np.stack([_pose_array(name, getattr(crop, pose), size) for crop in crops]))
            for name, pose in (("input pose", "source"), ("target pose", "target"))
        )
        parts = generator_parts(self.config, sources, targets).to(device)
        images = to_network(torch.from_numpy(np.stack([crop.image for crop in crops])).to(device))
        silhouette = None
        if self.config.short_cuts:
            unknown = np.full((size, size), np.nan, np.float32)
            silhouettes = [unknown if crop.silhouette is None else crop.silhouette for crop in crops]
            silhouette = torch.from_numpy(np.stack(silhouettes)[:, None].astype(np.float32)).clamp(0, 1).to(device)
        with precision_context(self.precision, device):
            output = self.generator(images, sources.to(device), targets.to(device), parts, silhouette)
        colours = [to_bytes(image).cpu().numpy() for image in (output.image, output.foreground, output.background)]
        masks = output.mask[:, 0].float().cpu().numpy()
        return [ReposedCrop(*arrays) for arrays in zip(*colours[:2], masks, colours[2], strict=True)]


def to_network(images: Tensor) -> Tensor:
    """Convert (B, S, S, 3) uint8 to (B, 3, S, S) float32, −1 to 1, channels-last without copying."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Invert `to_network`, with rounding."""
    return (127.5 * (images.float() + 1)).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def load_warp3d(path: Path, device: torch.device | str = "cpu", precision: Precision = "auto") -> Warp3d:
    """Load the generator from a weights file.

    Args:
        path: The weights file.
        device: The device to run on.
        precision: The precision to compute in.

    Raises:
        InputError: If the file is damaged or contains another model.
    """
    tensors, header = read_generator(path)
    generator = Generator(options_of(GeneratorConfig, header.config, path))
    fill(generator, tensors, path)
    return Warp3d(generator, header, device, precision)


def read_generator(path: Path) -> tuple[Mapping[str, Tensor], WeightsHeader]:
    """Read tensors and header of a generator's weights file, converting files that version 1.0.0 wrote.

    Args:
        path: The weights file.

    Raises:
        InputError: If the file is damaged or contains another model.
    """
    # In version 1.0.0, `keep_background` implied all short cuts, and the decoder could take a rendering of the person
    # by the mesh. There is none any more: its convolutions lose these inputs and the rendering's share.
    tensors, header = read_weights(path, MODEL)
    config = dict(header.config)
    if "keep_background" in config:
        config |= {"short_cuts": config["keep_background"], "detail": config.get("drawing", False)}
    first, last = "decoder.detail.0.weight", "decoder.last."
    if config.get("drawing") and first in tensors:
        tensors[first] = tensors[first][:, : len(tensors[first])]
        tensors |= {name: value[:4] for name, value in tensors.items() if name.startswith(last)}
    return tensors, replace(header, config=config)


def _pose_array(name: str, pose: ArrayLike, size: int) -> NDArray[np.float32]:
    joints = np.asarray(pose, np.float32)
    finite = joints[np.isfinite(joints).all(-1)]
    if len(finite) < _MIN_JOINTS:
        raise UsageError(name, "has too few known joints", expected=f"{_MIN_JOINTS} of 19", got=str(len(finite)))
    if np.ptp(finite, axis=0).max() < 0.02 * size:
        raise UsageError(name, "has all joints in one point", remedy="positions in metres are expected, in camera axes")
    if not ((finite[:, :2] >= 0) & (finite[:, :2] <= size)).all(-1).any():
        got = f"x, y from {finite[:, :2].min(0).round()} to {finite[:, :2].max(0).round()}"
        raise UsageError(name, "lies outside the crop", expected=f"joints within 0 to {size} pixels", got=got)
    return joints
