"""What formats need and can hold, asked before any work on a fit."""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from humanpose_cli.core.errors import HpcError, UnavailableError, UsageError
from humanpose_cli.core.extras import EXTRAS, require_extra
from humanpose_cli.io.npz_files import read_npz

# Frames that a file can hold; of glb, bodies of all frames. C3D counts frames in 16 bits: programs that look beyond, in
# TRIAL:ACTUAL_END_FIELD or POINT:LONG_FRAMES, are few, and ezc3d and OpenSim are not among them. glTF's lengths have
# 32 bits, and a body of 54 joints takes up to 1.6 kB. The other formats have 64 bits, or are text.
_MOST = {"c3d": 65_535, "glb": 2_500_000, "vrma": 2_500_000}
_BYTES = {"obj": 800_000, "ply": 250_000}  # of a body, at least


def check_extras(formats: Collection[str]) -> None:
    """Raise UnavailableError if a format needs a package that is not installed."""
    for name in EXTRAS.keys() & {*formats}:
        require_extra(name)


def counts_of(fit: Path) -> tuple[int, int]:
    """Return the numbers of frames and bodies in a fit file; 0 for other files and damaged ones."""
    with suppress(HpcError, OSError):
        arrays = read_npz(fit, {"frame_names", "frame_index"}) if fit.suffix == ".npz" else {}
        return len(arrays.get("frame_names", ())), len(arrays.get("frame_index", ()))
    return 0, 0


def refusal_of(kind: str, frames: int, bodies: int, folder: Path, *, has_images: bool) -> HpcError | None:
    """Return why a fit cannot be exported; None if it can.

    Args:
        kind: The format.
        frames: Number of frames.
        bodies: Number of bodies of all frames.
        folder: The output folder, perhaps not made yet.
        has_images: Whether the images of the frames are known.
    """
    if kind == "masks" and not has_images:
        return UsageError("masks", "need the frames of the fit", remedy="name them with `frames`")
    count, most = frames if kind in ("c3d", "vrma") else bodies, _MOST.get(kind, math.inf)
    if count > most:
        remedy = "bvh and trc hold any number; or fit parts, hpc fit --frames A:B"
        return UsageError(
            kind, "cannot hold so many frames", expected=f"at most {most:,}", got=f"{count:,}", remedy=remedy
        )
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    needed, free = count * _BYTES.get(kind, 0) / 1e9, shutil.disk_usage(place).free / 1e9
    if needed > free:
        problem = f"has too little space for {count:,} bodies as {kind}"
        return UnavailableError(folder, problem, expected=f"about {needed:.0f} GB", got=f"{free:.0f} GB")
    return None
