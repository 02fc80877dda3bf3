"""Devices, threads and names."""

from __future__ import annotations

import os

import pytest
from helpers.errors import raises

from humanpose_cli.cli.options import use_threads
from humanpose_cli.cli.settings import nearest
from humanpose_cli.core.device import parse_device, resolve_device
from humanpose_cli.core.errors import UnavailableError, UsageError


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1")],
)
def test_devices(monkeypatch, device, count, expected):
    gpus(monkeypatch, count)
    assert resolve_device(device) == expected


@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda:3"), ("cuda", "cuda:3"), ("cpu", "cpu")])
def test_every_process_of_torchrun_has_a_gpu_for_itself(monkeypatch, device, expected):
    gpus(monkeypatch, 4)
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert resolve_device(device) == expected
    with raises(UsageError, expected="a GPU each", got="cuda:0 for 4 processes", remedy="`device=cuda`"):
        resolve_device("cuda:0")
    gpus(monkeypatch, 2)
    if device != "cpu":
        with raises(UnavailableError, problem="too few GPUs for 4 processes", got="2", remedy="--nproc-per-node 2"):
            resolve_device(device)
    gpus(monkeypatch, 0)
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:2", 2)])
def test_a_device_that_is_not_there(monkeypatch, device, count):
    gpus(monkeypatch, count)
    with raises(UnavailableError, problem="this machine has no such GPU", remedy="device=cpu"):
        resolve_device(device)


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", f"cuda:{'9' * 5000}", "CPU", "mps", ""])
def test_a_device_that_is_none(text):
    with raises(UsageError, expected="auto, cpu, cuda or cuda:N"):
        parse_device(text)


def test_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert use_threads(3) == 3
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert use_threads(None) >= 1


def test_nearest():
    assert nearest("devise", ["device", "threads"]) == "did you mean device?"
    assert nearest("zzz", ["b", "a"]) == "there are a, b"
    assert nearest("zzz", []) == ""


def test_a_body_is_identified_by_the_contents_of_its_file(tmp_path):
    from humanpose_cli.fitting.options import body_identity

    here, there, other = (tmp_path / name for name in ("a.pkl", "b.pkl", "c.pkl"))
    here.write_bytes(b"body")
    there.write_bytes(b"body")
    other.write_bytes(b"another")
    assert body_identity(f"smpl:{here}") == body_identity(f"smpl:{there}") != body_identity(f"smpl:{other}")
    assert body_identity("default") == "default"


def test_help_is_a_word_too(hpc):
    assert hpc("help", "fit").out == hpc("fit", "--help").out != ""


def test_the_folder_above_a_ledger_is_recognised(hpc, tmp_path):
    (tmp_path / "hpc-out" / "fit").mkdir(parents=True)
    (tmp_path / "hpc-out" / "fit" / "ledger.0-of-1.jsonl").touch()
    assert f"there is one in {tmp_path / 'hpc-out' / 'fit'}" in hpc("ledger", str(tmp_path / "hpc-out")).err
