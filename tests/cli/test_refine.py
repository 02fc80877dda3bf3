"""`hpc refine` and `hpc fit --refine` from the command line, on a photograph of a person."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from helpers.errors import raises
from helpers.prior_files import write_mixture

import humanpose_cli as hp
from humanpose_cli.batch.items import Item
from humanpose_cli.body.model_files import prior_identity
from humanpose_cli.cli.main import main
from humanpose_cli.cli.refine import _refuse_shared_files
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.images import read_image, write_image

pytestmark = pytest.mark.slow

FAST = ("--set", "size=128", "--set", "rounds=1", "--set", "points=100")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A photograph in a folder, where another one comes later, and its fit beside it."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "photos").mkdir()
    write_image(folder / "photos" / "astronaut.png", skimage.data.astronaut())
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.setenv(name, "1")
        line = ("fit", str(folder / "photos"), "--out", str(folder / "fits"), "--detector", "fast", "--quiet")
        assert main((*line, "--no-overlay", "--refine")) == 0
    write_image(folder / "photos" / "coffee.png", skimage.data.coffee())
    return folder


def test_fit_refines_what_it_fitted_and_reports_how_much_is_accepted(hpc, photos):
    fit = read_fit(photos / "fits" / "astronaut.png.fit.npz")
    refinement = fit.options.refinement
    assert refinement["measure"] == "silhouette"
    assert refinement["settings"]["correspondence"] == "keypoints"
    assert list(refinement["tracks"]) == ["0"]
    line = ("fit", str(photos / "photos" / "astronaut.png"), "--out", str(photos / "fits"), "--detector", "fast")
    header, row = hpc(*line, "--no-overlay", "--refine").out.splitlines()  # what was done before
    fields = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert float(fields["accepted"]) == pytest.approx(
        np.mean(refinement["tracks"]["0"]["accepted"]), rel=0.01, abs=1e-3
    )


@pytest.mark.extensive
def test_fit_writes_what_refine_writes(hpc, photos, tmp_path):
    photo = str(photos / "photos" / "astronaut.png")
    assert hpc("fit", photo, "--out", str(tmp_path / "fits"), "--detector", "fast", "--no-overlay").code == 0
    fit = str(tmp_path / "fits" / "astronaut.png.fit.npz")
    # Beside the other fits, so that the path of the photograph is the same in both files.
    ran = hpc("refine", fit, "--frames", photo, "--out", str(photos / "refined"), "--no-overlay", "--json")
    names = [Path(path).name for path in ran.details["outputs"]]
    files_of_person = [f"astronaut.png.person0.{ending}" for ending in ("texture.png", "look.npz")]
    assert names == ["astronaut.png.fit.npz", *files_of_person]
    for name in names:
        assert (photos / "refined" / name).read_bytes() == (photos / "fits" / name).read_bytes()
    assert "photographs: their refinement makes a texture of each person, but no motion" in ran.err


@pytest.mark.extensive
def test_a_folder_of_fits_is_refined_and_textures_are_used_again(hpc, photos, tmp_path):
    line = ("refine", str(photos / "fits"), "--frames", str(photos / "photos"), *FAST, "--json")
    drawn = ("--labels", "reasons", "--out", str(tmp_path / "a"))
    ran = hpc(*line, *drawn)
    assert ran.code == 0, ran.err
    width, height = read_image(photos / "photos" / "astronaut.png").size
    overlay = read_image(tmp_path / "a" / "astronaut.png.overlay.jpg")
    assert overlay.size[0] == width
    assert overlay.size[1] > height  # the strip says why the astronaut's fit is doubtful
    assert "astronaut.png.fit.npz: refined before" in ran.err  # by hpc fit --refine
    assert [Path(path).name for path in ran.details["outputs"]] == [
        "astronaut.png.fit.npz",
        "astronaut.png.person0.texture.png",
        "astronaut.png.person0.look.npz",
        "astronaut.png.overlay.jpg",
    ]
    texture = tmp_path / "a" / "astronaut.png.person0.texture.png"
    assert read_image(texture).alpha.max() == 255
    line, given = (*line, "--no-overlay"), ("--correspondence", "flow", "--texture", str(tmp_path / "a"))
    again = hpc(*line, *given, "--out", str(tmp_path / "b"))
    assert again.code == 0, again.err
    written = [Path(path).name for path in again.details["outputs"]]
    assert written == ["astronaut.png.fit.npz", "astronaut.png.person0.look.npz"]
    first, second = (read_fit(tmp_path / name / "astronaut.png.fit.npz") for name in ("a", "b"))
    assert np.abs(first.joints3d - second.joints3d).max() < 0.02


@pytest.mark.extensive
def test_displacements_are_outputs_like_the_others(hpc, photos, tmp_path):
    line = ("refine", str(photos / "fits"), "--frames", str(photos / "photos"), "--no-overlay", *FAST)
    line = (*line, "--out", str(tmp_path), "--json")
    saving = (*line, "--correspondence", "flow", "--save-displacements")
    names = [
        "astronaut.png.fit.npz",
        "astronaut.png.person0.texture.png",
        "astronaut.png.person0.look.npz",
        "astronaut.png.displacements.npz",
    ]
    assert hpc(*line).code == 0
    refused = hpc(*saving)
    assert refused.code == 2
    assert "other options" in refused.err
    ran = hpc(*saving, "--overwrite")
    assert (ran.code, [Path(path).name for path in ran.details["outputs"]]) == (0, names)
    with np.load(tmp_path / names[-1]) as file:
        assert (file["track_id"].tolist(), file["frame_names"].tolist()) == ([0], ["astronaut.png"])
        assert (file["pixels"].shape, bool(file["mask"].any())) == ((1, 2, 128, 128), True)
    assert hpc(*saving).details["status"] == "skipped"
    (tmp_path / names[-1]).unlink()
    again = hpc(*saving)
    assert (again.code, again.details["status"], (tmp_path / names[-1]).is_file()) == (0, "success", True)
    found = hpc("fit", str(tmp_path), "--out", str(tmp_path / "fits"), "--dry-run")  # textures are no inputs
    assert found.code == 3


def test_a_take_is_not_refined_into_the_files_of_its_cameras(tmp_path):
    """As of `hpc refine take/`, whose files are the fits of the take and of its cameras."""
    names = ("take.fit.npz", "take.a.mp4.fit.npz", "take.c.mp4.fit.npz")
    take, camera, other = (Item(name, (tmp_path / name,), name, None, (tmp_path / "out" / name,)) for name in names)
    _refuse_shared_files(take, ["a.mp4", "b.mp4"], [take, other])
    with raises(hp.UsageError, subject=names[0], problem=f"would write the same files as {names[1]}"):
        _refuse_shared_files(take, ["a.mp4", "b.mp4"], [other, camera, take])


def test_displacements_need_images_that_are_compared(hpc, photos, tmp_path):
    photo, out = str(photos / "photos" / "astronaut.png"), str(tmp_path / "out")
    ran = hpc("refine", str(photos / "fits"), "--frames", photo, "--out", out, "--save-displacements")
    assert ran.code == 2
    assert "--save-displacements: has no effect" in ran.err
    assert not Path(out).exists()


def test_frames_that_are_not_there_are_named(hpc, photos, tmp_path):
    write_image(tmp_path / "other.png", skimage.data.coffee())
    ran = hpc("refine", str(photos / "fits"), "--frames", str(tmp_path / "other.png"), "--out", str(tmp_path / "out"))
    assert ran.code == 3
    assert "astronaut.png" in ran.err


@pytest.mark.extensive
def test_a_missing_model_file_is_reported_before_torch_is_loaded(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    wham = Path(__file__).parents[1] / "fitting" / "data" / "wham_joblib.pkl"
    line = ("refine", str(wham), "--frames", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"))
    code = (
        "import sys; from humanpose_cli.cli.main import main; "
        f"code = main({line!r}); assert code == 2 and 'torch' not in sys.modules, code"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "wham_joblib.pkl: holds SMPL parameters of WHAM, expected SMPL's model file" in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.extensive
def test_priors_come_from_the_users_files(hpc, photos, tmp_path):
    line = ("refine", str(photos / "fits"), "--frames", str(photos / "photos"), *FAST, "--no-overlay")
    again = ("--overwrite", "--out", str(tmp_path / "out"))
    prior = f"gmm:{write_mixture(tmp_path / 'gmm_08.pkl')}"
    ran = hpc(*line, "--prior", prior, *again)
    assert ran.code == 0, ran.err
    settings = read_fit(tmp_path / "out" / "astronaut.png.fit.npz").options.refinement["settings"]
    assert settings["prior"] == prior_identity(prior)  # contents, not the path
    wrong = hpc(*line, "--prior", f"gmm:{photos / 'photos' / 'astronaut.png'}", *again)
    assert (wrong.code, "is not a readable pickle" in wrong.err) == (3, True)


def test_a_missing_prior_is_named_before_torch_is_loaded(photos, tmp_path):
    line = ("refine", str(photos / "fits"), "--frames", str(photos / "photos"), "--prior", "gmm:none.pkl")
    code = (
        "import sys; from humanpose_cli.cli.main import main; "
        f"code = main({line!r}); assert code == 5 and 'torch' not in sys.modules, code"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "none.pkl: does not exist; register at https://smplify.is.tue.mpg.de" in ran.stderr
    assert not (tmp_path / "hpc-out").exists()


def test_fits_are_not_replaced_by_their_refinement(hpc, photos):
    ran = hpc("refine", str(photos / "fits"), "--frames", str(photos / "photos"), "--out", str(photos / "fits"))
    assert ran.code == 2
    assert "would replace the input" in ran.err


def test_charts_are_those_of_densepose(hpc, photos, tmp_path):
    fits, frames = photos / "fits", photos / "photos"
    ran = hpc("refine", str(fits), "--frames", str(frames), "--charts", __file__, "--out", str(tmp_path))
    assert (ran.code, "--charts: has no effect without --densepose" in ran.err) == (2, True)
    with raises(hp.UsageError, subject="charts", problem="has no effect without"):
        hp.refine(fits / "astronaut.png.fit.npz", frames / "astronaut.png", charts="x.mat")
