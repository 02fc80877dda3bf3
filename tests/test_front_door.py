"""`import humanpose_cli as hp`: what a notebook user calls, on a real photograph."""

from __future__ import annotations

import base64
import gzip
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from helpers.errors import raises

import humanpose_cli as hp
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.records import record_summary
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.outputs import write_outputs
from humanpose_cli.refining.steps import Refinement
from humanpose_cli.reposing.targets import read_target

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("meshes_made_once")]

HEAVY = "torch numpy cv2 scipy PIL warp mediapipe typer rich tqdm"


HIDDEN_LIMBS = "left arm hidden, guessed; both legs hidden, guessed"  # in the photograph of the astronaut


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    write_image(path, skimage.data.astronaut()[::2, ::2])
    return path


@pytest.fixture(scope="module")
def fit(photo) -> hp.Fit:
    return hp.fit(photo, detector="fast", device="cpu")


def test_the_import_loads_nothing_heavy_and_names_what_there_is():
    code = (
        "import sys; import humanpose_cli as hp; "
        f"loaded = [name for name in {HEAVY.split()} if name in sys.modules]; "
        "missing = set(hp.__all__) - set(dir(hp)); "
        "print(loaded, missing)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] set()"


@pytest.mark.parametrize("policy", [None, "ACTIVE"])
def test_threads_of_torch_wait_without_spinning_unless_the_variable_is_set(policy):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
    code = "import humanpose_cli, os; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (policy or "PASSIVE")


def test_names_are_functions_and_classes_whatever_was_imported_before():
    import humanpose_cli.front_door
    import humanpose_cli.reposing.reposer

    assert all(callable(getattr(hp, name)) for name in hp.__all__ if name != "__version__")
    assert hp.fit is humanpose_cli.front_door.fit
    with pytest.raises(AttributeError, match="no attribute 'refit'"):
        hp.refit  # noqa: B018


def test_a_photograph(fit, photo):
    assert (len(fit), repr(fit)) == (1, "<Fit: 1 person in 1 frame>")
    (person,) = fit.people
    assert person.joints3d.shape == (1, 24, 3)
    assert (person.id, person.name, person.rows.tolist(), person.frames.tolist()) == (0, "person 0", [0], [0])
    # She faces the camera: her left shoulder is on the right of the image.
    left, right = (person.joints2d[0, SMPL24.index(f"{side}_shoulder"), 0] for side in ("left", "right"))
    assert left > right + 30
    overlay = fit.overlay()
    assert overlay.shape == (256, 256, 3)
    assert (overlay != read_image(photo).pixels).any(2).mean() > 0.2


def test_joints_by_name(fit):
    (person,) = fit.people
    assert fit.joint_names == SMPL24.joint_names
    np.testing.assert_array_equal(person.joint("left_wrist"), fit.joints3d[:, SMPL24.index("left_wrist")])
    with raises(hp.UsageError, subject="joint", problem="is not known", expected="pelvis, left_hip,", got="nose"):
        person.joint("nose")


def glb_of(page) -> bytes:
    packed = re.search(r'id="people3d">(.*?)</script>', page.text, re.DOTALL)[1]
    return gzip.decompress(base64.b64decode(packed))


def has_texture(glb: bytes) -> bool:
    return b"baseColorTexture" in glb


@pytest.mark.extensive
def test_a_refined_fit_has_its_textures_in_pages_and_files(fit, photo, tmp_path):
    """Those that `hpc refine` writes beside it, also after it was saved and loaded."""
    refined = hp.refine(fit, device="cpu", threads=1)
    assert {track: (image.shape, image.dtype) for track, image in refined.textures.items()} == {
        0: ((512, 512, 4), np.uint8)
    }
    saved, written = refined.save(tmp_path / "python" / "a.fit.npz"), tmp_path / "step" / "a.fit.npz"
    with hp.Refiner(device="cpu", threads=1) as refiner:
        files = write_outputs(Refinement(refiner)([fit], output=written), written, FitOutputs(overlay=False))
    assert [path.name for path in files] == ["a.fit.npz", "a.person0.texture.png"]
    for path in files:
        assert path.read_bytes() == (tmp_path / "python" / path.name).read_bytes()
    assert has_texture(glb_of(hp.view(refined)))
    glb = glb_of(hp.view(saved))
    assert has_texture(glb)
    assert glb_of(hp.view(hp.load_fit(saved))) == glb
    assert not has_texture(glb_of(hp.view(refined, textures={})))
    assert not has_texture(glb_of(hp.view(fit, textures={})))
    assert has_texture(glb_of(hp.view(fit, textures="frames")))
    for source in (refined, saved, fit):
        exported = hp.export_fit(source, tmp_path / "out", "glb")
        assert has_texture(exported[0].read_bytes())
    exported = hp.export_fit(saved, tmp_path / "out", "glb", frames=photo, textures="frames")
    assert has_texture(exported[0].read_bytes())
    exported = hp.export_fit(refined, tmp_path / "out", "glb", textures={})
    assert not has_texture(exported[0].read_bytes())
    other = np.full((8, 8, 3), 9, np.uint8)
    exported = hp.export_fit(fit, tmp_path / "out", "glb", textures={0: other})
    assert has_texture(exported[0].read_bytes())


def test_dir_lists_the_public_names():
    assert dir(hp) == sorted(hp.__all__)


def test_a_person_of_a_fit_is_a_target(fit, photo):
    shifted = replace(fit, track_id=fit.track_id + 1, poses=np.zeros_like(fit.poses))
    both = replace(
        fit,
        **{name: np.concatenate((own, shifted.row_columns[name])) for name, own in fit.row_columns.items()},
        detections=(),
    )
    for person, poses in zip(both.people, (fit.poses, shifted.poses), strict=True):
        motion = read_target(person, lambda: pytest.fail("a fit needs no fitter"))
        np.testing.assert_array_equal(motion.params.poses, poses)
        assert repr(motion) == "<RotationTarget: 1 frame, rotations of smpl24>"
    calls = []
    hp.repose(photo, both.people[0], fit=fit, progress=lambda *step: calls.append(step))
    assert calls


@pytest.mark.extensive
def test_fits_are_read_with_their_frames_and_refined(fit, photo):
    saved = fit.save(photo.parent / "a.fit.npz")
    fits = hp.read_fits(saved, frames=[photo])
    np.testing.assert_array_equal(fits.images.frame(0), read_image(photo).pixels)
    with hp.Refiner(device="cpu", threads=1) as refiner:
        by_name = refiner.refine(hp.load_fit(saved), photo)
        np.testing.assert_array_equal(refiner.refine(fits).poses, by_name.poses)
        np.testing.assert_array_equal(refiner.refine(hp.load_fit(saved)).poses, by_name.poses)
        with raises(hp.UsageError, subject="frames", problem="are missing: a fit file holds no pixels"):
            refiner.refine(replace(hp.load_fit(saved), frame_files=()))


@pytest.mark.extensive
def test_an_array_gives_what_its_file_gives(fit, photo):
    again = hp.fit(read_image(photo).pixels, detector="fast", device="cpu")
    np.testing.assert_array_equal(again.poses, fit.poses)
    np.testing.assert_array_equal(again.overlay(), fit.overlay())


def test_a_fit_is_saved_and_loaded(fit, photo):
    saved = fit.save(photo.parent / "a.fit.npz")
    loaded = hp.load_fit(saved)
    assert saved.read_bytes() == loaded.save(photo.parent / "b.fit.npz").read_bytes()
    with raises(hp.UsageError, subject="image", problem="is missing: a fit file holds no pixels"):
        loaded.overlay()
    pixels = read_image(photo).pixels
    np.testing.assert_array_equal(loaded.overlay(image=pixels), fit.overlay())
    with raises(hp.InputError, subject="image", problem="is not the frame that was fitted"):
        loaded.overlay(image=pixels[:100])
    with raises(hp.UsageError, subject="frame", problem="is not in the fit", expected="0 to 0", got="1"):
        fit.overlay(1)


@pytest.mark.extensive
def test_an_overlay_without_its_photograph(photo, tmp_path):
    copy = tmp_path / "gone.png"
    copy.write_bytes(photo.read_bytes())
    fit = hp.fit(copy, detector="fast", device="cpu")
    copy.unlink()
    with raises(hp.InputError, subject="gone.png"):
        fit.overlay()
    assert "gone.png" in fit._repr_html_()


def test_notebooks_show_a_table_and_the_overlay(fit):
    shown = fit._repr_html_()
    assert "<table>" in shown
    assert "person 0" in shown
    assert 'src="data:image/png;base64,' in shown


def test_amass_and_back(fit, tmp_path):
    """What `to_amass` says is the same body: reading it as a target gives the fit's own joints."""
    import torch

    from humanpose_cli.geometry.rotations import axis_angle_to_matrix

    arrays = fit.to_amass()
    assert {name: array.shape for name, array in arrays.items()} == {
        "poses": (1, 156), "trans": (1, 3), "betas": (10,), "gender": (), "mocap_frame_rate": (),
        "mocap_framerate": (), "root_orient": (1, 3), "pose_body": (1, 63), "pose_hand": (1, 90),
        "world_to_camera": (1, 4, 4),
    }  # fmt: skip
    body = hp.Body.default()
    poses = np.pad(arrays["poses"][:, :66], ((0, 0), (0, 6)))
    posed = body.pose(
        axis_angle_to_matrix(torch.from_numpy(poses).float().view(1, 24, 3)),
        torch.from_numpy(arrays["betas"]).float()[None],
        torch.from_numpy(arrays["trans"]).float(),
    )
    z_up = np.stack((fit.joints3d[..., 0], fit.joints3d[..., 2], -fit.joints3d[..., 1]), -1)
    np.testing.assert_allclose(posed.joints.numpy(), z_up, atol=1e-4)
    np.savez(tmp_path / "a.npz", **arrays)
    pose = hp.read_pose(tmp_path / "a.npz")
    assert isinstance(pose, RotationTarget)
    np.testing.assert_allclose(pose.params.poses, fit.poses, atol=1e-4)


@pytest.mark.extensive
def test_a_sequence_of_arrays_and_a_folder_of_photographs(photo, tmp_path):
    pixels = read_image(photo).pixels
    reports = []
    with hp.Fitter(detector="fast", device="cpu") as fitter:
        clip = fitter.fit(np.stack([pixels] * 3), frames="1:3", progress=lambda *step: reports.append(step))
        assert (clip.frame_names.tolist(), clip.tracks, len(clip)) == (["000001", "000002"], [0], 2)
        assert reports[:3] == [(1, 2, "frames"), (2, 2, "frames"), (0, None, "fitting bodies")]
        assert {what for _, _, what in reports[3:]} == {"parts of the fit"}
        assert all(0 < done <= total for done, total, _ in reports[3:])
        assert clip.overlay(1).shape == pixels.shape
        write_image(tmp_path / "a.png", pixels)
        write_image(tmp_path / "b.png", pixels[:200])
        folder = fitter.fit(tmp_path)
    assert folder.frame_names.tolist() == ["a.png", "b.png"]
    assert folder.tracks == list(range(len(folder)))
    assert folder.overlay(1).shape == (200, 256, 3)


@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        ("absent.jpg", {}, {"subject": "absent.jpg"}),
        (
            np.zeros((4, 4)),
            {},
            {"subject": "source", "problem": "is no image", "expected": "a path", "remedy": "(255 * image)"},
        ),
        (np.zeros((4, 4), np.uint8), {}, {"remedy": "of grey"}),
        (np.zeros((2, 4, 4, 4), np.uint8), {}, {"remedy": "leave alpha out"}),
        (
            np.zeros((4, 4, 3), np.uint8),
            {"focal": -1},
            {"subject": "focal", "problem": "is out of range", "expected": "above 0 (pixels)", "got": "-1"},
        ),
        (
            np.zeros((4, 4, 3), np.uint8),
            {"method": "guess"},
            {
                "subject": "method",
                "problem": "is not known",
                "expected": "auto, keypoints, nbf, deform-and-learn",
                "got": "guess",
            },
        ),
        (
            np.zeros((4, 4, 3), np.uint8),
            {"people": "many"},
            {"subject": "people", "problem": "is not known", "expected": "all, largest", "got": "many"},
        ),
        (np.zeros((4, 4, 3), np.uint8), {"detector": "slow"}, {"subject": "detector", "problem": "is not known"}),
        (np.zeros((4, 4, 3), np.uint8), {"device": "gpu"}, {"subject": "device", "problem": "no such device"}),
        (
            np.zeros((4, 4, 3), np.uint8),
            {"boxes": "a", "keypoints": "b"},
            {"subject": "boxes", "problem": "cannot be combined"},
        ),
        (
            np.zeros((2, 4, 4, 3), np.uint8),
            {"frames": "3:4"},
            {"subject": "frames", "problem": "holds no frame of the array"},
        ),
    ],
)
def test_errors_speak_of_arguments(source, options, error):
    with raises(hp.HpcError, **error) as caught:
        hp.fit(source, **options)
    assert "--" not in str(caught.value)


