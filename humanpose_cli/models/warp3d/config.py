"""Shapes of the networks, as plain values that go into weights files, and the sizes that there are.

The paper gives the structure (section 3.1); the numbers of `paper` are those of the authors' public code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from humanpose_cli.core.errors import UsageError

Space = Literal["3d", "2d"]
FILL = 0.86
"""Share of the crop that the longer side of a person's boxes in both poses together takes."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The architecture of a generator. Lists are from the finest resolution on, as data flows.

    size                 pixels of the square images
    stride               pixels of a voxel in x and y: 2, 4 or 8; depth: voxels along z, which span `size` pixels too
    channels             of the feature volume (C); pose_channels of the target pose's
    units                residual units of E3D, E_pose and D3D
    stem                 channels of E2D's first convolution
    encoder_widths, encoder_blocks   channels of E2D's stages, and bottlenecks of each
    decoder_widths, decoder_blocks   of D2D; between two stages the resolution doubles
    background_widths    channels of the inpainter's encoder, each at half the resolution of the one before
    heatmap_sigma        pixels; of the target joints' Gaussians
    dilation             of the 3×3 convolutions of E2D's stages after the first, whose resolution ResNet would halve
                         and E2D keeps
    softness             pixels; width of the part masks' edges (0: the paper's hard masks). Voxels as large as a limb
                         miss hard masks.
    mask_margin          voxels by which every part mask is wider on every side; the background's is by as many strides
    mask_ellipsoids      widens masks as the authors do: of a capsule of w voxels' radius along an axis, the half-width
                         there is w + `mask_margin`. Else masks are dilated by a box, which reaches further into its
                         corners
    head_shoulders       fits the head's motion to the shoulders too, as the authors do; see `warping_parts`
    fit_to_source        fits the parts' motions from target to source, as the authors do; see `warping_parts`
    keep_background      lets the inpainter take over the input's pixels where they are known, by a mask of its own; the
                         paper's makes all pixels anew
    carry_colours        adds the input's colours to the first three channels of the feature volume, so that the warp
                         moves them too: a short cut past E2D for trainings that are far shorter than the paper's
    colour_stride        pixels of a voxel in x and y of a second volume, of the input's colours alone, as deep as the
                         first: 1, 2, … up to `stride`. The part warp moves it too, and the decoder sees it from the
                         front and takes some of it over: a short cut past both networks. 0: none, as in the paper
    silhouette           lets the generator take the pixels of the input that are the person's: these make the
                         inpainter's hole, instead of capsules that miss hair, skirts and hems, and cut out the colours
                         of `colour_stride`, under masks as wide as the features'. Where it is not known, capsules do
    drawing              gives the decoder a drawing of the person in the target pose as an optional input, such as the
                         mesh's (see `avatar.mesh.mesh_drawing`), whose colours and outline it may take over
    depth_norm           the features in front of D2D are normalised over all slices together; the paper's GroupNorm of
                         the slices one behind the other normalises each by itself, which makes empty slices loud
    tied_slices          all slices of the feature volume hold the same features, so that the planar warp has no more of
                         them than the other: E2D makes C channels and the paper's D · C, and D2D begins with
                         the same weights for every slice
    fixed_groups         GroupNorm has 32 groups, as in the authors' code, also of fewer than four channels
    norm_volume          normalises what E3D makes before the part warp, whose maximum compares it with 0; the authors'
                         code does not
    row_norms            GroupNorm of the 3-D networks normalises each image row by itself, over its width and depth, as
                         in the authors' code
    decoder_norms        normalises between the convolutions of D2D's bottlenecks; the authors' code does before them
                         alone
    noise                a channel of Gaussian noise N(0, 1) beside the image for the inpainter, as in the authors'
                         code; drawn anew in training, else the same for every image
    inpainter_bilinear   the inpainter's decoder doubles resolutions bilinearly, as in the authors' code, and not by
                         nearest neighbours
    inpainter_unit_range gives the inpainter pixels from 0 to 1, as in the authors' code, and not from −1; its holes are
                         0
    authors_details      more of the authors' code: D2D's ReLU stands before the resolution doubles, a LeakyReLU
                         behind the inpainter's last convolution; a training begins with weights of `initialise`
    warping, pose        "2d": the planar ones of the paper's ablation (section 4.3)
    """

    size: int = 256
    stride: int = 4
    depth: int = 32
    channels: int = 64
    pose_channels: int = 32
    units: tuple[int, int, int] = (3, 3, 3)
    stem: int = 64
    encoder_widths: tuple[int, ...] = (256, 512)
    encoder_blocks: tuple[int, ...] = (3, 4)
    decoder_widths: tuple[int, ...] = (1024, 512, 256)
    decoder_blocks: tuple[int, ...] = (2, 3, 1)
    background_widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    heatmap_sigma: float = 6.0
    dilation: int = 2
    softness: float = 0.0
    mask_margin: int = 1
    mask_ellipsoids: bool = False
    head_shoulders: bool = False
    fit_to_source: bool = False
    keep_background: bool = False
    carry_colours: bool = False
    colour_stride: int = 0
    silhouette: bool = False
    drawing: bool = False
    depth_norm: bool = False
    tied_slices: bool = False
    fixed_groups: bool = False
    norm_volume: bool = True
    row_norms: bool = False
    decoder_norms: bool = True
    noise: bool = False
    inpainter_bilinear: bool = False
    inpainter_unit_range: bool = False
    authors_details: bool = False
    warping: Space = "3d"
    pose: Space = "3d"

    def __post_init__(self) -> None:
        scale = 1 << len(self.background_widths)
        if self.stride not in (2, 4, 8) or self.size % self.stride or self.size % scale:
            raise _unfit(f"a size that {self.stride} (2, 4 or 8) and {scale} divide", f"{self.size}")
        if len(self.decoder_widths) != 1 + int(math.log2(self.stride)):
            raise _unfit(f"{1 + int(math.log2(self.stride))} decoder widths", str(len(self.decoder_widths)))
        if len(self.encoder_widths) != len(self.encoder_blocks) or len(self.decoder_widths) != len(self.decoder_blocks):
            raise _unfit("a number of blocks for each width", "other counts")
        counts = (self.depth, self.channels, self.pose_channels, self.stem, len(self.encoder_widths))
        widths = (*self.encoder_widths, *self.decoder_widths, *self.background_widths)
        if min(*counts, *widths, *self.encoder_blocks, *self.decoder_blocks) < 1 or len(self.units) != 3:
            raise _unfit("positive counts", "others")
        if any(width % 4 for width in (*self.encoder_widths, *self.decoder_widths)):
            raise _unfit("widths of bottlenecks that 4 divides", str((*self.encoder_widths, *self.decoder_widths)))
        if not self.heatmap_sigma > 0 or not self.softness >= 0 or self.mask_margin < 0 or self.dilation < 1:
            raise _unfit("a positive sigma and dilation, softness and margin of 0 or more", "others")
        if self.carry_colours and self.channels < 4:
            raise _unfit("4 channels or more where three carry colours", str(self.channels))
        if self.colour_stride and (self.colour_stride < 0 or self.stride % self.colour_stride):
            raise _unfit(f"a stride of colours that divides {self.stride}", str(self.colour_stride))
        if self.warping not in ("2d", "3d") or self.pose not in ("2d", "3d"):
            raise _unfit("warping and pose 2d or 3d", f"{self.warping} and {self.pose}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """(D, H, W) voxels of the feature volume."""
        side = self.size // self.stride
        return self.depth, side, side

    @property
    def planar(self) -> bool:
        """Whether features move within the image alone."""
        return self.warping == "2d"

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Pixels of a voxel along x, y, z."""
        return float(self.stride), float(self.stride), self.size / self.depth


