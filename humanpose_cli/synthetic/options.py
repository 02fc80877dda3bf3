"""What a synthetic data set is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from humanpose_cli.core.errors import UsageError

__all__ = ["SPLITS", "SyntheticOptions"]


Structure = Literal["single", "pairs", "clips"]
SPLITS = ("train", "validation", "test")
_LARGEST, _LONGEST = 2048, 512


@dataclass(frozen=True)
class SyntheticOptions:
    """Options of `hpc preprocess synthetic`. The same options are the same bytes, on any number of processes.

    count         images, rounded up to whole pairs or clips
    size          pixels of an image's sides
    structure     single images; pairs or clips of one person in one clothing before one background
    clip_length   frames of a clip; frame_rate of clips, a second
    seed          decides everything
    backgrounds   folder with images to stand before, beside the procedural ones; None for these alone
    picture_share    share of the scenes that stand before these images, where there are any
    companions    probability of other people in the image
    validation, test  shares of identities, with clothes and activities that the other splits never show
    imperfect_fits    add to each person a fit as an estimator would err, for training refinement
    texture_size  pixels of the sides of a person's texture
    in_front, damage  probability of things in front of people; strength of blur, noise and compression
    """

    count: int = 1000
    size: int = 256
    structure: Structure = "single"
    clip_length: int = 16
    frame_rate: float = 10.0
    seed: int = 0
    backgrounds: Path | None = None
    picture_share: float = 0.6
    companions: float = 0.2
    validation: float = 0.05
    test: float = 0.05
    imperfect_fits: bool = False
    texture_size: int = 512
    in_front: float = 0.3
    damage: float = 1.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError("--count", "must be positive", got=str(self.count))
        if not 32 <= self.size <= _LARGEST:
            raise UsageError("--size", "is out of range", expected=f"32 to {_LARGEST} pixels", got=str(self.size))
        if self.structure == "clips" and not 2 <= self.clip_length <= _LONGEST:
            raise UsageError("--clips", "is out of range", expected=f"2 to {_LONGEST}", got=str(self.clip_length))
        if not 0 < self.frame_rate <= 120:
            raise UsageError("frame rate", "is out of range", expected="above 0 to 120", got=str(self.frame_rate))
        chances = {"companions": self.companions, "in_front": self.in_front, "picture_share": self.picture_share}
        for name, share in chances.items():
            if not 0 <= share <= 1:
                raise UsageError(name, "is no probability", expected="0 to 1", got=str(share))
        if min(self.validation, self.test) < 0 or self.validation + self.test > 1:
            raise UsageError("shares of validation and test", "do not fit", expected="together 0 to 1")
        if not 64 <= self.texture_size <= 4096 or not 0 <= self.damage <= 4:
            raise UsageError("texture size or damage", "is out of range", expected="64 to 4096, 0 to 4")

    @property
    def group_size(self) -> int:
        """Images that belong together."""
        return {"single": 1, "pairs": 2, "clips": self.clip_length}[self.structure]
