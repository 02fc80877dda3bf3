"""The shipped pose networks as ONNX Runtime sessions, which all threads of the process share.

tools/convert_pose_networks.py writes the files. A session is made when it is first needed. On the CPU it computes in
the calling thread, so that results do not depend on the number of threads. On a GPU it takes batches.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from humanpose_cli.core.errors import InputError, UnavailableError, reason_of
from humanpose_cli.core.extras import reinstall_line
from humanpose_cli.files.digests import digest_of
from humanpose_cli.files.planes import read_planes
from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.files.unpacking import uncompressed

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("humanpose_cli.detect")

PoseNetworkName = Literal[
    "blazepose-detector",
    "blazepose-full",
    "blazepose-heavy",
    "movenet-thunder",
    "movenet-multipose",
    "hand-landmark",
    "face-landmark",
]

_FOLDER = Path(__file__).parent / "data"
POSE_NETWORK_DIGESTS: dict[PoseNetworkName, str] = {
    "blazepose-detector": "24837a142d259178d3a4e27c616e349c4ef49a8030f7256b6cb47e6eac2ab689",
    "blazepose-full": "35bf89135a3b45bb67bf19a65785e72158be3e59a2b28d1f806491367aadce7f",
    "blazepose-heavy": "4bc8528f0fafd1545fcb346b1ce961863959e1bb337609b56978c52df43ded43",
    "movenet-thunder": "d9521e3f355305f2574a490a3d983b898b79da2ac31ea6e3bfb4ba99a382c59f",
    "movenet-multipose": "f95940d79864d22a3039c9d62ae337b50b564e1e8b52aab7d9cf9d5ad768248b",
    "hand-landmark": "cab3f561c44ce159364bc92f5f756bb8e03df739e840b3b355e25e9ce94c3486",
    "face-landmark": "45fe3006448570842a5f0ac563a02e89f5aedaad4a99c852566bcfaaccfb42d8",
}
"""SHA-256 of the files of the shipped networks, compared when one is loaded."""
POSE_NETWORKS = {name: _FOLDER / f"{name.replace('-', '_')}.onnx.planes.gz" for name in POSE_NETWORK_DIGESTS}
"""Files of the shipped networks, see `files.planes`."""
_POSE_MAPS = {
    8: {"t635": 288},
    16: {"t552": 192, "t253": 160},
    32: {"t469": 96, "t110": 56},
    64: {"t395": 48, "t62": 32},
}
"""Values inside blazepose-heavy and their channels, by the side of their maps: sums of the branches of landmarks and
heat map, and of their common encoder."""
POSE_CHANNELS = {side: sum(values.values()) for side, values in _POSE_MAPS.items()}
"""Channels of `pose_maps` by their side."""
# Networks whose masks, which take up to half of their time, are computed on request.
_MASKING: tuple[PoseNetworkName, ...] = ("blazepose-full", "blazepose-heavy")

_FATAL_ONLY = 4  # errors come as exceptions; ONNX Runtime's lines would damage the output of --json
_MAX_THREADS = 32  # threads with an image each on a GPU
_MAX_BATCH = 256  # images of several threads that are computed together on a GPU
_GPU_BATCH = 16  # images of a call of a network there, if they are more than one
_MAX_GPU_SESSIONS = 24  # networks times sizes of their inputs, each with its own memory
_locks = {name: threading.Lock() for name in POSE_NETWORKS}  # so that several threads load different networks
_sessions: dict[tuple[PoseNetworkName, str], Any] = {}


_CUDA_PROVIDER = "CUDAExecutionProvider"


def runtime_device(device: str = "auto") -> str:
    """Choose the device of networks.

    Args:
        device: "cpu", "cuda:N", or "auto" for the GPU if ONNX Runtime can use one. If its CUDA provider does not work,
            a warning is logged once.

    Returns:
        "cpu" or "cuda:N".

    Raises:
        UnavailableError: If ONNX Runtime cannot use the GPU.
    """
    if device == "cpu":
        return device
    if _has_cuda_provider():
        gpu = f"cuda:{int(device.partition(':')[2] or 0)}"
        problem = _gpu_problem(gpu)
        if not problem:
            return gpu
        remedy = 'pip install "onnxruntime-gpu[cuda,cudnn]", or take `device=cpu`'
        if device == "auto":
            _warn_once(f"the pose networks run on the CPU: ONNX Runtime {problem}; {remedy}")
    else:
        problem = "has no CUDA provider"
        remedy = "pip uninstall onnxruntime, then pip install onnxruntime-gpu; or take `device=auto`"
    if device == "auto":
        return "cpu"
    raise UnavailableError("ONNX Runtime", problem, remedy=remedy)


def _has_cuda_provider() -> bool:
    import onnxruntime

    return _CUDA_PROVIDER in onnxruntime.get_available_providers()


@cache
def _gpu_problem(device: str) -> str:
    """Start the smallest network on a GPU, and return why it does not run; "" if it does."""
    try:
        _start("blazepose-detector", device)
    except (InputError, UnavailableError) as error:
        return f"cannot compute on {device} ({error.problem})"
    return ""


@cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


def run_network(
    name: PoseNetworkName, outputs: Sequence[str], images: np.ndarray, device: str = "cpu"
) -> list[np.ndarray]:
    """Compute outputs of a network for images. On a GPU, requests of several threads are combined; see `asking`.

    Args:
        name: The network.
        outputs: The names of the outputs.
        images: (N, H, W, 3) uint8 RGB.
        device: "cpu" or "cuda:N".

    Returns:
        (N, ...) float32 for each output.
    """
    return _compute(device, name, outputs, images) if device == "cpu" else _joined(device)(name, outputs, images)


def _compute(device: str, name: PoseNetworkName, outputs: Sequence[str], images: np.ndarray) -> list[np.ndarray]:
    if device == "cpu":
        return _run(_session(name, device), name, outputs, images)
    return _in_equal_batches(lambda part: _run(_gpu_session(name, device, part.shape), name, outputs, part), images)


def _in_equal_batches(run: Callable[[np.ndarray], list[np.ndarray]], images: np.ndarray) -> list[np.ndarray]:
    size = 1 if len(images) == 1 else _GPU_BATCH
    parts = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        padding = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
        results = run(np.concatenate((part, padding)))
        parts.append([result[: len(part)] for result in results])
    return [np.concatenate(output) for output in zip(*parts, strict=True)]


def _run(session: Any, name: PoseNetworkName, outputs: Sequence[str], images: np.ndarray) -> list[np.ndarray]:
    inputs = {"image": images}
    if name in _MASKING:
        inputs["masked"] = np.array("mask" in outputs)
    results: list[np.ndarray] = session.run(list(outputs), inputs)
    return results


def pose_maps(images: Tensor) -> list[Tensor]:
    """Compute the maps of blazepose-heavy.

    Args:
        images: (N, 256, 256, 3) uint8 RGB, on the CPU or a GPU.

    Returns:
        (N, C, S, S) float32 for S and C of `POSE_CHANNELS`, the coarsest first, on the images' device.
    """
    import torch

    kind = images.device.type
    index = images.device.index or 0
    device = "cpu" if kind == "cpu" else runtime_device(f"{kind}:{index}")
    images, count = images.contiguous(), len(images)
    with _locks["blazepose-heavy"]:
        session = _map_session(device, () if device == "cpu" else tuple(images.shape))
    binding = session.io_binding()
    binding.bind_input("image", kind, index, np.uint8, tuple(images.shape), images.data_ptr())
    binding.bind_cpu_input("masked", np.array(False))
    maps = []
    for side, values in _POSE_MAPS.items():
        parts = [torch.empty((count, channels, side, side), device=images.device) for channels in values.values()]
        for name, part in zip(values, parts, strict=True):
            binding.bind_output(name, kind, index, np.float32, tuple(part.shape), part.data_ptr())
        maps.append(parts)
    if kind == "cuda":  # ONNX Runtime computes in a stream of its own
        torch.cuda.current_stream(images.device).synchronize()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return [torch.cat(parts, 1) for parts in maps]


@cache
def _map_session(device: str, shape: tuple[int, ...]) -> Any:
    """Start a separate session of blazepose-heavy, as the copied maps would slow the detector's."""
    return _start("blazepose-heavy", device, [name for names in _POSE_MAPS.values() for name in names])


