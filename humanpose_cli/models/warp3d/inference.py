"""A trained generator from its weights file, and one crop reposed with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import UsageError
from humanpose_cli.models.warp3d.config import GeneratorConfig
from humanpose_cli.models.warp3d.generator import Generator
from humanpose_cli.networks.partial_conv import fill
from humanpose_cli.networks.weights import WeightsHeader, options_of, read_weights

__all__ = ["MODEL", "ReposedCrop", "Warp3d", "generator_weights", "load_warp3d", "to_bytes", "to_network"]

MODEL = "warp3d"
# A pose counts if so many of its joints are known; fewer leave most of the parts without a place.
_LEAST_JOINTS = 8
_HARDLY = 0.05  # of a pixel that the person covers: less has no detail


@dataclass(frozen=True)
class ReposedCrop:
    """A reposed crop.

    image       (S, S, 3) uint8 RGB
    foreground  (S, S, 3) uint8; mask (S, S) 0 to 1, for pasting the person into another image
    background  (S, S, 3) uint8 filled in
    detail      (n S, n S, 3) of 0 to 255, to be added to the foreground at a finer crop's resolution, n > 1; None
                where no finer drawing was given
    outline     (n S, n S) of 0 to 1, to be added to the mask there; None likewise
    """

    image: NDArray[np.uint8]
    foreground: NDArray[np.uint8]
    mask: NDArray[np.float32]
    background: NDArray[np.uint8]
    detail: NDArray[np.float32] | None = None
    outline: NDArray[np.float32] | None = None


class Warp3d:
    """A generator that is ready to use, on one device, in evaluation mode."""

    def __init__(self, generator: Generator, header: WeightsHeader, device: torch.device | str = "cpu") -> None:
        self.generator = generator.eval().requires_grad_(False).to(device)
        self.header, self.device = header, torch.device(device)

    @property
    def config(self) -> GeneratorConfig:
        """Shapes of the generator; `config.size` is that of the crops."""
        return self.generator.config

    @torch.inference_mode()
    def repose(
        self,
        image: NDArray[np.uint8],
        source: ArrayLike,
        target: ArrayLike,
        drawing: NDArray[np.float32] | None = None,
    ) -> ReposedCrop:
        """A crop (S, S, 3) uint8 of a person with the pose `source` in the pose `target`.

        source, target  (19, 3) pixels of the crop's volume frame, as `volume_frame.frame_joints` gives them
        drawing         (5, n S, n S) of the person in the target pose (see `DRAWING_CHANNELS`), n times as fine as the
                        crop; what is finer than the crop comes back as detail where the network takes it over

        UsageError for crops of another size, for poses that cannot be drawn (of too few known joints, in one point, or
        wholly outside the image), and for a drawing where the network takes none.
        """
        size = self.config.size
        if image.shape != (size, size, 3) or image.dtype != np.uint8:
            expected = f"({size}, {size}, 3) uint8"
            raise UsageError("image", "does not fit the network", expected=expected, got=f"{image.shape}")
        if not self.config.drawing and drawing is not None:
            remedy = "train with --set generator.drawing=true, or leave --mesh-input out"
            raise UsageError("network", "takes no drawing", remedy=remedy)
        poses = [_checked(name, pose, size) for name, pose in (("input pose", source), ("target pose", target))]
        before, after = (torch.from_numpy(pose)[None].to(self.device) for pose in poses)
        network_input = to_network(torch.from_numpy(np.ascontiguousarray(image))[None].to(self.device))
        fine = None if drawing is None else torch.from_numpy(drawing)[None].to(self.device)
        made = self.generator(
            network_input, before, after, None if fine is None else _averaged(fine, fine.shape[-1] // size)
        )
        colours = [to_bytes(found)[0].cpu().numpy() for found in (made.image, made.foreground, made.background)]
        mask = made.mask[0, 0].float().cpu().numpy()
        detail, outline = None, None
        if fine is not None and fine.shape[-1] > size:
            detail, outline = _beyond(fine, made.taken)
        return ReposedCrop(colours[0], colours[1], mask, colours[2], detail, outline)


def to_network(images: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 → (B, 3, S, S) float32 −1 to 1, channels-last without a copy of their order."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """The inverse of `to_network`, rounded."""
    return (127.5 * (images.float() + 1)).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def generator_weights(generator: Generator) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Tensors and config for a weights file."""
    return generator.state_dict(), asdict(generator.config)


