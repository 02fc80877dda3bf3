"""Putting named tensors of a file into a network, or saying which one does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from humanpose_cli.errors import InputError

__all__ = ["fill"]

_COUNTER = "num_batches_tracked"  # of batch normalisation: says nothing about what was learned


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load all of a module's tensors by name.

    InputError, which names the first in alphabetical order that is missing, left over or of another shape, and the
    file.
    """
    own, found = (
        {name: str(tuple(value.shape)) for name, value in state.items() if not name.endswith(_COUNTER)}
        for state in (module.state_dict(), tensors)
    )
    for name in sorted(set(own) | set(found)):
        expected, got = own.get(name, "nothing"), found.get(name, "nothing")
        if expected != got:
            remedy = "it belongs to another network, or to another number of parts, joints or channels"
            raise InputError(path, f"does not fit at {name}", expected=expected, got=got, remedy=remedy)
    module.load_state_dict({name: tensors[name] for name in own}, strict=False)