def images_at_once(device: str) -> int:
    """Return the number of threads that gain from one image each: on a GPU as many as fill a batch."""
    return 1 if runtime_device(device) == "cpu" else _MAX_THREADS


def asking(device: str) -> AbstractContextManager[None]:
    """Register this thread's requests about one image: on a GPU, the requests of all threads become batches."""
    device = runtime_device(device)
    return nullcontext() if device == "cpu" else _joined(device).asking()


@cache
def _joined(device: str) -> JoinedRequests:
    return JoinedRequests(partial(_compute, device), _MAX_BATCH)


def begin_loading(device: str = "auto", *, maps: bool = False) -> threading.Thread:
    """Load the networks in a thread of its own, while the caller imports other modules.

    Not on a GPU, where the order of libraries matters. Errors appear when a network is used.

    Args:
        device: "auto", "cpu" or "cuda:N".
        maps: Whether `pose_maps` will be called.
    """

    def load() -> None:
        with suppress(InputError, UnavailableError):
            if device == "cpu" or (device == "auto" and not _has_cuda_provider()):
                for name in POSE_NETWORKS:
                    _session(name, "cpu")
                    if maps and name == "blazepose-heavy":  # which is unpacked for both sessions now
                        with _locks[name]:
                            _map_session("cpu", ())

    thread = threading.Thread(target=load, name="networks")
    thread.start()
    return thread


