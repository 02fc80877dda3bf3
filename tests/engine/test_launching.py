"""Memory for large results, and what a launch takes."""

from __future__ import annotations

import sys

import pytest
import torch

from humanpose_cli.engine import launching
from humanpose_cli.engine.rasterising import Raster, interpolate
from humanpose_cli.errors import UsageError


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


def test_pictures_too_far_apart_for_a_kernel_are_refused():
    """Their distance in memory would be cut to 32 bits. Nothing is written: the memory is only asked for."""
    pixels = torch.empty((2, 1 << 15, 1 << 15), dtype=torch.int32)
    with pytest.raises(UsageError, match=r"too large for the kernels, expected less than 2 GiB.*\(2, 32768, 32768\)"):
        launching._check_reach(pixels)
    launching._check_reach(pixels[:1])
    launching._check_reach(pixels[..., :9].expand(2, -1, -1)[:1])
    with pytest.raises(UsageError, match="too large"):
        launching._check_reach(torch.empty(1, dtype=torch.uint8).expand(1 << 31))


def test_kernels_refuse_what_they_cannot_reach():
    face = torch.zeros((1,), dtype=torch.int32).as_strided((2, 2, 2), (0, 0, 0))
    far = torch.empty((1 << 29) + 99, dtype=torch.float32).as_strided((2, 2, 2, 3), (1 << 29, 6, 3, 1))
    raster = Raster(face, far, far[..., 0])
    with pytest.raises(UsageError, match="too large for the kernels"):
        interpolate(raster, torch.tensor([[0, 1, 2]]), torch.ones(2, 3, 1), backend="kernel")


def test_more_threads_than_32_bits_count_are_refused():
    with pytest.raises(UsageError, match="too large for one launch"):
        launching.launch(None, 1 << 31, [], torch.device("cpu"))


def test_numbers_that_torch_has_yet_to_negate_are_negated():
    negated = torch._neg_view(torch.arange(3.0))
    assert launching.plain(negated)[0].is_neg() is False
    assert torch.equal(launching.plain(negated)[0], -torch.arange(3.0))
