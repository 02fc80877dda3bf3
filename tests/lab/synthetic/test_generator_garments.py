"""Garment labels of synthetic people, and the scenes that confuse them."""

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import GARMENTS, SMPL24
from humanpose_cli.lab.cache.label_maps import decode_map
from humanpose_cli.lab.synthetic import people, renderer
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.mesh import MATERIALS
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.synthetic.poses import PoseBank, with_legs_together

pytestmark = pytest.mark.slow

OPTIONS = SyntheticOptions(count=6, size=64, texture_size=64, seed=4, garments=True)


def label(name):
    return 1 + GARMENTS.index(name)


@pytest.fixture(scope="module")
def samples():
    source = SyntheticSource(OPTIONS)
    return [next(source.read(group)) for group in source.groups()]


def test_every_pixel_of_a_person_has_a_garment(samples):
    found = set()
    for sample in samples:
        garments, persons = (decode_map(name, sample.maps[name]) for name in ("garments", "persons"))
        np.testing.assert_array_equal(garments > 0, persons > 0)
        found |= set(np.unique(garments))
    assert found == set(range(1 + len(GARMENTS)))


def test_labels_are_those_of_the_faces_in_the_z_buffer():
    table = dict(zip(MATERIALS, renderer._GARMENT_TABLE.tolist(), strict=True))
    assert table["tail"] == table["skirt"] == label("hanging")
    assert table["outer"] == table["top"] == label("upper")
    assert table["bottom"] == label("trousers")
    assert table["hat"] == label("hair")


def test_maps_are_stored_on_request_alone():
    source = SyntheticSource(SyntheticOptions(count=1, size=64, texture_size=64, seed=4))
    assert "garments" not in next(source.read(source.groups()[0])).maps
    assert "garments" not in source.info.options
    assert SyntheticSource(OPTIONS).info.options["garments"] is True


def test_half_of_the_outfits_hang_and_many_trousers_are_wide():
    outfits = [people.sample_confusing_outfit(np.random.default_rng(seed), str(seed)) for seed in range(300)]
    hanging = [outfit for outfit in outfits if outfit.skirt is not None or outfit.tail is not None]
    assert 0.4 < len(hanging) / len(outfits) < 0.6
    trousers = [outfit.bottom for outfit in outfits if outfit.bottom is not None and outfit.skirt is None]
    assert 0.2 < np.mean([bottom.looseness > 0.06 for bottom in trousers]) < 0.5
    assert any(bottom.pleats for bottom in trousers)
    assert any(bottom.fabric.wrinkles > 2 for bottom in trousers)
    alike = [
        o
        for o in outfits
        if o.top is not None and o.bottom is not None and o.top.fabric.colours == o.bottom.fabric.colours
    ]
    assert min(min(min(colour) for colour in outfit.top.fabric.colours) for outfit in alike) > 120


def test_legs_together_are_straight_and_side_by_side():
    body, random = default_body(), np.random.default_rng(0)
    for pose in PoseBank(0).poses(0, 12):
        changed = with_legs_together(body, pose, random)
        betas = torch.zeros(1, body.shape_count)
        joints = body.pose(changed.rotations[None], betas, torch.zeros(1, 3), vertices=False).joints[0]
        ankles, hips = (joints[list(SMPL24.indices((f"left_{n}", f"right_{n}")))] for n in ("ankle", "hip"))
        assert 0.03 < float(ankles[0, 0] - ankles[1, 0]) < 0.15
        assert float((hips - ankles)[:, 1].min()) > 0.7
        torch.testing.assert_close(
            changed.rotations[SMPL24.index("left_elbow")], pose.rotations[SMPL24.index("left_elbow")]
        )
