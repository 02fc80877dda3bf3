"""Options of redrawing a person. Constants of a stage of `avatar.stages` are in the module of that stage."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option

_GARMENTS = ("coat", "gloves", "cap", "skirt", "shoes")
_SECOND = ("coat:2", "skirt:2")  # with the second best hem


@dataclass(frozen=True)
class MeshOptions(Options):
    """How a person is redrawn."""

    wears: str = option(
        "auto",
        "Garments that people wear; auto guesses, and skirt:2 takes the second best hem.",
        value="auto|none|coat,gloves,cap,skirt,shoes",
    )
    texture_size: int | None = option(
        None,
        "Texels along each side of the texture.",
        minimum=64,
        unset="as fine as the photo, from 512 to `max_texture_size`",
    )
    max_texture_size: int = option(
        4096, "Maximum number of texels along each side if `texture_size` is not set.", minimum=512
    )
    hole_margin: float = option(
        0.018, "Width of the hole beyond the mask, as a fraction of the person's height.", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names = (*_GARMENTS, *_SECOND)
        if self.wears not in ("auto", "none") and not set(self.wears.split(",")) <= set(names):
            raise UsageError(
                "wears", "is not known", expected=f"auto, none, or {', '.join(names)}", got=repr(self.wears)
            )

    def worn(self, garment: str) -> bool | None:
        """Return whether people wear a garment; None to guess."""
        return None if self.wears == "auto" else self.hem_choice(garment) > 0

    def hem_choice(self, garment: str) -> int:
        """Return 1 if people are said to wear a garment, 2 if with the second best hem, otherwise 0."""
        names = self.wears.split(",")
        return 2 if f"{garment}:2" in names else int(garment in names)
