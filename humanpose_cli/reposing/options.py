"""Options of reposed images; needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.fitting.options import FitOptions

SHIPPED = "warp3d"  # name of the reposing network that comes with the package
MIN_STEPS = 1000  # of training; with fewer, a network draws a smear, or only the background
MIN_SIZE = 16  # pixels
MAX_SIZE = 16384  # pixels: 48-megapixel photographs twice over, and still some GB

_MAX_DRAWN = {False: 68, True: 34}  # million pixels without and with layers, which need 30 and 125 bytes for each

ReposeMethod = Literal["auto", "mesh", "warp3d"]
Drivers: TypeAlias = "Literal['largest', 'all'] | int | tuple[int, ...]"
"""The people of a target who drive: one person, or several by track ids."""


def check_drawn_size(option: str, size: tuple[int, int], *, layers: bool) -> None:
    """Raise UsageError for an image of (width, height) pixels that needs more than 4 GB of memory to draw."""
    width, height = size
    limit = _MAX_DRAWN[layers]
    if width * height > limit * 1_000_000:
        allowance = f"at most {limit} million pixels{' with `layers`' if layers else ''}"
        raise UsageError(option, "is too large", expected=allowance, got=f"{width} × {height}")


@dataclass(frozen=True)
class ReposeOptions(Options):
    """The options of a reposed image, besides the photo and the target."""

    person: str = option(
        "largest",
        "Which people to repose: largest, all, or ids; 0=1 (Python: {0: 1}) lets the target's person 1 drive person 0.",
        value="ID|ID=ID|largest|all",
    )
    target_person: str = option(
        "largest",
        "Whose poses of the target to use: largest, a track id, or all (from left to right).",
        value="ID|largest|all",
    )
    absolute: bool = option(
        False,
        "Draw the pose at its own coordinates in the photograph's camera, as fits and exported files have them.",
        unset="at the person's position",
        flag=False,
    )
    in_place: bool = option(
        False,
        "Ignore the path of a walk, so that the person steps, turns and jumps on the spot.",
        unset="along the target's path",
        flag=False,
    )
    size: int | None = option(
        None, "Longer side of the result.", unit="pixels", minimum=MIN_SIZE, maximum=MAX_SIZE, unset="the photograph's"
    )
    canvas: str = option(
        "keep",
        "Size of the image: keep, fit (grow to show all poses), or WxH pixels.",
        value="keep|fit|WxH",
    )
    method: ReposeMethod = option(
        "auto",
        "How images are made: mesh (the photograph on the fitted body), warp3d (a network), or auto, which is mesh.",
    )
    weights: str = option(
        SHIPPED,
        "Network for `method=warp3d`: a file, a run of hpc train warp3d, or a name of hpc weights list.",
        value="FILE|RUN",
    )
    layers: bool = option(
        False,
        "Also write the layers of each image (person, shadow, background, matte, depth) as a multi-layer EXR and PNG "
        "files.",
    )
    force: bool = option(False, "Use a network that was trained for a few steps only.", flag=False)
    background: Literal["keep", "transparent"] = option(
        "keep", "Background: keep (the photograph), transparent, or in Python a colour of CSS or an image."
    )
    fit: FitOptions = option(FitOptions(), "How the photo is fitted.")
    mesh: MeshOptions = option(MeshOptions(), "The mesh method.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_person not in ("largest", "all") and not self.target_person.isdecimal():
            got = repr(self.target_person)
            raise UsageError("target_person", "is not known", expected="largest, all or a track id", got=got)
        if self.pairs and self.target_person != "largest":
            remedy = "leave `target_person` out"
            raise UsageError("target_person", "is named by `person` already", got=self.target_person, remedy=remedy)
        if isinstance(choice := self.canvas_choice, tuple):
            check_drawn_size("canvas", choice, layers=self.layers)
        settings = {"weights": self.weights != SHIPPED, "force": self.force}
        for name in filter(settings.__getitem__, settings if self.method != "warp3d" else ()):
            raise UsageError(name, "has no effect without `method=warp3d`")
        if self.in_place and self.absolute:
            raise UsageError("in_place", "cannot be combined with `absolute`")

    @property
    def chosen(self) -> dict[int, int | None]:
        """The chosen track ids, with the ids of the target's people if `person` names them; empty for largest and all.

        Raises:
            UsageError: If `person` is anything else.
        """
        if self.person in ("largest", "all"):
            return {}
        form = "largest, all, track ids, or pairs such as 0=1"
        pairs: dict[int, int | None] = {}
        for part in self.person.split(","):
            person, equals, driver = part.partition("=")
            if not person.isdecimal() or (equals and not driver.isdecimal()):
                raise UsageError("person", "is not known", expected=form, got=repr(part))
            if int(person) in pairs:
                raise UsageError("person", "is named twice", got=repr(self.person))
            pairs[int(person)] = int(driver) if equals else None
        if len({driver is None for driver in pairs.values()}) > 1:
            raise UsageError("person", "names the target's person for some only", got=repr(self.person))
        return pairs

    @property
    def pairs(self) -> dict[int, int]:
        """The pairs among `chosen`: track ids in the photograph, and in the target."""
        return {person: driver for person, driver in self.chosen.items() if driver is not None}

    @property
    def drivers(self) -> Drivers:
        """The people whose motion has to be read from the target."""
        if self.pairs:
            return tuple(dict.fromkeys(self.pairs.values()))
        return int(self.target_person) if self.target_person.isdecimal() else self.target_person  # type: ignore[return-value]

    @property
    def canvas_choice(self) -> str | tuple[int, int]:
        """The canvas: "keep", "fit", or a width and height in pixels.

        Raises:
            UsageError: If `canvas` is anything else.
        """
        if self.canvas in ("keep", "fit"):
            return self.canvas
        sizes = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", self.canvas.lower())
        form = f"keep, fit, or W×H of {MIN_SIZE} to {MAX_SIZE} pixels"
        if sizes is None or not all(MIN_SIZE <= int(size) <= MAX_SIZE for size in sizes.groups()):
            raise UsageError("canvas", "is not known", expected=form, got=repr(self.canvas))
        return int(sizes[1]), int(sizes[2])
