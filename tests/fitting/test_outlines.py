"""Widths of bodies from masks: a mask that is drawn from a known shape gives that shape's widths back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.estimate import ShapePrior
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.engine.rasterising.op import rasterise
from humanpose_cli.fitting import outlines
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.outlines import outline_priors, outline_samples, outline_shape
from humanpose_cli.fitting.stature import statures
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

CAMERA = Camera(600.0, (320.0, 320.0), (640, 640))
CROP = Affine2D(np.array([[2.0, 0.0, 64.0], [0.0, 2.0, 64.0]]))  # 256 pixels of the mask are 512 of the image
TRANS = np.array([[0.0, 0.1, 2.6]], np.float32)
SHAPE = np.array([0.0, 0.4, -0.5, 1.0, 0.6, -1.2, 0.3, 0.2, 0.0, 0.1])


def pose() -> np.ndarray:
    """Facing the camera, arms and legs spread."""
    angles = np.zeros((1, 24, 3), np.float32)
    angles[0, 0, 0] = np.pi
    angles[0, [1, 2], 2] = 0.2, -0.2
    angles[0, [16, 17], 2] = -0.7, 0.7
    return angles.reshape(1, 72)


def fit_of(betas: np.ndarray) -> KeypointFit:
    zero = {name: np.zeros((1, 1)) for name in ("segment_scales", "joints3d", "joints2d", "joint_confidence")}
    ends = {name: np.zeros(1) for name in ("confidence", "reprojection_error")}
    return KeypointFit(poses=pose(), betas=betas[None].astype(np.float32), trans=TRANS, **zero, **ends)


def mask_of(body: Body, betas: np.ndarray) -> PersonMask:
    """Draw the body of `betas` with the pelvis where that of the mean body is."""
    rotations = axis_angle_to_matrix(torch.from_numpy(pose()).unflatten(1, (-1, 3)))
    shape = torch.from_numpy(betas[None]).float()
    root = body.rest_pelvis(torch.zeros_like(shape)) + torch.from_numpy(TRANS)
    vertices = body.pose(rotations, shape, body.translation_of_root(root, shape)).vertices
    assert vertices is not None
    focal, centre = CAMERA.focal / 2, (np.array(CAMERA.principal_point) - 64) / 2
    centre = torch.from_numpy(centre)[None].float()
    raster = rasterise(vertices, body.faces, torch.tensor([focal]), centre, (256, 256), near=0.1)
    return PersonMask(np.where(raster.face[0].numpy() >= 0, 255, 0).astype(np.uint8), CROP)


def person_of(mask: PersonMask | None, shape: ShapePrior | None = None) -> DetectedPerson:
    keypoints, spread = np.zeros((33, 3), np.float32), np.zeros(33, np.float32)
    return DetectedPerson(np.zeros(4), keypoints, None, spread, None, mask, 1.0, BLAZEPOSE33, shape=shape)


def widths(body: Body, betas: np.ndarray) -> np.ndarray:
    """Measure how wide the waist and the thighs are, metres."""
    vertices = body.rest(torch.from_numpy(betas[None]).float()).vertices[0].numpy()
    joints = body.rest_joints(torch.from_numpy(betas[None]).float())[0].numpy()
    found = []
    for label, height in ((3, joints[3, 1]), (1, (joints[1, 1] + joints[4, 1]) / 2)):
        ring = vertices[(body.part_labels.numpy() == label) & (abs(vertices[:, 1] - height) < 0.03)]
        found.append(np.ptp(ring[:, 0]))
    return np.array(found)


def test_a_body_in_its_mask_has_no_distance() -> None:
    body = default_body()
    samples = outline_samples(body, fit_of(np.zeros(10)), CAMERA, mask_of(body, np.zeros(10)))
    assert len(samples.distance) > 100
    pixel = TRANS[0, 2] / (CAMERA.focal / 2)
    assert abs(np.median(samples.distance)) < 0.1 * pixel
    assert np.percentile(abs(samples.distance), 95) < pixel


def test_the_jacobian_is_that_of_the_drawn_outline() -> None:
    """A body with one beta changed, seen from the mean one: the distances are what the Jacobian says."""
    body, betas = default_body(), np.zeros(10)
    betas[5] = -4.0
    samples = outline_samples(body, fit_of(np.zeros(10)), CAMERA, mask_of(body, betas))
    said = samples.jacobian @ betas
    for part in range(9):
        points = samples.part == part
        assert np.median(said[points]) > 0.005
        assert np.median(samples.distance[points]) == pytest.approx(np.median(said[points]), abs=0.0087)  # a pixel


def test_widths_are_found_and_stature_stays(monkeypatch) -> None:
    monkeypatch.setattr(outlines, "_NOISE", 0.004)
    monkeypatch.setattr(outlines, "_INDEPENDENT", 1000)
    body, mean = default_body(), np.zeros(10)
    samples = outline_samples(body, fit_of(mean), CAMERA, mask_of(body, SHAPE))
    betas = outline_shape([samples], mean, 0)
    assert betas[0] == 0
    before, after = (abs(widths(body, b) / widths(body, SHAPE) - 1) for b in (mean, betas))
    assert (after < 0.03).all()
    assert before.max() > 0.08


def test_a_mask_beside_the_body_gives_no_widths() -> None:
    body, mean = default_body(), np.zeros(10)
    mask = mask_of(body, mean)
    beside = replace(mask, crop=np.roll(mask.crop, 3, 1))  # 26 mm
    straight = outline_shape([outline_samples(body, fit_of(mean), CAMERA, mask)], mean, 0)
    shifted = outline_shape([outline_samples(body, fit_of(mean), CAMERA, beside)], mean, 0)
    np.testing.assert_allclose(shifted, straight, atol=0.35)


def test_outlines_that_touch_another_person_are_left_out() -> None:
    body = default_body()
    mask = mask_of(body, np.zeros(10))
    half = np.zeros_like(mask.crop)
    half[:, 128:] = 255
    samples = outline_samples(body, fit_of(np.zeros(10)), CAMERA, mask, [replace(mask, crop=half)])
    everything = outline_samples(body, fit_of(np.zeros(10)), CAMERA, mask)
    assert 0.3 < len(samples.distance) / len(everything.distance) < 0.7


def test_a_body_behind_the_camera_and_an_empty_mask_give_no_samples() -> None:
    body, fit = default_body(), fit_of(np.zeros(10))
    mask = mask_of(body, np.zeros(10))
    behind = replace(fit, trans=np.array([[0, 0, -3]], np.float32))
    assert outline_samples(body, behind, CAMERA, mask).jacobian.shape == (0, 10)
    empty = replace(mask, crop=np.zeros_like(mask.crop))
    assert len(outline_samples(body, fit, CAMERA, empty).distance) == 0


def test_rows_of_a_group_share_their_shape_and_a_height_stays() -> None:
    body = default_body()
    tall = ShapePrior(np.r_[1.5, np.zeros(9)], np.r_[0.1, np.full(9, 0.2)])
    mask = mask_of(body, SHAPE)
    people = [person_of(mask, tall), person_of(None), person_of(mask)]
    fits = KeypointFit.joined([fit_of(np.zeros(10))] * 3)
    cameras = [FrameCamera("a", CAMERA)]
    priors = outline_priors(body, people, fits, cameras, [4, 7, 4], 0)
    assert list(priors) == [4]  # nothing is known of a person without a mask
    prior = priors[4]
    assert (prior.mean[0], prior.noise[0]) == (1.5, 0.1)
    assert statures(body, torch.from_numpy(prior.mean[None]).float())[0] > 1.8
    np.testing.assert_array_equal(prior.noise[1:], 0.1)
    assert outline_priors(body, people[1:2], fits, cameras, [7], 0) == {}
