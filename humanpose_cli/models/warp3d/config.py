"""Shapes of the networks, as plain values that go into weights files, and the sizes that there are.

The paper gives the structure (section 3.1); the numbers of `paper` are those of the authors' public code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from humanpose_cli.core.errors import UsageError

Space = Literal["3d", "2d"]
FILL = 0.86
"""Share of the crop that the longer side of a person's boxes in both poses together takes."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The architecture of a generator. Lists are from the finest resolution on, as data flows.

    Attributes:
        size: Pixels of the square images.
        stride: Pixels of a voxel in x and y: 2, 4 or 8; depth: voxels along z, which span `size` pixels too.
        channels: Of the feature volume (C); pose_channels of the target pose's.
        units: Residual units of E3D, E_pose and D3D.
        stem: Channels of E2D's first convolution.
        encoder_widths, encoder_blocks: Channels of E2D's stages, and bottlenecks of each.
        decoder_widths, decoder_blocks: Of D2D; between two stages the resolution doubles.
        background_widths: Channels of the inpainter's encoder, each at half the resolution of the one before.
        heatmap_sigma: Pixels; of the target joints' Gaussians.
        softness: Pixels; width of the part masks' edges (0: the paper's hard masks). Voxels as large as a limb miss
            hard masks.
        short_cuts: For trainings that are far shorter than the paper's. The input's colours are added to the first
            three channels of the feature volume, so that the warp moves them too. The inpainter may take over the
            input's pixels where they are known, by a mask of its own. The pixels of the input that are the person's
            make its hole, instead of capsules, which miss hair, skirts and hems; capsules do where these pixels are
            not known.
        colour_stride: Pixels of a voxel in x and y of a second volume, of the input's colours alone, as deep as the
            first: 1, 2, … up to `stride`. The part warp moves it too, and the decoder sees it from the front and
            takes some of it over: a short cut past both networks. 0: none, as in the paper.
        detail: Further convolutions at the image's resolution, which the shipped weights have.
        authors_details: The authors' code where the paper says nothing. GroupNorm has 32 groups, also of fewer than
            four channels; in the 3-D networks it normalises each image row by itself, over its width and depth;
            behind E3D and between the convolutions of D2D's bottlenecks there is none, and D2D's ReLU stands before
            the resolution doubles. The inpainter takes pixels from 0 to 1 with holes of 0 and a channel of Gaussian
            noise N(0, 1), which is drawn anew in training, else the same for every image; its decoder doubles
            resolutions bilinearly, and a LeakyReLU stands behind its last convolution. A training begins with
            weights of `initialise`.
        warping, pose: "2d": the planar ones of the paper's ablation (section 4.3).
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
    softness: float = 0.0
    short_cuts: bool = False
    colour_stride: int = 0
    detail: bool = False
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
        if not self.heatmap_sigma > 0 or not self.softness >= 0:
            raise _unfit("a positive sigma, softness of 0 or more", "others")
        if self.short_cuts and self.channels < 4:
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
    """stem, widths, blocks of the ResNet: stride 4 before its stages, each halving the resolution at its end."""

    stem: int = 64
    widths: tuple[int, ...] = (256, 512, 1024)
    blocks: tuple[int, ...] = (3, 4, 6)

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or min(self.stem, *self.widths, *self.blocks) < 1:
            raise _unfit("a number of blocks for each width of the discriminator", "others")


@dataclass(frozen=True)
class Preset:
    """A generator and the discriminator that it is trained against."""

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig


PRESETS: dict[str, Preset] = {
    # For tests and ablations on a CPU.
    "tiny": Preset(
        GeneratorConfig(
            short_cuts=True,
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
        ),
        DiscriminatorConfig(16, (32, 64, 96), (1, 1, 1)),
    ),
    # For a few hours of training on two cores.
    "small": Preset(
        GeneratorConfig(
            short_cuts=True,
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
            detail=True,
        ),
        DiscriminatorConfig(24, (64, 96, 128), (1, 1, 1)),
    ),
    # For a GPU, and small enough in half precision to be shipped.
    "medium": Preset(
        GeneratorConfig(
            short_cuts=True,
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
        ),
        DiscriminatorConfig(32, (128, 256, 384), (2, 2, 2)),
    ),
    "paper": Preset(GeneratorConfig(authors_details=True), DiscriminatorConfig()),
}


def _unfit(need: str, got: str) -> UsageError:
    return UsageError("warp3d", "cannot be built like this", expected=need, got=got)
