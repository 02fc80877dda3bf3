"""BlazePose behind its interface: decoding, agreement with mediapipe's graphs, the pool, quiet starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.patience import PATIENCE

from humanpose_cli.core.errors import InputError, UnavailableError
from humanpose_cli.core.extras import reinstall_line
from humanpose_cli.detect import models, movenet, runtime
from humanpose_cli.detect.models import ModelPool, decode_detections, refine_landmarks
from humanpose_cli.detect.person import jittered_views, observe_all
from humanpose_cli.detect.regions import Pyramid, Region, windows_over
from humanpose_cli.detect.runtime import runtime_device
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.people import find_people
from humanpose_cli.io.inputs import Frame

ANCHORS = 2254


def raw(*people: tuple[int, float, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and values of the model that saw `people`: (anchor, logit, its 12 values), and nothing else."""
    logits, values = np.full(ANCHORS, -20.0, np.float32), np.zeros((ANCHORS, 12), np.float32)
    for anchor, logit, numbers in people:
        logits[anchor], values[anchor] = logit, numbers
    return logits, values


@pytest.mark.extensive
def test_boxes_and_points_are_relative_to_their_anchor() -> None:
    # Anchors: two per cell of 28x28, two of 14x14, six of 7x7. Anchor 2 * (28 * 3 + 5): row 3, column 5.
    numbers = [11.2, -22.4, 44.8, 22.4, 0, 0, 0, -112.0, 0, 0, 0, 0]
    found = decode_detections(*raw((2 * (28 * 3 + 5), 0.0, numbers)), threshold=0.4, same_box=0.3)
    assert len(found) == 1
    centre = np.array([5.5 / 28, 3.5 / 28])
    assert found.scores[0] == pytest.approx(0.5)
    box = np.tile(centre + np.array([0.05, -0.1]), 2) + np.array([-0.1, -0.05, 0.1, 0.05])
    np.testing.assert_allclose(found.boxes[0], box, atol=1e-6)
    np.testing.assert_allclose(found.points[0, 0], centre, atol=1e-6)
    np.testing.assert_allclose(found.points[0, 1], centre - [0, 0.5], atol=1e-6)
    for threshold in (0.0, 0.01, 0.4, 0.999):
        logits = np.float32(np.log(max(threshold, 0.01) / (1 - threshold))) + np.float32([-1e-2, -1e-4, 1e-4])
        scores = [decode_detections(*raw((7, logit, numbers)), threshold, 0.3).scores.tolist() for logit in logits]
        expected = [1 / (1 + np.exp(-logit)) for logit in logits]
        found_of = [[score] if score >= threshold else [] for score in expected]
        assert [of and pytest.approx(of) for of in found_of] == [of[:1] for of in scores]
    last = decode_detections(*raw((ANCHORS - 1, 3.0, numbers)), threshold=0.4, same_box=0.3)
    np.testing.assert_allclose(last.points[0, 0], [6.5 / 7, 6.5 / 7], atol=1e-6)


def test_overlapping_boxes_are_averaged_by_score_and_distant_ones_kept() -> None:
    box = [0.0, 0, 44.8, 44.8] + [0.0] * 8
    logits, values = raw((0, 2.0, box), (1, 0.0, box), (1400, 1.0, box))
    values[1, 4] = 22.4
    found = decode_detections(logits, values, threshold=0.4, same_box=0.3)
    strong, weak = 1 / (1 + np.exp(-2.0)), 0.5
    assert len(found) == 2
    np.testing.assert_allclose(found.scores, [strong, 1 / (1 + np.exp(-1.0))], rtol=1e-6)
    expected = 0.5 / 28 + 0.1 * weak / (weak + strong)
    assert found.points[0, 0, 0] == pytest.approx(expected, abs=1e-6)


