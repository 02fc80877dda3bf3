"""Long things in hands: which pixels are one, and how it moves with the hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, mesh_reposer, pose

from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions, PropOptions
from humanpose_cli.avatar.props import _begins_at, _held, _straight_pieces
from humanpose_cli.core.conventions import SMPL24

pytestmark = pytest.mark.slow

RED, OPTIONS = (255, 0, 0), PropOptions()


def with_stick(stage: Stage, rotations: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Somebody before a grey wall with a red stick of 40 cm in the left hand; their mask does not hold it."""
    photo, mask = stage.person(rotations)
    photo = np.where(mask[..., None] > 0.05, photo, np.uint8(128))
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hand = stage.view.project(joints[[SMPL24.index("left_hand")]]).numpy()[0]
    away = np.array([0.28, 0.96])
    start, end = (hand + stage.view.focal / 2.4 * metres * away for metres in (0.12, 0.52))
    stick = np.zeros(mask.shape, np.uint8)
    cv2.line(stick, tuple(np.rint(start).astype(int)), tuple(np.rint(end).astype(int)), 1, 4)
    stick[mask > 0.05] = 0
    return np.where(stick[..., None] > 0, np.uint8(RED), photo), mask, stick > 0


def reposer_of(stage: Stage, photo: np.ndarray, mask: np.ndarray, rotations: torch.Tensor, **options) -> MeshReposer:
    return mesh_reposer(photo, mask, stage.fitted(rotations), stage.body, options=MeshOptions(grain=False), **options)


def red(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] > 215) & (image[..., 1] < 60) & (image[..., 2] < 60)


@pytest.fixture(scope="module")
def holding(stage: Stage) -> tuple[np.ndarray, np.ndarray, np.ndarray, torch.Tensor]:
    rotations = pose(**STANDING)
    return *with_stick(stage, rotations), rotations


def test_a_stick_is_found(stage: Stage, holding) -> None:
    photo, mask, stick, rotations = holding
    (prop,) = reposer_of(stage, photo, mask, rotations).person.props
    assert prop.side == "left"
    assert prop.length == pytest.approx(0.4, abs=0.05)
    assert (prop.pixels & stick).sum() > 0.97 * stick.sum()
    assert (prop.pixels & ~cv2.dilate(stick.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)).sum() == 0


