"""How kernels run: started lightly and quietly, kept in Warp's cache, launched on torch's memory, and replaced by the
reference with one warning; in spite of what machines do: damaged caches, threads, forks, other streams, no Warp. What
is about the first kernel of a process runs in a process of its own.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from helpers.errors import raises
from helpers.fresh_process import run_fresh
from helpers.raster_cases import sphere

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.engine import dispatch, launching
from humanpose_cli.engine.dispatch import TensorMemo
from humanpose_cli.engine.drawing import op as drawing
from humanpose_cli.engine.rasterising import op as rasterising
from humanpose_cli.engine.rasterising.op import Raster, interpolate
from humanpose_cli.engine.self_test import self_test
from humanpose_cli.engine.skinning import op as skinning
from humanpose_cli.engine.skinning.op import forward_kinematics
from humanpose_cli.engine.warping import op as warping

PIXELS = 70  # of the triangle below
DRAW = """
import torch
from humanpose_cli.engine.rasterising.op import rasterise
def draw(backend):
    triangle = torch.tensor([[[-1., -1., 2.], [0., 2., 2.], [1., -1., 2.]]])
    raster = rasterise(triangle, torch.tensor([[0, 1, 2]]), torch.tensor([10.]), torch.tensor([[5., 5.]]), (10, 10),
                       backend=backend)
    return int((raster.face == 0).sum())
"""
KERNEL = DRAW + "print(draw('kernel'))"
ANY = DRAW + "print(draw('auto'), draw('auto'))"
TOGETHER = (
    DRAW
    + """
import threading
barrier, found = threading.Barrier(4), []
def first_call():
    barrier.wait()
    found.append(draw("kernel"))
threads = [threading.Thread(target=first_call) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*found)
"""
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A cache that four threads of one process filled together."""
    cache = tmp_path_factory.mktemp("filled")
    ran = run_fresh(TOGETHER, cache)
    assert (ran.stdout.split(), ran.stderr, ran.returncode) == ([str(PIXELS)] * 4, "", 0)
    return cache


