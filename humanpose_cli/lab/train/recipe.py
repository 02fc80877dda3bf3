"""The interface between a model and the training loop, the loop's settings, and functions that recipes share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from humanpose_cli.core.device import local_processes, usable_cores
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import Options, option
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions, Make
from humanpose_cli.lab.train.graphs import map_tensors

_MACHINE_OPTIONS = ("workers", "log_every", "keep_every", "save_every", "minutes")
# Options that runs of earlier versions did not record. Their defaults are left out, so that those runs continue.
_LATER_OPTIONS = ("accumulate", "optimiser", "warm_up")


@dataclass(frozen=True)
class TrainOptions(Options):
    """Settings of the training loop."""

    epochs: int = option(10, "Passes over the data.", minimum=1)
    steps: int = option(
        0, "Total number of steps, independent of the number of passes; 0 for `epochs` passes.", minimum=0
    )
    batch_size: int = option(8, "Examples of one step, over all processes together.", minimum=1)
    accumulate: int = option(
        1, "Batches of one step, computed one after another: a step of `accumulate` × `batch_size` examples.", minimum=1
    )
    workers: int | None = option(
        None, "Processes that decode images, for each training process.", unset="see `workers_for`"
    )
    seed: int = option(0, "Seed of weights, order and augmentation.")
    precision: Literal["auto", "full", "mixed"] = option(
        "auto",
        "Precision: full (float32), mixed (half precision where it is safe), or auto (mixed on a GPU from 10 million "
        "parameters, and on processors with AVX512-BF16).",
    )
    optimiser: Literal["adam", "adamw"] = option(
        "adam", "Optimiser: adam, or adamw, whose weight decay does not depend on the gradients."
    )
    warm_up: int = option(0, "Steps in which the learning rate rises to its full value.", minimum=0)
    decay: float | Literal["cosine"] = option(
        0.9,
        "Decay of the learning rate to zero after the warm-up: the power of a polynomial, or cosine; 0 keeps the rate.",
    )
    clip: float = option(0.0, "Maximum norm of a step's gradient; 0 for no limit.")
    average: float = option(
        0.0,
        "Decay per step of the moving average of the weights, which is evaluated and kept; 0 for none.",
        minimum=0,
        below=1,
    )
    keep: Literal["best", "last"] = option(
        "best",
        "Weights to use: best (by the criterion in validation), or last (of the last step, without selection by "
        "held-out data).",
    )
    validate_every: int = option(0, "Steps between validations; 0 validates at the end of each epoch.")
    log_every: int = option(50, "Steps that one line of metrics.jsonl averages.", minimum=1)
    keep_every: int = option(0, "Steps between weights that are kept in `weights`; 0 for none.", minimum=0)
    save_every: float = option(120.0, "Time between checkpoints.", unit="seconds", minimum=0)
    minutes: float = option(
        0.0, "Time after which the training stops and can be resumed; 0 for no limit.", unit="minutes", minimum=0
    )

    @property
    def result_settings(self) -> dict[str, Any]:
        """The options that decide the weights. The others may change between starts of a run."""
        default = TrainOptions()
        usual = {name for name in _LATER_OPTIONS if getattr(self, name) == getattr(default, name)}
        return {name: value for name, value in asdict(self).items() if name not in {*_MACHINE_OPTIONS, *usual}}

    @property
    def step_size(self) -> int:
        """Examples of one step."""
        return self.batch_size * self.accumulate

    def workers_for(self, device: str) -> int:
        """Return the number of processes that decode for one training process.

        By default one on a CPU. On a GPU, enough to keep it busy: all cores but one of this machine, at most 16
        for each training process.

        Args:
            device: The type of device.
        """
        if self.workers is not None:
            return self.workers
        if device != "cuda":
            return 1
        _, processes = local_processes()
        return max(1, min(16, (usable_cores() - 1) // processes))

    def rate(self, step: int, steps: int) -> float:
        """Return the factor of the learning rate.

        Args:
            step: The number of steps before it.
            steps: The number of all steps.
        """
        if step < self.warm_up:
            return (step + 1) / (self.warm_up + 1)
        done = (step - self.warm_up) / max(steps - self.warm_up, 1)
        if self.decay == "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        return (1 - done) ** self.decay if self.decay else 1.0


Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Phase:
    """One optimiser's part of every step: one for a network, one for each side of a GAN.

    Attributes:
        name: The name of the phase.
        parameters: The parameters that it changes.
        learning_rate: The optimiser's learning rate.
        betas: The optimiser's betas.
        weight_decay: The optimiser's weight decay.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0


