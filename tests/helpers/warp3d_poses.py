"""A small generator of warp3d, and a person in pixels of a volume's frame."""

import torch

from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.models.warp3d.config import GeneratorConfig
from humanpose_cli.models.warp3d.generator import Generator

MINI = GeneratorConfig(
    size=32,
    stride=2,
    depth=8,
    channels=4,
    pose_channels=4,
    units=(1, 1, 1),
    stem=8,
    encoder_widths=(8, 16),
    encoder_blocks=(1, 1),
    decoder_widths=(16, 16),
    decoder_blocks=(1, 1),
    background_widths=(8, 8, 8),
    heatmap_sigma=2.0,
    softness=2.0,
)
_POSITIONS = {
    "pelvis": (0.5, 0.5, 0.5),
    "neck": (0.5, 0.26, 0.5),
    "nose": (0.5, 0.17, 0.44),
    "left_eye": (0.52, 0.15, 0.45),
    "right_eye": (0.48, 0.15, 0.45),
    "left_ear": (0.55, 0.16, 0.5),
    "right_ear": (0.45, 0.16, 0.5),
    "left_shoulder": (0.6, 0.28, 0.5),
    "right_shoulder": (0.4, 0.28, 0.5),
    "left_elbow": (0.7, 0.36, 0.52),
    "right_elbow": (0.3, 0.36, 0.52),
    "left_wrist": (0.78, 0.46, 0.48),
    "right_wrist": (0.22, 0.46, 0.48),
    "left_hip": (0.56, 0.51, 0.5),
    "right_hip": (0.44, 0.51, 0.5),
    "left_knee": (0.59, 0.7, 0.47),
    "right_knee": (0.41, 0.7, 0.47),
    "left_ankle": (0.6, 0.9, 0.52),
    "right_ankle": (0.4, 0.9, 0.52),
}


def standing(size: int, batch: int = 1) -> torch.Tensor:
    """A person who faces the camera, arms away from the body: (B, 19, 3) pixels."""
    pose = torch.tensor([_POSITIONS[name] for name in REPOSING19.joint_names]) * size
    return pose.expand(batch, -1, -1).clone()


def hand_raised(size: int, batch: int = 1) -> torch.Tensor:
    """The same person with the left arm up and to the front."""
    pose = standing(size, batch)
    pose[:, REPOSING19.index("left_elbow")] = torch.tensor((0.68, 0.2, 0.42)) * size
    pose[:, REPOSING19.index("left_wrist")] = torch.tensor((0.74, 0.08, 0.34)) * size
    return pose


def images(batch=1, size=32, seed=0):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def generator(config=MINI, seed=0):
    torch.manual_seed(seed)
    return Generator(config).eval()