def load_warp3d(path: Path, device: torch.device | str = "cpu") -> Warp3d:
    """The generator in a weights file. InputError where the file is damaged, another model's or of other shapes."""
    tensors, header = read_weights(path, MODEL)
    generator = Generator(options_of(GeneratorConfig, _renamed(header.config), path))
    fill(generator, tensors, path)
    return Warp3d(generator, header, device)


def _renamed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of weights of the version before, whose masks had no margin; others as they are."""
    if "carry_detail" not in config:
        return config
    gone = ("carry_detail", "carry_outline", "background_margin")
    kept = {name: value for name, value in config.items() if name not in gone}
    return {**kept, "drawing": config["carry_detail"], "mask_margin": 0, "dilation": 1}


def _beyond(drawing: Tensor, taken: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a drawing shows beyond a network's resolution, as far as it is taken over: colours, outline."""
    times = drawing.shape[-1] // taken.shape[-1]
    colours, covered = drawing[:, :3], torch.where(drawing[:, 3:4] > _HARDLY, drawing[:, 3:4], 0.0)
    # Colours are averaged over the person alone, or their outline would count as detail.
    coarse = avg_pool2d(torch.cat((colours * covered, covered), 1), times)
    smooth = interpolate(coarse, scale_factor=times, mode="bilinear", align_corners=False)
    beyond = colours - smooth[:, :3] / smooth[:, 3:].clamp_min(1e-6)
    weight = interpolate(taken.float(), scale_factor=times, mode="bilinear", align_corners=False)
    edge = weight * (covered - smooth[:, 3:])
    colour = (127.5 * weight * covered * beyond)[0].permute(1, 2, 0)
    return np.asarray(colour.cpu().numpy(), np.float32), np.asarray(edge[0, 0].cpu().numpy(), np.float32)


def _averaged(drawing: Tensor, times: int) -> Tensor:
    """A drawing (1, 5, n S, n S) at the network's own resolution; colours of the covered part alone."""
    if times == 1:
        return drawing
    covered = drawing[:, 3:4]
    coarse = avg_pool2d(torch.cat((drawing[:, :3] * covered, covered, drawing[:, 4:] * covered), 1), times)
    of_all = coarse[:, 3:4].clamp_min(1e-6)
    return torch.cat((coarse[:, :3] / of_all, coarse[:, 3:4], coarse[:, 4:] / of_all), 1)


def _checked(name: str, pose: ArrayLike, size: int) -> NDArray[np.float32]:
    joints = np.asarray(pose, np.float32)
    if joints.shape != (len(REPOSING19), 3):
        raise UsageError(name, "is no pose", expected="(19, 3)", got=str(joints.shape))
    known = joints[np.isfinite(joints).all(-1)]
    if len(known) < _LEAST_JOINTS:
        raise UsageError(name, "has too few known joints", expected=f"{_LEAST_JOINTS} of 19", got=str(len(known)))
    if np.ptp(known, axis=0).max() < 0.02 * size:
        raise UsageError(name, "has all joints in one point", remedy="positions in metres are expected, in camera axes")
    if not ((known[:, :2] >= 0) & (known[:, :2] <= size)).all(-1).any():
        got = f"x, y from {known[:, :2].min(0).round()} to {known[:, :2].max(0).round()}"
        raise UsageError(name, "lies outside the crop", expected=f"joints within 0 to {size} pixels", got=got)
    return joints