def _session(name: PoseNetworkName, device: str) -> Any:
    with _locks[name]:
        if (name, device) not in _sessions:
            _sessions[name, device] = _start(name, device)
        return _sessions[name, device]


@lru_cache(maxsize=_MAX_GPU_SESSIONS)
def _gpu_session(name: PoseNetworkName, device: str, shape: tuple[int, ...]) -> Any:
    """Start a session for inputs of one shape, as ONNX Runtime takes seconds to plan for another shape."""
    return _start(name, device)


def _start(name: PoseNetworkName, device: str, outputs: Sequence[str] = ()) -> Any:
    model = network_model(name) + _further_outputs(outputs)
    return start_session(POSE_NETWORKS[name], device, model, remedy=reinstall_line())


def network_model(name: PoseNetworkName) -> bytes:
    """Read a shipped network as the contents of an ONNX file.

    Raises:
        UnavailableError: If its file is missing.
        InputError: If its file is damaged.
    """
    path = POSE_NETWORKS[name]
    if not path.is_file():
        raise UnavailableError(name, "is missing from the package", expected=str(path), remedy=reinstall_line())
    if (digest := digest_of(path)) != POSE_NETWORK_DIGESTS[name]:
        expected = f"SHA-256 {POSE_NETWORK_DIGESTS[name]}"
        raise InputError(path, "is damaged", expected=expected, got=digest, remedy=reinstall_line())
    return read_planes(path)


def start_session(path: Path, device: str, model: bytes = b"", *, remedy: str = "") -> Any:
    """Start a session of an ONNX file that computes in the calling thread.

    Args:
        path: The file, or one that gzip compressed.
        device: "cpu" or "cuda:N".
        model: The file's contents, if they have been read.
        remedy: The remedy of the error.

    Raises:
        InputError: If the file is no network, or unpacks to more than 256 MiB and fifty times its size.
        UnavailableError: If CUDA's libraries are missing, without which ONNX Runtime would silently compute on the CPU.
    """
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        cuda_report = _load_cuda()
        # By default each new size of a batch would be tried with every algorithm there is, and products would have 11
        # bits (TF32), which moved joints of a photograph by 4 pixels.
        gpu = {"device_id": int(device.partition(":")[2]), "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
        providers.insert(0, (_CUDA_PROVIDER, gpu))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # arenas would hold 150 MB when all have run, and are no faster
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not its own, whose code may be newer
    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    try:
        if path.suffix == ".gz":
            model = model or uncompressed(path, read_bytes(path))
        # Without its second attempt, which prints to the standard output.
        session = onnxruntime.InferenceSession(model or path, options, providers=providers, enable_fallback=0)
    except InputError:
        raise
    except Exception as error:  # its exceptions have no common class
        problem = f"is no network that ONNX Runtime reads ({reason_of(error)})"
        raise InputError(path, problem, remedy=remedy) from error
    if device != "cpu" and _CUDA_PROVIDER not in session.get_providers():
        raise UnavailableError("ONNX Runtime", f"its CUDA provider does not load{cuda_report and f': {cuda_report}'}")
    return session


@cache
def _load_cuda() -> str:
    """Load the CUDA libraries that come with torch, and return ONNX Runtime's report of missing ones."""
    import onnxruntime

    report = io.StringIO()
    with redirect_stdout(report):  # else it would stand in the output of --json
        onnxruntime.preload_dlls()
    return report.getvalue().partition("\n")[0]


# Fields of ONNX's protocol buffers:
_GRAPH = 7
_OUTPUT = 12
_NAME = 1
_TYPE = 2
_TENSOR = 1
_FLOAT = b"\x08\x01"


def _further_outputs(names: Sequence[str]) -> bytes:
    """Encode an ONNX model that consists of outputs: appended to another model's bytes, they are joined."""
    kind = _field(_TYPE, _field(_TENSOR, _FLOAT))
    return _field(_GRAPH, b"".join(_field(_OUTPUT, _field(_NAME, name.encode()) + kind) for name in names))


def _field(number: int, content: bytes) -> bytes:
    """Encode bytes as a field of a protocol buffer: number and type, length in groups of 7 bits, bytes."""
    length = len(content)
    groups = []
    while length > 127:
        groups.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *groups, length]) + content


