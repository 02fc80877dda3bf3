"""Refining fits of a drawn person: errors shrink, harm is refused, frames are found by name, people hide each other."""

import copy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.walking_person import CAMERA

import humanpose_cli as hp
from humanpose_cli.avatar.person_view import person_views
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.person import PersonMask
from humanpose_cli.files.digests import digest_of
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import FrameSource
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.coco_annotations import LOCKED_CONFIDENCE
from humanpose_cli.io.densepose_files import encode_densepose
from humanpose_cli.io.detections import UserDetections
from humanpose_cli.io.fit_files import COLUMNS, ROW_COLUMNS
from humanpose_cli.io.images import png_text, write_image
from humanpose_cli.lab.cache.label_maps import LabelledMesh, labels_of, render_label_maps
from humanpose_cli.models.deform_and_learn.correspondences import texture_charts
from humanpose_cli.models.refiner.network import MODEL, DisplacementNetwork, DisplacementOptions
from humanpose_cli.networks.weights import WEIGHTS, WeightsHeader, write_weights
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import RefineOptions, preset_options
from humanpose_cli.refining.outputs import apply_steps
from humanpose_cli.refining.refiner import Alignment, Refiner
from humanpose_cli.refining.steps import Refinement, read_textures
from humanpose_cli.rendering.body_maps import BODY_FILL
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Surface

PER_FRAME = [name for name in COLUMNS if name not in ROW_COLUMNS]
QUICK = RefineOptions("flow", size=192, points=120, rounds=1)


@pytest.fixture
def masks(monkeypatch, walk):
    """The true silhouettes in place of the pose network's, which finds nobody in a drawing this small."""
    true = body_vertices(walk.body, walk.fit(), np.arange(5))

    def true_masks(fit, rows, image, pool, painted=None):
        found = []
        for row in rows:
            square = np.zeros((360, 360), np.uint8)
            square[:, :320] = render_people([Surface(true[fit.frame_index[row]], walk.body.faces)], CAMERA)[..., 3]
            found.append(PersonMask(square, Affine2D.identity()))
        return found

    monkeypatch.setattr("humanpose_cli.refining.refiner.masks_of_rows", true_masks)


def error(fit, walk) -> float:
    """Mean distance of the joints from the true ones, metres."""
    return float(np.linalg.norm(fit.joints3d - walk.fit().joints3d, axis=-1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("correspondence", ["flow", *extensive("keypoints")])
def test_a_fit_that_is_off_comes_nearer_to_the_truth(walk, masks, correspondence):
    start = walk.off()
    with Refiner(replace(QUICK, correspondence=correspondence)) as refiner:
        refined = refiner.refine(start, FitFrames.of(start, walk.frames))
    assert error(refined, walk) < 0.8 * error(start, walk)
    track = refined.options.refinement["tracks"]["0"]
    assert track["accepted"] == [1.0] * 5
    assert track["frames"] == [0, 1, 2, 3, 4]
    assert np.mean(track["overlap_after"]) > np.mean(track["overlap_before"]) + 0.02
    assert refined.reprojection_error.mean() < 5
    assert np.array_equal(refined.betas, np.tile(refined.betas[:1], (5, 1)))


@pytest.mark.extensive
def test_flow_alone_pulls_without_keypoints(walk, masks):
    """To a texture of the true bodies; one that the fit itself made is moved with the fit."""
    start = walk.off()
    start = replace(start, keypoints2d=start.keypoints2d * np.float32([1, 1, 0]))
    with Refiner(QUICK) as refiner:
        texture = refiner.textures(walk.fit(), FitFrames.of(walk.fit(), walk.frames))
        moved = refiner.align(start, FitFrames.of(start, walk.frames), textures=texture).moved
    assert error(moved, walk) < 0.9 * error(start, walk)
    np.testing.assert_array_equal(moved.reprojection_error, start.reprojection_error)


@pytest.mark.extensive
def test_without_keypoints_wrong_ones_pull_nowhere(walk, masks):
    start = walk.off()
    misled = replace(start, keypoints2d=start.keypoints2d + np.float32([25, 10, 0]))
    with Refiner(replace(QUICK, with_keypoints=False)) as refiner:
        texture = refiner.textures(start, FitFrames.of(start, walk.frames))
        moved = [refiner.align(fit, FitFrames.of(fit, walk.frames), textures=texture).moved for fit in (start, misled)]
    np.testing.assert_array_equal(moved[0].poses, moved[1].poses)
    assert np.abs(moved[0].poses - start.poses).max() > 0.01
    with raises(UsageError, subject="with_keypoints"):
        RefineOptions("keypoints", with_keypoints=False)


@pytest.mark.extensive
def test_locked_keypoints_are_met_where_all_else_is_refused(walk, masks, monkeypatch):
    """The wrist of a raised forearm, in one frame."""
    start, wrist, raised = walk.fit(), BLAZEPOSE33.index("left_wrist"), walk.rotations.clone()
    raised[:, SMPL24.index("left_elbow")] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.0]))
    keypoints = start.keypoints2d.copy()
    keypoints[2, wrist] = replace(walk, rotations=raised).fit().keypoints2d[2, wrist]
    moved = np.linalg.norm(keypoints[2, wrist] - start.keypoints2d[2, wrist])
    keypoints[2, wrist, 2] = LOCKED_CONFIDENCE
    monkeypatch.setattr(Refiner, "identity", {})
    monkeypatch.setattr("humanpose_cli.refining.refiner.keypoints_of_file", lambda *arguments: keypoints)
    with Refiner(replace(QUICK, correspondence="keypoints"), keypoints=UserDetections(Path("file"))) as refiner:
        refined = refiner.refine(start, FitFrames.of(start, walk.frames))
    rotations = axis_angle_to_matrix(torch.from_numpy(refined.poses).view(5, -1, 3))
    betas = torch.from_numpy(refined.betas)
    posed = walk.body.pose(rotations, betas, torch.from_numpy(refined.trans))
    pixels = CAMERA.project(walk.body.pose_landmarks("blazepose33", posed, betas)).numpy()
    miss = np.linalg.norm(pixels[2, wrist] - keypoints[2, wrist, :2])
    size = np.ptp(keypoints[2, :, 1])
    assert miss < 3 / 500 * size < 0.1 * moved
    assert refined.keypoints2d[2, wrist, 2] == 1


