import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.reference_people import ReferencePeople, true_person
from skimage.metrics import structural_similarity

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.images import read_image
from humanpose_cli.io.inputs import InputItem
from humanpose_cli.io.pose_files import JointTarget, RotationTarget
from humanpose_cli.io.pose_files.target_pose import frames_of
from humanpose_cli.reposing import options, scene
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.result import form_of, pose_name, repose_outputs

pytestmark = pytest.mark.slow


def target_at(clip, frames):
    poses = matrix_to_axis_angle(clip.rotations[frames]).flatten(1).numpy()
    return RotationTarget(BodyParams(poses, clip.betas.numpy(), clip.trans[frames].numpy()), clip.frame_rate)


def reposer_of(clip, people, **options):
    fit = FitOptions(focal=clip.focal)
    return Reposer(ReposeOptions(fit=fit, **options), people_source=ReferencePeople({0: people}))


def similarity(a, b, where):
    return float(structural_similarity(a, b, channel_axis=2, full=True)[1][where].mean())


def test_another_pose_is_nearer_to_its_truth_than_the_photo(clip, clip_frames, meshes_made_once):
    with reposer_of(clip, [true_person(clip, 0)], absolute=True) as reposer:
        (made,) = reposer.read(clip_frames[0]).images(target_at(clip, [3]))
    truth = clip.image(clip.rotations[3], clip.trans[3])
    where = clip.silhouette(clip.rotations[3], clip.trans[3])
    assert similarity(made.image, truth, where) > similarity(clip_frames[0], truth, where) + 0.05


@pytest.mark.extensive
def test_a_target_with_a_position_out_of_the_photograph_is_an_error(clip, clip_frames, meshes_made_once):
    """As AMASS's are, whose world has its origin on the ground and no camera."""
    target = target_at(clip, [0, 3])
    away = RotationTarget(replace(target.params, trans=-target.params.trans))
    with reposer_of(clip, [true_person(clip, 0)], absolute=True) as reposer:
        scene = reposer.read(clip_frames[0])
        with raises(UsageError, subject="absolute", problem="puts no person into the photograph"):
            next(scene.images(away))
    partly = np.concatenate((-target.params.trans[:1], target.params.trans[1:]))
    with reposer_of(clip, [true_person(clip, 0)], absolute=True) as reposer:
        images = list(reposer.read(clip_frames[0]).images(RotationTarget(replace(target.params, trans=partly))))
    assert len(images) == 2


def test_a_limb_that_the_detector_does_not_see_claims_no_pixels(clip, clip_frames, meshes_made_once):
    person = true_person(clip, 0)
    shank = [f"left_{name}" for name in ("ankle", "heel", "foot_index")]
    person.keypoints[BLAZEPOSE33.indices(shank), 2] = 0.05
    with reposer_of(clip, [person]) as reposer:
        claim = reposer.read(clip_frames[0]).people_map.claims[0]
    hidden = claim.body & ~np.isfinite(claim.seen_depth)
    x, y = person.keypoints[BLAZEPOSE33.index("left_ankle"), :2].astype(int) - claim.box[:2]
    assert hidden[y, x]
    assert 0.02 < hidden.sum() / claim.body.sum() < 0.2


@pytest.mark.extensive
def test_transparent_backgrounds_have_alpha_only_at_the_person(clip, clip_frames):
    with reposer_of(clip, [true_person(clip, 0)], background="transparent") as reposer:
        (made,) = reposer.read(clip_frames[0]).images(target_at(clip, [0]))
    assert made.image.shape == (*clip.size, 4)
    person = clip.silhouette(clip.rotations[0], clip.trans[0])
    solid = made.image[..., 3] > 127
    assert (solid & person).sum() > 0.8 * person.sum()
    assert 0.01 < solid.mean() < 0.2


@pytest.mark.extensive
def test_who_stands_nearer_stays_in_front(clip, clip_frames, meshes_made_once):
    """Their pixels are the photograph's over the new pose, unless it steps before them."""
    people = [true_person(clip, 0), true_person(clip, 0, shift=60)]
    mask = people[1].mask.in_image(*clip_frames[0].shape[:2]) > 0.5
    photo = np.where(mask[..., None], np.uint8([[[10, 250, 10]]]), clip_frames[0])
    with reposer_of(clip, people) as reposer:
        fit = reposer.fitter.fit_image(photo)
        distances = np.float32([[1], [0.8]]) * fit.trans[:1]
        target = target_at(clip, [0])
        (before,) = reposer.read(photo, fit=replace(fit, trans=distances)).images(target)
    with reposer_of(clip, people, absolute=True) as reposer:
        target = RotationTarget(replace(target.params, trans=0.7 * distances[:1]))
        (past,) = reposer.read(photo, fit=replace(fit, trans=distances)).images(target)
    assert np.array_equal(before.image[mask], photo[mask])
    assert np.mean(np.any(past.image != photo, 2)[mask]) > 0.03


