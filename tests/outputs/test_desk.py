"""The ledger of a run: whole lines, torn lines, several writers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Item, Shard
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.core.result import ItemResult, Status
from humanpose_cli.outputs.atomic import write_bytes
from humanpose_cli.outputs.desk import Fingerprint, OpenLedger, fingerprint, peak_memory
from humanpose_cli.outputs.ledger import Ledger, options_digest

MARK = Fingerprint(10, 20)


def record(folder: Path, key: str, outcome: Status = Status.SUCCESS, part="0-of-1", mark=MARK, **values) -> None:
    with OpenLedger(folder, "fit", {"people": "all"}, part) as ledger:
        ledger.record(Item(key, ()), mark, ItemResult(key, outcome, **values))


def entry(folder: Path, key: str):
    return Ledger(folder).entries.get(("fit", key))


def test_what_is_written_is_read(tmp_path):
    outputs = (str(tmp_path / "sub" / "a.jpg.fit.npz"),)
    record(tmp_path, "sub/ä b.jpg", mark=replace(MARK, content="abc"), outputs=outputs, seconds=1.23456)
    found = entry(tmp_path, "sub/ä b.jpg")
    assert (found.outcome, found.outputs, found.seconds) == ("success", ("sub/a.jpg.fit.npz",), 1.235)
    assert (found.size, found.mtime_ns, found.content) == (10, 20, "abc")
    assert found.options == options_digest({"people": "all"})
    assert Ledger(tmp_path).options[found.options] == {"people": "all"}


def test_a_finished_item_is_on_the_disk_within_a_second_behind_the_names_of_its_outputs(tmp_path, monkeypatch):
    clock, flushed = [100.0], []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        status = os.fstat(descriptor)
        flushed.append("folder" if os.path.samestat(status, os.stat(tmp_path)) else status.st_size)
        fsync(descriptor)

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("os.fsync", recorded)
    with OpenLedger(tmp_path, "fit", {}) as ledger:
        sizes = [0]
        for name in "abc":
            write_bytes(tmp_path / name, b"12345")
            clock[0] += 0.6
            ledger.record(Item(name, ()), MARK, ItemResult(name, Status.SUCCESS, (str(tmp_path / name),)))
            sizes.append(ledger.path.stat().st_size)
        assert flushed == [5, "folder", sizes[1], 5, 5, "folder", sizes[3]]
        ledger.record(Item("a", ()), MARK, ItemResult("a", Status.SUCCESS))
        assert len(flushed) == 7
    assert flushed[7:] == [ledger.path.stat().st_size]
    write_bytes(tmp_path / "d", b"12345")
    assert flushed[8:] == [5, "folder"]


def test_files_of_temporary_folders_do_not_stop_the_ledger(tmp_path):
    with OpenLedger(tmp_path / "out", "view", {}) as ledger:
        (tmp_path / "temporary").mkdir()
        write_bytes(tmp_path / "temporary" / "part", b"12345")
        shutil.rmtree(tmp_path / "temporary")
        ledger.record(Item("a", ()), MARK, ItemResult("a", Status.SUCCESS))
    assert Ledger(tmp_path / "out").entries


def test_the_latest_entry_counts_whichever_ledger_holds_it(tmp_path):
    record(tmp_path, "a", Status.ERROR, "1-of-2")
    record(tmp_path, "a", Status.SUCCESS, "0-of-2")
    assert entry(tmp_path, "a").done
    record(tmp_path, "a", Status.ERROR, "0-of-3")
    assert not entry(tmp_path, "a").done


@pytest.mark.parametrize("cut", [2, 25, 200])
def test_a_torn_last_line_costs_only_its_item(tmp_path, cut):
    record(tmp_path, "a")
    record(tmp_path, "b")
    path = tmp_path / "ledger.0-of-1.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])  # as a crash leaves it
    assert entry(tmp_path, "a").done
    assert entry(tmp_path, "b") is None
    record(tmp_path, "c")
    lines = path.read_text().splitlines()
    assert [line.endswith("}") for line in lines] == [True, True, True, False, True, True]  # nothing is glued to it
    assert entry(tmp_path, "a").done
    assert entry(tmp_path, "c").done


def test_foreign_and_damaged_lines_are_passed_over(tmp_path):
    record(tmp_path, "a")
    with (tmp_path / "ledger.0-of-1.jsonl").open("ab") as file:
        file.write(b'[1]\n"x"\n{}\n{"schema": 1, "kind": "item", "path": "b"}\n\xff\xfe\n')
        fields = {"kind": "item", "command": "fit", "path": "c", "size": 1, "mtime_ns": 1, "options": ""}
        fields |= {"outcome": "error"}
        for spoilt in (
            {"outputs": 7},
            {"outcome": "succes"},
            {"exit_code": 77},
            {"path": ["c"]},
            {"size": "1"},
            {"schema": "1", "path": None},
        ):
            file.write(json.dumps(fields | spoilt).encode() + b"\n")
        file.write(b'{"kind": "run"}\n{"kind": "run", "digest": [], "options": {}}\n')
    assert list(Ledger(tmp_path).entries) == [("fit", "a")]


@pytest.mark.slow
def test_no_flipped_byte_makes_a_ledger_lie_or_unreadable(tmp_path):
    for key in "ab":
        record(tmp_path, key, outputs=(str(tmp_path / "x"),), details={"people": 2})
    path = tmp_path / "ledger.0-of-1.jsonl"
    content, true = path.read_bytes(), Ledger(tmp_path)
    generator = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        found = Ledger(tmp_path)
        assert found.entries.items() <= true.entries.items()
        assert found.options.items() <= true.options.items()
    path.write_bytes(content)
    assert len(Ledger(tmp_path).entries) == 2


def test_lines_of_schema_1_are_read_and_what_leads_out_of_the_folder_is_not(tmp_path):
    line = {
        "kind": "item",
        "command": "fit",
        "path": "c",
        "size": 1,
        "mtime_ns": 1,
        "options": "",
        "outcome": "success",
    }
    for outputs, count in ((["sub/x"], 1), (["../x"], 0), (["/etc/x"], 0), (["a\0"], 0), ([1], 0)):
        (tmp_path / "ledger.0-of-1.jsonl").write_text(json.dumps(line | {"outputs": outputs}) + "\n")
        assert len(Ledger(tmp_path).entries) == count


def test_a_newer_version_is_refused(tmp_path):
    (tmp_path / "ledger.0-of-1.jsonl").write_text('{"schema": 3, "kind": "item"}\n')
    with raises(InputError, problem="newer version", expected="schema 2", got="3"):
        Ledger(tmp_path)


@pytest.mark.slow
def test_lines_of_concurrent_writers_stay_complete(tmp_path):
    writer = (
        "import sys; from pathlib import Path\n"
        "from humanpose_cli.outputs.desk import Fingerprint, OpenLedger; from humanpose_cli.batch.items import Item\n"
        "from humanpose_cli.core.result import ItemResult, Status\n"
        "index = int(sys.argv[2])\n"
        "with OpenLedger(Path(sys.argv[1]), 'fit', {}, f'{index}-of-3') as ledger:\n"
        "    for i in range(40):\n"
        "        ledger.record(Item(f'{index}-{i}', ()), Fingerprint(1, 1), ItemResult('a', Status.SUCCESS))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", writer, str(tmp_path), str(i)]) for i in range(3)]
    assert [process.wait() for process in writers] == [0, 0, 0]
    assert len(Ledger(tmp_path).entries) == 120
    for path in tmp_path.glob("ledger.*"):
        assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    ("part", "options", "how"),
    [("1-of-4", {}, "in 1 shards, not 4"), ("0-of-1", {"height": 1.75}, "with other options")],
)
def test_processes_that_do_not_agree_do_not_run_at_once(tmp_path, part, options, how):
    with OpenLedger(tmp_path, "fit", {}) as running:
        with raises(UsageError, problem=f"another process is running hpc fit here {how}", remedy="wait for it"):
            OpenLedger(tmp_path, "fit", options, part)
        with OpenLedger(tmp_path, "view", options, part):
            assert running.take(Item("a", ()))
    with OpenLedger(tmp_path, "fit", options, part):  # which begins when the other has ended
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []  # there were no results to record


@pytest.mark.posix("sends SIGKILL")
def test_a_killed_process_holds_nothing(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from humanpose_cli.batch.items import Item\n"
        "from humanpose_cli.outputs.desk import OpenLedger\n"
        "ledger = OpenLedger(Path(sys.argv[1]), 'fit', {'height': 1.75}); ledger.take(Item('a', ()))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(os.listdir(tmp_path)) == 2
    with OpenLedger(tmp_path, "fit", {}) as ledger:
        assert ledger.take(Item("a", ()))


@pytest.mark.posix("needs flock")
def test_shards_of_one_number_run_at_once(tmp_path):
    record(tmp_path, "a")
    with OpenLedger(tmp_path, "fit", {}, "0-of-4"), OpenLedger(tmp_path, "fit", {}, "3-of-4") as ledger:
        assert ledger.entries["fit", "a"].done


@pytest.mark.posix("makes symbolic links")
@pytest.mark.parametrize("name", ["ledger.1-of-4.jsonl", "run.1-of-4.json"])
def test_no_link_is_written_through(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").write_text("text")
    for target in ("elsewhere", "missing"):
        link = tmp_path / "out" / name
        link.symlink_to(tmp_path / target)
        expected = "a file that hpc made"
        with raises(UsageError, subject=name, problem="is a symbolic link", expected=expected, remedy="remove"):
            run_items([], lambda _: Outcome(), Batch("fit", tmp_path / "out", shard=Shard(1, 4)))
        assert os.listdir(tmp_path / "out") == [name]
        link.unlink()
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "out"]
    assert (tmp_path / "elsewhere").read_text() == "text"


def test_an_unwritable_folder_is_reported(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with raises((UnavailableError, InputError), remedy="`out`"):
        OpenLedger(blocked, "fit", {})


def test_the_digest_depends_on_values_and_not_on_order():
    assert options_digest({"a": 1, "b": [1, 2]}) == options_digest({"b": [1, 2], "a": 1})
    assert options_digest({"a": 1}) != options_digest({"a": 2})
    assert options_digest({"a": 1}) != options_digest({"a": "1"})


def test_fingerprints_of_sequences_cover_all_frames(tmp_path):
    frames = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(frames):
        path.write_bytes(b"x" * (i + 1))
        os.utime(path, ns=(5, 100 - i))
    item = Item("clip", tuple(frames))
    assert fingerprint(item) == Fingerprint(6, 100)


def test_the_error_of_an_item_comes_first():
    with raises(InputError, problem="is an empty folder"):
        fingerprint(Item("x", (), error=InputError("x", "is an empty folder")))


def test_entries_have_the_peak_of_memory_and_the_threads(tmp_path):
    import torch

    with OpenLedger(tmp_path, "fit", {}) as ledger:
        entry = ledger.record(Item("a.jpg", ()), Fingerprint(1, 2), ItemResult("a.jpg", Status.SUCCESS))
    assert entry.threads == torch.get_num_threads()
    ballast = np.ones(1 << 26)  # 512 MiB
    assert peak_memory() >= entry.memory_mb + 256 or entry.memory_mb > 2048
    assert ballast.any()
    assert Ledger(tmp_path).entries["fit", "a.jpg"] == entry