def test_functions_of_fits_take_files_and_name_wrong_arguments(fit, tmp_path):
    path = fit.save(tmp_path / "a.fit.npz")
    (written,) = hp.export_fit(path, tmp_path / "a", "json")
    assert written == tmp_path / "a.json"
    assert hp.view(str(path)).text == hp.view(hp.load_fit(path)).text
    for wrong, message in [
        (lambda: hp.export_fit(fit, "a", "abc"), "format: is unknown"),
        (lambda: hp.export_fit(fit, "a", ["glb"], world="sky"), "world: is not known, expected camera, ground"),
        (lambda: hp.export_fit(fit, "a", ["bvh"], frame_rate=0), "frame_rate: is unusable"),
        (
            lambda: hp.export_fit(fit, "a", "glb", textures={0: "a.png"}),
            r"textures: are no images.*\(\) str for person 0",
        ),
        (lambda: hp.view(fit, textures={0: np.zeros((4, 4), np.uint8)}), r"textures: are no images.*\(4, 4\) uint8"),
        (lambda: hp.view(None), "fit: is not a fit, expected a Fit, or the path of a fit file, found NoneType"),
        (lambda: hp.refine(fit, np.zeros((4, 4, 3))), "frames: is no image"),
    ]:
        with pytest.raises(hp.HpcError, match=message):
            wrong()


