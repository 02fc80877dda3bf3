"""What a guided segmenter is shown beside the image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.painted_people import SIZE, person_and_maps

from humanpose_cli.body.parts import PARTS12
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.models.crops import CropEvidence
from humanpose_cli.models.segmenter.inputs import GUIDE_CHANNELS, as_bytes, code_colours, paint_guide
from humanpose_cli.models.segmenter.network import SegmenterOptions, build_segmenter, segmenter_input

TINY = SegmenterOptions("tiny", crop=64, width=4, guided=True)


def colour_of(joint):
    return as_bytes(code_colours(12))[1 + PARTS12.rows[SMPL24.index(joint)]] / 255


def evidence_of(**changes):
    person, maps = person_and_maps(3)
    mask = (maps["persons"] > 0).astype(np.float32)
    evidence = CropEvidence(SIZE, landmarks=person.detected, world=person.detected_world[:, :3], mask=mask)
    return replace(evidence, **changes)


def test_sticks_have_the_colours_of_their_parts_and_the_mask_is_the_last():
    evidence = evidence_of(world=None)
    landmarks = evidence.landmarks.copy()
    spread = np.linspace(4, 60, len(landmarks))  # far from each other, in no order
    landmarks[:, 0], landmarks[:, 1] = spread, np.roll(spread, 7)
    evidence = replace(evidence, landmarks=landmarks)
    guide = paint_guide(evidence, PARTS12)
    assert guide.shape == (GUIDE_CHANNELS, SIZE, SIZE)
    np.testing.assert_array_equal(guide[3], evidence.mask)
    painted = {tuple(np.round(colour, 2)) for colour in guide[:3].reshape(3, -1).T if colour.any()}
    for joint in ("left_shoulder", "right_elbow", "left_knee", "head", "pelvis"):
        assert tuple(np.round(colour_of(joint), 2)) in painted, joint


def test_a_nearer_limb_hides_the_farther_one():
    evidence = evidence_of()
    landmarks, world = evidence.landmarks.copy(), np.zeros((33, 3), np.float32)
    for side, depth in (("left", -1.0), ("right", 1.0)):
        rows = BLAZEPOSE33.indices((f"{side}_elbow", f"{side}_wrist"))
        landmarks[rows, :2] = [[10, 50], [50, 50]]
        world[rows, 2] = depth
    for nearer, sign in (("left", 1), ("right", -1)):
        guide = paint_guide(replace(evidence, landmarks=landmarks, world=sign * world), PARTS12)
        np.testing.assert_allclose(guide[:3, 50, 30], colour_of(f"{nearer}_elbow"), atol=0.01)


def test_doubt_is_faint_and_what_is_not_visible_is_not_painted():
    evidence = evidence_of()
    landmarks = evidence.landmarks.copy()
    landmarks[:, 2] = 0.5
    assert paint_guide(replace(evidence, landmarks=landmarks), PARTS12)[:3].max() == pytest.approx(0.5, abs=0.01)
    landmarks[:, 2] = 0.05
    assert paint_guide(replace(evidence, landmarks=landmarks), PARTS12)[:3].max() == 0
    assert not paint_guide(CropEvidence(SIZE), PARTS12).any()
    wild = replace(evidence, landmarks=np.full((33, 3), 1e9, np.float32))
    assert np.isfinite(paint_guide(wild, PARTS12)).all()


def test_a_mirrored_person_has_the_mirrored_guide_with_sides_exchanged():
    evidence = evidence_of(world=None)
    landmarks = evidence.landmarks[list(BLAZEPOSE33.mirror)] * np.float32([-1, 1, 1]) + np.float32([SIZE - 1, 0, 0])
    mirrored = paint_guide(replace(evidence, landmarks=landmarks, mask=evidence.mask[:, ::-1]), PARTS12)
    plain = paint_guide(evidence, PARTS12)[:, :, ::-1].copy()
    colours = code_colours(12)[1:] / 2 + 0.5
    exchanged = np.zeros_like(plain)
    exchanged[3] = plain[3]
    for label, other in enumerate(PARTS12.mirror):
        here = np.isclose(plain[:3], colours[label][:, None, None], atol=0.01).all(0)
        exchanged[:3, here] = colours[other][:, None]
    # Sticks of a few pixels: their edges and what lies over what may differ.
    assert np.isclose(mirrored[:3], exchanged[:3], atol=0.02).all(0).mean() > 0.93


def test_a_guided_segmenter_sees_seven_channels_with_or_without_a_detection():
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    inputs = [segmenter_input(each, TINY) for each in (replace(evidence_of(), image=image), CropEvidence(SIZE, image))]
    assert inputs[0].shape == inputs[1].shape == (TINY.channels, SIZE, SIZE) == (7, SIZE, SIZE)
    guided, alone = build_segmenter(TINY).eval()(torch.from_numpy(np.stack(inputs)))
    assert guided.shape == (13, SIZE, SIZE)
    assert (guided - alone).abs().max() > 1e-4
    with raises(UsageError, problem="light segmenters"):
        SegmenterOptions("deeplab-vgg16", guided=True)
