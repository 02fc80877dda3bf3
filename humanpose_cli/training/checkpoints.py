"""Checkpoints: everything that decides the next step, in one file that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from humanpose_cli.data.loader import Position
from humanpose_cli.errors import InputError
from humanpose_cli.io.atomic import atomic_path

__all__ = ["Progress", "read_checkpoint", "write_checkpoint"]

SCHEMA = 1


@dataclass
class Progress:
    """How far a run is.

    step        steps done; position the next batch
    best        the best criterion so far and the step it was reached at; waited validations since
    sums, summed  the losses since the last line of the history, and how many steps they are of
    seconds     spent training, over all starts
    """

    step: int = 0
    position: Position = field(default_factory=Position)
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    seconds: float = 0.0
    finished: bool = False


def write_checkpoint(path: Path, progress: Progress, state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Save progress and state.

    settings  plain values that must be the same for a run to go on
    """
    document = {"schema": SCHEMA, "progress": asdict(progress), "state": dict(state), "settings": dict(settings)}
    with atomic_path(path) as temporary:
        torch.save(document, temporary)


def read_checkpoint(path: Path, settings: Mapping[str, Any]) -> tuple[Progress, dict[str, Any]]:
    """Progress and state of a run to go on with; InputError where the file is damaged or other settings made it."""
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        if document["schema"] != SCHEMA:
            raise InputError(path, "is of another version", expected=f"schema {SCHEMA}", got=str(document["schema"]))
        saved, progress = document["settings"], dict(document["progress"])
        progress["position"] = Position(**progress["position"])
        found = Progress(**progress)
    except InputError:
        raise
    except Exception as error:  # whatever torch's unpickler meets
        raise InputError(
            path, f"cannot be read ({str(error).splitlines()[0]})", remedy="delete it to start anew, or --no-resume"
        ) from error
    for name in sorted(set(saved) | set(settings)):
        if saved.get(name) != settings.get(name):
            raise InputError(
                path,
                f"was made with another {name}",
                expected=str(settings.get(name)),
                got=str(saved.get(name)),
                remedy="give the old value, another --out, or --no-resume",
            )
    return found, document["state"]
