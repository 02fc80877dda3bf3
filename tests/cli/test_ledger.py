"""`hpc ledger`, dry runs and lists of inputs."""

from __future__ import annotations

import io
import os

import pytest

from humanpose_cli.batch.items import Item
from humanpose_cli.cli.options import BatchFlags
from humanpose_cli.core.errors import ExitCode
from humanpose_cli.core.result import ItemResult, Status
from humanpose_cli.outputs.desk import Fingerprint, OpenLedger


@pytest.fixture
def folder(tmp_path):
    results = {
        "a.jpg": ItemResult("a.jpg", Status.SUCCESS, (str(tmp_path / "a.fit.npz"),), 1.5),
        "b.jpg": ItemResult("b.jpg", Status.ERROR, (), 0.5, "b.jpg: is empty", ExitCode.BAD_INPUT),
        "c.jpg": ItemResult("c.jpg", Status.INTERRUPTED),
    }
    for number, (key, result) in enumerate(results.items()):
        with OpenLedger(tmp_path, "fit", {}, f"{number % 2}-of-2") as ledger:
            ledger.record(Item(key, ()), Fingerprint(1, 1), result)
    return tmp_path


def test_failures_and_who_did_what(hpc, folder):
    ran = hpc("ledger", str(folder), "--json")
    assert ran.code == 0
    items = {item["input"]: item for item in ran.document["items"]}
    assert {name: item["status"] for name, item in items.items()} == {"b.jpg": "error", "c.jpg": "interrupted"}
    assert items["b.jpg"]["error"] == "b.jpg: is empty"
    (machine,) = ran.document["machines"]
    assert (machine["items"], machine["done"], machine["seconds"], machine["items_per_hour"]) == (3, 1, 2.0, 5400.0)
    assert ran.document["messages"] == ["1 of 3 done"]
    assert len(hpc("ledger", str(folder), "--all", "--json").document["items"]) == 3
    assert "not finished" in hpc("ledger", str(folder)).out


def test_the_work_of_each_part_is_reported_also_where_nothing_failed(hpc, tmp_path):
    with OpenLedger(tmp_path, "fit", {}) as ledger:
        ledger.record(Item("a.jpg", ()), Fingerprint(1, 1), ItemResult("a.jpg", Status.SUCCESS, seconds=2.0))
    ran = hpc("ledger", str(tmp_path))
    header, machine = [line.split("\t") for line in ran.out.splitlines() if "\t" in line]
    assert dict(zip(header, machine, strict=True))["items/h"] == "1800.0"
    assert (ran.code, ran.err) == (0, "1 of 1 done\n")


def test_a_folder_without_a_ledger(hpc, tmp_path):
    ran = hpc("ledger", str(tmp_path))
    assert ran.code == 3
    assert "has no ledger" in ran.err


@pytest.mark.parametrize("content", [b"a.jpg\nb c.jpg\r\n", b"a.jpg\0b c.jpg\0"])
def test_lists_of_inputs(tmp_path, monkeypatch, content):
    (tmp_path / "list").write_bytes(content)
    assert BatchFlags(items=tmp_path / "list").listed() == ["a.jpg", "b c.jpg"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    from_stdin = BatchFlags(items=type(tmp_path)("-"))
    assert from_stdin.listed() == ["a.jpg", "b c.jpg"]


def test_a_dry_run_of_a_list_reports_what_is_to_do_and_writes_nothing(hpc, tmp_path):
    for name in "a[1].jpg", "b.jpg":
        (tmp_path / name).write_bytes(b"\xff\xd8\xff, the beginning of a JPEG, of which no more is read")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a[1].jpg\n{tmp_path}/b.jpg\n{tmp_path}/missing.jpg\n")
    out = tmp_path / "out"
    ran = hpc("fit", "--items", str(tmp_path / "list.txt"), "--out", str(out), "--dry-run", "--json")
    assert [item["status"] for item in ran.document["items"]] == ["planned", "planned", "error"]
    assert ran.document["items"][0]["outputs"][0] == str(out / "a[1].jpg.fit.npz")
    assert ran.document["messages"] == ["dry run: 2 of 3 to do"]
    assert ran.code == 4
    dry = ("fit", str(tmp_path / "b.jpg"), "--out", str(out), "--cluster", "slurm", "--dry-run", "--json")
    messages = {shards: hpc(*dry, "--shards", shards).document["messages"][1:] for shards in ("4", "1")}
    assert messages == {
        "4": ["dry run: it would be submitted to Slurm in 4 parts"],
        "1": ["dry run: it would be submitted to Slurm in 1 part"],
    }
    assert hpc(*dry, "--shard", "0/2").code == 2  # as without a dry run
    assert f"error: {tmp_path}/missing.jpg: does not exist; check the spelling and the folder\n" in ran.err
    assert not out.exists()


def test_what_earlier_runs_wrote_is_no_input_of_a_list(hpc, tmp_path):
    out, photo, result = tmp_path / "out", tmp_path / "a.jpg", tmp_path / "out" / "new.png"
    with OpenLedger(out, "repose", {}) as ledger:
        ledger.record(Item("a.jpg", ()), Fingerprint(1, 1), ItemResult("a.jpg", Status.SUCCESS, (str(result),)))
    for file in photo, result:
        file.write_bytes(b"no image, but nobody reads it")
    (tmp_path / "list.txt").write_text(f"{photo}\n{result}\n")
    ran = hpc("fit", "--items", str(tmp_path / "list.txt"), "--out", str(out), "--dry-run", "--json")
    assert [item["input"] for item in ran.document["items"]] == [str(photo)]
    assert "1 result of earlier runs left out\n" in ran.err


@pytest.mark.posix("needs POSIX pipes")
@pytest.mark.parametrize("flag", ["--keypoints", "--config"])
def test_pipes_are_refused_where_a_file_is_read_more_than_once(hpc, tmp_path, flag):
    os.mkfifo(tmp_path / "pipe")
    ran = hpc("fit", "photo.jpg", flag, str(tmp_path / "pipe"), "--out", str(tmp_path / "out"))
    assert ran.code == 3
    assert "is a device or a pipe" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (("fit", "-"), 2, "--cluster: cannot read stdin"),
        (("fit", "--items", "-"), 2, "--cluster: cannot read stdin"),
        (("fit", "a.jpg", "--shard", "0/2"), 2, "--shard: cannot be combined with --cluster slurm; use --shards"),
        (("fit", "a.jpg", "--out", "x.npz"), 2, "--out: must be a folder"),
        (("train", "lifter", "--shards", "2"), 2, "--shards: have no effect with hpc train"),
        (("fit", "a.jpg", "--cluster-set", "mem"), 2, "cannot be read, expected key=value"),
        (("fit", "a.jpg"), 5, "is not on this machine"),
    ],
)
def test_what_cannot_be_submitted_is_reported(hpc, tmp_path, monkeypatch, line, code, message):
    pytest.importorskip("submitit", reason="submitit is not installed (extra slurm)")
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    ran = hpc(*line, "--cluster", "slurm")
    assert ran.code == code
    assert message in ran.err