@pytest.mark.extensive
def test_a_neighbour_hidden_by_the_person_is_completed_by_their_body(clip, clip_frames, monkeypatch):
    """Nearer to the photograph without the person than the background alone; their visible pixels stay."""
    person, neighbour = true_person(clip, 0, shift=50), true_person(clip, 0)
    size = clip_frames[0].shape[:2]
    front, behind = (who.mask.in_image(*size) > 0.5 for who in (person, neighbour))
    photo = clip_frames[0].copy()
    photo[front] = np.roll(clip_frames[0], 50, 1)[front]
    crop = neighbour.mask.crop.copy()
    crop[: size[0], : size[1]][front] = 0
    neighbour = replace(neighbour, mask=replace(neighbour.mask, crop=crop))
    plates = []
    for confidence in (0.4, 1.0):  # which completes them, and which nobody has
        monkeypatch.setattr(scene, "MIN_CONFIDENCE", confidence)
        with reposer_of(clip, [person, neighbour]) as reposer:
            plates.append(reposer.read(photo).composition.drawers[0].frame.background)
    hidden = behind & front
    errors = [np.abs(plate[hidden].astype(float) - clip_frames[0][hidden]).mean() for plate in plates]
    assert errors[0] < 0.8 * errors[1]
    same = (plates[0] == photo).all(-1)[behind & ~front]
    assert same.mean() > 0.98, "all but fingers between the two, which look like either's"


@pytest.mark.extensive
def test_all_people_are_drawn_over_a_background_without_them(clip, clip_frames):
    """Somebody without a mask is cut out by the fitted body, and does not hand theirs on to the next one."""
    person, other = true_person(clip, 0), replace(true_person(clip, 0, shift=250), mask=None)
    photo = clip_frames[0].copy()
    outline = clip.silhouette(clip.rotations[0], clip.trans[0])
    photo[np.roll(outline, 250, 1)] = clip_frames[0][outline]
    with reposer_of(clip, [other, person], person="all") as reposer:
        scene = reposer.read(photo)
        (made,) = scene.images(target_at(clip, [0]))
    assert scene.rows == [0, 1]
    assert scene.doubts == {0: [], 1: []}
    scene.record = replace(scene.record, confidence=np.float32([0.2, 0.9]))
    (doubt,), others = scene.doubts.values()
    assert (doubt.reason, others) == ("low confidence", [])
    assert doubt.sentence == "the fit of person 0 is doubtful (low confidence); not that of person 1"
    for mask in (outline, np.roll(outline, 250, 1)):
        assert similarity(made.image, photo, mask) > 0.3


@pytest.mark.extensive
def test_the_requested_person_must_be_there(clip, clip_frames):
    with (
        reposer_of(clip, [true_person(clip, 0)], person="4") as reposer,
        raises(InputError, problem="no person 4", expected="0, the only one"),
    ):
        reposer.read(clip_frames[0], name="a.jpg")
    with reposer_of(clip, []) as reposer, raises(InputError, subject="a.jpg", problem="no person was found"):
        reposer.read(clip_frames[0], name="a.jpg")
    with raises(UsageError, subject="person"):
        ReposeOptions(person="bob")


@pytest.mark.extensive
def test_size_is_the_longer_side(clip, clip_frames, meshes_made_once):
    with reposer_of(clip, [true_person(clip, 0)], size=320) as reposer:
        (made,) = reposer.read(clip_frames[0]).images(target_at(clip, [0]))
    assert made.image.shape == (240, 320, 3)


@pytest.mark.extensive
@pytest.mark.parametrize(("name", "value"), [("size", 320), ("canvas", "fit")])
def test_what_is_drawn_is_checked_before_there_is_a_pixel(
    clip, clip_frames, meshes_made_once, monkeypatch, name, value
):
    """The sizes that follow from a photograph and a pose."""
    monkeypatch.setattr(options, "_MAX_DRAWN", {False: 0.05, True: 0.05})
    with reposer_of(clip, [true_person(clip, 0)], **{name: value}) as reposer:
        scene = reposer.read(clip_frames[0])
        with raises(UsageError, subject=name, problem="is too large", expected="at most 0.05 million pixels"):
            next(scene.images(target_at(clip, [0])))


