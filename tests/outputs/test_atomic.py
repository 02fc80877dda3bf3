"""Outputs appear whole or not at all, and a full disk or a forbidden folder is told in one sentence."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.patience import PATIENCE

from humanpose_cli.core.errors import ExitCode, InputError, UnavailableError
from humanpose_cli.outputs import atomic


@pytest.mark.posix("needs POSIX modes")
def test_bytes_appear_in_new_folders_under_the_users_usual_mode(tmp_path):
    path = tmp_path / "a b" / "ü" / "c.bin"
    before = os.umask(0o027)
    try:
        atomic.write_bytes(path, b"whole")
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777, os.listdir(path.parent)) == (b"whole", 0o640, ["c.bin"])


def test_the_temporary_file_is_hidden_partial_and_in_the_same_folder(tmp_path):
    with atomic.atomic_path(tmp_path / "x.mp4") as temporary:
        assert temporary.parent == tmp_path
        assert re.fullmatch(r"\..*\.hpc-[0-9a-f]{8}\.partial", temporary.name)
        assert not (tmp_path / "x.mp4").exists()
        temporary.write_text("film")
    assert (tmp_path / "x.mp4").read_text() == "film"


@pytest.mark.parametrize("failure", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_any_exception_leaves_the_old_file_and_no_rest(tmp_path, failure):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(type(failure)), atomic.atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    path = tmp_path / "x"
    with atomic.atomic_path(path) as first, atomic.atomic_path(path) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert path.read_text() == "1"  # the outer context ends last
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.posix("needs flock")
def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    code = (
        "import os, signal, sys; from humanpose_cli.outputs.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "sub" / "a.mp4")], check=False)
    assert len(os.listdir(tmp_path / "sub")) == 1
    with atomic.atomic_path(tmp_path / "sub" / "b.mp4") as temporary:
        temporary.write_text("half")
        others = [".a.mp4.1a2b3c4d.partial", ".env.1a2b3c4d.partial", ".hpc-1a2b3c4d.partial", "a.hpc-1a2b3c4d.partial"]
        for name in others:
            (tmp_path / "sub" / name).write_text("another program's")
        atomic.remove_abandoned(tmp_path)
        assert sorted(os.listdir(tmp_path / "sub")) == sorted([temporary.name, *others])
    assert sorted(os.listdir(tmp_path / "sub")) == sorted(["b.mp4", *others])


@pytest.mark.posix("needs flock")
def test_of_one_file_only_its_remains_are_removed(tmp_path):
    (tmp_path / "sub").mkdir()
    rest = ".a.png.hpc-1a2b3c4d.partial"
    for name in (rest, f".b{rest}", ".b.png.hpc-1a2b3c4d.partial", f"sub/{rest}"):
        (tmp_path / name).touch()
    atomic.remove_abandoned(tmp_path / "a.png")
    assert sorted(os.listdir(tmp_path)) == [f".b{rest}", ".b.png.hpc-1a2b3c4d.partial", "sub"]
    assert os.listdir(tmp_path / "sub") == [rest]


def test_a_file_that_was_taken_for_abandoned_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    calls = []

    def lock(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            atomic.remove_abandoned(tmp_path)

    monkeypatch.setattr(atomic, "_lock", lock)
    atomic.write_bytes(tmp_path / "x", b"1")
    assert (len(calls), (tmp_path / "x").read_bytes()) == (2, b"1")


def test_files_are_written_and_abandoned_ones_stay_on_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_IS_WINDOWS", True)
    abandoned = tmp_path / ".a.txt.hpc-01234567.partial"
    abandoned.touch()
    with atomic.folder_lock(tmp_path):  # whose lock is a file there
        atomic.write_text(tmp_path / "a.txt", "text")
    atomic.remove_abandoned(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [abandoned.name, ".hpc.lock", "a.txt"]


def test_one_process_at_a_time_has_a_folder(tmp_path):
    order = []

    def lock(name: str, then=lambda: None) -> None:
        with atomic.folder_lock(tmp_path / "fits"):
            then()
            order.append(name)

    thread = threading.Thread(target=lock, args=("second",))
    lock("first", lambda: thread.start() or time.sleep(0.2))
    thread.join(PATIENCE)
    assert order == ["first", "second"]


@pytest.mark.parametrize(("refusals", "written"), [(2, "new"), (99, "old")])
def test_a_file_that_another_program_reads_is_replaced_a_little_later_on_windows(
    tmp_path, monkeypatch, refusals, written
):
    path, attempts, replace = tmp_path / "a.txt", [], os.replace
    path.write_text("old")

    def replacing(source: Path, target: Path) -> None:
        attempts.append(target)
        if len(attempts) <= refusals:
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        replace(source, target)

    monkeypatch.setattr(atomic, "_IS_WINDOWS", True)
    monkeypatch.setattr(atomic, "_RENAME_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(os, "replace", replacing)
    with raises(UnavailableError, got="Access is denied") if refusals > 3 else nullcontext():
        atomic.write_text(path, "new")
    assert len(attempts) == min(refusals, 3) + 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == written


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.ESTALE, errno.EBUSY, errno.EMFILE])
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_what_the_machine_lacks_is_one_sentence_with_exit_code_5(tmp_path, monkeypatch, code, call):
    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, call, fail)
    with raises(UnavailableError, subject="x.bin", problem="cannot be written", got=os.strerror(code)) as caught:
        atomic.write_bytes(tmp_path / "x.bin", b"12345")
    monkeypatch.undo()
    assert (caught.value.exit_code, caught.value.remedy != "") == (ExitCode.UNAVAILABLE, True)
    assert os.listdir(tmp_path) == []


@contextmanager
def files_of_at_most(count: int):
    """The kernel itself stops larger writes, as on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_real_refused_write_is_reported_and_cleaned_up(tmp_path):
    with files_of_at_most(1024), raises(UnavailableError, problem="cannot be written", got="File too large"):
        atomic.write_bytes(tmp_path / "x.bin", b"x" * 4096)
    assert os.listdir(tmp_path) == []


