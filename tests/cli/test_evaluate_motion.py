"""`hpc evaluate motion`: figures of fit files, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.fit_values import record, values

from humanpose_cli.io.fit_files import FitRecord, write_fit

pytestmark = pytest.mark.slow


@pytest.fixture
def fits(tmp_path):
    """A person who is moved by half a metre a second, with a camera that is right; and a photograph."""
    columns = values((0,) * 12, tuple(range(12)), 12)
    columns |= {name: columns[name][:1].repeat(12, 0) for name in ("poses", "betas", "trans", "joints3d")}
    columns["trans"] = columns["trans"] + np.outer(np.arange(12), [0.02, 0, 0])
    write_fit(tmp_path / "fits" / "deep" / "clip.mp4.fit.npz", FitRecord.build(**columns))
    write_fit(tmp_path / "fits" / "photo.fit.npz", record())
    return tmp_path / "fits"


def test_each_fit_has_its_figures(hpc, fits, tmp_path):
    line = ("evaluate", "motion", str(fits), "--out", str(tmp_path / "out"), "--json")
    ran = hpc(*line)
    assert (ran.code, ran.document["status"]) == (4, "partial")
    clip, photo = ran.document["items"]
    assert photo["error"].endswith("expected a fit of a video, found 2 frames")
    assert clip["foot_slide_cm_s"] == clip["tracks"][0]["foot_slide_cm_s"] == pytest.approx(50)
    assert (clip["people"], clip["flights"], clip["flight_m_s2"]) == (1, 0, None)
    path = tmp_path / "out" / "deep" / "clip.mp4.motion.json"
    assert clip["outputs"] == [str(path)]
    assert json.loads(path.read_text())["tracks"] == clip["tracks"]
    again = hpc(*line).document["items"][0]
    assert (again["status"], again["tracks"]) == ("skipped", clip["tracks"])


def test_without_fits_nothing_is_evaluated(hpc, tmp_path):
    ran = hpc("evaluate", "motion", "--out", str(tmp_path))
    assert ran.code == 2
    assert "are missing" in ran.err
