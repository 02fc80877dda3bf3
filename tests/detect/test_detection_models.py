"""The models behind their interface: decoding, the pool, quiet starts, and agreement with mediapipe."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.detect import models
from humanpose_cli.detect.models import (
    ModelPool,
    box_overlap,
    decode_detections,
    native_chatter_kept_off_stderr,
)
from humanpose_cli.detect.person import CropView, jittered_views, observe_all
from humanpose_cli.detect.regions import Pyramid, Region, propose, windows_over

ANCHORS = 2254


def raw(*people: tuple[int, float, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and values of the model that saw `people`: (anchor, logit, its 12 values), and nothing else."""
    logits, values = np.full(ANCHORS, -20.0, np.float32), np.zeros((ANCHORS, 12), np.float32)
    for anchor, logit, numbers in people:
        logits[anchor], values[anchor] = logit, numbers
    return logits, values


def test_boxes_and_points_are_relative_to_their_anchor() -> None:
    # Anchors: two per cell of 28x28, two of 14x14, six of 7x7. Anchor 2 * (28 * 3 + 5): row 3, column 5.
    numbers = [11.2, -22.4, 44.8, 22.4, 0, 0, 0, -112.0, 0, 0, 0, 0]
    found = decode_detections(*raw((2 * (28 * 3 + 5), 0.0, numbers)), threshold=0.4)
    assert len(found) == 1
    centre = np.array([5.5 / 28, 3.5 / 28])
    assert found.scores[0] == pytest.approx(0.5)
    box = np.tile(centre + np.array([0.05, -0.1]), 2) + np.array([-0.1, -0.05, 0.1, 0.05])
    np.testing.assert_allclose(found.boxes[0], box, atol=1e-6)
    np.testing.assert_allclose(found.points[0, 0], centre, atol=1e-6)
    np.testing.assert_allclose(found.points[0, 1], centre - [0, 0.5], atol=1e-6)
    last = decode_detections(*raw((ANCHORS - 1, 3.0, numbers)), threshold=0.4)
    np.testing.assert_allclose(last.points[0, 0], [6.5 / 7, 6.5 / 7], atol=1e-6)


def test_overlapping_boxes_are_averaged_by_score_and_distant_ones_kept() -> None:
    box = [0.0, 0, 44.8, 44.8] + [0.0] * 8
    logits, values = raw((0, 2.0, box), (1, 0.0, box), (1400, 1.0, box))
    values[1, 4] = 22.4
    found = decode_detections(logits, values, threshold=0.4)
    strong, weak = 1 / (1 + np.exp(-2.0)), 0.5
    assert len(found) == 2
    np.testing.assert_allclose(found.scores, [strong, 1 / (1 + np.exp(-1.0))], rtol=1e-6)
    expected = 0.5 / 28 + 0.1 * weak / (weak + strong)
    assert found.points[0, 0, 0] == pytest.approx(expected, abs=1e-6)


def test_nothing_above_the_threshold_is_nothing() -> None:
    found = decode_detections(*raw(), threshold=0.01)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.points.shape == (0, 4, 2)


def test_box_overlap_of_known_boxes() -> None:
    others = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1]], dtype=float)
    np.testing.assert_allclose(box_overlap(np.array([0.0, 0, 2, 2]), others), [1, 1 / 7, 0, 0])


def test_windows_cover_the_image_and_reach_beyond_its_edges() -> None:
    windows = windows_over(1600, 900, (1.0, 1.35, 0.5), beyond=0.25)
    assert (windows[0].x, windows[0].y, windows[0].side) == (800, 450, 1600)
    assert windows[1].side == 1.35 * 1600
    small = windows[2:]
    assert {w.side for w in small} == {800}
    assert min(w.x - 400 for w in small) == -200
    assert max(w.x + 400 for w in small) == 1800
    for x in range(0, 1601, 100):
        for y in range(0, 901, 100):
            assert any(abs(w.x - x) <= 400 and abs(w.y - y) <= 400 for w in small)


