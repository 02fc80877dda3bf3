"""How much memory a training step keeps for its gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

__all__ = ["Activations", "counted_activations"]


class Activations:
    """bytes  kept for the backward pass, every storage once, the weights left out"""

    def __init__(self, model: nn.Module) -> None:
        self._own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
        self._seen: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self._seen.values())

    def count(self, tensor: Tensor) -> Tensor:
        """Note a tensor that is kept."""
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._own:
                self._seen[storage.data_ptr()] = storage.nbytes()
        return tensor


@contextmanager
def counted_activations(model: nn.Module) -> Iterator[Activations]:
    """Counts what a forward pass inside keeps; the pass itself is as ever."""
    found = Activations(model)
    with saved_tensors_hooks(found.count, lambda tensor: tensor):
        yield found
