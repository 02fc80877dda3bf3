"""Where a photograph shows a skirt: cloth across both legs, with a hem."""

import numpy as np
import pytest
import torch
from helpers.extensive import extensive
from helpers.repose_stage import STANDING, Stage, pose
from helpers.skirts import APART, GREEN, in_a_skirt, reposer_of

from humanpose_cli.avatar.skirt import _hem, _row_of_skirt, _short_hem

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("hems", "middle", "gap_from", "levels"),
    [
        ((10, 10), GREEN, 10, 10),
        ((12, 12), GREEN, 20, 12),  # legs close together
        ((10, 10), GREEN, 6, None),  # shorts: the legs part above their hem
        ((10, 10), (10, 70, 15), 10, None),  # shorts: a crease between the legs
        ((10, 14), GREEN, 14, None),  # no hem of one height
        ((5, 5), GREEN, 5, None),  # a shirt
        ((20, 20), GREEN, 20, None),  # trousers
    ],
)
def test_the_hem_of_a_short_skirt_is_at_one_height(hems, middle, gap_from, levels) -> None:
    pixels = np.full((20, 80, 3), (205, 150, 120), np.uint8)
    person = np.zeros((20, 80), bool)
    person[:, 25:55] = True
    leg = person.copy()
    for columns, hem in zip((slice(20, 40), slice(40, 60)), hems, strict=True):
        pixels[:hem, columns] = GREEN
    pixels[: hems[0], 38:42] = middle
    person[gap_from:, 37:43] = leg[gap_from:, 37:43] = False
    signs = np.where(np.arange(20) < gap_from, 0, -1)
    assert _short_hem(pixels, person, leg, signs) == levels


@pytest.mark.extensive
@pytest.mark.parametrize("turn", [0.0, *extensive(1.2)])
def test_bare_legs_and_trousers_are_no_skirt(stage: Stage, turn: float) -> None:
    rotations = pose(turn, **STANDING, **APART)
    assert reposer_of(stage, stage.person(rotations), rotations).person.avatar.dressed.garments == ()


@pytest.mark.extensive
def test_cloth_that_goes_on_below_its_hem_is_trousers(stage: Stage) -> None:
    """Wide trousers: the space between the legs is filled further down than the crotch, and then they part."""
    rotations = pose(**STANDING, **APART)
    photo, mask = in_a_skirt(stage, rotations)
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hips = int(stage.view.project(joints[[1, 2]])[:, 1].mean())
    photo[hips:][mask[hips:] > 0.5] = GREEN
    person = reposer_of(stage, (photo, mask), rotations).person
    assert person.avatar.dressed.garments == ()
    assert "skirt" in [doubt.kind for doubt in person.doubts(person.pose)]


@pytest.mark.parametrize(
    ("cells", "sign", "edges"),
    [
        ("....LL...LL....", -1, (np.nan, np.nan)),  # background between the legs
        ("..ppLLpppLLpp..", 1, (-5, 5)),
        ("....LLLLLLL....", 0, (-3, 3)),
        ("ppppLLLLLLLppp.", 1, (np.nan, 6)),  # cut by the line's end
        ("...............", 0, (np.nan, np.nan)),
    ],
)
def test_rows_of_skirts(cells: str, sign: int, edges: tuple[float, float]) -> None:
    """Lines across the legs: L a leg, p the person beside it, . background; cells of 2 cm."""
    leg = np.array([cell == "L" for cell in cells])
    person = np.array([cell in "Lp" for cell in cells])
    reach = np.arange(-7, 8) * 0.02
    found, at = _row_of_skirt(person, np.zeros(15, bool), leg, reach)
    assert found == sign
    np.testing.assert_allclose(np.array(at) / 0.02, edges)


def test_hems() -> None:
    length = round(0.22 / 0.02)

    def hem(signs: list[int], widths: list[float] | None = None) -> int | None:
        return _hem(np.array(signs), np.array(widths or [0.3] * len(signs)))

    assert hem([1] * length) == length
    assert hem([1] * (length - 1)) is None
    assert hem([0] * 3 + [1] * length + [0] * 2 + [-1, 1, 1]) == length + 3
    assert hem([-1] + [1] * 20) is None
    # Legs side by side below the hem: the outline goes in.
    assert hem([1] * (length + 9), [0.4] * (length + 4) + [0.2] * 5) == length + 4
    assert hem([1] * (length + 9), [0.4] * (length + 4) + [np.nan] * 5) == length + 9
    assert hem([1] * (length + 9), [0.4] * (length + 4) + [0.2] + [0.4] * 4) == length + 9  # one stray row
