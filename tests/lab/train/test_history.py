"""The history of a training and its plot."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from humanpose_cli.io.images import read_image
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


def test_losses_terms_and_metrics_have_separate_panels_and_mark_the_kept_step(drawn, tmp_path):
    train = [{"loss": 9.0, "shape": 5.0, "pose": 4.0, "learning_rate": 1e-4}, {"loss": 8.0, "shape": 4.0, "pose": 4.0}]
    lines = [("memory", {"fit_mib": 2.0}), *(("train", numbers) for numbers in train)]
    panels = drawn(*lines, ("validation", {"other": 1.0, "error_mm": 70.0, "seconds": 3.0}), kept=3)
    shown = [panel for panel in panels if panel.axison]
    assert [panel.get_title() for panel in shown] == ["loss", "shape", "pose", "error (the criterion)", "other"]
    assert [panel.get_ylabel() for panel in shown] == ["no unit"] * 3 + ["mm", "no unit"]
    values = [[9.0, 8.0], [5.0, 4.0], [4.0, 4.0], [70.0], [1.0]]
    kinds = [*["training data"] * 3, *["held-out data"] * 2]
    for panel, kind, expected in zip(shown, kinds, values, strict=True):
        assert curves(panel) == {kind: expected, "kept weights": [0, 1]}
        assert list(panel.lines[-1].get_xdata()) == [3, 3]
    assert list(panels[0].lines[0].get_xdata()) == [2, 3]
    assert [panel.get_xlabel() for panel in shown] == ["", "", "training steps", "training steps", "training steps"]
    (legend,) = panels[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training data", "kept weights", "held-out data"]
    assert panels[0].figure.get_supxlabel() == "What was measured."
    assert (read_image(tmp_path / "losses.png").pixels < 128).any()


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
