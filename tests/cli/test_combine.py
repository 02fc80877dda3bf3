"""`hpc combine`: which inputs are a take, what is refused before anything is fitted, and what is fitted once."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.filmed_people import RATE, calibration_of, camera_at, camera_landmarks, film

import humanpose_cli as hp
import humanpose_cli.cli.combine
import humanpose_cli.fitting.people
import humanpose_cli.fitting.result
import humanpose_cli.views.inputs
from humanpose_cli.core.result import CommandResult, Status
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.io.calibrations import write_calibration
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.images import write_image
from humanpose_cli.io.video import VideoWriter


def photographs(folder, count):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        write_image(folder / f"{number:03d}.png", np.zeros((40, 30, 3), np.uint8))
    return str(folder)


def plan(hpc, *arguments):
    ran = hpc("combine", *arguments, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    planned = {item["input"]: item["outputs"] for item in ran.document["items"]}
    return {name: outputs for name, outputs in planned.items() if len(outputs) > 1}


@pytest.mark.parametrize("folders", [("shoot/first", "shoot/second"), ("shoot",)])
def test_each_folder_of_cameras_is_a_take(hpc, tmp_path, folders):
    for take in ("first", "second"):
        for camera in ("a", "b"):
            (tmp_path / "shoot" / take).mkdir(exist_ok=True, parents=True)
            photographs(tmp_path / "shoot" / take / camera, 16)
    planned = plan(hpc, *(str(tmp_path / name) for name in folders), "--out", str(tmp_path / "out"))
    assert set(planned) == {"first", "second"}


def test_photographs_of_one_folder_are_views(hpc, tmp_path):
    planned = plan(hpc, photographs(tmp_path / "moment", 3), "--out", str(tmp_path / "out"))
    assert set(planned) == {"moment"}


def test_folders_of_frames_are_one_take_together(hpc, tmp_path):
    cameras = [photographs(tmp_path / name, 16) for name in ("a", "b")]
    planned = plan(hpc, *cameras, "--out", str(tmp_path / "out"))
    assert set(planned) == {"take"}


def test_one_view_fails_with_what_to_do(hpc, tmp_path):
    photo = photographs(tmp_path / "photos", 1)
    ran = hpc("combine", photo, "--out", str(tmp_path / "out"), "--json")
    assert ran.code == 2
    assert "has too few cameras, expected two or more, found 1" in ran.document["items"][0]["error"]


def test_a_file_named_twice_fails(hpc, tmp_path):
    photographs(tmp_path / "photos", 2)
    names = [str(tmp_path / "photos" / name) for name in ("000.png", "../photos/000.png", "001.png")]
    ran = hpc("combine", *names, "--out", str(tmp_path / "out"), "--json")
    assert ran.code == 3
    assert ran.document["items"][0]["error"] == "000.png: is named twice, expected one file for each camera"


def test_the_pace_counts_cameras_and_takes():
    """Of 3 items in 10 s, one was done before."""
    counts = {"done": 1, "partial": 0, "failed": 0}
    parts = [{**counts, "skipped": 1, "seconds": 8.0, "items_per_second": 0.125}]
    parts += [{**counts, "skipped": 0, "seconds": 2.0, "items_per_second": 0.5}]
    results = [CommandResult("combine", Status.SUCCESS, extra={"summary": part}) for part in parts]
    joined = humanpose_cli.cli.combine._joined(*results).extra["summary"]
    assert joined == {"done": 2, "partial": 0, "failed": 0, "skipped": 1, "seconds": 10.0, "items_per_second": 0.2}


@pytest.mark.slow
def test_a_range_of_frames_holds_for_fit_files(hpc, tmp_path):
    for name, fit in zip("ab", film(CAMERAS, frames=40).fits, strict=True):
        fit.save(tmp_path / f"{name}.fit.npz")

    def combine(frames, *options):
        fits = [str(tmp_path / f"{name}.fit.npz") for name in "ab"]
        ran = hpc(
            "combine", *fits, "--frames", frames, *options, "--no-overlay", "--out", str(tmp_path / "out"), "--json"
        )
        assert ran.code == 0, ran.err
        return ran.document["items"][0]["status"], read_fit(tmp_path / "out" / "take.fit.npz").frame_names.tolist()

    names = [f"{number:06d}" for number in range(40)]
    assert combine("5:25") == ("success", names[5:25])
    assert combine("5:25") == ("skipped", names[5:25])
    assert combine("-30::2", "--overwrite") == ("success", names[10::2])


def test_a_dry_run_finds_what_is_wrong_with_a_take(hpc, tmp_path):
    for take in ("good", "bad"):
        for camera in ("a", "b"):
            (tmp_path / take).mkdir(exist_ok=True)
            photographs(tmp_path / take / camera, 16)
    photographs(tmp_path / "bad" / "c", 2)
    ran = hpc("combine", str(tmp_path / "good"), str(tmp_path / "bad"), "--dry-run", "--json")
    assert ran.code == 4
    errors = {item["input"]: item.get("error") for item in ran.document["items"]}
    assert errors["good"] is None
    assert "is too short" in errors["bad"]


def test_a_dry_run_names_the_camera_of_each_view(hpc, tmp_path):
    cameras = [replace(camera_at(angle), size=(30, 40)) for angle in (0, 70)]
    for names, order in (("ab", "000.png is camera a, 001.png is camera b"), (("001", "000"), "000.png is camera 000")):
        write_calibration(tmp_path / "c.json", calibration_of(cameras, names).cameras.values())
        photos = photographs(tmp_path / "photos", 2)
        ran = hpc(
            "combine", photos, "--calibration", str(tmp_path / "c.json"), "--dry-run", "--out", str(tmp_path / "o")
        )
        assert ran.code == 0, ran.err
        assert order in ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "limit", "code"), [(("a", "b"), 50.0, 0), (("a", "b"), 0.01, 4), (("b", "a"), 50.0, 3)]
)
def test_a_take_that_contradicts_what_the_cameras_show_is_not_done(hpc, tmp_path, monkeypatch, names, limit, code):
    monkeypatch.setattr(humanpose_cli.cli.combine, "_MAX_ERROR", limit)
    cameras = [camera_at(45), camera_at(-45)]
    for name, fit in zip("ab", film(cameras, frames=20).fits, strict=True):
        fit.save(tmp_path / f"{name}.fit.npz")
    write_calibration(tmp_path / "c.json", calibration_of(cameras, names).cameras.values())
    fits = [str(tmp_path / f"{name}.fit.npz") for name in "ab"]
    options = ("--calibration", str(tmp_path / "c.json"), "--no-overlay", "--out", str(tmp_path / "out"))
    ran = hpc("combine", *fits, *options, "--json")
    assert ran.code == code, ran.err
    (take,) = ran.document["items"]
    assert (take["status"], bool(take["error"])) == {0: ("success", False), 4: ("partial", True), 3: ("error", True)}[
        code
    ]
    assert (tmp_path / "out" / "take.fit.npz").exists() == (code != 3)


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

    def track(self, images, *, state=None, save_state=None, masks=False, frame_rate=None):
        first = state["frames"] if state else 0
        for number, pixels in enumerate(images, first):
            FilmedDetector.looks += 1
            if save_state is not None and (number + 1) % 6 == 0:
                save_state({"frames": number + 1})
            yield [self.person(int(pixels.mean() > 100), number)]

    def person(self, view, number):
        points = self.films.fits[view].keypoints2d[number].astype(np.float32)
        world = camera_landmarks(CAMERAS[view], 0, np.array([0.1 + number / RATE]))[0]
        spread = np.full(33, 1.0, np.float32), np.full(33, 0.01, np.float32)
        box = np.concatenate((points[:, :2].min(0), points[:, :2].max(0)))
        return DetectedPerson(box, points, world.astype(np.float32), *spread, None, 0.9)

    def close(self):
        pass


@pytest.fixture
def videos(monkeypatch, tmp_path):
    """Two videos of one person, whom a stand-in for the detector finds."""
    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", FilmedDetector)
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path, grey in zip(paths, (60, 180), strict=True):
        write_video(path, grey, FRAMES)
    return [str(path) for path in paths]


def write_video(path, grey, frames):
    with VideoWriter(path, RATE) as video:
        for _ in range(frames):
            video.write(np.full((*CAMERAS[0].size[::-1], 3), grey, np.uint8))


@pytest.fixture
def combine(hpc, tmp_path):
    """Run `hpc combine` into a folder; returns what it did and how many frames were looked at."""

    def run(inputs, name, *options):
        FilmedDetector.looks = 0
        ran = hpc("combine", *inputs, "--offsets", "0,0", *options, "--out", str(tmp_path / "hpc-out" / name), "--json")
        return ran, FilmedDetector.looks

    return run


def results(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".npz", ".mp4", ".png")}


@pytest.mark.extensive
def test_cameras_are_fitted_once(hpc, combine, videos, tmp_path):
    """A disk that is full while overlays are drawn, another height, and fit files repeat no search."""
    complete, looks = combine(videos, "complete")
    assert (complete.code, looks) == (0, 2 * FRAMES), complete.err

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(humanpose_cli.fitting.result.Fit, "save_overlay", full)
        stopped, _ = combine(videos, "out")
    assert stopped.code == 5
    again, looks = combine(videos, "out")
    assert (again.code, looks) == (0, 0), again.err
    assert results(tmp_path / "hpc-out" / "complete") == results(tmp_path / "hpc-out" / "out")
    assert len(results(tmp_path / "hpc-out" / "out")) == 6
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(humanpose_cli.views.inputs.TakeInput, "checked")
        done, looks = combine(videos, "out")  # opens no video
    assert (done.code, looks) == (0, 0), done.err

    other, looks = combine(videos, "out", "--height", "1.5", "--overwrite")
    assert (other.code, looks) == (0, 0), other.err
    states = {item["input"]: item["status"] for item in other.document["items"]}
    assert [state for name, state in states.items() if name != "take"] == ["skipped", "skipped"]
    heights = [
        read_fit(tmp_path / "hpc-out" / name / "take.fit.npz").segment_scales.mean() for name in ("complete", "out")
    ]
    assert heights[0] != heights[1]

    fits = sorted(str(path) for path in (tmp_path / "hpc-out" / "complete" / "cameras").glob("*.fit.npz"))
    from_fits, looks = combine(fits, "from-fits")
    assert (from_fits.code, looks) == (0, 0), from_fits.err
    assert results(tmp_path / "hpc-out" / "complete") == results(tmp_path / "hpc-out" / "from-fits")
    folder, looks = combine([str(tmp_path / "hpc-out" / "complete" / "cameras")], "of-folder", "--no-overlay")
    assert (folder.code, looks) == (0, 0), folder.err
    take, python = load_fit(tmp_path / "hpc-out" / "complete" / "take.fit.npz"), hp.combine(fits, offsets=[0, 0])
    np.testing.assert_array_equal(python.joints3d, take.joints3d)


@pytest.mark.extensive
def test_parts_fit_cameras_and_the_last_run_combines_them(combine, videos, tmp_path):
    complete, _ = combine(videos, "complete", "--no-overlay")
    parts = [combine(videos, "out", "--no-overlay", "--shard", f"{part}/2") for part in range(2)]
    assert [ran.code for ran, _ in parts] == [0, 0], parts
    assert sum(looks for _, looks in parts) == 2 * FRAMES
    last, looks = combine(videos, "out", "--no-overlay")
    assert (last.code, looks, complete.code) == (0, 0, 0), last.err
    assert results(tmp_path / "hpc-out" / "complete") == results(tmp_path / "hpc-out" / "out")

    write_video(Path(videos[1]), 180, 3)
    changed, looks = combine(videos, "out", "--no-overlay")
    assert (changed.code, looks, "is too short" in changed.err) == (3, 0, True), changed.err


@pytest.mark.slow
def test_a_take_without_one_of_its_cameras_fails_with_that_cameras_reason(combine, videos, tmp_path):
    broken = tmp_path / "b.mp4"
    broken.write_bytes(broken.read_bytes()[:400])
    ran, _ = combine(videos, "out")
    assert ran.code == 3, ran.err
    assert {item["input"]: item["status"] for item in ran.document["items"]}["take"] == "error"
    assert "b.mp4" in ran.err


@pytest.mark.extensive
def test_a_fit_file_of_moved_frames_is_combined_without_overlays(combine, videos, tmp_path):
    combine(videos, "complete", "--no-overlay")
    for path in videos:
        Path(path).rename(Path(path).with_suffix(".moved.mp4"))
    fits = sorted(str(path) for path in (tmp_path / "hpc-out" / "complete" / "cameras").glob("*.fit.npz"))
    drawn, _ = combine(fits, "drawn")
    assert (drawn.code, "a.mp4: does not exist" in drawn.err) == (0, True), drawn.err
    plain, _ = combine(fits, "plain", "--no-overlay")
    assert plain.code == 0, plain.err
    assert results(tmp_path / "hpc-out" / "drawn") == results(tmp_path / "hpc-out" / "plain")
    assert read_fit(tmp_path / "hpc-out" / "plain" / "take.fit.npz").views.names.tolist() == ["a.mp4", "b.mp4"]


@pytest.mark.extensive
@pytest.mark.parametrize("options", [(), ("--overlay",), ("--no-overlay",)])
def test_fits_of_videos_in_other_folders_are_combined_by_movements(hpc, tmp_path, options):
    films, elsewhere, folder = film(CAMERAS, frames=40), tmp_path / "elsewhere", tmp_path / "fits"
    folder.mkdir()
    for path in (elsewhere, elsewhere / "a.mp4", elsewhere / "b.mp4"):
        path.mkdir()  # which is not opened: a video would be read
    for name, fit in zip(("a.mp4", "b.mp4"), films.fits, strict=True):
        replace(fit, frame_files=(FrameFiles("video", (elsewhere / name,)),)).save(folder / f"{name}.fit.npz")
    ran = hpc("combine", *sorted(map(str, folder.iterdir())), *options, "--out", str(tmp_path / "out"), "--json")
    assert ran.code == 0, ran.err
    (line,) = [line for line in ran.err.splitlines() if "overlays" in line]
    assert str(elsewhere / "a.mp4") in line
    assert "movements" in line
    assert read_fit(tmp_path / "out" / "take.fit.npz").views.names.tolist() == ["a.mp4", "b.mp4"]
    assert not list((tmp_path / "out").glob("*.mp4"))
