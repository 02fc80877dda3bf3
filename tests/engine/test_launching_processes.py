"""Skinning from several threads at once, and it and the part warp in the worker processes of a data loader."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.patience import PATIENCE
from helpers.skinning_cases import PARENTS, random_body
from helpers.warping_cases import random_case
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from humanpose_cli.engine.skinning.op import pose_vertices


def pose_body(seed: int, vertices: int = 300) -> tuple[Tensor, Tensor]:
    """The posed vertices of a random body, and a gradient to its rotations."""
    body = random_body(2, vertices, seed=seed)
    arguments = (body.vertices, body.bone_indices, body.bone_weights, body.rotations, body.joints, PARENTS)
    posed = pose_vertices(*arguments, body.scales, body.rest_rotations, backend="kernel")[0]
    return posed.detach(), torch.autograd.grad(posed.square().sum(), body.rotations)[0]


class PosedAndWarped(Dataset):
    """A posed body, its gradient, and a warped volume."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return *pose_body(index), random_case(1, 3, seed=index).warped("kernel").detach()


@pytest.mark.slow
def test_threads_that_pose_at_once_get_the_same(two_threads):
    sizes = [50, 40_000]  # small launches, and such as are split
    expected = [pose_body(seed, sizes[seed % 2]) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = list(pool.map(lambda seed: pose_body(seed, sizes[seed % 2]), range(4)))
            for a, b in zip(found, expected, strict=True):
                assert torch.equal(a[0], b[0])
                assert torch.equal(a[1], b[1])


@pytest.mark.extensive
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loaders_workers_run_kernels_as_their_parent_does(method):
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    bodies = PosedAndWarped()
    expected = [bodies[index] for index in range(4)]  # the kernels run here first
    loader = DataLoader(bodies, batch_size=None, num_workers=1, multiprocessing_context=method, timeout=PATIENCE)
    for found, wanted in zip(loader, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
