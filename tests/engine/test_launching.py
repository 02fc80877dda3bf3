"""Memory for large results."""

from __future__ import annotations

import sys

import pytest
import torch

from humanpose_cli.engine import launching


@pytest.fixture
def advised(monkeypatch):
    """What the system is advised, instead of telling it."""
    calls = []
    monkeypatch.setattr(launching, "_advice", lambda: lambda *call: calls.append(call))
    return calls


@pytest.mark.parametrize("size", [0, 1, 1000, (1 << 20) - 1])
def test_small_results_are_left_to_torch(advised, size):
    assert launching.fresh(torch.zeros(1), (size,)).shape == (size,)
    assert not advised


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 5_000_000])
def test_whole_huge_pages_inside_large_results_are_asked_for(advised, size):
    tensor = launching.fresh(torch.zeros(1), (size, 1))
    ((begin, length, advice),) = advised
    assert advice == 14
    assert begin % (2 << 20) == length % (2 << 20) == 0
    assert length > 0
    assert tensor.data_ptr() <= begin
    assert begin + length <= tensor.data_ptr() + tensor.nbytes
    assert tensor.nbytes - length < 4 << 20


def test_a_fresh_tensor_has_the_kind_of_its_model():
    tensor = launching.fresh(torch.zeros(2, dtype=torch.float64), (3, 1 << 20))
    assert tensor.dtype == torch.float64
    assert tensor.fill_(2.0).sum() == 6 << 20
    assert launching.fresh(torch.zeros(1, device="meta"), (1 << 22,)).device.type == "meta"


def test_systems_without_huge_pages_are_not_asked(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    launching._advice.cache_clear()
    assert launching._advice() is None
    assert launching.fresh(torch.zeros(1), (1 << 21,)).shape == (1 << 21,)
    launching._advice.cache_clear()