@pytest.fixture
def cache(filled, tmp_path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def compiled(cache: Path) -> Path:
    (binary,) = cache.rglob("*.o")
    return binary


@pytest.mark.slow
def test_threads_that_make_the_first_call_together_compile_once(filled):
    assert compiled(filled).exists()


@pytest.mark.extensive
def test_a_kernel_cut_short_is_reported_once_and_compiled_after_the_cache_is_emptied(cache):
    compiled(cache).write_bytes(b"")
    ran = run_fresh(ANY, cache)
    assert (ran.stdout, ran.returncode) == (f"{PIXELS} {PIXELS}\n", 0)
    assert len(ran.stderr.splitlines()) == 1
    assert "using the slower torch code" in ran.stderr
    emptied = "from humanpose_cli.engine.launching import empty_cache\nempty_cache()\n"
    assert run_fresh(emptied + KERNEL, cache).stdout == f"{PIXELS}\n"


def test_where_nothing_can_be_written_the_reference_is_used_and_said_once(tmp_path):
    pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
    ran = run_fresh(limit + ANY, tmp_path)
    assert (ran.stdout, ran.returncode) == (f"{PIXELS} {PIXELS}\n", 0)
    assert len(ran.stderr.splitlines()) == 1
    assert "using the slower torch code: [Errno 27] File too large" in ran.stderr


@pytest.mark.extensive
def test_a_compilation_is_reported_where_messages_are_shown_and_only_then(tmp_path):
    shown = "import logging, sys\nlogging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)\n"
    first, again = (run_fresh(shown + KERNEL, tmp_path).stdout.splitlines() for _ in range(2))
    assert first == ["compiling kernels for cpu, once on this machine", str(PIXELS)]
    assert again == [str(PIXELS)]


def test_a_machine_without_warp_is_reported_once_for_all_operations(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "warp", None)  # what `import warp` then raises is a missing module's error
    monkeypatch.setattr(launching, "_warp", None)
    monkeypatch.setattr(launching, "_loaded_modules", set())
    monkeypatch.setattr(launching, "_failures", {})
    monkeypatch.setattr(dispatch, "_warnings", set())
    drawn = sphere(1)
    with caplog.at_level(logging.WARNING, "humanpose_cli.engine"):
        forward_kinematics(torch.eye(3).expand(1, 2, 3, 3), torch.ones(1, 2, 3), (-1, 0))
        interpolate(drawn.raster(), drawn.faces, drawn.vertices)
    assert len(caplog.records) == 1
    assert "using the slower torch code" in caplog.text
    with raises(UnavailableError, problem="its kernels do not run on cpu", remedy="backend='reference' works anywhere"):
        drawn.raster("kernel")


@pytest.mark.extensive
def test_importing_the_operations_does_not_load_warp():
    rooms = ("skinning.op", "rasterising.op", "drawing.op", "warping.op")
    code = "import sys\n" + "".join(f"import humanpose_cli.engine.{room}\n" for room in rooms)
    line = [sys.executable, "-c", code + "print('warp' in sys.modules)"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.posix("no fork on this system")
def test_a_forked_process_starts_new_threads():
    # torch's own threads do not survive a fork, so the child calls nothing of torch that would use them.
    code = """
import os, torch
from humanpose_cli.engine.skinning.op import skin_vertices
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
    assert run_fresh(code).stdout == "0\n"


@pytest.mark.slow
def test_self_test_of_this_machine():
    results = self_test(["cpu"])
    chosen = {name for ops in (drawing, rasterising, skinning, warping) for name, function in vars(ops).items()
              if getattr(function, "__module__", "") == ops.__name__ and not name.startswith("_")
              and "backend" in getattr(function, "__annotations__", {})}  # fmt: skip
    # `rasterise`, `capsule_masks` and `forward_kinematics` run their kernels, `paint` that of `draw_samples`.
    others = {"draw_samples", "projected_masks", "axis_angle_to_rotations"}
    assert {r.op for r in results} == {"paint", *chosen} - others
    for result in results:
        assert (result.ok, result.problem) == (True, ""), result
        assert result.error < 1e-5


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_self_test_of_every_gpu():
    for result in self_test():
        assert result.ok, result


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
        assert not memo._entries

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
    monkeypatch.setattr(launching, "_MAX_COMMANDS", 3)
    for count in [*range(1, 9), *range(1, 9)]:
        joints = torch.randn(count, 1, 3)
        rotations = torch.eye(3).expand(count, 1, 3, 3)
        assert torch.equal(forward_kinematics(rotations, joints, (-1,), backend="kernel").positions, joints)
        assert len(launching._commands.launches) <= 3


def test_a_fresh_tensor_has_the_kind_of_its_model():
    tensor = launching.allocate(torch.zeros(2, dtype=torch.float64), (3, 1 << 20))
    assert tensor.dtype == torch.float64
    assert tensor.fill_(2.0).sum() == 6 << 20
    assert launching.allocate(torch.zeros(1, device="meta"), (1 << 22,)).device.type == "meta"


def test_kernels_refuse_what_they_cannot_reach():
    face = torch.zeros((1,), dtype=torch.int32).as_strided((2, 2, 2), (0, 0, 0))
    far = torch.empty((1 << 29) + 99, dtype=torch.float32).as_strided((2, 2, 2, 3), (1 << 29, 6, 3, 1))
    raster = Raster(face, far, far[..., 0])
    with raises(UsageError, problem="too large for the kernels"):
        interpolate(raster, torch.tensor([[0, 1, 2]]), torch.ones(2, 3, 1), backend="kernel")


def test_more_threads_than_32_bits_count_are_refused():
    with raises(UsageError, problem="too large for one launch"):
        launching.launch(None, 1 << 31, [], torch.device("cpu"))


def test_numbers_that_torch_has_yet_to_negate_are_negated():
    negated = torch._neg_view(torch.arange(3.0))
    assert launching.scalars(negated)[0].is_neg() is False
    assert torch.equal(launching.scalars(negated)[0], -torch.arange(3.0))
