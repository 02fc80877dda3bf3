"""How the engine starts: lightly, quietly, with a kernel cache of its own, and saying once when it falls back."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
import torch

from humanpose_cli.engine import dispatch, kernel_cache, launching, rasterising, runtime, skinning, warping
from humanpose_cli.engine.memo import TensorMemo
from humanpose_cli.engine.self_test import self_test
from humanpose_cli.engine.skinning import forward_kinematics
from humanpose_cli.errors import UnavailableError, UsageError

DRAW = """
import torch
from humanpose_cli.engine.rasterising import rasterise
raster = rasterise(torch.tensor([[[-1., -1., 2.], [0., 2., 2.], [1., -1., 2.]]]), torch.tensor([[0, 1, 2]]),
                   torch.tensor([10.]), torch.tensor([[5., 5.]]), (10, 10), backend="kernel")
print(int((raster.face == 0).sum()))
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_importing_the_engine_loads_neither_torch_nor_warp():
    code = """
import sys
import humanpose_cli.engine, humanpose_cli.engine.skinning, humanpose_cli.engine.rasterising
import humanpose_cli.engine.heatmaps, humanpose_cli.engine.warping
print([name for name in ("torch", "warp", "numpy") if name in sys.modules])
import humanpose_cli.engine.skinning.op, humanpose_cli.engine.rasterising.op, humanpose_cli.engine.heatmaps.op
import humanpose_cli.engine.warping.op, humanpose_cli.engine.warping.masks.op
print("warp" in sys.modules)
"""
    assert python(code).stdout.splitlines() == ["[]", "False"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders' owners are a matter of POSIX")
def test_the_cache_folder_is_the_first_that_is_ours_to_write(tmp_path, monkeypatch):
    blocked = tmp_path / "file"  # nothing can be made below it, not even by root
    blocked.write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("WARP_CACHE_PATH", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kernel_cache.choose_folder().parent == tmp_path / "chosen"
    monkeypatch.setenv("WARP_CACHE_PATH", str(blocked / "chosen"))
    assert kernel_cache.choose_folder().parent == tmp_path / "cache" / "humanpose-cli" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked / "cache"))
    private = kernel_cache.choose_folder()
    assert private.is_relative_to(tmp_path / "temporary" / f"humanpose-cli-{os.getuid()}")
    assert private.stat().st_mode & 0o777 == 0o700
    for open_to_all in (private, private.parent):  # where others may write, what is found may not be ours
        open_to_all.chmod(0o777)
        other = kernel_cache.choose_folder()
        assert not other.is_relative_to(private)
        assert other.stat().st_mode & 0o777 == 0o700
        open_to_all.chmod(0o700)
        assert kernel_cache.choose_folder() == private


