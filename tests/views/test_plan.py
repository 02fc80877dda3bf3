"""The plan of a take: everything that it names is to be seen, with its name beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.walking_person import drawn_walk
from helpers.walking_take import walking_take
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import default_body
from humanpose_cli.fitting.result import Fit
from humanpose_cli.views import plan


def take(*degrees: float) -> Fit:
    """The walk before a camera, and others that look at its place from so many degrees round it."""
    fit = walking_take(drawn_walk(default_body()))
    views = fit.views
    assert views is not None
    centre, matrices = np.array((0.0, 0.0, 3.2)), [np.eye(4)]
    for angle in degrees:
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("y", angle, degrees=True).as_matrix()
        turn[:3, 3] = centre - turn[:3, :3] @ centre
        matrices.append(turn)
    count = len(matrices)
    names = np.array([f"camera{number}.mp4" for number in range(count)])
    columns = {**vars(views), "names": names, "from_first": np.array(matrices)}
    del columns["poses"]  # all stand still
    repeated = {
        name: value if len(value) == count else np.repeat(value[:1], count, 0) for name, value in columns.items()
    }
    built = type(views).build(**repeated)
    return replace(fit, views=built, sources=())


@pytest.mark.slow
def test_names_cover_no_other_name(monkeypatch):
    """Two of the cameras stand beside each other."""
    fit, written = take(80, 84, -100), []
    monkeypatch.setattr(plan, "draw_label", lambda image, text, corner, *look: written.append((text, corner)))
    bare = plan.draw_plan(fit)
    names = ["0", "camera0.mp4", "camera1.mp4", "camera2.mp4", "camera3.mp4", "1 m"]
    assert [text for text, _ in written] == names
    monkeypatch.undo()
    drawn, covered = plan.draw_plan(fit), np.zeros(bare.shape[:2], int)
    for text, corner in written:
        (x, y), (width, height) = corner, plan.label_size(text, 14)
        covered[y : y + height, x : x + width] += 1
        assert (drawn[y, x] == 32).all()
    assert covered.max() == 1
    np.testing.assert_array_equal(drawn[covered == 0], bare[covered == 0])


@pytest.mark.slow
def test_the_scale_is_as_long_as_its_label(monkeypatch):
    """A metre of the grid is a metre of the scale."""
    monkeypatch.setattr(plan, "draw_label", lambda *_: None)
    image = plan.draw_plan(take(80))
    scale = np.flatnonzero((image[800:, :300] < 100).all(2).any(0))
    grid = np.flatnonzero((image[10] < 240).all(-1))
    assert abs((scale[-1] - scale[0]) - np.diff(grid).max()) <= 4
