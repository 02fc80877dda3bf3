"""`hpc doctor`: on this machine, and on machines that lack something."""

from __future__ import annotations

import pytest

from humanpose_cli.cli import doctor_checks
from humanpose_cli.cli.doctor_checks import CHECKS, Check
from humanpose_cli.errors import UnavailableError


def missing(error: Exception):
    def look() -> str:
        raise error

    return look


GOOD = Check("python", lambda: "3.11", "")


def test_here_everything_needed_is_there(hpc):
    ran = hpc("doctor", "--json")
    needed = [item for item in ran.document["items"] if item["needed"]]
    assert [item["input"] for item in needed if item["status"] != "success"] == []
    assert ran.code == 0
    assert {"torch", "mediapipe", "default body", "detector", "engine", "ffmpeg"} <= {
        item["input"] for item in ran.document["items"]
    }


def test_what_is_missing_and_needed_is_exit_code_5_with_the_line_that_mends_it(hpc, monkeypatch):
    body = Check("default body", missing(UnavailableError("body", "is damaged", got="3 bytes")), "reinstall it")
    monkeypatch.setattr(doctor_checks, "CHECKS", (GOOD, body))
    ran = hpc("doctor", "--json")
    item = ran.document["items"][1]
    assert (ran.code, ran.document["status"], item["status"]) == (5, "error", "error")
    assert (item["found"], item["remedy"]) == ("is damaged, found 3 bytes", "reinstall it")
    people = hpc("doctor")
    assert "default body  missing  is damaged, found 3 bytes" in people.out
    assert people.err.splitlines()[-1] == "default body: reinstall it"


def test_what_is_optional_does_not_fail(hpc, monkeypatch):
    gpu = Check("gpu", missing(ImportError("libcuda.so")), "install the driver", needed=False)
    monkeypatch.setattr(doctor_checks, "CHECKS", (GOOD, gpu))
    ran = hpc("doctor", "--json")
    assert (ran.code, ran.document["items"][1]["status"]) == (0, "partial")


def test_an_errors_own_remedy_wins(hpc, monkeypatch):
    error = UnavailableError("ffmpeg", "is not installed", remedy="pip install it")
    monkeypatch.setattr(doctor_checks, "CHECKS", (Check("ffmpeg", missing(error), "something else"),))
    assert hpc("doctor", "--json").details["remedy"] == "pip install it"


def test_a_driver_that_torch_cannot_use_is_found(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor_checks, "_nvidia_driver", lambda: "580.65")
    with pytest.raises(UnavailableError, match=r"driver 580\.65 is there, but torch .* cannot use it"):
        doctor_checks._gpu()


def test_a_full_disk_is_found(monkeypatch, tmp_path):
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UnavailableError, match=r"0\.0 GiB free"):
        doctor_checks._space(tmp_path)


def test_every_check_that_can_fail_has_a_remedy():
    told_by_itself = {"humanpose-cli", "processors"}
    assert [check.name for check in CHECKS if not check.remedy and check.name not in told_by_itself] == []
    assert len({check.name for check in CHECKS}) == len(CHECKS)
