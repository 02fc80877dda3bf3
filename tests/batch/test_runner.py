"""The runner: every item gets its turn, failures are kept apart, reruns go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.patience import PATIENCE

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Item, Shard
from humanpose_cli.batch.runner import BatchProgress, Outcome, run_items
from humanpose_cli.core.errors import ExitCode, InputError, UnavailableError, UsageError
from humanpose_cli.core.progress import no_progress
from humanpose_cli.core.result import ItemResult, Status
from humanpose_cli.files.sniffing import reading
from humanpose_cli.outputs.atomic import atomic_path, write_text
from humanpose_cli.outputs.ledger import Ledger

OPTIONS = {"people": "all"}


class Recorder:
    """A worker that writes one file an item and remembers what it was given; `faults` are raised instead."""

    def __init__(self, out: Path, faults: dict[str, Exception] | None = None) -> None:
        self.out, self.faults, self.keys = out, faults or {}, []

    def __call__(self, item: Item) -> Outcome:
        self.keys.append(item.key)
        if item.key in self.faults:
            raise self.faults[item.key]
        output = self.out / f"{item.key}.txt"
        write_text(output, item.key)
        return Outcome((output,), {"letters": len(item.key)})


class Listener(BatchProgress):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.prepared: list[list[str]] = []
        self.results: list[ItemResult] = []
        self.bugs: list[BaseException] = []
        self.total = self.finished = 0

    def info(self, text: str) -> None:
        self.messages.append(text)

    def start(self, total: int) -> None:
        self.total = total

    def preparing(self, names: Collection[str]) -> None:
        self.prepared.append(list(names))

    def item_finished(self, result: ItemResult) -> None:
        self.results.append(result)

    def traceback(self, error: BaseException) -> None:
        self.bugs.append(error)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (root / name).write_bytes(name.encode())
    return root


def items_of(root: Path) -> list[Item]:
    return [Item(path.name, (path,), str(path), root) for path in sorted(root.iterdir())]


def batch(tmp_path: Path, **changes: object) -> Batch:
    return Batch(**{"command": "fit", "out": tmp_path / "out", "options": OPTIONS, **changes})


def statuses(result) -> list[str]:
    return [item.status.value for item in result.items]


def test_all_items_are_done_and_reported(tmp_path, photos):
    worker, listener = Recorder(tmp_path / "out"), Listener()
    result = run_items(items_of(photos), worker, batch(tmp_path), progress=listener)
    assert (result.status, result.exit_code, result.messages) == (Status.SUCCESS, ExitCode.OK, ())
    assert worker.keys == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [Path(item.outputs[0]).read_text() for item in result.items] == worker.keys
    assert [item.details for item in result.items] == [{"letters": 5}] * 4
    assert listener.results == list(result.items)
    assert (listener.total, listener.finished, listener.bugs) == (4, 1, [])


def test_a_rerun_does_nothing_and_gives_the_same_outputs(tmp_path, photos):
    first = run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path))
    again = Recorder(tmp_path / "out")
    second = run_items(items_of(photos), again, batch(tmp_path, recall=lambda _, entry: {"from": entry.outputs[0]}))
    assert again.keys == []
    assert statuses(second) == ["skipped"] * 4
    assert second.items[0].details == {"letters": 5, "from": "a.jpg.txt"}  # of the ledger, and recalled
    assert [item.outputs for item in second.items] == [item.outputs for item in first.items]
    assert (second.status, second.exit_code) == (Status.SUCCESS, ExitCode.OK)


def test_contents_are_reported_and_not_kept(tmp_path, photos):
    def worker(item: Item) -> Outcome:
        return Outcome(details={"people": np.float32(2.5)}, contents={"rows": [1, 2]})

    result = run_items(items_of(photos)[:1], worker, batch(tmp_path))
    assert result.items[0].details == {"people": 2.5, "rows": [1, 2]}
    assert Ledger(tmp_path / "out").entries["fit", items_of(photos)[0].key].details == {"people": 2.5}


def test_whoever_dies_while_replacing_results_leaves_none_of_them_done(tmp_path, photos):
    def worker(text: str) -> Callable[[Item], Outcome]:
        def work(item: Item) -> Outcome:
            outputs = [tmp_path / "out" / f"{item.key}.{number}" for number in range(2)]
            write_text(outputs[0], text)
            if text == "dies":
                raise KeyboardInterrupt
            write_text(outputs[1], text)
            return Outcome(tuple(outputs))

        return work

    items, other = items_of(photos)[:1], {"options": {"people": "largest"}}
    run_items(items, worker("first"), batch(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        run_items(items, worker("dies"), batch(tmp_path, **other))
    for settings in (other, {}, {}):
        result = run_items(items, worker("again"), batch(tmp_path, **settings))
    assert statuses(result) == ["skipped"]
    assert [Path(path).read_text() for path in result.items[0].outputs] == ["again", "again"]


def test_results_that_another_command_wrote_over_are_not_called_done(tmp_path, photos):
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path))
    over = [Item("x", (photos / "a.jpg",), outputs=(tmp_path / "out" / "a.jpg.txt",))]

    def worker(item: Item) -> Outcome:
        write_text(item.outputs[0], "other")
        return Outcome(item.outputs)

    assert run_items(over, worker, batch(tmp_path, command="repose")).exit_code is ExitCode.OK
    again = Recorder(tmp_path / "out")
    run_items(items_of(photos), again, batch(tmp_path))
    assert again.keys == ["a.jpg"]


def test_a_clock_that_was_ahead_does_not_keep_old_results_alive(tmp_path, photos, monkeypatch):
    with monkeypatch.context() as ahead:
        ahead.setattr("humanpose_cli.outputs.desk.utc_time", lambda unit="": "2099-01-01T00:00:00+00:00")
        run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path, shard=Shard(0, 1)))
    other = {"options": {"people": "largest"}}
    for index in range(2):
        run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path, shard=Shard(index, 2), **other))
    assert set(statuses(run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path)))) == {"success"}


def test_an_input_that_changes_after_it_was_read_is_done_again(tmp_path, photos):
    def prepare(items, _):
        (photos / "b.jpg").write_bytes(b"changed meanwhile")
        return {}

    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path, group_size=lambda: 4, prepare=prepare))
    again = Recorder(tmp_path / "out")
    run_items(items_of(photos), again, batch(tmp_path))
    assert again.keys == ["b.jpg"]


def test_a_changed_input_is_reported(tmp_path, photos):
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path))
    (photos / "c.jpg").write_bytes(b"another image")
    listener = Listener()
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path), progress=listener)
    assert listener.messages == ["c.jpg: fitted again: the input has changed"]


@pytest.mark.parametrize(
    ("change", "options", "keys"),
    [
        (lambda root: None, {"resume": False}, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]),
        (lambda root: (root / "out" / "b.jpg.txt").write_text(""), {}, ["b.jpg"]),
        (lambda root: (root / "out" / "b.jpg.txt").unlink(), {}, ["b.jpg"]),
        (lambda root: (root / "photos" / "c.jpg").write_bytes(b"another image"), {}, ["c.jpg"]),
        (lambda root: (root / "photos").rename(root / "moved"), {}, []),
    ],
    ids=["no resume", "emptied output", "vanished output", "changed input", "moved folder"],
)
def test_what_a_rerun_does_again(tmp_path, photos, change, options, keys):
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path))
    change(tmp_path)
    again, root = Recorder(tmp_path / "out"), photos if photos.exists() else tmp_path / "moved"
    run_items(items_of(root), again, batch(tmp_path, **options))
    assert again.keys == keys


def test_a_result_that_was_damaged_since_is_made_again(tmp_path, photos):
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path))

    def recall(item: Item, entry: object) -> dict[str, object]:
        if item.key == "b.jpg":
            raise InputError("b.jpg.fit.npz", "is damaged")
        return {}

    again = Recorder(tmp_path / "out")
    result = run_items(items_of(photos), again, batch(tmp_path, recall=recall))
    assert again.keys == ["b.jpg"]
    assert sorted(statuses(result)) == ["skipped"] * 3 + ["success"]


def test_verify_inputs_looks_at_contents_and_not_at_times(tmp_path, photos):
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path))
    old = (photos / "a.jpg").stat()
    (photos / "a.jpg").write_bytes(b"A.jpg")
    os.utime(photos / "a.jpg", ns=(old.st_atime_ns, old.st_mtime_ns))  # same size and time, other contents
    os.utime(photos / "b.jpg", ns=(1, 1))  # same contents, other time
    careless, careful = Recorder(tmp_path / "out"), Recorder(tmp_path / "out")
    run_items(items_of(photos), careful, batch(tmp_path, verify_inputs=True))
    assert careful.keys == ["a.jpg"]
    os.utime(photos / "a.jpg", ns=(2, 2))
    run_items(items_of(photos), careless, batch(tmp_path))
    assert careless.keys == ["a.jpg", "b.jpg"]


def test_a_bad_item_does_not_stop_the_others(tmp_path, photos):
    worker = Recorder(tmp_path / "out", {"b.jpg": InputError("b.jpg", "is not an image")})
    result = run_items(items_of(photos), worker, batch(tmp_path))
    assert len(worker.keys) == 4
    assert statuses(result) == ["success", "error", "success", "success"]
    assert result.items[1].error == "b.jpg: is not an image"
    assert (result.status, result.exit_code) == (Status.PARTIAL, ExitCode.PARTIAL)


def test_failures_are_reported_again_and_tried_again_only_on_request(tmp_path, photos):
    faults = {"b.jpg": InputError("b.jpg", "is not an image")}
    run_items(items_of(photos), Recorder(tmp_path / "out", faults), batch(tmp_path))
    second = Recorder(tmp_path / "out")
    result = run_items(items_of(photos), second, batch(tmp_path))
    assert second.keys == []
    assert statuses(result) == ["skipped", "error", "skipped", "skipped"]
    assert "`retry_failed`" in result.items[1].error
    assert result.exit_code is ExitCode.PARTIAL
    third = Recorder(tmp_path / "out")
    assert run_items(items_of(photos), third, batch(tmp_path, retry_failed=True)).exit_code is ExitCode.OK
    assert third.keys == ["b.jpg"]


@pytest.mark.parametrize(
    ("fault", "code"), [(InputError("x", "is empty"), ExitCode.BAD_INPUT), (ZeroDivisionError(), ExitCode.BUG)]
)
def test_if_nothing_could_be_done_the_exit_code_shows_the_reason(tmp_path, photos, fault, code):
    faults = dict.fromkeys(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), fault)
    result = run_items(items_of(photos), Recorder(tmp_path / "out", faults), batch(tmp_path))
    assert (result.status, result.exit_code) == (Status.ERROR, code)


def test_a_bug_is_reported_as_one_and_its_exception_handed_on(tmp_path, photos):
    bug, listener = IndexError("out of range"), Listener()
    worker = Recorder(tmp_path / "out", {"c.jpg": bug})
    result = run_items(items_of(photos), worker, batch(tmp_path), progress=listener)
    assert listener.bugs == [bug]
    assert "IndexError: out of range; this is a bug" in result.items[2].error
    assert result.exit_code is ExitCode.PARTIAL


@pytest.mark.parametrize("fault", [UnavailableError("disk", "is full"), InputError("b", "is bad"), KeyboardInterrupt()])
def test_what_a_failing_item_has_written_vanishes_and_what_stood_there_stays(tmp_path, photos, fault):
    fit, overlay, old = (tmp_path / "out" / name for name in ("b.fit.npz", "b.overlay.jpg", "b.old"))

    def worker(item: Item) -> Outcome:
        write_text(fit, "new")
        raise fault

    old.parent.mkdir()
    old.write_text("old")
    item = Item("b.jpg", (photos / "b.jpg",), outputs=(fit, overlay, old))
    with pytest.raises(KeyboardInterrupt) if isinstance(fault, KeyboardInterrupt) else nullcontext():
        run_items([item], worker, batch(tmp_path, overwrite=True))
    assert not fit.exists()
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    "fault",
    [UnavailableError("disk", "is full"), OSError(errno.ENOSPC, "full", "out/x"), OSError(errno.EAGAIN, "again")],
)
def test_what_would_fail_everywhere_stops_the_run_and_is_not_held_against_the_item(tmp_path, photos, fault):
    worker = Recorder(tmp_path / "out", {"b.jpg": fault})
    result = run_items(items_of(photos), worker, batch(tmp_path))
    assert worker.keys == ["a.jpg", "b.jpg"]
    assert (result.status, result.exit_code) == (Status.PARTIAL, ExitCode.UNAVAILABLE)
    assert result.messages == ("3 of 4 items are left; the same command goes on with them",)
    again = Recorder(tmp_path / "out")
    assert run_items(items_of(photos), again, batch(tmp_path)).exit_code is ExitCode.OK
    assert again.keys == ["b.jpg", "c.jpg", "d.jpg"]


def test_an_item_done_in_part_is_partial_and_can_be_retried(tmp_path, photos):
    def worker(item: Item) -> Outcome:
        output = tmp_path / "out" / item.key
        output.write_text("")
        return Outcome((output,), problem="3 frames of 10 could not be read")

    result = run_items(items_of(photos)[:1], worker, batch(tmp_path))
    assert (result.status, result.exit_code) == (Status.PARTIAL, ExitCode.PARTIAL)
    again = Recorder(tmp_path / "out")
    assert statuses(run_items(items_of(photos)[:1], again, batch(tmp_path))) == ["partial"]
    assert again.keys == []
    run_items(items_of(photos)[:1], again, batch(tmp_path, retry_failed=True))
    assert again.keys == ["a.jpg"]


def test_a_missing_input_fails_alone_and_is_found_when_it_comes_back(tmp_path, photos):
    items = items_of(photos)
    (photos / "a.jpg").unlink()
    result = run_items(items, Recorder(tmp_path / "out"), batch(tmp_path))
    assert statuses(result) == ["error", "success", "success", "success"]
    kept = Ledger(tmp_path / "out").entries.get(("fit", items[0].key))
    assert (kept.outcome, kept.error) == ("error", result.items[0].error)
    (photos / "a.jpg").write_bytes(b"back")
    again = Recorder(tmp_path / "out")
    run_items(items, again, batch(tmp_path))
    assert again.keys == ["a.jpg"]
    (photos / "a.jpg").rename(tmp_path / "away")  # what was done before stays known, for when it comes back once more
    assert statuses(run_items(items, again, batch(tmp_path)))[0] == "error"
    (tmp_path / "away").rename(photos / "a.jpg")
    assert statuses(run_items(items, again, batch(tmp_path)))[0] == "skipped"


def test_results_of_other_options_are_replaced_with_a_line_and_their_leftovers_removed(tmp_path, photos):
    """What another item or the user has written since stays."""
    items, listener = items_of(photos)[:2], Listener()

    def worker(*endings: str) -> Callable[[Item], Outcome]:
        def work(item: Item) -> Outcome:
            outputs = tuple(tmp_path / "out" / f"{item.key}.{ending}" for ending in endings)
            for output in outputs:
                write_text(output, f"{item.key} {endings}")
            return Outcome(outputs)

        return work

    run_items(items, worker("fit", "masks", "mine"), batch(tmp_path, options={"masks": True}))
    (tmp_path / "out" / "a.jpg.mine").write_text("edited")
    result = run_items(items, worker("fit"), batch(tmp_path, options={}), progress=listener)
    assert (result.exit_code, listener.messages) == (ExitCode.OK, ["2 results: fitted again: without `masks`"])
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg.*")) == ["a.jpg.fit", "a.jpg.mine", "b.jpg.fit"]


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        ({"net": {"noise": (1, 2), "starts": 5}}, {"net": {"noise": (1, 2), "starts": 7}}, "`net.starts=7`"),
        ({}, {"refine": {"steps": 3, "flow": {"points": 9}}}, "`refine`"),
        ({"refine": {"steps": 3}}, {}, "without `refine`"),
        ({"overlay": True, "height": "1.75"}, {"overlay": False, "height": ""}, "without `height`, without `overlay`"),
        ({"height": None}, {"height": "1.75", "masks": True}, "`height=1.75`, `masks`"),
        ({"weights": "a" * 16 + "+" + "b" * 16}, {"weights": "c" * 16 + "+" + "b" * 16}, "another `weights`"),
    ],
)
def test_only_options_that_differ_are_named_and_files_without_their_digests(tmp_path, photos, before, now, difference):
    items, listener = items_of(photos)[:1], Listener()
    run_items(items, Recorder(tmp_path / "out"), batch(tmp_path, options={"people": "all", **before}))
    for dry_run in (True, False):
        settings = batch(tmp_path, options={"people": "all", **now}, dry_run=dry_run)
        run_items(items, Recorder(tmp_path / "out"), settings, progress=listener)
    assert listener.messages == [f"a.jpg: fitted again: {difference}"] * 2


def test_a_namesake_from_another_folder_is_named(tmp_path, photos):
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"somebody else")
    listener = Listener()
    run_items(items_of(tmp_path / "elsewhere"), Recorder(tmp_path / "out"), batch(tmp_path), progress=listener)
    assert listener.messages == [f"a.jpg: fitted again: the file in {tmp_path / 'elsewhere'}, not in {photos}"]


def test_two_inputs_with_one_key_are_refused_and_one_named_twice_is_done_once(tmp_path, photos):
    twice = items_of(photos)[:1] * 2
    worker = Recorder(tmp_path / "out")
    run_items(twice, worker, batch(tmp_path))
    assert worker.keys == ["a.jpg"]
    clash = [Item("x", (photos / "a.jpg",), "one/x"), Item("x", (photos / "b.jpg",), "two/x")]
    with raises(UsageError, subject="two/x", problem="would write the same files as one/x"):
        run_items(clash, worker, batch(tmp_path))


def test_shards_share_the_work_and_read_each_others_ledgers_and_that_of_everything(tmp_path, photos):
    run_items(items_of(photos)[:1], Recorder(tmp_path / "out"), batch(tmp_path))
    keys = []
    for index in range(3):
        worker = Recorder(tmp_path / "out")
        run_items(items_of(photos), worker, batch(tmp_path, shard=Shard(index, 3)))
        keys += worker.keys
    assert sorted(keys) == ["b.jpg", "c.jpg", "d.jpg"]
    recorder = Recorder(tmp_path / "out")
    assert run_items(items_of(photos), recorder, batch(tmp_path)).exit_code is ExitCode.OK
    assert recorder.keys == []


def test_a_shard_without_items_is_reported(tmp_path, photos):
    result = run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path, shard=Shard(49, 50)))
    assert (result.status, len(result.items)) == (Status.SUCCESS, 0)
    assert result.messages == ("there is nothing to do in part 49/50",)


def test_run_json_keeps_how_the_run_was_made(tmp_path, photos):
    run_items(items_of(photos), Recorder(tmp_path / "out"), batch(tmp_path, arguments=("fit", "photos")))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["options"] == OPTIONS
    assert record["arguments"] == ["fit", "photos"]
    assert (record["status"], record["items"]) == ("success", {"success": 4})
    assert record["started"] <= record["finished"]
    assert {"commit", "host", "packages", "python", "version"} <= record.keys()


def test_without_a_stop_handler_an_interrupt_comes_through_and_nothing_is_recorded(tmp_path, photos):
    def worker(item: Item) -> Outcome:
        raise KeyboardInterrupt

    listener = Listener()
    with pytest.raises(KeyboardInterrupt):
        run_items(items_of(photos), worker, batch(tmp_path), progress=listener)
    assert listener.finished == 1
    assert Ledger(tmp_path / "out").entries == {}


def test_items_that_are_left_are_prepared_together(photos, tmp_path):
    """Finished ones are not; what was prepared is worked on one by one, and results keep the items' order."""
    items, groups = items_of(photos), []
    keys = [item.key for item in items]
    worker = Recorder(tmp_path / "out", {keys[3]: InputError("d", "is broken")})

    def prepare(coming, _):
        groups.append([item.key for item in coming])
        return {item.key: 100.0 * (1 + keys.index(item.key)) for item in coming}

    together = batch(tmp_path, group_size=lambda: 2, prepare=prepare)
    run_items([items[1]], worker, together)
    listener = Listener()
    result = run_items(items, worker, together, progress=listener)
    assert groups == [[keys[1]], [keys[0], keys[2]], [keys[3]]]
    assert statuses(result) == ["success", "skipped", "success", "error"]
    assert worker.keys == [keys[1], keys[0], keys[2], keys[3]]
    assert listener.prepared == [[items[0].name, items[2].name], []]  # one alone is not prepared with others
    assert len(listener.results) == 4
    assert [round(item.seconds, -1) for item in result.items] == [100, 0, 300, 400]  # each has its own
    recorded = {key: round(entry.seconds, -1) for key, entry in Ledger(tmp_path / "out").entries.items()}
    assert sorted(recorded.values()) == [100, 200, 300, 400]


