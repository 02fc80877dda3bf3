"""Which people are evaluated, and what every report says of them and of weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from humanpose_cli.core.progress import Progress
from humanpose_cli.data.cache import open_cache
from humanpose_cli.evaluate.ablations import Trainings
from humanpose_cli.evaluate.people import EvaluatedPeople, held_out_people
from humanpose_cli.io.atomic import ensure_folder
from humanpose_cli.networks.weights import digest_of, read_header

__all__ = ["PeopleSelection", "trainings_of", "weights_facts"]


@dataclass(frozen=True)
class PeopleSelection:
    """Which people are evaluated.

    data      cache; protocol and split of it, "" for the usual ones (see `held_out_split`)
    seen      least share of a person's joints that must be visible; pairs of images are taken as they are
    limit     people, or pairs, at most, spread evenly; 0 for all
    body      of the labels: "default" or "smpl:FILE"
    """

    data: Path
    protocol: str = ""
    split: str = ""
    seen: float = 0.0
    limit: int = 0
    body: str = "default"

    def people(self, *needs: str) -> EvaluatedPeople:
        """Those with the labels that are needed and known bodies."""
        return held_out_people(
            self.data,
            needs,
            protocol=self.protocol,
            split=self.split,
            body=self.body,
            seen=self.seen,
            limit=self.limit,
        )

    def facts(self, protocol: str, split: str) -> dict[str, Any]:
        """What a report says about them."""
        header = open_cache(self.data).header
        seen = f", {self.seen:.0%} of the joints in sight or more" if self.seen else ""
        return {"data": f"{header.source}, digest {header.content_digest[:16]}", "split": f"{protocol}/{split}{seen}"}


def trainings_of(
    selection: PeopleSelection,
    device: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    *,
    seeds: int,
    planned: int,
) -> Trainings:
    """The trainings of an ablation; `folder/runs` keeps them, finished or not."""
    return Trainings(
        selection.data,
        ensure_folder(folder / "runs"),
        torch.device(device),
        seeds,
        planned,
        progress=progress,
        stop=stop,
    )


def weights_facts(name: str, path: Path) -> dict[str, Any]:
    """What a report says about weights."""
    header = read_header(path)
    steps = header.training.get("steps", "?")
    return {name: f"{header.model}, {steps} steps, SHA-256 {digest_of(path)[:16]}"}
