"""The history of a training and its plot."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from humanpose_cli.lab.train.history import TrainingHistory

pytestmark = pytest.mark.slow


@pytest.fixture
def drawn(tmp_path, monkeypatch, plot_of_losses):
    """Draws a history with these numbers of each kind of line; the panels, or None where nothing was written."""
    figures = []
    saved = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), saved(figure, *a, **k)))

    def draw(*lines, criterion="error_mm", kept=2, caption=("What was measured.",)):
        history = TrainingHistory(tmp_path / "metrics.jsonl")
        for step, (kind, numbers) in enumerate(lines, 1):
            history.add(kind, step, 0, numbers)
        plot_of_losses(history, tmp_path / "losses.png", criterion, kept, caption)
        assert (tmp_path / "losses.png").exists() == bool(figures)
        return figures[-1].axes if figures else None

    return draw


def curves(panel):
    """Label → values of a panel's lines."""
    return {line.get_label(): list(line.get_ydata()) for line in panel.lines}


def test_a_baseline_stands_beside_its_metric(drawn):
    (panel, alone, *_) = drawn(("validation", {"ssim": 0.8, "copy_ssim": 0.5, "copy_other": 0.1}), criterion="ssim")
    assert curves(panel) == {"held-out data": [0.8], "input copied": [0.5], "kept weights": [0, 1]}
    assert alone.get_title() == "copy_other"


def test_sums_stand_before_their_terms(drawn):
    panels = drawn(("train", {"draw_loss": 2.0, "draw_pixels": 1.0, "check_loss": 0.5}))
    assert [panel.get_title() for panel in panels if panel.axison] == ["draw_loss", "check_loss", "draw_pixels"]
    assert [panel.get_xlabel() for panel in panels if panel.axison] == ["training steps"] * 3


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((100.0, 1.0), "log"),
        ((1.0, 100.0), "linear"),
        ((9.0, 1.0), "linear"),
        ((100.0, -1.0), "linear"),
        ((0.0,), "linear"),
    ],
)
def test_losses_that_fall_far_have_a_logarithmic_axis(drawn, values, scale):
    (panel,) = drawn(*(("train", {"loss": value}) for value in values))
    assert panel.get_yscale() == scale


@pytest.mark.parametrize("values", [(0.25,), (0.25, 0.25)])
def test_one_value_has_no_invented_axis(drawn, values):
    (panel,) = drawn(*(("validation", {"iou": value}) for value in values), criterion="iou")
    assert [text.get_text() for text in panel.get_yticklabels()] == ["0.25"]
    assert list(panel.get_yticks()) == [0.25]
    steps = [tick for tick in panel.get_xticks() if panel.get_xlim()[0] <= tick <= panel.get_xlim()[1]]
    assert steps == [*range(1, len(values) + 1)]


def test_what_has_no_line_has_no_panel(drawn):
    assert drawn(("memory", {"fit_mib": 2.0})) is None
    (panel,) = drawn(("validation", {"error_mm": 1.0}))
    assert panel.get_title() == "error (the criterion)"
