"""`hpc preprocess NAME --check ROOT` from the command line: tables, the report, exit codes, flags that do not fit."""

from __future__ import annotations

import json

import pytest
from helpers.paper_datasets import deepfashion_tree, iper_tree

from humanpose_cli.lab.datasets import deepfashion


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Seven images of DeepFashion, in whose release there are seven."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deepfashion, "OFFICIAL_IMAGES", 7)
    monkeypatch.setattr(deepfashion, "OFFICIAL_PAIRS", {})
    return deepfashion_tree(tmp_path / "data/DeepFashion")


def test_a_folder_that_agrees(hpc, root, tmp_path):
    ran = hpc("preprocess", "deepfashion", "--check", str(root))
    assert ran.code == 0, ran.err
    report = tmp_path / "hpc-out/preprocess/deepfashion-check.json"
    document = json.loads(report.read_text())
    assert (document["agrees"], document["counts"]["images"]) == (True, 7)
    assert document["digest"]["value"] in ran.out
    assert {path.name for path in report.parent.iterdir()} == {report.name, ".hpc.written"}  # no cache
    again = hpc("preprocess", "deepfashion", "--check", str(root), "--out", "sent/df.json", "--json")
    assert again.code == 0
    assert again.details["outputs"] == ["sent/df.json"]
    assert again.document["check"] == document
    assert (tmp_path / "sent/df.json").read_bytes() == report.read_bytes()


def test_a_folder_that_lacks_a_file_is_bad_input_and_has_a_report(hpc, root, tmp_path):
    next((root / "Img/img/WOMEN").rglob("*.jpg")).unlink()
    missing = hpc("preprocess", "deepfashion", "--check", str(root))
    assert missing.code == 3
    assert "1 missing or damaged" in missing.err + missing.out
    assert "ROOT/Eval/list_eval_partition.txt: names 1 images that are not there" in missing.err
    assert str(tmp_path) not in missing.out + missing.err
    assert json.loads((tmp_path / "hpc-out/preprocess/deepfashion-check.json").read_text())["agrees"] is False
    other = hpc("preprocess", "deepfashion", "--check", str(tmp_path / "nowhere"))
    assert other.code == 3
    assert "nowhere" in other.err


def test_options_of_the_source_work_as_for_building(hpc, tmp_path):
    root = iper_tree(tmp_path / "iper")
    options = ["--set", "every=4", "--split", "test", "--json"]
    ran = hpc("preprocess", "iper", "--check", str(root), *options, "--out", str(tmp_path))
    document = ran.document["check"]
    assert document["options"]["every"] == 4
    assert document["splits"] == {"iper/test": {**document["splits"]["iper/test"], "images": 4}}
