"""CUDA graphs on the CPU: operations are recorded as torch dispatches them, and repeated on the same memory."""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from humanpose_cli.engine import launching


class RecordedGraph(TorchDispatchMode):
    """Records what runs inside, which leaves no trace: memory that was there before is put back at the end."""

    def __init__(self):
        super().__init__()
        self.replays, self.operations, self.before, self.own, self.records = 0, [], {}, set(), False

    def __enter__(self):
        self.records, self.random = True, torch.get_rng_state()
        return super().__enter__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        for tensor in tensors:  # the schema of batch normalisation does not name what it changes
            self.keep(tensor)
        result = function(*args, **kwargs)
        known = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        new = [result for result in results if result.untyped_storage().data_ptr() not in known and result.numel()]
        self.own |= {tensor.untyped_storage().data_ptr() for tensor in new}
        self.operations.append((lambda: function(*args, **kwargs), result, bool(new)))
        return result

    def keep(self, tensor):
        address = tensor.untyped_storage().data_ptr()
        if address and address not in self.own | self.before.keys():
            with _disable_current_modes():
                self.before[address] = tensor.untyped_storage(), tensor.untyped_storage().clone()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.records = False
        torch.set_rng_state(self.random)
        for storage, content in self.before.values():
            storage.copy_(content)

    def replay(self):
        self.replays += 1
        with torch._C._AutoDispatchBelowAutograd():
            for run, recorded, is_new in self.operations:
                results = tree_leaves(run())
                for old, result in zip(tree_leaves(recorded), results, strict=True) if is_new else ():
                    if isinstance(old, torch.Tensor):
                        old.copy_(result)


@contextmanager
def recorded_graphs(monkeypatch):
    """Inside, `torch.cuda` captures what the CPU does; yields the graphs."""
    graphs, run = [], launching._run

    def capture(graph, stream, capture_error_mode):
        def launch(*arguments):
            if graph.records:
                for tensor in (array[0] for array in arguments[3] if array.__class__ is tuple):
                    graph.keep(tensor)
                graph.operations.append((lambda: run(*arguments), None, False))
            run(*arguments)

        graphs.append(graph)
        patched.setattr(launching, "_run", launch)
        return graph

    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "Stream", lambda device: type("Stream", (), {"wait_stream": lambda *_: None})())
        patched.setattr(torch.cuda, "current_stream", torch.cuda.Stream)
        patched.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        patched.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
        patched.setattr(torch.cuda, "graph", capture)
        yield graphs
