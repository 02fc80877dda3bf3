"""Names of the files that are written beside a fit file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from humanpose_cli.io.inputs import InputItem

FIT_SUFFIX = ".fit.npz"


def fit_stem(fit: Path) -> str:
    """Return the name of a fit file without its ending: `clip.mp4` of `clip.mp4.fit.npz`."""
    return fit.name.removesuffix(".npz").removesuffix(".fit")


def beside_fit(fit: Path, ending: str) -> Path:
    """Return a path beside a fit file: `clip.mp4.overlay.mp4` of `clip.mp4.fit.npz` and `.overlay.mp4`."""
    return fit.with_name(fit_stem(fit) + ending)


def fit_path(item: InputItem, out: Path) -> Path:
    """Return the fit file of an input.

    out  a folder, which mirrors the input tree, or the fit file's name, NAME.npz
    """
    from humanpose_cli.io.inputs import output_path

    return out if out.suffix.lower() == ".npz" and not out.is_dir() else output_path(item, out, FIT_SUFFIX)


def people_journal(fit: Path) -> Path:
    """Return the hidden file in which the people of a sequence are kept until its fit file is recorded as done."""
    digest = hashlib.sha256(os.fsencode(fit.name)).hexdigest()[:8]  # names may be as long as the system allows
    return fit.with_name(f".{fit.name[:40]}.{digest}.people")
