"""Options of redrawing a person. Constants of a stage of `avatar.stages` are in the module of that stage."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class MeshOptions(Options):
    """How a person is redrawn."""

    supersampling: int = option(2, "Samples per pixel along each side.", minimum=1)
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
    grain: bool = option(True, "Add the photo's noise to smooth inpainted regions.")
