"""`hpc evaluate densepose` from the command line."""

from __future__ import annotations

import json

import pytest
from helpers.surface_people import fit_of, surface_cache, write_fits

pytestmark = pytest.mark.slow


@pytest.mark.extensive
def test_surfaces_of_fit_files_are_evaluated(hpc, tmp_path):
    cache, out = surface_cache(tmp_path / "cache"), tmp_path / "report"
    fits = write_fits(tmp_path / "fits", fit_of())
    line = ("evaluate", "densepose", "--data", str(cache), "--predictions", str(fits), "--out", str(out))
    ran = hpc(*line, "--json")
    assert ran.code == 0, ran.err
    assert ran.document["metrics"]["gps_ap"]["value"] == pytest.approx(1)
    assert ran.document["metrics"]["gps"]["n"] == 3
    report = json.loads((out / "report.json").read_text())
    assert report["metrics"] == ran.document["metrics"]
    assert report["facts"]["distances"] == "along the mesh of default, which are not DensePose's"
    shown = hpc(*line)
    assert "average precision, GPS of .50 to .95" in shown.out
    named = hpc(*line, "--protocol", "densepose-coco")
    assert (named.code, "distances: are missing" in named.err) == (2, True)
    damaged = tmp_path / "UV_Processed.mat"
    damaged.write_text("no charts")
    refused = hpc(*line, "--charts", str(damaged))
    assert (refused.code, "UV_Processed.mat: is no readable MATLAB file" in refused.err) == (3, True)
    missing = hpc(*line, "--charts", str(damaged), "--distances", str(tmp_path))
    assert missing.code == 3
