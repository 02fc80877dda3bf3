"""Kernels in spite of what machines do: damaged and full caches, no home, threads, forks, other streams, no Warp.

Processes of their own, because each of these is about the first kernel of a process.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from raster_cases import scene, sphere

from humanpose_cli.engine import dispatch, kernel_cache, runtime
from humanpose_cli.engine.rasterising import interpolate, rasterise
from humanpose_cli.engine.skinning import forward_kinematics
from humanpose_cli.errors import UnavailableError

PIXELS = 70  # of the triangle below
DRAW = """
import torch
from humanpose_cli.engine.rasterising import rasterise
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
WORKERS = (
    DRAW
    + """
class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return draw("kernel")
if __name__ == "__main__":
    torch.set_num_threads(1)
    here = draw("kernel")
    for start in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(Pictures(), num_workers=2, multiprocessing_context=start)
        print(start, here, *(int(pixels) for pixels in loader))
"""
)


def python(
    code: str | Path, cache: Path, *, prefix: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*prefix, sys.executable, *(["-c", code] if isinstance(code, str) else [code])],
        env={**os.environ, "OMP_NUM_THREADS": "1", "WARP_CACHE_PATH": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A cache that four threads of one process filled together."""
    cache = tmp_path_factory.mktemp("filled")
    ran = python(TOGETHER, cache)
    assert (ran.stdout.split(), ran.stderr, ran.returncode) == ([str(PIXELS)] * 4, "", 0)
    return cache


@pytest.fixture
def cache(filled, tmp_path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def compiled(cache: Path) -> Path:
    (binary,) = cache.rglob("*.o")
    return binary


def test_threads_that_make_the_first_call_together_compile_once(filled):
    binary = compiled(filled)
    assert binary.with_name(binary.name + ".sha256").exists()


def test_a_damaged_kernel_is_compiled_anew_without_a_word(cache):
    binary = compiled(cache)
    good = binary.read_bytes()
    # Loaded as it is, this ends the process with a signal.
    binary.write_bytes(good[:3000] + bytes(b ^ 0xFF for b in good[3000:9000]) + good[9000:])
    ran = python(KERNEL, cache)
    assert (ran.stdout, ran.stderr, ran.returncode) == (f"{PIXELS}\n", "", 0)
    assert compiled(cache).read_bytes() == good


def test_a_kernel_cut_short_before_its_digest_was_kept_is_replaced(cache):
    binary = compiled(cache)
    binary.with_name(binary.name + ".sha256").unlink()
    binary.write_bytes(b"")
    ran = python(KERNEL, cache)
    assert (ran.stdout, ran.returncode) == (f"{PIXELS}\n", 0)
    assert len(ran.stderr.splitlines()) == 1
    assert "is compiled for this process only" in ran.stderr
    assert not list(cache.rglob("*.o"))  # the next process starts from nothing


def with_disk_of(size: str, folder: Path) -> tuple[str, ...]:
    """What to put before a command that is to see a disk of that size in a folder."""
    mount = f'mount -t tmpfs -o size={size} tmpfs $0 && exec "$@"'
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(folder))
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system of one's own on this machine")
    return prefix


def test_a_full_disk_under_the_cache_is_said_once_and_kernels_run(tmp_path):
    disk, temporary = tmp_path / "disk", tmp_path / "temporary"
    disk.mkdir()
    temporary.mkdir()
    # The compiler itself would meet this disk's end, and end the process.
    ran = python(KERNEL, disk, prefix=with_disk_of("80k", disk), TMPDIR=str(temporary))
    assert (ran.stdout, ran.returncode) == (f"{PIXELS}\n", 0)
    assert len(ran.stderr.splitlines()) == 1
    assert "is compiled for this process only" in ran.stderr
    assert "No space left on device" in ran.stderr
    assert not list(temporary.iterdir())  # removed with the process


def test_a_full_disk_under_temporary_files_goes_unnoticed(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ran = python(KERNEL, tmp_path / "cache", prefix=with_disk_of("200k", temporary), TMPDIR=str(temporary))
    assert (ran.stdout, ran.stderr, ran.returncode) == (f"{PIXELS}\n", "", 0)
    assert len(list((tmp_path / "cache").rglob("*.o"))) == 1


def test_where_nothing_can_be_written_the_reference_is_used_and_said_once(tmp_path):
    pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
    ran = python(limit + ANY, tmp_path)
    assert (ran.stdout, ran.returncode) == (f"{PIXELS} {PIXELS}\n", 0)
    assert len(ran.stderr.splitlines()) == 1
    assert "using the slower torch code: [Errno 27] File too large" in ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_workers_of_a_data_loader_run_kernels(cache, tmp_path):
    script = tmp_path / "workers.py"  # spawned processes import it
    script.write_text(WORKERS)
    ran = python(script, cache)
    assert ran.stdout.splitlines() == [f"{start} {' '.join([str(PIXELS)] * 5)}" for start in ("fork", "spawn")]
    assert ran.stderr == ""


def test_without_a_home_folder_the_cache_is_a_temporary_one(tmp_path, monkeypatch):
    for name in ("WARP_CACHE_PATH", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nor does the system know this user
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kernel_cache.choose_folder().is_relative_to(tmp_path)


def test_a_private_folder_is_kept_for_the_process_and_removed_at_its_end(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(kernel_cache, "_private", {})
    monkeypatch.setattr(kernel_cache.atexit, "register", lambda *call: endings.append(call))
    endings: list[tuple] = []
    folder = kernel_cache.private_folder()
    assert kernel_cache.private_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    ((remove, process),) = endings
    monkeypatch.setattr(os, "getpid", lambda: process + 1)  # a forked child that ends
    remove(process)
    assert folder.exists()
    assert kernel_cache.private_folder() != folder
    monkeypatch.setattr(os, "getpid", lambda: process)
    remove(process)
    assert not folder.exists()


def test_folders_that_other_processes_are_building_are_left_alone(tmp_path):
    for name in ("wp_a.kernel_1234567", "wp_a.kernel_1234567_p1_t2", f"wp_a.kernel_89abcde_p{os.getpid()}_t2", "wp_b"):
        (tmp_path / name).mkdir()
    kernel_cache.remove(tmp_path, "a.kernel")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wp_a.kernel_1234567_p1_t2", "wp_b"]


def test_a_machine_without_warp_is_told_once_for_all_operations(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "warp", None)  # what `import warp` then raises is a missing module's error
    monkeypatch.setattr(runtime, "_warp", None)
    monkeypatch.setattr(runtime, "_loaded", set())
    monkeypatch.setattr(runtime, "_failures", {})
    monkeypatch.setattr(dispatch, "_said", set())
    drawn = sphere(1)
    with caplog.at_level(logging.WARNING, "humanpose_cli.engine"):
        forward_kinematics(torch.eye(3).expand(1, 2, 3, 3), torch.ones(1, 2, 3), (-1, 0))
        interpolate(drawn.raster(), drawn.faces, drawn.vertices)
    assert len(caplog.records) == 1
    assert "using the slower torch code" in caplog.text
    with pytest.raises(UnavailableError, match=r"its kernels do not run on cpu .*backend='reference' works anywhere"):
        drawn.raster("kernel")


def test_threads_that_draw_at_the_same_time_get_the_same():
    scenes = [sphere(2, size=(60, 80)), sphere(3, size=(50, 70)), sphere(3, batch=2, size=(40, 30), focal=45.0)]
    attributes = [torch.randn(1, s.vertices.shape[1], 4) for s in scenes]

    def run(i):
        raster = scenes[i].raster("kernel")
        leaf = attributes[i].clone().requires_grad_()
        image = interpolate(raster, scenes[i].faces, leaf, backend="kernel")
        return [*raster, image.detach(), *torch.autograd.grad(image.square().sum(), leaf)]

    expected = [run(i) for i in range(len(scenes))]
    wrong: list[int] = []

    def repeat(start):
        for n in range(40):
            i = (start + n) % len(scenes)
            if not all(torch.equal(a, b) for a, b in zip(run(i), expected[i], strict=True)):
                wrong.append(i)

    threads = [threading.Thread(target=repeat, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_kernels_run_on_torchs_current_stream():
    """The vertices come late on a side stream: a kernel on another one would draw what was there before."""
    drawn = sphere(3)
    expected = drawn.raster("kernel")
    rest = [t.cuda() for t in (drawn.faces, drawn.focal, drawn.principal_point)]
    rasterise(drawn.vertices.cuda(), *rest, drawn.size, backend="kernel")  # compiled before
    vertices, ready = torch.zeros_like(drawn.vertices, device="cuda"), drawn.vertices.cuda()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        vertices.copy_(ready)
        raster = rasterise(vertices, *rest, drawn.size, backend="kernel")
    stream.synchronize()
    assert torch.equal(raster.face.cpu(), expected.face)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices on this machine")
def test_kernels_run_on_a_gpu_that_is_not_the_current_one():
    drawn = sphere(2)
    tensors = [t.to("cuda:1") for t in (drawn.vertices, drawn.faces, drawn.focal, drawn.principal_point)]
    raster = rasterise(*tensors, drawn.size, backend="kernel")
    assert raster.face.device == torch.device("cuda:1")
    assert torch.equal(raster.face.cpu(), scene(drawn.vertices, drawn.faces, 90.0).raster("kernel").face)
