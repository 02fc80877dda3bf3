"""The training loop: exact resumption, early stops, several processes, what it writes."""

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import HELPERS
from helpers.errors import raises
from helpers.linear_recipe import OPTIONS, TOGETHER, TRUE, GameRecipe, LineRecipe, lines, run
from helpers.patience import PATIENCE
from helpers.recorded_graphs import recorded_graphs
from safetensors.torch import load_file

from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.lab.recipes.registry import MODELS
from humanpose_cli.lab.train import trainer
from humanpose_cli.lab.train.checkpoint import SCHEMA, read_checkpoint
from humanpose_cli.lab.train.events import EVENTS
from humanpose_cli.lab.train.graphs import WARM_UP, GraphedSteps
from humanpose_cli.lab.train.history import TrainingHistory
from humanpose_cli.lab.train.processes import Processes, only_training
from humanpose_cli.lab.train.recipe import Phase, TrainOptions
from humanpose_cli.lab.train.trainer import (
    BEST,
    CHECKPOINT,
    LAST,
    RUN,
    is_mixed,
    plan_training,
    train,
)
from humanpose_cli.networks.weights import find_weights, read_weights

CPU = torch.device("cpu")
OPTIONS_LAST = replace(OPTIONS, keep="last")


def contents(folder):
    """The bytes of each file of a run, without what says how long it took."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != RUN and not path.match(EVENTS)]
    return {str(path.relative_to(folder)): without_speed(path) for path in paths}


def without_speed(path):
    """The bytes of a file, of metrics.jsonl without the lines of speed."""
    return b"".join(line for line in path.read_bytes().splitlines(keepends=True) if b'"kind": "speed"' not in line)


@pytest.mark.slow
def test_a_model_learns_and_the_run_is_written_down(tmp_path, monkeypatch, plot_of_losses):
    monkeypatch.setattr(TrainingHistory, "plot", plot_of_losses)
    recipe = LineRecipe(count=256, dropout=0.0)
    result = run(tmp_path, recipe, replace(OPTIONS, epochs=12))
    assert result.finished
    assert result.step == result.steps == 12 * 32
    assert result.best < 0.05
    tensors, header = read_weights(tmp_path / BEST, "line")
    np.testing.assert_allclose(tensors["line"][0], TRUE, atol=0.05)
    assert header.config == {"inputs": 3}
    assert header.training["count"] == 256
    assert header.training["steps"] == result.best_step
    assert header.metrics["error"] == pytest.approx(result.best)
    assert (tmp_path / LAST).exists()
    assert (tmp_path / "losses.png").stat().st_size > 1000
    assert len(list((tmp_path / "samples").iterdir())) == 13
    training = [line for line in lines(tmp_path) if line["kind"] == "train"]
    assert training[0]["loss"] > 20 * training[-1]["loss"]
    assert training[0]["twice"] == pytest.approx(2 * training[0]["loss"], rel=1e-5)
    rates = [line["learning_rate"] for line in training]
    assert rates == sorted(rates, reverse=True)
    assert json.loads((tmp_path / "training.json").read_text())["loop"]["epochs"] == 12


@pytest.mark.extensive
@pytest.mark.parametrize(("until", "average"), [(8, 0.0), (13, 0.9)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, until, average):
    options = replace(OPTIONS, average=average, clip=1.0)
    complete, parts = tmp_path / "whole", tmp_path / "parts"
    run(complete, options=options)
    first = run(parts, options=options, until=until)
    assert not first.finished
    assert first.step == until
    second = run(parts, options=replace(options, workers=1, minutes=9.0))
    assert second.finished
    kinds = {BEST, LAST, CHECKPOINT, "metrics.jsonl", "training.json", "samples/step-0000008.png"}
    assert kinds < contents(complete).keys()
    assert contents(complete) == contents(parts)


@pytest.mark.extensive
@pytest.mark.parametrize("at", ["losses", "validate", "state"])
def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, plot_of_losses, at):
    """Ended without a word after the checkpoint of step 8: in step 9, at the validation of step 16, while it saves step
    17.
    """

    def kill(*_):
        raise SystemExit

    monkeypatch.setattr(TrainingHistory, "plot", plot_of_losses)
    killed, alone, recipe = tmp_path / "killed", tmp_path / "alone", LineRecipe()
    run(alone)
    run(killed, until=8)
    monkeypatch.setattr(recipe, at, kill)
    with pytest.raises(SystemExit):
        run(killed, recipe, until=9)
    run(killed)
    assert contents(alone).keys() > {"losses.png"}
    assert contents(killed) == contents(alone)


class JoinedGame(GameRecipe):
    """A game whose second phase joins at step 6."""

    def graph_key(self, step):
        self.sit_out = step < 6
        return self.sit_out

    def state(self):
        return {"played": 0}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "replays"), [(LineRecipe, [5, 13]), (JoinedGame, [3, 13])])
def test_captured_steps_are_those_of_an_eager_run(tmp_path, monkeypatch, make, replays):
    """With dropout, a decaying rate and an average; also where the run is resumed and warms up again."""
    options = replace(OPTIONS, average=0.9, clip=1.0)
    run(tmp_path / "eager", make(), options)
    monkeypatch.setattr(trainer, "can_capture", lambda device: True)
    with recorded_graphs(monkeypatch) as graphs:
        run(tmp_path / "captured", make(), options, until=8)
        run(tmp_path / "captured", make(), options)
    assert [graph.replays for graph in graphs] == replays
    assert contents(tmp_path / "captured") == contents(tmp_path / "eager")


def test_a_failed_capture_is_logged_once_and_steps_run_eagerly(tmp_path, monkeypatch, caplog):
    def fail(*arguments, **keywords):
        raise RuntimeError("no memory")

    run(tmp_path / "eager")
    monkeypatch.setattr(trainer, "can_capture", lambda device: True)
    with recorded_graphs(monkeypatch):
        monkeypatch.setattr(torch.cuda, "graph", fail)
        run(tmp_path / "failed")
    assert [record.getMessage() for record in caplog.records] == [
        "steps run without CUDA graphs, their capture failed: no memory"
    ]
    assert contents(tmp_path / "failed") == contents(tmp_path / "eager")


def test_steps_are_captured_by_key_and_shape(monkeypatch):
    calls = []
    with recorded_graphs(monkeypatch) as graphs:
        steps = GraphedSteps(lambda batch: calls.append(len(batch[0])) or batch[0] + 1, CPU)
        for _ in range(WARM_UP + 2):
            results = [(steps(key, (torch.full((n,), 2.0 * n),)) - 2 * n).tolist() for key in (1, None) for n in (2, 3)]
            assert results == 2 * [[1.0] * 2, [1.0] * 3]
    assert [graph.replays for graph in graphs] == [2, 2]
    assert Counter(calls) == {2: 2 * WARM_UP + 3, 3: 2 * WARM_UP + 3}  # those of no key at each call


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpus_graphs_are_those_of_eager_steps(tmp_path, monkeypatch, caplog):
    options, gpu = replace(OPTIONS, precision="full", average=0.9, clip=1.0), torch.device("cuda")
    captured = train(LineRecipe(dropout=0.0), options, tmp_path / "captured", gpu)
    monkeypatch.setattr(trainer, "can_capture", lambda device: False)
    eager = train(LineRecipe(dropout=0.0), options, tmp_path / "eager", gpu)
    assert captured.metrics == pytest.approx(eager.metrics, rel=1e-5)
    assert not caplog.records


@pytest.mark.slow
def test_the_time_of_all_starts_is_counted(tmp_path):
    first = run(tmp_path, until=8)
    assert json.loads((tmp_path / RUN).read_text()) == {"seconds": round(first.seconds, 3)}
    (tmp_path / RUN).write_text('{"seconds": 7000.25}')
    assert 7000.25 < run(tmp_path, until=4).seconds < 7060
    assert 7000.25 < json.loads((tmp_path / RUN).read_text())["seconds"] < 7060
    for damaged in ("", '{"seconds": ', "[1]", '{"seconds": NaN}', '{"seconds": null}'):
        (tmp_path / RUN).write_text(damaged)
        assert run(tmp_path, until=1).seconds < 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "average"), [("first validation", 0.9), ("validation", 0.9), ("sheet", 0.0), ("last validation", 0.9)]
)
def test_an_interrupted_validation_is_made_again(tmp_path, at, average):
    """Its step is saved, with the random numbers of before, and its line is not there twice."""

    class Rolls(LineRecipe):
        interrupted = None

        def validate(self, batch_size):
            found = super().validate(batch_size)
            found["other"] = torch.rand(1).item()
            stages = ("first validation", "", "validation", "last validation")
            self.interrupt(stages[len(self.validated) - 1], True)
            return found

        def image(self):
            self.interrupt("sheet", len(self.validated) == 3)
            return super().image()

        def interrupt(self, stage, now):
            if now and stage == self.interrupted:
                raise KeyboardInterrupt

    options = replace(OPTIONS, average=average)
    complete, parts, stopped = tmp_path / "whole", tmp_path / "parts", Rolls()
    run(complete, Rolls(), options)
    stopped.interrupted = at
    with pytest.raises(KeyboardInterrupt):
        run(parts, stopped, options)
    assert read_checkpoint(parts / CHECKPOINT, torch.load(parts / CHECKPOINT)["settings"])[0].step in (0, 16, 24)
    assert run(parts, Rolls(), options).finished
    assert contents(complete) == contents(parts)


@pytest.mark.parametrize(("at", "saved"), [("loader", 5), ("screen", 5), ("step", None)])
def test_an_interruption_between_steps_saves_the_last_one(tmp_path, monkeypatch, at, saved):
    """Within one, the model may have been changed and its optimiser not."""

    class Stopped(LineRecipe):
        left = 5

        def batches(self, options):
            loader = super().batches(options)
            make = loader._batches.dataset.make
            loader._batches.dataset.make = lambda *row: self.interrupt("loader") or make(*row)
            return loader

        def losses(self, phase, batch):
            self.interrupt("step")
            self.left -= 1
            return super().losses(phase, batch)

        def interrupt(self, stage):
            if stage == at and self.left == 0:
                raise KeyboardInterrupt

    recipe = Stopped()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, OPTIONS, tmp_path, CPU, progress=lambda *_: recipe.interrupt("screen"))
    path = tmp_path / CHECKPOINT
    assert (torch.load(path)["progress"]["step"] if path.exists() else None) == saved


@pytest.mark.slow
def test_lines_behind_the_checkpoint_are_written_again(tmp_path):
    """A crash after the checkpoint leaves lines that the next start makes anew."""
    run(tmp_path, until=7)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "kind": "train", "epoch": 1, "loss": 1.0}\n{"step": 12, "kin')
    run(tmp_path)
    run(tmp_path / "whole")
    assert without_speed(tmp_path / "metrics.jsonl") == without_speed(tmp_path / "whole" / "metrics.jsonl")


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.slow
def test_a_folder_is_of_one_training_at_a_time(tmp_path):
    """A child that the training forked, as a loader's worker, may outlive it without keeping the folder."""
    kept = []
    with only_training(tmp_path / "run", Processes()):
        kept.append(subprocess.Popen(["sleep", str(PATIENCE)]))
        context = multiprocessing.get_context("fork")
        kept.append(context.Process(target=time.sleep, args=(PATIENCE,), daemon=True))
        kept[1].start()
        with raises(UsageError, subject="run", remedy="wait for it"):
            run(tmp_path / "run")
        with only_training(tmp_path / "run", Processes(1)):  # another of the same group
            pass
    try:
        assert run(tmp_path / "run").finished
    finally:
        for child in kept:
            child.kill()


