"""What a plain install leaves out: the extras that users choose, as in `pip install "humanpose-cli[train]"`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from humanpose_cli.core.errors import UnavailableError


class Extra(NamedTuple):
    """distribution  that the extra installs
    module        by which it is imported
    purpose       what needs it
    """

    distribution: str
    module: str
    purpose: str


EXTRAS = {
    "slurm": Extra("submitit", "submitit", "jobs of Slurm"),
    "train": Extra("matplotlib", "matplotlib", "trainings and evaluations"),
    "usd": Extra("usd-core", "pxr", "USD files"),
}


def remedy_of(extra: str) -> str:
    """The line that installs an extra."""
    return f'pip install "humanpose-cli[{extra}]"'


def require_extra(extra: str) -> None:
    """UnavailableError where an extra is not installed; nothing is imported."""
    needed = EXTRAS[extra]
    if find_spec(needed.module) is None:
        problem = f"is not installed, and {needed.purpose} need it"
        raise UnavailableError(needed.distribution, problem, remedy=remedy_of(extra))
