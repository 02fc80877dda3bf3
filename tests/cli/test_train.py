"""`hpc train` from the command line: a run, its interruption, wrong wishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.painted_people import CocoPeople, painted_cache
from helpers.patience import PATIENCE, wait_until
from helpers.posed_people import PosedPeople
from helpers.warp3d_poses import MINI

from humanpose_cli.body.body import default_body
from humanpose_cli.cli.command import flags_of
from humanpose_cli.cli.train import _force
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.recipes.registry import MODELS
from humanpose_cli.lab.recipes.warp3d.recipe import WARP3D_PRESETS, Warp3dTraining
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.train.history import TrainingHistory
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.networks.weights import read_header

pytestmark = pytest.mark.slow

SMALL = ("--preset", "ablation", "--set", "segmenter.crop=32", "--batch-size", "4", "--threads", "1")
TINY = (*SMALL, "--workers", "0")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    build_cache(SyntheticSource(SyntheticOptions(count=32, size=48, texture_size=64, validation=0.4)), folder)
    return str(folder)


def test_a_model_is_trained_and_a_rerun_keeps_it(hpc, cache, tmp_path):
    out = tmp_path / "run"
    ran = hpc("train", "segmenter", "--data", cache, "--out", str(out), *TINY, "--epochs", "1", "--json")
    assert ran.code == 0, ran.err
    assert ran.details["finished"]
    assert ran.details["criterion"] == "iou"
    header = read_header(out / "best.safetensors")
    assert header.model == "segmenter"
    assert header.training["loop"]["batch_size"] == 4
    assert str(out / "best.safetensors") in ran.details["outputs"]
    again = hpc("train", "segmenter", "--data", cache, "--out", str(out), *TINY, "--epochs", "1", "--json")
    assert again.details["steps"] == ran.details["steps"]
    kept, few, use = ran.document["messages"]
    assert kept.startswith("best.safetensors: step ")
    assert kept == ran.details["kept"]
    assert ", chosen by iou of " in kept
    assert (
        " people held out of synthetic/train (synthetic, digest " in kept
    )  # `hpc evaluate` takes synthetic/validation
    assert [few] == ran.details["cautions"]
    assert few.endswith(" people: these figures mean little")
    assert use == f"to use these weights: hpc evaluate segmenter --data {cache} --weights {out}"
    other = hpc("train", "segmenter", "--data", cache, "--out", str(out), *TINY, "--epochs", "2")
    assert other.code == 3
    assert "another epochs" in other.err


def test_the_curves_of_runs_are_compared(hpc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in (("a", 0.25), ("b", 0.5)):
        Path(name).mkdir()
        TrainingHistory(Path(name) / "metrics.jsonl").add("validation", 7, 0, {"iou": value})
    ran = hpc("train", "compare", "a", "b", "--json")
    assert ran.code == 0, ran.err
    rows = [{"run": "a", "steps": "7", "iou": "0.25"}, {"run": "b", "steps": "7", "iou": "0.5"}]
    assert (ran.document["runs"], ran.document["outputs"]) == (rows, ["runs/compare/curves.png"])
    assert Path("runs/compare/curves.png").stat().st_size > 1000
    assert "a\t7\t0.25\n" in hpc("train", "compare", "a", "--out", "other").out
    for line, code, message in [
        (("compare",), 2, "RUN: is missing"),
        (("compare", "c"), 3, "c: has no curves"),
        (("compare", "a", "--epochs", "2"), 2, "--epochs: has no effect on compare"),
        (("compare", "a", "--set", "decay=0"), 2, "setting decay: has no effect on compare"),
        (("nbf", "a"), 2, "RUN: is for hpc train compare"),
    ]:
        ran = hpc("train", *line)
        assert (ran.code, message in ran.err) == (code, True), ran.err


@pytest.mark.extensive
def test_the_command_for_weights_of_few_steps_is_one_that_works(hpc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_cache(PosedPeople(), tmp_path / "pairs")
    options = Warp3dTraining(MINI, perceptual="pixels", adversarial_weight=0.0)
    monkeypatch.setitem(WARP3D_PRESETS, "mini", (options, TrainOptions(steps=1, batch_size=2, workers=0)))
    ran = hpc("train", "warp3d", "--data", "pairs", "--out", "run", "--preset", "mini", "--json")
    assert ran.code == 0, ran.err
    message, command = ran.document["messages"][-1].split(": hpc ")
    assert message == "to use these weights"
    assert command == "repose photo.jpg pose.npy --method warp3d --weights run --set force=true"
    write_image(tmp_path / "photo.jpg", np.zeros((64, 64, 3), np.uint8))
    np.save("pose.npy", default_body().pose(torch.eye(3).repeat(1, 24, 1, 1), torch.zeros(1, 10)).joints[0].numpy())
    used = hpc(*command.split())
    assert used.code == 3
    assert "photo.jpg: no person was found" in used.err
    refused = hpc(*command.removesuffix(" --set force=true").split())
    assert (refused.code, "has hardly been trained" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("keep", "earlier", "force"),
    [
        ("best", (), " --set force=true"),
        ("last", (), ""),
        ("best", (400, 599), " --set force=true"),
        ("best", (400, 600), ""),
    ],
)
def test_earlier_trainings_count_and_the_step_that_is_kept(keep, earlier, force):
    recipe = SimpleNamespace(describe=lambda: {"began_with": [{"steps": steps} for steps in earlier]})
    result = SimpleNamespace(best_step=0, step=1000)
    assert _force(MODELS["warp3d"], recipe, TrainOptions(keep=keep), result) == force
    assert _force(MODELS["nbf"], recipe, TrainOptions(keep=keep), result) == ""


def test_the_lifter_needs_no_data(hpc, tmp_path):
    few = [text for pair in ("poses=128", "held_out=64", "network.blocks=1") for text in ("--set", pair)]
    ran = hpc("train", "lifter", "--out", str(tmp_path), "--set", "steps=1", "--batch-size", "32", *few, "--json")
    assert ran.code == 0, ran.err
    assert ran.details["criterion"] == "pa_mpjpe_mm"
    assert read_header(tmp_path / "best.safetensors").config["blocks"] == 1


@pytest.mark.extensive
def test_a_dry_run_reports_what_would_be_trained(hpc, cache, tmp_path):
    out = tmp_path / "run"
    command = ["train", "segmenter", "--data", cache, "--out", str(out), *TINY, "--epochs", "2", "--device", "cpu"]
    planned = hpc(*command, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert planned.details["status"] == "planned"
    assert not out.exists()
    plan = planned.details["plan"]
    assert f"data\t{cache}: 32 images, " in hpc(*command, "--dry-run").out
    assert (plan["preset"], plan["device"], plan["done"]) == ("ablation", "cpu", 0)
    assert (plan["steps"], plan["batch_size"]) == (planned.details["steps"], 4)
    begun = hpc(*command, "--minutes", "0.0001", "--json")
    assert (begun.code, begun.document["status"], begun.details["status"]) == (0, "interrupted", "interrupted")
    assert begun.details["steps_in_all"] == planned.details["steps"] == 2 * plan["per_epoch"]
    assert plan["per_epoch"] == plan["examples"] // 4
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = hpc(*command, "--dry-run")
    assert f"begins at\t1 of {planned.details['steps']} steps: a checkpoint is there" in again.out
    assert "dry run: nothing was written" in again.err
    assert "; iou chooses the best weights" in again.out
    assert "; the last weights are kept" in hpc(*command, "--set", "keep=last", "--no-resume", "--dry-run").out
    refused = hpc(*command, "--batch-size", "5", "--dry-run")
    assert (refused.code, "another batch_size" in refused.err) == (3, True)
    large = hpc(*command, "--batch-size", "50", "--no-resume", "--dry-run")
    assert (large.code, "too few people" in large.err) == (3, True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


def test_several_caches_are_named_by_a_dry_run_and_refused_by_models_of_one(hpc, cache, tmp_path):
    maps = ("persons", "parts", "correspondence")
    dense = str(painted_cache(tmp_path / "dense", count=10, maps=maps))
    both = ["--data", dense, "--data", cache, "--out", str(tmp_path / "run")]
    planned = hpc("train", "deform-and-learn", *both, "--set", "visible=0", "--dry-run")
    assert planned.code == 3
    assert f"{cache}/index.h5: lacks detections" in planned.err
    of_images = ("--set", "network.inputs=image", "--set", "visible=0", "--batch-size", "4")
    planned = hpc("train", "deform-and-learn", *both, *of_images, "--dry-run")
    assert planned.code == 0, planned.err
    assert [line for line in planned.out.splitlines() if f"data\t{dense}: 10 images" in line]
    assert [line for line in planned.out.splitlines() if f"data\t{cache}: 32 images" in line]
    refused = hpc("train", "segmenter", *both)
    assert (refused.code, "--data: takes one cache for segmenter, found 2" in refused.err) == (2, True)


def test_a_plan_needs_no_weights_of_other_owners(hpc, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path))
    ran = hpc("train", "segmenter", "--data", cache, "--preset", "paper", "--out", str(tmp_path / "run"), "--dry-run")
    assert ran.code == 0, ran.err
    assert "imagenet-resnet101: is not here; hpc weights fetch imagenet-resnet101" in ran.out
    refused = hpc("train", "segmenter", "--data", cache, "--preset", "paper", "--out", str(tmp_path / "run"))
    assert "imagenet-resnet101: is not here" in refused.err


def test_the_weights_of_a_network_are_shown_by_its_method():
    assert MODELS["nbf"].use == "hpc fit photo.jpg --method nbf --weights {run}"
    for entry in MODELS.values():
        values = {"run": "RUN", "data": "CACHE"}
        arguments = entry.use.format(**values).split()[1:]
        assert not arguments or not [
            word for word in arguments if word.startswith("--") and word not in _flags(arguments)
        ]


def _flags(arguments):
    name = " ".join(arguments[:2]) if arguments[0] == "evaluate" else arguments[0]
    return {f"--{flag.lstrip('-')}" for flag in flags_of(name).values()}


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("segmentor", "--data", "nowhere"), 2, "did you mean segmenter?"),
        (("segmenter",), 2, "--data"),
        (("segmenter", "--data", "nowhere"), 3, "nowhere"),
        (("segmenter", "--data", "CACHE", "--preset", "huge"), 2, "--preset"),
        (("segmenter", "--data", "CACHE", "--set", "learnin_rate=1"), 2, "learning_rate"),
        (("segmenter", "--data", "CACHE", "--set", "precision=double"), 2, "precision"),
        (("segmenter", "--data", "CACHE", "--set", "learning_rate=-1"), 2, "learning_rate: is out of range"),
        (("segmenter", "--data", "CACHE", "--minutes", "-1"), 2, "--minutes: is out of range"),
        (("segmenter", "--data", "CACHE", "--minutes", "0"), 2, "--minutes: is out of range"),
        (("nbf", "--data", "CACHE", "--preset", "small-proxy"), 3, "--detections"),
        (("lifter", "--data", "CACHE"), 3, "is a folder"),
    ],
)
def test_wrong_options_are_refused(hpc, cache, tmp_path, arguments, code, message, dry):
    values = [cache if text == "CACHE" else text for text in arguments]
    ran = hpc("train", *values, "--out", str(tmp_path / "run"), *dry)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch-size", "16"), "has no person with all keypoints"),  # joints of smpl24 that COCO has not
        (("--set", "skeleton=coco17", "--batch-size", "50"), "too few people"),
        (
            ("--set", "skeleton=coco17", "--batch-size", "16", "--set", "start=nothing"),
            "is not a run of deform-and-learn",
        ),
    ],
)
def test_deform_and_learn_refuses_before_it_begins(hpc, tmp_path, arguments, message, dry):
    folder = tmp_path / "coco"
    assert not build_cache(CompleteCocoPeople(count=30), folder, workers=1).failures
    settings = ("--set", "correspondence=none", "--set", "visible=0", *arguments)
    ran = hpc("train", "deform-and-learn", "--data", str(folder), "--out", str(tmp_path / "run"), *settings, *dry)
    assert (ran.code, message in ran.err) == (3, True), ran.err
    assert not (tmp_path / "run").exists()


class CompleteCocoPeople(CocoPeople):
    """With all of COCO's keypoints."""

    def sample(self, group, frame):
        sample = super().sample(group, frame)
        points = sample.people[0].keypoints["coco17"]
        points[points[:, 2] == 0] = (30, 10, 1)
        return sample