def test_forms_and_names_of_outputs(tmp_path):
    assert form_of(1, numbered=True, transparent=True) == "image"
    assert form_of(3, numbered=None, transparent=False) == "video"
    assert form_of(3, numbered=None, transparent=True) == "numbered"
    assert form_of(3, numbered=True, transparent=False) == "numbered"
    item = InputItem("sub/a b.jpg", "image", tmp_path / "a b.jpg", (), tmp_path)
    joints = np.zeros((70, len(SMPL24), 3), np.float32)
    one, two = (JointTarget(joints[:count], SMPL24) for count in (1, 2))
    part = frames_of(JointTarget(joints, SMPL24), FrameRange(60, 62))
    assert repose_outputs([item], tmp_path, "image", one, "arms_up") == [(tmp_path / "sub/a b.arms_up.png",)]
    (numbered,) = repose_outputs([item], tmp_path, "numbered", two, "arms_up")
    assert numbered == (tmp_path / "sub/a b.arms_up/000000.png", tmp_path / "sub/a b.arms_up/000001.png")
    twin = InputItem("sub/a b.png", "image", tmp_path / "a b.png", (), tmp_path)
    both = repose_outputs([item, twin], tmp_path, "video", two, "dance")
    assert [path.name for (path,) in both] == ["a b.jpg.dance.mp4", "a b.png.dance.mp4"]
    assert repose_outputs([item], tmp_path / "x.png", "image", one, "arms_up") == [(tmp_path / "x.png",)]
    assert repose_outputs([item], tmp_path / "f_%03d.exr", "numbered", two, "dance") == [
        (tmp_path / "f_000.exr", tmp_path / "f_001.exr")
    ]
    (numbered,) = repose_outputs([item], tmp_path, "numbered", part, "dance")
    assert numbered == (tmp_path / "sub/a b.dance/000060.png", tmp_path / "sub/a b.dance/000061.png")
    later = frames_of(part, FrameRange(61))  # of what was cut already
    assert repose_outputs([item], tmp_path / "f_%03d.exr", "numbered", later, "dance") == [(tmp_path / "f_061.exr",)]
    with raises(UsageError, problem="one sequence for 2 photographs"):
        repose_outputs([item, twin], tmp_path / "f_%03d.exr", "numbered", two, "dance")
    (numbered,) = repose_outputs([item], tmp_path, "numbered", one, "f_%04d")
    assert numbered == (tmp_path / "sub/a b.f_%04d/000000.png",)
    assert pose_name(Path(os.fsdecode(b"lat\xe9in.npy"))) == r"lat\xe9in"
    names = [
        pose_name(Path(name))
        for name in ("p/dance.bvh", "a.jpg.fit.npz", "b.v2.fit.npz", "c.mp4", "d_####.exr", "p/%d.png")
    ]
    assert names == ["dance", "a", "b.v2", "c", "d", "p"]


def test_a_files_name_decides_its_form(tmp_path):
    assert form_of(1, numbered=None, transparent=True, out=tmp_path / "x.png") == "image"
    assert form_of(3, numbered=None, transparent=False, out=tmp_path / "x.mp4") == "video"
    assert form_of(3, numbered=None, transparent=True, out=tmp_path / "f_%d.exr") == "numbered"
    assert form_of(1, numbered=None, transparent=True, out=tmp_path / "x.exr") == "image"
    for name in ("x.jpg", "f_%d.bmp"):
        with raises(UsageError, subject="background", problem="cannot be transparent in this file", got=name):
            form_of(1, numbered=None, transparent=True, out=tmp_path / name)
    with raises(UsageError, subject="out", problem="is one image for 3 poses"):
        form_of(3, numbered=None, transparent=False, out=tmp_path / "x.png")
    for count, numbered, out in ((3, None, tmp_path / "x.mp4"), (1, False, tmp_path), (3, False, None)):
        with raises(UsageError, subject="background", problem="cannot be transparent in a video"):
            form_of(count, numbered=numbered, transparent=True, out=out)


@pytest.mark.extensive
def test_a_motion_makes_numbered_images(tmp_path, clip, clip_frames, meshes_made_once):
    from humanpose_cli.io.images import write_image

    photo = tmp_path / "photo.png"
    write_image(photo, clip_frames[0])
    item = InputItem("photo.png", "image", photo, (photo,), tmp_path)
    with reposer_of(clip, [true_person(clip, 0)]) as reposer:
        done = reposer.repose(item, target_at(clip, [0, 3]))
        written = done.save(tmp_path / "out")
    assert [p.name for p in written] == ["000000.png", "000001.png"]
    first, second = (read_image(path).pixels for path in written)
    assert first.shape == clip_frames[0].shape
    assert (first != second).any()
    assert 0.1 < done.visible_fraction < 0.6