def test_processes_start_together_without_a_word_though_home_is_read_only(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    places = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked), "WARP_CACHE_PATH": "", "TMPDIR": str(temporary)}
    results = []
    threads = [threading.Thread(target=lambda: results.append(python(DRAW, **places))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(r.returncode, r.stderr) for r in results] == [(0, "")] * 2
    assert results[0].stdout == results[1].stdout
    assert int(results[0].stdout) > 20
    (compiled,) = temporary.rglob("*rasterising*.o")
    assert kernel_cache.processor() in compiled.parts  # never another processor's code


def test_threads_that_call_at_the_same_time_get_the_same():
    rotations = torch.eye(3).expand(4, 24, 3, 3)
    joints = torch.randn(4, 24, 3)
    parents = (-1, *range(23))
    expected = forward_kinematics(rotations, joints, parents, backend="kernel").positions
    found: list[bool] = []

    def run():
        for _ in range(50):
            found.append(
                torch.equal(forward_kinematics(rotations, joints, parents, backend="kernel").positions, expected)
            )

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_starts_threads_of_its_own():
    # torch's own threads do not survive a fork, so the child calls nothing of torch that would use them.
    code = """
import os, torch
from humanpose_cli.engine.skinning import skin_vertices
torch.set_num_threads(2)
bones, weights = torch.zeros(20000, 4, dtype=torch.int32), torch.full((20000, 4), 0.25)
vertices, zero, linear = torch.ones(8, 20000, 3), torch.zeros(8, 1, 3), torch.eye(3).expand(8, 1, 3, 3)
def run():
    return skin_vertices(vertices, zero, linear, zero, bones, weights, backend="kernel")[7, 19999, 2].item()
assert run() == 1.0
child = os.fork()
if child == 0:
    os._exit(0 if run() == 1.0 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert python(code).stdout == "0\n"


def broken(monkeypatch) -> None:
    """A machine on which Warp does not start."""

    def start():
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(runtime, "start", start)
    monkeypatch.setattr(runtime, "_loaded", set())
    monkeypatch.setattr(runtime, "_failures", {})
    monkeypatch.setattr(dispatch, "_said", set())


def test_falling_back_is_said_once(monkeypatch, caplog):
    broken(monkeypatch)
    arguments = (torch.eye(3).expand(1, 2, 3, 3), torch.ones(1, 2, 3), (-1, 0))
    with caplog.at_level(logging.WARNING, "humanpose_cli.engine"):
        for _ in range(3):
            assert forward_kinematics(*arguments).positions.shape == (1, 2, 3)
    assert len(caplog.records) == 1
    assert "skinning" in caplog.text
    assert "the driver is too old" in caplog.text


def test_asking_for_the_kernel_and_not_getting_it_is_an_error(monkeypatch):
    broken(monkeypatch)
    arguments = (torch.eye(3).expand(1, 2, 3, 3), torch.ones(1, 2, 3), (-1, 0))
    with pytest.raises(UnavailableError, match=r"the driver is too old.*backend='reference' works anywhere"):
        forward_kinematics(*arguments, backend="kernel")
    assert forward_kinematics(*arguments, backend="reference").positions.shape == (1, 2, 3)


def test_self_test_of_this_machine():
    results = self_test(["cpu"])
    chosen = {name for package in (rasterising, skinning, warping) for name in package.__all__
              if "backend" in getattr(getattr(package, name), "__annotations__", {})}  # fmt: skip
    # These two call `rasterise` and `capsule_masks`.
    assert {r.op for r in results} == chosen - {"rasterise_samples", "projected_masks"}
    for result in results:
        assert result.ok, result
        assert result.error < 1e-5
        assert result.problem == ""


def test_self_test_tells_what_is_wrong(monkeypatch):
    broken(monkeypatch)
    for result in self_test(["cpu"]):
        assert not result.ok
        assert result.error == float("inf")
        assert "the driver is too old" in result.problem


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_self_test_of_every_gpu():
    for result in self_test():
        assert result.ok, result


def test_tensors_on_different_devices_are_refused():
    with pytest.raises(UsageError, match="joints: is on another device, expected cpu as rotations, found meta"):
        forward_kinematics(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, device="meta"), (-1, 0))


class TestTensorMemo:
    def test_computes_once_while_a_tensor_is_unchanged(self):
        calls = []
        memo = TensorMemo(lambda t: calls.append(1) or t.sum().item())
        tensor = torch.ones(3)
        assert [memo(tensor), memo(tensor), memo(tensor.clone())] == [3, 3, 3]
        assert len(calls) == 2
        tensor[0] = 5
        assert memo(tensor) == 7
        assert len(calls) == 3

    def test_forgets_tensors_that_are_gone(self):
        memo = TensorMemo(lambda a, b: 1)
        keep = torch.ones(1)
        for _ in range(10):
            memo(torch.ones(1), keep)
        assert not memo._known

    def test_takes_inference_tensors(self):
        memo = TensorMemo(lambda t: t.sum().item())
        with torch.inference_mode():
            tensor = torch.ones(2)
            assert memo(tensor) == 2
            tensor[0] = 3
            assert memo(tensor) == 4


def test_a_launch_keeps_no_tensor_alive():
    rotations = torch.eye(3).expand(2, 2, 3, 3).contiguous()
    gone = weakref.ref(rotations)
    for _ in range(2):
        forward_kinematics(rotations, torch.ones(2, 2, 3), (-1, 0), backend="kernel")
    del rotations
    assert gone() is None


def test_launches_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(launching, "_MOST_COMMANDS", 3)
    for count in [*range(1, 9), *range(1, 9)]:
        joints = torch.randn(count, 1, 3)
        rotations = torch.eye(3).expand(count, 1, 3, 3)
        assert torch.equal(forward_kinematics(rotations, joints, (-1,), backend="kernel").positions, joints)
        assert len(launching._commands.known) <= 3


def test_nothing_but_geometry_conventions_and_errors_is_imported():
    folder = Path(runtime.__file__).parent
    allowed = {"engine", "geometry", "conventions", "errors"}
    for path in folder.rglob("*.py"):
        for line in path.read_text().splitlines():
            if "humanpose_cli." in line and line.lstrip().startswith(("import ", "from ")):
                assert line.split("humanpose_cli.")[1].split(".")[0].split()[0] in allowed, (path, line)
