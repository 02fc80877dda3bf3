"""Small files in the layouts of SMPLify's mixture and of VPoser v2."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch

WIDTH, LATENT = 12, 5
ANGLES = 69


def mixture(components: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights, means and covariances, as in `gmm_08.pkl`."""
    random = np.random.default_rng(seed)
    roots = random.normal(size=(components, ANGLES, ANGLES)) / ANGLES**0.5
    weights = random.uniform(0.5, 1.5, components)
    return {
        "weights": weights / weights.sum(),
        "means": random.normal(size=(components, ANGLES)) * 0.3,
        "covars": roots @ roots.swapaxes(1, 2) + 0.05 * np.eye(ANGLES),
    }


def write_mixture(path: Path, values: dict[str, np.ndarray] | None = None) -> Path:
    """A `.pkl` of Python 2's kind, or an `.npz`."""
    values = mixture() if values is None else values
    if path.suffix == ".npz":
        np.savez(path, **values)
    else:
        path.write_bytes(pickle.dumps(values, protocol=2))
    return path


def vposer_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors under the names of V02_05's checkpoint, and one of its training's body model."""
    random = torch.Generator().manual_seed(seed)

    def linear(name: str, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
        weight = torch.randn(outputs, inputs, generator=random) / inputs**0.5
        return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(outputs, generator=random)}

    def norm(name: str, count: int) -> dict[str, torch.Tensor]:
        return {
            f"{name}.weight": 1 + 0.1 * torch.randn(count, generator=random),
            f"{name}.bias": 0.1 * torch.randn(count, generator=random),
            f"{name}.running_mean": 0.1 * torch.randn(count, generator=random),
            f"{name}.running_var": 0.5 + torch.rand(count, generator=random),
            f"{name}.num_batches_tracked": torch.tensor(7),
        }

    tensors = {
        **norm("encoder_net.1", 63),
        **linear("encoder_net.2", 63, WIDTH),
        **norm("encoder_net.4", WIDTH),
        **linear("encoder_net.6", WIDTH, WIDTH),
        **linear("encoder_net.7", WIDTH, WIDTH),
        **linear("encoder_net.8.mu", WIDTH, LATENT),
        **linear("encoder_net.8.logvar", WIDTH, LATENT),
        **linear("decoder_net.0", LATENT, WIDTH),
        **linear("decoder_net.3", WIDTH, WIDTH),
        **linear("decoder_net.5", WIDTH, 126),
    }
    return {**{f"vp_model.{name}": value for name, value in tensors.items()}, "bm_train.f": torch.zeros(2, 3)}


def write_vposer(folder: Path, epoch: int = 13, seed: int = 0) -> Path:
    """V02_05's folder with a checkpoint as Lightning wrote it, which has the class of a callback among its keys."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", module.__name__]
    folder.joinpath("snapshots").mkdir(parents=True, exist_ok=True)
    content = {"epoch": epoch, "state_dict": vposer_tensors(seed), "callbacks": {module.ModelCheckpoint: {"wait": 1}}}
    sys.modules.update(dict.fromkeys(names, module))
    try:
        torch.save(content, folder / "snapshots" / f"V02_05_epoch={epoch:02d}_val_loss=0.03.ckpt")
    finally:
        for name in names:
            del sys.modules[name]
    return folder