def begun(cache, out, *more):
    """A training that has made some steps, in a process group of its own, with its command line."""
    command = ["train", "segmenter", "--data", cache, "--out", str(out), *SMALL, "--epochs", "400"]
    command += ["--set", "log_every=1", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "humanpose_cli.cli.main", *command],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    history = out / "metrics.jsonl"
    wait_until(lambda: process.poll() is not None or (history.exists() and history.read_text().count("\n") > 3))
    return process, command


@pytest.mark.posix("counts processes of a group")
def test_a_training_with_workers_ends_and_leaves_none(cache, tmp_path):
    process, _ = begun(cache, tmp_path / "run", "--epochs", "1")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert not lives(process.pid)


@pytest.mark.extensive
@pytest.mark.posix("sends POSIX signals")
@pytest.mark.parametrize(("workers", "number"), [("0", signal.SIGTERM), ("2", signal.SIGTERM), ("2", signal.SIGINT)])
def test_a_signal_saves_and_the_run_goes_on(hpc, cache, tmp_path, workers, number):
    """A signal to all processes reaches the workers, too, which must not end before the training has saved."""
    out = tmp_path / "run"
    process, command = begun(cache, out, "--workers", workers)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, said
    assert not lives(process.pid)
    assert b"the same command continues" in said
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    done = hpc(*command, "--workers", "0", "--minutes", "0.0001", "--json")
    assert done.code == 0, done.err
    assert done.details["steps"] == lines[-1]["step"] + 1


@pytest.mark.extensive
@pytest.mark.posix("sends POSIX signals")
def test_a_folder_is_one_trainings_until_it_is_killed(hpc, cache, tmp_path):
    """Its workers, which end some seconds after it, do not keep the folder."""
    process, command = begun(cache, tmp_path / "run", "--workers", "2")
    second = hpc(*command)
    assert second.code == 2
    assert f"{tmp_path / 'run'}: another process is running a training here" in second.err
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(workers) >= 2
    process.kill()
    process.wait()
    again = hpc(*command, "--minutes", "0.0001")
    assert again.code == 0, again.err
    wait_until(lambda: not any(map(runs, workers)))
    process.communicate()


def lives(group):
    """Whether a group of processes has any."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def runs(pid):
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
