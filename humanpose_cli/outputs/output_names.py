"""Names of the files that are written beside a fit file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

FIT_SUFFIX = ".fit.npz"


def beside_fit(fit: Path, ending: str) -> Path:
    """Return a path beside a fit file: `clip.mp4.overlay.mp4` of `clip.mp4.fit.npz` and `.overlay.mp4`."""
    return fit.with_name(fit.name.removesuffix(".npz").removesuffix(".fit") + ending)


def fit_path(name: str, out: Path) -> Path:
    """Return the path of the fit file for an input or for another fit.

    Args:
        name: Key of the input, or the fit's name below its folder.
        out: A folder, which mirrors the input tree, or the fit file, NAME.npz.
    """
    is_file = out.suffix.lower() == ".npz" and not out.is_dir()
    return out if is_file else out / (name.removesuffix(FIT_SUFFIX) + FIT_SUFFIX)


def people_journal(fit: Path) -> Path:
    """Return the hidden file that stores the people of a sequence until its fit file is recorded as done."""
    digest = hashlib.sha256(os.fsencode(fit.name)).hexdigest()[:8]  # names may be as long as the system allows
    return fit.with_name(f".{fit.name[:40]}.{digest}.people")