@dataclass(frozen=True)
class DiscriminatorConfig:
    """stem, widths, blocks of the ResNet: stride 4 before its stages, each halving the resolution at its end.

    subsampled  the short cut of a stage's last block is every second pixel of its input, as in the authors' code, and
                not a convolution
    """

    stem: int = 64
    widths: tuple[int, ...] = (256, 512, 1024)
    blocks: tuple[int, ...] = (3, 4, 6)
    subsampled: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or min(self.stem, *self.widths, *self.blocks) < 1:
            raise _unfit("a number of blocks for each width of the discriminator", "others")


@dataclass(frozen=True)
class Preset:
    """A generator and the discriminator that it is trained against."""

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig


# What the sizes below the paper's have beyond it.
_beyond_paper = partial(GeneratorConfig, keep_background=True, carry_colours=True, silhouette=True, drawing=True)

PRESETS: dict[str, Preset] = {
    # For tests and ablations on a CPU.
    "tiny": Preset(
        _beyond_paper(
            size=64,
            stride=2,
            depth=16,
            channels=16,
            pose_channels=8,
            units=(1, 1, 1),
            stem=16,
            encoder_widths=(32, 64),
            encoder_blocks=(1, 1),
            decoder_widths=(128, 64),
            decoder_blocks=(2, 1),
            background_widths=(16, 32, 48, 64, 64),
            heatmap_sigma=3.0,
            softness=3.0,
            mask_ellipsoids=True,
            head_shoulders=True,
            fit_to_source=True,
        ),
        DiscriminatorConfig(16, (32, 64, 96), (1, 1, 1)),
    ),
    # For a few hours of training on two cores.
    "small": Preset(
        _beyond_paper(
            size=128,
            stride=4,
            depth=16,
            channels=32,
            pose_channels=16,
            units=(1, 1, 2),
            stem=32,
            encoder_widths=(96, 160),
            encoder_blocks=(2, 2),
            decoder_widths=(256, 128, 64),
            decoder_blocks=(2, 2, 1),
            background_widths=(16, 32, 64, 96, 96, 96),
            heatmap_sigma=4.0,
            softness=2.0,
            colour_stride=1,
        ),
        DiscriminatorConfig(24, (64, 96, 128), (1, 1, 1)),
    ),
    # For a GPU, and small enough in half precision to be shipped.
    "medium": Preset(
        _beyond_paper(
            channels=24,
            pose_channels=16,
            units=(2, 2, 3),
            stem=32,
            encoder_widths=(96, 160),
            encoder_blocks=(2, 3),
            decoder_widths=(384, 192, 96),
            decoder_blocks=(2, 3, 1),
            background_widths=(24, 48, 80, 96, 96, 96, 96),
            colour_stride=2,
            mask_ellipsoids=True,
            head_shoulders=True,
            fit_to_source=True,
        ),
        DiscriminatorConfig(32, (128, 256, 384), (2, 2, 2)),
    ),
    "paper": Preset(
        GeneratorConfig(
            mask_ellipsoids=True,
            head_shoulders=True,
            fit_to_source=True,
            fixed_groups=True,
            norm_volume=False,
            row_norms=True,
            decoder_norms=False,
            noise=True,
            inpainter_bilinear=True,
            inpainter_unit_range=True,
            authors_details=True,
        ),
        DiscriminatorConfig(subsampled=True),
    ),
}


def _unfit(need: str, got: str) -> UsageError:
    return UsageError("warp3d", "cannot be built like this", expected=need, got=got)
