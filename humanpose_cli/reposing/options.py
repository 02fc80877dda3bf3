"""How reposed images are drawn. Needs no torch: `hpc repose --help` reads it. `reposing.scene` has further options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option

SHIPPED = "warp3d"  # name of the reposing network that comes with the package
MAX_SIZE = 16384  # pixels: 48-megapixel photographs twice over, and still some GB

ReposeMethod = Literal["auto", "mesh", "warp3d"]


@dataclass(frozen=True)
class DrawingOptions(Options):
    """How a reposed image is drawn, beside its background."""

    person: str = option(
        "largest", "Which person to repose: largest, all or a track id, from 0, the largest.", value="ID|largest|all"
    )
    absolute: bool = option(
        False,
        "Draw the pose at its own coordinates, which are those of the photograph's camera: of a fit, or of what hpc "
        "export wrote. Others, as AMASS's own, are an error if they put no person into the photograph.",
        unset="at the person's position",
    )
    size: int | None = option(
        None, "Longer side of the result.", unit="pixels", minimum=16, maximum=MAX_SIZE, unset="the photograph's"
    )
    method: ReposeMethod = option(
        "auto",
        "How to make the image. mesh: the photograph wrapped round the fitted body. warp3d: a network. auto: mesh, "
        "which is the better of the two on photographs.",
    )
    weights: str = option(
        SHIPPED, "The network: a file, a run of hpc train warp3d, or a name of hpc weights list.", value="FILE|RUN"
    )
    mesh_input: bool | None = option(
        None,
        "Also give the network of `method=warp3d` the mesh's drawing, whose details it uses where they fit.",
        unset="if it was trained with drawings",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.person not in ("largest", "all") and not self.person.isdecimal():
            raise UsageError("person", "is not known", expected="largest, all or a track id", got=repr(self.person))
        if self.method == "mesh" and (self.weights != SHIPPED or self.mesh_input is not None):
            raise UsageError("weights, mesh_input", "are for `method=warp3d`")