def test_nothing_above_the_threshold_is_nothing() -> None:
    found = decode_detections(*raw(), threshold=0.01, same_box=0.3)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.points.shape == (0, 4, 2)


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
    """Models that do nothing, and take `batch` items at once."""

    device = "cpu"

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [1, 7])
def test_a_pool_keeps_order_and_starts_its_models_once(threads: int, batch: int) -> None:
    started: list[Counter] = []
    parts: list[int] = []

    def start() -> Counter:
        started.append(Counter(batch))
        return started[-1]

    def squares(models: Counter, items: Sequence[int]) -> list[int]:
        assert models is started[0]
        parts.append(len(items))
        return [item * item for item in items]

    with ModelPool(threads, start) as pool:  # type: ignore[arg-type]
        assert pool.map(squares, []) == []  # type: ignore[arg-type]
        assert not started, "models start when first needed"
        for _ in range(3):
            assert pool.map(squares, range(20)) == [i * i for i in range(20)]  # type: ignore[arg-type]
    assert len(started) == 1
    assert sorted(parts) == sorted([batch] * (20 // batch) * 3 + [20 % batch] * 3 * (20 % batch > 0))


def test_a_pool_passes_errors_on_and_lives() -> None:
    def work(_: object, items: Sequence[int]) -> Sequence[int]:
        if 3 in items:
            raise UnavailableError("item", "fails")
        return items

    with ModelPool(2, Counter) as pool:  # type: ignore[arg-type]
        with raises(UnavailableError, subject="item"):
            pool.map(work, range(6))
        assert pool.map(work, [1, 2]) == [1, 2]


def test_calls_of_a_pool_run_beside_each_other_where_there_are_threads() -> None:
    met, ran = threading.Barrier(2), []
    with ModelPool(2, Counter) as pool:  # type: ignore[arg-type]
        begun = pool.begin(lambda: met.wait(PATIENCE) >= 0)
        assert pool.run_both(lambda: 1, lambda: met.wait(PATIENCE) >= 0) == (1, True)
        assert begun()
    with ModelPool(1, Counter) as alone:  # type: ignore[arg-type]
        begun = alone.begin(lambda: ran.append(1) is None)
        assert not ran, "without threads, a call waits until its result is needed"
        assert begun()
        assert ran


@pytest.mark.slow
def test_two_threads_give_what_one_gives(astronaut: np.ndarray) -> None:
    views = jittered_views(Region(190, 540, 1350), 6)
    with ModelPool(1) as one, ModelPool(2) as two:
        for a, b in zip(*(observe_all(p, Pyramid(astronaut), views) for p in (one, two)), strict=True):
            np.testing.assert_array_equal(a.points, b.points)
            np.testing.assert_array_equal(a.mask, b.mask)


RECORDED = Path(__file__).parent / "data" / "mediapipe.npz"
"""What mediapipe 0.10.14's own graphs give for `crops` (full, and heavy's .tflite) and two windows."""


def crops(astronaut: np.ndarray) -> list[np.ndarray]:
    """Four crops (256, 256, 3), made without interpolation: small, near, mirrored, lying."""
    small = astronaut[::2, ::2]
    return [small, astronaut[:256, 96:352], astronaut[::2, ::-2], small.transpose(1, 0, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["full", "heavy"])
def test_landmarks_are_mediapipes(astronaut: np.ndarray, network: str) -> None:
    """Our float16 weights are TensorFlow.js's, of which one in 20,000 is rounded otherwise than mediapipe's."""
    recorded = np.load(RECORDED)
    answers = models.PoseModels("cpu").landmarks(crops(astronaut), f"blazepose-{network}")  # type: ignore[arg-type]
    for index, prediction in enumerate(answers):
        rows = recorded[f"{network}_landmarks"][index]
        np.testing.assert_allclose(prediction.points, rows[:, :2], atol=0.05)
        np.testing.assert_allclose(prediction.visibility, rows[:33, 2], atol=5e-4)
        np.testing.assert_allclose(prediction.inside, rows[:33, 3], atol=5e-4)
        np.testing.assert_allclose(prediction.world, recorded[f"{network}_world"][index], atol=5e-4)
        assert prediction.presence == pytest.approx(float(recorded[f"{network}_presence"][index]), abs=5e-4)
        apart = np.abs(prediction.mask[::4, ::4] - recorded[f"{network}_mask"][index].astype(np.float32))
        assert apart.mean() < 1e-4
        assert apart.max() < 0.05
    (unmasked,) = models.PoseModels("cpu").landmarks(crops(astronaut)[:1], f"blazepose-{network}", masks=False)  # type: ignore[arg-type]
    np.testing.assert_array_equal(unmasked.points, answers[0].points)
    assert unmasked.mask is None


def test_detections_are_mediapipes(astronaut: np.ndarray) -> None:
    recorded = np.load(RECORDED)
    windows = {"whole": astronaut[32:480:2, 32:480:2], "part": astronaut[0:448:2, 64:512:2]}
    found = models.PoseModels("cpu").find(list(windows.values()), 0.1, 0.3)
    for name, detections in zip(windows, found, strict=True):
        logits, values = np.full(ANCHORS, -20.0, np.float32), np.zeros((ANCHORS, 12), np.float32)
        anchors = recorded[f"{name}_anchors"]
        logits[anchors], values[anchors] = recorded[f"{name}_logits"], recorded[f"{name}_values"]
        expected = decode_detections(logits, values, 0.1, 0.3)
        assert len(detections) == len(expected) > 0
        np.testing.assert_allclose(detections.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(detections.points, expected.points, atol=1e-5)


def test_a_landmark_moves_to_the_mean_of_the_heatmap_around_its_truncated_cell() -> None:
    heat = np.zeros((1, 5, 64, 64), np.float32)
    heat[0, :, 20, 30], heat[0, :, 20, 31] = 0.6, 0.2
    heat[0, :, 20, 34] = 0.9  # four cells from the landmarks: out of reach
    heat[0, 3] *= 0.5  # its peak is too low
    points = np.array([[[123.9, 83.9], [120.0, 80.0], [131.9, 80.0], [123.0, 80.0], [-4.0, 80.0]]], np.float32)
    refined = refine_landmarks(points, heat)[0]
    np.testing.assert_allclose(refined[0], [4 * (0.6 * 30 + 0.2 * 31) / 0.8, 80], rtol=1e-6)
    np.testing.assert_array_equal(refined[0], refined[1])
    np.testing.assert_allclose(refined[2], [4 * (0.6 * 30 + 0.2 * 31 + 0.9 * 34) / 1.7, 80], rtol=1e-6)
    np.testing.assert_array_equal(refined[3:], points[0, 3:])


def test_a_landmark_at_the_edge_is_refined_by_the_cells_that_there_are() -> None:
    heat = np.zeros((1, 2, 64, 64), np.float32)
    heat[0, :, 0, 0] = heat[0, :, 63, 63] = 0.8
    refined = refine_landmarks(np.array([[[-3.9, 5.0], [255.0, 250.0]]], np.float32), heat)[0]
    np.testing.assert_allclose(refined, [[0, 0], [252, 252]], atol=1e-5)


def test_a_network_that_is_missing_or_damaged_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "_sessions", {})
    monkeypatch.setitem(runtime.POSE_NETWORKS, "blazepose-detector", tmp_path / "none.onnx")
    with raises(UnavailableError, problem="missing from the package"):
        runtime.run_network("blazepose-detector", ("any",), np.zeros((1, 8, 8, 3), np.uint8))
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with raises(InputError, problem="is damaged", remedy=reinstall_line()):
        runtime.run_network("blazepose-detector", ("any",), np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blazepose-full", *extensive(*sorted({*runtime.POSE_NETWORKS} - {"blazepose-full"}))])
def test_flipped_bits_of_a_shipped_network_are_refused(
    name: runtime.PoseNetworkName, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped = runtime.POSE_NETWORKS[name]
    content = bytearray(shipped.read_bytes())
    for number in range(200):
        content[len(content) // 2 + 997 * number] ^= 1
    flipped = tmp_path / f"flipped{''.join(shipped.suffixes)}"
    flipped.write_bytes(content)
    monkeypatch.setattr(runtime, "_sessions", {})
    monkeypatch.setitem(runtime.POSE_NETWORKS, name, flipped)
    with pytest.raises(InputError, match=r"flipped\.\S+: is damaged, expected SHA-256 \w{64}, found \w{64}; "):
        runtime.run_network(name, ("any",), np.zeros((1, 8, 8, 3), np.uint8))


def test_networks_load_beside_what_else_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what goes wrong there is left to who uses them."""
    loaded = {}
    monkeypatch.setattr(runtime, "_sessions", loaded)
    monkeypatch.setattr(runtime, "_start", lambda name, device: f"{name} on {device}")
    monkeypatch.setattr(runtime, "_map_session", lambda *key: loaded.update({"maps": key}))
    runtime.begin_loading("cpu", maps=True).join()
    assert loaded == {"maps": ("cpu", ()), **{(name, "cpu"): f"{name} on cpu" for name in runtime.POSE_NETWORKS}}
    loaded.clear()

    def damaged(name: str, device: str) -> None:
        raise InputError(name, "is damaged")

    monkeypatch.setattr(runtime, "_start", damaged)
    monkeypatch.setattr(threading, "excepthook", lambda problem: loaded.update({("problem", ""): problem}))
    runtime.begin_loading("cpu").join()
    assert not loaded


@pytest.mark.slow
def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would keep what it has to send in a data base below the home folder."""
    code = "from humanpose_cli.detect.runtime import _start; _start('blazepose-detector', 'cpu')"
    mine = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    home = {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], env=mine | home, check=True, timeout=PATIENCE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
def test_asking_for_a_gpu_where_there_is_none_is_an_error() -> None:
    assert runtime_device("auto") == "cpu"
    with raises(UnavailableError, remedy="onnxruntime-gpu"):
        models.PoseModels("cuda")


@pytest.mark.slow
def test_the_device_reaches_the_networks_of_every_source_of_people(monkeypatch, tmp_path: Path) -> None:
    """`--device cpu` keeps networks off the GPU; `cuda:1` and `auto` take it where ONNX Runtime can."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(runtime, "_gpu_problem", lambda device: "")
    assert [runtime_device(d) for d in ("cpu", "auto", "cuda", "cuda:1")] == ["cpu", "cuda:0", "cuda:0", "cuda:1"]
    devices = []

    def record_device(name: str, outputs: Sequence[str], images: np.ndarray, device: str = "cpu") -> list[np.ndarray]:
        devices.append(device)
        raise UnavailableError(name, "is not run here")

    for module in (models, movenet):
        monkeypatch.setattr(module, "run_network", record_device)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"image": [[10, 10, 90, 90]]}))
    image = np.zeros((100, 100, 3), np.uint8)
    for device, expected in (("cpu", "cpu"), ("cuda:1", "cuda:1"), ("auto", "cuda:0")):
        for some_boxes in (None, boxes):
            source = find_people("fast", 1, boxes=some_boxes, device=device)
            with source, raises(UnavailableError, problem="is not run here"):
                source.in_image(Frame(0, "image", image))
            assert devices.pop() == expected
    fitter = Fitter(detector="fast", method="keypoints", device="cpu")
    with fitter, raises(UnavailableError, problem="is not run here"):
        fitter.fit_image(image)
    assert devices.pop() == "cpu"
