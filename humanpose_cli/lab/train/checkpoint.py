"""The checkpoint of a training: what it holds, and how it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from humanpose_cli.core.errors import HpcError, InputError, reason_of
from humanpose_cli.files.npz_files import check_archive
from humanpose_cli.files.restricted_pickle import check_torch_pickles
from humanpose_cli.files.text_files import read_json
from humanpose_cli.lab.cache.loader import Position
from humanpose_cli.lab.train.settings import refuse_other_settings

SCHEMA = 1


@dataclass
class TrainProgress:
    """The progress of a run.

    Attributes:
        step: Steps done.
        position: The position of the next batch.
        best: The best criterion so far.
        best_step: The step of the best criterion.
        sums: The sums of the losses since the last line of the history.
        summed: The number of steps in these sums.
        finished: Whether all steps are done.
        unvalidated: Whether the validation after these steps was interrupted.
    """

    step: int = 0
    position: Position = field(default_factory=Position)
    best: float | None = None
    best_step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    finished: bool = False
    unvalidated: bool = False


def read_checkpoint(path: Path, settings: Mapping[str, Any]) -> tuple[TrainProgress, dict[str, Any]]:
    """Read progress and state of a run.

    Args:
        path: The file.
        settings: The settings to continue with.

    Raises:
        InputError: If the file is damaged, or if it was made with other settings.
    """
    check_archive(path)
    try:
        check_torch_pickles(path)
        document = torch.load(path, map_location="cpu", weights_only=True)
        if document["schema"] != SCHEMA:
            raise InputError(path, "is of another version", expected=f"schema {SCHEMA}", got=str(document["schema"]))
        old, progress = dict(document["settings"]), dict(document["progress"])
        progress["position"] = Position(**progress["position"])
        progress.pop("waited", None)  # of earlier versions, which could end before the last step
        result, state = TrainProgress(**progress), dict(document["state"])
    except InputError:
        raise
    except Exception as error:  # torch's unpickler raises many kinds
        raise InputError(
            path, f"cannot be read ({reason_of(error)})", remedy="delete it to start again, or `resume=False`"
        ) from error
    refuse_other_settings(path, old, settings)
    return result, state


def seconds_before(path: Path) -> float:
    """Return the duration of a run until its last checkpoint; 0 if its run.json cannot be read."""
    try:
        seconds = float(read_json(path)["seconds"])
    except (HpcError, ValueError, LookupError, TypeError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
