"""`hpc fit --views`: which inputs are a take, and what is refused before anything is fitted."""

import errno
from dataclasses import replace

import numpy as np
import pytest
from helpers.filmed_people import RATE, camera_at, film, landmarks_seen

import humanpose_cli.fitting.people
import humanpose_cli.fitting.result
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.io.images import write_image
from humanpose_cli.io.video import VideoWriter


def photographs(folder, count):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        write_image(folder / f"{number:03d}.png", np.zeros((40, 30, 3), np.uint8))
    return str(folder)


def plan(hpc, *arguments):
    ran = hpc("fit", *arguments, "--views", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    return {item["input"]: item["outputs"] for item in ran.document["items"]}


def test_each_folder_of_cameras_is_a_take(hpc, tmp_path):
    for take in ("first", "second"):
        for camera in ("a", "b"):
            (tmp_path / take).mkdir(exist_ok=True)
            photographs(tmp_path / take / camera, 16)
    planned = plan(hpc, str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(tmp_path / "out"))
    assert set(planned) == {"first", "second"}


def test_photographs_of_one_folder_are_views(hpc, tmp_path):
    planned = plan(hpc, photographs(tmp_path / "moment", 3), "--out", str(tmp_path / "out"))
    assert set(planned) == {"moment"}


def test_folders_of_frames_are_one_take_together(hpc, tmp_path):
    cameras = [photographs(tmp_path / name, 16) for name in ("a", "b")]
    planned = plan(hpc, *cameras, "--out", str(tmp_path / "out"))
    assert set(planned) == {"take"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--height", "1.8"), "--height: has no effect without --views"),
        (("--offsets", "0,1"), "--offsets: has no effect without --views"),
        (("--views", "--height", "9"), "--height: is out of range, expected 0.5 to 2.6 metres, found 9"),
        (("--views", "--offsets", "0,x"), "--offsets: cannot be read"),
        (("--views", "--side-view"), "--side-view: cannot be combined with --views"),
        (("--views", "--refine", "--save-displacements"), "--save-displacements: cannot be combined with --views"),
        (("--views", "--sequence"), "--sequence: cannot be combined with --views"),
        (("--views", "--independent"), "--sequence: cannot be combined with --views"),
        (("--views", "--calibration", "c.toml", "--focal", "900"), "--focal: cannot be combined with --calibration"),
    ],
)
def test_what_does_not_go_together_is_refused(hpc, tmp_path, arguments, message):
    photo = photographs(tmp_path / "photos", 2)
    ran = hpc("fit", photo, *arguments, "--out", str(tmp_path / "out"))
    assert ran.code == 2
    assert message in ran.err


def test_one_view_fails_with_what_to_do(hpc, tmp_path):
    photo = photographs(tmp_path / "photos", 1)
    ran = hpc("fit", photo, "--views", "--out", str(tmp_path / "out"), "--json")
    assert ran.code == 2
    assert "are too few, expected two cameras or more, found 1" in ran.document["items"][0]["error"]


def test_a_dry_run_finds_what_is_wrong_with_a_take(hpc, tmp_path):
    for take in ("good", "bad"):
        for camera in ("a", "b"):
            (tmp_path / take).mkdir(exist_ok=True)
            photographs(tmp_path / take / camera, 16)
    photographs(tmp_path / "bad" / "c", 2)
    ran = hpc("fit", str(tmp_path / "good"), str(tmp_path / "bad"), "--views", "--dry-run", "--json")
    assert ran.code == 4
    errors = {item["input"]: item.get("error") for item in ran.document["items"]}
    assert errors["good"] is None
    assert "is too short" in errors["bad"]


FRAMES = 18
CAMERAS = [
    replace(camera, focal=camera.focal / 4, principal_point=(160, 90), size=(320, 180))
    for camera in (camera_at(0), camera_at(70, 5.0, 900.0))
]


class FilmedDetector:
    """Stands for the detector: people whom two cameras film, known by the grey of their frames; counts its looks."""

    looks = 0
    films = film(CAMERAS, frames=FRAMES, noise=0.1)

    def __init__(self, mode, threads, device):
        pass

    def track(self, images, *, state=None, save_state=None, masks=False):
        first = state["frames"] if state else 0
        for number, pixels in enumerate(images, first):
            FilmedDetector.looks += 1
            if save_state is not None and (number + 1) % 6 == 0:
                save_state({"frames": number + 1})
            yield [self.person(int(pixels.mean() > 100), number)]

    def person(self, view, number):
        points = self.films.fits[view].keypoints2d[number].astype(np.float32)
        world = landmarks_seen(CAMERAS[view], 0, np.array([0.1 + number / RATE]))[0]
        spread = np.full(33, 1.0, np.float32), np.full(33, 0.01, np.float32)
        box = np.concatenate((points[:, :2].min(0), points[:, :2].max(0)))
        return DetectedPerson(box, points, world.astype(np.float32), *spread, None, 0.9)

    def close(self):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("refine", [(), ("--refine",)])
def test_people_found_stay_until_the_take_is_done(hpc, monkeypatch, tmp_path, refine):
    """A disk that is full while overlays are drawn does not repeat the search in all cameras."""
    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", FilmedDetector)
    videos = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path, grey in zip(videos, (60, 180), strict=True):
        with VideoWriter(path, RATE) as video:
            for _ in range(FRAMES):
                video.write(np.full((*CAMERAS[0].size[::-1], 3), grey, np.uint8))

    def run(out):
        FilmedDetector.looks = 0
        line = ("fit", *map(str, videos), "--views", "--offsets", "0,0", *refine, "--out", str(out), "--json")
        return hpc(*line), FilmedDetector.looks

    whole, looks = run(tmp_path / "whole")
    assert (whole.code, looks) == (0, 2 * FRAMES), whole.err

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(humanpose_cli.fitting.result.Fit, "save_overlay", full)
        stopped, _ = run(tmp_path / "out")
    assert stopped.code == 5
    assert len(list((tmp_path / "out").glob(".*.people"))) == 2
    again, looks = run(tmp_path / "out")
    assert (again.code, looks) == (0, 0), again.err
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("whole", "out")]
    assert names[0] == names[1]
    results = [path for path in (tmp_path / "whole").iterdir() if not path.name.startswith(("run.", "ledger."))]
    assert len(results) >= 7
    assert all(path.read_bytes() == (tmp_path / "out" / path.name).read_bytes() for path in results)