def test_a_photograph_in_other_poses(fit, photo, tmp_path):
    pixels = read_image(photo).pixels
    with hp.Reposer(device="cpu", size=128) as reposer:
        result = reposer.repose(photo, fit, fit=fit)
        assert (len(result), repr(result)) == (1, "<Reposed: 1 image>")
        assert result.image.shape == (128, 128, 3)
        assert result._repr_png_().startswith(b"\x89PNG")
        assert 0 < result.visible_fraction < 1
        (written,) = result.save(tmp_path / "own.png")
        np.testing.assert_array_equal(read_image(written).pixels, result.image)
        # The same photograph as an array, the pose as joints, the fit from its file.
        saved = fit.save(tmp_path / "a.fit.npz")
        motion = reposer.repose(pixels, np.repeat(fit.joints3d, 3, axis=0), fit=saved)
        assert [image.shape for image in motion.images] == [(128, 128, 3)] * 3
        with raises(hp.UsageError, problem="is one image for 3 poses", remedy="name a video (.mp4), numbered"):
            motion.save(tmp_path / "x.png")
        assert [path.name for path in motion.save(tmp_path / "steps")] == ["000000.png", "000001.png", "000002.png"]
        assert motion.save(tmp_path / "x.mp4") == (tmp_path / "x.mp4",)
        with raises(
            hp.InputError,
            subject="photo",
            problem="is not the photograph of `fit`",
            expected="256 × 256 pixels",
            got="128 × 128",
        ):
            reposer.repose(pixels[::2, ::2], fit, fit=fit)


