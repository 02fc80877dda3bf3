"""Fits of rendered clips: whose fit it is, by which method, and that real ones are near the people."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.fit_values import record, values

from humanpose_cli.body.body import default_body
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.images import encode_image
from humanpose_cli.lab.cache.samples import Person, Sample
from humanpose_cli.lab.synthetic.fits import ClipFitter
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions


class Recorded:
    """A fitter or refiner that gives what it was made with, and keeps what it was given."""

    def __init__(self, fit):
        self.fit, self.calls = fit, []

    def fit_sequence(self, frames, **options):
        self.calls.append([(frame.focal, frame.principal_point, frame.pixels.shape) for frame in frames])
        return self.fit

    def align(self, fit, frames):
        return SimpleNamespace(moved=replace(fit, poses=fit.poses + 1))


@pytest.fixture
def clip():
    """Two frames: in the first two people, one of them partly hidden; in the second one whose box is not known."""
    image = encode_image(np.zeros((480, 640, 3), np.uint8), ".png")
    left, right = (
        Person(identity="left", box=np.float32([10, 20, 110, 220])),
        Person(box=np.float32([60, 20, 160, 220])),
    )
    people = [(right, left), (Person(),)]
    return [Sample(str(i), image, (640, 480), 500.0 + i, (320.0, 200.0), its, frame=i) for i, its in enumerate(people)]


def fitter(fit):
    result = ClipFitter()
    result.__dict__["_fitters"] = {name: Recorded(fit) for name in ("keypoints", "nbf")}
    result.__dict__["_refiner"] = Recorded(fit)
    return result


def test_a_fit_belongs_to_the_person_of_its_box(clip):
    fit = Fit(**vars(record()))
    (right, left), (third,) = (sample.people for sample in fitter(fit)(0, clip))
    np.testing.assert_array_equal(left.fit_poses, fit.poses[0])
    np.testing.assert_array_equal(left.fit_betas, fit.betas[0])
    np.testing.assert_array_equal(left.fit_trans, fit.trans[0])
    assert right.fit_poses is None
    assert third.fit_poses is None
    columns = values(tracks=(0, 1, 2), frames=(0, 0, 1))
    boxes = [[60, 20, 160, 220], [9, 20, 110, 220], [0, 0, 9, 9]]
    both = fitter(Fit.build(**{**columns, "boxes": boxes}))
    (right, left), _ = (sample.people for sample in both(0, clip))
    np.testing.assert_array_equal(right.fit_poses, fit.poses[0])
    np.testing.assert_array_equal(left.fit_poses, fit.poses[1])


def test_methods_take_turns_and_every_second_pair_of_clips_is_refined(clip):
    fit = Fit(**vars(record()))
    clip_fitter, methods = fitter(fit), []
    for number in range(6):
        previous_counts = [len(each.calls) for each in clip_fitter._fitters.values()]
        person = clip_fitter(number, clip)[0].people[1]
        counts = [len(each.calls) for each in clip_fitter._fitters.values()]
        methods.append(
            (
                counts[0] - previous_counts[0],
                counts[1] - previous_counts[1],
                float(person.fit_poses[0] - fit.poses[0, 0]),
            )
        )
    assert methods == [(1, 0, 0.0), (0, 1, 0.0), (1, 0, 1.0), (0, 1, 1.0), (1, 0, 0.0), (0, 1, 0.0)]
    assert clip_fitter._fitters["keypoints"].calls[0] == [(500.0 + i, (320.0, 200.0), (480, 640, 3)) for i in range(2)]


def test_a_clip_without_a_detected_person_has_no_fits(clip):
    empty = Fit.empty(["0", "1"], [(640, 480)] * 2, [500.0] * 2)
    for number in (0, 2):
        assert [p.fit_poses for sample in fitter(empty)(number, clip) for p in sample.people] == [None] * 3


@pytest.mark.extensive
def test_real_fits_of_rendered_people_are_near_them():
    one_person = {"texture_size": 64, "companions": 0, "imperfect_fits": True}
    source = SyntheticSource(SyntheticOptions(2, size=256, structure="clips", clip_length=2, seed=1, **one_person))
    (group,) = source.groups()
    body = default_body()
    for sample in source.read(group):
        (person,) = sample.people
        rotations = axis_angle_to_matrix(torch.from_numpy(person.fit_poses).view(1, 24, 3))
        betas, trans = (torch.from_numpy(values)[None] for values in (person.fit_betas, person.fit_trans))
        joints = body.pose(rotations, betas, trans, vertices=False).joints[0].numpy()
        pixels = sample.focal * joints[:, :2] / joints[:, 2:] + sample.principal_point
        size = (person.box[2:] - person.box[:2]).max()
        distance = np.linalg.norm(pixels - person.keypoints["smpl24"][:, :2], axis=1).mean() / size
        assert 0.002 < distance < 0.1