class Recipe(ABC, Generic[Batch]):
    """A model, its data, its losses and its evaluation.

    Attributes:
        name: The model's name, as in `hpc train NAME`.
        model: Everything that learns or is saved with it.
        criterion: The metric of `validate` that chooses the best weights.
        higher_is_better: Whether a higher criterion is better.
        held_out: The examples that validations choose from. None if the recipe creates its own examples.
        validation_data: Data of `validate`, as plain JSON values for headers and captions; {} if unknown.
            `count` and `unit`: how many of what, such as people. `data` and `digest`: source and content digest of
            the cache. `protocol` and `split` of the cache. `apart`: whether this is a part of that split that is not
            used for training. `shared_sequences`: number of sequences that training also uses. `left_out`: how
            many of what neither training nor validation uses, and why.
    """

    name: str
    model: nn.Module
    criterion: str
    higher_is_better: bool = False
    held_out: Any = None
    validation_data: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """Return the phases of a step, in order."""

    @abstractmethod
    def batches(self, options: LoaderOptions) -> BatchLoader:
        """Create the training batches; their `make` and `collate` must be picklable.

        Args:
            options: The options of the loader.
        """

    def graph_key(self, step: int) -> Hashable:
        """Prepare a step, and return what decides its operations.

        On a GPU, steps of one key are captured as a CUDA graph: `losses` then runs in the first of them only.

        Args:
            step: The number of steps before it.

        Returns:
            The key. None if values decide about operations, so that steps cannot be captured.
        """
        return ""

    @abstractmethod
    def losses(self, phase: str, batch: Batch) -> Mapping[str, Tensor] | None:
        """Compute scalars by name: `loss` is minimised, the others are logged.

        Args:
            phase: The name of the phase.
            batch: The batch, on the model's device.

        Returns:
            The scalars, or None to skip this phase in this step.
        """

    @abstractmethod
    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Measure held-out data, with the model in evaluation mode and without gradients.

        Args:
            batch_size: The number of examples of a batch.

        Returns:
            Metrics by name, among them `criterion`.
        """

    @abstractmethod
    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return the tensors that a user needs, without those for training alone, and the config of the model."""

    def image(self) -> NDArray[np.uint8] | None:
        """Draw a contact sheet of a few held-out examples and their predictions.

        Returns:
            (H, W, 3) uint8, or None if there is nothing to show.
        """
        return None

    def state(self) -> dict[str, Any]:
        """Return all other state that decides the next steps, as plain values and tensors for checkpoints."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`."""

    def describe(self) -> Mapping[str, Any]:
        """Return data and settings as plain JSON values, for the run's record and the weights' header."""
        return {}

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        return next(self.model.parameters()).device


def held_out_batches(
    make: Make, numbers: Sequence[int], batch_size: int, collate: Callable[[list[Any]], Any] = default_collate
) -> BatchLoader:
    """Create batches of examples in order, without augmentation, each example once.

    Args:
        make: The function that creates an example.
        numbers: The numbers of the examples.
        batch_size: The number of examples of a batch.
        collate: The function that joins examples to a batch.
    """
    options = LoaderOptions(min(batch_size, len(numbers)), shuffle=False, drop_last=False)
    return BatchLoader(numbers, make, options, collate)


def check_batch(data: Path, count: int, options: LoaderOptions, what: str = "people") -> None:
    """Check that the examples of a cache fill one batch.

    Args:
        data: The cache, for messages.
        count: The number of examples.
        options: The options of the loader.
        what: The unit of the examples, for messages.

    Raises:
        InputError: If there are too few.
    """
    minimum = options.batch_size * options.world_size
    if count < minimum:
        raise InputError(
            data,
            f"has too few {what} to learn from for one batch",
            expected=f"{minimum} or more",
            got=str(count),
            remedy="a smaller `batch_size`, or a larger cache",
        )


def two_columns(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Arrange panels (H, W, 3) of one size in two columns of a contact sheet."""
    half = (len(panels) + 1) // 2
    columns = [np.concatenate(panels[:half], 0), np.concatenate(panels[half:] or panels[:half], 0)]
    height = min(len(column) for column in columns)
    return np.concatenate([column[:height] for column in columns], 1)


def moved(batch: Any, device: Any) -> Any:
    """Move a batch of tensors in tuples, lists and dictionaries to a device."""
    return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))
