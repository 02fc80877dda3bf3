"""Optional dependencies, as in `pip install "humanpose-cli[usd]"`, and how to install the package again."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from humanpose_cli.core.errors import UnavailableError, shell_word


class Extra(NamedTuple):
    """An optional dependency.

    Attributes:
        distribution: Name of the distribution.
        module: Name of its module.
        purpose: The features that need it.
    """

    distribution: str
    module: str
    purpose: str


EXTRAS = {
    "c3d": Extra("ezc3d", "ezc3d", "C3D files"),
    "cdf": Extra("cdflib", "cdflib", "CDF files"),
    "heic": Extra("pi-heif", "pi_heif", "HEIC images"),
    "slurm": Extra("submitit", "submitit", "jobs of Slurm"),
    "tensorboard": Extra("tensorboard", "tensorboard", "curves of trainings in TensorBoard"),
    "usd": Extra("usd-core", "pxr", "USD files"),
}


def remedy_of(extra: str) -> str:
    """Return the line that installs an extra."""
    return f'pip install "humanpose-cli[{extra}]"'


def require_extra(extra: str) -> None:
    """Raise UnavailableError if an extra is not installed, without importing it."""
    needs = EXTRAS[extra]
    if find_spec(needs.module) is None:
        problem = f"is not installed, and {needs.purpose} need it"
        raise UnavailableError(needs.distribution, problem, remedy=remedy_of(extra))


def reinstall_line() -> str:
    """Return the command that restores files of this package from its source."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        return f"git -C {shell_word(root)} checkout -- humanpose_cli"
    # PEP 610: pip records the source of the package, unless it was an index.
    distribution = next(iter(metadata.distributions(name="humanpose-cli")), None)
    origin = json.loads((distribution and distribution.read_text("direct_url.json")) or "{}")
    url, repository = origin.get("url", ""), origin.get("vcs_info")
    if not url or (url.startswith("file:") and not Path(unquote(urlsplit(url).path)).exists()):
        return "install humanpose-cli again, from where you took it"
    source = f"{repository['vcs']}+{url}@{repository['commit_id']}" if repository else url
    return f"{shell_word(sys.executable)} -m pip install --force-reinstall --no-deps {shell_word(source)}"