@pytest.mark.extensive
def test_textures_are_made_anew_after_the_first_round_unless_they_are_passed(walk, masks, monkeypatch):
    start, made = walk.off(), []
    baked = Refiner.textures
    monkeypatch.setattr(Refiner, "textures", lambda self, fit, *a, **k: made.append(fit) or baked(self, fit, *a, **k))
    with Refiner(replace(QUICK, rounds=2)) as refiner:
        frames = FitFrames.of(start, walk.frames)
        refiner.align(start, frames)
        assert len(made) == 2
        assert made[0] is start
        assert error(made[1], walk) < error(start, walk)
        textures = baked(refiner, start, frames)
        made.clear()
        refiner.align(start, frames, textures=textures)
        assert not made
    with Refiner(replace(QUICK, correspondence="keypoints", rounds=2)) as refiner:
        made.clear()
        refined = refiner.refine(start, frames)
        assert error(made[0], walk) < error(start, walk)  # once, under the refined bodies
        assert [len(made), *refined.textures] == [1, 0]


@pytest.mark.extensive
def test_densepose_alone_pulls_to_the_pixels_that_show_the_vertices(walk, masks, tmp_path):
    """IUV images of the true bodies, as DensePose writes them, read by name."""
    charts = texture_charts(walk.body)
    of_vertex = torch.zeros(len(walk.body.template), dtype=torch.long)
    of_vertex[charts.vertices] = torch.arange(len(charts.vertices))
    table = torch.cat((charts.charts[:, None], (255 * charts.uv).round()), 1).numpy().astype(np.uint8)
    for frame, vertices in enumerate(body_vertices(walk.body, walk.fit(), np.arange(5))):
        mesh = LabelledMesh(vertices, walk.body.faces, labels_of(walk.body))
        shown = render_label_maps([mesh], CAMERA, ("correspondence",))["correspondence"][..., 0].astype(int)
        iuv = np.where(shown[..., None] > 0, table[of_vertex[np.maximum(shown - 1, 0)]], 0).astype(np.uint8)
        (tmp_path / f"{frame:06d}_IUV.png").write_bytes(encode_densepose(iuv[..., ::-1]))
    start = walk.off()
    start = replace(start, keypoints2d=start.keypoints2d * np.float32([1, 1, 0]))
    options = {"body": walk.body, "correspondence": "densepose", "densepose": tmp_path}
    refined = hp.refine(start, walk.frames, **options)
    assert error(refined, walk) < 0.6 * error(start, walk)
    with raises(UsageError, subject="densepose"):
        hp.refine(start, walk.frames, correspondence="densepose")
    with raises(UsageError, subject="densepose"):
        hp.refine(start, walk.frames, **(options | {"correspondence": "flow"}))
    (tmp_path / "000003_IUV.png").unlink()
    with raises(InputError, problem="has nothing about 000003"):
        hp.refine(start, walk.frames, **options)


