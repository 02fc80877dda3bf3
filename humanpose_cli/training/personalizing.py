"""Teaching a trained generator one person from their single picture: `hpc repose --personalize N`.

Nothing but the picture is known, so it is its own truth: moved and turned a little, or mirrored as well, it is the
input, and as it is it is the target. Mirrored, the person's left is their right, so parts truly move and what they show
has to be found elsewhere: the nearest that one picture comes to a pair. The background is left alone; what stands
behind the person comes from elsewhere (see `reposing.warping`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, binary_cross_entropy, grid_sample

from humanpose_cli.conventions import REPOSING19
from humanpose_cli.errors import UsageError
from humanpose_cli.reposing.warp3d.generator import Generator
from humanpose_cli.reposing.warp3d.inference import Warp3d, to_network
from humanpose_cli.training.perceptual import perceptual_loss

__all__ = ["PersonalizeOptions", "moved_input", "personalized"]


@dataclass(frozen=True)
class PersonalizeOptions:
    """steps of two inputs each, one of them mirrored; 0 for none

    learning_rate  of Adam, falling to zero along half a cosine
    turn, zoom, shift  greatest movements of the input: degrees, factor − 1, share of the crop's side
    perceptual     as `training.perceptual` takes it; mask_weight of the mask's cross entropy beside it
    """

    steps: int = 0
    learning_rate: float = 2e-4
    turn: float = 12.0
    zoom: float = 0.12
    shift: float = 0.06
    perceptual: str = "auto"
    mask_weight: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError("--personalize", "is no number of steps", expected="0 or more", got=str(self.steps))
        if not self.learning_rate > 0 or min(self.turn, self.zoom, self.shift, self.mask_weight) < 0 or self.zoom >= 1:
            raise UsageError("personalizing", "cannot learn like this", expected="a rate above 0, a zoom below 1")


def personalized(
    network: Warp3d,
    picture: NDArray[np.uint8],
    joints: NDArray[np.floating],
    mask: NDArray[np.floating],
    options: PersonalizeOptions,
    *,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Warp3d:
    """A copy of a network that has learned one person; the network itself where `steps` is 0.

    picture  (S, S, 3) uint8 crop; joints (19, 3) in its volume frame; mask (S, S) 0 to 1 where the person is

    UsageError for pictures of another size. The same arguments give the same weights on one machine.
    """
    if not options.steps:
        return network
    size = network.config.size
    if picture.shape != (size, size, 3) or mask.shape != (size, size):
        raise UsageError("picture", "does not fit the network", expected=f"{size} pixels", got=str(picture.shape))
    generator: Generator = copy.deepcopy(network.generator).train().requires_grad_(True)
    generator.inpainter.requires_grad_(False)
    learned = [p for p in generator.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learned, options.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    loss = perceptual_loss(options.perceptual).to(network.device)
    random = np.random.default_rng(options.seed)
    true = to_network(torch.from_numpy(np.ascontiguousarray(picture))[None].to(network.device))
    pose = torch.from_numpy(np.asarray(joints, np.float32))[None].to(network.device)
    person = torch.from_numpy(np.asarray(mask, np.float32))[None, None].to(network.device)
    both = torch.cat((true, person), 1)
    for step in range(options.steps):
        inputs = [moved_input(both, pose, random, options, mirrored=mirrored) for mirrored in (False, True)]
        images, sources = (torch.cat(parts) for parts in zip(*inputs, strict=True))
        with torch.autocast(network.device.type, torch.bfloat16):
            made = generator(images[:, :3], sources, pose.expand(2, -1, -1), images[:, 3:])
        drawn = true + person * (made.foreground - true)
        apart = loss(drawn, true.expand(2, -1, -1, -1))
        outline = binary_cross_entropy(made.mask.clamp(1e-5, 1 - 1e-5), person.expand(2, -1, -1, -1))
        optimiser.zero_grad(set_to_none=True)
        (apart + options.mask_weight * outline).backward()
        optimiser.step()
        schedule.step()
        on_step(step + 1, options.steps)
    return Warp3d(generator, network.header, network.device)


def moved_input(
    image: Tensor, joints: Tensor, random: np.random.Generator, options: PersonalizeOptions, *, mirrored: bool
) -> tuple[Tensor, Tensor]:
    """A picture (1, C, S, S) and its joints (1, 19, 3) turned about its middle, zoomed and shifted at random.

    Mirrored, left and right joints change places too. What comes in from outside is the picture's edge.
    """
    size = image.shape[-1]
    angle = math.radians(float(random.uniform(-1, 1)) * options.turn)
    zoom = 1 + float(random.uniform(-1, 1)) * options.zoom
    shift = random.uniform(-1, 1, 2) * options.shift * size
    flip = -1.0 if mirrored else 1.0
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = torch.tensor([[flip * cosine, -sine], [flip * sine, cosine]], dtype=torch.float32, device=image.device)
    offset = torch.tensor(shift, dtype=torch.float32, device=image.device)
    # Pixels of the result are looked up in the picture, in coordinates of −1 to 1.
    back = torch.linalg.inv(linear)
    theta = torch.cat((back, -(back @ offset)[:, None] * 2 / size), 1)[None]
    grid = affine_grid(theta, [*image.shape], align_corners=False)
    moved = grid_sample(image, grid, "bilinear", "border", align_corners=False)
    if mirrored:
        joints = joints[:, list(REPOSING19.mirror)]
    flat = (joints[..., :2] - size / 2) @ linear.T + offset + size / 2
    depth = size / 2 + zoom * (joints[..., 2:] - size / 2)
    return moved, torch.cat((flat, depth), -1)
