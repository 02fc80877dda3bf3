"""Weights files: their contents, their registry, and config dataclasses built from their headers.

A file is safetensors in half precision, compressed if it is shipped. Its header is JSON in the file's metadata: `model`
(the kind of network), `config` (how to build it), `training` (data, run, steps), `metrics` (on held-out data), and
`digest`, which is compared whenever the tensors are read. Checkpoints of other programs are read with torch's
`weights_only`.

`WEIGHTS` lists the weights that are shipped with the package and those that others offer. Shipped networks were trained
by `hpc train` on synthetic people, as their headers record; the pose networks are other people's, converted to ONNX,
and their metadata names the source. Other weights are downloaded from their owners on request, and checked against the
digest in that table. `options_of` builds a config dataclass from the header's plain values.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs
from safetensors import SafetensorError, safe_open

from humanpose_cli.core.errors import InputError, UnavailableError, UsageError, reason_of
from humanpose_cli.core.extras import reinstall_line
from humanpose_cli.detect.runtime import POSE_NETWORK_DIGESTS, POSE_NETWORKS, PoseNetworkName
from humanpose_cli.files.digests import digest_of
from humanpose_cli.files.npz_files import check_archive
from humanpose_cli.files.planes import PLANES, pack_planes, read_planes
from humanpose_cli.files.restricted_pickle import check_torch_pickles
from humanpose_cli.files.sniffing import file_kind
from humanpose_cli.outputs.atomic import ensure_folder, write_bytes

if TYPE_CHECKING:  # the registry is read before anything heavy is loaded
    from torch import Tensor, nn

_FORMAT = "humanpose-cli weights 1"
# One key for all: safetensors writes several in any order, and equal weights must be equal bytes.
_KEY = "humanpose-cli"
_PARTS = ("model", "config", "training", "metrics")


@dataclass(frozen=True)
class WeightsHeader:
    """The metadata of a weights file.

    Attributes:
        model: Name of the kind of network, such as "segmenter".
        config: Plain JSON values that build the network.
        training: Its data, number of steps and options.
        metrics: Metrics on held-out data, by name.
        digest: SHA-256 over the tensors' names, types, shapes and bytes, by `write_weights`; empty in older files.
    """

    model: str
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    digest: str = field(default="", compare=False)


def write_weights(path: Path, state: Mapping[str, Tensor], header: WeightsHeader) -> None:
    """Save tensors atomically, floating ones as float16.

    Args:
        path: The file.
        state: The tensors by name.
        header: The header.

    Raises:
        InputError: If a number is too large for half precision.
    """
    from safetensors.torch import save

    tensors = {name: _stored(name, value) for name, value in state.items()}
    document = {"format": _FORMAT, **vars(header), "digest": _digest_of_tensors(tensors)}
    content = save(tensors, metadata={_KEY: json.dumps(document, sort_keys=True)})
    write_bytes(path, pack_planes(content) if path.name.endswith(PACKED) else content)


def _stored(name: str, value: Tensor) -> Tensor:
    import torch

    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    half = value.half()
    if not torch.isfinite(half).all():
        raise InputError(f"weights {name}", "do not fit into half precision", got=f"up to {float(value.abs().max()):g}")
    return half


def _digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_header(path: Path, model: str | None = None) -> WeightsHeader:
    """Read the header of a weights file.

    Args:
        path: The file.
        model: The kind of network that the file must hold. None accepts any.

    Raises:
        InputError: If the file is missing, damaged or of another kind.
    """
    document = _header_document(path)
    kind = document.get("format", "no header of hpc")
    parts: dict[str, Any] = {key: document.get(key) for key in _PARTS}
    is_complete = all(isinstance(parts[name], Mapping) for name in _PARTS[1:])
    if kind != _FORMAT or not isinstance(parts["model"], str) or not is_complete:
        raise InputError(path, "is no weights file of hpc", expected=_FORMAT, got=str(kind))
    header = WeightsHeader(**parts, digest=str(document.get("digest", "")))
    if model is not None and header.model != model:
        raise InputError(path, "holds another model", expected=model, got=header.model)
    return header


def _header_document(path: Path) -> dict[str, Any]:
    """Return the JSON of `write_weights` in a file's metadata; empty for other programs' files."""
    try:
        if path.name.endswith(PACKED):
            content = read_planes(path)
            metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        else:
            with safe_open(path, "np") as file:  # which needs no torch
                metadata = file.metadata() or {}
    except FileNotFoundError:
        raise InputError(path, "does not exist", expected="a weights file") from None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(path, f"cannot be read ({error})", expected="a weights file of hpc train") from error
    try:
        return dict(json.loads(metadata.get(_KEY, "{}")))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(path, f"has a damaged header ({error})", remedy="copy it again") from error


def trainings_of(header: WeightsHeader) -> list[dict[str, Any]]:
    """Return the trainings that weights result from, in order, if a training began with another's weights."""
    names = ("steps", "people", "pairs", "loop")
    training = {key: header.training[key] for key in names if key in header.training}
    return [*header.training.get("began_with", ()), training]