def test_a_group_is_prepared_while_the_one_before_is_worked_on_and_left_when_the_run_ends(photos, tmp_path):
    items, begun, ends = items_of(photos), threading.Event(), []

    def prepare(coming, show):
        if coming[0] is items[2]:
            begun.set()
            with pytest.raises(KeyboardInterrupt):  # the worker's fault ends the run
                any(iter(lambda: show(no_progress, 0, None, "images"), 0))  # again and again
            ends.append("left")
        return {}

    def worker(item: Item) -> Outcome:
        assert item is items[0] or begun.wait(PATIENCE)
        raise (InputError if item is items[0] else UnavailableError)("disk", "is full")

    result = run_items(items, worker, batch(tmp_path, group_size=lambda: 2, prepare=prepare))
    assert (statuses(result), result.exit_code, ends) == (["error", "error"], ExitCode.UNAVAILABLE, ["left"])


@pytest.mark.posix("needs flock")
@pytest.mark.parametrize("fault", [None, UnavailableError("disk", "is full")])
def test_two_runs_in_one_folder_do_each_item_once(photos, tmp_path, fault):
    """The second takes what is free, and waits for the rest, which it does if the first has left it."""
    items, begun, free, others = items_of(photos), threading.Event(), threading.Event(), Recorder(tmp_path / "out")

    def slow(item: Item) -> Outcome:
        begun.set()
        assert free.wait(PATIENCE)
        if fault:
            raise fault
        return Recorder(tmp_path / "out")(item)

    def quick(item: Item) -> Outcome:
        if item is items[3]:
            free.set()
        return others(item)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(run_items, items, slow, batch(tmp_path))
        assert begun.wait(PATIENCE)
        second = run_items(items, quick, batch(tmp_path))
    assert others.keys == [item.key for item in (*items[1:], *[items[0]] * bool(fault))]
    assert statuses(second) == ["success" if fault else "skipped", *["success"] * 3]
    assert statuses(first.result()) == (["error"] if fault else ["success", *["skipped"] * 3])
    assert set(statuses(run_items(items, others, batch(tmp_path)))) == {"skipped"}
    assert not list((tmp_path / "out").glob(".*"))


