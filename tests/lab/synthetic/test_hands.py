"""Hands of synthetic people: within their ranges, bent like the body's, and drawn apart from everything else."""

import numpy as np
import pytest
import torch
from helpers.cached_body import body
from helpers.synthetic_people import dressed, naked, person

from humanpose_cli.core.conventions import FINGERS, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.synthetic import generator
from humanpose_cli.lab.synthetic.generator import SyntheticOptions, SyntheticSource
from humanpose_cli.lab.synthetic.hands import sample_hands, with_hands
from humanpose_cli.lab.synthetic.mesh import pose_dressed
from humanpose_cli.lab.synthetic.scene import StagedPerson

HANDS = sample_hands(np.random.default_rng(5))
OPTIONS = SyntheticOptions(size=64, texture_size=64, seed=4, count=1)


def test_fingers_bend_towards_the_palm_within_their_ranges():
    left, right = np.swapaxes([sample_hands(np.random.default_rng(seed)) for seed in range(200)], 0, 1)
    fingers = [row for row, name in enumerate(FINGERS) if not name.startswith("thumb")]
    for side, hands in ((-1, left), (1, right)):  # palms look down in the T pose
        flexion = np.rad2deg(side * hands[:, fingers, 2])
        assert -21 < flexion.min() < -5
        assert 80 < flexion.max() < 106
    assert np.abs(left - right * (1, -1, -1)).max() > 1, "both hands have their own postures"


def bent_person(mesh, betas, rotations):
    person = StagedPerson(mesh, betas, rotations, torch.zeros(1, 3), ("",))
    return with_hands(body(), person, HANDS)


def test_bent_meshes_are_bent_bodies():
    betas = torch.linspace(-1, 1, 10)
    turns = axis_angle_to_matrix(0.3 * torch.randn(1, 24, 3, generator=torch.Generator().manual_seed(0)))
    bent = bent_person(naked(betas), betas, turns)
    posed = pose_dressed(body(), bent.mesh, bent.rotations, bent.trans)
    turns[:, SMPL24.indices(["left_hand", "right_hand"])] = torch.eye(3)
    expected = body().pose(turns, betas[None], hands=axis_angle_to_matrix(torch.from_numpy(HANDS))[None])
    torch.testing.assert_close(posed, expected.vertices, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_clothes_hold_together_around_bent_hands(seed):
    mesh, betas = dressed(seed), torch.from_numpy(np.float32(person(seed)[0].betas))
    bent = bent_person(mesh, betas, torch.eye(3).expand(1, 24, 3, 3)).mesh
    parts = body().part_labels.numpy()[mesh.body_vertex]
    arms = SMPL24.indices([f"{side}_{name}" for side in ("left", "right") for name in ("elbow", "wrist", "hand")])
    moved = np.linalg.norm(bent.vertices - mesh.vertices, axis=1)
    assert moved[~np.isin(parts, arms)].max() < 1e-6
    assert moved.max() > 0.03
    cloth = mesh.faces[mesh.material != 0]
    before, after = (
        np.linalg.norm(v[cloth] - v[np.roll(cloth, 1, 1)], axis=-1) for v in (mesh.vertices, bent.vertices)
    )
    assert (after - before).max() < 0.01


@pytest.mark.slow
def test_other_labels_do_not_depend_on_the_hands(monkeypatch):
    def sample():
        source = SyntheticSource(OPTIONS)
        return next(source.read(source.groups()[0]))

    with_fingers = sample()
    assert np.abs(with_fingers.people[0].hand_poses).max() > 0.1
    np.testing.assert_array_equal(sample().people[0].hand_poses, with_fingers.people[0].hand_poses)
    monkeypatch.setattr(generator, "with_hands", lambda body, person, hands: person)
    former = sample()
    assert former.focal == with_fingers.focal
    for name in ("identity", "clothing", "activity", "betas", "trans"):
        np.testing.assert_array_equal(getattr(former.people[0], name), getattr(with_fingers.people[0], name))
    poses, former_poses = (each.people[0].poses.reshape(24, 3) for each in (with_fingers, former))
    changed = np.flatnonzero((poses != former_poses).any(1)).tolist()
    assert changed == SMPL24.indices(["left_hand", "right_hand"])
