"""`hpc preprocess` from the command line: synthetic people, one's own images, wrong wishes, interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import skimage.data
from helpers.patience import PATIENCE, wait_until

from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.cache import open_cache

SMALL = ("--size", "48", "--set", "texture_size=64", "--workers", "1")


@pytest.mark.slow
def test_synthetic_people_become_a_cache_and_a_rerun_keeps_it(hpc, tmp_path):
    out = tmp_path / "people"
    ran = hpc("preprocess", "synthetic", "--count", "6", *SMALL, "--shard-size", "4", "--out", str(out), "--json")
    assert ran.code == 0, ran.err
    assert ran.details["pictures"] == 6
    assert ran.details["files"] == 2
    assert ran.details["outputs"] == [str(out / "index.h5")]
    cache = open_cache(out)
    assert len(cache) == 6
    assert cache.sample(5).size == (48, 48)
    before = {path.name: path.read_bytes() for path in out.glob("*.h5")}
    (out / "shard-00001.h5").unlink()
    again = hpc("preprocess", "synthetic", "--count", "6", *SMALL, "--shard-size", "4", "--out", str(out), "--json")
    assert again.details["kept"] == 1
    assert {path.name: path.read_bytes() for path in out.glob("*.h5")} == before


@pytest.mark.extensive
def test_parts_of_a_cache_are_its_shards(hpc, tmp_path):
    for part in ("0/2", "1/2"):
        ran = hpc(
            *("preprocess", "synthetic", "--count", "8", *SMALL, "--pairs", "--shard-size", "4"),
            *("--shard", part, "--out", str(tmp_path), "--json"),
        )
        assert ran.code == 0, ran.err
        assert ran.details["pictures"] == 4
    assert len(open_cache(tmp_path)) == 8


@pytest.mark.extensive
def test_images_of_the_user_are_fitted(hpc, tmp_path):
    photos = tmp_path / "photos"
    write_image(photos / "astronaut.png", skimage.data.astronaut()[::2, ::2])
    ran = hpc("preprocess", "images", str(photos), "--workers", "1", "--out", str(tmp_path / "cache"), "--json")
    assert ran.code == 0, ran.err
    cache = open_cache(tmp_path / "cache")
    made_by = cache.header.options_values["poses_by"]
    assert (made_by["name"], made_by["method"], made_by["body"]) == ("hpc fit", "auto", "default")
    sample = cache.sample(0)
    assert sample.people[0].poses.shape == (72,)
    assert {"parts", "persons"} <= sample.maps.keys()
    bare = hpc("preprocess", "images", str(photos), "--no-fit", "--out", str(tmp_path / "bare"), "--json")
    assert bare.code == 0, bare.err
    assert not open_cache(tmp_path / "bare").sample(0).people


def test_a_folder_may_be_named_from_where_one_is_and_failures_are_reported(hpc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "photos/a.png", skimage.data.astronaut()[::8, ::8])
    ran = hpc("preprocess", "images", "photos", "--no-fit", "--workers", "1", "--out", "cache")
    assert ran.code == 0, ran.err
    assert open_cache(tmp_path / "cache").sample(0).name == "a.png"
    (tmp_path / "photos/a.png").write_bytes(b"no image")
    failed = hpc("preprocess", "images", "photos", "--no-fit", "--workers", "1", "--out", "other")
    assert failed.code == 3
    assert "a.png: is not an image" in failed.err


@pytest.mark.slow
def test_chosen_images_a_dry_run_and_changed_images(hpc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "sub/c.png", "sub/d.png"):
        write_image(tmp_path / "photos" / name, np.zeros((24, 32, 3), np.uint8))
    (tmp_path / "list").write_bytes(b"photos/a.png\0sub\0")  # a path, and a name below the folder
    line = ("preprocess", "images", "photos", "--no-fit", "--workers", "1", "--shard-size", "1")
    line += ("--set", "sequence=false", "--items", "list")
    dry = hpc(*line, "--out", "cache", "--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert [item["groups"] for item in dry.document["items"]] == [["a.png"], ["sub/c.png"], ["sub/d.png"]]
    assert {item["status"] for item in dry.document["items"]} == {"planned"}
    assert not (tmp_path / "cache").exists()
    assert "with 3 images" in dry.document["messages"][0]
    assert hpc(*line, "--out", "cache", "--cluster", "slurm", "--dry-run").code == 0  # looks, and submits nothing
    assert hpc(*line, "--out", "cache", "--json").details["pictures"] == 3
    assert [item["status"] for item in hpc(*line, "--out", "cache", "--dry-run", "--json").document["items"]] == [
        "skipped"
    ] * 3
    later = time.time() + 5
    os.utime(tmp_path / "photos/sub/c.png", (later, later))
    assert "1 of 3 files to write" in hpc(*line, "--out", "cache", "--dry-run").err
    assert hpc(*line, "--out", "cache", "--json").details["kept"] == 2
    (tmp_path / "list").write_text("photos/a.png\nphotos/x.png\n")
    unknown = hpc(*line, "--out", "other")
    assert unknown.code == 2
    assert "--items: 1 of 2 are not among" in unknown.err
    assert "photos/x.png" in unknown.err


@pytest.mark.extensive
def test_a_cache_of_other_options_is_replaced_unless_it_was_changed(hpc, tmp_path):
    common = ("preprocess", "synthetic", *SMALL, "--out", str(tmp_path))
    assert hpc(*common, "--count", "2").code == 0
    replaced = hpc(*common, "--count", "3")
    assert (replaced.code, "made again, because it holds a cache made with another count" in replaced.err) == (0, True)
    assert len(open_cache(tmp_path)) == 3
    with h5py.File(next(tmp_path.glob("shard-*.h5")), "r+") as shard:
        shard["people/box"][:] = 0
    refused = hpc(*common, "--count", "2")
    assert (refused.code, "another count" in refused.err) == (2, True)
    assert hpc(*common, "--count", "2", "--overwrite").code == 0


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.extensive
def test_an_interrupted_run_leaves_complete_files(tmp_path):
    command = [sys.executable, "-m", "humanpose_cli.cli.main", "preprocess", "synthetic", *SMALL, "--count", "200"]
    command += ["--shard-size", "4", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
    wait_until(lambda: list(tmp_path.glob("shard-*.h5")))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, said
    assert b"what is finished is kept" in said
    shards = sorted(tmp_path.glob("shard-*.h5"))
    assert 0 < len(shards) < 50
    for path in shards:
        assert len(open_cache(path)) == 4
    assert not list(tmp_path.glob(".*partial*"))
