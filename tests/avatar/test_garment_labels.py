"""Labels of garments: their mirror image, their place, and what is closed across the legs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from humanpose_cli.avatar.garment_labels import GarmentLabels, garment_segmenter, thighs
from humanpose_cli.cli.demo import CLIP
from humanpose_cli.core.conventions import BLAZEPOSE33, GARMENTS
from humanpose_cli.core.crop import Affine2D, crop_around_box
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.io.inputs import open_inputs

_LEG_NAMES = ("left_hip", "right_hip", "left_knee", "right_knee")
_LEGS = np.array(((140.0, 100), (116, 100), (140, 160), (116, 160)))


def labels_of(**regions: tuple[slice, slice]) -> GarmentLabels:
    """Return certain labels of a crop that is the image."""
    probabilities = np.zeros((7, 256, 256), np.float32)
    probabilities[0] = 1
    for name, region in regions.items():
        rows, columns = region
        probabilities[:, rows, columns] = 0
        probabilities[1 + GARMENTS.index(name), rows, columns] = 1
    crop = crop_around_box(np.array((0.0, 0, 256, 256)), 256, fill=1.0)
    return GarmentLabels(probabilities, crop)


@pytest.mark.parametrize(("garment", "share"), [("hanging", 1.0), ("trousers", 0.0), ("skin", 0.0)])
def test_what_covers_the_thighs_is_closed_if_it_hangs(garment: str, share: float) -> None:
    labels = labels_of(**{garment: (slice(90, 200), slice(90, 170))})
    assert labels.closed(_LEGS, np.ones((256, 256), np.float32)) == pytest.approx(share)


def test_a_garment_above_the_thighs_and_hidden_thighs_say_nothing() -> None:
    labels = labels_of(hanging=(slice(60, 97), slice(90, 170)), trousers=(slice(97, 200), slice(90, 170)))
    assert labels.closed(_LEGS, np.ones((256, 256), np.float32)) == 0
    assert math.isnan(labels.closed(_LEGS, np.zeros((256, 256), np.float32)))
    assert math.isnan(labels.closed(np.add(_LEGS, (500, 0)), np.ones((256, 256), np.float32)))


def test_the_thighs_reach_from_leg_to_leg_within_the_person() -> None:
    person = np.ones((256, 256), bool)
    person[:, :128] = False
    region = thighs(_LEGS, person)
    rows, columns = np.nonzero(region)
    assert (rows.min(), rows.max()) == pytest.approx((100 + 0.15 * 60 - 11, 100 + 0.65 * 60 + 11), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((128, 140 + 11), abs=1)
    assert region[120, 128:140].all()


def test_labels_lie_at_their_place_in_the_image_and_outside_is_background() -> None:
    labels = labels_of(upper=(slice(64, 128), slice(64, 128)))
    labels = replace(labels, crop=crop_around_box(np.array((100.0, 40, 228, 168)), 256, fill=1.0))  # two to one
    image = labels.in_image((400, 300))
    expected = np.zeros((300, 400), np.uint8)
    expected[40 + 32 : 40 + 64, 100 + 32 : 100 + 64] = 1 + GARMENTS.index("upper")
    np.testing.assert_array_equal(image, expected)


@pytest.fixture(scope="module")
def man() -> tuple[np.ndarray, DetectedPerson]:
    """Return a photograph of a man in shorts, with a bare chest and a cap, and the man."""
    (video,) = open_inputs([CLIP])
    image = next(iter(video.frames())).pixels
    return image, max(PersonDetector().detect(image), key=lambda person: float(np.ptp(person.box[1::2])))


def test_a_photographed_man_wears_shorts(man: tuple[np.ndarray, DetectedPerson]) -> None:
    image, person = man
    found = GarmentLabels.of(garment_segmenter(), image, person.box)
    assert person.mask is not None
    mask = person.mask.in_view(Affine2D.identity(), image.shape[1::-1])
    assert found.closed(person.keypoints[BLAZEPOSE33.indices(_LEG_NAMES), :2], mask) < 0.3
    labels = found.in_image(image.shape[1::-1])
    rows = {name: np.nonzero(labels == 1 + number)[0] for number, name in enumerate(GARMENTS)}
    middle = [float(np.median(rows[name])) for name in ("hair", "upper", "trousers")]
    assert middle == sorted(middle)
    _, top, _, bottom = person.box
    # Cap, trunk and shorts: in the upper eighth of his height, above its middle, and below it.
    assert (np.array(middle) - top) / (bottom - top) == pytest.approx((0.06, 0.3, 0.58), abs=0.1)


def test_the_mirror_image_has_mirrored_labels(man: tuple[np.ndarray, DetectedPerson]) -> None:
    image, person = man
    x0, y0, x1, y1 = person.box
    width = image.shape[1]
    labels = GarmentLabels.of(garment_segmenter(), image, np.array((x0, y0, x1, y1)))
    mirrored = GarmentLabels.of(
        garment_segmenter(), np.ascontiguousarray(image[:, ::-1]), np.array((width - x1, y0, width - x0, y1))
    )
    np.testing.assert_allclose(
        mirrored.probabilities[..., ::-1], labels.probabilities, atol=3e-3
    )  # crops round colours