@dataclass(eq=False)
class _Request:
    """A thread's request to a network, and its result.

    Attributes:
        key: The network, outputs and size of the images. Requests with equal keys can be computed as one batch.
    """

    key: tuple[PoseNetworkName, tuple[str, ...], tuple[int, ...]]
    images: np.ndarray
    result: list[np.ndarray] | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return self.result is not None or self.error is not None


Compute = Callable[[PoseNetworkName, Sequence[str], np.ndarray], list[np.ndarray]]


class JoinedRequests:
    """Combines requests of several threads to batches: a GPU takes hardly longer for many images than for one.

    Threads make requests inside `asking`. A batch is run when all of them wait for a result, or when enough images
    wait. The last waiting thread runs it.

    Args:
        run: Computes a batch: (network, outputs, images (N, H, W, 3)) → outputs (N, …).
        max_batch: The maximum number of images in a batch.
    """

    def __init__(self, run: Compute, max_batch: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._condition = threading.Condition()
        self._waiting: list[_Request] = []
        self._asking = 0
        self._running = False

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Register this thread's requests: batches wait for them until the context ends."""
        with self._condition:
            self._asking += 1
        try:
            yield
        finally:
            with self._condition:
                self._asking -= 1
                self._condition.notify_all()

    def __call__(self, name: PoseNetworkName, outputs: Sequence[str], images: np.ndarray) -> list[np.ndarray]:
        """Compute the outputs (N, …) for this thread's images (N, H, W, 3)."""
        request = _Request((name, tuple(outputs), images.shape[1:]), images)
        with self._condition:
            self._waiting.append(request)
            while not request.settled:
                enough = sum(len(waiting.images) for waiting in self._waiting) >= self._max_batch
                if self._waiting and not self._running and (enough or len(self._waiting) >= self._asking):
                    self._run_batch()
                else:
                    self._condition.wait()
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _run_batch(self) -> None:
        """Run the largest batch of waiting requests; the lock is released meanwhile."""
        batches: dict[Any, list[_Request]] = {}
        for request in self._waiting:
            batches.setdefault(request.key, []).append(request)
        largest = max(batches.values(), key=lambda requests: sum(len(r.images) for r in requests))
        sizes = np.cumsum([len(request.images) for request in largest])
        batch = largest[: max(1, int((sizes <= self._max_batch).sum()))]
        self._waiting = [request for request in self._waiting if request not in batch]
        self._running = True
        self._condition.release()
        try:
            name, outputs, _ = batch[0].key
            result = self._run(name, outputs, np.concatenate([request.images for request in batch]))
            ends = np.cumsum([len(request.images) for request in batch])[:-1]
            parts = zip(*(np.split(output, ends) for output in result), strict=True)
            for request, part in zip(batch, parts, strict=True):
                request.result = list(part)
        except BaseException as error:  # raised again in the thread of each request
            for request in batch:
                request.error = error
        finally:
            self._condition.acquire()
            self._running = False
            self._condition.notify_all()
