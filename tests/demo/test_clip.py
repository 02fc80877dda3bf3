"""The drawn people: the clip repeats and stays in its image, and two people stand where they are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.demo.clip import DemoClip, drawn_pair


@pytest.fixture(scope="module")
def clip():
    return DemoClip.make(default_body())


@pytest.mark.extensive
def test_the_clip_is_the_same_every_time_and_shows_the_person_where_they_are(clip):
    first, again = next(clip.frames()), next(DemoClip.make(clip.body).frames())
    assert np.array_equal(first, again)
    rows, columns = np.nonzero(clip.silhouette(clip.rotations[0], clip.trans[0]))
    background = next(replace(clip, trans=clip.trans + torch.tensor([0.0, 0.0, 500.0])).frames())
    changed = np.abs(first.astype(int) - background).max(2) > 40
    inside = changed[rows, columns].mean()
    assert inside > 0.8
    assert (np.ptp(rows), np.ptp(columns)) > (100, 20)


def test_the_complete_person_stays_in_the_image(clip):
    """What the fit is measured on must be seen."""
    joints = clip.posed().joints
    pixels = clip.view.project(joints)
    assert (pixels > 5).all()
    assert (pixels[..., 0] < clip.size[1] - 5).all()
    assert (pixels[..., 1] < clip.size[0] - 5).all()


@pytest.mark.extensive
def test_two_people_stand_side_by_side():
    image = drawn_pair(default_body()).astype(int)
    red, blue = image[..., 0] > 1.8 * image[..., 2], image[..., 2] > 1.8 * image[..., 0]
    left, right = blue.nonzero()[1], (red & (image[..., 0] > 1.8 * image[..., 1])).nonzero()[1]
    assert image.shape == (720, 960, 3)
    assert min(len(left), len(right)) > 3000
    assert np.percentile(left, 99) < np.percentile(right, 1)
