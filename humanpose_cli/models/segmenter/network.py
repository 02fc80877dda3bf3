"""Segmenters, image → body parts: the first stage of Neural Body Fitting (section 4.2 and Table 2).

`NETWORKS` lists the paper's networks and smaller ones. `LightSegmenter` learns from scratch on a CPU: a slim
ResNet and a decoder with batch normalisation. It learns as much per step as a RefineNet of about its size in half
the time. Maps of the detector's pose network, which was trained on photographs, help it most (docs/research/nbf.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle

from humanpose_cli.body.parts import PART_MAPS, PartMap
from humanpose_cli.core.conventions import GARMENTS
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.detect.models import LANDMARK_SIZE
from humanpose_cli.detect.runtime import POSE_CHANNELS, pose_maps
from humanpose_cli.models.crops import BOX_FILL, CropEvidence, normalised_image, pixels_of_normalised
from humanpose_cli.models.segmenter.inputs import GUIDE_CHANNELS, paint_guide
from humanpose_cli.networks.backbones import ResNet, conv_norm_relu
from humanpose_cli.networks.convolutions import PointwiseConv2d
from humanpose_cli.networks.decoders import DeepLabSegmenter, RefineNetSegmenter
from humanpose_cli.networks.weights import fill, find_weights, options_of, read_tensors, read_weights


class PoseMaps(nn.Module):
    """Maps of the detector's pose network, which was trained on photographs of people and stays fixed.

    Args:
        widths: Channels that the maps are projected to, at 1/32, 1/16, 1/8 and 1/4 of the image's side.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels), PointwiseConv2d(channels, width, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
            for channels, width in zip(POSE_CHANNELS.values(), widths, strict=True)
        )

    def forward(self, image: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Concatenate the pose network's maps to a network's own maps.

        Args:
            image: (B, ≥ 3, H, W) float. Images, normalised as for ImageNet.
            maps: The network's maps, coarsest first, at all resolutions but the coarsest.

        Returns:
            The maps at all resolutions, coarsest first.
        """
        with torch.no_grad():
            features = pose_features(image[:, :3])
        coarsest, *finer = (project(feature) for project, feature in zip(self.projections, features, strict=True))
        sizes = [stage.shape[-2:] for stage in maps]
        fitted = (
            interpolate(m, size=size, mode="bilinear", align_corners=False)
            for m, size in zip(finer, sizes, strict=True)
        )
        return [coarsest, *(torch.cat(pair, 1) for pair in zip(maps, fitted, strict=True))]


def pose_features(images: Tensor) -> list[Tensor]:
    """Compute the pose network's maps of images (B, 3, H, W), normalised as for ImageNet, coarsest first."""
    size = (LANDMARK_SIZE, LANDMARK_SIZE)
    if images.shape[-2:] != size:
        images = interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
    return pose_maps(pixels_of_normalised(images.float()))


class MapSegmenter(nn.Module):
    """Image → class scores at a quarter of its resolution, from the pose network's maps, which stay fixed, and pixels.

    Each map is projected, concatenated with the coarser result, and convolved.

    Args:
        classes: The number of classes.
        widths: Channels from the coarsest map up.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (48, 64, 48, 32)) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels, affine=False),
                PointwiseConv2d(channels, width, bias=False),
                nn.BatchNorm2d(width),
            )
            for channels, width in zip(POSE_CHANNELS.values(), widths, strict=True)
        )
        inputs = [width + coarser for width, coarser in zip(widths, (0, *widths[:-1]), strict=True)]
        inputs[-1] += _PIXEL_CHANNELS
        self.blocks = nn.ModuleList(conv_norm_relu(*sizes) for sizes in zip(inputs, widths, strict=True))
        self.last = conv_norm_relu(widths[-1], widths[-1])
        self.head = nn.Conv2d(widths[-1], classes, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, image: Tensor) -> Tensor:
        """Score the classes of images (B, 3, H, W), normalised as for ImageNet: (B, classes, H, W)."""
        scores = self.scores(*map_inputs(image))
        return interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=False)

    def scores(self, pixels: Tensor, *maps: Tensor) -> Tensor:
        """Score the classes of `map_inputs`: (B, classes, 64, 64)."""
        coarsest, *finer = (torch.relu(p(feature)) for p, feature in zip(self.projections, maps, strict=True))
        features = self.blocks[0](coarsest)
        for block, finer_map in zip(list(self.blocks)[1:], finer, strict=True):
            upsampled = interpolate(features, size=finer_map.shape[-2:], mode="bilinear", align_corners=False)
            parts = (finer_map, upsampled) if block is not self.blocks[-1] else (finer_map, upsampled, pixels)
            features = block(torch.cat(parts, 1))
        return self.head(self.dropout(self.last(features)))


_PIXEL_CHANNELS = 12  # two by two pixels of three channels
MAP_INPUTS = (
    (_PIXEL_CHANNELS, LANDMARK_SIZE // 4, LANDMARK_SIZE // 4),
    *((channels, side, side) for side, channels in POSE_CHANNELS.items()),
)
"""Shapes of `map_inputs` of an image."""


def map_inputs(images: Tensor) -> list[Tensor]:
    """Compute the inputs of a `MapSegmenter`.

    Args:
        images: (B, 3, H, W) float. Images, normalised as for ImageNet.

    Returns:
        (B, 12, 64, 64) pixels at half the resolution of the pose network's image, and its maps, coarsest first.
    """
    half = (LANDMARK_SIZE // 2, LANDMARK_SIZE // 2)
    pixels = interpolate(images.float(), half, mode="bilinear", antialias=True, align_corners=False)
    with torch.no_grad():
        return [pixel_unshuffle(pixels, 2), *pose_features(images)]


class LightSegmenter(nn.Module):
    """Image → class scores, with a ResNet and a decoder.

    The maps of the four stages are concatenated with the coarser result and convolved twice. The result is
    concatenated with the first convolution's map at half the image's resolution, because forearms are a few pixels
    wide.

    Args:
        classes: The number of classes.
        layers: Layers of the ResNet.
        width: Channels of the ResNet's first stage.
        widths: Channels of the decoder from the coarsest stage up.
        inputs: Channels of the image.
        pose: Whether the pose network's maps are added to the ResNet's first three stages and replace the fourth.
    """

    def __init__(
        self,
        classes: int,
        *,
        layers: int = 18,
        width: int = 24,
        widths: Sequence[int] = (96, 64, 48, 48),
        inputs: int = 3,
        pose: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = ResNet(layers, inputs=inputs, width=width, depth=3 if pose else 4)
        self.pose = PoseMaps(widths) if pose else None
        coarse_first = list(reversed(self.backbone.channels))
        if pose:
            coarse_first = [sum(channels) for channels in zip([0, *coarse_first], widths, strict=True)]
        coarser_widths = [0, *widths[:-1]]
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_norm_relu(channels + coarser, out), conv_norm_relu(out, out))
            for channels, coarser, out in zip(coarse_first, coarser_widths, widths, strict=True)
        )
        self.fine = conv_norm_relu(width + widths[-1], widths[-1] // 2)
        self.head = nn.Conv2d(widths[-1] // 2, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Score the classes of images (B, inputs, H, W): (B, classes, H, W)."""
        stem = self.backbone.stem(image)
        maps = list(reversed(self.backbone.stages(stem)))
        if self.pose is not None:
            maps = self.pose(image, maps)
        features = self.blocks[0](maps[0])
        for block, finer_map in zip([*list(self.blocks)[1:], self.fine], [*maps[1:], stem], strict=True):
            upsampled = interpolate(features, size=finer_map.shape[-2:], mode="bilinear", align_corners=False)
            features = block(torch.cat((finer_map, upsampled), 1))
        return interpolate(self.head(features), size=image.shape[-2:], mode="bilinear", align_corners=False)


MODEL = "segmenter"
"""Name of the model in weights files."""


class _Network(NamedTuple):
    """Family "refinenet", "deeplab", "light" or "maps", backbone, widths, whether the pose network's maps are used."""

    family: str
    backbone: str
    width: int = 64
    widths: tuple[int, ...] = (512, 256, 256, 256)
    pose: bool = False


NETWORKS: dict[str, _Network] = {
    "refinenet-resnet101": _Network("refinenet", "resnet101"),
    "refinenet-resnet50": _Network("refinenet", "resnet50"),
    "refinenet-resnet18": _Network("refinenet", "resnet18", 64, (256, 128, 128, 128)),
    "deeplab-resnet101": _Network("deeplab", "resnet101"),
    "deeplab-vgg16": _Network("deeplab", "vgg16"),
    "posed": _Network("light", "resnet18", 24, (160, 128, 96, 64), pose=True),
    "small": _Network("light", "resnet18", 24, (96, 64, 48, 48)),
    "tiny": _Network("light", "resnet18", 12, (48, 32, 24, 24)),
    "tiny-deeplab": _Network("deeplab", "resnet18", 12),
    "garments": _Network("maps", "", 0, (48, 64, 48, 32), pose=True),
}
"""Segmenters by name: the paper's and smaller relatives, networks that learn from scratch on a CPU, and `garments`."""


@dataclass(frozen=True)
class SegmenterOptions(Options):
    """The architecture of a segmenter."""

    network: str = option("refinenet-resnet101", "Name of the network.", choices=tuple(NETWORKS))
    parts: int = option(
        12, "Number of body parts; the background is one additional class, the first.", choices=(1, 3, 6, 12, 24)
    )
    crop: int = option(512, "Side of the input image.", unit="pixels", minimum=32)
    fill: float = option(BOX_FILL, "Fraction of the crop that the person's box covers.", minimum=0.1, maximum=1)
    guided: bool = option(
        False, "Also take the detector's landmarks and mask, drawn by `guide`; zeros if there are none."
    )
    width: int = option(0, "Channels of the backbone's first stage; 0 uses the network's default.")
    widths: tuple[int, ...] = option(
        (), "Channels of the decoder's four blocks, coarsest first.", unset="the network's default"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guided and NETWORKS[self.network].family != "light":
            raise UsageError("guided", "is for the light segmenters: small and tiny", got=self.network)
        if self.labels_garments and self.parts != len(GARMENTS):
            raise UsageError("parts", "are the garments", expected=f"{len(GARMENTS)}", got=f"{self.parts}")
        if self.widths and len(self.widths) != 4:
            raise UsageError("widths", "must be four", expected="channels from the coarsest block up")

    @property
    def labels_garments(self) -> bool:
        """Whether the classes are `GARMENTS` instead of body parts."""
        return self.network == "garments"

    @property
    def part_map(self) -> PartMap:
        """The partition whose labels the network predicts."""
        return PART_MAPS[self.parts]

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return 3 + GUIDE_CHANNELS * self.guided

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the background and the parts."""
        return ("background", *(GARMENTS if self.labels_garments else self.part_map.names))


def build_segmenter(options: SegmenterOptions) -> nn.Module:
    """Build a network from `segmenter_input` (B, C, H, W) to scores (B, 1 + parts, H, W), with random weights."""
    network = NETWORKS[options.network]
    classes, width = 1 + options.parts, options.width or network.width
    if network.family == "deeplab":
        return DeepLabSegmenter(classes, backbone=network.backbone, width=width)
    if network.family == "maps":
        return MapSegmenter(classes, options.widths or network.widths)
    layers, widths = int(network.backbone.removeprefix("resnet")), options.widths or network.widths
    if network.family == "light":
        return LightSegmenter(
            classes, layers=layers, width=width, widths=widths, inputs=options.channels, pose=network.pose
        )
    return RefineNetSegmenter(classes, layers=layers, width=width, widths=widths)


def segmenter_input(evidence: CropEvidence, options: SegmenterOptions) -> NDArray[np.float32]:
    """Return the input (C, S, S): the crop's normalised image, and for a guided segmenter its guide."""
    assert evidence.image is not None, "a segmenter sees an image"
    image = normalised_image(evidence.image)
    if not options.guided:
        return image
    return np.concatenate((image, paint_guide(evidence, options.part_map)))


IMAGENET = "imagenet"
"""Name of a recipe's backbone that stands for torchvision's ImageNet weights."""


def backbone_file(weights: str, kind: str) -> Path:
    """Find the initial weights of a recipe's backbone.

    Args:
        weights: A file, a name in `WEIGHTS`, or "imagenet" for ImageNet's weights.
        kind: The backbone for "imagenet", such as "resnet50".

    Raises:
        InputError: If there is no such file.
        UnavailableError: If known weights are not on this machine; the message says how to download them.
    """
    return find_weights(f"{IMAGENET}-{kind}" if weights == IMAGENET else weights)


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Fill a ResNet or VGG with weights that torchvision names, such as ImageNet's, without the classifier.

    Args:
        backbone: The network.
        path: The weights file.

    Raises:
        InputError: If the weights belong to another network.
    """
    tensors = read_tensors(path)
    fill(backbone, {n: value for n, value in tensors.items() if not n.startswith(("fc.", "classifier."))}, path)


@dataclass(frozen=True)
class Segmentation:
    """The body parts of a person in a crop.

    Attributes:
        probabilities: (1 + parts, S, S) float32. The probabilities, background first.
        crop: The crop of the image.
    """

    probabilities: NDArray[np.float32]
    crop: Crop

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(S, S) uint8. 0 for the background, then the parts."""
        return self.probabilities.argmax(0).astype(np.uint8)


class Segmenter:
    """A trained segmenter.

    Args:
        network: The network.
        options: Its architecture.
        device: The device to run on.
    """

    def __init__(self, network: nn.Module, options: SegmenterOptions, device: torch.device | str = "cpu") -> None:
        # Channels last: a third less time on a processor.
        self.network: nn.Module = network.eval().requires_grad_(False).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.options, self.device = options, torch.device(device)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu", *, parts: int | None = None) -> Segmenter:
        """Load the network from a weights file.

        Args:
            path: The weights file.
            device: The device to run on.
            parts: The number of parts that is required. None accepts any.

        Raises:
            InputError: If the file is damaged, contains another model, or predicts another number of parts.
        """
        tensors, header = read_weights(path, MODEL)
        options = options_of(SegmenterOptions, header.config, path)
        if parts is not None and (options.parts != parts or options.labels_garments):
            got = "garments" if options.labels_garments else f"{options.parts}"
            raise InputError(path, "predicts other parts", expected=f"{parts} parts", got=got)
        network = build_segmenter(options)
        fill(network, tensors, path)
        return cls(network, options, device)

    def segment(self, image: NDArray[np.uint8], box: NDArray[Any]) -> Segmentation:
        """Segment a person of an image.

        Args:
            image: (H, W, 3) uint8. The image.
            box: (4,) x0, y0, x1, y1, pixels. The person.
        """
        crop = crop_around_box(box, self.options.crop, fill=self.options.fill)
        evidence = CropEvidence(self.options.crop, crop.image(image))
        with torch.no_grad():
            images = torch.from_numpy(segmenter_input(evidence, self.options))[None].to(self.device)
            return Segmentation(self.probabilities(images)[0].float().cpu().numpy(), crop)

    def probabilities(self, images: Tensor) -> Tensor:
        """Compute probabilities (B, 1 + parts, H, W) of `segmenter_input` (B, C, H, W)."""
        return self.network(images.contiguous(memory_format=torch.channels_last)).softmax(1)


def segmenter_config(options: SegmenterOptions) -> dict[str, Any]:
    """Convert the options to plain JSON values."""
    return {**asdict(options), "widths": list(options.widths)}
