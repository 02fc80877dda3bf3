"""Training in several processes under torchrun: one dataset, one set of weights, gradients averaged at every step.

Gradients are averaged here and not by DistributedDataParallel, whose hooks expect one forward pass of one module per
step; a GAN has two. Batch normalisation keeps each process's own statistics; the first process's are saved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.outputs.atomic import ensure_folder, remove_abandoned
from humanpose_cli.outputs.ledger import RECORD, Ledger, claim, recorded
from humanpose_cli.outputs.locks import locked_file
from humanpose_cli.outputs.protection import is_command

_TIMEOUT = timedelta(days=7)
_LOCK = ".training.lock"  # in the folder of a training


@dataclass(frozen=True)
class Processes:
    """This process in the group of processes that train together.

    Attributes:
        rank: The number of this process.
        count: The number of processes.
        patient: The same processes as a group for messages on the CPU. It does not wait for devices, and has a long
            timeout, because others may validate or write files. The computations' group gives up after minutes.
    """

    rank: int = 0
    count: int = 1
    patient: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, module: nn.Module) -> None:
        """Copy the first process's weights and buffers to all.

        Args:
            module: The module.
        """
        if self.count > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.data, 0)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average all processes' gradients in place, in one message.

        Args:
            parameters: The parameters.
        """
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, *wishes: bool) -> list[bool]:
        """Return for each flag whether any process has set it; all must call this at the same time.

        Args:
            *wishes: The flags.
        """
        if self.count == 1:
            return list(wishes)
        flags = torch.tensor(wishes, dtype=torch.uint8)
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.patient)
        return [bool(flag) for flag in flags.tolist()]

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over all processes; all must call this at the same time."""
        if self.count == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.count

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            dist.barrier(group=self.patient)

    def random_states(self, device: torch.device) -> dict[str, list[Tensor | None]]:
        """Return every process's random state: `random` of the CPU, `cuda_random` of its GPU or None."""
        states_here = torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        states: list[Any] = [states_here]
        if self.count > 1:
            states = [None] * self.count
            dist.all_gather_object(states, states_here, group=self.patient)
        return {"random": [cpu for cpu, _ in states], "cuda_random": [cuda for _, cuda in states]}

    def restore_random(self, states: Mapping[str, Sequence[Tensor | None]], device: torch.device) -> None:
        """Restore `random_states`; missing states stay unchanged.

        Args:
            states: The result of `random_states`.
            device: The device of this process.
        """
        cpu, cuda = (states[name][self.rank : self.rank + 1] for name in ("random", "cuda_random"))
        if cpu and cpu[0] is not None:
            torch.set_rng_state(cpu[0])
        if device.type == "cuda" and cuda and cuda[0] is not None:
            torch.cuda.set_rng_state(cuda[0], device)


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Enter the group that torchrun started this process in, or a group of one without torchrun.

    Inside, the device is torch's current one, which threads that pin memory use.

    Args:
        device: The device of this process.

    Raises:
        UnavailableError: If another process of the group has died.
    """
    on_gpu = device.type == "cuda"
    with torch.cuda.device(device) if on_gpu else nullcontext():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            yield Processes()
            return
        dist.init_process_group("nccl" if on_gpu else "gloo")
        try:
            patient = dist.new_group(backend="gloo", timeout=_TIMEOUT)
            yield Processes(dist.get_rank(), dist.get_world_size(), patient)
        except BaseException as error:
            if not on_gpu:  # NCCL would wait for the others, who wait for this process; torchrun ends them with it
                dist.destroy_process_group()
            if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
                remedy = "the same command continues from the last checkpoint"
                raise UnavailableError("training", "lost another of its processes", remedy=remedy) from error
            raise
        dist.destroy_process_group()


@contextmanager
def only_training(folder: Path, group: Processes, names: Iterable[str] = (), resumes: str = "") -> Iterator[None]:
    """Lock a folder, which is created, for this training, and remove partial files of a killed one.

    Args:
        folder: The folder.
        group: The processes of this training.
        names: The files that the training replaces, also patterns.
        resumes: The file by which runs of earlier versions are known, which have no record of their files.

    Raises:
        UsageError: If another training uses the folder, or if a file is the user's.
    """
    with ExitStack() as stack:
        path = ensure_folder(folder) / _LOCK
        alone = not group.first or stack.enter_context(locked_file(path))
        (is_training,) = group.agree(not alone)
        if is_training:
            raise UsageError(
                folder, "another process is running a training here", remedy="wait for it, or give another `out`"
            )
        if group.first:
            remove_abandoned(folder)
            if is_command():
                is_old = bool(resumes) and (folder / resumes).exists() and not (folder / RECORD).exists()
                stack.enter_context(recorded(Ledger(folder, overwrite=is_old or None)))
                for path in sorted({path for name in names for path in folder.glob(name)}):
                    claim(path)
        yield


def claim_parts(folder: Path) -> None:
    """Claim the files of trainings below a folder before they are removed.

    Raises UsageError if one is the user's.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (RECORD, _LOCK):
            claim(path)
