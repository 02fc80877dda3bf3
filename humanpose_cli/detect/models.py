"""The two BlazePose models in mediapipe 0.10.14, through its private graph interface, and a pool of several instances.

`mediapipe.solutions.pose` shows one person and hides the scores. The graphs below run the same two bundled files on
images that we crop ourselves and return the tensors as plain lists of floats.

Only the extension module is loaded, by path: `import mediapipe` would import matplotlib, OpenCV and all of its
tasks first (about a second). It is registered under its own name, so a later `import mediapipe` finds it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import queue
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from humanpose_cli.core.errors import UnavailableError

DETECTOR_SIZE, LANDMARK_SIZE = 224, 256  # pixels of the models' square inputs
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CropLandmarks:
    """The landmark model's prediction for one square crop.

    points (35, 2) pixels of the 256-pixel crop: the rows of `blazepose33`, then hip centre and the point on the
    circle around the body that together define the next region; visibility (33,) and inside (33,) 0..1: not hidden,
    and within the crop; presence 0..1: somebody is there; world (33, 3) metres, hip centre origin, axes of the
    crop (x right, y down, z away from the camera); mask (256, 256) float32 0..1.
    """

    points: np.ndarray
    visibility: np.ndarray
    inside: np.ndarray
    presence: float
    world: np.ndarray
    mask: np.ndarray


# Grid side and anchors per cell of each feature map; maps of one stride are joined (8, 16, and three of 32).
_GRIDS = ((28, 2), (14, 2), (7, 6))
_BOX_VALUES, _POINTS = 4, 4
_SAME_BOX = 0.3  # intersection over union from which two boxes show one person


@dataclass(frozen=True)
class Detections:
    """People detected in one square window, best first; lengths in units of the window's side, origin top left.

    scores (N,) 0..1; boxes (N, 4) x0 y0 x1 y1 of the face and shoulders region; points (N, 4, 2): hip centre, a
    point on the circle around the whole body, shoulder centre, a point on the circle around the upper body.
    """

    scores: np.ndarray
    boxes: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


@cache
def _anchor_centres() -> np.ndarray:
    """(2254, 2) x, y in units of the window's side."""
    centres = []
    for side, per_cell in _GRIDS:
        middle = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(middle, middle, indexing="ij")
        centres.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode_detections(logits: np.ndarray, values: np.ndarray, threshold: float) -> Detections:
    """Detections above `threshold` (0..1) after weighted suppression of overlapping boxes.

    logits (2254,), values (2254, 12) as the model gives them: centre, size, four points, in pixels of its
    224-pixel input relative to the anchor.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    kept = np.flatnonzero(scores >= threshold)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    scores = scores[kept]
    values = values[kept] / DETECTOR_SIZE
    centres = _anchor_centres()[kept]
    middle, half = values[:, :2] + centres, values[:, 2:_BOX_VALUES] / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    points = values[:, _BOX_VALUES:].reshape(-1, _POINTS, 2) + centres[:, None]
    return _suppress(scores, boxes, points)


def _suppress(scores: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> Detections:
    """Each kept detection is the score-weighted mean of those it overlaps (mediapipe's WEIGHTED mode)."""
    left = np.arange(len(scores))
    out_scores, out_boxes, out_points = [], [], []
    while len(left):
        same = box_overlap(boxes[left[0]], boxes[left]) > _SAME_BOX
        same[0] = True
        members = left[same]
        weights = (scores[members] / scores[members].sum())[:, None]
        out_scores.append(scores[members[0]])
        out_boxes.append((weights * boxes[members]).sum(0))
        out_points.append((weights[..., None] * points[members]).sum(0))
        left = left[~same]
    return Detections(
        np.array(out_scores, dtype=np.float32),
        np.array(out_boxes, dtype=np.float32).reshape(-1, 4),
        np.array(out_points, dtype=np.float32).reshape(-1, _POINTS, 2),
    )


def box_overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of `box` (4,) with each of `boxes` (N, 4), x0 y0 x1 y1; (N,)."""
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.clip(size, 0, None), axis=1)
    areas = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    own = np.prod(np.clip(box[2:] - box[:2], 0, None))
    return shared / np.maximum(own + areas - shared, 1e-12)


_BINDINGS = "mediapipe.python._framework_bindings"
_BODY_ROWS, _NEXT_REGION_ROWS, _MODEL_ROWS = 33, 2, 39
_REINSTALL = "reinstall it with: pip install --force-reinstall mediapipe==0.10.14"


def _inference(model: str, lowest: int) -> str:
    """Image `image` to the model's `output` tensors; `lowest` is the value that black gets, white gets 1."""
    return f"""
    input_stream: "image"
    executor {{ type: "ApplicationThreadExecutor" }}
    node {{ calculator: "TensorConverterCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
      options {{ [mediapipe.TensorConverterCalculatorOptions.ext] {{
        output_tensor_float_range {{ min: {lowest} max: 1 }} }} }} }}
    node {{ calculator: "InferenceCalculatorCpu" input_stream: "TENSORS:input" output_stream: "TENSORS:output"
      options {{ [mediapipe.InferenceCalculatorOptions.ext] {{
        model_path: "mediapipe/modules/{model}" delegate {{ xnnpack {{ num_threads: 1 }} }} }} }} }}
    """


def _split(*names: str) -> str:
    outputs = " ".join(f'output_stream: "{name}"' for name in names)
    ranges = " ".join(f"ranges {{ begin: {i} end: {i + 1} }}" for i in range(len(names)))
    return f"""node {{ calculator: "SplitTensorVectorCalculator" input_stream: "output" {outputs}
      options {{ [mediapipe.SplitVectorCalculatorOptions.ext] {{ {ranges} }} }} }}
    """


def _floats(tensor: str, name: str) -> str:
    return f"""node {{ calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:{tensor}"
      output_stream: "FLOATS:{name}" }}
    """


_DETECTOR_GRAPH = (
    _inference("pose_detection/pose_detection.tflite", -1)
    + _split("value_tensor", "logit_tensor")
    + _floats("value_tensor", "values")
    + _floats("logit_tensor", "logits")
)

# The landmarks are refined with the model's heatmaps, as mediapipe's own pose graph does.
_LANDMARK_GRAPH = (
    _inference("pose_landmark/pose_landmark_full.tflite", 0)
    + _split("landmark_tensor", "presence_tensor", "mask_tensor", "heatmap_tensor", "world_tensor")
    + _floats("presence_tensor", "presence")
    + _floats("world_tensor", "world")
    + f"""
    node {{ calculator: "TensorsToLandmarksCalculator" input_stream: "TENSORS:landmark_tensor"
      output_stream: "NORM_LANDMARKS:raw_landmarks"
      options {{ [mediapipe.TensorsToLandmarksCalculatorOptions.ext] {{ num_landmarks: {_MODEL_ROWS}
        input_image_width: {LANDMARK_SIZE} input_image_height: {LANDMARK_SIZE}
        visibility_activation: SIGMOID presence_activation: SIGMOID }} }} }}
    node {{ calculator: "RefineLandmarksFromHeatmapCalculator" input_stream: "NORM_LANDMARKS:raw_landmarks"
      input_stream: "TENSORS:heatmap_tensor" output_stream: "NORM_LANDMARKS:refined_landmarks"
      options {{ [mediapipe.RefineLandmarksFromHeatmapCalculatorOptions.ext] {{ kernel_size: 7 }} }} }}
    node {{ calculator: "ImagePropertiesCalculator" input_stream: "IMAGE_CPU:image" output_stream: "SIZE:size" }}
    node {{ calculator: "LandmarksToTensorCalculator" input_stream: "NORM_LANDMARKS:refined_landmarks"
      input_stream: "IMAGE_SIZE:size" output_stream: "TENSORS:refined_tensor"
      options {{ [mediapipe.LandmarksToTensorCalculatorOptions.ext] {{
        attributes: [X, Y, VISIBILITY, PRESENCE] flatten: true }} }} }}
    node {{ calculator: "TensorsToSegmentationCalculator" input_stream: "TENSORS:mask_tensor"
      output_stream: "MASK:mask_image"
      options {{ [mediapipe.TensorsToSegmentationCalculatorOptions.ext] {{
        gpu_origin: TOP_LEFT activation: SIGMOID }} }} }}
    node {{ calculator: "FromImageCalculator" input_stream: "IMAGE:mask_image" output_stream: "IMAGE_CPU:mask" }}
    """
    + _floats("refined_tensor", "landmarks")
)


@cache
def _bindings() -> ModuleType:
    """mediapipe's extension module, set to the folder of its bundled models."""
    package = importlib.util.find_spec("mediapipe")
    if package is None or not package.submodule_search_locations:
        raise UnavailableError("mediapipe", "is not installed", remedy=_REINSTALL)
    root = Path(next(iter(package.submodule_search_locations)))
    module = sys.modules.get(_BINDINGS)
    if module is None:
        spec = importlib.machinery.PathFinder.find_spec(_BINDINGS, [str(root / "python")])
        if spec is None or spec.loader is None:
            raise UnavailableError("mediapipe", "has no extension module for this Python", remedy=_REINSTALL)
        module = importlib.util.module_from_spec(spec)
        sys.modules[_BINDINGS] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[_BINDINGS]
            raise
    module.resource_util.set_resource_dir(str(root.parent))
    return module


class _Graph:
    """One running graph: an image in, the packets of the named streams out."""

    def __init__(self, config: str, outputs: tuple[str, ...]) -> None:
        self._bindings = _bindings()
        self._packets: dict[str, Any] = {}
        self._time = 0
        self._outputs = outputs
        self._graph = self._bindings.calculator_graph.CalculatorGraph(graph_config=config)
        for name in outputs:
            self._graph.observe_output_stream(name, self._packets.__setitem__)
        self._graph.start_run()

    def run(self, pixels: np.ndarray) -> dict[str, Any]:
        self._packets.clear()
        self._time += 1
        packet = self._bindings._packet_creator._create_image_frame_from_pixel_data(
            self._bindings.image_frame.ImageFormat.SRGB, np.ascontiguousarray(pixels), True
        )
        stamped = packet.at(self._bindings.timestamp.Timestamp(self._time))
        self._graph.add_packet_to_input_stream(stream="image", packet=stamped)
        self._graph.wait_until_idle()
        missing = [name for name in self._outputs if name not in self._packets]
        if missing:
            raise UnavailableError("mediapipe's pose graph", f"gave no {', '.join(missing)}", remedy=_REINSTALL)
        return self._packets

    def floats(self, packet: Any) -> np.ndarray:
        return np.array(self._bindings._packet_getter.get_float_list(packet), dtype=np.float32)

    def image(self, packet: Any) -> np.ndarray:
        return np.array(self._bindings._packet_getter.get_image_frame(packet).numpy_view())

    def close(self) -> None:
        self._graph.close()


class PoseModels:
    """One running instance of both models, of one thread each; not to be used by two threads at once.

    UnavailableError if they cannot be started.
    """

    def __init__(self) -> None:
        try:
            with native_chatter_kept_off_stderr():
                self._detector = _Graph(_DETECTOR_GRAPH, ("values", "logits"))
                self._landmarker = _Graph(_LANDMARK_GRAPH, ("landmarks", "presence", "world", "mask"))
                self._check()  # also the moment when the delegates announce themselves
        except UnavailableError:
            raise
        except Exception as error:  # mediapipe raises whatever it likes
            problem = f"do not start ({type(error).__name__}: {error})"
            raise UnavailableError("mediapipe's pose graphs", problem, remedy=_REINSTALL) from error

    def _check(self) -> None:
        """Shapes and ranges of both models' outputs for a grey image."""
        grey = np.full((LANDMARK_SIZE, LANDMARK_SIZE, 3), 128, np.uint8)
        detections = self.find(grey[:DETECTOR_SIZE, :DETECTOR_SIZE], 0.0)
        answer = self.landmarks(grey)
        values = np.concatenate([answer.points.ravel(), answer.world.ravel(), answer.visibility, answer.inside])
        plausible = len(detections) > 0 and np.isfinite(values).all() and 0 <= answer.presence <= 1
        if not plausible or answer.mask.min() < 0 or answer.mask.max() > 1:
            raise UnavailableError("mediapipe's pose graphs", "give values out of range", remedy=_REINSTALL)

    def find(self, window: np.ndarray, threshold: float) -> Detections:
        """People in a (224, 224, 3) uint8 window with a score of at least `threshold`."""
        graph = self._detector
        packets = graph.run(window)
        values = graph.floats(packets["values"]).reshape(-1, 12)
        return decode_detections(graph.floats(packets["logits"]), values, threshold)

    def landmarks(self, crop: np.ndarray) -> CropLandmarks:
        """The person in a (256, 256, 3) uint8 crop."""
        graph = self._landmarker
        packets = graph.run(crop)
        rows = graph.floats(packets["landmarks"]).reshape(_MODEL_ROWS, 4)
        world = graph.floats(packets["world"]).reshape(_MODEL_ROWS, 3)
        return CropLandmarks(
            points=rows[: _BODY_ROWS + _NEXT_REGION_ROWS, :2].copy(),
            visibility=rows[:_BODY_ROWS, 2].copy(),
            inside=rows[:_BODY_ROWS, 3].copy(),
            presence=float(graph.floats(packets["presence"])[0]),
            world=world[:_BODY_ROWS].copy(),
            mask=graph.image(packets["mask"]).reshape(LANDMARK_SIZE, LANDMARK_SIZE),
        )

    def close(self) -> None:
        """Stop both graphs."""
        self._detector.close()
        self._landmarker.close()


def self_test() -> None:
    """Start both models, check their outputs and stop them; UnavailableError says what is wrong."""
    PoseModels().close()


# Informative lines of TensorFlow Lite and of absl's log (severities I and W; E and F are passed on).
_CHATTER = re.compile(
    rb"^(INFO: (Created|Initialized) TensorFlow|INFO: Applying \d+ TensorFlow"
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} [\d:. ]+\S+\.(cc|h|mm):\d+\] )"
)
_lock = threading.Lock()


