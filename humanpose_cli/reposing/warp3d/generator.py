"""The generator: a person's picture, their pose and another one → the person in that pose (section 3.1, figure 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.bodies.parts import WARPING10
from humanpose_cli.bodies.warping_parts import WarpingParts, warping_parts
from humanpose_cli.conventions import REPOSING19
from humanpose_cli.engine.warping import projected_masks, warp_parts
from humanpose_cli.errors import UsageError
from humanpose_cli.reposing.warp3d.background import BackgroundInpainter
from humanpose_cli.reposing.warp3d.blocks import channels_last
from humanpose_cli.reposing.warp3d.config import GeneratorConfig
from humanpose_cli.reposing.warp3d.decoders import DRAWING_CHANNELS, ProjectionDecoder
from humanpose_cli.reposing.warp3d.encoders import LiftingEncoder, PoseEncoder

__all__ = ["Generated", "Generator"]

_FLAT = (0, 1, 3, 4, 6)  # of a capsule: its ends' x and y, its radius


class Generated(NamedTuple):
    """What a generator gives for B pictures of S × S pixels; colours are −1 to 1.

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
