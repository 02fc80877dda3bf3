"""TensorBoard's events of a training, read by TensorBoard."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers.linear_recipe import LineRecipe

from humanpose_cli.lab.train.events import EVENTS
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import CHECKPOINT, train

pytestmark = pytest.mark.slow
OPTIONS = TrainOptions(epochs=2, batch_size=8, workers=0, log_every=4, seed=1)


def run(folder, *, until=99, **more):
    done = []
    return train(
        LineRecipe(),
        OPTIONS,
        folder,
        torch.device("cpu"),
        progress=lambda *step: done.append(step),
        stop=lambda: len(done) >= until,
        **more,
    )


def test_tensorboard_reads_scalars_and_sheets_also_of_a_resumed_run(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason='tensorboard is not installed: pip install "humanpose-cli[tensorboard]"',
    )

    def read():
        found = accumulator.EventAccumulator(str(tmp_path), purge_orphaned_data=True)
        found.Reload()
        return {tag: [event.step for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}, found

    run(tmp_path, until=5)
    saved = (tmp_path / CHECKPOINT).read_bytes()
    run(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(saved)  # as if it had been killed before its next checkpoint
    run(tmp_path)
    steps, found = read()
    assert steps["train/loss"] == steps["speed/examples_per_second"] == [4, 8, 12, 16]
    assert steps["validation/error"] == [0, 8, 16]
    assert [event.step for event in found.Images("samples")] == [0, 8, 16]
    assert found.Images("samples")[0].encoded_image_string == (tmp_path / "samples" / "step-0000000.png").read_bytes()
    assert len(list(tmp_path.glob(EVENTS))) == 2
    run(tmp_path, resume=False, until=9)
    assert read()[0]["validation/error"] == [0, 8]


def test_without_the_package_there_are_no_events(tmp_path, monkeypatch):
    monkeypatch.setattr("humanpose_cli.lab.train.events.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert run(tmp_path).finished
    assert not list(tmp_path.glob(EVENTS))
