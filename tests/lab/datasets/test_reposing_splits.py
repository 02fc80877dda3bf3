"""The clothes that the reposing paper's authors choose by and evaluate on."""

from __future__ import annotations

import hashlib
import re

from humanpose_cli.lab.datasets.reposing_splits import IPER_VALIDATION, deepfashion_clothes, random_pairs

# Of dataset_definitions.py, MKnoche/warp3d_reposing@522e783: the test clothes of iPER, and SHA-256 of the sorted lists
# of DeepFashion's, a line each, written as its folders are.
IPER_TEST = (
    "001/11 001/18 001/19 001/31 001/9 004/1 007/1 009/5 010/1 010/2 010/3 011/1 012/2 017/1 019/2 023/3 024/7 024/8 "
    "025/1 026/1 029/1"
)
DEEPFASHION = {
    "validation": "b64af7151171c9f7a338d1fab477ebc7b554de8f4a538ce014b0ef84276cc3b9",
    "test": "11467b96f44da25ed88a6405888a915a95e0ea24ee5e74a14255e6c51752b27f",
}


def test_iper_holds_21_clothes_out_beside_the_21_of_test() -> None:
    test = set(IPER_TEST.split())
    assert len(IPER_VALIDATION) == len(test) == 21
    assert not IPER_VALIDATION & test


def test_deepfashion_has_2061_clothes_each_for_choosing_and_evaluating() -> None:
    clothes = deepfashion_clothes()
    for split, digest in DEEPFASHION.items():
        names = sorted(name for name, of in clothes.items() if of == split)
        assert len(names) == 2061
        assert hashlib.sha256("\n".join(names).encode()).hexdigest() == digest
    assert len(clothes) == 2 * 2061  # a name is in one split alone
    assert all(re.fullmatch(r"(WO)?MEN/\w+/id_\d{8}/\d\d", name) for name in clothes)


def test_random_pairs_are_drawn_clothes_first() -> None:
    """Clothes are drawn alike however many images they have."""
    counts = {"few": 2, "many": 50}
    pairs = random_pairs(counts, 4000, 0)
    assert sum(map(len, pairs.values())) == 4000
    assert abs(len(pairs["few"]) - 2000) < 150  # 4.7 standard deviations
    for name, pairs_of_name in pairs.items():
        assert all(a != b and max(a, b) < counts[name] for a, b in pairs_of_name)
        assert len(set(pairs_of_name)) > 0.5 * min(len(pairs_of_name), counts[name] * (counts[name] - 1))
    assert set(pairs["few"]) == {(0, 1), (1, 0)}
    assert random_pairs(counts, 10, 0) != random_pairs(counts, 10, 1)
    assert random_pairs({}, 10, 0) == {}
