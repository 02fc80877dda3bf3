"""What a run's record says of the machine's GPUs."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from humanpose_cli.core.device import gpu_names


def test_gpus_are_named_where_torch_is_loaded(monkeypatch):
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda i: f"GPU {i}")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert gpu_names() == ["GPU 0", "GPU 1"]
    cuda.is_available = lambda: False
    assert gpu_names() == []
    monkeypatch.delitem(sys.modules, "torch")
    assert gpu_names() == []
