"""How a photographed person is redrawn. Numbers of a stage of `avatar.stages` stand in the module of that stage."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class MeshOptions(Options):
    """How a person is redrawn."""

    supersampling: int = option(2, "Samples per pixel along each side.", minimum=1)
    texture_size: int | None = option(
        None, "Texels along each side.", minimum=64, unset="fine enough for the photo, 512 to `max_texture_size`"
    )
    max_texture_size: int = option(4096, "Maximum of texels along each side without `texture_size`.", minimum=512)
    hole_margin: float = option(0.018, "Width of the hole beyond the mask, in heights of the person.", minimum=0)
    grain: bool = option(True, "Give smooth made-up parts the photo's noise.")