def test_items_that_are_not_prepared_are_not_announced(photos, tmp_path):
    items, listener = items_of(photos), Listener()
    together = batch(tmp_path, group_size=lambda: 4, prepare=lambda *_: {}, prepares=lambda item: item != items[1])
    run_items(items, Recorder(tmp_path / "out"), together, progress=listener)
    assert listener.prepared == [[items[index].name for index in (0, 2, 3)]]


def test_what_all_items_need_counts_for_the_run_alone(photos, tmp_path):
    earlier = batch(tmp_path, group_size=lambda: 2, past_seconds=10_000.0)
    result = run_items(items_of(photos), Recorder(tmp_path / "out"), earlier)
    assert all(item.seconds < 1000 for item in result.items)
    assert result.extra["summary"]["seconds"] > 10_000


def test_journals_go_when_the_ledger_has_the_item(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    items = [Item(key, (), journals=(out / f".{key}.people",)) for key in "abc"]

    def left(*written, faults=None):
        for key in written:
            (out / f".{key}.people").write_text("found")
        run_items(items, Recorder(out, faults), Batch("fit", out, OPTIONS))
        return sorted(path.name for path in out.glob(".*.people"))

    full, damaged = UnavailableError("disk", "is full"), InputError("b", "is damaged")
    assert left(*"abc", faults={"b": damaged, "c": full}) == [".b.people", ".c.people"]
    assert left("a") == [".b.people"], "of an item that was killed between ledger and removal, and of one that failed"


def test_a_stale_handle_is_recorded_against_no_item_and_the_same_command_tries_again(tmp_path, monkeypatch):
    out, usual, stale = tmp_path / "out", os.replace, {"b"}

    def rename(source, target):
        if Path(target).name in stale:
            raise OSError(errno.ESTALE, "Stale file handle", str(source), None, str(target))
        usual(source, target)

    def work(item: Item) -> Outcome:
        with atomic_path(out / item.key) as temporary:
            temporary.write_text("whole")
        return Outcome((out / item.key,))

    monkeypatch.setattr(os, "replace", rename)
    monkeypatch.setattr(os, "link", lambda *_: os.stat("/none"))  # a file system without links
    items, batch = [Item(key, ()) for key in "abc"], Batch("fit", out, OPTIONS)
    first = run_items(items, work, batch)
    assert [item.status for item in first.items] == [Status.SUCCESS, Status.ERROR]
    assert (first.exit_code, "Stale file handle" in str(first.items[1].error)) == (ExitCode.UNAVAILABLE, True)
    assert [path for _, path in Ledger(out).entries] == ["a"]
    stale.clear()
    again = run_items(items, work, batch)
    assert [item.status for item in again.items] == [Status.SKIPPED, Status.SUCCESS, Status.SUCCESS]


def test_an_input_on_a_mount_that_does_not_respond_is_recorded_against_no_item(tmp_path, monkeypatch):
    photos = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    for path in photos:
        path.write_text("x")
    usual = Path.stat

    def stale(path, **options):
        if path.name == "b.jpg":
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return usual(path, **options)

    monkeypatch.setattr(Path, "stat", stale)
    out = tmp_path / "out"
    result = run_items([Item(path.name, (path,)) for path in photos], Recorder(out), Batch("fit", out, OPTIONS))
    assert (result.exit_code, [item.status for item in result.items]) == (5, [Status.SUCCESS, Status.ERROR])
    assert [path for _, path in Ledger(out).entries] == ["a.jpg"]


@pytest.mark.parametrize(
    ("deleted", "code", "message"),
    [
        ("in", 4, "3 inputs are gone since the run began"),
        ("out", 5, "5 of 5 items are left; the same command goes on with them"),
    ],
)
def test_a_folder_that_is_deleted_midway_counts_what_is_gone(tmp_path, deleted, code, message):
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    items = [Item(f"{number}.jpg", (photos / f"{number}.jpg",)) for number in range(5)]
    for item in items:
        item.files[0].write_text("x")

    def work(item: Item) -> Outcome:
        if item.key == "2.jpg":
            shutil.rmtree(tmp_path / deleted)
        with reading(item.files[0]):
            item.files[0].read_bytes()
        with atomic_path(out / item.key) as temporary:
            temporary.write_text("whole")
        return Outcome((out / item.key,))

    result = run_items(items, work, Batch("fit", out, OPTIONS))
    assert (result.exit_code, result.messages) == (code, (message,))
    assert deleted == "in" or ["vanished" in item.error for item in result.items] == [True, True, False]
