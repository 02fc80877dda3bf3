"""Architectures of the networks, as plain values for weights files, and the presets.

The paper gives the structure (section 3.1); the numbers of `paper` are those in the authors' public code.
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
    """The architecture of a generator. Lists start at the finest resolution, in the order of the data flow.

    Attributes:
        size: The side of the square images in pixels.
        stride: Pixels per voxel in x and y: 2, 4 or 8.
        depth: Voxels along z, which also span `size` pixels.
        channels: Channels of the feature volume, C.
        pose_channels: Channels of the target pose.
        units: Residual units of E3D, E_pose and D3D.
        stem: Channels of E2D's first convolution.
        encoder_widths: Channels of E2D's stages.
        encoder_blocks: Bottlenecks of E2D's stages.
        decoder_widths: Channels of D2D's stages; the resolution doubles between two stages.
        decoder_blocks: Bottlenecks of D2D's stages.
        background_widths: Channels of the inpainter's encoder, each at half the resolution of the previous one.
        heatmap_sigma: Pixels. Standard deviation of the target joints' Gaussians.
        softness: Pixels. Width of the part masks' edges; 0 means the paper's hard masks, which voxels as large as a
            limb may miss.
        short_cuts: For trainings that are far shorter than the paper's. The input's colours are added to the first
            three channels of the feature volume, so that the warp moves them, too. The inpainter may keep the
            input's known pixels, by a mask that it predicts. The hole is the person's pixels instead of
            capsules, which miss hair, skirts and hems; capsules are used if these pixels are unknown.
        colour_stride: Pixels per voxel in x and y of a second volume that holds only the input's colours, as deep as
            the first: 1, 2, … up to `stride`. The part warp also moves it, and the decoder sees it from the front and
            adopts some of it. 0 means none, as in the paper.
        detail: Whether to add convolutions at the image's resolution, as in the shipped weights.
        authors_details: Follow the authors' code if the paper gives no details. GroupNorm has 32 groups, or 1 for
            fewer than 32 channels. In the 3-D networks it normalises each image row separately, over width and depth.
            There is none after E3D and between the convolutions of D2D's bottlenecks, and D2D's ReLU comes before
            the resolution doubles. The inpainter takes pixels from 0 to 1 with holes of 0 and a channel of Gaussian
            noise N(0, 1), which is random in training and otherwise the same for every image. Its decoder doubles
            resolutions bilinearly, and a LeakyReLU follows its last convolution. A training begins with
            the weights of `initialise`.
        warping: "2d" warps in the plane, the paper's ablation (section 4.3).
        pose: "2d" uses the target pose in the plane, the paper's ablation (section 4.3).
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
            raise _invalid(f"a size that {self.stride} (2, 4 or 8) and {scale} divide", f"{self.size}")
        if len(self.decoder_widths) != 1 + int(math.log2(self.stride)):
            raise _invalid(f"{1 + int(math.log2(self.stride))} decoder widths", str(len(self.decoder_widths)))
        if len(self.encoder_widths) != len(self.encoder_blocks) or len(self.decoder_widths) != len(self.decoder_blocks):
            raise _invalid("a number of blocks for each width", "other counts")
        counts = (self.depth, self.channels, self.pose_channels, self.stem, len(self.encoder_widths))
        widths = (*self.encoder_widths, *self.decoder_widths, *self.background_widths)
        if min(*counts, *widths, *self.encoder_blocks, *self.decoder_blocks) < 1 or len(self.units) != 3:
            raise _invalid("positive counts", "others")
        if any(width % 4 for width in (*self.encoder_widths, *self.decoder_widths)):
            raise _invalid("widths of bottlenecks that 4 divides", str((*self.encoder_widths, *self.decoder_widths)))
        if not self.heatmap_sigma > 0 or not self.softness >= 0:
            raise _invalid("a positive sigma, softness of 0 or more", "others")
        if self.short_cuts and self.channels < 4:
            raise _invalid("4 channels or more where three carry colours", str(self.channels))
        if self.colour_stride and (self.colour_stride < 0 or self.stride % self.colour_stride):
            raise _invalid(f"a stride of colours that divides {self.stride}", str(self.colour_stride))
        if self.warping not in ("2d", "3d") or self.pose not in ("2d", "3d"):
            raise _invalid("warping and pose 2d or 3d", f"{self.warping} and {self.pose}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Depth, height and width of the feature volume in voxels."""
        side = self.size // self.stride
        return self.depth, side, side

    @property
    def planar(self) -> bool:
        """Whether features move only within the image plane."""
        return self.warping == "2d"

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Pixels per voxel along x, y, z."""
        return float(self.stride), float(self.stride), self.size / self.depth


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The ResNet of the discriminator, with stride 4 before its stages; each stage halves the resolution at its end.

    Attributes:
        stem: Channels of the first convolution.
        widths: Channels of the stages.
        blocks: Bottlenecks of the stages.
    """

    stem: int = 64
    widths: tuple[int, ...] = (256, 512, 1024)
    blocks: tuple[int, ...] = (3, 4, 6)

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or min(self.stem, *self.widths, *self.blocks) < 1:
            raise _invalid("a number of blocks for each width of the discriminator", "others")


@dataclass(frozen=True)
class Preset:
    """A generator and the discriminator that it is trained against.

    Attributes:
        generator: The generator.
        discriminator: The discriminator.
    """

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


def _invalid(expected: str, got: str) -> UsageError:
    return UsageError("warp3d", "cannot be built like this", expected=expected, got=got)
