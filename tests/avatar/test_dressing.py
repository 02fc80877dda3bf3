"""Bodies widened to a silhouette and moved under keypoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, pose

from humanpose_cli.avatar.dressing import (
    DetectedLandmarks,
    DressedBody,
    align_to_keypoints,
    head_scale,
    max_displacements,
    silhouette_displacements,
)
from humanpose_cli.avatar.surface import limb_groups, scalp_and_face
from humanpose_cli.body.body import FACE13
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.rendering.shading import rasterise_view

VIEW = Camera(640.0, (200.0, 270.0), (400, 540))
TRANS = torch.tensor([0.0, 0.0, 2.4])


@pytest.fixture(scope="module")
def dressed(stage: Stage) -> DressedBody:
    return DressedBody.of(stage.body, torch.zeros(10))


def silhouette(vertices: torch.Tensor, faces: torch.Tensor) -> np.ndarray:
    return (rasterise_view(vertices[None], faces, VIEW).face[0] >= 0).numpy().astype(np.float32)


def widen(dressed: DressedBody, mask: np.ndarray, blocked: np.ndarray | None = None) -> np.ndarray:
    """Displacements of the undressed body for a mask."""
    rotations = pose(**STANDING)
    return silhouette_displacements(
        dressed,
        dressed.pose(rotations, TRANS),
        dressed.directions(rotations, TRANS),
        mask,
        np.zeros(mask.shape, bool) if blocked is None else blocked,
        VIEW,
        reliable=np.ones(len(dressed.displacements), bool),
    )


def worn(stage: Stage, thickness: np.ndarray) -> np.ndarray:
    """The silhouette of somebody with clothes of that thickness (V,) metres."""
    bare = DressedBody.of(stage.body, torch.zeros(10))
    clothed = replace(bare, displacements=torch.from_numpy(thickness.astype(np.float32)))
    return silhouette(clothed.pose(pose(**STANDING), TRANS), stage.body.faces)


@pytest.mark.slow
def test_the_silhouette_of_the_body_moves_nothing(stage: Stage, dressed: DressedBody) -> None:
    mask = silhouette(dressed.pose(pose(**STANDING), TRANS), stage.body.faces)
    assert np.abs(widen(dressed, mask)).max() < 0.004


@pytest.mark.slow
def test_thickness_of_clothes_is_found(stage: Stage, dressed: DressedBody) -> None:
    labels = stage.body.part_labels.numpy()
    trunk = parts_mask(labels, ("pelvis", "spine1", "spine2", "spine3"))
    thickness = np.where(trunk, 0.03, 0.0)
    found = widen(dressed, worn(stage, thickness))
    waist = parts_mask(labels, ("spine1", "spine2"))
    assert abs(np.median(found[waist]) - 0.03) < 0.012
    assert abs(np.percentile(found[waist], 95) - 0.03) < 0.004
    shins = parts_mask(labels, ("left_knee", "right_knee"))
    assert np.abs(found[shins]).max() < 0.008


@pytest.mark.slow
def test_widened_outline_meets_the_mask(stage: Stage, dressed: DressedBody) -> None:
    y = stage.body.template[:, 1].numpy()
    mask = worn(stage, 0.02 + 0.01 * np.sin(7 * y))
    naked = silhouette(dressed.pose(pose(**STANDING), TRANS), stage.body.faces)
    clothed = replace(dressed, displacements=torch.from_numpy(widen(dressed, mask).astype(np.float32)))
    drawn = silhouette(clothed.pose(pose(**STANDING), TRANS), stage.body.faces)

    def overlap(a: np.ndarray) -> float:
        return float((a * mask).sum() / np.maximum(a, mask).sum())

    assert overlap(naked) < 0.85
    assert overlap(drawn) > 0.95


@pytest.mark.slow
def test_caps_hold_and_things_held_are_not_clothes(stage: Stage, dressed: DressedBody) -> None:
    mask = silhouette(dressed.pose(pose(**STANDING), TRANS), stage.body.faces)
    mask[200:320, 120:280] = 1  # a crate before the trunk, far wider than it
    inwards, outwards = max_displacements(dressed)
    found = widen(dressed, mask)
    assert (found <= outwards + 1e-9).all()
    assert (found >= -inwards - 1e-9).all()
    head = parts_mask(stage.body.part_labels.numpy(), ("head",))
    assert np.abs(found[head]).max() < 0.006


@pytest.mark.slow
def test_other_people_do_not_widen_anybody(stage: Stage, dressed: DressedBody) -> None:
    mask = silhouette(dressed.pose(pose(**STANDING), TRANS), stage.body.faces)
    crowd = np.zeros(mask.shape, bool)
    crowd[:, 230:] = mask[:, 230:] == 0
    # The mask runs over into the neighbour, as masks of people who touch do.
    wide = mask.copy()
    wide[:, 230:260] = 1
    assert np.abs(widen(dressed, wide, crowd)).max() < 0.012


@pytest.mark.slow
def test_displacements_turn_with_the_body(stage: Stage) -> None:
    bare = DressedBody.of(stage.body, torch.zeros(10))
    clothed = replace(bare, displacements=torch.full_like(bare.displacements, 0.02))
    bent = pose(0.7, left_elbow=(0.0, -1.2, 0.0), right_hip=(-1.0, 0.0, 0.2))
    moved = clothed.pose(bent, TRANS) - bare.pose(bent, TRANS)
    np.testing.assert_allclose(moved.norm(dim=1), 0.02, atol=1e-5)


def keypoints_of(dressed: DressedBody, rotations: torch.Tensor, shift: tuple[float, float], scale: float) -> np.ndarray:
    """Pixels and confidence of the body's own landmarks, its face enlarged about its middle, all shifted."""
    points = VIEW.project(dressed.landmark_points(rotations, TRANS))
    face = BLAZEPOSE33.indices([name for name in FACE13.joint_names if name in BLAZEPOSE33])
    points[face] = points[face].mean(0) + scale * (points[face] - points[face].mean(0))
    shifted = points + torch.tensor(shift)
    return torch.cat((shifted, torch.ones(len(points), 1)), 1).numpy()