@contextmanager
def native_chatter_kept_off_stderr() -> Iterator[None]:
    """Catch what is written to file descriptor 2 inside the block; afterwards pass on all but known chatter.

    The descriptor belongs to the whole process, so what other threads write meanwhile is caught as well: it
    arrives late, but it arrives. Blocks of several threads follow one another.
    """
    with _lock, tempfile.TemporaryFile() as caught:
        try:
            stderr = os.dup(2)
        except OSError:  # a process without stderr has nothing to keep clean
            yield
            return
        try:
            os.dup2(caught.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            kept = b"".join(line for line in caught if not _CHATTER.match(line))
            if kept:
                os.write(2, kept)


def default_threads() -> int:
    """As many model instances as this process has cores, four at most (more bring little for one image)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(4, len(os.sched_getaffinity(0))))
    return max(1, min(4, os.cpu_count() or 1))


class ModelPool:
    """`threads` instances of the models, started when first needed; results never depend on their number."""

    def __init__(self, threads: int, start: Callable[[], PoseModels] = PoseModels) -> None:
        self.threads = threads
        self._start = start
        self._idle: queue.LifoQueue[PoseModels | None] = queue.LifoQueue()
        for _ in range(threads):
            self._idle.put(None)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="detection") if threads > 1 else None

    def map(self, work: Callable[[PoseModels, Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """`work(models, item)` for each item, spread over the threads, in the order of the items."""
        items = list(items)
        if self._executor is None or len(items) < 2:
            return [self._run(work, item) for item in items]
        return list(self._executor.map(lambda item: self._run(work, item), items))

    def _run(self, work: Callable[[PoseModels, Item], Answer], item: Item) -> Answer:
        models = self._idle.get()
        try:
            models = models or self._start()
            return work(models, item)
        finally:
            self._idle.put(models)

    def close(self) -> None:
        """Stop the threads and free the models; a closed pool cannot be used again."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        for _ in range(self.threads):
            models = self._idle.get()
            if models is not None:
                models.close()

    def __enter__(self) -> ModelPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
