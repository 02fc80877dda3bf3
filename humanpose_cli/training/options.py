"""How a training runs, whatever it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from humanpose_cli.errors import UsageError

__all__ = ["TrainOptions"]


@dataclass(frozen=True)
class TrainOptions:
    """Settings of the loop.

    epochs          passes over the data
    steps           steps in all, however many passes they are; 0: those of `epochs`
    batch_size      examples of one step, over all processes together
    workers         processes that decode pictures, for each training process
    seed            of weights, order and augmentation
    precision       "full" float32; "mixed" half where it is safe; "auto" mixed on a GPU
    decay           power of the polynomial decay of the learning rate to zero; 0 keeps it
    clip            greatest norm of a step's gradient; 0 for none
    average         decay per step of the running average of the weights, which is then what is judged and kept; 0: none
    validate_every  steps between validations; 0 validates at the end of each epoch
    patience        validations without a better one after which training stops; 0: never
    log_every       steps that a line of metrics.jsonl averages
    save_every      seconds between checkpoints
    minutes         stop, resumable, after so long; 0: never
    """

    epochs: int = 10
    steps: int = 0
    batch_size: int = 8
    workers: int = 1
    seed: int = 0
    precision: Literal["auto", "full", "mixed"] = "auto"
    decay: float = 0.9
    clip: float = 0.0
    average: float = 0.0
    validate_every: int = 0
    patience: int = 0
    log_every: int = 50
    save_every: float = 120.0
    minutes: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps < 0 or self.batch_size < 1 or self.log_every < 1:
            raise UsageError(
                "training",
                "cannot run like this",
                expected="epochs, batch size, log_every of 1 or more",
            )
        if self.precision not in ("auto", "full", "mixed"):
            raise UsageError("precision", "is not known", expected="auto, full or mixed", got=self.precision)
        if not 0 <= self.average < 1:
            raise UsageError("average", "is no decay", expected="0 or more, below 1", got=str(self.average))

    def rate(self, step: int, steps: int) -> float:
        """Factor on the learning rate of step `step` of `steps`."""
        return (1 - step / max(steps, 1)) ** self.decay if self.decay else 1.0