@pytest.mark.extensive
def test_a_mask_of_the_user_counts_in_every_call(fit, photo, tmp_path):
    size = fit.image_size[0][::-1]
    painted = np.where(np.arange(size[0])[:, None] < 0.75 * size[0], np.uint8(255), np.zeros(size, np.uint8))
    write_image(tmp_path / "mask.png", painted)
    person = hp.fit(photo, detector="fast", mask=tmp_path / "mask.png", device="cpu").detections[0]
    reposed = hp.repose(photo, fit, fit=fit, mask=tmp_path / "mask.png", device="cpu")
    for mask in (person.mask.in_image(*size), reposed.scene.people_map.mask(0)):
        assert np.array_equal(mask, painted / 255)
    with raises(hp.InputError, subject="none.png", problem="does not exist"):
        hp.refine(fit, photo, mask="none.png")
    write_image(tmp_path / "other.png", painted)
    with raises(hp.UsageError, subject="mask", problem="belongs to one photograph"):
        hp.fit([photo, tmp_path / "other.png"], mask=tmp_path / "mask.png")
    with raises(hp.UsageError, subject="mask", problem="has no effect on videos and sequences of images"):
        hp.fit([photo, tmp_path / "other.png"], mask=tmp_path, refine=True)
    with raises(hp.InputError, problem="has no mask of these photographs"):
        hp.repose(photo, fit, fit=fit, mask=tmp_path)