@pytest.mark.posix("needs flock")
def test_what_a_killed_training_left_half_written_is_removed(tmp_path):
    rests = [tmp_path / name for name in (".checkpoint.pt.hpc-1a2b3c4d.partial", "samples/.s.png.hpc-1a2b3c4d.partial")]
    (tmp_path / "samples").mkdir()
    for rest in rests:
        rest.write_bytes(b"half")
    run(tmp_path, until=3)
    assert [rest for rest in rests if rest.exists()] == []


def test_a_training_that_is_refused_leaves_no_folder(tmp_path):
    with raises(UsageError, problem="do not fill one batch"):
        run(tmp_path / "run", LineRecipe(count=4))
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_trained_again(tmp_path):
    run(tmp_path)
    again = LineRecipe()
    result = run(tmp_path, again)
    assert result.finished
    assert again.validated == []


@pytest.mark.slow
def test_other_settings_are_refused_by_name(tmp_path):
    run(tmp_path, until=2)
    with raises(InputError, problem="another batch_size"):
        run(tmp_path, options=replace(OPTIONS, batch_size=4))
    with raises(InputError, problem="another count", expected="32"):
        run(tmp_path, LineRecipe(count=32))
    assert run(tmp_path, options=replace(OPTIONS, batch_size=4), resume=False).finished
    (tmp_path / CHECKPOINT).write_bytes(b"broken")
    with raises(InputError, subject="checkpoint.pt", problem="cannot be read"):
        run(tmp_path)


