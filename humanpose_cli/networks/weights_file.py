"""Weights as files: safetensors in half precision, with a header that says what they are, on what and how they learned.

The header is JSON in the file's metadata: `model` (what it is), `config` (how to build the network), `training` (data,
run, steps, seconds), `metrics` (on held-out data). Foreign checkpoints are read with torch's `weights_only`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from humanpose_cli.errors import InputError
from humanpose_cli.io.atomic import write_bytes

__all__ = ["WeightsHeader", "digest_of", "read_foreign", "read_header", "read_weights", "write_weights"]

_FORMAT = "humanpose-cli weights 1"
_KEY = (
    "humanpose-cli"  # one key for all: safetensors writes several in any order, and equal weights must be equal bytes
)
_PARTS = ("model", "config", "training", "metrics")


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file says about itself.

    model     name of the kind of network, such as "segmenter"
    config    plain JSON values that build it
    training  on what, how long, with what options, at which commit
    metrics   on held-out data, by name
    """

    model: str
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


def write_weights(path: Path, state: Mapping[str, Tensor], header: WeightsHeader) -> None:
    """Save tensors, floating ones as float16; the file appears whole or not at all.

    InputError where a number is too large for half precision.
    """
    tensors = {name: _stored(name, value) for name, value in state.items()}
    document = {"format": _FORMAT, **vars(header)}
    write_bytes(path, save(tensors, metadata={_KEY: json.dumps(document, sort_keys=True)}))


def _stored(name: str, value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    half = value.half()
    if not torch.isfinite(half).all():
        raise InputError(f"weights {name}", "do not fit into half precision", got=f"up to {float(value.abs().max()):g}")
    return half


def read_header(path: Path) -> WeightsHeader:
    """The header alone; InputError where the file is missing, damaged or of another kind."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise InputError(path, "does not exist", expected="a weights file") from None
    except (OSError, SafetensorError) as error:
        raise InputError(path, f"cannot be read ({error})", expected="a weights file of hpc train") from error
    try:
        document = json.loads(metadata.get(_KEY, "{}"))
        found = document.get("format", "no header of hpc")
        parts = {key: document.get(key) for key in _PARTS}
    except (ValueError, AttributeError) as error:
        raise InputError(path, f"has a damaged header ({error})", remedy="copy it again") from error
    if found != _FORMAT or None in parts.values():
        raise InputError(path, "is no weights file of hpc", expected=_FORMAT, got=str(found))
    return WeightsHeader(**parts)


def read_weights(path: Path, model: str | None = None) -> tuple[dict[str, Tensor], WeightsHeader]:
    """Tensors, floating ones as float32, and the header.

    model  what the file must hold; InputError if it is another
    """
    header = read_header(path)
    if model is not None and header.model != model:
        raise InputError(path, "holds another model", expected=model, got=header.model)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(path, f"cannot be read ({error})", remedy="copy it again") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}, header


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Tensors of somebody else's checkpoint: safetensors, or a torch file that holds nothing but tensors.

    A `state_dict` or `model` inside is taken out, and the prefix `module.` of data-parallel training removed.
    InputError where the file holds anything that would have to be executed.
    """
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(path, f"cannot be read ({error})") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(path, "does not exist", expected="a checkpoint") from None
    except Exception as error:  # torch raises what its unpickler meets
        raise InputError(
            path, f"cannot be read safely ({str(error).splitlines()[0]})", expected="a checkpoint of tensors only"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(path, "holds no named tensors", expected="a state dict")
    return {name.removeprefix("module."): value for name, value in content.items()}


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
