"""The ledger: whole lines, torn lines, several writers, newer versions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.batch.items import UNSHARDED, Fingerprint, Item, Shard, digest_of_item, fingerprint
from humanpose_cli.batch.ledger import Ledger, count_outcomes, options_digest, peak_memory, read_history
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.core.result import ItemResult, Status
from humanpose_cli.io.atomic import write_bytes

MARK = Fingerprint(10, 20)


def record(
    folder: Path, key: str, outcome: Status = Status.SUCCESS, shard: Shard = UNSHARDED, mark=MARK, **values
) -> None:
    with Ledger(folder, "fit", {"people": "all"}, shard) as ledger:
        ledger.record(Item(key, ()), mark, ItemResult(key, outcome, **values))


def entry(folder: Path, key: str):
    return read_history(folder).entries.get(("fit", key))


def test_what_is_written_is_read(tmp_path):
    outputs = (str(tmp_path / "sub" / "a.jpg.fit.npz"),)
    record(tmp_path, "sub/ä b.jpg", mark=replace(MARK, content="abc"), outputs=outputs, seconds=1.23456)
    found = entry(tmp_path, "sub/ä b.jpg")
    assert (found.outcome, found.outputs, found.seconds) == ("success", ("sub/a.jpg.fit.npz",), 1.235)
    assert (found.size, found.mtime_ns, found.content) == (10, 20, "abc")
    assert found.options == options_digest({"people": "all"})
    assert read_history(tmp_path).options[found.options] == {"people": "all"}


def test_a_finished_item_is_on_the_disk_within_a_second_behind_the_names_of_its_outputs(tmp_path, monkeypatch):
    clock, flushed = [100.0], []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        status = os.fstat(descriptor)
        flushed.append("folder" if os.path.samestat(status, os.stat(tmp_path)) else status.st_size)
        fsync(descriptor)

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("os.fsync", recorded)
    with Ledger(tmp_path, "fit", {}) as ledger:
        sizes = [ledger.path.stat().st_size]
        for name in "abc":
            write_bytes(tmp_path / name, b"12345")
            clock[0] += 0.6
            ledger.record(Item(name, ()), MARK, ItemResult(name, Status.SUCCESS, (str(tmp_path / name),)))
            sizes.append(ledger.path.stat().st_size)
        assert flushed == [sizes[0], 5, 5, "folder", sizes[2], 5]
        ledger.record(Item("a", ()), MARK, ItemResult("a", Status.INTERRUPTED))  # before it is replaced
        assert flushed[6:] == ["folder", ledger.path.stat().st_size]
        ledger.record(Item("a", ()), MARK, ItemResult("a", Status.SUCCESS))
        assert len(flushed) == 8
    assert flushed[8:] == [ledger.path.stat().st_size]
    write_bytes(tmp_path / "d", b"12345")
    assert flushed[9:] == [5, "folder"]


def test_files_of_temporary_folders_do_not_stop_the_ledger(tmp_path):
    with Ledger(tmp_path / "out", "view", {}) as ledger:
        (tmp_path / "temporary").mkdir()
        write_bytes(tmp_path / "temporary" / "part", b"12345")
        shutil.rmtree(tmp_path / "temporary")
        ledger.record(Item("a", ()), MARK, ItemResult("a", Status.SUCCESS))
    assert read_history(tmp_path / "out").entries


def test_the_latest_entry_counts_whichever_ledger_holds_it(tmp_path):
    record(tmp_path, "a", Status.ERROR, Shard(1, 2))
    record(tmp_path, "a", Status.SUCCESS, Shard(0, 2))
    assert entry(tmp_path, "a").done
    record(tmp_path, "a", Status.ERROR, Shard(0, 3))
    assert not entry(tmp_path, "a").done


def test_outcomes_of_one_shard_are_those_of_each_items_last_line(tmp_path):
    for key, outcome in (("a", Status.ERROR), ("a", Status.SUCCESS), ("b", Status.ERROR)):
        record(tmp_path, key, outcome, Shard(1, 2))
    record(tmp_path, "c", Status.SUCCESS, Shard(0, 2))
    assert count_outcomes(tmp_path, Shard(1, 2)) == {"success": 1, "error": 1}
    assert count_outcomes(tmp_path, Shard(0, 3)) == {}


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
    assert list(read_history(tmp_path).entries) == [("fit", "a")]


@pytest.mark.slow
def test_no_flipped_byte_makes_a_ledger_lie_or_unreadable(tmp_path):
    for key in "ab":
        record(tmp_path, key, outputs=(str(tmp_path / "x"),), details={"people": 2})
    path = tmp_path / "ledger.0-of-1.jsonl"
    content, true = path.read_bytes(), read_history(tmp_path)
    generator = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        found = read_history(tmp_path)
        assert found.entries.items() <= true.entries.items()
        assert found.options.items() <= true.options.items()
    path.write_bytes(content)
    assert len(read_history(tmp_path).entries) == 2


def test_entries_without_a_checksum_are_read_and_what_leads_out_of_the_folder_is_not(tmp_path):
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
        assert len(read_history(tmp_path).entries) == count


def test_a_newer_version_is_refused(tmp_path):
    (tmp_path / "ledger.0-of-1.jsonl").write_text('{"schema": 2, "kind": "item"}\n')
    with raises(InputError, problem="newer version", expected="schema 1", got="2"):
        read_history(tmp_path)


@pytest.mark.slow
def test_lines_of_concurrent_writers_stay_complete(tmp_path):
    writer = (
        "import sys; from pathlib import Path\n"
        "from humanpose_cli.batch.ledger import Ledger; from humanpose_cli.batch.items import Shard\n"
        "from humanpose_cli.batch.items import Item, Fingerprint\n"
        "from humanpose_cli.core.result import ItemResult, Status\n"
        "index = int(sys.argv[2])\n"
        "with Ledger(Path(sys.argv[1]), 'fit', {}, Shard(index, 3)) as ledger:\n"
        "    for i in range(40):\n"
        "        ledger.record(Item(f'{index}-{i}', ()), Fingerprint(1, 1), ItemResult('a', Status.SUCCESS))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", writer, str(tmp_path), str(i)]) for i in range(3)]
    assert [process.wait() for process in writers] == [0, 0, 0]
    assert len(read_history(tmp_path).entries) == 120
    for path in tmp_path.glob("ledger.*"):
        assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.posix("needs flock")
@pytest.mark.parametrize(
    ("first", "second"), [(UNSHARDED, Shard(1, 4)), (Shard(1, 4), UNSHARDED), (Shard(0, 2), Shard(3, 4))]
)
def test_parts_that_share_items_do_not_run_at_once(tmp_path, first, second):
    message = f"running part {first} here, which shares items with part {second}; wait for it"
    with Ledger(tmp_path, "fit", {}, first), pytest.raises(UsageError, match=message):
        Ledger(tmp_path, "fit", {}, second)
    assert [path.name for path in tmp_path.iterdir()] == [f"ledger.{first.file_part}.jsonl"]
    with Ledger(tmp_path, "fit", {}, second):
        pass


@pytest.mark.posix("open files are not removed on Windows")
def test_what_is_refused_leaves_no_ledger_and_what_was_there(tmp_path):
    def refused(shard, *items):
        with suppress(UsageError), Ledger(tmp_path, "fit", {}, shard) as ledger:
            for item in items:
                ledger.record(item, Fingerprint(1, 1), ItemResult(item.key, Status.SUCCESS))
            raise UsageError("out", "is something else's")
        return sorted(path.name for path in tmp_path.iterdir())

    assert refused(Shard(0, 2)) == []
    with Ledger(tmp_path, "fit", {}, Shard(0, 2)):
        pass
    assert refused(Shard(0, 2)) == refused(Shard(1, 2)) == ["ledger.0-of-2.jsonl"]
    assert refused(Shard(1, 2), Item("a", ())) == ["ledger.0-of-2.jsonl", "ledger.1-of-2.jsonl"]
    (tmp_path / "ledger.0-of-2.jsonl").write_text('{"schema": 2, "kind": "item"}\n')
    with raises(InputError, problem="newer version"):
        Ledger(tmp_path, "fit", {})
    assert not (tmp_path / "ledger.0-of-1.jsonl").exists()


@pytest.mark.posix("needs flock")
def test_shards_of_one_number_run_at_once(tmp_path):
    record(tmp_path, "a")
    with Ledger(tmp_path, "fit", {}, Shard(0, 4)), Ledger(tmp_path, "fit", {}, Shard(3, 4)) as ledger:
        assert ledger.history.entries["fit", "a"].done


@pytest.mark.posix("makes symbolic links")
@pytest.mark.parametrize(
    ("name", "shard"),
    [
        ("ledger.0-of-1.jsonl", UNSHARDED),
        ("ledger.1-of-4.jsonl", Shard(1, 4)),
        ("run.json", UNSHARDED),
        ("run.1-of-4.json", Shard(1, 4)),
    ],
)
def test_no_link_is_written_through(tmp_path, name, shard):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").write_text("text")
    for target in ("elsewhere", "missing"):
        link = tmp_path / "out" / name
        link.symlink_to(tmp_path / target)
        with raises(
            UsageError, subject=name, problem="is a symbolic link", expected="a file that hpc made", remedy="remove"
        ):
            Ledger(tmp_path / "out", "fit", {}, shard)
        assert os.listdir(tmp_path / "out") == [name]
        link.unlink()
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "out"]
    assert (tmp_path / "elsewhere").read_text() == "text"


def test_an_unwritable_folder_is_reported(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with raises((UnavailableError, InputError), remedy="`out`"):
        Ledger(blocked, "fit", {})


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
    digest = digest_of_item(item)
    frames[1].write_bytes(b"xy")
    assert digest_of_item(item) != digest


def test_contents_cannot_be_shifted_between_files(tmp_path):
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"ab")
    two.write_bytes(b"c")
    before = digest_of_item(Item("x", (one, two)))
    one.write_bytes(b"a")
    two.write_bytes(b"bc")
    assert digest_of_item(Item("x", (one, two))) != before


def test_the_error_of_an_item_comes_first():
    with raises(InputError, problem="is an empty folder"):
        fingerprint(Item("x", (), error=InputError("x", "is an empty folder")))


def test_entries_have_the_peak_of_memory_and_the_threads(tmp_path):
    import torch

    with Ledger(tmp_path, "fit", {}) as ledger:
        entry = ledger.record(Item("a.jpg", ()), Fingerprint(1, 2), ItemResult("a.jpg", Status.SUCCESS))
    assert entry.threads == torch.get_num_threads()
    ballast = np.ones(1 << 26)  # 512 MiB
    assert peak_memory() >= entry.memory_mb + 256 or entry.memory_mb > 2048
    assert ballast.any()
    assert read_history(tmp_path).entries["fit", "a.jpg"] == entry
