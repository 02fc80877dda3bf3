"""The splits of the reposing paper's authors: which clothes of iPER and DeepFashion they choose by and evaluate on.

After dataset_definitions.py of MKnoche/warp3d_reposing@522e783, which lists them. iPER's 21 test clothes there are
those of the owners' val.txt (the 42 videos of iPER_protocol.json, svip-lab/impersonator). For their figures the authors
learn from all other clothes, those for validation included, and evaluate the last step.
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
"""21 clothes of iPER (person/clothes), of the owners' train.txt."""


@cache
def deepfashion_clothes() -> Mapping[str, str]:
    """Map clothes as "WOMEN/Dresses/id_00000002/02" to "validation" or "test", 2,061 each."""
    with np.load(Path(__file__).with_name("data") / "deepfashion_splits.npz") as file:
        categories = file["categories"].tolist()
        rows = zip(*(file[name].tolist() for name in ("category", "item", "colour", "is_test")), strict=True)
    return {
        f"{categories[category]}/id_{item:08d}/{colour:02d}": "test" if is_test else "validation"
        for category, item, colour, is_test in rows
    }


def random_pairs(counts: Mapping[str, int], number: int, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Draw pairs of images by clothes, as in the paper's appendix B: clothes uniformly, then two images of them.

    Args:
        counts: Clothes → how many images they have, two or more; number  of all pairs, none where there are no
            clothes.
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
