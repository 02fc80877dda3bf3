"""`hpc evaluate` and `hpc weights` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.painted_people import painted_cache

from humanpose_cli.cli.main import main
from humanpose_cli.cli.table import SUBCOMMANDS
from humanpose_cli.lab.evaluate import deform_and_learn_ablations, registry
from humanpose_cli.lab.evaluate.report import Report, Table
from humanpose_cli.outputs.output_names import FIT_SUFFIX

pytestmark = pytest.mark.slow

TINY_PARTS = (
    *("--preset", "ablation", "--set", "inputs.parts=3", "--set", "inputs.size=32", "--set", "crop=32"),
    *("--set", "regressor.width=4", "--set", "segmenter.parts=3", "--set", "segmenter.crop=32"),
)
LOOP = ("--epochs", "1", "--batch-size", "8", "--workers", "0", "--threads", "1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(painted_cache(tmp_path_factory.mktemp("people") / "cache"))


@pytest.fixture(scope="module")
def segmenter(cache, tmp_path_factory):
    """A run of a segmenter."""
    out = str(tmp_path_factory.mktemp("runs") / "segmenter")
    of_segmenter = [x for x in zip(TINY_PARTS[::2], TINY_PARTS[1::2], strict=True) if "s.size" not in x[1]]
    kept = [text for pair in of_segmenter if pair[1].split(".")[0] in ("segmenter", "ablation") for text in pair]
    assert main(["train", "segmenter", "--data", cache, "--out", out, *kept, *LOOP]) == 0
    return out


@pytest.fixture(scope="module")
def network(cache, tmp_path_factory):
    """A run of a body network on parts."""
    out = str(tmp_path_factory.mktemp("runs") / "network")
    kept = [t for p in zip(TINY_PARTS[::2], TINY_PARTS[1::2], strict=True) if "segmenter" not in p[1] for t in p]
    assert main(["train", "nbf", "--data", cache, "--out", out, *kept, *LOOP]) == 0
    return out


def test_segmenters_and_networks_are_evaluated(hpc, cache, segmenter, network, tmp_path):
    out = tmp_path / "report"
    ran = hpc("evaluate", "segmenter", "--data", cache, "--weights", segmenter, "--out", str(out), "--json")
    assert ran.code == 0, ran.err
    assert ran.document["command"] == "evaluate"
    assert ran.document["metrics"]["iou"]["n"] == 4
    assert str(out / "report.md") in ran.details["outputs"]
    checkpoint, few = ran.document["messages"]
    assert checkpoint.startswith("checkpoint: step ")
    assert " on 1 person held out of painted/train (painted, digest " in checkpoint
    assert few == "4 different people: these figures mean little"
    assert json.loads((out / "report.json").read_text())["metrics"] == ran.document["metrics"]
    common = ("evaluate", "fit", "--data", cache, "--weights", network, "--out", str(tmp_path / "crops"))
    labels = hpc(*common, "--crops", "labels", "--json")
    assert set(labels.document["metrics"]) == {
        *("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "pa_pve_mm", "pckh", "mpjae_deg", "pa_mpjae_deg"),
        *("err_quat_rad", "err_quat_absolute_rad"),
    }
    assert labels.document["metrics"]["mpjpe_mm"]["ci95"] == [None, None]  # four people are too few
    result = hpc(*common, "--crops", "segmenter", "--set", f"segmenter={segmenter}")
    assert result.code == 0, result.err
    assert "joints after Procrustes" in result.out
    assert "Quartiles" in result.out


@pytest.mark.extensive
def test_fits_to_images_and_fit_files_are_evaluated(hpc, cache, tmp_path):
    out = tmp_path / "report"
    now = hpc("evaluate", "fit", "--data", cache, "--method", "keypoints", "--out", str(out), "--json")
    assert now.code == 0, now.err
    assert now.document["metrics"]["pa_mpjpe_mm"]["value"] < 60  # landmarks are true there
    assert {path.name for path in out.iterdir()} == {
        *("report.md", "report.json", "run.json", "ledger.0-of-1.jsonl", "quartiles.jpg"),
        *("worst-mpjpe.jpg", "worst-pckh.jpg", "worst-rotation.jpg"),
    }
    fits = tmp_path / "fits"
    fits.mkdir()
    empty = hpc("evaluate", "fit", "--data", cache, "--predictions", str(fits))
    assert empty.code == 3
    assert FIT_SUFFIX in empty.err


@pytest.mark.extensive
@pytest.mark.posix("makes symbolic links")
def test_caches_of_a_list_are_a_batch(hpc, cache, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for link in ("a/people", "b"):
        (tmp_path / link).symlink_to(cache)
    (tmp_path / "list").write_text("a/people\nb\nnowhere\n")
    line = ("evaluate", "fit", "--items", "list", "--weights", network, "--crops", "labels", "--out", "reports")
    dry = hpc(*line, "--dry-run", "--json")
    assert [item["status"] for item in dry.document["items"]] == ["planned", "planned", "error"]
    assert dry.code == 4
    assert not (tmp_path / "reports").exists()
    ran = hpc(*line, "--json")
    assert ran.code == 4
    assert [item["status"] for item in ran.document["items"]] == ["success", "success", "error"]
    assert ran.document["summary"]["done"] == 2
    assert "nowhere" in ran.document["items"][2]["error"]
    figures = [item["metrics"]["mpjpe_mm"]["value"] for item in ran.document["items"][:2]]
    assert figures[0] == figures[1] > 0
    assert (tmp_path / "reports/a/people/report.md").is_file()
    again = hpc(*line, "--json")
    assert [item["status"] for item in again.document["items"]] == ["skipped", "skipped", "error"]
    assert again.document["items"][0]["metrics"]["mpjpe_mm"]["value"] == figures[0]
    (tmp_path / "list").write_text("b\n")
    other = hpc(*line, "--set", "visible=0.5")
    assert other.code == 2
    assert "with other options" in other.err
    shown = hpc("ledger", "reports", "--json")
    assert {item["input"] for item in shown.document["items"]} >= {"nowhere"}


OF_FITS, TRAINED = ("fit", "--data", "CACHE"), ("fit", "--data", "CACHE", "--ablation")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fit",), 2, "--data"),
        (("fits", "--data", "x"), 2, "fits"),
        (("fit", "--data", "nowhere"), 3, "nowhere"),
        ((*OF_FITS, "--joints", "coco17"), 2, "'mocap17'"),
        ((*OF_FITS, "--set", "loop.steps=3"), 2, "setting loop.steps"),
        ((*OF_FITS, "--split", "exam"), 3, "exam"),
        ((*OF_FITS, "--crops", "labels", "--ablation", "inputs"), 2, "--crops"),
        ((*OF_FITS, "--crops", "labels", "--method", "nbf"), 2, "--method"),
        ((*OF_FITS, "--crops", "labels", "--joint-regressor", "x"), 2, "--joint-regressor"),
        ((*OF_FITS, "--crops", "labels", "--set", "root=hips"), 2, "setting root"),
        ((*OF_FITS, "--crops", "labels", "--weights", "segmenter"), 3, "holds another model"),
        ((*OF_FITS, "--set", "match=tracks"), 2, "setting match"),
        ((*OF_FITS, "--seeds", "2"), 2, "--seeds"),
        ((*OF_FITS, "--predictions", "none"), 3, "none: holds no fits"),
        ((*TRAINED, "losses", "--set", "loop.step=3"), 2, "loop.steps"),
        ((*TRAINED, "colours"), 2, "'deform-correspondence'"),
        ((*TRAINED, "losses", "--preset", "big"), 2, "expected ablation, paper"),
        ((*TRAINED, "losses", "--preset", "paper"), 5, "hpc weights fetch imagenet-resnet"),
        ((*TRAINED, "losses", "--set", "loop.batch_size=90"), 3, "too few people"),
        ((*TRAINED, "deform-rounds", "--weights", "x"), 2, "--weights"),
        ((*TRAINED, "deform-rounds", "--limit", "3"), 2, "network.held_out"),
        ((*TRAINED, "deform-rounds", "--preset", "big"), 2, "paper, small"),
        ((*TRAINED, "deform-losses"), 3, "lacks dense correspondences"),
        (("refine", "--data", "CACHE", "--set", "rounds=3"), 2, "setting rounds"),
        (("refine", "--data", "CACHE", "--prior", "gmm"), 2, "--prior"),
        (("refine", "--data", "CACHE", "--prior", "gmm:gmm_08.pkl"), 5, "gmm_08.pkl"),
        (("refine", "--data", "CACHE", "--charts", "x.mat"), 2, "--charts"),
        (("refine", "--data", "CACHE", "--predictions", "x", "--set", "base=noise"), 2, "base"),
        (("refine", "--data", "CACHE", "--seeds", "2", "--ablation", "robustness"), 2, "--seeds"),
        (("refine", "--data", "CACHE", "--ablation", "inputs", "--body", "smpl:none.pkl"), 5, "none.pkl: no SMPL"),
        (("segmenter", "--data", "CACHE", "--crops", "labels"), 2, "it is an option of hpc evaluate fit:"),
        (("segmenter", "--data", "CACHE", "--weights", "nothing"), 3, "nothing"),
        (("segmenter", "--data", "CACHE", "--weights", "lifter"), 3, "holds another model"),
    ],
)
def test_wrong_options_are_refused(hpc, cache, tmp_path, monkeypatch, arguments, code, message, dry):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y", "x.mat"):  # whether files exist is asked first
        Path(name).write_bytes(b"PK\3\4")
    Path("none").mkdir()
    values = [cache if text == "CACHE" else text for text in arguments]
    ran = hpc("evaluate", *values, "--out", str(tmp_path / "report"), *dry)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert not any((tmp_path / "report").rglob("*/checkpoint.pt"))
    assert not (dry and (tmp_path / "report").exists())


def test_ablations_of_deform_and_learn_get_their_options(hpc, cache, tmp_path, monkeypatch):
    ran_with = {}

    def evaluate(name, run, preset, seeds, tune, runs):
        assert name == "fit deform-losses"
        shared = tune(deform_and_learn_ablations.PRESETS[preset])
        ran_with.update(selection=run.selection, seeds=seeds, runs=runs, shared=shared)
        return Report("an ablation", {}, {}, [Table("losses", "Losses", ("variant",), [["all"]])])

    monkeypatch.setattr(registry, "evaluate_study", evaluate)
    line = ("--ablation", "deform-losses", "--preset", "small", "--seeds", "3", "--protocol", "painted")
    settings = ("--set", "network.rounds=2", "--set", "loop.epochs=5", "--set", "network.registration.steps=9")
    out, runs = str(tmp_path / "report"), tmp_path / "runs"  # made by the trainings
    settings += ("--runs", str(runs))
    ran = hpc("evaluate", "fit", "--data", cache, *line, *settings, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert (ran_with["seeds"], ran_with["runs"], ran_with["selection"].protocol) == (3, runs, "painted")
    network, loop = ran_with["shared"].network, ran_with["shared"].loop
    assert (network.rounds, network.registration.steps, loop.epochs, loop.batch_size) == (2, 9, 5, 64)
    assert ran.document["tables"][0]["rows"] == [["all"]]
    wrong = hpc("evaluate", "fit", "--data", cache, *line, "--set", "network.round=2", "--out", out)
    assert wrong.code == 2
    assert "network.rounds" in wrong.err


def test_help_lists_the_sub_commands(hpc):
    shown = hpc("evaluate", "--help")
    assert shown.code == 0
    listed = [line.split()[0] for line in shown.out.splitlines() if line.startswith("  ") and line[2:3].islower()]
    assert listed[:6] == [*SUBCOMMANDS["evaluate"]]  # then ablations


@pytest.mark.extensive
def test_labels_that_lack_are_named(hpc, tmp_path):
    for label, message in (("parts", "maps of body parts"), ("poses", "body parameters"), ("detected", "detections")):
        bare = painted_cache(tmp_path / label, count=10, lacks=(label,))
        what = "segmenter" if label == "parts" else "fit"
        more = ("--detector", "stored") if label == "detected" else ()
        ran = hpc("evaluate", what, "--data", str(bare), "--out", str(tmp_path / "report"), *more)
        if label == "parts" and "is not here" in ran.err:
            pytest.skip("no segmenter is shipped")
        assert ran.code == 3
        assert message in ran.err
    looked = hpc("evaluate", "fit", "--data", str(bare), "--limit", "1", "--out", str(tmp_path / "looked"))
    assert looked.code == 0
    assert "holds no detections: people are detected" in looked.err


def test_weights_are_listed_verified_and_those_of_the_user_described(hpc, cache, segmenter, tmp_path, monkeypatch):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "none"))
    listed = hpc("weights", "list", "--json").document
    names = {item["input"]: item for item in listed["items"]}
    assert names["lifter"]["status"] == "success"
    assert names["refiner"]["held_out"] == "endpoint_percent 3.22, sure_percent 2.26"
    assert names["nbf-parts"]["held_out"].endswith(", with true parts")
    assert names["imagenet-resnet50"]["status"] == "partial"
    assert hpc("weights", "verify").code == 0
    details = hpc("weights", "list", segmenter, "--json").details
    assert details["model"] == "segmenter"
    assert details["held_out"].startswith("iou")
    assert hpc("weights", "list", "nothing").code == 3
    assert hpc("weights", "list", "nothing", "imagenet-resnet50").code == 4
    assert hpc("weights", "list", "imagenet-resnet50").code == 0
    assert hpc("weights", "verify", segmenter).code == 0
    content = Path(segmenter, "best.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(content[: len(content) // 2])
    (tmp_path / "changed.safetensors").write_bytes(content[:-9] + bytes(255 - byte for byte in content[-9:]))
    (tmp_path / "rubbish.safetensors").write_bytes(b"rubbish" * 99)
    (tmp_path / "rubbish.pth").write_bytes(b"rubbish" * 99)
    for damaged in ("short.safetensors", "changed.safetensors", "rubbish.safetensors", "rubbish.pth"):
        assert hpc("weights", "verify", str(tmp_path / damaged)).code == 3, damaged
    missing = hpc("weights", "verify", "imagenet-resnet50")
    assert missing.code == 5
    assert "hpc weights fetch imagenet-resnet50" in missing.err
    assert hpc("weights", "fetch").code == 2
    unknown = hpc("weights", "fetch", "imagenet-resnet")
    assert unknown.code == 2
    assert "did you mean imagenet-resnet" in unknown.err
