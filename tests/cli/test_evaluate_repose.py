"""`hpc evaluate repose` and `hpc train warp3d` from the command line, on rendered pairs and a network of minutes."""

from __future__ import annotations

import pytest

from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.evaluate.protocols import PROTOCOLS, Evaluator, ImageProtocol
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions

pytestmark = pytest.mark.slow

SHAPES = {
    "size": 32, "depth": 8, "channels": 8, "pose_channels": 4, "stem": 8, "encoder_widths": "8,16",
    "decoder_widths": "16,16", "background_widths": "8,8",
}  # fmt: skip
TINY = [text for name, value in SHAPES.items() for text in ("--set", f"generator.{name}={value}")]
NO_POSE = ("--set", "pose=false")
LOOP = ("--epochs", "1", "--batch-size", "4", "--workers", "0", "--threads", "1")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Eighteen pairs, some of them to judge by."""
    path = tmp_path_factory.mktemp("pairs") / "cache"
    build_cache(SyntheticSource(SyntheticOptions(36, 96, "pairs", validation=0.2, test=0.2, texture_size=64)), path)
    return str(path)


@pytest.fixture
def run(hpc, pairs, tmp_path):
    out = str(tmp_path / "run")
    line = ("train", "warp3d", "--preset", "tiny", "--data", pairs, "--out", out, "--set", "perceptual=segmenter")
    ran = hpc(*line, *TINY, *LOOP)
    assert ran.code == 0, ran.err
    return out


@pytest.mark.extensive
def test_a_network_the_mesh_and_a_copy(hpc, pairs, run, tmp_path):
    out = tmp_path / "report"
    line = ("evaluate", "repose", "--data", pairs, "--weights", run, "--threads", "1", "--out", str(out))
    ran = hpc(*line, "--limit", "2", "--size", "64", "--json")
    assert ran.code == 0, ran.err
    assert set(ran.document["metrics"]) == {
        *("ssim", "ssim_fg", "ssim_uniform", "ssim_fg_uniform", "ssim_fg_capsules"),
        *("l1_fg", "mask_iou", "perceptual", "pose_auc"),
    }
    assert ran.document["metrics"]["ssim"]["n"] == 2
    methods, differences, figures = ran.document["tables"]
    networks = ["warp3d, pasted", "warp3d"]
    assert [row[0] for row in methods["rows"]] == ["copy", "mesh", *networks]
    assert methods["rows"][2][1:] != methods["rows"][3][1:]
    compared = {f"{a} − {b}" for a in networks for b in ("copy", "mesh")}
    assert {row[0] for row in differences["rows"]} == compared
    assert {row[-1] for row in figures["rows"]} == {2}
    assert ran.details["facts"]["pixels"] == 64
    assert ran.details["facts"]["perceptual"] == "backbone segmenter.safetensors.planes.gz"
    assert (out / "pairs.jpg").is_file()
    result = hpc(*line, "--limit", "1", *NO_POSE, "--set", "perceptual=pixels", "--json")
    assert result.details["facts"]["pixels"] == 32
    assert "pose_auc" not in result.document["metrics"]


@pytest.mark.extensive
def test_a_protocol_decides_size_and_measures(hpc, pairs, run, tmp_path, monkeypatch):
    protocol = ImageProtocol(
        "pairs-at-32", "synthetic", "synthetic/test", Evaluator("a/b", 40 * "0"), 32, metrics=("ssim_signed",)
    )
    monkeypatch.setitem(PROTOCOLS, protocol.name, protocol)
    line = ("evaluate", "repose", "--data", pairs, "--weights", run, "--out", str(tmp_path / "report"), *NO_POSE)
    line = (*line, "--protocol", protocol.name, "--limit", "1", "--set", "perceptual=pixels")
    ran = hpc(*line, "--json")
    assert ran.code == 0, ran.err
    facts = ran.details["facts"]
    assert (facts["pixels"], facts["shown"], facts["split"]) == (32, "whole images", "synthetic/test")
    assert facts["protocol"] == "pairs-at-32, version 1, after a/b@00000000"
    published = ran.document["tables"][1]
    assert (published["name"], published["columns"]) == ("published", ["method", "ssim_signed"])
    assert published["rows"][-1] == ["warp3d", ran.document["metrics"]["ssim_signed"]["value"]]
    assert hpc(*line, "--size", "64").code != 0


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--weights", "segmenter"), 3, "holds another model"),
        (("--set", "perceptual=nothing"), 3, "nothing: does not exist"),
        (("--split", "exam"), 3, "exam"),
        (("--ablation", "inputs"), 2, "warping"),
        (("--ablation", "warping", "--size", "64"), 2, "--size"),
        (("--set", "lpips=true"), 5, "hpc weights fetch"),
        (("--protocol", "iper-owners", "--size", "64"), 2, "size: is "),
        (
            ("--protocol", "iper-random-pairs"),
            2,
            "size of the network's images: is 256 in that protocol, found 128 and iper-random",
        ),
    ],
)
def test_wrong_options_are_refused(hpc, pairs, tmp_path, monkeypatch, arguments, code, message, dry):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "none"))
    line = (*NO_POSE, "--limit", "1", *arguments, "--out", str(tmp_path / "report"), *dry)
    ran = hpc("evaluate", "repose", "--data", pairs, *line)
    assert ran.code == code, ran.err
    assert message in ran.err