def test_validation_may_come_between_epochs(tmp_path):
    run(tmp_path, options=replace(OPTIONS, validate_every=5))
    steps = [line["step"] for line in lines(tmp_path) if line["kind"] == "validation"]
    assert steps == [0, 5, 10, 15, 20, 24]
    assert {line["kind"]: line["epoch"] for line in lines(tmp_path)} == {"train": 2, "validation": 2}
    assert {line["step"]: line["epoch"] for line in lines(tmp_path)} == {
        n: max(0, n - 1) // 8 for n in (*steps, *range(3, 25, 3))
    }


def test_time_limits_leave_a_run_to_go_on_with(tmp_path):
    first = run(tmp_path, options=replace(OPTIONS, minutes=1e-9))
    assert not first.finished
    assert (first.step, first.kept) == (1, "")
    assert run(tmp_path).finished


@pytest.mark.parametrize("options", [OPTIONS, OPTIONS_LAST])
def test_an_interrupted_run_names_the_step_of_the_weights_that_are_written(tmp_path, options):
    result = run(tmp_path, options=replace(options, validate_every=5), until=7)
    assert (result.finished, result.step) == (False, 7)
    file, text = result.kept.split(": ")
    assert read_weights(tmp_path / file)[1].training["steps"] == 5
    assert text.startswith("step 5 of 24, ")


