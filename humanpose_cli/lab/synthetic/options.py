"""Options of synthetic people. Needs no torch: `hpc preprocess --help` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option

Structure = Literal["single", "pairs", "clips"]
Camera = Literal["still", "turn", "walk"]
_MAX_SIZE, _MAX_FRAMES = 2048, 512


@dataclass(frozen=True)
class SyntheticOptions(Options):
    """Options of `hpc preprocess synthetic`; the same options give the same bytes with any number of processes."""

    count: int = option(1000, "Number of images, rounded up to complete pairs or clips.", value="N", minimum=1)
    size: int = option(256, "Longer side of an image.", unit="pixels", minimum=32, maximum=_MAX_SIZE)
    structure: Structure = option(
        "single", "Single images, or pairs or clips of one person in the same clothes with the same background."
    )
    clip_length: int = option(16, "Frames of a clip, at least 2.")
    frame_rate: float = option(10.0, "Frame rate of clips.", unit="frames/second", above=0, maximum=120)
    camera: Camera = option(
        "still",
        "How the camera of clips moves: still, turning with a person, or walking (hand-held, with blur and rolling "
        "shutter).",
    )
    aspect: float = option(1.0, "Width of an image divided by its height.", minimum=0.25, maximum=4)
    seed: int = option(0, "Seed of all random choices.")
    backgrounds: Path | None = option(
        None,
        "Folder of background images, used in addition to procedural ones.",
        value="FOLDER",
        unset="procedural ones only",
    )
    picture_share: float = option(
        0.6, "Fraction of the scenes with these background images, if there are any.", minimum=0, maximum=1
    )
    companions: float = option(0.2, "Probability of other people in an image.", minimum=0, maximum=1)
    crowd: int = option(
        0,
        "Maximum number of people in an image, from 3, who stand close together and are framed together.",
        minimum=0,
        maximum=9,
        unset="companions around one person",
    )
    validation: float = option(
        0.05,
        "Fraction of the identities in this split; their clothes and activities do not occur in other splits.",
        minimum=0,
    )
    test: float = option(0.05, "Fraction of the identities in this split, as for `validation`.", minimum=0)
    imperfect_fits: bool = option(
        False,
        "Add fits of hpc fit to the people of clips, half of them refined, which training the refiner needs.",
    )
    texture_size: int = option(512, "Side of a person's texture.", unit="texels", minimum=64, maximum=4096)
    in_front: float = option(0.3, "Probability of objects in front of people.", minimum=0, maximum=1)
    damage: float = option(1.0, "Strength of blur, noise and compression.", minimum=0, maximum=4)
    garments: bool = option(
        False,
        "Also store maps of garments, and draw what confuses them more often: garments that hang, wide trousers, legs "
        "together, people cut at the thigh, crowds.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.structure == "clips" and not 2 <= self.clip_length <= _MAX_FRAMES:
            raise UsageError("clips", "is out of range", expected=f"2 to {_MAX_FRAMES}", got=str(self.clip_length))
        if self.camera != "still" and self.structure != "clips":
            raise UsageError("camera", "needs clips", got=f"structure {self.structure}", remedy="clips")
        if self.imperfect_fits and self.structure != "clips":
            raise UsageError("imperfect_fits", "needs clips", got=f"structure {self.structure}", remedy="clips")
        if self.crowd in (1, 2) or (self.crowd and self.structure == "pairs"):
            got = f"{self.crowd}, {self.structure}"
            raise UsageError("crowd", "is out of range", expected="0, or 3 to 9 people, not in pairs", got=got)
        if self.validation + self.test > 1:
            got = f"{self.validation} and {self.test}"
            raise UsageError("validation, test", "are out of range", expected="together 0 to 1", got=got)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) pixels."""
        return round(self.size / max(1, self.aspect)), round(self.size * min(1, self.aspect))

    @property
    def group_size(self) -> int:
        """Images of a group."""
        return {"single": 1, "pairs": 2, "clips": self.clip_length}[self.structure]
