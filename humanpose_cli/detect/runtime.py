"""The shipped pose networks as ONNX Runtime sessions, which all threads of the process share.

tools/convert_pose_networks.py writes the files. A session is made when it is first needed. On the CPU it computes in
the thread that calls it, so that one crop a thread runs at once and results never depend on the number of threads; on
a GPU it takes batches.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from humanpose_cli.core.errors import InputError, UnavailableError

PoseNetworkName = Literal[
    "blazepose-detector", "blazepose-full", "blazepose-heavy", "movenet-thunder", "movenet-multipose"
]

_FOLDER = Path(__file__).parent / "data"
POSE_NETWORKS: dict[PoseNetworkName, Path] = {
    "blazepose-detector": _FOLDER / "blazepose_detector.onnx",
    "blazepose-full": _FOLDER / "blazepose_full.onnx",
    "blazepose-heavy": _FOLDER / "blazepose_heavy.onnx",
    "movenet-thunder": _FOLDER / "movenet_thunder.onnx",
    "movenet-multipose": _FOLDER / "movenet_multipose.onnx",
}
"""Files of the shipped networks."""

_REINSTALL = "reinstall humanpose-cli"
_ERRORS_ONLY = 3
_lock = threading.Lock()
_sessions: dict[tuple[PoseNetworkName, str], Any] = {}


def runtime_device(device: str = "auto") -> str:
    """Where networks run, `cpu` or `cuda:N`, for a device of `resolve_device` or `auto`.

    `auto` takes the GPU where ONNX Runtime has its CUDA provider. UnavailableError where a GPU is asked for and this
    ONNX Runtime has none.
    """
    if device == "cpu":
        return device
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return f"cuda:{int(device.partition(':')[2] or 0)}"
    if device == "auto":
        return "cpu"
    remedy = "pip uninstall onnxruntime, then pip install onnxruntime-gpu; or take `device=auto`"
    raise UnavailableError("ONNX Runtime", "has no CUDA provider", remedy=remedy)


def run_network(
    name: PoseNetworkName, outputs: Sequence[str], images: np.ndarray, device: str = "cpu"
) -> list[np.ndarray]:
    """The named outputs for images (N, H, W, 3) uint8 RGB; each (N, ...) float32."""
    return _session(name, device).run(list(outputs), {"image": images})


def _session(name: PoseNetworkName, device: str) -> Any:
    with _lock:
        if (name, device) not in _sessions:
            _sessions[name, device] = _start(name, device)
        return _sessions[name, device]


def _start(name: PoseNetworkName, device: str) -> Any:
    path = POSE_NETWORKS[name]
    if not path.is_file():
        raise UnavailableError(name, "is missing from the package", expected=str(path), remedy=_REINSTALL)
    return start_session(path, device, remedy=_REINSTALL)


def start_session(path: Path, device: str, *, remedy: str = "") -> Any:
    """An ONNX file as a session that computes in the thread that calls it. InputError where it is none."""
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        onnxruntime.preload_dlls()  # CUDA's libraries as torch brings them
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2])}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # its exceptions have no common class
        problem = f"is no network that ONNX Runtime reads ({str(error).splitlines()[0]})"
        raise InputError(path, problem, remedy=remedy) from error