def test_a_loss_that_explodes_is_said_in_a_sentence(tmp_path):
    with raises(InputError, problem="not finite any more"):
        run(tmp_path, LineRecipe(rate=1e30), replace(OPTIONS, log_every=1))


@pytest.mark.slow
def test_every_phase_has_an_optimiser(tmp_path):
    recipe = GameRecipe()
    run(tmp_path, recipe)
    assert recipe.played[:4] == ["first", "second", "first", "second"]
    assert {"first_loss", "second_loss"} <= lines(tmp_path, "train")[0].keys()


def test_a_phase_may_sit_out(tmp_path):
    recipe = GameRecipe(sit_out=True)
    before = recipe.model[3].weight.clone()
    run(tmp_path, recipe)
    assert torch.equal(recipe.model[3].weight, before)
    assert "second_loss" not in lines(tmp_path, "train")[0]


def test_the_state_of_a_recipe_is_kept(tmp_path):
    run(tmp_path, GameRecipe(), until=3)
    again = GameRecipe()
    run(tmp_path, again, until=1)
    assert again.played[:6] == ["before"] * 6


def worsening():
    """A recipe whose validations prefer the first one's weights."""
    recipe = LineRecipe(dropout=0.0)
    recipe.worse_after = 2
    recipe.validation_data = {"count": 9, "unit": "points"}
    return recipe


def test_the_last_weights_are_kept_although_a_validation_prefers_earlier_ones(tmp_path):
    result = run(tmp_path, worsening(), OPTIONS_LAST)
    assert (result.best_step, result.step) == (8, 24)
    assert not (tmp_path / BEST).exists()
    assert find_weights(tmp_path) == tmp_path / LAST
    training = read_weights(tmp_path / LAST)[1].training
    assert (training["steps"], training["of"], training["kept"]) == (24, 24, {"rule": "last"})
    assert training["validation"] == {"count": 9, "unit": "points"}
    assert result.kept == "last.safetensors: step 24 of 24, the last"
    assert result.cautions == ("validations are on 9 points: these figures mean little",)
    assert BEST not in {
        path.name for path in (*result.outputs, *plan_training(worsening(), OPTIONS_LAST, tmp_path).outputs)
    }