def read_weights(path: Path, model: str | None = None) -> tuple[dict[str, Tensor], WeightsHeader]:
    """Read tensors, floating ones as float32, and the header.

    Args:
        path: The file.
        model: The kind of network that the file must hold. None accepts any.

    Raises:
        InputError: If the file is missing, damaged or of another kind.
    """
    import torch

    header = read_header(path, model)
    tensors = _read_tensors(path, header.digest)
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise _damaged(path)
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}, header


def _read_tensors(path: Path, digest: str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file in their stored types, and compare their digest unless it is ""."""
    from safetensors.torch import load

    try:
        if path.name.endswith(PACKED):
            tensors = load(read_planes(path))
        else:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(path, f"cannot be read ({error})", remedy="copy it again") from error
    if digest and _digest_of_tensors(tensors) != digest:
        raise _damaged(path)
    return tensors


def _damaged(path: Path) -> InputError:
    remedy = reinstall_line() if _PACKAGE in path.resolve().parents else "copy it again"
    return InputError(path, "is damaged: its numbers have changed", remedy=remedy)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of another program's checkpoint: safetensors, or a torch file of tensors.

    A `state_dict` or `model` inside is unpacked, and the prefix `module.` of data-parallel training removed.

    Args:
        path: The file.

    Raises:
        InputError: If the file contains something that would have to be executed, or is a damaged file of
            `write_weights`.
    """
    import torch

    if path.name.endswith((".safetensors", PACKED)):
        return _read_tensors(path, str(_header_document(path).get("digest", "")))
    check_archive(path)
    try:
        check_torch_pickles(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(path, "does not exist", expected="a checkpoint") from None
    except Exception as error:  # torch raises what its unpickler meets
        raise InputError(
            path, f"cannot be read safely ({reason_of(error)})", expected="a checkpoint of tensors only"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(path, "holds no named tensors", expected="a state dict")
    return {name.removeprefix("module."): value for name, value in content.items()}


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load all of a module's tensors by name.

    Args:
        module: The module.
        tensors: The tensors by name.
        path: The file that they come from, for messages.

    Raises:
        InputError: If a tensor is missing, superfluous or of another shape; the message names the first one.
    """
    expected_shapes, file_shapes = (
        {name: str(tuple(value.shape)) for name, value in state.items() if not name.endswith("num_batches_tracked")}
        for state in (module.state_dict(), tensors)
    )
    for name in sorted(set(expected_shapes) | set(file_shapes)):
        shape, got = expected_shapes.get(name, "nothing"), file_shapes.get(name, "nothing")
        if shape != got:
            remedy = "it belongs to another network, or to another number of parts, joints or channels"
            raise InputError(path, f"does not fit at {name}", expected=shape, got=got, remedy=remedy)
    module.load_state_dict({name: tensors[name] for name in expected_shapes}, strict=False)


PACKED = f".safetensors{PLANES}"
"""The end of the names of shipped weights."""
BEST, LAST = "best.safetensors", "last.safetensors"
"""Files of a run: the weights that its validations prefer, if it keeps these, and those of its last step."""

_PACKAGE = Path(__file__).parent.parent
_TORCHVISION = "https://download.pytorch.org/models/"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/"
_TIMEOUT = 30  # seconds without a byte
_SCHEME = "https://"  # also of addresses that a server redirects to


@dataclass(frozen=True)
class WeightsEntry:
    """One file of weights.

    Attributes:
        name: Its name in commands.
        about: A one-line description.
        file: Its name in the download folder; for shipped weights, its path in the package.
        digest: SHA-256 in hexadecimal digits; for torchvision's files, the first digits, which the file's name has.
        url: Its owner's address; empty for shipped weights.
        licence: The licence of the weights.
    """

    name: str
    about: str
    file: str
    digest: str
    url: str = ""
    licence: str = "Apache-2.0"

    @property
    def shipped(self) -> bool:
        """Whether the file is part of the package."""
        return not self.url

    @property
    def path(self) -> Path:
        """The path of the file, whether or not it exists."""
        return _PACKAGE / self.file if self.shipped else weights_folder() / self.file

    def located(self) -> Path:
        """Return the path of the file. Raises UnavailableError if there is none."""
        if self.path.is_file():
            return self.path
        if self.shipped:
            raise UnavailableError(self.name, "is missing from the package", remedy=reinstall_line())
        raise UnavailableError(self.name, "is not here", remedy=f"hpc weights fetch {self.name}")

    def verify(self) -> None:
        """Compare the file with the digest in the table.

        Raises:
            InputError: If it differs.
            UnavailableError: If there is no file.
        """
        _check(self, digest_of(self.located()), str(self.path))

    def fetch(self) -> Path:
        """Download the file atomically, unless it exists and is undamaged.

        Returns:
            The file.

        Raises:
            UnavailableError: If the owner's server cannot be reached.
            InputError: If it sends something else, or the existing file is damaged.
        """
        if self.shipped or self.path.is_file():
            self.verify()
            return self.path
        import urllib.error
        import urllib.request

        try:
            with urllib.request.urlopen(self.url, timeout=_TIMEOUT) as response:
                if not response.url.startswith(_SCHEME):
                    raise UnavailableError(self.url, "leads to a connection without TLS", got=response.url)
                content = response.read()
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise UnavailableError(
                self.url, f"cannot be fetched ({reason})", remedy=f"download it elsewhere to {self.path}"
            ) from error
        ensure_folder(self.path.parent)
        partial = self.path.with_name(self.path.name + ".unchecked")
        write_bytes(partial, content)
        try:
            _check(self, digest_of(partial), self.url)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
        return self.path


def _check(entry: WeightsEntry, digest: str, location: str) -> None:
    if not digest.startswith(entry.digest):
        remedy = reinstall_line() if entry.shipped else f"remove it, then hpc weights fetch {entry.name}"
        raise InputError(
            location, "is damaged or another file", expected=f"SHA-256 {entry.digest}…", got=digest, remedy=remedy
        )


def _torchvision(name: str, about: str, file: str) -> WeightsEntry:
    digest = file.rsplit("-", 1)[1].removesuffix(".pth")
    return WeightsEntry(name, about, file, digest, _TORCHVISION + file, "BSD-3-Clause; see ImageNet's terms")


def _pose_network(name: PoseNetworkName, about: str) -> WeightsEntry:
    file = POSE_NETWORKS[name].relative_to(_PACKAGE)
    return WeightsEntry(name, about, file.as_posix(), POSE_NETWORK_DIGESTS[name])


_DIGESTS = {
    "segmenter": "b9c359efb343412ab11f1ce307125fcdfdd29b7d2eb0ab224fe7d7c55cd9ace4",
    "nbf-proxy": "fcb4e2771c0b0ad759e746c06a9977743732e10dbd96da05397c53f450c6ac32",
    "nbf-parts": "f2e709557d6313212444451093234ef6f027c2a025d1d5c9318208a3d951a6a4",
    "warp3d": "df5befb2fe93b41a1e7366d3a680ab096c3334131fc6ef9ca575cec4bcf41221",
    "lifter": "f2192bbc11186b2ccd6270e4ed035a11995699db497c9c8f959f8d23b3f931b8",
    "garments": "ff54981f56697cd3b0f9c981f8489998c86a849809f09a63faab28973ca3e57c",
    "refiner": "ea62da2ede6e5c8d763aa6b3e4aa84704426cab81272087b5d58ebaabe852a64",
}


def _network(name: str, about: str) -> WeightsEntry:
    return WeightsEntry(name, about, f"networks/data/{name.replace('-', '_')}{PACKED}", _DIGESTS[name])


_ENTRIES = (
    _network("segmenter", "a person's image, and what the detector says, to 12 body parts"),
    _network("nbf-proxy", "body parts and what the detector says to shape, pose and how sure they are"),
    _network("nbf-parts", "12 body parts to shape and pose; PA 94.5 to 99.8 mm with predicted parts"),
    _network("warp3d", "a person's image, their pose and another one to the person in that pose, 128 pixels"),
    _network("lifter", "landmarks in the image to joints in metres, with the noise of each"),
    _network("garments", "a person's image to skin, hair, garments and shoes"),
    _network("refiner", "a photograph and renderings of a fit to the displacement of each pixel"),
    _pose_network("blazepose-detector", "people in a square window"),
    _pose_network("blazepose-full", "33 landmarks, mask and presence of one person"),
    _pose_network("blazepose-heavy", "the same, larger"),
    _pose_network("movenet-thunder", "17 joints of one person"),
    _pose_network("movenet-multipose", "up to six people in an image"),
    _pose_network("hand-landmark", "21 landmarks and presence of one hand"),
    _pose_network("face-landmark", "468 landmarks of one face"),
    _torchvision("imagenet-resnet18", "backbone", "resnet18-f37072fd.pth"),
    _torchvision("imagenet-resnet50", "backbone of the paper's body network", "resnet50-0676ba61.pth"),
    _torchvision("imagenet-resnet101", "backbone of the paper's segmenter", "resnet101-63fe2227.pth"),
    _torchvision("imagenet-vgg16", "backbone of a DeepLab", "vgg16-397923af.pth"),
    _torchvision("imagenet-vgg19", "perceptual loss of warp3d", "vgg19-dcbb9e9d.pth"),
    _torchvision("imagenet-alexnet", "part of LPIPS", "alexnet-owt-7be5be79.pth"),
    WeightsEntry(
        "lpips-alex",
        "linear layers of LPIPS",
        "lpips-v0.1-alex.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        f"{_LPIPS}alex.pth",
        "BSD-2-Clause",
    ),
)

WEIGHTS: dict[str, WeightsEntry] = {entry.name: entry for entry in _ENTRIES}
"""The entries by name."""


def weights_folder() -> Path:
    """Return the download folder: $HPC_WEIGHTS, or a folder in the user's cache."""
    if folder := os.environ.get("HPC_WEIGHTS"):
        return Path(folder)
    return platformdirs.user_cache_path("humanpose-cli", appauthor=False) / "weights"


def shipped_weights(name: str) -> Path:
    """Return the path of a shipped file.

    Args:
        name: Its name in `WEIGHTS`.

    Raises:
        UnavailableError: If the package lacks it.
    """
    return WEIGHTS[name].located()


_NO_WEIGHTS = ("an image", "a video", "a HEIC image", "text", "a web page", "a PDF document", "an HDF5 file")


def find_weights(name: str | Path) -> Path:
    """Find a weights file by its path, by a run's folder or by a name in `WEIGHTS`.

    Args:
        name: The path or name.

    Raises:
        InputError: If there is no such file.
        UnavailableError: If known weights are not on this machine.
    """
    path = Path(name)
    if path.is_dir():
        for file in (path / BEST, path / LAST):  # a training that keeps its last step has no best one
            if file.is_file():
                return file
        remedy = "hpc train writes it at its first validation, of deform-and-learn after its first round"
        raise InputError(path, "holds no weights", expected=f"{BEST} or {LAST}", remedy=remedy)
    if path.is_file():
        if path.suffix != ".safetensors" and (kind := file_kind(path)) in _NO_WEIGHTS:
            raise InputError(path, "holds no weights", expected="a file or a run's folder of hpc train", got=kind)
        return path
    entry = WEIGHTS.get(str(name))
    if entry is None:
        raise InputError(
            name, "does not exist", expected="a file, a run's folder, or a name that hpc weights list shows"
        )
    return entry.located()


Options = TypeVar("Options")


def options_of(kind: type[Options], values: Any, path: Path | str) -> Options:
    """Build an options dataclass from plain values; lists become tuples, and unknown names are ignored.

    Args:
        kind: The dataclass.
        values: The values by name.
        path: The file that they come from, for messages.

    Raises:
        InputError: If the values are invalid.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        got = type(values).__name__
        raise InputError(path, f"has a config that is no {kind.__name__}", got=got, remedy="use the hpc that made it")
    try:
        return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in names})
    except (TypeError, UsageError) as error:
        raise InputError(path, f"has a config that cannot be built ({error})") from error
