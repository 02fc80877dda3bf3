"""Splits of the reposing paper's authors: clothes of iPER and DeepFashion for choosing and evaluating.

After dataset_definitions.py of MKnoche/warp3d_reposing@522e783, which lists them. Its 21 test clothes of iPER are the
clothes in the owners' val.txt (the 42 videos of iPER_protocol.json, svip-lab/impersonator). For their figures the
authors learn from all other clothes, including the validation clothes, and evaluate the last step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

_IPER_VALIDATION = (
    "001/14 001/16 001/2 001/21 001/29 001/4 001/5 001/6 004/2 006/1 009/4 009/7 012/1 015/2 015/3 018/1 019/1 019/3 "
    "021/1 024/2 028/1"
)
IPER_VALIDATION = frozenset(_IPER_VALIDATION.split())
"""21 clothes of iPER (person/clothes) in the owners' train.txt."""


@cache
def deepfashion_clothes() -> Mapping[str, str]:
    """Map clothes such as "WOMEN/Dresses/id_00000002/02" to "validation" or "test", 2,061 each."""
    with np.load(Path(__file__).with_name("data") / "deepfashion_splits.npz") as file:
        categories = file["categories"].tolist()
        rows = zip(*(file[name].tolist() for name in ("category", "item", "colour", "is_test")), strict=True)
    return {
        f"{categories[category]}/id_{item:08d}/{colour:02d}": "test" if is_test else "validation"
        for category, item, colour, is_test in rows
    }


def random_pairs(counts: Mapping[str, int], number: int, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Draw pairs of images by clothes, as in the paper's appendix B: clothes uniformly, then two of their images.

    Args:
        counts: Clothes → number of images, at least two.
        number: Number of all pairs; there are none without clothes.
        seed: Seed of the draw.

    Returns:
        Clothes → pairs of indices of their images.
    """
    names = list(counts)
    pairs: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    random = np.random.default_rng(seed)
    for _ in range(number if names else 0):
        name = names[random.integers(len(names))]
        first = int(random.integers(counts[name]))
        second = int(random.integers(counts[name] - 1))
        pairs[name].append((first, second + (second >= first)))
    return pairs
