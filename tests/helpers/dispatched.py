"""What torch is asked for: every operation that it dispatches, by name."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode

# Operations that only name memory anew: on a GPU they start no kernel.
_VIEWS = (
    *("_reshape_alias", "_unsafe_view", "alias", "as_strided", "chunk", "detach", "expand", "flatten", "lift_fresh"),
    *("narrow", "permute", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind"),
    *("unflatten", "unsafe_split", "unsqueeze", "view", "view_as", "empty", "empty_like", "empty_strided"),
    *("new_empty", "new_empty_strided", "is_same_size"),
)
# Operations whose results the host reads: it waits for the GPU, and the GPU then for it.
WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "lift_fresh", "equal")


class Dispatched(TorchDispatchMode):
    """Counts operations in a context: `names`, `kernels` without views, and `waits`, which make the host wait.

    A constant made from Python numbers synchronises too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names[function.overloadpacket.__name__.removeprefix("aten::")] += 1
        return function(*args, **(kwargs or {}))

    @property
    def kernels(self) -> int:
        return sum(count for name, count in self.names.items() if name not in _VIEWS)

    @property
    def waits(self) -> dict[str, int]:
        return {name: self.names[name] for name in WAITS if self.names[name]}