def test_the_best_weights_say_by_what_they_were_chosen(tmp_path):
    result = run(tmp_path, worsening())
    assert find_weights(tmp_path) == tmp_path / BEST
    best, last = (read_weights(tmp_path / name)[1] for name in (BEST, LAST))
    assert (best.training["steps"], last.training["steps"]) == (8, 24)
    kept = {"rule": "best", "criterion": "error", "value": pytest.approx(best.metrics["error"])}
    assert best.training["kept"] == kept
    assert last.training["kept"] == {"rule": "last"}
    assert result.kept.startswith("best.safetensors: step 8 of 24, chosen by error of ")
    run(tmp_path, worsening(), OPTIONS_LAST, resume=False)
    assert find_weights(tmp_path) == tmp_path / LAST  # the best ones were of another training


def test_the_steps_since_the_last_line_are_logged_at_the_end(tmp_path):
    run(tmp_path, options=replace(OPTIONS, log_every=50))
    assert [line["step"] for line in lines(tmp_path, "train")] == [24]


def test_the_validation_before_the_first_step_changes_and_chooses_nothing(tmp_path):
    class Draws(LineRecipe):
        def validate(self, batch_size):
            torch.rand(5)
            return super().validate(batch_size)

    options = replace(OPTIONS, average=0.9, validate_every=24)
    plain, recipe = LineRecipe(), Draws()
    recipe.worse_after = 1
    run(tmp_path / "plain", plain, options)
    assert run(tmp_path / "draws", recipe, options).best_step == 24
    assert torch.equal(recipe.model[1].weight, plain.model[1].weight)
    first, *_ = lines(tmp_path / "draws")
    assert (first["kind"], first["step"], first["epoch"]) == ("validation", 0, 0)
    assert first["error"] == pytest.approx(recipe.validated[0]) != recipe.validated[1]


@pytest.mark.parametrize("name", ["segmenter", "nbf", "warp3d", "deform-and-learn"])
def test_preset_paper_keeps_the_last_step(name):
    assert MODELS[name].preset("paper")[1].keep == "last"


@pytest.mark.parametrize("bfloat16", [False, True])
def test_auto_is_mixed_for_large_networks_on_a_gpu_and_where_a_processor_multiplies_bfloat16(monkeypatch, bfloat16):
    monkeypatch.setattr("humanpose_cli.lab.train.trainer.multiplies_bfloat16", lambda device: bfloat16)
    small, large = ([Phase("fit", [torch.empty(size, device="meta")], 1e-3)] for size in (3_000_000, 50_000_000))
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [is_mixed("auto", device, phases) for device in (cpu, gpu) for phases in (small, large)] == [
        *(bfloat16, bfloat16),
        *(False, True),
    ]
    assert [is_mixed(precision, cpu, small) for precision in ("full", "mixed")] == [False, True]


def test_no_preset_is_mixed_on_every_machine():
    for entry in MODELS.values():
        presets = getattr(entry._module("recipe"), entry.presets)
        assert "mixed" not in {loop.precision for _, loop in presets.values()}, entry.name


@pytest.mark.extensive
def test_half_precision_learns_too(tmp_path):
    result = run(tmp_path, LineRecipe(count=256, dropout=0.0), replace(OPTIONS, epochs=12, precision="mixed"))
    assert result.best < 0.1


@pytest.mark.parametrize("change", [{"state": 3}, {"settings": 3}, {"progress": {"step": 1}}])
def test_a_checkpoint_of_other_contents_is_refused(tmp_path, change):
    path, progress = tmp_path / CHECKPOINT, {"step": 3, "position": {"epoch": 1, "batch": 2}}
    complete = {"schema": SCHEMA, "progress": progress, "state": {}, "settings": {}}
    torch.save(complete, path)
    assert read_checkpoint(path, {})[0].step == 3
    for document in ({**complete, **change}, {name: complete[name] for name in complete if name not in change}):
        torch.save(document, path)
        with raises(InputError, problem="cannot be read"):
            read_checkpoint(path, {})


