"""What networks compute in: which precision a device has, that it ends with the network, and that results tell it."""

import threading
from contextlib import suppress
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.warp3d_poses import MINI, hand_raised, standing

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.models.refiner.network import MODEL, DisplacementNetwork, DisplacementOptions
from humanpose_cli.models.refiner.predictor import DisplacementPredictor
from humanpose_cli.models.warp3d.generator import CropToRepose, Generator, Warp3d
from humanpose_cli.networks.precision import _TF32, multiplies_bfloat16, precision_context, resolve_precision
from humanpose_cli.networks.weights import WeightsHeader, write_weights
from humanpose_cli.rendering.body_maps import BodyRendering

AMPERE, TURING = (8, 6), (7, 5)


@pytest.mark.parametrize(
    ("capability", "precision", "expected"),
    [
        (AMPERE, "auto", "tf32"),
        (TURING, "auto", "full"),
        (AMPERE, "full", "full"),
        (AMPERE, "bfloat16", "bfloat16"),
        (TURING, "bfloat16", {"problem": "needs a newer GPU", "got": "7.5"}),
        (TURING, "tf32", {"problem": "needs a newer GPU"}),
        (None, "auto", "full"),
        (None, "bfloat16", {"problem": "needs a newer processor", "got": "AVX2", "remedy": "`precision=full`"}),
        (None, "tf32", {"problem": "for NVIDIA's GPUs", "got": "cpu"}),
    ],
)
def test_what_a_device_has(monkeypatch, capability, precision, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    device = "cpu" if capability is None else "cuda:0"
    if isinstance(expected, dict):
        with raises(UnavailableError, **expected):
            resolve_precision(precision, device)
    else:
        assert resolve_precision(precision, device) == expected


@pytest.mark.parametrize(
    ("capability", "instruction", "limit", "expected"),
    [
        ("AVX512", True, "", True),
        ("AVX512", True, "AVX512_CORE_AMX", True),
        ("AVX512", True, "avx2", False),
        ("AVX512", True, "AVX512_CORE", False),
        ("AVX512", False, "", False),
        ("AVX2", True, "", False),  # also by ATEN_CPU_CAPABILITY
    ],
)
def test_which_processors_multiply_bfloat16(monkeypatch, capability, instruction, limit, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instruction, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert multiplies_bfloat16("cpu") is expected
    assert resolve_precision("auto", "cpu") == "full"


@pytest.fixture
def with_bfloat16(monkeypatch):
    """The processor computes in bfloat16, however slowly."""
    monkeypatch.setattr("humanpose_cli.networks.precision.multiplies_bfloat16", lambda device: True)


@pytest.mark.parametrize(("precision", "on"), [("tf32", True), ("full", False)])
def test_products_are_as_before_where_no_network_computes(precision, on):
    def flags():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before, free = flags(), []
    thread = threading.Thread(target=lambda: free.append(_TF32.acquire(blocking=False)))
    with suppress(ZeroDivisionError), precision_context(precision, torch.device("cuda:0")):
        thread.start()
        thread.join()
        assert free == [False], "another thread would end with these flags"
        assert flags() == (on, on)
        raise ZeroDivisionError
    assert flags() == before


def unlike(a, b):
    """Relative error, of values that have any spread."""
    assert np.std(a) > 0
    return np.abs(a - b).mean() / np.std(a)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"colour_stride": 1, "short_cuts": True}])
def test_warp3d_draws_alike_in_bfloat16(with_bfloat16, changes):
    torch.manual_seed(0)
    generator, size = Generator(replace(MINI, **changes)), MINI.size
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    person = np.ones((size, size), np.float32)
    crop = CropToRepose(image, standing(size)[0].numpy(), hand_raised(size)[0].numpy(), silhouette=person)
    full, half = (
        Warp3d(generator, WeightsHeader("warp3d"), precision=precision).repose_all([crop])[0]
        for precision in ("full", "bfloat16")
    )
    assert 0 < unlike(full.mask, half.mask) < 0.2


@pytest.mark.slow
def test_displacements_are_alike_in_bfloat16(with_bfloat16, tmp_path):
    torch.manual_seed(0)
    options = DisplacementOptions(crop=64, width=16)
    network, path = DisplacementNetwork(options), tmp_path / "refiner.safetensors"
    torch.nn.init.normal_(network.levels[-1].head.weight, std=0.1)  # zero at first
    write_weights(path, network.state_dict(), WeightsHeader(MODEL, asdict(options)))
    maps = {"rgb": 3, "depth": 1, "normals": 3, "colours": 3, "mask": 1, "textured": 1}
    empty = {"faces": torch.zeros(1, 64, 64, dtype=torch.int32), "barycentrics": torch.zeros(1, 64, 64, 3)}
    drawn = BodyRendering(**{name: torch.rand(1, count, 64, 64) for name, count in maps.items()}, **empty)
    photo = torch.rand(1, 3, 64, 64)
    full, half = (DisplacementPredictor.load(path, precision=p)(drawn, photo) for p in ("full", "bfloat16"))
    assert half.pixels.dtype == torch.float32
    assert 0 < unlike(full.deviation.numpy(), half.deviation.numpy()) < 0.2


def test_results_record_the_precision(with_bfloat16):
    usual, chosen = (Fitter(precision=precision) for precision in ("auto", "bfloat16"))
    assert chosen.network_identity == f"{usual.network_identity}+bfloat16"
    cameras = [FrameCamera("a", Camera.of_image((64, 48)))]
    options = [fitter._record([], cameras, None, fitter.options).options.settings for fitter in (usual, chosen)]
    assert "precision" not in options[0]
    assert options[1]["precision"] == "bfloat16"
    assert chosen.identity != usual.identity
