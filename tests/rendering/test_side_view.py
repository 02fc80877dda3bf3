"""Bodies from the side: what is far is on the right, rows are heights, and everything is in the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.rendering.side_view import SideView

FACES = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], dtype=torch.int32)
CORNERS = torch.tensor([(1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)])


def body(x: float, y: float, z: float, size: float = 0.05) -> torch.Tensor:
    """(1, 4, 3) a small tetrahedron."""
    return (size * CORNERS + torch.tensor((x, y, z)))[None]


def drawn(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels that are no background."""
    rows, columns = np.nonzero((image != image[0, 0]).any(-1))
    return columns, rows


@pytest.mark.parametrize(("x", "y", "z"), [(0, 0, 0.5), (0, 0, -0.5), (0.8, -0.5, 0), (-0.8, 0.25, 0.25)])
def test_depth_runs_to_the_right_and_rows_are_heights(x, y, z):
    """A body at depth z and height y is where these are in the view, however far left or right in the photograph."""
    image = SideView((0.0, 0.0, 0.0), (1.0, 1.0)).draw((200, 200), body(x, y, z), FACES)
    columns, rows = drawn(image)
    assert columns.mean() + 0.5 == pytest.approx(100 + 100 * z, abs=2)
    assert rows.mean() + 0.5 == pytest.approx(100 + 100 * y, abs=2)


def test_what_is_on_the_right_of_the_photograph_hides_what_is_behind_it():
    both = torch.cat((body(-0.5, 0, 0, 0.3), body(0.5, 0, 0, 0.3)))
    view = SideView((0.0, 0.0, 0.0), (1.0, 1.0))
    alone = view.draw((100, 100), both[1:], FACES, track_ids=[1])
    together = view.draw((100, 100), both, FACES, track_ids=[0, 1])
    assert (together[50, 50] == alone[50, 50]).all()
    assert (view.draw((100, 100), both[:1], FACES, track_ids=[0])[50, 50] != alone[50, 50]).any()


@pytest.mark.parametrize("size", [(120, 200), (200, 120)])
def test_everything_is_in_the_view_and_fills_it(size):
    bodies = torch.cat((body(0, -0.9, 3.0), body(2.0, 0.9, 7.0)))
    columns, rows = drawn(SideView.around(bodies).draw(size, bodies, FACES))
    margins = [columns.min(), size[0] - 1 - columns.max(), rows.min(), size[1] - 1 - rows.max()]
    assert min(margins) >= 2
    assert min(margins) <= 0.06 * max(size)


def test_bodies_that_are_not_finite_do_not_count():
    bodies = torch.cat((body(0, 0, 3.0), torch.full((1, 4, 3), torch.nan)))
    assert SideView.around(bodies) == SideView.around(bodies[:1])
    view = SideView.around(bodies[1:])
    image = view.draw((60, 40), bodies[1:], FACES)
    assert image.shape == (40, 60, 3)
    assert (image == image[0, 0]).all()


def test_a_margin_shows_more():
    narrow, wide = (SideView.around(body(0, 0, 3.0), margin) for margin in (0.0, 0.5))
    assert wide.reach[0] == pytest.approx(narrow.reach[0] + (0.55 - 0.1) / 0.92, abs=1e-4)
    assert wide.centre == narrow.centre


def test_people_before_and_behind_a_gap_have_a_ground_each_below_which_it_is_drawn():
    people = torch.cat((body(0, 0, 12.0, 0.5), body(0, 0, 3.0, 0.5), body(1, 0, 3.4, 0.5)))
    view = SideView.around(people, track_ids=[7, 0, 2], soles={7: 1.0, 0: 0.5, 2: 0.75})
    assert view.grounds == (0.75, 1.0)
    floors = (view.draw((300, 150), people[:0], FACES) == 112).all(-1)
    scale = min(150 / view.reach[0], 75 / view.reach[1])
    gap = 150 + round((view.gaps[0].depth - view.centre[2]) * scale)
    for column, ground in ((0, 0.75), (gap - 3, 0.75), (gap + 3, 1.0), (299, 1.0)):
        below = np.flatnonzero(floors[:, column])
        assert below[0] == pytest.approx(75 + (ground - view.centre[1]) * scale, abs=2)
        assert (below == np.arange(below[0], 150)).all()


def test_gaps_between_people_are_cut_out_and_named():
    """People one behind the other come nearer, in their order and size; those who overlap in depth stay as they are."""
    people = torch.cat((body(0, 0, 12.0, 0.5), body(0, 0, 3.0, 0.5), body(1, 0, 3.4, 0.5)))
    view = SideView.around(people, track_ids=[7, 0, 2])
    assert view.shifts == {0: 0.0, 2: 0.0, 7: pytest.approx(11.5 - 3.9 - 0.4, abs=1e-5)}
    (gap,) = view.gaps
    assert (gap.depth, gap.metres) == pytest.approx((3.9 + 0.2, 11.5 - 3.9), abs=1e-5)
    together = SideView.around(torch.cat((people[1:], body(0, 0, 12.0 - view.shifts[7], 0.5))))
    assert view.reach == pytest.approx(together.reach, abs=1e-5)
    assert view.centre == pytest.approx(together.centre, abs=1e-5)
    size = (300, 150)
    columns = [drawn(view.draw(size, people[i : i + 1], FACES, track_ids=[track]))[0] for i, track in enumerate((7, 0))]
    assert columns[0].min() > columns[1].max()
    assert np.ptp(columns[0]) == pytest.approx(np.ptp(columns[1]), abs=2)
    assert SideView.around(people).gaps == ()
