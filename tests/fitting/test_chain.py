"""Chains of frames: the block solver against a dense one, steps, windows, and accelerations at uneven times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.fitting.chain import (
    ChainEquations,
    damped_step,
    second_differences,
    solve_block_pentadiagonal,
    windows_of,
)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_the_block_solver_agrees_with_a_dense_one(count: int) -> None:
    width, random = 4, np.random.default_rng(count)
    rows = random.normal(size=((count + 4) * width, count * width))
    frame, column = np.arange(len(rows)) // width - 2, np.arange(count * width) // width
    rows[(column < frame[:, None]) | (column > frame[:, None] + 2)] = 0
    dense = torch.from_numpy(rows.T @ rows + 0.1 * np.eye(count * width))
    blocks = dense.view(count, width, count, width).transpose(1, 2)
    zero = torch.zeros(width, width, dtype=torch.float64)
    diagonals = [torch.stack([blocks[t + k, t] if t + k < count else zero for t in range(count)]) for k in range(3)]
    right = torch.from_numpy(random.normal(size=(count, width)))
    solved = solve_block_pentadiagonal(tuple(diagonals), right)
    assert solved is not None
    assert torch.allclose(solved.flatten(), torch.linalg.solve(dense, right.flatten()), atol=1e-10)


def test_what_is_not_positive_definite_has_no_solution() -> None:
    same = -torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    assert solve_block_pentadiagonal((same, 0 * same, 0 * same), torch.ones(3, 2, dtype=torch.float64)) is None


def test_damping_is_a_share_of_the_diagonal() -> None:
    random = np.random.default_rng(3)
    same, one, two = (torch.from_numpy(scale * random.normal(size=(4, 3, 3))) for scale in (1, 0.1, 0.1))
    same = same @ same.mT + 2 * torch.eye(3, dtype=torch.float64)
    one[3:], two[2:] = 0, 0
    gradient = torch.from_numpy(random.normal(size=(4, 3)))
    step = damped_step(ChainEquations(0.0, gradient, (same, one, two)), 0.1)
    damped = same + 0.1 * torch.diag_embed(same.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(step, solve_block_pentadiagonal((damped, one, two), -gradient), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [(0, 1, 0)]),
        (60, [(0, 60, 0)]),
        (61, [(0, 60, 0), (48, 61, 2)]),
        (108, [(0, 60, 0), (48, 108, 2)]),
        (120, [(0, 60, 0), (48, 108, 2), (96, 120, 2)]),
    ],
)
def test_windows_overlap_by_their_margin_and_reach_the_end(count: int, expected: list[tuple[int, int, int]]) -> None:
    windows = windows_of(count, 60, 12)
    assert windows == expected
    assert windows[-1].rows == slice(windows[-1].start - windows[-1].held_count, count)


def test_accelerations_at_uneven_times_are_those_of_a_parabola() -> None:
    time = torch.tensor([0.0, 0.02, 0.1, 0.11, 0.5], dtype=torch.float64)
    x = 1.5 - 2 * time + 0.5 * 9.81 * time**2
    accelerations = second_differences(time) * torch.stack((x[:-2], x[1:-1], x[2:]), 1)
    assert accelerations.sum(1).tolist() == pytest.approx(3 * [9.81])
    even = second_differences(0.25 * torch.arange(4, dtype=torch.float64))
    assert even.tolist() == 2 * [pytest.approx([16, -32, 16])]