def test_a_changed_number_in_a_checkpoint_is_found(tmp_path):
    path, progress = tmp_path / CHECKPOINT, {"step": 3, "position": {"epoch": 1, "batch": 2}}
    torch.save({"schema": SCHEMA, "settings": {}, "progress": progress, "state": {"a": torch.zeros(1000)}}, path)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(400)) + 200] ^= 1
    path.write_bytes(content)
    with raises(InputError, problem="is damaged: its checksum differs"):
        read_checkpoint(path, {})


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.extensive
def test_processes_together_train_as_one_also_after_one_was_killed(tmp_path):
    run(tmp_path / "one", LineRecipe(dropout=0.0), TOGETHER)
    script, log = HELPERS / "linear_recipe.py", tmp_path / "log"
    line = [sys.executable, script, "group", tmp_path / "two", log, "11"]
    output = subprocess.run(line, stdout=subprocess.PIPE, check=True, timeout=PATIENCE).stdout
    killed, step, again = json.loads(output)
    assert killed == [1, -signal.SIGKILL]
    lost = "training: lost another of its processes; the same command continues from the last checkpoint"
    assert lost in log.read_text()
    assert 4 <= step < 11
    assert again == [0, 0]
    alone, together = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert len(alone) == len(together)
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(*[[line[k] for k in a if k != "kind"] for line in (a, b)], rtol=2e-4)


@pytest.mark.parametrize(
    ("device", "workers", "cores", "together", "expected"),
    [("cpu", None, 64, "1", 1), ("cuda", None, 9, "1", 8), ("cuda", None, 64, "1", 16), ("cuda", None, 17, "4", 4),
     ("cuda", None, 1, "1", 1), ("cuda", 0, 64, "1", 0), ("cpu", 3, 2, "1", 3)],
)  # fmt: skip
def test_a_gpu_has_as_many_workers_as_there_are_cores(monkeypatch, device, workers, cores, together, expected):
    monkeypatch.setattr("humanpose_cli.lab.train.recipe.usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", together)
    assert TrainOptions(workers=workers).workers_for(device) == expected


def test_a_full_gpu_is_reported_with_a_remedy(tmp_path):
    class Large(LineRecipe):
        def losses(self, phase, batch):
            raise torch.cuda.OutOfMemoryError("full")

    with raises(UnavailableError, problem="too small for a batch of 8", remedy="a smaller `batch_size`"):
        run(tmp_path, Large())


def test_a_plan_is_what_the_training_does(tmp_path):
    folder, options = tmp_path / "run", replace(OPTIONS, average=0.9)
    plan = plan_training(LineRecipe(), options, folder)
    assert (plan.steps, plan.done, plan.per_epoch, plan.validations) == (24, 0, 8, 4)
    assert (plan.parameters, plan.examples) == (4, None)
    assert not folder.exists()
    begun = train(LineRecipe(), options, folder, CPU, stop=lambda: True)
    assert not begun.finished
    plan = plan_training(LineRecipe(), options, folder)
    assert (plan.steps, plan.done) == (begun.steps, begun.step)
    assert plan_training(LineRecipe(), options, folder, resume=False).done == 0
    result = train(LineRecipe(), options, folder, CPU)
    assert {*result.outputs} <= {*plan.outputs}
    assert plan.weights_bytes == sum(tensor.nbytes for tensor in load_file(folder / BEST).values())  # halves
    assert 0 < plan.checkpoint_bytes < (folder / CHECKPOINT).stat().st_size
    with raises(InputError, problem="another epochs"):
        plan_training(LineRecipe(), replace(options, epochs=4), folder)


def test_a_plan_counts_the_examples(tmp_path):
    recipe = LineRecipe(count=70)
    recipe.held_out = range(9)
    plan = plan_training(recipe, replace(OPTIONS, steps=5), tmp_path)
    assert (plan.examples, plan.held_out, plan.steps, plan.per_epoch) == (70, 9, 5, 8)
