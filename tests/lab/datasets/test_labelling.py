"""Labels around a source: what the detector says, and what is drawn from body parameters."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from helpers.paper_datasets import BODY, image, posed

from humanpose_cli.core.conventions import REPOSING19, SMPL24
from humanpose_cli.lab.cache.label_maps import RENDERED_MAPS, decode_map
from humanpose_cli.lab.cache.samples import Group, Person, Sample, Source, SourceInfo
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.datasets.labelling import DetectedLabels, RenderedLabels

SIZE = (96, 128)
FOCAL = 150.0


class OneSample:
    """A source of one sample."""

    notes = ("read this",)

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("one", {"every": 1})

    def groups(self) -> Sequence[Group]:
        return [Group("g", 1)]

    def read(self, group: Group) -> Iterator[Sample]:
        yield self.sample


def standing(x: float = 0.0, z: float = 3.5, **others: Any) -> Person:
    """Facing the camera in the T pose, upright."""
    poses = np.zeros(72)
    poses[0] = np.pi
    facts: dict[str, Any] = {"body": "default", "gender": "neutral", "betas": np.zeros(10)}
    return Person(**{**facts, "poses": poses, "trans": np.array([x, 0.3, z]), **others})


def sample_of(*people: Person, **others: Any) -> Sample:
    return Sample("a", image(SIZE, 9), SIZE, **{"focal": FOCAL, "people": people, **others})


def label_sample(sample: Sample, **bodies: Any) -> Sample:
    source = RenderedLabels(OneSample(sample), bodies or {"default": BODY})
    assert isinstance(source, Source)
    return next(iter(source.read(source.groups()[0])))


def test_maps_and_joints_are_those_of_the_body() -> None:
    person = standing()
    sample = label_sample(sample_of(person))
    assert set(sample.maps) == set(RENDERED_MAPS)
    maps = {name: decode_map(name, data) for name, data in sample.maps.items()}
    assert person.poses is not None
    assert person.trans is not None
    vertices, joints = posed(person.poses[None], np.zeros(10), person.trans[None])
    pixels = project_points(vertices[0], FOCAL, (SIZE[0] / 2, SIZE[1] / 2))
    (labels,) = sample.people
    np.testing.assert_allclose(labels.joints["smpl24"][:, :3], joints[0], atol=1e-5)
    for name in ("left_wrist", "right_knee"):  # what reposing learns from
        joint = labels.joints["reposing19"][REPOSING19.index(name)]
        np.testing.assert_allclose(joint, [*joints[0, SMPL24.index(name)], 1], atol=0.03)
    expected = project_points(joints[0], FOCAL, (SIZE[0] / 2, SIZE[1] / 2))
    np.testing.assert_allclose(labels.keypoints["smpl24"][:, :2], expected, atol=1e-3)
    box = np.concatenate((pixels.min(0), pixels.max(0)))
    np.testing.assert_allclose(labels.box, np.clip(box, 0, [*SIZE, *SIZE]), atol=1e-3)  # type: ignore[arg-type]
    rows, columns = np.nonzero(maps["persons"])
    assert labels.box is not None
    assert rows.min() + 0.5 == pytest.approx(labels.box[1], abs=1)
    assert columns.max() + 0.5 == pytest.approx(labels.box[2], abs=1.5)  # fingers are thinner than a pixel
    # The left hand of somebody who faces the camera is on the right of the image.
    hand = labels.keypoints["smpl24"][SMPL24.index("left_wrist")]
    assert hand[0] > SIZE[0] / 2
    assert maps["parts"][int(hand[1]), int(hand[0])] - 1 in SMPL24.indices(["left_wrist", "left_hand", "left_elbow"])
    assert (labels.keypoints["smpl24"][:, 2] > 0.5).all()
    middle = labels.keypoints["smpl24"][SMPL24.index("spine2")]
    assert maps["depth"][int(middle[1]), int(middle[0])] == pytest.approx(3500, abs=250)


def test_who_stands_in_front_hides_who_stands_behind() -> None:
    sample = label_sample(sample_of(standing(z=4.5), standing(z=3.0)))
    persons = decode_map("persons", sample.maps["persons"])
    behind, front = (person.keypoints["smpl24"] for person in sample.people)
    spine = SMPL24.index("spine2")
    assert persons[int(front[spine, 1]), int(front[spine, 0])] == 2
    assert behind[spine, 2] == 0
    assert front[spine, 2] == 1


def test_what_a_source_knows_itself_is_kept() -> None:
    joints = np.full((24, 3), 7.0)
    result = label_sample(sample_of(standing(keypoints={"smpl24": joints}), maps={"parts": b"own"}))
    np.testing.assert_array_equal(result.people[0].keypoints["smpl24"], joints)
    assert result.maps["parts"] == b"own"
    assert "depth" in result.maps


def test_images_that_cannot_be_drawn_stay_as_they_are() -> None:
    for sample in (
        sample_of(standing(), focal=None),
        sample_of(),
        sample_of(Person(box=np.array([1, 2, 3, 4.0]))),
        sample_of(standing(poses=np.full(72, np.nan))),
        sample_of(standing(body="smpl")),
    ):
        assert label_sample(sample) is sample


def test_somebody_without_a_body_keeps_the_others_from_a_map() -> None:
    """A map without them would say that nobody is there."""
    box = np.array([1, 2, 30, 40.0])
    sample = label_sample(sample_of(standing(), Person(box=box)))
    assert sample.maps == {}
    assert sample.people[0].keypoints["smpl24"].shape == (24, 3)
    np.testing.assert_array_equal(sample.people[1].box, box)


def test_body_and_gender_choose_the_model() -> None:
    person = standing(body="smpl", gender="male")
    assert label_sample(sample_of(person), **{"smpl-female": BODY}).maps == {}
    assert label_sample(sample_of(person), **{"smpl-female": BODY, "smpl-male": BODY}).maps
    assert label_sample(sample_of(person), smpl=BODY).maps == {}  # betas of a man mean another shape for it
    assert label_sample(sample_of(standing(body="smpl")), smpl=BODY).maps


def test_segment_scales_count() -> None:
    scales = np.ones(24)
    scales[SMPL24.indices(["left_shoulder", "left_elbow"])] = 1.3
    reach = [
        label_sample(sample_of(standing(segment_scales=s))).people[0].joints["smpl24"][SMPL24.index("left_wrist"), 0]
        for s in (None, scales)
    ]
    assert reach[1] > reach[0] + 0.1


def test_a_person_outside_the_image_has_no_box() -> None:
    sample = label_sample(sample_of(standing(x=50.0)))
    assert sample.people[0].box is None
    assert not decode_map("persons", sample.maps["persons"]).any()


def test_it_reports_what_it_drew_and_passes_on_the_rest() -> None:
    source = RenderedLabels(OneSample(sample_of(standing())), {"default": BODY})
    assert source.info == SourceInfo("one", {"every": 1, "rendered": list(RENDERED_MAPS), "bodies": ["default"]})
    assert source.notes == ("read this",)
    assert set(next(source.read(source.groups()[0])).maps) == set(RENDERED_MAPS)
    there = pickle.loads(pickle.dumps(source))
    assert next(there.read(there.groups()[0])).maps == next(source.read(source.groups()[0])).maps


BOX = np.array([60.0, 0.0, 400.0, 512.0], np.float32)  # the astronaut


class Photo:
    """A source with one photograph of one person, a box without area, one outside and none."""

    info = SourceInfo("photo", {"a": 1})

    def groups(self):
        return [Group("one", 1)]

    def read(self, group):
        data = cv2.imencode(".png", skimage.data.astronaut()[..., ::-1])[1].tobytes()
        nothing = np.array([5.0, 5.0, 5.5, 30.0], np.float32)
        outside = np.array([600.0, 5.0, 700.0, 90.0], np.float32)
        people = (Person(identity="her", box=BOX), Person(box=nothing), Person(), Person(box=outside))
        yield Sample("astronaut", data, (512, 512), people=people)


@pytest.mark.slow
def test_the_detector_runs_on_people_with_boxes():
    source = pickle.loads(pickle.dumps(DetectedLabels(Photo(), "cpu")))
    assert source.device == "cpu"
    assert source.info.options == {"a": 1, "detector_views": 2}
    (sample,) = source.read(source.groups()[0])
    her, flat, unknown, outside = sample.people
    assert her.identity == "her"
    nose, left_shoulder, right_shoulder = her.detected[[0, 11, 12]]
    assert 180 < nose[0] < 260
    assert 90 < nose[1] < 190
    assert left_shoulder[0] > nose[0] > right_shoulder[0]
    assert her.detected_world.shape == (33, 4)
    assert her.detected_world[11, 0] > her.detected_world[12, 0]
    mask = cv2.imdecode(np.frombuffer(her.detected_mask, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (512, 512)
    assert mask[130, 220] > 200  # her face
    assert mask[40, 40] < 50
    assert flat.detected is None
    assert unknown.detected is None
    assert outside.detected is None
