"""Where a photograph shows a skirt: hanging cloth across both legs, with a hem."""

import numpy as np
import pytest
import torch
from helpers.extensive import extensive
from helpers.repose_stage import STANDING, Stage, pose
from helpers.skirts import APART, GREEN, reposer_of

from humanpose_cli.avatar.skirt import _edges_of_row, _hem_of_labels, _hem_scores, _Lines
from humanpose_cli.core.conventions import GARMENTS

pytestmark = pytest.mark.slow
SKIN = (205, 150, 120)


def lines_of(labels: list[str], green: int) -> _Lines:
    """Return lines of 40 samples of a person with these labels, of which the first ones are green."""
    count = len(labels)
    person = np.zeros((count, 40), bool)
    person[:, 10:30] = True
    samples = np.full((count, 40, 3), SKIN, np.uint8)
    samples[:green] = GREEN
    numbers = np.array([0 if label == "background" else 1 + GARMENTS.index(label) for label in labels], np.uint8)
    centre, across = np.zeros((count, 2)), np.tile([1.0, 0.0], (count, 1))
    levels = 0.02 * torch.arange(1, count + 1)
    edges = np.tile([-0.05, 0.05], (count, 1))
    return _Lines(
        levels, centre, across, np.ones(count), person, person, person, samples, np.tile(numbers[:, None], 40), edges
    )


@pytest.mark.parametrize(
    ("labels", "green", "hem"),
    [
        (["hanging"] * 12 + ["skin"] * 18, 12, 12),
        (["hanging"] * 12 + ["skin"] * 18, 15, 15),  # colours say where the edge is
        (["hanging"] * 12 + ["skin"] * 18, 27, 12),  # but not which
        (["hanging"] * 12 + ["trousers"] * 2 + ["hanging"] * 6 + ["skin"] * 10, 20, 20),  # a stray label
        (["skin"] * 2 + ["hanging"] * 14 + ["shoes"] * 14, 16, 16),
        (["hanging"] * 4 + ["trousers"] * 26, 4, None),  # a shirt
        (["trousers"] * 30, 20, None),
    ],
)
def test_labels_say_which_edge_is_the_hem_and_colours_where(labels: list[str], green: int, hem: int | None) -> None:
    lines = lines_of(labels, green)
    found = _hem_of_labels(lines, _hem_scores(lines))
    assert found == hem if hem is None else found == pytest.approx(hem, abs=1)  # a line of 2 cm


@pytest.mark.extensive
@pytest.mark.parametrize("turn", [0.0, *extensive(1.2)])
def test_bare_legs_and_trousers_are_no_skirt(stage: Stage, turn: float) -> None:
    rotations = pose(turn, **STANDING, **APART)
    assert reposer_of(stage, stage.person(rotations), rotations).person.avatar.dressed.garments == ()


@pytest.mark.parametrize(
    ("cells", "edges"),
    [
        ("....LL...LL....", (np.nan, np.nan)),  # background between the legs
        ("..ppLLpppLLpp..", (-5, 5)),
        ("....LLLLLLL....", (-3, 3)),
        ("ppppLLLLLLLppp.", (np.nan, 6)),  # cut by the line's end
        ("...............", (np.nan, np.nan)),
    ],
)
def test_edges_of_cloth(cells: str, edges: tuple[float, float]) -> None:
    """Lines across the legs: L a leg, p the person beside it, . background; cells of 2 cm."""
    leg = np.array([cell == "L" for cell in cells])
    person = np.array([cell in "Lp" for cell in cells])
    found = _edges_of_row(person, np.zeros(15, bool), leg, np.arange(-7, 8) * 0.02)
    np.testing.assert_allclose(np.array(found) / 0.02, edges)
