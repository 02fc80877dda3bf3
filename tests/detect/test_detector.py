"""People in images: where they are, which way round, and that nobody is made up."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from helpers.errors import raises
from helpers.extensive import extensive

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.detector import PersonDetector
from humanpose_cli.detect.person import DetectedPerson

pytestmark = pytest.mark.slow

LIMBS = [
    f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
]


def at(person: DetectedPerson, joint: str) -> np.ndarray:
    return person.keypoints[person.skeleton.index(joint), :2]


def test_the_astronaut_is_found_where_she_is(astronaut_found: DetectedPerson, astronaut: np.ndarray) -> None:
    nose, left, right = (at(astronaut_found, joint) for joint in ("nose", "left_shoulder", "right_shoulder"))
    assert np.abs(nose - [222, 126]).max() < 10
    assert right[0] < 160 < 260 < left[0]
    assert astronaut_found.score > 0.5
    confidence = dict(zip(BLAZEPOSE33.joint_names, astronaut_found.keypoints[:, 2], strict=True))
    assert confidence["nose"] > 0.9
    assert confidence["left_ankle"] < 0.2, "her feet are far below the image"
    x0, y0, x1, y1 = astronaut_found.box
    assert 0 <= x0 < 100
    assert 0 <= y0 < 60
    assert x1 > 330
    assert y1 == astronaut.shape[0]


@pytest.mark.extensive
def test_the_thorough_scheme_finds_the_same_person_once(
    thorough: PersonDetector, astronaut: np.ndarray, astronaut_found: DetectedPerson
) -> None:
    (person,) = thorough.detect(astronaut)
    assert np.abs(at(person, "nose") - at(astronaut_found, "nose")).max() < 6


def test_a_rendered_body_is_detected_at_its_position(rendered_found: DetectedPerson, rendered) -> None:
    person = rendered_found
    height = np.ptp(rendered.points[:, 1])
    rows = BLAZEPOSE33.indices(["nose", *LIMBS])
    apart = np.linalg.norm(person.keypoints[rows, :2] - rendered.points[rows], axis=1) / height
    assert apart.mean() < 0.03
    assert apart.max() < 0.08
    assert person.keypoints[rows, 2].min() > 0.3
    box = np.concatenate([np.argwhere(rendered.mask).min(0)[::-1], np.argwhere(rendered.mask).max(0)[::-1] + 1])
    assert np.abs(person.box - box).max() < 0.06 * height


def test_world_landmarks_are_in_camera_axes(rendered_found: DetectedPerson, rendered) -> None:
    """x right, y down, z forward, in metres, from the hips: the left hand is to the right, the right knee in front."""
    person = rendered_found
    assert person.world is not None
    hips = BLAZEPOSE33.indices(["left_hip", "right_hip"])
    np.testing.assert_allclose(person.world[hips].mean(0), 0, atol=1e-5)
    truth = rendered.world - rendered.world[hips].mean(0)
    rows = BLAZEPOSE33.indices(["nose", *LIMBS])
    apart = np.abs(person.world[rows] - truth[rows]).mean(0)
    assert apart[:2].max() < 0.08
    assert apart[2] < 0.2, "the model's depth is its weak side: it leans people forward"
    joints = dict(zip(BLAZEPOSE33.joint_names, person.world, strict=True))
    assert joints["left_wrist"][0] > 0.4
    assert joints["left_ankle"][1] > 0.5
    assert joints["nose"][2] < min(joints["left_ear"][2], joints["right_ear"][2]) - 0.03
    assert joints["right_knee"][2] < joints["left_knee"][2]


def test_the_mask_is_the_silhouette(rendered_found: DetectedPerson, rendered) -> None:
    person = rendered_found
    assert person.mask is not None
    mask = person.mask.in_image(*rendered.mask.shape)
    assert mask.shape == rendered.mask.shape
    assert mask.dtype == np.float32
    assert mask.min() >= 0
    assert mask.max() <= 1
    silhouette = mask > 0.5
    assert (silhouette & rendered.mask).sum() / (silhouette | rendered.mask).sum() > 0.8


def test_spreads_show_what_is_uncertain(astronaut_found: DetectedPerson) -> None:
    spread = dict(zip(BLAZEPOSE33.joint_names, astronaut_found.spread, strict=True))
    assert spread["left_ankle"] > spread["left_eye"] > 0
    assert astronaut_found.world_spread is not None
    assert (astronaut_found.world_spread > 0).all()


def test_two_people_side_by_side_are_two(fast: PersonDetector, astronaut: np.ndarray) -> None:
    people = fast.detect(np.concatenate([astronaut, astronaut], axis=1))
    assert len(people) == 2
    noses = sorted(at(person, "nose")[0] for person in people)
    assert abs(noses[0] - 222) < 12
    assert abs(noses[1] - 222 - 512) < 12


@pytest.mark.extensive
def test_the_largest_box_comes_first(fast: PersonDetector, astronaut: np.ndarray, rendered) -> None:
    small = rendered.image[::2, ::2]
    image = np.full((512, 512 + small.shape[1], 3), 128, np.uint8)
    image[:, small.shape[1] :] = astronaut
    image[100 : 100 + small.shape[0], : small.shape[1]] = small
    largest, other = fast.detect(image)
    assert at(largest, "nose")[0] > small.shape[1] > at(other, "nose")[0]


def test_somebody_cut_by_the_frame_is_still_one_person(fast: PersonDetector, rendered) -> None:
    knees = rendered.points[BLAZEPOSE33.indices(["left_knee", "right_knee"]), 1].mean()
    image = rendered.image[: int(knees)]
    (person,) = fast.detect(image)
    rows = BLAZEPOSE33.indices(["nose", "left_shoulder", "right_shoulder", "left_wrist", "left_hip", "right_hip"])
    apart = np.linalg.norm(person.keypoints[rows, :2] - rendered.points[rows], axis=1)
    assert apart.mean() < 0.04 * np.ptp(rendered.points[:, 1])
    assert person.box[3] <= image.shape[0]


@pytest.mark.parametrize("turns", [1, *extensive(3)])
def test_a_person_lying_on_the_side_is_found_with_turned_axes(fast: PersonDetector, rendered, turns: int) -> None:
    (person,) = fast.detect(np.rot90(rendered.image, turns).copy())
    height, width = rendered.image.shape[:2]
    x, y = rendered.points.T
    points = np.stack([y, width - x] if turns == 1 else [height - y, x], axis=1)
    rows = BLAZEPOSE33.indices(LIMBS)
    assert np.linalg.norm(person.keypoints[rows, :2] - points[rows], axis=1).mean() < 0.04 * np.ptp(y)
    assert person.world is not None
    up = person.world[BLAZEPOSE33.index("nose")]
    assert up[0] * (-1 if turns == 1 else 1) > 0.3, "the head is to the left after a quarter turn to the left"


@pytest.mark.extensive
def test_the_same_image_gives_the_same_people_whatever_the_threads(astronaut: np.ndarray, astronaut_found) -> None:
    with PersonDetector("fast", threads=1) as detector:
        for _ in range(2):
            (person,) = detector.detect(astronaut)
            np.testing.assert_array_equal(person.keypoints, astronaut_found.keypoints)
            np.testing.assert_array_equal(person.world, astronaut_found.world)
            np.testing.assert_array_equal(person.mask.crop, astronaut_found.mask.crop)
            assert person.score == astronaut_found.score


@pytest.mark.extensive
@pytest.mark.parametrize("name", ["coffee", *extensive("brick", "rocket", "chelsea", "moon", "coins")])
def test_no_person_is_made_up_in_images_of_things(thorough: PersonDetector, name: str) -> None:
    image = getattr(skimage.data, name)()
    image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    assert thorough.detect(image) == []


def test_no_person_is_made_up_in_noise_or_emptiness(fast: PersonDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert fast.detect(noise) == []
    assert fast.detect(np.zeros((200, 300, 3), np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (16, 16), (16, 300), (600, 16)])
def test_tiny_and_thin_images_have_no_people(fast: PersonDetector, size: tuple[int, int]) -> None:
    assert fast.detect(np.full((*size, 3), 100, np.uint8)) == []


@pytest.mark.parametrize(
    "image", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 4), np.uint8), np.zeros((40, 40, 3), np.float32)]
)
def test_other_arrays_are_refused(fast: PersonDetector, image: np.ndarray) -> None:
    with raises(InputError, expected="(H, W, 3) uint8"):
        fast.detect(image)


def test_an_unknown_mode_is_refused() -> None:
    with raises(UsageError, expected="thorough, fast"):
        PersonDetector("slow")  # type: ignore[arg-type]