def test_files_that_need_each_other_appear_together(tmp_path):
    mesh, library = tmp_path / "a.obj", tmp_path / "a.mtl"
    library.write_text("old")
    with files_of_at_most(4096), raises(UnavailableError, subject="a.obj", got="File too large"):
        atomic.write_files({library: b"new", mesh: bytes(100_000)})
    assert os.listdir(tmp_path) == ["a.mtl"]
    assert library.read_text() == "old"
    mesh.mkdir()  # its name cannot be taken, which shows last
    with raises(UnavailableError, subject="a.obj", problem="cannot be written"):
        atomic.write_files({library: b"new", mesh: b"new"})
    assert library.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["a.mtl", "a.obj"]


@pytest.mark.posix("reads Linux's own files")
@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no sysfs here")
def test_a_folder_that_even_root_cannot_write():
    for write in (lambda path: atomic.write_bytes(path, b"1"), atomic.ensure_folder):
        with raises(UnavailableError, problem="cannot be written"):
            write("/sys/kernel/x")


def test_what_is_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name in ("file/x", "file/x/y", "folder"):
        with raises(UnavailableError, subject=name, problem="cannot be written"):
            atomic.write_bytes(tmp_path / name, b"")
    for name in ("file", "file/x"):
        with raises(UnavailableError, subject=name, problem="cannot be written"):
            atomic.ensure_folder(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_errors_about_other_files_pass_unchanged(tmp_path):
    with pytest.raises(PermissionError), atomic.atomic_path(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "denied", "/somewhere/else")


def test_a_long_non_ascii_name_still_has_room_for_its_temporary_name(tmp_path):
    name = "名" * 84 + ".z"  # 254 of 255 bytes
    atomic.write_bytes(tmp_path / name, b"1")
    assert (tmp_path / name).read_bytes() == b"1"
    with raises(InputError, problem="too long"):
        atomic.write_bytes(tmp_path / (name + "zz"), b"1")


def test_ensure_folder_makes_it_and_leaves_nothing_in_it(tmp_path):
    assert atomic.ensure_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert os.listdir(tmp_path / "a" / "b") == []


def test_json_is_strict_and_readable(tmp_path):
    atomic.write_json(tmp_path / "x.json", {"b": "ü", "a": [1]})
    text = (tmp_path / "x.json").read_text("utf-8")
    assert (json.loads(text), "ü" in text) == ({"b": "ü", "a": [1]}, True)
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "y.json", float("nan"))
    assert not (tmp_path / "y.json").exists()


def test_names_that_are_no_utf8_can_stand_in_json_and_text(tmp_path):
    name = os.fsdecode(b"lat\xe9in \\")
    atomic.write_json(tmp_path / "a.json", {name: [name]})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {name: [name]}
    atomic.write_text(tmp_path / "a.txt", f"ü {name}")
    assert (tmp_path / "a.txt").read_text("utf-8") == "ü lat\\xe9in \\"


ARRAYS = "{'a': np.arange(6, dtype='<f4').reshape(2, 3), 'name': np.array('ü'), 'none': np.zeros((0, 3))}"


@pytest.mark.slow
def test_npz_bytes_are_the_same_every_time_and_everywhere(tmp_path):
    arrays = eval(ARRAYS)
    data = atomic.npz_bytes(arrays)
    script = (
        "import sys, numpy as np; from humanpose_cli.outputs.atomic import npz_bytes\n"
        f"sys.stdout.buffer.write(npz_bytes({ARRAYS}))"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert data == other == atomic.npz_bytes(arrays)
    atomic.write_npz(tmp_path / "x.npz", arrays)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as read:
        for (name, array), expected in zip(read.items(), arrays, strict=True):
            assert (name, array.dtype) == (expected, arrays[name].dtype)
            np.testing.assert_array_equal(array, arrays[name])


def test_npz_never_pickles():
    with pytest.raises(ValueError, match="pickle"):
        atomic.npz_bytes({"a": np.array([{}], dtype=object)})