@pytest.mark.extensive
def test_a_fit_that_is_better_than_its_keypoints_hardly_moves(walk, masks):
    """Keypoints off by 2.5 noise levels, each in its own direction: followed, they would make it a quarter worse."""
    start = walk.off(0.02)
    sigma = 1.2 * np.ptp(start.boxes[:, 1::2], axis=1).max() / (BODY_FILL * 256)
    away = np.random.default_rng(0).normal(size=(1, 33, 2))
    keypoints = start.keypoints2d.copy()
    keypoints[..., :2] += 2.5 * sigma * away / np.linalg.norm(away, axis=-1, keepdims=True)
    start = replace(start, keypoints2d=keypoints)
    with Refiner(replace(QUICK, correspondence="keypoints")) as refiner:
        moved = refiner.align(start, FitFrames.of(start, walk.frames)).moved
    assert error(moved, walk) < 1.1 * error(start, walk)


@pytest.mark.extensive
def test_a_perfect_fit_with_segment_scales_stays(walk, masks):
    """It moves no more than the same fit with all scales 1."""
    moves = []
    for scale in (1.0, 1.15):
        start = walk.scaled(scale)
        with Refiner(replace(QUICK, correspondence="keypoints")) as refiner:
            moved = refiner.align(start, FitFrames.of(start, walk.frames)).moved
        np.testing.assert_array_equal(moved.segment_scales, start.segment_scales)
        moves.append(np.linalg.norm(moved.joints3d - start.joints3d, axis=-1).mean())
    assert moves[1] < 1.1 * moves[0] + 1e-4


@pytest.mark.slow
def test_what_aligns_worse_is_refused(walk, masks):
    start = walk.fit()
    wrong = start.keypoints2d + np.float32([25, 10, 0])
    misled = replace(start, keypoints2d=wrong)
    with Refiner(replace(QUICK, correspondence="keypoints")) as refiner:
        refined = refiner.refine(misled, FitFrames.of(misled, walk.frames))
    np.testing.assert_array_equal(refined.poses, start.poses)
    np.testing.assert_array_equal(refined.joints3d, start.joints3d)
    track = refined.options.refinement["tracks"]["0"]
    assert track["accepted"] == [0.0] * 5
    assert track["overlap_after"] == track["overlap_before"]


def test_of_frames_of_another_clip_nothing_is_accepted(walk):
    fit, overlaps = walk.fit(), np.tile([0.5, 0.55, 0.59], (5, 1))
    with Refiner(replace(QUICK, correspondence="keypoints")) as refiner:
        alignment = Alignment(fit, fit, overlaps, np.zeros(5, bool), other_clip=True)
        kept = refiner.accept(alignment)
        again = refiner.accept(alignment._replace(fit=kept, other_clip=False))
    assert kept.options.doubts == ["the frames may be of another clip"]
    assert kept.options.refinement["tracks"]["0"]["accepted"] == [0.0] * 5
    assert min(again.options.refinement["tracks"]["0"]["accepted"]) > 0
    assert again.options.doubts is None


def test_textures_appear_with_their_fit(walk, tmp_path, monkeypatch):
    fit = replace(walk.fit(), sources=(FrameSource(array=walk.frames),))
    output, textures = tmp_path / "a.fit.npz", {0: np.zeros((8, 8, 4), np.uint8)}
    monkeypatch.setattr(Refiner, "textures", lambda *_, **__: textures)
    with Refiner(QUICK) as refiner:
        monkeypatch.setattr(Refiner, "refine", lambda *_, **__: interrupted())
        with pytest.raises(KeyboardInterrupt):
            apply_steps([fit], [Refinement(refiner)], output, FitOutputs(overlay=False))
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(Refiner, "refine", lambda *_, **__: replace(fit, textures=textures))
        _, files = apply_steps([fit], [Refinement(refiner)], output, FitOutputs(overlay=False))
        assert files == (output, tmp_path / "a.person0.texture.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fit.npz", "a.person0.texture.png"]
    assert "default" in png_text(tmp_path / "a.person0.texture.png").values()
    other = copy.copy(walk.body)
    other.name = "smpl-male"
    with raises(InputError, problem="is a texture of another body", expected="smpl-male", got="default"):
        read_textures(tmp_path, replace(fit, model=other), output)


def interrupted():
    raise KeyboardInterrupt


def test_a_fit_without_people_stays_empty(walk):
    empty = walk.fit().select([])
    assert hp.refine(empty, walk.frames) is not None
    assert len(hp.refine(empty, walk.frames)) == 0