def test_repose_in_one_call(fit, photo):
    unsure = replace(fit, confidence=np.float32([0.3]))
    reposed = hp.repose(photo, fit, fit=unsure, background="transparent", size=64, device="cpu")
    assert reposed.image.shape == (64, 64, 4)
    assert f"the fit of person 0 is doubtful (low confidence; {HIDDEN_LIMBS})" in reposed.warnings
    with raises(hp.UsageError, subject="background", problem="cannot be transparent in a video"):
        reposed.save("x.mp4")
    with raises(hp.HpcError, subject="target", problem="has the wrong shape"):
        hp.repose(photo, np.zeros((4, 4)), fit=fit, device="cpu")


def test_a_doubtful_fit_is_reported(fit):
    """Without hips nothing says how the trunk leans."""
    assert (fit.people[0].doubt, record_summary(fit)["doubtful"]) == (HIDDEN_LIMBS, HIDDEN_LIMBS)
    keypoints = fit.keypoints2d.copy()
    keypoints[:, [23, 24], 2] = 0.2  # the hips of blazepose33
    cut = replace(fit, keypoints2d=keypoints)
    assert "doubtful: hips not visible" in repr(cut.people[0])
    assert "hips not visible" in cut._repr_html_()
    assert record_summary(cut)["doubtful"] == f"hips not visible; {HIDDEN_LIMBS}"
    strip, shorter = (each.overlay(labels="reasons")[256:] for each in (cut, fit))
    assert len(strip) > len(shorter) > 0  # a line more
    outside = replace(fit, keypoints2d=fit.keypoints2d + np.float32([0, 256, 0]))
    unsure = replace(fit, confidence=np.float32([0.3]))
    far = replace(fit, reprojection_error=np.float32([40]))
    assert [each.people[0].doubt.split("; ")[0] for each in (outside, unsure, far)] == [
        "hips not visible", "low confidence", "far from the joints",
    ]  # fmt: skip


@pytest.mark.extensive
def test_the_home_page_s_lines_of_python_run(photo, tmp_path, monkeypatch):
    page = (Path(__file__).parent.parent / "docs" / "index.md").read_text("utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(block.splitlines()) == 6
    for name in ("photo.jpg", "other.jpg"):
        write_image(tmp_path / name, read_image(photo).pixels)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block, names)
    assert names["fit"].people[0].joints3d.shape == (1, 24, 3)
    assert len(names["refined"].people) == 1
    assert read_image("reposed.png").pixels.shape == (256, 256, 3)


@pytest.mark.extensive
def test_the_page_about_python_runs(photo, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parent.parent / "docs" / "guides" / "python.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 9
    write_image(tmp_path / "photo.jpg", read_image(photo).pixels)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out
    assert "<Fit: 1 person in 1 frame>" in said
    assert "absent.jpg: does not exist; check the spelling and the folder" in said
    assert Path("photo.glb").read_bytes()[:4] == b"glTF"
    assert "people3d" in Path("photo.html").read_text("utf-8")
    assert read_image("photo.waving.png").pixels.shape == (256, 256, 3)
    assert [image.shape for image in names["images"]] == [(256, 256, 4)] * 2


def test_a_fit_is_refined_with_the_options_of_the_call(monkeypatch):
    import humanpose_cli.front_door as front_door

    made: dict[str, object] = {}

    class Refiner:
        needs_textures = False

        def __init__(self, options, mask=None, **_):
            made.update(prior=options.prior, mask=mask)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            made["closed"] = True

        def refine(self, fit, frames, *, textures, progress, on_displacements):
            return f"{fit}, refined"

    class Fitter(Refiner):
        def __init__(self, **options):
            pass

        def fit(self, source, **_):
            return f"fit of {source}"

    monkeypatch.setattr(front_door, "Refiner", Refiner)
    monkeypatch.setattr(front_door, "Fitter", Fitter)
    monkeypatch.setattr("humanpose_cli.refining.steps.frames_of_fit", lambda fit, _: (fit, None))
    assert hp.fit("a.mp4", refine=RefineOptions(prior="none"), mask="m.png") == "fit of a.mp4, refined"
    assert made == {"prior": "none", "mask": "m.png", "closed": True}
    assert hp.fit("a.mp4") == "fit of a.mp4"


def test_fewer_than_two_fits_are_no_take():
    with raises(hp.UsageError, problem="has too few cameras", expected="two or more", got="0"):
        hp.combine([])
    with raises(hp.UsageError, subject="offsets", problem="do not match the fits", expected="1", got="2"):
        hp.combine(["a.fit.npz"], offsets=[0, 1])
