"""Values that are computed once from constant tensors and live as long as these do."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

__all__ = ["TensorMemo"]

T = TypeVar("T")


class TensorMemo(Generic[T]):
    """Remembers `compute(*tensors)` for the very same tensors while they are alive and not written to.

    Meant for a body's faces and bones, which never change: their checks and orderings cost more than a small
    operation. Inference tensors, which do not count their changes, are computed anew each time.
    """

    def __init__(self, compute: Callable[..., T]) -> None:
        self._compute = compute
        self._known: dict[tuple[int, ...], tuple[tuple[weakref.ref[Tensor], ...], tuple[int, ...], T]] = {}

    def __call__(self, *tensors: Tensor) -> T:
        if any(tensor.is_inference() for tensor in tensors):
            return self._compute(*tensors)
        key = tuple(map(id, tensors))
        versions = tuple(tensor._version for tensor in tensors)
        entry = self._known.get(key)
        if entry is not None:
            references, known_versions, value = entry
            same = all(ref() is tensor for ref, tensor in zip(references, tensors, strict=True))
            if same and known_versions == versions:
                return value
        value = self._compute(*tensors)

        def forget(_: object, known: dict = self._known) -> None:
            known.pop(key, None)

        self._known[key] = (tuple(weakref.ref(tensor, forget) for tensor in tensors), versions, value)
        return value