def test_frames_are_found_by_name_and_missing_ones_are_named(walk, tmp_path):
    fit = replace(walk.fit(), frame_names=np.array([f"f{i}.png" for i in range(5)]))
    for i in (0, 1, 2, 3, 4, 5):
        write_image(tmp_path / f"f{i}.png", walk.frames[min(i, 4)])
    read = list(FitFrames.of(fit, tmp_path).read())
    assert [frame for frame, _ in read] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(read[3][1], walk.frames[3])
    part = replace(fit.select([]), **{name: getattr(fit, name)[2:4] for name in PER_FRAME})
    images = hp.refine(part, tmp_path).images  # what its overlay is drawn on
    assert [frame.name for frame in images.frames()] == ["f2.png", "f3.png"]
    np.testing.assert_array_equal(images.frame(1), walk.frames[3])
    (tmp_path / "f2.png").unlink()
    with raises(InputError, problem="lacks 1 of the fit's 5 frames: f2.png"):
        list(FitFrames.of(fit, tmp_path).read())


def test_other_frames_are_refused(walk):
    with raises(UsageError, problem="do not match the fit"):
        FitFrames.of(walk.fit(), walk.frames[:3])
    with raises(InputError, problem="not the frame that was fitted"):
        list(FitFrames.of(walk.fit(), walk.frames[:, :100]).read())
    with raises(UsageError, problem="a fit file holds no pixels"):
        hp.refine(walk.fit())


def network_file(folder, shift=0.0):
    """Write a network that says of all pixels that they are `shift` cells to the right and below; its path."""
    options = DisplacementOptions(crop=64, width=4)
    network, path = DisplacementNetwork(options), folder / "refiner.safetensors"
    torch.nn.init.constant_(network.levels[-1].head.bias, shift)
    write_weights(path, network.state_dict(), WeightsHeader(MODEL, asdict(options)))
    return path


@pytest.mark.extensive
def test_the_papers_procedure_keeps_all_that_its_network_moves(walk, masks, tmp_path):
    """Frame by frame, from nothing but displacements at all visible vertices; SMPLify itself has keypoints alone."""
    paper = preset_options("paper", prior="none")
    assert (paper.correspondence, paper.with_keypoints, paper.rounds) == ("network", False, 1)
    smplify = preset_options("paper", "keypoints", "none")
    assert (smplify.with_keypoints, smplify.weights) == (True, paper.weights)
    assert preset_options("default", "flow", "none") == RefineOptions("flow", prior="none")
    fit = walk.off()
    with Refiner(replace(paper, size=128, points=500), weights=network_file(tmp_path, 0.1)) as refiner:
        refined = refiner.refine(fit, FitFrames.of(fit, walk.frames))
    report = refined.options.refinement
    assert report["tracks"]["0"]["accepted"] == [1, 1, 1, 1, 1]
    assert report["settings"]["weights"]["anchor"] is False
    assert not np.array_equal(refined.poses, fit.poses)


def test_options_are_checked():
    with raises(UsageError, expected="network, flow, keypoints, densepose"):
        RefineOptions("guesses")
    with raises(UsageError, subject="weights"):
        Refiner(RefineOptions("keypoints"), weights="run")
    assert Refiner(preset_options("paper")).identity["network"] == WEIGHTS["refiner"].digest[:16]


@pytest.mark.extensive
def test_the_network_compares_where_weights_are_named(tmp_path, walk, masks):
    file = network_file(tmp_path)
    start = walk.off()
    options = replace(QUICK, correspondence="auto")
    with Refiner(options, weights=file) as refiner:  # its last layers are zero: it says that all is well
        assert refiner.options.correspondence == "network"
        refined = refiner.refine(start, FitFrames.of(start, walk.frames))
    settings = refined.options.refinement["settings"]
    assert settings == refiner.identity
    assert settings["network"] == digest_of(file)[:16]
    assert Refiner(options).options.correspondence == "keypoints"
    batch_sizes = []
    with Refiner(options, weights=file, batch_size=2) as refiner:
        compare = refiner._correspondence
        refiner._correspondence = lambda drawn, photos: batch_sizes.append(len(photos)) or compare(drawn, photos)
        again = refiner.refine(start, FitFrames.of(start, walk.frames))
    assert batch_sizes == [2, 2, 1]
    np.testing.assert_allclose(again.poses, refined.poses, atol=1e-4)


def test_the_nearer_person_hides_the_other(walk, body):
    vertices = body_vertices(body, walk.fit(), np.array([0]))[0]
    behind = vertices + vertices.new_tensor([0.25, 0.0, 1.0])
    views = person_views(walk.frames[0], [vertices, behind], body.faces, CAMERA, 128)
    assert not views[0].hidden[60:70, 60:70].any()
    covered = views[1].crop.points(CAMERA.project(vertices)).astype(int)
    inside = ((covered >= 2) & (covered < 126)).all(1)
    assert views[1].hidden[covered[inside, 1], covered[inside, 0]].mean() > 0.9