class Counter:
    """Models that do nothing."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pool_keeps_order_reuses_models_and_closes_them(threads: int) -> None:
    started: list[Counter] = []

    def start() -> Counter:
        started.append(Counter())
        return started[-1]

    with ModelPool(threads, start) as pool:  # type: ignore[arg-type]
        assert not started, "models start when first needed"
        for _ in range(3):
            assert pool.map(lambda _, item: item * item, range(20)) == [i * i for i in range(20)]
        assert pool.map(lambda _, item: item, []) == []
    assert 1 <= len(started) <= threads
    assert all(instance.closed for instance in started)


def test_a_pool_passes_errors_on_and_lives() -> None:
    def work(_: object, item: int) -> int:
        if item == 3:
            raise UnavailableError("item", "fails")
        return item

    with ModelPool(2, Counter) as pool:  # type: ignore[arg-type]
        with pytest.raises(UnavailableError, match="item: fails"):
            pool.map(work, range(6))
        assert pool.map(work, [1, 2]) == [1, 2]


def test_two_instances_in_two_threads_say_the_same(astronaut: np.ndarray) -> None:
    views = jittered_views(Region(190, 540, 1350), 6)
    with ModelPool(1) as one, ModelPool(2) as two:
        for a, b in zip(*(observe_all(p, Pyramid(astronaut), views) for p in (one, two)), strict=True):
            np.testing.assert_array_equal(a.points, b.points)
            np.testing.assert_array_equal(a.mask, b.mask)


def test_our_graphs_agree_with_mediapipes_own(astronaut: np.ndarray, tmp_path: Path) -> None:
    """Detection on the whole image, one landmark pass on its region: what `mediapipe.solutions.pose` does."""
    with ModelPool(1) as pool:
        pyramid = Pyramid(astronaut)
        best = propose(pool, pyramid, windows_over(512, 512, (1.0,)), 0.5)[0]
        (mine,) = observe_all(pool, pyramid, [CropView(best.region)])
    code = """
        import sys
        import numpy as np, skimage.data
        from mediapipe.python.solutions.pose import Pose
        with Pose(static_image_mode=True, enable_segmentation=True) as pose:
            answer = pose.process(skimage.data.astronaut())
        points = np.array([[p.x * 512, p.y * 512, p.visibility] for p in answer.pose_landmarks.landmark])
        world = np.array([[p.x, p.y, p.z] for p in answer.pose_world_landmarks.landmark])
        np.save(sys.argv[1], np.concatenate([points, world], axis=1))
    """
    done = run(code, tmp_path / "answer.npy")
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "answer.npy")
    upper = [row for row, name in enumerate(BLAZEPOSE33.joint_names) if row < BLAZEPOSE33.index("left_elbow")]
    assert np.linalg.norm(mine.points - theirs[:, :2], axis=1)[upper].max() < 0.012 * best.region.side
    assert np.abs(mine.world - theirs[:, 3:])[upper].mean() < 0.04
    sharp = theirs[:, 2] > 0.9
    assert mine.confidence[sharp & (np.arange(33) < 13)].min() > 0.6


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_start_is_quiet_and_our_own_lines_are_not_lost() -> None:
    code = """
        import os, sys, threading
        import numpy as np
        from humanpose_cli.detect.models import PoseModels, native_chatter_kept_off_stderr
        PoseModels().close()
        with native_chatter_kept_off_stderr():
            os.write(2, b"W0000 00:00:17.5 6959 some_file.cc:114] chatter\\n")
            os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\n")
            print("our own line", file=sys.stderr, flush=True)
            os.write(2, b"E0000 00:00:17.5 6959 some_file.cc:114] an error\\n")
        import mediapipe
        print(mediapipe.__version__)
    """
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["our own line", "E0000 00:00:17.5 6959 some_file.cc:114] an error"]
    assert done.stdout.strip() == "0.10.14", "mediapipe itself can still be imported afterwards"


def test_models_start_without_importing_mediapipe_whole() -> None:
    code = """
        import sys
        from humanpose_cli.detect.models import self_test
        self_test()
        print([name for name in ("matplotlib", "mediapipe.tasks", "jax") if name in sys.modules])
    """
    done = run(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_graphs_that_do_not_start_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_DETECTOR_GRAPH", "node { calculator: 'NoSuchCalculator' }")
    with pytest.raises(UnavailableError, match="reinstall"):
        models.self_test()


def test_damaged_answers_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models._Graph, "floats", lambda self, packet: np.full(27048, np.nan, np.float32))
    with pytest.raises(UnavailableError, match="mediapipe"):
        models.PoseModels()


def test_stderr_of_other_threads_arrives_late_but_arrives(capfd: pytest.CaptureFixture[str]) -> None:
    with native_chatter_kept_off_stderr():
        other = threading.Thread(target=lambda: os.write(2, b"from another thread\n"))
        other.start()
        other.join()
        assert "another" not in capfd.readouterr().err
    assert "from another thread" in capfd.readouterr().err
