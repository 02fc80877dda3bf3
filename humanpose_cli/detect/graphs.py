"""Runs the two BlazePose models inside mediapipe 0.10.14 through its private graph interface.

`mediapipe.solutions.pose` shows one person and hides the scores. The graphs below run the same two bundled files on
images that we cut ourselves and hand the tensors back as plain lists of floats.

Only the extension module is loaded, by path: `import mediapipe` would import matplotlib, OpenCV and all of its
tasks first (about a second). It is registered under its own name, so a later `import mediapipe` finds it.

Keeps the start-up chatter of native libraries off stderr without losing anybody else's words.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.detect.models import DETECTOR_SIZE, LANDMARK_SIZE, CropLandmarks, Detections, decode_detections

__all__ = [
    "GraphModels",
    "native_chatter_kept_off_stderr",
    "self_test",
]


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
    """mediapipe's extension module, with the folder of its bundled models told to it."""
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


class GraphModels:
    """Both models as graphs of one thread each (see `models.PoseModels`); use one instance per thread."""

    name = "graphs"

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
        """Shapes and ranges of what both models say about a grey image."""
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
    """Start both models, check what they give and stop them; UnavailableError tells what is wrong."""
    GraphModels().close()


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
