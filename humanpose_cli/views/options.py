"""Options that combine several cameras of one moment. Needs no torch: `hpc fit --help` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class ViewsOptions(Options):
    """How the cameras of a take are estimated and its bodies are solved."""

    max_turn: float = option(
        1.5,
        "Leave out cameras that turn further during a take.",
        unit="degrees",
        minimum=0,
    )
    refinements: int = option(
        2, "How often cameras and bodies are refined together; fewer rounds are faster.", minimum=0
    )