def test_surface_follows_keypoints(dressed: DressedBody) -> None:
    rotations = pose(**STANDING)
    keypoints = keypoints_of(dressed, rotations, (5.0, -3.0), 1.0)
    keypoints[BLAZEPOSE33.index("left_wrist")] += (400.0, 0.0, 0.0)  # an error, not a shift
    landmarks = DetectedLandmarks(dressed, rotations, TRANS, keypoints, VIEW)
    vertices = dressed.pose(rotations, TRANS)
    aligned = align_to_keypoints(vertices, dressed, landmarks)
    moved = (VIEW.project(aligned) - VIEW.project(vertices)).numpy()
    np.testing.assert_allclose(np.median(moved, axis=0), (5.0, -3.0), atol=0.5)
    assert np.abs(moved).max() < 12, "an error of the detector moved the surface"
    np.testing.assert_array_equal(aligned[:, 2], vertices[:, 2])
    assert abs(head_scale(landmarks) - 1) < 0.02


def test_head_takes_the_size_of_the_face(dressed: DressedBody) -> None:
    rotations = pose(**STANDING)
    for truth, expected in ((1.15, 1.15), (3.0, 1.25), (0.9, 0.9)):
        keypoints = keypoints_of(dressed, rotations, (0.0, 0.0), truth)
        landmarks = DetectedLandmarks(dressed, rotations, TRANS, keypoints, VIEW)
        if truth < 2:
            assert abs(head_scale(landmarks) - expected) < 0.02
        else:
            assert head_scale(landmarks) <= expected


def test_a_face_of_limited_size_stays_where_it_is(dressed: DressedBody) -> None:
    """The middle of a face that is far too large, or may not grow at all, is where it was detected."""
    rotations = pose(**STANDING)
    for scale, scales in ((3.0, (0.85, 1.25)), (1.1, (1.0, 1.0))):
        keypoints = keypoints_of(dressed, rotations, (4.0, 2.0), scale)
        points = DetectedLandmarks(dressed, rotations, TRANS, keypoints, VIEW)
        head, (before, shifts) = points.head(scales), points.face
        moved = head.apply(torch.nn.functional.pad(before[:, :2], (0, 1)).double())[:, :2]
        np.testing.assert_allclose(moved.mean(0), (before[:, :2] + shifts).mean(0), atol=1e-6)


def test_hidden_keypoints_move_nothing(dressed: DressedBody) -> None:
    rotations = pose(**STANDING)
    keypoints = keypoints_of(dressed, rotations, (5.0, 5.0), 1.3)
    keypoints[:, 2] = 0.1
    landmarks = DetectedLandmarks(dressed, rotations, TRANS, keypoints, VIEW)
    vertices = dressed.pose(rotations, TRANS)
    assert align_to_keypoints(vertices, dressed, landmarks) is vertices
    assert head_scale(landmarks) == 1


def test_regions_lie_where_their_names_say(stage: Stage) -> None:
    body = stage.body
    template = body.template.numpy()
    hair, face = scalp_and_face(body)
    assert not (hair & face).any()
    head = parts_mask(body.part_labels.numpy(), ("head",))
    assert hair[head][template[head][:, 1].argmax()], "the crown has hair"
    assert hair[head][template[head][:, 2].argmin()], "the back of the head has hair"
    assert face[head][template[head][:, 2].argmax()], "the nose is in the face"
    groups = limb_groups()
    left, right = SMPL24.indices(("left_elbow", "right_elbow"))
    assert groups[left] != groups[right]
    assert groups[SMPL24.index("head")] == groups[SMPL24.index("pelvis")]
    assert groups[SMPL24.index("left_foot")] == groups[SMPL24.index("left_hip")]