def test_it_is_carried(stage: Stage, holding) -> None:
    """Where the hand goes; in the photographed pose it lies along itself, nearer by the gap to the hand."""
    photo, mask, stick, rotations = holding
    reposer = reposer_of(stage, photo, mask, rotations)
    same = red(reposer.render(rotations).image)
    rows, columns = np.nonzero(same)
    slope = np.polyfit(rows, columns, 1)[0]
    assert slope == pytest.approx(0.28 / 0.96, abs=0.05)
    assert same.sum() == pytest.approx(stick.sum(), rel=0.35)
    lowered = pose(**{**STANDING, "left_shoulder": (0.0, 0.0, -1.2)})
    drawn = reposer.render(lowered).image
    joints = stage.body.pose(lowered[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hand = stage.view.project(joints[[SMPL24.index("left_hand")]]).numpy()[0]
    away = np.linalg.norm(np.argwhere(red(drawn))[:, ::-1] - hand, axis=1)
    assert len(away) > 0.5 * stick.sum()
    assert away.min() < 12
    assert not red(drawn)[stick].any(), "it is still where it was"
    assert any(
        doubt.kind == "props" for doubt in reposer.person.doubts(reposer.person.pose._replace(rotations=lowered))
    )


@pytest.mark.extensive
def test_it_can_stay_or_vanish(stage: Stage, holding) -> None:
    photo, mask, stick, rotations = holding
    lowered = pose(**{**STANDING, "left_shoulder": (0.0, 0.0, -1.2)})
    kept = reposer_of(stage, photo, mask, rotations, props="keep")
    far = stick & (cv2.distanceTransform((mask < 0.05).astype(np.uint8), cv2.DIST_L2, 5) > 12)
    image = kept.render(lowered).image
    np.testing.assert_array_equal(image[far], photo[far])
    gone = reposer_of(stage, photo, mask, rotations, props="remove").render(lowered).image
    assert not red(gone).any()
    outside = cv2.dilate(stick.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert np.abs(gone[outside].astype(int) - image[outside]).max() <= 1  # seams are evened


@pytest.mark.extensive
def test_without_a_thing_nothing_changes(stage: Stage) -> None:
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    carried, kept = (reposer_of(stage, photo, mask, rotations, props=props) for props in ("carry", "keep"))
    assert carried.person.props == ()
    np.testing.assert_array_equal(carried.render(rotations).image, kept.render(rotations).image)


def test_a_hidden_hand_holds_nothing(stage: Stage, holding) -> None:
    photo, mask, _, rotations = holding
    visibility = np.ones(24, np.float32)
    visibility[SMPL24.indices(("left_wrist", "left_hand"))] = 0
    fit = replace(stage.fitted(rotations), joint_visibility=visibility)
    hidden = mesh_reposer(photo, mask, fit, stage.body, options=MeshOptions(grain=False))
    assert hidden.person.props == ()
    reasons = {reason for _, _, reason, _ in hidden.person.doubts(hidden.person.pose)}
    assert reasons == {"left hand hidden"}


@pytest.mark.extensive
def test_an_edge_along_the_body_is_not_held(stage: Stage) -> None:
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    photo = np.where(mask[..., None] > 0.05, photo, np.uint8(128))
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hand, shoulder = stage.view.project(joints[SMPL24.indices(("left_hand", "left_shoulder"))]).numpy()
    along = (shoulder - hand) / np.linalg.norm(shoulder - hand)
    start = hand + 0.06 * stage.view.focal / 2.4 * np.array([along[1], -along[0]]) * np.sign(-along[1])
    edge = np.zeros(mask.shape, np.uint8)
    cv2.line(edge, *(tuple(np.rint(point).astype(int)) for point in (start, start + 80 * along)), 1, 3)
    photo[(edge > 0) & (mask < 0.05)] = RED
    fit = stage.fitted(rotations)
    for share, count in ((1.0, 1), (OPTIONS.max_beside, 0)):
        options = MeshOptions(grain=False, props=replace(OPTIONS, max_beside=share))
        assert len(mesh_reposer(photo, mask, fit, stage.body, options=options).person.props) == count


@pytest.mark.parametrize(
    ("start", "end", "rest", "held"),
    [
        ((60, 50), (110, 50), None, True),
        ((60, 50), (110, 80), None, True),
        ((60, 62), (110, 62), None, False),  # beside the hand
        ((30, 50), (80, 50), None, False),  # across it
        ((60, 50), (110, 50), ((10, 50), (30, 50)), False),  # goes on at the other side of the hand
        ((60, 50), (110, 50), ((114, 50), (145, 50)), False),  # goes on beyond a gap
        ((60, 50), (110, 50), ((10, 80), (30, 80)), True),  # another line
    ],
)
def test_a_thing_begins_at_the_hand_and_goes_on_nowhere(start, end, rest, held) -> None:
    hand, person, piece, unlike = (np.zeros((100, 160), np.uint8) for _ in range(4))
    hand[45:56, 45:56], person[40:100, 35:56] = 1, 1
    cv2.line(piece, start, end, 1, 2)
    unlike += piece
    if rest:
        cv2.line(unlike, *rest, 1, 3)
    masks = (hand > 0, piece > 0, unlike > 0, person == 0)
    assert _begins_at(*masks, 100.0, OPTIONS) == held


@pytest.mark.parametrize(
    ("corners", "found"),
    [
        ([(20, 30), (70, 60)], True),
        ([(20, 30), (40, 42)], False),  # too short
        ([(0, 30), (70, 60)], False),  # reaches the edge
        ([(20, 30), (50, 60), (90, 30)], False),  # bent
    ],
)
def test_straight_pieces(corners, found) -> None:
    image = np.zeros((100, 120), np.uint8)
    cv2.polylines(image, [np.int32(corners)], False, 1, 3)
    pieces = _straight_pieces(image > 0, 100.0, OPTIONS)
    assert len(pieces) == found
    wide = cv2.dilate(image, np.ones((21, 21), np.uint8))
    assert not _straight_pieces(wide > 0, 100.0, OPTIONS)


def test_gaps_to_the_hand_are_closed() -> None:
    along = torch.tensor([[0.1, 0.02], [0.5, 0.03]])
    torch.testing.assert_close(_held(along), torch.tensor([[0.0, 0.0], [0.4, 0.01]]))
    through = torch.tensor([[-0.1, 0.02], [0.5, 0.03]])
    torch.testing.assert_close(_held(through), through)
