"""Work in blocks of rows."""

import numpy as np
import pytest

from humanpose_cli.core.blocks import in_blocks


@pytest.mark.parametrize("shape", [(1, 1), (3, 70_000), (1000, 300, 3), (2048, 16), (0, 5), (5, 0)])
def test_every_row_is_handled_once(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.int64)

    def work(rows: slice) -> None:
        image[rows] += np.arange(rows.start, rows.stop).reshape(-1, *(1 for _ in shape[1:])) + 1

    in_blocks(work, shape)
    expected = np.arange(1, shape[0] + 1).reshape(-1, *(1 for _ in shape[1:]))
    np.testing.assert_array_equal(image, np.broadcast_to(expected, shape))


def test_what_goes_wrong_in_a_block_is_raised() -> None:
    def work(rows: slice) -> None:
        if rows.start > 0:
            raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        in_blocks(work, (4096, 4096))
