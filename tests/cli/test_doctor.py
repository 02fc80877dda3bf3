"""`hpc doctor`: on this machine, and on machines that lack something."""

from __future__ import annotations

import sys

import pytest
from helpers.errors import raises

from humanpose_cli.cli import doctor as doctor_checks
from humanpose_cli.cli.doctor import CHECKS, Check
from humanpose_cli.core.errors import UnavailableError


def missing(error: Exception):
    def look() -> str:
        raise error

    return look


GOOD = Check("python", lambda: "3.11", "")


@pytest.mark.slow
def test_here_everything_needed_is_there(hpc):
    ran = hpc("doctor", "--json")
    needed = [item for item in ran.document["items"] if item["needed"]]
    assert [item["input"] for item in needed if item["status"] != "success"] == []
    assert ran.code == 0
    found = {item["input"]: item["found"] for item in ran.document["items"]}
    assert {"torch", "weights", "engine", "gpu"} <= set(found)
    assert found["engine"].startswith("Warp 1.")
    assert "cpu" in found["engine"]
    assert "rasterise exactly" in found["kernels on CPU"]
    assert "skin_vertices" in found["kernels on CPU"]


def test_what_is_missing_and_needed_is_exit_code_5_with_the_line_that_mends_it(hpc, monkeypatch):
    weights = Check("weights", missing(UnavailableError("weights", "is damaged", got="3 bytes")), "reinstall it")
    monkeypatch.setattr(doctor_checks, "CHECKS", (GOOD, weights))
    ran = hpc("doctor", "--json")
    item = ran.document["items"][1]
    assert (ran.code, ran.document["status"], item["status"]) == (5, "error", "error")
    assert (item["found"], item["remedy"]) == ("is damaged, found 3 bytes", "reinstall it")
    people = hpc("doctor")
    assert "weights\tfails\tis damaged, found 3 bytes\t" in people.out
    assert people.err.splitlines()[-1] == "weights: reinstall it"


@pytest.mark.parametrize(
    ("error", "is_needed", "code", "status", "remedy"),
    [
        (ImportError("libcuda.so"), False, 0, "partial", "something else"),
        (TypeError("open() got an unexpected keyword argument"), True, 5, "error", "something else"),
        (UnavailableError("ffmpeg", "is not installed", remedy="pip install it"), True, 5, "error", "pip install it"),
    ],
)
def test_a_check_that_fails(hpc, monkeypatch, error, is_needed, code, status, remedy):
    """What is optional fails nothing; an error's own remedy wins."""
    check = Check("video", missing(error), "something else", is_needed=is_needed)
    monkeypatch.setattr(doctor_checks, "CHECKS", (check,))
    ran = hpc("doctor", "--json")
    assert (ran.code, ran.details["status"], ran.details["remedy"]) == (code, status, remedy)


def test_a_driver_that_torch_cannot_use_is_found(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor_checks, "_nvidia_driver", lambda: "580.65")
    with raises(UnavailableError, problem=("driver 580.65 is there, but torch", "cannot use it")):
        doctor_checks._gpu()


def results(*errors: tuple[str, str, float, str]):
    """Stands in for the engine's self-test: (device, operation, error, problem) each."""
    from humanpose_cli.engine.self_test import SelfTestResult

    found = [SelfTestResult(d, op, e, not problem and e < 1e-4, problem) for d, op, e, problem in errors]
    return lambda devices, operations=None: [] if operations else found


@pytest.mark.parametrize(
    ("kind", "tests", "finding"),
    [
        (
            "cpu",
            [("cpu", "skin_vertices", 2.3e-7, ""), ("cpu", "rasterise", 0.0, "")],
            "as the reference, relative error: skin_vertices 2e-07, rasterise exactly",
        ),
        (
            "cuda",
            [("cuda:0", "interpolate", 1e-7, ""), ("cuda:1", "interpolate", 3e-7, "")],
            "as the reference, relative error: interpolate 3e-07",
        ),
    ],
)
def test_the_error_of_each_kernel_is_reported(monkeypatch, kind, tests, finding):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("humanpose_cli.engine.self_test.self_test", results(*tests))
    assert doctor_checks._kernels(kind) == finding


@pytest.mark.parametrize(
    ("kind", "tests", "problem"),
    [
        (
            "cuda",
            [("cuda:0", "interpolate", 1e-7, ""), ("cuda:1", "interpolate", float("inf"), "no memory")],
            "for interpolate on cuda:1: no memory",
        ),
        (
            "cpu",
            [("cpu", "rasterise", 0.25, ""), ("cpu", "skin_vertices", 1e-7, "")],
            "the slower torch code is used, for rasterise: off by 2e-01",
        ),
        (
            "cpu",
            [("cpu", op, float("inf"), "the driver is too old") for op in ("rasterise", "skin_vertices")],
            "for all operations: the driver is too old",
        ),
    ],
)
def test_kernels_that_fail_are_reported_with_the_reason(monkeypatch, kind, tests, problem):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("humanpose_cli.engine.self_test.self_test", results(*tests))
    with raises(UnavailableError, problem=problem):
        doctor_checks._kernels(kind)


def test_a_gpu_that_only_torch_can_use_is_found(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("warp.is_cuda_available", lambda: False)
    monkeypatch.setattr("warp.get_cuda_toolkit_version", lambda: (13, 4))
    with raises(
        UnavailableError, subject="driver", problem=("is too old", "Warp 1"), remedy="install driver 580 or newer"
    ):
        doctor_checks._engine()


@pytest.mark.slow
def test_without_warp_torch_code_serves(hpc, monkeypatch):
    from humanpose_cli.engine import dispatch, launching

    monkeypatch.setitem(sys.modules, "warp", None)
    for name, value in (("_warp", None), ("_loaded_modules", set()), ("_failures", {})):
        monkeypatch.setattr(launching, name, value)
    monkeypatch.setattr(dispatch, "_warnings", set())
    checks = tuple(c for c in CHECKS if c.name in ("engine", "kernels on CPU", "kernels on GPU"))
    monkeypatch.setattr(doctor_checks, "CHECKS", checks)
    ran = hpc("doctor", "--json")
    found = {item["input"]: (item["status"], item["found"]) for item in ran.document["items"]}
    assert ran.code == 0
    assert found["engine"][0] == found["kernels on CPU"][0] == "partial"
    assert "the slower torch code is used, for all operations: import of warp halted" in found["kernels on CPU"][1]


def test_every_check_that_can_fail_has_a_remedy():
    without_remedy = {"humanpose-cli", "python"}
    assert [check.name for check in CHECKS if not check.remedy and check.name not in without_remedy] == []
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_repair_empties_the_cache_of_kernels(hpc, monkeypatch, tmp_path):
    """What is there is removed, and the checks follow; other files of the user's folder stay."""
    monkeypatch.setattr(doctor_checks, "CHECKS", (GOOD,))
    monkeypatch.setattr("warp.config.kernel_cache_dir", str(tmp_path))
    damaged = tmp_path / "wp_engine" / "engine.o"
    damaged.parent.mkdir(parents=True)
    for path in (damaged, tmp_path / "other.o"):
        path.write_bytes(b"damaged")
    assert hpc("doctor").code == 0
    assert damaged.exists()
    assert hpc("doctor", "--repair").code == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["other.o"]
