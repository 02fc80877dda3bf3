"""COCO's run-length encoded masks."""

from __future__ import annotations

import numpy as np
import pytest
from source_trees_b import BLOCK_RUNS

from humanpose_cli.core.errors import InputError
from humanpose_cli.datasets.densepose import decode_run_lengths


def packed(counts) -> str:
    """COCO's text of counts, after the format's description."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(bits + (0 if done else 32) + 48)
            if done:
                break
    return text


def counts_of(mask) -> list[int]:
    flat = mask.T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flat, [1 - flat[-1]])))) if len(flat) else np.array([], int)
    return np.diff(np.concatenate(([0], changes))).tolist()


@pytest.mark.parametrize(
    ("text", "size", "box"),
    [("5220003", (4, 5), (1, 3, 1, 4)), ("9", (3, 3), (0, 0, 0, 0)), ("09", (3, 3), (0, 3, 0, 3))],
)
def test_known_texts(text, size, box):
    """Made with pycocotools."""
    expected = np.zeros(size, bool)
    expected[box[0] : box[1], box[2] : box[3]] = True
    np.testing.assert_array_equal(decode_run_lengths({"size": list(size), "counts": text}, "a"), expected)


def test_a_part_of_densepose():
    mask = decode_run_lengths(BLOCK_RUNS, "a")
    expected = np.zeros((256, 256), bool)
    expected[100:200, 50:60] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("seed", range(20))
def test_masks_come_back(seed):
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 70, 2)) < random.random()
    counts = counts_of(mask)
    size = list(mask.shape)
    np.testing.assert_array_equal(decode_run_lengths({"size": size, "counts": counts}, "a"), mask)
    np.testing.assert_array_equal(decode_run_lengths({"size": size, "counts": packed(counts)}, "a"), mask)


def test_pycocotools_agrees():
    pycocotools = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(1).random((50, 30)) < 0.3
    encoded = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
    encoded["counts"] = encoded["counts"].decode()
    np.testing.assert_array_equal(decode_run_lengths({**encoded, "size": [50, 30]}, "a"), mask)


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        ({"size": [4, 5], "counts": "522000"}, "has a mask of another size, expected 4 × 5"),
        ({"size": [4, 5], "counts": "52200R"}, "cut short"),
        ({"size": [4, 5], "counts": "52\x01"}, "the character"),
        ({"size": [4, 5], "counts": [30, -10]}, "has a mask of another size"),
        ({"size": [4, 5], "counts": [[20]]}, "has a mask of another size"),
        ({"size": [4, 5], "counts": None}, "damaged mask"),
        ({"size": [4, 5], "counts": ["a"]}, "damaged mask"),
        ({"size": [4], "counts": "5"}, "unusable size"),
        ({"size": [-4, -5], "counts": "d0"}, "unusable size"),
        ({"size": [99999, 99999], "counts": "5"}, "unusable size"),
        ({"counts": "5"}, "unusable size"),
    ],
)
def test_damaged_masks_are_told(encoded, said):
    with pytest.raises(InputError, match=f"^file, annotations.3.: .*{said}"):
        decode_run_lengths(encoded, "file, annotations[3]")
